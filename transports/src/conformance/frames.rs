//! What is sent, and whether it is that which arrives.

use std::io;
use std::sync::LazyLock;

use bytes::Bytes;
use fastrand::Rng;

use super::check::{Checked, MAX_FRAME, within};
use crate::link::{Format, FrameReceiver, FrameSender};

/// A server that takes several codecs accepts links in any of their formats.
pub(super) const FORMATS: [Format; 3] = [TEXT, BINARY, MIXED];

/// As of JSON and XML.
const TEXT: Format = Format { name: "kit-text", media_type: "text/plain", is_text: |_| true };

/// As of `MessagePack`.
pub(super) const BINARY: Format =
    Format { name: "kit-binary", media_type: "application/octet-stream", is_text: |_| false };

/// As of Logux binary, which may be JSON.
const MIXED: Format = Format {
    name: "kit-mixed",
    media_type: "application/octet-stream",
    is_text: |frame| std::str::from_utf8(frame).is_ok(),
};

/// Frames of a format, of all lengths that a transport may treat differently.
pub(super) fn frames_of(format: Format) -> Vec<Bytes> {
    // Where WebSocket and others write a length in more bytes, and the longest there may be.
    let special = [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537, MAX_FRAME - 1, MAX_FRAME, 0];
    let lengths = (0..200).map(|number| number * 37 % 2000).chain(special);
    let frame = |(number, length): (usize, usize)| match format.name {
        name if name == TEXT.name || (name == MIXED.name && number % 2 == 0) => {
            text(number, length)
        }
        _ => bytes(number, length),
    };
    lengths.enumerate().map(frame).collect()
}

/// A frame of so many bytes, whichever they are; to another number belong others.
///
/// A part of what is drawn once: while frames were drawn, a link that is open would be silent, for so
/// long that it ends on a busy machine.
pub(super) fn bytes(number: usize, length: usize) -> Bytes {
    static DRAWN: LazyLock<Bytes> = LazyLock::new(|| {
        let mut drawn = vec![0; 4 * MAX_FRAME];
        Rng::with_seed(0).fill(&mut drawn);
        drawn.into()
    });

    let start = 61 * number;
    DRAWN.slice(start..start + length)
}

/// A text of so many bytes, with characters of one to four; to another number belongs another.
fn text(number: usize, length: usize) -> Bytes {
    const CHARACTERS: [char; 12] =
        ['a', 'é', '€', '😀', '\0', '\r', '\n', '"', '\\', '<', '\u{feff}', '\u{2028}'];

    let mut random = Rng::with_seed(number as u64);
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let character = CHARACTERS[random.usize(..CHARACTERS.len())];
        let fits = text.len() + character.len_utf8() <= length;
        text.push(if fits { character } else { 'a' });
    }
    text.into()
}

/// Sends these frames.
pub(super) async fn send(sender: &mut impl FrameSender, frames: &[Bytes]) -> Checked {
    for frame in frames {
        sender.send(frame.clone()).await.map_err(|error| format!("sending failed: {error}"))?;
    }
    sender.flush().await.map_err(|error| format!("flushing failed: {error}"))
}

/// Receives these frames.
pub(super) async fn receive(receiver: &mut impl FrameReceiver, frames: &[Bytes]) -> Checked {
    for number in 0..frames.len() {
        match within(receiver.receive(MAX_FRAME)).await? {
            Ok(Some(frame)) => is_next(frames, number, &frame)?,
            Ok(None) => return Err(format!("the link was closed before frame {number}")),
            Err(error) => return Err(format!("the link broke before frame {number}: {error}")),
        }
    }
    Ok(())
}

/// Receives the first of these frames, as many as come before the link ends; gives the end.
pub(super) async fn receive_to_the_end(
    receiver: &mut impl FrameReceiver,
    frames: &[Bytes],
) -> Checked<io::Result<()>> {
    for number in 0.. {
        let end = match within(receiver.receive(MAX_FRAME)).await? {
            Ok(Some(frame)) => {
                is_next(frames, number, &frame)?;
                continue;
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        return match within(receiver.receive(MAX_FRAME)).await? {
            Ok(Some(_)) => Err("a frame came after the end of the link".into()),
            Ok(None) | Err(_) => Ok(end),
        };
    }
    unreachable!("there are not that many frames")
}

/// Whether that is the frame of this number.
pub(super) fn is_next(frames: &[Bytes], number: usize, frame: &Bytes) -> Checked {
    if frames.get(number) == Some(frame) {
        return Ok(());
    }
    let length = frame.len();
    Err(match frames.iter().position(|sent| sent == frame) {
        Some(other) => format!("frame {other} came in place of frame {number}"),
        None if number >= frames.len() => format!("after the last frame came {length} bytes"),
        None => format!("in place of frame {number} came {length} bytes that nobody sent so"),
    })
}
