//! The slow, obvious reader, and by hand what the fast one must do.

use super::*;
use log::segment::Catalog;

/// Every line of every segment, each file read whole.
pub fn read(directory: &Path, wanted: &ScanFilter) -> Vec<Seen> {
    let catalog = Catalog::list(directory).unwrap();
    let sealed = catalog.segments.iter().map(|segment| {
        let path = |file| directory.join(segment.name.file(file));
        match segment.plain {
            Some(_) => fs::read(path(SegmentFile::Plain)).unwrap(),
            None => zstd::decode_all(&fs::read(path(SegmentFile::Compressed)).unwrap()[..]).unwrap(),
        }
    });
    let active = catalog.active_bytes.map(|_| {
        let mut lines = fs::read(directory.join(ACTIVE_NAME)).unwrap();
        lines.truncate(memchr::memrchr(b'\n', &lines).map_or(0, |feed| feed + 1));
        lines
    });
    let mut seen = Vec::new();
    for (segment, lines) in (0..).zip(sealed.chain(active)) {
        let mut offset = 0;
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            let place = LinePosition { segment, offset };
            offset += line.len() as u64;
            let Some(Ok(line)) = line.strip_suffix(b"\n").map(Line::parse) else { continue };
            let is_named = match &wanted.names {
                Names::All => true,
                Names::Exact(name) => line.name == name,
                Names::Matching(holds) => holds(line.name),
            };
            if is_named && wanted.from_ms <= line.timestamp_ms && line.timestamp_ms < wanted.to_ms {
                seen.push(Seen {
                    place,
                    ms: line.timestamp_ms,
                    name: line.name.to_vec(),
                    value: line.value.to_vec(),
                    tags: line.tags.to_vec(),
                });
            }
        }
    }
    seen
}

#[test]
fn nothing_is_nothing() {
    for directory in [directory(&[], None), directory(&[], Some(b"")), directory(&[(Vec::new(), Lies::Indexed)], None)]
    {
        let (seen, scanned) = scan_all(directory.path(), &all());
        assert_eq!((seen, scanned.bytes, scanned.lines), (Vec::new(), 0, 0));
    }
    let missing = Source::directory(Path::new("/nowhere/at/all")).snapshot().unwrap_err();
    assert!(matches!(&missing, ScanError::Io { file, .. } if file == "/nowhere/at/all"), "{missing}");
}

#[test]
fn what_is_not_wanted_is_skipped_unread() {
    // Two segments of three blocks: each block with its own name and second.
    let block = |second: i64| {
        let line = line(START_MS + 1_000 * second, &format!("name_{second}"), 1, "{}");
        line.repeat(BLOCK_BYTES / line.len())
    };
    let segment = |from: i64| (from..from + 3).map(block).collect::<String>().into_bytes();
    for lies in [Lies::Indexed, Lies::Compressed, Lies::Both] {
        let directory = directory(&[(segment(0), lies), (segment(3), lies)], None);
        let by_name = named("name_4");
        let by_pattern = ScanFilter { names: Names::Matching(Box::new(|name| name == b"name_4")), ..all() };
        let by_time = ScanFilter { from_ms: START_MS + 4_000, to_ms: START_MS + 4_001, names: Names::All };
        for wanted in [by_name, by_pattern, by_time] {
            let (seen, scanned) = scan_all(directory.path(), &wanted);
            assert_same(&seen, &read(directory.path(), &wanted));
            assert!(!seen.is_empty() && scanned.lines == seen.len() as u64);
            let counts = (scanned.segments, scanned.skipped_segments, scanned.blocks, scanned.skipped_blocks);
            assert_eq!(counts, (1, 1, 1, 2), "{lies:?} {wanted:?}");
            assert!(scanned.bytes <= BLOCK_BYTES as u64 && scanned.read_bytes < scanned.bytes + 4_096);
            let total = (segment(0).len() + segment(3).len()) as u64;
            assert_eq!(scanned.bytes + scanned.skipped_bytes, total);
        }
        let nowhere = [named("name_7"), ScanFilter { from_ms: START_MS + 6_000, ..all() }];
        for wanted in nowhere {
            let (seen, scanned) = scan_all(directory.path(), &wanted);
            assert_eq!((seen, scanned.bytes, scanned.skipped_segments), (Vec::new(), 0, 2));
        }
    }
}

#[test]
fn a_name_within_a_tag_is_no_name() {
    let tags = r#"{"a":"b","name":"cpu","value":"1"}"#;
    let lines = [line(START_MS, "disk", 1, tags), line(START_MS, "cpu", 2, tags), line(START_MS, "cpu2", 3, "{}")];
    let directory = directory(&[], Some(lines.concat().as_bytes()));
    let (seen, scanned) = scan_all(directory.path(), &named("cpu"));
    assert_eq!((seen.len(), &seen[0].value[..], scanned.lines), (1, &b"2"[..], 3));
}

