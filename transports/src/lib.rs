//! How Logux frames travel.
//!
//! A [`Transport`] dials and a [`Listener`] accepts; both give a [`Link`], two halves that move
//! whole frames and know nothing of what is in them.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! use logux_transports::{Format, FrameReceiver, FrameSender, Listener, Memory, Transport};
//!
//! let format = Format { name: "json", media_type: "application/json", is_text: |_| true };
//! let (mut memory, mut listener) = Memory::listen();
//! let mut near = memory.open(format, 1024).await?;
//! let mut far = listener.accept(&[format], 1024).await?;
//! near.sender.send("hello".into()).await?;
//! assert_eq!(far.receiver.receive(1024).await?.unwrap(), "hello");
//! # Ok(())
//! # }
//! ```
//!
//! In reading order:
//! - [`Link`], [`FrameSender`], [`FrameReceiver`], [`Transport`], [`Listener`]: the promises;
//! - [`Memory`]: inside one process; [`WebSocket`], [`WebSocketListener`]: over the network, by
//!   [`TlsClient`] and [`TlsServer`] where others could listen in; [`ListenerOptions`]: whom a server
//!   takes, and how long it waits for them;
//! - [`framed`]: any `Stream` and `Sink` of frames as a link;
//! - [`Reconnect`]: when to dial again;
//! - with the feature `conformance`, for tests: the kit that checks the promises, and `Faulty`, a bad
//!   network around any transport.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod boxed;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "conformance")]
mod faulty;
mod framed;
#[cfg(feature = "long-poll")]
mod http;
mod link;
#[cfg(feature = "long-poll")]
mod long_poll;
mod memory;
#[cfg(feature = "websocket")]
mod options;
#[cfg(feature = "websocket")]
mod page;
#[cfg(feature = "websocket")]
mod places;
#[cfg(feature = "websocket")]
mod proxies;
#[cfg(feature = "websocket")]
mod race;
mod reconnect;
#[cfg(feature = "websocket")]
mod refusal;
#[cfg(feature = "websocket")]
mod request;
#[doc(hidden)]
pub mod rt;
#[doc(hidden)]
pub mod strangers;
#[cfg(feature = "websocket")]
mod stream;
#[cfg(feature = "websocket")]
mod tcp;
#[cfg(feature = "tls")]
mod tls;
#[cfg(all(feature = "websocket", not(feature = "tls")))]
#[path = "no_tls.rs"]
mod tls;
#[cfg(feature = "websocket")]
mod url;
#[cfg(feature = "websocket")]
mod websocket;

pub use boxed::{BoxedLink, BoxedReceiver, BoxedSender};
#[cfg(feature = "conformance")]
pub use faulty::{Faulty, FaultyReceiver, FaultySender};
pub use framed::{SinkSender, StreamReceiver, framed};
#[cfg(feature = "long-poll")]
pub use http::{HttpBody, HttpLink, HttpListener, HttpReceiver, HttpSender, HttpService};
pub use link::{Format, FrameReceiver, FrameSender, Link, LinkInfo, Listener, Transport};
#[cfg(feature = "long-poll")]
pub use long_poll::{
    HttpClient, HttpConnection, LongPoll, LongPollLink, LongPollReceiver, LongPollSender,
};
pub use memory::{Memory, MemoryLink, MemoryListener, MemoryReceiver, MemorySender};
#[cfg(feature = "websocket")]
pub use options::ListenerOptions;
#[cfg(feature = "websocket")]
pub use proxies::Forwarding;
pub use reconnect::Reconnect;
#[cfg(feature = "websocket")]
pub use stream::NetworkStream;
#[cfg(feature = "tls")]
pub use tls::{TlsClient, TlsServer};
#[cfg(feature = "websocket")]
pub use websocket::{
    ByteStream, WebSocket, WebSocketLink, WebSocketListener, WebSocketReceiver, WebSocketSender,
};

/// The crate that speaks TLS, for configurations of one's own: see [`TlsClient::with_config`] and
/// [`TlsServer::with_config`].
#[cfg(feature = "tls")]
pub use rustls;
