//! `logux-sync`: a durable sync server that one can run, and a client for the shell.
//!
//! - `arguments`: the commands, their options and their help;
//! - `serve`: the server; `client`: what the commands share that connect to one;
//! - `add`, `follow`, `sync`, `log`: a file for each of the other commands;
//! - `configuration`: the file and the environment behind the options; `store`: where a log is kept;
//! - `failure`: what a person is told when something goes wrong, and the exit codes.

#![expect(clippy::doc_markdown, reason = "the comments of options are the help of a terminal")]

mod add;
mod arguments;
mod bench;
mod client;
mod configuration;
mod events;
mod failure;
mod follow;
mod log;
mod man;
mod output;
mod selection;
mod serve;
mod signals;
mod store;
mod sync;
mod times;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};

use arguments::{Arguments, Command};
use configuration::Configuration;
use failure::Failure;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let serves = matches!(arguments.command, Command::Serve(_));
    let configuration = Configuration::read(arguments.config.as_deref(), serves)?;
    match arguments.command {
        Command::Completions { shell } => {
            let mut command = Arguments::command();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "logux-sync", &mut script);
            output::whole(&script)
        }
        Command::Man { folder } => man::write(Arguments::command(), folder.as_deref()),
        Command::Serve(options) => serve::run(options.over(configuration.serve)),
        Command::Add(options) => add::run(options, configuration.client),
        Command::Follow(options) => follow::run(options, configuration.client),
        Command::Sync(options) => sync::run(options, configuration.client),
        Command::Bench(options) => bench::run(&options, configuration.client),
        Command::Log(options) => log::run(options, configuration.client),
    }
}

/// Runs a command's future on a runtime of its own.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::failed(format!("no threads could be started: {error}")))?;
    let result = runtime.block_on(future);
    // Whoever still has the log lets go of it, so that it is closed; a read that is under way keeps nobody for long.
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}
