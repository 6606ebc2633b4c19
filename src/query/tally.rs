//! What is kept of the values that fall into one bucket, for each aggregate. Two tallies of one bucket, made by two threads, merge into
//! the one that a single thread would have made: none depends on the order in which it was given its samples.

use super::{
    exact::{Moments, Sum, Total},
    held::Held,
    number::{Digits, Number, compare_digits},
    request::{Agg, Request},
};
use crate::scan::{Place, Stop};
use std::{cmp::Ordering, marker::PhantomData};

/// One value that was stored.
pub(super) struct Sample<'a> {
    pub timestamp_ms: i64,
    pub place: Place,
    /// In its digits.
    pub value: &'a [u8],
}

/// What an aggregate came to.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Integer(i128),
    /// Infinite if it is beyond the range of floats.
    Float(f64),
    /// As it is stored.
    Digits(Digits),
}

impl Value {
    pub fn as_f64(&self) -> f64 {
        match self {
            Self::Integer(integer) => *integer as f64,
            Self::Float(float) => *float,
            Self::Digits(digits) => Number::read(digits.as_bytes()).as_f64(),
        }
    }
}

impl From<Total> for Value {
    fn from(total: Total) -> Self {
        match total {
            Total::Integer(integer) => Self::Integer(integer),
            Total::Float(float) => Self::Float(float),
        }
    }
}

/// What is kept of a bucket.
pub(super) trait Kept: Default + Send {
    /// Whether it becomes a point.
    const IS_POINT: bool = true;
    /// Takes all that another has.
    fn merge(&mut self, other: Self);
}

/// What is kept of a bucket, and takes its values one by one.
pub(super) trait Tally: Kept {
    /// Whether each value that it takes becomes a point.
    const TAKES_POINTS: bool = false;
    /// Takes one more value. Whatever it holds beside itself it takes from `held`.
    fn add(&mut self, sample: &Sample<'_>, request: &Request, held: &Held) -> Result<(), Stop>;
}

/// A tally of which one number comes.
pub(super) trait Single: Tally {
    /// What it came to; it has at least one value.
    fn value(self, agg: Agg) -> Value;
}

/// Takes from `held` what a tally grew by.
fn charge(before: usize, after: usize, held: &Held) -> Result<(), Stop> {
    if after > before { held.take(after - before) } else { Ok(()) }
}

/// Nothing: the series alone is wanted.
#[derive(Debug, Default)]
pub(super) struct Seen;

impl Kept for Seen {
    const IS_POINT: bool = false;

