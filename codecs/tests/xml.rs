//! The XML codec: its contract, and what it takes and refuses of XML.
#![cfg(feature = "xml")]

use logux_codecs::{Codec, Limits, Message, Value, Xml};
use serde::de::DeserializeOwned;
use serde_json::json;

const ARRAY: &str = r#"<array xmlns="http://www.w3.org/2005/xpath-functions">"#;

#[cfg(feature = "conformance")]
#[test]
fn xml_keeps_the_contract_of_codecs() {
    logux_codecs::conformance::codec(&Xml);
    logux_codecs::conformance::writes_everything_as_json_does(&Xml);
}

/// A frame with an event in it.
fn frame(event: &str) -> String {
    let meta = r#"<map><string key="id">1</string><number key="time">1</number></map>"#;
    format!("{ARRAY}<string>sync</string><number>1</number>{event}{meta}</array>")
}

fn read<E: DeserializeOwned>(event: &str) -> Result<E, String> {
    decode(&frame(event))
}

fn decode<E: DeserializeOwned>(frame: &str) -> Result<E, String> {
    match Xml.decode(frame.as_bytes(), Limits::default()) {
        Ok(Message::Sync(mut sync)) => Ok(sync.entries.remove(0).0),
        Ok(_) => panic!("{frame} is no sync"),
        Err(error) => Err(error.to_string()),
    }
}

