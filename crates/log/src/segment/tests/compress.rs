use super::*;

fn compressed(log: &[u8]) -> (TempDir, Sidecar) {
    let directory = directory(&[log]);
    let sidecar = index(directory.path(), name(0), &RUNNING).unwrap();
    sidecar.write(directory.path(), name(0)).unwrap();
    compress(directory.path(), name(0), &sidecar, &RUNNING).unwrap();
    let sidecar = Sidecar::read(directory.path(), name(0)).unwrap();
    (directory, sidecar)
}

#[test]
fn it_is_the_segment_whole_and_block_by_block() {
    let long = line(0, "long", 3 << 20);
    let log = [scrapes(), long.into_bytes(), scrapes()].concat();
    let (directory, sidecar) = compressed(&log);
    let names: Vec<_> = files(directory.path()).into_keys().collect();
    assert_eq!(names, [SegmentFile::Sidecar, SegmentFile::Compressed].map(|file| name(0).file(file)));
    let file = fs::read(path(&directory, 0, SegmentFile::Compressed)).unwrap();
    assert!(zstd::stream::decode_all(&file[..]).unwrap() == log);
    assert!(file.len() * 10 < log.len(), "{} bytes", file.len());
    let mut reader = BlockReader::open(directory.path(), name(0)).unwrap();
    assert!(reader.is_compressed());
    let mut lines = Vec::new();
    for block in sidecar.blocks.iter().rev() {
        reader.read(block, &mut lines).unwrap();
        let (offset, bytes) = (usize::try_from(block.offset).unwrap(), usize::try_from(block.bytes).unwrap());
        assert!(lines == log[offset..][..bytes]);
        // Each frame by itself, with its length and its checksum in it.
        let frame = block.frame.unwrap();
        let frame = &file[usize::try_from(frame.offset).unwrap()..][..usize::try_from(frame.bytes).unwrap()];
        assert_eq!(zstd::zstd_safe::get_frame_content_size(frame).unwrap(), Some(block.bytes));
        assert_eq!(frame[4] & 0b100, 0b100, "Content_Checksum_flag (RFC 8878, 3.1.1.1.1)");
    }
}

#[test]
fn a_sidecar_can_be_made_of_it_again() {
    let (directory, sidecar) = compressed(&[scrapes(), scrapes()].concat());
    assert_eq!(index(directory.path(), name(0), &RUNNING).unwrap(), sidecar);
    assert!(matches!(index(directory.path(), name(0), &STOPPED), Err(SegmentError::Stopped)));
    let compressed = path(&directory, 0, SegmentFile::Compressed);
    let whole = fs::read(&compressed).unwrap();
    let flipped = |byte: usize| {
        let mut file = whole.clone();
        file[byte] ^= 0x10;
        file
    };
    for (damage, file) in [
        ("cut", whole[..whole.len() - 1].to_vec()),
        ("flipped first", flipped(0)),
        ("flipped in the middle", flipped(whole.len() / 2)),
        ("flipped last", flipped(whole.len() - 1)),
        ("somebody's, of half a line", zstd::encode_all(&b"{"[..], 1).unwrap()),
    ] {
        fs::write(&compressed, file).unwrap();
        assert!(matches!(index(directory.path(), name(0), &RUNNING), Err(SegmentError::Malformed(_))), "{damage}");
    }
}

#[test]
fn the_plain_one_stays_if_anything_is_wrong() {
    let log = scrapes();
    let directory = directory(&[&log]);
    let sidecar = index(directory.path(), name(0), &RUNNING).unwrap();
    let plain = path(&directory, 0, SegmentFile::Plain);
    let failed = |sidecar: &Sidecar, stop: &AtomicBool, message: &str| {
        let before = files(directory.path());
        assert_eq!(compress(directory.path(), name(0), sidecar, stop).unwrap_err().to_string(), message);
        assert!(files(directory.path()) == before, "{message}");
    };
    failed(&sidecar, &STOPPED, "stopped");
    let mut flipped = log.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&plain, flipped).unwrap();
    let last = sidecar.blocks.last().unwrap();
    let message = format!("the checksum of the {} bytes of lines from byte {} is wrong", last.bytes, last.offset);
    failed(&sidecar, &RUNNING, &message);
    fs::write(&plain, &log[1..]).unwrap();
    failed(&sidecar, &RUNNING, &format!("its sidecar describes {} bytes, not {}", log.len(), log.len() - 1));
    fs::write(&plain, &log).unwrap();
    // Writing to it fails as on a full disk.
    let draft = directory.path().join(name(0).file(SegmentFile::Compressed) + ".tmp");
    FULL_FOR.set(Some(".zst"));
    let error = compress(directory.path(), name(0), &sidecar, &RUNNING).unwrap_err();
    assert!(error.is_out_of_space() && fs::read(&plain).unwrap() == log && !draft.exists());
}

#[test]
fn a_damaged_frame_is_told_from_a_whole_one() {
    let (directory, sidecar) = compressed(&scrapes());
    let compressed = path(&directory, 0, SegmentFile::Compressed);
    let whole = fs::read(&compressed).unwrap();
    let second = usize::try_from(sidecar.blocks[1].frame.unwrap().offset).unwrap();
    for byte in [second, second + 100, whole.len() - 1] {
        let mut file = whole.clone();
        file[byte] ^= 1;
        fs::write(&compressed, file).unwrap();
        let mut reader = BlockReader::open(directory.path(), name(0)).unwrap();
        let mut lines = Vec::new();
        reader.read(&sidecar.blocks[0], &mut lines).unwrap();
        assert!(matches!(reader.read(&sidecar.blocks[1], &mut lines), Err(SegmentError::Malformed(_))), "{byte}");
    }
}
