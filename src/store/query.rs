use logux_codecs::Added;

use crate::entry::Created;

/// Which events to read from a store, and in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Query {
    /// Those above a position, in the order of their positions.
    Added(Added),
    /// Those created after this one (all, for `None`), oldest first.
    Created(Option<Created>),
}

/// How much to read at once: reading stops where either limit is reached. The first event is read whatever its
/// size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// At most this many events.
    pub events: usize,
    /// No further event once those that were read have this many bytes, as
    /// [`Entry::size`](crate::Entry::size) counts them.
    pub bytes: usize,
}

impl Page {
    /// At most this many events, and no more than 1 MiB and the last event.
    pub const fn new(events: usize) -> Self {
        Self { events, bytes: 1 << 20 }
    }

    /// Sets how many bytes are enough.
    #[must_use]
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Takes the first events that this page has room for.
    pub fn take<T>(
        self,
        events: impl IntoIterator<Item = T>,
        size: impl Fn(&T) -> usize,
    ) -> Vec<T> {
        let mut left = self.bytes;
        let mut is_full = false;
        let fits = |event: &T| {
            let fits = !is_full;
            left = left.saturating_sub(size(event));
            is_full = left == 0;
            fits
        };
        events.into_iter().take(self.events).take_while(fits).collect()
    }
}

/// A number of events, whatever their size.
impl From<usize> for Page {
    fn from(events: usize) -> Self {
        Self { events, bytes: usize::MAX }
    }
}
