//! A made host for the tests: a tree of files as /proc and /sys have them, and results of system calls. As it is made,
//! everything is in order; a test spoils what it is about.

use super::{
    Check, Host,
    calls::{Calls, ClockState, Holder, Usage},
    examine,
};
use crate::{cli::CommandLine, config::Config, listening::ResolvedAddress};
use clap::Parser;
use reactor::uring;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A function that returns the result of a call.
type FakeCall<T> = fn() -> T;

/// Results of the system calls.
#[derive(Debug, Clone)]
pub(super) struct FakeCalls {
    pub(super) io_uring: FakeCall<Result<uring::Report, uring::Unavailable>>,
    pub(super) rings: FakeCall<Result<(), uring::Unavailable>>,
    pub(super) clock: FakeCall<io::Result<ClockState>>,
    pub(super) now: SystemTime,
    pub(super) usage: FakeCall<io::Result<Usage>>,
    pub(super) may_write: FakeCall<io::Result<()>>,
    pub(super) sync_times: FakeCall<io::Result<Vec<Duration>>>,
    pub(super) bind: FakeCall<io::Result<()>>,
    pub(super) holder: FakeCall<io::Result<Holder>>,
    pub(super) sync_directory: FakeCall<io::Result<()>>,
    /// Contents that replace a file, such as /proc/stat, while the examination waits.
    pub(super) later: Option<(PathBuf, String)>,
}

impl Calls for FakeCalls {
    fn io_uring(&self) -> Result<uring::Report, uring::Unavailable> {
        (self.io_uring)()
    }
    fn rings(&self, _: usize, _: u32) -> Result<(), uring::Unavailable> {
        (self.rings)()
    }
    fn wait(&self, _: Duration) {
        if let Some((path, text)) = &self.later {
            fs::write(path, text).unwrap();
        }
    }
    fn clock(&self) -> io::Result<ClockState> {
        (self.clock)()
    }
    fn now(&self) -> SystemTime {
        self.now
    }
    fn usage(&self, _: &Path) -> io::Result<Usage> {
        (self.usage)()
    }
    fn may_write(&self, _: &Path) -> io::Result<()> {
        (self.may_write)()
    }
    fn sync_times(&self, _: &Path) -> io::Result<Vec<Duration>> {
        (self.sync_times)()
    }
    fn bind(&self, _: &ResolvedAddress) -> io::Result<()> {
        (self.bind)()
    }
    fn holder(&self, _: &Path) -> io::Result<Holder> {
        (self.holder)()
    }
    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        (self.sync_directory)()
    }
}

