//! A store that fails on the n-th write, for every n of a run: nothing is confirmed that is not
//! stored, the session ends with that error, and after the repair everything arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use logux_sync::{
    Added, Answer, Append, BaseSync, ClientSync, Clock, End, Entry, Error, EventId, IdState, Key,
    Log, MemoryStore, NodeId, Page, Prefix, Query, Role, Server, State, Store, StoreError,
    SyncOptions, Timestamp,
};

use crate::cells::Cell;

on_every_cell! {
    nothing_is_confirmed_that_is_not_stored_whichever_write_fails,
}

/// What happens to the write that fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fails {
    /// It is not done.
    Before,
    /// It is done, but its answer is lost.
    After,
}

struct FailingStore {
    memory: MemoryStore<u64>,
    /// How many writes to go until one fails; it stays at zero, which means that it was repaired.
    left: AtomicUsize,
    fails: Fails,
}

impl FailingStore {
    fn new(nth: usize, fails: Fails) -> Arc<Self> {
        Arc::new(Self { memory: MemoryStore::new(), left: AtomicUsize::new(nth), fails })
    }

    fn fails_now(&self) -> bool {
        let before = self.left.load(Ordering::Relaxed);
        self.left.store(before.saturating_sub(1), Ordering::Relaxed);
        before == 1
    }
}

#[async_trait]
impl Store<u64> for FailingStore {
    fn submit(&self, append: Append<u64>) -> Answer<u64> {
        // What may wait is written with something else.
        let fails = !append.may_wait && self.fails_now();
        if fails && self.fails == Fails::Before {
            return Answer::ready(Err(StoreError::new("the disk is full")));
        }
        let answer = self.memory.submit(append);
        if fails { Answer::ready(Err(StoreError::new("the disk is gone"))) } else { answer }
    }

    fn end(&self) -> Arc<End> {
        Store::<u64>::end(&self.memory)
    }

    async fn read(&self, query: Query, page: Page) -> Result<Vec<Arc<Entry<u64>>>, StoreError> {
        self.memory.read(query, page).await
    }

    async fn by_ids(&self, ids: &[EventId]) -> Result<Vec<Option<Arc<Entry<u64>>>>, StoreError> {
        self.memory.by_ids(ids).await
    }

    async fn id_states(&self, ids: &[EventId]) -> Result<Vec<IdState>, StoreError> {
        Store::<u64>::id_states(&self.memory, ids).await
    }

    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError> {
        Store::<u64>::last_time(&self.memory, node).await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        Store::<u64>::count(&self.memory).await
    }

    async fn records(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        at_most: usize,
    ) -> Result<Vec<(Key, String)>, StoreError> {
        Store::<u64>::records(&self.memory, prefix, after, at_most).await
    }
}

async fn entries(log: &Log<u64>) -> Vec<Arc<Entry<u64>>> {
    log.entries_after(Added::ZERO, usize::MAX).await.unwrap()
}

async fn ids(log: &Log<u64>) -> Vec<EventId> {
    let mut ids: Vec<_> = entries(log).await.iter().map(|entry| entry.meta.id.clone()).collect();
    ids.sort();
    ids
}

/// What each of two nodes believes of the other is true.
async fn cursors_are_true(node: &Log<u64>, peer: &Log<u64>) {
    for (one, other) in [(node, peer), (peer, node)] {
        let name = other.node_id();
        let cursors = one.cursors(name).await.unwrap();
        let at_other = ids(other).await;
        for entry in entries(one).await {
            if entry.meta.added <= cursors.sent {
                assert!(at_other.contains(&entry.meta.id), "{name} confirmed {}", entry.meta.id);
            }
        }
        let here = ids(one).await;
        for entry in entries(other).await {
            if entry.meta.added <= cursors.received {
                assert!(here.contains(&entry.meta.id), "{} of {name} is missing", entry.meta.id);
            }
        }
    }
}

