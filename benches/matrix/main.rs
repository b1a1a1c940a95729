//! Each codec over each transport, through one function: what logux-sync does, end to end.
//!
//! `cargo bench --bench matrix` takes two and a half minutes, prints a table, and says where it has left the
//! page; `-- --quick` takes one; `-- xml/` runs what has that in its id, `-- --test` runs each once,
//! `-- --help` tells the rest. What is measured is described on [`Matrix`].

use logux_benches::Matrix;

fn main() {
    let mut matrix = Matrix::of_command_line();
    matrix.ours();
    matrix.finish();
}
