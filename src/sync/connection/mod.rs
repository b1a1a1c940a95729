//! One connection between a log and a peer, as one task. It holds no rule of the protocol: it hands
//! the rules one input after the other, and does what they say.
//!
//! Work that takes time goes on in lanes beside each other, each with one owner:
//! - `admission`, in a room of its own: is the peer let in, and from which cursors;
//! - `reader`: frames to messages; `throttle`: those of a peer that has used up its quota wait;
//! - `intake`: what arrived, past the user's filter into the store;
//! - `replay`: what of the past a peer is sent because it subscribed to it;
//! - `outgoing`: messages and events to frames, and frames to the link; `batch`: the next events as
//!   one frame.
//!
//! `timer` is the one for all of these; `clocks` tells whether this node's clock was set, or the machine slept.

mod batch;
mod clocks;
#[expect(clippy::module_inception, reason = "the room's own file, beside its parts")]
mod connection;
mod intake;
mod outgoing;
mod reader;
mod replay;
mod throttle;
mod timer;

pub(crate) use connection::{Connection, Context, Ended, Lasting};
