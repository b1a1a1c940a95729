//! The one way into a log for the program's own events: they are given ids and an order, and then wait for
//! the store's answer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use logux_codecs::{Event, EventId, Timestamp};

use super::AddError;
use super::arriving::without_older;
use super::earlier::Earlier;
use super::log::Log;
use crate::entry::{Draft, Entry};
use crate::store::{Append, IfKnown, RecordChange, StoreError};

/// So often a batch is given to the store, which refuses it while an id of it is taken. As each time twice
/// as many ids are passed over, that is enough for all that there can be.
const MAX_ATTEMPTS: usize = 64;

/// A clock that is corrected by no more than this many milliseconds does not move times back.
const SMALL_STEP_MS: i64 = 1_000;

/// What this node gave to its own events last.
#[derive(Debug)]
pub(super) struct Last {
    /// The time in the last id. It may run ahead of the clock: ids do not repeat.
    pub(super) id: Timestamp,
    /// The time of the last event. It follows the clock.
    pub(super) time: Timestamp,
    /// What it gave before the log was opened.
    pub(super) earlier: Earlier,
}

/// An event to add, and its size.
type Measured<E> = (Draft<E>, usize);

/// Events that are added in one transaction of the store.
#[derive(Debug)]
struct Batch<E> {
    entries: Vec<Entry<E>>,
    /// How many drafts the call has.
    count: usize,
    /// For each entry: its place in the call, and whether its draft brought its id, which may be known.
    /// Empty where no draft of the call brought one: then each entry is in its place.
    places: Vec<(usize, bool)>,
    /// What is known already, with its place in the call.
    there: Vec<(usize, Arc<Entry<E>>)>,
    /// The places of drafts with an id that an earlier draft of the call brought, and its place.
    repeated: Vec<(usize, usize)>,
    /// By place in the call: reasons that earlier events lose.
    keep_last: HashMap<usize, Vec<String>>,
    /// Records that change in the same transaction.
    records: Vec<RecordChange>,
    /// How many ids are passed over next, if one is taken.
    step: i64,
}

impl<E: Event> Log<E> {
    /// Adds an event, or a [`Draft`] with more to say, and answers its entry once the store has it.
    ///
    /// For a draft with an id that the log has already, answers the entry that is there. An event that
    /// cannot be sent to every peer is refused: see [`EventLimits`](crate::EventLimits). One that is not kept, as
    /// [`Unreasoned::PassBy`](crate::Unreasoned::PassBy) says, is answered with the position zero.
    ///
    /// A call that is dropped before it is ready adds the event or does not; where it does, the log goes on as
    /// if the call had been awaited.
    pub async fn add(&self, event: impl Into<Draft<E>>) -> Result<Arc<Entry<E>>, AddError> {
        let mut entries = self.add_batch([event.into()]).await?;
        let no_answer = || StoreError::new("the store gave no answer");
        Ok(entries.pop().ok_or_else(no_answer)?)
    }

    /// Adds events in one transaction of the store, in their order; all of them or, on an error,
    /// none. Answers as [`add`](Self::add) does, one entry for each draft.
    ///
    /// Calls that run at once share the transactions of a store that takes its time. Where 16 MiB of events
    /// wait for the store already, waits until there is room.
    pub async fn add_batch<D: Into<Draft<E>>>(
        &self,
        events: impl IntoIterator<Item = D>,
    ) -> Result<Vec<Arc<Entry<E>>>, AddError> {
        self.add_with(events, Vec::new()).await
    }

    /// The same, and changes records in the same transaction.
    pub(super) async fn add_with<D: Into<Draft<E>>>(
        &self,
        events: impl IntoIterator<Item = D>,
        records: Vec<RecordChange>,
    ) -> Result<Vec<Arc<Entry<E>>>, AddError> {
        let (drafts, bytes) = self.check(events)?;
        if drafts.is_empty() && records.is_empty() {
            return Ok(Vec::new());
        }
        let room = self.reserve(bytes).await;
        let (mut batch, mut answer) = {
            let mut last = self.last();
            let mut batch = self.name(&mut last, drafts, records)?;
            if batch.is_nothing() {
                return Ok(batch.answers(Vec::new())?);
            }
            let answer = self.submit(batch.append().with_room(room));
            (batch, answer)
        };
        let mut attempts = 0;
        loop {
            let stored = answer.await?;
            if stored.known.is_empty() {
                return Ok(batch.answers(stored.entries)?);
            }
            let (gone, too_old) = (&stored.gone, &stored.too_old);
            let gone: HashSet<&EventId> = gone.iter().chain(too_old).collect();
            batch.entries = stored.known;
            if let Some((place, id)) = batch.brought_one_of(&gone) {
                return Err(AddError::Gone { place: place + 1, id });
            }
            // Of the ids that were brought there are fewer each time.
            let is_taken = !self.leave_out_what_is_known(&mut batch).await?;
            attempts += usize::from(is_taken);
            if attempts == MAX_ATTEMPTS {
                let what = "the store says of every id that it is known";
                return Err(StoreError::new(what).into());
            }
            if batch.is_nothing() {
                return Ok(batch.answers(Vec::new())?);
            }
            let room = self.reserve(bytes).await;
            let mut last = self.last();
            self.name_again(&mut last, &mut batch)?;
            if is_taken {
                batch.step = batch.step.saturating_mul(2).saturating_add(1);
            }
            answer = self.submit(batch.append().with_room(room));
        }
    }

