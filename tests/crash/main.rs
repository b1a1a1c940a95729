//! A server that is killed, as a process, at any moment: `cargo test --features sqlite --test crash`.
//!
//! A process of its own keeps a log in a file, adds events to it and syncs it over WebSocket with a client here.
//! It is killed again and again. Whatever it has confirmed, to its own caller or to the client, is in the file.

mod apps;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::TryStreamExt;
use logux_sync::transports::{Format, Link};
use logux_sync::{
    Added, ClientSync, Draft, Json, Log, MemoryStore, Reconnect, Server, SqliteStore, State,
    Transport, Value, WebSocket, WebSocketListener,
};
use serde_json::json;
use tokio::time::{sleep, timeout};

const KILLS: u64 = 200;

/// One in so many batches replaces the state: an event of which the last one is kept.
const STATE_EVERY: u64 = 3;

/// Far above what anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

/// The file of the process that is killed.
const FILE: &str = "LOGUX_SYNC_CRASH_FILE";

/// The process that is killed.
#[tokio::test]
#[ignore = "is started by the other test"]
async fn victim() {
    let Ok(path) = std::env::var(FILE) else { return };
    let store = SqliteStore::open(path).unwrap();
    let log = Log::<Value>::open("server".parse().unwrap(), store).await.unwrap();
    let listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
    say(&format!("port {}", listener.local_addr().unwrap().port()));
    let _server = Server::new(&log, Json, listener).start();
    let mut audit = log.consumer("audit").await.unwrap();
    let _auditing = tokio::spawn(async move {
        loop {
            let delivery = audit.next().await.unwrap();
            let position = delivery.meta.added;
            say(&format!("took {position}"));
            delivery.ack().await.unwrap();
            say(&format!("acknowledged {position}"));
        }
    });
    for number in log.last_added().value().. {
        let parts = [0, 1].map(|part| Draft::new(json!({ "server": number, "part": part })));
        let mut events = Vec::from(parts);
        if number.is_multiple_of(STATE_EVERY) {
            events.push(Draft::new(json!({ "server": number, "part": 2 })).keep_last("state"));
        }
        log.add_batch(events).await.unwrap();
        say(&format!("added {number}"));
        sleep(Duration::from_millis(number % 4)).await;
    }
}

/// A process whose files may not grow beyond a limit: to it, the disk is full.
#[tokio::test]
#[ignore = "is started by the other test"]
async fn victim_of_a_full_disk() {
    let Ok(path) = std::env::var(FILE) else { return };
    let opened = async {
        let store = SqliteStore::open(path).map_err(|error| error.to_string())?;
        let log = Log::<Value>::open("server".parse().unwrap(), store).await;
        log.map_err(|error| error.to_string())
    };
    let log = match opened.await {
        Ok(log) => log,
        Err(error) => return say(&format!("ended {error}")),
    };
    let mut failures = 0;
    for number in 0.. {
        // Some are larger than what may be left.
        let text = "x".repeat(if number % 3 == 0 { 3_000 } else { 30 });
        let parts = [0, 1].map(|part| json!({ "server": number, "part": part, "text": text }));
        if log.add_batch(parts).await.is_ok() {
            say(&format!("added {number}"));
        } else {
            say(&format!("failed {number}"));
            failures += 1;
        }
        // What was kept can be read all the time.
        let entries = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
        assert_eq!(entries.len() as u64, log.last_added().value());
        if failures == 5 {
            break;
        }
    }
    say("ended as expected");
    sleep(LIMIT).await;
}

/// Nobody may be there any more who listens.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "victim {line}").and_then(|()| out.flush());
}

/// What the process has said.
#[derive(Default)]
struct Said {
    port: Option<u16>,
    added: BTreeSet<u64>,
    failed: BTreeSet<u64>,
    /// What handlers have done, in order.
    done: Vec<u64>,
    /// The positions that the consumer was delivered last, and has acknowledged last.
    took: u64,
    acknowledged: u64,
    ended: Option<String>,
}

struct Victim {
    process: Child,
    said: Arc<Mutex<Said>>,
    listening: Option<std::thread::JoinHandle<()>>,
}

impl Victim {
    fn start(path: &Path) -> Self {
        Self::start_as("victim", path)
    }

    /// The test of this name.
    fn start_as(victim: &str, path: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", victim, "--ignored", "--nocapture"]);
        Self::run(command, path)
    }

