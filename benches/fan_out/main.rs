//! One server and many clients: each event to all of them, beside raw tokio-tungstenite that sends one prepared
//! frame to each.
//!
//! `cargo bench --bench fan_out`; `-- 1000` takes 1,000 clients only, `-- --test` ten of them, once. The server is this
//! process, in one thread. The clients are another process, with one thread, too: so each has a core where there
//! are two. They are the same for both sides: they decode each frame, look whether it is the next event, and
//! towards ours they confirm it, which costs both processes and is not taken out. An event is added when all
//! clients have told that they have the one before, so that nothing is saved by batches.
//!
//! Two ratios: of the time that passes, and of the processor's time in the server's process, which does not depend
//! on who else uses the machine. A ratio is taken round by round, ours and the baseline in turn.

mod clients;
mod server;

use std::time::Duration;

use clients::Clients;
use logux_benches::Asked;
use logux_benches::ratio::{ROUNDS, Ratio};
use server::Side;
use tokio::runtime::Builder;

/// How many deliveries there are in a round of one side.
const DELIVERIES: usize = 10_000;

/// What a round takes: so much passed, and the processor worked so long.
#[derive(Clone, Copy, Debug)]
struct Took {
    passed: Duration,
    worked: Duration,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [option, url, count, confirms] = &arguments[..]
        && option == clients::OPTION
    {
        return clients::run(url, count.parse().expect("a number"), confirms == "true");
    }
    let asked = Asked::of_command_line();
    if !asked.numbers() {
        for side in [Side::Ours, Side::Raw, Side::OursAndOneStalls] {
            rounds(10, [side, side], 1);
        }
        return;
    }
    println!("deliveries per second of ours by the baseline's: median, 90 % interval, goal");
    for count in [10, 100, 1_000, 5_000] {
        let name = format!("{count} clients");
        let goal = if count == 1_000 { ">= 0.7" } else { "" };
        compare(&asked, &format!("{name}, ours / raw"), count, [Side::Ours, Side::Raw], goal);
        let stalls = [Side::OursAndOneStalls, Side::Ours];
        compare(&asked, &format!("{name}, one more stalls / none"), count, stalls, ">= 0.98");
    }
}

fn compare(asked: &Asked, name: &str, count: usize, sides: [Side; 2], goal: &str) {
    if !asked.means(name) {
        return;
    }
    if let Err(limit) = clients::enough_files(count) {
        println!("{name:38} needs more files than {limit}: run `ulimit -n {}` before", 2 * count);
        return;
    }
    let rounds = rounds(count, sides, ROUNDS);
    let ratio = |part: fn(&Took) -> Duration| {
        let ratios: Vec<f64> = rounds
            .iter()
            .map(|[ours, baseline]| part(baseline).as_secs_f64() / part(ours).as_secs_f64())
            .collect();
        Ratio::of_rounds(&ratios)
    };
    println!("{name:38} time     {}  {goal}", ratio(|took| took.passed));
    println!("{name:38} CPU time {}", ratio(|took| took.worked));
}

/// The two sides in turn, each with clients of its own that stay connected.
fn rounds(count: usize, sides: [Side; 2], rounds: usize) -> Vec<[Took; 2]> {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut running = Vec::new();
        for side in sides {
            let (server, url) = side.start().await;
            let clients = Clients::connect(&url, count, side != Side::Raw).await;
            let stalled = if side == Side::OursAndOneStalls {
                Some(clients::stall(&url).await)
            } else {
                None
            };
            running.push((server, clients, stalled));
        }
        let events = (DELIVERIES / count).max(2);
        let mut all = Vec::new();
        // The first one is not measured.
        for _ in 0..=rounds {
            let mut took = Vec::new();
            for (server, clients, _) in &mut running {
                took.push(server.deliver(clients, events).await);
            }
            all.push([took[0], took[1]]);
        }
        all.split_off(1)
    })
}
