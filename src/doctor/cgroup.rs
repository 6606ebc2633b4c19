//! Limits of the control group: the CPU quota and the memory limit, for cgroup versions 1 and 2.

use super::{
    Cost, Finding, Subject, Verdict,
    host::{Examination, Unknown},
    kernel::meminfo,
    mount,
    placement::{list, pinned},
};
use crate::limits;
use std::path::{Path, PathBuf};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject { id: "cpu_quota", topic: "cores", examine: quota },
    Subject { id: "memory", topic: "cores", examine: memory },
];

/// This process's group in the hierarchy that has a controller.
struct Group {
    /// Directory of the cgroup and those above it, up to the root of what is mounted.
    directories: Vec<String>,
    /// True for version 2.
    unified: bool,
}

/// Finds the controller (cgroups(7)): in a version 1 hierarchy if one names it, else in the unified hierarchy.
fn group(examination: &mut Examination, controller: &str) -> Result<Group, Unknown> {
    const PATH: &str = "/proc/self/cgroup";
    let text = examination.lines(PATH)?;
    let named =
        |line: &&str| line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == controller));
    let line = text.lines().find(named).or_else(|| text.lines().find(|line| line.starts_with("0::")));
    let line = line.ok_or_else(|| Unknown(format!("{PATH} lists no group for {controller}")))?;
    examination.record(PATH, line);
    let unified = line.starts_with("0::");
    let own = line.splitn(3, ':').nth(2).unwrap_or("/");
    let mounts = mount::all(examination)?;
    let mount = mounts
        .iter()
        .rfind(|mount| match unified {
            true => mount.fs_type == "cgroup2",
            false => mount.fs_type == "cgroup" && mount.has(controller),
        })
        .ok_or_else(|| Unknown(format!("the {controller} controller is not mounted where this process can see it")))?;
    // A container may see its own group as the root of the mount.
    let below = Path::new(own)
        .strip_prefix(&mount.root)
        .map_err(|_| Unknown(format!("the group {own} is outside of the mount at {}, {}", mount.point, mount.root)))?;
    // Without the slash at the end that joining nothing leaves.
    let deepest: PathBuf = Path::new(&mount.point).join(below).components().collect();
    let directories: Vec<String> = deepest
        .ancestors()
        .take_while(|directory| directory.starts_with(&mount.point))
        .map(|directory| directory.display().to_string())
        .collect();
    match directories.first() {
        Some(directory) if examination.exists(directory) => Ok(Group { directories, unified }),
        _ => Err(Unknown(format!("{} does not exist", deepest.display()))),
    }
}

fn quota(examination: &mut Examination) -> Verdict {
    let group = group(examination, "cpu")?;
    let mut least: Option<(u64, u64, String)> = None;
    for directory in group.directories {
        // Missing where the controller is not enabled, and at the root, which has no limit.
        let (quota, period) = if group.unified {
            let Some(text) = examination.optional(&format!("{directory}/cpu.max"))? else { continue };
            let mut words = text.split_whitespace().map(str::parse);
            (words.next().and_then(Result::ok), words.next().and_then(Result::ok))
        } else {
            let Some(quota) = examination.optional(&format!("{directory}/cpu.cfs_quota_us"))? else { continue };
            (quota.parse().ok(), examination.number(&format!("{directory}/cpu.cfs_period_us")).map(Some)?)
        };
        // Without a quota: `max` in version 2, -1 in version 1.
        let (Some(quota), Some(period)) = (quota, period.filter(|&period: &u64| period > 0)) else { continue };
        let less =
            |(q, p, _): &(u64, u64, String)| u128::from(quota) * u128::from(*p) < u128::from(*q) * u128::from(period);
        if least.as_ref().is_none_or(less) {
            least = Some((quota, period, directory));
        }
    }
    let Some((quota, period, directory)) = least else { return Ok(Finding::ok("no CPU quota")) };
    let pinned = pinned(examination);
    let cores = quota as f64 / period as f64;
    if quota >= period.saturating_mul(pinned.len() as u64) {
        return Ok(Finding::ok(format!("the quota of {cores:.2} CPUs covers {} pinned cores", pinned.len())));
    }
    let throttled = throttled(examination, &directory);
    let text = format!(
        "the control group grants {cores:.2} CPUs but threads are pinned to {}: after {quota} us of each {period} us \
         period the whole server is stopped for the rest of it{throttled}",
        pinned.len()
    );
    let file = if group.unified { "max > {}/cpu.max" } else { "-1 > {}/cpu.cfs_quota_us" }.replace("{}", &directory);
    let fit: Vec<usize> =
        pinned.iter().copied().take(usize::try_from(quota / period).unwrap_or(usize::MAX).max(1)).collect();
    Ok(Finding::warning(Cost::Speed, text).fix(format!(
        "echo {file}   (containers: --cpus {}; systemd: CPUQuota=; or fewer cores: --cores {})",
        pinned.len(),
        list(&fit)
    )))
}

