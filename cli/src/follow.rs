//! `follow`: events as they come to a server's log.

use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{Added, Criteria, LogOptions, State, SyncOptions};
use tokio::time::{Instant, sleep_until};

use crate::arguments::FollowOptions;
use crate::client::{self, ClientConfiguration, LastError};
use crate::failure::Failure;
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
    let FollowOptions { since, types, count, json, server } = options;
    let target = server.target(configuration)?;
    let mut selection = Selection { types, ..Selection::default() };
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
                    if selection.takes(&entry) {
                        // Its position here is not the server's.
                        selection::print(&entry, json, None)?;
                        shown += 1;
                    }
                    let shown = Criteria::all().added(..=entry.meta.added);
                    let cleaned = log.clean(shown).await;
                    cleaned.map_err(Failure::because)?;
                }
                state = states.next() => match state {
                    Some(State::Synchronized) => {
                        if told_of_silence {
                            eprintln!("connected to {}", target.url);
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
