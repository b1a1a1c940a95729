//! Half an emoji, which a text of JavaScript can hold, is U+FFFD in every codec.
#![cfg(all(feature = "logux-binary", feature = "message-pack", feature = "xml"))]

use logux_codecs::{
    Added, Codec, Connect, Extra, Headers, Json, Limits, LoguxBinary, Message, MessagePack,
    ProtocolError, Sync, Timestamp, Value, WireId, WireMeta, Xml,
};
use serde_json::{Map, json};

fn messages(text: &str) -> Vec<Message<Value>> {
    let object = || Map::from_iter([(text.to_owned(), json!([text, { "a": text }]))]);
    let meta = |extra: Extra| WireMeta {
        id: WireId::Absolute { time: Timestamp::ZERO, author: None },
        time: 1,
        subprotocol: None,
        extra: extra.into(),
    };
    let entries = vec![
        (json!({ "type": text }), meta(Extra::new())),
        (object().into(), meta(Extra::new())),
        (json!(text), meta(Extra::new())),
    ];
    let mut with_extra = entries.clone();
    with_extra[1].1.extra = object().into();
    vec![
        Message::Sync(Sync { added: Added::ZERO, entries }),
        Message::Headers(object()),
        Message::Headers(Headers::from_iter([("a".to_owned(), text.into())])),
        Message::Debug(format!("a{text}b{text}")),
        Message::Error(ProtocolError::WrongFormat(text.to_owned())),
        Message::Error(ProtocolError::Other { kind: "own".to_owned(), options: object().into() }),
        Message::Connect(Connect {
            protocol: 7,
            node_id: "a".parse().unwrap(),
            synced: Added::ZERO,
            credentials: Some(text.into()),
            subprotocol: None,
        }),
        // These two have no binary form.
        Message::Sync(Sync { added: Added::ZERO, entries: with_extra }),
        Message::Unknown(text.to_owned()),
    ]
}

const WITH_A_BINARY_FORM: usize = 7;

fn replace(frame: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "lengths in the frame must hold");
    let mut replaced = frame.to_vec();
    for place in 0..frame.len() {
        if frame[place..].starts_with(from) {
            replaced[place..place + from.len()].copy_from_slice(to);
        }
    }
    assert_ne!(replaced, frame, "there is nothing to replace");
    replaced
}

/// Messages as `codec` writes them with `placeholder` in their texts, and half of a pair put there,
/// read as those with U+FFFD.
fn reads_halves<C: Codec>(codec: &C, count: usize, placeholder: &str, from: &[u8], to: &[u8]) {
    let expected = messages("\u{FFFD}");
    for (message, expected) in messages(placeholder).iter().zip(&expected).take(count) {
        let mut frame = Vec::new();
        codec.encode(message, &mut frame).unwrap();
        let frame = replace(&frame, from, to);
        let read = codec.decode::<Value>(&frame, Limits::default());
        match read {
            Ok(read) => assert_eq!(&read, expected, "{}", C::NAME),
            Err(error) => panic!("{}, {expected:?}: {error}", C::NAME),
        }
        // No part of it is a message.
        for end in 0..frame.len() {
            assert!(codec.decode::<Value>(&frame[..end], Limits::default()).is_err());
        }
    }
}

#[test]
fn half_a_pair_is_read_in_every_message_of_every_codec() {
    let all = messages("").len();
    for half in [br"\ud83d", br"\uD83D", br"\udbff", br"\ude00", br"\uDFFF"] {
        reads_halves(&Json, all, "\u{1}", br"\u0001", half);
        reads_halves(&LoguxBinary::new(), WITH_A_BINARY_FORM, "\u{1}", br"\u0001", half);
        reads_halves(&Xml, all, "\u{1}", br"\u0001", half);
    }
    for half in [b"\xed\xa0\xbd", b"\xed\xa0\x80", b"\xed\xbf\xbf"] {
        reads_halves(&MessagePack, all, "\u{FFFD}", "\u{FFFD}".as_bytes(), half);
    }
}

/// Texts as they stand in JSON, and what they are.
const TEXTS: [(&str, &str); 14] = [
    (r"\ud83d\ude00", "\u{1F600}"),
    (r"\ud83d", "\u{FFFD}"),
    (r"\ude00\ud83d", "\u{FFFD}\u{FFFD}"),
    (r"\ud83d\ud83d\ude00", "\u{FFFD}\u{1F600}"),
    (r"\ud83d\ude00\ude00", "\u{1F600}\u{FFFD}"),
    (r"\ud83d\u0041", "\u{FFFD}A"),
    (r"\ud83d\n\ude00", "\u{FFFD}\n\u{FFFD}"),
    (r"\ud83d\\ude00", "\u{FFFD}\\ude00"),
    (r"\\ud83d\ud83d", "\\ud83d\u{FFFD}"),
    (r"\\\ud83d", "\\\u{FFFD}"),
    (r"\\\\ud83d\udead\\", "\\\\ud83d\u{FFFD}\\"),
    (r"é\uD83Dé", "é\u{FFFD}é"),
    (r"ud83d\uDCA9", "ud83d\u{FFFD}"),
    (r"\ud7ff\ue000\ud800", "\u{D7FF}\u{E000}\u{FFFD}"),
];

