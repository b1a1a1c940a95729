//! What a WebSocket keeps of memory once long frames have passed, and of answers to a peer that does not read them.
//! One test, because it measures the memory of the whole process.

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt};
use logux_transports::{
    Format, FrameReceiver, FrameSender, Link, WebSocket, WebSocketLink, WebSocketListener,
};
use peak_alloc::PeakAlloc;
use tokio::io::{DuplexStream, duplex};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const FORMAT: Format = Format { name: "json", media_type: "text/plain", is_text: |_| true };
const MAX_FRAME: usize = 1 << 20;

async fn open(at_once: usize) -> (WebSocketLink<DuplexStream>, WebSocketLink<DuplexStream>) {
    let (near, far) = duplex(at_once);
    let transport = WebSocket::new("ws://localhost/").unwrap();
    let (near, far) = tokio::join!(
        transport.open_over(near, FORMAT, MAX_FRAME),
        WebSocketListener::accept_over(far, &[FORMAT], MAX_FRAME),
    );
    (near.unwrap(), far.unwrap())
}

/// Sends frames there and back, with short ones between them.
async fn exchange(
    near: &mut Link<impl FrameSender, impl FrameReceiver>,
    far: &mut Link<impl FrameSender, impl FrameReceiver>,
    length: usize,
) {
    for length in [10, length, 10, 11, length, length, 12] {
        let frame = Bytes::from("x".repeat(length));
        let there = async {
            near.sender.send("before".into()).await.unwrap();
            near.sender.send(frame.clone()).await.unwrap();
            near.sender.send("after".into()).await.unwrap();
            near.sender.flush().await.unwrap();
            near.receiver.receive(MAX_FRAME).await.unwrap().unwrap()
        };
        let back = async {
            assert_eq!(far.receiver.receive(MAX_FRAME).await.unwrap().unwrap(), "before");
            let frame = far.receiver.receive(MAX_FRAME).await.unwrap().unwrap();
            assert_eq!(far.receiver.receive(MAX_FRAME).await.unwrap().unwrap(), "after");
            far.sender.send(frame).await.unwrap();
            far.sender.flush().await.unwrap();
        };
        let (came, ()) = tokio::join!(there, back);
        assert!(came == frame, "a frame of {length} bytes has changed");
    }
    // Both wait for what comes.
    assert!(near.receiver.receive(MAX_FRAME).now_or_never().is_none());
    assert!(far.receiver.receive(MAX_FRAME).now_or_never().is_none());
}

#[tokio::test]
async fn a_silent_websocket_has_given_back_what_long_frames_took() {
    for at_once in [1, 100, 8 << 10] {
        let (mut near, mut far) = open(at_once).await;
        exchange(&mut near, &mut far, 100).await;
        let before = MEMORY.current_usage();
        // The pipe has a buffer as well, of up to so many bytes each way.
        for length in [4 << 10, (4 << 10) + 1, 1 << 16] {
            exchange(&mut near, &mut far, length).await;
            let kept = MEMORY.current_usage().saturating_sub(before);
            // Those of up to 4 KiB leave their size in each of four buffers.
            assert!(kept < 34 << 10, "{kept} bytes are kept after frames of {length}");
            if length > 4 << 10 {
                exchange(&mut near, &mut far, 100).await;
            }
        }
        // Each fits into twice the room of the one before, with what comes behind it.
        for length in [5, 9, 17, 33, 65, 129] {
            exchange(&mut near, &mut far, length << 10).await;
        }
        let kept = MEMORY.current_usage().saturating_sub(before);
        assert!(kept < 34 << 10, "{kept} bytes are kept after frames that grow");
    }
    answers_that_are_not_read_are_bounded().await;
}

/// Each ping is answered, and the peer takes none of the answers.
async fn answers_that_are_not_read_are_bounded() {
    let (near, far) = duplex(8 << 10);
    let (near, far) = tokio::join!(
        client_async("ws://localhost/", near),
        WebSocketListener::accept_over(far, &[FORMAT], MAX_FRAME),
    );
    let ((mut near, _), mut far) = (near.unwrap(), far.unwrap());
    let before = MEMORY.current_usage();
    let flood = async {
        for _ in 0..20_000 {
            near.feed(Message::Ping(Bytes::from_static(&[0; 125]))).await.unwrap();
        }
        near.flush().await.unwrap();
    };
    tokio::select! {
        () = flood => {}
        received = far.receiver.receive(MAX_FRAME) => panic!("{received:?} came"),
    }
    let kept = MEMORY.current_usage().saturating_sub(before);
    // The peer gathers up to 128 KiB of pings.
    assert!(kept < 400 << 10, "{kept} bytes wait for a peer that does not read");
}
