//! Texts, eight bytes at a time: most keys and many texts are short, where a loop over bytes costs more
//! than all else that is done with them.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x80 * ONES;
/// What stands for bytes that are not there: letters, which nobody escapes.
const LETTERS: u64 = b'a' as u64 * ONES;

/// Fewer than eight bytes as a number, the first the highest; zeros stand for those that are not there.
#[inline]
fn padded(bytes: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // They may overlap, in the same bytes.
        let (first, last) = (u32::from_be_bytes(*first), u32::from_be_bytes(*last));
        return u64::from(first) << 32 | u64::from(last) << (64 - 8 * bytes.len());
    }
    bytes.iter().rev().fold(0, |number, byte| u64::from(*byte) << 56 | number >> 8)
}

/// The first eight bytes of a text.
#[inline]
pub(crate) fn start(text: &str) -> u64 {
    first_of(text.as_bytes())
}

/// The first eight of some bytes.
#[inline]
pub(crate) fn first_of(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => padded(bytes),
    }
}

/// Whether JSON escapes a byte of the text.
#[inline]
pub(crate) fn escapes_some(text: &str) -> bool {
    escapes_some_from(text, start(text))
}

/// The same of a text whose [`start`] is known.
#[inline]
pub(crate) fn escapes_some_from(text: &str, start: u64) -> bool {
    let bytes = text.as_bytes();
    let found = match bytes.last_chunk::<8>() {
        // The last eight may overlap with those before.
        Some(last) if bytes.len() > 8 => {
            let (words, _) = bytes.as_chunks::<8>();
            let found =
                words.iter().fold(0, |found, word| found | escaped(u64::from_be_bytes(*word)));
            found | escaped(u64::from_be_bytes(*last))
        }
        Some(_) => escaped(start),
        None => escaped(start | LETTERS >> (8 * bytes.len())),
    };
    found != 0
}

/// Zero, unless one of the eight bytes is a control character, a quote or a backslash.
#[inline]
const fn escaped(word: u64) -> u64 {
    let control = word.wrapping_sub(b' ' as u64 * ONES) & !word;
    (control | zero(word ^ (b'"' as u64 * ONES)) | zero(word ^ (b'\\' as u64 * ONES))) & HIGHS
}

/// The high bit of the first byte that is zero, at least.
#[inline]
const fn zero(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_the_order_of_the_texts() {
        let texts = [
            "", "a", "aa", "ab", "abc", "abcd", "abcde", "abcdef", "abcdefg", "abcdefgh", "b", "é",
        ];
        for (before, after) in texts.iter().zip(&texts[1..]) {
            assert!(start(before) < start(after), "{before} {after}");
        }
    }

    #[test]
    fn each_escaped_byte_is_found_at_each_place_and_no_other() {
        for byte in 0..=0x7f_u8 {
            let is_escaped = serde_json::to_string(&char::from(byte)).unwrap().len() > 3;
            for length in 1..20 {
                for place in 0..length {
                    let mut text = "é".repeat(10).into_bytes();
                    text.truncate(length / 2 * 2);
                    text.resize(length, b'z');
                    if place > 0 && text[place - 1] == 0xc3 || text[place] == 0xc3 {
                        text = vec![b'~'; length];
                    }
                    text[place] = byte;
                    let text = String::from_utf8(text).unwrap();
                    assert_eq!(escapes_some(&text), is_escaped, "{text:?}");
                }
            }
        }
        assert!(!escapes_some(""));
    }
}
