//! A database that is open: what is given to the thread that writes, and the connections that read.

use std::collections::{BTreeMap, VecDeque};
use std::iter;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use rusqlite::ffi;
use tokio::sync::Semaphore;

use super::apply::Transaction;
use super::engine::Engine;
use super::error::{Failure, OpenError};
use super::file::{lock, real};
use super::reader::Reader;
use super::reply::Reply;
use super::writer::Writer;
use crate::store::StoreError;
use crate::store::end::End;
use crate::store::record::{Key, Prefix, RecordChange};

/// A reader waits so long for the thread that writes to say what is written.
const MAX_BEHIND: Duration = Duration::from_secs(5);

/// So many connections read at once.
const READERS: u32 = 4;

/// Those that read are waited for so long where all have to leave.
const MAX_READING: Duration = Duration::from_millis(200);

/// A database that is open: one thread writes to it, and whoever asks reads from it.
pub(super) struct Database {
    shared: Arc<Shared>,
    /// `None` only while this is dropped.
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread that writes and those that read have in common.
pub(super) struct Shared {
    /// By no other name.
    pub(super) path: PathBuf,
    pub(super) end: Arc<End>,
    unwritten: Mutex<Unwritten>,
    readers: Mutex<Vec<Reader>>,
    /// How many may read.
    places: Arc<Semaphore>,
}

/// Numbers that rise.
pub(super) type Numbers = BTreeMap<Key, u64>;

/// Changes that may wait, which readers see at once.
#[derive(Default)]
pub(super) struct Unwritten {
    /// All of them later than what is queued.
    pub(super) waiting: Numbers,
    /// Those that are queued, in their order.
    pub(super) queued: VecDeque<Arc<Numbers>>,
    /// How many transactions there were when it was looked last which of them are written.
    pub(super) commits: i64,
    /// Why the database could not be opened again yet, if it has failed.
    pub(super) failure: Option<Failure>,
}

pub(super) enum Command {
    Append {
        transaction: Transaction,
        bytes: usize,
        reply: Box<dyn Reply>,
    },
    /// Changes that have waited, and come before the next append.
    Waited(Arc<Numbers>),
    /// There are changes that may wait, from now on.
    Waits,
}

impl Database {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let path = real(path)?;
        let lock = lock(&path)?;
        let engine = Engine::open(&path)?;
        let shared = Arc::new(Shared::new(path, &engine));
        let (commands, received) = channel();
        let writer = Writer::new(engine, Arc::clone(&shared), lock);
        let thread = std::thread::Builder::new().name("logux-sqlite".to_owned());
        let thread = thread.spawn(move || writer.run(&received));
        let thread = thread.map_err(OpenError::Thread)?;
        Ok(Self { shared, commands: Some(commands), thread: Some(thread) })
    }

    pub(super) fn end(&self) -> &Arc<End> {
        &self.shared.end
    }

    /// Gives a transaction to the thread.
    pub(super) fn submit(&self, transaction: Transaction, bytes: usize, reply: Box<dyn Reply>) {
        // Held while these are queued: in the order of the calls.
        let mut unwritten = self.shared.unwritten();
        if let Some(waited) = unwritten.queue() {
            self.send(Command::Waited(waited));
        }
        self.send(Command::Append { transaction, bytes, reply });
    }

    /// Lets numbers rise with the next transaction.
    pub(super) fn let_wait(&self, numbers: impl IntoIterator<Item = (Key, u64)>) {
        let mut unwritten = self.shared.unwritten();
        if unwritten.waiting.is_empty() {
            self.send(Command::Waits);
        }
        for (key, to) in numbers {
            let number = unwritten.waiting.entry(key).or_default();
            *number = to.max(*number);
        }
    }

