//! One event never stops a log: not one that no peer could be sent, nor one that this program cannot
//! read, nor one that a peer refuses.

use std::cell::Cell as Switch;
use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{
    Access, AddError, Added, BaseSync, ClientSync, Draft, Entry, Error, EventId, EventLimits, Json,
    Limits, Log, LogOptions, Memory, MemoryStore, Notice, Reconnect, Refused, Role, Server,
    Session, SessionHandle, State, Store, SyncOptions, Unfit, Unreadable, Value,
};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::cells::{AnyTransport, Cell};
use crate::scripted::Peer;

on_every_cell! {
    an_event_that_no_peer_could_be_sent_is_named_and_the_others_are_taken,
    a_frame_that_a_peer_refuses_is_narrowed_down_to_the_event,
}

on_every_codec! {
    a_short_frame_is_measured_as_any_other,
    what_fails_for_a_while_is_held_back_for_a_while,
    a_peer_that_fails_by_its_own_events_has_refused_none,
    the_reason_of_a_refusal_is_short,
    what_was_set_aside_and_fails_in_a_filter_ends_no_connection,
    many_events_that_a_peer_refuses_cost_no_hours,
    doubts_about_many_events_end,
    what_a_peer_takes_now_and_then_all_arrives_in_the_end,
    that_an_event_is_to_blame_is_known_to_the_next_process,
    offers_and_second_looks_go_together,
    what_is_offered_is_sent_and_nothing_else,
    many_refusals_are_told,
    an_event_that_cannot_be_read_is_set_aside_and_the_others_are_taken,
    unreadable_events_are_dropped_or_refused_where_the_options_say_so,
    what_was_set_aside_is_added_by_a_program_that_can_read_it,
    what_was_set_aside_passes_no_filter_unasked,
    what_one_peer_has_set_aside_leaves_room_for_others,
    an_event_on_which_the_peers_filter_fails_is_held_back,
    an_event_that_does_not_fit_a_session_is_held_back,
    a_map_that_makes_an_event_unfit_holds_it_back,
    what_was_held_back_is_offered_again_on_request,
    what_is_held_back_is_not_sent_by_a_second_look_at_the_filter,
    a_peer_that_refuses_everything_is_not_dialled_in_a_loop,
    a_link_that_breaks_holds_nothing_back,
    nodes_of_javascript_are_spared_what_they_would_change,
}

const CONNECT: &str = r#"["connect",7,"10:peer",0]"#;

/// As the server of a scripted client does: it comes back soon.
fn quick(transport: AnyTransport) -> Reconnect<AnyTransport> {
    Reconnect::new(transport).first_delay(Duration::ZERO).min_delay(Duration::from_millis(10))
}

async fn log(node: &str) -> Log<Value> {
    Log::open(node.parse().unwrap(), MemoryStore::new()).await.unwrap()
}

fn event(n: u64) -> Value {
    json!({ "type": "test", "n": n })
}

async fn numbers(log: &Log<Value>) -> Vec<u64> {
    let entries = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    entries.iter().filter_map(|entry| entry.event["n"].as_u64()).collect()
}

/// Introduces itself, and reads up to `ready`.
async fn introduce(peer: &mut Peer) {
    peer.send(CONNECT).await;
    while !peer.next().await.expect("it is let in").starts_with(r#"["ready""#) {}
    peer.send(r#"["ready",0]"#).await;
}

/// The events of a kind of notices, one by one.
async fn told(
    session: &SessionHandle,
    kind: impl Fn(Notice) -> Option<Vec<Refused>>,
) -> Vec<Refused> {
    let mut notices = session.notices();
    loop {
        let notice = timeout(Duration::from_secs(600), notices.next()).await;
        if let Some(events) = kind(notice.expect("it is told").expect("the session goes on")) {
            return events;
        }
    }
}

fn held_back(notice: Notice) -> Option<Vec<Refused>> {
    if let Notice::HeldBack(events) = notice { Some(events) } else { None }
}

fn set_aside(notice: Notice) -> Option<Vec<Refused>> {
    if let Notice::SetAside(events) = notice { Some(events) } else { None }
}

fn refused(notice: Notice) -> Option<Vec<Refused>> {
    if let Notice::Refused(events) = notice { Some(events) } else { None }
}

fn ids(events: &[Refused]) -> Vec<String> {
    events.iter().map(|one| one.id.to_string()).collect()
}

#[derive(Serialize, Deserialize, Debug)]
#[serde(tag = "type")]
enum Odd {
    Number {
        value: f64,
    },
    Small {
        value: f32,
    },
    Keys {
        by: BTreeMap<u32, u32>,
    },
    Flags {
        by: BTreeMap<bool, u8>,
    },
    Wide {
        value: u128,
    },
    #[expect(clippy::option_option, reason = "it cannot be told from one that is none")]
    Nested {
        option: Option<Option<u8>>,
    },
    Any {
        value: Value,
    },
    Broken(Broken),
}

#[derive(Deserialize, Debug)]
struct Broken {}

impl Serialize for Broken {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("never"))
    }
}

#[tokio::test]
async fn what_no_peer_could_read_is_refused_when_it_is_added() {
    let log = Log::<Odd>::open("node".parse().unwrap(), MemoryStore::new()).await.unwrap();
    let fine = || Odd::Any { value: 1.into() };
    let deep = (0..70).fold(json!(1), |inner, _| json!([inner]));
    let many = (0..60_000).map(|_| json!({})).collect::<Value>();
    let table = [
        (Odd::Number { value: f64::NAN }, Unfit::NotFinite),
        (Odd::Number { value: f64::INFINITY }, Unfit::NotFinite),
        (Odd::Small { value: f32::NEG_INFINITY }, Unfit::NotFinite),
        (Odd::Keys { by: [(1, 2)].into() }, Unfit::Key),
        (Odd::Flags { by: [(true, 1)].into() }, Unfit::Key),
        (Odd::Wide { value: 5 }, Unfit::WideInteger),
        (Odd::Nested { option: Some(None) }, Unfit::Nothing),
        (Odd::Any { value: deep }, Unfit::TooDeep { limit: 62 }),
        (Odd::Any { value: many }, Unfit::TooManyObjects { limit: 50_000 }),
        (Odd::Any { value: "x".repeat(300 << 10).into() }, Unfit::TooLarge { limit: 256 << 10 }),
        (Odd::Any { value: "\0".repeat(60 << 10).into() }, Unfit::TooLarge { limit: 256 << 10 }),
        (Odd::Broken(Broken {}), Unfit::Serialize("never".to_owned())),
    ];
    for (event, expected) in table {
        let shown = format!("{event:.60?}");
        let error = log.add_batch([fine(), event, fine()]).await.unwrap_err();
        let AddError::Unfit { place: 2, reason } = &error else { panic!("{shown}: {error}") };
        assert_eq!(*reason, expected, "{shown}");
        assert_eq!(log.last_added(), Added::ZERO, "{shown}: the others of the call are there");
    }
    let meta = Draft::new(fine()).extra("text", "x".repeat(300 << 10));
    let error = log.add(meta).await.unwrap_err();
    assert!(matches!(error, AddError::Unfit { reason: Unfit::TooLarge { .. }, .. }), "{error}");
    log.add(fine()).await.unwrap();
}

