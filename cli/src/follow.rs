//! `follow`: events as they come to a server's log.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::app::HAS_CHANNELS;
use logux_sync::{Added, Criteria, Entry, Log, LogOptions, Notice, State, SyncOptions, Value};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::arguments::FollowOptions;
use crate::client::{self, ClientConfiguration, LastError, Target};
use crate::failure::{Failure, Kind};
use crate::selection::{self, Selection, Since};
use crate::store::{self, Place};

/// So many ids of events that were shown are remembered, so that none is shown twice.
const REMEMBERED: usize = 100_000;

/// Before a channel is asked for again that the server failed at.
const PAUSE: Duration = Duration::from_secs(1);

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
    let begin_after = begin_after(since, &mut selection);
    crate::block_on(async {
        let seat = client::seat(&target, "follow")?;
        let remembered = Duration::from_secs(24 * 60 * 60);
        let options = LogOptions::new().remember(remembered, REMEMBERED);
        let log = store::open(&Place::Memory, || Ok(seat.node.clone()), options).await?;
        let options = SyncOptions::new().begin_after(begin_after);
        let session = client::start(&log, &target, options)?;
        let mut notices = session.notices();
        let last_error = LastError::of(&session);
        let mut entries = log.follow(Added::ZERO);
        let (mut states, mut shown) = (session.states(), 0);
        let (mut is_in_step, mut told_of_silence) = (false, false);
        let silence = sleep_until(Instant::now() + SILENCE);
        // When a server that is an app would have said so, and when a channel is asked for again.
        let (headers_late, again) = (sleep_until(Instant::now()), sleep_until(Instant::now()));
        tokio::pin!(silence, headers_late, again);
        while count.is_none_or(|count| shown < count) {
            tokio::select! {
                biased;
                entry = entries.next() => {
                    let entry = match entry {
                        Some(Ok(entry)) => entry,
                        Some(Err(error)) => return Err(Failure::because(error)),
                        None => return Ok(()),
                    };
                    let had_failed = subscriptions.have_failed();
                    let is_for_us = subscriptions.takes(&entry, &log, &target)?;
                    if is_for_us && selection.takes(&entry) {
                        // Its position here is not the server's.
                        selection::print(&entry, json, None)?;
                        shown += 1;
                    }
                    // Once: events that go on coming do not put it off.
                    if subscriptions.have_failed() && !had_failed {
                        again.as_mut().reset(Instant::now() + PAUSE);
                    }
                    subscriptions.clean(&log, entry.meta.added).await?;
                }
                state = states.next() => match state {
                    Some(State::Synchronized) => {
                        if told_of_silence {
                            eprintln!("connected to {}", target.url);
                        }
                        if !is_in_step {
                            headers_late.as_mut().reset(Instant::now() + SILENCE);
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
                // An app says so on each connection: not all changes of the state are seen here.
                Some(notice) = notices.next(), if subscriptions.are_wanted() => {
                    if has_channels(&notice) {
                        subscriptions.ask(&log).await?;
                    }
                }
                () = &mut again, if subscriptions.have_failed() => {
                    subscriptions.ask_again(&log).await?;
                }
                () = &mut headers_late, if is_in_step && !subscriptions.are_possible => {
                    return Err(Failure::usage(format!(
                        "{} has no channels; without --channel all of its events are printed",
                        target.url
                    )));
                }
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

/// Which of the server's events are left out; the selection does the rest.
fn begin_after(since: Since, selection: &mut Selection) -> Added {
    match since {
        Since::Now => Added::MAX,
        Since::Start => Added::ZERO,
        Since::Position(position) => position,
        Since::Moment(moment) => {
            selection.from = Some(moment);
            Added::ZERO
        }
    }
}

/// Whether a server says that it is an app.
fn has_channels(notice: &Notice) -> bool {
    matches!(notice, Notice::Headers(headers) if headers.get(HAS_CHANNELS) == Some(&true.into()))
}

/// The channels that are subscribed to, on each connection anew.
struct Subscriptions {
    /// Each with what says how much of it is here: an event, or the answer to its subscription, and the time of that.
    channels: Vec<(String, Option<Value>)>,
    /// Nothing of before is wanted.
    is_from_now: bool,
    /// No channels are wanted, or the server has said that it has some.
    are_possible: bool,
    /// The ids of what was asked and not answered yet, and which channel each is about.
    open: HashMap<String, usize>,
    /// Those at which the server failed.
    failed: Vec<usize>,
}

impl Subscriptions {
    fn new(channels: Vec<String>, is_from_now: bool) -> Self {
        let channels: Vec<_> = channels.into_iter().map(|name| (name, None)).collect();
        let are_possible = channels.is_empty();
        let (open, failed) = (HashMap::new(), Vec::new());
        Self { channels, is_from_now, are_possible, open, failed }
    }

    fn are_wanted(&self) -> bool {
        !self.channels.is_empty()
    }

    fn have_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Subscribes to all, on a connection that is new.
    async fn ask(&mut self, log: &Log<Value>) -> Result<(), Failure> {
        self.are_possible = true;
        self.open.clear();
        self.failed = (0..self.channels.len()).collect();
        self.ask_again(log).await
    }

    /// Subscribes to those at which the server failed.
    async fn ask_again(&mut self, log: &Log<Value>) -> Result<(), Failure> {
        for number in std::mem::take(&mut self.failed) {
            let (channel, since) = &self.channels[number];
            let mut wanted = json!({ "type": "logux/subscribe", "channel": channel });
            match since {
                Some(since) => wanted["since"] = since.clone(),
                None if self.is_from_now => wanted["creating"] = true.into(),
                None => {}
            }
            let added = log.add(wanted).await.map_err(Failure::because)?;
            self.open.insert(added.meta.id.to_string(), number);
        }
        Ok(())
    }

    /// Takes what was shown out of this log. What was asked stays until it is sent and answered.
    async fn clean(&self, log: &Log<Value>, up_to: Added) -> Result<(), Failure> {
        if self.open.is_empty() {
            log.clean(Criteria::all().added(..=up_to)).await.map_err(Failure::because)?;
        }
        Ok(())
    }

    /// Whether an event is one to print. A channel that is refused is a failure.
    fn takes(
        &mut self,
        entry: &Entry<Value>,
        log: &Log<Value>,
        target: &Target,
    ) -> Result<bool, Failure> {
        if self.channels.is_empty() {
            return Ok(true);
        }
        let Entry { event, meta, .. } = entry;
        if meta.source.is_none() || !self.are_possible {
            return Ok(false);
        }
        let here = || Some(json!({ "id": meta.id.to_string(), "time": meta.time.value() }));
        let (kind, id) = (event["type"].as_str(), event["id"].as_str().unwrap_or_default());
        if !matches!(kind, Some("logux/processed" | "logux/undo")) {
            // While a channel is being replayed, others are live: only afterwards all comes in order.
            for (number, (_, since)) in self.channels.iter_mut().enumerate() {
                if !self.open.values().any(|open| *open == number) {
                    *since = here();
                }
            }
            return Ok(kind != Some("logux/subscribed"));
        }
        let Some(number) = self.open.remove(id) else {
            // What was asked by an earlier connection, or run, is nothing for a person.
            let is_own = id.split(' ').nth(1).is_some_and(|node| log.node_id().as_str() == node);
            return Ok(!is_own && kind == Some("logux/undo"));
        };
        let (channel, since) = &mut self.channels[number];
        let reason = &event["reason"];
        if kind == Some("logux/processed") {
            *since = here();
        } else if reason == "error" {
            eprintln!("the server failed to subscribe to {channel:?}; trying again until it does");
            self.failed.push(number);
        } else {
            let text =
                format!("{} refused the channel {channel:?} with the reason {reason}", target.url);
            return Err(Failure::new(Kind::Refused, text));
        }
        Ok(false)
    }
}
