//! Hostile values in each position of each message, in each role and phase: a table of values, a
//! table of messages with a hole, and what the protocol says of the two together. Whatever comes,
//! nothing panics, nothing is left behind, and all other connections stay as they are.

#[macro_use]
#[path = "../sessions/cells.rs"]
#[expect(dead_code, unused_macros, reason = "these tests need one transport only")]
mod cells;
#[path = "../sessions/scripted.rs"]
#[expect(dead_code, reason = "these tests need one transport only")]
mod scripted;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use logux_sync::codecs::{Counter, Message};
use logux_sync::{
    Added, Append, BaseSync, Clock, Codec, Cursors, Epoch, EventId, Json, Key, Limits, Log,
    MemoryStore, NodeId, PeerRecord, Prefix, Record, RecordChange, Role, Session, State, Store,
    SyncOptions, Timestamp, Value, Xml,
};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, watch};
use tokio::time::timeout;

use crate::cells::{Cell, TestCodec};
use crate::scripted::{Peer, to_frame};

on_every_codec! {
    each_value_in_each_position_is_taken_or_refused_and_harms_nobody,
    whatever_is_shown_of_a_message_deceives_nobody_and_fills_no_log,
}

/// Where a connection stands when the message comes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Nobody has introduced himself.
    Opening,
    /// `auth` is thinking, and will say yes.
    Admitted,
    /// `auth` is thinking, and will say no.
    Rejected,
    /// Both sides send events.
    Live,
}
use Phase::{Admitted, Live, Opening, Rejected};
use Role::{Acceptor, Opener};

/// What a value is, by RFC 8259, Unicode and Logux protocols 5 and 7.
#[derive(Clone, Copy, PartialEq)]
enum Is {
    /// No JSON.
    NoJson,
    /// JSON by its grammar, but no value: a number that no double holds, half a character, or
    /// deeper than 128 levels.
    Unfit,
    /// A value, but nothing that a message asks for.
    Other,
    /// An integer in ±(2^53 - 1), however it is written.
    Integer(i64),
    /// An array of two such.
    Pair(i64, i64),
    /// A string.
    Text,
    /// A string that is a node id: 1 to 256 bytes, all visible, none above U+D7FF.
    Name,
    /// A string that ends like the counter in an event id.
    Counted,
    /// A string that is an event id: a number up to 2^53 - 1 in base 64, and perhaps a node id.
    Id,
    /// A string that is an event id, and a node id.
    NameAndId,
    /// The event id of protocol 5 that names the node: `[shift, node, counter]`.
    LongId,
    Object,
    /// An object that can be the meta of an event in protocol 7.
    Meta7,
    /// The same in protocol 5.
    Meta5,
    /// An object that is deeper than 128 levels, under a key that no message has.
    DeepObject,
}

use Is::{Counted, DeepObject, Id, Integer, LongId, Meta5, Meta7, Name, NameAndId, NoJson, Object};
use Is::{Other, Pair, Text, Unfit};

/// What may stand in a message's hole.
#[derive(Clone, Copy, PartialEq)]
enum Hole {
    Nothing,
    /// What is not looked at.
    Ignored,
    Any,
    Position,
    /// Milliseconds from the base time.
    Time,
    /// When the peer got `connect`, and when it answered: the base time.
    Times,
    Start,
    End,
    Version,
    Subprotocol,
    Minor,
    Str,
    Node,
    /// The node id within an event id; takes no quotes.
    NodeInId,
    Event,
    Options,
    Map,
    EventMeta,
}

const SAME_KEYS: &str = r#"{"a":1,"a":2}"#;
const SAFE: i64 = (1 << 53) - 1;
/// What all clocks show.
const NOW: i64 = 1_000_000;
const DAY: i64 = 24 * 60 * 60 * 1000;
/// How many events the log has.
const EVENTS: u64 = 3;

/// The numbers of the cursors before the message comes: what the peer has confirmed, and what was
/// received from it.
const SENT: u64 = 1;
const RECEIVED: u64 = 2;

