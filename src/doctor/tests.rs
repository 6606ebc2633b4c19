//! Every check against a made host on which just the thing that it looks for is wrong.

use super::{
    Check, Cost, Severity,
    calls::{ClockState, Lock, Usage},
    made::{MOUNTS, Made, STAT},
    report,
};
use reactor::uring::{Report, Step, Unavailable};
use std::{collections::BTreeSet, io, time::Duration};

use Severity::{Critical, Note, Ok as Fine, Unknown, Warning};

/// The check `id` on a host that `spoil` has spoilt: it is of this severity, says `part`, and names a mend unless there is
/// nothing to mend. What it read is stated.
#[track_caller]
fn expect(id: &str, severity: Severity, part: &str, spoil: impl FnOnce(&mut Made)) -> Check {
    let mut made = Made::new();
    spoil(&mut made);
    let check = made.check(id);
    assert_eq!(check.severity, severity, "{check:#?}");
    assert!(check.finding.contains(part), "{check:#?}");
    if severity >= Warning {
        assert!(check.mend.is_some(), "{check:#?}");
        assert_ne!(check.cost, Cost::Nothing, "{check:#?}");
    }
    check
}

#[test]
fn on_a_host_in_order_only_the_price_of_a_sync_is_noted() {
    let checks = Made::new().examine();
    for check in &checks {
        let expected = if check.id == "fdatasync" { Note } else { Fine };
        assert_eq!(check.severity, expected, "{check:#?}");
        assert!(!check.read.is_empty(), "{} states nothing that it read", check.id);
        assert!(check.mend.is_none(), "{check:#?}");
    }
    let ids: BTreeSet<&str> = checks.iter().map(|check| check.id).collect();
    assert_eq!(ids.len(), checks.len(), "a name stands for one check");
}

#[test]
fn on_an_empty_host_what_cannot_be_read_is_unknown_and_never_guessed() {
    let made = Made::new();
    made.remove("proc");
    made.remove("sys");
    let unknown: Vec<Check> = made.examine().into_iter().filter(|check| check.severity == Unknown).collect();
    let ids: BTreeSet<&str> = unknown.iter().map(|check| check.id).collect();
    for id in [
        "nofile",
        "fsize",
        "memlock",
        "io_uring",
        "somaxconn",
        "syn_backlog",
        "nic_queues",
        "irq_affinity",
        "cpuset",
        "shared_core",
        "smt",
        "numa",
        "cpu_quota",
        "memory",
        "governor",
        "c_states",
        "steal",
        "clocksource",
        "filesystem",
        "mount_options",
        "write_cache",
        "io_scheduler",
        "dirty_pages",
    ] {
        assert!(ids.contains(id), "{id} is not unknown");
    }
    for check in &unknown {
        assert!(check.finding.contains("/proc/") || check.finding.contains("/sys/"), "{check:#?}");
        assert!(!check.read.is_empty(), "{check:#?}");
    }
}

#[test]
fn descriptors() {
    let limited =
        |made: &Made| made.change("proc/self/limits", "1024                 524288", "256                  256");
    expect("nofile", Warning, "room for", |made| {
        limited(made);
        made.flags(&["--reactors", "1"]);
    });
    expect("nofile", Critical, "the server will not start", limited_by(256));
    expect("nofile", Critical, "--max-connections 5000", |made| {
        made.change("proc/self/limits", "524288", "2000");
        made.flags(&["--max-connections", "5000"]);
    });
    expect("nofile", Unknown, "Max open files", |made| made.write("proc/self/limits", "Limit\n"));
}

/// Open files, soft and hard.
fn limited_by(files: u64) -> impl FnOnce(&mut Made) {
    move |made| made.change("proc/self/limits", "1024                 524288", &format!("{files} {files}"))
}

