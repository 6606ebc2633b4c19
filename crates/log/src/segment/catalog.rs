//! What a data directory has: the active segment, the sealed ones in their order, and what else of ours lies about.

use super::draft::is_draft;
use super::{ACTIVE_NAME, SegmentFile, SegmentName};
use std::{
    collections::BTreeSet,
    fs::{self, Metadata},
    io,
    path::Path,
};

/// The files of a data directory, as they were when it was listed. Files that are none of a log's are not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Bytes of the active segment, if there is one.
    pub active_bytes: Option<u64>,
    /// The sealed segments, the oldest first.
    pub segments: Vec<Segment>,
    /// What recovery has cut off the log: `torn-….bin`, by name.
    pub set_aside: Vec<OtherFile>,
    /// What interrupted work has left, by name: drafts, and sidecars whose segment is gone. Worth nothing.
    pub leftovers: Vec<OtherFile>,
    /// Directories, pipes, sockets, devices and symbolic links with the name of a segment's file or of the active
    /// segment (which may be a symbolic link to a regular file): nothing of them is ever read. By name.
    pub not_files: Vec<String>,
}

/// A sealed segment: which of its files there are, and their bytes. At least one of plain and compressed is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its name.
    pub name: SegmentName,
    /// The lines. Where both are there the compression was interrupted, and this one is to be read.
    pub plain: Option<u64>,
    /// The lines, compressed.
    pub compressed: Option<u64>,
    /// The sidecar.
    pub sidecar: Option<u64>,
}

impl Segment {
    /// Looks for the files of one segment. `None`: its lines are not there.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn find(directory: &Path, name: SegmentName) -> io::Result<Option<Self>> {
        Ok(Some(Self::look_up(directory, name, &mut Vec::new())?).filter(Self::has_lines))
    }

    fn look_up(directory: &Path, name: SegmentName, not_files: &mut Vec<String>) -> io::Result<Self> {
        let mut bytes = |file| match found(fs::symlink_metadata(directory.join(name.file(file))))? {
            Found::File(bytes) => Ok(Some(bytes)),
            Found::Nothing => Ok(None),
            Found::Other => {
                not_files.push(name.file(file));
                io::Result::Ok(None)
            }
        };
        // In this order: a segment that is being compressed has the one or the other, or both.
        let plain = bytes(SegmentFile::Plain)?;
        let compressed = bytes(SegmentFile::Compressed)?;
        Ok(Self { name, plain, compressed, sidecar: bytes(SegmentFile::Sidecar)? })
    }

    fn has_lines(&self) -> bool {
        self.plain.or(self.compressed).is_some()
    }

    /// Bytes of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        // Files full of holes can have so many that they do not add up.
        [self.plain, self.compressed, self.sidecar].into_iter().flatten().fold(0, u64::saturating_add)
    }
}

/// What there is under a name.
enum Found {
    /// A regular file of so many bytes.
    File(u64),
    /// Something else.
    Other,
    Nothing,
}

fn found(metadata: io::Result<Metadata>) -> io::Result<Found> {
    match metadata {
        Ok(metadata) if metadata.is_file() => Ok(Found::File(metadata.len())),
        Ok(_) => Ok(Found::Other),
        // A link to itself.
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(Found::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

/// A file beside the segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherFile {
    /// Its name in the directory.
    pub file_name: String,
    /// Its bytes.
    pub bytes: u64,
}

impl Catalog {
    /// Lists `directory`: the segments that were there when this began and are still, and perhaps some that came meanwhile.
    ///
    /// A directory is not listed in one moment: of a segment that is compressed meanwhile the plain file may be gone before it is
    /// come to, and the compressed one come after it was passed. But that happens to each only once, so two listings do not both
    /// miss it. What its files are is looked up by its name then.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn list(directory: &Path) -> io::Result<Self> {
        let mut catalog = Self::default();
        let mut names = BTreeSet::new();
        for _ in 0..2 {
            catalog = Self::default();
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                // A name that is not UTF-8 is none of ours.
                let Ok(file_name) = entry.file_name().into_string() else { continue };
                if let Some((name, _)) = SegmentName::parse(&file_name) {
                    names.insert(name);
                    continue;
                }
                if file_name == ACTIVE_NAME {
                    match found(fs::metadata(entry.path()))? {
                        Found::File(bytes) => catalog.active_bytes = Some(bytes),
                        Found::Other => catalog.not_files.push(file_name),
                        Found::Nothing => {}
                    }
                    continue;
                }
                let list = if is_draft(&file_name) {
                    &mut catalog.leftovers
                } else if file_name.starts_with("torn-") && file_name.ends_with(".bin") {
                    &mut catalog.set_aside
                } else {
                    continue;
                };
                if let Found::File(bytes) = found(fs::symlink_metadata(entry.path()))? {
                    list.push(OtherFile { file_name, bytes });
                }
            }
        }
        for name in names {
            let segment = Segment::look_up(directory, name, &mut catalog.not_files)?;
            if segment.has_lines() {
                catalog.segments.push(segment);
            } else if let Some(bytes) = segment.sidecar {
                catalog.leftovers.push(OtherFile { file_name: name.file(SegmentFile::Sidecar), bytes });
            }
        }
        catalog.set_aside.sort_unstable_by(|a, b| a.file_name.cmp(&b.file_name));
        catalog.leftovers.sort_unstable_by(|a, b| a.file_name.cmp(&b.file_name));
        catalog.not_files.sort_unstable();
        Ok(catalog)
    }

    /// Bytes of all sealed segments.
    #[must_use]
    pub fn sealed_bytes(&self) -> u64 {
        self.segments.iter().map(Segment::bytes).fold(0, u64::saturating_add)
    }

    /// The newest sealed segment.
    #[must_use]
    pub fn newest(&self) -> Option<SegmentName> {
        self.segments.last().map(|segment| segment.name)
    }
}
