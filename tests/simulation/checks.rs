//! What must hold at each frame that is sent, each time that a store commits, and in the end.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use logux_sync::codecs::{Message, Protocol, Sync};
use logux_sync::{Codec, Entry, EventId, Limits, NodeId, ProtocolError, Timestamp, Value};
use tokio::time::Instant;

use crate::event::Number;
use crate::features::{BURST, Features, MAX_WINDOW};
use crate::store::{Disk, Held, Mirror};

/// What one peer may have set aside, in events and bytes.
const MAX_SET_ASIDE: usize = 1_000;

/// A clock that is corrected by no more than this does not move times back.
const SMALL_STEP_MS: u64 = 1_000;

const DAY_MS: u64 = 24 * 3_600_000;

/// What the checks know.
pub(crate) struct Checks {
    pub(crate) stores: BTreeMap<NodeId, Arc<Disk>>,
    features: Features,
    /// Which node dials which.
    dials: HashSet<(NodeId, NodeId)>,
    /// What the nodes made.
    made: HashMap<EventId, Made>,
    /// By connection and sender: what was sent over it.
    sent: HashMap<(u64, NodeId), HashSet<EventId>>,
    /// By connection and sender: what it said that it does not take.
    named: HashMap<(u64, NodeId), HashSet<EventId>>,
    /// By connection and sender: how many `sync` wait for their `synced`.
    waiting: HashMap<(u64, NodeId), usize>,
    /// By connection and sender: how many events are in the `sync` that wait for their `synced`.
    sizes: HashMap<(u64, NodeId), VecDeque<usize>>,
    /// By nodes, sorted: the number of their newest connection on which something was said.
    newest: HashMap<[NodeId; 2], u64>,
    /// When each node began to run.
    began: HashMap<NodeId, Instant>,
    /// By node and client: how many of its events the node has confirmed since then.
    confirmed: HashMap<(NodeId, NodeId), usize>,
    /// By connection: the events of the hostile peer's `sync` that wait for their `synced`.
    hostile_waiting: HashMap<u64, VecDeque<Vec<EventId>>>,
    /// Whether a log was replaced: what was known of it is void.
    replaced: bool,
    /// How far each check has come: what was true of a position stays true.
    checked: HashMap<(Check, NodeId, NodeId), u64>,
    pub(crate) violations: Vec<String>,
    pub(crate) frames: u64,
    trace: DefaultHasher,
    start: Instant,
    verbose: bool,
}

/// An event that a node made.
#[derive(Clone, Copy)]
struct Made {
    number: Number,
    /// While its clock was wrong by days: other nodes may believe another time.
    is_wild: bool,
    is_late: bool,
}

/// An event that a node has just made.
pub(crate) struct Adding<'a> {
    pub(crate) node: &'a NodeId,
    pub(crate) entry: &'a Entry<Number>,
    /// What was to be added.
    pub(crate) number: Number,
    /// When, by the clock of the node.
    pub(crate) during: RangeInclusive<Timestamp>,
    /// The latest that this clock has said to the process.
    pub(crate) latest: Timestamp,
    /// The time in the last id that the node gave, as far as it must know it.
    pub(crate) last_id: Timestamp,
    pub(crate) is_wild: bool,
    /// Whether its id was taken, so that it came after others of its batch: ids are taken where a clock was
    /// wrong by days.
    pub(crate) is_late: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Check {
    Confirmed,
    SentOver(u64),
    CursorSent,
    CursorReceived,
}

impl Checks {
    pub(crate) fn new(
        features: Features,
        dials: HashSet<(NodeId, NodeId)>,
        start: Instant,
        verbose: bool,
    ) -> Self {
        Self {
            stores: BTreeMap::new(),
            features,
            dials,
            made: HashMap::new(),
            sent: HashMap::new(),
            named: HashMap::new(),
            waiting: HashMap::new(),
            sizes: HashMap::new(),
            newest: HashMap::new(),
            began: HashMap::new(),
            confirmed: HashMap::new(),
            hostile_waiting: HashMap::new(),
            replaced: false,
            checked: HashMap::new(),
            violations: Vec::new(),
            frames: 0,
            trace: DefaultHasher::new(),
            start,
            verbose,
        }
    }

