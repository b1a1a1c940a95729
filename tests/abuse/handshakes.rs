//! Handshakes of TLS that do not come to an end, or are none.

use std::time::Duration;

use tokio::time::sleep;

use crate::arena::{Door, short, under_attack};
use crate::raw::{Raw, UPGRADE, head};
use crate::slow::many;

on_tls![
    a_handshake_that_does_not_go_on_is_cut,
    a_handshake_that_comes_byte_by_byte_is_cut,
    what_is_no_tls_is_answered_or_cut,
    keys_that_change_all_the_time_hold_up_nobody,
];

fn a_handshake_that_does_not_go_on_is_cut(door: Door) {
    under_attack(door, short(), async |arena| {
        let hello = arena.hello();
        many(async |number| {
            let mut raw = Raw::over(arena.tcp().await);
            let said = [0, 1, hello.len() / 2, hello.len()][number % 4];
            raw.send(&hello[..said]).await;
            raw.gone().await;
        })
        .await;
    });
}

fn a_handshake_that_comes_byte_by_byte_is_cut(door: Door) {
    under_attack(door, short(), async |arena| {
        let hello = arena.hello();
        many(async |_| {
            let mut raw = Raw::over(arena.tcp().await);
            for byte in &hello {
                sleep(Duration::from_millis(20)).await;
                if !raw.try_send([*byte]).await {
                    break;
                }
            }
            raw.gone().await;
        })
        .await;
    });
}

fn what_is_no_tls_is_answered_or_cut(door: Door) {
    under_attack(door, short(), async |arena| {
        let mut broken = arena.hello();
        broken[1] = 0xff;
        // What announces more than a record may have; an alert; what is broken.
        let cases = [&b"\x16\x03\x01\xff\xff\x01"[..], b"\x15\x03\x03\0\x02\x02\x28", &broken];
        arena
            .crowd(30, async |number| {
                let mut raw = Raw::over(arena.tcp().await);
                if number % 2 == 0 {
                    assert_eq!(raw.ask(&head("GET", &UPGRADE)).await.status, 400);
                } else {
                    raw.send(cases[number % 3].repeat(100)).await;
                }
                raw.gone().await;
            })
            .await;
    });
}

/// The server makes new ones each time, and says so.
fn keys_that_change_all_the_time_hold_up_nobody(door: Door) {
    under_attack(door, short(), async |arena| {
        arena.crowd(10, async |_| arena.change_keys(1_000).await).await;
    });
}
