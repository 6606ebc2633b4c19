use super::*;
use crate::limits::{BLOCK_NAMES_MAX, SEGMENT_NAMES_MAX};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A sidecar with frames, as a document, without its checksum.
fn document() -> (TempDir, Value) {
    let directory = directory(&[&scrapes()]);
    let sidecar = index(directory.path(), name(0), &RUNNING).unwrap();
    sidecar.write(directory.path(), name(0)).unwrap();
    compress(directory.path(), name(0), &sidecar, &RUNNING).unwrap();
    let text = fs::read(path(&directory, 0, SegmentFile::Sidecar)).unwrap();
    let mut document: Value = serde_json::from_slice(&text).unwrap();
    document.as_object_mut().unwrap().remove("self_crc32").unwrap();
    (directory, document)
}

fn read(directory: &TempDir, text: &[u8]) -> Result<Sidecar, SegmentError> {
    fs::write(path(directory, 0, SegmentFile::Sidecar), text).unwrap();
    Sidecar::read(directory.path(), name(0))
}

#[test]
fn an_inconsistent_sidecar_is_refused() {
    let (directory, document) = document();
    assert!(read(&directory, document.to_string().as_bytes()).is_ok());
    for (pointer, value, message) in [
        ("/format", json!(2), "its format is 2, not 1"),
        ("/bytes", json!(5), "its totals differ from the sums of its blocks"),
        ("/lines", json!(5), "its totals differ from the sums of its blocks"),
        ("/foreign_lines", json!(5), "its totals differ from the sums of its blocks"),
        ("/first_ms", json!(5), "its totals differ from the sums of its blocks"),
        ("/last_ms", json!(5), "its totals differ from the sums of its blocks"),
        ("/names", json!(["a"]), "block 0 is inconsistent"),
        ("/names", json!(null), "block 0 is inconsistent"),
        ("/blocks/1/offset", json!(0), "block 1 is inconsistent"),
        ("/blocks/0/bytes", json!(0), "block 0 is inconsistent"),
        ("/blocks/0/bytes", json!(1_u64 << 40), "block 0 is inconsistent"),
        ("/blocks/1/bytes", json!(u64::MAX), "block 1 is inconsistent"),
        ("/blocks/1/lines", json!(u64::MAX), "block 1 is inconsistent"),
        ("/blocks/1/foreign_lines", json!(u64::MAX), "block 1 is inconsistent"),
        ("/blocks/0/first_ms", json!(i64::MIN), "block 0 is inconsistent"),
        ("/blocks/0/last_ms", json!(253_402_300_800_000_i64), "block 0 is inconsistent"),
        ("/blocks/0/lines", json!(0), "block 0 is inconsistent"),
        ("/blocks/0/first_ms", json!(i64::MAX), "block 0 is inconsistent"),
        ("/blocks/0/names", json!([1, 0]), "block 0 is inconsistent"),
        ("/blocks/0/names", json!([0, 0]), "block 0 is inconsistent"),
        ("/blocks/1/frame/offset", json!(0), "block 1 is inconsistent"),
        ("/blocks/1/frame/bytes", json!(1_u64 << 60), "block 1 is inconsistent"),
        ("/blocks/0/frame", json!(null), "block 1 is inconsistent"),
        ("/blocks/1/frame", json!(null), "block 1 is inconsistent"),
    ] {
        let mut changed = document.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        let error = read(&directory, changed.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), message, "{pointer}");
    }
    for text in [&b""[..], b"{}", b"[]", b"\xff", document.to_string().trim_end_matches('}').as_bytes()] {
        assert!(matches!(read(&directory, text), Err(SegmentError::Malformed(_))));
    }
}

#[test]
fn a_name_that_the_log_cannot_have_is_refused() {
    let (directory, document) = document();
    let second = document.pointer("/names/1").unwrap().as_str().unwrap();
    for name in ["", "a\\qb", "a\\", "a\"b", "\\u0041", "a\nb", second] {
        let mut changed = document.clone();
        *changed.pointer_mut("/names/0").unwrap() = json!(name);
        let error = read(&directory, changed.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), format!("{name:?} is not a valid name, or is repeated"));
    }
}

