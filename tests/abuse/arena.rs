//! A server that is attacked, with honest clients beside.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::{read_dir, read_link, read_to_string};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use logux_sync::{
    HttpListener, Json, Listener, ListenerOptions, Log, LongPoll, MemoryStore, Peer, RunningServer,
    Server, SyncOptions, TlsClient, WebSocket, WebSocketListener,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use crate::certificate::{Certificate, Dialler};
use crate::honest::{Honest, LIMIT, Way, is_newcomer};
use crate::raw::{Raw, UPGRADE, create, head};

/// What a client may do without a request's, or a byte's, coming.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// How long a client may take for a handshake, or a request's head. Those of TLS take long where many come at
/// once on a busy machine.
const HANDSHAKE: Duration = Duration::from_secs(1);

/// How long a session may be silent before it is asked, and then until it answers. Longer than a busy
/// machine may leave an honest client without its turn.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Where strangers come from that have an address of their own.
pub(crate) const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// As many attacks as a process has descriptors for.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Costs time to make.
static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(Certificate::new);

/// How a server is reached: which listener it has, by plain TCP or by TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// An `HttpListener`.
    Http,
    Https,
    /// A `WebSocketListener`.
    Ws,
    Wss,
}

/// Runs attacks on every kind of server, each in a module of its name.
macro_rules! on_every_door {
    ($($attack:ident),* $(,)?) => {
        on_doors! { { http Http, https Https, ws Ws, wss Wss } $($attack),* }
    };
}

/// Runs attacks on servers that take long-poll clients.
macro_rules! on_http_and_https {
    ($($attack:ident),* $(,)?) => { on_doors! { { http Http, https Https } $($attack),* } };
}

/// Runs attacks where TLS makes no difference.
macro_rules! on_http {
    ($($attack:ident),* $(,)?) => { on_doors! { { http Http } $($attack),* } };
}

/// Runs attacks on the handshakes of TLS.
macro_rules! on_tls {
    ($($attack:ident),* $(,)?) => { on_doors! { { https Https, wss Wss } $($attack),* } };
}

macro_rules! on_doors {
    ($doors:tt $($attack:ident),*) => { $( mod $attack { on_each! { $attack $doors } } )* };
}

macro_rules! on_each {
    ($attack:ident { $($name:ident $door:ident),* }) => { $(
        #[test]
        fn $name() {
            super::$attack($crate::arena::Door::$door);
        }
    )* };
}

/// What is attacked, and from where.
pub(crate) struct Target {
    listener: ListenerOptions,
    sync: SyncOptions<String>,
    max_connections: usize,
    max_strangers: usize,
    source: Ipv4Addr,
    turns: u32,
}

/// A server that is attacked.
pub(crate) struct Arena {
    address: SocketAddr,
    pub(crate) log: Log<String>,
    server: RefCell<Option<RunningServer>>,
    honest: Option<Honest>,
    way: Way,
    source: Ipv4Addr,
    dialler: Option<Dialler>,
}

/// Options with limits that a test can wait for.
pub(crate) fn short() -> ListenerOptions {
    ListenerOptions::new()
        .wait(SHORT)
        .inactivity(PATIENCE)
        .handshake_timeout(HANDSHAKE)
        .body_timeout(SHORT)
        .write_timeout(SHORT)
}

impl From<ListenerOptions> for Target {
    /// Attacked from the address of the honest clients, unless it is told otherwise.
    fn from(listener: ListenerOptions) -> Self {
        Self {
            listener,
            sync: SyncOptions::new().timeout(PATIENCE).ping(PATIENCE),
            max_connections: 10_000,
            max_strangers: 1_000,
            source: Ipv4Addr::LOCALHOST,
            turns: 1,
        }
    }
}

impl Target {
    pub(crate) fn sync(
        mut self,
        change: impl FnOnce(SyncOptions<String>) -> SyncOptions<String>,
    ) -> Self {
        self.sync = change(self.sync);
        self
    }

    pub(crate) fn max_connections(mut self, count: usize) -> Self {
        self.max_connections = count;
        self
    }

    pub(crate) fn max_strangers(mut self, count: usize) -> Self {
        self.max_strangers = count;
        self
    }

    /// For attacks that take what there is for one address.
    pub(crate) fn elsewhere(mut self) -> Self {
        self.source = ELSEWHERE;
        self
    }

    /// For attacks by so many that there are descriptors for no other attack.
    pub(crate) fn alone(mut self) -> Self {
        self.turns = 2;
        self
    }
}

