use super::*;
use crate::limits::{BLOCK_BYTES, BLOCK_NAMES_MAX, LINE_BYTES_MAX, SEGMENT_NAMES_MAX};
use std::{
    collections::BTreeSet,
    io::{self, Read},
};

/// Computes the sidecar's values in a slow and plain way, and compares them.
fn check(log: &[u8], sidecar: &Sidecar) {
    let mut at = 0;
    for (number, block) in sidecar.blocks.iter().enumerate() {
        assert_eq!(block.offset, at as u64);
        let lines = &log[at..][..usize::try_from(block.bytes).unwrap()];
        at += lines.len();
        assert!(lines.ends_with(b"\n") || at == log.len());
        let one_line = lines.iter().position(|&byte| byte == b'\n').is_none_or(|end| end + 1 == lines.len());
        assert!(lines.len() <= BLOCK_BYTES || one_line, "block {number} is too long");
        let next_bytes = log[at..].iter().position(|&byte| byte == b'\n').map_or(log.len() - at, |end| end + 1);
        assert!(at == log.len() || lines.len() + next_bytes > BLOCK_BYTES, "block {number} is too short");
        assert_eq!(block.crc32, crc32fast::hash(lines));
        let ours: Vec<_> = Lines::new(lines).flatten().collect();
        assert_eq!(block.lines, ours.len() as u64);
        assert_eq!(block.foreign_lines, Lines::new(lines).filter(Result::is_err).count() as u64);
        if !ours.is_empty() {
            assert_eq!(Some(block.first_ms), ours.iter().map(|line| line.timestamp_ms).min());
            assert_eq!(Some(block.last_ms), ours.iter().map(|line| line.timestamp_ms).max());
        }
        let names: BTreeSet<_> = ours.iter().map(|line| std::str::from_utf8(line.name).unwrap()).collect();
        if let (Some(listed), Some(all)) = (&block.names, &sidecar.names) {
            assert_eq!(listed.iter().map(|&index| all[index as usize].as_str()).collect::<BTreeSet<_>>(), names);
        } else {
            assert!(names.len() > BLOCK_NAMES_MAX || sidecar.names.is_none());
        }
    }
    assert_eq!((at as u64, log.len() as u64), (sidecar.bytes, sidecar.bytes));
    assert_eq!(sidecar.crc32, crc32fast::hash(log));
}

fn indexed(log: &[u8]) -> Sidecar {
    let directory = directory(&[log]);
    let sidecar = index(directory.path(), name(0), &RUNNING).unwrap();
    check(log, &sidecar);
    sidecar.write(directory.path(), name(0)).unwrap();
    assert_eq!(Sidecar::read(directory.path(), name(0)).unwrap(), sidecar);
    sidecar
}

#[test]
fn of_real_scrapes() {
    let sidecar = indexed(&scrapes());
    assert_eq!((sidecar.lines, sidecar.foreign_lines, sidecar.blocks.len()), (12_168, 0, 2));
    // The first and the last scrape.
    assert_eq!((sidecar.first_ms, sidecar.last_ms), (1_795_418_898_323, 1_795_418_921_731));
    assert_eq!(sidecar.names.unwrap()[..2], ["go_gc_duration_seconds", "go_gc_duration_seconds_sum"]);
}

