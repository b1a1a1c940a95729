//! `add`: events to a server's log, or to one on this machine.

use std::sync::Arc;
use std::time::Duration;

use logux_sync::{Criteria, Entry, Log, LogOptions, NoReceipt, Receipt, Session, Value};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use crate::arguments::AddOptions;
use crate::client::{self, ClientConfiguration, LastError, Outbox, Target};
use crate::events::{Events, Rule};
use crate::failure::{Failure, Kind};
use crate::selection::printable;
use crate::{output, store};

/// So many events are added before their receipts are waited for, at most.
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
    let options = || LogOptions::new().event_limits(rule.limits());
    let outbox = Outbox::open(target, options()).await?;
    let mut delivery = Delivery::start(&outbox.log, target, limit, json)?;
    // What an earlier command could not send goes first.
    let mut earlier = outbox.kept().await?;
    loop {
        let batch = events.next(BATCH).await;
        let is_last = batch.is_empty();
        // Kept, before anything can fail that waits for the server.
        let added = add_all(&outbox.log, batch).await?;
        let of_earlier = delivery.settle(std::mem::take(&mut earlier), "sent now").await;
        let settled = match of_earlier {
            Ok(()) => delivery.settle(added, "confirmed").await,
            failed => failed,
        };
        settled.map_err(|failure| events.kept(failure))?;
        if is_last {
            break;
        }
    }
    let mut refused = delivery.end().await;
    // So does what other commands kept that ran beside others; their lack of luck is not this command's.
    for other in outbox.others(target, options).await? {
        let mut delivery = Delivery::start(&other.log, target, limit, json)?;
        if let Err(failure) = delivery.settle(other.kept().await?, "sent now").await {
            anstream::eprintln!("of an earlier command: {failure}; its events are still kept");
        }
        refused += delivery.end().await;
    }
    events.finish()?;
    match refused {
        0 => Ok(()),
        _ => Err(Failure::new(
            Kind::Refused,
            format!("{} refused {refused} of the events; they are dropped", target.url),
        )),
    }
}

/// Events of one outbox on their way to the server.
struct Delivery<'a> {
    log: &'a Log<Value>,
    target: &'a Target,
    limit: Duration,
    json: bool,
    session: Session,
    last_error: LastError,
    refused: u64,
}

impl<'a> Delivery<'a> {
    fn start(
        log: &'a Log<Value>,
        target: &'a Target,
        limit: Duration,
        json: bool,
    ) -> Result<Self, Failure> {
        let session = client::start(log, target, client::sending_only())?;
        let last_error = LastError::of(&session);
        Ok(Self { log, target, limit, json, session, last_error, refused: 0 })
    }

    /// Waits until the server is done with these events, and drops them here. The time limit is for each batch of
    /// them: a command with more goes on as long as it goes on.
    async fn settle(&mut self, events: Vec<Arc<Entry<Value>>>, done: &str) -> Result<(), Failure> {
        for batch in events.chunks(BATCH) {
            let until = Instant::now() + self.limit;
            for entry in batch {
                self.settle_one(entry, done, until).await?;
            }
            let ids = batch.iter().map(|entry| entry.meta.id.clone());
            let cleaned = self.log.clean(Criteria::all().ids(ids)).await;
            cleaned.map_err(Failure::because)?;
        }
        Ok(())
    }

    async fn settle_one(
        &mut self,
        entry: &Entry<Value>,
        done: &str,
        until: Instant,
    ) -> Result<(), Failure> {
        let Ok(receipt) = timeout_at(until, self.session.receipt(&entry.meta.id)).await else {
            return Err(self.last_error.not_in_time(self.target, self.limit, "did not confirm"));
        };
        match receipt {
            Ok(Receipt::HeldBack(event)) if !event.is_doubtful => {
                self.refused += 1;
                tell(entry, "refused", Some(&event.reason), self.json)
            }
            Ok(_) => tell(entry, done, None, self.json),
            Err(NoReceipt::Ended(ended)) => Err(client::ended_early(self.target, &ended)),
            Err(error) => Err(Failure::because(error)),
        }
    }

    /// How many events the server refused.
    async fn end(self) -> u64 {
        // All is confirmed: nothing is lost by a goodbye that fails.
        let _ = self.session.close().await;
        self.refused
    }
}

async fn add_all(log: &Log<Value>, batch: Vec<Value>) -> Result<Vec<Arc<Entry<Value>>>, Failure> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let added = log.add_batch(batch).await;
    added.map_err(Failure::because)
}

/// Tells what became of an event. What is to be done is done also where nobody reads it any more.
fn tell(
    entry: &Entry<Value>,
    state: &str,
    reason: Option<&str>,
    json: bool,
) -> Result<(), Failure> {
    let id = entry.meta.id.to_string();
    let line = match reason {
        _ if json => json!({ "id": id, "state": state, "reason": reason }).to_string(),
        Some(reason) => format!("{id}  {state}: {}", printable(reason)),
        None => format!("{id}  {state}"),
    };
    output::tell(&line).map(drop)
}
