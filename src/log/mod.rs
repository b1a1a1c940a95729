//! The log: events, their meta, their ids, and the order in which they came.

mod clock;
mod end;
mod entry;
mod follow;
#[expect(clippy::module_inception, reason = "the log's own file, beside its parts")]
mod log;
mod withheld;

pub use clock::Clock;
pub(crate) use end::End;
pub use entry::{Created, Draft, Entry, Meta};
pub use follow::Follow;
pub use log::Log;
pub(crate) use log::Received;
pub(crate) use withheld::Withheld;
