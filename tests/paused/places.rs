//! A server with as many peers as it may have.

use futures_util::StreamExt;
use logux_sync::{
    Access, ClientSync, Json, Log, Memory, RunningServer, Server, Session, State, SyncOptions,
    Value,
};
use tokio::time::{sleep, timeout};

use crate::world::{FAREWELL, Peer, log, options, quick, seconds};

const REFUSAL: &str = r#"["error","too-many-connections","all places are taken, and no user"#;
const DISPLACED: &str = r#"["error","too-many-connections","all places are taken, and another"#;

async fn server(options: SyncOptions<Value>, places: usize) -> (Log<Value>, Memory, RunningServer) {
    let (log, _) = log("server").await;
    let (memory, listener) = Memory::listen();
    let server = Server::new(&log, Json, listener).options(options).max_connections(places);
    (log, memory, server.start())
}

fn with_auth() -> SyncOptions<Value> {
    options().ping(None).auth(async |_| true)
}

/// A peer that has introduced itself, and the answer.
async fn come(memory: &Memory, name: &str) -> (Peer, String) {
    let mut peer = Peer::dial(memory).await;
    peer.send(&format!(r#"["connect",7,"{name}",0]"#)).await;
    let answer = peer.next().await.unwrap();
    (peer, answer)
}

async fn let_in(memory: &Memory, name: &str) -> Peer {
    let (peer, answer) = come(memory, name).await;
    assert!(answer.starts_with(r#"["connected","#), "{name}: {answer}");
    peer
}

async fn refused(memory: &Memory, name: &str) {
    let (mut peer, answer) = come(memory, name).await;
    assert!(answer.starts_with(REFUSAL), "{name}: {answer}");
    assert_eq!(peer.next().await, None);
}

async fn displaced(peer: &mut Peer) {
    loop {
        match peer.next().await {
            Some(frame) if frame.starts_with(DISPLACED) => break,
            frame => assert!(frame.is_some(), "it is told why"),
        }
    }
    assert_eq!(peer.next().await, None);
}

/// The nodes that are here.
fn here(server: &RunningServer) -> Vec<String> {
    let peers = server.sessions().into_iter().filter_map(|session| session.peer());
    let mut names: Vec<_> = peers.map(|peer| peer.node_id.to_string()).collect();
    names.sort();
    names
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_gets_a_place_of_the_user_with_most_connections() {
    let (_, memory, server) = server(with_auth(), 5).await;
    let mut other = let_in(&memory, "11:a").await;
    let mut many = Vec::new();
    for name in ["10:a", "10:b", "10:c", "10:d"] {
        many.push(let_in(&memory, name).await);
    }
    // The own user holds most, so that it would only change one of its connections for another.
    refused(&memory, "10:e").await;
    let _third = let_in(&memory, "12:a").await;
    displaced(&mut many[0]).await;
    let _second = let_in(&memory, "11:b").await;
    displaced(&mut many[1]).await;
    // Users 10 and 11 hold two each: neither gives one to the other.
    refused(&memory, "11:c").await;
    refused(&memory, "10:a").await;
    // To the user with one they would give one for a moment, and take it back.
    refused(&memory, "12:b").await;
    let _fourth = let_in(&memory, "13:a").await;
    // Of two users with equally many, the one whose oldest connection is older.
    displaced(&mut other).await;
    sleep(2 * FAREWELL).await;
    assert_eq!(here(&server), ["10:c", "10:d", "11:b", "12:a", "13:a"]);
}

/// Its device has changed networks, and the server has not noticed.
#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_gets_its_own_place() {
    let (_, memory, server) = server(with_auth(), 2).await;
    let mut first = let_in(&memory, "10:a").await;
    let _other = let_in(&memory, "11:a").await;
    refused(&memory, "10:b").await;
    let _again = let_in(&memory, "10:a").await;
    displaced(&mut first).await;
    sleep(2 * FAREWELL).await;
    assert_eq!(here(&server), ["10:a", "11:a"]);
}

#[tokio::test(start_paused = true)]
async fn relays_are_no_user_together() {
    let relays = options().ping(None).auth(async |login| {
        if login.user_id() == Some("backbone") { Access::relay() } else { Access::client() }
    });
    let (_, memory, server) = server(relays, 3).await;
    let names = ["backbone:berlin", "backbone:paris", "backbone:rome"];
    let mut peers = Vec::new();
    for name in names {
        peers.push(let_in(&memory, name).await);
    }
    refused(&memory, "10:a").await;
    assert_eq!(here(&server), names);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_given_up_is_free() {
    let (_, memory, server) = server(with_auth(), 2).await;
    let first = let_in(&memory, "10:a").await;
    let _second = let_in(&memory, "11:a").await;
    refused(&memory, "12:a").await;
    drop(first);
    sleep(seconds(1)).await;
    let _third = let_in(&memory, "12:a").await;
    assert_eq!(here(&server), ["11:a", "12:a"]);
}

#[tokio::test(start_paused = true)]
async fn names_that_nobody_has_proved_are_no_users() {
    let (_, memory, _server) = server(options().ping(None), 2).await;
    let _peers = [let_in(&memory, "10:a").await, let_in(&memory, "10:b").await];
    refused(&memory, "11:a").await;
}

#[tokio::test(start_paused = true)]
async fn a_user_is_the_same_in_all_logs() {
    let logs = [log("server:oak").await.0, log("server:elm").await.0];
    let options = options().ping(None).auth(move |login| {
        let log = &logs[usize::from(login.node_id.as_str().ends_with('b'))];
        std::future::ready(Access::client().log(log.clone()))
    });
    let (_, memory, _server) = server(options, 2).await;
    let mut first = let_in(&memory, "10:a").await;
    let _second = let_in(&memory, "10:b").await;
    let _third = let_in(&memory, "11:b").await;
    displaced(&mut first).await;
}

#[tokio::test(start_paused = true)]
async fn strangers_take_no_places() {
    let (_, memory, _server) = server(with_auth(), 1).await;
    let mut strangers = Vec::new();
    for _ in 0..10 {
        strangers.push(Peer::dial(&memory).await);
    }
    let _first = let_in(&memory, "10:a").await;
}

/// Both the client that loses its place and the one that gets none come back when there is room.
#[tokio::test(start_paused = true)]
async fn clients_come_back() {
    let (there, memory, server) = server(with_auth(), 2).await;
    let connect =
        |log: &Log<Value>| -> Session { ClientSync::new(log, Json, quick(memory.clone())).start() };
    let logs = [log("10:a").await.0, log("10:b").await.0, log("11:a").await.0, log("12:a").await.0];
    let mut sessions = Vec::new();
    for log in &logs {
        let session = connect(log);
        let _ = timeout(seconds(1), session.wait_for(State::Synchronized)).await;
        sessions.push(session);
    }
    assert_eq!(here(&server), ["10:b", "11:a"]);
    let errors = sessions[0].errors().take(1).collect::<Vec<_>>().await;
    assert!(errors[0].is_transient() && errors[0].to_string().contains("answered with an error"));
    crate::world::add(&logs[0], 0..3).await;
    drop((sessions.remove(1), sessions.remove(1)));
    sleep(seconds(5)).await;
    assert_eq!(here(&server), ["10:a", "12:a"]);
    assert_eq!(there.last_added().value(), 3);
}
