//! The command as a person or a script runs it.

use crate::log::{ACTIVE, Log, SegmentForm, line, lines};
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::Output,
};
use testkit::server::program;

const BINARY: &str = env!("CARGO_BIN_EXE_metricstream");

fn verify(directory: &Path, flags: &[&str]) -> Output {
    program(BINARY).arg("verify").arg(directory).args(flags).output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_sound_log_and_an_empty_directory() {
    let log = Log::new();
    let (code, out, err) = said(&verify(log.path(), &[]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("no log in this directory") && out.ends_with("sound\n"), "{out}");
    log.add(SegmentForm::Compressed, 1, &lines(0..100));
    log.add(SegmentForm::Active, 0, &lines(100..150));
    let (code, out, err) = said(&verify(log.path(), &["--threads", "1"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("150 lines") && out.contains("in 2 files") && out.ends_with("sound\n"), "{out}");
    let document = json(&verify(log.path(), &["--json"]));
    assert_eq!(document["sound"], true);
    assert_eq!(document["totals"]["lines"], 150);
    assert_eq!(document["segments"].as_array().unwrap().len(), 2);
}

#[test]
fn damage_is_exit_code_1_and_is_explained() {
    let text = [&lines(0..10)[..], b"hello\x1b[31m\n", &lines(10..20), &line(20).as_bytes()[..30]].concat();
    let (log, _) = Log::with(SegmentForm::Active, &text);
    let (code, out, _) = said(&verify(log.path(), &[]));
    assert_eq!(code, Some(1));
    assert!(out.contains("metrics.jsonl: binary at byte ") && out.contains("line 11"), "{out}");
    assert!(out.contains("torn_tail") && out.contains("line 22") && !out.contains('\x1b'), "{out}");
    assert!(out.ends_with("damaged: 1 torn_tail, 1 binary\n"), "{out}");
    let document = json(&verify(log.path(), &["--json"]));
    assert_eq!(document["damages"], 2);
    assert_eq!(document["counts"]["torn_tail"], 1);
    assert_eq!(document["findings"][1]["kind"], "binary");
    assert_eq!(document["findings"][1]["line"], 11);
    assert_eq!(fs::read(log.file(ACTIVE)).unwrap(), text, "nothing was written");

    let repaired = json(&verify(log.path(), &["--repair", "--json"]));
    assert_eq!((&repaired["sound"], &repaired["repair"]["sound_now"]), (&false.into(), &true.into()));
    assert_eq!(fs::read(log.file(ACTIVE)).unwrap(), lines(0..20));
    let (code, out, _) = said(&verify(log.path(), &["--repair"]));
    assert_eq!(code, Some(0));
    assert!(out.contains("nothing to repair") && out.contains("from earlier repairs"), "{out}");
}

#[test]
fn what_cannot_be_checked_is_exit_code_2_and_one_line() {
    let log = Log::new();
    fs::write(log.file("file"), "").unwrap();
    for (path, part) in [("nowhere", "does not exist"), ("file", "is not a directory")] {
        for flags in [&[][..], &["--repair"], &["--json"]] {
            let (code, out, err) = said(&verify(&log.file(path), flags));
            assert_eq!((code, out.as_str(), err.lines().count()), (Some(2), "", 1), "{err}");
            assert!(err.contains(part) && err.contains(path), "{err}");
        }
    }
    let (code, _, err) = said(&verify(log.path(), &["--threads", "0"]));
    assert_eq!((code, err.lines().count()), (Some(2), 1), "{err}");
    assert!(!log.file("nowhere").exists());
}

#[test]
fn the_directory_has_a_variable_and_a_default() {
    let (log, _) = Log::with(SegmentForm::Active, &lines(0..7));
    let output = program(BINARY).env("METRICSTREAM_DATA_DIR", log.path()).arg("verify").output().unwrap();
    assert!(said(&output).1.contains("7 lines"));
    let parent = Log::new();
    fs::create_dir(parent.file("data")).unwrap();
    fs::write(parent.file("data").join(ACTIVE), lines(0..8)).unwrap();
    let output = program(BINARY).current_dir(parent.path()).arg("verify").output().unwrap();
    assert!(said(&output).1.contains("8 lines"));
}

#[test]
fn a_directory_in_use_is_checked_and_not_repaired() {
    let text = [&lines(0..10)[..], &line(10).as_bytes()[..30]].concat();
    let (log, _) = Log::with(SegmentForm::Active, &text);
    let mut lock = File::create(log.file("metricstream.lock")).unwrap();
    lock.lock().unwrap();
    writeln!(lock, "4711").unwrap();
    let (code, out, _) = said(&verify(log.path(), &[]));
    assert_eq!(code, Some(0));
    assert!(out.contains("process 4711") && out.contains("10 lines") && out.ends_with("sound\n"), "{out}");
    let (code, _, err) = said(&verify(log.path(), &["--repair"]));
    assert_eq!((code, err.lines().count()), (Some(2), 1));
    assert!(err.contains("in use by process 4711"), "{err}");
    assert_eq!(fs::read(log.file(ACTIVE)).unwrap(), text);
    drop(lock);
    assert_eq!(said(&verify(log.path(), &["--repair"])).0, Some(1));
    assert_eq!(fs::read(log.file(ACTIVE)).unwrap(), lines(0..10));
}
