//! What a command keeps on this machine: the name of this client, and what a server has not confirmed yet.
//!
//! The folder has one of its own for each server and user. In it, a command takes the first seat that no other process
//! has: two that run at once have different names, and names are used again, so that a server does not
//! get to know a new node each time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use logux_sync::{Added, Entry, Log, LogOptions, NodeId, Value};

use super::Target;
use crate::failure::Failure;
use crate::store::{self, cannot};

/// So many commands of a kind run at once, at most.
const SEATS: u32 = 1_000;

/// The command that keeps events.
const COMMAND: &str = "add";

/// A name for a node of this client, which no other process has as long as this is kept.
pub(crate) struct Seat {
    pub(crate) node: NodeId,
    _lock: File,
}

/// A durable log for what a server has not confirmed yet.
pub(crate) struct Outbox {
    pub(crate) log: Log<Value>,
    _seat: Seat,
}

impl Outbox {
    /// One that no other process has.
    pub(crate) async fn open(target: &Target, options: LogOptions<Value>) -> Result<Self, Failure> {
        let folder = folder(target)?;
        let (number, seat) = seat_in(&folder, target, COMMAND)?;
        Self::at(&folder, number, seat, options).await
    }

    /// Those that no other process has now, and in which something was kept.
    pub(crate) async fn others(
        &self,
        target: &Target,
        options: impl Fn() -> LogOptions<Value>,
    ) -> Result<Vec<Self>, Failure> {
        let folder = folder(target)?;
        let mut others = Vec::new();
        for number in 1..=SEATS {
            if !log_at(&folder, number).exists() {
                break;
            }
            let Some(seat) = take(&folder, target, COMMAND, number)? else { continue };
            let other = Self::at(&folder, number, seat, options()).await?;
            if !other.kept().await?.is_empty() {
                others.push(other);
            }
        }
        Ok(others)
    }

    async fn at(
        folder: &Path,
        number: u32,
        seat: Seat,
        options: LogOptions<Value>,
    ) -> Result<Self, Failure> {
        let node = seat.node.clone();
        let log = store::open_file(&log_at(folder, number), || Ok(node), options).await?;
        Ok(Self { log, _seat: seat })
    }

    /// What an earlier command could not send.
    pub(crate) async fn kept(&self) -> Result<Vec<Arc<Entry<Value>>>, Failure> {
        let kept = self.log.entries_after(Added::ZERO, usize::MAX).await;
        kept.map_err(Failure::because)
    }
}

fn log_at(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{COMMAND}-{number}.db"))
}

/// A name for a node that keeps nothing.
pub(crate) fn seat(target: &Target, command: &str) -> Result<Seat, Failure> {
    Ok(seat_in(&folder(target)?, target, command)?.1)
}

/// The first seat that is free.
fn seat_in(folder: &Path, target: &Target, command: &str) -> Result<(u32, Seat), Failure> {
    for number in 1..=SEATS {
        if let Some(seat) = take(folder, target, command, number)? {
            return Ok((number, seat));
        }
    }
    Err(Failure::failed(format!(
        "{SEATS} commands `{command}` to this server run at once; wait for one of them"
    )))
}

/// A seat, unless another process has it.
fn take(
    folder: &Path,
    target: &Target,
    command: &str,
    number: u32,
) -> Result<Option<Seat>, Failure> {
    let path = folder.join(format!("{command}-{number}.lock"));
    let opened = OpenOptions::new().create(true).append(true).open(&path);
    let file = opened.map_err(|error| cannot("write", &path, &error))?;
    match file.try_lock() {
        Ok(()) => {
            let client = client_name(folder)?;
            let node = store::node_id(&format!("{}:{client}:{command}-{number}", target.user))?;
            Ok(Some(Seat { node, _lock: file }))
        }
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(cannot("lock", &path, &error)),
    }
}

/// The name of this client at this server, made once.
fn client_name(folder: &Path) -> Result<String, Failure> {
    let path = folder.join("client");
    loop {
        match fs::read_to_string(&path) {
            Ok(name) => return Ok(name.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot("read", &path, &error)),
        }
        match store::write_new(&path, &store::random_name()?) {
            Ok(()) => {}
            // Another process was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(cannot("write", &path, &error)),
        }
    }
}

fn folder(target: &Target) -> Result<PathBuf, Failure> {
    let variable =
        |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = variable("LOGUX_SYNC_STATE")
        .or_else(|| variable("XDG_STATE_HOME").map(|state| state.join("logux-sync")))
        .or_else(|| variable("HOME").map(|home| home.join(".local/state/logux-sync")))
        .or_else(|| variable("LOCALAPPDATA").map(|data| data.join("logux-sync")))
        .ok_or_else(|| {
            Failure::usage("it is not known where to keep files: set LOGUX_SYNC_STATE to a folder")
        })?;
    let folder = state.join(as_file_name(&target.url)).join(as_file_name(&target.user));
    // What was not confirmed yet is for this user alone.
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&folder).map_err(|error| cannot("make the folder", &folder, &error))?;
    Ok(folder)
}

/// Letters, digits, dots and dashes of a text, and what else it has as numbers: two texts have two names.
fn as_file_name(text: &str) -> String {
    text.bytes().enumerate().fold(String::new(), |name, (index, byte)| match byte {
        // A dot in front makes names of other folders.
        b'.' if index == 0 => name + "_2e",
        b'.' | b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
            name + &char::from(byte).to_string()
        }
        _ => format!("{name}_{byte:02x}"),
    })
}
