use logux_codecs::Unfit;

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
    /// The store failed. It may have added the events, or none of them.
    #[error(transparent)]
    Store(#[from] StoreError),
}
