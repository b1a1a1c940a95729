//! The nodes, and what happens to them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use logux_sync::{Added, NodeId, State, Timestamp};
use tokio::time::{Instant, sleep, timeout};

use crate::any_codec::AnyCodec;
use crate::checks::Checks;
use crate::features::Features;
use crate::hostile::Hostile;
use crate::network::{Network, Tap};
use crate::node::Node;
use crate::store::{Broken, Disk};

pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) events: u64,
    pub(crate) frames: u64,
    pub(crate) cuts: u64,
    /// A hash of all that was sent, and when.
    pub(crate) trace: u64,
}

/// Which node dials which.
const SHAPES: [&[(usize, usize)]; 5] = [
    // A client and a server; two clients; a chain; a longer chain; a ring, where all dial and listen.
    &[(1, 0)],
    &[(1, 0), (2, 0)],
    &[(1, 0), (2, 1)],
    &[(1, 0), (2, 1), (3, 2)],
    &[(1, 0), (2, 1), (0, 2)],
];

/// What happens to the nodes.
#[derive(Clone, Copy)]
pub(crate) enum Script {
    /// Whatever the seed draws.
    Anything,
    /// The same, on stores that are broken.
    OnBroken(Broken),
    /// A client and a server that both add, and a first connection that is cut after so many
    /// frames.
    CutAfter(u32),
}

#[expect(clippy::too_many_lines, reason = "one life of one world, from its start to its end")]
pub(crate) async fn run(script: Script, seed: u64, verbose: bool) -> Outcome {
    let mut random = Rng::with_seed(seed);
    let (shape, max_store_delay, max_delay) = match script {
        Script::Anything | Script::OnBroken(_) => (
            SHAPES[random.usize(..SHAPES.len())],
            [0, 0, 5, 500][random.usize(..4)],
            [1, 20, 1_000, 10_000][random.usize(..4)],
        ),
        Script::CutAfter(_) => (SHAPES[0], 2, 5),
    };
    let max_store_delay = Duration::from_millis(max_store_delay);
    let max_delay = Duration::from_millis(max_delay);
    let is_star = shape.iter().all(|(_, server)| *server == 0);
    let mut features = match script {
        Script::Anything => Features::draw(&mut random, is_star, max_delay),
        Script::OnBroken(broken) => {
            Features { broken: Some(broken), ..Features::draw(&mut random, is_star, max_delay) }
        }
        Script::CutAfter(_) => Features::default(),
    };
    features.codec = AnyCodec::of(seed);
    let names = ["server", "10:a", "11:b:tab", "12:c"];
    let count = shape.iter().map(|(client, _)| client + 1).max().unwrap();
    let ids: Vec<NodeId> = names[..count].iter().map(|name| name.parse().unwrap()).collect();

    if verbose {
        println!("{shape:?}, {features:?}");
    }
    let start = Instant::now();
    let dials = shape.iter().map(|&(client, server)| (ids[client].clone(), ids[server].clone()));
    let checks = Checks::new(features.clone(), dials.collect(), start, verbose);
    let checks = Arc::new(Mutex::new(checks));
    let tap: Tap = {
        let checks = Arc::clone(&checks);
        Arc::new(move |link, from, to, frame| checks.lock().unwrap().frame(link, from, to, frame))
    };
    let network = Network::new(random.u64(..), max_delay, tap);
    if let Script::CutAfter(frames) = script {
        network.cut_first_after(frames);
    }

    let mut nodes: Vec<Node> = (0..ids.len())
        .map(|index| Node::new(index, &ids, shape, max_store_delay, &features, start, &mut random))
        .collect();
    for node in &mut nodes {
        checks.lock().unwrap().stores.insert(node.id.clone(), Arc::clone(&node.disk));
        checks.lock().unwrap().began(&node.id);
        node.start(&network, &mut random).await;
    }
    let hostile = features.hostile.clone().map(|id| {
        let accepting: Vec<&Node> = nodes.iter().filter(|node| node.accepts).collect();
        let server = accepting[random.usize(..accepting.len())].id.clone();
        let victims = nodes.iter().map(|node| (node.id.clone(), node.time.clone())).collect();
        let random = random.fork();
        let hostile = Hostile::new(id, server, victims, &network, features.codec, random);
        tokio::spawn(hostile.run())
    });

    let events = match script {
        Script::Anything | Script::OnBroken(_) => {
            live(&mut nodes, &network, &checks, &mut random).await
        }
        Script::CutAfter(_) => add_on_both(&mut nodes, &checks).await,
    };
    if let Some(hostile) = hostile {
        hostile.abort();
    }
    network.heal();
    features.heal();
    if let Some(open) = &features.private {
        open.store(true, Ordering::Relaxed);
    }
    if let Some(outage) = &features.outage {
        outage.store(false, Ordering::Relaxed);
    }
    // What was refused in an outage is offered again within an hour.
    let settled = timeout(Duration::from_secs(3 * 60 * 60), async {
        for half_seconds in 0.. {
            if are_settled(&nodes, &checks) {
                break;
            }
            // Not too often: each time begins anew. A node that was not there then is told the next time.
            if half_seconds % 240 == 0 {
                for node in &nodes {
                    node.reevaluate().await;
                }
            }
            sleep(Duration::from_millis(500)).await;
        }
    });
    let settled = settled.await.is_ok();
    let mut wrong = in_another_order(&nodes, &checks).await;
    if let [server, client] = &*nodes
        && features.fix_time
        && features.steady
        && !features.replaced
    {
        wrong.extend(wrong_times(server, client, max_delay).await);
    }
    let mut checks = checks.lock().unwrap();
    checks.violations.extend(wrong);
    if !settled {
        let states: Vec<_> = nodes.iter().map(Node::state).collect();
        checks.violate(format!("the nodes do not come to rest: {states:?}"));
    }
    checks.stores_agree();
    checks.only_what_a_rule_refuses_is_held_back();
    checks.order_of_each_origin_is_kept();
    checks.the_logs_hold_what_was_made();
    let stores = std::mem::take(&mut checks.stores);
    for store in stores.values() {
        let mut mirror = store.mirror.lock().unwrap();
        checks.violations.append(&mut mirror.violations);
    }
    Outcome {
        violations: std::mem::take(&mut checks.violations),
        events,
        frames: checks.frames,
        cuts: network.cuts(),
        trace: checks.trace(),
    }
}

