use std::fmt;

/// The name of a codec that is made from the name of another, while the program is compiled: at
/// most [`CodecName::MAX_BYTES`] bytes, all of an HTTP token (RFC 9110, 5.6.2).
///
/// For a codec around any other, whose [`Codec::NAME`](crate::Codec::NAME) can be no literal. A
/// name that is too long or has other characters stops the compiler.
///
/// ```
/// # #[cfg(feature = "json")] {
/// use logux_codecs::{Codec, CodecName, Json};
///
/// struct Deflate<C>(C);
///
/// impl<C: Codec> Deflate<C> {
///     // In `impl Codec` this is `const NAME`.
///     const NAME: &'static str = const { &CodecName::of(C::NAME).and("+deflate") }.as_str();
/// }
///
/// assert_eq!(Deflate::<Json>::NAME, "json+deflate");
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodecName {
    bytes: [u8; Self::MAX_BYTES],
    len: usize,
}

impl CodecName {
    /// How long a name may be, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Takes a name.
    ///
    /// # Panics
    /// Where the name is empty, has more than [`Self::MAX_BYTES`] bytes, or a character that is none
    /// of a token: a letter or digit of ASCII, or one of ``!#$%&'*+-.^_`|~``.
    pub const fn of(name: &str) -> Self {
        assert!(!name.is_empty(), "the name of a codec must not be empty");
        Self { bytes: [0; Self::MAX_BYTES], len: 0 }.and(name)
    }

    /// Appends to the name.
    ///
    /// # Panics
    /// Where the name becomes too long, or has a character that is none of a token: as
    /// [`Self::of`].
    pub const fn and(mut self, more: &str) -> Self {
        let more = more.as_bytes();
        assert!(
            more.len() <= Self::MAX_BYTES - self.len,
            "the name of a codec has at most 64 bytes"
        );
        // A const fn has no iterators.
        let mut index = 0;
        while index < more.len() {
            let byte = more[index];
            assert!(is_token(byte), "the name of a codec has a character that is none of a token");
            self.bytes[self.len] = byte;
            self.len += 1;
            index += 1;
        }
        self
    }

    /// The name as text.
    pub const fn as_str(&self) -> &str {
        match std::str::from_utf8(self.bytes.split_at(self.len).0) {
            Ok(name) => name,
            // Cannot happen: each byte is of a token, which is ASCII.
            Err(_) => "",
        }
    }
}

/// Source: RFC 9110, 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

impl fmt::Display for CodecName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Debug for CodecName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_parts() {
        assert_eq!(CodecName::of("json").and("+deflate").and("+x").as_str(), "json+deflate+x");
        let all = "!#$%&'*+-.^_`|~azAZ09";
        assert_eq!(CodecName::of(all).to_string(), all);
        let longest = "x".repeat(CodecName::MAX_BYTES);
        assert_eq!(CodecName::of(&longest).as_str(), longest);
        assert_eq!(CodecName::of(&longest).and("").as_str(), longest);
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let refused = |make: fn() -> CodecName| assert!(std::panic::catch_unwind(make).is_err());
        refused(|| CodecName::of(""));
        refused(|| CodecName::of("a b"));
        refused(|| CodecName::of("é"));
        refused(|| CodecName::of("a/b"));
        refused(|| CodecName::of("json").and("\n"));
        refused(|| CodecName::of(&"x".repeat(65)));
        refused(|| CodecName::of(&"x".repeat(64)).and("+"));
    }
}
