//! The test kit catches transports that break their promises, each by the check of that promise.
#![cfg(feature = "conformance")]

use std::future::pending;
use std::io;
use std::mem;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt;
use logux_transports::{
    Format, FrameReceiver, FrameSender, Link, Memory, MemoryReceiver, MemorySender, Transport,
    conformance,
};
use tokio::sync::mpsc;

macro_rules! caught {
    ($($fault:ident $name:ident: $check:ident, $reason:literal;)*) => { $(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            let (memory, listener) = Memory::listen();
            let transport = Broken { memory, fault: Fault::$fault, opened: 0, stray: Arc::default() };
            let message = panic_of(conformance::transport(transport, listener)).await;
            assert!(message.starts_with(concat!(stringify!($check), ": ")), "{message}");
            assert!(message.contains($reason), "{message}");
        }
    )* };
}

caught! {
    Swaps two_frames_are_swapped: frames_arrive_whole_and_in_order, "frame 5 came in place of frame 4";
    Drops a_frame_is_lost: frames_arrive_whole_and_in_order, "frame 5 came in place of frame 4";
    Repeats a_frame_comes_twice: frames_arrive_whole_and_in_order, "frame 4 came in place of frame 5";
    Splits a_frame_comes_in_two: frames_arrive_whole_and_in_order, "in place of frame 4 came 74 bytes";
    Merges two_frames_come_as_one: frames_arrive_whole_and_in_order, "came 333 bytes";
    CutsOff the_end_of_a_frame_is_missing: frames_arrive_whole_and_in_order, "came 147 bytes";
    DropsEmpty an_empty_frame_is_lost: frames_arrive_whole_and_in_order, "in place of frame 0";
    MangledText bytes_are_taken_for_text: frames_arrive_whole_and_in_order, "that nobody sent so";
    DropsReceived a_receive_that_is_dropped_loses_a_frame: receiving_is_cancel_safe, "in place of frame";
    Collects what_nobody_reads_is_collected: back_pressure_is_real, "64 MiB";
    LosesLast the_last_frame_is_lost_by_closing: closing_flushes, "closed before frame 49";
    NeverCloses nobody_is_told_that_a_link_was_closed: a_lost_link_is_dialled_anew, "nothing happened";
    ForgetsTheEnd a_frame_comes_after_the_end: closing_flushes, "after the end";
    HidesTheCut nobody_is_told_that_a_link_was_cut: a_cut_is_noticed, "nothing happened";
    SendsIntoNothing sending_into_a_cut_link_goes_well: a_cut_is_noticed, "does not fail";
    LeavesHalf a_cut_leaves_half_a_frame: a_cut_leaves_whole_frames, "10000 bytes that nobody sent";
    BlamesThePeer a_cut_is_taken_for_a_wrong_frame: a_cut_leaves_whole_frames, "fault of the peer's";
    HasNoLimit a_frame_is_too_long: too_long_a_frame_is_refused, "a frame of 1001 bytes came";
    HidesTooLong a_frame_that_is_too_long_is_lost: no_frame_is_lost_for_its_length, "a frame of 1 bytes";
    NeedsReceiver nothing_is_sent_without_the_receiver: a_half_sends_without_the_other, "sending failed";
    NeedsSender nothing_comes_without_the_sender: a_half_receives_without_the_other, "the link broke";
    MixesLinks a_frame_comes_over_another_link: many_links_are_open_at_once, "that nobody sent so";
    DialsOnce nobody_dials_again: a_lost_link_is_dialled_anew, "no link was opened";
}

