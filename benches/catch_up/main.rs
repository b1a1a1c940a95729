//! A client that misses many events, beside a loop that decodes and inserts the same chunks.
//!
//! `cargo bench --bench catch_up`; `-- '100000 events,'` takes so many only, `-- --test` a thousand, once. The baseline is on
//! one core, as it would be. Ours has a server and a client that exchange the chunks over WebSocket, with
//! confirmations: once with a thread for each, once with one for both.
//! A ratio is taken round by round, ours and the baseline in turn.

#[path = "../bare_log.rs"]
mod bare_log;
#[path = "../live.rs"]
#[expect(dead_code, reason = "live events are measured elsewhere")]
mod live;

use std::hint::black_box;
use std::time::{Duration, Instant};

use bare_log::BareLog;
use live::{delivered, log, websocket};
use logux_benches::ratio::Ratio;
use logux_benches::{Asked, Counter};
use logux_sync::codecs::{Message, Sync, WireId, WireMeta};
use logux_sync::{Added, ClientSync, Codec, Json, Limits, Log, Rare, Server, State, Timestamp};
use peak_alloc::PeakAlloc;
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// How many events come in a chunk, as ours sends them.
const CHUNK: u64 = 100;

/// What it took: so long, and so many bytes at once above what there was before.
#[derive(Clone, Copy, Debug)]
struct Took {
    time: Duration,
    peak: usize,
}

fn main() {
    let asked = Asked::of_command_line();
    let two_threads = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let two_threads = two_threads.expect("a runtime");
    let one_thread = Builder::new_current_thread().enable_all().build().expect("a runtime");
    if !asked.numbers() {
        ours(&two_threads, 1_000);
        bare(&chunks(1_000));
        own_log(&one_thread, &chunks(1_000));
        return;
    }
    println!("time of ours by the baseline's: median, 90 % interval, goal");
    for (events, rounds) in [(10_000, 21), (100_000, 11), (1_000_000, 3)] {
        let chunks = chunks(events);
        for (threads, runtime) in [("two threads", &two_threads), ("one thread", &one_thread)] {
            let name = format!("{events} events, {threads}, / decode and insert");
            if asked.means(&name) {
                let (mut times, mut peaks) = (Vec::new(), Vec::new());
                for _ in 0..rounds {
                    let (ours, bare) = (ours(runtime, events), bare(&chunks));
                    times.push(ours.time.as_secs_f64() / bare.time.as_secs_f64());
                    peaks.push([ours.peak, bare.peak, own_log(&one_thread, &chunks).peak]);
                }
                let goal = if threads == "two threads" { "<= 1.3" } else { "" };
                println!("{name:52} {}  {goal}", Ratio::of_rounds(&times));
                peaks.sort_unstable();
                let [ours, bare, own] = peaks[peaks.len() / 2];
                println!(
                    "{:52} {:6.1} MiB; above a bare log {:.1} (goal: <= 8), above chunks added to a `Log` {:.1}",
                    "    peak memory",
                    mebibytes(ours),
                    mebibytes(ours) - mebibytes(bare),
                    mebibytes(ours) - mebibytes(own),
                );
            }
        }
    }
    let name = "1000000 events / 100000 events";
    if asked.means(name) {
        let times = |_| {
            let (many, few) = (ours(&two_threads, 1_000_000), ours(&two_threads, 100_000));
            many.time.as_secs_f64() / few.time.as_secs_f64()
        };
        let times: Vec<f64> = (0..3).map(times).collect();
        println!("{name:52} {}  <= 10.5", Ratio::of_rounds(&times));
    }
}

/// From dialling the server until the client has all and the server knows.
fn ours(runtime: &Runtime, events: u64) -> Took {
    runtime.block_on(async {
        let (near, far) = (log("client").await, log("server").await);
        far.add_batch((0..events).map(|value| Counter::Inc { value })).await.expect("added");
        let (transport, listener) = websocket().await;
        let (start, before) = (Instant::now(), before());
        let server = Server::new(&far, Json, listener).start();
        let client = ClientSync::new(&near, Json, transport).start();
        client.wait_for(State::Synchronized).await.unwrap();
        // The client was quicker than the server's list, perhaps.
        let session = loop {
            match server.sessions().pop() {
                Some(session) => break session,
                None => tokio::task::yield_now().await,
            }
        };
        session.wait_for(State::Synchronized).await.unwrap();
        let took = Took { time: start.elapsed(), peak: above(before) };
        delivered(&near, events).await;
        client.close().await.expect("closed");
        server.shutdown(Duration::from_secs(5)).await;
        took
    })
}

/// Decodes each chunk, and inserts what is in it into a log that is nothing else.
fn bare(chunks: &[Vec<u8>]) -> Took {
    let (start, before) = (Instant::now(), before());
    let (mut log, mut next) = (BareLog::default(), 0);
    for chunk in chunks {
        for (event, meta) in decode(chunk) {
            let WireId::Absolute { time, .. } = meta.id else { panic!("not as it was encoded") };
            assert_eq!(event, Counter::Inc { value: next });
            log.insert(event, time.value());
            next += 1;
        }
    }
    let took = Took { time: start.elapsed(), peak: above(before) };
    assert_eq!(black_box(&log).len() as u64, next);
    took
}

/// Decodes each chunk, and adds what is in it to a log of ours.
fn own_log(runtime: &Runtime, chunks: &[Vec<u8>]) -> Took {
    runtime.block_on(async {
        let log: Log<Counter> = log("client").await;
        let (start, before) = (Instant::now(), before());
        for chunk in chunks {
            let events = decode(chunk).into_iter().map(|(event, _)| event);
            log.add_batch(events).await.expect("added");
        }
        let took = Took { time: start.elapsed(), peak: above(before) };
        delivered(&log, chunks.len() as u64 * CHUNK).await;
        took
    })
}

/// The chunks that ours sends.
fn chunks(events: u64) -> Vec<Vec<u8>> {
    let entry = |value: u64| {
        let time = Timestamp::new(1_790_000_000_000 + value).expect("a time");
        let id = WireId::Absolute { time, author: None };
        let time = value.cast_signed();
        (Counter::Inc { value }, WireMeta { id, time, subprotocol: None, extra: Rare::default() })
    };
    let chunk = |first: u64| {
        let entries = (first..first + CHUNK).map(entry).collect();
        let sync = Sync { added: Added::new(first + CHUNK).expect("a position"), entries };
        let mut frame = Vec::new();
        Json.encode(&Message::Sync(sync), &mut frame).expect("encoded");
        frame
    };
    (0..events / CHUNK).map(|number| chunk(number * CHUNK)).collect()
}

fn decode(chunk: &[u8]) -> Vec<(Counter, WireMeta)> {
    let message = Json.decode::<Counter>(chunk, Limits::default()).expect("a message");
    let Message::Sync(sync) = message else { panic!("not as it was encoded") };
    sync.entries
}

fn before() -> usize {
    MEMORY.reset_peak_usage();
    MEMORY.current_usage()
}

fn above(before: usize) -> usize {
    MEMORY.peak_usage().saturating_sub(before)
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
