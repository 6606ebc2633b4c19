//! Each kind of damage, by its name and its place.

use crate::log::{ACTIVE, FOUR_BLOCKS, Log, STATE, SegmentForm, damages, kinds, line, lines, offset, segment};
use log::segment::{SegmentFile, Sidecar};
use metricstream::{limits::FINDINGS_MAX, verify::finding::Kind};
use std::fs;

const BLOCK: usize = log::limits::BLOCK_BYTES;

#[test]
fn a_sound_log_is_reported_as_sound() {
    for form in SegmentForm::ALL {
        let (log, _) = Log::with(form, &lines(FOUR_BLOCKS));
        let report = log.check();
        assert_eq!(kinds(&report), [], "{form:?}");
        assert_eq!(report.totals.lines, FOUR_BLOCKS.len() as u64);
        assert_eq!(report.totals.bytes, lines(FOUR_BLOCKS).len() as u64);
        assert_eq!(report.segments[0].sidecar, form.has_sidecar());
        assert_eq!(report.segments[0].first.as_deref(), Some("2026-01-02T03:04:00.000Z"));
        assert_eq!(report.segments[0].last.as_deref(), Some("2026-01-02T03:04:25.999Z"));
    }
    let log = Log::new();
    assert_eq!((log.check().sound, log.check().totals.files), (true, 0));
    log.add(SegmentForm::Active, 0, b"");
    log.add(SegmentForm::Compressed, 1, &lines(0..10));
    log.add(SegmentForm::Plain, 2, &lines(10..20));
    let report = log.check();
    assert_eq!((report.sound, report.totals.files, report.totals.lines), (true, 3, 20));
}