    pub(crate) fn violate(&mut self, what: impl std::fmt::Display) {
        let at = self.start.elapsed().as_millis();
        self.violations.push(format!("at {at} ms: {what}"));
    }

    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// Looks at an event that a node has made: it is this event, under a new id; its time is that of
    /// the node's clock, but for a small step back; its id is later than the one before, and not ahead of
    /// the clock by more than a day.
    pub(crate) fn added(&mut self, adding: &Adding<'_>) {
        let Adding { node, entry, number, during, latest, last_id, is_wild, is_late } = adding;
        let meta = &entry.meta;
        if entry.event != *number {
            self.violate(format!("{node} added {number:?}, and got {:?}", entry.event));
        }
        let made = Made { number: *number, is_wild: *is_wild, is_late: *is_late };
        if meta.id.node() != *node || self.made.insert(meta.id.clone(), made).is_some() {
            self.violate(format!("{node} gave the id {} again", meta.id));
        }
        if meta.id.time() <= *last_id {
            self.violate(format!("{node} made {} after one of {last_id}", meta.id));
        }
        let (first, last) = (during.start().value(), during.end().value() + SMALL_STEP_MS);
        if !(first..=last).contains(&meta.time.value()) {
            self.violate(format!("{} has the time {}, made at {during:?}", meta.id, meta.time));
        }
        if meta.id.time().value() > latest.value() + DAY_MS + self.made.len() as u64 {
            self.violate(format!("{node} made {} when it was {latest} at most", meta.id));
        }
    }

    /// Looks at a frame in the moment in which it is sent.
    pub(crate) fn frame(&mut self, link: u64, from: &NodeId, to: &NodeId, frame: &[u8]) {
        self.frames += 1;
        let newest = self.newest.entry(sorted(from, to)).or_default();
        *newest = link.max(*newest);
        let at = self.start.elapsed().as_millis();
        (link, from, to, frame, at).hash(&mut self.trace);
        if self.verbose {
            let text = String::from_utf8_lossy(&frame[..frame.len().min(100)]);
            println!("{at:>8} ms  #{link} {from} -> {to}  {text}");
        }
        if self.features.hostile.as_ref() == Some(from) {
            return self.hostile_frame(link, from, frame);
        }
        let message: Message<Number> =
            self.features.codec.decode(frame, Limits::default()).unwrap();
        if let Message::Debug(text) = &message {
            self.debug(link, from, to, text);
        }
        if self.features.hostile.as_ref() == Some(to) {
            return self.frame_to_hostile(link, from, to, &message);
        }
        match message {
            Message::Sync(sync) => {
                let waiting = self.waiting.entry((link, from.clone())).or_default();
                *waiting += 1;
                if *waiting > MAX_WINDOW {
                    self.violate(format!("more than {MAX_WINDOW} messages wait for {to}"));
                }
                let sizes = self.sizes.entry((link, from.clone())).or_default();
                sizes.push_back(sync.entries.len());
                self.nothing_private_is_sent(from, to, &sync);
                for id in ids(&sync, from) {
                    if !self.replaced && self.came_from(from, &id) == Some(to.clone()) {
                        self.violate(format!("{from} sends {id} back to {to}"));
                    }
                    let sent = self.sent.entry((link, from.clone())).or_default();
                    if !sent.insert(id.clone()) && !self.replaced {
                        self.violate(format!("{from} sends {id} to {to} twice"));
                    }
                }
                self.all_was_sent(link, from, to, sync.added.value(), "sync");
            }
            // I1: what is confirmed is stored; or a rule says that it is not taken, and it was named
            // before.
            Message::Synced(added) => {
                let waiting = self.waiting.entry((link, to.clone())).or_default();
                *waiting = waiting.saturating_sub(1);
                let sizes = self.sizes.entry((link, to.clone())).or_default();
                let size = sizes.pop_front().unwrap_or_default();
                self.quota_is_kept(from, to, size);
                for held in self.unchecked(Check::Confirmed, to, from, added.value()) {
                    let is_refused = self.may_lack(to, from, &held)
                        && (self.is_named(link, from, &held.id)
                            || self.is_held_back(to, from, &held.id));
                    // What came from a log that was lost since, and was stored late, is not given back.
                    let is_lost = self.replaced && held.source.as_ref() == Some(from);
                    if !self.has(from, &held.id) && !is_refused && !is_lost {
                        let id = held.id;
                        self.violate(format!("{from} confirms {added}, but does not have {id}"));
                    }
                }
            }
            // I2: what these carry was sent.
            Message::Ready(added) => self.all_was_sent(link, from, to, added.value(), "ready"),
            Message::Ping(added) => self.all_was_sent(link, from, to, added.value(), "ping"),
            Message::Pong(added) => self.all_was_sent(link, from, to, added.value(), "pong"),
            Message::Error(ProtocolError::Other { kind, .. })
                if self.features.may_complain(&kind) => {}
            Message::Error(ProtocolError::WrongCredentials) if self.features.stale => {}
            // Only ever on the older one of two connections.
            Message::Error(ProtocolError::Other { kind, .. })
                if kind == "superseded" && self.newest.get(&sorted(from, to)) > Some(&link) => {}
            Message::Error(error) => self.violate(format!("{from} complains: {error}")),
            _ => {}
        }
    }