    /// A process whose files have at most so many bytes.
    fn start_on_a_full_disk(path: &Path, bytes: u64) -> Self {
        // Instead of a signal, a write that goes too far then gets an error.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", bytes / 512);
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "victim_of_a_full_disk", "--ignored", "--nocapture"]);
        Self::run(command, path)
    }

    fn run(mut command: Command, path: &Path) -> Self {
        let mut process = command
            .env(FILE, path)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(Said::default()));
        let (lines, heard) = (BufReader::new(process.stdout.take().unwrap()), Arc::clone(&said));
        let listening = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                match line.strip_prefix("victim ").and_then(|line| line.split_once(' ')) {
                    Some(("port", port)) => heard.lock().unwrap().port = port.parse().ok(),
                    Some(("added", number)) => {
                        heard.lock().unwrap().added.extend(number.parse::<u64>().ok());
                    }
                    Some(("did", number)) => {
                        heard.lock().unwrap().done.extend(number.parse::<u64>().ok());
                    }
                    Some(("failed", number)) => {
                        heard.lock().unwrap().failed.extend(number.parse::<u64>().ok());
                    }
                    Some(("took", position)) => {
                        heard.lock().unwrap().took = position.parse().unwrap();
                    }
                    Some(("acknowledged", position)) => {
                        heard.lock().unwrap().acknowledged = position.parse().unwrap();
                    }
                    Some(("ended", how)) => heard.lock().unwrap().ended = Some(how.to_owned()),
                    _ => {}
                }
            }
        });
        Self { process, said, listening: Some(listening) }
    }

    async fn port(&self) -> u16 {
        let told = async {
            loop {
                let port = self.said.lock().unwrap().port;
                match port {
                    Some(port) => return port,
                    None => sleep(Duration::from_millis(1)).await,
                }
            }
        };
        timeout(LIMIT, told).await.expect("the process starts")
    }

    async fn ended(&self) {
        let told = async {
            while self.said.lock().unwrap().ended.is_none() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LIMIT, told).await.expect("the process gets to its end");
    }

    /// By SIGKILL. Answers what it said.
    fn kill(mut self) -> Said {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        if let Some(listening) = self.listening.take() {
            listening.join().unwrap();
        }
        std::mem::take(&mut self.said.lock().unwrap())
    }
}

/// A test that fails leaves no process behind.
impl Drop for Victim {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Dials the process, while there is one.
#[derive(Clone, Default)]
struct Dial(Arc<Mutex<Option<u16>>>);

impl Transport for Dial {
    type Sender = <WebSocket as Transport>::Sender;
    type Receiver = <WebSocket as Transport>::Receiver;

