//! A server that takes several codecs, and peers that each name one.

use std::time::Duration;

use logux_sync::codecs::Message;
use logux_sync::{
    ClientSync, Codec, Error, Json, Limits, Log, LoguxBinary, MemoryStore, MessagePack, Server,
    Session, State, Value, Xml,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;

use crate::cells::{AnyTransport, Wire};

async fn log(node: &str) -> Log<Value> {
    Log::open(node.parse().unwrap(), MemoryStore::new()).await.unwrap()
}

/// Adds an event to a log of its own, and synchronizes it.
async fn client(node: &str, codec: impl Codec, transport: &AnyTransport) -> (Log<Value>, Session) {
    let log = log(node).await;
    log.add(json!({ "type": "add", "by": node, "u64": u64::MAX })).await.unwrap();
    let session = ClientSync::new(&log, codec, transport.clone()).start();
    (log, session)
}

async fn each_peer_speaks_its_own(wire: Wire) {
    let server_log = log("server").await;
    let (transport, listener) = wire.listen();
    let codecs = (Json, MessagePack, Xml, LoguxBinary::new());
    let server = Server::new(&server_log, codecs, listener).start();
    let clients = [
        client("1:json", Json, &transport).await,
        client("2:packed", MessagePack, &transport).await,
        client("3:xml", Xml, &transport).await,
        client("4:binary", LoguxBinary::new(), &transport).await,
    ];
    // All events are with all, whoever wrote them in what.
    let events = async |log: &Log<Value>| {
        let entries = log.entries_created_after(None, usize::MAX).await.unwrap();
        let mut events: Vec<_> = entries.iter().map(|entry| entry.event.to_string()).collect();
        events.sort();
        events
    };
    timeout(Duration::from_secs(60), async {
        for (log, session) in &clients {
            while log.last_added().value() < 4 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            session.wait_for(State::Synchronized).await.unwrap();
        }
    })
    .await
    .expect("all events arrive");
    let expected = events(&server_log).await;
    assert_eq!(expected.len(), 4);
    for (log, _) in &clients {
        assert_eq!(events(log).await, expected);
    }
    server.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn each_peer_of_a_server_speaks_its_own_codec_in_memory() {
    each_peer_speaks_its_own(Wire::Memory).await;
}

#[tokio::test(start_paused = true)]
async fn each_peer_of_a_server_speaks_its_own_codec_over_websocket() {
    each_peer_speaks_its_own(Wire::WebSocket).await;
}

/// JSON under a name that no server has.
#[derive(Clone)]
struct Unheard;

impl Codec for Unheard {
    const NAME: &'static str = "unheard";
    const MEDIA_TYPE: &'static str = "application/json";
    const TEXT: bool = true;
    type Error = logux_sync::codecs::JsonError;

    fn encode<E: Serialize>(
        &self,
        message: &Message<E>,
        frame: &mut Vec<u8>,
    ) -> Result<(), Self::Error> {
        Json.encode(message, frame)
    }

    fn decode<E: DeserializeOwned>(
        &self,
        frame: &[u8],
        limits: Limits,
    ) -> Result<Message<E>, Self::Error> {
        Json.decode(frame, limits)
    }
}

#[tokio::test(start_paused = true)]
async fn a_codec_that_the_server_does_not_have_is_an_error_that_says_so() {
    let server_log = log("server").await;
    let (transport, listener) = Wire::WebSocket.listen();
    let _server = Server::new(&server_log, (Json, Xml), listener).start();
    let (_, session) = client("1:unheard", Unheard, &transport).await;
    let error = session.ended().await.unwrap_err();
    let Error::Link(error) = &*error else { panic!("{error}") };
    assert!(error.to_string().contains("400"), "{error}");
    assert_eq!(server_log.last_added().value(), 0);
}