    fn send(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // Fails only where the thread has panicked; then the answer fails, too.
            let _ = commands.send(command);
        }
    }

    /// Reads on one of the connections for that, in a thread that may wait.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let place = Arc::clone(&shared.places).acquire_owned().await.map_err(StoreError::new)?;
        let reading = tokio::task::spawn_blocking(move || -> rusqlite::Result<T> {
            let _place = place;
            let reader = shared.readers().pop();
            let reader = reader.map_or_else(|| Reader::open(&shared.path), Ok)?;
            let read = read(&reader)?;
            // One that has failed is not used again.
            shared.readers().push(reader);
            Ok(read)
        });
        reading
            .await
            .map_err(StoreError::new)?
            .map_err(|error| Failure::new(error).to_store_error())
    }

    /// The first records whose keys begin so and come after this one, those that are not written yet among them.
    pub(super) async fn records(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        at_most: usize,
    ) -> Result<Vec<(Key, String)>, StoreError> {
        if let Some(failure) = self.shared.unwritten().failure.clone() {
            return Err(StoreError::busy(failure));
        }
        let (prefix, after, shared) = (prefix.clone(), after.cloned(), Arc::clone(&self.shared));
        self.read(move |reader| {
            let start = Instant::now();
            loop {
                let (unwritten, known) = shared.unwritten().of(&prefix, after.as_ref());
                let (mut records, commits) = reader.records(&prefix, after.as_ref(), at_most)?;
                if known.is_none_or(|known| commits > known) {
                    // The thread that writes is about to say what of that is written, unless it has failed, or
                    // somebody else has written.
                    if known.is_none() || start.elapsed() > MAX_BEHIND {
                        return Err(rusqlite::Error::SqliteFailure(
                            ffi::Error::new(ffi::SQLITE_BUSY),
                            None,
                        ));
                    }
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                for (key, to) in unwritten {
                    let place = records.binary_search_by(|(other, _)| other.cmp(&key));
                    let before = place.ok().map(|place| &*records[place].1);
                    match (place, RecordChange::Raise(key.clone(), to).apply(before)) {
                        (Ok(place), Some(text)) => records[place].1 = text,
                        (Err(place), Some(text)) => records.insert(place, (key, text)),
                        (_, None) => {}
                    }
                }
                // No change that waits removes a record, so the page is full where it was. A record beyond it may
                // be wrong, for its text was not read; it is cut off.
                records.truncate(at_most);
                return Ok(records);
            }
        })
        .await
    }
}

/// Writes what is left, and gives the database free: another one can open it when this returns.
impl Drop for Database {
    fn drop(&mut self) {
        self.shared.readers().clear();
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked is gone, too.
            let _ = thread.join();
        }
    }
}

impl Shared {
    pub(super) fn new(path: PathBuf, engine: &Engine) -> Self {
        let unwritten = Unwritten { commits: engine.commits(), ..Unwritten::default() };
        Self {
            path,
            end: Arc::new(End::new(engine.last_added())),
            unwritten: Mutex::new(unwritten),
            readers: Mutex::default(),
            places: Arc::new(Semaphore::new(READERS as usize)),
        }
    }

    /// Does something while nobody in this process reads, or only those few that do not come to an end.
    pub(super) fn without_readers<T>(&self, work: impl FnOnce() -> T) -> T {
        // From the first look on it is the next one's turn, also where some read on: new ones wait until it is dropped.
        let mut places = pin!(self.places.acquire_many(READERS));
        let _places = wait_at_most(MAX_READING, places.as_mut());
        work()
    }

