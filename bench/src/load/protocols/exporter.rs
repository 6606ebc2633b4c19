//! The series of one host, after those that a Prometheus node exporter 1.5 shows of a Linux machine: its names, labels
//! and types, and the kind of numbers that each has. A server of 8 cores, 2 disks, 4 file systems and 4 interfaces.

use Kind::{Counter, Gauge, Summary};
use Shape::{Bytes, Count, Fixed, Fraction, Seconds, Small};

/// Type of a series in Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Summary,
}

/// Shape of the numbers of a series, and how they change from one scrape to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shape {
    /// The same in each scrape; whole. Two thirds of a host's series do not change within a minute, and most of them
    /// are zero.
    Fixed(i64),
    /// A whole number of up to 11 digits that grows.
    Count,
    /// A whole number below 500 that goes up and down.
    Small,
    /// Pages of memory or blocks of a disk, in bytes, that go up and down.
    Bytes,
    /// Seconds that grow, with two digits behind the point.
    Seconds,
    /// A small number with many digits, as durations have.
    Fraction,
}

/// A label and its value.
type Label = (&'static str, &'static str);

/// Series whose names begin alike, and whose labels are the same: one line of line protocol for each set of labels.
#[derive(Debug)]
pub(super) struct Group {
    /// Prefix of the names.
    pub measurement: &'static str,
    /// Labels that all of them have.
    pub labels: &'static [Label],
    /// Labels of which there is a set of series for each combination of values, the last one changing fastest.
    pub each: &'static [(&'static str, &'static [&'static str])],
    /// Suffixes of the names, behind a `_`.
    pub fields: &'static [Field],
    /// Beginning of the help of each; its end is the field.
    pub help: &'static str,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Field(pub &'static str, pub Kind, pub Shape);

const ZERO: Shape = Fixed(0);
const PLAIN: Group = Group { measurement: "", labels: &[], each: &[], fields: &[], help: "" };

const CPUS: (&str, &[&str]) = ("cpu", &["0", "1", "2", "3", "4", "5", "6", "7"]);
const DISKS: (&str, &[&str]) = ("device", &["nvme0n1", "nvme1n1"]);
const INTERFACES: (&str, &[&str]) = ("device", &["docker0", "eth0", "eth1", "lo"]);
const COLLECTORS: (&str, &[&str]) = (
    "collector",
    &[
        "arp",
        "bcache",
        "bonding",
        "btrfs",
        "conntrack",
        "cpu",
        "cpufreq",
        "diskstats",
        "dmi",
        "edac",
        "entropy",
        "fibrechannel",
        "filefd",
        "filesystem",
        "hwmon",
        "infiniband",
        "ipvs",
        "loadavg",
        "mdadm",
        "meminfo",
        "netclass",
        "netdev",
        "netstat",
        "nfs",
        "nfsd",
        "nvme",
        "os",
        "powersupplyclass",
        "pressure",
        "rapl",
        "schedstat",
        "selinux",
        "sockstat",
        "softnet",
        "stat",
        "tapestats",
        "textfile",
        "thermal_zone",
        "time",
        "timex",
        "udp_queues",
        "uname",
        "vmstat",
        "xfs",
        "zfs",
    ],
);

