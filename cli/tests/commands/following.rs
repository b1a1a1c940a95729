//! `follow`.

use serde_json::{Value, json};

use crate::program::{Folder, Running};

fn add(folder: &Folder, url: &str, n: u64) {
    let event =
        json!({ "type": if n.is_multiple_of(2) { "even" } else { "odd" }, "n": n }).to_string();
    assert_eq!(folder.run(&["add", &event, "--server", url]).lines().len(), 1);
}

fn number(line: &str) -> u64 {
    let line: Value = serde_json::from_str(line).expect("a line of JSON");
    line["event"]["n"].as_u64().expect("a number")
}

#[test]
fn events_appear_as_they_come_and_a_restart_of_the_server_loses_none() {
    let folder = Folder::new();
    let mut server = folder.serve(&[]);
    let (url, address) = (server.url.clone(), server.address().to_owned());
    let follow = ["follow", "--since", "start", "--json", "--server", &url];
    let following = Running::start(&mut folder.command(&follow));
    for n in 0..4 {
        add(&folder, &url, n);
        if n == 2 {
            // It comes to a server that has more than it saw.
            server.kill();
            server = folder.serve(&["--address", &address]);
            add(&folder, &url, 100);
            assert_eq!(number(&following.line()), 2);
            assert_eq!(number(&following.line()), 100);
        } else {
            assert_eq!(number(&following.line()), n);
        }
    }
}

#[test]
fn it_begins_where_it_is_told() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    for n in 1..=5 {
        add(&folder, &server.url, n);
    }
    let follow = |since: &str, more: &[&str]| {
        let arguments = ["follow", "--json", "--server", &server.url, "--since", since];
        let done = folder.run(&[&arguments, more].concat());
        done.lines().into_iter().map(number).collect::<Vec<_>>()
    };
    assert_eq!(follow("start", &["--count", "5"]), [1, 2, 3, 4, 5]);
    assert_eq!(follow("3", &["--count", "2"]), [4, 5]);
    assert_eq!(follow("10m", &["--count", "5"]), [1, 2, 3, 4, 5]);
    assert_eq!(follow("start", &["--count", "2", "--type", "even"]), [2, 4]);
    assert_eq!(follow("2020-01-01", &["--count", "1", "--type", "odd"]), [1]);
}

#[test]
fn from_now_on_it_shows_what_is_new_only() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    add(&folder, &server.url, 1);
    let following =
        Running::start(&mut folder.command(&["follow", "--json", "--server", &server.url]));
    // It does not tell when it is there: more come until one appears, and from then on none is missing.
    let mut n = 1;
    let first = loop {
        n += 1;
        add(&folder, &server.url, n);
        if let Some(line) = following.line_if_there() {
            break number(&line);
        }
    };
    assert!(first > 1);
    add(&folder, &server.url, n + 1);
    for expected in first + 1..=n + 1 {
        assert_eq!(number(&following.line()), expected);
    }
}

#[test]
fn a_person_sees_what_happened_and_no_codes_of_the_terminal() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let event = r#"{"type":"note\u001b[31m","text":"a\u001bb\u007fc\u009bd\u202ee"}"#;
    assert_eq!(folder.run(&["add", event, "--server", &server.url]).lines().len(), 1);
    let arguments = ["follow", "--since", "start", "--count", "1", "--server", &server.url];
    let done = folder.run(&arguments);
    let line = done.lines()[0];
    assert!(line.contains("  anna  note\\u{1b}[31m "), "{line}");
    let hidden = ['\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}'];
    assert!(!line.contains(hidden), "{line}");
    assert!(
        hidden[1..].iter().all(|char| line.contains(&char.escape_unicode().to_string())),
        "{line}"
    );
    // A program gets what was written.
    let done = folder.run(&[&arguments[..], &["--json"]].concat());
    assert_eq!(done.events(), [serde_json::from_str::<Value>(event).expect("JSON")]);
}

#[test]
fn times_that_are_none_are_refused() {
    let folder = Folder::new();
    for wrong in ["yesterday", "-5m", "10 parsecs", "2026-13-01", "99999999999999999999", ""] {
        let done = folder.run(&["follow", &format!("--since={wrong}")]);
        assert_eq!(done.code, Some(2), "{wrong}: {done:?}");
        assert!(done.errors.contains("--since"), "{wrong}: {done:?}");
    }
}