/// A line that is no number, as other protocols than JSON store it.
fn non_finite(value: &str) -> String {
    line(7).replace(r#""value":7.5,"type":"gauge""#, &format!(r#""value":{value},"type":"untyped""#))
}

#[test]
fn values_that_are_no_numbers_are_sound() {
    let text: String =
        [r#""NaN""#, r#""NaN","stale":true"#, r#""+Inf""#, r#""-Inf""#].map(non_finite).concat().repeat(9);
    for form in SegmentForm::ALL {
        let (log, _) = Log::with(form, text.as_bytes());
        let report = log.check();
        assert_eq!((kinds(&report), report.totals.lines), (vec![], 36), "{form:?}");
    }
}

#[test]
fn damage_of_a_value_that_is_no_number_is_named_with_its_byte() {
    const VALUE: &str = "expected a number, \"NaN\", \"+Inf\" or \"-Inf\"";
    const TYPE: &str = "expected \"type\", one of gauge, counter, histogram, summary and untyped, and \"tags\"";
    let at = non_finite("1").find(":1,").unwrap() + 1;
    for (value, byte, found, expected) in [
        (r#""NaM""#, 0, '"', VALUE),
        (r#""nan""#, 0, '"', VALUE),
        (r#""Inf""#, 0, '"', VALUE),
        (r#""NaN"#, 0, '"', VALUE),
        (r#"+Inf""#, 0, '+', "expected a digit"),
        (r#""NaN","stale":tRue"#, 5, ',', TYPE),
        (r#""NaN","stale":false"#, 5, ',', TYPE),
        (r#""+Inf","stale":true"#, 6, ',', TYPE),
        (r#"1,"stale":true"#, 1, ',', TYPE),
    ] {
        let bad = non_finite(value);
        let (log, _) =
            Log::with(SegmentForm::Active, [&line(1), &bad, &line(2)].map(String::as_str).concat().as_bytes());
        let report = log.check();
        assert_eq!(kinds(&report), [Kind::GarbledLine], "{bad}");
        let what = format!("byte {} of the line is 0x{:02x}, {expected}", at + byte, found as u32);
        assert_eq!(damages(&report)[0].what, what, "{bad}");
        assert_eq!(report.totals.lines, 2);
    }
}

/// Lines with `bad` between the lines 9,000 and 9,001, which are in block 1; the next block begins later by as much.
fn with(bad: &[u8]) -> Vec<u8> {
    [&lines(0..9_000)[..], bad, &lines(9_000..FOUR_BLOCKS.end)].concat()
}

#[test]
fn damage_that_was_there_when_the_segment_was_sealed() {
    let torn = &line(5)[..40];
    for (bad, kind) in [
        (torn.as_bytes().to_vec(), Kind::TornLine),
        (format!("{torn}\n").into_bytes(), Kind::TornLine),
        (b"hello, world\n".to_vec(), Kind::ForeignText),
        (vec![0; 8192], Kind::Zeros),
        (vec![0; 3 * BLOCK], Kind::Zeros),
        (b"\xff\xfe\x01\n".to_vec(), Kind::Binary),
    ] {
        for form in SegmentForm::ALL {
            let (log, path) = Log::with(form, &with(&bad));
            let report = log.check();
            assert_eq!(kinds(&report), [kind], "{form:?} {}", damages(&report)[0]);
            let finding = damages(&report)[0];
            assert_eq!(finding.file, path.file_name().unwrap().to_str().unwrap());
            let place = finding.place.as_ref().unwrap();
            assert_eq!((place.offset, place.bytes), (offset(9_000) as u64, bad.len() as u64), "{form:?} {kind:?}");
            assert_eq!((place.line, place.lines), (9_001, 1));
            assert_eq!(place.blocks.is_some(), form.has_sidecar());
            assert_eq!(place.frame_offset.is_some(), form.is_compressed());
            assert!(finding.excerpt.as_ref().unwrap().chars().count() < 4 * 64 + 3);
            // A whole line that follows without a line feed between is not lost.
            assert_eq!(report.totals.lines, FOUR_BLOCKS.len() as u64);
        }
    }
}

#[test]
fn a_torn_tail() {
    let mut text = lines(0..100);
    text.truncate(text.len() - 30);
    for form in [SegmentForm::Active, SegmentForm::Plain, SegmentForm::PlainWithoutSidecar] {
        let (log, _) = Log::with(form, &text);
        let report = log.check();
        assert_eq!(kinds(&report), [Kind::TornTail]);
        let place = damages(&report)[0].place.as_ref().unwrap();
        assert_eq!((place.offset, place.line), (offset(99) as u64, 100));
    }
}

#[test]
fn a_flipped_bit_is_located() {
    let text = lines(FOUR_BLOCKS);
    let value_at = offset(9_000) + line(9_000).find("9000").unwrap();
    let name_at = offset(9_000) + line(9_000).find("\"name").unwrap();
    for form in [SegmentForm::Plain, SegmentForm::PlainWithoutSidecar, SegmentForm::Active] {
        let (log, path) = Log::with(form, &text);
        // 9000 becomes 8000: a good line that says something else.
        let mut damaged = text.clone();
        damaged[value_at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let report = log.check();
        if form.has_sidecar() {
            assert_eq!(kinds(&report), [Kind::ChangedBlock]);
            let finding = damages(&report)[0];
            let place = finding.place.as_ref().unwrap();
            assert_eq!(place.blocks, Some((1, 1)));
            assert!(place.line <= 9_001 && 9_001 < place.line + place.lines);
            assert!(finding.what.contains(&format!("bit 0 of byte {value_at} of the segment")), "{finding}");
        } else {
            assert!(report.sound, "nothing can tell");
        }
        let mut damaged = text.clone();
        damaged[name_at] ^= 4;
        fs::write(&path, &damaged).unwrap();
        let report = log.check();
        assert_eq!(kinds(&report), [Kind::GarbledLine]);
        let place = damages(&report)[0].place.as_ref().unwrap();
        assert_eq!((place.line, place.offset), (9_001, offset(9_000) as u64));
        assert_eq!(place.blocks, form.has_sidecar().then_some((1, 1)));
    }
}

#[test]
fn zeros_over_blocks_are_one_finding() {
    let (log, path) = Log::with(SegmentForm::Plain, &lines(FOUR_BLOCKS));
    let mut text = lines(FOUR_BLOCKS);
    let (from, to) = (offset(9_000) + 20, offset(20_000) + 20);
    text[from..to].fill(0);
    fs::write(&path, text).unwrap();
    let report = log.check();
    assert_eq!(kinds(&report), [Kind::Zeros]);
    let place = damages(&report)[0].place.as_ref().unwrap();
    assert_eq!(place.blocks, Some((1, 2)));
    assert_eq!((place.offset as usize, place.bytes as usize), (offset(9_000), offset(20_001) - offset(9_000)));
}

#[test]
fn a_broken_frame_is_reported_with_its_lines() {
    for form in [SegmentForm::Compressed, SegmentForm::CompressedWithoutSidecar] {
        let (log, path) = Log::with(form, &lines(FOUR_BLOCKS));
        let whole = fs::read(&path).unwrap();
        let second = log_frames(&whole)[1].clone();
        let mut broken = whole.clone();
        broken[(second.start + second.end) / 2] ^= 0x10;
        fs::write(&path, &broken).unwrap();
        let report = log.check();
        assert_eq!(kinds(&report), [Kind::BrokenFrame], "{form:?}");
        let finding = damages(&report)[0];
        let place = finding.place.as_ref().unwrap();
        assert_eq!(place.frame_offset, Some(second.start as u64));
        assert_eq!(place.blocks, form.has_sidecar().then_some((1, 1)));
        assert_eq!(finding.what.contains("it held "), form.has_sidecar(), "{finding}");

        // A frame's beginning is gone: the others are found.
        let mut broken = whole.clone();
        broken[second.start..second.start + 4].fill(0xaa);
        fs::write(&path, &broken).unwrap();
        assert_eq!(kinds(&log.check()), [Kind::BrokenFrame]);

        // Foreign bytes behind the last frame.
        fs::write(&path, [&whole[..], b"foreign bytes"].concat()).unwrap();
        assert_eq!(kinds(&log.check()), [Kind::BrokenFrame]);

        // Cut off in the third.
        fs::write(&path, &whole[..second.end + 100]).unwrap();
        let report = log.check();
        assert!(kinds(&report).contains(&Kind::BrokenFrame), "{form:?}");
    }
}

fn log_frames(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut frames, mut from) = (Vec::new(), 0);
    while from < bytes.len() {
        let length = zstd::zstd_safe::find_frame_compressed_size(&bytes[from..]).unwrap();
        frames.push(from..from + length);
        from += length;
    }
    frames
}

#[test]
fn a_segment_that_was_cut_off() {
    let text = lines(FOUR_BLOCKS);
    for (kept, more) in
        [(offset(20_000), None), (offset(20_000) + 50, Some(Kind::TornTail)), (0, None), (offset(10), None)]
    {
        let (log, path) = Log::with(SegmentForm::Plain, &text);
        fs::write(&path, &text[..kept]).unwrap();
        let report = log.check();
        let expected: Vec<_> = more.into_iter().chain([Kind::Truncated]).collect();
        assert_eq!(kinds(&report), expected, "{kept}");
        let finding = damages(&report).into_iter().last().unwrap();
        assert!(finding.what.contains(&format!("{} of {} bytes", text.len() - kept, text.len())), "{finding}");
    }
    // A compressed one, at the end of a frame.
    let (log, path) = Log::with(SegmentForm::Compressed, &text);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..log_frames(&whole)[2].start]).unwrap();
    assert_eq!(kinds(&log.check()), [Kind::Truncated]);
}

#[test]
fn a_segment_that_has_grown() {
    let (log, path) = Log::with(SegmentForm::Plain, &lines(FOUR_BLOCKS));
    fs::write(&path, lines(0..FOUR_BLOCKS.end + 5)).unwrap();
    assert_eq!(kinds(&log.check()), [Kind::Overlong]);
}

#[test]
fn a_sidecar_of_another_segment() {
    for (one, other) in [(0..9_000, 9_000..30_000), (0..30_000, 30_000..31_000), (0..100, 200..300), (0..100, 200..200)]
    {
        for form in [SegmentForm::Plain, SegmentForm::Compressed] {
            if other.is_empty() && form == SegmentForm::Compressed {
                continue;
            }
            let log = Log::new();
            log.add(form, 1, &lines(one.clone()));
            log.add(form, 2, &lines(other.clone()));
            fs::copy(log.sidecar(2), log.sidecar(1)).unwrap();
            let report = log.check();
            if other.is_empty() {
                assert!(!report.sound);
                continue;
            }
            assert_eq!(kinds(&report), [Kind::SidecarForeign], "{one:?} {form:?} {:?}", damages(&report));
        }
    }
}

#[test]
fn a_sidecar_that_is_wrong() {
    let (log, _) = Log::with(SegmentForm::Plain, &lines(FOUR_BLOCKS));
    let right = Sidecar::read(log.path(), segment(1)).unwrap();
    let check_with = |edit: &dyn Fn(&mut Sidecar)| {
        let mut sidecar = right.clone();
        edit(&mut sidecar);
        sidecar.write(log.path(), segment(1)).unwrap();
        kinds(&log.check())
    };
    assert_eq!(check_with(&|_| {}), []);
    assert_eq!(check_with(&|sidecar| sidecar.crc32 ^= 1), [Kind::SidecarWrong]);
    assert_eq!(check_with(&|sidecar| sidecar.blocks[2].crc32 ^= 1), [Kind::SidecarWrong]);
    assert_eq!(check_with(&|sidecar| sidecar.blocks[1].first_ms += 1), [Kind::SidecarWrong]);
    assert_eq!(check_with(&|sidecar| sidecar.blocks[1].names.as_mut().unwrap().truncate(3)), [Kind::SidecarWrong]);
    assert_eq!(check_with(&|sidecar| sidecar.names.as_mut().unwrap()[3] = "other".to_owned()), [Kind::SidecarWrong]);
    assert_eq!(check_with(&|sidecar| sidecar.lines += 1), [Kind::SidecarGarbled]);
    let text = fs::read(log.sidecar(1)).unwrap();
    for garbled in [&b""[..], b"{}", &text[..text.len() / 2], &[0; 100]] {
        fs::write(log.sidecar(1), garbled).unwrap();
        assert_eq!(kinds(&log.check()), [Kind::SidecarGarbled]);
    }
}

#[test]
fn both_forms_of_a_segment() {
    let (log, compressed) = Log::with(SegmentForm::Compressed, &lines(FOUR_BLOCKS));
    let plain = log.file(&segment(1).file(SegmentFile::Plain));
    fs::write(&plain, lines(FOUR_BLOCKS)).unwrap();
    let report = log.check();
    assert!(report.sound);
    assert_eq!(report.findings.counts[&Kind::BothForms], 1);
    fs::remove_file(&compressed).unwrap();
    fs::write(&compressed, zstd::encode_all(&lines(0..100)[..], 1).unwrap()).unwrap();
    assert!(kinds(&log.check()).contains(&Kind::FormsDiffer));
}

#[test]
fn a_sidecar_without_a_segment() {
    let log = Log::new();
    for number in 1..=3 {
        log.add(SegmentForm::Plain, number, &lines(0..10));
    }
    fs::remove_file(log.file(&segment(1).file(SegmentFile::Plain))).unwrap();
    let report = log.check();
    assert_eq!(kinds(&report), [], "the oldest is what retention takes");
    assert_eq!(report.findings.counts[&Kind::Leftover], 1);
    log.add(SegmentForm::Plain, 1, &lines(0..10));
    fs::remove_file(log.file(&segment(2).file(SegmentFile::Plain))).unwrap();
    assert_eq!(kinds(&log.check()), [Kind::SegmentMissing]);
}

#[test]
fn findings_about_the_state_file() {
    let log = Log::new();
    drop(log::open(log.path()).unwrap());
    assert_eq!(kinds(&log.check()), []);
    let set = |committed| log.set_committed(committed);
    let text = lines(0..10);
    fs::write(log.file(ACTIVE), &text).unwrap();
    set(text.len());
    assert_eq!(kinds(&log.check()), []);
    set(offset(7));
    let report = log.check();
    assert_eq!(kinds(&report), [Kind::Uncommitted]);
    assert_eq!(damages(&report)[0].place.as_ref().unwrap().bytes, (text.len() - offset(7)) as u64);
    set(text.len() + 100);
    assert_eq!(kinds(&log.check()), [Kind::CommittedMissing]);
    // Its own checksum tells of a changed byte, and then it says nothing of the log.
    let changed = fs::read_to_string(log.file(STATE)).unwrap().replace("\nclean 0", "\nclean 1");
    fs::write(log.file(STATE), changed).unwrap();
    let report = log.check();
    assert_eq!(kinds(&report), [Kind::StateGarbled]);
    assert!(damages(&report)[0].what.contains("its checksum is wrong"), "{}", damages(&report)[0].what);
    fs::write(log.file("metricstream.state"), "metricstream state 9").unwrap();
    assert_eq!(kinds(&log.check()), [Kind::StateGarbled]);
    fs::remove_file(log.file("metricstream.state")).unwrap();
    let report = log.check();
    assert_eq!((report.sound, report.findings.counts[&Kind::StateMissing]), (true, 1));
}

#[test]
fn a_log_full_of_damage_keeps_a_bounded_report() {
    let damaged: String = (0..3 * FINDINGS_MAX).map(|number| format!("{}x{number}\n", line(number))).collect();
    let (log, _) = Log::with(SegmentForm::Active, damaged.as_bytes());
    let report = log.check();
    assert_eq!(
        report.findings.kept.iter().filter(|finding| finding.kind == Kind::ForeignText).count() + 1,
        FINDINGS_MAX
    );
    assert_eq!(report.damages, 3 * FINDINGS_MAX as u64);
    assert_eq!(report.totals.lines, 3 * FINDINGS_MAX as u64);
}

#[test]
fn the_report_is_the_same_whatever_the_threads() {
    let (log, path) = Log::with(SegmentForm::Plain, &lines(FOUR_BLOCKS));
    log.add(SegmentForm::CompressedWithoutSidecar, 2, &with(b"foreign\n"));
    log.add(SegmentForm::PlainWithoutSidecar, 3, &with(b"foreign\n"));
    log.add(SegmentForm::Active, 0, &with(b"foreign\n"));
    let mut text = lines(FOUR_BLOCKS);
    (0..40).for_each(|index| text[index * 70_001 + 17] ^= 0x40);
    fs::write(path, text).unwrap();
    let findings = |threads| format!("{:?}", metricstream::verify::check(log.path(), threads).unwrap().findings);
    assert_eq!(findings(1), findings(7));
    assert_eq!(findings(1), findings(2));
}