#[tokio::test(start_paused = true)]
async fn a_wrapper_that_breaks_nothing_passes() {
    let (memory, listener) = Memory::listen();
    let transport = Broken { memory, fault: Fault::None, opened: 0, stray: Arc::default() };
    conformance::transport(transport, listener).await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_that_nobody_notices_is_caught() {
    let message = panic_of(conformance::cut(async |_| {
        let (left, right) = Memory::pair();
        (left, right, || {})
    }));
    assert_eq!(message.await, "a_cut_in_the_middle: after the last frame came 1000 bytes");
}

#[tokio::test(start_paused = true)]
async fn a_cut_that_loses_only_a_frame_is_caught() {
    let message = panic_of(conformance::cut(async |_| {
        let (left, right) = Memory::pair();
        let loses = Arc::new(AtomicBool::new(false));
        let sender = Lossy { inner: left.sender, loses: Arc::clone(&loses) };
        let left = Link { sender, receiver: left.receiver, info: left.info };
        (left, right, move || loses.store(true, Ordering::Relaxed))
    }));
    let message = message.await;
    assert!(message.starts_with("a_cut_in_the_middle: frame "), "{message}");
}

/// What a check says that fails.
async fn panic_of(checks: impl Future<Output = ()>) -> String {
    let panicked = AssertUnwindSafe(checks).catch_unwind().await.expect_err("nothing was caught");
    *panicked.downcast().expect("the kit panics with a text")
}

/// What is wrong with a link's near end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Swaps,
    Drops,
    Repeats,
    Splits,
    Merges,
    CutsOff,
    DropsEmpty,
    MangledText,
    DropsReceived,
    Collects,
    LosesLast,
    NeverCloses,
    ForgetsTheEnd,
    HidesTheCut,
    SendsIntoNothing,
    LeavesHalf,
    BlamesThePeer,
    HasNoLimit,
    HidesTooLong,
    NeedsReceiver,
    NeedsSender,
    MixesLinks,
    DialsOnce,
}

/// The frame that something happens to; of 148 bytes in the first check, and the next has 185.
const VICTIM: usize = 4;

/// The longest frame of the kit.
const MAX_FRAME: usize = 1 << 20;

struct Broken {
    memory: Memory,
    fault: Fault,
    opened: usize,
    stray: Stray,
}

/// A frame on its way to the wrong link. All senders hold it, and the transport.
type Stray = Arc<Mutex<Option<Bytes>>>;

impl Transport for Broken {
    type Sender = BrokenSender;
    type Receiver = BrokenReceiver;

