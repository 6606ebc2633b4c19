//! The engine against a slow and obvious evaluator, over logs made up for it; its bounds; its forms.
//!
//! The map: `log` makes logs, `reference` is the obvious evaluator, `random` compares the engine to it, `results` has
//! examples that a person can check.

mod bounds;
mod log;
mod random;
mod reference;
mod results;

use self::log::Log;
use super::*;
use crate::scan::Source;
use std::time::Duration;

static RUNNING: AtomicBool = AtomicBool::new(false);

static SCANNED_BYTES: AtomicU64 = AtomicU64::new(0);

fn limits(threads: usize) -> ExecLimits<'static> {
    let deadline = Instant::now() + Duration::from_secs(600);
    ExecLimits { threads, deadline, cancel: &RUNNING, scanned_bytes: &SCANNED_BYTES }
}

/// Evaluates a request with the engine. `now` is long after every log.
fn ask(log: &Log, kind: Kind, parameters: &str, threads: usize) -> Result<QueryResult, Refusal> {
    const NOW_MS: i64 = 4_000_000_000_000;
    let request = Request::parse(kind, parameters, NOW_MS)?;
    run(&request, &Source::directory(log.path()), Bounds::default(), &limits(threads))
}

fn written(result: &QueryResult, format: Format) -> String {
    let mut text = Vec::new();
    result
        .write_to(format, |piece| {
            text.extend_from_slice(piece);
            Ok::<_, std::convert::Infallible>(())
        })
        .unwrap();
    String::from_utf8(text).unwrap()
}
