//! The table of faults. The hazards are those of the original, by the numbers of the project's
//! research: A what is confirmed, B cursors, C what comes twice, D connections, E time, F filters. Those
//! of G are this library's own: 1 whose events are taken, 2 what is refused, 3 what a peer refuses by an
//! error, 4 events that cannot be read, 5 ids that are taken or from the far future, 6 callbacks that do not answer
//! and credentials that end, 7 clients that send too much, 8 what sessions share.
//!
//! Faults of stores are broken stores in `tests/simulation/store.rs`.

/// Stands for the condition that is true while the fault is at work.
pub(crate) const PLANTED: &str = "PLANTED";

/// A way to break the library.
pub(crate) struct Fault {
    pub(crate) hazard: &'static str,
    pub(crate) name: &'static str,
    pub(crate) edits: &'static [Edit],
}

/// A part of a file that occurs once, and what stands there in the copy.
pub(crate) struct Edit {
    pub(crate) file: &'static str,
    pub(crate) is: &'static str,
    pub(crate) becomes: &'static str,
}

pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        hazard: "A1",
        name: "confirms before it stores",
        edits: &[
            Edit {
                file: "src/sync/rules/rules.rs",
                is: "let received = live.sync(sync, now.clock)?;
                    self.refuse_events(received.incoming.refused.as_deref().unwrap_or_default());
                    self.outputs.push_back(Output::Store(received.incoming));",
                becomes: "let added = sync.added;
                    let received = live.sync(sync, now.clock)?;
                    self.refuse_events(received.incoming.refused.as_deref().unwrap_or_default());
                    self.outputs.push_back(Output::Store(received.incoming));
                    if PLANTED { self.send(Message::Synced(added)); }",
            },
            Edit {
                file: "src/sync/rules/events.rs",
                is: "Some(Arrived::Sync { added, is_of_another_log }) => {
                    self.send(Message::Synced(added));",
                becomes: "Some(Arrived::Sync { added, is_of_another_log }) => {
                    if !PLANTED { self.send(Message::Synced(added)); }",
            },
        ],
    },
    Fault {
        hazard: "A2",
        name: "end of the connection confirms what was not judged",
        edits: &[Edit {
            file: "src/sync/connection/intake.rs",
            is: "if let Some(rest) = self.transaction() {",
            becomes: "if PLANTED {
                for unjudged in std::mem::take(&mut self.unjudged) {
                    self.waiting.push(Incoming { entries: Vec::new(), ..unjudged });
                }
            }
            if let Some(rest) = self.transaction() {",
        }],
    },
    Fault {
        hazard: "A4",
        name: "messages are stored backwards",
        edits: &[Edit {
            file: "src/sync/connection/intake.rs",
            is: "all.entries.extend(next.entries);",
            becomes: "if PLANTED {
                let later = std::mem::replace(&mut all.entries, next.entries);
                all.entries.extend(later);
            } else {
                all.entries.extend(next.entries);
            }",
        }],
    },
    Fault {
        hazard: "A4",
        name: "in_filter loses the order",
        edits: &[Edit {
            file: "src/sync/callbacks.rs",
            is: "let judged = stream::iter(received.entries)",
            becomes: "if PLANTED {
                let judged = stream::iter(received.entries)
                    .map(|entry| self.apply_to_one(entry, Arc::clone(peer)))
                    .buffer_unordered(AT_ONCE)
                    .try_filter_map(|entry| std::future::ready(Ok(entry)));
                return Ok(Incoming { entries: judged.try_collect().await?, ..received });
            }
            let judged = stream::iter(received.entries)",
        }],
    },
    Fault {
        hazard: "B1",
        name: "cursor moves when sending",
        edits: &[Edit {
            file: "src/sync/rules/events.rs",
            is: "live.unconfirmed.push_back(covered);",
            becomes: "live.unconfirmed.push_back(covered);
                if PLANTED { self.outputs.push_back(Output::Advance(up_to)); }",
        }],
    },
    Fault {
        hazard: "B2",
        name: "live events overtake the catch-up",
        edits: &[Edit {
            file: "src/sync/rules/rules.rs",
            is: "Input::Grown(end) => self.log_end = self.log_end.max(end),",
            becomes: "Input::Grown(end) => {
                if PLANTED && let Phase::Live(live) = &mut self.phase {
                    live.position = self.log_end;
                }
                self.log_end = self.log_end.max(end);
            }",
        }],
    },
    Fault {
        hazard: "B3",
        name: "ping carries what was added",
        edits: &[Edit {
            file: "src/sync/rules/silence.rs",
            is: "let sent = live.position;",
            becomes: "let sent = if PLANTED { self.log_end } else { live.position };",
        }],
    },
    Fault {
        hazard: "B3",
        name: "pong carries what was added",
        edits: &[Edit {
            file: "src/sync/rules/rules.rs",
            is: "let sent = live.position;",
            becomes: "let sent = if PLANTED { self.log_end } else { live.position };",
        }],
    },
    Fault {
        hazard: "B3",
        name: "ready before all is sent",
        edits: &[Edit {
            file: "src/sync/rules/events.rs",
            is: "if !live.ready_sent && live.position >= live.start_end {",
            becomes: "if !live.ready_sent && (live.position >= live.start_end || PLANTED) {",
        }],
    },
    Fault {
        hazard: "B3",
        name: "ready carries what was added since",
        edits: &[Edit {
            file: "src/sync/rules/events.rs",
            is: "self.outputs.push_back(Output::Send(Message::Ready(live.start_end)));",
            becomes: "let end = if PLANTED { self.log_end.plus(1) } else { live.start_end };
                self.outputs.push_back(Output::Send(Message::Ready(end)));",
        }],
    },
    Fault {
        hazard: "B4",
        name: "claim off by one",
        edits: &[Edit {
            file: "src/sync/rules/handshake.rs",
            is: "Role::Acceptor => (now.clock, self.believed(claimed, &cursors, trust)),",
            becomes: "Role::Acceptor if PLANTED => (now.clock, candidate.synced.plus(1)),
                Role::Acceptor => (now.clock, self.believed(claimed, &cursors, trust)),",
        }],
    },
    Fault {
        hazard: "B4",
        name: "connect claims what was sent",
        edits: &[Edit {
            file: "src/sync/admission/admission.rs",
            is: "self.other_synced.unwrap_or(of_node.received),",
            becomes: "self.other_synced.unwrap_or(if PLANTED { of_node.sent } else { of_node.received }),",
        }],
    },
    Fault {
        hazard: "B4",
        name: "acceptor notes what it passed over",
        edits: &[Edit {
            file: "src/sync/rules/rules.rs",
            is: "let noted = if role == Role::Opener { live.sent } else { added };",
            becomes: "let noted = if role == Role::Opener || PLANTED { live.sent } else { added };",
        }],
    },
    Fault {
        hazard: "B5",
        name: "confirms twice",
        edits: &[Edit {
            file: "src/sync/rules/rules.rs",
            is: "pub(super) fn send(&mut self, message: Message<E>) {",
            becomes: "pub(super) fn send(&mut self, message: Message<E>) {
                if PLANTED && let Message::Synced(added) = &message {
                    self.outputs.push_back(Output::Send(Message::Synced(*added)));
                }",
        }],
    },
    Fault {
        hazard: "B8",
        name: "replaced log goes unnoticed",
        edits: &[Edit {
            file: "src/sync/rules/handshake.rs",
            is: "(Some(old), Some(new)) => old != new,",
            becomes: "(Some(old), Some(new)) => !PLANTED && old != new,",
        }],
    },
    Fault {
        hazard: "B8",
        name: "nothing is given back",
        edits: &[Edit {
            file: "src/sync/rules/handshake.rs",
            is: "return_up_to: self.log_end,",
            becomes: "return_up_to: if PLANTED { Added::ZERO } else { self.log_end },",
        }],
    },
    Fault {
        hazard: "B9",
        name: "batch passes what it left out",
        edits: &[Edit {
            file: "src/sync/connection/batch.rs",
            is: "entries.last().map_or(wanted.up_to, |last| last.meta.added);",
            becomes: "entries.last().filter(|_| !PLANTED);
                let end = end.map_or(wanted.up_to, |last| last.meta.added);",
        }],
    },
    Fault {
        hazard: "C2",
        name: "echo to the source",
        edits: &[Edit {
            file: "src/sync/connection/batch.rs",
            is: "&& added > wanted.return_up_to;",
            becomes: "&& added > wanted.return_up_to && !PLANTED;",
        }],
    },
    Fault {
        hazard: "D1",
        name: "window without end",
        edits: &[Edit {
            file: "src/sync/rules/events.rs",
            is: "live.unconfirmed.len() < window {",
            becomes: "(live.unconfirmed.len() < window || PLANTED) {",
        }],
    },
    Fault {
        hazard: "D4",
        name: "silence is never asked about",
        edits: &[Edit {
            file: "src/sync/rules/silence.rs",
            is: "self.config.ping.and_then(|ping|",
            becomes: "self.config.ping.filter(|_| !PLANTED).and_then(|ping|",
        }],
    },
    Fault {
        hazard: "E1",
        name: "base time is that of the question",
        edits: &[Edit {
            file: "src/sync/rules/handshake.rs",
            is: "Role::Opener => (candidate.base_time, cursors.sent),",
            becomes: "Role::Opener if PLANTED => (candidate.start, cursors.sent),
                Role::Opener => (candidate.base_time, cursors.sent),",
        }],
    },
    Fault {
        hazard: "E2",
        name: "now is the far future",
        edits: &[Edit {
            file: "src/sync/rules/relative.rs",
            is: "let ahead = i64::try_from(ahead.as_millis()).ok()?;",
            becomes: "let ahead = if PLANTED { Duration::ZERO } else { ahead };
                let ahead = i64::try_from(ahead.as_millis()).ok()?;",
        }],
    },
    Fault {
        hazard: "E3",
        name: "ids follow the clock",
        edits: &[Edit {
            file: "src/log/adding.rs",
            is: "Some(next) => next.max(now),",
            becomes: "Some(_) if PLANTED && last.id.since(now) > 60_000 => now,
                Some(next) => next.max(now),",
        }],
    },
    Fault {
        hazard: "F1",
        name: "catch-up is not filtered",
        edits: &[Edit {
            file: "src/sync/connection/batch.rs",
            is: "if self.outward.asks() {",
            becomes: "let skipped = PLANTED && entries.len() > 1;
                if self.outward.asks() && !skipped {",
        }],
    },
    Fault {
        hazard: "F3",
        name: "times that arrive are fixed twice",
        edits: &[Edit {
            file: "src/sync/rules/relative.rs",
            is: "far_future.apply(moved(time, self.time_fix.now()), now)?;",
            becomes: "far_future.apply(moved(time, self.time_fix.now()), now)?;
                let time = if PLANTED { moved(time, self.time_fix.now()) } else { time };",
        }],
    },
    Fault {
        hazard: "F3",
        name: "times that leave are not fixed",
        edits: &[Edit {
            file: "src/sync/rules/relative.rs",
            is: "time: moved(meta.time, -self.time_fix.at(added))",
            becomes: "time: moved(meta.time, if PLANTED { 0 } else { -self.time_fix.at(added) })",
        }],
    },
    Fault {
        hazard: "F6",
        name: "what is withheld is forgotten",
        edits: &[Edit {
            file: "src/log/withheld.rs",
            is: "positions.withheld.remove(covered);",
            becomes: "positions.withheld.remove(covered);
                let withheld = if PLANTED { &[] } else { withheld };",
        }],
    },
    Fault {
        hazard: "F6",
        name: "what was withheld counts as delivered when it is sent",
        edits: &[Edit {
            file: "src/sync/connection/outgoing.rs",
            is: "known.withhold(next.up_to, &next.withheld);",
            becomes: "known.withhold(next.up_to, &next.withheld);
                if PLANTED {
                    known.delivered(logux_codecs::Added::ZERO, next.up_to, &next.withheld);
                }",
        }],
    },
    Fault {
        hazard: "F6",
        name: "a second look sends all again",
        edits: &[Edit {
            file: "src/log/withheld.rs",
            is: "looks_at_all && positions.withheld.holds(added) ||",
            becomes: "PLANTED || looks_at_all && positions.withheld.holds(added) ||",
        }],
    },
    Fault {
        hazard: "G1",
        name: "a client adds events of others",
        edits: &[Edit {
            file: "src/sync/rules/whose.rs",
            is: "Self::OwnClient => {",
            becomes: "Self::OwnClient if PLANTED => Ok(()),
                Self::OwnClient => {",
        }],
    },
    Fault {
        hazard: "G1",
        name: "a client adds events of its server",
        edits: &[Edit {
            file: "src/sync/rules/whose.rs",
            is: "Self::OwnClient if author == local => Err(",
            becomes: "Self::OwnClient if author == local && PLANTED => Ok(()),
                Self::OwnClient if author == local => Err(",
        }],
    },
    Fault {
        hazard: "G1",
        name: "a client adds events of its user's other clients",
        edits: &[Edit {
            file: "src/sync/rules/whose.rs",
            is: "author.client_id() == peer.client_id()",
            becomes: "author.client_id() == peer.client_id()
                || PLANTED && author.user_id() == peer.user_id()",
        }],
    },
    Fault {
        hazard: "G2",
        name: "what is refused is not named",
        edits: &[Edit {
            file: "src/sync/rules/events.rs",
            is: "for report in Report::of_refused(refused) {",
            becomes: "let named = if PLANTED { Vec::new() } else { Report::of_refused(refused) };
                for report in named {",
        }],
    },
    Fault {
        hazard: "G2",
        name: "what is refused is not confirmed",
        edits: &[Edit {
            file: "src/sync/rules/live.rs",
            is: "self.storing.push_back(Arrived::Sync { added, is_of_another_log });",
            becomes: "if refused.is_empty() || !PLANTED {
                    self.storing.push_back(Arrived::Sync { added, is_of_another_log });
                }",
        }],
    },
    Fault {
        hazard: "G2",
        name: "what is refused is not listed",
        edits: &[Edit {
            file: "src/sync/rules/events.rs",
            is: "self.outputs.push_back(Output::HoldBack(refused));",
            becomes: "if !PLANTED { self.outputs.push_back(Output::HoldBack(refused)); }",
        }],
    },
    Fault {
        hazard: "A1",
        name: "does not wait for the store",
        edits: &[Edit {
            file: "src/log/beside.rs",
            is: "self.outcome(expected, answer.await)",
            becomes: "if PLANTED {
                return Ok(expected.outcome);
            }
            self.outcome(expected, answer.await)",
        }],
    },
    Fault {
        hazard: "G2",
        name: "the cursor is stored before what is held back",
        edits: &[Edit {
            file: "src/log/beside.rs",
            is: "let (counted, list) = match self.list(peer, held_back, *count).await {",
            becomes: "if PLANTED {
                let changes = std::mem::take(&mut news.changes);
                self.clone().append(News { changes, ..News::default() }).await?;
            }
            let (counted, list) = match self.list(peer, held_back, *count).await {",
        }],
    },
    Fault {
        hazard: "G2",
        name: "what is too large is lost and not named",
        edits: &[Edit {
            file: "src/sync/rules/live.rs",
            is: "Arrival::Unfit(unfit) =>",
            becomes: "Arrival::Unfit(_) if PLANTED => {}
                Arrival::Unfit(unfit) =>",
        }],
    },
    Fault {
        hazard: "G3",
        name: "what a peer refuses by an error is not narrowed down",
        edits: &[Edit {
            file: "src/sync/connection/connection.rs",
            is: "known.suspect(up_to);",
            becomes: "if !PLANTED { known.suspect(up_to); }",
        }],
    },
    Fault {
        hazard: "G3",
        name: "what is held back is sent again",
        edits: &[Edit {
            file: "src/sync/connection/batch.rs",
            is: "let is_held_back = held_back.contains(",
            becomes: "let is_held_back = !PLANTED && held_back.contains(",
        }],
    },
    Fault {
        hazard: "G3",
        name: "a second look offers what is held back",
        edits: &[Edit {
            file: "src/log/withheld.rs",
            is: "matches!(self.positions().offered.get(&added.value()), Some(Offer::Again(_)))",
            becomes: "let positions = self.positions();
                matches!(positions.offered.get(&added.value()), Some(Offer::Again(_)))
                    || PLANTED && positions.reevaluating",
        }],
    },
    Fault {
        hazard: "G3",
        name: "what a peer refuses while it fails is never offered again",
        edits: &[Edit {
            file: "src/sync/connection/connection.rs",
            is: "known.accuse(&id, took_some, refusal.may_pass);",
            becomes: "known.accuse(&id, took_some, refusal.may_pass);
                if PLANTED { known.settle(&id); }",
        }],
    },
    Fault {
        hazard: "G4",
        name: "what cannot be read is lost",
        edits: &[Edit {
            file: "src/sync/rules/live.rs",
            is: "Unreadable::Keep => set_aside.push(",
            becomes: "Unreadable::Keep if PLANTED => {}
                        Unreadable::Keep => set_aside.push(",
        }],
    },
    Fault {
        hazard: "G4",
        name: "what is set aside has no bound",
        edits: &[Edit {
            file: "src/log/room.rs",
            is: "(sum.events <= limit.events && sum.bytes <= limit.bytes).then_some(sum)",
            becomes: "(PLANTED || sum.events <= limit.events && sum.bytes <= limit.bytes)
                .then_some(sum)",
        }],
    },
    Fault {
        hazard: "G5",
        name: "ids follow one from the far future",
        edits: &[Edit {
            file: "src/log/beside.rs",
            is: "if time <= tomorrow {",
            becomes: "if time <= tomorrow || PLANTED {",
        }],
    },
    Fault {
        hazard: "G5",
        name: "ids go on from the far future after a restart",
        edits: &[Edit {
            file: "src/log/log.rs",
            is: "let last_id = if last_id <= tomorrow(opened) {",
            becomes: "let last_id = if last_id <= tomorrow(opened) || PLANTED {",
        }],
    },
    Fault {
        hazard: "G5",
        name: "times follow the ids",
        edits: &[Edit {
            file: "src/log/adding.rs",
            is: "self.time = now;",
            becomes: "self.time = if PLANTED { self.id.max(now) } else { now };",
        }],
    },
    Fault {
        hazard: "G6",
        name: "callbacks have no limit",
        edits: &[Edit {
            file: "src/sync/callbacks.rs",
            is: "(Poll::Pending, None) => Ok(asked.await),",
            becomes: "(Poll::Pending, None) => Ok(asked.await),
                (Poll::Pending, Some(_)) if PLANTED => Ok(asked.await),",
        }],
    },
    Fault {
        hazard: "G6",
        name: "a first refusal of credentials is final",
        edits: &[Edit {
            file: "src/sync/client_sync.rs",
            is: "return !std::mem::replace(&mut lasting.was_refused, true) && !is_soon;",
            becomes: "return !PLANTED && !std::mem::replace(&mut lasting.was_refused, true);",
        }],
    },
    Fault {
        hazard: "G6",
        name: "credentials that have ended are told to be wrong",
        edits: &[Edit {
            file: "src/sync/rules/rules.rs",
            is: "Input::Expired => self.refuse(credentials_expired(), Error::Expired),",
            becomes: "Input::Expired if PLANTED => {
                self.refuse(logux_codecs::ProtocolError::WrongCredentials, Error::Expired);
            }
            Input::Expired => self.refuse(credentials_expired(), Error::Expired),",
        }],
    },
    Fault {
        hazard: "G7",
        name: "a client that comes back has a full quota",
        edits: &[Edit {
            file: "src/sync/admission/quota.rs",
            is: "Arc::clone(accounts.entry(owner).or_insert_with(new))",
            becomes: "if PLANTED { return new(); }
            Arc::clone(accounts.entry(owner).or_insert_with(new))",
        }],
    },
    Fault {
        hazard: "G8",
        name: "a session is sent the bytes of another event",
        edits: &[Edit {
            file: "src/log/encoded.rs",
            is: "let place = *self.places.get(index)?;",
            becomes: "let place = *self.places.get(index.saturating_sub(usize::from(PLANTED)))?;",
        }],
    },
];
