//! An app that is killed in the middle of its handlers: each event of its client is done, once, and answered, once.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use logux_sync::app::{App, Channel, Context, Handler, Undo};

use super::*;

const KILLS: u64 = 100;

/// The process that is killed.
#[tokio::test]
#[ignore = "is started by the other test"]
async fn victim() {
    let Ok(path) = std::env::var(FILE) else { return };
    let app = App::new(async |_| true)
        .on(
            "add",
            Handler::access(async || true).route(async || "all").process(
                async |context: Context| -> Result<(), Undo> {
                    let number = context.event()["number"].as_u64().unwrap_or_default();
                    sleep(Duration::from_millis(number % 3)).await;
                    say(&format!("did {number}"));
                    sleep(Duration::from_millis(number % 2)).await;
                    if number.is_multiple_of(10) { Err(Undo::new("tenth")) } else { Ok(()) }
                },
            ),
        )
        .channel("all", Channel::access(async || true).from_log());
    let store = Arc::new(SqliteStore::open(path).unwrap());
    let log = Log::open_with("server:x".parse().unwrap(), store, App::<()>::log_options());
    let listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let _app = app.serve(&log.await.unwrap(), Json, listener).unwrap();
    say(&format!("port {port}"));
    sleep(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_event_is_done_and_answered_once_whenever_the_app_dies() {
    let seed = std::env::var("CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("the seed is {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = std::env::temp_dir().join(format!("logux-sync-app-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("log.db");

    let dial = Dial::default();
    let log = Log::<Value>::open("ann:1:x".parse().unwrap(), MemoryStore::new()).await.unwrap();
    let transport = Reconnect::new(dial.clone());
    let transport = transport.first_delay(Duration::ZERO).max_delay(Duration::from_millis(20));
    let session = ClientSync::new(&log, Json, transport).start();
    // What the client has added: by the id, whether it is to be undone.
    let mut added = BTreeMap::new();
    // How often each was handled, by what the processes could say.
    let mut done = BTreeMap::<u64, usize>::new();
    let mut number = 0;
    let mut handled = |said: Said| {
        for number in said.done {
            *done.entry(number).or_default() += 1;
        }
    };
    for round in 0..KILLS {
        let victim = Victim::start_as("apps::victim", &path);
        if random.u8(..) > 20 {
            *dial.0.lock().unwrap() = Some(victim.port().await);
        }
        for _ in 0..random.u64(..6) {
            number += 1;
            let entry = log.add(json!({ "type": "add", "number": number })).await.unwrap();
            added.insert(entry.meta.id.to_string(), number % 10 == 0);
        }
        if round % 7 == 0 {
            let entry = log.add(json!({ "type": "logux/subscribe", "channel": "all" })).await;
            added.insert(entry.unwrap().meta.id.to_string(), false);
        }
        sleep(Duration::from_micros(random.u64(0..60_000))).await;
        handled(victim.kill());
        *dial.0.lock().unwrap() = None;
    }
    let victim = Victim::start_as("apps::victim", &path);
    *dial.0.lock().unwrap() = Some(victim.port().await);
    let mut answers = BTreeMap::<String, Vec<Value>>::new();
    let mut entries = log.follow(Added::ZERO);
    let all = async {
        while answers.len() < added.len() {
            let entry = entries.next().await.unwrap().unwrap();
            if let Some(id) = entry.event["id"].as_str() {
                answers.entry(id.to_owned()).or_default().push(entry.event.clone());
            }
        }
    };
    timeout(LIMIT, all).await.expect("each event is answered");
    // Whatever would come twice, comes now.
    sleep(Duration::from_millis(300)).await;
    while let Some(Some(entry)) = futures_util::FutureExt::now_or_never(entries.next()) {
        if let Some(id) = entry.as_ref().unwrap().event["id"].as_str() {
            answers.entry(id.to_owned()).or_default().push(Value::Null);
        }
    }
    handled(victim.kill());
    session.close().await.unwrap();

    let kept = Log::<Value>::open("server:x".parse().unwrap(), SqliteStore::open(&path).unwrap());
    let kept = kept.await.unwrap();
    assert_eq!(kept.inboxes().await.unwrap(), [""; 0], "something waits");
    let entries = kept.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    let numbers = entries.iter().filter_map(|entry| entry.event["number"].as_u64());
    let of_client: Vec<u64> = numbers.collect();
    let mut undone = 0;
    for (id, answers) in &answers {
        assert_eq!(answers.len(), 1, "{id} is answered {answers:?}");
        undone += usize::from(answers[0]["type"] == "logux/undo");
        if added[id] {
            assert!(answers[0]["type"] == "logux/undo", "{id}: {answers:?}");
        }
    }
    assert!(of_client.is_sorted() && of_client.len() + undone >= usize::try_from(number).unwrap());
    let mut once = of_client.clone();
    once.dedup();
    assert_eq!(once, of_client, "an event is there twice");
    for number in &of_client {
        assert!(done.contains_key(number), "{number} was not handled");
    }
    let again = done.values().filter(|count| **count > 1).count();
    println!("{number} events, {undone} undone, {again} handled again after a process had died");
    std::fs::remove_dir_all(folder).unwrap();
}
