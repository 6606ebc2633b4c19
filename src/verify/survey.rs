//! Survey of a data directory before any line is read: its files by kind, the server that uses it, and its state file.

use super::{
    VerifyError,
    finding::{Finding, Findings, Kind, SegmentRange},
    frames::frames,
    subject::{Expected, Subject},
};
use host::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
};
use log::{
    Boot, CutReason, Holder, STATE_NAME, Standing, State, end_of_last_line, read_state,
    segment::{
        ACTIVE_NAME as LOG_NAME, Catalog, Segment, SegmentError, SegmentFile, SegmentName, Sidecar,
        open_regular as open,
    },
    whole_bytes,
};
use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The survey of a data directory.
#[derive(Debug)]
pub struct Survey {
    pub directory: PathBuf,
    pub catalog: Catalog,
    pub has_state: bool,
    /// The server that uses the directory, if any; `Some(None)` if the lock does not name its process.
    pub server: Option<Option<u32>>,
}

/// True if there is something of that name, whatever it is.
///
/// # Errors
/// It cannot be seen whether there is.
pub(super) fn exists(path: &Path) -> Result<bool, VerifyError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(VerifyError::new("examine", path, error)),
    }
}

impl Survey {
    /// Lists `directory`. `is_locked`: we have its lock ourselves.
    ///
    /// # Errors
    /// The path does not exist, is not a directory, or cannot be read.
    pub fn take(directory: &Path, is_locked: bool) -> Result<Self, VerifyError> {
        let catalog =
            Catalog::list(directory).map_err(|error| VerifyError::new("read the directory", directory, error))?;
        Ok(Self {
            catalog,
            has_state: exists(&directory.join(STATE_NAME))?,
            server: if is_locked { None } else { holder(directory)? },
            directory: directory.to_owned(),
        })
    }

    /// Bytes of all files that are to be checked.
    pub fn file_bytes(&self) -> u64 {
        let sealed = self.catalog.segments.iter().flat_map(|segment| [segment.plain, segment.compressed]);
        // Files full of holes can have so many that they do not add up.
        sealed.flatten().chain(self.catalog.active_bytes).fold(0, u64::saturating_add)
    }

    /// Reports leftovers of interrupted work, sidecars without a segment, and segment names that are not regular files.
    pub fn leftovers(&self, findings: &mut Findings) {
        for name in &self.catalog.not_files {
            let what = "a directory, link, pipe, socket or device: it is not read, here or by queries";
            findings.push(Finding::of_file(Kind::NotAFile, name, what));
        }
        for file in &self.catalog.leftovers {
            let name = &file.file_name;
            let Some((segment, _)) = SegmentName::parse(name) else {
                let what = if self.server.is_some() {
                    "an unfinished file of the running server, or of an earlier one"
                } else {
                    "an unfinished file of a process that crashed"
                };
                findings.push(Finding::of_file(Kind::Leftover, name, what));
                continue;
            };
            // Retention takes the oldest first, and a segment's lines before its sidecar.
            let is_oldest = self.catalog.segments.first().is_none_or(|oldest| segment < oldest.name);
            let described = match Sidecar::read(&self.directory, segment) {
                Ok(sidecar) => format!(
                    "the segment of this sidecar, {} bytes and {} lines, is missing",
                    sidecar.bytes, sidecar.lines
                ),
                Err(error) => {
                    format!("the segment of this sidecar is missing, and the sidecar cannot be read: {error}")
                }
            };
            findings.push(if is_oldest {
                let what = format!("{described}: its removal by retention was interrupted");
                Finding::of_file(Kind::Leftover, name, what)
            } else {
                Finding::of_file(Kind::SegmentMissing, name, format!("{described}, but older segments exist"))
            });
        }
    }

