//! Logux apps: access rules by types of events, channels to subscribe to, and answers to what clients did.
//!
//! A [`Server`](crate::Server) keeps logs in step. An [`App`] does what pages with `@logux/client` want beside that: it
//! decides who may do what, does it, tells the client that it is done (`logux/processed`) or taken back (`logux/undo`),
//! and sends events to those whom they are for.
//!
//! All of that is on the log. What a client sends waits durably in a queue of the client before it is confirmed; one
//! transaction takes the event out of the queue and adds it to the log with its route, what its handler added and the
//! answer. So after a crash what waits is handled, what was handled is not handled again, and an answer reaches a client
//! that was away. A subscription is a look at the log by an index: a slow client is an old position in it, and no queue
//! of its own.
//!
//! ```no_run
//! use logux_sync::app::{App, Channel, Client, Handler, Path, Route, Typed, Undo};
//! use logux_sync::{HttpListener, Json, Log, MemoryStore};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Add {
//!     list: String,
//!     text: String,
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! // Whoever is called so may write to a list of that name.
//! let app = App::new(async |login| login.token_is("secret"))
//!     .on(
//!         "notes/add",
//!         Handler::access(async |client: Client, Typed(add): Typed<Add>| client.is_of(add.list))
//!             .route(async |Typed(add): Typed<Add>| Route::from(format!("notes/{}", add.list)))
//!             .process(async |Typed(add): Typed<Add>| -> Result<(), Undo> {
//!                 if add.text.is_empty() { Err(Undo::new("emptyText")) } else { Ok(()) }
//!             }),
//!     )
//!     .channel(
//!         "notes/:list",
//!         Channel::access(async |client: Client, Path(list): Path<String>| client.is_of(list)).from_log(),
//!     );
//! let log = Log::open("server".parse()?, MemoryStore::new()).await?;
//! let running = app.serve(&log, Json, HttpListener::bind("127.0.0.1:31337").await?)?;
//! tokio::signal::ctrl_c().await?;
//! running.shutdown(std::time::Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```
//!
//! In reading order: [`App`] and [`RunningApp`]; [`Handler`], [`Channel`] and what their callbacks take ([`Extract`]:
//! [`Client`], [`Typed`], [`State`], [`Path`], [`Since`], [`Subscription`], [`ClientHeaders`], [`Context`]) and answer
//! ([`Undo`], [`Route`], [`Filter`]). Inside: `shared` is what all parts have in common, `work` handles events that
//! wait, `subscriptions` those who subscribe, `answers` what clients are told, `clients` who is connected.
//!
//! # What differs from `@logux/server`
//! - An event reaches others after it was processed, not before: so nobody sees what is then undone.
//! - An event does not go back to the connection that it came from. The same client in another tab, or after a reload,
//!   gets it.
//! - If an event is undone, those of its client that wait in the same queue are undone with the reason `error`, as there;
//!   but not if this process ends in between, and not subscriptions.

mod answers;
#[expect(clippy::module_inception, reason = "the app's own file, beside its parts")]
mod app;
mod call;
mod clients;
mod handler;
mod pattern;
mod route;
mod running;
mod shared;
mod subscriptions;
mod sync_map;
#[cfg(feature = "json")]
mod testing;
mod undo;
mod work;

pub use app::{App, AppError, HAS_CHANNELS};
pub use call::{
    Call, Callback, Client, ClientHeaders, Context, Extract, FromParameters, Path, Since, State,
    Subscription, Typed,
};
pub use handler::{
    Channel, Filter, Handler, IntoAccess, IntoDone, IntoEvents, IntoFilter, IntoRoute,
};
pub use pattern::PatternError;
pub use route::Route;
pub use running::{ProcessError, RunningApp};
pub use sync_map::{Fields, IntoMapState, IntoMapStates, MapState, SyncMap};
#[cfg(feature = "json")]
pub use testing::{TestApp, TestClient, TestError};
pub use undo::Undo;
