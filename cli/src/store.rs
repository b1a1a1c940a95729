//! Where a log is kept: a file in SQLite, with the name of its node beside it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use logux_sync::{Log, LogOptions, MemoryStore, NodeId, OpenError, SqliteStore, Value};
use serde::Deserialize;

use crate::failure::{Failure, with_causes};

/// The log of a server that was told nothing else.
pub(crate) const DEFAULT_LOG: &str = "logux-sync.db";

/// Where a server keeps its log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Place {
    Memory,
    Sqlite(PathBuf),
}

impl Place {
    /// The log's file.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::Memory => None,
            Self::Sqlite(path) => Some(path),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            _ if text == "memory" => Ok(Self::Memory),
            Some(("sqlite", path)) if !path.is_empty() => {
                Ok(Self::Sqlite(path.strip_prefix("//").unwrap_or(path).into()))
            }
            Some((scheme, rest)) if rest.starts_with("//") => {
                Err(format!("there is no store for {scheme}://; write sqlite:FILE or memory"))
            }
            _ if text.is_empty() => Err("write sqlite:FILE or memory".to_owned()),
            _ => Ok(Self::Sqlite(text.into())),
        }
    }
}

impl TryFrom<String> for Place {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A log at a place; it is made if it is not there.
pub(crate) async fn open(
    place: &Place,
    node: impl FnOnce() -> Result<NodeId, Failure>,
    options: LogOptions<Value>,
) -> Result<Log<Value>, Failure> {
    match place {
        Place::Memory => {
            let opened = Log::open_with(node()?, Arc::new(MemoryStore::new()), options).await;
            opened.map_err(Failure::because)
        }
        Place::Sqlite(path) => open_file(path, node, options).await,
    }
}

/// A log in a file; it is made if it is not there. Its node is called as before, or as `node` says the first time.
pub(crate) async fn open_file(
    path: &Path,
    node: impl FnOnce() -> Result<NodeId, Failure>,
    options: LogOptions<Value>,
) -> Result<Log<Value>, Failure> {
    let store = store(path)?;
    // Only now: whoever has the file open elsewhere has its name, too.
    let node = name_beside(path, node)?;
    open_with(path, store, node, options).await
}

/// A log in a file that must be there, to be looked at. Its name is not made up where it is lost.
pub(crate) async fn open_present(path: &Path) -> Result<Log<Value>, Failure> {
    with_store(path, present(path)?).await
}

/// The store of a log that must be there.
pub(crate) fn present(path: &Path) -> Result<SqliteStore, Failure> {
    if fs::metadata(path).is_ok_and(|file| file.len() > 0) {
        return store(path);
    }
    let path = path.display();
    Err(Failure::failed(format!(
        "there is no log at {path}; say which file it is, or make one by `add --log {path}`"
    )))
}

/// The log of a store that was found at a path, to be looked at.
pub(crate) async fn with_store(path: &Path, store: SqliteStore) -> Result<Log<Value>, Failure> {
    let node = match kept_name(path)? {
        Some(node) => node,
        None => node_id(&format!("reader:{}", random_name()?))?,
    };
    open_with(path, store, node, LogOptions::new()).await
}

async fn open_with(
    path: &Path,
    store: SqliteStore,
    node: NodeId,
    options: LogOptions<Value>,
) -> Result<Log<Value>, Failure> {
    let opened = Log::open_with(node, Arc::new(store), options).await;
    opened.map_err(|error| Failure::failed(format!("{}: {}", path.display(), with_causes(&error))))
}

fn store(path: &Path) -> Result<SqliteStore, Failure> {
    SqliteStore::open(path).map_err(|error| match error {
        OpenError::Locked(_) => Failure::failed(format!(
            "{} is open in another program; end it first, or ask that program: \
             `logux-sync log show ws://127.0.0.1:31337`",
            path.display()
        )),
        error => Failure::failed(format!("{}: {}", path.display(), with_causes(&error))),
    })
}

/// The name of the log's node, which is kept in a file beside the log.
fn name_beside(
    path: &Path,
    node: impl FnOnce() -> Result<NodeId, Failure>,
) -> Result<NodeId, Failure> {
    if let Some(kept) = kept_name(path)? {
        return Ok(kept);
    }
    let (node, beside) = (node()?, beside(path));
    let written = write_new(&beside, &format!("{node}\n"));
    written.map_err(|error| cannot("write", &beside, &error))?;
    Ok(node)
}

/// The name that the log had before.
fn kept_name(path: &Path) -> Result<Option<NodeId>, Failure> {
    let beside = beside(path);
    match fs::read_to_string(&beside) {
        Ok(name) => name.trim().parse().map(Some).map_err(|_| {
            Failure::failed(format!(
                "{} does not hold the name of a node; write the name that the log had, or remove the file to \
                 give it a new one",
                beside.display()
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("read", &beside, &error)),
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".node");
    beside.into()
}

/// Writes a file whole or not at all, and no file that is there already.
pub(crate) fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    let written =
        OpenOptions::new().write(true).create_new(true).open(&unfinished).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    let linked = written.and_then(|()| fs::hard_link(&unfinished, path));
    let _ = fs::remove_file(&unfinished);
    linked
}

pub(crate) fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot {what} {}: {error}", path.display()))
}

/// Eight letters and digits that no other node has.
pub(crate) fn random_name() -> Result<String, Failure> {
    let mut bytes = [0; 5];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::failed(format!("this machine has no random numbers: {error}")))?;
    Ok(data_encoding::BASE32_NOPAD.encode(&bytes).to_lowercase())
}

pub(crate) fn node_id(text: &str) -> Result<NodeId, Failure> {
    text.parse().map_err(|error| {
        Failure::usage(format!("{text:?} cannot be the name of a node: {}", with_causes(&error)))
    })
}
