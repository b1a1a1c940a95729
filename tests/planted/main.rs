//! Known faults for the simulation to find: `faults` has the table, and how each is planted into a
//! copy of the source. The library itself knows nothing of them. `tests/planted/run` makes the copy,
//! builds it, and sees that `found.rs`, which becomes a part of the simulation there, finds each.

mod copy;
mod faults;

use std::collections::HashSet;
use std::path::Path;

use faults::{FAULTS, PLANTED};

/// The part of a fault's text that asks whether it is at work.
fn condition(name: &str) -> String {
    format!("crate::planted::is({name:?})")
}

#[test]
fn each_fault_fits_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = HashSet::new();
    for fault in FAULTS {
        assert!(names.insert(fault.name), "{:?} stands in the table twice", fault.name);
        assert!(!fault.edits.is_empty(), "{:?} changes nothing", fault.name);
        let has_hazard = fault.hazard.starts_with(|letter| ('A'..='G').contains(&letter));
        assert!(has_hazard, "{:?} has no hazard of the table's", fault.name);
        for edit in fault.edits {
            assert!(edit.becomes.contains(PLANTED), "{:?} cannot be switched off", fault.name);
            let source = std::fs::read_to_string(root.join(edit.file)).unwrap();
            if let Err(error) = copy::replace_once(&source, edit.is, edit.becomes) {
                panic!("{:?} does not fit {}: {error}", fault.name, edit.file);
            }
        }
    }
}

#[test]
fn the_library_has_no_switches_for_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "codecs/src", "transports/src"] {
        for file in copy::files(&root.join(folder)) {
            let source = std::fs::read_to_string(&file).unwrap();
            assert!(!source.contains("planted"), "{} plants a fault", file.display());
        }
    }
}

/// For `tests/planted/run`.
#[test]
#[ignore = "writes a copy of the source"]
fn plant_all_faults_into_a_copy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted");
    let edits = FAULTS.iter().flat_map(|fault| {
        fault.edits.iter().map(|edit| {
            let becomes = edit.becomes.replace(PLANTED, &condition(fault.name));
            (edit.file, edit.is, becomes)
        })
    });
    let switch = "#[path = \"../tests/planted/switch.rs\"]\npub mod planted;\nmod log;";
    let found = "#[path = \"../planted/found.rs\"]\nmod planted;\nmod network;";
    let rooms = [
        ("src/lib.rs", "mod log;", switch.to_owned()),
        ("tests/simulation/simulation.rs", "mod network;", found.to_owned()),
    ];
    copy::make(root, &copy, edits.chain(rooms));
}
