//! Thread placement checks: allowed cores, shared cores, SMT siblings, NUMA nodes.

use super::{Cost, Finding, Subject, Verdict, counted, host::Examination, host::Unknown, kernel::status};
use crate::config::CoreList;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject { id: "cpuset", topic: "cores", examine: allowed },
    Subject { id: "shared_core", topic: "cores", examine: shared },
    Subject { id: "smt", topic: "cores", examine: siblings },
    Subject { id: "numa", topic: "cores", examine: nodes },
];

/// Parses a list of cores as the kernel writes it: `0-3,8`; an empty list is an empty line.
pub(super) fn parse_cores(text: &str) -> Option<Vec<usize>> {
    match text.trim() {
        "" => Some(Vec::new()),
        list => match list.parse() {
            Ok(CoreList::Cores(cores)) => Some(cores),
            Ok(CoreList::Auto) | Err(_) => None,
        },
    }
}

/// The cores that threads are pinned to, each once.
pub(super) fn pinned(examination: &Examination) -> BTreeSet<usize> {
    let placement = &examination.config.placement;
    placement.reactor_cores.iter().copied().chain([placement.writer_core]).collect()
}

pub(super) fn list<'a>(cores: impl IntoIterator<Item = &'a usize>) -> String {
    cores.into_iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// `core 1`, `cores 0,2`.
pub(super) fn named<'a>(cores: impl IntoIterator<Item = &'a usize>) -> String {
    let cores = list(cores);
    if cores.contains(',') { format!("cores {cores}") } else { format!("core {cores}") }
}

/// The cores that this process may run on, by its cpuset and its affinity mask.
fn allowed_cores(examination: &mut Examination) -> Result<BTreeSet<usize>, Unknown> {
    status(examination, "Cpus_allowed_list")?
        .and_then(|text| parse_cores(&text))
        .filter(|cores| !cores.is_empty())
        .map(|cores| cores.into_iter().collect())
        .ok_or_else(|| Unknown("/proc/self/status does not report Cpus_allowed_list".into()))
}

fn allowed(examination: &mut Examination) -> Verdict {
    let allowed = allowed_cores(examination)?;
    let pinned = pinned(examination);
    examination.record("--cores", list(&pinned));
    let denied: Vec<&usize> = pinned.difference(&allowed).collect();
    if denied.is_empty() {
        return Ok(Finding::ok(format!(
            "of the cores {} that this process may use, threads are pinned to {}",
            list(&allowed),
            list(&pinned)
        )));
    }
    let text = format!(
        "this process may not use {}, only {}: a cpuset, taskset or the machine itself excludes the rest, and the \
         server will not start",
        named(denied),
        list(&allowed)
    );
    Ok(Finding::critical(Cost::Service, text).fix(format!("metricstream --cores {}", list(&allowed))))
}

fn shared(examination: &mut Examination) -> Verdict {
    let placement = &examination.config.placement;
    let (reactors, writer) = (&placement.reactor_cores, placement.writer_core);
    let distinct: BTreeSet<usize> = reactors.iter().copied().collect();
    examination
        .record("--cores, --reactors, --writer-core", format!("reactors on {}, writer on {writer}", list(reactors)));
    let allowed = allowed_cores(examination)?;
    if distinct.len() < reactors.len() {
        let text = format!(
            "{} share {} and wait for each other",
            counted(reactors.len(), "reactor"),
            counted(distinct.len(), "core")
        );
        return Ok(Finding::note(Cost::Speed, text).fix(format!("metricstream --reactors {}", distinct.len())));
    }
    if !distinct.contains(&writer) {
        return Ok(Finding::ok("every reactor and the writer have their own core"));
    }
    let text = format!("the writer shares core {writer} with a reactor, and they wait for each other");
    Ok(match allowed.len() {
        1 => Finding::note(Cost::Speed, text + ", as this process may use no other")
            .fix("allow a second core (cpuset.cpus, taskset, --cpuset-cpus)"),
        _ => {
            Finding::note(Cost::Speed, text).fix("metricstream --cores auto --writer-core auto   (without --reactors)")
        }
    })
}

/// Threads of one physical core share its execution units: two busy ones get little more than one does.
fn siblings(examination: &mut Examination) -> Verdict {
    let pinned = pinned(examination);
    let allowed = allowed_cores(examination)?;
    let mut groups: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for core in allowed.union(&pinned) {
        let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
        let text = examination.text(&path)?;
        let group =
            parse_cores(&text).ok_or_else(|| Unknown(format!("{path} does not hold a list of cores: {text:?}")))?;
        if let Some(&first) = group.first() {
            groups.entry(first).or_default().insert(*core);
        }
    }
    let used = |group: &BTreeSet<usize>| group.iter().filter(|core| pinned.contains(core)).count();
    let shared: Vec<String> = groups
        .values()
        .filter(|group| used(group) > 1)
        .map(|group| list(group.iter().filter(|core| pinned.contains(core))))
        .collect();
    if shared.is_empty() {
        return Ok(Finding::ok("no two pinned cores are threads of one physical core"));
    }
    let one_each: Vec<usize> = groups.values().filter_map(|group| group.first().copied()).collect();
    let idle = groups.values().filter(|group| used(group) == 0).count();
    let text = format!("cores {} are threads of the same physical core and slow each other down", shared.join(" and "));
    let fix = format!("metricstream --cores {}", list(&one_each));
    Ok(match idle {
        0 => Finding::note(Cost::Speed, text).fix(fix),
        1 => Finding::warning(Cost::Speed, format!("{text}, while 1 physical core is idle")).fix(fix),
        _ => Finding::warning(Cost::Speed, format!("{text}, while {idle} physical cores are idle")).fix(fix),
    })
}

fn nodes(examination: &mut Examination) -> Verdict {
    const DIRECTORY: &str = "/sys/devices/system/node";
    let pinned = pinned(examination);
    let mut on: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for name in examination.names(DIRECTORY)? {
        if name
            .strip_prefix("node")
            .is_none_or(|number| number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()))
        {
            continue;
        }
        let path = format!("{DIRECTORY}/{name}/cpulist");
        let text = examination.text(&path)?;
        let cores =
            parse_cores(&text).ok_or_else(|| Unknown(format!("{path} does not hold a list of cores: {text:?}")))?;
        if cores.iter().any(|core| pinned.contains(core)) {
            on.insert(name, cores);
        }
    }
    match on.len() {
        0 => Err(Unknown(format!("{DIRECTORY} lists no node with cores {}", list(&pinned)))),
        1 => Ok(Finding::ok(format!("all pinned cores are on {}", on.keys().next().map_or("", String::as_str)))),
        _ => {
            let names = on.keys().cloned().collect::<Vec<_>>().join(" and ");
            let allowed = allowed_cores(examination)?;
            let writer = examination.config.placement.writer_core;
            let best = on.values().find(|cores| cores.contains(&writer)).cloned().unwrap_or_default();
            let text = format!("the pinned cores are on {names}: rings and responses cross between the nodes");
            Ok(Finding::note(Cost::Speed, text)
                .fix(format!("metricstream --cores {}", list(best.iter().filter(|core| allowed.contains(core))))))
        }
    }
}
