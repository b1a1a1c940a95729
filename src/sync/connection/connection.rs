use std::collections::HashMap;
use std::future::{poll_fn, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{self, Poll};
use std::time::Duration;

use futures_util::future::join;
use futures_util::{FutureExt, TryFutureExt};
use logux_codecs::{Added, Codec, Event, EventId, Headers, Limits, Message, NodeId, ProtocolError};
use logux_transports::rt::{Instant, consume_budget, timeout};
use logux_transports::{FrameReceiver, FrameSender, Link};
use tracing::Instrument;

use super::batch::{BatchLimits, Batcher};
use super::clocks::Clocks;
use super::intake::{Intake, take_up};
use super::outgoing::Outgoing;
use super::reader::Reader;
use super::replay::Replays;
use super::throttle::{Throttle, Waited};
use super::timer::Timer;
use crate::apart::Refused;
use crate::log::{Fence, Interest, Known, Log, Newcomer, Presence, Verdict, Withheld};
use crate::store::{End, StoreError};
use crate::sync::admission::{Admission, Place};
use crate::sync::error::{Error, Refusal};
use crate::sync::lane::Errands;
use crate::sync::notice::Notice;
use crate::sync::options::SyncOptions;
use crate::sync::peer::Peer;
use crate::sync::rules::{
    Authors, Config, Covered, Input, LetIn, LogIdentity, Now, Output, Relative, Role, Rules,
    Suspects,
};
use crate::sync::session::{Command, Commands, Reporter, SessionHandle};

/// How many bytes of a reason the peer is told.
const MAX_REASON: usize = 512;

/// How many objects a message may have before the peer is let in.
const MAX_EARLY_OBJECTS: usize = 500;

/// So many frames and results of what is under way are taken in a row before timers, errands and the log get a turn.
const MAX_IN_A_ROW: usize = 64;

/// How often a node that opened the connection looks at its clock.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How a connection ended.
pub(crate) struct Ended {
    /// What went wrong; nothing, if either side just closed it.
    pub(crate) result: Result<(), Error>,
    /// Whether the user closed it.
    pub(crate) closed_here: bool,
    /// Whether it got somewhere: both logs were once equal, and it did not end by a refusal or a fault
    /// of either side; or it was found which event the peer refuses, or the peer took some events and then had
    /// enough for now.
    pub(crate) progressed: bool,
    /// Whether the user wants another one now.
    pub(crate) dials_anew: bool,
    /// How long the connection lasted, if its peer was let in.
    pub(crate) lasted: Option<Duration>,
}

/// What holds from one connection of a session to the next.
#[derive(Debug, Default)]
pub(crate) struct Lasting {
    /// By how many milliseconds times were fixed last, with which node.
    pub(crate) time_fix: Option<(NodeId, i64)>,
    /// How many connections there were.
    pub(crate) connections: u64,
    /// What the user said of cursors is in the store.
    pub(crate) has_begun: bool,
    /// The peer has refused fresh credentials since it last let this node in.
    pub(crate) was_refused: bool,
    /// The node that answered last: it will probably do so again.
    pub(crate) answered: Option<NodeId>,
    /// Another node than expected has answered since some peer was let in.
    pub(crate) guessed_wrong: bool,
    /// What the user told one connection and holds for the next ones.
    pub(crate) headers: Option<Headers>,
}

/// The session that a connection belongs to.
pub(crate) struct Context<'a, E> {
    pub(crate) log: &'a Log<E>,
    pub(crate) options: &'a SyncOptions<E>,
    pub(crate) reporter: &'a Reporter,
    pub(crate) commands: &'a Commands,
    pub(crate) lasting: &'a mut Lasting,
    /// The connection's place, where there are places for connections.
    pub(crate) place: Option<Place>,
    /// Whether the session can dial when this connection is over.
    pub(crate) dials: bool,
}

