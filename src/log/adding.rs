//! The one way into a log for the program's own events: they are given ids and an order, and then wait for
//! the store's answer.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use logux_codecs::{Event, EventId, Timestamp};

use super::AddError;
use super::arriving::without_older;
use super::earlier::Earlier;
use super::inbox::Named;
use super::log::Log;
use crate::entry::{Draft, Entry};
use crate::store::{Append, Change, Edit, IfKnown, RecordChange, StoreError, Which};

/// So often a batch is given to the store, which refuses it while an id of it is taken. As each time twice
/// as many ids are passed over, that is enough for all that there can be.
const MAX_ATTEMPTS: usize = 64;

const NO_ANSWER: &str = "the store gave no answer";

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

/// What is done in the transaction that adds events.
#[derive(Debug, Default)]
pub(super) struct Also {
    /// Records that change.
    pub(super) records: Vec<RecordChange>,
    /// An event with this id is left out if it is gone. Else that is an error.
    pub(super) may_be_gone: Option<EventId>,
    /// That event is cleaned again in the same transaction, and may also be too old.
    pub(super) cleans_it: bool,
}

/// An event to add, and its size.
pub(super) type Measured<E> = (Draft<E>, usize);

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
    keep_last: BTreeMap<usize, Vec<String>>,
    /// Those that are not kept.
    passed_by: Vec<(usize, Arc<Entry<E>>)>,
    /// The places of drafts that are left out, for their event was here before.
    left_out: Vec<usize>,
    also: Also,
    /// How many ids are passed over next, if one is taken.
    step: i64,
}

impl<E: Event> Log<E> {
    /// Adds an event, or a [`Draft`] with more to say, and answers its entry once the store has it.
    ///
    /// For a draft with an id that the log has already, answers the entry that is there. An event that
    /// cannot be sent to every peer is refused: see [`EventLimits`](crate::EventLimits). One that is not kept, as
    /// [`Unreasoned::PassBy`](crate::Unreasoned::PassBy) says, is answered with the position zero, and not looked
    /// for.
    ///
    /// A call that is dropped before it is ready adds the event or does not; where it does, the log goes on as
    /// if the call had been awaited.
    pub async fn add(&self, event: impl Into<Draft<E>>) -> Result<Arc<Entry<E>>, AddError> {
        let (draft, size) = self.check(event.into(), 1, true)?;
        if draft.is_plain() && self.behaviour().keeps(&draft.reasons) {
            return self.add_plain(draft, size).await;
        }
        let mut entries = self.add_checked(vec![(draft, size)], size, Also::default()).await?;
        entries.pop().ok_or_else(|| StoreError::new(NO_ANSWER).into())
    }

    /// Adds what gets its id here and changes nothing else: nearly every event that is added alone.
    async fn add_plain(&self, draft: Draft<E>, size: usize) -> Result<Arc<Entry<E>>, AddError> {
        let room = self.reserve(size).await;
        let answer = {
            let (mut last, now) = (self.last(), self.now());
            let id = self.next_id(&mut last, now)?;
            let entry = draft.into_entry(id, last.next_time(now)).sized(size);
            let append = Append::events(vec![entry]).if_known(IfKnown::AddNone);
            self.submit(append.with_room(room))
        };
        let mut stored = answer.await?;
        if let Some(Some(entry)) = stored.entries.pop() {
            return Ok(entry);
        }
        // Its id is taken.
        let entry = stored.known.pop().ok_or_else(|| StoreError::new(NO_ANSWER))?;
        let draft = Draft { id: None, ..Draft::from_entry(entry) };
        let again = Box::pin(self.add_checked(vec![(draft, size)], size, Also::default()));
        again.await?.pop().ok_or_else(|| StoreError::new(NO_ANSWER).into())
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
        self.add_with(events, Also::default()).await
    }

    /// The same, and more in the same transaction.
    pub(super) async fn add_with<D: Into<Draft<E>>>(
        &self,
        events: impl IntoIterator<Item = D>,
        also: Also,
    ) -> Result<Vec<Arc<Entry<E>>>, AddError> {
        let (drafts, bytes) = self.check_all(events, true)?;
        self.add_checked(drafts, bytes, also).await
    }

