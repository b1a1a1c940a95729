//! Standard output, whose reader may leave.

use std::io::{ErrorKind, Write};

use crate::failure::Failure;

/// Writes to standard output, at once. A reader that has left, as `head` does, ends the program without a word.
pub(crate) fn write_all(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = anstream::AutoStream::auto(std::io::stdout());
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::failed(format!("standard output cannot be written: {error}"))),
    }
}

pub(crate) fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    write_all(format!("{}\n", text.as_ref()).as_bytes())
}
