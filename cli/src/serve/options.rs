//! The options of the server, each of which may be an argument, a variable of the environment or a line of
//! `[serve]` in the configuration file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use logux_sync::NodeId;
use serde::{Deserialize, Deserializer};

use super::app::{ChannelRule, EventRule};
use crate::failure::Failure;
use crate::store::{DEFAULT_LOG, Place, node_id};
use crate::times;

const AFTER_HELP: &str = "\
Examples:
  logux-sync serve
  logux-sync serve --address 0.0.0.0:443 --tokens tokens.txt --certificate chain.pem --key key.pem
  LOGUX_SYNC_TOKENS='anna secret' logux-sync serve --origin https://app.example

Each option can stand in the environment, as the brackets say ([env: LOGUX_SYNC_ADDRESS=]); LOGUX_SYNC_TOKENS has the
tokens themselves. Or in logux-sync.toml:
  [serve]
  address = \"127.0.0.1:31337\"
  store = \"sqlite:/var/lib/logux-sync/log.db\"
  tokens = \"/etc/logux-sync/tokens\"
  keep = \"90d\"

An argument counts before the environment, and that before the file.

A file of tokens has a line for each: the user, the token, `relay` for another server, which may bring the events
of all, and `log=NAME` for a client of a log of its own. SIGHUP reads it and the certificate again; SIGTERM ends in order.
Channels and back ends make an app of the server (docs/apps.md, docs/backend.md); channels stand in the file:
  [[serve.events]]
  type = \"notes/*\"
  allow = [\":user\"]                # of the user whom the event has under \"user\"
  channels = [\"notes/:user\"]
  [[serve.channels]]
  name = \"notes/:user\"
  allow = [\":user\", \"anna\"]

A token command is run for each client that connects. It reads a line of JSON with nodeId, userId, token, headers and
address, and writes one: {\"access\":\"client\"}, \"relay\" or \"nobody\", with \"expiresIn\" in seconds if it ends.";

/// Run a sync server that keeps its log on disk
///
/// Clients connect by WebSocket or HTTP long-poll on one port, in JSON, MessagePack or XML. Without tokens everyone on
/// this machine may connect, and nobody else.
#[derive(Debug, Default, Args, Deserialize)]
#[command(after_help = AFTER_HELP)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct ServeOptions {
    /// Where clients connect [default: 127.0.0.1:31337]
    #[arg(long, value_name = "HOST:PORT", env = "LOGUX_SYNC_ADDRESS")]
    address: Option<String>,
    /// Where the log is kept: sqlite:FILE, or memory until this program ends [default: sqlite:logux-sync.db]
    #[arg(long, value_name = "STORE", env = "LOGUX_SYNC_STORE")]
    store: Option<Place>,
    /// The name of this server's node, the first time that a log is used [default: server: and a random name]
    #[arg(long, value_name = "NAME", env = "LOGUX_SYNC_NODE")]
    node: Option<String>,
    /// Where health, metrics and the status page are, for this machine alone [default: 127.0.0.1:31338]
    #[arg(long, value_name = "HOST:PORT|none", env = "LOGUX_SYNC_OPERATIONS")]
    operations: Option<String>,
    /// Show events, and not only their types, on the status page
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", env = "LOGUX_SYNC_SHOW_EVENTS")]
    show_events: Option<bool>,

    /// A file of users and their tokens
    #[arg(
        long,
        value_name = "FILE",
        env = "LOGUX_SYNC_TOKENS_FILE",
        help_heading = "Who may connect"
    )]
    tokens: Option<PathBuf>,
    /// A program that is asked about each client
    #[arg(
        long,
        value_name = "PROGRAM",
        env = "LOGUX_SYNC_TOKEN_COMMAND",
        help_heading = "Who may connect"
    )]
    token_command: Option<PathBuf>,
    /// Let everyone in who can reach the address, as anyone they say they are
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", env = "LOGUX_SYNC_ALLOW_EVERYONE", help_heading = "Who may connect")]
    allow_everyone: Option<bool>,
    /// A site whose pages may connect; may be given several times
    #[arg(
        long = "origin",
        value_name = "URL",
        env = "LOGUX_SYNC_ORIGINS",
        value_delimiter = ',',
        help_heading = "Who may connect"
    )]
    #[serde(rename = "origins")]
    origins: Vec<String>,
    /// A proxy, or a network of them, that tells whom it speaks for; may be given several times
    #[arg(
        long = "trusted-proxy",
        value_name = "ADDRESS",
        env = "LOGUX_SYNC_TRUSTED_PROXIES",
        value_delimiter = ',',
        help_heading = "Who may connect"
    )]
    #[serde(rename = "trusted-proxies")]
    trusted_proxies: Vec<String>,
    /// How proxies tell it [default: x-forwarded-for]
    #[arg(
        long,
        value_name = "HOW",
        env = "LOGUX_SYNC_FORWARDING",
        help_heading = "Who may connect"
    )]
    forwarding: Option<Forwarded>,

    /// A program that is asked by HTTP who may connect, and what becomes of events for which the file has no rule
    #[arg(long, value_name = "URL", env = "LOGUX_SYNC_BACKEND", help_heading = "Apps")]
    backend: Option<String>,
    /// A file with the secret that this server and the back end tell each other; LOGUX_SYNC_BACKEND_SECRET has the secret itself
    #[arg(
        long,
        value_name = "FILE",
        env = "LOGUX_SYNC_BACKEND_SECRET_FILE",
        help_heading = "Apps"
    )]
    backend_secret_file: Option<PathBuf>,
    /// How long one request to the back end may take [default: 20s]
    #[arg(long, value_name = "TIME", value_parser = times::span, env = "LOGUX_SYNC_BACKEND_TIMEOUT", help_heading = "Apps")]
    #[serde(deserialize_with = "span")]
    backend_timeout: Option<Duration>,
    /// For how long an event is sent again to a back end that is not reached or fails in the middle, before it is undone [default: 1m]
    #[arg(long, value_name = "TIME", value_parser = times::span, env = "LOGUX_SYNC_BACKEND_PATIENCE", help_heading = "Apps")]
    #[serde(deserialize_with = "span")]
    backend_patience: Option<Duration>,
    /// Tell pages why their events are undone, and let @logux/client connect without TLS: not for what strangers use
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", env = "LOGUX_SYNC_DEVELOPMENT", help_heading = "Apps")]
    development: Option<bool>,
    /// Serve the log of an app without its channels: every client is sent all of it
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", env = "LOGUX_SYNC_SEND_EVERYTHING", help_heading = "Apps")]
    send_everything: Option<bool>,
    /// The channels that clients may subscribe to.
    #[arg(skip)]
    channels: Vec<ChannelRule>,
    /// The events that clients may add.
    #[arg(skip)]
    events: Vec<EventRule>,

    /// The server's certificate and those that lead to its root, in PEM
    #[arg(long, value_name = "FILE", env = "LOGUX_SYNC_CERTIFICATE", help_heading = "TLS")]
    certificate: Option<PathBuf>,
    /// The private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", env = "LOGUX_SYNC_KEY", help_heading = "TLS")]
    key: Option<PathBuf>,

    /// Also take clients in JavaScript that use WsBinaryConnection; those in JSON that name no format then share less work
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", env = "LOGUX_SYNC_BINARY_CLIENTS", help_heading = "Who may connect")]
    binary_clients: Option<bool>,

    /// How many clients may be connected [default: 10000]
    #[arg(
        long,
        value_name = "NUMBER",
        env = "LOGUX_SYNC_MAX_CONNECTIONS",
        help_heading = "Limits"
    )]
    max_connections: Option<usize>,
    /// How many connections one address may have [default: 1000]
    #[arg(
        long,
        value_name = "NUMBER",
        env = "LOGUX_SYNC_MAX_PER_ADDRESS",
        help_heading = "Limits"
    )]
    max_per_address: Option<usize>,
    /// How many events a second a client may add [default: 1000]
    #[arg(
        long,
        value_name = "NUMBER",
        env = "LOGUX_SYNC_EVENTS_PER_SECOND",
        help_heading = "Limits"
    )]
    events_per_second: Option<u32>,
    /// How many bytes an event may have [default: 262144]
    #[arg(long, value_name = "BYTES", env = "LOGUX_SYNC_MAX_EVENT", help_heading = "Limits")]
    max_event: Option<usize>,
    /// Take also events that JavaScript nodes cannot read
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", env = "LOGUX_SYNC_ANY_EVENT", help_heading = "Limits")]
    any_event: Option<bool>,
    /// Remove events that are older than this, such as 90d, once all clients that this server knows have them [default: never]
    #[arg(long, value_name = "TIME", value_parser = times::span, env = "LOGUX_SYNC_KEEP", help_heading = "Limits")]
    #[serde(deserialize_with = "span")]
    keep: Option<Duration>,
    /// How long the end may take before connections are cut [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = times::span, env = "LOGUX_SYNC_DRAIN", help_heading = "Limits")]
    #[serde(deserialize_with = "span")]
    drain: Option<Duration>,

    /// How what happens is written to standard error [default: text]
    #[arg(long, value_name = "FORM", env = "LOGUX_SYNC_LOG_FORMAT", help_heading = "Output")]
    log_format: Option<LogFormat>,
    /// What is written: error, warn, info, debug, trace, or a filter such as info,logux_sync=debug [default: info]
    #[arg(long, value_name = "LEVEL", env = "LOGUX_SYNC_LOG", help_heading = "Output")]
    log_level: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The header, or the protocol, by which a proxy tells whom it speaks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Forwarded {
    #[default]
    XForwardedFor,
    #[value(name = "forwarded")]
    #[serde(rename = "forwarded")]
    Standard,
    ProxyProtocol,
}

