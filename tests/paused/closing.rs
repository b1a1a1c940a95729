//! A close is over within the stated time, whatever the session is doing.

use std::future::pending;
use std::time::Duration;

use logux_sync::{
    BaseSync, ClientSync, Error, Json, Memory, Role, Server, ServerSync, Session, State,
    SyncOptions, Value,
};
use tokio::time::{sleep, timeout};

use crate::gate::Gate;
use crate::world::{
    CONNECT, CONNECTED, FAREWELL, Hanging, Peer, add, held, log, milliseconds, options, quick,
    seconds, taking,
};

/// Closes in time, and answers how long that took.
async fn closes(session: Session) -> Duration {
    let handle = session.handle();
    let (time, result) = taking(session.close()).await;
    result.unwrap();
    assert!(time <= FAREWELL, "{time:?}");
    assert!([State::Disconnected, State::Wait].contains(&handle.state()));
    time
}

#[tokio::test(start_paused = true)]
async fn at_once_while_it_dials() {
    let (log, _) = log("10:client").await;
    let transport = Hanging { inner: Memory::listen().0, times: usize::MAX };
    let client = ClientSync::new(&log, Json, quick(transport)).start();
    sleep(seconds(1)).await;
    assert_eq!(closes(client).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn at_once_while_credentials_are_made() {
    let options = || options().credentials_with(async || pending().await);
    let (log, _) = log("10:client").await;
    let client = ClientSync::new(&log, Json, quick(Memory::listen().0)).options(options()).start();
    sleep(seconds(1)).await;
    assert_eq!(closes(client).await, Duration::ZERO);
    let (near, _far) = Memory::pair();
    let server = ServerSync::new(&log, Json, near).options(options()).start();
    sleep(seconds(1)).await;
    assert_eq!(closes(server).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn at_once_while_the_store_does_not_say_who_was_dialled() {
    let (log, store) = log("10:client").await;
    let (transport, _listener) = Memory::listen();
    store.set(Gate::Stuck);
    let client = ClientSync::new(&log, Json, quick(transport)).start();
    sleep(seconds(1)).await;
    // Whether something waits to be sent is asked of the store, too, but not for ever.
    closes(client).await;
}

#[tokio::test(start_paused = true)]
async fn while_a_peer_does_not_answer() {
    for answers in [false, true] {
        let (log, _) = log("10:client").await;
        add(&log, 0..3).await;
        let (transport, mut listener) = Memory::listen();
        let client = ClientSync::new(&log, Json, quick(transport)).start();
        let mut peer = Peer::accept(&mut listener).await;
        assert_eq!(peer.next().await.unwrap(), CONNECT);
        if answers {
            peer.send(CONNECTED).await;
            assert!(peer.next().await.unwrap().starts_with(r#"["sync",3"#));
        }
        // It reads nothing further, and does not close.
        closes(client).await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_peer_reads_nothing() {
    let (log, _) = log("10:client").await;
    let (transport, mut listener) = Memory::listen();
    let options = options().batch(1).window(100);
    let client = ClientSync::new(&log, Json, quick(transport)).options(options).start();
    let mut peer = Peer::accept(&mut listener).await;
    peer.next().await.unwrap();
    peer.send(CONNECTED).await;
    peer.next().await.unwrap();
    add(&log, 0..100).await;
    sleep(seconds(1)).await;
    closes(client).await;
}

#[tokio::test(start_paused = true)]
async fn while_auth_runs() {
    let (log, _) = log("server").await;
    let (near, far) = Memory::pair();
    let options = options().auth(async |_| pending::<bool>().await);
    let server = ServerSync::new(&log, Json, near).options(options).start();
    let mut peer = Peer::new(far);
    peer.send(CONNECT).await;
    sleep(seconds(1)).await;
    closes(server).await;
}

#[tokio::test(start_paused = true)]
async fn while_each_callback_hangs() {
    // With how many events the server then has: its own, and the client's where nobody holds them up.
    type Hang = fn(SyncOptions<Value>) -> SyncOptions<Value>;
    let hang: [(Hang, usize); 4] = [
        (|options| options.in_filter(async |_, _| pending().await), 3),
        (|options| options.in_map(async |_, _| pending().await), 3),
        (|options| options.out_filter(async |_, _| pending().await), 6),
        (|options| options.out_map(async |_, _| pending().await), 6),
    ];
    for (hang, count) in hang {
        let ((here, _), (there, _)) = (log("10:client").await, log("server").await);
        add(&here, 0..3).await;
        add(&there, 10..13).await;
        let (near, far) = Memory::pair();
        let client = BaseSync::new(&here, Json, Role::Opener, near).start();
        let server = ServerSync::new(&there, Json, far).options(hang(options())).start();
        sleep(seconds(1)).await;
        closes(server).await;
        closes(client).await;
        assert_eq!(held(&there).await.len(), count);
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_stuck_and_nothing_is_lost() {
    for gate in [Gate::Stuck, Gate::Mute] {
        for at_server in [true, false] {
            let ((here, near_store), (there, far_store)) =
                (log("10:client").await, log("server").await);
            let (transport, listener) = Memory::listen();
            let server = Server::new(&there, Json, listener).start();
            let client = ClientSync::new(&here, Json, quick(transport.clone())).start();
            client.wait_for(State::Synchronized).await.unwrap();
            let (from, stuck) = if at_server { (&here, far_store) } else { (&there, near_store) };
            stuck.set(gate);
            add(from, 0..3).await;
            sleep(seconds(1)).await;
            if at_server {
                let handle = server.sessions().pop().unwrap();
                let (time, result) = taking(handle.close()).await;
                assert!(result.is_ok() && time <= FAREWELL, "{time:?}");
                sleep(FAREWELL).await;
                // The client is there again, and waits for the store.
                assert_eq!(server.connections(), 1);
            } else {
                closes(client).await;
                let client = ClientSync::new(&here, Json, quick(transport.clone())).start();
                sleep(seconds(1)).await;
                closes(client).await;
            }
            stuck.set(Gate::Open);
            let client = ClientSync::new(&here, Json, quick(transport)).start();
            client.wait_for(State::Synchronized).await.unwrap();
            sleep(seconds(5)).await;
            assert_eq!(held(&here).await, [0, 1, 2], "{gate:?} {at_server}");
            assert_eq!(held(&there).await, [0, 1, 2], "{gate:?} {at_server}");
            assert_eq!(here.last_added(), there.last_added(), "a log shows all that it holds");
            closes(client).await;
            let (time, _) = taking(server.shutdown(seconds(1))).await;
            assert!(time <= seconds(1), "{time:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_client_that_was_refused_asks_a_stuck_store_what_waits() {
    let (log, store) = log("10:client").await;
    add(&log, 0..3).await;
    let (transport, mut listener) = Memory::listen();
    let client = ClientSync::new(&log, Json, quick(transport)).start();
    let mut peer = Peer::accept(&mut listener).await;
    peer.next().await.unwrap();
    store.set(Gate::Stuck);
    peer.send(r#"["error","wrong-credentials"]"#).await;
    // It is over by itself.
    let (time, result) = taking(client.ended()).await;
    assert!(matches!(*result.unwrap_err(), Error::Received(_)));
    assert!(time <= 2 * FAREWELL, "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn the_time_is_an_option_and_an_abort_takes_none() {
    let ((here, _), (there, store)) = (log("10:client").await, log("server").await);
    let limit = milliseconds(1_234);
    for abort in [false, true] {
        let (near, far) = Memory::pair();
        let client = BaseSync::new(&here, Json, Role::Opener, near).start();
        let server = ServerSync::new(&there, Json, far).options(options().farewell(limit)).start();
        client.wait_for(State::Synchronized).await.unwrap();
        store.set(Gate::Stuck);
        add(&here, 0..1).await;
        sleep(seconds(1)).await;
        let handle = server.handle();
        if abort {
            handle.abort();
        }
        let (time, result) = taking(server.close()).await;
        result.unwrap();
        assert_eq!(time, if abort { Duration::ZERO } else { limit });
        store.set(Gate::Open);
        assert!(taking(client.ended()).await.0 <= FAREWELL);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_dropped_is_over_in_time_too() {
    let ((here, _), (there, store)) = (log("10:client").await, log("server").await);
    let (near, far) = Memory::pair();
    let client = BaseSync::new(&here, Json, Role::Opener, near).start();
    let server = ServerSync::new(&there, Json, far).start();
    client.wait_for(State::Synchronized).await.unwrap();
    store.set(Gate::Stuck);
    add(&here, 0..1).await;
    sleep(seconds(1)).await;
    let handle = server.handle();
    drop(server);
    let (time, result) = taking(handle.close()).await;
    result.unwrap();
    assert!(time <= FAREWELL, "{time:?}");
    // A handle of a session that is over does not wait.
    assert_eq!(taking(handle.debug("text")).await.0, Duration::ZERO);
    assert_eq!(taking(handle.close()).await.0, Duration::ZERO);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_server_ends_within_its_grace_whatever_hangs() {
    let grace = milliseconds(700);
    let stuck: [fn(SyncOptions<Value>) -> SyncOptions<Value>; 4] = [
        |options| options,
        |options| options.auth(async |_| pending::<bool>().await),
        |options| options.in_filter(async |_, _| pending().await),
        |options| options.credentials_with(async || pending().await),
    ];
    for dropped in [false, true] {
        for stuck in stuck {
            let (there, store) = log("server").await;
            let (transport, listener) = Memory::listen();
            let server = Server::new(&there, Json, listener).options(stuck(options())).start();
            let mut peers = Vec::new();
            for n in 0..3 {
                let mut peer = Peer::dial(&transport).await;
                peer.send(&format!(r#"["connect",7,"10:{n}",0]"#)).await;
                peers.push(peer);
            }
            // One says nothing.
            peers.push(Peer::dial(&transport).await);
            sleep(seconds(1)).await;
            assert_eq!(server.connections(), 4);
            store.set(Gate::Stuck);
            for peer in &mut peers {
                peer.send(r#"["sync",1,{"n":1},{"id":"A","time":1}]"#).await;
            }
            sleep(seconds(1)).await;
            let (time, ()) = if dropped {
                // The order is given, and nobody waits for it.
                let _ = timeout(milliseconds(1), server.shutdown(grace)).await;
                taking(async {
                    for mut peer in peers {
                        peer.rest().await;
                    }
                })
                .await
            } else {
                taking(async {
                    server.shutdown(grace).await;
                })
                .await
            };
            assert!(time <= grace, "{time:?}");
        }
    }
}
