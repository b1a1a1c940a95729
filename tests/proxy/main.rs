//! Sessions through a reverse proxy, nginx, as it is by default: `tests/proxy/run` installs it and
//! runs this.

#[path = "../abuse/honest.rs"]
#[allow(dead_code, reason = "shared")]
mod honest;
mod nginx;
#[path = "../abuse/raw.rs"]
#[allow(dead_code, reason = "shared")]
mod raw;
mod strangers;

use std::collections::HashSet;
use std::env;
use std::error::Error as _;
use std::future::ready;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, join, join_all, select};
use futures_util::{StreamExt, TryStreamExt};
use logux_sync::transports::{
    Format, FrameReceiver, FrameSender, WebSocketLink, WebSocketReceiver, WebSocketSender,
};
use logux_sync::{
    Added, ClientSync, Codec, Entry, Error, EventId, Forwarding, HttpListener, Json, Listener,
    ListenerOptions, Log, Login, LongPoll, MemoryStore, MessagePack, NodeId, Reconnect,
    RefusalLimit, RunningServer, Server, Session, State, SyncOptions, Transport, Value, WebSocket,
    WebSocketListener,
};
use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use nginx::Nginx;

/// Far above what it takes until events are everywhere.
const LIMIT: Duration = Duration::from_secs(30);

const RELOADS: u32 = 3;

/// How long a load lasts before, between and after reloads.
const PAUSE: Duration = Duration::from_secs(3);

#[tokio::test]
#[ignore = "needs nginx: run tests/proxy/run"]
async fn sessions_survive_idleness_and_reloads() {
    let idle = env::var("IDLE_SECONDS").map_or(300, |seconds| seconds.parse().unwrap());
    let world = World::start("by-default", "").await;
    let mut added = world.add_to_all().await;
    world.settle(added).await;

    sleep(Duration::from_secs(idle)).await;
    for client in &world.clients {
        let states = client.states.lock().unwrap().clone();
        let [before @ .., State::Synchronized] = &states[..] else { panic!("{states:?}") };
        assert!(!before.contains(&State::Synchronized), "{}: {states:?}", client.name());
    }
    added += world.add_to_all().await;
    world.settle(added).await;
    for client in &world.clients {
        client.never_left();
    }
    println!("{idle} s idle: {} sessions went on as they were", world.clients.len());

    added += world.reload_under_load().await;
    world.settle(added).await;
    for client in world.clients.iter().filter(|client| client.is_long_poll()) {
        client.never_left();
    }
    world.report(added);
    world.stop().await;
}

/// By default nginx leaves old connections to its old workers. Here they close them.
#[tokio::test]
#[ignore = "needs nginx: run tests/proxy/run"]
async fn a_reload_that_cuts_connections_loses_nothing() {
    let world = World::start("cutting", "worker_shutdown_timeout 200ms;").await;
    let added = world.reload_under_load().await;
    world.settle(added).await;
    for client in &world.clients {
        if client.is_long_poll() {
            client.never_left();
        } else {
            assert!(client.session.diagnostics().connections > 1, "nothing was cut");
        }
    }
    world.report(added);
    world.stop().await;
}

#[tokio::test]
#[ignore = "needs nginx: run tests/proxy/run"]
async fn a_websocket_says_that_the_proxy_does_not_let_it_through() {
    let world = World::start("plain", "").await;
    let log = open("9:websocket-plain").await;
    let transport = WebSocket::new(&world.nginx.url("ws", "/plain")).unwrap();
    let session = ClientSync::new(&log, Json, transport).start();
    let error = timeout(LIMIT, session.ended()).await.unwrap().unwrap_err();
    assert!(matches!(*error, Error::Link(_)), "{error}");
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("426 Upgrade Required"), "{cause}");
    assert!(cause.contains("keeps the headers Upgrade and Connection back"), "{cause}");
    println!("a WebSocket where nginx upgrades nothing: {error}: {cause}");
    world.stop().await;
}