#[test]
fn io_uring_that_is_refused_says_by_whom() {
    let switched_off = |value: &'static str| {
        move |made: &mut Made| {
            made.write("proc/sys/kernel/io_uring_disabled", value);
            made.answers.io_uring = || Err(Unavailable::Forbidden(Some(2)));
        }
    };
    let check = expect("io_uring", Warning, "kernel.io_uring_disabled = 2", switched_off("2\n"));
    assert_eq!(check.mend.as_deref(), Some("sysctl -w kernel.io_uring_disabled=0"));
    expect("io_uring", Warning, "kernel.io_uring_disabled = 1", switched_off("1\n"));
    expect("io_uring", Critical, "will not start with --driver io_uring", |made| {
        switched_off("2\n")(made);
        made.flags(&["--driver", "io_uring"]);
    });
    let filtered = |made: &Made| made.change("proc/self/status", "Seccomp:\t0", "Seccomp:\t2");
    expect("io_uring", Warning, "a seccomp filter forbids", |made| {
        filtered(made);
        made.answers.io_uring = || Err(Unavailable::Forbidden(Some(0)));
    });
    expect("io_uring", Warning, "most likely hides it", |made| {
        filtered(made);
        made.answers.io_uring = || Err(Unavailable::Absent);
    });
    expect("io_uring", Warning, "multishot receive (6.0)", |made| {
        made.answers.io_uring = || Err(Unavailable::Lacks("multishot receive (6.0)"));
    });
    expect("io_uring", Note, "6.1 has it", |made| {
        made.answers.io_uring = || Ok(Report { step: Step::Cooperative, kernel: "6.0.9".into() });
    });
    // Before Linux 6.6 there is no such sysctl.
    expect("io_uring", Fine, "best step", |made| made.remove("proc/sys/kernel/io_uring_disabled"));
    expect("io_uring", Fine, "not asked for", |made| made.flags(&["--driver", "epoll"]));
}

#[test]
fn rings_that_do_not_fit_the_locked_memory() {
    let refused = |made: &mut Made| {
        made.answers.rings = || Err(Unavailable::Refused(io::Error::from_raw_os_error(libc::ENOMEM)));
        made.flags(&["--reactors", "8"]);
    };
    let check = expect("memlock", Critical, "the rings of 8 reactors", refused);
    assert!(check.finding.contains("8388608") && check.mend.unwrap().starts_with("ulimit -l "));
    expect("memlock", Note, "beside the one that runs already", |made| {
        refused(made);
        made.answers.lock = || Ok(Lock::Held(None));
    });
    expect("memlock", Fine, "not to be had", |made| {
        refused(made);
        made.answers.io_uring = || Err(Unavailable::Absent);
    });
    expect("memlock", Fine, "--driver epoll", |made| {
        refused(made);
        made.flags(&["--driver", "epoll"]);
    });
    // The memory of a ring's buffers is asked for last.
    expect("memlock", Critical, "the rings of 3 reactors", |made| {
        made.answers.rings = || Err(Unavailable::Lacks("provided-buffer rings (5.19)"));
    });
}