/// The number of times the group has been throttled so far, if the kernel reports it.
fn throttled(examination: &mut Examination, directory: &str) -> String {
    let path = format!("{directory}/cpu.stat");
    let text = examination.lines(&path).unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("nr_throttled ")).map(str::trim);
    count.map_or_else(String::new, |count| {
        examination.record(format!("{path} nr_throttled"), count);
        format!(" ({count} times so far)")
    })
}

/// Memory that the configuration allows, in bytes: what a busy server fills, and the maximum.
fn wanted(examination: &Examination) -> (u64, u64) {
    /// Bytes of a slot in the limiter's table, and slots for each client (`limits::CLIENTS_DEFAULT`).
    const BYTES_PER_CLIENT: u64 = 2 * 64;
    let config = examination.config;
    let reactors = config.placement.reactor_cores.len() as u64;
    let rings = reactors * config.ring_bytes as u64;
    let receive = reactors * u64::from(limits::RECEIVE_BUFFERS) * u64::from(limits::RECEIVE_BUFFER_BYTES);
    let clients = config.rate_limit.map_or(0, |_| config.clients_limit as u64 * BYTES_PER_CLIENT);
    let stamps = config.rate_limit.map_or(0, |_| rate::limits::RATE_STAMP_BYTES_MAX as u64);
    let busy = rings + receive + clients;
    (busy, busy + stamps + reactors * http1::limits::HELD_BYTES_MAX as u64)
}

fn memory(examination: &mut Examination) -> Verdict {
    let total = meminfo(examination, "MemTotal")?;
    let group = group(examination, "memory")?;
    let mut limit = (total, None);
    for directory in group.directories {
        let path = format!("{directory}/{}", if group.unified { "memory.max" } else { "memory.limit_in_bytes" });
        // Without a limit: `max` in version 2, a number beyond any memory in version 1.
        let bytes = examination.optional(&path)?.and_then(|text| text.parse::<u64>().ok());
        if let Some(bytes) = bytes.filter(|&bytes| bytes < limit.0) {
            limit = (bytes, Some(path));
        }
    }
    let (busy, most) = wanted(examination);
    let mib = |bytes: u64| bytes.div_ceil(limits::MIB as u64);
    let (bytes, whose) =
        (limit.0, if limit.1.is_some() { "the control group's limit" } else { "the machine's memory" });
    let fix = match &limit.1 {
        Some(path) => {
            format!("echo {most} > {path}   (systemd: MemoryMax=; or smaller rings and fewer: --ring-size, --reactors)")
        }
        None => "metricstream --reactors N --ring-size SIZE   (fewer and smaller rings)".to_owned(),
    };
    Ok(if bytes < busy {
        let text = format!(
            "full rings, receive buffers and client table take {} MiB, and {whose} is {} MiB: the kernel will kill the \
             server under load",
            mib(busy),
            mib(bytes)
        );
        Finding::critical(Cost::Data, text).fix(fix)
    } else if bytes < most {
        let text = format!(
            "the limits allow {} MiB in total, large bodies and rate-limiter timestamps included, and {whose} is {} \
            MiB",
            mib(most),
            mib(bytes)
        );
        Finding::note(Cost::Service, text).fix(fix)
    } else {
        Finding::ok(format!("the {} MiB that the limits allow fit {whose}, {} MiB", mib(most), mib(bytes)))
    })
}
