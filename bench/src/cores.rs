//! Cores: which ones this process may use, a thread's place on one of them, and what it has used of it.

use core_affinity::CoreId;
use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
};

/// The cores this process may run on, lowest first. Call it before the first [`pin`] of the calling thread.
#[must_use]
pub fn allowed() -> Vec<usize> {
    metricstream::config::allowed_cores().unwrap_or_default()
}

/// Keeps the calling thread on `core`; whether the kernel agreed.
#[must_use]
pub fn pin(core: usize) -> bool {
    core_affinity::set_for_current(CoreId { id: core })
}

/// CPU time that the calling thread has used, in nanoseconds. See [`ThreadClock`].
///
/// # Errors
/// /proc is not there, or not as documented.
pub fn thread_cpu_ns() -> io::Result<u64> {
    ThreadClock::open()?.read().map(|times| times.running_ns)
}

/// CPU and waiting times of a thread since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThreadTimes {
    /// Time on a core.
    pub running_ns: u64,
    /// Time spent runnable, waiting for a core that others had.
    pub waiting_ns: u64,
}

/// Reads one thread's times from schedstat (Linux 2.6.9, see Documentation/scheduler/sched-stats.rst), which the kernel
/// brings up to date at each tick and each switch of threads. Allocates only when it is opened.
#[derive(Debug)]
pub struct ThreadClock(File);

impl ThreadClock {
    /// The clock of the calling thread; it may be read from any.
    ///
    /// # Errors
    /// /proc is not there.
    pub fn open() -> io::Result<Self> {
        File::open("/proc/thread-self/schedstat").map(Self)
    }

    /// The times up to now.
    ///
    /// # Errors
    /// /proc is not as documented.
    pub fn read(&self) -> io::Result<ThreadTimes> {
        // Three numbers of twenty digits at most.
        let mut line = [0; 64];
        let length = self.0.read_at(&mut line, 0)?;
        let mut fields =
            line[..length].split(u8::is_ascii_whitespace).map(|field| str::from_utf8(field).ok()?.parse().ok());
        match (fields.next().flatten(), fields.next().flatten()) {
            (Some(running_ns), Some(waiting_ns)) => Ok(ThreadTimes { running_ns, waiting_ns }),
            _ => Err(io::Error::other("/proc/thread-self/schedstat is not as documented")),
        }
    }
}

/// Lets the waits of threads begun from now on end on time: the kernel may otherwise put any wait off by 50 us to end
/// it together with others (timer slack, prctl(2); this file is of Linux 4.6, and threads inherit it). Where that is
/// not allowed the slack stays.
pub fn sharpen_timers() {
    let _ = fs::write("/proc/self/timerslack_ns", "1");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_to_be_had_here() {
        let clock = ThreadClock::open().unwrap();
        let before = clock.read().unwrap();
        // The kernel may bring it up to date as late as its next tick, or the next switch of threads.
        while clock.read().unwrap().running_ns == before.running_ns {
            std::thread::yield_now();
        }
        assert!(thread_cpu_ns().unwrap() > before.running_ns);
    }
}
