//! Files, by the names of the standard library, with the faults that the machine draws.

mod open;
pub(crate) mod unix;

pub use open::{DirBuilder, OpenOptions};
pub use std::fs::TryLockError;

use crate::{
    disk::{Stat, errno},
    state::{State, seam, with},
    tasks,
    time::SystemTime,
};
use std::{
    ffi::OsString,
    io::{self, IoSlice, Read, Seek, SeekFrom, Write},
    ops::Range,
    os::fd::{AsRawFd, RawFd},
    path::{Path, PathBuf},
};

/// Ends of the names of files in which bits rot as they are written or read: compressed files while there is still
/// the plain one, and the state.
const ROTS: &[&str] = &[".zst", ".zst.tmp", ".state"];
/// The file that holds the id of the boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or("/")
}

/// A call about a name: a seam, and then `operation` on the machine.
fn by_name<T>(what: &'static str, path: &Path, operation: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
    seam(what, name_of(path), 0)?;
    with(operation).unwrap_or_else(|| Err(errno(libc::ENODEV)))
}

/// As in the standard library.
#[derive(Debug)]
pub struct File(u64);

impl File {
    /// As in the standard library.
    ///
    /// # Errors
    /// As in the standard library.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        OpenOptions::new().read(true).open(path)
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// As in the standard library.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    /// A call about the file: a seam, and then `operation` on the machine.
    fn call<T>(
        &self,
        what: &'static str,
        number: u64,
        operation: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let inode = with(|state| state.disk.inode_of(self.0).unwrap_or(0)).unwrap_or(0);
        seam(what, "", inode << 40 | number)?;
        with(operation).unwrap_or_else(|| Err(errno(libc::ENODEV)))
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// As in the standard library.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.call("fstat", 0, |state| Ok(Metadata(state.disk.stat(state.disk.inode_of(self.0)?)?)))
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// As in the standard library.
    pub fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.call("ftruncate", bytes, |state| state.disk.set_len(self.0, bytes, state.wall_ns()))
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// As in the standard library.
    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.call("futimens", 0, |state| state.disk.set_modified(self.0, time.0))
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// `EIO`: the pages are lost. Otherwise as in the standard library.
    pub fn sync_all(&self) -> io::Result<()> {
        let (sync, slow_ns) = self.call("sync begins", 0, |state| {
            let is_slow = state.random.chance(state.faults.slow_sync);
            state.injected.slow_syncs += u64::from(is_slow);
            let slow_ns = if is_slow { state.random.below(500_000_000) } else { 0 };
            Ok((state.disk.begin_sync(self.0)?, slow_ns))
        })?;
        // The disk takes its time, and others go on meanwhile.
        if slow_ns > 0 {
            tasks::sleep(slow_ns);
        }
        self.call("sync ends", 0, |state| {
            if state.random.chance(state.faults.sync_error) {
                state.injected.sync_errors += 1;
                state.disk.fail_sync(sync);
                return Err(errno(libc::EIO));
            }
            state.disk.finish_sync(sync);
            Ok(())
        })
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// As [`sync_all`](Self::sync_all).
    pub fn sync_data(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn take_lock(&self, is_exclusive: bool) -> Result<(), TryLockError> {
        match self.call("flock", u64::from(is_exclusive), |state| state.disk.lock(self.0, is_exclusive)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(TryLockError::WouldBlock),
            Err(error) => Err(TryLockError::Error(error)),
        }
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// As in the standard library.
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        self.take_lock(true)
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// As in the standard library.
    pub fn try_lock_shared(&self) -> Result<(), TryLockError> {
        self.take_lock(false)
    }

    fn write_some(&self, at: Option<u64>, bytes: &[u8]) -> io::Result<usize> {
        self.call("write", bytes.len() as u64, |state| {
            let faults = state.faults;
            if state.random.chance(faults.interrupted) {
                state.injected.interrupted += 1;
                return Err(errno(libc::EINTR));
            }
            if state.random.chance(faults.write_error) {
                state.injected.write_errors += 1;
                return Err(errno(libc::EIO));
            }
            let mut taken = bytes.len();
            if taken > 1 && state.random.chance(faults.short_write) {
                state.injected.short_writes += 1;
                state.count_towards_kill("short write");
                taken = state.random.between(1, taken as u64 - 1) as usize;
            }
            let allocated = state.disk.allocated_space(self.0, at, taken)?;
            let is_full = state.is_full() || state.disk.used_bytes() + taken as u64 > state.disk_bytes;
            if allocated < taken && is_full {
                taken = allocated;
                if taken == 0 {
                    return Err(state.full_error());
                }
            }
            let written = state.disk.write(self.0, at, &bytes[..taken], state.wall_ns())?;
            if state.random.chance(faults.bit_rot) {
                let State { disk, random, .. } = state;
                let is_rotten = disk.rot_written(self.0, at, written, ROTS, random);
                state.injected.bits_flipped += u64::from(is_rotten);
            }
            Ok(written)
        })
    }

    fn read_some(&self, at: Option<u64>, buffer: &mut [u8]) -> io::Result<usize> {
        self.call("read", buffer.len() as u64, |state| {
            let faults = state.faults;
            if state.random.chance(faults.interrupted) {
                state.injected.interrupted += 1;
                return Err(errno(libc::EINTR));
            }
            if state.random.chance(faults.read_error) {
                state.injected.read_errors += 1;
                return Err(errno(libc::EIO));
            }
            if state.random.chance(faults.bit_rot) {
                let State { disk, random, .. } = state;
                let is_rotten = disk.rot(self.0, at, buffer.len(), ROTS, random);
                state.injected.bits_flipped += u64::from(is_rotten);
            }
            state.disk.read(self.0, at, buffer)
        })
    }
}

impl Drop for File {
    fn drop(&mut self) {
        with(|state| {
            if !state.is_dead {
                state.disk.close(self.0);
            }
        });
    }
}

impl AsRawFd for File {
    /// A descriptor that leads nowhere.
    fn as_raw_fd(&self) -> RawFd {
        -1
    }
}

impl Read for &File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_some(None, buffer)
    }
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_some(None, buffer)
    }
}

impl Write for &File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_some(None, bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_some(None, &pieces.iter().map(|piece| &**piece).collect::<Vec<_>>().concat())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_some(None, bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.call("lseek", 0, |state| state.disk.seek(self.0, to))
    }
}

/// As in the standard library.
#[derive(Debug, Clone)]
pub struct Metadata(Stat);

impl Metadata {
    /// As in the standard library.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "as in the standard library")]
    pub fn len(&self) -> u64 {
        self.0.bytes
    }

