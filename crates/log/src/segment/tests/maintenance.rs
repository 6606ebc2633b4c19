use super::*;
use crate::segment::maintenance::{Durable, Rounds};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
use wake::clock::Clock;

struct Run {
    rounds: Rounds,
    status: Arc<MaintenanceStatus>,
    durable: Arc<Durable>,
    stop: Arc<AtomicBool>,
}

fn setup(directory: &Path) -> MaintenanceSetup {
    MaintenanceSetup {
        directory: directory.to_owned(),
        compress: false,
        retain_bytes: None,
        retain_age: None,
        holds: Holds::default(),
        clock: Clock::start(),
        watch: None,
    }
}

/// Starts a run of maintenance without its thread.
fn start(setup: MaintenanceSetup) -> Run {
    let (status, stop) = (Arc::new(MaintenanceStatus::default()), Arc::new(AtomicBool::new(false)));
    let durable = Arc::new(Durable::default());
    durable.advance(SegmentName::LAST);
    let rounds = Rounds::new(setup, durable.clone(), stop.clone(), status.clone());
    Run { rounds, status, durable, stop }
}

fn compressing(directory: &Path) -> Run {
    start(MaintenanceSetup { compress: true, ..setup(directory) })
}

fn counts(status: &MaintenanceStatus) -> [u64; 5] {
    [&status.indexed, &status.compressed, &status.retired, &status.failures, &status.damaged]
        .map(|count| count.load(Relaxed))
}

type Files = BTreeMap<String, Vec<u8>>;

/// Contents of the directory after each step of compressing a segment.
fn steps(directory: &TempDir) -> Vec<(&'static str, Files)> {
    let [plain, compressed, sidecar] =
        [SegmentFile::Plain, SegmentFile::Compressed, SegmentFile::Sidecar].map(|file| name(0).file(file));
    let before = files(directory.path());
    start(setup(directory.path())).rounds.round();
    let indexed = files(directory.path());
    compressing(directory.path()).rounds.round();
    let done = files(directory.path());
    let state = |parts: &[(&str, &[u8])]| {
        parts.iter().map(|&(name, bytes)| (name.to_owned(), bytes.to_vec())).collect::<Files>()
    };
    let (lines, index, frames, index_frames) =
        (&before[&plain][..], &indexed[&sidecar][..], &done[&compressed][..], &done[&sidecar][..]);
    let (sidecar_draft, compressed_draft) = (format!("{sidecar}.tmp"), format!("{compressed}.tmp"));
    let mut flipped = frames.to_vec();
    flipped[frames.len() / 2] ^= 1;
    vec![
        ("sealed", state(&[(&plain, lines)])),
        ("writing the sidecar", state(&[(&plain, lines), (&sidecar_draft, &index[..9])])),
        ("sidecar written", state(&[(&plain, lines), (&sidecar, index)])),
        ("compressing", state(&[(&plain, lines), (&sidecar, index), (&compressed_draft, &frames[..99])])),
        ("written", state(&[(&plain, lines), (&sidecar, index), (&compressed_draft, frames)])),
        ("renamed", state(&[(&plain, lines), (&sidecar, index), (&compressed, frames)])),
        ("renamed, older", state(&[(&plain, lines), (&sidecar, index), (&compressed, &frames[..99])])),
        (
            "writing the new sidecar",
            state(&[(&plain, lines), (&sidecar, index), (&compressed, frames), (&sidecar_draft, &index_frames[..9])]),
        ),
        ("all there", state(&[(&plain, lines), (&sidecar, index_frames), (&compressed, frames)])),
        ("all there, damaged", state(&[(&plain, lines), (&sidecar, index_frames), (&compressed, &flipped)])),
        ("all but the sidecar", state(&[(&plain, lines), (&compressed, frames)])),
        ("a damaged sidecar", state(&[(&sidecar, &index_frames[1..]), (&compressed, frames)])),
        ("a sidecar without frames", state(&[(&sidecar, index), (&compressed, frames)])),
        ("no sidecar", state(&[(&compressed, frames)])),
        ("done", done),
    ]
}

