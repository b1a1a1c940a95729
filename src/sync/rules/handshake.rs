//! From the opening of a connection to its first event: who the peer is, whether it has the log
//! that it had, and where both sides begin.

use std::collections::VecDeque;
use std::sync::Arc;

use logux_codecs::{
    Added, Connect, Connected, Headers, Message, NodeId, Protocol, ProtocolError, Timestamp, Value,
};

use super::clocks::TimeFix;
use super::input_output::{
    Admitted, Claim, ClaimOf, Config, Introduction, LetIn, Now, Output, Role,
};
use super::live::{Live, Reevaluation};
use super::phase::{Candidate, Phase};
use super::relative::Relative;
use super::rules::Rules;
use crate::cursors::{Cursors, Epoch};
use crate::log::Trust;
use crate::sync::error::{Error, Misbehaviour};
use crate::sync::notice::Notice;

/// The header that carries a log's [`Epoch`].
const EPOCH: &str = "log-epoch";

/// The header that says which log an opener's claim in `connect` is about: its [`Epoch`], or nothing. Where
/// another log is behind the one that answers, it is no claim.
const CLAIM_OF: &str = "log-claim-of";

/// The header by which an opener says up to where it wants nothing of the other node's log, and is told where that
/// begins for it. It is for the one connection: what is told counts as received from then on.
const BEGIN: &str = "log-begin-after";

impl<E> Rules<E> {
    pub(super) fn open(&mut self, now: Now) {
        self.answer_within(now, self.config.admission_timeout);
        if self.config.role == Role::Opener {
            self.asked = Some(now);
            self.send_headers();
            let Config { local, credentials, subprotocol, claim, .. } = &self.config;
            let connect = Connect {
                protocol: Protocol::LATEST.number(),
                node_id: local.clone(),
                synced: claim.synced,
                credentials: credentials.clone(),
                subprotocol: *subprotocol,
            };
            self.send(Message::Connect(connect));
        }
    }

    pub(super) fn connect(&mut self, now: Now, connect: Connect) -> Result<(), Misbehaviour> {
        let protocol = match Protocol::to_answer(connect.protocol) {
            Ok(protocol) => protocol,
            Err(supported) => {
                self.refuse_protocol(supported, connect.protocol);
                return Ok(());
            }
        };
        let candidate = Candidate {
            protocol,
            node_id: connect.node_id.clone(),
            name: connect.node_id,
            subprotocol: connect.subprotocol,
            headers: self.take_headers(),
            synced: connect.synced,
            start: now.clock,
            base_time: now.clock,
            time_fix: 0,
        };
        self.check(candidate, connect.credentials)
    }

    pub(super) fn connected(&mut self, now: Now, connected: Connected) -> Result<(), Misbehaviour> {
        let protocol = match Protocol::of_answer(connected.protocol) {
            Ok(protocol) => protocol,
            Err(supported) => {
                self.refuse_protocol(supported, connected.protocol);
                return Ok(());
            }
        };
        let time_fix = self.time_fix(now, &connected)?;
        let candidate = Candidate {
            protocol,
            node_id: self.config.peer_name.clone().unwrap_or_else(|| connected.node_id.clone()),
            name: connected.node_id,
            subprotocol: connected.subprotocol,
            headers: self.take_headers(),
            synced: Added::ZERO,
            start: connected.start,
            base_time: connected.end,
            time_fix,
        };
        self.check(candidate, connected.credentials)
    }

    fn refuse_protocol(&mut self, supported: u32, used: u32) {
        let error = ProtocolError::WrongProtocol { supported, used };
        self.refuse(error.clone(), Error::Refused(error));
    }

    fn check(
        &mut self,
        candidate: Candidate,
        credentials: Option<Value>,
    ) -> Result<(), Misbehaviour> {
        if candidate.node_id == self.config.local || candidate.name == self.config.local {
            return Err(Misbehaviour::SameNode(self.config.local.clone()));
        }
        self.outputs.push_back(Output::Check(Introduction {
            node_id: candidate.node_id.clone(),
            name: candidate.name.clone(),
            credentials,
            subprotocol: candidate.subprotocol,
            headers: Arc::clone(&candidate.headers),
            epoch: self.peer_epoch,
            begin: self.peer_begin,
            synced: candidate.synced,
            claim_of: self.claim_of,
        }));
        self.phase = Phase::Checking(candidate);
        Ok(())
    }

