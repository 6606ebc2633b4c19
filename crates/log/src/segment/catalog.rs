//! The catalog of a data directory: the active segment, the sealed ones in their order, and the other files of the log.

use super::draft::is_draft;
use super::{ACTIVE_NAME, SegmentFile, SegmentName};
use host::fs::{self, Metadata};
use std::{collections::BTreeSet, io, path::Path};

/// The files of a data directory, as they were when it was listed. Foreign files are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Bytes of the active segment, if there is one.
    pub active_bytes: Option<u64>,
    /// The sealed segments, the oldest first.
    pub segments: Vec<Segment>,
    /// Files with bytes that recovery has cut off the log: `torn-….bin`, by name.
    pub set_aside: Vec<OtherFile>,
    /// Files that interrupted work has left, by name: drafts, and sidecars without a segment. They can be removed.
    pub leftovers: Vec<OtherFile>,
    /// Directories, pipes, sockets, devices and symbolic links with the name of a segment's file or of the active
    /// segment (which may be a symbolic link to a regular file): they are never read. By name.
    pub not_files: Vec<String>,
}

/// A sealed segment: its existing files, and their bytes. At least one of plain and compressed exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Name of the segment.
    pub name: SegmentName,
    /// Bytes of the plain file. Where both files exist the compression was interrupted, and this one is to be read.
    pub plain: Option<u64>,
    /// Bytes of the compressed file.
    pub compressed: Option<u64>,
    /// Bytes of the sidecar.
    pub sidecar: Option<u64>,
}

impl Segment {
    /// Finds the files of one segment. `None`: neither the plain nor the compressed file exists.
    ///
    /// # Errors
    /// A file's metadata cannot be read.
    pub fn find(directory: &Path, name: SegmentName) -> io::Result<Option<Self>> {
        Ok(Some(Self::look_up(directory, name, &mut Vec::new())?).filter(Self::has_lines))
    }

    fn look_up(directory: &Path, name: SegmentName, not_files: &mut Vec<String>) -> io::Result<Self> {
        let mut bytes = |file| match found(fs::symlink_metadata(directory.join(name.file(file))))? {
            FileKind::File(bytes) => Ok(Some(bytes)),
            FileKind::Nothing => Ok(None),
            FileKind::Other => {
                not_files.push(name.file(file));
                io::Result::Ok(None)
            }
        };
        // In this order: a segment that is being compressed has one of them, or both.
        let plain = bytes(SegmentFile::Plain)?;
        let compressed = bytes(SegmentFile::Compressed)?;
        Ok(Self { name, plain, compressed, sidecar: bytes(SegmentFile::Sidecar)? })
    }

    fn has_lines(&self) -> bool {
        self.plain.or(self.compressed).is_some()
    }

    /// Bytes of all files of the segment.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        // The apparent sizes of sparse files can overflow the sum.
        [self.plain, self.compressed, self.sidecar].into_iter().flatten().fold(0, u64::saturating_add)
    }
}

/// The kind of file that has a name.
enum FileKind {
    /// A regular file of so many bytes.
    File(u64),
    /// Something else.
    Other,
    Nothing,
}

fn found(metadata: io::Result<Metadata>) -> io::Result<FileKind> {
    match metadata {
        Ok(metadata) if metadata.is_file() => Ok(FileKind::File(metadata.len())),
        Ok(_) => Ok(FileKind::Other),
        // A link to itself.
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(FileKind::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FileKind::Nothing),
        Err(error) => Err(error),
    }
}

/// A file beside the segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherFile {
    /// Name in the directory.
    pub file_name: String,
    /// Size in bytes.
    pub bytes: u64,
}

impl Catalog {
    /// Lists `directory`: the segments that existed when this began and still do, and perhaps some that were sealed
    /// meanwhile.
    ///
    /// A directory is not listed atomically: of a segment that is compressed meanwhile the plain file may be removed
    /// before the listing reaches it, and the compressed one be created behind it. That happens to each segment only
    /// once, so two listings do not both miss it. The files of each segment are then looked up by name.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(directory: &Path) -> io::Result<Self> {
        let mut catalog = Self::default();
        let mut names = BTreeSet::new();
        for _ in 0..2 {
            catalog = Self::default();
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                // A name that is not UTF-8 is foreign.
                let Ok(file_name) = entry.file_name().into_string() else { continue };
                if let Some((name, _)) = SegmentName::parse(&file_name) {
                    names.insert(name);
                    continue;
                }
                if file_name == ACTIVE_NAME {
                    match found(fs::metadata(entry.path()))? {
                        FileKind::File(bytes) => catalog.active_bytes = Some(bytes),
                        FileKind::Other => catalog.not_files.push(file_name),
                        FileKind::Nothing => {}
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
                if let FileKind::File(bytes) = found(fs::symlink_metadata(entry.path()))? {
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
