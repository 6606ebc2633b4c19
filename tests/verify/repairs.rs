//! After a repair: every undamaged line in its order, and every byte somewhere.

use crate::log::{ACTIVE, FOUR_BLOCKS, Log, STATE, SegmentForm, line, lines, offset, segment, text};
use log::segment::SegmentFile;
use metricstream::verify::finding::Kind;
use std::fs;

#[test]
fn damaged_bytes_are_moved_aside_and_the_lines_stay() {
    let torn = &line(5)[..40];
    for bad in [torn.as_bytes(), b"hello\n", &[0; 8192], &vec![0; 3 << 20], b"\xff\x00\x01\n", b"\n"] {
        for form in SegmentForm::ALL {
            let damaged = [&lines(0..9_000)[..], bad, &lines(9_000..20_000), bad, &lines(20_000..21_000)].concat();
            let (log, path) = Log::with(form, &damaged);
            let before = fs::read(&path).unwrap();
            log.repair();
            assert!(text(&path) == lines(0..21_000), "{form:?}");
            let kept = log.set_aside();
            if form.is_compressed() {
                // Packed, as it was: the frames that had damage in them.
                let packed = kept.iter().find(|kept| kept.starts_with(&0xfd2f_b528_u32.to_le_bytes())).unwrap();
                let unpacked = zstd::decode_all(&packed[..]).unwrap();
                assert!(memchr::memmem::find(&unpacked, bad).is_some());
                assert!(packed.len() <= before.len());
            } else {
                assert!(kept.contains(&[bad, bad].concat()), "{form:?}");
            }
        }
    }
}

#[test]
fn a_torn_tail_is_cut_as_at_a_start() {
    let damaged = [lines(0..100), line(100).into_bytes()[..50].to_vec()].concat();
    for form in [SegmentForm::Active, SegmentForm::Plain, SegmentForm::PlainWithoutSidecar] {
        let (log, path) = Log::with(form, &damaged);
        log.repair();
        assert_eq!(text(&path), lines(0..100));
        assert!(log.set_aside().contains(&line(100).into_bytes()[..50].to_vec()));
    }
    // The next start has nothing to repair, and knows of the crash.
    let (log, _) = Log::with(SegmentForm::Active, &damaged);
    log.repair();
    let opened = log::open(log.path()).unwrap();
    assert_eq!((opened.report.cut, opened.report.unclean_shutdowns), (None, 1));
}

#[test]
fn a_repaired_active_segment_has_a_matching_state() {
    let log = Log::new();
    drop(log::open(log.path()).unwrap());
    let damaged = [&lines(0..10)[..], b"foreign\n", &lines(10..20)].concat();
    fs::write(log.file(ACTIVE), &damaged).unwrap();
    log.set_committed(damaged.len());
    let report = log.repair();
    assert_eq!(report.findings.counts[&Kind::ForeignText], 1);
    assert!(!log.check().findings.counts.contains_key(&Kind::StateOfAnother));
    let opened = log::open(log.path()).unwrap();
    assert_eq!((opened.report.cut, opened.report.log_bytes), (None, lines(0..20).len() as u64));
}

#[test]
fn a_damaged_state_is_moved_aside_and_no_line_with_it() {
    let log = Log::new();
    drop(log::open(log.path()).unwrap());
    fs::write(log.file(ACTIVE), lines(0..20)).unwrap();
    log.set_committed(lines(0..10).len());
    let damaged = fs::read_to_string(log.file(STATE)).unwrap().replace("\nclean 0", "\nclean 1").into_bytes();
    fs::write(log.file(STATE), &damaged).unwrap();
    let report = log.repair();
    assert_eq!(report.findings.counts[&Kind::StateGarbled], 1);
    assert!(fs::read(log.file(ACTIVE)).unwrap() == lines(0..20));
    assert_eq!(log.set_aside(), [damaged]);
}

#[test]
fn broken_frames_are_moved_aside_packed() {
    for form in [SegmentForm::Compressed, SegmentForm::CompressedWithoutSidecar] {
        let (log, path) = Log::with(form, &lines(FOUR_BLOCKS));
        let whole = fs::read(&path).unwrap();
        let first = zstd::zstd_safe::find_frame_compressed_size(&whole).unwrap();
        let second = first + zstd::zstd_safe::find_frame_compressed_size(&whole[first..]).unwrap();
        let mut broken = whole.clone();
        broken[(first + second) / 2] ^= 1;
        fs::write(&path, &broken).unwrap();
        log.repair();
        assert_eq!(fs::read(&path).unwrap(), [&whole[..first], &whole[second..]].concat());
        assert!(log.set_aside().contains(&broken[first..second].to_vec()));
        // Nothing is left of a segment of which no frame is whole.
        fs::write(&path, [0xaa; 1000]).unwrap();
        log.repair();
        assert!(!path.exists() && !log.sidecar(1).exists());
        assert!(log.set_aside().contains(&vec![0xaa; 1000]));
    }
}