#[test]
fn other_bounds_of_the_kernel() {
    expect("fsize", Critical, "1048576 bytes", |made| {
        made.change("proc/self/limits", "Max file size             unlimited", "Max file size             1048576  ");
    });
    expect("huge_pages", Warning, "stall", |made| {
        made.write("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
        made.write("sys/kernel/mm/transparent_hugepage/defrag", "[always] defer never\n");
    });
    expect("huge_pages", Note, "2 MiB", |made| {
        made.write("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
    });
}

#[test]
fn the_way_of_a_connection() {
    expect("somaxconn", Warning, "gets 128", |made| made.write("proc/sys/net/core/somaxconn", "128\n"));
    expect("somaxconn", Unknown, "holds no number", |made| made.write("proc/sys/net/core/somaxconn", "many\n"));
    expect("syn_backlog", Note, "flood", |made| made.write("proc/sys/net/ipv4/tcp_syncookies", "0\n"));
    expect("syn_backlog", Warning, "kept to 128", |made| {
        made.write("proc/sys/net/ipv4/tcp_syncookies", "0\n");
        made.write("proc/sys/net/ipv4/tcp_max_syn_backlog", "128\n");
    });
    expect("port", Critical, "something else", |made| made.answers.bind = || Err(io::ErrorKind::AddrInUse.into()));
    expect("port", Note, "most likely it is that one", |made| {
        made.answers.bind = || Err(io::ErrorKind::AddrInUse.into());
        made.answers.lock = || Ok(Lock::Held(Some(7)));
    });
    expect("port", Critical, "privileged", |made| made.answers.bind = || Err(io::ErrorKind::PermissionDenied.into()));
    expect("port", Critical, "not an address", |made| {
        made.answers.bind = || Err(io::ErrorKind::AddrNotAvailable.into())
    });
}

#[test]
fn queues_and_interrupts_of_the_network_interface() {
    let one_queue = |made: &Made| {
        made.remove("sys/class/net/eth0/queues/rx-1");
        made.remove("sys/class/net/eth0/queues/rx-2");
    };
    let check = expect("nic_queues", Warning, "through 1 queue,", |made| one_queue(made));
    let mend = check.mend.unwrap();
    assert!(mend.starts_with("ethtool -L eth0 combined 3") && mend.contains("echo 00000007 >"), "{mend}");
    expect("nic_queues", Fine, "or steered", |made| {
        one_queue(made);
        made.write("sys/class/net/eth0/queues/rx-0/rps_cpus", "0000,0000000f\n");
    });
    expect("nic_queues", Fine, "loopback only", |made| {
        one_queue(made);
        made.flags(&["--listen", "127.0.0.1:8080"]);
    });
    expect("irq_affinity", Note, "the writer's core 3", |made| {
        made.write("proc/irq/41/effective_affinity_list", "3\n")
    });
    expect("irq_affinity", Warning, "go to core 1", |made| made.write("proc/irq/40/effective_affinity_list", "1\n"));
    expect("irq_affinity", Unknown, "msi_irqs", |made| made.remove("sys/class/net/eth0/device/msi_irqs"));
    expect("nic_queues", Unknown, "no interface", |made| made.write("sys/class/net/eth0/operstate", "down\n"));
}

#[test]
fn where_the_threads_are_pinned() {
    let check = expect("cpuset", Critical, "may not use cores 2,3, only 0,1", |made| {
        made.change("proc/self/status", "Cpus_allowed_list:\t0-3", "Cpus_allowed_list:\t0-1");
    });
    assert_eq!(check.mend.as_deref(), Some("metricstream --cores 0,1"));
    expect("shared_core", Note, "5 reactors share 4 cores", |made| made.flags(&["--reactors", "5"]));
    expect("shared_core", Note, "the writer shares core 3", |made| made.flags(&["--cores", "3"]));
    let paired = |made: &Made| {
        for (core, pair) in [(0, "0,2"), (1, "1,3"), (2, "0,2"), (3, "1,3")] {
            made.write(&format!("sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"), pair);
        }
    };
    let check = expect("smt", Note, "cores 0,2 and 1,3", |made| paired(made));
    assert_eq!(check.mend.as_deref(), Some("metricstream --cores 0,1"));
    expect("smt", Warning, "1 physical core stands idle", |made| {
        paired(made);
        made.flags(&["--cores", "0,2"]);
    });
    expect("smt", Fine, "no two", |made| {
        paired(made);
        made.flags(&["--cores", "0,1"]);
    });
    let check = expect("numa", Note, "node0 and node1", |made| {
        made.write("sys/devices/system/node/node0/cpulist", "0-1\n");
        made.write("sys/devices/system/node/node1/cpulist", "2-3\n");
    });
    assert_eq!(check.mend.as_deref(), Some("metricstream --cores 2,3"));
}

#[test]
fn a_quota_of_cpu_time_is_found_wherever_above_it_stands() {
    let own = "sys/fs/cgroup/system.slice/metricstream.service/cpu.max";
    expect("cpu_quota", Warning, "grants 1.50 CPUs", |made| made.write(own, "150000 100000\n"));
    let check = expect("cpu_quota", Warning, "(so far 7 times)", |made| made.write(own, "50000 100000\n"));
    assert!(check.mend.unwrap().contains("echo max > /sys/fs/cgroup/system.slice/metricstream.service/cpu.max"));
    expect("cpu_quota", Warning, "grants 2.00 CPUs", |made| {
        made.write(own, "300000 100000\n");
        made.write("sys/fs/cgroup/system.slice/cpu.max", "20000 10000\n");
    });
    expect("cpu_quota", Fine, "covers 4", |made| made.write(own, "400000 100000\n"));
    // Version 1, seen from a container: its own group is the root of the mount.
    let version_1 = |quota: &'static str| {
        move |made: &mut Made| {
            made.write("proc/self/cgroup", "4:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n0::/docker/ab\n");
            let mount = "24 22 0:24 /docker/ab /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";
            made.write("proc/self/mountinfo", &format!("{MOUNTS}{mount}"));
            made.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota);
            made.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
        }
    };
    let check = expect("cpu_quota", Warning, "grants 0.25 CPUs", version_1("25000\n"));
    assert!(check.mend.unwrap().contains("echo -1 > /sys/fs/cgroup/cpu/cpu.cfs_quota_us"));
    expect("cpu_quota", Fine, "no quota", version_1("-1\n"));
    expect("cpu_quota", Unknown, "outside of what is mounted", |made| {
        version_1("-1\n")(made);
        made.change("proc/self/cgroup", "cpuacct:/docker/ab", "cpuacct:/elsewhere");
    });
}

#[test]
fn memory_against_rings_and_bounds() {
    let own = "sys/fs/cgroup/system.slice/metricstream.service/memory.max";
    expect("memory", Critical, "is 64 MiB: the kernel will kill", |made| made.write(own, "67108864\n"));
    expect("memory", Note, "the bounds allow", |made| made.write(own, "536870912\n"));
    expect("memory", Critical, "the machine's memory", |made| made.write("proc/meminfo", "MemTotal: 65536 kB\n"));
}

