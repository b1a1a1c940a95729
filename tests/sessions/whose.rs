//! Whose event it is: no name and no clock of one peer robs the others.

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{
    Access, Added, BaseSync, ClientSync, Clock, Draft, EventId, Json, Log, Login, Memory,
    MemoryStore, NodeId, Notice, Reconnect, Role, Server, Session, SessionHandle, State, Store,
    SyncOptions, Timestamp, Value,
};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::cells::Cell;
use crate::scripted::Peer;

on_every_cell! {
    a_client_adds_its_own_events_only,
    two_live_nodes_of_one_name_are_told_on_all_sides,
}

on_every_codec! {
    what_auth_answers_decides_whose_events_are_taken,
    nobody_occupies_the_ids_of_another,
    no_peer_moves_a_clock,
    an_event_of_this_node_from_the_future_is_kept,
    a_node_that_dials_takes_the_events_of_all,
    own_events_come_back_from_the_dialled_server_without_an_alarm,
    an_own_event_that_was_never_made_here_is_told,
    a_node_that_comes_back_with_the_same_log_is_no_twin,
}

const NOW: u64 = 1_786_312_345_678;
const DAY: u64 = 24 * 60 * 60 * 1000;
const DAY_LONG: Duration = Duration::from_millis(DAY);

async fn log(node: &str) -> Log<Value> {
    Log::open(node.parse().unwrap(), MemoryStore::new()).await.unwrap()
}

fn event(n: u64) -> Value {
    json!({ "type": "test", "n": n })
}

fn id(time: u64, node: &str) -> EventId {
    EventId::new(Timestamp::new(time).unwrap(), node.parse().unwrap())
}

fn foreign(n: u64, time: u64, node: &str) -> Draft<Value> {
    Draft::new(event(n)).id(id(time, node))
}

async fn numbers(log: &Log<Value>) -> BTreeSet<u64> {
    let entries = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    entries.iter().map(|entry| entry.event["n"].as_u64().unwrap()).collect()
}

/// Two logs over one link until they are in step; answers the sessions, the opener's first.
async fn connect<C: Cell>(
    opener: &Log<Value>,
    acceptor: &Log<Value>,
    options: SyncOptions<Value>,
) -> (Session, Session) {
    let (near, far) = C::pair().await;
    let here = BaseSync::new(opener, C::CODEC, Role::Opener, near).start();
    let there = BaseSync::new(acceptor, C::CODEC, Role::Acceptor, far).options(options).start();
    here.wait_for(State::Synchronized).await.unwrap();
    (here, there)
}

async fn is_told_of_a_twin(session: &SessionHandle) -> bool {
    let mut notices = session.notices();
    let told = async {
        while let Some(notice) = notices.next().await {
            if matches!(notice, Notice::Twin) {
                return true;
            }
        }
        false
    };
    timeout(Duration::from_secs(1), told).await.unwrap_or(false)
}

async fn a_client_adds_its_own_events_only<C: Cell>() {
    let server = log("server").await;
    let phone = log("10:phone:1").await;
    let drafts = [
        Draft::new(event(1)),
        foreign(2, 5, "10:phone:2"),
        foreign(3, 5, "10:phone"),
        foreign(4, 5, "10:laptop"),
        foreign(5, 5, "11:phone"),
        foreign(6, 5, "10"),
        foreign(7, 5, "10:phonebook"),
        foreign(8, 5, "server"),
        foreign(9, 5, "10:phone:1:deep"),
    ];
    phone.add_batch(drafts).await.unwrap();
    let (client, session) = connect::<C>(&phone, &server, SyncOptions::new()).await;
    assert_eq!(numbers(&server).await, [1, 2, 3, 9].into());
    let held_back = phone.held_back(server.node_id()).await.unwrap();
    let reasons: BTreeSet<_> = held_back.iter().map(|one| one.reason.clone()).collect();
    assert_eq!((held_back.len(), reasons.len()), (5, 2), "{held_back:?}");
    // It is loud on both sides.
    let mut notices = (client.notices(), session.notices());
    assert!(matches!(notices.0.next().await, Some(Notice::HeldBack(all)) if all == held_back));
    assert!(matches!(notices.1.next().await, Some(Notice::Refused(all)) if all == held_back));
}

