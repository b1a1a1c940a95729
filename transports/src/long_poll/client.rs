use std::fmt;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

use super::body::{self, MAX_BATCH};
use super::head::{self, Misread, Poll, Position, State};
use super::http_client::{HttpClient, HttpConnection};
use super::numbered::{Batch, Inbox, Outbox};
use crate::link::{
    Format, FrameReceiver, FrameSender, Link, LinkInfo, Transport, check_length, invalid,
};
use crate::request::{self, Proven};
use crate::rt::{self, Instant, sleep, sleep_until, timeout};
use crate::tcp::Address;
#[cfg(feature = "tls")]
use crate::tls::TlsClient;
use crate::url::Url;

/// Dials a server by HTTP long-poll, where WebSocket is blocked.
///
/// It keeps what a [`Link`] promises over requests that may be lost, cut, repeated or late: see its
/// specification, `LONG_POLL.md`. What a server answers before it has ever opened a link tells a mistake
/// in the settings from what passes: see [`Transport::open`]. A session uses two connections, one for polls and one to
/// send, and dials them again without the link's being lost, as long as the server can be reached
/// again before it forgets the session.
///
/// ```
/// # use logux_transports::LongPoll;
/// let transport = LongPoll::new("http://127.0.0.1:31337/")?.header("cookie", "session=1")?;
/// assert!(LongPoll::new("ws://127.0.0.1/").is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a transport does nothing until a link is opened by it"]
pub struct LongPoll<H = HttpConnection> {
    url: Url,
    headers: HeaderMap,
    client: H,
    open_timeout: Duration,
    proven: Proven,
}

/// A link of [`LongPoll`].
pub type LongPollLink<H = HttpConnection> = Link<LongPollSender<H>, LongPollReceiver<H>>;

/// The sending half of a [`LongPollLink`]. What it has sent, the server has.
#[derive(Debug)]
#[must_use = "a link is cut when both of its halves are dropped"]
pub struct LongPollSender<H = HttpConnection> {
    session: Arc<Session>,
    client: H,
    outbox: Outbox,
    /// How many bytes a body with several frames may have: less where something on the way takes less.
    max_batch: usize,
}

/// The receiving half of a [`LongPollLink`].
#[must_use = "a link is cut when both of its halves are dropped"]
pub struct LongPollReceiver<H = HttpConnection> {
    session: Arc<Session>,
    inbox: Inbox,
    lane: Lane<H>,
    /// The number of the last poll.
    polls: u64,
    trouble: Trouble,
    /// How long the server is asked to hold a poll: less where something on the way does not let it.
    wait: Duration,
    /// How many polls in a row broke before their time was over.
    broken: u32,
}

/// What the two halves have in common.
#[derive(Debug)]
struct Session {
    url: Url,
    /// Those that all requests have: the user's, the media type and the session's id.
    headers: HeaderMap,
    /// How long the server holds a poll, and how long it keeps a session without one.
    wait: Duration,
    inactivity: Duration,
    /// How many bytes a body to the server may have.
    max_body: usize,
    /// How many an answer may have.
    max_answer: usize,
    /// The number of the last frame that was received.
    received: AtomicU64,
}

type Answer = io::Result<Response<Bytes>>;

/// The lane of the polls. A request on its way outlives the `receive` that began it.
enum Lane<H> {
    Free(H),
    Asking(Pin<Box<dyn Future<Output = Answered<H>> + Send>>),
    Answered(Answered<H>),
    /// Taken, in the midst of a change.
    Gone,
}

struct Answered<H> {
    client: H,
    answer: Answer,
    after: Duration,
}

/// What has not gone well on a lane since something last did.
#[derive(Debug, Default)]
struct Trouble {
    since: Option<Instant>,
    failures: u32,
    retry_at: Option<Instant>,
}

