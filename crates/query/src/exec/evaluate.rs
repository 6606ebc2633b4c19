//! A request against the log: which tally each aggregate takes, the scan, the merging of what its threads have
//! collected, and the points that come of it. Everything that can be refused is refused here, before the first byte of
//! the result.
//!
//! Promises: the result depends on what is in the log alone, not on the number of threads nor on which of them saw what
//! first.

use crate::{
    Bounds, ExecLimits, Kind, Look, Refusal,
    exec::{
        accumulator::{
            Accumulator, Count, Deviation, Edge, Extreme, Largest, Mean, Mergeable, Presence, Scalar, Smallest, Value,
        },
        budget::MemoryBudget,
        collector::Collector,
        exact::Sum,
        groups::Groups,
        number::Number,
        samples::{Raw, Readings, Stored, Values},
    },
    output::result::{Point, QueryResult, Series},
    plan::{
        filter::NameFilter,
        labels::write_key,
        request::{Agg, By, Request},
    },
};
use crate::{
    limits::QUERY_STEPS_BETWEEN_LOOKS,
    scan::{self, Names, ScanError, ScanFilter, ScanLimits, Scanned, Source, Stop},
};
use std::{cmp::Ordering, sync::OnceLock, time::Instant};

/// Evaluates a request over what is in the log now.
///
/// # Errors
/// See [`Refusal`]; no part of the result exists then.
pub fn run(
    request: &Request,
    source: &Source,
    bounds: Bounds,
    limits: &ExecLimits<'_>,
) -> Result<QueryResult, Refusal> {
    let began = Instant::now();
    let look = || limits.check();
    let run = Run { request, source, held: MemoryBudget::new(bounds), bounds, limits, look: &look };
    let (series, work) = match (&request.kind, request.agg) {
        (Kind::Series | Kind::Names | Kind::TagValues(_), _) => run.seen()?,
        (Kind::Query, Agg::Avg | Agg::Sum) => run.single::<Mean>()?,
        (Kind::Query, Agg::Min) => run.single::<Extreme<Smallest>>()?,
        (Kind::Query, Agg::Max) => run.single::<Extreme<Largest>>()?,
        (Kind::Query, Agg::Count) => run.single::<Count>()?,
        (Kind::Query, Agg::First) => run.single::<Edge<Smallest>>()?,
        (Kind::Query, Agg::Last) => run.single::<Edge<Largest>>()?,
        (Kind::Query, Agg::Stddev) => run.single::<Deviation>()?,
        (Kind::Query, Agg::Percentile(_)) => run.single::<Values>()?,
        (Kind::Query, Agg::Rate | Agg::Increase) => run.growth()?,
        (Kind::Query, Agg::Raw) => run.raw()?,
    };
    QueryResult::new(request, series, work, began, &look)
}

/// Counts of the work done for one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub scanned: Scanned,
    /// Metrics left out as their values are NaN or infinite.
    pub non_finite: u64,
}

struct Run<'a> {
    request: &'a Request,
    source: &'a Source,
    held: MemoryBudget,
    bounds: Bounds,
    limits: &'a ExecLimits<'a>,
    look: Look<'a>,
}