/// One connection: the rules, and the lanes that do what they say.
#[expect(clippy::struct_excessive_bools, reason = "each is about something else")]
pub(crate) struct Connection<'a, E, C, S, R> {
    rules: Rules<E>,
    limits: Limits,
    clocks: Clocks,
    /// When to see next whether the clock has jumped.
    look_at: Option<Instant>,
    /// The log that is kept in step, from when the peer is let in on the one that was chosen for it.
    log: Log<E>,
    options: &'a SyncOptions<E>,
    reporter: &'a Reporter,
    commands: &'a Commands,
    lasting: &'a mut Lasting,
    dials: bool,
    admission: Admission<'a, E>,
    reader: Reader<'a, C, R>,
    throttle: Throttle,
    intake: Intake<'a, E>,
    outgoing: Outgoing<'a, E, C, S>,
    /// What the user or the store is asked now and then.
    errands: Errands<Result<Option<Input<E>>, Error>>,
    place: Option<Place>,
    /// Among the connections with the peer, once it is let in or its cursors are reset.
    presence: Option<Presence>,
    fence: Fence,
    /// In the order in which connections began.
    number: u64,
    /// The peer may have only some events.
    interest: Option<Arc<Interest>>,
    /// What the peer subscribed to, besides what it may have by the options.
    /// And after which position.
    subscribed: HashMap<String, Added>,
    replays: Replays,
    /// What is known of the peer, once it is let in.
    known: Option<Known>,
    /// How far the peer is done with the log, and what of that was shown.
    reached: Option<Added>,
    shown: Option<Added>,
    /// The second look is at all that is withheld, not only at what is offered.
    looks_at_all: bool,
    closed_here: bool,
    dials_anew: bool,
}

