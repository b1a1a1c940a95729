//! `log`.

use serde_json::{Value, json};

use crate::program::{Folder, lines};

/// A folder with a log of so many events.
fn filled(count: u64) -> Folder {
    let folder = Folder::new();
    let events = lines((0..count).map(|n| json!({ "type": "number", "n": n }).to_string()));
    let done = folder.run_with(&["add", "--log", "logux-sync.db"], &events);
    assert_eq!(done.lines().len() as u64, count);
    folder
}

fn numbers(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["n"].as_u64().expect("a number")).collect()
}

#[test]
fn events_are_shown_by_place_time_type_and_user() {
    let folder = filled(5);
    let show =
        |more: &[&str]| numbers(&folder.run(&[&["log", "show", "--json"], more].concat()).events());
    assert_eq!(show(&[]), [0, 1, 2, 3, 4]);
    assert_eq!(show(&["--last", "2"]), [3, 4]);
    assert_eq!(show(&["--since", "3"]), [3, 4]);
    assert_eq!(show(&["--since", "1h"]), [0, 1, 2, 3, 4]);
    assert_eq!(show(&["--since", "1"]), [1, 2, 3, 4]);
    assert_eq!(show(&["--since", "2", "--last", "9"]), [2, 3, 4]);
    assert_eq!(show(&["--type", "other"]), [0; 0]);
    assert_eq!(show(&["--by", "anna", "--last", "1"]), [4]);
    assert_eq!(show(&["--by", "bert"]), [0; 0]);
    let found = folder.run(&["log", "search", "\"N\":3", "--json"]).events();
    assert_eq!(numbers(&found), [3]);
}

#[test]
fn a_copy_makes_the_same_log_elsewhere() {
    let folder = filled(1_000);
    assert_eq!(folder.run(&["log", "export", "--output", "copy.jsonl"]).code, Some(0));
    assert_eq!(folder.run(&["log", "import", "new.db", "--input", "copy.jsonl"]).code, Some(0));
    let ids = |log: &str| folder.run(&["log", "show", log]).output;
    assert_eq!(ids("logux-sync.db"), ids("new.db"));
    // Again: all are known.
    let again = folder.run(&["log", "import", "new.db", "--input", "copy.jsonl"]);
    assert!(
        again.errors.contains("0 events added") && again.errors.contains("1000 were there"),
        "{again:?}"
    );
    let whole = folder.run(&["log", "verify", "new.db"]);
    assert!(whole.lines()[0].contains("1000 events, the last position is 1000"), "{whole:?}");
    // By pipes, and from a server.
    let copy = folder.run(&["log", "export", "new.db"]);
    assert_eq!(folder.run_with(&["log", "import", "third.db"], &copy.output).code, Some(0));
    let server = folder.serve(&["--store", "sqlite:third.db"]);
    let fetched = folder.run(&["log", "export", &server.url]).output;
    assert_eq!(fetched.lines().count(), 1_002);
}

#[test]
fn a_copy_writes_over_nothing_and_one_that_is_cut_off_is_told() {
    let folder = filled(3);
    folder.write("copy.jsonl", "precious");
    let done = folder.run(&["log", "export", "--output", "copy.jsonl"]);
    assert!(done.failure(1).contains("copy.jsonl"), "{done:?}");
    let copy = folder.run(&["log", "export"]).output;
    let cut = lines(copy.lines().take(3));
    let done = folder.run_with(&["log", "import", "new.db"], &cut);
    assert!(done.failure(1).contains("ends before its last line"), "{done:?}");
    assert_eq!(folder.run(&["log", "show", "new.db", "--json"]).events().len(), 2);
    let done = folder.run_with(&["log", "import", "new.db"], "precious");
    assert!(done.failure(1).contains("line 1"), "{done:?}");
}

#[test]
fn old_events_are_removed() {
    let folder = filled(10);
    let prune = |more: &[&str]| folder.run(&[&["log", "prune"], more].concat());
    assert_eq!(prune(&["--older-than", "1h"]).code, Some(0));
    assert_eq!(prune(&["--keep", "4"]).errors.trim(), "6 events removed, 4 are left");
    assert_eq!(prune(&["--older-than", "0s"]).errors.trim(), "4 events removed, 0 are left");
    assert_eq!(prune(&[]).code, Some(2));
}

