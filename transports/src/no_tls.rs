//! What stands for TLS where it is not built in: types without values.

use std::io;

use tokio::net::TcpStream;

use crate::stream::NetworkStream;

#[derive(Clone, Debug)]
pub(crate) enum TlsClient {}

impl TlsClient {
    #[expect(clippy::unused_async, reason = "as where TLS is built in")]
    pub(crate) async fn connect(&self, _: TcpStream, _: &str) -> io::Result<NetworkStream> {
        match *self {}
    }
}

/// There is nothing to explain.
pub(crate) fn explained_to_client(_: &io::Error) -> Option<io::Error> {
    None
}

#[derive(Clone, Debug)]
pub(crate) enum TlsServer {}

impl TlsServer {
    #[expect(clippy::unused_async, reason = "as where TLS is built in")]
    pub(crate) async fn accept(&self, _: TcpStream) -> io::Result<NetworkStream> {
        match *self {}
    }
}