impl<'a, E, C, S, R> Connection<'a, E, C, S, R>
where
    E: Event,
    C: Codec,
    S: FrameSender,
    R: FrameReceiver,
{
    pub(crate) fn new(
        context: Context<'a, E>,
        codec: &C,
        config: Config,
        link: Link<S, R>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);

        let Context { log, options, reporter, commands, lasting, place, dials } = context;
        let fence = Fence::default();
        let Link { sender, receiver, info } = link;
        let codec = codec.for_connection();
        let event_limits = log.event_limits();
        let limits = options.limits_in::<C>(event_limits);
        // An acceptor has no use for it: see `Input::Jumped`.
        let looks_at_clock =
            config.role == Role::Opener && (config.fix_time || config.ping.is_some());
        let batch_limits = BatchLimits::new(options.batch, limits.frame);
        Self {
            limits,
            interest: None,
            subscribed: HashMap::new(),
            replays: Replays::default(),
            admission: Admission::new(log, &options.admission, config.role, info),
            reader: Reader::new(receiver, codec.clone(), event_limits, reporter),
            throttle: Throttle::default(),
            outgoing: Outgoing::new(sender, codec, batch_limits, reporter),
            rules: Rules::new(config, log.last_added()),
            clocks: Clocks::new(log.clock().clone()),
            look_at: looks_at_clock.then(look_again).flatten(),
            log: log.clone(),
            options,
            reporter,
            commands,
            lasting,
            dials,
            errands: Errands::default(),
            place,
            presence: None,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            intake: Intake::new(log.clone(), &options.inward, fence.clone()),
            fence,
            known: None,
            reached: None,
            shown: None,
            looks_at_all: false,
            closed_here: false,
            dials_anew: false,
        }
    }

    /// Runs the connection to its end.
    ///
    /// Not an `async fn`, which would hold what it is given twice, for as long as the connection lasts.
    pub(crate) fn run(mut self) -> impl Future<Output = Ended> + Send {
        let span = tracing::info_span!(
            "connection",
            node = %self.log.node_id(),
            codec = C::NAME,
            address = self.admission.address().map(tracing::field::display),
            peer = tracing::field::Empty,
        );
        let running = async move {
            self.lasting.connections += 1;
            let connections = self.lasting.connections;
            self.reporter.update(|diagnostics| diagnostics.connections = connections);
            self.commands.connected(true);
            let mut result = self.converse().await;
            self.commands.connected(false);
            // What waits there comes again, maybe before this connection is over.
            self.throttle = Throttle::default();
            if let Some(place) = &self.place {
                place.set_asked_about(false);
            }
            let mut found = false;
            if !self.dials_anew {
                let limit = self.commands.within().unwrap_or(self.options.farewell);
                let (commands, dials) = (self.commands, self.dials);
                let anew = tokio::select! {
                    biased;
                    () = commands.wants_to_reconnect(), if dials => true,
                    // What is not done by then is cut.
                    _ = timeout(limit, self.end(&mut result, &mut found)) => false,
                };
                self.dials_anew = anew;
            }
            let lost = result.as_ref().err().is_none_or(Error::is_loss);
            let was_slowed = result.as_ref().err().is_some_and(Error::is_of_quota);
            let got_on = self.rules.progressed() || was_slowed && self.rules.has_confirmed();
            let progressed = found || got_on && lost;
            if let Some(known) = &self.known
                && !self.fence.is_superseded()
            {
                known.settle_up_to(self.reporter.synced());
            }
            if let Some(peer) = self.reporter.peer().filter(|_| self.known.is_some()) {
                self.log.note_seen(&peer.node_id, self.lasting.answered.as_ref());
            }
            let lasted = self.known.is_some().then(|| self.clocks.start().elapsed());
            let Self { closed_here, dials_anew, .. } = self;
            Ended { result, closed_here, progressed, dials_anew, lasted }
        };
        running.instrument(span)
    }

    /// Keeps what arrived, says goodbye, and waits until the peer has closed, too. The peer has its time also
    /// where all of it may take longer. `found`: whether it was found out what the peer refuses.
    async fn end(&mut self, result: &mut Result<(), Error>, found: &mut bool) {
        // A peer that does not answer does not say goodbye, either.
        let farewell = self.options.farewell;
        let is_lost = matches!(result, Err(Error::Link(_) | Error::Silent(_)));
        // Nobody waits for these any more, and they may hold what others wait for.
        self.errands = Errands::default();
        let may_write = !matches!(result, Err(Error::Store(_))) && !self.fence.is_superseded();
        if !may_write {
            self.intake.abandon();
        }
        let keeping = async {
            // What arrived whole is kept, whatever became of the connection.
            if may_write {
                let mut kept = self.intake.finish().await;
                if kept.is_ok()
                    && let Some(peer) = self.reporter.peer().filter(|_| self.known.is_some())
                {
                    kept = self.log.note_withheld(&peer.node_id).await;
                }
                if result.is_ok() {
                    *result = kept.map_err(Error::from);
                }
            }
            let is_superseded = self.fence.is_superseded();
            // What the peer did not take is known by this connection only, unless the peer has a new log.
            let epoch = self.rules.peer_epoch();
            if is_superseded
                && let Some(known) = &self.known
                && !known.is_here_with_another_log_than(epoch)
                && let Err(error) = self.intake.note_lists().await
            {
                *result = Err(error.into());
            }
            if let Some(refusal) = result.as_ref().err().and_then(Error::refusal)
                && !is_superseded
            {
                match narrow_down(&self.rules, &self.log, self.reporter, refusal).await {
                    Ok(is_found) => *found = is_found,
                    // That is what the user has to know.
                    Err(error) => *result = Err(error.into()),
                }
            }
        };
        // A store that is stuck does not keep the peer from what is to be said to it.
        let saying = async {
            if !is_lost {
                let _ = timeout(farewell, self.outgoing.flush()).await;
            }
        };
        join(keeping, saying).await;
        self.show_what_is_reached();
        if let Err(error) = &*result
            && let Some(fault) = error.own_fault()
        {
            // Best effort: the connection ends, whatever becomes of it.
            let _ = self.outgoing.send(&Message::Error(fault));
        }
        if is_lost {
            return;
        }
        let goodbye = async {
            // A socket that is dropped with unread bytes may take back what was sent last, so this waits
            // for the peer to close.
            if self.outgoing.close().await {
                self.reader.drain(self.limits.frame).await;
            }
        };
        // A peer that does not take the last frames, or does not close, has had its time.
        let _ = timeout(farewell, goodbye).await;
    }

    /// Hands the rules one input after the other, and does what they say.
    async fn converse(&mut self) -> Result<(), Error> {
        let mut input = Some(Input::Opened);
        // These wait on from turn to turn: to begin anew each time would cost more than all else in one.
        let (commands, mut was_live) = (self.commands, false);
        let mut command = pin!(commands.next(was_live));
        let mut growth = pin!(grown(Arc::clone(self.log.end()), None, self.rules.log_end()));
        let mut waits_beyond = None;
        let mut timer = Timer::default();
        let (mut was_deaf, mut was_reading, mut in_a_row, mut link_first) =
            (false, false, 0, false);
        loop {
            if let Some(input) = input
                && self.handle(input)?
            {
                return Ok(());
            }
            // Before it is asked whether there is room: to start makes some.
            self.intake.start();
            self.outgoing.start();
            // Then the peer's silence is this node's doing.
            let is_deaf = !self.intake.has_room() || !self.throttle.is_free();
            if std::mem::replace(&mut was_deaf, is_deaf)
                && !is_deaf
                && self.handle(Input::Listening)?
            {
                return Ok(());
            }
            let goes_on = in_a_row < MAX_IN_A_ROW;
            let before = std::mem::take(&mut in_a_row);
            consume_budget().await;
            // What came while nothing was read was said before what is sent from now on.
            let may_read = self.rules.reads();
            let could_read = std::mem::replace(&mut was_reading, may_read);
            link_first |= may_read && !could_read;
            // Most turns end here, and look no further. Frames are taken in a row, so that what they ask for is
            // stored and answered together.
            if goes_on
                && !link_first
                && let Poll::Ready(done) = poll_fn(|context| {
                    Poll::Ready(poll_done(&mut self.intake, &mut self.outgoing, context))
                })
                .await
            {
                in_a_row = before + 1;
                input = done?;
                continue;
            }
            let reads = goes_on
                && may_read
                && self.outgoing.has_room()
                && !is_deaf
                && self.reader.has_turn();
            let (limits, deadlines) = (self.limits_now(), self.deadlines(is_deaf));
            let is_live = self.rules.is_live();
            if is_live != was_live {
                was_live = is_live;
                command.set(commands.next(is_live));
            }
            let (end, position) = (self.log.end(), self.rules.log_end());
            let interest = self.interest.as_ref().map(|interest| Arc::as_ptr(interest).addr());
            let beyond = Some((Arc::as_ptr(end).addr(), interest, position));
            if waits_beyond != beyond {
                waits_beyond = beyond;
                growth.set(grown(Arc::clone(end), self.interest.clone(), position));
            }
            let rests = !goes_on || !self.reader.has_turn();
            let Self { intake, outgoing, errands, reader, .. } = self;
            input = tokio::select! {
                biased;
                told = &mut command => {
                    command.set(commands.next(is_live));
                    // Nothing shows whether the peer is there, and another link may lead to it.
                    if self.dials && !is_live && matches!(told, Command::Reconnect) {
                        self.dials_anew = true;
                        return Ok(());
                    }
                    self.command(told)?
                }
                read = reader.next(limits), if reads => {
                    in_a_row = before + 1;
                    match read? {
                        Some((input, cost)) => self.throttle.pass(input, cost),
                        None => return Ok(()),
                    }
                }
                done = poll_fn(|context| poll_done(intake, outgoing, context)), if goes_on => {
                    in_a_row = before + 1;
                    done?
                }
                // Before what may be there in each turn, as the log of a server that is busy grows.
                () = timer.until(deadlines.first()) => self.rung(&deadlines),
                answer = poll_fn(|context| errands.poll_result(context)) => answer?,
                end = &mut growth => {
                    waits_beyond = None;
                    Some(Input::Grown(end))
                }
                // All that was passed over had its turn.
                () = ready(()), if rests => None,
            };
            link_first = !goes_on || matches!(input, Some(Input::Received { .. }));
            match &input {
                Some(Input::Received { frame, .. }) => self.intake.arrived(frame.len()),
                _ => self.reader.rest(),
            }
        }
    }

    /// Tells the rules what happened, and before it that the clock has jumped, if it has, for what comes is of
    /// a time after that. Does what they say, and answers whether they have hung up.
    fn handle(&mut self, input: Input<E>) -> Result<bool, Error> {
        let input = match input {
            Input::Checked(Ok(admitted)) => match self.take_place(admitted.authors) {
                Ok(()) => {
                    self.lead_to_log();
                    Input::Checked(Ok(admitted))
                }
                Err(refusal) => Input::Checked(Err(refusal)),
            },
            input => input,
        };
        let now = self.now();
        // Before what asks how far the log goes: this session is not woken by all of it.
        let asks = matches!(&input, Input::Received { message: Message::Ready(_), .. });
        if self.interest.is_some() && asks {
            self.rules.handle(now, Input::Grown(self.log.last_added()));
        }
        let jump = if self.look_at.is_some() { self.clocks.jump(now) } else { None };
        if self.interest.is_some() && jump.is_some() {
            self.rules.handle(now, Input::Grown(self.log.last_added()));
        }
        if let Some(jump) = jump
            && self.tell_rules(now, Input::Jumped(jump))?
        {
            return Ok(true);
        }
        self.tell_rules(now, input)
    }

    /// Tells the rules what happened, and does what they say. Answers whether they have hung up.
    fn tell_rules(&mut self, now: Now, input: Input<E>) -> Result<bool, Error> {
        self.let_rules_know(now, input)?;
        while let Some(output) = self.rules.poll() {
            match output {
                Output::Send(message) => self.outgoing.send(&message)?,
                Output::Check(introduction) => {
                    let node_id = introduction.node_id.clone();
                    tracing::Span::current().record("peer", tracing::field::display(&node_id));
                    self.reporter.claimed(node_id.clone());
                    self.intake.introduced(node_id, introduction.name.clone());
                    if let Some(place) = &self.place {
                        place.set_asked_about(true);
                    }
                    let session = SessionHandle::of(self.commands, self.reporter);
                    self.errands.ask(self.admission.check(introduction, session));
                }
                Output::LetIn(let_in) => self.let_in(*let_in)?,
                Output::Store(received) => self.intake.store(received),
                Output::SendNext(wanted) => {
                    self.outgoing.send_next(wanted, self.rules.peer_epoch().is_some());
                }
                Output::Fix(relative) => self.fix_time(relative),
                Output::Advance(sent) => self.intake.advance_sent(sent),
                Output::Reset(cursors) => {
                    // Nothing of a connection with the other log is written after this.
                    if let Some((peer, name)) = self.intake.names() {
                        self.enter(&peer, &name);
                    }
                    self.intake.reset_cursors(cursors);
                }
                Output::HoldBack(events) => {
                    self.outgoing.hold_back(&events);
                    // It is named, so there is no doubt.
                    if let Some(known) = &self.known {
                        known.settle_all(&events);
                    }
                    self.intake.hold_back(events);
                }
                Output::Confirmed(covered) => self.confirmed(covered),
                Output::FindWithheld => self.find_withheld()?,
                Output::Reevaluated => {
                    // Another connection of the peer's may look at all while this one offers.
                    let withheld = self.outgoing.withheld().filter(|_| self.looks_at_all);
                    withheld.inspect(|withheld| withheld.finish_reevaluation());
                    self.note_withheld();
                    self.replay_on();
                }
                Output::Tell(notice) => self.reporter.tell(notice),
                Output::HangUp(None) => return Ok(true),
                Output::HangUp(Some(error)) => return Err(error),
            }
        }
        self.report();
        Ok(false)
    }

    /// The peer may come in, if there is a place for it.
    fn take_place(&mut self, authors: Authors) -> Result<(), ProtocolError> {
        let Some(place) = &mut self.place else { return Ok(()) };
        place.let_in(self.admission.holder(authors), Box::new(self.commands.displace()))
    }

    /// The peer comes in: from now on the connection is about the log that was chosen for it, if one was.
    fn lead_to_log(&mut self) {
        if let Some(log) = self.admission.chosen() {
            self.log = log.clone();
            self.clocks.go_by(log.clock().clone());
            self.intake.go_on_with(log.clone());
            self.reporter.log(Arc::new(log.clone()));
            tracing::Span::current().record("node", tracing::field::display(log.node_id()));
        }
        let (node_id, epoch) = (self.log.node_id().clone(), self.log.epoch());
        // It may have grown since the user was asked.
        let log = LogIdentity { node_id, epoch, end: self.log.last_added() };
        self.rules.handle(self.now(), Input::LedTo(log));
    }

    /// Finds out where the second look at what is withheld begins. A page of what the peer subscribed to is part of it.
    fn find_withheld(&mut self) -> Result<(), Error> {
        let Some(batcher) = self.outgoing.batcher() else { return Ok(()) };
        let (known, withheld) = (self.known.clone(), batcher.withheld.clone());
        // What comes after it is not passed yet.
        let passed = self.rules.position();
        let first = move || {
            let after = withheld.first().filter(|after| *after < passed);
            let suspected_up_to = known.as_ref().map(Known::suspected_up_to).unwrap_or_default();
            Input::FirstWithheld { after, suspected_up_to }
        };
        let Some(replaying) = self.replays.first().cloned() else {
            return self.let_rules_know(self.now(), first());
        };
        let prepared = async move {
            batcher.replay(&replaying).await?;
            Ok(Some(first()))
        };
        self.errands.ask(prepared.boxed());
        Ok(())
    }

    /// Tells the rules what happened.
    fn let_rules_know(&mut self, now: Now, input: Input<E>) -> Result<(), Error> {
        let Input::FirstWithheld { after, .. } = input else {
            self.rules.handle(now, input);
            return Ok(());
        };
        let withheld = self.outgoing.withheld();
        self.looks_at_all = withheld.is_some_and(Withheld::is_reevaluating);
        let replaying = self.replays.first().filter(|replaying| replaying.is_at_the_end()).cloned();
        if let Some(replaying) = replaying
            && let Some(peer) = self.reporter.peer()
            && !self.subscribed.contains_key(&replaying.index)
        {
            // What comes before it, and was not passed yet, is not for the peer by this.
            self.subscribed.insert(replaying.index.clone(), replaying.after);
            self.ask_for_interest(&peer)?;
        }
        self.rules.handle(now, input);
        if after.is_none() {
            self.replay_on();
        }
        Ok(())
    }

    /// What was prepared of what the peer subscribed to was sent.
    fn replay_on(&mut self) {
        if self.replays.page_is_done() {
            self.rules.handle(self.now(), Input::Reevaluate);
        }
    }

    fn unsubscribe(&mut self, index: &str) -> Result<(), Error> {
        if self.replays.end(index) {
            self.outgoing.withheld().inspect(|withheld| withheld.end_replays());
        }
        if self.subscribed.remove(index).is_some()
            && let Some(peer) = self.reporter.peer()
        {
            self.ask_for_interest(&peer)?;
        }
        Ok(())
    }

    /// The peer is done with a part of the log.
    fn confirmed(&mut self, covered: Covered) {
        self.outgoing.confirmed(&covered);
        let Some(known) = self.known.as_ref().filter(|known| !known.is_calm()) else { return };
        known.passed(covered.up_to);
        let Covered { mut sent, withheld, .. } = covered;
        if !withheld.is_empty() {
            sent.retain(|(added, _)| !withheld.contains(added));
        }
        let (released, offers) = known.took(sent);
        if !released.is_empty() {
            self.outgoing.release(&released);
            self.intake.release(released);
        }
        self.try_again(offers);
    }

    /// Offers the peer what is held back and doubtful.
    fn try_again(&mut self, ids: Vec<EventId>) {
        if let Some(batcher) = self.outgoing.batcher().filter(|_| !ids.is_empty()) {
            let offered = batcher.try_again(ids).map_ok(|()| Some(Input::Reevaluate));
            self.errands.ask(offered.boxed());
        }
    }

    /// Tells everybody who the peer is.
    fn let_in(&mut self, let_in: LetIn) -> Result<(), Error> {
        let LetIn { relative, authors, start, unfounded, held_back } = let_in;
        let peer = Arc::new(Peer {
            node_id: relative.peer.clone(),
            subprotocol: relative.peer_subprotocol,
            protocol: relative.protocol,
            log: relative.local.clone(),
            codec: C::NAME,
            transport: self.admission.transport(),
            address: self.admission.address(),
        });
        self.ask_for_interest(&peer)?;
        self.lasting.was_refused = false;
        self.lasting.guessed_wrong = false;
        self.lasting.answered = Some(relative.peer_name.clone());
        self.throttle.let_in(self.admission.payer(&peer, authors));
        self.lasting.has_begun = true;
        self.reporter.update(|diagnostics| diagnostics.peer = Some(Arc::clone(&peer)));
        self.log.note_seen(&relative.peer, Some(&relative.peer_name));
        self.note_time_fix(&relative);
        self.intake.let_in(Arc::clone(&peer));
        if self.log.sets_aside_some_of(&peer.node_id) {
            let (log, inward) = (self.log.clone(), self.options.inward.clone());
            let taken_up = take_up(log, inward, Arc::clone(&peer));
            self.errands.ask(taken_up.map_ok(|failed| Some(Input::StillSetAside(failed))).boxed());
        }
        let known = self.log.known(&peer.node_id);
        let has_twin = self.enter(&relative.peer, &relative.peer_name);
        self.known = Some(known.clone());
        if let Some(claimed) = unfounded {
            known.claims_another_log(claimed);
        }
        let withheld = known.withheld().clone();
        withheld.start(start, self.options.outward.withholds());
        // Those of an earlier connection.
        withheld.end_replays();
        if self.commands.take_reevaluate() {
            withheld.reevaluate();
            self.note_withheld();
        }
        let looks_again = withheld.waits();
        self.outgoing.let_in(Batcher {
            encoded: self.log.encoded::<C>(),
            interest: self.interest.clone(),
            log: self.log.clone(),
            codec: self.outgoing.codec().clone(),
            relative,
            peer,
            outward: self.options.outward.clone(),
            withheld,
            held_back: Arc::new(Mutex::new(held_back)),
        });
        if looks_again {
            self.rules.handle(self.now(), Input::Reevaluate);
        }
        if self.commands.take_offer_again() {
            self.offer_again();
        }
        if has_twin {
            self.rules.handle(self.now(), Input::Twin);
        }
        Ok(())
    }

    /// From now on this connection speaks for the peer, unless there is a newer one. Answers whether there is a
    /// connection with another log of the peer's.
    fn enter(&mut self, peer: &NodeId, name: &NodeId) -> bool {
        if let Some(presence) = &self.presence {
            return presence.has_twin;
        }
        let presence = self.log.known(peer).enter(Newcomer {
            name: name.clone(),
            number: self.number,
            fence: self.fence.clone(),
            dialled: self.admission.role() == Role::Opener,
            epoch: self.rules.peer_epoch(),
            alarm: self.commands.alarm(),
        });
        self.presence.insert(presence).has_twin
    }

    /// Keeps what the peer was not sent, and whether that is to be looked at again.
    fn note_withheld(&mut self) {
        if let Some(peer) = self.reporter.peer().filter(|_| !self.fence.is_superseded()) {
            let log = self.log.clone();
            let noted = async move { log.note_withheld(&peer.node_id).await.map_err(Error::from) };
            self.errands.ask(noted.map_ok(|()| None).boxed());
        }
    }

    fn note_time_fix(&mut self, relative: &Relative) {
        let time_fix = relative.time_fix.now();
        self.lasting.time_fix = Some((relative.peer_name.clone(), time_fix));
        self.reporter.update(|diagnostics| diagnostics.time_fix = time_fix);
    }

    /// The clock was set.
    fn fix_time(&mut self, relative: Relative) {
        self.note_time_fix(&relative);
        self.outgoing.terms(relative);
    }

    fn offer_again(&mut self) {
        if let Some(batcher) = self.outgoing.batcher() {
            let offered = batcher.offer_again().map_ok(|()| Some(Input::Reevaluate));
            self.errands.ask(offered.boxed());
        }
    }

    fn report(&mut self) {
        let (state, cursors) = (self.rules.state(), self.rules.cursors());
        let round_trip = self.rules.round_trip();
        self.reporter.update(|diagnostics| {
            diagnostics.state = state.unwrap_or(diagnostics.state);
            (diagnostics.synced, diagnostics.other_synced) =
                cursors.unwrap_or((diagnostics.synced, diagnostics.other_synced));
            diagnostics.round_trip = round_trip.or(diagnostics.round_trip);
        });
        self.reached = self.rules.reached().or(self.reached);
        self.show_what_is_reached();
    }

    /// For receipts, which have to name what the peer did not take: once that is noted.
    fn show_what_is_reached(&mut self) {
        if let (Some(reached), Some(presence)) = (self.reached, &self.presence)
            && self.shown != self.reached
            && !self.intake.has_to_hold_back()
        {
            self.shown = self.reached;
            presence.shows(reached);
        }
    }

    /// What the rules are to know of what the user wants.
    fn command(&mut self, command: Command) -> Result<Option<Input<E>>, Error> {
        Ok(match command {
            Command::Headers(headers) => {
                self.lasting.headers = Some(headers.clone());
                Some(Input::Headers(headers))
            }
            Command::Debug(text) => Some(Input::Debug(text)),
            Command::Reevaluate => {
                if let Some(peer) = self.reporter.peer() {
                    self.ask_for_interest(&peer)?;
                }
                self.outgoing.withheld().inspect(|withheld| withheld.reevaluate());
                self.note_withheld();
                Some(Input::Reevaluate)
            }
            Command::OfferAgain => {
                self.offer_again();
                None
            }
            Command::Subscribe(subscription) => {
                self.replays.push(subscription, self.log.last_added());
                Some(Input::Reevaluate)
            }
            Command::Unsubscribe(index) => {
                self.unsubscribe(&index)?;
                None
            }
            Command::Twin => Some(Input::Twin),
            Command::Superseded => Some(Input::Superseded),
            Command::GiveUpPlace => Some(Input::Displaced),
            Command::Reconnect => Some(Input::Ask),
            Command::Close(reason) => {
                self.closed_here = true;
                Some(Input::Close(reason.map(|reason| start(&reason, MAX_REASON).to_owned())))
            }
        })
    }

    /// Asks the user by which indexes the peer may have events, from now on.
    fn ask_for_interest(&mut self, peer: &Peer) -> Result<(), Error> {
        let mut indexes = self.options.outward.indexes_for(peer)?;
        let mut late = HashMap::new();
        if let Some(indexes) = &mut indexes {
            for (index, after) in &self.subscribed {
                if indexes.insert(index.clone()) {
                    late.insert(index.clone(), *after);
                }
            }
        }
        self.interest = indexes.map(|indexes| Arc::new(self.log.interest_in(indexes, late)));
        self.outgoing.interest(self.interest.as_ref());
        Ok(())
    }

    /// How much a message may ask now. A peer that was not let in has little to say.
    fn limits_now(&self) -> Limits {
        let limits = self.limits;
        if self.rules.is_live() {
            return limits;
        }
        let frame = limits.frame.min(self.options.max_frame_before_auth);
        limits.frame(frame).objects(limits.objects.min(MAX_EARLY_OBJECTS))
    }

    fn now(&self) -> Now {
        self.clocks.now()
    }

    /// When to go on if nothing happens. While nothing is read, the peer cannot be late.
    fn deadlines(&self, is_deaf: bool) -> Deadlines {
        let since_start = |elapsed| self.clocks.start().checked_add(elapsed);
        // Timers stand still while the machine sleeps, so that the deadline of the rules alone would come late.
        let tick = self.rules.deadline().and_then(since_start).into_iter().chain(self.look_at);
        Deadlines {
            paid: self.throttle.until(),
            offer: self.known.as_ref().and_then(Known::offer_at),
            tick: tick.min().filter(|_| !is_deaf),
            expiry: self.rules.expiry().and_then(since_start),
        }
    }

    /// The first of the deadlines is there.
    fn rung(&mut self, deadlines: &Deadlines) -> Option<Input<E>> {
        let now = Instant::now();
        let is_there = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        if is_there(deadlines.paid) {
            match self.throttle.waited()? {
                Waited::Frame(frame) => Some(self.reader.message(frame, self.limits_now())),
                Waited::OverQuota(quota) => Some(Input::OverQuota(quota)),
                Waited::Debt => None,
            }
        } else if is_there(deadlines.offer) {
            let offers = self.known.as_ref().map(Known::offers);
            self.try_again(offers.unwrap_or_default());
            None
        } else if is_there(deadlines.tick) {
            if is_there(self.look_at) {
                self.look_at = look_again();
            }
            Some(Input::Tick)
        } else {
            is_there(deadlines.expiry).then_some(Input::Expired)
        }
    }
}

