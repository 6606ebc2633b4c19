//! The data directory and what it stands on.

use super::*;
use log::{Boot, Standing, State};
use std::os::unix::fs::MetadataExt;

#[test]
fn what_the_data_directory_stands_on() {
    let root = "8:0 / / rw,relatime - ext4 /dev/sda rw,errors=remount-ro";
    let mounted = |line: &'static str| move |made: &mut Made| made.change("proc/self/mountinfo", root, line);
    let extra =
        |line: &'static str| move |made: &mut Made| made.write("proc/self/mountinfo", &format!("{MOUNTS}{line}"));
    expect("filesystem", Critical, "in memory", extra("30 20 0:40 / /srv rw - tmpfs tmpfs rw,size=1g\n"));
    expect("filesystem", Warning, "container's own layer", mounted("0:50 / / rw - overlay overlay rw,lowerdir=/a"));
    expect("filesystem", Warning, "on nfs4", extra("30 20 0:41 / /srv/metrics rw - nfs4 host:/x rw,vers=4.2\n"));
    expect("filesystem", Unknown, "newfs", mounted("8:0 / / rw - newfs /dev/sda rw"));
    expect("mount_options", Critical, "nobarrier", mounted("8:0 / / rw - ext4 /dev/sda rw,nobarrier"));
    expect("mount_options", Critical, "barrier=0", mounted("8:0 / / rw - ext4 /dev/sda rw,barrier=0"));
    expect("mount_options", Warning, "data=writeback", mounted("8:0 / / rw - ext4 /dev/sda rw,data=writeback"));
    expect("mount_options", Note, "sync", mounted("8:0 / / rw,sync - xfs /dev/sda rw"));
    expect("write_cache", Critical, "no flush", |made| {
        made.write("sys/dev/block/8:0/queue/write_cache", "write through\n")
    });
    expect("write_cache", Unknown, "no block device", extra("30 20 0:40 / /srv rw - tmpfs tmpfs rw,size=1g\n"));
    expect("io_scheduler", Note, "bfq", |made| made.write("sys/dev/block/8:0/queue/scheduler", "none [bfq]\n"));
    expect("io_scheduler", Note, "rotational", |made| made.write("sys/dev/block/8:0/queue/rotational", "1\n"));
    expect("dirty_pages", Note, "3276 MiB", |made| {
        made.write("proc/sys/vm/dirty_bytes", "0\n");
        made.write("proc/sys/vm/dirty_ratio", "20\n");
    });
}

#[test]
fn a_disk_below_a_partition_and_a_volume_is_found() {
    let on_volume = |made: &mut Made| {
        made.change(
            "proc/self/mountinfo",
            "8:0 / / rw,relatime - ext4 /dev/sda",
            "253:0 / / rw - ext4 /dev/mapper/root",
        );
        made.write("sys/dev/block/253:0/slaves/sdb1", "");
        made.write("sys/devices/sdb/queue/scheduler", "none [bfq]\n");
        made.write("sys/devices/sdb/queue/rotational", "0\n");
        made.write("sys/devices/sdb/sdb1/partition", "1\n");
        std::fs::create_dir_all(made.path("sys/class/block")).unwrap();
        std::os::unix::fs::symlink("../../devices/sdb/sdb1", made.path("sys/class/block/sdb1")).unwrap();
    };
    expect("io_scheduler", Note, "bfq", on_volume);
}

