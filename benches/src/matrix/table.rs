use std::time::Duration;

use super::workload::Workload;

/// What was measured of a codec over a transport.
#[derive(Debug)]
pub(super) struct Row {
    /// `codec/transport`
    pub(super) name: String,
    /// Of each run, in the order of [`Workload::ALL`].
    pub(super) times: [Vec<Duration>; Workload::ALL.len()],
    pub(super) bytes: Bytes,
}

/// What was counted in a run of all events.
#[derive(Debug)]
pub(super) struct Bytes {
    /// Each event by itself.
    pub(super) alone: u64,
    /// All in a row.
    pub(super) in_bulk: u64,
}

/// Prints what was measured as Markdown.
pub(super) fn print(rows: &[Row]) {
    println!(
        "\n\
         | codec/transport | one way | both ways | confirmation | catch-up | bytes, alone | in bulk |\n\
         |---|--:|--:|--:|--:|--:|--:|"
    );
    for Row { name, times, bytes } in rows {
        let each = [0, 1, 2, 3].map(|index| seconds_per_event(Workload::ALL[index], &times[index]));
        let [one_way, both_ways, confirmation, catch_up] = each;
        println!(
            "| {name} | {:.0} k/s | {:.0} k/s | {:.0} µs | {:.0} k/s | {:.0} | {:.1} |",
            1e-3 / one_way,
            1e-3 / both_ways,
            1e6 * confirmation,
            1e-3 / catch_up,
            bytes_per_event(Workload::Confirmation, bytes.alone),
            bytes_per_event(Workload::CatchUp, bytes.in_bulk),
        );
    }
    println!(
        "\nMedians; both nodes in one process, on {}, {} cores, {}. Events per second; bytes per event, \
         both directions, with confirmations and with what WebSocket and HTTP put around frames, \
         without what TCP does. In memory there are only frames.",
        cpu(),
        std::thread::available_parallelism().map_or(1, Into::into),
        std::env::consts::OS,
    );
}

/// The median of the runs.
fn seconds_per_event(workload: Workload, times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2].as_secs_f64() / as_f64(workload.events())
}

fn bytes_per_event(workload: Workload, bytes: u64) -> f64 {
    as_f64(bytes) / as_f64(workload.events())
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

/// The processor's name, where the system tells it.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| "an unknown processor".to_owned(), |(_, name)| name.to_owned())
}
