//! The XML codec: its contract, its frames, and what it refuses.
#![cfg(feature = "xml")]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use logux_codecs::{
    Added, Codec, Extra, Json, Limits, Message, Rare, Sync, Timestamp, Value, WireId, WireMeta, Xml,
};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[cfg(feature = "conformance")]
#[test]
fn xml_keeps_the_contract_of_codecs() {
    logux_codecs::conformance::codec(&Xml);
}

const NAMESPACE: &str = "http://www.w3.org/2005/xpath-functions";

/// The message `["debug","error",…]` would be the shortest frame for a text; `headers` carries any value.
fn frame(members: &str) -> String {
    format!("<array xmlns=\"{NAMESPACE}\"><string>headers</string><map>{members}</map></array>")
}

fn decode(frame: &str) -> Result<Message<Value>, String> {
    Xml.decode(frame.as_bytes(), Limits::default()).map_err(|error| {
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            reason = format!("{reason}: {error}");
            cause = error.source();
        }
        reason
    })
}

/// What the member `a` of the headers holds.
fn value(element: &str) -> Result<Value, String> {
    let Message::Headers(mut headers) = decode(&frame(element))? else { panic!("{element}") };
    Ok(headers.remove("a").unwrap_or_default())
}

fn written(value: Value) -> String {
    let mut headers = Extra::new();
    headers.insert("a".to_owned(), value);
    let mut bytes = Vec::new();
    Xml.encode(&Message::<Value>::Headers(headers), &mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let start = frame("").find("</map>").unwrap();
    let end = text.len() - "</map></array>".len();
    text[start..end].to_owned()
}

fn refused(frame: &str, reason: &str) {
    match decode(frame) {
        Err(error) => assert!(error.contains(reason), "{frame}: {error}"),
        Ok(message) => panic!("{frame} reads as {message:?}"),
    }
}

#[test]
fn messages_are_arrays_in_the_namespace_without_whitespace() {
    for (json, xml) in [
        (r#"["ping",1]"#, "<string>ping</string><number>1</number>"),
        (
            r#"["sync",1,{"type":"a"},{"id":"1 10:u","time":-3}]"#,
            concat!(
                "<string>sync</string><number>1</number>",
                "<map><string key=\"type\">a</string></map>",
                "<map><string key=\"id\">1 10:u</string><number key=\"time\">-3</number></map>"
            ),
        ),
        (
            r#"["connected",7,"s:x",[1,2],{"token":"t"}]"#,
            concat!(
                "<string>connected</string><number>7</number><string>s:x</string>",
                "<array><number>1</number><number>2</number></array>",
                "<map><string key=\"token\">t</string></map>"
            ),
        ),
    ] {
        let xml = format!("<array xmlns=\"{NAMESPACE}\">{xml}</array>");
        let message: Message<Value> = Json.decode(json.as_bytes(), Limits::default()).unwrap();
        assert_eq!(decode(&xml).as_ref(), Ok(&message));
        let mut bytes = Vec::new();
        Xml.encode(&message, &mut bytes).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), xml);
    }
}

#[test]
fn values_are_written_as_the_vocabulary_has_them() {
    for (json, xml) in [
        (json!(null), "<null key=\"a\"/>"),
        (json!(true), "<boolean key=\"a\">true</boolean>"),
        (json!(1.5), "<number key=\"a\">1.5</number>"),
        (json!(u64::MAX), "<number key=\"a\">18446744073709551615</number>"),
        (json!(""), "<string key=\"a\"/>"),
        (json!(" b "), "<string key=\"a\"> b </string>"),
        (json!("\t\n"), "<string key=\"a\">\t\n</string>"),
        (json!("<&\">]]>"), "<string key=\"a\">&lt;&amp;\"&gt;]]&gt;</string>"),
        (json!("\\ \""), "<string key=\"a\">\\ \"</string>"),
        (
            json!("\u{1b}<\\\""),
            "<string key=\"a\" escaped=\"true\">\\u001b&lt;\\\\\\&quot;</string>",
        ),
        (json!("\r\n"), "<string key=\"a\" escaped=\"true\">\\r\\n</string>"),
        (json!("\u{FFFF}é"), "<string key=\"a\" escaped=\"true\">\\uffffé</string>"),
        (json!("\u{FEFF}"), "<string key=\"a\">\u{FEFF}</string>"),
        (json!([]), "<array key=\"a\"></array>"),
        (json!([[]]), "<array key=\"a\"><array></array></array>"),
        (json!({ "\t\"": 1 }), "<map key=\"a\"><number key=\"&#9;&quot;\">1</number></map>"),
        (
            json!({ "\0": 1 }),
            "<map key=\"a\"><number escaped-key=\"true\" key=\"\\u0000\">1</number></map>",
        ),
    ] {
        assert_eq!(written(json.clone()), xml);
        assert_eq!(value(xml), Ok(json), "{xml}");
    }
}

