//! Scans of any bytes: what is shown is what the reader of lines finds, by a source that keeps nothing and by one that
//! keeps what its blocks hold, the first time and again.
#![no_main]

use fuzz::{Choices, directory};
use libfuzzer_sys::fuzz_target;
use log::{Log, Settings};
use metric::{Line, Lines, TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN};
use query::scan::{LinePosition, Names, ScanFilter, ScanLimits, Source, Stop, Visitor, scan};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::{Duration, Instant},
};
use wake::Doorbell;

/// Timestamp, name, value and tags of each line that is shown, and its place.
struct Shown(Vec<(u64, String)>);

impl Visitor for Shown {
    fn line(&mut self, place: LinePosition, line: &Line<'_>) -> Result<(), Stop> {
        self.0.push((place.offset, text(line)));
        Ok(())
    }
}

fn text(line: &Line<'_>) -> String {
    format!("{line:?}")
}

fuzz_target!(|data: &[u8]| {
    let directory = directory();
    fs::write(directory.path().join("metrics.jsonl"), data).expect("memory for a log");
    let whole = data.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let lines = offsets(&data[..whole]);
    let plain = Source::directory(directory.path());
    let mut choices = Choices::of(data);
    compare(&plain, &lines, &mut choices, false);

    // What a server does at its start: the torn line is cut off.
    let opened = log::open(directory.path()).expect("any file can be opened");
    let bell = [Arc::new(Doorbell::new().expect("a descriptor"))];
    let log = Log::new(opened.file, &bell, 1024, Settings::default()).expect("a descriptor");
    let learning = Source::server(directory.path(), Arc::clone(&log.status));
    compare(&learning, &lines, &mut choices, true);
    compare(&learning, &lines, &mut choices, true);
});

fn offsets(data: &[u8]) -> Vec<(u64, Line<'_>)> {
    let mut lines = Lines::new(data);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.next() {
        found.extend(line.ok().map(|line| (at as u64, line)));
        at = lines.byte();
    }
    found
}

/// Scans by one of the filters.
fn compare(source: &Source, lines: &[(u64, Line<'_>)], choices: &mut Choices, counts_all: bool) {
    let first = lines.first().map(|(_, line)| line);
    let middle_ms = first.map_or(0, |line| line.timestamp_ms);
    let name = first.map_or(b"m".to_vec(), |line| line.name.to_vec());
    let every = TIMESTAMP_MS_MIN..TIMESTAMP_MS_MAX + 1;
    let is_even: fn(&[u8]) -> bool = |name| name.len() % 2 == 0;
    let (range, names) = match choices.below(5) {
        0 => (every, Names::All),
        1 => (every, Names::Exact(name)),
        2 => (every, Names::Matching(Box::new(is_even))),
        3 => (middle_ms..middle_ms + 1, Names::All),
        _ => (TIMESTAMP_MS_MIN..middle_ms, Names::Exact(name)),
    };
    let wants = |line: &Line<'_>| {
        range.contains(&line.timestamp_ms)
            && match &names {
                Names::All => true,
                Names::Exact(name) => line.name == name,
                Names::Matching(holds) => holds(line.name),
            }
    };
    let expected: Vec<_> = lines.iter().filter(|(_, line)| wants(line)).map(|(at, line)| (*at, text(line))).collect();
    let (cancel, scanned_bytes) = (AtomicBool::new(false), AtomicU64::new(0));
    let limits = ScanLimits {
        threads: 1,
        deadline: Instant::now() + Duration::from_secs(5),
        cancel: &cancel,
        scanned_bytes_max: u64::MAX,
        scanned_bytes: &scanned_bytes,
    };
    let filter = ScanFilter { from_ms: range.start, to_ms: range.end, names };
    let snapshot = source.snapshot().expect("the directory can be read");
    let (shown, scanned) = scan(&snapshot, &filter, &limits, |_| Shown(Vec::new())).expect("the log can be read");
    let shown: Vec<_> = shown.into_iter().flat_map(|shown| shown.0).collect();
    assert_eq!(shown, expected, "{filter:?}");
    assert_eq!(scanned.matched, expected.len() as u64);
    assert!(!counts_all || scanned.lines <= lines.len() as u64);
}
