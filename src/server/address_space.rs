//! Check of the address space limit (RLIMIT_AS, `ulimit -v`) before anything is started: beyond the limit an allocation
//! would fail somewhere and abort the process.

use crate::{config::Config, limits};
use std::fs;

/// Threads beside reactors and query threads: main, logging, signals, maintenance, writer, group-commit, observer,
/// exporter.
const OTHER_THREADS: u64 = 8;
/// Address space of one thread: its stack, and the arena that glibc's malloc reserves for it (malloc/arena.c:
/// HEAP_MAX_SIZE).
const THREAD_BYTES: u64 = (2 + 64) * limits::MIB as u64;
/// Allocations of the running server, and the second half of an arena while it is being aligned.
const WORKING_BYTES: u64 = 128 * limits::MIB as u64;

/// Checks that the configuration fits the limit, if there is one.
///
/// # Errors
/// It does not fit; the line gives both figures.
pub fn check(config: &Config) -> Result<(), String> {
    let limit = fs::read_to_string("/proc/self/limits").ok().and_then(|limits| limit_in(&limits));
    let Some(limit) = limit else { return Ok(()) };
    let needed = needed(config).saturating_add(taken().unwrap_or(0));
    if needed <= limit {
        return Ok(());
    }
    let mebibytes = |bytes: u64| bytes.div_ceil(limits::MIB as u64);
    Err(format!(
        "the limit of address space (ulimit -v, RLIMIT_AS) is {} MiB and this configuration needs {}: raise it, or give \
         the server fewer threads (--reactors, --query-threads) and smaller rings (--ring-size)",
        limit / limits::MIB as u64,
        mebibytes(needed)
    ))
}

fn needed(config: &Config) -> u64 {
    let reactors = config.placement.reactor_cores.len() as u64;
    let threads = OTHER_THREADS + reactors + config.query.threads as u64;
    let receive_buffers = u64::from(limits::RECEIVE_BUFFERS) * u64::from(limits::RECEIVE_BUFFER_BYTES);
    let events = (rate::limits::RATE_EVENTS_PER_RING * 24) as u64;
    let each = (2 * config.ring_bytes as u64).saturating_add(receive_buffers + events);
    // Two slots of 64 bytes a client (`rate::table`).
    let clients = config.rate_limit.map_or(0, |_| 128 * config.clients_limit as u64);
    each.saturating_mul(reactors)
        .saturating_add(clients)
        .saturating_add(threads.saturating_mul(THREAD_BYTES))
        .saturating_add(WORKING_BYTES)
}

/// The soft limit in /proc/self/limits (proc_pid_limits(5)); `None` if unlimited.
fn limit_in(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn taken() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_read_where_there_is_one() {
        let text =
            |soft: &str| format!("Max locked memory 8 8 bytes\nMax address space    {soft}   unlimited  bytes\n");
        assert_eq!(limit_in(&text("204800000")), Some(204_800_000));
        assert_eq!(limit_in(&text("unlimited")), None);
        assert!(taken() > Some(1_000_000));
    }
}
