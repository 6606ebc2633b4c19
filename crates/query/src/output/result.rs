//! Result of a query: series, points, and the counts of the evaluation. Written piece by piece, in one of three
//! formats.

use crate::{
    Kind, Look, Refusal,
    exec::{accumulator::Value, evaluate::Work, order},
    output::{Format, Rendering},
    plan::{labels::Key, request::Request},
};
use crate::{limits::QUERY_PIECE_BYTES, scan::Scanned};
use std::{
    cmp::Ordering,
    time::{Duration, Instant},
};

/// One point of a series.
#[derive(Debug, Clone)]
pub struct Point {
    /// The start of its bucket; of a raw one, its own time.
    pub timestamp_ms: i64,
    /// Aggregate of the values of the bucket.
    pub value: Value,
}

/// One series of the result.
#[derive(Debug)]
pub struct Series {
    /// Name and tags.
    pub key: Key,
    /// In the order of their timestamps.
    pub points: Vec<Point>,
}

/// Counts and duration of one evaluation.
#[derive(Debug, Clone, Copy)]
pub struct Stats {
    /// Counts of the scan.
    pub scanned: Scanned,
    /// Metrics of the series that were left out as their values are NaN or infinite. Stale markers are among them.
    pub non_finite: u64,
    /// Series, names or values in the result.
    pub series: usize,
    /// Those that `limit` has cut off.
    pub left_out_series: usize,
    /// Points in the result.
    pub points: usize,
    /// From the beginning of the evaluation to its end.
    pub elapsed: Duration,
}

/// Result of a request.
#[derive(Debug)]
pub struct QueryResult {
    /// The kind of the request.
    pub kind: Kind,
    /// In the order of the request.
    pub series: Vec<Series>,
    /// Counts and duration of the evaluation.
    pub stats: Stats,
}

impl QueryResult {
    pub(crate) fn new(
        request: &Request,
        mut series: Vec<Series>,
        work: Work,
        began: Instant,
        look: Look<'_>,
    ) -> Result<Self, Refusal> {
        let last = |series: &Series| series.points.last().map_or(f64::NEG_INFINITY, |point| point.value.as_f64());
        let by_value = |a: &Series, b: &Series| last(a).partial_cmp(&last(b)).unwrap_or(Ordering::Equal);
        let compare = |a: &Series, b: &Series| {
            let by_value = if request.order.by_value { by_value(a, b) } else { Ordering::Equal };
            let by_key = a.key.cmp(&b.key);
            match (request.order.by_value, request.order.descending) {
                (true, true) => by_value.reverse().then(by_key),
                (true, false) => by_value.then(by_key),
                (false, true) => by_key.reverse(),
                (false, false) => by_key,
            }
        };
        order::sort(&mut series, compare, look)?;
        let found = series.len();
        series.truncate(request.limit.unwrap_or(usize::MAX));
        let stats = Stats {
            scanned: work.scanned,
            non_finite: work.non_finite,
            series: series.len(),
            left_out_series: found - series.len(),
            points: series.iter().map(|series| series.points.len()).sum(),
            elapsed: began.elapsed(),
        };
        Ok(Self { kind: request.kind.clone(), series, stats })
    }

    /// Writes it, in pieces of about [`QUERY_PIECE_BYTES`].
    ///
    /// # Errors
    /// The first that `write` has.
    pub fn write_to<E>(&self, format: Format, mut write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let rendering = Rendering::new(self, format, usize::MAX, &|| Ok(()));
        let mut rendering = rendering.expect("without a bound of columns nothing is refused");
        let mut piece = Vec::with_capacity(2 * QUERY_PIECE_BYTES);
        while rendering.append_next(&mut piece) {
            if piece.len() >= QUERY_PIECE_BYTES {
                write(&piece)?;
                piece.clear();
            }
        }
        write(&piece)
    }
    /// Bytes of memory that it holds, about.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let of_point = |point: &Point| match &point.value {
            Value::Digits(digits) => size_of::<Point>() + digits.heap_bytes(),
            Value::Integer(_) | Value::Float(_) => size_of::<Point>(),
        };
        let of_series = |series: &Series| {
            size_of::<Series>() + series.key.as_bytes().len() + series.points.iter().map(of_point).sum::<usize>()
        };
        self.series.iter().map(of_series).sum()
    }
}