async fn what_auth_answers_decides_whose_events_are_taken<C: Cell>() {
    type Answer = fn(Login) -> Access<Value>;

    let answers: [(&str, Answer, &[u64]); 5] = [
        ("true", |_| true.into(), &[1]),
        ("client", |_| Access::client(), &[1]),
        ("relay", |_| Access::relay(), &[1, 2, 3]),
        ("its name", |login| login.user_id().is_some_and(|user| user == "10").into(), &[1]),
        (
            "its parts",
            |login| {
                assert_eq!((login.client_id(), login.tab_id()), ("10:phone", Some("tab")));
                Access::relay()
            },
            &[1, 2, 3],
        ),
    ];
    for (name, answer, expected) in answers {
        let (server, phone) = (log("server").await, log("10:phone:tab").await);
        let drafts = [Draft::new(event(1)), foreign(2, 5, "11:else"), foreign(3, 5, "server")];
        phone.add_batch(drafts).await.unwrap();
        let options = SyncOptions::new().auth(move |login| ready(answer(login)));
        let _sessions = connect::<C>(&phone, &server, options).await;
        assert_eq!(numbers(&server).await, expected.iter().copied().collect(), "{name}");
    }
    let (server, phone) = (log("server").await, log("10:phone").await);
    let (near, far) = C::pair().await;
    let client = BaseSync::new(&phone, C::CODEC, Role::Opener, near).start();
    let options = SyncOptions::new().auth(async |_| Access::nobody());
    let _session = BaseSync::new(&server, C::CODEC, Role::Acceptor, far).options(options).start();
    let error = client.ended().await.unwrap_err();
    assert!(error.to_string().contains("error") && !error.is_transient(), "{error}");
}

async fn nobody_occupies_the_ids_of_another<C: Cell>() {
    let clock = Clock::new(|| Timestamp::new(NOW).unwrap());
    let open = async |node: &str| {
        let store = Arc::new(MemoryStore::new()) as Arc<dyn Store<Value>>;
        Log::open_with(node.parse().unwrap(), store, clock.clone()).await.unwrap()
    };
    let (server, victim, attacker) =
        (open("server").await, open("10:phone").await, open("66:evil").await);
    let ids = (0..3_000).map(|n| foreign(n + 1_000, NOW + n, "10:phone"));
    attacker.add_batch(ids).await.unwrap();
    let _attack = connect::<C>(&attacker, &server, SyncOptions::new()).await;
    let sessions = connect::<C>(&victim, &server, SyncOptions::new()).await;
    victim.add_batch((0..20).map(event)).await.unwrap();
    sessions.0.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(numbers(&server).await, (0..20).collect());
}

async fn no_peer_moves_a_clock<C: Cell>() {
    let time = Arc::new(AtomicU64::new(NOW));
    let clock = Clock::new({
        let time = Arc::clone(&time);
        move || Timestamp::new(time.load(Ordering::Relaxed)).unwrap()
    });
    let open = async |node: &str| {
        let store = Arc::new(MemoryStore::new()) as Arc<dyn Store<Value>>;
        Log::open_with(node.parse().unwrap(), store, clock.clone()).await.unwrap()
    };
    // The dialled server brings events back, also those from nearly a day ahead.
    let (server, client) = (open("server").await, open("10:phone").await);
    server.add(foreign(1, NOW + DAY - 1_000, "10:phone")).await.unwrap();
    let _sessions = connect::<C>(&client, &server, SyncOptions::new()).await;
    let entry = client.add(event(2)).await.unwrap();
    assert_eq!(entry.meta.time.value(), NOW, "the time of an event is that of the clock");
    assert_eq!(entry.meta.id.time().value(), NOW + DAY - 999, "its id is still a new one");
    // So it is after this node's own clock was wrong for a while.
    time.store(NOW + 40 * DAY, Ordering::Relaxed);
    client.add(event(3)).await.unwrap();
    time.store(NOW + 5_000, Ordering::Relaxed);
    let entry = client.add(event(4)).await.unwrap();
    assert_eq!(entry.meta.time.value(), NOW + 5_000);
    assert_eq!(entry.meta.id.time().value(), NOW + 40 * DAY + 1);
    // A small correction does not change the order of what is made here.
    time.store(NOW + 4_500, Ordering::Relaxed);
    let next = client.add(event(5)).await.unwrap();
    assert!(entry.meta.created() < next.meta.created());
}

