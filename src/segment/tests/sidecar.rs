use super::*;
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
        ("/bytes", json!(5), "its blocks do not add up to it"),
        ("/lines", json!(5), "its blocks do not add up to it"),
        ("/foreign_lines", json!(5), "its blocks do not add up to it"),
        ("/first_ms", json!(5), "its blocks do not add up to it"),
        ("/last_ms", json!(5), "its blocks do not add up to it"),
        ("/names", json!(["a"]), "block 0 is inconsistent"),
        ("/names", json!(null), "block 0 is inconsistent"),
        ("/blocks/1/offset", json!(0), "block 1 is inconsistent"),
        ("/blocks/0/bytes", json!(0), "block 0 is inconsistent"),
        ("/blocks/0/bytes", json!(u64::MAX), "block 1 is inconsistent"),
        ("/blocks/1/bytes", json!(u64::MAX), "block 1 overflows"),
        ("/blocks/1/lines", json!(u64::MAX), "block 1 overflows"),
        ("/blocks/0/lines", json!(0), "block 0 is inconsistent"),
        ("/blocks/0/first_ms", json!(i64::MAX), "block 0 is inconsistent"),
        ("/blocks/0/names", json!([1, 0]), "block 0 is inconsistent"),
        ("/blocks/0/names", json!([0, 0]), "block 0 is inconsistent"),
        ("/blocks/1/frame/offset", json!(0), "block 1 is inconsistent"),
        ("/blocks/1/frame/bytes", json!(u64::MAX), "block 1 overflows"),
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
