//! Whole directories that are damaged at random: they are queried, opened, indexed, checked and repaired, and none of
//! it ends the process.

use crate::log::{ACTIVE, Log, STATE, SegmentForm, line, lines, segment};
use log::{
    Log as RunningLog, Settings,
    segment::{Holds, Maintenance, MaintenanceSetup, SegmentFile},
};
use metric::Line;
use proptest::prelude::*;
use query::{Bounds, ExecLimits, Format, Kind, Refusal, Request, run, scan::Source};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64},
    time::{Duration, Instant},
};
use wake::clock::Clock;

/// Damage to one file.
#[derive(Debug, Clone)]
enum Damage {
    Flip {
        at: prop::sample::Index,
        bit: u8,
    },
    Overwrite {
        at: prop::sample::Index,
        bytes: Vec<u8>,
    },
    Zeros {
        at: prop::sample::Index,
        bytes: usize,
    },
    Cut {
        at: prop::sample::Index,
    },
    Append {
        bytes: Vec<u8>,
    },
    Delete,
    /// The bytes of another file.
    Other {
        file: prop::sample::Index,
    },
    Pipe,
    Directory,
    Link,
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    let bytes = || {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 1..60),
            prop::collection::vec(prop::sample::select(b"\n\"{}\\,:09u".to_vec()), 1..6),
            // As one of ours, but for its name, its number, its time.
            Just(line(1).replace("metric_1", r"H\TP_x").into_bytes()),
            Just(line(1).replace("1.5", &"9".repeat(400)).into_bytes()),
            Just(line(1).replace("1.5", "1e999999999999").into_bytes()),
            Just(line(1).replace("2026-01", "9999-99").into_bytes()),
            // A frame that claims 2^60 bytes, and one to be skipped.
            Just(b"\x28\xb5\x2f\xfd\xe0\0\0\0\0\0\0\0\x10\x01\0\0".to_vec()),
            Just(b"\x50\x2a\x4d\x18\xff\xff\xff\xff".to_vec()),
        ]
    };
    prop_oneof![
        6 => (at(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        4 => (at(), bytes()).prop_map(|(at, bytes)| Damage::Overwrite { at, bytes }),
        1 => (at(), 1..5_000_usize).prop_map(|(at, bytes)| Damage::Zeros { at, bytes }),
        2 => at().prop_map(|at| Damage::Cut { at }),
        3 => bytes().prop_map(|bytes| Damage::Append { bytes }),
        1 => Just(Damage::Delete),
        2 => at().prop_map(|file| Damage::Other { file }),
        1 => prop_oneof![Just(Damage::Pipe), Just(Damage::Directory), Just(Damage::Link)],
    ]
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}

fn apply(damage: &Damage, path: &Path, others: &[PathBuf]) {
    let Ok(mut bytes) = fs::read(path) else { return };
    match damage {
        Damage::Flip { at, bit } if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        Damage::Flip { .. } => {}
        Damage::Overwrite { at, bytes: new } => {
            let at = at.index(bytes.len() + 1);
            let end = bytes.len().min(at + new.len());
            bytes.splice(at..end, new.iter().copied());
        }
        Damage::Zeros { at, bytes: zeros } => {
            let at = at.index(bytes.len() + 1);
            let end = bytes.len().min(at + zeros);
            bytes[at..end].fill(0);
        }
        Damage::Cut { at } => bytes.truncate(at.index(bytes.len() + 1)),
        Damage::Append { bytes: new } => bytes.extend_from_slice(new),
        Damage::Other { file } => bytes = fs::read(&others[file.index(others.len())]).unwrap_or_default(),
        Damage::Delete | Damage::Pipe | Damage::Directory | Damage::Link => {
            fs::remove_file(path).unwrap();
            match damage {
                Damage::Pipe => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
                Damage::Directory => fs::create_dir(path).unwrap(),
                Damage::Link => symlink(path.file_name().unwrap(), path).unwrap(),
                _ => {}
            }
            return;
        }
    }
    fs::write(path, bytes).unwrap();
}

/// A log with a segment of each form, an active one, and the state of a server that was killed.
fn healthy() -> Log {
    let log = Log::new();
    let forms = [
        SegmentForm::Plain,
        SegmentForm::PlainWithoutSidecar,
        SegmentForm::Compressed,
        SegmentForm::CompressedWithoutSidecar,
        SegmentForm::Plain,
    ];
    for (number, form) in (1..).zip(forms) {
        log.add(form, number, &lines(number as usize * 50..number as usize * 50 + 40));
    }
    // Both forms of the last one.
    log.add(SegmentForm::Compressed, 6, &lines(300..340));
    fs::write(log.file(&segment(6).file(SegmentFile::Plain)), lines(300..340)).unwrap();
    drop(log::open(log.path()).unwrap());
    fs::write(log.file(ACTIVE), lines(0..40)).unwrap();
    log.set_committed(lines(0..40).len());
    log
}

/// Queries in every way. A result is whole; a refusal names a file.
fn query(source: &Source) {
    static RUNNING: AtomicBool = AtomicBool::new(false);
    static SCANNED: AtomicU64 = AtomicU64::new(0);
    let deadline = Instant::now() + Duration::from_secs(600);
    let limits = ExecLimits { threads: 2, deadline, cancel: &RUNNING, scanned_bytes: &SCANNED };
    for (kind, parameters) in [
        (Kind::Query, "name=~.*&agg=sum&by=*"),
        (Kind::Query, "name=~(?i)metric_[0-9]%2B&agg=raw"),
        (Kind::Query, "name=metric_7&agg=p99&step=1m"),
        (Kind::Query, "name=~.*&tag.host=~web[1-3]&agg=rate&by=host"),
        (Kind::Query, "name=~.*&tag.path!~x.*&agg=last"),
        (Kind::Series, "name=~.*"),
        (Kind::Names, "name=~m.*"),
        (Kind::TagValues("path".into()), ""),
    ] {
        for range in
            ["from=0000-01-01T00:00:00Z&to=9999-12-31T23:59:59Z", "from=2026-01-02T03:04:05Z&to=2026-01-02T03:04:06Z"]
        {
            let parameters = format!("{parameters}&{range}");
            let request = Request::parse(kind.clone(), parameters.trim_start_matches('&'), 4_000_000_000_000).unwrap();
            match run(&request, source, Bounds::default(), &limits) {
                Ok(result) => {
                    let mut text = Vec::new();
                    result
                        .write_to(Format::Json, |piece| {
                            text.extend_from_slice(piece);
                            Ok::<_, ()>(())
                        })
                        .unwrap();
                    serde_json::from_slice::<serde_json::Value>(&text).unwrap();
                }
                Err(Refusal::Unreadable(what)) => assert!(what.contains("metrics"), "{what}"),
                Err(refusal) => panic!("{parameters}: {refusal:?}"),
            }
        }
    }
}

/// Opens it as a server does, asks, and lets the maintenance look at each segment.
fn serve(log: &Log) {
    let Ok(opened) = log::open(log.path()) else {
        // What is no file in the place of the log or of its state is refused.
        assert!([ACTIVE, STATE].iter().any(|name| !log.file(name).is_file()));
        return;
    };
    let running = RunningLog::new(opened.file, &[], 64 * 1024, Settings::default()).unwrap();
    let source = Source::server(log.path(), running.status);
    query(&source);
    let maintenance = Maintenance::start(MaintenanceSetup {
        directory: log.path().to_owned(),
        compress: true,
        retain_bytes: None,
        retain_age: None,
        holds: Holds::default(),
        clock: Clock::start(),
        watch: Some(opened.watch),
    })
    .unwrap();
    let status = maintenance.status();
    let end = Instant::now() + Duration::from_secs(600);
    while status.rounds.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        assert!(Instant::now() < end, "the maintenance has ended before its time");
        std::thread::yield_now();
    }
    maintenance.stop();
    // Twice: what the first has learnt, the second goes by.
    query(&source);
    query(&source);
}

