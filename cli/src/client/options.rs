//! Which server, as whom, in which codec.

use std::env::VarError;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::transport::AnyTransport;
use crate::failure::Failure;
use crate::store::cannot;

const DEFAULT_URL: &str = "ws://127.0.0.1:31337";

#[derive(Clone, Debug, Args)]
pub(crate) struct ServerOptions {
    /// The server: ws://, wss://, or http:// and https:// for long-poll [default: ws://127.0.0.1:31337]
    #[arg(long, value_name = "URL", env = "LOGUX_SYNC_SERVER")]
    server: Option<String>,
    #[command(flatten)]
    credentials: Credentials,
}

/// As whom, and how, without where.
#[derive(Clone, Debug, Args)]
pub(crate) struct Credentials {
    /// The user whose events these are [default: that of this machine]
    #[arg(long, value_name = "NAME", env = "LOGUX_SYNC_USER", help_heading = "Server")]
    user: Option<String>,
    /// A file with the user's token; or put the token into LOGUX_SYNC_TOKEN
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    token_file: Option<PathBuf>,
    /// How messages are written [default: json]
    #[arg(long, value_name = "CODEC", env = "LOGUX_SYNC_CODEC", help_heading = "Server")]
    codec: Option<CodecName>,
    /// A file with the certificates to trust, in PEM, instead of those that browsers trust
    #[arg(long, value_name = "FILE", env = "LOGUX_SYNC_ROOTS", help_heading = "Server")]
    roots: Option<PathBuf>,
}

/// The part `[client]` of the configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ClientConfiguration {
    server: Option<String>,
    user: Option<String>,
    token_file: Option<PathBuf>,
    codec: Option<CodecName>,
    roots: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CodecName {
    #[default]
    Json,
    MessagePack,
    Xml,
    LoguxBinary,
}

impl CodecName {
    /// As `--codec` has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::MessagePack => "message-pack",
            Self::Xml => "xml",
            Self::LoguxBinary => "logux-binary",
        }
    }
}

/// A server and how to reach it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) user: String,
    pub(crate) token: Option<String>,
    pub(crate) codec: CodecName,
    /// Certificates to trust, in PEM.
    pub(crate) roots: Option<Vec<u8>>,
}

impl ServerOptions {
    pub(crate) fn target(self, configuration: ClientConfiguration) -> Result<Target, Failure> {
        let url = self.server.or_else(|| configuration.server.clone());
        self.credentials.target(url.unwrap_or_else(|| DEFAULT_URL.to_owned()), configuration)
    }
}

impl Credentials {
    pub(crate) fn target(
        self,
        url: String,
        configuration: ClientConfiguration,
    ) -> Result<Target, Failure> {
        let read =
            |path: PathBuf| std::fs::read(&path).map_err(|error| cannot("read", &path, &error));
        let user = self.user.or(configuration.user).unwrap_or_else(user_of_machine);
        if user.is_empty() || user.contains(':') {
            return Err(Failure::usage(format!(
                "{user:?} cannot be the name of a user: it is not empty, and has no colon"
            )));
        }
        let of_file = |path: PathBuf| {
            let wrong =
                |_| Failure::usage(format!("{} is not a text with a token", path.display()));
            String::from_utf8(read(path.clone())?)
                .map(|token| token.trim().to_owned())
                .map_err(wrong)
        };
        let token = match (self.token_file, variable("LOGUX_SYNC_TOKEN")?) {
            (Some(path), _) => Some(of_file(path)?),
            (None, Some(token)) => Some(token),
            (None, None) => configuration.token_file.map(of_file).transpose()?,
        };
        let roots = self.roots.or(configuration.roots).map(read).transpose()?;
        let codec = self.codec.or(configuration.codec).unwrap_or_default();
        let target = Target { url, user, token, codec, roots };
        // Whatever is wrong with the address is said before anything is kept for it.
        AnyTransport::new(&target)?;
        Ok(target)
    }
}

/// A variable of the environment that is a secret. One that cannot be read is not one that is not there.
pub(crate) fn variable(name: &str) -> Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            Err(Failure::usage(format!("the variable {name} is not a text in UTF-8")))
        }
    }
}

/// The name of whoever runs this, if it can be a part of the name of a node.
pub(crate) fn user_of_machine() -> String {
    let name = std::env::var("USER").or_else(|_| std::env::var("USERNAME")).unwrap_or_default();
    let fits = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if fits { name } else { "shell".to_owned() }
}
