//! Credentials that are refused or end while connected, and fresh ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{
    Access, ClientSync, Error, Json, Memory, ProtocolError, Server, Session, State, SyncOptions,
    Transport, Value,
};
use tokio::time::{Instant, sleep};

use crate::gate::Gate;
use crate::world::{
    CONNECTED, Peer, add, held, log, milliseconds, options, patient, quick, seconds, taking,
};

const REFUSAL: &str = r#"["error","wrong-credentials"]"#;

/// Tokens with numbers, from 1 on.
fn numbered(options: SyncOptions<Value>) -> (SyncOptions<Value>, Arc<AtomicUsize>) {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let options = options.credentials_with(move || {
        let nth = count.fetch_add(1, Ordering::Relaxed) + 1;
        async move { Ok(format!("token {nth}").into()) }
    });
    (options, made)
}

async fn start(transport: impl Transport) -> (Session, Arc<AtomicUsize>) {
    let (log, _) = log("10:client").await;
    let (options, made) = numbered(options());
    (ClientSync::new(&log, Json, transport).options(options).start(), made)
}

/// Expects a node with the token of that number.
async fn with_token(peer: &mut Peer, number: usize) {
    let connect = peer.next().await.unwrap();
    assert!(connect.contains(&format!(r#""token":"token {number}""#)), "{connect}");
}

#[tokio::test(start_paused = true)]
async fn one_refusal_is_answered_at_once_by_one_fresh_token() {
    // Whether the transport dials again by itself, or not, or not for ages.
    for kind in 0..3 {
        let (memory, mut listener) = Memory::listen();
        let (client, made) = match kind {
            0 => start(quick(memory)).await,
            1 => start(memory).await,
            _ => start(patient(memory)).await,
        };
        let mut errors = client.errors();
        let begin = Instant::now();
        let mut number = 0;
        for _ in 0..3 {
            number += 1;
            let mut peer = Peer::accept(&mut listener).await;
            with_token(&mut peer, number).await;
            peer.send(REFUSAL).await;
            assert_eq!(peer.next().await, None);
            drop(peer);
            assert!(matches!(*errors.next().await.unwrap(), Error::Received(_)));
            number += 1;
            let mut peer = Peer::accept(&mut listener).await;
            with_token(&mut peer, number).await;
            // Being let in is what makes the next refusal the first again.
            peer.send(CONNECTED).await;
            peer.send(r#"["ready",0]"#).await;
            client.wait_for(State::Synchronized).await.unwrap();
            if kind == 0 {
                drop(peer);
            } else {
                assert_eq!(begin.elapsed(), milliseconds(0), "at once");
                break;
            }
        }
        assert_eq!(made.load(Ordering::Relaxed), number);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_refusal_in_a_row_is_final() {
    for dials_again in [true, false] {
        let (memory, mut listener) = Memory::listen();
        let (client, made) =
            if dials_again { start(quick(memory)).await } else { start(memory).await };
        for number in 1..=2 {
            let mut peer = Peer::accept(&mut listener).await;
            with_token(&mut peer, number).await;
            peer.send(REFUSAL).await;
            assert_eq!(peer.next().await, None);
        }
        let error = taking(client.ended()).await.1.unwrap_err();
        assert!(!error.is_transient());
        assert!(matches!(&*error, Error::Received(ProtocolError::WrongCredentials)), "{error}");
        assert_eq!(made.load(Ordering::Relaxed), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_loss_between_two_refusals_changes_nothing() {
    let (memory, mut listener) = Memory::listen();
    let (client, _) = start(quick(memory)).await;
    for number in 1..=3 {
        let mut peer = Peer::accept(&mut listener).await;
        with_token(&mut peer, number).await;
        if number != 2 {
            peer.send(REFUSAL).await;
            assert_eq!(peer.next().await, None);
        }
    }
    assert!(taking(client.ended()).await.1.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_what_never_changes_is_final() {
    let (log, _) = log("10:client").await;
    let (memory, mut listener) = Memory::listen();
    let options = options().credentials("token");
    let client = ClientSync::new(&log, Json, quick(memory)).options(options).start();
    let mut peer = Peer::accept(&mut listener).await;
    peer.next().await.unwrap();
    peer.send(REFUSAL).await;
    assert_eq!(peer.next().await, None);
    drop(peer);
    assert!(taking(client.ended()).await.1.is_err());
}

const HOUR: Duration = Duration::from_secs(60 * 60);

#[tokio::test(start_paused = true)]
async fn a_session_ends_with_the_credentials_and_the_client_comes_back_with_fresh_ones() {
    for dials_again in [true, false] {
        let ((here, _), (there, _)) = (log("10:client").await, log("server").await);
        let (memory, listener) = Memory::listen();
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        let auth =
            options().auth(move |login| {
                let nth = count.fetch_add(1, Ordering::Relaxed) + 1;
                let is_fresh = login.token_is(&format!("token {nth}"));
                async move {
                    if is_fresh { Access::client().expires_in(HOUR) } else { Access::nobody() }
                }
            });
        let server = Server::new(&there, Json, listener).options(auth).start();
        let (options, made) = numbered(options());
        let client = if dials_again {
            ClientSync::new(&here, Json, patient(memory)).options(options).start()
        } else {
            ClientSync::new(&here, Json, memory).options(options).start()
        };
        let mut errors = client.errors();
        client.wait_for(State::Synchronized).await.unwrap();
        let begin = Instant::now();
        let mut number = 0;
        for round in 1..=5 {
            let mut at_server = server.sessions().pop().unwrap().errors();
            // The last ones are on their way when the end comes.
            sleep(HOUR.saturating_sub(milliseconds(1))).await;
            add(&here, number..number + 2).await;
            add(&there, number + 2..number + 4).await;
            number += 4;
            let error = at_server.next().await.unwrap();
            assert!(matches!(*error, Error::Expired) && error.is_transient());
            let error = errors.next().await.unwrap();
            assert!(error.is_transient(), "{error}");
            assert!(matches!(&*error, Error::Received(it) if it.kind() == "credentials-expired"));
            client.wait_for(State::Synchronized).await.unwrap();
            assert_eq!(begin.elapsed(), HOUR * round, "on time, and at once");
            assert_eq!(held(&there).await.len() as u64, number);
            assert_eq!(held(&here).await.len() as u64, number);
        }
        assert_eq!(made.load(Ordering::Relaxed), 6);
        assert_eq!(client.diagnostics().connections, 6);
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_that_hold_for_no_time_are_not_made_in_a_tight_loop() {
    let ((here, _), (there, _)) = (log("10:client").await, log("server").await);
    let (memory, listener) = Memory::listen();
    let auth = options().auth(async |_| Access::client().expires_in(Duration::ZERO));
    let _server = Server::new(&there, Json, listener).options(auth).start();
    let (options, made) = numbered(options());
    let client = ClientSync::new(&here, Json, quick(memory)).options(options).start();
    sleep(seconds(60)).await;
    let made = made.load(Ordering::Relaxed) as u64;
    assert!((60..=600).contains(&made), "{made}");
    assert!(client.diagnostics().connections <= made);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_credentials_does_not_wait_for_a_slow_filter_or_store() {
    for gate in [Gate::Open, Gate::Stuck] {
        let ((here, _), (there, store)) = (log("10:client").await, log("server").await);
        let (memory, listener) = Memory::listen();
        let auth = options()
            .auth(async |_| Access::client().expires_in(seconds(30)))
            .callback_timeout(None)
            .in_filter(async |_, _| std::future::pending().await);
        let server = Server::new(&there, Json, listener).options(auth).start();
        let client =
            ClientSync::new(&here, Json, patient(memory)).options(options().batch(1)).start();
        client.wait_for(State::Synchronized).await.unwrap();
        let mut errors = client.errors();
        store.set(gate);
        add(&here, 0..200).await;
        let begin = Instant::now();
        let error = errors.next().await.unwrap();
        assert!(matches!(&*error, Error::Received(it) if it.kind() == "credentials-expired"));
        assert!(begin.elapsed() <= seconds(30));
        sleep(seconds(5)).await;
        assert_eq!(server.connections(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_with_fixed_credentials_comes_back_as_its_transport_likes() {
    let ((here, _), (there, _)) = (log("10:client").await, log("server").await);
    let (memory, listener) = Memory::listen();
    let auth = options().auth(async |_| Access::client().expires_in(seconds(30)));
    let _server = Server::new(&there, Json, listener).options(auth).start();
    let client = ClientSync::new(&here, Json, memory).start();
    let error = taking(client.ended()).await.1.unwrap_err();
    assert!(matches!(&*error, Error::Received(it) if it.kind() == "credentials-expired"));
}
