//! A list that everybody with the page open edits, also without a connection: this server, and
//! pages with the published `@logux/client`, over WebSocket or, where that is blocked, long-poll.
//!
//! ```sh
//! (cd examples/web && npm ci && npm run build)
//! cargo run --example web [PAGE_ADDRESS [SYNC_ADDRESS]]
//! ```
//!
//! `examples/web/test` tries it in Chromium.

mod site;

use std::error::Error;
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{
    Added, Draft, Entry, Headers, HttpListener, Json, Limits, ListenerOptions, Log, MemoryStore,
    NodeId, Peer, Server, SyncOptions,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use site::Site;

/// In bytes. All that a client of protocol 5 did without a connection comes in one message, and it
/// would try in vain for ever with a longer one.
const MAX_FRAME: usize = 64 << 20;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut address = || arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let pages = TcpListener::bind(address()).await?;
    let origin = format!("http://{}", pages.local_addr()?);
    // Any page in the world could dial a server on this machine; only ours is let in.
    let http = ListenerOptions::new().origins([&origin]);
    // WebSocket and, where that is blocked, long-poll.
    let listener = HttpListener::bind(address()).await?.options(http);
    let sync = format!("ws://{}", listener.local_addr()?);

    // The program does not know all that clients may send, so it takes any JSON.
    let log = Log::<Value>::open("server".parse()?, MemoryStore::new()).await?;
    let server = Server::new(&log, Json, listener).options(options()).start();
    println!("{origin}/");

    tokio::select! {
        failed = answer_clients(&log) => failed?,
        failed = Site { log: log.clone(), sync }.serve(pages) => failed?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    server.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

fn options() -> SyncOptions<Value> {
    // Without this header, or TLS, a `@logux/client` that is given an address leaves.
    let headers = Headers::from_iter([("env".to_owned(), json!("development"))]);
    SyncOptions::new()
        .headers(headers)
        .limits(Limits::default().frame(MAX_FRAME))
        .in_filter(async |entry, peer| Ok(is_own(&entry, &peer)))
        .out_filter(async |entry, peer| Ok(is_for(&entry, &peer)))
}

/// A client may only send what was made in one of its own tabs.
fn is_own(entry: &Entry<Value>, peer: &Peer) -> bool {
    client(entry.meta.id.node()) == client(&peer.node_id)
}

/// Answers go to the client that asked, what changes the list goes to all.
fn is_for(entry: &Entry<Value>, peer: &Peer) -> bool {
    match kind(&entry.event) {
        "logux/processed" | "logux/undo" => {
            entry.meta.indexes.iter().any(|asked| asked == client(&peer.node_id))
        }
        "items/add" | "items/remove" => refusal(&entry.event).is_none(),
        _ => false,
    }
}

/// `@logux/client` takes an action for done when the server says so: `logux/processed`, or
/// `logux/undo`.
async fn answer_clients(log: &Log<Value>) -> Result<(), Failure> {
    // With a store that lasts, this would go on after the last one that has its answer.
    let mut entries = log.follow(Added::ZERO);
    while let Some(entry) = entries.next().await.transpose()? {
        if entry.meta.source.is_none() {
            // One of the answers.
            continue;
        }
        let id = entry.meta.id.to_protocol_5();
        let answer = match refusal(&entry.event) {
            None => json!({ "type": "logux/processed", "id": id }),
            Some(reason) => {
                json!({ "type": "logux/undo", "id": id, "reason": reason, "action": entry.event })
            }
        };
        // Indexes never leave this log.
        log.add(Draft::new(answer).index(client(entry.meta.id.node()))).await?;
    }
    Ok(())
}

/// Why the server does not want an action, in the words of `logux/undo`.
fn refusal(event: &Value) -> Option<&'static str> {
    match kind(event) {
        "items/add" if event["text"].as_str().is_none_or(|text| text.len() > 100) => Some("denied"),
        // Whoever is connected has the one list there is.
        "logux/subscribe" if event["channel"] != "items" => Some("wrongChannel"),
        "items/add" | "items/remove" | "logux/subscribe" | "logux/unsubscribe" => None,
        _ => Some("unknownType"),
    }
}

fn kind(event: &Value) -> &str {
    event["type"].as_str().unwrap_or_default()
}

/// A node id is `user:client:tab`; all tabs of a browser are one client.
fn client(node: &NodeId) -> &str {
    let text = node.as_str();
    text.match_indices(':').nth(1).map_or(text, |(end, _)| &text[..end])
}
