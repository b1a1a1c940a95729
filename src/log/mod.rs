//! The log: it gives events their ids and their order, and wakes those that wait for more.

mod adding;
mod arriving;
mod beside;
mod cleaned;
mod clock;
mod consumer;
mod copying;
mod criteria;
mod earlier;
mod editing;
mod entries;
mod error;
mod follow;
mod inbox;
mod known;
#[expect(clippy::module_inception, reason = "the log's own file, beside its parts")]
mod log;
mod options;
mod present;
mod receipt;
mod retention;
mod room;
mod tail;
mod typed;
mod withheld;

pub use arriving::{Arriving, NotAdded};
pub(crate) use beside::{CursorKeys, News, Received, reset};
pub use cleaned::{Cleaned, Missed};
pub use clock::Clock;
pub use consumer::{Consumer, ConsumerError, Delivery};
pub use copying::{CopyError, Imported};
pub use criteria::Criteria;
pub use editing::Effects;
pub use entries::Entries;
pub use error::AddError;
use error::HoldBackError;
pub use follow::Follow;
pub use inbox::{Inbox, InboxError, Waiting};
pub(crate) use known::{Known, Presence, Trust, Verdict};
pub use log::Log;
pub use options::{LogOptions, Unreasoned};
pub(crate) use present::{Alarm, Alert, Fence, Newcomer};
pub(crate) use receipt::SessionLog;
pub use receipt::{Receipt, ReceiptError};
pub use retention::{Pruning, Retention};
pub(crate) use withheld::Withheld;
