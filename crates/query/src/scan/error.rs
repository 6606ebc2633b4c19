//! Why a scan ended before its end.

use log::segment::SegmentError;
use std::{fmt, io};

/// Stop of a scan by its visitor. The text says why, for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop(pub String);

/// Reason for which a scan or a snapshot failed. The text is one line.
#[derive(Debug)]
pub enum ScanError {
    /// The deadline has passed.
    Deadline,
    /// The scan was cancelled.
    Cancelled,
    /// There would be more bytes to look at than may be.
    BytesBound {
        /// Largest permitted number of bytes.
        bound: u64,
    },
    /// A visitor has stopped it.
    Stopped(Stop),
    /// A segment is not as it was when it was sealed.
    Damaged {
        /// The file's name.
        segment: String,
        /// Description of the damage.
        what: String,
    },
    /// A file or the directory cannot be read.
    Io {
        /// Name of the file or directory.
        file: String,
        /// Error of the operating system.
        error: io::Error,
    },
    /// Segments come and go so fast, or in such a way, that no moment could be held.
    Unsettled,
}

impl ScanError {
    pub(super) fn io(file: &str, error: io::Error) -> Self {
        Self::segment(file, error.into())
    }

    /// Converts the error of a segment. Only the scan itself stops a scan, so [`SegmentError::Stopped`] does not occur
    /// here.
    pub(super) fn segment(file: &str, error: SegmentError) -> Self {
        let file = file.to_owned();
        match error {
            SegmentError::Io(error) => Self::Io { file, error },
            SegmentError::Malformed(what) => Self::Damaged { segment: file, what },
            SegmentError::Stopped => Self::Cancelled,
        }
    }

    pub(super) fn damaged(file: &str, what: impl Into<String>) -> Self {
        Self::Damaged { segment: file.to_owned(), what: what.into() }
    }
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline => f.write_str("timed out"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::BytesBound { bound } => write!(f, "the query would scan more than {bound} bytes of the log"),
            Self::Stopped(Stop(why)) => f.write_str(why),
            Self::Damaged { segment, what } => {
                write!(f, "{segment} is damaged: {what}; `metricstream verify` shows details")
            }
            Self::Io { file, error } => write!(f, "cannot read {file}: {error}"),
            Self::Unsettled => f.write_str(
                "the files of the log changed during every attempt to list them, or the active segment is not in its directory",
            ),
        }
    }
}

impl std::error::Error for ScanError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<Stop> for ScanError {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}
