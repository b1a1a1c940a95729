//! A server that runs for long: 500 clients in all codecs over both transports, of which each adds two events a
//! second and one in a hundred comes anew each second. Its memory must not grow after it has warmed up, and all that
//! it holds for its clients must be gone with them.
//!
//! `cargo test --release -p logux-sync-cli --test soak -- --ignored --nocapture` takes ten minutes;
//! `SOAK_SECONDS=60` makes it shorter, for a first look. Linux only: it reads `/proc`.
#![cfg(target_os = "linux")]

#[path = "commands/program.rs"]
#[expect(dead_code, reason = "it is of the tests of the commands")]
mod program;

use std::future::ready;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use logux_sync::{
    Added, ClientSync, Codec, Criteria, Json, Log, LogOptions, LongPoll, MemoryStore, MessagePack,
    Reconnect, Session, State, SyncOptions, Transport, Value, WebSocket, Xml,
};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, sleep};

use program::{Folder, Server};

const CLIENTS: usize = 500;

/// A store reads with four connections at most, and each has up to three descriptors.
const READERS: usize = 12;

/// A client's log forgets what is confirmed, so that this process does not grow.
struct Client {
    number: usize,
    log: Log<Value>,
    session: Session,
}

impl Client {
    async fn new(number: usize, url: &str) -> Self {
        let node = format!("user{}:{number}", number % 50).parse().expect("a node id");
        let options = LogOptions::new().remember(Duration::from_secs(1), 100);
        let log = Log::open_with(node, Arc::new(MemoryStore::new()), options).await.expect("a log");
        let session = connect(&log, number, url);
        Self { number, log, session }
    }

    /// Breaks off, and comes again.
    fn connect_anew(&mut self, url: &str) {
        self.session = connect(&self.log, self.number, url);
    }

    async fn add(&self) {
        let event =
            json!({ "type": "soak/event", "client": self.number, "text": "something to say" });
        self.log.add(event).await.expect("added");
        let confirmed = self.session.diagnostics().synced;
        self.log.clean(Criteria::all().added(..=confirmed)).await.expect("cleaned");
    }
}

fn connect(log: &Log<Value>, number: usize, url: &str) -> Session {
    match number % 6 {
        0 => start(log, Json, web_socket(url)),
        1 => start(log, MessagePack, web_socket(url)),
        2 => start(log, Xml, web_socket(url)),
        3 => start(log, Json, long_poll(url)),
        4 => start(log, MessagePack, long_poll(url)),
        _ => start(log, Xml, long_poll(url)),
    }
}

fn web_socket(url: &str) -> WebSocket {
    WebSocket::new(url).expect("a URL")
}

fn long_poll(url: &str) -> LongPoll {
    LongPoll::new(&url.replace("ws:", "http:")).expect("a URL")
}

fn start(log: &Log<Value>, codec: impl Codec, transport: impl Transport) -> Session {
    // What others say comes, and is not kept.
    let options = SyncOptions::new().in_filter(|_, _| ready(Ok(false))).begin_after(Added::MAX);
    ClientSync::new(log, codec, Reconnect::new(transport)).options(options).start()
}

/// What the server's process has.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Memory that is its own, in KiB.
    memory: u64,
    sockets: usize,
    /// Other descriptors: a store opens some more of its file when it is first read by several at once, and keeps them.
    files: usize,
    tasks: u64,
    connections: u64,
}

fn held(process: u32, operations: &str) -> Held {
    let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).expect("it runs");
    let field = |name: &str| -> u64 {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).expect("it runs");
    // One may be closed meanwhile.
    let open = descriptors.flatten().filter_map(|open| std::fs::read_link(open.path()).ok());
    let (sockets, files): (Vec<_>, Vec<_>) =
        open.partition(|open| open.to_string_lossy().starts_with("socket:"));
    let metrics = metrics(operations);
    let metric = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.and_then(|value| value.trim().parse::<f64>().ok()).expect("a metric")
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
    let count = |name: &str| metric(name) as u64;
    Held {
        memory: field("Private_Dirty:") + field("Private_Clean:"),
        sockets: sockets.len(),
        files: files.len(),
        tasks: count("logux_sync_tasks"),
        connections: count("logux_sync_connections"),
    }
}

fn metrics(operations: &str) -> String {
    let mut stream = TcpStream::connect(operations).expect("the port is open");
    let request =
        format!("GET /metrics HTTP/1.1\r\nhost: {operations}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
#[ignore = "it takes ten minutes"]
fn nothing_grows() {
    let seconds = std::env::var("SOAK_SECONDS").ok();
    let seconds = seconds.map_or(600, |seconds| seconds.parse().expect("a number of seconds"));
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let folder = Folder::new();
    let arguments = ["serve", "--operations", "127.0.0.1:0", "--log-level", "error"];
    let server = Server::start(&mut folder.command(&arguments));
    let said = server.says("its state is at http://");
    let operations = said.rsplit('/').next().expect("an address").to_owned();
    let process = server.child.id();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(soak(seed, seconds, &server.url, &|| held(process, &operations)));
}

async fn soak(seed: u64, seconds: u64, url: &str, held: &impl Fn() -> Held) {
    let mut random = fastrand::Rng::with_seed(seed);
    let base = held();
    println!("at the start: {base:?}");
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(Client::new(number, url).await);
    }
    for client in &clients {
        client.session.wait_for(State::Synchronized).await.expect("it is let in");
    }
    let begun = Instant::now();
    let warm_at = Duration::from_secs(seconds / 2);
    let (mut warm, mut connected_anew, mut added) = (None, 0, 0_u64);
    let mut told_at = Duration::ZERO;
    // A tenth of the clients at once, twenty times a second: each twice.
    let mut ticks = interval(Duration::from_millis(50));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0_u64.. {
        ticks.tick().await;
        let turn = usize::try_from(tick % 10).expect("it is small");
        for client in clients.iter().skip(turn).step_by(10) {
            client.add().await;
            added += 1;
        }
        if tick % 20 == 0 {
            for _ in 0..CLIENTS / 100 {
                clients[random.usize(..CLIENTS)].connect_anew(url);
                connected_anew += 1;
            }
        }
        if warm.is_none() && begun.elapsed() >= warm_at {
            warm = Some(held());
            println!("after {warm_at:?}: {warm:?}, {added} events were added");
        }
        if begun.elapsed() >= told_at {
            told_at += Duration::from_secs(seconds.div_ceil(20));
            println!("after {} s: {:?}", begun.elapsed().as_secs(), held());
        }
        if begun.elapsed().as_secs() >= seconds {
            break;
        }
    }
    let (warm, end) = (warm.expect("it was warm"), held());
    println!(
        "after {seconds} s: {end:?}, {added} events were added, {connected_anew} connections were new"
    );
    assert!(
        end.memory <= warm.memory + warm.memory / 50,
        "its memory has grown by more than 2 %: {warm:?}, {end:?}"
    );
    assert!(end.files <= base.files + READERS, "it has opened more files: {base:?}, {end:?}");
    for client in clients.drain(..) {
        let _ = client.session.close().await;
    }
    // Long-poll sessions, and connections on which nothing is asked, end within half a minute.
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let now = held();
        if now.connections == 0 && now.sockets <= base.sockets + 1 && now.tasks <= base.tasks + 1 {
            println!("once all have left: {now:?}");
            return;
        }
        assert!(
            Instant::now() < until,
            "something of the clients is still there: {base:?}, {now:?}"
        );
        sleep(Duration::from_millis(500)).await;
    }
}
