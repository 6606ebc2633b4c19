//! Checks of the data directory: its access, the state of the log in it, its free space and its sync latency.

use super::{
    Cost, Finding, Subject, Verdict,
    calls::{Holder, Usage},
    counted,
    host::{Examination, Located, Unknown},
    kernel::status,
};
use crate::limits;
use log::{
    os::dirent,
    segment::{ACTIVE_NAME, Catalog, SegmentName},
};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    time::{Duration, UNIX_EPOCH},
};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject { id: "data_dir", topic: "disk", examine: directory },
    Subject { id: "log_files", topic: "disk", examine: log_files },
    Subject { id: "directory_sync", topic: "disk", examine: directory_sync },
    Subject { id: "free_space", topic: "disk", examine: space },
    Subject { id: "retention", topic: "disk", examine: retention },
    Subject { id: "unclean_shutdowns", topic: "disk", examine: shutdowns },
    Subject { id: "fdatasync", topic: "disk", examine: sync },
];

/// The server that holds the lock of the data directory.
pub(super) fn holder(examination: &mut Examination) -> Result<Holder, Unknown> {
    let located = examination.data_dir()?;
    let path = located.path.display().to_string();
    if !located.exists {
        return Ok(Holder::Never);
    }
    let holder = examination
        .calls()
        .holder(&located.real)
        .map_err(|error| examination.failed(format!("flock(2) {path}"), &error))?;
    let said = match holder {
        Holder::Never => format!("not locked, and there is no {}", log::LOCK_NAME),
        Holder::Free => "not locked".to_owned(),
        Holder::Held(pid) => {
            format!("locked by process {}", pid.map_or("unknown".to_owned(), |pid| pid.to_string()))
        }
    };
    examination.record(format!("{path} (flock)"), said);
    Ok(holder)
}

/// Returns true if the server that holds the lock is this process: a running server examines its host.
pub(super) fn is_own(holder: Holder) -> bool {
    holder == Holder::Held(Some(std::process::id()))
}

fn directory(examination: &mut Examination) -> Verdict {
    let located = examination.data_dir()?;
    let path = located.path.display();
    if !located.real.is_dir() {
        examination.record(format!("stat(2) {path}"), "no directory");
        return Ok(Finding::critical(Cost::Service, format!("{path} is not a directory: the server will not start"))
            .fix("metricstream --data-dir DIR   (another directory)"));
    }
    if let Err(error) = examination.calls().may_write(&located.real) {
        // The second of four is the effective one.
        let users = status(examination, "Uid")?.unwrap_or_default();
        let user = users.split_whitespace().nth(1).unwrap_or("USER");
        examination.record(format!("faccessat(2) {path}"), &error);
        let text = format!("{path} is not writable ({error}): the server will not start");
        return Ok(Finding::critical(Cost::Service, text).fix(match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => {
                format!(
                    "mount -o remount,rw $(findmnt -no TARGET -T {path})   (dmesg shows the reason, if it was an error)"
                )
            }
            _ => format!("chown {user} {path} && chmod u+rwx {path}   (as root)"),
        }));
    }
    examination.record(format!("faccessat(2) {path}"), "writable");
    if !located.exists {
        return Ok(Finding::ok(format!("missing; the server creates it in {path}, which is writable")));
    }
    let log = located.real.join(ACTIVE_NAME);
    if fs::symlink_metadata(&log).is_ok_and(|found| !found.is_file()) {
        let text = format!("{path}/{} is not a regular file: the server will not start", ACTIVE_NAME);
        return Ok(Finding::critical(Cost::Service, text).fix(format!("mv {path}/{0} {path}/{0}.aside", ACTIVE_NAME)));
    }
    let text = format!("{path} is readable and writable");
    Ok(match holder(examination)? {
        own if is_own(own) => Finding::ok(format!("{text}; this server runs on it")),
        Holder::Held(pid) => {
            let pid = pid.map_or_else(String::new, |pid| format!(", process {pid}"));
            Finding::note(Cost::Nothing, format!("a server already runs on {path}{pid}; a second one will not start"))
        }
        Holder::Free | Holder::Never => Finding::ok(text),
    })
}