/// All of them, by subsystem.
pub(super) static GROUPS: &[Group] = &[
    Group {
        measurement: "go_gc",
        each: &[("quantile", &["0", "0.25", "0.5", "0.75", "1"])],
        fields: &[Field("duration_seconds", Summary, Fraction)],
        help: "Pause duration of garbage collection cycles:",
        ..PLAIN
    },
    Group {
        measurement: "go_gc",
        fields: &[Field("duration_seconds_sum", Summary, Seconds), Field("duration_seconds_count", Summary, Count)],
        help: "Pause duration of garbage collection cycles:",
        ..PLAIN
    },
    Group {
        measurement: "go",
        fields: &[Field("goroutines", Gauge, Small), Field("threads", Gauge, Small)],
        help: "Number that currently exist:",
        ..PLAIN
    },
    Group {
        measurement: "go",
        labels: &[("version", "go1.19.8")],
        fields: &[Field("info", Gauge, Fixed(1))],
        help: "Information about the Go environment:",
        ..PLAIN
    },
    Group { measurement: "go_memstats", fields: GO_MEMSTATS, help: "Memory statistic of Go:", ..PLAIN },
    Group {
        measurement: "node",
        fields: &[
            Field("boot_time_seconds", Gauge, Fixed(1_795_415_448)),
            Field("context_switches_total", Counter, Count),
            Field("entropy_available_bits", Gauge, Fixed(256)),
            Field("entropy_pool_size_bits", Gauge, Fixed(256)),
            Field("filefd_allocated", Gauge, Count),
            Field("filefd_maximum", Gauge, Fixed(2_466_170)),
            Field("forks_total", Counter, Count),
            Field("intr_total", Counter, Count),
            Field("load1", Gauge, Fraction),
            Field("load15", Gauge, Fraction),
            Field("load5", Gauge, Fraction),
            Field("procs_blocked", Gauge, ZERO),
            Field("procs_running", Gauge, Small),
            Field("selinux_enabled", Gauge, ZERO),
            Field("textfile_scrape_error", Gauge, ZERO),
        ],
        help: "Kernel statistic",
        ..PLAIN
    },
    Group {
        measurement: "node_arp",
        each: &[("device", &["docker0", "eth0", "eth1"])],
        fields: &[Field("entries", Gauge, Small)],
        help: "ARP entries by device:",
        ..PLAIN
    },
    Group {
        measurement: "node_cpu",
        each: &[CPUS, ("mode", &["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"])],
        fields: &[Field("seconds_total", Counter, Seconds)],
        help: "Seconds the CPUs spent in each mode:",
        ..PLAIN
    },
    Group {
        measurement: "node_cpu",
        each: &[CPUS, ("mode", &["nice", "user"])],
        fields: &[Field("guest_seconds_total", Counter, ZERO)],
        help: "Seconds the CPUs spent in guests (VMs) for each mode:",
        ..PLAIN
    },
    Group { measurement: "node_disk", each: &[DISKS], fields: DISK, help: "Block device statistic", ..PLAIN },
    Group {
        measurement: "node_disk",
        labels: &[
            ("device", "nvme0n1"),
            ("major", "259"),
            ("minor", "0"),
            ("model", "Samsung SSD 980 PRO 2TB"),
            ("path", "pci-0000:01:00.0-nvme-1"),
            ("revision", "5B2QGXA7"),
            ("serial", "S6B0NL0T611436P"),
            ("wwn", "eui.002538b611504f8a"),
        ],
        fields: &[Field("info", Gauge, Fixed(1))],
        help: "Information about the block device:",
        ..PLAIN
    },
    Group {
        measurement: "node_exporter_build",
        labels: &[
            ("branch", "debian/sid"),
            ("goarch", "amd64"),
            ("goos", "linux"),
            ("goversion", "go1.19.8"),
            ("revision", "1.5.0-1+b6"),
            ("version", "1.5.0"),
        ],
        fields: &[Field("info", Gauge, Fixed(1))],
        help: "Build of the exporter:",
        ..PLAIN
    },
    filesystem(&[("device", "/dev/nvme0n1p2"), ("fstype", "ext4"), ("mountpoint", "/")]),
    filesystem(&[("device", "/dev/nvme0n1p1"), ("fstype", "vfat"), ("mountpoint", "/boot/efi")]),
    filesystem(&[("device", "/dev/nvme1n1p1"), ("fstype", "xfs"), ("mountpoint", "/var/lib/data")]),
    filesystem(&[("device", "tmpfs"), ("fstype", "tmpfs"), ("mountpoint", "/run")]),
    Group { measurement: "node_memory", fields: MEMORY, help: "Memory information field", ..PLAIN },
    Group { measurement: "node_netstat", fields: NETSTAT, help: "Statistic", ..PLAIN },
    Group { measurement: "node_network", each: &[INTERFACES], fields: NETWORK, help: "Network device", ..PLAIN },
    Group {
        measurement: "node_network",
        labels: &[
            ("address", "62:c4:28:7e:51:ea"),
            ("broadcast", "ff:ff:ff:ff:ff:ff"),
            ("device", "eth0"),
            ("duplex", "full"),
            ("ifalias", "uplink rack 7"),
            ("operstate", "up"),
        ],
        fields: &[Field("info", Gauge, Fixed(1))],
        help: "Non-numeric data of the interface:",
        ..PLAIN
    },
    Group {
        measurement: "node_nf_conntrack",
        fields: &[
            Field("entries", Gauge, Count),
            Field("entries_limit", Gauge, Fixed(262_144)),
            Field("stat_drop", Gauge, ZERO),
            Field("stat_early_drop", Gauge, ZERO),
            Field("stat_found", Gauge, ZERO),
            Field("stat_ignore", Gauge, ZERO),
            Field("stat_insert", Gauge, ZERO),
            Field("stat_insert_failed", Gauge, ZERO),
            Field("stat_invalid", Gauge, Small),
            Field("stat_search_restart", Gauge, ZERO),
        ],
        help: "Connection tracking:",
        ..PLAIN
    },
    Group {
        measurement: "node_os",
        labels: &[
            ("id", "debian"),
            ("name", "Debian GNU/Linux"),
            ("pretty_name", "Debian GNU/Linux 12 (bookworm)"),
            ("version", "12 (bookworm)"),
            ("version_codename", "bookworm"),
            ("version_id", "12"),
        ],
        fields: &[Field("info", Gauge, Fixed(1))],
        help: "The operating system:",
        ..PLAIN
    },
    Group {
        measurement: "node_pressure",
        fields: &[
            Field("cpu_waiting_seconds_total", Counter, Seconds),
            Field("io_stalled_seconds_total", Counter, Seconds),
            Field("io_waiting_seconds_total", Counter, Seconds),
            Field("memory_stalled_seconds_total", Counter, ZERO),
            Field("memory_waiting_seconds_total", Counter, ZERO),
        ],
        help: "Total time that processes have waited:",
        ..PLAIN
    },
    Group {
        measurement: "node_schedstat",
        each: &[CPUS],
        fields: &[
            Field("running_seconds_total", Counter, Seconds),
            Field("timeslices_total", Counter, Count),
            Field("waiting_seconds_total", Counter, Seconds),
        ],
        help: "Scheduler statistic",
        ..PLAIN
    },
    Group {
        measurement: "node_scrape_collector",
        each: &[COLLECTORS],
        fields: &[Field("duration_seconds", Gauge, Fraction), Field("success", Gauge, Fixed(1))],
        help: "Collector of the exporter:",
        ..PLAIN
    },
    Group { measurement: "node_sockstat", fields: SOCKSTAT, help: "Sockets:", ..PLAIN },
    Group {
        measurement: "node_softnet",
        each: &[CPUS],
        fields: &[
            Field("dropped_total", Counter, ZERO),
            Field("processed_total", Counter, Count),
            Field("times_squeezed_total", Counter, Count),
        ],
        help: "Packets of softnet:",
        ..PLAIN
    },
    Group { measurement: "node_timex", fields: TIMEX, help: "Adjustment of the clock:", ..PLAIN },
    Group {
        measurement: "node_uname",
        labels: &[
            ("domainname", "(none)"),
            ("machine", "x86_64"),
            ("release", "6.1.0-18-amd64"),
            ("sysname", "Linux"),
            ("version", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)"),
        ],
        fields: &[Field("info", Gauge, Fixed(1))],
        help: "What uname(2) says:",
        ..PLAIN
    },
    Group {
        measurement: "node_vmstat",
        fields: &[
            Field("oom_kill", Gauge, ZERO),
            Field("pgfault", Gauge, Count),
            Field("pgmajfault", Gauge, Count),
            Field("pgpgin", Gauge, Count),
            Field("pgpgout", Gauge, Count),
            Field("pswpin", Gauge, ZERO),
            Field("pswpout", Gauge, ZERO),
        ],
        help: "/proc/vmstat information field",
        ..PLAIN
    },
    Group {
        measurement: "process",
        fields: &[
            Field("cpu_seconds_total", Counter, Seconds),
            Field("max_fds", Gauge, Fixed(20_000)),
            Field("open_fds", Gauge, Small),
            Field("resident_memory_bytes", Gauge, Bytes),
            Field("start_time_seconds", Gauge, Fixed(1_795_418_870)),
            Field("virtual_memory_bytes", Gauge, Bytes),
        ],
        help: "Process of the exporter:",
        ..PLAIN
    },
    Group {
        measurement: "promhttp_metric_handler",
        each: &[("code", &["200", "500", "503"])],
        fields: &[Field("requests_total", Counter, Count)],
        help: "Total number of scrapes by HTTP status code:",
        ..PLAIN
    },
];

