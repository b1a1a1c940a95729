//! Frames in the body of a request or an answer: each after its length, in four bytes, big-endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// How many bytes tell a frame's length.
pub(crate) const PREFIX: usize = 4;

/// How many frames a body may have.
pub(crate) const MAX_FRAMES: usize = 1000;

/// How many bytes a body has at most, unless its one frame is longer.
pub(crate) const MAX_BATCH: usize = 256 << 10;

// nginx answers 413 to more than 1 MiB unless it is told otherwise (`client_max_body_size`).
const _: () = assert!(MAX_BATCH <= 1 << 20, "proxies would refuse full bodies");

/// A body that is not a row of whole frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Malformed;

/// How many bytes a frame takes in a body.
pub(super) fn length(frame: &Bytes) -> usize {
    PREFIX + frame.len()
}

/// Of so many bytes, a body of the frames.
pub(super) fn write<'a>(length: usize, frames: impl Iterator<Item = &'a Bytes>) -> Bytes {
    let mut body = BytesMut::with_capacity(length);
    for frame in frames {
        // No frame is that long: a limit of `usize` on a longer one would be an answer of its own.
        body.put_u32(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        body.put_slice(frame);
    }
    body.freeze()
}

/// The frames of a whole body. They share its memory.
pub(crate) fn read(mut body: Bytes) -> Result<Vec<Bytes>, Malformed> {
    let mut frames = Vec::new();
    while !body.is_empty() {
        if frames.len() == MAX_FRAMES {
            return Err(Malformed);
        }
        let length = body.try_get_u32().map_err(|_| Malformed)?;
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        if length > body.len() {
            return Err(Malformed);
        }
        frames.push(body.split_to(length));
    }
    Ok(frames)
}