/// Checks the names in the data directory: a log that was moved away, and names that are in the way of a rotation.
fn log_files(examination: &mut Examination) -> Verdict {
    let located = examination.data_dir()?;
    let path = located.path.display().to_string();
    if !located.exists || !located.real.is_dir() {
        examination.record(format!("stat(2) {path}"), "no directory");
        return Ok(Finding::ok("the data directory does not exist yet"));
    }
    let is_running = matches!(holder(examination)?, Holder::Held(_));
    let written = examination
        .optional(located.path.join(log::STATE_NAME).display().to_string().as_str())?
        .and_then(|text| log::State::parse(&format!("{text}\n")))
        .filter(|state| state.standing != log::Standing::Damaged);
    let active = fs::symlink_metadata(located.real.join(ACTIVE_NAME)).ok();
    let is_in_place = |state: &log::State| {
        active.as_ref().is_some_and(|found| (found.dev(), found.ino()) == (state.device, state.inode))
    };
    if is_running && written.as_ref().is_some_and(|state| !is_in_place(state)) {
        let text = format!(
            "{ACTIVE_NAME} was moved or replaced while the server runs: it still writes to the old file, not to \
             {path}/{ACTIVE_NAME}"
        );
        return Ok(Finding::warning(Cost::Data, text).fix("kill -HUP PID   (makes the server reopen its log)"));
    }
    let entries =
        fs::read_dir(&located.real).map_err(|error| examination.failed(format!("readdir(3) {path}"), &error))?;
    let now_ms = examination.calls().now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    let latest_ms = i64::try_from(now_ms).unwrap_or(i64::MAX).saturating_add(log::limits::CLOCK_STEP_MS_MAX);
    let (mut future, mut odd, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries.take(limits::DOCTOR_ENTRIES_MAX).flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        match SegmentName::parse(&name) {
            Some(_) if !entry.file_type().is_ok_and(|kind| kind.is_file()) => odd.push(name),
            Some((segment, _)) if segment.sealed_ms() > latest_ms => future.push(name),
            None if is_moved_log(&name) => moved.push(name),
            _ => {}
        }
    }
    let count = |names: &[String]| names.len().to_string();
    examination.record(
        &path,
        format!(
            "named in the future {}, not a regular file {}, moved away {}",
            count(&future),
            count(&odd),
            count(&moved)
        ),
    );
    Ok(if let Some(name) = odd.first() {
        let text = format!(
            "{name} has the name of a segment but is not a regular file: it is never read, and its name is never used"
        );
        Finding::note(Cost::Nothing, text).fix(format!("mv {path}/{name} {path}/aside-{name}"))
    } else if let Some(name) = future.first() {
        let text = format!(
            "{} named in the future, such as {name}: the clock was ahead, or is behind now. New segments are named \
             after it, and the age of these files is taken from their contents",
            counted(future.len(), "file")
        );
        Finding::note(Cost::Data, text).fix("timedatectl   (shows whether the clock is right now)")
    } else if let Some(name) = moved.first() {
        let text = format!(
            "{} moved away from {ACTIVE_NAME}, such as {name}: not part of the log, and not read by queries",
            counted(moved.len(), "file")
        );
        Finding::note(Cost::Data, text).fix("metricstream query DIR   (with the file alone in DIR, as metrics.jsonl)")
    } else {
        Finding::ok("every file of the log has a valid name")
    })
}

/// Returns true for the names that logrotate gives to rotated files.
fn is_moved_log(name: &str) -> bool {
    let number = name.strip_prefix(ACTIVE_NAME).and_then(|rest| rest.strip_prefix(['.', '-']));
    number.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()) && !rest.ends_with(".tmp"))
}

/// Checks that the file system can sync a directory; without it, names of files may not survive a power loss.
fn directory_sync(examination: &mut Examination) -> Verdict {
    let located = examination.data_dir()?;
    let path = located.path.display().to_string();
    let call = format!("fsync(2) {path}");
    match examination.calls().sync_directory(&located.real) {
        Ok(()) => {
            examination.record(call, "done");
            Ok(Finding::ok("the directory can be synced"))
        }
        Err(error) if dirent::is_unsupported(&error) => {
            examination.record(call, &error);
            let text = format!(
                "the file system cannot sync a directory ({error}): a power loss may lose the name of the log's newest \
                 file, and with it all data in it, even data acknowledged at fsync"
            );
            Ok(Finding::warning(Cost::Data, text)
                .fix("metricstream --data-dir /var/lib/metricstream   (a directory on a local ext4 or xfs)"))
        }
        Err(error) => Err(examination.failed(call, &error)),
    }
}

