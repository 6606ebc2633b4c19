//! Moves damaged data out of the log. Nothing is deleted: every byte is afterwards in the log or in a file
//! `torn-<time>.bin` beside it.
//!
//! | damage | repair |
//! |---|---|
//! | end of the active segment, torn or never committed | as at the next start (`log::recovery`) |
//! | lines of a plain segment | moved to a file of their own; the segment is rewritten without them |
//! | frames of a compressed segment | likewise, whole and compressed; their undamaged lines are compressed again |
//! | one of two forms of a segment | moved to a file of its own |
//! | a segment's name on something that is not a regular file | likewise |
//! | a sidecar, or its segment was rewritten | moved to a file of its own, and rebuilt |
//! | a changed byte in a block of readable lines | the line is unknown: only the sidecar is moved away and rebuilt |
//!
//! The order, each step on stable storage before the next: the damaged bytes in their file, the new segment under a
//! name with `.tmp`, the old sidecar moved away, the new segment in place of the old, the new sidecar. After an
//! interruption, running the repair again finishes it, at worst with the same bytes kept twice.

use super::{
    VerifyError, check_with,
    piece::Checker,
    report::Report,
    subject::{Expected, Subject},
    survey::{Survey, exists, open_sealed},
    tally::SegmentReport,
};
use host::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt, MetadataExt},
};
use log::{
    Boot, DirectoryLock, STATE_NAME, Standing, State, StateFile, create_set_aside,
    limits::{SEGMENT_ZSTD_LEVEL, TAIL_BLOCK_BYTES},
    open_file,
    os::dirent::{rename_new, sync_directory},
    read_state, recover,
    segment::{ACTIVE_NAME as LOG_NAME, Draft, Segment, SegmentFile, SegmentName, Sidecar, index, open_regular},
};
use serde::Serialize;
use std::{
    io::{self, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

/// The result of a repair.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Repair {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The check after the repair has found no damage.
    pub sound_now: bool,
    /// Number of damages that the check after the repair has found.
    pub damages_now: u64,
}

/// One step of a repair.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// The repaired file.
    pub file: String,
    /// A description of the step.
    pub what: String,
    /// The file that keeps the removed bytes, if any were removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_in: Option<String>,
    /// Number of removed bytes.
    pub kept_bytes: u64,
}

impl Repair {
    pub(super) fn print_text(&self, out: &mut impl Write) -> io::Result<()> {
        for Step { file, what, kept_in, kept_bytes } in &self.steps {
            write!(out, "repaired {file}: {what}")?;
            if let Some(kept_in) = kept_in {
                write!(out, "; {kept_bytes} bytes are kept in {kept_in}")?;
            }
            writeln!(out)?;
        }
        match (self.steps.is_empty(), self.sound_now) {
            (true, true) => writeln!(out, "nothing to repair"),
            (false, true) => writeln!(out, "the log is sound now"),
            (_, false) => writeln!(out, "{} damages remain: run verify again to see them", self.damages_now),
        }
    }
}

/// Checks `directory`, moves damaged data out of the log, and checks it again. Returns the report of the first check,
/// with the steps of the repair.
///
/// # Errors
/// A server uses the directory, or something could not be read or written. Completed steps stay done, and running the
/// repair again finishes it.
pub fn repair(directory: &Path, threads: usize) -> Result<Report, VerifyError> {
    drop(fs::read_dir(directory).map_err(|error| VerifyError::new("read the directory", directory, error))?);
    let _lock = DirectoryLock::take(directory).map_err(VerifyError::Lock)?;
    let (mut report, survey) = check_with(directory, threads, true)?;
    let mut repairer = Repairer { directory, steps: Vec::new() };
    // First: they may be where a sidecar has to be.
    for file in &survey.catalog.not_files {
        repairer.move_aside(file, "not a regular file")?;
    }
    for segment in &survey.catalog.segments {
        repairer.repair_sealed(segment, &report.segments)?;
    }
    for file in &survey.catalog.leftovers {
        // A draft is worth nothing, and the next start removes it.
        if SegmentName::parse(&file.file_name).is_some() {
            repairer.move_aside(&file.file_name, "a sidecar without a segment")?;
        }
    }
    if survey.catalog.active_bytes.is_some() {
        repairer.repair_active(&survey, &report)?;
    }
    let (after, _) = check_with(directory, threads, true)?;
    report.repair = Some(Repair { steps: repairer.steps, sound_now: after.sound, damages_now: after.damages });
    Ok(report)
}

