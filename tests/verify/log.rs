//! Logs to damage.

use log::segment::{SegmentFile, SegmentName, compress, index};
use metricstream::verify::{
    check,
    finding::{Finding, Kind},
    repair,
    report::Report,
};
use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};
use tempfile::TempDir;

pub const ACTIVE: &str = "metrics.jsonl";
pub const STATE: &str = "metricstream.state";
/// Lines that take three blocks and a part of one.
pub const FOUR_BLOCKS: Range<usize> = 0..26_000;

/// A line that there is once. Some have a value that is no number.
pub fn line(number: usize) -> String {
    let (second, name) = (number / 1000 % 60, number % 37);
    let value = match number % 101 {
        60 => r#""NaN""#.to_owned(),
        61 => r#""NaN","stale":true"#.to_owned(),
        62 => r#""+Inf""#.to_owned(),
        63 => r#""-Inf""#.to_owned(),
        _ => format!("{number}.5"),
    };
    format!(
        "{{\"timestamp\":\"2026-01-02T03:04:{second:02}.{:03}Z\",\"name\":\"metric_{name}\",\"value\":{value},\
         \"type\":\"gauge\",\"tags\":{{\"host\":\"web{}\",\"path\":\"/a\\\"b\"}}}}\n",
        number % 1000,
        number % 7,
    )
}

pub fn lines(numbers: Range<usize>) -> Vec<u8> {
    numbers.map(line).collect::<String>().into_bytes()
}

/// In what form a log's lines lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentForm {
    Active,
    Plain,
    PlainWithoutSidecar,
    Compressed,
    CompressedWithoutSidecar,
}

impl SegmentForm {
    pub const ALL: [Self; 5] =
        [Self::Active, Self::Plain, Self::PlainWithoutSidecar, Self::Compressed, Self::CompressedWithoutSidecar];

    pub fn has_sidecar(self) -> bool {
        matches!(self, Self::Plain | Self::Compressed)
    }

    pub fn is_compressed(self) -> bool {
        matches!(self, Self::Compressed | Self::CompressedWithoutSidecar)
    }
}

/// A data directory that is gone when the test ends.
pub struct Log {
    directory: TempDir,
}

impl Log {
    pub fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    /// One file of lines; also its path.
    pub fn with(form: SegmentForm, text: &[u8]) -> (Self, PathBuf) {
        let log = Self::new();
        let path = log.add(form, 1, text);
        (log, path)
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Adds a file of lines; sealed ones are named by the number.
    pub fn add(&self, form: SegmentForm, number: i64, text: &[u8]) -> PathBuf {
        if form == SegmentForm::Active {
            fs::write(self.file(ACTIVE), text).unwrap();
            return self.file(ACTIVE);
        }
        let name = segment(number);
        let plain = self.file(&name.file(SegmentFile::Plain));
        fs::write(&plain, text).unwrap();
        let sidecar = index(self.path(), name, &AtomicBool::new(false)).unwrap();
        sidecar.write(self.path(), name).unwrap();
        if form.is_compressed() {
            compress(self.path(), name, &sidecar, &AtomicBool::new(false)).unwrap();
        }
        if !form.has_sidecar() {
            fs::remove_file(self.file(&name.file(SegmentFile::Sidecar))).unwrap();
        }
        if form.is_compressed() { self.file(&name.file(SegmentFile::Compressed)) } else { plain }
    }

    pub fn sidecar(&self, number: i64) -> PathBuf {
        self.file(&segment(number).file(SegmentFile::Sidecar))
    }

    pub fn check(&self) -> Report {
        let report = check(self.path(), 2).unwrap();
        assert_eq!(report.sound, report.damages == 0);
        report
    }

    /// Repairs; it must be sound afterwards, and a second repair must find nothing to do.
    pub fn repair(&self) -> Report {
        let report = repair(self.path(), 2).unwrap();
        let done = report.repair.as_ref().unwrap();
        assert!(done.sound_now, "{:?} {:?}", done, self.check().findings.kept);
        let again = repair(self.path(), 2).unwrap();
        assert!(again.sound && again.repair.unwrap().steps.is_empty());
        report
    }

    /// Has the state file say that so many bytes are committed, as the server would write it.
    pub fn set_committed(&self, bytes: usize) {
        let text = fs::read_to_string(self.file(STATE)).unwrap();
        let set = |line: &str| match line.strip_prefix("committed_bytes ") {
            Some(_) => format!("committed_bytes {bytes:020}\n"),
            None => format!("{line}\n"),
        };
        let lines: String = text.lines().filter(|line| !line.starts_with("crc32 ")).map(set).collect();
        let crc32 = crc32fast::hash(lines.as_bytes());
        fs::write(self.file(STATE), format!("{lines}crc32 {crc32:08x}\n")).unwrap();
    }

    /// Returns the contents of the files that were set aside, by name.
    pub fn set_aside(&self) -> Vec<Vec<u8>> {
        let mut paths: Vec<_> = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("torn-"));
        paths.sort();
        paths.iter().map(|path| fs::read(path).unwrap()).collect()
    }
}

pub fn segment(number: i64) -> SegmentName {
    SegmentName::after(None, 1_767_323_045_678 + number)
}

/// The lines in a file, unpacked.
pub fn text(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    if path.extension().unwrap() == "zst" { zstd::decode_all(&bytes[..]).unwrap() } else { bytes }
}

/// The findings that are damage.
pub fn damages(report: &Report) -> Vec<&Finding> {
    report.findings.kept.iter().filter(|finding| finding.kind.is_damage()).collect()
}

/// The kinds of the damages.
pub fn kinds(report: &Report) -> Vec<Kind> {
    damages(report).iter().map(|finding| finding.kind).collect()
}

/// Returns the offset of line `number` in lines that begin with line 0.
pub fn offset(number: usize) -> usize {
    (0..number).map(|number| line(number).len()).sum()
}
