//! Filters and maps, from the public API, in paused time.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use logux_sync::{
    Added, BaseSync, ClientSync, Draft, Error, Log, MemoryStore, NodeId, Reconnect, Role,
    RunningServer, Server, ServerSync, Session, State, SyncOptions, Value, filters,
};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::cells::{AnyListener, Cell};
use crate::scripted::Peer;

on_every_cell! {
    filters_decide_in_catch_up_and_live_alike,
    maps_change_events_and_never_their_names,
    order_is_kept_however_long_each_answer_takes,
    at_most_16_events_are_asked_about_at_once,
    a_slow_filter_delays_its_own_direction_only,
    a_callback_that_fails_ends_the_session_and_confirms_nothing,
    a_filter_that_keeps_an_event_is_told_so,
    ready_made_filters,
    what_becomes_visible_is_sent_and_nothing_twice,
    a_review_that_is_cut_goes_on_with_the_next_connection,
    a_review_offers_nothing_that_the_peer_did_not_take,
    an_offer_that_is_cut_goes_on_with_the_next_connection,
}

async fn log(node: &str) -> Log<Value> {
    Log::open(node.parse().unwrap(), MemoryStore::new()).await.unwrap()
}

fn event(n: u64) -> Value {
    json!({ "type": "test", "n": n })
}

async fn add(log: &Log<Value>, numbers: std::ops::Range<u64>) {
    log.add_batch(numbers.map(event)).await.unwrap();
}

/// The numbers of all events of a log, in the order in which it got them.
async fn numbers(log: &Log<Value>) -> Vec<u64> {
    let entries = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    entries.iter().map(|entry| entry.event["n"].as_u64().unwrap()).collect()
}

fn n(event: &Value) -> u64 {
    event["n"].as_u64().unwrap()
}

/// A client and a server over memory, and their options.
struct Pair {
    client_log: Log<Value>,
    server_log: Log<Value>,
    client: Session,
    server: RunningServer,
}

async fn pair<C: Cell>(client: SyncOptions<Value>, server: SyncOptions<Value>) -> Pair {
    let (client_log, server_log) = (log("10:uuid").await, log("server").await);
    add(&client_log, 0..150).await;
    add(&server_log, 1000..1150).await;
    let (transport, listener) = C::listen();
    let server = Server::new(&server_log, C::CODEC, listener).options(server).start();
    let client =
        ClientSync::new(&client_log, C::CODEC, Reconnect::new(transport)).options(client).start();
    client.wait_for(State::Synchronized).await.unwrap();
    Pair { client_log, server_log, client, server }
}

impl Pair {
    /// Adds live what was there at the start, too.
    async fn go_live(&self) {
        add(&self.client_log, 150..200).await;
        add(&self.server_log, 1150..1200).await;
        self.settle().await;
    }

    async fn settle(&self) {
        self.client.wait_for(State::Synchronized).await.unwrap();
        // The other direction has no state to wait for.
        sleep(Duration::from_secs(1)).await;
    }
}

async fn filters_decide_in_catch_up_and_live_alike<C: Cell>() {
    let even = SyncOptions::new()
        .out_filter(async |entry, _| Ok(n(&entry.event).is_multiple_of(2)))
        .in_filter(async |entry, _| Ok(n(&entry.event).is_multiple_of(3)));
    let pair = pair::<C>(even, SyncOptions::new()).await;
    pair.go_live().await;
    let expected: HashSet<_> = (1000..1200).chain((0..200).step_by(2)).collect();
    let held: HashSet<_> = numbers(&pair.server_log).await.into_iter().collect();
    assert_eq!(held, expected);
    let from_server: Vec<_> =
        numbers(&pair.client_log).await.into_iter().filter(|n| *n >= 1000).collect();
    assert_eq!(from_server, (1000..1200).filter(|n| n % 3 == 0).collect::<Vec<_>>());
    // What was refused is confirmed, and does not come again.
    let peer = "10:uuid".parse().unwrap();
    let cursors = pair.client_log.cursors(&"server".parse().unwrap()).await.unwrap();
    assert_eq!(cursors.received, pair.server_log.cursors(&peer).await.unwrap().sent);
    assert_eq!(cursors.sent, pair.client_log.last_added());
}

