//! Shared parts of the fuzz targets: what a decoder of any protocol promises of its lines, owners of connections,
//! choices that follow from the input, and directories that live in memory.
//!
//! A target's input is a wire format as it is, so that a corpus holds real bodies and any finding can be sent to a
//! server. What else a target needs (where to cut, in which order) it draws from [`Choices`], which depend on nothing
//! but the input.

#[path = "../../crates/http1/tests/http/owner.rs"]
#[allow(dead_code, missing_docs)]
pub mod owner;

use http1::HttpContext;
use metric::{Bounds, DecodeError, Decoded, LineSink, Lines};
use owner::Owner;
use std::{cell::RefCell, fs, path::Path};
use tempfile::TempDir;

/// Time of arrival of every body, in epoch milliseconds.
pub const ARRIVAL_MS: i64 = 1_767_323_045_678;
/// Bounds of metrics: small, so that inputs exceed them.
pub const BOUNDS: Bounds = Bounds { batch_metrics_limit: 6, name_bytes_limit: 48, tags_limit: 14, tag_bytes_limit: 40 };
/// Bytes for the lines of one body: more than any body of libFuzzer's default length needs, mostly.
const LINES_BYTES: usize = 1 << 20;

thread_local! {
    static OUT: RefCell<Vec<u8>> = RefCell::new(vec![0; LINES_BYTES]);
    /// Cores of connections that have ended.
    static CORES: RefCell<Vec<HttpContext>> = const { RefCell::new(Vec::new()) };
}

/// A new connection and its owner, on a core that others were on: as on a server, and the decompressors of a core take
/// longer to make than most inputs to run.
#[must_use]
pub fn connection() -> Owner {
    CORES.with_borrow_mut(Vec::pop).map_or_else(Owner::new, Owner::with)
}

/// Ends a connection.
pub fn end(mut owner: Owner) {
    owner.connection.release(&mut owner.core);
    assert_eq!(owner.core.held_bytes(), 0, "what a connection has held is given back with it");
    CORES.with_borrow_mut(|cores| cores.push(owner.core));
}

/// The lines of a body and the counts of what became of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The lines.
    pub lines: Vec<u8>,
    /// The counts.
    pub decoded: Decoded,
}

/// Decodes a body and checks what every decoder promises. The error is why nothing of it may be stored.
pub fn decode(
    body: &[u8],
    decode: impl FnOnce(&mut LineSink<'_>) -> Result<(), DecodeError>,
) -> Result<Outcome, DecodeError> {
    OUT.with_borrow_mut(|out| {
        let mut sink = LineSink::new(out, ARRIVAL_MS);
        let result = decode(&mut sink);
        let decoded = sink.decoded();
        check(body, &out[..decoded.bytes], &decoded);
        if let Err(DecodeError::Malformed { byte, .. }) = result {
            assert!(byte <= body.len(), "the fault is at byte {byte} of {}", body.len());
        }
        result.map(|()| Outcome { lines: out[..decoded.bytes].to_vec(), decoded })
    })
}

/// Each line is one that the log's reader reads, within the bounds, and the counts are those of the lines.
fn check(body: &[u8], lines: &[u8], decoded: &Decoded) {
    let mut metrics = 0;
    for line in Lines::new(lines) {
        let line = line.unwrap_or_else(|error| panic!("{error}: {}", lines.escape_ascii()));
        metrics += 1;
        assert!(meant_bytes(line.name) <= BOUNDS.name_bytes_limit, "a name over its bound");
        let tags: Vec<_> = line.tags().collect();
        assert!(tags.len() <= BOUNDS.tags_limit, "{} tags", tags.len());
        for (index, (key, value)) in tags.iter().enumerate() {
            assert!(meant_bytes(key).max(meant_bytes(value)) <= BOUNDS.tag_bytes_limit, "a tag over its bound");
            assert!(!tags[..index].iter().any(|(other, _)| other == key), "the key {} twice", key.escape_ascii());
        }
    }
    assert_eq!(metrics, decoded.metrics, "lines and their count");
    assert!(decoded.far_from_now <= decoded.metrics);
    assert_eq!(decoded.rejected() > 0, decoded.first_rejected.is_some());
    if let Some(first) = decoded.first_rejected {
        assert!(decoded.rejected[first.reason as usize] > 0);
        assert!(first.len == 0 || first.element(body).is_some(), "the rejected element is not in the body");
    }
}

/// Bytes of a text of the log once its escapes are undone: all of them stand for one byte.
fn meant_bytes(spelled: &[u8]) -> usize {
    let (mut at, mut bytes) = (0, 0);
    while let Some(byte) = spelled.get(at) {
        at += match (byte, spelled.get(at + 1)) {
            (b'\\', Some(b'u')) => 6,
            (b'\\', _) => 2,
            _ => 1,
        };
        bytes += 1;
    }
    bytes
}

impl Outcome {
    /// Asserts that it is what `other` is twice: of a body that was sent twice in one.
    pub fn assert_twice(&self, other: &Self) {
        assert_eq!(self.lines, [&other.lines[..], &other.lines].concat(), "the lines of both halves");
        assert_eq!(self.decoded.rejected, other.decoded.rejected.map(|count| 2 * count));
        assert_eq!(self.decoded.skipped, other.decoded.skipped.map(|count| 2 * count));
    }
}

/// Choices that depend on the input alone: SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
/// Generators"), begun with a hash of it (FNV-1a).
pub struct Choices(u64);

impl Choices {
    /// Those of an input.
    #[must_use]
    pub fn of(input: &[u8]) -> Self {
        Self(
            input.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            }),
        )
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `limit`, or 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % limit.max(1) as u64).unwrap_or(0)
    }

    /// `bytes` cut at up to `cuts` places.
    pub fn pieces<'a>(&mut self, bytes: &'a [u8], cuts: usize) -> Vec<&'a [u8]> {
        let mut places: Vec<_> = (0..self.below(cuts + 1)).map(|_| self.below(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }
}

/// The parts of an input that a byte separates; the last has the rest.
pub fn parts<const N: usize>(input: &[u8], separator: u8) -> [&[u8]; N] {
    let mut parts = input.splitn(N, |&byte| byte == separator);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// An empty directory, in memory where the system has a place for that.
#[must_use]
pub fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory for temporary files")
}

/// Each file of a directory with its contents, in the order of their names.
#[must_use]
pub fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).expect("the directory is there");
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.expect("the directory can be read");
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            is_file.then(|| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        })
        .map(|(name, path)| (name, fs::read(path).expect("a file that was just listed")))
        .collect();
    files.sort();
    files
}
