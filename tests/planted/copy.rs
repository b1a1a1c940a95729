//! A copy of the source with changes in it.

use std::fs;
use std::path::{Path, PathBuf};

/// What the copy needs to be built: all that is neither built nor history.
const PARTS: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "src",
    "codecs",
    "transports",
    "tests",
    "benches",
    "cli",
    "examples",
];

/// Makes the copy anew. A file whose text stays what it was keeps its time, so that the next build
/// has less to do.
pub(crate) fn make<'a>(
    root: &Path,
    copy: &Path,
    edits: impl Iterator<Item = (&'a str, &'a str, String)>,
) {
    let mut texts = Vec::new();
    for part in PARTS {
        for file in files(&root.join(part)) {
            let path = file.strip_prefix(root).unwrap().to_owned();
            if let Ok(text) = fs::read_to_string(&file) {
                texts.push((path, text));
            }
        }
    }
    for (file, is, becomes) in edits {
        let found = texts.iter_mut().find(|(path, _)| path == Path::new(file));
        let (_, text) = found.unwrap_or_else(|| panic!("there is no {file}"));
        *text = replace_once(text, is, &becomes).unwrap_or_else(|error| {
            panic!("{file}, in which other faults are planted already: {error}")
        });
    }
    // What was moved or removed since the last copy is not to be built.
    for old in files(copy) {
        let is_there = texts.iter().any(|(path, _)| old == copy.join(path));
        if copy.is_dir() && !is_there {
            fs::remove_file(old).unwrap();
        }
    }
    for (path, text) in texts {
        let path = copy.join(path);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// All files below a folder, or the file itself; nothing that was installed or built.
pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !["node_modules", "venv", "built", "target", "bombs"].contains(&name.as_str()) {
            found.extend(files(&path));
        }
    }
    found.sort();
    found
}

/// Replaces a part of a text that occurs once, however it is broken into lines.
pub(crate) fn replace_once(text: &str, is: &str, becomes: &str) -> Result<String, String> {
    let (letters, places) = without_space(text);
    let (sought, _) = without_space(is);
    let mut found = letters.match_indices(&sought);
    let (Some((start, _)), None) = (found.next(), found.next()) else {
        return Err(format!("it does not hold once: {is}"));
    };
    let (first, last) = (places[start], places[start + sought.len() - 1]);
    // The last letter is ASCII, or this would cut it.
    Ok(format!("{}{becomes}{}", &text[..first], &text[last + 1..]))
}

/// The text without white space, and where each of its bytes came from.
fn without_space(text: &str) -> (String, Vec<usize>) {
    let kept = text.char_indices().filter(|(_, letter)| !letter.is_whitespace());
    let (mut letters, mut places) = (String::new(), Vec::new());
    for (at, letter) in kept {
        letters.push(letter);
        places.extend(at..at + letter.len_utf8());
    }
    (letters, places)
}
