//! Runs [`Rules`] as the value that they are: a node is plain data, a link is a queue, and whoever
//! holds both decides what happens next. For the tests of the rules, and for the fuzz target.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use bytes::Bytes;
use logux_codecs::{
    Added, EventId, Message, NodeId, ProtocolError, Sync, Timestamp, Value, WireEntry,
};

use super::arrival::Arrival;
use super::input_output::{
    Admitted, Claim, Config, Covered, Input, Now, Output, Role, SentNext, Unreadable, Wanted,
};
use super::relative::{FarFuture, Relative};
use super::rules::Rules;
use super::whose::Authors;
use crate::apart::{Refused, SetAside};
use crate::cursors::{Cursors, Epoch};
use crate::entry::{Entry, Incoming, Meta};
use crate::log::{Received, Trust};
use crate::sync::error::Error;
use crate::sync::notice::Notice;

/// How many events go into one `sync`.
const BATCH: usize = 3;

/// A log and the cursors of its peers.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) epoch: Epoch,
    /// The entry of position `n` is at `n - 1`.
    pub(crate) entries: Vec<Entry<Value>>,
    pub(crate) cursors: BTreeMap<NodeId, Cursors>,
    /// The node that answered when this one last dialled.
    pub(crate) dialled: Option<NodeId>,
    /// Whether each fifth event is withheld from the peer.
    pub(crate) filters: bool,
    /// The positions of what the peer was not sent.
    withheld: BTreeSet<Added>,
    /// Whether a peer is refused.
    pub(crate) refuses: bool,
    /// Whose events are taken from peers.
    pub(crate) authors: Authors,
    /// Up to here one event is sent at a time.
    pub(crate) suspected_up_to: Added,
    /// What peers did not take.
    pub(crate) held_back: Vec<Refused>,
    /// What cannot be read.
    pub(crate) set_aside: Vec<SetAside>,
}

impl Node {
    pub(crate) fn new(id: &str, epoch: u64) -> Self {
        let Ok(id) = id.parse() else { unreachable!("the tests' names are valid") };
        Self {
            id,
            epoch: Epoch::new(epoch),
            entries: Vec::new(),
            cursors: BTreeMap::new(),
            dialled: None,
            filters: false,
            withheld: BTreeSet::new(),
            refuses: false,
            authors: Authors::Any,
            suspected_up_to: Added::ZERO,
            held_back: Vec::new(),
            set_aside: Vec::new(),
        }
    }

    pub(crate) fn last_added(&self) -> Added {
        Added::ZERO.plus(self.entries.len() as u64)
    }

    /// Adds an event, made at a time that no event of this node has.
    pub(crate) fn add(&mut self, now: Timestamp) {
        let own =
            self.entries.iter().map(|entry| &entry.meta.id).filter(|id| *id.node() == self.id);
        let next = own.map(EventId::time).max().and_then(|last| last.shifted(1));
        let id = EventId::new(next.map_or(now, |next| next.max(now)), self.id.clone());
        self.push(Entry::new(Value::from(self.entries.len()), Meta::new(id)));
    }

    /// The node loses its log, and all that it knew.
    pub(crate) fn lose_all(&mut self) {
        *self = Self::new(self.id.as_str(), self.epoch.value() + 1);
    }

    fn push(&mut self, mut entry: Entry<Value>) {
        if self.entries.iter().all(|known| known.meta.id != entry.meta.id) {
            entry.meta.added = self.last_added().plus(1);
            self.entries.push(entry);
        }
    }

    fn store(&mut self, received: Incoming<Value>) {
        let Incoming { peer, entries, set_aside, up_to, .. } = received;
        self.set_aside.extend(set_aside);
        for entry in entries {
            self.push(entry);
        }
        let cursors = self.cursors.entry(peer).or_default();
        cursors.received = cursors.received.max(up_to);
    }

