//! `serve`: the server.
//!
//! - `options`: what it can be told; `admission`: who may connect;
//! - `certificates`: TLS, and its files that are read again;
//! - `logs`: the usual log, and those of tenants;
//! - `operations`: what operators look at;
//! - `running`: from the start to the last connection.

mod admission;
mod certificates;
mod logs;
mod operations;
mod options;
mod running;

pub(crate) use options::ServeOptions;
pub(crate) use running::run;
