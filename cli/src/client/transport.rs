//! The transport that an address names.

use std::io;

use logux_sync::transports::{BoxedLink, BoxedReceiver, BoxedSender, Format};
use logux_sync::{LongPoll, TlsClient, Transport, WebSocket};

use super::Target;
use crate::failure::Failure;

/// WebSocket or long-poll, as the address says at run time.
pub(super) enum AnyTransport {
    WebSocket(Box<WebSocket>),
    LongPoll(Box<LongPoll>),
}

impl AnyTransport {
    pub(super) fn new(target: &Target) -> Result<Self, Failure> {
        let wrong =
            |error: io::Error| Failure::usage(format!("--server {:?}: {error}", target.url));
        let roots = target.roots.as_deref().map(TlsClient::with_roots).transpose();
        let roots = roots.map_err(|error| Failure::usage(format!("--roots: {error}")))?;
        let is_long_poll = target.url.starts_with("http:") || target.url.starts_with("https:");
        Ok(if is_long_poll {
            let transport = LongPoll::new(&target.url).map_err(wrong)?;
            Self::LongPoll(Box::new(roots.into_iter().fold(transport, LongPoll::tls)))
        } else {
            let transport = WebSocket::new(&target.url).map_err(wrong)?;
            Self::WebSocket(Box::new(roots.into_iter().fold(transport, WebSocket::tls)))
        })
    }
}

impl Transport for AnyTransport {
    type Sender = BoxedSender;
    type Receiver = BoxedReceiver;

    async fn open(&mut self, format: Format, max_frame: usize) -> io::Result<BoxedLink> {
        match self {
            Self::WebSocket(transport) => Ok(transport.open(format, max_frame).await?.boxed()),
            Self::LongPoll(transport) => Ok(transport.open(format, max_frame).await?.boxed()),
        }
    }
}
