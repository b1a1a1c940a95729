//! `serve --backend`: a program that is asked by HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use logux_sync::{Subprotocol, SyncOptions, Value};
use serde_json::json;

use crate::client::Client;
use crate::program::{Folder, PATIENCE, Server};

const SECRET: &str = "0123456789abcdef";

/// What a back end does with a request.
enum Reply {
    /// A status and a body.
    Whole(u16, String),
    /// A body that comes in pieces; without its end if that is said.
    Pieces(Vec<String>, End),
    /// Nothing, ever.
    Silence,
}

#[derive(PartialEq, Eq)]
enum End {
    Whole,
    Cut,
    /// It goes on for ever.
    Open,
}

type Answers = dyn Fn(&Value) -> Reply + Send + Sync;

/// A back end, and the commands that it got.
struct Backend {
    url: String,
    commands: Arc<Mutex<Vec<Value>>>,
}

fn answers(list: &[Value]) -> Reply {
    Reply::Whole(200, Value::from(list.to_vec()).to_string())
}

impl Backend {
    /// Lets everyone in with the token `right`, and answers the rest so.
    fn start(act: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Self {
        Self::answering(move |command| {
            let id = &command["authId"];
            match command["token"].as_str() {
                _ if command["command"] != "auth" => act(command),
                Some("right") => answers(&[json!({ "answer": "authenticated", "authId": id })]),
                Some("old") => answers(&[
                    json!({ "answer": "wrongSubprotocol", "authId": id, "supported": "^2.0.0" }),
                ]),
                Some("broken") => {
                    answers(&[json!({ "answer": "error", "authId": id, "details": "no database" })])
                }
                _ => answers(&[json!({ "answer": "denied", "authId": id })]),
            }
        })
    }

    fn answering(answers: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/logux", listener.local_addr().expect("an address"));
        let commands: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (all, answers): (_, Arc<Answers>) = (Arc::clone(&commands), Arc::new(answers));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (all, answers) = (Arc::clone(&all), Arc::clone(&answers));
                let stream = stream.expect("a connection");
                thread::spawn(move || serve(&stream, &all, &*answers));
            }
        });
        Self { url, commands }
    }

    fn actions(&self) -> Vec<Value> {
        let commands = self.commands.lock().expect("no panic");
        commands.iter().filter(|command| command["command"] == "action").cloned().collect()
    }

    /// A server that asks it.
    fn serve(&self, folder: &Folder, arguments: &[&str]) -> Server {
        let mut command = folder.command(&["serve", "--backend", &self.url]);
        if !arguments.contains(&"--operations") {
            command.args(["--operations", "none"]);
        }
        Server::start(command.args(arguments).env("LOGUX_SYNC_BACKEND_SECRET", SECRET))
    }
}

/// Reads requests of a connection, and answers them. An error says that the other side has gone.
fn serve(mut stream: &TcpStream, all: &Mutex<Vec<Value>>, answers: &Answers) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let (mut length, mut line) = (0, String::new());
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let request: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(request["version"], 4);
        assert_eq!(request["secret"], SECRET);
        let command = request["commands"][0].clone();
        all.lock().expect("no panic").push(command.clone());
        match answers(&command) {
            Reply::Whole(status, body) => {
                let length = body.len();
                write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}")
                    .ok()?;
            }
            Reply::Pieces(pieces, end) => {
                write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").ok()?;
                for piece in pieces {
                    write!(stream, "{:x}\r\n{piece}\r\n", piece.len()).ok()?;
                    stream.flush().ok()?;
                }
                match end {
                    End::Whole => write!(stream, "0\r\n\r\n").ok()?,
                    End::Cut => return None,
                    End::Open => thread::sleep(PATIENCE),
                }
            }
            Reply::Silence => thread::sleep(PATIENCE),
        }
    }
}

fn done(command: &Value, more: &[Value]) -> Reply {
    let id = &command["meta"]["id"];
    let mut list = vec![json!({ "answer": "approved", "id": id })];
    list.extend(more.iter().map(|answer| {
        let mut answer = answer.clone();
        answer["id"] = id.clone();
        answer
    }));
    list.push(json!({ "answer": "processed", "id": id }));
    answers(&list)
}

