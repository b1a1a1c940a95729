//! A port of our own.

use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tower_service::Service;

use super::patient::Patient;
use super::registry::Registry;
use super::service::HttpService;
use super::shares::{Share, Shares};
use super::upgrade::Connection;
use crate::link::network;
use crate::rt::{AbortHandle, JoinSet, timeout};
use crate::strangers::{Stranger, Strangers};
use crate::tcp;
use crate::websocket::{MAX_HEAD, MAX_HEADERS};

/// How long the last answers may take once the last link has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Serves until nobody accepts links any more and the last one has ended.
pub(super) async fn serve(tcp: TcpListener, registry: Arc<Registry>) {
    let mut connections = JoinSet::new();
    // The connections on which nothing was asked yet, or that wait for a place among those in use.
    let silent = Strangers::default();
    let in_use = Shares::default();
    let mut idle = pin!(registry.idle());
    loop {
        tokio::select! {
            () = &mut idle => break,
            Some(done) = connections.join_next() => {
                if let Err(error) = done && error.is_panic() {
                    tracing::error!(%error, "a connection panicked; the others go on");
                }
            }
            accepted = tcp.accept() => {
                match accepted {
                    Ok((tcp, address)) => {
                        let options = registry.options();
                        let network = Some(network(address.ip()));
                        let place = silent.enter(network, options.max_handshakes);
                        let Some((stranger, eviction)) = place else { continue };
                        let (registry, in_use) = (Arc::clone(&registry), in_use.clone());
                        let (tell, told) = oneshot::channel();
                        let task = connections.spawn(async move {
                            let Ok(task) = told.await else { return };
                            let entrance = Entrance { stranger, in_use, task };
                            if let Err(error) = connection(tcp, address, registry, entrance).await {
                                tracing::debug!(%error, "an HTTP connection failed");
                            }
                        });
                        eviction.aborts(task.clone());
                        // It waits for this.
                        let _ = tell.send(task);
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

/// How a connection gets from its place among the silent ones to one among those in use.
struct Entrance {
    stranger: Stranger,
    in_use: Shares,
    /// The one that serves the connection.
    task: AbortHandle,
}

impl Entrance {
    /// The connection ends where it gets no place in time.
    async fn enter(self, network: Option<IpAddr>, max: usize, limit: Duration) -> Share {
        // While it waits, it keeps its place among the silent ones.
        let Ok(share) = timeout(limit, self.in_use.take(network, &self.task, max)).await else {
            tracing::debug!("an HTTP connection was cut: all places are in use");
            self.task.abort();
            return pending().await;
        };
        drop(self.stranger);
        share
    }
}

async fn connection(
    tcp: TcpStream,
    address: SocketAddr,
    registry: Arc<Registry>,
    entrance: Entrance,
) -> io::Result<()> {
    let options = registry.options();
    let accepting = tcp::accept(tcp, address, &entrance.stranger, &options);
    let (stream, address) = timeout(options.handshake_timeout, accepting).await??;
    let stream: Connection = TokioIo::new(Patient::new(stream, options.write_timeout));
    // A proxy's connections carry the requests of many.
    let network = (!options.proxies.speak_for_others(address)).then(|| network(address.ip()));
    let (max, limit) = (options.max_connections, options.handshake_timeout);
    let service = HttpService::new(Arc::clone(&registry));
    let (entrance, place) = (Mutex::new(Some(entrance)), Arc::new(OnceLock::new()));
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        let entering = entrance.lock().unwrap_or_else(PoisonError::into_inner).take();
        let place = Arc::clone(&place);
        request.extensions_mut().insert(address);
        let answering = service.clone().call(request);
        async move {
            if let Some(entrance) = entering {
                // It is kept for as long as the connection lasts.
                let _ = place.set(entrance.enter(network, max, limit).await);
            }
            let _in_flight = place.get().map(Share::in_flight);
            answering.await
        }
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