fn write(event: &Value) -> String {
    let read: Message<Value> = Xml.decode(frame("<null/>").as_bytes(), Limits::default()).unwrap();
    let Message::Sync(mut sync) = read else { panic!() };
    sync.entries[0].0 = event.clone();
    let mut out = Vec::new();
    Xml.encode(&Message::Sync(sync), &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let empty = frame("<null/>");
    let (before, after) = empty.split_once("<null/>").unwrap();
    out.strip_prefix(before).unwrap().strip_suffix(after).unwrap().to_owned()
}

#[test]
fn values_have_the_elements_of_the_w3c() {
    for (value, xml) in [
        (json!(null), "<null/>"),
        (json!(true), "<boolean>true</boolean>"),
        (json!(-1.5), "<number>-1.5</number>"),
        (json!(u64::MAX), "<number>18446744073709551615</number>"),
        (json!(""), "<string></string>"),
        (json!([]), "<array></array>"),
        (json!({}), "<map></map>"),
        (json!([[1], {}]), "<array><array><number>1</number></array><map></map></array>"),
        (
            json!({ "a b": null, "": [{ "1": "x" }] }),
            "<map><array key=\"\"><map><string key=\"1\">x</string></map></array>\
             <null key=\"a b\"/></map>",
        ),
    ] {
        assert_eq!(write(&value), xml);
        assert_eq!(read::<Value>(xml), Ok(value));
    }
}

#[test]
fn characters_that_xml_cannot_hold_have_escapes_of_json() {
    for (text, xml) in [
        ("<&>\"'", "<string>&lt;&amp;&gt;&quot;'</string>"),
        ("]]>", "<string>]]&gt;</string>"),
        ("\t\n", "<string>&#9;&#10;</string>"),
        (" a ", "<string> a </string>"),
        ("\\u0041", "<string>\\u0041</string>"),
        ("\r", "<string escaped=\"true\">\\r</string>"),
        ("\u{0}\\\"<", "<string escaped=\"true\">\\u0000\\\\\\&quot;&lt;</string>"),
        ("\u{FFFE}é", "<string escaped=\"true\">\\ufffeé</string>"),
        ("\u{FFFD}\u{1F600}\u{85}", "<string>\u{FFFD}\u{1F600}\u{85}</string>"),
    ] {
        assert_eq!(write(&text.into()), xml);
        assert_eq!(read::<Value>(xml), Ok(text.into()));
    }
    for (key, xml) in [
        ("<&>\"", r#"<map><null key="&lt;&amp;&gt;&quot;"/></map>"#),
        ("\t\n", r#"<map><null key="&#9;&#10;"/></map>"#),
        ("\r\u{0}", r#"<map><null key="\r\u0000" escaped-key="true"/></map>"#),
        ("\\n", r#"<map><null key="\n"/></map>"#),
    ] {
        let value = json!({ key: null });
        assert_eq!(write(&value), xml);
        assert_eq!(read::<Value>(xml), Ok(value));
    }
}

#[test]
fn what_others_write_for_the_same_is_taken() {
    for (xml, value) in [
        ("<string>a<![CDATA[<b>&amp;]]>c</string>", json!("a<b>&amp;c")),
        ("<string>a<!-- no part of it -->b</string>", json!("ab")),
        ("<string>&#x1F600;&#65;&apos;</string>", json!("\u{1F600}A'")),
        ("<string>a\r\nb\rc</string>", json!("a\nb\nc")),
        ("<string/>", json!("")),
        (
            "<string escaped='true'>\\u00e9\\ud83d\\ude00\\/\\b\\f</string>",
            json!("é\u{1F600}/\u{8}\u{c}"),
        ),
        ("<string escaped=\"false\">\\n</string>", json!("\\n")),
        ("<number> 1e3\n</number>", json!(1000.0)),
        ("<number>-0</number>", json!(-0.0)),
        ("<boolean> 1 </boolean>", json!(true)),
        ("<boolean>false</boolean>", json!(false)),
        ("<null></null>", json!(null)),
        (" <array>\n <null/>\t</array>\r\n", json!([null])),
        ("<map><null key='\u{20}a\tb\n'/></map>", json!({ " a b ": null })),
        ("<map><null key='\\u0061' escaped-key='1'/></map>", json!({ "a": null })),
        ("<array xmlns='http://www.w3.org/2005/xpath-functions'/>", json!([])),
    ] {
        assert_eq!(read::<Value>(xml), Ok(value), "{xml}");
    }
    for around in [
        |xml: &str| {
            format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- a -->{xml}<!-- b -->\n")
        },
        |xml: &str| format!("<?xml version='1.0'?>{xml}"),
        |xml: &str| format!("\n{xml}\n"),
    ] {
        assert_eq!(decode::<Value>(&around(&frame("<null/>"))), Ok(Value::Null));
    }
}

#[test]
fn what_is_no_value_is_refused_with_the_reason() {
    for (xml, reason) in [
        ("<string>&a;</string>", "an entity is none of"),
        ("<string>&#0;</string>", ""),
        ("<string>&#1;</string>", "a reference is to no character"),
        ("<string>&#xD800;</string>", ""),
        ("<string>\u{1}</string>", "a character is none of XML's"),
        ("<string>\u{FFFF}</string>", "a character is none of XML's"),
        ("<string><null/></string>", "an element is where a text should be"),
        ("<string escaped=\"true\">\\x</string>", "a text has a wrong escape"),
        ("<string escaped=\"true\">\\ud800</string>", "a text has a wrong escape"),
        ("<string escaped=\"true\">\\udc00\\ud800</string>", "a text has a wrong escape"),
        ("<string escaped=\"yes\">a</string>", "a boolean is neither"),
        ("<number>NaN</number>", "a number is not one of JSON"),
        ("<number>INF</number>", "a number is not one of JSON"),
        ("<number>+1</number>", "a number is not one of JSON"),
        ("<number>01</number>", "a number is not one of JSON"),
        ("<number>1.</number>", "a number is not one of JSON"),
        ("<number>.5</number>", "a number is not one of JSON"),
        ("<number>0x10</number>", "a number is not one of JSON"),
        ("<number>1e</number>", "a number is not one of JSON"),
        ("<number></number>", "a number is not one of JSON"),
        ("<number>1e400</number>", "a number is out of range"),
        ("<boolean>yes</boolean>", "a boolean is neither"),
        ("<null>a</null>", "a text is where an element should be"),
        ("<null><null/></null>", "there is something in null"),
        ("<integer>1</integer>", "an element is none of map, array"),
        ("<f:null xmlns:f=\"urn:a\"/>", "an element is none of map, array"),
        ("<null a=\"b\"/>", "an attribute is none of"),
        ("<null a=\"b\" a=\"b\"/>", "an attribute is none of"),
        ("<null key=\"a\"/>", "only a member of a map has a key"),
        ("<null xmlns=\"urn:a\"/>", "an element is of another namespace"),
        ("<null xmlns=\"\"/>", "an element is of another namespace"),
        ("<null xml:space=\"preserve\"/>", "an attribute is none of"),
        ("<map><null/></map>", "a member of a map has no key"),
        ("<map><null key=\"a\" key=\"a\"/></map>", "an attribute comes twice"),
        ("<map><null key=\"a\"/><null key=\"a\"/></map>", "a key comes twice"),
        (
            "<map><null key=\"a\"/><null key=\"\\u0061\" escaped-key=\"true\"/></map>",
            "a key comes twice",
        ),
        ("<map><null key=\"&a;\"/></map>", "an entity is none of"),
        ("<map><null key=\"&amp\"/></map>", "a reference does not end"),
        ("<array>a</array>", "a text is where an element should be"),
        ("<array><![CDATA[a]]></array>", "a text is where an element should be"),
        ("<array><?a b?></array>", "processing instructions are not taken"),
        ("<array><!DOCTYPE a></array>", "document types are not taken"),
        ("<array></map>", ""),
        ("<!-- a -- b --><null/>", ""),
    ] {
        let error = read::<Value>(xml).expect_err(xml);
        assert!(error.contains(reason), "{xml}: {error}");
    }
    for (before, after, reason) in [
        ("<!DOCTYPE array>", "", "document types are not taken"),
        ("<?a b?>", "", "processing instructions are not taken"),
        (" <?xml version=\"1.0\"?>", "", ""),
        ("<?xml version=\"1.1\"?>", "", "of another version"),
        ("<?xml version=\"1.0\" encoding=\"UTF-16\"?>", "", "says that it is not UTF-8"),
        ("a", "", "a text is where an element should be"),
        ("", "a", "a text is where an element should be"),
        ("", "<null/>", "an element follows the message"),
    ] {
        let frame = format!("{before}{}{after}", frame("<null/>"));
        let error = decode::<Value>(&frame).expect_err(&frame);
        assert!(error.contains(reason), "{frame}: {error}");
    }
    let other = frame("<null/>").replacen("xpath-functions", "other", 1);
    assert!(decode::<Value>(&other).unwrap_err().contains("of another namespace"));
    let none = frame("<null/>").replacen(ARRAY, "<array>", 1);
    assert!(decode::<Value>(&none).unwrap_err().contains("not in the namespace"));
}

#[test]
fn a_key_that_comes_twice_is_found_among_many() {
    let keys = |last: usize| {
        let keys = (0..2000).chain([last]).map(|n| format!("<null key=\"{n}\"/>"));
        let keys = keys.collect::<Vec<_>>().concat();
        read::<Value>(&format!("<map>{keys}</map>"))
    };
    assert!(keys(2000).is_ok());
    for twice in [0, 7, 8, 9, 1999] {
        assert!(keys(twice).is_err(), "{twice}");
    }
}

#[test]
fn integers_of_any_length_and_floats_are_exact() {
    for number in [0, 1, 1 << 53, (1 << 53) + 1, u64::MAX] {
        assert_eq!(read::<u64>(&format!("<number>{number}</number>")), Ok(number));
    }
    for number in [i64::MIN, -1, i64::MAX] {
        assert_eq!(read::<i64>(&format!("<number>{number}</number>")), Ok(number));
    }
    for number in [u128::MAX, 1 << 64, 3] {
        assert_eq!(read::<u128>(&format!("<number>{number}</number>")), Ok(number));
    }
    assert_eq!(read::<i128>(&format!("<number>{}</number>", i128::MIN)), Ok(i128::MIN));
    assert!(read::<u64>("<number>18446744073709551616</number>").is_err());
    assert!(read::<u8>("<number>256</number>").is_err());
    for number in [5e-324, 0.1 + 0.2, f64::MAX, -1.0 / 3.0, 1e21] {
        assert_eq!(read::<f64>(&format!("<number>{number:e}</number>")), Ok(number));
    }
}

#[test]
fn errors_tell_where() {
    let error = read::<Value>("<array><null/><integer/></array>").unwrap_err();
    let at = frame("").find("<map>").unwrap() + "<array><null/><integer/>".len();
    assert!(error.starts_with(&format!("the XML is not a message, at byte {at}: ")), "{error}");
}
