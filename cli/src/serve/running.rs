//! A server from its start to its last connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use anstream::eprintln;
use futures_util::StreamExt;
use logux_sync::app::{App, AppError, RunningApp};
use logux_sync::codecs::Codecs;
use logux_sync::{
    Forwarding, HttpListener, Json, Listener, ListenerOptions, Log, LoguxBinary, MessagePack,
    Quota, RunningServer, Server, ServerHandle, Shutdown, SyncOptions, Value, Xml,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::net::TcpListener;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::admission::Admission;
use super::app::app;
use super::backend::{Adding, Backend};
use super::certificates::Certificate;
use super::logs::Logs;
use super::operations::{self, Described, Operations, Warnings};
use super::options::{AppSettings, BackendSettings, Forwarded, LogFormat, ServeOptions, Settings};
use crate::client;
use crate::failure::Failure;
use crate::signals;
use crate::store::{Place, cannot};

/// Up to which lengths of time commits are counted together.
const SECONDS: [f64; 9] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];

pub(crate) fn run(options: ServeOptions) -> Result<(), Failure> {
    let settings = options.settle()?;
    let warnings = Warnings::default();
    trace(&settings, warnings.clone())?;
    let backend = backend(&settings)?;
    let admission = admission(&settings, backend.as_ref().map(|(backend, _)| backend))?;
    let certificate = settings.certificate.clone();
    let certificate = certificate.map(|(chain, key)| Certificate::read(chain, key)).transpose()?;
    crate::block_on(serve(settings, admission, backend, certificate, warnings))
}

async fn serve(
    settings: Settings,
    admission: Admission,
    backend: Option<(Backend, String)>,
    certificate: Option<Certificate>,
    warnings: Warnings,
) -> Result<(), Failure> {
    let (backend, secret) = backend.unzip();
    // Before the log is touched, all that can be wrong with what was said.
    let mut interrupted = pin!(signals::interrupted()?);
    let mut reloads = signals::reloads()?;
    let listener_options = listener_options(&settings, certificate.as_ref())?;
    let app = settings.app.as_ref().map(|it| app(it, backend.as_ref(), admission.clone()));
    let app =
        app.map(|app| app.check().map(|()| app)).transpose().map_err(|error| wrong_app(&error))?;
    let (tcp, address) = bind(&settings.address, "--address").await?;
    let is_reached = !address.ip().is_loopback() || !settings.trusted_proxies.is_empty();
    if matches!(admission, Admission::Everyone { from_anywhere: false, .. }) && is_reached {
        return Err(Failure::usage(format!(
            "{address} can be reached by others, and there are no tokens: give --tokens or --token-command, or say \
             --allow-everyone if everyone may add events as anyone"
        )));
    }
    let operations = match &settings.operations {
        Some(address) => Some(bind(address, "--operations").await?),
        None => None,
    };
    if let Some((_, address)) = &operations
        && !address.ip().is_loopback()
    {
        tracing::warn!(%address, "whoever reaches the port for operators sees who is connected and what happens");
    }
    // The library counts from its first session on.
    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| Failure::failed(format!("nothing can be counted: {error}")))?;
    let logs = Logs::open(&settings).await?;
    let is_of_app = logs.usual.is_of_app().await.map_err(Failure::because)?;
    if is_of_app && app.is_none() && !settings.send_everything {
        return Err(Failure::usage(
            "this log is of an app, and there are neither channels nor a --backend: every client would be sent all of it, and \
             what waits would wait on. Is it the right configuration? If all of it is for everyone, say --send-everything",
        ));
    }
    let listener = HttpListener::from_tcp(tcp);
    let listener =
        listener.map_err(|error| cannot_listen("--address", &settings.address, &error))?;
    let listener = listener.options(listener_options);
    let mut server = server(&logs, listener, &settings, admission.clone(), app)?;
    let described = Described::new(server.handle(), logs.clone(), warnings, settings.show_events);
    let port = Operations::new(
        described,
        metrics,
        secret.map(|secret| Adding::new(logs.usual.clone(), secret)),
    );
    let operations = operations.map(|(tcp, address)| {
        operations::serve(tcp, address, port.clone());
        address
    });
    greet(&settings, address, operations, &logs.usual).await?;
    loop {
        tokio::select! {
            () = &mut interrupted => break,
            Some(()) = reloads.next() => {
                reload_tokens(&admission, &server.handle());
                if let Some(certificate) = &certificate {
                    reload_certificate(certificate);
                }
            }
            error = server.ended() => {
                return Err(Failure::failed(format!("no more clients can connect: {error}")));
            }
        }
    }
    port.end();
    tracing::info!(connections = server.handle().connections(), "ending");
    let shutdown = server.shutdown(settings.drain).await;
    let (closed, cut) = (shutdown.closed, shutdown.cut);
    let events = logs.usual.count().await.map_err(Failure::because)?;
    tracing::info!(closed, cut, events, "ended: all that was confirmed is kept");
    Ok(())
}

