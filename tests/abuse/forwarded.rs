//! Strangers behind a proxy, whose address they share with everybody.

use logux_sync::Forwarding;

use crate::arena::{Door, ELSEWHERE, Target, short, under_attack};
use crate::raw::{Raw, UPGRADE, create, head};

const PLACES: usize = 8;
const STRANGERS: usize = 200;

on_http![strangers_behind_a_proxy_take_no_places_of_others, a_network_of_ipv6_is_one_stranger,];
on_every_door![connections_that_do_not_begin_as_a_proxys_are_cut];

fn strangers_behind_a_proxy_take_no_places_of_others(door: Door) {
    let options = short().max_links_per_address(PLACES);
    let options = options.trusted_proxies(["127.0.0.1"], Forwarding::XForwardedFor).unwrap();
    under_attack(door, options, async |arena| {
        // The proxy sends the requests of all over one connection.
        let mut raw = arena.connect().await;
        for number in 0..STRANGERS {
            // What a client makes up stands before what the proxy adds.
            let list = format!("192.0.2.{}, 198.51.100.1", number % 100);
            let answer = raw.ask(&create(&[("x-forwarded-for", &list)])).await;
            assert_eq!(answer.status, if number < PLACES { 200 } else { 429 }, "{number}");
        }
        for number in 0..PLACES {
            let answer = raw.ask(&create(&[("x-forwarded-for", "198.51.100.2")])).await;
            assert_eq!(answer.status, 200, "{number}");
            // What cannot be read counts for the proxy.
            let answer = raw.ask(&create(&[("x-forwarded-for", "198.51.100.1, unknown")])).await;
            assert_eq!(answer.status, 200, "{number}");
        }
        let answer = raw.ask(&create(&[("x-forwarded-for", "198.51.100.1, unknown")])).await;
        assert_eq!(answer.status, 429);
        let upgrade = [&UPGRADE[..], &[("x-forwarded-for", "198.51.100.1")]].concat();
        assert_eq!(raw.ask(&head("GET", &upgrade)).await.status, 429);
        let upgrade = [&UPGRADE[..], &[("x-forwarded-for", "198.51.100.3")]].concat();
        assert_eq!(raw.ask(&head("GET", &upgrade)).await.status, 101);
        arena.stay().await;
    });
}

/// One who has a network of 64 bits has as many addresses as it takes.
fn a_network_of_ipv6_is_one_stranger(door: Door) {
    let options = short().max_links_per_address(PLACES);
    let options = options.trusted_proxies(["127.0.0.1"], Forwarding::XForwardedFor).unwrap();
    under_attack(door, options, async |arena| {
        let mut raw = arena.connect().await;
        for number in 0..STRANGERS {
            let address = format!("2001:db8::{number:x}:1");
            let answer = raw.ask(&create(&[("x-forwarded-for", &address)])).await;
            assert_eq!(answer.status, if number < PLACES { 200 } else { 429 }, "{number}");
        }
        let answer = raw.ask(&create(&[("x-forwarded-for", "2001:db8:0:1::1")])).await;
        assert_eq!(answer.status, 200);
        arena.stay().await;
    });
}

/// Connections of a proxy that it does not begin as it is trusted to.
fn connections_that_do_not_begin_as_a_proxys_are_cut(door: Door) {
    let proxy = ELSEWHERE.to_string();
    let options = short().trusted_proxies([proxy], Forwarding::ProxyProtocol).unwrap();
    under_attack(door, Target::from(options).elsewhere(), async |arena| {
        let beginnings = [
            &b""[..],
            b"PROXY TCP4 192.0.2.1",
            b"PROXY UNKNOWN x",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff",
        ];
        let mut attackers = Vec::new();
        for number in 0..STRANGERS {
            let mut raw = Raw::over(arena.tcp().await);
            raw.send(beginnings[number % beginnings.len()]).await;
            attackers.push(raw);
        }
        for mut raw in attackers {
            raw.cut().await;
        }
    });
}
