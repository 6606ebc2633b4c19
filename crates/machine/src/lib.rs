//! A simulated machine: threads, clocks, a disk and a network, of which one seed decides everything.
//!
//! Has files, connections, time, threads, channels, locks and events by the names of the standard library, for `host`
//! to put in their place. Its threads are coroutines that take turns at these calls; time passes only here; the disk
//! forgets what was not synced when it loses power. The next thread, delays and faults come from one generator, so a
//! seed gives the same run every time.
//!
//! Knows nothing of the server. Depends on no other crate of the workspace. A machine belongs to the thread that made
//! it: each thread of a program may run one.
//!
//! ```
//! use machine::{End, Faults, Machine, fs, thread};
//! use std::path::Path;
//!
//! let mut machine = Machine::new(7);
//! machine.set_faults(Faults { switch: 30_000, ..Faults::default() });
//! let end = machine.run(60, || {
//!     let other = thread::spawn(|| fs::write("/a", "written"));
//!     other.join().expect("it does not panic").expect("the disk works");
//! });
//! assert_eq!(end, End::Done);
//! assert_eq!(machine::contents(Path::new("/a")).unwrap(), b"written");
//! ```
// A machine of 64 bits, and a disk of megabytes.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]

pub mod channel;
pub mod disk;
mod event;
pub mod fs;
pub mod hash;
pub mod net;
pub mod process;
mod random;
mod state;
pub mod sync;
mod tasks;
pub mod thread;
pub mod time;

pub use event::Event;
pub use random::Random;
pub use state::{Faults, Injected};
pub use tasks::End;

use state::{State, with};
use std::{io, path::Path};

/// The parts that exist on Unix only.
pub mod os {
    /// As in the standard library.
    pub mod unix {
        /// As in the standard library.
        pub mod fs {
            pub use crate::fs::unix::{
                DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt,
            };
        }
    }
}

/// The machine of this thread.
#[derive(Debug)]
pub struct Machine(());

impl Machine {
    /// A machine that has just been started, with an empty disk, in the place of the one that this thread had.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        state::set(Some(State::new(seed)));
        Self(())
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        with(use_it).expect("the machine of this thread")
    }

    /// Sets the chances of faults. A disk that is full has space again.
    pub fn set_faults(&mut self, faults: Faults) {
        self.with(|state| (state.faults, state.full_until_ns) = (faults, 0));
    }

    /// Sets the bytes that an end of a connection takes in before they are read.
    pub fn set_window(&mut self, bytes: usize) {
        self.with(|state| state.net.window_bytes = bytes);
    }

    /// Keeps the last events for [`recent`](Self::recent), which costs time.
    pub fn keep_events(&mut self) {
        self.with(|state| state.keeps_events = true);
    }

    /// Kills the process that runs next after so many more calls.
    pub fn kill_after(&mut self, calls: Option<u64>) {
        self.with(|state| state.kill_at = calls.map_or(u64::MAX, |calls| state.events + calls));
    }

    /// Kills the process that runs next after one of its calls of a kind, such as `unlink`, after a `short write`, or
    /// after a [`milestone`]: `before` of them come before it, and `follow` calls of any kind follow it.
    pub fn kill_after_call(&mut self, kind: &'static str, before: u64, follow: u64) {
        self.with(|state| state.kill_after = Some((kind, before, follow)));
    }

    /// Runs a process: `main` is its first thread. The others end with it. It has `seconds` of the machine's time.
    pub fn run(&mut self, seconds: u64, main: impl FnOnce() + 'static) -> End {
        let late_ns = self.with(|state| state.now_ns + seconds * 1_000_000_000);
        let end = tasks::run(Box::new(main), late_ns);
        self.with(|state| {
            state.injected.kills += u64::from(end == End::Killed);
            state.disk.end_process();
            state.net.end_process();
            (state.kill_at, state.kill_after) = (u64::MAX, None);
            // Some time passes until the next process is started.
            state.now_ns += 1_000_000 + state.random.below(2_000_000_000);
        });
        end
    }

    /// Loses power, and starts again some time later.
    pub fn cut_power(&mut self) {
        self.with(|state| {
            state.injected.power_cuts += 1;
            let mut random = state.random.clone();
            state.disk.cut_power(&mut random);
            state.random = random;
            state.boots += 1;
            state.now_ns += 1_000_000_000 + state.random.below(60_000_000_000);
            state.booted_ns = state.now_ns - 1_000_000_000;
            state.full_until_ns = 0;
        });
    }

    /// Flips one bit of a file.
    ///
    /// # Errors
    /// There is no such byte.
    pub fn flip(&mut self, path: &Path, byte: usize, bit: u32) -> io::Result<()> {
        self.with(|state| state.disk.flip(path, byte, bit))
    }

    /// A generator that goes on from the machine's.
    pub fn random(&mut self) -> Random {
        self.with(|state| Random::new(state.random.bits()))
    }

    /// Number of calls so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.with(|state| state.events)
    }

    /// A hash of everything that has happened.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.with(|state| state.hash)
    }

    /// Nanoseconds of the machine's time.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.with(|state| state.now_ns)
    }

    /// Faults so far.
    #[must_use]
    pub fn injected(&self) -> Injected {
        self.with(|state| state.injected)
    }

    /// The last events, one a line.
    #[must_use]
    pub fn recent(&self) -> Vec<String> {
        self.with(|state| state.recent.iter().map(ToString::to_string).collect())
    }
}

