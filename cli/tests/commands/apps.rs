//! `serve` with channels and rules for events.

use serde_json::json;

use crate::client::Client;
use crate::program::{Folder, Running};

const NOTES: &str = r#"
[[serve.events]]
type = "notes/*"
allow = [":user", "admin"]
channels = ["notes/:user", "all"]

[[serve.events]]
type = "hello"
allow = ["*"]

[[serve.channels]]
name = "notes/:user"
allow = [":user", "admin"]

[[serve.channels]]
name = "all"
allow = ["admin"]
"#;

fn note(user: &str, n: u64) -> serde_json::Value {
    json!({ "type": "notes/add", "user": user, "n": n })
}

#[test]
fn channels_replay_from_the_log_and_go_on() {
    let folder = Folder::new();
    folder.write("logux-sync.toml", NOTES);
    let add = |server: &str, user: &str, event: &serde_json::Value| {
        folder.run(&["add", &event.to_string(), "--user", user, "--server", server]).lines().len()
    };
    let server = folder.serve(&[]);
    for (user, n) in [("anna", 1), ("bert", 2), ("anna", 3)] {
        assert_eq!(add(&server.url, user, &note(user, n)), 1);
    }
    server.kill();
    let server = folder.serve(&[]);
    let url = server.url.clone();
    let follow = |arguments: &[&str]| {
        let all = [&["follow", "--json", "--server", &url], arguments].concat();
        folder.command(&all)
    };
    let own = ["--user", "anna", "--channel", "notes/anna"];
    let past = [&own[..], &["--since", "start", "--count", "2"]].concat();
    let done = crate::program::finish(&mut follow(&past), "");
    assert_eq!(done.events(), [note("anna", 1), note("anna", 3)]);
    // From now on.
    let following = Running::start(&mut follow(&["--user", "admin", "--channel", "all"]));
    let mut n = 10;
    // Until it is subscribed.
    let first = loop {
        assert_eq!(add(&server.url, "bert", &note("bert", n)), 1);
        if let Some(line) = following.line_if_there() {
            break line;
        }
        n += 1;
    };
    assert!(first.contains("\"user\":\"bert\"") && !first.contains("\"n\":2"), "{first}");
    // After the server was away: all that was added meanwhile, each once.
    while following.line_if_there().is_some() {}
    let address = server.address().to_owned();
    server.kill();
    let server = folder.serve(&["--address", &address]);
    for n in [100, 101] {
        assert_eq!(add(&server.url, "bert", &note("bert", n)), 1);
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&101) {
        let line = following.line();
        let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        seen.push(event["event"]["n"].as_u64().expect("a number"));
    }
    assert!(seen.ends_with(&[100, 101]), "{seen:?}");
    let mut once = seen.clone();
    once.dedup();
    assert_eq!(once, seen, "each once");
    let done = crate::program::finish(&mut follow(&["--user", "anna", "--channel", "all"]), "");
    assert!(done.failure(4).contains("denied"), "{done:?}");
    let done = crate::program::finish(&mut follow(&["--channel", "nothing"]), "");
    assert!(done.failure(4).contains("wrongChannel"), "{done:?}");
    let done = crate::program::finish(&mut follow(&["--channel", "all", "--since", "7"]), "");
    assert!(done.failure(2).contains("--since"), "{done:?}");
}

#[test]
fn a_log_of_an_app_is_not_shown_to_everyone() {
    let folder = Folder::new();
    folder.write("logux-sync.toml", NOTES);
    let server = folder.serve(&[]);
    let event = note("anna", 1).to_string();
    assert_eq!(folder.run(&["add", &event, "--server", &server.url]).lines().len(), 1);
    server.kill();
    folder.write("logux-sync.toml", "");
    let done = folder.run(&["serve", "--address", "127.0.0.1:0", "--operations", "none"]);
    assert!(done.failure(2).contains("--send-everything"), "{done:?}");
    let server = folder.serve(&["--send-everything"]);
    // And who wants a channel of a server without any is told so, and shown nothing else.
    let follow = ["follow", "--channel", "all", "--since", "start", "--server", &server.url];
    let done = folder.run(&follow);
    assert!(done.failure(2).contains("has no channels") && done.output.is_empty(), "{done:?}");
    assert!(!folder.run(&["log", "show", &server.url]).output.contains("logux/subscribe"));
}

#[tokio::test]
async fn who_may_not_is_undone_and_nobody_else_hears_of_it() {
    let folder = Folder::new();
    folder.write("logux-sync.toml", NOTES);
    let server = folder.serve(&["--store", "memory"]);
    let anna = Client::connect(&server.url, "anna:1").await;
    let admin = Client::connect(&server.url, "admin:1").await;
    assert_eq!(admin.subscribe("all").await, "processed");
    assert_eq!(anna.subscribe("notes/anna").await, "processed");
    for (event, expected) in [
        (note("bert", 1), "denied"),
        (json!({ "type": "other" }), "unknownType"),
        (json!({ "type": "notes/add" }), "denied"),
        (json!({ "type": "notes/add", "user": "anna/x" }), "denied"),
        (json!({ "type": "logux/subscribe", "channel": "notes/bert" }), "denied"),
        (json!({ "type": "logux/subscribe", "channel": "all" }), "denied"),
        (json!({ "type": "logux/subscribe", "channel": "notes/anna/x" }), "wrongChannel"),
        (json!({ "type": "logux/processed", "id": "1 admin:1 0" }), "unknownType"),
        (json!({ "type": "hello" }), "processed"),
        (note("anna", 2), "processed"),
    ] {
        assert_eq!(anna.process(event.clone()).await, expected, "{event}");
    }
    // Where a channel's name cannot be made.
    let undo = admin.answer(json!({ "type": "notes/add", "user": "anna/x" })).await;
    assert_eq!([&undo["reason"], &undo["field"]], ["wrongFormat", "user"]);
    assert_eq!(admin.process(note("anna", 3)).await, "processed");
    assert_eq!(anna.wait_for("notes/add", 1).await, [note("anna", 3)]);
    assert_eq!(admin.wait_for("notes/add", 1).await, [note("anna", 2)]);
    assert!(admin.of_type("hello").await.is_empty());
}
