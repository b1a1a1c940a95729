//! What arrived: past the user's filter, then into the store.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use logux_codecs::{Added, Event, EventId, NodeId, shown};
use logux_transports::rt;

use crate::apart::Refused;
use crate::cursors::Cursors;
use crate::entry::{Entry, Incoming};
use crate::log::{
    AnswerRefused, Choice, CursorKeys, EventHandlers, Fence, Log, News, Received, reset,
};
use crate::store::{RecordChange, StoreError};
use crate::sync::callbacks::Inward;
use crate::sync::error::{Error, with_causes};
use crate::sync::lane::Lane;
use crate::sync::peer::Peer;
use crate::sync::rules::Input;

/// While more bytes than this wait to be stored, nothing further is read.
const MAX_BYTES: usize = 1 << 20;

/// While more messages than this wait, nothing further is read: a codec may have expanded each of them
/// to the longest frame.
const MAX_MESSAGES: usize = 64;

/// What one peer sent, in order. All that waits goes into the store in one transaction.
pub(crate) struct Intake<'a, E> {
    log: Log<E>,
    /// What is to be asked about events before they are stored.
    inward: &'a Inward<E>,
    /// Once it is let in.
    peer: Option<Arc<Peer>>,
    /// What is done with its events, if there are handlers.
    handlers: Option<Arc<EventHandlers<E>>>,
    /// Nothing is stored once this is superseded.
    fence: Fence,
    /// Waits for the user's answer.
    unjudged: Vec<Incoming<E>>,
    judging: Lane<Result<Judged<E>, Error>>,
    /// Waits for the store.
    waiting: Vec<Incoming<E>>,
    /// What the messages that wait had beside, and is refused.
    refused: Vec<Refused>,
    /// Answers what became of the messages.
    storing: Lane<Result<Received, StoreError>>,
    /// Of all that arrived since the last time that all was taken.
    bytes: usize,
    /// Of what is being judged.
    judged_bytes: usize,
    cursor: Option<Move>,
    /// To be noted before the cursor moves on.
    lists: Lists,
    /// What of that is being noted.
    under_way: Lists,
    /// Who the peer says that it is: the cursors are kept under this name.
    node_id: Option<NodeId>,
    /// What the peer calls itself, if it is known by another name: how far it is received is kept under this.
    name: Option<NodeId>,
    /// Where its cursors are kept.
    keys: Option<CursorKeys>,
}

/// What the user said to what arrived.
struct Judged<E> {
    taken: Vec<Incoming<E>>,
    /// What `in_map` made unfit.
    refused: Vec<Refused>,
    /// Among what is stored already was an event of a twin of this node's.
    has_twin: bool,
}

/// What becomes known of what the peer takes.
#[derive(Clone, Default)]
struct Lists {
    /// What it does not take.
    held_back: Vec<Refused>,
    /// What was held back and is taken now.
    released: Vec<EventId>,
}

/// What to do with how far the peer has received this log.
#[derive(Clone, Copy)]
enum Move {
    Advance(Added),
    /// All that is known of it: its log is another one.
    Reset(Cursors),
}

impl<'a, E: Event> Intake<'a, E> {
    pub(crate) fn new(log: Log<E>, inward: &'a Inward<E>, fence: Fence) -> Self {
        Self {
            log,
            inward,
            peer: None,
            handlers: None,
            fence,
            unjudged: Vec::new(),
            judging: Lane::default(),
            waiting: Vec::new(),
            refused: Vec::new(),
            storing: Lane::default(),
            bytes: 0,
            judged_bytes: 0,
            cursor: None,
            lists: Lists::default(),
            under_way: Lists::default(),
            node_id: None,
            name: None,
            keys: None,
        }
    }

    /// The peer is led to this log.
    pub(crate) fn go_on_with(&mut self, log: Log<E>) {
        self.log = log;
    }

    /// The peer has introduced itself: which node it is for this one, and what it calls itself.
    pub(crate) fn introduced(&mut self, node_id: NodeId, name: NodeId) {
        self.keys = Some(CursorKeys::new(&node_id, &name));
        self.name = Some(name).filter(|name| *name != node_id);
        self.node_id = Some(node_id);
    }

    /// From now on events arrive, and the user can be asked about them.
    pub(crate) fn let_in(&mut self, peer: Arc<Peer>) {
        let Inward { inbox, answer, .. } = self.inward;
        if inbox.is_some() || answer.is_some() {
            let inbox = inbox.clone().map(|choose| -> Box<Choice<E>> {
                let peer = Arc::clone(&peer);
                Box::new(move |entry: &mut Entry<E>| choose(entry, &peer))
            });
            let answer = answer.clone().map(|answer| -> Box<AnswerRefused<E>> {
                let peer = Arc::clone(&peer);
                Box::new(move |refused: &Refused| answer(refused, &peer))
            });
            self.handlers = Some(Arc::new(EventHandlers { inbox, answer }));
        }
        self.peer = Some(peer);
    }

    /// Which node the peer is for this one, and what it calls itself.
    pub(crate) fn names(&self) -> Option<(NodeId, NodeId)> {
        let node_id = self.node_id.clone()?;
        let name = self.name.clone().unwrap_or_else(|| node_id.clone());
        Some((node_id, name))
    }

