//! What sessions do, from the public API, in paused time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::transports::{Format, Link};
use logux_sync::{
    Access, Added, BaseSync, ClientSync, Clock, Cursors, Error, Headers, Log, MemoryStore, Notice,
    ProtocolError, Reconnect, Role, Server, ServerSync, Session, State, Store, SyncOptions,
    Transport, Value,
};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::cells::{AnyListener, Cell};
use crate::scripted::Peer;

on_every_cell! {
    events_of_either_side_are_on_both,
    events_travel_over_nodes_in_between_and_keep_their_names,
    states_are_the_originals,
    receiving_events_is_not_sending,
    a_batch_has_at_most_100_events_and_a_window_at_most_8_batches,
    events_that_come_while_a_frame_is_sent_make_the_next_batch,
    large_events_are_spread_over_frames,
    after_a_loss_only_what_is_missing_travels,
    an_event_that_is_there_already_is_confirmed_and_not_added,
    each_sync_is_confirmed_once_and_in_order,
    wrong_credentials_end_a_client_for_good,
    a_client_may_check_the_server_too,
    a_callback_that_panics_ends_its_own_session,
    headers_and_debug_texts_arrive,
    new_headers_hold_for_the_connections_to_come,
    what_is_told_before_anybody_asks_is_not_lost,
    the_first_reader_gets_notices_from_the_start_also_by_a_handle,
    a_peers_texts_do_not_drive_out_errors_that_nobody_has_read,
    waiting_for_a_state_tells_why_the_session_ended,
    a_long_message_without_events_does_not_stop_a_session,
    two_nodes_that_confirm_much_at_once_both_go_on,
    silence_is_asked_about_and_then_ended,
    who_does_not_read_costs_no_memory,
    a_server_that_lost_its_log_gets_it_back,
    a_server_that_lost_its_log_gets_back_only_what_its_clients_made,
    a_client_that_lost_its_log_gets_it_back,
    a_lost_log_is_noticed_also_if_ready_counts_what_was_received_since,
    a_client_that_only_sends_is_not_taken_for_one_that_lost_its_log,
    a_client_that_starts_again_is_told_only_what_is_missing,
    a_client_begins_where_it_is_told_and_misses_nothing_after_that,
    a_client_that_knows_the_log_skips_to_its_end_and_sends_what_it_has,
    a_log_that_is_another_one_than_before_is_not_left_out,
    another_node_behind_the_same_door_is_told_the_truth,
    a_peer_that_has_seen_more_than_there_is_gets_everything,
    a_peer_can_have_the_log_sent_again_only_once,
    times_without_end_are_no_deadline,
    a_ping_moves_no_cursor,
    closing_sends_what_is_on_its_way_and_stores_what_has_arrived,
    dropping_the_handle_ends_the_session,
    a_client_without_reconnect_tells_why_it_ended,
    a_server_takes_no_more_connections_than_it_may,
    a_newcomer_takes_the_place_of_a_peer_that_says_nothing,
    a_peer_that_auth_is_asked_about_keeps_its_place,
    what_came_from_the_server_does_not_wait_for_it,
}

const CONNECT: &str = r#"["connect",7,"client",0]"#;
const CONNECTED: &str = r#"["connected",7,"server",[1000,1000]]"#;

fn connect_of(node: &str) -> String {
    CONNECT.replace("client", node)
}

async fn log(node: &str) -> Log<Value> {
    Log::open(node.parse().unwrap(), MemoryStore::new()).await.unwrap()
}

fn event(n: usize) -> Value {
    json!({ "type": "test", "n": n })
}

async fn add(log: &Log<Value>, numbers: std::ops::Range<usize>) {
    log.add_batch(numbers.map(event)).await.unwrap();
}

async fn events(log: &Log<Value>) -> Vec<(String, u64, Value)> {
    let entries = log.entries_created_after(None, usize::MAX).await.unwrap();
    let parts = |entry: &Arc<logux_sync::Entry<Value>>| {
        let meta = &entry.meta;
        (meta.id.to_string(), meta.time.value(), entry.event.clone())
    };
    entries.iter().map(parts).collect()
}

fn quick<T>(transport: T) -> Reconnect<T> {
    Reconnect::new(transport).max_delay(Duration::from_secs(1)).seed(1)
}

/// Takes events of any author.
fn for_relays() -> SyncOptions<Value> {
    SyncOptions::new().auth(async |_| Access::relay())
}

