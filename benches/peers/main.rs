//! Live events beside the original in JavaScript, the loops that one would write without a log, and what all of
//! them stand on.
//!
//! `benches/peers/run` installs what it needs and runs all of it; `benches/peers/run core` what has that in its name.
//! Beside JavaScript ours adds event by event, as that does; beside the others, 100 in a call. Both ends are in one
//! process, on each side of a ratio; a ratio is taken round by round, ours and the other in turn. Of JavaScript a
//! process is started for each round, and only live events are timed.

#[path = "../bare_log.rs"]
mod bare_log;
#[path = "../throughput/baseline.rs"]
#[expect(dead_code, reason = "only the loops for JSON are meant here")]
mod baseline;
#[path = "../transports/end.rs"]
#[expect(dead_code, reason = "only one request after the other is meant here")]
mod end;
#[path = "../live.rs"]
mod live;
#[path = "../transports/raw_hyper.rs"]
#[expect(dead_code, reason = "only one request after the other is meant here")]
mod raw_hyper;
#[path = "../raw_websocket.rs"]
mod raw_websocket;

use std::process::Command;
use std::time::{Duration, Instant};

use end::Frames;
use live::{Adding, live, websocket};
use logux_benches::ratio::Ratio;
use logux_benches::{Asked, ratio};
use logux_sync::{Json, SyncOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// How often JavaScript is started for a ratio.
const ROUNDS: usize = 7;

/// `@logux/core` 0.12.1: the format of its frames, how many events are in the logs before, how many are live, and
/// how many times as fast ours should be.
const CORES: [(&str, u32, u32, &str); 4] = [
    ("text", 0, 3_000, ">= 25"),
    ("binary", 0, 3_000, ">= 25"),
    ("text", 5_000, 500, ">= 100"),
    ("binary", 5_000, 500, ">= 100"),
];

type Other = (&'static str, fn(&Runtime, u64) -> Duration, &'static str);

const OTHERS: [Other; 5] = [
    (
        "serde loop, flushed when drained",
        |rt, n| rt.block_on(baseline::serde_per_event(baseline::JSON, n)),
        ">= 1",
    ),
    ("serde loop, `send` per event", |rt, n| rt.block_on(baseline::send_per_event(n)), ">= 3"),
    ("one frame again and again", |rt, n| rt.block_on(baseline::frame_per_event(n)), ""),
    (
        "raw hyper, a POST per event",
        |rt, n| rt.block_on(raw_hyper::echoes(Frames::text(64), n)),
        "",
    ),
    ("raw TCP, 64 bytes per event", |rt, n| rt.block_on(tcp(n)), ""),
];

fn main() {
    let asked = Asked::of_command_line();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    if !asked.numbers() {
        ours(&runtime, 1_000, Adding::OneByOne);
        for (_, run, _) in OTHERS {
            run(&runtime, 1_000);
        }
        return;
    }
    // Where the script has seen to it.
    let has_node = std::env::args().any(|argument| argument == "--node");
    println!(
        "events per second of ours by the other's, json/websocket/live: median, 90 % interval, goal"
    );
    for (format, stored, events, goal) in CORES {
        let name = format!("@logux/core 0.12.1, {format}, {stored} stored");
        if asked.means(&name) && !has_node {
            println!("{name:42}   needs Node.js: benches/peers/run");
        } else if asked.means(&name) {
            // As long as ours takes some tenths of a second.
            let many = 200_000_u32;
            let rounds: Vec<f64> = (0..ROUNDS)
                .map(|_| {
                    let ours = f64::from(many)
                        / ours(&runtime, u64::from(many), Adding::OneByOne).as_secs_f64();
                    ours / (f64::from(events) / core(format, stored, events).as_secs_f64())
                })
                .collect();
            println!("{name:42} {}  {goal}", Ratio::of_rounds(&rounds));
        }
    }
    for (name, run, goal) in OTHERS {
        if asked.means(name) {
            let ratio = ratio::of(
                |events| ours(&runtime, events, Adding::Batches),
                |events| run(&runtime, events),
            );
            println!("{name:42} {ratio}  {goal}");
        }
    }
}

fn ours(runtime: &Runtime, events: u64, adding: Adding) -> Duration {
    runtime
        .block_on(async { live(Json, websocket().await, SyncOptions::new(), events, adding).await })
}

/// Two nodes of `@logux/core` in a process of Node.js.
fn core(format: &str, stored: u32, events: u32) -> Duration {
    let output = Command::new("node")
        .args(["throughput.mjs", format, &stored.to_string(), &events.to_string()])
        .env("NODE_ENV", "production")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/interop"))
        .output()
        .expect("node starts: see benches/peers/run");
    let (said, failed) = (&output.stdout, &output.stderr);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(failed));
    let milliseconds: f64 = String::from_utf8_lossy(said).trim().parse().expect("milliseconds");
    Duration::from_secs_f64(milliseconds / 1000.0)
}

/// So many times 64 bytes, collected in 16 KiB, and one byte back when all are there.
async fn tcp(events: u64) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (near, (far, _)) = (near.expect("a connection"), far.expect("a connection"));
    let receiver = tokio::spawn(async move {
        let mut far = BufReader::with_capacity(16 << 10, far);
        for event in 0..events {
            let mut bytes = [0; 64];
            far.read_exact(&mut bytes).await.expect("received");
            assert_eq!(bytes, frame(event), "not the next event");
        }
        far.get_mut().write_all(b"!").await.expect("sent");
    });
    let start = Instant::now();
    let mut near = BufWriter::with_capacity(16 << 10, near);
    for event in 0..events {
        near.write_all(&frame(event)).await.expect("sent");
    }
    near.flush().await.expect("sent");
    assert_eq!(near.read_u8().await.expect("an answer"), b'!');
    let took = start.elapsed();
    receiver.await.expect("all received");
    took
}

fn frame(event: u64) -> [u8; 64] {
    let mut frame = [b'-'; 64];
    frame[..8].copy_from_slice(&event.to_be_bytes());
    frame
}
