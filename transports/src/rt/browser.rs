//! The names of tokio on the event loop of a page or a worker.
//!
//! There is one thread, and values of JavaScript stay on it: a `SendWrapper` says so to the compiler,
//! which lets futures keep the bounds that they have natively. A panic ends the program, so no task
//! is ever seen to have panicked.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Abortable, Either, select};
use futures_util::stream::FuturesUnordered;
use gloo_timers::future::TimeoutFuture;
use js_sys::Promise;
use send_wrapper::SendWrapper;
use tokio::sync::oneshot;
use wasm_bindgen_futures::JsFuture;
use web_sys::MessageChannel;
use web_sys::wasm_bindgen::JsValue;
use web_time::{SystemTime, UNIX_EPOCH};

pub use web_time::Instant;

/// How long work may go on before the page gets its turn: half a frame at 60 per second.
const SLICE: Duration = Duration::from_millis(8);

/// The longest single timer. JavaScript treats 2^31 milliseconds or more as zero.
const LONGEST_TIMER: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs a future as a task of its own, which goes on when the handle is dropped.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    static LAST_ID: AtomicU64 = AtomicU64::new(0);

    let id = Id(LAST_ID.fetch_add(1, Ordering::Relaxed) + 1);
    let (aborting, registration) = futures_util::future::AbortHandle::new_pair();
    let (sender, output) = oneshot::channel();
    wasm_bindgen_futures::spawn_local(async move {
        if let Ok(output) = Abortable::new(future, registration).await {
            // Nobody may wait for it.
            let _ = sender.send(output);
        }
    });
    JoinHandle { output, abort: AbortHandle { aborting, id } }
}

/// Whether there is a runtime that [`spawn`] could run a task on: always.
pub fn can_spawn() -> bool {
    true
}

/// What tells tasks apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Waits for a task's output, and may abort it.
#[derive(Debug)]
pub struct JoinHandle<T> {
    output: oneshot::Receiver<T>,
    abort: AbortHandle,
}

impl<T> JoinHandle<T> {
    /// Ends the task at its next `await`.
    pub fn abort(&self) {
        self.abort.abort();
    }

    /// A handle that only aborts.
    pub fn abort_handle(&self) -> AbortHandle {
        self.abort.clone()
    }

    /// The task's id.
    pub fn id(&self) -> Id {
        self.abort.id()
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.output.is_terminated() || !self.output.is_empty() || self.abort.aborting.is_aborted()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let output = ready!(Pin::new(&mut self.output).poll(context));
        Poll::Ready(output.map_err(|_| JoinError(self.id())))
    }
}

/// Aborts a task.
#[derive(Clone, Debug)]
pub struct AbortHandle {
    aborting: futures_util::future::AbortHandle,
    id: Id,
}

impl AbortHandle {
    /// Ends the task at its next `await`.
    pub fn abort(&self) {
        self.aborting.abort();
    }

    /// The task's id.
    pub fn id(&self) -> Id {
        self.id
    }
}

/// The task was aborted.
#[derive(Debug)]
pub struct JoinError(Id);

impl JoinError {
    /// The task's id.
    pub fn id(&self) -> Id {
        self.0
    }

    /// True: no other end without an output is seen here.
    pub fn is_cancelled(&self) -> bool {
        true
    }

    /// False: a panic ends the program.
    pub fn is_panic(&self) -> bool {
        false
    }

    /// The error itself: it is never a panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, Self> {
        Err(self)
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {} was cancelled", self.0)
    }
}

impl std::error::Error for JoinError {}

/// Tasks that are aborted when the set is dropped.
#[derive(Debug)]
pub struct JoinSet<T>(FuturesUnordered<JoinHandleWithId<T>>);

#[derive(Debug)]
struct JoinHandleWithId<T>(JoinHandle<T>);

