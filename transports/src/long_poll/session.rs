//! The server's side of a link: requests put frames in and take frames out, and the link's two
//! halves do the same from the other end.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::body::{self, MAX_BATCH};
use super::head::{self, Poll, Position, State as Told};
use super::numbered::{Batch, Inbox, Outbox};
use crate::link::{FrameReceiver, FrameSender, check_length, too_long};
use crate::rt::{self, Instant, sleep_until, timeout, timeout_at};

/// How much waits for the client to fetch it before `send` waits, unless one frame is longer.
const MAX_OUTBOX_BYTES: usize = 1 << 20;
const MAX_OUTBOX_FRAMES: usize = 1024;

/// How much that waits to be fetched is told at once, without a flush.
const TOLD_AT_ONCE: usize = 64 << 10;

/// What a body may have in any case, however short the frames must be, and before any is received.
const MIN_BODY: usize = 64 << 10;

/// How often in a row the client may fetch the same frames, none of them acknowledged.
const MAX_REPEATS: u32 = 100;

/// How long a client that has ended, and has all frames, can ask whether more follow.
const LINGER: Duration = Duration::from_secs(10);

/// How many requests that send may go on at once: one, and one that repeats it.
const MAX_SENDS: usize = 2;

/// How many bodies may wait for the link's user: one that is read, and one that came meanwhile.
const MAX_BODIES: usize = 2;

/// How many answers with frames may be on their way at once: one, and one that repeats it on another
/// connection.
const MAX_UNREAD: usize = 2;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// How long a poll is held.
    pub(crate) wait: Duration,
    /// How long a session lasts without a request.
    pub(crate) inactivity: Duration,
}

/// A link whose frames come and go by requests.
#[derive(Debug)]
pub(crate) struct Session {
    times: Times,
    /// How long a body may ever be.
    max_body: usize,
    state: Mutex<State>,
    /// Wakes requests that are held.
    requests: Notify,
    /// Wakes the halves of the link.
    halves: Notify,
}

#[derive(Debug)]
struct State {
    outbox: Outbox,
    inbox: Inbox,
    /// The number of the last poll.
    poll: u64,
    /// Tells polls of the same number apart: the last to come is the one that counts.
    polls: u64,
    /// How many requests are being answered.
    held: usize,
    sends: usize,
    /// How long the bodies are together that are being collected.
    collecting: usize,
    /// How many answers with frames are on their way.
    unread: usize,
    /// How many answers gave frames since the last one was acknowledged.
    repeats: u32,
    last_seen: Instant,
    /// How long a frame may be that is received now.
    max_frame: usize,
    /// Why the link has ended, until its halves were told.
    failed: Option<Failed>,
    /// Nobody holds the link any more.
    dropped: bool,
}

#[derive(Clone, Copy, Debug)]
enum Failed {
    /// There was no request for so long.
    Silent,
    /// The client acknowledged what it was never sent.
    NeverSent,
    /// The client fetches and acknowledges nothing.
    Unacknowledged,
}

/// What a request is answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) told: head::Answer,
    pub(crate) body: Bytes,
}

/// Whether there is room for what a request sends.
#[derive(Debug)]
pub(crate) enum Room<'s> {
    /// For as long as this is held.
    Now(Sending<'s>),
    /// Not yet: the client is to send it again.
    Later(Answer),
}

/// Why a request is not answered so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The session has ended.
    Gone,
    /// There are too many requests at once.
    Busy,
    /// The body is longer than what may be received.
    TooLong,
}

/// The half of a session's link that sends.
#[derive(Debug)]
pub(crate) struct SessionSender {
    link: Arc<LinkEnd>,
}

/// The half that receives.
#[derive(Debug)]
pub(crate) struct SessionReceiver {
    link: Arc<LinkEnd>,
}

