//! What a client is told of its events.

use logux_codecs::Protocol;
use serde_json::json;

use super::route::Route;
use super::undo::Undo;
use super::work::Outcome;
use crate::{Draft, Entry, EventId, EventLimits, Extra, Meta, NodeId, Peer, Value};

/// Why an answer is kept: until its client has it.
pub(super) const ANSWER: &str = "logux/answer";

/// Marks an event that waits and whose client speaks protocol 7: such a client knows it by another text.
const PROTOCOL_7: &str = "logux/protocol-7";

/// Makes answers.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) own: NodeId,
    pub(super) limits: EventLimits,
}

impl Answers {
    /// Notes which protocol the client of an event speaks, while the event waits.
    pub(super) fn mark(meta: &mut Meta, protocol: Protocol) {
        if protocol == Protocol::V7 {
            meta.indexes.push(PROTOCOL_7.to_owned());
        }
    }

    pub(super) fn without_marks(mut draft: Draft<Value>) -> Draft<Value> {
        draft.indexes.retain(|index| index != PROTOCOL_7);
        draft
    }

    /// The event is done. Its client is told, if it has one.
    pub(super) fn done(
        &self,
        entry: &Entry<Value>,
        route: Route,
        added: Vec<Draft<Value>>,
    ) -> Outcome {
        let answers = self.to_client_of(&entry.meta.id, processed(&entry.meta));
        Outcome::Done { route, added, answers }
    }

    /// The event is over and is not for the log: its client gets these, and is told that it is done, by an event with
    /// this id, if it is given, and index.
    pub(super) fn over(
        entry: &Entry<Value>,
        mut answers: Vec<Draft<Value>>,
        id: Option<EventId>,
        index: Option<String>,
    ) -> Outcome {
        let client = entry.meta.id.node().client_id();
        let processed = answer(Draft::new(processed(&entry.meta)), client);
        let processed = id.into_iter().fold(processed, Draft::id);
        answers.push(index.into_iter().fold(processed, Draft::index));
        Outcome::Over { answers, undo: None }
    }

    /// The event is undone. Its client is told, if it has one.
    pub(super) fn undone(&self, entry: &Entry<Value>, undo: Undo) -> Outcome {
        let Entry { event, meta, .. } = entry;
        tracing::info!(id = %meta.id, reason = undo.reason(), cause = undo.cause(), "an event is undone");
        let id = text_of(&meta.id, speaks_7(meta));
        let whole = undo.to_event(&id, Some(event));
        if self.limits.check(&whole, &Extra::new()).is_err() {
            // What is nearly too large for an event does not fit into another one.
            return self.undone_without_action(meta, undo);
        }
        let answers = self.to_client_of(&meta.id, whole);
        Outcome::Over { answers, undo: Some(undo) }
    }

    /// The same, where only its meta is at hand.
    pub(super) fn undone_without_action(&self, meta: &Meta, undo: Undo) -> Outcome {
        let event = undo.to_event(&text_of(&meta.id, speaks_7(meta)), None);
        let answers = self.to_client_of(&meta.id, event);
        Outcome::Over { answers, undo: Some(undo) }
    }

    /// An answer to the client of an event; none where that is this server.
    fn to_client_of(&self, id: &EventId, event: Value) -> Vec<Draft<Value>> {
        let is_own = *id.node() == self.own;
        let answer = (!is_own).then(|| answer(Draft::new(event), id.node().client_id()));
        answer.into_iter().collect()
    }
}

/// What a peer that speaks this protocol is told of an event that was refused before it could wait: the peer that sent
/// it, whoever it says has made it.
pub(super) fn of_refused(id: &EventId, peer: &Peer) -> Draft<Value> {
    let id = text_of(id, peer.protocol == Protocol::V7);
    answer(Draft::new(Undo::denied().to_event(&id, None)), peer.node_id.client_id())
}

/// An event that goes to a client and is kept until it has it.
pub(super) fn answer(draft: Draft<Value>, client: &str) -> Draft<Value> {
    Route::nobody().client(client).draft(draft.reason(ANSWER))
}

fn processed(meta: &Meta) -> Value {
    json!({ "type": "logux/processed", "id": text_of(&meta.id, speaks_7(meta)) })
}

fn speaks_7(meta: &Meta) -> bool {
    meta.indexes.iter().any(|index| index == PROTOCOL_7)
}

/// An id as its client knows it.
fn text_of(id: &EventId, speaks_7: bool) -> String {
    if speaks_7 { id.to_string() } else { id.to_protocol_5() }
}
