//! Network checks: port, backlog, SYN cookies, and the interface's queues and interrupts.

use super::{
    Cost, Finding, Severity, Subject, Verdict, calls::Holder, counted, host::Examination, host::Unknown,
    placement::parse_cores, storage,
};
use crate::{
    config::StatsAuth,
    limits,
    listening::{self, Endpoint, ResolvedAddress, Role},
};
use std::{collections::BTreeSet, io};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject { id: "port", topic: "network", examine: port },
    Subject { id: "statistics", topic: "network", examine: statistics },
    Subject { id: "somaxconn", topic: "network", examine: accept_queue },
    Subject { id: "syn_backlog", topic: "network", examine: syn_queue },
    Subject { id: "nic_queues", topic: "network", examine: receive_queues },
    Subject { id: "irq_affinity", topic: "network", examine: interrupts },
];

/// The worst finding over all addresses.
fn port(examination: &mut Examination) -> Verdict {
    let places = listens_at(examination)?;
    let mut findings = Vec::new();
    for place in &places {
        findings.push(examine_place(place, examination)?);
    }
    let free = counted(places.len(), "place");
    let worst = findings.into_iter().max_by_key(|finding| finding.severity);
    Ok(match worst {
        Some(finding) if places.len() == 1 || finding.severity != Severity::Ok => finding,
        _ if matches!(storage::holder(examination), Ok(own) if storage::is_own(own)) => {
            Finding::ok(format!("{free} to listen on, available or in use by this server"))
        }
        _ => Finding::ok(format!("{free} to listen on, all available")),
    })
}

/// The addresses that the server would listen on. A name without an address keeps it from starting.
fn listens_at(examination: &Examination) -> Result<Vec<ResolvedAddress>, Unknown> {
    listening::resolve(&listening::addresses(examination.config), listening::look_up)
        .map_err(|refusal| Unknown(format!("the server will not start: {refusal}")))
}

fn examine_place(place: &ResolvedAddress, examination: &mut Examination) -> Verdict {
    let at = &place.endpoint;
    let address = match at {
        Endpoint::Tcp(address) if address.port() == 0 => {
            examination.record(place.role.option(), address);
            return Ok(Finding::ok("port 0: the kernel assigns a free port"));
        }
        Endpoint::Tcp(address) => Some(address),
        Endpoint::Unix(_) => None,
    };
    let source = format!("bind(2) {at}");
    let error = match examination.calls().bind(place) {
        Ok(()) => {
            examination.record(source, "available");
            return Ok(Finding::ok(format!("{at} is free")));
        }
        Err(error) => error,
    };
    examination.record(source, &error);
    Ok(match (error.kind(), address) {
        (io::ErrorKind::AddrInUse, _) => match storage::holder(examination) {
            Ok(own) if storage::is_own(own) => Finding::ok(format!("this server listens on {at}")),
            Ok(Holder::Held(_)) => Finding::note(
                Cost::Nothing,
                format!("{at} is in use, most likely by the server that runs on this data directory"),
            ),
            _ => {
                let who = match address {
                    Some(address) => format!("ss -ltnp 'sport = :{}'", address.port()),
                    None => "ss -lxp".to_owned(),
                };
                Finding::critical(
                    Cost::Service,
                    format!("{at} is in use by another program: the server will not start"),
                )
                .fix(format!("{who}   (shows the program; or choose another address with {})", place.role.option()))
            }
        },
        (io::ErrorKind::PermissionDenied, Some(_)) => Finding::critical(
            Cost::Service,
            format!("{at} is reserved for privileged processes: the server will not start"),
        )
        .fix("setcap cap_net_bind_service=+ep $(command -v metricstream)"),
        (io::ErrorKind::AddrNotAvailable, Some(address)) => Finding::critical(
            Cost::Service,
            format!("{} is not an address of this host: the server will not start", address.ip()),
        )
        .fix(format!("ip -brief address   (lists them; then {})", place.role.option())),
        _ => Finding::critical(Cost::Service, format!("{at} is unavailable: {error}")),
    })
}