    /// Opens the files of lines, one after the other: sealed segments by their names, each plain and compressed, and
    /// then the active segment. Says what is wrong with those that cannot be checked.
    pub fn subjects(&self) -> impl FnMut(&mut Findings) -> Option<Result<Subject, VerifyError>> + Send + '_ {
        let forms = |segment: &Segment| {
            let segment = *segment;
            let (plain, compressed) =
                (segment.plain.map(|_| SegmentFile::Plain), segment.compressed.map(|_| SegmentFile::Compressed));
            [plain, compressed].into_iter().flatten().map(move |form| (segment, form))
        };
        let mut files = self.catalog.segments.iter().flat_map(forms);
        // Opened now: a running server may seal it meanwhile, and its bytes stay the same under the new name.
        let mut active = self.catalog.active_bytes.map(|_| open(&self.directory.join(LOG_NAME)));
        let mut last_sidecar: Option<(SegmentName, Option<Arc<Expected>>)> = None;
        move |findings| {
            for (Segment { name: segment, compressed, .. }, form) in files.by_ref() {
                let expected = match &last_sidecar {
                    Some((of, expected)) if *of == segment => expected.clone(),
                    _ => self.expected(segment, findings),
                };
                last_sidecar = Some((segment, expected.clone()));
                let open = |form| open_sealed(&self.directory, segment, form, expected.clone());
                let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound && self.server.is_some();
                // A running server may have compressed it since it was listed.
                let opened = match open(form) {
                    Err(error) if is_gone(&error) && compressed.is_none() => open(SegmentFile::Compressed),
                    opened => opened,
                };
                let file_name = segment.file(form);
                match opened {
                    Err(error) if is_gone(&error) => {
                        let what = "removed by the running server since the check began";
                        findings.push(Finding::of_file(Kind::Vanished, &file_name, what));
                    }
                    // The others can be read.
                    Err(error) if is_unreadable(&error) => {
                        let what = format!("the disk returned an error: {error}");
                        findings.push(Finding::of_file(Kind::Unreadable, &file_name, what));
                    }
                    Err(error) => {
                        return Some(Err(VerifyError::new("open", &self.directory.join(file_name), error)));
                    }
                    Ok(subject) => return Some(Ok(subject)),
                }
            }
            let path = self.directory.join(LOG_NAME);
            let active = active.take()?.and_then(|file| self.open_active(file, findings));
            Some(active.map_err(|error| VerifyError::new("open", &path, error)))
        }
    }

    fn expected(&self, segment: SegmentName, findings: &mut Findings) -> Option<Arc<Expected>> {
        let file = segment.file(SegmentFile::Sidecar);
        match Sidecar::read(&self.directory, segment) {
            Ok(sidecar) => return Some(Arc::new(Expected::new(sidecar))),
            Err(error) if error.is_missing() => {
                let what = "missing: a changed byte in a line that is still readable cannot be detected";
                findings.push(Finding::of_file(Kind::SidecarMissing, &file, what));
            }
            Err(SegmentError::Io(error)) => {
                findings.push(Finding::of_file(Kind::Unreadable, &file, format!("it cannot be read: {error}")));
            }
            Err(error) => findings.push(Finding::of_file(Kind::SidecarGarbled, &file, error.to_string())),
        }
        None
    }

    /// The active segment, as far as it is to be checked, by what the state file says.
    fn open_active(&self, file: File, findings: &mut Findings) -> io::Result<Subject> {
        let size = file.metadata()?.len();
        let bytes = if self.server.is_some() {
            // The server still writes to it.
            end_of_last_line(&file, size)?
        } else {
            self.committed(&file, size, findings)?
        };
        Ok(Subject { file_name: LOG_NAME.to_owned(), segment: None, file, bytes, expected: None, frames: None })
    }

    /// Bytes of the active segment that the next start keeps, except for a torn line.
    fn committed(&self, file: &File, size: u64, findings: &mut Findings) -> io::Result<u64> {
        let Some(state) = self.state(findings)? else {
            if !self.has_state && size > 0 {
                let what = "missing: half a batch at the end of the log cannot be detected";
                findings.push(Finding::of_file(Kind::StateMissing, STATE_NAME, what));
            }
            return Ok(size);
        };
        let metadata = file.metadata()?;
        if (state.device, state.inode) != (metadata.dev(), metadata.ino()) {
            let what =
                "describes another file, as after a copy or an interrupted rotation: its committed length is ignored";
            findings.push(Finding::of_file(Kind::StateOfAnother, STATE_NAME, what));
            return Ok(size);
        }
        let committed = state.committed_bytes;
        if committed > size {
            let what = format!(
                "{} bytes that were acknowledged as written are missing: {committed} were committed, but there are {size}",
                committed - size
            );
            findings.push(Finding::of_file(Kind::CommittedMissing, LOG_NAME, what));
        }
        match whole_bytes(file, size, Some(&state), &Boot::now())? {
            (kept, CutReason::Uncommitted) if kept < size => {
                let place = SegmentRange {
                    offset: kept,
                    bytes: size - kept,
                    line: 0,
                    lines: 0,
                    blocks: None,
                    frame_offset: None,
                };
                let what = "written but not committed before a crash, so never acknowledged as written";
                let finding = Finding::of_file(Kind::Uncommitted, LOG_NAME, what);
                findings.push(Finding { place: Some(place), ..finding });
                Ok(kept)
            }
            _ => Ok(size),
        }
    }

    /// Reads the state file; `None` if it proves nothing.
    pub fn state(&self, findings: &mut Findings) -> io::Result<Option<State>> {
        if !self.has_state {
            return Ok(None);
        }
        let state = match open(&self.directory.join(STATE_NAME)) {
            Ok(mut file) => read_state(&mut file)?,
            Err(error) if matches!(error.kind(), io::ErrorKind::IsADirectory | io::ErrorKind::NotFound) => None,
            Err(error) => return Err(error),
        };
        let what = match state {
            Some(State { standing: Standing::Damaged, .. }) => {
                "its checksum is wrong, so its committed length proves nothing; the next start moves only a torn last \
                 line out of the log"
            }
            None => "not a valid state file: it is unknown whether the log was closed cleanly",
            Some(_) => return Ok(state),
        };
        findings.push(Finding::of_file(Kind::StateGarbled, STATE_NAME, what));
        Ok(None)
    }
}

