//! A server on a directory that is damaged: it starts, it responds, it reports what it has skipped, and it still runs
//! afterwards.

use crate::{
    forward::{store, table, wait_for},
    http::{get, post},
    metric, on_both_drivers,
    receiver::{Knows, Receiver},
    server::{Driver, Server, number_at, until},
    with_driver,
};
use ::log::segment::{SegmentFile, SegmentName, Sidecar, compress, index};
use std::{fs, path::Path, sync::atomic::AtomicBool};

const RANGE: &str = "from=1970-01-01T00:00:00Z&to=2100-01-01T00:00:00Z";

/// Queries by every way in which lines are looked for, and for every form of a result.
const QUESTIONS: [&str; 14] = [
    "/query?name=~.*",
    "/query?name=~HTTP_.*&by=*",
    "/query?name=HTTP_x",
    "/query?name=HTTP_x&tag.a!=b",
    "/query?name=~.%2B&tag.a=~.*&by=a",
    "/query?name=~.*&agg=raw",
    "/query?name=~.*&agg=rate&step=60s",
    "/query?name=~.*&agg=p99",
    "/query?name=~.*&agg=last&by=*",
    "/query?name=~.*&agg=min&step=1h",
    "/series?name=~.*",
    "/series",
    "/names?name=~.*",
    "/tags/a",
];

fn line(name: &str) -> String {
    format!(
        "{{\"timestamp\":\"2026-01-02T03:04:05.678Z\",\"name\":\"{name}\",\"value\":1,\"type\":\"gauge\",\"tags\":{{\"a\":\"b\"}}}}\n"
    )
}

/// Lines of which four are damaged, each in another way.
fn damaged_lines() -> Vec<u8> {
    let good = line("HTTP_x");
    let not_utf8: Vec<u8> = line("HTTP_?").bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();
    let huge = good.replace("\"value\":1", &format!("\"value\":1{}", "0".repeat(400)));
    [good.as_bytes(), line(r"a\qb").as_bytes(), line(r"H\TP_x").as_bytes(), &not_utf8, huge.as_bytes(), good.as_bytes()]
        .concat()
}

fn segment(number: i64) -> SegmentName {
    SegmentName::after(None, 1_767_323_045_678 + number)
}

fn seal(directory: &Path, number: i64, lines: &[u8]) -> Sidecar {
    let plain = directory.join(segment(number).file(SegmentFile::Plain));
    fs::write(plain, lines).unwrap();
    let sidecar = index(directory, segment(number), &AtomicBool::new(false)).unwrap();
    sidecar.write(directory, segment(number)).unwrap();
    sidecar
}

/// Sends every query and returns how many responses were not 200. Nothing but 200 and 503 with a reason may come.
fn query_everything(server: &mut Server) -> usize {
    let mut refused = 0;
    for question in QUESTIONS {
        let separator = if question.contains('?') { '&' } else { '?' };
        let response = server.request(&get(&format!("{question}{separator}{RANGE}")));
        if response.status != 200 {
            assert!(response.refusal(503).contains("metrics-"), "{question}");
            refused += 1;
        } else {
            assert!(number_at(&response.json(), "/stats/foreign_lines") > 0, "{question}");
        }
        assert!(server.is_running(), "{question}");
    }
    refused
}

/// Reads the log by position, from its beginning and from a time. Nothing but 200 and 503 with a reason may come.
fn follow_everything(server: &mut Server) -> usize {
    let mut lines = 0;
    for from in ["begin", "2026-01-02T03:04:05Z", "2100-01-01T00:00:00Z"] {
        let mut from = from.to_owned();
        loop {
            let response = server.request(&get(&format!("/log?from={from}&max_bytes=200")));
            assert!(server.is_running(), "{from}");
            if response.status != 200 {
                assert!(response.refusal(503).contains("the log cannot be read"), "{from}: {}", response.text());
                break;
            }
            lines += response.body.iter().filter(|&&byte| byte == b'\n').count();
            response.header("X-MetricsStream-Next").unwrap().clone_into(&mut from);
            if response.body.is_empty() {
                break;
            }
        }
    }
    lines
}

