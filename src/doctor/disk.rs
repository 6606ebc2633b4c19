//! Storage below the data directory: file system, mount options, block device, write-back.

use super::{
    Cost, Finding, Subject, Verdict,
    host::{Examination, Unknown},
    kernel::{chosen, meminfo},
    mount::{self, Mount},
};
use crate::limits;

pub(super) const SUBJECTS: &[Subject] = &[
    Subject { id: "filesystem", topic: "disk", examine: filesystem },
    Subject { id: "mount_options", topic: "disk", examine: options },
    Subject { id: "write_cache", topic: "disk", examine: write_cache },
    Subject { id: "dirty_pages", topic: "disk", examine: dirty },
    Subject { id: "io_scheduler", topic: "disk", examine: scheduler },
];

/// Local file systems whose fdatasync(2) is reliable.
const LOCAL: [&str; 7] = ["ext4", "xfs", "btrfs", "zfs", "f2fs", "ext3", "bcachefs"];
const NETWORK: [&str; 9] = ["nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "glusterfs", "afs"];

/// The mount that the data directory is on.
fn data_mount(examination: &mut Examination) -> Result<Mount, Unknown> {
    let located = examination.data_dir()?;
    let mounts = mount::all(examination)?;
    let mount = mount::of(&mounts, &located.path)
        .ok_or_else(|| Unknown(format!("/proc/self/mountinfo lists no mount for {}", located.path.display())))?;
    examination.record(
        format!("/proc/self/mountinfo {}", mount.point),
        format!("{} {} {}", mount.fs_type, mount.source, mount.options),
    );
    Ok(mount)
}

fn filesystem(examination: &mut Examination) -> Verdict {
    let mount = data_mount(examination)?;
    let (fs_type, point) = (mount.fs_type.as_str(), &mount.point);
    let fix = "metricstream --data-dir /var/lib/metricstream   (a directory on a local ext4 or xfs)";
    Ok(match fs_type {
        "tmpfs" | "ramfs" => Finding::critical(
            Cost::Data,
            format!(
                "the data directory is in memory ({fs_type} at {point}): a reboot loses the log at every \
                     acknowledgement level"
            ),
        )
        .fix(fix),
        "overlay" => Finding::warning(
            Cost::Data,
            format!(
                "the data directory is in the container's own layer (overlay at {point}): the log is deleted with \
                     the container"
            ),
        )
        .fix("podman run -v metricstream:/data …   (or docker; then --data-dir /data)"),
        _ if NETWORK.contains(&fs_type) || fs_type.starts_with("fuse") => Finding::warning(
            Cost::Data,
            format!(
                "the data directory is on {fs_type} at {point}: another program or host decides what fsync \
                     guarantees there"
            ),
        )
        .fix(fix),
        _ if LOCAL.contains(&fs_type) => Finding::ok(format!("{fs_type} at {point}")),
        _ => Err(Unknown(format!(
            "{fs_type} at {point}: it is not known whether synced data survives a power loss there"
        )))?,
    })
}

fn options(examination: &mut Examination) -> Verdict {
    let mount = data_mount(examination)?;
    let point = &mount.point;
    if let Some(option) = ["nobarrier", "barrier=0"].into_iter().find(|option| mount.has(option)) {
        let text = format!(
            "{point} is mounted with {option}: syncs do not reach the disk, so a power loss loses acknowledged data"
        );
        let barrier = if mount.fs_type == "ext4" { "barrier=1" } else { "barrier" };
        return Ok(Finding::critical(Cost::Data, text)
            .fix(format!("mount -o remount,{barrier} {point}   (and remove {option} from /etc/fstab)")));
    }
    if mount.has("data=writeback") {
        let text = format!(
            "{point} is mounted with data=writeback: after a crash the end of the log may hold stale bytes of \
                     other files"
        );
        return Ok(Finding::warning(Cost::Data, text)
            .fix(format!("sed -i 's/data=writeback/data=ordered/' /etc/fstab && umount {point} && mount {point}")));
    }
    if let Some(option) = ["sync", "data=journal"].into_iter().find(|option| mount.has(option)) {
        let text = format!("{point} is mounted with {option}: every write reaches the disk at least one extra time");
        return Ok(Finding::note(Cost::Speed, text).fix(match option {
            "sync" => format!("mount -o remount,async {point}"),
            _ => format!("sed -i 's/data=journal/data=ordered/' /etc/fstab && umount {point} && mount {point}"),
        }));
    }
    Ok(Finding::ok("barriers are on and data is ordered"))
}

/// The sysfs directories of the disks under a mount; stacked devices (LVM, md, dm-crypt) are resolved.
fn disks(examination: &mut Examination, mount: &Mount) -> Result<Vec<String>, Unknown> {
    /// Maximum depth of stacked block devices.
    const DEPTH_MAX: usize = 8;
    let by_number = format!("/sys/dev/block/{}", mount.device);
    let name = mount.source.rsplit('/').next().unwrap_or_default();
    // btrfs and zfs show a device number of their own; the source still names the device, if there is one.
    let by_name = format!("/sys/class/block/{name}");
    let top = [by_number, by_name]
        .into_iter()
        .find(|path| examination.exists(path))
        .ok_or_else(|| Unknown(format!("{} at {} has no block device that /sys shows", mount.fs_type, mount.point)))?;
    let mut disks = vec![top];
    for _ in 0..DEPTH_MAX {
        let mut below = Vec::new();
        for disk in &disks {
            let directory = format!("{disk}/slaves");
            let slaves = if examination.exists(&directory) { examination.names(&directory)? } else { Vec::new() };
            match slaves.is_empty() {
                true => below.push(disk.clone()),
                false => below.extend(slaves.iter().map(|name| format!("/sys/class/block/{name}"))),
            }
        }
        if below == disks {
            break;
        }
        disks = below;
    }
    // A partition's queue is its disk's.
    let whole =
        |disk: String| if examination.exists(&format!("{disk}/partition")) { format!("{disk}/..") } else { disk };
    Ok(disks.into_iter().map(whole).collect())
}

fn data_disks(examination: &mut Examination) -> Result<Vec<String>, Unknown> {
    let mount = data_mount(examination)?;
    disks(examination, &mount)
}

fn write_cache(examination: &mut Examination) -> Verdict {
    let mut volatile = false;
    for disk in data_disks(examination)? {
        let path = format!("{disk}/queue/write_cache");
        let kernel = examination.text(&path)?;
        volatile |= kernel == "write back";
        let scsi = format!("{disk}/device/scsi_disk");
        let names = if examination.exists(&scsi) { examination.names(&scsi)? } else { Vec::new() };
        for name in names {
            let own = examination.text(&format!("{scsi}/{name}/cache_type"))?;
            if kernel == "write through" && own.starts_with("write back") {
                let text = "the disk has a volatile write cache but the kernel is configured as if it had none: syncs \
                            send no flush, and a loss of power takes what was acknowledged";
                return Ok(Finding::critical(Cost::Data, text).fix(format!("echo 'write back' > {path}")));
            }
        }
    }
    Ok(Finding::ok(match volatile {
        true => "write back: the disk has a cache, and syncs flush it",
        false => "write through: the disk reports no volatile cache",
    }))
}

fn scheduler(examination: &mut Examination) -> Verdict {
    let mut names = Vec::new();
    for disk in data_disks(examination)? {
        let path = format!("{disk}/queue/scheduler");
        let text = examination.text(&path)?;
        let rotational: u8 = examination.number(&format!("{disk}/queue/rotational"))?;
        let name = chosen(&text);
        if name == "bfq" && rotational == 0 {
            let text = "the disk's scheduler is bfq, which is designed for fairness between processes and delays syncs";
            return Ok(Finding::note(Cost::Speed, text).fix(format!("echo mq-deadline > {path}")));
        }
        if name == "none" && rotational == 1 {
            let text = "a rotational disk has no scheduler: reads and syncs wait behind the log's write-back";
            return Ok(Finding::note(Cost::Speed, text).fix(format!("echo mq-deadline > {path}")));
        }
        names.push(name.to_owned());
    }
    Ok(Finding::ok(names.join(", ")))
}

/// The amount of unwritten data at which the kernel makes the writer wait for the disk. It is also the amount of
/// acknowledged data that a power loss may lose at the level `write`.
fn dirty(examination: &mut Examination) -> Verdict {
    let available_bytes = meminfo(examination, "MemAvailable")?;
    let mut bound = |name: &str| -> Result<u64, Unknown> {
        match examination.number::<u64>(&format!("/proc/sys/vm/{name}_bytes"))? {
            // The ratio applies, in per cent of the available memory.
            0 => Ok(available_bytes / 100 * examination.number::<u64>(&format!("/proc/sys/vm/{name}_ratio"))?),
            bytes => Ok(bytes),
        }
    };
    let stop = bound("dirty")?;
    bound("dirty_background")?;
    let mib = stop / limits::MIB as u64;
    if stop <= limits::DOCTOR_DIRTY_BYTES {
        return Ok(Finding::ok(format!("the writer waits for the disk once {mib} MiB of pages are unwritten")));
    }
    let text = format!(
        "{mib} MiB of pages may stay unwritten before the writer has to wait for the disk: a long stall on a slow \
         disk, and at the level write a power loss can lose that much"
    );
    let (background, bytes) = (limits::DOCTOR_DIRTY_BYTES / 4, limits::DOCTOR_DIRTY_BYTES);
    Ok(Finding::note(Cost::Data, text)
        .fix(format!("sysctl -w vm.dirty_background_bytes={background} vm.dirty_bytes={bytes}")))
}
