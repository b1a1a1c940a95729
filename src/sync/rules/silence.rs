//! A peer that says nothing is asked whether it is there, and left when it does not answer.

use std::time::Duration;

use logux_codecs::Message;

use super::input_output::{Config, Now};
use super::phase::Phase;
use super::rules::Rules;
use crate::sync::error::Error;

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
        if self.answer_by.is_some_and(|by| by <= now.elapsed) {
            let Config { timeout, admission_timeout, .. } = self.config;
            let waited = if self.is_live() { timeout } else { admission_timeout };
            self.hang_up(Some(Error::Silent(waited)));
            return;
        }
        if self.ask_at.is_some_and(|at| at <= now.elapsed) {
            let Phase::Live(live) = &self.phase else { return };
            let sent = live.position;
            self.send(Message::Ping(sent));
            self.asked = Some(now);
            self.ask_at = None;
            self.answer_by = now.elapsed.checked_add(self.config.timeout);
        }
    }

    /// When the question was asked that is answered now, if there was one.
    pub(super) fn answered(&mut self, now: Now) -> Option<Now> {
        let asked = self.asked.take()?;
        self.round_trip = Some(now.elapsed.saturating_sub(asked.elapsed));
        Some(asked)
    }
}
