//! Tests of a start: the directory as it is found, and as it is left.

use super::{
    super::{AckLevel, CutReason, Log, LogFile, Previous, Settings},
    *,
};
use std::{fs, io::IoSlice, sync::Arc};
use tempfile::TempDir;

const LINES: &str = "{\"a\":1}\n{\"b\":2}\n\n{\"c\":3}\n";
const NO_FILES: [Vec<u8>; 0] = [];

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn log_text(directory: &TempDir) -> String {
    fs::read_to_string(directory.path().join(LOG_NAME)).unwrap()
}

fn set_log(directory: &TempDir, text: &str) {
    // In place: the inode stays.
    fs::write(directory.path().join(LOG_NAME), text).unwrap();
}

/// Contents of the files in which recovery has kept the bytes that it cut off.
fn kept(directory: &TempDir) -> Vec<Vec<u8>> {
    let mut kept: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_str().unwrap().starts_with("torn-"))
        .map(|entry| fs::read(entry.path()).unwrap())
        .collect();
    kept.sort();
    kept
}

fn edit_state(directory: &TempDir, edit: impl FnOnce(&mut State)) {
    let path = directory.path().join(STATE_NAME);
    let mut file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut state = read_state(&mut file).unwrap().unwrap();
    edit(&mut state);
    StateFile::create(directory.path(), file, &state).unwrap();
}

/// A run that is killed: `committed` is recorded, `surplus` is in the file and was never acknowledged.
fn run_and_die(directory: &TempDir, committed: &str, surplus: &str) -> RecoveryReport {
    let Opened { file, report, .. } = open(directory.path()).unwrap();
    file.append(&[IoSlice::new(committed.as_bytes())]).unwrap();
    file.record(file.size_bytes().unwrap()).unwrap();
    file.append(&[IoSlice::new(surplus.as_bytes())]).unwrap();
    report
}

/// A run that ends cleanly.
fn run_and_close(directory: &TempDir, lines: &str) -> RecoveryReport {
    let Opened { file, report, .. } = open(directory.path()).unwrap();
    let bells = [Arc::new(wake::Doorbell::new().unwrap())];
    let mut log = Log::new(file, &bells, 1024, Settings::default()).unwrap();
    log.appenders[0].reserve(lines.len()).unwrap().copy_from_slice(lines.as_bytes());
    log.appenders[0].commit(lines.len(), AckLevel::Fsync);
    drop(log.appenders);
    log.writer.run().unwrap();
    log.group_commit.run().unwrap();
    report
}

#[test]
fn a_new_directory_is_made_and_a_clean_log_goes_on() {
    let parent = directory();
    let path = parent.path().join("a/b");
    let report = open(&path).unwrap().report;
    assert_eq!((report.previous, report.unclean_shutdowns, report.log_bytes), (Previous::None, 0, 0));
    assert_eq!(report.to_string(), "the log is new; size 0 bytes, 0 unclean shutdowns");

    let directory = directory();
    assert_eq!(run_and_close(&directory, LINES).previous, Previous::None);
    let report = run_and_close(&directory, "{}\n");
    assert_eq!((report.previous, report.cut, report.unclean_shutdowns), (Previous::Clean, None, 0));
    assert_eq!(report.log_bytes, LINES.len() as u64);
    assert_eq!(log_text(&directory), format!("{LINES}{{}}\n"));
    assert_eq!(kept(&directory), NO_FILES);
}

#[test]
fn a_torn_last_line_is_moved_aside_wherever_it_is_torn() {
    for length in 0..=LINES.len() {
        let directory = directory();
        set_log(&directory, &LINES[..length]);
        let report = open(directory.path()).unwrap().report;
        let whole = LINES[..length].rfind('\n').map_or(0, |newline| newline + 1);
        assert_eq!(log_text(&directory), &LINES[..whole]);
        assert_eq!(report.log_bytes, whole as u64);
        if whole == length {
            assert_eq!((report.cut, report.unclean_shutdowns), (None, 0));
            assert_eq!(kept(&directory), NO_FILES);
        } else {
            let cut = report.cut.unwrap();
            assert_eq!((cut.bytes, cut.reason), ((length - whole) as u64, CutReason::TornLine));
            assert_eq!(fs::read_to_string(&cut.kept_in).unwrap(), &LINES[whole..length]);
            assert_eq!(report.unclean_shutdowns, 1);
        }
        assert_eq!(report.previous, if length == 0 { Previous::None } else { Previous::Unknown });
    }
}

#[test]
fn what_was_never_acknowledged_is_cut_back_to_the_last_batch() {
    // Whole lines of half a batch, a torn line, both; and with nothing committed.
    for committed in [LINES, ""] {
        for surplus in ["{\"half\":1}\n", "{\"tor", "{\"half\":1}\n{\"half\":2}\n{\"tor"] {
            let directory = directory();
            run_and_die(&directory, committed, surplus);
            let report = open(directory.path()).unwrap().report;
            assert_eq!(log_text(&directory), committed);
            assert_eq!((report.previous, report.unclean_shutdowns), (Previous::Unclean, 1));
            assert_eq!(report.cut.as_ref().unwrap().reason, CutReason::Uncommitted);
            assert_eq!(kept(&directory), [surplus.as_bytes()]);
            let name = report.cut.as_ref().unwrap().kept_in.display();
            assert_eq!(
                report.to_string(),
                format!(
                    "the log was not closed cleanly; {} bytes never acknowledged as written were moved to {name}; \
                     size {} bytes, 1 unclean shutdowns",
                    surplus.len(),
                    committed.len()
                )
            );
        }
    }
}

