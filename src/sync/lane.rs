use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use futures_core::future::BoxFuture;

/// Work that goes on beside the rest of a connection, at most one piece at a time.
pub(crate) struct Lane<T>(Option<BoxFuture<'static, T>>);

impl<T> Lane<T> {
    pub(crate) fn is_free(&self) -> bool {
        self.0.is_none()
    }

    /// Begins with what is to be done next. What was under way, if anything, is dropped.
    pub(crate) fn start(&mut self, work: BoxFuture<'static, T>) {
        self.0 = Some(work);
    }

    /// What is under way.
    pub(crate) fn take(&mut self) -> Option<BoxFuture<'static, T>> {
        self.0.take()
    }

    /// The result of what is under way, once there is one; pending, without a wake-up, where nothing is.
    ///
    /// Not an `async fn`: its future would take room in the task of each connection, once for each place that
    /// waits for it.
    pub(crate) fn poll_result(&mut self, context: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let result = ready!(work.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(result)
    }
}

/// What is asked for now and then, one piece of work after the other.
pub(crate) struct Errands<T> {
    lane: Lane<T>,
    waiting: VecDeque<BoxFuture<'static, T>>,
}

impl<T> Errands<T> {
    /// Begins with this after all that was asked for before.
    pub(crate) fn ask(&mut self, work: BoxFuture<'static, T>) {
        if self.lane.is_free() {
            self.lane.start(work);
        } else {
            self.waiting.push_back(work);
        }
    }

    /// The next result; pending, without a wake-up, where nothing was asked.
    pub(crate) fn poll_result(&mut self, context: &mut Context<'_>) -> Poll<T> {
        let result = ready!(self.lane.poll_result(context));
        if let Some(next) = self.waiting.pop_front() {
            self.lane.start(next);
        }
        Poll::Ready(result)
    }
}

impl<T> Default for Errands<T> {
    fn default() -> Self {
        Self { lane: Lane::default(), waiting: VecDeque::new() }
    }
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self(None)
    }
}
