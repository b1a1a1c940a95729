//! A log as lines of JSON, to be kept or to be put into another log.

use std::collections::HashSet;
use std::io;

use logux_codecs::{Added, Event, NodeId, Unfit};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Log, News};
use crate::apart::SetAside;
use crate::entry::{Entry, Incoming, Meta};
use crate::store::{Append, Page, Query, StoreError};

/// What became of the events of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// So many were added.
    pub added: u64,
    /// So many were known already.
    pub known: u64,
    /// So many are gone here, or so old that it is not remembered whether they are: they were not added.
    pub gone: u64,
    /// So many cannot be read by this program, and are [set aside](Log::set_aside).
    pub set_aside: u64,
    /// So many cannot be read, and there is no room to set them aside.
    pub refused: u64,
}

/// Why a log was not copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The copy cannot be read or written.
    #[error("the copy cannot be read or written")]
    Io(#[from] io::Error),
    /// It does not begin as a copy of a log does.
    #[error("line 1 does not begin a copy of a log, as Log::export writes it")]
    NotACopy,
    /// It was made by a later version.
    #[error(
        "the copy has the version {0}, which this program cannot read; read it with the one that wrote it"
    )]
    Version(u32),
    /// It ends before its last line.
    #[error(
        "the copy ends before its last line; all up to there was added: copy the file again, and repeat this"
    )]
    CutOff,
    /// It has not as many events as its last line says. What it has was added.
    #[error(
        "the copy says that it has {said} events, and has {events}: lines of it are missing, or there twice"
    )]
    Miscounted {
        /// What its last line says.
        said: u64,
        /// What it has.
        events: u64,
    },
    /// A line is not what a copy has. All before it was added; the same copy can be imported again.
    #[error("line {line} is not one of a copy of a log")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        #[source]
        error: serde_json::Error,
    },
    /// A line is longer than any event can be.
    #[error("line {line} is longer than {MAX_LINE} bytes, which no line of a copy is")]
    LongLine {
        /// Counted from 1.
        line: u64,
    },
    /// An event does not keep to the limits of this log.
    #[error(
        "the event in line {line} cannot be sent to every peer; open the log with larger limits, or take it out"
    )]
    Unfit {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        #[source]
        reason: Unfit,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Of the format.
const VERSION: u32 = 1;

const PAGE: Page = Page::new(256);

/// The longest line, in bytes.
const MAX_LINE: u64 = 64 << 20;

/// A line of a copy; `E` is a value where it is read.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line<E> {
    /// The first one.
    Log {
        version: u32,
        node: NodeId,
    },
    Event {
        event: E,
        meta: Meta,
    },
    SetAside(Box<SetAside>),
    /// The last one, so that a copy that is cut off is noticed: how many events there are.
    End {
        events: u64,
    },
}

impl<E: Event> Log<E> {
    /// Writes all events as lines of JSON, in the order in which they were added, and what is
    /// [set aside](Self::set_aside). `progress` is told how many events are written, and about how many there are.
    ///
    /// The copy does not hold events that are added meanwhile, events that wait in the [inbox](Self::inbox), ids of
    /// cleaned events, or the cursors of peers and consumers, whose positions mean nothing in another log. To move a
    /// whole log to another machine, copy the store while no program has it open.
    pub async fn export(
        &self,
        to: &mut (impl AsyncWrite + Unpin + Send),
        mut progress: impl FnMut(u64, u64) + Send,
    ) -> Result<u64, CopyError> {
        // First, for what is taken up meanwhile is among the events then.
        let set_aside = self.set_aside().await?;
        let (end, all) = (self.last_added(), self.count().await?);
        let mut lines = Vec::new();
        let head = Line::<&E>::Log { version: VERSION, node: self.node_id().clone() };
        write_line(&mut lines, &head)?;
        let (mut events, mut after) = (0, Added::ZERO);
        'pages: loop {
            let page = self.read(Query::added(after), PAGE).await?;
            for entry in &page {
                if entry.meta.added > end {
                    break 'pages;
                }
                after = entry.meta.added;
                let line = Line::Event { event: &entry.event, meta: entry.meta.clone() };
                write_line(&mut lines, &line)?;
                events += 1;
            }
            to.write_all(&lines).await?;
            lines.clear();
            progress(events, all.max(events));
            if page.is_empty() {
                break;
            }
        }
        for event in set_aside {
            write_line(&mut lines, &Line::<&E>::SetAside(Box::new(event)))?;
        }
        write_line(&mut lines, &Line::<&E>::End { events })?;
        to.write_all(&lines).await?;
        to.flush().await?;
        Ok(events)
    }

    /// Adds the events of a copy that [`export`](Self::export) has written, with their ids, times and reasons, in
    /// the order of the copy; those that are here already stay as they are. `progress` is told how many events were
    /// read.
    ///
    /// Events that this program cannot read are set aside. After an error all events before the wrong line are added,
    /// and the copy can be imported again. The hook [`before_add`](crate::LogOptions::before_add) does not see these
    /// events.
    pub async fn import(
        &self,
        from: &mut (impl AsyncBufRead + Unpin + Send),
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<Imported, CopyError> {
        let mut import =
            Import { log: self, entries: Vec::new(), bytes: 0, imported: Imported::default() };
        let read = import.read(from, &mut progress).await;
        // Also where something is wrong with the copy.
        import.add().await?;
        progress(read?);
        Ok(import.imported)
    }
}

