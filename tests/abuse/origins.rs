//! Pages of other origins.

use logux_sync::{
    ClientSync, Error, Json, ListenerOptions, Log, LongPoll, MemoryStore, ProtocolError, State,
    Transport, WebSocket,
};
use tokio::time::timeout;

use crate::arena::{Door, short, under_attack};
use crate::honest::LIMIT;
use crate::raw::{Answer, Headers, MEDIA_TYPE, Raw, UPGRADE, create, head, post};

const ALLOWED: [&str; 2] = ["https://example.com", "https://other.example:8443"];

const FOREIGN: [&str; 9] = [
    "https://evil.com",
    "https://example.com.evil.com",
    "https://evil-example.com",
    "http://example.com",
    "https://example.com:443",
    "https://EXAMPLE.com",
    "https://example.com/",
    "null",
    "*",
];

fn allow_list() -> ListenerOptions {
    short().origins(ALLOWED)
}

async fn ask(raw: &mut Raw, method: &str, headers: Headers<'_>, origin: &str) -> Answer {
    raw.ask(&head(method, &[headers, &[("origin", origin)]].concat())).await
}

/// Whether a page may read the answer; with its cookies or not at all.
fn can_be_read(answer: &Answer, origin: &str) -> bool {
    let [allowed, with_cookies] =
        ["access-control-allow-origin", "access-control-allow-credentials"];
    let told = (answer.header(allowed), answer.header(with_cookies));
    assert!(matches!(told, (None, None) | (Some(_), Some("true"))), "{answer:?}");
    told.0.is_some_and(|told| told == origin)
}

on_http![
    pages_of_origins_that_are_not_allowed_get_nowhere,
    pages_of_allowed_origins_are_let_ask_and_read,
    without_an_allow_list_no_page_of_another_host_can_read,
    programs_that_are_no_browsers_are_taken,
    pages_of_other_hosts_do_not_come_in_where_nobody_is_checked,
];

fn pages_of_origins_that_are_not_allowed_get_nowhere(door: Door) {
    under_attack(door, allow_list(), async |arena| {
        let mut raw = arena.connect().await;
        for origin in FOREIGN {
            let header = ("origin", origin);
            let preflight = ask(&mut raw, "OPTIONS", &[], origin).await;
            let post = raw.ask(&create(&[header])).await;
            let websocket = ask(&mut raw, "GET", &UPGRADE, origin).await;
            for answer in [preflight, post, websocket] {
                assert_eq!(answer.status, 403, "{origin}");
                assert!(!can_be_read(&answer, origin));
            }
        }
        let two = [("origin", ALLOWED[0]), ("origin", ALLOWED[0])];
        assert_eq!(raw.ask(&create(&two)).await.status, 403);
        assert_eq!(arena.attackers().await, 0);
    });
}

fn pages_of_allowed_origins_are_let_ask_and_read(door: Door) {
    under_attack(door, allow_list(), async |arena| {
        for origin in ALLOWED {
            let mut raw = arena.connect().await;
            let asks = [
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "content-type,logux-nonce,logux-version"),
            ];
            let preflight = ask(&mut raw, "OPTIONS", &asks, origin).await;
            assert_eq!(preflight.status, 204);
            assert!(can_be_read(&preflight, origin));
            assert_eq!(preflight.header("access-control-allow-methods"), Some("POST"));
            let headers = preflight.header("access-control-allow-headers").unwrap();
            let used = ["content-type", "logux-session", "logux-nonce", "logux-version"];
            let used = [&used[..], &["logux-poll", "logux-send"]].concat();
            assert!(used.iter().all(|name| headers.split(", ").any(|found| found == *name)));

            let answer = raw.ask(&create(&[("origin", origin)])).await;
            assert_eq!((answer.status, answer.header("vary")), (200, Some("origin")));
            assert!(can_be_read(&answer, origin));
            let exposed = answer.header("access-control-expose-headers").unwrap();
            let read = ["logux-session", "logux-version", "logux-answer"];
            assert!(read.iter().all(|name| exposed.split(", ").any(|found| found == *name)));

            // What is refused, a page may read, too; a session is its own.
            let id = ("logux-session", answer.header("logux-session").unwrap());
            for (other, status) in [(ALLOWED[0], 200), (ALLOWED[1], 200)] {
                let headers = [MEDIA_TYPE, id, ("logux-send", "0"), ("origin", other)];
                let answer = raw.ask(&post(&headers, b"")).await;
                assert_eq!(answer.status, if other == origin { status } else { 404 });
                assert!(can_be_read(&answer, other));
            }
            assert_eq!(ask(&mut raw, "GET", &UPGRADE, origin).await.status, 101);
        }
    });
}

fn without_an_allow_list_no_page_of_another_host_can_read(door: Door) {
    under_attack(door, short(), async |arena| {
        let mut raw = arena.connect().await;
        for origin in FOREIGN {
            let preflight = ask(&mut raw, "OPTIONS", &[], origin).await;
            assert!(!can_be_read(&preflight, origin));
            assert_eq!(preflight.header("access-control-allow-headers"), None);
            let answer = raw.ask(&create(&[("origin", origin)])).await;
            assert!(!can_be_read(&answer, origin));
        }
    });
}

fn programs_that_are_no_browsers_are_taken(door: Door) {
    under_attack(door, allow_list(), async |arena| {
        let mut raw = arena.connect().await;
        let answer = raw.ask(&create(&[])).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None));
        assert_eq!(raw.ask(&head("GET", &UPGRADE)).await.status, 101);
    });
}

/// A server that checks nobody may be meant for this machine, or for those in this network.
fn pages_of_other_hosts_do_not_come_in_where_nobody_is_checked(door: Door) {
    under_attack(door, short(), async |arena| {
        let [websocket, long_poll] = arena.urls();
        let own = long_poll.strip_suffix('/').unwrap().to_owned();
        let names = ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:8080", &own];
        for origin in FOREIGN.iter().chain(&names) {
            let websocket = WebSocket::new(&websocket).unwrap();
            let long_poll = LongPoll::new(&long_poll).unwrap();
            let came_in = [
                comes_in(websocket.header("origin", origin).unwrap()).await,
                comes_in(long_poll.header("origin", origin).unwrap()).await,
            ];
            assert_eq!(came_in, [names.contains(origin); 2], "{origin}");
        }
    });
}

async fn comes_in(transport: impl Transport) -> bool {
    let log: Log<String> = Log::open("66:page".parse().unwrap(), MemoryStore::new()).await.unwrap();
    let session = ClientSync::new(&log, Json, transport).start();
    if timeout(LIMIT, session.wait_for(State::Synchronized)).await.unwrap().is_ok() {
        session.close().await.unwrap();
        return true;
    }
    let error = session.ended().await.unwrap_err();
    assert!(matches!(*error, Error::Received(ProtocolError::WrongCredentials)), "{error}");
    false
}
