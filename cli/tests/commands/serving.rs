//! `serve`.

use serde_json::json;

use crate::program::Folder;

const EVENT: &str = r#"{"type":"a"}"#;

#[test]
fn a_log_outlives_its_server() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    assert_eq!(folder.run(&["add", EVENT, "--server", &server.url]).lines().len(), 1);
    server.kill();
    assert_eq!(folder.run(&["log", "show", "--json"]).events(), [json!({ "type": "a" })]);
    let server = folder.serve(&[]);
    let shown = folder.run(&["log", "show", &server.url, "--json"]);
    assert_eq!(shown.events(), [json!({ "type": "a" })]);
}

#[test]
fn memory_is_forgotten() {
    let folder = Folder::new();
    let server = folder.serve(&["--store", "memory"]);
    assert_eq!(folder.run(&["add", EVENT, "--server", &server.url]).lines().len(), 1);
    assert!(!folder.path("logux-sync.db").exists());
}

#[cfg(unix)]
#[test]
fn it_ends_in_order_and_keeps_what_it_confirmed() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    assert_eq!(folder.run(&["add", EVENT, "--server", &server.url]).lines().len(), 1);
    server.signal("TERM");
    let said = server.says("ended");
    assert!(said.contains("events=1"), "{said}");
    assert_eq!(server.ended(), Some(0));
    assert_eq!(folder.run(&["log", "verify"]).code, Some(0));
}

#[test]
fn users_have_tokens_and_nobody_speaks_for_another() {
    let folder = Folder::new();
    let tokens = folder.write("tokens", "# who may come\nanna secret\nanna newer\nbert other\n");
    let server = folder.serve(&["--tokens", &tokens]);
    let add = |user: &str, token: Option<&str>| {
        let mut command = folder.command(&["add", EVENT, "--user", user, "--server", &server.url]);
        if let Some(token) = token {
            command.env("LOGUX_SYNC_TOKEN", token);
        }
        crate::program::finish(&mut command, "")
    };
    assert_eq!(add("anna", Some("secret")).lines().len(), 1);
    assert_eq!(add("anna", Some("newer")).lines().len(), 1);
    assert_eq!(add("bert", Some("other")).lines().len(), 1);
    // Another user each: three wrong tokens of one are answered by a pause.
    for (user, token) in [
        ("anna", Some("other")),
        ("bert", Some("secret")),
        ("carl", Some("secret")),
        ("dora", None),
    ] {
        let done = add(user, token);
        let failure = done.failure(4);
        assert!(failure.contains(user) && failure.contains("token"), "{failure}");
        assert!(failure.contains("--token-file"), "{failure}");
    }
    let file = folder.write("token", "secret\n");
    let by_file = folder.run(&["add", EVENT, "--token-file", &file, "--server", &server.url]);
    // What was refused with another user's token goes, too.
    assert!(by_file.lines().last().expect("a line").ends_with("confirmed"), "{by_file:?}");
}

#[cfg(unix)]
#[test]
fn tokens_are_read_again_and_wrong_ones_change_nothing() {
    let folder = Folder::new();
    let tokens = folder.write("tokens", "anna old");
    let server = folder.serve(&["--tokens", &tokens]);
    let is_in = |token: &str| {
        let mut command = folder.command(&["add", EVENT, "--server", &server.url]);
        crate::program::finish(command.env("LOGUX_SYNC_TOKEN", token), "").code == Some(0)
    };
    assert!(is_in("old"));
    folder.write("tokens", "anna new");
    server.signal("HUP");
    server.says("read again");
    assert!(is_in("new") && !is_in("old"));
    // Who is not listed any more is shown out.
    let mut follow = folder.command(&["follow", "--since", "start", "--server", &server.url]);
    let mut following = crate::program::Running::start(follow.env("LOGUX_SYNC_TOKEN", "new"));
    following.line();
    folder.write("tokens", "bert other");
    server.signal("HUP");
    server.says("read again");
    assert_eq!(following.code(), Some(4));
    folder.write("tokens", "anna new");
    server.signal("HUP");
    server.says("read again");
    folder.write("tokens", "anna");
    server.signal("HUP");
    let said = server.says("the tokens stay what they were");
    assert!(said.contains("line 1") && said.contains("no token"), "{said}");
    assert!(is_in("new"));
}

