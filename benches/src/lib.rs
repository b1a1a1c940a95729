//! What the benches share.

mod counter;
pub mod ratio;

pub use counter::Counter;
