//! What a data directory has: the active segment, the sealed ones in their order, and what else of ours lies about.

use super::draft::is_draft;
use super::{ACTIVE_NAME, SegmentFile, SegmentName};
use std::{collections::BTreeMap, fs, io, path::Path};

/// The files of a data directory, as they were when it was listed. Files that are none of a log's are not in it; nor is anything
/// that is not a regular file.
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
        let bytes = |file| match fs::symlink_metadata(directory.join(name.file(file))) {
            Ok(metadata) => Ok(Some(metadata.len()).filter(|_| metadata.is_file())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let plain = bytes(SegmentFile::Plain)?;
        let compressed = bytes(SegmentFile::Compressed)?;
        let segment = Self { name, plain, compressed, sidecar: bytes(SegmentFile::Sidecar)? };
        Ok(Some(segment).filter(|segment| segment.plain.or(segment.compressed).is_some()))
    }

    /// Bytes of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        [self.plain, self.compressed, self.sidecar].into_iter().flatten().sum()
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
    /// Lists `directory`. What comes or goes meanwhile may be in it or not, each file for itself.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn list(directory: &Path) -> io::Result<Self> {
        let mut catalog = Self::default();
        let mut segments = BTreeMap::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            let Ok(file_name) = entry.file_name().into_string() else { continue };
            let bytes = match entry.metadata() {
                Ok(metadata) if metadata.is_file() => metadata.len(),
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let Some((name, file)) = SegmentName::parse(&file_name) {
                let segment =
                    segments.entry(name).or_insert(Segment { name, plain: None, compressed: None, sidecar: None });
                match file {
                    SegmentFile::Plain => segment.plain = Some(bytes),
                    SegmentFile::Compressed => segment.compressed = Some(bytes),
                    SegmentFile::Sidecar => segment.sidecar = Some(bytes),
                }
            } else if file_name == ACTIVE_NAME {
                catalog.active_bytes = Some(bytes);
            } else if is_draft(&file_name) {
                catalog.leftovers.push(OtherFile { file_name, bytes });
            } else if file_name.starts_with("torn-") && file_name.ends_with(".bin") {
                catalog.set_aside.push(OtherFile { file_name, bytes });
            }
        }
        for segment in segments.into_values() {
            match segment {
                Segment { name, plain: None, compressed: None, sidecar } => catalog
                    .leftovers
                    .push(OtherFile { file_name: name.file(SegmentFile::Sidecar), bytes: sidecar.unwrap_or(0) }),
                segment => catalog.segments.push(segment),
            }
        }
        catalog.set_aside.sort_unstable_by(|a, b| a.file_name.cmp(&b.file_name));
        catalog.leftovers.sort_unstable_by(|a, b| a.file_name.cmp(&b.file_name));
        Ok(catalog)
    }

    /// Bytes of all sealed segments.
    #[must_use]
    pub fn sealed_bytes(&self) -> u64 {
        self.segments.iter().map(Segment::bytes).sum()
    }

    /// The newest sealed segment.
    #[must_use]
    pub fn newest(&self) -> Option<SegmentName> {
        self.segments.last().map(|segment| segment.name)
    }
}