/// nginx refuses requests with a body of more than 1 MiB by default.
#[tokio::test]
#[ignore = "needs nginx: run tests/proxy/run"]
async fn long_events_pass_the_default_body_size() {
    let websocket = |nginx: &Nginx| WebSocket::new(&nginx.url("ws", "/mapped")).unwrap();
    let long_poll = |nginx: &Nginx| LongPoll::new(&nginx.url("http", "/plain")).unwrap();
    long_events_arrive("websocket-json", Json, websocket).await;
    long_events_arrive("websocket-message-pack", MessagePack, websocket).await;
    long_events_arrive("long-poll-json", Json, long_poll).await;
    long_events_arrive("long-poll-message-pack", MessagePack, long_poll).await;
}

/// Sends 60 events of 250 KiB each over one link.
async fn long_events_arrive<T: Transport>(
    name: &str,
    codec: impl Codec,
    transport: impl FnOnce(&Nginx) -> T,
) {
    const EVENTS: usize = 60;

    let (near, far) = (open("1:client").await, open("server").await);
    let listener = HttpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(&far, (Json, MessagePack), listener).start();
    let nginx = Nginx::start(name, "", address).await;
    for number in 0..EVENTS {
        let text = "x".repeat(250 << 10);
        near.add(json!({ "type": "note", "number": number, "text": text })).await.unwrap();
    }
    let start = Instant::now();
    let session = ClientSync::new(&near, codec, transport(&nginx)).start();
    let synchronized = timeout(LIMIT, session.wait_for(State::Synchronized)).await;
    synchronized.unwrap_or_else(|_| panic!("{name}: {}", nginx.log())).unwrap();
    println!("{name}: {EVENTS} events of 250 KiB took {:?}", start.elapsed());
    let arrived = contents(&far).await;
    assert_eq!(arrived.len(), EVENTS, "{name}");
    assert!(arrived == contents(&near).await, "{name}: the logs differ");
    // It warns of bodies that it keeps in a file, too.
    assert!(!nginx.log().contains("too large body"), "{name}: {}", nginx.log());
    session.close().await.unwrap();
    server.shutdown(LIMIT).await;
}

/// nginx tells the address of each client in a header.
#[tokio::test]
#[ignore = "needs nginx: run tests/proxy/run"]
async fn clients_behind_a_header_have_limits_of_their_own() {
    let options = ListenerOptions::new();
    let options = options.trusted_proxies([nginx::SOURCE], Forwarding::XForwardedFor).unwrap();
    let listener = HttpListener::bind("127.0.0.1:0").await.unwrap().options(options);
    let upstream = listener.local_addr().unwrap();
    let nginx = Nginx::start("header", "", upstream).await;
    strangers_lock_out_nobody_else(listener, nginx.address(), &nginx).await;
}

/// nginx tells the address of each client before all that it passes on.
#[tokio::test]
#[ignore = "needs nginx: run tests/proxy/run"]
async fn clients_behind_the_proxy_protocol_have_limits_of_their_own() {
    let options = ListenerOptions::new();
    let options = options.trusted_proxies([nginx::SOURCE], Forwarding::ProxyProtocol).unwrap();
    let listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap().options(options);
    let (address, upstream) = (nginx::free_address(), listener.local_addr().unwrap());
    let nginx = Nginx::start("stream", &nginx::stream(address, upstream), upstream).await;
    strangers_lock_out_nobody_else(listener, address, &nginx).await;
}

