//! A log in an SQLite database: `cargo test --features sqlite --test sqlite`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use logux_sync::{
    Access, Added, ClientSync, Draft, EventId, Json, Log, LogOptions, Memory, OpenError, Reconnect,
    Server, SqliteStore, State, SyncOptions, Value, conformance,
};
use serde_json::json;

/// A folder of its own for each test, which is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);

        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("logux-sync-sqlite-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn open(path: &Path, node: &str) -> Log<Value> {
    Log::open(node.parse().unwrap(), SqliteStore::open(path).unwrap()).await.unwrap()
}

async fn numbers(log: &Log<Value>) -> Vec<u64> {
    let entries = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    entries.iter().map(|entry| entry.event["n"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn it_keeps_the_contract_of_stores() {
    let folder = Folder::new();
    let next = AtomicU64::new(0);
    conformance::store(async || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        SqliteStore::open(folder.file(&number.to_string())).unwrap()
    })
    .await;
}

#[tokio::test]
async fn it_holds_all_when_it_is_opened_again() {
    let folder = Folder::new();
    let open = async || SqliteStore::open(folder.file("log.db")).unwrap();
    conformance::store_that_is_opened_again(open).await;
}

/// The same file by another name, and from another folder.
#[cfg(unix)]
#[tokio::test]
async fn a_second_name_of_the_file_is_no_way_around_the_lock() {
    let folder = Folder::new();
    let (path, link) = (folder.file("log.db"), folder.file("link.db"));
    let log = open(&path, "node").await;
    log.add(json!({ "n": 1 })).await.unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let error = SqliteStore::open(&link).unwrap_err();
    assert!(matches!(error, OpenError::Locked(_)), "{error}");
    drop(log);
    assert_eq!(numbers(&open(&link, "node").await).await, [1]);
}

/// Not a new log in its place: what this one has is not there any more.
#[cfg(unix)]
#[tokio::test]
async fn a_log_whose_file_is_taken_away_does_not_begin_anew() {
    let folder = Folder::new();
    let path = folder.file("log.db");
    let log = open(&path, "node").await;
    log.add(json!({ "n": 1 })).await.unwrap();
    for name in ["log.db", "log.db-wal", "log.db-shm"] {
        std::fs::remove_file(folder.file(name)).unwrap();
    }
    // Whether SQLite notices is its affair; a new file is not made.
    for n in 2..5 {
        let _ = log.add(json!({ "n": n })).await;
    }
    assert!(log.last_added().value() >= 1);
    assert!(!path.exists(), "a new log was made");
}

#[tokio::test]
async fn what_was_added_is_there_when_the_log_is_opened_again() {
    let folder = Folder::new();
    let path = folder.file("log.db");
    let mut ids = Vec::new();
    for n in 0..5 {
        let log = open(&path, "node").await;
        let draft = Draft::new(json!({ "n": n, "text": "\u{0}ü" }));
        let draft = draft
            .reason("r")
            .index("i")
            .extra("key", json!([1.5, null]))
            .subprotocol(logux_sync::Subprotocol::new(2, 3));
        let entry = log.add(draft).await.unwrap();
        assert_eq!(entry.meta.added.value(), n + 1);
        assert_eq!(numbers(&log).await, (0..=n).collect::<Vec<_>>());
        let read = log.by_id(&entry.meta.id).await.unwrap().unwrap();
        assert_eq!(read, entry);
        assert!(ids.last().is_none_or(|last| *last < entry.meta.id), "an id goes back");
        ids.push(entry.meta.id.clone());
    }
}

#[tokio::test]
async fn two_logs_go_on_where_they_were() {
    let folder = Folder::new();
    let (here, there) = (folder.file("here"), folder.file("there"));
    for round in 0..4 {
        let (client, server) = (open(&here, "10:client").await, open(&there, "server").await);
        client.add(json!({ "n": 2 * round })).await.unwrap();
        server.add(json!({ "n": 2 * round + 1 })).await.unwrap();
        let (memory, listener) = Memory::listen();
        let running = Server::new(&server, Json, listener).start();
        let session = ClientSync::new(&client, Json, memory).start();
        session.wait_for(State::Synchronized).await.unwrap();
        let told = session.diagnostics();
        assert_eq!((told.events_sent, told.events_received), (1, 1), "round {round}");
        session.close().await.unwrap();
        running.shutdown(Duration::from_secs(10)).await;
        let (mut one, mut other) = (numbers(&client).await, numbers(&server).await);
        one.sort_unstable();
        other.sort_unstable();
        assert_eq!(one, (0..2 * round + 2).collect::<Vec<_>>());
        assert_eq!(one, other);
    }
}

/// Brings two logs in step.
async fn sync(client: &Log<Value>, server: &Log<Value>) {
    let (memory, listener) = Memory::listen();
    // One that may bring back events of others, too: those that this server has lost.
    let options = SyncOptions::new().auth(async |_| Access::relay());
    let running = Server::new(server, Json, listener).options(options).start();
    let session = ClientSync::new(client, Json, Reconnect::new(memory)).start();
    session.wait_for(State::Synchronized).await.unwrap();
    session.close().await.unwrap();
    running.shutdown(Duration::from_secs(10)).await;
}

async fn ids(log: &Log<Value>) -> Vec<EventId> {
    let entries = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    let mut ids: Vec<_> = entries.iter().map(|entry| entry.meta.id.clone()).collect();
    ids.sort();
    ids
}

/// Either side has lost what came after the copy was made, and both go on.
#[tokio::test]
async fn a_copy_that_is_put_back_gets_everything_again() {
    for restores_server in [true, false] {
        let folder = Folder::new();
        let (here, there) = (folder.file("here"), folder.file("there"));
        let lost = if restores_server { &there } else { &here };
        let add = async |client: &Log<Value>, server: &Log<Value>, n: u64| {
            for n in n..n + 5 {
                client.add(json!({ "n": n })).await.unwrap();
                server.add(json!({ "n": 100 + n })).await.unwrap();
            }
        };
        {
            let (client, server) = (open(&here, "10:client").await, open(&there, "server").await);
            add(&client, &server, 0).await;
            sync(&client, &server).await;
        }
        std::fs::copy(lost, folder.file("copy")).unwrap();
        {
            let (client, server) = (open(&here, "10:client").await, open(&there, "server").await);
            add(&client, &server, 5).await;
            sync(&client, &server).await;
        }
        std::fs::copy(folder.file("copy"), lost).unwrap();
        let restore = async |path: &Path, node: &str| {
            let store = Arc::new(SqliteStore::open(path).unwrap());
            let options =
                if path == lost { LogOptions::new().restored() } else { LogOptions::new() };
            Log::<Value>::open_with(node.parse().unwrap(), store, options).await.unwrap()
        };
        let (client, server) = (restore(&here, "10:client").await, restore(&there, "server").await);
        // What is new takes the positions of what was lost.
        add(&client, &server, 10).await;
        sync(&client, &server).await;
        sync(&client, &server).await;
        let (one, other) = (ids(&client).await, ids(&server).await);
        assert_eq!(one.len(), 30, "restored the server: {restores_server}");
        assert_eq!(one, other);
    }
}

#[tokio::test]
async fn many_tasks_add_at_once() {
    let folder = Folder::new();
    let log = open(&folder.file("log.db"), "node").await;
    let adds = (0..256).map(|n| {
        let log = log.clone();
        tokio::spawn(async move { log.add(json!({ "n": n })).await.unwrap() })
    });
    for add in adds.collect::<Vec<_>>() {
        add.await.unwrap();
    }
    let entries = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    assert!(entries.iter().map(|entry| &entry.meta.id).is_sorted());
    assert_eq!(entries.len(), 256);
}

#[tokio::test]
async fn a_second_writer_is_kept_out_and_changes_nothing() {
    let folder = Folder::new();
    let path = folder.file("log.db");
    let log = open(&path, "node").await;
    log.add(json!({ "n": 1 })).await.unwrap();
    let error = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Locked(_)), "{error}");
    assert!(error.to_string().contains("log.db.lock is locked"), "{error}");
    log.add(json!({ "n": 2 })).await.unwrap();
    drop(log);
    assert_eq!(numbers(&open(&path, "node").await).await, [1, 2]);
}

