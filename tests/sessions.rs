//! What sessions do, from the public API, in memory and in paused time.

mod scripted;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{
    Added, BaseSync, ClientSync, Clock, Cursors, Error, Headers, Json, Log, Memory, MemoryStore,
    Notice, ProtocolError, Reconnect, Role, Server, ServerSync, Session, State, Store, SyncOptions,
    Value,
};
use scripted::Peer;
use serde_json::json;
use tokio::time::{Instant, timeout};

const CONNECTED: &str = r#"["connected",7,"server",[1000,1000]]"#;

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
    Reconnect::new(transport).max_delay(Duration::from_secs(1))
}

/// A server with an empty log, and a client that it has let in.
async fn let_in(log: &Log<Value>, options: SyncOptions<Value>) -> (Session, Peer) {
    let (near, far) = Memory::pair();
    let server = ServerSync::new(log, Json, near).options(options).start();
    let mut client = Peer::new(far);
    client.send(r#"["connect",7,"client",0]"#).await;
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

#[tokio::test(start_paused = true)]
async fn events_of_either_side_are_on_both() {
    let (client_log, server_log) = (log("10:uuid").await, log("server").await);
    for n in 0..1000 {
        client_log.add(json!({ "type": "client", "n": n })).await.unwrap();
        server_log.add(json!({ "type": "server", "n": n })).await.unwrap();
    }
    let (transport, listener) = Memory::listen();
    let server = Server::new(&server_log, Json, listener).start();
    let client = ClientSync::new(&client_log, Json, Reconnect::new(transport)).start();
    assert!(client.wait_for(State::Synchronized).await);
    assert_eq!(events(&client_log).await, events(&server_log).await);
    client_log.add(json!({ "type": "late" })).await.unwrap();
    assert!(client.wait_for(State::Synchronized).await);
    assert_eq!(events(&client_log).await, events(&server_log).await);
    assert_eq!(server_log.last_added(), Added::new(2001).unwrap());
    assert_eq!(client.remote().unwrap().node_id.as_str(), "server");
    client.close().await.unwrap();
    assert_eq!(server.shutdown(Duration::from_secs(1)).await.cut, 0);
}

#[tokio::test(start_paused = true)]
async fn events_travel_over_nodes_in_between_and_keep_their_names() {
    let (a, b, c) = (log("1:a").await, log("2:b").await, log("3:c").await);
    let (to_b, b_listens) = Memory::listen();
    let (to_c, c_listens) = Memory::listen();
    let _servers =
        (Server::new(&b, Json, b_listens).start(), Server::new(&c, Json, c_listens).start());
    let first = ClientSync::new(&a, Json, to_b).start();
    let second = ClientSync::new(&b, Json, to_c).start();
    let made = a.add(event(1)).await.unwrap();
    assert!(first.wait_for(State::Synchronized).await);
    assert!(second.wait_for(State::Synchronized).await);
    let arrived = c.by_id(&made.meta.id).await.unwrap().unwrap();
    assert_eq!(arrived.event, made.event);
    assert_eq!(arrived.meta.time, made.meta.time);
    assert_eq!(arrived.meta.source, Some("2:b".parse().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn states_are_the_originals() {
    let log = log("client").await;
    let (transport, mut listener) = Memory::listen();
    let client = ClientSync::new(&log, Json, quick(transport)).start();
    assert!(client.wait_for(State::Connecting).await);
    let mut server = Peer::accept(&mut listener).await;
    server.next().await.unwrap();
    server.send(CONNECTED).await;
    assert_eq!(server.next().await.unwrap(), r#"["ready",0]"#);
    assert_eq!(client.state(), State::Connecting);
    server.send(r#"["ready",0]"#).await;
    assert!(client.wait_for(State::Synchronized).await);

    add(&log, 0..1).await;
    assert!(client.wait_for(State::Sending).await);
    server.next().await.unwrap();
    server.send(r#"["synced",1]"#).await;
    assert!(client.wait_for(State::Synchronized).await);

    drop(server);
    drop(listener);
    assert!(client.wait_for(State::Disconnected).await);
    add(&log, 1..2).await;
    assert!(client.wait_for(State::Wait).await);
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn receiving_events_is_not_sending() {
    let (client_log, server_log) = (log("client").await, log("server").await);
    let (transport, listener) = Memory::listen();
    let _server = Server::new(&server_log, Json, listener).start();
    let client = ClientSync::new(&client_log, Json, transport).start();
    assert!(client.wait_for(State::Synchronized).await);
    let mut states = client.states();
    assert_eq!(states.next().await, Some(State::Synchronized));
    add(&server_log, 0..10).await;
    let mut entries = client_log.follow(Added::ZERO);
    for _ in 0..10 {
        entries.next().await.unwrap().unwrap();
    }
    assert!(timeout(Duration::from_secs(1), states.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_at_most_100_events_and_a_window_at_most_8_batches() {
    let log = log("client").await;
    add(&log, 0..1050).await;
    let (near, far) = Memory::pair();
    let client = BaseSync::new(&log, Json, Role::Opener, near).start();
    let mut server = Peer::new(far);
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

#[tokio::test(start_paused = true)]
async fn events_that_come_while_a_frame_is_sent_make_the_next_batch() {
    let log = log("client").await;
    let (near, far) = Memory::pair();
    let _client = BaseSync::new(&log, Json, Role::Opener, near).start();
    let mut server = Peer::new(far);
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

#[tokio::test(start_paused = true)]
async fn large_events_are_spread_over_frames() {
    let log = log("client").await;
    let large = "x".repeat(20_000);
    log.add_batch((0..10).map(|n| json!({ "n": n, "text": large }))).await.unwrap();
    let (near, far) = Memory::pair();
    let _client = BaseSync::new(&log, Json, Role::Opener, near).start();
    let mut server = Peer::new(far);
    server.next().await.unwrap();
    server.send(CONNECTED).await;
    let mut seen = Vec::new();
    while seen.len() < 10 {
        let frame = server.next().await.unwrap();
        assert!(frame.len() <= 64 << 10, "{} bytes", frame.len());
        seen.extend(numbers(&frame));
        let added = serde_json::from_str::<Value>(&frame).unwrap()[1].clone();
        assert_eq!(added, json!(seen.len()));
        server.send(&json!(["synced", added]).to_string()).await;
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn an_event_that_no_frame_can_hold_is_an_error_that_names_it() {
    let log = log("client").await;
    add(&log, 0..1).await;
    let entry = log.add(json!({ "text": "x".repeat(2 << 20) })).await.unwrap();
    let (near, far) = Memory::pair();
    let client = BaseSync::new(&log, Json, Role::Opener, near).start();
    let mut server = Peer::new(far);
    server.next().await.unwrap();
    server.send(CONNECTED).await;
    // What comes before it arrives.
    assert_eq!(numbers(&server.next().await.unwrap()), [0]);
    assert_eq!(server.next().await, None);
    drop(server);
    let error = client.ended().await.unwrap_err();
    assert!(!error.is_transient());
    assert!(matches!(&*error, Error::EventTooLarge { id, .. } if *id == entry.meta.id), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_written_is_an_error_that_names_it() {
    let log = Log::<std::collections::BTreeMap<Vec<u8>, u8>>::open(
        "client".parse().unwrap(),
        MemoryStore::new(),
    );
    let log = log.await.unwrap();
    log.add(std::collections::BTreeMap::new()).await.unwrap();
    // JSON has only texts as keys.
    let bad = log.add([(vec![1], 1)].into_iter().collect::<std::collections::BTreeMap<_, _>>());
    let bad = bad.await.unwrap();
    let (near, far) = Memory::pair();
    let client = BaseSync::new(&log, Json, Role::Opener, near).start();
    let mut server = Peer::new(far);
    server.next().await.unwrap();
    server.send(CONNECTED).await;
    while server.next().await.is_some() {}
    drop(server);
    let error = client.ended().await.unwrap_err();
    assert!(matches!(&*error, Error::Encode { id, .. } if *id == bad.meta.id), "{error}");
}

#[tokio::test(start_paused = true)]
async fn after_a_loss_only_what_is_missing_travels() {
    let log = log("client").await;
    add(&log, 0..3).await;
    let (transport, mut listener) = Memory::listen();
    let _client = ClientSync::new(&log, Json, quick(transport)).start();

    let mut server = Peer::accept(&mut listener).await;
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
    drop(server);
    add(&log, 4..5).await;

    let mut server = Peer::accept(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["connect",7,"client",7]"#);
    server.send(CONNECTED).await;
    assert_eq!(numbers(&server.next().await.unwrap()), [3, 4]);
    assert_eq!(server.next().await.unwrap(), r#"["ready",6]"#);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_there_already_is_confirmed_and_not_added() {
    let log = log("server").await;
    let (_server, mut client) = let_in(&log, SyncOptions::new()).await;
    client.send(r#"["sync",1,{"n":1},{"id":"1","time":1}]"#).await;
    assert_eq!(client.next().await.unwrap(), r#"["synced",1]"#);
    client.send(r#"["sync",2,{"n":2},{"id":"1","time":1},{"n":3},{"id":"2","time":2}]"#).await;
    assert_eq!(client.next().await.unwrap(), r#"["synced",2]"#);
    let held = log.entries_after(Added::ZERO, 10).await.unwrap();
    let held: Vec<_> = held.iter().map(|entry| entry.event["n"].clone()).collect();
    assert_eq!(held, [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn each_sync_is_confirmed_once_and_in_order() {
    let log = log("server").await;
    let (_server, mut client) = let_in(&log, SyncOptions::new()).await;
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

#[tokio::test(start_paused = true)]
async fn wrong_credentials_end_a_client_for_good() {
    let (client_log, server_log) = (log("10:uuid").await, log("server").await);
    let (transport, listener) = Memory::listen();
    let server = Server::new(&server_log, Json, listener)
        .options(SyncOptions::new().auth(async |login| {
            login.credentials == Some(json!({ "token": [1, null] }))
                && login.node_id.user_id() == Some("10")
        }))
        .start();
    add(&client_log, 0..1).await;
    let wrong = ClientSync::new(&client_log, Json, quick(transport.clone()))
        .options(SyncOptions::new().credentials("wrong"))
        .start();
    let error = wrong.ended().await.unwrap_err();
    assert!(matches!(*error, Error::Received(ProtocolError::WrongCredentials)), "{error}");
    assert_eq!(server_log.last_added(), Added::ZERO);

    let right = ClientSync::new(&client_log, Json, quick(transport))
        .options(SyncOptions::new().credentials(json!({ "token": [1, null] })))
        .start();
    assert!(right.wait_for(State::Synchronized).await);
    assert_eq!(server_log.last_added(), client_log.last_added());
    drop(right);
    server.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_may_check_the_server_too() {
    let (client_log, server_log) = (log("client").await, log("server").await);
    let (transport, listener) = Memory::listen();
    let _server = Server::new(&server_log, Json, listener)
        .options(SyncOptions::new().credentials("not the server"))
        .start();
    let client = ClientSync::new(&client_log, Json, quick(transport))
        .options(SyncOptions::new().auth(async |login| login.credentials == Some("server".into())))
        .start();
    add(&client_log, 0..1).await;
    let error = client.ended().await.unwrap_err();
    assert!(matches!(*error, Error::Refused(ProtocolError::WrongCredentials)), "{error}");
    assert_eq!(server_log.last_added(), Added::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_panics_ends_its_own_session() {
    let (client_log, server_log) = (log("client").await, log("server").await);
    let (transport, listener) = Memory::listen();
    let server = Server::new(&server_log, Json, listener)
        .options(SyncOptions::new().auth(async |login| {
            assert!(login.node_id.as_str() != "bad", "a bug of the user's");
            true
        }))
        .start();
    let good = ClientSync::new(&client_log, Json, transport.clone()).start();
    let mut bad = Peer::dial(&transport).await;
    bad.send(r#"["connect",7,"bad",0]"#).await;
    assert_eq!(bad.next().await, None);
    assert!(good.wait_for(State::Synchronized).await);
    drop((bad, good));
    server.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn headers_and_debug_texts_arrive() {
    let (client_log, server_log) = (log("client").await, log("server").await);
    let headers =
        |value: &str| -> Headers { [("env".to_owned(), json!(value))].into_iter().collect() };
    let (near, far) = Memory::pair();
    let server = ServerSync::new(&server_log, Json, near)
        .options(SyncOptions::new().headers(headers("server")))
        .start();
    let mut at_server = server.notices();
    let client = BaseSync::new(&client_log, Json, Role::Opener, far)
        .options(SyncOptions::new().headers(headers("client")))
        .start();
    let mut at_client = client.notices();
    let Some(Notice::Headers(got)) = at_server.next().await else { panic!() };
    assert_eq!(got, headers("client"));
    let Some(Notice::Headers(got)) = at_client.next().await else { panic!() };
    assert_eq!(got, headers("server"));
    client.set_headers(headers("new")).await;
    let Some(Notice::Headers(got)) = at_server.next().await else { panic!() };
    assert_eq!(got, headers("new"));
    server.debug("look at this").await;
    let Some(Notice::Debug(text)) = at_client.next().await else { panic!() };
    assert_eq!(text, "look at this");
}

#[tokio::test(start_paused = true)]
async fn new_headers_hold_for_the_connections_to_come() {
    let log = log("client").await;
    let headers = |n: u64| -> Headers { [("n".to_owned(), json!(n))].into_iter().collect() };
    let (transport, mut listener) = Memory::listen();
    let client = ClientSync::new(&log, Json, quick(transport))
        .options(SyncOptions::new().headers(headers(1)))
        .start();
    let mut server = Peer::accept(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["headers",{"n":1}]"#);
    assert_eq!(server.next().await.unwrap(), r#"["connect",7,"client",0]"#);
    client.set_headers(headers(2)).await;
    assert_eq!(server.next().await.unwrap(), r#"["headers",{"n":2}]"#);
    drop(server);
    let mut server = Peer::accept(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["headers",{"n":2}]"#);
    drop(server);
    assert!(client.wait_for(State::Disconnected).await);
    client.set_headers(headers(3)).await;
    let mut server = Peer::accept(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["headers",{"n":3}]"#);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_before_anybody_asks_is_not_lost() {
    let client_log = log("client").await;
    let (transport, listener) = Memory::listen();
    drop(listener);
    let client = ClientSync::new(&client_log, Json, quick(transport).attempts(2)).start();
    // To its end.
    client.states().count().await;
    assert_eq!(client.errors().count().await, 3);
    assert_eq!(client.errors().count().await, 0);
    assert!(client.ended().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn silence_is_asked_about_and_then_ended() {
    let log = log("server").await;
    let options = SyncOptions::new().ping(Duration::from_secs(20)).timeout(Duration::from_secs(5));
    let (server, mut client) = let_in(&log, options).await;
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
    drop(client);
    let error = server.ended().await.unwrap_err();
    assert!(matches!(*error, Error::Silent(limit) if limit.as_secs() == 5), "{error}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_costs_no_memory() {
    let log = log("server").await;
    let (near, far) = Memory::pair();
    let options = SyncOptions::new().no_ping();
    let _server = ServerSync::new(&log, Json, near).options(options).start();
    let mut client = Peer::new(far);
    client.send(r#"["connect",7,"client",0]"#).await;
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

#[tokio::test(start_paused = true)]
async fn a_server_that_lost_its_log_gets_it_back() {
    let client_log = log("client").await;
    let (transport, listener) = Memory::listen();
    let old_log = log("server").await;
    let server = Server::new(&old_log, Json, listener).start();
    let (relay, dialled) = relay(transport);
    let client = ClientSync::new(&client_log, Json, quick(relay)).start();
    add(&client_log, 0..50).await;
    add(&old_log, 50..100).await;
    assert!(client.wait_for(State::Synchronized).await);
    assert!(client_log.last_added() == Added::new(100).unwrap());
    server.shutdown(Duration::from_secs(10)).await;

    // Later: a node that forgets everything within a millisecond could give an id twice.
    let clock = Clock::new(|| Clock::system().now().shifted(60_000).unwrap());
    let store = Arc::new(MemoryStore::new());
    let new_log = Log::open_with("server".parse().unwrap(), store, clock).await.unwrap();
    add(&new_log, 100..103).await;
    let (transport, listener) = Memory::listen();
    let _server = Server::new(&new_log, Json, listener).start();
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
    assert!(client.wait_for(State::Synchronized).await);
    assert_eq!(events(&client_log).await.len(), 103);
    assert_eq!(events(&new_log).await, events(&client_log).await);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_lost_its_log_gets_it_back() {
    let server_log = log("server").await;
    let (transport, listener) = Memory::listen();
    let _server = Server::new(&server_log, Json, listener).start();
    let old_log = log("client").await;
    let client = ClientSync::new(&old_log, Json, transport.clone()).start();
    add(&old_log, 0..50).await;
    add(&server_log, 50..100).await;
    assert!(client.wait_for(State::Synchronized).await);
    client.close().await.unwrap();

    let new_log = log("client").await;
    let client = ClientSync::new(&new_log, Json, transport).start();
    assert!(client.wait_for(State::Synchronized).await);
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
async fn session(log: &Log<Value>, synced: u64, sync: &str, ready: u64) -> Vec<String> {
    let (near, far) = Memory::pair();
    let _server = ServerSync::new(log, Json, near).start();
    let mut client = Peer::new(far);
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

#[tokio::test(start_paused = true)]
async fn a_lost_log_is_noticed_also_if_ready_counts_what_was_received_since() {
    let log = log("server").await;
    add(&log, 0..3).await;
    let old = r#"["sync",1,{"n":100},{"id":"1","time":-1000}]"#;
    session(&log, 0, old, 1).await;
    let new = r#"["sync",1,{"n":200},{"id":"2","time":-500}]"#;
    let frames = session(&log, 0, new, 4).await;
    assert!(frames.iter().any(|frame| frame.contains(r#""n":100"#)), "{frames:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_sends_is_not_taken_for_one_that_lost_its_log() {
    let log = log("server").await;
    let first = r#"["sync",1,{"n":100},{"id":"1","time":-1000}]"#;
    session(&log, 0, first, 1).await;
    let second = r#"["sync",2,{"n":200},{"id":"2","time":-500}]"#;
    let frames = session(&log, 0, second, 2).await;
    assert!(frames.iter().all(|frame| !frame.starts_with(r#"["sync","#)), "{frames:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_starts_again_is_told_only_what_is_missing() {
    let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
    let (transport, mut listener) = Memory::listen();
    for (claimed, added) in [(0, 5), (5, 9), (9, 9)] {
        let node = "client".parse().unwrap();
        let log = Log::open_with(node, Arc::clone(&store), Clock::system()).await.unwrap();
        let client = ClientSync::new(&log, Json, transport.clone()).start();
        let mut server = Peer::accept(&mut listener).await;
        let connect = json!(["connect", 7, "client", claimed]).to_string();
        assert_eq!(server.next().await.unwrap(), connect);
        server.send(CONNECTED).await;
        server.next().await.unwrap();
        server.send(&json!(["ready", added]).to_string()).await;
        assert!(client.wait_for(State::Synchronized).await);
        drop(server);
        client.ended().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn another_node_behind_the_same_door_is_told_the_truth() {
    let client_log = log("client").await;
    let (first_log, second_log) = (log("first").await, log("second").await);
    add(&first_log, 0..50).await;
    add(&second_log, 50..110).await;
    let (transport, listener) = Memory::listen();
    let first = Server::new(&first_log, Json, listener).start();
    let (relay, dialled) = relay(transport);
    let client = ClientSync::new(&client_log, Json, quick(relay)).start();
    assert!(client.wait_for(State::Synchronized).await);
    assert_eq!(client_log.last_added().value(), 50);
    first.shutdown(Duration::from_secs(10)).await;

    // The first connection claims what was received from the other node; it is given up.
    let (transport, listener) = Memory::listen();
    let _second = Server::new(&second_log, Json, listener).start();
    dialled.send(transport).unwrap();
    let mut entries = client_log.follow(Added::ZERO);
    for _ in 0..110 {
        entries.next().await.unwrap().unwrap();
    }
    assert!(client.wait_for(State::Synchronized).await);
    assert_eq!(events(&second_log).await, events(&client_log).await);
}

/// A transport whose target can be replaced.
fn relay(first: Memory) -> (Relay, tokio::sync::watch::Sender<Memory>) {
    let (sender, target) = tokio::sync::watch::channel(first);
    (Relay { target }, sender)
}

struct Relay {
    target: tokio::sync::watch::Receiver<Memory>,
}

impl logux_sync::Transport for Relay {
    type Sender = logux_sync::transports::MemorySender;
    type Receiver = logux_sync::transports::MemoryReceiver;

    async fn open(
        &mut self,
        format: logux_sync::Format,
        max_frame: usize,
    ) -> std::io::Result<logux_sync::MemoryLink> {
        let mut target = self.target.borrow().clone();
        target.open(format, max_frame).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_has_seen_more_than_there_is_gets_everything() {
    let log = log("server").await;
    add(&log, 0..3).await;
    let (near, far) = Memory::pair();
    let server = ServerSync::new(&log, Json, near).start();
    let mut notices = server.notices();
    let mut client = Peer::new(far);
    client.send(r#"["connect",7,"client",500]"#).await;
    client.next().await.unwrap();
    assert_eq!(numbers(&client.next().await.unwrap()), [0, 1, 2]);
    assert!(matches!(notices.next().await, Some(Notice::StartedOver)));
}

#[tokio::test(start_paused = true)]
async fn a_peer_can_have_the_log_sent_again_only_once() {
    let log = log("server").await;
    add(&log, 0..3).await;
    let connect = r#"["connect",7,"client",3]"#;
    for round in 0..2 {
        let (near, far) = Memory::pair();
        let _server =
            ServerSync::new(&log, Json, near).options(SyncOptions::new().no_ping()).start();
        let mut client = Peer::new(far);
        client.send(connect).await;
        client.next().await.unwrap();
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

#[tokio::test(start_paused = true)]
async fn times_without_end_are_no_deadline() {
    let (client_log, server_log) = (log("client").await, log("server").await);
    let (near, far) = Memory::pair();
    let options =
        || SyncOptions::new().timeout(Duration::MAX).ping(Duration::MAX).batch(usize::MAX);
    add(&client_log, 0..1000).await;
    let _server = ServerSync::new(&server_log, Json, near).options(options()).start();
    let client = BaseSync::new(&client_log, Json, Role::Opener, far).options(options()).start();
    assert!(client.wait_for(State::Synchronized).await);
    assert_eq!(server_log.last_added().value(), 1000);
}

#[tokio::test(start_paused = true)]
async fn a_ping_moves_no_cursor() {
    let log = log("client").await;
    let (near, far) = Memory::pair();
    let client = BaseSync::new(&log, Json, Role::Opener, near).start();
    let mut server = Peer::new(far);
    server.next().await.unwrap();
    server.send(CONNECTED).await;
    server.next().await.unwrap();
    server.send(r#"["ready",0]"#).await;
    server.send(r#"["ping",40]"#).await;
    server.send(r#"["pong",40]"#).await;
    assert_eq!(server.next().await.unwrap(), r#"["pong",0]"#);
    assert!(client.wait_for(State::Synchronized).await);
    let cursors = log.cursors(&"server".parse().unwrap()).await.unwrap();
    assert_eq!(cursors, Cursors::default());
}

#[tokio::test(start_paused = true)]
async fn closing_sends_what_is_on_its_way_and_stores_what_has_arrived() {
    let (client_log, server_log) = (log("client").await, log("server").await);
    let (transport, listener) = Memory::listen();
    let server = Server::new(&server_log, Json, listener).start();
    let client = ClientSync::new(&client_log, Json, quick(transport)).start();
    assert!(client.wait_for(State::Synchronized).await);
    add(&client_log, 0..100).await;
    tokio::task::yield_now().await;
    client.close().await.unwrap();
    let shutdown = server.shutdown(Duration::from_secs(10)).await;
    assert_eq!(shutdown.cut, 0);
    assert_eq!(server_log.last_added(), client_log.last_added());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_ends_the_session() {
    let (client_log, server_log) = (log("client").await, log("server").await);
    let (near, far) = Memory::pair();
    let server = ServerSync::new(&server_log, Json, near).start();
    let client = BaseSync::new(&client_log, Json, Role::Opener, far).start();
    assert!(client.wait_for(State::Synchronized).await);
    drop(client);
    server.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_without_reconnect_tells_why_it_ended() {
    let client_log = log("client").await;
    let (transport, listener) = Memory::listen();
    drop(listener);
    let client = ClientSync::new(&client_log, Json, transport).start();
    let error = client.ended().await.unwrap_err();
    assert!(matches!(*error, Error::Link(_)), "{error}");
    assert_eq!(std::error::Error::source(&*error).unwrap().to_string(), "nobody listens");
}

#[tokio::test(start_paused = true)]
async fn a_server_takes_no_more_connections_than_it_may() {
    let server_log = log("server").await;
    let (transport, listener) = Memory::listen();
    let server = Server::new(&server_log, Json, listener).max_connections(2).start();
    let mut first = Peer::dial(&transport).await;
    let mut second = Peer::dial(&transport).await;
    let mut third = Peer::dial(&transport).await;
    for peer in [&mut first, &mut second, &mut third] {
        peer.send(r#"["connect",7,"client",0]"#).await;
    }
    assert!(first.next().await.is_some() && second.next().await.is_some());
    assert!(timeout(Duration::from_secs(1), third.next()).await.is_err());
    assert_eq!(server.connections(), 2);
    drop(first);
    assert!(third.next().await.is_some());
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