impl LongPoll {
    /// A transport to an `http://` address, or by TLS (feature `tls`) to an `https://` one.
    ///
    /// A user and password in it (`https://user:p%40ss@host/`, percent-encoded) are sent as
    /// `Authorization: Basic` with every request, and are in no error and no log; over `http://`
    /// everybody on the way can read them. A fragment (`#x`) is not sent. A host that is not ASCII is
    /// written as DNS knows it (`xn--`), and an IPv6 address in brackets. An address that cannot be
    /// used, or of another scheme, is an error of the kind
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) that says why.
    pub fn new(url: &str) -> io::Result<Self> {
        let address = Address::parse(url, "http", "https")?;
        Ok(Self::with(address.url().clone(), HttpConnection::new(address)))
    }

    /// Speaks TLS to an `https://` address otherwise than [`TlsClient::new`] does. An `http://`
    /// address stays without.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, client: TlsClient) -> Self {
        self.client.set_tls(client);
        self
    }
}

impl<H: HttpClient> LongPoll<H> {
    /// A transport that sends its requests by an HTTP client of one's own, which decides what the
    /// address is good for. It is one that [`new`](LongPoll::new) takes, `https://` also without the
    /// feature `tls`, and the client is given it without user, password and fragment.
    pub fn over(url: &str, client: H) -> io::Result<Self> {
        Ok(Self::with(Url::parse(url, "http", "https")?, client))
    }

    fn with(url: Url, client: H) -> Self {
        let open_timeout = Duration::from_secs(10);
        let (headers, proven) = (request::headers(&url), Proven::default());
        Self { url, headers, client, open_timeout, proven }
    }

    /// Sends a header, such as a cookie, with every request. The header `authorization` takes the
    /// place of the user and password in the address, and `host` that of its host. Those that begin with `logux-`
    /// are the protocol's own, and refused.
    pub fn header(mut self, name: &str, value: &str) -> io::Result<Self> {
        const OWN: &str = "logux-";
        if name.get(..OWN.len()).is_some_and(|start| start.eq_ignore_ascii_case(OWN)) {
            return Err(invalid(format!(
                "the header {name:?} cannot be set: those that begin with {OWN} are the protocol's"
            )));
        }
        request::add_header(&mut self.headers, name, value)?;
        Ok(self)
    }

    /// How long it may take until the server has answered the first request: 10 seconds.
    ///
    /// Of a host with several addresses the one that answers first is taken (RFC 8305): the next one,
    /// up to the sixteenth, is tried when one fails, or has not answered for 250 milliseconds.
    pub fn open_timeout(mut self, limit: Duration) -> Self {
        self.open_timeout = limit;
        self
    }

    async fn create(&self, format: Format, max_frame: usize) -> io::Result<LongPollLink<H>> {
        let mut nonce = [0; 16];
        rt::fill_random(&mut nonce)?;
        let nonce = header_value(&BASE64URL_NOPAD.encode(&nonce))?;
        let media_type = header_value(&format!("{}{}", head::MEDIA_TYPE, format.name))?;
        let mut headers = self.headers.clone();
        headers.insert(header::CONTENT_TYPE, media_type);
        let mut client = self.client.clone();
        let response = loop {
            let mut request = post(&self.url, &headers, Bytes::new());
            request.headers_mut().insert(head::NONCE, nonce.clone());
            head::set_number(request.headers_mut(), head::VERSION, head::PROTOCOL);
            match client.request(request, max_frame.saturating_add(body::PREFIX)).await {
                // The answer may have been lost; the nonce lets the server give it again.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    sleep(Trouble::FIRST_DELAY).await;
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(request::another_server(self.url.uri(), error));
                }
                other => break other?,
            }
        };
        let (status, answered) = (response.status(), response.headers());
        if status != StatusCode::OK {
            let (uri, body) = (self.url.uri(), response.body());
            return Err(request::not_opened(uri, format, status, answered, body));
        }
        let without_session = || request::another_server(self.url.uri(), "it gives no session");
        let mut id = answered.get(head::SESSION).ok_or_else(without_session)?.clone();
        // The rest of the answer of another version may be another.
        match head::version(answered) {
            Some(head::PROTOCOL) => {}
            Some(version) => return Err(other_version(version)),
            None => {
                let why = "it gives a session, and a version that is not one number";
                return Err(request::another_server(self.url.uri(), why));
            }
        }
        let milliseconds = |name| head::number(answered, &name).map(Duration::from_millis);
        let (Some(wait), Some(inactivity), Some(max_body)) = (
            milliseconds(head::WAIT),
            milliseconds(head::INACTIVITY),
            head::number(answered, &head::MAX_BODY),
        ) else {
            return Err(without_session());
        };
        // As good as a password: debug texts do not show it.
        id.set_sensitive(true);
        headers.insert(head::SESSION, id);
        let session = Arc::new(Session {
            url: self.url.clone(),
            headers,
            wait,
            inactivity,
            max_body: usize::try_from(max_body).unwrap_or(usize::MAX),
            max_answer: MAX_BATCH.max(max_frame.saturating_add(body::PREFIX)),
            received: AtomicU64::new(0),
        });
        Ok(Link {
            sender: LongPollSender {
                session: Arc::clone(&session),
                client: self.client.clone(),
                outbox: Outbox::default(),
                max_batch: MAX_BATCH.min(session.max_body),
            },
            receiver: LongPollReceiver {
                wait,
                session,
                inbox: Inbox::default(),
                lane: Lane::Free(client),
                polls: 0,
                trouble: Trouble::default(),
                broken: 0,
            },
            info: LinkInfo {
                format: Some(format.name),
                transport: Some("long-poll"),
                ..LinkInfo::default()
            },
        })
    }
}

