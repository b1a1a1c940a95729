//! What became of one event for one peer.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join;
use logux_sync::{
    Added, ClientSync, Clock, Draft, EventId, Json, Log, Memory, NoReceipt, NodeId, Prefix,
    Receipt, ReceiptError, Server, State, Store, Value,
};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::gate::Gate;
use crate::world::{
    AGES, CONNECT, CONNECTED, Peer, add, log, milliseconds, options, quick, seconds,
};

const EPOCH: &str = r#"["headers",{"log-epoch":"00000000000000aa"}]"#;

fn client() -> NodeId {
    "10:client".parse().unwrap()
}

/// The identity of the log in a store.
async fn epoch(store: &impl Store<Value>) -> String {
    store.records(&Prefix::new("epoch"), None, 1).await.unwrap().pop().unwrap().1
}

#[tokio::test(start_paused = true)]
async fn a_receipt_waits_for_the_peer_on_both_sides() {
    let ((here, _), (there, _)) = (log("10:client").await, log("server").await);
    let of_server = there.add(json!({ "n": 1 })).await.unwrap();
    let of_client = here.add(json!({ "n": 2 })).await.unwrap();
    // There was no session with the client yet.
    let client = client();
    let mut at_server = Box::pin(there.receipt(&client, &of_server.meta.id));
    assert!(timeout(AGES, &mut at_server).await.is_err());
    let (memory, listener) = Memory::listen();
    let session = ClientSync::new(&here, Json, quick(memory)).start();
    let mut at_client = Box::pin(session.receipt(&of_client.meta.id));
    assert!((&mut at_client).now_or_never().is_none());
    let _server = Server::new(&there, Json, listener).start();
    assert_eq!(at_client.await.unwrap(), Receipt::Confirmed);
    assert_eq!(at_server.await.unwrap(), Receipt::Confirmed);
    // What is confirmed is known at once, also for what each has of the other.
    for id in [&of_client.meta.id, &of_server.meta.id] {
        let answer = there.receipt(&client, id).now_or_never().unwrap();
        assert_eq!(answer.unwrap(), Receipt::Confirmed);
        let answer = session.receipt(id).now_or_never().unwrap();
        assert_eq!(answer.unwrap(), Receipt::Confirmed);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_is_not_confirmed_yet() {
    let (there, _) = log("server").await;
    let entry = there.add(json!({ "n": 1 })).await.unwrap();
    let (memory, listener) = Memory::listen();
    let server = Server::new(&there, Json, listener).start();
    let mut peer = Peer::dial(&memory).await;
    peer.send(CONNECT).await;
    while !peer.next().await.unwrap().starts_with(r#"["sync""#) {}
    let session = server.sessions().pop().unwrap();
    let mut receipt = Box::pin(session.receipt(&entry.meta.id));
    assert!(timeout(seconds(1), &mut receipt).await.is_err());
    peer.send(r#"["synced",1]"#).await;
    assert_eq!(receipt.await.unwrap(), Receipt::Confirmed);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_says_why_an_event_does_not_come() {
    let ((here, _), (there, _)) = (log("10:client").await, log("server").await);
    let secret = there.add(json!({ "is": "secret" })).await.unwrap();
    let open = there.add(json!({ "is": "open" })).await.unwrap();
    let foreign = Draft::new(json!({ "is": "foreign" })).id("1 20:other".parse().unwrap());
    let foreign = here.add(foreign).await.unwrap();
    let (memory, listener) = Memory::listen();
    let out = options().out_filter(async |entry, _| Ok(entry.event["is"] != "secret"));
    let _server = Server::new(&there, Json, listener).options(out).start();
    let session = ClientSync::new(&here, Json, quick(memory)).start();
    let at_server = async |id| timeout(AGES, there.receipt(&client(), id)).await.unwrap().unwrap();
    assert_eq!(at_server(&open.meta.id).await, Receipt::Confirmed);
    assert_eq!(at_server(&secret.meta.id).await, Receipt::Withheld);
    let refused = session.receipt(&foreign.meta.id).await.unwrap();
    let Receipt::HeldBack(refused) = refused else { panic!("{refused:?}") };
    assert_eq!(refused.id, foreign.meta.id);
    assert!(refused.reason.contains("another client"), "{}", refused.reason);
    // The peer brought it.
    let brought = here.add(json!({ "is": "brought" })).await.unwrap();
    session.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(at_server(&brought.meta.id).await, Receipt::Confirmed);
    let unknown: EventId = "7 10:client".parse().unwrap();
    let error = session.receipt(&unknown).await.unwrap_err();
    let NoReceipt::Log(ReceiptError::NotInLog(id)) = error else { panic!("{error}") };
    assert_eq!(id, unknown);
}

/// The reason is noted in the store, which may take its time.
#[tokio::test(start_paused = true)]
async fn a_receipt_does_not_overtake_the_reason() {
    let ((here, gate), (there, _)) = (log("10:client").await, log("server").await);
    let (memory, listener) = Memory::listen();
    let _server = Server::new(&there, Json, listener).start();
    let session = ClientSync::new(&here, Json, quick(memory)).start();
    session.wait_for(State::Synchronized).await.unwrap();
    let foreign = Draft::new(json!({ "n": 1 })).id("1 20:other".parse().unwrap());
    gate.set(Gate::NotesNothing);
    let foreign = here.add(foreign).await.unwrap();
    let mut receipt = Box::pin(session.receipt(&foreign.meta.id));
    let early = timeout(milliseconds(100), &mut receipt).await;
    assert!(early.is_err(), "{early:?}");
    gate.set(Gate::Open);
    assert!(matches!(receipt.await.unwrap(), Receipt::HeldBack(_)));
}

#[tokio::test(start_paused = true)]
async fn a_receipt_ends_with_its_session_and_goes_on_over_its_connections() {
    let ((here, _), (there, _)) = (log("10:client").await, log("server").await);
    let (memory, mut listener) = Memory::listen();
    let session = ClientSync::new(&here, Json, quick(memory)).start();
    let entry = here.add(json!({ "n": 1 })).await.unwrap();
    let receipt = session.receipt(&entry.meta.id);
    // The first one does not confirm, and another node answers then.
    let mut first = Peer::accept(&mut listener).await;
    first.send(CONNECTED).await;
    while !first.next().await.unwrap().starts_with(r#"["sync""#) {}
    first.hang_up().await;
    let other = CONNECTED.replace("server", "other");
    let play = async {
        let mut second = Peer::accept(&mut listener).await;
        second.send(&other).await;
        while !second.next().await.unwrap().starts_with(r#"["sync""#) {}
        second.send(r#"["synced",1]"#).await;
        second
    };
    let (receipt, _second) = join(receipt, play).await;
    assert_eq!(receipt.unwrap(), Receipt::Confirmed);
    let of_first = "server".parse().unwrap();
    assert!(timeout(AGES, here.receipt(&of_first, &entry.meta.id)).await.is_err());

    let entry = here.add(json!({ "n": 2 })).await.unwrap();
    let receipt = session.receipt(&entry.meta.id);
    let (receipt, closed) = join(receipt, session.close_with("enough")).await;
    closed.unwrap();
    assert!(matches!(receipt, Err(NoReceipt::Ended(_))), "{receipt:?}");
    drop(there);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_did_is_not_guessed() {
    let ((here, store), (there, _)) = (log("10:client").await, log("server").await);
    let before = here.add(json!({ "n": 1 })).await.unwrap();
    let (memory, listener) = Memory::listen();
    let _server = Server::new(&there, Json, listener).start();
    let session = ClientSync::new(&here, Json, quick(memory.clone())).start();
    assert_eq!(session.receipt(&before.meta.id).await.unwrap(), Receipt::Confirmed);
    session.close().await.unwrap();
    // The program starts again.
    let node = here.node_id().clone();
    drop(here);
    let here = Log::open_with(node, Arc::new(store), Clock::system()).await.unwrap();
    let receipt = async |id| here.receipt(there.node_id(), id).await.unwrap();
    assert_eq!(receipt(&before.meta.id).await, Receipt::Passed);
    let session = ClientSync::new(&here, Json, quick(memory)).start();
    let after = here.add(json!({ "n": 2 })).await.unwrap();
    assert_eq!(session.receipt(&after.meta.id).await.unwrap(), Receipt::Confirmed);
    assert_eq!(receipt(&before.meta.id).await, Receipt::Passed);
}

/// A client that fails over claims what it has of another server, and hangs up when it sees who answered.
#[tokio::test(start_paused = true)]
async fn a_claim_about_another_log_confirms_nothing() {
    let (there, _) = log("server").await;
    add(&there, 0..3).await;
    let (memory, listener) = Memory::listen();
    let _server =
        Server::new(&there, Json, listener).options(options().auth(async |_| true)).start();
    let mut peer = Peer::dial(&memory).await;
    peer.send(EPOCH).await;
    peer.send(CONNECT).await;
    peer.next_sync().await;
    peer.send(r#"["synced",3]"#).await;
    sleep(seconds(1)).await;
    peer.hang_up().await;
    sleep(seconds(1)).await;
    add(&there, 3..10).await;
    let last = there.entries_after(Added::ZERO, 100).await.unwrap().pop().unwrap();
    let mut receipt = Box::pin(async { there.receipt(&client(), &last.meta.id).await });
    assert!(timeout(seconds(1), &mut receipt).await.is_err());
    let mut peer = Peer::dial(&memory).await;
    peer.send(EPOCH).await;
    peer.send(r#"["connect",7,"10:client",10]"#).await;
    assert!(peer.next().await.unwrap().starts_with(r#"["connected""#));
    peer.hang_up().await;
    let early = timeout(seconds(1), &mut receipt).await;
    let mut peer = Peer::dial(&memory).await;
    peer.send(EPOCH).await;
    peer.send(r#"["connect",7,"10:client",3]"#).await;
    let sent = peer.next_sync().await;
    assert!(early.is_err(), "{early:?}, and then it is sent {sent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_begins_anew_takes_nothing_back() {
    let ((here, store), (there, _)) = (log("10:client").await, log("server").await);
    add(&there, 0..1).await;
    let (memory, listener) = Memory::listen();
    let _server =
        Server::new(&there, Json, listener).options(options().auth(async |_| true)).start();
    let session = ClientSync::new(&here, Json, quick(memory.clone())).start();
    session.wait_for(State::Synchronized).await.unwrap();
    add(&here, 1..2).await;
    sleep(seconds(1)).await;
    let last = there.entries_after(Added::ZERO, 100).await.unwrap().pop().unwrap();
    let receipt = async || timeout(seconds(100), there.receipt(&client(), &last.meta.id)).await;
    assert!(receipt().await.is_ok());
    let epoch = epoch(&store).await;
    let mut peer = Peer::dial(&memory).await;
    peer.send(&format!(r#"["headers",{{"log-epoch":"{epoch}","log-claim-of":null}}]"#)).await;
    peer.send(CONNECT).await;
    peer.next_sync().await;
    peer.hang_up().await;
    sleep(seconds(1)).await;
    assert_eq!(session.diagnostics().state, State::Synchronized);
    assert!(receipt().await.is_ok(), "it never comes");
}

#[tokio::test(start_paused = true)]
async fn what_this_process_did_not_look_at_is_not_called_withheld() {
    let ((here, mine), (there, store)) = (log("10:client").await, log("server").await);
    add(&there, 0..3000).await;
    {
        let (memory, listener) = Memory::listen();
        let server = Server::new(&there, Json, listener).start();
        let session = ClientSync::new(&here, Json, quick(memory)).start();
        session.wait_for(State::Synchronized).await.unwrap();
        sleep(seconds(1)).await;
        session.close().await.unwrap();
        server.shutdown(seconds(5)).await;
    }
    drop(there);
    let there =
        Log::open_with("server".parse().unwrap(), Arc::new(store), Clock::system()).await.unwrap();
    let entry = there.entries_after(Added::ZERO, 3000).await.unwrap()[2500].clone();
    let before = there.receipt(&client(), &entry.meta.id).await;
    let (memory, listener) = Memory::listen();
    let with = options().window(1).batch(10).out_filter(async |_, _| Ok(true));
    let _server = Server::new(&there, Json, listener).options(with).start();
    let epoch = epoch(&mine).await;
    let mut peer = Peer::dial(&memory).await;
    peer.send(&format!(r#"["headers",{{"log-epoch":"{epoch}","log-claim-of":null}}]"#)).await;
    peer.send(CONNECT).await;
    peer.next().await;
    peer.hang_up().await;
    sleep(seconds(1)).await;
    let session = ClientSync::new(&here, Json, quick(memory)).start();
    session.wait_for(State::Synchronized).await.unwrap();
    sleep(seconds(1)).await;
    let after = there.receipt(&client(), &entry.meta.id).await;
    assert_eq!(format!("{after:?}"), format!("{before:?}"));
}

#[tokio::test(start_paused = true)]
async fn a_receipt_comes_with_the_reason_that_is_noted_at_the_end() {
    let (there, gate) = log("server").await;
    add(&there, 0..1).await;
    let entry = there.entries_after(Added::ZERO, 1).await.unwrap()[0].clone();
    let (memory, listener) = Memory::listen();
    let _server =
        Server::new(&there, Json, listener).options(options().auth(async |_| true)).start();
    let mut peer = Peer::dial(&memory).await;
    peer.send(EPOCH).await;
    peer.send(CONNECT).await;
    peer.next_sync().await;
    let to = client();
    let mut receipt = Box::pin(there.receipt(&to, &entry.meta.id));
    assert!(timeout(seconds(1), &mut receipt).await.is_err());
    gate.set(Gate::NotesNothing);
    peer.send(&format!(r#"["debug","error","refused 1 events: {} because no"]"#, entry.meta.id))
        .await;
    peer.send(r#"["synced",1]"#).await;
    sleep(seconds(1)).await;
    peer.hang_up().await;
    sleep(seconds(1)).await;
    gate.set(Gate::Open);
    sleep(seconds(10)).await;
    let anew = timeout(seconds(1), there.receipt(&to, &entry.meta.id)).await;
    let waiting = timeout(seconds(100), &mut receipt).await;
    assert!(anew.is_ok() && waiting.is_ok(), "anew {anew:?}, waiting {waiting:?}");
}
