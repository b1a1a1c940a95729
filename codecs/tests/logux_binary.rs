//! The binary codec: its contract, and the layout of every message as JavaScript nodes write it.
#![cfg(feature = "logux-binary")]

use logux_codecs::{
    Added, Codec, Counter, Json, Limits, LoguxBinary, LoguxBinaryError, Message, ProtocolError,
    Subprotocol, Value, WireId,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The base time of [`joined`].
const BASE: i64 = 1_795_391_894_740;

fn message(value: &Value) -> Message<Value> {
    Json.decode(value.to_string().as_bytes(), Limits::default()).unwrap()
}

fn as_json(message: &Message<Value>) -> Value {
    let mut text = Vec::new();
    Json.encode(message, &mut text).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn encode<E: Serialize>(codec: &LoguxBinary, message: &Message<E>) -> Vec<u8> {
    let mut frame = Vec::new();
    codec.encode(message, &mut frame).unwrap();
    frame
}

fn decode(codec: &LoguxBinary, frame: &[u8]) -> Result<Message<Value>, LoguxBinaryError> {
    codec.decode(frame, Limits::default())
}

fn hex(frame: &[u8]) -> String {
    frame.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}

/// The two ends of a connection, the client `10:uuid` of subprotocol 2 and the server `server:x` of
/// subprotocol 4, after `connect` and `connected`.
fn joined() -> (LoguxBinary, LoguxBinary) {
    let (client, server) = (LoguxBinary::new(), LoguxBinary::new());
    pass(&client, &server, &json!(["connect", 7, "10:uuid", 0, { "subprotocol": 2 }]));
    let connected = json!(["connected", 7, "server:x", [BASE - 2, BASE], { "subprotocol": 4 }]);
    pass(&server, &client, &connected);
    (client, server)
}

fn pass(from: &LoguxBinary, to: &LoguxBinary, value: &Value) -> Value {
    as_json(&decode(to, &encode(from, &message(value))).unwrap())
}

/// A message of one event, which the server has created at the base time.
fn sync(event: &Value) -> Value {
    json!(["sync", 1, event, { "id": "P74gYIJ", "time": 0 }])
}

// The frames in this file are those that `WsBinaryConnection` of `@logux/core` 0.12.1 sends for the
// JSON beside them: it was given a WebSocket that keeps what is sent, and, for those that depend on
// it, the messages of `joined` first.

#[test]
fn frames_of_a_javascript_node_read_and_write_back_unchanged() {
    for (value, frame) in [
        (json!(["connect", 7, "10:uuid", 0]), "63070731303a75756964000000"),
        (
            json!(["connect", 7, "10:uuid", 5, { "token": "ok", "subprotocol": 2 }]),
            "63070731303a7575696405020e7b22746f6b656e223a226f6b227d",
        ),
        (
            json!(["connect", 7, "ünï", 9_007_199_254_740_991_u64, { "token": "é😀" }]),
            "630705c3bc6ec3afffffffffffffff0f00127b22746f6b656e223a22c3a9f09f9880227d",
        ),
        (
            json!(["connected", 7, "server:x", [BASE - 2, BASE]]),
            "4307087365727665723a78d2e9c8ada034d4e9c8ada0340000",
        ),
        (
            json!(["connected", 7, "server:x", [BASE - 2, BASE], { "subprotocol": 300 }]),
            "4307087365727665723a78d2e9c8ada034d4e9c8ada034ac0200",
        ),
        (
            json!(["connected", 7, "server:x", [0, 9_007_199_254_740_991_u64], { "token": "ok", "subprotocol": 1 }]),
            "4307087365727665723a7800ffffffffffffff0f010e7b22746f6b656e223a226f6b227d",
        ),
        (json!(["synced", 1]), "5301"),
        (json!(["synced", 127]), "537f"),
        (json!(["synced", 128]), "538001"),
        (json!(["synced", 9_007_199_254_740_991_u64]), "53ffffffffffffff0f"),
        (json!(["ready", 0]), "7200"),
        (json!(["ping", 16384]), "70808001"),
        (json!(["pong", 1]), "5001"),
        (json!(["headers", {}]), "68027b7d"),
        (
            json!(["headers", { "env": "development", "locale": "fr" }]),
            "68237b22656e76223a22646576656c6f706d656e74222c226c6f63616c65223a226672227d",
        ),
        (
            json!(["error", "wrong-protocol", { "supported": 7, "used": 5 }]),
            "650e77726f6e672d70726f746f636f6c187b22737570706f72746564223a372c2275736564223a357d",
        ),
        (json!(["error", "wrong-credentials"]), "651177726f6e672d63726564656e7469616c7300"),
        (json!(["error", "timeout", 70000]), "650774696d656f7574053730303030"),
        (json!(["error", "wrong-format", "{é"]), "650c77726f6e672d666f726d617405227bc3a922"),
        (json!(["error", "own", [1, null]]), "65036f776e085b312c6e756c6c5d"),
        (json!(["debug", "error", "text"]), "64056572726f7206227465787422"),
        (json!(["debug", "error", ""]), "64056572726f72022222"),
    ] {
        let read = decode(&LoguxBinary::new(), &bytes(frame)).unwrap();
        assert_eq!(as_json(&read), value);
        assert_eq!(hex(&encode(&LoguxBinary::new(), &message(&value))), frame, "{value}");
    }
}

/// Events, as a JavaScript client sends them.
#[test]
fn events_of_a_javascript_node_read_and_write_back_unchanged() {
    let big = 9_007_199_254_740_991_i64;
    for (value, frame) in [
        (
            json!(["sync", 1, { "type": "a" }, { "id": "P74gYIJ", "time": 0 }]),
            "7301016a0c7b2274797065223a2261227d020000",
        ),
        (
            json!(["sync", 1, { "big": big, "deep": [[null, true, {}]], "n": -1.5, "text": "é😀\0", "type": "a" }, { "id": "P74gYXw", "time": -1000 }]),
            "7301016a5a7b22626967223a393030373139393235343734303939312c2264656570223a5b5b6e756c6c2c747275652c7b7d5d5d2c226e223a2d312e352c2274657874223a22c3a9f09f98805c7530303030222c2274797065223a2261227d02cf0fd00f",
        ),
        (
            json!(["sync", 300, { "type": "a" }, { "id": "P74g9so", "time": -100_000 }, { "type": "b" }, { "id": "P74gYIK", "time": 64 }]),
            "73ac02026a0c7b2274797065223a2261227d02bf9a0cbf9a0c6a0c7b2274797065223a2262227d02800102",
        ),
        (
            json!(["sync", 2, { "type": "a" }, { "id": "P74gYIJ", "time": 0, "subprotocol": 3 }]),
            "7302016a0c7b2274797065223a2261227d03000003",
        ),
        (
            json!(["sync", 2, { "type": "a" }, { "id": "P74gYIO 20:other", "time": 5, "subprotocol": 3 }]),
            "7302016a0c7b2274797065223a2261227d040a0a0832303a6f7468657203",
        ),
        // The server's subprotocol: the original writes it for one of the client's, too.
        (
            json!(["sync", 2, { "type": "a" }, { "id": "P74gYIO 20:other", "time": 5, "subprotocol": 4 }]),
            "7302016a0c7b2274797065223a2261227d040a0a0832303a6f7468657204",
        ),
        // The client's own subprotocol, with which the frame was made, is as good as none.
        (
            json!(["sync", 2, { "type": "a" }, { "id": "P74gYIO 20:other", "time": 5 }]),
            "7302016a0c7b2274797065223a2261227d040a0a0832303a6f7468657202",
        ),
        (
            json!(["sync", 2, { "type": "a" }, { "id": "P74gYIO 20:ünï!b12", "time": 5, "subprotocol": 1 }]),
            "7302016a0c7b2274797065223a2261227d040a0a0c32303ac3bc6ec3af2162313201",
        ),
        (
            json!(["sync", 2, { "type": "a" }, { "id": "-", "time": -BASE }]),
            "7302016a0c7b2274797065223a2261227d02a7d391dbc068a7d391dbc068",
        ),
        (
            json!(["sync", 2, { "type": "a" }, { "id": "Uzzzzzzzz", "time": big }]),
            "7302016a0c7b2274797065223a2261227d02feffffffffffff1fd6aceea4bf97ff1f",
        ),
        (
            json!(["sync", 4, { "type": "0", "iv": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255], "d": [0, 128, 255], "compressed": true }, { "id": "P74gYIJ", "time": 0 }]),
            "7304015a0102030405060708090a0bff030080ff020000",
        ),
        (
            json!(["sync", 4, { "type": "0", "iv": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "d": [], "compressed": false }, { "id": "P74gYIJ", "time": 0 }, { "type": "b" }, { "id": "P74gYIK", "time": 1 }]),
            "7304027a000000000000000000000000000200006a0c7b2274797065223a2262227d020202",
        ),
    ] {
        let (client, server) = joined();
        let read = decode(&server, &bytes(frame)).unwrap();
        assert_eq!(as_json(&read), value);
        assert_eq!(hex(&encode(&client, &message(&value))), frame, "{value}");
    }
}

/// What a JavaScript node writes in a shorter way than this codec does, and what it leaves out.
#[test]
fn all_forms_of_events_of_a_javascript_node_are_read() {
    let at = |id: &str| format!("{id}020000");
    for (event, frame) in [
        (json!({ "type": "logux/processed", "id": "P74gYIC 10:uuid" }), at("730301700a0d")),
        (
            json!({ "type": "logux/processed", "id": "P74gYIC server:x" }),
            at("730301700b0d087365727665723a78"),
        ),
        (json!({ "type": "0/clean", "id": "P74gYIQ 10:uuid" }), at("730301630a0e")),
        (
            json!({ "type": "0/clean", "id": "P74gYIQ 20:other" }),
            at("730301630b0e0832303a6f74686572"),
        ),
        (
            json!({ "type": "0/clean", "ids": ["P74gYIQ 20:other", "P74gYIR 10:uuid", "P74gYIA ünï"] }),
            at("73030143030b0e0832303a6f746865720a100b1105c3bc6ec3af"),
        ),
        (json!({ "type": "0/clean", "ids": [] }), at("7303014300")),
    ] {
        let (client, server) = joined();
        let value = json!(["sync", 3, event, { "id": "P74gYIJ", "time": 0 }]);
        assert_eq!(as_json(&decode(&server, &bytes(&frame)).unwrap()), value);
        assert_eq!(pass(&client, &server, &value), value);
    }
    // An event of another node without a subprotocol: that of the server, as the original has it.
    let (client, server) = joined();
    let frame = bytes("7302016a0c7b2274797065223a2261227d040a0a0832303a6f7468657204");
    let value = json!(["sync", 2, { "type": "a" }, { "id": "P74gYIO 20:other", "time": 5 }]);
    assert_eq!(as_json(&decode(&client, &frame).unwrap()), value);
    let mut explicit = value.clone();
    explicit[3]["subprotocol"] = json!(4);
    assert_eq!(as_json(&decode(&server, &frame).unwrap()), explicit);
    // 0 is none.
    let none = [&frame[..frame.len() - 1], &[0]].concat();
    assert_eq!(as_json(&decode(&client, &none).unwrap()), value);
    assert_eq!(as_json(&decode(&server, &none).unwrap()), value);
}

#[test]
fn keys_that_javascript_nodes_leave_out_stay() {
    let (client, server) = joined();
    let (iv, short) = (vec![7; 12], vec![7; 11]);
    for event in [
        json!({ "type": "logux/processed", "id": "P74gYIC 10:uuid", "more": 1 }),
        json!({ "type": "logux/processed" }),
        json!({ "type": "0/clean", "id": "no id", "ids": 1 }),
        json!({ "type": "0", "iv": iv, "d": [1], "compressed": true, "more": 1 }),
        json!({ "type": "0", "iv": iv, "d": [1] }),
        json!({ "type": "0", "iv": short, "d": [1], "compressed": true }),
        json!({ "type": "0", "iv": iv, "d": [256], "compressed": true }),
        json!({ "type": "0", "iv": iv, "d": [1.5], "compressed": true }),
        json!({ "type": "0", "iv": iv, "d": "text", "compressed": true }),
        json!({ "type": "0", "iv": iv, "d": [1], "compressed": null }),
        json!({ "type": "1", "iv": iv, "d": [1], "compressed": true }),
        json!(["0", iv, [1], true]),
        json!(null),
        json!({}),
    ] {
        let value = sync(&event);
        assert_eq!(pass(&server, &client, &value), value);
        assert_eq!(encode(&server, &message(&value))[3], b'j', "{event}");
    }
}

#[test]
fn bytes_of_an_encrypted_event_are_the_bytes_of_a_type_of_the_users() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Mine {
        #[serde(rename = "0")]
        Encrypted { d: Vec<u8>, iv: [u8; 12], compressed: bool },
        #[serde(rename = "0/clean")]
        Clean { id: String },
    }

    let (client, server) = joined();
    let encrypted = Mine::Encrypted { d: vec![0, 255], iv: [1; 12], compressed: true };
    let clean = Mine::Clean { id: "P74gYIQ 10:uuid".to_owned() };
    let meta = json!({ "id": "P74gYIJ", "time": 0 });
    let value = json!(["sync", 3, encrypted, meta, clean, meta]);
    let sent: Message<Mine> = Json.decode(value.to_string().as_bytes(), Limits::default()).unwrap();
    let frame = encode(&client, &sent);
    assert_eq!(frame[3], b'Z');
    assert_eq!(server.decode::<Mine>(&frame, Limits::default()).unwrap(), sent);
}

