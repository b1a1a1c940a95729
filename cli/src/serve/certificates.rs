//! The server's certificate, from files that may be replaced.

use std::fs;
use std::path::{Path, PathBuf};

use logux_sync::TlsServer;

use crate::failure::Failure;
use crate::store::cannot;

/// A certificate and the files that it comes from.
pub(super) struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    pub(super) tls: TlsServer,
}

impl Certificate {
    pub(super) fn read(chain: PathBuf, key: PathBuf) -> Result<Self, Failure> {
        let (chain_text, key_text) = (read(&chain)?, read(&key)?);
        let tls =
            TlsServer::new(&chain_text, &key_text).map_err(|error| wrong(&chain, &key, &error))?;
        Ok(Self { chain, key, tls })
    }

    /// Takes the files as they are now for new connections. Files that are wrong change nothing.
    pub(super) fn reload(&self) -> Result<(), Failure> {
        let (chain, key) = (read(&self.chain)?, read(&self.key)?);
        self.tls.reload(&chain, &key).map_err(|error| wrong(&self.chain, &self.key, &error))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| cannot("read", path, &error))
}

fn wrong(chain: &Path, key: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!(
        "the certificate {} and the key {}: {error}",
        chain.display(),
        key.display()
    ))
}
