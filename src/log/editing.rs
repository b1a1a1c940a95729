//! What becomes of events that are in a log: their reasons, and their end.

use logux_codecs::{Added, Event, EventId, NodeId};

use super::criteria::Criteria;
use super::error::AddError;
use super::log::Log;
use super::{inbox, room};
use crate::entry::Meta;
use crate::store::{
    Append, Change, Edit, Effect, Key, Label, Order, Page, Prefix, Query, Record, RecordChange,
    StoreError, Which,
};

/// How many events a call has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Effects {
    /// They are there, with another meta than before.
    pub edited: u64,
    /// They are gone.
    pub cleaned: u64,
}

/// So many events are changed in one transaction, at most.
const PAGE: Page = Page::new(256);

impl<E: Event> Log<E> {
    /// Adds reasons to events.
    ///
    /// Changes a few hundred events per transaction, and no event that is added meanwhile. If the call fails, or is
    /// dropped before it is ready, some events are changed and others are not; repeat it to change the rest.
    pub async fn add_reasons<R: Into<String>>(
        &self,
        reasons: impl IntoIterator<Item = R>,
        criteria: Criteria,
    ) -> Result<Effects, StoreError> {
        let reasons: Vec<String> = reasons.into_iter().map(Into::into).collect();
        if reasons.is_empty() {
            return Ok(Effects::default());
        }
        self.change_events(None, &criteria, &Edit::AddReasons(reasons)).await
    }

    /// Takes reasons from events. An event that loses its last reason is cleaned. An event that had none of these
    /// reasons does not change.
    ///
    /// A peer that has not received a cleaned event yet will not receive it. Transactions as with
    /// [`add_reasons`](Self::add_reasons).
    pub async fn remove_reasons<R: Into<String>>(
        &self,
        reasons: impl IntoIterator<Item = R>,
        criteria: Criteria,
    ) -> Result<Effects, StoreError> {
        let reasons: Vec<String> = reasons.into_iter().map(Into::into).collect();
        let mut all = Effects::default();
        for reason in &reasons {
            let edit = Edit::RemoveReasons(reasons.clone());
            let label = Some(Label::Reason(reason.clone()));
            all.count(self.change_events(label, &criteria, &edit).await?);
        }
        Ok(all)
    }

    /// Cleans events, whatever their reasons are. Late copies of them are not added again, as far as the log
    /// [remembers](crate::LogOptions::remember). Transactions as with [`add_reasons`](Self::add_reasons).
    pub async fn clean(&self, criteria: Criteria) -> Result<Effects, StoreError> {
        self.change_events(None, &criteria, &Edit::Clean).await
    }

    /// Erases a user. This cleans all events that the user's nodes made, drops the user's events that are set aside or
    /// wait in an inbox, and forgets the cursors and held-back lists of the user's nodes. The user is the part of a
    /// node id before the first colon; a node without a colon is a user of its own.
    ///
    /// Refuse the user's connections first, because a live session writes its cursors again. A session or a consumer
    /// may still send or deliver events that it has already read. Other peers are not told: to have them erase the
    /// events, too, add an event of your own that says so. If a peer sends an erased event again, it is confirmed and
    /// not added. For that the log remembers the ids, which hold the user's name; the name also stays in the list of
    /// node names.
    ///
    /// Reads the whole log. Transactions as with [`add_reasons`](Self::add_reasons).
    pub async fn erase_user(&self, user: &str) -> Result<Effects, StoreError> {
        let is_of_user = |node: &NodeId| room::user(node) == user;
        let came_from = |meta: &Meta| {
            is_of_user(meta.id.node()) || meta.source.as_ref().is_some_and(is_of_user)
        };
        // What waits comes first: it may be added meanwhile, and is found then.
        let set_aside = self.set_aside().await?;
        let set_aside = set_aside.into_iter().filter(|event| came_from(&event.meta));
        let set_aside: Vec<_> = set_aside.map(|event| event.meta.id).collect();
        self.forget_set_aside(&set_aside).await?;
        for prefix in [Prefix::peers(), Prefix::all_held_back(), Prefix::inboxes()] {
            let mut after = None;
            loop {
                let records = self.some_records(&prefix, after.as_ref(), PAGE.events).await?;
                let Some((last, _)) = records.last() else { break };
                after = Some(last.clone());
                let is_about_user = |(key, text): &(Key, String)| match key.record() {
                    Some(Record::Peer(node, _)) => is_of_user(&node),
                    Some(Record::HeldBack(node, id)) => is_of_user(&node) || is_of_user(id.node()),
                    // Of one that cannot be read, the id says whose it is.
                    Some(Record::Inbox(_, id)) => inbox::meta(text)
                        .map_or_else(|| is_of_user(id.node()), |meta| came_from(&meta)),
                    _ => false,
                };
                let about_user = records.into_iter().filter(is_about_user);
                let removed: Vec<_> =
                    about_user.map(|(key, _)| RecordChange::Remove(key)).collect();
                if !removed.is_empty() {
                    self.submit(Append::records(removed)).await?;
                }
            }
        }
        if self.dialled().await?.is_some_and(|node| is_of_user(&node)) {
            let removed = vec![RecordChange::Remove(Key::dialled())];
            self.submit(Append::records(removed)).await?;
        }
        let mut all = Effects::default();
        let (end, mut query) = (self.last_added(), Query::added(Added::ZERO));
        loop {
            let page = self.read(query.clone(), PAGE).await?;
            let Some(last) = page.last().map(|last| last.meta.added) else { break };
            let of_user = page.iter().filter(|entry| is_of_user(entry.meta.id.node()));
            let positions = of_user.map(|entry| entry.meta.added).collect();
            all.count(self.change_at(positions, &Edit::Clean).await?);
            if last >= end {
                break;
            }
            query.order = Order::Added(Some(last));
        }
        Ok(all)
    }

