//! One file or directory, as it is in the cache and as it is on the medium.

use super::PAGE_BYTES;
use std::collections::{BTreeMap, BTreeSet};

/// Pages by their number, with what they held at one moment.
pub(super) type Pages = BTreeMap<usize, Vec<u8>>;

/// The result of stat(2).
#[derive(Debug, Clone, Copy)]
pub struct Stat {
    /// Number of the inode.
    pub inode: u64,
    /// True for a directory.
    pub is_directory: bool,
    /// Length.
    pub bytes: u64,
    /// Number of names.
    pub links: u64,
    /// Permissions.
    pub mode: u32,
    /// Time of its creation, in nanoseconds since the epoch.
    pub created_ns: i64,
    /// Time of the last change of its contents, in nanoseconds since the epoch.
    pub modified_ns: i64,
}

#[derive(Debug)]
pub(super) struct Inode {
    pub is_directory: bool,
    pub mode: u32,
    pub links: u64,
    pub opens: u64,
    pub cached: Vec<u8>,
    pub durable: Vec<u8>,
    /// Pages that differ from the durable ones, as far as the cache knows.
    pub dirty: BTreeSet<usize>,
    pub names: BTreeMap<String, u64>,
    pub durable_names: BTreeMap<String, u64>,
    /// Holders of its lock, and whether each has it alone.
    pub locks: Vec<(u64, bool)>,
    pub created_ns: i64,
    pub modified_ns: i64,
}

impl Inode {
    pub fn new(is_directory: bool, mode: u32, now_ns: i64) -> Self {
        Self {
            is_directory,
            mode,
            links: 0,
            opens: 0,
            cached: Vec::new(),
            durable: Vec::new(),
            dirty: BTreeSet::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            locks: Vec::new(),
            created_ns: now_ns,
            modified_ns: now_ns,
        }
    }

    pub fn stat(&self, inode: u64) -> Stat {
        Stat {
            inode,
            is_directory: self.is_directory,
            bytes: self.cached.len() as u64,
            links: self.links,
            mode: self.mode,
            created_ns: self.created_ns,
            modified_ns: self.modified_ns,
        }
    }

    pub fn write(&mut self, begin: usize, bytes: &[u8], now_ns: i64) {
        if bytes.is_empty() {
            return;
        }
        let end = begin + bytes.len();
        let from = begin.min(self.cached.len());
        if self.cached.len() < end {
            self.cached.resize(end, 0);
        }
        self.cached[begin..end].copy_from_slice(bytes);
        self.dirty.extend(from / PAGE_BYTES..end.div_ceil(PAGE_BYTES));
        self.modified_ns = now_ns;
    }

    pub fn set_len(&mut self, bytes: usize, now_ns: i64) {
        let from = bytes.min(self.cached.len());
        self.cached.resize(bytes, 0);
        self.dirty.retain(|&page| page * PAGE_BYTES < bytes);
        // The length itself becomes durable with the page that it is in.
        self.dirty.extend(from / PAGE_BYTES..=bytes / PAGE_BYTES);
        self.modified_ns = now_ns;
    }

    /// Contents of a page, as far as the file reaches.
    pub fn page(&self, page: usize) -> Vec<u8> {
        let begin = (page * PAGE_BYTES).min(self.cached.len());
        self.cached[begin..(begin + PAGE_BYTES).min(self.cached.len())].to_vec()
    }

    /// Makes pages and a length durable.
    pub fn store(&mut self, pages: &Pages, bytes: usize) {
        self.durable.resize(bytes, 0);
        for (&page, contents) in pages {
            self.store_page(page, contents);
        }
    }

    pub fn store_page(&mut self, page: usize, contents: &[u8]) {
        let begin = (page * PAGE_BYTES).min(self.durable.len());
        let end = (begin + contents.len()).min(self.durable.len());
        self.durable[begin..end].copy_from_slice(&contents[..end - begin]);
    }
}
