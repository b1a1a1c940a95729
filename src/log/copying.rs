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
    /// What is added meanwhile is not in the copy. How far peers and consumers are is not either: positions are
    /// those of one log. To move a whole log to another machine, copy the store while no program has it open.
    pub async fn export(
        &self,
        to: &mut (impl AsyncWrite + Unpin + Send),
        mut progress: impl FnMut(u64, u64) + Send,
    ) -> Result<u64, CopyError> {
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
        for event in self.set_aside().await? {
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
    /// What this program cannot read is set aside. Where something is wrong, all before it is added, and the copy
    /// can be imported again. It is not shown to [`before_add`](crate::LogOptions::before_add).
    pub async fn import(
        &self,
        from: &mut (impl AsyncBufRead + Unpin + Send),
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<Imported, CopyError> {
        let (mut imported, mut events) = (Imported::default(), 0);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            number += 1;
            line.clear();
            (&mut *from).take(MAX_LINE).read_until(b'\n', &mut line).await?;
            if line.len() as u64 == MAX_LINE {
                return Err(CopyError::LongLine { line: number });
            }
            let is_whole = line.last() == Some(&b'\n');
            let read = serde_json::from_slice::<Line<serde_json::Value>>(&line);
            let read = match read {
                Ok(read) if is_whole => read,
                _ if !is_whole && number > 1 => {
                    self.import_some(&mut entries, &mut imported).await?;
                    return Err(CopyError::CutOff);
                }
                _ if number == 1 => return Err(CopyError::NotACopy),
                Ok(_) => return Err(CopyError::CutOff),
                Err(error) => {
                    self.import_some(&mut entries, &mut imported).await?;
                    return Err(CopyError::Line { line: number, error });
                }
            };
            match read {
                Line::Log { version: VERSION, .. } if number == 1 => {}
                Line::Log { version, .. } if number == 1 => {
                    return Err(CopyError::Version(version));
                }
                _ if number == 1 => return Err(CopyError::NotACopy),
                Line::Log { .. } => {
                    self.import_some(&mut entries, &mut imported).await?;
                    let error = serde::de::Error::custom("a copy begins in the middle of another");
                    return Err(CopyError::Line { line: number, error });
                }
                Line::Event { event, meta } => {
                    events += 1;
                    match E::deserialize(&event) {
                        Ok(event) => {
                            let checked = self.event_limits().check_event(&event, &meta.extra);
                            let size = match checked {
                                Ok(size) => size,
                                Err(reason) => {
                                    self.import_some(&mut entries, &mut imported).await?;
                                    return Err(CopyError::Unfit { line: number, reason });
                                }
                            };
                            bytes += size;
                            entries.push(Entry::new(event, meta).sized(size));
                        }
                        Err(error) => {
                            let aside = SetAside::new(event, meta, error.to_string());
                            self.import_aside(aside, &mut imported).await?;
                        }
                    }
                }
                Line::SetAside(aside) => self.import_aside(*aside, &mut imported).await?,
                Line::End { .. } => {
                    self.import_some(&mut entries, &mut imported).await?;
                    progress(events);
                    return Ok(imported);
                }
            }
            if entries.len() >= PAGE.events || bytes >= PAGE.bytes {
                self.import_some(&mut entries, &mut imported).await?;
                bytes = 0;
                progress(events);
            }
        }
    }

    /// Adds events with the ids that they have.
    async fn import_some(
        &self,
        entries: &mut Vec<Entry<E>>,
        imported: &mut Imported,
    ) -> Result<(), StoreError> {
        let entries = std::mem::take(entries);
        if entries.is_empty() {
            return Ok(());
        }
        let count = entries.len() as u64;
        let room = self.reserve(entries.iter().map(Entry::size).sum()).await;
        let answer = {
            // An id of this node must not be given again.
            let mut last = self.last();
            let tomorrow = super::log::tomorrow(self.now());
            for Entry { meta, .. } in &entries {
                if meta.id.node() == self.node_id() && meta.id.time() <= tomorrow {
                    last.id = last.id.max(meta.id.time());
                }
            }
            self.submit(Append::events(entries).with_room(room))
        };
        let stored = answer.await?;
        let gone: HashSet<_> = stored.gone.iter().chain(&stored.too_old).collect();
        imported.added += count - stored.known.len() as u64;
        imported.known += (stored.known.len() - gone.len()) as u64;
        imported.gone += gone.len() as u64;
        Ok(())
    }

    /// Sets an event aside that this program cannot read.
    async fn import_aside(
        &self,
        event: SetAside,
        imported: &mut Imported,
    ) -> Result<(), StoreError> {
        let peer = event.meta.source.clone().unwrap_or_else(|| self.node_id().clone());
        let (entries, up_to) = (Vec::new(), Added::ZERO);
        let incoming = Incoming { peer: peer.clone(), entries, set_aside: vec![event], up_to };
        let news = News { incoming: Some(incoming), ..News::default() };
        let received = self.keep(&peer, news).await?;
        imported.set_aside += received.set_aside.len() as u64;
        imported.refused += received.refused.len() as u64;
        Ok(())
    }
}

fn write_line<E: Serialize>(lines: &mut Vec<u8>, line: &Line<E>) -> io::Result<()> {
    serde_json::to_writer(&mut *lines, line)?;
    lines.push(b'\n');
    Ok(())
}
