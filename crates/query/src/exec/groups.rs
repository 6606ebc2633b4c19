//! Series of a result that is being built, and the accumulators of their buckets. Buckets are inserted as they occur,
//! so gaps cost nothing.

use crate::{
    Look, Refusal,
    exec::{accumulator::Mergeable, budget::MemoryBudget, order},
    plan::{labels::Key, request::Request},
};
use crate::{limits::QUERY_STEPS_BETWEEN_LOOKS, scan::Stop};
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Bytes of a place in a hash table of indices, which is at least half full.
const PLACE_BYTES: usize = 2 * (size_of::<u32>() + 1);

/// One bucket of one series.
struct Slot<T> {
    group: u32,
    bucket: u64,
    tally: T,
}

/// The bucket that a series was last given a value for: the next is mostly for the same.
struct Current {
    from_ms: i64,
    /// Exclusive; not after `from_ms` if there is none yet.
    to_ms: i64,
    slot: u32,
}

/// Series and their buckets.
pub(crate) struct Groups<T> {
    keys: Vec<Key>,
    currents: Vec<Current>,
    slots: Vec<Slot<T>>,
    by_key: HashTable<u32>,
    by_bucket: HashTable<u32>,
    hasher: RandomState,
    /// Bytes that were taken for keys and slots.
    taken_bytes: usize,
}

impl<T: Mergeable> Groups<T> {
    pub fn new() -> Self {
        Self {
            keys: Vec::new(),
            currents: Vec::new(),
            slots: Vec::new(),
            by_key: HashTable::new(),
            by_bucket: HashTable::new(),
            hasher: RandomState::default(),
            taken_bytes: 0,
        }
    }

    /// The index of the series with this key, which is made if it is new.
    pub fn group(&mut self, key: &[u8], held: &MemoryBudget) -> Result<u32, Stop> {
        let Self { keys, hasher, .. } = self;
        let hash = hasher.hash_one(key);
        if let Some(&group) = self.by_key.find(hash, |&group| keys[group as usize].as_bytes() == key) {
            return Ok(group);
        }
        // Vectors may be twice as large as what is in them.
        let bytes = key.len() + 2 * (size_of::<Key>() + size_of::<Current>()) + PLACE_BYTES;
        held.take(bytes)?;
        self.taken_bytes += bytes;
        held.check_series(self.keys.len() + 1)?;
        let group = index(self.keys.len())?;
        self.keys.push(Key::from(key));
        self.currents.push(Current { from_ms: 0, to_ms: 0, slot: 0 });
        let Self { keys, hasher, .. } = self;
        self.by_key.insert_unique(hash, group, |&group| hasher.hash_one(keys[group as usize].as_bytes()));
        Ok(group)
    }

    /// Returns the accumulator of the bucket of `group` that the timestamp falls into, inserting it if it is new.
    #[inline]
    pub fn at(
        &mut self,
        group: u32,
        timestamp_ms: i64,
        request: &Request,
        held: &MemoryBudget,
    ) -> Result<&mut T, Stop> {
        let current = &self.currents[group as usize];
        if current.from_ms <= timestamp_ms && timestamp_ms < current.to_ms {
            return Ok(&mut self.slots[current.slot as usize].tally);
        }
        let bucket = request.bucket(timestamp_ms);
        let slot = self.slot(group, bucket, held)?;
        let from_ms = request.bucket_start_ms(bucket);
        let to_ms = request.step_ms.map_or(request.to_ms, |step_ms| from_ms.saturating_add(step_ms));
        self.currents[group as usize] = Current { from_ms, to_ms, slot };
        Ok(&mut self.slots[slot as usize].tally)
    }

    /// Returns the accumulator of a bucket, inserting it if it is new.
    pub fn bucket(&mut self, group: u32, bucket: u64, held: &MemoryBudget) -> Result<&mut T, Stop> {
        let slot = self.slot(group, bucket, held)?;
        Ok(&mut self.slots[slot as usize].tally)
    }

    fn slot(&mut self, group: u32, bucket: u64, held: &MemoryBudget) -> Result<u32, Stop> {
        let Self { slots, hasher, .. } = self;
        let hash = hasher.hash_one((group, bucket));
        let is_it = |&slot: &u32| (slots[slot as usize].group, slots[slot as usize].bucket) == (group, bucket);
        if let Some(&slot) = self.by_bucket.find(hash, is_it) {
            return Ok(slot);
        }
        let bytes = 2 * size_of::<Slot<T>>() + PLACE_BYTES;
        held.take(bytes)?;
        self.taken_bytes += bytes;
        if T::IS_POINT {
            held.check_points(self.slots.len() + 1)?;
        }
        let slot = index(self.slots.len())?;
        self.slots.push(Slot { group, bucket, tally: T::default() });
        let Self { slots, hasher, .. } = self;
        let hash_of = |&slot: &u32| hasher.hash_one((slots[slot as usize].group, slots[slot as usize].bucket));
        self.by_bucket.insert_unique(hash, slot, hash_of);
        Ok(slot)
    }

    /// Takes all that another has.
    pub fn merge(&mut self, other: Self, held: &MemoryBudget, look: Look<'_>) -> Result<(), Refusal> {
        let Self { keys, slots, taken_bytes, by_key, by_bucket, currents, .. } = other;
        drop((by_key, by_bucket, currents));
        let mut groups = Vec::with_capacity(keys.len());
        for keys in keys.chunks(QUERY_STEPS_BETWEEN_LOOKS) {
            look()?;
            for key in keys {
                groups.push(self.group(key.as_bytes(), held)?);
            }
        }
        for (number, Slot { group, bucket, tally }) in slots.into_iter().enumerate() {
            if number.is_multiple_of(QUERY_STEPS_BETWEEN_LOOKS) {
                look()?;
            }
            self.bucket(groups[group as usize], bucket, held)?.merge(tally);
        }
        held.give_back(taken_bytes);
        Ok(())
    }

    /// Each series with its buckets in their order; one without buckets, as none of its values is a number, is left
    /// out. The series are in the order in which they were first seen.
    pub fn into_series(mut self, look: Look<'_>) -> Result<impl Iterator<Item = (Key, Vec<(u64, T)>)>, Refusal> {
        let place = |slot: &Slot<T>| (slot.group, slot.bucket);
        order::sort(&mut self.slots, |a, b| place(a).cmp(&place(b)), look)?;
        let mut slots = self.slots.into_iter().peekable();
        let series = (0..).zip(self.keys).map(move |(group, key)| {
            let mut buckets = Vec::new();
            while let Some(slot) = slots.next_if(|slot| slot.group == group) {
                buckets.push((slot.bucket, slot.tally));
            }
            (key, buckets)
        });
        Ok(series.filter(|(_, buckets)| !buckets.is_empty()))
    }
}

/// An index in 32 bits. The bounds are far below that; a bound that is raised beyond fails here.
fn index(length: usize) -> Result<u32, Stop> {
    u32::try_from(length).map_err(|_| Stop(format!("more than {} series or points", u32::MAX)))
}
