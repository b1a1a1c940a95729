use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io;

use logux_sync::Value;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

/// A file with a line for each new task, in place of a mail or of a row in a database. After a crash
/// an event may be processed again, so its id is the key: what has a line gets no second one.
pub(crate) struct Journal(File, HashSet<String>);

impl Journal {
    pub(crate) fn open(path: &str) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let text = io::read_to_string(&file)?;
        // A line that a loss of power has cut is none.
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        file.set_len(whole.len() as u64)?;
        let ids = whole.lines().filter_map(|line| Some(line.split_once('\t')?.0.to_owned()));
        Ok(Self(File::from_std(file), ids.collect()))
    }

    pub(crate) async fn write(&mut self, id: String, event: &Value) -> io::Result<()> {
        if !self.1.contains(&id) {
            self.0.write_all(format!("{id}\t{event}\n").as_bytes()).await?;
            self.0.sync_data().await?;
            self.1.insert(id);
        }
        Ok(())
    }
}
