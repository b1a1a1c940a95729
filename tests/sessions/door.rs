//! What an event limit lets through, every peer reads back: each codec over each transport.

use fastrand::Rng;
use logux_sync::{Added, BaseSync, EventLimits, Log, MemoryStore, Role, State, Value};
use serde_json::json;

use crate::cells::Cell;

on_every_cell! {
    what_may_be_added_arrives_as_it_was,
}

/// A text that some format has to write longer than others.
fn text(random: &mut Rng, length: usize) -> String {
    const CHARACTERS: [char; 14] = [
        'a', '\0', '"', '\\', '&', '<', '\t', '\r', '\u{85}', 'é', '\u{2028}', '\u{FFFE}', '😀',
        ']',
    ];
    let one = random.bool();
    let first = random.choice(CHARACTERS).unwrap_or('a');
    (0..length)
        .map(|_| if one { first } else { random.choice(CHARACTERS).unwrap_or('a') })
        .collect()
}

fn value(random: &mut Rng, depth: usize) -> Value {
    match random.u8(..if depth == 0 { 8 } else { 12 }) {
        0 => Value::Null,
        1 => random.bool().into(),
        2 => random.u64(..).into(),
        3 => random.i64(..).into(),
        4 => f64::from_bits(random.u64(..)).into(),
        5 => (f64::from(random.i32(-9..9)) / 2.0).into(),
        6 => json!([]),
        7 => {
            let length = random.usize(..20);
            text(random, length).into()
        }
        8 | 9 => (0..random.usize(..6)).map(|_| value(random, depth - 1)).collect(),
        _ => {
            let entries = (0..random.usize(..6)).map(|_| {
                let length = random.usize(..6);
                (text(random, length), value(random, depth - 1))
            });
            Value::Object(entries.collect())
        }
    }
}

/// One that is about as large as an event may be: much of one thing.
fn large(random: &mut Rng, limits: EventLimits) -> Value {
    let bytes = limits.bytes - EventLimits::META - 200;
    let small = match random.u8(..7) {
        0 => json!(0),
        1 => json!(0.5),
        2 => json!(""),
        3 => json!({}),
        4 => json!(false),
        5 => json!({ "&": "\0" }),
        _ => {
            let one = text(random, 1);
            let length = serde_json::to_string(&one).unwrap().len() - 2;
            return json!({ "type": "large", "text": one.repeat(bytes / length) });
        }
    };
    let length = serde_json::to_string(&small).unwrap().len() + 1;
    let objects = if small.is_object() { limits.objects - 10 } else { usize::MAX };
    let items = vec![small; (bytes / length).min(objects)];
    json!({ "type": "large", "items": items })
}

async fn what_may_be_added_arrives_as_it_was<C: Cell>() {
    for seed in 0..6 {
        let mut random = Rng::with_seed(seed);
        let log = async |node: &str| {
            Log::<Value>::open(node.parse().unwrap(), MemoryStore::new()).await.unwrap()
        };
        let (client, server) = (log("10:client").await, log("server").await);
        for n in 0..40 {
            let event = match n {
                10 | 30 => large(&mut random, client.event_limits()),
                _ => json!({ "type": "any", "value": value(&mut random, 5) }),
            };
            client.add(event).await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        let deep =
            (0..60).fold(
                json!(1),
                |inner, n| if n % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) },
            );
        client.add(json!({ "type": "deep", "value": deep })).await.unwrap();
        let (near, far) = C::pair().await;
        let here = BaseSync::new(&client, C::CODEC, Role::Opener, near).start();
        let there = BaseSync::new(&server, C::CODEC, Role::Acceptor, far).start();
        here.wait_for(State::Synchronized).await.unwrap();
        let [sent, received] = [&client, &server].map(|log| log.entries_after(Added::ZERO, 100));
        for (sent, received) in sent.await.unwrap().iter().zip(received.await.unwrap()) {
            assert!(sent.event == received.event, "seed {seed}: {:.200}", sent.event);
        }
        assert_eq!(server.last_added(), client.last_added(), "seed {seed}");
        here.close().await.unwrap();
        there.close().await.unwrap();
    }
}
