//! `sync`.

use serde_json::json;

use crate::program::{Folder, Running};

#[test]
fn what_is_added_offline_goes_out_and_what_others_add_comes_in() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let (url, address) = (server.url.clone(), server.address().to_owned());
    assert_eq!(folder.run(&["add", r#"{"type":"theirs"}"#, "--server", &url]).lines().len(), 1);
    server.kill();
    let kept = folder.run(&["add", "--log", "notes.db", r#"{"type":"mine"}"#]);
    assert!(kept.lines()[0].ends_with("  kept"));
    let sync = ["sync", "notes.db", "--once", "--server", &url];
    let done = folder.run(&[&sync[..], &["--timeout", "1s"]].concat());
    assert!(done.failure(3).contains("nothing is lost"), "{done:?}");
    let server = folder.serve(&["--address", &address]);
    let done = folder.run(&sync);
    assert!(done.lines()[0].contains("2 events in the log"), "{done:?}");
    let here = folder.run(&["log", "show", "notes.db", "--json"]).events();
    assert_eq!(here, [json!({ "type": "mine" }), json!({ "type": "theirs" })]);
    let there = folder.run(&["log", "show", &server.url, "--json"]).events();
    assert_eq!(there, [json!({ "type": "theirs" }), json!({ "type": "mine" })]);
    // Again: nothing comes or goes twice.
    assert!(folder.run(&sync).lines()[0].contains("0 events sent"));
}

#[cfg(unix)]
#[test]
fn it_goes_on_until_it_is_told_to_end() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let (url, address) = (server.url.clone(), server.address().to_owned());
    let mut syncing = Running::start(&mut folder.command(&["sync", "notes.db", "--server", &url]));
    let says = |syncing: &Running, text: &str| while !syncing.line().starts_with(text) {};
    says(&syncing, "synchronized, 0 events");
    assert_eq!(folder.run(&["add", r#"{"type":"a"}"#, "--server", &url]).lines().len(), 1);
    server.kill();
    says(&syncing, "error: the connection was lost");
    let _server = folder.serve(&["--address", &address]);
    says(&syncing, "synchronized, 1 events");
    syncing.signal("TERM");
    assert_eq!(syncing.code(), Some(0));
    assert_eq!(folder.run(&["log", "show", "notes.db", "--json"]).events().len(), 1);
}

#[test]
fn a_log_of_another_user_is_not_sent_as_this_one() {
    let folder = Folder::new();
    assert_eq!(folder.run(&["add", "--log", "notes.db", r#"{"type":"a"}"#]).lines().len(), 1);
    let done = folder.run(&["sync", "notes.db", "--user", "bert"]);
    let failure = done.failure(2);
    assert!(failure.contains("anna:") && failure.contains("\"bert\""), "{failure}");
}

#[test]
fn what_the_server_refuses_is_said() {
    let folder = Folder::new();
    let server = folder.serve(&["--max-event", "2000"]);
    let large = json!({ "type": "large", "text": "x".repeat(5_000) }).to_string();
    for event in [large.as_str(), r#"{"type":"small"}"#] {
        assert_eq!(folder.run(&["add", "--log", "notes.db", event]).lines().len(), 1);
    }
    let done = folder.run(&["sync", "notes.db", "--once", "--server", &server.url]);
    assert!(done.failure(4).contains("refused 1 events"), "{done:?}");
    assert!(done.output.starts_with("refused: "), "{done:?}");
    let there = folder.run(&["log", "show", &server.url, "--json"]).events();
    assert_eq!(there, [json!({ "type": "small" })]);
    let done = folder.run(&["add", &large, "--server", &server.url]);
    assert!(done.failure(4).contains("refused 1 of the events"), "{done:?}");
    assert!(done.output.contains("refused: "), "{done:?}");
}