/// What was read of a copy, and is not added yet.
struct Import<'a, E> {
    log: &'a Log<E>,
    entries: Vec<Entry<E>>,
    bytes: usize,
    imported: Imported,
}

impl<E: Event> Import<'_, E> {
    /// Reads a copy to its end, and answers how many events it has.
    async fn read(
        &mut self,
        from: &mut (impl AsyncBufRead + Unpin + Send),
        progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<u64, CopyError> {
        let (mut events, mut line) = (0, Vec::new());
        for number in 1.. {
            line.clear();
            (&mut *from).take(MAX_LINE).read_until(b'\n', &mut line).await?;
            if line.len() as u64 == MAX_LINE {
                return Err(CopyError::LongLine { line: number });
            }
            let read = match serde_json::from_slice::<Line<serde_json::Value>>(&line) {
                Ok(read) => read,
                Err(_) if number == 1 => return Err(CopyError::NotACopy),
                Err(_) if line.last() != Some(&b'\n') => return Err(CopyError::CutOff),
                Err(error) => return Err(CopyError::Line { line: number, error }),
            };
            match read {
                Line::Log { version: VERSION, .. } if number == 1 => {}
                Line::Log { version, .. } if number == 1 => {
                    return Err(CopyError::Version(version));
                }
                _ if number == 1 => return Err(CopyError::NotACopy),
                Line::Log { .. } => {
                    let error = serde::de::Error::custom("a copy begins in the middle of another");
                    return Err(CopyError::Line { line: number, error });
                }
                Line::Event { event, meta } => {
                    events += 1;
                    self.take(SetAside::new(event, meta, String::new()), number).await?;
                }
                Line::SetAside(aside) => self.take(*aside, number).await?,
                Line::End { events: said } if said == events => return Ok(events),
                Line::End { events: said } => return Err(CopyError::Miscounted { said, events }),
            }
            self.bytes += line.len();
            if self.entries.len() >= PAGE.events || self.bytes >= PAGE.bytes {
                self.add().await?;
                progress(events);
            }
        }
        Ok(events)
    }

    /// Takes an event of the copy, or sets it aside.
    async fn take(&mut self, mut aside: SetAside, line: u64) -> Result<(), CopyError> {
        let event = match E::deserialize(&aside.event) {
            // A filter is to be asked about it first.
            Ok(_) if aside.unjudged => return Ok(self.set_aside(aside).await?),
            Ok(event) => event,
            Err(error) => {
                aside.reason = error.to_string();
                return Ok(self.set_aside(aside).await?);
            }
        };
        let checked = self.log.event_limits().check_event(&event, &aside.meta.extra);
        let size = checked.map_err(|reason| CopyError::Unfit { line, reason })?;
        self.entries.push(Entry::new(event, aside.meta).sized(size));
        Ok(())
    }

    /// Adds what was read, with the ids that it has.
    async fn add(&mut self) -> Result<(), StoreError> {
        let entries = std::mem::take(&mut self.entries);
        self.bytes = 0;
        if entries.is_empty() {
            return Ok(());
        }
        let (log, count) = (self.log, entries.len() as u64);
        let room = log.reserve(entries.iter().map(Entry::size).sum()).await;
        let answer = {
            let mut last = log.last();
            log.pass_over(&mut last, entries.iter().map(|entry| &entry.meta.id));
            log.submit(Append::events(entries).with_room(room))
        };
        let stored = answer.await?;
        let gone: HashSet<_> = stored.gone.iter().chain(&stored.too_old).collect();
        let known = stored.known.len() as u64;
        self.imported.added += count - known;
        self.imported.known += known - gone.len() as u64;
        self.imported.gone += gone.len() as u64;
        Ok(())
    }

    async fn set_aside(&mut self, event: SetAside) -> Result<(), StoreError> {
        let peer = event.meta.source.clone().unwrap_or_else(|| self.log.node_id().clone());
        let incoming = Incoming { set_aside: vec![event], ..Incoming::nothing(peer.clone()) };
        let news = News { incoming: Some(incoming), ..News::default() };
        let received = self.log.keep(&peer, news).await?;
        self.imported.set_aside += received.set_aside.len() as u64;
        self.imported.refused += received.refused.len() as u64;
        Ok(())
    }
}

fn write_line<E: Serialize>(lines: &mut Vec<u8>, line: &Line<E>) -> io::Result<()> {
    serde_json::to_writer(&mut *lines, line)?;
    lines.push(b'\n');
    Ok(())
}
