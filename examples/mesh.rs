//! Three peers without a server: each listens and dials the next one, so that each is connected
//! with both others. Each proves by a token who it is, and lets in the other two, nobody else. All add
//! events at once; in the end all have all of them, each once, and nobody was sent an event that it made
//! itself.
//!
//! `cargo run --example mesh` exits with an error if that is not so.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{
    Access, Added, BaseSync, ClientSync, Json, Listener, Log, Login, MemoryStore, NodeId,
    Reconnect, Role, Session, State, SyncOptions, WebSocket, WebSocketListener, filters, format,
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

const NAMES: [&str; 3] = ["ann", "bob", "eve"];
const EVENTS: usize = 1_000;
/// The longest frame that is taken, in bytes.
const MAX_FRAME: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
#[serde(tag = "type")]
enum Chat {
    #[serde(rename = "chat/say")]
    Say { text: String },
}

/// A peer: its log, the connection that it has opened, and the one that was opened to it.
struct Peer {
    log: Log<Chat>,
    dialled: Session,
    accepted: Session,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut logs = Vec::new();
    let mut listeners = Vec::new();
    for name in NAMES {
        logs.push(Log::<Chat>::open(name.parse()?, MemoryStore::new()).await?);
        listeners.push(WebSocketListener::bind("127.0.0.1:0").await?);
    }
    let mut urls = Vec::new();
    for listener in &listeners {
        urls.push(format!("ws://{}", listener.local_addr()?));
    }

    let echoes = Arc::new(AtomicUsize::new(0));
    let mut dialled = Vec::new();
    for (index, log) in logs.iter().enumerate() {
        let next = WebSocket::new(&urls[(index + 1) % NAMES.len()])?;
        let sync = ClientSync::new(log, Json, Reconnect::new(next));
        dialled.push(sync.options(options(log, &echoes)).start());
    }
    let mut peers = Vec::new();
    for ((log, mut listener), dialled) in logs.into_iter().zip(listeners).zip(dialled) {
        // The same as `ServerSync`; a role of one's own would do something else with the link.
        let link = listener.accept(&[format::<Json>()], MAX_FRAME).await?;
        let sync = BaseSync::new(&log, Json, Role::Acceptor, link);
        let accepted = sync.options(options(&log, &echoes)).start();
        peers.push(Peer { log, dialled, accepted });
    }

    for n in 0..EVENTS {
        for peer in &peers {
            peer.log.add(Chat::Say { text: format!("{} {n}", peer.log.node_id()) }).await?;
        }
    }

    let mut logs = Vec::new();
    for peer in &peers {
        logs.push(timeout(Duration::from_secs(30), peer.all()).await??);
    }
    for (peer, ids) in peers.iter().zip(&logs) {
        if *ids != logs[0] {
            return Err(format!("{} has other events", peer.log.node_id()).into());
        }
        println!(
            "{}: {} events, {} received over the link that it opened, {} over the other",
            peer.log.node_id(),
            ids.len(),
            peer.dialled.diagnostics().events_received,
            peer.accepted.diagnostics().events_received,
        );
    }
    match echoes.load(Ordering::Relaxed) {
        0 => Ok(()),
        count => Err(format!("{count} events were sent to those who made them").into()),
    }
}

/// The secret of a peer, which it brings to both others. A program has it from its settings.
fn token(name: &str) -> String {
    format!("the secret of {name}")
}

/// A peer of the mesh passes on what it got, so it is a relay: events of all authors are taken from it. So
/// much is for those only who are known by name and prove it.
fn access(login: &Login) -> Access<Chat> {
    let name = NAMES.into_iter().find(|name| login.node_id.as_str() == *name);
    match name {
        Some(name) if login.token_is(&token(name)) => Access::relay(),
        _ => Access::nobody(),
    }
}

/// Sends nobody what it made itself, and counts what comes in spite of that.
fn options(log: &Log<Chat>, echoes: &Arc<AtomicUsize>) -> SyncOptions<Chat> {
    let (own, echoes) = (log.node_id().clone(), Arc::clone(echoes));
    SyncOptions::new()
        .credentials(token(own.as_str()))
        .auth(async |login| access(&login))
        .out_filter(filters::foreign_events())
        .in_filter(move |entry, _| {
            echoes.fetch_add(usize::from(*entry.meta.id.node() == own), Ordering::Relaxed);
            std::future::ready(Ok(true))
        })
}

impl Peer {
    /// All events of all peers, in the order of their creation, once they are here and both links
    /// are at rest.
    async fn all(&self) -> Result<Vec<(NodeId, u64)>, Box<dyn Error>> {
        let mut seen = HashSet::new();
        let mut entries = self.log.follow(Added::ZERO).take(NAMES.len() * EVENTS);
        while let Some(entry) = entries.next().await {
            if !seen.insert(entry?.meta.id.clone()) {
                return Err("an event was added twice".into());
            }
        }
        self.dialled.wait_for(State::Synchronized).await?;
        self.accepted.wait_for(State::Synchronized).await?;
        let created = self.log.entries_created_after(None, usize::MAX).await?;
        let id = |id: &logux_sync::EventId| (id.node().clone(), id.time().value());
        Ok(created.iter().map(|entry| id(&entry.meta.id)).collect())
    }
}
