//! A server that is killed again and again, over real sockets, while two clients keep adding:
//! nothing is lost, nothing comes twice, and the clients' states tell what is going on.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::transports::{Format, Link};
use logux_sync::{
    Added, ClientSync, Clock, Codec, Entry, Log, MemoryStore, NodeId, Query, Reconnect, Server,
    Session, State, Store, Transport, Value, WebSocket, WebSocketListener,
};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{RwLock, oneshot};
use tokio::time::{sleep, timeout};

macro_rules! with_every_codec {
    ($($test:ident),* $(,)?) => { $(
        mod $test {
            with! { $test: json Json, message_pack MessagePack, xml Xml }
        }
    )* };
}

macro_rules! with {
    ($test:ident: $($name:ident $codec:ident),*) => { $(
        #[tokio::test]
        async fn $name() {
            super::$test::<logux_sync::$codec>().await;
        }
    )* };
}

with_every_codec! {
    a_server_that_is_killed_loses_nothing,
    a_server_that_is_killed_with_its_store_gets_everything_back,
}

/// A codec that needs no configuration.
trait Plain: Codec + Default {}

impl<C: Codec + Default> Plain for C {}

const KILLS: usize = 100;

/// Far above what anything here takes.
const LIMIT: Duration = Duration::from_secs(20);

type SharedStore = Arc<dyn Store<Value>>;

fn new_store() -> SharedStore {
    Arc::new(MemoryStore::new())
}

/// Dials the server, while there is one: the port of a dead one may be somebody else's.
#[derive(Clone, Default)]
struct Dial(Arc<Mutex<Option<String>>>);

impl Transport for Dial {
    type Sender = <WebSocket as Transport>::Sender;
    type Receiver = <WebSocket as Transport>::Receiver;

    async fn open(
        &mut self,
        format: Format,
        max_frame: usize,
    ) -> io::Result<Link<Self::Sender, Self::Receiver>> {
        let url = self.0.lock().unwrap().clone();
        let url = url.ok_or(io::ErrorKind::ConnectionRefused)?;
        WebSocket::new(&url)?.open(format, max_frame).await
    }
}

/// A server in a runtime of its own, which dies with all that is in it but the store.
struct Process(Option<Runtime>);

impl Process {
    async fn start<C: Plain>(store: SharedStore, dial: &Dial) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (tell, address) = oneshot::channel();
        runtime.spawn(async move {
            let log = Log::open_with(name("server"), store, Clock::system()).await.unwrap();
            let listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            Server::new(&log, C::default(), listener).start().ended().await;
        });
        let address = address.await.unwrap();
        *dial.0.lock().unwrap() = Some(format!("ws://{address}"));
        Self(Some(runtime))
    }

    /// Ends all its tasks wherever they stand, and waits for that: no two servers on one store.
    async fn kill(mut self, dial: &Dial) {
        *dial.0.lock().unwrap() = None;
        let runtime = self.0.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(LIMIT)).await.unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A client that keeps adding events while the gate is open, and notes its states.
struct Client {
    log: Log<Value>,
    session: Session,
    states: Arc<Mutex<Vec<State>>>,
}

impl Client {
    async fn start<C: Plain>(node: &str, dial: &Dial, gate: &Arc<RwLock<()>>, seed: u64) -> Self {
        let log = Log::open(name(node), MemoryStore::new()).await.unwrap();
        let transport = Reconnect::new(dial.clone())
            .first_delay(Duration::from_millis(2))
            .min_delay(Duration::ZERO)
            .max_delay(Duration::from_millis(20))
            .seed(seed);
        let session = ClientSync::new(&log, C::default(), transport).start();
        let states = Arc::new(Mutex::new(Vec::new()));
        // In the runtime of one thread this task runs whenever the session has taken a step, so
        // it misses only what is over within a step.
        let (mut stream, noted) = (session.states(), Arc::clone(&states));
        tokio::spawn(async move {
            while let Some(state) = stream.next().await {
                noted.lock().unwrap().push(state);
            }
        });
        let (adding, gate) = (log.clone(), Arc::clone(gate));
        let mut random = fastrand::Rng::with_seed(seed);
        tokio::spawn(async move {
            for n in 0.. {
                let open = gate.read().await;
                adding.add(json!({ "n": n })).await.unwrap();
                drop(open);
                sleep(Duration::from_micros(random.u64(..4_000))).await;
            }
        });
        Self { log, session, states }
    }

    async fn wait_for(&self, state: State) {
        let reached = timeout(LIMIT, self.session.wait_for(state)).await;
        let node = self.log.node_id();
        let seen = self.states.lock().unwrap();
        let last = &seen[seen.len().saturating_sub(12)..];
        assert!(matches!(reached, Ok(Ok(()))), "{node} is not {state}, but was {last:?}");
    }

    /// What it must show without a connection, if that is clear: `None` where nothing of its own
    /// waits, but the connection ended before it had looked at what came from the server last.
    async fn offline_state(&self) -> Option<State> {
        let sent = self.log.cursors(&name("server")).await.unwrap().sent;
        let rest = self.log.entries_after(sent, usize::MAX).await.unwrap();
        if rest.iter().any(|entry| entry.meta.source.is_none()) {
            return Some(State::Wait);
        }
        rest.is_empty().then_some(State::Disconnected)
    }

    async fn entries(&self) -> Vec<Arc<Entry<Value>>> {
        self.log.entries_after(Added::ZERO, usize::MAX).await.unwrap()
    }
}

fn name(text: &str) -> NodeId {
    text.parse().unwrap()
}

