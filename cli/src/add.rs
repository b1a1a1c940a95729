//! `add`: events to a server's log, or to one on this machine.

use std::sync::Arc;
use std::time::Duration;

use logux_sync::{
    Criteria, Entry, Log, LogOptions, NoReceipt, Receipt, SessionHandle, State, Value,
};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use crate::arguments::AddOptions;
use crate::client::{self, ClientConfiguration, LastError, Outbox, Target};
use crate::events::{Events, Rule};
use crate::failure::{Failure, Kind, with_causes};
use crate::{output, store};

/// So many events are added before their receipts are waited for.
const BATCH: usize = 1_000;

pub(crate) fn run(options: AddOptions, configuration: ClientConfiguration) -> Result<(), Failure> {
    let AddOptions { events, log, any, timeout, json, server } = options;
    let target = server.target(configuration)?;
    let rule = Rule::new(any);
    let given = Events::given(&events, rule)?;
    let events = if events.is_empty() { Events::lines(rule) } else { given };
    crate::block_on(async {
        match log {
            Some(path) => {
                let node = || store::node_id(&format!("{}:{}", target.user, store::random_name()?));
                let options = LogOptions::new().event_limits(rule.limits());
                let log = store::open_file(&path, node, options).await?;
                keep(&log, events, json).await
            }
            None => send(&target, events, rule, timeout, json).await,
        }
    })
}

/// Adds to a log on this machine.
async fn keep(log: &Log<Value>, mut events: Events, json: bool) -> Result<(), Failure> {
    loop {
        let batch = events.next(BATCH).await;
        if batch.is_empty() {
            return events.finish();
        }
        for entry in add_all(log, batch).await? {
            tell(&entry, "kept", None, json)?;
        }
    }
}

/// Adds to the outbox, and waits until the server has it.
async fn send(
    target: &Target,
    mut events: Events,
    rule: Rule,
    limit: Duration,
    json: bool,
) -> Result<(), Failure> {
    let outbox = Outbox::open(target, LogOptions::new().event_limits(rule.limits())).await?;
    let log = &outbox.log;
    let session = client::start(log, target, client::sending_only())?;
    let last_error = LastError::of(&session);
    let mut refused = 0;
    loop {
        let batch = events.next(BATCH).await;
        if batch.is_empty() {
            break;
        }
        let added = add_all(log, batch).await?;
        // For each batch: what takes long as a whole goes on as long as it goes on.
        let until = Instant::now() + limit;
        for entry in &added {
            match receipt(&session, entry, until).await {
                Ok(Some(Receipt::HeldBack(event))) if !event.is_doubtful => {
                    refused += 1;
                    tell(entry, "refused", Some(&event.reason), json)?;
                }
                Ok(Some(_)) => tell(entry, "confirmed", None, json)?,
                Ok(None) => {
                    return Err(kept(last_error.not_in_time(target, limit, "did not confirm")));
                }
                Err(NoReceipt::Ended(ended)) => {
                    return Err(kept(client::ended(target, ended.reason().map(|error| &**error))));
                }
                Err(error) => return Err(Failure::failed(with_causes(&error))),
            }
        }
        // The server has them, or will never take them.
        let ids = added.iter().map(|entry| entry.meta.id.clone());
        clean(log, Criteria::all().ids(ids)).await?;
    }
    // What an earlier command could not send goes, too.
    let until = Instant::now() + limit;
    let in_step = timeout_at(until, session.wait_for(State::Synchronized)).await;
    if in_step.is_ok_and(|reached| reached.is_ok()) {
        clean(log, Criteria::all()).await?;
    }
    // All is confirmed: nothing is lost by a goodbye that fails.
    let _ = session.close().await;
    events.finish()?;
    match refused {
        0 => Ok(()),
        _ => Err(Failure::new(
            Kind::Refused,
            format!("{} refused {refused} of the events; they are dropped", target.url),
        )),
    }
}

/// What became of an event; nothing, where that is not known in time.
async fn receipt(
    session: &SessionHandle,
    entry: &Entry<Value>,
    until: Instant,
) -> Result<Option<Receipt>, NoReceipt> {
    timeout_at(until, session.receipt(&entry.meta.id)).await.ok().transpose()
}

fn kept(failure: Failure) -> Failure {
    failure.and("; the events are kept here, and the next `add` to this server sends them")
}

async fn clean(log: &Log<Value>, criteria: Criteria) -> Result<(), Failure> {
    let cleaned = log.clean(criteria).await;
    cleaned.map(drop).map_err(|error| Failure::failed(with_causes(&error)))
}

async fn add_all(log: &Log<Value>, batch: Vec<Value>) -> Result<Vec<Arc<Entry<Value>>>, Failure> {
    let added = log.add_batch(batch).await;
    added.map_err(|error| Failure::failed(with_causes(&error)))
}

fn tell(
    entry: &Entry<Value>,
    state: &str,
    reason: Option<&str>,
    json: bool,
) -> Result<(), Failure> {
    let id = entry.meta.id.to_string();
    output::line(if json {
        json!({ "id": id, "state": state, "reason": reason }).to_string()
    } else {
        match reason {
            Some(reason) => format!("{id}  {state}: {reason}"),
            None => format!("{id}  {state}"),
        }
    })
}