async fn an_event_of_this_node_from_the_future_is_kept<C: Cell>() {
    let clock = Clock::new(|| Timestamp::new(NOW).unwrap());
    let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
    let open = async || {
        Log::open_with("10:phone".parse().unwrap(), Arc::clone(&store), clock.clone())
            .await
            .unwrap()
    };
    let (server, phone) = (log("server").await, open().await);
    let last = logux_sync::codecs::MAX_SAFE_INTEGER;
    server.add(foreign(1, NOW + 2 * DAY, "10:phone")).await.unwrap();
    server.add(foreign(2, last, "10:phone")).await.unwrap();
    let sessions = connect::<C>(&phone, &server, SyncOptions::new()).await;
    assert_eq!(numbers(&phone).await, [1, 2].into(), "they were confirmed, and they are there");
    let entry = phone.add(event(3)).await.unwrap();
    assert_eq!(entry.meta.id.time().value(), NOW, "ids do not follow them");
    drop(sessions);
    let phone = open().await;
    assert_eq!(
        phone.add(event(4)).await.unwrap().meta.id.time().value(),
        NOW + 1,
        "nor after a restart"
    );
    assert_eq!(numbers(&phone).await, [1, 2, 3, 4].into());
}

async fn a_node_that_dials_takes_the_events_of_all<C: Cell>() {
    let (server, phone) = (log("server").await, log("10:phone").await);
    let drafts = [Draft::new(event(1)), foreign(2, 5, "11:else"), foreign(3, 5, "10:phone")];
    server.add_batch(drafts).await.unwrap();
    let (client, _session) = connect::<C>(&phone, &server, SyncOptions::new()).await;
    assert_eq!(numbers(&phone).await, [1, 2, 3].into());
    drop(client);
    // Unless it says otherwise.
    let phone = log("10:phone").await;
    let (near, far) = C::pair().await;
    let options = SyncOptions::new().auth(async |_| Access::client());
    let client = BaseSync::new(&phone, C::CODEC, Role::Opener, near).options(options).start();
    let _session = BaseSync::new(&server, C::CODEC, Role::Acceptor, far).start();
    client.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(numbers(&phone).await, [1].into());
}

async fn own_events_come_back_from_the_dialled_server_without_an_alarm<C: Cell>() {
    let server = log("server").await;
    let phone = log("10:phone").await;
    phone.add_batch((0..50).map(event)).await.unwrap();
    let (client, session) = connect::<C>(&phone, &server, SyncOptions::new()).await;
    client.close().await.unwrap();
    session.close().await.unwrap();
    // Its log is lost. The ids were ahead of the clock, so the new one is opened a little later.
    let later = Clock::new(|| Clock::system().now().shifted(1_000).unwrap());
    let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
    let phone = Log::open_with("10:phone".parse().unwrap(), store, later).await.unwrap();
    let (client, _session) = connect::<C>(&phone, &server, SyncOptions::new()).await;
    assert_eq!(numbers(&phone).await, (0..50).collect());
    assert!(!is_told_of_a_twin(&client).await);
}

async fn an_own_event_that_was_never_made_here_is_told<C: Cell>() {
    let (server, phone) = (log("server").await, log("10:phone").await);
    let (client, session) = connect::<C>(&phone, &server, SyncOptions::new()).await;
    let soon = phone.now().value() + 60_000;
    server.add(foreign(1, soon, "10:phone")).await.unwrap();
    assert!(is_told_of_a_twin(&client).await);
    assert!(is_told_of_a_twin(&session).await);
    assert_eq!(numbers(&phone).await, [1].into());
}

async fn two_live_nodes_of_one_name_are_told_on_all_sides<C: Cell>() {
    let server = log("server").await;
    let (transport, listener) = C::listen();
    let running = Server::new(&server, C::CODEC, listener).start();
    let twins = [log("10:phone").await, log("10:phone").await];
    let mut sessions: Vec<SessionHandle> = Vec::new();
    let mut clients = Vec::new();
    for log in &twins {
        let patient = Reconnect::new(transport.clone()).first_delay(DAY_LONG).min_delay(DAY_LONG);
        let client = ClientSync::new(log, C::CODEC, patient.max_delay(DAY_LONG)).start();
        client.wait_for(State::Synchronized).await.unwrap();
        // They share the server's cursors, so only the newer one goes on.
        while running.connections() > 1 {
            sleep(Duration::from_millis(1)).await;
        }
        sessions.extend([(*client).clone(), running.sessions().remove(0)]);
        clients.push(client);
    }
    for session in &sessions {
        assert!(is_told_of_a_twin(session).await);
    }
    assert_eq!(sessions[3].state(), State::Synchronized);
}

