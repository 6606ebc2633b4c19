//! Accumulators that keep every value: percentiles, rates, raw points. They charge their memory to the budget of the
//! query as they grow, and sort at the end, since values may arrive in any order.

use crate::{
    Look, Refusal,
    exec::{
        accumulator::{Accumulator, Mergeable, Sample, Scalar, Value},
        budget::MemoryBudget,
        number::{Digits, Number},
        order,
    },
    plan::request::{Agg, Request},
};
use crate::{
    limits::QUERY_STEPS_BETWEEN_LOOKS,
    scan::{LinePosition, Stop},
};
use std::cmp::Ordering;

/// All values, for a percentile.
#[derive(Debug, Default)]
pub(crate) struct Values {
    floats: Vec<f64>,
    /// Those that are no floats: beyond 2^53, and seldom there.
    integers: Vec<i64>,
}

impl Mergeable for Values {
    fn merge(&mut self, mut other: Self) {
        self.floats.append(&mut other.floats);
        self.integers.append(&mut other.integers);
    }
}

impl Accumulator for Values {
    #[inline]
    fn add(&mut self, sample: &Sample<'_>, _: &Request, held: &MemoryBudget) -> Result<(), Stop> {
        match Number::read(sample.value) {
            Number::Integer(integer) if integer.unsigned_abs() > 1 << 53 => push(&mut self.integers, integer, held),
            number => push(&mut self.floats, number.as_f64(), held),
        }
    }
}

impl Scalar for Values {
    fn value(mut self, agg: Agg, look: Look<'_>) -> Result<Value, Refusal> {
        let count = self.floats.len() + self.integers.len();
        let Agg::Percentile(thousandths) = agg else { return Ok(Value::Float(f64::NAN)) };
        // The nearest rank: the smallest value such that at least that part of the values is not above it.
        let rank = (count as u128 * u128::from(thousandths)).div_ceil(100_000).max(1) - 1;
        let rank = usize::try_from(rank).unwrap_or(usize::MAX).min(count.saturating_sub(1));
        if self.integers.is_empty() {
            order::select(&mut self.floats, rank, f64::total_cmp, look)?;
            return Ok(Value::Float(self.floats[rank]));
        }
        let mut numbers: Vec<_> = self.integers.into_iter().map(Number::Integer).collect();
        for floats in self.floats.chunks(QUERY_STEPS_BETWEEN_LOOKS) {
            look()?;
            numbers.extend(floats.iter().copied().map(Number::Float));
        }
        order::select(&mut numbers, rank, |a, b| a.compare(*b), look)?;
        Ok(match numbers[rank] {
            Number::Integer(integer) => Value::Integer(integer.into()),
            Number::Float(float) => Value::Float(float),
        })
    }
}

/// A vector grows by half, which is taken from `held` first.
#[inline]
fn push<T>(values: &mut Vec<T>, value: T, held: &MemoryBudget) -> Result<(), Stop> {
    if values.len() == values.capacity() {
        let more = (values.len() / 2).max(4);
        held.take(more * size_of::<T>())?;
        values.reserve_exact(more);
    }
    values.push(value);
    Ok(())
}

/// A reading in 16 bytes.
#[derive(Debug, Clone, Copy)]
struct Packed {
    /// Twice the timestamp, and one more for an integer.
    time: i64,
    bits: u64,
}

impl Packed {
    fn new(sample: &Sample<'_>) -> Self {
        let (bits, is_integer) = match Number::read(sample.value) {
            Number::Integer(integer) => (integer.cast_unsigned(), true),
            Number::Float(float) => (float.to_bits(), false),
        };
        Self { time: 2 * sample.timestamp_ms + i64::from(is_integer), bits }
    }

    const fn timestamp_ms(&self) -> i64 {
        self.time >> 1
    }

    fn number(&self) -> Number {
        if self.time & 1 == 1 {
            Number::Integer(self.bits.cast_signed())
        } else {
            Number::Float(f64::from_bits(self.bits))
        }
    }

    /// By time, then by value; what is equal in both, an integer and a float, has an order too.
    fn compare(&self, other: &Self) -> Ordering {
        let by_value = || self.number().compare(other.number());
        let by_spelling = || (self.time, self.bits).cmp(&(other.time, other.bits));
        self.timestamp_ms().cmp(&other.timestamp_ms()).then_with(by_value).then_with(by_spelling)
    }
}

/// All readings of a counter.
#[derive(Debug, Default)]
pub(crate) struct Readings(Vec<Packed>);

impl Mergeable for Readings {
    const IS_POINT: bool = false;

    fn merge(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }
}

impl Accumulator for Readings {
    #[inline]
    fn add(&mut self, sample: &Sample<'_>, _: &Request, held: &MemoryBudget) -> Result<(), Stop> {
        push(&mut self.0, Packed::new(sample), held)
    }
}

impl Readings {
    /// Timestamps and numbers in the order of the timestamps. Of several values at one moment the largest: in whichever
    /// order they came, a counter that had reached it is not below it at that moment.
    pub fn in_order(&mut self, look: Look<'_>) -> Result<impl Iterator<Item = (i64, Number)>, Refusal> {
        order::sort(&mut self.0, Packed::compare, look)?;
        let moments = self.0.chunk_by(|a, b| a.timestamp_ms() == b.timestamp_ms());
        Ok(moments.filter_map(<[Packed]>::last).map(|packed| (packed.timestamp_ms(), packed.number())))
    }
}

/// A value as it is stored, with its time.
#[derive(Debug)]
pub(crate) struct Stored {
    pub timestamp_ms: i64,
    place: LinePosition,
    pub digits: Digits,
}

/// All values as they are stored, or the latest so many of them.
#[derive(Debug, Default)]
pub(crate) struct Raw(Vec<Stored>);

impl Mergeable for Raw {
    const IS_POINT: bool = false;

    fn merge(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }
}

impl Accumulator for Raw {
    const TAKES_POINTS: bool = true;
    fn add(&mut self, sample: &Sample<'_>, request: &Request, held: &MemoryBudget) -> Result<(), Stop> {
        let digits = Digits::new(sample.value);
        held.take(digits.heap_bytes())?;
        push(&mut self.0, Stored { timestamp_ms: sample.timestamp_ms, place: sample.place, digits }, held)?;
        // More than the result may have are refused in the end, and need not be kept until then.
        if let Some(points) = request.points.map(|points| points.min(held.points_limit().saturating_add(1)))
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
    pub fn in_order(mut self, look: Look<'_>) -> Result<Vec<Stored>, Refusal> {
        let when = |stored: &Stored| (stored.timestamp_ms, stored.place);
        order::sort(&mut self.0, |a, b| when(a).cmp(&when(b)), look)?;
        Ok(self.0)
    }
}
