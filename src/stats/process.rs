//! What the kernel says of this process: read from /proc when asked, never on the request path.

use std::fs;

/// Resident memory in bytes (proc(5), /proc/self/status, `VmRSS`), if it can be read.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Open descriptors, if they can be counted.
#[must_use]
pub fn open_descriptors() -> Option<u64> {
    // The directory that is read here is itself one of them while it is read.
    fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as u64)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_answers() {
        assert!(super::resident_bytes().unwrap() > 100_000);
        assert!(super::open_descriptors().unwrap() >= 3);
    }
}
