//! A start on any files: no byte is lost, the log ends with a whole line, and a second start finds nothing to cut.
//!
//! The input is the active segment, the state file and a sealed segment, with the byte fe between them. A state that
//! begins with `=` is that of a run that was killed, and each three bytes behind it change one of its bytes.
#![no_main]

use fuzz::{directory, files, parts};
use libfuzzer_sys::fuzz_target;
use log::{
    STATE_NAME, open,
    segment::{ACTIVE_NAME, SegmentFile, SegmentName},
};
use std::{fs, path::Path};

fuzz_target!(|data: &[u8]| {
    let [active, state, sealed] = parts::<3>(data, 0xfe);
    let directory = directory();
    let path = directory.path();
    let write = |name: &str, bytes: &[u8]| fs::write(path.join(name), bytes).expect("memory for a file");
    let segment = SegmentName::after(None, fuzz::ARRIVAL_MS).file(SegmentFile::Plain);
    if let Some(edits) = state.strip_prefix(b"=") {
        let half = active.iter().take(active.len() / 2).rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        write(ACTIVE_NAME, &active[..half]);
        drop(open(path).expect("a log that a run is to begin with"));
        let mut text = fs::read(path.join(STATE_NAME)).expect("the state");
        for edit in edits.chunks_exact(3) {
            let at = usize::from(edit[0]) % text.len().max(1);
            text[at] = edit[1] ^ edit[2];
        }
        write(STATE_NAME, &text);
        let found = files(path).into_iter().filter(|(name, _)| name.starts_with("torn-"));
        found.for_each(|(name, _)| fs::remove_file(path.join(name)).expect("a file that was listed"));
    } else if !state.is_empty() {
        write(STATE_NAME, state);
    }
    // In place: the inode stays, as when a run is killed.
    write(ACTIVE_NAME, active);
    if !sealed.is_empty() {
        write(&segment, sealed);
    }

    // With it the directory's lock goes.
    let first = open(path).map(|opened| opened.report).expect("files that can be read and written");
    let first = (first.cut.map(|cut| cut.bytes), first.log_bytes);
    let (log, kept) = (read(path, ACTIVE_NAME), kept(path));
    assert!(log.last().is_none_or(|&last| last == b'\n') && log.len() as u64 == first.1);
    assert_eq!(first.0.unwrap_or(0) as usize + log.len(), active.len(), "bytes cut and bytes left");
    assert!(active.starts_with(&log), "what is left is what was there");
    assert!(log.len() == active.len() || kept.iter().any(|cut| active.ends_with(cut) && !cut.is_empty()));
    if !sealed.is_empty() {
        let left = read(path, &segment);
        assert!(sealed.starts_with(&left) && left.last().is_none_or(|&last| last == b'\n'));
        assert!(left.len() == sealed.len() || kept.iter().any(|cut| *cut == sealed[left.len()..]));
    }

    let again = open(path).map(|opened| opened.report).expect("what a start has left");
    assert!(again.cut.is_none() && again.segment_cuts.is_empty(), "{again}");
    assert_eq!(read(path, ACTIVE_NAME), log);
});

fn read(directory: &Path, name: &str) -> Vec<u8> {
    fs::read(directory.join(name)).expect("a file of the log")
}

/// Contents of what was cut off.
fn kept(directory: &Path) -> Vec<Vec<u8>> {
    files(directory).into_iter().filter(|(name, _)| name.starts_with("torn-")).map(|(_, bytes)| bytes).collect()
}
