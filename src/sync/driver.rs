//! Moves what the [`Rules`] say between the link, the log and the user: one task for each
//! connection. It holds no rule of the protocol.

use std::future::{pending, ready};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use logux_codecs::{Added, Codec, Event, Headers, Message, NodeId, ProtocolError, shown};
use logux_transports::{FrameReceiver, FrameSender, Link, LinkInfo};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tracing::Instrument;

use super::error::{Error, bounded, start_of};
use super::intake::Intake;
use super::options::{Login, SyncOptions};
use super::outgoing::{Batch, FrameLimits, Outgoing};
use super::rules::{self, Claim, Config, Input, Now, Output, Role, Rules, Wanted};
use super::session::{Command, Notice, Peer, Reporter};
use crate::log::{Log, Received, Withheld};
use crate::planted::planted;
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
}

/// What holds from one connection of a session to the next.
#[derive(Debug, Default)]
pub(crate) struct Lasting {
    /// The user's new headers, if there are any.
    pub(crate) headers: Option<Headers>,
    /// The user wants events looked at again that were withheld.
    pub(crate) reevaluate: bool,
    /// By how many milliseconds times were fixed last, with which node.
    pub(crate) time_fix: Option<(NodeId, i64)>,
    /// How many connections there were.
    pub(crate) connections: u64,
    /// Whether some peer was let in, and what the user said of cursors is in the store.
    pub(crate) was_let_in: bool,
}

/// Work that goes on beside the rest, at most one of a kind.
type Lane<T> = Option<BoxFuture<'static, T>>;

