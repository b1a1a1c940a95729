//! What is kept beside the events.

use logux_codecs::{MAX_SAFE_INTEGER, Value};

use super::ask::{entry, last_added, page_of_records, put, raise, record, records, submit};
use crate::store::append::Append;
use crate::store::contract::Store;
use crate::store::record::{Key, RecordChange};

/// Contract 9: put, put anew, put only if there is none, raised and removed, alone and in one append.
pub async fn keeps_records(store: &impl Store<Value>) {
    let put_new = |key: &str, text: &str| RecordChange::PutNew(Key::new(key), text.to_owned());
    assert_eq!(records(store, "").await, [], "an empty store has records");
    change(store, vec![put("b 2", "two"), put("b 1", "\"\u{0}ü"), put("a", ""), put("b", "x")])
        .await;
    let expected = [("a", ""), ("b", "x"), ("b 1", "\"\u{0}ü"), ("b 2", "two")];
    assert_eq!(records(store, "").await, expected.map(owned), "not in the order of the keys");
    let wrong = "not the records whose keys begin so";
    assert_eq!(records(store, "b ").await, [expected[2], expected[3]].map(owned), "{wrong}");
    assert_eq!(records(store, "b 2").await, [owned(expected[3])], "{wrong}");
    assert_eq!(records(store, "c").await, [], "{wrong}");
    // Keys are texts, not patterns, and differ by each letter.
    let strange = ["B 1", "b%", "b*", "b_", "b\\", "bx", "bü"];
    change(store, strange.iter().map(|key| put(key, key)).collect()).await;
    for key in strange {
        assert_eq!(record(store, key).await.as_deref(), Some(key), "a record is lost");
    }
    for (prefix, count) in [("b_", 1), ("b%", 1), ("B", 1), ("b", 9), ("b ", 2)] {
        let found = records(store, prefix).await.len();
        assert_eq!(found, count, "not the records whose keys begin with {prefix}");
    }
    change(store, strange.iter().map(|key| remove(key)).collect()).await;
    // In the order given.
    change(store, vec![remove("b 1"), put_new("b 1", "new"), put_new("b 2", "other")]).await;
    change(store, vec![put("a", "first"), put("a", "last"), remove("b"), remove("never")]).await;
    let expected = [("a", "last"), ("b 1", "new"), ("b 2", "two")];
    let all = records(store, "").await;
    assert_eq!(all, expected.map(owned), "records are not what their changes make of them");
    for (to, is) in [(0, "0"), (5, "5"), (4, "5"), (MAX_SAFE_INTEGER, "9007199254740991")] {
        let append = Append::records(vec![raise("number", to)]);
        submit(store, if to == 4 { append } else { append.may_wait() }).await;
        let number = record(store, "number").await;
        assert_eq!(number.as_deref(), Some(is), "a number is wrong after it was raised to {to}");
    }
    // Events do not wait, whatever is said of them.
    let append = Append::events(vec![entry("a", 1, 1)]).and_records([raise("number", 1)]);
    let stored = submit(store, append.may_wait()).await;
    assert!(stored.entries.iter().any(Option::is_some), "an event that may wait is not added");
    change(store, vec![remove("number")]).await;
    change(store, vec![raise("number", 3)]).await;
    let number = record(store, "number").await;
    assert_eq!(number.as_deref(), Some("3"), "a number that was removed is not zero again");
    assert_eq!(last_added(store), 1, "a record has a position");
}

/// Contract 21: pages of several sizes, after keys that are there, that are not, and that do not begin so.
pub async fn reads_records_in_pages(store: &impl Store<Value>) {
    let keys = ["a", "p", "p 1", "p 10", "p 2", "p 3", "p 4", "p ü", "q"];
    let of = |keys: &[&str]| keys.iter().map(|&key| owned((key, "text"))).collect::<Vec<_>>();
    assert_eq!(page_of_records(store, "", Some("a"), 9).await, [], "an empty store has records");
    change(store, keys.iter().rev().map(|key| put(key, "text")).collect()).await;
    for (prefix, expected) in [("p ", &keys[2..8]), ("p", &keys[1..8]), ("", &keys[..]), ("x", &[])]
    {
        for at_most in [1, 2, 3, 100, usize::MAX] {
            let mut all: Vec<(String, String)> = Vec::new();
            loop {
                let after = all.last().map(|(key, _)| key.as_str());
                let page = page_of_records(store, prefix, after, at_most).await;
                assert!(page.len() <= at_most, "a page has more records than were asked for");
                if page.is_empty() {
                    break;
                }
                all.extend(page);
                let count = all.len();
                assert!(count <= keys.len(), "reading records in pages gives some of them twice");
            }
            assert_eq!(
                all,
                of(expected),
                "wrong records that begin with {prefix:?} in pages of {at_most}"
            );
        }
        let none = page_of_records(store, prefix, None, 0).await;
        assert_eq!(none, [], "a page has more records than were asked for");
        let none = page_of_records(store, prefix, Some("p 1"), 0).await;
        assert_eq!(none, [], "a page has more records than were asked for");
    }
    // Where no record is, inside of those that begin so, before them and behind them.
    let after = [
        ("p 11", &keys[4..8]),
        ("p 1\u{0}", &keys[3..8]),
        ("p 5", &keys[7..8]),
        ("p ", &keys[2..8]),
        ("", &keys[2..8]),
        ("a", &keys[2..8]),
        ("o", &keys[2..8]),
        ("p", &keys[2..8]),
        ("p!", &[]),
        ("p ü", &[]),
        ("p üa", &[]),
        ("q", &[]),
        ("z", &[]),
    ];
    for (after, expected) in after {
        for at_most in [1, usize::MAX] {
            let found = page_of_records(store, "p ", Some(after), at_most).await;
            let expected = of(&expected[..at_most.min(expected.len())]);
            assert_eq!(found, expected, "wrong records after the key {after:?}");
        }
    }
    // The record where the last page ended is removed, and others come.
    change(store, vec![remove("p 2"), put("p 1", "new"), put("p 21", "new")]).await;
    let found = page_of_records(store, "p ", Some("p 2"), 2).await;
    let expected = [("p 21", "new"), ("p 3", "text")].map(owned);
    assert_eq!(found, expected, "wrong records after one that is removed");
}

async fn change(store: &impl Store<Value>, changes: Vec<RecordChange>) {
    submit(store, Append::records(changes)).await;
}

fn remove(key: &str) -> RecordChange {
    RecordChange::Remove(Key::new(key))
}

fn owned((key, text): (&str, &str)) -> (String, String) {
    (key.to_owned(), text.to_owned())
}
