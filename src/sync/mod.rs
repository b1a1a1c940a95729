//! Keeping two logs in step.
//!
//! - [`ClientSync`], [`ServerSync`], [`BaseSync`], [`Server`]: who talks to whom; [`SyncOptions`]:
//!   how; [`Session`]: what the user holds; [`State`], [`Error`], [`Notice`]: what the user sees;
//! - `admission`: who may come in, and from which cursors; `callbacks`: the user's other answers;
//! - `rules`: what the protocol says, as a value;
//! - `connection`: one task that moves frames between the rules, the log and the link.

mod admission;
mod base_sync;
mod callbacks;
mod client_sync;
mod connection;
mod error;
pub mod filters;
mod format;
mod lane;
mod notice;
mod options;
mod peer;
mod rules;
mod server;
mod session;
mod state;

pub use admission::{Access, Login, Quota, RefusalLimit};
pub use base_sync::{BaseSync, ServerSync};
pub use callbacks::CallbackError;
pub use client_sync::ClientSync;
#[cfg(feature = "app")]
pub(crate) use error::with_causes;
pub use error::{CallbackTimeout, Error, Misbehaviour};
#[doc(hidden)]
pub use format::format;
pub use notice::Notice;
pub use options::SyncOptions;
pub use peer::Peer;
#[cfg(fuzzing)]
pub use rules::fuzzing;
pub use rules::{FarFuture, Role, Unreadable};
pub use server::{RunningServer, Server, ServerHandle, Shutdown};
pub use session::{
    Diagnostics, NoReceipt, Notices, Replay, Session, SessionEnded, SessionHandle, States,
};
pub use state::State;