#[test]
fn how_fast_the_cores_run() {
    let governor = |name: &'static str| {
        move |made: &mut Made| made.write("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", name)
    };
    let check = expect("governor", Warning, "core 2 runs under the governor powersave", governor("powersave\n"));
    assert!(check.mend.unwrap().contains("echo performance"));
    expect("governor", Note, "schedutil", governor("schedutil\n"));
    expect("governor", Note, "intel_pstate", |made| {
        governor("powersave\n")(made);
        for core in 0..4 {
            made.write(&format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_driver"), "intel_pstate\n");
        }
    });
    expect("governor", Unknown, "virtual machine", |made| made.remove("sys/devices/system/cpu/cpu1/cpufreq"));
    expect("c_states", Note, "C6: waking up from there takes 170 us", |made| {
        made.write("sys/devices/system/cpu/cpu3/cpuidle/state2/disable", "0\n");
    });
    expect("steal", Warning, "took 50.0 %", |made| {
        let later = STAT.replace("cpu2 10 0 10 980 0 0 0 0", "cpu2 10 0 10 990 0 0 0 10");
        made.answers.later = Some((made.path("proc/stat"), later));
    });
    expect("steal", Note, "2.4 % since boot", |made| {
        made.change("proc/stat", "cpu2 10 0 10 980 0 0 0 0", "cpu2 10 0 10 980 0 0 0 100")
    });
    expect("steal", Unknown, "cores 0,1,2,3", |made| made.change("proc/stat", "cpu2", "cpu9"));
}

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
    expect("io_scheduler", Note, "turns", |made| made.write("sys/dev/block/8:0/queue/rotational", "1\n"));
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
    expect("data_dir", Fine, "the server makes it", |made| made.remove("srv/metrics"));
    expect("data_dir", Critical, "not a directory", |made| {
        made.remove("srv/metrics");
        made.write("srv/metrics", "a file\n");
    });
    expect("data_dir", Critical, "not a directory", |made| {
        made.remove("srv");
        made.write("srv", "a file\n");
    });
    let check = expect("data_dir", Critical, "not writable", |made| {
        made.answers.may_write = || Err(io::ErrorKind::PermissionDenied.into());
    });
    assert!(check.mend.unwrap().starts_with("chown 991 /srv/metrics"));
    expect("data_dir", Critical, "metrics.jsonl is not a regular file", |made| {
        made.remove("srv/metrics/metrics.jsonl");
        std::fs::create_dir(made.path("srv/metrics/metrics.jsonl")).unwrap();
    });
    expect("data_dir", Note, "process 4711", |made| made.answers.lock = || Ok(Lock::Held(Some(4711))));
    expect("free_space", Critical, "255 MiB", |made| {
        made.answers.usage = || Ok(Usage { bytes: 1 << 40, bytes_free: 255 << 20, inodes: 0, inodes_free: 0 });
    });
    expect("free_space", Warning, "10240 MiB", |made| {
        made.answers.usage = || Ok(Usage { bytes: 1 << 40, bytes_free: 10 << 30, inodes: 0, inodes_free: 0 });
    });
    expect("free_space", Warning, "3 of 1000000 inodes", |made| {
        made.answers.usage = || Ok(Usage { bytes: 1 << 40, bytes_free: 1 << 39, inodes: 1_000_000, inodes_free: 3 });
    });
}

#[test]
fn unclean_shutdowns_are_those_the_state_counts_and_the_one_it_has_not_yet_counted() {
    let state = |clean: u8, count: u64| {
        format!(
            "metricstream state 1\nboot_id {:36}\ndevice {:020}\ninode {:020}\ncommitted_bytes {:020}\nclean {clean}\n\
             unclean_shutdowns {count:020}\n",
            "", 1, 2, 3
        )
    };
    let file = "srv/metrics/metricstream.state";
    expect("unclean_shutdowns", Fine, "always", |made| made.write(file, &state(1, 0)));
    expect("unclean_shutdowns", Note, "2 unclean shutdowns", |made| made.write(file, &state(1, 2)));
    expect("unclean_shutdowns", Note, "3 unclean", |made| made.write(file, &state(0, 2)));
    expect("unclean_shutdowns", Note, "2 unclean shutdowns", |made| {
        made.write(file, &state(0, 2));
        made.answers.lock = || Ok(Lock::Held(None));
    });
    expect("unclean_shutdowns", Unknown, "this version", |made| made.write(file, "metricstream state 9\n"));
}

