//! The logs of a server: the usual one, and those of tenants, each in a file beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use logux_sync::{EventLimits, Log, LogOptions, Pruning, Retention, Value};
use tokio::sync::{Mutex, RwLock};

use super::options::Settings;
use crate::failure::Failure;
use crate::store::{self, Place};

/// How often old events are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);

/// So many logs of tenants are open at once: each has a thread and some files.
const MAX_TENANTS: usize = 1_000;

/// The longest name of a tenant's log.
const MAX_NAME: usize = 64;

/// The logs that are open. Those of tenants are opened when the first of their clients comes.
#[derive(Clone)]
pub(super) struct Logs {
    pub(super) usual: Log<Value>,
    shared: Arc<Shared>,
}

/// A log, the name of its tenant if it is not the usual one, and its file.
pub(super) type Opened = (Option<String>, Log<Value>, Option<PathBuf>);

struct Shared {
    place: Place,
    limits: EventLimits,
    keep: Option<Duration>,
    of_tenants: RwLock<BTreeMap<String, Log<Value>>>,
    /// Held while one is opened, so that none is opened twice.
    prunings: Mutex<Vec<Pruning>>,
}

impl Logs {
    /// Opens the usual log.
    pub(super) async fn open(settings: &Settings) -> Result<Self, Failure> {
        let limits =
            if settings.any_event { EventLimits::default() } else { EventLimits::for_javascript() };
        let limits = settings.max_event.map_or(limits, |bytes| limits.bytes(bytes));
        let node = || match &settings.node {
            Some(name) => Ok(name.clone()),
            None => store::node_id(&format!("server:{}", store::random_name()?)),
        };
        let options = LogOptions::new().event_limits(limits);
        let usual = store::open(&settings.store, node, options).await?;
        let shared = Shared {
            place: settings.store.clone(),
            limits,
            keep: settings.keep,
            of_tenants: RwLock::default(),
            prunings: Mutex::default(),
        };
        let prunings = shared.prune(&usual).into_iter().collect();
        let shared = Shared { prunings: Mutex::new(prunings), ..shared };
        Ok(Self { usual, shared: Arc::new(shared) })
    }

    /// The log of a tenant; it is made if it is not there. The name is a [valid](is_valid) one.
    pub(super) async fn of_tenant(&self, name: &str) -> Result<Log<Value>, Failure> {
        let Shared { place, limits, of_tenants, prunings, .. } = &*self.shared;
        if let Some(log) = of_tenants.read().await.get(name) {
            return Ok(log.clone());
        }
        let mut prunings = prunings.lock().await;
        // Another client may have been quicker.
        if let Some(log) = of_tenants.read().await.get(name) {
            return Ok(log.clone());
        }
        if of_tenants.read().await.len() >= MAX_TENANTS {
            return Err(Failure::failed(format!("{MAX_TENANTS} logs of tenants are open already")));
        }
        let node = || store::node_id(&format!("server:{name}-{}", store::random_name()?));
        let options = LogOptions::new().event_limits(*limits);
        let log = store::open(&beside(place, name), node, options).await?;
        prunings.extend(self.shared.prune(&log));
        of_tenants.write().await.insert(name.to_owned(), log.clone());
        tracing::info!(tenant = name, node = %log.node_id(), "the log of a tenant is open");
        Ok(log)
    }

    /// All that are open, with the names of tenants and the files.
    pub(super) async fn all(&self) -> Vec<Opened> {
        let place = &self.shared.place;
        let of_tenants = self.shared.of_tenants.read().await;
        let of_tenants = of_tenants.iter().map(|(name, log)| {
            (Some(name.clone()), log.clone(), beside(place, name).file().map(Path::to_owned))
        });
        let usual = (None, self.usual.clone(), place.file().map(Path::to_owned));
        [usual].into_iter().chain(of_tenants).collect()
    }
}

impl Shared {
    fn prune(&self, log: &Log<Value>) -> Option<Pruning> {
        self.keep.map(|age| log.prune_every(PRUNE_EVERY, Retention::new().max_age(age)))
    }
}

/// Whether a tenant may be called so: it is a part of the name of a file and of a node.
pub(super) fn is_valid(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(is_plain)
}

/// `log.db` and `oak` are `log.oak.db`. It never has the name of a file that a log has beside it.
fn beside(place: &Place, name: &str) -> Place {
    let Some(path) = place.file() else { return Place::Memory };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().map_or_else(|| "db".into(), |it| it.to_string_lossy());
    let file = format!("{stem}.{name}.{extension}");
    Place::Sqlite(path.with_file_name(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_log_is_beside_the_usual_one() {
        for (path, expected) in [
            ("log.db", "log.oak.db"),
            ("/var/lib/log", "/var/lib/log.oak.db"),
            ("a.b.c", "a.b.oak.c"),
        ] {
            let place = beside(&Place::Sqlite(path.into()), "oak");
            assert_eq!(place, Place::Sqlite(expected.into()));
        }
        assert_eq!(beside(&Place::Memory, "oak"), Place::Memory);
    }

    #[test]
    fn names_of_tenants_lead_nowhere_else() {
        for name in ["oak", "Oak-2_b", &"a".repeat(64)] {
            assert!(is_valid(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a\\b", "a.b", "a b", "ä", &"a".repeat(65)] {
            assert!(!is_valid(name), "{name}");
        }
    }
}
