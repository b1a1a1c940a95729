//! What every peer can be sent: the count is that of `serde_json`, each refusal has its reason, and
//! the boundaries lie where they are said to be.

use std::collections::BTreeMap;
use std::time::Duration;

use logux_codecs::{EventLimits, Extra, Unfit, Value};
use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};
use serde_json::json;

fn size<E: Serialize + ?Sized>(event: &E) -> usize {
    serde_json::to_vec(event).unwrap().len()
}

/// What is counted of an event without meta beyond its own bytes.
const AROUND: usize = "{}".len() + EventLimits::META;

fn unlimited() -> EventLimits {
    EventLimits::default().bytes(usize::MAX).depth(1_000).objects(usize::MAX)
}

fn check<E: Serialize + ?Sized>(event: &E) -> Result<usize, Unfit> {
    EventLimits::default().check(event, &Extra::new())
}

#[track_caller]
fn is_exact<E: Serialize + std::fmt::Debug + ?Sized>(event: &E) {
    let json = size(event);
    assert_eq!(unlimited().check(event, &Extra::new()), Ok(json + AROUND), "{event:?}");
    // To the byte.
    let exact = unlimited().bytes(json + AROUND);
    assert_eq!(exact.check(event, &Extra::new()), Ok(json + AROUND), "{event:?}");
    let limit = json + AROUND - 1;
    let short = exact.bytes(limit).check(event, &Extra::new());
    assert_eq!(short, Err(Unfit::TooLarge { limit }), "{event:?}");
}

#[cfg(feature = "conformance")]
#[test]
fn generated_values_are_counted_as_serde_json_writes_them() {
    for seed in 0..200 {
        for event in logux_codecs::conformance::events(seed).take(50) {
            is_exact(&event);
            let Value::Object(extra) = event else { panic!("seed {seed}: no object") };
            let counted = unlimited().check(&(), &extra).unwrap();
            assert_eq!(counted, "null".len() + size(&extra) + EventLimits::META, "seed {seed}");
        }
    }
}

