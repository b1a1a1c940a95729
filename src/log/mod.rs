//! The log: it gives events their ids and their order, and wakes those that wait for more.

mod clock;
mod earlier;
mod error;
mod follow;
mod known;
#[expect(clippy::module_inception, reason = "the log's own file, beside its parts")]
mod log;
mod options;
mod position;
mod receipt;
mod room;
mod withheld;

pub use clock::Clock;
pub use error::AddError;
pub(crate) use error::HoldBackError;
pub use follow::Follow;
pub(crate) use known::{Alarm, Known, Presence, Trust, Verdict};
pub use log::Log;
pub(crate) use log::Received;
pub use options::LogOptions;
pub(crate) use receipt::SessionLog;
pub use receipt::{Receipt, ReceiptError};
pub(crate) use withheld::Withheld;
