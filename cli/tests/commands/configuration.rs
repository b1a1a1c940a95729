//! What a server and its clients can be told wrongly: one line that says what to do, and nothing is done.

use crate::program::Folder;

#[test]
fn a_file_the_environment_and_arguments_count_in_this_order() {
    let folder = Folder::new();
    folder.write(
        "logux-sync.toml",
        "[serve]\nstore = \"sqlite:file.db\"\noperations = \"none\"\naddress = \"127.0.0.1:0\"\n",
    );
    let serve = |arguments: &[&str], environment: Option<&str>| {
        let mut command = folder.command(&["serve", "--address", "127.0.0.1:0"]);
        command.args(arguments);
        if let Some(store) = environment {
            command.env("LOGUX_SYNC_STORE", store);
        }
        drop(crate::program::Server::start(&mut command));
    };
    serve(&[], None);
    assert!(folder.path("file.db").exists());
    serve(&[], Some("sqlite:environment.db"));
    assert!(folder.path("environment.db").exists());
    serve(&["--store", "argument.db"], Some("sqlite:never.db"));
    assert!(folder.path("argument.db").exists());
    assert!(!folder.path("never.db").exists() && !folder.path("logux-sync.db").exists());
}

#[test]
fn what_is_wrong_is_named_and_nothing_is_made() {
    let folder = Folder::new();
    let tokens = folder.write("tokens", "anna secret");
    let empty = folder.write("empty", "# nobody\n");
    let odd = folder.write("odd", "anna secret\nbert\n");
    let relay = folder.write("relay", "berlin relay\n");
    let secret = folder.write("secret", "0123456789abcdef\n");
    let tenant = folder.write("tenant", "anna secret log=oak");
    let key = folder.write("key.pem", "this is not a key");
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["--address", "nonsense"], 2, &["--address", "nonsense"]),
        (&["--address", "127.0.0.1:70000"], 2, &["--address", "70000"]),
        (&["--address", "192.0.2.1:1"], 1, &["192.0.2.1:1"]),
        (&["--address", "0.0.0.0:0"], 2, &["--tokens", "--allow-everyone"]),
        (&["--trusted-proxy", "127.0.0.1"], 2, &["--tokens", "--allow-everyone"]),
        (&["--tokens", &relay], 2, &["line 1", "no token"]),
        (&["--tokens", "missing"], 1, &["missing"]),
        (&["--tokens", &empty], 2, &["empty", "nobody could connect"]),
        (&["--tokens", &odd], 2, &["line 2", "no token"]),
        (&["--tokens", &tokens, "--token-command", "x"], 2, &["--tokens", "--token-command"]),
        (&["--certificate", &key], 2, &["--key"]),
        (&["--key", &key], 2, &["--certificate"]),
        (&["--certificate", &key, "--key", &key], 2, &["certificate", "key.pem"]),
        (&["--trusted-proxy", "nowhere"], 2, &["--trusted-proxy", "nowhere"]),
        (&["--store", "missing/log.db"], 1, &["missing/log.db"]),
        (&["--node", "two words"], 2, &["two words"]),
        (&["--log-level", "a=b=c"], 2, &["--log-level"]),
        (&["--backend", "http://127.0.0.1:1"], 2, &["--backend-secret-file"]),
        (&["--backend", "nowhere", "--backend-secret-file", &secret], 2, &["--backend", "nowhere"]),
        (
            &["--backend", "ftp://a", "--backend-secret-file", &secret],
            2,
            &["--backend", "https://"],
        ),
        (
            &["--backend", "http://a:b@c", "--backend-secret-file", &secret],
            2,
            &["--backend", "user"],
        ),
        (&["--backend", "http://a", "--backend-secret-file", &tokens], 2, &["16 bytes", "openssl"]),
        (&["--backend", "http://a", "--backend-secret-file", "missing"], 1, &["missing"]),
        (
            &["--backend", "http://a", "--backend-secret-file", &secret, "--tokens", &tenant],
            2,
            &["log=NAME"],
        ),
    ];
    for (arguments, code, expected) in cases {
        let mut all = vec!["serve", "--operations", "none"];
        if !arguments.contains(&"--address") {
            all.extend(["--address", "127.0.0.1:0"]);
        }
        let done = folder.run(&[&all, *arguments].concat());
        let failure = done.failure(*code);
        for text in *expected {
            assert!(failure.contains(text), "{arguments:?}: {failure}");
        }
        assert!(!folder.path("logux-sync.db").exists(), "{arguments:?}");
    }
}

const ALL: &str = "[[serve.channels]]\nname = \"*\"\nallow = [\"*\"]\n";
const TWICE: &str = "[[serve.events]]\ntype = \"a\"\nallow = [\"*\"]\n";

