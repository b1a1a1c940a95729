//! Events as somebody wrote them: as arguments, or line by line.

use std::collections::VecDeque;
use std::io::{BufRead, Read};
use std::thread;

use logux_sync::{EventLimits, Extra, Value};
use tokio::sync::mpsc;

use crate::failure::{Failure, Kind, with_causes};

/// How long a line may be, in bytes: more than any event has.
const MAX_LINE: u64 = 16 << 20;

/// Which events a log takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    limits: EventLimits,
}

impl Rule {
    /// With `any`, also what JavaScript nodes do not take.
    pub(crate) fn new(any: bool) -> Self {
        Self { limits: if any { EventLimits::default() } else { EventLimits::for_javascript() } }
    }

    pub(crate) fn limits(self) -> EventLimits {
        self.limits
    }

    fn read(self, text: &str, place: &str) -> Result<Value, Failure> {
        let event: Value = serde_json::from_str(text).map_err(|error| {
            Failure::usage(format!(
                "{place} is not JSON: {error}; write it as '{{\"type\":\"hello\"}}'"
            ))
        })?;
        self.limits.check_event(&event, &Extra::new()).map_err(|unfit| {
            Failure::usage(format!("{place} is not an event: {}", with_causes(&unfit)))
        })?;
        Ok(event)
    }
}

/// Events that are to be added.
pub(crate) struct Events {
    ready: VecDeque<Value>,
    lines: Option<mpsc::Receiver<Result<Value, Failure>>>,
    failure: Option<Failure>,
    /// So many were given out.
    taken: u64,
}

impl Events {
    /// Those of the arguments, all of them or none.
    pub(crate) fn given(texts: &[String], rule: Rule) -> Result<Self, Failure> {
        let read = |(index, text): (usize, &String)| {
            rule.read(text, &format!("event {} of the arguments", index + 1))
        };
        let ready = texts.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(Self { ready, lines: None, failure: None, taken: 0 })
    }

    /// Those of the lines of standard input, as they come. Empty lines are passed over.
    pub(crate) fn lines(rule: Rule) -> Self {
        let (sender, lines) = mpsc::channel(2_000);
        // Standard input is read by a thread, which ends with the program.
        thread::spawn(move || {
            let mut input = std::io::stdin().lock();
            let mut text = Vec::new();
            for number in 1_u64.. {
                text.clear();
                let place = format!("line {number} of standard input");
                let read = match (&mut input).take(MAX_LINE).read_until(b'\n', &mut text) {
                    Ok(0) => return,
                    Ok(_) => read_line(&text, &place, rule).transpose(),
                    Err(error) => {
                        Some(Err(Failure::failed(format!("{place} cannot be read: {error}"))))
                    }
                };
                let Some(read) = read else { continue };
                let is_last = read.is_err();
                if sender.blocking_send(read).is_err() || is_last {
                    return;
                }
            }
        });
        Self { ready: VecDeque::new(), lines: Some(lines), failure: None, taken: 0 }
    }

    /// The next events: all of the arguments at once, or as many lines as there are, up to a number; none at the end,
    /// or before a wrong line. Cancel-safe.
    pub(crate) async fn next(&mut self, at_most: usize) -> Vec<Value> {
        while self.ready.len() < at_most
            && let Some(lines) = &mut self.lines
        {
            let line = match lines.try_recv() {
                Err(mpsc::error::TryRecvError::Empty) if self.ready.is_empty() => {
                    lines.recv().await
                }
                Err(mpsc::error::TryRecvError::Empty) => break,
                line => line.ok(),
            };
            match line {
                Some(Ok(event)) => self.ready.push_back(event),
                Some(Err(failure)) => {
                    self.failure = Some(failure);
                    self.lines = None;
                }
                None => self.lines = None,
            }
        }
        // Arguments are taken all at once: each is kept, whatever becomes of the others.
        let is_given = self.lines.is_none() && self.failure.is_none() && self.taken == 0;
        let count = if is_given { self.ready.len() } else { self.ready.len().min(at_most) };
        self.taken += count as u64;
        self.ready.drain(..count).collect()
    }

    /// What a failure to send leaves: what was given out is kept, and nothing else was read.
    pub(crate) fn kept(&self, failure: Failure) -> Failure {
        let failure = failure.and(
            "; what is not confirmed is kept here, and the next `add` to this server sends it",
        );
        if self.lines.is_none() {
            return failure;
        }
        failure.and(&format!("; {} events were read, and no lines after them", self.taken))
    }

    /// What was wrong with a line, once all before it was taken.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let Some(failure) = self.failure else { return Ok(()) };
        if self.taken == 0 {
            return Err(failure);
        }
        // Something was done.
        let failure = failure.with(Kind::Failed);
        Err(failure.and("; the lines before it were added, it and those after it were not"))
    }
}

fn read_line(text: &[u8], place: &str, rule: Rule) -> Result<Option<Value>, Failure> {
    if text.len() as u64 == MAX_LINE {
        return Err(Failure::usage(format!("{place} is longer than any event")));
    }
    let text = str::from_utf8(text)
        .map_err(|_| Failure::usage(format!("{place} is not a text in UTF-8")))?
        .trim();
    if text.is_empty() { Ok(None) } else { rule.read(text, place).map(Some) }
}
