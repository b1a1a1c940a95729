//! Who answers where a node dials, and what it is told: names that change, roles that change, the own name.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{FutureExt, StreamExt};
use logux_sync::{
    Access, BaseSync, ClientSync, Error, Json, Memory, Misbehaviour, Role, Server, Session, State,
    SyncOptions, Value,
};
use serde_json::json;
use tokio::time::sleep;

use crate::world::{
    AGES, AnyListener, CONNECT, CONNECTED, Peer, add, held, log, numbers, options, patient, quick,
    seconds, taking,
};

fn named() -> SyncOptions<Value> {
    options().peer_name("server".parse().unwrap())
}

/// A node without an epoch, as JavaScript nodes are. It answers by this name, sends what it is told to, and
/// confirms what it gets up to a position. Answers what the client said first and the numbers that it sent.
async fn play(
    listener: &mut impl AnyListener,
    name: &str,
    says: &[&str],
    up_to: u64,
) -> (Peer, String, Vec<u64>) {
    let mut peer = Peer::accept(listener).await;
    let mut connect = peer.next().await.unwrap();
    let answer = CONNECTED.replace("server", name);
    peer.send(&answer).await;
    for frame in says {
        peer.send(frame).await;
    }
    let mut sent = Vec::new();
    let confirmed = format!(r#"["ready",{up_to}]"#);
    loop {
        let Some(frame) = peer.next().await else {
            // It expected another node, and dials again.
            assert!(sent.is_empty(), "{sent:?}");
            peer = Peer::accept(listener).await;
            connect = peer.next().await.unwrap();
            peer.send(&answer).await;
            for frame in says {
                peer.send(frame).await;
            }
            continue;
        };
        let message: Value = serde_json::from_str(&frame).unwrap();
        if message[0] == "sync" {
            sent.extend(numbers(&message));
            peer.send(&format!(r#"["synced",{}]"#, message[1])).await;
        }
        if frame == confirmed {
            return (peer, connect, sent);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_change_their_name_are_one_peer_under_peer_name() {
    let (here, _) = log("10:client").await;
    add(&here, 0..3).await;
    let (memory, mut listener) = Memory::listen();
    let client = ClientSync::new(&here, Json, quick(memory)).options(named()).start();
    let sync = r#"["sync",2,{"n":10},{"id":"1","time":1},{"n":11},{"id":"2","time":2}]"#;
    let says = [sync, r#"["ready",2]"#];
    let (peer, connect, sent) = play(&mut listener, "server:abc", &says, 3).await;
    assert_eq!(connect, r#"["connect",7,"10:client",0]"#);
    assert_eq!(sent, [0, 1, 2]);
    client.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(client.peer().unwrap().node_id.as_str(), "server");
    peer.hang_up().await;
    add(&here, 3..4).await;
    // It has come further by itself, with other events.
    let says = [r#"["sync",3,{"n":12},{"id":"3","time":3}]"#, r#"["ready",3]"#];
    let (_peer, connect, sent) = play(&mut listener, "server:xyz", &says, 6).await;
    assert_eq!(connect, r#"["connect",7,"10:client",0]"#);
    assert_eq!(sent, [3], "nothing travels again");
    client.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(held(&here).await, [0, 1, 2, 3, 10, 11, 12]);
    // Ids are of those that gave them, and what came is of the one peer.
    let entries = here.entries_after(logux_sync::Added::ZERO, 10).await.unwrap();
    let mut of = entries.iter().filter_map(|entry| {
        Some((entry.meta.id.node().to_string(), entry.meta.source.as_ref()?.to_string()))
    });
    let names = ["server:abc", "server:abc", "server:xyz"];
    assert!(of.by_ref().eq(names.map(|name| (name.to_owned(), "server".to_owned()))));
}

/// As a `@logux/server` does, whose log is gone with it.
#[tokio::test(start_paused = true)]
async fn a_node_that_counts_anew_under_peer_name_is_not_sent_what_was_confirmed() {
    let (here, _) = log("10:client").await;
    add(&here, 0..3).await;
    let (memory, mut listener) = Memory::listen();
    let client = ClientSync::new(&here, Json, quick(memory)).options(named()).start();
    let sync = r#"["sync",9,{"n":10},{"id":"1","time":1}]"#;
    let (peer, ..) = play(&mut listener, "server:abc", &[sync, r#"["ready",9]"#], 3).await;
    client.wait_for(State::Synchronized).await.unwrap();
    peer.hang_up().await;
    // It has the same name, and an event already: the claim of the client is too high for it.
    add(&here, 3..4).await;
    let sync = r#"["sync",1,{"n":11},{"id":"7","time":1}]"#;
    let mut peer = Peer::accept(&mut listener).await;
    assert_eq!(peer.next().await.unwrap(), r#"["connect",7,"10:client",9]"#);
    peer.send(&CONNECTED.replace("server", "server:abc")).await;
    peer.send(r#"["ready",1]"#).await;
    peer.rest().await;
    let says = [sync, r#"["ready",1]"#];
    let (_peer, connect, sent) = play(&mut listener, "server:abc", &says, 5).await;
    assert_eq!(connect, r#"["connect",7,"10:client",0]"#);
    assert_eq!(sent, [3]);
    client.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(held(&here).await, [0, 1, 2, 3, 10, 11]);
}

#[tokio::test(start_paused = true)]
async fn without_peer_name_another_name_is_another_peer() {
    let (here, _) = log("10:client").await;
    add(&here, 0..3).await;
    let (memory, mut listener) = Memory::listen();
    let client = ClientSync::new(&here, Json, quick(memory)).start();
    let (peer, ..) = play(&mut listener, "server:abc", &[r#"["ready",0]"#], 3).await;
    client.wait_for(State::Synchronized).await.unwrap();
    peer.hang_up().await;
    let (_peer, connect, sent) = play(&mut listener, "server:xyz", &[r#"["ready",0]"#], 3).await;
    assert_eq!(connect, r#"["connect",7,"10:client",0]"#);
    assert_eq!(sent, [0, 1, 2]);
}

/// `left` dials, then is dialled, then dials again.
#[tokio::test(start_paused = true)]
async fn nothing_travels_again_where_roles_change() {
    let ((left, _), (right, _)) = (log("left").await, log("right").await);
    let relay = || options().auth(async |_| Access::relay());
    add(&left, 0..100).await;
    add(&right, 100..200).await;
    let serve = |log| {
        let (memory, listener) = Memory::listen();
        (memory, Server::new(log, Json, listener).options(relay()).start())
    };
    let travelled = |session: &Session| {
        let diagnostics = session.diagnostics();
        diagnostics.events_sent + diagnostics.events_received
    };
    for (round, (from, to)) in
        [(&left, &right), (&right, &left), (&left, &right), (&right, &left)].iter().enumerate()
    {
        let (memory, _server) = serve(to);
        // Dials again at once where it has to.
        let client = ClientSync::new(from, Json, patient(memory)).options(relay()).start();
        let (time, reached) = taking(client.wait_for(State::Synchronized)).await;
        reached.unwrap();
        assert!(time < AGES);
        sleep(seconds(1)).await;
        let before = if round == 0 { 200 } else { 0 };
        assert_eq!(travelled(&client), before, "round {round}");
        // What each has of the other comes last in turn.
        let n = 1000 + 10 * round as u64;
        add(from, n..n + 1).await;
        sleep(seconds(1)).await;
        add(to, n + 1..n + 3).await;
        sleep(seconds(1)).await;
        assert_eq!(travelled(&client), before + 3, "round {round}");
        let mut errors = client.errors();
        client.close().await.unwrap();
        while let Some(error) = errors.next().await {
            let is_first = round == 1 && matches!(&*error, Error::AnotherNode { .. });
            assert!(is_first, "round {round}: {error}");
        }
    }
    assert_eq!(held(&left).await, held(&right).await);
    assert_eq!(held(&left).await.len(), 212);
}

/// It cannot dial again, and does not know who will answer.
#[tokio::test(start_paused = true)]
async fn a_link_that_is_given_goes_on_where_it_was_under_peer_name() {
    let ((here, _), (there, _)) = (log("10:client").await, log("server:abc").await);
    add(&there, 0..100).await;
    for received in [100, 0] {
        let (near, far) = Memory::pair();
        let _server = BaseSync::new(&there, Json, Role::Acceptor, far).start();
        let options = options().peer_name(there.node_id().clone());
        let client = BaseSync::new(&here, Json, Role::Opener, near).options(options).start();
        sleep(seconds(1)).await;
        assert_eq!(client.diagnostics().events_received, received);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_with_this_nodes_own_name_is_refused_and_named() {
    for (name, options) in [
        ("10:client", options()),
        ("10:client", named()),
        // What is said of the peer counts, too.
        ("server", options().peer_name("10:client".parse().unwrap())),
    ] {
        let (here, _) = log("10:client").await;
        let (memory, mut listener) = Memory::listen();
        let client = ClientSync::new(&here, Json, quick(memory)).options(options).start();
        let mut peer = Peer::accept(&mut listener).await;
        peer.next().await.unwrap();
        peer.send(&CONNECTED.replace("server", name)).await;
        let told = peer.rest().await.pop().unwrap();
        assert!(told.starts_with(r#"["error","wrong-format","it calls itself"#), "{told}");
        let error = client.ended().await.unwrap_err();
        assert!(!error.is_transient());
        let Error::Peer(Misbehaviour::SameNode(node)) = &*error else { panic!("{error}") };
        assert_eq!(node, here.node_id());
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_look_under_way_does_not_send_all_to_a_node_that_counts_anew() {
    let (here, _) = log("10:client").await;
    add(&here, 0..3).await;
    let opens = Arc::new(AtomicBool::new(false));
    let is_open = Arc::clone(&opens);
    let options = options().peer_name("server".parse().unwrap()).out_filter(move |entry, _| {
        ready(Ok(entry.event["n"] != 0 || is_open.load(Ordering::Relaxed)))
    });
    let (memory, mut listener) = Memory::listen();
    let client = ClientSync::new(&here, Json, quick(memory)).options(options).start();
    let mut peer = Peer::accept(&mut listener).await;
    peer.next().await;
    peer.send(&CONNECTED.replace("server", "server:abc")).await;
    peer.send(r#"["sync",9,{"n":10},{"id":"1","time":1}]"#).await;
    peer.send(r#"["ready",9]"#).await;
    let (up_to, first) = peer.next_sync().await;
    assert_eq!(first, [1, 2]);
    peer.send(&format!(r#"["synced",{up_to}]"#)).await;
    sleep(seconds(1)).await;
    peer.hang_up().await;
    opens.store(true, Ordering::Relaxed);
    client.reevaluate().await;
    let mut peer = Peer::accept(&mut listener).await;
    assert_eq!(peer.next().await.unwrap(), r#"["connect",7,"10:client",9]"#);
    peer.send(&CONNECTED.replace("server", "server:abc")).await;
    peer.send(r#"["ready",1]"#).await;
    let rest = peer.rest().await;
    let mut peer = Peer::accept(&mut listener).await;
    assert_eq!(peer.next().await.unwrap(), r#"["connect",7,"10:client",0]"#);
    peer.send(&CONNECTED.replace("server", "server:abc")).await;
    peer.send(r#"["ready",1]"#).await;
    let (_, sent) = peer.next_sync().await;
    assert_eq!(sent, [0], "{rest:?}");
}

/// A server that starts again and counted further than before.
#[tokio::test(start_paused = true)]
async fn what_a_node_has_comes_whichever_node_was_there_before() {
    let (here, _) = log("10:client").await;
    let named = SyncOptions::new().peer_name("server".parse().unwrap());
    let (memory, mut listener) = Memory::listen();
    let client = ClientSync::new(&here, Json, quick(memory)).options(named).start();
    let mut claims = Vec::new();
    // What each server has: two events, then, after a start, five others. It is dialled once more, as it was
    // not expected.
    for (name, last) in [("server:abc", 2), ("server:xyz", 0), ("server:xyz", 5)] {
        let mut peer = Peer::accept(&mut listener).await;
        let connect: Value = serde_json::from_str(&peer.next().await.unwrap()).unwrap();
        let claim = connect[3].as_u64().unwrap();
        claims.push(claim);
        peer.send(&CONNECTED.replace("server", name)).await;
        for n in claim + 1..=last {
            let frame =
                json!(["sync", n, { "n": n + last * 10 }, { "id": n.to_string(), "time": n }]);
            peer.send(&frame.to_string()).await;
        }
        peer.send(&format!(r#"["ready",{last}]"#)).await;
        sleep(seconds(1)).await;
        peer.hang_up().await;
    }
    drop(client);
    assert_eq!(held(&here).await, [21, 22, 51, 52, 53, 54, 55], "{claims:?}");
}

#[tokio::test(start_paused = true)]
async fn peer_name_is_for_nodes_that_are_dialled() {
    for named in [false, true] {
        let ((here, _), (there, _)) = (log("hub").await, log("server").await);
        add(&there, 0..3).await;
        let with = || {
            if named { options().peer_name("server".parse().unwrap()) } else { options() }
        };
        {
            let (memory, listener) = Memory::listen();
            let _server = Server::new(&there, Json, listener).start();
            let session = ClientSync::new(&here, Json, quick(memory)).options(with()).start();
            session.wait_for(State::Synchronized).await.unwrap();
            session.close().await.unwrap();
        }
        let (memory, listener) = Memory::listen();
        let _server = Server::new(&here, Json, listener).options(with()).start();
        for epoch in ["00000000000000aa", "00000000000000bb"] {
            let mut peer = Peer::dial(&memory).await;
            peer.send(&format!(r#"["headers",{{"log-epoch":"{epoch}"}}]"#)).await;
            peer.send(CONNECT).await;
            let answer = peer.next().await;
            assert!(answer.is_some(), "hung up; named {named}, epoch {epoch}");
            peer.hang_up().await;
            sleep(seconds(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_travels_again_from_a_node_that_is_dialled_now_and_then() {
    let ((here, _), (one, _), (other, _)) =
        (log("10:client").await, log("server:1").await, log("server:2").await);
    add(&one, 0..100).await;
    add(&other, 100..105).await;
    let mut received = Vec::new();
    for there in [&one, &other, &one, &other] {
        let (memory, listener) = Memory::listen();
        let _server =
            Server::new(there, Json, listener).options(options().auth(async |_| true)).start();
        let client = ClientSync::new(&here, Json, patient(memory)).start();
        client.wait_for(State::Synchronized).await.unwrap();
        sleep(seconds(1)).await;
        received.push(client.diagnostics().events_received);
        client.close().await.unwrap();
    }
    assert_eq!(received, [100, 5, 0, 0]);
}

/// Each knows whom it reached last, whichever of them dialled last.
#[tokio::test(start_paused = true)]
async fn sessions_of_one_log_do_not_spoil_each_others_claims() {
    let (here, _) = log("10:client").await;
    let mut servers = Vec::new();
    for number in 1..=3 {
        let (there, _) = log(&format!("server:{number}")).await;
        add(&there, 100 * number..100 * number + 10 * number).await;
        let (memory, listener) = Memory::listen();
        let server = Server::new(&there, Json, listener).start();
        servers.push((there, server, ClientSync::new(&here, Json, quick(memory)).start()));
    }
    sleep(seconds(1)).await;
    let received = async || {
        let mut received = 0;
        for (.., client) in &servers {
            client.wait_for(State::Synchronized).await.unwrap();
            received += client.diagnostics().events_received;
        }
        received
    };
    let before = received().await;
    // A first connection may expect the node that another session has reached.
    let mut errors: Vec<_> = servers.iter().map(|(.., client)| client.errors()).collect();
    for errors in &mut errors {
        while errors.next().now_or_never().is_some() {}
    }
    for _ in 0..3 {
        for (_, server, _) in &servers {
            for session in server.sessions() {
                session.abort();
            }
        }
        sleep(seconds(5)).await;
    }
    assert_eq!(received().await, before);
    for ((.., client), mut errors) in servers.into_iter().zip(errors) {
        client.close().await.unwrap();
        while let Some(error) = errors.next().await {
            assert!(!matches!(*error, Error::AnotherNode { .. }), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_received_again_when_a_peer_gets_a_name() {
    let ((here, _), (there, _)) = (log("10:client").await, log("server:abc").await);
    add(&there, 0..50).await;
    for (options, received) in [(options(), 50), (named(), 0), (options(), 0), (named(), 0)] {
        let (memory, listener) = Memory::listen();
        let _server = Server::new(&there, Json, listener).start();
        let client = ClientSync::new(&here, Json, patient(memory)).options(options).start();
        client.wait_for(State::Synchronized).await.unwrap();
        sleep(seconds(1)).await;
        assert_eq!(client.diagnostics().events_received, received);
        let mut errors = client.errors();
        client.close().await.unwrap();
        assert!(errors.next().await.is_none());
    }
}
