//! What sessions do, from the public API and in paused time: the same suite for each codec over
//! each transport. A test's path ends in its cell: `synchronization::states_are_the_originals::xml_websocket`.

#[macro_use]
mod cells;
#[path = "../paused/hand.rs"]
mod hand;
mod scripted;

mod auth;
mod bad_input;
mod door;
mod failing_store;
mod filters;
mod one_event;
mod protocol_5;
mod schemas;
mod several_codecs;
mod synchronization;
mod time;
mod whose;
