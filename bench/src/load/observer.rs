//! Observer of a load's cost to the server, and of what else ran meanwhile: read from /proc by a thread of its own, so
//! that the threads that load do not wait for it.
//!
//! The CPU time of a request is the sharpest figure there is of a server: it does not depend on how often the load got
//! its core. It is available for a server on this host: the processes that listen at its address, or the one that
//! `--pid` names.

mod processes;

use super::{Plan, Shared};
use processes::ProcessClock;
use std::{
    fs,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

/// Between two looks at least: the kernel counts in ticks of up to 10 ms.
const PERIOD_MIN: Duration = Duration::from_millis(100);
/// Looks at one run, at most: then every other one is dropped, and the next ones are taken half as often.
const LOOKS_MAX: usize = 128;
/// Looks at a run whose duration is known.
const LOOKS_AIM: u32 = 64;
/// Interval at which a thread polls for the begin of the load.
const START_POLL: Duration = Duration::from_millis(1);

/// Observations of the measured part.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// The server's processes; none where it is not on this host, or not ours to look at.
    pub pids: Vec<u32>,
    /// CPU time of the server for each response, microseconds.
    pub server_cpu_us: Option<f64>,
    /// The same between each two looks.
    pub intervals_us: Vec<f64>,
    /// Share of the time that the server's threads had work and waited for a core, the worst one's.
    pub server_starved: f64,
    /// Mean cores that neither the load nor the server used, time stolen by a hypervisor included; where the server is
    /// known.
    pub other_cores: Option<f64>,
    /// Cores of this host.
    pub host_cores: u32,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    server_ns: u64,
    responses: u64,
    machine_ticks: u64,
    own_ns: u64,
}

/// The processes of the server that `plan` loads.
pub(super) fn server_pids(plan: &Plan) -> Vec<u32> {
    plan.pid.map_or_else(|| processes::listening_at(&plan.server), |pid| vec![pid])
}

/// Watches from the end of the warm-up to the end of the measured part, or until the other end of `ended` is dropped.
pub(super) fn watch(plan: &Plan, shared: &Shared, pids: &[u32], ended: &Receiver<()>) -> Observed {
    let over = |wait: Duration| ended.recv_timeout(wait) != Err(RecvTimeoutError::Timeout);
    let start = loop {
        match shared.start.get() {
            Some(start) => break *start + plan.warmup,
            None if over(START_POLL) => return Observed::default(),
            None => {}
        }
    };
    let (mut server, mut own) = (ProcessClock::new(pids), ProcessClock::new(&[std::process::id()]));
    let mut look = || Look {
        at: Instant::now(),
        server_ns: server.cpu_ns(),
        responses: shared.responses(),
        machine_ticks: machine_ticks(),
        own_ns: own.cpu_ns(),
    };
    let end = plan.duration.map(|duration| start + duration);
    let mut period = plan.duration.map_or(PERIOD_MIN, |duration| (duration / LOOKS_AIM).max(PERIOD_MIN));
    let (mut looks, mut due): (Vec<Look>, _) = (Vec::with_capacity(LOOKS_MAX), start);
    loop {
        let is_over = over(due.saturating_duration_since(Instant::now()));
        if is_over && looks.is_empty() {
            return Observed::default();
        }
        looks.push(look());
        if is_over || end.is_some_and(|end| due >= end) {
            break;
        }
        if looks.len() == LOOKS_MAX {
            let mut index = 0;
            looks.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            period *= 2;
        }
        due = (due + period).min(end.unwrap_or(due + period));
    }
    observed(pids, &looks, server.starved(looks.last().map_or(Duration::ZERO, |last| last.at - looks[0].at)))
}

#[expect(clippy::cast_precision_loss, reason = "times and counts far below 2^53")]
fn observed(pids: &[u32], looks: &[Look], server_starved: f64) -> Observed {
    // A process that has ended takes its time with it.
    let between = |from: u64, to: u64| to.saturating_sub(from) as f64;
    let per_response = |from: &Look, to: &Look| {
        let (spent_ns, responses) = (between(from.server_ns, to.server_ns), between(from.responses, to.responses));
        (responses > 0.0 && spent_ns > 0.0).then(|| spent_ns / 1e3 / responses)
    };
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else { return Observed::default() };
    let known = !pids.is_empty();
    let seconds = (last.at - first.at).as_secs_f64();
    let others_s = between(first.machine_ticks, last.machine_ticks) / TICKS_PER_SECOND
        - between(first.server_ns, last.server_ns) / 1e9
        - between(first.own_ns, last.own_ns) / 1e9;
    // The last stretch may be too short to have any ticks.
    let pairs = looks.windows(2).filter(|pair| pair[1].at - pair[0].at >= PERIOD_MIN / 2);
    Observed {
        pids: pids.to_vec(),
        server_cpu_us: per_response(first, last).filter(|_| known),
        intervals_us: pairs.filter(|_| known).filter_map(|pair| per_response(&pair[0], &pair[1])).collect(),
        server_starved,
        other_cores: (known && seconds > 0.0).then(|| (others_s / seconds).max(0.0)),
        host_cores: host_cores(),
    }
}

/// USER_HZ, the unit of /proc/stat: 100 on every architecture that this runs on (proc_stat(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Time of all cores that processes and the hypervisor's other guests had: user, nice, system and steal. Interrupts are
/// left out: those of the loopback belong to the load.
fn machine_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks = fields.map(|field| field.parse::<u64>().unwrap_or(0)).enumerate();
    ticks.filter(|(index, _)| matches!(index, 0..=2 | 7)).map(|(_, ticks)| ticks).sum()
}

fn host_cores() -> u32 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let cores = stat.lines().filter(|line| line.starts_with("cpu")).count().saturating_sub(1);
    u32::try_from(cores).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_of_a_response_is_that_between_two_looks() {
        let begun = Instant::now();
        let look = |second: u64, server_ns, responses, machine_ticks| Look {
            at: begun + Duration::from_secs(second),
            server_ns,
            responses,
            machine_ticks,
            own_ns: second * 100_000_000,
        };
        // The server takes 0.5 s for 1,000 responses and then 1.5 s for as many; the machine 1.8 s and 2.6 s.
        let looks = [look(0, 0, 0, 0), look(1, 500_000_000, 1000, 180), look(2, 2_000_000_000, 2000, 440)];
        let seen = observed(&[7], &looks, 0.0);
        assert_eq!((seen.server_cpu_us, seen.intervals_us.as_slice()), (Some(1000.0), &[500.0, 1500.0][..]));
        assert!((seen.other_cores.unwrap() - 1.1).abs() < 1e-9, "{seen:?}");
        let unknown = observed(&[], &looks, 0.0);
        assert_eq!((unknown.server_cpu_us, unknown.other_cores), (None, None));
    }

    #[test]
    fn the_host_counts_its_cores_and_ticks() {
        assert!(host_cores() >= 1 && machine_ticks() > 0);
    }
}
