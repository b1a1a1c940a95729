//! A disk that fails, and a machine that loses its power: `tests/disk/run`, which installs what it needs.
//!
//! A process of its own keeps a log in a file, and `strace` stands between it and the system. `faults`: each of its
//! writes, syncs and changes of length fails once. `power`: from what it wrote and synced, images are made of the
//! disk as it may be after the power is lost at any moment: what was synced is there, and any part of the rest.

mod faults;
mod power;
mod trace;
mod victim;
