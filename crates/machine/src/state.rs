//! The state of the machine that runs on this thread, and the seams: the points at which a thread of it may lose its
//! turn, be delayed, or be ended.

use crate::{disk::Disk, net::Net, random::Random, tasks};
use std::{cell::RefCell, collections::VecDeque, fmt, io};

/// Events kept for the report of a failure.
const RECENT_EVENTS: usize = 80;
/// Nanoseconds of the first moment: a time at which every difference that code takes of a clock is positive.
const FIRST_NS: u64 = 1_000_000_000_000;
/// 2026-01-02T03:04:05Z, the wall clock at the first moment.
const FIRST_WALL_NS: i64 = 1_767_323_045_000_000_000;

/// Chances of faults, in parts of 65,536 for each call, and of what else is drawn at a seam.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// A thread loses its turn at a call.
    pub switch: u32,
    /// A thread that loses its turn is also delayed: up to 5 ms, and rarely for longer.
    pub delay: u32,
    /// A write takes a part of its bytes.
    pub short_write: u32,
    /// `EINTR` of a read or a write.
    pub interrupted: u32,
    /// The disk, or the quota, is full from now on for a while.
    pub full: u32,
    /// `EIO` of a write.
    pub write_error: u32,
    /// `EIO` of a read.
    pub read_error: u32,
    /// `EIO` of a sync, whose pages are lost.
    pub sync_error: u32,
    /// A sync takes up to 500 ms.
    pub slow_sync: u32,
    /// `EMFILE` of an open.
    pub no_descriptor: u32,
    /// The wall clock is set, by up to a day in either direction.
    pub clock_step: u32,
    /// A write or a read of a compressed file or of the state leaves one bit flipped.
    pub bit_rot: u32,
    /// A segment of a connection is on its way for a while, up to 400 ms.
    pub net_delay: u32,
    /// A send comes in two pieces, each of which may again.
    pub net_cut: u32,
    /// A send takes a part of its bytes.
    pub short_send: u32,
    /// A send or an accept finds the connection reset.
    pub net_reset: u32,
    /// The peer takes nothing in for up to 2 s.
    pub zero_window: u32,
    /// `EMFILE`, `ENFILE`, `ENOBUFS` or `ENOMEM` of an accept.
    pub accept_error: u32,
    /// A completion reaches its reactor late, by up to three of its turns.
    pub late: u32,
    /// A reactor has no receive buffer free.
    pub no_buffers: u32,
}

/// Faults that were injected, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in `Faults`")]
pub struct Injected {
    pub short_writes: u64,
    pub interrupted: u64,
    pub full: u64,
    pub write_errors: u64,
    pub read_errors: u64,
    pub sync_errors: u64,
    pub slow_syncs: u64,
    pub no_descriptor: u64,
    pub clock_steps: u64,
    pub power_cuts: u64,
    pub kills: u64,
    pub bits_flipped: u64,
    pub cuts: u64,
    pub short_sends: u64,
    pub resets: u64,
    pub zero_windows: u64,
    pub accept_errors: u64,
    pub late: u64,
    pub no_buffers: u64,
}

impl Injected {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        self.short_writes += other.short_writes;
        self.interrupted += other.interrupted;
        self.full += other.full;
        self.write_errors += other.write_errors;
        self.read_errors += other.read_errors;
        self.sync_errors += other.sync_errors;
        self.slow_syncs += other.slow_syncs;
        self.no_descriptor += other.no_descriptor;
        self.clock_steps += other.clock_steps;
        self.power_cuts += other.power_cuts;
        self.kills += other.kills;
        self.bits_flipped += other.bits_flipped;
        self.cuts += other.cuts;
        self.short_sends += other.short_sends;
        self.resets += other.resets;
        self.zero_windows += other.zero_windows;
        self.accept_errors += other.accept_errors;
        self.late += other.late;
        self.no_buffers += other.no_buffers;
    }
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills, {} power cuts, {} short writes, {} EINTR, {} full disks, {} EIO of write, {} of read, \
             {} of sync, {} slow syncs, {} EMFILE, {} clock steps, {} flipped bits; {} cut segments, {} short sends, {} resets, \
             {} zero windows, {} failed accepts, {} late completions, {} without a buffer",
            self.kills,
            self.power_cuts,
            self.short_writes,
            self.interrupted,
            self.full,
            self.write_errors,
            self.read_errors,
            self.sync_errors,
            self.slow_syncs,
            self.no_descriptor,
            self.clock_steps,
            self.bits_flipped,
            self.cuts,
            self.short_sends,
            self.resets,
            self.zero_windows,
            self.accept_errors,
            self.late,
            self.no_buffers
        )
    }
}

/// An occurrence at a seam.
#[derive(Debug, Clone)]
pub struct Event {
    now_ns: u64,
    task: usize,
    what: &'static str,
    about: String,
    number: u64,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { now_ns, task, what, about, number } = self;
        write!(f, "{:>14} ns  thread {task}  {what} {about} {number}", now_ns - FIRST_NS)
    }
}