/// Both sides add, a little at a time; answers how many events were added.
async fn add_on_both(nodes: &mut [Node], checks: &Mutex<Checks>) -> u64 {
    let mut events = 0;
    for _ in 0..20 {
        for node in &mut *nodes {
            node.add_batch(events + 1..events + 4, checks).await;
            events += 3;
        }
        sleep(Duration::from_millis(3)).await;
    }
    events
}

/// Lets things happen; answers how many events were added.
async fn live(
    nodes: &mut [Node],
    network: &Network,
    checks: &Mutex<Checks>,
    random: &mut Rng,
) -> u64 {
    let mut events = 0;
    for _ in 0..random.usize(10..80) {
        let node = random.usize(..nodes.len());
        let node = &mut nodes[node];
        match random.u8(..100) {
            0..40 => {
                for _ in 0..random.u64(1..8) {
                    events += 1;
                    node.add(events, checks).await;
                }
            }
            40..48 => {
                let batch = random.u64(1..100);
                node.add_batch(events + 1..events + 1 + batch, checks).await;
                events += batch;
            }
            48..73 => sleep(Duration::from_millis(random.u64(..3_000))).await,
            73..78 => match &node.features.outage {
                None => sleep(Duration::from_millis(random.u64(..3_000))).await,
                // Nobody knows how long it will be.
                Some(outage) => {
                    outage.store(random.bool(), Ordering::Relaxed);
                    let max = if random.bool() { 2_000 } else { 200_000 };
                    sleep(Duration::from_millis(random.u64(..max))).await;
                }
            },
            78..86 => network.disturb(&node.id, false),
            86..90 => network.disturb(&node.id, true),
            90..95 if !node.features.steady => node.set_clock(random),
            _ => {
                // A process dies at once, and another takes its place.
                network.disturb(&node.id, false);
                if let Some(running) = node.running.take() {
                    running.store.kill();
                }
                sleep(Duration::from_millis(random.u64(..2_000))).await;
                if node.features.replaced && random.bool() {
                    replace_log(node, random.u64(..), checks);
                }
                if node.is_wrong() && random.bool() {
                    node.set_clock(random);
                }
                checks.lock().unwrap().began(&node.id);
                node.start(network, random).await;
            }
        }
        checks.lock().unwrap().stores_agree();
    }
    events
}