/// Guesses tokens from one address until it is not asked any more, and comes in from another.
async fn strangers_lock_out_nobody_else(listener: impl Listener, proxy: SocketAddr, nginx: &Nginx) {
    const STRANGER: [u8; 4] = [127, 0, 0, 2];
    const HONEST: [u8; 4] = [127, 0, 0, 3];
    // All users of one address may be refused ten times as often as one.
    const REFUSALS: u32 = 3;
    const GUESSES: u32 = 40;

    let asked = Arc::<Mutex<Vec<IpAddr>>>::default();
    let noted = Arc::clone(&asked);
    let options = SyncOptions::new()
        .bruteforce(RefusalLimit::new(REFUSALS, Duration::from_secs(60 * 60)))
        .auth(move |login: Login| {
            noted.lock().unwrap().push(login.link.address.unwrap().ip());
            ready(login.token_is("right"))
        });
    let server = Server::new(&open("server").await, Json, listener).options(options).start();
    let dial = async |name: String, source: [u8; 4], token: &str| {
        let transport = From { source: source.into(), proxy };
        let options = SyncOptions::new().credentials(token);
        let session = ClientSync::new(&open(&name).await, Json, transport).options(options).start();
        let synchronized = timeout(LIMIT, session.wait_for(State::Synchronized)).await;
        let synchronized = synchronized.unwrap_or_else(|_| panic!("{name}: {}", nginx.log()));
        let _ = session.close().await;
        synchronized.is_ok()
    };
    for number in 0..GUESSES {
        assert!(!dial(format!("{number}:guess"), STRANGER, "wrong").await);
    }
    assert!(!dial("99:late".to_owned(), STRANGER, "right").await, "it may guess on");
    for number in 100..103 {
        assert!(dial(format!("{number}:honest"), HONEST, "right").await, "it is locked out");
    }
    server.shutdown(LIMIT).await;
    let asked = asked.lock().unwrap();
    let of = |source: [u8; 4]| asked.iter().filter(|ip| **ip == IpAddr::from(source)).count();
    assert_eq!((of(STRANGER), of(HONEST)), (30, 3), "{asked:?}");
    assert_eq!(asked.len(), 33, "{asked:?}");
    println!("{GUESSES} guesses from one address behind the proxy: 3 of 3 from another came in");
}

/// Dials the proxy from an address. It says that it comes from elsewhere, which nobody is to believe.
struct From {
    source: IpAddr,
    proxy: SocketAddr,
}

impl Transport for From {
    type Sender = WebSocketSender<TcpStream>;
    type Receiver = WebSocketReceiver<TcpStream>;

    async fn open(
        &mut self,
        format: Format,
        max_frame: usize,
    ) -> io::Result<WebSocketLink<TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.source, 0).into())?;
        let tcp = socket.connect(self.proxy).await?;
        WebSocket::new(&format!("ws://{}/forwarded", self.proxy))?
            .header("x-forwarded-for", "192.0.2.1, 127.0.0.3")?
            .open_over(tcp, format, max_frame)
            .await
    }
}

/// A frame that is longer than nginx lets through is told apart from a link that was lost.
#[tokio::test]
#[ignore = "needs nginx: run tests/proxy/run"]
async fn a_body_that_is_too_long_for_the_proxy_is_told_of() {
    const FORMAT: Format = Format { name: "json", media_type: "text/plain", is_text: |_| true };
    const MAX_FRAME: usize = 4 << 20;

    let mut listener = HttpListener::bind("127.0.0.1:0").await.unwrap();
    let nginx = Nginx::start("too-long", "", listener.local_addr().unwrap()).await;
    let mut transport = LongPoll::new(&nginx.url("http", "/plain")).unwrap();
    // In a body, a frame comes after four bytes with its length.
    let longest = (1 << 20) - 4;
    for length in [longest, longest + 1, 3 << 20] {
        let formats = [FORMAT];
        let opening = transport.open(FORMAT, MAX_FRAME);
        let (near, far) = join(opening, listener.accept(&formats, MAX_FRAME)).await;
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        let sending = async {
            near.sender.send(vec![b'x'; length].into()).await?;
            near.sender.flush().await
        };
        // So much is taken only while somebody receives; where nothing comes, that is until the link ends.
        let receiving = async { far.receiver.receive(MAX_FRAME).await.unwrap().unwrap() };
        let sent = async {
            let sending = pin!(sending);
            match select(sending, pin!(receiving)).await {
                Either::Left((sent, receiving)) => match sent {
                    Ok(()) => Ok(receiving.await),
                    Err(error) => Err(error),
                },
                Either::Right((frame, sending)) => sending.await.map(|()| frame),
            }
        };
        match timeout(LIMIT, sent).await.unwrap() {
            Ok(frame) => {
                assert_eq!((length, frame.len()), (longest, longest));
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{length}: {error}");
                let text = error.to_string();
                assert!(
                    text.contains("413") && text.contains(&format!("{length} bytes")),
                    "{text}"
                );
                assert!(length > longest, "{text}");
            }
        }
    }
}

