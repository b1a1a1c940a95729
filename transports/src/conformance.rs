//! The test kit for transports: one call in a test runs the whole contract of a
//! [`Link`].
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use logux_transports::{Memory, conformance};
//!
//! conformance::link(async || Memory::pair()).await;
//!
//! let (memory, listener) = Memory::listen();
//! conformance::transport(memory, listener).await;
//! # }
//! ```
//!
//! Each function checks one line of the contract, under its name, and panics where it is broken.

#![expect(clippy::missing_panics_doc, reason = "to panic is how a check fails")]

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join;
use tokio::time::timeout;

use crate::link::{Format, FrameReceiver, FrameSender, Link, Listener, Transport};

/// Far more than any step of these checks takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a `send` must not have moved to count as waiting.
const STALLED: Duration = Duration::from_millis(200);

/// The frames of the checks are text, so that a transport that marks text can be checked.
const FORMAT: Format = Format { name: "kit", media_type: "text/plain", is_text: |_| true };

/// The longest frame of the checks.
const MAX_FRAME: usize = 1 << 20;

/// Checks every line of the contract; `pair` gives the two ends of a new link each time.
pub async fn link<S1, R1, S2, R2>(pair: impl AsyncFn() -> (Link<S1, R1>, Link<S2, R2>))
where
    S1: FrameSender,
    R1: FrameReceiver,
    S2: FrameSender,
    R2: FrameReceiver,
{
    let (left, right) = pair().await;
    frames_arrive_whole_and_in_order(left, right).await;
    let (left, right) = pair().await;
    receiving_is_cancel_safe(left, right).await;
    let (left, right) = pair().await;
    back_pressure_is_real(left, right).await;
    let (left, right) = pair().await;
    closing_flushes(left, right).await;
    let (left, right) = pair().await;
    closing_flushes(right, left).await;
    let (left, right) = pair().await;
    a_cut_is_noticed(left, right).await;
    let (left, right) = pair().await;
    a_cut_is_noticed(right, left).await;
    let (left, right) = pair().await;
    too_long_a_frame_is_refused(left, right).await;
    let (left, right) = pair().await;
    too_long_a_frame_is_refused(right, left).await;
}

/// Checks the links that a transport and its listener make, then that many can be open at once,
/// each its own, and that the transport can dial again.
pub async fn transport<T: Transport, L: Listener>(mut transport: T, mut listener: L) {
    let both = tokio::sync::Mutex::new((&mut transport, &mut listener));
    link(async || {
        let mut both = both.lock().await;
        let (transport, listener) = &mut *both;
        connect(*transport, *listener).await
    })
    .await;
    many_links_are_open_at_once(&mut transport, &mut listener).await;
}

async fn connect<T: Transport, L: Listener>(
    transport: &mut T,
    listener: &mut L,
) -> (Link<T::Sender, T::Receiver>, Link<L::Sender, L::Receiver>) {
    match join(
        within(transport.open(FORMAT, MAX_FRAME)),
        within(listener.accept(&[FORMAT], MAX_FRAME)),
    )
    .await
    {
        (Ok(near), Ok(far)) => (near, far),
        (near, far) => panic!("no link: {:?}, {:?}", near.err(), far.err()),
    }
}

/// Contract 1, with frames from one byte to a MiB, both directions busy at once.
pub async fn frames_arrive_whole_and_in_order<S1, R1, S2, R2>(
    left: Link<S1, R1>,
    right: Link<S2, R2>,
) where
    S1: FrameSender,
    R1: FrameReceiver,
    S2: FrameSender,
    R2: FrameReceiver,
{
    let frames: Vec<Bytes> = (0..200)
        .map(|n: usize| frame(n, 1 + n * 37 % 2000))
        .chain((0..8).map(|n| frame(n, MAX_FRAME - n)))
        .chain([frame(0, 1)])
        .collect();
    let (mut left_sender, mut right_sender) = (left.sender, right.sender);
    let (mut left_receiver, mut right_receiver) = (left.receiver, right.receiver);
    let ((), ()) = join(
        join(send_all(&mut left_sender, &frames), send_all(&mut right_sender, &frames)),
        join(expect_all(&mut left_receiver, &frames), expect_all(&mut right_receiver, &frames)),
    )
    .await
    .0;
}

/// Contract 2: futures of `receive` are made, polled once and dropped all the time.
pub async fn receiving_is_cancel_safe<S1, R1, S2, R2>(left: Link<S1, R1>, right: Link<S2, R2>)
where
    S1: FrameSender,
    R1: FrameReceiver,
    S2: FrameSender,
    R2: FrameReceiver,
{
    let frames: Vec<Bytes> = (0..300).map(|n: usize| frame(n, 1 + n * 997 % 50_000)).collect();
    let (mut sender, mut receiver) = (left.sender, right.receiver);
    let received = async {
        let mut received = Vec::new();
        while received.len() < frames.len() {
            match receiver.receive(MAX_FRAME).now_or_never() {
                Some(Ok(Some(frame))) => received.push(frame),
                Some(other) => panic!("the link ended: {other:?}"),
                None => tokio::task::yield_now().await,
            }
        }
        received
    };
    let ((), received) = join(send_all(&mut sender, &frames), within(received)).await;
    assert!(received == frames, "frames were lost or changed by dropped receives");
}

