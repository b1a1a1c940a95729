//! A store that can be stuck: it does not answer until it is opened again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use logux_sync::{
    Added, Created, Cursors, Entry, Epoch, EventId, IfKnown, MemoryStore, NodeId, Refused,
    SetAside, Store, StoreError, Stored, Timestamp, Value,
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
}

impl Gated {
    pub(crate) fn set(&self, gate: Gate) {
        self.gate.send_replace(gate);
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
    async fn add(
        &self,
        entries: Vec<Entry<Value>>,
        received: Option<(&NodeId, Added)>,
        if_known: IfKnown,
    ) -> Result<Stored<Value>, StoreError> {
        gated!(self, self.memory.add(entries, received, if_known))
    }

    async fn entries_after(
        &self,
        added: Added,
        limit: usize,
    ) -> Result<Vec<Arc<Entry<Value>>>, StoreError> {
        gated!(self, self.memory.entries_after(added, limit))
    }

    async fn entries_created_after(
        &self,
        position: Option<&Created>,
        limit: usize,
    ) -> Result<Vec<Arc<Entry<Value>>>, StoreError> {
        gated!(self, self.memory.entries_created_after(position, limit))
    }

    async fn by_id(&self, id: &EventId) -> Result<Option<Arc<Entry<Value>>>, StoreError> {
        gated!(self, self.memory.by_id(id))
    }

    async fn last_added(&self) -> Result<Added, StoreError> {
        gated!(self, Store::<Value>::last_added(&*self.memory))
    }

    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError> {
        gated!(self, Store::<Value>::last_time(&*self.memory, node))
    }

    async fn cursors(&self, peer: &NodeId) -> Result<Cursors, StoreError> {
        gated!(self, Store::<Value>::cursors(&*self.memory, peer))
    }

    async fn advance_sent(&self, peer: &NodeId, sent: Added) -> Result<(), StoreError> {
        gated!(self, Store::<Value>::advance_sent(&*self.memory, peer, sent))
    }

    async fn dialled(&self) -> Result<Option<NodeId>, StoreError> {
        gated!(self, Store::<Value>::dialled(&*self.memory))
    }

    async fn set_dialled(&self, peer: &NodeId) -> Result<(), StoreError> {
        gated!(self, Store::<Value>::set_dialled(&*self.memory, peer))
    }

    async fn reset_cursors(&self, peer: &NodeId, cursors: Cursors) -> Result<(), StoreError> {
        gated!(self, Store::<Value>::reset_cursors(&*self.memory, peer, cursors))
    }

    async fn set_epoch(&self, peer: &NodeId, epoch: Epoch) -> Result<(), StoreError> {
        gated!(self, Store::<Value>::set_epoch(&*self.memory, peer, epoch))
    }

    async fn epoch(&self) -> Result<Epoch, StoreError> {
        gated!(self, Store::<Value>::epoch(&*self.memory))
    }

    async fn set_aside(&self, events: Vec<SetAside>) -> Result<(), StoreError> {
        gated!(self, Store::<Value>::set_aside(&*self.memory, events))
    }

    async fn events_set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        gated!(self, Store::<Value>::events_set_aside(&*self.memory))
    }

    async fn remove_set_aside(&self, ids: &[EventId]) -> Result<(), StoreError> {
        gated!(self, Store::<Value>::remove_set_aside(&*self.memory, ids))
    }

    async fn hold_back(&self, peer: &NodeId, events: Vec<Refused>) -> Result<(), StoreError> {
        self.passes(|gate| gate != Gate::NotesNothing).await;
        gated!(self, Store::<Value>::hold_back(&*self.memory, peer, events))
    }

    async fn held_back(&self, peer: &NodeId) -> Result<Vec<Refused>, StoreError> {
        gated!(self, Store::<Value>::held_back(&*self.memory, peer))
    }

    async fn release(&self, peer: &NodeId, ids: &[EventId]) -> Result<(), StoreError> {
        gated!(self, Store::<Value>::release(&*self.memory, peer, ids))
    }
}