    pub(crate) fn has_room(&self) -> bool {
        self.bytes + self.judged_bytes < MAX_BYTES
            && self.waiting.len() + self.unjudged.len() < MAX_MESSAGES
    }

    /// Counts a frame; frames that hold no events are counted with those that do.
    pub(crate) fn arrived(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    pub(crate) fn store(&mut self, mut received: Incoming<E>) {
        for event in &mut received.set_aside {
            event.unjudged = !self.inward.is_empty();
        }
        if self.inward.is_empty() {
            self.waiting.push(received);
        } else {
            self.unjudged.push(received);
        }
    }

    /// Notes how far the peer has received this log.
    pub(crate) fn advance_sent(&mut self, sent: Added) {
        // What was to be reset stays at zero for now, which only makes events travel again.
        if !matches!(self.cursor, Some(Move::Reset(_))) {
            self.cursor = Some(Move::Advance(sent));
        }
    }

    /// Notes what the peer does not take.
    pub(crate) fn hold_back(&mut self, events: Vec<Refused>) {
        self.lists.held_back.extend(events);
    }

    /// Whether it is not noted yet what the peer does not take.
    pub(crate) fn has_to_hold_back(&self) -> bool {
        !self.lists.held_back.is_empty() || !self.under_way.held_back.is_empty()
    }

    /// Notes that the peer took what it did not take before.
    pub(crate) fn release(&mut self, ids: Vec<EventId>) {
        self.lists.released.extend(ids);
    }

    /// Notes that the peer's log is another one than before.
    pub(crate) fn reset_cursors(&mut self, cursors: Cursors) {
        self.cursor = Some(Move::Reset(cursors));
    }

    /// Begins with what waits for a free lane.
    pub(crate) fn start(&mut self) {
        if self.storing.is_free()
            && let Some(transaction) = self.transaction()
        {
            self.storing.start(transaction);
        }
        if self.judging.is_free()
            && let Some(judgement) = self.judgement()
        {
            self.judging.start(judgement);
        }
    }

    /// What the rules are to know; `None` if that is nothing, but there may be room again.
    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Input<E>>, Error>> {
        self.poll_done(context).map(|done| match done {
            Err(Error::Superseded) => Ok(Some(Input::Superseded)),
            done => done,
        })
    }

    fn poll_done(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Input<E>>, Error>> {
        if let Poll::Ready(stored) = self.storing.poll_result(context) {
            let received = stored?;
            self.under_way = Lists::default();
            return Poll::Ready(Ok(Some(Input::Stored { count: received.messages, received })));
        }
        let judged = ready!(self.judging.poll_result(context));
        self.judged_bytes = 0;
        let Judged { taken, refused, has_twin } = judged?;
        self.waiting.extend(taken);
        self.refused.extend(refused);
        Poll::Ready(Ok(has_twin.then_some(Input::Twin)))
    }

    /// The store has failed, or a newer connection took over: nothing is stored any more.
    pub(crate) fn abandon(&mut self) {
        drop(self.storing.take());
    }

    /// Stores what is under way and what still waits; not what the user was not asked about.
    pub(crate) async fn finish(&mut self) -> Result<(), StoreError> {
        if let Some(under_way) = self.storing.take() {
            under_way.await?;
        }
        self.under_way = Lists::default();
        if let Some(rest) = self.transaction() {
            rest.await?;
        }
        self.under_way = Lists::default();
        Ok(())
    }

    /// Notes what the peer did not take, and what it took after all, although nothing else is stored any more.
    pub(crate) async fn note_lists(&mut self) -> Result<(), StoreError> {
        let Some(node_id) = &self.node_id else { return Ok(()) };
        let Lists { mut held_back, mut released } = std::mem::take(&mut self.under_way);
        held_back.append(&mut self.lists.held_back);
        released.append(&mut self.lists.released);
        if !held_back.is_empty() {
            self.log.hold_back(node_id, held_back).await?;
        }
        if !released.is_empty() {
            self.log.release(node_id, released).await?;
        }
        Ok(())
    }

    /// Asks the user's filter and map about all that arrived.
    fn judgement(&mut self) -> Option<BoxFuture<'static, Result<Judged<E>, Error>>> {
        if self.unjudged.is_empty() {
            return None;
        }
        let (inward, peer) = (self.inward.clone(), Arc::clone(self.peer.as_ref()?));
        self.judged_bytes = std::mem::take(&mut self.bytes);
        let unjudged = std::mem::take(&mut self.unjudged);
        let (log, fence) = (self.log.clone(), self.fence.clone());
        let judgement = async move {
            let (mut taken, mut refused) = (Vec::with_capacity(unjudged.len()), Vec::new());
            let mut has_twin = false;
            for mut received in unjudged {
                if inward.in_order {
                    for entry in std::mem::take(&mut received.entries) {
                        let alone = alone(&peer, entry);
                        let mut alone = inward.apply(alone, &peer).await?;
                        refused.extend(take_out_unfit(&log, &inward, &mut alone.entries));
                        let received = store(&log, &fence, alone).await?;
                        has_twin |= received.has_twin;
                        refused.extend(received.refused);
                    }
                    taken.push(received);
                    continue;
                }
                let mut received = inward.apply(received, &peer).await?;
                refused.extend(take_out_unfit(&log, &inward, &mut received.entries));
                taken.push(received);
            }
            Ok(Judged { taken, refused, has_twin })
        };
        Some(judgement.boxed())
    }

    /// Puts all that waits into the store.
    fn transaction(&mut self) -> Option<BoxFuture<'static, Result<Received, StoreError>>> {
        if self.unjudged.is_empty() {
            self.bytes = 0;
        }
        let Lists { held_back, released } = &self.lists;
        let notes = !held_back.is_empty() || !released.is_empty();
        if self.cursor.is_none() && self.waiting.is_empty() && !notes {
            return None;
        }
        let (node_id, keys) = (self.node_id.clone()?, self.keys.clone()?);
        let lists = std::mem::take(&mut self.lists);
        self.under_way = lists.clone();
        let Lists { held_back, released } = lists;
        let mut news = News {
            fence: self.fence.clone(),
            incoming: None,
            received: Some(keys.received),
            messages: 0,
            refused: std::mem::take(&mut self.refused),
            handlers: self.handlers.clone(),
            held_back,
            released,
            changes: match self.cursor.take() {
                None => Vec::new(),
                Some(Move::Advance(to)) => vec![RecordChange::Raise(keys.sent, to.value())],
                Some(Move::Reset(cursors)) => {
                    let name = self.name.iter();
                    let of_name = name.flat_map(|name| reset(name, Cursors::default()));
                    reset(&node_id, cursors).into_iter().chain(of_name).collect()
                }
            },
        };
        let waiting = std::mem::take(&mut self.waiting);
        news.messages = waiting.len();
        news.incoming = waiting.into_iter().reduce(|mut all, next| {
            all.entries.extend(next.entries);
            all.set_aside.extend(next.set_aside);
            all.refused = match (all.refused, next.refused) {
                (Some(one), Some(other)) => Some(one.into_iter().chain(other).collect()),
                (one, other) => one.or(other),
            };
            all.up_to = next.up_to;
            all
        });
        Some(self.log.keep(&node_id, news))
    }
}