fn shutdowns(examination: &mut Examination) -> Verdict {
    let located = examination.data_dir()?;
    let path = located.path.join(log::STATE_NAME).display().to_string();
    if !located.exists {
        return Ok(Finding::ok("the data directory does not exist yet"));
    }
    let Some(text) = examination.optional(&path)? else {
        return Ok(Finding::ok("no server has used the data directory yet"));
    };
    // Its last line ends with a line feed, which was trimmed.
    let state = log::State::parse(&format!("{text}\n"))
        .ok_or_else(|| Unknown(format!("{path} was not written by this version of the server")))?;
    if state.standing == log::Standing::Damaged {
        return Err(Unknown(format!("{path} is damaged: its checksum is wrong; the next start rewrites it")));
    }
    let running = matches!(holder(examination)?, Holder::Held(_));
    let count = state.unclean_shutdowns + u64::from(!state.clean && !running);
    Ok(match count {
        0 => Finding::ok("every shutdown was clean"),
        _ => Finding::note(
            Cost::Data,
            format!(
                "{} so far, each by a kill, a crash or a power loss (the server logs the last repair at startup)",
                counted(count, "unclean shutdown")
            ),
        )
        .fix("journalctl -k -b -1 | grep -i -e oom -e panic; journalctl -u metricstream   (shows the reason)"),
    })
}

const fn mib(bytes: u64) -> u64 {
    bytes / limits::MIB as u64
}

fn usage(examination: &mut Examination, located: &Located) -> Result<Usage, Unknown> {
    let call = format!("statvfs(3) {}", located.path.display());
    let usage = examination.calls().usage(&located.real).map_err(|error| examination.failed(&call, &error))?;
    examination.record(
        call,
        format!(
            "{} MiB of {} MiB are free, {} of {} inodes",
            mib(usage.bytes_free),
            mib(usage.bytes),
            usage.inodes_free,
            usage.inodes
        ),
    );
    Ok(usage)
}

fn space(examination: &mut Examination) -> Verdict {
    let located = examination.data_dir()?;
    let path = located.path.display();
    let usage = usage(examination, &located)?;
    let shown = format!("{} MiB of {} MiB are free", mib(usage.bytes_free), mib(usage.bytes));
    let inodes = format!("{} of {} inodes are free", usage.inodes_free, usage.inodes);
    let fix = format!(
        "df -h {path}; du -xh --max-depth=1 {path} | sort -h   (then free space, or choose another --data-dir)"
    );
    Ok(if usage.bytes_free < limits::DOCTOR_FREE_BYTES_CRITICAL {
        Finding::critical(Cost::Service, format!("{shown}: on a full disk every batch gets a 503")).fix(fix)
    } else if usage.bytes_free < limits::DOCTOR_FREE_BYTES_WARNING || usage.bytes_free < usage.bytes / 20 {
        Finding::warning(Cost::Service, format!("{shown}: on a full disk every batch gets a 503")).fix(fix)
    } else if usage.inodes > 0 && usage.inodes_free < limits::DOCTOR_FREE_INODES {
        Finding::warning(Cost::Service, format!("{inodes}: without a free inode no new log file can be created"))
            .fix(format!("df -i {path}"))
    } else {
        Finding::ok(shown)
    })
}

