//! Sidecars: any bytes are read or refused, what is read is written and read again as the same, and no scan by one
//! panics. The input is the sidecar, the byte fe, and the lines.
#![no_main]

use fuzz::{directory, parts};
use libfuzzer_sys::fuzz_target;
use log::segment::{BlockReader, SegmentFile, SegmentName, Sidecar};
use query::{Bounds, ExecLimits, Kind, Request, run, scan::Source};
use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64},
    time::{Duration, Instant},
};

fuzz_target!(|data: &[u8]| {
    let [sidecar, lines] = parts::<2>(data, 0xfe);
    let directory = directory();
    let path = directory.path();
    let name = SegmentName::after(None, fuzz::ARRIVAL_MS);
    fs::write(path.join(name.file(SegmentFile::Sidecar)), sidecar).expect("memory for a sidecar");
    fs::write(path.join(name.file(SegmentFile::Plain)), lines).expect("memory for a segment");
    if let Ok(read) = Sidecar::read(path, name) {
        assert_eq!(read.blocks.iter().map(|block| block.bytes).sum::<u64>(), read.bytes, "its blocks are the segment");
        let mut reader = BlockReader::open(path, name).expect("the segment");
        let mut block_lines = Vec::new();
        for block in &read.blocks {
            if reader.read(block, &mut block_lines).is_ok() {
                assert_eq!(block_lines.len() as u64, block.bytes);
            }
        }
        let other = SegmentName::after(Some(name), fuzz::ARRIVAL_MS);
        // A sidecar has the mode and the owner of its segment.
        fs::write(path.join(other.file(SegmentFile::Plain)), b"").expect("memory for a segment");
        read.write(path, other).expect("memory for a sidecar");
        assert_eq!(Sidecar::read(path, other).expect("what was written"), read);
        for form in [SegmentFile::Sidecar, SegmentFile::Plain] {
            fs::remove_file(path.join(other.file(form))).expect("what was written");
        }
    }
    let request = Request::parse(Kind::Series, "from=0", fuzz::ARRIVAL_MS).expect("parameters");
    let deadline = Instant::now() + Duration::from_secs(5);
    let (cancel, scanned_bytes) = (AtomicBool::new(false), AtomicU64::new(0));
    let limits = ExecLimits { threads: 1, deadline, cancel: &cancel, scanned_bytes: &scanned_bytes };
    let _ = run(&request, &Source::directory(path), Bounds::default(), &limits);
});