/// Notes a moment of the process that is no call, for [`Machine::kill_after_call`] to name.
pub fn milestone(what: &'static str) {
    with(|state| {
        if !state.is_dead {
            state.note(what, "", 0);
            state.count_towards_kill(what);
        }
    });
}

/// Contents of a file, to look at the disk from within or without a process: no call of it.
///
/// # Errors
/// There is none.
pub fn contents(path: &Path) -> io::Result<Vec<u8>> {
    with(|state| state.disk.contents(path).map(<[u8]>::to_vec)).unwrap_or_else(|| Err(disk::errno(libc::ENODEV)))
}

/// Names in a directory, as [`contents`].
///
/// # Errors
/// There is none.
pub fn list(path: &Path) -> io::Result<Vec<String>> {
    with(|state| state.disk.list(path)).unwrap_or_else(|| Err(disk::errno(libc::ENODEV)))
}

/// Times that the wall clock was set.
#[must_use]
pub fn clock_steps() -> u64 {
    with(|state| state.injected.clock_steps).unwrap_or_default()
}

/// The files that were removed since the last call: name and contents.
#[must_use]
pub fn take_removed() -> Vec<(String, Vec<u8>)> {
    with(|state| std::mem::take(&mut state.removed)).unwrap_or_default()
}

impl Drop for Machine {
    fn drop(&mut self) {
        state::set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sync::Mutex, time::Instant};
    use std::{sync::Arc, time::Duration};

    const SWITCHES: Faults = Faults {
        switch: 30_000,
        delay: 10_000,
        short_write: 0,
        interrupted: 0,
        full: 0,
        write_error: 0,
        read_error: 0,
        sync_error: 0,
        slow_sync: 0,
        no_descriptor: 0,
        clock_step: 0,
        bit_rot: 0,
        net_delay: 0,
        net_cut: 0,
        short_send: 0,
        net_reset: 0,
        zero_window: 0,
        accept_error: 0,
        late: 0,
        no_buffers: 0,
    };

    /// Two threads that append under a lock, and the order in which they did.
    fn two_threads(seed: u64) -> (End, Vec<u8>, u64) {
        let mut machine = Machine::new(seed);
        machine.set_faults(SWITCHES);
        let end = machine.run(60, || {
            let file = Arc::new(Mutex::new(fs::OpenOptions::new().append(true).create(true).open("/a").unwrap()));
            let threads = [b'a', b'b'].map(|letter| {
                let file = Arc::clone(&file);
                thread::spawn(move || {
                    for _ in 0..20 {
                        let mut file = file.lock().unwrap();
                        std::io::Write::write_all(&mut *file, &[letter]).unwrap();
                        std::io::Write::write_all(&mut *file, &[letter]).unwrap();
                    }
                })
            });
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        (end, contents(Path::new("/a")).unwrap(), machine.hash())
    }

    #[test]
    fn a_seed_gives_one_run_and_seeds_give_many() {
        let (end, text, hash) = two_threads(1);
        assert_eq!(end, End::Done);
        assert!(text.len() == 80 && text.chunks(2).all(|pair| pair[0] == pair[1]), "the lock holds");
        assert_eq!(two_threads(1), (End::Done, text.clone(), hash));
        assert!((2..20).any(|seed| two_threads(seed).1 != text));
    }

    #[test]
    fn sleeps_take_no_time_but_the_machines() {
        let mut machine = Machine::new(1);
        let before_ns = machine.now_ns();
        let end = machine.run(10_000, || {
            let began = Instant::now();
            thread::sleep(Duration::from_secs(3_600));
            assert!(began.elapsed() >= Duration::from_secs(3_600));
        });
        assert_eq!(end, End::Done);
        assert!(machine.now_ns() - before_ns >= 3_600_000_000_000);
        assert_eq!(machine.run(10, || thread::sleep(Duration::from_secs(60))), End::Late);
    }

    #[test]
    fn a_killed_process_has_no_effect_any_more() {
        struct Removes;
        impl Drop for Removes {
            fn drop(&mut self) {
                assert!(fs::remove_file("/a").is_err());
            }
        }
        let mut machine = Machine::new(1);
        machine.kill_after(Some(6));
        let end = machine.run(60, || {
            fs::write("/a", "kept").unwrap();
            let _removes = Removes;
            loop {
                thread::sleep(Duration::from_secs(1));
            }
        });
        assert_eq!(end, End::Killed);
        assert_eq!(contents(Path::new("/a")).unwrap(), b"kept");
    }

    #[test]
    fn waits_without_an_end_and_panics_are_reported() {
        let mut machine = Machine::new(1);
        assert_eq!(machine.run(60, || Event::new().unwrap().wait(None)), End::Stuck);
        let End::Panicked(message) = machine.run(60, || panic!("on purpose")) else { panic!("it panics") };
        assert!(message.contains("on purpose"));
    }

    #[test]
    fn another_boot_has_another_id_and_another_moment() {
        let mut machine = Machine::new(1);
        let boot = || {
            let seen = Arc::new(std::sync::Mutex::new(None));
            let place = Arc::clone(&seen);
            let look = move || {
                let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
                *place.lock().unwrap() = Some((id, time::boottime_ns() / 60_000_000_000));
            };
            (seen, look)
        };
        let (before, look) = boot();
        machine.run(60, look);
        machine.cut_power();
        let (after, look) = boot();
        machine.run(60, look);
        let (before, after) = (before.lock().unwrap().take().unwrap(), after.lock().unwrap().take().unwrap());
        assert!(before.0 != after.0 && after.0.len() == 37 && after.1 < before.1 + 1, "{before:?} {after:?}");
    }
}