    /// Notes what a node says that it does not take. That is nothing that a rule does not say; and a twin
    /// is there only where a log was replaced.
    fn debug(&mut self, link: u64, from: &NodeId, to: &NodeId, text: &str) {
        let is_hostile = self.features.hostile.as_ref() == Some(to);
        let Some(refused) = refused(text) else {
            if !self.replaced && !is_hostile {
                self.violate(format!("{from} tells {to}: {text}"));
            }
            return;
        };
        for id in &refused {
            let number = self.made.get(id).map_or(Number(0), |made| made.number);
            let held = Held { id: id.clone(), number, source: None };
            if !is_hostile && !self.may_refuse(to, from, &held) {
                self.violate(format!("{from} refuses {id} of {to}: {text}"));
            }
        }
        self.named.entry((link, from.clone())).or_default().extend(refused);
    }

    /// A process begins at a node: it knows nothing of what clients have sent before.
    pub(crate) fn began(&mut self, node: &NodeId) {
        self.began.insert(node.clone(), Instant::now());
        self.confirmed.retain(|(by, _), _| by != node);
    }

    /// A client has no more confirmed than its quota, whatever its connections; but for one message, which is
    /// taken whole.
    fn quota_is_kept(&mut self, by: &NodeId, client: &NodeId, size: usize) {
        let Some(events) = self.features.quota.filter(|_| !self.features.relay) else { return };
        if !self.dials.contains(&(client.clone(), by.clone())) {
            return;
        }
        let confirmed = self.confirmed.entry((by.clone(), client.clone())).or_default();
        let before = std::mem::replace(confirmed, *confirmed + size) as u128;
        let passed = self.began[by].elapsed() + BURST;
        if before * 1_000 > u128::from(events) * passed.as_millis() {
            self.violate(format!("{by} has confirmed {before} events of {client} in {passed:?}"));
        }
    }

    /// Notes the events that the hostile peer sends.
    fn hostile_frame(&mut self, link: u64, from: &NodeId, frame: &[u8]) {
        // A codec may refuse what it can write: a `sync` without events, as XML.
        let message = self.features.codec.decode::<Value>(frame, Limits::default());
        if let Ok(Message::Sync(sync)) = message {
            let ids = ids(&sync, from).collect();
            self.hostile_waiting.entry(link).or_default().push_back(ids);
        }
    }

    /// What is confirmed to the hostile peer is stored, set aside, or named before. It sees nothing that
    /// is private.
    fn frame_to_hostile(
        &mut self,
        link: u64,
        from: &NodeId,
        to: &NodeId,
        message: &Message<Number>,
    ) {
        match message {
            Message::Sync(sync) => self.nothing_private_is_sent(from, to, sync),
            Message::Synced(added) => {
                let waiting = self.hostile_waiting.entry(link).or_default();
                let Some(ids) = waiting.pop_front() else {
                    return self.violate(format!("{from} confirms {added}, which was not sent"));
                };
                for id in ids {
                    let is_set_aside =
                        self.mirror(from, |mirror| mirror.set_aside.contains_key(&id));
                    if !self.has(from, &id) && !is_set_aside && !self.is_named(link, from, &id) {
                        self.violate(format!("{from} confirms {added} to {to}, and {id} is lost"));
                    }
                }
            }
            _ => {}
        }
    }