/// Opens one form of a sealed segment.
pub fn open_sealed(
    directory: &Path,
    segment: SegmentName,
    form: SegmentFile,
    expected: Option<Arc<Expected>>,
) -> io::Result<Subject> {
    let file_name = segment.file(form);
    let file = open(&directory.join(&file_name))?;
    let bytes = file.metadata()?.len();
    let frames = match form {
        SegmentFile::Compressed => Some(frames(&file, bytes, expected.as_deref())?),
        SegmentFile::Plain | SegmentFile::Sidecar => None,
    };
    Ok(Subject { file_name, segment: Some(segment), file, bytes, expected, frames })
}

/// Returns true if the disk failed or the file became shorter, and false if this process lacks permission or
/// descriptors.
fn is_unreadable(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error() == Some(libc::EIO)
}

/// The server that uses the directory.
fn holder(directory: &Path) -> Result<Option<Option<u32>>, VerifyError> {
    match log::holder(directory).map_err(|error| VerifyError::new("check the lock of", directory, error))? {
        Holder::Held(process) => Ok(Some(process)),
        Holder::Free | Holder::Never => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::LOCK_NAME;
    use log::segment::{compress, index};
    use std::{fs, sync::atomic::AtomicBool};
    use tempfile::TempDir;

    #[test]
    fn a_segment_compressed_during_the_check_is_checked() {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let names = [1, 2].map(|ms| SegmentName::after(None, ms));
        for name in names {
            fs::write(path.join(name.file(SegmentFile::Plain)), "no line of ours\n").unwrap();
            index(path, name, &AtomicBool::new(false)).unwrap().write(path, name).unwrap();
        }
        let server = File::create(path.join(LOCK_NAME)).unwrap();
        server.lock().unwrap();
        let survey = Survey::take(path, false).unwrap();
        assert_eq!(survey.server, Some(None));

        compress(path, names[0], &Sidecar::read(path, names[0]).unwrap(), &AtomicBool::new(false)).unwrap();
        fs::remove_file(path.join(names[1].file(SegmentFile::Plain))).unwrap();
        let (mut findings, mut subjects) = (Findings::default(), survey.subjects());
        let subject = subjects(&mut findings).unwrap().unwrap();
        assert_eq!(subject.file_name, names[0].file(SegmentFile::Compressed));
        assert!(subjects(&mut findings).is_none());
        let found: Vec<_> = findings.kept.iter().map(|finding| (finding.kind, finding.file.clone())).collect();
        assert_eq!(found, [(Kind::Vanished, names[1].file(SegmentFile::Plain))]);
    }
}
