//! Access to the host: files under a root, and the system calls that checks make. Every value that a check reads is
//! recorded, so that a finding can be traced to its source.

use super::calls::{Calls, Kernel};
use crate::{config::Config, limits};
use serde::Serialize;
use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The host that checks examine.
#[derive(Debug)]
pub struct Host {
    root: PathBuf,
    calls: Box<dyn Calls>,
}

/// The data directory, or the place where it would be created.
#[derive(Debug)]
pub(super) struct Located {
    /// The directory, or its nearest existing ancestor; without symbolic links, as the host names it.
    pub(super) path: PathBuf,
    /// The same path below the root, as this process can open it.
    pub(super) real: PathBuf,
    /// True if it is the directory itself.
    pub(super) exists: bool,
}

impl Host {
    /// The host that this process runs on.
    #[must_use]
    pub fn this() -> Self {
        Self { root: PathBuf::from("/"), calls: Box::new(Kernel) }
    }

    /// A simulated host for tests: a tree under `root`, and results of system calls.
    #[cfg(test)]
    pub(super) fn made(root: PathBuf, calls: Box<dyn Calls>) -> Self {
        Self { root, calls }
    }

    fn real(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The directory, or its nearest existing ancestor.
    fn locate(&self, directory: &Path) -> io::Result<Located> {
        let absolute = std::path::absolute(directory)?;
        let root = self.root.canonicalize()?;
        let wanted = root.join(absolute.strip_prefix("/").unwrap_or(&absolute));
        for (steps, candidate) in wanted.ancestors().enumerate() {
            match candidate.canonicalize() {
                Ok(real) => {
                    let path = Path::new("/").join(real.strip_prefix(&root).unwrap_or(&real));
                    return Ok(Located { path, real, exists: steps == 0 });
                }
                // The look above finds the file that stands in the way.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    fn read(&self, path: &str) -> io::Result<String> {
        let mut bytes = Vec::new();
        // Does not block on a pipe in place of a file.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(self.real(path))?;
        file.take(limits::DOCTOR_FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// One value that a check read, and its source: a file, a directory or a system call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reading {
    /// The path, or the name of the call.
    pub source: String,
    /// The value, or why it could not be read.
    pub value: String,
}

/// The reason why a check could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown(pub(super) String);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The state of one running check.
pub(super) struct Examination<'a> {
    pub(super) config: &'a Config,
    host: &'a Host,
    read: Vec<Reading>,
}

impl<'a> Examination<'a> {
    pub(super) fn new(host: &'a Host, config: &'a Config) -> Self {
        Self { config, host, read: Vec::new() }
    }

    pub(super) fn into_readings(self) -> Vec<Reading> {
        self.read
    }

    /// Records a value that was read.
    pub(super) fn record(&mut self, source: impl Into<String>, value: impl fmt::Display) {
        self.read.push(Reading { source: source.into(), value: value.to_string() });
    }

    /// The system calls. The caller records their results.
    pub(super) fn calls(&self) -> &'a dyn Calls {
        self.host.calls.as_ref()
    }

    /// Records that a call failed, and returns that as the reason.
    pub(super) fn failed(&mut self, call: impl Into<String>, error: &io::Error) -> Unknown {
        let call = call.into();
        self.record(&call, format!("failed: {error}"));
        Unknown(format!("{call} failed: {error}"))
    }

    fn unreadable(&mut self, path: &str, error: &io::Error) -> Unknown {
        self.record(path, format!("unreadable: {error}"));
        Unknown(format!("{path} cannot be read: {error}"))
    }

    /// Reads a file of many lines; the caller records the relevant ones.
    pub(super) fn lines(&mut self, path: &str) -> Result<String, Unknown> {
        self.host.read(path).map_err(|error| self.unreadable(path, &error))
    }

    /// Reads a file of one line.
    pub(super) fn text(&mut self, path: &str) -> Result<String, Unknown> {
        let text = self.lines(path)?.trim().to_owned();
        self.record(path, &text);
        Ok(text)
    }

    /// Reads a file of one line that may legitimately be missing.
    pub(super) fn optional(&mut self, path: &str) -> Result<Option<String>, Unknown> {
        match self.host.read(path) {
            Ok(text) => {
                self.record(path, text.trim());
                Ok(Some(text.trim().to_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.record(path, "missing");
                Ok(None)
            }
            Err(error) => Err(self.unreadable(path, &error)),
        }
    }

    /// Reads a file that holds one number.
    pub(super) fn number<T: FromStr>(&mut self, path: &str) -> Result<T, Unknown> {
        let text = self.text(path)?;
        text.parse().map_err(|_| Unknown(format!("{path} does not hold a number: {text:?}")))
    }

    /// The names in a directory, sorted.
    pub(super) fn names(&mut self, path: &str) -> Result<Vec<String>, Unknown> {
        let entries = fs::read_dir(self.host.real(path)).map_err(|error| self.unreadable(path, &error))?;
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Returns true if the file or directory exists.
    pub(super) fn exists(&self, path: &str) -> bool {
        self.host.real(path).exists()
    }

    /// The data directory, or the place where it would be created.
    pub(super) fn data_dir(&mut self) -> Result<Located, Unknown> {
        let named = self.config.data_dir.display();
        let located = self
            .host
            .locate(&self.config.data_dir)
            .map_err(|error| self.failed(format!("realpath(3) {named}"), &error))?;
        if !located.exists {
            let found = format!("missing; the nearest existing directory is {}", located.path.display());
            self.record(named.to_string(), found);
        }
        Ok(located)
    }
}
