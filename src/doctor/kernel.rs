//! Kernel features and limits of this process: io_uring, descriptors, locked memory, file size, huge pages.

use super::{Cost, Finding, Subject, Verdict, calls::Holder, counted, host::Examination, host::Unknown, storage};
use crate::{config::DriverChoice, limits};
use reactor::uring::{self, Step, Unavailable};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject { id: "nofile", topic: "kernel", examine: nofile },
    Subject { id: "fsize", topic: "kernel", examine: file_size },
    Subject { id: "memlock", topic: "kernel", examine: locked_memory },
    Subject { id: "io_uring", topic: "kernel", examine: io_uring },
    Subject { id: "huge_pages", topic: "kernel", examine: huge_pages },
];

const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

fn io_uring(examination: &mut Examination) -> Verdict {
    if examination.config.driver == DriverChoice::Epoll {
        examination.record("--driver", "epoll");
        return Ok(Finding::ok("not used: --driver epoll"));
    }
    examination.text("/proc/sys/kernel/osrelease")?;
    // Both since Linux 6.6.
    let disabled = examination.optional(SYSCTL)?;
    examination.optional("/proc/sys/kernel/io_uring_group")?;
    let filtered = seccomp(examination)?;
    let unavailable = match examination.calls().io_uring() {
        Ok(report) => {
            examination.record("io_uring_setup(2)", report.step);
            return Ok(granted(&report));
        }
        Err(unavailable) => unavailable,
    };
    examination.record("io_uring_setup(2)", &unavailable);
    let fix = match &unavailable {
        // The sysctl is read from the examined host.
        Unavailable::Forbidden(_) if matches!(disabled.as_deref(), Some("1" | "2")) => {
            "sysctl -w kernel.io_uring_disabled=0".to_owned()
        }
        Unavailable::Forbidden(_) | Unavailable::Absent if filtered => {
            "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile (podman/docker: \
             --security-opt seccomp=PROFILE.json; systemd: SystemCallFilter=@io-event io_uring_setup io_uring_enter \
             io_uring_register)"
                .to_owned()
        }
        Unavailable::LockedMemory => "ulimit -l unlimited   (systemd: LimitMEMLOCK=infinity)".to_owned(),
        Unavailable::Forbidden(_) => {
            "ausearch -m avc -c metricstream   (shows what a security module refused; allow it there)".to_owned()
        }
        Unavailable::Absent | Unavailable::Lacks(_) | Unavailable::Refused(_) => {
            "uname -r; apt-get install linux-image-amd64   (Linux 6.1 or later has all that is needed)".to_owned()
        }
    };
    let because = match (&unavailable, disabled.as_deref()) {
        (Unavailable::Forbidden(_), Some(value @ ("1" | "2"))) => {
            format!("io_uring is switched off on this host (kernel.io_uring_disabled = {value})")
        }
        (Unavailable::Forbidden(_), _) if filtered => "a seccomp filter forbids io_uring (EPERM)".to_owned(),
        (Unavailable::Absent, _) if filtered => {
            "io_uring returns ENOSYS, and this process runs under a seccomp filter, which most likely hides it"
                .to_owned()
        }
        _ => unavailable.to_string(),
    };
    Ok(match examination.config.driver {
        DriverChoice::IoUring => {
            Finding::critical(Cost::Service, format!("the server will not start with --driver io_uring: {because}"))
        }
        _ => Finding::warning(Cost::Speed, format!("the server falls back to epoll: {because}")),
    }
    .fix(fix))
}

fn granted(report: &uring::Report) -> Finding {
    let kernel = &report.kernel;
    match report.step {
        Step::DeferredNoArray => Finding::ok(format!("the fastest set-up is available, on Linux {kernel}")),
        Step::Deferred => {
            Finding::ok(format!("the second-fastest set-up is available, as Linux {kernel} is older than 6.6"))
        }
        step @ (Step::Cooperative | Step::Plain) => Finding::note(
            Cost::Speed,
            format!("io_uring runs without deferred task work ({step}), as Linux {kernel} refuses it (6.1 has it)"),
        )
        .fix("uname -r; apt-get install linux-image-amd64   (then reboot)"),
    }
}

