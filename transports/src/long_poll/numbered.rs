//! What makes a row of requests a link: frames have numbers, from 1 on in each direction, and so has
//! the end. The sender keeps a frame until its number is acknowledged; the receiver takes only the
//! number that is next.
//!
//! So a request or an answer that is lost, cut, repeated or late changes nothing but the time.

use std::collections::VecDeque;

use bytes::Bytes;

use super::body;

/// Frames on their way out.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The frames after those acknowledged, in order.
    frames: VecDeque<Bytes>,
    /// How many bytes they take in a body.
    bytes: usize,
    acknowledged: u64,
    end: End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    /// More frames may come.
    #[default]
    Open,
    /// None come after those that there are.
    Told,
    Acknowledged,
}

/// A body of the first frames that wait.
pub(crate) struct Batch {
    pub(crate) body: Bytes,
    /// How many frames are in it.
    pub(crate) frames: usize,
    /// Whether the end is next.
    pub(crate) ends: bool,
}

/// Frames that came in.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    frames: VecDeque<Bytes>,
    /// The bodies that these frames came in, and keep in memory until the last one of each is read.
    bodies: VecDeque<Body>,
    last: u64,
    ended: bool,
}

#[derive(Debug)]
struct Body {
    /// How many of its frames are not read yet.
    unread: usize,
    bytes: usize,
}

/// An acknowledgement of what was never sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NeverSent;

impl Outbox {
    pub(crate) fn push(&mut self, frame: Bytes) {
        self.bytes += body::length(&frame);
        self.frames.push_back(frame);
    }

    /// Tells that no frame follows.
    pub(crate) fn end(&mut self) {
        if self.end == End::Open {
            self.end = End::Told;
        }
    }

    /// Whether no frame follows.
    pub(crate) fn is_ending(&self) -> bool {
        self.end != End::Open
    }

    /// Whether all is acknowledged, the end as well if there is one.
    pub(crate) fn is_done(&self) -> bool {
        self.frames.is_empty() && self.end != End::Told
    }

    /// How many frames are not acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of the first frame, or end, that is not acknowledged.
    pub(crate) fn first(&self) -> u64 {
        self.acknowledged + 1
    }

    /// Forgets what comes up to a number. Tells whether there was anything: an older number than one
    /// before says nothing.
    pub(crate) fn acknowledge(&mut self, number: u64) -> Result<bool, NeverSent> {
        let end = u64::from(self.end == End::Told);
        if number > self.acknowledged + self.frames.len() as u64 + end {
            return Err(NeverSent);
        }
        let mut progress = false;
        while self.acknowledged < number {
            match self.frames.pop_front() {
                Some(frame) => self.bytes -= body::length(&frame),
                None => self.end = End::Acknowledged,
            }
            self.acknowledged += 1;
            progress = true;
        }
        free_if_empty(&mut self.frames);
        Ok(progress)
    }

    /// As many of the first frames as fit, and one at least if there is any.
    pub(crate) fn batch(&self, max_bytes: usize) -> Batch {
        let (mut count, mut bytes) = (0, 0);
        for frame in self.frames.iter().take(body::MAX_FRAMES) {
            let more = bytes + body::length(frame);
            if count > 0 && more > max_bytes {
                break;
            }
            (count, bytes) = (count + 1, more);
        }
        let ends = self.is_ending() && count == self.frames.len();
        Batch { body: body::write(bytes, self.frames.iter().take(count)), frames: count, ends }
    }
}

impl Inbox {
    /// Takes those of the frames that are next; `first` is the number of the first of them, and
    /// perhaps the end comes after them. Those before have been taken already, and after a gap come
    /// those that will be sent again.
    pub(crate) fn accept(&mut self, first: u64, frames: Vec<Bytes>, end: bool) {
        let after = first.saturating_add(frames.len() as u64);
        let (bytes, before) = (frames.iter().map(body::length).sum(), self.frames.len());
        for (number, frame) in (first..).zip(frames) {
            if number == self.last + 1 && !self.ended {
                self.last = number;
                self.frames.push_back(frame);
            }
        }
        let unread = self.frames.len() - before;
        if unread > 0 {
            self.bodies.push_back(Body { unread, bytes });
        }
        if end && after == self.last + 1 && !self.ended {
            self.last = after;
            self.ended = true;
        }
    }

    /// Whether the end has come.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// The number of the last frame that was taken, or of the end.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many bodies have frames in here, and how many bytes they take.
    pub(crate) fn bodies(&self) -> (usize, usize) {
        (self.bodies.len(), self.bodies.iter().map(|body| body.bytes).sum())
    }

    /// The next frame for the reader.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let frame = self.frames.pop_front();
        free_if_empty(&mut self.frames);
        if let Some(body) = self.bodies.front_mut() {
            body.unread -= 1;
            if body.unread == 0 {
                self.bodies.pop_front();
                free_if_empty(&mut self.bodies);
            }
        }
        frame
    }
}

/// A thousand frames leave room for as many behind, which a link that is idle does not need.
fn free_if_empty<T>(list: &mut VecDeque<T>) {
    if list.is_empty() {
        *list = VecDeque::new();
    }
}
