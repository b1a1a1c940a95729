//! A peer that says nothing is asked whether it is there, and left when it does not answer.

use std::time::Duration;

use logux_codecs::Message;

use super::input_output::{Now, Role};
use super::phase::Phase;
use super::rules::Rules;
use crate::sync::error::Error;

/// So late is no timer of a program that runs; and so long a peer has to answer after that.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the peer may take to answer where the user says that the network is another one.
const SHORT: Duration = Duration::from_secs(10);

impl<E> Rules<E> {
    /// Any message proves that the peer is there.
    pub(super) fn heard(&mut self, now: Now) {
        if self.is_live() {
            self.answer_by = None;
            self.ask_at = self.next_ping(now);
        }
    }

    /// `None` for never, and for later than a clock can tell.
    pub(super) fn next_ping(&self, now: Now) -> Option<Duration> {
        self.config.ping.and_then(|ping| now.elapsed.checked_add(ping))
    }

    pub(super) fn tick(&mut self, now: Now) {
        if let Some((_, timeout)) = self.answer_by.filter(|(by, _)| *by <= now.elapsed) {
            self.hang_up(Some(Error::Silent(timeout)));
            return;
        }
        let late = self.ask_at.and_then(|at| now.elapsed.checked_sub(at));
        if late.is_some_and(|late| late > PATIENCE) && self.config.role == Role::Opener {
            // Nobody ran this program meanwhile.
            self.has_slept(now);
        } else if late.is_some() {
            self.ask(now, self.config.timeout);
        }
    }

    /// What the peer said meanwhile may be on its way still, so its time begins now.
    pub(super) fn listening(&mut self, now: Now) {
        if let Some((_, limit)) = self.answer_by {
            self.answer_within(now, limit);
        }
        if self.ask_at.is_some() {
            self.ask_at = self.next_ping(now);
        }
    }

    /// The machine slept, or the program was stopped, and the peer has probably given it up: this is to
    /// be known within seconds. An acceptor has time: its peers come back by themselves.
    pub(super) fn has_slept(&mut self, now: Now) {
        if self.config.ping.is_some() {
            self.ask_at_once(now, PATIENCE);
        }
    }

    /// The user says that the network may be another one than before.
    pub(super) fn network_changed(&mut self, now: Now) {
        self.ask_at_once(now, SHORT);
    }

    /// Asks whether the peer is there, unless it was asked already, and gives it little time.
    fn ask_at_once(&mut self, now: Now, limit: Duration) {
        if !self.is_live() {
            return;
        }
        let limit = limit.min(self.config.timeout);
        match self.answer_by {
            None => self.ask(now, limit),
            Some((by, _)) if by > now.elapsed.saturating_add(limit) => {
                self.answer_within(now, limit);
            }
            Some(_) => {}
        }
    }

    fn ask(&mut self, now: Now, timeout: Duration) {
        let Phase::Live(live) = &self.phase else { return };
        let sent = live.position;
        self.send(Message::Ping(sent));
        self.asked = Some(now);
        self.ask_at = None;
        self.answer_within(now, timeout);
    }

    pub(super) fn answer_within(&mut self, now: Now, timeout: Duration) {
        self.answer_by = now.elapsed.checked_add(timeout).map(|by| (by, timeout));
    }

    /// When the question was asked that is answered now, if there was one.
    pub(super) fn answered(&mut self, now: Now) -> Option<Now> {
        let asked = self.asked.take()?;
        self.round_trip = Some(now.elapsed.saturating_sub(asked.elapsed));
        Some(asked)
    }
}
