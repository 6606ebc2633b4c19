//! The deadlines of one core's connections: at most one for each slot, set and cleared in O(1).
//!
//! A hashed timing wheel with unsorted lists (G. Varghese and A. Lauck, "Hashed and Hierarchical Timing Wheels", SOSP
//! 1987, scheme 6). A deadline that is further away than one lap stays in its bucket and is passed over until its lap.
//!
//! Deadlines are lazy: a connection pushes its deadline back with every request, and nearly none ever fires. Setting a
//! later deadline, or none, only stores it. The entry stays where it is filed, and looks again when that tick comes.
//!
//! Reads no clock. Time is milliseconds since any fixed moment, and passed in. Memory is 24 bytes for each slot up to
//! the highest ever set, and never shrinks.

/// Buckets of the wheel, one for each tick of a lap: 8 KiB of list heads. With ticks of 64 ms a lap is 131 s, so that
/// the usual idle timeout of 75 s is passed over by no lap.
const BUCKETS: usize = 2048;
const WORD_BITS: usize = u64::BITS as usize;
const WORDS: usize = BUCKETS / WORD_BITS;

const _: () = assert!(BUCKETS.is_power_of_two() && BUCKETS >= WORD_BITS);

/// The end of a list.
const NOBODY: u32 = u32::MAX;
/// The deadline of a slot that has none, and the tick of an entry that is in no list.
const NEVER: u64 = u64::MAX;

#[derive(Debug, Clone, Copy)]
struct Entry {
    deadline_ms: u64,
    /// The tick at which the entry is looked at; never after the one at which its deadline is due.
    filed_tick: u64,
    /// Neighbours in the bucket's list.
    next: u32,
    previous: u32,
}

/// One deadline per slot, hashed.
#[derive(Debug)]
pub struct TimerWheel {
    tick_ms: u64,
    slots_max: u32,
    /// All ticks up to this one have been looked at.
    current_tick: u64,
    /// The first tick at which an entry may be looked at; `NEVER` while none is filed.
    next_tick: u64,
    entries: Vec<Entry>,
    /// First slot of each bucket's list.
    heads: Box<[u32; BUCKETS]>,
    /// One bit for each bucket whose list is not empty.
    occupied: [u64; WORDS],
}

impl TimerWheel {
    /// A wheel without deadlines, for slots below `slots_max`, that stands at `now_ms`. A deadline fires less than
    /// `tick_ms` late, and never early.
    ///
    /// # Panics
    /// `tick_ms` is zero.
    #[must_use]
    pub fn new(slots_max: u32, tick_ms: u64, now_ms: u64) -> Self {
        assert!(tick_ms > 0, "a tick takes time");
        Self {
            tick_ms,
            slots_max,
            current_tick: now_ms / tick_ms,
            next_tick: NEVER,
            entries: Vec::new(),
            heads: Box::new([NOBODY; BUCKETS]),
            occupied: [0; WORDS],
        }
    }

    /// Gives `slot` the deadline `deadline_ms`, in place of the one it had. One that has passed fires with the next
    /// tick.
    ///
    /// # Panics
    /// `slot` is not below `slots_max`.
    pub fn set(&mut self, slot: usize, deadline_ms: u64) {
        assert!(slot < self.slots_max as usize, "a slot of the wheel");
        if slot >= self.entries.len() {
            let unset = Entry { deadline_ms: NEVER, filed_tick: NEVER, next: NOBODY, previous: NOBODY };
            self.entries.resize(slot + 1, unset);
        }
        let tick = self.tick_of(deadline_ms);
        let entry = &mut self.entries[slot];
        entry.deadline_ms = deadline_ms;
        if tick < entry.filed_tick {
            self.unlink(slot);
            self.link(slot, tick);
        }
    }

    /// Takes the deadline of `slot` away, if it has one.
    pub fn clear(&mut self, slot: usize) {
        if let Some(entry) = self.entries.get_mut(slot) {
            entry.deadline_ms = NEVER;
        }
    }

    /// True if [`advance`](Self::advance) has a tick to look at.
    #[inline]
    #[must_use]
    pub const fn is_due(&self, now_ms: u64) -> bool {
        now_ms / self.tick_ms > self.current_tick
    }