/// Compares free space with the maximum size of the log: the sealed segments that are kept, and one more that is being
/// sealed, compressed or deleted.
fn retention(examination: &mut Examination) -> Verdict {
    let located = examination.data_dir()?;
    let path = located.path.display().to_string();
    let rotation = examination.config.rotation;
    let shown = |bytes: Option<u64>| bytes.map_or("unlimited".to_owned(), |bytes| format!("{} MiB", mib(bytes)));
    let age = rotation.retain_age.map_or("unlimited".to_owned(), |age| format!("{} s", age.as_secs()));
    examination.record(
        "--rotate-size, --retain-size, --retain-age",
        format!("{}, {}, {age}", shown(rotation.rotate_bytes), shown(rotation.retain_bytes)),
    );
    let mut log_bytes = 0;
    if located.exists && located.real.is_dir() {
        let catalog =
            Catalog::list(&located.real).map_err(|error| examination.failed(format!("readdir(3) {path}"), &error))?;
        log_bytes = catalog.active_bytes.unwrap_or(0) + catalog.sealed_bytes();
        let count = counted(catalog.segments.len(), "sealed segment");
        examination.record(&path, format!("{count} and the active one, {} MiB", mib(log_bytes)));
    }
    let usage = usage(examination, &located)?;
    let available = usage.bytes_free.saturating_add(log_bytes);
    let segment = rotation.rotate_bytes.unwrap_or(0);
    match (rotation.retain_bytes, rotation.retain_age) {
        (Some(kept), _) if kept.saturating_add(segment) > available => {
            let text = format!(
                "--retain-size keeps {} MiB plus one segment in progress, but the disk has space for {} MiB of log \
                 only: it fills up before anything is deleted",
                mib(kept),
                mib(available)
            );
            // Five per cent stay free.
            let fitting = mib((available - available / 20).saturating_sub(segment)).max(1);
            Ok(Finding::warning(Cost::Service, text).fix(format!("metricstream --retain-size {fitting}MiB")))
        }
        (Some(kept), _) => Ok(Finding::ok(format!("the {} MiB that are kept fit on the disk", mib(kept)))),
        (None, Some(_)) => Ok(Finding::ok("segments are deleted by age: their size depends on the load")),
        (None, None) => {
            let text = format!(
                "nothing is ever deleted: the log has {} MiB and grows until {} MiB are full, and then every batch \
                gets a 503",
                mib(log_bytes),
                mib(available)
            );
            Ok(Finding::note(Cost::Service, text)
                .fix(format!("metricstream --retain-size {}MiB", mib(available - available / 20).max(1))))
        }
    }
}

/// The value that the share `per_mille` of the sorted times do not exceed (nearest rank).
fn quantile(sorted: &[Duration], per_mille: usize) -> Duration {
    let rank = (sorted.len() * per_mille).div_ceil(1_000).clamp(1, sorted.len().max(1));
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn sync(examination: &mut Examination) -> Verdict {
    let located = examination.data_dir()?;
    let path = located.path.display().to_string();
    if !located.real.is_dir() {
        examination.record(format!("stat(2) {path}"), "no directory");
        return Err(Unknown(format!("{path} is not a directory")));
    }
    let mut times = examination
        .calls()
        .sync_times(&located.real)
        .map_err(|error| examination.failed(format!("a file written and synced in {path}"), &error))?;
    let total: Duration = times.iter().sum();
    times.sort_unstable();
    let (p50, p99) = (quantile(&times, 500), quantile(&times, 990));
    let per_s = times.len() as f64 / total.as_secs_f64().max(f64::EPSILON);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let measured = format!(
        "{} times {} bytes and fdatasync: p50 {:.3} ms, p99 {:.3} ms",
        times.len(),
        limits::DOCTOR_SYNC_BYTES,
        ms(p50),
        ms(p99)
    );
    examination.record(format!("fdatasync(2) in {path}"), &measured);
    // Group commit: one sync at a time, and each releases every waiting response.
    let clients = limits::DOCTOR_CLIENTS;
    let text = format!(
        "{measured}; at the level fsync this allows {per_s:.0} acknowledgements/s for one client that waits for each, \
         and up to {:.0} for {clients}, because they share syncs",
        per_s * f64::from(clients)
    );
    let fix = "metricstream --data-dir DIR   (on a disk with power-loss protection), or --ack write if losing seconds \
                of data at a power cut is bearable";
    Ok(if p50 < limits::DOCTOR_SYNC_TOO_FAST {
        Finding::note(
            Cost::Data,
            format!(
                "{text}. No disk flushes that fast: a layer below reports data as synced while it is in memory only"
            ),
        )
        .fix("cat /sys/block/*/queue/write_cache; findmnt -T DIR   (and the hypervisor's cache mode of the disk)")
    } else if p99 >= limits::DOCTOR_SYNC_SLOW && examination.config.ack == log::AckLevel::Fsync {
        Finding::warning(Cost::Speed, text).fix(fix)
    } else if p99 >= limits::DOCTOR_SYNC_SLOW {
        Finding::note(Cost::Speed, text).fix(fix)
    } else {
        // Always reported: it is the cost of a level that any request may choose.
        Finding::note(Cost::Speed, text)
    })
}
