//! A back end in any language: a program that is asked by HTTP who may connect and what becomes of events. It is spoken
//! to as the servers of Logux before 0.14 did, by version 4 of their protocol: `docs/backend.md`.
//!
//! - here: what is asked, and how often; `answers`: what is answered, while it comes;
//! - `receivers`: to whom an event goes, in the protocol's words;
//! - `adding`: the events that the back end adds by itself.

mod adding;
mod answers;
mod receivers;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, Uri, header};
use data_encoding::BASE64URL_NOPAD;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use logux_sync::app::{Context, Undo};
use logux_sync::transports::rustls::crypto::ring;
use logux_sync::{Access, CallbackError, Headers, Login, Subprotocol, Value};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

pub(super) use adding::{Adding, add};
use answers::{Answers, OfAction, OfAuth};

use crate::failure::{Failure, with_causes};

/// The version of the protocol.
const VERSION: u32 = 4;

/// So many requests are under way at once.
const AT_ONCE: usize = 100;

/// How long the first pause is before an event is sent again, and how long the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A secret that is shorter could be guessed.
const SHORTEST_SECRET: usize = 16;

/// The program that is asked.
#[derive(Clone)]
pub(super) struct Backend(Arc<Inner>);

struct Inner {
    url: Uri,
    secret: String,
    /// How long one request may take.
    timeout: Duration,
    /// For how long an event is sent again before it is undone.
    patience: Duration,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    places: Semaphore,
    /// It did not answer the last time.
    is_away: AtomicBool,
}

/// Why there is no answer.
#[derive(Debug)]
enum Trouble {
    /// It may be over the next time: the back end is not reached, or is overloaded, or has ended in the middle.
    Passing(String),
    /// It is the same the next time.
    Lasting(String),
}

impl Backend {
    pub(super) fn new(
        url: &str,
        secret: String,
        timeout: Duration,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let wrong = |what: &str| {
            Failure::usage(format!(
                "--backend {url:?} {what}; write it as http://127.0.0.1:3000/logux"
            ))
        };
        let uri: Uri = url.parse().map_err(|error| wrong(&format!("is no address: {error}")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("begins with neither http:// nor https://"));
        }
        if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
            return Err(wrong("has a user before its host, which is not sent"));
        }
        if secret.len() < SHORTEST_SECRET {
            return Err(Failure::usage(format!(
                "the secret of the back end has fewer than {SHORTEST_SECRET} bytes: make one, as by `openssl rand -hex 16`"
            )));
        }
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(ring::default_provider())
            .map_err(|error| Failure::failed(format!("there is no TLS: {error}")))?;
        let client = Client::builder(TokioExecutor::new())
            .build(connector.https_or_http().enable_http1().build());
        let (places, is_away) = (Semaphore::new(AT_ONCE), AtomicBool::new(false));
        Ok(Self(Arc::new(Inner { url: uri, secret, timeout, patience, client, places, is_away })))
    }

    /// Who a client is.
    pub(super) async fn admit(&self, login: &Login) -> Result<Access<Value>, CallbackError> {
        let id = auth_id()?;
        let command = json!({
            "command": "auth",
            "authId": id,
            "userId": login.user_id(),
            "token": login.credentials,
            "subprotocol": login.subprotocol.map(subprotocol),
            "cookie": cookies(login),
            "headers": *login.headers,
        });
        match self.ask_once(&command, |answer| admission(answer, &id)).await {
            Ok(decided) => Ok(decided?),
            Err(Trouble::Passing(what) | Trouble::Lasting(what)) => {
                tracing::error!(what, "the back end does not say who a client is; it tries again");
                Err(what.into())
            }
        }
    }

    /// What becomes of an event: the back end says whether its client may add it, to whom it goes, and which others there
    /// are to be added. If it cannot be reached, it is asked again: it has the event's id as a key.
    pub(super) async fn act(&self, context: &Context, headers: &Headers) -> Result<(), Undo> {
        let id = context.id().to_protocol_5();
        let mut meta = json!({ "id": id, "time": context.time().value() });
        if let Some(version) = context.subprotocol() {
            meta["subprotocol"] = subprotocol(version);
        }
        let action = context.event();
        let command =
            json!({ "command": "action", "action": action, "meta": meta, "headers": headers });
        let subscribes = action["type"] == "logux/subscribe";
        let (mut pause, until) = (PAUSE, Instant::now() + self.0.patience);
        loop {
            let mut exchange = Exchange { id: &id, subscribes, ..Exchange::default() };
            let what = match self.ask_once(&command, |answer| exchange.takes(answer)).await {
                Ok(done) => return done.and_then(|()| exchange.do_in(context)),
                Err(Trouble::Passing(what)) if Instant::now() + pause < until => what,
                Err(Trouble::Passing(what) | Trouble::Lasting(what)) => {
                    tracing::error!(
                        id,
                        what,
                        "an event is undone: the back end does not answer as it should"
                    );
                    return Err(Undo::error(what));
                }
            };
            tracing::debug!(id, what, "the back end is asked again");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Sends a command, and takes answers until one decides. Tells once that the back end is away, and once that it is
    /// back.
    async fn ask_once<A: DeserializeOwned, T>(
        &self,
        command: &Value,
        takes: impl FnMut(A) -> Option<T>,
    ) -> Result<T, Trouble> {
        let Inner { places, is_away, url, .. } = &*self.0;
        // It is never closed.
        let _place = places.acquire().await;
        let asked = timeout(self.0.timeout, self.request(command, takes)).await;
        let asked = asked.unwrap_or_else(|_| {
            let seconds = self.0.timeout.as_secs_f64();
            Err(Trouble::Passing(format!("it does not answer within {seconds} seconds")))
        });
        match &asked {
            Err(Trouble::Passing(what)) if !is_away.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%url, what, "the back end is away: events wait for it");
            }
            Err(Trouble::Passing(_)) => {}
            _ if is_away.swap(false, Ordering::Relaxed) => {
                tracing::info!(%url, "the back end is there again");
            }
            _ => {}
        }
        asked
    }

    async fn request<A: DeserializeOwned, T>(
        &self,
        command: &Value,
        mut takes: impl FnMut(A) -> Option<T>,
    ) -> Result<T, Trouble> {
        let Inner { url, secret, client, .. } = &*self.0;
        let body = json!({ "version": VERSION, "secret": secret, "commands": [command] });
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| Trouble::Lasting(error.to_string()))?;
        let response = client.request(request).await;
        let response = response.map_err(|error| Trouble::Passing(with_causes(&error)))?;
        let status = response.status();
        if !status.is_success() {
            return Err(refusal(status));
        }
        let mut answers = Answers::new(response.into_body());
        while let Some(answer) = answers.next().await? {
            if let Some(decided) = takes(answer) {
                return Ok(decided);
            }
        }
        Err(Trouble::Lasting("its answers end before one of them decides".to_owned()))
    }
}