    /// Calls `expired` with each slot whose deadline has passed at `now_ms`, in no order, and takes that deadline away.
    /// Deadlines that passed within the tick that is not over yet come with the next.
    pub fn advance(&mut self, now_ms: u64, mut expired: impl FnMut(usize)) {
        if !self.is_due(now_ms) {
            return;
        }
        let now_tick = now_ms / self.tick_ms;
        let first_tick = self.current_tick + 1;
        // Entries that are filed again below go behind this tick, and are passed over if this walk meets them.
        self.current_tick = now_tick;
        let last_tick = now_tick.min(first_tick + (BUCKETS as u64 - 1));
        for tick in first_tick..=last_tick {
            let mut next = self.heads[bucket(tick)];
            while next != NOBODY {
                let slot = next as usize;
                let entry = self.entries[slot];
                next = entry.next;
                if entry.filed_tick > now_tick {
                    continue;
                }
                self.unlink(slot);
                if entry.deadline_ms <= now_ms {
                    self.entries[slot].deadline_ms = NEVER;
                    expired(slot);
                } else if entry.deadline_ms != NEVER {
                    self.link(slot, self.tick_of(entry.deadline_ms));
                }
            }
        }
        self.next_tick = self.first_occupied_tick();
    }

    /// When [`advance`](Self::advance) is worth calling next, in milliseconds; `None` while nothing is filed. It may
    /// find nothing expired then, but no deadline is a tick past due before.
    #[inline]
    #[must_use]
    pub const fn next_deadline_ms(&self) -> Option<u64> {
        if self.next_tick == NEVER { None } else { Some(self.next_tick.saturating_mul(self.tick_ms)) }
    }

    /// The first tick to come whose bucket is not empty. (What is in it may be filed for a later lap.)
    fn first_occupied_tick(&self) -> u64 {
        let first = bucket(self.current_tick + 1);
        let (word, bit) = (first / WORD_BITS, first % WORD_BITS);
        // From the first bucket round to it again: its word is looked at twice, each time in part.
        let distance = (0..=WORDS).find_map(|step| {
            let at = (word + step) % WORDS;
            let part = if step == 0 { u64::MAX << bit } else { u64::MAX };
            let occupied = self.occupied[at] & part;
            let found = at * WORD_BITS + occupied.trailing_zeros() as usize;
            (occupied != 0).then_some((found + BUCKETS - first) % BUCKETS)
        });
        distance.map_or(NEVER, |distance| self.current_tick + 1 + distance as u64)
    }

    /// The tick with which a deadline fires: the first at or after it that is still to come.
    fn tick_of(&self, deadline_ms: u64) -> u64 {
        deadline_ms.div_ceil(self.tick_ms).max(self.current_tick + 1)
    }

    fn link(&mut self, slot: usize, tick: u64) {
        let at = bucket(tick);
        let name = u32::try_from(slot).unwrap_or(NOBODY);
        debug_assert!(name != NOBODY, "below slots_max, a u32");
        let next = std::mem::replace(&mut self.heads[at], name);
        if next != NOBODY {
            self.entries[next as usize].previous = name;
        }
        let entry = &mut self.entries[slot];
        (entry.filed_tick, entry.next, entry.previous) = (tick, next, NOBODY);
        self.occupied[at / WORD_BITS] |= 1 << (at % WORD_BITS);
        self.next_tick = self.next_tick.min(tick);
    }

    /// Takes the entry of `slot` out of its list, if it is in one.
    fn unlink(&mut self, slot: usize) {
        let Entry { filed_tick, next, previous, .. } = self.entries[slot];
        if filed_tick == NEVER {
            return;
        }
        let at = bucket(filed_tick);
        match previous {
            NOBODY => self.heads[at] = next,
            neighbour => self.entries[neighbour as usize].next = next,
        }
        if next != NOBODY {
            self.entries[next as usize].previous = previous;
        }
        if self.heads[at] == NOBODY {
            self.occupied[at / WORD_BITS] &= !(1 << (at % WORD_BITS));
        }
        self.entries[slot].filed_tick = NEVER;
    }
}

