//! Every future of a session and of a server, raced against its end at a random moment: each is over within
//! the stated time, no task is left, and in the end each event is in both logs, once.
//!
//! `RACE_SEED=7 cargo test --test paused race` runs one seed; `RACE_SEEDS=10000` runs so many.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use futures_util::StreamExt;
use logux_sync::conformance::Faulty;
use logux_sync::{
    Access, ClientSync, Json, Listener, Log, Memory, RunningServer, Server, Session, SessionHandle,
    State, SyncOptions, Value, format,
};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::gate::{Gate, Gated};
use crate::world::{Hanging, held, log, milliseconds, options, quick, seconds};

/// How many seeds the ordinary test run has.
const SEEDS: u64 = 600;

/// A timer may be so late: by its resolution.
const LATE: Duration = Duration::from_millis(2);

/// How long the background has where nobody waits for a server.
const DROPPED: Duration = Duration::from_secs(10);

#[test]
fn every_future_ends_in_time_whenever_its_session_does() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let seeds = match number("RACE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RACE_SEEDS").unwrap_or(SEEDS),
    };
    let mut seen = Seen::default();
    for seed in seeds.clone() {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(world(seed))
        };
        let one = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
            panic!("seed {seed} failed: RACE_SEED={seed} cargo test --test paused race")
        });
        seen.add(&one);
    }
    println!("{seen:?}");
    if seeds.end - seeds.start >= SEEDS {
        // A race in which nobody is ever late shows nothing.
        assert!(seen.slow_ends > 50 && seen.cut > 0 && seen.events > 10 * SEEDS, "{seen:?}");
    }
}

#[derive(Debug, Default)]
struct Seen {
    events: u64,
    futures: usize,
    /// Ends of clients that took time.
    slow_ends: usize,
    /// Server's connections that were cut.
    cut: usize,
    connections: u64,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.futures += other.futures;
        self.slow_ends += other.slow_ends;
        self.cut += other.cut;
        self.connections += other.connections;
    }
}

/// Futures that must be over soon after their session is.
#[derive(Default)]
struct Race(Vec<(String, JoinHandle<Instant>)>);

impl Race {
    fn run(&mut self, name: impl Into<String>, future: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(async move {
            future.await;
            Instant::now()
        });
        self.0.push((name.into(), task));
    }

    /// All that a handle has.
    fn handle(&mut self, whose: &str, handle: &SessionHandle, random: &mut Rng) {
        for state in [
            State::Disconnected,
            State::Wait,
            State::Connecting,
            State::Sending,
            State::Synchronized,
        ] {
            let handle = handle.clone();
            self.run(format!("{whose}: wait_for {state}"), async move {
                let _ = handle.wait_for(state).await;
            });
        }
        let states = handle.states();
        self.run(format!("{whose}: states"), states.for_each(async |_| {}));
        let notices = handle.notices();
        self.run(format!("{whose}: notices"), notices.for_each(async |_| {}));
        let errors = handle.errors();
        self.run(format!("{whose}: errors"), errors.for_each(async |_| {}));
        for name in ["set_headers", "debug", "reevaluate", "offer_again", "reconnect_now"] {
            let (handle, mut random) = (handle.clone(), random.fork());
            self.run(format!("{whose}: {name}"), async move {
                for _ in 0..random.usize(1..40) {
                    sleep(milliseconds(random.u64(..4_000) * random.u64(..2))).await;
                    match name {
                        "set_headers" => handle.set_headers(headers(&mut random)).await,
                        "debug" => handle.debug("text").await,
                        "reevaluate" => handle.reevaluate().await,
                        "offer_again" => handle.offer_again().await,
                        // Not so often that nothing else ever happens.
                        _ if random.u8(..4) > 0 => {}
                        _ => handle.reconnect_now().await,
                    }
                    let synchronized = handle.wait_for(State::Synchronized);
                    if let Ok(Err(_)) = timeout(seconds(1), synchronized).await {
                        break;
                    }
                }
            });
        }
    }

    /// Each is over by then; answers how many there were.
    async fn are_over(self, by: Instant) -> usize {
        let count = self.0.len();
        for (name, task) in self.0 {
            // Those that sleep between two commands see that the session is over when they wake.
            let over = timeout(seconds(60), task).await;
            let Ok(over) = over else { panic!("{name} never ends") };
            let over = over.unwrap_or_else(|error| panic!("{name}: {error}"));
            let is_command = ["set_headers", "debug", "reevaluate", "offer_again", "reconnect_now"]
                .iter()
                .any(|command| name.ends_with(command));
            let late = if is_command { seconds(5) } else { LATE };
            assert!(over <= by + late, "{name} ends {:?} late", over - by);
        }
        count
    }
}

fn headers(random: &mut Rng) -> logux_sync::Headers {
    [("number".to_owned(), random.u8(..).into())].into_iter().collect()
}