    fn nothing_private_is_sent(&mut self, from: &NodeId, to: &NodeId, sync: &Sync<Number>) {
        let open = self.features.private.as_ref();
        if open.is_none_or(|open| open.load(Ordering::Relaxed)) {
            return;
        }
        for (event, _) in &sync.entries {
            if event.is_private() {
                self.violate(format!("{from} sends {to} the private event {event:?}"));
            }
        }
    }

    /// Everything up to a position is at the peer, or on its way on this connection, or held back from
    /// the peer and listed.
    fn all_was_sent(&mut self, link: u64, from: &NodeId, to: &NodeId, added: u64, kind: &str) {
        if self.replaced {
            // What a peer claims to have may be of the log before; it will say so itself.
            return;
        }
        for Held { id, source, .. } in self.unchecked(Check::SentOver(link), from, to, added) {
            let sent = self.sent.get(&(link, from.clone())).is_some_and(|sent| sent.contains(&id));
            if source.as_ref() != Some(to)
                && !sent
                && !self.has(to, &id)
                && !self.is_held_back(from, to, &id)
            {
                self.violate(format!("{from} sends {kind} {added} to {to}, but not {id}"));
            }
        }
    }

    /// What holds at rest: the cursors, what is held back, and what is set aside.
    pub(crate) fn stores_agree(&mut self) {
        self.cursors_pass_only_what_is_there();
        if !self.features.may_fail() {
            self.only_what_a_rule_refuses_is_held_back();
        }
        self.what_is_set_aside_is_bounded();
    }

    /// I2 at rest: a cursor passes only what is there, or what a rule refuses and its sender lists.
    fn cursors_pass_only_what_is_there(&mut self) {
        if self.replaced {
            // A peer is not known to have another log before it says so.
            return;
        }
        let mut cursors = Vec::new();
        for (node, store) in &self.stores {
            let mirror = store.mirror.lock().unwrap();
            let honest = mirror.cursors.iter().filter(|(peer, _)| self.stores.contains_key(*peer));
            cursors.extend(honest.map(|(peer, c)| (node.clone(), peer.clone(), *c)));
        }
        for (node, peer, cursors) in cursors {
            for held in self.unchecked(Check::CursorSent, &node, &peer, cursors.sent.value()) {
                let is_listed = self.is_held_back(&node, &peer, &held.id);
                if !self.has(&peer, &held.id) && !is_listed {
                    self.violate(format!("{node} believes that {peer} has {}", held.id));
                }
            }
            let received = cursors.received.value();
            for held in self.unchecked(Check::CursorReceived, &peer, &node, received) {
                if !self.has(&node, &held.id) && !self.may_lack(&peer, &node, &held) {
                    self.violate(format!("{node} believes to have {} of {peer}", held.id));
                }
            }
        }
    }

    /// Nothing is held back from an honest node but what it may refuse; or while there are outages, after
    /// which it is offered again.
    pub(crate) fn only_what_a_rule_refuses_is_held_back(&mut self) {
        for what in self.wrongly_held_back() {
            self.violate(what);
        }
    }

    pub(crate) fn wrongly_held_back(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (node, store) in &self.stores {
            let mirror = store.mirror.lock().unwrap();
            let honest =
                mirror.held_back.iter().filter(|(peer, _)| self.stores.contains_key(*peer));
            for (peer, held_back) in honest {
                for id in held_back {
                    let number = self.made.get(id).map_or(Number(0), |made| made.number);
                    let held = Held { id: id.clone(), number, source: None };
                    if !self.may_refuse(node, peer, &held) {
                        wrong.push(format!("{node} holds {id} back from {peer}"));
                    }
                }
            }
        }
        wrong
    }

