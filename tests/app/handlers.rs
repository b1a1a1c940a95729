//! What becomes of the events of a type.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use logux_sync::app::{
    App, Channel, Client, Context, Handler, Route, State, TestApp, TestClient, TestError, Typed,
    Undo,
};
use logux_sync::{SyncOptions, Value};
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

#[derive(Deserialize)]
struct Rename {
    user: String,
    name: String,
}

/// What the handlers have seen, in order.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

pub(crate) fn everybody<S: Clone + Send + Sync + 'static>(state: S) -> App<S> {
    App::with_state(state, async |_, _| true)
}

fn renames(seen: Seen) -> App<Seen> {
    everybody(seen)
        .on(
            "users/rename",
            Handler::access(async |client: Client, Typed(rename): Typed<Rename>| {
                client.is_of(rename.user)
            })
            .route(async |Typed(rename): Typed<Rename>| format!("users/{}", rename.user))
            .process(
                async |State(seen): State<Seen>,
                       Typed(rename): Typed<Rename>|
                       -> Result<(), Undo> {
                    if rename.name.is_empty() {
                        return Err(Undo::new("emptyName").with("user", rename.user));
                    }
                    if rename.name == "fail" {
                        std::fs::read("/nowhere")?;
                    }
                    assert_ne!(rename.name, "panic");
                    if rename.name == "slow" {
                        sleep(Duration::from_secs(50)).await;
                    }
                    if rename.name == "never" {
                        std::future::pending::<()>().await;
                    }
                    seen.note(rename.name);
                    Ok(())
                },
            ),
        )
        .channel("users/:id", Channel::access(async || true).from_log())
}

fn rename(user: &str, name: &str) -> Value {
    json!({ "type": "users/rename", "user": user, "name": name })
}