#[test]
fn what_is_not_half_a_pair_stays() {
    for (text, expected) in TEXTS {
        let expected = Ok(Message::Debug(expected.to_owned()));
        let json = format!(r#"["debug","error","{text}"]"#);
        let read = Json.decode::<()>(json.as_bytes(), Limits::default());
        assert_eq!(read.map_err(|error| error.to_string()), expected, "{json}");

        let part = format!("\"{text}\"");
        let binary =
            [b"d\x05error".as_slice(), &[u8::try_from(part.len()).unwrap()], part.as_bytes()]
                .concat();
        let read = LoguxBinary::new().decode::<()>(&binary, Limits::default());
        assert_eq!(read.map_err(|error| error.to_string()), expected, "{text} in binary");

        let xml = format!(
            "<array xmlns=\"http://www.w3.org/2005/xpath-functions\"><string>debug</string>\
             <string>error</string><string escaped=\"true\">{text}</string></array>"
        );
        let read = Xml.decode::<()>(xml.as_bytes(), Limits::default());
        assert_eq!(read.map_err(|error| error.to_string()), expected, "{xml}");
    }
}

#[test]
fn what_is_broken_otherwise_stays_broken() {
    for text in
        [r"\ud83", r"\ud83g", r"\ud83d\u", r"\ud83d\x", r"\x\ud83d", "\\ud83d\n", r"\ud83d\"]
    {
        let json = format!(r#"["debug","error","{text}"]"#);
        assert!(Json.decode::<()>(json.as_bytes(), Limits::default()).is_err(), "{json}");
    }
    // Three bytes like these are nothing in what is not a text.
    let frame =
        |event: &[u8]| [b"\x94\xa4sync\x00", event, b"\x82\xa2id\xa10\xa4time\x01"].concat();
    let read = |event: &[u8]| {
        let read = MessagePack.decode::<Value>(&frame(event), Limits::default());
        read.map(|message| match message {
            Message::Sync(sync) => sync.entries[0].0.clone(),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(read(b"\xa3\xed\xa0\xbd").unwrap(), json!("\u{FFFD}"));
    assert_eq!(read(b"\xa4\xed\xa0\xbda").unwrap(), json!("\u{FFFD}a"));
    assert_eq!(
        read(b"\x92\xcf\xed\xa0\xbd\xed\xa0\xbd\0\0\xa3\xed\xa0\xbd").unwrap(),
        json!([0xeda0_bded_a0bd_0000_u64, "\u{FFFD}"])
    );
    let long = [b"\xd9\x20".as_slice(), &[b'a'; 29], b"\xed\xbf\xbf"].concat();
    assert_eq!(read(&long).unwrap(), json!("a".repeat(29) + "\u{FFFD}"));
    assert!(read(b"\xc4\x03\xed\xa0\xbd").is_err(), "bytes");
    assert!(read(b"\xc7\x03\x01\xed\xa0\xbd").is_err(), "an extension");
    assert!(read(b"\xa4\xed\xa0\xbd\xff").is_err(), "what is no character at all");
    assert!(read(b"\xa2\xed\xa0").is_err(), "two bytes of three");
    assert!(read(b"\x91\xed\xa0\xbd").is_err(), "numbers");
}

/// Reading again counts the objects again, from where they stood.
#[test]
fn the_objects_of_a_part_count_once() {
    let event = br#"{"a":[{},{},{},{}],"b":"\ud83d"}"#;
    let length = u8::try_from(event.len()).unwrap();
    let meta = [2, 0, 0].as_slice();
    let frame =
        [b"s\x00\x02j".as_slice(), &[length], event.as_slice(), meta, b"j", &[length], event, meta]
            .concat();
    let read = |objects| {
        LoguxBinary::new().decode::<Value>(&frame, Limits::default().objects(objects)).is_ok()
    };
    assert!(read(10));
    assert!(!read(9));
}

/// Looking for halves takes time in proportion to the frame, whatever is in it.
#[test]
fn large_frames_that_are_refused_are_refused_soon() {
    for part in [r"\ud83d", r"\", r"\\", r"\u", r"\ud83d\ud8", "\u{1F600}"] {
        let json = format!(r#"["debug","error","{}"#, part.repeat(200_000));
        assert!(Json.decode::<()>(json.as_bytes(), Limits::default()).is_err(), "{part}");
    }
    for part in
        [b"\xed\xa0\xbd".as_slice(), b"\xa3\xed\xa0\xbd", b"\x91", b"\xdb\xff\xff\xff\xff", b"\xa0"]
    {
        let frame = [b"\x93\xa5debug\xa5error".as_slice(), &part.repeat(200_000)].concat();
        assert!(MessagePack.decode::<()>(&frame, Limits::default()).is_err(), "{part:x?}");
    }
}