    async fn add_checked(
        &self,
        drafts: Vec<Measured<E>>,
        bytes: usize,
        also: Also,
    ) -> Result<Vec<Arc<Entry<E>>>, AddError> {
        if drafts.is_empty() && also.records.is_empty() {
            return Ok(Vec::new());
        }
        let room = self.reserve(bytes).await;
        let (mut batch, mut answer) = {
            let mut last = self.last();
            let mut batch = self.name(&mut last, drafts, also)?;
            if batch.is_nothing() {
                return Ok(self.answers(batch, Vec::new())?);
            }
            let answer = self.submit(batch.append().with_room(room));
            (batch, answer)
        };
        let mut attempts = 0;
        loop {
            let stored = answer.await?;
            if stored.known.is_empty() {
                return Ok(self.answers(batch, stored.entries)?);
            }
            let (gone, too_old) = (&stored.gone, &stored.too_old);
            let gone: HashSet<&EventId> = gone.iter().chain(too_old).collect();
            batch.entries = stored.known;
            // One that is too old may never have been here.
            let is_less = batch.leave_out_what_may_be_gone(&stored.gone, &stored.too_old);
            if let Some((place, id)) = batch.brought_one_of(&gone) {
                return Err(AddError::Gone { place: place + 1, id });
            }
            // Of the ids that were brought there are fewer each time.
            let is_taken = !self.leave_out_what_is_known(&mut batch).await? && !is_less;
            attempts += usize::from(is_taken);
            if attempts == MAX_ATTEMPTS {
                let what = "the store says of every id that it is known";
                return Err(StoreError::new(what).into());
            }
            if batch.is_nothing() {
                return Ok(self.answers(batch, Vec::new())?);
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

    /// Shows an event to the hook, if that is to be done, and measures it.
    fn check(
        &self,
        mut draft: Draft<E>,
        place: usize,
        shows: bool,
    ) -> Result<Measured<E>, AddError> {
        if shows {
            let looked_at = self.behaviour().look_at_draft(&mut draft);
            looked_at.map_err(|reason| AddError::Refused { place, reason })?;
        }
        let size = self.event_limits().check_event(&draft.event, &draft.extra);
        let size = size.map_err(|reason| AddError::Unfit { place, reason })?;
        Ok((draft, size))
    }

    /// The same of many. Answers the sum of their sizes, too.
    pub(super) fn check_all<D: Into<Draft<E>>>(
        &self,
        events: impl IntoIterator<Item = D>,
        shows: bool,
    ) -> Result<(Vec<Measured<E>>, usize), AddError> {
        let events = events.into_iter();
        let (mut drafts, mut bytes) = (Vec::with_capacity(events.size_hint().0), 0_usize);
        for (event, place) in events.zip(1..) {
            let (draft, size) = self.check(event.into(), place, shows)?;
            bytes = bytes.saturating_add(size);
            drafts.push((draft, size));
        }
        Ok((drafts, bytes))
    }

    /// Gives events their ids and times, and leaves it at that.
    pub(super) fn named(&self, events: Vec<Draft<E>>) -> Result<Vec<Named<E>>, AddError> {
        let (drafts, _) = self.check_all(events, false)?;
        let (mut named, now) = (Vec::with_capacity(drafts.len()), self.now());
        let mut last = self.last();
        for (mut draft, size) in drafts {
            let (id, time) = match draft.id.take() {
                Some(id) => {
                    if id.node() == self.node_id() {
                        last.id = id.time().max(last.id);
                    }
                    let time = id.time();
                    (id, time)
                }
                None => (self.next_id(&mut last, now)?, last.next_time(now)),
            };
            let keep_last = std::mem::take(&mut draft.keep_last).into_inner();
            named.push((draft.into_entry(id, time).sized(size), keep_last));
        }
        Ok(named)
    }

    /// An id that no other event gets.
    #[cfg(feature = "app")]
    pub(crate) fn new_id(&self) -> Result<EventId, StoreError> {
        let now = self.now();
        self.next_id(&mut self.last(), now)
    }

    /// Gives each draft an id, unless it brought one, and a time.
    fn name(
        &self,
        last: &mut Last,
        drafts: Vec<Measured<E>>,
        also: Also,
    ) -> Result<Batch<E>, StoreError> {
        let now = self.now();
        let mut batch = Batch::new(drafts.len(), also);
        // The ids that drafts brought, and the place of the first with each.
        let mut brought = BTreeMap::new();
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
            let (key, time) = (id.clone(), id.time());
            batch.keep_last(place, &mut draft);
            if self.push(&mut batch, draft.into_entry(id, time).sized(size), place, true) {
                brought.insert(key, place);
            }
        }
        Ok(batch)
    }

    /// Answers whether the entry is among those that are to be added.
    fn push(&self, batch: &mut Batch<E>, entry: Entry<E>, place: usize, is_brought: bool) -> bool {
        let passes_by = self.behaviour().passes_by(&entry);
        if passes_by {
            batch.passed_by.push((place, Arc::new(entry)));
        } else {
            batch.push(entry, place, is_brought);
        }
        !passes_by
    }

    /// One entry for each draft, once these were added.
    fn answers(
        &self,
        mut batch: Batch<E>,
        added: Vec<Option<Arc<Entry<E>>>>,
    ) -> Result<Vec<Arc<Entry<E>>>, StoreError> {
        for (place, entry) in std::mem::take(&mut batch.passed_by) {
            self.tell_cleaned(&entry);
            batch.there.push((place, entry));
        }
        batch.answers(added)
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
                // It is there, and stays.
                batch.also.may_be_gone.take_if(|id| *id == there.meta.id);
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
    pub(super) fn next_id(&self, last: &mut Last, now: Timestamp) -> Result<EventId, StoreError> {
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
    fn new(count: usize, also: Also) -> Self {
        let (places, there, repeated) = (Vec::new(), Vec::new(), Vec::new());
        let (entries, keep_last) = (Vec::with_capacity(count), BTreeMap::new());
        let (passed_by, left_out) = (Vec::new(), Vec::new());
        Self {
            entries,
            count,
            places,
            there,
            repeated,
            keep_last,
            passed_by,
            left_out,
            also,
            step: 0,
        }
    }

    /// Whether there is nothing to give to the store.
    const fn is_nothing(&self) -> bool {
        self.entries.is_empty() && self.also.records.is_empty()
    }

    /// Notes the reasons of a draft that earlier events lose.
    fn keep_last(&mut self, place: usize, draft: &mut Draft<E>) {
        if !draft.keep_last.is_empty() {
            self.keep_last.insert(place, std::mem::take(&mut draft.keep_last).into_inner());
        }
    }

    /// The place in the call of an entry, and whether its draft brought its id.
    fn place(&self, index: usize) -> (usize, bool) {
        self.places.get(index).copied().unwrap_or((index, false))
    }

    /// Leaves out the event that may be gone, if it is. Answers whether it did.
    fn leave_out_what_may_be_gone(&mut self, gone: &[EventId], too_old: &[EventId]) -> bool {
        let may_be_old = self.also.cleans_it;
        let is_it = |id: &mut EventId| gone.contains(id) || may_be_old && too_old.contains(id);
        let Some(id) = self.also.may_be_gone.take_if(is_it) else { return false };
        let Some(index) = self.entries.iter().position(|entry| entry.meta.id == id) else {
            return false;
        };
        // It brought its id, so there are places.
        self.entries.remove(index);
        let place = self.places.remove(index).0;
        self.left_out = vec![place];
        self.left_out
            .extend(self.repeated.iter().filter(|(_, first)| *first == place).map(|(one, _)| *one));
        self.left_out.sort_unstable();
        true
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
        if self.also.cleans_it {
            let it = self.also.may_be_gone.iter().cloned().collect();
            changes.push(Change { events: Which::Ids(it), edit: Edit::Clean });
        }
        let entries = std::mem::take(&mut self.entries);
        let append = Append::events(entries).if_known(IfKnown::AddNone).and_changes(changes);
        // They are made with the events, or not at all.
        append.and_records(self.also.records.iter().cloned())
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
        for place in self.left_out.into_iter().rev() {
            answers.remove(place);
        }
        let all: Option<Vec<_>> = answers.into_iter().collect();
        all.ok_or_else(|| StoreError::new("the store neither added nor gave back an event"))
    }
}

impl Last {
    /// The time of an event that is made now. It follows the clock, so that a clock that was wrong once
    /// does not make all later times wrong; but where the clock only steps back a little, events stay in
    /// their order.
    pub(super) fn next_time(&mut self, now: Timestamp) -> Timestamp {
        let stepped_back = self.time.since(now);
        if !(0..=SMALL_STEP_MS).contains(&stepped_back) {
            self.time = now;
        }
        self.time
    }
}
