mod table;
mod wire;
mod workload;

use std::cell::RefCell;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use logux_sync::{Codec, Listener, Transport};
use tokio::runtime::{Builder, Runtime};

use crate::asked::Asked;
use table::{Bytes, Row};
use workload::Workload;

pub use wire::Wire;

/// What logux-sync does over a transport, by a codec, end to end: two nodes in this process, measured
/// by criterion, and a table of it.
///
/// A bench of combinations of one's own is a line for each (those over a Unix socket are in
/// `benches/custom/main.rs`):
///
/// ```no_run
/// use logux_benches::Matrix;
/// use logux_sync::{Json, Memory};
///
/// let mut matrix = Matrix::of_command_line();
/// matrix.combination(Json, "memory", async |_| Memory::listen());
/// matrix.finish();
/// ```
///
/// An id is `codec/transport/workload`. The workloads:
/// - `one-way`: a program adds 20,000 events to a log, a call for each, until the other node has
///   confirmed all;
/// - `both-ways`: 10,000 at each of the two nodes at once;
/// - `confirmation`: one event after the other, 200 of them: from the call that adds it until the
///   other node's confirmation is here;
/// - `catch-up`: a new client dials the server of a log of 10,000 events, until the server knows that
///   the client has them.
///
/// After each run the two logs are compared: a run from which an event is missing, or where one is
/// out of order, changed or there twice, panics.
#[expect(missing_debug_implementations, reason = "criterion's own type has none")]
pub struct Matrix {
    criterion: Criterion,
    asked: Asked,
    runtime: Runtime,
    rows: Vec<Row>,
}

impl Matrix {
    /// Measures what the command line asks for, by criterion's options.
    ///
    /// # Panics
    /// Where the system gives no threads.
    pub fn of_command_line() -> Self {
        let criterion = Criterion::default()
            .sample_size(10)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(2))
            .configure_from_args();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        Self { criterion, asked: Asked::of_command_line(), runtime, rows: Vec::new() }
    }

    /// Measures a codec over a transport.
    ///
    /// `connect` gives a new transport and the listener that it reaches each time. What goes over TCP
    /// dials through the [`Wire`]; of other transports only the bytes of the frames are counted.
    ///
    /// # Panics
    /// Where an event does not arrive as it should.
    #[expect(clippy::needless_pass_by_value, reason = "so that a combination is one short line")]
    pub fn combination<C: Codec, T: Transport, L: Listener>(
        &mut self,
        codec: C,
        transport: &str,
        connect: impl AsyncFn(&Wire) -> (T, L),
    ) {
        let name = format!("{}/{transport}", C::NAME);
        let run = |workload: Workload, wire: Wire| {
            self.runtime.block_on(async {
                let (transport, listener) = connect(&wire).await;
                workload.run(&codec, transport, listener, &wire).await
            })
        };
        let mut group = self.criterion.benchmark_group(&name);
        group.sampling_mode(SamplingMode::Flat);
        let times = Workload::ALL.map(|workload| {
            let times = RefCell::new(Vec::new());
            group.throughput(Throughput::Elements(workload.events()));
            group.bench_function(workload.name(), |bench| {
                let once = |_| {
                    let took = run(workload, Wire::default()).took;
                    times.borrow_mut().push(took);
                    took
                };
                bench.iter_custom(|count| (0..count).map(once).sum());
            });
            times.into_inner()
        });
        group.finish();
        if times.iter().all(|times| !times.is_empty()) {
            let bytes = |workload| run(workload, Wire::counting()).bytes;
            let bytes =
                Bytes { alone: bytes(Workload::Confirmation), in_bulk: bytes(Workload::CatchUp) };
            self.rows.push(Row { name, times, bytes });
        }
    }

    /// Makes criterion's report, and prints the table of all combinations that were measured whole.
    pub fn finish(self) {
        self.criterion.final_summary();
        if self.asked.numbers() && !self.rows.is_empty() {
            table::print(&self.rows);
        }
    }
}
