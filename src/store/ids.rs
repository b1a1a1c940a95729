//! The ids of all events in memory, and of those that are gone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use logux_codecs::{Counter, EventId, NodeId, Timestamp};

use super::change::Forget;
use super::query::IdState;
use crate::entry::Entry;

/// By node and then by time: the name of a node is kept once, and found without a search while its events come in
/// a row.
#[derive(Default)]
pub(super) struct Ids {
    numbers: HashMap<NodeId, usize>,
    nodes: Vec<Node>,
    /// The number of the node whose event came last.
    latest: usize,
    /// Of the events that are gone, by time: where the node of each is in `nodes`.
    gone: BTreeSet<(Timestamp, usize, Counter)>,
}

struct Node {
    id: NodeId,
    /// The ids that came in their own order, nearly all, and the positions of their events.
    in_order: Vec<(Place, u64)>,
    /// Those that came later than a later one.
    late: BTreeMap<Place, u64>,
    /// Ids of events that are gone are not remembered up to this time.
    forgotten: Option<Timestamp>,
    /// How many of those are still in `in_order`.
    surplus: usize,
}

/// What tells the ids of one node apart, in their order.
type Place = (Timestamp, Counter);

/// In the place of the position of an event that is gone.
const GONE: u64 = 0;

/// What is known of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    New,
    /// At this position.
    Known(u64),
    Gone,
    /// It may be one of those that are forgotten.
    TooOld,
}

impl From<Standing> for IdState {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::New => Self::New,
            Standing::Known(_) => Self::There,
            Standing::Gone => Self::Gone,
            Standing::TooOld => Self::TooOld,
        }
    }
}

impl Ids {
    /// Notes an id that is new, and lets it share the name of its node.
    pub(super) fn insert(&mut self, id: &mut EventId, position: u64) -> Standing {
        let place = (id.time(), id.counter());
        let node = self.node(id.node());
        if node.in_order.last().is_none_or(|(last, _)| *last < place)
            && Some(place.0) > node.forgotten
        {
            node.in_order.push((place, position));
        } else {
            let standing = node.standing(place);
            if standing != Standing::New {
                return standing;
            }
            node.late.insert(place, position);
        }
        if !std::ptr::eq(id.node().as_str(), node.id.as_str()) {
            *id = EventId::with_counter(place.0, node.id.clone(), place.1);
        }
        Standing::New
    }

    fn node(&mut self, id: &NodeId) -> &mut Node {
        if self.nodes.get(self.latest).is_none_or(|latest| latest.id != *id) {
            self.latest = *self.numbers.entry(id.clone()).or_insert_with(|| {
                self.nodes.push(Node {
                    id: id.clone(),
                    in_order: Vec::new(),
                    late: BTreeMap::new(),
                    forgotten: None,
                    surplus: 0,
                });
                self.nodes.len() - 1
            });
        }
        &mut self.nodes[self.latest]
    }

    /// Whether the ids of all these are new, and differ.
    pub(super) fn lacks<E>(&self, entries: &[Entry<E>]) -> bool {
        let place = |id: &EventId| (id.time(), id.counter());
        // Nearly always they are of one node and in their order, and come after all that it has.
        let in_order = entries.windows(2).all(|pair| {
            let (one, next) = (&pair[0].meta.id, &pair[1].meta.id);
            one.node() == next.node() && place(one) < place(next)
        });
        if in_order && let Some(first) = entries.first().map(|entry| &entry.meta.id) {
            let node = self.numbers.get(first.node()).map(|&number| &self.nodes[number]);
            let last = node.and_then(|node| node.in_order.last());
            let forgotten = node.and_then(|node| node.forgotten);
            if last.is_none_or(|(last, _)| *last < place(first)) && Some(first.time()) > forgotten {
                return true;
            }
        }
        let mut seen = HashSet::new();
        entries.iter().all(|Entry { meta, .. }| {
            seen.insert(&meta.id) && self.standing(&meta.id) == Standing::New
        })
    }

    pub(super) fn standing(&self, id: &EventId) -> Standing {
        let node = self.numbers.get(id.node()).map(|&number| &self.nodes[number]);
        node.map_or(Standing::New, |node| node.standing((id.time(), id.counter())))
    }

    /// The event of this id is gone.
    pub(super) fn clean(&mut self, id: &EventId) {
        let Some(&number) = self.numbers.get(id.node()) else { return };
        let node = &mut self.nodes[number];
        let place = (id.time(), id.counter());
        if let Ok(index) = node.in_order.binary_search_by(|(known, _)| known.cmp(&place)) {
            node.in_order[index].1 = GONE;
        } else if let Some(position) = node.late.get_mut(&place) {
            *position = GONE;
        } else {
            return;
        }
        if Some(id.time()) > node.forgotten {
            self.gone.insert((id.time(), number, id.counter()));
        } else {
            node.forget(place);
        }
    }

    /// Forgets ids of events that are gone.
    pub(super) fn forget(&mut self, Forget { before, at_most }: Forget) {
        while let Some(&(time, number, counter)) = self.gone.first()
            && (time < before || self.gone.len() > at_most)
        {
            self.gone.pop_first();
            let node = &mut self.nodes[number];
            node.forgotten = Some(time).max(node.forgotten);
            node.forget((time, counter));
        }
    }

    pub(super) fn last_time(&self, node: &NodeId) -> Option<Timestamp> {
        let (last, _) = self.nodes[*self.numbers.get(node)?].in_order.last()?;
        Some(last.0)
    }
}

impl Node {
    fn standing(&self, place: Place) -> Standing {
        let found = match self.in_order.binary_search_by(|(known, _)| known.cmp(&place)) {
            Ok(index) => Some(self.in_order[index].1),
            Err(_) => self.late.get(&place).copied(),
        };
        match found {
            Some(position) if position != GONE => Standing::Known(position),
            _ if Some(place.0) <= self.forgotten => Standing::TooOld,
            Some(_) => Standing::Gone,
            None => Standing::New,
        }
    }

    /// The id of an event that is gone is not remembered any more.
    fn forget(&mut self, place: Place) {
        if self.late.remove(&place).is_some() {
            return;
        }
        self.surplus += 1;
        if self.surplus > self.in_order.len() / 2 {
            self.surplus = 0;
            let (forgotten, last) = (self.forgotten, self.in_order.last().copied());
            // The last one tells how far the node has come.
            self.in_order.retain(|&(place, position)| {
                position != GONE || Some(place.0) > forgotten || Some((place, position)) == last
            });
        }
    }
}