    /// Only events of the hostile peer are set aside, and no more of them than one peer may have.
    fn what_is_set_aside_is_bounded(&mut self) {
        let mut wrong = Vec::new();
        for (node, store) in &self.stores {
            let mirror = store.mirror.lock().unwrap();
            if mirror.set_aside.len() > MAX_SET_ASIDE {
                wrong.push(format!("{node} sets {} events aside", mirror.set_aside.len()));
            }
            for (id, source) in &mirror.set_aside {
                if *source != self.features.hostile || self.stores.contains_key(id.node()) {
                    wrong.push(format!("{node} sets {id} of {source:?} aside"));
                }
            }
        }
        for what in wrong {
            self.violate(what);
        }
    }

    /// Whether two nodes that talk are in step: the one that dials has all that the other one has; the
    /// other one has all but what it may refuse, and what it lacks is listed.
    pub(crate) fn are_in_step(&self) -> bool {
        self.dials.iter().all(|(client, server)| {
            let there = self.stores[server].mirror.lock().unwrap();
            let here = self.stores[client].mirror.lock().unwrap();
            let held_back = here.held_back.get(server);
            there.entries.iter().all(|held| here.ids.contains_key(&held.id))
                && here.entries.iter().all(|held| {
                    let is_listed = || held_back.is_some_and(|ids| ids.contains(&held.id));
                    there.ids.contains_key(&held.id)
                        || is_listed() && self.may_refuse(client, server, held)
                })
        })
    }

    /// I3: in every log, the events of a node stand in the order in which it made them.
    ///
    /// Not so for what was private, nor for what a filter failed on, which comes later or another way; nor for
    /// what came back to a node that had forgotten it; nor for what got another id, as its own was taken.
    pub(crate) fn order_of_each_origin_is_kept(&mut self) {
        if self.replaced {
            return;
        }
        let mut wrong = Vec::new();
        let mut offered = HashSet::new();
        for store in self.stores.values() {
            offered.extend(store.mirror.lock().unwrap().was_held_back.iter().cloned());
        }
        for (node, store) in &self.stores {
            let mut last: HashMap<NodeId, u64> = HashMap::new();
            let mirror = store.mirror.lock().unwrap();
            let private =
                |id: &EventId| self.features.private.is_some() && mirror.private.contains(id);
            for Held { id, .. } in mirror.entries.iter().filter(|held| !private(&held.id)) {
                let Some(made) = self.made.get(id) else { continue };
                if made.is_late || offered.contains(id) {
                    continue;
                }
                let number = made.number.0;
                let before = last.insert(id.node().clone(), number);
                if before.is_some_and(|before| before >= number) {
                    wrong.push(format!("in the log of {node}, {id} comes too late"));
                }
            }
        }
        for what in wrong {
            self.violate(what);
        }
    }

    /// No event that was made is lost; and no node has an event in the name of another one which that
    /// one did not make.
    pub(crate) fn the_logs_hold_what_was_made(&mut self) {
        let mut wrong = Vec::new();
        let mut seen = HashSet::new();
        for (node, store) in &self.stores {
            for Held { id, number, .. } in &store.mirror.lock().unwrap().entries {
                let made = self.made.get(id).map(|made| made.number);
                if self.stores.contains_key(id.node()) && made != Some(*number) {
                    wrong.push(format!("{node} has {id} with {number:?}; made was {made:?}"));
                }
                seen.insert(id.clone());
            }
        }
        let mut lost: Vec<_> = self.made.keys().filter(|id| !seen.contains(*id)).collect();
        lost.sort_by_key(|id| (id.node().clone(), id.time()));
        if !lost.is_empty() {
            wrong.push(format!("lost: {lost:?}"));
        }
        for what in wrong {
            self.violate(what);
        }
    }

    /// Whether the time of an event is the same at all nodes.
    pub(crate) fn has_one_time(&self, id: &EventId) -> bool {
        self.made.get(id).is_some_and(|made| !made.is_wild)
    }

