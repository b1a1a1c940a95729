//! Clocks, the identity of logs, cursors and what is known of a session, from the public API, in
//! paused time.

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{
    Access, Added, BaseSync, ClientSync, Draft, Epoch, Error, FarFuture, Log, MemoryStore,
    Misbehaviour, Notice, Reconnect, Role, Server, ServerSync, State, SyncOptions, Timestamp,
    Value,
};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::cells::Cell;
use crate::hand::{Hand, START, log_at};
use crate::scripted::Peer;

on_every_cell! {
    times_are_fixed_both_ways_and_ids_never,
    acceptors_never_fix_times,
    a_fix_stays_until_it_is_measured_to_be_another,
    what_a_server_takes_to_answer_is_no_time_under_way,
    times_that_no_clock_shows_are_refused,
    a_fix_never_moves_a_sent_event_before_1970,
    a_fix_never_moves_a_received_event_before_1970,
    an_event_of_1970_may_be_moved_forward,
    events_from_the_far_future_are_as_the_policy_says,
    a_dialled_peer_with_another_log_gets_everything_again,
    a_dialled_peer_from_which_nothing_came_needs_no_new_connection,
    a_dialling_peer_with_another_log_gets_everything_again,
    replaced_logs_get_back_what_the_other_side_has,
    cursors_can_be_said_for_the_first_connection,
    an_acceptor_sends_from_where_it_is_told_to,
    what_is_to_be_sent_again_is_sent_even_if_the_first_connection_breaks,
    what_is_not_to_be_sent_is_not_even_if_the_first_connection_breaks,
    what_was_said_of_cursors_holds_until_a_peer_has_answered,
    diagnostics_count,
    diagnostics_go_on_over_connections,
    frames_that_are_no_messages_count_as_bytes,
    each_wish_to_dial_now_is_one_attempt,
    a_client_that_waits_can_be_told_to_dial_now,
}

const HOUR: i64 = 60 * 60 * 1000;
const YEAR: i64 = 365 * 24 * HOUR;

async fn log(node: &str) -> Log<Value> {
    Log::open(node.parse().unwrap(), MemoryStore::new()).await.unwrap()
}

/// A log of this identity, later than others: ids never repeat.
async fn log_of(node: &str, epoch: u64) -> Log<Value> {
    let store = Arc::new(MemoryStore::with_epoch(Epoch::new(epoch)));
    let hand = Hand::new(i64::try_from(epoch).unwrap() * HOUR);
    Log::open_with(node.parse().unwrap(), store, hand.clock()).await.unwrap()
}

async fn add(log: &Log<Value>, numbers: std::ops::Range<u64>) {
    log.add_batch(numbers.map(|n| json!({ "n": n }))).await.unwrap();
}

fn added(number: u64) -> Added {
    Added::new(number).unwrap()
}

fn options() -> SyncOptions<Value> {
    SyncOptions::new()
}

fn quick<T>(transport: T) -> Reconnect<T> {
    Reconnect::new(transport).max_delay(Duration::from_secs(1)).seed(1)
}

fn parse(frame: Option<String>) -> Value {
    serde_json::from_str(&frame.unwrap()).unwrap()
}

/// The numbers of the events in a `sync` frame.
fn numbers(frame: Option<String>) -> Vec<u64> {
    let message = parse(frame);
    assert_eq!(message[0], "sync", "{message}");
    let events = message.as_array().unwrap().iter().skip(2).step_by(2);
    events.map(|event| event["n"].as_u64().unwrap()).collect()
}

/// All events of a log: their numbers, in order.
async fn held(log: &Log<Value>) -> Vec<u64> {
    let entries = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    let mut held: Vec<_> = entries.iter().map(|entry| entry.event["n"].as_u64().unwrap()).collect();
    held.sort_unstable();
    held
}

fn connected(start: u64, end: u64) -> String {
    json!(["connected", 7, "server", [start, end]]).to_string()
}

const CONNECTED: &str = r#"["connected",7,"server",[1000,1000]]"#;
const EPOCH_A: &str = r#"["headers",{"log-epoch":"00000000000000aa"}]"#;
const EPOCH_B: &str = r#"["headers",{"log-epoch":"00000000000000bb"}]"#;

