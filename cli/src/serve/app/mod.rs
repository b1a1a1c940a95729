//! `serve` as an app: channels of the configuration, and a back end that is asked about the rest.
//!
//! - `rules`: the channels and the types of events that the configuration names;
//! - here: the app that is made of them.

mod rules;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use logux_sync::Login;
use logux_sync::app::{App, Channel, Client, ClientHeaders, Context, Handler, Undo};

pub(super) use rules::{ChannelRule, EventRule};

use super::admission::Admission;
use super::backend::Backend;
use super::options::AppSettings;

/// What the server does with events: by rules first, and by the back end, if there is one, for the rest.
pub(super) fn app(settings: &AppSettings, backend: Option<&Backend>, admission: Admission) -> App {
    let AppSettings { channels, events, is_development, .. } = settings;
    let app = App::new(move |login: Login| admission.clone().ask_for_app(login));
    let mut app = app.development(*is_development);
    for rule in events {
        let handler = if let (None, Some(backend)) = (&rule.allow, backend) {
            Handler::access(by_backend(backend, Some(rule)))
        } else {
            let rule = Arc::new(rule.clone());
            Handler::access(move |client: Client, context: Context| {
                let rule = Arc::clone(&rule);
                async move { rule.allows(&client, &context) }
            })
        };
        let kind = rule.kind.clone();
        let rule = Arc::new(rule.clone());
        let handler = handler.route(move |context: Context| {
            let rule = Arc::clone(&rule);
            async move { rule.route(&context) }
        });
        app = app.on(kind, handler);
    }
    for rule in channels {
        let channel = if let (None, Some(backend)) = (&rule.allow, backend) {
            Channel::access(by_backend(backend, None))
        } else {
            let rule = Arc::new(rule.clone());
            Channel::access(move |client: Client, path: rules::Parameters| {
                let rule = Arc::clone(&rule);
                async move { rule.allows(&client, &path.0) }
            })
        };
        app = app.channel(rule.name.clone(), channel.from_log());
    }
    let Some(backend) = backend else { return app };
    if !channels.iter().any(|rule| rule.name == "*") {
        app = app.channel("*", Channel::access(by_backend(backend, None)));
    }
    if events.iter().any(|rule| rule.kind == "*") {
        return app;
    }
    app.otherwise(Handler::access(by_backend(backend, None)))
}

/// A callback that asks the back end: whether the client may, where the event goes, and what else there is to add. What a
/// rule cannot route is not asked about: the back end would have done it.
fn by_backend(
    backend: &Backend,
    rule: Option<&EventRule>,
) -> impl Fn(Context, ClientHeaders) -> BoxFuture<'static, Result<(), Undo>> + Send + Sync + use<> {
    let (backend, rule) = (backend.clone(), rule.cloned().map(Arc::new));
    move |context, headers| {
        let (backend, rule) = (backend.clone(), rule.clone());
        Box::pin(async move {
            if let Some(rule) = rule {
                rule.route(&context)?;
            }
            backend.act(&context, &headers.0).await
        })
    }
}
