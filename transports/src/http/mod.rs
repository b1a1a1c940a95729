//! WebSocket and long-poll on one port and path.
//!
//! [`HttpService`] answers requests, in a program of one's own; [`HttpListener`] gives the links that
//! come of them, and [binds](HttpListener::bind) a port of its own where there is no such program.

mod cors;
mod link;
mod listener;
mod patient;
mod poll;
mod refusal;
mod registry;
mod request;
mod serve;
mod service;
mod shares;
mod upgrade;

pub use link::{HttpLink, HttpReceiver, HttpSender};
pub use listener::HttpListener;
pub use refusal::HttpBody;
pub use service::HttpService;
