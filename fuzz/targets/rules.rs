#![no_main]
//! The rules, fed with whatever a decoder may let through: no order of messages, whoever opened the
//! connection, makes a session panic or hang, or the log give up what it has.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use logux_sync::{
    BaseSync, Codec, FrameReceiver, FrameSender, Json, Limits, Log, Memory, MemoryStore, Message,
    Role, State, SyncOptions, Value,
};
use serde_json::json;

/// What the peer does.
#[derive(Arbitrary, Debug)]
enum Step {
    /// Says something of the protocol, with numbers and names that matter.
    Say(Saying),
    /// Lets time pass, in seconds.
    Wait(u8),
    /// Reads what was sent.
    Read,
    /// The user adds an event.
    Add,
}

#[derive(Arbitrary, Debug)]
enum Saying {
    Connect { protocol: u8, node: Name, synced: Number, options: Options },
    Connected { protocol: u8, node: Name, start: Number, end: Number, options: Options },
    Sync { added: Number, events: Vec<(Id, i16, bool)> },
    Synced(Number),
    Ready(Number),
    Ping(Number),
    Pong(Number),
    Headers(bool),
    Error(u8),
    Debug,
    Unknown,
}

#[derive(Arbitrary, Debug)]
enum Name {
    Peer,
    Other,
    Own,
}

#[derive(Arbitrary, Debug)]
enum Number {
    Small(u8),
    Time(u8),
    Largest,
}

#[derive(Arbitrary, Debug)]
enum Options {
    None,
    Token,
    Subprotocol(u8),
}

#[derive(Arbitrary, Debug)]
enum Id {
    Short(u8),
    Long(u8, Name),
    Shift(i8),
    Counted(i8, u8),
    Full(i8, Name, u8),
}

impl Name {
    const fn text(&self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Other => "10:other",
            Self::Own => "own",
        }
    }
}

impl Number {
    const fn value(&self) -> u64 {
        match self {
            Self::Small(number) => *number as u64,
            Self::Time(offset) => 1_786_312_345_678 + *offset as u64,
            Self::Largest => (1 << 53) - 1,
        }
    }
}

impl Saying {
    fn json(&self) -> Value {
        match self {
            Self::Connect { protocol, node, synced, options } => with_options(
                vec![json!("connect"), version(*protocol), node.text().into(), synced.value().into()],
                options,
            ),
            Self::Connected { protocol, node, start, end, options } => with_options(
                vec![
                    json!("connected"),
                    version(*protocol),
                    node.text().into(),
                    json!([start.value(), end.value()]),
                ],
                options,
            ),
            Self::Sync { added, events } => {
                let mut items = vec![json!("sync"), added.value().into()];
                for (id, time, with_subprotocol) in events {
                    items.push(json!({ "type": "a" }));
                    let mut meta = json!({ "id": id.json(), "time": time });
                    if *with_subprotocol {
                        meta["subprotocol"] = 3.into();
                    }
                    items.push(meta);
                }
                items.into()
            }
            Self::Synced(number) => json!(["synced", number.value()]),
            Self::Ready(number) => json!(["ready", number.value()]),
            Self::Ping(number) => json!(["ping", number.value()]),
            Self::Pong(number) => json!(["pong", number.value()]),
            Self::Headers(epoch) if *epoch => json!(["headers", { "log-epoch": "AAAA" }]),
            Self::Headers(_) => json!(["headers", { "a": 1 }]),
            Self::Error(kind) => {
                let kinds = ["wrong-format", "wrong-credentials", "timeout", "bruteforce", "own"];
                json!(["error", kinds[*kind as usize % kinds.len()], 1])
            }
            Self::Debug => json!(["debug", "error", "text"]),
            Self::Unknown => json!(["new"]),
        }
    }
}

fn version(seed: u8) -> Value {
    [7, 5, 6, 0][seed as usize % 4].into()
}

fn with_options(mut items: Vec<Value>, options: &Options) -> Value {
    match options {
        Options::None => {}
        Options::Token => items.push(json!({ "token": "secret" })),
        Options::Subprotocol(major) => items.push(json!({ "subprotocol": major })),
    }
    items.into()
}

impl Id {
    fn json(&self) -> Value {
        let digits = |number: &u8| "OzcVo".to_owned() + if number % 2 == 0 { "WD" } else { "X0" };
        match self {
            Self::Short(number) => digits(number).into(),
            Self::Long(number, node) => format!("{} {}", digits(number), node.text()).into(),
            Self::Shift(shift) => json!(shift),
            Self::Counted(shift, counter) => json!([shift, counter]),
            Self::Full(shift, node, counter) => json!([shift, node.text(), counter]),
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut input = Unstructured::new(bytes);
    let Ok((accepts, fixes, checks)) = <(bool, bool, bool)>::arbitrary(&mut input) else { return };
    let Ok(steps) = Vec::<Step>::arbitrary_take_rest(input) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let node = "own".parse().expect("it is a name");
        let log = Log::<Value>::open(node, MemoryStore::new()).await.expect("memory can be read");
        log.add(json!({ "type": "first" })).await.expect("memory can be written");
        let (near, mut far) = Memory::pair();
        let role = if accepts { Role::Acceptor } else { Role::Opener };
        let mut options = SyncOptions::new().fix_time(fixes);
        if checks {
            options = options.auth(async |login| login.token_is("secret"));
        }
        let session = BaseSync::new(&log, Json, role, near).options(options).start();
        let mut added = 1;
        for step in steps {
            match step {
                Step::Say(saying) => {
                    let frame = saying.json().to_string();
                    let read = Json.decode::<Value>(frame.as_bytes(), Limits::default());
                    if let Ok(Message::Sync(sync)) = read {
                        added += sync.entries.len();
                    }
                    // The session may have ended, and does not read then.
                    let sent = far.sender.send(frame.into());
                    let _ = tokio::time::timeout(Duration::from_millis(1), sent).await;
                }
                Step::Wait(seconds) => tokio::time::sleep(Duration::from_secs(seconds.into())).await,
                Step::Read => {
                    let received = far.receiver.receive(1 << 20);
                    let received = tokio::time::timeout(Duration::from_millis(1), received).await;
                    if let Ok(Ok(Some(frame))) = received {
                        let message = Json.decode::<Value>(&frame, Limits::default());
                        message.expect("what a session sends is a message");
                    }
                }
                Step::Add => {
                    log.add(json!({ "type": "more" })).await.expect("memory can be written");
                    added += 1;
                }
            }
        }
        drop(far);
        // Once the peer is gone the session ends, whatever it was doing.
        let ended = tokio::time::timeout(Duration::from_secs(600), session.ended()).await;
        if let Err(error) = ended.expect("the session ends with its link") {
            assert!(!matches!(*error, logux_sync::Error::Store(_)), "{error}");
        }
        let entries = log
            .entries_after(logux_sync::Added::ZERO, usize::MAX)
            .await
            .expect("memory can be read");
        assert!(!entries.is_empty() && entries.len() <= added, "{} of {added}", entries.len());
        assert_eq!(entries[0].event, json!({ "type": "first" }));
        let _ = State::Disconnected;
    });
});
