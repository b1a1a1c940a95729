//! What the benches share, and the [`Matrix`], to which a codec or a transport of one's own is added
//! by one line.

mod asked;
mod counter;
mod estimate;
pub mod limits;
#[cfg(feature = "matrix")]
mod matrix;
pub mod ratio;
#[cfg(feature = "matrix")]
mod report;

pub use asked::Asked;
pub use counter::Counter;
pub use estimate::Estimate;
#[cfg(feature = "matrix")]
pub use matrix::{Matrix, Wire};
