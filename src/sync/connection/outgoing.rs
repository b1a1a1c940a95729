//! From messages and events to frames, and from frames to the link.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use logux_codecs::{Codec, Event, EventId, Message};
use logux_transports::FrameSender;

use super::batch::{Batch, BatchLimits, Batcher};
use crate::apart::Refused;
use crate::log::{Interest, Withheld};
use crate::sync::error::Error;
use crate::sync::lane::Lane;
use crate::sync::rules::{Covered, Input, Relative, Wanted};
use crate::sync::session::Reporter;

/// While more frames than this wait to be sent, nothing further is read.
const MAX_WAITING: usize = 256;

/// About how many bytes the frame of a message without events has.
const SHORT: usize = 64;

/// The sending half of a link, what waits for it, and where events come from.
pub(crate) struct Outgoing<'a, E, C, S> {
    codec: C,
    limits: BatchLimits,
    reporter: &'a Reporter,
    /// Once the peer is let in.
    batcher: Option<Arc<Batcher<E, C>>>,
    wanted: Option<Wanted>,
    reading: Lane<Result<Batch, Error>>,
    /// Frames that wait.
    waiting: Vec<Bytes>,
    /// What sends them, unless it is at work, and an empty list for the next ones.
    sender: Option<(S, Vec<Bytes>)>,
    writing: Lane<Written<S>>,
}

/// What a link was given, and the list that it was in.
struct Written<S> {
    sender: S,
    list: Vec<Bytes>,
    result: io::Result<()>,
}

impl<'a, E: Event, C: Codec, S: FrameSender> Outgoing<'a, E, C, S> {
    pub(crate) fn new(sender: S, codec: C, limits: BatchLimits, reporter: &'a Reporter) -> Self {
        Self {
            codec,
            limits,
            reporter,
            batcher: None,
            wanted: None,
            reading: Lane::default(),
            waiting: Vec::new(),
            sender: Some((sender, Vec::new())),
            writing: Lane::default(),
        }
    }

    pub(crate) const fn codec(&self) -> &C {
        &self.codec
    }

    /// From now on events can be sent.
    pub(crate) fn let_in(&mut self, batcher: Batcher<E, C>) {
        self.batcher = Some(Arc::new(batcher));
    }

    /// From now on events are sent on other terms.
    pub(crate) fn terms(&mut self, relative: Relative) {
        self.batcher = self.batcher.as_ref().map(|batcher| Arc::new(batcher.with(relative)));
    }

    /// From now on the peer may have other events.
    pub(crate) fn interest(&mut self, interest: Option<&Arc<Interest>>) {
        if let Some(batcher) = &self.batcher {
            let relative = batcher.relative.clone();
            let mut batcher = batcher.with(relative);
            batcher.interest = interest.cloned();
            self.batcher = Some(Arc::new(batcher));
        }
    }

    /// What the peer was not sent, once it is let in.
    pub(crate) fn withheld(&self) -> Option<&Withheld> {
        Some(&self.batcher.as_ref()?.withheld)
    }

    /// Where events come from, once the peer is let in.
    pub(crate) fn batcher(&self) -> Option<Arc<Batcher<E, C>>> {
        self.batcher.clone()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING
    }

    /// Sends a message after all that waits.
    pub(crate) fn send(&mut self, message: &Message<E>) -> Result<(), Error> {
        let mut frame = Vec::with_capacity(SHORT);
        self.codec
            .encode(message, &mut frame)
            .map_err(|error| Error::Message { format: C::NAME, source: error.into() })?;
        self.waiting.push(frame.into());
        Ok(())
    }

    /// Sends the next events, once nothing else waits: what is added until then goes with them.
    /// `to_own_kind`: to a node of this library.
    pub(crate) fn send_next(&mut self, wanted: Wanted, to_own_kind: bool) {
        if to_own_kind {
            self.limits.are_for_own_kind();
        }
        self.wanted = Some(wanted);
    }