const fn filesystem(labels: &'static [Label]) -> Group {
    Group { measurement: "node_filesystem", labels, each: &[], fields: FILESYSTEM, help: "Filesystem" }
}

const GO_MEMSTATS: &[Field] = &[
    Field("alloc_bytes", Gauge, Bytes),
    Field("alloc_bytes_total", Counter, Count),
    Field("buck_hash_sys_bytes", Gauge, Fixed(1_446_177)),
    Field("frees_total", Counter, Count),
    Field("gc_sys_bytes", Gauge, Fixed(8_302_312)),
    Field("heap_alloc_bytes", Gauge, Bytes),
    Field("heap_idle_bytes", Gauge, Bytes),
    Field("heap_inuse_bytes", Gauge, Bytes),
    Field("heap_objects", Gauge, Count),
    Field("heap_released_bytes", Gauge, Bytes),
    Field("heap_sys_bytes", Gauge, Bytes),
    Field("lookups_total", Counter, ZERO),
    Field("mallocs_total", Counter, Count),
    Field("mcache_inuse_bytes", Gauge, Fixed(9_600)),
    Field("mcache_sys_bytes", Gauge, Fixed(15_600)),
    Field("mspan_inuse_bytes", Gauge, Fixed(47_520)),
    Field("mspan_sys_bytes", Gauge, Fixed(48_816)),
    Field("next_gc_bytes", Gauge, Fixed(4_194_304)),
    Field("stack_inuse_bytes", Gauge, Bytes),
    Field("stack_sys_bytes", Gauge, Bytes),
    Field("sys_bytes", Gauge, Fixed(14_660_872)),
];

