//! Events by their `type`, which every event of a JavaScript node has.

use logux_codecs::{Event, Value};

/// Whether an event is an object with this `type`.
pub(super) fn is_of_type<E: Event>(event: &E, name: &str) -> bool {
    let Ok(Value::Object(object)) = serde_json::to_value(event) else { return false };
    object.get("type").and_then(Value::as_str) == Some(name)
}
