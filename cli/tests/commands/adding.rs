//! `add`.

use serde_json::json;

use crate::program::{Folder, lines};

#[test]
fn an_event_is_confirmed_and_kept_by_the_server() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let done =
        folder.run(&["add", r#"{"type":"a","n":1}"#, r#"{"type":"b"}"#, "--server", &server.url]);
    let lines = done.lines();
    assert_eq!(lines.len(), 2);
    assert!(
        lines.iter().all(|line| line.contains(" anna:") && line.ends_with("  confirmed")),
        "{lines:?}"
    );
    let shown = folder.run(&["log", "show", &server.url, "--json"]);
    assert_eq!(shown.events(), [json!({ "type": "a", "n": 1 }), json!({ "type": "b" })]);
}

#[test]
fn each_codec_and_transport_reaches_the_server() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let by_http = server.url.replace("ws:", "http:");
    let mut expected = Vec::new();
    for url in [&server.url, &by_http] {
        for codec in ["json", "message-pack", "xml"] {
            let event = json!({ "type": "hello", "by": codec, "over": url });
            let done = folder.run(&["add", &event.to_string(), "--codec", codec, "--server", url]);
            assert_eq!(done.lines().len(), 1);
            expected.push(event);
        }
    }
    let shown = folder.run(&["log", "show", &server.url, "--json"]);
    assert_eq!(shown.events(), expected);
}

#[test]
fn lines_of_standard_input_are_added_until_one_is_wrong() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let input = "{\"type\":\"a\"}\n\n  {\"type\":\"b\"}  \n{\"no\":\"type\"}\n{\"type\":\"c\"}\n";
    let done = folder.run_with(&["add", "--server", &server.url], input);
    // Something was done.
    let failure = done.failure(1);
    assert!(failure.contains("line 4") && failure.contains("`type`"), "{failure}");
    assert!(failure.contains("the lines before it were added"), "{failure}");
    let shown = folder.run(&["log", "show", &server.url, "--json"]);
    assert_eq!(shown.events(), [json!({ "type": "a" }), json!({ "type": "b" })]);
}

#[test]
fn many_lines_are_added_in_their_order() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let events: Vec<_> = (0..5_000).map(|n| json!({ "type": "number", "n": n })).collect();
    let input = lines(events.iter().map(ToString::to_string));
    let done = folder.run_with(&["add", "--server", &server.url, "--json"], &input);
    assert_eq!(done.lines().len(), events.len());
    let shown = folder.run(&["log", "show", &server.url, "--json"]);
    assert_eq!(shown.events(), events);
}

