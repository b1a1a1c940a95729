//! From frames to messages.

use std::io;

use bytes::Bytes;
use logux_codecs::{Codec, Event, EventLimits, Limits, Message, shown};
use logux_transports::FrameReceiver;

use crate::sync::admission::Cost;
use crate::sync::error::{Error, bounded, start_of, with_causes};
use crate::sync::rules::{Arrival, Input, Patient};
use crate::sync::session::Reporter;

/// What a message takes of a quota at least, in bytes: also the shortest one is work.
const MIN_COST: u64 = 64;

/// So many frames are taken in a row before everything else gets its turn: what they ask for is then
/// stored and answered together.
const MAX_IN_A_ROW: usize = 32;

/// The receiving half of a link, and what is made of its frames.
pub(crate) struct Reader<'a, C, R> {
    receiver: R,
    codec: C,
    event_limits: EventLimits,
    reporter: &'a Reporter,
    in_a_row: usize,
    /// The peer has said something that could be read.
    speaks: bool,
    /// Nothing more is to be received.
    ended: bool,
}

impl<'a, C: Codec, R: FrameReceiver> Reader<'a, C, R> {
    pub(crate) fn new(
        receiver: R,
        codec: C,
        event_limits: EventLimits,
        reporter: &'a Reporter,
    ) -> Self {
        let (in_a_row, speaks, ended) = (0, false, false);
        Self { receiver, codec, event_limits, reporter, in_a_row, speaks, ended }
    }

    /// Whether it is this reader's turn.
    pub(crate) fn has_turn(&self) -> bool {
        self.in_a_row < MAX_IN_A_ROW
    }

    /// Something else had its turn.
    pub(crate) fn rest(&mut self) {
        self.in_a_row = 0;
    }

    /// The next frame within limits, as a message or as what is wrong with it, and what it takes of the
    /// peer's quota; `None` once the peer has closed. Cancel-safe.
    pub(crate) async fn next<E: Event>(
        &mut self,
        limits: Limits,
    ) -> Result<Option<(Input<E>, Cost)>, Error> {
        let received = self.receiver.receive(limits.frame).await;
        self.in_a_row += 1;
        self.ended = !matches!(received, Ok(Some(_)));
        match received {
            Ok(Some(frame)) => {
                let bytes = frame.len() as u64;
                let input = self.message(frame, limits);
                let events = match &input {
                    Input::Received { message: Message::Sync(sync), .. } => {
                        sync.entries.len() as u64
                    }
                    _ => 0,
                };
                self.reporter.received(events, bytes);
                Ok(Some((input, Cost { events, bytes: bytes.max(MIN_COST) })))
            }
            Ok(None) => Ok(None),
            // A frame that is not one is the peer's fault, everything else is the link's.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let shown = shown(&error.to_string());
                let error = Error::Frame { format: C::NAME, source: bounded(error) };
                // How much of it came is not known.
                let cost = Cost { events: 0, bytes: limits.frame as u64 };
                Ok(Some((Input::Malformed { shown, error }, cost)))
            }
            Err(error) => Err(Error::Link(error)),
        }
    }

    /// A frame as a message, or as what is wrong with it.
    pub(crate) fn message<E: Event>(&mut self, frame: Bytes, limits: Limits) -> Input<E> {
        let decoded = self.read::<E>(&frame, limits).map_err(bounded);
        let is_first = !std::mem::replace(&mut self.speaks, true);
        match decoded {
            Ok(message) => Input::Received { message, frame },
            Err(source) => {
                let what = shown(&with_causes(&*source));
                let shown = format!("{what}: {}", start_of(&frame));
                let error = if is_first {
                    Error::OtherFormat { format: C::NAME, source }
                } else {
                    Error::Frame { format: C::NAME, source }
                };
                Input::Malformed { error, shown }
            }
        }
    }

    /// The message of a frame. What cannot be read of its events, or not be sent on, spoils no other.
    fn read<E: Event>(
        &self,
        frame: &[u8],
        limits: Limits,
    ) -> Result<Message<Arrival<E>>, C::Error> {
        let mut message = match self.codec.decode::<Arrival<E>>(frame, limits) {
            Ok(message) => message,
            Err(error) => match self.codec.decode::<Patient<E>>(frame, limits) {
                Ok(message) => message.map_events(|Patient(arrival)| arrival),
                Err(_) => return Err(error),
            },
        };
        // Also those of a short frame: an event may grow when it is read, by what its type has for an
        // absent field, or by a codec that compresses.
        if let Message::Sync(sync) = &mut message {
            for (arrival, meta) in &mut sync.entries {
                let checked = match arrival {
                    Arrival::Event(event, size) => {
                        let checked = self.event_limits.check_event(event, &meta.extra);
                        checked.map(|measured| *size = measured)
                    }
                    Arrival::Unread(unread) => {
                        self.event_limits.check_event(&unread.event, &meta.extra).map(drop)
                    }
                    Arrival::Unfit(_) => continue,
                };
                if let Err(unfit) = checked {
                    *arrival = Arrival::Unfit(Box::new(unfit));
                }
            }
        }
        Ok(message)
    }

    /// Reads to the end of the link without a look at what comes.
    pub(crate) async fn drain(&mut self, max_frame: usize) {
        while !self.ended {
            self.ended = !matches!(self.receiver.receive(max_frame).await, Ok(Some(_)));
        }
    }
}
