//! Writing and reading messages, beside what the format's own crate takes for the same.
//!
//! `cargo bench --bench codecs` runs criterion and then the ratios; `-- --ratios` only the ratios.
//! A ratio is taken round by round, ours and the baseline in turn, so that it holds where the
//! machine's speed drifts; the absolute numbers do not.

mod baseline;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use logux_benches::{Asked, Counter, ratio};
use logux_sync::codecs::{Message, Sync, WireId, WireMeta};
use logux_sync::{
    Added, Codec, EventLimits, Extra, Json, Limits, MessagePack, Rare, Timestamp, Xml,
};

/// One way to write or read so many messages: how long it takes, one after the other.
struct Run {
    name: String,
    run: Box<dyn Fn(u64) -> Duration>,
}

/// What a codec does, and what it is compared with.
struct Pair {
    ours: Run,
    baseline: Run,
    goal: &'static str,
}

/// A `sync` of so many small events.
fn message(events: u64) -> Message<Counter> {
    let entry = |n: u64| {
        let time = Timestamp::new(1_786_312_345_678 + n).unwrap_or_default();
        let meta = WireMeta {
            id: WireId::Absolute { time, author: None },
            time: n.cast_signed(),
            subprotocol: None,
            extra: Rare::default(),
        };
        (Counter::Inc { value: n }, meta)
    };
    let entries = (0..events).map(entry).collect();
    Message::Sync(Sync { added: Added::ZERO.plus(events), entries })
}

/// Runs something so often, and takes the time.
fn timed<T>(name: String, mut once: impl FnMut() -> T + 'static) -> Run {
    let once = std::cell::RefCell::new(move || drop(black_box(once())));
    let run = move |count| {
        let mut once = once.borrow_mut();
        let start = Instant::now();
        for _ in 0..count {
            once();
        }
        start.elapsed()
    };
    Run { name, run: Box::new(run) }
}

fn encode<C: Codec>(codec: C, events: u64) -> Run {
    let (message, mut frame) = (message(events), Vec::new());
    timed(format!("{}/encode/{events}", C::NAME), move || {
        frame.clear();
        codec.encode(&message, &mut frame).expect("the message can be written");
        frame.len()
    })
}

fn decode<C: Codec>(codec: C, events: u64) -> Run {
    let frame = frame(&codec, events);
    timed(format!("{}/decode/{events}", C::NAME), move || {
        codec.decode::<Counter>(&frame, Limits::default()).expect("the message can be read")
    })
}

/// Looks whether an event can be sent to every peer, as each event is that enters a log.
fn check() -> Run {
    let (event, limits, extra) = (Counter::Inc { value: 1 }, EventLimits::default(), Extra::new());
    timed("event limits".to_owned(), move || {
        limits.check(black_box(&event), &extra).expect("a small event can be sent")
    })
}

/// Writes the same event alone.
fn write_event() -> Run {
    let (event, mut text) = (Counter::Inc { value: 1 }, Vec::new());
    timed("serde_json/write".to_owned(), move || {
        text.clear();
        serde_json::to_writer(&mut text, black_box(&event)).expect("the event can be written");
        text.len()
    })
}

fn frame<C: Codec>(codec: &C, events: u64) -> Vec<u8> {
    let mut frame = Vec::new();
    codec.encode(&message(events), &mut frame).expect("the message can be written");
    frame
}

fn pairs() -> Vec<Pair> {
    let mut pairs = Vec::new();
    for events in [1, 64] {
        let mut pair = |ours, baseline, goal| pairs.push(Pair { ours, baseline, goal });
        pair(encode(Json, events), baseline::json_encode(events), ">= 0.95");
        pair(decode(Json, events), baseline::json_decode(events), ">= 0.95");
        pair(decode(Json, events), baseline::json_decode_plain(events), "");
        pair(encode(MessagePack, events), baseline::message_pack_encode(events), ">= 2");
        pair(decode(MessagePack, events), baseline::message_pack_decode(events), ">= 0.95");
        pair(decode(MessagePack, events), baseline::message_pack_decode_plain(events), "");
        pair(encode(Xml, events), baseline::xml_encode_plain(events), ">= 2.5");
        pair(decode(Xml, events), baseline::xml_decode_plain(events), ">= 2.5");
    }
    pairs.push(Pair { ours: check(), baseline: write_event(), goal: ">= 1" });
    pairs
}

fn main() {
    let asked = Asked::of_command_line();
    if asked.criterion() {
        let mut criterion = Criterion::default().configure_from_args();
        let mut group = criterion.benchmark_group("codecs");
        group
            .throughput(Throughput::Elements(1))
            .sample_size(20)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_millis(500));
        let mut seen = Vec::new();
        for Pair { ours, baseline, .. } in pairs() {
            for Run { name, run } in [ours, baseline] {
                if !seen.contains(&name) {
                    group.bench_function(&name, |bench| bench.iter_custom(&run));
                    seen.push(name);
                }
            }
        }
        group.finish();
        criterion.final_summary();
    }
    if !asked.numbers() {
        return;
    }
    println!("\nmessages per second of ours by the baseline's: median, 90 % interval, goal");
    for Pair { ours, baseline, goal } in pairs() {
        let name = format!("{:24} / {:40}", ours.name, baseline.name);
        if asked.means(&name) {
            let ratio = ratio::of(&ours.run, &baseline.run);
            println!("{name} {ratio}  {goal}");
        }
    }
    let checks = 1_000_000;
    let nanoseconds = (check().run)(checks).as_secs_f64() * 1e9 / 1e6;
    println!("\nto look whether a small event can be sent to every peer: {nanoseconds:.1} ns");
    println!("\nbytes per event in a frame of  1 event  64 events");
    for (name, one, many) in [
        (Json::NAME, frame(&Json, 1), frame(&Json, 64)),
        (MessagePack::NAME, frame(&MessagePack, 1), frame(&MessagePack, 64)),
        (Xml::NAME, frame(&Xml, 1), frame(&Xml, 64)),
    ] {
        println!(
            "{name:29} {:9} {:10.1}",
            one.len(),
            f64::from(u32::try_from(many.len()).unwrap_or(u32::MAX)) / 64.0
        );
    }
}