impl ServeOptions {
    /// What these do not say, the file says.
    pub(crate) fn over(self, file: Self) -> Self {
        // One of these takes the place of the other.
        let is_said = self.tokens.is_some() || self.token_command.is_some();
        let (of_file_tokens, of_file_command) =
            if is_said { (None, None) } else { (file.tokens, file.token_command) };
        let list = |mine: Vec<String>, its: Vec<String>| if mine.is_empty() { its } else { mine };
        Self {
            address: self.address.or(file.address),
            store: self.store.or(file.store),
            node: self.node.or(file.node),
            operations: self.operations.or(file.operations),
            show_events: self.show_events.or(file.show_events),
            tokens: self.tokens.or(of_file_tokens),
            token_command: self.token_command.or(of_file_command),
            allow_everyone: self.allow_everyone.or(file.allow_everyone),
            origins: list(self.origins, file.origins),
            trusted_proxies: list(self.trusted_proxies, file.trusted_proxies),
            forwarding: self.forwarding.or(file.forwarding),
            backend: self.backend.or(file.backend),
            backend_secret_file: self.backend_secret_file.or(file.backend_secret_file),
            backend_timeout: self.backend_timeout.or(file.backend_timeout),
            backend_patience: self.backend_patience.or(file.backend_patience),
            development: self.development.or(file.development),
            send_everything: self.send_everything.or(file.send_everything),
            // These are in no argument.
            channels: file.channels,
            events: file.events,
            certificate: self.certificate.or(file.certificate),
            key: self.key.or(file.key),
            binary_clients: self.binary_clients.or(file.binary_clients),
            max_connections: self.max_connections.or(file.max_connections),
            max_per_address: self.max_per_address.or(file.max_per_address),
            events_per_second: self.events_per_second.or(file.events_per_second),
            max_event: self.max_event.or(file.max_event),
            any_event: self.any_event.or(file.any_event),
            keep: self.keep.or(file.keep),
            drain: self.drain.or(file.drain),
            log_format: self.log_format.or(file.log_format),
            log_level: self.log_level.or(file.log_level),
        }
    }

