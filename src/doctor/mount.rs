//! The mounts of this process (proc(5), /proc/self/mountinfo).

use super::host::{Examination, Unknown};
use std::path::Path;

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Major and minor number of the device, as `8:1`; major 0 is not a block device.
    pub(super) device: String,
    /// The directory of the file system that is mounted here.
    pub(super) root: String,
    /// The mount point.
    pub(super) point: String,
    /// Options of the mount and of the file system, comma-separated.
    pub(super) options: String,
    /// Type of the file system.
    pub(super) fs_type: String,
    /// The source of the mount, as the file system names it.
    pub(super) source: String,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(2);
        let (device, root, point, options) = (left.next()?, left.next()?, left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (fs_type, source, more) = (right.next()?, right.next()?, right.next()?);
        Some(Self {
            device: device.to_owned(),
            root: unescaped(root),
            point: unescaped(point),
            options: format!("{options},{more}"),
            fs_type: fs_type.to_owned(),
            source: unescaped(source),
        })
    }

    /// Returns true if the options contain exactly `option`.
    pub(super) fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|one| one == option)
    }
}

/// Decodes the octal escapes of space, tab, line feed and backslash.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// Every mount that this process sees, in the order of mounting.
pub(super) fn all(examination: &mut Examination) -> Result<Vec<Mount>, Unknown> {
    Ok(examination.lines("/proc/self/mountinfo")?.lines().filter_map(Mount::parse).collect())
}

/// The mount that `path` is on: the deepest, and of several at one place the last.
pub(super) fn of(mounts: &[Mount], path: &Path) -> Option<Mount> {
    let holding = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    holding.max_by_key(|mount| Path::new(&mount.point).components().count()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_and_last_mount_holds_a_path() {
        let mounts: Vec<Mount> = [
            "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard",
            "30 27 0:27 / /srv rw - tmpfs tmpfs rw,size=1k",
            "31 27 8:1 /sub /srv rw,noatime - xfs /dev/sda1 rw,a\\040b",
            "32 27 0:29 / /srv/a\\040b rw - nfs4 host:/x rw",
            "not a mount",
        ]
        .iter()
        .filter_map(|line| Mount::parse(line))
        .collect();
        assert_eq!(mounts.len(), 4);
        for (path, fs_type) in [("/", "ext4"), ("/srvx", "ext4"), ("/srv/data", "xfs"), ("/srv/a b/c", "nfs4")] {
            assert_eq!(of(&mounts, Path::new(path)).unwrap().fs_type, fs_type, "{path}");
        }
        let xfs = of(&mounts, Path::new("/srv")).unwrap();
        assert!(xfs.has("noatime") && xfs.has("rw") && !xfs.has("atime"));
        assert_eq!((xfs.root.as_str(), xfs.device.as_str()), ("/sub", "8:1"));
    }
}
