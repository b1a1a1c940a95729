//! The XML codec beside an XPath 3.1 processor: `tests/xpath/run` installs it and runs this.
#![cfg(all(feature = "conformance", feature = "json", feature = "xml"))]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use logux_codecs::conformance::{events, messages};
use logux_codecs::{
    Added, Codec, Json, Limits, Message, Rare, Sync, Timestamp, Value, WireId, WireMeta, Xml,
};

fn text<C: Codec>(codec: &C, message: &Message<Value>) -> String {
    let mut frame = Vec::new();
    codec.encode(message, &mut frame).unwrap();
    String::from_utf8(frame).unwrap()
}

fn all_messages() -> Vec<Message<Value>> {
    let meta = WireMeta {
        id: WireId::Absolute { time: Timestamp::ZERO, author: None },
        time: 1,
        subprotocol: None,
        extra: Rare::default(),
    };
    let sync =
        |event| Message::Sync(Sync { added: Added::ZERO, entries: vec![(event, meta.clone())] });
    messages().into_iter().chain(events(1).take(2_000).map(sync)).collect()
}

#[test]
#[ignore = "needs Python and SaxonC: run tests/xpath/run"]
fn an_xpath_processor_reads_and_writes_the_same_messages() {
    let messages = all_messages();
    let mut input = String::new();
    for message in &messages {
        for text in [text(&Xml, message), text(&Json, message)] {
            input.push_str(&serde_json::to_string(&text).unwrap());
            input.push('\n');
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/xpath");
    let mut python = Command::new(folder.join("venv/bin/python"))
        .arg(folder.join("convert.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tests/xpath/run has installed it");
    let mut stdin = python.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());

    let output = String::from_utf8(output.stdout).unwrap();
    let mut lines = output.lines().map(|line| serde_json::from_str::<String>(line).unwrap());
    for message in &messages {
        let (json, xml) = (lines.next().unwrap(), lines.next().unwrap());
        let from_json: Message<Value> = Json.decode(json.as_bytes(), Limits::default()).unwrap();
        assert!(same(&from_json, message), "xml-to-json() makes {json} of {message:?}");
        let from_xml: Message<Value> =
            Xml.decode(xml.as_bytes(), Limits::default()).unwrap_or_else(|error| {
                panic!("what json-to-xml() makes of {message:?} is refused: {error}\n{xml}")
            });
        assert!(same(&from_xml, message), "json-to-xml() makes {xml} of {message:?}");
    }
    assert_eq!(lines.next(), None);
}

/// Equal, but for numbers that an XPath processor writes as doubles.
fn same(one: &Message<Value>, other: &Message<Value>) -> bool {
    let value = |message| serde_json::from_str::<Value>(&text(&Json, message)).unwrap();
    same_value(&value(one), &value(other))
}

fn same_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| same_value(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|((key, one), (other_key, other))| {
                    key == other_key && same_value(one, other)
                })
        }
        _ => one == other,
    }
}
