//! What a log keeps beside its events: how far each peer is, what cannot be read, and what a peer did not
//! take.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use logux_codecs::{Added, Event, EventId, NodeId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use super::HoldBackError;
use super::inbox::Filling;
use super::log::{Log, tomorrow};
use super::options::Choice;
use super::present::Fence;
use crate::apart::{Refused, SetAside};
use crate::cursors::{Cursors, Epoch};
use crate::entry::{Draft, Entry, Incoming};
use crate::store::{
    Answer, Append, Change, Key, PeerRecord, Prefix, Record, RecordChange, StoreError, Stored,
};

/// So many events are held back from one peer, at most.
pub(super) const MAX_HELD_BACK: usize = 10_000;

/// What a peer is told of an event that may have been here once.
pub(super) const TOO_OLD: &str = "it is older than what is remembered here of its node's events that are gone, so it may be one \
                       of those; if it never was here, add it again with a new id";

/// More than this are not looked for one by one.
const MAX_LOOKED_FOR: usize = 16;

/// What of a peer's events is looked at once the store has answered.
struct Expected<E> {
    peer: NodeId,
    /// Those of this node: which they are, and whether it is known why they come back.
    own: Vec<(usize, bool)>,
    passed_by: Vec<Entry<E>>,
    taken: Vec<EventId>,
    outcome: Received,
}

/// What became of the events of a peer, beside those that are in the log now.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// How many messages there were.
    pub(crate) messages: usize,
    /// Those that cannot be read, and are set aside.
    pub(crate) set_aside: Vec<Refused>,
    /// Those that cannot be read, and for which there is no room.
    pub(crate) refused: Vec<Refused>,
    /// There is an event of this node that neither this process nor an earlier one made: told once for each
    /// connection.
    pub(crate) has_twin: bool,
}

/// All that a session has to keep at once.
pub(crate) struct News<E> {
    /// Nothing is kept once it is superseded.
    pub(crate) fence: Fence,
    pub(crate) incoming: Option<Incoming<E>>,
    /// What the peer did not take, to be listed.
    pub(crate) held_back: Vec<Refused>,
    /// What it took after all.
    pub(crate) released: Vec<EventId>,
    /// How far it is, and whether its log is another one.
    pub(crate) changes: Vec<RecordChange>,
    /// The record of how far the peer's log is received, where it is known.
    pub(crate) received: Option<Key>,
    /// How many messages of the peer that is, and what of them is refused already.
    pub(crate) messages: usize,
    pub(crate) refused: Vec<Refused>,
    /// What the session does with events of its own accord. Behind one pointer, as nearly none does.
    pub(crate) handlers: Option<Arc<EventHandlers<E>>>,
}

/// What a session does with the events of its peer.
pub(crate) struct EventHandlers<E> {
    /// Which queues of the inbox they wait in, instead of what the log's options say.
    pub(crate) inbox: Option<Box<Choice<E>>>,
    /// What is added for one that is refused.
    pub(crate) answer: Option<Box<AnswerRefused<E>>>,
}

/// What is added for an event that is refused, in the transaction that lets its message be confirmed.
pub(crate) type AnswerRefused<E> = dyn Fn(&Refused) -> Option<Draft<E>> + Send + Sync;

impl<E> Default for News<E> {
    fn default() -> Self {
        Self {
            fence: Fence::default(),
            incoming: None,
            held_back: Vec::new(),
            released: Vec::new(),
            changes: Vec::new(),
            received: None,
            messages: 0,
            refused: Vec::new(),
            handlers: None,
        }
    }
}

impl<E: Event> Log<E> {
    /// How far the log and that of a peer are in step.
    pub async fn cursors(&self, peer: &NodeId) -> Result<Cursors, StoreError> {
        let mut cursors = Cursors::default();
        for (key, text) in self.records(&Prefix::peer(peer)).await? {
            let damaged = || StoreError::damaged(&key, &text);
            let position = || text.parse().ok().and_then(Added::new).ok_or_else(damaged);
            match key.record() {
                Some(Record::Peer(of, field)) if of == *peer => match field {
                    PeerRecord::Sent => cursors.sent = position()?,
                    PeerRecord::Received => cursors.received = position()?,
                    PeerRecord::ReturnUpTo => cursors.return_up_to = position()?,
                    PeerRecord::Epoch => {
                        cursors.epoch = Some(Epoch::parse(&text).ok_or_else(damaged)?);
                    }
                    PeerRecord::Seen
                    | PeerRecord::SeenByName
                    | PeerRecord::Direct
                    | PeerRecord::Withheld => {}
                },
                _ => {}
            }
        }
        Ok(cursors)
    }

