//! A library between the server and libc (LD_PRELOAD) that makes the disk fail, or kills the server at a call of its
//! choice.
//!
//! Device mapper and FUSE need rights and kernels that few machines give. This needs only the C compiler that Rust
//! needs anyway for linking: it is built on the spot.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

const SOURCE: &str = include_str!("../shim.c");

/// The library, built.
#[derive(Debug)]
pub struct Shim {
    library: PathBuf,
}

impl Shim {
    /// The fault that is a SIGKILL at a call.
    pub const SIGKILL: &str = "sigkill";
    /// No fault: syncs are noted in the journal.
    pub const POWER_CUT: &str = "power-cut";

    /// Builds it in `directory` with `cc`.
    ///
    /// # Errors
    /// `NotFound`: there is no C compiler. Anything else: it does not build.
    pub fn build(directory: &Path) -> io::Result<Self> {
        let (source, library) = (directory.join("shim.c"), directory.join("shim.so"));
        fs::write(&source, SOURCE)?;
        let output = Command::new("cc")
            .args(["-Wall", "-Werror", "-O1", "-fPIC", "-shared", "-o"])
            .arg(&library)
            .arg(&source)
            .output()
            .map_err(|error| io::Error::new(error.kind(), format!("cc: {error}")))?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(Self { library })
    }

    /// Has `command` run with it: after `calls` that go well, files below `directory` have `fault`, and what must not
    /// happen then is noted in `journal`, one line each.
    pub fn insert(&self, command: &mut Command, directory: &Path, fault: &str, calls: u32, journal: &Path) {
        command.envs(self.environment(directory, fault, calls, journal));
    }

    /// The environment variables that do the same for any command.
    #[must_use]
    pub fn environment(
        &self,
        directory: &Path,
        fault: &str,
        calls: u32,
        journal: &Path,
    ) -> [(&'static str, OsString); 5] {
        [
            ("LD_PRELOAD", self.library.clone().into()),
            ("TORTURE_DIRECTORY", directory.into()),
            ("TORTURE_FAULT", fault.into()),
            ("TORTURE_AFTER", calls.to_string().into()),
            ("TORTURE_JOURNAL", journal.into()),
        ]
    }
}