impl<H: HttpClient> Transport for LongPoll<H> {
    type Sender = LongPollSender<H>;
    type Receiver = LongPollReceiver<H>;

    async fn open(&mut self, format: Format, max_frame: usize) -> io::Result<LongPollLink<H>> {
        let creating = self.create(format, max_frame);
        let opened = timeout(self.open_timeout, creating).await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the server took too long to answer"))
        });
        self.proven.judge(opened)
    }
}

impl Session {
    fn request(&self, body: Bytes) -> Request<Bytes> {
        post(&self.url, &self.headers, body)
    }

    /// What a request acknowledges.
    fn ack(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// How long an answer may take that the server may hold for so long.
    fn patience(wait: Duration) -> Duration {
        wait + Duration::from_secs(10)
    }
}

impl<H: HttpClient> LongPollSender<H> {
    /// Sends requests until the server has all that waits.
    async fn deliver(&mut self) -> io::Result<()> {
        let mut trouble = Trouble::default();
        while !self.outbox.is_done() {
            trouble.pause().await;
            let Batch { body, frames, ends } = self.outbox.batch(self.max_batch);
            let length = body.len();
            let mut request = self.session.request(body);
            let position = Some(Position { first: self.outbox.first(), ends });
            head::Send { ack: self.session.ack(), position }.write(request.headers_mut());
            let asking = self.client.request(request, self.session.max_answer);
            let answer = timeout(Session::patience(self.session.wait), asking).await;
            match answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(answer) if answer.status() == StatusCode::OK => {
                    let told = head::Answer::read(answer.headers()).map_err(misread)?;
                    let progress = self
                        .outbox
                        .acknowledge(told.ack)
                        .map_err(|_| wrong("the server acknowledges what was never sent to it"))?;
                    // A server that has no room yet says so by taking nothing.
                    trouble = if progress { Trouble::default() } else { Trouble::passed() };
                }
                Ok(answer) if answer.status() == StatusCode::PAYLOAD_TOO_LARGE && frames > 0 => {
                    if frames == 1 {
                        return Err(too_long_for_server(length - body::PREFIX, &answer));
                    }
                    // They may be short enough one by one, or one of them is too long.
                    self.max_batch = length / 2;
                }
                answer => trouble.fail(self.session.inactivity, answer)?,
            }
        }
        Ok(())
    }
}

