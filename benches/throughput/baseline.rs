//! What a program costs that has no log: raw tokio-tungstenite, with the same sockets; and what one that only
//! has logs does.

use std::hint::black_box;
use std::time::{Duration, Instant};

use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use logux_benches::Counter;
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::bare_log::BareLog;
use crate::raw_websocket::{Socket, pair};

/// How a loop that was written by hand writes and reads an event, by serde.
#[derive(Clone, Copy)]
pub(crate) struct Written {
    write: fn(u64) -> Message,
    read: fn(&Message) -> u64,
}

pub(crate) const JSON: Written = Written {
    write: |value| Message::text(serde_json::to_string(&Counter::Inc { value }).expect("encoded")),
    read: |message| {
        let text = message.to_text().expect("a text");
        let Counter::Inc { value } = serde_json::from_str(text).expect("an event");
        value
    },
};

pub(crate) const MESSAGE_PACK: Written = Written {
    write: |value| {
        Message::binary(rmp_serde::to_vec_named(&Counter::Inc { value }).expect("encoded"))
    },
    read: |message| {
        let Message::Binary(bytes) = message else { panic!("not binary") };
        let Counter::Inc { value } = rmp_serde::from_slice(bytes).expect("an event");
        value
    },
};

pub(crate) const XML: Written = Written {
    write: |value| {
        let event = XmlEvent { r#type: "counter/inc".to_owned(), value };
        Message::text(quick_xml::se::to_string(&event).expect("encoded"))
    },
    read: |message| {
        let text = message.to_text().expect("a text");
        let event: XmlEvent = quick_xml::de::from_str(text).expect("an event");
        assert_eq!(event.r#type, "counter/inc");
        event.value
    },
};

/// The event as quick-xml's serde can carry it: it knows no tagged enum.
#[derive(Serialize, Deserialize)]
#[serde(rename = "event")]
struct XmlEvent {
    r#type: String,
    value: u64,
}

/// Sends from a task, receives in another, and waits for one answer to all.
async fn run<F: Future<Output = ()> + Send + 'static>(
    events: u64,
    send: impl FnOnce(SplitSink<Socket, Message>) -> F,
    check: impl Fn(&Message, u64) + Send + 'static,
) -> Duration {
    let (near, mut far) = pair().await;
    let (sink, mut answers) = near.split();
    let receiver = tokio::spawn(async move {
        for event in 0..events {
            let message = far.next().await.expect("a message").expect("a message");
            check(&message, event);
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
    let expected = Message::Text(frame.clone());
    let send = |mut sink: SplitSink<Socket, Message>| async move {
        for _ in 0..events {
            sink.feed(Message::Text(frame.clone())).await.expect("sent");
        }
        sink.flush().await.expect("sent");
    };
    run(events, send, move |message, _| assert_eq!(*message, expected)).await
}

/// Each event written and read by serde: fed, and flushed when all are fed.
pub(crate) async fn serde_per_event(written: Written, events: u64) -> Duration {
    let send = |mut sink: SplitSink<Socket, Message>| async move {
        for value in 0..events {
            sink.feed((written.write)(value)).await.expect("sent");
        }
        sink.flush().await.expect("sent");
    };
    run(events, send, move |message, value| assert_eq!((written.read)(message), value)).await
}

/// The same, with each event sent at once, as the documentation's examples do.
pub(crate) async fn send_per_event(events: u64) -> Duration {
    let send = |mut sink: SplitSink<Socket, Message>| async move {
        for value in 0..events {
            sink.send((JSON.write)(value)).await.expect("sent");
        }
    };
    run(events, send, |message, value| assert_eq!((JSON.read)(message), value)).await
}

/// Each event into one log and then into another, with nothing between them.
pub(crate) fn two_inserts(events: u64) -> Duration {
    let start = Instant::now();
    let mut logs = [BareLog::default(), BareLog::default()];
    for value in 0..events {
        for log in &mut logs {
            log.insert(Counter::Inc { value }, 1_790_000_000_000 + value);
        }
    }
    let took = start.elapsed();
    assert!(black_box(&logs).iter().all(|log| log.len() as u64 == events));
    took
}