/// One connection between a log and a peer.
pub(crate) struct Driver<'a, E, C> {
    log: &'a Log<E>,
    codec: C,
    options: &'a SyncOptions<E>,
    reporter: &'a Reporter,
    commands: &'a mut mpsc::Receiver<Command>,
    lasting: &'a mut Lasting,
    rules: Rules<E>,
    limits: FrameLimits,
    info: LinkInfo,
    /// Who the peer says that it is,
    claimed: Option<NodeId>,
    /// and who it is, once it was let in.
    peer: Option<Arc<Peer>>,
    headers: Headers,
    /// What the peer was not sent.
    withheld: Withheld,
    outbox: Vec<Bytes>,
    wanted: Option<Wanted>,
    /// The rules ask from where on events are to be looked at again.
    review: bool,
    intake: Intake<E>,
    checking: Lane<Result<Result<Cursors, ProtocolError>, Error>>,
    reading: Lane<Result<Batch, Error>>,
    judging: Lane<Result<Vec<Received<E>>, Error>>,
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
        codec: &C,
        options: &'a SyncOptions<E>,
        reporter: &'a Reporter,
        commands: &'a mut mpsc::Receiver<Command>,
        lasting: &'a mut Lasting,
        config: Config,
    ) -> Self {
        Self {
            log,
            codec: codec.for_connection(),
            options,
            reporter,
            commands,
            lasting,
            rules: Rules::new(config, log.last_added()),
            limits: options.frame_limits(),
            info: LinkInfo::default(),
            claimed: None,
            peer: None,
            headers: Headers::new(),
            withheld: Withheld::default(),
            outbox: Vec::new(),
            wanted: None,
            review: false,
            intake: Intake::new(options.inward.clone()),
            checking: None,
            reading: None,
            judging: None,
            storing: None,
            closed_here: false,
            peer_ended: false,
        }
    }

    /// Runs the connection to its end.
    ///
    /// No `async fn`, which would hold what it is given twice, for as long as the connection lasts.
    pub(crate) fn run<S: FrameSender, R: FrameReceiver>(
        mut self,
        link: Link<S, R>,
    ) -> impl Future<Output = Ended> + Send {
        let Link { sender, mut receiver, info } = link;
        let span = tracing::info_span!(
            "connection",
            node = %self.log.node_id(),
            codec = C::NAME,
            address = info.address.map(tracing::field::display),
            peer = tracing::field::Empty,
        );
        self.info = info;
        let mut writer = Writer { idle: Some(sender), busy: None };
        let running = async move {
            self.lasting.connections += 1;
            let connections = self.lasting.connections;
            self.reporter.update(|status| status.connections = connections);
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
                let goodbye = say_goodbye(outbox, receiver, self.options.max_frame, writer);
                let _ = timeout(FAREWELL, goodbye).await;
            }
            let synchronized = self.rules.was_synchronized();
            Ended { result, closed_here: self.closed_here, synchronized }
        };
        running.instrument(span)
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
            if let Some(next) = self.own_input() {
                input = next;
                continue;
            }
            self.report();
            self.start_work(writer);
            let reads = self.rules.reads()
                && self.outbox.len() < MAX_OUTBOX
                && self.intake.has_room()
                && burst < MAX_BURST;
            let max_frame = self.max_frame();
            tokio::task::consume_budget().await;
            let mut received = false;
            input = tokio::select! {
                biased;
                command = self.commands.recv() => self.command(command),
                frame = receiver.receive(max_frame), if reads => {
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
                judged = work(&mut self.judging) => {
                    self.intake.judged(judged?);
                    Input::Tick
                }
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
                    self.claimed = Some(claim.node_id.clone());
                    self.checking = Some(self.check(claim));
                }
                Output::Store(received) => self.intake.push(received),
                Output::Read(wanted) => self.wanted = Some(wanted),
                Output::Advance(sent) => {
                    if let Some(peer) = &self.claimed {
                        self.intake.advance_sent(peer.clone(), sent);
                    }
                }
                Output::Reset(cursors) => {
                    if let Some(peer) = &self.claimed {
                        self.intake.reset_cursors(peer.clone(), cursors);
                    }
                }
                Output::Delivered(rules::Batch { after, up_to, withheld }) => {
                    self.withheld.delivered(after, up_to, &withheld);
                }
                Output::Review => self.review = true,
                Output::Reviewed => self.withheld.reviewed(),
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
        Ok(None)
    }

    /// What the rules have to be told before anything else happens.
    fn own_input(&mut self) -> Option<Input<E>> {
        if std::mem::take(&mut self.review) {
            return Some(Input::Review(self.withheld.first()));
        }
        if self.peer.is_none() && self.let_in()? {
            return Some(Input::Reevaluate);
        }
        None
    }

    /// Notes who the peer is, once it is let in. Answers whether events are to be looked at again.
    fn let_in(&mut self) -> Option<bool> {
        let (relative, start) = self.rules.relative().zip(self.rules.position())?;
        let peer = Arc::new(Peer {
            node_id: relative.remote.clone(),
            subprotocol: relative.remote_subprotocol,
            protocol: relative.protocol,
        });
        self.peer = Some(Arc::clone(&peer));
        self.lasting.was_let_in = true;
        let time_fix = relative.time_fix;
        self.lasting.time_fix = Some((peer.node_id.clone(), time_fix));
        self.reporter.update(|status| {
            status.peer = Some(Arc::clone(&peer));
            status.time_fix = time_fix;
        });
        self.options.outward.filter.as_ref()?;
        self.withheld = self.log.withheld(&peer.node_id);
        self.withheld.start(start);
        if std::mem::take(&mut self.lasting.reevaluate) {
            Some(self.withheld.review())
        } else {
            Some(self.withheld.is_reviewed())
        }
    }

    fn report(&self) {
        let (state, cursors) = (self.rules.state(), self.rules.cursors());
        let round_trip = self.rules.round_trip();
        self.reporter.update(|status| {
            status.state = state.unwrap_or(status.state);
            (status.synced, status.other_synced) =
                cursors.unwrap_or((status.synced, status.other_synced));
            status.round_trip = round_trip.or(status.round_trip);
        });
    }

    /// Starts what waits for a free lane. The log is read only when there is nothing else to
    /// send: what is added meanwhile makes the next batch.
    fn start_work<S: FrameSender>(&mut self, writer: &mut Writer<S>) {
        if self.storing.is_none() {
            self.storing = self.intake.next_transaction(self.log);
        }
        let Some(peer) = &self.peer else { return self.start_to_write(writer) };
        if self.judging.is_none() {
            self.judging = self.intake.next_judgement(peer);
        }
        if self.outbox.is_empty()
            && writer.busy.is_none()
            && let Some(relative) = self.rules.relative()
            && let Some(wanted) = self.wanted.take()
        {
            let outgoing = Outgoing {
                log: self.log.clone(),
                codec: self.codec.clone(),
                relative: relative.clone(),
                peer: Arc::clone(peer),
                outward: self.options.outward.clone(),
                withheld: self.withheld.clone(),
                limits: self.limits,
            };
            self.reading = Some(outgoing.next_batch(wanted).boxed());
        }
        self.start_to_write(writer);
    }

    fn start_to_write<S: FrameSender>(&mut self, writer: &mut Writer<S>) {
        if !self.outbox.is_empty()
            && let Some(sender) = writer.idle.take()
        {
            let frames = std::mem::take(&mut self.outbox);
            let bytes = frames.iter().map(|frame| frame.len() as u64).sum::<u64>();
            self.reporter.update(|status| status.bytes_sent += bytes);
            writer.busy = Some(write(sender, frames).boxed());
        }
    }

    fn command(&mut self, command: Option<Command>) -> Input<E> {
        match command {
            Some(Command::Headers(headers)) => {
                self.lasting.headers = Some(headers.clone());
                Input::Headers(headers)
            }
            Some(Command::Debug(text)) => Input::Debug(text),
            Some(Command::Reevaluate) if self.peer.is_none() => {
                self.lasting.reevaluate = true;
                Input::Tick
            }
            Some(Command::Reevaluate) if self.withheld.review() => Input::Reevaluate,
            // There is a connection, or nothing to look at.
            Some(Command::Reconnect | Command::Reevaluate) => Input::Tick,
            // The handle is gone.
            Some(Command::Close) | None => {
                self.closed_here = true;
                Input::Close
            }
        }
    }

    /// The longest frame that is taken now. Who was not let in has little to say.
    fn max_frame(&self) -> usize {
        let options = self.options;
        match self.peer {
            Some(_) => options.max_frame,
            None => options.max_frame_before_auth.min(options.max_frame),
        }
    }

    fn decode(&mut self, frame: Bytes) -> Input<E> {
        self.reporter.update(|status| status.bytes_received += frame.len() as u64);
        match self.codec.decode(&frame, self.options.limits).map_err(bounded) {
            Ok(message) => {
                self.intake.arrived(frame.len());
                let events = match &message {
                    Message::Sync(sync) => sync.entries.len() as u64,
                    _ => 0,
                };
                self.reporter.update(|status| status.events_received += events);
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
        let Batch { up_to, withheld, frame, events, fits } = batch;
        self.limits.fits = fits;
        let sent = frame.is_some();
        self.outbox.extend(frame);
        self.reporter.update(|status| status.events_sent += events as u64);
        if self.options.outward.filter.is_some() {
            // Before the peer can have what comes with it: it may come back and claim to.
            self.withheld.withhold(up_to, &withheld);
            if planted!("what was withheld counts as delivered when it is sent") {
                self.withheld.delivered(Added::ZERO, up_to, &withheld);
            }
        }
        Input::Read { up_to, sent, withheld }
    }

    /// Asks the user, then the store. Who answered is noted before anything of its log is stored.
    fn check(
        &mut self,
        claim: Claim,
    ) -> BoxFuture<'static, Result<Result<Cursors, ProtocolError>, Error>> {
        let log = self.log.clone();
        let dialled = self.rules.role() == Role::Opener;
        let epoch = self.rules.remote_epoch();
        let options = self.options.clone();
        let login = Login {
            node_id: claim.node_id,
            credentials: claim.credentials,
            subprotocol: claim.subprotocol,
            headers: self.headers.clone(),
            // It connects once.
            link: std::mem::take(&mut self.info),
        };
        async move {
            let node_id = login.node_id.clone();
            // As of the claim: while the user is asked, another connection of the peer may move on.
            let sent = log.cursors(&node_id).await?.sent;
            if let Err(refusal) = options.admit(login).await? {
                return Ok(Err(refusal));
            }
            if dialled {
                log.set_dialled(&node_id).await?;
            }
            let mut cursors = log.cursors(&node_id).await?;
            if cursors.epoch.is_none()
                && let Some(epoch) = epoch
            {
                log.set_epoch(&node_id, epoch).await?;
            }
            if options.synced.is_some() || options.other_synced.is_some() {
                // The user knows better, and later connections go on from there.
                cursors.sent = options.synced.unwrap_or(cursors.sent);
                cursors.received = options.other_synced.unwrap_or(cursors.received);
                cursors.epoch = cursors.epoch.or(epoch);
                log.reset_cursors(&node_id, cursors).await?;
            } else {
                cursors.sent = cursors.sent.min(sent);
            }
            Ok(Ok(cursors))
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
    max_frame: usize,
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
        while let Ok(Some(_)) = receiver.receive(max_frame).await {}
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
    Ok(Input::Malformed { shown, error: Error::Frame { format: C::NAME, source: bounded(error) } })
}