/// A server, a proxy before it, and clients that have only the proxy's address.
struct World {
    log: Log<Value>,
    server: RunningServer,
    nginx: Nginx,
    clients: Vec<Client>,
}

struct Client {
    log: Log<Value>,
    session: Session,
    /// All states so far.
    states: Arc<Mutex<Vec<State>>>,
}

impl World {
    async fn start(name: &str, settings: &str) -> Self {
        let log = open("server").await;
        let listener = HttpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(&log, Json, listener).start();
        let nginx = Nginx::start(name, settings, address).await;
        let websocket = |path| WebSocket::new(&nginx.url("ws", path)).unwrap();
        let long_poll = |path| LongPoll::new(&nginx.url("http", path)).unwrap();
        let clients = vec![
            Client::start("1:websocket-mapped", websocket("/mapped")).await,
            Client::start("2:websocket-short", websocket("/short")).await,
            Client::start("3:long-poll-mapped", long_poll("/mapped")).await,
            Client::start("4:long-poll-short", long_poll("/short")).await,
            Client::start("5:long-poll-plain", long_poll("/plain")).await,
        ];
        Self { log, server, nginx, clients }
    }

    fn logs(&self) -> impl Iterator<Item = &Log<Value>> {
        self.clients.iter().map(|client| &client.log).chain([&self.log])
    }

    /// An event of each node. Answers how many that makes.
    async fn add_to_all(&self) -> usize {
        for log in self.logs() {
            log.add(event(0)).await.unwrap();
        }
        self.logs().count()
    }

    /// Reloads the proxy while all nodes add events. Answers how many they added.
    async fn reload_under_load(&self) -> usize {
        let done = watch::Sender::new(false);
        let adding = join_all(self.logs().map(|log| add_until(log, done.subscribe())));
        let waiting = join_all(self.logs().map(|log| longest_wait(log, done.subscribe())));
        let reloading = async {
            sleep(PAUSE).await;
            for _ in 0..RELOADS {
                self.nginx.reload().await;
                sleep(PAUSE).await;
            }
            done.send_replace(true);
        };
        let ((added, waited), ()) = join(join(adding, waiting), reloading).await;
        let waited = waited.into_iter().max().unwrap();
        println!("{RELOADS} reloads: no node waited for an event longer than {waited:?}");
        assert!(waited < PAUSE, "between two reloads nothing came");
        added.into_iter().sum()
    }

    /// Waits until all that was added is everywhere, and nothing else.
    async fn settle(&self, added: usize) {
        for client in &self.clients {
            let synchronized = client.session.wait_for(State::Synchronized);
            timeout(LIMIT, synchronized).await.unwrap().unwrap();
        }
        for log in self.logs() {
            let all = log.follow(Added::ZERO).take(added).try_collect::<Vec<_>>();
            let node = log.node_id();
            let all = timeout(LIMIT, all).await;
            assert!(all.is_ok(), "{node} has {} events of {added}", log.last_added());
        }
        let expected = contents(&self.log).await;
        let ids: HashSet<_> = expected.iter().map(|(id, _)| id).collect();
        assert_eq!((expected.len(), ids.len()), (added, added));
        for log in self.logs() {
            assert!(contents(log).await == expected, "{} differs", log.node_id());
        }
        for client in &self.clients {
            client.had_each_once().await;
        }
    }