#[test]
fn of_values_that_are_no_numbers() {
    let line = |value: &str| {
        format!(
            r#"{{"timestamp":"2026-01-02T03:04:05.678Z","name":"up","value":{value},"type":"untyped","tags":{{}}}}"#
        ) + "\n"
    };
    let good = [r#""NaN""#, r#""+Inf""#, r#""-Inf""#, r#""NaN","stale":true"#].map(line).concat();
    let bad = ["NaN", r#""nan""#, r#""+Inf","stale":true"#, r#"1,"stale":true"#].map(line).concat();
    let sidecar = indexed([good, bad].concat().as_bytes());
    assert_eq!((sidecar.lines, sidecar.foreign_lines), (4, 4));
    assert_eq!(sidecar.names.unwrap(), ["up"]);
}

#[test]
fn of_lines_of_every_length_about_a_block() {
    for bytes in [BLOCK_BYTES - 121, BLOCK_BYTES - 120, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES]
    {
        let short = line(5, "short", 120);
        let log = [short.as_str(), &line(7, "long", bytes), &short, &short].concat();
        let sidecar = indexed(log.as_bytes());
        assert_eq!((sidecar.lines, sidecar.first_ms, sidecar.last_ms), (4, 5, 7));
    }
    assert_eq!(indexed(b"").blocks, []);
}

#[test]
fn foreign_lines_are_counted_and_never_skipped() {
    let (ours, theirs) = (line(5, "a", 120), "{\"name\": \"b\"}\n\nnot JSON\n");
    let many = ours.repeat(BLOCK_BYTES / ours.len());
    let log = [many.as_bytes(), ours.as_bytes(), theirs.as_bytes(), &b"\xff\n"[..], b"{\"torn"].concat();
    let sidecar = indexed(&log);
    assert_eq!((sidecar.foreign_lines, sidecar.blocks.len()), (5, 2));
    let [whole, foreign] = &sidecar.blocks[..] else { unreachable!() };
    assert_eq!((whole.foreign_lines, foreign.foreign_lines), (0, 5));
    assert!(whole.may_hold(5, 6) && !whole.may_hold(6, 9) && !whole.may_hold(0, 5) && foreign.may_hold(6, 9));
    assert!(whole.may_name(0) && !whole.may_name(1) && foreign.may_name(1));
    // A segment of foreign lines only.
    let sidecar = indexed(theirs.as_bytes());
    assert_eq!((sidecar.lines, sidecar.foreign_lines, sidecar.first_ms > sidecar.last_ms), (0, 3, true));
}

#[test]
fn of_more_names_than_are_listed() {
    let lines = |names: usize| (0..names).map(|number| line(0, &format!("n{number}"), 120)).collect::<String>();
    let log = lines(BLOCK_NAMES_MAX);
    assert_eq!(indexed(log.as_bytes()).blocks[0].names.as_ref().unwrap().len(), BLOCK_NAMES_MAX);
    let sidecar = indexed(lines(BLOCK_NAMES_MAX + 1).as_bytes());
    assert_eq!((sidecar.names.unwrap().len(), &sidecar.blocks[0].names), (BLOCK_NAMES_MAX + 1, &None));
    assert!(sidecar.blocks[0].may_name(0));
    assert_eq!(indexed(lines(SEGMENT_NAMES_MAX).as_bytes()).names.unwrap().len(), SEGMENT_NAMES_MAX);
    let sidecar = indexed((lines(SEGMENT_NAMES_MAX + 1) + &log).as_bytes());
    assert!(sidecar.names.is_none() && sidecar.blocks.iter().all(|block| block.names.is_none()));
}

#[test]
fn nobody_makes_room_for_a_line_without_end() {
    let mut blocks = Blocks::new(io::repeat(b'x').take(2 * LINE_BYTES_MAX as u64));
    assert!(matches!(blocks.next_block(), Err(SegmentError::Malformed(_))));
}

#[test]
fn blocks_are_the_same_however_they_are_read() {
    struct Pieces<'a>(&'a [u8], usize);
    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = buffer.len().min(self.1);
            self.0.read(&mut buffer[..bytes])
        }
    }
    let log = scrapes();
    let log = &log[..log.len() - 5];
    for piece_bytes in [1, 4_097, usize::MAX] {
        let mut blocks = Blocks::new(Pieces(log, piece_bytes));
        let mut read = Vec::new();
        let mut lengths = Vec::new();
        while let Some(block) = blocks.next_block().unwrap() {
            read.extend_from_slice(block);
            lengths.push(block.len() as u64);
        }
        assert!(read == log && blocks.next_block().unwrap().is_none());
        assert_eq!(lengths, indexed(log).blocks.iter().map(|block| block.bytes).collect::<Vec<_>>());
    }
}

#[test]
fn it_stops_when_told() {
    let directory = directory(&[&scrapes()]);
    assert!(matches!(index(directory.path(), name(0), &STOPPED), Err(SegmentError::Stopped)));
    assert!(index(directory.path(), name(1), &RUNNING).unwrap_err().is_missing());
}