#[rustfmt::skip]
fn values() -> Vec<(String, Is)> {
    let values = [
        ("null", Other), ("true", Other), ("false", Other),

        ("0", Integer(0)), ("-0", Integer(0)), ("-0.0", Integer(0)), ("1e-400", Integer(0)),
        ("1", Integer(1)), ("2", Integer(2)), ("3", Integer(3)), ("3.0", Integer(3)),
        ("0.3e1", Integer(3)), ("4", Integer(4)), ("5", Integer(5)), ("6", Integer(6)), ("7", Integer(7)), ("8", Integer(8)), ("-1", Integer(-1)),
        ("-1000000", Integer(-NOW)), ("-1000001", Integer(-NOW - 1)),
        ("4294967295", Integer(0xffff_ffff)), ("4294967296", Integer(0x1_0000_0000)),
        ("1e15", Integer(1_000_000_000_000_000)),
        ("9007199253740991", Integer(SAFE - NOW)), ("9007199253740992", Integer(SAFE - NOW + 1)),
        ("9007199254740991", Integer(SAFE)),
        ("-9007199254740991", Integer(-SAFE)),
        ("0.5", Other), ("-0.5", Other), ("9007199254740992", Other), ("9007199254740993", Other),
        ("9007199254740992.0", Other), ("-9007199254740992", Other), ("1e16", Other), ("1e300", Other),
        ("-1e308", Other), ("-9223372036854775808", Other), ("9223372036854775807", Other),
        ("18446744073709551615", Other), ("18446744073709551616", Other),
        ("1e400", Unfit), ("-1e400", Unfit),

        ("NaN", NoJson), ("-Infinity", NoJson), ("01", NoJson), ("+1", NoJson), (".5", NoJson),
        ("1.", NoJson), ("0x10", NoJson), ("undefined", NoJson), ("'a'", NoJson), ("", NoJson),
        ("\u{feff}1", NoJson), ("[1,]", NoJson), (r#"{"a":1,}"#, NoJson), ("{1:2}", NoJson),
        ("/**/1", NoJson), (r#"""#, NoJson), (r#""\x""#, NoJson), ("\"a\nb\"", NoJson),
        ("\"\0\"", NoJson), ("\u{1b}[2J", NoJson), ("]", NoJson),

        (r#""""#, Text), (r#"" ""#, Text), (r#""a\tb""#, Text), (r#""a\nb""#, Text),
        (r#""\u0000""#, Text), (r#""\u001b[2J""#, Text), (r#""\u202eevil""#, Text),
        ("\"\u{202e}evil\"", Text), ("\"\u{200b}\"", Text), ("\"\u{7f}\u{9b}2J\"", Text),
        ("\"\u{2028}\"", Text), ("\"\u{fffd}\"", Text), ("\"\u{1f600}\"", Text),
        (r#""\ud83d\ude00""#, Text), (r#""\ud800""#, Text), (r#""\udc00\ud800""#, Text),
        (r#""é""#, Name), (r#""__proto__""#, Name), (r#""constructor""#, Name), (r#""0123456789abcdef""#, Name),
        (r#""0123456789abcdeg""#, Name), (r#""+123456789abcdef""#, Name), (r#""a:b::c""#, Name),
        (r#""../../etc/passwd""#, Name), (r#""zzzzzzzzz""#, Name), (r#""-0""#, Name),
        (r#""5""#, NameAndId), (r#""server""#, NameAndId), (r#""node""#, NameAndId),
        (r#""-""#, NameAndId), (r#""Uzzzzzzzz""#, NameAndId), (r#""Uzzzzzzzz victim:1""#, Id),
        (r#""a b""#, Id), (r#""1 node""#, Id), (r#""1 __proto__""#, Id),
        (r#""1 a!a1""#, Id), (r#""1 a!a0""#, Id), (r#""1 !a1""#, Text), (r#""1 a!a1!a1""#, Text),
        (r#""2o8- node""#, Id), (r#""zzzzzzz node""#, Id), (r#""a!a1""#, Counted),
        (r#""a!b1""#, Name), (r#""1 ""#, Text), (r#"" 1""#, Text), (r#""1  a""#, Text),
        (r#""1 a b""#, Text), (r#""1\ta""#, Text), (r#""1 \u202ea""#, Text),

        ("[]", Other), ("[null]", Other), ("[0,0]", Pair(0, 0)), ("[5,1]", Pair(5, 1)), ("[-1,1]", Pair(-1, 1)),
        ("[0,9007199254740991]", Pair(0, SAFE)), ("[9007199254740991,0]", Pair(SAFE, 0)),
        ("[9007199254740991,9007199254740991]", Pair(SAFE, SAFE)),
        ("[4000000000000,4000000000000]", Pair(4_000_000_000_000, 4_000_000_000_000)),
        ("[-1e308,1e308]", Other), ("[1,2,3]", Other), ("[0.5,1]", Other), ("[1,-1]", Pair(1, -1)),
        ("[-1000001,0]", Pair(-NOW - 1, 0)),
        (r#"[5,"node",1]"#, LongId), (r#"[5.0,"victim:1",0.0]"#, LongId), (r#"[0,"node",0]"#, LongId),
        (r#"[4000000000000,"node",0]"#, LongId), (r#"[5,"node"]"#, Other), (r#"[5,"a b",1]"#, Other),
        (r#"[5,"node",-1]"#, Other), (r#"[5,"node",1,1]"#, Other), (r#"[null,"node",1]"#, Other),
        (r#"[5,"a!a1",0]"#, Other),
        ("[[\"\u{9b}2J\u{202e}\"]]", Other), ("[1e400,1]", Unfit),
        ("{}", Object), (r#"{"__proto__":{"added":1}}"#, Object), (SAME_KEYS, Object),
        (r#"{"length":4294967295}"#, Object), ("{\"\u{9b}\u{202e}\":\"\u{9b}\u{202e}\"}", Object),
        (r#"{"id":"1","time":1}"#, Meta7), (r#"{"time":-1,"id":"2 victim"}"#, Meta7),
        (r#"{"id":1,"time":1}"#, Meta5), (r#"{"time":-1,"id":[2,"victim",0]}"#, Meta5),
        (r#"{"id":"1"}"#, Object), (r#"{"time":1}"#, Object), (r#"{"id":null,"time":null}"#, Object),
    ];
    let nested = |open: &str, close: &str, depth| open.repeat(depth) + "1" + &close.repeat(depth);
    let text = |length| format!("\"{}\"", "a".repeat(length));
    values.into_iter().map(|(value, is)| (value.to_owned(), is)).chain([
        (text(256), Name), (text(257), Text), (text(64 << 10), Text),
        (format!("\"{}\"", "\u{202e}".repeat(20_000)), Text),
        (nested("[", "]", 60), Other), (nested(r#"{"a":"#, "}", 60), Object),
        (nested("[", "]", 1000), Unfit), (nested(r#"{"a":"#, "}", 1000), DeepObject),
        (nested("[", "]", 50_000), Unfit), ("[".repeat(50_000), NoJson),
    ]).collect()
}

/// A clock that runs forwards, and is off by at most a hundred years.
fn possible_times(start: i64, end: i64) -> bool {
    start <= end && (NOW - start).abs() <= 100 * 365 * 24 * 60 * 60 * 1000
}

/// Messages with a hole, `$`. What else stands in them is right, in protocol 7.
#[rustfmt::skip]
const MESSAGES: &[(&str, Hole)] = &[
    ("$", Hole::Nothing), ("[$]", Hole::Str), ("[$,1]", Hole::Str), (r#"["new",$]"#, Hole::Ignored),

    (r#"["connect",$,"peer",1]"#, Hole::Version), (r#"["connect",7,$,1]"#, Hole::Node),
    (r#"["connect",7,"peer",$]"#, Hole::Position), (r#"["connect",7,"peer",1,$]"#, Hole::Options),
    (r#"["connect",7,"peer",1,{"token":$}]"#, Hole::Any),
    (r#"["connect",7,"peer",1,{"subprotocol":$}]"#, Hole::Subprotocol),
    (r#"["connect",7,"peer",1,{"subprotocol":[1,$]}]"#, Hole::Minor),
    (r#"["connect",7,"peer",1,{"__proto__":$}]"#, Hole::Ignored),
    (r#"["connect",7,"peer",1,{$:1}]"#, Hole::Str),
    (r#"["connect",7,"peer",1,{"token":1,"token":$}]"#, Hole::Nothing),
    (r#"["connect",7,"peer",1,{},$]"#, Hole::Nothing),

    (r#"["connected",$,"peer",[1000000,1000000]]"#, Hole::Version),
    (r#"["connected",7,$,[1000000,1000000]]"#, Hole::Node),
    (r#"["connected",7,"peer",$]"#, Hole::Times),
    (r#"["connected",7,"peer",[$,1000000]]"#, Hole::Start),
    (r#"["connected",7,"peer",[1000000,$]]"#, Hole::End),
    (r#"["connected",7,"peer",[1000000,1000000,$]]"#, Hole::Nothing),
    (r#"["connected",7,"peer",[1000000,1000000],$]"#, Hole::Options),
    (r#"["connected",7,"peer",[1000000,1000000],{"token":$}]"#, Hole::Any),
    (r#"["connected",7,"peer",[1000000,1000000],{"subprotocol":$}]"#, Hole::Subprotocol),
    (r#"["connected",7,"peer",[1000000,1000000],{},$]"#, Hole::Nothing),

    (r#"["sync",$,{"type":"a"},{"id":"1","time":1}]"#, Hole::Position),
    (r#"["sync",5,$,{"id":"1","time":1}]"#, Hole::Any),
    (r#"["sync",5,{"type":$},{"id":"1","time":1}]"#, Hole::Any),
    (r#"["sync",5,{$:1},{"id":"1","time":1}]"#, Hole::Str),
    (r#"["sync",5,{"type":"a"},$]"#, Hole::EventMeta),
    (r#"["sync",5,{"type":"a"},{"id":$,"time":1}]"#, Hole::Event),
    (r#"["sync",5,{"type":"a"},{"id":"1 $","time":1}]"#, Hole::NodeInId),
    (r#"["sync",5,{"type":"a"},{"id":"1","time":$}]"#, Hole::Time),
    (r#"["sync",5,{"type":"a"},{"id":"1","time":1,"subprotocol":$}]"#, Hole::Subprotocol),
    (r#"["sync",5,{"type":"a"},{"id":"1","time":1,"added":$}]"#, Hole::Ignored),
    (r#"["sync",5,{"type":"a"},{"id":"1","time":1,"reasons":$}]"#, Hole::Ignored),
    (r#"["sync",5,{"type":"a"},{"id":"1","time":1,"keepLast":$}]"#, Hole::Ignored),
    (r#"["sync",5,{"type":"a"},{"id":"1","time":1,"indexes":$}]"#, Hole::Ignored),
    (r#"["sync",5,{"type":"a"},{"id":"1","time":1,"status":$}]"#, Hole::Any),
    (r#"["sync",5,{"type":"a"},{"id":"1","time":1,"server":$}]"#, Hole::Any),
    (r#"["sync",5,{"type":"a"},{"id":"1","time":1,"channels":$}]"#, Hole::Any),
    (r#"["sync",5,{"type":"a"},{"id":"1","time":1,"__proto__":$}]"#, Hole::Any),
    (r#"["sync",5,{"type":"a"},{"id":"1","time":1,$:1}]"#, Hole::Str),
    (r#"["sync",5,{"type":"a"},{"id":"1","time":1,"id":$}]"#, Hole::Nothing),
    (r#"["sync",5,{"type":"a"},{"id":"1","time":1,"time":$}]"#, Hole::Nothing),
    (r#"["sync",5,{"type":"a"},{"id":"1","time":1,"own":1,"own":$}]"#, Hole::Nothing),
    (r#"["sync",5,{"type":"a"},{"id":"1","time":1},$]"#, Hole::Nothing),
    // One bad event spoils the message.
    (r#"["sync",5,{"type":"a"},{"id":"1","time":1},{"type":"b"},{"id":"1","time":$}]"#, Hole::Time),
    (r#"["sync",5,{"type":"a"},{"id":"1","time":1},{"type":"b"},$]"#, Hole::EventMeta),

    (r#"["synced",$]"#, Hole::Position), (r#"["synced",3,$]"#, Hole::Nothing),
    (r#"["ready",$]"#, Hole::Position), (r#"["ready",3,$]"#, Hole::Nothing),
    (r#"["ping",$]"#, Hole::Position), (r#"["ping",1,$]"#, Hole::Nothing),
    (r#"["pong",$]"#, Hole::Position), (r#"["pong",1,$]"#, Hole::Nothing),

    (r#"["headers",$]"#, Hole::Map), (r#"["headers",{"a":$}]"#, Hole::Any),
    (r#"["headers",{$:1}]"#, Hole::Str),
    (r#"["headers",{"log-epoch":$}]"#, Hole::Any), (r#"["headers",{"log-begin-after":$}]"#, Hole::Any), (r#"["headers",{},$]"#, Hole::Nothing),
    (r#"["debug",$,"text"]"#, Hole::Nothing), (r#"["debug","error",$]"#, Hole::Str),
    (r#"["debug","error","text",$]"#, Hole::Nothing),
    (r#"["error",$]"#, Hole::Str), (r#"["error",$,1]"#, Hole::Str), (r#"["error","own",$]"#, Hole::Any),
    (r#"["error","wrong-protocol",{"supported":7,"used":$}]"#, Hole::Any),
    (r#"["error","wrong-subprotocol",{"supported":$,"used":1}]"#, Hole::Any),
    (r#"["error","wrong-format",$]"#, Hole::Any), (r#"["error","missed-auth",$]"#, Hole::Any),
    (r#"["error","unknown-message",$]"#, Hole::Any), (r#"["error","timeout",$]"#, Hole::Any),
    (r#"["error","own",1,$]"#, Hole::Nothing),
];

/// One line of the table.
struct Case {
    /// What is sent, as JSON.
    frame: String,
    /// How long it is in the connection's codec.
    bytes: usize,
    hole: Hole,
    is: Is,
    role: Role,
    phase: Phase,
    protocol: u8,
}

/// What a message does.
#[derive(Debug, PartialEq)]
enum Effect {
    /// The connection goes on, after this answer if there is one.
    Goes(Option<Value>),
    /// The connection closes, after the error of this type if there is one.
    Ends(Option<&'static str>),
}
use Effect::{Ends, Goes};

fn cases<C: TestCodec>() -> Vec<Case> {
    let mut values = values();
    if C::NAME != Json::NAME {
        for (value, is) in &mut values {
            // What cannot be read from JSON is not translated, and is no message in another format.
            let untranslated = matches!(is, Unfit | DeepObject) || value.contains(r"\ud800");
            // In XML no attribute may repeat; in JSON a key may.
            if untranslated || (value == SAME_KEYS && C::NAME == Xml::NAME) {
                *is = NoJson;
            }
        }
    }
    let mut cases = Vec::new();
    for (&(message, hole), (value, is), protocol) in
        MESSAGES.iter().flat_map(|m| values.iter().flat_map(move |v| [(m, v, 5), (m, v, 7)]))
    {
        let text = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        let value = match (hole, text) {
            (Hole::NodeInId, None) => continue,
            (Hole::NodeInId, Some(text)) => text,
            _ => value,
        };
        let message = if protocol == 5 { in_protocol_5(message) } else { message.to_owned() };
        let frame = message.replace('$', value);
        let bytes = to_frame::<C>(&frame).len();
        let introduces = message.starts_with(r#"["connect"#);
        for role in [Opener, Acceptor] {
            for phase in [Opening, Admitted, Rejected, Live] {
                // Nothing else of what comes before authentication has a protocol.
                if protocol == 7 || phase == Live || phase == Opening && introduces {
                    let frame = frame.clone();
                    cases.push(Case { frame, bytes, hole, is: *is, role, phase, protocol });
                }
            }
        }
    }
    cases
}

fn in_protocol_5(message: &str) -> String {
    message
        .replace(r#""connect",7"#, r#""connect",5"#)
        .replace(r#""connected",7"#, r#""connected",5"#)
        .replace(r#""id":"1""#, r#""id":1"#)
        .replace(r#""id":"1 $""#, r#""id":[9,"$",0]"#)
}

impl Case {
    fn kind(&self) -> &str {
        self.frame.split('"').nth(1).filter(|_| self.frame.starts_with("[\"")).unwrap_or_default()
    }

    /// The number in the hole, or the one that the message has for it.
    fn number(&self) -> u64 {
        match (self.hole, self.is, self.kind()) {
            (Hole::Position, Integer(number), _) => number.unsigned_abs(),
            (_, _, "connect") => SENT,
            _ => 5,
        }
    }

    /// Whether the frame is a message: each hole takes what protocol 7 has there.
    fn is_message(&self) -> bool {
        let half = |number| u32::try_from(number).is_ok();
        match self.hole {
            Hole::Nothing => false,
            Hole::Ignored => self.is != NoJson,
            Hole::Any => !matches!(self.is, NoJson | Unfit | DeepObject),
            Hole::Position | Hole::Start | Hole::End => matches!(self.is, Integer(0..)),
            Hole::Time => matches!(self.is, Integer(_)),
            Hole::Times => matches!(self.is, Pair(0.., 0..)),
            Hole::Version | Hole::Minor => matches!(self.is, Integer(number) if half(number)),
            Hole::Subprotocol => match self.is {
                Integer(major) => half(major),
                Pair(major, minor) => half(major) && half(minor),
                _ => false,
            },
            Hole::Str => matches!(self.is, Text | Counted | Name | Id | NameAndId),
            Hole::NodeInId if self.is == Counted => self.protocol == 7,
            Hole::Node | Hole::NodeInId => matches!(self.is, Name | NameAndId),
            Hole::Event => {
                matches!(self.is, Id | NameAndId | Integer(_) | Pair(_, 0..) | LongId)
            }
            Hole::Options => matches!(self.is, Object | Meta5 | Meta7 | DeepObject),
            Hole::Map => matches!(self.is, Object | Meta5 | Meta7),
            Hole::EventMeta => matches!(self.is, Meta5 | Meta7),
        }
    }

    /// Whether the ids and times of a `sync` are those of the connection's protocol, and from a
    /// time that numbers can hold.
    fn is_possible(&self) -> bool {
        let in_range = |shift| (0..=SAFE).contains(&(NOW + shift));
        match (self.hole, self.is) {
            (Hole::Time, Integer(shift)) => in_range(shift),
            (Hole::Event, Integer(shift) | Pair(shift, _)) => self.protocol == 5 && in_range(shift),
            (Hole::Event, LongId) | (Hole::EventMeta, Meta5) => self.protocol == 5,
            (Hole::Event | Hole::EventMeta, _) => self.protocol == 7,
            _ => true,
        }
    }

    #[expect(clippy::match_same_arms, reason = "one line for each message")]
    fn effect(&self) -> Effect {
        let Self { role, phase, hole, is, .. } = *self;
        if phase == Rejected {
            return Ends(Some("wrong-credentials"));
        }
        let too_much = phase == Opening && self.bytes > 16 << 10;
        if !self.is_message() || too_much {
            return Ends(Some("wrong-format"));
        }
        match (self.kind(), phase) {
            ("headers" | "debug", _) => Goes(None),
            ("error", _) => Ends(None),
            ("connect", Opening) if role == Acceptor => match (hole, is) {
                // Who speaks a newer one, decides.
                (Hole::Version, Integer(..=4 | 6)) => Ends(Some("wrong-protocol")),
                (Hole::Node, _) if self.frame.contains(r#""node""#) => Ends(Some("wrong-format")),
                _ => Goes(None),
            },
            ("connected", Opening) if role == Opener => match (hole, is) {
                (Hole::Times, Pair(start, end)) if !possible_times(start, end) => {
                    Ends(Some("wrong-format"))
                }
                (Hole::Start, Integer(start)) if !possible_times(start, NOW) => {
                    Ends(Some("wrong-format"))
                }
                (Hole::End, Integer(end)) if !possible_times(NOW, end) => {
                    Ends(Some("wrong-format"))
                }
                (Hole::Version, Integer(5 | 7)) => Goes(None),
                (Hole::Version, _) => Ends(Some("wrong-protocol")),
                (Hole::Node, _) if self.frame.contains(r#""node""#) => Ends(Some("wrong-format")),
                _ => Goes(None),
            },
            ("connect" | "connected", _) => Ends(Some("wrong-format")),
            ("sync" | "synced" | "ready" | "ping" | "pong", Opening) => Ends(Some("missed-auth")),
            ("sync", _) if !self.is_possible() => Ends(Some("wrong-format")),
            // Its log is another one, and only a new connection of this node's can tell it so.
            ("sync", _) if self.is_of_another_log() && role == Opener => Ends(None),
            ("sync", _) => Goes(Some(json!(["synced", self.number()]))),
            ("ready", _) if self.protocol == 5 => Ends(Some("unknown-message")),
            // While `auth` runs, nothing is sent that could be confirmed.
            ("synced", Live) if self.number() == EVENTS => Goes(None),
            ("synced", _) => Ends(Some("wrong-format")),
            // Its log is another one, and only a new connection of this node's can tell it so.
            ("ready", _) if self.number() < RECEIVED && role == Opener => Ends(None),
            ("ready" | "pong", _) => Goes(None),
            ("ping", _) => Goes(Some(json!(["pong"]))),
            _ => Ends(Some("unknown-message")),
        }
    }

    /// The ids of the events of a `sync`.
    fn ids(&self) -> Vec<EventId> {
        // Halves of characters are none of an id.
        let frame = self.frame.replace(r"\ud800", "").replace(r"\udc00", "");
        // What is not looked at may be what nobody could read; such a message has one event of the peer's.
        let Ok(message) = serde_json::from_str::<Value>(&frame) else {
            assert!(self.hole == Hole::Ignored, "{frame}");
            return vec![id(1, "peer", 0)];
        };
        let events = message.as_array().unwrap()[2..].iter().skip(1).step_by(2);
        // Those that are written as floats (`5.0`) are integers, too.
        let integer =
            |value: &Value| -> i64 { format!("{:.0}", value.as_f64().unwrap()).parse().unwrap() };
        let read = |meta: &Value| match &meta["id"] {
            Value::String(text) if text.contains(' ') => text.parse().unwrap(),
            Value::String(text) => format!("{text} peer").parse().unwrap(),
            Value::Array(parts) => match &parts[..] {
                [shift, counter] => id(NOW + integer(shift), "peer", integer(counter)),
                [shift, node, counter] => {
                    id(NOW + integer(shift), node.as_str().unwrap(), integer(counter))
                }
                _ => unreachable!("no id of protocol 5"),
            },
            shift => id(NOW + integer(shift), "peer", 0),
        };
        events.map(read).collect()
    }

    /// Why an event of the peer is not taken: it connected to the node, so it is a client.
    fn refusal(&self, id: &EventId) -> Option<&'static str> {
        match id.node().as_str() {
            "peer" => None,
            _ if self.role == Opener => None,
            "node" => Some("only a relay may bring such events back"),
            _ => Some("only a relay may bring events of others"),
        }
    }

    /// What the peer is told of its events, before they are confirmed: the ends of texts.
    fn reports(&self) -> Vec<&'static str> {
        if self.kind() != "sync" || !matches!(self.effect(), Goes(_)) {
            return Vec::new();
        }
        let ids = self.ids();
        let mut reports: Vec<_> = ids.iter().filter_map(|id| self.refusal(id)).collect();
        reports.dedup();
        // One of the node's own that it has not made, and could have made by now.
        let is_known = |id: &EventId| {
            id.counter().value() == 0
                && id.time().since(Timestamp::ZERO) < NOW + EVENTS.cast_signed()
        };
        let is_twins = |id: &EventId| {
            let ahead = id.time().since(Timestamp::ZERO) - NOW;
            id.node().as_str() == "node" && !is_known(id) && (1..=DAY).contains(&ahead)
        };
        if self.role == Opener && ids.iter().any(is_twins) {
            reports.push("give each node a name of its own");
        }
        reports
    }

    /// Whether a `sync` says of itself that it is of another log: in protocol 5, which has no `ready`, by a
    /// number below those that came before.
    fn is_of_another_log(&self) -> bool {
        let is_below = (1..RECEIVED).contains(&self.number());
        self.kind() == "sync" && self.protocol == 5 && self.phase == Live && is_below
    }

    /// Where this node's log begins for the peer, which asked for that before it was let in.
    fn begin(&self) -> Option<Added> {
        let asks = self.role == Acceptor && self.phase == Opening && self.hole == Hole::Any;
        let message: Value = serde_json::from_str(&self.frame).ok().filter(|_| asks)?;
        let begin = &message[1]["log-begin-after"];
        begin.as_u64().and_then(Added::new).filter(|_| matches!(self.effect(), Goes(_)))
    }

    /// What the store holds afterwards.
    fn standing(&self) -> Standing {
        let number = Added::new(self.number()).unwrap();
        let mut after = Standing::before();
        let goes = matches!(self.effect(), Goes(_));
        let live = matches!(self.phase, Admitted | Live);
        after.dialled = self.role == Opener && (live || goes);
        let replaced = self.is_of_another_log() && self.is_message() && self.is_possible();
        if self.kind() == "sync" && (goes || replaced) {
            after.peer.received = number.max(after.peer.received);
            let known = (0..EVENTS).map(|n| id(NOW + n.cast_signed(), "node", 0));
            let known: Vec<_> = known.collect();
            let mut new = self.ids();
            new.retain(|id| !known.contains(id) && self.refusal(id).is_none());
            new.dedup();
            after.add(new.len() as u64);
        }
        if self.kind() == "synced" && goes {
            after.peer.sent = number;
        }
        let ready = self.kind() == "ready" && live && self.is_message() && self.protocol == 7;
        if ready {
            after.peer.received = number.max(after.peer.received);
        }
        // It has less than it had, or more is known of it than it has: its log is another one.
        let lost = (self.kind() == "connect" && self.number() < SENT && goes)
            || (ready && self.number() < RECEIVED)
            || replaced;
        if let Some(begin) = self.begin() {
            after.peer.sent = begin.min(after.end).max(after.peer.sent);
        }
        // It said before it was let in which log it has, and that from which something came did not.
        let tells =
            self.frame.contains(r#""log-epoch":"0123456789abcdef""#) && self.phase == Opening;
        if lost || tells {
            let epoch = tells.then_some(Epoch::new(0x0123_4567_89ab_cdef));
            let return_up_to = Added::new(EVENTS).unwrap();
            after.peer = Cursors { return_up_to, epoch, ..Cursors::default() };
        }
        after
    }
}

/// All that a store holds of its log's end, its peers and who was dialled.
#[derive(Clone, Debug, PartialEq)]
struct Standing {
    end: Added,
    peer: Cursors,
    witness: Cursors,
    dialled: bool,
}

impl Standing {
    fn before() -> Self {
        let end = Added::new(EVENTS).unwrap();
        let cursors = |sent, received| Cursors { sent, received, ..Cursors::default() };
        let peer = cursors(Added::new(SENT).unwrap(), Added::new(RECEIVED).unwrap());
        Self { end, peer, witness: cursors(end, Added::ZERO), dialled: false }
    }

    /// Events that are added go on to the witness.
    fn add(&mut self, events: u64) {
        self.end = self.end.plus(events);
        self.witness.sent = self.end;
    }

    async fn of(log: &Log<Value>, store: &dyn Store<Value>) -> Self {
        let dialled = Key::from(&Record::Dialled);
        Self {
            end: log.last_added(),
            peer: log.cursors(&name("peer")).await.unwrap(),
            // Which log the witness has is drawn anew each time.
            witness: Cursors { epoch: None, ..log.cursors(&name("witness")).await.unwrap() },
            dialled: !store
                .records(&Prefix::new(dialled.as_str()), None, 1)
                .await
                .unwrap()
                .is_empty(),
        }
    }
}

fn id(time: i64, node: &str, counter: i64) -> EventId {
    let time = Timestamp::ZERO.shifted(time).unwrap();
    EventId::with_counter(time, name(node), Counter::new(counter.unsigned_abs()).unwrap())
}

fn name(text: &str) -> NodeId {
    text.parse().unwrap()
}

async fn log(node: &str) -> (Log<Value>, Arc<dyn Store<Value>>) {
    let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
    let now = Timestamp::ZERO.shifted(NOW).unwrap();
    let log = Log::open_with(name(node), Arc::clone(&store), Clock::new(move || now)).await;
    (log.unwrap(), store)
}

/// A log with some events and a peer that it knows, and another peer that has everything.
struct World {
    log: Log<Value>,
    store: Arc<dyn Store<Value>>,
    witness: [Session; 2],
}

impl World {
    async fn new<C: Cell>() -> Self {
        let (log, store) = log("node").await;
        log.add_batch((0..EVENTS).map(|n| json!({ "n": n }))).await.unwrap();
        let Standing { peer, .. } = Standing::before();
        let raise = |field, position: Added| {
            RecordChange::Raise(Key::from(&Record::Peer(name("peer"), field)), position.value())
        };
        let cursors =
            [raise(PeerRecord::Received, peer.received), raise(PeerRecord::Sent, peer.sent)];
        store.submit(Append::records(cursors.to_vec())).await.unwrap();
        let (other, _) = self::log("witness").await;
        let (near, far) = C::pair().await;
        let start = |log, role, link| {
            BaseSync::new(log, C::CODEC, role, link).options(SyncOptions::new().ping(None)).start()
        };
        let witness = [start(&log, Acceptor, near), start(&other, Opener, far)];
        let world = Self { log, store, witness };
        world.in_step().await;
        world
    }

    /// Waits until the witness has everything, by the word of both sides.
    async fn in_step(&self) {
        for side in &self.witness {
            side.wait_for(State::Synchronized).await.unwrap();
        }
    }

    async fn end(self) {
        for side in self.witness {
            side.close().await.unwrap();
        }
    }
}

/// Texts that a peer has a hand in.
#[derive(Default)]
struct Shown {
    /// What the peer is answered.
    answers: Vec<String>,
    /// The error that the session ended with, and its causes.
    errors: Vec<String>,
}

/// Plays a case, checks what it does, and answers what it shows.
async fn run<C: Cell>(case: &Case) -> Shown {
    let mut shown = Shown::default();
    let world = World::new::<C>().await;
    let (near, far) = C::pair().await;
    let (answer, answered) = watch::channel(None);
    let auth = move |_| {
        let mut answered = answered.clone();
        async move { answered.wait_for(Option::is_some).await.unwrap().unwrap() }
    };
    let options = SyncOptions::new().ping(None).fix_time(true).auth(auth);
    let session = BaseSync::new(&world.log, C::CODEC, case.role, near).options(options).start();
    let mut peer = Peer::new::<C>(far);
    if !matches!(case.phase, Admitted | Rejected) {
        answer.send_replace(Some(true));
    }
    if case.phase != Opening {
        peer.introduce_in(case.role, case.protocol).await;
    }
    assert_eq!(peer.answers().await, (Vec::new(), false));

    peer.send(&case.frame).await;
    if matches!(case.phase, Admitted | Rejected) {
        // It is not read while `auth` thinks.
        assert_eq!(peer.answers().await, (Vec::new(), false));
        answer.send_replace(Some(case.phase == Admitted));
    }
    let (mut answers, closed) = peer.answers().await;
    shown.answers.extend(answers.iter().map(Value::to_string));
    for report in case.reports() {
        let told = answers.remove(0);
        assert_eq!(told[0], "debug", "instead of a text that ends in {report}");
        assert!(told[2].as_str().unwrap().ends_with(report), "{told} does not end in {report}");
    }
    match case.effect() {
        Goes(expected) => {
            assert!(!closed, "it closed");
            assert!(answers.len() == usize::from(expected.is_some()), "it answered {answers:?}");
            if let (Some(expected), [answer]) = (expected, &*answers) {
                let expected = expected.as_array().unwrap();
                assert_eq!(answer.as_array().unwrap()[..expected.len()], **expected);
            }
            if case.phase == Opening && !case.kind().starts_with("connect") {
                peer.introduce_in(case.role, case.protocol).await;
            }
            peer.send(r#"["ping",0]"#).await;
            let (answers, closed) = peer.answers().await;
            assert!(!closed && answers.len() == 1 && answers[0][0] == "pong", "then {answers:?}");
            peer.hang_up().await;
            session.ended().await.unwrap();
        }
        Ends(expected) => {
            assert!(closed, "it goes on, after {answers:?}");
            if case.is_of_another_log() && case.is_message() && case.is_possible() {
                // Its events were stored before that was noticed.
                assert_eq!(answers.remove(0)[0], "synced");
            }
            let kinds: Vec<_> = answers.iter().map(|answer| answer[1].as_str()).collect();
            assert!(answers.iter().all(|answer| answer[0] == "error"), "it answered {answers:?}");
            assert_eq!(kinds, expected.map(Some).into_iter().collect::<Vec<_>>());
            peer.hang_up().await;
            let error = session.ended().await.unwrap_err();
            let mut cause: Option<&dyn std::error::Error> = Some(&*error);
            while let Some(error) = cause {
                shown.errors.push(error.to_string());
                cause = error.source();
            }
        }
    }
    world.in_step().await;
    assert_eq!(Standing::of(&world.log, &*world.store).await, case.standing());
    // What is local to the peer's log is not believed.
    for entry in world.log.entries_after(Added::new(EVENTS).unwrap(), 10).await.unwrap() {
        let meta = &entry.meta;
        assert!(meta.reasons.is_empty() && meta.indexes.is_empty());
        assert!(meta.added <= world.log.last_added() && meta.source == Some(name("peer")));
        for key in ["added", "reasons", "indexes", "keepLast", "id", "time"] {
            assert!(!meta.extra.contains_key(key));
        }
    }
    world.end().await;
    shown
}

impl Peer {
    async fn introduce_in(&mut self, role: Role, protocol: u8) {
        let message = match role {
            Opener => json!(["connected", protocol, "peer", [NOW, NOW]]),
            Acceptor => json!(["connect", protocol, "peer", SENT]),
        };
        self.send(&message.to_string()).await;
    }

    /// What else it sends until it has nothing more to do, but for its part of the handshake and
    /// its events; and whether it hung up. Time is paused: it moves on when all is quiet.
    async fn answers(&mut self) -> (Vec<Value>, bool) {
        let mut answers = Vec::new();
        while let Ok(frame) = timeout(Duration::from_millis(1), self.next()).await {
            let Some(frame) = frame else { return (answers, true) };
            let message: Value = serde_json::from_str(&frame).unwrap();
            let kind = message[0].as_str().unwrap();
            if !["headers", "connect", "connected", "sync", "ready"].contains(&kind) {
                answers.push(message);
            }
        }
        (answers, false)
    }
}

/// What a case shows; `None` where what it does is wrong.
type Played = (Case, Option<Shown>);

/// Plays all cases, once for both tests: that is what takes long.
async fn played<C: Cell>() -> &'static [Played] {
    static PLAYED: [OnceCell<Vec<Played>>; 3] = [const { OnceCell::const_new() }; 3];

    let codec = ["json", "message-pack", "xml"].iter().position(|name| *name == C::Codec::NAME);
    PLAYED[codec.unwrap()].get_or_init(play_all::<C>).await
}

async fn play_all<C: Cell>() -> Vec<Played> {
    // Some seconds for each codec; the rules behind the codecs are the same for all. Three has
    // nothing in common with the number of roles and phases, so that each is reached.
    let step = if C::Codec::NAME == Json::NAME { 1 } else { 3 };
    let tasks = Handle::current().metrics().num_alive_tasks();
    let mut played = Vec::new();
    for case in cases::<C::Codec>().into_iter().step_by(step) {
        // By the paused clock: nothing waits for so long.
        let within = timeout(Duration::from_secs(60 * 60), run::<C>(&case));
        let shown = AssertUnwindSafe(within).catch_unwind().await.ok().and_then(Result::ok);
        if shown.is_none() {
            // What the failure left behind ends by itself.
            tokio::time::sleep(Duration::from_secs(60 * 60)).await;
        }
        let left = Handle::current().metrics().num_alive_tasks();
        assert_eq!(left, tasks, "tasks are left after {:.200}", case.frame);
        played.push((case, shown));
    }
    played
}

/// Checks what all cases show.
async fn check_all<C: Cell>(check: impl Fn(&Shown)) {
    let played = played::<C>().await;
    assert!(played.len() > 5_000);
    let mut failed = BTreeMap::new();
    for (case, shown) in played {
        let checked = || shown.as_ref().map(&check);
        if !matches!(std::panic::catch_unwind(AssertUnwindSafe(checked)), Ok(Some(()))) {
            let Case { frame, role, phase, protocol, .. } = case;
            eprintln!("{role:?}, {phase:?}, protocol {protocol}, {frame:.200}\n");
            *failed.entry(format!("{frame:.30}")).or_insert(0) += 1;
        }
    }
    assert!(failed.is_empty(), "of {} cases these failed: {failed:#?}", played.len());
}

fn assert_short(text: &str) {
    assert!(text.len() < 1000, "{} bytes are shown: {text:.80}", text.len());
}

async fn each_value_in_each_position_is_taken_or_refused_and_harms_nobody<C: Cell>() {
    check_all::<C>(|Shown { answers, errors }| {
        for text in answers.iter().chain(errors.first()) {
            assert!(!text.contains(char::is_control), "{text:?} is shown");
            assert_short(text);
        }
    })
    .await;
}

async fn whatever_is_shown_of_a_message_deceives_nobody_and_fills_no_log<C: Cell>() {
    // Those that cannot be seen, and those that turn the direction of a text.
    let deceives = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    check_all::<C>(|Shown { answers, errors }| {
        for text in answers.iter().chain(errors) {
            assert!(!text.contains(|c: char| c.is_control() || deceives(c)), "{text:?} is shown");
            assert_short(text);
        }
    })
    .await;
}

#[test]
fn a_number_is_read_as_the_number_that_was_written() {
    let mut random = fastrand::Rng::with_seed(1);
    let numbers = (0..10_000).map(|_| f64::from_bits(random.u64(..))).filter(|n| n.is_finite());
    let mut random = fastrand::Rng::with_seed(2);
    let fractions = (0..10_000).map(|_| random.f64());
    let mut wrong = Vec::new();
    for number in numbers.chain(fractions).chain([9_007_199_254_740_991.0]) {
        let frame = format!(r#"["sync",1,{number:?},{{"id":"1","time":1}}]"#);
        let Ok(Message::Sync(sync)) = Json.decode::<f64>(frame.as_bytes(), Limits::default())
        else {
            panic!("{frame}")
        };
        if sync.entries[0].0.to_bits() != number.to_bits() {
            wrong.push((number, sync.entries[0].0));
        }
    }
    assert!(wrong.is_empty(), "{} are read as others: {:?}", wrong.len(), &wrong[..3]);
}
