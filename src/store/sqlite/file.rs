//! The file of a database: where it is, and that nobody else writes to it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::error::OpenError;

/// The path of a file, by no other name: without links, and wherever the process is later.
pub(super) fn real(path: &Path) -> Result<PathBuf, OpenError> {
    let not_found = |error| OpenError::Folder(path.to_owned(), error);
    if let Ok(real) = path.canonicalize() {
        return Ok(real);
    }
    let absolute = std::path::absolute(path).map_err(not_found)?;
    let (Some(folder), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(not_found(std::io::ErrorKind::IsADirectory.into()));
    };
    Ok(folder.canonicalize().map_err(not_found)?.join(name))
}

/// Keeps out other programs that want to write.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = File::options().create(true).truncate(false).write(true).open(&name);
    let file = file.map_err(|error| OpenError::LockFile(name.clone(), error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(name)),
        Err(TryLockError::Error(error)) => Err(OpenError::LockFile(name, error)),
    }
}
