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

use logux_sync::app::{App, Channel, Context, Handler};
use logux_sync::{
    EventLimits, HttpListener, Json, Limits, ListenerOptions, Log, MemoryStore, SyncOptions,
};
use tokio::net::TcpListener;

use site::Site;

/// In bytes. All that a client of protocol 5 did without a connection comes in one message, and it
/// would try in vain for ever with a longer one.
const MAX_FRAME: usize = 64 << 20;

/// In bytes. A larger event is refused before this program sees it.
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

    let limits = EventLimits::for_javascript().bytes(MAX_EVENT);
    let options = App::<()>::log_options().event_limits(limits);
    let log = Log::open_with("server:web".parse()?, Arc::new(MemoryStore::new()), options).await?;
    let server = app().serve(&log, Json, listener)?;
    println!("{origin}/");

    tokio::select! {
        failed = Site { log: log.clone(), sync }.serve(pages) => failed?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    server.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

/// Whoever has our page open has the one list there is.
fn app() -> App {
    App::new(async |login| !login.link.is_foreign_page)
        .development(true)
        .options(SyncOptions::new().limits(Limits::default().frame(MAX_FRAME)))
        .on("items/add", Handler::access(is_short).route(async || "items"))
        .on("items/remove", Handler::access(async || true).route(async || "items"))
        .channel("items", Channel::access(async || true).from_log())
}

async fn is_short(add: Context) -> bool {
    add.event()["text"].as_str().is_some_and(|text| text.len() <= 100)
}
