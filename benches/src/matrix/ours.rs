//! The codecs and transports of the library.

use logux_sync::transports::MemoryListener;
use logux_sync::{
    HttpListener, Json, LongPoll, Memory, MessagePack, WebSocket, WebSocketListener, Xml,
};

use super::{Matrix, Wire};

impl Matrix<'_> {
    /// Adds each codec of the library over each of its transports.
    pub fn ours(&mut self) {
        self.combination(Json, "memory", memory);
        self.combination(Json, "websocket", websocket);
        self.combination(Json, "long-poll", long_poll);
        self.combination(MessagePack, "memory", memory);
        self.combination(MessagePack, "websocket", websocket);
        self.combination(MessagePack, "long-poll", long_poll);
        self.combination(Xml, "memory", memory);
        self.combination(Xml, "websocket", websocket);
        self.combination(Xml, "long-poll", long_poll);
    }
}

async fn memory(_: &Wire) -> (Memory, MemoryListener) {
    Memory::listen()
}

async fn websocket(wire: &Wire) -> (WebSocket, WebSocketListener) {
    let listener = WebSocketListener::bind("127.0.0.1:0").await.expect("a port");
    let address = wire.to(listener.local_addr().expect("an address")).await.expect("a port");
    (WebSocket::new(&format!("ws://{address}")).expect("a URL"), listener)
}

async fn long_poll(wire: &Wire) -> (LongPoll, HttpListener) {
    let listener = HttpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = wire.to(listener.local_addr().expect("an address")).await.expect("a port");
    (LongPoll::new(&format!("http://{address}")).expect("a URL"), listener)
}
