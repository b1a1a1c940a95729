//! The test kit for stores: one call in a test runs the whole contract of [`Store`].
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use logux_sync::{MemoryStore, conformance};
//!
//! conformance::store(async || MemoryStore::new()).await;
//! # }
//! ```
//!
//! Each function checks one line of the contract, under its name, and panics where it is broken.
//!
//! # The checks of JavaScript
//! `eachStoreCheck` of `@logux/core` asks the same of stores. Where the kit does:
//!
//! | JavaScript | here |
//! |---|---|
//! | is empty in the beginning | [`positions_count_up`], [`keeps_records`], [`counts_its_events`] |
//! | updates latest synced values, updates both synced values | [`keeps_records`]: cursors are records |
//! | stores entries sorted, sorts actions with same time | [`reads_in_the_order_of_adding`], [`reads_in_the_order_of_creation`], [`reads_the_newest_first`] |
//! | indexed entries sorted, sorts actions with same time and index | [`finds_events_by_their_labels`] |
//! | returns latest added | [`the_end_is_where_reading_ends`] |
//! | changes meta, resolves to false on unknown ID in changeMeta | [`changes_events_as_edits_say`] |
//! | removes entries, removes entry with 0 time, removes entry with indexes, ignores removing unknown entry, cleans whole store | [`cleaned_events_are_gone`] |
//! | removes reasons and actions without reason, removes reason from indexes | [`changes_events_as_edits_say`], [`cleaned_events_are_gone`] |
//! | removes reason by time, for younger action, with minimum and maximum added, by id | the log finds such events: [`finds_events_by_their_labels`] from a place, then [`changes_events_as_edits_say`] |
//! | removes reason for older action | [`keeps_the_last_with_a_reason`] |
//! | returns action by ID, ignores entries with same ID | [`an_id_is_added_once`] |
//! | stores any metadata | [`reads_in_the_order_of_adding`], [`changes_events_as_edits_say`] |

#![expect(clippy::missing_panics_doc, reason = "to panic is how a check fails")]
#![expect(clippy::expect_used, reason = "to panic is how a check fails")]

mod adding;
mod ask;
mod changing;
mod gone;
mod reading;
mod records;
mod reopening;

pub use adding::{
    adds_all_or_none_where_ids_must_be_new, an_append_is_made_whether_or_not_its_answer_is_awaited,
    an_append_is_one_transaction, an_id_is_added_once, appends_are_made_in_the_order_of_submission,
    positions_count_up,
};
pub use changing::{
    changes_events_as_edits_say, cleaned_events_are_gone, keeps_the_last_with_a_reason,
};
pub use gone::{
    an_id_that_is_gone_is_not_added_again, forgets_old_ids, tells_what_is_known_of_ids,
};
pub use reading::{
    counts_its_events, finds_events_by_their_labels, knows_the_last_id_of_a_node,
    reads_in_the_order_of_adding, reads_in_the_order_of_creation, reads_no_more_than_a_page,
    reads_the_newest_first, the_end_is_where_reading_ends,
};
pub use records::{keeps_records, reads_records_in_pages};
pub use reopening::store_that_is_opened_again;

use logux_codecs::Value;

use super::contract::Store;

/// Checks every line of the contract; `make` gives a new and empty store each time.
pub async fn store<S: Store<Value>>(make: impl AsyncFn() -> S) {
    positions_count_up(&make().await).await;
    an_id_is_added_once(&make().await).await;
    an_append_is_one_transaction(&make().await).await;
    reads_in_the_order_of_adding(&make().await).await;
    reads_in_the_order_of_creation(&make().await).await;
    reads_no_more_than_a_page(&make().await).await;
    knows_the_last_id_of_a_node(&make().await).await;
    adds_all_or_none_where_ids_must_be_new(&make().await).await;
    keeps_records(&make().await).await;
    appends_are_made_in_the_order_of_submission(&make().await).await;
    an_append_is_made_whether_or_not_its_answer_is_awaited(&make().await).await;
    the_end_is_where_reading_ends(&make().await).await;
    reads_the_newest_first(&make().await).await;
    // Boxed: the futures of these checks are large, and inline they would be a part of each test's own.
    Box::pin(finds_events_by_their_labels(&make().await)).await;
    Box::pin(changes_events_as_edits_say(&make().await)).await;
    Box::pin(cleaned_events_are_gone(&make().await)).await;
    Box::pin(an_id_that_is_gone_is_not_added_again(&make().await)).await;
    Box::pin(keeps_the_last_with_a_reason(&make().await)).await;
    Box::pin(forgets_old_ids(&make().await)).await;
    counts_its_events(&make().await).await;
    reads_records_in_pages(&make().await).await;
    Box::pin(tells_what_is_known_of_ids(&make().await)).await;
}
