//! What a rotation leaves in the directory, and what a start makes of one that was interrupted.

use super::{
    super::{LogFile, Opened, Previous, open},
    *,
};
use crate::segment::{Keeper, KeeperSetup};
use std::{io::IoSlice, sync::atomic::Ordering, thread};
use tempfile::TempDir;

fn append(opened: &Opened, line: &str) {
    opened.file.append(&[IoSlice::new(line.as_bytes())]).unwrap();
    opened.file.record(opened.file.size_bytes().unwrap()).unwrap();
}

/// The texts of the sealed segments, in the order of their names.
fn sealed(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        names.filter(|name| matches!(SegmentName::parse(name), Some((_, SegmentFile::Plain)))).collect();
    names.sort();
    names.iter().map(|name| fs::read_to_string(directory.join(name)).unwrap()).collect()
}

fn active(directory: &Path) -> String {
    fs::read_to_string(directory.join(ACTIVE_NAME)).unwrap()
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn lines_stay_in_their_order_over_segments() {
    let directory = directory();
    let mut opened = open(directory.path()).unwrap();
    let keeper = Keeper::start(KeeperSetup {
        directory: directory.path().to_owned(),
        compress: false,
        retain_bytes: None,
        retain_age: None,
        clock: Clock::start(),
    })
    .unwrap();
    opened.file.keep_with(keeper.bell());
    for line in ["1\n", "2\n", "3\n"] {
        append(&opened, line);
        opened.file.rotate().unwrap();
        opened.file.record(0).unwrap();
        assert_eq!(opened.file.size_bytes().unwrap(), 0);
    }
    append(&opened, "4\n");
    assert_eq!(sealed(directory.path()), ["1\n", "2\n", "3\n"]);
    assert_eq!(active(directory.path()), "4\n");
    assert!(!directory.path().join(NEXT_NAME).exists());

    assert!(opened.file.has_unsynced_segment());
    opened.file.sync_data().unwrap();
    assert!(!opened.file.has_unsynced_segment());
    while keeper.status().indexed.load(Ordering::Relaxed) < 3 {
        thread::yield_now();
    }

    // As after a kill: what was committed stays, in each segment.
    keeper.stop();
    drop(opened);
    let opened = open(directory.path()).unwrap();
    assert_eq!((opened.report.previous, opened.report.cut), (Previous::Unclean, None));
    assert_eq!(sealed(directory.path()).concat() + &active(directory.path()), "1\n2\n3\n4\n");
}

#[test]
fn the_state_follows_the_active_segment() {
    let directory = directory();
    let opened = open(directory.path()).unwrap();
    append(&opened, "1\n2\n");
    opened.file.rotate().unwrap();
    opened.file.record(0).unwrap();
    append(&opened, "3\n");
    opened.file.append(&[IoSlice::new(b"never acknowledged\n")]).unwrap();
    drop(opened);
    let report = open(directory.path()).unwrap().report;
    assert_eq!(report.cut.unwrap().bytes, "never acknowledged\n".len() as u64);
    assert_eq!(active(directory.path()), "3\n");
    assert_eq!(sealed(directory.path()), ["1\n2\n"]);
}

/// Each row of the table at the top: the steps up to it were done by hand, and the process died.
#[test]
fn a_crash_after_any_step_loses_nothing() {
    for steps in 1..=3 {
        let directory = directory();
        let opened = open(directory.path()).unwrap();
        append(&opened, "1\n");
        let path = |name: &str| directory.path().join(name);
        create_next(&path(NEXT_NAME)).unwrap();
        let name = SegmentName::after(None, 0).file(SegmentFile::Plain);
        if steps >= 2 {
            fs::rename(path(ACTIVE_NAME), path(&name)).unwrap();
        }
        if steps >= 3 {
            fs::rename(path(NEXT_NAME), path(ACTIVE_NAME)).unwrap();
        }
        drop(opened);
        let opened = open(directory.path()).unwrap();
        assert_eq!((opened.report.previous, opened.report.cut.as_ref()), (Previous::Unclean, None), "{steps}");
        append(&opened, "2\n");
        assert_eq!(sealed(directory.path()).concat() + &active(directory.path()), "1\n2\n", "{steps}");
        assert!(!path(NEXT_NAME).exists());
        opened.file.rotate().unwrap();
        assert_eq!(sealed(directory.path()).concat(), "1\n2\n", "{steps}");
    }
}

#[test]
fn a_segment_that_power_was_lost_upon_is_mended() {
    let directory = directory();
    let opened = open(directory.path()).unwrap();
    for line in ["1\n2\n", "3\n"] {
        append(&opened, line);
        opened.file.rotate().unwrap();
        opened.file.record(0).unwrap();
    }
    drop(opened);
    let name = |file: &fs::DirEntry| SegmentName::parse(file.file_name().to_str().unwrap()).map(|(name, _)| name);
    let mut names: Vec<_> = fs::read_dir(directory.path()).unwrap().filter_map(|file| name(&file.unwrap())).collect();
    names.sort();
    // Of the first the disk has less, of the second nothing but zeros.
    let path = |name: SegmentName| directory.path().join(name.file(SegmentFile::Plain));
    fs::write(path(names[0]), "1\n2").unwrap();
    fs::write(path(names[1]), [0, 0]).unwrap();
    let report = open(directory.path()).unwrap().report;
    let cuts: Vec<_> = report.segment_cuts.iter().map(|(name, cut)| (*name, cut.bytes)).collect();
    assert_eq!(cuts, [(names[0], 1), (names[1], 2)]);
    assert!(report.to_string().contains(&format!("1 bytes of a torn last line of segment {}", names[0])));
    assert_eq!(fs::read(&report.segment_cuts[0].1.kept_in).unwrap(), b"2");
    assert_eq!(sealed(directory.path()), ["1\n", ""]);
    assert_eq!(open(directory.path()).unwrap().report.segment_cuts, []);
}

#[test]
fn names_go_on_from_the_newest_segment_there_is() {
    let directory = directory();
    // Sealed in a time to come, by a clock that was wrong.
    let future = SegmentName::after(None, Clock::start().wall_ms() + 1_000_000_000);
    fs::write(directory.path().join(future.file(SegmentFile::Compressed)), "").unwrap();
    let opened = open(directory.path()).unwrap();
    append(&opened, "1\n");
    opened.file.rotate().unwrap();
    let next = SegmentName::after(Some(future), 0).file(SegmentFile::Plain);
    assert_eq!(fs::read_to_string(directory.path().join(next)).unwrap(), "1\n");
}

#[test]
fn a_file_moved_away_by_hand_is_left_where_it_is() {
    let directory = directory();
    let opened = open(directory.path()).unwrap();
    append(&opened, "1\n");
    let moved = directory.path().join("metrics.jsonl.1");
    fs::rename(directory.path().join(ACTIVE_NAME), &moved).unwrap();
    append(&opened, "2\n");
    opened.file.rotate().unwrap();
    opened.file.record(0).unwrap();
    append(&opened, "3\n");
    assert_eq!(fs::read_to_string(moved).unwrap(), "1\n2\n");
    assert_eq!(active(directory.path()), "3\n");
    assert_eq!(sealed(directory.path()), [""; 0]);
}

#[test]
fn a_file_that_is_not_ours_is_not_sealed() {
    let directory = directory();
    let opened = open(directory.path()).unwrap();
    append(&opened, "1\n");
    let path = directory.path().join(ACTIVE_NAME);
    fs::rename(&path, directory.path().join("elsewhere")).unwrap();
    fs::write(&path, "a stranger's").unwrap();
    assert!(matches!(opened.file.rotate(), Err(RotateError::Postponed(_))));
    append(&opened, "2\n");
    assert_eq!(active(directory.path()), "a stranger's");
    assert_eq!(fs::read_to_string(directory.path().join("elsewhere")).unwrap(), "1\n2\n");
}

#[test]
fn a_file_that_was_deleted_is_noticed() {
    let directory = directory();
    let opened = open(directory.path()).unwrap();
    append(&opened, "1\n");
    fs::remove_file(directory.path().join(ACTIVE_NAME)).unwrap();
    assert_eq!(opened.file.size_bytes().unwrap_err().to_string(), "the file was deleted");
}

#[test]
fn a_directory_that_is_gone_postpones_and_changes_nothing() {
    let directory = directory();
    let opened = open(directory.path()).unwrap();
    append(&opened, "1\n");
    let elsewhere = directory.path().with_extension("elsewhere");
    fs::rename(directory.path(), &elsewhere).unwrap();
    assert!(matches!(opened.file.rotate(), Err(RotateError::Postponed(_))));
    append(&opened, "2\n");
    assert_eq!(active(&elsewhere), "1\n2\n");
    fs::rename(&elsewhere, directory.path()).unwrap();
    opened.file.rotate().unwrap();
    assert_eq!(sealed(directory.path()), ["1\n2\n"]);
}
