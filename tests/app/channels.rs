//! Who subscribes to a channel gets what is for it.

use std::time::Duration;

use logux_sync::app::{
    App, Channel, Client, Context, Filter, Handler, Path, Since, State, Subscription, TestApp,
    TestClient, Undo,
};
use logux_sync::{Entry, Value};
use serde_json::json;
use tokio::time::sleep;

use crate::handlers::{Seen, everybody, undone};

const NOTHING: [Value; 0] = [];

/// Whoever is in a room may write there, and all that is written is kept.
fn rooms<S: Clone + Send + Sync + 'static>(state: S) -> App<S> {
    everybody(state)
        .on(
            "say",
            Handler::access(async || true).route(async |context: Context| {
                let room = context.event()["room"].as_str().unwrap_or_default();
                format!("rooms/{room}")
            }),
        )
        .channel(
            "rooms/:name",
            Channel::access(async |client: Client, Path(name): Path<String>| {
                name != "cellar" || client.is_of("ann")
            })
            .from_log(),
        )
}

fn say(room: &str, n: u64) -> Value {
    json!({ "type": "say", "room": room, "n": n })
}

fn numbers(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["n"].as_u64().unwrap()).collect()
}

async fn said(client: &TestClient) -> Vec<u64> {
    sleep(Duration::from_secs(1)).await;
    numbers(&client.received().await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_gets_the_past_of_its_channel_and_then_what_is_added() {
    let test = TestApp::start(rooms(())).await.unwrap();
    let ann = test.client("ann:1").await.unwrap();
    for n in 0..30 {
        ann.process(say(if n % 3 == 0 { "attic" } else { "hall" }, n)).await.unwrap();
    }
    let ben = test.client("ben:1").await.unwrap();
    let past = ben.subscribe("rooms/attic").await.unwrap();
    assert_eq!(numbers(&past), (0..30).step_by(3).collect::<Vec<_>>());
    ben.received().await.unwrap();
    ann.process(say("attic", 30)).await.unwrap();
    ann.process(say("hall", 31)).await.unwrap();
    assert_eq!(said(&ben).await, [30]);
    // Its own events are not sent back to it, but to the page that it opens next.
    assert_eq!(numbers(&ann.subscribe("rooms/attic").await.unwrap()), [] as [u64; 0]);
    let again = test.client("ann:1:again").await.unwrap();
    assert_eq!(again.subscribe("rooms/attic").await.unwrap().len(), 11);
    ben.unsubscribe("rooms/attic").await.unwrap();
    again.process(say("attic", 32)).await.unwrap();
    assert_eq!(said(&ben).await, [] as [u64; 0]);
}

#[tokio::test(start_paused = true)]
async fn who_says_since_when_gets_the_rest_also_where_that_event_is_gone() {
    let test = TestApp::start(rooms(())).await.unwrap();
    let ann = test.client("ann:1").await.unwrap();
    let mut ids = Vec::new();
    for n in 0..10 {
        ann.process(say("attic", n)).await.unwrap();
        let entries = test.log().entries_after(logux_sync::Added::ZERO, 1_000).await.unwrap();
        let own = entries.iter().rev().find(|entry| entry.event["type"] == "say").unwrap();
        ids.push(own.meta.clone());
    }
    let since = |place: usize, form: fn(&logux_sync::EventId) -> String| {
        let meta = &ids[place];
        json!({ "channel": "rooms/attic", "since": { "id": form(&meta.id), "time": meta.time.value() } })
    };
    let ben = test.client("ben:1").await.unwrap();
    let past = ben.subscribe_to(since(6, ToString::to_string)).await.unwrap();
    assert_eq!(numbers(&past), [6, 7, 8, 9], "from there on, inclusive");
    let cat = test.client("cat:1").await.unwrap();
    let past = cat.subscribe_to(since(8, logux_sync::EventId::to_protocol_5)).await.unwrap();
    assert_eq!(numbers(&past), [8, 9]);
    // The answer to a subscription, as `@logux/client` says it, which is gone once it is confirmed.
    let dan = test.client("dan:1").await.unwrap();
    dan.subscribe("rooms/attic").await.unwrap();
    let entries = dan.log().entries_after(logux_sync::Added::ZERO, 1_000).await.unwrap();
    let answer = entries.iter().find(|entry| entry.event["type"] == "logux/processed").unwrap();
    let (id, time) = (answer.meta.id.to_string(), answer.meta.time.value());
    sleep(Duration::from_secs(3)).await;
    dan.leave().await;
    ann.process(say("attic", 10)).await.unwrap();
    ann.process(say("attic", 11)).await.unwrap();
    let dan = test.client("dan:1:later").await.unwrap();
    let wanted = json!({ "channel": "rooms/attic", "since": { "id": id, "time": time } });
    let past = numbers(&dan.subscribe_to(wanted).await.unwrap());
    assert!(past.ends_with(&[10, 11]) && past.len() < 12, "{past:?}");
    // What cannot be read is nothing.
    for since in
        [json!(1), json!({ "id": 1 }), json!({ "id": "x" }), json!({ "id": "1 a 0", "time": -1 })]
    {
        let eve = test.client("eve:1").await.unwrap();
        let wanted = json!({ "channel": "rooms/attic", "since": since });
        assert_eq!(eve.subscribe_to(wanted).await.unwrap().len(), 12, "{since}");
        eve.leave().await;
    }
    let wanted = json!({ "channel": "rooms/attic", "creating": true });
    let fay = test.client("fay:1").await.unwrap();
    assert_eq!(fay.subscribe_to(wanted).await.unwrap(), NOTHING);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_and_what_there_is_not_is_undone() {
    let app = rooms(())
        .channel(
            "gone/:id",
            Channel::access(async || true)
                .load(async || -> Result<(), Undo> { Err(Undo::not_found()) }),
        )
        .channel(
            "broken",
            Channel::access(async || true).load(async || -> Result<(), Undo> {
                std::fs::read("/nowhere")?;
                Ok(())
            }),
        )
        .channel("panics", Channel::access(async || -> bool { panic!("on purpose") }))
        .channel(
            "slow",
            Channel::access(async || true).load(async || std::future::pending::<()>().await),
        )
        .channel("numbers/:n", Channel::access(async |Path(_): Path<u64>| true))
        .options(logux_sync::SyncOptions::new().callback_timeout(Duration::from_secs(5)));
    let test = TestApp::start(app).await.unwrap();
    let ben = test.client("ben:1").await.unwrap();
    for (channel, reason) in [
        (json!("rooms/cellar"), "denied"),
        (json!("rooms/"), "wrongChannel"),
        (json!("rooms/a/b"), "wrongChannel"),
        (json!("nothing"), "wrongChannel"),
        (json!(""), "wrongChannel"),
        (json!(7), "wrongChannel"),
        (Value::Null, "wrongChannel"),
        (json!({ "a": 1 }), "wrongChannel"),
        (json!(format!("rooms/{}", "x".repeat(1_000))), "wrongChannel"),
        (json!("gone/1"), "notFound"),
        (json!("broken"), "error"),
        (json!("panics"), "error"),
        (json!("slow"), "error"),
        (json!("numbers/x"), "notFound"),
    ] {
        let event = json!({ "type": "logux/subscribe", "channel": channel });
        let undo = undone(ben.process(event).await);
        assert_eq!(undo["reason"], reason, "{channel}");
    }
    // Whoever is not admitted gets nothing.
    let ann = test.client("ann:1").await.unwrap();
    ann.subscribe("rooms/cellar").await.unwrap();
    ann.process(say("cellar", 1)).await.unwrap();
    assert_eq!(said(&ben).await, [] as [u64; 0]);
    ben.process(json!({ "type": "logux/unsubscribe", "channel": "rooms/cellar" })).await.unwrap();
    ben.process(json!({ "type": "logux/unsubscribe" })).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_channel_loads_what_a_subscriber_needs_and_filters() {
    let channel = Channel::access(async || true)
        .load(async |Path(name): Path<String>, Since(since): Since, client: Client| {
            vec![json!({ "type": "state", "of": name, "for": client.user_id(), "since": since.is_some() })]
        })
        .filter(async |wanted: Subscription| -> Result<Filter, Undo> {
            let Some(filter) = wanted.filter else { return Ok(Filter::new(|_: &Entry<Value>| true)) };
            let least = filter["least"].as_u64().ok_or_else(Undo::denied)?;
            Ok(Filter::new(move |entry: &Entry<Value>| entry.event["n"].as_u64() >= Some(least)))
        });
    let app = everybody(())
        .on(
            "say",
            Handler::access(async || true)
                .route(async || ["lists/a".to_owned(), "lists/b".to_owned()]),
        )
        .channel("lists/:name", channel);
    let test = TestApp::start(app).await.unwrap();
    let (ann, ben) = (test.client("ann:1").await.unwrap(), test.client("ben:1").await.unwrap());
    let loaded = ben.subscribe("lists/a").await.unwrap();
    assert_eq!(loaded, [json!({ "type": "state", "of": "a", "for": "ben", "since": false })]);
    let cat = test.client("cat:1").await.unwrap();
    let wanted = |filter: Value| json!({ "channel": "lists/b", "filter": filter });
    cat.subscribe_to(wanted(json!({ "least": 5 }))).await.unwrap();
    cat.subscribe_to(wanted(json!({ "least": 8 }))).await.unwrap();
    let refused = cat.subscribe_to(wanted(json!({}))).await;
    assert_eq!(undone(refused.map(drop))["reason"], "denied");
    for client in [&ben, &cat] {
        client.received().await.unwrap();
    }
    let say_all = async || {
        for n in 0..10 {
            ann.process(json!({ "type": "say", "n": n })).await.unwrap();
        }
    };
    say_all().await;
    assert_eq!(said(&ben).await, (0..10).collect::<Vec<_>>());
    assert_eq!(said(&cat).await, [5, 6, 7, 8, 9], "each once");
    let leave = |filter: Value| json!({ "type": "logux/unsubscribe", "channel": "lists/b", "filter": filter });
    cat.process(leave(json!({ "least": 5 }))).await.unwrap();
    say_all().await;
    assert_eq!(said(&cat).await, [8, 9]);
    cat.process(leave(json!({ "least": 8 }))).await.unwrap();
    say_all().await;
    assert_eq!(said(&cat).await, [] as [u64; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_channel_is_told_who_leaves_also_by_the_end_of_a_connection() {
    let seen = Seen::default();
    let channel = Channel::access(async || true).unsubscribed(
        async |State(seen): State<Seen>, client: Client, Path(name): Path<String>| {
            seen.note(format!("{} left {name}", client.client_id()));
        },
    );
    let app = everybody(seen.clone()).channel("lists/:name", channel);
    let test = TestApp::start(app).await.unwrap();
    let ann = test.client("ann:1:a").await.unwrap();
    for name in ["a", "b", "c"] {
        ann.subscribe(&format!("lists/{name}")).await.unwrap();
    }
    ann.unsubscribe("lists/a").await.unwrap();
    assert_eq!(seen.take(), ["ann:1 left a"]);
    ann.leave().await;
    sleep(Duration::from_secs(1)).await;
    let mut left = seen.take();
    left.sort_unstable();
    assert_eq!(left, ["ann:1 left b", "ann:1 left c"]);
}

#[tokio::test(start_paused = true)]
async fn subscriptions_of_a_client_are_bounded() {
    let test = TestApp::start(rooms(()).max_subscriptions(20)).await.unwrap();
    let ann = test.client("ann:1").await.unwrap();
    for n in 0..20 {
        ann.subscribe(&format!("rooms/{n}")).await.unwrap();
    }
    ann.subscribe("rooms/7").await.unwrap();
    let undo = undone(ann.subscribe("rooms/20").await.map(drop));
    assert_eq!(undo["reason"], "tooManySubscriptions");
    ann.unsubscribe("rooms/3").await.unwrap();
    ann.subscribe("rooms/20").await.unwrap();
}

/// An event of a client may go to users, clients and nodes, and each of them gets it once, also if it comes later.
#[tokio::test(start_paused = true)]
async fn what_goes_to_somebody_directly_waits_for_who_is_away() {
    use logux_sync::app::Route;
    let app = rooms(()).on(
        "tell",
        Handler::access(async || true).route(async |context: Context| {
            let to = |key: &str| context.event()[key].as_str().map(str::to_owned);
            let mut route = Route::from("rooms/attic");
            route = to("user").into_iter().fold(route, Route::user);
            route = to("client").into_iter().fold(route, Route::client);
            to("except").into_iter().fold(route, Route::except_client)
        }),
    );
    let test = TestApp::start(app).await.unwrap();
    let ann = test.client("ann:1").await.unwrap();
    let ben = test.client("ben:1").await.unwrap();
    let phone = test.client("ben:2").await.unwrap();
    ben.subscribe("rooms/attic").await.unwrap();
    ann.process(json!({ "type": "tell", "n": 1, "user": "ben", "client": "ben:1" })).await.unwrap();
    ann.process(json!({ "type": "tell", "n": 2, "client": "ben:2", "except": "ben:1" }))
        .await
        .unwrap();
    assert_eq!(said(&ben).await, [1]);
    assert_eq!(said(&phone).await, [1, 2]);
    let cat = test.client("cat:1").await.unwrap();
    cat.leave().await;
    ann.process(json!({ "type": "tell", "n": 3, "user": "cat" })).await.unwrap();
    let cat = test.client("cat:1").await.unwrap();
    assert_eq!(said(&cat).await, [3]);
}

/// What callbacks of a channel add for others is no answer to the subscriber, and stays.
#[tokio::test(start_paused = true)]
async fn a_channel_tells_others_who_comes_and_goes() {
    use logux_sync::app::Route;
    let tell = |what: &'static str| {
        move |client: Client, context: Context| async move {
            context
                .add(&json!({ "type": what, "user": client.user_id() }), Route::from("presence"))?;
            Ok::<_, Undo>(())
        }
    };
    let app = rooms(())
        .channel("presence", Channel::access(async || true).from_log())
        .channel("lobby", Channel::access(tell("came")).unsubscribed(tell("left")));
    let test = TestApp::start(app).await.unwrap();
    let (ann, ben) = (test.client("ann:1").await.unwrap(), test.client("ben:1").await.unwrap());
    ann.subscribe("presence").await.unwrap();
    assert_eq!(ben.subscribe("lobby").await.unwrap(), NOTHING, "it is not for who subscribes");
    // Nobody leaves what it was not in, nor one way of several.
    ann.unsubscribe("lobby").await.unwrap();
    ben.subscribe_to(json!({ "channel": "lobby", "filter": { "a": 1 } })).await.unwrap();
    ben.unsubscribe("lobby").await.unwrap();
    ben.leave().await;
    sleep(Duration::from_secs(10)).await;
    let event = |kind: &str| json!({ "type": kind, "user": "ben" });
    let all = [event("came"), event("came"), event("left")];
    assert_eq!(ann.received().await.unwrap(), all);
    let later = test.client("cat:1").await.unwrap();
    assert_eq!(later.subscribe("presence").await.unwrap(), all, "it stays in the log");
}

/// A subscription that fails leaves the one that there was as it was.
#[tokio::test(start_paused = true)]
async fn a_second_subscription_that_fails_does_not_end_the_first() {
    let seen = Seen::default();
    let channel = Channel::access(async || true).load(async |State(seen): State<Seen>| {
        seen.note("load");
        if seen.take().len() > 1 { Err(Undo::not_found()) } else { Ok(()) }
    });
    let app = everybody(seen.clone())
        .on("say", Handler::access(async || true).route(async || "room"))
        .channel("room", channel);
    let test = TestApp::start(app).await.unwrap();
    let (ann, ben) = (test.client("ann:1").await.unwrap(), test.client("ben:1").await.unwrap());
    ben.subscribe("room").await.unwrap();
    seen.note("once more");
    assert_eq!(undone(ben.subscribe("room").await.map(drop))["reason"], "notFound");
    ann.process(json!({ "type": "say", "n": 1 })).await.unwrap();
    assert_eq!(said(&ben).await, [1]);
    let wanted = json!({ "channel": "room", "filter": { "text": "x".repeat(5_000) } });
    assert_eq!(undone(ben.subscribe_to(wanted).await.map(drop))["reason"], "wrongFormat");
}

#[tokio::test(start_paused = true)]
async fn what_is_added_while_access_is_asked_is_not_missed() {
    // What `access` answers may be of the time at which it began.
    let app =
        everybody(()).on("say", Handler::access(async || true).route(async || "hall")).channel(
            "hall",
            Channel::access(async || {
                sleep(Duration::from_secs(4)).await;
                true
            }),
        );
    let test = TestApp::start(app).await.unwrap();
    let (ann, ben) = (test.client("ann:1").await.unwrap(), test.client("ben:1").await.unwrap());
    ann.process(say("hall", 0)).await.unwrap();
    let subscribing = ben.subscribe("hall");
    let saying = async {
        sleep(Duration::from_secs(2)).await;
        ann.process(say("hall", 1)).await.unwrap();
    };
    let (past, ()) = tokio::join!(subscribing, saying);
    assert_eq!(numbers(&past.unwrap()), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_waits_behind_an_event_that_is_undone_is_done() {
    let test = TestApp::start(rooms(())).await.unwrap();
    let (ann, ben) = (test.client("ann:1").await.unwrap(), test.client("ben:1").await.unwrap());
    // As `@logux/client` sends when it is back: what was done meanwhile, and then its subscriptions.
    let subscribe = json!({ "type": "logux/subscribe", "channel": "rooms/attic" });
    ann.log().add_batch([json!({ "type": "unknown" }), subscribe, say("attic", 1)]).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let entries = ann.log().entries_after(logux_sync::Added::ZERO, 100).await.unwrap();
    let answers = entries.iter().filter(|entry| entry.meta.source.is_some());
    let answers: Vec<_> =
        answers.map(|entry| entry.event["reason"].as_str().unwrap_or("done")).collect();
    assert_eq!(answers, ["unknownType", "done", "error"]);
    ben.process(say("attic", 2)).await.unwrap();
    assert_eq!(said(&ann).await, [2]);
}

#[tokio::test(start_paused = true)]
async fn who_left_a_channel_and_was_cut_off_is_not_subscribed_again() {
    let test = TestApp::start(rooms(())).await.unwrap();
    let ann = test.client("ann:1").await.unwrap();
    let ben = test.client("ben:1").await.unwrap();
    ben.subscribe("rooms/attic").await.unwrap();
    ben.subscribe("rooms/hall").await.unwrap();
    ben.unsubscribe("rooms/attic").await.unwrap();
    // The server has not noted how far it is; it says itself what it has.
    assert_eq!(test.close_node(&"ben:1".parse().unwrap(), "to see what comes then"), 1);
    sleep(Duration::from_secs(1)).await;
    ben.received().await.unwrap();
    ann.process(say("attic", 1)).await.unwrap();
    ann.process(say("hall", 2)).await.unwrap();
    assert_eq!(said(&ben).await, [] as [u64; 0]);
}
