//! The rules of the protocol, as a value: what came in and what time it is gives what goes out.
//! No sockets, no tasks, no clock of its own; the driver moves the bytes.
//!
//! Source of every rule: Logux protocol 7, as `@logux/core` 0.12 speaks it, tightened where that
//! loses events; each such place says so.

mod input_output;
mod live;

use std::collections::VecDeque;
use std::time::Instant;

use logux_codecs::{Added, Connect, Connected, Message, Protocol, ProtocolError};

use super::error::{Error, Misbehaviour, start_of};
use super::relative::Relative;
use super::session::Notice;
use super::state::State;
use crate::store::Cursors;
use live::{Arrived, Live};

pub use input_output::Role;
pub(crate) use input_output::{Claim, Config, Input, Now, Output, Wanted};

/// What a peer may send before it is authenticated: messages, and bytes of all of them.
const EARLY_MESSAGES: usize = 16;
const EARLY_BYTES: usize = 64 << 10;

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
}

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
            Phase::Live(live) if live.reading || live.position < self.log_end => None,
            Phase::Live(live) if live.remote_ready && live.ready_sent => Some(State::Synchronized),
            Phase::Opening | Phase::Checking(_) | Phase::Live(_) => Some(State::Connecting),
            Phase::Over => None,
        }
    }

    /// All up to here is confirmed, or not for the peer.
    pub(crate) fn confirmed(&self) -> Option<Added> {
        match &self.phase {
            Phase::Live(live) => Some(live.sent),
            _ => None,
        }
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
            Input::Read { up_to, sent } => self.read(up_to, sent),
            Input::Grown(end) => self.log_end = self.log_end.max(end),
            Input::Headers(headers) => {
                self.config.headers = headers;
                // Before `connect` came they are sent with the answer to it.
                if self.config.role == Role::Opener || self.is_live() {
                    self.send(Message::Headers(self.config.headers.clone()));
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
            if self.early_messages > EARLY_MESSAGES || self.early_bytes > EARLY_BYTES {
                return Err(Misbehaviour::TooMuchTooEarly);
            }
        }
        match (&mut self.phase, self.config.role, message) {
            (_, _, Message::Headers(headers)) => self.tell(Notice::Headers(headers)),
            (_, _, Message::Debug(text)) => self.tell(Notice::Debug(text)),
            (_, _, Message::Error(error)) => self.hang_up(Some(Error::Received(error))),
            (_, _, Message::Unknown(kind)) => return Err(Misbehaviour::UnknownMessage(kind)),

            (Phase::Opening, Role::Acceptor, Message::Connect(connect)) => {
                return self.connect(now, connect);
            }
            (Phase::Opening, Role::Opener, Message::Connected(connected)) => {
                return self.connected(connected);
            }
            // One `connect` for each connection, and only from the side that opened it: identity
            // is set once. `@logux/core` takes a second one.
            (_, _, Message::Connect(_)) => return Err(Misbehaviour::OutOfPlace("connect")),
            (_, _, Message::Connected(_)) => return Err(Misbehaviour::OutOfPlace("connected")),

            (Phase::Live(live), _, Message::Sync(sync)) => {
                let store = live.sync(sync, now.clock)?;
                self.outputs.push_back(Output::Store(store));
            }
            (Phase::Live(live), role, Message::Synced(added)) => {
                let sent = live.synced(added)?;
                // An acceptor notes what the peer has said, to compare it with what it will claim.
                let noted = if role == Role::Acceptor { added } else { sent };
                self.outputs.push_back(Output::Advance(noted));
            }
            (Phase::Live(live), _, Message::Ready(added)) if live.relative.protocol.has_ready() => {
                let store = live.ready(added);
                self.outputs.push_back(Output::Store(store));
            }
            (Phase::Live(live), _, Message::Ping(_)) => {
                let sent = live.position;
                self.send(Message::Pong(sent));
            }
            (Phase::Live(_), _, Message::Ready(_)) => {
                return Err(Misbehaviour::UnknownMessage("ready".to_owned()));
            }
            // Hearing it is all that it is for; also one that nobody asked for does no harm. Its
            // number, and that of a ping, moves no cursor: `@logux/core` puts there what was
            // added, not what was sent.
            (Phase::Live(_), _, Message::Pong(_)) => {}

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
        })
    }

    fn connected(&mut self, connected: Connected) -> Result<(), Misbehaviour> {
        let protocol = match Protocol::of_answer(connected.protocol) {
            Ok(protocol) => protocol,
            Err(supported) => {
                self.refuse_protocol(supported, connected.protocol);
                return Ok(());
            }
        };
        self.check(Claim {
            protocol,
            node_id: connected.node_id,
            credentials: connected.credentials,
            subprotocol: connected.subprotocol,
            synced: Added::ZERO,
            start: connected.start,
            base_time: connected.end,
        })
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
            Role::Acceptor => (now.clock, claim.synced),
            Role::Opener => (claim.base_time, cursors.sent),
        };
        // The guess was about another node: told too much, this one would leave out events.
        if self.config.role == Role::Opener && self.config.synced > cursors.received {
            self.hang_up(Some(Error::AnotherNode { found: claim.node_id }));
            return;
        }
        // The peer has seen more than there is: not of this log. Or it has confirmed more than it
        // claims to have: it has lost its log, and with it what had come from it.
        let lost = self.config.role == Role::Acceptor && claim.synced < cursors.sent;
        let start_over = lost || sent > self.log_end;
        let sent = if start_over { Added::ZERO } else { sent };
        let return_up_to = if lost { self.log_end } else { cursors.return_up_to };
        if lost {
            self.outputs.push_back(Output::Reset { return_up_to });
        }
        let protocol = claim.protocol;
        let relative = Relative {
            protocol,
            base_time,
            time_fix: 0,
            local: self.config.local.clone(),
            remote: claim.node_id,
            local_subprotocol: self.config.subprotocol,
            remote_subprotocol: claim.subprotocol,
        };
        self.phase = Phase::Live(Live {
            relative,
            position: sent,
            start_end: self.log_end,
            return_up_to,
            reading: false,
            unconfirmed: VecDeque::new(),
            sent,
            ready_sent: !protocol.has_ready(),
            received: if lost { Added::ZERO } else { cursors.received },
            received_before: if lost { Added::ZERO } else { cursors.received },
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
                Some(Arrived::Sync(added)) => self.send(Message::Synced(added)),
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
        self.outputs.push_back(Output::Reset { return_up_to: self.log_end });
        match self.config.role {
            // Only the `connect` of a new connection can tell the peer to start over.
            Role::Opener => self.hang_up(Some(Error::LogReplaced)),
            Role::Acceptor => {
                live.position = Added::ZERO;
                self.tell(Notice::StartedOver);
            }
        }
    }

    fn read(&mut self, up_to: Added, sent: bool) {
        let Phase::Live(live) = &mut self.phase else { return };
        live.reading = false;
        live.position = up_to;
        if sent {
            live.unconfirmed.push_back(up_to);
        } else if live.unconfirmed.is_empty() && live.sent < up_to {
            live.sent = up_to;
            if self.config.role == Role::Opener {
                self.outputs.push_back(Output::Advance(up_to));
            }
        }
    }

    /// Sends what can be sent now: the log is the queue.
    fn advance(&mut self) {
        let Phase::Live(live) = &mut self.phase else { return };
        if live.reading {
            return;
        }
        // All that was there at the start is sent, and nothing that is said here overtakes it.
        if !live.ready_sent && live.position >= live.start_end {
            live.ready_sent = true;
            // Not the position: that may count what came from the peer since, and hide that its
            // log is a new one.
            self.outputs.push_back(Output::Send(Message::Ready(live.start_end)));
        }
        if live.position < self.log_end && live.unconfirmed.len() < self.config.window {
            live.reading = true;
            self.outputs.push_back(Output::Read(Wanted {
                after: live.position,
                up_to: self.log_end,
                return_up_to: live.return_up_to,
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
        self.config.ping.and_then(|ping| now.instant.checked_add(ping))
    }

    fn tick(&mut self, now: Now) {
        if self.answer_by.is_some_and(|by| by <= now.instant) {
            self.hang_up(Some(Error::Silent(self.config.timeout)));
            return;
        }
        if self.ask_at.is_some_and(|at| at <= now.instant) {
            let Phase::Live(live) = &self.phase else { return };
            let sent = live.position;
            self.send(Message::Ping(sent));
            self.ask_at = None;
            self.answer_by = now.instant.checked_add(self.config.timeout);
        }
    }

    fn send(&mut self, message: Message<E>) {
        self.outputs.push_back(Output::Send(message));
    }

    fn send_headers(&mut self) {
        if !self.config.headers.is_empty() {
            self.send(Message::Headers(self.config.headers.clone()));
        }
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