/// Held by both halves; the session ends with it.
struct LinkEnd {
    session: Arc<Session>,
    on_end: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Session {
    pub(crate) fn new(times: Times, max_frame: usize) -> Arc<Self> {
        let state = State {
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            poll: 0,
            polls: 0,
            held: 0,
            sends: 0,
            collecting: 0,
            unread: 0,
            repeats: 0,
            last_seen: Instant::now(),
            // Until somebody receives: the client may be any.
            max_frame: 0,
            failed: None,
            dropped: false,
        };
        let (requests, halves) = (Notify::new(), Notify::new());
        Arc::new(Self {
            times,
            max_body: max_body(max_frame),
            state: Mutex::new(state),
            requests,
            halves,
        })
    }

    /// The two halves of the session's link; `on_end` runs when both are dropped.
    pub(crate) fn halves(
        self: Arc<Self>,
        on_end: impl FnOnce() + Send + Sync + 'static,
    ) -> (SessionSender, SessionReceiver) {
        let link = Arc::new(LinkEnd { session: self, on_end: Some(Box::new(on_end)) });
        (SessionSender { link: Arc::clone(&link) }, SessionReceiver { link })
    }

    /// Answers a poll: with what is there, or as soon as there is something.
    pub(crate) async fn poll(self: &Arc<Self>, poll: Poll) -> Result<Answer, Refused> {
        let Poll { request, ack, wait } = poll;
        let _held = Held::new(self);
        let poll = self.lock().begin_poll(request, ack);
        // An earlier poll makes room for this one, and a request that waits for room has it now.
        self.requests.notify_waiters();
        self.halves.notify_waiters();
        let poll = poll?;
        let wait =
            wait.map_or(self.times.wait, |wait| Duration::from_millis(wait).min(self.times.wait));
        let deadline = Instant::now() + wait;
        loop {
            let woken = self.requests.notified();
            let answer = self.lock().answer(poll);
            if let Some(answer) = answer {
                if answer.is_err() {
                    // It may be this that has ended the session.
                    self.requests.notify_waiters();
                    self.halves.notify_waiters();
                }
                return answer.map(|answer| self.counted(answer));
            }
            if timeout_at(deadline, woken).await.is_err() {
                return Ok(self.lock().told(Told::Open));
            }
        }
    }

    /// Takes count of an answer's frames until they are on the network, or nobody wants them.
    fn counted(self: &Arc<Self>, answer: Answer) -> Answer {
        if answer.body.is_empty() {
            return answer;
        }
        let unread = Unread { body: answer.body, session: Arc::downgrade(self) };
        Answer { body: Bytes::from_owner(unread), ..answer }
    }

    /// Waits until there is room for the body of a request that sends, and it may be as long as it
    /// says: all bodies together that are being collected or wait to be read.
    pub(crate) async fn room(&self, length: usize) -> Result<Room<'_>, Refused> {
        if length > self.max_body {
            return Err(Refused::TooLong);
        }
        let mut sending = Sending::new(self)?;
        let deadline = Instant::now() + self.times.wait;
        loop {
            let woken = self.requests.notified();
            let is_too_long = {
                let mut state = self.lock();
                state.check()?;
                let max_body = max_body(state.max_frame);
                let (bodies, unread) = state.inbox.bodies();
                let together = unread.saturating_add(state.collecting).saturating_add(length);
                let has_room = bodies < MAX_BODIES && together <= max_body;
                if length == 0 || has_room {
                    state.collecting += length;
                    sending.length = length;
                    return Ok(Room::Now(sending));
                }
                // Before anybody receives, it is not known how much will be taken.
                length > max_body && state.max_frame > 0
            };
            if timeout_at(deadline, woken).await.is_err() {
                let answer = || self.lock().told(Told::Open);
                return if is_too_long { Err(Refused::TooLong) } else { Ok(Room::Later(answer())) };
            }
        }
    }

    /// Waits until requests are not answered any more.
    pub(crate) async fn gone(&self) {
        loop {
            let woken = self.requests.notified();
            if self.lock().check().is_err() {
                return;
            }
            woken.await;
        }
    }

    /// Takes the frames of a request, and the end if that comes after them. A request without a position
    /// has none.
    pub(crate) fn accept(&self, send: head::Send, frames: Vec<Bytes>) -> Result<Answer, Refused> {
        let head::Send { ack, position } = send;
        let mut state = self.lock();
        state.check()?;
        let acknowledged = state.acknowledge(ack);
        if let (Some(Position { first, ends }), Ok(())) = (position, acknowledged) {
            state.inbox.accept(first, frames, ends);
        }
        let answer = acknowledged.map(|()| state.told(Told::Open));
        drop(state);
        self.halves.notify_waiters();
        if answer.is_err() {
            self.requests.notify_waiters();
        }
        answer
    }