/// Runs a client and a server whose stores fail at their n-th write (0 never), then again without
/// faults. Answers whether a store has failed.
async fn run<C: Cell>(client_nth: usize, server_nth: usize, fails: Fails) -> bool {
    let clock = Clock::system();
    let client_store = FailingStore::new(0, fails);
    let server_store = FailingStore::new(0, fails);
    let open = async |node: &str, store: &Arc<FailingStore>| {
        let store: Arc<dyn Store<u64>> = Arc::clone(store) as _;
        Log::open_with(node.parse().unwrap(), store, clock.clone()).await.unwrap()
    };
    let client_log = open("client", &client_store).await;
    let server_log = open("server", &server_store).await;
    client_log.add_batch(0..10_u64).await.unwrap();
    server_log.add_batch(100..110_u64).await.unwrap();
    client_store.left.store(client_nth, Ordering::Relaxed);
    server_store.left.store(server_nth, Ordering::Relaxed);

    let options = || SyncOptions::new().batch(2).window(3);
    let (near, far) = C::pair().await;
    let client =
        BaseSync::new(&client_log, C::CODEC, Role::Opener, near).options(options()).start();
    let server =
        BaseSync::new(&server_log, C::CODEC, Role::Acceptor, far).options(options()).start();
    let synchronized = client.wait_for(State::Synchronized).await.is_ok();
    cursors_are_true(&client_log, &server_log).await;
    let ended = (client.close().await, server.close().await);
    let failed = ended.0.is_err() || ended.1.is_err();
    for error in [ended.0, ended.1].into_iter().filter_map(Result::err) {
        // One node's store has failed, and it has told the other.
        match &*error {
            Error::Store(_) => assert!(!error.is_transient()),
            Error::Received(told) => assert_eq!(told.kind(), "store-failed"),
            other => panic!("{other}"),
        }
    }
    assert!(synchronized || failed, "neither in step nor an error");
    cursors_are_true(&client_log, &server_log).await;

    // Repaired.
    client_store.left.store(0, Ordering::Relaxed);
    server_store.left.store(0, Ordering::Relaxed);
    let (transport, listener) = C::listen();
    let server_log = open("server", &server_store).await;
    let _server = Server::new(&server_log, C::CODEC, listener).start();
    let client_log = open("client", &client_store).await;
    client_log.add(10).await.unwrap();
    let client = ClientSync::new(&client_log, C::CODEC, transport).options(options()).start();
    client.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(ids(&client_log).await, ids(&server_log).await);
    assert_eq!(ids(&client_log).await.len(), 21);
    failed
}

async fn nothing_is_confirmed_that_is_not_stored_whichever_write_fails<C: Cell>() {
    assert!(!run::<C>(0, 0, Fails::Before).await);
    for fails in [Fails::Before, Fails::After] {
        for at_client in [true, false] {
            let mut nth = 1;
            loop {
                let (client, server) = if at_client { (nth, 0) } else { (0, nth) };
                if !run::<C>(client, server, fails).await {
                    break;
                }
                nth += 1;
            }
            assert!(nth > 3, "only {nth} writes failed: {fails:?}, at the client: {at_client}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_stored_is_an_error_for_who_adds_it() {
    // The first write is the log's identity.
    let store = FailingStore::new(3, Fails::Before);
    let log =
        Log::<u64>::open_with("node".parse().unwrap(), Arc::clone(&store) as _, Clock::system());
    let log = log.await.unwrap();
    log.add(1).await.unwrap();
    let error = log.add_batch([2, 3]).await.unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the disk is full");
    assert_eq!(log.last_added().value(), 1);
    log.add_batch([4, 5]).await.unwrap();
    let held = log.entries_after(Added::ZERO, 10).await.unwrap();
    assert_eq!(held.iter().map(|entry| entry.event).collect::<Vec<_>>(), [1, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_ids_are_taken_is_added_as_a_whole_or_not_at_all() {
    let clock = || Clock::new(|| Timestamp::new(1_786_312_345_678).unwrap());
    let mut nth = 1;
    loop {
        let store = FailingStore::new(0, Fails::Before);
        let open = async || {
            let store = Arc::clone(&store) as Arc<dyn Store<u64>>;
            Log::open_with("node".parse().unwrap(), store, clock()).await.unwrap()
        };
        // Two logs on one store, which their documentation forbids: the ids of one are taken.
        let (one, other) = (open().await, open().await);
        one.add_batch(100..103).await.unwrap();
        store.left.store(nth, Ordering::Relaxed);
        let result = other.add_batch(0..6).await;
        let held = other.entries_after(Added::new(3).unwrap(), 10).await.unwrap();
        let held: Vec<_> = held.iter().map(|entry| entry.event).collect();
        if result.is_ok() {
            assert_eq!(held, [0, 1, 2, 3, 4, 5]);
            break;
        }
        assert!(held.is_empty(), "{held:?} are left of a batch whose write {nth} failed");
        nth += 1;
    }
    assert!(nth > 2, "no id was taken");
}
