//! A message of a client that has sent more than its quota waits here, and nothing is read meanwhile.

use std::time::Duration;

use bytes::Bytes;
use logux_transports::rt::Instant;

use crate::sync::admission::{Cost, Payer, Quota};
use crate::sync::rules::Input;

/// A client that was not slowed down for so long has made a pause.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets messages through as a peer's quota allows.
#[derive(Default)]
pub(crate) struct Throttle {
    /// `None` for a peer without a quota, and before it is let in.
    payer: Option<Payer>,
    waiting: Option<Waiting>,
    /// Since when, and until when, the peer is slowed down without a pause.
    slowed: Option<(Instant, Option<Instant>)>,
}

struct Waiting {
    /// Of a message only the frame is kept: as a value it may take many times the memory. `None` for a peer
    /// that comes back with an overdrawn account.
    frame: Option<(Bytes, Cost)>,
    /// `None` for later than a clock can tell.
    until: Option<Instant>,
    /// That is the end of the patience with the peer.
    is_too_long: bool,
}

/// What the wait for a peer's quota came to.
pub(crate) enum Waited {
    /// This frame may be taken now.
    Frame(Bytes),
    /// The peer was slowed down for too long.
    OverQuota(Quota),
    /// A debt is paid, and nothing has come meanwhile.
    Debt,
}

impl Throttle {
    /// From now on the peer pays for what it sends. One that has spent too much before waits first.
    pub(crate) fn let_in(&mut self, payer: Option<Payer>) {
        self.payer = payer;
        let owed = self.payer.as_ref().map(|payer| payer.pay(Cost::default()));
        if let Some(wait) = owed.filter(|wait| !wait.is_zero()) {
            self.wait(wait, None);
        }
    }

    /// Whether nothing waits, so that a message may come.
    pub(crate) const fn is_free(&self) -> bool {
        self.waiting.is_none()
    }

    /// Hands what came back at once, unless it has to wait.
    pub(crate) fn pass<E>(&mut self, input: Input<E>, cost: Cost) -> Option<Input<E>> {
        let Some(payer) = &self.payer else { return Some(input) };
        let wait = payer.pay(cost);
        match input {
            Input::Received { frame, .. } if !wait.is_zero() => {
                self.wait(wait, Some((frame, cost)));
                None
            }
            // What is not a message ends the connection at once.
            input => Some(input),
        }
    }

    /// When what waits may go on, or the patience with the peer has ended.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.waiting.as_ref()?.until
    }

    /// What the wait came to, once that time is there.
    pub(crate) fn waited(&mut self) -> Option<Waited> {
        let (waiting, payer) = (self.waiting.as_ref()?, self.payer.as_ref()?);
        if waiting.is_too_long {
            return Some(Waited::OverQuota(payer.quota()));
        }
        let frame = self.waiting.take()?.frame;
        Some(frame.map_or(Waited::Debt, |(frame, _)| Waited::Frame(frame)))
    }

    fn wait(&mut self, wait: Duration, frame: Option<(Bytes, Cost)>) {
        let now = Instant::now();
        let goes_on = |until: Option<Instant>| {
            until.is_none_or(|until| now.saturating_duration_since(until) < PAUSE)
        };
        let since = match self.slowed {
            Some((since, until)) if goes_on(until) => since,
            _ => {
                tracing::debug!("the peer has used up its quota, and is slowed down");
                now
            }
        };
        let patience = self.payer.as_ref().map(|payer| payer.quota().patience);
        let patience = patience.unwrap_or_default().saturating_sub(now - since);
        let until = now.checked_add(wait.min(patience));
        self.slowed = Some((since, until));
        self.waiting = Some(Waiting { frame, until, is_too_long: wait > patience });
    }
}

impl Drop for Throttle {
    /// A message that still waits was not taken: it comes again, and is paid for then.
    fn drop(&mut self) {
        if let Some(payer) = &self.payer
            && let Some(Waiting { frame: Some((_, cost)), .. }) = &self.waiting
        {
            payer.take_back(*cost);
        }
    }
}
