//! Samples the threads of this process for some seconds, and counts their stacks.

use super::{
    modules::Modules,
    perf::{self, Ring, Target},
    record::{Record, parse},
    request::ProfileRequest,
};
use crate::limits;
use foldhash::fast::RandomState;
use hashbrown::{HashTable, hash_table::Entry};
use host::sched;
use std::{
    fs::{self, File},
    hash::BuildHasher,
    io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// A stack: which of the threads, the number of its addresses that are of the kernel, and its addresses from the
/// innermost on.
#[derive(Debug)]
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
    /// The threads, by rising numbers.
    pub threads: Vec<Thread>,
    /// The count of each stack.
    pub stacks: HashTable<(Stack, u64)>,
    /// Samples in all.
    pub count: u64,
    /// Samples whose outermost frames are missing: the stack was deeper than what was copied of it.
    pub truncated: u64,
    /// Samples that were lost: the ring was full, or there were too many different stacks.
    pub lost: u64,
    /// The kernel permits to sample its own functions.
    pub kernel: bool,
    /// The time that was sampled.
    pub took: Duration,
    hasher: RandomState,
}

/// Samples until the time of the request is over, or `stop` is set.
///
/// # Errors
/// No thread has this name, or the kernel does not permit to sample any.
pub fn sample(request: &ProfileRequest, modules: &mut Modules, stop: &AtomicBool) -> io::Result<Samples> {
    let begun = Instant::now();
    let (mut samples, mut events, ring_bytes) = open(request)?;
    let mut addresses = Vec::new();
    while begun.elapsed() < request.length && !stop.load(Ordering::Relaxed) {
        let left = request.length.saturating_sub(begun.elapsed());
        let deepest = events.iter().map(|event| event.stack_bytes).max().unwrap_or(limits::PROFILE_STACK_BYTES);
        thread::sleep(left.min(fetch_interval(request.hz, ring_bytes, deepest)));
        for event in &mut events {
            event.fetch(modules, &mut addresses, &mut samples);
            event.adapt(request.hz, samples.kernel, ring_bytes);
        }
    }
    samples.took = begun.elapsed();
    Ok(samples)
}

impl Samples {
    /// Index of a thread, if an event on `target` is to report it.
    fn index(&self, thread: i32, target: Target) -> Option<usize> {
        let index = self.threads.binary_search_by_key(&thread, |thread| thread.number).ok()?;
        (self.threads[index].target == target).then_some(index)
    }

    /// Counts a stack: which of the threads, and its addresses, of which the first `kernel` are of the kernel. Nothing
    /// is allocated for one that is known.
    fn add(&mut self, thread: usize, kernel: usize, addresses: &[u64]) {
        let is_full = self.stacks.len() >= limits::PROFILE_STACKS_MAX;
        let hash = |thread: usize, kernel: usize, of: &[u64]| self.hasher.hash_one((thread, kernel, of));
        let is_same =
            |(own, _): &(Stack, u64)| own.thread == thread && own.kernel == kernel && *own.addresses == *addresses;
        let hash_of = |(own, _): &(Stack, u64)| hash(own.thread, own.kernel, &own.addresses);
        match self.stacks.entry(hash(thread, kernel, addresses), is_same, hash_of) {
            Entry::Occupied(mut known) => known.get_mut().1 += 1,
            Entry::Vacant(place) if !is_full => {
                place.insert((Stack { thread, kernel, addresses: addresses.into() }, 1));
            }
            Entry::Vacant(_) => {
                self.lost += 1;
                return;
            }
        }
        self.count += 1;
    }
}

/// A thread that is sampled.
#[derive(Debug)]
pub struct Thread {
    number: i32,
    /// The name.
    pub name: String,
    /// The subject of the event that reports it.
    target: Target,
}

/// An open event, with the state of what comes from it.
#[derive(Debug)]
struct Event {
    target: Target,
    /// The ring with its samples, and the descriptor: they are made for as long as it is open.
    open: (Ring, File),
    /// Bytes that are copied of each stack.
    stack_bytes: u32,
    /// Samples that were truncated since it is so many.
    truncated: u32,
}

