//! Whatever [`EventLimits`] lets into a log reaches every peer: in each codec it fits the frame that
//! is allowed for it, and is the same event when it is read.
#![cfg(all(feature = "logux-binary", feature = "message-pack", feature = "xml"))]

use std::collections::BTreeMap;
use std::fmt::Debug;

use logux_codecs::{
    Added, Codec, Counter, EventLimits, Extra, Json, Limits, LoguxBinary, MAX_SAFE_INTEGER,
    Message, MessagePack, NodeId, Subprotocol, Sync, Timestamp, Value, WireId, WireMeta, Xml,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The longest ids of both protocols.
fn ids() -> [WireId; 4] {
    let (time, counter) =
        (Timestamp::new(MAX_SAFE_INTEGER).unwrap(), Counter::new(MAX_SAFE_INTEGER).unwrap());
    let node = |character: &str| NodeId::new(&character.repeat(NodeId::MAX_BYTES)).unwrap();
    let absolute = |node| WireId::Absolute { time, author: Some((node, counter)) };
    let shift = -MAX_SAFE_INTEGER.cast_signed();
    let shifted = |node| WireId::Shifted { shift, node: Some(node), counter };
    [absolute(node("\"")), absolute(node("&")), shifted(node("\\")), shifted(node("<"))]
}

fn reaches<C: Codec, E>(codec: &C, event: &E, extra: &Extra, id: &WireId, what: &str)
where
    E: Serialize + DeserializeOwned + PartialEq + Debug + Clone,
{
    let limits = EventLimits::default();
    let size = limits.check(event, extra).unwrap();
    let meta = WireMeta {
        id: id.clone(),
        time: -MAX_SAFE_INTEGER.cast_signed(),
        // The one number that is left of it in `LoguxBinary`.
        subprotocol: Some(Subprotocol::new(u32::MAX, if extra.is_empty() { 0 } else { u32::MAX })),
        extra: extra.clone().into(),
    };
    let added = Added::new(MAX_SAFE_INTEGER).unwrap();
    let message = Message::Sync(Sync { added, entries: vec![(event.clone(), meta)] });
    let mut frame = Vec::new();
    codec
        .encode(&message, &mut frame)
        .unwrap_or_else(|error| panic!("{what}, {}: {error}", C::NAME));
    let allowed = limits.bytes(size).frame(C::EXPANSION);
    assert!(frame.len() <= allowed, "{what}, {}: {} of {allowed} bytes", C::NAME, frame.len());
    match codec.decode::<E>(&frame, Limits::default()) {
        Ok(back) => assert!(back == message, "{what}, {}: another event", C::NAME),
        Err(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            panic!("{what}, {}: {error}: {source:?}", C::NAME)
        }
    }
}

/// Whether the event passed the check, and so was tried.
fn reaches_everyone<E>(event: &E, extra: &Extra, what: &str) -> bool
where
    E: Serialize + DeserializeOwned + PartialEq + Debug + Clone,
{
    if EventLimits::default().check(event, extra).is_err() {
        return false;
    }
    for id in ids() {
        reaches(&Json, event, extra, &id, what);
        reaches(&MessagePack, event, extra, &id, what);
        reaches(&Xml, event, extra, &id, what);
        // Which carries neither the application's meta nor ids of protocol 5.
        if matches!(id, WireId::Absolute { .. }) {
            reaches(&LoguxBinary::new(), event, &Extra::new(), &id, what);
        }
        if serde_json::to_vec(event).unwrap().len() > 10_000 {
            return true;
        }
    }
    true
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Tagged {
    #[serde(rename = "a/empty")]
    Empty,
    #[serde(rename = "a/full")]
    Full {
        texts: BTreeMap<String, Option<String>>,
        characters: BTreeMap<char, char>,
        single: f32,
        double: f64,
        unsigned: u64,
        signed: i64,
        option: Option<Lenient>,
        unit: (),
        value: Value,
        inner: Vec<Self>,
        shape: Shape,
    },
}

/// Written as `null` where it is empty, and so refused within an option.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Lenient(Option<u8>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Unit,
    Newtype(Option<Box<Self>>),
    Tuple(f32, char, Box<Self>),
    Struct { single: Vec<f32>, text: String },
}

#[test]
fn generated_events_reach_everyone() {
    let (mut tried, mut refused) = (0, 0);
    for seed in 0..2_000 {
        let mut random = Random(seed);
        let what = format!("seed {seed}");
        let extra = match random.below(3) {
            0 => Extra::from_iter([(random.text(), random.value(3)), ("a".to_owned(), json!(1))]),
            _ => Extra::new(),
        };
        let typed = random.tagged(2);
        let value = random.value(6);
        for passed in
            [reaches_everyone(&typed, &extra, &what), reaches_everyone(&value, &extra, &what)]
        {
            if passed { tried += 1 } else { refused += 1 }
        }
    }
    assert!(tried > 2_000, "{tried} events passed the check, {refused} did not");
}

/// As many of each as fit, and the same in a typed event.
#[test]
fn the_largest_events_reach_everyone() {
    let limits = EventLimits::default();
    let values = [
        json!(0),
        json!(0.5),
        json!(1e300),
        json!(u64::MAX),
        json!(true),
        json!(null),
        json!([]),
        json!({}),
        json!(""),
        json!("\0"),
        json!("&"),
        json!("\u{1F600}"),
        json!("\u{FFFF}"),
        json!({ "": {} }),
        json!([0]),
        json!({ "\r": 0 }),
    ];
    for value in values {
        let what = format!("many of {value}");
        let array = as_many_as_fit(&value);
        assert!(reaches_everyone(&array, &Extra::new(), &what));
        let extra = Extra::from_iter([("extra".to_owned(), array)]);
        // Where it is the meta, with a small event, some bytes less fit.
        if limits.check(&json!(0), &extra).is_ok() {
            assert!(reaches_everyone(&json!(0), &extra, &what));
        }
    }
    let nest = (0..60).fold(json!([0, 0.5]), |inner, _| json!([inner]));
    assert!(reaches_everyone(&as_many_as_fit(&nest), &Extra::new(), "many nests"));
    for text in ["\0", "\"", "\\", "&", "\u{1F600}", "\u{FFFD}", "\u{85}", "a", "\u{FFFE}", "\n"] {
        let what = format!("a text of {text:?}");
        let mut event = text.repeat(270_000);
        while limits.check(&event, &Extra::new()).is_err() {
            let end = event.len() / text.len() * 99 / 100;
            event.truncate(end * text.len());
        }
        assert!(reaches_everyone(&event, &Extra::new(), &what));
        let object = Extra::from_iter([(
            event[..event.len() / text.len() / 2 * text.len()].to_owned(),
            json!(0),
        )]);
        assert!(reaches_everyone(&Value::from(object), &Extra::new(), &what));
    }
    for depth in [61, 62, 63] {
        let what = format!("{depth} levels");
        let nest = (0..depth).fold(json!(0), |inner, n| {
            if n % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) }
        });
        let extra = Extra::from_iter([("a".to_owned(), nest.clone())]);
        assert_eq!(reaches_everyone(&nest, &extra, &what), depth < 63, "{what}");
        let shape =
            (1..depth).fold(Shape::Newtype(None), |inner, _| Shape::Newtype(Some(Box::new(inner))));
        assert_eq!(reaches_everyone(&shape, &Extra::new(), &what), depth < 63, "{what}");
    }
    let objects = vec![Tagged::Empty; 50_000];
    assert!(!reaches_everyone(&objects, &Extra::new(), "50,000 typed objects are too long"));
    assert!(reaches_everyone(
        &vec![BTreeMap::<String, u8>::new(); 50_000],
        &Extra::new(),
        "objects"
    ));
}

