//! From frames to messages.

use std::io;

use bytes::Bytes;
use logux_codecs::{Codec, Event, Limits, Message, shown};
use logux_transports::FrameReceiver;

use crate::sync::error::{Error, bounded, start_of};
use crate::sync::rules::Input;
use crate::sync::session::Reporter;

/// So many frames are taken in a row before everything else gets its turn: what they ask for is then
/// stored and answered together.
const MAX_IN_A_ROW: usize = 32;

/// The receiving half of a link, and what is made of its frames.
pub(crate) struct Reader<'a, C, R> {
    receiver: R,
    codec: C,
    limits: Limits,
    reporter: &'a Reporter,
    in_a_row: usize,
    /// Nothing more is to be received.
    ended: bool,
}

impl<'a, C: Codec, R: FrameReceiver> Reader<'a, C, R> {
    pub(crate) fn new(receiver: R, codec: C, limits: Limits, reporter: &'a Reporter) -> Self {
        Self { receiver, codec, limits, reporter, in_a_row: 0, ended: false }
    }

    /// Whether it is this reader's turn.
    pub(crate) fn has_turn(&self) -> bool {
        self.in_a_row < MAX_IN_A_ROW
    }

    /// Something else had its turn.
    pub(crate) fn rest(&mut self) {
        self.in_a_row = 0;
    }

    /// The next frame of at most `max_frame` bytes, as a message or as what is wrong with it; `None`
    /// once the peer has closed. Cancel-safe.
    pub(crate) async fn next<E: Event>(
        &mut self,
        max_frame: usize,
    ) -> Result<Option<Input<E>>, Error> {
        let received = self.receiver.receive(max_frame).await;
        self.in_a_row += 1;
        self.ended = !matches!(received, Ok(Some(_)));
        match received {
            Ok(Some(frame)) => Ok(Some(self.decode(frame, max_frame))),
            Ok(None) => Ok(None),
            // A frame that is not one is the peer's fault, everything else is the link's.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let shown = shown(&error.to_string());
                let error = Error::Frame { format: C::NAME, source: bounded(error) };
                Ok(Some(Input::Malformed { shown, error }))
            }
            Err(error) => Err(Error::Link(error)),
        }
    }

    fn decode<E: Event>(&self, frame: Bytes, max_frame: usize) -> Input<E> {
        let decoded = self.codec.decode(&frame, self.limits.frame(max_frame)).map_err(bounded);
        let events = match &decoded {
            Ok(Message::Sync(sync)) => sync.entries.len() as u64,
            _ => 0,
        };
        self.reporter.update(|diagnostics| {
            diagnostics.bytes_received += frame.len() as u64;
            diagnostics.events_received += events;
        });
        match decoded {
            Ok(message) => Input::Received { message, frame },
            Err(source) => Input::Malformed {
                error: Error::Frame { format: C::NAME, source },
                shown: start_of(&frame),
            },
        }
    }

    /// Reads to the end of the link without a look at what comes.
    pub(crate) async fn drain(&mut self, max_frame: usize) {
        while !self.ended {
            self.ended = !matches!(self.receiver.receive(max_frame).await, Ok(Some(_)));
        }
    }
}
