//! What makes a row of requests a link: frames have numbers, from 1 on in each direction. Who sends
//! keeps a frame until its number is acknowledged; who receives takes only the number that is next.
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
}

/// Frames that came in.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    frames: VecDeque<Bytes>,
    last: u64,
}

/// An acknowledgement of a frame that was never sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NeverSent;

impl Outbox {
    pub(crate) fn push(&mut self, frame: Bytes) {
        self.bytes += body::length(&frame);
        self.frames.push_back(frame);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of the first frame that is not acknowledged, or will be.
    pub(crate) fn first(&self) -> u64 {
        self.acknowledged + 1
    }

    /// The number of the last frame.
    fn last(&self) -> u64 {
        self.acknowledged + self.frames.len() as u64
    }

    /// Forgets the frames up to a number. Tells whether there were any: an older number than one
    /// before says nothing.
    pub(crate) fn acknowledge(&mut self, number: u64) -> Result<bool, NeverSent> {
        if number > self.last() {
            return Err(NeverSent);
        }
        let mut progress = false;
        while self.acknowledged < number {
            if let Some(frame) = self.frames.pop_front() {
                self.bytes -= body::length(&frame);
            }
            self.acknowledged += 1;
            progress = true;
        }
        Ok(progress)
    }

    /// A body of the first frames, and how many they are: as many as fit, and one at least.
    pub(crate) fn batch(&self, max_bytes: usize) -> (Bytes, usize) {
        let (mut count, mut bytes) = (0, 0);
        for frame in self.frames.iter().take(body::MAX_FRAMES) {
            let more = bytes + body::length(frame);
            if count > 0 && more > max_bytes {
                break;
            }
            (count, bytes) = (count + 1, more);
        }
        (body::write(bytes, self.frames.iter().take(count)), count)
    }
}

impl Inbox {
    /// Takes those of the frames that are next; `first` is the number of the first of them. Those
    /// before have been taken already, and after a gap come those that will be sent again.
    pub(crate) fn accept(&mut self, first: u64, frames: Vec<Bytes>) {
        for (number, frame) in (first..).zip(frames) {
            if number == self.last + 1 {
                self.last = number;
                self.frames.push_back(frame);
            }
        }
    }

    /// The number of the last frame that was taken.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The next frame for who reads.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        self.frames.pop_front()
    }
}
