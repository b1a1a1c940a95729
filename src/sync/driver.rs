//! Moves what the [`Rules`] say between the link, the log and the user: one task for each
//! connection. It holds no rule of the protocol.

use std::future::{pending, ready};
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use logux_codecs::{Codec, Event, Headers, Message, NodeId, ProtocolError};
use logux_transports::{FrameReceiver, FrameSender, Link, Peer};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tracing::Instrument;

use super::error::{Error, shown, start_of};
use super::intake::Intake;
use super::options::{Login, SyncOptions};
use super::outgoing::{Batch, Limits, next_batch};
use super::rules::{Claim, Config, Input, Now, Output, Role, Rules, Wanted};
use super::session::{Command, Notice, Reporter};
use crate::log::Log;
use crate::store::{Cursors, StoreError};

/// While more frames than this wait to be sent, nothing further is read.
const MAX_OUTBOX: usize = 256;

/// So many frames are taken in a row before all else gets its turn: what they ask for is then
/// stored and answered together.
const MAX_BURST: usize = 32;

/// How long the last frames may take to go out, and the peer to close in its turn.
const FAREWELL: Duration = Duration::from_secs(5);

/// How a connection ended.
pub(crate) struct Ended {
    /// What went wrong; nothing, if either side just closed it.
    pub(crate) result: Result<(), Error>,
    /// Whether the user closed it.
    pub(crate) closed_here: bool,
    /// Whether both logs were once equal over it.
    pub(crate) synchronized: bool,
    /// The user's new headers, if there were any: they hold for the next connection, too.
    pub(crate) headers: Option<Headers>,
}

/// Work that goes on beside the rest, at most one of a kind.
type Lane<T> = Option<BoxFuture<'static, T>>;

/// One connection between a log and a peer.
pub(crate) struct Driver<'a, E, C> {
    log: &'a Log<E>,
    codec: &'a C,
    options: &'a SyncOptions,
    reporter: &'a Reporter,
    commands: &'a mut mpsc::Receiver<Command>,
    rules: Rules<E>,
    limits: Limits,
    peer: Peer,
    remote: Option<NodeId>,
    headers: Headers,
    own_headers: Option<Headers>,
    outbox: Vec<Bytes>,
    wanted: Option<Wanted>,
    intake: Intake<E>,
    checking: Lane<Result<Result<Cursors, ProtocolError>, Error>>,
    reading: Lane<Result<Batch, Error>>,
    storing: Lane<Result<usize, StoreError>>,
    closed_here: bool,
    /// Nothing more is to be received.
    peer_ended: bool,
}

/// The sending half, at work or not.
struct Writer<S> {
    idle: Option<S>,
    busy: Lane<(S, io::Result<()>)>,
}

impl<'a, E: Event, C: Codec> Driver<'a, E, C> {
    pub(crate) fn new(
        log: &'a Log<E>,
        codec: &'a C,
        options: &'a SyncOptions,
        reporter: &'a Reporter,
        commands: &'a mut mpsc::Receiver<Command>,
        config: Config,
    ) -> Self {
        Self {
            log,
            codec,
            options,
            reporter,
            commands,
            rules: Rules::new(config, log.last_added()),
            limits: options.limits(),
            peer: Peer::default(),
            remote: None,
            headers: Headers::new(),
            own_headers: None,
            outbox: Vec::new(),
            wanted: None,
            intake: Intake::default(),
            checking: None,
            reading: None,
            storing: None,
            closed_here: false,
            peer_ended: false,
        }
    }

    /// Runs the connection to its end.
    pub(crate) async fn run<S: FrameSender, R: FrameReceiver>(self, link: Link<S, R>) -> Ended {
        let span = tracing::info_span!(
            "connection",
            node = %self.log.node_id(),
            codec = C::NAME,
            address = link.peer.address.map(tracing::field::display),
            peer = tracing::field::Empty,
        );
        self.run_to_the_end(link).instrument(span).await
    }

    async fn run_to_the_end<S: FrameSender, R: FrameReceiver>(mut self, link: Link<S, R>) -> Ended {
        let Link { sender, mut receiver, peer } = link;
        self.peer = peer;
        let mut writer = Writer { idle: Some(sender), busy: None };
        let mut result = self.converse(&mut receiver, &mut writer).await;
        // What arrived whole is kept, whatever became of the connection.
        if !matches!(result, Err(Error::Store(_))) {
            let stored = self.intake.finish(self.log, self.storing.take()).await;
            result = result.and(stored.map_err(Error::from));
        }
        if !matches!(result, Err(Error::Link(_))) {
            let outbox = std::mem::take(&mut self.outbox);
            let receiver = (!self.peer_ended).then_some(receiver);
            // Who does not take the last frames, or does not close, has had its time.
            let _ = timeout(FAREWELL, say_goodbye(outbox, receiver, writer)).await;
        }
        Ended {
            result,
            closed_here: self.closed_here,
            synchronized: self.rules.was_synchronized(),
            headers: self.own_headers,
        }
    }

