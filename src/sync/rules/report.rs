//! What one node tells the other of its events, as a `debug` text: nodes of this library read it, and
//! JavaScript nodes show it to their developers. The protocol has no message for it.

use std::fmt;

use logux_codecs::EventId;

use crate::apart::Refused;

/// So many bytes of ids are in one text, at most: a frame with them has to be one that every peer takes.
const MAX_BYTES: usize = 16 << 10;

/// The time of an id and its punctuation have no more bytes.
const ID_WITHOUT_NODE: usize = 40;

/// So many events are named in one text, at most.
const MAX_EVENTS: usize = 500;

const BECAUSE: &str = "because";

/// What a node has to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The node did not take these events of the other's, all for one reason.
    Refused { ids: Vec<EventId>, reason: String },
    /// Another node uses the other's name, with another log.
    Twin,
}

const TWIN: &str = "another node has your name and another log: give each node a name of its own";

impl Report {
    /// As few reports as name all of these events, in their order.
    pub(crate) fn of_refused(refused: &[Refused]) -> Vec<Self> {
        let mut reports: Vec<Self> = Vec::new();
        let mut bytes = 0;
        for Refused { id, reason, .. } in refused {
            let length = id.node().as_str().len() + ID_WITHOUT_NODE;
            bytes += length;
            match reports.last_mut() {
                Some(Self::Refused { ids, reason: same })
                    if same == reason && bytes <= MAX_BYTES =>
                {
                    ids.push(id.clone());
                }
                _ => {
                    bytes = length;
                    reports.push(Self::Refused { ids: vec![id.clone()], reason: reason.clone() });
                }
            }
        }
        reports
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == TWIN {
            return Some(Self::Twin);
        }
        let (count, mut rest) = text.strip_prefix("refused ")?.split_once(" events: ")?;
        let count: usize = count.parse().ok().filter(|count| (1..=MAX_EVENTS).contains(count))?;
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            // An id is two words, and no name of a node has a space.
            let end = rest.match_indices(' ').nth(1)?.0;
            ids.push(rest[..end].parse().ok()?);
            rest = &rest[end + 1..];
        }
        let reason = rest.strip_prefix(BECAUSE)?.strip_prefix(' ')?;
        Some(Self::Refused { ids, reason: reason.to_owned() })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { ids, reason } => {
                write!(f, "refused {} events: ", ids.len())?;
                for id in ids {
                    write!(f, "{id} ")?;
                }
                write!(f, "{BECAUSE} {reason}")
            }
            Self::Twin => f.write_str(TWIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_back() {
        let ids = |names: &[&str]| names.iter().map(|id| id.parse().unwrap()).collect();
        for report in [
            Report::Twin,
            Report::Refused { ids: ids(&["1 a"]), reason: "because".to_owned() },
            Report::Refused { ids: ids(&["1 a", "OzcVoWD 10:b,:!b12"]), reason: String::new() },
        ] {
            assert_eq!(Report::parse(&report.to_string()), Some(report));
        }
    }

    #[test]
    fn what_is_not_a_report_is_a_text() {
        for text in [
            "",
            "refused 0 events: because x",
            "refused 1 events: 1 a",
            "refused 2 events: 1 a because x",
            "refused 99999999999999999999 events: 1 a because x",
            "refused 501 events: 1 a because x",
            "refused 1 events: 1 a since x",
            "refused 1 events: \u{e9}",
        ] {
            assert_eq!(Report::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn many_events_of_one_reason_share_reports() {
        let refused: Vec<_> = (1..=1_200)
            .map(|n| {
                let reason = if n <= 1_100 { "one" } else { "other" };
                Refused::new(format!("{} a", n % 9 + 1).parse().unwrap(), reason)
            })
            .collect();
        let sizes: Vec<_> = Report::of_refused(&refused)
            .iter()
            .map(|report| match report {
                Report::Refused { ids, .. } => ids.len(),
                Report::Twin => 0,
            })
            .collect();
        assert_eq!(sizes, [399, 399, 302, 100]);
    }
}