async fn an_event_that_no_peer_could_be_sent_is_named_and_the_others_are_taken<C: Cell>() {
    let server_log = log("server").await;
    let (transport, listener) = C::listen();
    let server = Server::new(&server_log, C::CODEC, listener).start();
    let mut peer = Peer::dial::<C>(&transport).await;
    introduce(&mut peer).await;
    let [session] = server.sessions().try_into().unwrap();
    let large = json!(["sync", 2, { "type": "large", "text": "x".repeat(300 << 10) },
        { "id": "1", "time": 0 }, event(7), { "id": "2", "time": 0 }]);
    peer.send(&large.to_string()).await;
    let answer = peer.next().await.unwrap();
    assert!(
        answer.starts_with(r#"["debug","error","refused 1 events: 1 10:peer because"#),
        "{answer}"
    );
    assert!(answer.contains("more than 262144 bytes"), "{answer}");
    assert_eq!(peer.next().await.unwrap(), r#"["synced",2]"#);
    assert_eq!(ids(&told(&session, refused).await), ["1 10:peer"]);
    assert_eq!(numbers(&server_log).await, [7]);
    // The others are none the worse.
    let other = log("11:other").await;
    let client = ClientSync::new(&other, C::CODEC, quick(transport)).start();
    client.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(numbers(&other).await, [7]);
}

thread_local! {
    /// What the program can read: a test is one thread, and each program in it another version.
    static VERSION: Switch<u32> = const { Switch::new(1) };
}

/// An event that a program of version 1 reads if its number is small.
#[derive(Clone, Debug, PartialEq)]
struct Versioned(u64);

impl Serialize for Versioned {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        event(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Versioned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let event = Value::deserialize(deserializer)?;
        let number = event["n"].as_u64().ok_or_else(|| de::Error::missing_field("n"))?;
        if number >= 100 && VERSION.get() < 2 {
            return Err(de::Error::custom("large numbers are not known yet"));
        }
        Ok(Self(number))
    }
}

/// Grows when it is read: what is absent is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Growing {
    #[serde(rename = "type")]
    kind: String,
    n: u64,
    items: Vec<Item>,
    any: Value,
    single: Single,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Item {
    colour: String,
    shape: String,
}

/// serde holds it back, and makes a number infinite unseen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Single {
    Of { value: f32 },
}

impl Default for Item {
    fn default() -> Self {
        Self { colour: "transparent".into(), shape: "rectangular".into() }
    }
}

impl Default for Single {
    fn default() -> Self {
        Self::Of { value: 0.5 }
    }
}

async fn a_short_frame_is_measured_as_any_other<C: Cell>() {
    let client = log("10:client").await;
    let options = LogOptions::new().event_limits(EventLimits::default().depth(8).objects(9_000));
    let store: Arc<dyn Store<Growing>> = Arc::new(MemoryStore::new());
    let server = Log::open_with("server".parse().unwrap(), store, options).await.unwrap();
    let of = |kind: &str, value: Value| json!({ "type": "test", kind: value });
    let deep = (0..8).fold(json!(1), |inner, _| json!([inner]));
    let unfit = [
        of("items", json!(vec![json!({}); 8_000])),
        of("any", deep),
        of("single", json!({ "kind": "Of", "value": 1e300 })),
    ];
    let (near, far) = C::pair().await;
    let here = BaseSync::new(&client, C::CODEC, Role::Opener, near).start();
    let there = BaseSync::new(&server, C::CODEC, Role::Acceptor, far).start();
    let mut refused = Vec::new();
    for (n, unfit) in (1..).zip(unfit) {
        // Something that cannot be read at all comes before it.
        let batch = client.add_batch([event(n), json!({ "n": "no number" }), unfit]).await.unwrap();
        refused.push(batch[2].meta.id.to_string());
        here.wait_for(State::Synchronized).await.unwrap();
    }
    let held_back = client.held_back(server.node_id()).await.unwrap();
    assert_eq!(ids(&held_back), refused);
    let kept = server.entries_after(Added::ZERO, 10).await.unwrap();
    assert_eq!(kept.iter().map(|entry| entry.event.n).collect::<Vec<_>>(), [1, 2, 3]);
    drop(there);
}

async fn open(store: &Arc<MemoryStore<Versioned>>) -> Log<Versioned> {
    let store = Arc::clone(store) as Arc<dyn Store<Versioned>>;
    Log::open_with("server".parse().unwrap(), store, LogOptions::new()).await.unwrap()
}

async fn versioned(log: &Log<Versioned>) -> Vec<u64> {
    let entries = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    entries.iter().map(|entry| entry.event.0).collect()
}

/// A client that has sent the events 1, 100, 2 and 200 to a log of version 1.
async fn send_some<C: Cell>(
    log: &Log<Versioned>,
    options: SyncOptions<Versioned>,
) -> (Peer, Session) {
    let (near, far) = C::pair().await;
    let session = BaseSync::new(log, C::CODEC, Role::Acceptor, near).options(options).start();
    let mut peer = Peer::new::<C>(far);
    introduce(&mut peer).await;
    let numbers = [1, 100, 2, 200];
    let mut sync = vec![json!("sync"), json!(4)];
    for (number, id) in numbers.into_iter().zip(1..) {
        sync.extend([event(number), json!({ "id": format!("{id}"), "time": 0, "key": "kept" })]);
    }
    peer.send(&Value::from(sync).to_string()).await;
    (peer, session)
}

async fn an_event_that_cannot_be_read_is_set_aside_and_the_others_are_taken<C: Cell>() {
    let log = open(&Arc::new(MemoryStore::new())).await;
    let (mut peer, session) = send_some::<C>(&log, SyncOptions::new()).await;
    assert_eq!(
        peer.next().await.unwrap(),
        r#"["synced",4]"#,
        "it is confirmed, and nothing refused"
    );
    assert_eq!(versioned(&log).await, [1, 2]);
    let told = told(&session, set_aside).await;
    assert_eq!(ids(&told), ["2 10:peer", "4 10:peer"]);
    assert_eq!(told[0].reason, "large numbers are not known yet");
    let kept = log.set_aside().await.unwrap();
    assert_eq!(kept.iter().map(|one| &one.event).collect::<Vec<_>>(), [&event(100), &event(200)]);
    let first = &kept[0];
    assert_eq!(first.meta.id.to_string(), "2 10:peer");
    assert_eq!(first.meta.extra["key"], "kept");
    assert_eq!(first.meta.source.as_ref().unwrap().as_str(), "10:peer");
    assert_eq!(first.reason, "large numbers are not known yet");
    assert!(!first.unjudged);
    // It comes again, and stays one.
    peer.send(&json!(["sync", 5, event(100), { "id": "2", "time": 0 }]).to_string()).await;
    assert_eq!(peer.next().await.unwrap(), r#"["synced",5]"#);
    assert_eq!(log.set_aside().await.unwrap(), kept);
    log.forget_set_aside(&[kept[0].meta.id.clone()]).await.unwrap();
    assert_eq!(log.set_aside().await.unwrap(), kept[1..]);
}

async fn unreadable_events_are_dropped_or_refused_where_the_options_say_so<C: Cell>() {
    let log = open(&Arc::new(MemoryStore::new())).await;
    let options = SyncOptions::new().unreadable(Unreadable::Skip);
    let (mut peer, session) = send_some::<C>(&log, options).await;
    assert_eq!(peer.next().await.unwrap(), r#"["synced",4]"#);
    assert_eq!(ids(&told(&session, set_aside).await), ["2 10:peer", "4 10:peer"]);
    assert_eq!((versioned(&log).await, log.set_aside().await.unwrap()), (vec![1, 2], vec![]));

    let log = open(&Arc::new(MemoryStore::new())).await;
    let options = SyncOptions::new().unreadable(Unreadable::Refuse);
    let (mut peer, session) = send_some::<C>(&log, options).await;
    let answer = peer.next().await.unwrap();
    let expected = "refused 2 events: 2 10:peer 4 10:peer because it cannot be read: large numbers are not known yet";
    assert_eq!(answer, json!(["debug", "error", expected]).to_string());
    assert_eq!(peer.next().await.unwrap(), r#"["synced",4]"#);
    assert_eq!(ids(&told(&session, refused).await), ["2 10:peer", "4 10:peer"]);
    assert_eq!((versioned(&log).await, log.set_aside().await.unwrap()), (vec![1, 2], vec![]));
}

async fn what_was_set_aside_is_added_by_a_program_that_can_read_it<C: Cell>() {
    let store = Arc::new(MemoryStore::new());
    let log = open(&store).await;
    let (mut peer, session) = send_some::<C>(&log, SyncOptions::new()).await;
    peer.next().await.unwrap();
    session.close().await.unwrap();
    // Another program of the same version knows no more.
    let log = open(&store).await;
    assert_eq!((versioned(&log).await, log.set_aside().await.unwrap().len()), (vec![1, 2], 2));
    VERSION.set(2);
    let log = open(&store).await;
    assert_eq!(versioned(&log).await, [1, 2, 100, 200], "late, in their order");
    assert_eq!(log.set_aside().await.unwrap(), []);
    let entry = log.by_id(&"2 10:peer".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(entry.meta.source.as_ref().unwrap().as_str(), "10:peer");
    assert_eq!(entry.meta.extra["key"], "kept");
    // It is passed on now, as any other event is.
    let (near, far) = C::pair().await;
    let _session = BaseSync::new(&log, C::CODEC, Role::Acceptor, near).start();
    let mut other = Peer::new::<C>(far);
    other.send(r#"["connect",7,"11:other",0]"#).await;
    other.next().await.unwrap();
    let sync: Value = serde_json::from_str(&other.next().await.unwrap()).unwrap();
    assert_eq!(sync.as_array().unwrap().len(), 2 + 2 * 4, "{sync}");
}

async fn what_was_set_aside_passes_no_filter_unasked<C: Cell>() {
    let store = Arc::new(MemoryStore::new());
    let options = || {
        SyncOptions::new()
            .in_filter(async |entry: Arc<logux_sync::Entry<Versioned>>, _| Ok(entry.event.0 != 200))
    };
    let log = open(&store).await;
    let (mut peer, session) = send_some::<C>(&log, options()).await;
    peer.next().await.unwrap();
    session.close().await.unwrap();
    assert!(log.set_aside().await.unwrap().iter().all(|one| one.unjudged));
    VERSION.set(2);
    let log = open(&store).await;
    assert_eq!(versioned(&log).await, [1, 2], "nobody has asked the filter");
    // Another peer is none of its business.
    let session = |peer: &'static str| {
        let log = log.clone();
        async move {
            let (near, far) = C::pair().await;
            let session =
                BaseSync::new(&log, C::CODEC, Role::Acceptor, near).options(options()).start();
            let other = self::log(peer).await;
            let there = BaseSync::new(&other, C::CODEC, Role::Opener, far).start();
            there.wait_for(State::Synchronized).await.unwrap();
            there.close().await.unwrap();
            let _ = session.ended().await;
        }
    };
    session("11:other").await;
    assert_eq!(log.set_aside().await.unwrap().len(), 2);
    session("10:peer").await;
    assert_eq!(versioned(&log).await, [1, 2, 100], "the filter refuses 200");
    assert_eq!(log.set_aside().await.unwrap(), []);
}

async fn what_one_peer_has_set_aside_leaves_room_for_others<C: Cell>() {
    let log = open(&Arc::new(MemoryStore::new())).await;
    let unreadable = |from: u64, to: u64| {
        let mut sync = vec![json!("sync"), json!(to)];
        for id in from..=to {
            sync.extend([event(1_000 + id), json!({ "id": format!("{}", id % 9 + 1), "time": 0 })]);
        }
        sync
    };
    let (near, far) = C::pair().await;
    let _session = BaseSync::new(&log, C::CODEC, Role::Acceptor, near).start();
    let mut peer = Peer::new::<C>(far);
    introduce(&mut peer).await;
    // Ids of one digit each, so of other tabs of the client's.
    for tab in 0..120_u64 {
        let mut sync = unreadable(1, 9);
        for meta in sync.iter_mut().skip(3).step_by(2) {
            let time = meta["id"].as_str().unwrap().to_owned();
            meta["id"] = format!("{time} 10:peer:{tab}").into();
        }
        sync[1] = (tab + 1).into();
        peer.send(&Value::from(sync).to_string()).await;
        let mut answer = peer.next().await.unwrap();
        if tab > 111 {
            assert!(
                answer.starts_with(r#"["debug","error","refused 9 events: "#),
                "{tab}: {answer}"
            );
            answer = peer.next().await.unwrap();
        } else if tab == 111 {
            assert!(answer.starts_with(r#"["debug","error","refused 8 events: "#), "{answer}");
            answer = peer.next().await.unwrap();
        }
        assert_eq!(answer, format!(r#"["synced",{}]"#, tab + 1));
    }
    assert_eq!(log.set_aside().await.unwrap().len(), 1_000);
    let (near, far) = C::pair().await;
    let _session = BaseSync::new(&log, C::CODEC, Role::Acceptor, near).start();
    let mut other = Peer::new::<C>(far);
    other.send(r#"["connect",7,"11:other",0]"#).await;
    while !other.next().await.unwrap().starts_with(r#"["ready""#) {}
    other.send(&Value::from(unreadable(1, 1)).to_string()).await;
    assert_eq!(other.next().await.unwrap(), r#"["synced",1]"#);
    assert_eq!(log.set_aside().await.unwrap().len(), 1_001);
}

/// Takes what a client sends, and hangs up with an error where `refuses` says so. Answers the numbers
/// that it took, once there were `enough` connections or nothing comes any more.
async fn picky<C: Cell>(
    mut listener: crate::cells::AnyListener,
    refuses: impl Fn(&[u64]) -> bool,
    mut enough: usize,
) -> Vec<u64> {
    let mut taken = Vec::new();
    'connections: while enough > 0 {
        enough -= 1;
        let accepted = timeout(Duration::from_secs(600), Peer::accept::<C>(&mut listener)).await;
        let Ok(mut peer) = accepted else { break };
        while let Some(frame) = peer.next().await {
            let message: Value = serde_json::from_str(&frame).unwrap();
            match message[0].as_str().unwrap() {
                "connect" => peer.send(r#"["connected",7,"server",[0,0]]"#).await,
                "ready" => peer.send(r#"["ready",0]"#).await,
                "ping" => peer.send(r#"["pong",0]"#).await,
                "sync" => {
                    let items = message.as_array().unwrap();
                    let numbers: Vec<_> = items[2..]
                        .iter()
                        .step_by(2)
                        .map(|event| event["n"].as_u64().unwrap())
                        .collect();
                    if refuses(&numbers) {
                        peer.send(r#"["error","wrong-format","I do not like it"]"#).await;
                        peer.hang_up().await;
                        continue 'connections;
                    }
                    taken.extend(numbers);
                    peer.send(&json!(["synced", message[1]]).to_string()).await;
                }
                _ => {}
            }
        }
    }
    taken
}

async fn a_frame_that_a_peer_refuses_is_narrowed_down_to_the_event<C: Cell>() {
    let log = log("10:client").await;
    log.add_batch((0..20).map(event)).await.unwrap();
    let (transport, listener) = C::listen();
    let server = tokio::spawn(picky::<C>(listener, |numbers| numbers.contains(&13), 20));
    let client = ClientSync::new(&log, C::CODEC, quick(transport)).start();
    let told = told(&client, held_back).await;
    client.wait_for(State::Synchronized).await.unwrap();
    let bad = log.entries_after(Added::new(13).unwrap(), 1).await.unwrap().remove(0);
    assert_eq!(ids(&told), [bad.meta.id.to_string()]);
    assert!(told[0].reason.contains("I do not like it"), "{}", told[0].reason);
    // It was offered again when the others were taken, and is to blame.
    let listed = log.held_back(&"server".parse().unwrap()).await.unwrap();
    assert_eq!(ids(&listed), ids(&told));
    assert!(told[0].is_doubtful && !listed[0].is_doubtful);
    assert!(client.diagnostics().connections <= 4, "{}", client.diagnostics().connections);
    client.close().await.unwrap();
    server.abort();
    let _ = server.await;
}

async fn an_event_on_which_the_peers_filter_fails_is_held_back<C: Cell>() {
    let (client_log, server_log) = (log("10:client").await, log("server").await);
    client_log.add_batch((0..20).map(event)).await.unwrap();
    let (transport, listener) = C::listen();
    let options = SyncOptions::new().in_filter(async |entry: Arc<logux_sync::Entry<Value>>, _| {
        assert_ne!(entry.event["n"], 13, "a bug of the user's");
        Ok(true)
    });
    let _server = Server::new(&server_log, C::CODEC, listener).options(options).start();
    let client = ClientSync::new(&client_log, C::CODEC, quick(transport)).start();
    let told = told(&client, held_back).await;
    assert!(told[0].reason.contains("in_filter"), "{}", told[0].reason);
    client.wait_for(State::Synchronized).await.unwrap();
    let expected: Vec<_> = (0..20).filter(|n| *n != 13).collect();
    assert_eq!(numbers(&server_log).await, expected);
}

async fn an_event_that_does_not_fit_a_session_is_held_back<C: Cell>() {
    let (client_log, server_log) = (log("10:client").await, log("server").await);
    let long = json!({ "type": "test", "n": 13, "text": "x".repeat(100_000) });
    client_log.add_batch([event(1), long, event(2)]).await.unwrap();
    let (near, far) = C::pair().await;
    let options = SyncOptions::new().limits(Limits::default().frame(50_000));
    let client = BaseSync::new(&client_log, C::CODEC, Role::Opener, near).options(options).start();
    let _server = BaseSync::new(&server_log, C::CODEC, Role::Acceptor, far).start();
    client.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(numbers(&server_log).await, [1, 2]);
    let told = told(&client, held_back).await;
    assert!(told[0].reason.contains("of 50000 that one may have"), "{}", told[0].reason);
    assert_eq!(client_log.held_back(&"server".parse().unwrap()).await.unwrap(), told);
}

async fn a_map_that_makes_an_event_unfit_holds_it_back<C: Cell>() {
    let (client_log, server_log) = (log("10:client").await, log("server").await);
    client_log.add_batch((0..5).map(event)).await.unwrap();
    let (near, far) = C::pair().await;
    let options = SyncOptions::new().out_map(async |entry: Arc<logux_sync::Entry<Value>>, _| {
        let mut changed = logux_sync::Entry::clone(&entry);
        if entry.event["n"] == 3 {
            changed.event["text"] = "x".repeat(300 << 10).into();
        }
        Ok(Arc::new(changed))
    });
    let client = BaseSync::new(&client_log, C::CODEC, Role::Opener, near).options(options).start();
    let _server = BaseSync::new(&server_log, C::CODEC, Role::Acceptor, far).start();
    client.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(numbers(&server_log).await, [0, 1, 2, 4]);
    assert_eq!(told(&client, held_back).await.len(), 1);
}

async fn what_was_held_back_is_offered_again_on_request<C: Cell>() {
    let (client_log, server_log) = (log("10:client").await, log("server").await);
    let server = "server".parse().unwrap();
    let foreign = |n: u64| Draft::new(event(n)).id(format!("{n} 99:else").parse().unwrap());
    for n in 1..=6 {
        let draft = if n % 2 == 0 { foreign(n) } else { Draft::new(event(n)) };
        client_log.add(draft).await.unwrap();
    }
    let run = async |options: SyncOptions<Value>, offers: bool| {
        let (near, far) = C::pair().await;
        let client = BaseSync::new(&client_log, C::CODEC, Role::Opener, near).start();
        if offers {
            client.offer_again().await;
        }
        let session =
            BaseSync::new(&server_log, C::CODEC, Role::Acceptor, far).options(options).start();
        client.wait_for(State::Synchronized).await.unwrap();
        client.close().await.unwrap();
        session.close().await.unwrap();
    };
    run(SyncOptions::new(), false).await;
    assert_eq!(numbers(&server_log).await, [1, 3, 5]);
    assert_eq!(client_log.held_back(&server).await.unwrap().len(), 3);
    // Nothing changes by itself, nor by asking a server that still says no.
    run(SyncOptions::new().auth(async |_| Access::relay()), false).await;
    run(SyncOptions::new(), true).await;
    assert_eq!(numbers(&server_log).await, [1, 3, 5]);
    assert_eq!(client_log.held_back(&server).await.unwrap().len(), 3);
    run(SyncOptions::new().auth(async |_| Access::relay()), true).await;
    assert_eq!(numbers(&server_log).await, [1, 3, 5, 2, 4, 6]);
    assert_eq!(client_log.held_back(&server).await.unwrap(), []);
}

async fn what_is_held_back_is_not_sent_by_a_second_look_at_the_filter<C: Cell>() {
    let log = log("server").await;
    log.add_batch([event(1), event(2)]).await.unwrap();
    let (near, far) = C::pair().await;
    let options = SyncOptions::new().out_filter(async |_, _| Ok(true));
    let session = BaseSync::new(&log, C::CODEC, Role::Acceptor, near).options(options).start();
    let mut peer = Peer::new::<C>(far);
    introduce(&mut peer).await;
    let first = log.entries_after(Added::ZERO, 1).await.unwrap()[0].meta.id.clone();
    let report = format!("refused 1 events: {first} because of a test");
    peer.send(&json!(["debug", "error", report]).to_string()).await;
    peer.send(r#"["synced",2]"#).await;
    assert_eq!(told(&session, held_back).await.len(), 1);
    session.reevaluate().await;
    log.add(event(3)).await.unwrap();
    let sync: Value = serde_json::from_str(&peer.next().await.unwrap()).unwrap();
    assert_eq!((&sync[1], &sync[2]), (&json!(3), &event(3)), "{sync}");
    // It is for the one that is asked for.
    session.offer_again().await;
    peer.send(r#"["synced",3]"#).await;
    let sync: Value = serde_json::from_str(&peer.next().await.unwrap()).unwrap();
    assert_eq!(sync[2], event(1), "{sync}");
}

async fn a_peer_that_refuses_everything_is_not_dialled_in_a_loop<C: Cell>() {
    let log = log("10:client").await;
    let (transport, listener) = C::listen();
    let server = tokio::spawn(picky::<C>(listener, |_| true, usize::MAX));
    let transport = Reconnect::new(transport).max_delay(Duration::from_secs(60)).seed(1);
    let client = ClientSync::new(&log, C::CODEC, transport).start();
    client.wait_for(State::Synchronized).await.unwrap();
    log.add_batch((0..1_000).map(event)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let connections = client.diagnostics().connections;
    // Half a minute each, on average, once the waits have grown.
    assert!((60..250).contains(&connections), "{connections} in an hour");
    server.abort();
}

async fn a_link_that_breaks_holds_nothing_back<C: Cell>() {
    let log = log("10:client").await;
    log.add_batch((0..3).map(event)).await.unwrap();
    let (transport, mut listener) = C::listen();
    let client = ClientSync::new(&log, C::CODEC, quick(transport)).start();
    for _ in 0..20 {
        let mut peer = Peer::accept::<C>(&mut listener).await;
        while !peer.next().await.unwrap().starts_with(r#"["connect""#) {}
        peer.send(r#"["connected",7,"server",[0,0]]"#).await;
        while !peer.next().await.unwrap().starts_with(r#"["sync""#) {}
    }
    assert_eq!(log.held_back(&"server".parse().unwrap()).await.unwrap(), []);
    drop(client);
}

async fn nodes_of_javascript_are_spared_what_they_would_change<C: Cell>() {
    let options = LogOptions::new().event_limits(EventLimits::for_javascript());
    let store = Arc::new(MemoryStore::new()) as Arc<dyn Store<Value>>;
    let log = Log::open_with("server".parse().unwrap(), store, options).await.unwrap();
    let too_large = 1_u64 << 53;
    for event in [json!(1), json!({ "n": 1 }), json!({ "type": "a", "n": too_large })] {
        assert!(log.add(event.clone()).await.is_err(), "{event}");
    }
    let (near, far) = C::pair().await;
    let session = BaseSync::new(&log, C::CODEC, Role::Acceptor, near).start();
    let mut peer = Peer::new::<C>(far);
    introduce(&mut peer).await;
    let sync = json!(["sync", 3, { "n": 1 }, { "id": "1", "time": 0 },
        { "type": "a", "n": too_large }, { "id": "2", "time": 0 }, event(3), { "id": "3", "time": 0 }]);
    peer.send(&sync.to_string()).await;
    assert!(peer.next().await.unwrap().contains("refused 1 events: 1 10:peer because"));
    assert!(peer.next().await.unwrap().contains("refused 1 events: 2 10:peer because"));
    assert_eq!(peer.next().await.unwrap(), r#"["synced",3]"#);
    assert_eq!(numbers(&log).await, [3]);
    assert_eq!(ids(&told(&session, refused).await), ["1 10:peer", "2 10:peer"]);
}

/// A database that is away for five minutes.
async fn what_fails_for_a_while_is_held_back_for_a_while<C: Cell>() {
    let (client_log, server_log) = (log("10:client").await, log("server").await);
    client_log.add_batch((0..3).map(event)).await.unwrap();
    let (transport, listener) = C::listen();
    let is_away = Arc::new(AtomicBool::new(false));
    let options = {
        let is_away = Arc::clone(&is_away);
        SyncOptions::new().in_filter(move |_, _| {
            let is_away = is_away.load(Ordering::Relaxed);
            async move { if is_away { Err("the database is away".into()) } else { Ok(true) } }
        })
    };
    let _server = Server::new(&server_log, C::CODEC, listener).options(options).start();
    let client = ClientSync::new(&client_log, C::CODEC, Reconnect::new(transport)).start();
    client.wait_for(State::Synchronized).await.unwrap();
    is_away.store(true, Ordering::Relaxed);
    client_log.add_batch((3..8).map(event)).await.unwrap();
    sleep(Duration::from_secs(300)).await;
    is_away.store(false, Ordering::Relaxed);
    // Whatever it did meanwhile: nobody asks it to offer anything again.
    sleep(Duration::from_secs(300)).await;
    assert_eq!(client_log.held_back(server_log.node_id()).await.unwrap(), []);
    let mut numbers = numbers(&server_log).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (0..8).collect::<Vec<_>>());
    assert!(client.diagnostics().connections < 40, "{}", client.diagnostics().connections);
}

async fn a_peer_that_fails_by_its_own_events_has_refused_none<C: Cell>() {
    let (client_log, server_log) = (log("10:client").await, log("server").await);
    server_log.add(event(99)).await.unwrap();
    client_log.add_batch((0..5).map(event)).await.unwrap();
    let (transport, listener) = C::listen();
    let options = SyncOptions::new()
        .in_filter(async |_, _| {
            sleep(Duration::from_millis(30)).await;
            Ok(true)
        })
        .out_filter(async |_, _| {
            sleep(Duration::from_millis(10)).await;
            Err("a bug of the user's".into())
        });
    let _server = Server::new(&server_log, C::CODEC, listener).options(options).start();
    let client = ClientSync::new(&client_log, C::CODEC, Reconnect::new(transport)).start();
    sleep(Duration::from_secs(600)).await;
    assert!(client.diagnostics().connections > 5);
    assert_eq!(client_log.held_back(server_log.node_id()).await.unwrap(), []);
}

/// serde quotes the text that is wrong, with escapes.
async fn the_reason_of_a_refusal_is_short<C: Cell>() {
    for unreadable in [Unreadable::Keep, Unreadable::Skip, Unreadable::Refuse] {
        let client_log = log("10:client").await;
        let server_log =
            Log::<Growing>::open("server".parse().unwrap(), MemoryStore::new()).await.unwrap();
        let long = json!({ "type": "test", "n": "\u{7f}".repeat(250_000) });
        client_log.add_batch([long, event(1)]).await.unwrap();
        let (near, far) = C::pair().await;
        let options = SyncOptions::new().unreadable(unreadable);
        let server = BaseSync::new(&server_log, C::CODEC, Role::Acceptor, far);
        let _server = server.options(options).start();
        let client = BaseSync::new(&client_log, C::CODEC, Role::Opener, near).start();
        client.wait_for(State::Synchronized).await.unwrap();
        for one in server_log.set_aside().await.unwrap() {
            assert!(one.reason.len() < 1_000, "{}", one.reason.len());
        }
        assert_eq!(server_log.last_added(), Added::new(1).unwrap());
    }
}

async fn what_was_set_aside_and_fails_in_a_filter_ends_no_connection<C: Cell>() {
    VERSION.set(1);
    let store = Arc::new(MemoryStore::new());
    let client_log = log("10:client").await;
    let run = async |events: [u64; 3]| {
        client_log.add_batch(events.map(event)).await.unwrap();
        let server_log = open(&store).await;
        let options = SyncOptions::new().in_filter(async |entry: Arc<Entry<Versioned>>, _| {
            if entry.event.0 == 100 { Err("the list is gone".into()) } else { Ok(true) }
        });
        let (transport, listener) = C::listen();
        let _server = Server::new(&server_log, C::CODEC, listener).options(options).start();
        let client = ClientSync::new(&client_log, C::CODEC, Reconnect::new(transport)).start();
        client.wait_for(State::Synchronized).await.unwrap();
        sleep(Duration::from_secs(10)).await;
        let diagnostics = client.diagnostics();
        assert_eq!(diagnostics.connections, 1);
        (versioned(&server_log).await, server_log.set_aside().await.unwrap().len())
    };
    assert_eq!(run([1, 100, 101]).await, (vec![1], 2));
    VERSION.set(2);
    // 101 is taken up; of 100 nothing is known yet.
    let (mut numbers, set_aside) = run([2, 3, 4]).await;
    numbers.sort_unstable();
    assert_eq!((numbers, set_aside), (vec![1, 2, 3, 4, 101], 1));
}

async fn many_events_that_a_peer_refuses_cost_no_hours<C: Cell>() {
    let log = log("10:client").await;
    log.add_batch((0..100).map(event)).await.unwrap();
    let (transport, listener) = C::listen();
    let refuses = |numbers: &[u64]| numbers.iter().any(|n| *n < 20);
    let server = tokio::spawn(picky::<C>(listener, refuses, usize::MAX));
    let reconnect = Reconnect::new(transport).attempts(5);
    let client = ClientSync::new(&log, C::CODEC, reconnect).start();
    let start = tokio::time::Instant::now();
    let server_id = "server".parse().unwrap();
    while log.held_back(&server_id).await.unwrap().len() < 20
        || client.diagnostics().state != State::Synchronized
    {
        sleep(Duration::from_secs(1)).await;
        assert!(start.elapsed() < Duration::from_secs(90), "{:?}", client.diagnostics());
    }
    client.close().await.unwrap();
    server.abort();
}

async fn doubts_about_many_events_end<C: Cell>() {
    let log = log("10:client").await;
    log.add_batch((0..20).map(event)).await.unwrap();
    let (transport, listener) = C::listen();
    let refuses = |numbers: &[u64]| numbers.iter().any(|n| *n < 20);
    let server = tokio::spawn(picky::<C>(listener, refuses, usize::MAX));
    let client = ClientSync::new(&log, C::CODEC, Reconnect::new(transport).seed(1)).start();
    for n in 20..60 {
        sleep(Duration::from_secs(600)).await;
        log.add(event(n)).await.unwrap();
    }
    let held_back = log.held_back(&"server".parse().unwrap()).await.unwrap();
    assert_eq!(held_back.len(), 20);
    assert!(held_back.iter().all(|one| !one.is_doubtful), "{held_back:?}");
    let connections = client.diagnostics().connections;
    assert!(connections < 150, "{connections}");
    client.close().await.unwrap();
    server.abort();
}

/// A database that answers one question a second, for five minutes.
async fn what_a_peer_takes_now_and_then_all_arrives_in_the_end<C: Cell>() {
    let (client_log, server_log) = (log("10:client").await, log("server").await);
    client_log.add_batch((0..100).map(event)).await.unwrap();
    let (transport, listener) = C::listen();
    let start = tokio::time::Instant::now();
    let last = Arc::new(AtomicU64::new(0));
    let options = SyncOptions::new().in_filter(move |_, _| {
        let second = start.elapsed().as_secs();
        let is_busy = last.swap(second, Ordering::Relaxed) == second && second < 300;
        async move { if is_busy { Err("too many questions".into()) } else { Ok(true) } }
    });
    let _server = Server::new(&server_log, C::CODEC, listener).options(options).start();
    let transport = Reconnect::new(transport).seed(1);
    let client = ClientSync::new(&client_log, C::CODEC, transport).start();
    for n in 100..120 {
        sleep(Duration::from_secs(600)).await;
        client_log.add(event(n)).await.unwrap();
    }
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(client_log.held_back(server_log.node_id()).await.unwrap(), []);
    let mut numbers = numbers(&server_log).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (0..120).collect::<Vec<_>>());
    assert!(client.diagnostics().connections < 300, "{}", client.diagnostics().connections);
}

async fn that_an_event_is_to_blame_is_known_to_the_next_process<C: Cell>() {
    let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
    let server_id = "server".parse().unwrap();
    for process in 0..3 {
        let options = LogOptions::new();
        let log = Log::open_with("10:client".parse().unwrap(), Arc::clone(&store), options);
        let log = log.await.unwrap();
        // In the first process, nothing else is there to be taken.
        let number = if process == 0 { 13 } else { 20 + process };
        log.add(event(number)).await.unwrap();
        let (transport, listener) = C::listen();
        let refuses = |numbers: &[u64]| numbers.contains(&13);
        let server = tokio::spawn(picky::<C>(listener, refuses, usize::MAX));
        let client = ClientSync::new(&log, C::CODEC, quick(transport)).start();
        sleep(Duration::from_secs(30)).await;
        let held_back = log.held_back(&server_id).await.unwrap();
        assert_eq!(held_back.len(), 1);
        assert_eq!(held_back[0].is_doubtful, process == 0, "process {process}");
        let connections = client.diagnostics().connections;
        assert!(process < 2 || connections == 1, "process {process}: {connections}");
        client.close().await.unwrap();
        server.abort();
        let _ = server.await;
    }
}

/// Six events, of which every other is another client's.
async fn half_of_them_foreign() -> Log<Value> {
    let log = log("10:client").await;
    for n in 1..=6 {
        let draft = Draft::new(event(n));
        let id = format!("{n} 99:else").parse().unwrap();
        log.add(if n % 2 == 0 { draft.id(id) } else { draft }).await.unwrap();
    }
    log
}

fn client_or_relay(is_relay: bool) -> Access<Value> {
    if is_relay { Access::relay() } else { Access::client() }
}

async fn offers_and_second_looks_go_together<C: Cell>() {
    for order in 0..4 {
        let (client_log, server_log) = (half_of_them_foreign().await, log("server").await);
        let is_relay = Arc::new(AtomicBool::new(false));
        let run = async || {
            let (near, far) = C::pair().await;
            let relay = is_relay.load(Ordering::Relaxed);
            let options = SyncOptions::new().auth(move |_| ready(client_or_relay(relay)));
            let options = options.in_filter(async |_, _| {
                sleep(Duration::from_millis(20)).await;
                Ok(true)
            });
            let server = BaseSync::new(&server_log, C::CODEC, Role::Acceptor, far);
            let server = server.options(options).start();
            let options =
                SyncOptions::new().out_filter(move |entry: Arc<Entry<Value>>, _| async move {
                    Ok(relay || entry.event["n"] != 1)
                });
            let client = BaseSync::new(&client_log, C::CODEC, Role::Opener, near);
            let client = client.options(options).start();
            client.wait_for(State::Synchronized).await.unwrap();
            if relay {
                for step in 0..2 {
                    if (step + order) % 2 == 0 {
                        client.reevaluate().await;
                    } else {
                        client.offer_again().await;
                    }
                    sleep(Duration::from_millis(if order < 2 { 5 } else { 0 })).await;
                }
            }
            sleep(Duration::from_secs(60)).await;
            client.close().await.unwrap();
            server.close().await.unwrap();
        };
        run().await;
        assert_eq!(numbers(&server_log).await, [3, 5]);
        is_relay.store(true, Ordering::Relaxed);
        run().await;
        let mut numbers = numbers(&server_log).await;
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6], "order {order}");
        assert_eq!(client_log.held_back(server_log.node_id()).await.unwrap(), []);
    }
}

async fn what_is_offered_is_sent_and_nothing_else<C: Cell>() {
    let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
    let server_log = log("server").await;
    for is_relay in [false, true] {
        // Another process, which knows nothing of what the one before withheld.
        let options = LogOptions::new();
        let client_log = Log::open_with("10:client".parse().unwrap(), Arc::clone(&store), options);
        let client_log = client_log.await.unwrap();
        if client_log.last_added() == Added::ZERO {
            client_log.add_batch((0..500).map(event)).await.unwrap();
            let foreign = Draft::new(event(500)).id("1 99:else".parse().unwrap());
            client_log.add(foreign).await.unwrap();
        }
        let (near, far) = C::pair().await;
        let options = SyncOptions::new().auth(move |_| ready(client_or_relay(is_relay)));
        let server = BaseSync::new(&server_log, C::CODEC, Role::Acceptor, far).options(options);
        let _server = server.start();
        let options = SyncOptions::new().out_filter(async |_, _| Ok(true));
        let client = BaseSync::new(&client_log, C::CODEC, Role::Opener, near).options(options);
        let client = client.start();
        client.wait_for(State::Synchronized).await.unwrap();
        if is_relay {
            client.offer_again().await;
            sleep(Duration::from_secs(10)).await;
            assert_eq!(client.diagnostics().events_sent, 1);
            assert_eq!(numbers(&server_log).await.len(), 501);
        }
        client.close().await.unwrap();
    }
}

async fn many_refusals_are_told<C: Cell>() {
    for count in [1, 12, 13, 17, 100, 1_000] {
        let (client_log, server_log) = (log("10:client").await, log("server").await);
        let foreign = (1..=count).map(|n| {
            let time = logux_sync::Timestamp::new(n).unwrap();
            let id = logux_sync::EventId::new(time, "99:else".parse().unwrap());
            Draft::new(event(n)).id(id)
        });
        client_log.add_batch(foreign).await.unwrap();
        let (near, far) = C::pair().await;
        let client = BaseSync::new(&client_log, C::CODEC, Role::Opener, near).start();
        let server = BaseSync::new(&server_log, C::CODEC, Role::Acceptor, far).start();
        client.wait_for(State::Synchronized).await.unwrap();
        let all = client_log.held_back(server_log.node_id()).await.unwrap();
        assert_eq!(all.len() as u64, count);
        let some = told(&client, held_back).await;
        assert!(some.len() >= usize::try_from(count.min(12)).unwrap(), "{count}: {}", some.len());
        assert!(!told(&server, refused).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_tab_had_set_aside_is_taken_up_with_another() {
    let store = Arc::new(MemoryStore::new());
    // A browser gives each page that it loads a tab of its own.
    for (version, tab, number) in [(1, "10:client:a", 100), (2, "10:client:b", 1)] {
        VERSION.set(version);
        let (server, client) = (open(&store).await, log(tab).await);
        client.add(event(number)).await.unwrap();
        let (near, far) = Memory::pair();
        let options = SyncOptions::new().in_filter(async |_: Arc<Entry<Versioned>>, _| Ok(true));
        let there = BaseSync::new(&server, Json, Role::Acceptor, far).options(options).start();
        let here = BaseSync::new(&client, Json, Role::Opener, near).start();
        here.wait_for(State::Synchronized).await.unwrap();
        here.close().await.unwrap();
        let _ = there.ended().await;
    }
    let server = open(&store).await;
    assert_eq!(server.set_aside().await.unwrap(), []);
    let mut numbers: Vec<_> = server
        .entries_after(Added::ZERO, 9)
        .await
        .unwrap()
        .iter()
        .map(|entry| entry.event.0)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_user_has_no_more_set_aside_with_many_clients_and_tabs_than_with_one() {
    let server = open(&Arc::new(MemoryStore::new())).await;
    for tab in 0..12 {
        let client = log(&format!("66:evil{}:{tab}", tab % 2)).await;
        client.add_batch((0..100).map(|n| event(100 + n))).await.unwrap();
        let (near, far) = Memory::pair();
        let _there = BaseSync::new(&server, Json, Role::Acceptor, far).start();
        let here = BaseSync::new(&client, Json, Role::Opener, near).start();
        here.wait_for(State::Synchronized).await.unwrap();
    }
    assert_eq!(server.set_aside().await.unwrap().len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_full_list_of_what_is_held_back_ends_the_connection_and_loses_nothing() {
    let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
    let server = log("server").await;
    let client =
        Log::open_with("10:client".parse().unwrap(), Arc::clone(&store), LogOptions::new())
            .await
            .unwrap();
    let name = |n: u64| {
        EventId::new(logux_sync::Timestamp::new(n + 1).unwrap(), "99:else".parse().unwrap())
    };
    let drafts = (0..10_050).map(|n| Draft::new(event(n)).id(name(n)));
    client.add_batch(drafts).await.unwrap();
    let (near, far) = Memory::pair();
    let _there = BaseSync::new(&server, Json, Role::Acceptor, far).start();
    let here = BaseSync::new(&client, Json, Role::Opener, near);
    let here = here.options(SyncOptions::new().batch(100)).start();
    let ended = here.ended().await.unwrap_err();
    let Error::Store(failed) = &*ended else { panic!("{ended}") };
    let shown = std::error::Error::source(failed).unwrap().to_string();
    assert!(shown.contains("refuses more than 10000 events"), "{shown}");
    let held_back = client.held_back(server.node_id()).await.unwrap().len();
    assert!((9_000..=10_000).contains(&held_back), "{held_back}");
    let sent = client.cursors(server.node_id()).await.unwrap().sent.value();
    assert_eq!(sent, held_back as u64, "the cursor passed what is not listed");
    // Once the server takes them, all of them arrive.
    let (near, far) = Memory::pair();
    let options = SyncOptions::new().auth(async |_| Access::relay());
    let _there = BaseSync::new(&server, Json, Role::Acceptor, far).options(options).start();
    let here = BaseSync::new(&client, Json, Role::Opener, near).start();
    here.offer_again().await;
    here.wait_for(State::Synchronized).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(server.last_added().value(), 10_050);
    assert!(client.held_back(server.node_id()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_in_map_makes_is_measured_as_what_arrives() {
    let (client, server) = (log("10:client").await, log("server").await);
    let added = client.add_batch([event(1), event(2), event(3)]).await.unwrap();
    let options = SyncOptions::new().in_map(async |mut entry: Entry<Value>, _| {
        if entry.event["n"] == 2 {
            entry.event["text"] = "x".repeat(300 << 10).into();
        }
        Ok(entry)
    });
    let (near, far) = Memory::pair();
    let there = BaseSync::new(&server, Json, Role::Acceptor, far).options(options).start();
    let mut notices = there.notices();
    let here = BaseSync::new(&client, Json, Role::Opener, near).start();
    here.wait_for(State::Synchronized).await.unwrap();
    let entries = server.entries_after(Added::ZERO, 9).await.unwrap();
    assert_eq!(entries.iter().map(|entry| &entry.event["n"]).collect::<Vec<_>>(), [1, 3]);
    let held_back = client.held_back(server.node_id()).await.unwrap();
    let [refused] = &held_back[..] else { panic!("{held_back:?}") };
    assert_eq!(refused.id, added[1].meta.id);
    assert!(refused.reason.contains("in_map"), "{}", refused.reason);
    let Some(Notice::Refused(told)) = notices.next().await else { panic!("it is not told") };
    assert_eq!(told[0].id, added[1].meta.id);
}

#[tokio::test(start_paused = true)]
async fn what_in_map_makes_unfit_of_an_event_that_was_set_aside_stays_there() {
    let store = Arc::new(MemoryStore::new());
    for version in [1, 2] {
        VERSION.set(version);
        let (server, client) = (open(&store).await, log("10:client").await);
        if version == 1 {
            client.add_batch([event(100), event(200)]).await.unwrap();
        }
        let (near, far) = Memory::pair();
        let options = SyncOptions::new().in_map(async |mut entry: Entry<Versioned>, _| {
            if entry.event.0 == 100 {
                entry.meta.extra.insert("text".into(), "x".repeat(300 << 10).into());
            }
            Ok(entry)
        });
        let there = BaseSync::new(&server, Json, Role::Acceptor, far).options(options).start();
        let here = BaseSync::new(&client, Json, Role::Opener, near).start();
        here.wait_for(State::Synchronized).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        here.close().await.unwrap();
        let _ = there.ended().await;
    }
    let server = open(&store).await;
    let kept = server.set_aside().await.unwrap();
    assert_eq!(kept.iter().map(|one| &one.event).collect::<Vec<_>>(), [&event(100)]);
    let entries = server.entries_after(Added::ZERO, 9).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.event.0).collect::<Vec<_>>(), [200]);
}