    /// Shows events to the hook, and measures them. Answers them with their sizes, and their sum.
    fn check<D: Into<Draft<E>>>(
        &self,
        events: impl IntoIterator<Item = D>,
    ) -> Result<(Vec<Measured<E>>, usize), AddError> {
        let events = events.into_iter();
        let (mut drafts, mut bytes) = (Vec::with_capacity(events.size_hint().0), 0_usize);
        for (event, place) in events.zip(1..) {
            let mut draft: Draft<E> = event.into();
            let looked_at = self.behaviour().look_at_draft(&mut draft);
            looked_at.map_err(|reason| AddError::Refused { place, reason })?;
            let checked = self.event_limits().check_event(&draft.event, &draft.extra);
            let size = checked.map_err(|reason| AddError::Unfit { place, reason })?;
            bytes = bytes.saturating_add(size);
            drafts.push((draft, size));
        }
        Ok((drafts, bytes))
    }

    /// Gives events their ids and times, and leaves it at that.
    pub(super) fn named(&self, events: Vec<Draft<E>>) -> Result<Vec<Entry<E>>, AddError> {
        let (drafts, _) = self.check(events)?;
        let (mut entries, now) = (Vec::with_capacity(drafts.len()), self.now());
        let mut last = self.last();
        for (mut draft, size) in drafts {
            let (id, time) = match draft.id.take() {
                Some(id) => {
                    let time = id.time();
                    (id, time)
                }
                None => (self.next_id(&mut last, now)?, last.next_time(now)),
            };
            entries.push(draft.into_entry(id, time).sized(size));
        }
        Ok(entries)
    }

    /// Gives each draft an id, unless it brought one, and a time.
    fn name(
        &self,
        last: &mut Last,
        drafts: Vec<Measured<E>>,
        records: Vec<RecordChange>,
    ) -> Result<Batch<E>, StoreError> {
        let now = self.now();
        let mut batch = Batch::new(drafts.len(), records);
        // The ids that drafts brought, and the place of the first with each.
        let mut brought = HashMap::new();
        for (place, (mut draft, size)) in drafts.into_iter().enumerate() {
            let Some(id) = draft.id.take() else {
                let id = self.next_id(last, now)?;
                batch.keep_last(place, &mut draft);
                let entry = draft.into_entry(id, last.next_time(now)).sized(size);
                self.push(&mut batch, entry, place, false);
                continue;
            };
            if let Some(&first) = brought.get(&id) {
                batch.repeated.push((place, first));
                continue;
            }
            // An id of this node that its program brings along must not be given again.
            if id.node() == self.node_id() {
                last.id = id.time().max(last.id);
            }
            brought.insert(id.clone(), place);
            let time = id.time();
            batch.keep_last(place, &mut draft);
            self.push(&mut batch, draft.into_entry(id, time).sized(size), place, true);
        }
        Ok(batch)
    }

    fn push(&self, batch: &mut Batch<E>, entry: Entry<E>, place: usize, is_brought: bool) {
        if self.behaviour().passes_by(&entry) {
            let entry = Arc::new(entry);
            self.tell_cleaned(&entry);
            batch.there.push((place, entry));
        } else {
            batch.push(entry, place, is_brought);
        }
    }

    /// Takes out of a batch that was refused what the log has under an id that a draft brought. Answers
    /// whether there was something.
    async fn leave_out_what_is_known(&self, batch: &mut Batch<E>) -> Result<bool, StoreError> {
        if batch.places.is_empty() {
            return Ok(false);
        }
        let before = batch.entries.len();
        let entries = std::mem::take(&mut batch.entries);
        let places = std::mem::take(&mut batch.places);
        let ids: Vec<_> = entries.iter().map(|entry| entry.meta.id.clone()).collect();
        let known = self.by_ids(&ids).await?;
        for ((entry, (place, is_brought)), there) in entries.into_iter().zip(places).zip(known) {
            if let Some(there) = there.filter(|_| is_brought) {
                batch.there.push((place, there));
            } else {
                batch.entries.push(entry);
                batch.places.push((place, is_brought));
            }
        }
        Ok(batch.entries.len() < before)
    }