/// A server with an empty log, and a client that it has let in.
async fn let_in<C: Cell>(log: &Log<Value>, options: SyncOptions<Value>) -> (Session, Peer) {
    let (near, far) = C::pair().await;
    let server = ServerSync::new(log, C::CODEC, near).options(options).start();
    let mut client = Peer::new::<C>(far);
    client.send(CONNECT).await;
    assert!(client.next().await.unwrap().starts_with(r#"["connected",7,"server","#));
    assert_eq!(client.next().await.unwrap(), r#"["ready",0]"#);
    (server, client)
}

/// The numbers of the events in a `sync` frame.
fn numbers(frame: &str) -> Vec<u64> {
    let message: Value = serde_json::from_str(frame).unwrap();
    assert_eq!(message[0], "sync", "{frame}");
    let events = message.as_array().unwrap().iter().skip(2).step_by(2);
    events.map(|event| event["n"].as_u64().unwrap()).collect()
}

async fn events_of_either_side_are_on_both<C: Cell>() {
    let (client_log, server_log) = (log("10:uuid").await, log("server").await);
    for n in 0..1000 {
        client_log.add(json!({ "type": "client", "n": n })).await.unwrap();
        server_log.add(json!({ "type": "server", "n": n })).await.unwrap();
    }
    let (transport, listener) = C::listen();
    let server = Server::new(&server_log, C::CODEC, listener).start();
    let client = ClientSync::new(&client_log, C::CODEC, Reconnect::new(transport)).start();
    client.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(events(&client_log).await, events(&server_log).await);
    client_log.add(json!({ "type": "late" })).await.unwrap();
    client.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(events(&client_log).await, events(&server_log).await);
    assert_eq!(server_log.last_added(), Added::new(2001).unwrap());
    assert_eq!(client.peer().unwrap().node_id.as_str(), "server");
    client.close().await.unwrap();
    assert_eq!(server.shutdown(Duration::from_secs(1)).await.cut, 0);
}

async fn events_travel_over_nodes_in_between_and_keep_their_names<C: Cell>() {
    let (a, b, c) = (log("1:a").await, log("2:b").await, log("3:c").await);
    let (to_b, b_listens) = C::listen();
    let (to_c, c_listens) = C::listen();
    let _servers = (
        Server::new(&b, C::CODEC, b_listens).start(),
        Server::new(&c, C::CODEC, c_listens).options(for_relays()).start(),
    );
    let first = ClientSync::new(&a, C::CODEC, to_b).start();
    let second = ClientSync::new(&b, C::CODEC, to_c).start();
    let made = a.add(event(1)).await.unwrap();
    first.wait_for(State::Synchronized).await.unwrap();
    second.wait_for(State::Synchronized).await.unwrap();
    let arrived = c.by_id(&made.meta.id).await.unwrap().unwrap();
    assert_eq!(arrived.event, made.event);
    assert_eq!(arrived.meta.time, made.meta.time);
    assert_eq!(arrived.meta.source, Some("2:b".parse().unwrap()));
}

async fn states_are_the_originals<C: Cell>() {
    let log = log("client").await;
    let (transport, mut listener) = C::listen();
    let client = ClientSync::new(&log, C::CODEC, quick(transport)).start();
    client.wait_for(State::Connecting).await.unwrap();
    let mut server = Peer::accept::<C>(&mut listener).await;
    server.next().await.unwrap();
    server.send(CONNECTED).await;
    assert_eq!(server.next().await.unwrap(), r#"["ready",0]"#);
    assert_eq!(client.state(), State::Connecting);
    server.send(r#"["ready",0]"#).await;
    client.wait_for(State::Synchronized).await.unwrap();

    add(&log, 0..1).await;
    client.wait_for(State::Sending).await.unwrap();
    server.next().await.unwrap();
    server.send(r#"["synced",1]"#).await;
    client.wait_for(State::Synchronized).await.unwrap();

    server.hang_up().await;
    drop(listener);
    client.wait_for(State::Disconnected).await.unwrap();
    add(&log, 1..2).await;
    client.wait_for(State::Wait).await.unwrap();
    client.close().await.unwrap();
}

async fn receiving_events_is_not_sending<C: Cell>() {
    let (client_log, server_log) = (log("client").await, log("server").await);
    let (transport, listener) = C::listen();
    let _server = Server::new(&server_log, C::CODEC, listener).start();
    let client = ClientSync::new(&client_log, C::CODEC, transport).start();
    client.wait_for(State::Synchronized).await.unwrap();
    let mut states = client.states();
    assert_eq!(states.next().await, Some(State::Synchronized));
    add(&server_log, 0..10).await;
    let mut entries = client_log.follow(Added::ZERO);
    for _ in 0..10 {
        entries.next().await.unwrap().unwrap();
    }
    assert!(timeout(Duration::from_secs(1), states.next()).await.is_err());
}

async fn a_batch_has_at_most_100_events_and_a_window_at_most_8_batches<C: Cell>() {
    let log = log("client").await;
    add(&log, 0..1050).await;
    let (near, far) = C::pair().await;
    let client = BaseSync::new(&log, C::CODEC, Role::Opener, near).start();
    let mut server = Peer::new::<C>(far);
    server.next().await.unwrap();
    server.send(CONNECTED).await;
    for batch in 0..8 {
        let frame = server.next().await.unwrap();
        assert_eq!(numbers(&frame), (batch * 100..(batch + 1) * 100).collect::<Vec<_>>());
    }
    // The ninth waits for a confirmation, and `ready` for all that was there at the start.
    assert!(timeout(Duration::from_secs(5), server.next()).await.is_err());
    server.send(r#"["synced",100]"#).await;
    assert_eq!(numbers(&server.next().await.unwrap()).len(), 100);
    assert!(timeout(Duration::from_secs(2), server.next()).await.is_err());
    // A confirmation counts for all before it.
    server.send(r#"["synced",900]"#).await;
    assert_eq!(numbers(&server.next().await.unwrap()).len(), 100);
    assert_eq!(numbers(&server.next().await.unwrap()).len(), 50);
    assert_eq!(server.next().await.unwrap(), r#"["ready",1050]"#);
    assert_eq!(client.state(), State::Sending);
}

async fn events_that_come_while_a_frame_is_sent_make_the_next_batch<C: Cell>() {
    let log = log("client").await;
    let (near, far) = C::pair().await;
    let _client = BaseSync::new(&log, C::CODEC, Role::Opener, near).start();
    let mut server = Peer::new::<C>(far);
    server.next().await.unwrap();
    server.send(CONNECTED).await;
    assert_eq!(server.next().await.unwrap(), r#"["ready",0]"#);
    for n in 0..50 {
        log.add(event(n)).await.unwrap();
    }
    let mut seen = 0;
    let mut frames = 0;
    while seen < 50 {
        seen += numbers(&server.next().await.unwrap()).len();
        frames += 1;
    }
    assert!(frames < 10, "50 events took {frames} frames");
}

async fn large_events_are_spread_over_frames<C: Cell>() {
    let log = log("client").await;
    let large = "x".repeat(20_000);
    log.add_batch((0..10).map(|n| json!({ "n": n, "text": large }))).await.unwrap();
    let (near, far) = C::pair().await;
    let _client = BaseSync::new(&log, C::CODEC, Role::Opener, near).start();
    let mut server = Peer::new::<C>(far);
    server.next().await.unwrap();
    server.send(CONNECTED).await;
    let mut seen = Vec::new();
    while seen.len() < 10 {
        let (_, before) = server.bytes();
        let frame = server.next().await.unwrap();
        let bytes = server.bytes().1 - before;
        assert!(bytes <= 64 << 10, "{bytes} bytes");
        seen.extend(numbers(&frame));
        let added = serde_json::from_str::<Value>(&frame).unwrap()[1].clone();
        assert_eq!(added, json!(seen.len()));
        server.send(&json!(["synced", added]).to_string()).await;
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
}

async fn after_a_loss_only_what_is_missing_travels<C: Cell>() {
    let log = log("client").await;
    add(&log, 0..3).await;
    let (transport, mut listener) = C::listen();
    let _client = ClientSync::new(&log, C::CODEC, quick(transport)).start();

    let mut server = Peer::accept::<C>(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["connect",7,"client",0]"#);
    server.send(CONNECTED).await;
    assert_eq!(numbers(&server.next().await.unwrap()), [0, 1, 2]);
    server.send(r#"["synced",3]"#).await;
    assert_eq!(server.next().await.unwrap(), r#"["ready",3]"#);
    server.send(r#"["sync",7,{"n":7},{"id":"1","time":1}]"#).await;
    server.send(r#"["ready",7]"#).await;
    assert_eq!(server.next().await.unwrap(), r#"["synced",7]"#);
    add(&log, 3..4).await;
    assert_eq!(numbers(&server.next().await.unwrap()), [3]);
    // Not confirmed: it travels again, and with it what comes meanwhile.
    server.hang_up().await;
    add(&log, 4..5).await;

    let mut server = Peer::accept::<C>(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["connect",7,"client",7]"#);
    server.send(CONNECTED).await;
    assert_eq!(numbers(&server.next().await.unwrap()), [3, 4]);
    assert_eq!(server.next().await.unwrap(), r#"["ready",6]"#);
}

async fn an_event_that_is_there_already_is_confirmed_and_not_added<C: Cell>() {
    let log = log("server").await;
    let (_server, mut client) = let_in::<C>(&log, SyncOptions::new()).await;
    client.send(r#"["sync",1,{"n":1},{"id":"1","time":1}]"#).await;
    assert_eq!(client.next().await.unwrap(), r#"["synced",1]"#);
    client.send(r#"["sync",2,{"n":2},{"id":"1","time":1},{"n":3},{"id":"2","time":2}]"#).await;
    assert_eq!(client.next().await.unwrap(), r#"["synced",2]"#);
    let held = log.entries_after(Added::ZERO, 10).await.unwrap();
    let held: Vec<_> = held.iter().map(|entry| entry.event["n"].clone()).collect();
    assert_eq!(held, [1, 3]);
}

async fn each_sync_is_confirmed_once_and_in_order<C: Cell>() {
    let log = log("server").await;
    let (_server, mut client) = let_in::<C>(&log, SyncOptions::new()).await;
    // A JavaScript node numbers what it does not keep with 0, or with a number once more.
    for (number, id) in [(0, "A"), (0, "B"), (5, "C"), (5, "D"), (0, "E")] {
        let meta = format!(r#"{{"id":"{id}","time":1}}"#);
        client.send(&format!(r#"["sync",{number},{{"n":1}},{meta}]"#)).await;
    }
    for number in [0, 0, 5, 5, 0] {
        assert_eq!(client.next().await.unwrap(), format!(r#"["synced",{number}]"#));
    }
    let peer = "client".parse().unwrap();
    assert_eq!(log.cursors(&peer).await.unwrap().received, Added::new(5).unwrap());
}

async fn wrong_credentials_end_a_client_for_good<C: Cell>() {
    let (client_log, server_log) = (log("10:uuid").await, log("server").await);
    let (transport, listener) = C::listen();
    let server = Server::new(&server_log, C::CODEC, listener)
        .options(SyncOptions::new().auth(async |login| {
            login.credentials == Some(json!({ "token": [1, null] }))
                && login.node_id.user_id() == Some("10")
        }))
        .start();
    add(&client_log, 0..1).await;
    let wrong = ClientSync::new(&client_log, C::CODEC, quick(transport.clone()))
        .options(SyncOptions::new().credentials("wrong"))
        .start();
    let error = wrong.ended().await.unwrap_err();
    assert!(matches!(*error, Error::Received(ProtocolError::WrongCredentials)), "{error}");
    assert_eq!(server_log.last_added(), Added::ZERO);

    let right = ClientSync::new(&client_log, C::CODEC, quick(transport))
        .options(SyncOptions::new().credentials(json!({ "token": [1, null] })))
        .start();
    right.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(server_log.last_added(), client_log.last_added());
    drop(right);
    server.shutdown(Duration::from_secs(10)).await;
}

async fn a_client_may_check_the_server_too<C: Cell>() {
    let (client_log, server_log) = (log("client").await, log("server").await);
    let (transport, listener) = C::listen();
    let _server = Server::new(&server_log, C::CODEC, listener)
        .options(SyncOptions::new().credentials("not the server"))
        .start();
    let client = ClientSync::new(&client_log, C::CODEC, quick(transport))
        .options(SyncOptions::new().auth(async |login| login.credentials == Some("server".into())))
        .start();
    add(&client_log, 0..1).await;
    let error = client.ended().await.unwrap_err();
    assert!(matches!(*error, Error::Refused(ProtocolError::WrongCredentials)), "{error}");
    assert_eq!(server_log.last_added(), Added::ZERO);
}

async fn a_callback_that_panics_ends_its_own_session<C: Cell>() {
    let (client_log, server_log) = (log("client").await, log("server").await);
    let (transport, listener) = C::listen();
    let server = Server::new(&server_log, C::CODEC, listener)
        .options(SyncOptions::new().auth(async |login| {
            assert!(login.node_id.as_str() != "bad", "a bug of the user's");
            true
        }))
        .start();
    let good = ClientSync::new(&client_log, C::CODEC, transport.clone()).start();
    let mut bad = Peer::dial::<C>(&transport).await;
    bad.send(r#"["connect",7,"bad",0]"#).await;
    let fault = r#"["error","callback-failed","auth"]"#;
    assert_eq!(bad.next().await.as_deref(), Some(fault));
    assert_eq!(bad.next().await, None);
    good.wait_for(State::Synchronized).await.unwrap();
    drop((bad, good));
    server.shutdown(Duration::from_secs(10)).await;
}

async fn headers_and_debug_texts_arrive<C: Cell>() {
    let (client_log, server_log) = (log("client").await, log("server").await);
    let headers =
        |value: &str| -> Headers { [("env".to_owned(), json!(value))].into_iter().collect() };
    let (near, far) = C::pair().await;
    let server = ServerSync::new(&server_log, C::CODEC, near)
        .options(SyncOptions::new().headers(headers("server")))
        .start();
    let mut at_server = server.notices();
    let client = BaseSync::new(&client_log, C::CODEC, Role::Opener, far)
        .options(SyncOptions::new().headers(headers("client")))
        .start();
    let mut at_client = client.notices();
    let Some(Notice::Headers(got)) = at_server.next().await else { panic!() };
    assert_eq!(*got, headers("client"));
    let Some(Notice::Headers(got)) = at_client.next().await else { panic!() };
    assert_eq!(*got, headers("server"));
    client.set_headers(headers("new")).await;
    let Some(Notice::Headers(got)) = at_server.next().await else { panic!() };
    assert_eq!(*got, headers("new"));
    server.debug("look at this").await;
    let Some(Notice::Debug(text)) = at_client.next().await else { panic!() };
    assert_eq!(text, "look at this");
}

async fn new_headers_hold_for_the_connections_to_come<C: Cell>() {
    let log = log("client").await;
    let headers = |n: u64| -> Headers { [("n".to_owned(), json!(n))].into_iter().collect() };
    let (transport, mut listener) = C::listen();
    let client = ClientSync::new(&log, C::CODEC, quick(transport))
        .options(SyncOptions::new().headers(headers(1)))
        .start();
    let mut server = Peer::accept::<C>(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["headers",{"n":1}]"#);
    assert_eq!(server.next().await.unwrap(), r#"["connect",7,"client",0]"#);
    client.set_headers(headers(2)).await;
    assert_eq!(server.next().await.unwrap(), r#"["headers",{"n":2}]"#);
    server.hang_up().await;
    let mut server = Peer::accept::<C>(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["headers",{"n":2}]"#);
    server.hang_up().await;
    client.wait_for(State::Disconnected).await.unwrap();
    client.set_headers(headers(3)).await;
    let mut server = Peer::accept::<C>(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["headers",{"n":3}]"#);
}

async fn what_is_told_before_anybody_asks_is_not_lost<C: Cell>() {
    let client_log = log("client").await;
    let (transport, listener) = C::listen();
    drop(listener);
    let client = ClientSync::new(&client_log, C::CODEC, quick(transport).attempts(2)).start();
    // To its end.
    client.states().count().await;
    assert_eq!(client.errors().count().await, 3);
    assert_eq!(client.errors().count().await, 0);
    assert!(client.ended().await.is_err());
}

async fn the_first_reader_gets_notices_from_the_start_also_by_a_handle<C: Cell>() {
    let log = log("server").await;
    let (server, mut client) = let_in::<C>(&log, SyncOptions::new()).await;
    let handle = server.handle();
    client.send(r#"["debug","error","first"]"#).await;
    client.send(r#"["ping",0]"#).await;
    assert_eq!(client.next().await.unwrap(), r#"["pong",0]"#);
    let (mut from_the_start, mut from_now) = (handle.notices(), server.notices());
    client.send(r#"["debug","error","second"]"#).await;
    let texts = [from_the_start.next().await, from_the_start.next().await, from_now.next().await];
    let texts = texts.map(|notice| match notice {
        Some(Notice::Debug(text)) => text,
        other => panic!("{other:?}"),
    });
    assert_eq!(texts, ["first", "second", "second"]);
}

async fn a_peers_texts_do_not_drive_out_errors_that_nobody_has_read<C: Cell>() {
    let log = log("client").await;
    let (transport, mut listener) = C::listen();
    let client = ClientSync::new(&log, C::CODEC, quick(transport)).start();
    let server = Peer::accept::<C>(&mut listener).await;
    // An error, and then texts of each length.
    let mut server = refuse::<C>(server, &mut listener).await;
    server.next().await.unwrap();
    server.send(CONNECTED).await;
    assert_eq!(server.next().await.unwrap(), r#"["ready",0]"#);
    for bytes in [[0; 20].as_slice(), &[1, 5_000, 3_000, 3_000]].concat() {
        let text = "x".repeat(bytes);
        server.send(&json!(["debug", "error", text]).to_string()).await;
    }
    server.send(r#"["ping",0]"#).await;
    assert_eq!(server.next().await.unwrap(), r#"["pong",0]"#);
    drop(server);
    let handle = client.handle();
    client.close().await.unwrap();
    let notices: Vec<_> = handle.notices().collect().await;
    let length = |notice: &Notice| match notice {
        Notice::Debug(text) => Some(text.len()),
        _ => None,
    };
    let texts: Vec<_> = notices.iter().filter_map(length).collect();
    assert!(matches!(&notices[0], Notice::Error(error) if error.received()), "{notices:?}");
    assert_eq!(texts, [3_000]);
}

/// Complains, and accepts the next connection.
async fn refuse<C: Cell>(mut server: Peer, listener: &mut AnyListener) -> Peer {
    server.next().await.unwrap();
    server.send(r#"["error","timeout",1000]"#).await;
    server.hang_up().await;
    Peer::accept::<C>(listener).await
}

async fn waiting_for_a_state_tells_why_the_session_ended<C: Cell>() {
    let log = log("client").await;
    let (transport, mut listener) = C::listen();
    let client = ClientSync::new(&log, C::CODEC, quick(transport)).start();
    let handle = client.handle();
    let waiting = async { handle.wait_for(State::Synchronized).await.unwrap_err() };
    let refusing = async {
        let mut server = Peer::accept::<C>(&mut listener).await;
        server.next().await.unwrap();
        server.send(r#"["error","wrong-credentials"]"#).await;
        server.hang_up().await;
    };
    let (ended, ()) = tokio::join!(waiting, refusing);
    let why = ended.reason().unwrap();
    let expected = &ProtocolError::WrongCredentials;
    assert!(matches!(&**why, Error::Received(error) if error == expected), "{why}");
    assert_eq!(std::error::Error::source(&ended).unwrap().to_string(), why.to_string());
    // Later, too; and there is no reason where it was closed.
    assert!(handle.wait_for(State::Wait).await.unwrap_err().reason().is_some());
    assert!(client.ended().await.is_err());

    let (transport, _listener) = C::listen();
    let client = ClientSync::new(&log, C::CODEC, transport).start();
    let handle = client.handle();
    client.close().await.unwrap();
    assert!(handle.wait_for(State::Synchronized).await.unwrap_err().reason().is_none());
}

/// It fills the intake, which holds nothing that could be stored to make room again.
async fn a_long_message_without_events_does_not_stop_a_session<C: Cell>() {
    for (bytes, count) in [(1 << 20, 1), (66_000, 16)] {
        let log = log("server").await;
        let (server, mut client) = let_in::<C>(&log, SyncOptions::new()).await;
        let text = |bytes| json!(["debug", "error", "x".repeat(bytes)]).to_string();
        // To the byte, in each codec.
        let around = client.frame(&text(70_000)).len() - 70_000;
        let text = text(bytes - around);
        for _ in 0..count {
            client.send(&text).await;
        }
        client.send(r#"["ping",0]"#).await;
        let answer = timeout(Duration::from_secs(1), client.next()).await;
        assert_eq!(answer.unwrap().unwrap(), r#"["pong",0]"#, "{count} of {bytes} bytes");
        client.hang_up().await;
        timeout(Duration::from_secs(1), server.ended()).await.unwrap().unwrap();
    }
}

/// Both have more to say than a link holds, and neither reads while it cannot say it.
async fn two_nodes_that_confirm_much_at_once_both_go_on<C: Cell>() {
    const EVENTS: usize = 1000;

    let (left, right) = (log("left").await, log("right").await);
    add(&left, 0..EVENTS).await;
    add(&right, 0..EVENTS).await;
    let judged_at = Instant::now() + Duration::from_secs(5);
    // A filter that refuses: nothing is added, which would wake a session.
    let options = || {
        SyncOptions::new().batch(1).window(EVENTS).ping(None).in_filter(move |_, _| async move {
            sleep_until(judged_at).await;
            Ok(false)
        })
    };
    let (near, far) = C::pair().await;
    let opener = BaseSync::new(&left, C::CODEC, Role::Opener, near).options(options()).start();
    let _acceptor = BaseSync::new(&right, C::CODEC, Role::Acceptor, far).options(options()).start();
    let synchronized = opener.wait_for(State::Synchronized);
    timeout(Duration::from_secs(60), synchronized).await.unwrap().unwrap();
}

async fn silence_is_asked_about_and_then_ended<C: Cell>() {
    let log = log("server").await;
    let options = SyncOptions::new().ping(Duration::from_secs(20)).timeout(Duration::from_secs(5));
    let (server, mut client) = let_in::<C>(&log, options).await;
    for answer in [r#"["pong",0]"#, r#"["headers",{}]"#] {
        let start = Instant::now();
        assert_eq!(client.next().await.unwrap(), r#"["ping",0]"#);
        assert_eq!(start.elapsed().as_secs(), 20);
        // Any message proves that the peer is there.
        client.send(answer).await;
    }
    assert_eq!(client.next().await.unwrap(), r#"["ping",0]"#);
    let start = Instant::now();
    assert_eq!(client.next().await, None);
    assert_eq!(start.elapsed().as_secs(), 5);
    client.hang_up().await;
    let error = server.ended().await.unwrap_err();
    assert!(matches!(*error, Error::Silent(limit) if limit.as_secs() == 5), "{error}");
}

async fn who_does_not_read_costs_no_memory<C: Cell>() {
    let log = log("server").await;
    let (near, far) = C::pair().await;
    let options = SyncOptions::new().ping(None);
    let _server = ServerSync::new(&log, C::CODEC, near).options(options).start();
    let mut client = Peer::new::<C>(far);
    client.send(CONNECT).await;
    for n in 0..5_000 {
        add(&log, n * 10..(n + 1) * 10).await;
    }
    // All that left the log: what the link holds, and one write.
    let mut frames = 0;
    while let Ok(Some(frame)) = timeout(Duration::from_secs(1), client.next()).await {
        if frame.starts_with(r#"["sync","#) {
            frames += 1;
        }
    }
    assert!(frames <= 8, "{frames} batches were sent without a confirmation");
}

async fn a_server_that_lost_its_log_gets_it_back<C: Cell>() {
    let (client_log, new_log) = a_lost_log::<C>(for_relays()).await;
    assert_eq!(events(&client_log).await.len(), 103);
    assert_eq!(events(&new_log).await, events(&client_log).await);
    assert!(client_log.held_back(new_log.node_id()).await.unwrap().is_empty());
}

async fn a_server_that_lost_its_log_gets_back_only_what_its_clients_made<C: Cell>() {
    let (client_log, new_log) = a_lost_log::<C>(SyncOptions::new()).await;
    assert_eq!(events(&client_log).await.len(), 103);
    let (theirs, lost) = {
        let all = client_log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
        let by_client = |entry: &Arc<logux_sync::Entry<Value>>| {
            entry.meta.id.node() == client_log.node_id() || entry.event["n"].as_u64() >= Some(100)
        };
        let ids = |part: Vec<Arc<logux_sync::Entry<Value>>>| {
            part.iter().map(|entry| entry.meta.id.clone()).collect::<Vec<_>>()
        };
        let (theirs, lost) = all.into_iter().partition(by_client);
        (ids(theirs), ids(lost))
    };
    assert_eq!((theirs.len(), lost.len()), (53, 50));
    for id in &theirs {
        assert!(new_log.by_id(id).await.unwrap().is_some(), "{id}");
    }
    assert_eq!(new_log.last_added().value(), 53);
    // What only a relay may bring back stays with the client, which knows why.
    let held_back = client_log.held_back(new_log.node_id()).await.unwrap();
    assert!(held_back.iter().map(|refused| &refused.id).eq(&lost));
    for refused in held_back {
        assert!(refused.reason.starts_with("its id is of the node that it was sent to"));
    }
}

/// The logs of a client and of a server that has lost its own, and that has these options from then on.
async fn a_lost_log<C: Cell>(options: SyncOptions<Value>) -> (Log<Value>, Log<Value>) {
    let client_log = log("client").await;
    let (transport, listener) = C::listen();
    let old_log = log("server").await;
    let server = Server::new(&old_log, C::CODEC, listener).start();
    let (relay, dialled) = relay(transport);
    let client = ClientSync::new(&client_log, C::CODEC, quick(relay)).start();
    add(&client_log, 0..50).await;
    add(&old_log, 50..100).await;
    client.wait_for(State::Synchronized).await.unwrap();
    assert!(client_log.last_added() == Added::new(100).unwrap());
    server.shutdown(Duration::from_secs(10)).await;

    // Later: a node that forgets everything within a millisecond could give an id twice.
    let clock = Clock::new(|| Clock::system().now().shifted(60_000).unwrap());
    let store = Arc::new(MemoryStore::new());
    let new_log = Log::open_with("server".parse().unwrap(), store, clock).await.unwrap();
    add(&new_log, 100..103).await;
    let (transport, listener) = C::listen();
    let _server = Server::new(&new_log, C::CODEC, listener).options(options).start();
    let mut errors = client.errors();
    dialled.send(transport).unwrap();
    // It notices, starts over from both ends, and loses nothing.
    loop {
        let error = errors.next().await.unwrap();
        if matches!(*error, Error::LogReplaced) {
            break;
        }
        assert!(matches!(*error, Error::Link(_)), "{error}");
    }
    client.wait_for(State::Synchronized).await.unwrap();
    client.close().await.unwrap();
    (client_log, new_log)
}

async fn a_client_that_lost_its_log_gets_it_back<C: Cell>() {
    let server_log = log("server").await;
    let (transport, listener) = C::listen();
    let _server = Server::new(&server_log, C::CODEC, listener).start();
    let old_log = log("client").await;
    let client = ClientSync::new(&old_log, C::CODEC, transport.clone()).start();
    add(&old_log, 0..50).await;
    add(&server_log, 50..100).await;
    client.wait_for(State::Synchronized).await.unwrap();
    client.close().await.unwrap();

    let new_log = log("client").await;
    let client = ClientSync::new(&new_log, C::CODEC, transport).start();
    client.wait_for(State::Synchronized).await.unwrap();
    let mut entries = new_log.follow(Added::ZERO);
    for _ in 0..100 {
        entries.next().await.unwrap().unwrap();
    }
    assert_eq!(events(&new_log).await, events(&server_log).await);
    // Its own old events are its own: it never gives their ids again.
    let last = old_log.entries_after(Added::new(49).unwrap(), 1).await.unwrap();
    assert!(new_log.add(event(100)).await.unwrap().meta.id.time() > last[0].meta.id.time());
}

/// One connection of a scripted client to a server; answers what the server sent.
async fn session<C: Cell>(log: &Log<Value>, synced: u64, sync: &str, ready: u64) -> Vec<String> {
    let (near, far) = C::pair().await;
    let _server = ServerSync::new(log, C::CODEC, near).start();
    let mut client = Peer::new::<C>(far);
    client.send(&json!(["connect", 7, "client", synced]).to_string()).await;
    client.send(sync).await;
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = timeout(Duration::from_secs(1), client.next()).await {
        let message: Value = serde_json::from_str(&frame).unwrap();
        match message[0].as_str().unwrap() {
            "sync" => client.send(&json!(["synced", message[1]]).to_string()).await,
            "ready" => client.send(&json!(["ready", ready]).to_string()).await,
            _ => {}
        }
        frames.push(frame);
    }
    frames
}

async fn a_lost_log_is_noticed_also_if_ready_counts_what_was_received_since<C: Cell>() {
    let log = log("server").await;
    add(&log, 0..3).await;
    let old = r#"["sync",1,{"n":100},{"id":"1","time":-1000}]"#;
    session::<C>(&log, 0, old, 1).await;
    let new = r#"["sync",1,{"n":200},{"id":"2","time":-500}]"#;
    let frames = session::<C>(&log, 0, new, 4).await;
    assert!(frames.iter().any(|frame| frame.contains(r#""n":100"#)), "{frames:#?}");
}

async fn a_client_that_only_sends_is_not_taken_for_one_that_lost_its_log<C: Cell>() {
    let log = log("server").await;
    let first = r#"["sync",1,{"n":100},{"id":"1","time":-1000}]"#;
    session::<C>(&log, 0, first, 1).await;
    let second = r#"["sync",2,{"n":200},{"id":"2","time":-500}]"#;
    let frames = session::<C>(&log, 0, second, 2).await;
    assert!(frames.iter().all(|frame| !frame.starts_with(r#"["sync","#)), "{frames:#?}");
}

async fn a_client_that_starts_again_is_told_only_what_is_missing<C: Cell>() {
    let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
    let (transport, mut listener) = C::listen();
    for (claimed, added) in [(0, 5), (5, 9), (9, 9)] {
        let node = "client".parse().unwrap();
        let log = Log::open_with(node, Arc::clone(&store), Clock::system()).await.unwrap();
        let client = ClientSync::new(&log, C::CODEC, transport.clone()).start();
        let mut server = Peer::accept::<C>(&mut listener).await;
        let connect = json!(["connect", 7, "client", claimed]).to_string();
        assert_eq!(server.next().await.unwrap(), connect);
        server.send(CONNECTED).await;
        server.next().await.unwrap();
        server.send(&json!(["ready", added]).to_string()).await;
        client.wait_for(State::Synchronized).await.unwrap();
        server.hang_up().await;
        client.ended().await.unwrap();
    }
}

fn number(n: u64) -> Value {
    json!({ "type": "number", "n": n })
}

/// The numbers of all events of a log.
async fn all_numbers(log: &Log<Value>) -> Vec<u64> {
    let entries = log.entries_after(Added::ZERO, 1_000).await.unwrap();
    entries.iter().map(|entry| entry.event["n"].as_u64().unwrap()).collect()
}

async fn a_client_begins_where_it_is_told_and_misses_nothing_after_that<C: Cell>() {
    let from_3: &[u64] = &[4, 5, 6];
    // From the start, from a position, from the end; a position that the log does not reach is the end.
    for (after, expected) in
        [(0, &[1, 2, 3, 4, 5, 6][..]), (1, &[2, 3, 4, 5, 6]), (3, from_3), (99, from_3)]
    {
        let (server_log, client_log) = (log("server").await, log("10:client").await);
        server_log.add_batch((1..=3).map(number)).await.unwrap();
        let after = Added::new(after).unwrap();
        for n in [4, 6] {
            let (transport, listener) = C::listen();
            let server = Server::new(&server_log, C::CODEC, listener).start();
            let options = SyncOptions::new();
            // The second session goes on from where the first one was.
            let options = if n == 4 { options.begin_after(after) } else { options };
            let client = ClientSync::new(&client_log, C::CODEC, quick(transport)).options(options);
            let session = client.start();
            session.wait_for(State::Synchronized).await.unwrap();
            server_log.add(number(n)).await.unwrap();
            client_log.follow(client_log.last_added()).next().await.unwrap().unwrap();
            session.close().await.unwrap();
            server.shutdown(Duration::from_secs(1)).await;
            if n == 4 {
                server_log.add(number(5)).await.unwrap();
            }
        }
        assert_eq!(all_numbers(&client_log).await, expected, "after {after}");
    }
}

async fn a_client_that_knows_the_log_skips_to_its_end_and_sends_what_it_has<C: Cell>() {
    let (server_log, client_log) = (log("server").await, log("10:client").await);
    let connect = async |options: SyncOptions<Value>| {
        let (transport, listener) = C::listen();
        let server = Server::new(&server_log, C::CODEC, listener).start();
        let client = ClientSync::new(&client_log, C::CODEC, quick(transport)).options(options);
        let session = client.start();
        session.wait_for(State::Synchronized).await.unwrap();
        (server, session)
    };
    server_log.add(number(1)).await.unwrap();
    let (server, session) = connect(SyncOptions::new()).await;
    session.close().await.unwrap();
    server.shutdown(Duration::from_secs(1)).await;
    server_log.add_batch([number(2), number(3)]).await.unwrap();
    client_log.add(number(100)).await.unwrap();
    let (_server, _session) = connect(SyncOptions::new().begin_after(Added::MAX)).await;
    server_log.add(number(4)).await.unwrap();
    client_log.follow(client_log.last_added()).next().await.unwrap().unwrap();
    assert_eq!(all_numbers(&client_log).await, [1, 100, 4]);
    assert_eq!(all_numbers(&server_log).await, [1, 2, 3, 100, 4]);
}

async fn a_log_that_is_another_one_than_before_is_not_left_out<C: Cell>() {
    let client_log = log("10:client").await;
    let (first, second) = (log("server").await, log("server").await);
    first.add_batch((1..=3).map(number)).await.unwrap();
    second.add_batch((11..=12).map(number)).await.unwrap();
    // The server loses its log while the client is away, and gets other events: all of them are new.
    for (server_log, expected) in [(&first, &[][..]), (&second, &[11, 12])] {
        let (transport, listener) = C::listen();
        let _server = Server::new(server_log, C::CODEC, listener).start();
        let options = SyncOptions::new();
        let options = if expected.is_empty() { options.begin_after(Added::MAX) } else { options };
        let client = ClientSync::new(&client_log, C::CODEC, quick(transport)).options(options);
        let session = client.start();
        session.wait_for(State::Synchronized).await.unwrap();
        assert_eq!(all_numbers(&client_log).await, expected);
        session.close().await.unwrap();
    }
}

async fn another_node_behind_the_same_door_is_told_the_truth<C: Cell>() {
    let client_log = log("client").await;
    let (first_log, second_log) = (log("first").await, log("second").await);
    add(&first_log, 0..50).await;
    add(&second_log, 50..110).await;
    let (transport, listener) = C::listen();
    let first = Server::new(&first_log, C::CODEC, listener).start();
    let (relay, dialled) = relay(transport);
    let client = ClientSync::new(&client_log, C::CODEC, quick(relay)).start();
    client.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(client_log.last_added().value(), 50);
    first.shutdown(Duration::from_secs(10)).await;

    // The first connection claims what was received from the other node; it is given up.
    let (transport, listener) = C::listen();
    let _second = Server::new(&second_log, C::CODEC, listener).options(for_relays()).start();
    dialled.send(transport).unwrap();
    let mut entries = client_log.follow(Added::ZERO);
    for _ in 0..110 {
        entries.next().await.unwrap().unwrap();
    }
    client.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(events(&second_log).await, events(&client_log).await);
}

/// A transport whose target can be replaced.
fn relay<T: Transport + Clone>(first: T) -> (Relay<T>, watch::Sender<T>) {
    let (sender, target) = watch::channel(first);
    (Relay { target }, sender)
}

struct Relay<T> {
    target: watch::Receiver<T>,
}

impl<T: Transport + Clone + Sync> Transport for Relay<T> {
    type Sender = T::Sender;
    type Receiver = T::Receiver;

    async fn open(
        &mut self,
        format: Format,
        max_frame: usize,
    ) -> io::Result<Link<T::Sender, T::Receiver>> {
        let mut target = self.target.borrow().clone();
        target.open(format, max_frame).await
    }
}

async fn a_peer_that_has_seen_more_than_there_is_gets_everything<C: Cell>() {
    let log = log("server").await;
    add(&log, 0..3).await;
    let (near, far) = C::pair().await;
    let server = ServerSync::new(&log, C::CODEC, near).start();
    let mut notices = server.notices();
    let mut client = Peer::new::<C>(far);
    client.send(r#"["connect",7,"client",500]"#).await;
    client.next().await.unwrap();
    assert_eq!(numbers(&client.next().await.unwrap()), [0, 1, 2]);
    assert!(matches!(notices.next().await, Some(Notice::StartedOver)));
}

async fn a_peer_can_have_the_log_sent_again_only_once<C: Cell>() {
    let log = log("server").await;
    add(&log, 0..3).await;
    let connect = r#"["connect",7,"client",3]"#;
    for round in 0..2 {
        let (near, far) = C::pair().await;
        let _server =
            ServerSync::new(&log, C::CODEC, near).options(SyncOptions::new().ping(None)).start();
        let mut client = Peer::new::<C>(far);
        client.send(connect).await;
        client.next().await.unwrap();
        if round == 0 {
            // It has never confirmed what it claims.
            assert_eq!(numbers(&client.next().await.unwrap()), [0, 1, 2]);
            client.send(r#"["synced",3]"#).await;
        }
        assert_eq!(client.next().await.unwrap(), r#"["ready",3]"#);
        if round == 0 {
            client.send(r#"["ready",9]"#).await;
            assert!(timeout(Duration::from_secs(1), client.next()).await.is_err());
            continue;
        }
        // It had 9 before, so its log is another one.
        client.send(r#"["ready",1]"#).await;
        assert_eq!(numbers(&client.next().await.unwrap()), [0, 1, 2]);
        client.send(r#"["ready",0]"#).await;
        client.send(r#"["ready",0]"#).await;
        assert!(timeout(Duration::from_secs(1), client.next()).await.is_err());
    }
}

async fn times_without_end_are_no_deadline<C: Cell>() {
    let (client_log, server_log) = (log("client").await, log("server").await);
    let (near, far) = C::pair().await;
    let options =
        || SyncOptions::new().timeout(Duration::MAX).ping(Duration::MAX).batch(usize::MAX);
    add(&client_log, 0..1000).await;
    let _server = ServerSync::new(&server_log, C::CODEC, near).options(options()).start();
    let client = BaseSync::new(&client_log, C::CODEC, Role::Opener, far).options(options()).start();
    client.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(server_log.last_added().value(), 1000);
}

async fn a_ping_moves_no_cursor<C: Cell>() {
    let log = log("client").await;
    let (near, far) = C::pair().await;
    let client = BaseSync::new(&log, C::CODEC, Role::Opener, near).start();
    let mut server = Peer::new::<C>(far);
    server.next().await.unwrap();
    server.send(CONNECTED).await;
    server.next().await.unwrap();
    server.send(r#"["ready",0]"#).await;
    server.send(r#"["ping",40]"#).await;
    server.send(r#"["pong",40]"#).await;
    assert_eq!(server.next().await.unwrap(), r#"["pong",0]"#);
    client.wait_for(State::Synchronized).await.unwrap();
    let cursors = log.cursors(&"server".parse().unwrap()).await.unwrap();
    assert_eq!(cursors, Cursors::default());
}

async fn closing_sends_what_is_on_its_way_and_stores_what_has_arrived<C: Cell>() {
    let (client_log, server_log) = (log("client").await, log("server").await);
    let (transport, listener) = C::listen();
    let server = Server::new(&server_log, C::CODEC, listener).start();
    let client = ClientSync::new(&client_log, C::CODEC, quick(transport)).start();
    client.wait_for(State::Synchronized).await.unwrap();
    add(&client_log, 0..100).await;
    tokio::task::yield_now().await;
    client.close().await.unwrap();
    let shutdown = server.shutdown(Duration::from_secs(10)).await;
    assert_eq!(shutdown.cut, 0);
    assert_eq!(server_log.last_added(), client_log.last_added());
}

async fn dropping_the_handle_ends_the_session<C: Cell>() {
    let (client_log, server_log) = (log("client").await, log("server").await);
    let (near, far) = C::pair().await;
    let server = ServerSync::new(&server_log, C::CODEC, near).start();
    let client = BaseSync::new(&client_log, C::CODEC, Role::Opener, far).start();
    client.wait_for(State::Synchronized).await.unwrap();
    drop(client);
    server.ended().await.unwrap();
}

async fn a_client_without_reconnect_tells_why_it_ended<C: Cell>() {
    let client_log = log("client").await;
    let (transport, listener) = C::listen();
    drop(listener);
    let client = ClientSync::new(&client_log, C::CODEC, transport).start();
    let error = client.ended().await.unwrap_err();
    assert!(matches!(*error, Error::Link(_)), "{error}");
    let why = std::error::Error::source(&*error).unwrap().to_string();
    assert!(why.contains("nobody"), "{why}");
}

async fn a_server_takes_no_more_connections_than_it_may<C: Cell>() {
    let server_log = log("server").await;
    let (transport, listener) = C::listen();
    let server = Server::new(&server_log, C::CODEC, listener).max_connections(2).start();
    let mut first = Peer::dial::<C>(&transport).await;
    let mut second = Peer::dial::<C>(&transport).await;
    for (name, peer) in [("10:a", &mut first), ("10:b", &mut second)] {
        peer.send(&connect_of(name)).await;
        assert!(peer.next().await.is_some());
    }
    let mut third = Peer::dial::<C>(&transport).await;
    third.send(&connect_of("10:c")).await;
    let answer = third.next().await.unwrap();
    assert!(answer.starts_with(r#"["error","too-many-connections","#), "{answer}");
    assert_eq!(third.next().await, None);
    third.hang_up().await;
    first.hang_up().await;
    // The server learns of that a moment later.
    sleep(Duration::from_secs(1)).await;
    let mut third = Peer::dial::<C>(&transport).await;
    third.send(&connect_of("10:c")).await;
    assert!(third.next().await.is_some_and(|answer| answer.starts_with(r#"["connected","#)));
    assert_eq!(server.connections(), 2);
}

async fn a_newcomer_takes_the_place_of_a_peer_that_says_nothing<C: Cell>() {
    let server_log = log("server").await;
    let (transport, listener) = C::listen();
    let server = Server::new(&server_log, C::CODEC, listener).max_strangers(2).start();
    let mut known = Peer::dial::<C>(&transport).await;
    known.send(CONNECT).await;
    assert!(known.next().await.is_some());

    let mut first = Peer::dial::<C>(&transport).await;
    first.send(r#"["headers",{"a":1}]"#).await;
    let mut second = Peer::dial::<C>(&transport).await;
    second.send(r#"["headers",{"a":1}]"#).await;
    // Those that just came have time to introduce themselves.
    sleep(Duration::from_secs(2)).await;
    let mut third = Peer::dial::<C>(&transport).await;
    third.send(CONNECT).await;
    assert!(third.next().await.is_some());
    assert_eq!(first.next().await, None);
    // Who was let in has none of these places, and who has one can use it.
    second.send(CONNECT).await;
    assert!(second.next().await.is_some());
    known.send(r#"["ping",0]"#).await;
    while known.next().await.is_some_and(|frame| !frame.starts_with(r#"["pong""#)) {}
    for peer in [known, first, second, third] {
        peer.hang_up().await;
    }
    assert_eq!(server.shutdown(Duration::from_secs(10)).await.cut, 0);
}

async fn a_peer_that_auth_is_asked_about_keeps_its_place<C: Cell>() {
    let server_log = log("server").await;
    let (transport, listener) = C::listen();
    let options = SyncOptions::new().auth(async |_| {
        sleep(Duration::from_secs(1)).await;
        true
    });
    let server =
        Server::new(&server_log, C::CODEC, listener).options(options).max_strangers(1).start();
    let mut first = Peer::dial::<C>(&transport).await;
    first.send(CONNECT).await;
    sleep(Duration::from_millis(100)).await;
    // Over some transports dialling itself takes a server that accepts.
    let second = async {
        let mut second = Peer::dial::<C>(&transport).await;
        second.send(CONNECT).await;
        second.next().await
    };
    let second = timeout(Duration::from_millis(500), second);
    assert!(!matches!(second.await, Ok(Some(_))), "it was let in");
    assert!(first.next().await.is_some());
    first.hang_up().await;
    assert_eq!(server.shutdown(Duration::from_secs(10)).await.cut, 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_may_be_shared_by_a_log_that_is_opened_again() {
    let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
    let clock = logux_sync::Clock::system();
    let node = || "client".parse().unwrap();
    let log = Log::open_with(node(), Arc::clone(&store), clock.clone()).await.unwrap();
    add(&log, 0..3).await;
    drop(log);
    let log = Log::open_with(node(), store, clock).await.unwrap();
    assert_eq!(log.last_added().value(), 3);
    add(&log, 3..4).await;
    assert_eq!(events(&log).await.len(), 4);
}

async fn what_came_from_the_server_does_not_wait_for_it<C: Cell>() {
    let log = log("a").await;
    let (transport, mut listener) = C::listen();
    let client = ClientSync::new(&log, C::CODEC, Reconnect::new(transport)).start();
    let mut server = Peer::accept::<C>(&mut listener).await;
    server.next().await.unwrap();
    server.send(CONNECTED).await;
    server.send(r#"["ready",0]"#).await;
    client.wait_for(State::Synchronized).await.unwrap();
    server.send(r#"["sync",1,{"type":"a"},{"id":"1","time":1}]"#).await;
    drop((server, listener));
    let offline = client
        .states()
        .filter(|state| std::future::ready(matches!(state, State::Wait | State::Disconnected)));
    assert_eq!(Box::pin(offline).next().await, Some(State::Disconnected));
    assert_eq!(log.last_added().value(), 1);
}
