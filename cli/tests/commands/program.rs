//! Runs the program in a folder of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use logux_sync::Value;

/// How long anything may take, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An empty folder, which is gone with this. Nothing of the program leaves it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("logux-sync-cli-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    /// The program with these arguments, and nothing of the environment of this test.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_logux-sync"));
        command.current_dir(&self.0).args(arguments).env_clear();
        command.env("LOGUX_SYNC_STATE", self.path("state")).env("USER", "anna").env("TZ", "UTC");
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        self.run_with(arguments, "")
    }

    /// The same, with a text for its standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Done {
        finish(&mut self.command(arguments), input)
    }

    /// Starts a server at a port that is free, or at that of an earlier one.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Server {
        Server::start(self.command(&["serve", "--operations", "none"]).args(arguments))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a command said, and its exit code.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Done {
    /// The lines of its output, where it went well.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<&str> {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.output.lines().collect()
    }

    /// The events of its output, which are lines of JSON.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        let event = |line: &str| {
            serde_json::from_str::<Value>(line).expect("a line of JSON")["event"].take()
        };
        self.lines().into_iter().map(event).collect()
    }

    /// How many lines of its input an `add` has read that was not confirmed.
    #[track_caller]
    pub(crate) fn events_read(&self) -> usize {
        let failure = self.failure(3);
        let read = failure.strip_suffix(" events were read, and no lines after them");
        let count = read.and_then(|failure| failure.rsplit(' ').next());
        count.and_then(|count| count.parse().ok()).expect(failure)
    }

    /// The one line of its error, where it failed so.
    #[track_caller]
    pub(crate) fn failure(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{self:?}");
        let line = self.errors.trim_end();
        assert!(line.starts_with("error: ") && !line.contains('\n'), "{self:?}");
        line
    }
}

pub(crate) fn finish(command: &mut Command, input: &str) -> Done {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let writing = thread::spawn(move || {
        // It may have ended before it read all.
        let _ = stdin.write_all(input.as_bytes());
    });
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    writing.join().expect("it was written");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("a text");
    Done { code: status.code(), output: text(stdout), errors: text(stderr) }
}

/// A text of lines.
pub(crate) fn lines(lines: impl IntoIterator<Item: AsRef<str>>) -> String {
    lines.into_iter().fold(String::new(), |text, line| text + line.as_ref() + "\n")
}

/// A server that runs. It is killed with this.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) url: String,
    errors: Receiver<String>,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Self {
        if !command.get_args().any(|argument| argument == "--address") {
            command.args(["--address", "127.0.0.1:0"]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let errors = read_lines(child.stderr.take().expect("a pipe"));
        let mut seen = Vec::new();
        let url = loop {
            let Ok(line) = errors.recv_timeout(PATIENCE) else {
                panic!("it does not serve: {seen:?}");
            };
            if let Some((_, rest)) = line.split_once("serving at ") {
                break rest.split(',').next().expect("an address").to_owned();
            }
            seen.push(line);
        };
        Self { child, url, errors }
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> &str {
        self.url.split_once("://").expect("an address").1
    }

    /// The next line of its standard error that has this in it.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let Ok(line) = self.errors.recv_timeout(PATIENCE) else {
                panic!("it does not say {text:?} but {seen:?}");
            };
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
    }

    /// Without a word.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// By a signal, such as `TERM`.
    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Its exit code.
    pub(crate) fn ended(mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that runs beside others, with the lines of its output as they come.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("the program starts");
        let lines = read_lines(child.stdout.take().expect("a pipe"));
        Self { child, lines }
    }

    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line comes")
    }

    pub(crate) fn line_if_there(&self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// By a signal, such as `TERM`.
    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Its exit code, once it has ended by itself.
    #[cfg(unix)]
    pub(crate) fn code(&mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(unix)]
fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(sent.expect("the program `kill`").success());
}

fn read_lines(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