struct Repairer<'a> {
    directory: &'a Path,
    steps: Vec<Step>,
}

/// The data removed from a segment.
struct Taken {
    kept_in: PathBuf,
    bytes: u64,
    ranges: u64,
}

impl Repairer<'_> {
    fn failed<'a>(&'a self, doing: &'static str, file: &'a str) -> impl FnOnce(io::Error) -> VerifyError + 'a {
        move |error| VerifyError::new(doing, &self.directory.join(file), error)
    }

    fn has(&self, file: &str) -> Result<bool, VerifyError> {
        exists(&self.directory.join(file))
    }

    /// The sidecar of a segment, if there is one that can be used. It is the evidence of what was changed, so that
    /// nothing is repaired without it while it may be there.
    fn sidecar(&self, name: SegmentName) -> Result<Option<Sidecar>, VerifyError> {
        let file = name.file(SegmentFile::Sidecar);
        Sidecar::read_usable(self.directory, name).map_err(|error| self.failed("read", &file)(io::Error::other(error)))
    }

    fn done(&mut self, file: &str, what: impl Into<String>, kept: Option<(&Path, u64)>) {
        let name = |path: &Path| path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        self.steps.push(Step {
            file: file.to_owned(),
            what: what.into(),
            kept_in: kept.map(|(path, _)| name(path)),
            kept_bytes: kept.map_or(0, |(_, bytes)| bytes),
        });
    }

    /// Moves a whole file out of the log.
    fn move_aside(&mut self, file: &str, why: &str) -> Result<(), VerifyError> {
        let path = self.directory.join(file);
        let (kept_in, bytes) = fs::symlink_metadata(&path)
            .and_then(|metadata| {
                let (kept_in, _) = create_set_aside(self.directory)?;
                if metadata.is_dir() {
                    // A directory takes no file's place.
                    fs::remove_file(&kept_in)?;
                    rename_new(&path, &kept_in)?;
                } else {
                    // Replaces nothing but the empty file that was made a moment ago to have the name.
                    fs::rename(&path, &kept_in)?;
                }
                sync_directory(self.directory)?;
                Ok((kept_in, if metadata.is_file() { metadata.len() } else { 0 }))
            })
            .map_err(self.failed("move", file))?;
        self.done(file, format!("moved out of the log: {why}"), Some((&kept_in, bytes)));
        Ok(())
    }

    fn repair_sealed(&mut self, segment: &Segment, reports: &[SegmentReport]) -> Result<(), VerifyError> {
        let name = segment.name;
        let report = |form| reports.iter().find(|report| report.file == name.file(form));
        let (plain, compressed) = (report(SegmentFile::Plain), report(SegmentFile::Compressed));
        let (form, report) = match (plain, compressed) {
            (Some(plain), Some(compressed)) => {
                let are_same = (plain.bytes, plain.crc32) == (compressed.bytes, compressed.crc32);
                if are_same && plain.damages + compressed.damages == 0 {
                    return self.repair_sidecar(name, plain.sidecar);
                }
                let keep_plain = plain.damages == 0 || compressed.damages > 0;
                let other = if keep_plain { SegmentFile::Compressed } else { SegmentFile::Plain };
                self.move_aside(&name.file(other), "the other form of the segment is kept")?;
                if keep_plain { (SegmentFile::Plain, plain) } else { (SegmentFile::Compressed, compressed) }
            }
            (Some(plain), None) => (SegmentFile::Plain, plain),
            (None, Some(compressed)) => (SegmentFile::Compressed, compressed),
            // It was not opened.
            (None, None) => return Ok(()),
        };
        let file = name.file(form);
        // Of no lines zstd makes no file.
        if report.lines == 0 && (report.damaged_bytes > 0 || form == SegmentFile::Compressed) {
            self.move_aside(&file, "it has no valid line")?;
            let sidecar = name.file(SegmentFile::Sidecar);
            let has_sidecar = self.has(&sidecar)?;
            return if has_sidecar {
                self.move_aside(&sidecar, "its segment was moved out of the log")
            } else {
                Ok(())
            };
        }
        if report.damaged_bytes > 0 {
            let sidecar = self.sidecar(name)?;
            let expected = sidecar.map(|sidecar| Arc::new(Expected::new(sidecar)));
            let subject = open_sealed(self.directory, name, form, expected).map_err(self.failed("open", &file))?;
            self.rewrite(&subject, Some(name))?;
        }
        self.repair_sidecar(name, report.damages == 0 && report.sidecar)
    }

    /// Rebuilds the sidecar unless it `is_right` and matches the existing files.
    fn repair_sidecar(&mut self, name: SegmentName, is_right: bool) -> Result<(), VerifyError> {
        let file = name.file(SegmentFile::Sidecar);
        let now = Segment::find(self.directory, name).map_err(self.failed("examine", &file))?;
        let Some(now) = now else { return Ok(()) };
        let fits = |sidecar: &Sidecar| sidecar.fits(now.plain, now.compressed);
        if is_right && self.sidecar(name)?.as_ref().is_some_and(fits) {
            return Ok(());
        }
        if now.sidecar.is_some() {
            self.move_aside(&file, "it does not describe its segment")?;
        }
        index(self.directory, name, &AtomicBool::new(false))
            .and_then(|sidecar| sidecar.write(self.directory, name))
            .map_err(|error| VerifyError::Sidecar(self.directory.join(&file), error))?;
        self.done(&file, "rebuilt", None);
        Ok(())
    }

    /// Rewrites a segment without its damaged parts.
    fn rewrite(&mut self, subject: &Subject, name: Option<SegmentName>) -> Result<bool, VerifyError> {
        let file = &subject.file_name;
        let path = self.directory.join(file);
        let mut draft = Draft::create(self.directory, file, &path).map_err(self.failed("rewrite", file))?;
        let taken = match &subject.frames {
            Some(_) => copy_frames(self.directory, subject, &mut draft.file),
            None => copy_lines(self.directory, subject, &mut draft.file),
        };
        let Some(taken) = taken.map_err(self.failed("rewrite", file))? else { return Ok(false) };
        let sidecar = name.map(|name| name.file(SegmentFile::Sidecar));
        if let Some(sidecar) = sidecar
            && self.has(&sidecar)?
        {
            self.move_aside(&sidecar, "it describes the segment before its repair")?;
        }
        draft.keep().map_err(self.failed("rewrite", file))?;
        let what = match &subject.frames {
            Some(_) => format!("rewritten without {} damaged frames", taken.ranges),
            None => format!("rewritten without {} damaged places", taken.ranges),
        };
        self.done(file, what, Some((&taken.kept_in, taken.bytes)));
        Ok(true)
    }

    /// Repairs the end of the active segment as the next start would do, and removes damage before it.
    fn repair_active(&mut self, survey: &Survey, report: &Report) -> Result<(), VerifyError> {
        let (log_path, state_path) = (self.directory.join(LOG_NAME), self.directory.join(STATE_NAME));
        let state_was_damaged =
            report.findings.counts.keys().any(|kind| {
                matches!(kind, super::finding::Kind::StateGarbled | super::finding::Kind::CommittedMissing)
            });
        let log = OpenOptions::new().read(true).write(true).open(&log_path).map_err(self.failed("open", LOG_NAME))?;
        let state = match open_regular(&state_path) {
            Ok(mut file) => read_state(&mut file).map_err(self.failed("read", STATE_NAME))?,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => None,
            Err(error) => return Err(VerifyError::new("open", &state_path, error)),
        };
        let boot = Boot::now();
        let recovered = recover(self.directory, &log, state.as_ref(), &boot)
            .map_err(|(doing, error)| VerifyError::new(doing, &log_path, error))?;
        let mut has_changed = state_was_damaged;
        if let Some(cut) = &recovered.cut {
            has_changed = true;
            self.done(LOG_NAME, "end cut off, as the next start would do", Some((&cut.kept_in, cut.bytes)));
        }
        let is_damaged = report.segments.iter().any(|segment| segment.file == LOG_NAME && segment.damaged_bytes > 0);
        if is_damaged {
            let (file_name, bytes) = (LOG_NAME.to_owned(), recovered.log_bytes);
            let subject = Subject { file_name, segment: None, file: log, bytes, expected: None, frames: None };
            has_changed |= self.rewrite(&subject, None)?;
        }
        if !has_changed {
            return Ok(());
        }
        if survey.has_state && state.is_none_or(|state| state.standing == Standing::Damaged) {
            self.move_aside(STATE_NAME, "not a valid state file")?;
        }
        let metadata = fs::metadata(&log_path).map_err(self.failed("examine", LOG_NAME))?;
        let state = State {
            standing: Standing::Sound,
            boot,
            device: metadata.dev(),
            inode: metadata.ino(),
            committed_bytes: metadata.len(),
            clean: true,
            unclean_shutdowns: recovered.unclean_shutdowns,
        };
        let state_file =
            open_file(&state_path, OpenOptions::new().read(true).write(true)).map_err(VerifyError::Lock)?;
        StateFile::create(self.directory, state_file, &state).map_err(self.failed("write", STATE_NAME))?;
        sync_directory(self.directory).map_err(self.failed("sync", "."))?;
        self.done(STATE_NAME, format!("rewritten: {} bytes are committed", metadata.len()), None);
        Ok(())
    }
}

