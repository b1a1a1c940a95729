//! The rules for the fuzz target, which is outside of this package.

use std::time::Duration;

use logux_codecs::{Headers, Message, Timestamp, Value};

use super::harness::{Node, Side};
use super::input_output::{Input, Now, Role};

/// One side of a connection, whose other side says and does whatever it likes.
#[derive(Debug)]
pub struct Attacked {
    node: Node,
    side: Side,
    elapsed: Duration,
}

impl Attacked {
    /// A node called `own` with one event, on a connection that it accepted or opened; whether it
    /// refuses its peer.
    pub fn new(accepts: bool, fix_time: bool, refuses: bool) -> Self {
        let mut node = Node::new("own", 1);
        let elapsed = Duration::ZERO;
        let now = now(elapsed);
        node.add(now.clock);
        node.refuses = refuses;
        let role = if accepts { Role::Acceptor } else { Role::Opener };
        let side = Side::open(&mut node, role, fix_time, now);
        Self { node, side, elapsed }
    }

    /// A message comes, if one may come now.
    pub fn receive(&mut self, message: Message<Value>) {
        if self.side.ended.is_none() && self.side.rules().reads() {
            self.side.receive(&mut self.node, now(self.elapsed), message);
            self.is_sound();
        }
    }

    /// The store or the user answers what was asked first.
    pub fn answer(&mut self) {
        self.side.answer(&mut self.node, now(self.elapsed));
        self.is_sound();
    }

    /// Time passes.
    pub fn wait(&mut self, time: Duration) {
        self.elapsed += time;
        self.side.handle(&mut self.node, now(self.elapsed), Input::Tick);
        self.is_sound();
    }

    /// The user adds an event.
    pub fn add(&mut self) {
        let now = now(self.elapsed);
        self.node.add(now.clock);
        let grown = Input::Grown(self.node.last_added());
        self.side.handle(&mut self.node, now, grown);
        self.is_sound();
    }

    /// The user's filter changes its mind.
    pub fn filter(&mut self) {
        self.node.filters = !self.node.filters;
        let now = now(self.elapsed);
        self.side.handle(&mut self.node, now, Input::Reevaluate);
        self.is_sound();
    }

    /// The user has new headers.
    pub fn headers(&mut self) {
        let now = now(self.elapsed);
        self.side.handle(&mut self.node, now, Input::Headers(Headers::new()));
        self.is_sound();
    }

    /// The peer is silent from now on: the connection ends, and the log still begins with the event
    /// that was in it.
    pub fn end(mut self) {
        for _ in 0..1_000 {
            while self.side.is_asking() {
                self.answer();
            }
            match self.side.rules().deadline() {
                Some(_) if self.side.ended.is_none() => self.wait(Duration::from_secs(10)),
                _ => break,
            }
        }
        assert!(self.side.ended.is_some(), "a connection outlives its silent peer");
        assert_eq!(self.node.entries[0].event, Value::from(0));
    }

    fn is_sound(&self) {
        assert!(self.side.confirmed <= self.side.stored, "what is not stored was confirmed");
    }
}

fn now(elapsed: Duration) -> Now {
    let milliseconds = 1_786_312_345_678 + u64::try_from(elapsed.as_millis()).unwrap_or_default();
    Now { elapsed, clock: Timestamp::new(milliseconds).unwrap_or_default() }
}