fn as_many_as_fit(value: &Value) -> Value {
    let limits = EventLimits::default();
    let each = value.to_string().len() + 1;
    let mut count = limits.bytes / each;
    loop {
        let array = vec![value.clone(); count].into();
        if count == 0 || limits.check(&array, &Extra::new()).is_ok() {
            return array;
        }
        // Objects are fewer.
        count = count - 1 - count / 100;
    }
}

/// A small generator (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn character(&mut self) -> char {
        const HARD: [char; 20] = [
            '\0',
            '\u{1}',
            '\t',
            '\n',
            '\r',
            '"',
            '\\',
            '&',
            '<',
            '>',
            '\'',
            ']',
            ' ',
            '\u{7F}',
            '\u{85}',
            '\u{2028}',
            '\u{FEFF}',
            '\u{FFFD}',
            '\u{FFFF}',
            '\u{1F600}',
        ];
        match self.below(4) {
            0 => char::from_u32(u32::try_from(self.below(0x11_0000)).unwrap()).unwrap_or('x'),
            1 => 'a',
            _ => HARD[usize::try_from(self.below(20)).unwrap()],
        }
    }

    fn text(&mut self) -> String {
        (0..self.below(8)).map(|_| self.character()).collect()
    }

    fn single(&mut self) -> f32 {
        match self.below(6) {
            0 => f32::MAX,
            1 => f32::MIN_POSITIVE,
            2 => 0.1,
            3 => 16_777_216.0,
            _ => f32::from_bits(u32::try_from(self.next() >> 32).unwrap()),
        }
    }

    fn double(&mut self) -> f64 {
        match self.below(8) {
            0 => f64::MAX,
            1 => 5e-324,
            2 => -0.0,
            3 => 9_007_199_254_740_993.0,
            4 => 1.0,
            5 => f64::from(self.single()),
            _ => f64::from_bits(self.next()),
        }
    }

    fn unsigned(&mut self) -> u64 {
        let shift = self.below(64);
        self.next() >> shift
    }

    fn value(&mut self, depth: u64) -> Value {
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => (self.below(2) == 0).into(),
            2 => self.unsigned().into(),
            3 => (self.unsigned().cast_signed() >> self.below(64)).into(),
            4 => self.double().into(),
            5 => self.text().into(),
            6 => (0..self.below(6)).map(|_| self.value(depth - 1)).collect(),
            _ => (0..self.below(5)).map(|_| (self.text(), self.value(depth - 1))).collect(),
        }
    }

    fn shape(&mut self) -> Shape {
        match self.below(5) {
            0 => Shape::Newtype(None),
            1 => Shape::Newtype(Some(Box::new(self.shape()))),
            2 => Shape::Tuple(self.single(), self.character(), Box::new(self.shape())),
            3 => Shape::Struct {
                single: (0..self.below(4)).map(|_| self.single()).collect(),
                text: self.text(),
            },
            _ => Shape::Unit,
        }
    }

    fn tagged(&mut self, depth: u64) -> Tagged {
        if self.below(5) == 0 {
            return Tagged::Empty;
        }
        Tagged::Full {
            texts: (0..self.below(4))
                .map(|_| (self.text(), (self.below(2) == 0).then(|| self.text())))
                .collect(),
            characters: (0..self.below(4)).map(|_| (self.character(), self.character())).collect(),
            single: self.single(),
            double: self.double(),
            unsigned: self.unsigned(),
            signed: self.next().cast_signed() >> self.below(64),
            option: match self.below(8) {
                0 => Some(Lenient(None)),
                1 | 2 => None,
                _ => Some(Lenient(Some(7))),
            },
            unit: (),
            value: self.value(2),
            inner: (0..if depth == 0 { 0 } else { self.below(3) })
                .map(|_| self.tagged(depth - 1))
                .collect(),
            shape: self.shape(),
        }
    }
}
