//! Memory budget of one query, shared by its threads: bytes, series, points. A thread that would exceed a bound is
//! stopped with an error that names the bound.

use crate::Bounds;
use crate::scan::Stop;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory in use by one query, in bytes, checked against its bounds.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    bounds: Bounds,
    bytes: AtomicUsize,
}

impl MemoryBudget {
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, bytes: AtomicUsize::new(0) }
    }

    /// `bytes` more are about to be held.
    pub fn take(&self, bytes: usize) -> Result<(), Stop> {
        // A counter: nothing is ordered by it.
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let bound = self.bounds.held_bytes_limit;
        ensure(before.saturating_add(bytes) <= bound, || {
            format!(
                "the query needs more than {bound} bytes of memory; use a shorter time range, a longer step or fewer series"
            )
        })
    }

    /// `bytes` are held no longer.
    pub fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Points that there may be.
    pub const fn points_limit(&self) -> usize {
        self.bounds.points_limit
    }

    /// There are about to be so many series.
    pub fn check_series(&self, series: usize) -> Result<(), Stop> {
        let bound = self.bounds.series_limit;
        ensure(series <= bound, || format!("more than {bound} series; filter by tags, or list fewer tags in by"))
    }

    /// There are about to be so many points.
    pub fn check_points(&self, points: usize) -> Result<(), Stop> {
        let bound = self.bounds.points_limit;
        ensure(points <= bound, || {
            format!("more than {bound} points; use a shorter time range, a longer step or fewer series")
        })
    }
}

#[inline]
fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Stop> {
    if holds { Ok(()) } else { Err(Stop(what())) }
}