#[test]
fn the_data_directory_itself() {
    expect("data_dir", Fine, "the server creates it", |made| made.remove("srv/metrics"));
    expect("data_dir", Critical, "not a directory", |made| {
        made.remove("srv/metrics");
        made.write("srv/metrics", "a file\n");
    });
    expect("data_dir", Critical, "not a directory", |made| {
        made.remove("srv");
        made.write("srv", "a file\n");
    });
    let check = expect("data_dir", Critical, "not writable", |made| {
        made.calls.may_write = || Err(io::ErrorKind::PermissionDenied.into());
    });
    assert!(check.fix.unwrap().starts_with("chown 991 /srv/metrics"));
    expect("data_dir", Critical, "metrics.jsonl is not a regular file", |made| {
        made.remove("srv/metrics/metrics.jsonl");
        std::fs::create_dir(made.path("srv/metrics/metrics.jsonl")).unwrap();
    });
    expect("data_dir", Note, "process 4711", |made| made.calls.holder = || Ok(Holder::Held(Some(4711))));
    expect("data_dir", Fine, "this server runs on it", |made| {
        made.calls.holder = || Ok(Holder::Held(Some(std::process::id())));
    });
    expect("free_space", Critical, "255 MiB", |made| {
        made.calls.usage = || Ok(Usage { bytes: 1 << 40, bytes_free: 255 << 20, inodes: 0, inodes_free: 0 });
    });
    expect("free_space", Warning, "10240 MiB", |made| {
        made.calls.usage = || Ok(Usage { bytes: 1 << 40, bytes_free: 10 << 30, inodes: 0, inodes_free: 0 });
    });
    expect("free_space", Warning, "3 of 1000000 inodes", |made| {
        made.calls.usage = || Ok(Usage { bytes: 1 << 40, bytes_free: 1 << 39, inodes: 1_000_000, inodes_free: 3 });
    });
}

#[test]
fn free_space_against_what_the_log_may_come_to_be() {
    let free = |made: &mut Made| {
        made.calls.usage = || Ok(Usage { bytes: 100 << 30, bytes_free: 10 << 30, inodes: 0, inodes_free: 0 });
    };
    expect("retention", Fine, "8192 MiB that are kept fit", free);
    let check = expect("retention", Warning, "keeps 9728 MiB", |made| {
        free(made);
        made.flags(&["--retain-size", "9728MiB"]);
    });
    // 95 % of 10 GiB, less one segment.
    assert_eq!(check.fix.as_deref(), Some("metricstream --retain-size 8704MiB"));
    // What the log has already is space for the log.
    expect("retention", Fine, "9728 MiB that are kept fit", |made| {
        free(made);
        made.flags(&["--retain-size", "9728MiB"]);
        let log = std::fs::File::options().write(true).open(made.path("srv/metrics/metrics.jsonl")).unwrap();
        log.set_len(1 << 30).unwrap();
    });
    expect("retention", Fine, "by age", |made| made.flags(&["--retain-size", "0", "--retain-age", "24h"]));
    expect("retention", Note, "nothing is ever deleted", |made| made.flags(&["--retain-size", "0"]));
}

#[test]
fn unclean_shutdowns_include_the_one_not_counted_yet() {
    let state = |clean: u8, count: u64| {
        format!(
            "metricstream state 1\nboot_id {:36}\ndevice {:020}\ninode {:020}\ncommitted_bytes {:020}\nclean {clean}\n\
             unclean_shutdowns {count:020}\n",
            "", 1, 2, 3
        )
    };
    let file = "srv/metrics/metricstream.state";
    expect("unclean_shutdowns", Fine, "every shutdown was clean", |made| made.write(file, &state(1, 0)));
    expect("unclean_shutdowns", Note, "2 unclean shutdowns", |made| made.write(file, &state(1, 2)));
    expect("unclean_shutdowns", Note, "3 unclean", |made| made.write(file, &state(0, 2)));
    expect("unclean_shutdowns", Note, "2 unclean shutdowns", |made| {
        made.write(file, &state(0, 2));
        made.calls.holder = || Ok(Holder::Held(None));
    });
    let damaged = "metricstream state 2\nboot_id 5b3c7a52-9a9c-4a2e-8f4e-1d0c8a6b7e21\nbooted_ns 00000000000000000001\n\
                   uptime_ns 00000000000000000002\ndevice 00000000000000000001\ninode 00000000000000000002\n\
                   committed_bytes 00000000000000000003\nclean 1\nunclean_shutdowns 00000000000000000000\ncrc32 \
                   00000000\n";
    expect("unclean_shutdowns", Unknown, "its checksum is wrong", |made| made.write(file, damaged));
    expect("unclean_shutdowns", Unknown, "this version", |made| made.write(file, "metricstream state 9\n"));
}

