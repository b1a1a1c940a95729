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
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{
    Added, Draft, Entry, EventLimits, Extra, Headers, HttpListener, Json, Limits, ListenerOptions,
    Log, LogOptions, MemoryStore, Peer, Server, Store, SyncOptions,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use site::Site;

/// In bytes. All that a client of protocol 5 did without a connection comes in one message, and it
/// would try in vain for ever with a longer one.
const MAX_FRAME: usize = 64 << 20;

/// In bytes. A larger action is refused before this program sees it, and its page waits in vain for an
/// answer.
const MAX_EVENT: usize = 4 << 20;

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
    let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
    let limits = EventLimits::for_javascript().bytes(MAX_EVENT);
    let options = LogOptions::new().event_limits(limits);
    let log = Log::open_with("server".parse()?, store, options).await?;
    let server = Server::new(&log, Json, listener).options(sync_options()).start();
    println!("{origin}/");

    tokio::select! {
        failed = answer_clients(&log) => failed?,
        failed = Site { log: log.clone(), sync }.serve(pages) => failed?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    server.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

fn sync_options() -> SyncOptions<Value> {
    // Without this header, or TLS, a `@logux/client` that is given an address leaves.
    let headers = Headers::from_iter([("env".to_owned(), json!("development"))]);
    SyncOptions::new()
        .headers(headers)
        .limits(Limits::default().frame(MAX_FRAME))
        .out_filter(async |entry, peer| Ok(is_for(&entry, &peer)))
}

/// Answers go to the client that asked, what changes the list goes to all.
fn is_for(entry: &Entry<Value>, peer: &Peer) -> bool {
    match kind(&entry.event) {
        "logux/processed" | "logux/undo" => {
            entry.meta.indexes.iter().any(|asked| asked == peer.node_id.client_id())
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
        // Indexes never leave this log. All tabs of a browser are one client.
        let answer = |answer| Draft::new(answer).index(entry.meta.id.node().client_id());
        let added = match refusal(&entry.event) {
            None => log.add(answer(json!({ "type": "logux/processed", "id": id }))).await,
            Some(reason) => {
                let mut undo = json!({ "type": "logux/undo", "id": id, "reason": reason });
                let whole = json!({ "action": entry.event, "type": "logux/undo", "id": id, "reason": reason });
                // What is nearly too large for an event does not fit into another one.
                if log.event_limits().check(&whole, &Extra::new()).is_ok() {
                    undo = whole;
                }
                log.add(answer(undo)).await
            }
        };
        added?;
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
