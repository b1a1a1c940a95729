//! A server that is attacked, and two honest clients of it.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use logux_sync::{
    ClientSync, HttpListener, Json, ListenerOptions, Log, LongPoll, MemoryStore, RunningServer,
    Server, Session, State, SyncOptions, WebSocket,
};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{sleep, timeout};

/// What a client may do without a request's, or a byte's, coming.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// How long a session may be silent before it is asked, and then until it answers. Longer than a busy
/// machine may leave an honest client without its turn.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Far above what anything here takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// What holds for the whole process can be measured by one test at a time.
static TURN: Mutex<()> = Mutex::new(());

pub(crate) struct Arena {
    pub(crate) address: SocketAddr,
    pub(crate) log: Log<String>,
    pub(crate) server: Option<RunningServer>,
}

/// Options with limits that a test can wait for.
pub(crate) fn short() -> ListenerOptions {
    ListenerOptions::new()
        .wait(SHORT)
        .inactivity(PATIENCE)
        .handshake_timeout(SHORT)
        .body_timeout(SHORT)
        .write_timeout(SHORT)
}

/// Runs an attack on a server, in a runtime of its own, while two honest clients talk. Afterwards
/// nothing is left of it.
pub(crate) fn under_attack(options: ListenerOptions, attack: impl AsyncFnOnce(&mut Arena)) {
    under_attack_with(options, |options| options, attack);
}

/// The same, with sessions that behave otherwise.
pub(crate) fn under_attack_with(
    options: ListenerOptions,
    sync: impl FnOnce(SyncOptions<String>) -> SyncOptions<String>,
    attack: impl AsyncFnOnce(&mut Arena),
) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut arena = Arena::new(options, sync(SyncOptions::new())).await;
        let before = Level::now();
        let honest = Honest::start(arena.address).await;
        attack(&mut arena).await;
        honest.end(arena.server.is_some()).await;
        if let Some(server) = arena.server.take() {
            before.returns().await;
            assert_eq!(server.connections(), 0);
            server.shutdown(LIMIT).await;
        }
    });
}

impl Arena {
    async fn new(options: ListenerOptions, sync: SyncOptions<String>) -> Self {
        let log = Log::open("server".parse().unwrap(), MemoryStore::new()).await.unwrap();
        let listener = HttpListener::bind("127.0.0.1:0").await.unwrap().options(options);
        let address = listener.local_addr().unwrap();
        let options = sync.timeout(PATIENCE).ping(PATIENCE);
        let server = Server::new(&log, Json, listener).options(options).start();
        // It listens, in a task of its own.
        for _ in 0..10 {
            yield_now().await;
        }
        Self { address, log, server: Some(server) }
    }

    pub(crate) fn server(&self) -> &RunningServer {
        self.server.as_ref().expect("it is there until it is shut down")
    }
}

/// What a process has, and gives back.
#[derive(Debug, PartialEq, Eq)]
struct Level {
    tasks: usize,
    descriptors: usize,
}

impl Level {
    fn now() -> Self {
        let tasks = Handle::current().metrics().num_alive_tasks();
        // Systems without it count tasks alone: each connection is one.
        let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self { tasks, descriptors }
    }

    async fn returns(&self) {
        let returning = async {
            while Self::now() != *self {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let returned = timeout(LIMIT, returning).await;
        assert!(returned.is_ok(), "there is {:?}, and was {self:?}", Self::now());
    }
}

/// A WebSocket client and a long-poll client that tell each other events, in turn.
struct Honest {
    sessions: [Session; 2],
    stop: oneshot::Sender<()>,
    talk: JoinHandle<()>,
}

impl Honest {
    async fn start(server: SocketAddr) -> Self {
        let log = async |name: &str| {
            Log::<String>::open(name.parse().unwrap(), MemoryStore::new()).await.unwrap()
        };
        let logs = [log("alice").await, log("bob").await];
        let websocket = WebSocket::new(&format!("ws://{server}/")).unwrap();
        let long_poll = LongPoll::new(&format!("http://{server}/")).unwrap();
        let sessions = [
            ClientSync::new(&logs[0], Json, websocket).start(),
            ClientSync::new(&logs[1], Json, long_poll).start(),
        ];
        for session in &sessions {
            session.wait_for(State::Synchronized).await.unwrap();
        }
        let (stop, mut stopped) = oneshot::channel();
        let talk = tokio::spawn(async move {
            let [alice, bob] = &logs;
            for n in 0.. {
                tell(alice, bob, format!("alice {n}")).await;
                tell(bob, alice, format!("bob {n}")).await;
                if stopped.try_recv() != Err(oneshot::error::TryRecvError::Empty) {
                    break;
                }
                // They leave time to others.
                if let Either::Left(_) = select(&mut stopped, Box::pin(sleep(SHORT / 10))).await {
                    break;
                }
            }
        });
        Self { sessions, stop, talk }
    }

    /// Ends in order, after one more talk; unless the server has ended before.
    async fn end(self, server_is_there: bool) {
        let Self { sessions, stop, talk } = self;
        if !server_is_there {
            talk.abort();
            for session in sessions {
                let ended = timeout(LIMIT, session.ended()).await;
                ended.expect("it learns of the end").expect("which is no error");
            }
            return;
        }
        drop(stop);
        talk.await.unwrap();
        for session in sessions {
            session.close().await.unwrap();
        }
    }
}

/// Adds an event to a log, and waits until it is in another.
async fn tell(from: &Log<String>, to: &Log<String>, event: String) {
    let mut entries = to.follow(to.last_added());
    from.add(event.clone()).await.unwrap();
    let arrival = async { while entries.next().await.unwrap().unwrap().event != event {} };
    let arrived = timeout(LIMIT, arrival).await;
    assert!(arrived.is_ok(), "{event:?} does not reach {}", to.node_id());
}