/// Reads the tokens again. Users of whom one is not valid any more are shown out; with another they come back.
fn reload_tokens(admission: &Admission, server: &ServerHandle) {
    match admission.reload() {
        Ok(users) => {
            tracing::info!("the tokens were read again");
            for user in users {
                let count = server.close_user(&user, "a token was taken back");
                tracing::info!(user, count, "connections of a user are closed");
            }
        }
        Err(error) => tracing::error!(%error, "the tokens stay what they were"),
    }
}

fn reload_certificate(certificate: &Certificate) {
    match certificate.reload() {
        Ok(()) => tracing::info!("the certificate was read again"),
        Err(error) => tracing::error!(%error, "the certificate stays what it was"),
    }
}

/// What happens goes to standard error, and warnings to the status page, too.
fn trace(settings: &Settings, warnings: Warnings) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&settings.log_level).map_err(|error| {
        let level = &settings.log_level;
        Failure::usage(format!(
            "--log-level {level:?} is neither a level, as info or debug, nor a filter: {error}"
        ))
    })?;
    let written = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let written = match settings.log_format {
        LogFormat::Text => {
            let choice = anstream::AutoStream::choice(&io::stderr());
            written.with_ansi(choice != anstream::ColorChoice::Never).boxed()
        }
        LogFormat::Json => written.json().boxed(),
    };
    tracing_subscriber::registry().with(written.with_filter(filter)).with(warnings).init();
    Ok(())
}

/// The back end, and the secret that both tell each other.
fn backend(settings: &Settings) -> Result<Option<(Backend, String)>, Failure> {
    let app = settings.app.as_ref();
    let Some(backend) = app.and_then(|app| app.backend.as_ref()) else { return Ok(None) };
    let BackendSettings { url, secret_file, timeout, patience } = backend;
    let secret = match (secret_file, client::variable("LOGUX_SYNC_BACKEND_SECRET")?) {
        (Some(_), Some(_)) => {
            return Err(Failure::usage(
                "LOGUX_SYNC_BACKEND_SECRET is set beside --backend-secret-file; use one of them",
            ));
        }
        (Some(file), None) => {
            let text =
                std::fs::read_to_string(file).map_err(|error| cannot("read", file, &error))?;
            text.trim().to_owned()
        }
        (None, Some(text)) => text,
        (None, None) => {
            return Err(Failure::usage(
                "there is a --backend and no secret: give --backend-secret-file, or set LOGUX_SYNC_BACKEND_SECRET",
            ));
        }
    };
    Ok(Some((Backend::new(url, secret.clone(), *timeout, *patience)?, secret)))
}

fn admission(settings: &Settings, backend: Option<&Backend>) -> Result<Admission, Failure> {
    let admission = usual_admission(settings, backend)?;
    if settings.app.is_some() && admission.has_tenants() {
        return Err(Failure::usage(
            "tokens are for logs of their own (log=NAME), and there are channels or a --backend: an app has one log",
        ));
    }
    Ok(admission)
}

fn usual_admission(settings: &Settings, backend: Option<&Backend>) -> Result<Admission, Failure> {
    let text = client::variable("LOGUX_SYNC_TOKENS")?;
    match (&settings.tokens, &settings.token_command, text) {
        (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => Err(Failure::usage(
            "LOGUX_SYNC_TOKENS is set beside --tokens or --token-command; use one of them",
        )),
        (Some(file), _, None) => Admission::of_file(file),
        (None, Some(program), None) => Ok(Admission::of_program(program.clone())),
        (None, None, Some(text)) => Admission::of_text(&text),
        (None, None, None) => Ok(match backend {
            Some(backend) if !settings.allow_everyone => Admission::Backend(backend.clone()),
            _ => Admission::Everyone {
                origins: settings.origins.clone().into(),
                from_anywhere: settings.allow_everyone,
            },
        }),
    }
}

fn listener_options(
    settings: &Settings,
    certificate: Option<&Certificate>,
) -> Result<ListenerOptions, Failure> {
    let mut options = ListenerOptions::new();
    if let Some(certificate) = certificate {
        options = options.tls(certificate.tls.clone());
    }
    if !settings.origins.is_empty() {
        options = options.origins(settings.origins.clone());
    }
    if !settings.trusted_proxies.is_empty() {
        let how = match settings.forwarding {
            Forwarded::XForwardedFor => Forwarding::XForwardedFor,
            Forwarded::Standard => Forwarding::Forwarded,
            Forwarded::ProxyProtocol => Forwarding::ProxyProtocol,
        };
        options = options
            .trusted_proxies(&settings.trusted_proxies, how)
            .map_err(|error| Failure::usage(format!("--trusted-proxy: {error}")))?;
    }
    if let Some(count) = settings.max_per_address {
        options = options.max_links_per_address(count);
    }
    Ok(options)
}

async fn bind(address: &str, option: &str) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = match TcpListener::bind(address).await {
        Ok(tcp) => tcp.local_addr().map(|address| (tcp, address)),
        Err(error) => Err(error),
    };
    bound.map_err(|error| cannot_listen(option, address, &error))
}

