//! The timer wheel against a sorted set: all fires that is due by the end of the last tick, and nothing that is not due
//! yet.
//! The input is operations of four bytes: which, the slot, and how far.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reactor::TimerWheel;
use std::collections::BTreeSet;

const SLOTS: u32 = 40;

/// Deadlines of slots as a plain map has them: for each its deadline, and the tick with which it fires at the latest.
struct Due {
    slots: [Option<(u64, u64)>; SLOTS as usize],
    /// The ticks in their order, with their slots.
    ticks: BTreeSet<(u64, usize)>,
}

impl Due {
    const fn new() -> Self {
        Self { slots: [None; SLOTS as usize], ticks: BTreeSet::new() }
    }

    fn set(&mut self, slot: usize, deadline_ms: u64, tick: u64) {
        self.clear(slot);
        self.slots[slot] = Some((deadline_ms, tick));
        self.ticks.insert((tick, slot));
    }

    /// Takes the deadline of a slot away, and returns it.
    fn clear(&mut self, slot: usize) -> Option<u64> {
        let (deadline_ms, tick) = self.slots[slot].take()?;
        self.ticks.remove(&(tick, slot));
        Some(deadline_ms)
    }

    fn first_tick(&self) -> Option<u64> {
        self.ticks.first().map(|&(tick, _)| tick)
    }
}

fuzz_target!(|data: &[u8]| {
    let (&[tick, start], data) = data.split_first_chunk().unwrap_or((&[0, 0], &[]));
    let tick_ms = u64::from(tick % 100) + 1;
    let mut now_ms = u64::from(start) * 1_000;
    let mut wheel = TimerWheel::new(SLOTS, tick_ms, now_ms);
    let mut due = Due::new();
    let mut looked_at = now_ms / tick_ms;
    for operation in data.chunks_exact(4) {
        let (slot, far) = (usize::from(operation[1]) % SLOTS as usize, u64::from(operation[2]));
        // From a millisecond to beyond every lap, and to the end of time.
        let distance_ms = match operation[3] % 32 {
            31 => u64::MAX - 1,
            power => far << power,
        };
        match operation[0] % 4 {
            0 | 1 => {
                let past = operation[0] & 0x80 != 0;
                let deadline_ms =
                    if past { now_ms.saturating_sub(distance_ms) } else { now_ms.saturating_add(distance_ms) };
                wheel.set(slot, deadline_ms);
                due.set(slot, deadline_ms, deadline_ms.div_ceil(tick_ms).max(looked_at + 1));
                if deadline_ms == u64::MAX {
                    due.clear(slot);
                }
            }
            2 => {
                wheel.clear(slot);
                due.clear(slot);
            }
            _ => {
                now_ms = now_ms.saturating_add(distance_ms.min(1 << 40));
                wheel.advance(now_ms, |slot| {
                    let deadline_ms = due.clear(slot).expect("what fires has a deadline");
                    assert!(deadline_ms <= now_ms, "{deadline_ms} fires at {now_ms}");
                });
                looked_at = now_ms / tick_ms;
                let first = due.first_tick();
                assert!(first.is_none_or(|tick| tick > looked_at), "at {now_ms} {first:?} is past");
            }
        }
        // An entry that was cleared may be looked at all the same.
        let next_ms = wheel.next_deadline_ms();
        if let Some(first) = due.first_tick() {
            let next_ms = next_ms.expect("something is due");
            assert!(next_ms <= first.saturating_mul(tick_ms), "{next_ms} is after what is due");
        }
        assert!(next_ms.is_none_or(|next_ms| next_ms > now_ms || next_ms == u64::MAX));
    }
});
