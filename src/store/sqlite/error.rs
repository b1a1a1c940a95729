use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::store::contract::StoreError;

/// Why a database was not opened. What was in it is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or this one, writes to it.
    #[error("the log is open elsewhere: {} is locked; end the other program first", .0.display())]
    Locked(PathBuf),
    /// It is a database of another program, or no database.
    #[error("the file is not a log, but something else; choose another path")]
    NotALog,
    /// A newer version of this library has written it.
    #[error(
        "the log was written by a newer version of logux-sync (schema {0}); update this program"
    )]
    Newer(i32),
    /// The database cannot keep a write-ahead log, as in a folder that may not be written to.
    #[error("SQLite keeps no write-ahead log here, but `{0}`; choose a folder on a local disk")]
    NoWal(String),
    /// The program is linked with an SQLite that can lose what was committed.
    #[error(
        "SQLite {0} can lose committed data; link 3.51.3 or later, as this library does by itself"
    )]
    OldSqlite(&'static str),
    /// After an error the file was opened again, and is not the one that it was: its folder is gone, or another
    /// program has written to it.
    #[error(
        "the log's file is not the one that was opened; end this program, and look who has changed it"
    )]
    Replaced,
    /// After an error it cannot be found out whether something was kept.
    #[error("it is not known whether the last events were kept, for the file is busy")]
    Unsure,
    /// The folder of the file cannot be found.
    #[error("the folder of {} cannot be found", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// The lock file cannot be made or opened.
    #[error("the lock file {} cannot be opened", .0.display())]
    LockFile(PathBuf, #[source] io::Error),
    /// The file, or the disk, may only be read.
    #[error("the file may not be written to")]
    ReadOnly,
    /// There can be no thread for it.
    #[error("a thread that writes cannot be started")]
    Thread(#[source] io::Error),
    /// SQLite failed.
    #[error("SQLite failed")]
    Sqlite(#[source] rusqlite::Error),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotALog,
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            _ => Self::Sqlite(error),
        }
    }
}

impl OpenError {
    /// Whether it is over soon, probably: another program reads or writes.
    fn is_busy(&self) -> bool {
        match self {
            Self::Unsure => true,
            Self::Sqlite(error) => is_busy(error),
            _ => false,
        }
    }
}

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy))
}

/// The one error of all that were to be committed together.
#[derive(Clone, Debug)]
pub(super) struct Failure(Arc<OpenError>);

impl Failure {
    pub(super) fn new(error: impl Into<OpenError>) -> Self {
        Self(Arc::new(error.into()))
    }

    pub(super) fn to_store_error(&self) -> StoreError {
        if self.0.is_busy() {
            StoreError::busy(self.clone())
        } else {
            StoreError::new(self.clone())
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
