//! Why events are kept, and what becomes of those that are not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{FutureExt, StreamExt};
use logux_sync::{
    AddError, Added, Clock, Criteria, Draft, Edit, Effect, Effects, Log, LogOptions, MemoryStore,
    NotAdded, Store, Timestamp, Unreasoned, Value,
};
use serde_json::json;

use crate::stores::{NOW, all, each, each_with, synchronize};

fn draft(number: u64, reasons: &[&str], indexes: &[&str]) -> Draft<u64> {
    let draft = reasons.iter().fold(Draft::new(number), |draft, reason| draft.reason(*reason));
    indexes.iter().fold(draft, |draft, index| draft.index(*index))
}

async fn reasons_of(log: &Log<u64>, position: u64) -> Option<Vec<String>> {
    let before = Added::new(position - 1).unwrap();
    let found = log.entries_after(before, 1).await.unwrap();
    let entry = found.into_iter().find(|entry| entry.meta.added.value() == position)?;
    Some(entry.meta.reasons.to_vec())
}

fn counts(effects: Effects) -> (u64, u64) {
    (effects.edited, effects.cleaned)
}

#[tokio::test]
async fn an_event_is_cleaned_when_its_last_reason_goes_and_one_that_never_had_it_stays() {
    each(async |log: Log<u64>| {
        let drafts = [draft(1, &["a"], &[]), draft(2, &["a", "b"], &[]), draft(3, &[], &[])];
        log.add_batch(drafts).await.unwrap();
        let effects = log.remove_reasons(["a"], Criteria::all()).await.unwrap();
        assert_eq!(counts(effects), (1, 1));
        assert_eq!(all(&log).await, [2, 3]);
        assert_eq!(reasons_of(&log, 2).await.unwrap(), ["b"]);
        // Again, and one that nobody has.
        for reasons in [["a"], ["c"]] {
            let effects = log.remove_reasons(reasons, Criteria::all()).await.unwrap();
            assert_eq!(counts(effects), (0, 0));
        }
        assert_eq!(log.count().await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn several_reasons_are_added_and_removed_at_once() {
    each(async |log: Log<u64>| {
        log.add_batch((1..=600).map(Draft::new)).await.unwrap();
        let effects = log.add_reasons(["a", "b"], Criteria::all()).await.unwrap();
        assert_eq!(counts(effects), (600, 0));
        let effects = log.add_reasons(["a"], Criteria::all()).await.unwrap();
        assert_eq!(counts(effects), (0, 0));
        log.add_reasons(["c"], Criteria::all().added(Added::new(7).unwrap()..)).await.unwrap();
        let effects = log.remove_reasons(["a", "b"], Criteria::all()).await.unwrap();
        assert_eq!(counts(effects), (594, 6));
        assert_eq!(reasons_of(&log, 7).await.unwrap(), ["c"]);
        let none: [String; 0] = [];
        assert_eq!(counts(log.remove_reasons(none, Criteria::all()).await.unwrap()), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn criteria_say_which_events() {
    each(async |log: Log<u64>| {
        let added = log
            .add_batch([
                draft(1, &["r"], &["x"]),
                draft(2, &["r"], &["x", "y"]),
                draft(3, &["r"], &["y"]),
                draft(4, &["r"], &[]),
                draft(5, &[], &["x"]),
            ])
            .await
            .unwrap();
        let at = |number: u64| added[usize::try_from(number).unwrap() - 1].meta.clone();
        let position = |number: u64| Added::new(number).unwrap();
        let all_of = Criteria::all;
        for (criteria, expected) in [
            (all_of(), vec![1, 2, 3, 4]),
            (all_of().index("x"), vec![1, 2]),
            (all_of().not_index("x"), vec![3, 4]),
            (all_of().index("x").not_index("y"), vec![1]),
            (all_of().ids([]), vec![]),
            (all_of().ids([at(2).id, at(4).id, at(5).id]), vec![2, 4]),
            (all_of().ids([at(2).id, at(4).id]).index("y"), vec![2]),
            (all_of().added(position(2)..=position(3)), vec![2, 3]),
            (all_of().added(position(2)..position(3)), vec![2]),
            (all_of().added(..position(1)), vec![]),
            (all_of().added(position(4)..), vec![4]),
            (all_of().older_than(at(3).created()), vec![1, 2]),
            (all_of().younger_than(at(3).created()), vec![4]),
            (all_of().younger_than(at(1).created()).older_than(at(3).created()), vec![2]),
        ] {
            log.add_reasons(["mark"], all_of().index("none")).await.unwrap();
            let marked = log.add_reasons(["mark"], criteria.clone()).await.unwrap();
            let mut found = Vec::new();
            for number in 1..=5 {
                if reasons_of(&log, number).await.unwrap().contains(&"mark".to_owned()) {
                    found.push(number);
                }
            }
            // An event without the reason is among those that get one.
            let with_five: Vec<u64> =
                (1..=5).filter(|number| criteria.matches(&at(*number))).collect();
            assert_eq!(found, with_five, "{criteria:?}");
            assert_eq!(marked.edited, with_five.len() as u64, "{criteria:?}");
            assert_eq!(with_five.into_iter().filter(|n| *n < 5).collect::<Vec<_>>(), expected);
            // Those of one reason only, and the event that never had it stays.
            log.add_reasons(["keep"], all_of()).await.unwrap();
            let removed = log.remove_reasons(["r"], criteria.clone()).await.unwrap();
            assert_eq!(removed.edited, expected.len() as u64, "{criteria:?}");
            log.remove_reasons(["mark"], all_of()).await.unwrap();
            log.add_reasons(["r"], all_of().added(..=position(4))).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn of_events_with_one_reason_the_last_by_creation_is_kept() {
    each(async |log: Log<u64>| {
        let mut cleaned = log.cleaned();
        let first = log.add(Draft::new(1).keep_last("size")).await.unwrap();
        log.add(Draft::new(2).keep_last("size").reason("other")).await.unwrap();
        log.add(Draft::new(3).keep_last("size")).await.unwrap();
        assert_eq!(all(&log).await, [2, 3]);
        assert_eq!(reasons_of(&log, 2).await.unwrap(), ["other"]);
        assert_eq!(cleaned.next().await.unwrap().unwrap(), first);
        // One that was created earlier, and comes late, takes nothing from the last.
        let early = Draft::new(0).keep_last("size").time(logux_sync::Timestamp::new(5).unwrap());
        log.add(early).await.unwrap();
        assert_eq!(all(&log).await, [2, 3, 0]);
        // Of one batch, too.
        log.add_batch([4, 5, 6].map(|n| Draft::new(n).keep_last("size"))).await.unwrap();
        assert_eq!(all(&log).await, [2, 6]);
        assert_eq!(log.last_added().value(), 7);
    })
    .await;
}

#[tokio::test]
async fn an_event_is_edited_as_a_whole_or_not_at_all() {
    each(async |log: Log<u64>| {
        let entry = log.add(draft(1, &["a"], &["x"]).extra("color", "red")).await.unwrap();
        let id = &entry.meta.id;
        let edits = [
            Edit::AddReasons(vec!["b".to_owned()]),
            Edit::SetExtra("color".to_owned(), None),
            Edit::SetExtra("size".to_owned(), Some(json!(3))),
        ];
        assert_eq!(log.edit(id, edits.clone()).await.unwrap(), Some(Effect::Edited));
        assert_eq!(log.edit(id, edits).await.unwrap(), Some(Effect::Nothing));
        let edited = log.by_id(id).await.unwrap().unwrap();
        assert_eq!(edited.meta.reasons, ["a", "b"]);
        assert_eq!(Value::Object(edited.meta.extra.clone().into_inner()), json!({ "size": 3 }));
        assert_eq!((edited.meta.added, edited.event), (entry.meta.added, 1));
        // Whoever had read it still sees what was read.
        assert_eq!(entry.meta.reasons, ["a"]);
        // What no peer could be sent.
        let deep = (0..1_000).fold(json!(1), |inner, _| json!([inner]));
        let unfit = log.edit(id, [Edit::SetExtra("deep".to_owned(), Some(deep))]).await;
        assert!(matches!(unfit, Err(AddError::Unfit { .. })), "{unfit:?}");
        let edit = [Edit::SetReasons(vec!["c".to_owned()])];
        assert_eq!(log.edit(id, edit).await.unwrap(), Some(Effect::Edited));
        let edits = [Edit::SetReasons(Vec::new()), Edit::AddReasons(vec!["d".to_owned()])];
        assert_eq!(log.edit(id, edits).await.unwrap(), Some(Effect::Cleaned));
        assert_eq!(log.edit(id, [Edit::Clean]).await.unwrap(), None);
        assert_eq!(log.count().await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_hook_sees_each_event_before_it_is_added_and_may_refuse_it() {
    let options = || {
        LogOptions::<u64>::new().before_add(|arriving| {
            if *arriving.event() == 13 {
                return Err(NotAdded::new("unlucky"));
            }
            arriving.add_reason(if arriving.event().is_multiple_of(2) { "even" } else { "odd" });
            arriving.add_index("all");
            arriving.add_index("all");
            arriving.set_extra("seen", arriving.source().is_none());
            Ok(())
        })
    };
    each_with(options, async |log: Log<u64>| {
        let added = log.add_batch([1, 2]).await.unwrap();
        assert_eq!(added[0].meta.reasons, ["odd"]);
        assert_eq!(added[1].meta.indexes, ["all"]);
        assert_eq!(added[1].meta.extra["seen"], json!(true));
        match log.add_batch([3, 13, 5]).await {
            Err(AddError::Refused { place: 2, reason }) => {
                assert_eq!(reason.to_string(), "unlucky");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(all(&log).await, [1, 2]);
        let effects = log.remove_reasons(["odd"], Criteria::all()).await.unwrap();
        assert_eq!(counts(effects), (0, 1));
    })
    .await;
}

#[tokio::test]
async fn events_without_reasons_pass_by_where_that_is_wanted() {
    let options = || LogOptions::new().unreasoned(Unreasoned::PassBy);
    each_with(options, async |log: Log<u64>| {
        let mut cleaned = log.cleaned();
        let added = log.add_batch([Draft::new(1), draft(2, &["a"], &[]), Draft::new(3)]).await;
        let added = added.unwrap();
        let positions: Vec<u64> = added.iter().map(|entry| entry.meta.added.value()).collect();
        assert_eq!(positions, [0, 1, 0]);
        assert!(added[0].meta.id < added[1].meta.id && added[1].meta.id < added[2].meta.id);
        let alone = log.add(4).await.unwrap();
        assert_eq!(alone.meta.added, Added::ZERO);
        assert_eq!(all(&log).await, [2]);
        assert_eq!(log.last_added().value(), 1);
        let mut shown = Vec::new();
        while let Some(Some(entry)) = cleaned.next().now_or_never() {
            shown.push(entry.unwrap().event);
        }
        assert_eq!(shown, [1, 3, 4]);
    })
    .await;
}

#[tokio::test]
async fn a_draft_with_an_id_that_passes_by_does_not_stand_for_another() {
    let options = || LogOptions::new().unreasoned(Unreasoned::PassBy);
    each_with(options, async |log: Log<u64>| {
        let id: logux_sync::EventId = "OzcVoWD 10:client".parse().unwrap();
        let drafts = [Draft::new(1).id(id.clone()), draft(2, &["a"], &[]).id(id.clone())];
        let added = log.add_batch(drafts).await.unwrap();
        assert_eq!((added[0].meta.added, added[1].meta.added.value()), (Added::ZERO, 1));
        assert_eq!(all(&log).await, [2]);
        // A call that fails has shown nothing.
        let mut cleaned = log.cleaned();
        log.clean(Criteria::all()).await.unwrap();
        let drafts = [Draft::new(3), draft(4, &["a"], &[]).id(id)];
        assert!(matches!(log.add_batch(drafts).await, Err(AddError::Gone { place: 2, .. })));
        assert_eq!(cleaned.next().await.unwrap().unwrap().event, 2);
        assert!(cleaned.next().now_or_never().is_none());
    })
    .await;
}

#[tokio::test]
async fn an_event_of_a_peer_that_comes_again_does_not_clean_itself() {
    let (time, clock) = crate::stores::clock();
    let options = || {
        LogOptions::<u64>::new().clock(clock.clone()).before_add(|arriving| {
            arriving.keep_last("state");
            Ok(())
        })
    };
    each_with(options, async |log: Log<u64>| {
        // A client whose clock is in the far future: its times are made those of the server as they come.
        let open = async || {
            let ahead = Clock::new(|| Timestamp::new(NOW + 40_000_000_000).unwrap());
            let store: Arc<dyn Store<u64>> = Arc::new(MemoryStore::new());
            Log::open_with("10:client".parse().unwrap(), store, ahead).await.unwrap()
        };
        let client = open().await;
        let entry = client.add(1).await.unwrap();
        synchronize(&log, &client).await;
        time.fetch_add(1_000_000, Ordering::Relaxed);
        // It has lost what it knew of the server, and sends it again.
        let client = open().await;
        client.add(Draft::new(1).id(entry.meta.id.clone())).await.unwrap();
        synchronize(&log, &client).await;
        assert_eq!(all(&log).await, [1]);
    })
    .await;
}

#[tokio::test]
async fn what_a_hook_makes_of_a_peers_event_must_fit_every_peer() {
    let options = || {
        LogOptions::<u64>::new().before_add(|arriving| {
            if *arriving.event() == 2 {
                arriving.set_extra("long", "x".repeat(1 << 20));
            }
            Ok(())
        })
    };
    each_with(options, async |log: Log<u64>| {
        let client = Log::open("10:client".parse().unwrap(), MemoryStore::new()).await.unwrap();
        client.add_batch(1..=3).await.unwrap();
        synchronize(&log, &client).await;
        assert_eq!(all(&log).await, [1, 3]);
        let refused = client.held_back(&"node".parse().unwrap()).await.unwrap();
        assert_eq!(refused.len(), 1);
        assert!(matches!(log.add(2).await, Err(AddError::Unfit { place: 1, .. })));
    })
    .await;
}

#[tokio::test]
async fn followers_and_the_cleaned_are_told_apart_by_type() {
    each(async |log: Log<Value>| {
        let mut renamed = log.follow(Added::ZERO).of_type("rename");
        let mut cleaned = log.cleaned().of_type("rename");
        for event in [json!({ "type": "add" }), json!({ "type": "rename" }), json!("rename")] {
            log.add(Draft::new(event).reason("a")).await.unwrap();
        }
        log.remove_reasons(["a"], Criteria::all().added(..=Added::new(1).unwrap())).await.unwrap();
        assert_eq!(renamed.next().await.unwrap().unwrap().meta.added.value(), 2);
        assert!(renamed.next().now_or_never().is_none());
        log.clean(Criteria::all()).await.unwrap();
        assert_eq!(cleaned.next().await.unwrap().unwrap().meta.added.value(), 2);
        assert!(cleaned.next().now_or_never().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_follower_that_comes_late_passes_what_is_gone_and_waits_behind_it() {
    each(async |log: Log<u64>| {
        log.add_batch((1..=1_000).map(|n| draft(n, &["a"], &[]))).await.unwrap();
        log.remove_reasons(["a"], Criteria::all().added(Added::new(3).unwrap()..)).await.unwrap();
        let mut follow = log.follow(Added::ZERO);
        assert_eq!(follow.next().await.unwrap().unwrap().event, 1);
        assert_eq!(follow.next().await.unwrap().unwrap().event, 2);
        assert!(follow.next().now_or_never().is_none());
        log.add(1_001).await.unwrap();
        let next = follow.next().await.unwrap().unwrap();
        assert_eq!((next.event, next.meta.added.value()), (1_001, 1_001));
    })
    .await;
}

#[tokio::test]
async fn what_was_read_by_followers_is_not_shown_again_once_it_is_changed() {
    each(async |log: Log<u64>| {
        log.add_batch((1..=10).map(|n| draft(n, &["a"], &["x"]))).await.unwrap();
        let read = async |count: usize| -> Vec<(u64, usize)> {
            let follow = log.follow(Added::ZERO).take(count);
            let entries: Vec<_> = follow.map(Result::unwrap).collect().await;
            entries.iter().map(|entry| (entry.event, entry.meta.reasons.len())).collect()
        };
        assert_eq!(read(10).await.len(), 10);
        log.remove_reasons(["a"], Criteria::all().added(..Added::new(5).unwrap())).await.unwrap();
        assert_eq!(read(6).await, [5, 6, 7, 8, 9, 10].map(|n| (n, 1)));
        log.add_reasons(["b"], Criteria::all().added(..Added::new(8).unwrap())).await.unwrap();
        assert_eq!(read(3).await, [5, 6, 7].map(|n| (n, 2)));
    })
    .await;
}