#[test]
fn a_log_that_was_moved_is_named_while_the_server_goes_on_in_it() {
    let state = |made: &mut Made| {
        let found = std::fs::metadata(made.path("srv/metrics/metrics.jsonl")).unwrap();
        State {
            standing: Standing::Sound,
            boot: Boot::now(),
            device: found.dev(),
            inode: found.ino(),
            committed_bytes: 0,
            clean: false,
            unclean_shutdowns: 0,
        }
        .to_text()
    };
    let served = |made: &mut Made| {
        let text = state(made);
        made.write("srv/metrics/metricstream.state", &text);
        made.calls.holder = || Ok(Holder::Held(Some(7)));
    };
    expect("log_files", Fine, "has a valid name", served);
    let moved = |made: &mut Made| {
        served(made);
        let [log, moved] = ["metrics.jsonl", "metrics.jsonl.1"].map(|name| made.path(&format!("srv/metrics/{name}")));
        std::fs::rename(log, moved).unwrap();
    };
    expect("log_files", Warning, "moved or replaced", moved);
    expect("log_files", Warning, "moved or replaced", |made| {
        moved(made);
        made.write("srv/metrics/metrics.jsonl", "");
    });
    // Without a server the next start takes what is there.
    expect("log_files", Note, "as metrics.jsonl.1: not part of the log", |made| {
        moved(made);
        made.calls.holder = || Ok(Holder::Free);
    });
}

#[test]
fn names_that_stand_in_the_way_are_named() {
    expect("log_files", Note, "metrics-99991231T235959.999Z.jsonl: the clock was ahead", |made| {
        made.write("srv/metrics/metrics-99991231T235959.999Z.jsonl", "");
    });
    expect("log_files", Note, "is not a regular file", |made| {
        std::fs::create_dir(made.path("srv/metrics/metrics-20260102T030405.678Z.jsonl")).unwrap();
    });
    expect("log_files", Note, "2 files moved away", |made| {
        made.write("srv/metrics/metrics.jsonl-20260102", "");
        made.write("srv/metrics/metrics.jsonl.2.gz", "");
        made.write("srv/metrics/metrics.jsonl.tmp", "");
    });
    expect("data_dir", Critical, "metrics.jsonl is not a regular file", |made| {
        made.remove("srv/metrics/metrics.jsonl");
        made.write("srv/elsewhere", "");
        std::os::unix::fs::symlink("../elsewhere", made.path("srv/metrics/metrics.jsonl")).unwrap();
    });
}

#[test]
fn a_file_system_that_cannot_sync_a_directory_is_named() {
    expect("directory_sync", Fine, "can be synced", |_| {});
    expect("directory_sync", Warning, "may lose the name", |made| {
        made.calls.sync_directory = || Err(io::Error::from_raw_os_error(libc::EINVAL));
    });
    expect("directory_sync", Unknown, "fsync(2) /srv/metrics", |made| {
        made.calls.sync_directory = || Err(io::Error::from_raw_os_error(libc::EIO));
    });
}

#[test]
fn the_price_of_a_sync() {
    let check = expect("fdatasync", Note, "p50 5.000 ms, p99 9.900 ms", |_| {});
    // 100 syncs in 505 ms.
    assert!(check.finding.contains("198 acknowledgements/s") && check.finding.contains("19802 for 100"), "{check:#?}");
    let slow = |made: &mut Made| made.calls.sync_times = || Ok(vec![Duration::from_millis(80)]);
    expect("fdatasync", Note, "p99 80.000 ms", slow);
    expect("fdatasync", Warning, "p99 80.000 ms", |made| {
        slow(made);
        made.flags(&["--ack", "fsync"]);
    });
    expect("fdatasync", Note, "while it is in memory only", |made| {
        made.calls.sync_times = || Ok(vec![Duration::from_nanos(900)]);
    });
    expect("fdatasync", Unknown, "written and synced", |made| {
        made.calls.sync_times = || Err(io::ErrorKind::StorageFull.into());
    });
}
