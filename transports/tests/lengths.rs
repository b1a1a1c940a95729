//! Frames that are too long for the other side: both sides come to know of it.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response};
use logux_transports::{
    Format, FrameReceiver, FrameSender, HttpClient, HttpListener, Link, Listener, ListenerOptions,
    LongPoll, LongPollLink, Transport, WebSocket, WebSocketListener,
};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{accept_async, connect_async};

const FORMAT: Format = Format { name: "json", media_type: "application/json", is_text: |_| false };
const LIMIT: Duration = Duration::from_secs(20);

/// What the links of a test are opened for; so much is received only by some of its sides.
const MAX_FRAME: usize = 14 << 20;

fn is_too_long(error: &std::io::Error, texts: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::FileTooLarge, "{error}");
    for text in texts {
        assert!(error.to_string().contains(text), "{error} lacks {text:?}");
    }
}

mod websocket {
    use super::*;

    #[tokio::test]
    async fn a_close_for_the_length_of_a_frame_is_told_apart() {
        for (code, is_told) in [
            (CloseCode::Size, true),
            (CloseCode::Normal, false),
            (CloseCode::Policy, false),
            (CloseCode::Error, false),
        ] {
            let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("ws://{}", server.local_addr().unwrap());
            let closing = async {
                let mut raw = accept_async(server.accept().await.unwrap().0).await.unwrap();
                let reason = "at most\u{1b} 1000 bytes".into();
                raw.close(Some(CloseFrame { code, reason })).await.unwrap();
                raw
            };
            let mut transport = WebSocket::new(&url).unwrap();
            let (link, _raw) = tokio::join!(transport.open(FORMAT, MAX_FRAME), closing);
            let mut link = link.unwrap();
            match link.receiver.receive(MAX_FRAME).await {
                Err(error) if is_told => {
                    is_too_long(&error, &["1009", "1000 bytes", "shorter"]);
                    assert!(
                        !error.to_string().contains('\u{1b}'),
                        "a terminal would obey: {error}"
                    );
                }
                end => assert!(matches!(end, Ok(None)) && !is_told, "{code:?}: {end:?}"),
            }
            assert_eq!(link.receiver.receive(MAX_FRAME).await.unwrap(), None, "it ends again");
            if is_told {
                is_too_long(&link.sender.send("more".into()).await.unwrap_err(), &["1009"]);
                is_too_long(&link.sender.flush().await.unwrap_err(), &["1009"]);
            } else {
                let _ = link.sender.send("more".into()).await;
                let error = link.sender.flush().await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotConnected, "{error}");
            }
        }
    }

    #[tokio::test]
    async fn a_link_that_got_too_long_a_frame_closes_with_the_reason() {
        let mut listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let pieces = |length: usize| vec![0; length];
        for (length, limit, is_refused) in [
            (1000, 1000, false),
            (1001, 1000, true),
            (MAX_FRAME + 1, MAX_FRAME, true),
            // More than what is read for so short a frame.
            (100_000, 1000, true),
        ] {
            let formats = [FORMAT];
            let accepting = listener.accept(&formats, MAX_FRAME);
            let (raw, link) = tokio::join!(connect_async(&url), accepting);
            let (mut raw, mut link) = (raw.unwrap().0, link.unwrap());
            let sending = async {
                // The other side may stop reading before the end of it.
                let _ = raw.send(Message::binary(pieces(length))).await;
                let mut said = Vec::new();
                while let Some(Ok(message)) = raw.next().await {
                    said.push(message);
                }
                said
            };
            let refusing = async {
                let received = link.receiver.receive(limit).await;
                assert_eq!(received.is_err(), is_refused, "{length}");
                // There is still a way to say why.
                link.sender.send("because".into()).await.unwrap();
                link.sender.close().await.unwrap();
                drop(link.receiver);
            };
            let (said, ()) =
                timeout(LIMIT, async { tokio::join!(sending, refusing) }).await.unwrap();
            let [Message::Binary(text), Message::Close(closed)] = &said[..] else {
                panic!("{length}: {said:?}")
            };
            assert_eq!(text, "because");
            let closed = closed.as_ref().map(|frame| (frame.code, frame.reason.to_string()));
            let reason = format!("the frame has more than the {limit} bytes that are allowed");
            assert_eq!(closed, is_refused.then_some((CloseCode::Size, reason)), "{length}");
        }
    }

    #[tokio::test]
    async fn whichever_side_sends_it_comes_to_know_that_a_frame_was_too_long() {
        let listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        both_ways(&format!("ws://{address}/"), listener).await;
        let listener = HttpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        both_ways(&format!("ws://{address}/"), listener).await;
    }

    /// Of the frame, at most this much is on the way when the other side refuses it: what reads no more
    /// would break the sender off.
    #[tokio::test]
    async fn the_rest_of_a_frame_that_was_refused_breaks_nobody_off() {
        for client_sends in [true, false] {
            let (near, far) = tokio::io::duplex(64 << 10);
            let transport = WebSocket::new("ws://localhost/").unwrap();
            let opening = transport.open_over(near, FORMAT, MAX_FRAME);
            let accepting = WebSocketListener::accept_over(far, &[FORMAT], MAX_FRAME);
            let (near, far) = tokio::join!(opening, accepting);
            let (near, far) = (near.unwrap(), far.unwrap());
            let (from, to) = if client_sends { (near, far) } else { (far, near) };
            timeout(LIMIT, refuses(from, to)).await.unwrap();
        }
    }

    async fn both_ways(url: &str, mut listener: impl Listener) {
        for client_sends in [true, false] {
            let mut transport = WebSocket::new(url).unwrap();
            let formats = [FORMAT];
            let opening = transport.open(FORMAT, MAX_FRAME);
            let (near, far) = tokio::join!(opening, listener.accept(&formats, MAX_FRAME));
            let (near, far) = (near.unwrap().boxed(), far.unwrap().boxed());
            let (from, to) = if client_sends { (near, far) } else { (far, near) };
            timeout(LIMIT, refuses(from, to)).await.unwrap();
        }
    }

    async fn refuses<S: FrameSender, R: FrameReceiver>(mut from: Link<S, R>, mut to: Link<S, R>) {
        let refusing = async {
            let error = to.receiver.receive(64 << 10).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            to.sender.send("because".into()).await.unwrap();
            to.sender.close().await.unwrap();
            drop(to.receiver);
        };
        let sending = async {
            // Not cut in the midst of it, which would be another error than the one that tells.
            from.sender.send(vec![0; MAX_FRAME].into()).await.unwrap();
            from.sender.flush().await.unwrap();
            assert_eq!(from.receiver.receive(MAX_FRAME).await.unwrap().unwrap(), "because");
            let error = from.receiver.receive(MAX_FRAME).await.unwrap_err();
            is_too_long(&error, &["1009", "65536 bytes"]);
            is_too_long(&from.sender.send("more".into()).await.unwrap_err(), &["1009"]);
        };
        tokio::join!(refusing, sending);
    }
}

