//! Lists of tasks whose members edit them together, also without a connection: an app on a durable
//! log, on one port with its page, which uses the published `@logux/client`.
//!
//! ```sh
//! (cd examples/todo && npm ci && npm run build)
//! cargo run --features sqlite --example todo -- [ADDRESS [FILE]]
//! ```
//! `rules.rs` is the app, with its users and tokens. `examples/todo/test` tries it in Chromium.

mod journal;
mod rules;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::routing::{MethodRouter, get};
use logux_sync::app::App;
use logux_sync::{HttpListener, Json, Log, SqliteStore};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let file = std::env::args().nth(2).unwrap_or_else(|| "todo.db".to_owned());
    let (store, options) = (Arc::new(SqliteStore::open(&file)?), App::<()>::log_options());
    let log = Log::open_with("server:todo".parse()?, store, options).await?;
    let (service, listener) = HttpListener::mounted();
    let running = rules::app(journal::Journal::open(&format!("{file}.journal"))?)
        .serve(&log, Json, listener)?;
    let router = Router::new()
        .route("/", page("page/index.html", "text/html; charset=utf-8"))
        .route("/app.js", page("built/app.js", "text/javascript"))
        .route_service("/logux", service);
    let tcp = TcpListener::bind(address).await?;
    println!("http://{}/", tcp.local_addr()?);
    let serving = axum::serve(tcp, router).with_graceful_shutdown(async {
        tokio::signal::ctrl_c().await.expect("this system has Ctrl+C");
        running.shutdown(Duration::from_secs(5)).await;
    });
    Ok(serving.await?)
}

fn page(name: &str, kind: &'static str) -> MethodRouter {
    let path = format!("{}/examples/todo/{name}", env!("CARGO_MANIFEST_DIR"));
    get(async move || match tokio::fs::read(&path).await {
        Ok(text) => Ok(([(CONTENT_TYPE, kind)], text)),
        Err(error) => Err((StatusCode::NOT_FOUND, format!("{path}: {error}; was it built?"))),
    })
}
