//! A store of one's own: a file with one line of JSON for each append. It is durable, and events that are
//! added at once share a commit.
//!
//! `cargo run --example custom_store` adds events, opens the file again and shows what is there;
//! `cargo test --example custom_store` runs the kit for stores.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use logux_sync::{
    Added, Answer, Append, Change, End, Entry, Event, EventId, Forget, IdState, IfKnown, Key, Log,
    MemoryStore, Meta, NodeId, Page, Prefix, Query, RecordChange, Store, StoreError, Stored,
    Timestamp,
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// Reads from memory, which the file fills when the store is opened.
struct FileStore<E> {
    memory: Arc<MemoryStore<E>>,
    /// `None` only while the store is closed.
    writer: Option<Sender<Commit<E>>>,
    thread: Option<JoinHandle<()>>,
}

/// An append, and who waits for it.
type Commit<E> = (Append<E>, oneshot::Sender<Result<Stored<E>, StoreError>>);

/// An append in the file: the events with their meta and size, and all else that it says.
type Line<E> = (Vec<(E, Meta, usize)>, IfKnown, Vec<Change>, Vec<RecordChange>, Option<Forget>);

impl<E: Event> FileStore<E> {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file =
            OpenOptions::new().create(true).read(true).append(true).truncate(false).open(path)?;
        let memory = Arc::new(MemoryStore::new());
        let (mut reader, mut line, mut whole) = (BufReader::new(&file), Vec::new(), 0);
        // A line that was not written to its end was not answered.
        while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            let (entries, if_known, changes, records, forget): Line<E> =
                serde_json::from_slice(&line)?;
            let entry = |(event, meta, size)| Entry::new(event, meta).sized(size);
            let append = Append::events(entries.into_iter().map(entry).collect());
            let append = append.if_known(if_known).and_changes(changes).and_records(records);
            drop(memory.submit(append.and_forget(forget)));
            whole += line.len() as u64;
            line.clear();
        }
        file.set_len(whole)?;
        let (writer, commits) = channel();
        let written = Arc::clone(&memory);
        let thread = thread::spawn(move || write_all(&mut file, &written, &commits));
        Ok(Self { memory, writer: Some(writer), thread: Some(thread) })
    }
}

/// Writes what is left: the file can be opened again when this returns.
impl<E> Drop for FileStore<E> {
    fn drop(&mut self) {
        self.writer = None;
        // A thread that has panicked is gone, too.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Writes what is submitted until the store is dropped. What comes during one commit is the next one. After an
/// error nothing is written any more: it is not known what of the last commit is in the file.
fn write_all<E: Event>(file: &mut File, memory: &MemoryStore<E>, commits: &Receiver<Commit<E>>) {
    let mut written = Ok(());
    while let Ok(first) = commits.recv() {
        let all: Vec<_> = std::iter::once(first).chain(commits.try_iter()).collect();
        written = written.and_then(|()| write(file, all.iter().map(|(append, _)| append)));
        for (append, answer) in all {
            let stored = match &written {
                // Memory answers at once.
                Ok(()) => futures_util::FutureExt::now_or_never(memory.submit(append)),
                Err(error) => Some(Err(StoreError::new(error.to_string()))),
            };
            if let Some(stored) = stored {
                // Nobody has to wait for it.
                let _ = answer.send(stored);
            }
        }
    }
}

/// On the disk when this returns.
fn write<'a, E: Event>(
    file: &mut File,
    appends: impl Iterator<Item = &'a Append<E>>,
) -> io::Result<()> {
    let mut lines = Vec::new();
    for Append { entries, if_known, changes, records, forget, .. } in appends {
        let entries = entries.iter().map(|entry| (&entry.event, &entry.meta, entry.size()));
        let entries: Vec<_> = entries.collect();
        serde_json::to_writer(&mut lines, &(entries, if_known, changes, records, forget))?;
        lines.push(b'\n');
    }
    file.write_all(&lines)?;
    file.sync_data()
}

#[async_trait]
impl<E: Event> Store<E> for FileStore<E> {
    fn submit(&self, append: Append<E>) -> Answer<E> {
        let (answer, answered) = oneshot::channel();
        if let Some(writer) = &self.writer {
            // Fails where the thread is gone, and so does the answer then.
            let _ = writer.send((append, answer));
        }
        Answer::later(async { answered.await.map_err(StoreError::new)? })
    }

    fn reads_from_memory(&self) -> bool {
        true
    }

    fn end(&self) -> Arc<End> {
        self.memory.end()
    }

    async fn read(&self, query: Query, page: Page) -> Result<Vec<Arc<Entry<E>>>, StoreError> {
        self.memory.read(query, page).await
    }

    async fn by_ids(&self, ids: &[EventId]) -> Result<Vec<Option<Arc<Entry<E>>>>, StoreError> {
        self.memory.by_ids(ids).await
    }

    async fn id_states(&self, ids: &[EventId]) -> Result<Vec<IdState>, StoreError> {
        self.memory.id_states(ids).await
    }

    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError> {
        self.memory.last_time(node).await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        self.memory.count().await
    }

    async fn records(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        at_most: usize,
    ) -> Result<Vec<(Key, String)>, StoreError> {
        self.memory.records(prefix, after, at_most).await
    }
}

#[derive(Serialize, Deserialize, Debug)]
#[serde(tag = "type")]
enum Note {
    #[serde(rename = "note/written")]
    Written { text: String },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("custom_store-{}.jsonl", std::process::id()));
    for round in 1..=3 {
        let log = Log::<Note>::open("node".parse()?, FileStore::open(&path)?).await?;
        log.add(Note::Written { text: format!("round {round}") }).await?;
        let notes = log.entries_after(Added::ZERO, 100).await?;
        println!("{} notes, the last is {:?}", notes.len(), notes.last().map(|note| &note.event));
        if notes.len() != round {
            return Err("a note is missing".into());
        }
    }
    std::fs::remove_file(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use logux_sync::{Value, conformance};

    use super::*;

    #[tokio::test]
    async fn it_holds_all_when_it_is_opened_again() {
        let path = std::env::temp_dir().join(format!("custom_store-again-{}", std::process::id()));
        conformance::store_that_is_opened_again(async || FileStore::open(&path).unwrap()).await;
        // A process that died has left half a line.
        let before = std::fs::read(&path).unwrap();
        let torn = [&before[..], b"[[[\"\xc3"].concat();
        std::fs::write(&path, torn).unwrap();
        drop(FileStore::<Value>::open(&path).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), before);
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test]
    async fn it_keeps_the_contract_of_stores() {
        static NEXT: AtomicU64 = AtomicU64::new(0);

        let folder = std::env::temp_dir().join(format!("custom_store-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        conformance::store(async || {
            let name = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
            FileStore::open(&folder.join(name)).unwrap()
        })
        .await;
        std::fs::remove_dir_all(folder).unwrap();
    }
}
