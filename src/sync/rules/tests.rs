//! The rules, tested as the value that they are: two of them joined by two queues.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use logux_codecs::{
    Added, Connect, Connected, Counter, EventId, Headers, Message, NodeId, ProtocolError, Rare,
    Sync, Timestamp, Value, WireId, WireMeta,
};

use super::harness::{Node, Side};
use super::input_output::{Input, Now, Role};
use crate::sync::error::{Error, Misbehaviour};
use crate::sync::state::State;

/// A clock that stands until it is moved on.
#[derive(Default)]
struct Clock {
    elapsed: Duration,
    /// A connection began so long after the first one.
    start: Duration,
}

impl Clock {
    fn now(&self) -> Now {
        let milliseconds = 1_790_000_000_000 + u64::try_from(self.elapsed.as_millis()).unwrap();
        let clock = Timestamp::new(milliseconds).unwrap();
        Now { elapsed: self.elapsed.saturating_sub(self.start), clock }
    }

    fn advance(&mut self, by: Duration) {
        self.elapsed += by;
    }
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Nothing goes wrong.
    Whole,
    /// The frame of this number is lost, and with it the link and all that is under way.
    Cut(usize),
    /// From the frame of this number on, nothing that its sender sends arrives.
    Silent(usize),
}

/// A client, a server, and one connection after the other between them.
struct World {
    clock: Clock,
    random: Rng,
    nodes: [Node; 2],
    /// Whether the last connection lived until something went wrong with it.
    went_wrong: bool,
    /// A node has lost its log: what is known of it does not hold, until that is noticed.
    is_lost: bool,
    /// The server's user wants withheld events looked at again, once the client is let in.
    reevaluates: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut nodes = [Node::new("10:client", 1), Node::new("server", 100)];
        let mut random = Rng::with_seed(seed);
        for node in &mut nodes {
            // The peer has refused something before.
            if random.u8(..4) == 0 {
                node.suspected_up_to = Added::ZERO.plus(random.u64(..12));
            }
        }
        Self {
            clock: Clock::default(),
            random,
            nodes,
            went_wrong: false,
            is_lost: false,
            reevaluates: false,
        }
    }

    fn add(&mut self, node: usize, count: usize) {
        for _ in 0..count {
            self.nodes[node].add(self.clock.now().clock);
        }
    }

    /// Runs a connection until it ends, or until both sides are at rest. `events` are added to
    /// either side while it lasts. Answers why each side hung up, where it did.
    fn connect(&mut self, fate: Fate, mut events: usize) -> [Option<Result<(), Error>>; 2] {
        self.clock.start = self.clock.elapsed;
        let now = self.clock.now();
        let [client, server] = &mut self.nodes;
        let mut sides = [
            Side::open(client, Role::Opener, true, now),
            Side::open(server, Role::Acceptor, false, now),
        ];
        let mut frames = 0;
        let mut silent = [false; 2];
        self.went_wrong = false;
        for step in 0.. {
            assert!(step < 10_000, "the nodes do not come to rest");
            let mut steps = Vec::new();
            for at in 0..2 {
                if sides[at].ended.is_none() && sides[at].is_asking() {
                    steps.push((at, true));
                }
                // What was sent before the other side hung up still arrives.
                if !sides[1 - at].sent.is_empty() && sides[at].rules().reads() {
                    steps.push((at, false));
                }
            }
            if self.reevaluates && sides[1].rules().is_live() {
                self.reevaluates = false;
                sides[1].handle(&mut self.nodes[1], self.clock.now(), Input::Reevaluate);
                continue;
            }
            if events > 0 && self.random.u8(..4) == 0 {
                events -= 1;
                let at = self.random.usize(..2);
                self.add(at, 1);
                let grown = Input::Grown(self.nodes[at].last_added());
                sides[at].handle(&mut self.nodes[at], self.clock.now(), grown);
                continue;
            }
            let Some(&(at, answers)) = self.random.choice(&steps) else {
                let over = sides.iter().any(|side| side.ended.is_some());
                let at_rest = |side: &Side| side.rules().state() == Some(State::Synchronized);
                if over || events == 0 && sides.iter().all(at_rest) && silent == [false; 2] {
                    break;
                }
                self.wait(&mut sides);
                continue;
            };
            self.clock.advance(Duration::from_millis(self.random.u64(..3)));
            let now = self.clock.now();
            if answers {
                sides[at].answer(&mut self.nodes[at], now);
            } else if let Some(message) = sides[1 - at].sent.pop_front() {
                match fate {
                    Fate::Cut(place) | Fate::Silent(place) if place != frames => {}
                    Fate::Whole => {}
                    Fate::Cut(_) => {
                        self.went_wrong = true;
                        break;
                    }
                    Fate::Silent(_) => {
                        self.went_wrong = true;
                        silent[1 - at] = true;
                    }
                }
                frames += 1;
                if !silent[1 - at] {
                    self.is_true(1 - at, &message);
                    sides[at].receive(&mut self.nodes[at], now, message);
                }
            }
            self.cursors_are_true();
        }
        sides.map(|side| side.ended)
    }

    /// Nothing happens but that time passes, to the next deadline.
    fn wait(&mut self, sides: &mut [Side; 2]) {
        let deadlines = sides.iter().filter_map(|side| side.rules().deadline());
        let next = deadlines.min().expect("a connection that is not over has a deadline");
        self.clock.advance(next.saturating_sub(self.clock.now().elapsed));
        for (side, node) in sides.iter_mut().zip(&mut self.nodes) {
            if side.rules().deadline().is_some_and(|at| at <= self.clock.now().elapsed) {
                side.handle(node, self.clock.now(), Input::Tick);
            }
        }
    }

    /// What a side confirms is in its log.
    fn is_true(&self, from: usize, message: &Message<Value>) {
        if let Message::Synced(added) = message {
            self.has_all(1 - from, from, *added);
        }
    }

    /// No cursor passes what is not there.
    fn cursors_are_true(&self) {
        for (at, node) in self.nodes.iter().enumerate() {
            if let Some(cursors) = node.cursors.get(&self.nodes[1 - at].id) {
                self.has_all(at, 1 - at, cursors.sent);
                self.has_all(1 - at, at, cursors.received);
            }
        }
    }

    /// Each event of one log up to a position is in the other, but for those that are withheld.
    fn has_all(&self, of: usize, at: usize, up_to: Added) {
        if self.is_lost {
            return;
        }
        let there: Vec<&EventId> = self.nodes[at].entries.iter().map(|e| &e.meta.id).collect();
        for entry in self.nodes[of].entries.iter().filter(|entry| entry.meta.added <= up_to) {
            let is_there = there.contains(&&entry.meta.id) || self.nodes[of].withholds(entry);
            assert!(is_there, "{} is not at {at}", entry.meta.id);
        }
    }

    /// Both logs hold the same events, each of them once, those of a node in their order.
    fn are_equal(&self, count: usize) {
        for node in &self.nodes {
            let mut last = BTreeMap::new();
            assert_eq!(node.entries.len(), count, "{}", node.id);
            for entry in &node.entries {
                let id = &entry.meta.id;
                let before = last.insert(id.node().clone(), id.time());
                assert!(before.is_none_or(|before| before < id.time()), "{id} comes too late");
            }
        }
        self.has_all(0, 1, self.nodes[0].last_added());
    }
}