/// Runs an attack on a server, in a runtime of its own, with honest clients beside: what they see is a
/// line of the table of attacks. Afterwards nothing is left of it.
pub(crate) fn under_attack(
    door: Door,
    target: impl Into<Target>,
    attack: impl AsyncFnOnce(&Arena),
) {
    let target = target.into();
    // Not all systems have more than one address for this machine.
    if std::net::TcpListener::bind((target.source, 0)).is_err() {
        println!("{} is not an address of this machine", target.source);
        return;
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let _turn = TURNS.acquire_many(target.turns).await.unwrap();
        let mut arena = Arena::new(door, target).await;
        let before = Level::of(arena.address);
        arena.honest = Some(Honest::start(arena.way.clone()).await);
        attack(&arena).await;
        let honest = arena.honest.take().unwrap();
        let Some(server) = arena.server.take() else {
            honest.end_with_server().await;
            return;
        };
        honest.end().await;
        before.returns(arena.address).await;
        assert_eq!(server.connections(), 0);
        server.shutdown(LIMIT).await;
    });
}

impl Arena {
    async fn new(door: Door, target: Target) -> Self {
        let log = Log::open("server".parse().unwrap(), MemoryStore::new()).await.unwrap();
        let Target { mut listener, sync, max_connections, max_strangers, source, .. } = target;
        let limits = [max_connections, max_strangers];
        let is_secure = matches!(door, Door::Https | Door::Wss);
        if is_secure {
            listener = listener.tls(CERTIFICATE.server());
        }
        let (address, server) = match door {
            Door::Http | Door::Https => {
                let http = HttpListener::bind("127.0.0.1:0").await.unwrap().options(listener);
                (http.local_addr(), serve(&log, http, sync, limits))
            }
            Door::Ws | Door::Wss => {
                let ws = WebSocketListener::bind("127.0.0.1:0").await.unwrap().options(listener);
                (ws.local_addr(), serve(&log, ws, sync, limits))
            }
        };
        // It listens, in a task of its own.
        for _ in 0..10 {
            yield_now().await;
        }
        let address = address.unwrap();
        Self {
            address,
            log,
            way: way(door, address),
            server: RefCell::new(Some(server)),
            honest: None,
            source,
            dialler: is_secure.then(|| CERTIFICATE.dialler()),
        }
    }

    /// How honest clients reach it.
    pub(crate) fn way(&self) -> &Way {
        &self.way
    }

    /// For WebSocket and for long-poll, where no TLS is spoken.
    pub(crate) fn urls(&self) -> [String; 2] {
        ["ws", "http"].map(|scheme| format!("{scheme}://{}/", self.address))
    }

    /// What begins a handshake of TLS, where it is spoken.
    pub(crate) fn hello(&self) -> Vec<u8> {
        self.dialler.as_ref().map(Dialler::hello).unwrap_or_default()
    }

    /// A connection that no TLS was spoken on yet.
    pub(crate) async fn tcp(&self) -> TcpStream {
        self.tcp_by(|_| ()).await
    }

    pub(crate) async fn tcp_by(&self, change: impl FnOnce(&TcpSocket)) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        // Without need, that would take a port from all.
        if self.source != Ipv4Addr::LOCALHOST {
            socket.bind((IpAddr::from(self.source), 0).into()).unwrap();
        }
        change(&socket);
        let stream = socket.connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Whether somebody listens.
    pub(crate) async fn is_open(&self) -> bool {
        TcpStream::connect(self.address).await.is_ok()
    }

    /// An attacker's connection, by TLS where the server speaks it.
    pub(crate) async fn connect(&self) -> Raw {
        self.try_connect(self.tcp().await).await.expect("the server speaks TLS")
    }

    /// The same over a connection that there is. `None` where that is cut before TLS is spoken.
    pub(crate) async fn try_connect(&self, tcp: TcpStream) -> Option<Raw> {
        match &self.dialler {
            None => Some(Raw::over(tcp)),
            Some(dialler) => Some(Raw::over(dialler.connect(tcp).await.ok()?)),
        }
    }

    /// Has the keys of a connection by TLS changed so many times, as long as the server takes it.
    pub(crate) async fn change_keys(&self, times: usize) {
        let tcp = self.tcp().await;
        let dialler = self.dialler.as_ref().expect("the server speaks TLS");
        let Ok(mut stream) = dialler.connect(tcp).await else { return };
        for _ in 0..times {
            stream.get_mut().1.refresh_traffic_keys().unwrap();
            if stream.flush().await.is_err() {
                return;
            }
        }
    }

    /// Opens a WebSocket. `None` where another client is given its place.
    pub(crate) async fn try_websocket(&self) -> Option<Raw> {
        let mut raw = self.try_connect(self.tcp().await).await?;
        raw.send(head("GET", &UPGRADE)).await;
        let answer = raw.try_answer().await?;
        assert_eq!(answer.status, 101, "{answer:?}");
        Some(raw)
    }

