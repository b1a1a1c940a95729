//! `sync`: a log on this machine, in step with a server's.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{EventId, Log, LogOptions, Peer, Session, State, SyncOptions as Options, Value};
use serde_json::json;
use tokio::time::timeout;

use crate::arguments::SyncOptions;
use crate::client::{self, ClientConfiguration, LastError, Target};
use crate::failure::{Failure, Kind, with_causes};
use crate::selection::printable;
use crate::{output, signals, store};

pub(crate) fn run(options: SyncOptions, configuration: ClientConfiguration) -> Result<(), Failure> {
    let SyncOptions { log, once, timeout, json, server } = options;
    let target = server.target(configuration)?;
    crate::block_on(async {
        let node = || store::node_id(&format!("{}:{}", target.user, store::random_name()?));
        let log = store::open_file(&log, node, LogOptions::new()).await?;
        if log.node_id().user_id() != Some(&target.user) {
            return Err(Failure::usage(format!(
                "this log belongs to the node {}, and not to the user {:?}: say --user, or take another log",
                log.node_id(),
                target.user
            )));
        }
        let session = client::start(&log, &target, Options::new())?;
        if once {
            end_once_equal(&log, session, &target, timeout, json).await
        } else {
            go_on(&log, session, &target, json).await
        }
    })
}

async fn end_once_equal(
    log: &Log<Value>,
    session: Session,
    target: &Target,
    limit: Duration,
    json: bool,
) -> Result<(), Failure> {
    let last_error = LastError::of(&session);
    match timeout(limit, session.wait_for(State::Synchronized)).await {
        Ok(Ok(())) => {
            let seen = session.diagnostics();
            let peer = session.peer();
            // What the server said of events is kept by then.
            let _ = session.close().await;
            let refused = refused(log, peer.as_deref(), &mut HashSet::new(), json).await?;
            let (sent, received) = (seen.events_sent, seen.events_received);
            tell(log, "equal", &format!("{sent} events sent, {received} received"), json).await?;
            if refused > 0 {
                let text =
                    format!("{} refused {refused} events, which only this log has", target.url);
                return Err(Failure::new(Kind::Refused, text));
            }
            Ok(())
        }
        Ok(Err(ended)) => Err(client::ended_early(target, &ended)),
        Err(_) => {
            let failure = last_error.not_in_time(target, limit, "was not in step");
            Err(failure.and("; nothing is lost, try again later"))
        }
    }
}

async fn go_on(
    log: &Log<Value>,
    session: Session,
    target: &Target,
    json: bool,
) -> Result<(), Failure> {
    let (mut states, mut errors) = (session.states(), session.errors());
    let mut told = HashSet::new();
    let interrupted = signals::interrupted()?;
    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            () = &mut interrupted => break,
            state = states.next() => {
                let Some(state) = state else {
                    let error = session.ended().await.err();
                    return Err(client::ended(target, error.as_deref()));
                };
                tell(log, &state.to_string(), "", json).await?;
                if state == State::Synchronized {
                    refused(log, session.peer().as_deref(), &mut told, json).await?;
                }
            }
            Some(error) = errors.next() => {
                tell(log, "error", &with_causes(&*error), json).await?;
            }
        }
    }
    // What is not confirmed by now goes out the next time.
    let _ = session.close().await;
    Ok(())
}

/// Tells which events the server did not take, each once, and answers how many these are.
async fn refused(
    log: &Log<Value>,
    peer: Option<&Peer>,
    told: &mut HashSet<EventId>,
    json: bool,
) -> Result<usize, Failure> {
    let Some(peer) = peer else { return Ok(0) };
    let held_back = log.held_back(&peer.node_id).await;
    let held_back = held_back.map_err(Failure::because)?;
    for event in held_back.into_iter().filter(|event| !event.is_doubtful) {
        if !told.contains(&event.id) {
            tell(log, "refused", &format!("{}: {}", event.id, printable(&event.reason)), json)
                .await?;
            told.insert(event.id);
        }
    }
    Ok(told.len())
}

async fn tell(log: &Log<Value>, state: &str, more: &str, json: bool) -> Result<(), Failure> {
    let events = log.count().await.map_err(Failure::because)?;
    let line = if json {
        json!({ "state": state, "events": events, "text": more }).to_string()
    } else if more.is_empty() {
        format!("{state}, {events} events in the log")
    } else {
        format!("{state}: {more}; {events} events in the log")
    };
    output::tell(&line).map(drop)
}
