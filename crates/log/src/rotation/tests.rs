//! Tests of rotation: the directory after one, and a start after one that was interrupted.

use super::super::Rotated;
use super::{
    super::{LogFile, Opened, Previous, open},
    *,
};
use crate::segment::{Catalog, Holds, Maintenance, MaintenanceSetup};
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
    let opened = open(directory.path()).unwrap();
    let maintenance = Maintenance::start(MaintenanceSetup {
        directory: directory.path().to_owned(),
        compress: false,
        retain_bytes: None,
        retain_age: None,
        holds: Holds::default(),
        clock: Clock::start(),
        watch: None,
    })
    .unwrap();
    opened.file.keep_with(maintenance.bell());
    for line in ["1\n", "2\n", "3\n"] {
        append(&opened, line);
        opened.file.rotate(false).unwrap();
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
    while maintenance.status().indexed.load(Ordering::Relaxed) < 3 {
        thread::yield_now();
    }

    // As after a kill: committed lines stay, in each segment.
    maintenance.stop();
    drop(opened);
    let opened = open(directory.path()).unwrap();
    assert_eq!((opened.report.previous, opened.report.cut), (Previous::Unclean, None));
    assert_eq!(sealed(directory.path()).concat() + &active(directory.path()), "1\n2\n3\n4\n");
}

/// Bytes of the blocks of all files of the log.
fn allocated(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
    files.map(|file| file.blocks() * 512).sum()
}

/// On a file system that is not ext4 nothing is allocated, and nothing has to be freed.
#[test]
fn blocks_behind_the_end_are_freed_with_the_segment() {
    const MIB: u64 = 1 << 20;
    let directory = directory();
    let opened = open(directory.path()).unwrap();
    let preallocate = |opened: &Opened| {
        let is_supported = opened.file.preallocate(MIB..9 * MIB);
        assert!(!is_supported || allocated(directory.path()) >= 8 * MIB);
    };
    let at_rest = || assert!(allocated(directory.path()) < MIB, "{}", allocated(directory.path()));
    // When it is sealed and synced.
    append(&opened, "1\n");
    preallocate(&opened);
    opened.file.rotate(false).unwrap();
    opened.file.record(0).unwrap();
    opened.file.sync_data().unwrap();
    at_rest();
    // At the next start, where a crash came before that.
    append(&opened, "2\n");
    preallocate(&opened);
    opened.file.rotate(false).unwrap();
    drop(opened);
    let opened = open(directory.path()).unwrap();
    at_rest();
    // At the end.
    append(&opened, "3\n");
    preallocate(&opened);
    opened.file.sync_data().unwrap();
    opened.file.mark_clean().unwrap();
    at_rest();
    drop(opened);
    let opened = open(directory.path()).unwrap();
    assert_eq!((opened.report.previous, opened.report.cut), (Previous::Clean, None));
    assert_eq!((sealed(directory.path()).concat(), active(directory.path())), ("1\n2\n".into(), "3\n".into()));
}

#[test]
fn the_state_follows_the_active_segment() {
    let directory = directory();
    let opened = open(directory.path()).unwrap();
    append(&opened, "1\n2\n");
    opened.file.rotate(false).unwrap();
    opened.file.record(0).unwrap();
    append(&opened, "3\n");
    opened.file.append(&[IoSlice::new(b"never acknowledged\n")]).unwrap();
    drop(opened);
    let report = open(directory.path()).unwrap().report;
    assert_eq!(report.cut.unwrap().bytes, "never acknowledged\n".len() as u64);
    assert_eq!(active(directory.path()), "3\n");
    assert_eq!(sealed(directory.path()), ["1\n2\n"]);
}

/// Each row of the table at the top: the steps up to it were done by hand, and the process was killed.
#[test]
fn a_crash_after_any_step_loses_nothing() {
    for steps in 1..=3 {
        let directory = directory();
        let opened = open(directory.path()).unwrap();
        append(&opened, "1\n");
        let path = |name: &str| directory.path().join(name);
        create_next(directory.path()).unwrap();
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
        opened.file.rotate(false).unwrap();
        assert_eq!(sealed(directory.path()).concat(), "1\n2\n", "{steps}");
    }
}

