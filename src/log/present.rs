//! Which connections with a peer are there, and which of them speaks for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use logux_codecs::{Added, NodeId};

use crate::cursors::Epoch;

/// The right of a connection to write for its peer: events, and how far both logs are in step. It ends when a newer
/// connection of the same node takes it over. Clones are the same fence.
///
/// What a connection writes after that would be wrong for the newer one: a cursor of a log that the peer has lost
/// would be taken for one of its new log, and events would be passed over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fence(Arc<AtomicBool>);

/// A connection that is let in now.
pub(crate) struct Newcomer {
    /// What the peer calls itself. Several nodes may be one peer.
    pub(crate) name: NodeId,
    /// The number of the connection, in the order in which they began.
    pub(crate) number: u64,
    /// Ends when a newer connection takes over.
    pub(crate) fence: Fence,
    /// This node opened the connection.
    pub(crate) dialled: bool,
    /// The peer's log, as far as it has said.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) alarm: Alarm,
}

/// Tells a connection what came of a newer one.
pub(crate) type Alarm = Box<dyn Fn(Alert) + Send + Sync>;

/// What a connection is told about a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alert {
    /// Another log of its peer's name is there.
    Twin,
    /// A newer connection of the node took over.
    Superseded,
}

/// The connections with a peer that are let in.
#[derive(Default)]
pub(super) struct Present(Vec<Seat>);

/// A connection, and what is known by it.
struct Seat {
    connection: Newcomer,
    is_told_of_twin: bool,
    /// How far the peer is done with the log, once it has said something.
    reached: Option<Added>,
}

