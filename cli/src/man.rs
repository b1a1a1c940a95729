//! `man`: a page for each command.

use std::fs;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

use crate::failure::Failure;
use crate::output;
use crate::store::cannot;

/// Writes the pages into a folder, or the first one to standard output.
pub(crate) fn write(mut command: Command, folder: Option<&Path>) -> Result<(), Failure> {
    command.build();
    match folder {
        Some(folder) => write_all(&command, "logux-sync", folder),
        None => output::whole(&page(&command)?),
    }
}

fn write_all(command: &Command, name: &str, folder: &Path) -> Result<(), Failure> {
    let path = folder.join(format!("{name}.1"));
    fs::write(&path, page(&command.clone().name(name.to_owned()))?)
        .map_err(|error| cannot("write", &path, &error))?;
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        write_all(inner, &format!("{name}-{}", inner.get_name()), folder)?;
    }
    Ok(())
}

fn page(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    let rendered = Man::new(command.clone()).render(&mut page);
    rendered.map_err(|error| Failure::failed(format!("the page was not made: {error}")))?;
    Ok(page)
}
