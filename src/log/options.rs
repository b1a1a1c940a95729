use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use logux_codecs::EventLimits;

use super::Clock;
use super::arriving::{Arriving, Hook, NotAdded};
use crate::entry::Entry;

/// How a log behaves: [`Log::open_with`](crate::Log::open_with).
///
/// ```
/// use logux_sync::{EventLimits, LogOptions, Value};
///
/// // Events go to JavaScript nodes, too.
/// let options = LogOptions::<Value>::new().event_limits(EventLimits::for_javascript());
/// ```
#[must_use]
pub struct LogOptions<E> {
    pub(super) clock: Clock,
    pub(super) event_limits: EventLimits,
    pub(super) is_restored: bool,
    pub(super) behaviour: Behaviour<E>,
}

/// What happens to events as they are added, and after they are gone.
pub(super) struct Behaviour<E> {
    pub(super) before_add: Option<Arc<Hook<E>>>,
    pub(super) inbox: Option<Arc<Choice<E>>>,
    pub(super) unreasoned: Unreasoned,
    pub(super) remember_for: Duration,
    pub(super) remember_at_most: usize,
}

/// In which queue an event waits.
/// Which queue of the inbox an event of a peer waits in, if it does. It may change what is local of the event.
pub(crate) type Choice<E> = dyn Fn(&mut Entry<E>) -> Option<String> + Send + Sync;

/// What happens to an event that has no reason to be kept as it is added: [`LogOptions::unreasoned`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreasoned {
    /// The log keeps it until something cleans it.
    #[default]
    Keep,
    /// The log does not keep it, as JavaScript logs do not: the event gets no position, sessions do not send it, and
    /// [`Log::cleaned`](crate::Log::cleaned) shows it. Its id is not remembered either, so a second copy passes again.
    PassBy,
}

impl<E> LogOptions<E> {
    /// The system's clock, and events of at most 256 KiB that every peer can be sent. Events without reasons are
    /// kept. The log remembers the ids of cleaned events for 90 days, and at most a million of them.
    pub fn new() -> Self {
        let behaviour = Behaviour {
            before_add: None,
            inbox: None,
            unreasoned: Unreasoned::Keep,
            remember_for: Duration::from_secs(90 * 24 * 60 * 60),
            remember_at_most: 1_000_000,
        };
        let (clock, event_limits) = (Clock::system(), EventLimits::default());
        Self { clock, event_limits, is_restored: false, behaviour }
    }

    /// Where the log takes the time of day from.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The store holds an earlier state of the log: a copy that was put back after a loss. The log gets a new
    /// [`Epoch`](crate::Epoch) as it is opened: peers notice that it is another one, and send again what is
    /// missing here. A node that this one dials sends this node's own events, too; of those that connect, a server
    /// takes its own events and those of others only from a relay ([`Access::relay`](crate::Access::relay)). Set
    /// it once, not each time.
    ///
    /// Without it, peers take the log for the one that they know, and what both sides add from now on may be taken
    /// for what was there before.
    pub fn restored(mut self) -> Self {
        self.is_restored = true;
        self
    }

    /// What an event must keep to, to be added here or to be taken from a peer. The frames of sessions
    /// are as long as the longest such event needs.
    pub fn event_limits(mut self, limits: EventLimits) -> Self {
        self.event_limits = limits;
        self
    }

    /// Sets a hook that sees each event before it is added, from this program or from a peer. The hook may give the
    /// event reasons, indexes and extra keys, or refuse it.
    ///
    /// The log calls it in the order of the events, outside any transaction, and does not wait in it. It also sees
    /// events that turn out to be known. If it refuses one event of a call, the whole call fails and adds nothing.
    /// If it refuses an event of a peer, the peer is told, and the log adds the peer's other events.
    ///
    /// ```
    /// # use logux_sync::{Label, Log, LogOptions, MemoryStore, NotAdded, Value};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let options = LogOptions::<Value>::new().before_add(|arriving| {
    ///     let name = arriving.event()["name"].as_str();
    ///     let name = name.ok_or_else(|| NotAdded::new("it has no name"))?.to_owned();
    ///     arriving.keep_last(name);
    ///     Ok(())
    /// });
    /// let store = std::sync::Arc::new(MemoryStore::new());
    /// let log = Log::open_with("node".parse()?, store, options).await?;
    /// log.add(serde_json::json!({ "type": "set", "name": "size", "to": 1 })).await?;
    /// log.add(serde_json::json!({ "type": "set", "name": "size", "to": 2 })).await?;
    /// assert_eq!(log.count().await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn before_add(
        mut self,
        hook: impl Fn(&mut Arriving<'_, E>) -> Result<(), NotAdded> + Send + Sync + 'static,
    ) -> Self {
        self.behaviour.before_add = Some(Arc::new(hook));
        self
    }

    /// Chooses which events of peers wait in the [inbox](crate::Log::inbox) instead of being added: those for which
    /// `queue` answers the name of a queue. The peer gets its confirmation once the event waits there durably. The
    /// hook [`before_add`](Self::before_add) sees the event when it is settled.
    ///
    /// If the queue is full, the connection ends, and the peer may connect again. An event is refused, and the peer
    /// told, if `queue` answers a name that a queue cannot have.
    pub fn inbox(
        mut self,
        queue: impl Fn(&Entry<E>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.behaviour.inbox = Some(Arc::new(move |entry: &mut Entry<E>| queue(entry)));
        self
    }

    /// Sets what happens to events that have no reason when they are added.
    pub fn unreasoned(mut self, unreasoned: Unreasoned) -> Self {
        self.behaviour.unreasoned = unreasoned;
        self
    }

    /// Sets how many ids of cleaned events the log remembers, and for how long by the times in the ids. A remembered
    /// id keeps a late copy of its event from being added again. Each takes about 50 bytes. Older ids are forgotten
    /// when other events are changed or cleaned.
    ///
    /// Once ids of a node are forgotten, the log cannot tell a late copy from an event that was never here. So it
    /// refuses events of that node that are as old as the forgotten ids, unless it has them, and tells the peer.
    pub fn remember(mut self, duration: Duration, at_most: usize) -> Self {
        (self.behaviour.remember_for, self.behaviour.remember_at_most) = (duration, at_most);
        self
    }
}

impl<E> Default for LogOptions<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> Clone for LogOptions<E> {
    fn clone(&self) -> Self {
        let Self { clock, event_limits, is_restored, behaviour } = self;
        let behaviour = Behaviour {
            before_add: behaviour.before_add.clone(),
            inbox: behaviour.inbox.clone(),
            ..*behaviour
        };
        let (clock, event_limits) = (clock.clone(), *event_limits);
        Self { clock, event_limits, is_restored: *is_restored, behaviour }
    }
}

impl<E> From<Clock> for LogOptions<E> {
    fn from(clock: Clock) -> Self {
        Self::new().clock(clock)
    }
}

impl<E> fmt::Debug for LogOptions<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogOptions")
            .field("clock", &self.clock)
            .field("event_limits", &self.event_limits)
            .field("is_restored", &self.is_restored)
            .field("unreasoned", &self.behaviour.unreasoned)
            .finish_non_exhaustive()
    }
}