    /// The next events for a peer, and what the rules are to know of them.
    fn next(
        &mut self,
        wanted: Wanted,
        relative: &Relative,
    ) -> (Input<Value>, Option<Message<Value>>) {
        let after = usize::try_from(wanted.after.value()).unwrap_or(usize::MAX);
        let limit = if wanted.one_only { 1 } else { BATCH };
        let part: Vec<_> = self.entries.iter().skip(after).take(limit).collect();
        let up_to = part.last().map_or(wanted.up_to, |last| last.meta.added);
        let (mut entries, mut withheld) = (Vec::<WireEntry<Value>>::new(), Vec::new());
        let mut sent = Vec::new();
        for Entry { event, meta, .. } in part {
            let is_echo =
                meta.source.as_ref() == Some(&relative.peer) && meta.added > wanted.return_up_to;
            let is_there =
                meta.added <= wanted.reevaluate_up_to && !self.withheld.contains(&meta.added);
            if is_echo || is_there {
                continue;
            }
            let is_held_back = self.held_back.iter().any(|refused| refused.id == meta.id);
            if is_held_back || self.filters && meta.added.value().is_multiple_of(5) {
                withheld.push(meta.added);
            } else {
                sent.push((meta.added, meta.id.clone()));
                entries.push((event.clone(), relative.outgoing(meta.added, &meta.id, meta)));
            }
        }
        self.withheld.extend(&withheld);
        let message = (!sent.is_empty()).then_some(Message::Sync(Sync { added: up_to, entries }));
        (
            Input::SentNext(SentNext {
                up_to,
                sent,
                withheld,
                unsendable: Vec::new(),
                is_offer: false,
            }),
            message,
        )
    }

    /// Whether an event of this node's is withheld from the peer.
    pub(crate) fn withholds(&self, entry: &Entry<Value>) -> bool {
        self.withheld.contains(&entry.meta.added)
    }

    /// The peer has all that was sent to it of a part of the log.
    fn confirmed(&mut self, covered: &Covered) {
        self.withheld.retain(|added| *added <= covered.after || *added > covered.up_to);
        self.withheld.extend(&covered.withheld);
    }
}

/// What was asked for, until it is done.
#[derive(Debug)]
enum Answer {
    Now(Input<Value>),
    /// These are not stored before the rules are told so.
    Store(Incoming<Value>),
    /// These are not sent before the rules are told so.
    Send(Wanted),
}

/// One side of a connection.
#[derive(Debug)]
pub(crate) struct Side {
    rules: Rules<Value>,
    role: Role,
    peer: Option<NodeId>,
    relative: Option<Relative>,
    /// What was sent and has not arrived.
    pub(crate) sent: VecDeque<Message<Value>>,
    /// What the rules asked for and were not answered yet, in order.
    answers: VecDeque<Answer>,
    pub(crate) notices: Vec<Notice>,
    /// How many `sync` and `ready` are stored, and how many `synced` were sent.
    pub(crate) stored: usize,
    pub(crate) confirmed: usize,
    /// Why it hung up, once it has.
    pub(crate) ended: Option<Result<(), Error>>,
}

impl Side {
    pub(crate) fn open(node: &mut Node, role: Role, fix_time: bool, now: Now) -> Self {
        let expected = node.dialled.as_ref().and_then(|dialled| node.cursors.get(dialled));
        let config = Config {
            role,
            local: node.id.clone(),
            peer_name: None,
            epoch: node.epoch,
            credentials: None,
            subprotocol: None,
            headers: logux_codecs::Headers::new(),
            timeout: std::time::Duration::from_secs(5),
            ping: Some(std::time::Duration::from_secs(10)),
            max_early_bytes: 1 << 16,
            admission_timeout: std::time::Duration::from_secs(5),
            window: 2,
            far_future: FarFuture::default(),
            unreadable: Unreadable::default(),
            fix_time,
            time_fix: None,
            synced_override: None,
            claim: match role {
                Role::Opener => Claim {
                    synced: expected.map_or(Added::ZERO, |cursors| cursors.received),
                    of: node.dialled.clone(),
                    epoch: expected.and_then(|cursors| cursors.epoch),
                    is_told: false,
                    may_be_mended: true,
                },
                Role::Acceptor => Claim::default(),
            },
            begin_after: None,
        };
        let mut side = Self {
            rules: Rules::new(config, node.last_added()),
            role,
            peer: None,
            relative: None,
            sent: VecDeque::new(),
            answers: VecDeque::new(),
            notices: Vec::new(),
            stored: 0,
            confirmed: 0,
            ended: None,
        };
        side.handle(node, now, Input::Opened);
        side
    }

    pub(crate) fn rules(&self) -> &Rules<Value> {
        &self.rules
    }