#[test]
fn the_price_of_a_sync() {
    let check = expect("fdatasync", Note, "p50 5.000 ms, p99 9.900 ms", |_| {});
    // 100 syncs in 505 ms.
    assert!(check.finding.contains("198 acknowledgements/s") && check.finding.contains("19802 for 100"), "{check:#?}");
    let slow = |made: &mut Made| made.answers.sync_times = || Ok(vec![Duration::from_millis(80)]);
    expect("fdatasync", Note, "p99 80.000 ms", slow);
    expect("fdatasync", Warning, "p99 80.000 ms", |made| {
        slow(made);
        made.flags(&["--ack", "fsync"]);
    });
    expect("fdatasync", Note, "keeps it in memory", |made| {
        made.answers.sync_times = || Ok(vec![Duration::from_nanos(900)]);
    });
    expect("fdatasync", Unknown, "cannot be written", |made| {
        made.answers.sync_times = || Err(io::ErrorKind::StorageFull.into());
    });
}

#[test]
fn the_clock() {
    let source = "sys/devices/system/clocksource/clocksource0";
    let check =
        expect("clocksource", Warning, "hpet", |made| made.write(&format!("{source}/current_clocksource"), "hpet\n"));
    assert!(check.mend.unwrap().starts_with("echo tsc >"));
    expect("clocksource", Fine, "the hypervisor's", |made| {
        made.write(&format!("{source}/current_clocksource"), "kvm-clock\n");
    });
    expect("clock_sync", Warning, "nothing keeps the clock right", |made| {
        made.answers.clock = || Ok(ClockState { synchronised: false, error_us_max: 16_000_000 });
    });
    expect("clock_sync", Note, "wrong by 3000 ms", |made| {
        made.answers.clock = || Ok(ClockState { synchronised: true, error_us_max: 3_000_000 });
    });
    expect("clock_sync", Unknown, "adjtimex(2)", |made| {
        made.answers.clock = || Err(io::ErrorKind::PermissionDenied.into());
    });
    expect("clock_plausible", Warning, "the clock has gone back", |made| {
        made.answers.now -= Duration::from_secs(2 * 3_600);
    });
}

#[test]
fn the_costliest_comes_first_and_the_exit_code_is_its() {
    let mut made = Made::new();
    made.write("proc/sys/net/core/somaxconn", "128\n");
    made.change("proc/self/mountinfo", "rw,errors=remount-ro", "rw,nobarrier");
    made.answers.clock = || Ok(ClockState { synchronised: false, error_us_max: 1 });
    made.remove("sys/devices/system/node");
    let checks = made.examine();
    let order: Vec<&str> = checks.iter().map(|check| check.id).take(5).collect();
    assert_eq!(order, ["mount_options", "clock_sync", "somaxconn", "fdatasync", "numa"]);
    assert_eq!(checks[0].severity.exit_code(), 20);
    for (severity, code) in [(Fine, 0), (Unknown, 0), (Note, 0), (Warning, 10), (Critical, 20)] {
        assert_eq!(severity.exit_code(), code);
    }

    let document: serde_json::Value =
        serde_json::from_str(&report::json(&checks, &made.config(), checks[0].severity)).unwrap();
    assert_eq!((&document["worst"], &document["exit_code"]), (&"critical".into(), &20.into()));
    assert_eq!((&document["counts"]["warning"], &document["counts"]["unknown"]), (&2.into(), &1.into()));
    let first = &document["checks"][0];
    assert_eq!(
        (&first["id"], &first["cost"], &first["topic"]),
        (&"mount_options".into(), &"data".into(), &"disk".into())
    );
    assert!(first["read"][0]["source"].as_str().unwrap().starts_with("/proc/self/mountinfo"));
    assert!(first["mend"].as_str().unwrap().starts_with("mount -o remount,barrier=1 /"));
}

#[test]
fn the_text_names_findings_with_their_mend_and_sums_up_the_rest() {
    let made = Made::new();
    made.write("proc/sys/net/core/somaxconn", "128\n");
    let checks = made.examine();
    let short = report::text(&checks, &made.config(), false);
    let lines: Vec<&str> = short.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("warning   somaxconn (speed): ")).unwrap();
    assert_eq!(lines[at + 1].trim(), "mend: sysctl -w net.core.somaxconn=4096");
    assert!(!short.contains("read: "), "{short}");
    assert!(short.ends_with("0 critical, 1 warning, 1 note, 0 unknown, 29 ok\n"), "{short}");
    let all = report::text(&checks, &made.config(), true);
    assert!(all.contains("read: /proc/sys/net/core/somaxconn: 128\n"), "{all}");
    assert!(all.contains("ok        clocksource: tsc\n"), "{all}");
}
