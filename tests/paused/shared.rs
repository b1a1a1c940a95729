//! What the sessions of one log share, and what wakes which of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use logux_sync::codecs::{JsonError, Message, WireMeta};
use logux_sync::{
    Added, BaseSync, ClientSync, Codec, Draft, Json, Limits, Log, Memory, NodeId, Role, Server,
    ServerSync, Session, State, SyncOptions, Value,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, timeout};

use crate::world::{held, log, milliseconds, quick, seconds, taking};

/// JSON that counts how often it writes an event.
#[derive(Clone, Debug, Default)]
struct Counting {
    apart: Arc<AtomicU64>,
    in_messages: Arc<AtomicU64>,
}

impl Codec for Counting {
    const NAME: &'static str = Json::NAME;
    const MEDIA_TYPE: &'static str = Json::MEDIA_TYPE;
    const TEXT: bool = Json::TEXT;
    const EXPANSION: usize = Json::EXPANSION;
    type Error = JsonError;

    fn encode<E: Serialize>(
        &self,
        message: &Message<E>,
        frame: &mut Vec<u8>,
    ) -> Result<(), JsonError> {
        if let Message::Sync(sync) = message {
            self.in_messages.fetch_add(sync.entries.len() as u64, Ordering::Relaxed);
        }
        Json.encode(message, frame)
    }

    fn decode<E: DeserializeOwned>(
        &self,
        frame: &[u8],
        limits: Limits,
    ) -> Result<Message<E>, JsonError> {
        Json.decode(frame, limits)
    }

    fn encode_event<E: Serialize>(
        &self,
        event: &E,
        part: &mut Vec<u8>,
    ) -> Option<Result<(), JsonError>> {
        self.apart.fetch_add(1, Ordering::Relaxed);
        Json.encode_event(event, part)
    }

    fn encode_sync<'p>(
        &self,
        added: Added,
        events: impl ExactSizeIterator<Item = (&'p [u8], WireMeta)>,
        frame: &mut Vec<u8>,
    ) -> Option<Result<(), JsonError>> {
        Json.encode_sync(added, events, frame)
    }
}

impl Counting {
    /// How often an event was written apart, and as a part of a message.
    fn counted(&self) -> (u64, u64) {
        (self.apart.load(Ordering::Relaxed), self.in_messages.load(Ordering::Relaxed))
    }
}

struct Client {
    id: NodeId,
    log: Log<Value>,
    session: Session,
}

async fn connect(memory: &Memory, n: u64) -> Client {
    let (log, _) = log(&format!("{n}:client")).await;
    let session = ClientSync::new(&log, Json, quick(memory.clone())).start();
    session.wait_for(State::Synchronized).await.unwrap();
    Client { id: log.node_id().clone(), log, session }
}

#[tokio::test(start_paused = true)]
async fn an_event_is_written_once_for_a_thousand_sessions() {
    let (there, _) = log("server").await;
    let (memory, listener) = Memory::listen();
    let codec = Counting::default();
    let _server = Server::new(&there, codec.clone(), listener).start();
    let mut clients = Vec::new();
    for n in 0..1000 {
        clients.push(connect(&memory, n).await);
    }
    assert_eq!(codec.counted(), (0, 0));
    // One by one, several before anybody looks, and one of a client, which the other 999 are sent.
    there.add(json!({ "n": 0 })).await.unwrap();
    sleep(milliseconds(100)).await;
    for n in 1..5 {
        there.add(json!({ "n": n })).await.unwrap();
    }
    sleep(milliseconds(100)).await;
    there.add_batch((5..20).map(|n| json!({ "n": n }))).await.unwrap();
    sleep(milliseconds(100)).await;
    clients[0].log.add(json!({ "n": 20 })).await.unwrap();
    sleep(seconds(1)).await;
    for client in &clients {
        client.session.wait_for(State::Synchronized).await.unwrap();
        assert_eq!(held(&client.log).await, (0..21).collect::<Vec<_>>());
    }
    assert_eq!(codec.counted(), (21, 0));
}