    /// Waits on a half's behalf; as long as there are requests.
    async fn until<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> io::Result<T> {
        loop {
            let woken = self.halves.notified();
            let expiry = {
                let mut state = self.lock();
                if let Some(value) = ready(&mut state) {
                    return Ok(value);
                }
                if let Err(error) = state.fail_if_due(self.times) {
                    self.requests.notify_waiters();
                    return Err(error);
                }
                state.expiry(self.times)
            };
            tokio::select! {
                () = woken => {}
                () = sleep_until(expiry) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a body may be where a frame may be so long.
pub(crate) fn max_body(max_frame: usize) -> usize {
    max_frame.saturating_add(body::PREFIX).max(MIN_BODY)
}

impl State {
    /// Whether requests are answered.
    fn check(&self) -> Result<(), Refused> {
        let is_gone = self.dropped && !self.is_asked_about();
        if self.failed.is_some() || is_gone { Err(Refused::Gone) } else { Ok(()) }
    }

    fn acknowledge(&mut self, number: u64) -> Result<(), Refused> {
        let Ok(progress) = self.outbox.acknowledge(number) else {
            self.failed = Some(Failed::NeverSent);
            return Err(Refused::Gone);
        };
        if progress {
            self.repeats = 0;
        }
        Ok(())
    }

    /// Makes a poll the current one, and gives what to know it by. `None` if there was a later one.
    fn begin_poll(&mut self, number: u64, ack: u64) -> Result<Option<u64>, Refused> {
        self.check()?;
        if number < self.poll {
            return Ok(None);
        }
        self.acknowledge(ack)?;
        self.poll = number;
        self.polls += 1;
        Ok(Some(self.polls))
    }

    /// The answer to a poll, once there is one.
    fn answer(&mut self, poll: Option<u64>) -> Option<Result<Answer, Refused>> {
        if poll != Some(self.polls) {
            return Some(Ok(self.told(Told::Superseded)));
        }
        let has_frames = self.outbox.len() > 0;
        if !has_frames && !self.outbox.is_ending() || has_frames && self.unread == MAX_UNREAD {
            return self.check().err().map(Err);
        }
        if self.repeats == MAX_REPEATS {
            self.failed = Some(Failed::Unacknowledged);
            return Some(Err(Refused::Gone));
        }
        self.repeats += 1;
        self.unread += usize::from(has_frames);
        let Batch { body, ends, .. } = self.outbox.batch(MAX_BATCH);
        let state = if ends { Told::Closed } else { Told::Open };
        let first = Some(self.outbox.first());
        Some(Ok(Answer { told: head::Answer { state, ack: self.inbox.last(), first }, body }))
    }

    /// An answer without frames.
    fn told(&self, state: Told) -> Answer {
        let told = head::Answer { state, ack: self.inbox.last(), first: None };
        Answer { told, body: Bytes::new() }
    }

    /// Whether both sides have ended, and the client lacks nothing but to know that we have.
    fn is_over(&self) -> bool {
        self.inbox.ended() && self.outbox.is_ending() && self.outbox.len() == 0
    }

    /// Whether only this is left: that the client comes to know of our end.
    fn is_asked_about(&self) -> bool {
        self.is_over() && !self.outbox.is_done()
    }

    /// When the session ends if nothing more is heard of the client.
    fn expiry(&self, times: Times) -> Instant {
        let since = if self.held > 0 { Instant::now() } else { self.last_seen };
        since + times.inactivity
    }

    /// Ends a session that is silent for too long, and tells why a session has ended.
    fn fail_if_due(&mut self, times: Times) -> io::Result<()> {
        if self.failed.is_none() && self.expiry(times) <= Instant::now() {
            self.failed = Some(Failed::Silent);
        }
        let (kind, message) = match self.failed {
            None => return Ok(()),
            Some(Failed::Silent) => {
                (io::ErrorKind::TimedOut, "the client asks for nothing any more")
            }
            Some(Failed::NeverSent) => {
                (io::ErrorKind::InvalidData, "the client acknowledges what was never sent to it")
            }
            Some(Failed::Unacknowledged) => {
                (io::ErrorKind::InvalidData, "the client fetches the same again and again")
            }
        };
        Err(io::Error::new(kind, message))
    }
}

impl FrameSender for SessionSender {
    async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        if u32::try_from(frame.len()).is_err() {
            return Err(too_long(u32::MAX as usize));
        }
        let session = &self.link.session;
        let length = body::length(&frame);
        session
            .until(|state| {
                let (waiting, frames) = (state.outbox.bytes(), state.outbox.len());
                let has_room = frames == 0
                    || waiting + length <= MAX_OUTBOX_BYTES && frames < MAX_OUTBOX_FRAMES;
                if !has_room {
                    // What waits makes room once it is fetched, also where it was not told yet.
                    session.requests.notify_waiters();
                }
                (has_room && state.failed.is_none()).then_some(())
            })
            .await?;
        let waiting = {
            let mut state = session.lock();
            state.outbox.push(frame);
            state.outbox.bytes()
        };
        if waiting >= TOLD_AT_ONCE {
            session.requests.notify_waiters();
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.link.session.requests.notify_waiters();
        Ok(())
    }

    /// Waits until the client has fetched all, and has ended, too, or knows that this was all.
    async fn close(self) -> io::Result<()> {
        let session = &self.link.session;
        session.lock().outbox.end();
        session.requests.notify_waiters();
        session.until(|state| (state.outbox.is_done() || state.is_over()).then_some(())).await
    }
}

impl FrameReceiver for SessionReceiver {
    async fn receive(&mut self, max_frame: usize) -> io::Result<Option<Bytes>> {
        let session = &self.link.session;
        if std::mem::replace(&mut session.lock().max_frame, max_frame) != max_frame {
            session.requests.notify_waiters();
        }
        let frame = session
            .until(|state| {
                let bodies = state.inbox.bodies();
                let frame = state.inbox.pop();
                if state.inbox.bodies() != bodies && state.sends > 0 {
                    // There is room for what waits.
                    session.requests.notify_waiters();
                }
                (frame.is_some() || state.inbox.ended()).then_some(frame)
            })
            .await?;
        frame.map(|frame| check_length(frame, max_frame)).transpose()
    }
}

/// Counts a request that is being answered.
#[derive(Debug)]
struct Held<'s> {
    session: &'s Session,
}

impl<'s> Held<'s> {
    fn new(session: &'s Session) -> Self {
        session.lock().held += 1;
        Self { session }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut state = self.session.lock();
        state.held -= 1;
        state.last_seen = Instant::now();
    }
}

/// The frames of an answer that is on its way. It does not keep the session.
struct Unread {
    body: Bytes,
    session: Weak<Session>,
}

impl AsRef<[u8]> for Unread {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some(session) = self.session.upgrade() {
            session.lock().unread -= 1;
            session.requests.notify_waiters();
        }
    }
}

/// Counts a request that sends, and what it may send.
#[derive(Debug)]
pub(crate) struct Sending<'s> {
    held: Held<'s>,
    length: usize,
}

impl<'s> Sending<'s> {
    fn new(session: &'s Session) -> Result<Self, Refused> {
        let held = Held::new(session);
        let mut state = session.lock();
        if state.sends == MAX_SENDS {
            return Err(Refused::Busy);
        }
        state.sends += 1;
        drop(state);
        Ok(Self { held, length: 0 })
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        let Self { held: Held { session }, length } = self;
        let mut state = session.lock();
        state.sends -= 1;
        state.collecting -= *length;
        drop(state);
        session.requests.notify_waiters();
    }
}

impl Drop for LinkEnd {
    fn drop(&mut self) {
        let is_asked_about = {
            let mut state = self.session.lock();
            state.dropped = true;
            state.is_asked_about()
        };
        self.session.requests.notify_waiters();
        let Some(on_end) = self.on_end.take() else { return };
        if is_asked_about && rt::can_spawn() {
            let session = Arc::clone(&self.session);
            rt::spawn(async move {
                let known = session.until(|state| state.outbox.is_done().then_some(()));
                let _ = timeout(LINGER, known).await;
                on_end();
            });
        } else {
            on_end();
        }
    }
}

impl fmt::Debug for LinkEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkEnd").field("session", &self.session).finish_non_exhaustive()
    }
}