async fn maps_change_events_and_never_their_names<C: Cell>() {
    let client = SyncOptions::<Value>::new().out_map(async |entry, _| {
        let mut changed = entry.as_ref().clone();
        changed.event["out"] = true.into();
        changed.meta.id = "1 forged".parse()?;
        changed.meta.added = Added::ZERO;
        Ok(Arc::new(changed))
    });
    let server = SyncOptions::<Value>::new().in_map(async |mut entry, peer| {
        entry.event["in"] = peer.node_id.as_str().into();
        entry.meta.id = "1 forged".parse()?;
        entry.meta.source = None;
        entry.meta.indexes.push("mapped".to_owned());
        Ok(entry)
    });
    let pair = pair::<C>(client, server).await;
    pair.go_live().await;
    for entry in pair.client_log.entries_after(Added::ZERO, usize::MAX).await.unwrap() {
        assert!(entry.event.get("out").is_none(), "the own log keeps events as they are");
        let there = pair.server_log.by_id(&entry.meta.id).await.unwrap().expect("the same id");
        if entry.meta.source.is_none() {
            assert_eq!(
                (&there.event["out"], &there.event["in"]),
                (&json!(true), &json!("10:uuid"))
            );
            assert_eq!(there.meta.indexes, ["mapped"]);
        }
    }
    assert_eq!(pair.server_log.last_added().value(), 400);
    assert_eq!(pair.client_log.last_added().value(), 400, "nothing went back");
}

async fn order_is_kept_however_long_each_answer_takes<C: Cell>() {
    fn wait(n: u64) -> Duration {
        Duration::from_millis((n * 7919) % 100)
    }

    let slow = || {
        SyncOptions::new()
            .out_filter(async |entry, _| {
                sleep(wait(n(&entry.event))).await;
                Ok(true)
            })
            .in_map(async |entry, _| {
                sleep(wait(n(&entry.event) + 1)).await;
                Ok(entry)
            })
    };
    let pair = pair::<C>(slow(), slow()).await;
    pair.go_live().await;
    sleep(Duration::from_secs(60)).await;
    for (log, mine, theirs) in
        [(&pair.client_log, 0..200, 1000..1200), (&pair.server_log, 1000..1200, 0..200)]
    {
        let held = numbers(log).await;
        for origin in [mine, theirs] {
            let of_one: Vec<_> = held.iter().copied().filter(|n| origin.contains(n)).collect();
            assert_eq!(of_one, origin.collect::<Vec<_>>());
        }
    }
}

async fn at_most_16_events_are_asked_about_at_once<C: Cell>() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let options = {
        let most = Arc::clone(&most);
        SyncOptions::new().out_filter(move |_, _| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                sleep(Duration::from_millis(1)).await;
                now.fetch_sub(1, Ordering::Relaxed);
                Ok(true)
            }
        })
    };
    pair::<C>(options, SyncOptions::new()).await;
    assert_eq!(most.load(Ordering::Relaxed), 16);
}

