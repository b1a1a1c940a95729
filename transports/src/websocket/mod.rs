//! WebSocket (RFC 6455) over TCP or any byte stream, by tokio-tungstenite.
//!
//! A peer names the format of its frames by a subprotocol, `logux.` and the format's name. JSON, which
//! JavaScript nodes speak, is named by none.

mod client;
mod handshake;
mod link;
mod listener;
mod meter;

pub use client::WebSocket;
#[cfg(feature = "long-poll")]
pub(crate) use handshake::{Choice, choose};
pub use link::{ByteStream, WebSocketLink, WebSocketReceiver, WebSocketSender};
#[cfg(feature = "long-poll")]
pub(crate) use link::{Sizes, accepted};
pub use listener::WebSocketListener;
