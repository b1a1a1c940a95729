//! The checks of one link.

use std::cell::Cell;
use std::future::pending;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::future::{join, try_join, try_join4};

use super::check::{Checked, MAX_FRAME, within};
use super::frames::{bytes, is_next, receive, receive_to_the_end, send};
use crate::link::{FrameReceiver, FrameSender, Link};
use crate::rt::{sleep, timeout};

/// How long a `send` must not have moved to count as waiting.
const STALLED: Duration = Duration::from_millis(200);

/// How many frames of a busy link are received before it is cut.
const BEFORE_THE_CUT: usize = 20;

/// Both directions are busy at once.
pub(super) async fn frames_arrive_whole_and_in_order(
    left: Link<impl FrameSender, impl FrameReceiver>,
    right: Link<impl FrameSender, impl FrameReceiver>,
    frames: &[Bytes],
) -> Checked {
    let (mut left, mut right) = (left, right);
    try_join4(
        send(&mut left.sender, frames),
        send(&mut right.sender, frames),
        receive(&mut left.receiver, frames),
        receive(&mut right.receiver, frames),
    )
    .await?;
    Ok(())
}

/// Futures of `receive` are dropped all the time, after one look and in the midst of a frame.
pub(super) async fn receiving_is_cancel_safe(
    mut left: Link<impl FrameSender, impl FrameReceiver>,
    mut right: Link<impl FrameSender, impl FrameReceiver>,
) -> Checked {
    let mut random = Rng::with_seed(0);
    let frames: Vec<Bytes> = (0..300).map(|n| bytes(n, 1 + n * 997 % 50_000)).collect();
    let receiving = async {
        let mut number = 0;
        while number < frames.len() {
            let patience = Duration::from_millis(random.u64(0..3));
            match timeout(patience, right.receiver.receive(MAX_FRAME)).await {
                Ok(Ok(Some(frame))) => is_next(&frames, number, &frame)?,
                Ok(other) => return Err(format!("the link ended at frame {number}: {other:?}")),
                Err(_) => continue,
            }
            number += 1;
        }
        Ok(())
    };
    let receiving = async { within(receiving).await? };
    try_join(send(&mut left.sender, &frames), receiving).await?;
    Ok(())
}

/// At most 64 MiB go out while nobody reads, and all of it arrives afterwards.
pub(super) async fn back_pressure_is_real(
    mut left: Link<impl FrameSender, impl FrameReceiver>,
    mut right: Link<impl FrameSender, impl FrameReceiver>,
) -> Checked {
    let frames: Vec<Bytes> = (0..1024).map(|number| bytes(number, 64 << 10)).collect();
    let sent = Cell::new(0);
    let mut sending = Box::pin(async {
        for frame in &frames {
            send(&mut left.sender, std::slice::from_ref(frame)).await?;
            sent.set(sent.get() + 1);
        }
        Ok(())
    });
    loop {
        let before = sent.get();
        match timeout(STALLED, &mut sending).await {
            Ok(done) => {
                let done: Checked = done;
                done?;
                return Err("64 MiB were sent to a peer that reads nothing".into());
            }
            Err(_) if sent.get() == before => break,
            Err(_) => {}
        }
    }
    // The same future goes on once somebody reads: a send is never dropped before it is ready.
    try_join(sending, receive(&mut right.receiver, &frames)).await?;
    Ok(())
}

/// Both sides close, one after the other.
pub(super) async fn closing_flushes(
    left: Link<impl FrameSender, impl FrameReceiver>,
    right: Link<impl FrameSender, impl FrameReceiver>,
) -> Checked {
    let frames: Vec<Bytes> = (0..50).map(|number| bytes(number, 20_000)).collect();
    let (mut left, mut right) = (left, right);
    let closing = async {
        for frame in &frames {
            let sent = left.sender.send(frame.clone()).await;
            sent.map_err(|error| format!("sending failed: {error}"))?;
        }
        left.sender.close().await.map_err(|error| format!("closing failed: {error}"))
    };
    let receiving = async {
        receive(&mut right.receiver, &frames).await?;
        let end = receive_to_the_end(&mut right.receiver, &[]).await?;
        end.map_err(|error| format!("after the last frame of a closed link came {error:?}"))?;
        // The link may be gone already: its other side has nothing to say.
        let _ = within(right.sender.close()).await?;
        Ok(())
    };
    let ended = async {
        // It is told that nothing follows, or that the link has ended.
        let _ = receive_to_the_end(&mut left.receiver, &[]).await?;
        Ok(())
    };
    within(try_join(try_join(closing, receiving), ended)).await??;
    Ok(())
}

/// One side is dropped while nothing happens.
pub(super) async fn a_cut_is_noticed(
    mut left: Link<impl FrameSender, impl FrameReceiver>,
    right: Link<impl FrameSender, impl FrameReceiver>,
) -> Checked {
    drop(right);
    let _ = receive_to_the_end(&mut left.receiver, &[]).await?;
    sending_fails(&mut left.sender).await
}

