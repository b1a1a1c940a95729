//! Events that wait are handled: one of a queue after the other, several queues at once.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use logux_transports::rt::{JoinSet, sleep, timeout};
use tokio::sync::watch;

use super::answers::Answers;
use super::call::{Call, Context, Facts};
use super::handler::Erased;
use super::pattern::Parameters;
use super::route::Route;
use super::shared::{PREFIX, RESERVED, SUBSCRIBE, Shared, UNSUBSCRIBE, kind_of, shown};
use super::undo::Undo;
use crate::log::{AddError, Inbox, Waiting};
use crate::{Draft, Entry, EventId, IdState, StoreError, Value};

/// After a failure of the store, so long.
const PAUSE: Duration = Duration::from_secs(1);

/// What comes of an event.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// It is added, with others.
    Done { route: Route, added: Vec<Draft<Value>>, answers: Vec<Draft<Value>> },
    /// It is not added, but these are.
    Over { answers: Vec<Draft<Value>>, undo: Option<Undo> },
}

/// Claims queues in which something waits, and handles them, until that is to stop. Then each event that is being
/// handled is handled to its end.
pub(super) async fn run<S: Clone + Send + Sync + 'static>(
    shared: Arc<Shared<S>>,
    mut stops: watch::Receiver<bool>,
) {
    let mut workers = JoinSet::new();
    loop {
        let claimed = tokio::select! {
            biased;
            _ = stops.wait_for(|stops| *stops) => break,
            Some(_) = workers.join_next() => continue,
            claimed = shared.log.next_inbox(PREFIX) => claimed,
        };
        match claimed {
            Ok(inbox) => {
                workers.spawn(work(Arc::clone(&shared), inbox, stops.clone()));
            }
            Err(error) => {
                tracing::error!(error = %crate::sync::with_causes(&error), "events wait that cannot be read");
                sleep(PAUSE).await;
            }
        }
    }
    while workers.join_next().await.is_some() {}
    shared.outcomes.end();
}

/// Handles what waits in one queue, and lets it go.
async fn work<S: Clone + Send + Sync + 'static>(
    shared: Arc<Shared<S>>,
    mut inbox: Inbox<Value>,
    stops: watch::Receiver<bool>,
) {
    // What came of the event that the store could not settle, and how many events wait that are undone because of one
    // before them.
    let (mut unsettled, mut undone) = (None, 0_usize);
    while !is_over(&stops) {
        let waiting = match inbox.try_next().await {
            Ok(Some(waiting)) => waiting,
            Ok(None) => return,
            Err(error) => {
                report(&inbox, &error);
                sleep(PAUSE).await;
                continue;
            }
        };
        let entry = waiting.entry();
        let meta = entry.meta.clone();
        let is_of_cascade = undone > 0;
        undone = undone.saturating_sub(1);
        let Some(_handling) = shared.handling.begin(&meta.id) else {
            // It waits in another queue, too, and is handled there.
            let dropped = waiting.settle(|_| Vec::new()).await;
            log_dropped(&meta.id, dropped);
            continue;
        };
        let outcome = match unsettled.take() {
            Some((of, outcome)) if of == meta.id => outcome,
            // What a client listens to does not rest on what it did before: without a subscription that it believes in,
            // it would be told nothing more. To leave is always done.
            _ if is_of_cascade && ![SUBSCRIBE, UNSUBSCRIBE].contains(&kind_of(&entry.event)) => {
                let cause = "an event that came before it in its queue was undone";
                shared.answers.undone(entry, Undo::error(cause))
            }
            // One who subscribes may be slow, or not come back. The event waits for the next process.
            _ => tokio::select! {
                outcome = shared.handle(entry) => outcome,
                () = stopped(stops.clone()), if kind_of(&entry.event) == SUBSCRIBE => return,
            },
        };
        match settle(waiting, outcome.clone()).await {
            Ok(entries) => {
                shared.settled(&meta, &outcome, &entries);
                if let Outcome::Over { undo: Some(_), .. } = outcome
                    && !is_of_cascade
                {
                    undone = inbox.waiting().await.unwrap_or_default();
                }
            }
            Err(AddError::Store(error)) => {
                report(&inbox, &error);
                sleep(PAUSE).await;
                // It may have been kept all the same.
                let states = shared.log.id_states(std::slice::from_ref(&meta.id)).await;
                if let Ok([IdState::There | IdState::Gone]) = states.as_deref() {
                    shared.settled(&meta, &outcome, &[]);
                } else {
                    undone += usize::from(is_of_cascade);
                    unsettled = Some((meta.id, outcome));
                }
            }
            // What came of it cannot be added.
            Err(error) => {
                let (id, undo) = (meta.id.clone(), Undo::error(crate::sync::with_causes(&error)));
                let again = if let Outcome::Over { undo: Some(_), .. } = outcome {
                    tracing::error!(%id, cause = undo.cause(), "an event cannot be answered");
                    Outcome::Over { answers: Vec::new(), undo: Some(undo) }
                } else {
                    tracing::error!(%id, cause = undo.cause(), "what a handler made cannot be added");
                    shared.answers.undone_without_action(&meta, undo)
                };
                undone += usize::from(is_of_cascade);
                unsettled = Some((id, again));
            }
        }
    }
}

