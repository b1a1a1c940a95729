use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, InconsistentKeys, InvalidMessage,
    RootCertStore, ServerConfig,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::link::invalid;
use crate::stream::NetworkStream;

/// All that is spoken over TLS here.
const ALPN: &[u8] = b"http/1.1";

/// The first byte of all that opens with a TLS handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// How many TLS sessions a server remembers, so that a client that comes back has less to do: rustls's default.
const SESSIONS: usize = 256;

/// How a client speaks TLS: which servers it trusts, and by what they know it. A clone costs nothing.
///
/// PEM is given as bytes. What cannot be used is an error of the kind
/// [`InvalidInput`](io::ErrorKind::InvalidInput) that says why.
///
/// ```no_run
/// # use logux_transports::{TlsClient, WebSocket};
/// # fn run() -> std::io::Result<()> {
/// let tls = TlsClient::with_roots(&std::fs::read("our-root.pem")?)?;
/// let transport = WebSocket::new("wss://sync.example.com/")?.tls(tls);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "it does nothing until a transport is given it"]
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

impl Default for TlsClient {
    fn default() -> Self {
        Self::new()
    }
}

impl TlsClient {
    /// Trusts the servers that browsers trust: Mozilla's roots, as of the release of `webpki-roots`
    /// that was built in.
    pub fn new() -> Self {
        Self::trusting(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect())
    }

    /// Trusts the servers whose certificates lead to one of these roots, and no others. A
    /// certificate that signs itself is its own root.
    pub fn with_roots(roots: &[u8]) -> io::Result<Self> {
        Ok(Self::trusting(root_store(roots)?))
    }

    /// Does as a configuration of one's own says. If it names protocols (ALPN), then `http/1.1`.
    pub fn with_config(config: impl Into<Arc<ClientConfig>>) -> Self {
        Self { config: config.into() }
    }

    /// Shows a certificate to servers that ask for one (mutual TLS): its chain, its own first, and
    /// its private key.
    pub fn certificate(mut self, chain: &[u8], key: &[u8]) -> io::Result<Self> {
        let config = Arc::make_mut(&mut self.config);
        config.client_auth_cert_resolver = certified(chain, key, config.crypto_provider())?;
        Ok(self)
    }

    #[expect(clippy::expect_used, reason = "ring has cipher suites for both versions of TLS")]
    fn trusting(roots: RootCertStore) -> Self {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions that ring can speak")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.into()];
        Self::with_config(config)
    }

    /// Agrees on TLS with the server that a connection goes to.
    pub(crate) async fn connect(&self, tcp: TcpStream, host: &str) -> io::Result<NetworkStream> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| invalid(format!("no certificate can be for the host {host:?}")))?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let connected = connector.connect(name, tcp).await;
        let stream = connected.map_err(|error| explained_to_client(&error).unwrap_or(error))?;
        Ok(TlsStream::Client(stream).into())
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").finish_non_exhaustive()
    }
}

/// How a server speaks TLS: its certificate, and which clients it takes. Clones share both, so that
/// one that is kept [renews](Self::reload) the certificate of a listener.
///
/// PEM is given as bytes. What cannot be used is an error of the kind
/// [`InvalidInput`](io::ErrorKind::InvalidInput) that says why.
///
/// ```no_run
/// # use std::fs::read;
/// # use logux_transports::{ListenerOptions, TlsServer, WebSocketListener};
/// # async fn run() -> std::io::Result<()> {
/// let tls = TlsServer::new(&read("chain.pem")?, &read("key.pem")?)?;
/// let options = ListenerOptions::new().tls(tls.clone());
/// let listener = WebSocketListener::bind("0.0.0.0:443").await?.options(options);
/// // Some weeks later:
/// tls.reload(&read("chain.pem")?, &read("key.pem")?)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "it does nothing until a listener is given it"]
pub struct TlsServer {
    config: watch::Sender<Arc<ServerConfig>>,
}

impl TlsServer {
    /// Shows a certificate to all clients: its chain, its own first, and its private key.
    pub fn new(chain: &[u8], key: &[u8]) -> io::Result<Self> {
        Self::verifying(Arc::new(NoClientAuth), chain, key)
    }

    /// Shows a certificate, and takes only clients that show one, too, which leads to one of these
    /// roots (mutual TLS).
    pub fn with_client_roots(chain: &[u8], key: &[u8], roots: &[u8]) -> io::Result<Self> {
        let roots = Arc::new(root_store(roots)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| invalid(format!("the roots cannot be used: {error}")))?;
        Self::verifying(verifier, chain, key)
    }

    /// Does as a configuration of one's own says. If it names protocols (ALPN), then `http/1.1`.
    pub fn with_config(config: impl Into<Arc<ServerConfig>>) -> Self {
        Self { config: watch::Sender::new(config.into()) }
    }

    /// Shows another certificate from now on, here and on all clones. Connections that are open go
    /// on. After an error all is as before.
    pub fn reload(&self, chain: &[u8], key: &[u8]) -> io::Result<()> {
        let provider = Arc::clone(self.config.borrow().crypto_provider());
        let certificate = certified(chain, key, &provider)?;
        self.config.send_modify(|config| {
            let config = Arc::make_mut(config);
            config.cert_resolver = certificate;
            // Who takes up an old session is not shown the new certificate.
            if config.session_storage.can_cache() {
                config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
            }
        });
        Ok(())
    }