#[cfg(unix)]
#[test]
fn a_program_says_who_may_connect() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    let program = |name: &str, text: &str| {
        let path = folder.write(name, &format!("#!/bin/sh\n{text}\n"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        path
    };
    let check = program(
        "check",
        r#"read question
case "$question" in
*'"token":"right"'*'"userId":"anna"'*) echo '{"access":"client","expiresIn":3600}' ;;
*) echo '{"access":"nobody"}' ;;
esac"#,
    );
    let server = folder.serve(&["--token-command", &check]);
    let add = |url: &str, user: &str| {
        let arguments = ["add", EVENT, "--user", user, "--server", url, "--timeout", "2s"];
        let mut command = folder.command(&arguments);
        crate::program::finish(command.env("LOGUX_SYNC_TOKEN", "right"), "")
    };
    assert_eq!(add(&server.url, "anna").lines().len(), 1);
    add(&server.url, "bert").failure(4);
    // One that cannot answer refuses nobody: the client tries on, until it has no more time.
    for (name, text, why) in [
        ("broken", "exit 7", "exit status: 7"),
        ("silly", "echo yes", "its answer is not"),
        ("quiet", "exit 0", "its answer is not"),
    ] {
        let path = program(name, text);
        let server = folder.serve(&["--store", "memory", "--token-command", &path]);
        add(&server.url, "anna").failure(3);
        let said = server.says("the token command failed");
        assert!(said.contains(why), "{name}: {said}");
    }
}

#[cfg(unix)]
#[test]
fn tenants_have_logs_of_their_own() {
    let folder = Folder::new();
    let tokens = folder.write("tokens", "anna secret log=oak\nbert other log=elm\ncarl third\n");
    let server = folder.serve(&["--tokens", &tokens]);
    let run = |user: &str, token: &str, command: &[&str]| {
        let mut command = folder.command(&[command, &["--user", user]].concat());
        crate::program::finish(command.env("LOGUX_SYNC_TOKEN", token), "")
    };
    let users = [("anna", "secret"), ("bert", "other"), ("carl", "third")];
    let own = |user: &str| serde_json::json!({ "type": "of", "user": user });
    for (user, token) in users {
        let done = run(user, token, &["add", &own(user).to_string(), "--server", &server.url]);
        assert_eq!(done.lines().len(), 1);
    }
    for (user, token) in users {
        let shown = run(user, token, &["log", "show", &server.url, "--json"]);
        assert_eq!(shown.events(), [own(user)]);
    }
    // Who is led to another log is shown out of the one before.
    let follow = ["follow", "--since", "start", "--user", "anna", "--server", &server.url];
    let mut follow = folder.command(&follow);
    let following = crate::program::Running::start(follow.env("LOGUX_SYNC_TOKEN", "secret"));
    following.line();
    folder.write("tokens", "anna secret log=elm\nbert other log=elm\ncarl third\n");
    server.signal("HUP");
    server.says("connections of a user are closed");
    assert!(following.line().contains("\"user\":\"bert\""));
    drop(following);
    // A new tenant needs no restart; each has a file.
    folder.write("tokens", "anna secret log=oak\ndora new log=ash\n");
    server.signal("HUP");
    server.says("read again");
    assert_eq!(run("dora", "new", &["add", EVENT, "--server", &server.url]).lines().len(), 1);
    server.signal("TERM");
    assert_eq!(server.ended(), Some(0));
    for name in ["logux-sync.db", "logux-sync.oak.db", "logux-sync.elm.db", "logux-sync.ash.db"] {
        assert_eq!(folder.run(&["log", "show", name, "--json"]).events().len(), 1, "{name}");
    }
    for wrong in [
        "anna secret log=../x",
        "anna secret log=",
        "anna secret log=a log=b",
        "anna secret relay relay",
    ] {
        let tokens = folder.write("wrong", wrong);
        let done = folder.run(&["serve", "--tokens", &tokens]);
        assert!(done.failure(2).contains("line 1"), "{wrong}: {done:?}");
    }
}

