//! What a user holds of a running synchronization.
//!
//! - [`Session`]: owns it; [`SessionHandle`]: looks at it and tells it things;
//! - `commands`: what is told; `reporter`: what can be seen, [`Diagnostics`]; `streams`: what happens.

mod commands;
mod diagnostics;
mod handle;
mod reporter;
#[expect(clippy::module_inception, reason = "the session's own file, beside its parts")]
mod session;
mod streams;

pub use commands::Replay;
pub(crate) use commands::{Command, Commands, Owner, Subscription, Wish};
pub use diagnostics::Diagnostics;
pub use handle::{NoReceipt, SessionEnded, SessionHandle};
pub(crate) use reporter::Reporter;
pub use session::Session;
pub use streams::{Notices, States};
