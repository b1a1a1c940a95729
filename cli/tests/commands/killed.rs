//! A server that is killed at any moment: nothing is lost, and nothing is there twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::program::Folder;

const KILLS: usize = 8;

#[test]
fn a_server_that_is_killed_while_events_are_added_loses_none_and_repeats_none() {
    let folder = Folder::new();
    let mut server = folder.serve(&[]);
    let (url, address) = (server.url.clone(), server.address().to_owned());
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let is_over = AtomicBool::new(false);
    let (added, _server) = thread::scope(|scope| {
        let adding = scope.spawn(|| {
            let mut n = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                n += 1;
                let event = json!({ "type": "number", "n": n }).to_string();
                let done = folder.run(&["add", &event, "--server", &url, "--timeout", "60s"]);
                assert_eq!(done.code, Some(0), "seed {seed}: {done:?}");
            }
            n
        });
        for _ in 0..KILLS {
            // Real time: the kill is to come at any moment of the others' work.
            thread::sleep(Duration::from_millis(random.u64(20..300)));
            server.kill();
            server = folder.serve(&["--address", &address]);
        }
        is_over.store(true, Ordering::Relaxed);
        (adding.join().expect("no panic"), server)
    });
    let shown = folder.run(&["log", "show", &url, "--json"]).events();
    let numbers: Vec<_> =
        shown.iter().map(|event| event["n"].as_u64().expect("a number")).collect();
    assert_eq!(numbers, (1..=added).collect::<Vec<_>>(), "seed {seed}");
}
