//! What is kept where every value is needed one by one: percentiles, rates, raw points. They take their memory from what the query may
//! hold as they grow, and are put in order at the end, as values may come in any.

use super::{
    held::Held,
    number::{Digits, Number},
    request::{Agg, Request},
    tally::{Kept, Sample, Single, Tally, Value},
};
use crate::scan::{Place, Stop};

/// All values, for a percentile.
#[derive(Debug, Default)]
pub(super) struct Values {
    floats: Vec<f64>,
    /// Those that are no floats: beyond 2^53, and seldom there.
    integers: Vec<i64>,
}

impl Kept for Values {
    fn merge(&mut self, mut other: Self) {
        self.floats.append(&mut other.floats);
        self.integers.append(&mut other.integers);
    }
}

impl Tally for Values {
    #[inline]
    fn add(&mut self, sample: &Sample<'_>, _: &Request, held: &Held) -> Result<(), Stop> {
        match Number::read(sample.value) {
            Number::Integer(integer) if integer.unsigned_abs() > 1 << 53 => push(&mut self.integers, integer, held),
            number => push(&mut self.floats, number.as_f64(), held),
        }
    }
}

impl Single for Values {
    fn value(mut self, agg: Agg) -> Value {
        let count = self.floats.len() + self.integers.len();
        let Agg::Percentile(thousandths) = agg else { return Value::Float(f64::NAN) };
        // The nearest rank: the smallest value such that at least that part of the values is not above it.
        let rank = (count as u128 * u128::from(thousandths)).div_ceil(100_000).max(1) - 1;
        let rank = usize::try_from(rank).unwrap_or(usize::MAX).min(count.saturating_sub(1));
        if self.integers.is_empty() {
            let (_, &mut float, _) = self.floats.select_nth_unstable_by(rank, f64::total_cmp);
            return Value::Float(float);
        }
        let integers = self.integers.into_iter().map(Number::Integer);
        let mut numbers: Vec<_> = self.floats.into_iter().map(Number::Float).chain(integers).collect();
        match numbers.select_nth_unstable_by(rank, |a, b| a.compare(*b)).1 {
            Number::Integer(integer) => Value::Integer((*integer).into()),
            Number::Float(float) => Value::Float(*float),
        }
    }
}

/// A vector grows by half, which is taken from `held` first.
#[inline]
fn push<T>(values: &mut Vec<T>, value: T, held: &Held) -> Result<(), Stop> {
    if values.len() == values.capacity() {
        let more = (values.len() / 2).max(4);
        held.take(more * size_of::<T>())?;
        values.reserve_exact(more);
    }
    values.push(value);
    Ok(())
}

/// A reading in 24 bytes.
#[derive(Debug, Clone, Copy)]
struct Packed {
    /// Twice the timestamp, and one more for an integer.
    time: i64,
    /// The segment in the highest 20 bits.
    place: u64,
    bits: u64,
}

/// Bits of an offset in a packed place: segments of 16 TiB.
const OFFSET_BITS: u32 = 44;

impl Packed {
    fn new(sample: &Sample<'_>) -> Self {
        let (bits, is_integer) = match Number::read(sample.value) {
            Number::Integer(integer) => (integer.cast_unsigned(), true),
            Number::Float(float) => (float.to_bits(), false),
        };
        // A directory has fewer than a million segments, each of less than 16 TiB; beyond that, equal timestamps lose their order.
        let place = u64::from(sample.place.segment) << OFFSET_BITS | (sample.place.offset & ((1 << OFFSET_BITS) - 1));
        Self { time: 2 * sample.timestamp_ms + i64::from(is_integer), place, bits }
    }

    fn key(&self) -> (i64, u64) {
        (self.time >> 1, self.place)
    }

    fn number(&self) -> Number {
        if self.time & 1 == 1 {
            Number::Integer(self.bits.cast_signed())
        } else {
            Number::Float(f64::from_bits(self.bits))
        }
    }
}

/// All readings of a counter.
#[derive(Debug, Default)]
pub(super) struct Readings(Vec<Packed>);

impl Kept for Readings {
    const IS_POINT: bool = false;

    fn merge(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }
}

impl Tally for Readings {
    #[inline]
    fn add(&mut self, sample: &Sample<'_>, _: &Request, held: &Held) -> Result<(), Stop> {
        push(&mut self.0, Packed::new(sample), held)
    }
}

impl Readings {
    /// Timestamps and numbers in the order of the timestamps, those of equal ones in the order of the log.
    pub fn in_order(&mut self) -> impl Iterator<Item = (i64, Number)> {
        self.0.sort_unstable_by_key(Packed::key);
        self.0.iter().map(|packed| (packed.time >> 1, packed.number()))
    }
}

/// A value as it is stored, with its time.
#[derive(Debug)]
pub(super) struct Stored {
    pub timestamp_ms: i64,
    place: Place,
    pub digits: Digits,
}

/// All values as they are stored, or the latest so many of them.
#[derive(Debug, Default)]
pub(super) struct Raw(Vec<Stored>);

impl Kept for Raw {
    const IS_POINT: bool = false;

    fn merge(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }
}

impl Tally for Raw {
    const TAKES_POINTS: bool = true;
    fn add(&mut self, sample: &Sample<'_>, request: &Request, held: &Held) -> Result<(), Stop> {
        let digits = Digits::new(sample.value);
        held.take(digits.heap_bytes())?;
        push(&mut self.0, Stored { timestamp_ms: sample.timestamp_ms, place: sample.place, digits }, held)?;
        if let Some(points) = request.points
            && self.0.len() >= points.saturating_mul(2).max(1_024)
        {
            self.keep_latest(points);
        }
        Ok(())
    }
}

impl Raw {
    fn keep_latest(&mut self, points: usize) {
        let surplus = self.0.len().saturating_sub(points);
        if surplus > 0 {
            self.0.select_nth_unstable_by_key(surplus, |stored| (stored.timestamp_ms, stored.place));
            self.0.drain(..surplus);
        }
    }

    /// In the order of their timestamps, those of equal ones in the order of the log.
    pub fn in_order(mut self) -> Vec<Stored> {
        self.0.sort_unstable_by_key(|stored| (stored.timestamp_ms, stored.place));
        self.0
    }
}
