//! What was measured of a combination, and the figures that are made of it.

use std::time::Duration;

use super::workload::{Run, Workload};
use crate::estimate::Estimate;
use crate::report::{Figure, Marks, Row};

/// The measurements of a codec over a transport, round by round.
#[derive(Debug, Default)]
pub(super) struct Samples {
    one_way: Timed,
    both_ways: Timed,
    catch_up: Timed,
    confirmation: Timed,
    /// In microseconds: those of each round.
    latencies: Vec<Vec<f64>>,
    /// Per event, counted in one run.
    bytes_alone: Option<f64>,
    bytes_in_bulk: Option<f64>,
    /// Bytes per event, of each process.
    footprints: Vec<f64>,
}

/// Per event of each run, in microseconds.
#[derive(Debug, Default)]
struct Timed {
    took: Vec<f64>,
    cpu: Vec<f64>,
}

/// The values of a figure that have a name, and where they are found.
type Series = (&'static str, fn(&Samples) -> Option<Estimate>);

/// A figure without its rows.
struct Kind {
    key: &'static str,
    title: &'static str,
    unit: &'static str,
    about: &'static str,
    marks: Marks,
    series: &'static [Series],
}

const KINDS: [Kind; 5] = [
    Kind {
        key: "throughput",
        title: "Throughput",
        unit: "thousand events/s",
        about: "More is better. One way: a program adds 20,000 small events, a call for each, until the \
            other node has confirmed all. Both ways: 10,000 at each of the two nodes at once. Catch-up: a \
            new client dials a server that has 10,000 events, until the server knows that the client has \
            them.",
        marks: Marks::Bars,
        series: &[
            ("one way", |samples| samples.one_way.throughput()),
            ("both ways", |samples| samples.both_ways.throughput()),
            ("catch-up", |samples| samples.catch_up.throughput()),
        ],
    },
    Kind {
        key: "latency",
        title: "Confirmation",
        unit: "µs",
        about: "Less is better; the scale is logarithmic. How long it takes from the call that adds an event \
            until the other node's confirmation is here, one event after the other: so long or less for \
            half of the events, for 99 % and for 99.9 % of them.",
        marks: Marks::Dots,
        series: &[
            ("p50", |samples| Estimate::of_percentile(&samples.latencies, 0.5)),
            ("p99", |samples| Estimate::of_percentile(&samples.latencies, 0.99)),
            ("p999", |samples| Estimate::of_percentile(&samples.latencies, 0.999)),
        ],
    },
    Kind {
        key: "bytes",
        title: "On the wire",
        unit: "bytes/event",
        about: "Less is better; the scale is logarithmic. Counted between the two nodes in one run of each \
            kind, both directions, with confirmations and all that WebSocket and HTTP put around frames, \
            without what TCP does; of transports that are not over TCP, the frames. Alone: one event after \
            the other. In bulk: catching up.",
        marks: Marks::Dots,
        series: &[
            ("alone", |samples| Estimate::of(samples.bytes_alone.as_slice())),
            ("in bulk", |samples| Estimate::of(samples.bytes_in_bulk.as_slice())),
        ],
    },
    Kind {
        key: "cpu",
        title: "Processor",
        unit: "µs/event",
        about: "Less is better; the scale is logarithmic. The time that all threads run, in the program and \
            in the system, for both nodes and loopback together. Alone: one event after the other. In bulk: \
            one way, as above.",
        marks: Marks::Dots,
        series: &[
            ("alone", |samples| Estimate::of(&samples.confirmation.cpu)),
            ("in bulk", |samples| Estimate::of(&samples.one_way.cpu)),
        ],
    },
    Kind {
        key: "memory",
        title: "Memory",
        unit: "bytes/event",
        about: "Less is better. By how much the resident memory of a new process grows at most while 100,000 \
            events go one way, for each of them: what both logs hold, the sessions, and what waits between \
            them.",
        marks: Marks::Bars,
        series: &[("peak", |samples| Estimate::of(&samples.footprints))],
    },
];

impl Samples {
    /// Takes what a run took.
    pub(super) fn add(&mut self, workload: Workload, run: &Run) {
        let per_event = |took: Duration| micros(took) / as_f64(workload.events());
        let timed = match workload {
            Workload::OneWay => &mut self.one_way,
            Workload::BothWays => &mut self.both_ways,
            Workload::CatchUp => &mut self.catch_up,
            Workload::Confirmation => {
                self.latencies.push(run.latencies.iter().copied().map(micros).collect());
                &mut self.confirmation
            }
            // Not timed: see `add_footprint`.
            Workload::Footprint => return,
        };
        timed.took.push(per_event(run.took));
        timed.cpu.extend(run.cpu.map(per_event));
    }

    /// Takes by how many bytes a process grew, if that is known.
    pub(super) fn add_footprint(&mut self, growth: Option<u64>) {
        let events = as_f64(Workload::Footprint.events());
        self.footprints.extend(growth.map(|bytes| as_f64(bytes) / events));
    }

    /// Takes what was counted in a run.
    pub(super) fn count(&mut self, workload: Workload, run: &Run) {
        let bytes = as_f64(run.bytes) / as_f64(workload.events());
        match workload {
            Workload::Confirmation => self.bytes_alone = Some(bytes),
            Workload::CatchUp => self.bytes_in_bulk = Some(bytes),
            Workload::OneWay | Workload::BothWays | Workload::Footprint => {}
        }
    }
}

impl Timed {
    /// In thousands of events per second.
    fn throughput(&self) -> Option<Estimate> {
        let rates: Vec<f64> = self.took.iter().map(|took| 1000.0 / took).collect();
        Estimate::of(&rates)
    }
}

/// All figures, with a row for each combination.
pub(super) fn figures(combinations: &[(&str, &Samples)]) -> Vec<Figure> {
    let row = |kind: &Kind, (name, samples): (&str, &Samples)| Row {
        name: name.to_owned(),
        values: kind.series.iter().map(|(_, value)| value(samples)).collect(),
    };
    let figure = |kind: &Kind| Figure {
        key: kind.key,
        title: kind.title,
        unit: kind.unit,
        about: kind.about,
        marks: kind.marks,
        series: kind.series.iter().map(|(name, _)| *name).collect(),
        rows: combinations.iter().map(|combination| row(kind, *combination)).collect(),
    };
    KINDS.iter().map(figure).collect()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(took: u64) -> Run {
        let took = Duration::from_micros(took);
        Run {
            took,
            cpu: Some(took * 2),
            bytes: 90_000,
            latencies: (1..=1000).map(Duration::from_micros).collect(),
            growth: None,
        }
    }

    /// The medians of a figure's only row.
    fn medians(figures: &[Figure], key: &str) -> Vec<Option<i64>> {
        let figure = figures.iter().find(|figure| figure.key == key).unwrap();
        let rounded = |estimate: &Estimate| format!("{:.0}", estimate.median).parse().unwrap();
        figure.rows[0].values.iter().map(|value| value.as_ref().map(rounded)).collect()
    }

    #[test]
    fn figures_are_of_events_in_the_unit_that_they_name() {
        let mut samples = Samples::default();
        for workload in Workload::ALL {
            samples.add(workload, &run(20_000));
            samples.count(workload, &run(20_000));
        }
        samples.add_footprint(Some(80_000_000));
        let figures = figures(&[("json/memory", &samples)]);
        let expected: [(&str, &[i64]); 5] = [
            // 20,000 events in 20 ms; for 10,000 that is half as many in a second.
            ("throughput", &[1000, 1000, 500]),
            ("latency", &[500, 990, 999]),
            ("bytes", &[90, 9]),
            // 40 ms for 1,000 events, and for 20,000.
            ("cpu", &[40, 2]),
            ("memory", &[800]),
        ];
        for (key, medians_of_it) in expected {
            let medians_of_it: Vec<_> = medians_of_it.iter().copied().map(Some).collect();
            assert_eq!(medians(&figures, key), medians_of_it, "{key}");
        }
    }

    #[test]
    fn what_was_not_measured_has_no_value() {
        let mut samples = Samples::default();
        samples.add(Workload::BothWays, &run(20_000));
        samples.add_footprint(None);
        let figures = figures(&[("json/memory", &samples)]);
        assert_eq!(medians(&figures, "throughput"), [None, Some(1000), None]);
        for (key, count) in [("latency", 3), ("bytes", 2), ("cpu", 2), ("memory", 1)] {
            assert_eq!(medians(&figures, key), vec![None; count], "{key}");
        }
    }
}
