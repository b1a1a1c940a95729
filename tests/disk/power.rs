//! What is left of the files when the power is lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use crate::trace::{ARGUMENTS, Step, steps};
use crate::victim::{Folder, Said, check, run};

const IMAGES: usize = 400;

/// A disk writes so many bytes whole, or not at all.
const SECTOR: usize = 512;

/// A file, and what of it is on the disk.
#[derive(Clone, Default)]
struct File {
    on_disk: Vec<u8>,
    /// What was done to it since it was synced.
    since: Vec<Step>,
    /// Its folder was synced since it is there.
    is_listed: bool,
}

/// The disk after some steps: what is on it for certain, and what may be.
fn after(steps: &[Step]) -> BTreeMap<PathBuf, File> {
    let mut files: BTreeMap<PathBuf, File> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Create(path) => drop(files.entry(path.clone()).or_default()),
            Step::Write { file, .. } | Step::Length { file, .. } => {
                if let Some(file) = files.get_mut(file) {
                    file.since.push(step.clone());
                }
            }
            Step::Sync(path) => {
                if let Some(file) = files.get_mut(path) {
                    let since = std::mem::take(&mut file.since);
                    for step in &since {
                        apply(&mut file.on_disk, step, usize::MAX);
                    }
                } else {
                    for (_, file) in
                        files.iter_mut().filter(|(name, _)| name.parent() == Some(path))
                    {
                        file.is_listed = true;
                    }
                }
            }
            // At once: what is removed is not looked at, or it would be there still.
            Step::Remove(path) => drop(files.remove(path)),
            Step::Say(_) => {}
        }
    }
    files
}

/// Does a step to a file, the first so many bytes of it.
fn apply(file: &mut Vec<u8>, step: &Step, at_most: usize) {
    match step {
        Step::Write { offset, bytes, .. } => {
            let bytes = &bytes[..bytes.len().min(at_most)];
            let end = offset + bytes.len();
            if file.len() < end {
                file.resize(end, 0);
            }
            file[*offset..end].copy_from_slice(bytes);
        }
        Step::Length { bytes, .. } => file.resize(*bytes, 0),
        _ => {}
    }
}

/// Makes files of what is on the disk, with any part of the rest.
fn make_image(files: &BTreeMap<PathBuf, File>, folder: &Path, random: &mut Rng) {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).unwrap();
    // Nothing of the rest, all of it, or some.
    let share = [0.0, 0.1, 0.5, 0.9, 1.0][random.usize(..5)];
    for (path, file) in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        // What is shared by processes that run, and the lock of one.
        if name.ends_with("-shm") || path.extension().is_some_and(|end| end == "lock") {
            continue;
        }
        if !file.is_listed && random.f64() >= share {
            continue;
        }
        let mut bytes = file.on_disk.clone();
        for step in &file.since {
            if random.f64() < share {
                let is_torn = share < 1.0 && random.u8(..4) == 0;
                let whole = if is_torn { SECTOR * random.usize(..9) } else { usize::MAX };
                apply(&mut bytes, step, whole);
            }
        }
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

/// Loses the power again and again. Answers what was found wrong.
async fn lose_power(steps: &[Step], folder: &Path, random: &mut Rng) -> Result<(), String> {
    let image = folder.join("image");
    for number in 0..IMAGES {
        let mut end = random.usize(..=steps.len());
        if random.bool() {
            // Right after something was said.
            let is_said = |step: &Step| matches!(step, Step::Say(_));
            end = steps[..end].iter().rposition(is_said).map_or(end, |place| place + 1);
        }
        let mut said = Said::default();
        for step in &steps[..end] {
            if let Step::Say(lines) = step {
                lines.lines().for_each(|line| said.hear(line));
            }
        }
        make_image(&after(&steps[..end]), &image, random);
        check(&image.join("log.db"), &said)
            .await
            .map_err(|wrong| format!("image {number}, after {end} steps: {wrong}\n{said:?}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace: tests/disk/run"]
async fn what_was_answered_is_there_whatever_of_the_rest_is() {
    let seed = std::env::var("DISK_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("DISK_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let folder = Folder::new("power");
    let output = folder.0.join("trace");
    let mut arguments = ARGUMENTS.to_vec();
    arguments.extend(["-o", output.to_str().unwrap()]);
    run(&folder.0.join("log.db"), &arguments, true);
    let steps = steps(&std::fs::read_to_string(&output).unwrap());
    let count = |is: fn(&Step) -> bool| steps.iter().filter(|step| is(step)).count();
    let writes = count(|step| matches!(step, Step::Write { .. }));
    let syncs = count(|step| matches!(step, Step::Sync(_)));
    let lines = count(|step| matches!(step, Step::Say(_)));
    println!("{writes} writes, {syncs} syncs, {lines} lines, {IMAGES} images");
    assert!(writes > 100 && syncs > 80 && lines > 80);
    // Something is said also after the write-ahead log was moved into the database.
    let is_moved =
        |step: &Step| matches!(step, Step::Write { file, .. } if file.ends_with("log.db"));
    let is_added = |step: &Step| matches!(step, Step::Say(line) if line.contains("added"));
    let moved = steps.windows(2).filter(|two| is_moved(&two[0]) && !is_moved(&two[1])).count();
    let last_added = steps.iter().rposition(is_added);
    let moves = steps.iter().take(last_added.unwrap_or_default()).filter(|step| is_moved(step));
    assert!(moved > 2 && moves.count() > 4, "the write-ahead log was moved {moved} times");
    if let Err(wrong) = lose_power(&steps, &folder.0, &mut random).await {
        panic!("{wrong}");
    }

    // And what would be wrong is found: without the syncs of the write-ahead log, as `synchronous=NORMAL` has it, ..
    let is_of_log = |file: &Path| file.to_str().unwrap().ends_with("-wal");
    let normal: Vec<_> = steps
        .iter()
        .filter(|step| !matches!(step, Step::Sync(file) if is_of_log(file)))
        .cloned()
        .collect();
    let found = lose_power(&normal, &folder.0, &mut random).await;
    println!("without the syncs: {}", found.expect_err("it is found"));
    // .. and where each line is said before the commit that it is about.
    let mut early = steps.clone();
    for place in 1..early.len() {
        let is_said = matches!(&early[place], Step::Say(line) if line.contains("added"));
        let commit = early[..place].iter().rposition(|step| matches!(step, Step::Sync(_)));
        if let Some(commit) = commit.filter(|_| is_said) {
            let line = early.remove(place);
            early.insert(commit, line);
        }
    }
    let found = lose_power(&early, &folder.0, &mut random).await;
    println!("before the commit: {}", found.expect_err("it is found"));
}
