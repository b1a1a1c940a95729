//! Every transport keeps the contract of links.
#![cfg(feature = "conformance")]

use logux_transports::{Memory, conformance};

#[tokio::test]
async fn memory_keeps_the_contract_of_links() {
    conformance::link(async || Memory::pair()).await;
    let (memory, listener) = Memory::listen();
    conformance::transport(memory, listener).await;
}

#[cfg(feature = "websocket")]
#[tokio::test]
async fn websocket_keeps_the_contract_of_links() {
    use logux_transports::{WebSocket, WebSocketListener};

    let listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    conformance::transport(WebSocket::new(&url).unwrap(), listener).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_framed_byte_stream_keeps_the_contract_of_links() {
    use tokio_util::codec::{Framed, LengthDelimitedCodec};

    let frames =
        |stream| logux_transports::framed(Framed::new(stream, LengthDelimitedCodec::new()));
    conformance::link(async || {
        let (left, right) = tokio::net::UnixStream::pair().unwrap();
        (frames(left), frames(right))
    })
    .await;
}