#[test]
fn names_are_compared_as_they_are_spelled_in_the_log() {
    let names = [r#"a\"b"#, r"a\\", r"\u0001", "é", "a"];
    let lines: String = names.iter().map(|name| line(START_MS, name, 1, "{}")).collect();
    let directory = directory(&[(lines.clone().into_bytes(), Lies::Plain)], Some(lines.as_bytes()));
    for wanted in names {
        assert_eq!(scan_all(directory.path(), &named(wanted)).0.len(), 2, "{wanted}");
        let wanted = wanted.as_bytes().to_vec();
        let matching = ScanFilter { names: Names::Matching(Box::new(move |name| name == wanted)), ..all() };
        assert_eq!(scan_all(directory.path(), &matching).0.len(), 2);
    }
}

#[test]
fn times_are_from_and_without_the_end() {
    let at = |ms: i64| line(ms, "cpu", 1, "{}");
    let lines = [at(TIMESTAMP_MS_MIN), at(START_MS - 1), at(START_MS), at(START_MS + 1), at(TIMESTAMP_MS_MAX)].concat();
    for lies in [Lies::Plain, Lies::Indexed] {
        let directory = directory(&[(lines.clone().into_bytes(), lies)], None);
        let count = |from_ms, to_ms| {
            let wanted = ScanFilter { from_ms, to_ms, names: Names::All };
            let (seen, _) = scan_all(directory.path(), &wanted);
            assert_same(&seen, &read(directory.path(), &wanted));
            seen.len()
        };
        assert_eq!(count(START_MS, START_MS + 1), 1);
        assert_eq!(count(START_MS - 1, START_MS + 1), 2);
        assert_eq!(count(START_MS, START_MS), 0);
        assert_eq!(count(START_MS + 1, START_MS), 0);
        assert_eq!(count(TIMESTAMP_MS_MIN, TIMESTAMP_MS_MAX), 4);
        assert_eq!(count(i64::MIN, i64::MAX), 5);
        assert_eq!(count(TIMESTAMP_MS_MAX, i64::MAX), 1);
        assert_eq!(count(TIMESTAMP_MS_MAX + 1, i64::MAX), 0);
        assert_eq!(count(i64::MIN, TIMESTAMP_MS_MIN), 0);
    }
}

#[test]
fn a_line_over_many_blocks_is_one_line() {
    let long = line(START_MS, "long", 1, &format!("{{\"t\":\"{}\"}}", "x".repeat(3 * BLOCK_BYTES)));
    let lines = [line(START_MS, "a", 1, "{}"), long.clone(), line(START_MS, "b", 1, "{}"), long].concat();
    for lies in Lies::ALL {
        let directory = directory(&[(lines.clone().into_bytes(), lies)], Some(lines.as_bytes()));
        assert_same(&scan_all(directory.path(), &all()).0, &read(directory.path(), &all()));
    }
}

#[test]
fn what_is_none_of_ours_is_counted() {
    let ours = line(START_MS, "cpu", 1, "{}");
    let lines = format!("{ours}\nhello\n{ours}{}{ours}", &ours[..60]);
    for lies in Lies::ALL {
        let directory = directory(&[(lines.clone().into_bytes(), lies)], Some(lines.as_bytes()));
        let (seen, scanned) = scan_all(directory.path(), &all());
        // The last one is joined to one that was torn, and with it none of ours.
        assert_eq!((seen.len(), scanned.lines, scanned.foreign_lines), (4, 4, 6), "{lies:?}");
        assert_same(&seen, &read(directory.path(), &all()));
    }
}

#[test]
fn an_unfinished_line_of_the_active_segment_is_not_there() {
    let ours = line(START_MS, "cpu", 1, "{}");
    for torn in 0..ours.len() {
        let directory = directory(&[], Some(format!("{ours}{}", &ours[..torn]).as_bytes()));
        let (seen, scanned) = scan_all(directory.path(), &all());
        assert_eq!((seen.len(), scanned.foreign_lines, scanned.bytes), (1, 0, ours.len() as u64));
    }
}

/// Stops at the first line.
struct Refuser;

impl Visitor for Refuser {
    fn line(&mut self, _: LinePosition, _: &Line<'_>) -> Result<(), Stop> {
        Err(Stop("one line is too many".into()))
    }
}

#[test]
fn bounds_are_told_apart() {
    let line = line(START_MS, "cpu", 1, "{}");
    let lines = line.repeat(2 * BLOCK_BYTES / line.len()).into_bytes();
    for lies in [Lies::Plain, Lies::Indexed, Lies::Compressed] {
        let directory = directory(&[(lines.clone(), lies)], None);
        let snapshot = Source::directory(directory.path()).snapshot().unwrap();
        let error = |budget: ScanLimits<'_>| match scan(&snapshot, &all(), &budget, |_| Collector::default()) {
            Ok(_) => panic!("it has a bound"),
            Err(error) => error,
        };
        let raised = AtomicBool::new(true);
        assert!(matches!(error(ScanLimits { cancel: &raised, ..budget(2) }), ScanError::Cancelled));
        assert!(matches!(error(ScanLimits { deadline: Instant::now(), ..budget(2) }), ScanError::Deadline));
        let bound = lines.len() as u64 - 1;
        let over = error(ScanLimits { scanned_bytes_max: bound, ..budget(2) });
        assert!(matches!(over, ScanError::BytesBound { bound: reported } if reported == bound));
        let fits = ScanLimits { scanned_bytes_max: bound + 1, ..budget(2) };
        assert!(scan(&snapshot, &all(), &fits, |_| Collector::default()).is_ok());
        let stopped = scan(&snapshot, &all(), &budget(2), |_| Refuser).map(|_| ()).unwrap_err();
        assert!(matches!(&stopped, ScanError::Stopped(Stop(why)) if why == "one line is too many"));
    }
}
