use super::*;
use std::time::Duration;

/// A catalog of segments that were sealed a minute apart, of these bytes.
fn catalog(active_bytes: Option<u64>, segments: &[u64]) -> Catalog {
    let segments = (0..).zip(segments).map(|(number, &bytes)| Segment {
        name: name(60_000 * number),
        plain: Some(bytes / 2),
        compressed: None,
        sidecar: Some(bytes - bytes / 2),
    });
    Catalog { active_bytes, segments: segments.collect(), ..Catalog::default() }
}

#[test]
fn the_oldest_go_until_the_rest_fits() {
    let segments = [100, 1, 50, 25];
    for (bytes_limit, active_bytes, gone) in [
        (None, Some(u64::MAX / 2), 0),
        (Some(u64::MAX), Some(24), 0),
        (Some(200), Some(24), 0),
        (Some(199), Some(24), 1),
        (Some(100), Some(24), 1),
        (Some(99), Some(24), 2),
        (Some(99), None, 1),
        (Some(49), Some(24), 3),
        (Some(48), Some(24), 4),
        (Some(1), Some(24), 4),
        (Some(0), None, 4),
    ] {
        let retention = Retention { bytes_limit, age_limit: None };
        let catalog = catalog(active_bytes, &segments);
        assert_eq!(retention.overdue(&catalog, |_| 0), catalog.segments[..gone], "{bytes_limit:?} {active_bytes:?}");
    }
    assert_eq!(Retention { bytes_limit: Some(0), age_limit: None }.overdue(&catalog(Some(9), &[]), |_| 0), []);
}

#[test]
fn the_aged_go() {
    let catalog = catalog(Some(1), &[1, 1, 1]);
    for (age_s, since_first_s, gone) in [
        (60, -1_000_000_000, 0),
        (60, 60, 0),
        (60, 61, 1),
        (60, 120, 1),
        (60, 181, 3),
        (0, 0, 0),
        (0, 121, 3),
        (u64::MAX, 1_000_000_000, 0),
    ] {
        let retention = Retention { bytes_limit: None, age_limit: Some(Duration::from_secs(age_s)) };
        let now_ms = SEALED_MS + 1_000 * since_first_s;
        let age_ms = |segment: &Segment| now_ms - segment.name.sealed_ms();
        assert_eq!(retention.overdue(&catalog, age_ms).len(), gone, "{age_s} s, {since_first_s} s");
        // The stricter of the two limits counts.
        let both = Retention { bytes_limit: Some(3), ..retention };
        assert_eq!(both.overdue(&catalog, age_ms).len(), gone.max(1));
    }
}

#[test]
fn one_that_stays_keeps_no_other() {
    let catalog = catalog(None, &[1, 1, 1]);
    let retention = Retention { bytes_limit: None, age_limit: Some(Duration::from_secs(1)) };
    let overdue = retention.overdue(&catalog, |segment| if segment.name == name(60_000) { 0 } else { 2_000 });
    assert_eq!(overdue, [catalog.segments[0], catalog.segments[2]]);
}

#[test]
fn a_segment_goes_with_all_its_files_and_no_others() {
    let directory = directory(&[b"a", b"b"]);
    for file in [SegmentFile::Compressed, SegmentFile::Sidecar] {
        fs::write(path(&directory, 0, file), "c").unwrap();
    }
    let mut expected = files(directory.path());
    expected.retain(|file, _| SegmentName::parse(file).unwrap().0 == name(1));
    retire(directory.path(), name(0)).unwrap();
    assert_eq!(files(directory.path()), expected);
    retire(directory.path(), name(0)).unwrap();
    // A directory in a file's place cannot be deleted.
    fs::create_dir(path(&directory, 0, SegmentFile::Plain)).unwrap();
    assert!(retire(directory.path(), name(0)).is_err());
}
