use std::collections::VecDeque;
use std::time::Duration;

use logux_codecs::{Added, EventId, Message, ProtocolError, shown};

use super::arrival::Arrival;
use super::input_output::{ClaimOf, Config, Input, LogIdentity, Now, Output, Role};
use super::live::{Confirmed, Reevaluation};
use super::phase::Phase;
use super::report::Report;
use crate::cursors::Epoch;
use crate::sync::error::{
    Error, Misbehaviour, closed, credentials_expired, displaced, quota_exceeded, start_of,
    superseded,
};
use crate::sync::notice::Notice;
use crate::sync::state::State;

/// How many messages a peer may send before it is authenticated.
const EARLY_MESSAGES: usize = 16;

/// One connection. Everything that it knows ends with it; what must last is in the store.
///
/// Whoever runs it does this until it hangs up (`tests.rs` runs two of them over two queues):
///
/// ```text
/// let mut input = Input::Opened;
/// loop {
///     rules.handle(now(), input);
///     while let Some(output) = rules.poll() { /* do it; Output::HangUp ends the connection */ }
///     input = /* what happens next: a message, an answer to an output, Input::Tick at rules.deadline() */;
/// }
/// ```
///
/// Outputs wait in a queue, so one that is fetched late is late and nothing worse.
#[expect(clippy::struct_excessive_bools, reason = "each is about something else")]
#[derive(Debug)]
pub(crate) struct Rules<E> {
    pub(super) config: Config,
    pub(super) phase: Phase,
    pub(super) outputs: VecDeque<Output<E>>,
    pub(super) log_end: Added,
    early_messages: usize,
    early_bytes: usize,
    /// When the peer must have answered, since the connection was opened, and how long it had.
    pub(super) answer_by: Option<(Duration, Duration)>,
    /// When to ask the peer whether it is still there, since the connection was opened.
    pub(super) ask_at: Option<Duration>,
    /// When what the peer brought to prove who it is does not hold any more, since the connection was
    /// opened.
    pub(super) expires_at: Option<Duration>,
    was_synchronized: bool,
    /// Whether the peer has confirmed something.
    has_confirmed: bool,
    /// Whether this side's user, and the peer's, was told of another node with one of their names.
    pub(super) told_twin: bool,
    /// What the peer may have refused, once the connection is over.
    pub(super) suspects: Option<Suspects>,
    /// When the question went out that the peer has to answer.
    pub(super) asked: Option<Now>,
    pub(super) round_trip: Option<Duration>,
    /// Which log the peer says that it has.
    pub(super) peer_epoch: Option<Epoch>,
    /// An acceptor's peer wants nothing of this log up to here; an opener's log begins for it after this.
    pub(super) peer_begin: Option<Added>,
    /// Which log the peer's claim is about.
    pub(super) claim_of: ClaimOf,
    /// The headers that the peer has sent before it introduced itself, as JSON: a stranger's values can
    /// take many times the memory of their text.
    pub(super) early_headers: Box<[u8]>,
    pub(super) told_headers: bool,
}

