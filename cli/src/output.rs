//! Standard output, whose reader may leave.

use std::io::{self, ErrorKind, Write};

use crate::failure::Failure;

/// Whether somebody still reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    IsThere,
    HasLeft,
}

/// A line for a person, with colours on a terminal. A reader that has left, as `head` does, ends the program.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    end_without_reader(write(&mut anstream::stdout(), &format!("{text}\n"))?);
    Ok(())
}

/// A line for a program, as it is. A reader that has left ends the program.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    end_without_reader(write(&mut io::stdout(), &format!("{text}\n"))?);
    Ok(())
}

/// A line for a person or for a program, of a command that has more to do than to write.
pub(crate) fn tell(text: &str) -> Result<Reader, Failure> {
    write(&mut io::stdout(), &format!("{text}\n"))
}

/// A text that is written as it is.
pub(crate) fn whole(text: &[u8]) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(text);
    end_without_reader(write(&mut io::stdout(), &text)?);
    Ok(())
}

fn write(output: &mut impl Write, text: &str) -> Result<Reader, Failure> {
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(Reader::IsThere),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::HasLeft),
        Err(error) => Err(Failure::failed(format!("standard output cannot be written: {error}"))),
    }
}

fn end_without_reader(reader: Reader) {
    if reader == Reader::HasLeft {
        std::process::exit(0);
    }
}
