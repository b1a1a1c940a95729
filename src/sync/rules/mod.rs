//! The rules of the protocol, as a value: what came in and what time it is gives what goes out.
//! No sockets, no tasks, no clock of its own; the driver moves the bytes.
//!
//! Source of every rule: Logux protocol 7, as `@logux/core` 0.12 speaks it, tightened where that
//! loses events; each such place says so.

mod input_output;
mod live;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use logux_codecs::{
    Added, Connect, Connected, Headers, Message, Protocol, ProtocolError, Value, shown,
};

use super::error::{Error, Misbehaviour, start_of};
use super::relative::Relative;
use super::session::Notice;
use super::state::State;
use crate::planted::planted;
use crate::store::{Cursors, Epoch};
use live::{Arrived, Live, Review};

pub use input_output::Role;
pub(crate) use input_output::{Batch, Claim, Config, Input, Now, Output, Wanted};

/// How many messages a peer may send before it is authenticated.
const EARLY_MESSAGES: usize = 16;

/// One connection. Everything that it knows ends with it; what must last is in the store.
#[derive(Debug)]
pub(crate) struct Rules<E> {
    config: Config,
    phase: Phase,
    outputs: VecDeque<Output<E>>,
    log_end: Added,
    early_messages: usize,
    early_bytes: usize,
    /// When the peer must have answered.
    answer_by: Option<Instant>,
    /// When to ask the peer whether it is still there.
    ask_at: Option<Instant>,
    was_synchronized: bool,
    /// When the question went out that the peer has to answer.
    asked: Option<Now>,
    round_trip: Option<Duration>,
    /// Which log the peer says that it has.
    remote_epoch: Option<Epoch>,
    told_headers: bool,
}

/// The header that carries a log's [`Epoch`].
const EPOCH: &str = "log-epoch";

/// No clock is off by more than a hundred years, in milliseconds.
const MAX_TIME_FIX: u64 = 100 * 365 * 24 * 60 * 60 * 1000;

#[derive(Debug)]
enum Phase {
    /// The peer has not introduced itself.
    Opening,
    /// It has, and is being checked; nothing is read meanwhile.
    Checking(Claim),
    /// Both sides send and receive events.
    Live(Live),
    Over,
}

impl<E> Rules<E> {
    pub(crate) fn new(config: Config, log_end: Added) -> Self {
        Self {
            config,
            phase: Phase::Opening,
            outputs: VecDeque::new(),
            log_end,
            early_messages: 0,
            early_bytes: 0,
            answer_by: None,
            ask_at: None,
            was_synchronized: false,
            asked: None,
            round_trip: None,
            remote_epoch: None,
            told_headers: false,
        }
    }

    /// The next thing to do.
    pub(crate) fn poll(&mut self) -> Option<Output<E>> {
        self.outputs.pop_front()
    }

