//! Events by order, index, reason and type.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use logux_sync::{Draft, Entries, Entry, Log, Page, Timestamp, Value};
use serde_json::json;

use crate::stores::{each, events};

/// 600 events, created in another order than that in which they are added.
async fn fill(log: &Log<u64>) {
    let drafts = (1..=600_u64).map(|number| {
        let time = Timestamp::new(number * 7 % 601).unwrap();
        let draft = Draft::new(number).time(time).index(format!("mod/{}", number % 3));
        if number.is_multiple_of(2) { draft.reason("even") } else { draft }
    });
    log.add_batch(drafts).await.unwrap();
}

async fn numbers(entries: Entries<u64>) -> Vec<u64> {
    events(&entries.stream().try_collect::<Vec<_>>().await.unwrap())
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_by_key(|number| number * 7 % 601);
    numbers
}

fn reversed(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.reverse();
    numbers
}

#[tokio::test]
async fn all_in_both_orders_and_both_directions() {
    each(async |log: Log<u64>| {
        fill(&log).await;
        let all: Vec<u64> = (1..=600).collect();
        assert_eq!(numbers(log.entries()).await, all);
        assert_eq!(numbers(log.entries().newest_first()).await, reversed(all.clone()));
        assert_eq!(numbers(log.entries().by_added().newest_first()).await, reversed(all.clone()));
        let created = sorted(all);
        assert_eq!(numbers(log.entries().by_creation()).await, created);
        let newest = log.entries().by_creation().newest_first();
        assert_eq!(numbers(newest).await, reversed(created));
    })
    .await;
}

#[tokio::test]
async fn by_index_and_by_reason_and_by_both() {
    each(async |log: Log<u64>| {
        fill(&log).await;
        let of = |is: fn(u64) -> bool| (1..=600).filter(|n| is(*n)).collect::<Vec<u64>>();
        let (thirds, even) = (of(|n| n % 3 == 1), of(|n| n % 2 == 0));
        let both = of(|n| n % 6 == 4);
        assert_eq!(numbers(log.entries().index("mod/1")).await, thirds);
        assert_eq!(numbers(log.entries().reason("even")).await, even);
        assert_eq!(numbers(log.entries().reason("even").index("mod/1")).await, both);
        assert_eq!(numbers(log.entries().index("mod/1").reason("even")).await, both);
        let newest = log.entries().by_creation().index("mod/1").newest_first();
        assert_eq!(numbers(newest).await, reversed(sorted(thirds.clone())));
        assert_eq!(numbers(log.entries().by_creation().index("mod/1")).await, sorted(thirds));
        log.add(Draft::new(601).index("mod/1").index("other").reason("even")).await.unwrap();
        let three = log.entries().index("mod/1").index("other").reason("even");
        assert_eq!(numbers(three).await, [601]);
        let three = log.entries().index("other").reason("even").index("mod/2");
        assert_eq!(numbers(three).await, [0_u64; 0]);
        assert_eq!(numbers(log.entries().index("mod/7")).await, [0_u64; 0]);
    })
    .await;
}

#[tokio::test]
async fn from_a_place_and_in_pages() {
    each(async |log: Log<u64>| {
        fill(&log).await;
        let at = log.entries_after(logux_sync::Added::ZERO, 300).await.unwrap().pop().unwrap();
        let rest = numbers(log.entries().after_added(at.meta.added)).await;
        assert_eq!(rest, (301..=600).collect::<Vec<_>>());
        let before = numbers(log.entries().after_added(at.meta.added).newest_first()).await;
        assert_eq!(before, reversed((1..300).collect()));
        let created = sorted((1..=600).collect());
        let place = created.iter().position(|number| *number == 300).unwrap();
        let rest = numbers(log.entries().after_created(at.meta.created())).await;
        assert_eq!(rest, created[place + 1..]);
        let before = log.entries().after_created(at.meta.created()).newest_first();
        assert_eq!(numbers(before).await, reversed(created[..place].to_vec()));
        let pages: Vec<Vec<Arc<Entry<u64>>>> =
            log.entries().pages(Page::new(250)).try_collect().await.unwrap();
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [250, 250, 100]);
    })
    .await;
}

#[tokio::test]
async fn by_type() {
    each(async |log: Log<Value>| {
        for n in 0..600 {
            let name = if n % 100 == 0 { "rare" } else { "common" };
            log.add(json!({ "type": name, "n": n })).await.unwrap();
        }
        let rare = log.entries().of_type("rare").stream().map(Result::unwrap);
        let rare: Vec<_> = rare.map(|entry| entry.event["n"].clone()).collect().await;
        assert_eq!(rare, [0, 100, 200, 300, 400, 500].map(Value::from));
    })
    .await;
}
