//! What honest clients see of a server that is attacked: how long newcomers take to come in, and how long
//! an event takes from one client to the other.
//!
//! Also of use where something else is between the clients and the server, as in `tests/proxy`.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use logux_sync::{
    ClientSync, Json, Log, LongPoll, MemoryStore, NodeId, Reconnect, Session, State, SyncOptions,
    Transport, WebSocket,
};
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// What honest clients show. Servers that check it let them in.
pub(crate) const TOKEN: &str = "right";

/// An address of theirs, for servers that believe those who tell one. Others do not look at it.
const FORWARDED_FOR: (&str, &str) = ("x-forwarded-for", "203.0.113.77");

/// What the names of newcomers begin with.
const NEWCOMER: &str = "newcomer";

/// How many newcomers of each kind there are at least.
const NEWCOMERS: usize = 3;

/// Clients leave time to others.
const PAUSE: Duration = Duration::from_millis(10);

/// So many times the limits may anything take before that is a fault: the machine may be busy.
const BUSY: u32 = 20;

/// Far above what anything here takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// How long an attack may hold up a newcomer, from the beginning of its session until it is `Synchronized`,
/// further attempts included.
const TO_COME_IN: Duration = Duration::from_secs(1);

/// How long an attack may hold up an event, from one client to the other.
const TO_GO_ON: Duration = Duration::from_millis(500);

/// How the server is reached.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    websocket: WebSocket,
    long_poll: Option<LongPoll>,
}

/// A WebSocket client and, where the server takes it, a long-poll client that tell each other events in
/// turn, and newcomers of both kinds, one after the other.
pub(crate) struct Honest {
    sessions: [Session; 2],
    is_over: watch::Sender<bool>,
    talk: JoinHandle<Waits>,
    newcomers: JoinHandle<()>,
    came: watch::Receiver<Waits>,
    /// Held by the newcomer that is here.
    turn: Arc<Mutex<()>>,
}

/// How often something was waited for, and how long at most.
#[derive(Clone, Copy, Debug, Default)]
struct Waits {
    count: usize,
    longest: Duration,
}

impl Way {
    pub(crate) fn new(websocket: WebSocket, long_poll: Option<LongPoll>) -> Self {
        let (name, value) = FORWARDED_FOR;
        Self {
            websocket: websocket.header(name, value).unwrap(),
            long_poll: long_poll.map(|long_poll| long_poll.header(name, value).unwrap()),
        }
    }

    /// One more honest client, by WebSocket.
    pub(crate) async fn come_in(&self, name: &str) -> Session {
        let session = start(&open(name).await, self.websocket.clone());
        let came_in = timeout(LIMIT, session.wait_for(State::Synchronized)).await;
        came_in.expect("it is let in").expect("it is not refused");
        session
    }
}

impl Honest {
    pub(crate) async fn start(way: Way) -> Self {
        let logs = [open("alice").await, open("bob").await];
        let first = start(&logs[0], way.websocket.clone());
        let second = match way.long_poll.clone() {
            Some(long_poll) => start(&logs[1], long_poll),
            None => start(&logs[1], way.websocket.clone()),
        };
        let sessions = [first, second];
        for session in &sessions {
            session.wait_for(State::Synchronized).await.unwrap();
        }
        let (is_over, over) = watch::channel(false);
        let talk = tokio::spawn(talk(logs, over.clone()));
        let (report, came) = watch::channel(Waits::default());
        let turn = Arc::new(Mutex::new(()));
        let newcomers = come_one_by_one(way, over, report, Arc::clone(&turn));
        let newcomers = tokio::spawn(newcomers);
        Self { sessions, is_over, talk, newcomers, came, turn }
    }

    /// Waits until some newcomers of each kind have come in from now on.
    pub(crate) async fn see_newcomers(&self) {
        let mut came = self.came.clone();
        // One may be on its way.
        let enough = came.borrow().count + 2 * NEWCOMERS + 1;
        came.wait_for(|came| came.count >= enough).await.expect("they come until the end");
    }

    /// So many strangers do the same again and again, until many newcomers have come in.
    pub(crate) async fn beside(&self, strangers: usize, attack: impl AsyncFn(usize)) {
        let attack = &attack;
        let attacks = (0..strangers).map(async |number| {
            loop {
                attack(number).await;
                // Ports are as few as 28,000, and each is free again a minute later.
                sleep(3 * PAUSE).await;
            }
        });
        let staying = async {
            for _ in 0..5 {
                self.see_newcomers().await;
            }
        };
        tokio::select! {
            () = staying => {}
            _ = join_all::<Vec<_>>(attacks.collect()) => unreachable!("they have no end"),
        }
    }

