//! The events that a back end adds by itself: a POST to the port for operators.

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::Json;
use logux_sync::{AddError, Log, Value};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::VERSION;
use super::receivers::Meta;
use crate::failure::with_causes;

/// What events are added by.
#[derive(Clone, Debug)]
pub(in crate::serve) struct Adding {
    log: Log<Value>,
    secret: String,
}

#[derive(Deserialize)]
pub(in crate::serve) struct Body {
    version: u32,
    secret: String,
    commands: Vec<Command>,
}

#[derive(Deserialize)]
#[serde(tag = "command", rename_all = "camelCase")]
enum Command {
    Action {
        action: Value,
        #[serde(default)]
        meta: Meta,
    },
}

impl Adding {
    pub(in crate::serve) const fn new(log: Log<Value>, secret: String) -> Self {
        Self { log, secret }
    }
}

/// Adds all events of a request, or none.
pub(in crate::serve) async fn add(
    State(Adding { log, secret }): State<Adding>,
    body: Result<Json<Body>, JsonRejection>,
) -> (StatusCode, String) {
    let wrong = |what: String| (StatusCode::BAD_REQUEST, what + "\n");
    let Json(body) = match body {
        Ok(body) => body,
        Err(rejection) => return (rejection.status(), rejection.body_text() + "\n"),
    };
    if !bool::from(body.secret.as_bytes().ct_eq(secret.as_bytes())) {
        tracing::warn!("a back end is refused that has another secret");
        return (StatusCode::FORBIDDEN, "the secret is wrong\n".to_owned());
    }
    if body.version != VERSION {
        let version = body.version;
        return wrong(format!(
            "version {version} of the protocol is not spoken here, but {VERSION}"
        ));
    }
    let mut drafts = Vec::with_capacity(body.commands.len());
    for Command::Action { action, meta } in body.commands {
        if !action["type"].is_string() {
            return wrong(format!("{action} is no action: it has no text under \"type\""));
        }
        match meta.draft(action) {
            Ok((draft, route)) => drafts.push(route.draft(draft)),
            Err(what) => return wrong(what),
        }
    }
    loop {
        match log.add_batch(drafts.clone()).await {
            Ok(_) => return (StatusCode::OK, String::new()),
            // It was added before, and is gone since.
            Err(AddError::Gone { place, id }) if (1..=drafts.len()).contains(&place) => {
                tracing::info!(%id, "an event of the back end comes again that is gone");
                drafts.remove(place - 1);
            }
            Err(AddError::Store(error)) => {
                return (StatusCode::SERVICE_UNAVAILABLE, with_causes(&error) + "\n");
            }
            Err(error) => return wrong(with_causes(&error)),
        }
    }
}