#[test]
fn a_wrong_argument_adds_none_of_them() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    for (wrong, why) in [
        ("hello", "not JSON"),
        ("[1", "not JSON"),
        ("7", "`type`"),
        (r#"{"type":7}"#, "`type`"),
        (r#"{"type":"a","n":9007199254740993}"#, "9007199254740993"),
    ] {
        let done = folder.run(&["add", r#"{"type":"a"}"#, wrong, "--server", &server.url]);
        let failure = done.failure(2);
        assert!(failure.contains("event 2") && failure.contains(why), "{wrong}: {failure}");
    }
    let shown = folder.run(&["log", "show", &server.url]);
    assert_eq!(shown.lines(), [""; 0]);
}

#[test]
fn what_is_not_confirmed_is_kept_and_goes_with_the_next() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let (url, address) = (server.url.clone(), server.address().to_owned());
    server.kill();
    let add = |event: &str| folder.run(&["add", event, "--server", &url, "--timeout", "1s"]);
    let done = add(r#"{"type":"first"}"#);
    let failure = done.failure(3);
    assert!(failure.contains("did not confirm within 1 s"), "{failure}");
    assert!(failure.contains("the next `add` to this server sends it"), "{failure}");
    // Also while something is kept already; and of lines it says how many were read.
    add(r#"{"type":"first too"}"#).failure(3);
    let events = lines((0..2_500).map(|n| json!({ "type": "line", "n": n }).to_string()));
    let done = folder.run_with(&["add", "--server", &url, "--timeout", "1s"], &events);
    // As many as had come by the time that it looked.
    let read = done.events_read();
    assert!((1..=1_000).contains(&read), "{done:?}");
    let server = folder.serve(&["--address", &address]);
    let done = folder.run(&["add", r#"{"type":"second"}"#, "--server", &server.url]);
    let told = done.lines();
    assert_eq!(told.len(), read + 3);
    assert!(told[0].ends_with("  sent now") && told[read + 2].ends_with("  confirmed"), "{told:?}");
    let shown = folder.run(&["log", "show", &url, "--json"]);
    let events = shown.events();
    assert_eq!(events.len(), read + 3);
    assert_eq!(events[..2], [json!({ "type": "first" }), json!({ "type": "first too" })]);
    assert_eq!(events[read + 2], json!({ "type": "second" }));
}

#[test]
fn commands_that_run_at_once_have_names_of_their_own_which_are_used_again() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let add = |n: usize| {
        let event = json!({ "type": "number", "n": n }).to_string();
        folder.run(&["add", &event, "--server", &server.url])
    };
    std::thread::scope(|scope| {
        let adding: Vec<_> = (0..8).map(|n| scope.spawn(move || add(n))).collect();
        for adding in adding {
            assert_eq!(adding.join().expect("no panic").lines().len(), 1);
        }
    });
    for n in 8..16 {
        assert_eq!(add(n).lines().len(), 1);
    }
    let shown = folder.run(&["log", "show", &server.url, "--json"]);
    let mut numbers: Vec<_> =
        shown.events().iter().map(|event| event["n"].as_u64().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..16).collect::<Vec<_>>());
    let nodes: std::collections::BTreeSet<_> = shown
        .lines()
        .into_iter()
        .map(|line| {
            serde_json::from_str::<logux_sync::Value>(line).expect("JSON")["node"]
                .clone()
                .to_string()
        })
        .collect();
    assert!(nodes.len() <= 8, "{nodes:?}");
}

#[test]
fn what_commands_kept_that_ran_at_once_goes_with_the_next_one() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let (url, address) = (server.url.clone(), server.address().to_owned());
    server.kill();
    let add = |n: usize, more: &[&str]| {
        let event = json!({ "type": "number", "n": n }).to_string();
        folder.run(&[&["add", &event, "--server", &url], more].concat())
    };
    std::thread::scope(|scope| {
        for n in 0..4 {
            scope.spawn(move || assert_eq!(add(n, &["--timeout", "1s"]).code, Some(3)));
        }
    });
    let _server = folder.serve(&["--address", &address]);
    assert_eq!(add(4, &[]).lines().len(), 5);
    let shown = folder.run(&["log", "show", &url, "--json"]).events();
    let mut numbers: Vec<_> =
        shown.iter().map(|event| event["n"].as_u64().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
}

/// As `add | head -1` does.
#[cfg(unix)]
#[test]
fn all_is_added_although_nobody_reads_what_is_told_of_it() {
    use std::process::Stdio;

    let folder = Folder::new();
    let server = folder.serve(&[]);
    folder.write("events", &lines((0..3_000).map(|n| json!({ "type": "a", "n": n }).to_string())));
    let mut command = folder.command(&["add", "--server", &server.url]);
    let events = std::fs::File::open(folder.path("events")).expect("a file");
    let mut child = command
        .stdin(events)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert_eq!(folder.run(&["log", "show", &server.url, "--json"]).events().len(), 3_000);
}

#[test]
fn a_folder_of_somebody_elses_does_not_say_who_is_told_the_token() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    folder
        .write("logux-sync.toml", "[client]\nserver = \"ws://127.0.0.1:9\"\nuser = \"mallory\"\n");
    let mut command = folder.command(&["add", r#"{"type":"a"}"#]);
    command.env("LOGUX_SYNC_SERVER", &server.url).env("LOGUX_SYNC_TOKEN", "secret");
    let done = crate::program::finish(&mut command, "");
    assert!(done.lines()[0].contains(" anna:"), "{done:?}");
}
