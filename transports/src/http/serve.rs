//! A port of our own.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

use super::patient::Patient;
use super::registry::Registry;
use super::service::HttpService;
use super::upgrade::Connection;
use crate::link::network;
use crate::rt::{JoinSet, timeout};
use crate::strangers::{Stranger, Strangers};
use crate::tcp;
use crate::websocket::{MAX_HEAD, MAX_HEADERS};

/// How long the last answers may take once the last link has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Serves until nobody accepts links any more and the last one has ended.
pub(super) async fn serve(tcp: TcpListener, registry: Arc<Registry>) {
    let mut connections = JoinSet::new();
    // The connections on which nothing was asked yet.
    let silent = Strangers::default();
    let mut idle = pin!(registry.idle());
    loop {
        let in_use = connections.len().saturating_sub(silent.count());
        let has_room = in_use < registry.options().max_connections;
        tokio::select! {
            () = &mut idle => break,
            Some(done) = connections.join_next() => {
                if let Err(error) = done && error.is_panic() {
                    tracing::error!(%error, "a connection panicked; the others go on");
                }
            }
            accepted = tcp.accept(), if has_room => {
                match accepted {
                    Ok((tcp, address)) => {
                        let options = registry.options();
                        let network = Some(network(address.ip()));
                        let place = silent.enter(network, options.max_handshakes);
                        let Some((stranger, eviction)) = place else { continue };
                        let registry = Arc::clone(&registry);
                        eviction.aborts(connections.spawn(async move {
                            if let Err(error) = connection(tcp, address, registry, stranger).await {
                                tracing::debug!(%error, "an HTTP connection failed");
                            }
                        }));
                    }
                    Err(error) => tcp::pause(&error, &silent).await,
                }
            }
        }
    }
    drop(tcp);
    let last = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(LAST_ANSWERS, last).await;
}

async fn connection(
    tcp: TcpStream,
    address: SocketAddr,
    registry: Arc<Registry>,
    stranger: Stranger,
) -> io::Result<()> {
    let options = registry.options();
    let accepting = tcp::accept(tcp, address, &stranger, &options);
    let (stream, address) = timeout(options.handshake_timeout, accepting).await??;
    let stream: Connection = TokioIo::new(Patient::new(stream, options.write_timeout));
    let service = HttpService::new(Arc::clone(&registry));
    let stranger = Mutex::new(Some(stranger));
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        drop(stranger.lock().unwrap_or_else(PoisonError::into_inner).take());
        request.extensions_mut().insert(address);
        service.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.handshake_timeout)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(stream, service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = registry.idle() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    served.map_err(io::Error::other)
}
