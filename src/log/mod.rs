//! The log: it gives events their ids and their order, and wakes those that wait for more.

mod clock;
mod end;
mod follow;
#[expect(clippy::module_inception, reason = "the log's own file, beside its parts")]
mod log;
mod withheld;

pub use clock::Clock;
pub(crate) use end::End;
pub use follow::Follow;
pub use log::Log;
pub(crate) use withheld::Withheld;
