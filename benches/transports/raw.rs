//! What a transport stands on, with nothing of ours around it.

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::end::End;
use crate::raw_websocket::Socket;

/// Two channels, as long as those of the memory transport.
pub(crate) struct Channel {
    sender: mpsc::Sender<Bytes>,
    receiver: mpsc::Receiver<Bytes>,
}

pub(crate) fn channels() -> (Channel, Channel) {
    let (to_far, from_near) = mpsc::channel(16);
    let (to_near, from_far) = mpsc::channel(16);
    let near = Channel { sender: to_far, receiver: from_far };
    (near, Channel { sender: to_near, receiver: from_near })
}

impl End for Channel {
    async fn send(&mut self, frame: Message) {
        self.sender.send(frame.into_data()).await.expect("sent");
    }

    async fn flush(&mut self) {}

    async fn receive(&mut self) -> Bytes {
        self.receiver.recv().await.expect("a frame")
    }
}

/// Whole, not split in two halves.
impl End for Socket {
    async fn send(&mut self, frame: Message) {
        self.feed(frame).await.expect("sent");
    }

    async fn flush(&mut self) {
        SinkExt::flush(self).await.expect("flushed");
    }

    async fn receive(&mut self) -> Bytes {
        self.next().await.expect("a frame").expect("received").into_data()
    }
}

/// The two halves of it.
pub(crate) struct Split {
    sink: SplitSink<Socket, Message>,
    stream: SplitStream<Socket>,
}

pub(crate) fn split(socket: Socket) -> Split {
    let (sink, stream) = socket.split();
    Split { sink, stream }
}

impl End for Split {
    async fn send(&mut self, frame: Message) {
        self.sink.feed(frame).await.expect("sent");
    }

    async fn flush(&mut self) {
        self.sink.flush().await.expect("flushed");
    }

    async fn receive(&mut self) -> Bytes {
        self.stream.next().await.expect("a frame").expect("received").into_data()
    }
}
