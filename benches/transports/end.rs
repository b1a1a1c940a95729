//! What both sides of a ratio are driven by: the same loops, over ends of any kind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use logux_sync::transports::{FrameReceiver, FrameSender, Link};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

/// How long a run may take; one from which a frame was lost would take for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest frame.
pub(crate) const MAX_FRAME: usize = 1 << 20;

/// One end of a connection.
pub(crate) trait End: Send + 'static {
    fn send(&mut self, frame: Message) -> impl Future<Output = ()> + Send;
    fn flush(&mut self) -> impl Future<Output = ()> + Send;
    fn receive(&mut self) -> impl Future<Output = Bytes> + Send;
}

impl<S: FrameSender, R: FrameReceiver> End for Link<S, R> {
    async fn send(&mut self, frame: Message) {
        self.sender.send(frame.into_data()).await.expect("sent");
    }

    async fn flush(&mut self) {
        self.sender.flush().await.expect("flushed");
    }

    async fn receive(&mut self) -> Bytes {
        self.receiver.receive(MAX_FRAME).await.expect("received").expect("a frame")
    }
}

/// What travels: frames of one length, each unlike the 250 before it, so that one that is lost,
/// comes twice or out of order is noticed. None is made while the clock runs.
#[derive(Clone)]
pub(crate) struct Frames(Arc<[Message]>);

impl Frames {
    pub(crate) fn text(length: usize) -> Self {
        Self((0..251).map(|number| Message::text(format!("{number:0length$}"))).collect())
    }

    pub(crate) fn binary(length: usize) -> Self {
        let Self(texts) = Self::text(length);
        Self(texts.iter().map(|text| Message::Binary(text.clone().into_data())).collect())
    }

    pub(crate) fn get(&self, number: u64) -> Message {
        // The remainder is an index.
        self.0[(number % 251) as usize].clone()
    }

    /// # Panics
    /// Where it is not the frame of that number.
    pub(crate) fn check(&self, number: u64, received: &Bytes) {
        let frame = self.get(number).into_data();
        assert!(*received == frame, "frame {number} did not come where it should");
    }
}

/// Sends frames one after the other, flushes once, and waits until the other end has all of them.
pub(crate) async fn one_way(
    mut near: impl End,
    mut far: impl End,
    frames: Frames,
    count: u64,
) -> Duration {
    let sent = frames.clone();
    let sending = async move {
        let start = Instant::now();
        for number in 0..count {
            near.send(sent.get(number)).await;
        }
        near.flush().await;
        sent.check(count, &near.receive().await);
        start.elapsed()
    };
    let receiving = async move {
        for number in 0..count {
            frames.check(number, &far.receive().await);
        }
        far.send(frames.get(count)).await;
        far.flush().await;
        far
    };
    both(sending, receiving).await
}

/// Sends each frame when the one before has come back.
pub(crate) async fn round_trips(
    mut near: impl End,
    mut far: impl End,
    frames: Frames,
    count: u64,
) -> Duration {
    let sent = frames.clone();
    let asking = async move {
        let start = Instant::now();
        for number in 0..count {
            near.send(sent.get(number)).await;
            near.flush().await;
            sent.check(number, &near.receive().await);
        }
        start.elapsed()
    };
    let answering = async move {
        for number in 0..count {
            frames.check(number, &far.receive().await);
            far.send(frames.get(number)).await;
            far.flush().await;
        }
        far
    };
    both(asking, answering).await
}

/// Sends each frame when the one before is known to have arrived. Where a flush does not tell that,
/// it is not known.
pub(crate) async fn deliveries(
    mut near: impl End,
    mut far: impl End,
    frames: Frames,
    count: u64,
) -> Duration {
    let sent = frames.clone();
    let sending = async move {
        let start = Instant::now();
        for number in 0..count {
            near.send(sent.get(number)).await;
            near.flush().await;
        }
        start.elapsed()
    };
    let receiving = async move {
        for number in 0..count {
            frames.check(number, &far.receive().await);
        }
        far
    };
    both(sending, receiving).await
}

/// Runs the two ends in tasks of their own; the far one lives until the near one is done.
pub(crate) async fn both<F: Send + 'static>(
    near: impl Future<Output = Duration> + Send + 'static,
    far: impl Future<Output = F> + Send + 'static,
) -> Duration {
    let far = tokio::spawn(far);
    let took = timeout(PATIENCE, tokio::spawn(near)).await.expect("frames are missing");
    drop(far.await.expect("all received"));
    took.expect("all sent")
}
