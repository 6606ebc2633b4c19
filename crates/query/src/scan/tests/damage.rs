//! Segments that were damaged, or go away.

use super::{naive::read, *};

fn lines() -> Vec<u8> {
    (0..20_000).map(|number| line(START_MS + number, "cpu", 7, "{\"host\":\"a\"}")).collect::<String>().into_bytes()
}

#[test]
fn a_flipped_bit_is_an_error_that_names_the_segment() {
    let lines = lines();
    for (lies, form) in [
        (Lies::Indexed, SegmentFile::Plain),
        (Lies::Compressed, SegmentFile::Compressed),
        (Lies::CompressedWithoutSidecar, SegmentFile::Compressed),
    ] {
        let directory = directory(&[(lines.clone(), lies)], None);
        let path = path(directory.path(), 0, form);
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 30) {
            let mut damaged = whole.clone();
            damaged[at] ^= 4;
            fs::write(&path, &damaged).unwrap();
            let result = scanned(&Source::directory(directory.path()), &all(), 2);
            let error = result.map(|(seen, _)| seen.len()).expect_err("a bit is flipped").to_string();
            assert!(error.contains(&name(0).file(form)), "{error}");
        }
    }
}

#[test]
fn a_segment_that_was_cut_off_is_an_error() {
    let lines = lines();
    for (lies, form) in [
        (Lies::Indexed, SegmentFile::Plain),
        (Lies::Compressed, SegmentFile::Compressed),
        (Lies::CompressedWithoutSidecar, SegmentFile::Compressed),
    ] {
        let directory = directory(&[(lines.clone(), lies)], None);
        let path = path(directory.path(), 0, form);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let result = scanned(&Source::directory(directory.path()), &all(), 2);
        let error = result.map(|(seen, _)| seen.len()).expect_err("it was cut off").to_string();
        assert!(error.contains(&name(0).file(form)), "{error}");
    }
}

#[test]
fn without_a_sidecar_that_can_be_used_it_is_only_slower() {
    let lines = lines();
    for lies in [Lies::Indexed, Lies::Compressed] {
        let directory = directory(&[(lines.clone(), lies)], None);
        let path = path(directory.path(), 0, SegmentFile::Sidecar);
        let whole = fs::read(&path).unwrap();
        let other_format = String::from_utf8(whole.clone()).unwrap().replacen("\"format\":1", "\"format\":9", 1);
        for damaged in [&whole[..9], b"", b"{}", other_format.as_bytes()] {
            fs::write(&path, damaged).unwrap();
            let (seen, _) = scan_all(directory.path(), &all());
            assert_same(&seen, &read(directory.path(), &all()));
            assert_eq!(seen.len(), 20_000);
        }
    }
}

#[test]
fn what_is_retired_before_it_is_opened_is_left_out_and_said() {
    let line = line(START_MS, "cpu", 1, "{}");
    let directory = directory(&[(line.clone().into_bytes(), Lies::Indexed), (line.into_bytes(), Lies::Plain)], None);
    let snapshot = Source::directory(directory.path()).snapshot().unwrap();
    log::segment::retire(directory.path(), name(0)).unwrap();
    let (visitors, scanned) = scan(&snapshot, &all(), &budget(1), |_| Collector::default()).unwrap();
    assert_eq!((visitors[0].0.len(), scanned.gone_segments), (1, 1));
}

#[test]
fn what_is_compressed_before_it_is_opened_is_read_all_the_same() {
    let lines = lines();
    let directory = directory(&[(lines.clone(), Lies::Plain)], None);
    let snapshot = Source::directory(directory.path()).snapshot().unwrap();
    let before = read(directory.path(), &all());
    lay(directory.path(), 0, &lines, Lies::Compressed);
    assert!(!path(directory.path(), 0, SegmentFile::Plain).exists());
    let (visitors, _) = scan(&snapshot, &all(), &budget(1), |_| Collector::default()).unwrap();
    assert_same(&visitors[0].0, &before);
}

#[test]
fn an_active_segment_that_was_cut_off_by_hand_is_an_error() {
    let directory = directory(&[], Some(&lines()));
    let snapshot = Source::directory(directory.path()).snapshot().unwrap();
    fs::write(directory.path().join(ACTIVE_NAME), b"").unwrap();
    let error = scan(&snapshot, &all(), &budget(2), |_| Collector::default()).map(|_| ()).unwrap_err();
    assert!(matches!(&error, ScanError::Damaged { segment, .. } if segment == ACTIVE_NAME), "{error}");
}
