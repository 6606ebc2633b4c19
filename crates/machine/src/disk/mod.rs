//! The disk: what programs see of it (the cache) and what survives a loss of power (the durable part), apart.
//!
//! Contents are cached and made durable in pages of [`PAGE_BYTES`]; names are durable apart from contents, and become
//! so when their directory is synced. A loss of power keeps any subset of the pages that were not synced, torn between
//! sectors, and any subset of the changes of names in which changes of one name keep their order; the end of a process
//! keeps everything. Numbers of inodes are given again, the lowest free one first.
//!
//! Knows no time, no threads and no faults but those of a loss of power: [`fs`](crate::fs) adds the rest.

mod cut;
mod inode;
#[cfg(test)]
mod tests;

use crate::random::Random;
pub use inode::Stat;
use inode::{Inode, Pages};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Component, Path},
};

/// Bytes of a page, the unit of caching.
pub const PAGE_BYTES: usize = 4096;
const ROOT: u64 = 2;

pub(crate) fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

/// The options with which a file is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// As in `OpenOptions`.
    pub read: bool,
    /// As in `OpenOptions`.
    pub write: bool,
    /// As in `OpenOptions`.
    pub append: bool,
    /// As in `OpenOptions`.
    pub create: bool,
    /// As in `OpenOptions`.
    pub create_new: bool,
    /// As in `OpenOptions`.
    pub truncate: bool,
    /// Permissions of a file that is created.
    pub mode: u32,
}

/// An open file description.
#[derive(Debug)]
struct Open {
    inode: u64,
    how: How,
    position: u64,
}

/// A change of names that is not durable yet: each name with the inode that it has after it.
#[derive(Debug, Clone)]
struct Change {
    directory: u64,
    names: Vec<(String, Option<u64>)>,
}

/// A sync that has begun and not ended.
#[derive(Debug)]
struct Sync {
    id: u64,
    inode: u64,
    pages: Pages,
    bytes: usize,
    changes: Vec<Change>,
}

/// The disk of a machine.
#[derive(Debug)]
pub struct Disk {
    inodes: BTreeMap<u64, Inode>,
    opens: BTreeMap<u64, Open>,
    next_id: u64,
    changes: Vec<Change>,
    syncs: Vec<Sync>,
}

impl Default for Disk {
    fn default() -> Self {
        let inodes = [(ROOT, Inode::new(true, 0o755, 0))].into();
        Self { inodes, opens: BTreeMap::new(), next_id: 1, changes: Vec::new(), syncs: Vec::new() }
    }
}

impl Disk {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn inode(&self, number: u64) -> io::Result<&Inode> {
        self.inodes.get(&number).ok_or_else(|| errno(libc::EIO))
    }

