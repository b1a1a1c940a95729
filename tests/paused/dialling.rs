//! `reconnect_now` is heard at every moment.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use logux_sync::{ClientSync, Error, Json, Memory, State};
use tokio::time::{Instant, sleep, timeout};

use crate::gate::Gate;
use crate::world::{
    CONNECT, CONNECTED, Hanging, Peer, add, log, milliseconds, options, patient, seconds,
};

#[tokio::test(start_paused = true)]
async fn a_dial_that_hangs_is_dropped_and_dialled_anew() {
    let (log, _) = log("10:client").await;
    let (inner, mut listener) = Memory::listen();
    let transport = Hanging { inner, times: 2 };
    let client = ClientSync::new(&log, Json, patient(transport)).start();
    for _ in 0..2 {
        assert!(timeout(seconds(60), Peer::accept(&mut listener)).await.is_err());
        client.reconnect_now().await;
    }
    let start = Instant::now();
    let mut peer = Peer::accept(&mut listener).await;
    assert_eq!(peer.next().await.unwrap(), CONNECT);
    assert_eq!(start.elapsed(), milliseconds(0));
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_not_made_are_made_anew() {
    let (log, _) = log("10:client").await;
    let (transport, mut listener) = Memory::listen();
    let asked = Arc::new(AtomicUsize::new(0));
    let options = {
        let asked = Arc::clone(&asked);
        options().credentials_with(move || {
            let nth = asked.fetch_add(1, Ordering::Relaxed);
            async move { if nth == 0 { pending().await } else { Ok("token".into()) } }
        })
    };
    let client = ClientSync::new(&log, Json, patient(transport)).options(options).start();
    assert!(timeout(seconds(1), Peer::accept(&mut listener)).await.is_err());
    client.reconnect_now().await;
    let mut peer = Peer::accept(&mut listener).await;
    assert!(peer.next().await.unwrap().contains("token"));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_has_not_answered_is_left() {
    let (log, _) = log("10:client").await;
    let (transport, mut listener) = Memory::listen();
    let client = ClientSync::new(&log, Json, patient(transport)).start();
    let mut old = Peer::accept(&mut listener).await;
    assert_eq!(old.next().await.unwrap(), CONNECT);
    sleep(seconds(1)).await;
    let start = Instant::now();
    client.reconnect_now().await;
    let mut new = Peer::accept(&mut listener).await;
    assert_eq!(new.next().await.unwrap(), CONNECT);
    assert_eq!(old.next().await, None);
    assert_eq!(start.elapsed(), milliseconds(0));
    new.send(CONNECTED).await;
    new.send(r#"["ready",0]"#).await;
    client.wait_for(State::Synchronized).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_that_nobody_answers_is_cut_short() {
    let (log, _) = log("10:client").await;
    let (transport, mut listener) = Memory::listen();
    let client = ClientSync::new(&log, Json, patient(transport)).start();
    let mut errors = client.errors();
    let mut old = Peer::accept(&mut listener).await;
    old.next().await.unwrap();
    // It misbehaves, is told so, and does not close.
    old.send("nonsense").await;
    assert!(old.next().await.unwrap().starts_with(r#"["error","wrong-format""#));
    sleep(seconds(1)).await;
    let start = Instant::now();
    client.reconnect_now().await;
    Peer::accept(&mut listener).await;
    assert_eq!(start.elapsed(), milliseconds(0));
    assert!(matches!(*errors.next().await.unwrap(), Error::OtherFormat { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_open_connection_is_asked_at_once_and_left_soon() {
    for (limit, left) in [(seconds(70), seconds(10)), (seconds(3), seconds(3))] {
        let (log, _) = log("10:client").await;
        let (transport, mut listener) = Memory::listen();
        let options = options().timeout(limit).ping(None);
        let transport = crate::world::quick(transport);
        let client = ClientSync::new(&log, Json, transport).options(options).start();
        let mut errors = client.errors();
        let mut peer = Peer::accept(&mut listener).await;
        peer.next().await.unwrap();
        peer.send(CONNECTED).await;
        peer.send(r#"["ready",0]"#).await;
        client.wait_for(State::Synchronized).await.unwrap();
        assert_eq!(peer.next().await.unwrap(), r#"["ready",0]"#);

        // It is there.
        client.reconnect_now().await;
        client.reconnect_now().await;
        assert_eq!(peer.next().await.unwrap(), r#"["ping",0]"#);
        peer.send(r#"["pong",0]"#).await;
        sleep(seconds(60)).await;
        assert_eq!(client.state(), State::Synchronized);

        // It is not.
        let start = Instant::now();
        client.reconnect_now().await;
        assert_eq!(peer.next().await.unwrap(), r#"["ping",0]"#);
        sleep(seconds(1)).await;
        // To ask again gives it no more time.
        client.reconnect_now().await;
        let error = errors.next().await.unwrap();
        assert!(matches!(*error, Error::Silent(silent) if silent == left), "{error}");
        assert_eq!(start.elapsed(), left);
        Peer::accept(&mut listener).await;
        assert!(start.elapsed() <= left + seconds(1), "no goodbye to a peer that is not there");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stuck_store_does_not_keep_a_session_from_dialling() {
    let (log, store) = log("10:client").await;
    add(&log, 0..1).await;
    let (transport, mut listener) = Memory::listen();
    let client = ClientSync::new(&log, Json, patient(transport)).start();
    let mut peer = Peer::accept(&mut listener).await;
    peer.next().await.unwrap();
    store.set(Gate::Stuck);
    drop(peer);
    sleep(seconds(1)).await;
    assert_eq!(client.state(), State::Wait);
    client.reconnect_now().await;
    // The link is opened, and then the store is asked who was dialled last.
    let mut peer = Peer::accept(&mut listener).await;
    sleep(seconds(1)).await;
    store.set(Gate::Open);
    assert_eq!(peer.next().await.unwrap(), CONNECT);
}

#[tokio::test(start_paused = true)]
async fn what_a_session_is_told_is_told_at_once_whatever_it_does() {
    let (log, _) = log("10:client").await;
    let transport = Hanging { inner: Memory::listen().0, times: usize::MAX };
    let client = ClientSync::new(&log, Json, patient(transport)).start();
    let start = Instant::now();
    for _ in 0..100 {
        client.debug("text").await;
        client.set_headers([("a".to_owned(), "b".into())].into_iter().collect()).await;
        client.reevaluate().await;
        client.offer_again().await;
        client.reconnect_now().await;
    }
    assert_eq!(start.elapsed(), milliseconds(0));
}

#[tokio::test(start_paused = true)]
async fn texts_and_headers_arrive_in_order() {
    let (log, _) = log("10:client").await;
    let (transport, mut listener) = Memory::listen();
    let client = ClientSync::new(&log, Json, patient(transport)).start();
    let mut peer = Peer::accept(&mut listener).await;
    peer.next().await.unwrap();
    let telling = async {
        for n in 0..100 {
            client.debug(n.to_string()).await;
        }
    };
    let reading = async {
        for n in 0..100 {
            assert_eq!(peer.next().await.unwrap(), format!(r#"["debug","error","{n}"]"#));
        }
    };
    tokio::join!(telling, reading);
}
