//! The file behind the options: what an option or the environment does not say, it says.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::client::ClientConfiguration;
use crate::failure::Failure;
use crate::serve::ServeOptions;

/// The file of the working folder that is read where none is named.
const DEFAULT_FILE: &str = "logux-sync.toml";

/// What a configuration file says. The names are those of the options.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Configuration {
    #[serde(default)]
    pub(crate) serve: ServeOptions,
    #[serde(default)]
    pub(crate) client: ClientConfiguration,
}

impl Configuration {
    /// Reads the named file, or for a server that of the working folder if it is there: a client in a folder of
    /// somebody else's would otherwise tell its token to whom that file says.
    pub(crate) fn read(named: Option<&Path>, serves: bool) -> Result<Self, Failure> {
        if named.is_none() && !serves {
            return Ok(Self::default());
        }
        let path = named.map_or_else(|| PathBuf::from(DEFAULT_FILE), Path::to_owned);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                let path = path.display();
                return Err(Failure::usage(format!(
                    "cannot read the configuration {path}: {error}"
                )));
            }
        };
        toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            let message = error.message().replace('\n', " ");
            Failure::usage(format!("{}, line {line}: {message}", path.display()))
        })
    }
}
