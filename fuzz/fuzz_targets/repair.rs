//! Verify and repair of any directory: a repair leaves a sound log, a second one finds nothing to do, no line is lost,
//! a start succeeds, and of plain files every byte is afterwards in the log or beside it.
//!
//! The input is the active segment, the state file, a sealed segment, its sidecar and its compressed form, with the
//! byte fe between them. A sidecar or a compressed form that begins with `=` is made of the segment, and each three
//! bytes behind it change one of its bytes.
#![no_main]

use fuzz::{directory, files, parts};
use libfuzzer_sys::fuzz_target;
use log::{
    STATE_NAME,
    segment::{ACTIVE_NAME, SegmentFile, SegmentName, compress, index},
};
use metric::Line;
use metricstream::verify::{check, repair};
use std::{collections::HashMap, fs, path::Path, sync::atomic::AtomicBool};

static RUNNING: AtomicBool = AtomicBool::new(false);

fuzz_target!(|data: &[u8]| {
    let [active, state, plain, sidecar, compressed] = parts::<5>(data, 0xfe);
    let directory = directory();
    let path = directory.path();
    let name = SegmentName::after(None, fuzz::ARRIVAL_MS);
    let write = |file: &str, bytes: &[u8]| fs::write(path.join(file), bytes).expect("memory for a file");
    if !plain.is_empty() {
        write(&name.file(SegmentFile::Plain), plain);
        make(path, name, sidecar, compressed);
    }
    for (file, bytes) in [(name.file(SegmentFile::Sidecar), sidecar), (name.file(SegmentFile::Compressed), compressed)]
    {
        if !bytes.is_empty() && !bytes.starts_with(b"=") {
            write(&file, bytes);
        }
    }
    for (file, bytes) in [(ACTIVE_NAME, active), (STATE_NAME, state)] {
        if !bytes.is_empty() {
            write(file, bytes);
        }
    }
    let before = files(path);
    let report = check(path, 1).expect("files that can be read");
    assert_eq!(files(path), before, "a check writes nothing");
    assert_eq!(report.sound, report.damages == 0);
    let mut text = Vec::new();
    report.print(true, &mut text).expect("memory for a report");
    serde_json::from_slice::<serde_json::Value>(&text).expect("a report is JSON");

    let repaired = repair(path, 1).expect("files that can be written");
    assert_eq!((repaired.sound, repaired.damages), (report.sound, report.damages), "the same check");
    let done = repaired.repair.expect("a repair has steps");
    assert!(done.sound_now, "{:?} and {:?}", done, check(path, 1).map(|report| report.findings.kept));
    assert!(report.sound || !done.steps.is_empty());
    let after = files(path);
    let again = repair(path, 1).expect("what a repair has left");
    assert!(again.sound && again.repair.is_some_and(|again| again.steps.is_empty()));
    let lines = lines(&after);
    for (_, bytes) in before.iter().filter(|(file, _)| file.ends_with(".jsonl")) {
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            // Part of a foreign line may be lost.
            let is_ours = line.strip_suffix(b"\n").is_some_and(|line| Line::parse(line).is_ok());
            assert!(!is_ours || lines.contains_key(line) || contains(&after, line), "lost: {}", line.escape_ascii());
        }
    }
    if sidecar.is_empty() && compressed.is_empty() && state.is_empty() {
        assert_eq!(bytes_of(&before), bytes_of(&after), "every byte is in the log or beside it");
    }
    log::open(path).expect("a log that is sound");
});

/// Makes the sidecar and the compressed form that are to be made, and changes their bytes.
fn make(path: &Path, name: SegmentName, sidecar: &[u8], compressed: &[u8]) {
    let Ok(made) = index(path, name, &RUNNING) else { return };
    if !sidecar.starts_with(b"=") && !compressed.starts_with(b"=") {
        return;
    }
    made.write(path, name).expect("memory for a sidecar");
    let plain = fs::read(path.join(name.file(SegmentFile::Plain))).expect("the segment");
    if compressed.starts_with(b"=") && compress(path, name, &made, &RUNNING).is_ok() && compressed.len() % 2 == 0 {
        // Compression was interrupted before it has removed the plain form.
        fs::write(path.join(name.file(SegmentFile::Plain)), plain).expect("memory for a segment");
    }
    for (form, edits) in [(SegmentFile::Sidecar, sidecar), (SegmentFile::Compressed, compressed)] {
        let file = path.join(name.file(form));
        let (Some(edits), Ok(mut bytes)) = (edits.strip_prefix(b"="), fs::read(&file)) else { continue };
        for edit in edits.chunks_exact(3) {
            let at = (usize::from(edit[0]) << 8 | usize::from(edit[1])) % bytes.len().max(1);
            bytes[at] = edit[2];
        }
        fs::write(file, bytes).expect("memory for a file");
    }
}

/// Counts how often each line is there, in any form.
fn lines(files: &[(String, Vec<u8>)]) -> HashMap<Vec<u8>, usize> {
    let mut lines = HashMap::new();
    for (name, bytes) in files {
        let bytes =
            if name.ends_with(".zst") { zstd::decode_all(&bytes[..]).unwrap_or_default() } else { bytes.clone() };
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            *lines.entry(line.to_vec()).or_insert(0) += 1;
        }
    }
    lines
}

fn contains(files: &[(String, Vec<u8>)], line: &[u8]) -> bool {
    files.iter().any(|(_, bytes)| bytes.windows(line.len().max(1)).any(|window| window == line))
}

/// Counts how often each byte is in the files of lines and in those beside them.
fn bytes_of(files: &[(String, Vec<u8>)]) -> [usize; 256] {
    let mut counts = [0; 256];
    let counted = files.iter().filter(|(name, _)| name.ends_with(".jsonl") || name.starts_with("torn-"));
    counted.flat_map(|(_, bytes)| bytes).for_each(|&byte| counts[usize::from(byte)] += 1);
    counts
}