/// One side is dropped while it sends.
pub(super) async fn a_cut_leaves_whole_frames(
    mut left: Link<impl FrameSender, impl FrameReceiver>,
    mut right: Link<impl FrameSender, impl FrameReceiver>,
) -> Checked {
    let frames = many_frames();
    let sending = async {
        send(&mut left.sender, &frames).await?;
        // All of it may be on its way already.
        pending().await
    };
    tokio::select! {
        failed = sending => return failed,
        received = receive(&mut right.receiver, &frames[..BEFORE_THE_CUT]) => received?,
    }
    drop(left);
    the_peer_is_not_to_blame(&mut right.receiver, &frames[BEFORE_THE_CUT..]).await
}

/// A busy link is cut by what lies between its sides.
pub(super) async fn a_cut_in_the_middle(
    mut left: Link<impl FrameSender, impl FrameReceiver>,
    mut right: Link<impl FrameSender, impl FrameReceiver>,
    cut: Box<dyn FnOnce() + '_>,
) -> Checked {
    let frames = many_frames();
    let sending = async {
        // Fails now, or all of it was on its way already and the next one fails.
        let _ = send(&mut left.sender, &frames).await;
        sending_fails(&mut left.sender).await
    };
    let receiving = async {
        receive(&mut right.receiver, &frames[..BEFORE_THE_CUT]).await?;
        cut();
        the_peer_is_not_to_blame(&mut right.receiver, &frames[BEFORE_THE_CUT..]).await?;
        sending_fails(&mut right.sender).await
    };
    let (sent, received) = join(async { within(sending).await? }, receiving).await;
    received?;
    sent?;
    the_peer_is_not_to_blame(&mut left.receiver, &[]).await
}

/// Where the limit was lowered, the frame that is one byte longer is an error.
pub(super) async fn too_long_a_frame_is_refused(
    mut left: Link<impl FrameSender, impl FrameReceiver>,
    mut right: Link<impl FrameSender, impl FrameReceiver>,
) -> Checked {
    let frames = [2000, 1000, 1001].map(|length| bytes(length, length));
    within(send(&mut left.sender, &frames)).await??;
    for (number, limit) in [MAX_FRAME, 1000].into_iter().enumerate() {
        match within(right.receiver.receive(limit)).await? {
            Ok(Some(frame)) => is_next(&frames, number, &frame)?,
            other => return Err(format!("instead of a frame that {limit} allows came {other:?}")),
        }
    }
    is_refused(within(right.receiver.receive(1000)).await?)
}

/// A frame that is one byte longer than what the link was opened for is an error, at the side that
/// sends it or at the other.
pub(super) async fn no_frame_is_lost_for_its_length(
    mut left: Link<impl FrameSender, impl FrameReceiver>,
    mut right: Link<impl FrameSender, impl FrameReceiver>,
) -> Checked {
    let sending = async {
        match send(&mut left.sender, &[bytes(0, MAX_FRAME + 1), bytes(1, 1)]).await {
            Ok(()) => pending().await,
            Err(_) => Ok(()),
        }
    };
    let receiving = async { is_refused(within(right.receiver.receive(MAX_FRAME)).await?) };
    tokio::select! {
        refused = sending => refused,
        refused = receiving => refused,
    }
}

/// A side that receives no more still sends, until that half is dropped, too.
pub(super) async fn a_half_sends_without_the_other(
    left: Link<impl FrameSender, impl FrameReceiver>,
    mut right: Link<impl FrameSender, impl FrameReceiver>,
) -> Checked {
    let frames: Vec<Bytes> = (0..20).map(|number| bytes(number, 2000)).collect();
    let mut sender = left.sender;
    drop(left.receiver);
    try_join(send(&mut sender, &frames), receive(&mut right.receiver, &frames)).await?;
    drop(sender);
    the_peer_is_not_to_blame(&mut right.receiver, &[]).await
}

/// A side that sends no more still receives, until that half is dropped, too.
pub(super) async fn a_half_receives_without_the_other(
    left: Link<impl FrameSender, impl FrameReceiver>,
    mut right: Link<impl FrameSender, impl FrameReceiver>,
) -> Checked {
    let frames: Vec<Bytes> = (0..20).map(|number| bytes(number, 2000)).collect();
    let mut receiver = left.receiver;
    drop(left.sender);
    try_join(send(&mut right.sender, &frames), receive(&mut receiver, &frames)).await?;
    drop(receiver);
    sending_fails(&mut right.sender).await
}

/// More than what is on its way between two sides at a time.
fn many_frames() -> Vec<Bytes> {
    (0..1000).map(|number| bytes(number, 20_000)).collect()
}

fn is_refused(received: std::io::Result<Option<Bytes>>) -> Checked {
    match received {
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(()),
        Err(error) => Err(format!("the error is not of the kind InvalidData: {error:?}")),
        Ok(Some(frame)) => Err(format!("a frame of {} bytes came", frame.len())),
        Ok(None) => Err("the link was closed".into()),
    }
}

/// Receives what comes of these frames before the link ends, which is nobody's fault.
async fn the_peer_is_not_to_blame(receiver: &mut impl FrameReceiver, frames: &[Bytes]) -> Checked {
    match receive_to_the_end(receiver, frames).await? {
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(format!("a cut was taken for a fault of the peer's: {error}"))
        }
        Err(_) | Ok(()) => Ok(()),
    }
}

/// Sends until that fails, as it must, for the link is cut.
async fn sending_fails(sender: &mut impl FrameSender) -> Checked {
    let failing = async {
        while send(sender, &[bytes(0, 1000)]).await.is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    within(failing).await.map_err(|_| "sending does not fail".into())
}
