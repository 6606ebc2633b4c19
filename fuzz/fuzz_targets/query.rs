//! Parameters of queries: whatever they are, a refusal names what is wrong in printable text, and what is taken is
//! evaluated within its bounds and rendered in each form.
#![no_main]

use fuzz::{ARRIVAL_MS, directory};
use libfuzzer_sys::fuzz_target;
use query::{Bounds, ExecLimits, Format, Kind, Refusal, Request, decode_path, run, scan::Source};
use std::{
    fs,
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicU64},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;

const BOUNDS: Bounds =
    Bounds { series_limit: 20, points_limit: 50, held_bytes_limit: 1 << 20, scanned_bytes_limit: 1 << 20 };

static LOG: LazyLock<TempDir> = LazyLock::new(|| {
    let line = |number: usize| {
        let (name, value) =
            (["cpu", "disk_total", "a\\\"b", "\u{e9}"][number % 4], ["1", "-2.5", "1e300", "\"NaN\""][number % 3]);
        let tags = ["{}", "{\"host\":\"web1\"}", "{\"host\":\"web2\",\"dc\":\"\\n\"}"][number % 5 % 3];
        let minute = number % 60;
        format!(
            "{{\"timestamp\":\"2026-01-02T03:{minute:02}:05.678Z\",\"name\":\"{name}\",\"value\":{value},\"type\":\"gauge\",\"tags\":{tags}}}\n"
        )
    };
    let directory = directory();
    fs::write(directory.path().join("metrics.jsonl"), (0..100).map(line).collect::<String>())
        .expect("memory for a log");
    directory
});

static SOURCE: LazyLock<Source> = LazyLock::new(|| Source::directory(LOG.path()));

fuzz_target!(|data: &[u8]| {
    let Ok(parameters) = std::str::from_utf8(data) else { return };
    let key = decode_path(parameters).unwrap_or_else(|_| "host".into());
    for kind in [Kind::Query, Kind::Series, Kind::Names, Kind::TagValues(key)] {
        let request = match Request::parse(kind, parameters, ARRIVAL_MS) {
            Ok(request) => request,
            Err(Refusal::BadRequest(what)) => {
                assert!(!what.contains(char::is_control) && what.len() < 2_000, "{what:?}");
                continue;
            }
            Err(other) => panic!("{other:?} of parameters"),
        };
        assert!(request.from_ms < request.to_ms, "a range that is empty is refused");
        let deadline = Instant::now() + Duration::from_secs(5);
        let (cancel, scanned_bytes) = (AtomicBool::new(false), AtomicU64::new(0));
        let limits = ExecLimits { threads: 1, deadline, cancel: &cancel, scanned_bytes: &scanned_bytes };
        match run(&request, &SOURCE, BOUNDS, &limits) {
            Ok(result) => {
                assert!(result.stats.series <= BOUNDS.series_limit && result.stats.points <= BOUNDS.points_limit);
                render(&result);
            }
            Err(Refusal::OverBound(what) | Refusal::BadRequest(what)) => assert!(!what.contains(char::is_control)),
            Err(Refusal::Deadline) => panic!("100 lines take more than 5 s"),
            Err(other) => panic!("{other:?}"),
        }
    }
});

fn render(result: &query::QueryResult) {
    let text = |format| {
        let mut text = Vec::new();
        let written: Result<(), ()> = result.write_to(format, |piece| {
            text.extend_from_slice(piece);
            Ok(())
        });
        (written.is_ok(), text)
    };
    let (is_whole, json) = text(Format::Json);
    let json: serde_json::Value =
        serde_json::from_slice(&json).unwrap_or_else(|error| panic!("{error}: {}", json.escape_ascii()));
    assert!(is_whole && json.is_object());
    let (_, lines) = text(Format::JsonLines);
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        serde_json::from_slice::<serde_json::Value>(line)
            .unwrap_or_else(|error| panic!("{error}: {}", line.escape_ascii()));
    }
    text(Format::Csv);
}