    /// What is meant where nothing is said; a failure where things do not fit together.
    pub(super) fn settle(self) -> Result<Settings, Failure> {
        let origins = self.origins;
        let log_level = self.log_level.unwrap_or_else(|| "info".to_owned());
        let certificate = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Failure::usage("there is a --certificate and no --key; give both"));
            }
            (None, Some(_)) => {
                return Err(Failure::usage("there is a --key and no --certificate; give both"));
            }
        };
        let address = self.address.unwrap_or_else(|| "127.0.0.1:31337".to_owned());
        let operations = match self.operations.as_deref() {
            None => Some("127.0.0.1:31338".to_owned()),
            Some("none") => None,
            Some(address) => Some(address.to_owned()),
        };
        if self.tokens.is_some() && self.token_command.is_some() {
            return Err(Failure::usage(
                "there are --tokens and a --token-command; give one of them",
            ));
        }
        let has_backend = self.backend.is_some();
        let channels = self.channels.iter().map(|rule| rule.check(has_backend));
        let events = self.events.iter().map(|rule| rule.check(has_backend));
        let in_file = |what| Failure::usage(format!("in the configuration file, {what}"));
        channels.chain(events).collect::<Result<(), _>>().map_err(in_file)?;
        let of_apps = [
            ("--backend-secret-file", self.backend_secret_file.is_some()),
            ("--backend-timeout", self.backend_timeout.is_some()),
            ("--backend-patience", self.backend_patience.is_some()),
        ];
        let is_app = has_backend || !self.channels.is_empty() || !self.events.is_empty();
        let without = of_apps.iter().find(|(_, is_said)| *is_said && !has_backend);
        let without = without.map(|(option, _)| (*option, "no --backend"));
        let without = without.or_else(|| {
            let is_said = self.development.is_some() && !is_app;
            is_said.then_some(("--development", "neither channels nor a --backend"))
        });
        if let Some((option, what)) = without {
            return Err(Failure::usage(format!("there is {option}, and {what} that it is for")));
        }
        let app = is_app.then(|| AppSettings {
            channels: self.channels,
            events: self.events,
            backend: self.backend.map(|url| BackendSettings {
                url,
                secret_file: self.backend_secret_file,
                timeout: self.backend_timeout.unwrap_or(Duration::from_secs(20)),
                patience: self.backend_patience.unwrap_or(Duration::from_secs(60)),
            }),
            is_development: self.development.unwrap_or(false),
        });
        Ok(Settings {
            address,
            app,
            send_everything: self.send_everything.unwrap_or(false),
            store: self.store.unwrap_or_else(|| Place::Sqlite(DEFAULT_LOG.into())),
            node: self.node.as_deref().map(node_id).transpose()?,
            operations,
            show_events: self.show_events.unwrap_or(false),
            tokens: self.tokens,
            token_command: self.token_command,
            allow_everyone: self.allow_everyone.unwrap_or(false),
            origins,
            trusted_proxies: self.trusted_proxies,
            forwarding: self.forwarding.unwrap_or_default(),
            certificate,
            binary_clients: self.binary_clients.unwrap_or(false),
            max_connections: self.max_connections,
            max_per_address: self.max_per_address,
            events_per_second: self.events_per_second,
            max_event: self.max_event,
            any_event: self.any_event.unwrap_or(false),
            keep: self.keep,
            drain: self.drain.unwrap_or(Duration::from_secs(10)),
            log_format: self.log_format.unwrap_or_default(),
            log_level,
        })
    }
}