#[test]
fn damage_is_found() {
    let folder = filled(2_000);
    let path = folder.path("logux-sync.db");
    let whole = std::fs::read(&path).expect("a log");
    let mut damaged = whole.clone();
    // A page in the middle of the file.
    let page = damaged.len() / 2 / 4096 * 4096;
    damaged[page..page + 4096].fill(0xA5);
    std::fs::write(&path, &damaged).expect("a file");
    let done = folder.run(&["log", "verify"]);
    assert_eq!(done.code, Some(5), "{done:?}");
    assert!(done.errors.contains("put back a copy"), "{done:?}");
    std::fs::write(&path, &whole).expect("a file");
    assert_eq!(folder.run(&["log", "verify"]).code, Some(0));
}

#[test]
fn what_is_no_log_is_said_and_left_as_it_is() {
    let folder = Folder::new();
    folder.write("notes.txt", "these are my notes");
    for command in [&["show"][..], &["verify"], &["export"], &["prune", "--keep", "1"]] {
        let (name, more) = command.split_first().expect("a command");
        let done = folder.run(&[&["log", name, "notes.txt"], more].concat());
        assert!(done.failure(1).contains("not a log"), "{name}: {done:?}");
        let done = folder.run(&[&["log", name, "missing.db"], more].concat());
        assert!(done.failure(1).contains("there is no log at missing.db"), "{name}: {done:?}");
    }
    let done = folder.run(&["add", "--log", "notes.txt", r#"{"type":"a"}"#]);
    assert!(done.failure(1).contains("not a log"), "{done:?}");
    let kept = std::fs::read_to_string(folder.path("notes.txt")).expect("a file");
    assert_eq!(kept, "these are my notes");
    assert!(!folder.path("missing.db").exists());
}

#[test]
fn a_log_that_is_in_use_is_said_with_what_to_do() {
    let folder = filled(1);
    let _server = folder.serve(&[]);
    let done = folder.run(&["log", "show"]);
    let failure = done.failure(1);
    assert!(
        failure.contains("open in another program") && failure.contains("log show ws://"),
        "{failure}"
    );
}

#[test]
fn to_look_at_a_log_makes_no_name_and_no_log() {
    let folder = filled(3);
    let beside = folder.path("logux-sync.db.node");
    std::fs::remove_file(&beside).expect("a file");
    for command in ["show", "verify", "export"] {
        assert_eq!(folder.run(&["log", command]).code, Some(0), "{command}");
        assert!(!beside.exists(), "{command}");
    }
    folder.write("empty.db", "");
    let done = folder.run(&["log", "show", "empty.db"]);
    assert!(done.failure(1).contains("there is no log"), "{done:?}");
    assert_eq!(std::fs::metadata(folder.path("empty.db")).expect("a file").len(), 0);
}

#[test]
fn a_log_that_was_imported_can_be_kept_in_step() {
    let folder = filled(3);
    let copy = folder.run(&["log", "export"]).output;
    assert_eq!(folder.run_with(&["log", "import", "new.db"], &copy).code, Some(0));
    let server = folder.serve(&["--store", "memory"]);
    let done = folder.run(&["sync", "new.db", "--once", "--server", &server.url]);
    // The events are of the node that made them, which this client is not.
    assert_eq!(done.code, Some(4), "{done:?}");
    assert!(done.output.contains("equal"), "{done:?}");
}

/// A stopped server's log is all in its file: whoever copies it has everything.
#[cfg(unix)]
#[test]
fn a_log_that_no_program_has_open_is_in_its_file() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    assert_eq!(folder.run(&["add", r#"{"type":"a"}"#, "--server", &server.url]).code, Some(0));
    server.signal("TERM");
    assert_eq!(server.ended(), Some(0));
    std::fs::copy(folder.path("logux-sync.db"), folder.path("copy.db")).expect("a copy");
    assert_eq!(
        folder.run(&["log", "show", "copy.db", "--json"]).events(),
        [json!({ "type": "a" })]
    );
}
