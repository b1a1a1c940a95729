//! A certificate for the server, and bytes over TLS.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use logux_sync::{TlsClient, TlsServer};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

/// One that signs itself.
pub(crate) struct Certificate(CertifiedKey<KeyPair>);

/// Makes connections by TLS, of which each byte is chosen.
#[derive(Clone)]
pub(crate) struct Dialler(Arc<ClientConfig>);

impl Certificate {
    pub(crate) fn new() -> Self {
        Self(generate_simple_self_signed([Ipv4Addr::LOCALHOST.to_string()]).unwrap())
    }

    pub(crate) fn server(&self) -> TlsServer {
        let (chain, key) = (self.0.cert.pem(), self.0.signing_key.serialize_pem());
        TlsServer::new(chain.as_bytes(), key.as_bytes()).unwrap()
    }

    pub(crate) fn client(&self) -> TlsClient {
        TlsClient::with_roots(self.0.cert.pem().as_bytes()).unwrap()
    }

    pub(crate) fn dialler(&self) -> Dialler {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.cert.der().clone()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Dialler(Arc::new(config))
    }
}

impl Dialler {
    pub(crate) async fn connect(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(Arc::clone(&self.0)).connect(name(), tcp).await
    }

    /// The first thing that a client says: a `ClientHello`.
    pub(crate) fn hello(&self) -> Vec<u8> {
        let mut client = ClientConnection::new(Arc::clone(&self.0), name()).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        hello
    }
}

fn name() -> ServerName<'static> {
    ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST))
}
