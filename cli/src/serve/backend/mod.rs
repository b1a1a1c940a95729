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
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::http::{Method, Request, StatusCode, Uri, header};
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use logux_sync::app::{Context, Route, Undo};
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

/// So many requests about events are under way at once, and as many about clients; and so many about those of one user.
const AT_ONCE: usize = 100;
const AT_ONCE_OF_USER: usize = 10;

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
    /// For clients that connect.
    door: Semaphore,
    /// For events, and of each user.
    places: Semaphore,
    places_of: Mutex<HashMap<String, Weak<Semaphore>>>,
    /// The address for a person: what stands in its query may be a secret.
    shown: String,
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
        let host = uri.host().unwrap_or_default();
        let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
        let scheme = uri.scheme_str().unwrap_or_default();
        let shown = format!("{scheme}://{host}{port}{}", uri.path());
        Ok(Self(Arc::new(Inner {
            url: uri,
            secret,
            timeout,
            patience,
            client,
            door: Semaphore::new(AT_ONCE),
            places: Semaphore::new(AT_ONCE),
            places_of: Mutex::default(),
            shown,
            is_away: AtomicBool::new(false),
        })))
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
        // Whoever connects does not wait for events.
        let _place = self.0.door.acquire().await;
        match self.ask_once(&command, ("authId", &id), |answer| Some(admission(answer))).await {
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
        let place = self.place_of(context.client().user_id().unwrap_or_default());
        let mut pause = PAUSE;
        // Counted from its first try: before that it waits for its turn.
        let mut until = None;
        loop {
            // Neither is ever closed.
            let places = (place.acquire().await, self.0.places.acquire().await);
            let until = *until.get_or_insert_with(|| Instant::now() + self.0.patience);
            let mut exchange = Exchange { id: &id, subscribes, ..Exchange::default() };
            let of_id = ("id", id.as_str());
            let asked = self.ask_once(&command, of_id, |answer| exchange.takes(answer)).await;
            drop(places);
            let what = match asked {
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

    /// The places that a user has for its events, however many clients it has: so one user's events, which the back end
    /// may be slow at, leave places to those of others.
    fn place_of(&self, user: &str) -> Arc<Semaphore> {
        // Nothing panics while the lock is held.
        let mut places = self.0.places_of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(user).and_then(Weak::upgrade) {
            return place;
        }
        places.retain(|_, place| place.strong_count() > 0);
        let place = Arc::new(Semaphore::new(AT_ONCE_OF_USER));
        places.insert(user.to_owned(), Arc::downgrade(&place));
        place
    }

    /// Sends a command, and takes answers until one decides. Tells once that the back end is away, and once that it is
    /// back.
    async fn ask_once<A: DeserializeOwned, T>(
        &self,
        command: &Value,
        id: (&str, &str),
        takes: impl FnMut(A) -> Option<T>,
    ) -> Result<T, Trouble> {
        let Inner { is_away, shown, .. } = &*self.0;
        let asked = timeout(self.0.timeout, self.request(command, id, takes)).await;
        let asked = asked.unwrap_or_else(|_| {
            let seconds = self.0.timeout.as_secs_f64();
            Err(Trouble::Passing(format!("it does not answer within {seconds} seconds")))
        });
        match &asked {
            Err(Trouble::Passing(what)) if !is_away.swap(true, Ordering::Relaxed) => {
                tracing::warn!(url = shown, what, "the back end is away: events wait for it");
            }
            Err(Trouble::Passing(_)) => {}
            _ if is_away.swap(false, Ordering::Relaxed) => {
                tracing::info!(url = shown, "the back end is there again");
            }
            _ => {}
        }
        asked
    }

    async fn request<A: DeserializeOwned, T>(
        &self,
        command: &Value,
        id: (&str, &str),
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
        while let Some(answer) = answers.next(id).await? {
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

/// What an answer decides about a client.
fn admission(answer: OfAuth) -> Result<Access<Value>, CallbackError> {
    match answer {
        OfAuth::Authenticated {} => Ok(Access::client()),
        OfAuth::Denied {} => Ok(Access::nobody()),
        OfAuth::WrongSubprotocol { supported } => Ok(Access::other_subprotocol(supported)),
        OfAuth::Error { details } => {
            tracing::error!(details, "the back end fails to say who a client is; it tries again");
            Err(details.into())
        }
    }
}

/// What was answered about an event so far.
#[derive(Default)]
struct Exchange<'a> {
    id: &'a str,
    subscribes: bool,
    is_approved: bool,
    route: Route,
    added: Vec<(Value, receivers::Meta)>,
}

impl Exchange<'_> {
    /// Takes an answer. Something once it decides.
    fn takes(&mut self, answer: OfAction) -> Option<Result<(), Undo>> {
        match answer {
            OfAction::Resend(receivers) => {
                match receivers.add_to(std::mem::take(&mut self.route)) {
                    Ok(route) => self.route = route,
                    Err(what) => return Some(Err(Undo::error(what))),
                }
            }
            OfAction::Approved {} => self.is_approved = true,
            OfAction::Action { action, meta } => {
                self.added.push((action, meta.unwrap_or_default()));
            }
            OfAction::Processed {} if self.is_approved => return Some(Ok(())),
            OfAction::Processed {} => {
                let what = "the back end answers `processed` and did not answer `approved` before";
                return Some(Err(Undo::error(what)));
            }
            OfAction::Forbidden {} => return Some(Err(Undo::denied())),
            OfAction::UnknownAction {} => return Some(Err(Undo::new("unknownType"))),
            OfAction::UnknownChannel {} => return Some(Err(Undo::new("wrongChannel"))),
            OfAction::Error { details } => {
                tracing::error!(id = self.id, details, "the back end failed at an event");
                return Some(Err(Undo::error(details)));
            }
        }
        None
    }

    /// Does what was decided.
    fn do_in(self, context: &Context) -> Result<(), Undo> {
        context.route_to(self.route);
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
        f.debug_struct("Backend").field("url", &self.0.shown).finish_non_exhaustive()
    }
}
