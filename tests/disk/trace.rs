//! What `strace` has seen: what a process did to its files, and what it said meanwhile.

use std::collections::HashMap;
use std::path::PathBuf;

/// One thing after the other, as the system did them.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A file is there from now on.
    Create(PathBuf),
    Write {
        file: PathBuf,
        offset: usize,
        bytes: Vec<u8>,
    },
    Length {
        file: PathBuf,
        bytes: usize,
    },
    /// Of a file, or of a folder.
    Sync(PathBuf),
    Remove(PathBuf),
    /// Lines to whoever listens.
    Say(String),
}

/// What to trace.
pub(crate) const ARGUMENTS: [&str; 6] = [
    "-y",
    "-xx",
    "-s",
    "1000000",
    "-e",
    "trace=openat,pwrite64,write,ftruncate,fdatasync,fsync,unlink",
];

/// Reads the steps from a trace.
pub(crate) fn steps(trace: &str) -> Vec<Step> {
    let mut unfinished: HashMap<&str, &str> = HashMap::new();
    let mut steps = Vec::new();
    for line in trace.lines() {
        let Some((process, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix(" <unfinished ...>") {
            unfinished.insert(process, begun);
        } else if let Some(rest) = call.strip_prefix("<... ") {
            let begun = unfinished.remove(process).unwrap();
            let (_, rest) = rest.split_once(" resumed>").unwrap();
            steps.extend(step(&format!("{begun}{rest}")));
        } else {
            steps.extend(step(call));
        }
    }
    steps
}

fn step(call: &str) -> Option<Step> {
    let (name, rest) = call.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    if result.starts_with('-') {
        return None;
    }
    let arguments: Vec<&str> = arguments.split(", ").collect();
    let number = |argument: &str| argument.parse::<usize>().unwrap();
    Some(match name {
        "openat" if arguments[2].contains("O_CREAT") => Step::Create(file(result)?),
        "pwrite64" => {
            let bytes = unescape(arguments[1].trim_matches('"'));
            assert_eq!(bytes.len(), number(result), "all of it is written");
            Step::Write { file: file(arguments[0])?, offset: number(arguments[3]), bytes }
        }
        "write" if arguments[0].starts_with("1<") => {
            Step::Say(String::from_utf8(unescape(arguments[1].trim_matches('"'))).unwrap())
        }
        "ftruncate" => Step::Length { file: file(arguments[0])?, bytes: number(arguments[1]) },
        "fdatasync" | "fsync" => Step::Sync(file(arguments[0])?),
        "unlink" => Step::Remove(path(arguments[0].trim_matches('"'))),
        _ => return None,
    })
}

/// The path behind a number that stands for a file.
fn file(descriptor: &str) -> Option<PathBuf> {
    let (_, name) = descriptor.split_once('<')?;
    Some(path(name.strip_suffix('>')?))
}

fn path(escaped: &str) -> PathBuf {
    String::from_utf8(unescape(escaped)).unwrap().into()
}

/// `strace` writes each byte as `\\x` and two digits.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.split("\\x").skip(1);
    bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}