    /// Waits until no newcomer is here; none comes while this is held.
    pub(crate) async fn no_newcomers(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// From now on nobody comes.
    pub(crate) async fn stop_newcomers(&self) {
        let _nobody_is_here = self.turn.lock().await;
        self.newcomers.abort();
    }

    /// Ends in order, after one more talk, and prints a line of the table: what was seen, and what may be.
    /// Many times what may be is a fault.
    pub(crate) async fn end(self) {
        let Self { sessions, is_over, talk, newcomers, came, .. } = self;
        let during = came.borrow().count;
        is_over.send_replace(true);
        newcomers.await.unwrap();
        let (came, told) = (*came.borrow(), talk.await.unwrap());
        for session in sessions {
            session.close().await.unwrap();
        }
        let test = thread::current().name().unwrap_or_default().to_owned();
        let row = format!(
            "| {test} | {}, {during} of {} during it | {}, {} |",
            Share(came.longest, TO_COME_IN),
            came.count,
            Share(told.longest, TO_GO_ON),
            told.count,
        );
        // On a line of its own, whatever the harness prints.
        println!("\n{row}");
        assert!(came.longest < BUSY * TO_COME_IN, "newcomers are held up: {row}");
        assert!(told.longest < BUSY * TO_GO_ON, "events are held up: {row}");
    }

    /// Learns that the server has ended.
    pub(crate) async fn end_with_server(self) {
        self.talk.abort();
        self.newcomers.abort();
        for session in self.sessions {
            let ended = timeout(BUSY * TO_COME_IN, session.ended()).await;
            ended.expect("it learns of the end").expect("which is no error");
        }
    }
}

/// A time, of what it may be.
struct Share(Duration, Duration);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(time, limit) = self;
        let percent = 100.0 * time.as_secs_f64() / limit.as_secs_f64();
        write!(f, "{} ms of {} ({percent:.1} %)", time.as_millis(), limit.as_millis())
    }
}

impl Waits {
    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.longest = self.longest.max(time);
    }
}

pub(crate) fn is_newcomer(node: &NodeId) -> bool {
    node.as_str().starts_with(NEWCOMER)
}

async fn open(name: &str) -> Log<String> {
    Log::open(name.parse().unwrap(), MemoryStore::new()).await.unwrap()
}

fn start(log: &Log<String>, transport: impl Transport) -> Session {
    let options = SyncOptions::new().credentials(TOKEN);
    ClientSync::new(log, Json, transport).options(options).start()
}

/// Both tell each other events in turn, until it is over.
async fn talk(logs: [Log<String>; 2], over: watch::Receiver<bool>) -> Waits {
    let mut waits = Waits::default();
    let [alice, bob] = &logs;
    loop {
        let is_over = *over.borrow();
        for (from, to) in [(alice, bob), (bob, alice)] {
            let event = format!("{} {}", from.node_id(), waits.count);
            waits.add(tell(from, to, event).await);
        }
        if is_over {
            return waits;
        }
        sleep(PAUSE).await;
    }
}

/// Adds an event to a log, and tells how long it takes until it is in another.
async fn tell(from: &Log<String>, to: &Log<String>, event: String) -> Duration {
    let mut entries = to.follow(to.last_added());
    let start = Instant::now();
    from.add(event.clone()).await.unwrap();
    let arrival = async { while entries.next().await.unwrap().unwrap().event != event {} };
    let arrived = timeout(BUSY * TO_GO_ON, arrival).await;
    assert!(arrived.is_ok(), "{event:?} does not reach {}", to.node_id());
    start.elapsed()
}

/// Newcomers of both kinds in turn, until it is over and there were enough.
async fn come_one_by_one(
    way: Way,
    over: watch::Receiver<bool>,
    report: watch::Sender<Waits>,
    turn: Arc<Mutex<()>>,
) {
    loop {
        let count = report.borrow().count;
        let is_over = *over.borrow();
        if is_over && count >= 2 * NEWCOMERS {
            return;
        }
        let its_turn = turn.lock().await;
        let time = match &way.long_poll {
            Some(long_poll) if count % 2 == 1 => come_in(count, long_poll.clone()).await,
            _ => come_in(count, way.websocket.clone()).await,
        };
        drop(its_turn);
        report.send_modify(|waits| waits.add(time));
        sleep(PAUSE).await;
    }
}

/// How long a newcomer takes to come in. It dials again where it has to.
async fn come_in(number: usize, transport: impl Transport) -> Duration {
    let log = open(&format!("{NEWCOMER}{number}")).await;
    let start_of_all = Instant::now();
    let session = start(&log, Reconnect::new(transport));
    let synchronized = session.wait_for(State::Synchronized);
    let came_in = timeout(BUSY * TO_COME_IN, synchronized).await;
    let time = start_of_all.elapsed();
    let came_in = came_in.unwrap_or_else(|_| panic!("newcomer {number} does not come in"));
    came_in.unwrap_or_else(|error| panic!("newcomer {number} is refused: {:?}", error.reason()));
    session.close().await.unwrap();
    time
}
