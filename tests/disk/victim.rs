//! The process on that disk, what it says, and whether that is true of its file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use logux_sync::{
    Added, Consumer, Criteria, Draft, Effects, Label, Log, LogOptions, SqliteStore, Store,
    StoreError, Value,
};
use serde_json::json;

/// 200 events; of the parts, the last one is a state.
const BATCHES: u64 = 40;
const PARTS: u64 = 5;

/// After so many batches the older ones are cleaned, but for so many.
const CLEAN_EVERY: u64 = 10;
const CLEAN_BUT: u64 = 5;

/// So often something is tried: a disk that failed once is there again.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// The file of the process.
const FILE: &str = "LOGUX_SYNC_DISK_FILE";

/// Set where the process is to be idle for a while, and to close its file and open it again.
const PAUSES: &str = "LOGUX_SYNC_DISK_PAUSES";

/// What the process said in the end.
const END: &str = "victim ended";

/// The process.
#[tokio::test]
#[ignore = "is started by the other tests"]
async fn victim() {
    let Ok(path) = std::env::var(FILE) else { return };
    let path = PathBuf::from(path);
    let (mut log, mut audit) = begin(&path).await;
    let pauses = std::env::var(PAUSES).is_ok();
    for number in 0..BATCHES {
        if pauses && number % 13 == 11 {
            // The write-ahead log is moved into the database meanwhile.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
        if pauses && number % 13 == 7 {
            drop((audit, log));
            (log, audit) = begin(&path).await;
        }
        let batch = || {
            (0..PARTS).map(move |part| {
                let draft = Draft::new(json!({ "batch": number, "part": part }));
                let draft = draft.index("all");
                if part + 1 == PARTS { draft.keep_last("state") } else { draft.reason("kept") }
            })
        };
        say(&format!("adds {number}"));
        again(async || log.add_batch(batch()).await).await;
        say(&format!("added {number}"));
        acknowledge(&mut audit).await;
        if (number + 1).is_multiple_of(CLEAN_EVERY) {
            let before = number + 1 - CLEAN_BUT;
            say(&format!("cleans {before}"));
            let criteria = || up_to(&log, before);
            let cleaned = async || -> Result<Effects, StoreError> {
                log.remove_reasons(["kept"], criteria().await?).await
            };
            again(cleaned).await;
            say(&format!("cleaned {before}"));
        }
    }
    drop((audit, log));
    say("ended");
}

async fn begin(path: &Path) -> (Log<Value>, Consumer<Value>) {
    let store = again(async || open(path)).await;
    let store: Arc<dyn Store<Value>> = Arc::new(store);
    let opened = async || {
        let store = Arc::clone(&store);
        Log::open_with("server".parse().unwrap(), store, LogOptions::new()).await
    };
    let log = again(opened).await;
    let audit = again(async || log.consumer("audit").await).await;
    (log, audit)
}

/// All events before those of a batch.
async fn up_to(log: &Log<Value>, batch: u64) -> Result<Criteria, StoreError> {
    let entries = log.entries_after(Added::ZERO, usize::MAX).await?;
    let first = entries.iter().find(|entry| entry.event["batch"] == batch).unwrap();
    Ok(Criteria::all().added(..first.meta.added))
}

/// The last one first, so that one commit keeps all.
async fn acknowledge(audit: &mut Consumer<Value>) {
    let mut deliveries = Vec::new();
    loop {
        let delivery = again_with(audit, async |audit| audit.next().await).await;
        let event = &delivery.event;
        let is_last = event["part"] == PARTS - 1;
        deliveries.push(delivery);
        if is_last {
            break;
        }
    }
    let mut is_kept = false;
    for delivery in deliveries.into_iter().rev() {
        // Where it fails, the next one keeps it, too.
        is_kept = delivery.ack().await.is_ok();
    }
    if is_kept {
        say(&format!("acknowledged {}", audit.position()));
    }
}

async fn again<T, E: std::fmt::Debug>(mut work: impl AsyncFnMut() -> Result<T, E>) -> T {
    again_with(&mut (), async |()| work().await).await
}

async fn again_with<S, T, E: std::fmt::Debug>(
    state: &mut S,
    mut work: impl AsyncFnMut(&mut S) -> Result<T, E>,
) -> T {
    let mut failures = 0;
    loop {
        match work(state).await {
            Ok(done) => return done,
            Err(error) => {
                failures += 1;
                say(&format!("failed {error:?}"));
                assert!(failures < ATTEMPTS, "it fails for ever: {error:?}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(path).map_err(StoreError::new)
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nvictim {line}").and_then(|()| out.flush()).unwrap();
}

/// What the process has said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Said {
    /// Batches that it began to add, and those that were added.
    adds: BTreeSet<u64>,
    added: BTreeSet<u64>,
    /// Before which batch it began to clean, and before which all is cleaned.
    cleans: u64,
    cleaned: u64,
    acknowledged: u64,
    pub(crate) failures: u64,
    has_ended: bool,
}

impl Said {
    /// Hears a line.
    pub(crate) fn hear(&mut self, line: &str) {
        if line == END {
            self.has_ended = true;
        }
        let Some((what, rest)) = line.strip_prefix("victim ").and_then(|line| line.split_once(' '))
        else {
            return;
        };
        let number = || rest.parse().unwrap();
        match what {
            "adds" => drop(self.adds.insert(number())),
            "added" => drop(self.added.insert(number())),
            "cleans" => self.cleans = number(),
            "cleaned" => self.cleaned = number(),
            "acknowledged" => self.acknowledged = self.acknowledged.max(number()),
            "failed" => self.failures += 1,
            _ => {}
        }
    }
}

/// A folder that is removed in the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("logux-sync-disk-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder.canonicalize().unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("what was found is left in {}", self.0.display());
            return;
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the process under `strace`, and answers what it said.
pub(crate) fn run(path: &Path, strace: &[&str], pauses: bool) -> Said {
    let ran = Command::new("timeout")
        .args(["--signal=KILL", "120", "strace", "-f", "--seccomp-bpf", "-qqq"])
        .args(strace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "victim::victim", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FILE, path)
        .envs(pauses.then_some((PAUSES, "1")))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .expect("strace is installed: tests/disk/run does that");
    let mut said = Said::default();
    String::from_utf8_lossy(&ran.stdout).lines().for_each(|line| said.hear(line));
    let errors = String::from_utf8_lossy(&ran.stderr);
    let is_well = said.has_ended && ran.status.success() && !errors.contains("panicked");
    assert!(is_well, "{strace:?}: it said {said:?}, and {errors}");
    said
}

/// Opens the file as it was left, and looks whether all that was said is true.
pub(crate) async fn check(path: &Path, said: &Said) -> Result<(), String> {
    let opened = async { Log::<Value>::open("server".parse().unwrap(), open(path)?).await };
    let log = opened.await.map_err(|error| format!("it is not opened: {error:?}"))?;
    let read = async || -> Result<_, StoreError> {
        let entries = log.entries_after(Added::ZERO, usize::MAX).await?;
        let created: Vec<_> = log.entries().by_creation().stream().try_collect().await?;
        let mut labelled = Vec::new();
        for label in ["kept", "state"].map(|reason| Label::Reason(reason.to_owned())) {
            let Label::Reason(reason) = label else { unreachable!() };
            let of_reason: Vec<_> = log.entries().reason(reason).stream().try_collect().await?;
            labelled.push(of_reason.len());
        }
        let indexed: Vec<_> = log.entries().index("all").stream().try_collect().await?;
        Ok((entries, created.len(), labelled, indexed.len(), log.count().await?))
    };
    let (entries, created, labelled, indexed, count) =
        read().await.map_err(|error| format!("it is not read: {error:?}"))?;
    let all = [created, indexed, labelled.iter().sum(), usize::try_from(count).unwrap()];
    if all != [entries.len(); 4] {
        return Err(format!("{} events, and {all:?} by other ways", entries.len()));
    }
    // By batch, how often each part is there: a batch whose adding failed may be there nevertheless.
    let mut batches: BTreeMap<u64, [u64; 5]> = BTreeMap::new();
    for entry in &entries {
        let number = |key: &str| entry.event[key].as_u64().unwrap();
        batches.entry(number("batch")).or_default()[usize::try_from(number("part")).unwrap()] += 1;
    }
    let (states, kept): (Vec<_>, Vec<_>) =
        batches.iter().map(|(batch, parts)| (parts[4], (*batch, &parts[..4]))).unzip();
    for (batch, parts) in &kept {
        if parts.iter().any(|times| times != &parts[0]) {
            return Err(format!("a part of batch {batch} is there: {parts:?}"));
        }
        if !said.adds.contains(batch) || parts[0] > said.failures + 1 {
            return Err(format!("batch {batch} is there {} times", parts[0]));
        }
        let is_gone = parts[0] == 0;
        if !is_gone && *batch < said.cleaned {
            return Err(format!("batch {batch} is there, and was cleaned"));
        }
    }
    let there: BTreeSet<u64> =
        kept.iter().filter(|(_, parts)| parts[0] > 0).map(|(batch, _)| *batch).collect();
    // What is being cleaned is all there, or all gone.
    let being_cleaned = said.cleaned..said.cleans.max(said.cleaned);
    let is_begun = being_cleaned.clone().any(|batch| !there.contains(&batch));
    for batch in said.added.iter().filter(|batch| **batch >= said.cleaned) {
        let may_be_gone = being_cleaned.contains(batch) && is_begun;
        if !there.contains(batch) && !may_be_gone {
            return Err(format!("batch {batch} was added, and is not there"));
        }
    }
    if let Some(last) = said.added.last() {
        let state = batches.iter().rev().find(|(_, parts)| parts[4] > 0).map(|(batch, _)| *batch);
        if states.iter().sum::<u64>() != 1 || state < Some(*last) {
            return Err(format!("the state is that of {state:?}, of {last} added: {states:?}"));
        }
    }
    let consumers = log.consumers().await.map_err(|error| error.to_string())?;
    let audited = consumers.first().map_or(0, |(_, position)| position.value());
    if audited < said.acknowledged {
        return Err(format!("{} was acknowledged, and {audited} is known", said.acknowledged));
    }
    // It goes on.
    let added = log.add(json!({ "batch": 0, "part": 0 })).await;
    added.map_err(|error| format!("nothing can be added: {error:?}"))?;
    Ok(())
}