    /// As in the standard library.
    #[must_use]
    pub fn is_file(&self) -> bool {
        !self.0.is_directory
    }

    /// As in the standard library.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.0.is_directory
    }

    /// As in the standard library.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        FileType(self.0.is_directory)
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// None.
    pub fn created(&self) -> io::Result<SystemTime> {
        Ok(SystemTime(self.0.created_ns))
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// None.
    pub fn modified(&self) -> io::Result<SystemTime> {
        Ok(SystemTime(self.0.modified_ns))
    }

    /// As in the standard library.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        Permissions(self.0.mode)
    }
}

/// As in the standard library.
#[derive(Debug, Clone)]
pub struct Permissions(u32);

/// As in the standard library: true for a directory.
#[derive(Debug, Clone, Copy)]
pub struct FileType(bool);

impl FileType {
    /// As in the standard library.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.0
    }

    /// As in the standard library.
    #[must_use]
    pub fn is_file(&self) -> bool {
        !self.0
    }

    /// As in the standard library.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        false
    }
}

/// As in the standard library.
///
/// # Errors
/// As in the standard library.
pub fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = path.as_ref();
    by_name("stat", path, |state| Ok(Metadata(state.disk.stat(state.disk.find(path)?)?)))
}

/// As in the standard library: there are no links.
///
/// # Errors
/// As in the standard library.
pub fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    metadata(path)
}

/// As in the standard library.
///
/// # Errors
/// As in the standard library.
pub fn exists(path: impl AsRef<Path>) -> io::Result<bool> {
    match metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// As in the standard library.
///
/// # Errors
/// As in the standard library.
pub fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    by_name("unlink", path, |state| {
        let contents = state.disk.contents(path).map(<[u8]>::to_vec);
        state.disk.unlink(path)?;
        state.removed.push((name_of(path).to_owned(), contents?));
        Ok(())
    })
}

/// As in the standard library.
///
/// # Errors
/// As in the standard library.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    by_name("rename", to, |state| state.disk.rename(from, to, true))
}

/// As `host`'s.
///
/// # Errors
/// `AlreadyExists`: the name is taken.
pub fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    by_name("rename to a free name", to, |state| state.disk.rename(from, to, false))
}

/// As `host`'s, on a disk that has no blocks: nothing but the call.
///
/// # Errors
/// `ENOSPC`, `EDQUOT`: the disk is full.
pub fn preallocate(file: &File, range: Range<u64>) -> io::Result<()> {
    file.call("fallocate", range.start, |state| if state.is_full() { Err(state.full_error()) } else { Ok(()) })
}

/// As `host`'s: no more than the calls.
pub fn free_preallocated(file: &File) {
    if let Ok(found) = file.metadata() {
        let _ = file.set_len(found.len());
    }
}

/// As in the standard library.
///
/// # Errors
/// As in the standard library.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// As in the standard library.
///
/// # Errors
/// As in the standard library.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    if path.as_ref() == Path::new(BOOT_ID) {
        return by_name("boot id", path.as_ref(), |state| Ok(state.boot_id() + "\n"));
    }
    String::from_utf8(read(path)?).map_err(|_| errno(libc::EILSEQ))
}

/// As in the standard library.
///
/// # Errors
/// As in the standard library.
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    File::create(path)?.write_all(bytes.as_ref())
}

/// As in the standard library.
#[derive(Debug)]
pub struct DirEntry {
    directory: PathBuf,
    name: String,
}

impl DirEntry {
    /// As in the standard library.
    #[must_use]
    pub fn file_name(&self) -> OsString {
        self.name.clone().into()
    }

    /// As in the standard library.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }
}

/// As in the standard library. The names are those at one moment.
///
/// # Errors
/// As in the standard library.
pub fn read_dir(path: impl AsRef<Path>) -> io::Result<impl Iterator<Item = io::Result<DirEntry>>> {
    let directory = path.as_ref().to_owned();
    let names = by_name("list", &directory, |state| state.disk.list(&directory))?;
    Ok(names.into_iter().map(move |name| Ok(DirEntry { directory: directory.clone(), name })))
}

/// Space of the disk, as `host`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Total bytes.
    pub bytes: u64,
    /// Bytes that may still be filled.
    pub bytes_free: u64,
    /// Files that it can hold.
    pub inodes: u64,
    /// Files that may still be created.
    pub inodes_free: u64,
}

/// Space of the disk.
///
/// # Errors
/// There is no such file.
pub fn usage(path: &Path) -> io::Result<Usage> {
    by_name("statvfs", path, |state| {
        state.disk.find(path)?;
        let free = if state.is_full() { 0 } else { state.disk_bytes.saturating_sub(state.disk.used_bytes()) };
        Ok(Usage { bytes: state.disk_bytes, bytes_free: free, inodes: 1 << 20, inodes_free: 1 << 19 })
    })
}
