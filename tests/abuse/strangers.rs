//! Peers that are not let in: many at once, again and again, and with all that a stranger may say.

use std::future::pending;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{sleep, timeout};

use crate::arena::{Arena, Door, SHORT, Target, short, under_attack};
use crate::honest::{LIMIT, TOKEN};
use crate::raw::{
    MEDIA_TYPE, Raw, UPGRADE, connect, create, frame, frame_header, head, packed, post,
};

/// What there is for strangers, where that is little.
const PLACES: usize = 50;

/// How many strangers there are at once, where they only take places. Each is two descriptors.
const MANY: usize = 400;

/// How many there are where they do something all the time.
const SOME: usize = 30;

on_every_door![
    silent_connections_hold_up_nobody,
    silent_connections_take_no_places_of_others,
    connections_that_come_and_go_hold_up_nobody,
    websockets_that_say_nothing_take_no_places_of_others,
    headers_of_many_objects_hold_up_nobody,
    strangers_that_send_a_byte_now_and_then_hold_up_nobody,
    wrong_tokens_of_another_address_hold_up_nobody,
    tabs_that_open_at_once_are_all_let_in,
];
on_http_and_https![
    headers_of_many_objects_by_long_poll_hold_up_nobody,
    connections_that_are_kept_take_no_places_of_others,
];

/// Connections on which nothing is said, or the half of what begins TLS.
async fn silent(arena: &Arena) -> Vec<Raw> {
    let hello = arena.hello();
    let mut silent = Vec::new();
    for number in 0..MANY {
        let mut raw = Raw::over(arena.tcp().await);
        if number % 2 == 0 {
            raw.send(&hello[..hello.len() / 2]).await;
        }
        silent.push(raw);
    }
    silent
}

fn silent_connections_hold_up_nobody(door: Door) {
    let options = short().handshake_timeout(LIMIT);
    under_attack(door, Target::from(options).alone(), async |arena| {
        let _silent = silent(arena).await;
        arena.stay().await;
    });
}

fn silent_connections_take_no_places_of_others(door: Door) {
    let options = short().handshake_timeout(10 * LIMIT).max_handshakes(PLACES);
    under_attack(door, Target::from(options).elsewhere().alone(), async |arena| {
        let mut silent = silent(arena).await;
        arena.stay().await;
        let cuts = silent.iter_mut().map(Raw::gone).collect::<FuturesUnordered<_>>();
        let cut = cuts.take(MANY - PLACES).count();
        timeout(LIMIT, cut).await.expect("more are kept than there are places");
    });
}

/// By TLS each of them costs the server a handshake.
fn connections_that_come_and_go_hold_up_nobody(door: Door) {
    under_attack(door, short(), async |arena| {
        arena.crowd(SOME, async |_| drop(arena.try_connect(arena.tcp().await).await)).await;
    });
}

fn websockets_that_say_nothing_take_no_places_of_others(door: Door) {
    let target = Target::from(short()).max_strangers(PLACES).elsewhere();
    under_attack(door, target, async |arena| {
        let opened = (0..4 * PLACES).map(async |_| arena.try_websocket().await);
        let opened = join_all(opened).await;
        arena.stay().await;
        assert!(arena.attackers().await <= PLACES);
        drop(opened);
        // A stranger that loses its place takes another one.
        arena
            .crowd(2 * PLACES, async |_| {
                if let Some(mut raw) = arena.try_websocket().await {
                    raw.gone().await;
                }
            })
            .await;
    });
}

/// `auth` does not answer about those that it does not know.
fn undecided() -> Target {
    Target::from(short()).elsewhere().sync(|options| {
        options.auth(async |login| {
            if !login.token_is(TOKEN) {
                pending::<()>().await;
            }
            true
        })
    })
}