    /// Whether the rules wait for an answer.
    pub(crate) fn is_asking(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Gives the rules the oldest answer.
    pub(crate) fn answer(&mut self, node: &mut Node, now: Now) {
        let input = match self.answers.pop_front() {
            Some(Answer::Now(input)) => input,
            Some(Answer::Store(incoming)) => {
                node.store(incoming);
                self.stored += 1;
                Input::Stored { count: 1, received: Received::default() }
            }
            Some(Answer::Send(wanted)) => {
                let relative = self.relative.as_ref().expect("nothing is sent before");
                let (input, events) = node.next(wanted, relative);
                self.sent.extend(events);
                input
            }
            None => return,
        };
        self.handle(node, now, input);
    }

    /// A message arrives.
    pub(crate) fn receive(&mut self, node: &mut Node, now: Now, message: Message<Value>) {
        self.receive_arrival(node, now, message.map_events(|event| Arrival::Event(event, 0)));
    }

    /// A message arrives, maybe with events that cannot be read.
    pub(crate) fn receive_arrival(
        &mut self,
        node: &mut Node,
        now: Now,
        message: Message<Arrival<Value>>,
    ) {
        self.handle(node, now, Input::Received { message, frame: Bytes::new() });
    }

    /// Hands the rules one input, and does what they say; what takes time elsewhere is answered when
    /// the test says so.
    pub(crate) fn handle(&mut self, node: &mut Node, now: Now, input: Input<Value>) {
        self.rules.handle(now, input);
        while let Some(output) = self.rules.poll() {
            assert!(self.ended.is_none(), "{output:?} after the end");
            match output {
                Output::Send(message) => {
                    assert!(
                        !matches!(message, Message::Sync(_)),
                        "events are sent by the connection"
                    );
                    self.confirmed += usize::from(matches!(message, Message::Synced(_)));
                    self.sent.push_back(message);
                }
                Output::Check(introduction) => {
                    let cursors = node.cursors.get(&introduction.node_id).copied();
                    let mut cursors = cursors.unwrap_or_default();
                    if cursors.epoch.is_none() {
                        let known = node.cursors.entry(introduction.node_id.clone()).or_default();
                        known.epoch = introduction.epoch;
                    }
                    cursors.epoch = cursors.epoch.or(introduction.epoch);
                    if self.role == Role::Opener && !node.refuses {
                        node.dialled = Some(introduction.node_id.clone());
                    }
                    self.peer = Some(introduction.node_id);
                    let refusal = node.refuses.then_some(ProtocolError::WrongCredentials);
                    let admitted = Admitted {
                        lasts: None,
                        cursors,
                        trust: Trust::default(),
                        authors: node.authors,
                        suspected_up_to: node.suspected_up_to,
                        held_back: HashSet::new(),
                        starts_after: Added::ZERO,
                    };
                    let checked = refusal.map_or(Ok(Box::new(admitted)), Err);
                    self.answers.push_back(Answer::Now(Input::Checked(checked)));
                }
                Output::LetIn(let_in) => self.relative = Some(let_in.relative),
                Output::Store(incoming) => self.answers.push_back(Answer::Store(incoming)),
                Output::SendNext(wanted) => self.answers.push_back(Answer::Send(wanted)),
                Output::Advance(sent) => {
                    let cursors = node.cursors.entry(self.peer()).or_default();
                    cursors.sent = cursors.sent.max(sent);
                }
                Output::Reset(cursors) => {
                    node.cursors.insert(self.peer(), cursors);
                }
                Output::FindWithheld => {
                    let first = node.withheld.first();
                    let before = first.map(|first| Added::ZERO.plus(first.value() - 1));
                    self.answers.push_back(Answer::Now(Input::FirstWithheld {
                        after: before,
                        suspected_up_to: node.suspected_up_to,
                    }));
                }
                Output::HoldBack(events) => node.held_back.extend(events),
                Output::Confirmed(covered) => node.confirmed(&covered),
                Output::Reevaluated => {}
                Output::Tell(notice) => self.notices.push(notice),
                Output::Fix(relative) => self.relative = Some(relative),
                Output::HangUp(error) => self.ended = Some(error.map_or(Ok(()), Err)),
            }
        }
    }

    fn peer(&self) -> NodeId {
        self.peer.clone().expect("cursors are of a peer that has introduced itself")
    }
}
