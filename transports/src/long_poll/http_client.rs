use std::error::Error as _;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use crate::rt::{self, Instant, JoinHandle, timeout_at};
use crate::tcp::Address;
use crate::tls;
#[cfg(feature = "tls")]
use crate::tls::TlsClient;

/// Sends HTTP requests: what a [`LongPoll`](crate::LongPoll) needs of an HTTP client. Implement it to
/// take a way of your own, such as a proxy's.
///
/// # Contract
/// 1. A request is sent at most once; whether it arrived is not known after an error.
/// 2. An answer is whole: a body that ends early is an error, and so is one of more than `max_body`
///    bytes (of the kind [`InvalidData`](io::ErrorKind::InvalidData)), which is not collected. Of an
///    answer that is not 200, the beginning of the body will do: its status counts, however long
///    the page is that a proxy sends with it.
/// 3. A clone is a lane of its own: a request that waits on one holds up none on another.
pub trait HttpClient: Clone + Send + Sync + 'static {
    /// Sends a request and gives the answer, whatever its status. One at a time.
    ///
    /// The request's URI is whole, and it has all headers but `Host`, unless the user gave that one.
    /// Dropping the future does not want the answer any more.
    fn request(
        &mut self,
        request: Request<Bytes>,
        max_body: usize,
    ) -> impl Future<Output = io::Result<Response<Bytes>>> + Send;
}

/// Sends HTTP/1.1 requests over a connection that is kept for the next one.
#[derive(Debug)]
pub struct HttpConnection {
    address: Address,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    requests: SendRequest<Full<Bytes>>,
    /// Moves the bytes.
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HttpConnection {
    pub(super) const fn new(address: Address) -> Self {
        Self { address, open: None }
    }

    #[cfg(feature = "tls")]
    pub(super) fn set_tls(&mut self, client: TlsClient) {
        self.address.set_tls(client);
    }

    async fn connect(&self) -> io::Result<Open> {
        let (stream, _) = self.address.dial().await?;
        let (requests, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(io_error)?;
        let task = rt::spawn(async move {
            // Whoever waits for an answer is told.
            let _ = connection.await;
        });
        Ok(Open { requests, task })
    }
}

impl Clone for HttpConnection {
    fn clone(&self) -> Self {
        Self::new(self.address.clone())
    }
}

impl HttpClient for HttpConnection {
    async fn request(
        &mut self,
        request: Request<Bytes>,
        max_body: usize,
    ) -> io::Result<Response<Bytes>> {
        // Put back once the answer is whole: a connection that is in the middle of something is
        // not used again.
        let mut open = match self.open.take() {
            Some(open) if open.requests.is_ready() => open,
            _ => self.connect().await?,
        };
        let (mut head, body) = request.into_parts();
        if let Some(host) = head.uri.authority() {
            let host = HeaderValue::from_str(host.as_str()).map_err(io::Error::other)?;
            head.headers.entry(header::HOST).or_insert(host);
        }
        if let Some(path) = head.uri.path_and_query() {
            head.uri = path.clone().into();
        }
        let request = Request::from_parts(head, Full::new(body));
        let response = open.requests.send_request(request).await.map_err(io_error)?;
        let (head, body) = response.into_parts();
        let (body, is_whole) = if head.status == StatusCode::OK {
            (collect(body, max_body).await?, true)
        } else {
            beginning(body).await
        };
        // The answer may have said that the connection closes.
        if is_whole && open.requests.ready().await.is_ok() {
            self.open = Some(open);
        }
        Ok(Response::from_parts(head, body))
    }
}

async fn collect(body: Incoming, max_body: usize) -> io::Result<Bytes> {
    match Limited::new(body, max_body).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("the answer has more than {max_body} bytes");
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
        Err(error) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)),
    }
}

/// What is read of a refusal, for people, and whether that is all. It may be cut, or never come: the
/// status counts.
async fn beginning(mut body: Incoming) -> (Bytes, bool) {
    const ENOUGH: usize = 4 << 10;
    const PATIENCE: Duration = Duration::from_secs(1);

    let deadline = Instant::now() + PATIENCE;
    let mut text = BytesMut::new();
    while text.len() < ENOUGH {
        match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                text.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            }
            Ok(None) => return (text.freeze(), true),
            Ok(Some(Err(_))) | Err(_) => break,
        }
    }
    text.truncate(ENOUGH);
    (text.freeze(), false)
}

fn io_error(error: hyper::Error) -> io::Error {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    if let Some(explained) = cause.and_then(tls::explained_to_client) {
        return explained;
    }
    let kind =
        if error.is_parse() { io::ErrorKind::InvalidData } else { io::ErrorKind::ConnectionReset };
    io::Error::new(kind, error)
}