#[derive(Debug, Serialize)]
enum Shape {
    Unit,
    Newtype(Option<i8>),
    Tuple(u8, &'static str),
    Struct { a: (), r#type: u16 },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type")]
enum Tagged {
    Unit,
    Map(BTreeMap<char, f32>),
    Full { list: Vec<Shape>, none: Option<u8>, text: String },
}

#[derive(Debug, Serialize)]
struct Flat {
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u8>,
    #[serde(flatten)]
    rest: Tagged,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

#[derive(Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct Newtype<T>(T);

#[derive(Debug, Serialize)]
struct Unit;

#[derive(Debug)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

#[test]
fn every_shape_of_serde_is_counted_as_serde_json_writes_it() {
    let shapes = || {
        vec![
            Shape::Unit,
            Shape::Newtype(None),
            Shape::Newtype(Some(-128)),
            Shape::Tuple(255, "\u{1}\""),
            Shape::Struct { a: (), r#type: 65_535 },
        ]
    };
    shapes().iter().for_each(is_exact);
    is_exact(&shapes());
    is_exact(&Tagged::Unit);
    is_exact(&Tagged::Map(
        [('\0', 0.1), ('"', f32::MAX), ('é', -0.0), ('\u{10FFFF}', 1e-40)].into(),
    ));
    let full =
        || Tagged::Full { list: shapes(), none: None, text: "\r\n\t\u{8}\u{c}\u{7f}".into() };
    is_exact(&full());
    let more = [(String::new(), json!([])), ("a".to_owned(), json!({ "b": [{}, 1.5] }))];
    is_exact(&Flat { left_out: None, rest: full(), more: more.into() });
    for bytes in [vec![], vec![0], vec![9, 10, 99, 100, 255], vec![7; 1_000]] {
        is_exact(&Bytes(bytes));
    }
    is_exact(&[i64::MIN, i64::MAX, 0, -1, 9, 10, -9, -10, 99, 100]);
    is_exact(&[u64::MAX, 0, 9_999_999_999, 10_000_000_000]);
    is_exact(&(i8::MIN, i16::MIN, i32::MIN, u8::MAX, u16::MAX, u32::MAX, true, false, 'x', '\\'));
    is_exact(&[f64::MAX, f64::MIN_POSITIVE, 5e-324, 0.1, 1e16, 1e15, 1e300, -0.0, 123_456.789]);
    is_exact(&[f32::MAX, f32::MIN_POSITIVE, 1e-45, 0.1, 1e16, 1e15]);
    is_exact(&(Unit, (), Newtype(Unit), None::<u8>, Some(Some(7)), Some(Newtype(vec![()]))));
    is_exact(&std::net::IpAddr::from([127, 0, 0, 1]));
    is_exact(&Duration::from_millis(1_500));
    is_exact(&BTreeMap::from([(Newtype("a".to_owned()), 1)]));
    is_exact("");
    is_exact(&(0..=0xFF).map(char::from).collect::<String>());
    is_exact(&Value::Null);
}

#[test]
fn random_numbers_are_counted_as_serde_json_writes_them() {
    let mut random = 7_u64;
    for _ in 0..20_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let shifted = random >> (random % 64);
        is_exact(&shifted);
        is_exact(&shifted.cast_signed());
        let (double, single) = (f64::from_bits(random), f32::from_bits((random >> 32) as u32));
        if double.is_finite() && single.is_finite() {
            is_exact(&(double, single));
        }
    }
}

#[test]
fn what_nests_too_deep_is_refused_and_the_meta_has_as_many_levels() {
    let nest = |levels: usize| {
        (0..levels).fold(Value::Null, |inner, n| {
            if n % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) }
        })
    };
    let extra =
        |levels| Extra::from_iter([("a".to_owned(), nest(levels)), ("b".to_owned(), nest(levels))]);
    let limits = EventLimits::default();
    let too_deep = Err(Unfit::TooDeep { limit: 62 });
    assert!(limits.check(&nest(62), &extra(62)).is_ok());
    assert_eq!(limits.check(&nest(63), &Extra::new()), too_deep);
    assert_eq!(limits.check(&(), &extra(63)), too_deep.map_err(in_the_meta));
    // Levels that are left are left.
    assert!(limits.check(&vec![nest(61); 3], &Extra::new()).is_ok());
    // An enum is the levels that JSON has.
    let limits = limits.depth(2);
    assert!(limits.check(&Shape::Tuple(1, ""), &Extra::new()).is_ok());
    assert!(limits.check(&Shape::Struct { a: (), r#type: 1 }, &Extra::new()).is_ok());
    assert!(limits.check(&[Shape::Newtype(None)], &Extra::new()).is_ok());
    assert!(limits.check(&[Shape::Tuple(1, "")], &Extra::new()).is_err());
    assert!(limits.check(&[Shape::Struct { a: (), r#type: 1 }], &Extra::new()).is_err());
    assert!(limits.depth(1).check(&Bytes(vec![1]), &Extra::new()).is_ok());
    assert!(limits.depth(0).check(&Bytes(vec![1]), &Extra::new()).is_err());
}

#[test]
fn objects_are_counted_in_the_event_and_in_its_meta() {
    let limits = EventLimits::default().objects(4);
    let extra = Extra::from_iter([("a".to_owned(), json!({}))]);
    assert!(limits.check(&json!({ "a": [{}, {}] }), &extra).is_ok());
    let too_many = Err(Unfit::TooManyObjects { limit: 4 });
    assert_eq!(limits.check(&json!({ "a": [{}, {}, {}] }), &extra), too_many);
    assert!(limits.check(&[Shape::Newtype(None), Shape::Newtype(None)], &Extra::new()).is_ok());
    let variants = [Shape::Struct { a: (), r#type: 1 }, Shape::Struct { a: (), r#type: 1 }];
    assert!(limits.check(&variants, &Extra::new()).is_ok());
    assert_eq!(limits.check(&variants, &extra), too_many);
    assert!(check(&vec![json!({}); 50_000]).is_ok());
    assert!(check(&vec![json!({}); 50_001]).is_err());
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(check(&[number]), Err(Unfit::NotFinite));
    }
    for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(check(&Some(number)), Err(Unfit::NotFinite));
    }
}

#[test]
fn keys_are_texts() {
    assert!(check(&BTreeMap::from([("a", 1)])).is_ok());
    assert!(check(&BTreeMap::from([('a', 1)])).is_ok());
    assert!(check(&BTreeMap::from([(Newtype('a'), 1)])).is_ok());
    assert!(check(&BTreeMap::from([(Some("a"), 1)])).is_ok());
    assert_eq!(check(&BTreeMap::from([(1_u8, 1)])), Err(Unfit::Key));
    assert_eq!(check(&BTreeMap::from([(1_i128, 1)])), Err(Unfit::Key));
    assert_eq!(check(&BTreeMap::from([(Newtype(1_i64), 1)])), Err(Unfit::Key));
    assert_eq!(check(&BTreeMap::from([(true, 1)])), Err(Unfit::Key));
    assert_eq!(check(&BTreeMap::from([(None::<u8>, 1)])), Err(Unfit::Key));
    assert_eq!(check(&BTreeMap::from([((), 1)])), Err(Unfit::Key));
    assert_eq!(check(&BTreeMap::from([([1], 1)])), Err(Unfit::Key));
}

/// Those of `serde_json`, whose own types are structs of these names.
#[test]
fn keys_that_another_crate_keeps_for_itself_are_refused() {
    #[derive(Serialize)]
    #[serde(rename = "$serde_json::private::RawValue")]
    struct Raw {
        #[serde(rename = "$serde_json::private::RawValue")]
        json: &'static str,
    }

    #[derive(Debug)]
    struct Shown(&'static str);

    impl Serialize for Shown {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry(&format_args!("{}", self.0), "1")?;
            map.end()
        }
    }

    for key in ["$serde_json::private::Number", "$serde_json::private::RawValue"] {
        assert_eq!(check(&json!([{ key: "1" }])), Err(Unfit::ReservedKey(key)));
        assert_eq!(check(&json!({ "a": 1, key: 1 })), Err(Unfit::ReservedKey(key)));
        assert_eq!(check(&Shown(key)), Err(Unfit::ReservedKey(key)));
        let text = Unfit::ReservedKey(key).to_string();
        assert!(text.contains(key) && text.contains("another name"), "{text}");
    }
    // Keys that are shown are counted like others, short and long ones.
    is_exact(&Shown("type\n"));
    is_exact(&Shown("a key that is longer than any with a meaning: \u{1}"));
    assert!(EventLimits::for_javascript().check(&Shown("type"), &Extra::new()).is_ok());
    let raw = Err(Unfit::ReservedKey("$serde_json::private::RawValue"));
    for json in ["1", "1e999", "[[[]]]", r#""\ud83d""#] {
        assert_eq!(check(&[Raw { json }]), raw);
    }
}

/// An object whose keys are as they are given.
#[derive(Debug)]
struct Pairs(Vec<(String, u8)>);

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[test]
fn an_object_has_each_key_once() {
    #[derive(Serialize)]
    struct Flattened<T> {
        b: u8,
        a: u8,
        #[serde(flatten)]
        rest: T,
    }

    #[derive(Serialize)]
    #[serde(tag = "type")]
    enum Outer<T> {
        Inner(T),
    }

    #[derive(Serialize)]
    #[serde(tag = "kind")]
    enum Inner<T> {
        Full(T),
    }

    #[derive(Serialize)]
    struct Named {
        value: u8,
        kind: &'static str,
    }

    #[derive(Serialize)]
    struct Typed {
        value: u8,
        r#type: u8,
    }

    fn has_twice(key: &str, event: &impl Serialize) {
        let twice = Err(Unfit::DuplicateKey(key.to_owned()));
        assert_eq!(check(event), twice);
        assert_eq!(check(&[event]), twice);
        // Within other objects, whose keys are their own.
        assert_eq!(check(&BTreeMap::from([("type", event), ("zzz", event)])), twice);
        assert_eq!(check(&vec![event; 1_000]), twice);
    }

    fn has_once(event: &(impl Serialize + std::fmt::Debug)) {
        is_exact(event);
        is_exact(&vec![event; 3]);
        is_exact(&BTreeMap::from([("b", event), ("c", event)]));
    }

    let entries = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), 1)).collect::<Vec<_>>();
    let pairs = |keys: &[&str]| Pairs(entries(keys));
    let sorted = |keys: &[&str]| BTreeMap::from_iter(entries(keys));

    has_twice("a", &Flattened { b: 1, a: 1, rest: sorted(&["a"]) });
    has_twice("b", &Flattened { b: 1, a: 1, rest: sorted(&["a2", "b", "c"]) });
    has_twice("type", &Outer::Inner(sorted(&["type"])));
    has_twice("type", &Outer::Inner(sorted(&["a", "type", "z"])));
    has_twice("type", &Outer::Inner(Typed { value: 1, r#type: 2 }));
    has_twice("kind", &Inner::Full(Named { value: 1, kind: "" }));
    has_twice("kind", &Outer::Inner(Inner::Full(Named { value: 1, kind: "" })));
    has_twice("type", &Outer::Inner(Inner::Full(Typed { value: 1, r#type: 2 })));
    has_twice("type", &Outer::Inner(Outer::Inner(sorted(&[]))));
    let long = "a key that is not short";
    for keys in [
        &["a", "a"][..],
        &["", ""],
        &["b", "a", "b"],
        &["a", "b", "a"],
        &["a", "b", "c", "b"],
        &["c", "b", "a", "d", "e", "d"],
        &["a key that is long 1", "a key that is long 2", "a key that is long 1"],
        &[long, long],
    ] {
        has_twice(keys[keys.len() - 1], &pairs(keys));
    }

    has_once(&pairs(&["", "\0", "\0\0", "a", "a\0", "b"]));
    has_once(&pairs(&["b", "a", "c"]));
    has_once(&pairs(&["c", "b", "a", ""]));
    has_once(&pairs(&["a key that is long 2", "a key that is long 1", long]));
    has_once(&sorted(&["a key that is long 2", "a key that is long 1", long]));
    has_once(&std::collections::HashMap::from([("a", 1), ("b", 2), ("c", 3), ("d", 4)]));
    has_once(&json!({ "z": { "a": { "z": 1 } }, "a": [{ "z": 1 }, { "z": 1 }] }));
    assert!(check(&Flattened { b: 1, a: 1, rest: sorted(&["c"]) }).is_ok());
    assert!(check(&Outer::Inner(Inner::Full(sorted(&["a"])))).is_ok());
    // Nor are the keys of the meta those of the event.
    let extra = Extra::from_iter([("a".to_owned(), json!({ "a": 1 }))]);
    assert!(EventLimits::default().check(&json!({ "a": 1 }), &extra).is_ok());

    let text = check(&pairs(&["a\u{202e}", "a\u{202e}"])).unwrap_err().to_string();
    assert_eq!(text, "an object has the key \"a\" more than once: rename one of them");
}

#[test]
fn integers_of_128_bits_are_refused() {
    assert_eq!(check(&1_i128), Err(Unfit::WideInteger));
    assert_eq!(check(&[1_u128]), Err(Unfit::WideInteger));
}

#[test]
fn what_would_be_read_as_none_is_refused() {
    assert_eq!(check(&Some(None::<u8>)), Err(Unfit::Nothing));
    assert_eq!(check(&[Some(())]), Err(Unfit::Nothing));
    assert_eq!(check(&Some(Unit)), Err(Unfit::Nothing));
    assert_eq!(check(&Some(Newtype(Newtype(())))), Err(Unfit::Nothing));
    assert_eq!(check(&json!({ "a": Some(Value::Null) })), Ok(size(&json!({ "a": null })) + AROUND));
    assert_eq!(check(&Some(Value::Null)), Err(Unfit::Nothing));
    assert!(check(&(None::<u8>, (), Unit, Some([()]))).is_ok());
}

#[test]
fn javascript_takes_actions_with_safe_integers_only() {
    let limits = EventLimits::for_javascript();
    let check = |event: &dyn Fn() -> Value| limits.check(&event(), &Extra::new());
    let safe = (1_i64 << 53) - 1;
    assert!(check(&|| json!({ "type": "a", "n": [safe, -safe, 1e300] })).is_ok());
    for unsafe_integer in
        [i128::from(safe) + 1, -i128::from(safe) - 1, u64::MAX.into(), i64::MIN.into()]
    {
        let number: Value = serde_json::from_str(&unsafe_integer.to_string()).unwrap();
        let refused = Err(Unfit::UnsafeInteger(unsafe_integer));
        assert_eq!(check(&|| json!({ "type": "a", "n": [number] })), refused);
        let extra = Extra::from_iter([("n".to_owned(), number.clone())]);
        let in_its_meta = refused.map_err(in_the_meta);
        assert_eq!(limits.check(&json!({ "type": "a" }), &extra), in_its_meta);
        assert!(EventLimits::default().check(&number, &extra).is_ok());
    }
    for event in [
        json!({}),
        json!(null),
        json!("type"),
        json!([{ "type": "a" }]),
        json!({ "type": 1 }),
        json!({ "type": null }),
        json!({ "type": ["a"] }),
        json!({ "a": { "type": "a" } }),
        json!({ "Type": "a" }),
    ] {
        assert_eq!(check(&|| event.clone()), Err(Unfit::NotAnAction), "{event}");
        assert!(EventLimits::default().check(&event, &Extra::new()).is_ok());
    }
    // What lies in the event, or comes after `type`, does not count.
    assert!(check(&|| json!({ "a": { "type": 1 }, "type": "a", "z": { "type": 2 } })).is_ok());
    let typed = |event: &Tagged| limits.check(event, &Extra::new());
    assert!(typed(&Tagged::Unit).is_ok());
    assert!(typed(&Tagged::Map(BTreeMap::new())).is_ok());
    assert!(
        limits
            .check(
                &Flat { left_out: None, rest: Tagged::Unit, more: BTreeMap::new() },
                &Extra::new()
            )
            .is_ok()
    );
    assert_eq!(limits.check(&Shape::Unit, &Extra::new()), Err(Unfit::NotAnAction));
    assert_eq!(
        limits.check(&Shape::Struct { a: (), r#type: 1 }, &Extra::new()),
        Err(Unfit::NotAnAction)
    );
    assert_eq!(limits.check(&(), &Extra::new()), Err(Unfit::NotAnAction));
}

/// `@msgpack/msgpack` throws on it, and to an object it may be another thing than a key.
#[test]
fn javascript_takes_no_key_that_is_a_prototype() {
    let limits = EventLimits::for_javascript();
    for event in [
        json!({ "type": "a", "__proto__": 1 }),
        json!({ "type": "a", "b": [{ "__proto__": {} }] }),
        json!({ "type": "a", "__proto__": null, "b": 1 }),
    ] {
        assert_eq!(limits.check(&event, &Extra::new()), Err(Unfit::Prototype), "{event}");
        assert!(check(&event).is_ok());
    }
    let event = json!({ "type": "__proto__", "_proto_": "__proto__", "__proto__2": 1 });
    for extra in [json!({ "__proto__": 1 }), json!({ "a": { "__proto__": 1 } })] {
        let Value::Object(extra) = extra else { panic!("no object") };
        let refused = Err(in_the_meta(Unfit::Prototype));
        assert_eq!(limits.check(&event, &extra), refused, "{extra:?}");
        assert!(EventLimits::default().check(&event, &extra).is_ok());
    }
    assert!(limits.check(&event, &Extra::new()).is_ok());
}

/// Its `JSON.stringify` writes 0.
#[test]
fn javascript_takes_no_negative_zero() {
    #[derive(Serialize)]
    #[serde(tag = "type")]
    enum Tagged {
        Single { value: f32 },
        Double { value: f64 },
    }

    let limits = EventLimits::for_javascript();
    let typed = |event: &Tagged| limits.check(event, &Extra::new()).map(drop);
    assert_eq!(typed(&Tagged::Single { value: -0.0 }), Err(Unfit::NegativeZero));
    assert_eq!(typed(&Tagged::Double { value: -0.0 }), Err(Unfit::NegativeZero));
    for value in [0.0, -1.0, -1e-40] {
        assert_eq!(typed(&Tagged::Single { value }), Ok(()));
        assert_eq!(typed(&Tagged::Double { value: value.into() }), Ok(()));
    }
    let event = |number: &str| {
        let event = format!(r#"{{"type":"a","n":[{number}]}}"#);
        let event: Value = serde_json::from_str(&event).unwrap();
        assert!(check(&event).is_ok());
        limits.check(&event, &Extra::new()).map(drop)
    };
    for zero in ["-0", "-0.0", "-0e5"] {
        assert_eq!(event(zero), Err(Unfit::NegativeZero), "{zero}");
        let extra = Extra::from_iter([("a".to_owned(), serde_json::from_str(zero).unwrap())]);
        let refused = Err(in_the_meta(Unfit::NegativeZero));
        assert_eq!(limits.check(&json!({ "type": "a" }), &extra), refused);
    }
    assert_eq!(event("0"), Ok(()));
    assert_eq!(event("-0.5"), Ok(()));
}

fn in_the_meta(unfit: Unfit) -> Unfit {
    Unfit::Meta(Box::new(unfit))
}

#[test]
fn a_refusal_says_whether_the_event_or_its_meta_is_wrong() {
    let limits = EventLimits::for_javascript();
    let shown = |event: Value, extra: Value| {
        let Value::Object(extra) = extra else { panic!("no object") };
        limits.check(&event, &extra).unwrap_err().to_string()
    };
    let (event, none) = (|| json!({ "type": "a" }), || json!({}));
    let nest = || (0..63).fold(json!(1), |inner, _| json!([inner]));
    for (wrong, text) in [
        (json!({ "$serde_json::private::Number": "1" }), "serde_json keeps the key"),
        (nest(), "arrays and objects nest more than 62 levels deep"),
        (json!(1_u64 << 53), "JavaScript cannot hold the integer 9007199254740992"),
        (json!({ "__proto__": 1 }), "JavaScript nodes do not read the key"),
    ] {
        let in_event = shown(json!({ "type": "a", "b": wrong }), none());
        assert!(in_event.starts_with(text), "{in_event}");
        let in_meta = shown(event(), json!({ "b": wrong }));
        assert!(in_meta.starts_with(&format!("in the meta of the event: {text}")), "{in_meta}");
    }
    // Of both together.
    let long = json!({ "b": "a".repeat(262_144) });
    assert!(shown(event(), long).starts_with("the event and its meta have more than 262144 bytes"));
    let many = json!({ "b": vec![json!({}); 50_000] });
    assert!(
        shown(event(), many).starts_with("the event and its meta have more than 50000 objects")
    );
    let text = check(&BTreeMap::from([(1, 1)])).unwrap_err().to_string();
    assert_eq!(text, "a key of a map is not a text: make the keys texts");
}

#[test]
fn the_text_of_an_event_s_own_error_is_kept() {
    struct Fails;

    impl Serialize for Fails {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(S::Error::custom("not today"))
        }
    }

    assert_eq!(check(&[Fails]), Err(Unfit::Serialize("not today".to_owned())));
}

/// Whatever follows the limit is not looked at.
#[test]
fn a_huge_event_costs_no_more_than_the_limit() {
    struct Endless;

    impl Serialize for Endless {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            loop {
                map.serialize_entry("a", "b")?;
            }
        }
    }

    struct Displayed;

    impl Serialize for Displayed {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl std::fmt::Display for Displayed {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            loop {
                f.write_str("\0")?;
            }
        }
    }

    let too_large = Err(Unfit::TooLarge { limit: 256 << 10 });
    assert_eq!(check(&Endless), too_large);
    assert_eq!(check(&Displayed), too_large);
    assert_eq!(check(&[Displayed]), too_large);
    assert_eq!(check(&"a".repeat(1 << 20)), too_large);
    assert_eq!(check(&Bytes(vec![0; 1 << 20])), too_large);
}

#[test]
fn a_frame_is_the_event_and_what_lies_around_it() {
    let limits = EventLimits::default();
    assert_eq!(limits.frame(1), (256 << 10) + 1024);
    assert_eq!(limits.frame(9), 9 * limits.frame(1));
    assert_eq!(limits.bytes(usize::MAX).frame(3), usize::MAX);
}

/// One of many, with all that a limit is about.
fn any_value(random: &mut fastrand::Rng, depth: usize) -> Value {
    let text = |random: &mut fastrand::Rng| {
        let texts =
            ["", "type", "__proto__", "a\"b", "\u{1}", "é😀", "a longer text, of two words", "b"];
        random.choice(texts).unwrap_or_default().to_owned()
    };
    match random.u8(..if depth == 0 { 6 } else { 9 }) {
        0 => Value::Null,
        1 => random.bool().into(),
        2 => random.u64(..).into(),
        3 => random.i64(-9..9).into(),
        4 => random.choice([0.5, -0.0, 1e300]).into(),
        5 => text(random).into(),
        6 => (0..random.usize(..4)).map(|_| any_value(random, depth - 1)).collect(),
        _ => {
            let members = (0..random.usize(..5)).map(|_| {
                let key = match random.u8(..20) {
                    0 => "$serde_json::private::Number".to_owned(),
                    _ => text(random),
                };
                (key, any_value(random, depth - 1))
            });
            Value::Object(members.collect())
        }
    }
}

#[test]
fn a_value_is_measured_like_any_other_event() {
    let (mut fit, mut unfit) = (0, 0);
    for seed in 0..20_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut limits =
            EventLimits::default().depth(random.usize(1..5)).objects(random.usize(1..9));
        limits.javascript = random.bool();
        let limits = limits.bytes(EventLimits::META + random.usize(2..300));
        let (event, extra) = (any_value(&mut random, 4), any_value(&mut random, 2));
        let extra = match extra {
            Value::Object(members) => members.into_iter().collect(),
            _ => Extra::new(),
        };
        let as_any = limits.check(&event, &extra);
        assert_eq!(limits.check_event(&event, &extra), as_any, "seed {seed}: {event}");
        if as_any.is_ok() { fit += 1 } else { unfit += 1 }
    }
    assert!(fit > 1_000 && unfit > 1_000, "{fit} fit, {unfit} do not");
}
