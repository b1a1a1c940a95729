//! Requests that are refused: each by a whole answer.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::arena::{Arena, Door, short, under_attack};
use crate::raw::{Answer, Headers, MEDIA_TYPE, VERSION, create, head, post};

/// Sends a request on a connection of its own, all of it before it looks for the answer; the server
/// ends the connection, but not before.
async fn last_answer(arena: &Arena, request: &[u8]) -> Answer {
    let mut raw = arena.connect().await;
    for piece in request.chunks(10_000) {
        assert!(raw.try_send(piece).await, "the connection is reset, and the answer may be lost");
        sleep(Duration::from_millis(1)).await;
    }
    let answer = raw.answer().await;
    raw.ended().await;
    answer
}

on_http_and_https![
    a_head_that_is_too_long_is_refused,
    a_body_that_is_too_long_is_refused,
    a_request_of_two_lengths_is_refused,
    ten_thousand_wrong_media_types_are_answered_and_leave_nothing,
    what_is_no_http_is_answered_or_cut,
    requests_in_a_row_are_answered_in_a_row,
];

fn a_head_that_is_too_long_is_refused(door: Door) {
    under_attack(door, short(), async |arena| {
        let long = "x".repeat(20_000);
        let very_long = "x".repeat(1_000_000);
        let many = vec![("x", "x"); 100];
        let cases: [Headers<'_>; 3] = [&[("x", &long)], &[("x", &very_long)], &many];
        for headers in cases {
            let answer = last_answer(arena, &head("POST", headers)).await;
            assert_eq!(answer.status, 431);
        }
        for length in [20_000, 100_000] {
            let request = format!("POST /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(length));
            let answer = last_answer(arena, request.as_bytes()).await;
            assert!(matches!(answer.status, 414 | 431), "{answer:?}");
        }
    });
}

fn a_body_that_is_too_long_is_refused(door: Door) {
    under_attack(door, short(), async |arena| {
        // Above what one may have that was not let in, what all may have, and what anything can have.
        let lengths = ["70000", "2000000", "100000000000", "18446744073709551615"];
        let attacks = lengths.iter().flat_map(|length| [(length, 0), (length, 69_999)]);
        let attacks = attacks.map(async |(length, sent)| {
            let mut raw = arena.connect().await;
            let id = arena.session(&mut raw).await;
            let headers = [MEDIA_TYPE, ("logux-session", &id), ("content-length", length)];
            let first = [("logux-send", "0 1")];
            raw.send(head("POST", &[&headers[..], &first].concat())).await;
            raw.send(vec![b'x'; sent]).await;
            let answer = raw.answer().await;
            assert!(matches!(answer.status, 413 | 431), "{length}: {answer:?}");
            raw.ended().await;
        });
        join_all(attacks).await;
    });
}

fn a_request_of_two_lengths_is_refused(door: Door) {
    under_attack(door, short(), async |arena| {
        let mut raw = arena.connect().await;
        let id = arena.session(&mut raw).await;
        let chunked = ("transfer-encoding", "chunked");
        let cases: [Headers<'_>; 9] = [
            &[("content-length", "5"), chunked],
            &[chunked, ("content-length", "5")],
            &[("content-length", "0"), chunked],
            &[chunked],
            &[("transfer-encoding", "chunked, identity")],
            &[("content-length", "5"), ("content-length", "6")],
            &[("content-length", "5, 6")],
            &[("content-length", "+5")],
            &[("content-length", "0x5")],
        ];
        let nonce = ("logux-nonce", "AAAAAAAAAAAAAAAAAAAAAA");
        let send: Headers<'_> = &[("logux-session", &id), ("logux-send", "0 1")];
        for headers in cases {
            for kind in [&[nonce, VERSION][..], send, &[]] {
                let head = head("POST", &[&[MEDIA_TYPE], kind, headers].concat());
                // Whichever length counts, what comes after it is not to be taken for a request.
                let smuggled = create(&[]);
                let request = [&head[..], b"0\r\n\r\n", &smuggled[..]].concat();
                let answer = last_answer(arena, &request).await;
                assert!(matches!(answer.status, 400 | 411), "{headers:?}: {answer:?}");
            }
        }
        let old = b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        assert_eq!(last_answer(arena, old).await.status, 400);
    });
}

fn ten_thousand_wrong_media_types_are_answered_and_leave_nothing(door: Door) {
    const CONNECTIONS: usize = 100;
    const REQUESTS: usize = 100;

    under_attack(door, short(), async |arena| {
        let attacks = (0..CONNECTIONS).map(async |_| {
            let mut raw = arena.connect().await;
            for n in 0..REQUESTS {
                let mine = MEDIA_TYPE.1;
                let parameter = format!("{mine}; charset=utf-8");
                let upper = mine.to_uppercase();
                let format = format!("{mine}x");
                let types = ["text/plain", "application/x-www-form-urlencoded", "", &parameter];
                let types = [&types[..], &[&upper, &format, "application/json", mine]].concat();
                let encoding = ("content-encoding", "gzip");
                let answer = match types[n % types.len()] {
                    media_type if media_type == mine => raw.ask(&create(&[encoding])).await,
                    media_type => {
                        let nonce = ("logux-nonce", "AAAAAAAAAAAAAAAAAAAAAA");
                        let headers = [("content-type", media_type), VERSION, nonce];
                        raw.ask(&post(&headers, &[b'x'; 100])).await
                    }
                };
                assert_eq!(answer.status, 415);
                assert!(answer.body.ends_with(b"\n"));
            }
        });
        join_all(attacks).await;
    });
}

fn what_is_no_http_is_answered_or_cut(door: Door) {
    under_attack(door, short(), async |arena| {
        let seed = fastrand::u64(..);
        println!("the seed is {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut cases = vec![
            b"\r\n\r\n\r\n\r\n".to_vec(),
            b"GET\r\n\r\n".to_vec(),
            b"POST / HTTP/9.9\r\n\r\n".to_vec(),
            b"POST / HTTP/1.1\nhost: x\nx:\0\n\n".to_vec(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            // The beginning of TLS.
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        ];
        for _ in 0..100 {
            let length = random.usize(1..4000);
            cases.push(std::iter::repeat_with(|| random.u8(..)).take(length).collect());
        }
        let attacks = cases.iter().map(async |bytes| {
            let mut raw = arena.connect().await;
            raw.send(bytes).await;
            if let Some(answer) = raw.try_answer().await {
                assert_eq!(answer.status, 400, "{:?}", String::from_utf8_lossy(bytes));
                raw.ended().await;
            }
        });
        join_all(attacks).await;
    });
}

fn requests_in_a_row_are_answered_in_a_row(door: Door) {
    const REQUESTS: usize = 10_000;

    under_attack(door, short(), async |arena| {
        let mut raw = arena.connect().await;
        let answers = raw.ask_in_a_row(&head("GET", &[]), REQUESTS).await;
        assert!(answers.iter().all(|answer| answer.status == 426));
    });
}