    /// Notes what the peer has of what was sent to it.
    pub(crate) fn confirmed(&self, covered: &Covered) {
        if let Some(withheld) = self.withheld() {
            if covered.is_offer {
                let refused = &covered.withheld;
                let sent = covered.sent.iter().map(|(added, _)| *added);
                withheld.delivered_these(sent.filter(|added| !refused.contains(added)));
            } else {
                withheld.delivered(covered.after, covered.up_to, &covered.withheld);
            }
        }
    }

    /// Notes what the peer did not take.
    pub(crate) fn hold_back(&self, events: &[Refused]) {
        if let Some(batcher) = &self.batcher {
            batcher.hold_back(events);
        }
    }

    /// Notes what the peer took after all.
    pub(crate) fn release(&self, ids: &[EventId]) {
        if let Some(batcher) = &self.batcher {
            batcher.release(ids);
        }
    }

    /// Begins with what waits for a free lane.
    pub(crate) fn start(&mut self) {
        if self.waiting.is_empty()
            && self.writing.is_free()
            && let Some(batcher) = &self.batcher
            && let Some(wanted) = self.wanted.take()
        {
            self.reading.start(Arc::clone(batcher).next(wanted, self.limits).boxed());
        }
        self.start_writing();
    }

    fn start_writing(&mut self) {
        if !self.waiting.is_empty()
            && let Some((sender, list)) = self.sender.take()
        {
            let frames = std::mem::replace(&mut self.waiting, list);
            let bytes = frames.iter().map(|frame| frame.len() as u64).sum::<u64>();
            self.reporter.sent_bytes(bytes);
            self.writing.start(write(sender, frames).boxed());
        }
    }

    /// What the rules are to know; `None` if that is nothing, but there may be room again.
    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Input<E>>, Error>> {
        if let Poll::Ready(batch) = self.reading.poll_result(context) {
            return Poll::Ready(batch.map(|batch| Some(self.take(batch))));
        }
        let written = ready!(self.writing.poll_result(context));
        Poll::Ready(self.take_back(written).map(|()| None).map_err(Error::Link))
    }

    fn take(&mut self, batch: Batch) -> Input<E> {
        let Batch { next, frame, fits, all_withheld_after } = batch;
        self.limits.fits = fits;
        self.waiting.extend(frame);
        let events = next.sent.len() as u64;
        self.reporter.sent_events(events);
        if let Some(known) = self.withheld() {
            // Before the peer can have what comes with it: it may come back and claim to.
            known.withhold(next.up_to, &next.withheld);
            if let Some(after) = all_withheld_after {
                known.withhold_all(after, next.up_to);
            }
        }
        Input::SentNext(next)
    }

    fn take_back(&mut self, written: Written<S>) -> io::Result<()> {
        let Written { sender, mut list, result } = written;
        // Many frames in a row are rare.
        list.shrink_to(MAX_WAITING / 16);
        self.sender = Some((sender, list));
        result
    }

    /// Sends all that waits.
    pub(crate) async fn flush(&mut self) {
        self.start_writing();
        while !self.writing.is_free() {
            let written = poll_fn(|context| self.writing.poll_result(context)).await;
            // A link that failed has no sender any more.
            if self.take_back(written).is_ok() {
                self.start_writing();
            } else {
                self.sender = None;
            }
        }
    }

    /// Sends all that waits, and closes. `false` if the link failed.
    pub(crate) async fn close(&mut self) -> bool {
        self.flush().await;
        match self.sender.take() {
            Some((sender, _)) => sender.close().await.is_ok(),
            None => false,
        }
    }
}

/// Sends frames in a row; they share packets where the transport can do that.
async fn write<S: FrameSender>(mut sender: S, mut list: Vec<Bytes>) -> Written<S> {
    let sending = async {
        for frame in list.drain(..) {
            sender.send(frame).await?;
        }
        sender.flush().await
    };
    let result = sending.await;
    Written { sender, list, result }
}