    /// Opens a WebSocket.
    pub(crate) async fn websocket(&self) -> Raw {
        let mut raw = self.connect().await;
        let answer = raw.ask(&head("GET", &UPGRADE)).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        raw
    }

    /// Opens a long-poll session, and tells its id.
    pub(crate) async fn session(&self, raw: &mut Raw) -> String {
        let answer = raw.ask(&create(&[])).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.header("logux-session").unwrap().to_owned()
    }

    /// Stays until newcomers have come in while all is as it is now.
    pub(crate) async fn stay(&self) {
        self.honest().see_newcomers().await;
    }

    /// So many strangers do the same again and again, until many newcomers have come in.
    pub(crate) async fn crowd(&self, count: usize, attack: impl AsyncFn(usize)) {
        self.honest().beside(count, attack).await;
    }

    /// How many connections there are besides those of honest clients.
    pub(crate) async fn attackers(&self) -> usize {
        let _nobody_comes = self.honest().no_newcomers().await;
        loop {
            let sessions = self.server.borrow().as_ref().expect("it was not taken").sessions();
            let is_newcomers = |peer: Arc<Peer>| is_newcomer(&peer.node_id);
            // It learns a little later that the last one has gone.
            if !sessions.iter().any(|session| session.peer().is_some_and(is_newcomers)) {
                return sessions.len() - 2;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until there are so many.
    pub(crate) async fn has_attackers(&self, count: usize) {
        let coming = async {
            while self.attackers().await != count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let come = timeout(LIMIT, coming).await;
        assert!(come.is_ok(), "{} instead of {count}", self.attackers().await);
    }

    /// The server, which is to end. Nobody comes any more, and two clients are here.
    pub(crate) async fn take_server(&self) -> RunningServer {
        self.honest().stop_newcomers().await;
        self.attackers().await;
        self.server.take().expect("it is taken once")
    }

    fn honest(&self) -> &Honest {
        self.honest.as_ref().expect("they are here during an attack")
    }
}

fn way(door: Door, server: SocketAddr) -> Way {
    let tls: TlsClient = CERTIFICATE.client();
    let websocket = |scheme| WebSocket::new(&format!("{scheme}://{server}/")).unwrap();
    let long_poll = |scheme| LongPoll::new(&format!("{scheme}://{server}/")).unwrap();
    match door {
        Door::Http => Way::new(websocket("ws"), Some(long_poll("http"))),
        Door::Https => {
            Way::new(websocket("wss").tls(tls.clone()), Some(long_poll("https").tls(tls)))
        }
        Door::Ws => Way::new(websocket("ws"), None),
        Door::Wss => Way::new(websocket("wss").tls(tls), None),
    }
}

fn serve(
    log: &Log<String>,
    listener: impl Listener,
    options: SyncOptions<String>,
    [max_connections, max_strangers]: [usize; 2],
) -> RunningServer {
    let server = Server::new(log, Json, listener).options(options);
    server.max_connections(max_connections).max_strangers(max_strangers).start()
}

/// What serving takes, and gives back.
#[derive(Debug, PartialEq, Eq)]
struct Level {
    tasks: usize,
    sockets: usize,
}

impl Level {
    fn of(server: SocketAddr) -> Self {
        let tasks = Handle::current().metrics().num_alive_tasks();
        Self { tasks, sockets: sockets(server.port()) }
    }

    async fn returns(&self, server: SocketAddr) {
        let returning = async {
            while Self::of(server) != *self {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let returned = timeout(LIMIT, returning).await;
        assert!(returned.is_ok(), "there is {:?}, and was {self:?}", Self::of(server));
    }
}

/// How many descriptors of this process are sockets with this port at one of their ends. Systems without
/// `/proc` count tasks alone: each connection is one.
fn sockets(port: u16) -> usize {
    let (Ok(table), Ok(descriptors)) = (read_to_string("/proc/net/tcp"), read_dir("/proc/self/fd"))
    else {
        return 0;
    };
    let end = format!(":{port:04X}");
    let inode = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().take(10).collect();
        let &[_, near, far, .., inode] = &fields[..] else { return None };
        (near.ends_with(&end) || far.ends_with(&end)).then(|| format!("socket:[{inode}]"))
    };
    let inodes: HashSet<_> = table.lines().filter_map(inode).collect();
    let links = descriptors.filter_map(|descriptor| read_link(descriptor.ok()?.path()).ok());
    links.filter(|link| link.to_str().is_some_and(|link| inodes.contains(link))).count()
}