async fn a_node_that_comes_back_with_the_same_log_is_no_twin<C: Cell>() {
    let (server, phone) = (log("server").await, log("10:phone").await);
    let first = connect::<C>(&phone, &server, SyncOptions::new()).await;
    let second = connect::<C>(&phone, &server, SyncOptions::new()).await;
    // A node of JavaScript says nothing of its log.
    let (near, far) = C::pair().await;
    let third = BaseSync::new(&server, C::CODEC, Role::Acceptor, near).start();
    let mut peer = Peer::new::<C>(far);
    peer.send(r#"["connect",7,"10:phone",0]"#).await;
    while !peer.next().await.unwrap().starts_with(r#"["ready""#) {}
    for session in [&first.0, &first.1, &second.0, &second.1, &third] {
        assert!(!is_told_of_a_twin(session).await);
    }
}

#[tokio::test]
async fn a_draft_without_an_id_never_meets_an_event_that_is_there() {
    let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
    let clock = || Clock::new(|| Timestamp::new(NOW).unwrap());
    let node: NodeId = "node".parse().unwrap();
    // Two logs on one store, which their documentation forbids; what they add is there all the same.
    let one = Log::open_with(node.clone(), Arc::clone(&store), clock()).await.unwrap();
    let other = Log::open_with(node, store, clock()).await.unwrap();
    let mut ids = BTreeSet::new();
    for n in 0..20 {
        let added = one.add(event(n)).await.unwrap();
        assert_eq!(added.event, event(n));
        ids.insert(added.meta.id.to_string());
        let added = other.add_batch([event(100 + n), event(200 + n)]).await.unwrap();
        assert_eq!((&added[0].event, &added[1].event), (&event(100 + n), &event(200 + n)));
        ids.extend(added.iter().map(|added| added.meta.id.to_string()));
    }
    assert_eq!(ids.len(), 60);
    let expected = (0..20).chain(100..120).chain(200..220).collect();
    assert_eq!(numbers(&one).await, expected);
}

#[tokio::test(start_paused = true)]
async fn events_that_ran_ahead_of_the_clock_and_come_back_are_no_alarm() {
    let (server, time) = (log("server").await, Arc::new(AtomicU64::new(NOW)));
    let open = async || {
        let time = Arc::clone(&time);
        let clock = Clock::new(move || Timestamp::new(time.load(Ordering::Relaxed)).unwrap());
        let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
        Log::open_with("10:phone".parse().unwrap(), store, clock).await.unwrap()
    };
    let twins = async |phone: &Log<Value>, later: Option<u64>| {
        let (near, far) = Memory::pair();
        let session = BaseSync::new(&server, Json, Role::Acceptor, far).start();
        let client = BaseSync::new(phone, Json, Role::Opener, near).start();
        client.wait_for(State::Synchronized).await.unwrap();
        for n in later.into_iter().flat_map(|later| later..later + 3) {
            let id = EventId::new(Timestamp::new(n).unwrap(), "10:phone".parse().unwrap());
            server.add(Draft::new(event(n)).id(id)).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let mut notices = client.notices();
        let mut twins = 0;
        while let Ok(Some(notice)) = timeout(Duration::from_secs(1), notices.next()).await {
            twins += usize::from(matches!(notice, Notice::Twin));
        }
        client.close().await.unwrap();
        let _ = session.ended().await;
        twins
    };
    let phone = open().await;
    phone.add_batch((0..5_000).map(event)).await.unwrap();
    assert_eq!(twins(&phone, None).await, 0);
    // Its log is lost, and it starts again while its ids are ahead of the clock.
    time.store(NOW + 1_000, Ordering::Relaxed);
    let phone = open().await;
    assert_eq!(twins(&phone, None).await, 0);
    assert_eq!(phone.last_added().value(), 5_000);
    // At the start, its clock stood at the beginning of time.
    time.store(5, Ordering::Relaxed);
    let phone = open().await;
    time.store(NOW + 60_000, Ordering::Relaxed);
    assert_eq!(twins(&phone, None).await, 0);
    assert_eq!(phone.last_added().value(), 5_000);
    // What was made since is another matter; it is told once for each connection.
    assert_eq!(twins(&phone, Some(NOW + 90_000)).await, 1);
    assert_eq!(twins(&phone, Some(NOW + 95_000)).await, 1);
}
