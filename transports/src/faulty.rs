use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use tokio::sync::{mpsc, watch};

use crate::link::{Format, FrameReceiver, FrameSender, Link, Listener, Transport, check_length};
use crate::rt::{Instant, JoinSet, sleep_until};

/// How many frames are on their way in one direction before `send` waits.
const CAPACITY: usize = 16;

/// No frame takes longer, so that times can be added.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A bad network for tests: wraps a transport or a listener, and delays frames, lets only so many
/// bytes pass, and cuts links, all drawn from a seed.
///
/// A link of it keeps the contract of a [`Link`], both ways, until it is cut. Then what is on its way is
/// lost, also where it was sent with success: the next `send` fails, `receive` gives an error, and
/// the other side, which has the inner link, notices as it notices any cut.
///
/// For the same seed and the same frames at the same times, the same happens: a test that fails can be
/// repeated in paused time, in the runtime of one thread.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> std::io::Result<()> {
/// # use std::time::Duration;
/// # use logux_transports::{
/// #     Faulty, Format, FrameReceiver, FrameSender, Listener, Memory, Transport,
/// # };
/// # let format = Format { name: "json", media_type: "application/json", is_text: |_| true };
/// let (memory, mut listener) = Memory::listen();
/// let mut transport = Faulty::new(memory)
///     .seed(7)
///     .delay(Duration::from_millis(20)..=Duration::from_millis(80))
///     .throttle(10_000)
///     .cut(0.05);
///
/// let mut near = transport.open(format, 1024).await?;
/// let mut far = listener.accept(&[format], 1024).await?;
/// let sending = async {
///     let mut sent = 0;
///     while near.sender.send("hello".into()).await.is_ok() {
///         sent += 1;
///     }
///     sent
/// };
/// let receiving = async {
///     let mut received = 0;
///     while let Ok(Some(_)) = far.receiver.receive(1024).await {
///         received += 1;
///     }
///     received
/// };
/// let (sent, received) = tokio::join!(sending, receiving);
/// assert!(received < sent);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "faults do nothing until links are opened or accepted through them"]
pub struct Faulty<T> {
    inner: T,
    faults: Faults,
    random: Rng,
}

#[derive(Clone, Debug)]
struct Faults {
    min_delay: Duration,
    max_delay: Duration,
    /// The probability for each frame.
    cut: f64,
    bytes_per_second: Option<u32>,
}

/// The sending half of a link of [`Faulty`].
#[derive(Debug)]
#[must_use = "a link is cut when both of its halves are dropped"]
pub struct FaultySender {
    way: Way,
    cut: Cut,
    /// Ends before the queue does, or that would be taken for an order to close.
    delivery: JoinSet<io::Result<()>>,
    queue: mpsc::Sender<(Instant, Bytes)>,
}

/// The receiving half of a link of [`Faulty`].
#[derive(Debug)]
#[must_use = "a link is cut when both of its halves are dropped"]
pub struct FaultyReceiver {
    cut: Cut,
    queue: mpsc::Receiver<Arrival>,
    /// What comes next.
    next: Option<Arrival>,
    _collection: JoinSet<io::Result<()>>,
}

type Arrival = (Instant, io::Result<Option<Bytes>>);

impl<T> Faulty<T> {
    /// Wraps a transport or a listener. Nothing happens to its links before the other methods say so.
    pub fn new(inner: T) -> Self {
        let zero = Duration::ZERO;
        let faults = Faults { min_delay: zero, max_delay: zero, cut: 0.0, bytes_per_second: None };
        Self { inner, faults, random: Rng::with_seed(0) }
    }

    /// What all is drawn from: 0, if it is not said. Clones draw the same.
    pub fn seed(mut self, seed: u64) -> Self {
        self.random = Rng::with_seed(seed);
        self
    }

    /// How long each frame is on its way, without that another one waits for it; none overtakes
    /// another.
    pub fn delay(mut self, range: RangeInclusive<Duration>) -> Self {
        (self.faults.min_delay, self.faults.max_delay) = range.into_inner();
        self
    }

    /// The probability of a cut at each frame, of either direction: from 0, never, to 1.
    pub fn cut(mut self, probability: f64) -> Self {
        self.faults.cut = probability;
        self
    }

    /// How many bytes pass in a second, in each direction: at least one.
    pub fn throttle(mut self, bytes_per_second: u32) -> Self {
        self.faults.bytes_per_second = Some(bytes_per_second.max(1));
        self
    }

    fn way(&mut self) -> Way {
        let now = Instant::now();
        Way { faults: self.faults.clone(), random: self.random.fork(), free_at: now, due: now }
    }

    fn link<S: FrameSender, R: FrameReceiver>(
        &mut self,
        link: Link<S, R>,
        max_frame: usize,
    ) -> Link<FaultySender, FaultyReceiver> {
        let cut = Cut::default();
        let (sent, to_deliver) = mpsc::channel(CAPACITY);
        let (collected, to_receive) = mpsc::channel(CAPACITY);
        let mut delivery = JoinSet::new();
        delivery.spawn(cut.clone().unless(deliver(link.sender, to_deliver)));
        let mut collection = JoinSet::new();
        let collecting = collect(link.receiver, max_frame, self.way(), cut.clone(), collected);
        collection.spawn(cut.clone().unless(collecting));
        Link {
            sender: FaultySender { way: self.way(), cut: cut.clone(), delivery, queue: sent },
            receiver: FaultyReceiver {
                cut,
                queue: to_receive,
                next: None,
                _collection: collection,
            },
            info: link.info,
        }
    }
}

