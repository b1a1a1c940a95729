//! The commands, their options and their help.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::client::{Credentials, ServerOptions};
use crate::selection::{Since, Source};
use crate::serve::ServeOptions;
use crate::store::DEFAULT_LOG;
use crate::times;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const AFTER_HELP: &str = "\
Try it, in three terminals:
  logux-sync serve
  logux-sync follow
  logux-sync add '{\"type\":\"hello\",\"text\":\"world\"}'

Options may also stand in a file (--config) or in the environment; see `logux-sync serve --help`.

Exit codes:
  0  done
  1  something of this machine failed: a file, a disk, a port
  2  the arguments or the configuration are wrong; nothing was done
  3  the server was not reached, or did not confirm in time; what was added is kept
  4  the server refused the credentials or an event
  5  a log is damaged";

/// Keeps event logs in step: a durable Logux sync server, and a client for the shell.
#[derive(Debug, Parser)]
#[command(name = "logux-sync", version, styles = STYLES, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// A file with options, in TOML; `serve` otherwise reads logux-sync.toml of the working folder, if it is there
    #[arg(long, global = true, value_name = "FILE", env = "LOGUX_SYNC_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(Box<ServeOptions>),
    Add(AddOptions),
    Follow(FollowOptions),
    Sync(SyncOptions),
    Log(LogOptions),
    Bench(BenchOptions),
    /// Print a script that completes commands in a shell
    #[command(after_help = "\
Examples:
  logux-sync completions bash > /etc/bash_completion.d/logux-sync
  logux-sync completions fish > ~/.config/fish/completions/logux-sync.fish")]
    Completions {
        shell: Shell,
    },
    /// Make the pages for `man`
    #[command(after_help = "\
Examples:
  logux-sync man /usr/local/share/man/man1      # a page for each command
  logux-sync man > logux-sync.1                 # the first page")]
    Man {
        /// The folder for the pages; the first page goes to standard output without it
        #[arg(value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
}

/// Add events to a server's log, and wait until it has them
///
/// An event that the server has not confirmed in time is kept on this machine, and the next `add` to the same server
/// sends it: do not add it again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logux-sync add '{\"type\":\"hello\"}'
  logux-sync add --server wss://example.com --user anna --token-file token.txt < events.jsonl
  logux-sync add --log notes.db '{\"type\":\"note\"}'    # offline; `sync` sends it later")]
pub(crate) struct AddOptions {
    /// Events as JSON, an object with a text under "type" each; without any, lines of standard input
    #[arg(value_name = "EVENT")]
    pub(crate) events: Vec<String>,
    /// Add to this log and to no server; `sync` sends it when it runs
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Take any JSON value for an event, which JavaScript nodes do not
    #[arg(long)]
    pub(crate) any: bool,
    /// How long to wait for the server
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = times::span)]
    pub(crate) timeout: std::time::Duration,
    /// Print a line of JSON for each event
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
}

/// Print events as they come to a server's log
///
/// Goes on when the server restarts or the network comes back, and misses nothing. A server in JavaScript does not know
/// where to begin, and sends what it sends.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logux-sync follow
  logux-sync follow --since start --json | jq .event
  logux-sync follow --since 10m --type todo/add --type todo/remove
  logux-sync follow --channel notes/anna --since start")]
pub(crate) struct FollowOptions {
    /// Where to begin: now, start, a position in the log such as 120, a span such as 10m, or a date
    #[arg(long, value_name = "WHEN", default_value = "now", value_parser = Since::parse)]
    pub(crate) since: Since,
    /// Only events of this type; may be given several times
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Vec<String>,
    /// Subscribe to this channel of a server that is an app, and print its events; may be given several times
    #[arg(long = "channel", value_name = "NAME")]
    pub(crate) channels: Vec<String>,
    /// End after so many events
    #[arg(long, value_name = "NUMBER")]
    pub(crate) count: Option<u64>,
    /// Print a line of JSON for each event
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
}

/// Keep a log on this machine in step with a server's
///
/// What is added to it without a connection goes out later; what others add comes in.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logux-sync sync notes.db                 # until it is ended
  logux-sync sync notes.db --once          # until both logs are equal
  logux-sync add --log notes.db '{\"type\":\"note\"}'")]
pub(crate) struct SyncOptions {
    /// The log; it is made if it is not there
    #[arg(value_name = "FILE")]
    pub(crate) log: PathBuf,
    /// End once both logs are equal
    #[arg(long)]
    pub(crate) once: bool,
    /// With --once, how long to wait for the server
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = times::span)]
    pub(crate) timeout: std::time::Duration,
    /// Print a line of JSON for each change of the state
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
}

