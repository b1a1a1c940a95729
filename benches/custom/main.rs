//! A transport of one's own in the matrix: `cargo bench --bench custom` measures the Unix sockets of
//! `examples/custom_transport.rs` as `--bench matrix` does ours.

#[cfg(unix)]
#[path = "../../examples/custom_transport.rs"]
#[expect(dead_code, reason = "the example's own proof")]
pub mod custom_transport;

#[cfg(unix)]
fn main() {
    use custom_transport::{by_hand, with_framed};
    use logux_benches::Matrix;
    use logux_sync::Json;

    let path = std::env::temp_dir().join(format!("logux-{:016x}", fastrand::u64(..)));
    let free = || {
        // Not there before the first.
        let _ = std::fs::remove_file(&path);
        path.clone()
    };
    let mut matrix = Matrix::of_command_line();
    matrix.combination(Json, "unix", async |_| with_framed::listen(free()).expect("a socket"));
    matrix.combination(Json, "unix-by-hand", async |_| by_hand::listen(free()).expect("a socket"));
    matrix.finish();
    free();
}

#[cfg(not(unix))]
fn main() {
    println!("there are no Unix sockets here");
}
