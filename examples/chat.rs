//! A chat of several programs that a person can type into. What was said is there for who comes
//! later, and what is typed without a connection is sent when there is one.
//!
//! ```sh
//! cargo run --example chat -- serve [ADDRESS]
//! cargo run --example chat -- join NAME [ADDRESS]
//! ```

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use logux_sync::{
    Added, ClientSync, Json, Log, MemoryStore, Open, Reconnect, Server, WebSocket,
    WebSocketListener,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

const ADDRESS: &str = "127.0.0.1:31337";

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Chat {
    #[serde(rename = "chat/say")]
    Say { name: String, text: String },
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve"] => serve(ADDRESS).await,
        ["serve", address] => serve(address).await,
        ["join", name] => join(name, ADDRESS).await,
        ["join", name, address] => join(name, address).await,
        _ => Err("usage: chat serve [ADDRESS] | chat join NAME [ADDRESS]".into()),
    }
}

async fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let log = ChatLog::open("server".parse()?, MemoryStore::new()).await?;
    let listener = WebSocketListener::bind(address).await?;
    println!("the chat is at {}; an empty line ends it", listener.local_addr()?);
    let server = Server::new(&log, Json, listener).start();
    talk(&log, "server").await?;
    server.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

async fn join(name: &str, address: &str) -> Result<(), Box<dyn Error>> {
    // Two programs must never have the same node id, even if two people have the same name.
    let unique = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let log = ChatLog::open(format!("{name}:{unique}").parse()?, MemoryStore::new()).await?;
    let transport = Reconnect::new(WebSocket::new(&format!("ws://{address}"))?);
    let session = ClientSync::new(&log, Json, transport).start();
    let mut states = session.states();
    tokio::spawn(async move {
        while let Some(state) = states.next().await {
            eprintln!("({state})");
        }
    });
    talk(&log, name).await?;
    session.close().await?;
    Ok(())
}

/// The log of a program. What a newer version of it says is kept and passed on, too.
type ChatLog = Log<Open<Chat>>;

/// Prints what is said anywhere, and says what is typed, until an empty line.
async fn talk(log: &ChatLog, name: &str) -> Result<(), Box<dyn Error>> {
    let mut entries = log.follow(Added::ZERO);
    let mut lines = BufReader::new(stdin()).lines();
    loop {
        tokio::select! {
            entry = entries.next() => match entry.transpose()? {
                Some(entry) => match entry.event.event() {
                    Some(Chat::Say { name, text }) => println!("{name}: {text}"),
                    None => println!("(something that this version does not know)"),
                },
                None => return Ok(()),
            },
            line = lines.next_line() => match line?.as_deref() {
                Some("") | None => return Ok(()),
                Some(text) => {
                    let (name, text) = (name.to_owned(), text.to_owned());
                    log.add(Open::new(Chat::Say { name, text })).await?;
                }
            }
        }
    }
}
