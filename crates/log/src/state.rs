//! The state file: facts that the log needs at the next start and cannot derive from its own bytes.
//!
//! Batches leave no mark in the log, so half a batch of whole lines is indistinguishable from other lines. The state
//! file therefore holds the length up to which the log is known to consist of whole batches, and the conditions under
//! which that length is valid: the boot of the machine (`boot`) and the file's identity. It is a few lines of text of
//! fixed width, readable by people and written in place by `pwrite(2)`: one call, one page, so a crash of the process
//! cannot leave half of it.
//!
//! ```text
//! metricstream state 2
//! boot_id 5b3c7a52-9a9c-4a2e-8f4e-1d0c8a6b7e21
//! booted_ns 01767323045678000000
//! uptime_ns 00000000086400000000
//! device 00000000000000002049
//! inode 00000000000000131077
//! committed_bytes 00000000000000004096
//! clean 0
//! unclean_shutdowns 00000000000000000003
//! crc32 8c0f3a11
//! ```
//!
//! `booted_ns` and `uptime_ns` are those of the last record. The checksum is the CRC-32, as in gzip, of everything
//! before its line.
//!
//! [`Standing`] and [`State::is_about`] decide what a state proves. A state that proves nothing never causes a line to
//! be moved aside. The last record survives a crash of the process and nothing more, since nothing is synced; nothing
//! more is needed: after a loss of power the boot is another, and then the state proves nothing whether its page
//! reached the disk or not. As each length is recorded before anything below it is acknowledged, no acknowledged line
//! lies beyond the length of a state that does prove something.

use super::{
    boot::{BOOT_ID_BYTES, Boot, began_ns},
    directory::{FILE_MODE, STATE_NAME},
};
use crate::{
    limits::{STATE_LOOK_INTERVAL, STATE_REPAIR_RETRY},
    os::dirent::{create_draft, sync_directory},
};
use host::{
    fs::{self, File, Metadata},
    os::unix::fs::{FileExt, MetadataExt},
    time::boottime_ns as uptime_ns,
};
use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
    sync::{
        PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use wake::sync::{Mutex, MutexGuard};

const HEADER: &str = "metricstream state 2\n";
/// Header of the versions without a checksum and without the moment of the boot.
const HEADER_OLD: &str = "metricstream state 1\n";
/// Digits of a number: as many as the largest `u64` has.
const DIGITS: usize = 20;
const CRC_DIGITS: usize = 8;

// Offsets of the values: each after the one before it, a line end, and its own name.
const BOOT_ID_AT: usize = HEADER.len() + "boot_id ".len();
const BOOTED_AT: usize = BOOT_ID_AT + BOOT_ID_BYTES + "\nbooted_ns ".len();
const UPTIME_AT: usize = BOOTED_AT + DIGITS + "\nuptime_ns ".len();
const DEVICE_AT: usize = UPTIME_AT + DIGITS + "\ndevice ".len();
const INODE_AT: usize = DEVICE_AT + DIGITS + "\ninode ".len();
const COMMITTED_AT: usize = INODE_AT + DIGITS + "\ncommitted_bytes ".len();
const CLEAN_AT: usize = COMMITTED_AT + DIGITS + "\nclean ".len();
const UNCLEAN_AT: usize = CLEAN_AT + 1 + "\nunclean_shutdowns ".len();
const CRC_LINE_AT: usize = UNCLEAN_AT + DIGITS + 1;
const CRC_AT: usize = CRC_LINE_AT + "crc32 ".len();
const STATE_BYTES: usize = CRC_AT + CRC_DIGITS + 1;

/// Validity of a state file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The text is as it was written.
    Sound,
    /// The version wrote no checksum, so it is unknown whether the text is as it was written.
    Unchecked,
    /// The checksum is wrong.
    Damaged,
}

/// The content of a state file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Validity of the text.
    pub standing: Standing,
    /// The boot under which the log was written, at the last record.
    pub boot: Boot,
    /// Device of the active segment.
    pub device: u64,
    /// Inode of the active segment.
    pub inode: u64,
    /// Length up to which the active segment consists of whole batches.
    pub committed_bytes: u64,
    /// True if the last server stopped cleanly.
    pub clean: bool,
    /// Starts so far that found a log which was not closed cleanly.
    pub unclean_shutdowns: u64,
}

impl State {
    /// True if the committed length applies to this file, as written since this boot.
    pub(super) fn is_about(&self, log: &File, boot: &Boot) -> io::Result<bool> {
        let metadata = log.metadata()?;
        Ok(self.standing == Standing::Sound
            && boot.continues(&self.boot)
            && (self.device, self.inode) == (metadata.dev(), metadata.ino()))
    }

