//! The thread that writes, and the connections that read.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use logux_codecs::Added;
use rusqlite::ffi;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::engine::{Engine, Reader, Transaction};
use super::error::OpenError;
use crate::store::StoreError;
use crate::store::end::End;
use crate::store::record::{Key, Prefix, RecordChange};

/// So much is committed at once, at most.
const MAX_COMMANDS: usize = 1_024;
const MAX_BYTES: usize = 4 << 20;

/// What may wait is written after so long, if nothing else was written before.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The write-ahead log is moved into the database once it has so many bytes: when there is nothing else to do,
/// and in any case.
const CHECKPOINT_IF_IDLE: u64 = 8 << 20;
const CHECKPOINT: u64 = 64 << 20;

/// A reader waits so long for the thread that writes to say what is written.
const MAX_BEHIND: Duration = Duration::from_secs(5);

/// So many connections read at once.
const READERS: usize = 4;

/// For each event its position, or `None` where it was not added.
pub(super) type Positions = Vec<Option<Added>>;

/// A database that is open: one thread writes to it, and whoever asks reads from it.
pub(super) struct Database {
    shared: Arc<Shared>,
    /// `None` only while this is dropped.
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// By no other name.
    path: PathBuf,
    end: Arc<End>,
    unwritten: Mutex<Unwritten>,
    readers: Mutex<Vec<Reader>>,
    /// How many may read.
    places: Arc<Semaphore>,
}

/// Changes that may wait, which readers see at once.
#[derive(Default)]
struct Unwritten {
    /// Numbers that rise, all of them later than what is queued.
    waiting: BTreeMap<Key, u64>,
    /// Those that are queued, in their order.
    queued: Vec<RecordChange>,
    /// How many transactions there were when it was looked last which of them are written.
    commits: i64,
}

enum Command {
    Append {
        transaction: Transaction,
        bytes: usize,
        answer: oneshot::Sender<Result<Positions, StoreError>>,
        /// Room in the log's queue, given back when this is dropped.
        room: Option<OwnedSemaphorePermit>,
    },
    /// Changes that have waited, and come before the next append.
    Waited(Vec<RecordChange>),
    /// There are changes that may wait, from now on.
    Waits,
}

/// What is left where commands come from.
#[derive(Clone, Copy, PartialEq)]
enum Queue {
    /// Perhaps more.
    Full,
    /// Nothing for now.
    Empty,
    /// Nothing, for ever.
    Closed,
}

/// The one error of all that were to be committed together.
#[derive(Clone, Debug)]
struct Failure(Arc<OpenError>);

struct Writer {
    engine: Result<Engine, Failed>,
    shared: Arc<Shared>,
    /// Nobody else writes while this is held.
    lock: File,
}

/// A database that could not be opened again after an error.
struct Failed {
    why: Failure,
    /// How many transactions there were when it was known.
    commits: i64,
    last_added: Added,
}

