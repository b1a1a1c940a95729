//! Each write, sync and change of length fails once.

use crate::victim::{Folder, check, run};

/// What is called.
const CALLS: [&str; 4] = ["pwrite64", "fdatasync", "fsync", "ftruncate"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace: tests/disk/run"]
async fn each_call_fails_once_and_nothing_that_was_answered_is_lost() {
    let folder = Folder::new("faults");
    let (mut all, mut told, mut syncs) = (0, 0, 0);
    for call in CALLS {
        let trace = format!("trace={call}");
        let mut calls = 0;
        for number in 1.. {
            // A write fails in one way or the other.
            let is_full = call == "pwrite64" && number % 2 == 0;
            let error = if is_full { "ENOSPC" } else { "EIO" };
            let path = folder.0.join(format!("{call}-{error}-{number}.db"));
            let output = folder.0.join("trace");
            // Each thread counts its own calls.
            let inject = format!("inject={call}:error={error}:when={number}");
            let strace = ["-e", &trace, "-e", &inject, "-o", output.to_str().unwrap()];
            let said = run(&path, &strace, false);
            if !std::fs::read_to_string(&output).unwrap().contains("(INJECTED)") {
                break;
            }
            calls += 1;
            told += u64::from(said.failures > 0);
            if let Err(wrong) = check(&path, &said).await {
                panic!("call {number} of {call} failed with {error}: {wrong}\n{said:?}");
            }
        }
        println!("{call}: {calls} calls");
        all += calls;
        syncs += if call.ends_with("sync") { calls } else { 0 };
    }
    println!("{all} calls failed; of {told} of them the program was told");
    // As it is now there are a thousand, of which most are writes.
    assert!(all > 200 && syncs > 40 && told > 20, "{all} calls failed, {syncs} syncs, {told} told");
}