impl Run<'_> {
    /// Scans the log with one collector for each thread, and merges what they have.
    fn collect<T: Accumulator>(&self, request: &Request) -> Result<(Groups<T>, Work), Refusal> {
        let snapshot = self.source.snapshot()?;
        // A predicate cannot fail. What stops it is kept until the scan is over, and then wins.
        let stopped = OnceLock::new();
        let names = match &self.request.names {
            NameFilter::All => Names::All,
            NameFilter::Is(name) => Names::Exact(name.clone()),
            NameFilter::Matches(condition) => Names::Matching(Box::new(|name| {
                condition.holds(name, self.look).unwrap_or_else(|refusal| {
                    let _ = stopped.set(refusal);
                    false
                })
            })),
        };
        let wanted = ScanFilter { from_ms: self.request.from_ms, to_ms: self.request.to_ms, names };
        let scan_limits = ScanLimits {
            threads: self.limits.threads,
            deadline: self.limits.deadline,
            cancel: self.limits.cancel,
            scanned_bytes_max: self.bounds.scanned_bytes_limit,
            scanned_bytes: self.limits.scanned_bytes,
        };
        let result =
            scan::scan(&snapshot, &wanted, &scan_limits, |_| Collector::<T>::new(request, &self.held, self.look));
        // Whatever came of it after the deadline means nothing.
        self.check()?;
        drop(wanted);
        if let Some(refusal) = stopped.into_inner() {
            return Err(refusal);
        }
        let (collectors, scanned) = result?;
        let work = Work { scanned, non_finite: collectors.iter().map(|collector| collector.non_finite).sum() };
        let mut all = collectors.into_iter().map(|collector| collector.groups);
        let mut groups = all.next().unwrap_or_else(Groups::new);
        for other in all {
            groups.merge(other, &self.held, self.look)?;
        }
        Ok((groups, work))
    }

    fn check(&self) -> Result<(), Refusal> {
        (self.look)()
    }

    /// The series themselves.
    fn seen(&self) -> Result<(Vec<Series>, Work), Refusal> {
        let (groups, work) = self.collect::<Presence>(self.request)?;
        let series = groups.into_series(self.look)?.map(|(key, _)| Series { key, points: Vec::new() });
        Ok((series.collect(), work))
    }

    /// One number for each bucket.
    fn single<T: Scalar>(&self) -> Result<(Vec<Series>, Work), Refusal> {
        let (groups, work) = self.collect::<T>(self.request)?;
        Ok((self.points_of(groups, |tally: T| tally.value(self.request.agg, self.look))?, work))
    }

    fn points_of<T: Mergeable>(
        &self,
        groups: Groups<T>,
        value: impl Fn(T) -> Result<Value, Refusal>,
    ) -> Result<Vec<Series>, Refusal> {
        let mut all = Vec::new();
        let mut made = 0_usize;
        for (key, mut buckets) in groups.into_series(self.look)? {
            keep_latest(&mut buckets, self.request.points);
            let mut points = Vec::with_capacity(buckets.len());
            for (bucket, kept) in buckets {
                if made.is_multiple_of(QUERY_STEPS_BETWEEN_LOOKS) {
                    self.check()?;
                }
                made += 1;
                points.push(Point { timestamp_ms: self.request.bucket_start_ms(bucket), value: value(kept)? });
            }
            all.push(Series { key, points });
        }
        Ok(all)
    }

    /// The values as they are stored.
    fn raw(&self) -> Result<(Vec<Series>, Work), Refusal> {
        let (groups, work) = self.collect::<Raw>(self.request)?;
        let mut points = 0;
        let mut all = Vec::new();
        for (key, buckets) in groups.into_series(self.look)? {
            let point =
                |stored: Stored| Point { timestamp_ms: stored.timestamp_ms, value: Value::Digits(stored.digits) };
            let mut of_series = Vec::new();
            // Without a step there is one bucket.
            for (_, raw) in buckets {
                let mut stored = raw.in_order(self.look)?;
                keep_latest(&mut stored, self.request.points);
                of_series.extend(stored.into_iter().map(point));
            }
            points += of_series.len();
            self.held.check_points(points)?;
            all.push(Series { key, points: of_series });
        }
        Ok((all, work))
    }

    /// Rates and increases: each series by itself, then summed.
    fn growth(&self) -> Result<(Vec<Series>, Work), Refusal> {
        // Readings of all of the time, as each grows from the one before it.
        let single = Request { by: By::All, step_ms: None, ..self.request.clone() };
        let (groups, work) = self.collect::<Readings>(&single)?;
        let mut sums = Groups::<Growth>::new();
        let mut summed_key = Vec::new();
        for (key, buckets) in groups.into_series(self.look)? {
            self.check()?;
            write_key(key.name(), key.tags(), &self.request.by, &mut summed_key);
            for (_, mut readings) in buckets {
                self.grow(&mut readings, &summed_key, &mut sums)?;
            }
        }
        Ok((self.points_of(sums, |growth| Ok(growth.value()))?, work))
    }

    /// Adds up what one series grew by, bucket by bucket: an increase belongs to the bucket of the later of the two
    /// values it is between.
    fn grow(&self, readings: &mut Readings, key: &[u8], sums: &mut Groups<Growth>) -> Result<(), Refusal> {
        let mut before: Option<(i64, Number)> = None;
        let mut in_bucket: Option<Grown> = None;
        for (number_of, (timestamp_ms, number)) in readings.in_order(self.look)?.enumerate() {
            if number_of.is_multiple_of(QUERY_STEPS_BETWEEN_LOOKS) {
                self.check()?;
            }
            if let Some((before_ms, number_before)) = before {
                let bucket = self.request.bucket(timestamp_ms);
                if in_bucket.as_ref().is_some_and(|grown| grown.bucket != bucket) {
                    self.settle(in_bucket.take(), key, sums)?;
                }
                let grown = in_bucket.get_or_insert_with(|| Grown { bucket, ..Grown::default() });
                grown.over_ms += timestamp_ms.abs_diff(before_ms);
                grown.sum.add(number);
                // A counter that is lower than before began again at zero.
                if number.compare(number_before) != Ordering::Less {
                    grown.sum.subtract(number_before);
                }
            }
            before = Some((timestamp_ms, number));
        }
        Ok(self.settle(in_bucket, key, sums)?)
    }

    fn settle(&self, grown: Option<Grown>, key: &[u8], sums: &mut Groups<Growth>) -> Result<(), Stop> {
        let Some(Grown { bucket, sum, over_ms }) = grown else { return Ok(()) };
        let group = sums.group(key, &self.held)?;
        let growth = sums.bucket(group, bucket, &self.held)?;
        let before = growth.sum.heap_bytes();
        if self.request.agg == Agg::Rate {
            growth.add_rate(sum.divided(over_ms as f64 / 1_000.0));
        } else {
            growth.sum.merge(&sum);
        }
        self.held.take(growth.sum.heap_bytes() - before)
    }
}