#[test]
fn binary_clients_are_taken_where_that_is_said() {
    let folder = Folder::new();
    let server = folder.serve(&["--binary-clients"]);
    for codec in ["logux-binary", "json", "message-pack", "xml"] {
        let done = folder.run(&["add", EVENT, "--codec", codec, "--server", &server.url]);
        assert_eq!(done.lines().len(), 1, "{codec}");
    }
}

#[test]
fn tls_is_spoken_with_a_certificate() {
    let folder = Folder::new();
    let certified =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = folder.write("chain.pem", &certified.cert.pem());
    let key = folder.write("key.pem", &certified.signing_key.serialize_pem());
    let server = folder.serve(&["--certificate", &certificate, "--key", &key]);
    let url = server.url.replace("127.0.0.1", "localhost");
    assert!(url.starts_with("wss://"), "{url}");
    for url in [url.clone(), url.replace("wss", "https")] {
        let done = folder.run(&["add", EVENT, "--server", &url, "--roots", &certificate]);
        assert_eq!(done.lines().len(), 1);
    }
    // A certificate that nothing vouches for.
    let done = folder.run(&["add", EVENT, "--server", &url]);
    assert!(done.failure(3).contains("certificate"), "{done:?}");
}

/// Files may not grow beyond a size: to a program that is a disk that is full.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_stops_writing_and_loses_nothing() {
    use std::process::Command;

    let folder = Folder::new();
    let limited = |kibibytes: u32, arguments: &[&str]| {
        let program = folder.command(arguments);
        let mut shell = Command::new("sh");
        // Without the signal, a write fails as on a full disk.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", kibibytes * 2);
        shell.args(["-c", &script, "sh"]).arg(program.get_program()).args(program.get_args());
        shell.current_dir(folder.path("")).env_clear();
        for (name, value) in program.get_envs() {
            if let Some(value) = value {
                shell.env(name, value);
            }
        }
        shell
    };
    // Too little for a log.
    let done = crate::program::finish(&mut limited(8, &["add", "--log", "small.db", EVENT]), "");
    assert!(done.failure(1).contains("small.db"), "{done:?}");
    // Too little for all that is added.
    let serve = ["serve", "--operations", "none"];
    let server = crate::program::Server::start(&mut limited(256, &serve));
    let event = serde_json::json!({ "type": "large", "text": "x".repeat(1_000) }).to_string();
    let events = crate::program::lines(vec![event; 2_000]);
    let add = ["add", "--timeout", "3s", "--server", &server.url];
    let done = folder.run_with(&add, &events);
    let read = done.events_read();
    assert!(done.errors.contains("is kept here"), "{}", done.errors);
    let (url, address) = (server.url.clone(), server.address().to_owned());
    server.kill();
    assert_eq!(folder.run(&["log", "verify"]).code, Some(0));
    // With room again, all of it is there, once.
    let server = folder.serve(&["--address", &address]);
    assert_eq!(folder.run(&["add", EVENT, "--server", &url]).code, Some(0));
    let shown = folder.run(&["log", "show", &server.url, "--json"]);
    let large = shown.events().iter().filter(|event| event["type"] == "large").count();
    let confirmed_before = done.output.lines().count();
    assert_eq!(large, read, "{confirmed_before} were confirmed");
    assert!(read > confirmed_before, "{read} were read, and {confirmed_before} confirmed");
}
