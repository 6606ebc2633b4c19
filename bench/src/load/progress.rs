//! Progress line of a running load: one line that is rewritten on a terminal that can, plain lines elsewhere. No escape
//! sequence is used: the rest of a longer line is overwritten with spaces. Reads what the threads have counted; they
//! never wait for it.

use super::{Plan, Shared};
use std::{
    env,
    io::{self, IsTerminal, Write},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

/// Between two lines on a terminal.
const REWRITE: Duration = Duration::from_millis(200);
/// Between two lines elsewhere: a load that takes less says nothing until its report.
const APPEND: Duration = Duration::from_secs(5);

/// Counts of one thread so far, the warm-up included; on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Progress {
    responses: AtomicU64,
    failed: AtomicU64,
    late: AtomicU64,
}

impl Progress {
    pub fn set(&self, responses: u64, failed: u64, late: u64) {
        self.responses.store(responses, Ordering::Relaxed);
        self.failed.store(failed, Ordering::Relaxed);
        self.late.store(late, Ordering::Relaxed);
    }

    /// Responses so far.
    pub fn responses(&self) -> u64 {
        self.responses.load(Ordering::Relaxed)
    }
}

/// The sums over all threads.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sums {
    responses: u64,
    failed: u64,
    late: u64,
}

/// Prints the progress of `plan` on standard error, until the other end of `ended` is dropped.
pub(super) fn print(plan: &Plan, shared: &Shared, ended: &Receiver<()>) {
    let mut error = io::stderr();
    let rewrites = error.is_terminal() && env::var_os("TERM").is_some_and(|terminal| terminal != "dumb");
    let period = if rewrites { REWRITE } else { APPEND };
    let (begun, mut then, mut before) = (Instant::now(), Instant::now(), Sums::default());
    let mut width = 0;
    while ended.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
        let sums = shared.progress.iter().fold(Sums::default(), |sum, thread| Sums {
            responses: sum.responses + thread.responses.load(Ordering::Relaxed),
            failed: sum.failed + thread.failed.load(Ordering::Relaxed),
            late: sum.late + thread.late.load(Ordering::Relaxed),
        });
        let text = line(plan, begun.elapsed(), sums, before, then.elapsed());
        (then, before) = (Instant::now(), sums);
        // Nobody is there to read it: no reason to stop the load.
        let _ = if rewrites { write!(error, "\r{text:width$}") } else { writeln!(error, "{text}") };
        width = text.len();
    }
    if rewrites && width > 0 {
        let _ = write!(error, "\r{:width$}\r", "");
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn line(plan: &Plan, elapsed: Duration, sums: Sums, before: Sums, since: Duration) -> String {
    let elapsed_s = elapsed.as_secs_f64();
    let of =
        plan.duration.map_or_else(String::new, |duration| format!(" of {:.0}", (duration + plan.warmup).as_secs_f64()));
    let phase = if elapsed < plan.warmup { " (warm-up)" } else { "" };
    let rate = (sums.responses - before.responses) as f64 / since.as_secs_f64().max(1e-3);
    let elapsed_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    let target = plan.pace.as_ref().map(|pace| pace.profile.rate_at(elapsed_ns));
    let target = target.map_or_else(String::new, |target| match plan.duration {
        Some(duration) if elapsed > duration + plan.warmup => format!(", {} late", sums.late),
        _ => format!(" of {}, {} late", (target * 10.0).round() / 10.0, sums.late),
    });
    format!(
        "{elapsed_s:.1}{of} s{phase}: {} responses, {} failed, now {rate:.0} requests/s{target}",
        sums.responses, sums.failed
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_happened_since_the_last() {
        let before = Sums { responses: 1000, failed: 0, late: 0 };
        let sums = Sums { responses: 3000, failed: 4, late: 2 };
        let second = Duration::from_secs(1);
        let plan = super::super::parse(["load_test", "1", "-c", "9", "-d", "10s", "-w", "2s", "-R", "2500"]).unwrap();
        assert_eq!(
            line(&plan, second, sums, before, second),
            "1.0 of 12 s (warm-up): 3000 responses, 4 failed, now 2000 requests/s of 2500, 2 late"
        );
        let plan = super::super::parse(["load_test", "1", "-c", "9", "--stages", "4s:1000,2s:0"]).unwrap();
        let at = |seconds| line(&plan, Duration::from_secs(seconds), sums, before, second);
        assert!(at(1).starts_with("1.0 of 6 s: ") && at(1).ends_with("of 250, 2 late"), "{}", at(1));
        assert!(at(5).ends_with("of 500, 2 late") && at(7).ends_with("requests/s, 2 late"), "{} {}", at(5), at(7));
        let plan = super::super::parse(["load_test", "1", "9", "10"]).unwrap();
        assert_eq!(line(&plan, second, sums, before, second), "1.0 s: 3000 responses, 4 failed, now 2000 requests/s");
    }
}