#[test]
fn what_xml_allows_around_and_within_elements_is_read() {
    let plain = decode(&frame("<string key=\"a\">b</string>")).unwrap();
    let body = |open: &str, rest: &str| format!("<array {open}>{rest}</array>");
    for text in [
        format!("<?xml version=\"1.0\"?>{}", frame("<string key='a'>b</string>")),
        format!(
            "<?xml version='1.0' encoding='utf-8' standalone=\"yes\" ?>\n<!-- c -->{}\n<!-- d -->\n",
            frame("<string key='a'>b</string>")
        ),
        format!("\u{FEFF}{}", frame("<string key=\"a\">b</string>")),
        frame(" <!-- c --> <string\n key = \"a\" >b</string > \r\n"),
        frame("<string key=\"a\"><![CDATA[b]]></string>"),
        frame("<string key=\"&#97;\">&#x62;</string>"),
        frame("<string key=\"a\"><!-- b -->b<!-- c --></string>"),
        frame("<string escaped-key=\"1\" key=\"\\u0061\" escaped=\" true \">\\u0062</string>"),
        frame(&format!("<string xmlns=\"{NAMESPACE}\" key=\"a\">b</string>")),
        body(
            &format!("xmlns='{NAMESPACE}'"),
            "<string>headers</string><map><string key='a'>b</string></map>",
        ),
        format!(
            "<j:array xmlns:j=\"{NAMESPACE}\"><j:string>headers</j:string><j:map><j:string key=\"a\">b</j:string></j:map></j:array>"
        ),
    ] {
        assert_eq!(decode(&text), Ok(plain.clone()), "{text}");
    }
    assert_eq!(value("<string key=\"a\">a\r\nb\rc&#13;d</string>"), Ok(json!("a\nb\nc\rd")));
    assert_eq!(value("<string key=\"a\">&lt;&gt;&amp;&quot;&apos;</string>"), Ok(json!("<>&\"'")));
    assert_eq!(
        value("<map key=\"a\"><null key=\"b\tc\r\nd\"/></map>"),
        Ok(json!({ "b c d": null }))
    );
    assert_eq!(
        value("<string key=\"a\" escaped=\"true\">\\/\\b\\f\\n\\r\\t\\ud83d\\uDE00\"</string>"),
        Ok(json!("/\u{8}\u{c}\n\r\t\u{1F600}\""))
    );
    assert_eq!(value("<string key=\"a\" escaped=\"false\">\\n</string>"), Ok(json!("\\n")));
    assert_eq!(value("<boolean key=\"a\"> 1\n</boolean>"), Ok(json!(true)));
    assert_eq!(value("<boolean key=\"a\">0</boolean>"), Ok(json!(false)));
    assert_eq!(value("<null key=\"a\"></null>"), Ok(json!(null)));
}