    async fn open(
        &mut self,
        format: Format,
        max_frame: usize,
    ) -> io::Result<Link<BrokenSender, BrokenReceiver>> {
        self.opened += 1;
        if self.fault == Fault::DialsOnce && self.opened > 1 {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let link = self.memory.open(format, max_frame).await?;
        let fault = self.fault;
        let half_is_gone = Arc::new(AtomicBool::new(false));
        let sender = BrokenSender {
            inner: Some(link.sender),
            fault,
            sent: 0,
            held: None,
            collected: None,
            stray: Arc::clone(&self.stray),
            half_is_gone: Arc::clone(&half_is_gone),
        };
        let receiver =
            BrokenReceiver { inner: link.receiver, fault, last: Bytes::new(), half_is_gone };
        Ok(Link { sender, receiver, info: link.info })
    }
}

struct BrokenSender {
    /// Until it is closed.
    inner: Option<MemorySender>,
    fault: Fault,
    sent: usize,
    held: Option<Bytes>,
    collected: Option<mpsc::UnboundedSender<Bytes>>,
    stray: Stray,
    half_is_gone: Arc<AtomicBool>,
}

impl BrokenSender {
    async fn pass(&mut self, frame: impl Into<Bytes>) -> io::Result<()> {
        match &mut self.inner {
            Some(inner) => inner.send(frame.into()).await,
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Takes all that there is, whether or not it can be passed on.
    fn collect(&mut self, frame: Bytes) -> io::Result<()> {
        let collected = self.collected.get_or_insert_with(|| {
            let mut inner = self.inner.take().unwrap();
            let (collected, mut frames) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                while let Some(frame) = frames.recv().await {
                    inner.send(frame).await.unwrap();
                }
            });
            collected
        });
        collected.send(frame).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl FrameSender for BrokenSender {
    async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        let is_victim = self.sent == VICTIM;
        self.sent += 1;
        match self.fault {
            Fault::Drops if is_victim => Ok(()),
            Fault::DropsEmpty if frame.is_empty() => Ok(()),
            Fault::HidesTooLong if frame.len() > MAX_FRAME => Ok(()),
            Fault::CutsOff if is_victim => self.pass(frame.slice(1..)).await,
            Fault::MangledText => self.pass(String::from_utf8_lossy(&frame).into_owned()).await,
            Fault::Swaps | Fault::Merges if is_victim => {
                self.held = Some(frame);
                Ok(())
            }
            Fault::Swaps => {
                self.pass(frame).await?;
                match self.held.take() {
                    Some(held) => self.pass(held).await,
                    None => Ok(()),
                }
            }
            Fault::Merges => {
                let held = self.held.take().unwrap_or_default();
                self.pass([held, frame].concat()).await
            }
            Fault::Repeats if is_victim => {
                self.pass(frame.clone()).await?;
                self.pass(frame).await
            }
            Fault::Splits if is_victim => {
                let half = frame.len() / 2;
                self.pass(frame.slice(..half)).await?;
                self.pass(frame.slice(half..)).await
            }
            Fault::LosesLast => match self.held.replace(frame) {
                Some(held) => self.pass(held).await,
                None => Ok(()),
            },
            Fault::LeavesHalf => {
                self.held = Some(frame.slice(..frame.len() / 2));
                self.pass(frame).await
            }
            Fault::BlamesThePeer => {
                self.held = Some(vec![0; MAX_FRAME + 1].into());
                self.pass(frame).await
            }
            Fault::Collects => self.collect(frame),
            Fault::SendsIntoNothing => {
                let _ = self.pass(frame).await;
                Ok(())
            }
            Fault::NeedsReceiver if self.half_is_gone.load(Ordering::Relaxed) => {
                Err(io::ErrorKind::NotConnected.into())
            }
            // Not to be told from a swap where there is only one link.
            Fault::MixesLinks if is_victim && Arc::strong_count(&self.stray) > 3 => {
                let stray = self.stray.lock().unwrap().replace(frame.clone());
                self.pass(stray.unwrap_or(frame)).await
            }
            _ => self.pass(frame).await,
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        match self.held.take_if(|_| self.fault == Fault::LosesLast) {
            Some(held) => self.pass(held).await,
            None => Ok(()),
        }
    }

    async fn close(mut self) -> io::Result<()> {
        let inner = self.inner.take();
        if self.fault == Fault::NeverCloses {
            mem::forget(inner);
        }
        Ok(())
    }
}

impl Drop for BrokenSender {
    fn drop(&mut self) {
        // Was it closed?
        let Some(mut inner) = self.inner.take() else { return };
        match self.fault {
            Fault::HidesTheCut => mem::forget(inner),
            Fault::LeavesHalf | Fault::BlamesThePeer => {
                if let Some(held) = self.held.take() {
                    tokio::spawn(async move { inner.send(held).await });
                }
            }
            Fault::NeedsSender => self.half_is_gone.store(true, Ordering::Relaxed),
            _ => {}
        }
    }
}

struct BrokenReceiver {
    inner: MemoryReceiver,
    fault: Fault,
    last: Bytes,
    half_is_gone: Arc<AtomicBool>,
}

impl FrameReceiver for BrokenReceiver {
    async fn receive(&mut self, max_frame: usize) -> io::Result<Option<Bytes>> {
        if self.fault == Fault::NeedsSender && self.half_is_gone.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let limit = if self.fault == Fault::HasNoLimit { usize::MAX } else { max_frame };
        let received = self.inner.receive(limit).await?;
        match (self.fault, &received) {
            (Fault::DropsReceived, Some(_)) => tokio::task::yield_now().await,
            // After the end, which is told once.
            (Fault::ForgetsTheEnd, None) if !self.last.is_empty() => {
                return Ok(Some(mem::take(&mut self.last)));
            }
            (Fault::ForgetsTheEnd, None) => self.last = Bytes::from_static(b"what was that?"),
            _ => {}
        }
        Ok(received)
    }
}

impl Drop for BrokenReceiver {
    fn drop(&mut self) {
        if self.fault == Fault::NeedsReceiver {
            self.half_is_gone.store(true, Ordering::Relaxed);
        }
    }
}

/// Loses one frame when it is told to, and goes on.
struct Lossy {
    inner: MemorySender,
    loses: Arc<AtomicBool>,
}

impl FrameSender for Lossy {
    async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        if self.loses.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        self.inner.send(frame).await
    }

    async fn close(self) -> io::Result<()> {
        pending().await
    }
}
