//! Histograms and summaries as lines: all checks first, so that a point is stored whole or not at all.

use super::writer::{HistogramHead, PointError};
use crate::protocol::bucket::{ClassicHistogram, exponential_bound};
use crate::{Kind, LineSink, Reject, Series, Value};

/// The series of a point and where its lines go.
pub(super) struct Target<'t, 'out> {
    /// With the name of the metric and all tags but `le` or `quantile`.
    pub series: &'t mut Series,
    pub timestamp_ms: Option<i64>,
    pub at: usize,
    /// Every value is the stale marker.
    pub is_stale: bool,
    pub sink: &'t mut LineSink<'out>,
}

/// The buckets of one sign of an exponential histogram. The bucket of index i, from `offset` on, holds values above
/// base^i and up to base^(i + 1), where base = 2^(2^-scale).
#[derive(Debug, Clone, Copy)]
pub(super) struct BucketCounts<'a> {
    pub offset: i32,
    pub counts: &'a [u64],
}

impl BucketCounts<'_> {
    /// The buckets that hold anything: the exponents of base at their ends, and their counts.
    fn filled(&self) -> impl DoubleEndedIterator<Item = (i64, i64, u64)> {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(place, &count)| {
            let index = i64::from(self.offset) + place as i64;
            (index, index + 1, count)
        })
    }
}

impl<'t, 'out> Target<'t, 'out> {
    /// A histogram with explicit bounds.
    pub fn explicit(self, head: &HistogramHead, counts: &[u64], bounds: &[f64]) -> Result<(), PointError> {
        let increases = bounds.iter().all(|bound| !bound.is_nan()) && bounds.is_sorted_by(|low, high| low < high);
        // A point without a recorded value has no counts.
        let fits = counts.len() == bounds.len() + 1 || (counts.is_empty() && (bounds.is_empty() || self.is_stale));
        if !increases || !fits {
            return Err(Reject::Histogram.into());
        }
        self.check_count(head.count, counts.iter())?;
        let (value, sum) = (self.values(), self.sum(head));
        let mut histogram = ClassicHistogram::new(self.sink, self.series, self.timestamp_ms, self.at)?;
        let mut cumulative = 0_u64;
        for (&bound, count) in bounds.iter().zip(counts.iter().chain(std::iter::repeat(&0))) {
            // Checked above, unless nothing is stored of it.
            cumulative = cumulative.saturating_add(*count);
            histogram.bucket(bound, value(Value::Uint(cumulative)))?;
        }
        Ok(histogram.finish(value(Value::Uint(head.count)), sum.map(value))?)
    }

    /// An exponential histogram: a line for each end of a bucket that is not empty.
    pub fn exponential(
        self,
        head: &HistogramHead,
        positive: BucketCounts<'_>,
        negative: BucketCounts<'_>,
    ) -> Result<(), PointError> {
        if !(0.0..f64::INFINITY).contains(&head.zero_threshold) {
            return Err(Reject::Histogram.into());
        }
        self.check_count(head.count, negative.counts.iter().chain(positive.counts).chain([&head.zero_count]))?;
        let (value, sum) = (self.values(), self.sum(head));
        let mut histogram = ClassicHistogram::new(self.sink, self.series, self.timestamp_ms, self.at)?;
        let mut cumulative = 0_u64;
        let mut bucket = |low: f64, high: f64, count: u64| {
            // Below minus infinity there is nothing to count.
            if low > f64::NEG_INFINITY {
                histogram.bucket(low, value(Value::Uint(cumulative)))?;
            }
            cumulative = cumulative.saturating_add(count);
            if high > f64::NEG_INFINITY {
                histogram.bucket(high, value(Value::Uint(cumulative)))?;
            }
            Ok::<(), PointError>(())
        };
        let end = |index| exponential_bound(head.scale, index);
        for (low, high, count) in negative.filled().rev() {
            bucket(-end(high), -end(low), count)?;
        }
        if head.zero_count > 0 {
            bucket(-head.zero_threshold, head.zero_threshold, head.zero_count)?;
        }
        for (low, high, count) in positive.filled() {
            bucket(end(low), end(high), count)?;
        }
        Ok(histogram.finish(value(Value::Uint(head.count)), sum.map(value))?)
    }

    /// A summary.
    pub fn summary(self, count: u64, sum: f64, quantiles: &[(f64, f64)]) -> Result<(), PointError> {
        if !quantiles.iter().all(|(quantile, _)| (0.0..=1.0).contains(quantile)) {
            return Err(Reject::Histogram.into());
        }
        let value = self.values();
        let Self { series, timestamp_ms, at, sink, .. } = self;
        let base = series.mark();
        // The longest of what will be appended.
        series.push_name(b"_count")?;
        series.push_tag(b"quantile", b"2.2250738585072014e-308")?;
        series.reset_to(base);
        for &(quantile, at_quantile) in quantiles {
            series.push_bound(b"quantile", quantile)?;
            sink.push(series, Kind::Summary, value(Value::Float(at_quantile)), timestamp_ms, at)?;
            series.reset_to(base);
        }
        for (suffix, total) in [(&b"_sum"[..], Value::Float(sum)), (b"_count", Value::Uint(count))] {
            series.push_name(suffix)?;
            sink.push(series, Kind::Summary, value(total), timestamp_ms, at)?;
            series.reset_to(base);
        }
        Ok(())
    }

    /// The buckets hold `count` values at most, so that none of the cumulative counts is above the last.
    fn check_count<'c>(&self, count: u64, mut counts: impl Iterator<Item = &'c u64>) -> Result<(), Reject> {
        let sum = counts.try_fold(0_u64, |sum, count| sum.checked_add(*count));
        if self.is_stale || sum.is_some_and(|sum| sum <= count) { Ok(()) } else { Err(Reject::Histogram) }
    }

    /// Returns the function that maps a value to the stored one.
    fn values(&self) -> impl Fn(Value<'static>) -> Value<'static> + Copy + use<> {
        let is_stale = self.is_stale;
        move |value| if is_stale { Value::Stale } else { value }
    }

    /// The sum, if there is such a series: a stale point does not say.
    fn sum(&self, head: &HistogramHead) -> Option<Value<'static>> {
        let sum = head.sum.or(self.is_stale.then_some(0.0));
        sum.map(Value::Float)
    }
}
