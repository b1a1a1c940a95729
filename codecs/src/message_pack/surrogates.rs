//! Half an emoji in MessagePack: `@msgpack/msgpack` writes a surrogate that stands alone in a text of
//! JavaScript as three bytes, which are not UTF-8.
//!
//! As in JSON, it is read as U+FFFD, and only a frame that was refused is looked through.

/// The frame with U+FFFD for each surrogate in a text; nothing where there is none.
///
/// Goes from one marker to the next: what lies in what does not matter.
#[cold]
pub(super) fn mend(frame: &[u8]) -> Option<Vec<u8>> {
    let mut mended = None;
    let mut place = 0;
    while let Some(Token { start, length, is_text }) = token(frame, place) {
        place = start + length;
        if !is_text {
            continue;
        }
        let text = &frame[start..place];
        for (index, _) in text.windows(3).enumerate().filter(|(_, bytes)| is_surrogate(bytes)) {
            let mended = mended.get_or_insert_with(|| frame.to_vec());
            mended[start + index..][..3].copy_from_slice("\u{FFFD}".as_bytes());
        }
    }
    mended
}

/// What UTF-8 would be for U+D800 to U+DFFF. Its first byte is no later byte of a character.
fn is_surrogate(bytes: &[u8]) -> bool {
    matches!(bytes, [0xed, 0xa0..=0xbf, 0x80..=0xbf])
}

/// What follows a marker, which lies in the frame.
struct Token {
    start: usize,
    length: usize,
    is_text: bool,
}

/// Reads the marker at `place`, and the length after it. Source: the MessagePack specification,
/// Formats.
fn token(frame: &[u8], place: usize) -> Option<Token> {
    let marker = *frame.get(place)?;
    let counted = |bytes: usize, more: usize| {
        let digits = frame.get(place + 1..place + 1 + bytes)?;
        let length = digits.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
        Some((bytes, length.checked_add(more)?))
    };
    let (before, length) = match marker {
        0xa0..=0xbf => (0, usize::from(marker & 0x1f)),
        // Texts and bytes have a length; that of an extension does not count its type.
        0xc4 | 0xd9 => counted(1, 0)?,
        0xc5 | 0xda => counted(2, 0)?,
        0xc6 | 0xdb => counted(4, 0)?,
        0xc7 => counted(1, 1)?,
        0xc8 => counted(2, 1)?,
        0xc9 => counted(4, 1)?,
        0xcc | 0xd0 => (0, 1),
        // Numbers, and how many items an array or a map has.
        0xcd | 0xd1 | 0xdc | 0xde => (0, 2),
        0xca | 0xce | 0xd2 | 0xdd | 0xdf => (0, 4),
        0xcb | 0xcf | 0xd3 => (0, 8),
        0xd4..=0xd8 => (0, 1 + (1 << (marker - 0xd4))),
        _ => (0, 0),
    };
    let start = place + 1 + before;
    frame.get(start..)?.get(..length)?;
    Some(Token { start, length, is_text: matches!(marker, 0xa0..=0xbf | 0xd9..=0xdb) })
}
