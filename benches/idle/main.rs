//! What a server's process takes of memory for each session that is idle.
//!
//! `cargo bench --bench idle`; `-- long-poll` only that, `-- --test` with few clients. Linux only. The server is a process
//! of its own, and the clients are this one. What a session takes is the difference between what the server's process
//! has (`Pss` in `/proc`) with few clients and with a thousand more, once it does nothing. Beside it stands raw
//! tokio-tungstenite with small buffers, of which a task waits for a frame. What the system's kernel has for each
//! connection is in none of them.

mod server;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use logux_benches::{Asked, Counter};
use logux_sync::{
    ClientSync, Json, Log, LongPoll, MemoryStore, Session, State, Transport, WebSocket,
};
use tokio::runtime::Builder;

/// How many clients there are first, so that what is made once is made, and how many more then.
const FIRST: usize = 200;
const MORE: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    WebSocket,
    LongPoll,
    Raw,
}

const KINDS: [(Kind, &str, &str); 3] = [
    (Kind::WebSocket, "websocket", "goal: at most 8 KiB"),
    (Kind::LongPoll, "long-poll", "goal: at most 16 KiB"),
    (Kind::Raw, "raw tokio-tungstenite", ""),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [option, name] = &arguments[..]
        && option == server::OPTION
    {
        let kind = KINDS.iter().find(|kind| kind.1 == name).expect("a kind");
        return server::run(kind.0);
    }
    let asked = Asked::of_command_line();
    let (first, more) = if asked.numbers() { (FIRST, MORE) } else { (5, 10) };
    for (kind, name, goal) in KINDS {
        if asked.means(name) {
            let bytes = per_session(kind, name, first, more);
            println!("{name:24} {bytes:6.1} KiB of the server's memory per idle session  {goal}");
        }
    }
}

fn per_session(kind: Kind, name: &str, first: usize, more: usize) -> f64 {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let server = Process::start(name);
        let mut clients = connect(kind, &server.address, 0, first).await;
        // While this waits, the clients need not do anything: an idle session pings every 25 seconds.
        let before = server.memory_when_quiet();
        clients.extend(connect(kind, &server.address, first, more).await);
        let after = server.memory_when_quiet();
        // All were connected until then.
        for client in &clients {
            assert!(client.is_connected(), "a session has ended");
        }
        (kibibytes(after) - kibibytes(before)) / kibibytes(more << 10)
    })
}

/// A client; it is gone when it is dropped.
enum Client {
    Session { session: Session, _log: Log<Counter> },
    Raw { _socket: Box<dyn Send> },
}

impl Client {
    fn is_connected(&self) -> bool {
        match self {
            Self::Session { session, .. } => session.state() == State::Synchronized,
            Self::Raw { .. } => true,
        }
    }
}

async fn connect(kind: Kind, address: &str, from: usize, count: usize) -> Vec<Client> {
    let connecting = (from..from + count).map(async |number| match kind {
        Kind::WebSocket => {
            session(WebSocket::new(&format!("ws://{address}")).expect("a URL"), number).await
        }
        Kind::LongPoll => {
            session(LongPoll::new(&format!("http://{address}")).expect("a URL"), number).await
        }
        Kind::Raw => {
            let connected = tokio_tungstenite::connect_async(format!("ws://{address}")).await;
            Client::Raw { _socket: Box::new(connected.expect("a connection").0) }
        }
    });
    stream::iter(connecting).buffered(20).collect().await
}

async fn session(transport: impl Transport, number: usize) -> Client {
    let node = format!("client{number}").parse().expect("a node id");
    let log = Log::open(node, MemoryStore::new()).await.expect("a log");
    let session = ClientSync::new(&log, Json, transport).start();
    // One event each way, so that each has been in use.
    log.add(Counter::Inc { value: number as u64 }).await.expect("added");
    session.wait_for(State::Synchronized).await.expect("in step");
    Client::Session { session, _log: log }
}

/// The server. It ends with this.
struct Process {
    process: Child,
    address: String,
}

impl Process {
    fn start(kind: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args([server::OPTION, kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let mut address = String::new();
        let output = process.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut address).expect("the server tells its address");
        Self { process, address: address.trim().to_owned() }
    }

    /// How many bytes of memory it has, once it does nothing.
    fn memory_when_quiet(&self) -> usize {
        let worked = || self.read("schedstat").split(' ').next().map(str::to_owned);
        let mut last = worked();
        loop {
            // Another process does not tell when it has done its work.
            thread::sleep(Duration::from_millis(700));
            let now = worked();
            if now == last {
                break;
            }
            last = now;
        }
        let memory = self.read("smaps_rollup");
        let line =
            memory.lines().find_map(|line| line.strip_prefix("Pss:")).expect("Linux tells it");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).expect("the server runs")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn kibibytes(bytes: usize) -> f64 {
    bytes as f64 / 1024.0
}
