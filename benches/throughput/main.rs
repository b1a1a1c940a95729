//! Live events: two logs in step, beside raw tokio-tungstenite.
//!
//! `cargo bench --bench throughput` runs criterion and then the ratios; `-- --ratios` only the ratios, with the goal
//! that each has, `-- --test` each run once.
//! A ratio is taken round by round, ours and the baseline in turn, so that it holds where the
//! machine's speed drifts; the absolute numbers do not.

#[path = "../bare_log.rs"]
mod bare_log;
mod baseline;
mod confirmation;
#[path = "../live.rs"]
mod live;
#[path = "../raw_websocket.rs"]
mod raw_websocket;
mod wire;

use std::time::Duration;

use baseline::{JSON, MESSAGE_PACK, XML};
use criterion::{Criterion, Throughput};
use live::Adding::{Batches, OneByOne};
use live::{live, websocket};
use logux_benches::{Asked, ratio};
use logux_sync::{Codec, Json, Memory, MessagePack, SyncOptions, Xml};
use tokio::runtime::{Builder, Runtime};

/// One way to move events from here to there: how long so many take, delivery and confirmation
/// included, set-up not. Panics where one is missing.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    run: fn(&Runtime, u64) -> Duration,
}

/// Ours, what it is compared with, and how much faster it should be.
type Pair = (Way, Way, &'static str);

const fn way(name: &'static str, run: fn(&Runtime, u64) -> Duration) -> Way {
    Way { name, run }
}

const MEMORY: Way = way("json/memory/live", |rt, n| {
    rt.block_on(live(Json, Memory::listen(), SyncOptions::new(), n, Batches))
});
const JSON_LIVE: Way = way("json/websocket/live", |rt, n| over_websocket(rt, Json, n, Batches));
const JSON_ONE_BY_ONE: Way =
    way("json/websocket/live-one-by-one", |rt, n| over_websocket(rt, Json, n, OneByOne));
const MESSAGE_PACK_LIVE: Way =
    way("message-pack/websocket/live", |rt, n| over_websocket(rt, MessagePack, n, Batches));
const MESSAGE_PACK_ONE_BY_ONE: Way = way("message-pack/websocket/live-one-by-one", |rt, n| {
    over_websocket(rt, MessagePack, n, OneByOne)
});
const XML_LIVE: Way = way("xml/websocket/live", |rt, n| over_websocket(rt, Xml, n, Batches));
const XML_ONE_BY_ONE: Way =
    way("xml/websocket/live-one-by-one", |rt, n| over_websocket(rt, Xml, n, OneByOne));
/// With one event in a message, as JavaScript nodes do.
const UNBATCHED: Way = way("json/websocket/unbatched", |rt, n| {
    rt.block_on(async {
        live(Json, websocket().await, SyncOptions::new().batch(1), n, Batches).await
    })
});
const TWO_INSERTS: Way = way("bare/two-inserts", |_, n| baseline::two_inserts(n));
const FRAMES: Way =
    way("raw/websocket/frame-per-event", |rt, n| rt.block_on(baseline::frame_per_event(n)));
const SERDE_JSON: Way =
    way("raw/websocket/serde-per-event", |rt, n| rt.block_on(baseline::serde_per_event(JSON, n)));
const RMP_SERDE: Way = way("raw/websocket/rmp-serde-per-event", |rt, n| {
    rt.block_on(baseline::serde_per_event(MESSAGE_PACK, n))
});
const QUICK_XML: Way = way("raw/websocket/quick-xml-per-event", |rt, n| {
    rt.block_on(baseline::serde_per_event(XML, n))
});
const SENDS: Way =
    way("raw/websocket/send-per-event", |rt, n| rt.block_on(baseline::send_per_event(n)));

const PAIRS: [Pair; 12] = [
    (MEMORY, TWO_INSERTS, ">= 0.5"),
    (JSON_LIVE, UNBATCHED, ""),
    (JSON_LIVE, FRAMES, ""),
    (JSON_LIVE, SERDE_JSON, ">= 1"),
    (JSON_LIVE, SENDS, ">= 3"),
    (JSON_ONE_BY_ONE, FRAMES, ""),
    (JSON_ONE_BY_ONE, SERDE_JSON, ">= 0.7"),
    (JSON_ONE_BY_ONE, SENDS, ""),
    (MESSAGE_PACK_LIVE, RMP_SERDE, ">= 1"),
    (MESSAGE_PACK_ONE_BY_ONE, RMP_SERDE, ">= 0.7"),
    (XML_LIVE, QUICK_XML, ">= 0.5"),
    (XML_ONE_BY_ONE, QUICK_XML, ""),
];

fn over_websocket(
    runtime: &Runtime,
    codec: impl Codec,
    events: u64,
    adding: live::Adding,
) -> Duration {
    runtime.block_on(async {
        live(codec, websocket().await, SyncOptions::new(), events, adding).await
    })
}

fn main() {
    let two_threads = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let two_threads = two_threads.expect("a runtime");
    let one_thread = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let asked = Asked::of_command_line();
    if asked.criterion() {
        measure(&two_threads);
    }
    if asked.numbers() {
        for (threads, runtime) in [("two threads", &two_threads), ("one thread", &one_thread)] {
            compare(&asked, threads, runtime);
        }
        println!(
            "\nbytes per event on the wire: {:.1} in batches of 100",
            wire::bytes_per_event(100)
        );
    }
}

/// Each way by itself.
fn measure(runtime: &Runtime) {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("live");
    group
        .throughput(Throughput::Elements(1))
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    let mut seen = Vec::new();
    for way in PAIRS.iter().flat_map(|&(ours, baseline, _)| [ours, baseline]) {
        if !seen.contains(&way.name) {
            group.bench_function(way.name, |bench| {
                bench.iter_custom(|events| (way.run)(runtime, events));
            });
            seen.push(way.name);
        }
    }
    group.finish();
    criterion.final_summary();
}

/// Each of ours beside its baseline.
fn compare(asked: &Asked, threads: &str, runtime: &Runtime) {
    println!(
        "\nevents per second of ours by the baseline's, {threads}: median, 90 % interval, goal"
    );
    for (ours, baseline, goal) in PAIRS {
        let name = format!("{:38} / {:34}", ours.name, baseline.name);
        if asked.means(&name) {
            let ratio = ratio::of(|n| (ours.run)(runtime, n), |n| (baseline.run)(runtime, n));
            println!("{name} {ratio}  {goal}");
        }
    }
    let name = "json/websocket/confirmation / raw ping-pong";
    if asked.means(name) {
        println!(
            "\ntime from an event to its confirmation by that of a frame and its answer, {threads}"
        );
        for (part, (ratio, goal)) in ["p50", "p99"]
            .iter()
            .zip(confirmation::ratios(runtime).iter().zip(["<= 1.15", "<= 1.3"]))
        {
            println!("{name:69} {part} {ratio}  {goal}");
        }
    }
}
