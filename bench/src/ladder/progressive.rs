//! Progressive load: more and more clients on one server, to see where it saturates and how it behaves there.
//!
//! The load is a closed loop, so a saturated server serves no more requests a second to more clients: they only wait
//! longer. Single runs scatter, and the largest of them is as good as chance: saturation is the first number of clients
//! within a twentieth of it. Up to there every request has to succeed.

use super::{
    measure::{Bench, Load, Sample, Server, percent},
    plot,
};
use crate::output;
use serde_json::json;
use std::{fs, path::PathBuf, time::Duration};

/// Plan of the run.
#[derive(Debug)]
pub struct Plan {
    /// Against what.
    pub server: Server,
    /// Numbers of clients, at least one, rising.
    pub clients: Vec<u32>,
    /// Length of each load.
    pub duration: Duration,
    /// True if a connection carries more than one request.
    pub keep_alive: bool,
    /// File that the picture is written to.
    pub plot: PathBuf,
    /// File that the figures are written to, as JSON.
    pub json: PathBuf,
}

/// Runs everything, prints the table, draws the picture. `goes_on` is called before each run. Whether every request
/// below saturation succeeded.
///
/// # Errors
/// One line: what could not be run, or was lost. It stops there.
pub fn run(bench: &Bench, plan: &Plan, goes_on: impl Fn() -> bool) -> Result<bool, String> {
    let name = plan.server.name();
    let connections = if plan.keep_alive { "connections kept alive" } else { "a connection for each request" };
    crate::say!("{name}, {connections}, {:.1} s a run; {}", plan.duration.as_secs_f64(), bench.places());
    crate::say!(
        "{:>8}{:>12}{:>12}{:>11}{:>11}{:>11}{:>13}",
        "clients",
        "success %",
        "requests/s",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "CPU us/req."
    );
    let mut samples = Vec::new();
    for &clients in &plan.clients {
        if output::has_ended() {
            break;
        }
        if !goes_on() {
            return Err("interrupted".to_owned());
        }
        let load = Load { clients, duration: plan.duration, keep_alive: plan.keep_alive };
        let sample = bench.run(plan.server, &load)?;
        crate::say!(
            "{clients:>8}{:>12}{:>12.0}{:>11.0}{:>11.0}{:>11.0}{:>13.1}",
            percent(sample.success_percent),
            sample.requests_per_second,
            sample.p50_us,
            sample.p99_us,
            sample.p999_us,
            sample.server_cpu_us,
        );
        samples.push(sample);
    }
    let figures = json!({"server": name, "places": bench.places(), "samples": samples});
    plot::prepare(&plan.json)?;
    fs::write(&plan.json, format!("{figures:#}\n"))
        .map_err(|error| format!("cannot write {}: {error}", plan.json.display()))?;
    plot::progressive(&plan.plot, &format!("{name}, {connections}"), &samples)?;

    let (saturated_at, failed) = below_saturation(&samples);
    crate::say!(
        "\nsaturated at {saturated_at} clients, the first within 5 % of the largest throughput; up to there {}",
        if failed == 0 { "every request succeeded".to_owned() } else { format!("{failed} loads had failures") }
    );
    crate::say!("plot: {}, figures: {}", plan.plot.display(), plan.json.display());
    Ok(failed == 0)
}

/// Throughputs closer than this to the largest are not distinguished from it.
const AS_MUCH: f64 = 0.95;

/// The first number of clients that brings as many requests a second as any, but for noise, and how many loads up to it
/// were not all success.
fn below_saturation(samples: &[Sample]) -> (u32, usize) {
    let most = samples.iter().map(|sample| sample.requests_per_second).fold(0.0, f64::max);
    let first = samples.iter().find(|sample| sample.requests_per_second >= AS_MUCH * most);
    let saturated_at = first.map_or(0, |sample| sample.clients);
    let failed = samples.iter().filter(|sample| sample.clients <= saturated_at && sample.success_percent < 100.0);
    (saturated_at, failed.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fails_up_to_saturation_counts() {
        let sample = |clients, rate, success_percent| Sample {
            clients,
            keep_alive: true,
            requests: 1,
            success_percent,
            requests_per_second: rate,
            p50_us: 1.0,
            p99_us: 1.0,
            p999_us: 1.0,
            server_cpu_us: 1.0,
            threads: 1,
            resident_mib: 1.0,
        };
        let rising = [sample(10, 5.0, 100.0), sample(20, 9.0, 100.0), sample(50, 8.0, 97.0)];
        assert_eq!(below_saturation(&rising), (20, 0));
        let level = [sample(10, 5.0, 100.0), sample(20, 9.6, 100.0), sample(50, 9.8, 100.0), sample(100, 10.0, 99.0)];
        assert_eq!(below_saturation(&level), (20, 0), "the largest of single runs is chance");
        let failing = [sample(10, 5.0, 99.0), sample(20, 9.0, 100.0)];
        assert_eq!(below_saturation(&failing), (20, 1));
    }
}