    /// The peer is who it says: answer it, and find out where both logs stand.
    pub(super) fn let_in(&mut self, now: Now, admitted: Admitted) {
        let Admitted { cursors, trust, authors, lasts, suspected_up_to, held_back, starts_after } =
            admitted;
        let Phase::Checking(candidate) = std::mem::replace(&mut self.phase, Phase::Over) else {
            return;
        };
        if candidate.node_id == self.config.local {
            let fault = Misbehaviour::SameNode(candidate.node_id);
            let text = self.config.local.to_string();
            self.refuse(fault.to_protocol(text), Error::Peer(fault));
            return;
        }
        let is_other_claim = !self.claim_of.is_of(self.config.epoch);
        let claimed = if is_other_claim { Added::ZERO } else { candidate.synced };
        let (base_time, sent) = match self.config.role {
            Role::Acceptor => (now.clock, self.believed(claimed, &cursors, trust)),
            Role::Opener => (candidate.base_time, cursors.sent),
        };
        let sent = self.config.synced_override.unwrap_or(sent);
        if self.config.role == Role::Opener
            && self.config.claim.is_wrong(&candidate.name, cursors.received, self.peer_begin)
        {
            self.hang_up(Some(Error::AnotherNode { found: candidate.name }));
            return;
        }
        // The peer has another log than before, which lacks what had come from it: it says so, or
        // it has confirmed more than it claims to have.
        let replaced = self.is_replaced(&cursors);
        let lost = replaced
            || self.config.role == Role::Acceptor
                && self.config.synced_override.is_none()
                && !is_other_claim
                && claimed < cursors.sent;
        // Or it has never confirmed any of what it says that it has, or more than there is: that was not of
        // this log.
        let is_unfounded =
            self.config.synced_override.is_none() && sent == Added::ZERO && claimed > Added::ZERO;
        let start_over = lost || sent > self.log_end || is_unfounded;
        let sent = if start_over { Added::ZERO } else { sent };
        // Whatever it has: of what comes before, it has said that it wants nothing.
        let begin = self.begin_for_peer();
        let sent = begin.map_or(sent, |begin| sent.max(begin));
        let sent = sent.max(starts_after.min(self.log_end));
        let cursors = if lost { self.reset_cursors(&cursors) } else { cursors };
        if replaced && self.config.claim.synced > Added::ZERO {
            // What it was told in `connect` was about the other log.
            self.hang_up(Some(Error::LogReplaced));
            return;
        }
        let protocol = candidate.protocol;
        let relative = Relative {
            protocol,
            base_time,
            time_fix: TimeFix::new(candidate.time_fix),
            local: self.config.local.clone(),
            peer: candidate.node_id,
            peer_name: candidate.name,
            local_subprotocol: self.config.subprotocol,
            peer_subprotocol: candidate.subprotocol,
        };
        let unfounded = (start_over && !lost).then_some(claimed);
        let let_in =
            LetIn { relative: relative.clone(), authors, start: sent, unfounded, held_back };
        self.outputs.push_back(Output::LetIn(Box::new(let_in)));
        if begin.is_some() {
            // As good as confirmed: old events are not kept for it.
            self.outputs.push_back(Output::Advance(sent));
        }
        self.phase = Phase::Live(Live {
            relative,
            position: sent,
            start_end: self.log_end,
            return_up_to: cursors.return_up_to,
            reading: None,
            reevaluation: Reevaluation::Idle,
            reevaluate_up_to: Added::ZERO,
            unconfirmed: VecDeque::new(),
            sent,
            stale: 0,
            restarts: false,
            ready_sent: !protocol.has_ready(),
            received: cursors.received,
            received_before: cursors.received,
            storing: VecDeque::new(),
            peer_ready: !protocol.has_ready(),
            far_future: self.config.far_future,
            unreadable: self.config.unreadable,
            authors,
            suspected_up_to,
        });
        self.answer_by = None;
        self.ask_at = self.next_ping(now);
        if !candidate.headers.is_empty() {
            self.tell(Notice::Headers(candidate.headers));
        }
        self.expires_at = lasts.and_then(|lasts| now.elapsed.checked_add(lasts));
        if start_over {
            self.tell(Notice::StartedOver);
        }
        if self.config.role == Role::Acceptor {
            // A clock that stepped back meanwhile must not make an answer before its question.
            self.answer_connect(protocol, candidate.start.min(base_time), base_time);
        }
    }

    fn answer_connect(&mut self, protocol: Protocol, start: Timestamp, end: Timestamp) {
        self.send_headers();
        let Config { local, credentials, subprotocol, .. } = &self.config;
        let connected = Connected {
            protocol: protocol.number(),
            node_id: local.clone(),
            start,
            end,
            credentials: credentials.clone(),
            subprotocol: *subprotocol,
        };
        self.send(Message::Connected(connected));
    }

    /// Whether the peer says that it has another log than before.
    fn is_replaced(&self, cursors: &Cursors) -> bool {
        match (cursors.epoch, self.peer_epoch) {
            (Some(old), Some(new)) => old != new,
            // The log that something was received from did not say which it is, and this one does.
            (None, Some(_)) => cursors.received > Added::ZERO,
            (_, None) => false,
        }
    }