/// Puts an empty log in the place of a node's, if nothing is lost by that.
fn replace_log(node: &mut Node, epoch: u64, checks: &Mutex<Checks>) {
    let mut checks = checks.lock().unwrap();
    if checks.holds_nothing_alone(&node.id) {
        node.disk = Arc::new(Disk::new(epoch, node.features.hostile.clone()));
        checks.replace_log(&node.id, Arc::clone(&node.disk));
        node.correct_clock();
        // A node that forgets what ids it gave needs a clock that was not set back.
        node.time.step(7_200_000);
    }
}

/// Whether a node's consumer has got all events of its log.
fn has_consumed_all(node: &Node) -> bool {
    let mirror = node.disk.mirror.lock().unwrap();
    node.features.consumes.is_none()
        || (1..=mirror.entries.len() as u64).all(|added| mirror.delivered.contains(&added))
}

fn are_settled(nodes: &[Node], checks: &Mutex<Checks>) -> bool {
    let is_synchronized = |node: &Node| {
        let client = node.running.as_ref().and_then(|running| running.client.as_ref());
        client.is_none_or(|session| session.state() == State::Synchronized)
    };
    let checks = checks.lock().unwrap();
    nodes.iter().all(is_synchronized)
        && nodes.iter().all(has_consumed_all)
        && checks.are_in_step()
        && checks.wrongly_held_back().is_empty()
}

/// All logs have one order of creation. With fixed times each has its own.
async fn in_another_order(nodes: &[Node], checks: &Mutex<Checks>) -> Vec<String> {
    let (mut wrong, mut times) = (Vec::new(), std::collections::HashMap::new());
    for node in nodes {
        let Some(running) = &node.running else { continue };
        let entries = running.log.entries_created_after(None, usize::MAX).await.unwrap();
        if !entries.is_sorted_by(|one, other| one.meta.cmp_created(&other.meta).is_lt()) {
            wrong.push(format!("{} is not in the order of creation", node.id));
        }
        let checks = checks.lock().unwrap();
        for entry in entries.iter().filter(|entry| checks.has_one_time(&entry.meta.id)) {
            let time: &mut Timestamp =
                times.entry(entry.meta.id.clone()).or_insert(entry.meta.time);
            if *time != entry.meta.time && !node.features.fix_time {
                let (id, here) = (&entry.meta.id, entry.meta.time);
                wrong.push(format!("{id} has the time {here} at {}, {time} elsewhere", node.id));
            }
        }
    }
    wrong
}

/// Each event's time is by the clock of the log that holds it, as exactly as the delays allow.
async fn wrong_times(server: &Node, client: &Node, max_delay: Duration) -> Vec<String> {
    let expected = client.time.offset() - server.time.offset();
    let tolerance = 1_000 + 4 * u64::try_from(max_delay.as_millis()).unwrap();
    let (Some(running), Some(at_client)) = (&server.running, &client.running) else { panic!() };
    let mut wrong = Vec::new();
    for here in at_client.log.entries_after(Added::ZERO, usize::MAX).await.unwrap() {
        if ![&server.id, &client.id].contains(&here.meta.id.node()) {
            continue;
        }
        let there = running.log.by_id(&here.meta.id).await.unwrap();
        let difference = there.map(|there| here.meta.time.since(there.meta.time));
        if difference.is_some_and(|found| found.abs_diff(expected) > tolerance) {
            wrong.push(format!(
                "{:?} ms between the times of {}, not {expected}",
                difference, here.meta.id
            ));
        }
    }
    wrong
}
