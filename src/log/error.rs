use logux_codecs::{EventId, Unfit};

use super::arriving::NotAdded;
use super::beside::MAX_HELD_BACK;
use crate::store::StoreError;

/// Why events were not added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// An event cannot be sent to every peer in every codec. None of the events of the call was added.
    #[error("event {place} of those to add cannot be sent to every peer")]
    Unfit {
        /// Which of the events of the call it is, counted from 1.
        place: usize,
        /// What is wrong with it, and what to do.
        #[source]
        reason: Unfit,
    },
    /// The hook [`before_add`](crate::LogOptions::before_add) refused an event. None of the events of the call was
    /// added.
    #[error("event {place} of those to add was refused before it was added")]
    Refused {
        /// Which of the events of the call it is, counted from 1.
        place: usize,
        /// Why, as the hook said it.
        #[source]
        reason: NotAdded,
    },
    /// An event brings an id that the log had, or may have had, of an event that is gone. None of the events of the
    /// call was added.
    #[error(
        "event {place} of those to add brings the id {id} of an event that was cleaned, or one so old that it is not \
         remembered any more whether it was; give it no id, so that it gets a new one"
    )]
    Gone {
        /// Which of the events of the call it is, counted from 1.
        place: usize,
        /// The id.
        id: EventId,
    },
    /// The store failed. It may have added the events, or none of them.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why not all events that a peer did not take are listed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HoldBackError {
    /// There are as many as there may be.
    #[error(
        "the peer refuses more than {MAX_HELD_BACK} events; Log::held_back lists them with its reasons: let \
         the peer take them, then offer them again"
    )]
    Full,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A full list ends a connection as a store that fails does: what is not listed is not confirmed.
impl From<HoldBackError> for StoreError {
    fn from(error: HoldBackError) -> Self {
        match error {
            HoldBackError::Store(error) => error,
            HoldBackError::Full => Self::new(error),
        }
    }
}
