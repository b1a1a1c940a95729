//! Counts, not times: what an event costs in fixed workloads, beside what it did cost when that was recorded.
//!
//! `benches/gates/run` compares, and fails where something costs more; `benches/gates/run --update` records. An argument
//! that is no option is part of the names of the workloads that are meant. The noise of a machine does not change
//! instructions, allocations, calls of the system, frames and bytes: callgrind and the program count them, in one
//! thread.

mod counts;
mod frames;
mod nodes;
mod raw;
mod report;
mod workloads;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use counts::PerEvent;
use frames::Frames;
use logux_benches::Asked;
use workloads::{WORKLOADS, Workload};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments[..] {
        [option, name, events] if option == counts::WORK => work(name, events),
        _ => gates(&arguments),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Does one workload: what this program has valgrind run.
fn work(name: &str, events: &str) -> Result<ExitCode, String> {
    let workload = WORKLOADS.iter().find(|workload| workload.name == name);
    let workload = workload.ok_or_else(|| format!("there is no workload {name:?}"))?;
    let events = events.parse().map_err(|_| format!("not a number of events: {events:?}"))?;
    counts::work(workload, events);
    Ok(ExitCode::SUCCESS)
}

fn gates(arguments: &[String]) -> Result<ExitCode, String> {
    let asked = Asked::of_command_line();
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    let meant: Vec<_> = WORKLOADS.iter().filter(|workload| asked.means(workload.name)).collect();
    if has("--test") {
        for workload in meant {
            (workload.run)(100, Frames::default());
        }
        return Ok(ExitCode::SUCCESS);
    }
    if meant.is_empty() {
        return Err("no workload has that in its name".to_owned());
    }
    match (has("--update"), has("--check")) {
        (true, _) => report::update(&measure(&meant)?),
        (_, true) => report::compare(&measure(&meant)?),
        // A `cargo bench` of all that there is.
        (false, false) => {
            println!("what an event costs is counted by benches/gates/run, which needs valgrind");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// On all cores at once, which changes no count.
fn measure(workloads: &[&'static Workload]) -> Result<Vec<(&'static str, PerEvent)>, String> {
    let waiting = Mutex::new(workloads.iter().copied().enumerate().collect::<VecDeque<_>>());
    let next = || waiting.lock().expect("no thread panics while it takes one").pop_front();
    let mut measured = thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, Into::into);
        let take = || {
            let mut measured = Vec::new();
            while let Some((place, workload)) = next() {
                eprintln!("counting: {}", workload.name);
                measured.push((place, workload.name, counts::per_event(workload)?));
            }
            Ok(measured)
        };
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(take)).collect();
        let all = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        all.collect::<Result<Vec<_>, String>>()
    })?
    .concat();
    measured.sort_by_key(|&(place, ..)| place);
    Ok(measured.into_iter().map(|(_, name, per_event)| (name, per_event)).collect())
}
