//! `serve`: the server.
//!
//! - `options`: what it can be told; `admission`: who may connect;
//! - `certificates`: TLS, and its files that are read again;
//! - `app`: channels, and rules for events; `backend`: a program in another language that is asked;
//! - `logs`: the usual log, and those of tenants;
//! - `operations`: what operators look at;
//! - `running`: from the start to the last connection.

mod admission;
mod app;
mod backend;
mod certificates;
mod logs;
mod operations;
mod options;
mod running;

pub(crate) use options::ServeOptions;
pub(crate) use running::run;
