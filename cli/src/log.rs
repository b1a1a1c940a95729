//! `log`: look at a log, copy it, check it, or remove old events.

use std::collections::VecDeque;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use logux_sync::{Added, Entry, Log, LogOptions, Retention, State, SyncOptions, Value};
use tokio::fs::File;
use tokio::io::{AsyncWrite, AsyncWriteExt, BufReader, BufWriter, stdin, stdout};
use tokio::time::timeout;

use crate::arguments::{LogCommand, LogOptions as Options, ShowOptions};
use crate::client::{self, ClientConfiguration, Credentials, LastError, Target};
use crate::failure::{Failure, Kind, with_causes};
use crate::output;
use crate::selection::{self, Selection, Since, Source};
use crate::store::{self, Place, cannot};

/// How long a server may be silent while its log is fetched.
const SILENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(options: Options, configuration: ClientConfiguration) -> Result<(), Failure> {
    crate::block_on(async {
        match options.command {
            LogCommand::Show(options) => show(options, None, configuration).await,
            LogCommand::Search { text, show: options } => {
                show(options, Some(text.to_lowercase()), configuration).await
            }
            LogCommand::Export { source, output, server } => {
                let log = opened(&source, Added::ZERO, server, configuration).await?;
                export(&log, output.as_deref()).await
            }
            LogCommand::Import { log, input } => import(&log, input.as_deref()).await,
            LogCommand::Verify { log } => verify(&log).await,
            LogCommand::Prune { log, older_than, keep, unconfirmed } => {
                let mut retention = Retention::new();
                if let Some(age) = older_than {
                    retention = retention.max_age(age);
                }
                if let Some(keep) = keep {
                    retention = retention.max_events(keep);
                }
                if unconfirmed {
                    retention = retention.also_unconfirmed();
                }
                prune(&log, &retention).await
            }
        }
    })
}

/// The log of a file, or a copy in memory of that of a server, of what comes after a position.
async fn opened(
    source: &Source,
    after: Added,
    credentials: Credentials,
    configuration: ClientConfiguration,
) -> Result<Log<Value>, Failure> {
    match source {
        Source::File(path) => store::open_present(path).await,
        Source::Server(url) => fetch(&credentials.target(url.clone(), configuration)?, after).await,
    }
}

/// The events of a server's log after a position, in memory.
async fn fetch(target: &Target, after: Added) -> Result<Log<Value>, Failure> {
    let seat = client::seat(target, "log")?;
    let log = store::open(&Place::Memory, || Ok(seat.node.clone()), LogOptions::new()).await?;
    let session = client::start(&log, target, SyncOptions::new().begin_after(after))?;
    let last_error = LastError::of(&session);
    let progress = bar(None, "events");
    let handle = session.handle();
    let mut in_step = pin!(handle.wait_for(State::Synchronized));
    let mut before = Added::ZERO;
    loop {
        if let Ok(reached) = timeout(SILENCE, in_step.as_mut()).await {
            progress.finish_and_clear();
            if let Err(ended) = reached {
                return Err(client::ended_early(target, &ended));
            }
            let _ = session.close().await;
            return Ok(log);
        }
        let now = log.last_added();
        if now == before {
            return Err(last_error.not_in_time(target, SILENCE, "sent nothing"));
        }
        progress.set_position(now.value());
        before = now;
    }
}

async fn show(
    options: ShowOptions,
    text: Option<String>,
    configuration: ClientConfiguration,
) -> Result<(), Failure> {
    let ShowOptions { source, since, types, by, last, json, server } = options;
    let after = match since {
        Since::Now => Added::MAX,
        Since::Position(position) => position,
        Since::Start | Since::Moment(_) => Added::ZERO,
    };
    let log = opened(&source, after, server, configuration).await?;
    let is_file = matches!(source, Source::File(_));
    // A copy of a server's log has positions of its own, and begins where it was told.
    let after = if is_file { after } else { Added::ZERO };
    let from = if let Since::Moment(moment) = since { Some(moment) } else { None };
    let selection = Selection { types, by, from, text };
    let print =
        |entry: &Entry<Value>| selection::print(entry, json, is_file.then_some(entry.meta.added));
    let Some(last) = last else {
        let mut entries = pin!(log.entries().after_added(after).stream());
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(Failure::because)?;
            if selection.takes(&entry) {
                print(&entry)?;
            }
        }
        return Ok(());
    };
    let mut newest: VecDeque<Arc<Entry<Value>>> = VecDeque::new();
    let mut entries = pin!(log.entries().newest_first().stream());
    while newest.len() < last
        && let Some(entry) = entries.next().await
    {
        let entry = entry.map_err(Failure::because)?;
        if entry.meta.added <= after {
            break;
        }
        if selection.takes(&entry) {
            newest.push_front(entry);
        }
    }
    newest.iter().try_for_each(|entry| print(entry))
}

