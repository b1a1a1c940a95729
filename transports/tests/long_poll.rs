//! HTTP long-poll over loopback.

use std::time::Duration;

use logux_transports::{HttpListener, HttpOptions, LongPoll, WebSocket, conformance};

async fn listen(options: HttpOptions) -> (HttpListener, String) {
    let listener = HttpListener::bind("127.0.0.1:0", options).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address.to_string())
}

/// A session that is left without a word ends after this.
fn short() -> HttpOptions {
    HttpOptions::new().inactivity(Duration::from_secs(1))
}

#[tokio::test]
async fn long_poll_keeps_the_contract() {
    let (listener, address) = listen(short()).await;
    let transport = LongPoll::new(&format!("http://{address}/")).unwrap();
    conformance::transport(transport, listener).await;
}

#[tokio::test]
async fn websocket_keeps_the_contract_on_the_same_port() {
    let (listener, address) = listen(short()).await;
    let transport = WebSocket::new(&format!("ws://{address}/")).unwrap();
    conformance::transport(transport, listener).await;
}
