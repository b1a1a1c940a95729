//! The JSON codec: its contract, and the layout of every message as JavaScript nodes write it.
#![cfg(feature = "json")]

use logux_codecs::{Added, Codec, Json, Limits, Message, ProtocolError, Subprotocol, Value};
use serde_json::json;

#[cfg(feature = "conformance")]
#[test]
fn json_keeps_the_contract_of_codecs() {
    logux_codecs::conformance::codec(&Json);
    logux_codecs::conformance::writes_everything_as_json_does(&Json);
}

fn decode(text: &str) -> Result<Message<Value>, String> {
    Json.decode(text.as_bytes(), Limits::default()).map_err(|error| {
        std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string)
    })
}

/// Frames as `@logux/core` 0.12.1 writes them, byte for byte.
#[test]
fn frames_of_a_javascript_node_read_and_write_back_unchanged() {
    for frame in [
        r#"["connect",7,"10:uuid",0]"#,
        r#"["connect",7,"10:uuid",5,{"token":"ok","subprotocol":2}]"#,
        r#"["connected",7,"server:x",[1795391894738,1795391894740],{"subprotocol":2}]"#,
        r#"["sync",1,{"type":"a"},{"id":"OzcVoWD","time":1}]"#,
        r#"["sync",3,{"type":"a"},{"id":"OzcVoWD 10:uuid","time":-3,"subprotocol":2},{"type":"b"},{"id":"OzcVoWE","time":0}]"#,
        r#"["synced",1]"#,
        r#"["ready",0]"#,
        r#"["ping",1]"#,
        r#"["pong",1]"#,
        r#"["headers",{"env":"development"}]"#,
        r#"["error","wrong-protocol",{"supported":7,"used":5}]"#,
        r#"["error","wrong-credentials"]"#,
        r#"["error","timeout",70000]"#,
        r#"["debug","error","text"]"#,
    ] {
        let message = decode(frame).unwrap();
        let mut back = Vec::new();
        Json.encode(&message, &mut back).unwrap();
        assert_eq!(String::from_utf8(back).unwrap(), frame);
    }
}