    /// The text of the file, with its checksum.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Boot { id, began_ns, uptime_ns } = &self.boot;
        let mut text = format!(
            "{HEADER}boot_id {:BOOT_ID_BYTES$}\nbooted_ns {began_ns:0DIGITS$}\nuptime_ns {uptime_ns:0DIGITS$}\n\
             device {:0DIGITS$}\ninode {:0DIGITS$}\ncommitted_bytes {:0DIGITS$}\nclean {}\n\
             unclean_shutdowns {:0DIGITS$}\n",
            id.as_deref().unwrap_or_default(),
            self.device,
            self.inode,
            self.committed_bytes,
            u8::from(self.clean),
            self.unclean_shutdowns,
        );
        let crc32 = crc32fast::hash(text.as_bytes());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "crc32 {crc32:0CRC_DIGITS$x}");
        text
    }

    /// Parses a state. `None` unless the text has the form of a state, to the byte; the validity of the checksum is in
    /// [`standing`](Self::standing).
    pub fn parse(text: &str) -> Option<Self> {
        let (lines, is_old) = match text.strip_prefix(HEADER) {
            Some(lines) => (lines, false),
            None => (text.strip_prefix(HEADER_OLD)?, true),
        };
        let mut lines = lines.lines();
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let boot_id = value("boot_id")?.trim_end();
        let boot_id = (!boot_id.is_empty()).then(|| boot_id.to_owned());
        let [began_ns, uptime_ns] = match is_old {
            true => [0; 2],
            false => [value("booted_ns")?.parse().ok()?, value("uptime_ns")?.parse().ok()?],
        };
        let mut state = Self {
            standing: Standing::Unchecked,
            boot: Boot { id: boot_id, began_ns, uptime_ns },
            device: value("device")?.parse().ok()?,
            inode: value("inode")?.parse().ok()?,
            committed_bytes: value("committed_bytes")?.parse().ok()?,
            clean: value("clean")? == "1",
            unclean_shutdowns: value("unclean_shutdowns")?.parse().ok()?,
        };
        if is_old {
            return (state.to_old_text() == text).then_some(state);
        }
        value("crc32")?;
        let written = state.to_text();
        state.standing = if written == text { Standing::Sound } else { Standing::Damaged };
        // A damaged state equals the text that would be written, but for its checksum.
        (written.len() == text.len() && written.get(..CRC_AT) == text.get(..CRC_AT) && text.ends_with('\n'))
            .then_some(state)
    }

    fn to_old_text(&self) -> String {
        format!(
            "{HEADER_OLD}boot_id {:BOOT_ID_BYTES$}\ndevice {:0DIGITS$}\ninode {:0DIGITS$}\n\
             committed_bytes {:0DIGITS$}\nclean {}\nunclean_shutdowns {:0DIGITS$}\n",
            self.boot.id.as_deref().unwrap_or_default(),
            self.device,
            self.inode,
            self.committed_bytes,
            u8::from(self.clean),
            self.unclean_shutdowns,
        )
    }
}

/// The state file, open for writing. If it is deleted, truncated or replaced while the server runs, that is detected
/// within [`STATE_LOOK_INTERVAL`] of writing, and it is written again.
#[derive(Debug)]
pub struct StateFile {
    directory: PathBuf,
    /// Device and inode of the directory: its path may later lead to another one.
    place: (u64, u64),
    held: Mutex<Contents>,
    /// Number of times it was written again.
    repairs: AtomicU64,
}

/// The file, and the text that it has or is to have.
#[derive(Debug)]
struct Contents {
    file: File,
    text: Vec<u8>,
    /// Time of the next check, in nanoseconds since the boot.
    look_at_ns: u64,
}

impl StateFile {
    /// Replaces the content of `file`, the state file of `directory`, on stable storage.
    pub fn create(directory: &Path, file: File, state: &State) -> io::Result<Self> {
        let text = state.to_text().into_bytes();
        rewrite(&file, &text)?;
        file.sync_all()?;
        let look_at_ns = uptime_ns().saturating_add(nanoseconds(STATE_LOOK_INTERVAL));
        let held = Mutex::new(Contents { file, text, look_at_ns });
        let place = identity(&fs::metadata(directory)?);
        Ok(Self { directory: directory.to_owned(), place, held, repairs: AtomicU64::new(0) })
    }

