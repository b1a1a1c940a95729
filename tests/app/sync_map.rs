//! Objects whose fields clients change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use logux_sync::app::{
    App, Client, Context, Fields, MapState, Path, State, SyncMap, TestApp, TestClient, Undo,
};
use logux_sync::{Timestamp, Value};
use serde_json::json;
use tokio::time::sleep;

use crate::handlers::{everybody, undone};

/// The fields of all tasks, and when each was changed.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<BTreeMap<String, Task>>>);

type Task = BTreeMap<String, (Value, Timestamp)>;

impl Tasks {
    fn put(&self, id: &str, fields: &Fields, time: Timestamp) {
        let mut tasks = self.0.lock().unwrap();
        let task = tasks.entry(id.to_owned()).or_default();
        for (field, value) in &fields.0 {
            task.insert(field.clone(), (value.clone(), time));
        }
    }

    fn state(&self, id: &str) -> Option<MapState> {
        let tasks = self.0.lock().unwrap();
        let fields = tasks.get(id)?.iter();
        Some(fields.fold(MapState::new(), |state, (field, (value, time))| {
            state.changed_at(field, value.clone(), *time)
        }))
    }
}

fn kept_elsewhere(tasks: Tasks) -> App<Tasks> {
    let map = SyncMap::access(async |Path(id): Path<String>, client: Client| {
        id != "secret" || client.is_of("ann")
    })
    .create(
        async |State(tasks): State<Tasks>,
               Path(id): Path<String>,
               fields: Fields,
               context: Context| {
            tasks.put(&id, &fields, context.time());
        },
    )
    .change(
        async |State(tasks): State<Tasks>,
               Path(id): Path<String>,
               fields: Fields,
               context: Context| {
            tasks.put(&id, &fields, context.time());
        },
    )
    .delete(async |State(tasks): State<Tasks>, Path(id): Path<String>| {
        tasks.0.lock().unwrap().remove(&id);
    })
    .load(async |State(tasks): State<Tasks>, Path(id): Path<String>| {
        tasks.state(&id).ok_or_else(Undo::not_found)
    })
    .list(
        async || true,
        async |State(tasks): State<Tasks>| {
            let ids: Vec<String> = tasks.0.lock().unwrap().keys().cloned().collect();
            let of = |id: String| Some((id.clone(), tasks.state(&id)?));
            ids.into_iter().filter_map(of).collect::<Vec<_>>()
        },
    );
    everybody(tasks).sync_map("tasks", map)
}

fn create(id: &str, fields: &Value) -> Value {
    json!({ "type": "tasks/create", "id": id, "fields": fields })
}

fn change(id: &str, fields: &Value) -> Value {
    json!({ "type": "tasks/change", "id": id, "fields": fields })
}

