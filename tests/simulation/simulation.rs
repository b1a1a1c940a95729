//! Whole nodes under a seeded scheduler with virtual time: real sessions, real logs, a network
//! that delays, cuts and swallows, stores that take their time, processes that die.
//!
//! A seed draws everything: who talks to whom, what happens when, and what goes wrong. The
//! invariants of the design are checked at each frame that is sent and each time that a store
//! commits; when the faults end, all logs must become equal.
//!
//! `SIMULATION_SEED=7 cargo test --test simulation` runs one seed and prints what happens;
//! `SIMULATION_SEEDS=100000` runs so many.

mod any_codec;
mod checks;
mod event;
mod features;
mod hostile;
mod network;
mod node;
mod store;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use store::Broken;
use world::{Outcome, Script};

/// How many seeds the ordinary test run has.
const SEEDS: u64 = 5_000;

fn run(script: Script, seed: u64, verbose: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(world::run(script, seed, verbose))
}

fn number(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().expect("a number"))
}

#[test]
fn the_invariants_hold_whatever_happens() {
    if let Some(seed) = number("SIMULATION_SEED") {
        let outcome = run(Script::Anything, seed, true);
        assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
        return;
    }
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let (events, frames, cuts) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let outcome =
                        catch_unwind(AssertUnwindSafe(|| run(Script::Anything, seed, false)));
                    let outcome = outcome.unwrap_or_else(|_| panic!("{}", replay(seed)));
                    events.fetch_add(outcome.events, Ordering::Relaxed);
                    frames.fetch_add(outcome.frames, Ordering::Relaxed);
                    cuts.fetch_add(outcome.cuts, Ordering::Relaxed);
                    let violations = outcome.violations;
                    assert!(violations.is_empty(), "{}\n{violations:#?}", replay(seed));
                }
            });
        }
    });
    println!("{seeds} seeds: {events:?} events, {frames:?} frames, {cuts:?} connections cut");
    // A simulation in which nothing goes wrong shows nothing.
    assert!(cuts.into_inner() > seeds && frames.into_inner() > 20 * seeds);
}

/// The lowest seed found that shows a violation, among so many; `prepare` runs on each thread first.
fn first_violation(script: Script, seeds: u64, prepare: impl Fn() + Sync) -> Option<u64> {
    let (next, found) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                prepare();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || found.load(Ordering::Relaxed) != u64::MAX {
                        return;
                    }
                    let outcome = catch_unwind(|| run(script, seed, false));
                    if !outcome.is_ok_and(|outcome| outcome.violations.is_empty()) {
                        found.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    Some(found.into_inner()).filter(|seed| *seed != u64::MAX)
}

fn replay(seed: u64) -> String {
    format!(
        "seed {seed} failed; replay: SIMULATION_SEED={seed} cargo test --test simulation -- --nocapture"
    )
}

#[test]
fn the_invariants_hold_wherever_a_connection_is_cut() {
    let mut cut = 0;
    for frames in 1..200 {
        for seed in 0..5 {
            let outcome = run(Script::CutAfter(frames), seed, false);
            let violations = outcome.violations;
            assert!(violations.is_empty(), "after {frames} frames, seed {seed}: {violations:#?}");
            cut += outcome.cuts;
        }
    }
    assert!(cut > 300, "only {cut} connections lived long enough to be cut");
}

/// The tests, tested: each way in which a store can break its contract must be found. The faults of
/// the library itself are planted by `tests/planted/run`.
#[test]
fn each_broken_store_is_found() {
    for broken in Broken::ALL {
        let found = first_violation(Script::OnBroken(broken), 2_000, || {});
        println!(
            "{broken:?}: seed {:?}",
            found.unwrap_or_else(|| panic!("{broken:?} is not found"))
        );
    }
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in 0..20 {
        let first = run(Script::Anything, seed, false);
        let second = run(Script::Anything, seed, false);
        assert_eq!(first.trace, second.trace, "{}", replay(seed));
    }
}
