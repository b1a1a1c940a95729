//! Apps from their public API: handlers, channels and answers, over the transport in memory.

mod answers;
mod channels;
mod handlers;
mod sync_map;
