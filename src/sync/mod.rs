//! Keeping two logs in step.
//!
//! - [`ClientSync`], [`ServerSync`], [`BaseSync`], [`Server`]: who talks to whom; [`SyncOptions`]:
//!   how; [`Session`]: what the user holds; [`State`], [`Error`]: what the user sees;
//! - `rules`: what the protocol says, as a value; `relative`: how events are named on a connection;
//! - `driver`: one task that moves frames between the rules and the link; `outgoing`: from the log
//!   to frames; `intake`: from frames to the log.

mod base_sync;
mod bruteforce;
mod callbacks;
mod client_sync;
mod driver;
mod error;
pub mod filters;
mod intake;
mod options;
mod outgoing;
mod relative;
mod rules;
mod server;
mod session;
mod state;

use logux_codecs::Codec;
use logux_transports::Format;

pub use base_sync::{BaseSync, ServerSync};
pub use callbacks::CallbackError;
pub use client_sync::ClientSync;
pub use error::{Error, Misbehaviour};
pub use options::{Login, SyncOptions};
pub use relative::FarFuture;
pub use rules::Role;
pub use server::{RunningServer, Server, Shutdown};
pub use session::{Diagnostics, Notice, Notices, Peer, Session, SessionHandle, States};
pub use state::State;

/// What a transport is told about a codec. Sessions do that themselves; this is for who opens or
/// accepts links by hand.
///
/// ```
/// # #[cfg(feature = "json")]
/// assert_eq!(logux_sync::format::<logux_sync::Json>().media_type, "application/json");
/// ```
pub fn format<C: Codec>() -> Format {
    Format { name: C::NAME, media_type: C::MEDIA_TYPE, is_text: C::is_text }
}