#[test]
fn lines_added_by_hand_after_a_clean_shutdown_stay() {
    let directory = directory();
    run_and_close(&directory, LINES);
    let edited = format!("{LINES}{{\"hand\":1}}\n");
    set_log(&directory, &edited);
    let report = open(directory.path()).unwrap().report;
    assert_eq!((report.previous, report.cut), (Previous::Clean, None));
    assert_eq!(log_text(&directory), edited);
}

/// Each of these invalidates the committed length: only the torn line is cut off, the whole line before it stays.
#[test]
fn a_committed_length_that_cannot_be_trusted_cuts_only_a_torn_line() {
    let assert_only_torn_line_cut = |directory: &TempDir, previous: Previous, unclean_shutdowns: u64| {
        let report = open(directory.path()).unwrap().report;
        assert_eq!(log_text(directory), format!("{LINES}{{\"whole\":1}}\n"));
        assert_eq!(kept(directory), [b"{\"tor"]);
        assert_eq!((report.previous, report.unclean_shutdowns), (previous, unclean_shutdowns));
        assert_eq!(report.cut.unwrap().reason, CutReason::TornLine);
    };
    let dead = || {
        let directory = directory();
        run_and_die(&directory, LINES, "{\"whole\":1}\n{\"tor");
        directory
    };
    let state_path = |directory: &TempDir| directory.path().join(STATE_NAME);

    let other_boot = dead();
    edit_state(&other_boot, |state| state.boot.id = Some("5b3c7a52-9a9c-4a2e-8f4e-1d0c8a6b7e21".to_owned()));
    assert_only_torn_line_cut(&other_boot, Previous::Unclean, 1);

    let unknown_boot = dead();
    edit_state(&unknown_boot, |state| state.boot.id = None);
    assert_only_torn_line_cut(&unknown_boot, Previous::Unclean, 1);

    // The kernel reports the same id at every boot.
    let repeated = dead();
    edit_state(&repeated, |state| state.boot.began_ns -= 60_000_000_000);
    assert_only_torn_line_cut(&repeated, Previous::Unclean, 1);
    let repeated = dead();
    edit_state(&repeated, |state| state.boot.uptime_ns += 3_600_000_000_000);
    assert_only_torn_line_cut(&repeated, Previous::Unclean, 1);

    let upgraded = dead();
    let new = fs::read_to_string(state_path(&upgraded)).unwrap();
    let is_old = |line: &&str| !["booted_ns", "uptime_ns", "crc32"].iter().any(|name| line.starts_with(name));
    let old: Vec<_> = new.lines().filter(is_old).collect();
    fs::write(state_path(&upgraded), old.join("\n").replace("state 2", "state 1") + "\n").unwrap();
    assert_only_torn_line_cut(&upgraded, Previous::Unclean, 1);

    let wrong = dead();
    let text = fs::read_to_string(state_path(&wrong)).unwrap();
    fs::write(state_path(&wrong), text.replace("\nclean 0", "\nclean 1")).unwrap();
    assert_only_torn_line_cut(&wrong, Previous::Damaged, 1);

    let missing = dead();
    fs::remove_file(state_path(&missing)).unwrap();
    assert_only_torn_line_cut(&missing, Previous::Unknown, 1);

    for garbage in ["", "committed", "metricstream state 1\nclean maybe\n"] {
        let garbled = dead();
        fs::write(state_path(&garbled), garbage).unwrap();
        assert_only_torn_line_cut(&garbled, Previous::Unknown, 1);
    }
    let binary = dead();
    fs::write(state_path(&binary), [0xff; 300]).unwrap();
    assert_only_torn_line_cut(&binary, Previous::Unknown, 1);

    let copied = directory();
    let original = dead();
    for name in [LOG_NAME, STATE_NAME] {
        fs::copy(original.path().join(name), copied.path().join(name)).unwrap();
    }
    assert_only_torn_line_cut(&copied, Previous::Unclean, 1);

    let shorter = dead();
    edit_state(&shorter, |state| state.committed_bytes = 10_000);
    assert_only_torn_line_cut(&shorter, Previous::Unclean, 1);

    let inside_a_line = dead();
    edit_state(&inside_a_line, |state| state.committed_bytes = 3);
    assert_only_torn_line_cut(&inside_a_line, Previous::Unclean, 1);
}

