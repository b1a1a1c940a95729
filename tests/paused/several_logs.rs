//! Several logs behind one port: `auth` leads each peer to one.

use std::collections::HashMap;
use std::future::ready;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use logux_sync::{
    Access, Added, ClientSync, Epoch, Error, EventLimits, Json, Log, LogOptions, Memory,
    MemoryStore, Notice, Receipt, Server, Session, State, SyncOptions, Value,
};
use tokio::time::{sleep, timeout};

use crate::world::{CONNECT, Peer, add, held, log, milliseconds, options, quick, seconds};

const EPOCH: &str = r#"["headers",{"log-epoch":"00000000000000aa"}]"#;

/// Leads each user to the log of that name.
fn by_user(logs: &[(&'static str, &Log<Value>)]) -> SyncOptions<Value> {
    let logs: HashMap<_, _> = logs.iter().map(|(user, log)| (*user, (*log).clone())).collect();
    options().auth(move |login| {
        let log = login.user_id().and_then(|user| logs.get(user));
        ready(log.map_or(Access::nobody(), |log| Access::client().log(log.clone())))
    })
}

fn connect(log: &Log<Value>, memory: &Memory) -> Session {
    ClientSync::new(log, Json, quick(memory.clone())).start()
}

#[tokio::test(start_paused = true)]
async fn each_peer_is_in_step_with_the_log_that_auth_chose() {
    let ((lobby, _), (oak, _), (elm, _)) =
        (log("server").await, log("server:oak").await, log("server:elm").await);
    add(&lobby, 0..3).await;
    add(&oak, 10..20).await;
    add(&elm, 30..32).await;
    let (memory, listener) = Memory::listen();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&asked);
    let options = by_user(&[("oak", &oak), ("elm", &elm)]).in_filter(move |entry, peer| {
        note.lock().unwrap().push((entry.event["n"].as_u64(), peer.log.to_string()));
        ready(Ok(true))
    });
    let server = Server::new(&lobby, Json, listener).options(options).start();
    let clients = [log("oak:1").await.0, log("oak:2").await.0, log("elm:1").await.0];
    let sessions: Vec<_> = clients.iter().map(|log| connect(log, &memory)).collect();
    for (number, log) in (100..).zip(&clients) {
        add(log, number..number + 1).await;
    }
    for session in &sessions {
        session.wait_for(State::Synchronized).await.unwrap();
    }
    sleep(seconds(1)).await;
    assert_eq!(held(&lobby).await, [0, 1, 2]);
    let of_oak: Vec<_> = (10..20).chain([100, 101]).collect();
    assert_eq!(held(&oak).await, of_oak);
    assert_eq!(held(&elm).await, [30, 31, 102]);
    assert_eq!(held(&clients[0]).await, of_oak);
    assert_eq!(held(&clients[1]).await, of_oak);
    assert_eq!(held(&clients[2]).await, [30, 31, 102]);
    let mut asked = std::mem::take(&mut *asked.lock().unwrap());
    asked.sort();
    let expected = [(100, "server:oak"), (101, "server:oak"), (102, "server:elm")];
    assert_eq!(asked, expected.map(|(number, log)| (Some(number), log.to_owned())));
    // What the server's side shows is of the log that it is about.
    for session in server.sessions() {
        session.wait_for(State::Synchronized).await.unwrap();
        let peer = session.peer().unwrap();
        let log = if peer.node_id.user_id() == Some("oak") { &oak } else { &elm };
        assert_eq!(peer.log, *log.node_id());
        let last = log.entries_after(Added::ZERO, 100).await.unwrap().pop().unwrap();
        assert_eq!(session.receipt(&last.meta.id).await.unwrap(), Receipt::Confirmed);
        assert_eq!(session.diagnostics().synced, log.last_added());
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_goes_on_where_it_was_and_nothing_travels_again() {
    let ((lobby, _), (oak, _), (here, _)) =
        (log("server").await, log("server:oak").await, log("oak:1").await);
    add(&lobby, 0..500).await;
    add(&oak, 0..5).await;
    let (memory, listener) = Memory::listen();
    let _server = Server::new(&lobby, Json, listener).options(by_user(&[("oak", &oak)])).start();
    add(&here, 5..7).await;
    let session = connect(&here, &memory);
    session.wait_for(State::Synchronized).await.unwrap();
    sleep(seconds(1)).await;
    session.close().await.unwrap();
    add(&oak, 7..8).await;
    add(&here, 8..9).await;
    let session = connect(&here, &memory);
    let mut notices = session.notices();
    session.wait_for(State::Synchronized).await.unwrap();
    sleep(seconds(1)).await;
    let diagnostics = session.diagnostics();
    assert_eq!((diagnostics.events_sent, diagnostics.events_received), (1, 1));
    assert_eq!(held(&here).await, (0..9).collect::<Vec<_>>());
    assert_eq!(held(&oak).await, (0..9).collect::<Vec<_>>());
    session.close().await.unwrap();
    while let Some(notice) = notices.next().await {
        assert!(matches!(notice, Notice::Headers(_)), "{notice:?}");
    }
}

/// A connection is woken by its own log, and by no other.
#[tokio::test(start_paused = true)]
async fn events_come_live_from_the_chosen_log() {
    let ((lobby, _), (oak, _)) = (log("server").await, log("server:oak").await);
    add(&lobby, 0..100).await;
    let (memory, listener) = Memory::listen();
    let _server = Server::new(&lobby, Json, listener).options(by_user(&[("10", &oak)])).start();
    let mut peer = Peer::dial(&memory).await;
    peer.send(CONNECT).await;
    let connected = peer.next().await.unwrap();
    assert!(connected.starts_with(r#"["connected",7,"server:oak",["#), "{connected}");
    assert_eq!(peer.next().await.unwrap(), r#"["ready",0]"#);
    add(&lobby, 100..101).await;
    add(&oak, 7..8).await;
    let sync = peer.next().await.unwrap();
    assert!(sync.starts_with(r#"["sync",1,{"n":7},"#), "{sync}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_does_not_fit_is_named_to_the_operator() {
    let limits = EventLimits::default().bytes(1 << 10);
    let other = Log::open_with(
        "server:oak".parse().unwrap(),
        Arc::new(MemoryStore::new()),
        LogOptions::new().event_limits(limits),
    );
    let other = other.await.unwrap();
    let (lobby, _) = log("server").await;
    let (memory, listener) = Memory::listen();
    let server = Server::new(&lobby, Json, listener).options(by_user(&[("10", &other)])).start();
    let mut peer = Peer::dial(&memory).await;
    while server.sessions().is_empty() {
        sleep(seconds(1)).await;
    }
    let mut errors = server.sessions().pop().unwrap().errors();
    peer.send(CONNECT).await;
    assert_eq!(peer.rest().await, [r#"["error","callback-failed","auth"]"#]);
    let error = errors.next().await.unwrap();
    let Error::Callback { name: "auth", source } = &*error else { panic!("{error}") };
    assert!(source.to_string().contains("EventLimits"), "{source}");

    // And at a node that dialled.
    let ((here, _), (there, _)) = (log("10:client").await, log("server:1").await);
    let (memory, listener) = Memory::listen();
    let _server = Server::new(&there, Json, listener).start();
    let options = options().auth(move |_| ready(Access::relay().log(lobby.clone())));
    let client = ClientSync::new(&here, Json, quick(memory)).options(options).start();
    let error = client.ended().await.unwrap_err();
    let Error::Callback { name: "auth", source } = &*error else { panic!("{error}") };
    assert!(source.to_string().contains("connected to"), "{source}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_with_the_name_of_its_log_is_refused() {
    let ((lobby, _), (oak, _)) = (log("server").await, log("10:client").await);
    let (memory, listener) = Memory::listen();
    let _server = Server::new(&lobby, Json, listener).options(by_user(&[("10", &oak)])).start();
    let mut peer = Peer::dial(&memory).await;
    peer.send(CONNECT).await;
    let rest = peer.rest().await;
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert!(rest[0].starts_with(r#"["error","wrong-format","it calls itself"#), "{rest:?}");
}

/// Two connections of one peer; while `auth` is asked about the second, the first one moves on. Answers how
/// far the peer is then, and how many sessions were told that they start over.
async fn slow_auth(chosen: bool) -> (Added, usize) {
    let ((lobby, _), (oak, _)) = (log("server").await, log("server:oak").await);
    let led = oak.clone();
    let lead = move || {
        let led = led.clone();
        async move {
            sleep(seconds(1)).await;
            if chosen { Access::client().log(led) } else { Access::client() }
        }
    };
    let (memory, listener) = Memory::listen();
    let server =
        Server::new(&lobby, Json, listener).options(options().auth(move |_| lead())).start();
    let used = if chosen { &oak } else { &lobby };
    let mut one = Peer::dial(&memory).await;
    one.send(EPOCH).await;
    one.send(CONNECT).await;
    one.next().await;
    sleep(seconds(2)).await;
    let mut two = Peer::dial(&memory).await;
    two.send(EPOCH).await;
    two.send(r#"["connect",7,"10:client",0]"#).await;
    sleep(milliseconds(200)).await;
    add(used, 0..1).await;
    while !one.next().await.unwrap().starts_with(r#"["sync",1,"#) {}
    one.send(r#"["synced",1]"#).await;
    sleep(seconds(3)).await;
    let mut told = 0;
    for session in server.sessions() {
        let mut notices = session.notices();
        while let Ok(Some(notice)) = timeout(seconds(0), notices.next()).await {
            told += usize::from(matches!(notice, Notice::StartedOver));
        }
    }
    (used.cursors(&"10:client".parse().unwrap()).await.unwrap().sent, told)
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_moves_on_while_auth_is_asked_has_lost_nothing() {
    for chosen in [false, true] {
        assert_eq!(slow_auth(chosen).await, (Added::ZERO.plus(1), 0), "chosen: {chosen}");
    }
}

/// As tenants that begin as copies of one file have the same epoch.
#[tokio::test(start_paused = true)]
async fn a_chosen_log_ends_where_it_ends() {
    let open = async |name: &str| {
        let store = MemoryStore::<Value>::with_epoch(Epoch::new(1));
        Log::open(name.parse().unwrap(), store).await.unwrap()
    };
    let (lobby, oak) = (open("server").await, open("server:oak").await);
    add(&lobby, 0..100).await;
    let led = oak.clone();
    let auth = options().auth(move |_| std::future::ready(Access::client().log(led.clone())));
    let (memory, listener) = Memory::listen();
    let _server = Server::new(&lobby, Json, listener).options(auth).start();
    let mut peer = Peer::dial(&memory).await;
    peer.send(CONNECT).await;
    peer.next().await;
    peer.next().await;
    add(&oak, 7..8).await;
    let got = timeout(seconds(5), peer.next()).await;
    assert!(got.is_ok(), "it never comes");
}
