//! A loss of power: which pages and names survive it.

use super::{Change, Disk, PAGE_BYTES, ROOT, inode::Inode};
use crate::random::Random;
use std::collections::BTreeSet;

/// Bytes that a disk writes whole.
const SECTOR_BYTES: usize = 512;

/// The part of the unsynced changes that survives.
#[derive(Debug, Clone, Copy)]
enum Luck {
    Nothing,
    Everything,
    /// The first ones, in the order of the changes.
    First(u64),
    /// Each with one chance in two.
    Any,
}

impl Luck {
    fn draw(random: &mut Random, count: usize) -> Self {
        match random.below(8) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 | 3 => Self::First(random.below(count as u64 + 1)),
            _ => Self::Any,
        }
    }

    fn keeps(self, random: &mut Random, number: usize) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::First(count) => (number as u64) < count,
            Self::Any => random.below(2) == 0,
        }
    }
}

impl Disk {
    /// Loses power: of what was not synced any part survives, and what survives is what programs see from now on.
    pub fn cut_power(&mut self, random: &mut Random) {
        self.opens.clear();
        let syncs = std::mem::take(&mut self.syncs);
        let mut changes: Vec<Change> = syncs.iter().flat_map(|sync| sync.changes.iter().cloned()).collect();
        changes.append(&mut self.changes);
        for sync in &syncs {
            let Some(inode) = self.inodes.get_mut(&sync.inode) else { continue };
            let luck = Luck::draw(random, sync.pages.len());
            if luck.keeps(random, 0) && sync.bytes > inode.durable.len() {
                inode.durable.resize(sync.bytes, 0);
            }
            for (number, (&page, contents)) in sync.pages.iter().enumerate() {
                if luck.keeps(random, number) {
                    inode.store_page(page, contents);
                }
            }
        }
        for inode in self.inodes.values_mut() {
            inode.lose_power(random);
        }
        self.keep_changes(&changes, random);
        self.start_again();
    }

    fn keep_changes(&mut self, changes: &[Change], random: &mut Random) {
        let luck = Luck::draw(random, changes.len());
        let mut lost = BTreeSet::new();
        for (number, change) in changes.iter().enumerate() {
            let depends = change.names.iter().any(|(name, _)| lost.contains(&(change.directory, name.clone())));
            if !depends && luck.keeps(random, number) {
                self.apply(change);
            } else {
                // A name is one place on the disk, and what is written to one place is written in order.
                lost.extend(change.names.iter().map(|(name, _)| (change.directory, name.clone())));
            }
        }
    }

    /// Makes the durable part the one that programs see.
    fn start_again(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut queue = vec![ROOT];
        while let Some(inode) = queue.pop().and_then(|number| self.inodes.get(&number)) {
            queue.extend(inode.durable_names.values().filter(|&&number| reached.insert(number)));
        }
        self.inodes.retain(|number, _| reached.contains(number));
        let links: Vec<u64> = self.inodes.values().flat_map(|inode| inode.durable_names.values()).copied().collect();
        for (number, inode) in &mut self.inodes {
            inode.links = links.iter().filter(|&link| link == number).count() as u64;
            inode.opens = 0;
            inode.locks.clear();
            inode.names = inode.durable_names.clone();
            inode.cached = inode.durable.clone();
        }
    }
}

impl Inode {
    fn lose_power(&mut self, random: &mut Random) {
        let dirty = std::mem::take(&mut self.dirty);
        if dirty.is_empty() {
            return;
        }
        let luck = Luck::draw(random, dirty.len());
        let (before, after) = (self.durable.len(), self.cached.len());
        let boundary =
            random.between(before.min(after) as u64, before.max(after) as u64) as usize / PAGE_BYTES * PAGE_BYTES;
        let bytes = match luck {
            Luck::Nothing => before,
            Luck::Everything => after,
            _ => random.pick(&[before, after, boundary.max(before.min(after))]),
        };
        self.durable.resize(bytes, 0);
        for (number, page) in dirty.into_iter().enumerate() {
            if !luck.keeps(random, number) {
                continue;
            }
            let mut contents = self.page(page);
            if matches!(luck, Luck::Any) && random.below(4) == 0 {
                contents.truncate(random.below(PAGE_BYTES as u64) as usize / SECTOR_BYTES * SECTOR_BYTES);
            }
            self.store_page(page, &contents);
        }
    }
}
