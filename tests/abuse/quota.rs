//! Clients that were let in and send without end.

use futures_util::StreamExt;
use futures_util::future::{join, join_all};
use futures_util::stream::FuturesUnordered;
use logux_sync::transports::{FrameReceiver, FrameSender};
use logux_sync::{Added, Json, LongPoll, Quota, SyncOptions, Transport, WebSocket, format};
use tokio::time::{Duration, Instant, timeout};

use crate::arena::{Arena, Door, Target, short, under_attack};
use crate::honest::LIMIT;
use crate::raw::{Raw, connect, frame};

/// Events per second of one node, and at once: more than the honest clients tell each other.
const EVENTS: u64 = 200;

/// How many events come in one message.
const AT_ONCE: u64 = 20;

/// How often each is told so, until it gives up.
const TIMES: usize = 2;

const PATIENCE: Duration = Duration::from_millis(1_200);

fn with_quota(options: SyncOptions<String>) -> SyncOptions<String> {
    let quota = Quota::default().events(EVENTS).burst(Duration::from_secs(1)).patience(PATIENCE);
    options.auth(async |_| true).quota(quota)
}

/// Sends events as fast as they are taken, and comes back when it is cut.
async fn flood(name: &str, mut transport: impl Transport) {
    let (mut number, mut told) = (0, 0);
    while told < TIMES {
        let link = transport.open(format::<Json>(), 1 << 20).await.unwrap();
        let (mut sender, mut receiver) = (link.sender, link.receiver);
        let writing = async {
            let mut frame = format!(r#"["connect",7,"{name}",0]"#);
            while sender.send(frame.into()).await.is_ok() && sender.flush().await.is_ok() {
                let event = |n: u64| format!(r#","event",{{"id":"{n:06}","time":1}}"#);
                let events: String = (1..=AT_ONCE).map(|n| event(number + n)).collect();
                number += AT_ONCE;
                frame = format!(r#"["sync",{number}{events}]"#);
            }
        };
        let reading = async {
            while let Ok(Some(frame)) = receiver.receive(1 << 20).await {
                let error = br#"["error","quota-exceeded","send at most 200 events and "#;
                told += usize::from(frame.starts_with(error));
            }
        };
        tokio::select! {
            () = writing => {}
            () = reading => {}
        }
    }
}

/// How many events of a node are in the log.
async fn count(arena: &Arena, name: &str) -> u64 {
    let entries = arena.log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    entries.iter().filter(|entry| entry.meta.id.node().as_str() == name).count() as u64
}

on_http![clients_that_send_without_end_get_no_more_than_their_quota];

fn clients_that_send_without_end_get_no_more_than_their_quota(door: Door) {
    under_attack(door, Target::from(short()).sync(with_quota), async |arena| {
        let [websocket, long_poll] = arena.urls();
        let websocket = WebSocket::new(&websocket).unwrap();
        let long_poll = LongPoll::new(&long_poll).unwrap();
        let start = Instant::now();
        let floods = join(flood("13:ws", websocket), flood("13:poll", long_poll));
        timeout(LIMIT, floods).await.expect("each is told that it sends too much");
        for name in ["13:ws", "13:poll"] {
            let count = count(arena, name).await;
            let passed = u64::try_from(start.elapsed().as_millis()).unwrap();
            let most = EVENTS + EVENTS * passed / 1_000 + AT_ONCE;
            assert!(count > EVENTS && count <= most, "{count} of {name}, and {most} at most");
        }
    });
}

/// How many peers the server has room for.
const PLACES: usize = 50;

on_every_door![the_many_connections_of_one_user_take_no_places_of_others];

fn the_many_connections_of_one_user_take_no_places_of_others(door: Door) {
    let target = Target::from(short()).sync(|options| options.auth(async |_| true));
    under_attack(door, target.max_connections(PLACES).elsewhere(), async |arena| {
        let opened = (0..2 * PLACES).map(async |number| {
            let mut raw = arena.websocket().await;
            raw.send(frame(&connect(&format!("13:{number}")))).await;
            raw
        });
        let mut opened = join_all(opened).await;
        arena.stay().await;
        // The two honest clients that talk have places, too.
        let ends = opened.iter_mut().map(Raw::gone).collect::<FuturesUnordered<_>>();
        let ended = ends.take(PLACES + 2).count();
        timeout(LIMIT, ended).await.expect("more of them stay than there are places");
        drop(opened);
        // One that loses its place takes another one.
        let crowd = arena.crowd(2 * PLACES, async |number| {
            let mut raw = arena.websocket().await;
            raw.send(frame(&connect(&format!("13:{number}")))).await;
            raw.gone().await;
        });
        crowd.await;
    });
}
