//! Long-poll requests. The numbers refer to `LONG_POLL.md`.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use data_encoding::BASE64URL_NOPAD;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};

use super::link;
use super::refusal::HttpBody;
use super::registry::{Asked, Entry, Registry};
use super::request::{origin, peer};
use crate::link::{Format, LinkInfo};
use crate::long_poll::body;
use crate::long_poll::head::{self, Ask, Misread};
use crate::long_poll::session::{Answer, Refused, Room, Session, Times, max_body};
use crate::refusal::Refusal;
use crate::rt::{Instant, timeout, timeout_at};

/// How much of a body that is refused is read, and for how long, so that the client reads the
/// answer: a connection that is closed with something unread is reset, and the answer with it.
const DRAINED: u64 = 4 << 20;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest session id that is looked for.
const MAX_ID: usize = 64;

type Answered = Result<Response<HttpBody>, Refusal>;

pub(super) async fn answer<B>(registry: &Arc<Registry>, request: Request<B>) -> Answered
where
    B: Body<Data: Buf, Error: fmt::Display>,
{
    let (head, body) = request.into_parts();
    let mut body = pin!(body);
    let Parts { headers, uri, extensions, .. } = head;
    let answered = match format_name(&headers) {
        Err(refusal) => Err(refusal),
        Ok(name) if headers.contains_key(head::SESSION) => {
            match Asking::read(registry, name, &headers) {
                Ok(asking) => {
                    // A poll is held for long, and these keep all that was read with them.
                    drop((headers, uri, extensions));
                    in_session(asking, registry, body.as_mut()).await
                }
                Err(refusal) => Err(refusal),
            }
        }
        Ok(name) => {
            let options = registry.options();
            let info = options.describe(peer(&extensions), &uri, headers.clone());
            create(registry, name, &headers, info).await
        }
    };
    if answered.is_err() && !body.is_end_stream() {
        let _ = timeout(DRAIN_TIMEOUT, drain(body)).await;
    }
    answered
}

/// The format of the frames. A media type that no form can send makes browsers ask first.
fn format_name(headers: &HeaderMap) -> Result<&str, Refusal> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        let message = "a body is not compressed here";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let media_type = head::only(headers, &header::CONTENT_TYPE);
    media_type.and_then(|media_type| media_type.strip_prefix(head::MEDIA_TYPE)).ok_or_else(|| {
        let message = format!("the media type of a body is {} and a format", head::MEDIA_TYPE);
        Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    })
}

/// Opens a session, or gives the one that was opened by the same request before.
async fn create(
    registry: &Arc<Registry>,
    name: &str,
    headers: &HeaderMap,
    mut info: LinkInfo,
) -> Answered {
    match head::version(headers) {
        Some(head::PROTOCOL) => {}
        Some(version) => return Err(other_version(version)),
        None => return Err(wrong(&head::VERSION, "a number")),
    }
    let nonce = head::only(headers, &head::NONCE)
        .and_then(|nonce| BASE64URL_NOPAD.decode(nonce.as_bytes()).ok())
        .and_then(|nonce| nonce.try_into().ok())
        .ok_or_else(|| wrong(&head::NONCE, "16 bytes in base64url"))?;
    let accepting = registry.accepting().await?;
    let format = Format::named(&accepting.formats, name).ok_or_else(|| {
        let names: Vec<_> = accepting.formats.iter().map(|format| format.name).collect();
        let message = format!("the formats here are {}", names.join(", "));
        Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    })?;
    let options = registry.options();
    let times = Times { wait: options.wait, inactivity: options.inactivity };
    let asked = Asked { nonce, origin: origin(headers) };
    let id = if let Some(id) = registry.opened(&asked) {
        id
    } else {
        let address = info.address.map(|address| address.ip());
        let place = registry.places.take(address, options.max_links_per_address)?;
        let permit = registry.reserve().await?;
        let session = Session::new(times, accepting.max_frame);
        let entry = Entry { session: Arc::clone(&session), format, origin: asked.origin.clone() };
        let (id, is_new) = registry
            .enter(asked.clone(), entry)
            .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        if is_new {
            info.format = Some(format.name);
            info.transport = Some("long-poll");
            let leaving = Arc::clone(registry);
            let halves = session.halves(move || leaving.leave(&asked));
            permit.send(link::long_poll(halves, info, place));
        }
        id
    };
    let id = HeaderValue::from_str(&id)
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let mut response = Response::new(HttpBody::default());
    let headers = response.headers_mut();
    headers.insert(head::SESSION, id);
    head::set_number(headers, head::VERSION, head::PROTOCOL);
    head::set_number(headers, head::WAIT, milliseconds(times.wait));
    head::set_number(headers, head::INACTIVITY, milliseconds(times.inactivity));
    head::set_number(headers, head::MAX_BODY, max_body(accepting.max_frame) as u64);
    Ok(response)
}

/// A request of a session.
struct Asking {
    session: Arc<Session>,
    format: Format,
    /// How long the body is, as the head has it.
    length: Option<u64>,
    ask: Ask,
}

