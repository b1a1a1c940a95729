use std::error::Error;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::places::Place;

/// What a byte stream and the two halves of its link know in common.
#[derive(Clone, Debug)]
pub(super) struct Meter(Arc<Known>);

#[derive(Debug)]
struct Known {
    /// How many bytes may still come.
    left: AtomicUsize,
    /// The limit that a frame of the peer's was above.
    refused: OnceLock<usize>,
    /// What the peer says of a frame of ours that was too long.
    complaint: OnceLock<String>,
    /// The peer has closed the link.
    closed: AtomicBool,
    /// What the link takes among those of its address.
    place: OnceLock<Place>,
}

/// More came than was allowed.
#[derive(Debug)]
struct Exceeded;

impl Meter {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Known {
            left: AtomicUsize::new(bytes),
            refused: OnceLock::new(),
            complaint: OnceLock::new(),
            closed: AtomicBool::new(false),
            place: OnceLock::new(),
        }))
    }

    /// How many bytes may still come; an error once no more may.
    pub(super) fn left(&self) -> io::Result<usize> {
        match self.0.left.load(Ordering::Relaxed) {
            0 => Err(io::Error::new(io::ErrorKind::InvalidData, Exceeded)),
            left => Ok(left),
        }
    }

    /// Allows so many bytes from now on.
    pub(super) fn allow(&self, bytes: usize) {
        self.0.left.store(bytes, Ordering::Relaxed);
    }

    /// Holds a place for as long as one of the halves is there.
    pub(super) fn hold(&self, place: Place) {
        let _ = self.0.place.set(place);
    }

    /// A frame of the peer's was longer than this; the first one counts.
    pub(super) fn refuse(&self, max_frame: usize) {
        let _ = self.0.refused.set(max_frame);
    }

    pub(super) fn refused(&self) -> Option<usize> {
        self.0.refused.get().copied()
    }

    /// The peer complains that a frame was too long.
    pub(super) fn complain(&self, reason: &str) {
        let _ = self.0.complaint.set(reason.to_owned());
    }

    pub(super) fn complaint(&self) -> Option<&str> {
        self.0.complaint.get().map(String::as_str)
    }

    /// The peer has closed the link.
    pub(super) fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Relaxed)
    }
}

/// Whether an error says that more came than was allowed.
pub(super) fn is_exceeded(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(cause) if cause.is::<Exceeded>())
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("more bytes came than a frame may have")
    }
}

impl Error for Exceeded {}
