//! `follow`: events as they come to a server's log.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{Added, Criteria, Draft, Entry, Log, LogOptions, State, SyncOptions, Value};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::arguments::FollowOptions;
use crate::client::{self, ClientConfiguration, LastError, Target};
use crate::failure::{Failure, Kind};
use crate::selection::{self, Selection, Since};
use crate::store::{self, Place};

/// So many ids of events that were shown are remembered, so that none is shown twice.
const REMEMBERED: usize = 100_000;

/// After how long without a server a person is told so.
const SILENCE: Duration = Duration::from_secs(3);

pub(crate) fn run(
    options: FollowOptions,
    configuration: ClientConfiguration,
) -> Result<(), Failure> {
    let FollowOptions { since, types, channels, count, json, server } = options;
    let target = server.target(configuration)?;
    let mut selection = Selection { types, ..Selection::default() };
    if let (Since::Position(_), false) = (&since, channels.is_empty()) {
        return Err(Failure::usage(
            "a position is one of the whole log: with --channel, --since takes now, start, a span or a date",
        ));
    }
    let mut subscriptions = Subscriptions::new(channels, matches!(since, Since::Now));
    let begin_after = match since {
        Since::Now => Added::MAX,
        Since::Start => Added::ZERO,
        Since::Position(position) => position,
        Since::Moment(moment) => {
            selection.from = Some(moment);
            Added::ZERO
        }
    };
    crate::block_on(async {
        let seat = client::seat(&target, "follow")?;
        let remembered = Duration::from_secs(24 * 60 * 60);
        let options = LogOptions::new().remember(remembered, REMEMBERED);
        let log = store::open(&Place::Memory, || Ok(seat.node.clone()), options).await?;
        let options = SyncOptions::new().begin_after(begin_after);
        let session = client::start(&log, &target, options)?;
        let last_error = LastError::of(&session);
        let mut entries = log.follow(Added::ZERO);
        let (mut states, mut shown) = (session.states(), 0);
        let (mut is_in_step, mut told_of_silence) = (false, false);
        let silence = sleep_until(Instant::now() + SILENCE);
        tokio::pin!(silence);
        while count.is_none_or(|count| shown < count) {
            tokio::select! {
                biased;
                entry = entries.next() => {
                    let entry = match entry {
                        Some(Ok(entry)) => entry,
                        Some(Err(error)) => return Err(Failure::because(error)),
                        None => return Ok(()),
                    };
                    let is_for_us = subscriptions.takes(&entry, &target)?;
                    if is_for_us && selection.takes(&entry) {
                        // Its position here is not the server's.
                        selection::print(&entry, json, None)?;
                        shown += 1;
                    }
                    // What was asked stays until it is sent and answered.
                    if subscriptions.are_answered() {
                        let shown = Criteria::all().added(..=entry.meta.added);
                        let cleaned = log.clean(shown).await;
                        cleaned.map_err(Failure::because)?;
                    }
                }
                state = states.next() => match state {
                    Some(State::Synchronized) => {
                        if told_of_silence {
                            eprintln!("connected to {}", target.url);
                        }
                        if !is_in_step {
                            subscriptions.ask(&log).await?;
                        }
                        (is_in_step, told_of_silence) = (true, false);
                    }
                    Some(State::Disconnected | State::Wait) => {
                        if is_in_step {
                            silence.as_mut().reset(Instant::now() + SILENCE);
                        }
                        is_in_step = false;
                    }
                    Some(_) => {}
                    None => {
                        let error = session.ended().await.err();
                        return Err(client::ended(&target, error.as_deref()));
                    }
                },
                () = &mut silence, if !is_in_step && !told_of_silence => {
                    told_of_silence = true;
                    let failure = last_error.not_in_time(&target, SILENCE, "did not answer");
                    eprintln!("{failure}; trying again until it does");
                }
            }
        }
        // Nothing of this node's own waits.
        let _ = session.close().await;
        Ok(())
    })
}

/// The channels that are subscribed to, on each connection anew.
struct Subscriptions {
    channels: Vec<String>,
    /// Nothing of before is wanted.
    is_from_now: bool,
    /// The ids of what was asked and not answered yet, and the channel of each.
    open: HashMap<String, String>,
    /// The last event of the server, and its time: what comes after it is not known here.
    last: Option<Value>,
}

impl Subscriptions {
    fn new(channels: Vec<String>, is_from_now: bool) -> Self {
        Self { channels, is_from_now, open: HashMap::new(), last: None }
    }

    fn are_answered(&self) -> bool {
        self.open.is_empty()
    }

    /// Subscribes, on a connection that is new.
    async fn ask(&mut self, log: &Log<Value>) -> Result<(), Failure> {
        self.open.clear();
        for channel in &self.channels {
            let mut wanted = json!({ "type": "logux/subscribe", "channel": channel });
            match &self.last {
                Some(last) => wanted["since"] = last.clone(),
                None if self.is_from_now => wanted["creating"] = true.into(),
                None => {}
            }
            let added = log.add(Draft::new(wanted)).await.map_err(Failure::because)?;
            self.open.insert(added.meta.id.to_string(), channel.clone());
        }
        Ok(())
    }

    /// Whether an event is one to print. A channel that is refused is a failure.
    fn takes(&mut self, entry: &Entry<Value>, target: &Target) -> Result<bool, Failure> {
        if self.channels.is_empty() {
            return Ok(true);
        }
        let Entry { event, meta, .. } = entry;
        if meta.source.is_none() {
            return Ok(false);
        }
        self.last = Some(json!({ "id": meta.id.to_string(), "time": meta.time.value() }));
        let (kind, id) = (event["type"].as_str(), event["id"].as_str().unwrap_or_default());
        match kind {
            Some("logux/processed") => drop(self.open.remove(id)),
            Some("logux/undo") => {
                if let Some(channel) = self.open.remove(id) {
                    let text = format!(
                        "{} refused the channel {channel:?} with the reason {}",
                        target.url, event["reason"]
                    );
                    return Err(Failure::new(Kind::Refused, text));
                }
                return Ok(true);
            }
            _ => return Ok(true),
        }
        Ok(false)
    }
}