#[test]
fn what_is_no_message_is_refused_with_the_reason() {
    for (frame, reason) in [
        ("", "EOF"),
        ("{}", "an array that starts with its type"),
        ("[]", "ends before a type"),
        ("[1]", "the type of a message"),
        (r#"["ping"]"#, "ends before a position"),
        (r#"["ping","1"]"#, "an integer"),
        (r#"["ping",-1]"#, "not negative"),
        (r#"["ping",0.5]"#, "an integer"),
        (r#"["ping",1e300]"#, "an integer"),
        (r#"["ping",1e999]"#, "out of range"),
        (r#"["ping",9007199254740992]"#, "an integer"),
        (r#"["ping",18446744073709551615]"#, "an integer"),
        (r#"["ping",null]"#, "an integer"),
        (r#"["ping",1,2]"#, "too many items"),
        (r#"["ping",1]]"#, "trailing"),
        (r#"["connect",7,"a b",0]"#, "must not contain the character ' '"),
        (r#"["connect",7,"",0]"#, "must not be empty"),
        (r#"["connect",7,"a",0,[]]"#, "an object of options"),
        (r#"["connect",7,"a",0,{"token":1,"token":2}]"#, "duplicate field `token`"),
        (r#"["connect",-1,"a",0]"#, "no such protocol version"),
        (r#"["connected",7,"a",[1]]"#, "length 1"),
        (r#"["connected",7,"a",[1,-1]]"#, "not negative"),
        (r#"["sync",1]"#, "at least one event"),
        (r#"["sync",1,{"type":"a"}]"#, "ends before an event's meta"),
        (r#"["sync",1,{"type":"a"},{}]"#, "missing field `id`"),
        (r#"["sync",1,{"type":"a"},{"id":"1"}]"#, "missing field `time`"),
        (r#"["sync",1,{"type":"a"},{"id":"1","id":"2","time":1}]"#, "duplicate field `id`"),
        (r#"["sync",1,{"type":"a"},{"id":"-1","time":1}]"#, "an event id"),
        (r#"["sync",1,{"type":"a"},{"id":"1 a b","time":1}]"#, "must not contain"),
        (r#"["sync",1,{"type":"a"},{"id":[5],"time":1}]"#, "a counter"),
        (r#"["headers",null]"#, "expected a map"),
        (r#"["debug","info","x"]"#, "of the type `error`"),
        (r#"["error",1]"#, "expected a string"),
    ] {
        let error = decode(frame).unwrap_err();
        assert!(error.contains(reason), "{frame}: {error}");
    }
}

#[test]
fn integers_written_as_floats_are_integers() {
    assert_eq!(decode(r#"["ping",5.0]"#), Ok(Message::Ping(Added::new(5).unwrap())));
    assert_eq!(decode(r#"["ping",-0.0]"#), Ok(Message::Ping(Added::ZERO)));
}

#[test]
fn an_unknown_type_is_a_message_of_its_own() {
    assert_eq!(decode(r#"["new",{"a":[1]},2]"#), Ok(Message::Unknown("new".to_owned())));
}

#[test]
fn local_meta_is_ignored_and_further_meta_is_kept() {
    let frame = r#"["sync",1,{"type":"a"},{"id":"1","time":1,"added":1e300,"reasons":["x"],"keepLast":1,"indexes":2,"status":"new"}]"#;
    let Message::Sync(sync) = decode(frame).unwrap() else { panic!() };
    let extra = &sync.entries[0].1.extra;
    assert_eq!(Value::Object(extra.clone().into_inner()), json!({ "status": "new" }));
}

#[test]
fn a_subprotocol_is_a_number_or_a_pair() {
    for (text, subprotocol) in
        [("3", (3, 0)), ("3.0", (3, 0)), ("[3,1]", (3, 1)), ("[3,0]", (3, 0))]
    {
        let frame = format!(r#"["connect",7,"a",0,{{"subprotocol":{text}}}]"#);
        let Message::Connect(connect) = decode(&frame).unwrap() else { panic!() };
        assert_eq!(connect.subprotocol, Some(Subprotocol::new(subprotocol.0, subprotocol.1)));
    }
    for text in ["-1", "0.5", "[3]", "[3,1,0]", "\"3\"", "{}"] {
        assert!(
            decode(&format!(r#"["connect",7,"a",0,{{"subprotocol":{text}}}]"#)).is_err(),
            "{text}"
        );
    }
}

#[test]
fn errors_have_the_wording_of_the_original() {
    for (error, text) in [
        (
            ProtocolError::WrongProtocol { supported: 7, used: 5 },
            "Logux supports protocols only from version 7, but you use 5",
        ),
        (
            ProtocolError::WrongSubprotocol { supported: json!(">= 2"), used: json!(1) },
            "Only >= 2 application subprotocols are supported, but you use 1",
        ),
        (ProtocolError::WrongCredentials, "Wrong credentials"),
        (ProtocolError::WrongFormat("{}".into()), "Wrong message format in {}"),
        (ProtocolError::UnknownMessage("x".into()), "Unknown message `x` type"),
        (ProtocolError::Timeout(100), "A timeout was reached (100 ms)"),
        (ProtocolError::Bruteforce, "Too many wrong authentication attempts"),
    ] {
        assert_eq!(error.to_string(), text);
        assert_eq!(ProtocolError::from_wire(error.kind(), error.options()), error);
    }
}

#[test]
fn an_error_of_ones_own_shows_its_text() {
    let own = |options| ProtocolError::Other { kind: "own\r".into(), options }.to_string();
    assert_eq!(own(json!("try\u{1b} later")), "own: try later");
    assert_eq!(own(json!(null)), "own");
    assert_eq!(own(json!({ "more": 1 })), "own");
}

#[test]
fn a_badly_written_error_is_still_an_error() {
    assert_eq!(
        decode(r#"["error","timeout","soon"]"#),
        Ok(Message::Error(ProtocolError::Other { kind: "timeout".into(), options: json!("soon") }))
    );
}