    /// Where this node's log begins for a peer that wants only a part of it.
    fn begin_for_peer(&self) -> Option<Added> {
        let begin = self.peer_begin.filter(|_| self.config.role == Role::Acceptor);
        begin.map(|begin| begin.min(self.log_end))
    }

    /// How far a peer has this log that says it has it up to here. Where nothing is known of the peer yet, its
    /// claim was about an earlier log of this node. A node that knows which log it speaks of notices
    /// that by itself from then on. Any other one, as JavaScript nodes are, goes on to claim it: until it
    /// has confirmed as much of this log, it has what it has confirmed, and some of what follows may travel
    /// again.
    fn believed(&self, claimed: Added, cursors: &Cursors, trust: Trust) -> Added {
        let Trust { settled, unfounded } = trust;
        let confirmed = cursors.sent.max(settled);
        let is_met = confirmed > Added::ZERO || cursors.epoch.is_some();
        let is_founded = is_met
            && match self.peer_epoch {
                Some(_) => claimed <= self.log_end,
                None => unfounded <= confirmed,
            };
        if is_founded { claimed } else { claimed.min(confirmed) }
    }

    /// What is known of a peer whose log is another one: nothing, but that it lacks what it sent.
    pub(super) fn reset_cursors(&mut self, before: &Cursors) -> Cursors {
        let cursors = Cursors {
            return_up_to: self.log_end,
            epoch: self.peer_epoch.or(before.epoch),
            ..Cursors::default()
        };
        self.outputs.push_back(Output::Reset(cursors));
        cursors
    }

    /// The peer's headers, all of them; the one that is between the nodes is not for the user.
    pub(super) fn headers(&mut self, mut headers: Headers) -> Result<(), Misbehaviour> {
        let epoch = headers.remove(EPOCH);
        if let Some(claim_of) = headers.remove(CLAIM_OF) {
            let epoch = claim_of.as_str().and_then(Epoch::parse);
            self.claim_of = epoch.map_or(ClaimOf::Nothing, ClaimOf::Log);
        }
        if let Some(begin) = headers.remove(BEGIN) {
            let is_asked = self.config.role == Role::Acceptor || self.config.begin_after.is_some();
            let begin = begin.as_u64().and_then(Added::new).filter(|_| is_asked);
            self.peer_begin = begin.or(self.peer_begin);
        }
        if let Some(epoch) = epoch.as_ref().and_then(Value::as_str).and_then(Epoch::parse) {
            self.peer_epoch = self.peer_epoch.or(Some(epoch));
            if headers.is_empty() && !self.told_headers {
                return Ok(());
            }
        }
        self.told_headers = true;
        if !matches!(self.phase, Phase::Opening) {
            self.tell(Notice::Headers(Arc::new(headers)));
            return Ok(());
        }
        // A map of values with keys that are texts can be written.
        self.early_headers = serde_json::to_vec(&headers).unwrap_or_default().into();
        if self.early_headers.len() > self.config.max_early_bytes {
            return Err(Misbehaviour::TooMuchTooEarly);
        }
        Ok(())
    }

    /// The headers that the peer has sent before it introduced itself.
    fn take_headers(&mut self) -> Arc<Headers> {
        let headers = std::mem::take(&mut self.early_headers);
        // What was written here can be read; nothing was, where there were none.
        Arc::new(serde_json::from_slice(&headers).unwrap_or_default())
    }

    pub(super) fn send_headers(&mut self) {
        let mut headers = self.config.headers.clone();
        headers.insert(EPOCH.to_owned(), self.config.epoch.to_string().into());
        let Config { role, claim, begin_after, .. } = &self.config;
        let begin = match role {
            Role::Opener => *begin_after,
            Role::Acceptor => self.begin_for_peer(),
        };
        if let Some(begin) = begin {
            headers.insert(BEGIN.to_owned(), begin.value().into());
        }
        if *role == Role::Opener && !claim.is_told {
            let of = claim.epoch.map_or(Value::Null, |epoch| epoch.to_string().into());
            headers.insert(CLAIM_OF.to_owned(), of);
        }
        self.send(Message::Headers(headers));
    }
}

impl Claim {
    /// Whether it was a wrong guess, now that this node has answered, whose log is received up to here, and begins
    /// after `begin` for this one. Told
    /// too much, the node would leave out events; told too little, it would send all again.
    fn is_wrong(&self, found: &NodeId, received: Added, begin: Option<Added>) -> bool {
        let told = self.synced.max(begin.unwrap_or_default());
        let is_too_low = told < received && self.of.as_ref() != Some(found);
        self.synced > received || self.may_be_mended && is_too_low
    }
}