impl Fence {
    /// Whether a newer connection speaks for the peer.
    ///
    /// To write only where it is not, ask while the lock is held under which the log hands its writes over: the
    /// newer connection writes after it has taken the fence.
    pub(crate) fn is_superseded(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Newcomer {
    /// Whether the peer cannot mean to have both connections. Two nodes that dial each other have one each way,
    /// and both are about the same logs.
    fn excludes(&self, other: &Self) -> bool {
        self.name == other.name
            && (self.dialled == other.dialled || self.has_other_log_than(other.epoch))
    }

    /// Two logs of one name are two nodes, or one that has lost its log.
    fn has_other_log_than(&self, epoch: Option<Epoch>) -> bool {
        self.epoch.zip(epoch).is_some_and(|(own, other)| own != other)
    }
}

impl Seat {
    /// A newer connection took over.
    fn supersede(&mut self) {
        let Newcomer { fence, alarm, .. } = &self.connection;
        if !fence.is_superseded() {
            fence.end();
            self.reached = None;
            alarm(Alert::Superseded);
        }
    }
}

impl Present {
    /// A connection is let in. Of those that a peer cannot mean to have at once only the newest goes on: that may be
    /// another one, if this one had to wait. Those that do not are told so, and those with another log of the peer's
    /// are told of each other, once each. Answers whether there is another log.
    pub(super) fn enter(&mut self, connection: Newcomer) -> bool {
        let mut newcomer = Seat { connection, is_told_of_twin: false, reached: None };
        for other in &mut self.0 {
            if newcomer.connection.has_other_log_than(other.connection.epoch) {
                newcomer.is_told_of_twin = true;
                if !std::mem::replace(&mut other.is_told_of_twin, true) {
                    (other.connection.alarm)(Alert::Twin);
                }
            }
            if newcomer.connection.excludes(&other.connection) {
                let is_newer = newcomer.connection.number > other.connection.number;
                let older = if is_newer { other } else { &mut newcomer };
                older.supersede();
            }
        }
        let has_twin = newcomer.is_told_of_twin;
        // Nearly always it is the only one.
        self.0.reserve_exact(1);
        self.0.push(newcomer);
        has_twin
    }

    /// A connection is over.
    pub(super) fn leave(&mut self, number: u64) {
        self.0.retain(|seat| seat.connection.number != number);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_there_with(&self, epoch: Option<Epoch>) -> bool {
        epoch.is_some() && self.0.iter().any(|seat| seat.connection.epoch == epoch)
    }

    /// Whether the peer is there with another log than this one.
    pub(super) fn is_there_with_another_log_than(&self, epoch: Option<Epoch>) -> bool {
        self.0.iter().any(|seat| seat.connection.has_other_log_than(epoch))
    }

    /// Notes how far the peer is done with the log by what it said on this connection. Answers the furthest that it
    /// said on those that are here.
    pub(super) fn furthest_once_at(&mut self, number: u64, position: Added) -> Option<Added> {
        let mut speaking = self.0.iter_mut().filter(|seat| !seat.connection.fence.is_superseded());
        if let Some(seat) = speaking.find(|seat| seat.connection.number == number) {
            seat.reached = Some(position);
        }
        self.0.iter().filter_map(|seat| seat.reached).max()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use logux_codecs::{EventId, Timestamp, Value};

    use super::*;
    use crate::apart::Refused;
    use crate::cursors::Cursors;
    use crate::entry::{Entry, Incoming, Meta};
    use crate::log::{Log, News};
    use crate::store::{Key, MemoryStore, PeerRecord, RecordChange};

    /// What each connection was told, by the order in which they came.
    struct World {
        present: Present,
        next: u64,
        told: Arc<Mutex<Vec<(u64, Alert)>>>,
    }

    impl World {
        fn new() -> Self {
            Self { present: Present::default(), next: 0, told: Arc::default() }
        }

        fn enter(&mut self, name: &str, dialled: bool, epoch: Option<u64>) -> (Fence, bool) {
            let number = self.next;
            self.next += 1;
            self.enter_as(number, name, dialled, epoch)
        }

        fn enter_as(
            &mut self,
            number: u64,
            name: &str,
            dialled: bool,
            epoch: Option<u64>,
        ) -> (Fence, bool) {
            let (told, fence) = (Arc::clone(&self.told), Fence::default());
            let alarm = move |alert| told.lock().unwrap().push((number, alert));
            let has_twin = self.present.enter(Newcomer {
                name: name.parse().unwrap(),
                number,
                fence: fence.clone(),
                dialled,
                epoch: epoch.map(Epoch::new),
                alarm: Box::new(alarm),
            });
            (fence, has_twin)
        }

        fn told(&self) -> Vec<(u64, Alert)> {
            std::mem::take(&mut self.told.lock().unwrap())
        }
    }

    #[test]
    fn each_connection_is_told_once_that_it_is_not_alone() {
        let mut world = World::new();
        let twins = (0..100).filter(|epoch| world.enter("a", false, Some(*epoch)).1).count();
        let told = world.told();
        let of_twins: Vec<_> = told.iter().filter(|(_, alert)| *alert == Alert::Twin).collect();
        // The first by its alarm, the others as they came.
        assert_eq!((of_twins, twins), (vec![&(0, Alert::Twin)], 99));
        let superseded = told.iter().filter(|(_, alert)| *alert == Alert::Superseded);
        assert!(superseded.map(|(number, _)| *number).eq(0..99));
        (0..100).for_each(|number| world.present.leave(number));
        assert!(world.present.is_empty() && !world.enter("a", false, Some(7)).1);
    }

    #[test]
    fn a_newer_connection_of_a_node_supersedes_the_older_one() {
        for (dialled, epochs) in [(false, [None, None]), (true, [Some(1), Some(1)])] {
            let mut world = World::new();
            let (older, _) = world.enter("a", dialled, epochs[0]);
            let (newer, _) = world.enter("a", dialled, epochs[1]);
            assert!(older.is_superseded() && !newer.is_superseded());
            assert_eq!(world.told(), [(0, Alert::Superseded)]);
        }
    }

    /// Nobody waits for it any more: its peer had to wait too long, and has dialled anew.
    #[test]
    fn a_connection_that_began_earlier_and_is_let_in_later_does_not_take_over() {
        let mut world = World::new();
        let (newer, _) = world.enter_as(2, "a", false, None);
        let (older, _) = world.enter_as(1, "a", false, None);
        assert!(older.is_superseded() && !newer.is_superseded());
        assert_eq!(world.told(), [(1, Alert::Superseded)]);
    }

    #[test]
    fn nodes_that_dial_each_other_have_two_connections_with_the_same_logs() {
        let mut world = World::new();
        let fences = [true, false].map(|dialled| world.enter("a", dialled, Some(1)).0);
        assert!(fences.iter().all(|fence| !fence.is_superseded()));
        // One of them has lost its log, and both connections with it.
        world.enter("a", false, Some(2));
        assert!(fences.iter().all(Fence::is_superseded));
    }

    #[test]
    fn nodes_that_are_one_peer_do_not_supersede_each_other() {
        let mut world = World::new();
        let fences = ["a", "b"].map(|name| world.enter(name, false, Some(1)).0);
        assert!(fences.iter().all(|fence| !fence.is_superseded()));
    }

    #[tokio::test]
    async fn nothing_is_kept_for_a_superseded_connection() {
        let node: NodeId = "a".parse().unwrap();
        let log = Log::<Value>::open("server".parse().unwrap(), MemoryStore::new()).await.unwrap();
        let key = || Key::peer(&node, PeerRecord::Received);
        let meta = Meta::new(EventId::new(Timestamp::new(1).unwrap(), node.clone()));
        let incoming = || Incoming {
            entries: vec![Entry::new(Value::Null, meta.clone())],
            up_to: Added::ZERO.plus(1),
            ..Incoming::nothing(node.clone())
        };
        let refused = || Refused::new(meta.id.clone(), "no".to_owned());
        let all = |fence: &Fence| {
            let news = || News { fence: fence.clone(), ..News::default() };
            [
                News { incoming: Some(incoming()), ..news() },
                News { changes: vec![RecordChange::raise(key(), Added::ZERO.plus(2))], ..news() },
                News { held_back: vec![refused()], ..news() },
                News { incoming: Some(incoming()), held_back: vec![refused()], ..news() },
                News { released: vec![meta.id.clone()], ..news() },
            ]
        };
        let fence = Fence::default();
        fence.end();
        for news in all(&fence) {
            log.keep(&node, news).await.unwrap_err();
        }
        assert_eq!(log.last_added(), Added::ZERO);
        assert_eq!(log.cursors(&node).await.unwrap(), Cursors::default());
        assert!(log.held_back(&node).await.unwrap().is_empty());
        for news in all(&Fence::default()) {
            log.keep(&node, news).await.unwrap();
        }
        assert_eq!(log.last_added(), Added::ZERO.plus(1));
    }

    #[test]
    fn what_a_superseded_connection_said_does_not_count() {
        let mut world = World::new();
        let at = |position| Added::new(position).unwrap();
        world.enter("a", false, Some(1));
        assert_eq!(world.present.furthest_once_at(0, at(100)), Some(at(100)));
        world.enter("a", false, Some(2));
        assert_eq!(world.present.furthest_once_at(0, at(101)), None);
        assert_eq!(world.present.furthest_once_at(1, at(1)), Some(at(1)));
    }
}
