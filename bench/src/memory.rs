//! Memory of the machine before a measurement: a virtual machine is given a page by its host when the page is first
//! touched, so that the first use of memory costs several times as much as the next.

use std::{fs, hint, io};

/// Part of the free memory that is left alone: the kernel and other programs go on.
const LEFT_FREE_SHARE: u64 = 10;
/// Bytes in a page, at least: every page is touched if all of these are.
const PAGE: usize = 4096;
/// Bytes that are taken at a time: an allocation of all memory at once may be refused.
const CHUNK: usize = 256 << 20;

/// Writes to nine tenths of the pages that are free, once each, gives them back, and returns the bytes touched. What
/// the page cache holds is left alone, as it has been touched.
///
/// # Errors
/// /proc/meminfo cannot be read.
pub fn touch_free() -> io::Result<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let free = field_bytes(&meminfo, "MemFree:").ok_or_else(|| io::Error::other("/proc/meminfo has no MemFree"))?;
    let limit = group_left_bytes().unwrap_or(u64::MAX);
    let wanted = free.min(limit) / LEFT_FREE_SHARE * (LEFT_FREE_SHARE - 1);
    let mut chunks: Vec<Vec<u8>> = Vec::new();
    let mut touched = 0;
    while touched + (CHUNK as u64) <= wanted {
        let mut chunk = Vec::new();
        if chunk.try_reserve_exact(CHUNK).is_err() {
            break;
        }
        chunk.resize(CHUNK, 0);
        // Zeroes that nobody reads need not be written.
        for page in chunk.chunks_mut(PAGE) {
            page[0] = 1;
        }
        hint::black_box(&mut chunk);
        touched += CHUNK as u64;
        chunks.push(chunk);
    }
    Ok(touched)
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
    use super::*;

    #[test]
    fn a_field_of_meminfo_is_in_bytes() {
        let meminfo = "MemTotal:       24576 kB\nMemFree:          12 kB\nHugePages_Total:       0\n";
        assert_eq!(field_bytes(meminfo, "MemFree:"), Some(12 * 1024));
        assert_eq!(field_bytes(meminfo, "MemAvailable:"), None);
        assert_eq!(field_bytes(meminfo, "HugePages_Total:"), None);
        assert_eq!(field_bytes("MemFree: 99999999999999999999 kB", "MemFree:"), None);
    }
}