/// Loses the first frame of a connection, then the second, until there is none to lose.
fn a_frame_is_lost_at_each_place(fate: impl Fn(usize) -> Fate) {
    for seed in 0..20 {
        for place in 0.. {
            let at = format!("seed {seed}, frame {place}");
            let mut world = World::new(seed);
            world.add(0, 7);
            world.add(1, 5);
            let ended = world.connect(fate(place), 6);
            let went_wrong = world.went_wrong;
            for error in ended.into_iter().flatten().filter_map(Result::err) {
                assert!(matches!(error, Error::Silent(_)), "{at}: {error}");
            }
            // The logs go on where they were.
            let ended = world.connect(Fate::Whole, 4);
            assert!(ended.iter().all(Option::is_none), "{at}: {ended:?}");
            let events = world.nodes[0].entries.len();
            world.are_equal(events);
            assert!(events >= 16, "{at}: {events} events");
            if !went_wrong {
                assert!(place > 15, "{at}: a connection of so few frames shows little");
                break;
            }
        }
    }
}

#[test]
fn logs_become_equal_whichever_frame_is_lost_with_the_link() {
    a_frame_is_lost_at_each_place(Fate::Cut);
}

#[test]
fn logs_become_equal_whichever_frame_is_the_last_that_a_side_hears() {
    a_frame_is_lost_at_each_place(Fate::Silent);
}

