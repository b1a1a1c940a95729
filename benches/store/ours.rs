//! Logs, in memory and in SQLite.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use logux_benches::Counter;
use logux_sync::{
    Added, ClientSync, Draft, Json, Log, MemoryStore, Page, Server, SqliteStore, State, Store,
    SyncOptions, WebSocket, WebSocketListener,
};
use rusqlite::{Connection, OpenFlags};

use crate::baseline::BATCH;

/// As it was counted last.
pub(crate) static EVENTS_IN_A_COMMIT: OnceLock<u64> = OnceLock::new();

/// A folder that is removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);

        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("logux-sync-bench-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is in the system's folder for that.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn open(node: &str, store: impl Store<Counter>) -> Log<Counter> {
    Log::open(node.parse().expect("a node id"), store).await.expect("a log")
}

fn sqlite(path: &Path) -> SqliteStore {
    SqliteStore::open(path).expect("a database")
}

async fn add(log: &Log<Counter>, events: u64) {
    for first in (0..events).step_by(usize::try_from(BATCH).expect("a small number")) {
        let batch = (first..events.min(first + BATCH)).map(|value| Counter::Inc { value });
        log.add_batch(batch).await.expect("added");
        tokio::task::consume_budget().await;
    }
}

async fn timed(work: impl Future<Output = ()>) -> Duration {
    let start = Instant::now();
    work.await;
    start.elapsed()
}

pub(crate) async fn memory(events: u64) -> Duration {
    filled(events).await.0
}

/// How long it takes to fill a log, and the log.
async fn filled(events: u64) -> (Duration, Log<Counter>) {
    let log = open("node", MemoryStore::new()).await;
    (timed(add(&log, events)).await, log)
}

/// How long it takes to fill ten logs with a hundred thousand events each.
async fn ten_logs() -> Duration {
    let (mut took, mut logs) = (Duration::ZERO, Vec::new());
    for _ in 0..10 {
        let (one, log) = filled(100_000).await;
        took += one;
        logs.push(log);
    }
    took
}

/// How much longer a million takes than ten times a tenth of it: the median of some rounds.
///
/// Both sides fill as much memory: what the system takes to give it, and whether the allocator has given it back
/// meanwhile, is not what is measured.
pub(crate) async fn growth() -> f64 {
    let mut ratios = Vec::new();
    for round in 0..10 {
        // Whichever comes first finds less memory.
        let (small, large) = if round % 2 == 0 {
            (ten_logs().await, memory(1_000_000).await)
        } else {
            let large = memory(1_000_000).await;
            (ten_logs().await, large)
        };
        ratios.push(large.as_secs_f64() / small.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    f64::midpoint(ratios[ratios.len() / 2 - 1], ratios[ratios.len() / 2])
}

/// How much longer it takes to add events that were created long ago, and to read the first ones then, than
/// the same with events that are created now.
pub(crate) async fn late() -> f64 {
    let log = open("node", MemoryStore::new()).await;
    add(&log, 1_000_000).await;
    let start = log.entries_after(Added::ZERO, 1).await.expect("read").remove(0).meta.time;
    let mut took = [Duration::ZERO; 2];
    for round in 0..100 {
        for (kind, took) in took.iter_mut().enumerate() {
            *took += timed(async {
                for value in 0..10 {
                    let draft = Draft::new(Counter::Inc { value });
                    let time = start.shifted(i64::from(round)).expect("a time");
                    let draft = if kind == 0 { draft.time(time) } else { draft };
                    log.add(draft).await.expect("added");
                }
                log.entries_created_after(None, 10).await.expect("read");
            })
            .await;
        }
    }
    took[0].as_secs_f64() / took[1].as_secs_f64()
}

fn commits(path: &Path) -> u64 {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let connection = connection.expect("a database");
    let commits: i64 =
        connection.query_row("SELECT commits FROM log", [], |row| row.get(0)).expect("a number");
    u64::try_from(commits).expect("a count")
}

fn quotient(first: u64, second: u64) -> f64 {
    let float = |number: u64| f64::from(u32::try_from(number).expect("a small number"));
    float(first) / float(second)
}

pub(crate) async fn commits_of_tasks() -> f64 {
    const TASKS: u64 = 256;
    const EACH: u64 = 100;

    let folder = Folder::new();
    let path = folder.file("log.db");
    let log = open("node", sqlite(&path)).await;
    let before = commits(&path);
    let tasks = (0..TASKS).map(|_| {
        let log = log.clone();
        tokio::spawn(async move {
            for value in 0..EACH {
                log.add(Counter::Inc { value }).await.expect("added");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("it ends");
    }
    quotient(commits(&path) - before, TASKS * EACH)
}

/// Events are added to a log in memory until they are in a log in SQLite, and confirmed.
async fn sync(events: u64, path: &Path) -> Duration {
    let (near, far) =
        (open("client", MemoryStore::new()).await, open("server", sqlite(path)).await);
    let listener = WebSocketListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    let server = Server::new(&far, Json, listener).options(SyncOptions::new()).start();
    let client = ClientSync::new(&near, Json, WebSocket::new(&url).expect("a URL")).start();
    client.wait_for(State::Synchronized).await.expect("in step");
    let took = timed(async {
        add(&near, events).await;
        client.wait_for(State::Synchronized).await.expect("in step");
    })
    .await;
    assert_eq!(far.last_added().value(), events);
    client.close().await.expect("closed");
    server.shutdown(Duration::from_secs(5)).await;
    took
}

pub(crate) async fn synced(events: u64) -> Duration {
    let folder = Folder::new();
    sync(events, &folder.file("log.db")).await
}

pub(crate) async fn commits_of_sync() -> f64 {
    const EVENTS: u64 = 100_000;

    let folder = Folder::new();
    let path = folder.file("log.db");
    sync(EVENTS, &path).await;
    let commits = commits(&path);
    // For the baseline; the first count holds.
    let _ = EVENTS_IN_A_COMMIT.set(EVENTS / commits.max(1));
    quotient(commits, EVENTS)
}

/// Seconds to open a log of a million events, and how much longer its last 10,000 take than those of a log that
/// has no others.
pub(crate) async fn large() -> [f64; 2] {
    const MANY: u64 = 1_000_000;
    const FEW: u64 = 10_000;

    let folder = Folder::new();
    let (large, small) = (folder.file("large.db"), folder.file("small.db"));
    for (path, count) in [(&large, MANY), (&small, FEW)] {
        let log = open("node", sqlite(path)).await;
        for first in (0..count).step_by(10_000) {
            let batch = (first..count.min(first + 10_000)).map(|value| Counter::Inc { value });
            log.add_batch(batch).await.expect("added");
        }
    }
    let start = Instant::now();
    let large = open("node", sqlite(&large)).await;
    let opened = start.elapsed();
    let small = open("node", sqlite(&small)).await;
    let mut took = [Duration::ZERO; 2];
    for _ in 0..20 {
        for (log, took) in [&large, &small].into_iter().zip(&mut took) {
            *took += timed(async {
                let mut after = Added::new(log.last_added().value() - FEW).expect("a position");
                while let Some(last) = log
                    .entries_after(after, Page::new(256))
                    .await
                    .expect("read")
                    .last()
                    .map(|entry| entry.meta.added)
                {
                    after = last;
                }
            })
            .await;
        }
    }
    [opened.as_secs_f64(), took[0].as_secs_f64() / took[1].as_secs_f64()]
}