    /// The node that answered when this one last dialled.
    pub(crate) async fn dialled(&self) -> Result<Option<NodeId>, StoreError> {
        let key = Key::dialled();
        let text = self.record(&key).await?;
        let node = |text: String| text.parse().map_err(|_| StoreError::damaged(&key, &text));
        text.map(node).transpose()
    }

    /// Notes which node answered when this one dialled.
    pub(crate) async fn set_dialled(&self, peer: &NodeId) -> Result<(), StoreError> {
        if self.dialled().await?.as_ref() == Some(peer) {
            return Ok(());
        }
        self.change(vec![RecordChange::Put(Key::dialled(), peer.to_string())]).await
    }

    pub(crate) async fn reset_cursors(
        &self,
        peer: &NodeId,
        cursors: Cursors,
    ) -> Result<(), StoreError> {
        self.change(reset(peer, cursors)).await
    }

    pub(crate) async fn set_epoch(&self, peer: &NodeId, epoch: Epoch) -> Result<(), StoreError> {
        let key = Key::peer(peer, PeerRecord::Epoch);
        self.change(vec![RecordChange::Put(key, epoch.to_string())]).await
    }

    async fn change(&self, records: Vec<RecordChange>) -> Result<(), StoreError> {
        self.submit(Append::records(records)).await.map(drop)
    }

