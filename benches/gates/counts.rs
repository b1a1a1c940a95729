//! Runs this program under valgrind, and reads what it has counted.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use logux_benches::limits::Tolerance;

use crate::frames::Frames;
use crate::workloads::Workload;

/// Something that is counted: its name in the file of limits, and what is noise.
pub(crate) struct Counted {
    pub(crate) name: &'static str,
    pub(crate) tolerance: Tolerance,
}

/// In the order of [`Counts`].
pub(crate) const COUNTED: [Counted; 9] = [
    // By callgrind. They differ from run to run by the seeds of hash maps, and from machine to machine by what the
    // compiler and the C library make of the same source.
    counted(INSTRUCTIONS, 0.03, 0.5),
    // How often memory was taken, how many bytes that were, and the most that was held at once.
    counted("allocations", 0.02, 0.002),
    counted("allocated-bytes", 0.02, 1.0),
    // The most depends on how the two sides take turns, too: catch-up's differs by 6 % from run to run of one program.
    counted("peak-bytes", 0.1, 1.0),
    counted("system-calls", 0.05, 0.001),
    // Each would be a call of the system, where that has no faster way.
    counted("clock-readings", 0.05, 0.002),
    // Both ways, as the client's transport has them.
    counted("frames", 0.02, 0.0005),
    counted("frame-bytes", 0.01, 0.1),
    // Both ways, with what WebSocket and HTTP put around frames.
    counted("network-bytes", 0.02, 0.2),
];

/// What depends on the compiler, too.
pub(crate) const INSTRUCTIONS: &str = "instructions";

/// So many of each, of one run.
type Counts = [u64; COUNTED.len()];

/// The same of an event.
pub(crate) type PerEvent = [f64; COUNTED.len()];

/// The option by which this program is told to do a workload and nothing else.
pub(crate) const WORK: &str = "--work";

const fn counted(name: &'static str, part: f64, per_event: f64) -> Counted {
    Counted { name, tolerance: Tolerance { part, per_event } }
}

/// What an event costs: what a run of twice as many takes more, so that nothing counts that happens once in
/// a run.
pub(crate) fn per_event(workload: &Workload) -> Result<PerEvent, String> {
    let once = run(workload, workload.events)?;
    let twice = run(workload, 2 * workload.events)?;
    let mut per_event = PerEvent::default();
    for ((per_event, once), twice) in per_event.iter_mut().zip(once).zip(twice) {
        *per_event = (as_f64(twice) - as_f64(once)) / as_f64(workload.events);
    }
    Ok(per_event)
}

/// Does the work, and prints what this process itself can count.
pub(crate) fn work(workload: &Workload, events: u64) {
    let frames = Frames::default();
    let allocated = allocation_counter::measure(|| (workload.run)(events, frames.clone()));
    println!(
        "{} {} {} {} {}",
        allocated.count_total,
        allocated.bytes_total,
        allocated.bytes_max,
        frames.count(),
        frames.bytes()
    );
}

/// Where the profile of the longer run is, for `callgrind_annotate`.
pub(crate) fn profile(workload: &str) -> PathBuf {
    file(workload, "2", "callgrind")
}

fn file(workload: &str, run: &str, kind: &str) -> PathBuf {
    let name = format!("gates-{}-{run}.{kind}", workload.replace('/', "-"));
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Does the work in a process of its own, under valgrind.
fn run(workload: &Workload, events: u64) -> Result<Counts, String> {
    let Workload { name, .. } = workload;
    let number = (events / workload.events).to_string();
    let (profile, log) = (file(name, &number, "callgrind"), file(name, &number, "log"));
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--trace-syscalls=yes"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(format!("--log-file={}", log.display()))
        .arg(this)
        .args([WORK, name, &events.to_string()])
        .output()
        .map_err(|error| format!("valgrind does not start: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name} with {events} events failed: {said}"));
    }
    let log = fs::read(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    counts(&String::from_utf8_lossy(&output.stdout), &String::from_utf8_lossy(&log))
        .ok_or_else(|| format!("{name}: what valgrind wrote is not understood"))
}

/// From what the process has printed, and what valgrind wrote of it.
fn counts(printed: &str, log: &str) -> Option<Counts> {
    let mut numbers = printed.split_whitespace().map(str::parse);
    let mut next = || numbers.next()?.ok();
    let (allocations, allocated, peak) = (next()?, next()?, next()?);
    let (frames, frame_bytes) = (next()?, next()?);
    let [mut instructions, mut system_calls, mut clock_readings, mut network_bytes] = [0; 4];
    let mut is_sending = false;
    for line in log.lines() {
        if let Some((_, collected)) = line.split_once("Collected : ") {
            instructions = collected.trim().parse().ok()?;
        }
        let Some(call) = line.strip_prefix("SYSCALL[") else { continue };
        // A call that may wait has a line when it begins and one when it is done.
        if !call.contains(") ... [") {
            let (_, name) = call.split_once(") ")?;
            let is = |names: &[&str]| names.iter().any(|one| name.starts_with(one));
            is_sending = is(&["sys_sendto", "sys_sendmsg", "sys_write"]);
            if is(&["sys_clock_gettime"]) {
                clock_readings += 1;
            // By these the allocator takes memory of the system, as it finds right.
            } else if !is(&["sys_brk", "sys_mmap", "sys_munmap", "sys_mremap", "sys_madvise"]) {
                system_calls += 1;
            }
        }
        if let Some((_, result)) = line.split_once("--> Success(0x")
            && is_sending
        {
            network_bytes +=
                u64::from_str_radix(result.trim_end().trim_end_matches(')'), 16).ok()?;
        }
    }
    (instructions > 0).then_some([
        instructions,
        allocations,
        allocated,
        peak,
        system_calls,
        clock_readings,
        frames,
        frame_bytes,
        network_bytes,
    ])
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
