//! `bench`.

use crate::program::Folder;

#[test]
fn all_combinations_are_listed_and_one_is_measured() {
    let folder = Folder::new();
    let done = folder.run(&["bench", "--list"]);
    let ids = done.lines();
    assert_eq!(ids.len(), 45);
    assert!(ids.contains(&"message-pack/long-poll/catch-up"), "{ids:?}");
    let folder = Folder::new();
    let arguments = [
        "bench",
        "json/memory/confirmation",
        "json/memory/footprint",
        "--quick",
        "--folder",
        "page",
    ];
    let done = folder.run(&arguments);
    assert!(done.lines().iter().any(|line| line.starts_with("| json/memory |")), "{done:?}");
    let page = std::fs::read_to_string(folder.path("page").join("index.html")).expect("a page");
    assert!(page.contains("logux-sync bench --quick json/memory/confirmation"));
    let done = folder.run(&["bench", "nothing/like/it"]);
    assert_eq!(done.failure(2), "error: no id has one of [\"nothing/like/it\"] in it: see --list");
}

#[test]
fn a_server_is_measured_in_each_codec() {
    let folder = Folder::new();
    let server = folder.serve(&["--store", "memory"]);
    for codec in ["json", "message-pack", "xml"] {
        let arguments =
            ["bench", "--server", &server.url, "--events", "250", "--codec", codec, "--json"];
        let done = folder.run(&arguments);
        let line: serde_json::Value = serde_json::from_str(done.lines()[0]).expect("JSON");
        assert_eq!(line["codec"], codec);
        let times = &line["confirmationMicroseconds"];
        let time = |name: &str| times[name].as_f64().expect("a time");
        assert!(time("p50") > 0.0 && time("p50") <= time("p99") && time("p99") <= time("p999"));
    }
    let shown = folder.run(&["log", "show", &server.url, "--json"]);
    assert_eq!(shown.events().len(), 3 * 1_250);
}
