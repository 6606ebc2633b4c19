//! The system calls that checks make, behind one trait, so that tests can substitute a simulated host.
#![expect(unsafe_code, reason = "adjtimex(2) and faccessat(2) have no safe form in std")]

use crate::{limits, listening::ResolvedAddress};
use log::os::statvfs;
pub(super) use log::{Holder, os::statvfs::Usage};
use reactor::uring;
use std::{
    ffi::CString,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    mem::MaybeUninit,
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

/// State of the system clock, from adjtimex(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClockState {
    /// True if the clock is synchronised: `STA_UNSYNC` is not set and the state is not `TIME_ERROR`.
    pub(super) synchronised: bool,
    /// Maximum error, in microseconds, as the kernel estimates it.
    pub(super) error_us_max: i64,
}

/// The system calls that checks make.
pub(super) trait Calls: fmt::Debug {
    /// Tries what the io_uring driver needs.
    fn io_uring(&self) -> Result<uring::Report, uring::Unavailable>;
    /// Tries to set up the rings of this many reactors, for this many connections each, all at one time.
    fn rings(&self, reactors: usize, connections: u32) -> Result<(), uring::Unavailable>;
    /// Lets time pass between two samples.
    fn wait(&self, span: Duration);
    /// The clock's state (adjtimex(2)).
    fn clock(&self) -> io::Result<ClockState>;
    /// The wall clock.
    fn now(&self) -> SystemTime;
    /// Free space on the file system that holds `path` (statvfs(3)).
    fn usage(&self, path: &Path) -> io::Result<Usage>;
    /// Checks that this process may create files in `directory` (faccessat(2)).
    fn may_write(&self, directory: &Path) -> io::Result<()>;
    /// Times of appending 4 KiB and syncing them in `directory`, in the order taken. At least one.
    fn sync_times(&self, directory: &Path) -> io::Result<Vec<Duration>>;
    /// Tries to bind `place` (bind(2)).
    fn bind(&self, place: &ResolvedAddress) -> io::Result<()>;
    /// The server that holds the lock of the data directory.
    fn holder(&self, directory: &Path) -> io::Result<Holder>;
    /// Syncs the directory itself (fsync(2)).
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
}

/// The kernel that this process runs on.
#[derive(Debug)]
pub(super) struct Kernel;

impl Calls for Kernel {
    fn io_uring(&self) -> Result<uring::Report, uring::Unavailable> {
        uring::probe()
    }

    fn rings(&self, reactors: usize, connections: u32) -> Result<(), uring::Unavailable> {
        uring::probe_rings(reactors, connections, limits::RECEIVE_BUFFERS)
    }

    fn wait(&self, span: Duration) {
        thread::sleep(span);
    }

    fn clock(&self) -> io::Result<ClockState> {
        let mut timex = MaybeUninit::<libc::timex>::zeroed();
        // SAFETY: `timex` is a live timex of zeroes, whose `modes` of 0 asks for nothing to be changed; the call writes
        // nothing else.
        let state = unsafe { libc::adjtimex(timex.as_mut_ptr()) };
        if state == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: every field is an integer, for which zero is a value.
        let timex = unsafe { timex.assume_init() };
        Ok(ClockState {
            synchronised: state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
            error_us_max: timex.maxerror,
        })
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn usage(&self, path: &Path) -> io::Result<Usage> {
        statvfs::usage(path)
    }

    fn may_write(&self, directory: &Path) -> io::Result<()> {
        let path = CString::new(directory.as_os_str().as_bytes())?;
        let mode = libc::R_OK | libc::W_OK | libc::X_OK;
        // SAFETY: the path is a live C string, and the call writes nothing.
        match unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), mode, libc::AT_EACCESS) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn sync_times(&self, directory: &Path) -> io::Result<Vec<Duration>> {
        let mut sample = SampleFile::create(directory)?;
        let block = [b'\n'; limits::DOCTOR_SYNC_BYTES];
        let began = Instant::now();
        let mut times = Vec::with_capacity(limits::DOCTOR_SYNCS_MAX);
        while times.len() < limits::DOCTOR_SYNCS_MAX && began.elapsed() < limits::DOCTOR_SYNC_TIME_MAX {
            let start = Instant::now();
            sample.file.write_all(&block)?;
            sample.file.sync_data()?;
            times.push(start.elapsed());
        }
        Ok(times)
    }

    fn bind(&self, place: &ResolvedAddress) -> io::Result<()> {
        place.try_out()
    }

    fn holder(&self, directory: &Path) -> io::Result<Holder> {
        log::holder(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }
}

/// The file that the disk is measured with. It has a name while it exists, because a file system may skip the sync of
/// an unnamed file (btrfs does); dropping this removes it.
#[derive(Debug)]
struct SampleFile {
    file: File,
    path: PathBuf,
}

impl SampleFile {
    fn create(directory: &Path) -> io::Result<Self> {
        let path = directory.join(format!("metricstream-doctor-{}.tmp", std::process::id()));
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path })
    }
}

impl Drop for SampleFile {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            Ok(()) => {}
            // A server that runs on the directory may tidy up what ends like this.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("cannot remove {}: {error}", self.path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_bounded_and_leave_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let times = Kernel.sync_times(directory.path()).unwrap();
        assert!((1..=limits::DOCTOR_SYNCS_MAX).contains(&times.len()));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_kernel_responds() {
        let directory = tempfile::tempdir().unwrap();
        let usage = Kernel.usage(directory.path()).unwrap();
        assert!(usage.bytes >= usage.bytes_free && usage.bytes > 0);
        assert!(Kernel.clock().unwrap().error_us_max >= 0);
        Kernel.may_write(directory.path()).unwrap();
        let missing = Kernel.may_write(&directory.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
