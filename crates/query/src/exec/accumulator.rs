//! Accumulators: the state that each aggregate keeps for the values of one bucket. Two accumulators of one bucket,
//! filled by two threads, merge into the one that a single thread would have built: the result does not depend on the
//! order of the samples.

use crate::scan::{LinePosition, Stop};
use crate::{
    Look, Refusal,
    exec::{
        budget::MemoryBudget,
        exact::{Moments, Sum, Total},
        number::{Digits, Number, compare_digits},
    },
    plan::request::{Agg, Request},
};
use std::{cmp::Ordering, marker::PhantomData};

/// One value that was stored.
pub(crate) struct Sample<'a> {
    pub timestamp_ms: i64,
    pub place: LinePosition,
    /// A number in its digits, unless the accumulator takes any value.
    pub value: &'a [u8],
}

/// Value of an aggregate over one bucket.
#[derive(Debug, Clone)]
pub enum Value {
    /// An exact integer.
    Integer(i128),
    /// Infinite if it is beyond the range of floats.
    Float(f64),
    /// As it is stored.
    Digits(Digits),
}

impl Value {
    /// The nearest 64-bit float.
    #[must_use]
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

/// State of one bucket that another thread's state of the same bucket can be merged into.
pub(crate) trait Mergeable: Default + Send {
    /// True if the bucket becomes a point of the result.
    const IS_POINT: bool = true;
    /// Takes all that another has.
    fn merge(&mut self, other: Self);
}

/// State of one bucket that takes the bucket's values one at a time.
pub(crate) trait Accumulator: Mergeable {
    /// True if each value becomes a point of its own.
    const TAKES_POINTS: bool = false;
    /// True if NaN and the infinities are accepted too, because the value itself is not read.
    const TAKES_ANY_VALUE: bool = false;
    /// Takes one more value. Whatever it holds beside itself it takes from `held`.
    fn add(&mut self, sample: &Sample<'_>, request: &Request, held: &MemoryBudget) -> Result<(), Stop>;
}

/// A tally of which one number comes.
pub(crate) trait Scalar: Accumulator {
    /// Computes the aggregate; at least one value has been added.
    fn value(self, agg: Agg, look: Look<'_>) -> Result<Value, Refusal>;
}

/// Takes from `held` what a tally grew by.
fn charge(before: usize, after: usize, held: &MemoryBudget) -> Result<(), Stop> {
    if after > before { held.take(after - before) } else { Ok(()) }
}

/// Nothing: the series alone is wanted.
#[derive(Debug, Default)]
pub(crate) struct Presence;

impl Mergeable for Presence {
    const IS_POINT: bool = false;

    fn merge(&mut self, _: Self) {}
}

impl Accumulator for Presence {
    const TAKES_ANY_VALUE: bool = true;

    #[inline]
    fn add(&mut self, _: &Sample<'_>, _: &Request, _: &MemoryBudget) -> Result<(), Stop> {
        Ok(())
    }
}

/// Number of values.
#[derive(Debug, Default)]
pub(crate) struct Count(u64);

impl Mergeable for Count {
    fn merge(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Accumulator for Count {
    #[inline]
    fn add(&mut self, _: &Sample<'_>, _: &Request, _: &MemoryBudget) -> Result<(), Stop> {
        self.0 += 1;
        Ok(())
    }
}

impl Scalar for Count {
    fn value(self, _: Agg, _: Look<'_>) -> Result<Value, Refusal> {
        Ok(Value::Integer(self.0.into()))
    }
}

/// Sum and mean.
#[derive(Debug, Default)]
pub(crate) struct Mean {
    sum: Sum,
    count: u64,
}

impl Mergeable for Mean {
    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.sum.merge(&other.sum);
    }
}

impl Accumulator for Mean {
    #[inline]
    fn add(&mut self, sample: &Sample<'_>, _: &Request, held: &MemoryBudget) -> Result<(), Stop> {
        let before = self.sum.heap_bytes();
        self.count += 1;
        self.sum.add(Number::read(sample.value));
        charge(before, self.sum.heap_bytes(), held)
    }
}

impl Scalar for Mean {
    fn value(self, agg: Agg, _: Look<'_>) -> Result<Value, Refusal> {
        Ok(match (agg, self.sum.total()) {
            (Agg::Avg, Total::Integer(sum)) if sum % i128::from(self.count) == 0 => {
                Value::Integer(sum / i128::from(self.count))
            }
            (Agg::Avg, _) => Value::Float(self.sum.divided(self.count as f64)),
            (_, total) => total.into(),
        })
    }
}

/// Which of two values an [`Extreme`] keeps.
pub(crate) trait Side: Default + Send {
    const KEPT: Ordering;
}

/// The smaller.
#[derive(Debug, Default)]
pub(crate) struct Smallest;

/// The larger.
#[derive(Debug, Default)]
pub(crate) struct Largest;

impl Side for Smallest {
    const KEPT: Ordering = Ordering::Less;
}

impl Side for Largest {
    const KEPT: Ordering = Ordering::Greater;
}

/// The smallest or the largest value. Of equal ones, spelled differently, always the same.
#[derive(Debug, Default)]
pub(crate) struct Extreme<S> {
    kept: Option<(f64, Digits)>,
    side: PhantomData<S>,
}

impl<S: Side> Mergeable for Extreme<S> {
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

impl<S: Side> Accumulator for Extreme<S> {
    #[inline]
    fn add(&mut self, sample: &Sample<'_>, _: &Request, held: &MemoryBudget) -> Result<(), Stop> {
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

impl<S: Side> Scalar for Extreme<S> {
    fn value(self, _: Agg, _: Look<'_>) -> Result<Value, Refusal> {
        Ok(self.kept.map_or(Value::Float(f64::NAN), |(_, digits)| Value::Digits(digits)))
    }
}

/// The earliest or the latest value, by its timestamp, and of equal timestamps by its place in the log.
#[derive(Debug, Default)]
pub(crate) struct Edge<S> {
    kept: Option<(i64, LinePosition, Digits)>,
    side: PhantomData<S>,
}

impl<S: Side> Mergeable for Edge<S> {
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

impl<S: Side> Accumulator for Edge<S> {
    #[inline]
    fn add(&mut self, sample: &Sample<'_>, _: &Request, held: &MemoryBudget) -> Result<(), Stop> {
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

impl<S: Side> Scalar for Edge<S> {
    fn value(self, _: Agg, _: Look<'_>) -> Result<Value, Refusal> {
        Ok(self.kept.map_or(Value::Float(f64::NAN), |(_, _, digits)| Value::Digits(digits)))
    }
}

/// The standard deviation.
#[derive(Debug, Default)]
pub(crate) struct Deviation(Moments);

impl Mergeable for Deviation {
    fn merge(&mut self, other: Self) {
        self.0.merge(&other.0);
    }
}

impl Accumulator for Deviation {
    #[inline]
    fn add(&mut self, sample: &Sample<'_>, _: &Request, held: &MemoryBudget) -> Result<(), Stop> {
        let before = self.0.heap_bytes();
        self.0.add(Number::read(sample.value));
        charge(before, self.0.heap_bytes(), held)
    }
}

impl Scalar for Deviation {
    fn value(self, _: Agg, _: Look<'_>) -> Result<Value, Refusal> {
        Ok(Value::Float(self.0.deviation()))
    }
}
