//! A log as lines of JSON.

use std::sync::Arc;

use logux_sync::{
    CopyError, Criteria, Draft, EventLimits, Log, LogOptions, MemoryStore, Store, Value,
};
use serde_json::json;

use crate::stores::{Stores, all, clock};

async fn open<E: logux_sync::Event>(name: &str, store: &Arc<dyn Store<E>>) -> Log<E> {
    Log::open_with(name.parse().unwrap(), Arc::clone(store), clock().1).await.unwrap()
}

async fn full(name: &str, store: &Arc<dyn Store<Value>>) -> Log<Value> {
    let log = open(name, store).await;
    for n in 0..1_000 {
        let text = format!("line\n{n} \u{1F600}");
        let draft = Draft::new(json!({ "type": "a", "n": n, "text": text }));
        log.add(draft.reason("a").index(format!("i/{n}")).extra("key", n)).await.unwrap();
    }
    log.remove_reasons(["a"], Criteria::all().index("i/500")).await.unwrap();
    log
}

#[tokio::test]
async fn a_copy_holds_all_and_can_be_put_into_another_log_again_and_again() {
    let (stores, others) = (Stores::<Value>::new(), Stores::<Value>::new());
    for ((name, store), (_, other)) in stores.all.iter().zip(&others.all) {
        let log = full("one", store).await;
        let (mut copy, mut progress) = (Vec::new(), Vec::new());
        let count = log.export(&mut copy, |done, all| progress.push((done, all))).await.unwrap();
        assert_eq!(count, 999, "{name}");
        assert!(progress.is_sorted() && progress.last() == Some(&(999, 999)), "{progress:?}");
        assert_eq!(copy.split(|byte| *byte == b'\n').count(), 1_002, "{name}");

        let other = open("two", other).await;
        other.add(json!("mine")).await.unwrap();
        let mut seen = Vec::new();
        let imported = other.import(&mut &copy[..], |done| seen.push(done)).await.unwrap();
        assert_eq!((imported.added, imported.known, imported.gone), (999, 0, 0), "{name}");
        assert!(seen.is_sorted() && seen.last() == Some(&999), "{seen:?}");
        let imported = other.import(&mut &copy[..], |_| ()).await.unwrap();
        assert_eq!((imported.added, imported.known), (0, 999), "{name}");
        for entry in log.entries_after(logux_sync::Added::ZERO, usize::MAX).await.unwrap() {
            let mut there = other.by_id(&entry.meta.id).await.unwrap().unwrap().meta.clone();
            there.added = entry.meta.added;
            assert_eq!(there, entry.meta);
        }
        other.clean(Criteria::all().index("i/7")).await.unwrap();
        let imported = other.import(&mut &copy[..], |_| ()).await.unwrap();
        assert_eq!((imported.added, imported.known, imported.gone), (0, 998, 1), "{name}");

        // In a log of the same name, ids go on after those of the copy.
        let same: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
        let same = open("one", &same).await;
        same.import(&mut &copy[..], |_| ()).await.unwrap();
        let next = same.add(json!("next")).await.unwrap();
        assert!(log.by_id(&next.meta.id).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn what_is_not_a_copy_is_named_and_what_came_before_is_kept() {
    let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
    let log = full("one", &store).await;
    let mut copy = Vec::new();
    log.export(&mut copy, |_, _| ()).await.unwrap();
    let lines: Vec<&[u8]> = copy.split_inclusive(|byte| *byte == b'\n').collect();
    let import = async |copy: Vec<u8>| {
        let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
        let log = open("two", &store).await;
        let error = log.import(&mut &copy[..], |_| ()).await.unwrap_err();
        (error, log.count().await.unwrap())
    };
    for text in ["", "\n", "{}", "null\n", "{\"event\":{}}\n", "PK\u{3}\u{4}"] {
        let (error, _) = import(text.as_bytes().to_vec()).await;
        assert!(matches!(error, CopyError::NotACopy), "{text:?}: {error:?}");
    }
    let newer = b"{\"log\":{\"version\":2,\"node\":\"a\"}}\n".to_vec();
    assert!(matches!(import(newer).await.0, CopyError::Version(2)));
    // Cut off in each of the ways there are.
    for whole in [1, 2, 300, 1_000] {
        let cut = lines[..whole].concat();
        let (error, count) = import(cut.clone()).await;
        assert!(matches!(error, CopyError::CutOff), "{error:?}");
        assert_eq!(count, whole as u64 - 1);
        let half = [&cut[..], &lines[whole][..lines[whole].len() / 2]].concat();
        let (error, count) = import(half).await;
        assert!(matches!(error, CopyError::CutOff), "{error:?}");
        assert_eq!(count, whole as u64 - 1);
    }
    for wrong in [&b"{}\n"[..], b"\n", b"\xff\n", b"{\"event\":{\"event\":1}}\n", lines[0]] {
        let broken = [&lines[..10].concat(), wrong, &lines[10..].concat()[..]].concat();
        let (error, count) = import(broken).await;
        assert!(matches!(error, CopyError::Line { line: 11, .. }), "{error:?}");
        assert_eq!(count, 9);
    }
    // An editor has taken the last end of a line.
    let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
    let edited = open("two", &store).await;
    assert_eq!(edited.import(&mut &copy[..copy.len() - 1], |_| ()).await.unwrap().added, 999);
    let missing = [&lines[..10].concat()[..], &lines[11..].concat()[..]].concat();
    let (error, count) = import(missing).await;
    assert!(matches!(error, CopyError::Miscounted { said: 999, events: 998 }), "{error:?}");
    assert_eq!(count, 998);
    let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
    let options = LogOptions::new().event_limits(EventLimits::default().bytes(100));
    let small = Log::open_with("two".parse().unwrap(), store, options).await.unwrap();
    let error = small.import(&mut &copy[..], |_| ()).await.unwrap_err();
    assert!(matches!(error, CopyError::Unfit { line: 2, .. }), "{error:?}");
}

#[tokio::test]
async fn what_a_program_cannot_read_is_set_aside_and_travels_on() {
    let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
    let log = open("one", &store).await;
    log.add_batch([json!(1), json!("two"), json!(3)]).await.unwrap();
    let mut copy = Vec::new();
    log.export(&mut copy, |_, _| ()).await.unwrap();
    let store: Arc<dyn Store<u64>> = Arc::new(MemoryStore::new());
    let numbers = open::<u64>("two", &store).await;
    let imported = numbers.import(&mut &copy[..], |_| ()).await.unwrap();
    assert_eq!((imported.added, imported.set_aside), (2, 1));
    assert_eq!(all(&numbers).await, [1, 3]);
    assert_eq!(numbers.set_aside().await.unwrap()[0].event, json!("two"));
    let mut copy = Vec::new();
    assert_eq!(numbers.export(&mut copy, |_, _| ()).await.unwrap(), 2);
    let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
    // It is read where it can be.
    let third = open("three", &store).await;
    third.import(&mut &copy[..], |_| ()).await.unwrap();
    assert_eq!(all(&third).await, [json!(1), json!(3), json!("two")]);
}
