//! A store that can be stuck: it does not answer until it is opened again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use logux_sync::{
    Answer, Append, End, Entry, EventId, IdState, Key, MemoryStore, NodeId, Page, Prefix, Query,
    Record, RecordChange, Store, StoreError, Timestamp, Value,
};
use tokio::sync::watch;
use tokio::time::sleep;

/// What the store does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Gate {
    #[default]
    Open,
    /// It answers after so many milliseconds.
    Slow(u64),
    /// It does nothing until it is opened.
    Stuck,
    /// It does not note what peers did not take until it is opened.
    NotesNothing,
    /// It does what it is asked for, and does not answer until it is opened.
    Mute,
}

/// Clones are the same store.
#[derive(Clone, Default)]
pub(crate) struct Gated {
    memory: Arc<MemoryStore<Value>>,
    gate: Arc<watch::Sender<Gate>>,
    waiting: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
}

impl Gated {
    pub(crate) fn set(&self, gate: Gate) {
        self.gate.send_replace(gate);
    }

    /// How many appends are not made yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How often events were read.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    async fn before(&self) {
        let gate = *self.gate.borrow();
        if let Gate::Slow(milliseconds) = gate {
            return sleep(Duration::from_millis(milliseconds)).await;
        }
        self.passes(|gate| gate != Gate::Stuck).await;
    }

    async fn after(&self) {
        self.passes(|gate| gate != Gate::Mute).await;
    }

    async fn passes(&self, is_open: impl Fn(Gate) -> bool) {
        let mut gate = self.gate.subscribe();
        gate.wait_for(|gate| is_open(*gate)).await.expect("the sender is here");
    }
}

/// Each method: waits at the gate, does it, and waits to answer.
macro_rules! gated {
    ($self:ident, $done:expr) => {{
        $self.before().await;
        let done = $done.await;
        $self.after().await;
        done
    }};
}

#[async_trait]
impl Store<Value> for Gated {
    fn submit(&self, append: Append<Value>) -> Answer<Value> {
        let gated = self.clone();
        gated.waiting.fetch_add(1, Ordering::Relaxed);
        let notes = append.records.iter().any(|change| {
            let is_put = matches!(change, RecordChange::Put(..));
            is_put && matches!(change.key().record(), Some(Record::HeldBack(..)))
        });
        // It is made whether or not somebody waits. Tasks go on in the order in which they were begun.
        let made = tokio::spawn(async move {
            if notes {
                gated.passes(|gate| gate != Gate::NotesNothing).await;
            }
            gated.before().await;
            let made = gated.memory.submit(append).await;
            gated.waiting.fetch_sub(1, Ordering::Relaxed);
            gated.after().await;
            made
        });
        Answer::later(async move { made.await.map_err(StoreError::new)? })
    }

    fn end(&self) -> Arc<End> {
        Store::<Value>::end(&*self.memory)
    }

    async fn read(&self, query: Query, page: Page) -> Result<Vec<Arc<Entry<Value>>>, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        gated!(self, self.memory.read(query, page))
    }

    async fn by_ids(&self, ids: &[EventId]) -> Result<Vec<Option<Arc<Entry<Value>>>>, StoreError> {
        gated!(self, self.memory.by_ids(ids))
    }

    async fn id_states(&self, ids: &[EventId]) -> Result<Vec<IdState>, StoreError> {
        gated!(self, Store::<Value>::id_states(&*self.memory, ids))
    }

    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError> {
        gated!(self, Store::<Value>::last_time(&*self.memory, node))
    }

    async fn count(&self) -> Result<u64, StoreError> {
        gated!(self, Store::<Value>::count(&*self.memory))
    }

    async fn records(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        at_most: usize,
    ) -> Result<Vec<(Key, String)>, StoreError> {
        gated!(self, Store::<Value>::records(&*self.memory, prefix, after, at_most))
    }
}