async fn came(client: &TestClient) -> Vec<Value> {
    sleep(Duration::from_secs(1)).await;
    client.received().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn objects_are_kept_by_callbacks_and_changes_reach_the_others() {
    let tasks = Tasks::default();
    let test = TestApp::start(kept_elsewhere(tasks.clone())).await.unwrap();
    let (ann, ben) = (test.client("ann:1").await.unwrap(), test.client("ben:1").await.unwrap());
    let changed = |fields: Value| json!({ "type": "tasks/changed", "id": "1", "fields": fields });
    assert_eq!(undone(ben.subscribe("tasks/1").await.map(drop))["reason"], "notFound");
    assert_eq!(undone(ben.subscribe("tasks/secret").await.map(drop))["reason"], "denied");
    ann.subscribe_to(json!({ "channel": "tasks/1", "creating": true })).await.unwrap();
    ann.process(create("1", &json!({ "text": "one" }))).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    ann.process(change("1", &json!({ "done": true }))).await.unwrap();
    let loaded = ben.subscribe("tasks/1").await.unwrap();
    // One event for each time at which something changed, which may be the same millisecond.
    let fields = loaded.iter().flat_map(|event| event["fields"].as_object().unwrap().clone());
    let fields = Value::Object(fields.collect());
    assert_eq!(fields, json!({ "text": "one", "done": true }));
    assert!(loaded.iter().all(|event| event["type"] == "tasks/changed" && event["id"] == "1"));
    ben.received().await.unwrap();
    ann.process(change("1", &json!({ "text": "two" }))).await.unwrap();
    assert_eq!(came(&ben).await, [changed(json!({ "text": "two" }))]);
    assert_eq!(came(&ann).await, [] as [Value; 0], "who made it has it");
    // The event that tells others has the time of the one that asked.
    let entries = ben.log().entries_after(logux_sync::Added::ZERO, 1_000).await.unwrap();
    let told = entries.last().unwrap();
    let asked = ann.log().entries_after(logux_sync::Added::ZERO, 1_000).await.unwrap();
    let asked = asked.iter().rev().find(|entry| entry.event["type"] == "tasks/change").unwrap();
    assert_eq!(told.meta.time, asked.meta.time);
    let undo = undone(ben.process(create("secret", &json!({}))).await);
    assert_eq!(undo["reason"], "denied");
    for id in [json!(1), json!(""), json!("a/b"), Value::Null] {
        let undo =
            undone(ann.process(json!({ "type": "tasks/change", "id": id, "fields": {} })).await);
        assert_eq!(undo["reason"], "wrongFormat", "{id}");
    }
    assert_eq!(undone(ann.process(change("1", &json!(7))).await)["reason"], "wrongFormat");
    for kind in ["created", "changed", "deleted"] {
        let event = json!({ "type": format!("tasks/{kind}"), "id": "1", "fields": {} });
        assert_eq!(undone(ann.process(event).await)["reason"], "denied", "{kind}");
    }
    ann.process(json!({ "type": "tasks/delete", "id": "1" })).await.unwrap();
    assert_eq!(came(&ben).await, [json!({ "type": "tasks/deleted", "id": "1" })]);
    assert!(tasks.0.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_lists_objects_sees_those_that_fit_its_filter() {
    let test = TestApp::start(kept_elsewhere(Tasks::default())).await.unwrap();
    let (ann, ben) = (test.client("ann:1").await.unwrap(), test.client("ben:1").await.unwrap());
    ann.process(create("1", &json!({ "list": "a" }))).await.unwrap();
    let wanted = json!({ "channel": "tasks", "filter": { "list": "a" } });
    let loaded = ben.subscribe_to(wanted).await.unwrap();
    // `@logux/client` subscribes by itself to an object of which it is told before.
    let told = [
        json!({ "type": "logux/subscribed", "channel": "tasks/1" }),
        json!({ "type": "tasks/changed", "id": "1", "fields": { "list": "a" } }),
    ];
    assert_eq!(loaded, told);
    ben.received().await.unwrap();
    ann.process(create("2", &json!({ "list": "b" }))).await.unwrap();
    ann.process(create("3", &json!({ "list": "a" }))).await.unwrap();
    ann.process(change("3", &json!({ "text": "x" }))).await.unwrap();
    ann.process(change("2", &json!({ "list": "a" }))).await.unwrap();
    ann.process(change("1", &json!({ "list": "b" }))).await.unwrap();
    ann.process(json!({ "type": "tasks/delete", "id": "1" })).await.unwrap();
    let came: Vec<_> =
        came(&ben).await.iter().map(|event| format!("{} {}", event["type"], event["id"])).collect();
    let expected = [
        r#""tasks/created" "3""#,
        r#""tasks/changed" "3""#,
        r#""tasks/changed" "2""#,
        // It is subscribed to this one by itself.
        r#""tasks/changed" "1""#,
        r#""tasks/deleted" "1""#,
    ];
    assert_eq!(came, expected);
}

#[tokio::test(start_paused = true)]
async fn from_the_log_nothing_else_is_needed() {
    let map = SyncMap::access(async || true).from_log();
    let test = TestApp::start(everybody(()).sync_map("tasks", map)).await.unwrap();
    let ann = test.client("ann:1:a").await.unwrap();
    ann.process(create("1", &json!({ "text": "one" }))).await.unwrap();
    ann.process(change("1", &json!({ "done": true }))).await.unwrap();
    ann.process(create("2", &json!({ "text": "two" }))).await.unwrap();
    for name in ["ben:1", "ann:1:reloaded"] {
        let client = test.client(name).await.unwrap();
        let expected = [
            json!({ "type": "tasks/created", "id": "1", "fields": { "text": "one" } }),
            json!({ "type": "tasks/changed", "id": "1", "fields": { "done": true } }),
        ];
        assert_eq!(client.subscribe("tasks/1").await.unwrap(), expected, "{name}");
    }
}
