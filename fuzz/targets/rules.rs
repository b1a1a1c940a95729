#![no_main]
//! The rules, fed with whatever a decoder may let through: no order of messages and answers, whoever
//! opened the connection, makes them panic, confirm what is not stored, or outlive a silent peer.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use logux_sync::fuzzing::Attacked;
use logux_sync::{Codec, Json, Limits, Value};
use serde_json::json;

/// What happens.
#[derive(Arbitrary, Debug)]
enum Step {
    /// Says something of the protocol, with numbers and names that matter.
    Say(Saying),
    /// Lets time pass, in seconds.
    Wait(u8),
    /// The store or the user answers what was asked first.
    Answer,
    /// The user adds an event.
    Add,
    /// The user's filter changes its mind.
    Filter,
    /// The user has new headers.
    Headers,
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
    let Ok((accepts, fixes, refuses)) = <(bool, bool, bool)>::arbitrary(&mut input) else { return };
    let Ok(steps) = Vec::<Step>::arbitrary_take_rest(input) else { return };
    let mut rules = Attacked::new(accepts, fixes, refuses);
    for step in steps {
        match step {
            Step::Say(saying) => {
                let frame = saying.json().to_string();
                if let Ok(message) = Json.decode(frame.as_bytes(), Limits::default()) {
                    rules.receive(message);
                }
            }
            Step::Answer => rules.answer(),
            Step::Wait(seconds) => rules.wait(Duration::from_secs(seconds.into())),
            Step::Add => rules.add(),
            Step::Filter => rules.filter(),
            Step::Headers => rules.headers(),
        }
    }
    rules.end();
});
