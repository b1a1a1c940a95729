//! The clients, in a process of their own, with one thread.

use std::cell::Cell;
use std::fs;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use futures_util::{SinkExt, StreamExt};
use logux_benches::Counter;
use logux_sync::codecs::Message;
use logux_sync::{Codec, Json, Limits};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config, tungstenite};

/// By which this program is told to be the clients: then the URL, how many, and whether they confirm.
pub(crate) const OPTION: &str = "--clients";

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The process: it ends with this.
pub(crate) struct Clients {
    said: Lines<BufReader<pipe::Receiver>>,
    process: Child,
}

impl Clients {
    pub(crate) async fn connect(url: &str, count: usize, confirm: bool) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args([OPTION, url, &count.to_string(), &confirm.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let output = process.stdout.take().expect("a pipe");
        let output = pipe::Receiver::from_owned_fd(OwnedFd::from(output)).expect("a pipe");
        let mut clients = Self { said: BufReader::new(output).lines(), process };
        clients.have(0).await;
        clients
    }

    /// Waits until all have so many events.
    pub(crate) async fn have(&mut self, events: u64) {
        let said = self.said.next_line().await.expect("a line").expect("the clients run");
        assert_eq!(said, events.to_string(), "the clients have another number of events");
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether this process may have as many files open as it has clients.
pub(crate) fn enough_files(clients: usize) -> Result<(), usize> {
    let limits = fs::read_to_string("/proc/self/limits").expect("Linux tells it");
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3)).expect("a limit");
    // Both sides have their connections at once.
    match soft.parse() {
        Ok(limit) if limit < 2 * clients + 100 => Err(limit),
        _ => Ok(()),
    }
}

/// A client that is let in and then reads nothing.
pub(crate) async fn stall(url: &str) -> Socket {
    let mut socket = dial(url).await;
    socket.send(connect("stalls")).await.expect("sent");
    socket.next().await.expect("an answer").expect("an answer");
    socket
}

/// Connects so many, and prints how many events all of them have: when that is none, and at each.
pub(crate) fn run(url: &str, count: usize, confirm: bool) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let (received, more) = (Rc::new(Cell::new(0)), Rc::new(Notify::new()));
        for number in 0..count {
            let mut socket = dial(url).await;
            if confirm {
                socket.send(connect(&format!("client{number}"))).await.expect("sent");
                // `connected` and `ready`.
                for _ in 0..2 {
                    socket.next().await.expect("an answer").expect("an answer");
                }
            }
            let (received, more) = (Rc::clone(&received), Rc::clone(&more));
            tokio::task::spawn_local(async move {
                let mut next = 0;
                while let Some(Ok(frame)) = socket.next().await {
                    let Some(synced) = read(&frame, &mut next) else { continue };
                    if confirm {
                        socket.send(synced).await.expect("sent");
                    }
                    received.set(received.get() + 1);
                    if received.get() % count as u64 == 0 {
                        more.notify_one();
                    }
                }
                // The other process has ended, or this is not what it should be.
                std::process::exit(1);
            });
        }
        let mut told = 0;
        println!("{told}");
        loop {
            more.notified().await;
            told += 1;
            assert_eq!(received.get(), told * count as u64);
            println!("{told}");
        }
    });
}

/// Looks whether a `sync` has the next event and no other; answers its confirmation.
fn read(frame: &tungstenite::Message, next: &mut u64) -> Option<tungstenite::Message> {
    let frame = frame.to_text().expect("a text").as_bytes();
    let message = Json.decode::<Counter>(frame, Limits::default()).expect("a message");
    let Message::Sync(sync) = message else { return None };
    let events: Vec<_> = sync.entries.into_iter().map(|(event, _)| event).collect();
    assert_eq!(events, [Counter::Inc { value: *next }]);
    *next += 1;
    Some(tungstenite::Message::text(format!(r#"["synced",{}]"#, sync.added.value())))
}

fn connect(node: &str) -> tungstenite::Message {
    tungstenite::Message::text(format!(r#"["connect",7,"{node}",0]"#))
}

async fn dial(url: &str) -> Socket {
    let config = WebSocketConfig::default().read_buffer_size(4 << 10).write_buffer_size(16 << 10);
    let (socket, _) =
        connect_async_with_config(url, Some(config), true).await.expect("a connection");
    socket
}