#[tokio::test]
async fn a_back_end_decides_about_clients_events_and_channels() {
    let folder = Folder::new();
    let backend = Backend::start(|command| {
        let (id, action) = (&command["meta"]["id"], &command["action"]);
        let one = |answer: &str| answers(&[json!({ "answer": answer, "id": id })]);
        match (action["type"].as_str(), action["channel"].as_str()) {
            (Some("say"), _) => {
                let resend =
                    json!({ "answer": "resend", "id": id, "channels": ["hall"], "user": 38 });
                let extra = json!({ "answer": "action", "id": id, "action": { "type": "noted" },
                    "meta": { "channel": "hall", "excludeClients": ["ben:1"] } });
                let approved = json!({ "answer": "approved", "id": id });
                let processed = json!({ "answer": "processed", "id": id });
                let other = json!({ "answer": "forbidden", "id": "1 other:1 0" });
                answers(&[other, resend, approved, extra, processed])
            }
            (Some("logux/subscribe"), Some("hall")) => done(
                command,
                &[
                    json!({ "answer": "action", "action": { "type": "state", "n": 1 } }),
                    json!({ "answer": "action", "action": { "type": "state", "n": 2 }, "meta": { "client": "ben:1" } }),
                ],
            ),
            (Some("logux/subscribe"), _) => one("unknownChannel"),
            (Some("forbidden"), _) => one("forbidden"),
            (Some("denied"), _) => one("denied"),
            (Some("fail"), _) => answers(&[json!({ "answer": "error", "id": id, "details": "x" })]),
            _ => one("unknownAction"),
        }
    });
    let server = backend.serve(&folder, &["--store", "memory"]);
    let (ann, ben) =
        (Client::connect(&server.url, "ann:1").await, Client::connect(&server.url, "ben:1").await);
    let cat = Client::connect(&server.url, "38:1").await;
    assert_eq!(ben.subscribe("hall").await, "processed");
    assert!(cat.is_synchronized().await);
    assert_eq!(ben.of_type("state").await.len(), 2);
    for (event, expected) in [
        (json!({ "type": "say", "text": "hi" }), "processed"),
        (json!({ "type": "forbidden" }), "denied"),
        (json!({ "type": "denied" }), "denied"),
        (json!({ "type": "fail" }), "error"),
        (json!({ "type": "other" }), "unknownType"),
        (json!({ "type": "logux/subscribe", "channel": "cellar" }), "wrongChannel"),
    ] {
        assert_eq!(ann.process(event.clone()).await, expected, "{event}");
    }
    assert_eq!(ben.wait_for("say", 1).await, [json!({ "type": "say", "text": "hi" })]);
    assert_eq!(cat.wait_for("say", 1).await.len(), 1);
    assert!(ben.of_type("noted").await.is_empty());
    let actions = backend.actions();
    let said = actions.iter().find(|command| command["action"]["type"] == "say").expect("it");
    assert_eq!(said["action"], json!({ "type": "say", "text": "hi" }));
    let id = said["meta"]["id"].as_str().expect("an id");
    assert!(id.split(' ').nth(1).is_some_and(|node| node == "ann:1"), "{id}");
    assert!(said["meta"]["time"].is_u64() && said["headers"].is_object(), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_lets_in_whom_it_knows() {
    let folder = Folder::new();
    let backend = Backend::start(|command| done(command, &[]));
    let server = backend.serve(&folder, &["--store", "memory"]);
    let ann = Client::connect(&server.url, "ann:1").await;
    assert!(ann.is_synchronized().await);
    for token in ["wrong", "old"] {
        let options = SyncOptions::new().credentials(token).subprotocol(Subprotocol::new(1, 2));
        let ben = Client::connect_with(&server.url, "ben:1", options).await;
        assert!(!ben.is_synchronized().await, "{token}");
    }
    let options = SyncOptions::new().credentials("broken");
    let _cat = Client::connect_with(&server.url, "cat:1", options).await;
    server.says("no database");
    let commands = backend.commands.lock().expect("no panic");
    let ben = commands.iter().find(|command| command["token"] == "old").expect("it was asked");
    assert_eq!(ben["userId"], "ben");
    assert_eq!(ben["subprotocol"], "1.2");
}

#[tokio::test]
async fn an_event_is_sent_again_until_the_back_end_has_done_it() {
    let folder = Folder::new();
    let tries = Mutex::new(0);
    let backend = Backend::start(move |command| {
        let id = &command["meta"]["id"];
        let approved = json!({ "answer": "approved", "id": id }).to_string();
        let mut tries = tries.lock().expect("no panic");
        *tries += 1;
        match *tries {
            1 => Reply::Whole(503, "<html>".to_owned()),
            2 => Reply::Pieces(vec!["[".to_owned(), approved, ",".to_owned()], End::Cut),
            3 => Reply::Pieces(vec![format!("[{approved}")], End::Whole),
            4 => Reply::Silence,
            // It is done with `processed`, however long the answer goes on.
            _ => {
                let processed = json!({ "answer": "processed", "id": id }).to_string();
                let pieces = ["[", &approved[..5], &approved[5..], ",\n", &processed, " "];
                Reply::Pieces(pieces.map(str::to_owned).to_vec(), End::Open)
            }
        }
    });
    let server = backend.serve(&folder, &["--backend-timeout", "2s"]);
    let ann = Client::connect(&server.url, "ann:1").await;
    assert_eq!(ann.process(json!({ "type": "pay" })).await, "processed");
    let actions = backend.actions();
    // Where this machine is slow, one more may have been given up.
    assert!(actions.len() >= 5, "{actions:?}");
    assert!(actions.iter().all(|command| command["meta"]["id"] == actions[0]["meta"]["id"]));
    server.says("the back end is away");
    server.says("the back end is there again");
    server.kill();
    let shown = folder.run(&["log", "show", "--json", "--type", "pay"]);
    assert_eq!(shown.events(), [json!({ "type": "pay" })]);
}

#[tokio::test]
async fn a_back_end_that_is_wrong_undoes_its_event_and_no_other() {
    let folder = Folder::new();
    let backend = Backend::start(|command| {
        let (id, action) = (command["meta"]["id"].clone(), &command["action"]);
        let with = |more: Value| done(command, &[more]);
        let text = |text: &str| Reply::Whole(200, text.replace("ID", id.as_str().expect("a text")));
        match action["case"].as_str().expect("a case") {
            "good" => done(command, &[]),
            "status" => Reply::Whole(404, String::new()),
            "secret" => Reply::Whole(403, "[]".to_owned()),
            "moved" => Reply::Whole(302, String::new()),
            "empty" => text(""),
            "nothing" => text("[]"),
            "html" => text("<html></html>"),
            "object" => text(r#"{"answer":"approved","id":"ID"}"#),
            "half" => text(r#"[{"answer":"approved","id":"ID"}]"#),
            "unapproved" => text(r#"[{"answer":"processed","id":"ID"}]"#),
            "unknown" => text(r#"[{"answer":"maybe","id":"ID"}]"#),
            "other" => {
                text(r#"[{"answer":"approved","id":"1 a 0"},{"answer":"processed","id":"1 a 0"}]"#)
            }
            "number" => text("[1]"),
            "no-content" => Reply::Whole(204, String::new()),
            "many" => with(json!({ "answer": "resend", "users": (0..10_001).collect::<Vec<_>>() })),
            "receivers" => with(json!({ "answer": "resend", "channels": {} })),
            "node" => with(json!({ "answer": "resend", "nodes": ["a b"] })),
            "id" => with(
                json!({ "answer": "action", "action": { "type": "a" }, "meta": { "id": "x" } }),
            ),
            "time" => with(
                json!({ "answer": "action", "action": { "type": "a" }, "meta": { "time": u64::MAX } }),
            ),
            "no-event" => with(json!({ "answer": "action", "action": 1 })),
            "deep" => text(&format!("[{}{}]", r#"{"a":"#.repeat(100_000), "}".repeat(100_000))),
            "long" => Reply::Whole(200, format!("[{}", " ".repeat(33 << 20))),
            case => panic!("{case}"),
        }
    });
    let server = backend.serve(&folder, &["--store", "memory"]);
    let ann = Client::connect(&server.url, "ann:1").await;
    for case in [
        "status",
        "secret",
        "moved",
        "empty",
        "nothing",
        "html",
        "object",
        "half",
        "unapproved",
        "unknown",
        "other",
        "number",
        "no-content",
        "many",
        "receivers",
        "node",
        "id",
        "time",
        "no-event",
        "deep",
        "long",
    ] {
        assert_eq!(ann.process(json!({ "type": "try", "case": case })).await, "error", "{case}");
        assert_eq!(
            ann.process(json!({ "type": "try", "case": "good" })).await,
            "processed",
            "{case}"
        );
    }
}

#[tokio::test]
async fn a_back_end_that_is_not_there_undoes_events_after_some_time() {
    let folder = Folder::new();
    let tokens = folder.write("tokens", "ann right");
    let nowhere = TcpListener::bind("127.0.0.1:0").expect("a port");
    let backend = Backend {
        url: format!("http://{}/", nowhere.local_addr().expect("an address")),
        commands: Arc::default(),
    };
    drop(nowhere);
    let patience = ["--tokens", &tokens, "--backend-patience", "1s"];
    let server = backend.serve(&folder, &patience);
    let ann = Client::connect(&server.url, "ann:1").await;
    assert_eq!(ann.process(json!({ "type": "pay" })).await, "error");
    server.says("does not answer as it should");
}

#[tokio::test]
async fn an_event_outlives_the_server_that_asks_about_it() {
    let folder = Folder::new();
    let tokens = folder.write("tokens", "ann right");
    let is_ready = Arc::new(Mutex::new(false));
    let ready = Arc::clone(&is_ready);
    let backend = Backend::start(move |command| {
        if *ready.lock().expect("no panic") { done(command, &[]) } else { Reply::Silence }
    });
    let first = backend.serve(&folder, &["--tokens", &tokens]);
    let ann = Client::connect(&first.url, "ann:1").await;
    let added = ann.log.add(json!({ "type": "pay" })).await.expect("it is added");
    while backend.actions().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let address = first.address().to_owned();
    first.kill();
    *is_ready.lock().expect("no panic") = true;
    let _second = backend.serve(&folder, &["--tokens", &tokens, "--address", &address]);
    let answer = ann.answer_to(&added.meta.id.to_string(), &added.event).await;
    assert_eq!(answer["type"], "logux/processed");
    let actions = backend.actions();
    assert!(actions.len() >= 2, "{actions:?}");
    assert!(actions.iter().all(|command| command["meta"]["id"] == actions[0]["meta"]["id"]));
}

/// What the port for operators answers to a POST.
fn post(address: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), answer)
}

#[tokio::test]
async fn a_back_end_adds_events_by_itself() {
    let folder = Folder::new();
    let backend = Backend::start(|command| done(command, &[]));
    let server = backend.serve(&folder, &["--operations", "127.0.0.1:0"]);
    let said = server.says("its state is at http://");
    let port = said.rsplit('/').next().expect("an address").to_owned();
    let ann = Client::connect(&server.url, "ann:1").await;
    assert_eq!(ann.subscribe("hall").await, "processed");
    let body = |secret: &str, version: u32, commands: Value| {
        json!({ "version": version, "secret": secret, "commands": commands }).to_string()
    };
    let command = |n: u64, meta: Value| json!({ "command": "action", "action": { "type": "news", "n": n }, "meta": meta });
    let good = json!([
        command(
            1,
            json!({ "channels": ["hall"], "id": "1700000000000 cron:1 0", "status": "processed" })
        ),
        command(2, json!({ "users": ["ann"] })),
        command(3, json!({ "channel": "other" })),
    ]);
    for (sent, status, why) in [
        (body("wrong", 4, good.clone()), 403, "secret"),
        (body(SECRET, 3, good.clone()), 400, "version 3"),
        (
            body(SECRET, 4, json!([command(1, json!({})), { "command": "action", "action": {} }])),
            400,
            "type",
        ),
        (body(SECRET, 4, json!([{ "command": "auth" }])), 422, "auth"),
        (body(SECRET, 4, json!([command(9, json!({ "id": "x" }))])), 400, "no id"),
        ("{".to_owned(), 400, ""),
        (json!({ "version": 4, "secret": SECRET }).to_string(), 422, "commands"),
    ] {
        let (answered, text) = post(&port, &sent);
        assert!(answered == status && text.contains(why), "{sent}: {text}");
    }
    // It may send them again, by the ids.
    for _ in 0..2 {
        assert_eq!(post(&port, &body(SECRET, 4, good.clone())).0, 200);
    }
    let came = ann.wait_for("news", 3).await;
    let mut numbers: Vec<_> = came.iter().map(|event| event["n"].as_u64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [Some(1), Some(2), Some(2)], "the second has no id of its own");
    // Nobody asked the back end about its own events.
    assert!(backend.actions().iter().all(|command| command["action"]["type"] != "news"));
}

/// Each user has a share of the requests, and whoever connects waits for none of them.
#[tokio::test]
async fn a_back_end_that_is_slow_for_one_user_is_not_for_others() {
    let folder = Folder::new();
    let backend = Backend::start(|command| {
        if command["action"]["type"] == "slow" {
            return Reply::Silence;
        }
        let id = &command["meta"]["id"];
        answers(&[
            json!({ "answer": "unheard-of", "id": "1 a:b 0", "more": { "id": id } }),
            json!({ "answer": "approved", "id": id }),
            json!({ "answer": "processed", "id": id }),
        ])
    });
    let server = backend.serve(&folder, &["--store", "memory", "--backend-timeout", "1h"]);
    let mut slow = Vec::new();
    for number in 0..110 {
        let client = Client::connect(&server.url, &format!("mallory:{number}")).await;
        client.log.add(json!({ "type": "slow" })).await.expect("it is added");
        slow.push(client);
    }
    for client in &slow {
        assert!(client.is_synchronized().await);
    }
    let ann = Client::connect(&server.url, "ann:1").await;
    assert_eq!(ann.process(json!({ "type": "quick" })).await, "processed");
    // All of its share are there, however busy this machine is, and no more come.
    let of_mallory =
        || backend.actions().iter().filter(|it| it["action"]["type"] == "slow").count();
    while of_mallory() < 10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(ann.process(json!({ "type": "quick" })).await, "processed");
    assert_eq!(of_mallory(), 10);
}

/// A rule keeps the past of all channels, and the back end says who may have them.
#[tokio::test]
async fn rules_without_allow_ask_the_back_end() {
    let folder = Folder::new();
    folder.write(
        "logux-sync.toml",
        "[[serve.events]]\ntype = \"say\"\nchannels = [\"rooms/:room\"]\n\
         [[serve.channels]]\nname = \"*\"\n",
    );
    let backend = Backend::start(|command| {
        let id = &command["meta"]["id"];
        match command["action"]["channel"].as_str() {
            Some("rooms/cellar") => answers(&[json!({ "answer": "forbidden", "id": id })]),
            _ => done(command, &[]),
        }
    });
    let server = backend.serve(&folder, &["--store", "memory"]);
    let ann = Client::connect(&server.url, "ann:1").await;
    assert_eq!(ann.process(json!({ "type": "say", "room": "hall" })).await, "processed");
    // What cannot be routed is not asked about: the back end would have done it.
    assert_eq!(ann.process(json!({ "type": "say" })).await, "wrongFormat");
    assert_eq!(backend.actions().len(), 1);
    assert_eq!(ann.process(json!({ "type": "other" })).await, "processed");
    let ben = Client::connect(&server.url, "ben:1").await;
    assert_eq!(ben.subscribe("rooms/hall").await, "processed");
    assert_eq!(ben.wait_for("say", 1).await, [json!({ "type": "say", "room": "hall" })]);
    assert_eq!(ben.subscribe("rooms/cellar").await, "denied");
}