mod long_poll {
    use super::*;

    /// A server, or a proxy before it, that refuses bodies of more than so many bytes.
    #[derive(Clone)]
    struct Narrow {
        limit: usize,
        frames: Arc<Mutex<Vec<usize>>>,
    }

    impl HttpClient for Narrow {
        async fn request(
            &mut self,
            request: Request<Bytes>,
            _: usize,
        ) -> std::io::Result<Response<Bytes>> {
            let answer = Response::builder();
            if !request.headers().contains_key("logux-session") {
                let created = answer
                    .header("logux-session", "id")
                    .header("logux-version", "2")
                    .header("logux-wait", "25000")
                    .header("logux-inactivity", "30000")
                    .header("logux-max-body", MAX_FRAME);
                return Ok(created.body(Bytes::new()).unwrap());
            }
            let mut body = request.into_body();
            if body.len() > self.limit {
                let text = Bytes::from_static(b"<h1>413</h1>");
                return Ok(answer.status(413).body(text).unwrap());
            }
            let mut frames = self.frames.lock().unwrap();
            while !body.is_empty() {
                let length = body.get_u32() as usize;
                body.advance(length);
                frames.push(length);
            }
            let answer = answer.header("logux-answer", format!("open {}", frames.len()));
            Ok(answer.body(Bytes::new()).unwrap())
        }
    }