/// Headers of the smallest objects that there are.
fn headers(objects: usize) -> String {
    format!(r#"["headers",{{"a":[{}]}}]"#, vec![r#"{"":0}"#; objects].join(","))
}

fn headers_of_many_objects_hold_up_nobody(door: Door) {
    let (long, allowed) = (headers(8_900), headers(499));
    under_attack(door, undecided(), async |arena| {
        arena
            .crowd(SOME, async |number| {
                let Some(mut raw) = arena.try_websocket().await else { return };
                match number % 3 {
                    // More than a stranger may say in one frame, and in all.
                    0 => raw.send(frame(&long)).await,
                    1 => while raw.try_send(frame(&allowed)).await {},
                    _ => {
                        raw.send(frame(&allowed)).await;
                        raw.send(frame(&connect(&format!("{number}:asked")))).await;
                        // What comes while `auth` runs.
                        raw.send(frame(&long)).await;
                    }
                }
                raw.gone().await;
            })
            .await;
    });
}

fn headers_of_many_objects_by_long_poll_hold_up_nobody(door: Door) {
    let (long, allowed) = (packed(&headers(8_900)), packed(&headers(499)));
    under_attack(door, undecided(), async |arena| {
        arena
            .crowd(SOME, async |number| {
                let mut raw = arena.connect().await;
                raw.send(create(&[])).await;
                let Some(answer) = raw.try_answer().await else { return };
                // There are only so many sessions of an address.
                let Some(id) = answer.header("logux-session") else { return };
                let asked = packed(&connect(&format!("{number}:asked")));
                let body = match number % 3 {
                    0 => long.clone(),
                    1 => allowed.repeat(6),
                    _ => [&allowed[..], &asked].concat(),
                };
                let headers = [MEDIA_TYPE, ("logux-session", id), ("logux-send", "0 1")];
                raw.send(post(&headers, &body)).await;
                raw.try_answer().await;
            })
            .await;
    });
}

fn strangers_that_send_a_byte_now_and_then_hold_up_nobody(door: Door) {
    const PAUSE: Duration = SHORT.checked_div(3).unwrap();

    let takes_long_poll = matches!(door, Door::Http | Door::Https);
    under_attack(door, short(), async |arena| {
        let hello = arena.hello();
        arena
            .crowd(4 * SOME, async |number| {
                let (mut raw, bytes) = match number % 3 {
                    0 if hello.is_empty() => (Raw::over(arena.tcp().await), head("GET", &UPGRADE)),
                    0 => (Raw::over(arena.tcp().await), hello.clone()),
                    1 if takes_long_poll => {
                        let mut raw = arena.connect().await;
                        let id = arena.session(&mut raw).await;
                        let headers = [MEDIA_TYPE, ("logux-session", &id), ("logux-send", "0 1")];
                        let length = [("content-length", "60000")];
                        raw.send(head("POST", &[&headers[..], &length].concat())).await;
                        (raw, packed(&connect("now and then")))
                    }
                    _ => {
                        let raw = arena.websocket().await;
                        (raw, [frame_header(60_000), b"x".repeat(1_000)].concat())
                    }
                };
                for byte in bytes {
                    sleep(PAUSE).await;
                    if !raw.try_send([byte]).await {
                        break;
                    }
                }
            })
            .await;
    });
}

fn wrong_tokens_of_another_address_hold_up_nobody(door: Door) {
    let target = Target::from(short()).elsewhere();
    let target = target.sync(|options| options.auth(async |login| login.token_is(TOKEN)));
    under_attack(door, target, async |arena| {
        arena
            .crowd(SOME, async |number| {
                let mut raw = arena.websocket().await;
                let guess = format!(r#"["connect",7,"{number}:guess",0,{{"token":"wrong"}}]"#);
                raw.send(frame(&guess)).await;
                raw.closed().await;
            })
            .await;
    });
}

/// They show the right token, while `auth` takes its time.
fn tabs_that_open_at_once_are_all_let_in(door: Door) {
    const TABS: usize = 6;

    let target = Target::from(short()).sync(|options| {
        options.auth(async |login| {
            sleep(Duration::from_millis(100)).await;
            login.token_is(TOKEN)
        })
    });
    under_attack(door, target, async |arena| {
        for round in 0..3 {
            let names = (0..TABS).map(|tab| format!("10:client:{round}{tab}"));
            let tabs = names.map(async |name| arena.way().come_in(&name).await);
            for tab in join_all(tabs).await {
                tab.close().await.unwrap();
            }
        }
    });
}

/// Strangers that ask something now and then, on a server that has no room for more connections.
fn connections_that_are_kept_take_no_places_of_others(door: Door) {
    let options = short().handshake_timeout(LIMIT).max_connections(PLACES);
    under_attack(door, Target::from(options).elsewhere(), async |arena| {
        arena
            .crowd(2 * PLACES, async |_| {
                let Some(mut raw) = arena.try_connect(arena.tcp().await).await else { return };
                loop {
                    raw.send(head("OPTIONS", &[])).await;
                    if raw.try_answer().await.is_none() {
                        return;
                    }
                    sleep(SHORT / 3).await;
                }
            })
            .await;
    });
}
