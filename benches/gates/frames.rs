//! A transport whose frames are counted, in both directions.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use logux_sync::Transport;
use logux_sync::transports::{Format, FrameReceiver, FrameSender, Link};

/// So many frames, and so many bytes in them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frames(Arc<(AtomicU64, AtomicU64)>);

impl Frames {
    fn note(&self, frame: &Bytes) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        self.0.1.fetch_add(frame.len() as u64, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.1.load(Ordering::Relaxed)
    }
}

/// Dials as the transport in it does.
pub(crate) struct Counting<T> {
    pub(crate) inner: T,
    pub(crate) frames: Frames,
}

/// A half of a link of it.
pub(crate) struct Half<H> {
    inner: H,
    frames: Frames,
}

impl<T: Transport> Transport for Counting<T> {
    type Sender = Half<T::Sender>;
    type Receiver = Half<T::Receiver>;

    async fn open(
        &mut self,
        format: Format,
        max_frame: usize,
    ) -> io::Result<Link<Self::Sender, Self::Receiver>> {
        let Link { sender, receiver, info, .. } = self.inner.open(format, max_frame).await?;
        let sender = Half { inner: sender, frames: self.frames.clone() };
        let receiver = Half { inner: receiver, frames: self.frames.clone() };
        Ok(Link { sender, receiver, info })
    }
}

impl<S: FrameSender> FrameSender for Half<S> {
    async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        self.frames.note(&frame);
        self.inner.send(frame).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().await
    }

    async fn close(self) -> io::Result<()> {
        self.inner.close().await
    }
}

impl<R: FrameReceiver> FrameReceiver for Half<R> {
    async fn receive(&mut self, max_frame: usize) -> io::Result<Option<Bytes>> {
        let frame = self.inner.receive(max_frame).await?;
        if let Some(frame) = &frame {
            self.frames.note(frame);
        }
        Ok(frame)
    }
}
