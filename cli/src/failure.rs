//! What a person is told when a command fails, and the exit codes.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use anstream::eprintln;
use anstyle::{AnsiColor, Style};

/// Why a command failed. Its text is one line: what is wrong, with the value, and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    text: String,
}

/// The exit codes. They are a promise to scripts: `logux-sync --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something of this machine failed: a file, a disk, a port.
    Failed = 1,
    /// The arguments or the configuration are wrong. Nothing was done.
    Usage = 2,
    /// The server was not reached, or did not confirm in time. What was added is kept.
    NotConfirmed = 3,
    /// The server refused the credentials or an event.
    Refused = 4,
    /// A log is damaged.
    Damaged = 5,
}

impl Failure {
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::new(Kind::Failed, text)
    }

    /// An error of this machine, with its causes.
    pub(crate) fn because(error: impl Error + 'static) -> Self {
        Self::failed(with_causes(&error))
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(Kind::Usage, text)
    }

    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// The same, with another exit code.
    pub(crate) fn with(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// The same, with more to say.
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.text.push_str(more);
        self
    }

    /// Tells the person, and answers the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        eprintln!("{red}error:{red:#} {self}");
        ExitCode::from(self.kind as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An error and its causes, in one line.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let of_it = error.to_string();
        if !text.ends_with(&of_it) {
            text = format!("{text}: {of_it}");
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}
