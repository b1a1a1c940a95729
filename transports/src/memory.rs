use std::io;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::link::{
    Format, FrameReceiver, FrameSender, Link, LinkInfo, Listener, Transport, check_length,
};

/// How many frames wait between the two ends before `send` waits.
const CAPACITY: usize = 16;

/// A transport inside one process: for tests, and for logs that live side by side.
///
/// [`Memory::listen`] gives the two ends: one dials, as often and from as many clones as one
/// likes, the other accepts. [`Memory::pair`] gives one link's two ends at once (the original's
/// `LocalPair`).
#[derive(Clone, Debug)]
#[must_use = "a transport does nothing until a link is opened by it"]
pub struct Memory {
    dial: mpsc::Sender<(Format, MemoryLink)>,
}

/// The end of [`Memory`] that accepts.
#[derive(Debug)]
#[must_use = "a listener that is dropped accepts no links"]
pub struct MemoryListener {
    dialled: mpsc::Receiver<(Format, MemoryLink)>,
}

/// A link of [`Memory`].
pub type MemoryLink = Link<MemorySender, MemoryReceiver>;

/// The sending half of a [`MemoryLink`].
#[derive(Debug)]
#[must_use = "a link is cut when both of its halves are dropped"]
pub struct MemorySender {
    frames: mpsc::Sender<Bytes>,
}

/// The receiving half of a [`MemoryLink`].
#[derive(Debug)]
#[must_use = "a link is cut when both of its halves are dropped"]
pub struct MemoryReceiver {
    frames: mpsc::Receiver<Bytes>,
}

impl Memory {
    /// A transport and the listener that it reaches.
    pub fn listen() -> (Self, MemoryListener) {
        let (dial, dialled) = mpsc::channel(CAPACITY);
        (Self { dial }, MemoryListener { dialled })
    }

    /// The two ends of one link.
    pub fn pair() -> (MemoryLink, MemoryLink) {
        let (to_right, from_left) = mpsc::channel(CAPACITY);
        let (to_left, from_right) = mpsc::channel(CAPACITY);
        let link = |sender, receiver| Link {
            sender: MemorySender { frames: sender },
            receiver: MemoryReceiver { frames: receiver },
            info: LinkInfo { transport: Some("memory"), ..LinkInfo::default() },
        };
        (link(to_right, from_right), link(to_left, from_left))
    }
}

impl Transport for Memory {
    type Sender = MemorySender;
    type Receiver = MemoryReceiver;

    async fn open(&mut self, format: Format, _: usize) -> io::Result<MemoryLink> {
        let (near, far) = Self::pair();
        let refused = |_| io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens");
        self.dial.send((format, far)).await.map_err(refused)?;
        Ok(near)
    }
}

impl Listener for MemoryListener {
    type Sender = MemorySender;
    type Receiver = MemoryReceiver;

    async fn accept(&mut self, formats: &[Format], _: usize) -> io::Result<MemoryLink> {
        let gone = || io::Error::new(io::ErrorKind::NotConnected, "nobody can dial any more");
        loop {
            let (format, mut link) = self.dialled.recv().await.ok_or_else(gone)?;
            // A dialler that asks for a format that is not there sees its link closed.
            if let Some(format) = Format::named(formats, format.name) {
                link.info.format = Some(format.name);
                return Ok(link);
            }
        }
    }
}

impl FrameSender for MemorySender {
    async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        self.frames.send(frame).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    async fn close(self) -> io::Result<()> {
        Ok(())
    }
}

impl FrameReceiver for MemoryReceiver {
    async fn receive(&mut self, max_frame: usize) -> io::Result<Option<Bytes>> {
        self.frames.recv().await.map(|frame| check_length(frame, max_frame)).transpose()
    }
}