/// Contract 3: at most 64 MiB go out while nobody reads, and all of it arrives afterwards.
pub async fn back_pressure_is_real<S1, R1, S2, R2>(left: Link<S1, R1>, right: Link<S2, R2>)
where
    S1: FrameSender,
    R1: FrameReceiver,
    S2: FrameSender,
    R2: FrameReceiver,
{
    let (mut sender, mut receiver) = (left.sender, right.receiver);
    let frames: Vec<Bytes> = (0..1024).map(|n| frame(n, 64 << 10)).collect();
    let mut sending = Box::pin(async {
        for frame in &frames {
            send_all(&mut sender, std::slice::from_ref(frame)).await;
        }
    });
    let waits = timeout(STALLED, &mut sending).await.is_err();
    assert!(waits, "64 MiB were sent to a peer that reads nothing");
    // The same future goes on once somebody reads: a send is never dropped before it is ready.
    within(join(sending, expect_all(&mut receiver, &frames))).await;
}

/// Contract 4: all frames sent before `close` arrive, then `None`.
pub async fn closing_flushes<S1, R1, S2, R2>(left: Link<S1, R1>, right: Link<S2, R2>)
where
    S1: FrameSender,
    R1: FrameReceiver,
    S2: FrameSender,
    R2: FrameReceiver,
{
    let frames: Vec<Bytes> = (0..50).map(|n| frame(n, 20_000)).collect();
    let (mut sender, mut receiver) = (left.sender, right.receiver);
    let send = async {
        for frame in &frames {
            if let Err(error) = sender.send(frame.clone()).await {
                panic!("sending failed: {error}");
            }
        }
        if let Err(error) = sender.close().await {
            panic!("closing failed: {error}");
        }
    };
    let receive = async {
        expect_all(&mut receiver, &frames).await;
        match receiver.receive(MAX_FRAME).await {
            Ok(None) => {}
            other => panic!("after the last frame of a closed link came {other:?}"),
        }
    };
    within(join(send, receive)).await;
}

/// Contract 5: a side that is dropped is noticed by the other, in both halves.
pub async fn a_cut_is_noticed<S1, R1, S2, R2>(left: Link<S1, R1>, right: Link<S2, R2>)
where
    S1: FrameSender,
    R1: FrameReceiver,
    S2: FrameSender,
    R2: FrameReceiver,
{
    let (mut sender, mut receiver) = (left.sender, left.receiver);
    drop(right);
    let received = within(receiver.receive(MAX_FRAME)).await;
    assert!(!matches!(received, Ok(Some(_))), "a frame came from a side that sent none");
    drop(received);
    let fails = async {
        loop {
            let sent = match sender.send(frame(0, 64 << 10)).await {
                Ok(()) => sender.flush().await,
                Err(error) => Err(error),
            };
            if sent.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    within(fails).await;
}

/// Contract 6: at a limit that was lowered, the frame that is one byte longer is an error.
pub async fn too_long_a_frame_is_refused<S1, R1, S2, R2>(left: Link<S1, R1>, right: Link<S2, R2>)
where
    S1: FrameSender,
    R1: FrameReceiver,
    S2: FrameSender,
    R2: FrameReceiver,
{
    let (mut sender, mut receiver) = (left.sender, right.receiver);
    send_all(&mut sender, &[frame(0, 2000), frame(1, 1000), frame(2, 1001)]).await;
    for (length, limit) in [(2000, MAX_FRAME), (1000, 1000)] {
        match within(receiver.receive(limit)).await {
            Ok(Some(frame)) => assert_eq!(frame.len(), length),
            other => panic!("a frame of {length} bytes, {limit} allowed: {other:?}"),
        }
    }
    match within(receiver.receive(1000)).await {
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}"),
        other => panic!("1001 bytes were received where 1000 are allowed: {other:?}"),
    }
}

/// Sixteen links at once, each with its own frames; then one is dropped and dialled anew.
pub async fn many_links_are_open_at_once<T: Transport, L: Listener>(
    transport: &mut T,
    listener: &mut L,
) {
    let mut links = Vec::new();
    for _ in 0..16 {
        links.push(connect(transport, listener).await);
    }
    links.remove(7);
    links.push(connect(transport, listener).await);
    for (number, (near, _)) in links.iter_mut().enumerate() {
        send_all(&mut near.sender, &[frame(number, 10)]).await;
    }
    // A listener may hand links out in another order than that of dialling: match them by frame.
    let mut numbers = Vec::new();
    for (_, far) in &mut links {
        match within(far.receiver.receive(MAX_FRAME)).await {
            Ok(Some(bytes)) => numbers.push(bytes),
            other => panic!("the link ended: {other:?}"),
        }
    }
    numbers.sort();
    let mut expected: Vec<Bytes> = (0..links.len()).map(|number| frame(number, 10)).collect();
    expected.sort();
    assert!(numbers == expected, "links share frames");
}

async fn send_all<S: FrameSender>(sender: &mut S, frames: &[Bytes]) {
    for frame in frames {
        if let Err(error) = sender.send(frame.clone()).await {
            panic!("sending failed: {error}");
        }
    }
    if let Err(error) = sender.flush().await {
        panic!("flushing failed: {error}");
    }
}

async fn expect_all<R: FrameReceiver>(receiver: &mut R, frames: &[Bytes]) {
    for (number, expected) in frames.iter().enumerate() {
        match within(receiver.receive(MAX_FRAME)).await {
            Ok(Some(frame)) => assert!(
                frame == *expected,
                "frame {number} has {} bytes instead of {}, or others",
                frame.len(),
                expected.len()
            ),
            other => panic!("the link ended at frame {number}: {other:?}"),
        }
    }
}

/// A text of so many bytes that tells its number.
fn frame(number: usize, length: usize) -> Bytes {
    let mut text = number.to_string();
    while text.len() < length {
        text.push(char::from(b'a' + u8::try_from((number + text.len()) % 26).unwrap_or(0)));
    }
    text.into()
}

async fn within<F: Future>(future: F) -> F::Output {
    let Ok(output) = timeout(PATIENCE, future).await else {
        panic!("nothing happened for {PATIENCE:?}")
    };
    output
}
