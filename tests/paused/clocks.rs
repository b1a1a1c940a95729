//! A clock that is set, and a machine that sleeps, while a session is connected.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{
    Added, BaseSync, ClientSync, Error, Json, Log, Memory, MemoryStore, Role, Timestamp, Value,
};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::hand::{Hand, START, log_at};
use crate::world::{self, CONNECTED, Peer, add, options, quick};

const HOUR: i64 = 60 * 60 * 1000;

fn added(number: u64) -> Added {
    Added::new(number).unwrap()
}

fn parse(frame: Option<String>) -> Value {
    serde_json::from_str(&frame.unwrap()).unwrap()
}

/// The numbers of the events in a `sync` frame.
fn numbers(frame: Option<String>) -> Vec<u64> {
    let message = parse(frame);
    assert_eq!(message[0], "sync", "{message}");
    world::numbers(&message)
}

fn connected(start: u64, end: u64) -> String {
    json!(["connected", 7, "server", [start, end]]).to_string()
}

#[tokio::test(start_paused = true)]
async fn a_fix_follows_a_clock_that_is_set_while_connected() {
    for by in [HOUR, -HOUR, 1001, -1001] {
        let hand = Hand::new(HOUR);
        let log = log_at("client", &hand).await;
        let (near, far) = Memory::pair();
        let client = BaseSync::new(&log, Json, Role::Opener, near)
            .options(options().fix_time(true).window(1))
            .start();
        let mut server = Peer::new(far);
        server.next().await.unwrap();
        server.send(&connected(START, START)).await;
        assert_eq!(server.next().await.unwrap(), r#"["ready",0]"#);
        add(&log, 0..1).await;
        assert_eq!(numbers(server.next().await), [0]);
        // Waits for the confirmation of the first, and is sent once the clock is another one.
        add(&log, 1..2).await;
        sleep(Duration::from_secs(3)).await;
        hand.ahead.fetch_add(by, Ordering::Relaxed);
        add(&log, 2..3).await;
        server.send(r#"["synced",1]"#).await;
        let sync = parse(server.next().await);
        assert_eq!(sync[3]["time"], 0, "made before, by {by}");
        assert_eq!(sync[5]["time"], 3000, "made after, by {by}");
        assert_eq!(client.diagnostics().time_fix, HOUR + by);

        server.send(r#"["sync",1,{"n":2},{"id":"A","time":5}]"#).await;
        assert_eq!(server.next().await.unwrap(), r#"["synced",1]"#);
        let entries = log.entries_after(added(3), 10).await.unwrap();
        let time = entries[0].meta.time.since(Timestamp::new(START).unwrap());
        assert_eq!(time, 5 + HOUR + by);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fix_follows_a_clock_that_is_set_while_connecting() {
    for by in [HOUR, -HOUR] {
        let hand = Hand::new(HOUR);
        let log = log_at("client", &hand).await;
        let (near, far) = Memory::pair();
        let client =
            BaseSync::new(&log, Json, Role::Opener, near).options(options().fix_time(true)).start();
        let mut server = Peer::new(far);
        server.next().await.unwrap();
        hand.ahead.fetch_add(by, Ordering::Relaxed);
        server.send(&connected(START, START)).await;
        assert_eq!(server.next().await.unwrap(), r#"["ready",0]"#);
        assert_eq!(client.diagnostics().time_fix, HOUR + by);
    }
}

/// The log of a machine that can sleep, and what has it sleep: timers stand still meanwhile.
async fn log_that_sleeps(hand: &Hand) -> (Log<Value>, impl Fn(i64)) {
    let slept = Arc::new(AtomicI64::new(0));
    let so_far = Arc::clone(&slept);
    let so_far = move || Some(Duration::from_millis(so_far.load(Ordering::Relaxed).unsigned_abs()));
    let clock = hand.clock().slept(so_far);
    let store = Arc::new(MemoryStore::new());
    let log = Log::open_with("client".parse().unwrap(), store, clock).await.unwrap();
    let ahead = Arc::clone(&hand.ahead);
    let sleep = move |time| {
        ahead.fetch_add(time, Ordering::Relaxed);
        // No two clocks are read at the same moment.
        slept.fetch_add(time - 7, Ordering::Relaxed);
    };
    (log, sleep)
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_keeps_its_fix_and_asks_at_once() {
    let (hand, right) = (Hand::new(HOUR), Hand::new(0));
    let (log, fall_asleep) = log_that_sleeps(&hand).await;
    let (near, far) = Memory::pair();
    let client =
        BaseSync::new(&log, Json, Role::Opener, near).options(options().fix_time(true)).start();
    let mut server = Peer::new(far);
    server.next().await.unwrap();
    server.send(&connected(START, START)).await;
    assert_eq!(server.next().await.unwrap(), r#"["ready",0]"#);
    server.send(r#"["ready",0]"#).await;
    for _ in 0..5 {
        sleep(Duration::from_secs(1)).await;
        fall_asleep(8 * HOUR);
        right.ahead.fetch_add(8 * HOUR, Ordering::Relaxed);
        let awake = Instant::now();
        assert_eq!(server.next().await.unwrap(), r#"["ping",0]"#);
        assert!(awake.elapsed() <= Duration::from_secs(5), "{:?}", awake.elapsed());
        server.send(r#"["pong",0]"#).await;
    }
    // Both at once.
    fall_asleep(HOUR);
    right.ahead.fetch_add(HOUR, Ordering::Relaxed);
    hand.ahead.fetch_add(-2 * HOUR, Ordering::Relaxed);
    add(&log, 0..1).await;
    let is_sync = async {
        loop {
            match server.next().await.unwrap() {
                frame if frame.starts_with(r#"["ping","#) => server.send(r#"["pong",0]"#).await,
                frame => return parse(Some(frame)),
            }
        }
    };
    let sync = is_sync.await;
    let made_at = right.now().since(Timestamp::new(START).unwrap());
    let time = sync[3]["time"].as_i64().unwrap();
    assert!((time - made_at).abs() < 100, "{time} {made_at}");
    assert!((client.diagnostics().time_fix + HOUR).abs() < 100);
    assert_eq!(client.diagnostics().connections, 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_was_lost_in_a_sleep_is_given_up_within_seconds() {
    for fix in [false, true] {
        let hand = Hand::new(0);
        let (log, fall_asleep) = log_that_sleeps(&hand).await;
        let (near, far) = Memory::pair();
        let client =
            BaseSync::new(&log, Json, Role::Opener, near).options(options().fix_time(fix)).start();
        let mut server = Peer::new(far);
        server.next().await.unwrap();
        server.send(CONNECTED).await;
        assert_eq!(server.next().await.unwrap(), r#"["ready",0]"#);
        sleep(Duration::from_secs(3)).await;
        fall_asleep(HOUR);
        let awake = Instant::now();
        let error = timeout(Duration::from_secs(11), async {
            // A link that is not read may not close.
            while server.next().await.is_some() {}
            server.hang_up().await;
            client.ended().await.unwrap_err()
        });
        let error = error.await.unwrap();
        assert!(matches!(*error, Error::Silent(within) if within == Duration::from_secs(5)));
        assert!(error.is_transient() && awake.elapsed() <= Duration::from_secs(10));
    }
}

#[tokio::test(start_paused = true)]
async fn a_jump_that_may_be_a_sleep_is_measured_anew() {
    let (hand, right) = (Hand::new(HOUR), Hand::new(0));
    let store = Arc::new(MemoryStore::new());
    let clock = hand.clock().slept(|| None);
    let log = Log::open_with("client".parse().unwrap(), store, clock).await.unwrap();
    let (transport, mut listener) = Memory::listen();
    let client =
        ClientSync::new(&log, Json, quick(transport)).options(options().fix_time(true)).start();
    let mut errors = client.errors();
    let mut fix = HOUR;
    // How far both clocks go ahead: a sleep, and a clock that is set.
    for (ahead, right_ahead) in [(HOUR, HOUR), (HOUR, 0)] {
        for jumps in [true, false] {
            let mut server = Peer::accept(&mut listener).await;
            server.next().await.unwrap();
            let time = right.now().value();
            server.send(&connected(time, time)).await;
            server.next().await.unwrap();
            sleep(Duration::from_millis(100)).await;
            assert!((client.diagnostics().time_fix - fix).abs() <= 1);
            if jumps {
                hand.ahead.fetch_add(ahead, Ordering::Relaxed);
                right.ahead.fetch_add(right_ahead, Ordering::Relaxed);
                fix += ahead - right_ahead;
                while server.next().await.is_some() {}
                let error = errors.next().await.unwrap();
                assert!(matches!(*error, Error::ClockJumped), "{error}");
                assert!(error.is_transient());
            } else {
                // No sleep sets a clock back.
                hand.ahead.fetch_add(-5 * HOUR, Ordering::Relaxed);
                fix -= 5 * HOUR;
                sleep(Duration::from_secs(6)).await;
                assert!((client.diagnostics().time_fix - fix).abs() <= 1);
            }
            server.hang_up().await;
        }
    }
}
