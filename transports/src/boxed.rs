//! Links of one type, whichever transport they come from.

use std::fmt;
use std::io;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::link::{FrameReceiver, FrameSender, Link};

/// A link of one type for all transports; see [`Link::boxed`].
pub type BoxedLink = Link<BoxedSender, BoxedReceiver>;

impl<S: FrameSender, R: FrameReceiver> Link<S, R> {
    /// The same link, of a type that does not tell the transport: for programs that choose it at
    /// run time, and to compile what is generic over links once instead of for each. Each call
    /// costs an allocation.
    ///
    /// ```
    /// use logux_transports::{BoxedLink, Memory};
    ///
    /// let (near, _far) = Memory::pair();
    /// let link: BoxedLink = near.boxed();
    /// ```
    pub fn boxed(self) -> BoxedLink {
        Link {
            sender: BoxedSender(Box::new(self.sender)),
            receiver: BoxedReceiver(Box::new(self.receiver)),
            info: self.info,
        }
    }
}

/// The sending half of any link.
#[must_use = "a half that is dropped sends nothing more"]
pub struct BoxedSender(Box<dyn AnySender>);

impl FrameSender for BoxedSender {
    async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        self.0.send(frame).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }

    async fn close(self) -> io::Result<()> {
        self.0.close().await
    }
}

impl fmt::Debug for BoxedSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxedSender").finish_non_exhaustive()
    }
}

/// The receiving half of any link.
#[must_use = "a half that is dropped receives nothing more"]
pub struct BoxedReceiver(Box<dyn AnyReceiver>);

impl FrameReceiver for BoxedReceiver {
    async fn receive(&mut self, max_frame: usize) -> io::Result<Option<Bytes>> {
        self.0.receive(max_frame).await
    }
}

impl fmt::Debug for BoxedReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxedReceiver").finish_non_exhaustive()
    }
}

/// [`FrameSender`] with methods that a trait object can have.
trait AnySender: Send {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, io::Result<()>>;
    fn flush(&mut self) -> BoxFuture<'_, io::Result<()>>;
    fn close(self: Box<Self>) -> BoxFuture<'static, io::Result<()>>;
}

impl<S: FrameSender> AnySender for S {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(FrameSender::send(self, frame))
    }

    fn flush(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(FrameSender::flush(self))
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(FrameSender::close(*self))
    }
}

/// [`FrameReceiver`] with methods that a trait object can have.
trait AnyReceiver: Send {
    fn receive(&mut self, max_frame: usize) -> BoxFuture<'_, io::Result<Option<Bytes>>>;
}

impl<R: FrameReceiver> AnyReceiver for R {
    fn receive(&mut self, max_frame: usize) -> BoxFuture<'_, io::Result<Option<Bytes>>> {
        Box::pin(FrameReceiver::receive(self, max_frame))
    }
}
