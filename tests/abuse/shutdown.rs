//! The end of a server.

use tokio::net::TcpStream;
use tokio::time::{Duration, sleep, timeout};

use crate::arena::{LIMIT, short, under_attack};
use crate::raw::{MEDIA_TYPE, Raw, connect, create, frame, packed, post, session, websocket};

#[test]
fn a_shutdown_closes_websockets_and_polled_sessions_in_order() {
    under_attack(short().wait(LIMIT), async |arena| {
        let mut websocket = websocket(arena.address).await;
        websocket.send(frame(&connect("websocket"))).await;

        let mut send = Raw::connect(arena.address).await;
        let id = session(&mut send).await;
        let id = ("logux-session", &*id);
        let first = [MEDIA_TYPE, id, ("logux-ack", "0"), ("logux-first", "1")];
        assert_eq!(send.ask(&post(&first, &packed(&connect("polled")))).await.status, 200);
        // `connected`, and then a poll that is held.
        let mut poll = Raw::connect(arena.address).await;
        let ask = |number, ack| {
            let number = ("logux-request", number);
            post(&[MEDIA_TYPE, id, ("logux-poll", "1"), number, ("logux-ack", ack)], b"")
        };
        assert_eq!(poll.ask(&ask("2", "0")).await.header("logux-first"), Some("1"));
        poll.send(ask("3", "1")).await;
        let idle = Raw::connect(arena.address).await;

        assert_eq!(arena.server().connections(), 4);
        let server = arena.server.take().unwrap();
        let shutdown = tokio::spawn(server.shutdown(LIMIT));
        websocket.closed().await;
        drop(websocket);
        let answer = poll.answer().await;
        assert_eq!(answer.header("logux-state"), Some("closed"));
        let ack = answer.header("logux-first").unwrap();
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
            while TcpStream::connect(arena.address).await.is_ok() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, freed).await.expect("the port is free");
    });
}
