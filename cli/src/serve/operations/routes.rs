//! The port for operators.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::status::{Described, bytes};
use crate::failure::with_causes;
use crate::serve::admission::is_of_this_machine;
use crate::serve::backend::{Adding, add};

/// The page loads nothing from elsewhere, and no other page shows it in a frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
     img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);

/// How many bytes a back end may send at once.
const MAX_REQUEST: usize = 16 << 20;

/// How long the store may take before the server is not ready.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the port answers from.
#[derive(Clone)]
pub(crate) struct Operations {
    described: Described,
    metrics: PrometheusHandle,
    ends: Arc<AtomicBool>,
    /// What a back end adds events by, where there is one.
    adding: Option<Adding>,
}

impl Operations {
    pub(crate) fn new(
        described: Described,
        metrics: PrometheusHandle,
        adding: Option<Adding>,
    ) -> Self {
        Self { described, metrics, ends: Arc::default(), adding }
    }

    /// From now on the server is not ready: a balancer sends new clients elsewhere.
    pub(crate) fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// Answers until the program ends.
pub(crate) fn serve(tcp: TcpListener, address: SocketAddr, operations: Operations) {
    let adding = operations.adding.clone();
    let mut routes = Router::new()
        .route("/", get(page))
        .route("/status.json", get(status))
        .route("/health", get(async || "the process runs\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(operations);
    if let Some(adding) = adding {
        let limit = DefaultBodyLimit::max(MAX_REQUEST);
        routes = routes.merge(Router::new().route("/", post(add)).layer(limit).with_state(adding));
    }
    if address.ip().is_loopback() {
        // The name of a page's host can be made to lead here, and the page could then read all.
        routes = routes.layer(middleware::from_fn(from_this_machine));
    }
    tokio::spawn(async move {
        if let Err(error) = axum::serve(tcp, routes).await {
            tracing::error!(%error, "the port for operators has closed");
        }
    });
}

async fn from_this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(is_of_this_machine) {
        return next.run(request).await;
    }
    let text = "this port is for this machine alone: ask for localhost or 127.0.0.1\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

async fn page() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, Html(include_str!("page.html")))
}

async fn status(State(operations): State<Operations>) -> Response {
    match operations.described.status().await {
        Ok(status) => ([(header::CACHE_CONTROL, "no-store")], Json(status)).into_response(),
        Err(error) => failed(&error),
    }
}

/// Whether new clients should come here.
async fn ready(State(operations): State<Operations>) -> Response {
    if operations.ends.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server is ending\n").into_response();
    }
    // A balancer asks now and then: each time one transaction.
    match timeout(STORE_TIMEOUT, operations.described.logs.usual.flush()).await {
        Ok(Ok(())) => "ready\n".into_response(),
        Ok(Err(error)) => failed(&error),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response(),
    }
}

async fn metrics(State(operations): State<Operations>) -> Response {
    let Described { server, logs, .. } = &operations.described;
    #[expect(clippy::cast_precision_loss, reason = "numbers of this size are exact, or nearly")]
    let float = |value: u64| value as f64;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    metrics::gauge!("logux_sync_tasks").set(float(tasks as u64));
    metrics::gauge!("logux_sync_connections").set(float(server.connections() as u64));
    for (tenant, log, file) in logs.all().await {
        let events = match log.count().await {
            Ok(events) => events,
            Err(error) => return failed(&error),
        };
        let size = file.as_deref().map_or(0, bytes);
        // To Prometheus a label without a value is none.
        let tenant = tenant.unwrap_or_default();
        metrics::gauge!("logux_sync_log_events", "tenant" => tenant.clone()).set(float(events));
        metrics::gauge!("logux_sync_log_bytes", "tenant" => tenant.clone()).set(float(size));
        let added = metrics::counter!("logux_sync_events_added_total", "tenant" => tenant);
        added.absolute(log.last_added().value());
    }
    let headers = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (headers, operations.metrics.render()).into_response()
}

fn failed(error: &logux_sync::StoreError) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", with_causes(error))).into_response()
}
