//! WebSocket (RFC 6455) over TCP or any byte stream, by tokio-tungstenite.
//!
//! A peer names the format of its frames by a subprotocol, `logux.` and the format's name. JSON, which
//! JavaScript nodes speak, is named by none.

mod buffered;
mod client;
mod handshake;
mod link;
mod listener;
mod meter;

pub use client::WebSocket;
#[cfg(feature = "long-poll")]
pub(crate) use handshake::{Granted, MAX_HEAD, MAX_HEADERS, NOT_CHUNKED, NOT_HERE, Wanted};
pub use link::{ByteStream, WebSocketLink, WebSocketReceiver, WebSocketSender};
#[cfg(feature = "long-poll")]
pub(crate) use link::{Sizes, open};
pub use listener::WebSocketListener;
