//! A log in an SQLite database: `cargo test --features sqlite --test sqlite`.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::codecs::Counter;
use logux_sync::{
    Access, AddError, Added, Answer, Append, Change, ClientSync, Created, Criteria, Draft, Edit,
    Effect, End, Entry, EventId, Forget, IdState, IfKnown, Json, Key, Label, Log, LogOptions,
    Memory, MemoryStore, Meta, NodeId, OpenError, Order, Page, Prefix, Query, Reconnect,
    RecordChange, Server, SqliteStore, State, Store, StoreError, Stored, SyncOptions, Timestamp,
    Value, Which, conformance,
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

fn time(number: u64) -> Timestamp {
    Timestamp::new(number).unwrap()
}

fn entry(node: &str, id_time: u64, reason: &str) -> Entry<Value> {
    let mut meta = Meta::new(EventId::new(time(id_time), node.parse().unwrap()));
    meta.reasons.push(reason.to_owned());
    Entry::new(json!({ "n": id_time }), meta)
}

async fn submit(store: &impl Store<Value>, append: Append<Value>) -> Stored<Value> {
    store.submit(append).await.unwrap()
}

fn at(positions: impl IntoIterator<Item = Added>, edit: Edit) -> Change {
    Change { events: Which::At(positions.into_iter().collect()), edit }
}

#[tokio::test]
async fn the_position_of_a_last_event_that_is_gone_is_not_used_again() {
    let folder = Folder::new();
    let path = folder.file("log.db");
    let store = SqliteStore::open(&path).unwrap();
    let entries = (1..=3).map(|n| entry("a", n, "r")).collect();
    let stored = submit(&store, Append::events(entries)).await;
    let last = stored.entries[2].as_ref().unwrap().meta.added;
    let stored = submit(&store, Append::changes(vec![at([last], Edit::Clean)])).await;
    assert_eq!(stored.changed, [(last, Effect::Cleaned)]);
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(Store::<Value>::end(&store).get(), last);
    assert_eq!(Store::<Value>::count(&store).await.unwrap(), 2);
    let stored = submit(&store, Append::events(vec![entry("a", 3, "r"), entry("a", 4, "r")])).await;
    assert_eq!(stored.gone, [EventId::new(time(3), "a".parse().unwrap())]);
    let added: Vec<_> = stored.entries.iter().flatten().map(|entry| entry.meta.added).collect();
    assert_eq!(added, [last.plus(1)]);
}

const NODES: [&str; 3] = ["b", "a", "c:long"];
const REASONS: [&str; 4] = ["r0", "r1", "", "r\u{0}ü"];
const INDEXES: [&str; 3] = ["r0", "i1", "i2"];
const KEYS: [&str; 6] = ["k", "key 1", "key 2", "key 2 more", "key", "l"];

/// Appends and queries by chance.
struct Chance {
    random: fastrand::Rng,
    /// About the time of the next event.
    now: u64,
    /// All that was ever given to the stores.
    created: Vec<Created>,
}

impl Chance {
    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.random.usize(..of.len())].clone()
    }

    fn some(&mut self, of: &[&str]) -> Vec<String> {
        let count = self.random.usize(..3);
        (0..count).map(|_| self.one(of).to_owned()).collect()
    }

    fn id(&mut self) -> EventId {
        let time = match self.random.u8(..6) {
            0 => time(self.random.u64(1..=self.now)),
            1 => {
                // Of an event that may be gone.
                let created = self.created.clone();
                return self.one(&created).id;
            }
            _ => time(self.now + self.random.u64(..3)),
        };
        let counter = Counter::new(self.random.u64(..2)).unwrap();
        EventId::with_counter(time, self.one(&NODES).parse().unwrap(), counter)
    }

    fn entry(&mut self) -> Entry<Value> {
        let mut meta = Meta::new(self.id());
        if self.random.bool() {
            meta.time = time(self.now / 4 + self.random.u64(..8));
        }
        meta.source = self.random.bool().then(|| self.one(&NODES).parse().unwrap());
        meta.reasons = self.some(&REASONS).into();
        meta.indexes = self.some(&INDEXES).into();
        if self.random.bool() {
            meta.extra.insert("x".to_owned(), json!(self.random.u8(..3)));
        }
        self.created.push(meta.created());
        Entry::new(json!({ "n": self.created.len() }), meta)
    }

    /// Among them positions that are not there.
    fn position(&mut self) -> Added {
        Added::new(self.random.u64(..self.created.len() as u64 + 3)).unwrap()
    }

    /// Among them events that are not there.
    fn place(&mut self) -> Created {
        if self.random.u8(..8) == 0 {
            return Created { time: time(self.random.u64(..self.now)), id: self.id() };
        }
        let created = self.created.clone();
        self.one(&created)
    }

    fn edit(&mut self) -> Edit {
        match self.random.u8(..7) {
            0 => Edit::AddReasons(self.some(&REASONS)),
            1 | 2 => Edit::RemoveReasons(self.some(&REASONS)),
            3 => Edit::SetReasons(self.some(&REASONS)),
            4 => {
                let value = self.random.bool().then(|| json!(self.random.u8(..3)));
                Edit::SetExtra("x".to_owned(), value)
            }
            5 => Edit::CleanUnreasoned,
            _ => Edit::Clean,
        }
    }

    fn change(&mut self) -> Change {
        let reason = self.one(&REASONS).to_owned();
        if self.random.bool() {
            let edit = Edit::RemoveReasons(vec![reason.clone()]);
            let edit = if self.random.u8(..4) == 0 { self.edit() } else { edit };
            return Change { events: Which::Before { reason, newest: self.place().id }, edit };
        }
        let count = self.random.usize(..6);
        let positions: Vec<_> = (0..count).map(|_| self.position()).collect();
        at(positions, self.edit())
    }

    fn record(&mut self) -> RecordChange {
        let key = Key::new(self.one(&KEYS));
        match self.random.u8(..5) {
            0 => RecordChange::Put(key, self.random.u8(..9).to_string()),
            1 => RecordChange::PutNew(key, "a text".to_owned()),
            2 => RecordChange::Remove(key),
            _ => RecordChange::Raise(key, self.random.u64(..1_000)),
        }
    }

    /// The same two times, for an append cannot be cloned.
    fn append(&mut self) -> [Append<Value>; 2] {
        self.now += self.random.u64(..4);
        let (events, changes) = (self.random.usize(..4), self.random.usize(..3));
        let entries: Vec<_> = (0..events).map(|_| self.entry()).collect();
        let changes: Vec<_> = (0..changes).map(|_| self.change()).collect();
        let records: Vec<_> = (0..2).map(|_| self.record()).collect();
        let forget = (self.random.u8(..10) == 0).then(|| Forget {
            before: time(self.random.u64(..=self.now / 8)),
            at_most: self.random.usize(20..200),
        });
        let if_known = self.one(&[IfKnown::LeaveOut, IfKnown::LeaveOut, IfKnown::AddNone]);
        let shows_cleaned = self.random.bool();
        [(); 2].map(|()| {
            let append = Append::events(entries.clone()).if_known(if_known);
            let append = append.and_changes(changes.clone()).and_records(records.clone());
            append.and_forget(forget).showing_cleaned(shows_cleaned)
        })
    }

    fn queries(&mut self) -> Vec<(Query, Page)> {
        let labels = REASONS.map(|reason| Label::Reason(reason.to_owned()));
        let labels = labels.into_iter().chain(INDEXES.map(|index| Label::Index(index.to_owned())));
        let labels = labels.chain([Label::Reason("i1".to_owned())]).map(Some).chain([None, None]);
        let mut queries = Vec::new();
        for label in labels {
            for order in [
                Order::Added(None),
                Order::Added(Some(self.position())),
                Order::Created(None),
                Order::Created(Some(self.place())),
            ] {
                let mut query = Query::created(None);
                query.order = order;
                query.label.clone_from(&label);
                let page = Page::from(self.one(&[1, 3, usize::MAX]));
                queries.push((query.clone(), page));
                queries.push((query.newest_first(), page));
            }
        }
        queries
    }
}