    fn merge(&mut self, _: Self) {}
}

impl Tally for Seen {
    #[inline]
    fn add(&mut self, _: &Sample<'_>, _: &Request, _: &Held) -> Result<(), Stop> {
        Ok(())
    }
}

/// How many.
#[derive(Debug, Default)]
pub(super) struct Count(u64);

impl Kept for Count {
    fn merge(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Tally for Count {
    #[inline]
    fn add(&mut self, _: &Sample<'_>, _: &Request, _: &Held) -> Result<(), Stop> {
        self.0 += 1;
        Ok(())
    }
}

impl Single for Count {
    fn value(self, _: Agg) -> Value {
        Value::Integer(self.0.into())
    }
}

/// Sum and mean.
#[derive(Debug, Default)]
pub(super) struct Mean {
    sum: Sum,
    count: u64,
}

impl Kept for Mean {
    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.sum.merge(&other.sum);
    }
}

impl Tally for Mean {
    #[inline]
    fn add(&mut self, sample: &Sample<'_>, _: &Request, held: &Held) -> Result<(), Stop> {
        let before = self.sum.heap_bytes();
        self.count += 1;
        self.sum.add(Number::read(sample.value));
        charge(before, self.sum.heap_bytes(), held)
    }
}

impl Single for Mean {
    fn value(self, agg: Agg) -> Value {
        match (agg, self.sum.total()) {
            (Agg::Avg, Total::Integer(sum)) if sum % i128::from(self.count) == 0 => {
                Value::Integer(sum / i128::from(self.count))
            }
            (Agg::Avg, _) => Value::Float(self.sum.divided(self.count as f64)),
            (_, total) => total.into(),
        }
    }
}

/// Which of two values an [`Extreme`] keeps.
pub(super) trait Side: Default + Send {
    const KEPT: Ordering;
}

/// The smaller.
#[derive(Debug, Default)]
pub(super) struct Smallest;

/// The larger.
#[derive(Debug, Default)]
pub(super) struct Largest;

impl Side for Smallest {
    const KEPT: Ordering = Ordering::Less;
}

impl Side for Largest {
    const KEPT: Ordering = Ordering::Greater;
}

/// The smallest or the largest value. Of equal ones, spelled differently, always the same.
#[derive(Debug, Default)]
pub(super) struct Extreme<S> {
    kept: Option<(f64, Digits)>,
    side: PhantomData<S>,
}

impl<S: Side> Kept for Extreme<S> {
    fn merge(&mut self, other: Self) {
        let is_kept = match (&self.kept, &other.kept) {
            (Some((_, ours)), Some((_, theirs))) => compare_digits(theirs.as_bytes(), ours.as_bytes()) != S::KEPT,
            (ours, _) => ours.is_some(),
        };
        if !is_kept {
            self.kept = other.kept;
        }
    }
}

impl<S: Side> Tally for Extreme<S> {
    #[inline]
    fn add(&mut self, sample: &Sample<'_>, _: &Request, held: &Held) -> Result<(), Stop> {
        let float = Number::read(sample.value).as_f64();
        let mut before = 0;
        if let Some((kept, digits)) = &self.kept {
            // Rounding to a float keeps the order, so only what is equal has to be looked at.
            let order = float.partial_cmp(kept).unwrap_or(Ordering::Equal);
            if order != S::KEPT && (order.is_ne() || compare_digits(sample.value, digits.as_bytes()) != S::KEPT) {
                return Ok(());
            }
            before = digits.heap_bytes();
        }
        let digits = Digits::new(sample.value);
        charge(before, digits.heap_bytes(), held)?;
        self.kept = Some((float, digits));
        Ok(())
    }
}

impl<S: Side> Single for Extreme<S> {
    fn value(self, _: Agg) -> Value {
        self.kept.map_or(Value::Float(f64::NAN), |(_, digits)| Value::Digits(digits))
    }
}

/// The earliest or the latest value, by its timestamp, and of equal timestamps by its place in the log.
#[derive(Debug, Default)]
pub(super) struct Edge<S> {
    kept: Option<(i64, Place, Digits)>,
    side: PhantomData<S>,
}

impl<S: Side> Kept for Edge<S> {
    fn merge(&mut self, other: Self) {
        let when = |edge: &Self| edge.kept.as_ref().map(|&(timestamp_ms, place, _)| (timestamp_ms, place));
        let is_kept = match (when(self), when(&other)) {
            (Some(ours), Some(theirs)) => theirs.cmp(&ours) != S::KEPT,
            (ours, _) => ours.is_some(),
        };
        if !is_kept {
            self.kept = other.kept;
        }
    }
}

impl<S: Side> Tally for Edge<S> {
    #[inline]
    fn add(&mut self, sample: &Sample<'_>, _: &Request, held: &Held) -> Result<(), Stop> {
        let mut before = 0;
        if let Some((timestamp_ms, place, digits)) = &self.kept {
            if (sample.timestamp_ms, sample.place).cmp(&(*timestamp_ms, *place)) != S::KEPT {
                return Ok(());
            }
            before = digits.heap_bytes();
        }
        let digits = Digits::new(sample.value);
        charge(before, digits.heap_bytes(), held)?;
        self.kept = Some((sample.timestamp_ms, sample.place, digits));
        Ok(())
    }
}

impl<S: Side> Single for Edge<S> {
    fn value(self, _: Agg) -> Value {
        self.kept.map_or(Value::Float(f64::NAN), |(_, _, digits)| Value::Digits(digits))
    }
}

/// The standard deviation.
#[derive(Debug, Default)]
pub(super) struct Deviation(Moments);

impl Kept for Deviation {
    fn merge(&mut self, other: Self) {
        self.0.merge(&other.0);
    }
}

impl Tally for Deviation {
    #[inline]
    fn add(&mut self, sample: &Sample<'_>, _: &Request, held: &Held) -> Result<(), Stop> {
        let before = self.0.heap_bytes();
        self.0.add(Number::read(sample.value));
        charge(before, self.0.heap_bytes(), held)
    }
}

impl Single for Deviation {
    fn value(self, _: Agg) -> Value {
        Value::Float(self.0.deviation())
    }
}

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