    fn inode_mut(&mut self, number: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&number).ok_or_else(|| errno(libc::EIO))
    }

    /// The inode that `path` leads to. There are no links, and `..` is not understood.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`.
    pub fn find(&self, path: &Path) -> io::Result<u64> {
        let mut at = ROOT;
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            let inode = self.inode(at)?;
            if !inode.is_directory {
                return Err(errno(libc::ENOTDIR));
            }
            let name = name.to_str().ok_or_else(|| errno(libc::EILSEQ))?;
            at = *inode.names.get(name).ok_or_else(|| errno(libc::ENOENT))?;
        }
        Ok(at)
    }

    fn place(&self, path: &Path) -> io::Result<(u64, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| errno(libc::EINVAL))?;
        let directory = self.find(path.parent().unwrap_or(Path::new("/")))?;
        if !self.inode(directory)?.is_directory {
            return Err(errno(libc::ENOTDIR));
        }
        Ok((directory, name.to_owned()))
    }

    /// Changes names of one directory, in the cache.
    fn change(&mut self, directory: u64, names: Vec<(String, Option<u64>)>) -> io::Result<()> {
        for (name, number) in &names {
            let before = match number {
                Some(number) => {
                    self.inode_mut(*number)?.links += 1;
                    self.inode_mut(directory)?.names.insert(name.clone(), *number)
                }
                None => self.inode_mut(directory)?.names.remove(name),
            };
            if let Some(before) = before {
                self.inode_mut(before)?.links -= 1;
            }
        }
        self.changes.push(Change { directory, names });
        self.forget_unused();
        Ok(())
    }

    fn create(&mut self, path: &Path, is_directory: bool, mode: u32, now_ns: i64) -> io::Result<u64> {
        let (directory, name) = self.place(path)?;
        // Files come after the root: the lowest number that is free.
        let number = (ROOT + 1..).find(|number| !self.inodes.contains_key(number)).unwrap_or(u64::MAX);
        self.inodes.insert(number, Inode::new(is_directory, mode, now_ns));
        self.change(directory, vec![(name, Some(number))])?;
        Ok(number)
    }

    /// Creates a directory.
    ///
    /// # Errors
    /// `EEXIST`, or its parent does not exist.
    pub fn create_directory(&mut self, path: &Path, mode: u32, now_ns: i64) -> io::Result<()> {
        if self.find(path).is_ok() {
            return Err(errno(libc::EEXIST));
        }
        self.create(path, true, mode, now_ns).map(drop)
    }

    /// Opens a file or a directory. Returns the id of the open file description.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(&mut self, path: &Path, how: How, now_ns: i64) -> io::Result<u64> {
        let inode = match self.find(path) {
            Ok(_) if how.create_new => return Err(errno(libc::EEXIST)),
            Ok(number) => {
                if self.inode(number)?.is_directory && (how.write || how.append) {
                    return Err(errno(libc::EISDIR));
                }
                if how.truncate {
                    self.inode_mut(number)?.set_len(0, now_ns);
                }
                number
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && (how.create || how.create_new) => {
                self.create(path, false, how.mode, now_ns)?
            }
            Err(error) => return Err(error),
        };
        self.inode_mut(inode)?.opens += 1;
        let id = self.id();
        self.opens.insert(id, Open { inode, how, position: 0 });
        Ok(id)
    }

    /// Closes an open file description, and gives its lock back.
    pub fn close(&mut self, id: u64) {
        let Some(open) = self.opens.remove(&id) else { return };
        if let Some(inode) = self.inodes.get_mut(&open.inode) {
            inode.opens -= 1;
            inode.locks.retain(|&(holder, _)| holder != id);
        }
        self.forget_unused();
    }

    /// Ends the process that has the disk: everything is closed, and every lock is given back. The cache stays, and so
    /// does the time that a sync which has begun takes.
    pub fn end_process(&mut self) {
        for id in self.opens.keys().copied().collect::<Vec<_>>() {
            self.close(id);
        }
        for id in self.syncs.iter().map(|sync| sync.id).collect::<Vec<_>>() {
            self.finish_sync(id);
        }
    }

    fn opened(&self, id: u64) -> io::Result<&Open> {
        self.opens.get(&id).ok_or_else(|| errno(libc::EBADF))
    }

    /// The inode of an open file description.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn inode_of(&self, id: u64) -> io::Result<u64> {
        Ok(self.opened(id)?.inode)
    }

    /// Returns what stat(2) would.
    ///
    /// # Errors
    /// There is no such inode.
    pub fn stat(&self, number: u64) -> io::Result<Stat> {
        Ok(self.inode(number)?.stat(number))
    }

    /// The names in a directory, in their order.
    ///
    /// # Errors
    /// It is none.
    pub fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let inode = self.inode(self.find(path)?)?;
        if !inode.is_directory {
            return Err(errno(libc::ENOTDIR));
        }
        Ok(inode.names.keys().cloned().collect())
    }

    /// Contents of a file, as a program would read them.
    ///
    /// # Errors
    /// There is none.
    pub fn contents(&self, path: &Path) -> io::Result<&[u8]> {
        Ok(&self.inode(self.find(path)?)?.cached)
    }

    /// Bytes that a write of `bytes` can take without another page.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn allocated_space(&self, id: u64, at: Option<u64>, bytes: usize) -> io::Result<usize> {
        let open = self.opened(id)?;
        let cached = self.inode(open.inode)?.cached.len();
        let at = at.unwrap_or(if open.how.append { cached as u64 } else { open.position }) as usize;
        Ok(cached.next_multiple_of(PAGE_BYTES).saturating_sub(at).min(bytes))
    }

    /// Writes at `at`, or else at the end of a file opened to append, or at its position.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn write(&mut self, id: u64, at: Option<u64>, bytes: &[u8], now_ns: i64) -> io::Result<usize> {
        let open = self.opened(id)?;
        if !open.how.write && !open.how.append {
            return Err(errno(libc::EBADF));
        }
        let (number, position, is_append) = (open.inode, open.position, open.how.append);
        let inode = self.inode_mut(number)?;
        // pwrite(2), BUGS: on Linux a file opened with O_APPEND is appended to whatever the offset.
        let begin = if is_append { inode.cached.len() as u64 } else { at.unwrap_or(position) };
        inode.write(begin as usize, bytes, now_ns);
        if at.is_none()
            && let Some(open) = self.opens.get_mut(&id)
        {
            open.position = begin + bytes.len() as u64;
        }
        Ok(bytes.len())
    }

    /// Reads at `at`, or else at the position.
    ///
    /// # Errors
    /// `EBADF`, `EISDIR`.
    pub fn read(&mut self, id: u64, at: Option<u64>, buffer: &mut [u8]) -> io::Result<usize> {
        let open = self.opened(id)?;
        let inode = self.inode(open.inode)?;
        if inode.is_directory {
            return Err(errno(libc::EISDIR));
        }
        let begin = at.unwrap_or(open.position);
        let from = (begin as usize).min(inode.cached.len());
        let bytes = buffer.len().min(inode.cached.len() - from);
        buffer[..bytes].copy_from_slice(&inode.cached[from..from + bytes]);
        if at.is_none()
            && let Some(open) = self.opens.get_mut(&id)
        {
            open.position = begin + bytes as u64;
        }
        Ok(bytes)
    }

    /// Sets the position.
    ///
    /// # Errors
    /// `EBADF`, `EINVAL`.
    pub fn seek(&mut self, id: u64, to: io::SeekFrom) -> io::Result<u64> {
        let bytes = self.inode(self.opened(id)?.inode)?.cached.len() as u64;
        let open = self.opens.get_mut(&id).ok_or_else(|| errno(libc::EBADF))?;
        let position = match to {
            io::SeekFrom::Start(at) => Some(at),
            io::SeekFrom::End(by) => bytes.checked_add_signed(by),
            io::SeekFrom::Current(by) => open.position.checked_add_signed(by),
        };
        open.position = position.ok_or_else(|| errno(libc::EINVAL))?;
        Ok(open.position)
    }

    /// Sets the length.
    ///
    /// # Errors
    /// `EINVAL`: not open for writing.
    pub fn set_len(&mut self, id: u64, bytes: u64, now_ns: i64) -> io::Result<()> {
        let open = self.opened(id)?;
        if !open.how.write && !open.how.append {
            return Err(errno(libc::EINVAL));
        }
        let number = open.inode;
        self.inode_mut(number)?.set_len(bytes as usize, now_ns);
        Ok(())
    }

    /// Sets the time of the last change, in nanoseconds since the epoch.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn set_modified(&mut self, id: u64, modified_ns: i64) -> io::Result<()> {
        let number = self.opened(id)?.inode;
        self.inode_mut(number)?.modified_ns = modified_ns;
        Ok(())
    }

    /// Takes flock(2). Returns false if another holds it.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn lock(&mut self, id: u64, is_exclusive: bool) -> io::Result<bool> {
        let number = self.opened(id)?.inode;
        let inode = self.inode_mut(number)?;
        let is_free = inode.locks.iter().all(|&(holder, held)| holder == id || !(held || is_exclusive));
        if is_free {
            inode.locks.retain(|&(holder, _)| holder != id);
            inode.locks.push((id, is_exclusive));
        }
        Ok(is_free)
    }

    /// Removes a name.
    ///
    /// # Errors
    /// `ENOENT`, `EISDIR`.
    pub fn unlink(&mut self, path: &Path) -> io::Result<()> {
        if self.inode(self.find(path)?)?.is_directory {
            return Err(errno(libc::EISDIR));
        }
        let (directory, name) = self.place(path)?;
        self.change(directory, vec![(name, None)])
    }

    /// Renames within one directory; `replaces`: what has the name already loses it.
    ///
    /// # Errors
    /// `ENOENT`, `EEXIST`; `EXDEV` for two directories.
    pub fn rename(&mut self, from: &Path, to: &Path, replaces: bool) -> io::Result<()> {
        let number = self.find(from)?;
        let (directory, name) = self.place(from)?;
        let (other, new) = self.place(to)?;
        if directory != other {
            return Err(errno(libc::EXDEV));
        }
        if !replaces && self.find(to).is_ok() {
            return Err(errno(libc::EEXIST));
        }
        if name == new {
            return Ok(());
        }
        self.change(directory, vec![(new, Some(number)), (name, None)])
    }

    /// Bytes of all pages that files take.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.inodes.values().map(|inode| inode.cached.len().next_multiple_of(PAGE_BYTES) as u64).sum()
    }

    /// Begins a sync of an inode: what it has now becomes durable when the sync that is returned is finished.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn begin_sync(&mut self, id: u64) -> io::Result<u64> {
        let number = self.opened(id)?.inode;
        let sync = self.id();
        let mut pages = Pages::new();
        let mut changes = Vec::new();
        for earlier in self.syncs.iter().filter(|earlier| earlier.inode == number) {
            pages.extend(earlier.pages.keys().map(|&page| (page, Vec::new())));
            changes.extend(earlier.changes.iter().cloned());
        }
        let (ours, others) =
            std::mem::take(&mut self.changes).into_iter().partition(|change| change.directory == number);
        self.changes = others;
        changes.extend::<Vec<Change>>(ours);
        let inode = self.inode_mut(number)?;
        pages.extend(std::mem::take(&mut inode.dirty).into_iter().map(|page| (page, Vec::new())));
        for (&page, bytes) in &mut pages {
            *bytes = inode.page(page);
        }
        let bytes = inode.cached.len();
        self.syncs.push(Sync { id: sync, inode: number, pages, bytes, changes });
        Ok(sync)
    }

    /// Ends a sync: everything that it began with is durable.
    pub fn finish_sync(&mut self, id: u64) {
        let Some(at) = self.syncs.iter().position(|sync| sync.id == id) else { return };
        let sync = self.syncs.remove(at);
        if let Some(inode) = self.inodes.get_mut(&sync.inode) {
            inode.store(&sync.pages, sync.bytes);
        }
        for change in &sync.changes {
            self.apply(change);
        }
        // An earlier sync that ends later has older pages.
        for earlier in self.syncs.iter_mut().filter(|earlier| earlier.inode == sync.inode && earlier.id < id) {
            earlier.pages.retain(|page, _| !sync.pages.contains_key(page));
            earlier.bytes = sync.bytes;
            earlier.changes.clear();
        }
        self.forget_unused();
    }

    /// Ends a sync with a failure: its pages count as clean, and are not durable. Names stay to be synced.
    pub fn fail_sync(&mut self, id: u64) {
        let Some(at) = self.syncs.iter().position(|sync| sync.id == id) else { return };
        let sync = self.syncs.remove(at);
        self.changes.splice(0..0, sync.changes);
    }

    fn apply(&mut self, change: &Change) {
        let Some(directory) = self.inodes.get_mut(&change.directory) else { return };
        for (name, number) in &change.names {
            match number {
                Some(number) => drop(directory.durable_names.insert(name.clone(), *number)),
                None => drop(directory.durable_names.remove(name)),
            }
        }
    }

    /// Drops inodes that nothing leads to, now or after a loss of power.
    fn forget_unused(&mut self) {
        let is_unused = |inode: &Inode| inode.links == 0 && inode.opens == 0;
        if !self.inodes.iter().any(|(&number, inode)| number != ROOT && is_unused(inode)) {
            return;
        }
        let mut used: BTreeSet<u64> =
            self.inodes.values().flat_map(|inode| inode.durable_names.values()).copied().collect();
        let pending = self.changes.iter().chain(self.syncs.iter().flat_map(|sync| &sync.changes));
        used.extend(pending.flat_map(|change| change.names.iter().filter_map(|(_, number)| *number)));
        self.inodes.retain(|&number, inode| number == ROOT || !is_unused(inode) || used.contains(&number));
    }

    /// Flips one bit of a file, on the disk and in the cache.
    ///
    /// # Errors
    /// There is no such byte.
    pub fn flip(&mut self, path: &Path, byte: usize, bit: u32) -> io::Result<()> {
        let number = self.find(path)?;
        let inode = self.inode_mut(number)?;
        for bytes in [&mut inode.cached, &mut inode.durable] {
            *bytes.get_mut(byte).ok_or_else(|| errno(libc::EINVAL))? ^= 1 << (bit % 8);
        }
        Ok(())
    }

    /// As [`rot`](Self::rot), of what was just written.
    pub(crate) fn rot_written(
        &mut self,
        id: u64,
        at: Option<u64>,
        bytes: usize,
        ends: &[&str],
        random: &mut Random,
    ) -> bool {
        let position = self.opened(id).map_or(0, |open| open.position);
        self.rot(id, Some(at.unwrap_or(position.saturating_sub(bytes as u64))), bytes, ends, random)
    }

    /// Flips one bit of an open file within `bytes` from where it is read next, if its name ends with one of `ends`.
    /// Returns true if there was one.
    pub(crate) fn rot(&mut self, id: u64, at: Option<u64>, bytes: usize, ends: &[&str], random: &mut Random) -> bool {
        let Ok(open) = self.opened(id) else { return false };
        let (number, from) = (open.inode, at.unwrap_or(open.position) as usize);
        let names = self.inodes.values().flat_map(|inode| &inode.names).filter(|&(_, &other)| other == number);
        let is_named = names.clone().any(|(name, _)| ends.iter().any(|end| name.ends_with(end)));
        let Ok(inode) = self.inode_mut(number) else { return false };
        let end = inode.cached.len().min(from.saturating_add(bytes));
        if !is_named || from >= end {
            return false;
        }
        let (byte, bit) = (random.between(from as u64, end as u64 - 1) as usize, random.below(8));
        for bytes in [&mut inode.cached, &mut inode.durable] {
            if let Some(byte) = bytes.get_mut(byte) {
                *byte ^= 1 << bit;
            }
        }
        true
    }
}