#[expect(clippy::cast_possible_truncation)] // The low bits are what is meant.
const fn bucket(tick: u64) -> usize {
    tick as usize % BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const SLOTS: u32 = 40;
    const TICK_MS: u64 = 10;
    const LAP_MS: u64 = BUCKETS as u64 * TICK_MS;

    fn expired(wheel: &mut TimerWheel, now_ms: u64) -> Vec<usize> {
        let mut slots = Vec::new();
        wheel.advance(now_ms, |slot| slots.push(slot));
        slots.sort_unstable();
        slots
    }

    #[test]
    fn a_deadline_beyond_one_lap_is_passed_over_until_its_lap() {
        let mut wheel = TimerWheel::new(SLOTS, TICK_MS, 0);
        wheel.set(3, 2 * LAP_MS + 50);
        assert_eq!(expired(&mut wheel, 50), []);
        assert_eq!(expired(&mut wheel, LAP_MS + 50), []);
        assert_eq!(expired(&mut wheel, 2 * LAP_MS + 49), []);
        assert_eq!(expired(&mut wheel, 2 * LAP_MS + 50), [3]);
        assert_eq!(wheel.next_deadline_ms(), None);
    }

    #[test]
    fn a_later_deadline_is_only_stored_and_an_earlier_one_is_filed_again() {
        let mut wheel = TimerWheel::new(SLOTS, TICK_MS, 0);
        wheel.set(0, 100);
        wheel.set(0, 500);
        assert_eq!(wheel.next_deadline_ms(), Some(100), "still filed where it was");
        assert_eq!(expired(&mut wheel, 100), []);
        assert_eq!(wheel.next_deadline_ms(), Some(500));
        wheel.set(0, 200);
        assert_eq!(wheel.next_deadline_ms(), Some(200));
        assert_eq!(expired(&mut wheel, 200), [0]);
        assert_eq!(expired(&mut wheel, 600), []);
    }

    #[test]
    fn a_jump_over_many_laps_finds_everything_once() {
        let mut wheel = TimerWheel::new(SLOTS, TICK_MS, 0);
        for slot in 0..SLOTS as usize {
            wheel.set(slot, slot as u64 * LAP_MS / 7);
        }
        assert_eq!(expired(&mut wheel, 100 * LAP_MS), (0..SLOTS as usize).collect::<Vec<_>>());
        assert_eq!(expired(&mut wheel, 200 * LAP_MS), []);
    }

    #[test]
    fn time_that_stands_or_runs_back_expires_nothing() {
        let mut wheel = TimerWheel::new(SLOTS, TICK_MS, 1_000);
        wheel.set(1, 500);
        assert_eq!(expired(&mut wheel, 1_000), []);
        assert_eq!(expired(&mut wheel, 3), []);
        assert_eq!(expired(&mut wheel, 1_010), [1], "one that had passed comes with the next tick");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Set(usize, u64),
        Clear(usize),
        Advance(u64),
        SleepUntilNext,
    }

    fn step() -> impl Strategy<Value = Step> {
        let slot = 0..SLOTS as usize;
        let delta_ms = || prop_oneof![0..5 * TICK_MS, 0..LAP_MS, 0..3 * LAP_MS];
        prop_oneof![
            4 => (slot.clone(), delta_ms()).prop_map(|(slot, delta_ms)| Step::Set(slot, delta_ms)),
            1 => slot.prop_map(Step::Clear),
            2 => delta_ms().prop_map(Step::Advance),
            2 => Just(Step::SleepUntilNext),
        ]
    }

    proptest! {
        /// Against a sorted map: nothing fires early or twice, nothing is a tick late, no wake-up comes too late.
        #[test]
        fn it_agrees_with_a_sorted_map(start_ms in 0..3 * LAP_MS, steps in prop::collection::vec(step(), 0..200)) {
            let mut now_ms = start_ms;
            let mut wheel = TimerWheel::new(SLOTS, TICK_MS, now_ms);
            // Of each slot: its deadline, and the tick's end by which it has to fire.
            let mut model = BTreeMap::<usize, (u64, u64)>::new();
            for step in steps {
                match step {
                    Step::Set(slot, delta_ms) => {
                        // Some have passed already.
                        let deadline_ms = (now_ms + delta_ms).saturating_sub(2 * TICK_MS);
                        wheel.set(slot, deadline_ms);
                        let next_tick_ms = (now_ms / TICK_MS + 1) * TICK_MS;
                        let latest_ms = deadline_ms.next_multiple_of(TICK_MS).max(next_tick_ms);
                        model.insert(slot, (deadline_ms, latest_ms));
                    }
                    Step::Clear(slot) => {
                        wheel.clear(slot);
                        model.remove(&slot);
                    }
                    Step::Advance(_) | Step::SleepUntilNext => {
                        now_ms = match step {
                            Step::Advance(delta_ms) => now_ms + delta_ms,
                            _ => wheel.next_deadline_ms().unwrap_or(now_ms).max(now_ms),
                        };
                        for slot in expired(&mut wheel, now_ms) {
                            let fired = model.remove(&slot);
                            prop_assert!(fired.is_some_and(|(deadline_ms, _)| deadline_ms <= now_ms), "{slot} {fired:?}");
                        }
                        for (slot, (_, latest_ms)) in &model {
                            prop_assert!(now_ms < *latest_ms, "{slot} did not fire by {latest_ms}, at {now_ms}");
                        }
                    }
                }
                if let Some(earliest_ms) = model.values().map(|(_, latest_ms)| *latest_ms).min() {
                    prop_assert!(wheel.next_deadline_ms().is_some_and(|next_ms| next_ms <= earliest_ms));
                }
            }
            // Then only time passes, in the steps that the wheel requires, and everything drains.
            while let Some(next_ms) = wheel.next_deadline_ms() {
                prop_assert!(next_ms > now_ms);
                now_ms = next_ms;
                for slot in expired(&mut wheel, now_ms) {
                    prop_assert!(model.remove(&slot).is_some());
                }
            }
            prop_assert!(model.is_empty());
        }
    }
}
