//! Sessions that are guessed, crowded or abused.

use futures_util::future::join_all;
use logux_sync::Forwarding;
use tokio::time::{Duration, sleep, timeout};

use crate::arena::{Door, PATIENCE, Target, short, under_attack};
use crate::honest::LIMIT;
use crate::raw::{MEDIA_TYPE, UPGRADE, connect, create, frame, head, packed, post};

/// A poll of a session.
fn poll(id: &str, number: usize, ack: &str) -> Vec<u8> {
    let numbers = format!("{number} {ack}");
    post(&[MEDIA_TYPE, ("logux-session", id), ("logux-poll", &numbers)], b"")
}

on_http_and_https![
    ids_that_are_guessed_find_nothing,
    who_never_acknowledges_loses_the_session,
    what_was_never_sent_cannot_be_acknowledged,
    sessions_that_are_opened_and_left_end,
    one_session_too_many_of_an_address_is_refused,
];

fn ids_that_are_guessed_find_nothing(door: Door) {
    // The session is to be there for as long as it is guessed.
    let time = 2 * PATIENCE;
    let target = Target::from(short().inactivity(time)).sync(|options| options.timeout(time));
    under_attack(door, target, async |arena| {
        let mut raw = arena.connect().await;
        let id = arena.session(&mut raw).await;
        let mut random = fastrand::Rng::with_seed(1);
        let mut guess = |_| (0..id.len()).map(|_| random.alphanumeric() as u8).collect();
        let mut guesses: Vec<Vec<u8>> = (0..500).map(&mut guess).collect();
        for at in 0..id.len() {
            let mut near = id.clone().into_bytes();
            near[at] = if near[at] == b'A' { b'B' } else { b'A' };
            guesses.extend([near, id[..at].into(), id[at + 1..].into()]);
        }
        for strange in [&b"__proto__"[..], b"%00", b"../..", b"\xff\xfe", b"0", b"null"] {
            guesses.push(strange.into());
        }
        guesses.push([id.as_bytes(), b",", id.as_bytes()].concat());
        let mut answers = Vec::new();
        for guess in &guesses {
            let [before, after] = [&b"POST / HTTP/1.1\r\nlogux-poll: 1 0\r\ncontent-length: 0\r\ncontent-type: application/vnd.logux.batch+json\r\nlogux-session: "[..], b"\r\n\r\n"];
            let mut answer = raw.ask(&[before, guess, after].concat()).await;
            answer.headers.remove("date");
            answers.push((answer.status, answer.headers, answer.body));
        }
        assert!(answers.iter().all(|answer| answer.0 == 404 && *answer == answers[0]));
        assert_eq!(raw.ask(&poll(&id, 1, "0")).await.status, 200);
    });
}

fn who_never_acknowledges_loses_the_session(door: Door) {
    under_attack(door, short(), async |arena| {
        let mut raw = arena.connect().await;
        let id = arena.session(&mut raw).await;
        let headers = [MEDIA_TYPE, ("logux-session", &id), ("logux-send", "0 1")];
        let answer = raw.ask(&post(&headers, &packed(&connect("never")))).await;
        assert_eq!(answer.status, 200);
        let answers = async {
            let mut answers = 0;
            loop {
                arena.log.add(format!("{answers}")).await.unwrap();
                let answer = raw.ask(&poll(&id, answers + 1, "0")).await;
                if answer.status == 404 {
                    return answers;
                }
                assert_eq!((answer.status, answer.header("logux-answer")), (200, Some("open 1 1")));
                answers += 1;
            }
        };
        assert_eq!(timeout(LIMIT, answers).await, Ok(100));
        arena.has_attackers(0).await;
    });
}

fn what_was_never_sent_cannot_be_acknowledged(door: Door) {
    under_attack(door, short(), async |arena| {
        let mut raw = arena.connect().await;
        let id = arena.session(&mut raw).await;
        assert_eq!(raw.ask(&poll(&id, 1, "9007199254740991")).await.status, 404);
        assert_eq!(raw.ask(&poll(&id, 2, "0")).await.status, 404);
        arena.has_attackers(0).await;
    });
}

fn sessions_that_are_opened_and_left_end(door: Door) {
    under_attack(door, short().handshake_timeout(LIMIT), async |arena| {
        let long_polls =
            join_all((0..100).map(async |_| arena.session(&mut arena.connect().await).await));
        let websockets = join_all((0..100).map(async |_| drop(arena.websocket().await)));
        let (ids, _) = futures_util::future::join(long_polls, websockets).await;
        assert_eq!(ids.len(), 100);
        arena.has_attackers(0).await;
    });
}

fn one_session_too_many_of_an_address_is_refused(door: Door) {
    // The honest clients are behind it, with an address of their own.
    let options = short().trusted_proxies(["127.0.0.1"], Forwarding::XForwardedFor).unwrap();
    under_attack(door, options.max_links_per_address(8), async |arena| {
        let mut raw = arena.connect().await;
        let mut websockets = Vec::new();
        for n in 0..4 {
            arena.session(&mut raw).await;
            let mut websocket = arena.websocket().await;
            websocket.send(frame(&connect(&format!("crowd{n}")))).await;
            websockets.push(websocket);
        }
        for request in [create(&[]), head("GET", &UPGRADE)] {
            let answer = raw.ask(&request).await;
            assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
        }
        arena.stay().await;
        drop(websockets.pop());
        let again = async {
            while raw.ask(&create(&[])).await.status != 200 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, again).await.expect("there is room again");
    });
}