/// Whether it is to stop, or nobody is left to say so.
fn is_over(stops: &watch::Receiver<bool>) -> bool {
    *stops.borrow() || stops.has_changed().is_err()
}

fn log_dropped(id: &EventId, dropped: Result<Vec<Arc<Entry<Value>>>, AddError>) {
    if let Err(error) = dropped {
        let error = crate::sync::with_causes(&error);
        tracing::warn!(%id, error, "an event that waits in two queues was not dropped");
    }
}

async fn stopped(mut stops: watch::Receiver<bool>) {
    // An error says that nobody is left to stop it, and so that all is over.
    let _ = stops.wait_for(|stops| *stops).await;
}

fn report(inbox: &Inbox<Value>, error: &StoreError) {
    let (queue, error) = (inbox.name(), crate::sync::with_causes(error));
    tracing::error!(queue, %error, "events wait for the store; it is tried again in a second");
}

async fn settle(
    waiting: Waiting<'_, Value>,
    outcome: Outcome,
) -> Result<Vec<Arc<Entry<Value>>>, AddError> {
    match outcome {
        Outcome::Done { route, added, answers } => {
            let all = |draft: Draft<Value>| {
                let event = route.draft(Answers::without_marks(draft));
                std::iter::once(event).chain(added).chain(answers).collect()
            };
            waiting.settle(all).await
        }
        Outcome::Over { answers, .. } => waiting.consume(answers).await,
    }
}

/// Calls a callback. A panic in it, and an answer that does not come, are errors.
pub(super) async fn ask<S, T>(
    callback: &Erased<S, T>,
    call: Call<S>,
    limit: Option<Duration>,
) -> Result<T, Undo> {
    let asked = AssertUnwindSafe(async { callback(call).await }).catch_unwind();
    let asked = match limit {
        Some(limit) => timeout(limit, asked).await.map_err(|_| {
            let seconds = limit.as_secs_f64();
            Undo::error(format!("it did not answer within {seconds} seconds, its callback_timeout"))
        })?,
        None => asked.await,
    };
    asked.unwrap_or_else(|_| Err(Undo::error("it panicked")))
}

/// What the callbacks are told of an event.
pub(super) fn facts(entry: &Entry<Value>, parameters: Parameters) -> Facts {
    Facts {
        event: Arc::new(entry.event.clone()),
        id: entry.meta.id.clone(),
        time: entry.meta.time,
        subprotocol: entry.meta.subprotocol,
        headers: Arc::default(),
        parameters,
        subscription: None,
    }
}

impl<S: Clone + Send + Sync + 'static> Shared<S> {
    /// What comes of an event.
    async fn handle(&self, entry: &Entry<Value>) -> Outcome {
        // It may have waited in another queue, too, and be done.
        let states = self.log.id_states(std::slice::from_ref(&entry.meta.id)).await;
        if let Ok([IdState::There | IdState::Gone]) = states.as_deref() {
            return Outcome::Over { answers: Vec::new(), undo: None };
        }
        let is_own = entry.meta.id.node() == self.log.node_id();
        if !is_own && !entry.meta.extra.is_empty() {
            let what = "only id, time and subprotocol may be in the meta of a client's event";
            return self.answers.undone(entry, Undo::denied().because(what));
        }
        let kind = kind_of(&entry.event);
        match kind {
            SUBSCRIBE if !is_own => return self.subscribe(entry).await,
            UNSUBSCRIBE if !is_own => return self.unsubscribe(entry).await,
            _ => {}
        }
        if !is_own && kind.starts_with(RESERVED) {
            let what = "types that begin so are this server's to say".to_owned();
            return self.answers.undone(entry, Undo::new("unknownType").because(what));
        }
        let Some((handler, parameters)) = self.handler(kind) else {
            if is_own {
                return self.answers.done(entry, Route::nobody(), Vec::new());
            }
            let what = format!("there is no handler for events of the type {:?}", shown(kind));
            return self.answers.undone(entry, Undo::new("unknownType").because(what));
        };
        let mut facts = facts(entry, parameters);
        if let Some(seat) = self.clients.get(entry.meta.id.node().client_id()) {
            facts.headers = seat.headers;
        }
        let context = Context::new(facts);
        let call = || Call { state: self.state.clone(), context: context.clone() };
        let handled = async {
            if !is_own {
                ask(&handler.access, call(), self.limit).await?;
            }
            let mut route = match &handler.route {
                Some(route) => ask(route, call(), self.limit).await?,
                None => Route::nobody(),
            };
            if let Some(process) = &handler.process {
                ask(process, call(), self.limit).await?;
            }
            route.extend(context.take_route());
            route.check()?;
            Ok(route)
        };
        match handled.await {
            Ok(route) => self.answers.done(entry, route, context.take_added()),
            Err(undo) => self.answers.undone(entry, undo),
        }
    }
}
