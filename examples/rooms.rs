//! A server that strangers can reach: two rooms behind one port, each with a log of its own, users with
//! tokens that end, and an operator who shows one of them out.
//!
//! `cargo run --example rooms`
//!
//! What is not set here has a safe default: how much a peer may say before it is let in and how long that may
//! take, how many connections one address may hold, how often it may be refused, how much a client may send.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{
    Access, Added, ClientSync, Forwarding, Headers, Json, ListenerOptions, Log, Login, MemoryStore,
    Open, Receipt, Reconnect, Server, Session, SyncOptions, Value, WebSocket, WebSocketListener,
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Chat {
    #[serde(rename = "chat/say")]
    Say { text: String },
}

type RoomLog = Log<Open<Chat>>;

/// Who may enter which room. A program of one's own asks a database.
#[derive(Default)]
struct Doors {
    rooms: HashMap<&'static str, RoomLog>,
    shown_out: Mutex<HashSet<String>>,
}

impl Doors {
    /// The token is that of this user, not just any good one. It lasts for an hour; a client that has
    /// `credentials_with` comes back with another one then.
    fn check(&self, login: &Login) -> Access<Open<Chat>> {
        let is_right = |user: &str| login.token_is(&format!("secret of {user}"));
        let room = login.headers.get("room").and_then(Value::as_str);
        match (login.user_id(), room.and_then(|room| self.rooms.get(room))) {
            (Some(user), Some(log)) if is_right(user) && !self.is_out(user) => {
                Access::client().expires_in(Duration::from_secs(60 * 60)).log(log.clone())
            }
            _ => Access::nobody(),
        }
    }

    fn is_out(&self, user: &str) -> bool {
        self.shown_out.lock().unwrap_or_else(PoisonError::into_inner).contains(user)
    }

    fn show_out(&self, user: &str) {
        self.shown_out.lock().unwrap_or_else(PoisonError::into_inner).insert(user.to_owned());
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    timeout(Duration::from_secs(60), run()).await?
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut doors = Doors::default();
    for room in ["oak", "elm"] {
        // A name of its own for each log: clients keep under it how far they are in step.
        let node = format!("server:{room}").parse()?;
        doors.rooms.insert(room, RoomLog::open(node, MemoryStore::new()).await?);
    }
    let doors = Arc::new(doors);

    // Pages of this site may connect, and no others. The proxy in front tells whom it speaks for.
    let listener = WebSocketListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", listener.local_addr()?);
    let listener = listener.options(
        ListenerOptions::new()
            .origins(["https://chat.example"])
            .trusted_proxies(["127.0.0.1"], Forwarding::XForwardedFor)?,
    );
    let lobby = RoomLog::open("server".parse()?, MemoryStore::new()).await?;
    let at_door = Arc::clone(&doors);
    let options = SyncOptions::new().auth(move |login| ready(at_door.check(&login)));
    let server = Server::new(&lobby, Json, listener).options(options).start();

    let (anna_log, anna) = enter(&url, "anna", "oak", "secret of anna").await?;
    let (bert_log, bert) = enter(&url, "bert", "oak", "secret of bert").await?;
    let (carl_log, carl) = enter(&url, "carl", "elm", "secret of carl").await?;

    // A receipt says that the server has it; at the server, that bert has it, too.
    let said = anna_log.add(Chat::Say { text: "hello, oak".to_owned() }).await?;
    expect(&anna.receipt(&said.meta.id).await?, &Receipt::Confirmed)?;
    let oak = &doors.rooms["oak"];
    expect(&oak.receipt(bert_log.node_id(), &said.meta.id).await?, &Receipt::Confirmed)?;
    let heard = bert_log.follow(Added::ZERO).next().await.ok_or("the log ended")??;
    println!("bert hears {:?}", heard.event);
    expect(&heard.event, &said.event)?;
    // What carl says is for elm alone.
    let said = carl_log.add(Chat::Say { text: "hello, elm".to_owned() }).await?;
    expect(&carl.receipt(&said.meta.id).await?, &Receipt::Confirmed)?;
    // What comes later is there, and that is not.
    let later = anna_log.add(Chat::Say { text: "anybody here?".to_owned() }).await?;
    expect(&anna.receipt(&later.meta.id).await?, &Receipt::Confirmed)?;
    expect(&oak.receipt(bert_log.node_id(), &later.meta.id).await?, &Receipt::Confirmed)?;
    expect(&oak.by_id(&said.meta.id).await?.is_none(), &true)?;
    expect(&bert_log.by_id(&said.meta.id).await?.is_none(), &true)?;
    expect(&doors.rooms["elm"].by_id(&said.meta.id).await?.is_some(), &true)?;

    // Neither a stranger nor a user who is shown out gets in.
    let (_, stranger) = enter(&url, "dora", "oak", "a guess").await?;
    println!("a stranger: {}", ended(stranger).await?);
    doors.show_out("bert");
    server.close_user("bert", "no shouting");
    println!("bert: {}", ended(bert).await?);

    let shutdown = server.shutdown(Duration::from_secs(5)).await;
    println!("the server is down: {shutdown:?}");
    Ok(())
}

/// A user's program: a log, and a session that keeps it in step with a room.
async fn enter(
    url: &str,
    user: &str,
    room: &str,
    token: &str,
) -> Result<(Log<Chat>, Session), Box<dyn Error>> {
    let log = Log::open(format!("{user}:phone").parse()?, MemoryStore::new()).await?;
    let transport = Reconnect::new(WebSocket::new(url)?).min_delay(Duration::from_millis(20));
    let headers = Headers::from_iter([("room".to_owned(), room.into())]);
    let options = SyncOptions::new().credentials(token).headers(headers);
    Ok((log.clone(), ClientSync::new(&log, Json, transport).options(options).start()))
}

/// Why a session ended that must not last.
async fn ended(session: Session) -> Result<String, Box<dyn Error>> {
    let Err(error) = session.ended().await else { return Err("it was let in".into()) };
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    Ok(format!("{error}: {cause}"))
}

fn expect<T: PartialEq + std::fmt::Debug>(is: &T, wanted: &T) -> Result<(), Box<dyn Error>> {
    if is == wanted { Ok(()) } else { Err(format!("it is {is:?} and not {wanted:?}").into()) }
}