/// Returns true if this process runs under a seccomp filter (proc(5): `Seccomp: 2`).
fn seccomp(examination: &mut Examination) -> Result<bool, Unknown> {
    let line = status(examination, "Seccomp")?;
    Ok(line.as_deref() == Some("2"))
}

/// A field of /proc/self/status; `None` if the kernel does not have it.
pub(super) fn status(examination: &mut Examination, field: &str) -> Result<Option<String>, Unknown> {
    const PATH: &str = "/proc/self/status";
    let text = examination.lines(PATH)?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).map(str::trim);
    examination.record(format!("{PATH} {field}"), value.unwrap_or("missing"));
    Ok(value.map(str::to_owned))
}

/// A field of /proc/meminfo, in bytes.
pub(super) fn meminfo(examination: &mut Examination, field: &str) -> Result<u64, Unknown> {
    const PATH: &str = "/proc/meminfo";
    let text = examination.lines(PATH)?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).map(str::trim);
    examination.record(format!("{PATH} {field}"), value.unwrap_or("missing"));
    let kilobytes = value.and_then(|value| value.strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.map(|count| count.saturating_mul(1024)).ok_or_else(|| Unknown(format!("{PATH} does not report {field}")))
}

/// Soft and hard limit of a resource, `u64::MAX` for none (proc(5), /proc/self/limits).
fn limit(examination: &mut Examination, name: &str) -> Result<(u64, u64), Unknown> {
    const PATH: &str = "/proc/self/limits";
    let text = examination.lines(PATH)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    examination.record(format!("{PATH} {name}"), line.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut words = line.split_whitespace().map(|word| match word {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    });
    match (words.next().flatten(), words.next().flatten()) {
        (Some(soft), Some(hard)) => Ok((soft, hard)),
        _ => Err(Unknown(format!("{PATH} does not report {name:?}"))),
    }
}

/// File descriptors that are not connections.
fn reserved(examination: &Examination) -> u64 {
    let reactors = examination.config.placement.reactor_cores.len() as u64;
    let query_threads = examination.config.query.threads as u64;
    u64::from(limits::DESCRIPTORS_RESERVED)
        + reactors * u64::from(limits::DESCRIPTORS_PER_REACTOR)
        + query_threads * u64::from(limits::DESCRIPTORS_PER_QUERY_THREAD)
}

fn nofile(examination: &mut Examination) -> Verdict {
    let (soft, hard) = limit(examination, "Max open files")?;
    let reserved = reserved(examination);
    let requested = examination.config.connections_limit;
    let wanted = u64::from(requested.unwrap_or(limits::CONNECTIONS_DEFAULT));
    let needed = wanted + reserved;
    let possible = hard.saturating_sub(reserved);
    let fix = format!("ulimit -Hn {needed}   (as root, before the start; systemd: LimitNOFILE={needed})");
    let shown = format!("the hard limit of open files is {hard} and the soft one {soft}");
    Ok(match requested {
        _ if possible == 0 => Finding::critical(
            Cost::Service,
            format!("{shown}: {reserved} are needed in addition to connections, so the server will not start"),
        )
        .fix(fix),
        Some(_) if possible < wanted => Finding::critical(
            Cost::Service,
            format!("{shown}: --max-connections {wanted} needs {needed}, so the server will not start"),
        )
        .fix(fix),
        None if possible < wanted => Finding::warning(
            Cost::Service,
            format!(
                "{shown}: that allows {possible} connections instead of the default {wanted}; further ones get a 503"
            ),
        )
        .fix(fix),
        _ => Finding::ok(format!("{shown}; the server raises the soft limit itself, and {needed} are enough")),
    })
}

fn file_size(examination: &mut Examination) -> Verdict {
    let config = examination.config;
    // A segment exceeds its size by at most one gather of all rings.
    let gathered = config.placement.reactor_cores.len() as u64 * config.ring_bytes as u64;
    let segment = config.rotation.rotate_bytes.map(|bytes| bytes.saturating_add(gathered));
    match limit(examination, "Max file size")? {
        (u64::MAX, _) => Ok(Finding::ok("files may grow without limit")),
        (bytes, _) if segment.is_some_and(|segment| segment <= bytes) => {
            Ok(Finding::ok(format!("a file may grow to {bytes} bytes, more than any segment of the log")))
        }
        (bytes, _) => Ok(Finding::critical(
            Cost::Service,
            format!("a file may grow to {bytes} bytes: beyond that every batch gets a 503"),
        )
        .fix("ulimit -f unlimited   (systemd: LimitFSIZE=infinity)")),
    }
}

/// Newer kernels charge a ring's memory to RLIMIT_MEMLOCK for users without CAP_IPC_LOCK, for all processes of the user
/// together (observed on Linux 6.18; from 5.12 it was charged to the control group). So the check sets up rings of the
/// server's size and releases them at once.
fn locked_memory(examination: &mut Examination) -> Verdict {
    /// The kernel releases the rings of the first probe with a delay.
    const PROBE_KILOBYTES: u64 = 128;
    if examination.config.driver == DriverChoice::Epoll {
        examination.record("--driver", "epoll");
        return Ok(Finding::ok("not relevant: --driver epoll locks no memory"));
    }
    let (soft, _) = limit(examination, "Max locked memory")?;
    if examination.calls().io_uring().is_err() {
        return Ok(Finding::ok("not relevant: io_uring is unavailable here"));
    }
    let reactors = examination.config.placement.reactor_cores.len();
    let connections = examination.config.connections_limit.unwrap_or(limits::CONNECTIONS_DEFAULT);
    let needed = reactors as u64 * uring::locked_bytes(connections, limits::RECEIVE_BUFFERS);
    let source = format!("io_uring_setup(2), {}, {needed} bytes", counted(reactors, "ring"));
    // The probe found every feature, so any refusal now is for memory, whatever the error code.
    let Err(refusal) = examination.calls().rings(reactors, connections) else {
        examination.record(source, "granted");
        return Ok(Finding::ok(format!("the {needed} bytes of the reactors' rings are granted")));
    };
    examination.record(source, &refusal);
    let forced = examination.config.driver == DriverChoice::IoUring;
    let what = if forced { "will not start with --driver io_uring" } else { "falls back to epoll" };
    let text = format!(
        "the rings of {} take {needed} bytes and the kernel refuses them (the limit of locked memory is {soft}): the \
         server {what}",
        counted(reactors, "reactor")
    );
    match storage::holder(examination) {
        Ok(own) if storage::is_own(own) => {
            return Ok(Finding::note(Cost::Nothing, format!("{text} beside those that this server has")));
        }
        Ok(Holder::Held(_)) => return Ok(Finding::note(Cost::Nothing, format!("{text} while another server runs"))),
        _ => {}
    }
    let kilobytes = needed.div_ceil(1024) + PROBE_KILOBYTES;
    let finding = if forced { Finding::critical(Cost::Service, text) } else { Finding::warning(Cost::Speed, text) };
    Ok(finding.fix(format!("ulimit -l {kilobytes}   (as root; systemd: LimitMEMLOCK={kilobytes}K; or --driver epoll)")))
}

fn huge_pages(examination: &mut Examination) -> Verdict {
    const DIRECTORY: &str = "/sys/kernel/mm/transparent_hugepage";
    let Some(enabled) = examination.optional(&format!("{DIRECTORY}/enabled"))? else {
        return Ok(Finding::ok("this kernel has no transparent huge pages"));
    };
    let defrag = examination.text(&format!("{DIRECTORY}/defrag"))?;
    let enabled = chosen(&enabled);
    let defrag = chosen(&defrag);
    Ok(match (enabled, defrag) {
        ("always", "always") => Finding::warning(
            Cost::Speed,
            "transparent huge pages are always on, with direct defragmentation: a page fault can stall a request",
        )
        .fix(format!("echo defer+madvise > {DIRECTORY}/defrag; echo madvise > {DIRECTORY}/enabled")),
        ("always", _) => Finding::note(
            Cost::Speed,
            "transparent huge pages are always on: resident memory grows in steps of 2 MiB beyond what is used",
        )
        .fix(format!("echo madvise > {DIRECTORY}/enabled")),
        _ => Finding::ok(format!("transparent huge pages: {enabled}")),
    })
}

/// The word in brackets, with which sysfs marks the active value; without brackets, the whole text.
pub(super) fn chosen(text: &str) -> &str {
    text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or(text, |(word, _)| word)
}
