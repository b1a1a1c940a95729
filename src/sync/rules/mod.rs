//! The rules of the protocol, as a value: what came in and what time it is gives what goes out.
//! No sockets, no tasks, no clock of its own; a connection moves the bytes.
//!
//! Source of every rule: Logux protocol 7, as `@logux/core` 0.12 speaks it, tightened where that
//! loses events; each such place says so.
//!
//! - `input_output`: what goes in and what comes out;
//! - `rules`: the value, and the table of every message in every phase;
//! - `handshake`: from `connect` to the first event; `events`: what is sent, stored and confirmed;
//!   `silence`: pings and deadlines; `clocks`: how far the clocks of both sides differ;
//! - `phase`: how far a connection has come; `live`: what is known of one that sends events;
//!   `relative`: how events are named on it; `arrival`: what is made of an event that came; `whose`: who
//!   may add it; `report`: how the peer is told what became of it.

mod arrival;
mod clocks;
mod events;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handshake;
#[cfg(any(test, fuzzing))]
mod harness;
mod input_output;
mod live;
mod phase;
mod relative;
mod report;
#[expect(clippy::module_inception, reason = "the value itself, beside its parts")]
mod rules;
mod silence;
#[cfg(test)]
mod tests;
mod whose;

pub(crate) use arrival::{Arrival, Patient};
pub(crate) use input_output::{
    Admitted, Claim, Config, Covered, Input, Introduction, Jump, LetIn, LogIdentity, Now, Output,
    SentNext, Wanted,
};
pub use input_output::{Role, Unreadable};
pub use relative::FarFuture;
pub(crate) use relative::Relative;
pub(crate) use rules::{Rules, Suspects};
pub(crate) use whose::Authors;
