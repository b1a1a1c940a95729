//! The log: it gives events their ids and their order, and wakes those that wait for more.

mod adding;
mod beside;
mod clock;
mod earlier;
mod error;
mod follow;
mod known;
#[expect(clippy::module_inception, reason = "the log's own file, beside its parts")]
mod log;
mod options;
mod receipt;
mod room;
mod tail;
mod withheld;

pub(crate) use beside::{CursorKeys, News, Received, reset};
pub use clock::Clock;
pub use error::AddError;
use error::HoldBackError;
pub use follow::Follow;
pub(crate) use known::{Alarm, Known, Presence, Trust, Verdict};
pub use log::Log;
pub use options::LogOptions;
pub(crate) use receipt::SessionLog;
pub use receipt::{Receipt, ReceiptError};
pub(crate) use withheld::Withheld;