#[test]
fn a_subprotocol_of_a_connection_travels_whole_and_an_events_by_its_major() {
    let connect =
        |subprotocol: Value| json!(["connect", 7, "a", 0, { "subprotocol": subprotocol }]);
    for subprotocol in [json!(1), json!(0), json!([3, 1]), json!([0, 1])] {
        let value = connect(subprotocol);
        assert_eq!(pass(&LoguxBinary::new(), &LoguxBinary::new(), &value), value);
    }
    let (client, server) = joined();
    let event = |id: &str, subprotocol: Value| json!(["sync", 1, { "type": "a" }, { "id": id, "time": 0, "subprotocol": subprotocol }]);
    for id in ["P74gYIJ", "P74gYIJ 20:other"] {
        assert_eq!(pass(&client, &server, &event(id, json!([3, 1]))), event(id, json!(3)));
        assert_eq!(pass(&client, &server, &event(id, json!(4))), event(id, json!(4)));
    }
    assert_eq!(pass(&client, &server, &event("P74gYIJ", json!(0))), event("P74gYIJ", json!(0)));
}

#[test]
fn meta_of_the_application_stays_at_home() {
    let (client, server) = joined();
    let mut value = sync(&json!({ "type": "a" }));
    let bare = value.clone();
    value[3]["status"] = json!("new");
    assert_eq!(pass(&client, &server, &value), bare);
}

