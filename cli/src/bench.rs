//! `bench`: the codecs over the transports on this machine, or a server.

use std::time::{Duration, Instant};

use logux_benches::Matrix;
use logux_sync::{Criteria, Log, LogOptions, SessionHandle, State, Value};
use serde_json::json;
use tokio::time::timeout;

use crate::arguments::BenchOptions;
use crate::client::{self, ClientConfiguration, LastError, Target};
use crate::failure::Failure;
use crate::output;
use crate::store::{self, Place};

/// How many events are added one after the other, each when the one before is confirmed.
const ALONE: usize = 1_000;

/// How many are added at once, for each further call.
const BATCH: u64 = 100;

/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(
    options: &BenchOptions,
    configuration: ClientConfiguration,
) -> Result<(), Failure> {
    let BenchOptions { server, events, json, .. } = options;
    if let Some(url) = server {
        let target = options.credentials.clone().target(url.clone(), configuration)?;
        return crate::block_on(server_alone(&target, *events, *json));
    }
    let flags = [(options.quick, "--quick"), (options.list, "--list")];
    let mut arguments: Vec<String> =
        flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| (*flag).to_owned()).collect();
    if let Some(picture) = &options.picture {
        arguments.extend(["--picture".to_owned(), picture.display().to_string()]);
    }
    if let Some(combination) = &options.footprint_of {
        arguments.extend(["--footprint-of".to_owned(), combination.clone()]);
    }
    arguments.extend(options.parts.iter().cloned());
    let command = ["logux-sync bench".to_owned()].into_iter().chain(arguments.iter().cloned());
    let command = command.collect::<Vec<_>>().join(" ");
    // Seen from where it was typed, also in a process of its own.
    let folder = std::path::absolute(&options.folder)
        .map_err(|error| store::cannot("find the folder", &options.folder, &error))?;
    let matrix = Matrix::of_program(command, &["bench"], arguments, folder);
    let mut matrix = matrix.map_err(Failure::usage)?;
    matrix.ours();
    matrix.finish();
    Ok(())
}

/// Measures a server: how many events a second it takes, and how long one takes until it is confirmed.
async fn server_alone(target: &Target, events: u64, json: bool) -> Result<(), Failure> {
    // A name of its own each time: a log in memory does not know which ids it gave out the last time.
    let node = || store::node_id(&format!("{}:{}:bench", target.user, store::random_name()?));
    let log = store::open(&Place::Memory, node, LogOptions::new()).await?;
    let session = client::start(&log, target, client::sending_only())?;
    let last_error = LastError::of(&session);
    in_step(&session, target, &last_error).await?;
    let event = |number: u64| json!({ "type": "bench/event", "number": number });
    let start = Instant::now();
    let mut added = 0;
    while added < events {
        let count = BATCH.min(events - added);
        add(&log, (added..added + count).map(event)).await?;
        added += count;
    }
    in_step(&session, target, &last_error).await?;
    let per_second = whole(events) / start.elapsed().as_secs_f64();
    log.clean(Criteria::all()).await.map_err(Failure::because)?;
    let mut times = Vec::with_capacity(ALONE);
    for number in 0..ALONE as u64 {
        let start = Instant::now();
        add(&log, [event(number)]).await?;
        in_step(&session, target, &last_error).await?;
        times.push(start.elapsed());
    }
    let _ = session.close().await;
    times.sort_unstable();
    let part = |thousandths: usize| times[(ALONE - 1) * thousandths / 1_000].as_secs_f64() * 1e6;
    let (p50, p99, p999) = (part(500), part(990), part(999));
    let (url, codec) = (&target.url, target.codec.name());
    if json {
        let line = json!({
            "server": url, "codec": codec, "eventsPerSecond": per_second,
            "confirmationMicroseconds": { "p50": p50, "p99": p99, "p999": p999 },
        });
        return output::data(&line.to_string());
    }
    output::line(&format!(
        "{codec} to {url}: {per_second:.0} events a second of {events}; one alone is confirmed after {p50:.0} us \
         (p50), {p99:.0} us (p99), {p999:.0} us (p999)"
    ))
}

async fn add(log: &Log<Value>, events: impl IntoIterator<Item = Value>) -> Result<(), Failure> {
    let added = log.add_batch(events).await;
    added.map(drop).map_err(Failure::because)
}

/// Waits until the server has all.
async fn in_step(
    session: &SessionHandle,
    target: &Target,
    last_error: &LastError,
) -> Result<(), Failure> {
    loop {
        let before = session.diagnostics().synced;
        match timeout(SILENCE, session.wait_for(State::Synchronized)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(ended)) => {
                return Err(client::ended_early(target, &ended));
            }
            Err(_) if session.diagnostics().synced > before => {}
            Err(_) => return Err(last_error.not_in_time(target, SILENCE, "confirmed nothing")),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of this size are exact")]
fn whole(count: u64) -> f64 {
    count as f64
}
