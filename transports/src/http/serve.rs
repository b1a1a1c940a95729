//! A port of our own.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
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
use crate::rt::{JoinSet, sleep, timeout};
use crate::tcp;

/// How much of a head is read, in bytes and in headers.
const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 64;

/// How long the last answers may take once the last link has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Serves until nobody accepts links any more and the last one has ended.
pub(super) async fn serve(tcp: TcpListener, registry: Arc<Registry>) {
    let mut connections = JoinSet::new();
    let mut idle = pin!(registry.idle());
    loop {
        tokio::select! {
            () = &mut idle => break,
            Some(done) = connections.join_next() => {
                if let Err(error) = done && error.is_panic() {
                    tracing::error!(%error, "a connection panicked; the others go on");
                }
            }
            accepted = tcp.accept(), if connections.len() < registry.options().max_connections => {
                match accepted {
                    Ok((tcp, address)) => {
                        let registry = Arc::clone(&registry);
                        connections.spawn(async move {
                            if let Err(error) = connection(tcp, address, registry).await {
                                tracing::debug!(%error, "an HTTP connection failed");
                            }
                        });
                    }
                    // The connection was gone at once, or no file descriptor is free: both pass.
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(Duration::from_millis(100)).await;
                    }
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
) -> io::Result<()> {
    let options = registry.options();
    let accepting = tcp::accept(tcp, options.tls.as_ref());
    let stream = timeout(options.handshake_timeout, accepting).await??;
    let stream: Connection = TokioIo::new(Patient::new(stream, options.write_timeout));
    let service = HttpService::new(Arc::clone(&registry));
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
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