/// What may follow upon a state, also if what lasts for a moment only is skipped.
fn may_follow(state: State) -> &'static [State] {
    use State::{Connecting, Disconnected, Sending, Synchronized, Wait};
    match state {
        Disconnected => &[Wait, Connecting],
        Wait => &[Connecting],
        Connecting => &[Sending, Synchronized, Wait, Disconnected],
        // Its own are confirmed before the server has sent all that it has: it is being asked again.
        Sending => &[Connecting, Synchronized, Wait, Disconnected],
        Synchronized => &[Sending, Wait, Disconnected],
    }
}

/// Kills the server of two clients; `store` gives each new server its store.
async fn kill_again_and_again<C: Plain>(seed: u64, mut store: impl FnMut() -> SharedStore) {
    let mut random = fastrand::Rng::with_seed(seed);
    let dial = Dial::default();
    let gate = Arc::new(RwLock::new(()));
    let mut last_store = store();
    let mut server = Process::start::<C>(Arc::clone(&last_store), &dial).await;
    let clients = [
        Client::start::<C>("a", &dial, &gate, seed).await,
        Client::start::<C>("b", &dial, &gate, !seed).await,
    ];

    for _ in 0..KILLS {
        let quiet = random.bool();
        let mut pause = None;
        for client in &clients {
            client.wait_for(State::Synchronized).await;
        }
        if quiet {
            pause = Some(gate.write().await);
            for client in &clients {
                client.wait_for(State::Synchronized).await;
            }
        } else {
            // The moment is what is random here.
            sleep(Duration::from_micros(random.u64(..20_000))).await;
        }
        let before = clients.each_ref().map(|client| client.states.lock().unwrap().len());
        server.kill(&dial).await;

        // With nothing added meanwhile, it is clear what the states must be.
        let pause = match pause {
            Some(pause) => pause,
            None => gate.write().await,
        };
        for client in &clients {
            // Any state but these two is of the connection that was lost.
            while !matches!(client.session.state(), State::Wait | State::Disconnected) {
                tokio::task::yield_now().await;
            }
            let expected = client.offline_state().await;
            assert!(!quiet || expected != Some(State::Wait), "all was confirmed");
            if let Some(expected) = expected {
                client.wait_for(expected).await;
            }
        }
        if random.bool() {
            drop(pause);
            for client in &clients {
                client.wait_for(State::Wait).await;
            }
        }

        let [a, b] = &clients;
        let send = [a.offline_state().await, b.offline_state().await];
        let send = send.map(|state| state == Some(State::Wait));
        last_store = store();
        server = Process::start::<C>(Arc::clone(&last_store), &dial).await;
        for ((client, before), sends) in clients.iter().zip(before).zip(send) {
            client.wait_for(State::Synchronized).await;
            let states = client.states.lock().unwrap()[before..].to_vec();
            let offline = |state: &State| matches!(state, State::Wait | State::Disconnected);
            let lost = states.iter().position(offline).expect("it shows that it is offline");
            let after = &states[lost..];
            assert!(after.contains(&State::Connecting), "{states:?}");
            assert!(!sends || after.contains(&State::Sending), "{states:?}");
        }
    }

    // Nothing is added any more: all get equal.
    let _pause = gate.write().await;
    let own = async |client: &Client| {
        client.entries().await.iter().filter(|entry| entry.meta.source.is_none()).count()
    };
    let total = own(&clients[0]).await + own(&clients[1]).await;
    for client in &clients {
        let all = client.log.follow(Added::ZERO).take(total).count();
        let count = client.entries().await.len();
        assert_eq!(timeout(LIMIT, all).await, Ok(total), "{count} have come");
        client.wait_for(State::Synchronized).await;
    }
    let held = last_store.read(Query::added(Added::ZERO), usize::MAX.into()).await.unwrap();
    for entries in [held, clients[0].entries().await, clients[1].entries().await] {
        assert_eq!(entries.len(), total);
        let mut numbers = BTreeMap::<_, Vec<_>>::new();
        for entry in &entries {
            let number = entry.event["n"].as_u64().unwrap();
            numbers.entry(entry.meta.id.node().clone()).or_default().push((number, &entry.meta.id));
        }
        for (client, (node, numbers)) in clients.iter().zip(&numbers) {
            assert_eq!(client.log.node_id(), node);
            let own = client.entries().await;
            let own = own.iter().filter(|entry| entry.meta.source.is_none());
            let own: Vec<_> = own.map(|entry| &entry.meta.id).collect();
            assert!((0..).zip(own).eq(numbers.iter().copied()), "{node}'s events in its order");
        }
    }
    for client in &clients {
        let states = client.states.lock().unwrap();
        for (from, to) in states.iter().zip(&states[1..]) {
            assert!(
                may_follow(*from).contains(to),
                "{} was {from}, then {to}",
                client.log.node_id()
            );
        }
    }
    server.kill(&dial).await;
}

/// Runs with a new seed each time, and tells it if it fails.
async fn with_a_seed<C: Plain>(store: impl FnMut() -> SharedStore) {
    let seed = fastrand::u64(..);
    eprintln!("the seed is {seed}");
    kill_again_and_again::<C>(seed, store).await;
}

async fn a_server_that_is_killed_loses_nothing<C: Plain>() {
    let store = new_store();
    with_a_seed::<C>(|| Arc::clone(&store)).await;
}

async fn a_server_that_is_killed_with_its_store_gets_everything_back<C: Plain>() {
    with_a_seed::<C>(new_store).await;
}
