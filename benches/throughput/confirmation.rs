//! How long it takes until an event is confirmed, beside the answer to a frame.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use logux_benches::Counter;
use logux_benches::ratio::{ROUNDS, Ratio};
use logux_sync::{ClientSync, Json, Server, State};
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::Message;

use crate::live::{delivered, log, websocket};
use crate::raw_websocket::pair;

/// How many one after the other are measured in a round, and how many before them are not.
const EVENTS: usize = 1000;
const BEFORE: usize = 100;

/// How many times as long ours takes at the median, and at the 99th of 100.
pub(crate) fn ratios(runtime: &Runtime) -> [Ratio; 2] {
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let (ours, raw) = (runtime.block_on(confirmations()), runtime.block_on(answers()));
        for (rounds, part) in rounds.iter_mut().zip([EVENTS / 2, EVENTS * 99 / 100]) {
            rounds.push(ours[part].as_secs_f64() / raw[part].as_secs_f64());
        }
    }
    rounds.map(|rounds| Ratio::of_rounds(&rounds))
}

/// From the call that adds an event until it is confirmed, the shortest first.
async fn confirmations() -> Vec<Duration> {
    let (transport, listener) = websocket().await;
    let (near, far) = (log("client").await, log("server").await);
    let server = Server::new(&far, Json, listener).start();
    let client = ClientSync::new(&near, Json, transport).start();
    client.wait_for(State::Synchronized).await.unwrap();
    let mut times = Vec::new();
    for value in 0..(BEFORE + EVENTS) as u64 {
        let start = Instant::now();
        near.add(Counter::Inc { value }).await.expect("added");
        client.wait_for(State::Synchronized).await.unwrap();
        times.push(start.elapsed());
    }
    delivered(&far, times.len() as u64).await;
    client.close().await.expect("closed");
    server.shutdown(Duration::from_secs(5)).await;
    sorted(times)
}

/// From a frame to the answer to it, in frames of the same lengths.
async fn answers() -> Vec<Duration> {
    let (mut near, mut far) = pair().await;
    let answering = tokio::spawn(async move {
        let mut count = 0_u64;
        while let Some(Ok(Message::Text(_))) = far.next().await {
            count += 1;
            far.send(Message::text(format!(r#"["synced",{count}]"#))).await.expect("sent");
        }
    });
    let mut times = Vec::new();
    for count in 1..=(BEFORE + EVENTS) as u64 {
        let frame = format!(
            r#"["sync",{count},{{"type":"counter/inc","value":{count}}},{{"id":"P1","time":1}}]"#
        );
        let start = Instant::now();
        near.send(Message::text(frame)).await.expect("sent");
        let answer = near.next().await.expect("an answer").expect("an answer");
        times.push(start.elapsed());
        assert_eq!(answer, Message::text(format!(r#"["synced",{count}]"#)));
    }
    near.close(None).await.expect("closed");
    answering.await.expect("it ends");
    sorted(times)
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.drain(..BEFORE);
    times.sort();
    times
}