/// Adds events for a while, each of a number of its own; answers them once each is there.
async fn adds(log: Log<Value>, numbers: std::ops::Range<u64>, mut random: Rng) -> Vec<u64> {
    let mut added = Vec::new();
    for number in numbers {
        sleep(milliseconds(random.u64(..3_000) * random.u64(..2))).await;
        log.add(json!({ "n": number })).await.unwrap();
        added.push(number);
    }
    added
}

/// Makes stores slow and stuck, and lets them go on, for ever.
async fn trouble(stores: [Gated; 2], mut random: Rng) {
    loop {
        sleep(milliseconds(random.u64(..15_000))).await;
        let gate = match random.u8(..8) {
            0 | 1 => Gate::Stuck,
            2 => Gate::Mute,
            3 => Gate::Slow(random.u64(1..3_000)),
            _ => Gate::Open,
        };
        stores[random.usize(..2)].set(gate);
    }
}

/// A callback's time: none, some, or for ever.
async fn wait(random: &Mutex<Rng>, hangs: u8) {
    let (kind, time) = {
        let mut random = random.lock().unwrap();
        (random.u8(..), random.u64(..2_000))
    };
    match kind {
        kind if kind < hangs => pending().await,
        kind if kind < 40 => sleep(milliseconds(time)).await,
        _ => {}
    }
}

fn with_callbacks(options: SyncOptions<Value>, random: &mut Rng) -> SyncOptions<Value> {
    let mut options = options
        .farewell(milliseconds(random.u64(..8_000)))
        .timeout(milliseconds(random.u64(500..20_000)))
        .ping(milliseconds(random.u64(500..20_000)))
        .batch(random.usize(1..20))
        .callback_timeout(milliseconds(random.u64(1..20_000)));
    let hangs = if random.bool() { 0 } else { random.u8(..10) };
    let drawn = Arc::new(Mutex::new(random.fork()));
    if random.bool() {
        let drawn = Arc::clone(&drawn);
        options = options.in_filter(move |_, _| {
            let drawn = Arc::clone(&drawn);
            async move {
                wait(&drawn, hangs).await;
                Ok(true)
            }
        });
    }
    if random.bool() {
        let drawn = Arc::clone(&drawn);
        options = options.out_filter(move |_, _| {
            let drawn = Arc::clone(&drawn);
            async move {
                wait(&drawn, hangs).await;
                Ok(true)
            }
        });
    }
    if random.bool() {
        let drawn = Arc::clone(&drawn);
        options = options.credentials_with(move || {
            let drawn = Arc::clone(&drawn);
            async move {
                wait(&drawn, hangs).await;
                Ok("token".into())
            }
        });
    }
    if random.bool() {
        let expires = random.bool().then(|| milliseconds(random.u64(..30_000)));
        options = options.auth(move |_| {
            let drawn = Arc::clone(&drawn);
            async move {
                wait(&drawn, hangs).await;
                expires.map_or(true.into(), |time| Access::from(true).expires_in(time))
            }
        });
    }
    options
}

fn start(
    log: &Log<Value>,
    memory: Memory,
    farewell: Duration,
    random: &mut Rng,
) -> (Session, Option<JoinHandle<()>>) {
    let options = with_callbacks(options(), random).farewell(farewell);
    let network = Faulty::new(memory)
        .seed(random.u64(..))
        .delay(Duration::ZERO..=milliseconds([0, 50, 3_000][random.usize(..3)]))
        .cut([0.0, 0.05][random.usize(..2)]);
    match random.u8(..8) {
        0 => {
            let transport = Hanging { inner: network, times: random.usize(1..5) };
            (ClientSync::new(log, Json, quick(transport)).options(options).start(), None)
        }
        1 => {
            // A peer that accepts and says nothing.
            let (memory, mut listener) = Memory::listen();
            let silent = tokio::spawn(async move {
                let mut links = Vec::new();
                while let Ok(link) = listener.accept(&[format::<Json>()], 1 << 20).await {
                    links.push(link);
                }
            });
            let session = ClientSync::new(log, Json, quick(memory)).options(options).start();
            (session, Some(silent))
        }
        _ => (ClientSync::new(log, Json, quick(network)).options(options).start(), None),
    }
}

/// Ends a client's session in one of the ways that there are; answers the name of the way.
async fn end_session(session: Session, random: &mut Rng) -> (&'static str, bool) {
    let handle = session.handle();
    match random.u8(..6) {
        0 => {
            let _ = session.close().await;
            ("close", true)
        }
        1 => {
            let _ = handle.close_with("a reason").await;
            ("close_with", true)
        }
        2 => {
            let ended = tokio::spawn(session.ended());
            let _ = handle.close().await;
            let _ = ended.await.unwrap();
            ("ended", true)
        }
        3 => {
            handle.abort();
            let _ = session.ended().await;
            ("abort", true)
        }
        4 => {
            // The order is given, and the caller does not wait.
            let _ = timeout(milliseconds(random.u64(..100)), session.close()).await;
            ("close, dropped", false)
        }
        _ => {
            drop(session);
            ("drop", false)
        }
    }
}