/// The events that a peer may have refused.
#[derive(Clone, Debug)]
pub(crate) struct Suspects {
    /// They end here.
    pub(crate) up_to: Added,
    /// The event, if there is only one.
    pub(crate) only: Option<(Added, EventId)>,
    /// Those up to here were suspected before.
    pub(crate) before: Added,
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
            expires_at: None,
            was_synchronized: false,
            has_confirmed: false,
            told_twin: false,
            suspects: None,
            asked: None,
            round_trip: None,
            peer_epoch: None,
            peer_begin: None,
            claim_of: ClaimOf::default(),
            early_headers: Box::default(),
            told_headers: false,
        }
    }

    /// The next thing to do.
    pub(crate) fn poll(&mut self) -> Option<Output<E>> {
        self.outputs.pop_front()
    }

    /// When to call `handle` with [`Input::Tick`], if nothing else happens before: so long since the
    /// connection was opened.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        [self.answer_by.map(|(by, _)| by), self.ask_at].into_iter().flatten().min()
    }

    /// When to call `handle` with [`Input::Expired`]: so long since the connection was opened.
    pub(crate) fn expiry(&self) -> Option<Duration> {
        self.expires_at.filter(|_| self.is_live())
    }

    /// Whether a message may come now: not while the peer is being checked.
    pub(crate) fn reads(&self) -> bool {
        matches!(self.phase, Phase::Opening | Phase::Live(_))
    }

    /// How far the log was known to reach when it was last told.
    pub(crate) fn log_end(&self) -> Added {
        self.log_end
    }

    /// Up to here the log was sent, or is not for the peer.
    pub(crate) fn position(&self) -> Added {
        match &self.phase {
            Phase::Live(live) => live.position,
            _ => Added::ZERO,
        }
    }

    /// Whether the peer is let in, and the connection has not ended.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live(_))
    }

    /// The state that the user sees; `None` while it is not clear whether what the log got last
    /// is for the peer: then the state from before stands.
    pub(crate) fn state(&self) -> Option<State> {
        match &self.phase {
            Phase::Live(live) if !live.unconfirmed.is_empty() => Some(State::Sending),
            Phase::Live(live) if live.reading.is_some() || live.position < self.log_end => None,
            Phase::Live(live) if live.reevaluation != Reevaluation::Idle => None,
            Phase::Live(live) if live.peer_ready && live.ready_sent => Some(State::Synchronized),
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

    /// How far the peer is done with the log, by what it has said since it was let in: before that it may turn
    /// out that it has claimed a position of another log.
    pub(crate) fn reached(&self) -> Option<Added> {
        match &self.phase {
            Phase::Live(live) if live.peer_ready || self.has_confirmed => Some(live.sent),
            _ => None,
        }
    }

    /// Which log the peer says that it has.
    pub(crate) fn peer_epoch(&self) -> Option<Epoch> {
        self.peer_epoch
    }

    /// How long the last question took to be answered.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Whether the peer has confirmed something on this connection.
    pub(crate) fn has_confirmed(&self) -> bool {
        self.has_confirmed
    }

    /// Whether the connection got somewhere: both logs were once equal, and what was sent was not all in
    /// vain.
    pub(crate) fn progressed(&self) -> bool {
        self.was_synchronized && (self.has_confirmed || self.suspects().is_none())
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
            Input::LedTo(LogIdentity { node_id, epoch, end }) => {
                (self.config.local, self.config.epoch, self.log_end) = (node_id, epoch, end);
            }
            Input::Checked(Ok(admitted)) => self.let_in(now, *admitted),
            Input::Checked(Err(refusal)) => self.refuse(refusal.clone(), Error::Refused(refusal)),
            Input::Stored { count, received } => self.stored(count, received),
            Input::SentNext(sent_next) => self.covered(sent_next),
            Input::Twin => self.twin(),
            Input::Reevaluate => {
                if let Phase::Live(live) = &mut self.phase {
                    live.reevaluation = match live.reevaluation {
                        Reevaluation::Finding { .. } => Reevaluation::Finding { again: true },
                        Reevaluation::Idle | Reevaluation::Wanted => Reevaluation::Wanted,
                    };
                }
            }
            Input::StillSetAside(events) => self.tell_all(&events, Notice::SetAside),
            Input::FirstWithheld { after, suspected_up_to } => {
                if let Phase::Live(live) = &mut self.phase {
                    live.reevaluation = match live.reevaluation {
                        Reevaluation::Finding { again: false } => Reevaluation::Idle,
                        _ => Reevaluation::Wanted,
                    };
                    live.suspected_up_to = suspected_up_to;
                    if let Some(after) = after {
                        live.go_back(after);
                    }
                }
            }
            Input::Grown(end) => self.log_end = self.log_end.max(end),
            Input::Headers(headers) => {
                self.config.headers = headers;
                // Before `connect` came they are sent with the answer to it.
                if self.config.role == Role::Opener || self.is_live() {
                    self.send_headers();
                }
            }
            Input::Debug(text) => self.send(Message::Debug(text)),
            Input::Jumped(jump) => self.jumped(now, jump),
            Input::Tick => self.tick(now),
            Input::Listening => self.listening(now),
            Input::Ask => self.network_changed(now),
            Input::Expired => self.refuse(credentials_expired(), Error::Expired),
            Input::Superseded => self.refuse(superseded(), Error::Superseded),
            Input::OverQuota(quota) => {
                self.refuse(quota_exceeded(&quota), Error::QuotaExceeded(quota));
            }
            Input::Displaced => {
                self.refuse(displaced(), Error::Refused(displaced()));
            }
            Input::Close(reason) => {
                if let Some(reason) = reason {
                    self.send(Message::Error(closed(reason)));
                }
                self.hang_up(None);
            }
        }
        self.send_what_can_be_sent();
        self.was_synchronized |= self.state() == Some(State::Synchronized);
    }

    /// Every message in every phase: allowed, or what is wrong with it.
    fn receive(
        &mut self,
        now: Now,
        message: Message<Arrival<E>>,
        bytes: usize,
    ) -> Result<(), Misbehaviour> {
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
            (_, _, Message::Headers(headers)) => return self.headers(headers),
            (_, _, Message::Debug(text)) => {
                if !Report::parse(&text).is_some_and(|report| self.reported(&report)) {
                    self.tell(Notice::Debug(text));
                }
            }
            (Phase::Opening, Role::Opener, Message::Error(error)) if refuses_for_good(&error) => {
                self.hang_up(Some(Error::NotAccepted(error)));
            }
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
                let received = live.sync(sync, now.clock)?;
                self.refuse_events(received.incoming.refused.as_deref().unwrap_or_default());
                self.outputs.push_back(Output::Store(received.incoming));
                self.tell_all(&received.skipped, Notice::SetAside);
            }
            (Phase::Live(live), role, Message::Synced(added)) => {
                let Confirmed { count, moves } = live.synced(added)?;
                // An acceptor notes what the peer has said, to compare it with what it will claim.
                let noted = if role == Role::Opener { live.sent } else { added };
                self.has_confirmed = true;
                for _ in 0..count {
                    let Phase::Live(live) = &mut self.phase else { break };
                    let Some(covered) = live.unconfirmed.pop_front() else { break };
                    self.done_with(covered);
                }
                if moves {
                    self.outputs.push_back(Output::Advance(noted));
                }
            }
            (Phase::Live(live), _, Message::Ready(added)) if live.relative.protocol.has_ready() => {
                let received = live.ready(added);
                self.outputs.push_back(Output::Store(received));
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

    pub(super) fn send(&mut self, message: Message<E>) {
        self.outputs.push_back(Output::Send(message));
    }

    pub(super) fn tell(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Tell(notice));
    }

    pub(super) fn refuse(&mut self, tell_peer: ProtocolError, error: Error) {
        self.send(Message::Error(tell_peer));
        self.hang_up(Some(error));
    }

    pub(super) fn hang_up(&mut self, error: Option<Error>) {
        self.suspects = self.suspects();
        self.outputs.push_back(Output::HangUp(error));
        self.phase = Phase::Over;
    }
}

/// Whether a node that complains about what introduces this one will complain each time.
fn refuses_for_good(error: &ProtocolError) -> bool {
    matches!(error, ProtocolError::WrongFormat(_) | ProtocolError::UnknownMessage(_))
}
