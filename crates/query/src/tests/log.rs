//! Logs made up for tests: lines, and how they lie in segments.

use log::segment::{ACTIVE_NAME, SegmentFile, SegmentName, compress, index};
use metric::{format_timestamp, spelled};
use std::{fs, path::Path, sync::atomic::AtomicBool};
use tempfile::TempDir;

/// A metric, in what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    pub timestamp_ms: i64,
    pub name: String,
    /// In its digits; or what stands there of a value that is no number, with the flag of a stale marker.
    pub value: String,
    /// In the order in which they are stored.
    pub tags: Vec<(String, String)>,
}

impl Metric {
    pub fn new(timestamp_ms: i64, name: &str, value: &str, tags: &[(&str, &str)]) -> Self {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self { timestamp_ms, name: name.into(), value: value.into(), tags }
    }

    pub fn is_number(&self) -> bool {
        !self.value.starts_with('"')
    }

    fn line(&self) -> String {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let timestamp = text(format_timestamp(self.timestamp_ms).to_vec());
        let name = text(spelled(&self.name));
        let tags: Vec<_> = self
            .tags
            .iter()
            .map(|(key, value)| format!("\"{}\":\"{}\"", text(spelled(key)), text(spelled(value))))
            .collect();
        format!(
            "{{\"timestamp\":\"{timestamp}\",\"name\":\"{name}\",\"value\":{},\"type\":\"gauge\",\"tags\":{{{}}}}}\n",
            self.value,
            tags.join(",")
        )
    }
}

/// Files that a sealed segment consists of on the disk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lies {
    Plain,
    Indexed,
    Compressed,
}

/// A data directory.
pub struct Log(TempDir);

impl Log {
    /// `cuts`: after how many metrics a segment is sealed, and how it lies; what is left is in the active one.
    pub fn new(metrics: &[Metric], cuts: &[(usize, Lies)]) -> Self {
        static RUNNING: AtomicBool = AtomicBool::new(false);
        let directory = tempfile::tempdir().unwrap();
        let mut rest = metrics;
        for (number, (length, lies)) in cuts.iter().enumerate() {
            let (sealed, others) = rest.split_at((*length).min(rest.len()));
            rest = others;
            if sealed.is_empty() {
                continue;
            }
            let name = SegmentName::after(None, 1_767_323_045_678 + i64::try_from(number).unwrap());
            write(&directory.path().join(name.file(SegmentFile::Plain)), sealed);
            if *lies != Lies::Plain {
                let sidecar = index(directory.path(), name, &RUNNING).unwrap();
                sidecar.write(directory.path(), name).unwrap();
                if *lies == Lies::Compressed {
                    compress(directory.path(), name, &sidecar, &RUNNING).unwrap();
                }
            }
        }
        write(&directory.path().join(ACTIVE_NAME), rest);
        Self(directory)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

fn write(path: &Path, metrics: &[Metric]) {
    fs::write(path, metrics.iter().map(Metric::line).collect::<String>()).unwrap();
}
