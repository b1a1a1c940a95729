//! The thread that writes.

use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use logux_codecs::Added;

use super::apply::Transaction;
use super::checkpoint::{Checkpoints, Step};
use super::database::{Command, Shared};
use super::engine::{Engine, MAX_BUSY, Prepared};
use super::error::{Failure, OpenError, is_busy};
use super::reply::Reply;
use crate::metrics;
use crate::store::change::Effect;
use crate::store::record::RecordChange;

/// So much is committed at once, at most.
const MAX_COMMANDS: usize = 1_024;
const MAX_BYTES: usize = 4 << 20;

/// What may wait is written after so long, if nothing else was written before; what is gone is cleared away once
/// nothing has come for so long; and a database that has failed is opened again after so long.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Has the one connection that writes.
pub(super) struct Writer {
    engine: Result<Engine, Failed>,
    shared: Arc<Shared>,
    /// Nobody else writes while this is held.
    lock: File,
    /// Events were changed, and what they were may still be in the write-ahead log.
    untidy: bool,
    checkpoints: Checkpoints,
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

impl Writer {
    pub(super) fn new(engine: Engine, shared: Arc<Shared>, lock: File) -> Self {
        // Untidy as a process may have left it that was killed.
        Self { engine: Ok(engine), shared, lock, untidy: true, checkpoints: Checkpoints::default() }
    }