#[test]
fn what_has_no_form_is_an_error() {
    let mut frame = Vec::new();
    let unknown = Message::<Value>::Unknown("new".to_owned());
    let protocol_5 =
        message(&json!(["sync", 1, { "type": "a" }, { "id": [1, "a", 0], "time": 0 }]));
    for message in [unknown, protocol_5] {
        let error = LoguxBinary::new().encode(&message, &mut frame).unwrap_err();
        assert!(matches!(error, LoguxBinaryError::NoForm(_)), "{error}");
    }
}

#[test]
fn who_speaks_json_is_answered_in_json_and_who_speaks_binary_in_binary() {
    let server = LoguxBinary::new();
    let ping = br#"["ping",7]"#.as_slice();
    let pong = Message::<Value>::Pong(Added::ZERO.plus(7));
    assert_eq!(encode(&server, &pong), b"P\x07", "binary, before anything was said");
    assert_eq!(decode(&server, ping).unwrap(), Message::Ping(Added::ZERO.plus(7)));
    let text = encode(&server, &pong);
    assert_eq!(text, br#"["pong",7]"#);
    assert!(LoguxBinary::is_text(&text));
    decode(&server, b"p\x07").unwrap();
    let binary = encode(&server, &pong);
    assert_eq!(binary, b"P\x07");
    assert!(!LoguxBinary::is_text(&binary));
    // Also what is wrong is answered in its form.
    assert!(decode(&server, b"[").is_err());
    assert_eq!(encode(&server, &pong), text);
    assert!(decode(&server, b"{}").is_err());
    assert_eq!(encode(&server, &pong), binary);
    assert!(decode(&server, b"").is_err());
}

/// All of the protocol is there for who speaks JSON, protocol 5 too.
#[test]
fn json_is_whole() {
    let server = LoguxBinary::new();
    for value in [
        json!(["connect", 5, "10:a", 0]),
        json!(["sync", 1, { "type": "a" }, { "id": [1, "a", 12], "time": 0, "status": 1 }]),
        json!(["sync", 1, { "type": "a" }, { "id": "1 a", "time": 0, "subprotocol": [1, 2] }]),
        json!(["new"]),
    ] {
        let message = decode(&server, value.to_string().as_bytes()).unwrap();
        assert_eq!(as_json(&message), value);
        let answer: Value = serde_json::from_slice(&encode(&server, &message)).unwrap();
        assert_eq!(answer, value);
    }
}

#[test]
fn what_was_said_in_json_counts_for_binary_frames_and_the_other_way_around() {
    let (client, server) = (LoguxBinary::new(), LoguxBinary::new());
    decode(&server, br#"["connect",7,"10:uuid",0]"#).unwrap();
    let answer = encode(&server, &message(&json!(["connected", 7, "server:x", [BASE - 2, BASE]])));
    assert!(LoguxBinary::is_text(&answer));
    decode(&client, &answer).unwrap();
    decode(&client, b"p\x07").unwrap();
    let value = sync(&json!({ "type": "a" }));
    assert_eq!(pass(&client, &server, &value), value);
    assert_eq!(hex(&encode(&client, &message(&value))), "7301016a0c7b2274797065223a2261227d020000");
}

#[test]
fn connections_do_not_share_and_clones_do() {
    let (client, server) = joined();
    let value = sync(&json!({ "type": "a" }));
    let frame = encode(&client, &message(&value));
    assert_eq!(encode(&client.clone(), &message(&value)), frame);
    assert_eq!(as_json(&decode(&server.clone(), &frame).unwrap()), value);

    let other = server.for_connection();
    decode(&server, br#"["ping",1]"#).unwrap();
    assert!(LoguxBinary::is_text(&encode(&server.clone(), &message(&value))));
    assert!(!LoguxBinary::is_text(&encode(&other, &message(&value))));
    assert_ne!(encode(&other, &message(&value)), frame);
    // Who did not say its name cannot be meant by a short one.
    let short = bytes("730301700a0d020000");
    assert!(matches!(decode(&other, &short), Err(LoguxBinaryError::Number)), "before 1970");
    let short = bytes("730301700a0e020000");
    assert!(matches!(decode(&other, &short), Err(LoguxBinaryError::Unnamed)));
}

#[test]
fn what_is_no_message_is_refused_with_the_reason() {
    let (_, server) = joined();
    for (frame, reason) in [
        (b"".as_slice(), "ends within"),
        (b"\0", "0x00"),
        (b"{}", "0x7b"),
        (b"p", "ends within"),
        (b"p\x80", "ends within"),
        (b"p\x80\x00", "shortest"),
        (b"p\x80\x80\x80\x80\x80\x80\x80\x10", "too large"),
        (b"p\xff\xff\xff\xff\xff\xff\xff\x7f", "too large"),
        (b"p\xff\xff\xff\xff\xff\xff\xff\xff\x01", "too large"),
        (b"p\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "too large"),
        (b"p\x01\x01", "follow"),
        (b"p\x01p\x01", "follow"),
        (b"c\xff\xff\xff\xff\x1f\x01a\x00\x00\x00", "too large"),
        (b"c\x07\x03a b\x00\x00\x00", "names a node"),
        (b"c\x07\x00\x00\x00\x00", "names a node"),
        (b"c\x07\x01\xff\x00\x00\x00", "not UTF-8"),
        (b"c\x07\x01a\x00\x00\x02[]", "not the JSON"),
        (b"c\x07\x01a\x00\x00\x03{}}", "not the JSON"),
        (b"c\x07\xff\xff\xff\xff\xff\xff\xff\x0fa", "ends within"),
        (b"h\x00", "not the JSON"),
        (b"h\x04null", "not the JSON"),
        (b"h\x03{}\xff", "not UTF-8"),
        (b"d\x04info\x02\"x\"", "of the type `error`"),
        (b"d\x05error\x00", "not the JSON"),
        (b"d\x05error\x011", "not the JSON"),
        (b"s\x01\x00", "at least one event"),
        (b"s\x01\xff\xff\xff\xff\xff\xff\xff\x0f", "more than 10000"),
        (b"s\x01\x01", "ends within"),
        (b"s\x01\x01x", "0x78"),
        (b"s\x01\x01j\x00\x02\x00\x00", "not the JSON"),
        (b"s\x01\x01j\x02{}\x01\x00\x00", "0x01"),
        (b"s\x01\x01j\x02{}\x05\x00\x00", "0x05"),
        (b"s\x01\x01j\x02{}\x03\x00\x00", "ends within"),
        (b"s\x01\x01j\x02{}\x04\x00\x00\x00\x00", "names a node"),
        (b"s\x01\x01j\x02{}\x04\x00\x00\x03a b\x00", "names a node"),
        (b"s\x01\x01j\x02{}\x03\x00\x00\xff\xff\xff\xff\x1f", "too large"),
        // Before 1970, and after the last moment.
        (b"s\x01\x01j\x02{}\x02\x00\xff\xff\xff\xff\xff\xff\x01", "too large"),
        (b"s\x01\x01j\x02{}\x02\x00\xfe\xff\xff\xff\xff\xff\xff\x1f", "too large"),
        (b"s\x01\x01p\x09\x00\x02\x00\x00", "0x09"),
        (b"s\x01\x01C\xff\xff\xff\xff\xff\xff\xff\x0f\x0a\x00", "ends within"),
        (b"s\x01\x01z\x01\x02\x03", "ends within"),
        (b"s\x01\x01zaaaaaaaaaaaa\xff\xff\xff\xff\xff\xff\xff\x0f", "ends within"),
        (b"[", "not a message in JSON"),
        (b"[\xff]", "not a message in JSON"),
        (b"[\"ping\",1]p\x01", "not a message in JSON"),
    ] {
        let error = decode(&server, frame).unwrap_err().to_string();
        assert!(error.contains(reason), "{frame:?}: {error}");
    }
}

/// A short id takes two bytes, and stands for a text of hundreds.
#[test]
fn events_name_no_more_events_than_may_come() {
    let server = LoguxBinary::new();
    let node = "x".repeat(256);
    decode(&server, &encode(&LoguxBinary::new(), &message(&json!(["connect", 7, node, 0]))))
        .unwrap();
    let names = |count: u8| {
        let ids = [10, 0].repeat(usize::from(count));
        [b"s\x01\x01C", [count].as_slice(), &ids, b"\x02\x00\x00"].concat()
    };
    let limits = Limits::default().events(100);
    assert!(server.decode::<Value>(&names(100), limits).is_ok());
    let refused = server.decode::<Value>(&names(101), limits).unwrap_err();
    assert!(matches!(refused, LoguxBinaryError::TooManyEvents(100)));
}

#[test]
fn a_number_reads_up_to_the_largest_of_javascript_and_no_further() {
    let largest = decode(&LoguxBinary::new(), b"p\xff\xff\xff\xff\xff\xff\xff\x0f").unwrap();
    assert_eq!(largest, Message::Ping(Added::new((1 << 53) - 1).unwrap()));
    let first_refused = decode(&LoguxBinary::new(), b"p\x80\x80\x80\x80\x80\x80\x80\x10");
    assert!(matches!(first_refused, Err(LoguxBinaryError::Number)));
}

#[test]
fn errors_keep_their_cause() {
    let error = decode(&LoguxBinary::new(), b"h\x04null").unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("expected a map"), "{cause}");
}

#[test]
fn a_badly_written_error_is_still_an_error() {
    let read = decode(&LoguxBinary::new(), b"e\x07timeout\x06\"soon\"").unwrap();
    let error = ProtocolError::Other { kind: "timeout".into(), options: json!("soon") };
    assert_eq!(read, Message::Error(error));
}

/// The test kit, for all that the encoding can hold: not meta of the application, minor numbers of
/// an event's subprotocol or ids of protocol 5. Frames are of a connection on which nothing was said.
#[cfg(feature = "conformance")]
mod conformance {
    use logux_codecs::conformance;

    use super::*;

    fn messages() -> impl Iterator<Item = Message<Value>> {
        conformance::messages().into_iter().filter_map(|mut message| {
            if let Message::Sync(sync) = &mut message {
                for (_, meta) in &mut sync.entries {
                    if matches!(meta.id, WireId::Shifted { .. }) {
                        return None;
                    }
                    meta.extra.clear();
                }
            }
            Some(message)
        })
    }

    #[test]
    fn reads_back_what_it_writes() {
        for message in messages() {
            let (writer, reader) = (LoguxBinary::new(), LoguxBinary::new());
            let frame = encode(&writer, &message);
            assert_eq!(decode(&reader, &frame).unwrap(), message);
            let mut appended = b"before".to_vec();
            LoguxBinary::new().encode(&message, &mut appended).unwrap();
            assert_eq!(appended, [b"before", frame.as_slice()].concat());
        }
    }

    #[test]
    fn refuses_a_cut_frame_and_trailing_bytes() {
        for message in messages() {
            let frame = encode(&LoguxBinary::new(), &message);
            for end in 0..frame.len() {
                let cut = decode(&LoguxBinary::new(), &frame[..end]);
                assert!(cut.is_err(), "{message:?} reads back from {end} of {}", frame.len());
            }
            for more in [&[0], &[1], frame.as_slice()] {
                let trailing = decode(&LoguxBinary::new(), &[frame.as_slice(), more].concat());
                assert!(matches!(trailing, Err(LoguxBinaryError::Trailing)), "{message:?}");
            }
        }
    }

    #[test]
    fn refuses_numbers_out_of_range() {
        conformance::refuses_numbers_out_of_range(&LoguxBinary::new());
    }

    #[test]
    fn carries_the_types_of_serde() {
        conformance::carries_the_types_of_serde(&LoguxBinary::new());
        conformance::writes_everything_as_json_does(&LoguxBinary::new());
    }

    #[test]
    fn keeps_its_expansion() {
        conformance::keeps_its_expansion(&LoguxBinary::new());
    }

    #[test]
    fn survives_any_bytes() {
        let mut random = 0x5EED_u64;
        let mut next = |end: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(random >> 33).unwrap() % end
        };
        let (client, server) = joined();
        for message in messages() {
            let frame = encode(&client, &message);
            for _ in 0..64 {
                let mut changed = frame.clone();
                for _ in 0..=next(3) {
                    let place = next(changed.len());
                    changed[place] = u8::try_from(next(256)).unwrap();
                }
                let _ = decode(&server, &changed);
            }
        }
        for kind in *b"cCsSrpPhedCjzZ[" {
            for length in 0..64 {
                let mut bytes = vec![kind];
                bytes.extend((0..length).map(|_| u8::try_from(next(256)).unwrap()));
                let _ = decode(&server, &bytes);
            }
        }
    }

    #[test]
    fn keeps_the_limits() {
        conformance::keeps_the_limits(&LoguxBinary::new());
        let (client, server) = (LoguxBinary::new(), LoguxBinary::new());
        decode(&client, br#"["ping",1]"#).unwrap();
        let text = encode(
            &client,
            &message(
                &json!(["sync", 1, {}, { "id": "1", "time": 0 }, {}, { "id": "2", "time": 0 }]),
            ),
        );
        assert!(server.decode::<Value>(&text, Limits::default().events(1)).is_err());
    }
}

#[test]
fn a_counter_of_protocol_5_is_part_of_a_name() {
    let (client, server) = joined();
    let value = json!(["sync", 2, { "type": "a" }, { "id": "P74gYIO 20:a!b12", "time": 5 }]);
    let Message::Sync(sync) = decode(&server, &encode(&client, &message(&value))).unwrap() else {
        panic!()
    };
    let WireId::Absolute { author: Some((node, counter)), .. } = &sync.entries[0].1.id else {
        panic!()
    };
    assert_eq!((node.as_str(), *counter), ("20:a", Counter::new(12).unwrap()));
    assert_eq!(sync.entries[0].1.subprotocol, None::<Subprotocol>);
}
