//! Clients that mean harm, over real connections to a server with short limits, most of them by plain TCP
//! and by TLS: each is cut within its limit, each request that is refused is told so by a whole answer,
//! sockets and tasks are given back, and honest clients beside them come in and keep on.
//!
//! Each test prints its line of the table of attacks:
//! `cargo test --test abuse -- --nocapture --test-threads=1 | grep '^|'`. A line has the attack and the server
//! (`http` and `https`: an `HttpListener`; `ws` and `wss`: a `WebSocketListener`); how long a newcomer took to
//! come in, at most, and how many came; how long an event took from one client to the other, at most, and how
//! many were told. An attack may hold up newcomers for a second, and events for half a second. A test fails at
//! 20 times as much, for the machine may be busy. The attackers and the clients run in the thread of the
//! server, so what they do takes its time, too.

#[macro_use]
mod arena;
mod certificate;
mod honest;
mod raw;

mod forwarded;
mod handshakes;
mod origins;
mod quota;
mod refused;
mod sessions;
mod shutdown;
mod slow;
mod strangers;