    fn report(&self, added: usize) {
        for client in &self.clients {
            let connections = client.session.diagnostics().connections;
            let how = match connections {
                1 => "over the one link that it opened".to_owned(),
                _ => format!("and opened {connections} links"),
            };
            println!("{}: had all of {added} events once, {how}", client.name());
        }
    }

    async fn stop(self) {
        for client in self.clients {
            client.session.close().await.unwrap();
        }
        self.server.shutdown(LIMIT).await;
    }
}

impl Client {
    async fn start(name: &str, transport: impl Transport) -> Self {
        let log = open(name).await;
        let transport = Reconnect::new(transport).first_delay(Duration::from_millis(100));
        let session = ClientSync::new(&log, Json, transport).start();
        let states = Arc::<Mutex<Vec<_>>>::default();
        let (mut changes, seen) = (session.states(), Arc::clone(&states));
        tokio::spawn(async move {
            while let Some(state) = changes.next().await {
                seen.lock().unwrap().push(state);
            }
        });
        Self { log, session, states }
    }

    fn name(&self) -> &NodeId {
        self.log.node_id()
    }

    fn is_long_poll(&self) -> bool {
        self.name().as_str().contains("long-poll")
    }

    /// Whether the first link is the one that there is still.
    fn never_left(&self) {
        assert_eq!(self.session.diagnostics().connections, 1, "{}", self.name());
        let states = self.states.lock().unwrap();
        let connected = states.iter().skip_while(|state| **state != State::Synchronized);
        for state in connected {
            let is_connected = matches!(state, State::Sending | State::Synchronized);
            assert!(is_connected, "{}: {states:?}", self.name());
        }
    }

    /// On a single link, each event travelled once.
    async fn had_each_once(&self) {
        let diagnostics = self.session.diagnostics();
        if diagnostics.connections == 1 {
            let entries = self.log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
            let (own, others): (Vec<_>, Vec<_>) =
                entries.iter().partition(|entry| entry.meta.id.node() == self.name());
            let sent = (diagnostics.events_sent, diagnostics.events_received);
            assert_eq!(sent, (own.len() as u64, others.len() as u64), "{}", self.name());
        }
    }
}

async fn open(name: &str) -> Log<Value> {
    Log::open(name.parse().unwrap(), MemoryStore::new()).await.unwrap()
}

/// All events in the order of creation, which is the same everywhere.
async fn contents(log: &Log<Value>) -> Vec<(EventId, Value)> {
    let entries = log.entries_created_after(None, usize::MAX).await.unwrap();
    entries.iter().map(|entry| (entry.meta.id.clone(), entry.event.clone())).collect()
}

fn event(number: usize) -> Value {
    json!({ "type": "note", "number": number })
}

async fn add_until(log: &Log<Value>, done: watch::Receiver<bool>) -> usize {
    let mut added = 0;
    while !*done.borrow() {
        added += 1;
        log.add(event(added)).await.unwrap();
        sleep(Duration::from_millis(20)).await;
    }
    added
}

/// The longest time in which no event of another node came.
async fn longest_wait(log: &Log<Value>, mut done: watch::Receiver<bool>) -> Duration {
    let others = |entry: &Arc<Entry<Value>>| entry.meta.id.node() != log.node_id();
    let mut entries = log.follow(log.last_added());
    let mut longest = Duration::ZERO;
    let mut last = Instant::now();
    loop {
        tokio::select! {
            entry = entries.next() => if others(&entry.unwrap().unwrap()) {
                longest = longest.max(last.elapsed());
                last = Instant::now();
            },
            _ = done.wait_for(|done| *done) => return longest.max(last.elapsed()),
        }
    }
}
