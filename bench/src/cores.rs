//! Cores: which ones this process may use, a thread's place on one of them, and what it has used of it.

use core_affinity::CoreId;
use std::{fs, io};

/// The cores this process may run on, lowest first. Ask before the first [`pin`] of the asking thread.
#[must_use]
pub fn allowed() -> Vec<usize> {
    metricstream::config::allowed_cores().unwrap_or_default()
}

/// Keeps the calling thread on `core`; whether the kernel agreed.
#[must_use]
pub fn pin(core: usize) -> bool {
    core_affinity::set_for_current(CoreId { id: core })
}

/// CPU time that the calling thread has used, in nanoseconds: the first field of schedstat (Linux 2.6.9, see
/// Documentation/scheduler/sched-stats.rst), which the kernel brings up to date at each tick and each switch of threads.
///
/// # Errors
/// /proc is not there, or not as documented.
pub fn thread_cpu_ns() -> io::Result<u64> {
    let line = fs::read_to_string("/proc/thread-self/schedstat")?;
    let field = line.split_ascii_whitespace().next().and_then(|field| field.parse().ok());
    field.ok_or_else(|| io::Error::other(format!("/proc/thread-self/schedstat says '{}'", line.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_to_be_had_here() {
        assert!(thread_cpu_ns().is_ok());
    }
}
