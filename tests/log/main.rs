//! The log: what a program does with it, on every store.

mod adding;
mod consumers;
mod copying;
mod entries;
mod erasing;
mod inbox;
mod reasons;
mod retention;
mod stores;
mod tombstones;