/// What a map makes of an event is for one peer only.
#[tokio::test(start_paused = true)]
async fn what_a_map_makes_of_an_event_is_written_for_each_session() {
    let (there, _) = log("server").await;
    let (memory, listener) = Memory::listen();
    let options = SyncOptions::<Value>::new().out_map(async |entry, peer| {
        let mut changed = (*entry).clone();
        changed.event["for"] = json!(peer.node_id.as_str());
        Ok(Arc::new(changed))
    });
    let codec = Counting::default();
    let _server = Server::new(&there, codec.clone(), listener).options(options).start();
    let clients = [connect(&memory, 0).await, connect(&memory, 1).await];
    there.add_batch([json!({ "n": 0 }), json!({ "n": 1 })]).await.unwrap();
    sleep(seconds(1)).await;
    for client in clients {
        let entries = client.log.entries_after(Added::ZERO, 10).await.unwrap();
        let named: Vec<_> = entries.iter().map(|entry| entry.event["for"].clone()).collect();
        assert_eq!(named, [client.id.as_str(); 2]);
    }
    assert_eq!(codec.counted(), (4, 0));
}

/// A client that comes late reads what is long gone from what is shared, while others are live.
#[tokio::test(start_paused = true)]
async fn who_catches_up_does_not_have_events_written_again_for_the_others() {
    const EVENTS: u64 = 5_000;

    let (there, _) = log("server").await;
    let (memory, listener) = Memory::listen();
    let codec = Counting::default();
    let _server = Server::new(&there, codec.clone(), listener).start();
    let first = connect(&memory, 0).await;
    // 5 MB, of which one is shared.
    let text = "x".repeat(1000);
    let add = async |numbers: std::ops::Range<u64>| {
        let events = numbers.map(|n| json!({ "n": n, "text": text }));
        there.add_batch(events).await.unwrap();
        first.session.wait_for(State::Synchronized).await.unwrap();
        sleep(seconds(1)).await;
    };
    add(0..EVENTS).await;
    let (written, _) = codec.counted();
    assert_eq!(written, EVENTS);
    let late = [connect(&memory, 1).await, connect(&memory, 2).await];
    let (after, _) = codec.counted();
    assert!(after < 3 * EVENTS, "{after} events were written");
    add(EVENTS..EVENTS + 100).await;
    assert_eq!(codec.counted(), (after + 100, 0));
    for client in late {
        assert_eq!(held(&client.log).await, (0..EVENTS + 100).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_woken_by_events_with_its_indexes() {
    let (there, _) = log("server").await;
    let (memory, listener) = Memory::listen();
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    let options = SyncOptions::new()
        .out_indexes(|peer| {
            let user = peer.node_id.user_id().unwrap_or_default();
            vec!["all".to_owned(), format!("users/{user}")]
        })
        .out_filter(move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok(true))
        });
    let _server = Server::new(&there, Json, listener).options(options).start();
    let mut clients = Vec::new();
    for n in 0..10 {
        clients.push(connect(&memory, n).await);
    }
    let add = async |n: u64, index: &str| {
        there.add(Draft::new(json!({ "n": n })).index(index)).await.unwrap();
    };
    add(0, "users/3").await;
    add(1, "users/100").await;
    add(2, "users/3").await;
    sleep(milliseconds(10)).await;
    for (n, client) in clients.iter().enumerate() {
        let expected = if n == 3 { vec![0, 2] } else { vec![] };
        assert_eq!(held(&client.log).await, expected);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2, "the filter was asked about others' events");
    add(3, "all").await;
    sleep(milliseconds(10)).await;
    for (n, client) in clients.iter().enumerate() {
        let expected = if n == 3 { vec![0, 2, 3] } else { vec![3] };
        assert_eq!(held(&client.log).await, expected);
    }
}

/// What is of no interest to a session does not wake it, and it is done with that a second later.
#[tokio::test(start_paused = true)]
async fn a_session_is_done_with_other_events_a_second_later() {
    let (there, _) = log("server").await;
    let (memory, listener) = Memory::listen();
    let _server = Server::new(&there, Json, listener).start();
    let (here, _) = log("1:client").await;
    let options = SyncOptions::new().out_indexes(|_| vec!["a".to_owned()]);
    let session = ClientSync::new(&here, Json, memory).options(options).start();
    session.wait_for(State::Synchronized).await.unwrap();
    for n in 0..3 {
        let other = Draft::new(json!({ "n": n })).index("b");
        let last = here.add(other).await.unwrap().meta.added;
        let sent = async || here.cursors(there.node_id()).await.unwrap().sent;
        sleep(milliseconds(900)).await;
        assert!(sent().await < last, "it was woken by what is of no interest");
        let (took, synchronized) = taking(session.wait_for(State::Synchronized)).await;
        synchronized.unwrap();
        assert!(took <= milliseconds(110), "{took:?}");
        sleep(milliseconds(10)).await;
        assert_eq!(sent().await, last);
    }
    assert_eq!(held(&there).await, [] as [u64; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_away_gets_what_has_its_indexes() {
    let (there, _) = log("server").await;
    let (memory, listener) = Memory::listen();
    let options = SyncOptions::new().out_indexes(|_| vec!["a".to_owned()]);
    let _server = Server::new(&there, Json, listener).options(options).start();
    for n in 0..1000 {
        let index = if n % 100 == 7 { "a" } else { "b" };
        there.add(Draft::new(json!({ "n": n })).index(index)).await.unwrap();
    }
    let began = Instant::now();
    let client = connect(&memory, 0).await;
    sleep(milliseconds(100)).await;
    assert_eq!(held(&client.log).await, (0..10).map(|n| 100 * n + 7).collect::<Vec<_>>());
    // The last session goes, another one comes, and is woken.
    client.session.close().await.unwrap();
    sleep(seconds(1)).await;
    let client = connect(&memory, 1).await;
    there.add(Draft::new(json!({ "n": 1000 })).index("a")).await.unwrap();
    sleep(milliseconds(100)).await;
    assert_eq!(held(&client.log).await.last(), Some(&1000));
    assert!(began.elapsed() < seconds(3));
}

/// Who may have more from now on is sent what is older, too; who may have less is sent no more of it.
#[tokio::test(start_paused = true)]
async fn indexes_are_asked_again_by_reevaluate() {
    let (there, _) = log("server").await;
    let indexes = Arc::new(Mutex::new(vec!["a".to_owned()]));
    let now = Arc::clone(&indexes);
    let options = SyncOptions::new().out_indexes(move |_| now.lock().unwrap().clone());
    let (near, far) = Memory::pair();
    let server = ServerSync::new(&there, Json, far).options(options).start();
    let (here, _) = log("1:client").await;
    let _client = BaseSync::new(&here, Json, Role::Opener, near).start();
    let add = async |n: u64, index: &str| {
        there.add(Draft::new(json!({ "n": n })).index(index)).await.unwrap();
    };
    add(0, "a").await;
    add(1, "b").await;
    sleep(seconds(2)).await;
    assert_eq!(held(&here).await, [0]);
    *indexes.lock().unwrap() = vec!["b".to_owned()];
    server.reevaluate().await;
    sleep(milliseconds(100)).await;
    assert_eq!(held(&here).await, [0, 1]);
    add(2, "a").await;
    add(3, "b").await;
    sleep(milliseconds(100)).await;
    assert_eq!(held(&here).await, [0, 1, 3]);
}

/// The task that looks at what is added for all sessions belongs to the runtime of the first one.
#[test]
fn sessions_are_woken_after_the_runtime_of_others_has_ended() {
    let runtime = || Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let options = || SyncOptions::<Value>::new().out_indexes(|_| vec!["a".to_owned()]);
    let (first, second) = (runtime(), runtime());
    let (there, _) = second.block_on(log("server"));
    let connect = |runtime: &Runtime, n: u64| {
        runtime.block_on(async {
            let (near, far) = Memory::pair();
            let server = ServerSync::new(&there, Json, far).options(options()).start();
            let (here, _) = log(&format!("{n}:client")).await;
            let client = BaseSync::new(&here, Json, Role::Opener, near).start();
            client.wait_for(State::Synchronized).await.unwrap();
            (here, client, server)
        })
    };
    let gone = connect(&first, 0);
    let mut left = vec![connect(&second, 1)];
    drop(first);
    // What is added reaches one that was there, and one that comes later.
    for n in 0..3 {
        left.push(connect(&second, n + 2));
        second.block_on(async {
            let added = there.add(Draft::new(json!({ "n": n })).index("a")).await.unwrap();
            for (here, _, _) in &left {
                let mut entries = here.follow(Added::ZERO);
                let arrives = async {
                    while entries.next().await.unwrap().unwrap().meta.id != added.meta.id {}
                };
                timeout(seconds(60), arrives).await.expect("each is woken");
            }
        });
    }
    drop(gone);
}

#[tokio::test(start_paused = true)]
async fn indexes_that_panic_end_the_connection() {
    let (there, _) = log("server").await;
    let (memory, listener) = Memory::listen();
    let options = SyncOptions::new().out_indexes(|peer| {
        assert_ne!(peer.node_id.user_id(), Some("1"), "no indexes");
        Vec::new()
    });
    let _server = Server::new(&there, Json, listener).options(options).start();
    let (log, _) = log("1:client").await;
    let session = ClientSync::new(&log, Json, memory.clone()).start();
    session.wait_for(State::Synchronized).await.unwrap_err();
    // The server goes on.
    connect(&memory, 2).await;
}
