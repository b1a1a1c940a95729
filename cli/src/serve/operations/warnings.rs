//! The last warnings and errors that the program has written, for the status page.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::status::first_bytes;

/// So many are kept, of so many bytes each.
const KEPT: usize = 50;
const LENGTH: usize = 500;

/// The last warnings and errors, the oldest first.
#[derive(Clone, Default)]
pub(crate) struct Warnings(Arc<Mutex<VecDeque<Warning>>>);

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Warning {
    /// In milliseconds since 1970.
    time: i64,
    is_error: bool,
    text: String,
}

impl Warnings {
    pub(super) fn last(&self) -> Vec<Warning> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        if level > Level::WARN {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let text = first_bytes(&(text.message + &text.fields), LENGTH).to_owned();
        let time = Timestamp::now().as_millisecond();
        let warning = Warning { time, is_error: level == Level::ERROR, text };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(warning);
    }
}

/// The message first, then the fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A text takes what is written.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, ", {name}: {value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if !value.is_empty() {
            self.record_debug(field, &format_args!("{value}"));
        }
    }
}
