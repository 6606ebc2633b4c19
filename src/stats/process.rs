//! Statistics of this process and its host, read from /proc and /sys on request, never on the request path.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Clock ticks a second in /proc, USER_HZ: 100 on every architecture that Rust's Linux targets have (times(2)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Resources of this process; values that cannot be read are left out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    /// Resident memory, in bytes.
    pub resident_bytes: Option<u64>,
    /// Address space, in bytes.
    pub virtual_bytes: Option<u64>,
    /// Time on cores, user and system, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open descriptors.
    pub open_descriptors: Option<u64>,
    /// The soft limit of open descriptors.
    pub descriptors_limit: Option<u64>,
}

impl Process {
    /// Reads all values.
    #[must_use]
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
        };
        Self {
            resident_bytes: kilobytes("VmRSS:"),
            virtual_bytes: kilobytes("VmSize:"),
            cpu_seconds: cpu_seconds(),
            threads: status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok()),
            // The directory that is read here is itself one of them while it is read.
            open_descriptors: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|entries| entries.count().saturating_sub(1) as u64),
            descriptors_limit: descriptors_limit(),
        }
    }
}

impl Process {
    /// Reads resident memory and CPU time alone: two small files, however many descriptors are open.
    #[must_use]
    pub fn read_usage() -> Self {
        /// Bytes of a page in statm: 4 KiB on every machine that is served.
        const PAGE_BYTES: u64 = 4_096;
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
        Self { resident_bytes: pages.map(|pages| pages * PAGE_BYTES), cpu_seconds: cpu_seconds(), ..Self::default() }
    }
}

/// Fields 14 and 15 of proc_pid_stat(5), counted after the command, which may hold anything but is in parentheses.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn descriptors_limit() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_ascii_whitespace().next()?.parse().ok())
}

/// The kernel's clock source, such as `tsc` or `kvm-clock`.
#[must_use]
pub fn clock_source() -> String {
    fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        .map_or_else(|_| "unknown".into(), |name| name.trim().to_owned())
}

/// The machine's name.
#[must_use]
pub fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "unknown".into(), |name| name.trim().to_owned())
}

/// The type of the file system that `directory` is on, such as `ext4`.
#[must_use]
pub fn file_system(directory: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    fs::canonicalize(directory)
        .ok()
        .and_then(|directory| file_system_in(&mounts, &directory))
        .unwrap_or_else(|| "unknown".into())
}

/// The mount with the longest path above `directory`; of equal ones the last covers the others (proc_pid_mountinfo(5)).
fn file_system_in(mountinfo: &str, directory: &Path) -> Option<String> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        // Spaces in a path are written as octal.
        let point = PathBuf::from(before.split(' ').nth(4)?.replace("\\040", " "));
        directory.starts_with(&point).then(|| (point.as_os_str().len(), after.split(' ').next()))
    });
    mounts.max_by_key(|&(length, _)| length).and_then(|(_, kind)| kind.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_responds() {
        let process = Process::read();
        assert!(process.resident_bytes > Some(100_000) && process.virtual_bytes >= process.resident_bytes);
        assert!(process.cpu_seconds >= Some(0.0) && process.threads >= Some(1));
        assert!(process.open_descriptors >= Some(3) && process.descriptors_limit >= process.open_descriptors);
        assert_ne!(file_system(Path::new("/proc/self")), "unknown");
    }

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      30 21 0:5 / /data rw,relatime shared:1 - xfs /dev/sdb rw\n\
                      31 21 0:6 / /da\\040ta rw - btrfs /dev/sdc rw\n\
                      32 30 0:7 / /data/hot rw - tmpfs tmpfs rw\n";
        for (directory, kind) in
            [("/data/log", "xfs"), ("/database", "ext4"), ("/da ta/x", "btrfs"), ("/data/hot", "tmpfs"), ("/", "ext4")]
        {
            assert_eq!(file_system_in(mounts, Path::new(directory)).as_deref(), Some(kind), "{directory}");
        }
    }
}
