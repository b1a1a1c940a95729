//! Where a log keeps its events: the contract of every store, the test kit that checks it, and the
//! store in memory.
//!
//! - [`Store`]: the contract; [`Append`]: what a store is given, [`Answer`] what it answers;
//! - [`Change`]: what becomes of events that are there;
//! - [`Query`], [`Page`]: what is read; [`Key`], [`RecordChange`]: what is kept beside the events;
//! - [`End`]: where a log ends, and who waits for that.

mod append;
mod change;
#[cfg(feature = "conformance")]
pub(crate) mod conformance;
mod contract;
mod end;
mod ids;
mod memory;
mod query;
mod record;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use append::{Answer, Append, IfKnown, Stored};
pub use change::{Change, Edit, Effect, Forget, Which};
pub use contract::{Store, StoreError};
pub use end::End;
pub use memory::MemoryStore;
pub use query::{IdState, Label, Order, Page, Query};
pub use record::{Key, PeerRecord, Prefix, Record, RecordChange};
#[cfg(feature = "sqlite")]
pub use sqlite::{OpenError, SqliteStore};
