//! Cores: where threads are pinned, what the control group grants, how fast they run.

use super::*;

#[test]
fn where_the_threads_are_pinned() {
    let check = expect("cpuset", Critical, "may not use cores 2,3, only 0,1", |made| {
        made.change("proc/self/status", "Cpus_allowed_list:\t0-3", "Cpus_allowed_list:\t0-1");
    });
    assert_eq!(check.fix.as_deref(), Some("metricstream --cores 0,1"));
    expect("shared_core", Note, "5 reactors share 4 cores", |made| made.flags(&["--reactors", "5"]));
    expect("shared_core", Note, "the writer shares core 3", |made| made.flags(&["--cores", "3"]));
    let paired = |made: &Made| {
        for (core, pair) in [(0, "0,2"), (1, "1,3"), (2, "0,2"), (3, "1,3")] {
            made.write(&format!("sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"), pair);
        }
    };
    let check = expect("smt", Note, "cores 0,2 and 1,3", |made| paired(made));
    assert_eq!(check.fix.as_deref(), Some("metricstream --cores 0,1"));
    expect("smt", Warning, "1 physical core is idle", |made| {
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
    assert_eq!(check.fix.as_deref(), Some("metricstream --cores 2,3"));
}

#[test]
fn a_quota_of_cpu_time_is_found_wherever_above_it_stands() {
    let own = "sys/fs/cgroup/system.slice/metricstream.service/cpu.max";
    expect("cpu_quota", Warning, "grants 1.50 CPUs", |made| made.write(own, "150000 100000\n"));
    let check = expect("cpu_quota", Warning, "(7 times so far)", |made| made.write(own, "50000 100000\n"));
    assert!(check.fix.unwrap().contains("echo max > /sys/fs/cgroup/system.slice/metricstream.service/cpu.max"));
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
    assert!(check.fix.unwrap().contains("echo -1 > /sys/fs/cgroup/cpu/cpu.cfs_quota_us"));
    expect("cpu_quota", Fine, "no CPU quota", version_1("-1\n"));
    expect("cpu_quota", Unknown, "outside of the mount", |made| {
        version_1("-1\n")(made);
        made.change("proc/self/cgroup", "cpuacct:/docker/ab", "cpuacct:/elsewhere");
    });
}

#[test]
fn memory_against_rings_and_bounds() {
    let own = "sys/fs/cgroup/system.slice/metricstream.service/memory.max";
    expect("memory", Critical, "is 64 MiB: the kernel will kill", |made| made.write(own, "67108864\n"));
    expect("memory", Note, "the limits allow", |made| made.write(own, "536870912\n"));
    expect("memory", Critical, "the machine's memory", |made| made.write("proc/meminfo", "MemTotal: 65536 kB\n"));
}

#[test]
fn how_fast_the_cores_run() {
    let governor = |name: &'static str| {
        move |made: &mut Made| made.write("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", name)
    };
    let check = expect("governor", Warning, "core 2 runs under the powersave governor", governor("powersave\n"));
    assert!(check.fix.unwrap().contains("echo performance"));
    expect("governor", Note, "schedutil", governor("schedutil\n"));
    expect("governor", Note, "intel_pstate", |made| {
        governor("powersave\n")(made);
        for core in 0..4 {
            made.write(&format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_driver"), "intel_pstate\n");
        }
    });
    expect("governor", Unknown, "virtual machine", |made| made.remove("sys/devices/system/cpu/cpu1/cpufreq"));
    expect("c_states", Note, "C6: leaving it takes 170 us", |made| {
        made.write("sys/devices/system/cpu/cpu3/cpuidle/state2/disable", "0\n");
    });
    expect("steal", Warning, "stole 50.0 %", |made| {
        let later = STAT.replace("cpu2 10 0 10 980 0 0 0 0", "cpu2 10 0 10 990 0 0 0 10");
        made.calls.later = Some((made.path("proc/stat"), later));
    });
    expect("steal", Note, "2.4 % since boot", |made| {
        made.change("proc/stat", "cpu2 10 0 10 980 0 0 0 0", "cpu2 10 0 10 980 0 0 0 100")
    });
    expect("steal", Unknown, "cores 0,1,2,3", |made| made.change("proc/stat", "cpu2", "cpu9"));
}