impl<T: Send + 'static> JoinSet<T> {
    /// A set without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many tasks have not been joined.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether all tasks have been joined.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs a future as a task of the set.
    pub fn spawn(&mut self, future: impl Future<Output = T> + Send + 'static) -> AbortHandle {
        let task = spawn(future);
        let abort = task.abort_handle();
        self.0.push(JoinHandleWithId(task));
        abort
    }

    /// The output of the next task to end; `None` if there is none. Cancel-safe.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        let joined = self.join_next_with_id().await?;
        Some(joined.map(|(_, output)| output))
    }

    /// The id and the output of the next task to end; `None` if there is none. Cancel-safe.
    pub async fn join_next_with_id(&mut self) -> Option<Result<(Id, T), JoinError>> {
        self.0.next().await
    }

    /// Aborts all tasks; they are still to be joined.
    pub fn abort_all(&mut self) {
        self.0.iter().for_each(|task| task.0.abort());
    }
}

impl<T> Default for JoinSet<T> {
    fn default() -> Self {
        Self(FuturesUnordered::new())
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.0.iter().for_each(|task| task.0.abort());
    }
}

impl<T> Future for JoinHandleWithId<T> {
    type Output = Result<(Id, T), JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let output = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(output.map(|output| (self.0.id(), output)))
    }
}

/// Waits for so long.
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { deadline: Instant::now().checked_add(duration), timer: None }
}

/// Waits until then.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline: Some(deadline), timer: None }
}

/// A wait. The page's timers are rounded up to a millisecond, and are slower in a hidden page.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    /// `None` where it is too far for a clock to tell.
    deadline: Option<Instant>,
    timer: Option<SendWrapper<TimeoutFuture>>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        loop {
            if let Some(timer) = &mut self.timer {
                ready!(Pin::new(timer).poll(context));
                self.timer = None;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Poll::Ready(());
            }
            self.timer = Some(SendWrapper::new(TimeoutFuture::new(rounded_up(left))));
        }
    }
}

/// Whole milliseconds of a timer that is not early.
fn rounded_up(left: Duration) -> u32 {
    let milliseconds = left.min(LONGEST_TIMER).as_nanos().div_ceil(1_000_000);
    u32::try_from(milliseconds).unwrap_or(u32::MAX)
}

/// Gives a future so long.
pub async fn timeout<F: IntoFuture>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    within(sleep(limit), future).await
}

/// Gives a future until then.
pub async fn timeout_at<F: IntoFuture>(deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
    within(sleep_until(deadline), future).await
}

async fn within<F: IntoFuture>(limit: Sleep, future: F) -> Result<F::Output, Elapsed> {
    match select(pin!(future.into_future()), limit).await {
        Either::Left((output, _)) => Ok(output),
        Either::Right(_) => Err(Elapsed(())),
    }
}

/// A timeout is over.
#[derive(Debug, PartialEq, Eq)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> Self {
        Self::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}

/// Gives the page its turn, if work has gone on for long enough since its last one.
pub async fn consume_budget() {
    thread_local! {
        static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
    }

    if SINCE.get().is_none_or(|since| since.elapsed() >= SLICE) {
        yield_now().await;
        SINCE.set(Some(Instant::now()));
    }
}

/// Gives the page its turn: it draws, and answers its user.
///
/// The page waits until no task is ready, so waking a task would not give it its turn. A message does:
/// it is delivered in a turn of its own, and browsers do not delay it as they delay short timers.
pub async fn yield_now() {
    let turn = SendWrapper::new(async {
        let Ok(channel) = MessageChannel::new() else { return };
        let (here, there) = (channel.port1(), channel.port2());
        let arrived = Promise::new(&mut |resolve, _| here.set_onmessage(Some(&resolve)));
        if there.post_message(&JsValue::NULL).is_ok() {
            let _ = JsFuture::from(arrived).await;
        }
        here.close();
    });
    turn.await;
}

/// The system's clock: milliseconds since 1970. A time before 1970 counts as 1970.
pub fn unix_milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A page is not told whether the machine was suspended.
pub fn slept() -> Option<Duration> {
    None
}