/// What a file begins with tells whose it is.
const USER_VERSION: usize = 60;
const APPLICATION_ID: usize = 68;

#[tokio::test]
async fn files_that_are_no_logs_are_left_as_they_are() {
    let folder = Folder::new();
    let path = folder.file("log.db");
    open(&path, "node").await.add(json!({ "n": 1 })).await.unwrap();
    let log = std::fs::read(&path).unwrap();
    let with = |place: usize, number: u32| {
        let mut file = log.clone();
        file[place..place + 4].copy_from_slice(&number.to_be_bytes());
        file
    };
    let text = b"This is not a database, but a text of some length.".to_vec();
    for (file, expected) in [
        (text, "not a log"),
        (with(APPLICATION_ID, 0), "not a log"),
        (with(APPLICATION_ID, 0x1234_5678), "not a log"),
        (with(USER_VERSION, 2), "newer version of logux-sync (schema 2)"),
        (with(USER_VERSION, u32::MAX), "newer version of logux-sync (schema -1)"),
    ] {
        std::fs::write(&path, &file).unwrap();
        let error = SqliteStore::open(&path).unwrap_err();
        assert!(error.to_string().contains(expected), "{error:?}");
        assert_eq!(std::fs::read(&path).unwrap(), file, "{expected}: the file has changed");
    }
    std::fs::write(&path, &log).unwrap();
    assert_eq!(numbers(&open(&path, "node").await).await, [1]);
    let missing = folder.file("missing").join("log.db");
    let error = SqliteStore::open(&missing).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

/// A page of the file is overwritten: whatever it was for, nothing wrong is read.
#[tokio::test]
async fn damage_is_an_error_and_never_another_log() {
    let folder = Folder::new();
    let path = folder.file("log.db");
    let texts: Vec<_> = (0..200).map(|n| json!({ "n": n, "text": "x".repeat(200) })).collect();
    open(&path, "node").await.add_batch(texts.clone()).await.unwrap();
    let log = std::fs::read(&path).unwrap();
    let (pages, mut failed) = (log.len() / 4096, 0);
    for page in 0..pages {
        let mut damaged = log.clone();
        damaged[page * 4096..(page + 1) * 4096].fill(0xa5);
        std::fs::write(&path, &damaged).unwrap();
        let Ok(store) = SqliteStore::open(&path) else {
            failed += 1;
            continue;
        };
        let Ok(log) = Log::<Value>::open("node".parse().unwrap(), store).await else {
            failed += 1;
            continue;
        };
        match log.entries_after(Added::ZERO, usize::MAX).await {
            Ok(entries) => {
                assert!(entries.iter().map(|entry| &entry.event).eq(&texts), "page {page}");
            }
            Err(error) => {
                failed += 1;
                let why = std::error::Error::source(&error).unwrap().to_string();
                assert!(why.contains("SQLite failed"), "{why}");
            }
        }
    }
    // Some pages are only indexes, which are not read here.
    assert!(failed > pages / 2, "{failed} of {pages}");
}
