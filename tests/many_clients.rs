//! A thousand clients of each kind at once on one port, and the memory of a server per idle client, and per
//! peer that is not let in.
//!
//! The server is a process of its own, so that its memory is its own. `CLIENTS=200` takes 200 clients
//! of each kind instead; `--nocapture` shows the memory.
#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{join_all, ready};
use futures_util::{SinkExt, StreamExt, stream};
use logux_sync::{
    Added, ClientSync, HttpListener, Json, ListenerOptions, Log, LongPoll, MemoryStore, NodeId,
    Server, Session, State, SyncOptions, WebSocket,
};
use peak_alloc::PeakAlloc;
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

/// Counts what the server's process has allocated.
#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// How many events each client sends, and receives.
const EVENTS: u32 = 100;

/// How long all may take.
const LIMIT: Duration = Duration::from_secs(5 * 60);

/// More than what an idle session takes in a build that is not optimised, 23 and 46 KB: that differs from system
/// to system.
const MAX_BYTES_PER_WEBSOCKET: usize = 32 << 10;
const MAX_BYTES_PER_LONG_POLL: usize = 60 << 10;

/// How much memory a peer that is not let in may take, and many times that.
const GOAL_PER_STRANGER: usize = 64 << 10;
const MAX_BYTES_PER_STRANGER: usize = 8 * GOAL_PER_STRANGER;

/// A node that `auth` refuses in the end.
const ASKED_ABOUT: &str = "asked";

#[derive(Clone, Copy, Debug)]
enum Kind {
    WebSocket,
    LongPoll,
}

#[tokio::test]
async fn clients_of_both_kinds_at_once_on_one_port_send_and_receive_all() {
    const NAME: &str = "clients_of_both_kinds_at_once_on_one_port_send_and_receive_all";

    if runs_elsewhere(NAME) {
        return;
    }
    let mut server = ServerProcess::start();
    let all = async {
        let kinds = (0..clients()).flat_map(|_| [Kind::WebSocket, Kind::LongPoll]);
        let connecting = kinds.enumerate().map(|(n, kind)| Client::connect(n, kind, &server.url));
        let clients = join_all(connecting).await;
        server.tell(&format!("add {EVENTS}"));
        join_all(clients.iter().map(|client| client.add(EVENTS))).await;
        join_all(clients.iter().map(|client| client.receive(EVENTS))).await;
        assert_eq!(server.ask("count"), format!("{} events", clients.len() * EVENTS as usize));
    };
    timeout(LIMIT, all).await.expect("not all has arrived in time");
}

#[tokio::test]
async fn an_idle_session_takes_little_memory() {
    if runs_elsewhere("an_idle_session_takes_little_memory") {
        return;
    }
    for (kind, limit) in
        [(Kind::WebSocket, MAX_BYTES_PER_WEBSOCKET), (Kind::LongPoll, MAX_BYTES_PER_LONG_POLL)]
    {
        let mut server = ServerProcess::start();
        server.tell("add 1");
        let connect = async |n| {
            let client = Client::connect(n, kind, &server.url).await;
            client.add(1).await;
            client.receive(1).await;
            client
        };
        // What the first one makes the server load is no session's.
        let first = connect(0).await;
        let before = server.memory_when_quiet().await;
        let more = timeout(LIMIT, join_all((1..=clients()).map(connect))).await.unwrap();
        let after = server.memory_when_quiet().await;
        let bytes = after.saturating_sub(before) / more.len();
        println!("{kind:?}: {bytes} bytes of the server's memory per idle session");
        assert!(bytes < limit, "{bytes} bytes");
        drop(first);
    }
}

