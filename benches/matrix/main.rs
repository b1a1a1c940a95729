//! Each codec over each transport, through one function: what logux-sync does, end to end.
//!
//! `cargo bench --bench matrix` takes two and a half minutes, prints a table, and says where it has left the
//! page; `-- --quick` takes one; `-- xml/` runs what has that in its id, `-- --test` runs each once,
//! `-- --help` tells the rest. What is measured is described on [`Matrix`].

use logux_benches::{Matrix, Wire};
use logux_sync::transports::MemoryListener;
use logux_sync::{
    HttpListener, Json, LongPoll, Memory, MessagePack, WebSocket, WebSocketListener, Xml,
};

fn main() {
    let mut matrix = Matrix::of_command_line();
    matrix.combination(Json, "memory", memory);
    matrix.combination(Json, "websocket", websocket);
    matrix.combination(Json, "long-poll", long_poll);
    matrix.combination(MessagePack, "memory", memory);
    matrix.combination(MessagePack, "websocket", websocket);
    matrix.combination(MessagePack, "long-poll", long_poll);
    matrix.combination(Xml, "memory", memory);
    matrix.combination(Xml, "websocket", websocket);
    matrix.combination(Xml, "long-poll", long_poll);
    matrix.finish();
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
