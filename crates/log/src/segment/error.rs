//! Errors of operations on segments.

use std::{fmt, io};

/// The reason why a segment or its sidecar could not be read, made or replaced. The text is one line; it does not name
/// the file.
#[derive(Debug)]
pub enum SegmentError {
    /// An error of the system: no space, no permission, a bad disk, a missing file. A retry may succeed.
    Io(io::Error),
    /// The bytes are not what they should be. A retry cannot succeed.
    Malformed(String),
    /// The caller's stop flag was set, and the operation ended early. The plain file is unchanged.
    Stopped,
}

impl SegmentError {
    /// True if the file does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// True if the disk is full, or a limit of quota or file size is reached.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self, Self::Io(error) if matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge))
    }
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Malformed(what) => f.write_str(what),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for SegmentError {}

impl From<io::Error> for SegmentError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Malformed("the file ends too early".into()),
            _ => Self::Io(error),
        }
    }
}

/// Returns `Malformed`, unless `holds`.
pub(super) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), SegmentError> {
    if holds { Ok(()) } else { Err(SegmentError::Malformed(otherwise())) }
}