/// Compares all that can be read.
async fn are_equal(memory: &MemoryStore<Value>, sqlite: &SqliteStore, chance: &mut Chance) {
    let count = Store::<Value>::count(sqlite).await.unwrap();
    assert_eq!(count, memory.count().await.unwrap());
    let end = Store::<Value>::end(sqlite).get();
    assert_eq!(end, memory.end().get());
    for (query, page) in chance.queries() {
        let (one, other) = (sqlite.read(query.clone(), page), memory.read(query.clone(), page));
        let (one, other): (Vec<Arc<Entry<Value>>>, _) = (one.await.unwrap(), other.await.unwrap());
        assert_eq!(one, other, "{query:?}, {page:?}");
    }
    let ids: Vec<_> = chance.created.iter().map(|created| created.id.clone()).collect();
    assert_eq!(sqlite.by_ids(&ids).await.unwrap(), memory.by_ids(&ids).await.unwrap());
    for node in NODES.map(|node| node.parse::<NodeId>().unwrap()) {
        let time = Store::<Value>::last_time(sqlite, &node).await.unwrap();
        assert_eq!(time, memory.last_time(&node).await.unwrap(), "{node}");
    }
    for prefix in ["", "key", "key ", "l"].map(Prefix::new) {
        let after = chance.random.bool().then(|| Key::new(chance.one(&KEYS)));
        let at_most = chance.one(&[0, 1, 2, usize::MAX]);
        let one = Store::<Value>::records(sqlite, &prefix, after.as_ref(), at_most).await.unwrap();
        let other = memory.records(&prefix, after.as_ref(), at_most).await.unwrap();
        assert_eq!(one, other, "{prefix:?} after {after:?}, at most {at_most}");
    }
}