#[test]
fn numbers_are_those_of_json_and_integers_are_exact() {
    for (text, expected) in [
        ("18446744073709551615", json!(u64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        (" 1\n", json!(1)),
        ("-0", json!(-0.0)),
        ("0.1", json!(0.1)),
        ("1E2", json!(100.0)),
        ("1e-2", json!(0.01)),
        ("1.7976931348623157e308", json!(f64::MAX)),
        ("5e-324", json!(5e-324)),
        ("18446744073709551616", json!(18_446_744_073_709_551_616.0)),
        ("-9223372036854775809", json!(-9_223_372_036_854_775_809.0)),
    ] {
        assert_eq!(value(&format!("<number key=\"a\">{text}</number>")), Ok(expected), "{text}");
    }
    for text in [
        "", " ", "-", "+1", "01", "-01", "00", ".5", "1.", "1.e5", "1e", "1e+", "0x10", "NaN",
        "INF", "-INF", "inf", "infinity", "1_0", "1 2", "1,0", "1e5.0", "--1", "\u{661}",
    ] {
        let text = frame(&format!("<number key=\"a\">{text}</number>"));
        refused(&text, "not written as in JSON");
    }
    refused(&frame("<number key=\"a\">1e309</number>"), "out of range");
    refused(&frame(&format!("<number key=\"a\">{}</number>", "9".repeat(400))), "out of range");
}

#[test]
fn what_is_no_message_in_the_vocabulary_is_refused_with_the_reason() {
    let a = "<null key=\"a\"/>";
    let good = frame(a);
    for (text, reason) in [
        (String::new(), "ends before an element"),
        (" <!-- -->".to_owned(), "ends before an element"),
        ("x".to_owned(), "text stands"),
        (format!("<!DOCTYPE array>{good}"), "document type"),
        (format!("<!DOCTYPE array [<!ENTITY a \"b\">]>{good}"), "document type"),
        (format!("<?php x?>{good}"), "processing instruction"),
        (frame("<?php x?>"), "processing instruction"),
        (frame("<string key=\"a\"><?php x?></string>"), "processing instruction"),
        (format!("{good}<?php x?>"), "processing instruction"),
        (format!(" <?xml version=\"1.0\"?>{good}"), "not at the start"),
        (format!("{good}<?xml version=\"1.0\"?>"), "not at the start"),
        (format!("<?xml version=\"1.1\"?>{good}"), "not that of XML 1.0"),
        (format!("<?xml?>{good}"), "not that of XML 1.0"),
        (format!("<?xml encoding=\"UTF-8\"?>{good}"), "not that of XML 1.0"),
        (format!("<?xml version=\"1.0\" encoding=\"latin1\"?>{good}"), "not that of XML 1.0"),
        (good.replace(&format!(" xmlns=\"{NAMESPACE}\""), ""), "not in the namespace"),
        (good.replace(NAMESPACE, "urn:x"), "not that of the vocabulary"),
        (good.replace(NAMESPACE, ""), "not that of the vocabulary"),
        (frame("<x:null key=\"a\"/>"), "not in the namespace"),
        (frame("<null xmlns=\"\" key=\"a\"/>"), "not that of the vocabulary"),
        (frame(&format!("<j:null xmlns:j=\"{NAMESPACE}\" key=\"a\"/>")), "declared anew"),
        (
            format!(
                "<array xmlns=\"{NAMESPACE}\" xmlns:a=\"{NAMESPACE}\" xmlns:b=\"{NAMESPACE}\"/>"
            ),
            "second prefix",
        ),
        (format!("<array xmlns=\"{NAMESPACE}\" xmlns=\"{NAMESPACE}\"/>"), "twice"),
        (frame("<object key=\"a\"/>"), "no such element"),
        (frame("<Null key=\"a\"/>"), "no such element"),
        (frame("<null key=\"a\" type=\"x\"/>"), "no such attribute"),
        (frame("<null key=\"a\" xml:space=\"preserve\"/>"), "no such attribute"),
        (frame("<null key=\"a\" key=\"a\"/>"), "twice"),
        (frame("<null key=\"a\"escaped-key=\"true\"/>"), "without a space"),
        (frame("<null key=a/>"), "broken"),
        (frame("<null key/>"), "broken"),
        (frame("<null key=\"<\"/>"), "`<` stands in an attribute"),
        (frame("<null key=\"&x;\"/>"), "unknown entity"),
        (frame("<null key=\"&amp\"/>"), "does not end"),
        (frame("<null key=\"\u{1}\"/>"), "cannot hold"),
        (frame("<null key=\"&#0;\"/>"), "cannot hold"),
        (frame("<null/>"), "no key"),
        (frame("<null escaped-key=\"true\"/>"), "without a key"),
        (frame("<null key=\"a\" escaped=\"true\"/>"), "no string"),
        (frame("<string key=\"a\" escaped=\"yes\"/>"), "neither"),
        (frame("<array key=\"a\"><null key=\"b\"/></array>"), "lies in no map"),
        (good.replacen("<array ", "<array key=\"a\" ", 1), "lies in no map"),
        (frame(&format!("{a}{a}")), "a key twice"),
        (frame(&format!("{a}<null escaped-key=\"true\" key=\"\\u0061\"/>")), "a key twice"),
        (frame(&format!("{a}<null key=\"&#97;\"/>")), "a key twice"),
        (frame("x"), "text stands"),
        (frame("&#32;"), "text stands"),
        (frame("<![CDATA[x]]>"), "text stands"),
        (frame("<null key=\"a\">x</null>"), "holds text"),
        (frame("<string key=\"a\"><string/></string>"), "text only"),
        (frame("<null key=\"a\"><null/></null>"), "text only"),
        (frame("<string key=\"a\">]]></string>"), "`]]>` stands"),
        (frame("<string key=\"a\">\u{1}</string>"), "cannot hold"),
        (frame("<string key=\"a\">\u{FFFE}</string>"), "cannot hold"),
        (frame("<string key=\"a\">&#x1F;</string>"), "cannot hold"),
        (frame("<string key=\"a\">&#xD800;</string>"), "cannot hold"),
        (frame("<string key=\"a\">&#+65;</string>"), "cannot hold"),
        (frame("<string key=\"a\">&nbsp;</string>"), "unknown entity"),
        (frame("<string key=\"a\">& b</string>"), "well-formed"),
        (frame("<string key=\"a\" escaped=\"true\">\\x</string>"), "does not have"),
        (frame("<string key=\"a\" escaped=\"true\">\\</string>"), "does not have"),
        (frame("<string key=\"a\" escaped=\"true\">\\u12</string>"), "four digits"),
        (frame("<string key=\"a\" escaped=\"true\">\\u+123</string>"), "four digits"),
        (frame("<string key=\"a\" escaped=\"true\">\\u00é</string>"), "four digits"),
        (frame("<boolean key=\"a\">yes</boolean>"), "neither"),
        (frame("<boolean key=\"a\"/>"), "neither"),
        (frame("<!-- a -- b -->"), "well-formed"),
        (frame("<null key=\"a\"></map>"), "end tag"),
        (frame("<array key=\"a\"></map>"), "end tag"),
        (frame("<array key=\"a\"><!-- --></map >"), "end tag"),
        (frame("<array key=\"a\"></array x=\"\">"), "end tag"),
        (good.replace("</array>", ""), "ends within an element"),
        (format!("{good}{good}"), "second element"),
        (format!("{good}x"), "text stands"),
        (format!("{good}</array>"), "where none may"),
        ("<map xmlns=\"http://www.w3.org/2005/xpath-functions\"/>".to_owned(), "an array"),
    ] {
        refused(&text, reason);
    }
    let attributes = format!(
        "<array xmlns=\"{NAMESPACE}\" xmlns:a=\"{NAMESPACE}\" key=\"a\" escaped-key=\"true\" escaped=\"true\"/>"
    );
    refused(&attributes, "too many attributes");
    assert!(Xml.decode::<Value>(b"\xff", Limits::default()).is_err());
}

#[test]
fn an_error_says_where() {
    assert!(decode("<array>").unwrap_err().ends_with("before byte 7"));
}

fn members(keys: impl Iterator<Item = usize>) -> String {
    keys.fold(String::new(), |all, key| all + &format!("<null key=\"{key}\"/>"))
}

#[test]
fn a_key_that_comes_twice_is_found_in_maps_of_any_size() {
    for size in [1, 2, 15, 16, 17, 18, 100, 100_000] {
        assert!(decode(&frame(&members(0..size))).is_ok(), "{size}");
        for twice in [0, size / 2, size - 1] {
            refused(&frame(&members((0..size).chain([twice]))), "a key twice");
        }
    }
    let inner = format!("<map key=\"a\">{}</map>", members(0..20));
    let outer = format!("{}{inner}{}", members(0..14), members(20..30));
    assert!(decode(&frame(&outer)).is_ok());
    refused(&frame(&format!("{outer}<null key=\"a\"/>")), "a key twice");
}

#[test]
fn what_nobody_asked_for_is_read_over_but_has_to_be_right() {
    let sync = |ignored: &str| {
        format!(
            "<array xmlns=\"{NAMESPACE}\"><string>sync</string><number>1</number>{ignored}<map><string key=\"id\">1</string><number key=\"time\">1</number></map></array>"
        )
    };
    let read =
        |text: &str| Xml.decode::<IgnoredAny>(sync(text).as_bytes(), Limits::default()).is_ok();
    let nest = |levels: usize| format!("{}{}", "<array>".repeat(levels), "</array>".repeat(levels));
    assert!(read("<map><array key=\"a\"/><map key=\"b\"><number key=\"a\">1</number></map></map>"));
    assert!(read(&nest(128)));
    for wrong in [
        nest(129),
        "<array>".repeat(100_000),
        "<map><null key=\"a\"/><null key=\"a\"/></map>".to_owned(),
        "<array><number>x</number></array>".to_owned(),
        "<array>x</array>".to_owned(),
        "<boolean>x</boolean>".to_owned(),
        "<string escaped=\"true\">\\x</string>".to_owned(),
        "<foreign/>".to_owned(),
    ] {
        assert!(!read(&wrong), "{wrong:.80}");
    }
}

fn sync<E>(event: E) -> Message<E> {
    let time = Timestamp::new(1).unwrap();
    let meta = WireMeta {
        id: WireId::Absolute { time, author: None },
        time: 1,
        subprotocol: None,
        extra: Rare::default(),
    };
    Message::Sync(Sync { added: Added::ZERO, entries: vec![(event, meta)] })
}

/// What JSON can say of a value, XML says, too: it reads back equal, and as the same `Value`.
fn survives<E: Serialize + DeserializeOwned + PartialEq + Debug + Clone>(event: &E) {
    let message = sync(event.clone());
    let mut xml = Vec::new();
    Xml.encode(&message, &mut xml).unwrap();
    let shown = String::from_utf8(xml.clone()).unwrap();
    let back = Xml.decode::<E>(&xml, Limits::default());
    assert_eq!(back.unwrap_or_else(|error| panic!("{error:?}: {shown}")), message, "{shown}");

    let mut json = Vec::new();
    Json.encode(&message, &mut json).unwrap();
    let from_json = Json.decode::<Value>(&json, Limits::default()).unwrap();
    let from_xml = Xml.decode::<Value>(&xml, Limits::default()).unwrap();
    assert_eq!(from_xml, from_json, "{shown}");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Internal {
    #[serde(rename = "user/add")]
    Add {
        name: String,
        age: Option<u8>,
        tags: Vec<String>,
    },
    Boxed(Point),
    Unit,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Unit,
    Newtype(i8),
    Tuple(u8, String),
    Struct { a: f64 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Float(f64),
    Flag(bool),
    Text(String),
    List(Vec<Self>),
    Point(Point),
    Map(BTreeMap<String, Self>),
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum External {
    Unit,
    Newtype(Option<i64>),
    Tuple(u8, Vec<u8>),
    Struct { a: String, b: () },
    Empty {},
    Nested(Box<Self>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i32,
    y: i32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Newtype(f32);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flattened {
    id: u64,
    #[serde(flatten)]
    point: Point,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Colour {
    Red,
    #[serde(rename = "sky\tblue")]
    Blue,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Id(u32);

#[test]
fn enums_of_every_kind_survive() {
    survives(&Internal::Add { name: "é".into(), age: None, tags: vec![] });
    survives(&Internal::Add { name: "a".into(), age: Some(3), tags: vec![String::new()] });
    survives(&Internal::Boxed(Point { x: -1, y: 2 }));
    survives(&Internal::Unit);
    survives(&Internal::Unknown);
    for event in [
        Adjacent::Unit,
        Adjacent::Newtype(-1),
        Adjacent::Tuple(1, "\u{0}".into()),
        Adjacent::Struct { a: 1e100 },
    ] {
        survives(&event);
    }
    survives(&Untagged::List(vec![
        Untagged::Number(u64::MAX),
        Untagged::Float(-1.5),
        Untagged::Flag(true),
        Untagged::Text("\r".into()),
        Untagged::List(vec![]),
        Untagged::Point(Point { x: 1, y: i32::MIN }),
        Untagged::Map([("a".into(), Untagged::Nothing)].into()),
        Untagged::Nothing,
    ]));
    for event in [
        External::Unit,
        External::Newtype(None),
        External::Newtype(Some(i64::MIN)),
        External::Tuple(1, vec![0, 255]),
        External::Struct { a: "&".into(), b: () },
        External::Empty {},
        External::Nested(Box::new(External::Nested(Box::new(External::Unit)))),
    ] {
        survives(&event);
    }
}

#[test]
fn an_enum_is_one_text_or_one_member() {
    let read = |element: &str| {
        let frame = format!(
            "<array xmlns=\"{NAMESPACE}\"><string>sync</string><number>0</number>{element}<map><string key=\"id\">0</string><number key=\"time\">1</number></map></array>"
        );
        Xml.decode::<External>(frame.as_bytes(), Limits::default()).ok()
    };
    assert_eq!(read("<map><null key=\"Unit\"/></map>"), Some(sync(External::Unit)));
    for wrong in [
        "<map/>",
        "<string>Newtype</string>",
        "<string>Other</string>",
        "<map><null key=\"Newtype\"/><null key=\"Unit\"/></map>",
        "<map><number key=\"Unit\">1</number></map>",
        "<array><string>Unit</string></array>",
        "<map><array key=\"Tuple\"><number>1</number></array></map>",
        "<map><array key=\"Tuple\"><number>1</number><array/><null/></array></map>",
    ] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}

#[test]
fn structs_options_and_units_survive() {
    survives(&Flattened {
        id: 1,
        point: Point { x: 1, y: 2 },
        rest: [("a b".to_owned(), json!([1, { "": null }])), ("\r".to_owned(), json!(""))].into(),
    });
    survives(&Newtype(0.1));
    survives(&Unit);
    survives(&());
    survives(&Some(Point { x: 0, y: 0 }));
    survives(&None::<Point>);
    survives(&vec![Some(1), None]);
    survives(&(1, "a".to_owned(), [true, false]));
    survives(&Vec::<Vec<BTreeMap<String, u8>>>::from([vec![], vec![BTreeMap::new()]]));
    survives(&vec!['a', '<', '\0', '\u{10FFFF}']);
}

#[test]
fn numbers_of_every_type_survive() {
    survives(&vec![u64::MAX, 0, 1 << 53]);
    survives(&vec![i64::MIN, i64::MAX, -1]);
    survives(&vec![f32::MAX, f32::MIN_POSITIVE, 1e-45, -0.0, 0.1, 16_777_216.0]);
    survives(&vec![f64::MAX, f64::MIN_POSITIVE, 5e-324, -0.0, 0.1, 1e15, 1e16, 1e21, 1e-7]);
    survives(&vec![u128::MAX, 0, 1 << 64]);
    survives(&vec![i128::MIN, i128::MAX, -1]);
    let mut xml = Vec::new();
    Xml.encode(&sync(vec![f64::NAN, f64::INFINITY]), &mut xml).unwrap();
    let back = Xml.decode::<Vec<Option<f64>>>(&xml, Limits::default()).unwrap();
    assert_eq!(back, sync(vec![None, None]));
}

#[test]
fn keys_that_are_no_text_survive() {
    survives(&BTreeMap::from([(u64::MAX, 1), (0, 2)]));
    survives(&HashMap::from([(i64::MIN, "a".to_owned())]));
    survives(&BTreeMap::from([(i128::MIN, 1)]));
    survives(&BTreeMap::from([(true, 1), (false, 2)]));
    survives(&BTreeMap::from([(Colour::Red, 1), (Colour::Blue, 2)]));
    survives(&BTreeMap::from([('<', 1), ('\0', 2), ('"', 3)]));
    survives(&BTreeMap::from([(Id(7), BTreeMap::from([(Id(7), 1)]))]));
    survives(&BTreeMap::from([(std::net::Ipv4Addr::LOCALHOST, std::net::Ipv6Addr::LOCALHOST)]));
    let lists = BTreeMap::from([(vec![1], 1)]);
    assert!(Xml.encode(&sync(lists), &mut Vec::new()).is_err());
    assert!(Xml.encode(&sync(BTreeMap::from([((), 1)])), &mut Vec::new()).is_err());
}

/// As serde's own `Bytes` of other crates do it.
#[derive(Clone, Debug, PartialEq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self)
    }
}

/// A text that is known only by how it is shown.
#[derive(Clone, Debug, PartialEq)]
struct Shown(String);

impl Serialize for Shown {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}{}", "", self.0))
    }
}

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[test]
fn bytes_and_shown_texts_survive() {
    survives(&Bytes(vec![0, 1, 255]));
    for text in ["", "a", "<\0>", &"é".repeat(31), &"é".repeat(32), &"é<".repeat(1000)] {
        survives(&Shown(text.to_owned()));
    }
}

/// splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    fn text(&mut self) -> String {
        const PARTS: [&str; 24] = [
            "",
            "a",
            " ",
            "\t",
            "\n",
            "\r",
            "\r\n",
            "<",
            "&",
            ">",
            "]]>",
            "\"",
            "'",
            "\\",
            "\\u0041",
            "\u{0}",
            "\u{1f}",
            "\u{7f}",
            "\u{85}",
            "\u{2028}",
            "\u{FEFF}",
            "\u{FFFE}",
            "é",
            "\u{1F600}",
        ];
        (0..self.below(6)).map(|_| PARTS[usize::try_from(self.below(24)).unwrap()]).collect()
    }

    fn value(&mut self, depth: u64) -> Value {
        match self.below(if depth == 0 { 6 } else { 9 }) {
            0 => Value::Null,
            1 => (self.below(2) == 0).into(),
            2 => self.below(u64::MAX).into(),
            3 => self.below(u64::MAX).cast_signed().into(),
            4 => {
                let number = f64::from_bits(self.below(u64::MAX));
                if number.is_finite() { json!(number) } else { json!(0.5) }
            }
            5 => self.text().into(),
            6 | 7 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let members = (0..self.below(5)).map(|_| (self.text(), self.value(depth - 1)));
                Value::Object(members.collect())
            }
        }
    }
}

#[test]
fn a_hundred_thousand_generated_values_survive() {
    for seed in 0..1000 {
        let mut random = Random(seed);
        let mut frame = Vec::new();
        for place in 0..100 {
            let message = sync(random.value(5));
            frame.clear();
            Xml.encode(&message, &mut frame).unwrap();
            let back = Xml.decode::<Value>(&frame, Limits::default());
            let shown = String::from_utf8(frame.clone()).unwrap();
            match back {
                Ok(back) => assert_eq!(back, message, "seed {seed}, value {place}: {shown}"),
                Err(error) => panic!("seed {seed}, value {place}: {error:?}: {shown}"),
            }
            assert_eq!(decode(&with_prefix(&shown)), Ok(message), "seed {seed}, value {place}");
        }
    }
}

/// The same in a spelling that is read in another way. `<` begins nothing but tags.
fn with_prefix(frame: &str) -> String {
    let ends = frame.replace("</", "\0");
    ends.replace('<', "<j:").replace('\0', "</j:").replacen(" xmlns=", " xmlns:j=", 1)
}