impl Event {
    /// Counts the samples that have come. Those of threads that are not wanted, of other programs on a core for
    /// example, are passed over. `addresses` is scratch memory.
    fn fetch(&mut self, modules: &mut Modules, addresses: &mut Vec<u64>, samples: &mut Samples) {
        let Self { target, open: (ring, _), stack_bytes, truncated } = self;
        ring.drain(|kind, content| match parse(kind, content) {
            Some(Record::Sample(sample)) => {
                let Some(index) = samples.index(sample.thread, *target) else { return };
                addresses.clear();
                addresses.extend(sample.kernel().take(limits::PROFILE_FRAMES_MAX));
                let kernel = addresses.len();
                // Where less was copied than was requested, the stack itself ends.
                let is_cut = modules.unwind(&sample, addresses) && sample.stack.len() >= *stack_bytes as usize;
                *truncated += u32::from(is_cut);
                samples.truncated += u64::from(is_cut);
                samples.add(index, kernel, addresses);
            }
            Some(Record::Lost(lost)) => samples.lost += lost,
            None => {}
        });
    }

    /// Has more of the stacks copied from now on, if what is copied was too little for some samples.
    fn adapt(&mut self, hz: u64, kernel: bool, ring_bytes: usize) {
        if self.truncated < limits::PROFILE_TRUNCATED_SAMPLES_MAX || self.stack_bytes >= limits::PROFILE_STACK_BYTES_MAX
        {
            return;
        }
        self.truncated = 0;
        let stack_bytes = self.stack_bytes + limits::PROFILE_STACK_BYTES_STEP;
        // It may have ended meanwhile, or no more memory may be locked: then it is sampled as before.
        let opened = perf::open(self.target, hz, kernel, stack_bytes);
        if let Ok(open) = opened.and_then(|file| Ok((Ring::map(&file, ring_bytes)?, file))) {
            (self.open, self.stack_bytes) = (open, stack_bytes);
        }
    }
}

/// Bytes of the ring of each event: as much as there are for so many of them.
fn ring_bytes(events: usize) -> usize {
    let each = limits::PROFILE_RINGS_BYTES / events.max(1);
    let power = 1 << each.max(1).ilog2();
    power.clamp(limits::PROFILE_RING_BYTES_MIN, limits::PROFILE_RING_BYTES_MAX)
}

/// The time in which a ring with stacks of this length is half full. It is as long as can be, as waking up costs as
/// much as many samples: whatever ran meanwhile has the caches.
fn fetch_interval(hz: u64, ring_bytes: usize, stack_bytes: u32) -> Duration {
    let samples = ring_bytes / (stack_bytes as usize + limits::PROFILE_RECORD_BYTES) / 2;
    Duration::from_micros(samples as u64 * 1_000_000 / hz.max(1))
        .clamp(limits::PROFILE_FETCH_INTERVAL_MIN, limits::PROFILE_FETCH_INTERVAL_MAX)
}

/// Opens the events that report the threads that are wanted. Returns them with the bytes of each ring.
///
/// A thread that is pinned to a core is sampled with that core, where this is permitted: the kernel stops and starts
/// the clock of a thread's event at each switch of threads, which on a virtual machine takes 16 us. A core's clock goes
/// on.
fn open(request: &ProfileRequest) -> io::Result<(Samples, Vec<Event>, usize)> {
    let mut samples = Samples { kernel: true, ..Samples::default() };
    let mut opened: Vec<(Target, File)> = Vec::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no thread has this name");
    for (number, name) in threads()? {
        if !request.takes(&name) {
            continue;
        }
        match open_one(number, request.hz, &mut samples.kernel, &mut opened) {
            Ok(target) => samples.threads.push(Thread { number, name, target }),
            // It may have ended meanwhile, or be one of the kernel's.
            Err(error) => failure = error,
        }
    }
    let mut bytes = ring_bytes(opened.len());
    // Smaller rings where memory that may be locked is short, down to a bound, at which the first events have them.
    // They are as long as each other, as the shortest says how often all are looked at.
    let rings = loop {
        let map = |(_, file): &(Target, File)| Ring::map(file, bytes).map_err(|error| failure = error).ok();
        let rings: Vec<Ring> = opened.iter().map_while(map).collect();
        if rings.len() == opened.len() || bytes <= limits::PROFILE_RING_BYTES_MIN {
            break rings;
        }
        bytes /= 2;
    };
    if rings.is_empty() {
        return Err(failure);
    }
    let events = opened.into_iter().zip(rings).map(|((target, file), ring)| Event {
        target,
        open: (ring, file),
        stack_bytes: limits::PROFILE_STACK_BYTES,
        truncated: 0,
    });
    Ok((samples, events.collect(), bytes))
}

