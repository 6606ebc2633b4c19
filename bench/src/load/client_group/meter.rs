//! Sampling of a thread's CPU and waiting times, from the end of the warm-up on, interval by interval.

use super::ClientGroup;
use crate::cores::{ThreadClock, ThreadTimes};
use std::io;

#[derive(Debug)]
pub(super) struct Meter {
    clock: ThreadClock,
    /// The times at the end of the warm-up, and when they were last read.
    first: Option<ThreadTimes>,
    last: ThreadTimes,
    /// When they were last read, and when they are next to be.
    read_ns: u64,
    due_ns: u64,
}

impl Meter {
    /// For the calling thread.
    ///
    /// # Errors
    /// /proc is not there.
    pub fn new(warm_ns: u64) -> io::Result<Self> {
        Ok(Self { clock: ThreadClock::open()?, first: None, last: ThreadTimes::default(), read_ns: 0, due_ns: warm_ns })
    }
}

impl ClientGroup<'_> {
    /// Reads the thread's times at the end of the warm-up, of each interval, and of the run.
    pub(super) fn measure(&mut self, now_ns: u64, at_end: bool) -> io::Result<()> {
        if now_ns < self.warm_ns || (now_ns < self.meter.due_ns && !at_end) {
            return Ok(());
        }
        let times = self.meter.clock.read()?;
        // That takes as long as several requests.
        self.read_ns = None;
        match self.meter.first {
            None => self.meter.first = Some(times),
            Some(first) => {
                let interval = self.tally.intervals.at(self.meter.due_ns.min(now_ns).saturating_sub(1));
                interval.cpu_ns += times.running_ns - self.meter.last.running_ns;
                self.tally.cpu_ns = times.running_ns - first.running_ns;
                // What is done after the span would only hide how busy the thread was in it.
                if let Some(span_ns) = self.tally.span.length_at(self.meter.read_ns, now_ns) {
                    self.tally.busiest = share(self.tally.cpu_ns, span_ns);
                    self.tally.starved = share(times.waiting_ns - first.waiting_ns, span_ns);
                }
            }
        }
        self.meter.read_ns = now_ns;
        self.meter.last = times;
        self.meter.due_ns = self.tally.intervals.end_ns(now_ns);
        Ok(())
    }
}

/// The part that `spent_ns` is of `all_ns`: all of it at most. The kernel brings the times up to date at its ticks, so
/// that those of a short run can come out larger.
#[expect(clippy::cast_precision_loss, reason = "a day is far below 2^53 ns")]
fn share(spent_ns: u64, all_ns: u64) -> f64 {
    if all_ns == 0 { 0.0 } else { (spent_ns as f64 / all_ns as f64).min(1.0) }
}
