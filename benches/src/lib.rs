//! What the benches share, and the [`Matrix`], to which a codec or a transport of one's own is added
//! by one line.

mod asked;
mod counter;
pub mod limits;
#[cfg(feature = "matrix")]
mod matrix;
pub mod ratio;

pub use asked::Asked;
pub use counter::Counter;
#[cfg(feature = "matrix")]
pub use matrix::{Matrix, Wire};