/// When a connection goes on if nothing happens; `None` for never, and for later than a clock can tell.
struct Deadlines {
    /// What the peer has sent beyond its quota is paid for, or is not waited for any longer.
    paid: Option<Instant>,
    /// What the peer did not take is offered to it again.
    offer: Option<Instant>,
    /// The rules are to look at the time, or this at the clock.
    tick: Option<Instant>,
    /// What the peer has proven who it is with holds no more.
    expiry: Option<Instant>,
}

impl Deadlines {
    fn first(&self) -> Option<Instant> {
        [self.paid, self.offer, self.tick, self.expiry].into_iter().flatten().min()
    }
}

/// What came of what is under way: what the rules are to know, or `None` where there may only be room again.
fn poll_done<E: Event, C: Codec, S: FrameSender>(
    intake: &mut Intake<'_, E>,
    outgoing: &mut Outgoing<'_, E, C, S>,
    context: &mut task::Context<'_>,
) -> Poll<Result<Option<Input<E>>, Error>> {
    match intake.poll_next(context) {
        Poll::Pending => outgoing.poll_next(context),
        stored @ Poll::Ready(_) => stored,
    }
}

/// Waits until the log has something new for the peer. Cancel-safe.
async fn grown(end: Arc<End>, interest: Option<Arc<Interest>>, position: Added) -> Added {
    match interest {
        Some(interest) => interest.beyond(position).await,
        None => end.beyond(position).await,
    }
}

