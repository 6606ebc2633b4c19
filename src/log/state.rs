//! The state file: what the log must know about itself at the next start and cannot tell from its own bytes.
//!
//! Batches leave no mark in the log, so half a batch of whole lines looks like any other lines. The state file therefore
//! holds the length up to which the log is known to consist of whole batches, and what that knowledge is good for: the
//! boot of the machine and the file's identity. It is a few lines of text of fixed width, for people and for `pwrite(2)`
//! in place: one call, one page, so the death of the process cannot leave half of a number.
//!
//! ```text
//! metricstream state 1
//! boot_id 5b3c7a52-9a9c-4a2e-8f4e-1d0c8a6b7e21
//! device 00000000000000002049
//! inode 00000000000000131077
//! committed_bytes 00000000000000004096
//! clean 0
//! unclean_shutdowns 00000000000000000003
//! ```

use crate::sync::{Mutex, MutexGuard};
use std::{
    fs::File,
    io::{self, Write as _},
    os::unix::fs::{FileExt, MetadataExt},
    sync::PoisonError,
};

const HEADER: &str = "metricstream state 1\n";
/// A boot id is a UUID in text.
const BOOT_ID_BYTES: usize = 36;
/// A number has as many digits as the largest `u64`.
const DIGITS: usize = 20;

/// Where the committed length stands: after the header, `boot_id`, `device` and `inode`, each with a space and a line's
/// end, and after its own name.
const COMMITTED_AT: usize = HEADER.len()
    + ("boot_id \n".len() + BOOT_ID_BYTES)
    + ("device \n".len() + DIGITS)
    + ("inode \n".len() + DIGITS)
    + "committed_bytes ".len();
/// Where the digit of `clean` stands: after the committed length and the line's end, and after its own name.
const CLEAN_AT: usize = COMMITTED_AT + DIGITS + "\nclean ".len();

/// What the state file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// Of the boot under which the log was written; `None` if the system did not tell.
    pub(crate) boot_id: Option<String>,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) committed_bytes: u64,
    pub(crate) clean: bool,
    pub(crate) unclean_shutdowns: u64,
}

impl State {
    /// Whether its committed length means this file, as it was written since this boot.
    pub(super) fn is_about(&self, log: &File, boot_id: Option<&str>) -> io::Result<bool> {
        let metadata = log.metadata()?;
        Ok(self.boot_id.is_some()
            && self.boot_id.as_deref() == boot_id
            && (self.device, self.inode) == (metadata.dev(), metadata.ino()))
    }

    pub(crate) fn to_text(&self) -> String {
        format!(
            "{HEADER}boot_id {:BOOT_ID_BYTES$}\ndevice {:0DIGITS$}\ninode {:0DIGITS$}\ncommitted_bytes {:0DIGITS$}\n\
             clean {}\nunclean_shutdowns {:0DIGITS$}\n",
            self.boot_id.as_deref().unwrap_or_default(),
            self.device,
            self.inode,
            self.committed_bytes,
            u8::from(self.clean),
            self.unclean_shutdowns,
        )
    }

    /// `None` unless the text is what [`to_text`](Self::to_text) gives, to the byte.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_prefix(HEADER)?.lines();
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let boot_id = value("boot_id")?.trim_end();
        let state = Self {
            boot_id: (!boot_id.is_empty()).then(|| boot_id.to_owned()),
            device: value("device")?.parse().ok()?,
            inode: value("inode")?.parse().ok()?,
            committed_bytes: value("committed_bytes")?.parse().ok()?,
            clean: value("clean")? == "1",
            unclean_shutdowns: value("unclean_shutdowns")?.parse().ok()?,
        };
        (state.to_text() == text).then_some(state)
    }
}

/// The identity of this boot of the machine (random(4)); `None` without /proc.
pub(crate) fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let boot_id = text.trim();
    (boot_id.len() == BOOT_ID_BYTES).then(|| boot_id.to_owned())
}

/// The state file, open for writing.
#[derive(Debug)]
pub(crate) struct StateFile {
    file: File,
    held: Mutex<Held>,
}