pub(crate) fn undone(result: Result<(), TestError>) -> Value {
    match result {
        Err(TestError::Undone(undo)) => undo,
        other => panic!("it was not undone: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_is_judged_routed_processed_and_answered() {
    let seen = Seen::default();
    let test = TestApp::start(renames(seen.clone())).await.unwrap();
    let ann = test.client("ann:1:tab").await.unwrap();
    let ben = test.client("ben:1").await.unwrap();
    let other = test.client("cat:1").await.unwrap();
    assert_eq!(ben.subscribe("users/ann").await.unwrap(), [] as [Value; 0]);
    ann.process(rename("ann", "Ann")).await.unwrap();
    assert_eq!(seen.take(), ["Ann"]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(ben.received().await.unwrap(), [rename("ann", "Ann")]);
    assert_eq!(other.received().await.unwrap(), [] as [Value; 0]);
    assert_eq!(ann.received().await.unwrap(), [] as [Value; 0], "its own event came back");
    // In the log: the event, with its route, and answers until their clients have them.
    sleep(Duration::from_secs(3)).await;
    let entries = test.log().entries_after(logux_sync::Added::ZERO, 10).await.unwrap();
    let rest: Vec<_> =
        entries.iter().map(|entry| (&entry.event["type"], &entry.meta.indexes[..])).collect();
    assert_eq!(rest, [(&json!("users/rename"), &["channel:users/ann".to_owned()][..])]);
}

#[tokio::test(start_paused = true)]
async fn each_failure_has_its_answer_and_leaves_nothing() {
    let seen = Seen::default();
    let test = TestApp::start(renames(seen.clone())).await.unwrap();
    let ann = test.client("ann:1:tab").await.unwrap();
    let cases = [
        (rename("ben", "Ben"), "denied"),
        (rename("ann", ""), "emptyName"),
        (rename("ann", "fail"), "error"),
        (rename("ann", "panic"), "error"),
        (rename("ann", "never"), "error"),
        (json!({ "type": "users/rename", "user": 1 }), "wrongFormat"),
        (json!({ "type": "users/unknown" }), "unknownType"),
        (json!({ "type": "logux/processed", "id": "1 ann:1:tab 0" }), "unknownType"),
        (json!({ "type": "logux/undo", "id": "1 ann:1:tab 0" }), "unknownType"),
        (json!({ "type": "logux/subscribed", "channel": "users/ann" }), "unknownType"),
    ];
    for (event, reason) in cases {
        let undo = undone(with_patience(&ann, event.clone()).await);
        assert_eq!(undo["reason"], reason, "{event}");
        assert_eq!(undo["action"], event);
        if reason == "emptyName" {
            assert_eq!(undo["user"], "ann");
        }
    }
    ann.process(rename("ann", "slow")).await.unwrap_err();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(seen.take(), ["slow"]);
    assert_eq!(test.log().inboxes().await.unwrap(), [""; 0]);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(test.log().count().await.unwrap(), 1, "only what was done is kept");
}

/// A test client gives up after ten seconds, and a callback may take a minute.
async fn with_patience(client: &TestClient, event: Value) -> Result<(), TestError> {
    match client.process(event.clone()).await {
        Err(TestError::NoAnswer) => {
            sleep(Duration::from_secs(60)).await;
            let entries = client.log().entries_after(logux_sync::Added::ZERO, 1_000).await.unwrap();
            let undo = entries.iter().rev().find(|entry| entry.event["type"] == "logux/undo");
            Err(TestError::Undone(undo.expect("it is undone").event.clone()))
        }
        result => result,
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_a_queue_wait_for_each_other_and_of_several_do_not() {
    let seen = Seen::default();
    let work = async |State(seen): State<Seen>, context: Context| {
        let name = context.event()["name"].as_str().unwrap().to_owned();
        seen.note(format!("{name} begins"));
        sleep(Duration::from_secs(context.event()["takes"].as_u64().unwrap())).await;
        seen.note(format!("{name} ends"));
    };
    let app = everybody(seen.clone())
        .on("work", Handler::access(async || true).process(work))
        .on("aside", Handler::access(async || true).process(work).queue("aside"));
    let test = TestApp::start(app).await.unwrap();
    let ann = test.client("ann:1").await.unwrap();
    let ben = test.client("ben:1").await.unwrap();
    let event =
        |kind: &str, name: &str, takes: u64| json!({ "type": kind, "name": name, "takes": takes });
    ann.log()
        .add_batch([event("work", "a1", 3), event("work", "a2", 1), event("aside", "a3", 1)])
        .await
        .unwrap();
    ben.log().add(event("work", "b1", 2)).await.unwrap();
    sleep(Duration::from_secs(10)).await;
    let mut seen = seen.take();
    let order = |one: &str, other: &str| {
        let place = |what: &str| seen.iter().position(|seen| seen == what).unwrap();
        assert!(place(one) < place(other), "{one} is not before {other}: {seen:?}");
    };
    order("a1 ends", "a2 begins");
    order("a3 ends", "a1 ends");
    order("b1 begins", "a1 ends");
    order("b1 ends", "a1 ends");
    seen.clear();
}

#[tokio::test(start_paused = true)]
async fn what_waits_behind_an_event_that_is_undone_is_undone() {
    let seen = Seen::default();
    let test = TestApp::start(renames(seen.clone())).await.unwrap();
    let ann = test.client("ann:1:tab").await.unwrap();
    let events = ["one", "", "three", "four"].map(|name| rename("ann", name));
    ann.log().add_batch(events).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let entries = ann.log().entries_after(logux_sync::Added::ZERO, 100).await.unwrap();
    let answers = entries.iter().filter(|entry| entry.meta.source.is_some());
    let answers: Vec<_> =
        answers.map(|entry| entry.event["reason"].as_str().unwrap_or("done")).collect();
    assert_eq!(answers, ["done", "emptyName", "error", "error"]);
    assert_eq!(seen.take(), ["one"]);
    ann.process(rename("ann", "five")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_adds_events_with_its_own_and_none_if_it_is_undone() {
    let app = everybody(())
        .on(
            "posts/add",
            Handler::access(async || true).process(async |context: Context| -> Result<(), Undo> {
                context.add(
                    &json!({ "type": "posts/added" }),
                    Route::from("posts").except_client("cat:1"),
                )?;
                context.add(&json!({ "type": "note" }), Route::nobody().user("ben"))?;
                context.send_back(&json!({ "type": "thanks" }))?;
                if context.event()["fails"] == true { Err(Undo::denied()) } else { Ok(()) }
            }),
        )
        .channel("posts", Channel::access(async || true));
    let test = TestApp::start(app).await.unwrap();
    let [ann, ben, cat, dan] = ["ann:1", "ben:1", "cat:1", "dan:1"];
    let (ann, ben) = (test.client(ann).await.unwrap(), test.client(ben).await.unwrap());
    let (cat, dan) = (test.client(cat).await.unwrap(), test.client(dan).await.unwrap());
    for client in [&ann, &ben, &cat, &dan] {
        client.subscribe("posts").await.unwrap();
    }
    ann.process(json!({ "type": "posts/add", "fails": true })).await.unwrap_err();
    ann.process(json!({ "type": "posts/add" })).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let kinds = async |client: &TestClient| -> Vec<String> {
        let received = client.received().await.unwrap();
        received.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&ann).await, ["posts/added", "thanks"]);
    assert_eq!(kinds(&ben).await, ["posts/added", "note"]);
    assert_eq!(kinds(&cat).await, [""; 0]);
    assert_eq!(kinds(&dan).await, ["posts/added"]);
}

#[tokio::test(start_paused = true)]
async fn events_of_the_server_are_processed_without_access_and_by_later_processes() {
    let seen = Seen::default();
    let app = |seen: &Seen| {
        everybody(seen.clone())
            .on(
                "tick",
                Handler::access(async || false).route(async || "ticks").process(
                    async |State(seen): State<Seen>, context: Context| -> Result<(), Undo> {
                        seen.note(context.event()["n"].to_string());
                        if context.event()["n"] == 2 { Err(Undo::new("two")) } else { Ok(()) }
                    },
                ),
            )
            .channel("ticks", Channel::access(async || true))
    };
    let test = TestApp::start(app(&seen)).await.unwrap();
    let ann = test.client("ann:1").await.unwrap();
    ann.subscribe("ticks").await.unwrap();
    let undo = undone(ann.process(json!({ "type": "tick", "n": 0 })).await);
    assert_eq!(undo["reason"], "denied");
    test.process(json!({ "type": "tick", "n": 1 })).await.unwrap();
    let error = test.process(json!({ "type": "tick", "n": 2 })).await.unwrap_err();
    assert_eq!(error.to_string(), r#"the event was undone with the reason "two""#);
    // One without a handler is only in the log.
    let id = test.process(json!({ "type": "other" })).await.unwrap();
    assert!(test.log().by_id(&id).await.unwrap().is_some());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(ann.received().await.unwrap(), [json!({ "type": "tick", "n": 1 })]);
    assert_eq!(seen.take(), ["1", "2"]);
    let log = test.shutdown().await;
    log.hand_in("app:main:server:test", [json!({ "type": "tick", "n": 3 })]).await.unwrap();
    let test = TestApp::start_with(app(&seen), log).unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(seen.take(), ["3"]);
    drop(test);
}

#[tokio::test(start_paused = true)]
async fn patterns_and_the_rest_have_handlers_too() {
    let seen = Seen::default();
    let note = |name: &'static str| {
        Handler::access(async || true)
            .process(move |State(seen): State<Seen>| async move { seen.note(name) })
    };
    let app = everybody(seen.clone())
        .on("posts/*", note("posts"))
        .on("posts/add", note("add"))
        .on(":any/add", note("any"))
        .otherwise(note("rest"));
    let test = TestApp::start(app).await.unwrap();
    let ann = test.client("ann:1").await.unwrap();
    for kind in ["posts/add", "posts/x/y", "notes/add", "x", "x/y"] {
        ann.process(json!({ "type": kind })).await.unwrap();
    }
    assert_eq!(seen.take(), ["add", "posts", "any", "rest", "rest"]);
}

#[tokio::test]
async fn an_app_that_cannot_be_is_not_served() {
    let handler = || Handler::access(async || true);
    let channel = || Channel::access(async || true);
    for (app, message) in [
        (everybody(()).on("a:", handler()), r#""a:" is no pattern"#),
        (everybody(()).channel("", channel()), r#""" is no pattern"#),
        (everybody(()).on("a", handler()).on("a", handler()), r#"two handlers for "a""#),
        (everybody(()).on("a/*", handler()).on("a/*", handler()), r#"two handlers for "a/*""#),
        (everybody(()).channel("a", channel()).channel("a", channel()), r#"two handlers for "a""#),
        (everybody(()).on("logux/*", handler()), "`logux/` are the protocol's"),
        (everybody(()).on("logux/undo", handler()), "`logux/` are the protocol's"),
        (
            everybody(()).channel("*", channel()).channel("a", channel()),
            r#""a" is never asked, for "*""#,
        ),
        (
            everybody(()).channel("a/:x", channel()).channel("a/:y", channel()),
            r#""a/:y" is never asked"#,
        ),
        (everybody(()).on("a/*", handler()).on("a/:x/*", handler()), r#""a/:x/*" is never"#),
        (everybody(()).on("a", handler().queue("a b")), r#"the name "a b""#),
        (everybody(()).channel("a", channel().queue("")), r#"the name """#),
    ] {
        let error = TestApp::start(app).await.unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let app = everybody(()).on("a/*", handler()).on("a/b", handler()).on(":a/b", handler());
    let app = app.channel("a", channel()).channel("v:a", channel()).channel(":a", channel());
    assert!(app.check().is_ok());
    for (first, second) in [("users/:id", "users/*"), (":a/:b", "x/*"), (":name", "*")] {
        let app = everybody(()).channel(first, channel()).channel(second, channel());
        assert!(app.check().is_ok(), "{first} {second}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_connect_auth_says_and_one_connection_of_a_client_stays() {
    let app = App::new(async |login| login.token_is("secret"));
    let test = TestApp::start(app).await.unwrap();
    let token = || SyncOptions::new().credentials("secret");
    assert!(matches!(test.client("ann:1").await, Err(TestError::NotLetIn(Some(_)))));
    for name in ["server:1", "server"] {
        assert!(
            matches!(test.client_with(name, token()).await, Err(TestError::NotLetIn(_))),
            "{name}"
        );
    }
    let first = test.client_with("ann:1:a", token()).await.unwrap();
    let other = test.client_with("ann:2:a", token()).await.unwrap();
    assert_eq!(test.connections(), 2);
    let second = test.client_with("ann:1:b", token()).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(first.session().state(), logux_sync::State::Disconnected);
    for client in [&second, &other] {
        assert_eq!(client.session().state(), logux_sync::State::Synchronized);
    }
}

/// What comes while others are undone is not of them.
#[tokio::test(start_paused = true)]
async fn an_undo_reaches_what_waited_and_nothing_later() {
    let seen = Seen::default();
    let test = TestApp::start(renames(seen.clone())).await.unwrap();
    let ann = test.client("ann:1:tab").await.unwrap();
    let (one, two) = (rename("ann", "slow"), rename("ann", ""));
    ann.log().add_batch([one, two, rename("ann", "with it")]).await.unwrap();
    ann.log().add(json!({ "type": "logux/unsubscribe", "channel": "users/ann" })).await.unwrap();
    sleep(Duration::from_secs(49)).await;
    // These come while the first is slow, and so wait, too.
    ann.log().add(rename("ann", "waits, too")).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    for n in 0..20 {
        ann.process(rename("ann", &format!("later {n}"))).await.unwrap();
    }
    let entries = ann.log().entries_after(logux_sync::Added::ZERO, 1_000).await.unwrap();
    let undone = entries.iter().filter(|entry| entry.event["type"] == "logux/undo").count();
    assert_eq!(undone, 3, "the empty name and the two that waited; to leave is always done");
    assert_eq!(seen.take().len(), 21);
}

/// A client may send an event twice, as two: it is handled once, and stays.
#[tokio::test(start_paused = true)]
async fn an_event_that_waits_in_two_queues_is_handled_once() {
    let seen = Seen::default();
    let app = everybody(seen.clone())
        .on(
            "work",
            Handler::access(async || true).process(async |State(seen): State<Seen>| {
                sleep(Duration::from_secs(1)).await;
                seen.note("work");
            }),
        )
        .on("refused", Handler::access(async || false).queue("aside"));
    let test = TestApp::start(app).await.unwrap();
    let id: logux_sync::EventId = "OzcVoWD ann:1".parse().unwrap();
    let draft = |kind: &str| logux_sync::Draft::new(json!({ "type": kind })).id(id.clone());
    for queues in [["app:main:ann:1", "app:aside:ann:1"], ["app:aside:ann:1", "app:main:ann:1"]] {
        let kinds = queues.map(|queue| if queue.contains("main") { "work" } else { "refused" });
        for (queue, kind) in queues.iter().zip(kinds) {
            test.log().hand_in(queue, [draft(kind)]).await.unwrap();
        }
        sleep(Duration::from_secs(5)).await;
        assert_eq!(test.log().inboxes().await.unwrap(), [""; 0]);
        let kept = test.log().by_id(&id).await.unwrap();
        assert_eq!(kept.map(|kept| kept.event.clone()), Some(json!({ "type": "work" })));
        assert_eq!(seen.take().len(), usize::from(queues[0].contains("main")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_callback_says_where_an_event_goes_beside_its_route() {
    let app = everybody(())
        .on(
            "say",
            Handler::access(async || true).route(async || "hall").process(
                async |context: Context| -> Result<(), Undo> {
                    context.route_to(["attic", "hall"]);
                    Ok(())
                },
            ),
        )
        .channel("*", Channel::access(async || true));
    let test = TestApp::start(app).await.unwrap();
    let (ann, ben) = (test.client("ann:1").await.unwrap(), test.client("ben:1").await.unwrap());
    ben.subscribe("attic").await.unwrap();
    ann.process(json!({ "type": "say" })).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(ben.received().await.unwrap(), [json!({ "type": "say" })]);
    let entries = test.log().entries_after(logux_sync::Added::ZERO, 10).await.unwrap();
    let said = entries.iter().find(|entry| entry.event["type"] == "say").unwrap();
    assert_eq!(said.meta.indexes, ["channel:hall", "channel:attic"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_speaks_for_the_server() {
    let all = || Handler::access(async || true).route(async || "hall");
    for app in [everybody(()).on("*", all()), everybody(()).otherwise(all())] {
        let test = TestApp::start(app.channel("*", Channel::access(async || true))).await.unwrap();
        let (ann, ben) = (test.client("ann:1").await.unwrap(), test.client("ben:1").await.unwrap());
        ann.subscribe("hall").await.unwrap();
        ann.process(json!({ "type": "say" })).await.unwrap();
        for kind in ["undo", "processed", "subscribed", "", "other/type"] {
            let event = json!({ "type": format!("logux/{kind}"), "id": "1 ann:1 0" });
            assert_eq!(undone(ben.process(event).await)["reason"], "unknownType", "{kind}");
        }
        sleep(Duration::from_secs(1)).await;
        assert!(ann.received().await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_has_bounds() {
    let app = everybody(()).on(
        "say",
        Handler::access(async || true).route(async |context: Context| {
            let count = context.event()["count"].as_u64().unwrap();
            let length = context.event()["length"].as_u64().unwrap();
            let name = "x".repeat(usize::try_from(length).unwrap());
            (0..count).map(|n| format!("{name}{n}")).collect::<Vec<_>>()
        }),
    );
    let test = TestApp::start(app).await.unwrap();
    let ann = test.client("ann:1").await.unwrap();
    let say = |count: u64, length: u64| json!({ "type": "say", "count": count, "length": length });
    ann.process(say(10_000, 10)).await.unwrap();
    ann.process(say(1, 990)).await.unwrap();
    for event in [say(10_001, 10), say(1, 2_000)] {
        assert_eq!(undone(ann.process(event).await)["reason"], "error");
    }
}