#[tokio::test]
async fn it_does_what_the_store_in_memory_does() {
    let seed = std::env::var("SQLITE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("the seed is {seed}: set SQLITE_SEED to run it again");
    let random = fastrand::Rng::with_seed(seed);
    let mut chance = Chance { random, now: 10, created: Vec::new() };
    let folder = Folder::new();
    let path = folder.file("log.db");
    let memory = MemoryStore::new();
    let mut sqlite = SqliteStore::open(&path).unwrap();
    // Where ids are of one time, the ids of the node that came first are forgotten first.
    let firsts = || Append::events(NODES.map(|node| entry(node, 1, "r0")).into());
    chance.created.extend(firsts().entries.iter().map(|entry| entry.meta.created()));
    assert_eq!(submit(&sqlite, firsts()).await, submit(&memory, firsts()).await);
    let [mut cleaned, mut gone, mut too_old] = [0; 3];
    for step in 0..300 {
        let [one, other] = chance.append();
        let what = format!("step {step}: {one:?}");
        let (one, other) = (submit(&sqlite, one).await, submit(&memory, other).await);
        assert_eq!(one, other, "{what}");
        cleaned += one.changed.iter().filter(|(_, effect)| *effect == Effect::Cleaned).count();
        gone += one.gone.len();
        too_old += one.too_old.len();
        if chance.random.u8(..20) == 0 {
            drop(sqlite);
            sqlite = SqliteStore::open(&path).unwrap();
        }
        are_equal(&memory, &sqlite, &mut chance).await;
    }
    // A run in which nothing happens shows nothing.
    assert!(cleaned > 30 && gone > 3 && too_old > 3, "{cleaned} cleaned, {gone}, {too_old}");
}

/// Numbers that wait are in the pages, too.
#[tokio::test]
async fn records_that_are_not_written_yet_are_read_in_pages() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file("log.db")).unwrap();
    let raise = |names: &[&str], to| {
        let raise = |name: &&str| RecordChange::Raise(Key::new(*name), to);
        Append::<Value>::records(names.iter().map(raise).collect())
    };
    submit(&store, raise(&["b", "d", "f"], 5)).await;
    submit(&store, raise(&["a", "c", "d", "f", "g"], 7).may_wait()).await;
    let (mut after, mut read) = (None, Vec::new());
    loop {
        let page = Store::<Value>::records(&store, &Prefix::new(""), after.as_ref(), 2).await;
        let page = page.unwrap();
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        read.extend(page.into_iter().map(|(key, text)| format!("{key}{text}")));
    }
    assert_eq!(read, ["a7", "b5", "c7", "d7", "f7", "g7"]);
}

