//! What an app costs beside plain sync: 1,000 clients in 100 channels, 10,000 events of one of them.
//!
//! `cargo bench --bench apps`; `-- --test` a tenth of it, once. All is in one process and one thread, over the transport in
//! memory: the writer, the server with its log in memory, and 1,000 readers, each with a log of its own. Towards the
//! app, each event waits in a queue, is judged, routed and answered; plain sync only gives it an index. The same readers
//! get the same events, and each is looked at: all that it should have, in order, and nothing else.
//!
//! The ratio is of the time until the last reader has all, plain sync by the app, round by round.

use std::sync::Arc;
use std::time::{Duration, Instant};

use logux_benches::Asked;
use logux_benches::ratio::Ratio;
use logux_sync::app::{App, Channel, Context, Handler, RunningApp};
use logux_sync::{
    Added, ClientSync, Json, Log, LogOptions, Memory, MemoryStore, Quota, Reconnect, RunningServer,
    Server, Session, State, SyncOptions, Value,
};
use serde_json::json;
use tokio::runtime::Builder;
use tokio::time::sleep;

/// How much there is.
#[derive(Clone, Copy)]
struct Size {
    clients: u64,
    channels: u64,
    events: u64,
}

/// A server of one of the two kinds, which ends when it is dropped.
enum Serving {
    App { _running: RunningApp },
    Plain { _running: RunningServer },
}

/// A client, and how far its log is looked at.
struct Client {
    log: Log<Value>,
    session: Session,
    looked_at: Added,
}

fn main() {
    let asked = Asked::of_command_line();
    let numbers = asked.numbers();
    let (size, rounds) = if numbers {
        (Size { clients: 1_000, channels: 100, events: 10_000 }, 5)
    } else {
        (Size { clients: 100, channels: 10, events: 200 }, 1)
    };
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let app = runtime.block_on(round(size, true));
        let plain = runtime.block_on(round(size, false));
        let each = |time: Duration| {
            time.as_secs_f64() * 1e6 / f64::from(u32::try_from(size.events).unwrap_or(u32::MAX))
        };
        println!("an event: app {:.1} us, plain {:.1} us", each(app), each(plain));
        ratios.push(plain.as_secs_f64() / app.as_secs_f64());
    }
    if numbers {
        println!("plain sync / app, the same deliveries: {}", Ratio::of_rounds(&ratios));
    }
}

/// How long it takes until each reader has all that is for it.
async fn round(size: Size, is_app: bool) -> Duration {
    let (memory, listener) = Memory::listen();
    let options = LogOptions::<Value>::new().before_add(move |arriving| {
        if !is_app {
            let channel = arriving.event()["channel"].as_str().unwrap_or_default().to_owned();
            arriving.add_index(channel);
        }
        Ok(())
    });
    let store = Arc::new(MemoryStore::new());
    let log = Log::open_with(name("server:bench"), store, options).await.expect("a log");
    // The writer is quicker than strangers may be.
    let session = SyncOptions::new().quota(None::<Quota>);
    let _serving = if is_app {
        let app = App::new(async |_| true)
            .options(session)
            .on("say", Handler::access(async || true).route(channel))
            .channel("rooms/:n", Channel::access(async || true).from_log());
        Serving::App { _running: app.serve(&log, Json, listener).expect("an app") }
    } else {
        let channels = size.channels;
        let session = session.out_indexes(move |peer| {
            let number = peer.node_id.user_id().and_then(|user| user.parse::<u64>().ok());
            number.map(|number| format!("rooms/{}", number % channels)).into_iter().collect()
        });
        Serving::Plain { _running: Server::new(&log, Json, listener).options(session).start() }
    };
    let mut readers = Vec::new();
    for number in 0..size.clients {
        let mut reader = Client::connect(&format!("{number}:reader"), &memory).await;
        if is_app {
            let channel = format!("rooms/{}", number % size.channels);
            let subscribe = json!({ "type": "logux/subscribe", "channel": channel });
            reader.log.add(subscribe).await.expect("added");
            while reader.log.count().await.expect("counted") < 2 {
                sleep(Duration::from_millis(1)).await;
            }
        }
        reader.looked_at = reader.log.last_added();
        readers.push(reader);
    }
    let writer = Client::connect("writer:1", &memory).await;
    let event = |n: u64| json!({ "type": "say", "channel": format!("rooms/{}", n % size.channels), "n": n });
    let begun = Instant::now();
    writer.log.add_batch((0..size.events).map(event)).await.expect("added");
    for (number, reader) in (0_u64..).zip(&readers) {
        reader.has_all(number, size).await;
    }
    let took = begun.elapsed();
    for reader in readers {
        reader.session.abort();
    }
    took
}

async fn channel(context: Context) -> String {
    context.event()["channel"].as_str().unwrap_or_default().to_owned()
}

impl Client {
    async fn connect(node: &str, memory: &Memory) -> Self {
        let log = Log::open(name(node), MemoryStore::new()).await.expect("a log");
        let session = ClientSync::new(&log, Json, Reconnect::new(memory.clone())).start();
        session.wait_for(State::Synchronized).await.expect("it is let in");
        Self { log, session, looked_at: Added::ZERO }
    }

    /// Waits until the reader has the events of its channel, in order, and nothing else.
    async fn has_all(&self, number: u64, size: Size) {
        let expected: Vec<u64> =
            (0..size.events).filter(|n| n % size.channels == number % size.channels).collect();
        loop {
            let entries = self.log.entries_after(self.looked_at, usize::MAX).await.expect("read");
            if entries.len() >= expected.len() {
                let got: Vec<u64> =
                    entries.iter().filter_map(|entry| entry.event["n"].as_u64()).collect();
                assert_eq!(got, expected, "reader {number} has other events");
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
}

fn name(text: &str) -> logux_sync::NodeId {
    text.parse().expect("a name")
}
