//! A callback that does not answer ends its connection, and nothing else.

use std::error::Error as _;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{
    CallbackTimeout, ClientSync, Error, Json, Memory, Server, State, SyncOptions, Value,
};
use tokio::time::{Instant, sleep, timeout};

use crate::world::{
    CONNECT, FAREWELL, Peer, add, held, log, milliseconds, options, quick, seconds,
};

const LIMIT: Duration = Duration::from_secs(7);

/// The callback's name, and the error of a callback that took too long.
fn is_timeout(error: &Error, expected: &str, limit: Duration) -> bool {
    assert!(error.is_transient(), "{error}");
    let name = match error {
        Error::Callback { name, .. } => name,
        Error::Credentials(_) => "credentials_with",
        _ => panic!("{error}"),
    };
    let source = error.source().unwrap();
    assert_eq!(source.downcast_ref::<CallbackTimeout>(), Some(&CallbackTimeout(limit)));
    assert_eq!(source.to_string(), format!("it did not answer within {} ms", limit.as_millis()));
    name == expected
}

/// Hangs once, for the event that the number is of, and answers from then on.
fn once(count: &Arc<AtomicUsize>) -> bool {
    count.fetch_add(1, Ordering::Relaxed) == 0
}

type Hang = fn(SyncOptions<Value>, Arc<AtomicUsize>) -> SyncOptions<Value>;

#[tokio::test(start_paused = true)]
async fn a_callback_that_hangs_once_ends_one_connection_and_loses_nothing() {
    let hang: [(&str, Hang); 5] = [
        ("in_filter", |options, count| {
            options.in_filter(move |_, _| {
                let hangs = once(&count);
                async move { if hangs { pending().await } else { Ok(true) } }
            })
        }),
        ("in_map", |options, count| {
            options.in_map(move |entry, _| {
                let hangs = once(&count);
                async move { if hangs { pending().await } else { Ok(entry) } }
            })
        }),
        ("out_filter", |options, count| {
            options.out_filter(move |_, _| {
                let hangs = once(&count);
                async move { if hangs { pending().await } else { Ok(true) } }
            })
        }),
        ("out_map", |options, count| {
            options.out_map(move |entry, _| {
                let hangs = once(&count);
                async move { if hangs { pending().await } else { Ok(entry) } }
            })
        }),
        ("auth", |options, count| {
            options.auth(move |_| {
                let hangs = once(&count);
                async move { if hangs { pending().await } else { true } }
            })
        }),
    ];
    for (name, hang) in hang {
        let ((here, _), (there, _)) = (log("10:client").await, log("server").await);
        add(&here, 0..3).await;
        add(&there, 10..13).await;
        let (transport, listener) = Memory::listen();
        let options = hang(options().callback_timeout(LIMIT), Arc::default());
        let server = Server::new(&there, Json, listener).options(options).start();
        let start = Instant::now();
        let client = ClientSync::new(&here, Json, quick(transport)).start();
        let mut told = client.errors();
        while server.connections() == 0 {
            sleep(milliseconds(1)).await;
        }
        let mut errors = server.sessions().pop().unwrap().errors();
        let error = errors.next().await.unwrap();
        assert!(is_timeout(&error, name, LIMIT), "{error}");
        assert!(start.elapsed() >= LIMIT && start.elapsed() <= LIMIT + FAREWELL);
        let told = told.next().await.unwrap();
        assert!(matches!(&*told, Error::Received(error) if error.kind() == "callback-failed"));
        assert!(told.is_transient());
        // It goes on by itself.
        let all = async {
            while held(&here).await.len() + held(&there).await.len() < 12 {
                sleep(seconds(1)).await;
            }
        };
        timeout(seconds(10 * 60), all).await.expect(name);
        assert_eq!(held(&here).await, [0, 1, 2, 10, 11, 12], "{name}");
        assert_eq!(held(&there).await, [0, 1, 2, 10, 11, 12], "{name}");
        assert_eq!(client.diagnostics().connections, 2, "{name}");
        assert!(there.held_back(here.node_id()).await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_not_made_are_asked_for_again() {
    let (log, _) = log("10:client").await;
    let (transport, mut listener) = Memory::listen();
    let count = Arc::new(AtomicUsize::new(0));
    let options = options().callback_timeout(LIMIT).credentials_with(move || {
        let hangs = once(&count);
        async move { if hangs { pending().await } else { Ok("token".into()) } }
    });
    let client = ClientSync::new(&log, Json, quick(transport)).options(options).start();
    let mut errors = client.errors();
    assert!(is_timeout(&errors.next().await.unwrap(), "credentials_with", LIMIT));
    assert!(Peer::accept(&mut listener).await.next().await.unwrap().contains("token"));
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_never_answers_frees_its_place_also_behind_a_full_intake() {
    let (log, _) = log("server").await;
    let (transport, listener) = Memory::listen();
    let options = options().in_filter(async |_, _| pending().await);
    let server = Server::new(&log, Json, listener).options(options).start();
    let mut peer = Peer::dial(&transport).await;
    peer.send(CONNECT).await;
    let start = Instant::now();
    // More than is taken while the filter is asked.
    let sending = async {
        for n in 1..200 {
            peer.send(&format!(r#"["sync",{n},{{"n":{n}}},{{"id":"{n}","time":1}}]"#)).await;
        }
        peer
    };
    let mut peer = timeout(seconds(70), sending).await.expect("the place is free");
    assert!(
        peer.rest().await.iter().any(|frame| frame == r#"["error","callback-failed","in_filter"]"#)
    );
    drop(peer);
    sleep(FAREWELL).await;
    assert_eq!(server.connections(), 0);
    // The default.
    assert!(start.elapsed() <= seconds(60) + 2 * FAREWELL, "{:?}", start.elapsed());
    assert!(held(&log).await.is_empty(), "and nothing is taken for judged");
}

#[tokio::test(start_paused = true)]
async fn a_callback_may_have_no_limit() {
    let ((here, _), (there, _)) = (log("10:client").await, log("server").await);
    add(&here, 0..1).await;
    let (transport, listener) = Memory::listen();
    let slow = options().callback_timeout(None).in_filter(async |_, _| {
        sleep(seconds(60 * 60)).await;
        Ok(true)
    });
    let _server = Server::new(&there, Json, listener).options(slow).start();
    let client = ClientSync::new(&here, Json, quick(transport)).start();
    client.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(client.diagnostics().connections, 1);
}