#[test]
fn a_segment_that_power_was_lost_upon_is_mended() {
    let directory = directory();
    let opened = open(directory.path()).unwrap();
    for line in ["1\n2\n", "3\n"] {
        append(&opened, line);
        opened.file.rotate(false).unwrap();
        opened.file.record(0).unwrap();
    }
    drop(opened);
    let name = |file: &fs::DirEntry| SegmentName::parse(file.file_name().to_str().unwrap()).map(|(name, _)| name);
    let mut names: Vec<_> = fs::read_dir(directory.path()).unwrap().filter_map(|file| name(&file.unwrap())).collect();
    names.sort();
    // The disk has less of the first, and only zeros of the second.
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
fn names_continue_from_the_newest_segment() {
    let directory = directory();
    // Sealed at a future time, by a clock that was wrong.
    let future = SegmentName::after(None, Clock::start().wall_ms() + 1_000_000_000);
    fs::write(directory.path().join(future.file(SegmentFile::Compressed)), "").unwrap();
    let opened = open(directory.path()).unwrap();
    append(&opened, "1\n");
    opened.file.rotate(false).unwrap();
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
    opened.file.rotate(false).unwrap();
    opened.file.record(0).unwrap();
    append(&opened, "3\n");
    assert_eq!(fs::read_to_string(moved).unwrap(), "1\n2\n");
    assert_eq!(active(directory.path()), "3\n");
    assert_eq!(sealed(directory.path()), [""; 0]);
}

/// A log with its file moved away and replaced by what `make` puts there, after a rotation was requested.
fn replaced(make: impl FnOnce(&Path)) -> (TempDir, Opened, Result<Rotated, RotateError>) {
    let directory = directory();
    let opened = open(directory.path()).unwrap();
    append(&opened, "1\n");
    let path = directory.path().join(ACTIVE_NAME);
    fs::rename(&path, directory.path().join("metrics.jsonl.1")).unwrap();
    make(&path);
    let rotated = opened.file.rotate(true);
    if let Ok(Rotated::Begun(bytes)) = rotated {
        opened.file.record(bytes).unwrap();
    }
    append(&opened, "2\n");
    (directory, opened, rotated)
}

fn moved(directory: &TempDir) -> String {
    fs::read_to_string(directory.path().join("metrics.jsonl.1")).unwrap()
}

#[test]
fn a_file_put_in_its_place_is_taken_over() {
    for (text, kept_bytes) in [("", 0), ("restored\n", 9), ("restored\ntorn", 9), ("another's", 0)] {
        let (directory, opened, rotated) = replaced(|path| fs::write(path, text).unwrap());
        assert_eq!(rotated.unwrap(), Rotated::Begun(kept_bytes), "{text:?}");
        let kept = &text[..usize::try_from(kept_bytes).unwrap()];
        assert_eq!((active(directory.path()), moved(&directory)), (format!("{kept}2\n"), "1\n".to_owned()));
        let torn: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        assert_eq!(torn.concat(), text[kept.len()..], "what has no line end is kept aside");
        // Lines acknowledged before are on stable storage once a sync is done, in whichever file they are.
        assert!(opened.file.has_unsynced_segment());
        opened.file.sync_data().unwrap();
        assert!(!opened.file.has_unsynced_segment());
        // As after a kill: all lines are committed.
        drop(opened);
        let report = open(directory.path()).unwrap().report;
        assert_eq!((report.cut, active(directory.path())), (None, format!("{kept}2\n")));
    }
}

#[test]
fn what_cannot_be_taken_over_is_left_alone() {
    type Make = fn(&Path);
    let makes: [(Make, &str); 5] = [
        (|path| fs::create_dir(path).unwrap(), "a directory"),
        (|path| std::os::unix::fs::symlink("metrics.jsonl.1", path).unwrap(), "a symbolic link"),
        (|path| std::os::unix::fs::symlink("nowhere", path).unwrap(), "a symbolic link"),
        (|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()), "a device or a socket"),
        (|path| fs::hard_link(path.with_extension("jsonl.1"), path).unwrap(), "other hard links"),
    ];
    for (make, what) in makes {
        let (directory, opened, rotated) = replaced(make);
        let path = directory.path().join(ACTIVE_NAME);
        if what == "other hard links" {
            // It is the active segment itself, back at its name.
            assert!(matches!(rotated, Ok(Rotated::Begun(0))));
            continue;
        }
        let Err(RotateError::Postponed(error)) = rotated else { panic!("{rotated:?}") };
        assert!(error.to_string().contains(what), "{error}");
        assert!(opened.file.segments.displaced().unwrap().contains(what));
        assert_eq!(moved(&directory), "1\n2\n", "the log goes on where it is");
        assert!(!directory.path().join("nowhere").exists());
        // Once it is removed, the next attempt begins a new file.
        if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) }.unwrap();
        assert_eq!(opened.file.rotate(false).unwrap(), Rotated::Begun(0));
        assert_eq!(opened.file.segments.displaced(), None);
        append(&opened, "3\n");
        assert_eq!((active(directory.path()), moved(&directory)), ("3\n".to_owned(), "1\n2\n".to_owned()));
    }
}

#[test]
fn a_link_to_a_sealed_segment_is_not_appended_to() {
    let directory = directory();
    let opened = open(directory.path()).unwrap();
    append(&opened, "1\n");
    opened.file.rotate(false).unwrap();
    let sealed_name = Catalog::list(directory.path()).unwrap().newest().unwrap().file(SegmentFile::Plain);
    append(&opened, "2\n");
    let path = directory.path().join(ACTIVE_NAME);
    fs::rename(&path, directory.path().join("metrics.jsonl.1")).unwrap();
    fs::hard_link(directory.path().join(sealed_name), &path).unwrap();
    let Err(RotateError::Postponed(error)) = opened.file.rotate(true) else { panic!("taken over") };
    assert!(error.to_string().contains("other hard links"), "{error}");
    assert_eq!(sealed(directory.path()), ["1\n"]);
}