impl<H: HttpClient> FrameSender for LongPollSender<H> {
    async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        let most = self.session.max_body.saturating_sub(body::PREFIX);
        if frame.len() > most || u32::try_from(frame.len()).is_err() {
            let message = format!(
                "the frame has {} bytes, and the server takes {most} at most; \
                 send shorter ones, or raise its limit",
                frame.len()
            );
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        self.outbox.push(frame);
        if self.outbox.bytes() >= MAX_BATCH || self.outbox.len() >= body::MAX_FRAMES {
            self.deliver().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.deliver().await
    }

    async fn close(mut self) -> io::Result<()> {
        self.outbox.end();
        self.deliver().await
    }
}

impl<H: HttpClient> LongPollReceiver<H> {
    /// Asks for what comes next, unless that was asked.
    fn ask(&mut self) {
        self.lane = match mem::replace(&mut self.lane, Lane::Gone) {
            Lane::Free(mut client) => {
                let mut request = self.session.request(Bytes::new());
                let (headers, ack) = (request.headers_mut(), self.session.ack());
                let wait = if self.inbox.ended() {
                    // An acknowledgement alone: the server may forget what it sent.
                    head::Send { ack, position: None }.write(headers);
                    Duration::ZERO
                } else {
                    self.polls += 1;
                    let wait = Some(milliseconds(self.wait));
                    Poll { request: self.polls, ack, wait }.write(headers);
                    self.wait
                };
                let max_answer = self.session.max_answer;
                Lane::Asking(Box::pin(async move {
                    let asked = Instant::now();
                    let asking = client.request(request, max_answer);
                    let answer = timeout(Session::patience(wait), asking).await;
                    let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                    Answered { client, answer, after: asked.elapsed() }
                }))
            }
            other => other,
        };
    }

    /// Asks, without waiting for the answer.
    fn ask_ahead(&mut self) {
        self.ask();
        if let Lane::Asking(asking) = &mut self.lane
            && let Some(answered) = asking.now_or_never()
        {
            self.lane = Lane::Answered(answered);
        }
    }

    /// The answer to what was asked, and after how long it came. Cancel-safe.
    async fn answer(&mut self) -> (Answer, Duration) {
        self.trouble.pause().await;
        self.ask();
        if let Lane::Asking(asking) = &mut self.lane {
            self.lane = Lane::Answered(asking.await);
        }
        match mem::replace(&mut self.lane, Lane::Gone) {
            Lane::Answered(Answered { client, answer, after }) => {
                self.lane = Lane::Free(client);
                (answer, after)
            }
            _ => (Err(io::Error::other("a link that failed was used again")), Duration::ZERO),
        }
    }

    fn take(&mut self, answer: Answer, after: Duration) -> io::Result<()> {
        let answer = match answer {
            Ok(answer) if answer.status() == StatusCode::OK => answer,
            answer => {
                if after < self.wait {
                    self.shorten();
                    // The server has known all the time that somebody asks.
                    self.trouble.forgive(after);
                }
                return self.trouble.fail(self.session.inactivity, answer);
            }
        };
        let told = head::Answer::read(answer.headers()).map_err(misread)?;
        let ends = told.state == State::Closed;
        let has_frames = !answer.body().is_empty();
        if ends || has_frames {
            let first = told
                .first
                .ok_or_else(|| wrong("the server's answer does not number its frames"))?;
            if first > self.inbox.last() + 1 {
                return Err(wrong("the server left out a frame"));
            }
            let frames = body::read(answer.into_body())
                .map_err(|_| wrong("the server's answer is no row of frames"))?;
            self.inbox.accept(first, frames, ends);
            self.session.received.store(self.inbox.last(), Ordering::Relaxed);
        }
        // A poll that a later one took the place of, but there is none: something repeats requests.
        // Or a server that holds none: it is not asked without a pause.
        let is_hasty = !has_frames && !ends && after < Trouble::FIRST_DELAY;
        let passed = told.state == State::Superseded || is_hasty;
        self.trouble = if passed { Trouble::passed() } else { Trouble::default() };
        self.broken = 0;
        Ok(())
    }

