use logux_codecs::{Added, EventId, Timestamp, Value};
use serde::{Deserialize, Serialize};

use crate::entry::Meta;

/// A change to events that are in a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Which events change.
    pub events: Which,
    /// What becomes of each of them.
    pub edit: Edit,
}

/// Which events of a log change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Which {
    /// Those at these positions, as far as they are there.
    At(Vec<Added>),
    /// Those with these ids, as far as they are there: also events of the append that changes them.
    Ids(Vec<EventId>),
    /// The events that have this reason and were created before the event `newest`; none if the log does not have
    /// `newest`.
    Before {
        /// A reason to keep events.
        reason: String,
        /// The event that stays.
        newest: EventId,
    },
}

/// What becomes of an event. All but its reasons and its extra keys stays as it is for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Edit {
    /// Adds reasons.
    AddReasons(Vec<String>),
    /// Removes reasons. An event that loses its last reason is cleaned.
    RemoveReasons(Vec<String>),
    /// Replaces the reasons. With an empty list, the event is cleaned.
    SetReasons(Vec<String>),
    /// Sets an extra key to a value, or removes the key.
    SetExtra(String, Option<Value>),
    /// Cleans the event, whatever its reasons.
    Clean,
    /// Cleans the event if it has no reasons.
    CleanUnreasoned,
}

/// What a change did to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it was so before.
    Nothing,
    /// The event has another meta now.
    Edited,
    /// The event is gone; its id is remembered.
    Cleaned,
}

/// Which ids of cleaned events a store forgets: the older ones, and the oldest ones above a number. If these are many,
/// an append may forget only a thousand of them and leave the others to the next appends.
///
/// An unknown id that is not later than a forgotten id of its node may be a forgotten one:
/// see [`Stored::too_old`](crate::Stored::too_old).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forget {
    /// Ids of earlier times than this are forgotten.
    pub before: Timestamp,
    /// So many are remembered, at most.
    pub at_most: usize,
}

impl Edit {
    /// Changes an event's meta, and answers what becomes of the event: the one place where that is said.
    pub fn apply(&self, meta: &mut Meta) -> Effect {
        match self {
            Self::AddReasons(reasons) => {
                let before = meta.reasons.len();
                for reason in reasons {
                    if !meta.reasons.contains(reason) {
                        meta.reasons.push(reason.clone());
                    }
                }
                Effect::of(meta.reasons.len() > before)
            }
            Self::RemoveReasons(reasons) => {
                let before = meta.reasons.len();
                meta.reasons.retain(|reason| !reasons.contains(reason));
                match meta.reasons.len() {
                    after if after == before => Effect::Nothing,
                    0 => Effect::Cleaned,
                    _ => Effect::Edited,
                }
            }
            Self::SetReasons(reasons) if reasons.is_empty() => {
                meta.reasons.clear();
                Effect::Cleaned
            }
            Self::SetReasons(reasons) => {
                let before = std::mem::take(&mut meta.reasons);
                for reason in reasons {
                    if !meta.reasons.contains(reason) {
                        meta.reasons.push(reason.clone());
                    }
                }
                Effect::of(meta.reasons != before)
            }
            Self::SetExtra(key, Some(value)) => {
                let before = meta.extra.insert(key.clone(), value.clone());
                Effect::of(before.as_ref() != Some(value))
            }
            Self::SetExtra(key, None) => Effect::of(meta.extra.remove(key).is_some()),
            Self::Clean => Effect::Cleaned,
            Self::CleanUnreasoned if meta.reasons.is_empty() => Effect::Cleaned,
            Self::CleanUnreasoned => Effect::Nothing,
        }
    }
}

impl Effect {
    const fn of(is_changed: bool) -> Self {
        if is_changed { Self::Edited } else { Self::Nothing }
    }
}
