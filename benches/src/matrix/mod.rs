mod combination;
mod options;
mod ours;
mod process;
mod program;
mod progress;
mod rounds;
mod samples;
mod schedule;
mod wire;
mod workload;

use std::env;
use std::path::{Path, PathBuf};
use std::process::exit;

use logux_sync::{Codec, Listener, Transport};
use tokio::runtime::{Builder, Runtime};

use crate::report::Report;
use combination::Combination;
use options::{HELP, Options, Task};
use program::Call;
use workload::Workload;

pub use wire::Wire;

/// What logux-sync does over a transport, by a codec, end to end: two nodes in this process, measured
/// in turn with all others; and a table and a page of it.
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
/// - `confirmation`: one event after the other, 1,000 of them: each from the call that adds it until
///   the other node's confirmation is here;
/// - `catch-up`: a new client dials the server of a log of 10,000 events, until the server knows that
///   the client has them;
/// - `footprint`: 100,000 events one way, in a process of its own: by how much its resident memory
///   grows at most.
///
/// Combinations are measured in rounds: a round runs each workload of each combination once. So all
/// have the same share of what else the machine does meanwhile. A combination is printed as soon as it
/// has its first round, and again whenever it has twice as many. Rounds end when the time is spent:
/// 15 seconds for a combination, 6 with `--quick`, but never before the fifth. Medians are printed, with
/// the interval in which they lie in nine of ten resamplings of the rounds. Percentiles of latencies are
/// of the events of all rounds, 5,000 at least.
///
/// After each run the two logs are compared: a run from which an event is missing, or where one is
/// out of order, changed or there twice, panics. One that takes a minute panics, too.
///
/// `--help` tells the options.
#[expect(missing_debug_implementations, reason = "closures have none")]
pub struct Matrix<'a> {
    options: Options,
    call: Call,
    runtime: Runtime,
    combinations: Vec<Combination<'a>>,
}

impl<'a> Matrix<'a> {
    /// Does what the command line asks for. A command line that is wrong ends the program.
    ///
    /// # Panics
    /// Where the system gives no threads.
    pub fn of_command_line() -> Self {
        let options = Options::parse(env::args().skip(1)).unwrap_or_else(|error| fail(&error));
        if options.task == Task::Help {
            println!("{HELP}");
            exit(0);
        }
        Self::new(options, Call::of_cargo())
    }

    /// Measures for a program of which this is a part: `command` is what a person typed, `before` what that is
    /// called by before the options (it calls itself), `options` are those of a bench's command line, and `folder`
    /// is where the page goes. An error says which option is wrong.
    ///
    /// # Panics
    /// Where the system gives no threads.
    pub fn of_program(
        command: String,
        before: &[&str],
        options: impl IntoIterator<Item = String>,
        folder: PathBuf,
    ) -> Result<Self, String> {
        let mut options = Options::parse(options)?;
        if options.task == Task::Once {
            options.task = Task::Measure;
        }
        let before = before.iter().map(ToString::to_string).collect();
        Ok(Self::new(options, Call { command, before, folder }))
    }

    fn new(options: Options, call: Call) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Self { options, call, runtime: runtime.expect("a runtime"), combinations: Vec::new() }
    }

    /// Adds a codec over a transport to what [`finish`](Self::finish) measures.
    ///
    /// `connect` gives a new transport and the listener that it reaches each time. What goes over TCP
    /// dials through the [`Wire`]; of other transports only the bytes of the frames are counted.
    ///
    /// # Panics
    /// Where there is one of the same codec over a transport of that name.
    pub fn combination<C: Codec, T: Transport, L: Listener>(
        &mut self,
        codec: C,
        transport: &str,
        connect: impl AsyncFn(&Wire) -> (T, L) + 'a,
    ) {
        let combination =
            Combination::new(codec, transport, connect, &self.options, &self.call.before);
        let is_new = self.combinations.iter().all(|other| other.name != combination.name);
        assert!(is_new, "there are two combinations of the name {}", combination.name);
        self.combinations.push(combination);
    }

    /// Measures all combinations, prints a table of them and makes the page.
    ///
    /// # Panics
    /// Where an event does not arrive as it should.
    pub fn finish(mut self) {
        if let Task::Footprint(name) = &self.options.task {
            let combination = self.combinations.iter().find(|it| it.name == *name);
            let combination = combination.unwrap_or_else(|| fail(&format!("there is no {name}")));
            return combination.footprint(&self.runtime);
        }
        self.combinations.retain(|combination| !combination.workloads.is_empty());
        if self.combinations.is_empty() {
            fail(&format!("no id has one of {:?} in it: see --list", self.options.filters));
        }
        match self.options.task {
            Task::Measure => {
                let combinations = &mut self.combinations;
                let command = self.call.command.clone();
                let report =
                    rounds::measure(combinations, &self.runtime, self.options.quick, command);
                let written = self.write(&report).unwrap_or_else(|error| fail(&error));
                println!("\n{}\n{written}", report.markdown());
            }
            Task::List => self.each_once(|_, _| {}),
            _ => self.each_once(|combination, workload| {
                combination.run(&self.runtime, workload, Wire::default());
            }),
        }
    }

    fn each_once(&self, run: impl Fn(&Combination<'_>, Workload)) {
        for combination in &self.combinations {
            for &workload in &combination.workloads {
                run(combination, workload);
                println!("{}", combination.id(workload));
            }
        }
    }

    /// Writes the page and the picture, and tells where they are. An error says what could not be written.
    fn write(&self, report: &Report) -> Result<String, String> {
        let failed = |path: &Path, error| format!("{} cannot be written: {error}", path.display());
        let folder = &self.call.folder;
        report.write(folder).map_err(|error| failed(folder, error))?;
        let mut written = format!("The page: {}", program::shown(&folder.join("index.html")));
        if let Some(picture) = &self.options.picture {
            let picture = program::typed_in().join(picture);
            report.write_picture(&picture).map_err(|error| failed(&picture, error))?;
            written += "\nThe picture: ";
            written += &program::shown(&picture);
        }
        Ok(written)
    }
}

/// Ends the program for what a person can put right.
fn fail(error: &str) -> ! {
    eprintln!("error: {error}");
    exit(2)
}