impl Database {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let path = real(path)?;
        let lock = lock(&path)?;
        let engine = Engine::open(&path)?;
        let unwritten = Unwritten { commits: engine.commits(), ..Unwritten::default() };
        let shared = Arc::new(Shared {
            path,
            end: Arc::new(End::new(engine.last_added())),
            unwritten: Mutex::new(unwritten),
            readers: Mutex::default(),
            places: Arc::new(Semaphore::new(READERS)),
        });
        let (commands, received) = channel();
        let writer = Writer { engine: Ok(engine), shared: Arc::clone(&shared), lock };
        let thread = std::thread::Builder::new().name("logux-sqlite".to_owned());
        let thread = thread.spawn(move || writer.run(&received));
        let thread = thread.map_err(OpenError::Thread)?;
        Ok(Self { shared, commands: Some(commands), thread: Some(thread) })
    }

    pub(super) fn end(&self) -> &Arc<End> {
        &self.shared.end
    }

    /// Gives a transaction to the thread.
    pub(super) fn submit(
        &self,
        transaction: Transaction,
        bytes: usize,
        room: Option<OwnedSemaphorePermit>,
    ) -> oneshot::Receiver<Result<Positions, StoreError>> {
        let (answer, answered) = oneshot::channel();
        // Held while these are queued: in the order of the calls.
        let mut unwritten = self.shared.unwritten();
        let waited = unwritten.queue();
        if !waited.is_empty() {
            self.send(Command::Waited(waited));
        }
        self.send(Command::Append { transaction, bytes, answer, room });
        answered
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

    /// The records whose keys begin so, those that are not written yet among them.
    pub(super) async fn records(&self, prefix: &Prefix) -> Result<Vec<(Key, String)>, StoreError> {
        let (prefix, shared) = (prefix.clone(), Arc::clone(&self.shared));
        self.read(move |reader| {
            let start = Instant::now();
            loop {
                let (unwritten, known) = shared.unwritten().of(&prefix);
                let (mut records, commits) = reader.records(&prefix)?;
                if commits > known {
                    // The thread that writes is about to say what of that is written, unless it has failed, or
                    // somebody else has written.
                    if start.elapsed() > MAX_BEHIND {
                        return Err(rusqlite::Error::SqliteFailure(
                            ffi::Error::new(ffi::SQLITE_BUSY),
                            None,
                        ));
                    }
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                for change in unwritten {
                    let place = records.binary_search_by(|(key, _)| key.cmp(change.key()));
                    let before = place.ok().map(|place| &*records[place].1);
                    let key = change.key().clone();
                    match (place, change.apply(before)) {
                        (Ok(place), Some(text)) => records[place].1 = text,
                        (Err(place), Some(text)) => records.insert(place, (key, text)),
                        (_, None) => {}
                    }
                }
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
    /// Nothing panics while a lock is held.
    fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readers(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    fn run(mut self, received: &Receiver<Command>) {
        let mut batch = Vec::new();
        loop {
            let waits = !self.shared.unwritten().waiting.is_empty();
            let state = collect(received, &mut batch, waits);
            if state != Queue::Full {
                // Nothing is queued meanwhile, so that what waits comes after all that is.
                let mut unwritten = self.shared.unwritten();
                batch.extend(received.try_iter());
                batch.push(Command::Waited(unwritten.queue()));
            }
            self.commit(&mut batch);
            self.checkpoint(state);
            if state == Queue::Closed {
                break;
            }
        }
        if let Ok(engine) = self.engine
            && let Err(error) = engine.close()
        {
            tracing::warn!(%error, "the database was not closed in order; nothing is lost");
        }
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the lock file is given free by the end of the process");
        }
    }

    /// Moves the write-ahead log into the database once it is long.
    fn checkpoint(&mut self, state: Queue) {
        let mut log = self.shared.path.as_os_str().to_owned();
        log.push("-wal");
        let length = std::fs::metadata(log).map_or(0, |log| log.len());
        let limit = if state == Queue::Empty { CHECKPOINT_IF_IDLE } else { CHECKPOINT };
        if length > limit
            && let Ok(engine) = &self.engine
        {
            // One that waited for readers would hold up all that is to be written.
            if let Err(error) = engine.checkpoint("PASSIVE") {
                // What was committed is in the write-ahead log.
                tracing::warn!(%error, "the write-ahead log was not moved into the database");
            }
        }
    }

    /// Commits a batch.
    fn commit(&mut self, batch: &mut Vec<Command>) {
        let (mut transactions, mut answers, mut waited) = (Vec::new(), Vec::new(), 0);
        for command in batch.drain(..) {
            match command {
                Command::Append { transaction, answer, room, .. } => {
                    transactions.push(transaction);
                    answers.push(Some((answer, room)));
                }
                Command::Waited(records) if !records.is_empty() => {
                    waited += records.len();
                    transactions.push(Transaction::of_records(records));
                    answers.push(None);
                }
                Command::Waited(_) | Command::Waits => {}
            }
        }
        if transactions.is_empty() {
            return;
        }
        let made = self.make(&transactions);
        {
            let mut unwritten = self.shared.unwritten();
            // Where they could not be written, events travel again.
            unwritten.queued.drain(..waited);
            if let Ok(engine) = &self.engine {
                unwritten.commits = engine.commits();
            }
        }
        match made {
            Ok(positions) => {
                // First the end, so that whoever is answered finds it there.
                if let Some(last) = positions.iter().flatten().flatten().last() {
                    self.shared.end.advance(*last);
                }
                for ((answer, _room), positions) in answers
                    .into_iter()
                    .zip(positions)
                    .filter_map(|(answer, positions)| answer.map(|answer| (answer, positions)))
                {
                    // Nobody has to wait for it.
                    let _ = answer.send(Ok(positions));
                }
            }
            Err(failure) => {
                for (answer, _room) in answers.into_iter().flatten() {
                    let _ = answer.send(Err(failure.to_store_error()));
                }
            }
        }
    }

    /// Makes transactions, all or none.
    fn make(&mut self, transactions: &[Transaction]) -> Result<Vec<Positions>, Failure> {
        if let Err(Failed { commits, last_added, .. }) = &self.engine {
            // The disk may be back. Whether the last transaction was made was told to nobody.
            let engine = self.open_again(*commits, *last_added).map(|(engine, _)| engine);
            if let Ok(engine) = &engine {
                self.shared.end.advance(engine.last_added());
            }
            self.engine = engine;
        }
        let engine = self.engine.as_mut().map_err(|failed| failed.why.clone())?;
        let (commits, last_added) = (engine.commits(), engine.last_added());
        let (prepared, error) = match engine.prepare(transactions) {
            Ok(positions) => match engine.commit() {
                Ok(()) => return Ok(positions),
                Err(error) => (Some(positions), error),
            },
            Err(error) => (None, error),
        };
        // Nothing is known of the connection's state any more.
        tracing::warn!(%error, "the database failed, and is opened again");
        let why = Failure::new(error);
        self.engine = Err(Failed { why: why.clone(), commits, last_added });
        let (engine, is_made) = match self.open_again(commits, last_added) {
            Ok((engine, is_made)) => (Ok(engine), is_made),
            Err(failed) => (Err(failed), false),
        };
        self.engine = engine;
        prepared.filter(|_| is_made).ok_or(why)
    }

    fn open_again(&self, commits: i64, last_added: Added) -> Result<(Engine, bool), Failed> {
        Engine::after_failure(&self.shared.path, commits, last_added).map_err(|error| {
            tracing::error!(%error, "the database cannot be opened again; nothing is kept until it can");
            Failed { why: Failure::new(error), commits, last_added }
        })
    }
}

/// Waits for something to commit, and takes what there is.
fn collect(received: &Receiver<Command>, batch: &mut Vec<Command>, waits: bool) -> Queue {
    let first = if waits {
        match received.recv_timeout(MAX_WAIT) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => return Queue::Empty,
            Err(RecvTimeoutError::Disconnected) => return Queue::Closed,
        }
    } else {
        let Ok(first) = received.recv() else { return Queue::Closed };
        first
    };
    let due = Instant::now() + MAX_WAIT;
    let (mut is_urgent, mut bytes) = (first.is_urgent(), first.bytes());
    batch.push(first);
    while batch.len() < MAX_COMMANDS && bytes < MAX_BYTES {
        let left = due.saturating_duration_since(Instant::now());
        match received.recv_timeout(if is_urgent { Duration::ZERO } else { left }) {
            Ok(command) => {
                is_urgent |= command.is_urgent();
                bytes += command.bytes();
                batch.push(command);
            }
            Err(RecvTimeoutError::Timeout) => return Queue::Empty,
            Err(RecvTimeoutError::Disconnected) => return Queue::Closed,
        }
    }
    Queue::Full
}

impl Command {
    fn is_urgent(&self) -> bool {
        matches!(self, Self::Append { .. })
    }

    fn bytes(&self) -> usize {
        if let Self::Append { bytes, .. } = self { *bytes } else { 0 }
    }
}

impl Unwritten {
    /// What waits is queued now.
    fn queue(&mut self) -> Vec<RecordChange> {
        let waited = std::mem::take(&mut self.waiting).into_iter();
        let waited: Vec<_> = waited.map(|(key, to)| RecordChange::Raise(key, to)).collect();
        self.queued.extend(waited.iter().cloned());
        waited
    }

    /// The changes of records whose keys begin so, and how many transactions there were before them.
    fn of(&self, prefix: &Prefix) -> (Vec<RecordChange>, i64) {
        let is_of = |key: &Key| key.as_str().starts_with(prefix.as_str());
        let queued = self.queued.iter().filter(|change| is_of(change.key())).cloned();
        let waiting = self.waiting.iter().filter(|(key, _)| is_of(key));
        let waiting = waiting.map(|(key, to)| RecordChange::Raise(key.clone(), *to));
        (queued.chain(waiting).collect(), self.commits)
    }
}

/// The path of a file, by no other name: without links, and wherever the process is later.
fn real(path: &Path) -> Result<PathBuf, OpenError> {
    let not_found = |error| OpenError::Folder(path.to_owned(), error);
    if let Ok(real) = path.canonicalize() {
        return Ok(real);
    }
    let absolute = std::path::absolute(path).map_err(not_found)?;
    let (Some(folder), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(not_found(std::io::ErrorKind::IsADirectory.into()));
    };
    Ok(folder.canonicalize().map_err(not_found)?.join(name))
}

/// Keeps out other programs that want to write.
fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = File::options().create(true).truncate(false).write(true).open(&name);
    let file = file.map_err(|error| OpenError::LockFile(name.clone(), error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(name)),
        Err(TryLockError::Error(error)) => Err(OpenError::LockFile(name, error)),
    }
}

impl Failure {
    fn new(error: impl Into<OpenError>) -> Self {
        Self(Arc::new(error.into()))
    }

    fn to_store_error(&self) -> StoreError {
        let OpenError::Sqlite(error) = &*self.0 else { return StoreError::new(self.clone()) };
        let is_busy = error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy);
        if is_busy { StoreError::busy(self.clone()) } else { StoreError::new(self.clone()) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// Far above what anything here takes.
    const LIMIT: Duration = Duration::from_secs(60);

    /// A folder that is removed in the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("logux-sync-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn file(&self) -> PathBuf {
            self.0.join("log.db")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn put(database: &Database, text: &str) -> oneshot::Receiver<Result<Positions, StoreError>> {
        let records = vec![RecordChange::Put(Key::new("key"), text.to_owned())];
        database.submit(Transaction::of_records(records), 0, None)
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
        let read = tokio::time::timeout(LIMIT, database.records(&prefix)).await;
        assert!(read.expect("it ends").unwrap_err().is_busy());
        // The thread that writes notices it, and then it can be read again.
        put(&database, "two").await.unwrap().unwrap_err();
        assert_eq!(database.records(&prefix).await.unwrap()[0].1, "one");
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