#[test]
fn no_file_is_replaced_by_a_sealed_one() {
    let last = "metrics-99991231T235959.999Z";
    for (file_name, text) in [
        (format!("{last}.jsonl"), Some("sealed\n")),
        (format!("{last}.jsonl.zst"), Some("compressed")),
        (format!("{last}.index.json"), Some("sidecar")),
        (format!("{last}.jsonl"), None),
    ] {
        let directory = directory();
        let path = directory.path().join(&file_name);
        match text {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::create_dir(&path).unwrap(),
        }
        let opened = open(directory.path()).unwrap();
        for (number, line) in (1..).zip(["1\n", "2\n", "3\n"]) {
            append(&opened, line);
            assert_eq!(opened.file.rotate(false).unwrap(), Rotated::Begun(0));
            let sealed = directory.path().join(format!("{last}_00000{number}.jsonl"));
            assert_eq!(fs::read_to_string(sealed).unwrap(), line, "{file_name}");
        }
        match text {
            Some(text) => assert_eq!(fs::read_to_string(&path).unwrap(), text),
            None => assert!(path.is_dir()),
        }
    }
}

#[test]
fn without_a_name_that_is_free_the_segment_goes_on() {
    let directory = directory();
    fs::write(directory.path().join(SegmentName::LAST.file(SegmentFile::Plain)), "last\n").unwrap();
    let opened = open(directory.path()).unwrap();
    append(&opened, "1\n");
    let Err(RotateError::Postponed(error)) = opened.file.rotate(false) else { panic!("sealed") };
    assert!(error.to_string().contains("no segment name follows"), "{error}");
    append(&opened, "2\n");
    assert_eq!(active(directory.path()), "1\n2\n");
    assert_eq!(sealed(directory.path()), ["last\n"]);
}

#[test]
fn names_taken_meanwhile_are_passed_over() {
    let directory = directory();
    let future = SegmentName::after(None, Clock::start().wall_ms() + 1_000_000_000);
    fs::write(directory.path().join(future.file(SegmentFile::Plain)), "0\n").unwrap();
    let opened = open(directory.path()).unwrap();
    append(&opened, "1\n");
    // The next names are taken by every kind of file.
    let mut taken = future;
    for number in 0..4 {
        taken = SegmentName::after(Some(taken), 0);
        let path = directory.path().join(taken.file(SegmentFile::ALL[number % 3]));
        match number {
            0 => fs::create_dir(path).unwrap(),
            1 => fs::write(path, "compressed").unwrap(),
            2 => fs::write(path, "sidecar").unwrap(),
            _ => std::os::unix::fs::symlink("nowhere", path).unwrap(),
        }
    }
    opened.file.rotate(false).unwrap();
    let next = SegmentName::after(Some(taken), 0).file(SegmentFile::Plain);
    assert_eq!(fs::read_to_string(directory.path().join(next)).unwrap(), "1\n");
    assert!(!directory.path().join("nowhere").exists());
}

#[test]
fn a_file_of_somebody_else_under_the_next_name_stays() {
    let directory = directory();
    let next = directory.path().join(NEXT_NAME);
    fs::write(&next, "not ours").unwrap();
    let opened = open(directory.path()).unwrap();
    append(&opened, "1\n");
    opened.file.rotate(false).unwrap();
    append(&opened, "2\n");
    assert_eq!(fs::read_to_string(&next).unwrap(), "not ours");
    assert_eq!((sealed(directory.path()), active(directory.path())), (vec!["1\n".to_owned()], "2\n".to_owned()));
}

#[test]
fn an_empty_segment_in_its_place_is_not_sealed() {
    let directory = directory();
    let opened = open(directory.path()).unwrap();
    assert_eq!(opened.file.rotate(true).unwrap(), Rotated::Unneeded);
    // An empty file that was moved away is different: its name is free.
    fs::rename(directory.path().join(ACTIVE_NAME), directory.path().join("metrics.jsonl.1")).unwrap();
    assert_eq!(opened.file.rotate(true).unwrap(), Rotated::Begun(0));
    append(&opened, "1\n");
    assert_eq!(active(directory.path()), "1\n");
}

#[test]
fn a_deleted_file_is_replaced_if_somebody_asks_for_it() {
    let directory = directory();
    let opened = open(directory.path()).unwrap();
    append(&opened, "1\n");
    fs::remove_file(directory.path().join(ACTIVE_NAME)).unwrap();
    assert!(matches!(opened.file.rotate(false), Err(RotateError::Failed(_))), "nobody requested it");
    assert_eq!(opened.file.rotate(true).unwrap(), Rotated::Begun(0));
    append(&opened, "2\n");
    assert_eq!(active(directory.path()), "2\n");
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
    assert!(matches!(opened.file.rotate(false), Err(RotateError::Postponed(_))));
    append(&opened, "2\n");
    assert_eq!(active(&elsewhere), "1\n2\n");
    fs::rename(&elsewhere, directory.path()).unwrap();
    opened.file.rotate(false).unwrap();
    assert_eq!(sealed(directory.path()), ["1\n2\n"]);
}
