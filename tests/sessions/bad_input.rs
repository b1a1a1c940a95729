//! What a peer must not send: each cell of the table (role, phase, message) is a test. The
//! documented error is sent, the connection closes, the log and all other connections stay as they
//! are.

use std::time::Duration;

use logux_sync::{
    BaseSync, ClientSync, Error, Limits, Log, MemoryStore, Misbehaviour, Role, Server, Session,
    State, SyncOptions, Value,
};
use serde_json::json;

use crate::cells::Cell;
use crate::scripted::Peer;

on_every_cell! {
    each_message_in_each_phase_has_its_effect,
    one_bad_peer_changes_nothing_for_the_others,
    before_authentication_little_is_taken,
    a_frame_over_the_limit_is_refused,
    the_limits_of_a_session_are_its_options,
    what_a_peer_sends_is_safe_to_show,
    who_says_nothing_is_cut_off,
    a_stranger_s_values_are_few,
}

/// Where a connection stands when the message comes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Nobody has introduced himself.
    Opening,
    /// The peer has, and `auth` is thinking about it.
    Checking,
    /// Both sides send events.
    Live,
}

/// What a message in a phase does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Effect {
    /// The connection goes on, after this answer if there is one.
    Goes(&'static str),
    /// The connection closes, after this error if there is one. It quotes the message as JSON has it.
    Ends(&'static str),
    /// It is not read.
    Waits,
}
use Effect::{Ends, Goes, Waits};
use Phase::{Checking, Live, Opening};
use Role::{Acceptor, Opener};

const CONNECT: &str = r#"["connect",7,"peer",0]"#;
const CONNECTED: &str = r#"["connected",7,"peer",[1000,1000]]"#;
const SYNC: &str = r#"["sync",1,{"type":"a"},{"id":"1","time":1}]"#;

/// Every message that the protocol has, in every phase and role.
#[rustfmt::skip]
fn table() -> Vec<(&'static str, Role, Phase, Effect)> {
    let mut table = Vec::new();
    for role in [Opener, Acceptor] {
        for (message, opening, live) in [
            (r#"["headers",{"a":1}]"#, Goes(""), Goes("")),
            (r#"["debug","error","text"]"#, Goes(""), Goes("")),
            (r#"["error","timeout",5]"#, Ends(""), Ends("")),
            (r#"["error","own"]"#, Ends(""), Ends("")),
            (r#"["new",1]"#, Ends(r#"["error","unknown-message","new"]"#), Ends(r#"["error","unknown-message","new"]"#)),
            (SYNC, Ends(r#"["error","missed-auth","[\"sync\",1,{\"type\":\"a\"},{\"id\":\"1\",\"time\":1}]"]"#), Goes(r#"["synced",1]"#)),
            (r#"["synced",1]"#, Ends(r#"["error","missed-auth","[\"synced\",1]"]"#), Ends(r#"["error","wrong-format","[\"synced\",1]"]"#)),
            (r#"["synced",9007199254740991]"#, Ends(r#"["error","missed-auth","[\"synced\",9007199254740991]"]"#), Ends(r#"["error","wrong-format","[\"synced\",9007199254740991]"]"#)),
            (r#"["ready",1]"#, Ends(r#"["error","missed-auth","[\"ready\",1]"]"#), Goes("")),
            (r#"["ping",1]"#, Ends(r#"["error","missed-auth","[\"ping\",1]"]"#), Goes(r#"["pong",0]"#)),
            (r#"["pong",1]"#, Ends(r#"["error","missed-auth","[\"pong\",1]"]"#), Goes("")),
            // No message at all.
            ("", Ends(r#"["error","wrong-format",""]"#), Ends(r#"["error","wrong-format",""]"#)),
            ("{", Ends(r#"["error","wrong-format","{"]"#), Ends(r#"["error","wrong-format","{"]"#)),
            ("null", Ends(r#"["error","wrong-format","null"]"#), Ends(r#"["error","wrong-format","null"]"#)),
            ("[null]", Ends(r#"["error","wrong-format","[null]"]"#), Ends(r#"["error","wrong-format","[null]"]"#)),
            (r#"["ping",1e300]"#, Ends(r#"["error","wrong-format","[\"ping\",1e300]"]"#), Ends(r#"["error","wrong-format","[\"ping\",1e300]"]"#)),
            (r#"["ping",-1]"#, Ends(r#"["error","wrong-format","[\"ping\",-1]"]"#), Ends(r#"["error","wrong-format","[\"ping\",-1]"]"#)),
            (r#"["sync",1]"#, Ends(r#"["error","wrong-format","[\"sync\",1]"]"#), Ends(r#"["error","wrong-format","[\"sync\",1]"]"#)),
            (r#"["headers",null]"#, Ends(r#"["error","wrong-format","[\"headers\",null]"]"#), Ends(r#"["error","wrong-format","[\"headers\",null]"]"#)),
        ] {
            table.push((message, role, Opening, opening));
            table.push((message, role, Checking, Waits));
            table.push((message, role, Live, live));
        }
        for message in [CONNECT, CONNECTED] {
            table.push((message, role, Checking, Waits));
            table.push((message, role, Live, Ends(match message {
                CONNECT => r#"["error","wrong-format","[\"connect\",7,\"peer\",0]"]"#,
                _ => r#"["error","wrong-format","[\"connected\",7,\"peer\",[1000,1000]]"]"#,
            })));
        }
    }
    table.extend([
        (CONNECTED, Acceptor, Opening, Ends(r#"["error","wrong-format","[\"connected\",7,\"peer\",[1000,1000]]"]"#)),
        (CONNECT, Opener, Opening, Ends(r#"["error","wrong-format","[\"connect\",7,\"peer\",0]"]"#)),
        // An older protocol; a newer peer is answered, and decides.
        (r#"["connect",4,"peer",0]"#, Acceptor, Opening, Ends(r#"["error","wrong-protocol",{"supported":5,"used":4}]"#)),
        (r#"["connect",6,"peer",0]"#, Acceptor, Opening, Ends(r#"["error","wrong-protocol",{"supported":7,"used":6}]"#)),
        (r#"["connected",4,"peer",[1,1]]"#, Opener, Opening, Ends(r#"["error","wrong-protocol",{"supported":5,"used":4}]"#)),
        (r#"["connected",6,"peer",[1,1]]"#, Opener, Opening, Ends(r#"["error","wrong-protocol",{"supported":7,"used":6}]"#)),
        (r#"["connected",8,"peer",[1,1]]"#, Opener, Opening, Ends(r#"["error","wrong-protocol",{"supported":7,"used":8}]"#)),
        // The name of the node itself.
        (r#"["connect",7,"node",0]"#, Acceptor, Opening, Ends(r#"["error","wrong-format","[\"connect\",7,\"node\",0]"]"#)),
        (r#"["connected",7,"node",[1,1]]"#, Opener, Opening, Ends(r#"["error","wrong-format","[\"connected\",7,\"node\",[1,1]]"]"#)),
        // An id in the form of protocol 5.
        (r#"["sync",1,{"type":"a"},{"id":[1,2],"time":1}]"#, Acceptor, Live,
            Ends(r#"["error","wrong-format","[\"sync\",1,{\"type\":\"a\"},{\"id\":[1,2],\"time\":1}]"]"#)),
        // An event from before 1970.
        (r#"["sync",1,{"type":"a"},{"id":"1","time":-9007199254740991}]"#, Acceptor, Live,
            Ends(r#"["error","wrong-format","[\"sync\",1,{\"type\":\"a\"},{\"id\":\"1\",\"time\":-9007199254740991}]"]"#)),
    ]);
    table
}

async fn log(node: &str) -> Log<Value> {
    Log::open(node.parse().unwrap(), MemoryStore::new()).await.unwrap()
}

/// A session and a peer that does what the test says, in a phase.
async fn in_phase<C: Cell>(log: &Log<Value>, role: Role, phase: Phase) -> (Session, Peer) {
    let (near, far) = C::pair().await;
    let mut options = SyncOptions::new().ping(None);
    if phase == Checking {
        options = options.auth(|_| std::future::pending::<bool>()).callback_timeout(None);
    }
    let session = BaseSync::new(log, C::CODEC, role, near).options(options).start();
    let mut peer = Peer::new::<C>(far);
    if role == Opener {
        assert_eq!(peer.next().await.unwrap(), r#"["connect",7,"node",0]"#);
    }
    if phase != Opening {
        peer.introduce(role).await;
    }
    if phase == Live {
        peer.finish_handshake(role).await;
    }
    (session, peer)
}

impl Peer {
    async fn introduce(&mut self, role: Role) {
        self.send(if role == Opener { CONNECTED } else { CONNECT }).await;
    }

    async fn finish_handshake(&mut self, role: Role) {
        if role == Acceptor {
            assert!(self.next().await.unwrap().starts_with(r#"["connected",7,"node",["#));
        }
        assert_eq!(self.next().await.unwrap(), r#"["ready",0]"#);
    }
}

async fn each_message_in_each_phase_has_its_effect<C: Cell>() {
    for (message, role, phase, effect) in table() {
        let cell = format!("{role:?}, {phase:?}, {message}");
        let log = log("node").await;
        let (session, mut peer) = in_phase::<C>(&log, role, phase).await;
        peer.send(message).await;
        match effect {
            Goes(answer) => {
                if !answer.is_empty() {
                    assert_eq!(peer.next().await.as_deref(), Some(answer), "{cell}");
                }
                if phase == Opening {
                    peer.introduce(role).await;
                    peer.finish_handshake(role).await;
                }
                peer.send(r#"["ping",0]"#).await;
                let pong = peer.next().await.unwrap();
                assert!(pong.starts_with(r#"["pong","#), "{cell}: {pong}");
            }
            Ends(error) => {
                if !error.is_empty() {
                    let error = error.replace(&json!(message).to_string(), &peer.quoted(message));
                    assert_answer(&peer.next().await.unwrap(), &error, &cell);
                }
                assert_eq!(peer.next().await, None, "{cell}");
                peer.hang_up().await;
                assert!(session.ended().await.is_err(), "{cell}");
            }
            Waits => {
                // Nobody answers, and when the time for the handshake is over, it ends.
                assert_eq!(peer.next().await, None, "{cell}");
                peer.hang_up().await;
                let ended = session.ended().await.unwrap_err();
                assert!(matches!(*ended, Error::Silent(_)), "{cell}: {ended}");
            }
        }
        let stored = u64::from(message == SYNC && phase == Live);
        assert_eq!(log.last_added().value(), stored, "{cell}");
    }
}

/// An answer, which is a `wrong-format` with a reason before the start of the frame, or is as expected.
fn assert_answer(answer: &str, expected: &str, cell: &str) {
    let [mut answer, expected] =
        [answer, expected].map(|text| serde_json::from_str::<Value>(text).unwrap());
    if expected[1] == "wrong-format" {
        let (text, start) = (answer[2].as_str().unwrap(), expected[2].as_str().unwrap());
        let reason = text.strip_suffix(start).and_then(|text| text.strip_suffix(": "));
        assert!(reason.is_some_and(|reason| reason.len() > 9), "{cell}: no reason in {text}");
        answer[2] = expected[2].clone();
    }
    assert_eq!(answer, expected, "{cell}");
}

async fn one_bad_peer_changes_nothing_for_the_others<C: Cell>() {
    let server_log = log("node").await;
    let (transport, listener) = C::listen();
    let server = Server::new(&server_log, C::CODEC, listener).start();
    let good_log = log("good").await;
    let good = ClientSync::new(&good_log, C::CODEC, transport.clone()).start();
    good.wait_for(State::Synchronized).await.unwrap();
    for (message, ..) in table().into_iter().filter(|cell| matches!(cell.3, Ends(_))) {
        for live in [false, true] {
            let mut peer = Peer::dial::<C>(&transport).await;
            if live {
                peer.introduce(Acceptor).await;
                peer.next().await.unwrap();
                while !peer.next().await.unwrap().starts_with(r#"["ready","#) {}
            }
            peer.send(message).await;
            while peer.next().await.is_some() {}
        }
    }
    assert_eq!(good.state(), State::Synchronized);
    good_log.add(json!({ "type": "still here" })).await.unwrap();
    good.wait_for(State::Synchronized).await.unwrap();
    let held = server_log.entries_after(logux_sync::Added::ZERO, 100).await.unwrap();
    assert!(held.iter().any(|entry| entry.event["type"] == "still here"));
    assert_eq!(server.shutdown(Duration::from_secs(10)).await.cut, 0);
}

async fn before_authentication_little_is_taken<C: Cell>() {
    let log = log("node").await;
    let (session, mut peer) = in_phase::<C>(&log, Acceptor, Opening).await;
    for _ in 0..16 {
        peer.send(r#"["headers",{}]"#).await;
    }
    let seventeenth = r#"["headers",{"seventeenth":1}]"#;
    peer.send(seventeenth).await;
    let answer = peer.next().await.unwrap();
    let expected = format!(r#"["error","wrong-format",{}]"#, peer.quoted(seventeenth));
    assert_answer(&answer, &expected, "early");
    assert_eq!(peer.next().await, None);
    peer.hang_up().await;
    let error = session.ended().await.unwrap_err();
    assert!(matches!(*error, Error::Peer(Misbehaviour::TooMuchTooEarly)), "{error}");

    let (session, mut peer) = in_phase::<C>(&log, Acceptor, Opening).await;
    peer.send(&format!(r#"["debug","error","{}"]"#, "a".repeat(16 << 10))).await;
    let answer = peer.next().await.unwrap();
    assert!(answer.starts_with(r#"["error","wrong-format","#), "{answer}");
    assert!(answer.len() < 300, "the whole text is sent back");
    peer.hang_up().await;
    let error = session.ended().await.unwrap_err();
    assert!(matches!(*error, Error::Frame { .. }), "{error}");
}

async fn a_stranger_s_values_are_few<C: Cell>() {
    let log = log("node").await;
    // The headers, and the options, are an object themselves.
    for (objects, is_taken) in [(499, true), (500, false)] {
        for message in [r#"["headers",{"a":$}]"#, r#"["connect",7,"peer",0,{"token":$}]"#] {
            let values = format!("[{}]", vec!["{}"; objects].join(","));
            let (session, mut peer) = in_phase::<C>(&log, Acceptor, Opening).await;
            peer.send(&message.replace('$', &values)).await;
            if is_taken && message.contains("headers") {
                peer.introduce(Acceptor).await;
            }
            let answer = peer.next().await.unwrap();
            let expected = if is_taken { r#"["connected""# } else { r#"["error","wrong-format""# };
            assert!(answer.starts_with(expected), "{objects} in {message}: {answer}");
            peer.hang_up().await;
            let _ = session.ended().await;
        }
    }
}

async fn a_frame_over_the_limit_is_refused<C: Cell>() {
    let log = log("node").await;
    let (near, far) = C::pair().await;
    let options = SyncOptions::new().limits(Limits::default().frame(1000));
    let session = BaseSync::new(&log, C::CODEC, Acceptor, near).options(options).start();
    let mut peer = Peer::new::<C>(far);
    peer.introduce(Acceptor).await;
    peer.finish_handshake(Acceptor).await;
    peer.send(&format!(r#"["debug","error","{}"]"#, "a".repeat(1000))).await;
    assert!(peer.next().await.unwrap().starts_with(r#"["error","wrong-format","#));
    assert_eq!(peer.next().await, None);
    peer.hang_up().await;
    let error = session.ended().await.unwrap_err();
    let source = std::error::Error::source(&*error).unwrap();
    assert_eq!(source.to_string(), "the frame has more than the 1000 bytes that are allowed");
}

async fn the_limits_of_a_session_are_its_options<C: Cell>() {
    let options = SyncOptions::new;
    let events = json!(["sync", 1, {}, { "id": "1", "time": 1 }, [], { "id": "2", "time": 1 }]);
    let headers = json!(["headers", { "a": "x".repeat(2000) }]);
    for (options, message, phase) in [
        (options().limits(Limits::default().depth(2)), json!(["headers", { "a": [[]] }]), Live),
        (options().limits(Limits::default().events(1)), events.clone(), Live),
        (options().limits(Limits::default().objects(2)), events.clone(), Live),
        (options().limits(Limits::default().frame(1000)), headers.clone(), Live),
        (options().max_frame_before_auth(1000), headers.clone(), Opening),
    ] {
        let message = message.to_string();
        for (options, taken) in [(SyncOptions::new(), true), (options, false)] {
            let log = log("node").await;
            let (near, far) = C::pair().await;
            let session = BaseSync::new(&log, C::CODEC, Acceptor, near).options(options).start();
            let mut peer = Peer::new::<C>(far);
            if phase == Live {
                peer.introduce(Acceptor).await;
                peer.finish_handshake(Acceptor).await;
            }
            peer.send(&message).await;
            if phase == Opening {
                peer.introduce(Acceptor).await;
            }
            let (mut answer, mut refused) = (peer.next().await, false);
            while let Some(frame) = answer {
                refused |= frame.starts_with(r#"["error","wrong-format","#);
                let next = tokio::time::timeout(Duration::from_secs(1), peer.next()).await;
                answer = next.unwrap_or_default();
            }
            assert_eq!(refused, !taken, "{message:.80}");
            drop((peer, session));
        }
    }
}

async fn what_a_peer_sends_is_safe_to_show<C: Cell>() {
    let log = log("node").await;
    let (_session, mut peer) = in_phase::<C>(&log, Acceptor, Opening).await;
    peer.send("\u{1b}[2J\r\n\u{0}").await;
    let answer = peer.next().await.unwrap();
    assert_answer(&answer, r#"["error","wrong-format","[2J"]"#, "control characters");
}

async fn who_says_nothing_is_cut_off<C: Cell>() {
    for role in [Opener, Acceptor] {
        let log = log("node").await;
        let (session, mut peer) = in_phase::<C>(&log, role, Opening).await;
        let start = tokio::time::Instant::now();
        assert_eq!(peer.next().await, None);
        peer.hang_up().await;
        let error = session.ended().await.unwrap_err();
        assert!(matches!(*error, Error::Silent(_)), "{error}");
        let waited = start.elapsed().as_secs();
        // A stranger has less time than the server that was dialled.
        let expected = if role == Acceptor { 10 } else { 70 };
        assert_eq!(waited, expected, "{role:?}");
    }
}
