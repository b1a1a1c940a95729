//! What the status page shows, as JSON.

use std::path::Path;

use futures_util::StreamExt;
use jiff::Timestamp;
use logux_sync::{ServerHandle, SessionHandle, StoreError, Value};
use serde::Serialize;

use super::rates::Rates;
use super::warnings::{Warning, Warnings};
use crate::serve::logs::{Logs, Opened};

/// How many connections and events are listed.
const CONNECTIONS: usize = 200;
const EVENTS: usize = 30;

/// How many bytes of an event are shown.
const SHOWN: usize = 300;

/// A server that can be looked at.
#[derive(Clone)]
pub(crate) struct Described {
    pub(crate) server: ServerHandle,
    pub(crate) logs: Logs,
    pub(crate) warnings: Warnings,
    /// Events are shown, and not only their types.
    pub(crate) shows_events: bool,
    pub(super) rates: Rates,
    since: Timestamp,
}

/// All times are in milliseconds since 1970, or lengths of time in milliseconds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    version: &'static str,
    node: String,
    since: i64,
    now: i64,
    /// The usual log, and those of tenants that are open.
    logs: Vec<OneLog>,
    /// Events that were added to the usual log in each of the last seconds, the oldest first.
    rates: Vec<u64>,
    /// How many there are, of which some are listed.
    connection_count: usize,
    connections: Vec<Connection>,
    last: Vec<Listed>,
    warnings: Vec<Warning>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OneLog {
    tenant: Option<String>,
    events: u64,
    last_added: u64,
    /// Bytes of its file, and of what is not moved into that yet.
    bytes: Option<u64>,
    set_aside: usize,
    consumers: Vec<Consumer>,
}

#[derive(Serialize)]
struct Consumer {
    name: String,
    /// How many positions of the log it has not done yet.
    behind: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    node: Option<String>,
    address: Option<String>,
    codec: Option<&'static str>,
    transport: Option<&'static str>,
    protocol: Option<u32>,
    state: String,
    tenant: Option<String>,
    /// It has its log up to here, and how many positions it has not got yet.
    synced: u64,
    behind: u64,
    /// This server has the peer's log up to here.
    other_synced: u64,
    events_sent: u64,
    events_received: u64,
    round_trip: Option<u128>,
}

#[derive(Serialize)]
struct Listed {
    position: u64,
    time: u64,
    node: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    event: Option<String>,
}

impl Described {
    pub(crate) fn new(
        server: ServerHandle,
        logs: Logs,
        warnings: Warnings,
        shows_events: bool,
    ) -> Self {
        let rates = Rates::of(&logs.usual);
        Self { server, logs, warnings, shows_events, rates, since: Timestamp::now() }
    }

    pub(super) async fn status(&self) -> Result<Status, StoreError> {
        let Self { server, warnings, rates, since, .. } = self;
        let (all, sessions) = (self.logs.all().await, server.sessions());
        let mut logs = Vec::new();
        for (tenant, log, file) in &all {
            let end = log.last_added().value();
            let consumers = log.consumers().await?.into_iter();
            logs.push(OneLog {
                tenant: tenant.clone(),
                events: log.count().await?,
                last_added: end,
                bytes: file.as_deref().map(bytes),
                set_aside: log.set_aside().await?.len(),
                consumers: consumers
                    .map(|(name, done)| Consumer { name, behind: end.saturating_sub(done.value()) })
                    .collect(),
            });
        }
        let mut connections: Vec<_> =
            sessions.iter().map(|session| connection(session, &all)).collect();
        // Those that are the most behind come first.
        connections.sort_by(|a, b| (b.behind, &a.node).cmp(&(a.behind, &b.node)));
        connections.truncate(CONNECTIONS);
        Ok(Status {
            version: env!("CARGO_PKG_VERSION"),
            node: self.logs.usual.node_id().to_string(),
            since: since.as_millisecond(),
            now: Timestamp::now().as_millisecond(),
            logs,
            rates: rates.seconds(),
            connection_count: sessions.len(),
            connections,
            last: self.last().await?,
            warnings: warnings.last(),
        })
    }

    async fn last(&self) -> Result<Vec<Listed>, StoreError> {
        let entries = self.logs.usual.entries().newest_first().stream().take(EVENTS);
        let mut entries = std::pin::pin!(entries);
        let mut last = Vec::new();
        while let Some(entry) = entries.next().await {
            let entry = entry?;
            let shown = self.shows_events.then(|| start(&entry.event.to_string()));
            last.push(Listed {
                position: entry.meta.added.value(),
                time: entry.meta.time.value(),
                node: entry.meta.id.node().to_string(),
                kind: entry.event.get("type").and_then(Value::as_str).map(start),
                event: shown,
            });
        }
        Ok(last)
    }
}

/// As much of a text as is shown.
fn start(text: &str) -> String {
    first_bytes(text, SHOWN).to_owned()
}

/// At most so many bytes of a text, in whole characters.
pub(super) fn first_bytes(text: &str, at_most: usize) -> &str {
    let end = (0..=at_most.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// Bytes of a log's file, and of what is not moved into it yet.
pub(super) fn bytes(file: &Path) -> u64 {
    let mut waiting = file.as_os_str().to_owned();
    waiting.push("-wal");
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    size(file) + size(Path::new(&waiting))
}

fn connection(session: &SessionHandle, logs: &[Opened]) -> Connection {
    let seen = session.diagnostics();
    let peer = seen.peer.as_deref();
    let log = peer.and_then(|peer| logs.iter().find(|(_, log, _)| *log.node_id() == peer.log));
    let end = log.map_or(0, |(_, log, _)| log.last_added().value());
    let claimed = || session.claimed().map(|node| format!("{node}?"));
    Connection {
        node: peer.map(|peer| peer.node_id.to_string()).or_else(claimed),
        address: peer.and_then(|peer| peer.address).map(|address| address.to_string()),
        codec: peer.map(|peer| peer.codec),
        transport: peer.and_then(|peer| peer.transport),
        protocol: peer.map(|peer| peer.protocol.number()),
        state: seen.state.to_string(),
        tenant: log.and_then(|(tenant, ..)| tenant.clone()),
        synced: seen.synced.value(),
        behind: end.saturating_sub(seen.synced.value()),
        other_synced: seen.other_synced.value(),
        events_sent: seen.events_sent,
        events_received: seen.events_received,
        round_trip: seen.round_trip.map(|time| time.as_millis()),
    }
}
