//! Cores: which ones this process may use, a thread's place on one of them, and what it has used of it.

use core_affinity::CoreId;
use std::{fs, io};

/// The cores this process may run on, lowest first. Ask before the first [`pin`] of the asking thread.
#[must_use]
pub fn allowed() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Keeps the calling thread on `core`; whether the kernel agreed.
#[must_use]
pub fn pin(core: usize) -> bool {
    core_affinity::set_for_current(CoreId { id: core })
}

/// Reads a list like `0,2` or `0-3` (both ends included).
///
/// # Errors
/// Says what is not a core or a range of cores.
pub fn parse(list: &str) -> Result<Vec<usize>, String> {
    let number = |text: &str| text.parse::<usize>().map_err(|_| format!("'{text}' is not the number of a core"));
    let mut cores = Vec::new();
    for item in list.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let range = number(first)?..=number(last)?;
        if range.is_empty() || *range.end() >= CORES_MAX {
            return Err(format!("'{item}' is not a range of cores"));
        }
        cores.extend(range);
    }
    Ok(cores)
}

/// The size of the kernel's own mask in core_affinity (`CPU_SETSIZE`, sched_setaffinity(2)).
const CORES_MAX: usize = 1024;

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
    fn lists_of_cores() {
        assert_eq!(parse("0,2"), Ok(vec![0, 2]));
        assert_eq!(parse("0-3,7"), Ok(vec![0, 1, 2, 3, 7]));
        for wrong in ["", "a", "3-1", "0,", "-1", "0-99999999"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn cpu_time_is_to_be_had_here() {
        assert!(thread_cpu_ns().is_ok());
    }
}
