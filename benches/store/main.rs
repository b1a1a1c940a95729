//! Stores: what a log costs beside what one would write without it.
//!
//! `cargo bench --bench store --features sqlite`. Ratios are taken round by round, ours and the baseline in turn;
//! commits are counted.

#[path = "../bare_log.rs"]
mod bare_log;
mod baseline;
mod ours;

use logux_benches::{Asked, ratio};
use tokio::runtime::Builder;

fn main() {
    let asked = Asked::of_command_line();
    if !asked.numbers() {
        return;
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let shows = |name: &str| asked.means(name);

    let name = "memory: batches of 100 / hash map and two vectors";
    if shows(name) {
        let ours = |events| runtime.block_on(ours::memory(events));
        println!("{name:60} {}", ratio::of(ours, baseline::hash_map));
    }
    let name = "memory: a million events / ten times a hundred thousand";
    if shows(name) {
        println!("{name:60} {:6.2}", runtime.block_on(ours::growth()));
    }
    let name = "memory: late events / events in order, at a million";
    if shows(name) {
        println!("{name:60} {:6.2}", runtime.block_on(ours::late()));
    }
    let name = "sqlite: commits per event, 256 tasks that add";
    if shows(name) {
        println!("{name:60} {:8.4}", runtime.block_on(ours::commits_of_tasks()));
    }
    let name = "sqlite: commits per event, live over WebSocket";
    if shows(name) {
        println!("{name:60} {:8.4}", runtime.block_on(ours::commits_of_sync()));
    }
    let name = "sqlite: live over WebSocket / a loop that inserts the rows";
    if shows(name) {
        // In the same batches.
        if ours::EVENTS_IN_A_COMMIT.get().is_none() {
            runtime.block_on(ours::commits_of_sync());
        }
        let ours = |events| runtime.block_on(ours::synced(events));
        println!("{name:60} {}", ratio::of(ours, baseline::inserts));
    }
    let name = "sqlite: a million events";
    if shows(name) {
        let [open, catch_up] = runtime.block_on(ours::large());
        println!("{:60} {open:8.4}", format!("{name}: seconds to open"));
        println!("{:60} {catch_up:6.2}", format!("{name}: last 10,000 / those of a log of 10,000"));
    }
}