/// The files of a host with four cores, of which it uses 0 to 3, one disk and one network interface.
const FILES: &[(&str, &str)] = &[
    ("proc/sys/kernel/osrelease", "6.12.0\n"),
    ("proc/sys/kernel/io_uring_disabled", "0\n"),
    ("proc/sys/kernel/io_uring_group", "-1\n"),
    ("proc/sys/net/core/somaxconn", "4096\n"),
    ("proc/sys/net/ipv4/tcp_syncookies", "1\n"),
    ("proc/sys/net/ipv4/tcp_max_syn_backlog", "4096\n"),
    ("proc/sys/vm/dirty_bytes", "1073741824\n"),
    ("proc/sys/vm/dirty_ratio", "0\n"),
    ("proc/sys/vm/dirty_background_bytes", "268435456\n"),
    ("proc/sys/vm/dirty_background_ratio", "0\n"),
    ("proc/meminfo", "MemTotal:       33554432 kB\nMemFree: 1 kB\nMemAvailable:   16777216 kB\n"),
    ("proc/stat", STAT),
    ("proc/self/status", "Name:\tx\nUid:\t7\t991\t7\t7\nSeccomp:\t0\nCpus_allowed_list:\t0-3\n"),
    ("proc/self/limits", LIMITS),
    ("proc/self/cgroup", "0::/system.slice/metricstream.service\n"),
    ("proc/self/mountinfo", MOUNTS),
    ("proc/irq/40/effective_affinity_list", "0-2\n"),
    ("sys/fs/cgroup/system.slice/cpu.max", "max 100000\n"),
    ("sys/fs/cgroup/system.slice/memory.max", "max\n"),
    ("sys/fs/cgroup/system.slice/metricstream.service/cpu.max", "max 100000\n"),
    ("sys/fs/cgroup/system.slice/metricstream.service/cpu.stat", "usage_usec 5\nnr_periods 9\nnr_throttled 7\n"),
    ("sys/fs/cgroup/system.slice/metricstream.service/memory.max", "max\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    ("sys/kernel/mm/transparent_hugepage/defrag", "always defer defer+madvise [madvise] never\n"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    ("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm\n"),
    ("sys/devices/system/node/node0/cpulist", "0-3\n"),
    ("sys/devices/system/node/online", "0\n"),
    ("sys/devices/system/cpu/cpuidle/current_driver", "intel_idle\n"),
    ("sys/dev/block/8:0/queue/write_cache", "write back\n"),
    ("sys/dev/block/8:0/queue/scheduler", "[none] mq-deadline\n"),
    ("sys/dev/block/8:0/queue/rotational", "0\n"),
    ("sys/dev/block/8:0/device/scsi_disk/0:0:0:0/cache_type", "write back\n"),
    ("sys/class/net/eth0/device/msi_irqs/40", "msix\n"),
    ("sys/class/net/eth0/device/msi_irqs/41", "msix\n"),
    ("sys/class/net/eth0/operstate", "up\n"),
    ("sys/class/net/eth0/queues/rx-0/rps_cpus", "0\n"),
    ("sys/class/net/eth0/queues/rx-1/rps_cpus", "0\n"),
    ("sys/class/net/eth0/queues/rx-2/rps_cpus", "0\n"),
    ("sys/class/net/eth0/queues/tx-0/xps_cpus", "0\n"),
    ("sys/class/net/lo/operstate", "unknown\n"),
    ("srv/metrics/metrics.jsonl", ""),
];

pub(super) const STAT: &str = "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 10 0 10 980 0 0 0 0 0 0\ncpu1 10 0 10 980 0 0 0 0 0 0\n\
    cpu2 10 0 10 980 0 0 0 0 0 0\ncpu3 10 0 10 980 0 0 0 0 0 0\nintr 5\n";

pub(super) const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units
Max file size             unlimited            unlimited            bytes
Max open files            1024                 524288               files
Max locked memory         8388608              8388608              bytes
";

pub(super) const MOUNTS: &str = "\
20 1 8:0 / / rw,relatime - ext4 /dev/sda rw,errors=remount-ro
21 20 0:21 / /proc rw - proc proc rw
22 20 0:22 / /sys rw - sysfs sysfs rw
23 22 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
";

/// A made host.
#[derive(Debug)]
pub(super) struct Made {
    directory: tempfile::TempDir,
    pub(super) calls: FakeCalls,
    flags: Vec<String>,
}

impl Made {
    /// A host on which nothing is wrong, and the server's flags for it.
    pub(super) fn new() -> Self {
        let calls = FakeCalls {
            io_uring: || Ok(uring::Report { step: uring::Step::DeferredNoArray, kernel: "6.12.0".into() }),
            rings: || Ok(()),
            clock: || Ok(ClockState { synchronised: true, error_us_max: 1_500 }),
            // After every file of the tree.
            now: SystemTime::now() + Duration::from_secs(3_600),
            usage: || Ok(Usage { bytes: 1 << 40, bytes_free: 1 << 39, inodes: 1 << 20, inodes_free: 1 << 19 }),
            may_write: || Ok(()),
            sync_times: || Ok((1..=100).map(|tenths| Duration::from_micros(100 * tenths)).collect()),
            bind: || Ok(()),
            holder: || Ok(Holder::Never),
            sync_directory: || Ok(()),
            later: None,
        };
        let made = Self { directory: tempfile::tempdir().unwrap(), calls, flags: Vec::new() };
        for (path, text) in FILES {
            made.write(path, text);
        }
        for core in 0..4 {
            let cpu = format!("sys/devices/system/cpu/cpu{core}");
            made.write(&format!("{cpu}/topology/thread_siblings_list"), &format!("{core}\n"));
            made.write(&format!("{cpu}/cpufreq/scaling_governor"), "performance\n");
            made.write(&format!("{cpu}/cpufreq/scaling_driver"), "acpi-cpufreq\n");
            for (state, name, latency, disabled) in [(0, "POLL", 0, 0), (1, "C1", 2, 0), (2, "C6", 170, 1)] {
                made.write(&format!("{cpu}/cpuidle/state{state}/name"), &format!("{name}\n"));
                made.write(&format!("{cpu}/cpuidle/state{state}/latency"), &format!("{latency}\n"));
                made.write(&format!("{cpu}/cpuidle/state{state}/disable"), &format!("{disabled}\n"));
            }
        }
        made
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path.trim_start_matches('/'))
    }

    /// Puts a file there, with the directories above it.
    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Replaces a part of a file.
    pub(super) fn change(&self, path: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(path)).unwrap();
        assert!(text.contains(from), "{path} does not contain {from:?}");
        fs::write(self.path(path), text.replace(from, to)).unwrap();
    }

    /// Takes a file or a directory away.
    pub(super) fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }

    /// Further flags of the server.
    pub(super) fn flags(&mut self, flags: &[&str]) {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
    }

    pub(super) fn config(&self) -> Config {
        // Cores that the machine under the test may not have; the last of a flag given twice would be an error.
        let mut line = vec!["metricstream".to_owned(), "doctor".into()];
        for (flag, value) in [
            ("--listen", "10.0.0.1:8080"),
            ("--admin-listen", "127.0.0.1:9090"),
            ("--data-dir", "/srv/metrics"),
            ("--cores", "0-3"),
            ("--retain-size", "8GiB"),
        ] {
            if !self.flags.iter().any(|given| given == flag) {
                line.extend([flag.to_owned(), value.to_owned()]);
            }
        }
        line.extend(self.flags.clone());
        CommandLine::try_parse_from(line).unwrap().resolve().unwrap()
    }

    pub(super) fn examine(&self) -> Vec<Check> {
        let host = Host::made(self.directory.path().to_owned(), Box::new(self.calls.clone()));
        examine(&host, &self.config())
    }

    /// The check of this name.
    pub(super) fn check(&self, id: &str) -> Check {
        self.examine().into_iter().find(|check| check.id == id).unwrap_or_else(|| panic!("there is no check {id}"))
    }
}
