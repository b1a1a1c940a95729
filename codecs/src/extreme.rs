//! Numbers that a double holds and a float of 32 bits does not.

use std::cell::Cell;

thread_local! {
    static NOTICED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `read`, and tells whether it read a number that would be infinite as an `f32`, in a place
/// where nobody can see whether an `f32` is asked for.
///
/// [`Limits::read`](crate::Limits::read) refuses such a number where a type asks for an `f32`. But
/// serde holds back what is in an enum with a `tag`, in an untagged one and under `flatten`, asks
/// for the type later, and makes the number infinite without a word: an event that can be read and
/// not be sent. [`EventLimits::check`](crate::EventLimits::check) finds it. As such numbers are
/// rare, a node needs to check only those events that it read when there were some.
///
/// What is decoded on other threads is not noticed.
///
/// ```
/// # #[cfg(feature = "json")] {
/// use logux_codecs::{Codec, Json, Limits, Value, notice_extreme_numbers};
///
/// let decode = |frame: &str| Json.decode::<Value>(frame.as_bytes(), Limits::default());
/// let (usual, extreme) = notice_extreme_numbers(|| decode(r#"["headers",{"a":1e30}]"#));
/// assert!(usual.is_ok() && !extreme);
/// let (rare, extreme) = notice_extreme_numbers(|| decode(r#"["headers",{"a":1e300}]"#));
/// assert!(rare.is_ok() && extreme);
/// # }
/// ```
pub fn notice_extreme_numbers<T>(read: impl FnOnce() -> T) -> (T, bool) {
    let before = NOTICED.replace(false);
    let result = read();
    let noticed = NOTICED.replace(false);
    // Whoever is around this notices the same.
    NOTICED.set(before || noticed);
    (result, noticed)
}

/// Whether the number is finite, and infinite as an `f32`. Slightly more than [`f32::MAX`] is not:
/// it is rounded down, as the shortest text of [`f32::MAX`] is.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the question is what is left of it")]
pub(crate) fn is_extreme(number: f64) -> bool {
    number.is_finite() && !(number as f32).is_finite()
}

#[cold]
pub(crate) fn notice() {
    NOTICED.set(true);
}
