//! Long-poll over connections that are cut after each of their bytes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use logux_transports::{
    Format, FrameReceiver, FrameSender, HttpListener, Listener, LongPoll, Transport,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

const FORMAT: Format = Format { name: "kit", media_type: "text/plain", is_text: |_| true };
const MAX_FRAME: usize = 1 << 20;

const FRAMES: [&str; 3] = ["first", "", "the third, which is longer"];

/// What is cut.
#[derive(Clone, Copy, Debug)]
enum Victim {
    /// The answer to a poll: what comes back after this is asked for.
    Answer,
    /// The request that sends.
    Request,
}

impl Victim {
    /// What tells its request from others.
    fn mark(self) -> &'static str {
        match self {
            Self::Answer => "logux-poll: ",
            Self::Request => "logux-send: 0 1",
        }
    }
}

/// How many bytes of the victim pass yet; `None` when all do.
type Left = Arc<Mutex<Option<usize>>>;

/// Takes one connection after the other to a server. Of the first victim so many bytes pass, then
/// its connection is cut, both ways.
async fn proxy(listener: TcpListener, server: SocketAddr, victim: Victim, left: Left) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(server).await.unwrap();
        let left = Arc::clone(&left);
        tokio::spawn(async move {
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let found = Arc::new(Mutex::new(false));
            tokio::select! {
                () = up(from_client, to_server, victim, &left, &found) => {}
                () = down(from_server, to_client, victim, &left, &found) => {}
            }
        });
    }
}

/// A request comes in one piece, being small.
async fn up(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    victim: Victim,
    left: &Left,
    found: &Mutex<bool>,
) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let mut passing = &piece[..read];
        let is_victim = String::from_utf8_lossy(passing).contains(victim.mark());
        *found.lock().unwrap() |= is_victim;
        let mut is_cut = false;
        if is_victim && matches!(victim, Victim::Request) {
            is_cut = pass(left, &mut passing);
        }
        if to.write_all(passing).await.is_err() || is_cut {
            return;
        }
    }
}

async fn down(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    victim: Victim,
    left: &Left,
    found: &Mutex<bool>,
) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let mut passing = &piece[..read];
        let is_cut =
            matches!(victim, Victim::Answer) && *found.lock().unwrap() && pass(left, &mut passing);
        if to.write_all(passing).await.is_err() || is_cut {
            return;
        }
    }
}

/// Shortens what passes to what may; whether the connection is cut there. Only the first one is.
fn pass(left: &Left, passing: &mut &[u8]) -> bool {
    let mut left = left.lock().unwrap();
    match *left {
        Some(bytes) if bytes < passing.len() => {
            *passing = &passing[..bytes];
            *left = None;
            true
        }
        Some(bytes) => {
            *left = Some(bytes - passing.len());
            false
        }
        None => false,
    }
}

async fn send<S: FrameSender>(mut sender: S) {
    for frame in FRAMES {
        sender.send(Bytes::from_static(frame.as_bytes())).await.unwrap();
    }
    sender.close().await.unwrap();
}

async fn receive_all<R: FrameReceiver>(mut receiver: R) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while let Some(frame) = receiver.receive(MAX_FRAME).await.unwrap() {
        frames.push(frame);
    }
    frames
}

/// Cuts after so many bytes; whether there were so many.
async fn arrives_whole_when_cut(
    server: &mut HttpListener,
    address: SocketAddr,
    victim: Victim,
    bytes: usize,
) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let left: Left = Arc::new(Mutex::new(Some(bytes)));
    let proxy = tokio::spawn(proxy(listener, address, victim, Arc::clone(&left)));
    let mut transport = LongPoll::new(&url).unwrap();
    let formats = [FORMAT];
    let (near, far) =
        tokio::join!(transport.open(FORMAT, MAX_FRAME), server.accept(&formats, MAX_FRAME));
    let (near, far) = (near.unwrap(), far.unwrap());
    let frames = match victim {
        Victim::Answer => {
            let mut sender = far.sender;
            for frame in FRAMES {
                sender.send(Bytes::from_static(frame.as_bytes())).await.unwrap();
            }
            // The client asks only now, so that one answer has all.
            let (frames, closed) = tokio::join!(receive_all(near.receiver), sender.close());
            closed.unwrap();
            frames
        }
        Victim::Request => tokio::join!(receive_all(far.receiver), send(near.sender)).0,
    };
    assert_eq!(frames, FRAMES, "{victim:?} cut after {bytes} bytes");
    proxy.abort();
    left.lock().unwrap().is_none()
}

async fn whole_wherever_it_is_cut(victim: Victim) {
    let mut server = HttpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let mut bytes = 0;
    while arrives_whole_when_cut(&mut server, address, victim, bytes).await {
        bytes += 1;
    }
    println!("cut after each of {bytes} bytes");
    // A head and three frames are more than this, or something else was cut.
    assert!(bytes > 200, "{victim:?} had only {bytes} bytes");
}

#[tokio::test]
async fn an_answer_with_three_frames_comes_whole_wherever_it_is_cut() {
    whole_wherever_it_is_cut(Victim::Answer).await;
}

#[tokio::test]
async fn a_request_with_three_frames_comes_whole_wherever_it_is_cut() {
    whole_wherever_it_is_cut(Victim::Request).await;
}