#[test]
fn whatever_step_was_the_last_the_next_run_finishes() {
    let directory = directory(&[&scrapes()]);
    let steps = steps(&directory);
    let (_, done) = steps.last().unwrap();
    let (_, indexed) = &steps[2];
    assert_eq!((indexed.len(), done.len()), (2, 2));
    for (step, state) in &steps {
        restore(directory.path(), state);
        let mut run = compressing(directory.path());
        run.rounds.round();
        assert!(files(directory.path()) == *done, "{step}");
        let first = counts(&run.status);
        assert_eq!(first[2..], [0, 0, 0], "{step}");
        // There is nothing more to do, for this run or another.
        run.rounds.round();
        assert_eq!(counts(&run.status), first, "{step}");
        let mut other = compressing(directory.path());
        other.rounds.round();
        assert_eq!(counts(&other.status), [0; 5], "{step}");
        assert!(files(directory.path()) == *done, "{step}");

        // A run that does not compress completes only a compression that was begun.
        restore(directory.path(), state);
        start(setup(directory.path())).rounds.round();
        let begun = state.contains_key(&name(0).file(SegmentFile::Compressed));
        assert!(files(directory.path()) == if begun { done.clone() } else { indexed.clone() }, "{step}");
    }
}

#[test]
fn a_retirement_that_was_interrupted_is_finished() {
    let directory = directory(&[&scrapes(), &scrapes()]);
    compressing(directory.path()).rounds.round();
    let whole = files(directory.path());
    fs::remove_file(path(&directory, 0, SegmentFile::Compressed)).unwrap();
    let mut run = compressing(directory.path());
    run.rounds.round();
    let mut expected = whole;
    expected.retain(|file, _| SegmentName::parse(file).unwrap().0 == name(1));
    assert!(files(directory.path()) == expected);
    assert_eq!(counts(&run.status), [0; 5]);
}

#[test]
fn retention_spares_what_is_none_of_its_own() {
    let log = scrapes();
    let directory = directory(&[&log, &log, &log]);
    let strangers = [
        ACTIVE_NAME,
        "metricstream.state",
        "torn-20260102T030405Z.bin",
        "metrics-20260102T030405.678Z.jsonl.gz",
        "notes.tmp",
        "metrics.jsonl.tmp",
        "metrics-2026.jsonl",
    ];
    strangers.iter().for_each(|stranger| fs::write(directory.path().join(stranger), [b'x'; 1_000]).unwrap());
    fs::write(path(&directory, 2, SegmentFile::Plain).with_extension("jsonl.tmp"), "half").unwrap();
    fs::create_dir(path(&directory, 9, SegmentFile::Plain)).unwrap();
    fs::create_dir(path(&directory, 9, SegmentFile::Plain).with_extension("jsonl.tmp")).unwrap();
    let bytes = (log.len() * 2 + 50_000) as u64;
    let mut run = start(MaintenanceSetup { retain_bytes: Some(bytes), ..setup(directory.path()) });
    run.rounds.round();
    let left = files(directory.path());
    let segments = [1, 2]
        .into_iter()
        .flat_map(|number| [SegmentFile::Plain, SegmentFile::Sidecar].map(|file| name(number).file(file)));
    let mut expected: Vec<_> = segments.chain(strangers.map(String::from)).collect();
    expected.sort();
    assert_eq!(left.keys().cloned().collect::<Vec<_>>(), expected);
    assert_eq!(counts(&run.status), [3, 0, 1, 0, 0]);
    let catalog = Catalog::list(directory.path()).unwrap();
    assert_eq!(catalog.active_bytes, Some(1_000));
    assert_eq!(catalog.set_aside.len(), 1);
    assert_eq!(run.status.segments.load(Relaxed), 2);
    assert_eq!(run.status.segment_bytes.load(Relaxed), catalog.sealed_bytes());
    assert!(catalog.sealed_bytes() + 1_000 <= bytes);

    // By age all of them are deleted: they were sealed long ago.
    let mut run = start(MaintenanceSetup { retain_age: Some(Duration::from_secs(60)), ..setup(directory.path()) });
    run.rounds.round();
    assert_eq!(counts(&run.status), [0, 0, 2, 0, 0]);
    assert_eq!(files(directory.path()).len(), strangers.len());
}

