use std::sync::Arc;
use std::time::Duration;

use logux_codecs::{Codec, Event};
use logux_transports::rt::timeout;
use logux_transports::{Link, Transport};

use super::connection::{Connection, Context, Ended, Lasting};
use super::error::Error;
use super::format::format;
use super::options::SyncOptions;
use super::rules::{Config, Role};
use super::session::{Commands, Reporter, Session, Wish};
use super::state::State;
use crate::log::Log;
use crate::store::StoreError;

/// Credentials that held for less are not made anew at once: a peer may give each so little time.
const SHORT: Duration = Duration::from_secs(1);

/// Keeps a log in step with the node that a transport reaches: dials, introduces itself, and, if
/// the transport is a [`Reconnect`](crate::Reconnect), comes back after each loss.
///
/// The log may be written to at any time, connected or not.
///
/// ```no_run
/// use logux_sync::{ClientSync, Json, Log, MemoryStore, Reconnect, State, SyncOptions, WebSocket};
///
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Todo;
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let log = Log::<Todo>::open("10:uuid".parse()?, MemoryStore::new()).await?;
/// let transport = Reconnect::new(WebSocket::new("ws://127.0.0.1:31337")?);
/// let session = ClientSync::new(&log, Json, transport)
///     .options(SyncOptions::new().credentials("secret"))
///     .start();
/// session.wait_for(State::Synchronized).await?;
/// session.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a synchronization does nothing until it is started"]
pub struct ClientSync<E, C, T> {
    log: Log<E>,
    codec: C,
    transport: T,
    options: SyncOptions<E>,
}

impl<E: Event, C: Codec, T: Transport> ClientSync<E, C, T> {
    /// Prepares to synchronize a log.
    pub fn new(log: &Log<E>, codec: C, transport: T) -> Self {
        Self { log: log.clone(), codec, transport, options: SyncOptions::new() }
    }

    /// Sets how to behave.
    pub fn options(mut self, options: SyncOptions<E>) -> Self {
        self.options = options;
        self
    }

    /// Starts, in a task of its own. Must be called within a tokio runtime.
    pub fn start(self) -> Session {
        Session::spawn(Arc::new(self.log.clone()), |commands, reporter| {
            self.run(commands, reporter)
        })
    }

    async fn run(mut self, commands: Commands, reporter: Reporter) -> Result<(), Arc<Error>> {
        let (farewell, log) = (self.options.farewell, self.log.clone());
        let result = tokio::select! {
            biased;
            result = self.keep_connecting(&commands, &reporter) => result,
            () = commands.overdue(farewell) => {
                show_roughly(&log, &reporter);
                Ok(())
            }
        };
        reporter.finish(result)
    }

    /// Opens one connection after the other, until there is no sense in another one.
    async fn keep_connecting(
        &mut self,
        commands: &Commands,
        reporter: &Reporter,
    ) -> Result<(), Arc<Error>> {
        let mut lasting = Lasting::default();
        loop {
            reporter.state(State::Connecting);
            let told = commands.take_headers().or(lasting.headers.take());
            if let Some(headers) = told {
                self.options.headers = headers;
            }
            let opened = tokio::select! {
                biased;
                wish = commands.wish() => match wish {
                    Wish::Close => break,
                    Wish::Reconnect => continue,
                },
                opened = self.open(&lasting) => opened,
            };
            let ended = match opened {
                Ok((link, mut config)) => {
                    if let Some(headers) = commands.take_headers() {
                        self.options.headers.clone_from(&headers);
                        config.headers = headers;
                    }
                    let Self { log, codec, options, .. } = &*self;
                    let lasting = &mut lasting;
                    let context = Context {
                        log,
                        options,
                        reporter,
                        commands,
                        lasting,
                        place: None,
                        dials: true,
                    };
                    let ended = Connection::new(context, codec, config, link).run().await;
                    if lasting.has_begun {
                        // Later connections go on from where this one came to.
                        self.options.admission.synced = None;
                        self.options.admission.other_synced = None;
                        self.options.admission.begin_after = None;
                    }
                    ended
                }
                Err(error) => Ended::not_opened(error),
            };
            let dials_at_once = ended.dials_anew
                || self.has_fresh_credentials(&ended, &mut lasting)
                || dials_for_a_better_claim(&ended, &mut lasting);
            let is_final = ended.result.as_ref().is_err_and(|error| !error.is_transient());
            let is_over = ended.closed_here || is_final;
            show_roughly(&self.log, reporter);
            let result = ended.result.map_err(|error| reporter.error(error));
            if dials_at_once {
                continue;
            }
            let again = !is_over
                && tokio::select! {
                    biased;
                    wish = commands.wish() => match wish {
                        Wish::Reconnect => true,
                        Wish::Close => break,
                    },
                    again = self.transport.retry(ended.progressed) => again,
                    () = show_what_waits(&self.log, reporter) => false,
                };
            if !again {
                show_end(&self.log, reporter, self.options.farewell).await;
                return result;
            }
        }
        show_end(&self.log, reporter, self.options.farewell).await;
        Ok(())
    }