/// The file for damaged bytes, created when the first are written.
struct Aside<'a> {
    directory: &'a Path,
    file: Option<(PathBuf, File)>,
    bytes: u64,
    ranges: u64,
}

impl<'a> Aside<'a> {
    fn new(directory: &'a Path) -> Self {
        Self { directory, file: None, bytes: 0, ranges: 0 }
    }

    fn file(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            self.file = Some(create_set_aside(self.directory)?);
        }
        self.file.as_mut().map(|(_, file)| file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn take(&mut self, from: &File, range: Range<u64>) -> io::Result<()> {
        self.bytes += range.end - range.start;
        self.ranges += 1;
        copy(from, range, self.file()?)
    }

    /// Syncs the file to stable storage.
    fn finish(self) -> io::Result<Option<Taken>> {
        let Some((kept_in, file)) = self.file else { return Ok(None) };
        file.sync_all()?;
        sync_directory(self.directory)?;
        Ok(Some(Taken { kept_in, bytes: self.bytes, ranges: self.ranges }))
    }
}

fn copy(from: &File, range: Range<u64>, to: &mut impl Write) -> io::Result<()> {
    let mut block = vec![0; TAIL_BLOCK_BYTES];
    let mut position = range.start;
    while position < range.end {
        let bytes = usize::try_from(range.end - position).map_or(block.len(), |left| left.min(block.len()));
        from.read_exact_at(&mut block[..bytes], position)?;
        to.write_all(&block[..bytes])?;
        position += bytes as u64;
    }
    Ok(())
}

/// Copies undamaged data to `to`, and the rest to the file for damaged bytes. `None`: nothing is damaged.
fn copy_lines(directory: &Path, subject: &Subject, to: &mut File) -> io::Result<Option<Taken>> {
    let mut checker = Checker::new()?;
    let mut aside = Aside::new(directory);
    let mut copied = 0;
    for piece in (0..).map_while(|index| subject.piece(index)) {
        let checked = checker.check(subject, piece);
        if let Some((_, what)) = checked.broken {
            return Err(io::Error::other(what));
        }
        for damage in &checked.walk.damages {
            let (from, until) = (checked.base + damage.range.start as u64, checked.base + damage.range.end as u64);
            copy(&subject.file, copied..from, to)?;
            aside.take(&subject.file, from..until)?;
            copied = until;
        }
    }
    copy(&subject.file, copied..subject.bytes, to)?;
    aside.finish()
}

/// Copies undamaged frames to `to`, and the others to the file for damaged bytes; their undamaged lines are compressed
/// again.
fn copy_frames(directory: &Path, subject: &Subject, to: &mut File) -> io::Result<Option<Taken>> {
    let mut checker = Checker::new()?;
    let mut compressor = zstd::bulk::Compressor::new(SEGMENT_ZSTD_LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.include_contentsize(true)?;
    let mut aside = Aside::new(directory);
    for piece in (0..).map_while(|index| subject.piece(index)) {
        let checked = checker.check(subject, piece);
        if checked.broken.is_none() && checked.walk.damages.is_empty() {
            copy(&subject.file, piece.from..piece.to, to)?;
            continue;
        }
        aside.take(&subject.file, piece.from..piece.to)?;
        if checked.broken.is_some() {
            continue;
        }
        let mut whole = Vec::new();
        let mut copied = 0;
        for damage in &checked.walk.damages {
            whole.extend_from_slice(&checker.text()[copied..damage.range.start]);
            copied = damage.range.end;
        }
        whole.extend_from_slice(&checker.text()[copied..]);
        if !whole.is_empty() {
            to.write_all(&compressor.compress(&whole)?)?;
        }
    }
    aside.finish()
}
