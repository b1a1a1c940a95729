//! The servers, each in a process of its own.

use std::future::ready;
use std::time::Duration;

use futures_util::StreamExt;
use logux_benches::Counter;
use logux_sync::{
    HttpListener, Json, Listener, ListenerOptions, Log, MemoryStore, Server, SyncOptions,
    WebSocketListener,
};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::Kind;

/// By which this program is told to be a server; then which one.
pub(crate) const OPTION: &str = "--server";

/// Prints its address, and serves until it is killed.
pub(crate) fn run(kind: Kind) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let as_many_as_come =
            ListenerOptions::new().max_links_per_address(usize::MAX).max_handshakes(usize::MAX);
        match kind {
            Kind::WebSocket => {
                let listener = WebSocketListener::bind("127.0.0.1:0").await.expect("a port");
                println!("{}", listener.local_addr().expect("an address"));
                serve(listener.options(as_many_as_come)).await;
            }
            Kind::LongPoll => {
                let listener = HttpListener::bind("127.0.0.1:0").await.expect("a port");
                println!("{}", listener.local_addr().expect("an address"));
                serve(listener.options(as_many_as_come)).await;
            }
            Kind::Raw => raw().await,
        }
    });
}

async fn serve(listener: impl Listener) {
    let log = Log::open("server".parse().expect("a node id"), MemoryStore::new()).await;
    let log: Log<Counter> = log.expect("a log");
    log.add(Counter::Inc { value: 0 }).await.expect("added");
    // What clients send is taken and not kept, or it would all go to all of them.
    let options = SyncOptions::new().in_filter(|_, _| ready(Ok(false)));
    let options = options.timeout(Duration::from_secs(600)).bruteforce(None);
    let server = Server::new(&log, Json, listener).options(options).max_strangers(usize::MAX);
    let _server = server.start();
    std::future::pending::<()>().await;
}

async fn raw() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        tokio::spawn(async move {
            // Small buffers, as for a server with many clients.
            let config =
                WebSocketConfig::default().read_buffer_size(4 << 10).write_buffer_size(16 << 10);
            let mut socket =
                accept_async_with_config(stream, Some(config)).await.expect("a handshake");
            while let Some(Ok(_)) = socket.next().await {}
        });
    }
}
