//! The stores on which everything is tried: memory, and SQLite where it is compiled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use logux_sync::{
    Access, BaseSync, Clock, Entry, Event, Json, Log, LogOptions, Memory, MemoryStore, Role, State,
    Store, SyncOptions, Timestamp,
};

pub(crate) const NOW: u64 = 1_786_312_345_678;

/// A clock that a test sets.
pub(crate) fn clock() -> (Arc<AtomicU64>, Clock) {
    let time = Arc::new(AtomicU64::new(NOW));
    let shown = Arc::clone(&time);
    (time, Clock::new(move || Timestamp::new(shown.load(Ordering::Relaxed)).unwrap()))
}

/// A store of each kind, new and empty, and its name.
pub(crate) struct Stores<E> {
    pub(crate) all: Vec<(&'static str, Arc<dyn Store<E>>)>,
    #[cfg(feature = "sqlite")]
    folder: std::path::PathBuf,
}

impl<E: Event> Stores<E> {
    pub(crate) fn new() -> Self {
        let memory = ("memory", Arc::new(MemoryStore::new()) as Arc<dyn Store<E>>);
        #[cfg(not(feature = "sqlite"))]
        return Self { all: vec![memory] };
        #[cfg(feature = "sqlite")]
        {
            static NEXT: AtomicU64 = AtomicU64::new(0);

            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("logux-log-{}-{number}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            let sqlite = logux_sync::SqliteStore::open(folder.join("log.db")).unwrap();
            Self { all: vec![memory, ("SQLite", Arc::new(sqlite))], folder }
        }
    }
}

#[cfg(feature = "sqlite")]
impl<E> Drop for Stores<E> {
    fn drop(&mut self) {
        self.all.clear();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A log in each kind of store, by a clock that stands still.
pub(crate) async fn each<E: Event>(test: impl AsyncFn(Log<E>)) {
    each_with(|| LogOptions::new().clock(clock().1), test).await;
}

/// The same, with options.
pub(crate) async fn each_with<E: Event>(
    options: impl Fn() -> LogOptions<E>,
    test: impl AsyncFn(Log<E>),
) {
    let stores = Stores::new();
    for (name, store) in &stores.all {
        println!("in {name}");
        let store = Arc::clone(store);
        let log = Log::open_with("node".parse().unwrap(), store, options()).await.unwrap();
        test(log).await;
    }
}

/// Has a server receive all that a client has.
pub(crate) async fn synchronize(log: &Log<u64>, client: &Log<u64>) {
    let (near, far) = Memory::pair();
    let options = SyncOptions::new().auth(async |_| Access::client());
    let here = BaseSync::new(log, Json, Role::Acceptor, near).options(options).start();
    let there = BaseSync::new(client, Json, Role::Opener, far).start();
    there.wait_for(State::Synchronized).await.unwrap();
    there.close().await.unwrap();
    let _ = here.close().await;
}

pub(crate) fn events<E: Clone>(entries: &[Arc<Entry<E>>]) -> Vec<E> {
    entries.iter().map(|entry| entry.event.clone()).collect()
}

pub(crate) async fn all<E: Event + Clone>(log: &Log<E>) -> Vec<E> {
    events(&log.entries_after(logux_sync::Added::ZERO, usize::MAX).await.unwrap())
}