#[test]
fn a_wrong_configuration_file_is_named_with_its_line() {
    let folder = Folder::new();
    for (text, expected) in [
        ("[serve]\nadress = \"127.0.0.1:0\"\n", "adress"),
        ("[serve]\n\naddress = 7\n", "line 3"),
        ("[serve\n", "line 1"),
        ("[serve]\nkeep = \"long\"\n", "\"long\" is not a span of time"),
        ("[serve]\nstore = \"postgres://x\"\n", "postgres://"),
        ("[client]\nservers = \"x\"\n", "servers"),
        ("[other]\n", "other"),
        ("[[serve.channels]]\nname = \"a\"\n", "allow = [\"*\"]"),
        ("[[serve.channels]]\nname = \"a:b:c\"\nallow = [\"*\"]\n", "a:b:c"),
        ("[[serve.channels]]\nname = \"a/:b\"\nallow = [\":c\"]\n", ":c"),
        ("[[serve.channels]]\nname = \"a\"\nallow = \"*\"\n", "line 3"),
        ("[[serve.channels]]\nallow = [\"*\"]\n", "name"),
        ("[[serve.channels]]\nname = \"a\"\nallow = [\"*\"]\nload = 1\n", "load"),
        ("[[serve.events]]\ntype = \"a\"\n", "allow = [\"*\"]"),
        ("[[serve.events]]\ntype = \"a*\"\nallow = [\"*\"]\n", "a*"),
        ("[[serve.events]]\ntype = \"a\"\nallow = [\"*\"]\nchannels = [\"a/:\"]\n", "a/:"),
        (&format!("{TWICE}{TWICE}"), "two handlers"),
        ("[serve]\nbackend = \"x\"\n", "secret"),
        ("[serve]\ndevelopment = true\n", "--development"),
        ("[serve]\nbackend-timeout = \"1s\"\n", "--backend-timeout"),
        (&format!("{TWICE}[[serve.channels]]\nname = \"a\"\nallow = [\"a:b\"]\n"), "a:b"),
        (&format!("{TWICE}[[serve.channels]]\nname = \"a\"\nallow = [\"\"]\n"), "allow = []"),
        ("[[serve.events]]\ntype = \"logux/*\"\nallow = [\"*\"]\n", "logux/"),
        (&format!("{ALL}[[serve.channels]]\nname = \"a\"\nallow = []\n"), "never asked"),
    ] {
        folder.write("logux-sync.toml", text);
        let done = folder.run(&["serve"]);
        let failure = done.failure(2);
        assert!(failure.contains(expected), "{text}: {failure}");
        let is_read_by_parts = ["[[", "backend", "development"].iter().any(|it| text.contains(it));
        assert!(failure.contains("logux-sync.toml") || is_read_by_parts, "{failure}");
        assert!(!folder.path("logux-sync.db").exists(), "{text}");
    }
    let done = folder.run(&["--config", "missing.toml", "follow"]);
    assert!(done.failure(2).contains("missing.toml"), "{done:?}");
}

#[test]
fn a_port_that_is_taken_is_said() {
    let folder = Folder::new();
    let server = folder.serve(&["--store", "memory"]);
    let done = folder.run(&[
        "serve",
        "--store",
        "memory",
        "--operations",
        "none",
        "--address",
        server.address(),
    ]);
    let failure = done.failure(1);
    assert!(failure.contains("taken") && failure.contains("--address"), "{failure}");
}

#[test]
fn a_log_that_is_open_elsewhere_is_said() {
    let folder = Folder::new();
    let _server = folder.serve(&[]);
    let done = folder.run(&["serve", "--operations", "none", "--address", "127.0.0.1:0"]);
    assert!(done.failure(1).contains("open in another program"), "{done:?}");
}

#[test]
fn clients_say_what_is_wrong_with_a_server() {
    let folder = Folder::new();
    for (url, code, expected) in [
        ("ws://127.0.0.1:99999", 2, "--server"),
        ("ftp://127.0.0.1", 2, "ftp"),
        ("nonsense", 2, "nonsense"),
    ] {
        let done = folder.run(&["add", r#"{"type":"a"}"#, "--server", url]);
        assert!(done.failure(code).contains(expected), "{url}: {done:?}");
    }
    let done = folder.run(&["add", r#"{"type":"a"}"#, "--user", "a:b"]);
    assert!(done.failure(2).contains("a:b"), "{done:?}");
    let done = folder.run(&["add", r#"{"type":"a"}"#, "--token-file", "missing"]);
    assert!(done.failure(1).contains("missing"), "{done:?}");
}

#[test]
fn help_teaches_and_scripts_are_made() {
    let folder = Folder::new();
    for command in [
        "serve",
        "add",
        "follow",
        "sync",
        "log show",
        "log search",
        "log export",
        "log import",
        "log verify",
        "log prune",
        "bench",
        "completions",
        "man",
    ] {
        let arguments: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let done = folder.run(&arguments);
        assert!(done.lines().iter().any(|line| line.starts_with("Example")), "{command}: {done:?}");
    }
    assert!(folder.run(&["--help"]).output.contains("Exit codes:"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(folder.run(&["completions", shell]).output.contains("follow"));
    }
    assert!(folder.run(&["man"]).output.contains(".TH logux-sync"));
    std::fs::create_dir(folder.path("man")).expect("a folder");
    assert_eq!(folder.run(&["man", "man"]).code, Some(0));
    for page in ["logux-sync", "logux-sync-serve", "logux-sync-log-show"] {
        let text = std::fs::read_to_string(folder.path("man").join(format!("{page}.1")));
        assert!(text.expect("a page").contains(&format!(".TH {page} 1")), "{page}");
    }
}