    /// Changes the reasons or the extra keys of an event in one transaction. Answers what became of the event, or
    /// `None` if there is no event with this id. Nothing else of an event can change, and nodes that already have the
    /// event are not told.
    ///
    /// If the call is dropped before it is ready, either all edits are made or none.
    pub async fn edit(
        &self,
        id: &EventId,
        edits: impl IntoIterator<Item = Edit>,
    ) -> Result<Option<Effect>, AddError> {
        let Some(entry) = self.by_id(id).await? else { return Ok(None) };
        let edits: Vec<Edit> = edits.into_iter().collect();
        if edits.iter().any(|edit| matches!(edit, Edit::SetExtra(..))) {
            let mut meta = entry.meta.clone();
            for edit in &edits {
                let _ = edit.apply(&mut meta);
            }
            let checked = self.event_limits().check_event(&entry.event, &meta.extra);
            checked.map_err(|reason| AddError::Unfit { place: 1, reason })?;
        }
        let at = Which::At(vec![entry.meta.added]);
        // An event that nobody has is changed in its place.
        drop(entry);
        let changes = edits.into_iter().map(|edit| Change { events: at.clone(), edit });
        let stored = self.submit(Append::changes(changes.collect())).await?;
        if stored.changed.is_empty() && self.by_id(id).await?.is_none() {
            return Ok(None);
        }
        let effects = stored.changed.into_iter().map(|(_, effect)| effect);
        Ok(Some(effects.fold(Effect::Nothing, |all, effect| match (all, effect) {
            (Effect::Cleaned, _) | (_, Effect::Nothing) => all,
            _ => effect,
        })))
    }

    /// Changes events page by page; `label` is what all of them have.
    pub(super) async fn change_events(
        &self,
        label: Option<Label>,
        criteria: &Criteria,
        edit: &Edit,
    ) -> Result<Effects, StoreError> {
        let mut all = Effects::default();
        if let Some(ids) = &criteria.ids {
            for ids in ids.chunks(PAGE.events) {
                let found = self.by_ids(ids).await?.into_iter().flatten();
                let positions = found.filter(|entry| criteria.matches_but_id(&entry.meta));
                let positions = positions.map(|entry| entry.meta.added).collect();
                all.count(self.change_at(positions, edit).await?);
            }
            return Ok(all);
        }
        let before = criteria.min_added.and_then(|first| first.value().checked_sub(1));
        let index = || criteria.index.clone().map(Label::Index);
        let mut query = Query::added(before.and_then(Added::new).unwrap_or(Added::ZERO));
        query.label = label.or_else(index);
        // What is added while this runs need not be looked at, or it might never end.
        let end = criteria.max_added.unwrap_or_else(|| self.last_added()).min(self.last_added());
        loop {
            let page = self.read(query.clone(), PAGE).await?;
            let Some(last) = page.last().map(|last| last.meta.added) else { return Ok(all) };
            let matching = page
                .iter()
                .filter(|entry| entry.meta.added <= end && criteria.matches_but_id(&entry.meta));
            let positions = matching.map(|entry| entry.meta.added).collect();
            // Events that nobody has are changed in their places.
            drop(page);
            all.count(self.change_at(positions, edit).await?);
            if last >= end {
                return Ok(all);
            }
            query.order = Order::Added(Some(last));
        }
    }

    pub(crate) async fn change_at(
        &self,
        positions: Vec<Added>,
        edit: &Edit,
    ) -> Result<Effects, StoreError> {
        if positions.is_empty() {
            return Ok(Effects::default());
        }
        let change = Change { events: Which::At(positions), edit: edit.clone() };
        let stored = self.submit(Append::changes(vec![change])).await?;
        let mut effects = Effects::default();
        for (_, effect) in stored.changed {
            match effect {
                Effect::Nothing => {}
                Effect::Edited => effects.edited += 1,
                Effect::Cleaned => effects.cleaned += 1,
            }
        }
        Ok(effects)
    }
}

impl Effects {
    pub(super) fn count(&mut self, other: Self) {
        self.edited += other.edited;
        self.cleaned += other.cleaned;
    }
}
