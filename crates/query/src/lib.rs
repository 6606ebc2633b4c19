//! Queries of the log, and their results: points, series, names, values of tags. QUERY.md defines each parameter.
//!
//! ```text
//! plan:   parameters, moment ─> request, filter   what is requested
//!                          │
//! scan:   the lines ──> collector ─> groups       exec: one for each thread: series, their buckets,
//!                          │  accumulator, samples   and an accumulator for each
//!                          │
//! exec:   evaluate         merges them             exact sums, rates, percentiles
//!                          │
//! output: result           JSON, CSV, JSON Lines, piece by piece
//! ```
//!
//! Promises: a refusal comes before the first byte of the result; memory is bounded by [`Bounds`], whatever the request
//! and the log; the result depends on the log alone, not on the number of threads. The crate reads the log through
//! [`scan`] alone, writes nothing, and has no HTTP in it.
//!
//! ```
//! use query::{Bounds, ExecLimits, Kind, Request, run, scan::Source};
//! use std::{
//!     fs,
//!     sync::atomic::{AtomicBool, AtomicU64},
//!     time::{Duration, Instant},
//! };
//!
//! let directory = tempfile::tempdir()?;
//! let line = r#"{"timestamp":"2026-01-02T03:04:05.000Z","name":"cpu","value":0.5,"type":"gauge","tags":{}}"#;
//! fs::write(directory.path().join("metrics.jsonl"), [line, "\n"].concat())?;
//!
//! let four_o_clock_ms = 1_767_326_400_000;
//! let request = Request::parse(Kind::Query, "name=cpu&from=-1h&step=1h&agg=max", four_o_clock_ms)?;
//! let limits = ExecLimits {
//!     threads: 1,
//!     deadline: Instant::now() + Duration::from_secs(60),
//!     cancel: &AtomicBool::new(false),
//!     scanned_bytes: &AtomicU64::new(0),
//! };
//! let result = run(&request, &Source::directory(directory.path()), Bounds::default(), &limits)?;
//! assert_eq!(result.series[0].points[0].value.as_f64(), 0.5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod exec;
pub mod limits;
mod output;
mod plan;
pub mod scan;

pub use exec::accumulator::Value;
pub use exec::evaluate::run;
pub use exec::number::Digits;
pub use output::result::{Point, QueryResult, Series, Stats};
pub use output::{Format, Rendering, append_value, listed};
pub use plan::labels::{Key, meaning, tags_of};
pub use plan::moment::{MOMENT_EXPECTED, moment, span};
pub use plan::parameters::{decode_path, pairs, shown};
pub use plan::request::{Agg, Request};

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicU64},
    time::Instant,
};

/// Kind of a request: samples, or the discovery of series, names or tag values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Points: `/query`.
    Query,
    /// Which series there are: `/series`.
    Series,
    /// Which names there are: `/names`.
    Names,
    /// Which values the tag with this key has: `/tags/KEY`.
    TagValues(String),
}

/// Bounds of one query's memory and result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Series in the result, or names, or values.
    pub series_limit: usize,
    /// Points in the result.
    pub points_limit: usize,
    /// Bytes held while it is evaluated, over all threads.
    pub held_bytes_limit: usize,
    /// Bytes of lines, not compressed, that are scanned.
    pub scanned_bytes_limit: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            series_limit: limits::QUERY_SERIES_DEFAULT,
            points_limit: limits::QUERY_POINTS_DEFAULT,
            held_bytes_limit: limits::QUERY_HELD_BYTES_DEFAULT,
            scanned_bytes_limit: limits::QUERY_SCANNED_BYTES_DEFAULT,
        }
    }
}

/// Limits of the execution of one query.
#[derive(Debug, Clone, Copy)]
pub struct ExecLimits<'a> {
    /// Threads that scan, the calling one among them; at least 1.
    pub threads: usize,
    /// When it has to be evaluated.
    pub deadline: Instant,
    /// Set to cancel the query.
    pub cancel: &'a AtomicBool,
    /// Grows by the bytes of lines that were scanned, for whoever shows how far it is.
    pub scanned_bytes: &'a AtomicU64,
}

impl ExecLimits<'_> {
    /// Checks whether to go on.
    ///
    /// # Errors
    /// The deadline has passed, or the query was cancelled.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.cancel.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Refusal::Cancelled);
        }
        if Instant::now() >= self.deadline { Err(Refusal::Deadline) } else { Ok(()) }
    }
}

/// A check that returns an error once the deadline has passed or the query is cancelled. Only bounded work is done
/// between two of them.
type Look<'a> = &'a (dyn Fn() -> Result<(), Refusal> + Sync);

/// Reason for which there is no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A parameter is wrong: which, and what would be right.
    BadRequest(String),
    /// It would go over a bound: which, and what would make it smaller.
    OverBound(String),
    /// It was not evaluated in time.
    Deadline,
    /// The query was cancelled.
    Cancelled,
    /// The log cannot be read: which file, and why.
    Unreadable(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRequest(what) | Self::OverBound(what) | Self::Unreadable(what) => f.write_str(what),
            Self::Deadline => f.write_str("the query timed out; use a shorter time range or fewer names"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests;