    /// Where polls break again and again before the server answers them, something on the way does
    /// not wait that long.
    fn shorten(&mut self) {
        const TIMES: u32 = 3;
        const SHORTEST: Duration = Duration::from_secs(5);

        self.broken += 1;
        if self.broken == TIMES {
            self.broken = 0;
            self.wait = (self.wait / 2).max(SHORTEST.min(self.session.wait));
        }
    }
}

impl<H: HttpClient> FrameReceiver for LongPollReceiver<H> {
    async fn receive(&mut self, max_frame: usize) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(frame) = self.inbox.pop() {
                return check_length(frame, max_frame).map(Some);
            }
            let had_ended = self.inbox.ended();
            let (answer, after) = self.answer().await;
            if had_ended {
                // Whatever the server said to the last request: all that it sent is here.
                return Ok(None);
            }
            self.take(answer, after)?;
            if self.inbox.ended() || !self.inbox.is_empty() {
                // The next request is on its way while what came is worked on.
                self.ask_ahead();
            }
        }
    }
}

impl<H> fmt::Debug for LongPollReceiver<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongPollReceiver").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Trouble {
    const FIRST_DELAY: Duration = Duration::from_millis(100);
    const MAX_DELAY: Duration = Duration::from_secs(5);

    /// No trouble, and no progress either.
    fn passed() -> Self {
        Self { retry_at: Some(Instant::now() + Self::FIRST_DELAY), ..Self::default() }
    }

    /// Does not count a time.
    fn forgive(&mut self, time: Duration) {
        self.since = self.since.map(|since| since + time);
    }

    /// Counts an answer that is not valid. An error ends the link: if the server's answer says that it
    /// cannot go on, or nothing went well for so long that the server has forgotten the session.
    fn fail(&mut self, inactivity: Duration, answer: Answer) -> io::Result<()> {
        let cause = match answer {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
            // Such as a certificate that was replaced by a wrong one.
            Err(error) => request::passing(error),
            Ok(answer) if is_passing(answer.status()) => refused(&answer),
            Ok(answer) => return Err(refused(&answer)),
        };
        let now = Instant::now();
        if now - *self.since.get_or_insert(now) >= inactivity {
            return Err(cause);
        }
        // The first time at once: what is most likely is that a connection was kept too long.
        self.retry_at = self.failures.checked_sub(1).map(|failures| {
            let doubled = Self::FIRST_DELAY.saturating_mul(2_u32.saturating_pow(failures.min(31)));
            now + doubled.min(Self::MAX_DELAY)
        });
        self.failures += 1;
        Ok(())
    }

    /// Waits as long as is right before the next attempt. Cancel-safe.
    async fn pause(&mut self) {
        if let Some(retry_at) = self.retry_at {
            sleep_until(retry_at).await;
            self.retry_at = None;
        }
    }
}

/// Whether something on the way, or the server, asks to try again.
fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        // To a body with frames, 413 is an answer of its own.
        StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::MISDIRECTED_REQUEST
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// A request with headers, and perhaps more of them later.
fn post(url: &Url, headers: &HeaderMap, body: Bytes) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url.uri().clone();
    *request.headers_mut() = headers.clone();
    request
}

/// The error of a server that opens sessions of another version of the protocol.
fn other_version(version: u64) -> io::Error {
    invalid(format!(
        "the server speaks version {version} of long-poll, and this client version {}; \
         update the older of the two sides",
        head::PROTOCOL
    ))
}

fn refused(answer: &Response<Bytes>) -> io::Error {
    request::refused(answer.status(), answer.body())
}

/// The error of a link on which the server, or a proxy before it, refused a body with one frame.
fn too_long_for_server(bytes: usize, answer: &Response<Bytes>) -> io::Error {
    let message = format!(
        "a frame of {bytes} bytes is too long: {}; \
         send shorter ones, or raise the limit of the server or of a proxy before it",
        refused(answer)
    );
    io::Error::new(io::ErrorKind::FileTooLarge, message)
}

fn misread(misread: Misread) -> io::Error {
    wrong(&format!("the server's answer cannot be read: {}", misread.as_str()))
}

fn wrong(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn header_value(text: &str) -> io::Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|_| invalid(format!("{text:?} cannot be in a header")))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