async fn export(log: &Log<Value>, output: Option<&Path>) -> Result<(), Failure> {
    let progress = bar(Some(0), "events");
    let told = |done, all| {
        progress.set_length(all);
        progress.set_position(done);
    };
    let Some(path) = output else {
        let exported = copy_to(log, stdout(), told).await;
        progress.finish_and_clear();
        return exported.map(drop);
    };
    // A name that is taken is refused: that file may be the only copy.
    let file = File::create_new(path).await.map_err(|error| cannot("make", path, &error))?;
    let kept = file.try_clone().await.map_err(|error| cannot("write", path, &error))?;
    let exported = copy_to(log, file, told).await;
    let synced = kept.sync_all().await;
    progress.finish_and_clear();
    if exported.is_err() || synced.is_err() {
        // A copy that is not whole is none.
        let _ = tokio::fs::remove_file(path).await;
    }
    let events = exported?;
    synced.map_err(|error| cannot("write", path, &error))?;
    anstream::eprintln!("{events} events written to {}", path.display());
    Ok(())
}

async fn copy_to(
    log: &Log<Value>,
    to: impl AsyncWrite + Unpin + Send,
    told: impl FnMut(u64, u64) + Send,
) -> Result<u64, Failure> {
    let mut to = BufWriter::new(to);
    let exported = log.export(&mut to, told).await;
    let events = exported.map_err(Failure::because)?;
    let flushed = to.flush().await;
    flushed.map_err(|error| Failure::failed(format!("the copy cannot be written: {error}")))?;
    Ok(events)
}

async fn import(path: &Path, input: Option<&Path>) -> Result<(), Failure> {
    // That of this user, so that the log can be kept in step with a server.
    let name =
        || store::node_id(&format!("{}:{}", client::user_of_machine(), store::random_name()?));
    let log = store::open_file(path, name, LogOptions::new()).await?;
    let progress = bar(None, "events");
    let told = |done| progress.set_position(done);
    let imported = match input {
        Some(input) => {
            let file = File::open(input).await.map_err(|error| cannot("read", input, &error))?;
            log.import(&mut BufReader::new(file), told).await
        }
        None => log.import(&mut BufReader::new(stdin()), told).await,
    };
    progress.finish_and_clear();
    let imported = imported.map_err(Failure::because)?;
    anstream::eprintln!(
        "{} events added to {}; {} were there already, {} are gone there, {} are set aside, {} refused",
        imported.added,
        path.display(),
        imported.known,
        imported.gone,
        imported.set_aside,
        imported.refused
    );
    Ok(())
}

/// Whether a log is whole: the database, and each event.
async fn verify(path: &Path) -> Result<(), Failure> {
    let damaged = |text: String| {
        let path = path.display();
        Failure::new(
            Kind::Damaged,
            format!("{path}: {text}; put back a copy, or `log export` what can be read"),
        )
    };
    let store = store::present(path)?;
    let found = store.check().await.map_err(|error| damaged(with_causes(&error)))?;
    if let Some(first) = found.first() {
        for finding in &found {
            output::tell(finding)?;
        }
        let count = found.len();
        return Err(damaged(format!("{count} findings, the first of which is: {first}")));
    }
    let log = store::with_store(path, store).await?;
    let all = log.count().await.map_err(|error| damaged(with_causes(&error)))?;
    let progress = bar(Some(all), "events");
    let (mut before, mut events) = (Added::ZERO, 0_u64);
    let mut entries = pin!(log.entries().stream());
    while let Some(entry) = entries.next().await {
        let entry = entry.map_err(|error| damaged(with_causes(&error)))?;
        if entry.meta.added <= before {
            return Err(damaged(format!("the event {} is out of order", entry.meta.id)));
        }
        before = entry.meta.added;
        events += 1;
        progress.set_position(events);
    }
    progress.finish_and_clear();
    if events != all {
        return Err(damaged(format!("it says that it has {all} events, and has {events}")));
    }
    let last = log.last_added();
    output::tell(&format!(
        "{}: {events} events, the last position is {last}; all is whole",
        path.display()
    ))
    .map(drop)
}

async fn prune(path: &Path, retention: &Retention) -> Result<(), Failure> {
    let log = store::open_present(path).await?;
    let pruned = log.prune(retention).await;
    let effects = pruned.map_err(Failure::because)?;
    let left = log.count().await.map_err(Failure::because)?;
    anstream::eprintln!("{} events removed, {left} are left", effects.cleaned);
    Ok(())
}

/// A bar on standard error, where that is a terminal.
fn bar(all: Option<u64>, what: &str) -> ProgressBar {
    let (bar, template) = match all {
        Some(all) => (ProgressBar::new(all), "{wide_bar} {pos}/{len} {msg}, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {pos} {msg}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.with_message(what.to_owned())
}
