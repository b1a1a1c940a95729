//! Peers that are not read for a while: their silence is this node's doing.

use logux_sync::{BaseSync, Error, Json, Memory, Role, Session};
use tokio::time::sleep;

use crate::gate::{Gate, Gated};
use crate::world::{CONNECTED, Peer, log, milliseconds, options, seconds, taking};

/// So many messages are taken while the store is stuck: one that is being stored, and those that wait.
const FULL: usize = 65;

/// A node that has dialled, whose store is stuck, and which reads no more of what its peer sends.
async fn that_is_full() -> (Session, Peer, Gated) {
    let (log, store) = log("10:client").await;
    let (near, far) = Memory::pair();
    let options = options().ping(seconds(10)).timeout(seconds(20));
    let session = BaseSync::new(&log, Json, Role::Opener, near).options(options).start();
    let mut peer = Peer::new(far);
    peer.next().await.unwrap();
    peer.send(CONNECTED).await;
    assert_eq!(peer.next().await.unwrap(), r#"["ready",0]"#);
    store.set(Gate::Stuck);
    for n in 1..=FULL {
        peer.send(&format!(r#"["sync",{n},{{"n":{n}}},{{"id":"{n}","time":1}}]"#)).await;
    }
    sleep(milliseconds(1)).await;
    (session, peer, store)
}

#[tokio::test(start_paused = true)]
async fn a_peer_has_all_of_its_time_once_it_is_read_again() {
    let (session, mut peer, store) = that_is_full().await;
    sleep(seconds(600)).await;
    store.set(Gate::Open);
    let (time, frames) = taking(peer.rest()).await;
    assert!(frames.iter().any(|frame| frame.starts_with(r#"["ping","#)), "{frames:?}");
    let error = session.ended().await.unwrap_err();
    assert!(matches!(*error, Error::Silent(limit) if limit == seconds(20)), "{error}");
    assert!((seconds(30)..seconds(31)).contains(&time), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_was_asked_while_it_was_not_read_has_time_to_answer() {
    let (session, mut peer, store) = that_is_full().await;
    session.reconnect_now().await;
    assert!(peer.next().await.unwrap().starts_with(r#"["ping","#));
    sleep(seconds(600)).await;
    store.set(Gate::Open);
    for n in 1..=FULL {
        assert_eq!(peer.next().await.unwrap(), format!(r#"["synced",{n}]"#));
    }
    sleep(seconds(9)).await;
    peer.send(r#"["pong",0]"#).await;
    peer.send(r#"["ping",0]"#).await;
    assert_eq!(peer.next().await.unwrap(), format!(r#"["pong",{FULL}]"#));
    session.close().await.unwrap();
}
