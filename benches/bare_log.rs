//! What a log is at least: an id of 16 bytes to a place, and two lists.

use std::collections::HashMap;

use logux_benches::Counter;

type Id = (u64, u64);

#[derive(Default)]
pub(crate) struct BareLog {
    ids: HashMap<Id, usize>,
    #[expect(
        clippy::vec_box,
        reason = "a log hands its entries out, so each has a place of its own"
    )]
    entries: Vec<Box<(Counter, Id)>>,
    created: Vec<usize>,
}

impl BareLog {
    /// Adds an event, unless the one of that id is there.
    pub(crate) fn insert(&mut self, event: Counter, time: u64) {
        let (id, place) = ((time, 0), self.entries.len());
        if self.ids.insert(id, place).is_none() {
            self.created.push(place);
            self.entries.push(Box::new((event, id)));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len().min(self.created.len())
    }
}
