//! Sessions over the transport in memory, in paused time and from the public API: what a session is told and
//! how it ends, clocks that are set, logs that are lost. `race` lets all that can end a session meet at random
//! moments, `unread` is about peers that are not read for a while.

mod beginning;
mod callbacks;
mod clocks;
mod closing;
mod credentials;
mod dialling;
mod dropped;
mod gate;
mod hand;
mod lost_logs;
mod names;
mod operators;
mod options;
mod places;
mod quota;
mod race;
mod receipts;
mod several_logs;
mod shared;
mod subscribing;
mod superseded;
mod tail;
mod turns;
mod unread;
mod withheld;
mod world;