    /// Whether a node that was dialled may refuse an event: because it is of another client, where only
    /// relays may bring those; or because its filter fails on it.
    fn may_refuse(&self, from: &NodeId, to: &NodeId, held: &Held) -> bool {
        let is_foreign = !self.features.relay && held.id.node().client_id() != from.client_id();
        self.dials.contains(&(from.clone(), to.clone()))
            && (is_foreign || self.features.fussy && held.number.is_poison())
    }

    /// The same, or because of an outage, after which it is offered again.
    fn may_lack(&self, from: &NodeId, to: &NodeId, held: &Held) -> bool {
        let was_held_back = self.mirror(from, |mirror| mirror.was_held_back.contains(&held.id));
        self.may_refuse(from, to, held) || self.features.may_fail() && was_held_back
    }

    /// The events of a log up to a position that this check has not seen.
    fn unchecked(&mut self, check: Check, log: &NodeId, other: &NodeId, added: u64) -> Vec<Held> {
        let from = self.checked.entry((check, log.clone(), other.clone())).or_default();
        let start = usize_of(*from);
        *from = added.max(*from);
        let mirror = self.stores[log].mirror.lock().unwrap();
        let end = usize_of(added).min(mirror.entries.len());
        let held = mirror.entries.get(start..end).unwrap_or_default().iter();
        let private = |id: &EventId| self.features.private.is_some() && mirror.private.contains(id);
        held.filter(|held| !private(&held.id)).cloned().collect()
    }

    /// Whether all that a node's log holds is in another one, too.
    pub(crate) fn holds_nothing_alone(&self, node: &NodeId) -> bool {
        let mirror = self.stores[node].mirror.lock().unwrap();
        let held: Vec<EventId> = mirror.ids.keys().cloned().collect();
        drop(mirror);
        let others = || self.stores.keys().filter(|other| *other != node);
        held.iter().all(|id| others().any(|other| self.has(other, id)))
    }

    /// Another log is in the place of a node's.
    pub(crate) fn replace_log(&mut self, node: &NodeId, disk: Arc<Disk>) {
        let before = self.stores.insert(node.clone(), disk).unwrap();
        self.violations.append(&mut before.mirror.lock().unwrap().violations);
        for store in self.stores.values() {
            store.may_reset.store(true, Ordering::Relaxed);
        }
        self.checked.retain(|(_, log, other), _| log != node && other != node);
        self.replaced = true;
    }

    fn mirror<T>(&self, node: &NodeId, look: impl FnOnce(&Mirror) -> T) -> T {
        look(&self.stores[node].mirror.lock().unwrap())
    }

    fn has(&self, node: &NodeId, id: &EventId) -> bool {
        self.mirror(node, |mirror| mirror.ids.contains_key(id))
    }

    fn is_held_back(&self, node: &NodeId, peer: &NodeId, id: &EventId) -> bool {
        self.mirror(node, |mirror| mirror.held_back.get(peer).is_some_and(|ids| ids.contains(id)))
    }

    fn is_named(&self, link: u64, by: &NodeId, id: &EventId) -> bool {
        self.named.get(&(link, by.clone())).is_some_and(|named| named.contains(id))
    }

    fn came_from(&self, node: &NodeId, id: &EventId) -> Option<NodeId> {
        self.mirror(node, |mirror| mirror.ids.get(id).cloned().flatten())
    }
}

/// The ids of the events that a node sends.
fn ids<E>(sync: &Sync<E>, from: &NodeId) -> impl Iterator<Item = EventId> {
    sync.entries.iter().map(move |(_, meta)| {
        Protocol::V7.event_id(meta.id.clone(), from, Timestamp::ZERO).unwrap()
    })
}

/// The ids that a report of refused events names.
fn refused(text: &str) -> Option<Vec<EventId>> {
    let (_, ids) = text.strip_prefix("refused ")?.split_once(" events: ")?;
    let (ids, _) = ids.split_once(" because ")?;
    let words: Vec<&str> = ids.split(' ').collect();
    words.chunks(2).map(|id| id.join(" ").parse().ok()).collect()
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

fn sorted(one: &NodeId, other: &NodeId) -> [NodeId; 2] {
    let mut nodes = [one.clone(), other.clone()];
    nodes.sort();
    nodes
}
