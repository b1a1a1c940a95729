//! Where a log keeps its events: the contract of every store, the test kit that checks it, and the
//! store in memory.

#[cfg(feature = "conformance")]
pub(crate) mod conformance;
mod contract;
mod memory;

pub use contract::{IfKnown, Store, StoreError, Stored};
pub use memory::MemoryStore;