/// Checks that statistics are not open to every client that can reach this host.
fn statistics(examination: &mut Examination) -> Verdict {
    let needs_key = examination.config.stats_auth == StatsAuth::Keys;
    examination.record("--stats-auth", if needs_key { "keys" } else { "open" });
    if needs_key {
        return Ok(Finding::ok("statistics require an API key"));
    }
    let places = listens_at(examination)?;
    let has_admin = places.iter().any(|place| place.role == Role::Admin);
    let serves = |place: &&ResolvedAddress| !has_admin || place.role == Role::Admin;
    let foreign: Vec<String> = places
        .iter()
        .filter(|place| serves(place) && !place.endpoint.is_local())
        .map(|place| place.endpoint.to_string())
        .collect();
    if foreign.is_empty() {
        return Ok(Finding::ok("statistics are served to this host only"));
    }
    let text =
        format!("statistics are served on {} to every client that can reach it, without a key", foreign.join(", "));
    Ok(Finding::warning(Cost::Service, text)
        .fix("--admin-listen 127.0.0.1:9090   (or an address on a monitoring network; or --stats-auth keys)"))
}

fn accept_queue(examination: &mut Examination) -> Verdict {
    let wanted = i64::from(limits::LISTEN_BACKLOG);
    let somaxconn: i64 = examination.number("/proc/sys/net/core/somaxconn")?;
    if somaxconn >= wanted {
        return Ok(Finding::ok(format!("each listener queues {wanted} connections, and {somaxconn} are allowed")));
    }
    let text = format!(
        "each listener requests a queue of {wanted} connections and gets {somaxconn}: in a burst the kernel drops the \
         rest, which retry a second later"
    );
    Ok(Finding::warning(Cost::Speed, text).fix(format!("sysctl -w net.core.somaxconn={wanted}")))
}

/// With SYN cookies a full queue of half-open connections drops nothing; without them a quarter of tcp_max_syn_backlog
/// is reserved for known hosts (tcp_conn_request in the kernel).
fn syn_queue(examination: &mut Examination) -> Verdict {
    let cookies: u8 = examination.number("/proc/sys/net/ipv4/tcp_syncookies")?;
    let backlog: i64 = examination.number("/proc/sys/net/ipv4/tcp_max_syn_backlog")?;
    let wanted = i64::from(limits::LISTEN_BACKLOG);
    Ok(match cookies {
        0 if backlog < wanted => Finding::warning(
            Cost::Service,
            format!(
                "SYN cookies are off and half-open connections are limited to {backlog}: a burst or a flood locks \
                     clients out"
            ),
        )
        .fix(format!("sysctl -w net.ipv4.tcp_syncookies=1 net.ipv4.tcp_max_syn_backlog={wanted}")),
        0 => Finding::note(Cost::Service, "SYN cookies are off: a flood of half-open connections locks clients out")
            .fix("sysctl -w net.ipv4.tcp_syncookies=1"),
        1 => Finding::ok(format!("SYN cookies take over where {backlog} half-open connections are not enough")),
        _ => {
            Finding::note(Cost::Speed, "SYN cookies are always sent, a setting for tests: connections lose TCP options")
                .fix("sysctl -w net.ipv4.tcp_syncookies=1")
        }
    })
}

/// Hardware interfaces (also those of a virtual machine) that are up; `None` if the server listens on the loopback
/// only.
fn interfaces(examination: &mut Examination) -> Result<Option<Vec<String>>, Unknown> {
    const CLASS: &str = "/sys/class/net";
    let places = listens_at(examination)?;
    if places.iter().all(|place| place.endpoint.is_local()) {
        examination.record("--listen", listening::list(&places, false));
        return Ok(None);
    }
    let mut up = Vec::new();
    for name in examination.names(CLASS)? {
        if examination.exists(&format!("{CLASS}/{name}/device"))
            && examination.text(&format!("{CLASS}/{name}/operstate"))? != "down"
        {
            up.push(name);
        }
    }
    match up.is_empty() {
        true => Err(Unknown(format!(
            "{CLASS} shows no hardware interface that is up (in a container they belong to the host)"
        ))),
        false => Ok(Some(up)),
    }
}

const LOOPBACK: &str = "not relevant: the server listens on the loopback only";

