//! When the type of events changes: each cell of the table in the documentation of `Open`. A server with
//! another version of the program stands between two clients of one version; everything that the writer
//! sends is looked at in the server's log and at the reader.

use std::sync::Arc;

use logux_sync::{
    Added, BaseSync, Entry, Event, Log, MemoryStore, Open, Role, State, SyncOptions, Value,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cells::Cell;

on_every_codec! {
    an_unknown_variant,
    an_unknown_variant_where_others_are_taken_for_one,
    an_unknown_field,
    a_missing_field,
    a_missing_field_that_has_a_default,
    a_renamed_field,
    a_field_of_another_type,
    filters_see_both_the_event_and_its_view,
}

/// What the server has of one event of a client's, and what another client gets of it.
#[derive(Debug, PartialEq)]
struct Outcome<V> {
    /// The typed view in the server's log; `None` if the event is not in the log.
    view: Option<V>,
    is_set_aside: bool,
    /// At the other client.
    passed_on: Option<Value>,
}

async fn log<E: Event>(node: &str) -> Log<E> {
    Log::open(node.parse().unwrap(), MemoryStore::new()).await.unwrap()
}

async fn send<C: Cell, E: Event, V>(event: Value, view: impl Fn(&E) -> V) -> Outcome<V> {
    let (writer, server, reader) = (
        log::<Value>("10:writer").await,
        log::<E>("server").await,
        log::<Value>("11:reader").await,
    );
    writer.add(event).await.unwrap();
    let mut sessions = Vec::new();
    for client in [&writer, &reader] {
        let (near, far) = C::pair().await;
        let session = BaseSync::new(client, C::CODEC, Role::Opener, near).start();
        sessions.push(BaseSync::new(&server, C::CODEC, Role::Acceptor, far).start());
        session.wait_for(State::Synchronized).await.unwrap();
        sessions.push(session);
    }
    let at_server = server.entries_after(Added::ZERO, 9).await.unwrap();
    let at_reader = reader.entries_after(Added::ZERO, 9).await.unwrap();
    Outcome {
        view: at_server.first().map(|entry| view(&entry.event)),
        is_set_aside: !server.set_aside().await.unwrap().is_empty(),
        passed_on: at_reader.first().map(|entry| entry.event.clone()),
    }
}

/// Sends an event through a server of plain `E`, and through one of `Open<E>`.
async fn both<C: Cell, E: Event + Clone>(event: &Value) -> (Outcome<E>, Outcome<Option<E>>) {
    let plain = send::<C, E, E>(event.clone(), E::clone).await;
    let open = send::<C, Open<E>, Option<E>>(event.clone(), |open| open.event().cloned()).await;
    (plain, open)
}

fn taken<V>(view: V, passed_on: Value) -> Outcome<V> {
    Outcome { view: Some(view), is_set_aside: false, passed_on: Some(passed_on) }
}

fn set_aside<V>() -> Outcome<V> {
    Outcome { view: None, is_set_aside: true, passed_on: None }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Strict {
    #[serde(rename = "add")]
    Add { text: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Loose {
    #[serde(rename = "add")]
    Add {
        #[serde(alias = "label")]
        text: String,
        #[serde(default)]
        color: u8,
    },
    #[serde(other)]
    Unknown,
}

fn add(text: &str) -> Strict {
    Strict::Add { text: text.to_owned() }
}

fn loose(text: &str, color: u8) -> Loose {
    Loose::Add { text: text.to_owned(), color }
}

async fn an_unknown_variant<C: Cell>() {
    let star = json!({ "type": "star", "n": 7, "deep": { "a": [1.5, null, "é"] } });
    assert_eq!(both::<C, Strict>(&star).await, (set_aside(), taken(None, star)));
}

async fn an_unknown_variant_where_others_are_taken_for_one<C: Cell>() {
    let star = json!({ "type": "star", "n": 7 });
    let lost = json!({ "type": "Unknown" });
    let expected = (taken(Loose::Unknown, lost), taken(Some(Loose::Unknown), star.clone()));
    assert_eq!(both::<C, Loose>(&star).await, expected);
}

async fn an_unknown_field<C: Cell>() {
    let new = json!({ "type": "add", "text": "a", "color": "red" });
    let stripped = json!({ "type": "add", "text": "a" });
    let expected = (taken(add("a"), stripped), taken(Some(add("a")), new.clone()));
    assert_eq!(both::<C, Strict>(&new).await, expected);
}

async fn a_missing_field<C: Cell>() {
    let old = json!({ "type": "add", "name": "a" });
    assert_eq!(both::<C, Strict>(&old).await, (set_aside(), taken(None, old)));
}

async fn a_missing_field_that_has_a_default<C: Cell>() {
    let old = json!({ "type": "add", "text": "a" });
    let filled = json!({ "type": "add", "text": "a", "color": 0 });
    let expected = (taken(loose("a", 0), filled), taken(Some(loose("a", 0)), old.clone()));
    assert_eq!(both::<C, Loose>(&old).await, expected);
}

async fn a_renamed_field<C: Cell>() {
    let old = json!({ "type": "add", "label": "a", "color": 1 });
    let renamed = json!({ "type": "add", "text": "a", "color": 1 });
    let expected = (taken(loose("a", 1), renamed), taken(Some(loose("a", 1)), old.clone()));
    assert_eq!(both::<C, Loose>(&old).await, expected);
}

async fn a_field_of_another_type<C: Cell>() {
    let other = json!({ "type": "add", "text": 5 });
    assert_eq!(both::<C, Strict>(&other).await, (set_aside(), taken(None, other)));
}

async fn filters_see_both_the_event_and_its_view<C: Cell>() {
    let (client, server) = (log::<Value>("10:client").await, log::<Open<Strict>>("server").await);
    let events = [
        json!({ "type": "add", "text": "public" }),
        json!({ "type": "add", "text": "secret" }),
        json!({ "type": "star", "list": "mine" }),
        json!({ "type": "star", "list": "yours" }),
    ];
    client.add_batch(events).await.unwrap();
    let options = SyncOptions::new().in_filter(async |entry: Arc<Entry<Open<Strict>>>, _| {
        Ok(match entry.event.event() {
            Some(Strict::Add { text }) => text == "public",
            None => entry.event.value()["list"] == "mine",
        })
    });
    let (near, far) = C::pair().await;
    let session = BaseSync::new(&client, C::CODEC, Role::Opener, near).start();
    let _server = BaseSync::new(&server, C::CODEC, Role::Acceptor, far).options(options).start();
    session.wait_for(State::Synchronized).await.unwrap();
    let entries = server.entries_after(Added::ZERO, 9).await.unwrap();
    let kept: Vec<_> = entries.iter().map(|entry| entry.event.value().into_owned()).collect();
    let expected =
        [json!({ "type": "add", "text": "public" }), json!({ "type": "star", "list": "mine" })];
    assert_eq!(kept, expected);
}

#[derive(Serialize, Deserialize, Clone, Debug)]
struct Small {
    small: f32,
}

#[test]
fn what_came_equals_what_was_made_if_a_peer_reads_the_same() {
    let made = Open::new(Small { small: 0.1 });
    let came: Open<Small> = serde_json::from_str(&serde_json::to_string(&made).unwrap()).unwrap();
    assert_eq!(made, came);
    assert_eq!(came, made);
    assert_ne!(made, Open::new(Small { small: 0.2 }));
    assert_ne!(came, Open::new(Small { small: 0.2 }));
    // What cannot be written equals nothing.
    let never = || Open::new(std::collections::BTreeMap::from([(vec![1], 1)]));
    assert!(serde_json::to_value(never()).is_err());
    assert_ne!(never(), never());
}
