//! Why something could not be done with a segment.

use std::{fmt, io};

/// Why a segment or its sidecar could not be read, made or replaced. The text is one line; it does not name the file.
#[derive(Debug)]
pub enum SegmentError {
    /// The system's doing: no room, no permission, a bad disk, a file that is gone. Trying again later may help.
    Io(io::Error),
    /// The bytes are not what they should be. Trying again does not help.
    Malformed(String),
    /// The caller's stop flag was raised, and nothing was changed.
    Stopped,
}

impl SegmentError {
    /// Whether the file is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the disk is full, or what may be written of it.
    #[must_use]
    pub fn is_no_room(&self) -> bool {
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

/// `Malformed`, unless `holds`.
pub(super) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), SegmentError> {
    if holds { Ok(()) } else { Err(SegmentError::Malformed(otherwise())) }
}
