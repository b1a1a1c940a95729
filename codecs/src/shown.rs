/// How many characters are shown of what a peer sent.
const MAX_CHARS: usize = 128;

/// The start of a text that a peer sent, safe to be sent back, logged and shown: at most 128
/// characters, none of which moves a cursor, turns the direction of writing or is invisible.
pub fn shown(text: &str) -> String {
    text.chars().filter(|&c| !deceives(c)).take(MAX_CHARS).collect()
}

/// Whether a reader may take a text with that character for another text.
pub(crate) fn deceives(c: char) -> bool {
    let invisible = matches!(
        c,
        '\u{AD}' | '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
    );
    c.is_control() || invisible
}