/// An event apart from its message, which moves no cursor.
fn alone<E>(peer: &Peer, entry: Entry<E>) -> Incoming<E> {
    Incoming { entries: vec![entry], ..Incoming::nothing(peer.node_id.clone()) }
}

/// Stores what is left of an event, also if the connection ends meanwhile. Answers what became of it.
async fn store<E: Event>(
    log: &Log<E>,
    fence: &Fence,
    alone: Incoming<E>,
) -> Result<Received, Error> {
    if alone.entries.is_empty() {
        return Ok(Received::default());
    }
    let (log, peer) = (log.clone(), alone.peer.clone());
    let news = News { fence: fence.clone(), incoming: Some(alone), ..News::default() };
    let stored = rt::spawn(async move { log.keep(&peer, news).await }).await;
    let cut = |error| StoreError::new(Box::<dyn std::error::Error + Send + Sync>::from(error));
    Ok(stored.map_err(cut)??)
}

/// Takes out what no peer could be sent any more, after what `in_map` made of it.
fn take_out_unfit<E: Event>(
    log: &Log<E>,
    inward: &Inward<E>,
    entries: &mut Vec<Entry<E>>,
) -> Vec<Refused> {
    let mut refused = Vec::new();
    if inward.map.is_some() {
        entries.retain_mut(|entry| {
            let Entry { event, meta, .. } = &*entry;
            match log.event_limits().check_event(event, &meta.extra) {
                Ok(size) => {
                    entry.set_size(size);
                    true
                }
                Err(unfit) => {
                    let reason =
                        format!("what in_map made of it cannot be sent to every peer: {unfit}");
                    refused.push(Refused::new(meta.id.clone(), reason));
                    false
                }
            }
        });
    }
    refused
}

/// Asks the user about what was set aside of a peer's and can be read now, and adds it. Answers those for
/// which a callback failed, or which `in_map` made unfit: they stay set aside until the peer connects again.
pub(crate) async fn take_up<E: Event>(
    log: Log<E>,
    inward: Inward<E>,
    peer: Arc<Peer>,
) -> Result<Vec<Refused>, Error> {
    let (ids, entries) = log.unjudged(&peer.node_id).await?;
    let (mut judged, mut passed, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (id, entry) in ids.into_iter().zip(entries) {
        let incoming = alone(&peer, entry);
        // The peer has its confirmation long since, so no failure may end the connection.
        match inward.apply(incoming, &peer).await {
            Ok(mut incoming) => {
                let unfit = take_out_unfit(&log, &inward, &mut incoming.entries);
                if unfit.is_empty() {
                    judged.push(id);
                }
                passed.extend(incoming.entries);
                failed.extend(unfit);
            }
            Err(error) => failed.push(Refused::new(id, shown(&with_causes(&error)))),
        }
    }
    log.take_up(&judged, passed).await?;
    Ok(failed)
}
