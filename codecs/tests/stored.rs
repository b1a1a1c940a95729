//! What a store writes and reads back by serde: the protocol's numbers and names on their own.
#![cfg(feature = "json")]

use std::fmt::Debug;

use logux_codecs::{
    Added, Counter, EventId, Extra, MAX_SAFE_INTEGER, NodeId, Subprotocol, Timestamp,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, from_str, from_value, json, to_string, to_value};

/// Is written as `stored` and reads back, from a text and from a value.
#[track_caller]
fn reads_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, stored: Value) {
    assert_eq!(to_value(value).unwrap(), stored);
    assert_eq!(to_string(value).unwrap(), stored.to_string());
    assert_eq!(&from_str::<T>(&stored.to_string()).unwrap(), value);
    assert_eq!(&from_value::<T>(stored).unwrap(), value);
}

#[track_caller]
fn refuses<T: DeserializeOwned + Debug>(stored: Value) {
    let read = from_str::<T>(&stored.to_string());
    assert!(read.is_err(), "{stored} is read as {read:?}");
    let read = from_value::<T>(stored);
    assert!(read.is_err(), "{read:?}");
}

fn numbers_of_other_kinds() -> Vec<Value> {
    vec![
        json!(-1),
        json!(0.5),
        json!(1e300),
        json!(MAX_SAFE_INTEGER + 1),
        json!(i64::MIN),
        json!(u64::MAX),
        json!("1"),
        json!(true),
        json!(null),
        json!([1]),
        json!({}),
    ]
}

#[test]
fn positions_times_and_counters_are_numbers() {
    for number in [0, 1, 1_786_312_345_678, MAX_SAFE_INTEGER] {
        reads_back(&Added::new(number).unwrap(), json!(number));
        reads_back(&Timestamp::new(number).unwrap(), json!(number));
        reads_back(&Counter::new(number).unwrap(), json!(number));
    }
    for bad in numbers_of_other_kinds() {
        refuses::<Added>(bad.clone());
        refuses::<Timestamp>(bad.clone());
        refuses::<Counter>(bad);
    }
}

#[test]
fn node_ids_are_texts_that_can_name_a_node() {
    for text in ["server", "10:uuid:tab", "é", &"x".repeat(NodeId::MAX_BYTES)] {
        reads_back(&NodeId::new(text).unwrap(), json!(text));
    }
    // The escape in the text leaves nothing to borrow.
    assert_eq!(from_str::<NodeId>(r#""\u0061""#).unwrap().as_str(), "a");
    let long = "x".repeat(NodeId::MAX_BYTES + 1);
    for bad in ["", "a b", "a\n", "\u{202E}a", "\u{1F600}", "a!a1", &long] {
        refuses::<NodeId>(json!(bad));
    }
    for bad in [json!(1), json!(null), json!(["a"]), json!({ "a": 1 })] {
        refuses::<NodeId>(bad);
    }
}

#[test]
fn event_ids_are_their_texts() {
    for text in ["- a", "OzcVoWD 10:uuid", "OzcVoWD 10:uuid!b12"] {
        reads_back(&text.parse::<EventId>().unwrap(), json!(text));
    }
    let bad = ["", "-", "- ", " a", "-- a", "- a b", "- a!a1!a1", "zzzzzzzzz a", "1 10:u 0"];
    for bad in bad {
        refuses::<EventId>(json!(bad));
    }
    for bad in [json!(1), json!(null), json!([1, "a", 0]), json!({ "time": 1 })] {
        refuses::<EventId>(bad);
    }
}

#[test]
fn subprotocols_are_a_number_or_two() {
    reads_back(&Subprotocol::new(3, 0), json!(3));
    reads_back(&Subprotocol::new(3, 1), json!([3, 1]));
    reads_back(&Subprotocol::new(u32::MAX, u32::MAX), json!([u32::MAX, u32::MAX]));
    for bad in [
        json!(-1),
        json!(0.5),
        json!(1_u64 << 32),
        json!("3.1"),
        json!(null),
        json!([]),
        json!([3]),
        json!([3, 1, 0]),
        json!([3, -1]),
        json!([3, 1_u64 << 32]),
        json!({ "major": 3, "minor": 1 }),
    ] {
        refuses::<Subprotocol>(bad);
    }
}

#[test]
fn further_meta_is_an_object_of_any_values() {
    let Value::Object(extra) = json!({ "a": [1, { "b": null }], "status": "done" }) else {
        unreachable!("an object is written")
    };
    reads_back::<Extra>(&extra, Value::Object(extra.clone()));
    for bad in [json!([]), json!("a"), json!(1)] {
        refuses::<Extra>(bad);
    }
}