impl Asking {
    /// Ids that are unknown, gone, another page's or no ids are answered alike.
    fn read(registry: &Registry, name: &str, headers: &HeaderMap) -> Result<Self, Refusal> {
        let id = head::only(headers, &head::SESSION).filter(|id| id.len() <= MAX_ID);
        let entry = id.and_then(|id| registry.find(id.as_bytes()));
        let entry = entry.filter(|entry| {
            entry.origin.as_ref() == headers.get(header::ORIGIN) && entry.format.name == name
        });
        let Entry { session, format, .. } = entry.ok_or(Refused::Gone)?;
        let ask = Ask::read(headers)?;
        let length = head::number(headers, &header::CONTENT_LENGTH);
        Ok(Self { session, format, length, ask })
    }
}

async fn in_session<B>(asking: Asking, registry: &Registry, body: Pin<&mut B>) -> Answered
where
    B: Body<Data: Buf, Error: fmt::Display>,
{
    let Asking { session, format, length, ask } = asking;
    // Where a layer of the program's has hidden the length from the body's type, the head tells.
    let length = body.size_hint().exact().or(length);
    let answer = match ask {
        Ask::Poll(_) if length != Some(0) => {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "a poll has no body"));
        }
        Ask::Poll(poll) => session.poll(poll).await?,
        Ask::Send(send) => {
            let length = length.and_then(|length| usize::try_from(length).ok());
            let length = length.ok_or_else(|| {
                Refusal::new(StatusCode::LENGTH_REQUIRED, "the head of a request tells its length")
            })?;
            match session.room(length).await? {
                Room::Later(answer) => answer,
                Room::Now(_sending) => {
                    // What is collected is not kept for a session that has ended meanwhile.
                    let body = tokio::select! {
                        biased;
                        () = session.gone() => return Err(Refused::Gone.into()),
                        body = read(body, length, registry.options().body_timeout) => body?,
                    };
                    let frames = body::read(body).map_err(|_| {
                        let message = "the body is no row of frames after their lengths";
                        Refusal::new(StatusCode::BAD_REQUEST, message)
                    })?;
                    if send.position.is_none() && !frames.is_empty() {
                        return Err(Misread::Position.into());
                    }
                    session.accept(send, frames)?
                }
            }
        }
    };
    let Answer { told, body } = answer;
    let has_frames = !body.is_empty();
    let mut response = Response::new(Full::from(body));
    let headers = response.headers_mut();
    told.write(headers);
    if has_frames {
        let media_type = HeaderValue::from_str(&format!("{}{}", head::MEDIA_TYPE, format.name));
        if let Ok(media_type) = media_type {
            headers.insert(header::CONTENT_TYPE, media_type);
        }
    }
    if let Ask::Poll(_) = ask {
        // Asks proxies to pass it on as it comes.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    Ok(response)
}

/// A whole body. Room is made for what came, and at most for as much as its head promises.
async fn read<B>(mut body: Pin<&mut B>, length: usize, pause: Duration) -> Result<Bytes, Refusal>
where
    B: Body<Data: Buf, Error: fmt::Display>,
{
    const BYTES_PER_SECOND: usize = 1 << 10;

    let start = Instant::now();
    let wrong_length =
        || Refusal::new(StatusCode::BAD_REQUEST, "the body is not as long as its head says");
    let mut whole = Vec::new();
    while whole.len() < length {
        let earned = Duration::from_secs((whole.len() / BYTES_PER_SECOND) as u64);
        let due = (start + pause + earned).min(Instant::now() + pause);
        let next = timeout_at(due, body.frame()).await.map_err(|_| {
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to come")
        })?;
        match next {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    let needed = whole.len() + data.remaining();
                    if needed > length {
                        return Err(wrong_length());
                    }
                    if needed > whole.capacity() {
                        let room = needed.max(2 * whole.capacity()).min(length);
                        whole.reserve_exact(room - whole.len());
                    }
                    whole.put(data);
                }
            }
            Some(Err(error)) => {
                let message = format!("the body ended early: {error}");
                return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
            }
            None => break,
        }
    }
    if whole.len() == length { Ok(whole.into()) } else { Err(wrong_length()) }
}

async fn drain<B: Body<Data: Buf>>(mut body: Pin<&mut B>) {
    let mut drained = 0;
    while let Some(Ok(frame)) = body.frame().await {
        drained += frame.data_ref().map_or(0, |data| data.remaining() as u64);
        if drained > DRAINED {
            return;
        }
    }
}

/// The client cannot speak this version, or is older than versions.
fn other_version(asked: u64) -> Refusal {
    let message = format!(
        "the server speaks version {} of long-poll, and version {asked} was asked for; \
         update the older of the two sides",
        head::PROTOCOL
    );
    Refusal::new(StatusCode::BAD_REQUEST, message)
}

fn wrong(header: &HeaderName, what: &str) -> Refusal {
    let message = format!("the header {header} is needed once, and is {what}");
    Refusal::new(StatusCode::BAD_REQUEST, message)
}

/// Of at most 49 days: more than that nobody waits.
fn milliseconds(duration: Duration) -> u64 {
    u64::from(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX))
}
