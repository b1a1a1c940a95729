//! What a program costs that has no log: raw tokio-tungstenite, with the same sockets.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use logux_benches::Counter;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::raw_websocket::{Socket, pair};

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