    /// Gives other ids to a batch that was refused: other events may have got later ones meanwhile. Where one
    /// that was given is taken, more are passed over each time, for a row of those may be long.
    fn name_again(&self, last: &mut Last, batch: &mut Batch<E>) -> Result<(), StoreError> {
        last.id = last.id.shifted(batch.step).unwrap_or(last.id);
        let now = self.now();
        for (index, entry) in batch.entries.iter_mut().enumerate() {
            if !batch.places.get(index).is_some_and(|(_, is_brought)| *is_brought) {
                entry.meta.id = self.next_id(last, now)?;
            }
        }
        Ok(())
    }

    /// The next id: later than the last one, whatever the clock does.
    fn next_id(&self, last: &mut Last, now: Timestamp) -> Result<EventId, StoreError> {
        last.id = match last.id.shifted(1) {
            Some(next) => next.max(now),
            // After the last id that there can be, those that are free.
            None if now < last.id => now,
            None => return Err(StoreError::new("there are no more ids")),
        };
        Ok(EventId::new(last.id, self.node_id().clone()))
    }
}

impl<E> Batch<E> {
    fn new(count: usize, records: Vec<RecordChange>) -> Self {
        let (places, there, repeated) = (Vec::new(), Vec::new(), Vec::new());
        let (entries, keep_last) = (Vec::with_capacity(count), HashMap::new());
        Self { entries, count, places, there, repeated, keep_last, records, step: 0 }
    }

    /// Whether there is nothing to give to the store.
    const fn is_nothing(&self) -> bool {
        self.entries.is_empty() && self.records.is_empty()
    }

    /// Notes the reasons of a draft that earlier events lose.
    fn keep_last(&mut self, place: usize, draft: &mut Draft<E>) {
        if !draft.keep_last.is_empty() {
            self.keep_last.insert(place, std::mem::take(&mut draft.keep_last));
        }
    }

    /// The place in the call of an entry, and whether its draft brought its id.
    fn place(&self, index: usize) -> (usize, bool) {
        self.places.get(index).copied().unwrap_or((index, false))
    }

    /// A draft that brought one of these ids: its place, and the id.
    fn brought_one_of(&self, ids: &HashSet<&EventId>) -> Option<(usize, EventId)> {
        let mut entries = self.entries.iter().enumerate();
        entries.find_map(|(index, entry)| {
            let (place, is_brought) = self.place(index);
            let id = &entry.meta.id;
            (is_brought && ids.contains(id)).then(|| (place, id.clone()))
        })
    }

    /// What the store is given. The entries come back if it refuses them.
    fn append(&mut self) -> Append<E> {
        let mut changes = Vec::new();
        if !self.keep_last.is_empty() {
            for (index, entry) in self.entries.iter().enumerate() {
                let reasons = self.keep_last.get(&self.place(index).0).into_iter().flatten();
                changes.extend(reasons.map(|reason| without_older(reason.clone(), entry)));
            }
        }
        let entries = std::mem::take(&mut self.entries);
        let append = Append::events(entries).if_known(IfKnown::AddNone).and_changes(changes);
        // They are made with the events, or not at all.
        append.and_records(self.records.iter().cloned())
    }

    fn push(&mut self, entry: Entry<E>, place: usize, is_brought: bool) {
        if is_brought || !self.places.is_empty() || place != self.entries.len() {
            let before = self.places.len()..self.entries.len();
            self.places.extend(before.map(|place| (place, false)));
            self.places.push((place, is_brought));
        }
        self.entries.push(entry);
    }

    /// One entry for each draft, once these were added.
    fn answers(self, added: Vec<Option<Arc<Entry<E>>>>) -> Result<Vec<Arc<Entry<E>>>, StoreError> {
        let mut answers = added;
        if answers.len() != self.count || !self.places.is_empty() || !self.there.is_empty() {
            let added = std::mem::replace(&mut answers, vec![None; self.count]);
            for ((place, _), entry) in self.places.into_iter().zip(added) {
                answers[place] = entry;
            }
            for (place, entry) in self.there {
                answers[place] = Some(entry);
            }
            for (place, first) in self.repeated {
                let answer = answers[first].clone();
                answers[place] = answer;
            }
        }
        let all: Option<Vec<_>> = answers.into_iter().collect();
        all.ok_or_else(|| StoreError::new("the store neither added nor gave back an event"))
    }
}

impl Last {
    /// The time of an event that is made now. It follows the clock, so that a clock that was wrong once
    /// does not make all later times wrong; but where the clock only steps back a little, events stay in
    /// their order.
    fn next_time(&mut self, now: Timestamp) -> Timestamp {
        let stepped_back = self.time.since(now);
        if !(0..=SMALL_STEP_MS).contains(&stepped_back) {
            self.time = now;
        }
        self.time
    }
}
