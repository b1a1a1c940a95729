//! What the benches share.

pub mod ratio;
