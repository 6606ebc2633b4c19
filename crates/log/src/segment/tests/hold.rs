use super::*;
use crate::{LogPosition, segment::hold::Overdue};
use std::sync::Arc;

fn position(text: &str) -> LogPosition {
    text.parse().unwrap()
}

/// Byte `byte` of segment `number`.
fn at(number: i64, byte: u64) -> LogPosition {
    position(&format!("{}:{byte}", name(number)))
}

fn after(number: i64, byte: u64) -> LogPosition {
    position(&format!("after-{}:{byte}", name(number)))
}

fn holds(bytes_max: u64, positions: &[Option<LogPosition>]) -> Holds {
    let all = (0..).zip(positions).map(|(number, at)| Arc::new(Hold::new(&format!("reader{number}"), *at)));
    Holds { all: all.collect(), bytes_max }
}

/// Segments of ten bytes.
fn segments(count: i64) -> Vec<Segment> {
    (0..count).map(|number| Segment { name: name(number), plain: Some(10), compressed: None, sidecar: None }).collect()
}

/// The numbers of the segments that are deleted, and those that are although they are needed.
fn deleted(overdue: &Overdue) -> (Vec<i64>, Vec<i64>) {
    let number = |segment: &Segment| segment.name.sealed_ms() - SEALED_MS;
    let needed = overdue.delete.iter().filter(|(_, is_needed)| *is_needed);
    (overdue.delete.iter().map(|(segment, _)| number(segment)).collect(), needed.map(|(s, _)| number(s)).collect())
}

#[test]
fn a_hold_keeps_what_is_not_delivered() {
    for (recorded, gone) in [
        (None, vec![0, 1, 2, 3]),
        (Some(LogPosition::FIRST), vec![]),
        (Some(at(0, 5)), vec![]),
        (Some(after(0, 0)), vec![0]),
        (Some(at(2, 10)), vec![0, 1]),
        (Some(after(2, 10)), vec![0, 1, 2]),
        (Some(after(3, 0)), vec![0, 1, 2, 3]),
    ] {
        let overdue = holds(1_000, &[recorded]).divide(&segments(4), 0);
        assert_eq!(deleted(&overdue), (gone.clone(), vec![]), "{recorded:?}");
        assert_eq!(overdue.held_bytes, 10 * (4 - gone.len() as u64));
        // Of several, the one that is the farthest behind counts.
        let overdue = holds(1_000, &[Some(after(3, 0)), recorded, None]).divide(&segments(4), 0);
        assert_eq!(deleted(&overdue), (gone, vec![]), "{recorded:?}");
    }
}

#[test]
fn the_oldest_held_go_beyond_the_bound() {
    let needed_from_1 = &[Some(at(1, 3))];
    for (bytes_max, missing_bytes, gone, forfeited) in [
        (30, 0, vec![0], vec![]),
        (29, 0, vec![0, 1], vec![1]),
        (10, 0, vec![0, 1, 2], vec![1, 2]),
        (9, 0, vec![0, 1, 2, 3], vec![1, 2, 3]),
        (0, 0, vec![0, 1, 2, 3], vec![1, 2, 3]),
        // The first one, which nobody needs, makes ten bytes of space.
        (u64::MAX, 10, vec![0], vec![]),
        (u64::MAX, 11, vec![0, 1], vec![1]),
        (u64::MAX, 20, vec![0, 1], vec![1]),
        (u64::MAX, 21, vec![0, 1, 2], vec![1, 2]),
        (u64::MAX, u64::MAX, vec![0, 1, 2, 3], vec![1, 2, 3]),
    ] {
        let overdue = holds(bytes_max, needed_from_1).divide(&segments(4), missing_bytes);
        assert_eq!(deleted(&overdue), (gone, forfeited), "{bytes_max} {missing_bytes}");
    }
}

#[test]
fn a_small_segment_does_not_slip_in_behind_a_gap() {
    let mut segments = segments(4);
    segments[1].plain = Some(100);
    let overdue = holds(50, &[Some(LogPosition::FIRST)]).divide(&segments, 0);
    assert_eq!(deleted(&overdue), (vec![0, 1], vec![0, 1]));
    assert_eq!(overdue.held_bytes, 20);
}

/// Two segments of three lines, of 120 bytes each.
fn three_lines() -> TempDir {
    let lines = (0..3).map(|number| line(SEALED_MS + number, "a", 120)).collect::<String>();
    directory(&[lines.as_bytes(), lines.as_bytes()])
}

fn forfeit(holds: &Holds, directory: &TempDir, number: i64) -> Result<Vec<String>, &'static str> {
    let sealed = Catalog::list(directory.path()).unwrap().segments;
    let segment = sealed.iter().find(|segment| segment.name == name(number)).unwrap();
    holds.forfeit(directory.path(), &sealed, segment, || retire(directory.path(), name(number)).map_err(|_| "failed"))
}

#[test]
fn what_is_lost_is_counted_to_the_line() {
    for compress in [false, true] {
        let directory = three_lines();
        if compress {
            for number in 0..2 {
                let sidecar = index(directory.path(), name(number), &RUNNING).unwrap();
                super::compress(directory.path(), name(number), &sidecar, &RUNNING).unwrap();
            }
        }
        let before_it = LogPosition::FIRST;
        let holds = holds(0, &[Some(before_it), Some(at(0, 120)), Some(at(0, 360)), Some(after(0, 240)), None]);
        let lost = || holds.all.iter().map(|hold| (hold.lost_lines(), hold.lost_bytes())).collect::<Vec<_>>();
        let said = forfeit(&holds, &directory, 0).unwrap();
        assert_eq!(said, ["reader0: 3 lines, 360 bytes", "reader1: 2 lines, 240 bytes"]);
        assert_eq!(lost(), [(3, 360), (2, 240), (0, 0), (0, 0), (0, 0)]);
        forfeit(&holds, &directory, 1).unwrap();
        assert_eq!(lost(), [(6, 720), (5, 600), (3, 360), (1, 120), (0, 0)], "compress: {compress}");
    }
}

#[test]
fn a_reader_uses_nothing_of_what_is_counted_as_lost() {
    let directory = three_lines();
    let holds = holds(0, &[Some(after(0, 0))]);
    let [hold] = &holds.all[..] else { unreachable!() };
    // It has read two lines, which it will deliver, and recorded one.
    assert!(hold.advance(at(1, 240)));
    hold.record(at(1, 120));
    forfeit(&holds, &directory, 1).unwrap();
    assert_eq!((hold.lost_lines(), hold.lost_bytes()), (1, 120));
    // Its file is still open.
    assert!(!hold.advance(at(1, 360)));
    assert!(!hold.advance(after(0, 360)));
    assert!(hold.advance(after(1, 0)) && hold.advance(at(2, 120)));
}

#[test]
fn a_segment_that_cannot_be_deleted_is_not_lost() {
    let directory = three_lines();
    let holds = holds(0, &[Some(at(0, 0))]);
    let sealed = Catalog::list(directory.path()).unwrap().segments;
    assert_eq!(holds.forfeit(directory.path(), &sealed, &sealed[0], || Err("failed")), Err("failed"));
    assert_eq!(holds.all[0].lost_lines(), 0);
    assert!(holds.all[0].advance(at(0, 120)));
}
