//! Reading the log by position, from any segment to the end of what is written, and on as it grows.
//!
//! Promises: what is read are whole lines, each once and in the order of the log, and never bytes that the writer has
//! not published as written. A position that cannot be found for certain is an error, never another place. Holds one
//! descriptor, and at most one block or one line of memory beside what it appends.

use crate::{
    Boot, LogStatus, Published, STATE_NAME,
    limits::{FOLLOW_TRIES_MAX, LINE_BYTES_MAX},
    position::{LogPosition, SegmentId},
    read_state,
    segment::{
        ACTIVE_NAME, BlockReader, Catalog, Segment, SegmentError, SegmentFile, SegmentName, Sidecar, newest_retired,
        open_regular,
    },
    whole_bytes,
};
use host::{
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
    thread,
};
use memchr::{memchr, memrchr};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The place at which reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The oldest line that is kept.
    Oldest,
    /// The end of what is written now.
    End,
    /// A position.
    At(LogPosition),
}

/// The reason why the log cannot be read from a position.
#[derive(Debug)]
pub enum FollowError {
    /// The position is in a segment that is no longer kept, or behind the end of the log.
    Gone {
        /// The oldest position that is kept.
        oldest: LogPosition,
    },
    /// The position is not at the beginning of a line.
    InsideLine,
    /// The log cannot be read.
    Unreadable(SegmentError),
}

impl fmt::Display for FollowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone { oldest } => write!(f, "the log does not hold this position; the oldest is {oldest}"),
            Self::InsideLine => f.write_str("the position is not at the beginning of a line"),
            Self::Unreadable(error) => write!(f, "the log cannot be read: {error}"),
        }
    }
}

impl std::error::Error for FollowError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(error) => Some(error),
            Self::Gone { .. } | Self::InsideLine => None,
        }
    }
}

impl From<SegmentError> for FollowError {
    fn from(error: SegmentError) -> Self {
        Self::Unreadable(error)
    }
}

impl From<io::Error> for FollowError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.into())
    }
}

/// A reader of the log that this process writes.
pub struct Follower {
    directory: PathBuf,
    log: Arc<LogStatus>,
    position: LogPosition,
    /// The segment of the position, once it was opened.
    source: Option<Source>,
    /// The file that was the active segment when it was read last, if that is another one now.
    left: Option<Arc<File>>,
    /// [`LogStatus`]'s number of breaks when the position was taken.
    breaks: u64,
}

/// An open segment.
enum Source {
    /// The active one, by its number.
    Active(u16, Arc<File>),
    /// A file that was the active one until it was moved away, and its bytes.
    Left(Arc<File>, u64),
    /// A sealed one with a plain file, and the bytes of that.
    Plain(SegmentName, File, u64),
    /// A sealed one that is compressed.
    Compressed(SegmentName, Box<Frames>),
}

/// A compressed segment, and the block that was read last.
struct Frames {
    reader: BlockReader,
    sidecar: Sidecar,
    block: Option<usize>,
    lines: Vec<u8>,
}

/// The segments as they are at one moment.
struct View {
    sealed: Vec<Segment>,
    retired: Option<SegmentName>,
    active: (Published, Arc<File>),
    breaks: u64,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Follower {
    /// Opens the log in `directory`, which this process writes with `log` as its status, at `start`.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub fn open(directory: &Path, log: Arc<LogStatus>, start: Start) -> Result<Self, FollowError> {
        let position = LogPosition { segment: SegmentId::After(None), byte: 0 };
        let mut follower = Self { directory: directory.to_owned(), log, position, source: None, left: None, breaks: 0 };
        let view = follower.view()?;
        follower.breaks = view.breaks;
        match start {
            Start::Oldest => follower.position = view.oldest(),
            Start::End => follower.position = view.end()?,
            Start::At(position) => {
                follower.position = position;
                follower.seek(&view)?;
            }
        }
        Ok(follower)
    }