    /// Hands the rules one input after the other, and does what they say.
    async fn converse<S: FrameSender, R: FrameReceiver>(
        &mut self,
        receiver: &mut R,
        writer: &mut Writer<S>,
    ) -> Result<(), Error> {
        let end = Arc::clone(self.log.end());
        let mut burst = 0;
        let mut input = Input::Opened;
        loop {
            self.rules.handle(self.now(), input);
            if self.carry_out()?.is_some() {
                return Ok(());
            }
            self.reporter.update(self.rules.state(), self.rules.confirmed());
            self.start_work(writer);
            let reads = self.rules.reads()
                && self.outbox.len() < MAX_OUTBOX
                && self.intake.has_room()
                && burst < MAX_BURST;
            tokio::task::consume_budget().await;
            let mut received = false;
            input = tokio::select! {
                biased;
                command = self.commands.recv() => self.command(command),
                frame = receiver.receive(), if reads => {
                    received = matches!(frame, Ok(Some(_)));
                    self.peer_ended = !received;
                    match frame {
                        Ok(Some(frame)) => self.decode(frame),
                        Ok(None) => return Ok(()),
                        Err(error) => not_received::<E, C>(error)?,
                    }
                }
                checked = work(&mut self.checking) => Input::Checked(checked?),
                stored = work(&mut self.storing) => Input::Stored(stored?),
                batch = work(&mut self.reading) => self.take(batch?),
                (sender, written) = work(&mut writer.busy) => {
                    writer.idle = Some(sender);
                    written.map_err(Error::Link)?;
                    Input::Tick
                }
                end = end.beyond(self.rules.log_end()) => Input::Grown(end),
                // Who is not read cannot answer: while the store is behind, the peer is not late.
                () = until(self.rules.deadline()), if self.intake.has_room() => Input::Tick,
                // Everybody else had a turn.
                () = ready(()), if burst >= MAX_BURST => Input::Tick,
            };
            burst = if received { burst + 1 } else { 0 };
        }
    }

    /// Does what the rules ask for, or notes it for when its lane is free. `Some` ends the
    /// connection.
    fn carry_out(&mut self) -> Result<Option<()>, Error> {
        while let Some(output) = self.rules.poll() {
            match output {
                Output::Send(message) => {
                    let frame = self.encode(&message)?;
                    self.outbox.push(frame);
                }
                Output::Check(claim) => {
                    tracing::Span::current()
                        .record("peer", tracing::field::display(&claim.node_id));
                    self.remote = Some(claim.node_id.clone());
                    self.checking = Some(self.check(claim));
                }
                Output::Store(received) => self.intake.push(received),
                Output::Read(wanted) => self.wanted = Some(wanted),
                Output::Advance(sent) => {
                    if let Some(peer) = &self.remote {
                        self.intake.advance_sent(peer.clone(), sent);
                    }
                }
                Output::Reset { return_up_to } => {
                    if let Some(peer) = &self.remote {
                        self.intake.reset_cursors(peer.clone(), return_up_to);
                    }
                }
                Output::Tell(notice) => {
                    if let Notice::Headers(headers) = &notice {
                        self.headers.clone_from(headers);
                    }
                    self.reporter.tell(notice);
                }
                Output::HangUp(None) => return Ok(Some(())),
                Output::HangUp(Some(error)) => return Err(error),
            }
        }
        if let Some(relative) = self.rules.relative() {
            self.reporter.connected(relative);
        }
        Ok(None)
    }

    /// Starts what waits for a free lane. The log is read only when there is nothing else to
    /// send: what is added meanwhile makes the next batch.
    fn start_work<S: FrameSender>(&mut self, writer: &mut Writer<S>) {
        if self.storing.is_none() {
            self.storing = self.intake.next_transaction(self.log);
        }
        if self.outbox.is_empty()
            && writer.busy.is_none()
            && let Some(relative) = self.rules.relative()
            && let Some(wanted) = self.wanted.take()
        {
            let batch = next_batch(
                self.log.clone(),
                self.codec.clone(),
                relative.clone(),
                wanted,
                self.limits,
            );
            self.reading = Some(batch.boxed());
        }
        if !self.outbox.is_empty()
            && let Some(sender) = writer.idle.take()
        {
            writer.busy = Some(write(sender, std::mem::take(&mut self.outbox)).boxed());
        }
    }

