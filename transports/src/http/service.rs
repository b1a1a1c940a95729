use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Buf;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;

use super::refusal::{HttpBody, respond};
use super::registry::Registry;
use super::request::origin;
use super::{cors, poll, upgrade};
use crate::refusal::Refusal;
use crate::websocket::{NOT_CHUNKED, NOT_HERE};

/// Answers the requests of WebSocket and long-poll clients: a `tower` service, to be mounted in a
/// program's own router or served by hyper. [`HttpListener::mounted`](crate::HttpListener::mounted)
/// makes one, and gives the links that come of it.
///
/// It takes any path. The program that serves it lets HTTP/1.1 connections be upgraded and sets the
/// time limits of heads and answers. It may tell the client's address by an extension of the
/// request, a [`SocketAddr`](std::net::SocketAddr), which is then the link's [`LinkInfo::address`](crate::LinkInfo::address) and
/// what the limit of links per address counts. The repository's `examples/axum.rs` is such a program,
/// with an axum router.
///
/// ```
/// # use logux_transports::HttpListener;
/// let (service, listener) = HttpListener::mounted();
/// let router: axum::Router = axum::Router::new().route_service("/logux", service);
/// ```
#[derive(Clone)]
#[must_use = "a service answers nothing until it is served"]
pub struct HttpService {
    registry: Arc<Registry>,
}

impl HttpService {
    pub(super) const fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    async fn answer<B>(self, request: Request<B>) -> Response<HttpBody>
    where
        B: Body<Data: Buf + Send, Error: fmt::Display> + Send + 'static,
    {
        let origin = origin(request.headers());
        let method = request.method().clone();
        let options = self.registry.options();
        let has_origins = options.origins.is_some();
        let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
        let mut response = if !options.allows(request.headers()) {
            Err(NOT_HERE.into())
        } else if is_chunked {
            Err(NOT_CHUNKED.into())
        } else if method == Method::POST {
            poll::answer(&self.registry, request).await
        } else if method == Method::GET {
            upgrade::answer(&self.registry, request).await
        } else if method == Method::OPTIONS {
            let mut response = Response::new(HttpBody::default());
            *response.status_mut() = StatusCode::NO_CONTENT;
            if has_origins && origin.is_some() {
                cors::let_ask(response.headers_mut());
            }
            Ok(response)
        } else {
            Err(Refusal::of_method("GET, POST, OPTIONS", "GET a WebSocket, or POST"))
        }
        .unwrap_or_else(respond);
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if is_chunked {
            // It may have told a length as well, and something on the way may have believed that:
            // what comes next is not to be taken for a request (RFC 9112, 6.1).
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if has_origins {
            headers.insert(header::VARY, HeaderValue::from_static("origin"));
        }
        let allowed = response.status() != StatusCode::FORBIDDEN;
        if let (Some(origin), true, true) = (origin, has_origins, allowed) {
            cors::let_read(response.headers_mut(), &origin);
        }
        response
    }
}

impl<B> tower_service::Service<Request<B>> for HttpService
where
    B: Body<Data: Buf + Send, Error: fmt::Display> + Send + 'static,
{
    type Response = Response<HttpBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<HttpBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

impl fmt::Debug for HttpService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpService").finish_non_exhaustive()
    }
}