    /// Adds what a peer sent, and keeps all that became known of the peer, in one transaction.
    ///
    /// A peer may send back what this node made before it lost its log: such an id is not given again.
    /// That moves ids, never the clock.
    ///
    /// A call that is dropped before it is ready keeps all or nothing.
    ///
    /// No `async fn`: what is kept most often is a number, and takes no more than that.
    pub(crate) fn keep(
        &self,
        peer: &NodeId,
        mut news: News<E>,
    ) -> BoxFuture<'static, Result<Received, StoreError>> {
        let log = self.clone();
        if !news.held_back.is_empty() {
            let peer = peer.clone();
            return async move { log.keep_list(&peer, news).await }.boxed();
        }
        // Only how far the peer has received this log may be forgotten: events then travel again.
        let rises = |change: &RecordChange| matches!(change, RecordChange::Raise(..));
        let may_wait = news.released.is_empty() && news.changes.iter().all(rises);
        let releases =
            news.released.iter().map(|id| RecordChange::Remove(Key::held_back(peer, id)));
        news.changes.extend(releases);
        if news.incoming.is_some() {
            return log.append(news).boxed();
        }
        let News { fence, changes, messages, refused, .. } = news;
        let mut append = Append::records(changes);
        append.may_wait = may_wait;
        async move {
            log.submit_under(&fence, append)?.await?;
            Ok(Received { messages, refused, ..Received::default() })
        }
        .boxed()
    }

    /// The same where the peer did not take events.
    async fn keep_list(self, peer: &NodeId, mut news: News<E>) -> Result<Received, StoreError> {
        let known = self.known(peer);
        // Held until the list is kept, so that what is listed at once is counted.
        let mut count = known.listed().lock().await;
        let held_back = std::mem::take(&mut news.held_back);
        let (counted, list) = match self.list(peer, held_back, *count).await {
            Ok(list) => list,
            Err(error) => {
                // What came is kept whatever the peer takes, and the cursor stays.
                news.changes.clear();
                self.append(news).await?;
                return Err(error.into());
            }
        };
        // Until it is known whether they are listed.
        *count = None;
        let releases =
            news.released.iter().map(|id| RecordChange::Remove(Key::held_back(peer, id)));
        news.changes.extend(list.into_iter().chain(releases));
        let outcome = self.append(news).await?;
        *count = Some(counted);
        Ok(outcome)
    }

    /// Gives the store changes to records, unless the connection is superseded.
    fn submit_under(&self, fence: &Fence, append: Append<E>) -> Result<Answer<E>, StoreError> {
        let _last = self.last();
        if fence.is_superseded() {
            return Err(StoreError::superseded());
        }
        Ok(self.submit(append))
    }

    async fn append(self, mut news: News<E>) -> Result<Received, StoreError> {
        let bytes = news.incoming.iter().flat_map(|incoming| &incoming.entries).map(Entry::size);
        let room = self.reserve(bytes.sum()).await;
        let mut fillings = Vec::new();
        let of_session = news.handlers.as_ref().and_then(|handlers| handlers.inbox.as_deref());
        if let Some(choose) = of_session.or(self.behaviour().inbox.as_deref())
            && let Some(incoming) = &mut news.incoming
        {
            let diverted = self.divert(choose, &mut incoming.entries, &mut news.refused);
            fillings = diverted.boxed().await?;
        }
        let (answer, expected) = self.submit_news(news, room, fillings)?;
        self.outcome(expected, answer.await)
    }

    /// Gives the store what came. Answers what is to be looked at once the store has answered.
    fn submit_news(
        &self,
        news: News<E>,
        room: Option<OwnedSemaphorePermit>,
        fillings: Vec<Filling>,
    ) -> Result<(Answer<E>, Expected<E>), StoreError> {
        let News {
            fence, incoming, mut changes, received, messages, mut refused, handlers, ..
        } = news;
        let incoming = incoming.unwrap_or_else(|| Incoming::nothing(self.node_id().clone()));
        let Incoming { peer, mut entries, set_aside, refused: refused_before, up_to } = incoming;
        if up_to > Added::ZERO {
            // Before what puts something else in its place, because the peer's log is another one.
            let received = received.unwrap_or_else(|| Key::peer(&peer, PeerRecord::Received));
            changes.insert(0, RecordChange::raise(received, up_to));
        }
        changes.extend(fillings.iter().flat_map(|filling| filling.changes.iter().cloned()));
        let (older, passed_by) = self.look_at(&mut entries, &mut refused);
        let answer = handlers.as_ref().and_then(|handlers| handlers.answer.as_deref());
        let answers = answer.map(|answer| {
            let answers = refused_before.iter().flatten().chain(&refused).filter_map(answer);
            self.check_all(answers, false)
        });
        let (answers, _) = answers.transpose().map_err(StoreError::new)?.unwrap_or_default();
        let (set_aside, taken, mut outcome) = self.make_room(set_aside);
        outcome.messages = messages;
        outcome.refused.extend(refused);
        for event in &set_aside {
            let text = self.listed(event)?;
            // One that is set aside already stays as it is.
            changes.push(RecordChange::PutNew(Key::set_aside(&event.meta.id), text));
        }
        let now = self.now();
        let tomorrow = tomorrow(now);
        let mut own = Vec::new();
        let mut last = self.last();
        if fence.is_superseded() {
            self.room().give_back(&taken);
            return Err(StoreError::superseded());
        }
        for (index, Entry { meta, .. }) in entries.iter().enumerate() {
            if meta.id.node() == self.node_id() {
                let time = meta.id.time();
                let is_earlier = last.earlier.may_hold(time, now);
                // One from the far future would make all later ids lie, or end them.
                if time <= tomorrow {
                    last.id = last.id.max(time);
                }
                own.push((index, is_earlier || time > tomorrow));
            }
        }
        for (draft, size) in answers {
            let id = self.next_id(&mut last, now)?;
            entries.push(draft.into_entry(id, last.next_time(now)).sized(size));
        }
        let append = Append::events(entries).and_changes(older).and_records(changes);
        let answer = self.submit_with(append.with_room(room), fillings);
        drop(last);
        Ok((answer, Expected { peer, own, passed_by, taken, outcome }))
    }

    /// What became of what came.
    fn outcome(
        &self,
        expected: Expected<E>,
        stored: Result<Stored<E>, StoreError>,
    ) -> Result<Received, StoreError> {
        let Expected { peer, own, passed_by, taken, mut outcome } = expected;
        let stored = stored.inspect_err(|_| self.room().give_back(&taken))?;
        for entry in passed_by {
            self.tell_cleaned(&Arc::new(entry));
        }
        outcome.refused.extend(stored.too_old.into_iter().map(|id| Refused::new(id, TOO_OLD)));
        let is_of_twin = |(index, is_explained): (usize, bool)| {
            let is_new = stored.entries.get(index).is_some_and(Option::is_some);
            is_new && !is_explained
        };
        let has_twin = own.into_iter().any(is_of_twin);
        outcome.has_twin = has_twin && self.known(&peer).first_sees_twin();
        Ok(outcome)
    }

    /// Shows events to the program before they are added, and takes out what it refuses or does not keep. Answers the
    /// changes to older events that go with adding them, and what is not kept.
    fn look_at(
        &self,
        entries: &mut Vec<Entry<E>>,
        refused: &mut Vec<Refused>,
    ) -> (Vec<Change>, Vec<Entry<E>>) {
        let (behaviour, mut changes, mut passed_by) = (self.behaviour(), Vec::new(), Vec::new());
        if !behaviour.looks_at_events() {
            return (changes, passed_by);
        }
        for mut entry in std::mem::take(entries) {
            match behaviour.look_at_entry(&mut entry) {
                Err(reason) => {
                    refused.push(Refused::new(entry.meta.id.clone(), reason.to_string()));
                }
                Ok(_) if behaviour.passes_by(&entry) => passed_by.push(entry),
                // The program may have set extra keys.
                Ok(older) => match self.event_limits().check_event(&entry.event, &entry.meta.extra)
                {
                    Ok(size) => {
                        entry.set_size(size);
                        changes.extend(older);
                        entries.push(entry);
                    }
                    Err(unfit) => {
                        refused.push(Refused::new(entry.meta.id.clone(), unfit.to_string()));
                    }
                },
            }
        }
        (changes, passed_by)
    }

    /// Counts what is to be set aside. Answers what there is room for, and what of that was not counted before,
    /// and tells of all.
    fn make_room(&self, events: Vec<SetAside>) -> (Vec<SetAside>, Vec<EventId>, Received) {
        let (mut taken, mut received) = (Vec::new(), Received::default());
        let kept = events.into_iter().filter(|event| {
            let mut room = self.room();
            let is_new = !room.holds(&event.meta.id);
            let has_room = room.take(event);
            if has_room && is_new {
                taken.push(event.meta.id.clone());
            }
            let told = Refused::new(event.meta.id.clone(), event.reason.clone());
            let list = if has_room { &mut received.set_aside } else { &mut received.refused };
            list.push(told);
            has_room
        });
        let kept = kept.collect();
        (kept, taken, received)
    }

    /// The events of peers that this program cannot read, oldest first: at most 1,000 with 4 MiB of
    /// each user, with all of its clients and tabs, and 10,000 with 32 MiB in all. Further ones are refused.
    /// Bytes are those of the events and their meta as JSON, and of the reasons. The user is the part of a
    /// node id before the first colon; of a node without one, the node.
    pub async fn set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        self.list_of(&Prefix::set_aside()).await
    }

    /// Gives up events that are set aside.
    pub async fn forget_set_aside(&self, ids: &[EventId]) -> Result<(), StoreError> {
        if !ids.is_empty() {
            self.take_up(ids, Vec::new()).await?;
        }
        Ok(())
    }

    /// The events that a peer did not take, oldest first, with the reasons: they are in this log, and
    /// the peer has them not. At most 10,000: a peer that refuses more ends the connection, and what is not
    /// listed is sent again in the next.
    ///
    /// [`SessionHandle::offer_again`](crate::SessionHandle::offer_again) sends them again. What is
    /// [doubtful](Refused::is_doubtful) is offered by itself, once the peer has taken something else, or
    /// after a minute, and then less and less often, at least each hour.
    pub async fn held_back(&self, peer: &NodeId) -> Result<Vec<Refused>, StoreError> {
        self.list_of(&Prefix::held_back(peer)).await
    }

    /// Why a peer did not take an event, if it is held back from that peer.
    pub(super) async fn held_back_one(
        &self,
        peer: &NodeId,
        id: &EventId,
    ) -> Result<Option<Refused>, StoreError> {
        let key = Key::held_back(peer, id);
        let text = self.record(&key).await?;
        Ok(text.map(|text| numbered(&key, &text)).transpose()?.map(|(_, refused)| refused))
    }

    /// Lists events that a peer did not take. On an error they are not listed, and the cursor must not pass
    /// them.
    pub(crate) async fn hold_back(
        &self,
        peer: &NodeId,
        events: Vec<Refused>,
    ) -> Result<(), StoreError> {
        self.keep(peer, News { held_back: events, ..News::default() }).await.map(drop)
    }

    /// Lists these events no longer: the peer took them, or nobody wants that.
    pub(crate) async fn release(&self, peer: &NodeId, ids: Vec<EventId>) -> Result<(), StoreError> {
        self.keep(peer, News { released: ids, ..News::default() }).await.map(drop)
    }

    /// Answers how many events are listed then, at most, and what lists them. One that is listed already keeps
    /// its place.
    async fn list(
        &self,
        peer: &NodeId,
        events: Vec<Refused>,
        count: Option<usize>,
    ) -> Result<(usize, Vec<RecordChange>), HoldBackError> {
        let of_peer = Prefix::held_back(peer);
        // Few are looked for one by one, for there may be many.
        let mut there: HashMap<EventId, u64> = HashMap::new();
        let count = count.filter(|count| {
            count + events.len() <= MAX_HELD_BACK && events.len() <= MAX_LOOKED_FOR
        });
        let count = if let Some(count) = count {
            for refused in &events {
                let key = Key::held_back(peer, &refused.id);
                if let Some(text) = self.record(&key).await? {
                    there.insert(refused.id.clone(), numbered::<Refused>(&key, &text)?.0);
                }
            }
            count + events.len()
        } else {
            // Counted for the first time, or anew: some may have been listed twice, or taken since.
            let listed = self.numbered::<Refused>(&of_peer).await?;
            there.extend(listed.into_iter().map(|(number, refused)| (refused.id, number)));
            there.len() + events.iter().filter(|event| !there.contains_key(&event.id)).count()
        };
        if count > MAX_HELD_BACK {
            return Err(HoldBackError::Full);
        }
        let change = |refused: Refused| {
            let text = match there.get(&refused.id) {
                Some(number) => to_text(*number, &refused)?,
                None => self.listed(&refused)?,
            };
            Ok(RecordChange::Put(Key::held_back(peer, &refused.id), text))
        };
        let changes: Result<_, StoreError> = events.into_iter().map(change).collect();
        Ok((count, changes?))
    }

    /// The text of a record of a thing that comes last in its list.
    pub(super) fn listed<T: Serialize>(&self, thing: &T) -> Result<String, StoreError> {
        to_text(self.next_number(), thing)
    }

    async fn list_of<T: DeserializeOwned>(&self, prefix: &Prefix) -> Result<Vec<T>, StoreError> {
        let mut list = self.numbered(prefix).await?;
        list.sort_by_key(|(number, _)| *number);
        Ok(list.into_iter().map(|(_, thing)| thing).collect())
    }

    async fn numbered<T: DeserializeOwned>(
        &self,
        prefix: &Prefix,
    ) -> Result<Vec<(u64, T)>, StoreError> {
        let records = self.records(prefix).await?;
        records.into_iter().map(|(key, text)| numbered(&key, &text)).collect()
    }

    /// Whether something of a peer's user is set aside.
    pub(crate) fn sets_aside_some_of(&self, peer: &NodeId) -> bool {
        self.room().holds_some_of(peer)
    }

    /// What is set aside of a peer's client, of any of its tabs, and waits for the filters of a session with
    /// it.
    pub(crate) async fn unjudged(
        &self,
        peer: &NodeId,
    ) -> Result<(Vec<EventId>, Vec<Entry<E>>), StoreError> {
        let events = self.set_aside().await?;
        // A browser has another tab id after each load of the page.
        let is_of_client = |event: &SetAside| {
            event.meta.source.as_ref().is_some_and(|source| source.client_id() == peer.client_id())
        };
        Ok(self.readable(events, |event| event.unjudged && is_of_client(event)))
    }

    /// Those of what is set aside that can be read and added.
    fn readable(
        &self,
        events: Vec<SetAside>,
        is_wanted: impl Fn(&SetAside) -> bool,
    ) -> (Vec<EventId>, Vec<Entry<E>>) {
        let read = |SetAside { event, meta, .. }: SetAside| {
            let event = E::deserialize(&event).ok()?;
            let size = self.event_limits().check_event(&event, &meta.extra).ok()?;
            Some((meta.id.clone(), Entry::new(event, meta).sized(size)))
        };
        events.into_iter().filter(is_wanted).filter_map(read).unzip()
    }

    /// Finds room for what an earlier process has set aside, and adds what can be read now without asking
    /// anybody.
    pub(super) async fn take_up_what_can_be_read(&self) -> Result<(), StoreError> {
        let set_aside = self.set_aside().await?;
        for event in &set_aside {
            // What is there has its room.
            self.room().take(event);
        }
        let (ids, entries) = self.readable(set_aside, |event| !event.unjudged);
        self.take_up(&ids, entries).await
    }

    /// Adds these entries, which were set aside, and then sets aside no longer what has these ids.
    pub(crate) async fn take_up(
        &self,
        ids: &[EventId],
        entries: Vec<Entry<E>>,
    ) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let (mut entries, mut refused) = (entries, Vec::new());
        let (older, passed_by) = self.look_at(&mut entries, &mut refused);
        // What the program refuses stays set aside, for nobody else has it.
        let refused: HashSet<EventId> = refused.into_iter().map(|refused| refused.id).collect();
        let ids: Vec<_> = ids.iter().filter(|id| !refused.contains(id)).cloned().collect();
        let room = self.reserve(entries.iter().map(Entry::size).sum()).await;
        let append = Append::events(entries).and_changes(older).with_room(room);
        // Ids that are given meanwhile have positions in their order.
        let answer = {
            let _last = self.last();
            self.submit(append)
        };
        let stored = answer.await?;
        for entry in passed_by {
            self.tell_cleaned(&Arc::new(entry));
        }
        // Those that are too old stay, for nobody else has them. The others are in the log now: if this ends here, they
        // are known the next time.
        let ids: Vec<_> = ids.into_iter().filter(|id| !stored.too_old.contains(id)).collect();
        let removed = ids.iter().map(|id| RecordChange::Remove(Key::set_aside(id))).collect();
        self.change(removed).await?;
        self.room().give_back(&ids);
        Ok(())
    }
}

