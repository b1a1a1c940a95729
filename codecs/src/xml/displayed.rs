//! Texts that are known only by how they are shown.

use std::fmt;

use serde::ser;

use super::error::XmlFault;

/// Appends a text that is known only by how it is shown, and then what `push` makes of it.
///
/// It is formatted into the frame, which allocates nothing where it can stay there.
pub(super) fn push_displayed<T: fmt::Display + ?Sized>(
    frame: &mut Vec<u8>,
    text: &T,
    push: impl FnOnce(&mut Vec<u8>, &str),
) -> Result<(), XmlFault> {
    let mut displayed = Displayed { buffer: [0; 64], used: 0, more: String::new() };
    fmt::write(&mut displayed, format_args!("{text}")).map_err(<XmlFault as ser::Error>::custom)?;
    push(frame, displayed.as_str());
    Ok(())
}

/// A text of some length on the stack, of any length behind it.
struct Displayed {
    buffer: [u8; 64],
    used: usize,
    /// All of the text, once it is too long.
    more: String,
}

impl Displayed {
    fn as_str(&self) -> &str {
        if self.more.is_empty() {
            std::str::from_utf8(&self.buffer[..self.used]).unwrap_or_default()
        } else {
            &self.more
        }
    }
}

impl fmt::Write for Displayed {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.used + part.len();
        if self.more.is_empty() {
            if let Some(room) = self.buffer.get_mut(self.used..end) {
                room.copy_from_slice(part.as_bytes());
                self.used = end;
                return Ok(());
            }
            self.more = self.as_str().to_owned();
        }
        self.more.push_str(part);
        Ok(())
    }
}