async fn times_are_fixed_both_ways_and_ids_never<C: Cell>() {
    let mut ids = Vec::new();
    for fix in [0, HOUR] {
        let log = log_at("client", &Hand::new(HOUR)).await;
        let made = log.add(json!({ "n": 1 })).await.unwrap();
        assert_eq!(made.meta.time.value(), START + HOUR.unsigned_abs());
        let (near, far) = C::pair().await;
        let client = BaseSync::new(&log, C::CODEC, Role::Opener, near)
            .options(options().fix_time(fix > 0))
            .start();
        let mut server = Peer::new::<C>(far);
        server.next().await.unwrap();
        server.send(&connected(START, START)).await;
        let sync = parse(server.next().await);
        assert_eq!(sync[3]["time"], HOUR - fix, "{sync}");
        ids.push(sync[3]["id"].clone());
        assert_eq!(client.diagnostics().time_fix, fix);

        server.send(r#"["sync",1,{"n":2},{"id":"A","time":5}]"#).await;
        assert_eq!(server.next().await.unwrap(), r#"["ready",1]"#);
        assert_eq!(server.next().await.unwrap(), r#"["synced",1]"#);
        let entries = log.entries_after(added(1), 10).await.unwrap();
        let meta = &entries[0].meta;
        assert_eq!(meta.time.value(), START + 5 + fix.unsigned_abs());
        ids.push(meta.id.to_string().into());
    }
    assert_eq!(ids[..2], ids[2..], "ids are the same with and without");
}

async fn acceptors_never_fix_times<C: Cell>() {
    let (ahead, right) = (Hand::new(HOUR), Hand::new(0));
    let (client_log, server_log) = (log_at("client", &ahead).await, log_at("server", &right).await);
    let of_client = client_log.add(json!({ "n": 1 })).await.unwrap();
    let of_server = server_log.add(json!({ "n": 2 })).await.unwrap();
    for client_fixes in [false, true] {
        let (near, far) = C::pair().await;
        let server = ServerSync::new(&server_log, C::CODEC, near).options(options().fix_time(true));
        let server = server.start();
        // By itself, it takes times as they are, but for the base of the connection.
        if !client_fixes {
            let mut client = Peer::new::<C>(far);
            client.send(r#"["connect",7,"another",0]"#).await;
            let answer = parse(client.next().await);
            assert_eq!(answer[3], json!([START, START]));
            let sync = parse(client.next().await);
            assert_eq!(sync[3]["time"], 0);
            assert_eq!(server.diagnostics().time_fix, 0);
            continue;
        }
        let client = BaseSync::new(&client_log, C::CODEC, Role::Opener, far)
            .options(options().fix_time(true))
            .start();
        client.wait_for(State::Synchronized).await.unwrap();
        server.wait_for(State::Synchronized).await.unwrap();
        assert_eq!(client.diagnostics().time_fix, HOUR);
        assert_eq!(server.diagnostics().time_fix, 0);
    }
    let at_server = server_log.by_id(&of_client.meta.id).await.unwrap().unwrap();
    assert_eq!(at_server.meta.time.value(), START, "by the server's clock");
    let at_client = client_log.by_id(&of_server.meta.id).await.unwrap().unwrap();
    assert_eq!(at_client.meta.time.value(), START + HOUR.unsigned_abs(), "by the client's");
}

async fn a_fix_stays_until_it_is_measured_to_be_another<C: Cell>() {
    let (ahead, right) = (Hand::new(HOUR), Hand::new(0));
    let log = log_at("client", &ahead).await;
    let (transport, mut listener) = C::listen();
    let client =
        ClientSync::new(&log, C::CODEC, quick(transport)).options(options().fix_time(true)).start();
    // How long `connect` is under way, how long its answer, what the server's clock is then ahead
    // of what it was, and the fix.
    let second = 1000;
    for (there, back, moved, fix) in [
        (second, second, 0, HOUR),
        // Half of the round trip is not what it took there: by so much a measurement can be wrong.
        (200, 1800, 0, HOUR),
        (1800, 200, 0, HOUR),
        // Within the round trip.
        (second, second, -1999, HOUR),
        // Beyond: the clock was set.
        (second, second, -2001, HOUR + 2001),
        (0, 0, -HOUR, 2 * HOUR),
        (0, 0, 3 * HOUR, -2 * HOUR),
    ] {
        right.ahead.store(moved, Ordering::Relaxed);
        let mut server = Peer::accept::<C>(&mut listener).await;
        server.next().await.unwrap();
        sleep(Duration::from_millis(there)).await;
        let time = right.now().value();
        sleep(Duration::from_millis(back)).await;
        server.send(&connected(time, time)).await;
        assert_eq!(server.next().await.unwrap(), r#"["ready",0]"#);
        let diagnostics = client.diagnostics();
        assert_eq!(diagnostics.time_fix, fix, "{there} {back} {moved}");
        assert_eq!(diagnostics.round_trip, Some(Duration::from_millis(there + back)));
    }
}

async fn what_a_server_takes_to_answer_is_no_time_under_way<C: Cell>() {
    let log = log_at("client", &Hand::new(HOUR)).await;
    let right = Hand::new(0);
    let (near, far) = C::pair().await;
    let client =
        BaseSync::new(&log, C::CODEC, Role::Opener, near).options(options().fix_time(true)).start();
    let mut server = Peer::new::<C>(far);
    server.next().await.unwrap();
    sleep(Duration::from_millis(100)).await;
    let start = right.now().value();
    sleep(Duration::from_secs(30)).await;
    let end = right.now().value();
    sleep(Duration::from_millis(100)).await;
    server.send(&connected(start, end)).await;
    assert_eq!(server.next().await.unwrap(), r#"["ready",0]"#);
    assert_eq!(client.diagnostics().time_fix, HOUR);
}

async fn times_that_no_clock_shows_are_refused<C: Cell>() {
    let far = START + 101 * YEAR.unsigned_abs();
    for (fix, start, end, good) in [
        (true, START, START - 1, false),
        (false, START, START - 1, false),
        (true, far, far, false),
        (true, START + 99 * YEAR.unsigned_abs(), far, true),
        // Without a fix no time but those of events is read from it.
        (false, far, far, true),
    ] {
        let log = log_at("client", &Hand::new(0)).await;
        let (near, far) = C::pair().await;
        let client = BaseSync::new(&log, C::CODEC, Role::Opener, near)
            .options(options().fix_time(fix))
            .start();
        let mut server = Peer::new::<C>(far);
        server.next().await.unwrap();
        server.send(&connected(start, end)).await;
        let answer = server.next().await.unwrap();
        if good {
            assert_eq!(answer, r#"["ready",0]"#);
            continue;
        }
        assert!(answer.starts_with(r#"["error","wrong-format","#), "{answer}");
        assert_eq!(server.next().await, None);
        server.hang_up().await;
        let error = client.ended().await.unwrap_err();
        assert!(matches!(*error, Error::Peer(Misbehaviour::TimeOutOfRange)), "{error}");
    }
    // A clock that is more than a hundred years ahead of the server's.
    let log = log_at("client", &Hand::new(60 * YEAR)).await;
    let (near, far) = C::pair().await;
    let client =
        BaseSync::new(&log, C::CODEC, Role::Opener, near).options(options().fix_time(true)).start();
    let mut server = Peer::new::<C>(far);
    server.next().await.unwrap();
    server.send(&connected(0, 0)).await;
    assert!(server.next().await.unwrap().starts_with(r#"["error","wrong-format","#));
    server.hang_up().await;
    assert!(client.ended().await.is_err());
}

/// An event of a node whose clock had just started in 1970, between nodes whose clocks differ.
async fn an_event_of_1970<C: Cell>(by_client: bool, client_ahead: i64) {
    let (ahead, right) = (Hand::new(client_ahead), Hand::new(0));
    let (client_log, server_log) = (log_at("client", &ahead).await, log_at("server", &right).await);
    let author = if by_client { &client_log } else { &server_log };
    let early = Draft::new(json!({ "n": 0 })).time(Timestamp::new(1).unwrap());
    author.add(early).await.unwrap();
    add(author, 1..3).await;
    let (transport, listener) = C::listen();
    let _server = Server::new(&server_log, C::CODEC, listener).start();
    let client = ClientSync::new(&client_log, C::CODEC, quick(transport))
        .options(options().fix_time(true))
        .start();
    sleep(Duration::from_secs(5 * 60)).await;
    let connections = client.diagnostics().connections;
    assert_eq!(held(&client_log).await, [0, 1, 2], "{connections} connections");
    assert_eq!(held(&server_log).await, [0, 1, 2], "{connections} connections");
    assert_eq!(connections, 1);
}

async fn a_fix_never_moves_a_sent_event_before_1970<C: Cell>() {
    an_event_of_1970::<C>(true, HOUR).await;
}

async fn a_fix_never_moves_a_received_event_before_1970<C: Cell>() {
    an_event_of_1970::<C>(false, -HOUR).await;
}

async fn an_event_of_1970_may_be_moved_forward<C: Cell>() {
    an_event_of_1970::<C>(true, -HOUR).await;
    an_event_of_1970::<C>(false, HOUR).await;
}

async fn events_from_the_far_future_are_as_the_policy_says<C: Cell>() {
    const REFUSED: i64 = -1;

    let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
    for (policy, time, kept) in [
        (None, 24 * HOUR, 24 * HOUR),
        (None, 24 * HOUR + 1, 24 * HOUR),
        (None, 50 * YEAR, 24 * HOUR),
        (Some(FarFuture::Clamp(hours(1))), HOUR, HOUR),
        (Some(FarFuture::Clamp(hours(1))), 2 * HOUR, HOUR),
        (Some(FarFuture::Clamp(Duration::ZERO)), 1, 0),
        (Some(FarFuture::Clamp(Duration::ZERO)), -HOUR, -HOUR),
        (Some(FarFuture::Clamp(Duration::MAX)), 50 * YEAR, 50 * YEAR),
        (Some(FarFuture::Refuse(hours(1))), HOUR, HOUR),
        (Some(FarFuture::Refuse(hours(1))), -20 * YEAR, -20 * YEAR),
        (Some(FarFuture::Refuse(hours(1))), HOUR + 1, REFUSED),
        (Some(FarFuture::Refuse(Duration::MAX)), 50 * YEAR, 50 * YEAR),
        (Some(FarFuture::Accept), 50 * YEAR, 50 * YEAR),
    ] {
        let log = log_at("server", &Hand::new(0)).await;
        let (near, far) = C::pair().await;
        let options = policy.map_or(options(), |policy| options().far_future(policy));
        let server = ServerSync::new(&log, C::CODEC, near).options(options).start();
        let mut client = Peer::new::<C>(far);
        client.send(r#"["connect",7,"client",0]"#).await;
        assert_eq!(parse(client.next().await)[0], "connected");
        assert_eq!(client.next().await.unwrap(), r#"["ready",0]"#);
        client.send(&json!(["sync", 1, { "n": 1 }, { "id": "A", "time": time }]).to_string()).await;
        let answer = client.next().await.unwrap();
        if kept == REFUSED {
            assert!(answer.starts_with(r#"["error","wrong-format","#), "{answer}");
            client.hang_up().await;
            let error = server.ended().await.unwrap_err();
            assert!(matches!(*error, Error::Peer(Misbehaviour::EventTime { place: 1 })), "{error}");
            assert_eq!(log.last_added(), Added::ZERO);
            continue;
        }
        assert_eq!(answer, r#"["synced",1]"#);
        let entries = log.entries_after(Added::ZERO, 10).await.unwrap();
        let expected = Timestamp::new(START).unwrap().shifted(kept).unwrap();
        assert_eq!(entries[0].meta.time, expected, "{policy:?} {time}");
    }
}

async fn a_dialled_peer_with_another_log_gets_everything_again<C: Cell>() {
    let log = log("client").await;
    add(&log, 0..3).await;
    let (transport, mut listener) = C::listen();
    let client = ClientSync::new(&log, C::CODEC, quick(transport)).start();
    let mut errors = client.errors();
    let mut server = Peer::accept::<C>(&mut listener).await;
    server.next().await.unwrap();
    server.send(EPOCH_A).await;
    server.send(CONNECTED).await;
    assert_eq!(numbers(server.next().await), [0, 1, 2]);
    server.send(r#"["synced",3]"#).await;
    assert_eq!(server.next().await.unwrap(), r#"["ready",3]"#);
    server.send(r#"["sync",5,{"n":7},{"id":"A","time":1}]"#).await;
    server.send(r#"["ready",5]"#).await;
    assert_eq!(server.next().await.unwrap(), r#"["synced",5]"#);
    server.hang_up().await;

    // The same log, and a peer that does not tell, go on; the latter does not change what is known.
    for told in [Some(EPOCH_A), None] {
        let mut server = Peer::accept::<C>(&mut listener).await;
        assert_eq!(server.next().await.unwrap(), r#"["connect",7,"client",5]"#);
        if let Some(told) = told {
            server.send(told).await;
        }
        server.send(CONNECTED).await;
        assert_eq!(server.next().await.unwrap(), r#"["ready",4]"#);
        server.send(r#"["ready",5]"#).await;
        assert!(timeout(Duration::from_secs(1), server.next()).await.is_err());
        server.hang_up().await;
    }

    // Another one, which has just as many events.
    let mut server = Peer::accept::<C>(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["connect",7,"client",5]"#);
    server.send(EPOCH_B).await;
    server.send(CONNECTED).await;
    assert_eq!(server.next().await, None);
    server.hang_up().await;
    let error = errors.next().await.unwrap();
    assert!(matches!(*error, Error::LogReplaced), "{error}");
    assert!(error.is_transient());
    let mut server = Peer::accept::<C>(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["connect",7,"client",0]"#);
    server.send(EPOCH_B).await;
    server.send(CONNECTED).await;
    assert_eq!(numbers(server.next().await), [0, 1, 2, 7], "also what had come from it");
    server.send(r#"["synced",4]"#).await;
    assert_eq!(server.next().await.unwrap(), r#"["ready",4]"#);
    server.send(r#"["ready",5]"#).await;
    // What the new log says is not sent back to it.
    server.send(r#"["sync",6,{"n":8},{"id":"B","time":1}]"#).await;
    assert_eq!(server.next().await.unwrap(), r#"["synced",6]"#);
    server.hang_up().await;
    let mut server = Peer::accept::<C>(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["connect",7,"client",6]"#);
    server.send(EPOCH_B).await;
    server.send(CONNECTED).await;
    assert_eq!(server.next().await.unwrap(), r#"["ready",5]"#);
}

async fn a_dialled_peer_from_which_nothing_came_needs_no_new_connection<C: Cell>() {
    let log = log("client").await;
    add(&log, 0..3).await;
    let (transport, mut listener) = C::listen();
    let client = ClientSync::new(&log, C::CODEC, quick(transport)).start();
    let mut notices = client.notices();
    for epoch in [EPOCH_A, EPOCH_B] {
        let mut server = Peer::accept::<C>(&mut listener).await;
        assert_eq!(server.next().await.unwrap(), r#"["connect",7,"client",0]"#);
        server.send(epoch).await;
        server.send(CONNECTED).await;
        assert_eq!(numbers(server.next().await), [0, 1, 2]);
        server.send(r#"["synced",3]"#).await;
        assert_eq!(server.next().await.unwrap(), r#"["ready",3]"#);
        server.send(r#"["ready",0]"#).await;
        client.wait_for(State::Synchronized).await.unwrap();
        server.hang_up().await;
    }
    let mut started_over = 0;
    while let Ok(Some(notice)) = timeout(Duration::ZERO, notices.next()).await {
        started_over += usize::from(matches!(notice, Notice::StartedOver));
    }
    assert_eq!(started_over, 1);
}

async fn a_dialling_peer_with_another_log_gets_everything_again<C: Cell>() {
    let log = log("server").await;
    add(&log, 0..2).await;
    let dial = async |epoch: Option<&str>, connect: &str| {
        let (near, far) = C::pair().await;
        let server = ServerSync::new(&log, C::CODEC, near).start();
        let mut client = Peer::new::<C>(far);
        if let Some(epoch) = epoch {
            client.send(epoch).await;
        }
        client.send(connect).await;
        assert_eq!(parse(client.next().await)[0], "connected");
        (server, client)
    };
    let (server, mut client) = dial(Some(EPOCH_A), r#"["connect",7,"client",0]"#).await;
    assert_eq!(numbers(client.next().await), [0, 1]);
    client.send(r#"["synced",2]"#).await;
    assert_eq!(client.next().await.unwrap(), r#"["ready",2]"#);
    client.send(r#"["sync",1,{"n":7},{"id":"A","time":1}]"#).await;
    assert_eq!(client.next().await.unwrap(), r#"["synced",1]"#);
    client.hang_up().await;
    server.ended().await.unwrap();

    for epoch in [Some(EPOCH_A), None] {
        let (server, mut client) = dial(epoch, r#"["connect",7,"client",2]"#).await;
        assert_eq!(client.next().await.unwrap(), r#"["ready",3]"#);
        assert!(timeout(Duration::from_secs(1), client.next()).await.is_err());
        client.hang_up().await;
        server.ended().await.unwrap();
    }

    let (server, mut client) = dial(Some(EPOCH_B), r#"["connect",7,"client",2]"#).await;
    let notices = server.notices();
    assert_eq!(numbers(client.next().await), [0, 1, 7], "also what had come from it");
    let mut over = pin!(notices.filter(|notice| ready(matches!(notice, Notice::StartedOver))));
    assert!(timeout(Duration::from_secs(1), over.next()).await.unwrap().is_some());
    assert_eq!(client.next().await.unwrap(), r#"["ready",3]"#);
    client.send(r#"["synced",3]"#).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(server.diagnostics().synced, added(3));
    client.hang_up().await;
    server.ended().await.unwrap();
    let (_server, mut client) = dial(Some(EPOCH_B), r#"["connect",7,"client",3]"#).await;
    assert_eq!(client.next().await.unwrap(), r#"["ready",3]"#);
}

async fn replaced_logs_get_back_what_the_other_side_has<C: Cell>() {
    let (client_log, server_log) = (log_of("client", 1).await, log_of("server", 2).await);
    let sync = async |client_log: &Log<Value>, server_log: &Log<Value>| {
        let (transport, listener) = C::listen();
        let options = SyncOptions::new().auth(async |_| Access::relay());
        let server = Server::new(server_log, C::CODEC, listener).options(options).start();
        let client = ClientSync::new(client_log, C::CODEC, quick(transport)).start();
        let mut errors = client.errors();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(client.state(), State::Synchronized);
        client.close().await.unwrap();
        server.shutdown(Duration::from_secs(10)).await;
        errors.next().await
    };
    add(&client_log, 0..20).await;
    add(&server_log, 20..40).await;
    assert!(sync(&client_log, &server_log).await.is_none());

    // The new logs have more events than the old ones: their lengths tell nothing.
    let server_log = log_of("server", 3).await;
    add(&server_log, 40..100).await;
    let error = sync(&client_log, &server_log).await.unwrap();
    assert!(matches!(*error, Error::LogReplaced), "{error}");
    assert_eq!(held(&server_log).await, (0..100).collect::<Vec<_>>());
    assert_eq!(held(&client_log).await, (0..100).collect::<Vec<_>>());
    assert!(sync(&client_log, &server_log).await.is_none());

    let client_log = log_of("client", 4).await;
    add(&client_log, 100..250).await;
    assert!(sync(&client_log, &server_log).await.is_none());
    assert_eq!(held(&server_log).await, (0..250).collect::<Vec<_>>());
    assert_eq!(held(&client_log).await, (0..250).collect::<Vec<_>>());
}

async fn cursors_can_be_said_for_the_first_connection<C: Cell>() {
    let log = log("client").await;
    add(&log, 0..4).await;
    let (transport, mut listener) = C::listen();
    let client = ClientSync::new(&log, C::CODEC, quick(transport))
        .options(options().synced(added(2)).other_synced(added(7)))
        .start();
    let mut server = Peer::accept::<C>(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["connect",7,"client",7]"#);
    server.send(CONNECTED).await;
    assert_eq!(numbers(server.next().await), [2, 3]);
    let diagnostics = client.diagnostics();
    assert_eq!((diagnostics.synced, diagnostics.other_synced), (added(2), added(7)));
    server.send(r#"["synced",4]"#).await;
    assert_eq!(server.next().await.unwrap(), r#"["ready",4]"#);
    server.send(r#"["sync",9,{"n":9},{"id":"A","time":1}]"#).await;
    server.send(r#"["ready",9]"#).await;
    assert_eq!(server.next().await.unwrap(), r#"["synced",9]"#);
    server.hang_up().await;
    // Later ones go on from there.
    add(&log, 10..11).await;
    let mut server = Peer::accept::<C>(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["connect",7,"client",9]"#);
    server.send(CONNECTED).await;
    assert_eq!(numbers(server.next().await), [10]);
}

async fn an_acceptor_sends_from_where_it_is_told_to<C: Cell>() {
    let log = log("server").await;
    add(&log, 0..4).await;
    let (near, far) = C::pair().await;
    let _server = ServerSync::new(&log, C::CODEC, near).options(options().synced(added(3))).start();
    let mut client = Peer::new::<C>(far);
    client.send(r#"["connect",7,"client",1]"#).await;
    assert_eq!(parse(client.next().await)[0], "connected");
    assert_eq!(numbers(client.next().await), [3]);
}

/// Which events travel over a second connection, when the first, with `synced`, ended before
/// anything was confirmed over it. The peer has confirmed `before` events of four.
async fn second_connection<C: Cell>(before: usize, synced: u64) -> Vec<u64> {
    let log = log("client").await;
    add(&log, 0..4).await;
    let (transport, mut listener) = C::listen();
    if before > 0 {
        let client = ClientSync::new(&log, C::CODEC, transport.clone()).start();
        let mut server = Peer::accept::<C>(&mut listener).await;
        server.next().await.unwrap();
        server.send(CONNECTED).await;
        assert_eq!(numbers(server.next().await).len(), before);
        server.send(&json!(["synced", before]).to_string()).await;
        assert_eq!(server.next().await.unwrap(), r#"["ready",4]"#);
        server.send(r#"["ready",0]"#).await;
        client.wait_for(State::Synchronized).await.unwrap();
        server.hang_up().await;
        client.close().await.unwrap();
    }
    let _client = ClientSync::new(&log, C::CODEC, quick(transport))
        .options(options().synced(added(synced)))
        .start();
    let mut server = Peer::accept::<C>(&mut listener).await;
    server.next().await.unwrap();
    server.send(CONNECTED).await;
    let first = numbers(server.next().await);
    assert_eq!(first, (synced..4).collect::<Vec<_>>());
    server.hang_up().await;
    let mut server = Peer::accept::<C>(&mut listener).await;
    server.next().await.unwrap();
    server.send(CONNECTED).await;
    match server.next().await.unwrap() {
        frame if frame.starts_with(r#"["sync","#) => numbers(Some(frame)),
        _ => Vec::new(),
    }
}

async fn what_is_to_be_sent_again_is_sent_even_if_the_first_connection_breaks<C: Cell>() {
    assert_eq!(second_connection::<C>(4, 1).await, [1, 2, 3]);
}

async fn what_is_not_to_be_sent_is_not_even_if_the_first_connection_breaks<C: Cell>() {
    assert_eq!(second_connection::<C>(0, 2).await, [2, 3]);
}

async fn what_was_said_of_cursors_holds_until_a_peer_has_answered<C: Cell>() {
    let log = log("client").await;
    add(&log, 0..4).await;
    let (transport, mut listener) = C::listen();
    let _client = ClientSync::new(&log, C::CODEC, quick(transport))
        .options(options().synced(added(2)).other_synced(added(7)))
        .start();
    for _ in 0..3 {
        let mut server = Peer::accept::<C>(&mut listener).await;
        assert_eq!(server.next().await.unwrap(), r#"["connect",7,"client",7]"#);
    }
    let mut server = Peer::accept::<C>(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["connect",7,"client",7]"#);
    server.send(CONNECTED).await;
    assert_eq!(numbers(server.next().await), [2, 3]);
}

async fn diagnostics_count<C: Cell>() {
    let (client_log, server_log) = (log("client").await, log("server").await);
    add(&client_log, 0..250).await;
    add(&server_log, 250..300).await;
    let (near, far) = C::pair().await;
    let server = ServerSync::new(&server_log, C::CODEC, near).start();
    let client = BaseSync::new(&client_log, C::CODEC, Role::Opener, far).start();
    client.wait_for(State::Synchronized).await.unwrap();
    server.wait_for(State::Synchronized).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let (at_client, at_server) = (client.diagnostics(), server.diagnostics());
    assert_eq!((at_client.events_sent, at_client.events_received), (250, 50));
    assert_eq!((at_server.events_sent, at_server.events_received), (50, 250));
    assert!(at_client.bytes_sent > 250 * 10 && at_server.bytes_sent > 50 * 10);
    assert_eq!(at_client.bytes_sent, at_server.bytes_received);
    assert_eq!(at_server.bytes_sent, at_client.bytes_received);
    assert_eq!((at_client.connections, at_server.connections), (1, 1));
    assert_eq!(at_client.state, State::Synchronized);
    assert_eq!(at_client.peer.unwrap().node_id.as_str(), "server");
    assert_eq!((at_client.time_fix, at_server.time_fix), (0, 0));
    // What came from the peer is not for it, and counts as if it had it.
    assert_eq!(at_client.synced, client_log.last_added());
    assert_eq!(at_server.synced, server_log.last_added());
    assert!(at_client.other_synced >= added(50) && at_server.other_synced >= added(250));
    // They stay after the end.
    let handle = client.handle();
    client.close().await.unwrap();
    let after = handle.diagnostics();
    assert_eq!((after.events_sent, after.events_received), (250, 50));
    assert_eq!(after.state, State::Disconnected);
}

async fn diagnostics_go_on_over_connections<C: Cell>() {
    let log = log("client").await;
    add(&log, 0..2).await;
    let (transport, mut listener) = C::listen();
    let client = ClientSync::new(&log, C::CODEC, quick(transport))
        .options(options().ping(Duration::from_secs(5)))
        .start();
    assert_eq!(client.diagnostics().round_trip, None);
    let mut bytes = (0, 0);
    for n in 1..=3 {
        let mut server = Peer::accept::<C>(&mut listener).await;
        for _ in 0..2 {
            // Its headers, and `connect`.
            server.next_whole().await.unwrap();
        }
        sleep(Duration::from_millis(100 * n)).await;
        server.send(CONNECTED).await;
        assert_eq!(numbers(server.next().await), [0, 1]);
        // `ready` follows, and then nothing for a while.
        server.next().await.unwrap();
        let (to_client, from_client) = server.bytes();
        bytes = (bytes.0 + from_client, bytes.1 + to_client);
        let diagnostics = client.diagnostics();
        assert_eq!(diagnostics.connections, n);
        assert_eq!(diagnostics.events_sent, 2 * n, "those that are sent again count again");
        assert_eq!(diagnostics.round_trip, Some(Duration::from_millis(100 * n)));
        assert_eq!((diagnostics.bytes_sent, diagnostics.bytes_received), bytes);
        assert_eq!(diagnostics.state, State::Sending);
    }
    let mut server = Peer::accept::<C>(&mut listener).await;
    server.next().await.unwrap();
    server.send(CONNECTED).await;
    assert_eq!(numbers(server.next().await), [0, 1]);
    assert_eq!(server.next().await.unwrap(), r#"["ready",2]"#);
    assert_eq!(server.next().await.unwrap(), r#"["ping",2]"#);
    sleep(Duration::from_millis(70)).await;
    server.send(r#"["pong",0]"#).await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(client.diagnostics().round_trip, Some(Duration::from_millis(70)));
}

async fn frames_that_are_no_messages_count_as_bytes<C: Cell>() {
    let log = log("server").await;
    let (near, far) = C::pair().await;
    let server = ServerSync::new(&log, C::CODEC, near).start();
    let handle = server.handle();
    let mut client = Peer::new::<C>(far);
    client.send("no message").await;
    assert!(client.next().await.unwrap().starts_with(r#"["error","wrong-format","#));
    client.hang_up().await;
    assert!(server.ended().await.is_err());
    assert_eq!(handle.diagnostics().bytes_received, 10);
}

async fn each_wish_to_dial_now_is_one_attempt<C: Cell>() {
    let log = log("client").await;
    let (transport, listener) = C::listen();
    drop(listener);
    let patient = Reconnect::new(transport)
        .first_delay(Duration::from_secs(1000 * 60 * 60))
        .min_delay(Duration::from_secs(1000 * 60 * 60))
        .max_delay(Duration::from_secs(1000 * 60 * 60));
    let client = ClientSync::new(&log, C::CODEC, patient).start();
    let mut errors = client.errors();
    // Each fails, and nothing but the wish has it dial again: so many wishes, so many attempts.
    for _ in 0..10 {
        let error = timeout(Duration::from_secs(1), errors.next()).await.unwrap().unwrap();
        assert!(matches!(*error, Error::Link(_)), "{error}");
        assert!(timeout(Duration::from_secs(60), errors.next()).await.is_err());
        client.reconnect_now().await;
    }
}

async fn a_client_that_waits_can_be_told_to_dial_now<C: Cell>() {
    let log = log("client").await;
    let (transport, mut listener) = C::listen();
    let patient = Reconnect::new(transport)
        .first_delay(Duration::from_secs(1000 * 60 * 60))
        .min_delay(Duration::from_secs(1000 * 60 * 60))
        .max_delay(Duration::from_secs(1000 * 60 * 60))
        .seed(1);
    let client = ClientSync::new(&log, C::CODEC, patient).start();
    for n in 1..=5 {
        let start = Instant::now();
        let mut server = Peer::accept::<C>(&mut listener).await;
        assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
        server.next().await.unwrap();
        server.send(CONNECTED).await;
        assert_eq!(server.next().await.unwrap(), r#"["ready",0]"#);
        server.send(r#"["ready",0]"#).await;
        client.wait_for(State::Synchronized).await.unwrap();

        // While there is a connection, it only asks whether the peer is there.
        client.reconnect_now().await;
        assert_eq!(server.next().await.unwrap(), r#"["ping",0]"#);
        server.send(r#"["pong",0]"#).await;
        assert!(timeout(Duration::from_secs(1), server.next()).await.is_err());
        assert_eq!(client.state(), State::Synchronized);
        assert_eq!(client.diagnostics().connections, n);
        server.hang_up().await;
        assert!(timeout(Duration::from_secs(60), Peer::accept::<C>(&mut listener)).await.is_err());
        assert_eq!(client.state(), State::Disconnected);
        client.reconnect_now().await;
    }
    client.close().await.unwrap();
}