/// All that stands between two tildes in some file.
fn between_tildes(folder: &Folder) -> HashSet<String> {
    let files = std::fs::read_dir(&folder.0).unwrap().map(|file| file.unwrap().path());
    let bytes: Vec<u8> = files.flat_map(|file| std::fs::read(file).unwrap()).collect();
    let texts = bytes.split(|byte| *byte == b'~').filter(|text| text.len() < 100);
    texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

/// The order is always the same: in some orders SQLite leaves a copy where it has moved a row.
#[tokio::test]
async fn what_was_erased_is_not_in_the_files() {
    let folder = Folder::new();
    let path = folder.file("log.db");
    let store = SqliteStore::open(&path).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    // Each of them in four places: the event, a reason, an index, and an extra key.
    let secret = |n: u64, place: &str| format!("~{n}-{place}~");
    let entries = (0..400).map(|n| {
        let mut entry = entry("a", n + 1, &secret(n, "reason"));
        // Some have pages of their own.
        let length = if n % 20 == 0 { 10_000 } else { n % 7 * 40 };
        let filled = "x".repeat(usize::try_from(length).unwrap());
        entry.event = json!({ "text": [filled, secret(n, "event")] });
        entry.meta.indexes.push(secret(n, "index"));
        entry.meta.extra.insert("x".to_owned(), secret(n, "extra").into());
        entry
    });
    let mut entries: Vec<_> = entries.collect();
    random.shuffle(&mut entries);
    let mut places = BTreeMap::new();
    while !entries.is_empty() {
        let some = entries.split_off(entries.len().saturating_sub(10));
        for entry in submit(&store, Append::events(some)).await.entries.into_iter().flatten() {
            places.insert(entry.meta.id.time().value() - 1, entry.meta.added);
        }
    }
    let mut numbers: Vec<_> = places.keys().copied().collect();
    random.shuffle(&mut numbers);
    let (kept, rest) = numbers.split_at(100);
    let (edited, cleaned) = rest.split_at(100);
    for numbers in cleaned.chunks(3) {
        let positions = numbers.iter().map(|number| places[number]);
        submit(&store, Append::changes(vec![at(positions, Edit::Clean)])).await;
    }
    for number in edited {
        let edits =
            [Edit::SetExtra("x".to_owned(), None), Edit::SetReasons(vec!["plain".to_owned()])];
        let changes = edits.map(|edit| at([places[number]], edit));
        submit(&store, Append::changes(changes.into())).await;
    }
    let secrets_of = |numbers: &[u64], places: &[&str]| -> HashSet<String> {
        let of = |n: &u64| places.iter().map(|place| format!("{n}-{place}")).collect::<Vec<_>>();
        numbers.iter().flat_map(of).collect()
    };
    let mut erased = secrets_of(cleaned, &["event", "reason", "index", "extra"]);
    erased.extend(secrets_of(edited, &["reason", "extra"]));
    let left = || -> Vec<_> { between_tildes(&folder).intersection(&erased).cloned().collect() };
    assert!(!left().is_empty(), "the write-ahead log has them for a moment");
    let start = std::time::Instant::now();
    while !left().is_empty() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{:?} stay in a log that is open",
            left()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(store);
    assert!(left().is_empty(), "{:?} are in the file", left());
    let mut kept = secrets_of(kept, &["event", "reason", "index", "extra"]);
    kept.extend(secrets_of(edited, &["event", "index"]));
    assert!(between_tildes(&folder).is_superset(&kept), "what was kept is not found");
}

/// The file becomes smaller once there is time for it.
#[tokio::test]
async fn pages_of_events_that_are_gone_are_given_back() {
    let folder = Folder::new();
    let path = folder.file("log.db");
    let store = SqliteStore::open(&path).unwrap();
    let entries = (1..=2_000).map(|n| {
        let mut entry = entry("a", n, "r");
        entry.event = json!({ "text": "x".repeat(3_000) });
        entry
    });
    submit(&store, Append::events(entries.collect())).await;
    let newest = EventId::new(time(2_000), "a".parse().unwrap());
    let events = Which::Before { reason: "r".to_owned(), newest };
    let change = Change { events, edit: Edit::RemoveReasons(vec!["r".to_owned()]) };
    let stored = submit(&store, Append::changes(vec![change])).await;
    assert_eq!(stored.changed.len(), 1_999);
    let reader = rusqlite::Connection::open(&path).unwrap();
    let number = |pragma| reader.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    assert!(number("page_count").unwrap() > 1_500, "it was small before");
    let start = std::time::Instant::now();
    while number("page_count").unwrap() > 1_200 {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{:?} are free",
            number("freelist_count")
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Not all others of the same commit.
#[tokio::test]
async fn an_event_that_is_damaged_fails_those_that_change_it_and_can_be_cleaned() {
    let folder = Folder::new();
    let path = folder.file("log.db");
    let store = SqliteStore::open(&path).unwrap();
    let entries = (1..=3).map(|n| entry("a", n, "r")).collect();
    let places: Vec<_> = {
        let stored = submit(&store, Append::events(entries)).await;
        stored.entries.iter().flatten().map(|entry| entry.meta.added).collect()
    };
    let other = rusqlite::Connection::open(&path).unwrap();
    let damage = "UPDATE event SET meta = '{\"reasons\":7}' WHERE added = 2";
    assert_eq!(other.execute(damage, []).unwrap(), 1);
    let edit = || Edit::AddReasons(vec!["more".to_owned()]);
    let all = || at(places.clone(), edit());
    // Of a node that is new, too.
    let damaged = Append::events(vec![entry("b", 1, "r"), entry("a", 4, "r")]);
    let damaged = damaged.and_changes([at([places[0]], Edit::Clean), all()]);
    let raise = |to| RecordChange::Raise(Key::new("number"), to);
    let before = Append::events(vec![entry("a", 5, "r")]).and_records([raise(1)]);
    let after = Append::events(vec![entry("b", 2, "r")]).and_changes([at([places[2]], edit())]);
    let answers = [before, damaged.and_records([raise(9)]), after].map(|one| store.submit(one));
    let [before, damaged, after] = answers;
    let added = |stored: &Stored<Value>| stored.entries[0].as_ref().unwrap().meta.added.value();
    assert_eq!(added(&before.await.unwrap()), 4);
    let error = damaged.await.unwrap_err();
    assert!(!error.is_busy());
    let mut why: &dyn std::error::Error = &error;
    while let Some(source) = why.source() {
        why = source;
    }
    assert!(why.to_string().contains("the event at position 2 is damaged"), "{why}");
    let after = after.await.unwrap();
    assert_eq!((added(&after), &*after.changed), (5, &[(places[2], Effect::Edited)][..]));
    assert_eq!(Store::<Value>::count(&store).await.unwrap(), 5);
    let records = Store::<Value>::records(&store, &Prefix::new("number"), None, 1).await.unwrap();
    assert_eq!(records[0].1, "1");

    let clean = Append::changes(vec![at(places.clone(), Edit::Clean)]).showing_cleaned(true);
    let stored = submit(&store, clean).await;
    assert_eq!(stored.changed, [1, 2, 3].map(|n| (Added::new(n).unwrap(), Effect::Cleaned)));
    assert_eq!(stored.cleaned.len(), 2, "one cannot be shown");
    assert_eq!(Store::<Value>::count(&store).await.unwrap(), 2);
    let labelled = Query::added(Added::ZERO).with(Label::Reason("r".to_owned()));
    let left: Vec<Arc<Entry<Value>>> = store.read(labelled, usize::MAX.into()).await.unwrap();
    let left: Vec<_> = left.iter().map(|entry| entry.meta.added.value()).collect();
    assert_eq!(left, [4, 5]);
    let labels = "SELECT count(*) FROM label WHERE added = 2";
    assert_eq!(other.query_row(labels, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    let stored = submit(&store, Append::events(vec![entry("a", 2, "r")])).await;
    assert_eq!(stored.gone.len(), 1);
}

/// Others do not wait until all are forgotten, and no id is taken for a forgotten one that is not.
#[tokio::test]
async fn a_thousand_ids_are_forgotten_at_once() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file("log.db")).unwrap();
    let entries = || (1..=2_500).map(|n| entry("a", n, "r"));
    let stored = submit(&store, Append::events(entries().collect())).await;
    let places = stored.entries.iter().flatten().map(|entry| entry.meta.added);
    submit(&store, Append::changes(vec![at(places, Edit::Clean)])).await;
    let old = Forget { before: time(2_400), at_most: usize::MAX };
    let many = Forget { before: time(1), at_most: 50 };
    for (forget, too_old) in [(old, 1_000), (many, 2_000), (old, 2_399), (many, 2_450)] {
        submit(&store, Append::events(vec![]).and_forget(Some(forget))).await;
        let stored = submit(&store, Append::events(entries().collect())).await;
        let told = (stored.too_old.len(), stored.gone.len());
        assert_eq!(told, (too_old, 2_500 - too_old), "{forget:?}");
    }
}

/// Counts how often the events of a log are read from its database.
struct Counting {
    store: SqliteStore,
    reads: Arc<AtomicU64>,
}

#[async_trait::async_trait]
impl Store<Value> for Counting {
    fn submit(&self, append: Append<Value>) -> Answer<Value> {
        self.store.submit(append)
    }

    fn end(&self) -> Arc<End> {
        Store::<Value>::end(&self.store)
    }

    /// It changes nothing.
    fn shows_what_it_keeps(&self) -> bool {
        Store::<Value>::shows_what_it_keeps(&self.store)
    }

    async fn read(&self, query: Query, page: Page) -> Result<Vec<Arc<Entry<Value>>>, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.store.read(query, page).await
    }

    async fn by_ids(&self, ids: &[EventId]) -> Result<Vec<Option<Arc<Entry<Value>>>>, StoreError> {
        self.store.by_ids(ids).await
    }

    async fn id_states(&self, ids: &[EventId]) -> Result<Vec<IdState>, StoreError> {
        Store::<Value>::id_states(&self.store, ids).await
    }

    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError> {
        Store::<Value>::last_time(&self.store, node).await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        Store::<Value>::count(&self.store).await
    }

    async fn records(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        at_most: usize,
    ) -> Result<Vec<(Key, String)>, StoreError> {
        Store::<Value>::records(&self.store, prefix, after, at_most).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_sessions_and_followers_do_not_read_from_the_database_what_is_added() {
    let (folder, reads) = (Folder::new(), Arc::new(AtomicU64::new(0)));
    let store = SqliteStore::open(folder.file("log.db")).unwrap();
    let store = Counting { store, reads: Arc::clone(&reads) };
    let server = Log::open("server".parse().unwrap(), store).await.unwrap();
    let (memory, listener) = Memory::listen();
    let _running = Server::new(&server, Json, listener).start();
    let mut clients = Vec::new();
    for name in ["10:a", "10:b"] {
        let log = Log::open(name.parse().unwrap(), MemoryStore::new()).await.unwrap();
        let session = ClientSync::new(&log, Json, memory.clone()).start();
        session.wait_for(State::Synchronized).await.unwrap();
        clients.push((log, session));
    }
    let mut follower = server.follow(Added::ZERO);
    let before = reads.load(Ordering::Relaxed);
    for n in 0..200 {
        server.add(json!({ "n": n })).await.unwrap();
        clients[0].0.add(json!({ "n": 200 + n })).await.unwrap();
    }
    for n in 0..400 {
        assert_eq!(follower.next().await.unwrap().unwrap().meta.added.value(), n + 1);
    }
    for (log, session) in &clients {
        session.wait_for(State::Synchronized).await.unwrap();
        while log.last_added().value() < 400 {
            tokio::task::yield_now().await;
        }
        let numbers = numbers(log).await.into_iter().collect::<HashSet<_>>();
        assert_eq!(numbers, (0..400).collect());
    }
    assert_eq!(reads.load(Ordering::Relaxed) - before, 0);
}

/// What followers read comes from the tail of the log where it can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_see_what_is_in_the_database_whatever_becomes_of_events() {
    const TASKS: u64 = 4;

    let folder = Folder::new();
    for seed in 0..10 {
        let log = open(&folder.file(&format!("{seed}.db")), "node").await;
        let live = tokio::spawn({
            let log = log.clone();
            async move {
                let (mut follower, mut last) = (log.follow(Added::ZERO), Added::ZERO);
                while let Some(entry) = follower.next().await {
                    let entry = entry.unwrap();
                    assert!(entry.meta.added > last && entry.meta.added <= log.last_added());
                    last = entry.meta.added;
                }
            }
        });
        let tasks = (0..TASKS).map(|task| {
            let (log, mut random) = (log.clone(), fastrand::Rng::with_seed(seed * TASKS + task));
            tokio::spawn(async move {
                for n in 0..60 {
                    let draft = |n: u64| Draft::new(json!({ "n": n }));
                    let added = Added::new(random.u64(1..=log.last_added().value().max(1)));
                    let added = added.unwrap();
                    let (one, rest) =
                        (Criteria::all().added(added..=added), Criteria::all().added(added..));
                    match random.u8(..6) {
                        0 => {
                            let last = (0..3).map(|n| draft(n).keep_last("last"));
                            log.add_batch(last).await.map(drop)
                        }
                        1 => log.clean(one).await.map(drop).map_err(AddError::Store),
                        2 => {
                            let added = log.add_reasons(["more"], rest).await;
                            added.map(drop).map_err(AddError::Store)
                        }
                        3 => {
                            let removed = log.remove_reasons(["more", "last"], rest).await;
                            removed.map(drop).map_err(AddError::Store)
                        }
                        _ => log.add(draft(n).reason("first")).await.map(drop),
                    }
                    .unwrap();
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let stored = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
        let followed: Vec<_> = log.follow(Added::ZERO).take(stored.len()).collect().await;
        let followed: Vec<_> = followed.into_iter().map(Result::unwrap).collect();
        let reasons = |entries: &[Arc<Entry<Value>>]| -> Vec<_> {
            let meta = entries.iter().map(|entry| &entry.meta);
            meta.map(|meta| (meta.added, meta.id.clone(), meta.reasons.clone())).collect()
        };
        assert_eq!(reasons(&followed), reasons(&stored), "seed {seed}");
        live.abort();
        assert!(live.await.unwrap_err().is_cancelled(), "seed {seed}");
    }
}