/// Every line of ours in plain files and in what was set aside, and in frames that can be unpacked. Not those of the
/// plain file that is there compressed too: where its checksums are wrong the other form is kept.
fn lines_there(directory: &Path, is_plain_only: bool) -> BTreeSet<Vec<u8>> {
    let mut there = BTreeSet::new();
    for path in files(directory) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(&path).unwrap();
        let bytes = match name {
            _ if is_plain_only && name == segment(6).file(SegmentFile::Plain) => continue,
            _ if name.ends_with(".jsonl") || name.ends_with(".bin") => bytes,
            _ if name.ends_with(".zst") && !is_plain_only => zstd::decode_all(&bytes[..]).unwrap_or_default(),
            _ => continue,
        };
        let ours = bytes.split(|&byte| byte == b'\n').filter(|line| Line::parse(line).is_ok());
        there.extend(ours.map(<[u8]>::to_vec));
    }
    there
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_directory_is_queried_served_checked_and_repaired(
        damages in prop::collection::vec((any::<prop::sample::Index>(), damage()), 1..6),
        serves in any::<bool>(),
    ) {
        let log = healthy();
        for (file, damage) in &damages {
            let files = files(log.path());
            let path = file.index(files.len());
            if !files[path].ends_with("metricstream.lock") {
                apply(damage, &files[path], &files);
            }
        }
        let before = lines_there(log.path(), true);
        query(&Source::directory(log.path()));
        drop(metricstream::verify::check(log.path(), 2));
        if serves {
            serve(&log);
        } else {
            log.repair();
            query(&Source::directory(log.path()));
        }
        let after = lines_there(log.path(), false);
        let lost: Vec<_> = before.difference(&after).map(|line| line.escape_ascii().to_string()).collect();
        prop_assert!(lost.is_empty(), "{lost:?}");
    }
}
