//! The end of a server.

use tokio::time::{Duration, sleep, timeout};

use crate::arena::{Door, short, under_attack};
use crate::honest::LIMIT;
use crate::raw::{Answer, MEDIA_TYPE, connect, create, frame, packed, post};

on_http_and_https![a_shutdown_closes_websockets_and_polled_sessions_in_order,];

fn a_shutdown_closes_websockets_and_polled_sessions_in_order(door: Door) {
    under_attack(door, short().wait(LIMIT), async |arena| {
        let mut websocket = arena.websocket().await;
        websocket.send(frame(&connect("websocket"))).await;

        let mut send = arena.connect().await;
        let id = arena.session(&mut send).await;
        let id = ("logux-session", &*id);
        let first = [MEDIA_TYPE, id, ("logux-send", "0 1")];
        assert_eq!(send.ask(&post(&first, &packed(&connect("polled")))).await.status, 200);
        // `connected`, and then a poll that is held, unless there is more.
        let mut poll = arena.connect().await;
        let ask = |number: u64, ack: u64| {
            post(&[MEDIA_TYPE, id, ("logux-poll", &format!("{number} {ack}"))], b"")
        };
        let mut read = last_frame(&poll.ask(&ask(2, 0)).await);
        poll.send(ask(3, read)).await;
        let idle = arena.connect().await;

        assert_eq!(arena.attackers().await, 2);
        let server = arena.take_server().await;
        let shutdown = tokio::spawn(server.shutdown(LIMIT));
        websocket.closed().await;
        drop(websocket);
        for number in 4.. {
            let answer = poll.answer().await;
            read = last_frame(&answer).max(read);
            if answer.header("logux-answer").unwrap().starts_with("closed ") {
                break;
            }
            poll.send(ask(number, read)).await;
        }
        // Who comes now is told that it is too late.
        assert_eq!(send.ask(&create(&[])).await.status, 503);
        let last = format!("{read} 2 end");
        let last = [MEDIA_TYPE, id, ("logux-send", &last)];
        assert_eq!(send.ask(&post(&last, b"")).await.status, 200);

        let shutdown = shutdown.await.unwrap();
        assert_eq!((shutdown.closed, shutdown.cut), (4, 0));
        for mut raw in [poll, send, idle] {
            raw.ended().await;
        }
        let freed = async {
            while arena.is_open().await {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, freed).await.expect("the port is free");
    });
}

/// The number of the last frame of an answer to a poll.
fn last_frame(answer: &Answer) -> u64 {
    // The state, an acknowledgement, and the number of the first frame if there is one.
    let Some(first) = answer.header("logux-answer").unwrap().split(' ').nth(2) else { return 0 };
    let (mut last, mut rest) = (first.parse().unwrap(), &answer.body[..]);
    while let Some((length, frames)) = rest.split_first_chunk() {
        rest = &frames[u32::from_be_bytes(*length) as usize..];
        last += u64::from(!rest.is_empty());
    }
    last
}