#[test]
fn what_is_compressed_in_time_is_not_retired() {
    let log = scrapes();
    let directory = directory(&[&log, &log, &log]);
    let retain_bytes = Some(log.len() as u64);
    let mut run = start(MaintenanceSetup { compress: true, retain_bytes, ..setup(directory.path()) });
    run.rounds.round();
    assert_eq!(counts(&run.status), [3, 3, 0, 0, 0]);
    assert_eq!(run.status.compressed_from_bytes.load(Relaxed), 3 * log.len() as u64);
    assert!(run.status.compressed_to_bytes.load(Relaxed) < run.status.segment_bytes.load(Relaxed));
}

#[test]
fn what_is_not_durable_yet_is_not_touched() {
    let directory = directory(&[&scrapes(), &scrapes()]);
    let mut run = start(MaintenanceSetup { compress: true, retain_bytes: Some(0), ..setup(directory.path()) });
    assert_eq!(run.durable.take(), Some(SegmentName::LAST));
    run.durable.advance(name(0));
    run.rounds.round();
    assert_eq!(files(directory.path()).into_keys().collect::<Vec<_>>(), [name(1).file(SegmentFile::Plain)]);
    run.durable.advance(name(1));
    run.rounds.round();
    assert!(files(directory.path()).is_empty());
}

#[test]
fn a_damaged_segment_stays_as_it_is_and_is_said_once() {
    let log = scrapes();
    let torn = &log[..log.len() - 9];
    let foreign = [&log[..], b"\xff\n", &log].concat();
    let directory = directory(&[torn, &foreign, &log]);
    let plain = files(directory.path());
    let mut run = compressing(directory.path());
    run.rounds.round();
    assert_eq!(counts(&run.status), [3, 1, 0, 0, 2]);
    assert_eq!(run.status.foreign_lines.load(Relaxed), 2);
    run.rounds.round();
    assert_eq!(counts(&run.status), [3, 1, 0, 0, 2]);
    for number in [0, 1] {
        let file = name(number).file(SegmentFile::Plain);
        assert!(files(directory.path())[&file] == plain[&file]);
    }
    // A truncated segment does not match its sidecar, which stays as the evidence of the earlier content.
    let witness = fs::read(path(&directory, 1, SegmentFile::Sidecar)).unwrap();
    fs::write(path(&directory, 1, SegmentFile::Plain), &log).unwrap();
    run.rounds.round();
    assert_eq!(counts(&run.status), [3, 1, 0, 0, 3]);
    assert_eq!(fs::read(path(&directory, 1, SegmentFile::Sidecar)).unwrap(), witness);
    // After a repair, which moves the sidecar aside, it is like any other segment.
    fs::remove_file(path(&directory, 1, SegmentFile::Sidecar)).unwrap();
    run.rounds.round();
    assert_eq!(counts(&run.status), [4, 2, 0, 0, 3]);
}

#[test]
fn a_bit_that_has_flipped_since_is_noticed() {
    let directory = directory(&[&scrapes()]);
    start(setup(directory.path())).rounds.round();
    let mut flipped = scrapes();
    flipped[60] ^= 1;
    fs::write(path(&directory, 0, SegmentFile::Plain), &flipped).unwrap();
    let before = files(directory.path());
    let mut run = compressing(directory.path());
    run.rounds.round();
    run.rounds.round();
    assert_eq!(counts(&run.status), [0, 0, 0, 0, 1]);
    assert!(files(directory.path()) == before);
}

#[test]
fn what_fails_is_tried_again_and_harms_nothing() {
    let directory = directory(&[&scrapes(), &scrapes()]);
    let plain = files(directory.path());
    let mut run = compressing(directory.path());
    for attempt in 1..=2 {
        // The first one's draft cannot be written to; the disk is full, so the second one is not begun.
        FULL_FOR.set(Some(".zst"));
        run.rounds.round();
        FULL_FOR.set(None);
        assert_eq!(counts(&run.status), [2, 0, 0, attempt, 0]);
        assert!(plain.iter().all(|(file, bytes)| files(directory.path())[file] == *bytes));
    }
    run.rounds.round();
    assert_eq!(counts(&run.status), [2, 2, 0, 2, 0]);

    // A directory that is missing, and then back.
    let moved = directory.path().with_extension("moved");
    fs::rename(directory.path(), &moved).unwrap();
    run.rounds.round();
    assert_eq!(counts(&run.status), [2, 2, 0, 3, 0]);
    fs::rename(&moved, directory.path()).unwrap();
    run.rounds.round();
    assert_eq!(counts(&run.status), [2, 2, 0, 3, 0]);
}