    /// Whether new credentials may help at once where those of the last connection did not.
    fn has_fresh_credentials(&self, ended: &Ended, lasting: &mut Lasting) -> bool {
        let Err(error) = &ended.result else { return false };
        if !self.options.makes_credentials() || ended.closed_here {
            return false;
        }
        if error.is_refusal_of_credentials() {
            // A peer that refuses what it has just let in would do so each time.
            let is_soon = ended.lasted.is_some_and(|lasted| lasted < SHORT);
            return !std::mem::replace(&mut lasting.was_refused, true) && !is_soon;
        }
        error.is_expiry() && ended.lasted.is_some_and(|lasted| lasted >= SHORT)
    }

    /// Opens a link, and tells with what to start on it.
    async fn open(
        &mut self,
        lasting: &Lasting,
    ) -> Result<(Link<T::Sender, T::Receiver>, Config), Error> {
        // Before the link: a peer does not wait for a token to be fetched.
        let credentials = self.options.produce_credentials().await?;
        let max_frame = self.options.limits_in::<C>(self.log.event_limits()).frame;
        let link = self.transport.open(format::<C>(), max_frame).await;
        let link = link.map_err(Error::Link)?;
        // Other sessions of the log may have dialled other nodes.
        let expected = match &lasting.answered {
            Some(node) => Some(node.clone()),
            None => self.log.dialled().await?,
        };
        let mut claim = self.options.admission.claim(&self.log, expected).await?;
        claim.may_be_mended = !lasting.guessed_wrong;
        let mut config = self.options.config(Role::Opener, &self.log, credentials, claim);
        config.time_fix.clone_from(&lasting.time_fix);
        Ok((link, config))
    }
}

/// Whether to dial at once because another node answered than expected, with a claim about that node. Only the
/// first time in a row, since each attempt may reach another node.
fn dials_for_a_better_claim(ended: &Ended, lasting: &mut Lasting) -> bool {
    let Err(Error::AnotherNode { found }) = &ended.result else { return false };
    lasting.answered = Some(found.clone());
    !ended.closed_here && !std::mem::replace(&mut lasting.guessed_wrong, true)
}

impl Ended {
    fn not_opened(error: Error) -> Self {
        Self {
            result: Err(error),
            closed_here: false,
            progressed: false,
            dials_anew: false,
            lasted: None,
        }
    }
}

/// Shows how the session ends. Not for ever: the store may be what is wrong.
async fn show_end<E: Event>(log: &Log<E>, reporter: &Reporter, limit: Duration) {
    show_roughly(log, reporter);
    let _ = timeout(limit, show_offline(log, reporter)).await;
}

/// Shows that there is no connection, without a look at what is in the store.
fn show_roughly<E: Event>(log: &Log<E>, reporter: &Reporter) {
    show(log.last_added() > reporter.synced(), reporter);
}

fn show(waits: bool, reporter: &Reporter) {
    reporter.state(if waits { State::Wait } else { State::Disconnected });
}

/// Shows that there is no connection, and whether something waits for one: what came from the peer
/// does not.
async fn show_offline<E: Event>(log: &Log<E>, reporter: &Reporter) {
    match waits(log, reporter).await {
        Ok(waits) => show(waits, reporter),
        // The store's failure is told where it does harm.
        Err(_) => show_roughly(log, reporter),
    }
}

async fn waits<E: Event>(log: &Log<E>, reporter: &Reporter) -> Result<bool, StoreError> {
    let peer = reporter.peer();
    let peer = peer.as_ref().map(|peer| &peer.node_id);
    Ok(!log.came_from(peer, reporter.synced(), log.last_added()).await?)
}

/// Never ends: shows when there is something to send while there is no connection.
async fn show_what_waits<E: Event>(log: &Log<E>, reporter: &Reporter) {
    loop {
        let end = log.last_added();
        show_offline(log, reporter).await;
        log.end().beyond(end).await;
    }
}
