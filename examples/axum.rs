//! Logux in a program that has an HTTP server already: an axum router with routes of its own, and
//! beside them one route that takes WebSocket and long-poll clients alike.
//!
//! ```sh
//! cargo run --example axum                           # shows all of it, and ends
//! cargo run --example axum -- serve 127.0.0.1:3000   # goes on until Ctrl+C
//! ```
//!
//! Without arguments it exits with an error if one of the routes does not do its work.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Json, Request, State};
use axum::http::StatusCode;
use axum::middleware::map_request;
use axum::routing::get;
use axum::serve::ListenerExt;
use futures_util::{StreamExt, TryStreamExt};
use logux_sync::{
    Added, ClientSync, Event, HttpListener, Log, LongPoll, MemoryStore, Open, Reconnect,
    RunningServer, Server, SyncOptions, WebSocket,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Where our clients connect. Any path will do.
const SYNC: &str = "/logux";

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Note {
    #[serde(rename = "note/add")]
    Add { text: String },
}

impl Note {
    fn new(text: &str) -> Self {
        Self::Add { text: text.to_owned() }
    }
}

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => show().await,
        ["serve", address] => serve(address).await,
        _ => Err("usage: axum [serve ADDRESS]".into()),
    }
}

/// The program: its log, the sessions of its clients, and its HTTP server.
struct Program {
    address: SocketAddr,
    log: Log<Open<Note>>,
    sessions: RunningServer,
    stop: oneshot::Sender<()>,
    http: JoinHandle<std::io::Result<()>>,
}

impl Program {
    async fn start(address: &str) -> Result<Self, Failure> {
        let log = Log::<Open<Note>>::open("server".parse()?, MemoryStore::new()).await?;

        // The service answers requests; the listener gives the sessions that come of them.
        let (service, listener) = HttpListener::mounted();
        let options = SyncOptions::new().auth(async |login| {
            if let Some(address) = login.link.address {
                println!("{} connects from {}", login.node_id, address.ip());
            }
            // The token of that user, not just any good one.
            match login.user_id() {
                Some("10") => login.token_is("secret of 10"),
                Some("11") => login.token_is("secret of 11"),
                _ => false,
            }
        });
        let sessions = Server::new(&log, logux_sync::Json, listener).options(options).start();

        let router = Router::new()
            .route("/", get(async || format!("Notes. Connect to {SYNC}, or look at /events.\n")))
            .route("/health", get(async || "well\n"))
            .route("/events", get(events))
            .with_state(log.clone())
            .route_service(SYNC, service)
            .layer(map_request(tell_address));

        let tcp = TcpListener::bind(address).await?;
        let address = tcp.local_addr()?;
        // A small frame must not wait until the one before it is acknowledged.
        let tcp = tcp.tap_io(|tcp| drop(tcp.set_nodelay(true)));
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = axum::serve(tcp, router.into_make_service_with_connect_info::<SocketAddr>())
            .with_graceful_shutdown(async { drop(stopped.await) });
        Ok(Self { address, log, sessions, stop, http: tokio::spawn(serving.into_future()) })
    }

    /// Closes the sessions first: their clients are told by answers to their polls, for which the
    /// HTTP server would wait.
    async fn shutdown(self) -> Result<(), Failure> {
        self.sessions.shutdown(Duration::from_secs(5)).await;
        drop(self.stop);
        Ok(self.http.await??)
    }
}

/// Tells the service who connects. Behind a proxy, that is what the proxy says of it (such as
/// `X-Forwarded-For`), if only the proxy can reach this program.
async fn tell_address(
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Request {
    request.extensions_mut().insert(address);
    request
}

/// All events, as JSON.
async fn events(State(log): State<Log<Open<Note>>>) -> Result<Json<Value>, StatusCode> {
    let entries = log.entries_created_after(None, usize::MAX).await;
    let entries = entries.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let shown = entries.iter().map(|entry| json!({ "id": entry.meta.id, "event": entry.event }));
    Ok(Json(shown.collect()))
}

async fn serve(address: &str) -> Result<(), Failure> {
    let program = Program::start(address).await?;
    println!("http://{0}/, ws://{0}{SYNC}, http://{0}{SYNC}", program.address);
    println!("the user 10 brings the credentials \"secret of 10\", 11 its own; Ctrl+C ends it");
    tokio::signal::ctrl_c().await?;
    program.shutdown().await
}

/// Waits until a log has so many notes.
async fn has_all<E: Event>(log: &Log<E>, notes: usize) -> Result<(), Failure> {
    let all = log.follow(Added::ZERO).take(notes).try_collect::<Vec<_>>();
    let all = timeout(Duration::from_secs(10), all).await??;
    println!("{} has all {} notes", log.node_id(), all.len());
    Ok(())
}

async fn show() -> Result<(), Failure> {
    let program = Program::start("127.0.0.1:0").await?;
    let address = program.address;
    println!("one HTTP server, at {address}");
    expect(&get_text(address, "/health").await?, "well")?;

    let by_websocket = Log::<Note>::open("10:desk".parse()?, MemoryStore::new()).await?;
    let transport = Reconnect::new(WebSocket::new(&format!("ws://{address}{SYNC}"))?);
    let websocket = ClientSync::new(&by_websocket, logux_sync::Json, transport)
        .options(SyncOptions::new().credentials("secret of 10"))
        .start();

    let by_polls = Log::<Note>::open("11:train".parse()?, MemoryStore::new()).await?;
    let transport = Reconnect::new(LongPoll::new(&format!("http://{address}{SYNC}"))?);
    let long_poll = ClientSync::new(&by_polls, logux_sync::Json, transport)
        .options(SyncOptions::new().credentials("secret of 11"))
        .start();

    let texts = ["sent by WebSocket", "sent by long-poll", "the server's own"];
    by_websocket.add(Note::new(texts[0])).await?;
    by_polls.add(Note::new(texts[1])).await?;
    program.log.add(Open::new(Note::new(texts[2]))).await?;
    has_all(&program.log, texts.len()).await?;
    has_all(&by_websocket, texts.len()).await?;
    has_all(&by_polls, texts.len()).await?;

    let listed = get_text(address, "/events").await?;
    for text in texts {
        expect(&listed, text)?;
    }
    println!("/events lists them: {listed}");

    // With the clients still there: one has a WebSocket open, the other a poll on its way.
    timeout(Duration::from_secs(10), program.shutdown()).await??;
    websocket.close().await?;
    long_poll.close().await?;
    println!("all is closed in order");
    Ok(())
}

/// As much of an HTTP client as it takes to see that the program's own routes answer.
async fn get_text(address: SocketAddr, path: &str) -> Result<String, Failure> {
    let mut tcp = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await?;
    expect(&answer, "HTTP/1.1 200")?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("the answer has no end of its head")?;
    Ok(body.to_owned())
}

fn expect(text: &str, part: &str) -> Result<(), Failure> {
    if text.contains(part) {
        Ok(())
    } else {
        Err(format!("{part:?} was expected, and this came: {text:?}").into())
    }
}
