//! Half an emoji in JSON: a text of JavaScript can hold one of two surrogates alone, which no text of
//! Rust can, and `JSON.stringify` writes it as `\ud83d`.
//!
//! It is read as U+FFFD, which is what JavaScript itself makes of it in UTF-8. `serde_json` refuses
//! it, so a JSON that was refused is looked through, and read again where that was the reason: only
//! such a frame pays for it.

/// The JSON with U+FFFD for each surrogate that stands alone; nothing where there is none.
#[cold]
pub(crate) fn mend(json: &str) -> Option<String> {
    let bytes = json.as_bytes();
    let mut mended = None;
    let mut place = 0;
    // Valid JSON has backslashes in its texts only.
    while let Some(next) = bytes[place..].iter().position(|byte| *byte == b'\\') {
        place += next;
        let escape = &bytes[place..];
        place += match code_unit(escape) {
            Some(0xD800..=0xDBFF)
                if matches!(code_unit(&escape[ESCAPE..]), Some(0xDC00..=0xDFFF)) =>
            {
                2 * ESCAPE
            }
            Some(0xD800..=0xDFFF) => {
                let mended = mended.get_or_insert_with(|| bytes.to_vec());
                mended[place..place + ESCAPE].copy_from_slice(br"\ufffd");
                ESCAPE
            }
            // The character after the backslash may be one itself.
            _ => 2.min(escape.len()),
        };
    }
    String::from_utf8(mended?).ok()
}

/// The length of `\ud83d`.
const ESCAPE: usize = 6;

/// What `\u` and four digits stand for, at the start of the text.
fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.get(..ESCAPE)?.strip_prefix(br"\u")?;
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}
