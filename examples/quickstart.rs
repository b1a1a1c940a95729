//! Two logs in step over a real WebSocket, through a connection that is cut again and again while
//! both sides keep adding.
//!
//! `cargo run --example quickstart [CUTS]` (20 cuts if not said otherwise)

use std::collections::HashSet;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{
    ClientSync, Entry, Event, Json, Log, MemoryStore, Open, Reconnect, Server, State, SyncOptions,
    WebSocket, WebSocketListener,
};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Shopping {
    #[serde(rename = "shopping/add")]
    Add { what: String },
    #[serde(rename = "shopping/done")]
    Done { number: u32 },
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cuts: u32 = match std::env::args().nth(1) {
        Some(text) => text.parse().map_err(|_| format!("{text:?} is no number of cuts"))?,
        None => 20,
    };

    // A server: a log, a listener, and who may come in. `Open` passes on what clients of other versions
    // send, as it came.
    let server_log = Log::<Open<Shopping>>::open("server".parse()?, MemoryStore::new()).await?;
    let listener = WebSocketListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = Server::new(&server_log, Json, listener)
        .options(SyncOptions::new().auth(async |login| {
            // The token of that user, not just any good one.
            login.user_id() == Some("10") && login.token_is("secret of 10")
        }))
        .start();

    // A network that is not reliable.
    let cut = Arc::new(Notify::new());
    let proxy = unreliable_network(address, Arc::clone(&cut)).await?;

    // A client: a log, and a transport that dials again.
    let client_log = Log::<Shopping>::open("10:phone".parse()?, MemoryStore::new()).await?;
    let transport = Reconnect::new(WebSocket::new(&format!("ws://{proxy}"))?)
        .min_delay(Duration::from_millis(20))
        .max_delay(Duration::from_millis(200));
    let client = ClientSync::new(&client_log, Json, transport)
        .options(SyncOptions::new().credentials("secret of 10"))
        .start();

    let mut states = client.states();
    tokio::spawn(async move {
        while let Some(state) = states.next().await {
            println!("client: {state}");
        }
    });

    let mut number = 0;
    for round in 1..=cuts {
        // Each side adds what it likes, connected or not, and the connection is cut meanwhile.
        let busy = Duration::from_millis(fastrand::u64(0..60));
        let cutting = async {
            sleep(busy).await;
            println!("cut {round}");
            cut.notify_waiters();
        };
        let adding = async {
            for _ in 0..fastrand::u32(1..30) {
                number += 1;
                client_log.add(Shopping::Add { what: format!("apple {number}") }).await?;
                server_log.add(Open::new(Shopping::Done { number })).await?;
                sleep(Duration::from_millis(fastrand::u64(0..3))).await;
            }
            Ok::<_, Box<dyn Error>>(())
        };
        let ((), added) = tokio::join!(cutting, adding);
        added?;
    }

    timeout(Duration::from_secs(30), client.wait_for(State::Synchronized)).await??;
    let (ours, theirs) = (entries(&client_log).await?, entries(&server_log).await?);
    compare(&ours, &theirs, 2 * number as usize)?;
    println!("both logs hold the same {} events after {cuts} cuts", ours.len());

    client.close().await?;
    server.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

/// All events of a log in the order of creation, which is the same everywhere.
async fn entries<E: Event>(log: &Log<E>) -> Result<Vec<Arc<Entry<E>>>, Box<dyn Error>> {
    Ok(log.entries_created_after(None, usize::MAX).await?)
}

fn compare(
    ours: &[Arc<Entry<Shopping>>],
    theirs: &[Arc<Entry<Open<Shopping>>>],
    added: usize,
) -> Result<(), Box<dyn Error>> {
    let same = |(a, b): (&Arc<Entry<Shopping>>, &Arc<Entry<Open<Shopping>>>)| {
        Some(&a.event) == b.event.event() && a.meta.id == b.meta.id && a.meta.time == b.meta.time
    };
    if ours.len() != theirs.len() || !ours.iter().zip(theirs).all(same) {
        return Err(format!("the logs differ: {} and {} events", ours.len(), theirs.len()).into());
    }
    let ids: HashSet<_> = ours.iter().map(|entry| &entry.meta.id).collect();
    if ids.len() != added || ours.len() != added {
        let (held, once) = (ours.len(), ids.len());
        return Err(format!("{added} events were added, {held} are held, {once} ids").into());
    }
    Ok(())
}

/// Passes bytes on to an address, and drops all connections when `cut` is notified.
async fn unreliable_network(
    to: SocketAddr,
    cut: Arc<Notify>,
) -> Result<SocketAddr, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let cut = Arc::clone(&cut);
            tokio::spawn(async move {
                let pass = async {
                    let mut far = TcpStream::connect(to).await?;
                    near.set_nodelay(true)?;
                    far.set_nodelay(true)?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await
                };
                // Either way the connection is gone, which is what this is for.
                tokio::select! {
                    _ = pass => {}
                    () = cut.notified() => {}
                }
            });
        }
    });
    Ok(address)
}