/// What the server does, with nothing left open but the limits that the library knows better.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(super) struct Settings {
    pub(super) address: String,
    pub(super) store: Place,
    pub(super) node: Option<NodeId>,
    pub(super) operations: Option<String>,
    pub(super) show_events: bool,
    pub(super) tokens: Option<PathBuf>,
    pub(super) token_command: Option<PathBuf>,
    pub(super) allow_everyone: bool,
    pub(super) origins: Vec<String>,
    pub(super) trusted_proxies: Vec<String>,
    pub(super) forwarding: Forwarded,
    /// What makes an app of the server.
    pub(super) app: Option<AppSettings>,
    pub(super) send_everything: bool,
    /// The chain, and its key.
    pub(super) certificate: Option<(PathBuf, PathBuf)>,
    pub(super) binary_clients: bool,
    pub(super) max_connections: Option<usize>,
    pub(super) max_per_address: Option<usize>,
    pub(super) events_per_second: Option<u32>,
    pub(super) max_event: Option<usize>,
    pub(super) any_event: bool,
    pub(super) keep: Option<Duration>,
    pub(super) drain: Duration,
    pub(super) log_format: LogFormat,
    pub(super) log_level: String,
}

/// Channels, and who else is asked.
#[derive(Debug)]
pub(super) struct AppSettings {
    pub(super) channels: Vec<ChannelRule>,
    pub(super) events: Vec<EventRule>,
    pub(super) backend: Option<BackendSettings>,
    pub(super) is_development: bool,
}

/// The back end, and how long it is waited for.
#[derive(Debug)]
pub(super) struct BackendSettings {
    pub(super) url: String,
    pub(super) secret_file: Option<PathBuf>,
    pub(super) timeout: Duration,
    pub(super) patience: Duration,
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    times::span(&text).map(Some).map_err(serde::de::Error::custom)
}
