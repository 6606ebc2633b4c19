//! Check of the limits of address space and of data (RLIMIT_AS and RLIMIT_DATA, `ulimit -v` and `-d`) before anything
//! is started: beyond a limit an allocation would fail somewhere and abort the process.

use crate::{config::Config, limits};
use std::fs;

/// Threads beside reactors and query threads: main, logging, signals, maintenance, writer, group-commit, observer,
/// exporter.
const OTHER_THREADS: u64 = 8;
/// Stack of one thread, in bytes.
const STACK_BYTES: u64 = 2 * limits::MIB as u64;
/// Allocations of the running server, and the second half of an arena while it is being aligned.
const WORKING_BYTES: u64 = 128 * limits::MIB as u64;

/// A limit of a process's memory.
struct Limit {
    /// The name for people.
    name: &'static str,
    /// Name of the soft limit in /proc/self/limits (proc_pid_limits(5)).
    row: &'static str,
    /// Name of what is taken of it in /proc/self/status (proc_pid_status(5)).
    taken: &'static str,
    /// Bytes that it counts for each thread.
    thread_bytes: u64,
}

const LIMITS: [Limit; 2] = [
    Limit {
        name: "address space (ulimit -v, RLIMIT_AS)",
        row: "Max address space",
        taken: "VmSize:",
        // And the arena that glibc's malloc reserves for it (malloc/arena.c: HEAP_MAX_SIZE).
        thread_bytes: STACK_BYTES + 64 * limits::MIB as u64,
    },
    // The private memory that may be written, since Linux 4.7 (setrlimit(2)): of an arena only what is in use.
    Limit {
        name: "data (ulimit -d, RLIMIT_DATA)",
        row: "Max data size",
        taken: "VmData:",
        thread_bytes: STACK_BYTES + 2 * limits::MIB as u64,
    },
];

/// Checks that the configuration fits the limits that there are.
///
/// # Errors
/// It does not fit one; the line gives both figures.
pub fn check(config: &Config) -> Result<(), String> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (limits, status) = (read("/proc/self/limits"), read("/proc/self/status"));
    LIMITS.iter().try_for_each(|limit| limit.check(config, &limits, &status))
}

impl Limit {
    fn check(&self, config: &Config, limits: &str, status: &str) -> Result<(), String> {
        let Some(bytes) = self.soft_in(limits) else { return Ok(()) };
        let needed = needed(config, self.thread_bytes).saturating_add(self.taken_in(status).unwrap_or(0));
        if needed <= bytes {
            return Ok(());
        }
        Err(format!(
            "the limit of {} is {} MiB and this configuration needs {}: raise it, or give the server fewer threads \
             (--reactors, --query-threads) and smaller rings (--ring-size)",
            self.name,
            bytes / limits::MIB as u64,
            needed.div_ceil(limits::MIB as u64)
        ))
    }

    /// The soft limit; `None` if unlimited.
    fn soft_in(&self, limits: &str) -> Option<u64> {
        let line = limits.lines().find_map(|line| line.strip_prefix(self.row))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    }

    fn taken_in(&self, status: &str) -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(self.taken))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    }
}

fn needed(config: &Config, thread_bytes: u64) -> u64 {
    let reactors = config.placement.reactor_cores.len() as u64;
    let threads = OTHER_THREADS + reactors + config.query.threads as u64;
    let receive_buffers = u64::from(limits::RECEIVE_BUFFERS) * u64::from(limits::RECEIVE_BUFFER_BYTES);
    let events = (rate::limits::RATE_EVENTS_PER_RING * 24) as u64;
    let each = (2 * config.ring_bytes as u64).saturating_add(receive_buffers + events);
    // Two slots of 64 bytes a client (`rate::table`).
    let clients = config.rate_limit.map_or(0, |_| 128 * config.clients_limit as u64);
    each.saturating_mul(reactors)
        .saturating_add(clients)
        .saturating_add(threads.saturating_mul(thread_bytes))
        .saturating_add(WORKING_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_where_there_are_some() {
        let [space, data] = LIMITS;
        let text = |soft: &str| {
            let data = "Max data size   4096   8192   bytes\nMax locked memory 8 8 bytes\n";
            format!("{data}Max address space    {soft}   unlimited  bytes\n")
        };
        assert_eq!(space.soft_in(&text("204800000")), Some(204_800_000));
        assert_eq!(space.soft_in(&text("unlimited")), None);
        assert_eq!(data.soft_in(&text("unlimited")), Some(4096));
        let status = fs::read_to_string("/proc/self/status").unwrap();
        assert!(space.taken_in(&status) > data.taken_in(&status) && data.taken_in(&status) > Some(100_000));
    }
}
