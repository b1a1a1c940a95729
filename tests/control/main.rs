//! What a session is told and how it ends, in paused time and over the transport in memory: closing,
//! dialling anew, callbacks without an answer, credentials that end, and what an operator ends. `race` lets
//! all of it meet at random moments.

mod callbacks;
mod closing;
mod credentials;
mod dialling;
mod gate;
mod operators;
mod race;
mod world;
