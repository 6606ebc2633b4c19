use super::*;
use crate::segment::maintenance::{Durable, Rounds};
use std::{
    fs::File,
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use wake::clock::{Clock, Moment};

const HOUR_MS: i64 = 3_600_000;
/// The moment of a boot, with an arbitrary boot time.
const BOOTED: Moment = Moment { wall_ms: SEALED_MS, boot_ms: 5_000 };

/// A run over a directory that keeps an hour, with a clock that the test moves.
struct Run {
    directory: TempDir,
    clock: Arc<Mutex<Moment>>,
    status: Arc<MaintenanceStatus>,
    rounds: Rounds,
}

impl Run {
    fn begin(directory: TempDir, now: Moment) -> Self {
        let clock = Arc::new(Mutex::new(now));
        let setup = MaintenanceSetup {
            directory: directory.path().to_owned(),
            compress: false,
            retain_bytes: None,
            retain_age: Some(Duration::from_millis(HOUR_MS.unsigned_abs())),
            holds: Holds::default(),
            clock: Clock::start(),
            watch: None,
        };
        let (status, stop) = (Arc::new(MaintenanceStatus::default()), Arc::new(AtomicBool::new(false)));
        let durable = Arc::new(Durable::default());
        durable.advance(SegmentName::LAST);
        let read = Arc::clone(&clock);
        let rounds = Rounds::new(setup, durable, stop, status.clone()).by_clock(move || *read.lock().unwrap());
        let mut run = Self { directory, clock, status, rounds };
        run.rounds.round();
        run
    }

    /// The same directory after a restart.
    fn again(self, now: Moment) -> Self {
        Self::begin(self.directory, now)
    }

    /// Lets time pass, and sets the wall clock besides; then runs a round. Returns the remaining segments.
    fn after(&mut self, passed_ms: i64, set_by_ms: i64) -> Vec<SegmentName> {
        {
            let mut now = self.clock.lock().unwrap();
            now.boot_ms += passed_ms;
            now.wall_ms += passed_ms + set_by_ms;
        }
        self.rounds.look();
        self.rounds.round();
        self.left()
    }

    fn left(&self) -> Vec<SegmentName> {
        Catalog::list(self.directory.path()).unwrap().segments.iter().map(|segment| segment.name).collect()
    }

    fn steps(&self) -> u64 {
        self.status.clock_steps.load(Relaxed)
    }

    fn is_held_back(&self) -> bool {
        self.status.age_held_back.load(Relaxed) == 1
    }
}

fn named(sealed_ms: i64) -> SegmentName {
    SegmentName::after(None, sealed_ms)
}

/// Makes a segment with a line of each of these times, and a file that was last written at `modified_ms`.
fn seal(directory: &TempDir, sealed_ms: i64, modified_ms: i64, times: &[i64]) -> SegmentName {
    let path = directory.path().join(named(sealed_ms).file(SegmentFile::Plain));
    let lines: String = times.iter().map(|&ms| line(ms, "n", 130)).collect();
    fs::write(&path, lines).unwrap();
    let modified = UNIX_EPOCH + Duration::from_millis(modified_ms.unsigned_abs());
    File::open(&path).unwrap().set_modified(modified).unwrap();
    named(sealed_ms)
}

fn empty() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Makes a file of the log that was written at `now_ms`: the clock is right.
fn written(directory: &TempDir, now_ms: i64) {
    seal(directory, now_ms, now_ms, &[]);
}

#[test]
fn a_boot_in_1970_that_is_corrected_deletes_nothing() {
    let mut run = Run::begin(empty(), Moment { wall_ms: 30_000, boot_ms: 30_000 });
    let sealed = seal(&run.directory, 60_000, 60_000, &[60_000]);
    assert_eq!(run.after(30_000, 0), [sealed]);
    assert_eq!(run.after(1_000, SEALED_MS), [sealed], "it was stored seconds ago");
    assert_eq!(run.steps(), 1);
    // After a restart its age is unknown, so the hour begins again.
    let mut run = run.again(Moment { wall_ms: SEALED_MS + 100_000, boot_ms: 100_000 });
    assert_eq!(run.after(HOUR_MS - 1_000, 0), [sealed]);
    assert_eq!(run.after(2_000, 0), []);
}

#[test]
fn a_clock_days_behind_that_is_corrected_deletes_nothing() {
    let behind_ms = SEALED_MS - 400 * 24 * HOUR_MS;
    let mut run = Run::begin(empty(), Moment { wall_ms: behind_ms, boot_ms: 0 });
    let sealed = seal(&run.directory, behind_ms, behind_ms, &[behind_ms]);
    assert_eq!(run.after(0, 0), [sealed]);
    assert_eq!(run.after(60_000, SEALED_MS - behind_ms), [sealed]);
    // Name, lines and file are more than a year old; it was sealed a minute ago.
    let run = run.again(Moment { wall_ms: SEALED_MS + 120_000, boot_ms: 120_000 });
    written(&run.directory, SEALED_MS + 120_000);
    assert_eq!(run.left().len(), 2);
    let mut run = run.again(Moment { wall_ms: SEALED_MS + 121_000, boot_ms: 121_000 });
    assert_eq!(run.left().len(), 2, "and not by the doubt of the first start alone");
    assert_eq!(run.after(HOUR_MS - 121_001, 0).len(), 2);
    assert_eq!(run.after(1_002, 0), [named(SEALED_MS + 120_000)]);
}

#[test]
fn what_this_run_has_sealed_goes_by_the_time_that_passed() {
    for set_by_ms in [10 * 365 * 24 * HOUR_MS, -10 * 365 * 24 * HOUR_MS, 0] {
        let mut run = Run::begin(empty(), BOOTED);
        let sealed = seal(&run.directory, SEALED_MS, SEALED_MS, &[SEALED_MS]);
        assert_eq!(run.after(0, 0), [sealed]);
        assert_eq!(run.after(HOUR_MS - 1, set_by_ms), [sealed], "set by {set_by_ms}");
        assert_eq!(run.after(2, 0), [], "set by {set_by_ms}");
    }
}

#[test]
fn a_wild_step_is_counted_and_deletes_nothing_of_earlier_runs() {
    for set_by_ms in [2 * HOUR_MS, 20 * 365 * 24 * HOUR_MS] {
        let directory = empty();
        let old = seal(&directory, SEALED_MS - HOUR_MS / 2, SEALED_MS, &[]);
        let mut run = Run::begin(directory, BOOTED);
        assert_eq!((run.left(), run.steps()), (vec![old], 0));
        assert_eq!(run.after(1_000, set_by_ms), [old]);
        assert!(run.steps() == 1 && run.is_held_back());
        // The clock is set back: that is a step too, and the hour counts from it.
        assert_eq!(run.after(1_000, -set_by_ms), [old]);
        assert_eq!(run.steps(), 2);
        assert_eq!(run.after(HOUR_MS - 1_000, 0), [old]);
        assert_eq!(run.after(1_001, 0), []);
        assert!(!run.is_held_back());
    }
}

#[test]
fn a_clock_that_is_kept_right_is_not_in_doubt() {
    let mut run = Run::begin(empty(), BOOTED);
    for set_by_ms in [1_000, -1_000, 59_000, -59_000] {
        run.after(60_000, set_by_ms);
    }
    assert_eq!(run.steps(), 0);
}

#[test]
fn a_name_in_the_future_keeps_nothing_from_going() {
    let directory = empty();
    written(&directory, SEALED_MS);
    let old = seal(&directory, SEALED_MS - 2 * HOUR_MS, SEALED_MS, &[SEALED_MS - 2 * HOUR_MS]);
    let future_ms = SEALED_MS + 10 * 365 * 24 * HOUR_MS;
    // One without another date, one that was written two hours ago, and one with lines of half an hour ago.
    let unknown = seal(&directory, future_ms, future_ms, &[future_ms]);
    let aged = seal(&directory, future_ms + 1, SEALED_MS - 2 * HOUR_MS, &[SEALED_MS - 3 * HOUR_MS]);
    let young = seal(&directory, future_ms + 2, SEALED_MS - 2 * HOUR_MS, &[SEALED_MS - HOUR_MS / 2]);
    let mut run = Run::begin(directory, BOOTED);
    assert_eq!(run.left(), [named(SEALED_MS), unknown, young], "{old} and {aged} are gone");
    assert_eq!(run.after(HOUR_MS / 2 + 1, 0), [named(SEALED_MS), unknown]);
    assert_eq!(run.after(HOUR_MS / 2, 0), [], "the hour since the start has passed");
}

#[test]
fn clients_cannot_make_a_segment_old_nor_keep_it() {
    let directory = empty();
    written(&directory, SEALED_MS);
    let past = seal(&directory, SEALED_MS - HOUR_MS / 2, SEALED_MS, &[0, SEALED_MS - 5 * 365 * 24 * HOUR_MS]);
    let ahead = seal(&directory, SEALED_MS - HOUR_MS / 2 - 1, SEALED_MS, &[253_402_300_799_999]);
    // An impossible name, and old lines: the file was written just now.
    let unset = seal(&directory, 1_000, SEALED_MS, &[SEALED_MS - 5 * 365 * 24 * HOUR_MS]);
    let mut run = Run::begin(directory, BOOTED);
    assert_eq!(run.left(), [unset, ahead, past, named(SEALED_MS)]);
    assert_eq!(run.after(HOUR_MS / 2 + 1, 0), [unset, ahead, named(SEALED_MS)], "by the name and by the file");
    assert_eq!(run.after(HOUR_MS / 2, 0), []);
}

#[test]
fn lines_of_now_in_a_segment_named_long_ago_keep_it() {
    let directory = empty();
    written(&directory, SEALED_MS);
    let behind = seal(&directory, SEALED_MS - 24 * HOUR_MS, SEALED_MS - 24 * HOUR_MS, &[SEALED_MS - 1_000]);
    let mut run = Run::begin(directory, BOOTED);
    assert_eq!(run.left(), [behind, named(SEALED_MS)]);
    assert_eq!(run.after(HOUR_MS, 0), [named(SEALED_MS)]);
}

#[test]
fn a_sidecar_that_cannot_be_read_makes_no_segment_old() {
    let directory = empty();
    written(&directory, SEALED_MS);
    let behind = seal(&directory, SEALED_MS - 24 * HOUR_MS, SEALED_MS - 24 * HOUR_MS, &[SEALED_MS + 2 * HOUR_MS]);
    let sidecar = directory.path().join(behind.file(SegmentFile::Sidecar));
    // A name that is too long is an error for root, too.
    std::os::unix::fs::symlink("x".repeat(300), &sidecar).unwrap();
    let mut run = Run::begin(directory, BOOTED);
    assert_eq!(run.after(2 * HOUR_MS, 0), [behind]);
    fs::remove_file(sidecar).unwrap();
    assert_eq!(run.after(HOUR_MS / 2, 0), [behind], "its newest line is from ahead");
    assert_eq!(run.after(2 * HOUR_MS, 0), []);
}

#[test]
fn a_start_by_a_clock_that_is_far_ahead_deletes_nothing() {
    let directory = empty();
    let sealed = seal(&directory, SEALED_MS, SEALED_MS, &[SEALED_MS]);
    let ahead_ms = 10 * 365 * 24 * HOUR_MS;
    let mut run = Run::begin(directory, Moment { wall_ms: SEALED_MS + ahead_ms, ..BOOTED });
    assert_eq!(run.left(), [sealed]);
    assert!(run.is_held_back());
    assert_eq!(run.after(60_000, -ahead_ms), [sealed], "it is right again");
    assert_eq!(run.after(HOUR_MS, 0), [sealed], "and so is the segment's age of an hour");
    assert_eq!(run.after(60_001, 0), []);
}

#[test]
fn compressing_keeps_the_time_of_change() {
    let directory = empty();
    let modified_ms = SEALED_MS - 7 * HOUR_MS;
    let name = seal(&directory, SEALED_MS, modified_ms, &[SEALED_MS]);
    let sidecar = index(directory.path(), name, &RUNNING).unwrap();
    sidecar.write(directory.path(), name).unwrap();
    compress(directory.path(), name, &sidecar, &RUNNING).unwrap();
    let modified = fs::metadata(directory.path().join(name.file(SegmentFile::Compressed))).unwrap().modified().unwrap();
    assert_eq!(
        modified.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis(),
        u128::from(modified_ms.unsigned_abs())
    );
}