const DISK: &[Field] = &[
    Field("discard_time_seconds_total", Counter, Seconds),
    Field("discarded_sectors_total", Counter, Count),
    Field("discards_completed_total", Counter, Count),
    Field("discards_merged_total", Counter, ZERO),
    Field("flush_requests_time_seconds_total", Counter, Seconds),
    Field("flush_requests_total", Counter, Count),
    Field("io_now", Gauge, ZERO),
    Field("io_time_seconds_total", Counter, Seconds),
    Field("io_time_weighted_seconds_total", Counter, Seconds),
    Field("read_bytes_total", Counter, Count),
    Field("read_time_seconds_total", Counter, Seconds),
    Field("reads_completed_total", Counter, Count),
    Field("reads_merged_total", Counter, Count),
    Field("write_time_seconds_total", Counter, Seconds),
    Field("writes_completed_total", Counter, Count),
    Field("writes_merged_total", Counter, Count),
    Field("written_bytes_total", Counter, Count),
];

const FILESYSTEM: &[Field] = &[
    Field("avail_bytes", Gauge, Bytes),
    Field("device_error", Gauge, ZERO),
    Field("files", Gauge, Fixed(16_777_216)),
    Field("files_free", Gauge, Count),
    Field("free_bytes", Gauge, Bytes),
    Field("readonly", Gauge, ZERO),
    Field("size_bytes", Gauge, Fixed(270_553_174_016)),
];