    fn verifying(
        clients: Arc<dyn ClientCertVerifier>,
        chain: &[u8],
        key: &[u8],
    ) -> io::Result<Self> {
        let provider = provider();
        let certificate = certified(chain, key, &provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(certificate);
        config.alpn_protocols = vec![ALPN.into()];
        Ok(Self::with_config(config))
    }

    /// Agrees on TLS with the client that a connection comes from. Waits as long as the client does.
    pub(crate) async fn accept(&self, tcp: TcpStream) -> io::Result<NetworkStream> {
        let mut first = [0];
        if tcp.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
            return Err(refuse(tcp).await);
        }
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config.borrow()));
        let stream = acceptor.accept(tcp).await.map_err(explained_to_server)?;
        Ok(TlsStream::Server(stream).into())
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer").finish_non_exhaustive()
    }
}

/// The cryptography is named, so that whatever else is in the program does not decide on it.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn root_store(pem: &[u8]) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots
            .add(certificate)
            .map_err(|error| invalid(format!("a root certificate cannot be used: {error}")))?;
    }
    Ok(roots)
}

/// At least one.
fn certificates(pem: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(format!("the certificates are no PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(invalid("there is no certificate in the PEM".into()));
    }
    Ok(certificates)
}

fn certified(
    chain: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> io::Result<Arc<SingleCertAndKey>> {
    let chain = certificates(chain)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            invalid("there is no private key in the PEM; one that is encrypted is not read".into())
        }
        error => invalid(format!("the private key is no PEM: {error}")),
    })?;
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            invalid("the private key does not fit the certificate".into())
        }
        error => invalid(format!("the certificate or its key cannot be used: {error}")),
    })?;
    Ok(Arc::new(certified.into()))
}

/// Tells a client that does not know that it has to speak TLS.
async fn refuse(mut tcp: TcpStream) -> io::Error {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
        content-type: text/plain\r\ncontent-length: 22\r\n\r\nthis port speaks TLS\r\n";

    // A connection that is closed with something unread is reset, and the answer with it.
    let _ = tcp.try_read(&mut [0; 4 << 10]);
    let _ = tcp.write_all(ANSWER).await;
    io::Error::new(io::ErrorKind::InvalidData, "the client does not speak TLS")
}

/// The same, in the words of who set up the two sides, where rustls says it in its own.
fn explained_to_server(error: io::Error) -> io::Error {
    let message = match rustls_error(&error) {
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "the client does not speak TLS"
        }
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "the certificate of the client leads to no root that is trusted here"
        }
        _ => return error,
    };
    io::Error::new(error.kind(), message)
}

/// What a client is to do about an error of rustls. Of the kind `InvalidInput` if the same comes of
/// another attempt, and else of none that would blame a frame.
pub(crate) fn explained_to_client(error: &io::Error) -> Option<io::Error> {
    use AlertDescription as Alert;
    use CertificateError as Wrong;

    let error = rustls_error(error)?;
    let advice = match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            let message = "the server does not speak TLS; \
                check the port, or dial it by ws:// or http:// where that is safe";
            return Some(invalid(message.into()));
        }
        Error::InvalidCertificate(Wrong::UnknownIssuer) => {
            let message = "the certificate of the server leads to no root that is trusted here; \
                trust its root by TlsClient::with_roots, or let the server send its whole chain";
            return Some(invalid(message.into()));
        }
        Error::InvalidCertificate(
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. },
        ) => "dial the server by a name that its certificate is for, or give it another one",
        // The server's owner renews it, and a machine that has just started may not know the time.
        Error::InvalidCertificate(
            Wrong::Expired
            | Wrong::ExpiredContext { .. }
            | Wrong::NotValidYet
            | Wrong::NotValidYetContext { .. }
            | Wrong::Revoked,
        ) => {
            let message =
                format!("{error}; renew it on the server, or set the clock of this machine");
            return Some(io::Error::new(io::ErrorKind::ConnectionAborted, message));
        }
        Error::InvalidCertificate(_) => "give the server another one",
        Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA,
        ) => {
            let message = format!(
                "the server refuses this client's certificate ({error}); \
                 give the client one that the server trusts by TlsClient::certificate"
            );
            return Some(invalid(message));
        }
        Error::AlertReceived(Alert::UnrecognisedName) => {
            "dial the server by a name that it knows, or tell it this one"
        }
        Error::PeerIncompatible(_)
        | Error::NoApplicationProtocol
        | Error::AlertReceived(
            Alert::HandshakeFailure
            | Alert::ProtocolVersion
            | Alert::InsufficientSecurity
            | Alert::NoApplicationProtocol,
        ) => "let the server speak TLS 1.2 or 1.3, with HTTP/1.1, as this client does",
        // The server is at fault, or the way to it; it may pass.
        error => return Some(io::Error::new(io::ErrorKind::ConnectionAborted, error.clone())),
    };
    Some(invalid(format!("{error}; {advice}")))
}

/// What rustls says, also where another layer has wrapped it once more.
fn rustls_error(error: &io::Error) -> Option<&Error> {
    let cause = error.get_ref()?;
    cause.downcast_ref().or_else(|| rustls_error(cause.downcast_ref()?))
}