#[test]
fn a_changed_block_stays_and_its_sidecar_is_made_anew() {
    let (log, path) = Log::with(SegmentForm::Plain, &lines(FOUR_BLOCKS));
    let sidecar = fs::read(log.sidecar(1)).unwrap();
    let mut damaged = lines(FOUR_BLOCKS);
    damaged[offset(9_000) + line(9_000).find("9000").unwrap()] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let report = log.repair();
    assert_eq!(report.findings.counts[&Kind::ChangedBlock], 1);
    assert!(fs::read(&path).unwrap() == damaged);
    assert_eq!(log.set_aside(), [sidecar]);
}

#[test]
fn sidecars_are_made_anew_and_the_old_ones_kept() {
    for form in [SegmentForm::Plain, SegmentForm::Compressed] {
        for garbled in [&b""[..], b"{}", &[0; 77]] {
            let (log, path) = Log::with(form, &lines(0..1_000));
            let right = fs::read(log.sidecar(1)).unwrap();
            fs::write(log.sidecar(1), garbled).unwrap();
            log.repair();
            assert_eq!(fs::read(log.sidecar(1)).unwrap(), right);
            assert_eq!(log.set_aside(), [garbled]);
            fs::remove_file(log.sidecar(1)).unwrap();
            log.repair();
            assert_eq!(fs::read(log.sidecar(1)).unwrap(), right);
            // That of another segment.
            log.add(form, 2, &lines(1_000..5_000));
            fs::copy(log.sidecar(2), log.sidecar(1)).unwrap();
            log.repair();
            assert_eq!(fs::read(log.sidecar(1)).unwrap(), right);
            assert_eq!(text(&path), lines(0..1_000));
        }
    }
}

#[test]
fn of_two_forms_the_sound_one_is_kept() {
    for damage_plain in [false, true] {
        let (log, compressed) = Log::with(SegmentForm::Compressed, &lines(0..1_000));
        let plain = log.file(&segment(1).file(SegmentFile::Plain));
        fs::write(&plain, lines(0..1_000)).unwrap();
        let damaged = if damage_plain { &plain } else { &compressed };
        let mut bytes = fs::read(damaged).unwrap();
        bytes[500] ^= 1;
        fs::write(damaged, &bytes).unwrap();
        log.repair();
        assert!(!damaged.exists());
        assert!(log.set_aside().contains(&bytes));
        let kept = if damage_plain { &compressed } else { &plain };
        assert_eq!(text(kept), lines(0..1_000));
    }
}

/// Every state that a crash in the middle of a repair can leave.
#[test]
fn an_interrupted_repair_is_finished_by_another() {
    let damaged = [&lines(0..9_000)[..], b"foreign\n", &lines(9_000..20_000)].concat();
    for form in [SegmentForm::Plain, SegmentForm::Compressed] {
        for step in 0..5 {
            let (log, path) = Log::with(form, &damaged);
            let (repaired, repaired_path) = Log::with(form, &damaged);
            repaired.repair();
            // The bytes are set aside.
            fs::write(log.file("torn-20260102T030405.678Z.bin"), b"foreign\n").unwrap();
            let draft = log.file(&format!("{}.tmp", path.file_name().unwrap().to_str().unwrap()));
            match step {
                0 => {}
                // The new segment is half written.
                1 => fs::write(&draft, lines(0..10)).unwrap(),
                // The old sidecar is moved aside.
                2 => fs::rename(log.sidecar(1), log.file("torn-20260102T030405.678Z-2.bin")).unwrap(),
                // The new segment is in its place.
                3 => {
                    fs::rename(log.sidecar(1), log.file("torn-20260102T030405.678Z-2.bin")).unwrap();
                    fs::copy(&repaired_path, &path).map(drop).unwrap();
                }
                // The new sidecar is half written.
                _ => {
                    fs::rename(log.sidecar(1), log.file("torn-20260102T030405.678Z-2.bin")).unwrap();
                    fs::copy(&repaired_path, &path).unwrap();
                    fs::write(log.file(&format!("{}.tmp", segment(1).file(SegmentFile::Sidecar))), "{").unwrap();
                }
            }
            log.repair();
            assert!(text(&path) == lines(0..20_000), "{form:?} {step}");
            assert_eq!(fs::read(log.sidecar(1)).unwrap(), fs::read(repaired.sidecar(1)).unwrap());
        }
    }
}