const MEMORY: &[Field] = &[
    Field("Active_anon_bytes", Gauge, Bytes),
    Field("Active_bytes", Gauge, Bytes),
    Field("Active_file_bytes", Gauge, Bytes),
    Field("AnonHugePages_bytes", Gauge, ZERO),
    Field("AnonPages_bytes", Gauge, Bytes),
    Field("Bounce_bytes", Gauge, ZERO),
    Field("Buffers_bytes", Gauge, Bytes),
    Field("Cached_bytes", Gauge, Bytes),
    Field("CommitLimit_bytes", Gauge, Fixed(12_638_248_960)),
    Field("Committed_AS_bytes", Gauge, Bytes),
    Field("DirectMap1G_bytes", Gauge, Fixed(25_769_803_776)),
    Field("DirectMap2M_bytes", Gauge, Fixed(2_120_220_672)),
    Field("DirectMap4k_bytes", Gauge, Fixed(27_262_976)),
    Field("Dirty_bytes", Gauge, Bytes),
    Field("HugePages_Free", Gauge, ZERO),
    Field("HugePages_Total", Gauge, ZERO),
    Field("Hugepagesize_bytes", Gauge, Fixed(2_097_152)),
    Field("Inactive_anon_bytes", Gauge, Bytes),
    Field("Inactive_bytes", Gauge, Bytes),
    Field("Inactive_file_bytes", Gauge, Bytes),
    Field("KReclaimable_bytes", Gauge, Bytes),
    Field("KernelStack_bytes", Gauge, Bytes),
    Field("Mapped_bytes", Gauge, Bytes),
    Field("MemAvailable_bytes", Gauge, Bytes),
    Field("MemFree_bytes", Gauge, Bytes),
    Field("MemTotal_bytes", Gauge, Fixed(25_276_502_016)),
    Field("Mlocked_bytes", Gauge, ZERO),
    Field("NFS_Unstable_bytes", Gauge, ZERO),
    Field("PageTables_bytes", Gauge, Bytes),
    Field("Percpu_bytes", Gauge, Fixed(950_272)),
    Field("SReclaimable_bytes", Gauge, Bytes),
    Field("SUnreclaim_bytes", Gauge, Bytes),
    Field("Shmem_bytes", Gauge, Bytes),
    Field("Slab_bytes", Gauge, Bytes),
    Field("SwapFree_bytes", Gauge, ZERO),
    Field("SwapTotal_bytes", Gauge, ZERO),
    Field("VmallocTotal_bytes", Gauge, Fixed(35_184_372_087_808)),
    Field("VmallocUsed_bytes", Gauge, Bytes),
    Field("WritebackTmp_bytes", Gauge, ZERO),
    Field("Writeback_bytes", Gauge, ZERO),
];

const NETSTAT: &[Field] = &[
    Field("Icmp6_InErrors", Gauge, ZERO),
    Field("Icmp6_InMsgs", Gauge, Count),
    Field("Icmp6_OutMsgs", Gauge, Count),
    Field("Icmp_InErrors", Gauge, ZERO),
    Field("Icmp_InMsgs", Gauge, Count),
    Field("Icmp_OutMsgs", Gauge, Count),
    Field("Ip6_InOctets", Gauge, Count),
    Field("Ip6_OutOctets", Gauge, Count),
    Field("IpExt_InOctets", Gauge, Count),
    Field("IpExt_OutOctets", Gauge, Count),
    Field("Ip_Forwarding", Gauge, Fixed(2)),
    Field("TcpExt_ListenDrops", Gauge, ZERO),
    Field("TcpExt_ListenOverflows", Gauge, ZERO),
    Field("TcpExt_SyncookiesFailed", Gauge, ZERO),
    Field("TcpExt_TCPSynRetrans", Gauge, Count),
    Field("TcpExt_TCPTimeouts", Gauge, Count),
    Field("Tcp_ActiveOpens", Gauge, Count),
    Field("Tcp_CurrEstab", Gauge, Small),
    Field("Tcp_InErrs", Gauge, ZERO),
    Field("Tcp_InSegs", Gauge, Count),
    Field("Tcp_OutRsts", Gauge, Count),
    Field("Tcp_OutSegs", Gauge, Count),
    Field("Tcp_PassiveOpens", Gauge, Count),
    Field("Tcp_RetransSegs", Gauge, Count),
    Field("Udp6_InDatagrams", Gauge, ZERO),
    Field("Udp6_InErrors", Gauge, ZERO),
    Field("Udp_InDatagrams", Gauge, Count),
    Field("Udp_InErrors", Gauge, ZERO),
    Field("Udp_NoPorts", Gauge, Count),
    Field("Udp_OutDatagrams", Gauge, Count),
    Field("Udp_RcvbufErrors", Gauge, ZERO),
    Field("Udp_SndbufErrors", Gauge, ZERO),
];

