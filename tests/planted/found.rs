//! A part of the simulation in the copy that `tests/planted/run` makes: each fault, alone at work,
//! must be found within so many seeds.

#[path = "faults.rs"]
mod faults;

use crate::{Script, first_violation};

/// Within how many seeds a fault must be found.
const SEEDS: u64 = 2_000;

#[test]
fn each_planted_fault_is_found() {
    let sound = first_violation(Script::Anything, 50, || logux_sync::planted::plant(""));
    assert_eq!(sound, None, "the copy is wrong without any fault");
    let mut missed = Vec::new();
    let only = std::env::var("PLANTED_FAULT").unwrap_or_default();
    for fault in faults::FAULTS.iter().filter(|fault| fault.name.contains(&only)) {
        let found = first_violation(Script::Anything, SEEDS, || {
            logux_sync::planted::plant(fault.name);
        });
        match found {
            Some(seed) => println!("| {} | {} | seed {seed} |", fault.hazard, fault.name),
            None => missed.push(fault.name),
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS} seeds: {missed:#?}");
}
