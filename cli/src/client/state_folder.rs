//! What a command keeps on this machine: the name of this client, and what a server has not confirmed yet.
//!
//! The folder has one of its own for each server and user. In it, a command takes the first seat that no other process
//! has: two that run at once have different names, and names are used again, so that a server does not
//! get to know a new node each time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use logux_sync::{Log, LogOptions, NodeId, Value};

use super::Target;
use crate::failure::Failure;
use crate::store::{self, cannot};

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
    pub(crate) async fn open(target: &Target, options: LogOptions<Value>) -> Result<Self, Failure> {
        let folder = folder(target)?;
        let (number, seat) = seat_in(&folder, target, "add")?;
        let path = folder.join(format!("add-{number}.db"));
        let node = seat.node.clone();
        let log = store::open_file(&path, || Ok(node), options).await?;
        Ok(Self { log, _seat: seat })
    }
}

/// A name for a node that keeps nothing.
pub(crate) fn seat(target: &Target, command: &str) -> Result<Seat, Failure> {
    Ok(seat_in(&folder(target)?, target, command)?.1)
}

fn seat_in(folder: &Path, target: &Target, command: &str) -> Result<(u32, Seat), Failure> {
    const SEATS: u32 = 1_000;

    let client = client_name(folder)?;
    for number in 1..=SEATS {
        let path = folder.join(format!("{command}-{number}.lock"));
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let file = opened.map_err(|error| cannot("write", &path, &error))?;
        match file.try_lock() {
            Ok(()) => {
                let node = store::node_id(&format!("{}:{client}:{command}-{number}", target.user))?;
                return Ok((number, Seat { node, _lock: file }));
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(cannot("lock", &path, &error)),
        }
    }
    Err(Failure::failed(format!(
        "{SEATS} commands `{command}` to this server run at once; wait for one of them"
    )))
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
    fs::create_dir_all(&folder).map_err(|error| cannot("make the folder", &folder, &error))?;
    Ok(folder)
}

/// Letters, digits, dots and dashes of a text, and what else it has as numbers: two texts have two names.
fn as_file_name(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    let name = text.bytes().map(|byte| match byte {
        byte if is_plain(byte) => char::from(byte).to_string(),
        byte => format!("_{byte:02x}"),
    });
    // Dots alone are names of other folders.
    let name: String = name.collect();
    if name.bytes().all(|byte| byte == b'.') { format!("_{name}") } else { name }
}