#[test]
fn a_node_that_lost_its_log_gets_it_back() {
    for seed in 0..200 {
        for lost in 0..2 {
            let mut world = World::new(seed);
            world.add(0, 7);
            world.add(1, 5);
            world.connect(Fate::Whole, 3);
            world.are_equal(15);
            world.nodes[lost].lose_all();
            world.is_lost = true;
            // A client that finds it out ends the connection; only a new one can start over.
            let ended = world.connect(Fate::Whole, 0);
            for error in ended.into_iter().flatten().filter_map(Result::err) {
                assert!(matches!(error, Error::LogReplaced), "seed {seed}: {error}");
            }
            world.is_lost = false;
            let ended = world.connect(Fate::Whole, 2);
            assert!(ended.iter().all(Option::is_none), "seed {seed}: {ended:?}");
            let held = |node: &Node| node.entries.len();
            assert_eq!(world.nodes.each_ref().map(held), [17; 2], "seed {seed}, lost at {lost}");
        }
    }
}

#[test]
fn what_a_filter_withheld_arrives_once_it_lets_it_through() {
    for seed in 0..100 {
        let mut world = World::new(seed);
        world.nodes[1].filters = true;
        world.add(0, 7);
        world.add(1, 12);
        // A frame is lost somewhere: what is withheld outlives the connection.
        let place = world.random.usize(..20);
        world.connect(Fate::Cut(place), 3);
        world.connect(Fate::Whole, 5);
        let count = world.nodes[1].entries.len();
        let missing = count - world.nodes[0].entries.len();
        assert!(missing > 0, "seed {seed}: nothing was withheld");
        world.nodes[1].filters = false;
        world.reevaluates = true;
        world.connect(Fate::Whole, 2);
        let held = |node: &Node| node.entries.len();
        assert_eq!(world.nodes.each_ref().map(held), [count + 2; 2], "seed {seed}");
        world.has_all(1, 0, world.nodes[1].last_added());
    }
}

/// What a peer says that is let in.
fn introduction(role: Role, now: Timestamp) -> Message<Value> {
    let (protocol, node_id, start, end) = (7, "peer".parse().unwrap(), now, now);
    let (synced, credentials, subprotocol) = (Added::ZERO, None, None);
    match role {
        Role::Acceptor => {
            Message::Connect(Connect { protocol, node_id, synced, credentials, subprotocol })
        }
        Role::Opener => Message::Connected(Connected {
            protocol,
            node_id,
            start,
            end,
            credentials,
            subprotocol,
        }),
    }
}

