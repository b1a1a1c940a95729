//! This program: how it was called, and where its files go.

use std::env;
use std::path::{Path, PathBuf};

/// How a program was called that has a matrix.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// What a person types to have the same again.
    pub(super) command: String,
    /// What comes before the options, where the program calls itself.
    pub(super) before: Vec<String>,
    /// Where the page is.
    pub(super) folder: PathBuf,
}

impl Call {
    /// A bench that cargo runs. The page is in cargo's folder for all that it makes.
    pub(super) fn of_cargo() -> Self {
        let arguments: Vec<String> = env::args().skip(1).filter(|it| it != "--bench").collect();
        let command = format!("cargo bench --bench {}", name());
        let command = if arguments.is_empty() {
            command
        } else {
            format!("{command} -- {}", arguments.join(" "))
        };
        let folder = target(&this()).join("report").join(name());
        Self { command, before: Vec::new(), folder }
    }
}

/// Where the command was typed: cargo runs benches in the folder of their package.
pub(super) fn typed_in() -> PathBuf {
    env::var_os("PWD").map_or_else(PathBuf::new, PathBuf::from)
}

/// A path as seen from there.
pub(super) fn shown(path: &Path) -> String {
    path.strip_prefix(typed_in()).unwrap_or(path).display().to_string()
}

fn this() -> PathBuf {
    env::current_exe().unwrap_or_default()
}

fn name() -> String {
    let program = this();
    let name = program.file_stem().unwrap_or_default().to_string_lossy();
    without_hash(&name).to_owned()
}

/// Cargo puts a hash behind the name of a bench.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((name, hash)) if hash.len() == 16 && hash.chars().all(|it| it.is_ascii_hexdigit()) => {
            name
        }
        _ => name,
    }
}

/// Three above: programs are in `release/deps`.
fn target(program: &Path) -> &Path {
    program.ancestors().nth(3).unwrap_or(Path::new("target"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bench_is_named_without_the_hash() {
        assert_eq!(without_hash("matrix-0123456789abcdef"), "matrix");
        assert_eq!(without_hash("my-own-0123456789abcdef"), "my-own");
        assert_eq!(without_hash("my-own"), "my-own");
    }

    #[test]
    fn files_go_into_the_folder_of_cargo() {
        let program = Path::new("/home/me/target/release/deps/matrix-0123456789abcdef");
        assert_eq!(target(program), Path::new("/home/me/target"));
        assert_eq!(target(Path::new("matrix")), Path::new("target"));
    }
}