    /// Sets the active segment to `device` and `inode`. The file has them after the next [`record`](Self::record).
    pub(super) fn begin(&self, device: u64, inode: u64) {
        let mut held = self.held();
        put(&mut held.text, DEVICE_AT, device);
        put(&mut held.text, INODE_AT, inode);
    }

    /// Records that the first `committed_bytes` of the log are whole batches.
    pub(super) fn record(&self, committed_bytes: u64) -> io::Result<()> {
        let mut held = self.held();
        let now_ns = uptime_ns();
        put(&mut held.text, COMMITTED_AT, committed_bytes);
        put(&mut held.text, UPTIME_AT, now_ns);
        let is_time_to_look = now_ns >= held.look_at_ns;
        if is_time_to_look {
            put(&mut held.text, BOOTED_AT, began_ns());
        }
        seal(&mut held.text);
        if is_time_to_look {
            self.look(&mut held, now_ns);
        }
        held.file.write_all_at(&held.text, 0)
    }

    /// Number of times the file was written again while the server runs.
    pub(super) fn repairs(&self) -> u64 {
        self.repairs.load(Ordering::Relaxed)
    }

    /// Records on stable storage that the log was closed with everything in it.
    pub(super) fn mark_clean(&self) -> io::Result<()> {
        let mut held = self.held();
        held.text[CLEAN_AT] = b'1';
        seal(&mut held.text);
        self.look(&mut held, uptime_ns());
        held.file.write_all_at(&held.text, 0)?;
        held.file.sync_all()
    }

    fn held(&self) -> MutexGuard<'_, Contents> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that the state file is still the file that is open here, and whole. If not, it is written again, for the
    /// next start.
    fn look(&self, held: &mut Contents, now_ns: u64) {
        held.look_at_ns = now_ns.saturating_add(nanoseconds(STATE_LOOK_INTERVAL));
        if fs::metadata(&self.directory).is_ok_and(|found| identity(&found) != self.place) {
            return;
        }
        let path = self.directory.join(STATE_NAME);
        let (what, repaired) = match (held.file.metadata(), fs::metadata(&path)) {
            (Ok(ours), Ok(found)) if identity(&ours) != identity(&found) => {
                ("was replaced by another", self.replace(held))
            }
            (Ok(ours), Ok(_)) if ours.len() != STATE_BYTES as u64 => {
                ("was truncated or extended", rewrite(&held.file, &held.text))
            }
            (Ok(_), Err(error)) if error.kind() == io::ErrorKind::NotFound => ("was deleted", self.replace(held)),
            // Unchanged, or unknown.
            _ => return,
        };
        let is_in_place = || Ok::<_, io::Error>(identity(&held.file.metadata()?) == identity(&fs::metadata(&path)?));
        match repaired {
            // The file system gives a file another inode each time, so a replaced file cannot be detected.
            Ok(()) if is_in_place().is_ok_and(|is_in_place| !is_in_place) => held.look_at_ns = u64::MAX,
            Ok(()) => {
                self.repairs.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("{} {what} while the server runs; it was restored", path.display());
            }
            Err(error) => {
                held.look_at_ns = now_ns.saturating_add(nanoseconds(STATE_REPAIR_RETRY));
                tracing::warn!(
                    "{} {what}, and cannot be restored: {error}; after a crash half a batch may remain in the log",
                    path.display()
                );
            }
        }
    }

    /// Puts a new file in place of the lost one.
    fn replace(&self, held: &mut Contents) -> io::Result<()> {
        let draft = self.directory.join(format!("{STATE_NAME}.tmp"));
        let file = create_draft(&draft, FILE_MODE)?;
        rewrite(&file, &held.text)?;
        file.sync_all()?;
        fs::rename(&draft, self.directory.join(STATE_NAME))?;
        held.file = file;
        sync_directory(&self.directory)
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn rewrite(file: &File, text: &[u8]) -> io::Result<()> {
    file.write_all_at(text, 0)?;
    file.set_len(text.len() as u64)
}

/// Writes a number at its offset.
fn put(text: &mut [u8], at: usize, mut value: u64) {
    for digit in text[at..at + DIGITS].iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Updates the checksum.
fn seal(text: &mut [u8]) {
    let crc32 = crc32fast::hash(&text[..CRC_LINE_AT]);
    for (digit, shift) in text[CRC_AT..CRC_AT + CRC_DIGITS].iter_mut().zip((0..CRC_DIGITS).rev()) {
        *digit = b"0123456789abcdef"[(crc32 >> (4 * shift) & 0xf) as usize];
    }
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
