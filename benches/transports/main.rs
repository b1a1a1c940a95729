//! Links, without codecs and logs: each transport beside what it stands on.
//!
//! `cargo bench --bench transports` runs criterion and then the ratios; `-- --ratios` only the ratios,
//! `-- --test` each run once.
//! A ratio is taken round by round, ours and the baseline in turn, so that it holds where the
//! machine's speed drifts; the absolute numbers do not.

mod end;
mod raw;
mod raw_hyper;
#[path = "../raw_websocket.rs"]
mod raw_websocket;

use std::time::Duration;

use criterion::{Criterion, Throughput};
use end::{End, Frames, MAX_FRAME, deliveries, one_way, round_trips};
use logux_benches::{Asked, ratio};
use logux_sync::transports::Format;
use logux_sync::{
    HttpListener, Listener, LongPoll, Memory, Transport, WebSocket, WebSocketListener,
};
use raw_hyper::Heads;
use tokio::runtime::{Builder, Runtime};

/// What is sent how.
#[derive(Clone, Copy)]
enum Load {
    /// Text of so many bytes, one frame after the other.
    Text(usize),
    /// The same that is not said to be text.
    Binary(usize),
    /// Text of so many bytes, each when the one before has come back.
    RoundTrip(usize),
    /// Text of so many bytes, each when the far side is known to have the one before.
    Delivery(usize),
}

impl Load {
    fn name(self) -> String {
        match self {
            Self::Text(length) => format!("text-{length}"),
            Self::Binary(length) => format!("binary-{length}"),
            Self::RoundTrip(length) => format!("round-trip-{length}"),
            Self::Delivery(length) => format!("delivery-{length}"),
        }
    }

    fn frames(self) -> Frames {
        match self {
            Self::Text(length) | Self::RoundTrip(length) | Self::Delivery(length) => {
                Frames::text(length)
            }
            Self::Binary(length) => Frames::binary(length),
        }
    }

    fn format(self) -> Format {
        let is_text: fn(&[u8]) -> bool = match self {
            Self::Binary(_) => |_| false,
            _ => |_| true,
        };
        Format { name: "json", media_type: "application/json", is_text }
    }

    async fn run(self, (near, far): (impl End, impl End), count: u64) -> Duration {
        let frames = self.frames();
        match self {
            Self::Text(_) | Self::Binary(_) => one_way(near, far, frames, count).await,
            Self::RoundTrip(_) => round_trips(near, far, frames, count).await,
            Self::Delivery(_) => deliveries(near, far, frames, count).await,
        }
    }
}

/// One way to move frames from here to there: how long so many take, set-up not included. Panics
/// where one is missing.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    run: fn(&Runtime, Load, u64) -> Duration,
}

/// A transport, what it is compared with, and by which loads.
struct Pair {
    ours: Way,
    baseline: Way,
    loads: &'static [Load],
    goal: &'static str,
}

const MEMORY: Way = Way {
    name: "memory",
    run: |runtime, load, count| {
        runtime.block_on(async { over(Memory::listen(), load, count).await })
    },
};

const WEBSOCKET: Way = Way {
    name: "websocket",
    run: |runtime, load, count| {
        runtime.block_on(async {
            let listener = WebSocketListener::bind("127.0.0.1:0").await.expect("a port");
            let url = format!("ws://{}", listener.local_addr().expect("an address"));
            over((WebSocket::new(&url).expect("a URL"), listener), load, count).await
        })
    },
};

const LONG_POLL: Way = Way {
    name: "long-poll",
    run: |runtime, load, count| {
        runtime.block_on(async {
            let listener = HttpListener::bind("127.0.0.1:0").await.expect("a port");
            let url = format!("http://{}", listener.local_addr().expect("an address"));
            over((LongPoll::new(&url).expect("a URL"), listener), load, count).await
        })
    },
};

const CHANNEL: Way = Way {
    name: "tokio mpsc",
    run: |runtime, load, count| runtime.block_on(load.run(raw::channels(), count)),
};

const TUNGSTENITE: Way = Way {
    name: "tokio-tungstenite",
    run: |runtime, load, count| {
        runtime.block_on(async { load.run(raw_websocket::pair().await, count).await })
    },
};

/// In two halves, so that one task can send while another receives, as with a link. The pair that is
/// whole cannot: it is the floor, and this is what a program that does both pays.
const TUNGSTENITE_SPLIT: Way = Way {
    name: "same, split",
    run: |runtime, load, count| {
        runtime.block_on(async {
            let (near, far) = raw_websocket::pair().await;
            load.run((raw::split(near), raw::split(far)), count).await
        })
    },
};

