//! Strangers behind nginx, of many addresses and of one, and honest clients of another: what they see is a line
//! of the table of `tests/abuse`.

use std::net::SocketAddr;
use std::time::Duration;

use logux_sync::{
    Forwarding, HttpListener, Json, ListenerOptions, LongPoll, Server, SyncOptions, WebSocket,
};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::honest::{Honest, LIMIT, TOKEN, Way};
use crate::nginx::{self, Nginx};
use crate::open;
use crate::raw::{MEDIA_TYPE, Raw, UPGRADE, connect, create, frame, head, packed, post};

/// How many strangers there are of one address, and how many more, each of an address of its own.
const STRANGERS: usize = 60;

/// How many connections the server has: fewer than there are strangers.
const PLACES: usize = 50;

/// How long a stranger stays that is not cut.
const STAY: Duration = Duration::from_secs(2);

/// How many links one address may have.
const LINKS: usize = 8;

async fn listen(forwarding: Forwarding) -> HttpListener {
    let options = ListenerOptions::new().max_links_per_address(LINKS);
    let options = options.trusted_proxies([nginx::SOURCE], forwarding).unwrap();
    HttpListener::bind("127.0.0.1:0").await.unwrap().options(options)
}

#[tokio::test]
#[ignore = "needs nginx: run tests/proxy/run"]
async fn strangers_behind_a_header_hold_up_nobody() {
    let listener = listen(Forwarding::XForwardedFor).await;
    let nginx = Nginx::start("strangers", "", listener.local_addr().unwrap()).await;
    strangers_hold_up_nobody(listener, nginx.address()).await;
}

#[tokio::test]
#[ignore = "needs nginx: run tests/proxy/run"]
async fn strangers_behind_the_proxy_protocol_hold_up_nobody() {
    let listener = listen(Forwarding::ProxyProtocol).await;
    let (address, upstream) = (nginx::free_address(), listener.local_addr().unwrap());
    let settings = nginx::stream(address, upstream);
    let _nginx = Nginx::start("strangers-stream", &settings, upstream).await;
    strangers_hold_up_nobody(listener, address).await;
}

async fn strangers_hold_up_nobody(listener: HttpListener, proxy: SocketAddr) {
    let options = SyncOptions::new().auth(async |login| login.token_is(TOKEN));
    let server = Server::new(&open("server").await, Json, listener).options(options);
    let server = server.max_strangers(PLACES).start();
    let websocket = WebSocket::new(&format!("ws://{proxy}/forwarded")).unwrap();
    let long_poll = LongPoll::new(&format!("http://{proxy}/forwarded")).unwrap();
    let way = Way::new(websocket, Some(long_poll));
    let honest = Honest::start(way).await;
    honest.beside(2 * STRANGERS, async |number| stranger(proxy, number).await).await;
    honest.end().await;
    server.shutdown(LIMIT).await;
}

/// Comes, does what a stranger does, and stays a moment, unless it is cut.
async fn stranger(proxy: SocketAddr, number: usize) {
    let source = match number.checked_sub(STRANGERS) {
        Some(other) => [127, 0, 1, u8::try_from(other).unwrap()],
        None => [127, 0, 0, 2],
    };
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    let mut raw = Raw::over(socket.connect(proxy).await.unwrap());
    let wrong = format!(r#"["connect",4,"{number}:guess",0,{{"token":"wrong"}}]"#);
    match number % 5 {
        0 => {}
        1 | 2 => {
            raw.send(to_forwarded(&head("GET", &UPGRADE))).await;
            if raw.try_answer().await.is_some_and(|answer| answer.status == 101) && number % 5 == 1
            {
                raw.send(frame(&wrong)).await;
            }
        }
        _ => {
            raw.send(to_forwarded(&create(&[]))).await;
            let Some(answer) = raw.try_answer().await else { return };
            let Some(id) = answer.header("logux-session") else { return };
            let headers = [MEDIA_TYPE, ("logux-session", id), ("logux-send", "0 1")];
            let says = if number % 5 == 3 { wrong } else { connect("long") };
            raw.send(to_forwarded(&post(&headers, &packed(&says)))).await;
            raw.try_answer().await;
        }
    }
    // nginx itself keeps for a minute who says nothing, and what it may be asked more on.
    let _ = timeout(STAY, raw.gone()).await;
}

/// The same request, to where nginx tells who asks.
fn to_forwarded(request: &[u8]) -> Vec<u8> {
    let request = std::str::from_utf8(request).unwrap();
    request.replacen(" / ", " /forwarded ", 1).into_bytes()
}
