//! A store that fails on the n-th write, for every n of a run: nothing is confirmed that is not
//! stored, the session ends with that error, and after the repair everything arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use logux_sync::{
    Added, BaseSync, ClientSync, Clock, Created, Cursors, Entry, Epoch, Error, EventId, IfKnown,
    Log, MemoryStore, NodeId, Refused, Role, Server, SetAside, State, Store, StoreError, Stored,
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

    /// One write, of those that are either done or fail.
    fn write(&self) -> Result<(), StoreError> {
        if self.fails_now() { Err(StoreError::new("the disk is full")) } else { Ok(()) }
    }

    fn fails_now(&self) -> bool {
        let before = self.left.load(Ordering::Relaxed);
        self.left.store(before.saturating_sub(1), Ordering::Relaxed);
        before == 1
    }
}

#[async_trait]
impl Store<u64> for FailingStore {
    async fn add(
        &self,
        entries: Vec<Entry<u64>>,
        received: Option<(&NodeId, Added)>,
        if_known: IfKnown,
    ) -> Result<Stored<u64>, StoreError> {
        let fails = self.fails_now();
        if fails && self.fails == Fails::Before {
            return Err(StoreError::new("the disk is full"));
        }
        let answers = self.memory.add(entries, received, if_known).await?;
        if fails { Err(StoreError::new("the disk is gone")) } else { Ok(answers) }
    }

    async fn advance_sent(&self, peer: &NodeId, sent: Added) -> Result<(), StoreError> {
        self.write()?;
        Store::<u64>::advance_sent(&self.memory, peer, sent).await
    }

    async fn set_aside(&self, events: Vec<SetAside>) -> Result<(), StoreError> {
        self.write()?;
        Store::<u64>::set_aside(&self.memory, events).await
    }

    async fn events_set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        Store::<u64>::events_set_aside(&self.memory).await
    }

    async fn remove_set_aside(&self, ids: &[EventId]) -> Result<(), StoreError> {
        self.write()?;
        Store::<u64>::remove_set_aside(&self.memory, ids).await
    }

    async fn hold_back(&self, peer: &NodeId, events: Vec<Refused>) -> Result<(), StoreError> {
        self.write()?;
        Store::<u64>::hold_back(&self.memory, peer, events).await
    }

    async fn held_back(&self, peer: &NodeId) -> Result<Vec<Refused>, StoreError> {
        Store::<u64>::held_back(&self.memory, peer).await
    }

    async fn release(&self, peer: &NodeId, ids: &[EventId]) -> Result<(), StoreError> {
        self.write()?;
        Store::<u64>::release(&self.memory, peer, ids).await
    }

    async fn entries_after(
        &self,
        added: Added,
        limit: usize,
    ) -> Result<Vec<Arc<Entry<u64>>>, StoreError> {
        self.memory.entries_after(added, limit).await
    }

    async fn entries_created_after(
        &self,
        position: Option<&Created>,
        limit: usize,
    ) -> Result<Vec<Arc<Entry<u64>>>, StoreError> {
        self.memory.entries_created_after(position, limit).await
    }

    async fn by_id(&self, id: &EventId) -> Result<Option<Arc<Entry<u64>>>, StoreError> {
        self.memory.by_id(id).await
    }

    async fn last_added(&self) -> Result<Added, StoreError> {
        Store::<u64>::last_added(&self.memory).await
    }

    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError> {
        Store::<u64>::last_time(&self.memory, node).await
    }

    async fn cursors(&self, peer: &NodeId) -> Result<Cursors, StoreError> {
        Store::<u64>::cursors(&self.memory, peer).await
    }

    async fn dialled(&self) -> Result<Option<NodeId>, StoreError> {
        Store::<u64>::dialled(&self.memory).await
    }

    async fn set_dialled(&self, peer: &NodeId) -> Result<(), StoreError> {
        Store::<u64>::set_dialled(&self.memory, peer).await
    }

    async fn reset_cursors(&self, peer: &NodeId, cursors: Cursors) -> Result<(), StoreError> {
        Store::<u64>::reset_cursors(&self.memory, peer, cursors).await
    }

    async fn set_epoch(&self, peer: &NodeId, epoch: Epoch) -> Result<(), StoreError> {
        Store::<u64>::set_epoch(&self.memory, peer, epoch).await
    }

    async fn epoch(&self) -> Result<Epoch, StoreError> {
        Store::<u64>::epoch(&self.memory).await
    }
}

async fn ids(store: &FailingStore) -> Vec<EventId> {
    let mut ids: Vec<_> = store
        .memory
        .entries_after(Added::ZERO, usize::MAX)
        .await
        .unwrap()
        .iter()
        .map(|entry| entry.meta.id.clone())
        .collect();
    ids.sort();
    ids
}

/// What `node` believes of `peer` is true.
async fn cursors_are_true(node: &FailingStore, node_id: &str, peer: &FailingStore, peer_id: &str) {
    let (node_id, peer_id): (NodeId, NodeId) = (node_id.parse().unwrap(), peer_id.parse().unwrap());
    for (one, other, name) in [(node, peer, &peer_id), (peer, node, &node_id)] {
        let cursors = Store::<u64>::cursors(&one.memory, name).await.unwrap();
        let at_other = ids(other).await;
        for entry in one.memory.entries_after(Added::ZERO, usize::MAX).await.unwrap() {
            if entry.meta.added <= cursors.sent {
                assert!(at_other.contains(&entry.meta.id), "{name} confirmed {}", entry.meta.id);
            }
        }
        let here = ids(one).await;
        for entry in other.memory.entries_after(Added::ZERO, usize::MAX).await.unwrap() {
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
    cursors_are_true(&client_store, "client", &server_store, "server").await;
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
    cursors_are_true(&client_store, "client", &server_store, "server").await;

    // Repaired.
    client_store.left.store(0, Ordering::Relaxed);
    server_store.left.store(0, Ordering::Relaxed);
    let (transport, listener) = C::listen();
    let _server = Server::new(&open("server", &server_store).await, C::CODEC, listener).start();
    let client_log = open("client", &client_store).await;
    client_log.add(10).await.unwrap();
    let client = ClientSync::new(&client_log, C::CODEC, transport).options(options()).start();
    client.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(ids(&client_store).await, ids(&server_store).await);
    assert_eq!(ids(&client_store).await.len(), 21);
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
            assert!(nth > 5, "only {nth} writes failed: {fails:?}, at the client: {at_client}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_stored_is_an_error_for_who_adds_it() {
    let store = FailingStore::new(2, Fails::Before);
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