fn cannot_listen(option: &str, address: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::AddrInUse => Failure::failed(format!(
            "the port of {address} is taken by another program: end that one, or choose another by {option}"
        )),
        io::ErrorKind::PermissionDenied => Failure::failed(format!(
            "this user may not listen at {address}: choose a port above 1023 by {option}"
        )),
        io::ErrorKind::InvalidInput => Failure::usage(format!(
            "{option} {address:?} is not an address such as 127.0.0.1:31337: {error}"
        )),
        _ => Failure::failed(format!("cannot listen at {option} {address}: {error}")),
    }
}

/// A server that keeps logs in step, or one that is an app.
enum Running {
    Server(RunningServer),
    App(RunningApp),
}

impl Running {
    fn handle(&self) -> ServerHandle {
        match self {
            Self::Server(server) => server.handle(),
            Self::App(app) => ServerHandle::clone(app),
        }
    }

    /// Why the listener fails, once it does.
    async fn ended(&mut self) -> io::Error {
        match self {
            Self::Server(server) => server.ended().await,
            Self::App(app) => app.ended().await,
        }
    }

    async fn shutdown(self, grace: Duration) -> Shutdown {
        match self {
            Self::Server(server) => server.shutdown(grace).await,
            Self::App(app) => app.shutdown(grace).await,
        }
    }
}

fn wrong_app(error: &AppError) -> Failure {
    Failure::usage(format!("in the configuration file, of its channels or events: {error}"))
}

fn server(
    logs: &Logs,
    listener: HttpListener,
    settings: &Settings,
    admission: Admission,
    app: Option<App>,
) -> Result<Running, Failure> {
    if settings.binary_clients {
        let codecs = (LoguxBinary::default(), Json, MessagePack, Xml);
        return start(logs, codecs, listener, settings, admission, app);
    }
    start(logs, (Json, MessagePack, Xml), listener, settings, admission, app)
}

fn start<C: Codecs, L: Listener>(
    logs: &Logs,
    codecs: C,
    listener: L,
    settings: &Settings,
    admission: Admission,
    app: Option<App>,
) -> Result<Running, Failure> {
    let mut options = SyncOptions::new();
    if let Some(events) = settings.events_per_second {
        options = options.quota(Quota::default().events(events.into()));
    }
    if let Some(app) = app {
        if let Some(AppSettings { backend: Some(backend), .. }) = &settings.app {
            // The back end has limits of its own, and a moment for what else a client that connects has to wait for.
            options = options.callback_timeout(None);
            options = options.admission_timeout(backend.timeout + Duration::from_secs(5));
        }
        let mut app = app.options(options);
        if let Some(count) = settings.max_connections {
            app = app.max_connections(count);
        }
        let running = app.serve(&logs.usual, codecs, listener);
        return running.map(Running::App).map_err(|error| wrong_app(&error));
    }
    let at_door = logs.clone();
    options = options.auth(move |login| admission.clone().ask(login, at_door.clone()));
    let mut server = Server::new(&logs.usual, codecs, listener).options(options);
    if let Some(count) = settings.max_connections {
        server = server.max_connections(count);
    }
    Ok(Running::Server(server.start()))
}

/// Tells a person that it runs, and how to go on.
async fn greet(
    settings: &Settings,
    address: SocketAddr,
    operations: Option<SocketAddr>,
    log: &Log<Value>,
) -> Result<(), Failure> {
    let events = log.count().await.map_err(Failure::because)?;
    let (node, scheme) = (log.node_id(), if settings.certificate.is_some() { "wss" } else { "ws" });
    let store = match &settings.store {
        Place::Memory => "in memory".to_owned(),
        Place::Sqlite(path) => format!("in {}", path.display()),
    };
    let state = operations.map(tracing::field::display);
    tracing::info!(%address, %node, events, operations = state, "serving");
    if settings.log_format == LogFormat::Json {
        return Ok(());
    }
    let url = format!("{scheme}://{}", reachable(address));
    eprintln!("serving at {url}, {events} events {store}; Ctrl-C ends it");
    if let Some(operations) = operations {
        eprintln!("its state is at http://{}", reachable(operations));
    }
    Ok(())
}

/// The address as this machine reaches it.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