/// What the state file says, or is to say.
#[derive(Debug)]
struct Held {
    state: State,
    /// All but the committed length stands in the file as it is here.
    is_written: bool,
}

impl StateFile {
    /// Replaces what `file` says, on stable storage.
    pub(crate) fn create(file: File, state: State) -> io::Result<Self> {
        let text = state.to_text();
        file.write_all_at(text.as_bytes(), 0)?;
        file.set_len(text.len() as u64)?;
        file.sync_all()?;
        Ok(Self { file, held: Mutex::new(Held { state, is_written: true }) })
    }

    /// The log is `device` and `inode` from now on. The file says so with the next [`record`](Self::record).
    pub(super) fn begin(&self, device: u64, inode: u64) {
        let mut held = self.held();
        (held.state.device, held.state.inode) = (device, inode);
        held.is_written = false;
    }

    /// Notes that the first `committed_bytes` of the log are whole batches.
    pub(super) fn record(&self, committed_bytes: u64) -> io::Result<()> {
        let mut held = self.held();
        if held.is_written {
            let mut digits = [0; DIGITS];
            write!(&mut digits[..], "{committed_bytes:0DIGITS$}")?;
            return self.file.write_all_at(&digits, COMMITTED_AT as u64);
        }
        held.state.committed_bytes = committed_bytes;
        self.file.write_all_at(held.state.to_text().as_bytes(), 0)?;
        held.is_written = true;
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes on stable storage that the log was closed with everything in it.
    pub(super) fn mark_clean(&self) -> io::Result<()> {
        self.file.write_all_at(b"1", CLEAN_AT as u64)?;
        self.file.sync_all()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            boot_id: Some("5b3c7a52-9a9c-4a2e-8f4e-1d0c8a6b7e21".to_owned()),
            device: 2049,
            inode: u64::MAX,
            committed_bytes: 0,
            clean: false,
            unclean_shutdowns: 3,
        }
    }

    #[test]
    fn what_is_rewritten_in_place_is_read_back() {
        let file = tempfile::tempfile().unwrap();
        let state_file = StateFile::create(file.try_clone().unwrap(), state()).unwrap();
        let read = || {
            let mut text = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
            file.read_exact_at(&mut text, 0).unwrap();
            State::parse(std::str::from_utf8(&text).unwrap())
        };
        assert_eq!(read(), Some(state()));
        for committed_bytes in [1, 4096, u64::MAX] {
            state_file.record(committed_bytes).unwrap();
            assert_eq!(read(), Some(State { committed_bytes, ..state() }));
        }
        state_file.begin(7, 8);
        for committed_bytes in [0, 9] {
            state_file.record(committed_bytes).unwrap();
            assert_eq!(read(), Some(State { device: 7, inode: 8, committed_bytes, ..state() }));
        }
        state_file.mark_clean().unwrap();
        assert_eq!(read(), Some(State { device: 7, inode: 8, committed_bytes: 9, clean: true, ..state() }));
    }

    #[test]
    fn a_state_without_a_boot_id_is_about_no_file() {
        let state = State { boot_id: None, ..state() };
        assert_eq!(State::parse(&state.to_text()), Some(state.clone()));
        assert!(!state.is_about(&tempfile::tempfile().unwrap(), None).unwrap());
    }

    #[test]
    fn a_garbled_state_is_none() {
        let text = state().to_text();
        for length in 0..text.len() {
            assert_eq!(State::parse(&text[..length]), None, "cut to {length} bytes");
        }
        assert_eq!(State::parse(&format!("{text}\n")), None);
        assert_eq!(State::parse(&text.replace("clean 0", "clean 2")), None);
        assert_eq!(State::parse(&text.replace("state 1", "state 2")), None);
        assert_eq!(State::parse(&text.replace("00002049", "+0002049")), None);
        assert_eq!(State::parse(&text.replace("00002049", "2049")), None);
    }

    #[test]
    fn this_machine_tells_its_boot() {
        assert_eq!(boot_id().map(|boot_id| boot_id.len()), Some(BOOT_ID_BYTES));
    }
}
