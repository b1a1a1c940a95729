//! WebSocket beside the cases of the Autobahn test suite: `tests/autobahn/run` installs them, by the
//! package kosoku, and runs this.
//!
//! A link's format says which kind of frames it sends, and its receiver takes both alike. So the
//! cases with binary frames run against a peer whose format is binary, all others against one whose
//! format is text.
#![cfg(feature = "websocket")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use logux_transports::{
    Format, FrameReceiver, FrameSender, Link, Listener, Transport, WebSocket, WebSocketLink,
    WebSocketListener,
};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const TEXT: Format = Format { name: "json", media_type: "application/json", is_text: |_| true };
/// Bears the one name that is no subprotocol: the cases know none.
const BINARY: Format = Format { is_text: |_| false, ..TEXT };

/// Above the longest frame of the cases.
const MAX_FRAME: usize = 16 << 20;

/// How many cases there are, without those of speed and of compression.
const CASES: usize = 247;

/// Ends what hangs; some cases wait for seconds, and all are through in less than a minute.
const LIMIT: Duration = Duration::from_secs(5 * 60);

#[tokio::test]
#[ignore = "needs Python and kosoku: run tests/autobahn/run"]
async fn the_listener_passes_all_cases() {
    let mut report = Vec::new();
    for (frames, format) in [("text", TEXT), ("binary", BINARY)] {
        let mut listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            loop {
                tokio::spawn(echo(listener.accept(&[format], MAX_FRAME).await.unwrap()));
            }
        });
        let (python, lines) = python(&[frames, "client", &url]);
        report.extend(timeout(LIMIT, results(python, lines)).await.unwrap());
        serving.abort();
    }
    judge("listener", &report);
}

#[tokio::test]
#[ignore = "needs Python and kosoku: run tests/autobahn/run"]
async fn the_client_passes_all_cases() {
    let mut report = Vec::new();
    for (frames, format) in [("text", TEXT), ("binary", BINARY)] {
        let (python, mut lines) = python(&[frames, "server"]);
        let all = async {
            let port = lines.next_line().await.unwrap().unwrap();
            let mut asking = open(&port, "getCaseCount", format).await;
            let count = asking.receiver.receive(MAX_FRAME).await.unwrap().unwrap();
            let count: usize = std::str::from_utf8(&count).unwrap().parse().unwrap();
            for case in 1..=count {
                echo(open(&port, &format!("runCase?case={case}&agent=logux"), format).await).await;
            }
            echo(open(&port, "updateReports?agent=logux", format).await).await;
            results(python, lines).await
        };
        report.extend(timeout(LIMIT, all).await.unwrap());
    }
    judge("client", &report);
}

async fn open(port: &str, path: &str, format: Format) -> WebSocketLink {
    let mut transport = WebSocket::new(&format!("ws://127.0.0.1:{port}/{path}")).unwrap();
    transport.open(format, MAX_FRAME).await.unwrap()
}

/// Sends back all that comes, and closes when the other side does or breaks the rules.
async fn echo<S: FrameSender, R: FrameReceiver>(mut link: Link<S, R>) {
    while let Ok(Some(frame)) = link.receiver.receive(MAX_FRAME).await {
        if link.sender.send(frame).await.is_err() || link.sender.flush().await.is_err() {
            break;
        }
    }
    // The report says whether this was the right way to end; the other side may be gone already.
    let _ = link.sender.close().await;
}

fn python(arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/autobahn");
    let mut python = Command::new(folder.join("venv/bin/python"))
        .arg(folder.join("cases.py"))
        .args(arguments)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("tests/autobahn/run has installed it");
    let lines = BufReader::new(python.stdout.take().unwrap()).lines();
    (python, lines)
}

/// A line for each case: its number, how the peer behaved, how it closed, and what was found.
async fn results(mut python: Child, mut lines: Lines<BufReader<ChildStdout>>) -> Vec<String> {
    let mut results = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        results.push(line);
    }
    let status = python.wait().await.unwrap();
    assert!(status.success(), "{status} after {} lines", results.len());
    results
}

fn judge(peer: &str, report: &[String]) {
    let has_passed = |line: &&String| {
        let mut verdicts = line.split('\t').skip(1);
        (0..2).all(|_| matches!(verdicts.next(), Some("OK" | "NON-STRICT" | "INFORMATIONAL")))
    };
    let (passed, failed): (Vec<_>, Vec<_>) = report.iter().partition(has_passed);
    println!("{peer}: {} cases, {} failed", report.len(), failed.len());
    for line in passed.iter().filter(|line| !line.contains("\tOK\tOK\t")) {
        println!("{peer}: {line}");
    }
    assert!(failed.is_empty(), "{peer}: {failed:#?}");
    assert!(report.len() >= CASES, "{peer}: {} cases are fewer than there are", report.len());
}
