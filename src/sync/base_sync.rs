use std::pin::pin;
use std::sync::Arc;

use logux_codecs::{Codec, Event};
use logux_transports::{FrameReceiver, FrameSender, Link};

use super::admission::Place;
use super::connection::{Connection, Context, Lasting};
use super::error::Error;
use super::options::SyncOptions;
use super::rules::{Claim, Config, Role};
use super::session::{Commands, Reporter, Session, Wish};
use super::state::State;
use crate::log::Log;

/// Keeps a log in step over one open link, in either role; for roles of one's own, such as nodes
/// that all dial each other.
///
/// ```
/// use logux_sync::{BaseSync, Json, Log, Memory, MemoryStore, Role, State, Value};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let left = Log::<Value>::open("left".parse()?, MemoryStore::new()).await?;
/// let right = Log::<Value>::open("right".parse()?, MemoryStore::new()).await?;
/// left.add(serde_json::json!({ "type": "hello" })).await?;
///
/// let (near, far) = Memory::pair();
/// let opener = BaseSync::new(&left, Json, Role::Opener, near).start();
/// let acceptor = BaseSync::new(&right, Json, Role::Acceptor, far).start();
/// opener.wait_for(State::Synchronized).await?;
/// assert_eq!(right.last_added(), left.last_added());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a synchronization does nothing until it is started"]
pub struct BaseSync<E, C, S, R> {
    log: Log<E>,
    codec: C,
    role: Role,
    link: Link<S, R>,
    options: Arc<SyncOptions<E>>,
    place: Option<Place>,
}

impl<E: Event, C: Codec, S: FrameSender, R: FrameReceiver> BaseSync<E, C, S, R> {
    /// Prepares to synchronize a log.
    pub fn new(log: &Log<E>, codec: C, role: Role, link: Link<S, R>) -> Self {
        let (log, options) = (log.clone(), Arc::default());
        Self { log, codec, role, link, options, place: None }
    }

    /// Sets how to behave.
    pub fn options(mut self, options: SyncOptions<E>) -> Self {
        self.options = Arc::new(options);
        self
    }

    /// Like [`options`](Self::options), with options that other connections share.
    pub(crate) fn shared_options(mut self, options: Arc<SyncOptions<E>>) -> Self {
        self.options = options;
        self
    }

    /// Has this place, first among those whose peer was not let in.
    pub(crate) fn place(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Starts, in a task of its own. Must be called within a tokio runtime.
    pub fn start(self) -> Session {
        Session::spawn(Arc::new(self.log.clone()), |commands, reporter| {
            self.run(commands, reporter)
        })
    }

    /// Not an `async fn`, which would hold what it is given twice, for as long as the connection lasts.
    pub(crate) fn run(
        self,
        commands: Commands,
        reporter: Reporter,
    ) -> impl Future<Output = Result<(), Arc<Error>>> + Send {
        let Self { log, codec, role, link, options, place } = self;
        // Boxed: the future would hold it twice, too, for as long as the connection lasts.
        let link = Box::new(link);
        async move {
            let working = async {
                reporter.state(State::Connecting);
                let config = {
                    let mut preparing = pin!(prepare(&log, role, &options));
                    loop {
                        tokio::select! {
                            biased;
                            wish = commands.wish() => match wish {
                                Wish::Close => return Ok(()),
                                // There is one link only, and nobody to ask yet.
                                Wish::Reconnect => {}
                            },
                            config = &mut preparing => break config?,
                        }
                    }
                };
                let (reporter, commands) = (&reporter, &commands);
                let lasting = &mut Lasting::default();
                let (log, options) = (&log, &*options);
                let context =
                    Context { log, options, reporter, commands, lasting, place, dials: false };
                Connection::new(context, &codec, config, unboxed(link)).run().await.result
            };
            let result = tokio::select! {
                biased;
                result = working => result,
                () = commands.overdue(options.farewell) => Ok(()),
            };
            reporter.state(State::Disconnected);
            let result = result.map_err(|error| reporter.error(error));
            reporter.finish(result)
        }
    }
}

/// Moves a value out of its box and frees the box now; an `async` block would keep it to its end.
#[expect(clippy::boxed_local, reason = "that it ends here is what this is for")]
fn unboxed<T>(boxed: Box<T>) -> T {
    *boxed
}

/// What a connection is started with.
async fn prepare<E: Event>(
    log: &Log<E>,
    role: Role,
    options: &SyncOptions<E>,
) -> Result<Config, Error> {
    let credentials = options.produce_credentials().await?;
    // It is not known which node will answer.
    let claim = match role {
        Role::Opener => options.admission.claim(log, None).await?,
        Role::Acceptor => Claim::default(),
    };
    Ok(options.config(role, log, credentials, claim))
}

/// Keeps a log in step with the node that opened a link, and ends with it.
///
/// [`Server`](crate::Server) makes one for each connection of a listener.
#[derive(Debug)]
#[must_use = "a synchronization does nothing until it is started"]
pub struct ServerSync<E, C, S, R>(BaseSync<E, C, S, R>);

impl<E: Event, C: Codec, S: FrameSender, R: FrameReceiver> ServerSync<E, C, S, R> {
    /// Prepares to synchronize a log.
    pub fn new(log: &Log<E>, codec: C, link: Link<S, R>) -> Self {
        Self(BaseSync::new(log, codec, Role::Acceptor, link))
    }

    /// Sets how to behave.
    pub fn options(self, options: SyncOptions<E>) -> Self {
        Self(self.0.options(options))
    }

    /// Starts, in a task of its own. Must be called within a tokio runtime.
    pub fn start(self) -> Session {
        self.0.start()
    }
}
