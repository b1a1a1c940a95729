//! What the commands share that connect to a server.

mod options;
mod state_folder;
mod transport;

use std::future::ready;
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{
    Added, ClientSync, Codec, Error, Json, Log, LoguxBinary, MessagePack, ProtocolError, Reconnect,
    Session, SessionEnded, SessionHandle, SyncOptions, Value, Xml,
};

pub(crate) use options::{
    ClientConfiguration, Credentials, ServerOptions, Target, user_of_machine, variable,
};
pub(crate) use state_folder::{Outbox, seat};
use transport::AnyTransport;

use crate::failure::{Failure, Kind, with_causes};

/// How long to wait before the first attempts to connect again.
const MIN_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(5);

/// The options of a client that takes no events.
pub(crate) fn sending_only() -> SyncOptions<Value> {
    SyncOptions::new().in_filter(|_, _| ready(Ok(false))).begin_after(Added::MAX)
}

/// Keeps a log in step with a server, over losses of the connection.
pub(crate) fn start(
    log: &Log<Value>,
    target: &Target,
    options: SyncOptions<Value>,
) -> Result<Session, Failure> {
    let transport = AnyTransport::new(target)?;
    let transport = Reconnect::new(transport).min_delay(MIN_DELAY).max_delay(MAX_DELAY);
    let options = match &target.token {
        Some(token) => options.credentials(token.as_str()),
        None => options,
    };
    let sync = Start { log, transport, options };
    Ok(match target.codec {
        options::CodecName::Json => sync.with(Json),
        options::CodecName::MessagePack => sync.with(MessagePack),
        options::CodecName::Xml => sync.with(Xml),
        options::CodecName::LoguxBinary => sync.with(LoguxBinary::default()),
    })
}

struct Start<'a> {
    log: &'a Log<Value>,
    transport: Reconnect<AnyTransport>,
    options: SyncOptions<Value>,
}

impl Start<'_> {
    fn with(self, codec: impl Codec) -> Session {
        ClientSync::new(self.log, codec, self.transport).options(self.options).start()
    }
}

/// Why a session ended before it got where it was waited for.
pub(crate) fn ended_early(target: &Target, early: &SessionEnded) -> Failure {
    ended(target, early.reason().map(|error| &**error))
}

/// Why a session ended by itself.
pub(crate) fn ended(target: &Target, error: Option<&Error>) -> Failure {
    let Some(error) = error else {
        return Failure::new(Kind::NotConfirmed, format!("{} ended the session", target.url));
    };
    match error {
        Error::Received(ProtocolError::WrongCredentials) => Failure::new(
            Kind::Refused,
            format!(
                "{} refused the user {:?}: its token is not right; set --user, and --token-file or \
                 LOGUX_SYNC_TOKEN",
                target.url, target.user
            ),
        ),
        Error::Received(
            error @ (ProtocolError::WrongSubprotocol { .. } | ProtocolError::Bruteforce),
        ) => Failure::new(Kind::Refused, format!("{} refused: {}", target.url, with_causes(error))),
        error => {
            Failure::new(Kind::NotConfirmed, format!("{}: {}", target.url, with_causes(error)))
        }
    }
}

/// The last error of a session that goes on; for the text of a failure that is only a lack of time.
pub(crate) struct LastError {
    text: tokio::sync::watch::Receiver<Option<String>>,
}

impl LastError {
    pub(crate) fn of(session: &SessionHandle) -> Self {
        let (sender, text) = tokio::sync::watch::channel(None);
        let mut errors = session.errors();
        tokio::spawn(async move {
            while let Some(error) = errors.next().await {
                tracing::debug!(error = %with_causes(&error), "the session");
                sender.send_replace(Some(with_causes(&*error)));
            }
        });
        Self { text }
    }

    /// That the server did not do something in time, and why as far as it is known.
    pub(crate) fn not_in_time(&self, target: &Target, limit: Duration, what: &str) -> Failure {
        let why = self.text.borrow().clone().unwrap_or_else(|| "it did not answer".to_owned());
        let seconds = limit.as_secs_f64();
        Failure::new(Kind::NotConfirmed, format!("{} {what} within {seconds} s: {why}", target.url))
    }
}