/// `None` for later than a clock can tell.
fn look_again() -> Option<Instant> {
    Instant::now().checked_add(LOOK_EVERY)
}

/// The peer refused something of what was sent. The next connection sends what may be to blame one
/// by one; if that was so already, this is the event: it is held back, and all others go on. Answers
/// whether this got somewhere.
async fn narrow_down<E: Event>(
    rules: &Rules<E>,
    log: &Log<E>,
    reporter: &Reporter,
    refusal: Refusal,
) -> Result<bool, StoreError> {
    let (Some(peer), Some(suspects)) = (reporter.peer(), rules.suspects()) else {
        return Ok(false);
    };
    let known = log.known(&peer.node_id);
    let Suspects { up_to, only, before } = suspects;
    let Some((_, id)) = only.filter(|(added, _)| *added <= before) else {
        known.suspect(up_to);
        return Ok(false);
    };
    // What may pass is waited for, unless this peer takes other events.
    let took_some = rules.has_confirmed();
    if refusal.may_pass && !took_some && !known.fails_for_long() {
        return Ok(false);
    }
    let Verdict { is_doubtful, leads_somewhere } = known.accuse(&id, took_some, refusal.may_pass);
    let refused = vec![Refused { is_doubtful, ..Refused::new(id, refusal.reason) }];
    log.hold_back(&peer.node_id, refused.clone()).await?;
    reporter.tell(Notice::HeldBack(refused));
    Ok(leads_somewhere && (!refusal.may_pass || took_some))
}

/// At most so many bytes of the beginning of a text, in whole characters.
fn start(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