pub(crate) struct State {
    pub now_ns: u64,
    pub random: Random,
    pub disk: Disk,
    pub net: Net,
    /// Bytes of the disk.
    pub disk_bytes: u64,
    pub faults: Faults,
    pub injected: Injected,
    pub tasks: tasks::Tasks,
    /// Set while the threads of a process that has ended are taken down: no call has an effect any more.
    pub is_dead: bool,
    /// Number of seams so far, and the one at which the process is killed.
    pub events: u64,
    pub kill_at: u64,
    /// The kind of calls after one of which the process is killed, how many of them come before, and how many calls
    /// follow it.
    pub kill_after: Option<(&'static str, u64, u64)>,
    pub hash: u64,
    pub keeps_events: bool,
    pub recent: VecDeque<Event>,
    pub last_id: u64,
    pub wall_offset_ns: i64,
    pub booted_ns: u64,
    pub boots: u64,
    pub full_until_ns: u64,
    pub is_quota: bool,
    /// Contents of files whose last name was removed: the file's name, and its bytes.
    pub removed: Vec<(String, Vec<u8>)>,
}

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// Runs `use_it` with the machine of this thread; `None` if there is none.
pub(crate) fn with<T>(use_it: impl FnOnce(&mut State) -> T) -> Option<T> {
    STATE.with_borrow_mut(|state| state.as_mut().map(use_it))
}

pub(crate) fn set(state: Option<State>) {
    STATE.with_borrow_mut(|place| *place = state);
}

impl State {
    pub fn new(seed: u64) -> Self {
        Self {
            now_ns: FIRST_NS,
            random: Random::new(seed),
            disk: Disk::default(),
            net: Net::default(),
            disk_bytes: 1 << 30,
            faults: Faults::default(),
            injected: Injected::default(),
            tasks: tasks::Tasks::default(),
            is_dead: false,
            events: 0,
            kill_at: u64::MAX,
            kill_after: None,
            hash: 0,
            keeps_events: false,
            recent: VecDeque::new(),
            last_id: 0,
            wall_offset_ns: FIRST_WALL_NS - FIRST_NS as i64,
            booted_ns: FIRST_NS - 60_000_000_000,
            boots: 0,
            full_until_ns: 0,
            is_quota: false,
            removed: Vec::new(),
        }
    }

    pub fn wall_ns(&self) -> i64 {
        self.now_ns as i64 + self.wall_offset_ns
    }

    pub fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The id of the boot, as random(4) shows it.
    pub fn boot_id(&self) -> String {
        let mut random = Random::new(self.boots ^ 0xb007_1d00);
        let (high, low) = (random.bits(), random.bits());
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        )
    }

    /// Adds to the hash of everything that has happened, and to the last events.
    pub fn note(&mut self, what: &'static str, about: &str, number: u64) {
        for byte in what.bytes().chain(about.bytes()) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.hash = (self.hash ^ number ^ self.now_ns.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if self.keeps_events {
            if self.recent.len() == RECENT_EVENTS {
                self.recent.pop_front();
            }
            let task = tasks::current().unwrap_or(usize::MAX);
            self.recent.push_back(Event { now_ns: self.now_ns, task, what, about: about.to_owned(), number });
        }
    }

    /// Draws what happens at a call. Returns the nanoseconds after which the thread goes on; `None`: it keeps its turn.
    fn draw(&mut self) -> Option<u64> {
        self.events += 1;
        self.now_ns += 50 + self.random.below(400);
        if self.random.chance(self.faults.clock_step) {
            self.injected.clock_steps += 1;
            self.wall_offset_ns += self.random.below(172_800_000_000_000) as i64 - 86_400_000_000_000;
        }
        if self.random.chance(self.faults.full) {
            self.injected.full += 1;
            self.full_until_ns = self.now_ns + self.random.below(3_000_000_000);
            self.is_quota = self.random.below(2) == 0;
        }
        if self.events >= self.kill_at {
            return Some(u64::MAX);
        }
        if !self.random.chance(self.faults.switch) {
            return None;
        }
        if !self.random.chance(self.faults.delay) {
            return Some(0);
        }
        Some(match self.random.below(16) {
            0..10 => self.random.below(100_000),
            10..15 => self.random.below(5_000_000),
            _ => self.random.below(300_000_000),
        })
    }

    /// Takes note of a call, or of a fault of one, of the kind after which the process is to be killed.
    pub fn count_towards_kill(&mut self, what: &str) {
        if let Some((kind, left, follow)) = &mut self.kill_after
            && *kind == what
        {
            if *left > 0 {
                *left -= 1;
            } else {
                // The call itself comes after its seam.
                self.kill_at = self.events + 2 + *follow;
                self.kill_after = None;
            }
        }
    }

    pub fn is_full(&self) -> bool {
        self.now_ns < self.full_until_ns
    }

    pub fn full_error(&self) -> io::Error {
        io::Error::from_raw_os_error(if self.is_quota { libc::EDQUOT } else { libc::ENOSPC })
    }
}

/// A seam: the thread may lose its turn here, and does not come back if the process is killed.
///
/// # Errors
/// The process has ended: the call must have no effect.
pub(crate) fn seam(what: &'static str, about: &str, number: u64) -> io::Result<()> {
    let dead = || io::Error::other("the process has ended");
    let turn = with(|state| {
        if state.is_dead {
            return Err(dead());
        }
        state.note(what, about, number);
        state.count_towards_kill(what);
        Ok(tasks::current().and_then(|_| state.draw()))
    });
    match turn.unwrap_or_else(|| Err(dead()))? {
        None => {}
        Some(u64::MAX) => tasks::wait(None, None),
        Some(after_ns) => tasks::sleep(after_ns),
    }
    Ok(())
}