    async fn open(
        &mut self,
        format: Format,
        max_frame: usize,
    ) -> std::io::Result<Link<Self::Sender, Self::Receiver>> {
        let port = self.0.lock().unwrap().ok_or(std::io::ErrorKind::ConnectionRefused)?;
        WebSocket::new(&format!("ws://127.0.0.1:{port}"))?.open(format, max_frame).await
    }
}

/// What is in the file.
struct Held {
    /// By node, the numbers and parts in the order of their positions.
    numbers: BTreeMap<String, Vec<(u64, u64)>>,
    /// How far the consumer is.
    audited: u64,
}

async fn in_file(path: &Path) -> Held {
    let log = Log::<Value>::open("server".parse().unwrap(), SqliteStore::open(path).unwrap());
    let log = log.await.unwrap();
    let entries = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    let (mut ids, mut numbers) = (BTreeSet::new(), BTreeMap::<_, Vec<_>>::new());
    for entry in &entries {
        assert!(ids.insert(entry.meta.id.clone()), "{} is there twice", entry.meta.id);
        let part = entry.event["part"].as_u64().unwrap_or_default();
        let node = entry.meta.id.node().to_string();
        let number = entry.event[&node].as_u64().unwrap();
        numbers.entry(node).or_default().push((number, part));
    }
    // No position is missing but those of states that were replaced.
    let of_server = numbers.get("server").into_iter().flatten();
    let with_state = of_server.filter(|(number, part)| {
        *part == 0 && number.is_multiple_of(STATE_EVERY) && !entries[0].event["text"].is_string()
    });
    let states: Vec<u64> = with_state.map(|(number, _)| *number).collect();
    let replaced = states.len().saturating_sub(1) as u64;
    assert_eq!(log.last_added().value(), entries.len() as u64 + replaced, "positions are missing");
    assert_eq!(log.count().await.unwrap(), entries.len() as u64);
    let state: Vec<_> = log.entries().reason("state").stream().try_collect().await.unwrap();
    let state: Vec<u64> =
        state.iter().map(|entry| entry.event["server"].as_u64().unwrap()).collect();
    assert_eq!(state, states.last().copied().into_iter().collect::<Vec<_>>(), "the last state");
    let consumers = log.consumers().await.unwrap();
    Held { numbers, audited: consumers.first().map_or(0, |(_, position)| position.value()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_was_confirmed_is_in_the_file_whenever_the_process_dies() {
    let seed = std::env::var("CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("the seed is {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = std::env::temp_dir().join(format!("logux-sync-crash-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path: PathBuf = folder.join("log.db");

    let dial = Dial::default();
    let log = Log::<Value>::open("client".parse().unwrap(), MemoryStore::new()).await.unwrap();
    let transport = Reconnect::new(dial.clone());
    let transport = transport.first_delay(Duration::ZERO).max_delay(Duration::from_millis(20));
    let session = ClientSync::new(&log, Json, transport).start();
    let adding = {
        let log = log.clone();
        tokio::spawn(async move {
            for number in 0_u64.. {
                log.add(json!({ "client": number })).await.unwrap();
                sleep(Duration::from_millis(2)).await;
            }
        })
    };

    let server = "server".parse().unwrap();
    let (mut added, mut confirmed) = (BTreeSet::new(), 0);
    let (mut received, mut rounds_with_news) = (0, 0);
    let (mut took, mut acknowledged) = (0, 0);
    for _ in 0..KILLS {
        let victim = Victim::start(&path);
        if random.u8(..) > 40 {
            *dial.0.lock().unwrap() = Some(victim.port().await);
        }
        sleep(Duration::from_micros(random.u64(0..60_000))).await;
        let said = victim.kill();
        added.extend(said.added);
        (took, acknowledged) = (took.max(said.took), acknowledged.max(said.acknowledged));
        *dial.0.lock().unwrap() = None;
        let sent = log.cursors(&server).await.unwrap().sent.value();
        rounds_with_news += u64::from(sent > confirmed);
        confirmed = sent;
        let Held { numbers: held, audited } = in_file(&path).await;
        assert!(audited >= acknowledged, "{acknowledged} was acknowledged, {audited} is known");
        // It may have died before it could say what it took; but not before it asked to acknowledge it.
        assert!(audited <= took, "{audited} was passed, and only {took} delivered");
        let of_server: BTreeSet<_> = held.get("server").into_iter().flatten().copied().collect();
        for number in &added {
            let both = [(*number, 0), (*number, 1)];
            assert!(both.iter().all(|part| of_server.contains(part)), "{number} was answered");
        }
        for (number, part) in &of_server {
            let other = [1, 0, 0][usize::try_from(*part).unwrap()];
            assert!(of_server.contains(&(*number, other)), "half a batch: {number}");
        }
        let of_client: BTreeSet<_> = held.get("client").into_iter().flatten().copied().collect();
        let entries = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
        for entry in entries.iter().filter(|entry| entry.meta.added.value() <= confirmed) {
            if let Some(number) = entry.event["client"].as_u64() {
                assert!(of_client.contains(&(number, 0)), "{number} was confirmed");
            }
        }
        received = session.diagnostics().events_received;
    }
    adding.abort();
    let _ = adding.await;

    // In the end both are equal.
    let victim = Victim::start(&path);
    *dial.0.lock().unwrap() = Some(victim.port().await);
    let end = async {
        session.wait_for(State::Synchronized).await.unwrap();
    };
    timeout(LIMIT, end).await.expect("it gets in step");
    added.extend(victim.kill().added);
    session.close().await.unwrap();
    let (Held { numbers: held, .. }, here) = (in_file(&path).await, log.last_added().value());
    let all: usize = held.values().map(Vec::len).sum();
    let own = held.get("client").map_or(0, Vec::len) as u64;
    println!(
        "{all} events, {} batches answered, {confirmed} confirmed, {received} received, {acknowledged} acknowledged",
        added.len()
    );
    // A run in which nothing happens shows nothing. On a busy machine few connections get far.
    assert!(rounds_with_news > KILLS / 20, "{rounds_with_news} rounds had news");
    assert!(added.len() > 50, "{} batches were answered", added.len());
    assert!(acknowledged > 100, "{acknowledged} events were acknowledged");
    // Each connection goes on where the last one was: what comes again is little.
    assert!(received < 2 * here, "{received} events were received for {here}");
    let here = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    let here = here.iter().filter(|entry| entry.meta.source.is_none()).count() as u64;
    assert_eq!(own, here, "events of the client");
    std::fs::remove_dir_all(folder).unwrap();
}

/// The write-ahead log, or the database as it is closed or checked, comes to the end of the disk at each place.
#[tokio::test]
async fn on_a_full_disk_what_was_answered_is_kept_and_nothing_else() {
    let folder = std::env::temp_dir().join(format!("logux-sync-full-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (mut added, mut failed) = (0, 0);
    for limit in (0..120).map(|step| 4_096 + step * 1_536) {
        let path = folder.join(format!("{limit}.db"));
        let victim = Victim::start_on_a_full_disk(&path, limit);
        victim.ended().await;
        let said = victim.kill();
        added += said.added.len();
        failed += said.failed.len();
        if said.ended.as_deref() != Some("as expected") {
            assert!(said.added.is_empty(), "{:?}", said.ended);
            continue;
        }
        let Held { numbers: held, .. } = in_file(&path).await;
        let held: BTreeSet<_> = held.get("server").into_iter().flatten().copied().collect();
        let expected = said.added.iter().flat_map(|number| [(*number, 0), (*number, 1)]);
        assert_eq!(held, expected.collect(), "with {limit} bytes; {:?} failed", said.failed);
    }
    println!("{added} batches were answered, {failed} failed");
    assert!(added > 100 && failed > 100, "{added} were answered, {failed} failed");
    std::fs::remove_dir_all(folder).unwrap();
}
