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

use super::apply::{Made, Transaction};
use super::engine::Engine;
use super::error::OpenError;
use super::reader::Reader;
use crate::store::StoreError;
use crate::store::change::Effect;
use crate::store::end::End;
use crate::store::record::{Key, Prefix, RecordChange};

/// So much is committed at once, at most.
const MAX_COMMANDS: usize = 1_024;
const MAX_BYTES: usize = 4 << 20;

/// What may wait is written after so long, if nothing else was written before; what is gone is cleared away once
/// nothing has come for so long.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The write-ahead log is moved into the database once it has so many bytes: when there is nothing else to do,
/// and in any case.
const CHECKPOINT_IF_IDLE: u64 = 8 << 20;
const CHECKPOINT: u64 = 64 << 20;

/// A reader waits so long for the thread that writes to say what is written.
const MAX_BEHIND: Duration = Duration::from_secs(5);

/// So many connections read at once.
const READERS: usize = 4;

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
        answer: oneshot::Sender<Result<Made, StoreError>>,
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
    /// Events were changed, and what they were may still be in the write-ahead log.
    untidy: bool,
}

/// A database that could not be opened again after an error.
struct Failed {
    why: Failure,
    /// How many transactions there were when it was known.
    commits: i64,
    last_added: Added,
    /// The positions of the events that the last transaction may have changed.
    unsure: Vec<(Added, Effect)>,
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
        let writer = Writer {
            engine: Ok(engine),
            shared: Arc::clone(&shared),
            lock,
            // As a process may have left it that was killed.
            untidy: true,
        };
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
    ) -> oneshot::Receiver<Result<Made, StoreError>> {
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

    /// The first records whose keys begin so and come after this one, those that are not written yet among them.
    pub(super) async fn records(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        at_most: usize,
    ) -> Result<Vec<(Key, String)>, StoreError> {
        let (prefix, after, shared) = (prefix.clone(), after.cloned(), Arc::clone(&self.shared));
        self.read(move |reader| {
            let start = Instant::now();
            loop {
                let (unwritten, known) = shared.unwritten().of(&prefix, after.as_ref());
                let (mut records, commits) = reader.records(&prefix, after.as_ref(), at_most)?;
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
            let waits = self.untidy || !self.shared.unwritten().waiting.is_empty();
            let state = collect(received, &mut batch, waits);
            let is_quiet = state == Queue::Empty && batch.is_empty();
            if state != Queue::Full {
                // Nothing is queued meanwhile, so that what waits comes after all that is.
                let mut unwritten = self.shared.unwritten();
                batch.extend(received.try_iter());
                batch.push(Command::Waited(unwritten.queue()));
            }
            self.commit(&mut batch);
            self.checkpoint(state);
            if is_quiet && self.untidy {
                self.tidy();
            }
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
            if state == Queue::Empty
                && let Err(error) = engine.give_back()
            {
                tracing::warn!(%error, "the database did not become smaller");
            }
            // One that waited for readers would hold up all that is to be written.
            if let Err(error) = engine.checkpoint("PASSIVE") {
                // What was committed is in the write-ahead log.
                tracing::warn!(%error, "the write-ahead log was not moved into the database");
            }
        }
    }

    /// Clears away what is left of events as they were before they changed; again a little later where it cannot be
    /// done now.
    fn tidy(&mut self) {
        let Ok(engine) = &self.engine else { return };
        match engine.tidy() {
            Ok(is_done) => self.untidy = !is_done,
            Err(error) => {
                // With the next change it is tried again.
                self.untidy = false;
                tracing::warn!(%error, "what is gone may still be in the write-ahead log");
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
            Ok(made) => {
                // First what was changed, and the end, so that whoever is answered finds it so.
                for Made { changed, .. } in &made {
                    self.shared.end.changed(changed);
                    self.untidy |= !changed.is_empty();
                }
                if let Some(last) = made.iter().flat_map(|made| &made.positions).flatten().last() {
                    self.shared.end.advance(*last);
                }
                for ((answer, _room), made) in answers
                    .into_iter()
                    .zip(made)
                    .filter_map(|(answer, made)| answer.map(|answer| (answer, made)))
                {
                    // Nobody has to wait for it.
                    let _ = answer.send(Ok(made));
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
    fn make(&mut self, transactions: &[Transaction]) -> Result<Vec<Made>, Failure> {
        if let Err(failed) = &mut self.engine {
            // The disk may be back. Whether the last transaction was made was told to nobody.
            match open_again(&self.shared.path, failed.commits, failed.last_added) {
                Ok((engine, _)) => {
                    self.shared.end.changed(&failed.unsure);
                    self.untidy |= !failed.unsure.is_empty();
                    self.shared.end.advance(engine.last_added());
                    self.engine = Ok(engine);
                }
                Err(why) => failed.why = why,
            }
        }
        let engine = self.engine.as_mut().map_err(|failed| failed.why.clone())?;
        let (commits, last_added) = (engine.commits(), engine.last_added());
        let (prepared, error) = match engine.prepare(transactions) {
            Ok(made) => match engine.commit() {
                Ok(()) => return Ok(made),
                Err(error) => (Some(made), error),
            },
            Err(error) => (None, error),
        };
        // Nothing is known of the connection's state any more.
        tracing::warn!(%error, "the database failed, and is opened again");
        let why = Failure::new(error);
        let changed = prepared.iter().flatten().flat_map(|made| &made.changed);
        // Whoever keeps one of these reads it anew, whatever it is by then.
        let unsure: Vec<_> = changed.map(|(added, _)| (*added, Effect::Edited)).collect();
        // The connection is closed before there is another one.
        self.engine = Err(Failed { why: why.clone(), commits, last_added, unsure });
        match open_again(&self.shared.path, commits, last_added) {
            Ok((engine, is_made)) => {
                self.engine = Ok(engine);
                prepared.filter(|_| is_made).ok_or(why)
            }
            Err(why_not_opened) => {
                if let Err(failed) = &mut self.engine {
                    self.shared.end.changed(&failed.unsure);
                    failed.why = why_not_opened;
                }
                Err(why)
            }
        }
    }
}

fn open_again(path: &Path, commits: i64, last_added: Added) -> Result<(Engine, bool), Failure> {
    Engine::after_failure(path, commits, last_added).map_err(|error| {
        tracing::error!(%error, "the database cannot be opened again; nothing is kept until it can");
        Failure::new(error)
    })
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

    /// The changes of records whose keys begin so and come after this one, and how many transactions there were
    /// before them.
    fn of(&self, prefix: &Prefix, after: Option<&Key>) -> (Vec<RecordChange>, i64) {
        let is_of = |key: &Key| Some(key) > after && key.as_str().starts_with(prefix.as_str());
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
    use logux_codecs::{EventId, Timestamp};
    use rusqlite::Connection;

    use super::super::row::Written;
    use super::*;
    use crate::entry::Meta;
    use crate::store::change::{Change, Edit, Which};

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

    fn put(database: &Database, text: &str) -> oneshot::Receiver<Result<Made, StoreError>> {
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
        let read = tokio::time::timeout(LIMIT, database.records(&prefix, None, usize::MAX)).await;
        assert!(read.expect("it ends").unwrap_err().is_busy());
        // The thread that writes notices it, and then it can be read again.
        put(&database, "two").await.unwrap().unwrap_err();
        assert_eq!(database.records(&prefix, None, usize::MAX).await.unwrap()[0].1, "one");
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
    /// The commit fails, and the file cannot be opened until later.
    #[test]
    fn events_that_may_have_changed_are_told_as_edited_until_that_is_known() {
        let folder = Folder::new("unsure");
        let (path, away) = (real(&folder.file()).unwrap(), folder.0.join("away"));
        let engine = Engine::open(&path).unwrap();
        // What no commit can be made with.
        let schema = "CREATE TABLE parent (number INTEGER PRIMARY KEY);
            CREATE TABLE child (
                parent INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED
            );
            CREATE TRIGGER on_delete AFTER DELETE ON event BEGIN
                INSERT INTO child VALUES (1);
            END;
            PRAGMA foreign_keys = 1;";
        engine.connection.execute_batch(schema).unwrap();
        let end = Arc::new(End::default());
        let shared = Arc::new(Shared {
            path: path.clone(),
            end: Arc::clone(&end),
            unwritten: Mutex::default(),
            readers: Mutex::default(),
            places: Arc::new(Semaphore::new(READERS)),
        });
        let lock = lock(&path).unwrap();
        let mut writer = Writer { engine: Ok(engine), shared, lock, untidy: false };
        let id = EventId::new(Timestamp::new(1).unwrap(), "a".parse().unwrap());
        let event = Written { event: "{}".to_owned(), meta: Meta::new(id), bytes: 2 };
        let events = vec![event];
        let add = Transaction { events, ..Transaction::of_records(Vec::new()) };
        let positions: Vec<_> = writer.make(&[add]).unwrap().remove(0).positions;
        let added = positions[0].unwrap();
        let events = Which::At(vec![added]);
        let changes = vec![Change { events, edit: Edit::Clean }];
        let clean = Transaction { changes, ..Transaction::of_records(Vec::new()) };

        // It can be opened at once: nothing has changed.
        writer.make(std::slice::from_ref(&clean)).unwrap_err();
        assert_eq!(end.changes(), 0);
        let Ok(engine) = &writer.engine else { panic!("it was not opened again") };
        engine.connection.execute_batch("PRAGMA foreign_keys = 1").unwrap();
        std::fs::rename(&path, &away).unwrap();
        writer.make(std::slice::from_ref(&clean)).unwrap_err();
        let edited = Some(vec![(added, Effect::Edited)]);
        assert_eq!(end.changes_since(0), (edited.clone(), 1));
        writer.make(&[]).unwrap_err();
        assert_eq!(end.changes(), 1);
        std::fs::rename(&away, &path).unwrap();
        writer.make(&[]).unwrap();
        assert_eq!(end.changes_since(1), (edited, 2));
        assert_eq!(writer.make(&[clean]).unwrap()[0].changed, [(added, Effect::Cleaned)]);
    }
}
