//! WebSocket handshakes that come as HTTP requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::link;
use super::patient::Patient;
use super::refusal::HttpBody;
use super::registry::Registry;
use super::request::peer;
use crate::refusal::Refusal;
use crate::rt::{self, timeout};
use crate::stream::NetworkStream;
use crate::websocket::{self, Granted, Sizes, Wanted};

/// How long the server that the request came to may take to hand the connection over.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// A connection on a port of our own, as hyper serves it.
pub(super) type Connection = TokioIo<Patient<NetworkStream>>;

pub(super) async fn answer<B>(
    registry: &Arc<Registry>,
    mut request: Request<B>,
) -> Result<Response<HttpBody>, Refusal> {
    let wanted = Wanted::read(request.version(), request.headers())?;
    let upgrade = request.extensions_mut().remove::<OnUpgrade>().ok_or_else(|| {
        Refusal::new(StatusCode::UPGRADE_REQUIRED, "this server upgrades no connections")
    })?;
    let accepting = registry.accepting().await?;
    let Granted { format, response } = wanted.grant(&accepting.formats, request.headers())?;
    let options = registry.options();
    let (head, _) = request.into_parts();
    let info = options.describe(peer(&head.extensions), &head.uri, head.headers);
    let address = info.address.map(|address| address.ip());
    let place = registry.places.take(address, options.max_links_per_address)?;
    let permit = registry.reserve().await?;
    let sizes = Sizes { read_buffer: options.read_buffer };
    rt::spawn(async move {
        let upgraded = match timeout(MAX_WAIT, upgrade).await {
            Ok(Ok(upgraded)) => upgraded,
            Ok(Err(error)) => return tracing::debug!(%error, "an upgrade failed"),
            Err(_) => return tracing::debug!("an upgrade took too long"),
        };
        let (stream, read) = stream(upgraded);
        let link = websocket::open(
            stream,
            read.into(),
            Role::Server,
            format,
            accepting.max_frame,
            info,
            sizes,
        )
        .await;
        permit.send(link::websocket(link, place));
    });
    Ok(response.map(|()| HttpBody::default()))
}

/// The bytes of an upgraded connection, and what of them was read already. One of our own is a
/// stream like others again; another program's stays in what its server made of it.
fn stream(upgraded: Upgraded) -> (NetworkStream, Bytes) {
    match upgraded.downcast::<Connection>() {
        Ok(parts) => (parts.io.into_inner().into_inner(), parts.read_buf),
        Err(upgraded) => (NetworkStream::from(upgraded), Bytes::new()),
    }
}
