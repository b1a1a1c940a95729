//! The MessagePack codec beside Python's `msgpack`: `tests/python/run` installs it and runs this.
#![cfg(all(feature = "conformance", feature = "json", feature = "message-pack"))]

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use logux_codecs::conformance::{events, messages};
use logux_codecs::{
    Added, Codec, Json, Limits, Message, MessagePack, Rare, Sync, Timestamp, Value, WireId,
    WireMeta,
};

fn frame<C: Codec>(codec: &C, message: &Message<Value>) -> Vec<u8> {
    let mut frame = Vec::new();
    codec.encode(message, &mut frame).unwrap();
    frame
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
#[ignore = "needs Python and msgpack: run tests/python/run"]
fn python_reads_and_writes_the_same_messages() {
    let messages = all_messages();
    let mut input = String::new();
    for message in &messages {
        for byte in frame(&MessagePack, message) {
            write!(input, "{byte:02x}").unwrap();
        }
        let json = String::from_utf8(frame(&Json, message)).unwrap();
        writeln!(input, "\n{json}").unwrap();
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python");
    let mut python = Command::new(folder.join("venv/bin/python"))
        .arg(folder.join("convert.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tests/python/run has installed it");
    let mut stdin = python.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());

    let output = String::from_utf8(output.stdout).unwrap();
    let mut lines = output.lines();
    for message in &messages {
        let (json, packed) = (lines.next().unwrap(), lines.next().unwrap());
        let from_json: Message<Value> = Json.decode(json.as_bytes(), Limits::default()).unwrap();
        assert_eq!(from_json, *message, "Python reads {json}");
        let packed: Vec<u8> = (0..packed.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&packed[at..at + 2], 16).unwrap())
            .collect();
        let back: Message<Value> = MessagePack.decode(&packed, Limits::default()).unwrap();
        assert_eq!(back, *message, "Python writes {packed:02x?}");
    }
    assert_eq!(lines.next(), None);
}
