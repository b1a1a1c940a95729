//! HTTP long-poll: a link made of requests. The protocol is in `LONG_POLL.md`.
//!
//! Both sides number their frames and repeat them until they are acknowledged ([`numbered`]); the
//! client asks ([`client`]), the server's [`session`] answers. What HTTP has to do with it is in
//! [`head`], [`body`] and, on the server's side, in [`crate::http`].

pub(crate) mod body;
mod client;
pub(crate) mod head;
mod http_client;
mod numbered;
pub(crate) mod session;

pub use client::{LongPoll, LongPollLink, LongPollReceiver, LongPollSender};
pub use http_client::{HttpClient, HttpConnection};
