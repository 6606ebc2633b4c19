//! Memory of the machine before and during a measurement: a virtual machine is given a page by its host when the page
//! is first touched, so that the first use of memory costs several times as much as the next.
//!
//! A page that was touched and is free again need not stay so: with free page reporting (a balloon's), the kernel gives
//! free blocks of some MiB back to the host within seconds. So one page of each block of 2 MiB is held until the
//! measurement ends: what is free around it are blocks too small to be reported, and the first ones that the kernel
//! takes.

use std::{
    fs::{self, File},
    io::{self, Read},
};

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};

/// Part of the free memory that is left alone: the kernel and other programs go on.
const LEFT_FREE_SHARE: u64 = 10;
/// Bytes in a page that is held. Larger ones are held whole.
const PAGE: u64 = 4096;
/// Bytes in a block of which a page is held: those of a huge page, the least that Linux reports to the host.
const BLOCK: u64 = 2 << 20;

/// Free memory that was touched, and stays so for as long as this is held.
pub struct Touched {
    /// A file in memory, as long as what was touched, with one page in each block.
    held: File,
}

impl Touched {
    /// Bytes that were touched.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub fn bytes(&self) -> io::Result<u64> {
        Ok(self.held.metadata()?.len())
    }
}

/// Writes to nine tenths of the pages that are free, once each, and gives them back but for one in 512. What the page
/// cache holds is left alone, as it has been touched.
///
/// # Errors
/// /proc/meminfo cannot be read; there is less memory than it says.
pub fn touch_free() -> io::Result<Touched> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let free = field_bytes(&meminfo, "MemFree:").ok_or_else(|| io::Error::other("/proc/meminfo has no MemFree"))?;
    let limit = group_left_bytes().unwrap_or(u64::MAX);
    touch(free.min(limit) / LEFT_FREE_SHARE * (LEFT_FREE_SHARE - 1))
}

/// Touches the whole blocks in a number of bytes.
fn touch(bytes: u64) -> io::Result<Touched> {
    let blocks = bytes / BLOCK;
    let mut held = File::from(memfd_create("touched", MemfdFlags::CLOEXEC)?);
    io::copy(&mut io::repeat(0).take(blocks * BLOCK), &mut held)?;
    // After all of them: a page that is free again would be touched twice, and another never.
    for index in 0..blocks {
        fallocate(&held, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, index * BLOCK + PAGE, BLOCK - PAGE)?;
    }
    Ok(Touched { held })
}

/// Bytes in a line of /proc/meminfo, as `MemFree:   123 kB`.
fn field_bytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// Bytes until the limit of this process's control group (version 2); none without one.
fn group_left_bytes() -> Option<u64> {
    let group = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = group.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
    let file = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup{path}/{name}")).ok();
    let limit: u64 = file("memory.max")?.trim().parse().ok()?;
    let used: u64 = file("memory.current")?.trim().parse().ok()?;
    Some(limit.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use std::os::linux::fs::MetadataExt;

    use super::*;

    #[test]
    fn one_page_of_each_block_isheld() {
        let touched = touch(3 * BLOCK + PAGE).unwrap();
        assert_eq!(touched.bytes().unwrap(), 3 * BLOCK);
        let held = touched.held.metadata().unwrap();
        // In bytes; of pages that may be larger than those of a PC.
        assert!((3 * PAGE..3 * BLOCK).contains(&(held.st_blocks() * 512)), "{} blocks", held.st_blocks());
        assert_eq!(touch(0).unwrap().bytes().unwrap(), 0);
    }

    #[test]
    fn a_field_of_meminfo_is_in_bytes() {
        let meminfo = "MemTotal:       24576 kB\nMemFree:          12 kB\nHugePages_Total:       0\n";
        assert_eq!(field_bytes(meminfo, "MemFree:"), Some(12 * 1024));
        assert_eq!(field_bytes(meminfo, "MemAvailable:"), None);
        assert_eq!(field_bytes(meminfo, "HugePages_Total:"), None);
        assert_eq!(field_bytes("MemFree: 99999999999999999999 kB", "MemFree:"), None);
    }
}
