//! Periodic checks that the data directory is still the one that is locked, and the log in it still the one that is
//! written.

use super::{
    lock::DirectoryLock,
    rotation::Segments,
    troubles::{Trouble, Troubles},
};
use crate::segment::DirectoryWatch;
use std::{io, sync::Arc};

/// The checks of an opened log. A finding is set as a trouble of the log.
#[derive(Debug)]
pub struct Watch {
    pub(super) segments: Arc<Segments>,
    pub(super) lock: Arc<DirectoryLock>,
    pub(super) troubles: Arc<Troubles>,
}

impl DirectoryWatch for Watch {
    fn moved_active(&self) -> Option<(u64, u64)> {
        self.segments.displaced_identity()
    }

    fn look(&self) -> io::Result<()> {
        let directory = self.lock.check_directory();
        if let Err(error) = &directory {
            self.troubles.set(Trouble::Place, Some(format!("the data directory is no longer at its path: {error}")));
            return directory;
        }
        self.troubles.set(Trouble::Place, self.segments.displaced());
        let lock = self.lock.restore_file();
        self.troubles.set(
            Trouble::Lock,
            lock.err().map(|error| format!("the lock of the data directory cannot be checked: {error}")),
        );
        Ok(())
    }
}