/// A valid message with numbers and names that matter.
fn anything(random: &mut Rng, now: Timestamp) -> Message<Value> {
    let added = |random: &mut Rng| Added::ZERO.plus(random.u64(..6));
    let node = |random: &mut Rng| -> NodeId {
        random.choice(["peer", "10:other", "own"]).unwrap().parse().unwrap()
    };
    let time = |random: &mut Rng| now.shifted(random.i64(-3..3)).unwrap();
    match random.u8(..13) {
        0 => Message::Connect(Connect {
            protocol: *random.choice(&[7, 7, 5, 6, 0]).unwrap(),
            node_id: node(random),
            synced: added(random),
            credentials: random.bool().then(|| "secret".into()),
            subprotocol: None,
        }),
        1 => Message::Connected(Connected {
            protocol: *random.choice(&[7, 7, 5, 6, 0]).unwrap(),
            node_id: node(random),
            start: time(random),
            end: time(random),
            credentials: None,
            subprotocol: None,
        }),
        2..7 => {
            let entry = |random: &mut Rng| {
                let author = random.bool().then(|| (node(random), Counter::default()));
                let id = WireId::Absolute { time: time(random), author };
                let time = *random.choice(&[0, 1, -5, i64::MAX, i64::MIN]).unwrap();
                (Value::Null, WireMeta { id, time, subprotocol: None, extra: Rare::default() })
            };
            let entries = (0..random.usize(1..4)).map(|_| entry(random)).collect();
            Message::Sync(Sync { added: added(random), entries })
        }
        7 => Message::Synced(added(random)),
        8 => Message::Ready(added(random)),
        9 => Message::Ping(added(random)),
        10 => Message::Pong(added(random)),
        11 => Message::Headers(Headers::from_iter([("log-epoch".into(), "0".repeat(16).into())])),
        _ => match random.u8(..3) {
            0 => Message::Debug("text".into()),
            1 => Message::Error(ProtocolError::WrongCredentials),
            _ => Message::Unknown("new".into()),
        },
    }
}

#[test]
fn nothing_that_a_peer_says_is_confirmed_before_it_is_stored() {
    let (mut live, mut fit) = (0, 0);
    for seed in 0..20_000 {
        let mut random = Rng::with_seed(seed);
        let mut clock = Clock::default();
        let mut node = Node::new("own", 1);
        node.add(clock.now().clock);
        let role = if random.bool() { Role::Opener } else { Role::Acceptor };
        let mut side = Side::open(&mut node, role, random.bool(), clock.now());
        if random.u8(..8) > 0 {
            let now = clock.now();
            side.receive(&mut node, now, introduction(role, now.clock));
            side.answer(&mut node, now);
        }
        let mut was_live = side.rules().is_live();
        for _ in 0..random.usize(..40) {
            if side.ended.is_some() {
                break;
            }
            let now = clock.now();
            match random.u8(..40) {
                0..20 if side.rules().reads() => {
                    let message = anything(&mut random, now.clock);
                    side.receive(&mut node, now, message);
                }
                0..30 => side.answer(&mut node, now),
                30..33 => clock.advance(Duration::from_millis(random.u64(..4_000))),
                33..36 => side.handle(&mut node, now, Input::Tick),
                36 => node.filters = !node.filters,
                37 => side.handle(&mut node, now, Input::Reevaluate),
                38 => side.handle(&mut node, now, Input::Headers(Headers::new())),
                _ => {
                    node.add(now.clock);
                    let grown = Input::Grown(node.last_added());
                    side.handle(&mut node, now, grown);
                }
            }
            // The harness stores when the rules are told so, and not before.
            assert!(side.confirmed <= side.stored, "seed {seed}: {side:?}");
            was_live |= side.rules().is_live();
            live += usize::from(side.rules().is_live());
            fit += usize::from(side.confirmed > 0);
        }
        if let Some(Err(Error::Peer(Misbehaviour::TooMuchTooEarly))) = side.ended {
            assert!(!was_live, "seed {seed}: a peer that was let in may say much");
        }
    }
    // Noise that never gets anywhere would show nothing.
    assert!(live > 20_000 && fit > 2_000, "{live} steps of live connections, {fit} confirmations");
}