const NETWORK: &[Field] = &[
    Field("address_assign_type", Gauge, ZERO),
    Field("carrier", Gauge, Fixed(1)),
    Field("carrier_changes_total", Counter, Fixed(2)),
    Field("dormant", Gauge, ZERO),
    Field("flags", Gauge, Fixed(4099)),
    Field("iface_id", Gauge, Fixed(2)),
    Field("mtu_bytes", Gauge, Fixed(1500)),
    Field("protocol_type", Gauge, Fixed(1)),
    Field("receive_bytes_total", Counter, Count),
    Field("receive_compressed_total", Counter, ZERO),
    Field("receive_drop_total", Counter, ZERO),
    Field("receive_errs_total", Counter, ZERO),
    Field("receive_fifo_total", Counter, ZERO),
    Field("receive_frame_total", Counter, ZERO),
    Field("receive_multicast_total", Counter, Count),
    Field("receive_packets_total", Counter, Count),
    Field("speed_bytes", Gauge, Fixed(125_000_000)),
    Field("transmit_bytes_total", Counter, Count),
    Field("transmit_carrier_total", Counter, ZERO),
    Field("transmit_colls_total", Counter, ZERO),
    Field("transmit_drop_total", Counter, ZERO),
    Field("transmit_errs_total", Counter, ZERO),
    Field("transmit_fifo_total", Counter, ZERO),
    Field("transmit_packets_total", Counter, Count),
    Field("transmit_queue_length", Gauge, Fixed(1000)),
    Field("up", Gauge, Fixed(1)),
];

const SOCKSTAT: &[Field] = &[
    Field("FRAG_inuse", Gauge, ZERO),
    Field("FRAG_memory", Gauge, ZERO),
    Field("RAW_inuse", Gauge, ZERO),
    Field("TCP6_inuse", Gauge, Small),
    Field("TCP_alloc", Gauge, Small),
    Field("TCP_inuse", Gauge, Small),
    Field("TCP_mem", Gauge, Small),
    Field("TCP_mem_bytes", Gauge, Bytes),
    Field("TCP_orphan", Gauge, ZERO),
    Field("TCP_tw", Gauge, Small),
    Field("UDP_inuse", Gauge, Small),
    Field("UDP_mem", Gauge, Small),
    Field("UDP_mem_bytes", Gauge, Bytes),
    Field("sockets_used", Gauge, Small),
];

const TIMEX: &[Field] = &[
    Field("estimated_error_seconds", Gauge, Fraction),
    Field("frequency_adjustment_ratio", Gauge, Fixed(1)),
    Field("loop_time_constant", Gauge, Fixed(7)),
    Field("maxerror_seconds", Gauge, Fraction),
    Field("offset_seconds", Gauge, Fraction),
    Field("pps_calibration_total", Counter, ZERO),
    Field("pps_error_total", Counter, ZERO),
    Field("pps_frequency_hertz", Gauge, ZERO),
    Field("pps_jitter_seconds", Gauge, ZERO),
    Field("status", Gauge, Fixed(8193)),
    Field("sync_status", Gauge, Fixed(1)),
    Field("tai_offset_seconds", Gauge, Fixed(37)),
    Field("tick_seconds", Gauge, Fraction),
];
