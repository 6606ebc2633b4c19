//! The states of threads: how much of the time each is on a CPU, waits for one, and is off the CPU, and for what.
//!
//! The first two are exact: the kernel counts them (`/proc/PID/task/TID/schedstat`, Documentation/scheduler/
//! sched-stats.rst). The rest is time off the CPU; it is divided among the functions of the kernel in which the thread
//! was found waiting (`wchan`, proc(5)), which is read again and again. There are no stacks in it: those would take
//! trace points, and with them root.

use super::{request::ProfileRequest, sampler::threads};
use crate::limits;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// The states of the threads over some time.
#[derive(Debug, Default)]
pub struct States {
    /// Milliseconds in each state: the thread, the state, and the function of the kernel.
    pub named: BTreeMap<Vec<String>, u64>,
    /// Number of looks at each thread.
    pub count: u64,
    /// The time that was looked at.
    pub took: Duration,
}

/// Time of a thread so far, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    on_cpu_ns: u64,
    waited_ns: u64,
}

impl Times {
    fn parse(schedstat: &str) -> Option<Self> {
        let mut numbers = schedstat.split_ascii_whitespace().map(|number| number.parse().ok());
        Some(Self { on_cpu_ns: numbers.next()??, waited_ns: numbers.next()?? })
    }

    fn read(path: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(path).ok()?)
    }
}

/// One thread.
struct Watched {
    name: String,
    schedstat: PathBuf,
    wchan: File,
    before: Times,
    /// Number of looks at which it was in each function of the kernel.
    found: BTreeMap<String, u64>,
}

impl Watched {
    fn open(number: i32, name: String) -> Option<Self> {
        let directory = PathBuf::from(format!("/proc/self/task/{number}"));
        let wchan = File::open(directory.join("wchan")).ok()?;
        let schedstat = directory.join("schedstat");
        let before = Times::read(&schedstat)?;
        Some(Self { name, schedstat, wchan, before, found: BTreeMap::new() })
    }

    /// Looks where the thread waits: `0` stands for a thread that runs, and for what the kernel does not say.
    fn look(&mut self) {
        let mut buffer = [0; limits::PROFILE_FUNCTION_BYTES_MAX];
        let length = self.wchan.read_at(&mut buffer, 0).unwrap_or(0);
        let Ok(function) = std::str::from_utf8(&buffer[..length]) else { return };
        let function = function.trim();
        if function.is_empty() || function == "0" {
            return;
        }
        if let Some(count) = self.found.get_mut(function) {
            *count += 1;
        } else if self.found.len() < limits::PROFILE_FUNCTIONS_MAX {
            self.found.insert(function.to_owned(), 1);
        }
    }

    /// The time in each state, of the whole. `None` for a thread that has ended.
    fn states(&self, whole: Duration) -> Option<Vec<(Vec<String>, u64)>> {
        let after = Times::read(&self.schedstat)?;
        Some(divide(&self.name, whole, self.before, after, &self.found))
    }
}

/// The milliseconds of a thread in each state.
fn divide(
    name: &str,
    whole: Duration,
    before: Times,
    after: Times,
    found: &BTreeMap<String, u64>,
) -> Vec<(Vec<String>, u64)> {
    let ms = |ns: u64| (ns + 500_000) / 1_000_000;
    let whole_ns = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    let on_cpu_ns = after.on_cpu_ns.saturating_sub(before.on_cpu_ns).min(whole_ns);
    let waited_ns = after.waited_ns.saturating_sub(before.waited_ns).min(whole_ns - on_cpu_ns);
    let off_ns = whole_ns - on_cpu_ns - waited_ns;
    let state =
        |words: &[&str]| -> Vec<String> { [&[name][..], words].concat().into_iter().map(str::to_owned).collect() };
    let mut states = vec![(state(&["on a CPU"]), ms(on_cpu_ns)), (state(&["waits for a CPU"]), ms(waited_ns))];
    let seen: u64 = found.values().sum();
    if seen == 0 {
        states.push((state(&["off CPU", "[unknown]"]), ms(off_ns)));
    }
    for (function, count) in found {
        let part = u128::from(off_ns) * u128::from(*count) / u128::from(seen);
        let function = format!("{function}_[k]");
        states.push((state(&["off CPU", &function]), ms(u64::try_from(part).unwrap_or(u64::MAX))));
    }
    states.retain(|&(_, ms)| ms > 0);
    states
}

/// Watches the threads until the time of the request is over, or `stop` is set.
///
/// # Errors
/// No thread has this name, or the kernel does not say.
pub fn watch(request: &ProfileRequest, stop: &AtomicBool) -> io::Result<States> {
    // The thread that looks is always on a CPU then.
    let is_wanted = |name: &str| request.takes(name) && thread::current().name() != Some(name);
    let names: Vec<_> = threads()?.into_iter().filter(|(_, name)| is_wanted(name)).collect();
    if names.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no thread has this name"));
    }
    let mut watched: Vec<Watched> =
        names.into_iter().filter_map(|(number, name)| Watched::open(number, name)).collect();
    if watched.is_empty() {
        let text = "this kernel has no schedstat or no wchan in /proc";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    let begun = Instant::now();
    let interval = Duration::from_secs(1) / u32::try_from(request.hz.max(1)).unwrap_or(u32::MAX);
    let mut states = States::default();
    while begun.elapsed() < request.length && !stop.load(Ordering::Relaxed) {
        thread::sleep(request.length.saturating_sub(begun.elapsed()).min(interval));
        watched.iter_mut().for_each(Watched::look);
        states.count += 1;
    }
    states.took = begun.elapsed();
    for (stack, ms) in watched.iter().filter_map(|thread| thread.states(states.took)).flatten() {
        *states.named.entry(stack).or_default() += ms;
    }
    Ok(states)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(states: &[(Vec<String>, u64)]) -> Vec<String> {
        states.iter().map(|(stack, ms)| format!("{} {ms}", stack.join(";"))).collect()
    }

    #[test]
    fn time_off_the_cpu_is_divided_by_where_the_thread_waits() {
        let times = |on_cpu_ms: u64, waited_ms: u64| Times {
            on_cpu_ns: on_cpu_ms * 1_000_000,
            waited_ns: waited_ms * 1_000_000,
        };
        let found = BTreeMap::from([("ep_poll".to_owned(), 3), ("io_cqring_wait".to_owned(), 1)]);
        let whole = Duration::from_secs(1);
        assert_eq!(
            folded(&divide("reactor-0", whole, times(50, 7), times(150, 107), &found)),
            [
                "reactor-0;on a CPU 100",
                "reactor-0;waits for a CPU 100",
                "reactor-0;off CPU;ep_poll_[k] 600",
                "reactor-0;off CPU;io_cqring_wait_[k] 200",
            ]
        );
        let none = BTreeMap::new();
        assert_eq!(folded(&divide("a", whole, times(0, 0), times(0, 0), &none)), ["a;off CPU;[unknown] 1000"]);
        // The kernel's clocks and ours are read one after the other.
        assert_eq!(folded(&divide("a", whole, times(0, 0), times(1_001, 5), &none)), ["a;on a CPU 1000"]);
    }

    #[test]
    fn schedstat_is_read_by_its_first_two_numbers() {
        assert_eq!(Times::parse("12 34 5\n"), Some(Times { on_cpu_ns: 12, waited_ns: 34 }));
        for text in ["", "12", "12 x 5", "-1 2 3"] {
            assert_eq!(Times::parse(text), None, "{text}");
        }
    }
}