/// Measure the codecs over the transports on this machine, or a server
///
/// Without --server both nodes are in this process, measured in turn, and a page with plots is made. Take the ratios:
/// numbers are the machine's. With --server, events are added to that server's log, and stay there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logux-sync bench --quick
  logux-sync bench xml/ json/memory
  logux-sync bench --server ws://127.0.0.1:31337 --events 20000")]
pub(crate) struct BenchOptions {
    /// Parts of ids, codec/transport/workload, that are meant; all, without any
    #[arg(value_name = "PART")]
    pub(crate) parts: Vec<String>,
    /// Measure each combination for 6 seconds instead of 15
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only tell the ids
    #[arg(long)]
    pub(crate) list: bool,
    /// Where the page goes
    #[arg(long, value_name = "FOLDER", default_value = "logux-sync-bench")]
    pub(crate) folder: PathBuf,
    /// Also write all plots as one picture (SVG)
    #[arg(long, value_name = "FILE")]
    pub(crate) picture: Option<PathBuf>,
    /// Measure this server, by what it takes and how soon it confirms
    #[arg(long, value_name = "URL", conflicts_with_all = ["parts", "quick", "list", "picture"])]
    pub(crate) server: Option<String>,
    /// With --server, how many events to add; above 1,000 a second and 10,000 at once a server slows clients down, unless
    /// its --events-per-second is higher
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    pub(crate) events: u64,
    /// Print the measurements of a server as lines of JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// How the program calls itself for one combination.
    #[arg(long, hide = true)]
    pub(crate) footprint_of: Option<String>,
    #[command(flatten)]
    pub(crate) credentials: Credentials,
}

/// Look at a log, copy it, check it, or remove old events
#[derive(Debug, Args)]
pub(crate) struct LogOptions {
    #[command(subcommand)]
    pub(crate) command: LogCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Print events of a log
    #[command(after_help = "\
Examples:
  logux-sync log show                      # of logux-sync.db in this folder
  logux-sync log show --last 20
  logux-sync log show ws://127.0.0.1:31337 --since 1h --json")]
    Show(ShowOptions),
    /// Print events that have a text anywhere in them
    #[command(after_help = "Example:\n  logux-sync log search buy --type todo/add")]
    Search {
        /// The text; capital and small letters are the same
        text: String,
        #[command(flatten)]
        show: ShowOptions,
    },
    /// Write all events as lines of JSON
    #[command(
        alias = "copy",
        after_help = "Example:\n  logux-sync log export logux-sync.db --output copy.jsonl"
    )]
    Export {
        /// A file, or the address of a running server
        #[arg(value_name = "LOG", default_value = DEFAULT_LOG, value_parser = Source::parse)]
        source: Source,
        /// The file to make; standard output without it
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        server: Credentials,
    },
    /// Add what `export` wrote; events that are there already stay as they are
    #[command(after_help = "Example:\n  logux-sync log import new.db --input copy.jsonl")]
    Import {
        /// The log; it is made if it is not there
        #[arg(value_name = "FILE", default_value = DEFAULT_LOG)]
        log: PathBuf,
        /// The file to read; standard input without it
        #[arg(long, short, value_name = "FILE")]
        input: Option<PathBuf>,
    },
    /// Read all of a log, and check that it is whole
    #[command(after_help = "Example:\n  logux-sync log verify logux-sync.db")]
    Verify {
        #[arg(value_name = "FILE", default_value = DEFAULT_LOG)]
        log: PathBuf,
    },
    /// Remove old events
    #[command(after_help = "\
Examples:
  logux-sync log prune --older-than 30d
  logux-sync log prune --keep 100000 --unconfirmed")]
    Prune {
        #[arg(value_name = "FILE", default_value = DEFAULT_LOG)]
        log: PathBuf,
        /// Events that are older than this
        #[arg(long, value_name = "TIME", value_parser = times::span, required_unless_present = "keep")]
        older_than: Option<std::time::Duration>,
        /// All but the last so many
        #[arg(long, value_name = "NUMBER")]
        keep: Option<u64>,
        /// Also what a peer that this log knows has not confirmed yet: it will never get that
        #[arg(long)]
        unconfirmed: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ShowOptions {
    /// A file, or the address of a running server
    #[arg(value_name = "LOG", default_value = DEFAULT_LOG, value_parser = Source::parse)]
    pub(crate) source: Source,
    /// Only events from here on: start, a position in the log such as 120, a span such as 10m, or a date
    #[arg(long, value_name = "WHEN", default_value = "start", value_parser = Since::parse)]
    pub(crate) since: Since,
    /// Only events of this type; may be given several times
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Vec<String>,
    /// Only events of this user
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,
    /// Only the last so many
    #[arg(long, value_name = "NUMBER")]
    pub(crate) last: Option<usize>,
    /// Print a line of JSON for each event
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: Credentials,
}
