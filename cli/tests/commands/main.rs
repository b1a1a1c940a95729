//! The program as a shell runs it: each command, in processes of their own.

mod program;

mod adding;
mod apps;
mod backends;
mod benching;
mod client;
mod configuration;
mod following;
#[cfg(unix)]
mod killed;
mod logs;
mod operations;
mod serving;
mod syncing;