    /// When to call `handle` with [`Input::Tick`], if nothing else happens before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.answer_by, self.ask_at].into_iter().flatten().min()
    }

    /// Whether a message may come now: not while the peer is being checked.
    pub(crate) fn reads(&self) -> bool {
        matches!(self.phase, Phase::Opening | Phase::Live(_))
    }

    pub(crate) fn role(&self) -> Role {
        self.config.role
    }

    /// How far the log was known to reach when it was last told.
    pub(crate) fn log_end(&self) -> Added {
        self.log_end
    }

    fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live(_))
    }

    /// What both sides agreed on, once they have.
    pub(crate) fn relative(&self) -> Option<&Relative> {
        match &self.phase {
            Phase::Live(live) => Some(&live.relative),
            _ => None,
        }
    }

    /// The state that the user sees; `None` while it is not clear whether what the log got last
    /// is for the peer: then the state from before stands.
    pub(crate) fn state(&self) -> Option<State> {
        match &self.phase {
            Phase::Live(live) if !live.unconfirmed.is_empty() => Some(State::Sending),
            Phase::Live(live) if live.reading.is_some() || live.position < self.log_end => None,
            Phase::Live(live) if live.review != Review::Unwanted => None,
            Phase::Live(live) if live.remote_ready && live.ready_sent => Some(State::Synchronized),
            Phase::Opening | Phase::Checking(_) | Phase::Live(_) => Some(State::Connecting),
            Phase::Over => None,
        }
    }

    /// All of the own log up to here is confirmed, or not for the peer; all of the peer's log up
    /// to there has arrived.
    pub(crate) fn cursors(&self) -> Option<(Added, Added)> {
        match &self.phase {
            Phase::Live(live) => Some((live.sent, live.received)),
            _ => None,
        }
    }

    /// After which position events are sent next.
    pub(crate) fn position(&self) -> Option<Added> {
        match &self.phase {
            Phase::Live(live) => Some(live.position),
            _ => None,
        }
    }

    /// How long the last question took to be answered.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Whether both logs were once equal over this connection.
    pub(crate) fn was_synchronized(&self) -> bool {
        self.was_synchronized
    }

    pub(crate) fn handle(&mut self, now: Now, input: Input<E>) {
        match input {
            _ if matches!(self.phase, Phase::Over) => return,
            Input::Opened => self.open(now),
            Input::Received { message, frame } => {
                self.heard(now);
                if let Err(fault) = self.receive(now, message, frame.len()) {
                    self.refuse(fault.to_protocol(start_of(&frame)), Error::Peer(fault));
                }
            }
            Input::Malformed { error, shown } => {
                self.refuse(ProtocolError::WrongFormat(shown), error);
            }
            Input::Checked(Ok(cursors)) => self.become_live(now, cursors),
            Input::Checked(Err(refusal)) => self.refuse(refusal.clone(), Error::Refused(refusal)),
            Input::Stored(count) => self.stored(count),
            Input::Read { up_to, sent, withheld } => self.read(up_to, sent, withheld),
            Input::Reevaluate => {
                if let Phase::Live(live) = &mut self.phase {
                    live.review = Review::Wanted;
                }
            }
            Input::Review(after) => {
                if let Phase::Live(live) = &mut self.phase {
                    live.review = Review::Unwanted;
                    if let Some(after) = after {
                        live.go_back(after);
                    }
                }
            }
            Input::Grown(end) => {
                if planted!("live events overtake the catch-up")
                    && let Phase::Live(live) = &mut self.phase
                {
                    live.position = self.log_end;
                }
                self.log_end = self.log_end.max(end);
            }
            Input::Headers(headers) => {
                self.config.headers = headers;
                // Before `connect` came they are sent with the answer to it.
                if self.config.role == Role::Opener || self.is_live() {
                    self.send_headers();
                }
            }
            Input::Debug(text) => self.send(Message::Debug(text)),
            Input::Tick => self.tick(now),
            Input::Close => self.hang_up(None),
        }
        self.advance();
        self.was_synchronized |= self.state() == Some(State::Synchronized);
    }

    fn open(&mut self, now: Now) {
        self.answer_by = now.instant.checked_add(self.config.timeout);
        if self.config.role == Role::Opener {
            self.asked = Some(now);
            self.send_headers();
            let Config { local, credentials, subprotocol, synced, .. } = &self.config;
            let connect = Connect {
                protocol: Protocol::LATEST.number(),
                node_id: local.clone(),
                synced: *synced,
                credentials: credentials.clone(),
                subprotocol: *subprotocol,
            };
            self.send(Message::Connect(connect));
        }
    }

    /// Every message in every phase: allowed, or what is wrong with it.
    fn receive(&mut self, now: Now, message: Message<E>, bytes: usize) -> Result<(), Misbehaviour> {
        if !self.is_live() {
            self.early_messages += 1;
            self.early_bytes = self.early_bytes.saturating_add(bytes);
            if self.early_messages > EARLY_MESSAGES
                || self.early_bytes > self.config.max_early_bytes
            {
                return Err(Misbehaviour::TooMuchTooEarly);
            }
        }
        match (&mut self.phase, self.config.role, message) {
            (_, _, Message::Headers(headers)) => self.headers(headers),
            (_, _, Message::Debug(text)) => self.tell(Notice::Debug(text)),
            (_, _, Message::Error(error)) => self.hang_up(Some(Error::Received(error))),
            (_, _, Message::Unknown(kind)) => {
                return Err(Misbehaviour::UnknownMessage(shown(&kind)));
            }

            (Phase::Opening, Role::Acceptor, Message::Connect(connect)) => {
                return self.connect(now, connect);
            }
            (Phase::Opening, Role::Opener, Message::Connected(connected)) => {
                return self.connected(now, connected);
            }
            // One `connect` for each connection, and only from the side that opened it: identity
            // is set once. `@logux/core` takes a second one.
            (_, _, Message::Connect(_)) => return Err(Misbehaviour::OutOfPlace("connect")),
            (_, _, Message::Connected(_)) => return Err(Misbehaviour::OutOfPlace("connected")),

            (Phase::Live(live), _, Message::Sync(sync)) => {
                let added = sync.added;
                let store = live.sync(sync, now.clock)?;
                self.outputs.push_back(Output::Store(store));
                if planted!("confirms before it stores") {
                    self.send(Message::Synced(added));
                }
            }
            (Phase::Live(live), role, Message::Synced(added)) => {
                let confirmed = live.synced(added)?;
                // An acceptor notes what the peer has said, to compare it with what it will claim.
                let as_opener =
                    role == Role::Opener || planted!("acceptor notes what it passed over");
                let noted = if as_opener { live.sent } else { added };
                if self.config.filtered {
                    self.outputs.extend(confirmed.map(Output::Delivered));
                }
                self.outputs.push_back(Output::Advance(noted));
            }
            (Phase::Live(live), _, Message::Ready(added)) if live.relative.protocol.has_ready() => {
                let store = live.ready(added);
                self.outputs.push_back(Output::Store(store));
            }
            (Phase::Live(live), _, Message::Ping(_)) => {
                let sent = if planted!("pong carries what was added") {
                    self.log_end
                } else {
                    live.position
                };
                self.send(Message::Pong(sent));
            }
            (Phase::Live(_), _, Message::Ready(_)) => {
                return Err(Misbehaviour::UnknownMessage("ready".to_owned()));
            }
            // Hearing it is all that it is for; also one that nobody asked for does no harm. Its
            // number, and that of a ping, moves no cursor: `@logux/core` puts there what was
            // added, not what was sent.
            (Phase::Live(_), _, Message::Pong(_)) => {
                self.answered(now);
            }

            (
                _,
                _,
                message @ (Message::Sync(_)
                | Message::Synced(_)
                | Message::Ready(_)
                | Message::Ping(_)
                | Message::Pong(_)),
            ) => return Err(Misbehaviour::MissedAuth(message.kind().to_owned())),
            // `Message` may grow; what it grows by is unknown here.
            (_, _, other) => return Err(Misbehaviour::UnknownMessage(other.kind().to_owned())),
        }
        Ok(())
    }

    fn connect(&mut self, now: Now, connect: Connect) -> Result<(), Misbehaviour> {
        let protocol = match Protocol::to_answer(connect.protocol) {
            Ok(protocol) => protocol,
            Err(supported) => {
                self.refuse_protocol(supported, connect.protocol);
                return Ok(());
            }
        };
        self.check(Claim {
            protocol,
            node_id: connect.node_id,
            credentials: connect.credentials,
            subprotocol: connect.subprotocol,
            synced: connect.synced,
            start: now.clock,
            base_time: now.clock,
            time_fix: 0,
        })
    }

    fn connected(&mut self, now: Now, connected: Connected) -> Result<(), Misbehaviour> {
        let protocol = match Protocol::of_answer(connected.protocol) {
            Ok(protocol) => protocol,
            Err(supported) => {
                self.refuse_protocol(supported, connected.protocol);
                return Ok(());
            }
        };
        let time_fix = self.time_fix(now, &connected)?;
        self.check(Claim {
            protocol,
            node_id: connected.node_id,
            credentials: connected.credentials,
            subprotocol: connected.subprotocol,
            synced: Added::ZERO,
            start: connected.start,
            base_time: connected.end,
            time_fix,
        })
    }

    /// How far the own clock is ahead of the peer's, in milliseconds. Source: Logux protocol 7,
    /// time fix.
    fn time_fix(&mut self, now: Now, connected: &Connected) -> Result<i64, Misbehaviour> {
        let Connected { node_id, start, end, .. } = connected;
        if end < start {
            return Err(Misbehaviour::TimeOutOfRange);
        }
        let Some(asked) = self.answered(now) else { return Ok(0) };
        if !self.config.fix_time {
            return Ok(0);
        }
        // By the clock that cannot be set. Where the peer says that it took longer than all took,
        // its clock was set.
        let passed = i64::try_from((now.instant - asked.instant).as_millis()).unwrap_or(i64::MAX);
        let round_trip = passed.saturating_sub(end.since(*start)).max(0);
        let fix = asked.clock.since(*start).saturating_add(round_trip / 2);
        if fix.unsigned_abs() > MAX_TIME_FIX {
            return Err(Misbehaviour::TimeOutOfRange);
        }
        // No better measurement than the last one: times stay where they are.
        match &self.config.time_fix {
            Some((node, last))
                if node == node_id && last.abs_diff(fix) <= round_trip.unsigned_abs() =>
            {
                Ok(*last)
            }
            _ => Ok(fix),
        }
    }

    /// The peer's headers, all of them; that which is between the nodes is not for the user.
    fn headers(&mut self, mut headers: Headers) {
        let epoch = headers.remove(EPOCH);
        if let Some(epoch) = epoch.as_ref().and_then(Value::as_str).and_then(Epoch::parse) {
            self.remote_epoch = self.remote_epoch.or(Some(epoch));
            if headers.is_empty() && !self.told_headers {
                return;
            }
        }
        self.told_headers = true;
        self.tell(Notice::Headers(headers));
    }

    /// Which log the peer has, as far as it has said.
    pub(crate) fn remote_epoch(&self) -> Option<Epoch> {
        self.remote_epoch
    }

    /// When what is answered now was asked, if anything was.
    fn answered(&mut self, now: Now) -> Option<Now> {
        let asked = self.asked.take()?;
        self.round_trip = Some(now.instant - asked.instant);
        Some(asked)
    }

    fn refuse_protocol(&mut self, supported: u32, used: u32) {
        let error = ProtocolError::WrongProtocol { supported, used };
        self.refuse(error.clone(), Error::Refused(error));
    }

    fn check(&mut self, claim: Claim) -> Result<(), Misbehaviour> {
        if claim.node_id == self.config.local {
            return Err(Misbehaviour::SameNode(claim.node_id));
        }
        self.outputs.push_back(Output::Check(claim.clone()));
        self.phase = Phase::Checking(claim);
        Ok(())
    }

    /// The peer is who it says: answer it, and find out where both logs stand.
    fn become_live(&mut self, now: Now, cursors: Cursors) {
        let Phase::Checking(claim) = std::mem::replace(&mut self.phase, Phase::Over) else {
            return;
        };
        let (base_time, sent) = match self.config.role {
            Role::Acceptor if planted!("claim off by one") => (now.clock, claim.synced.plus(1)),
            Role::Acceptor => (now.clock, claim.synced),
            Role::Opener if planted!("base time is that of the question") => {
                (claim.start, cursors.sent)
            }
            Role::Opener => (claim.base_time, cursors.sent),
        };
        let sent = self.config.synced_override.unwrap_or(sent);
        // The guess was about another node: told too much, this one would leave out events.
        if self.config.role == Role::Opener && self.config.synced > cursors.received {
            self.hang_up(Some(Error::AnotherNode { found: claim.node_id }));
            return;
        }
        // The peer has another log than before, which lacks what had come from it: it says so, or
        // it has confirmed more than it claims to have.
        let replaced = !planted!("replaced log goes unnoticed")
            && cursors.epoch.zip(self.remote_epoch).is_some_and(|(old, new)| old != new);
        let lost = replaced
            || self.config.role == Role::Acceptor
                && self.config.synced_override.is_none()
                && claim.synced < cursors.sent;
        // Or it has seen more than there is: not of this log.
        let start_over = lost || sent > self.log_end;
        let sent = if start_over { Added::ZERO } else { sent };
        let cursors = if lost { self.reset_cursors(&cursors) } else { cursors };
        if replaced && self.config.synced > Added::ZERO {
            // What it was told in `connect` was about the other log.
            self.hang_up(Some(Error::LogReplaced));
            return;
        }
        let protocol = claim.protocol;
        let relative = Relative {
            protocol,
            base_time,
            time_fix: claim.time_fix,
            local: self.config.local.clone(),
            remote: claim.node_id,
            local_subprotocol: self.config.subprotocol,
            remote_subprotocol: claim.subprotocol,
        };
        self.phase = Phase::Live(Live {
            relative,
            position: sent,
            start_end: self.log_end,
            return_up_to: cursors.return_up_to,
            reading: None,
            review: Review::Unwanted,
            review_up_to: Added::ZERO,
            unconfirmed: VecDeque::new(),
            sent,
            ready_sent: !protocol.has_ready(),
            received: cursors.received,
            received_before: cursors.received,
            storing: VecDeque::new(),
            remote_ready: !protocol.has_ready(),
            far_future: self.config.far_future,
        });
        self.answer_by = None;
        self.ask_at = self.next_ping(now);
        if start_over {
            self.tell(Notice::StartedOver);
        }
        if self.config.role == Role::Acceptor {
            self.send_headers();
            let Config { local, credentials, subprotocol, .. } = &self.config;
            let connected = Connected {
                protocol: protocol.number(),
                node_id: local.clone(),
                // A clock that stepped back meanwhile must not make an answer before its question.
                start: claim.start.min(base_time),
                end: base_time,
                credentials: credentials.clone(),
                subprotocol: *subprotocol,
            };
            self.send(Message::Connected(connected));
        }
    }

    /// What arrived is in the store: now, and not before, it is confirmed.
    fn stored(&mut self, count: usize) {
        for _ in 0..count {
            let Phase::Live(live) = &mut self.phase else { return };
            match live.storing.pop_front() {
                // One `synced` for each `sync`, in their order: a JavaScript sender counts them.
                Some(Arrived::Sync(_)) if planted!("confirms before it stores") => {}
                Some(Arrived::Sync(added)) => {
                    self.send(Message::Synced(added));
                    if planted!("confirms twice") {
                        self.send(Message::Synced(added));
                    }
                }
                Some(Arrived::Ready(added)) => {
                    live.remote_ready = true;
                    if added < live.received_before {
                        self.peer_log_replaced();
                    }
                }
                None => {}
            }
        }
    }

    /// The peer's log ends before what was received from it: it is another log, which lacks
    /// what was sent to the one before.
    fn peer_log_replaced(&mut self) {
        let Phase::Live(live) = &mut self.phase else { return };
        live.sent = Added::ZERO;
        // Once for each connection, or one short message could have the whole log sent again.
        live.received_before = Added::ZERO;
        live.return_up_to = self.log_end;
        self.reset_cursors(&Cursors::default());
        match self.config.role {
            // Only the `connect` of a new connection can tell the peer to start over.
            Role::Opener => self.hang_up(Some(Error::LogReplaced)),
            Role::Acceptor => {
                if let Phase::Live(live) = &mut self.phase {
                    live.position = Added::ZERO;
                }
                self.tell(Notice::StartedOver);
            }
        }
    }

    /// What is known of a peer whose log is another one: nothing, but that it lacks what it sent.
    fn reset_cursors(&mut self, before: &Cursors) -> Cursors {
        let cursors = Cursors {
            return_up_to: if planted!("nothing is given back") {
                Added::ZERO
            } else {
                self.log_end
            },
            epoch: self.remote_epoch.or(before.epoch),
            ..Cursors::default()
        };
        self.outputs.push_back(Output::Reset(cursors));
        cursors
    }

    fn read(&mut self, up_to: Added, sent: bool, withheld: Vec<Added>) {
        let Phase::Live(live) = &mut self.phase else { return };
        let Some(after) = live.reading.take() else { return };
        live.position = up_to;
        let batch = Batch { after, up_to, withheld };
        if sent {
            live.unconfirmed.push_back(batch);
            if planted!("cursor moves when sending") {
                self.outputs.push_back(Output::Advance(up_to));
            }
        } else {
            if self.config.filtered {
                self.outputs.push_back(Output::Delivered(batch));
            }
            if live.unconfirmed.is_empty() && live.sent < up_to {
                live.sent = up_to;
                if self.config.role == Role::Opener {
                    self.outputs.push_back(Output::Advance(up_to));
                }
            }
        }
    }

    /// Sends what can be sent now: the log is the queue.
    fn advance(&mut self) {
        let Phase::Live(live) = &mut self.phase else { return };
        if live.review_up_to > Added::ZERO && live.sent >= live.review_up_to {
            live.review_up_to = Added::ZERO;
            self.outputs.push_back(Output::Reviewed);
        }
        if live.reading.is_some() {
            return;
        }
        if live.review != Review::Unwanted {
            if live.review == Review::Wanted && live.unconfirmed.is_empty() {
                live.review = Review::Asked;
                self.outputs.push_back(Output::Review);
            }
            return;
        }
        // All that was there at the start is sent, and nothing that is said here overtakes it.
        if !live.ready_sent
            && (live.position >= live.start_end || planted!("ready before all is sent"))
        {
            live.ready_sent = true;
            // Not the position: that may count what came from the peer since, and hide that its
            // log is a new one.
            let end = if planted!("ready carries what was added since") {
                self.log_end.plus(1)
            } else {
                live.start_end
            };
            self.outputs.push_back(Output::Send(Message::Ready(end)));
        }
        if live.position < self.log_end
            && (live.unconfirmed.len() < self.config.window || planted!("window without end"))
        {
            live.reading = Some(live.position);
            self.outputs.push_back(Output::Read(Wanted {
                after: live.position,
                up_to: self.log_end,
                return_up_to: live.return_up_to,
                review_up_to: live.review_up_to,
            }));
        }
    }

    /// Any message proves that the peer is there.
    fn heard(&mut self, now: Now) {
        if self.is_live() {
            self.answer_by = None;
            self.ask_at = self.next_ping(now);
        }
    }

    /// `None` for never, and for later than a clock can tell.
    fn next_ping(&self, now: Now) -> Option<Instant> {
        if planted!("silence is never asked about") {
            return None;
        }
        self.config.ping.and_then(|ping| now.instant.checked_add(ping))
    }

    fn tick(&mut self, now: Now) {
        if self.answer_by.is_some_and(|by| by <= now.instant) {
            self.hang_up(Some(Error::Silent(self.config.timeout)));
            return;
        }
        if self.ask_at.is_some_and(|at| at <= now.instant) {
            let Phase::Live(live) = &self.phase else { return };
            let sent =
                if planted!("ping carries what was added") { self.log_end } else { live.position };
            self.send(Message::Ping(sent));
            self.asked = Some(now);
            self.ask_at = None;
            self.answer_by = now.instant.checked_add(self.config.timeout);
        }
    }

    fn send(&mut self, message: Message<E>) {
        self.outputs.push_back(Output::Send(message));
    }

    fn send_headers(&mut self) {
        let mut headers = self.config.headers.clone();
        headers.insert(EPOCH.to_owned(), self.config.epoch.to_string().into());
        self.send(Message::Headers(headers));
    }

    fn tell(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Tell(notice));
    }

    fn refuse(&mut self, tell_peer: ProtocolError, error: Error) {
        self.send(Message::Error(tell_peer));
        self.hang_up(Some(error));
    }

    fn hang_up(&mut self, error: Option<Error>) {
        self.outputs.push_back(Output::HangUp(error));
        self.phase = Phase::Over;
    }
}
