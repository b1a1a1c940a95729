//! Live events: two logs in step, beside raw tokio-tungstenite.
//!
//! `cargo bench --bench throughput` runs criterion and then the ratios; `-- --ratios` only the ratios.
//! A ratio is taken round by round, ours and the baseline in turn, so that it holds where the
//! machine's speed drifts; the absolute numbers do not.

mod baseline;
mod live;
#[path = "../raw_websocket.rs"]
mod raw_websocket;

use std::time::Duration;

use criterion::{Criterion, Throughput};
use live::{Adding, memory, websocket};
use logux_benches::{Asked, ratio};
use tokio::runtime::{Builder, Runtime};

/// One way to move events from here to there: how long so many take, delivery and confirmation
/// included, set-up not. Panics where one is missing.
type Run = fn(&Runtime, u64) -> Duration;

const RUNS: [(&str, Run); 7] = [
    ("json/memory/live", |rt, n| rt.block_on(memory(n, Adding::Batches))),
    ("json/websocket/live", |rt, n| rt.block_on(websocket(n, Adding::Batches))),
    ("json/websocket/live-one-by-one", |rt, n| rt.block_on(websocket(n, Adding::OneByOne))),
    ("json/websocket/unbatched", |rt, n| rt.block_on(live::unbatched(n))),
    ("raw/websocket/frame-per-event", |rt, n| rt.block_on(baseline::frame_per_event(n))),
    ("raw/websocket/serde-per-event", |rt, n| rt.block_on(baseline::serde_per_event(n))),
    ("raw/websocket/send-per-event", |rt, n| rt.block_on(baseline::send_per_event(n))),
];

fn main() {
    let two_threads = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let two_threads = two_threads.expect("a runtime");
    let one_thread = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let asked = Asked::of_command_line();
    if asked.criterion() {
        let mut criterion = Criterion::default().configure_from_args();
        let mut group = criterion.benchmark_group("live");
        group
            .throughput(Throughput::Elements(1))
            .sample_size(10)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2));
        for (name, run) in RUNS {
            group.bench_function(name, |bench| {
                bench.iter_custom(|events| run(&two_threads, events));
            });
        }
        group.finish();
        criterion.final_summary();
    }
    if !asked.numbers() {
        return;
    }
    for (threads, runtime) in [("two threads", &two_threads), ("one thread", &one_thread)] {
        println!("\nevents per second of ours by the baseline's, {threads}: median, 90 % interval");
        for ours in &RUNS[1..3] {
            for baseline in &RUNS[3..] {
                let name = format!("{:31} / {:30}", ours.0, baseline.0);
                if asked.means(&name) {
                    let ratio = ratio::of(|n| (ours.1)(runtime, n), |n| (baseline.1)(runtime, n));
                    println!("{name} {ratio}");
                }
            }
        }
    }
    println!("\nbytes per event on the wire: {:.1} in batches of 100", live::bytes_per_event(100));
}