    /// Nothing panics while a lock is held.
    pub(super) fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readers(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unwritten {
    /// What waits is queued now.
    pub(super) fn queue(&mut self) -> Option<Arc<Numbers>> {
        if self.waiting.is_empty() {
            return None;
        }
        let waited = Arc::new(std::mem::take(&mut self.waiting));
        self.queued.push_back(Arc::clone(&waited));
        Some(waited)
    }

    /// The numbers of records whose keys begin so and come after this one, and how many transactions there were
    /// before them; `None` if nobody can say that for now.
    fn of(&self, prefix: &Prefix, after: Option<&Key>) -> (Vec<(Key, u64)>, Option<i64>) {
        let first = Key::new(prefix.as_str());
        let from = match after {
            Some(after) if *after >= first => Bound::Excluded(after),
            _ => Bound::Included(&first),
        };
        let numbers = self.queued.iter().map(|queued| &**queued).chain(iter::once(&self.waiting));
        let numbers = numbers.flat_map(|numbers| {
            let numbers = numbers.range::<Key, _>((from, Bound::Unbounded));
            numbers.take_while(|(key, _)| key.as_str().starts_with(prefix.as_str()))
        });
        let numbers = numbers.map(|(key, to)| (key.clone(), *to)).collect();
        (numbers, self.failure.is_none().then_some(self.commits))
    }
}

/// Wakes a thread that waits for a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future in a thread that is nobody else's.
fn wait_at_most<T>(limit: Duration, mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let due = Instant::now() + limit;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::park_timeout(left);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rusqlite::Connection;
    use tokio::sync::oneshot;

    use super::super::apply::Made;
    use super::*;

    /// Far above what anything here takes.
    const LIMIT: Duration = Duration::from_secs(60);

    /// A folder that is removed in the end.
    pub(in super::super) struct Folder(pub(in super::super) PathBuf);

    impl Folder {
        pub(in super::super) fn new(name: &str) -> Self {
            let name = format!("logux-sync-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        pub(in super::super) fn file(&self) -> PathBuf {
            self.0.join("log.db")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Says only whether an append was kept.
    struct Told(oneshot::Sender<Result<(), StoreError>>);

    impl Reply for Told {
        fn committed(&mut self, _: Made) {}

        fn done(self: Box<Self>, result: Result<(), StoreError>) {
            let _ = self.0.send(result);
        }
    }

    fn put(database: &Database, text: &str) -> oneshot::Receiver<Result<(), StoreError>> {
        let records = vec![RecordChange::Put(Key::new("key"), text.to_owned())];
        let (answer, answered) = oneshot::channel();
        database.submit(Transaction::of_records(records), 0, Box::new(Told(answer)));
        answered
    }

    /// What any other program finds in the file.
    fn in_file(path: &Path, key: &str) -> Option<String> {
        let connection = Connection::open(path).unwrap();
        let sql = "SELECT value FROM record WHERE key = ?";
        connection.query_row(sql, [key], |row| row.get(0)).ok()
    }

    #[test]
    fn nothing_is_answered_before_it_is_committed() {
        let folder = Folder::new("answered");
        let database = Database::open(&folder.file()).unwrap();
        let other = Connection::open(folder.file()).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut answer = put(&database, "one");
        // The thread waits for the other program, for at most five seconds.
        std::thread::sleep(Duration::from_millis(200));
        assert!(answer.try_recv().is_err(), "it was answered while nobody else can write");
        other.execute_batch("COMMIT").unwrap();
        answer.blocking_recv().unwrap().unwrap();
        assert_eq!(in_file(&folder.file(), "key").as_deref(), Some("one"));
    }

    #[test]
    fn a_writer_that_did_not_ask_for_the_lock_is_noticed_and_its_commit_is_not_taken_for_ours() {
        let folder = Folder::new("writer");
        let database = Database::open(&folder.file()).unwrap();
        put(&database, "one").blocking_recv().unwrap().unwrap();
        let other = Connection::open(folder.file()).unwrap();
        other.execute_batch("UPDATE log SET commits = commits + 1").unwrap();
        put(&database, "two").blocking_recv().unwrap().unwrap_err();
        assert_eq!(in_file(&folder.file(), "key").as_deref(), Some("one"));
        put(&database, "three").blocking_recv().unwrap().unwrap();
        assert_eq!(in_file(&folder.file(), "key").as_deref(), Some("three"));
    }

    #[tokio::test]
    async fn records_that_somebody_else_has_written_over_are_an_error_and_no_wait_without_end() {
        let folder = Folder::new("behind");
        let database = Database::open(&folder.file()).unwrap();
        put(&database, "one").await.unwrap().unwrap();
        let other = Connection::open(folder.file()).unwrap();
        other.execute_batch("UPDATE log SET commits = commits + 1").unwrap();
        let prefix = Prefix::new("key");
        let read = tokio::time::timeout(LIMIT, database.records(&prefix, None, usize::MAX)).await;
        assert!(read.expect("it ends").unwrap_err().is_busy());
        // The thread that writes notices it, and then it can be read again.
        put(&database, "two").await.unwrap().unwrap_err();
        assert_eq!(database.records(&prefix, None, usize::MAX).await.unwrap()[0].1, "one");
    }

    /// A session begins with reading, and writes nothing where that fails.
    #[tokio::test]
    async fn a_database_that_has_failed_is_opened_again_although_nobody_writes() {
        let folder = Folder::new("reopened");
        let (path, away) = (real(&folder.file()).unwrap(), folder.0.join("away"));
        let database = Database::open(&path).unwrap();
        put(&database, "one").await.unwrap().unwrap();
        let prefix = Prefix::new("key");
        let read = async || database.records(&prefix, None, usize::MAX).await;
        assert_eq!(read().await.unwrap()[0].1, "one");
        let other = Connection::open(&path).unwrap();
        other.execute_batch("UPDATE log SET commits = commits + 1").unwrap();
        std::fs::rename(&path, &away).unwrap();
        put(&database, "two").await.unwrap().unwrap_err();
        let start = Instant::now();
        assert!(read().await.unwrap_err().is_busy());
        assert!(start.elapsed() < MAX_BEHIND / 2, "it waits for a thread that has failed");
        std::fs::rename(&away, &path).unwrap();
        let records = loop {
            match read().await {
                Ok(records) => break records,
                Err(error) => assert!(error.is_busy(), "{error}"),
            }
            assert!(start.elapsed() < LIMIT, "it is never opened again");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!(records[0].1, "one");
    }

    #[test]
    fn readers_wait_for_what_is_done_without_them_also_where_one_of_them_stays() {
        let folder = Folder::new("places");
        let path = real(&folder.file()).unwrap();
        let shared = Shared::new(path.clone(), &Engine::open(&path).unwrap());
        let can_read = || shared.places.try_acquire().is_ok();
        assert!(!shared.without_readers(can_read));
        let place = shared.places.try_acquire().unwrap();
        assert!(!shared.without_readers(can_read));
        drop(place);
        assert_eq!(shared.places.available_permits(), READERS as usize);
    }

    #[test]
    fn what_may_wait_is_written_soon_also_if_nothing_else_is() {
        let folder = Folder::new("waits");
        let database = Database::open(&folder.file()).unwrap();
        for number in [3, 5, 4] {
            database.let_wait([(Key::new("number"), number)]);
        }
        assert_eq!(in_file(&folder.file(), "number"), None, "it causes a commit at once");
        let start = Instant::now();
        while in_file(&folder.file(), "number").is_none() {
            assert!(start.elapsed() < LIMIT, "it is never written");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(in_file(&folder.file(), "number").as_deref(), Some("5"));
    }

    #[test]
    fn what_waits_is_written_before_what_comes_later_and_as_the_database_is_closed() {
        let folder = Folder::new("order");
        let database = Database::open(&folder.file()).unwrap();
        database.let_wait([(Key::new("key"), 7)]);
        // As a peer's cursor is reset.
        put(&database, "0").blocking_recv().unwrap().unwrap();
        assert_eq!(in_file(&folder.file(), "key").as_deref(), Some("0"));
        database.let_wait([(Key::new("key"), 2)]);
        drop(database);
        assert_eq!(in_file(&folder.file(), "key").as_deref(), Some("2"));
        drop(Database::open(&folder.file()).unwrap());
    }
}
