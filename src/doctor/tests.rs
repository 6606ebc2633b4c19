//! Every check against a made host on which just the thing that it looks for is wrong.

mod cores;
mod disk;
mod kernel;

use super::{
    Check, Cost, Severity,
    calls::{ClockState, Holder, Usage},
    made::{MOUNTS, Made, STAT},
    report,
};
use reactor::uring::{Report, Step, Unavailable};
use std::{collections::BTreeSet, io, time::Duration};

use Severity::{Critical, Note, Ok as Fine, Unknown, Warning};

/// The check `id` on a host that `spoil` has spoilt: it is of this severity, says `part`, and names a fix unless there
/// is nothing to fix. What it read is stated.
#[track_caller]
fn expect(id: &str, severity: Severity, part: &str, spoil: impl FnOnce(&mut Made)) -> Check {
    let mut made = Made::new();
    spoil(&mut made);
    let check = made.check(id);
    assert_eq!(check.severity, severity, "{check:#?}");
    assert!(check.finding.contains(part), "{check:#?}");
    assert!(!check.read.is_empty(), "{check:#?}");
    if severity >= Warning {
        assert!(check.fix.is_some(), "{check:#?}");
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
        assert!(check.fix.is_none(), "{check:#?}");
    }
    let ids: BTreeSet<&str> = checks.iter().map(|check| check.id).collect();
    assert_eq!(ids.len(), checks.len(), "a name stands for one check");
}

#[test]
fn on_an_empty_host_unreadable_values_are_unknown() {
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
fn the_costliest_comes_first_and_the_exit_code_is_its() {
    let mut made = Made::new();
    made.write("proc/sys/net/core/somaxconn", "128\n");
    made.change("proc/self/mountinfo", "rw,errors=remount-ro", "rw,nobarrier");
    made.calls.clock = || Ok(ClockState { synchronised: false, error_us_max: 1 });
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
    assert!(first["fix"].as_str().unwrap().starts_with("mount -o remount,barrier=1 /"));
    assert_eq!(first["mend"], first["fix"], "the name of 0.1 is served beside it");
}

#[test]
fn the_text_names_findings_with_their_fix_and_sums_up_the_rest() {
    let made = Made::new();
    made.write("proc/sys/net/core/somaxconn", "128\n");
    let checks = made.examine();
    let short = report::text(&checks, &made.config(), false);
    let lines: Vec<&str> = short.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("warning   somaxconn (speed): ")).unwrap();
    assert_eq!(lines[at + 1].trim(), "fix: sysctl -w net.core.somaxconn=4096");
    assert!(!short.contains("read: "), "{short}");
    assert!(short.ends_with("0 critical, 1 warning, 1 note, 0 unknown, 33 ok\n"), "{short}");
    let all = report::text(&checks, &made.config(), true);
    assert!(all.contains("read: /proc/sys/net/core/somaxconn: 128\n"), "{all}");
    assert!(all.contains("ok        clocksource: tsc\n"), "{all}");
}
