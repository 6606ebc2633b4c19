use super::*;
use std::thread;

/// Number of segments: a directory of so many files is read in several pieces, between which a compression may happen.
const SEGMENTS: i64 = 2_000;

#[test]
fn a_segment_that_is_compressed_meanwhile_is_not_missed() {
    let directory = TempDir::new().unwrap();
    for number in 0..SEGMENTS {
        fs::write(path(&directory, number, SegmentFile::Plain), "x").unwrap();
    }
    thread::scope(|scope| {
        let compression = scope.spawn(|| {
            for number in (0..SEGMENTS).rev() {
                fs::write(path(&directory, number, SegmentFile::Compressed), "y").unwrap();
                fs::remove_file(path(&directory, number, SegmentFile::Plain)).unwrap();
            }
        });
        let mut listings = 0;
        while !compression.is_finished() || listings == 0 {
            let catalog = Catalog::list(directory.path()).unwrap();
            let numbers = catalog.segments.iter().map(|segment| segment.name);
            assert!(numbers.eq((0..SEGMENTS).map(name)), "listing {listings} has {}", catalog.segments.len());
            assert!(catalog.leftovers.is_empty());
            listings += 1;
        }
        compression.join().unwrap();
    });
}
