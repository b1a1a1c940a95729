//! The port for operators.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::program::{Folder, PATIENCE, Running, Server};

/// Status, head and body of an answer.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// What the port says to a request for a host.
fn get_as(host: &str, address: &str, path: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

fn get(address: &str, path: &str) -> Answer {
    get_as(address, address, path)
}

fn status(address: &str) -> Value {
    let answer = get(address, "/status.json");
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

/// A server, and the address of its port for operators.
fn serve(folder: &Folder, arguments: &[&str]) -> (Server, String) {
    let all = [&["serve", "--operations", "127.0.0.1:0"], arguments].concat();
    let server = Server::start(&mut folder.command(&all));
    let said = server.says("its state is at http://");
    let address = said.rsplit('/').next().expect("an address").to_owned();
    (server, address)
}

/// Looks until something is so.
#[track_caller]
fn wait_for(address: &str, what: impl Fn(&Value) -> bool) -> Value {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let status = status(address);
        if what(&status) {
            return status;
        }
        assert!(std::time::Instant::now() < until, "{status}");
    }
}

#[test]
fn the_status_shows_connections_events_and_the_log() {
    let folder = Folder::new();
    let (server, port) = serve(&folder, &[]);
    let by_http = server.url.replace("ws:", "http:");
    let _following = [(&server.url, "json"), (&server.url, "xml"), (&by_http, "message-pack")].map(
        |(url, codec)| {
            let arguments = ["follow", "--server", url, "--codec", codec];
            Running::start(&mut folder.command(&arguments))
        },
    );
    let event = r#"{"type":"secret/kept","text":"hush"}"#;
    assert_eq!(folder.run(&["add", event, "--server", &server.url]).lines().len(), 1);
    let status = wait_for(&port, |status| {
        let synchronized = |it: &&Value| it["state"] == "synchronized" && it["behind"] == 0;
        let connections = status["connections"].as_array().expect("a list");
        status["logs"][0]["events"] == 1
            && connections.len() == 3
            && connections.iter().filter(synchronized).count() == 3
    });
    let log = &status["logs"][0];
    assert_eq!((&log["events"], &log["lastAdded"]), (&1.into(), &1.into()));
    assert_eq!(status["connectionCount"], 3);
    assert!(log["bytes"].as_u64().expect("a size") > 4_096, "{status}");
    let mut ways: Vec<_> = status["connections"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| {
            format!("{} {} {}", it["codec"], it["transport"], it["protocol"]).replace('"', "")
        })
        .collect();
    ways.sort();
    assert_eq!(ways, ["json websocket 7", "message-pack long-poll 7", "xml websocket 7"]);
    assert_eq!(status["last"][0]["type"], "secret/kept");
    assert!(!status.to_string().contains("hush"), "{status}");
}

#[test]
fn events_are_shown_where_that_was_said() {
    let folder = Folder::new();
    let (server, port) = serve(&folder, &["--show-events"]);
    let event = r#"{"type":"a","text":"hush"}"#;
    assert_eq!(folder.run(&["add", event, "--server", &server.url]).lines().len(), 1);
    assert_eq!(status(&port)["last"][0]["event"], r#"{"text":"hush","type":"a"}"#);
}

#[test]
fn warnings_appear() {
    let folder = Folder::new();
    let tokens = folder.write("tokens", "anna secret");
    let (server, port) = serve(&folder, &["--tokens", &tokens]);
    folder.run(&["add", r#"{"type":"a"}"#, "--server", &server.url]).failure(4);
    let status = wait_for(&port, |status| status["warnings"][0]["text"].is_string());
    let text = status["warnings"][0]["text"].as_str().expect("a text");
    assert!(text.contains("the peer was refused"), "{text}");
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let folder = Folder::new();
    let (_server, port) = serve(&folder, &[]);
    let page = get(&port, "/");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-security-policy: default-src 'none'"), "{}", page.head);
    for foreign in ["src=\"http", "href=\"http", "@import", "url("] {
        assert!(!page.body.contains(foreign), "{foreign}");
    }
}

#[test]
fn metrics_count_and_name_no_node() {
    let folder = Folder::new();
    let (server, port) = serve(&folder, &[]);
    let event = r#"{"type":"a"}"#;
    assert_eq!(folder.run(&["add", event, event, "--server", &server.url]).lines().len(), 2);
    let metrics = get(&port, "/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
    let value = |name: &str| {
        let (alone, labelled) = (format!("{name} "), format!("{name}{{tenant=\"\"}} "));
        let is_meant = |line: &&str| line.starts_with(&alone) || line.starts_with(&labelled);
        let line = metrics.body.lines().find(is_meant);
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    assert_eq!(value("logux_sync_events_added_total"), Some(2.0), "{}", metrics.body);
    assert_eq!(value("logux_sync_events_received_total"), Some(2.0), "{}", metrics.body);
    assert_eq!(value("logux_sync_log_events"), Some(2.0), "{}", metrics.body);
    assert!(value("logux_sync_bytes_received_total") > Some(50.0), "{}", metrics.body);
    assert!(value("logux_sync_commit_seconds_count") >= Some(1.0), "{}", metrics.body);
    assert!(!metrics.body.contains("anna"), "{}", metrics.body);
}

#[test]
fn it_is_healthy_and_ready() {
    let folder = Folder::new();
    let (_server, port) = serve(&folder, &["--store", "memory"]);
    assert_eq!(get(&port, "/health").status, 200);
    assert_eq!(get(&port, "/ready").status, 200);
    assert_eq!(get(&port, "/nothing").status, 404);
}

#[test]
fn a_page_that_has_its_name_lead_here_reads_nothing() {
    let folder = Folder::new();
    let (_server, port) = serve(&folder, &[]);
    let number = port.rsplit(':').next().expect("a port");
    for path in ["/", "/status.json", "/metrics", "/ready", "/health"] {
        let foreign = get_as(&format!("evil.example:{number}"), &port, path);
        assert_eq!(foreign.status, 421, "{path}");
    }
    for host in [format!("localhost:{number}"), "localhost".into(), format!("[::1]:{number}")] {
        assert_eq!(get_as(&host, &port, "/status.json").status, 200, "{host}");
    }
    assert_eq!(get_as("127.0.0.1.evil.example", &port, "/status.json").status, 421);
}

/// Nobody has a token, so every page that reaches the port could read and write all.
#[test]
fn pages_of_elsewhere_are_refused_where_nobody_has_a_token() {
    let folder = Folder::new();
    let listed = "https://app.example";
    for (arguments, origin, is_in) in [
        (&[][..], "http://evil.example", false),
        (&[], "null", false),
        (&[], "http://localhost.evil.example", false),
        (&[], "http://localhost:5173", true),
        (&[], "http://127.0.0.1:8080", true),
        (&["--origin", listed], listed, true),
    ] {
        let all = [&["--store", "memory"], arguments].concat();
        let server = folder.serve(&all);
        // The name that the page's host has leads to this machine, too.
        let host = origin.split_once("://").map_or("localhost", |(_, host)| host);
        let answer = say_connect(&server, host, origin);
        assert_eq!(answer.contains("\"connected\""), is_in, "{origin}: {answer}");
    }
}

/// What a page of an origin is answered, by long-poll.
fn say_connect(server: &Server, host: &str, origin: &str) -> String {
    let ask = |headers: &str, body: &[u8]| {
        let mut stream = TcpStream::connect(server.address()).expect("the port is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\nconnection: close\r\n\
             content-type: application/vnd.logux.batch+json\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).expect("it is read");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let opened = ask("logux-version: 2\r\nlogux-nonce: AAAAAAAAAAAAAAAAAAAAAA\r\n", &[]);
    let session = opened.lines().find_map(|line| line.strip_prefix("logux-session: "));
    let Some(session) = session else { return opened };
    let connect = r#"["connect",7,"anna:page",0]"#;
    let length = u32::try_from(connect.len()).expect("it is short").to_be_bytes();
    let body = [&length, connect.as_bytes()].concat();
    ask(&format!("logux-session: {session}\r\nlogux-send: 0 1\r\n"), &body);
    ask(&format!("logux-session: {session}\r\nlogux-poll: 1 0 1000\r\n"), &[])
}
