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
        let first = [MEDIA_TYPE, id, ("logux-ack", "0"), ("logux-first", "1")];
        assert_eq!(send.ask(&post(&first, &packed(&connect("polled")))).await.status, 200);
        // `connected`, and then a poll that is held, unless there is more.
        let mut poll = arena.connect().await;
        let ask = |number: u64, ack: u64| {
            let (number, ack) = (number.to_string(), ack.to_string());
            let number = ("logux-request", &*number);
            post(&[MEDIA_TYPE, id, ("logux-poll", "1"), number, ("logux-ack", &ack)], b"")
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
            if answer.header("logux-state") == Some("closed") {
                break;
            }
            poll.send(ask(number, read)).await;
        }
        let ack = &*read.to_string();
        // Who comes now is told that it is too late.
        assert_eq!(send.ask(&create(&[])).await.status, 503);
        let last = [MEDIA_TYPE, id, ("logux-ack", ack), ("logux-first", "2"), ("logux-close", "1")];
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
    let Some(first) = answer.header("logux-first") else { return 0 };
    let (mut last, mut rest) = (first.parse().unwrap(), &answer.body[..]);
    while let Some((length, frames)) = rest.split_first_chunk() {
        rest = &frames[u32::from_be_bytes(*length) as usize..];
        last += u64::from(!rest.is_empty());
    }
    last
}