    async fn narrow(limit: usize) -> (LongPollLink<Narrow>, Arc<Mutex<Vec<usize>>>) {
        let frames = Arc::default();
        let client = Narrow { limit, frames: Arc::clone(&frames) };
        let mut transport = LongPoll::over("http://localhost/", client).unwrap();
        (transport.open(FORMAT, MAX_FRAME).await.unwrap(), frames)
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_is_refused_for_its_length_is_told_apart() {
        let (mut link, frames) = narrow(1000).await;
        link.sender.send(vec![0; 996].into()).await.unwrap();
        link.sender.flush().await.unwrap();
        link.sender.send(vec![0; 997].into()).await.unwrap();
        let error = link.sender.flush().await.unwrap_err();
        is_too_long(&error, &["997 bytes", "413", "shorter"]);
        assert_eq!(*frames.lock().unwrap(), [996]);
        // One that fills a body by itself is sent at once.
        let (mut link, _) = narrow(1000).await;
        let error = link.sender.send(vec![0; 300 << 10].into()).await.unwrap_err();
        is_too_long(&error, &["307200 bytes", "413"]);
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_told_apart_that_are_refused_together() {
        // Each is short enough by itself.
        let (mut link, frames) = narrow(1000).await;
        for length in [100, 0, 900, 996, 1, 500].repeat(5) {
            link.sender.send(vec![0; length].into()).await.unwrap();
        }
        link.sender.flush().await.unwrap();
        assert_eq!(*frames.lock().unwrap(), [100, 0, 900, 996, 1, 500].repeat(5));

        // One is not: those before it arrive, and it is the one that is blamed.
        let (mut link, frames) = narrow(1000).await;
        for length in [10, 20, 30, 997, 40] {
            link.sender.send(vec![0; length].into()).await.unwrap();
        }
        is_too_long(&link.sender.flush().await.unwrap_err(), &["997 bytes"]);
        assert_eq!(*frames.lock().unwrap(), [10, 20, 30]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_longer_than_the_server_told_is_not_sent_at_all() {
        let (mut link, _) = narrow(usize::MAX).await;
        let error = link.sender.send(vec![0; MAX_FRAME - 3].into()).await.unwrap_err();
        is_too_long(&error, &["14680061 bytes", "14680060", "shorter"]);
        link.sender.send(vec![0; MAX_FRAME - 4].into()).await.unwrap();
    }

    /// Our own server refuses what is too long for somebody that it does not know yet.
    #[tokio::test]
    async fn our_server_tells_that_a_frame_is_too_long() {
        let listener = HttpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let options = ListenerOptions::new().wait(Duration::from_millis(100));
        let mut listener = listener.options(options);
        let mut transport = LongPoll::new(&url).unwrap();
        let formats = [FORMAT];
        let opening = transport.open(FORMAT, MAX_FRAME);
        let (near, far) = tokio::join!(opening, listener.accept(&formats, MAX_FRAME));
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        let sending = async {
            near.sender.send(vec![0; 4 << 20].into()).await?;
            near.sender.flush().await
        };
        tokio::select! {
            sent = timeout(LIMIT, sending) => {
                is_too_long(&sent.unwrap().unwrap_err(), &["4194304 bytes", "413"]);
            }
            received = far.receiver.receive(1000) => panic!("{received:?}"),
        }
    }
}