/// One bit of each byte of the state: of the length, of the boot, of the checksum.
#[test]
fn a_flipped_bit_in_the_state_moves_no_acknowledged_line_aside() {
    let directory = directory();
    let committed = LINES.repeat(2);
    run_and_die(&directory, &committed, "");
    let path = directory.path().join(STATE_NAME);
    let state = fs::read(&path).unwrap();
    for at in 0..state.len() {
        let mut flipped = state.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        let report = open(directory.path()).unwrap().report;
        assert_eq!((report.cut, log_text(&directory).len()), (None, committed.len()), "byte {at}");
        assert!(matches!(report.previous, Previous::Damaged | Previous::Unknown), "byte {at}: {:?}", report.previous);
    }
    let text =
        |previous| RecoveryReport { previous, cut: None, segment_cuts: vec![], log_bytes: 9, unclean_shutdowns: 1 };
    assert_eq!(
        text(Previous::Damaged).to_string(),
        "the log's state file is damaged (its checksum is wrong), so it is ignored and rewritten; size \
         9 bytes, 1 unclean shutdowns"
    );
}

#[test]
fn unclean_shutdowns_are_counted_and_clean_ones_are_not() {
    let directory = directory();
    assert_eq!(run_and_die(&directory, LINES, "").unclean_shutdowns, 0);
    assert_eq!(run_and_die(&directory, LINES, "torn").unclean_shutdowns, 1);
    assert_eq!(run_and_close(&directory, LINES).unclean_shutdowns, 2);
    assert_eq!(run_and_close(&directory, LINES).unclean_shutdowns, 2);
    assert_eq!(run_and_die(&directory, LINES, "torn").unclean_shutdowns, 2);
    assert_eq!(run_and_close(&directory, LINES).unclean_shutdowns, 3);
    assert_eq!(log_text(&directory), LINES.repeat(6));
    assert_eq!(kept(&directory), [b"torn", b"torn"]);
}

#[test]
fn recovery_that_was_interrupted_is_done_again() {
    let directory = directory();
    run_and_die(&directory, LINES, "surplus\n");
    // The bytes were set aside, and the process was killed before it cut them off: within one second, so the name is
    // taken.
    let log = File::open(directory.path().join(LOG_NAME)).unwrap();
    let state = {
        let mut file = File::open(directory.path().join(STATE_NAME)).unwrap();
        read_state(&mut file).unwrap().unwrap()
    };
    for _ in 0..2 {
        // Read-only: setting aside succeeds, cutting fails.
        let result = recover(directory.path(), &log, Some(&state), &Boot::now());
        assert_eq!(result.unwrap_err().0, "truncate the damaged end of");
    }
    assert_eq!(open(directory.path()).unwrap().report.unclean_shutdowns, 1);
    assert_eq!(log_text(&directory), LINES);
    assert_eq!(kept(&directory), [b"surplus\n"; 3]);
}

#[test]
fn a_directory_in_use_names_who_has_it() {
    let directory = directory();
    let opened = open(directory.path()).unwrap();
    let error = open(directory.path()).unwrap_err();
    let expected =
        format!("the data directory {} is in use by process {}", directory.path().display(), std::process::id());
    assert_eq!(error.to_string(), expected);
    drop(opened);
    open(directory.path()).unwrap();
}

#[test]
fn what_is_not_a_directory_or_a_file_is_refused() {
    let parent = directory();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(open(&file).unwrap_err().to_string(), format!("{} is not a directory", file.display()));
    let below = file.join("below");
    assert_eq!(open(&below).unwrap_err().to_string(), format!("{} is not a directory", below.display()));

    let log_path = parent.path().join(LOG_NAME);
    fs::create_dir(&log_path).unwrap();
    let refusal = format!("{} is not a regular file", log_path.display());
    assert_eq!(open(parent.path()).unwrap_err().to_string(), refusal);
    fs::remove_dir(&log_path).unwrap();
    for target in ["/dev/null", "nowhere", "elsewhere"] {
        fs::write(parent.path().join("elsewhere"), "").unwrap();
        std::os::unix::fs::symlink(target, &log_path).unwrap();
        assert_eq!(open(parent.path()).unwrap_err().to_string(), refusal, "{target}");
        fs::remove_file(&log_path).unwrap();
    }
    assert!(!parent.path().join("nowhere").exists());
}

#[test]
fn what_only_has_a_segments_name_is_left_as_it_is() {
    let directory = directory();
    let [made, link] = ["20260102T030405.678Z", "20260102T030405.679Z"]
        .map(|stamp| directory.path().join(format!("metrics-{stamp}.jsonl")));
    fs::create_dir(&made).unwrap();
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    open(directory.path()).unwrap();
    assert!(made.is_dir() && fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(!directory.path().join("nowhere").exists());
}

#[test]
fn what_the_system_refuses_is_reported_in_one_line() {
    let path = Path::new("/data/metrics.jsonl");
    let text = |errno| OpenError::new("open", path, io::Error::from_raw_os_error(errno)).to_string();
    assert!(text(libc::EACCES).starts_with("/data/metrics.jsonl is not writable: "));
    assert!(text(libc::EROFS).starts_with("/data/metrics.jsonl is not writable: "));
    assert!(text(libc::ENOSPC).starts_with("no space for /data/metrics.jsonl: "));
    assert!(text(libc::EMFILE).starts_with("cannot open /data/metrics.jsonl: "));
}
