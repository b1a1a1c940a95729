//! Keys that `serde_json` keeps for itself.
//!
//! Features of it, which any other crate of the program can turn on for all, give an object a
//! meaning of its own by its key. No event may have such a key: [`EventLimits`](crate::EventLimits)
//! refuses both.

/// `serde_json/arbitrary_precision`: the text of a number. How one is read is told in `precise`.
pub(crate) const NUMBER: &str = "$serde_json::private::Number";

/// `serde_json/raw_value` (which axum's `json` turns on): a text that `serde_json` itself reads as
/// JSON, or writes as it stands. The limits would not see what is in it, so a message that has the
/// key is refused. Also where the feature is off, which cannot be known here: peers have to agree.
pub(crate) const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// The key, if it is one of these.
#[inline]
pub(crate) fn reserved(key: &str) -> Option<&'static str> {
    if !key.starts_with('$') {
        return None;
    }
    [NUMBER, RAW_VALUE].into_iter().find(|name| *name == key)
}
