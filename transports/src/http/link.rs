use std::io;

use bytes::Bytes;

use crate::link::{FrameReceiver, FrameSender, Link, LinkInfo};
use crate::long_poll::session::{SessionReceiver, SessionSender};
use crate::places::Place;
use crate::stream::NetworkStream;
use crate::websocket::{WebSocketLink, WebSocketReceiver, WebSocketSender};

/// A link over HTTP, whichever way the client took.
pub type HttpLink = Link<HttpSender, HttpReceiver>;

/// The sending half of an [`HttpLink`].
#[derive(Debug)]
#[must_use = "a link is cut when both of its halves are dropped"]
pub struct HttpSender {
    half: Sender,
    _place: Place,
}

/// The receiving half of an [`HttpLink`].
#[derive(Debug)]
#[must_use = "a link is cut when both of its halves are dropped"]
pub struct HttpReceiver {
    half: Receiver,
    _place: Place,
}

#[derive(Debug)]
enum Sender {
    WebSocket(WebSocketSender<NetworkStream>),
    LongPoll(SessionSender),
}

#[derive(Debug)]
enum Receiver {
    WebSocket(WebSocketReceiver<NetworkStream>),
    LongPoll(SessionReceiver),
}

pub(super) fn websocket(link: WebSocketLink<NetworkStream>, place: Place) -> HttpLink {
    Link {
        sender: HttpSender { half: Sender::WebSocket(link.sender), _place: place.clone() },
        receiver: HttpReceiver { half: Receiver::WebSocket(link.receiver), _place: place },
        info: link.info,
    }
}

pub(super) fn long_poll(
    (sender, receiver): (SessionSender, SessionReceiver),
    info: LinkInfo,
    place: Place,
) -> HttpLink {
    Link {
        sender: HttpSender { half: Sender::LongPoll(sender), _place: place.clone() },
        receiver: HttpReceiver { half: Receiver::LongPoll(receiver), _place: place },
        info,
    }
}

impl FrameSender for HttpSender {
    async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        match &mut self.half {
            Sender::WebSocket(sender) => sender.send(frame).await,
            Sender::LongPoll(sender) => sender.send(frame).await,
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        match &mut self.half {
            Sender::WebSocket(sender) => sender.flush().await,
            Sender::LongPoll(sender) => sender.flush().await,
        }
    }

    async fn close(self) -> io::Result<()> {
        match self.half {
            Sender::WebSocket(sender) => sender.close().await,
            Sender::LongPoll(sender) => sender.close().await,
        }
    }
}

impl FrameReceiver for HttpReceiver {
    async fn receive(&mut self, max_frame: usize) -> io::Result<Option<Bytes>> {
        match &mut self.half {
            Receiver::WebSocket(receiver) => receiver.receive(max_frame).await,
            Receiver::LongPoll(receiver) => receiver.receive(max_frame).await,
        }
    }
}