/// What puts these in the place of all that is known of a peer, because its log is another one than before.
pub(crate) fn reset(peer: &NodeId, cursors: Cursors) -> Vec<RecordChange> {
    let Cursors { sent, received, return_up_to, epoch } = cursors;
    let number = |field, position: Added| {
        RecordChange::Put(Key::peer(peer, field), position.value().to_string())
    };
    let key = Key::peer(peer, PeerRecord::Epoch);
    vec![
        number(PeerRecord::Sent, sent),
        number(PeerRecord::Received, received),
        number(PeerRecord::ReturnUpTo, return_up_to),
        match epoch {
            Some(epoch) => RecordChange::Put(key, epoch.to_string()),
            None => RecordChange::Remove(key),
        },
    ]
}

/// The records that change most often: how far a peer has received this log, and how far that of the node that
/// the peer calls itself is received.
#[derive(Clone, Debug)]
pub(crate) struct CursorKeys {
    pub(crate) sent: Key,
    pub(crate) received: Key,
}

impl CursorKeys {
    pub(crate) fn new(peer: &NodeId, name: &NodeId) -> Self {
        let (sent, received) = (PeerRecord::Sent, PeerRecord::Received);
        Self { sent: Key::peer(peer, sent), received: Key::peer(name, received) }
    }
}

fn numbered<T: DeserializeOwned>(key: &Key, text: &str) -> Result<(u64, T), StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::damaged(key, text))
}

fn to_text<T: Serialize>(number: u64, thing: &T) -> Result<String, StoreError> {
    serde_json::to_string(&(number, thing)).map_err(StoreError::new)
}