    /// As [`open`](Self::open), for a log that another process writes, or none: it ends where the next start would
    /// continue it now.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub fn open_offline(directory: &Path, start: Start) -> Result<Self, FollowError> {
        let mut state_file = match open_regular(&directory.join(STATE_NAME)) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let state = state_file.as_mut().map_or(Ok(None), read_state)?;
        // The file after the state: what is committed is in it.
        let active = open_regular(&directory.join(ACTIVE_NAME))?;
        let metadata = active.metadata()?;
        let (bytes, _) = whole_bytes(&active, metadata.len(), state.as_ref(), &Boot::now())?;
        let log = LogStatus::new(Vec::new(), Arc::default())?;
        log.begin(Some(Arc::new(active)), metadata.ino(), bytes, false);
        Self::open(directory, Arc::new(log), start)
    }

    /// The position behind the last line that was read.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// Continues at `position`: where lines are [`Gone`](FollowError::Gone), at the oldest that are kept.
    pub fn skip_to(&mut self, position: LogPosition) {
        self.position = position;
        self.source = None;
    }

    /// True if the position is in the active segment, as far as this reader has seen.
    #[must_use]
    pub fn is_in_active(&self) -> bool {
        matches!(self.source, Some(Source::Active(..)))
    }

    /// Takes a position at the end of a sealed segment to the beginning of the next one: that stays valid when
    /// retention deletes what was read.
    pub fn leave_ended_segment(&mut self) {
        let ended = match &self.source {
            Some(Source::Plain(name, _, end)) if self.position.byte >= *end => *name,
            Some(Source::Compressed(name, frames)) if self.position.byte >= frames.sidecar.bytes => *name,
            _ => return,
        };
        self.position = LogPosition { segment: SegmentId::After(Some(ended)), byte: 0 };
        self.source = None;
    }

    /// Appends the next lines to `lines`: whole ones, of `bytes_max` bytes at most unless the first one alone is
    /// longer. Returns their bytes; zero if everything that is written was read. Lines of one call are of one segment.
    ///
    /// # Errors
    /// See [`FollowError`]. The position is unchanged, or that of the next segment.
    pub fn read(&mut self, lines: &mut LineBuffer, bytes_max: usize) -> Result<usize, FollowError> {
        loop {
            let byte = self.position.byte;
            let (read, sealed) = match &mut self.source {
                None => {
                    let view = self.view()?;
                    self.seek(&view)?;
                    continue;
                }
                Some(Source::Active(number, file)) => {
                    let published = self.log.published();
                    if published.segment != *number {
                        self.left = Some(Arc::clone(file));
                        self.source = None;
                        continue;
                    }
                    // It was cut by hand if it is shorter than what was published.
                    let end = file.metadata()?.len().min(published.bytes);
                    (read_lines(file, byte, end, lines, bytes_max)?, None)
                }
                Some(Source::Left(file, end)) => {
                    let read = read_lines(file, byte, *end, lines, bytes_max)?;
                    if read == 0 {
                        self.skip_to(LogPosition { byte: 0, ..self.position });
                        continue;
                    }
                    (read, None)
                }
                Some(Source::Plain(name, file, end)) => (read_lines(file, byte, *end, lines, bytes_max)?, Some(*name)),
                Some(Source::Compressed(name, frames)) => (frames.read(byte, lines, bytes_max)?, Some(*name)),
            };
            self.position.byte += read as u64;
            match sealed {
                Some(name) if read == 0 => {
                    self.position = LogPosition { segment: SegmentId::After(Some(name)), byte: 0 };
                    self.source = None;
                }
                _ => return Ok(read),
            }
        }
    }

    /// The segments as they are now.
    fn view(&self) -> Result<View, FollowError> {
        for attempt in 1..=FOLLOW_TRIES_MAX {
            if let Some(view) = self.try_view()? {
                return Ok(view);
            }
            if attempt > 1 {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Err(io::Error::other("the segments of the log changed during every attempt to list them").into())
    }

    /// `None`: a rotation came between.
    fn try_view(&self) -> Result<Option<View>, FollowError> {
        let Some((published, file, breaks)) = self.log.active_and_breaks() else {
            return Err(io::Error::other("the log is not a file").into());
        };
        let mut sealed = Catalog::list(&self.directory)?.segments;
        let retired = newest_retired(&self.directory)?;
        let metadata = file.metadata()?;
        if inode_at(&self.directory.join(ACTIVE_NAME))? != Some(metadata.ino()) {
            // It has its sealed name already, and the writer has not begun the next segment yet; or it was moved away.
            let mut is_named = false;
            for index in (0..sealed.len()).rev() {
                let name = sealed[index].name.file(SegmentFile::Plain);
                if inode_at(&self.directory.join(name))? == Some(metadata.ino()) {
                    sealed.remove(index);
                    is_named = true;
                    break;
                }
            }
            if !is_named && metadata.nlink() == 0 && self.is_compressed_as(sealed.last(), metadata.len())? {
                return Ok(None);
            }
        }
        let is_current = self.log.published().segment == published.segment;
        Ok(is_current.then_some(View { sealed, retired, active: (published, file), breaks }))
    }

    /// True if the newest segment is compressed and has as many bytes as the active file, which has no name any more:
    /// it was sealed as that before the writer published its successor, and its lines would be there twice.
    fn is_compressed_as(&self, newest: Option<&Segment>, bytes: u64) -> Result<bool, FollowError> {
        let Some(segment) = newest.filter(|segment| segment.plain.is_none()) else { return Ok(false) };
        // What was compressed just now has a whole sidecar.
        let sidecar = Sidecar::read_usable(&self.directory, segment.name)?;
        Ok(sidecar.is_some_and(|sidecar| sidecar.bytes == bytes))
    }

    /// True if `left`, which was the active segment, is not the segment of the position any more: that is `segment`, or
    /// the active one.
    fn is_elsewhere(&self, left: &File, segment: Option<&Segment>, view: &View) -> io::Result<bool> {
        let found = match segment {
            None => Some(view.active.1.metadata()?.ino()),
            // Compressed, it has no inode to compare.
            Some(segment) => inode_at(&self.directory.join(segment.name.file(SegmentFile::Plain)))?,
        };
        let left = left.metadata()?.ino();
        Ok(found.is_some_and(|found| found != left))
    }

    /// Opens the segment of the position, and checks that the position is in it.
    fn seek(&mut self, view: &View) -> Result<(), FollowError> {
        let gone = || FollowError::Gone { oldest: view.oldest() };
        let segment = match self.position.segment {
            SegmentId::Sealed(name) => Some(view.find(name).ok_or_else(gone)?),
            SegmentId::After(last) => {
                let is_known = last == view.retired || last.is_some_and(|last| view.find(last).is_some());
                // With a newer one deleted, the segment may be one of those that were.
                if !is_known || view.retired > last {
                    return Err(gone());
                }
                view.sealed.iter().find(|segment| Some(segment.name) > last)
            }
        };
        let byte = self.position.byte;
        let is_broken = std::mem::replace(&mut self.breaks, view.breaks) != view.breaks && byte > 0;
        let left = self.left.take().filter(|_| is_broken);
        let source = match (segment, left) {
            // The bytes before the position are in a file that was moved away.
            (_, Some(left)) if self.is_elsewhere(&left, segment, view)? => {
                let end = left.metadata()?.len();
                Source::Left(left, end)
            }
            // They were cut off.
            (None, _) if is_broken => {
                return Err(FollowError::Gone { oldest: LogPosition { byte: 0, ..self.position } });
            }
            (None, _) => {
                let (published, file) = &view.active;
                check_line_start(file, byte, published.bytes).map_err(|error| error.unwrap_or_else(gone))?;
                self.position.segment = SegmentId::After(view.newest());
                Source::Active(published.segment, Arc::clone(file))
            }
            (Some(segment), _) => {
                self.position.segment = SegmentId::Sealed(segment.name);
                let mut source = Source::open(&self.directory, segment.name)?.ok_or_else(gone)?;
                source.check(byte).map_err(|error| error.unwrap_or_else(gone))?;
                source
            }
        };
        self.source = Some(source);
        Ok(())
    }
}

impl View {
    fn find(&self, name: SegmentName) -> Option<&Segment> {
        let index = self.sealed.binary_search_by_key(&name, |segment| segment.name).ok()?;
        Some(&self.sealed[index])
    }

    /// The predecessor of the active segment.
    fn newest(&self) -> Option<SegmentName> {
        self.sealed.last().map(|segment| segment.name).max(self.retired)
    }

    fn oldest(&self) -> LogPosition {
        let segment = match self.sealed.first() {
            Some(segment) => SegmentId::Sealed(segment.name),
            None => SegmentId::After(self.newest()),
        };
        LogPosition { segment, byte: 0 }
    }

    fn end(&self) -> io::Result<LogPosition> {
        let (published, file) = &self.active;
        let bytes = crate::end_of_last_line(file, file.metadata()?.len().min(published.bytes))?;
        Ok(LogPosition { segment: SegmentId::After(self.newest()), byte: bytes })
    }
}

impl Source {
    /// Opens a sealed segment. `None`: it was deleted since it was listed.
    fn open(directory: &Path, name: SegmentName) -> Result<Option<Self>, FollowError> {
        match open_regular(&directory.join(name.file(SegmentFile::Plain))) {
            Ok(file) => {
                let bytes = file.metadata()?.len();
                return Ok(Some(Self::Plain(name, file, bytes)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        // The reader first: by the time that there is only the compressed file, the sidecar has its frames.
        let reader = match BlockReader::open(directory, name) {
            Ok(reader) => reader,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let sidecar = Sidecar::read(directory, name)?;
        Ok(Some(Self::Compressed(name, Box::new(Frames { reader, sidecar, block: None, lines: Vec::new() }))))
    }

    /// Checks that `byte` is the beginning of a line, or the end. `Err(None)`: it is behind the end.
    fn check(&mut self, byte: u64) -> Result<(), Option<FollowError>> {
        match self {
            Self::Active(..) | Self::Left(..) => Ok(()),
            Self::Plain(_, file, bytes) => check_line_start(file, byte, *bytes),
            Self::Compressed(_, frames) if byte > frames.sidecar.bytes => Err(None),
            Self::Compressed(..) if byte == 0 => Ok(()),
            Self::Compressed(_, frames) => frames.lines_from(byte).map(|_| ()).map_err(Some),
        }
    }
}

impl Frames {
    /// The lines from `byte` on of the block that it is in, which is kept; none at the end of the segment.
    fn lines_from(&mut self, byte: u64) -> Result<&[u8], FollowError> {
        let blocks = &self.sidecar.blocks;
        let index = blocks.partition_point(|block| block.offset <= byte).saturating_sub(1);
        let Some(block) = blocks.get(index).filter(|block| byte < block.offset + block.bytes) else { return Ok(&[]) };
        if self.block != Some(index) {
            self.block = None;
            self.reader.read(block, &mut self.lines)?;
            self.block = Some(index);
        }
        // A block has at most as many bytes as memory was taken for.
        let from = usize::try_from(byte - block.offset).unwrap_or(usize::MAX);
        let (before, rest) = self.lines.split_at_checked(from).ok_or(FollowError::InsideLine)?;
        if before.last().is_some_and(|&last| last != b'\n') {
            return Err(FollowError::InsideLine);
        }
        Ok(rest)
    }

    fn read(&mut self, byte: u64, lines: &mut LineBuffer, bytes_max: usize) -> Result<usize, FollowError> {
        let rest = self.lines_from(byte)?;
        let within = &rest[..rest.len().min(bytes_max)];
        let end = memrchr(b'\n', within).or_else(|| memchr(b'\n', rest)).map_or(0, |end| end + 1);
        lines.space(end).copy_from_slice(&rest[..end]);
        lines.extend(end);
        Ok(end)
    }
}

/// The inode that has this name, if there is one.
fn inode_at(path: &Path) -> io::Result<Option<u64>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Checks that `byte` of `file` is the beginning of a line, or its end at `end`. `Err(None)`: it is behind that.
fn check_line_start(file: &File, byte: u64, end: u64) -> Result<(), Option<FollowError>> {
    if byte > end {
        return Err(None);
    }
    let Some(last) = byte.checked_sub(1) else { return Ok(()) };
    let mut before = [0];
    match file.read_exact_at(&mut before, last) {
        Ok(()) if before == [b'\n'] => Ok(()),
        Ok(()) => Err(Some(FollowError::InsideLine)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(None),
        Err(error) => Err(Some(error.into())),
    }
}

/// Appends whole lines of `file` from `byte` up to `end`: of `bytes_max` bytes at most, or one that is longer.
fn read_lines(
    file: &File,
    byte: u64,
    end: u64,
    lines: &mut LineBuffer,
    bytes_max: usize,
) -> Result<usize, FollowError> {
    let left = usize::try_from(end.saturating_sub(byte)).unwrap_or(usize::MAX);
    let (mut have, mut bytes) = (0, left.min(bytes_max.max(1)));
    while bytes > 0 {
        let space = lines.space(bytes);
        file.read_exact_at(&mut space[have..], byte + have as u64)?;
        // Of a line that is longer than the bound only its end is searched, and nothing behind it is taken.
        let found = match have {
            0 => memrchr(b'\n', space),
            _ => memchr(b'\n', &space[have..]).map(|at| have + at),
        };
        if let Some(last) = found {
            lines.extend(last + 1);
            return Ok(last + 1);
        }
        if bytes == left {
            break;
        }
        if bytes > LINE_BYTES_MAX {
            let what = format!("more than {LINE_BYTES_MAX} bytes without a line feed (from byte {byte})");
            return Err(SegmentError::Malformed(what).into());
        }
        have = bytes;
        bytes = left.min(bytes.saturating_mul(2).max(bytes + 4096));
    }
    Ok(0)
}

mod line_buffer;
mod time;

pub use line_buffer::LineBuffer;

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