/// Ends a server; answers how many of its connections were cut, and how long that may take.
async fn end_server(mut server: RunningServer, random: &mut Rng) -> (usize, Duration) {
    let grace = milliseconds(random.u64(..12_000));
    match random.u8(..4) {
        0 => {
            drop(server);
            (0, DROPPED)
        }
        1 => {
            let waiting = tokio::spawn(async move { server.ended().await });
            sleep(milliseconds(1)).await;
            waiting.abort();
            (0, DROPPED + milliseconds(1))
        }
        2 => {
            let limit = milliseconds(random.u64(..100));
            let _ = timeout(limit, server.shutdown(grace)).await;
            (0, grace)
        }
        _ => (server.shutdown(grace).await.cut, grace),
    }
}

async fn world(seed: u64) -> Seen {
    let mut random = Rng::with_seed(seed);
    let ((here, near_store), (there, far_store)) = (log("10:client").await, log("server").await);
    let (memory, listener) = Memory::listen();
    let server_options = with_callbacks(options(), &mut random);
    let server = Server::new(&there, Json, listener).options(server_options).start();
    let farewell = milliseconds(random.u64(..8_000));
    let (session, silent) = start(&here, memory, farewell, &mut random);

    let (of_client, of_server) = (random.u64(..40), 1_000 + random.u64(..40));
    let adding = [
        tokio::spawn(adds(here.clone(), 0..of_client, random.fork())),
        tokio::spawn(adds(there.clone(), 1_000..of_server, random.fork())),
    ];
    let stores = [near_store, far_store];
    let trouble = tokio::spawn(trouble(stores.clone(), random.fork()));
    let (mut at_client, mut at_server) = (Race::default(), Race::default());
    at_client.handle("client", &session, &mut random);
    let ends_server_first = random.bool();
    let longest = [1_000, 20_000, 90_000][random.usize(..3)];
    sleep(milliseconds(random.u64(..longest))).await;
    for (number, handle) in server.sessions().iter().enumerate() {
        at_server.handle(&format!("connection {number}"), handle, &mut random);
        let closes = random.u8(..4) == 0;
        let handle = handle.clone();
        at_server.run(format!("connection {number}: close_with"), async move {
            if closes {
                let _ = handle.close_with("a reason").await;
            }
        });
    }
    sleep(milliseconds(random.u64(..3_000))).await;

    let mut seen = Seen { connections: session.diagnostics().connections, ..Seen::default() };
    let (mut session, mut server) = (Some(session), Some(server));
    for ends_server in [ends_server_first, !ends_server_first] {
        let begin = Instant::now();
        if ends_server {
            let (cut, limit) = end_server(server.take().unwrap(), &mut random).await;
            seen.cut += cut;
            seen.futures += std::mem::take(&mut at_server).are_over(begin + limit).await;
        } else {
            let (way, waits) = end_session(session.take().unwrap(), &mut random).await;
            let took = begin.elapsed();
            assert!(took <= farewell + LATE, "{way} takes {took:?}, of {farewell:?}");
            seen.slow_ends += usize::from(waits && took > Duration::ZERO);
            seen.futures += std::mem::take(&mut at_client).are_over(begin + farewell).await;
        }
    }

    trouble.abort();
    if let Some(silent) = silent {
        silent.abort();
    }
    for store in &stores {
        store.set(Gate::Open);
    }
    let mut expected = Vec::new();
    for adding in adding {
        expected.extend(timeout(seconds(60 * 60), adding).await.expect("each add ends").unwrap());
    }
    sleep(seconds(60 * 60)).await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0, "tasks are left");

    seen.events = expected.len() as u64;
    let (memory, listener) = Memory::listen();
    let server = Server::new(&there, Json, listener).start();
    let client = ClientSync::new(&here, Json, quick(memory)).start();
    let all_there = async {
        while held(&here).await.len() < expected.len() || held(&there).await.len() < expected.len()
        {
            sleep(seconds(1)).await;
        }
        client.wait_for(State::Synchronized).await.unwrap();
    };
    let _ = timeout(seconds(3 * 60 * 60), all_there).await;
    assert_eq!(held(&here).await, expected, "at the client");
    assert_eq!(held(&there).await, expected, "at the server");
    assert_eq!(here.last_added().value(), seen.events);
    assert_eq!(there.last_added().value(), seen.events);
    client.close().await.unwrap();
    server.shutdown(seconds(1)).await;
    seen
}