fn damaged_lines_are_skipped_and_counted_wherever_they_are(driver: Driver) {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path();
    fs::write(path.join("metrics.jsonl"), damaged_lines()).unwrap();
    // Plain, and its sidecar names what no line can be called: by another tool, as it has no checksum of itself.
    let mut named = seal(path, 1, &damaged_lines());
    named.names = Some(vec![r"H\TP_x".to_owned()]);
    let sidecar = path.join(segment(1).file(SegmentFile::Sidecar));
    fs::write(&sidecar, serde_json::to_vec(&named).unwrap()).unwrap();
    compress(path, segment(2), &seal(path, 2, &damaged_lines()), &AtomicBool::new(false)).unwrap();
    seal(path, 3, &damaged_lines());
    fs::remove_file(path.join(segment(3).file(SegmentFile::Sidecar))).unwrap();

    let setup = with_driver(driver);
    for _ in 0..2 {
        let mut server = setup.start_in(path);
        assert_eq!(query_everything(&mut server), 0);
        let response = server.request(&get(&format!("/query?name=HTTP_x&agg=count&{RANGE}"))).json();
        assert_eq!(response.pointer("/series/0/points/0/1"), Some(&8.into()), "two good lines in each of four");
        assert_eq!(number_at(&response, "/stats/foreign_lines"), 16);
        assert!(server.stat("/queries/foreign_lines") >= 16);
        let metrics = server.request(&get("/metrics"));
        assert!(metrics.text().contains("\nmetricstream_query_foreign_lines_total "));
        // By position they are as they are: from the beginning, and from the first line of the time.
        assert!(follow_everything(&mut server) >= 2 * 24);
        // It takes new lines, and a kill does not make it worse.
        assert_eq!(server.request(&post(metric::marked_batch("x", 1))).processed(), 1);
        server.kill();
    }
}

fn damaged_files_are_refused_by_name_and_end_nothing(driver: Driver) {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path();
    fs::write(path.join("metrics.jsonl"), damaged_lines()).unwrap();
    compress(path, segment(1), &seal(path, 1, &damaged_lines()), &AtomicBool::new(false)).unwrap();
    let compressed = path.join(segment(1).file(SegmentFile::Compressed));
    let whole = fs::read(&compressed).unwrap();
    // What has a segment's name and is no file is not waited for.
    assert!(
        std::process::Command::new("mkfifo")
            .arg(path.join(segment(2).file(SegmentFile::Plain)))
            .status()
            .unwrap()
            .success()
    );
    fs::create_dir(path.join(segment(3).file(SegmentFile::Plain))).unwrap();
    fs::create_dir(path.join(segment(4).file(SegmentFile::Sidecar))).unwrap();
    for damage in 0..6 {
        let mut bytes = whole.clone();
        match damage {
            // A bit, a cut, a frame that claims 2^60 bytes, zeros, nothing, something else.
            0 => bytes[whole.len() / 2] ^= 4,
            1 => bytes.truncate(whole.len() - 3),
            2 => bytes.splice(4..8, [0xe0, 0, 0, 0, 0, 0, 0, 0, 0x10]).for_each(drop),
            3 => bytes.fill(0),
            4 => bytes.clear(),
            _ => bytes = b"\x50\x2a\x4d\x18\xff\xff\xff\xff".repeat(9),
        }
        fs::write(&compressed, &bytes).unwrap();
        let mut server = with_driver(driver).start_in(path);
        query_everything(&mut server);
        follow_everything(&mut server);
        until("a round of the maintenance", || (server.stat("/segments/rounds") > 0).then_some(()));
        query_everything(&mut server);
        server.stop();
    }
}

/// A forward delivers the lines that are sound, and counts the others.
fn damaged_lines_hold_no_forward_up(driver: Driver) {
    let receiver = Receiver::start(Knows::Both, &[]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    seal(path, 1, &damaged_lines());
    compress(path, segment(2), &seal(path, 2, &damaged_lines()), &AtomicBool::new(false)).unwrap();
    fs::write(path.join("metrics.jsonl"), damaged_lines()).unwrap();
    let (setup, _file) = table(&receiver, "start = \"beginning\"");
    let mut server = setup.flag("--driver", driver.name()).start_in(path);
    let names = store(&server, "after", 3);
    wait_for(&receiver, &names);
    until("the counters", || (server.stat("/forwards/0/foreign_lines") == 12).then_some(()));
    // Two in each, of one series at one time, of which a batch has the last.
    assert!(receiver.names().iter().any(|name| name == "HTTP_x"), "{:?}", receiver.names());
    server.stop();
}

on_both_drivers!(
    damaged_lines_are_skipped_and_counted_wherever_they_are,
    damaged_files_are_refused_by_name_and_end_nothing,
    damaged_lines_hold_no_forward_up,
);
