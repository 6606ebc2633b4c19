//! Opening a file and making a directory.

use super::{File, by_name};
use crate::disk::{How, errno};
use std::{io, path::Path};

/// As in the standard library.
#[derive(Debug, Clone)]
pub struct OpenOptions(pub(super) How);

impl OpenOptions {
    /// As in the standard library.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "as in the standard library")]
    pub fn new() -> Self {
        Self(How { mode: 0o644, ..How::default() })
    }

    /// As in the standard library.
    pub fn read(&mut self, read: bool) -> &mut Self {
        self.0.read = read;
        self
    }

    /// As in the standard library.
    pub fn write(&mut self, write: bool) -> &mut Self {
        self.0.write = write;
        self
    }

    /// As in the standard library.
    pub fn append(&mut self, append: bool) -> &mut Self {
        self.0.append = append;
        self
    }

    /// As in the standard library.
    pub fn create(&mut self, create: bool) -> &mut Self {
        self.0.create = create;
        self
    }

    /// As in the standard library.
    pub fn create_new(&mut self, create_new: bool) -> &mut Self {
        self.0.create_new = create_new;
        self
    }

    /// As in the standard library.
    pub fn truncate(&mut self, truncate: bool) -> &mut Self {
        self.0.truncate = truncate;
        self
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// As in the standard library.
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        by_name("open", path, |state| {
            if state.random.chance(state.faults.no_descriptor) {
                state.injected.no_descriptor += 1;
                return Err(errno(libc::EMFILE));
            }
            let creates = (self.0.create || self.0.create_new) && state.disk.find(path).is_err();
            if creates && state.is_full() && state.random.below(2) == 0 {
                return Err(state.full_error());
            }
            state.disk.open(path, self.0, state.wall_ns()).map(File)
        })
    }
}

/// As in the standard library.
#[derive(Debug)]
pub struct DirBuilder {
    pub(super) mode: u32,
    is_recursive: bool,
}

impl DirBuilder {
    /// As in the standard library.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "as in the standard library")]
    pub fn new() -> Self {
        Self { mode: 0o755, is_recursive: false }
    }

    /// As in the standard library.
    pub fn recursive(&mut self, recursive: bool) -> &mut Self {
        self.is_recursive = recursive;
        self
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// As in the standard library.
    pub fn create(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        by_name("mkdir", path, |state| {
            let now_ns = state.wall_ns();
            let mut missing: Vec<_> = path.ancestors().take_while(|path| state.disk.find(path).is_err()).collect();
            if !self.is_recursive {
                missing = vec![path];
            }
            missing.into_iter().rev().try_for_each(|path| state.disk.create_directory(path, self.mode, now_ns))
        })
    }
}
