//! What operators look at, on a port of its own: `/health`, `/ready`, `/metrics`, and the status page.
//!
//! - `routes`: the port; `status`: what the page shows, as JSON; `page.html`: the page;
//! - `rates`: events a second over the last minutes; `warnings`: what was written of level `warn` and above.

mod rates;
mod routes;
mod status;
mod warnings;

pub(super) use routes::{Operations, serve};
pub(super) use status::Described;
pub(super) use warnings::Warnings;