#[test]
fn a_segment_that_is_gone_meanwhile_is_nobodys_failure() {
    let directory = directory(&[]);
    let mut run = compressing(directory.path());
    assert!(run.rounds.process(name(0), true));
    assert_eq!(counts(&run.status), [0; 5]);
}

#[test]
fn it_stops_between_blocks_and_leaves_nothing_half() {
    let directory = directory(&[&scrapes()]);
    let before = files(directory.path());
    let mut run = compressing(directory.path());
    run.stop.store(true, Relaxed);
    run.rounds.round();
    assert!(files(directory.path()) == before);
    assert_eq!(counts(&run.status), [0; 5]);
}

fn wait_for(counter: &AtomicU64, value: u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while counter.load(Relaxed) != value {
        assert!(Instant::now() < deadline, "still {}, not {value}", counter.load(Relaxed));
        thread::yield_now();
    }
}

#[test]
fn the_thread_works_when_it_is_woken_and_stops_when_told() {
    let log = scrapes();
    let directory = directory(&[&log]);
    let maintenance = Maintenance::start(MaintenanceSetup { compress: true, ..setup(directory.path()) }).unwrap();
    let (bell, status) = (maintenance.bell(), maintenance.status());
    wait_for(&status.compressed, 1);
    for number in 1..4 {
        fs::write(path(&directory, number, SegmentFile::Plain), &log).unwrap();
        bell.sealed(name(number));
        wait_for(&status.compressed, number.unsigned_abs() + 1);
    }
    maintenance.stop();
    // The thread has stopped, and a notification does no harm.
    fs::write(path(&directory, 5, SegmentFile::Plain), &log).unwrap();
    bell.sealed(name(5));
    assert_eq!(
        Catalog::list(directory.path()).unwrap().segments.iter().filter(|segment| segment.plain.is_some()).count(),
        1
    );
    drop(Maintenance::start(setup(directory.path())).unwrap());
    assert!(Maintenance::start(setup(&directory.path().join("missing"))).is_err());
}

#[test]
fn retention_waits_for_a_reader_up_to_the_bound() {
    let log = scrapes();
    let directory = directory(&[&log, &log, &log]);
    let hold = Arc::new(Hold::new("reader", Some(format!("{}:0", name(0)).parse().unwrap())));
    let one_bytes = log.len() as u64;
    let bounded = |bytes_max| MaintenanceSetup {
        retain_bytes: Some(0),
        holds: Holds { all: vec![hold.clone()], bytes_max },
        ..setup(directory.path())
    };
    let left = || Catalog::list(directory.path()).unwrap().segments.len();
    let mut run = start(bounded(10 * one_bytes));
    run.rounds.round();
    assert_eq!((left(), counts(&run.status)[2]), (3, 0));
    assert!(run.status.held_bytes.load(Relaxed) > 3 * one_bytes);
    // Delivered is not needed.
    hold.record(format!("after-{}:0", name(0)).parse().unwrap());
    run.rounds.round();
    assert_eq!((left(), counts(&run.status)[2], run.status.forfeited.load(Relaxed)), (2, 1, 0));
    // Another run, as after a restart, with a bound that two do not fit in.
    let mut run = start(bounded(one_bytes * 3 / 2));
    run.rounds.round();
    assert_eq!((left(), counts(&run.status)[2], run.status.forfeited.load(Relaxed)), (1, 1, 1));
    let lines = log.iter().filter(|byte| **byte == b'\n').count() as u64;
    assert_eq!((hold.lost_lines(), hold.lost_bytes()), (lines, one_bytes));
    assert!(run.status.held_bytes.load(Relaxed) < 2 * one_bytes);
}