/// Increase of one series within one bucket.
#[derive(Default)]
struct Grown {
    bucket: u64,
    sum: Sum,
    /// The time between the values that it is the difference of: never nothing, as each moment has one.
    over_ms: u64,
}

/// Increases of the series of a group within one bucket, or their rates.
#[derive(Default)]
struct Growth {
    sum: Sum,
    /// One of them was beyond the range of floats.
    is_beyond: bool,
}

impl Growth {
    fn add_rate(&mut self, rate: f64) {
        if rate.is_finite() {
            self.sum.add_float(rate);
        } else {
            self.is_beyond = true;
        }
    }

    fn value(self) -> Value {
        if self.is_beyond { Value::Float(f64::INFINITY) } else { self.sum.total().into() }
    }
}

impl Mergeable for Growth {
    fn merge(&mut self, other: Self) {
        self.sum.merge(&other.sum);
        self.is_beyond |= other.is_beyond;
    }
}

/// Leaves the latest `points` of them.
fn keep_latest<T>(of_series: &mut Vec<T>, points: Option<usize>) {
    let surplus = points.map_or(0, |points| of_series.len().saturating_sub(points));
    of_series.drain(..surplus);
}

impl From<Stop> for Refusal {
    fn from(Stop(what): Stop) -> Self {
        Self::OverBound(what)
    }
}

impl From<ScanError> for Refusal {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Stopped(stop) => stop.into(),
            ScanError::BytesBound { .. } => Self::OverBound(error.to_string()),
            ScanError::Deadline => Self::Deadline,
            ScanError::Cancelled => Self::Cancelled,
            ScanError::Damaged { .. } | ScanError::Io { .. } | ScanError::Unsettled => {
                Self::Unreadable(error.to_string())
            }
        }
    }
}
