//! Samples the threads of this process for some seconds, and counts their stacks.

use super::{
    modules::Modules,
    perf::Event,
    record::{Record, parse},
    request::ProfileRequest,
};
use crate::limits;
use std::{
    collections::HashMap,
    fs, io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// A stack: which of the threads, the number of its addresses that are of the kernel, and its addresses from the
/// innermost on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stack {
    /// Index in [`Samples::threads`].
    pub thread: usize,
    /// So many of `addresses` are of the kernel: the first.
    pub kernel: usize,
    /// The addresses, the innermost first.
    pub addresses: Box<[u64]>,
}

/// The samples of one profile.
#[derive(Debug, Default)]
pub struct Samples {
    /// Names of the threads.
    pub threads: Vec<String>,
    /// The count of each stack.
    pub stacks: HashMap<Stack, u64>,
    /// Samples in all.
    pub count: u64,
    /// Samples that were lost: the ring was full, or there were too many different stacks.
    pub lost: u64,
    /// The kernel permits to sample its own functions.
    pub kernel: bool,
    /// The time that was sampled.
    pub took: Duration,
}

/// Samples until the time of the request is over, or `stop` is set.
///
/// # Errors
/// No thread has this name, or the kernel does not permit to sample any.
pub fn sample(request: &ProfileRequest, modules: &mut Modules, stop: &AtomicBool) -> io::Result<Samples> {
    let begun = Instant::now();
    let (mut samples, mut events) = open(request)?;
    let mut addresses = Vec::new();
    while begun.elapsed() < request.length && !stop.load(Ordering::Relaxed) {
        let left = request.length.saturating_sub(begun.elapsed());
        thread::sleep(left.min(limits::PROFILE_POLL_INTERVAL));
        for (thread, event) in events.iter_mut().enumerate() {
            event.drain(|kind, content| match parse(kind, content) {
                Some(Record::Sample(sample)) => {
                    addresses.clear();
                    let kernel = sample.kernel.len().min(limits::PROFILE_FRAMES_MAX);
                    addresses.extend_from_slice(&sample.kernel[..kernel]);
                    modules.unwind(&sample, &mut addresses);
                    samples.add(Stack { thread, kernel, addresses: addresses.as_slice().into() });
                }
                Some(Record::Lost(lost)) => samples.lost += lost,
                None => {}
            });
        }
    }
    samples.took = begun.elapsed();
    Ok(samples)
}

impl Samples {
    fn add(&mut self, stack: Stack) {
        if let Some(count) = self.stacks.get_mut(&stack) {
            *count += 1;
        } else if self.stacks.len() < limits::PROFILE_STACKS_MAX {
            self.stacks.insert(stack, 1);
        } else {
            self.lost += 1;
            return;
        }
        self.count += 1;
    }
}

/// Opens an event on each thread that is wanted.
fn open(request: &ProfileRequest) -> io::Result<(Samples, Vec<Event>)> {
    let mut samples = Samples { kernel: true, ..Samples::default() };
    let mut events = Vec::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no thread has this name");
    for (thread, name) in threads()? {
        if !request.takes(&name) {
            continue;
        }
        let mut opened = Event::open(thread, request.hz, samples.kernel);
        if samples.kernel && opened.is_err() {
            // perf_event_paranoid is 2: the kernel's own functions are not shown.
            opened = Event::open(thread, request.hz, false);
            samples.kernel &= opened.is_err();
        }
        match opened {
            Ok(event) => {
                samples.threads.push(name);
                events.push(event);
            }
            // It may have ended meanwhile, or be one of the kernel's.
            Err(error) => failure = error,
        }
    }
    if events.is_empty() { Err(failure) } else { Ok((samples, events)) }
}

/// The threads of this process: number and name.
pub fn threads() -> io::Result<Vec<(i32, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/task")?.flatten().take(limits::PROFILE_THREADS_MAX) {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        found.extend(number.map(|number| (number, name.trim_end().to_owned())));
    }
    found.sort();
    Ok(found)
}
