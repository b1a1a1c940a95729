use std::ops::{Bound, RangeBounds};

use logux_codecs::{Added, EventId};

use crate::entry::{Created, Meta};

/// Which events to change: those to which all of it applies.
///
/// ```
/// # use logux_sync::{Criteria, Draft, Log, MemoryStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let log = Log::<String>::open("node".parse()?, MemoryStore::new()).await?;
/// log.add(Draft::new("one".to_owned()).reason("tab").index("users/1")).await?;
/// log.add(Draft::new("two".to_owned()).reason("tab").index("users/2")).await?;
/// let effects = log.remove_reasons(["tab"], Criteria::all().index("users/1")).await?;
/// assert_eq!(effects.cleaned, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Criteria {
    pub(super) ids: Option<Vec<EventId>>,
    pub(super) index: Option<String>,
    not_index: Option<String>,
    /// The first and the last position.
    pub(super) min_added: Option<Added>,
    pub(super) max_added: Option<Added>,
    older_than: Option<Created>,
    younger_than: Option<Created>,
}

impl Criteria {
    /// All events.
    pub fn all() -> Self {
        Self {
            ids: None,
            index: None,
            not_index: None,
            min_added: None,
            max_added: None,
            older_than: None,
            younger_than: None,
        }
    }

    /// Only those with these ids: none, for an empty list.
    pub fn ids(mut self, ids: impl IntoIterator<Item = EventId>) -> Self {
        self.ids = Some(ids.into_iter().collect());
        self
    }

    /// Only those with this index.
    pub fn index(mut self, index: impl Into<String>) -> Self {
        self.index = Some(index.into());
        self
    }

    /// Only those without this index.
    pub fn not_index(mut self, index: impl Into<String>) -> Self {
        self.not_index = Some(index.into());
        self
    }

    /// Only those whose positions are in this range.
    pub fn added(mut self, positions: impl RangeBounds<Added>) -> Self {
        self.min_added = match positions.start_bound() {
            Bound::Included(first) => Some(*first),
            Bound::Excluded(before) => Some(before.plus(1)),
            Bound::Unbounded => None,
        };
        self.max_added = match positions.end_bound() {
            Bound::Included(last) => Some(*last),
            // Positions begin with 1.
            Bound::Excluded(after) => {
                Some(Added::new(after.value().saturating_sub(1)).unwrap_or(Added::ZERO))
            }
            Bound::Unbounded => None,
        };
        self
    }

    /// Only those that were created before this one.
    pub fn older_than(mut self, created: Created) -> Self {
        self.older_than = Some(created);
        self
    }

    /// Only those that were created after this one.
    pub fn younger_than(mut self, created: Created) -> Self {
        self.younger_than = Some(created);
        self
    }

    /// Whether an event is among them.
    pub fn matches(&self, meta: &Meta) -> bool {
        self.ids.as_ref().is_none_or(|ids| ids.contains(&meta.id)) && self.matches_but_id(meta)
    }

    /// Whether all but the ids applies to an event.
    pub(super) fn matches_but_id(&self, meta: &Meta) -> bool {
        let Self { index, not_index, min_added, max_added, older_than, younger_than, .. } = self;
        let has = |index: &String| meta.indexes.contains(index);
        index.as_ref().is_none_or(has)
            && !not_index.as_ref().is_some_and(has)
            && min_added.is_none_or(|first| meta.added >= first)
            && max_added.is_none_or(|last| meta.added <= last)
            && older_than.as_ref().is_none_or(|than| meta.created() < *than)
            && younger_than.as_ref().is_none_or(|than| meta.created() > *than)
    }
}
