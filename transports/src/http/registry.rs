//! What all requests share: who accepts links, and the long-poll sessions by the ids that their
//! clients know.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use http::HeaderValue;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};

use super::link::HttpLink;
use crate::link::Format;
use crate::long_poll::session::Session;
use crate::options::ListenerOptions;
use crate::places::Places;
use crate::rt::{self, timeout};

/// How long a client waits for somebody to accept it.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// All that requests have in common.
#[derive(Debug)]
pub(super) struct Registry {
    options: RwLock<Arc<ListenerOptions>>,
    /// What [`Listener::accept`](crate::Listener::accept) was told.
    accepting: watch::Sender<Option<Accepting>>,
    /// New links, for the listener that accepts them.
    links: mpsc::Sender<HttpLink>,
    entries: Mutex<Entries>,
    pub(super) places: Places,
}

/// What is accepted.
#[derive(Clone, Debug)]
pub(super) struct Accepting {
    pub(super) formats: Arc<[Format]>,
    pub(super) max_frame: usize,
}

#[derive(Debug, Default)]
struct Entries {
    /// By the digest of the session's id, so that how long a look-up takes tells nothing of an id.
    sessions: HashMap<Digested, Entry>,
    /// The ids of sessions, by what asked for them, so that a client that missed the answer can ask again.
    asked: HashMap<Asked, String>,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) session: Arc<Session>,
    pub(super) format: Format,
    /// The page that opened it: no other may use it.
    pub(super) origin: Option<HeaderValue>,
}

/// What a client asks with for a session: a nonce, and the page that it is, if it is one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) nonce: [u8; 16],
    pub(super) origin: Option<HeaderValue>,
}

type Digested = [u8; 32];

/// Nobody accepts links (any more).
#[derive(Clone, Copy, Debug)]
pub(super) struct NotAccepting;

impl Registry {
    /// A registry, and what gives the links.
    pub(super) fn new(options: ListenerOptions) -> (Arc<Self>, mpsc::Receiver<HttpLink>) {
        let (links, accepted) = mpsc::channel(64);
        let registry = Self {
            options: RwLock::new(Arc::new(options)),
            accepting: watch::Sender::new(None),
            links,
            entries: Mutex::default(),
            places: Places::default(),
        };
        (Arc::new(registry), accepted)
    }

    /// The options that hold now.
    pub(super) fn options(&self) -> Arc<ListenerOptions> {
        Arc::clone(&self.options.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_options(&self, options: ListenerOptions) {
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
    }

    pub(super) fn accept(&self, formats: &[Format], max_frame: usize) {
        self.accepting.send_if_modified(|accepting| {
            let is_new = accepting.is_none();
            if is_new {
                *accepting = Some(Accepting { formats: formats.into(), max_frame });
            }
            is_new
        });
    }

    /// What is accepted; once somebody accepts.
    pub(super) async fn accepting(&self) -> Result<Accepting, NotAccepting> {
        let mut accepting = self.accepting.subscribe();
        let waiting = timeout(MAX_WAIT, accepting.wait_for(Option::is_some));
        tokio::select! {
            biased;
            () = self.links.closed() => Err(NotAccepting),
            found = waiting => match found {
                Ok(Ok(accepting)) => accepting.clone().ok_or(NotAccepting),
                _ => Err(NotAccepting),
            },
        }
    }

    /// Room to hand a link over.
    pub(super) async fn reserve(&self) -> Result<mpsc::OwnedPermit<HttpLink>, NotAccepting> {
        match timeout(MAX_WAIT, self.links.clone().reserve_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(NotAccepting),
        }
    }

    /// Waits until there is no link left and nobody accepts more.
    pub(super) async fn idle(&self) {
        self.links.closed().await;
        self.places.empty().await;
    }

    /// The session that was opened for this before.
    pub(super) fn opened(&self, asked: &Asked) -> Option<String> {
        self.lock().asked.get(asked).cloned()
    }

    /// Enters a session, under an id that nobody can guess. Not if one is there that was opened for
    /// this, whose id it gives then, and `false`.
    pub(super) fn enter(&self, asked: Asked, entry: Entry) -> io::Result<(String, bool)> {
        let mut id = [0; 32];
        rt::fill_random(&mut id)?;
        let id = BASE64URL_NOPAD.encode(&id);
        let mut entries = self.lock();
        if let Some(id) = entries.asked.get(&asked) {
            return Ok((id.clone(), false));
        }
        entries.sessions.insert(digest(&id), entry);
        entries.asked.insert(asked, id.clone());
        Ok((id, true))
    }

    pub(super) fn leave(&self, asked: &Asked) {
        let mut entries = self.lock();
        if let Some(id) = entries.asked.remove(asked) {
            entries.sessions.remove(&digest(&id));
        }
    }

    pub(super) fn find(&self, id: &[u8]) -> Option<Entry> {
        self.lock().sessions.get(&digest(id)).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Nothing panics while the lock is held.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(id: impl AsRef<[u8]>) -> Digested {
    Sha256::digest(id).into()
}