fn refusal(status: StatusCode) -> Trouble {
    let what = format!("it answers with the status {status}");
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Trouble::Passing(what),
        _ if status.is_server_error() => Trouble::Passing(what),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Trouble::Lasting(format!("{what}: is the secret the same there?"))
        }
        _ => Trouble::Lasting(what),
    }
}

/// What an answer decides about a client, if it is about this one.
fn admission(answer: OfAuth, id: &str) -> Option<Result<Access<Value>, CallbackError>> {
    if answer.id() != id {
        return None;
    }
    Some(match answer {
        OfAuth::Authenticated { .. } => Ok(Access::client()),
        OfAuth::Denied { .. } => Ok(Access::nobody()),
        OfAuth::WrongSubprotocol { supported, .. } => Ok(Access::other_subprotocol(supported)),
        OfAuth::Error { details, .. } => {
            tracing::error!(details, "the back end fails to say who a client is; it tries again");
            Err(details.into())
        }
    })
}

/// What was answered about an event so far.
#[derive(Default)]
struct Exchange<'a> {
    id: &'a str,
    subscribes: bool,
    is_approved: bool,
    route: receivers::Receivers,
    added: Vec<(Value, receivers::Meta)>,
}

impl Exchange<'_> {
    /// Takes an answer. Something once it decides.
    fn takes(&mut self, answer: OfAction) -> Option<Result<(), Undo>> {
        if answer.id() != self.id {
            return None;
        }
        match answer {
            OfAction::Resend { receivers, .. } => self.route.extend(receivers),
            OfAction::Approved { .. } => self.is_approved = true,
            OfAction::Action { action, meta, .. } => self.added.push((action, meta)),
            OfAction::Processed { .. } if self.is_approved => return Some(Ok(())),
            OfAction::Processed { .. } => {
                let what = "the back end answers `processed` and did not answer `approved` before";
                return Some(Err(Undo::error(what)));
            }
            OfAction::Forbidden { .. } => return Some(Err(Undo::denied())),
            OfAction::UnknownAction { .. } => return Some(Err(Undo::new("unknownType"))),
            OfAction::UnknownChannel { .. } => return Some(Err(Undo::new("wrongChannel"))),
            OfAction::Error { details, .. } => {
                tracing::error!(id = self.id, details, "the back end failed at an event");
                return Some(Err(Undo::error(details)));
            }
        }
        None
    }

    /// Does what was decided.
    fn do_in(self, context: &Context) -> Result<(), Undo> {
        context.route_to(self.route.route().map_err(Undo::error)?);
        for (action, mut meta) in self.added {
            // What is loaded for who subscribes needs no other receiver.
            if self.subscribes && meta.receivers.is_nobody() {
                meta.receivers.add_client(context.client().client_id());
            }
            let (draft, route) = meta.draft(action).map_err(Undo::error)?;
            context.add_draft(draft, route);
        }
        Ok(())
    }
}

/// A version as the protocol has it: a number, or a text of two.
fn subprotocol(version: Subprotocol) -> Value {
    match version.minor {
        0 => version.major.into(),
        minor => format!("{}.{minor}", version.major).into(),
    }
}

/// Cookies are there only where the listener knows which pages may connect.
fn cookies(login: &Login) -> HashMap<String, String> {
    let headers = login.link.headers.get_all(header::COOKIE).iter();
    let pairs = headers.filter_map(|header| header.to_str().ok()).flat_map(|all| all.split(';'));
    let pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    let decoded = |value: &str| {
        let value =
            value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned()
    };
    pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect()
}

/// Tells the commands of one request apart.
fn auth_id() -> Result<String, CallbackError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("url", &self.0.url).finish_non_exhaustive()
    }
}