/// Round trips only.
const HYPER: Way = Way {
    name: "hyper, POST",
    run: |runtime, load, count| runtime.block_on(raw_hyper::echoes(load.frames(), count)),
};

/// Round trips and deliveries only: there is one frame in a request.
const HYPER_POLL: Way = Way {
    name: "hyper, POST + poll",
    run: |runtime, load, count| {
        runtime.block_on(async { load.run(raw_hyper::polling(Heads::Bare).await, count).await })
    },
};

/// The same: what remains of the difference is not the heads.
const HYPER_HEADS: Way = Way {
    name: "hyper, same heads",
    run: |runtime, load, count| {
        runtime.block_on(async { load.run(raw_hyper::polling(Heads::Alike).await, count).await })
    },
};

/// A small event, and a batch of some sixty.
const SMALL: usize = 64;
const BATCH: usize = 4096;

const PAIRS: [Pair; 7] = [
    Pair {
        ours: MEMORY,
        baseline: CHANNEL,
        loads: &[Load::Binary(SMALL), Load::RoundTrip(SMALL)],
        goal: "",
    },
    Pair {
        ours: WEBSOCKET,
        baseline: TUNGSTENITE,
        loads: &[
            Load::Text(SMALL),
            Load::Binary(SMALL),
            Load::Text(BATCH),
            Load::Binary(BATCH),
            Load::RoundTrip(SMALL),
        ],
        goal: ">= 0.9",
    },
    Pair {
        ours: WEBSOCKET,
        baseline: TUNGSTENITE_SPLIT,
        loads: &[Load::Text(SMALL), Load::Binary(SMALL)],
        goal: "",
    },
    Pair { ours: LONG_POLL, baseline: HYPER, loads: &[Load::RoundTrip(SMALL)], goal: "" },
    Pair {
        ours: LONG_POLL,
        baseline: HYPER_POLL,
        loads: &[Load::RoundTrip(SMALL), Load::Delivery(SMALL)],
        goal: ">= 0.83: 1.2 times as long",
    },
    Pair {
        ours: LONG_POLL,
        baseline: HYPER_HEADS,
        loads: &[Load::RoundTrip(SMALL), Load::Delivery(SMALL)],
        goal: "",
    },
    Pair {
        ours: LONG_POLL,
        baseline: WEBSOCKET,
        loads: &[Load::Text(SMALL), Load::Binary(SMALL), Load::Text(BATCH), Load::Binary(BATCH)],
        goal: ">= 0.6",
    },
];

/// Ours, whichever: the listener lives as long as the link.
async fn over<T: Transport, L: Listener>(
    (mut transport, mut listener): (T, L),
    load: Load,
    count: u64,
) -> Duration {
    let formats = [load.format()];
    let (near, far) =
        tokio::join!(transport.open(formats[0], MAX_FRAME), listener.accept(&formats, MAX_FRAME));
    load.run((near.expect("a link"), far.expect("a link")), count).await
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
        compare(&asked, "two threads", &two_threads);
        compare(&asked, "one thread", &one_thread);
    }
}

/// Each way by itself.
fn measure(runtime: &Runtime) {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("transports");
    group
        .throughput(Throughput::Elements(1))
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    let mut seen = Vec::new();
    for Pair { ours, baseline, loads, .. } in PAIRS {
        for (&load, way) in loads.iter().flat_map(|load| [(load, ours), (load, baseline)]) {
            let name = format!("{}/{}", way.name, load.name());
            if !seen.contains(&name) {
                group.bench_function(&name, |bench| {
                    bench.iter_custom(|count| (way.run)(runtime, load, count));
                });
                seen.push(name);
            }
        }
    }
    group.finish();
    criterion.final_summary();
}

/// Each of ours beside its baseline.
fn compare(asked: &Asked, threads: &str, runtime: &Runtime) {
    println!(
        "\nframes per second of ours by the baseline's, {threads}: median, 90 % interval, goal"
    );
    for Pair { ours, baseline, loads, goal } in PAIRS {
        for &load in loads {
            let name = format!("{:9} / {:18} {:14}", ours.name, baseline.name, load.name());
            if asked.means(&name) {
                let ratio = ratio::of(
                    |count| (ours.run)(runtime, load, count),
                    |count| (baseline.run)(runtime, load, count),
                );
                println!("{name} {ratio}  {goal}");
            }
        }
    }
}
