//! The kernel, the network and the clock.

use super::*;

#[test]
fn descriptors() {
    let limited =
        |made: &Made| made.change("proc/self/limits", "1024                 524288", "256                  256");
    expect("nofile", Warning, "allows 113 connections", |made| {
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
            made.calls.io_uring = || Err(Unavailable::Forbidden(Some(2)));
        }
    };
    let check = expect("io_uring", Warning, "kernel.io_uring_disabled = 2", switched_off("2\n"));
    assert_eq!(check.fix.as_deref(), Some("sysctl -w kernel.io_uring_disabled=0"));
    expect("io_uring", Warning, "kernel.io_uring_disabled = 1", switched_off("1\n"));
    expect("io_uring", Critical, "will not start with --driver io_uring", |made| {
        switched_off("2\n")(made);
        made.flags(&["--driver", "io_uring"]);
    });
    let filtered = |made: &Made| made.change("proc/self/status", "Seccomp:\t0", "Seccomp:\t2");
    expect("io_uring", Warning, "a seccomp filter forbids", |made| {
        filtered(made);
        made.calls.io_uring = || Err(Unavailable::Forbidden(Some(0)));
    });
    expect("io_uring", Warning, "most likely hides it", |made| {
        filtered(made);
        made.calls.io_uring = || Err(Unavailable::Absent);
    });
    expect("io_uring", Warning, "multishot receive (6.0)", |made| {
        made.calls.io_uring = || Err(Unavailable::Lacks("multishot receive (6.0)"));
    });
    expect("io_uring", Note, "6.1 has it", |made| {
        made.calls.io_uring = || Ok(Report { step: Step::Cooperative, kernel: "6.0.9".into() });
    });
    // Before Linux 6.6 there is no such sysctl.
    expect("io_uring", Fine, "fastest set-up", |made| made.remove("proc/sys/kernel/io_uring_disabled"));
    expect("io_uring", Fine, "not used", |made| made.flags(&["--driver", "epoll"]));
}

#[test]
fn rings_that_do_not_fit_the_locked_memory() {
    let refused = |made: &mut Made| {
        made.calls.rings = || Err(Unavailable::LockedMemory);
        made.flags(&["--reactors", "8"]);
    };
    let check = expect("memlock", Warning, "the rings of 8 reactors", refused);
    assert!(check.finding.contains("8388608") && check.fix.unwrap().starts_with("ulimit -l "));
    expect("memlock", Critical, "will not start with --driver io_uring", |made| {
        made.calls.rings = || Err(Unavailable::LockedMemory);
        made.flags(&["--driver", "io_uring"]);
    });
    expect("memlock", Note, "while another server runs", |made| {
        refused(made);
        made.calls.holder = || Ok(Holder::Held(None));
    });
    expect("memlock", Fine, "unavailable here", |made| {
        refused(made);
        made.calls.io_uring = || Err(Unavailable::Absent);
    });
    expect("memlock", Fine, "--driver epoll", |made| {
        refused(made);
        made.flags(&["--driver", "epoll"]);
    });
    // The memory of a ring's buffers is requested last.
    expect("memlock", Warning, "the rings of 3 reactors", |made| {
        made.calls.rings = || Err(Unavailable::Lacks("provided-buffer rings (5.19)"));
    });
}

#[test]
fn other_bounds_of_the_kernel() {
    expect("fsize", Critical, "1048576 bytes", |made| {
        made.change("proc/self/limits", "Max file size             unlimited", "Max file size             1048576  ");
    });
    expect("fsize", Fine, "more than any segment", |made| {
        made.change("proc/self/limits", "Max file size             unlimited", "Max file size             4294967296");
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
    expect("somaxconn", Unknown, "does not hold a number", |made| made.write("proc/sys/net/core/somaxconn", "many\n"));
    expect("syn_backlog", Note, "flood", |made| made.write("proc/sys/net/ipv4/tcp_syncookies", "0\n"));
    expect("syn_backlog", Warning, "limited to 128", |made| {
        made.write("proc/sys/net/ipv4/tcp_syncookies", "0\n");
        made.write("proc/sys/net/ipv4/tcp_max_syn_backlog", "128\n");
    });
    expect("statistics", Warning, "10.0.0.1:8080 to every client", |made| {
        made.flags(&["--admin-listen", "10.0.0.1:8080", "--listen", "127.0.0.1:1"])
    });
    expect("statistics", Fine, "this host only", |made| made.flags(&["--listen", "[::1]:80"]));
    expect("port", Critical, "another program", |made| made.calls.bind = || Err(io::ErrorKind::AddrInUse.into()));
    expect("port", Note, "most likely by the server", |made| {
        made.calls.bind = || Err(io::ErrorKind::AddrInUse.into());
        made.calls.holder = || Ok(Holder::Held(Some(7)));
    });
    expect("port", Fine, "in use by this server", |made| {
        made.calls.bind = || Err(io::ErrorKind::AddrInUse.into());
        made.calls.holder = || Ok(Holder::Held(Some(std::process::id())));
    });
    expect("port", Critical, "privileged", |made| made.calls.bind = || Err(io::ErrorKind::PermissionDenied.into()));
    expect("port", Critical, "not an address", |made| made.calls.bind = || Err(io::ErrorKind::AddrNotAvailable.into()));
}

#[test]
fn queues_and_interrupts_of_the_network_interface() {
    let one_queue = |made: &Made| {
        made.remove("sys/class/net/eth0/queues/rx-1");
        made.remove("sys/class/net/eth0/queues/rx-2");
    };
    let check = expect("nic_queues", Warning, "through 1 queue,", |made| one_queue(made));
    let fix = check.fix.unwrap();
    assert!(fix.starts_with("ethtool -L eth0 combined 3") && fix.contains("echo 00000007 >"), "{fix}");
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
    expect("nic_queues", Unknown, "no hardware interface", |made| made.write("sys/class/net/eth0/operstate", "down\n"));
}

#[test]
fn the_clock() {
    let source = "sys/devices/system/clocksource/clocksource0";
    let check =
        expect("clocksource", Warning, "hpet", |made| made.write(&format!("{source}/current_clocksource"), "hpet\n"));
    assert!(check.fix.unwrap().starts_with("echo tsc >"));
    expect("clocksource", Fine, "the hypervisor's", |made| {
        made.write(&format!("{source}/current_clocksource"), "kvm-clock\n");
    });
    expect("clock_sync", Warning, "the clock is not synchronised", |made| {
        made.calls.clock = || Ok(ClockState { synchronised: false, error_us_max: 16_000_000 });
    });
    expect("clock_sync", Note, "wrong by 3000 ms", |made| {
        made.calls.clock = || Ok(ClockState { synchronised: true, error_us_max: 3_000_000 });
    });
    expect("clock_sync", Unknown, "adjtimex(2)", |made| {
        made.calls.clock = || Err(io::ErrorKind::PermissionDenied.into());
    });
    expect("clock_plausible", Warning, "the clock was set back", |made| {
        made.calls.now -= Duration::from_secs(2 * 3_600);
    });
}
