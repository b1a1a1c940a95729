//! Clients that mean harm, over real connections to a server with short limits: each is cut within its
//! limit, each request that is refused is told so by a whole answer, descriptors and tasks are given
//! back, and honest clients beside them keep on.

mod arena;
mod raw;

mod forwarded;
mod origins;
mod quota;
mod refused;
mod sessions;
mod shutdown;
mod slow;
