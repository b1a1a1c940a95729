//! A codec over a transport, and what was measured of it.

use std::env;
use std::process::{Command, Stdio};

use logux_sync::{Codec, Listener, Transport};
use tokio::runtime::Runtime;

use super::options::{FOOTPRINT, Options};
use super::samples::Samples;
use super::wire::Wire;
use super::workload::{Run, Workload};

/// In how many rounds memory is measured: a process each is dear, and they are much alike.
const FOOTPRINTS: usize = 5;

pub(super) struct Combination<'a> {
    /// `codec/transport`
    pub(super) name: String,
    /// What the command line means of it.
    pub(super) workloads: Vec<Workload>,
    pub(super) samples: Samples,
    runs: Box<Runs<'a>>,
    /// What comes before the options, where this program calls itself.
    before: Vec<String>,
}

/// Has two new nodes do something, over a way that counts bytes or does not.
type Runs<'a> = dyn Fn(&Runtime, Workload, Wire) -> Run + 'a;

impl<'a> Combination<'a> {
    pub(super) fn new<C: Codec, T: Transport, L: Listener>(
        codec: C,
        transport: &str,
        connect: impl AsyncFn(&Wire) -> (T, L) + 'a,
        options: &Options,
        before: &[String],
    ) -> Self {
        let runs = move |runtime: &Runtime, workload: Workload, wire: Wire| {
            runtime.block_on(async {
                let (transport, listener) = connect(&wire).await;
                workload.run(&codec, transport, listener, &wire).await
            })
        };
        let name = format!("{}/{transport}", C::NAME);
        let (workloads, samples) = (Vec::new(), Samples::default());
        let (runs, before) = (Box::new(runs), before.to_vec());
        let mut combination = Self { name, workloads, samples, runs, before };
        let means = |workload: &Workload| options.means(&combination.id(*workload));
        combination.workloads = Workload::ALL.into_iter().filter(means).collect();
        combination
    }

    /// `codec/transport/workload`
    pub(super) fn id(&self, workload: Workload) -> String {
        format!("{}/{}", self.name, workload.name())
    }

    /// Has two new nodes do something.
    pub(super) fn run(&self, runtime: &Runtime, workload: Workload, wire: Wire) -> Run {
        (self.runs)(runtime, workload, wire)
    }

    /// Counts the bytes of each workload of which they are told. It warms up, too.
    pub(super) fn count_bytes(&mut self, runtime: &Runtime) {
        for &workload in &self.workloads {
            if matches!(workload, Workload::Confirmation | Workload::CatchUp) {
                let run = self.run(runtime, workload, Wire::counting());
                self.samples.count(workload, &run);
            }
        }
    }

    /// Measures each workload once.
    pub(super) fn round(&mut self, runtime: &Runtime, round: usize, mut told: impl FnMut(&str)) {
        for &workload in &self.workloads {
            told(&self.id(workload));
            if workload != Workload::Footprint {
                let run = self.run(runtime, workload, Wire::default());
                self.samples.add(workload, &run);
            } else if round <= FOOTPRINTS {
                self.samples.add_footprint(self.footprint_of_a_process());
            }
        }
    }

    /// Prints by how many bytes this process grew, for the process that asks.
    pub(super) fn footprint(&self, runtime: &Runtime) {
        let run = self.run(runtime, Workload::Footprint, Wire::default());
        if let Some(growth) = run.growth {
            println!("{growth}");
        }
    }

    /// Has a new process of this program run it, and tells by how many bytes that grew. `None` where
    /// the system does not tell.
    fn footprint_of_a_process(&self) -> Option<u64> {
        let program = env::current_exe().expect("this program has a path");
        let mut process = Command::new(program);
        process.args(&self.before).args([FOOTPRINT, &self.name]).stderr(Stdio::inherit());
        let output = process.output().expect("this program starts");
        assert!(output.status.success(), "the process for the footprint of {} failed", self.name);
        // A bench of somebody else's may print something before it.
        String::from_utf8_lossy(&output.stdout).lines().last()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use logux_sync::{Json, Memory};
    use tokio::runtime::Builder;

    use super::*;
    use crate::matrix::samples::figures;

    #[test]
    fn a_round_keeps_the_latency_of_each_event_and_only_what_is_meant() {
        let filters = vec!["/confirmation".to_owned()];
        let options = Options { filters, ..Options::default() };
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let connect = async |_: &Wire| Memory::listen();
        let mut combination = Combination::new(Json, "memory", connect, &options, &[]);
        combination.count_bytes(&runtime);
        let mut ids = Vec::new();
        combination.round(&runtime, 1, |id| ids.push(id.to_owned()));
        assert_eq!(ids, ["json/memory/confirmation"]);
        let figures = figures(&[(&combination.name, &combination.samples)]);
        let counts = |index: usize| -> Vec<Option<usize>> {
            figures[index].rows[0].values.iter().map(|value| Some(value.as_ref()?.count)).collect()
        };
        assert_eq!(counts(0), [None; 3]);
        assert_eq!(counts(1), [Some(1000); 3]);
        assert_eq!(counts(2), [Some(1), None]);
    }
}