impl<T: Transport> Transport for Faulty<T> {
    type Sender = FaultySender;
    type Receiver = FaultyReceiver;

    async fn open(
        &mut self,
        format: Format,
        max_frame: usize,
    ) -> io::Result<Link<FaultySender, FaultyReceiver>> {
        let link = self.inner.open(format, max_frame).await?;
        Ok(self.link(link, max_frame))
    }

    async fn retry(&mut self, progressed: bool) -> bool {
        self.inner.retry(progressed).await
    }
}

impl<L: Listener> Listener for Faulty<L> {
    type Sender = FaultySender;
    type Receiver = FaultyReceiver;

    async fn accept(
        &mut self,
        formats: &[Format],
        max_frame: usize,
    ) -> io::Result<Link<FaultySender, FaultyReceiver>> {
        let link = self.inner.accept(formats, max_frame).await?;
        Ok(self.link(link, max_frame))
    }
}

impl FrameSender for FaultySender {
    async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        self.flush().await?;
        let place = self.queue.reserve().await.map_err(|_| lost())?;
        match self.way.depart(frame.len()) {
            Some(due) => place.send((due, frame)),
            // The sender learns of it the next time.
            None => self.cut.happens(),
        }
        Ok(())
    }

    /// Whatever was sent goes its way by itself.
    async fn flush(&mut self) -> io::Result<()> {
        if self.cut.has_happened() { Err(lost()) } else { Ok(()) }
    }

    async fn close(self) -> io::Result<()> {
        let Self { mut delivery, queue, .. } = self;
        drop(queue);
        match delivery.join_next().await {
            Some(Ok(closed)) => closed,
            // The runtime ends.
            Some(Err(_)) | None => Err(lost()),
        }
    }
}

impl FrameReceiver for FaultyReceiver {
    async fn receive(&mut self, max_frame: usize) -> io::Result<Option<Bytes>> {
        let Self { cut, queue, next, .. } = self;
        let arriving = async {
            if next.is_none() {
                *next = queue.recv().await;
            }
            // It stays in its place until it is due: this future may be dropped meanwhile.
            if let Some((due, _)) = next {
                sleep_until(*due).await;
            }
            let (_, received) = next.take().ok_or_else(lost)?;
            received?.map(|frame| check_length(frame, max_frame)).transpose()
        };
        cut.clone().unless(arriving).await
    }
}

/// Hands on what was sent, each frame when it is due, and closes when nothing more can come.
async fn deliver(
    mut sender: impl FrameSender,
    mut queue: mpsc::Receiver<(Instant, Bytes)>,
) -> io::Result<()> {
    while let Some((due, frame)) = queue.recv().await {
        sleep_until(due).await;
        sender.send(frame).await?;
        if queue.is_empty() {
            sender.flush().await?;
        }
    }
    sender.close().await
}

/// Takes what comes, and notes when it is due.
async fn collect(
    mut receiver: impl FrameReceiver,
    max_frame: usize,
    mut way: Way,
    cut: Cut,
    queue: mpsc::Sender<Arrival>,
) -> io::Result<()> {
    loop {
        let received = receiver.receive(max_frame).await;
        let is_end = !matches!(received, Ok(Some(_)));
        let due = match &received {
            Ok(Some(frame)) => way.depart(frame.len()),
            // Nothing overtakes the last frame.
            Ok(None) | Err(_) => Some(way.due),
        };
        let Some(due) = due else {
            cut.happens();
            return Err(lost());
        };
        queue.send((due, received)).await.map_err(|_| lost())?;
        if is_end {
            return Ok(());
        }
    }
}

/// One direction of a link.
#[derive(Debug)]
struct Way {
    faults: Faults,
    random: Rng,
    /// When the last bytes have passed.
    free_at: Instant,
    /// When the last frame arrives.
    due: Instant,
}

impl Way {
    /// When a frame of so many bytes arrives that is sent now; `None` if the link is cut.
    fn depart(&mut self, bytes: usize) -> Option<Instant> {
        let Faults { min_delay, max_delay, cut, bytes_per_second } = self.faults;
        if self.random.f64() < cut {
            return None;
        }
        let passing = bytes_per_second
            .map_or(Duration::ZERO, |rate| Duration::from_secs(bytes as u64) / rate);
        let spread = max_delay.saturating_sub(min_delay).mul_f64(self.random.f64());
        self.free_at = self.free_at.max(Instant::now()) + passing.min(YEAR);
        self.due = self.due.max(self.free_at + min_delay.saturating_add(spread).min(YEAR));
        Some(self.due)
    }
}

/// Whether a link was cut, as all parts of it know.
#[derive(Clone, Debug, Default)]
struct Cut(Arc<watch::Sender<bool>>);

impl Cut {
    fn happens(&self) {
        self.0.send_replace(true);
    }

    fn has_happened(&self) -> bool {
        *self.0.borrow()
    }

    /// Does something that a cut ends.
    async fn unless<T>(self, doing: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let mut watched = self.0.subscribe();
        tokio::select! {
            biased;
            _ = watched.wait_for(|cut| *cut) => Err(lost()),
            done = doing => done,
        }
    }
}

fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the link was cut")
}