async fn a_slow_filter_delays_its_own_direction_only<C: Cell>() {
    let log = log("server").await;
    let (near, far) = C::pair().await;
    let never = SyncOptions::new().out_filter(|_, _| std::future::pending());
    let _server = ServerSync::new(&log, C::CODEC, near).options(never).start();
    let mut client = Peer::new::<C>(far);
    client.send(r#"["connect",7,"client",0]"#).await;
    client.next().await.unwrap();
    assert_eq!(client.next().await.unwrap(), r#"["ready",0]"#);
    add(&log, 0..1).await;
    client.send(r#"["sync",1,{"type":"a"},{"id":"1","time":1}]"#).await;
    assert_eq!(client.next().await.unwrap(), r#"["synced",1]"#);

    let log = self::log("server").await;
    let (near, far) = C::pair().await;
    let never = SyncOptions::new().in_filter(|_, _| std::future::pending());
    let _server = ServerSync::new(&log, C::CODEC, near).options(never).start();
    let mut client = Peer::new::<C>(far);
    client.send(r#"["connect",7,"client",0]"#).await;
    client.next().await.unwrap();
    assert_eq!(client.next().await.unwrap(), r#"["ready",0]"#);
    client.send(r#"["sync",1,{"type":"a"},{"id":"1","time":1}]"#).await;
    for n in 1..10 {
        add(&log, n..n + 1).await;
        assert!(client.next().await.unwrap().starts_with(&format!(r#"["sync",{n},"#)));
        client.send(&format!(r#"["synced",{n}]"#)).await;
        client.send(r#"["ping",0]"#).await;
        assert!(client.next().await.unwrap().starts_with(r#"["pong","#));
    }
    let cursors = log.cursors(&"client".parse().unwrap()).await.unwrap();
    assert_eq!((cursors.sent.value(), cursors.received.value()), (9, 0), "and cursors move on");
}

async fn a_callback_that_fails_ends_the_session_and_confirms_nothing<C: Cell>() {
    type Options = SyncOptions<Value>;

    fn bad(entry: &logux_sync::Entry<Value>) -> bool {
        n(&entry.event) == 5
    }

    let failing: [(&str, Options); 8] = [
        (
            "in_filter",
            Options::new()
                .in_filter(async |e, _| if bad(&e) { Err("no".into()) } else { Ok(true) }),
        ),
        (
            "in_filter",
            Options::new().in_filter(async |e, _| if bad(&e) { panic!() } else { Ok(true) }),
        ),
        (
            "in_map",
            Options::new().in_map(async |e, _| if bad(&e) { Err("no".into()) } else { Ok(e) }),
        ),
        (
            "in_map",
            Options::new().in_map(move |e, _| {
                assert!(!bad(&e));
                std::future::ready(Ok(e))
            }),
        ),
        (
            "out_filter",
            Options::new()
                .out_filter(async |e, _| if bad(&e) { Err("no".into()) } else { Ok(true) }),
        ),
        (
            "out_filter",
            Options::new().out_filter(async |e, _| if bad(&e) { panic!() } else { Ok(true) }),
        ),
        (
            "out_map",
            Options::new().out_map(async |e, _| if bad(&e) { Err("no".into()) } else { Ok(e) }),
        ),
        (
            "out_map",
            Options::new().out_map(move |e, _| {
                assert!(!bad(&e));
                std::future::ready(Ok(e))
            }),
        ),
    ];
    for (name, options) in failing {
        let (near_log, far_log) = (log("near").await, log("far").await);
        let (near, far) = C::pair().await;
        let session =
            BaseSync::new(&near_log, C::CODEC, Role::Opener, near).options(options).start();
        let _other = BaseSync::new(&far_log, C::CODEC, Role::Acceptor, far).start();
        session.wait_for(State::Synchronized).await.unwrap();
        // One by one, so that each is a message of its own.
        for n in 0..10 {
            add(if name.starts_with("in") { &far_log } else { &near_log }, n..n + 1).await;
            sleep(Duration::from_millis(10)).await;
        }
        let error = session.ended().await.unwrap_err();
        assert!(
            matches!(&*error, Error::Callback { name: found, .. } if *found == name),
            "{error}"
        );
        assert!(error.is_transient());
        let (from, to) =
            if name.starts_with("in") { (&far_log, &near_log) } else { (&near_log, &far_log) };
        assert_eq!(numbers(to).await, [0, 1, 2, 3, 4], "{name}: what came before is kept");
        let cursors = to.cursors(from.node_id()).await.unwrap();
        assert_eq!(cursors.received.value(), 5, "{name}");
        let cursors = from.cursors(to.node_id()).await.unwrap();
        assert!(cursors.sent.value() <= 5, "{name}: {cursors:?}");
    }
}

async fn a_filter_that_keeps_an_event_is_told_so<C: Cell>() {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let options = SyncOptions::new().in_filter(move |entry, _| {
        kept.lock().unwrap().push(entry);
        std::future::ready(Ok(true))
    });
    let log = log("server").await;
    let (near, far) = C::pair().await;
    let session = ServerSync::new(&log, C::CODEC, near).options(options).start();
    let mut client = Peer::new::<C>(far);
    client.send(r#"["connect",7,"client",0]"#).await;
    client.send(r#"["sync",1,{"type":"a"},{"id":"1","time":1}]"#).await;
    while client.next().await.is_some() {}
    client.hang_up().await;
    let error = session.ended().await.unwrap_err();
    let source = std::error::Error::source(&*error).unwrap().to_string();
    assert_eq!(source, "it still holds an event after its answer");
}

async fn ready_made_filters<C: Cell>() {
    let server = SyncOptions::new()
        .in_filter(filters::own_events())
        .out_filter(filters::with_index(["shared"]));
    let client = SyncOptions::new().out_filter(filters::of_types(["test", "own"]));
    let pair = pair::<C>(client, server).await;
    assert_eq!(pair.client_log.last_added().value(), 150, "nothing of the server's has the index");
    let forged =
        Draft::new(json!({ "type": "own", "n": 1 })).id("OzcVoWD 11:other".parse().unwrap());
    pair.client_log.add(forged).await.unwrap();
    pair.client_log.add(json!({ "type": "other", "n": 2 })).await.unwrap();
    pair.client_log.add(json!({ "type": "own", "n": 3 })).await.unwrap();
    pair.server_log.add(Draft::new(json!({ "type": "x", "n": 4 })).index("shared")).await.unwrap();
    pair.settle().await;
    let there: HashSet<_> = numbers(&pair.server_log).await.into_iter().collect();
    assert_eq!(there, (0..150).chain(1000..1150).collect::<HashSet<_>>());
    let types = pair.server_log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    let own =
        types.iter().filter(|entry| entry.event["type"] == "own").map(|entry| n(&entry.event));
    assert_eq!(own.collect::<Vec<_>>(), [3], "nobody speaks for others");
    assert!(types.iter().all(|entry| entry.event["type"] != "other"));
    assert_eq!(numbers(&pair.client_log).await.last(), Some(&4));
}

async fn what_becomes_visible_is_sent_and_nothing_twice<C: Cell>() {
    let visible = Arc::new(AtomicUsize::new(10));
    let options = {
        let visible = Arc::clone(&visible);
        SyncOptions::new().batch(7).out_filter(move |entry, _| {
            let modulus = visible.load(Ordering::Relaxed) as u64;
            std::future::ready(Ok(n(&entry.event).is_multiple_of(modulus)))
        })
    };
    let pair = pair::<C>(SyncOptions::new(), options).await;
    let received = || pair.client.diagnostics().events_received;
    assert_eq!(received(), 15);
    for (modulus, expected) in [(10, 15), (5, 30), (2, 90), (3, 110), (1, 150)] {
        visible.store(modulus, Ordering::Relaxed);
        for session in pair.server.sessions() {
            session.reevaluate().await;
        }
        // Live events come in between.
        pair.settle().await;
        assert_eq!(received(), expected, "each event travels once, at {modulus}");
    }
    assert_eq!(pair.client_log.last_added().value(), 300);
    // Live ones go on, and a second look finds nothing.
    add(&pair.server_log, 2000..2010).await;
    pair.settle().await;
    pair.server.sessions()[0].reevaluate().await;
    pair.settle().await;
    assert_eq!(received(), 160);
}

async fn a_review_that_is_cut_goes_on_with_the_next_connection<C: Cell>() {
    let visible = Arc::new(AtomicUsize::new(0));
    let options = {
        let visible = Arc::clone(&visible);
        SyncOptions::new()
            .batch(2)
            .window(1)
            .out_filter(move |_, _| std::future::ready(Ok(visible.load(Ordering::Relaxed) > 0)))
    };
    let log = log("server").await;
    add(&log, 0..10).await;
    let (transport, listener) = C::listen();
    let server = Server::new(&log, C::CODEC, listener).options(options).start();
    let mut peer = Peer::dial::<C>(&transport).await;
    peer.send(r#"["connect",7,"client",0]"#).await;
    peer.next().await.unwrap();
    assert_eq!(peer.next().await.unwrap(), r#"["ready",10]"#, "nothing is for it");
    visible.store(1, Ordering::Relaxed);
    server.sessions()[0].reevaluate().await;
    assert!(peer.next().await.unwrap().starts_with(r#"["sync",2,"#));
    peer.send(r#"["synced",2]"#).await;
    // The second one is never confirmed.
    assert!(peer.next().await.unwrap().starts_with(r#"["sync",4,"#));
    peer.hang_up().await;
    sleep(Duration::from_secs(1)).await;
    let mut peer = Peer::dial::<C>(&transport).await;
    // It claims what it was told by `ready`.
    peer.send(r#"["connect",7,"client",10]"#).await;
    peer.next().await.unwrap();
    for up_to in [4, 6, 8, 10] {
        let mut frame = peer.next().await.unwrap();
        if frame.starts_with(r#"["ready""#) {
            frame = peer.next().await.unwrap();
        }
        assert!(frame.starts_with(&format!(r#"["sync",{up_to},"#)), "{frame}");
        peer.send(&format!(r#"["synced",{up_to}]"#)).await;
    }
    peer.send(r#"["ping",0]"#).await;
    let start = Instant::now();
    while !peer.next().await.unwrap().starts_with(r#"["pong""#) {}
    assert!(start.elapsed() < Duration::from_secs(1), "and nothing else comes");
}

/// A client that has one event, which the scripted server of its first connection does not take.
async fn refused<C: Cell>(log: &Log<Value>) -> (Session, AnyListener, Peer) {
    log.add(event(1)).await.unwrap();
    let (transport, mut listener) = C::listen();
    let transport = Reconnect::new(transport).max_delay(Duration::from_secs(1)).seed(1);
    let options = SyncOptions::new().ping(None);
    let client = ClientSync::new(log, C::CODEC, transport).options(options).start();
    let mut server = accept::<C>(&mut listener).await;
    assert!(server.next().await.unwrap().starts_with(r#"["sync",1,"#));
    assert_eq!(server.next().await.unwrap(), r#"["ready",1]"#);
    refuse(&mut server, &held(log).await).await;
    assert_eq!(log.held_back(&server_id()).await.unwrap()[0].reason, "no");
    (client, listener, server)
}

async fn accept<C: Cell>(listener: &mut AnyListener) -> Peer {
    let mut server = Peer::accept::<C>(listener).await;
    server.next().await.unwrap();
    server.send(r#"["connected",7,"server",[1000,1000]]"#).await;
    server
}

/// The id of the only event of a log.
async fn held(log: &Log<Value>) -> String {
    log.entries_after(Added::ZERO, 1).await.unwrap()[0].meta.id.to_string()
}

/// Names an event, and confirms what was sent.
async fn refuse(server: &mut Peer, id: &str) {
    server
        .send(&json!(["debug", "error", format!("refused 1 events: {id} because no")]).to_string())
        .await;
    server.send(r#"["synced",1]"#).await;
    sleep(Duration::from_secs(1)).await;
}

fn server_id() -> NodeId {
    "server".parse().unwrap()
}

async fn is_silent(peer: &mut Peer) -> bool {
    timeout(Duration::from_secs(5), peer.next()).await.is_err()
}

async fn a_review_offers_nothing_that_the_peer_did_not_take<C: Cell>() {
    let log = log("client").await;
    let (client, mut listener, mut server) = refused::<C>(&log).await;
    client.reevaluate().await;
    assert!(is_silent(&mut server).await, "it was refused on this connection");
    server.hang_up().await;
    let mut server = accept::<C>(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["ready",1]"#);
    client.reevaluate().await;
    assert!(is_silent(&mut server).await, "it was refused on an earlier one");
    assert_eq!(log.held_back(&server_id()).await.unwrap().len(), 1);

    client.offer_again().await;
    assert!(server.next().await.unwrap().starts_with(r#"["sync",1,"#));
    refuse(&mut server, &held(&log).await).await;
    client.reevaluate().await;
    assert!(is_silent(&mut server).await, "it was refused when it was offered again");
    client.offer_again().await;
    assert!(server.next().await.unwrap().starts_with(r#"["sync",1,"#));
    server.send(r#"["synced",1]"#).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(log.held_back(&server_id()).await.unwrap(), []);
    // There is nothing left to offer.
    client.offer_again().await;
    assert!(is_silent(&mut server).await);
}

async fn an_offer_that_is_cut_goes_on_with_the_next_connection<C: Cell>() {
    let log = log("client").await;
    let (client, mut listener, mut server) = refused::<C>(&log).await;
    client.offer_again().await;
    assert!(server.next().await.unwrap().starts_with(r#"["sync",1,"#));
    server.hang_up().await;
    let mut server = accept::<C>(&mut listener).await;
    let mut offered = 0;
    while let Ok(Some(frame)) = timeout(Duration::from_secs(5), server.next()).await {
        offered += usize::from(frame.starts_with(r#"["sync",1,"#));
    }
    assert_eq!(offered, 1);
    server.send(r#"["synced",1]"#).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(log.held_back(&server_id()).await.unwrap(), []);
    server.hang_up().await;
    let mut server = accept::<C>(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["ready",1]"#);
    assert!(is_silent(&mut server).await, "it is done");
}
