//! Who sends slowly, or nothing, or reads nothing.

use std::time::Duration;

use futures_util::future::{join_all, ready};
use tokio::time::{Instant, sleep, timeout};

use crate::arena::{Arena, Door, Target, short, under_attack};
use crate::honest::LIMIT;
use crate::raw::{MEDIA_TYPE, Raw, UPGRADE, connect, frame, frame_header, head, post};

/// How many at once.
const MANY: usize = 50;

/// Within this all is over that has a short limit, on a busy machine, too.
const SOON: Duration = Duration::from_secs(15);

/// Runs many of the same at once; none may last.
pub(crate) async fn many(attack: impl AsyncFn(usize)) {
    let start = Instant::now();
    join_all((0..MANY).map(|n| attack(n))).await;
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

on_every_door![
    who_connects_and_says_nothing_is_cut,
    the_head_of_a_websocket_that_comes_byte_by_byte_is_cut,
    the_header_of_a_frame_that_never_ends_is_cut,
    a_frame_that_comes_byte_by_byte_is_cut,
    a_websocket_that_is_not_read_is_cut,
];
on_http_and_https![
    a_head_that_comes_byte_by_byte_is_cut,
    a_body_that_comes_byte_by_byte_is_answered_408,
    who_goes_on_sending_after_the_last_answer_is_cut,
    who_does_not_read_its_answers_is_cut,
];

fn who_connects_and_says_nothing_is_cut(door: Door) {
    under_attack(door, short(), async |arena| {
        many(async |_| arena.connect().await.cut().await).await;
    });
}

fn a_head_that_comes_byte_by_byte_is_cut(door: Door) {
    under_attack(door, short(), async |arena| {
        many(async |_| {
            let mut raw = arena.connect().await;
            raw.send("POST / HTTP/1.1\r\nx: ").await;
            raw.trickle_until_answered(b'x').await;
            raw.cut().await;
        })
        .await;
    });
}

fn the_head_of_a_websocket_that_comes_byte_by_byte_is_cut(door: Door) {
    under_attack(door, short(), async |arena| {
        let whole = head("GET", &UPGRADE);
        many(async |_| {
            let mut raw = arena.connect().await;
            raw.send(whole.strip_suffix(b"\r\n").unwrap()).await;
            raw.send("x: ").await;
            raw.trickle_until_answered(b'x').await;
            raw.cut().await;
        })
        .await;
    });
}

fn a_body_that_comes_byte_by_byte_is_answered_408(door: Door) {
    under_attack(door, short(), async |arena| {
        many(async |_| {
            let mut raw = arena.connect().await;
            let id = arena.session(&mut raw).await;
            let id = ("logux-session", &*id);
            let length = ("content-length", "60000");
            let request = head("POST", &[MEDIA_TYPE, id, ("logux-send", "0 1"), length]);
            raw.send(request).await;
            raw.trickle_until_answered(b'x').await;
            assert_eq!(raw.answer().await.status, 408);
            raw.ended().await;
        })
        .await;
    });
}

fn who_goes_on_sending_after_the_last_answer_is_cut(door: Door) {
    under_attack(door, short(), async |arena| {
        many(async |n| {
            let mut raw = arena.connect().await;
            raw.send(vec![b'x'; 20_000]).await;
            let (size, pause) = if n == 0 { (1 << 20, 1) } else { (1, 100) };
            let sending = async {
                while raw.try_send(vec![b'x'; size]).await {
                    sleep(Duration::from_millis(pause)).await;
                }
            };
            timeout(LIMIT, sending).await.expect("it is not cut");
        })
        .await;
    });
}

/// A WebSocket of a client that has been let in, or has not.
async fn opened(arena: &Arena, n: usize, is_let_in: bool) -> Raw {
    let mut raw = arena.websocket().await;
    if is_let_in {
        raw.send(frame(&connect(&format!("slow{n}")))).await;
    }
    raw
}

fn the_header_of_a_frame_that_never_ends_is_cut(door: Door) {
    under_attack(door, short(), async |arena| {
        many(async |n| {
            let mut raw = opened(arena, n, n % 2 == 0).await;
            raw.send(&frame_header(1000)[..1]).await;
            raw.closed().await;
        })
        .await;
    });
}

fn a_frame_that_comes_byte_by_byte_is_cut(door: Door) {
    under_attack(door, short(), async |arena| {
        many(async |n| {
            let mut raw = opened(arena, n, n % 2 == 0).await;
            raw.send(frame_header(60_000)).await;
            raw.trickle_until_closed(b'x').await;
        })
        .await;
    });
}

/// A connection whose client has room for next to nothing that it does not read.
async fn narrow(arena: &Arena) -> Raw {
    let tcp = arena.tcp_by(|socket| socket.set_recv_buffer_size(4 << 10).unwrap()).await;
    arena.try_connect(tcp).await.expect("the server speaks TLS")
}

fn who_does_not_read_its_answers_is_cut(door: Door) {
    under_attack(door, short(), async |arena| {
        let mut raw = narrow(arena).await;
        let request = post(&[("x", &"x".repeat(1000))], b"");
        let asking = async {
            // Until the connection is gone.
            while raw.try_send(&request).await {}
        };
        timeout(LIMIT, asking).await.expect("it is not cut");
    });
}

fn a_websocket_that_is_not_read_is_cut(door: Door) {
    // Nobody else is to read as much.
    let target = Target::from(short()).sync(|options| {
        options.out_filter(|entry, peer| {
            let is_sent = entry.event.len() < 1_000 || peer.node_id.as_str() == "deaf";
            ready(Ok(is_sent))
        })
    });
    under_attack(door, target, async |arena| {
        let mut raw = narrow(arena).await;
        assert_eq!(raw.ask(&head("GET", &UPGRADE)).await.status, 101);
        raw.send(frame(&connect("deaf"))).await;
        for _ in 0..200 {
            arena.log.add("x".repeat(60_000)).await.unwrap();
        }
        assert_eq!(arena.attackers().await, 1);
        arena.has_attackers(0).await;
    });
}