fn receive_queues(examination: &mut Examination) -> Verdict {
    let Some(interfaces) = interfaces(examination)? else { return Ok(Finding::ok(LOOPBACK)) };
    let reactors: BTreeSet<usize> = examination.config.placement.reactor_cores.iter().copied().collect();
    for name in &interfaces {
        let directory = format!("/sys/class/net/{name}/queues");
        let queues: Vec<String> =
            examination.names(&directory)?.into_iter().filter(|queue| queue.starts_with("rx-")).collect();
        examination.record(&directory, counted(queues.len(), "receive queue"));
        if queues.len() >= reactors.len() {
            continue;
        }
        // Receive packet steering distributes in software what the hardware does not (a mask of cores, 0 for off).
        let mut steered = true;
        for queue in &queues {
            let mask = examination.optional(&format!("{directory}/{queue}/rps_cpus"))?.unwrap_or_default();
            steered &= mask.chars().any(|digit| digit != '0' && digit != ',');
        }
        if !steered {
            let text = format!(
                "{name} receives through {}, and {} run reactors: the kernel's receive work is concentrated on few of \
                them",
                counted(queues.len(), "queue"),
                counted(reactors.len(), "core")
            );
            return Ok(Finding::warning(Cost::Speed, text).fix(format!(
                "ethtool -L {name} combined {}   (or, where the hardware has no more: echo {} > \
                {directory}/rx-0/rps_cpus)",
                reactors.len(),
                mask(&reactors)
            )));
        }
    }
    Ok(Finding::ok(format!(
        "{}: enough queues for {}, or steered",
        interfaces.join(", "),
        counted(reactors.len(), "reactor core")
    )))
}

/// Formats cores as the kernel expects them: words of 32 bits in hexadecimal, the highest first.
fn mask(cores: &BTreeSet<usize>) -> String {
    let words = cores.last().map_or(1, |last| last / 32 + 1);
    let word = |index: usize| {
        cores.iter().filter(|&&core| core / 32 == index).fold(0_u32, |word, core| word | 1 << (core % 32))
    };
    (0..words).rev().map(|index| format!("{:08x}", word(index))).collect::<Vec<_>>().join(",")
}

fn interrupts(examination: &mut Examination) -> Verdict {
    let Some(interfaces) = interfaces(examination)? else { return Ok(Finding::ok(LOOPBACK)) };
    let placement = &examination.config.placement;
    let reactors: BTreeSet<usize> = placement.reactor_cores.iter().copied().collect();
    let writer = placement.writer_core;
    for name in &interfaces {
        let device = format!("/sys/class/net/{name}/device");
        // A virtio device's interrupts are those of the PCI device above it.
        let directory = [format!("{device}/msi_irqs"), format!("{device}/../msi_irqs")]
            .into_iter()
            .find(|directory| examination.exists(directory))
            .ok_or_else(|| Unknown(format!("{device} has no msi_irqs, so its interrupts cannot be located")))?;
        let irqs = examination.names(&directory)?;
        let mut taken = BTreeSet::new();
        for irq in &irqs {
            let path = format!("/proc/irq/{irq}/effective_affinity_list");
            // Missing for an interrupt that no driver has requested yet.
            let Some(list) = examination.optional(&path)? else { continue };
            taken.extend(parse_cores(&list).unwrap_or_default());
        }
        let cores = taken.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        if taken.is_empty() {
            return Err(Unknown(format!("/proc/irq shows no affinity for the interrupts of {name}")));
        }
        if taken.len() == 1 && reactors.len() > 1 && irqs.len() > 1 {
            let text = format!("all interrupts of {name} go to core {cores}: it handles every packet");
            return Ok(Finding::warning(Cost::Speed, text).fix(format!(
                "systemctl enable --now irqbalance   (or echo LIST > /proc/irq/N/smp_affinity_list, N in {directory})"
            )));
        }
        if taken.contains(&writer) && !reactors.contains(&writer) {
            let text = format!("interrupts of {name} go to cores {cores}, including the writer's core {writer}");
            return Ok(Finding::note(Cost::Speed, text).fix(format!(
                "for irq in {directory}/*; do echo {} > /proc/irq/${{irq##*/}}/smp_affinity_list; done",
                reactors.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
            )));
        }
    }
    Ok(Finding::ok(format!("interrupts of {} stay off the writer's core", interfaces.join(", "))))
}