/// Has the thread sampled by an event of `opened`, or by a new one: that of its core or its own. `kernel` becomes false
/// where the kernel's own functions are not shown (perf_event_paranoid is 2).
fn open_one(thread: i32, hz: u64, kernel: &mut bool, opened: &mut Vec<(Target, File)>) -> io::Result<Target> {
    let stack_bytes = limits::PROFILE_STACK_BYTES;
    if let Some(target) = sched::pinned_core(thread).map(Target::Core) {
        if opened.iter().any(|&(own, _)| own == target) {
            return Ok(target);
        }
        if let Ok(file) = perf::open(target, hz, true, stack_bytes) {
            opened.push((target, file));
            return Ok(target);
        }
    }
    let target = Target::Thread(thread);
    let mut file = perf::open(target, hz, *kernel, stack_bytes);
    if *kernel && file.is_err() {
        file = perf::open(target, hz, false, stack_bytes);
        *kernel &= file.is_err();
    }
    opened.push((target, file?));
    Ok(target)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_stacks_are_counted_and_new_ones_bounded() {
        let mut samples = Samples::default();
        for _ in 0..3 {
            samples.add(0, 1, &[1, 2]);
        }
        // Another thread, another part of the kernel, and other addresses are other stacks.
        for (thread, kernel, addresses) in [(1, 1, &[1, 2][..]), (0, 0, &[1, 2]), (0, 1, &[1, 2, 3]), (0, 0, &[])] {
            samples.add(thread, kernel, addresses);
        }
        let mut counts: Vec<u64> = samples.stacks.iter().map(|&(_, count)| count).collect();
        counts.sort_unstable();
        assert_eq!((counts, samples.count, samples.lost), (vec![1, 1, 1, 1, 3], 7, 0));
        for address in 0..limits::PROFILE_STACKS_MAX as u64 {
            samples.add(2, 0, &[address]);
        }
        samples.add(0, 1, &[1, 2]);
        assert_eq!((samples.stacks.len(), samples.lost), (limits::PROFILE_STACKS_MAX, 5));
        assert_eq!(samples.count, 8 + limits::PROFILE_STACKS_MAX as u64 - 5);
    }

    #[test]
    fn threads_are_reported_by_one_event_alone() {
        let thread = |number, target| Thread { number, name: String::new(), target };
        let threads = vec![thread(3, Target::Core(1)), thread(5, Target::Thread(5)), thread(8, Target::Core(1))];
        let samples = Samples { threads, ..Samples::default() };
        assert_eq!(samples.index(8, Target::Core(1)), Some(2));
        assert_eq!(samples.index(5, Target::Thread(5)), Some(1));
        // The core sees it, too, but it has its own event; another core; another program.
        for (number, target) in [(5, Target::Core(1)), (8, Target::Core(0)), (4, Target::Core(1)), (0, Target::Core(1))]
        {
            assert_eq!(samples.index(number, target), None, "{number} {target:?}");
        }
    }

    #[test]
    fn rings_have_what_there_is_for_all() {
        for threads in 0..2 * limits::PROFILE_THREADS_MAX {
            let bytes = ring_bytes(threads);
            assert!(
                bytes.is_power_of_two()
                    && (limits::PROFILE_RING_BYTES_MIN..=limits::PROFILE_RING_BYTES_MAX).contains(&bytes)
            );
            assert!(bytes == limits::PROFILE_RING_BYTES_MIN || bytes * threads <= limits::PROFILE_RINGS_BYTES);
        }
    }

    #[test]
    fn rings_are_fetched_before_they_are_full() {
        let (least, most) = (limits::PROFILE_FETCH_INTERVAL_MIN, limits::PROFILE_FETCH_INTERVAL_MAX);
        assert_eq!(fetch_interval(1_000, 2 << 20, 31 << 10), Duration::from_millis(32));
        assert_eq!(fetch_interval(1, 2 << 20, 31 << 10), most);
        assert_eq!(fetch_interval(1_999, 64 << 10, 48 << 10), least);
    }
}
