//! Protocol 5 beside 7: what differs, from the public API. `tests/interop` has the published peers.

use std::sync::Arc;

use logux_sync::codecs::Protocol;
use logux_sync::{
    Access, Added, ClientSync, Clock, Entry, Error, EventId, Log, MemoryStore, Misbehaviour,
    Server, ServerSync, State, SyncOptions, Timestamp, Value,
};
use serde_json::json;

use crate::cells::Cell;
use crate::scripted::Peer;

on_every_cell! {
    one_server_serves_both_and_they_see_each_others_events,
    an_opener_speaks_what_is_answered,
    each_protocol_has_its_own_ids_and_messages,
}

const NOW: u64 = 1_790_000_000_000;

async fn log(node: &str) -> Log<Value> {
    let clock = Clock::new(|| Timestamp::new(NOW).unwrap());
    Log::open_with(node.parse().unwrap(), Arc::new(MemoryStore::new()), clock).await.unwrap()
}

async fn ids(log: &Log<Value>) -> Vec<String> {
    let entries = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    entries.iter().map(|entry: &Arc<Entry<Value>>| entry.meta.id.to_protocol_5()).collect()
}

async fn one_server_serves_both_and_they_see_each_others_events<C: Cell>() {
    let server_log = log("server").await;
    let (transport, listener) = C::listen();
    let options = SyncOptions::new().auth(async |_| Access::relay());
    let _server = Server::new(&server_log, C::CODEC, listener).options(options).start();

    let mut old = Peer::dial::<C>(&transport).await;
    old.send(r#"["connect",5,"old",0]"#).await;
    let connected = format!(r#"["connected",5,"server",[{NOW},{NOW}]]"#);
    assert_eq!(old.next().await.unwrap(), connected);
    let mut new = Peer::dial::<C>(&transport).await;
    new.send(r#"["connect",7,"new",0]"#).await;
    assert_eq!(new.next().await.unwrap(), connected.replace("5,", "7,"));
    assert_eq!(new.next().await.unwrap(), r#"["ready",0]"#);

    // The three forms of an id, the counter of the last one above what one digit holds.
    old.send(
        r#"["sync",3,{"type":"a"},{"id":-1,"time":-1},{"type":"b"},{"id":[-1,2],"time":-1},{"type":"c"},{"id":[5,"else",12],"time":5}]"#,
    )
    .await;
    assert_eq!(old.next().await.unwrap(), r#"["synced",3]"#);
    let expected = [
        format!("{} old 0", NOW - 1),
        format!("{} old 2", NOW - 1),
        format!("{} else 12", NOW + 5),
    ];
    assert_eq!(ids(&server_log).await, expected);
    let (minus_1, plus_5) = ("P23J5jz", "P23J5k4");
    let text = |id: &str| EventId::from_protocol_5(id).unwrap().to_string();
    assert_eq!(text(&expected[0]), format!("{minus_1} old"));
    assert_eq!(text(&expected[2]), format!("{plus_5} else!b12"));
    let sync = format!(
        r#"["sync",3,{{"type":"a"}},{{"id":"{minus_1} old","time":-1}},{{"type":"b"}},{{"id":"{minus_1} old!a2","time":-1}},{{"type":"c"}},{{"id":"{plus_5} else!b12","time":5}}]"#
    );
    assert_eq!(new.next().await.unwrap(), sync);

    // And back: what a node of protocol 7 makes, and what it got in its own protocol.
    let sync = format!(
        r#"["sync",2,{{"type":"d"}},{{"id":"{plus_5}","time":5}},{{"type":"e"}},{{"id":"{plus_5} x!a7","time":6}}]"#
    );
    new.send(&sync).await;
    new.send(r#"["synced",3]"#).await;
    assert_eq!(new.next().await.unwrap(), r#"["synced",2]"#);
    assert_eq!(
        old.next().await.unwrap(),
        r#"["sync",5,{"type":"d"},{"id":[5,"new",0],"time":5},{"type":"e"},{"id":[5,"x",7],"time":6}]"#
    );
    server_log.add(json!({ "type": "f" })).await.unwrap();
    assert_eq!(old.next().await.unwrap(), r#"["sync",6,{"type":"f"},{"id":0,"time":0}]"#);
}

async fn an_opener_speaks_what_is_answered<C: Cell>() {
    let log = log("node").await;
    let (transport, mut listener) = C::listen();
    let session = ClientSync::new(&log, C::CODEC, transport).start();
    let mut server = Peer::accept::<C>(&mut listener).await;
    assert_eq!(server.next().await.unwrap(), r#"["connect",7,"node",0]"#);
    server.send(&format!(r#"["connected",5,"server",[{NOW},{NOW}]]"#)).await;
    // There is no `ready`: who does not send has nothing to send.
    session.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(session.peer().unwrap().protocol, Protocol::V5);
    log.add(json!({ "type": "a" })).await.unwrap();
    assert_eq!(server.next().await.unwrap(), r#"["sync",1,{"type":"a"},{"id":0,"time":0}]"#);
    // Numbers may be 0 and repeat.
    for n in 1..3 {
        server.send(&format!(r#"["sync",0,{{"type":"b"}},{{"id":{n},"time":{n}}}]"#)).await;
        assert_eq!(server.next().await.unwrap(), r#"["synced",0]"#);
    }
    assert_eq!(session.state(), State::Sending);
    server.send(r#"["synced",1]"#).await;
    session.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(log.last_added().value(), 3);
}

async fn each_protocol_has_its_own_ids_and_messages<C: Cell>() {
    for (protocol, message, expected) in [
        (5, r#"["sync",1,{"type":"a"},{"id":"1","time":0}]"#, Misbehaviour::WrongId { place: 1 }),
        (7, r#"["sync",1,{"type":"a"},{"id":1,"time":0}]"#, Misbehaviour::WrongId { place: 1 }),
        // Before 1970.
        (
            5,
            r#"["sync",1,{"type":"a"},{"id":-9007199254740991,"time":0}]"#,
            Misbehaviour::WrongId { place: 1 },
        ),
        (5, r#"["ready",1]"#, Misbehaviour::UnknownMessage("ready".to_owned())),
    ] {
        let log = log("server").await;
        let (near, far) = C::pair().await;
        let session = ServerSync::new(&log, C::CODEC, near).options(SyncOptions::new()).start();
        let mut client = Peer::new::<C>(far);
        client.send(&format!(r#"["connect",{protocol},"client",0]"#)).await;
        client.send(message).await;
        while client.next().await.is_some() {}
        client.hang_up().await;
        let error = session.ended().await.unwrap_err();
        assert!(matches!(&*error, Error::Peer(found) if *found == expected), "{message}: {error}");
        assert_eq!(log.last_added(), Added::ZERO);
    }
}
