//! A JavaScript node in a process of its own: see `requests.mjs`.

use std::process::Stdio;

use logux_sync::codecs::Protocol;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Ends with its process when it is dropped.
pub(crate) struct Peer {
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Peer {
    /// A node on the `@logux/core` of that protocol: see `peer.mjs`.
    pub(crate) fn core(protocol: Protocol, node_id: &str) -> Self {
        Self::start(["peer.mjs", &format!("core-{}", protocol.number()), node_id])
    }

    /// One that does what a script of this folder says.
    pub(crate) fn start<'a>(script: impl IntoIterator<Item = &'a str>) -> Self {
        let mut process = Command::new("node")
            .args(script)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts: see tests/interop/run");
        Self {
            requests: process.stdin.take().unwrap(),
            answers: BufReader::new(process.stdout.take().unwrap()).lines(),
            _process: process,
        }
    }

    /// Asks for something and waits for the answer. What failed there fails here.
    pub(crate) async fn ask(&mut self, what: &str, mut details: Value) -> Value {
        details["do"] = json!(what);
        let request = format!("{details}\n");
        self.requests.write_all(request.as_bytes()).await.expect("the process runs");
        let answer = self.answers.next_line().await.unwrap().expect("the process runs");
        let mut answer: Value = serde_json::from_str(&answer).unwrap();
        if let Some(failed) = answer["failed"].as_str() {
            panic!("{what}: {failed}");
        }
        answer["ok"].take()
    }

    pub(crate) async fn add(&mut self, entries: impl IntoIterator<Item = (Value, Value)>) {
        let entries: Vec<_> = entries.into_iter().collect();
        self.ask("add", json!({ "entries": entries })).await;
    }

    pub(crate) async fn wait(&mut self, state: &str) {
        self.ask("wait", json!({ "state": state })).await;
    }

    /// The next `debug` or `headers` that it was sent, or `error` that it was sent or sent itself.
    pub(crate) async fn next(&mut self, kind: &str) -> Value {
        self.ask("next", json!({ "kind": kind })).await
    }

    pub(crate) async fn status(&mut self) -> Value {
        self.ask("status", json!({})).await
    }

    /// What has travelled since this was last asked.
    pub(crate) async fn wire(&mut self) -> Wire {
        let Value::Array(messages) = self.ask("wire", json!({})).await else { panic!() };
        Wire(messages)
    }
}

/// Messages as they travelled, and from which side.
pub(crate) struct Wire(Vec<Value>);

impl Wire {
    /// The messages of one type from one side, `"js"` or `"rust"`.
    pub(crate) fn messages(&self, kind: &str, from: &str) -> Vec<&Value> {
        let those = self.0.iter().filter(|one| one["from"] == from && one["message"][0] == kind);
        those.map(|one| &one["message"]).collect()
    }

    /// The events, with their meta, that one side sent.
    pub(crate) fn events(&self, from: &str) -> Vec<(&Value, &Value)> {
        let syncs = self.messages("sync", from);
        let items = syncs.iter().flat_map(|sync| sync.as_array().unwrap()[2..].chunks(2));
        items.map(|pair| (&pair[0], &pair[1])).collect()
    }

    /// Each `sync` has its `synced`, in the same order.
    pub(crate) fn is_confirmed(&self) -> bool {
        let numbers = |kind, from| -> Vec<_> {
            self.messages(kind, from).iter().map(|message| &message[1]).collect()
        };
        numbers("sync", "js") == numbers("synced", "rust")
            && numbers("sync", "rust") == numbers("synced", "js")
    }
}