/// Three bytes of a list of names can take 24 of memory, and one of a block's list four.
#[test]
fn longer_lists_than_there_can_be_are_not_read_to_their_end() {
    let (directory, document) = document();
    for (pointer, element, most) in
        [("/names", json!(""), SEGMENT_NAMES_MAX), ("/blocks/0/names", json!(7), BLOCK_NAMES_MAX)]
    {
        let mut changed = document.clone();
        *changed.pointer_mut(pointer).unwrap() = vec![element; most + 1].into();
        let error = read(&directory, changed.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains(&format!("expected null or at most {most} elements")), "{error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_sidecar_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let directory = directory(&[]);
        prop_assert!(matches!(read(&directory, &bytes), Err(SegmentError::Malformed(_))));
    }

    /// Without a checksum of itself, so that all changes reach the validation.
    #[test]
    fn a_changed_sidecar_is_consistent_or_an_error(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_usize), 1..4),
    ) {
        let directory = directory(&[line(5, "a", 120).repeat(3).as_bytes()]);
        let sidecar = index(directory.path(), name(0), &RUNNING).unwrap();
        let mut text = serde_json::to_vec(&sidecar).unwrap();
        for (at, byte, removed) in changes {
            let at = at.index(text.len());
            let end = text.len().min(at + removed);
            // Digits mostly: text that is not JSON is refused at once.
            text.splice(at..end, [if byte < 200 { b'0' + byte % 10 } else { byte }]);
        }
        if let Ok(read) = read(&directory, &text) {
            let bytes: u64 = read.blocks.iter().map(|block| block.bytes).sum();
            prop_assert!(bytes == read.bytes && read.lines + read.foreign_lines <= bytes);
            prop_assert!(read.names.iter().flatten().all(|name| metric::is_spelled(name.as_bytes())));
        }
    }
}

#[test]
fn it_is_that_of_the_files_beside_it_or_not() {
    let (directory, document) = document();
    let sidecar = read(&directory, document.to_string().as_bytes()).unwrap();
    let compressed = fs::metadata(path(&directory, 0, SegmentFile::Compressed)).unwrap().len();
    assert_eq!(sidecar.compressed_bytes(), Some(compressed));
    let (plain, other) = (Some(sidecar.bytes), Some(sidecar.bytes + 1));
    for (plain, compressed, fits) in [
        (plain, None, true),
        (plain, other, true),
        (other, None, false),
        (None, Some(compressed), true),
        (other, Some(compressed), false),
        (None, other, false),
        (None, None, false),
    ] {
        assert_eq!(sidecar.fits(plain, compressed), fits);
    }
}

#[test]
fn whoever_may_read_the_segment_may_read_what_is_made_of_it() {
    use std::os::unix::fs::PermissionsExt;
    let directory = directory(&[&scrapes()]);
    fs::set_permissions(path(&directory, 0, SegmentFile::Plain), fs::Permissions::from_mode(0o600)).unwrap();
    let sidecar = index(directory.path(), name(0), &RUNNING).unwrap();
    sidecar.write(directory.path(), name(0)).unwrap();
    compress(directory.path(), name(0), &sidecar, &RUNNING).unwrap();
    for file in [SegmentFile::Compressed, SegmentFile::Sidecar] {
        assert_eq!(fs::metadata(path(&directory, 0, file)).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn no_flipped_bit_in_it_goes_unnoticed() {
    let directory = directory(&[&scrapes()]);
    index(directory.path(), name(0), &RUNNING).unwrap().write(directory.path(), name(0)).unwrap();
    let path = path(&directory, 0, SegmentFile::Sidecar);
    let written = fs::read(&path).unwrap();
    assert!(Sidecar::read(directory.path(), name(0)).is_ok());
    // Each byte of its beginning and of its end, and some between.
    let ends = (0..200).chain(written.len() - 200..written.len());
    for at in ends.chain((200..written.len()).step_by(97)) {
        let mut flipped = written.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        let read = Sidecar::read(directory.path(), name(0));
        assert!(matches!(read, Err(SegmentError::Malformed(_))), "{at}");
    }
}
