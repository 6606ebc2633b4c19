//! Regular expressions over names against the crate `regex`: an expression, a zero byte, a name. Whatever both are, the
//! query ends in time.
#![no_main]

use fuzz::{ARRIVAL_MS, directory, parts};
use libfuzzer_sys::fuzz_target;
use metric::spelled;
use query::{Bounds, ExecLimits, Kind, Refusal, Request, run, scan::Source};
use regex::RegexBuilder;
use std::{
    fs,
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicU64},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;

static LOG: LazyLock<TempDir> = LazyLock::new(directory);

fuzz_target!(|data: &[u8]| {
    let [pattern, name] = parts::<2>(data, 0);
    let (Ok(pattern), Ok(name)) = (std::str::from_utf8(pattern), std::str::from_utf8(name)) else { return };
    if name.is_empty() {
        return;
    }
    let encoded: String = pattern.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let parameters = format!("name=~{encoded}&from=0");
    let Ok(request) = Request::parse(Kind::Names, &parameters, ARRIVAL_MS) else { return };
    let line = [
        &b"{\"timestamp\":\"2026-01-02T03:04:05.678Z\",\"name\":\""[..],
        &spelled(name),
        b"\",\"value\":1,\"type\":\"gauge\",\"tags\":{}}\n",
    ];
    fs::write(LOG.path().join("metrics.jsonl"), line.concat()).expect("memory for a log");
    let deadline = Instant::now() + Duration::from_secs(5);
    let (cancel, scanned_bytes) = (AtomicBool::new(false), AtomicU64::new(0));
    let limits = ExecLimits { threads: 1, deadline, cancel: &cancel, scanned_bytes: &scanned_bytes };
    let source = Source::directory(LOG.path());
    let found = match run(&request, &source, Bounds::default(), &limits) {
        Ok(result) => result.stats.series == 1,
        // A long text that is not ASCII, and a word boundary.
        Err(Refusal::OverBound(_)) => return,
        Err(other) => panic!("{other:?}"),
    };
    // In verbose mode a comment at the end would go on over what is put behind it.
    let is_verbose = pattern.contains("(?") && pattern.contains('x');
    let oracle = RegexBuilder::new(&format!("\\A(?:{pattern})\\z")).dot_matches_new_line(true).build();
    if let Ok(oracle) = oracle
        && !is_verbose
    {
        assert_eq!(found, oracle.is_match(name), "{pattern:?} and {name:?}");
    }
});
