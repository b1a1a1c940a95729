//! What a process knew of the events that a peer was not sent, and a later process goes on with.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use logux_sync::format;
use logux_sync::{
    Added, BaseSync, ClientSync, Json, Listener, Log, LogOptions, Memory, MemoryStore, Role,
    Session, State, Store, SyncOptions,
};
use tokio::time::sleep;

type Shared = Arc<dyn Store<u64>>;

async fn open(store: &Shared) -> Log<u64> {
    let options = LogOptions::new();
    Log::open_with("server".parse().unwrap(), Arc::clone(store), options).await.unwrap()
}

/// What a server shows: even numbers, all of them, or it never says.
const EVEN: u8 = 0;
const ALL: u8 = 1;
const SILENT: u8 = 2;

/// Runs as a process that dies at its end: nothing that waits goes on.
fn process<T>(main: impl AsyncFnOnce() -> T) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(main())
}

/// A session of a server that notes what its filter is asked about.
async fn serve(
    log: &Log<u64>,
    client: &Log<u64>,
    shows: Arc<AtomicU8>,
) -> (Session, Session, Asked) {
    let asked = Asked::default();
    let noted = Arc::clone(&asked);
    let options = SyncOptions::new().batch(5).out_filter(move |entry, _| {
        noted.lock().unwrap().push(entry.event);
        let (is_even, shows) = (entry.event.is_multiple_of(2), shows.load(Ordering::Relaxed));
        async move {
            if shows == SILENT {
                std::future::pending::<()>().await;
            }
            Ok(is_even || shows == ALL)
        }
    });
    let (transport, mut listener) = Memory::listen();
    let there = ClientSync::new(client, Json, transport).start();
    let link = listener.accept(&[format::<Json>()], 1 << 20).await.unwrap();
    let here = BaseSync::new(log, Json, Role::Acceptor, link).options(options).start();
    (here, there, asked)
}

type Asked = Arc<Mutex<Vec<u64>>>;

async fn in_step(here: &Session, there: &Session) {
    there.wait_for(State::Synchronized).await.unwrap();
    here.wait_for(State::Synchronized).await.unwrap();
    sleep(Duration::from_secs(1)).await;
}

fn odd(up_to: u64) -> Vec<u64> {
    (1..=up_to).filter(|number| !number.is_multiple_of(2)).collect()
}

async fn new_client() -> Log<u64> {
    Log::open("10:client".parse().unwrap(), MemoryStore::new()).await.unwrap()
}

fn shows(what: u8) -> Arc<AtomicU8> {
    Arc::new(AtomicU8::new(what))
}

/// A review in a process of its own. Answers what the filter was asked about.
async fn review(store: &Shared, client: &Log<u64>, is_asked_for: bool) -> Vec<u64> {
    let log = open(store).await;
    let what = shows(EVEN);
    let (here, there, asked) = serve(&log, client, Arc::clone(&what)).await;
    what.store(ALL, Ordering::Relaxed);
    in_step(&here, &there).await;
    if is_asked_for {
        assert_eq!(*asked.lock().unwrap(), [0; 0], "it looks at what is passed");
        here.reevaluate().await;
        sleep(Duration::from_secs(1)).await;
    }
    there.close().await.unwrap();
    here.close().await.unwrap();
    asked.lock().unwrap().clone()
}

#[test]
fn a_later_process_looks_only_at_what_was_withheld() {
    let store: Shared = Arc::new(MemoryStore::new());
    let client = process(async || {
        let (client, log) = (new_client().await, open(&store).await);
        log.add_batch(1..=100).await.unwrap();
        let (here, there, _) = serve(&log, &client, shows(EVEN)).await;
        in_step(&here, &there).await;
        there.close().await.unwrap();
        here.close().await.unwrap();
        client
    });
    assert_eq!(process(async || review(&store, &client, true).await), odd(100));
    assert_eq!(client.last_added(), Added::new(100).unwrap());
    // Nothing is left to look at.
    assert_eq!(process(async || review(&store, &client, true).await), [0; 0]);
}

#[test]
fn a_review_that_was_asked_for_is_made_by_a_later_process() {
    let store: Shared = Arc::new(MemoryStore::new());
    let client = process(async || {
        let (client, log) = (new_client().await, open(&store).await);
        log.add_batch(1..=10).await.unwrap();
        let what = shows(EVEN);
        let (here, there, _) = serve(&log, &client, Arc::clone(&what)).await;
        in_step(&here, &there).await;
        what.store(SILENT, Ordering::Relaxed);
        here.reevaluate().await;
        sleep(Duration::from_secs(1)).await;
        client
    });
    assert_eq!(process(async || review(&store, &client, false).await).len(), 5);
    assert_eq!(client.last_added(), Added::new(10).unwrap());
    assert_eq!(process(async || review(&store, &client, false).await), [0; 0]);
}

#[test]
fn what_a_process_did_that_was_killed_counts_as_withheld() {
    let store: Shared = Arc::new(MemoryStore::new());
    let client = process(async || {
        let (client, log) = (new_client().await, open(&store).await);
        log.add_batch(1..=10).await.unwrap();
        let (here, there, _) = serve(&log, &client, shows(EVEN)).await;
        in_step(&here, &there).await;
        there.close().await.unwrap();
        here.close().await.unwrap();
        let (here, there, _) = serve(&log, &client, shows(EVEN)).await;
        in_step(&here, &there).await;
        log.add_batch(11..=20).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        client
    });
    let expected: Vec<u64> = odd(10).into_iter().chain(11..=20).collect();
    assert_eq!(process(async || review(&store, &client, true).await), expected);
    assert_eq!(client.last_added(), Added::new(20).unwrap());
}
