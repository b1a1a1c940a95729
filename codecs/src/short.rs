//! A text that takes no memory.

use std::fmt::{self, Write};

/// A text of a few bytes, as it is shown.
#[derive(Default)]
pub(crate) struct Short {
    bytes: [u8; Self::MAX],
    length: usize,
}

impl Short {
    const MAX: usize = 32;

    /// The text that is shown, if it has room.
    pub(crate) fn of(shown: fmt::Arguments<'_>) -> Option<Self> {
        let mut short = Self::default();
        short.write_fmt(shown).is_ok().then_some(short)
    }

    pub(crate) fn as_str(&self) -> &str {
        // Only whole texts were written.
        str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl Write for Short {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.length + part.len();
        let place = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(part.as_bytes());
        self.length = end;
        Ok(())
    }
}
