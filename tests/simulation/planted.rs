//! The tests, tested: each of these faults, planted alone into the library, must be found by the
//! simulation within so many seeds. `tests/planted` builds with them and runs this.
//!
//! The hazards are those of the original, by the numbers of the project's research: A what is
//! confirmed, B cursors, C what comes twice, D connections, E time, F filters.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Script, run};

/// Within how many seeds a fault must be found.
const SEEDS: u64 = 2_000;

/// The hazard, and the fault that has it.
const FAULTS: [(&str, &str); 32] = [
    ("A1", "confirms before it stores"),
    ("A2", "end of the connection confirms what was not judged"),
    ("A4", "messages are stored backwards"),
    ("A4", "in_filter loses the order"),
    ("B1", "cursor moves when sending"),
    ("B2", "live events overtake the catch-up"),
    ("B3", "ping carries what was added"),
    ("B3", "pong carries what was added"),
    ("B3", "ready before all is sent"),
    ("B3", "ready carries what was added since"),
    ("B4", "cursors fall"),
    ("B4", "claim off by one"),
    ("B4", "connect claims what was sent"),
    ("B4", "acceptor notes what it passed over"),
    ("B5", "confirms twice"),
    ("B7", "all peers share a cursor"),
    ("B8", "replaced log goes unnoticed"),
    ("B8", "nothing is given back"),
    ("B8", "identity changes at each start"),
    ("B9", "batch passes what it left out"),
    ("C1", "ids are forgotten"),
    ("C2", "echo to the source"),
    ("D1", "window without end"),
    ("D4", "silence is never asked about"),
    ("E1", "base time is that of the question"),
    ("E2", "now is the far future"),
    ("E3", "ids follow the clock"),
    ("F1", "catch-up is not filtered"),
    ("F3", "times that arrive are fixed twice"),
    ("F3", "times that leave are not fixed"),
    ("F6", "what is withheld is forgotten"),
    ("F6", "a second look sends all again"),
];

#[test]
fn each_planted_fault_is_found() {
    let mut missed = Vec::new();
    for (hazard, fault) in FAULTS {
        let next = AtomicU64::new(0);
        let found = AtomicU64::new(u64::MAX);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    logux_sync::planted::plant(fault);
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= SEEDS || found.load(Ordering::Relaxed) != u64::MAX {
                            return;
                        }
                        let outcome =
                            std::panic::catch_unwind(|| run(Script::Anything, seed, false));
                        if outcome.is_ok_and(|outcome| outcome.violations.is_empty()) {
                            continue;
                        }
                        found.fetch_min(seed, Ordering::Relaxed);
                    }
                });
            }
        });
        match found.into_inner() {
            u64::MAX => missed.push(fault),
            seed => println!("| {hazard} | {fault} | seed {seed} |"),
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS} seeds: {missed:#?}");
}