    pub(super) fn run(mut self, received: &Receiver<Command>) {
        let mut batch = Vec::new();
        loop {
            let waits =
                self.untidy || self.engine.is_err() || !self.shared.unwritten().waiting.is_empty();
            let state = collect(received, &mut batch, waits);
            let is_quiet = state == Queue::Empty && batch.is_empty();
            if state != Queue::Full {
                // Nothing is queued meanwhile, so that what waits comes after all that is.
                let mut unwritten = self.shared.unwritten();
                batch.extend(received.try_iter());
                batch.extend(unwritten.queue().map(Command::Waited));
            }
            self.commit(&mut batch);
            self.checkpoint(state == Queue::Empty);
            if is_quiet {
                self.reopen();
                self.tidy(received, &mut batch);
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

    /// Commits a batch.
    fn commit(&mut self, batch: &mut Vec<Command>) {
        let (mut transactions, mut replies, mut waited) = (Vec::new(), Vec::new(), 0);
        for command in batch.drain(..) {
            match command {
                Command::Append { transaction, reply, .. } => {
                    transactions.push(transaction);
                    replies.push(Some(reply));
                }
                Command::Waited(numbers) => {
                    waited += 1;
                    let raise = |(key, to): (&_, &_)| RecordChange::Raise(Clone::clone(key), *to);
                    transactions.push(Transaction::of_records(numbers.iter().map(raise).collect()));
                    replies.push(None);
                }
                Command::Waits => {}
            }
        }
        if transactions.is_empty() {
            return;
        }
        let made = self.make(&transactions);
        self.tell(waited);
        match made {
            Ok(made) => self.answer(made, replies),
            Err(failure) => {
                for reply in replies.into_iter().flatten() {
                    reply.done(Err(failure.to_store_error()));
                }
            }
        }
    }

    /// Shows what was committed, and answers. First what was added, then what of that is changed already, then the
    /// end, so that whoever is woken or answered finds it so.
    fn answer(&mut self, made: Prepared, replies: Vec<Option<Box<dyn Reply>>>) {
        let (mut changed, mut last, mut answers) = (Vec::new(), None, Vec::new());
        for (made, reply) in made.into_iter().zip(replies) {
            if let Ok(made) = &made {
                changed.extend_from_slice(&made.changed);
                last = made.positions.iter().flatten().last().copied().or(last);
            }
            let Some(mut reply) = reply else { continue };
            let made = made.map_err(|error| Failure::new(error).to_store_error());
            answers.push((made.map(|made| reply.committed(made)), reply));
        }
        self.shared.end.changed(&changed);
        self.untidy |= !changed.is_empty();
        if let Some(last) = last {
            self.shared.end.advance(last);
        }
        for (result, reply) in answers {
            reply.done(result);
        }
    }

    /// Makes transactions, all but those that cannot read what they change, or none.
    fn make(&mut self, transactions: &[Transaction]) -> Result<Prepared, Failure> {
        self.reopen();
        let engine = self.engine.as_mut().map_err(|failed| failed.why.clone())?;
        let (commits, last_added) = (engine.commits(), engine.last_added());
        let begun = Instant::now();
        let (prepared, error) = match engine.prepare(transactions) {
            Ok(made) => match engine.commit() {
                Ok(()) => {
                    metrics::committed(begun.elapsed());
                    return Ok(made);
                }
                Err(error) => (Some(made), error),
            },
            Err(error) => (None, error),
        };
        // Nothing is known of the connection's state any more.
        tracing::warn!(%error, "the database failed, and is opened again");
        let why = Failure::new(error);
        let changed = prepared.iter().flatten().flatten().flat_map(|made| &made.changed);
        // Whoever keeps one of these reads it anew, whatever it is by then.
        let unsure: Vec<_> = changed.map(|(added, _)| (*added, Effect::Edited)).collect();
        // The connection is closed before there is another one.
        self.engine = Err(Failed { why: why.clone(), commits, last_added, unsure });
        match open_again(&self.shared, commits, last_added) {
            Ok((engine, is_made)) => {
                self.engine = Ok(engine);
                prepared.filter(|_| is_made).ok_or(why)
            }
            Err(error) => {
                tracing::error!(
                    %error,
                    "the database cannot be opened again; nothing is kept until it can"
                );
                if let Err(failed) = &mut self.engine {
                    self.shared.end.changed(&failed.unsure);
                    failed.why = Failure::new(error);
                }
                Err(why)
            }
        }
    }

    /// Opens the database again if it has failed: the disk may be back.
    fn reopen(&mut self) {
        let Err(failed) = &mut self.engine else { return };
        // Whether the last transaction was made was told to nobody.
        match open_again(&self.shared, failed.commits, failed.last_added) {
            Ok((engine, _)) => {
                tracing::info!("the database is open again");
                self.shared.end.changed(&failed.unsure);
                self.untidy |= !failed.unsure.is_empty();
                self.shared.end.advance(engine.last_added());
                self.engine = Ok(engine);
            }
            Err(error) => {
                tracing::debug!(%error, "the database cannot be opened again yet");
                failed.why = Failure::new(error);
            }
        }
        self.tell(0);
    }

    /// Tells those that read which transactions were made; so many groups of numbers are not queued any more.
    fn tell(&self, waited: usize) {
        let mut unwritten = self.shared.unwritten();
        // Where they could not be written, events travel again.
        unwritten.queued.drain(..waited);
        match &self.engine {
            Ok(engine) => {
                unwritten.commits = engine.commits();
                unwritten.failure = None;
            }
            Err(failed) => unwritten.failure = Some(failed.why.clone()),
        }
    }

    /// Moves the write-ahead log into the database once it is long.
    fn checkpoint(&mut self, is_idle: bool) {
        let Ok(engine) = &self.engine else { return };
        let mut log = self.shared.path.as_os_str().to_owned();
        log.push("-wal");
        let length = std::fs::metadata(log).map_or(0, |log| log.len());
        let moved = match self.checkpoints.step(length, is_idle, Instant::now()) {
            Step::Nothing => return,
            Step::Move => engine.checkpoint("PASSIVE"),
            Step::Empty => empty_log(engine, &self.shared),
        };
        if let Err(error) = moved {
            // What was committed is in the write-ahead log.
            tracing::warn!(%error, "the write-ahead log was not moved into the database");
        }
    }

    /// Clears away what is left of events as they were before they changed, and gives their pages back; again a little
    /// later where it cannot be done now, or a command comes, which is added to the next batch.
    fn tidy(&mut self, received: &Receiver<Command>, batch: &mut Vec<Command>) {
        let Ok(engine) = self.engine.as_ref() else { return };
        if !self.untidy {
            return;
        }
        let is_enough = engine.give_back(&mut || match received.try_recv() {
            Ok(command) => {
                batch.push(command);
                true
            }
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Disconnected) => true,
        });
        let is_enough = is_done(is_enough, "the database did not become smaller");
        // Also without: the pages that are left are empty. Readers are not held up for it.
        let is_moved = engine.empty_log(Duration::ZERO);
        let is_moved = is_done(is_moved, "what is gone may still be in the write-ahead log");
        self.untidy = !(is_enough && is_moved);
    }
}

/// Whether nothing is left to do. After an error there is nothing until the next change; while somebody else reads
/// or writes, there is.
fn is_done(done: rusqlite::Result<bool>, otherwise: &str) -> bool {
    done.unwrap_or_else(|error| {
        let is_busy = is_busy(&error);
        if !is_busy {
            tracing::warn!(%error, "{otherwise}");
        }
        !is_busy
    })
}

fn empty_log(engine: &Engine, shared: &Shared) -> rusqlite::Result<bool> {
    // As much as can be while others read, so that they wait less.
    engine.checkpoint("PASSIVE")?;
    shared.without_readers(|| engine.empty_log(MAX_BUSY))
}

/// Opens a database after an error, and tells whether the last transaction was made. In both cases that is so for
/// ever when this returns.
fn open_again(
    shared: &Shared,
    commits: i64,
    last_added: Added,
) -> Result<(Engine, bool), OpenError> {
    let (mut engine, is_made) = Engine::open_again(&shared.path, commits, last_added)?;
    if !is_made {
        // What was written, and not committed for this connection, could be for the next process: it is overwritten.
        engine.prepare(&[])?;
        engine.commit()?;
    } else if !empty_log(&engine, shared)? {
        // What was written may be in the system's memory only, although it can be read: it is written anew, to the
        // database itself, or it is not known whether it stays.
        return Err(OpenError::Unsure);
    }
    Ok((engine, is_made))
}

/// Waits for something to commit unless there is something already, and takes what there is.
fn collect(received: &Receiver<Command>, batch: &mut Vec<Command>, waits: bool) -> Queue {
    if batch.is_empty() {
        let first = if waits {
            received.recv_timeout(MAX_WAIT)
        } else {
            received.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match first {
            Ok(first) => batch.push(first),
            Err(RecvTimeoutError::Timeout) => return Queue::Empty,
            Err(RecvTimeoutError::Disconnected) => return Queue::Closed,
        }
    }
    let due = Instant::now() + MAX_WAIT;
    let mut is_urgent = batch.iter().any(Command::is_urgent);
    let mut bytes: usize = batch.iter().map(Command::bytes).sum();
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use logux_codecs::{EventId, Timestamp};
    use rusqlite::Connection;

    use super::super::database::tests::Folder;
    use super::super::file::{lock, real};
    use super::super::row::Written;
    use super::*;
    use crate::entry::Meta;
    use crate::store::change::{Change, Edit, Which};
    use crate::store::record::Key;

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
        let shared = Arc::new(Shared::new(path.clone(), &engine));
        let end = Arc::clone(&shared.end);
        let mut writer = Writer::new(engine, shared, lock(&path).unwrap());
        let id = EventId::new(Timestamp::new(1).unwrap(), "a".parse().unwrap());
        let event = Written { event: "{}".to_owned(), meta: Meta::new(id), bytes: 2 };
        let events = vec![event];
        let add = Transaction { events, ..Transaction::of_records(Vec::new()) };
        let positions = writer.make(&[add]).unwrap().remove(0).unwrap().positions;
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
        let made = writer.make(&[clean]).unwrap().remove(0).unwrap();
        assert_eq!(made.changed, [(added, Effect::Cleaned)]);
    }

    #[test]
    fn pages_are_given_back_as_soon_as_nobody_else_writes_and_no_command_waits() {
        let folder = Folder::new("tidy");
        let path = real(&folder.file()).unwrap();
        let engine = Engine::open(&path).unwrap();
        let shared = Arc::new(Shared::new(path.clone(), &engine));
        let mut writer = Writer::new(engine, shared, lock(&path).unwrap());
        // Thousands of pages.
        let key = Key::new("key");
        for change in
            [RecordChange::Put(key.clone(), "x".repeat(16 << 20)), RecordChange::Remove(key)]
        {
            writer.make(&[Transaction::of_records(vec![change])]).unwrap();
        }
        let pages = || std::fs::metadata(&path).unwrap().len() / 4_096;
        let (commands, received) = channel();
        let mut batch = Vec::new();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        writer.tidy(&received, &mut batch);
        assert!(writer.untidy, "it gives up while somebody else writes");
        other.execute_batch("ROLLBACK").unwrap();
        commands.send(Command::Waits).unwrap();
        writer.tidy(&received, &mut batch);
        assert!(writer.untidy, "it goes on although a command waits");
        assert_eq!(batch.len(), 1, "a command is lost");
        // All was moved from the write-ahead log, and nothing given back.
        assert!(pages() > 4_000);
        for _ in 0..1_000 {
            writer.tidy(&received, &mut batch);
        }
        assert!(!writer.untidy && pages() < 1_100, "{} pages", pages());
    }

    /// Without that, readers that take turns let it grow for ever, and a database that has failed stays so.
    #[test]
    fn a_write_ahead_log_that_is_too_long_waits_for_readers_and_begins_anew() {
        let folder = Folder::new("checkpoint");
        let path = real(&folder.file()).unwrap();
        let engine = Engine::open(&path).unwrap();
        let shared = Arc::new(Shared::new(path.clone(), &engine));
        let mut writer = Writer::new(engine, shared, lock(&path).unwrap());
        let reader = || {
            let reader = Connection::open(&path).unwrap();
            reader.execute_batch("BEGIN; SELECT * FROM log").unwrap();
            std::thread::spawn(move || {
                std::thread::sleep(MAX_BUSY / 4);
                reader.execute_batch("COMMIT").unwrap();
            })
        };
        let log = || std::fs::metadata(folder.0.join("log.db-wal")).unwrap().len();
        let long = vec![RecordChange::Put(Key::new("key"), "x".repeat(65 << 20))];
        let reading = reader();
        writer.make(&[Transaction::of_records(long)]).unwrap();
        assert!(log() > 64 << 20);
        writer.checkpoint(false);
        assert_eq!(log(), 0);
        reading.join().unwrap();

        let short = Transaction::of_records(Vec::new());
        writer.make(std::slice::from_ref(&short)).unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("UPDATE log SET commits = commits + 1").unwrap();
        let reading = reader();
        writer.make(&[short]).unwrap_err();
        assert!(writer.engine.is_ok(), "it was not opened again");
        reading.join().unwrap();
    }

    /// As of a backup that is being made.
    #[test]
    fn that_it_is_not_known_what_was_kept_is_told_as_busy() {
        let folder = Folder::new("busy");
        let path = real(&folder.file()).unwrap();
        let engine = Engine::open(&path).unwrap();
        let shared = Arc::new(Shared::new(path.clone(), &engine));
        let mut writer = Writer::new(engine, shared, lock(&path).unwrap());
        let other = Connection::open(&path).unwrap();
        other.execute_batch("UPDATE log SET commits = commits + 1").unwrap();
        other.execute_batch("BEGIN; SELECT * FROM log").unwrap();
        writer.make(&[]).unwrap_err();
        let why = writer.make(&[]).unwrap_err();
        assert!(why.to_store_error().is_busy(), "{why}");
        other.execute_batch("COMMIT").unwrap();
        writer.make(&[]).unwrap();
    }
}