    fn command(&mut self, command: Option<Command>) -> Input<E> {
        match command {
            Some(Command::Headers(headers)) => {
                self.own_headers = Some(headers.clone());
                Input::Headers(headers)
            }
            Some(Command::Debug(text)) => Input::Debug(text),
            // The handle is gone.
            Some(Command::Close) | None => {
                self.closed_here = true;
                Input::Close
            }
        }
    }

    fn decode(&mut self, frame: Bytes) -> Input<E> {
        let limit = self.limits.max_frame;
        let decoded = if frame.len() > limit {
            Err(format!("it has {} bytes, {limit} are allowed", frame.len()).into())
        } else {
            self.codec.decode(&frame).map_err(Into::into)
        };
        match decoded {
            Ok(message) => {
                self.intake.arrived(frame.len());
                Input::Received { message, frame }
            }
            Err(source) => Input::Malformed {
                error: Error::Frame { format: C::NAME, source },
                shown: start_of(&frame),
            },
        }
    }

    fn encode(&self, message: &Message<E>) -> Result<Bytes, Error> {
        let mut frame = Vec::new();
        self.codec
            .encode(message, &mut frame)
            .map_err(|error| Error::Message { format: C::NAME, source: error.into() })?;
        Ok(frame.into())
    }

    fn take(&mut self, batch: Batch) -> Input<E> {
        let Batch { up_to, frame, fits } = batch;
        self.limits.fits = fits;
        let sent = frame.is_some();
        self.outbox.extend(frame);
        Input::Read { up_to, sent }
    }

    /// Asks the user, then the store. Who answered is noted before anything of its log is stored.
    fn check(
        &self,
        claim: Claim,
    ) -> BoxFuture<'static, Result<Result<Cursors, ProtocolError>, Error>> {
        let log = self.log.clone();
        let dialled = self.rules.role() == Role::Opener;
        let auth = self.options.auth.clone();
        let login = Login {
            node_id: claim.node_id,
            credentials: claim.credentials,
            subprotocol: claim.subprotocol,
            headers: self.headers.clone(),
            peer: self.peer.clone(),
        };
        async move {
            let node_id = login.node_id.clone();
            if let Some(auth) = auth {
                let asked = AssertUnwindSafe(async { auth.check(login).await }).catch_unwind();
                match asked.await {
                    Ok(true) => {}
                    Ok(false) => return Ok(Err(ProtocolError::WrongCredentials)),
                    Err(_) => return Err(Error::Callback("auth")),
                }
            }
            if dialled {
                log.set_dialled(&node_id).await?;
            }
            Ok(Ok(log.cursors(&node_id).await?))
        }
        .boxed()
    }

    /// Deadlines follow tokio's clock, which a test may pause.
    fn now(&self) -> Now {
        Now { instant: tokio::time::Instant::now().into_std(), clock: self.log.now() }
    }
}

/// Sends frames in a row; they share packets where the transport can do that.
async fn write<S: FrameSender>(mut sender: S, frames: Vec<Bytes>) -> (S, io::Result<()>) {
    for frame in frames {
        if let Err(error) = sender.send(frame).await {
            return (sender, Err(error));
        }
    }
    let flushed = sender.flush().await;
    (sender, flushed)
}

/// Sends what is left, closes, and waits for the peer to close: who drops a socket with unread
/// bytes in it may take back what was sent last.
async fn say_goodbye<S: FrameSender, R: FrameReceiver>(
    outbox: Vec<Bytes>,
    receiver: Option<R>,
    writer: Writer<S>,
) {
    let sender = match (writer.idle, writer.busy) {
        (Some(sender), _) => sender,
        (None, Some(busy)) => match busy.await {
            (sender, Ok(())) => sender,
            (_, Err(_)) => return,
        },
        (None, None) => return,
    };
    let (sender, written) = write(sender, outbox).await;
    if written.is_ok()
        && sender.close().await.is_ok()
        && let Some(mut receiver) = receiver
    {
        while let Ok(Some(_)) = receiver.receive().await {}
    }
}

/// The result of a lane's work, once there is one. Nothing is lost when this is dropped.
async fn work<T>(lane: &mut Lane<T>) -> T {
    match lane {
        Some(future) => {
            let result = future.await;
            *lane = None;
            result
        }
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

/// What is no frame is the peer's fault, all else is the link's.
fn not_received<E, C: Codec>(error: io::Error) -> Result<Input<E>, Error> {
    if error.kind() != io::ErrorKind::InvalidData {
        return Err(Error::Link(error));
    }
    let shown = shown(&error.to_string());
    Ok(Input::Malformed { shown, error: Error::Frame { format: C::NAME, source: error.into() } })
}
