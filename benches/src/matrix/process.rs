//! What this process takes of the machine, where the system tells it.

use std::time::Duration;

/// The time that all threads of this process ran so far, in the program and in the system.
pub(super) fn cpu_time() -> Option<Duration> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?))
    }
    #[cfg(not(unix))]
    None
}

/// Resident memory in bytes: now, and at most so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resident {
    pub(super) now: u64,
    pub(super) most: u64,
}

/// What Linux tells.
pub(super) fn resident() -> Option<Resident> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn parse(status: &str) -> Option<Resident> {
    let bytes = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes << 10)
    };
    Some(Resident { now: bytes("VmRSS:")?, most: bytes("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let status = "Name:\tmatrix\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t3\n";
        assert_eq!(parse(status), Some(Resident { now: 1 << 20, most: 2 << 20 }));
        assert_eq!(parse("Name:\tmatrix\n"), None);
    }

    #[cfg(unix)]
    #[test]
    fn time_of_the_processor_passes_while_something_is_done() {
        let end = cpu_time().unwrap() + Duration::from_millis(2);
        let mut random = fastrand::Rng::with_seed(1);
        while cpu_time().unwrap() < end {
            std::hint::black_box(random.u64(..));
        }
    }
}
