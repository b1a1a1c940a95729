//! What a program costs that has no log: raw tokio-tungstenite, with the same sockets.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use logux_benches::Counter;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config, client_async_with_config};

type Socket = WebSocketStream<TcpStream>;

/// The sizes that the WebSocket transport of logux-sync has.
fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(4 << 10).write_buffer_size(16 << 10)
}

async fn pair() -> (Socket, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let dial = async {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        let url = format!("ws://{address}");
        client_async_with_config(url, stream, Some(config())).await.expect("a handshake").0
    };
    let accept = async {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        accept_async_with_config(stream, Some(config())).await.expect("a handshake")
    };
    tokio::join!(dial, accept)
}

/// Sends from a task, receives in another, and waits for one answer to all.
async fn run<F: Future<Output = ()> + Send + 'static>(
    events: u64,
    send: impl FnOnce(futures_util::stream::SplitSink<Socket, Message>) -> F,
    check: impl Fn(&str, u64) + Send + 'static,
) -> Duration {
    let (near, mut far) = pair().await;
    let (sink, mut answers) = near.split();
    let receiver = tokio::spawn(async move {
        for event in 0..events {
            let message = far.next().await.expect("a message").expect("a message");
            check(message.to_text().expect("a text"), event);
        }
        far.send(Message::text("all")).await.expect("sent");
        far
    });
    let start = Instant::now();
    let sender = tokio::spawn(send(sink));
    assert_eq!(answers.next().await.expect("an answer").expect("an answer"), Message::text("all"));
    let took = start.elapsed();
    sender.await.expect("sent");
    drop(receiver.await.expect("received"));
    took
}

/// One encoded frame again and again: fed, and flushed when all are fed.
pub(crate) async fn frame_per_event(events: u64) -> Duration {
    let frame = Utf8Bytes::from_static(
        r#"["sync",1,{"type":"counter/inc","value":1},{"id":"P1","time":1}]"#,
    );
    let length = frame.len();
    let send = |mut sink: futures_util::stream::SplitSink<Socket, Message>| async move {
        for _ in 0..events {
            sink.feed(Message::Text(frame.clone())).await.expect("sent");
        }
        sink.flush().await.expect("sent");
    };
    run(events, send, move |text, _| assert_eq!(text.len(), length)).await
}

/// Each event written and read by serde: fed, and flushed when all are fed.
pub(crate) async fn serde_per_event(events: u64) -> Duration {
    let send = |mut sink: futures_util::stream::SplitSink<Socket, Message>| async move {
        for value in 0..events {
            let text = serde_json::to_string(&Counter::Inc { value }).expect("encoded");
            sink.feed(Message::text(text)).await.expect("sent");
        }
        sink.flush().await.expect("sent");
    };
    run(events, send, check).await
}

/// The same, with each event sent at once, as the documentation's examples do.
pub(crate) async fn send_per_event(events: u64) -> Duration {
    let send = |mut sink: futures_util::stream::SplitSink<Socket, Message>| async move {
        for value in 0..events {
            let text = serde_json::to_string(&Counter::Inc { value }).expect("encoded");
            sink.send(Message::text(text)).await.expect("sent");
        }
    };
    run(events, send, check).await
}

fn check(text: &str, value: u64) {
    let event: Counter = serde_json::from_str(text).expect("an event");
    assert_eq!(event, Counter::Inc { value });
}
