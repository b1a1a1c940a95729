//! This crate and the published JavaScript packages, over WebSocket. Run by `tests/interop/run`.

mod against_client;
mod against_core;
mod against_server;
mod apps;
mod logux_binary;
mod long_poll;
mod message_pack;
mod pair;
mod peer;
mod protocols_together;
mod proxy;

use std::future::Future;
use std::time::Duration;

use logux_sync::{Timestamp, Value};
use serde_json::json;
use tokio::time::timeout;

fn event(kind: &str, n: usize) -> Value {
    json!({ "type": kind, "n": n })
}

/// A moment long ago: no event that is made now has its time.
fn past(milliseconds: usize) -> Timestamp {
    Timestamp::new(1_700_000_000_000 + milliseconds as u64).unwrap()
}

/// The seed of this run. Printed if the test fails; `INTEROP_SEED` runs one again.
fn seed() -> u64 {
    let given = std::env::var("INTEROP_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("INTEROP_SEED={seed}");
    seed
}

async fn in_time(test: impl Future<Output = ()>) {
    timeout(Duration::from_secs(60), test).await.expect("the test ends within a minute");
}