#[tokio::test]
async fn a_peer_that_is_not_let_in_takes_little_memory_and_gives_it_back() {
    if runs_elsewhere("a_peer_that_is_not_let_in_takes_little_memory_and_gives_it_back") {
        return;
    }
    let headers = |value: &str, count: usize| {
        let values = vec![value; count].join(",");
        format!(r#"["headers",{{"a":[{values}]}}]"#)
    };
    let connect = format!(r#"["connect",7,"{ASKED_ABOUT}",0]"#);
    let objects = headers(r#"{"":0}"#, 499);
    for (what, says) in [
        ("nothing over TCP", None),
        ("nothing over WebSocket", Some(vec![])),
        ("headers of many objects", Some(vec![objects.clone()])),
        ("headers of many lists", Some(vec![headers("[]", 5_400)])),
        ("headers of one long text", Some(vec![headers(&format!("{:?}", "a".repeat(16_000)), 1)])),
        ("headers and its name", Some(vec![headers("0", 10), connect.clone()])),
        ("headers of many objects, and its name", Some(vec![objects, connect])),
    ] {
        let mut server = ServerProcess::start();
        let url = server.url.clone();
        let says = says.as_deref();
        // What the first ones make the server load is no stranger's.
        drop(Stranger::connect_all(10, &url, says).await);
        let before = server.allocated_when_quiet().await;
        let strangers = Stranger::connect_all(2 * clients(), &url, says);
        let strangers = timeout(LIMIT, strangers).await.unwrap();
        let after = server.allocated_when_quiet().await;
        let each = |bytes: usize| bytes.saturating_sub(before) / strangers.len();
        let (held, count) = (each(after), strangers.len());
        drop(strangers);
        server.tell("refuse");
        let rest = server.allocated_when_quiet().await.saturating_sub(before) / count;
        println!(
            "{what}: {held} bytes for each of {count} peers that are not let in (goal: at most \
             {GOAL_PER_STRANGER}), {rest} once they are gone"
        );
        assert!(held < MAX_BYTES_PER_STRANGER);
        // Maps keep the room that they had.
        assert!(rest < 500, "{rest} bytes are left of each");
    }
}

/// A peer that is not let in.
enum Stranger {
    Tcp { _stream: TcpStream },
    WebSocket { _stream: Box<dyn Send> },
}

impl Stranger {
    async fn connect_all(count: usize, server: &str, says: Option<&[String]>) -> Vec<Self> {
        // A server that is slow, as on a busy machine, refuses some of too many at once.
        let connecting = (0..count).map(|_| Self::connect(server, says));
        stream::iter(connecting).buffered(100).collect().await
    }

    /// Says these messages over a WebSocket, or nothing over TCP.
    async fn connect(server: &str, says: Option<&[String]>) -> Self {
        let Some(says) = says else {
            return Self::Tcp { _stream: TcpStream::connect(server).await.unwrap() };
        };
        let (mut stream, _) = connect_async(format!("ws://{server}/")).await.unwrap();
        for frame in says {
            stream.send(Message::text(frame)).await.unwrap();
        }
        Self::WebSocket { _stream: Box::new(stream) }
    }
}

/// How many clients there are of each kind.
fn clients() -> usize {
    env::var("CLIENTS").map_or(1000, |text| text.parse().expect("CLIENTS is a number"))
}

/// Whether the test has run in another process, as this one may not have enough descriptors: each
/// WebSocket is one in the client's process and one in the server's, each long-poll session two.
fn runs_elsewhere(test: &str) -> bool {
    let needed = 3 * clients() + 100;
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut limits = line.split_whitespace().skip(3);
    let mut enough = || match limits.next().unwrap() {
        "unlimited" => true,
        limit => limit.parse::<usize>().unwrap() >= needed,
    };
    if enough() {
        return false;
    }
    assert!(
        enough(),
        "{needed} descriptors are needed, and `ulimit -Hn` does not allow them; CLIENTS=100 takes less"
    );
    let script = format!("ulimit -n {needed} && exec \"$0\" \"$@\"");
    let this = env::current_exe().unwrap();
    let status = Command::new("sh")
        .args(["-c", &script])
        .arg(this)
        .args(["--exact", test, "--nocapture"])
        .status()
        .unwrap();
    assert!(status.success(), "see above");
    true
}

struct Client {
    log: Log<u32>,
    session: Session,
}

impl Client {
    async fn connect(n: usize, kind: Kind, url: &str) -> Self {
        let log = Log::open(node(&format!("client{n}")), MemoryStore::new()).await.unwrap();
        let session = match kind {
            Kind::WebSocket => {
                let transport = WebSocket::new(&format!("ws://{url}/")).unwrap();
                ClientSync::new(&log, Json, transport).start()
            }
            Kind::LongPoll => {
                let transport = LongPoll::new(&format!("http://{url}/")).unwrap();
                ClientSync::new(&log, Json, transport).start()
            }
        };
        if let Err(ended) = session.wait_for(State::Synchronized).await {
            panic!("client {n}, {kind:?}: {:?}", ended.reason());
        }
        Self { log, session }
    }

    /// Adds events, until the server has confirmed them.
    async fn add(&self, count: u32) {
        for event in 0..count {
            self.log.add(event).await.unwrap();
            // So that they do not all go in one batch.
            yield_now().await;
        }
        self.session.wait_for(State::Synchronized).await.unwrap();
    }

    /// Waits for the server's events: each once, and in their order.
    async fn receive(&self, count: u32) {
        let entries = self.log.follow(Added::ZERO);
        let foreign = entries.map(Result::unwrap).filter(|entry| {
            let is_foreign = entry.meta.source.is_some();
            async move { is_foreign }
        });
        let events = foreign.take(count as usize).map(|entry| entry.event);
        assert!(events.collect::<Vec<_>>().await.into_iter().eq(0..count));
        let all = self.log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
        assert_eq!(all.len(), 2 * count as usize);
    }
}

/// The test named [`server`], run in another process. It ends with this one.
struct ServerProcess {
    process: Child,
    said: Box<dyn Iterator<Item = String>>,
    url: String,
}

impl ServerProcess {
    fn start() -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "server", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let said = output.lines().map(Result::unwrap);
        let said = said.filter_map(|line| Some(line.split_once("SERVER: ")?.1.to_owned()));
        let mut server = Self { process, said: Box::new(said), url: String::new() };
        server.url = server.said.next().expect("the server tells its address");
        server
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.process.stdin.as_mut().unwrap(), "{command}").unwrap();
    }

    fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        self.said.next().expect("the server answers")
    }

    /// How much memory it has of the system, once it does nothing.
    async fn memory_when_quiet(&self) -> usize {
        self.quiet().await;
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    /// How many bytes it has allocated, once it does nothing.
    async fn allocated_when_quiet(&mut self) -> usize {
        self.quiet().await;
        self.ask("allocated").parse().unwrap()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).unwrap()
    }

    /// Waits until it does nothing.
    async fn quiet(&self) {
        // What it has computed so far, in the system's and its own time.
        let time =
            || self.read("stat").split(' ').skip(13).take(2).map(str::to_owned).collect::<Vec<_>>();
        let mut last = time();
        loop {
            // Another process does not tell when it has done its work.
            sleep(Duration::from_millis(500)).await;
            let now = time();
            if now == last {
                return;
            }
            last = now;
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves until its standard input ends.
#[ignore = "the other tests run it, in a process of its own"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server() {
    let log = Log::open(node("server"), MemoryStore::new()).await.unwrap();
    // All of them at once, from one address, and as slow as they like.
    let http = ListenerOptions::new()
        .max_links_per_address(usize::MAX)
        .max_handshakes(usize::MAX)
        .handshake_timeout(LIMIT);
    let listener = HttpListener::bind("127.0.0.1:0").await.unwrap().options(http);
    let address = listener.local_addr().unwrap();
    // What clients send is counted and not kept, or it would all go to all of them.
    let counted = Arc::new(Mutex::new(HashMap::<NodeId, u32>::new()));
    let counts = Arc::clone(&counted);
    let options = SyncOptions::new().in_filter(move |entry, peer| {
        let mut counts = counts.lock().unwrap();
        let next = counts.entry(peer.node_id.clone()).or_default();
        assert_eq!(entry.event, *next, "an event is missing or comes twice");
        *next += 1;
        ready(Ok(false))
    });
    let options = options.timeout(LIMIT).admission_timeout(LIMIT).bruteforce(None);
    let refusal = Arc::new(Notify::new());
    let refused = Arc::clone(&refusal);
    let options = options.auth(move |login| {
        let refused = Arc::clone(&refused);
        async move {
            let is_let_in = login.node_id.as_str() != ASKED_ABOUT;
            if !is_let_in {
                refused.notified().await;
            }
            is_let_in
        }
    });
    let server = Server::new(&log, Json, listener).options(options);
    let _server = server.max_strangers(usize::MAX).start();
    println!("SERVER: {address}");
    let mut commands = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    while let Some(command) = commands.next_line().await.unwrap() {
        if let Some(count) = command.strip_prefix("add ") {
            for event in 0..count.parse().unwrap() {
                log.add(event).await.unwrap();
                yield_now().await;
            }
        } else if command == "refuse" {
            refusal.notify_waiters();
        } else if command == "allocated" {
            println!("SERVER: {}", ALLOCATED.current_usage());
        } else {
            println!("SERVER: {} events", counted.lock().unwrap().values().sum::<u32>());
        }
    }
}

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}
