//! What an operator ends: one session, those of a node, those of a user, with a reason.

use std::future::pending;

use futures_util::StreamExt;
use logux_sync::{ClientSync, Error, Json, Memory, Server, State};
use tokio::time::sleep;

use crate::gate::Gate;
use crate::world::{CONNECT, Peer, add, held, log, milliseconds, options, quick, seconds, taking};

fn reason(error: &Error) -> String {
    assert!(error.is_transient());
    let Error::Received(told) = error else { panic!("{error}") };
    assert_eq!(told.kind(), "closed");
    told.options().as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_with_a_reason_that_the_peer_sees_and_the_client_comes_back() {
    let ((here, _), (there, _)) = (log("10:client").await, log("server").await);
    let (memory, listener) = Memory::listen();
    let server = Server::new(&there, Json, listener).start();
    let client = ClientSync::new(&here, Json, quick(memory)).start();
    let mut errors = client.errors();
    client.wait_for(State::Synchronized).await.unwrap();
    let handle = server.sessions().pop().unwrap();
    let (time, result) = taking(handle.close_with("maintenance")).await;
    result.unwrap();
    assert_eq!(time, milliseconds(0));
    assert_eq!(reason(&errors.next().await.unwrap()), "maintenance");
    add(&here, 0..2).await;
    client.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(held(&there).await, [0, 1]);
    // Without a reason it is a close like any other.
    server.sessions().pop().unwrap().close().await.unwrap();
    client.wait_for(State::Disconnected).await.unwrap();
    client.wait_for(State::Synchronized).await.unwrap();
    client.close().await.unwrap();
    assert!(errors.next().await.is_none(), "it was no error");
}

#[tokio::test(start_paused = true)]
async fn a_long_reason_is_cut_between_characters() {
    let (there, _) = log("server").await;
    let (memory, listener) = Memory::listen();
    let server = Server::new(&there, Json, listener).start();
    let mut peer = Peer::dial(&memory).await;
    peer.send(CONNECT).await;
    peer.next().await.unwrap();
    assert_eq!(server.close_user("10", "é".repeat(10_000)), 1);
    let last = peer.rest().await.pop().unwrap();
    assert_eq!(last, format!(r#"["error","closed","{}"]"#, "é".repeat(256)));
}

#[tokio::test(start_paused = true)]
async fn the_sessions_of_a_node_or_user_end_also_those_that_are_being_let_in() {
    let (there, store) = log("server").await;
    let (memory, listener) = Memory::listen();
    let auth = options()
        .farewell(seconds(1))
        .auth(async |login| if login.tab_id() == Some("slow") { pending().await } else { true });
    let server = Server::new(&there, Json, listener).options(auth).start();
    let mut peers = Vec::new();
    for name in ["10:a:1", "10:a:slow", "10:b:1", "11:a:1", "10"] {
        let mut peer = Peer::dial(&memory).await;
        peer.send(&format!(r#"["connect",7,"{name}",0]"#)).await;
        peers.push(peer);
    }
    // One has not said its name.
    let mut nameless = Peer::dial(&memory).await;
    sleep(seconds(1)).await;
    assert_eq!(server.connections(), 6);
    assert_eq!(server.close_node(&"12:a:1".parse().unwrap(), "no"), 0);
    assert_eq!(server.close_user("1", "no"), 0);
    assert_eq!(server.close_node(&"10:b:1".parse().unwrap(), "a node"), 1);
    assert_eq!(peers.remove(2).rest().await.pop().unwrap(), r#"["error","closed","a node"]"#);
    // Also where the store is stuck.
    store.set(Gate::Stuck);
    for peer in &mut peers {
        peer.send(r#"["sync",1,{"n":1},{"id":"1","time":1}]"#).await;
    }
    sleep(milliseconds(1)).await;
    assert_eq!(server.close_user("10", "a user"), 2, "the other one is gone");
    let (time, ()) = taking(async {
        for peer in [0, 1] {
            assert_eq!(peers[peer].rest().await.pop().unwrap(), r#"["error","closed","a user"]"#);
        }
    })
    .await;
    assert!(time <= seconds(1), "{time:?}");
    drop(peers.drain(..2));
    sleep(seconds(1)).await;
    assert_eq!(server.connections(), 3);
    store.set(Gate::Open);
    assert_eq!(server.close_user("10", "a user"), 0);
    nameless.send(CONNECT).await;
    assert!(nameless.next().await.unwrap().starts_with(r#"["connected""#), "a later one comes in");
}
