//! One run: a fresh server, a short load to warm it up, the load that counts, a stop, and a look at what it stored.

use super::{
    Stage,
    subject::{self, Subject, Usage},
};
use crate::cores;
use serde::Serialize;
use serde_json::Value;
use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

/// The load before the one that counts.
const WARM_UP: Duration = Duration::from_millis(200);
/// A request that has no response by then has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that a load may take beyond its duration: its last requests' timeout, and its start.
const LOAD_SLACK: Duration = Duration::from_secs(15);

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// A stage of the ladder.
    Stage(Stage),
    /// The product, as it is shipped.
    Metricstream,
}

impl Server {
    /// As it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stage(stage) => stage.name(),
            Self::Metricstream => "metricstream",
        }
    }
}

/// Parameters of a load.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Concurrent clients, each with one request at a time.
    pub clients: u32,
    /// For how long.
    pub duration: Duration,
    /// True if a connection carries more than one request.
    pub keep_alive: bool,
}

/// Result of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Concurrent clients.
    pub clients: u32,
    /// True if a connection carried more than one request.
    pub keep_alive: bool,
    /// Requests with a response, and failed ones.
    pub requests: u64,
    /// Share of them with a response of 2xx.
    pub success_percent: f64,
    /// Responses with 2xx in a second.
    pub requests_per_second: f64,
    /// Latencies of the responses with 2xx.
    pub p50_us: f64,
    /// See `p50_us`.
    pub p99_us: f64,
    /// See `p50_us`.
    pub p999_us: f64,
    /// CPU time of the server for each response with 2xx.
    pub server_cpu_us: f64,
    /// Most threads that the server was seen with.
    pub threads: u64,
    /// Most memory that it had resident.
    pub resident_mib: f64,
}

/// Paths of the programs, and the cores they run on.
#[derive(Debug)]
pub struct Bench {
    ladder: PathBuf,
    load_test: PathBuf,
    metricstream: PathBuf,
    /// For taskset(1); `None` where there is one core for all.
    pub server_cores: Option<String>,
    /// The same for the load.
    pub client_cores: Option<String>,
}

impl Bench {
    /// The programs beside this one. The first half of the cores goes to the server and the second to the load, unless
    /// they are given.
    ///
    /// # Errors
    /// The path of this program cannot be determined, or taskset(1) is missing.
    pub fn new(server_cores: Option<String>, client_cores: Option<String>) -> Result<Self, String> {
        let ladder = std::env::current_exe().map_err(|error| format!("cannot tell where this program is: {error}"))?;
        let cores = cores::allowed();
        let halves = cores.split_at_checked(cores.len() / 2).filter(|(first, _)| !first.is_empty());
        let list = |half: &[usize]| half.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let bench = Self {
            load_test: ladder.with_file_name("load_test"),
            metricstream: ladder.with_file_name("metricstream"),
            ladder,
            server_cores: server_cores.or_else(|| halves.map(|(first, _)| list(first))),
            client_cores: client_cores.or_else(|| halves.map(|(_, second)| list(second))),
        };
        if bench.server_cores.is_some() || bench.client_cores.is_some() {
            let found = Command::new("taskset").arg("--version").stdout(Stdio::null()).status();
            found.map_err(|error| format!("taskset(1) of util-linux is needed: {error}"))?;
        }
        Ok(bench)
    }

    /// Describes which program runs on which cores.
    #[must_use]
    pub fn places(&self) -> String {
        let cores = |cores: &Option<String>| cores.clone().unwrap_or_else(|| "all".to_owned());
        format!("server on cores {}, load on {}", cores(&self.server_cores), cores(&self.client_cores))
    }

    /// Runs `load` once against a fresh `server`.
    ///
    /// # Errors
    /// A program cannot be run, or the server lost something that it had acknowledged.
    pub fn run(&self, server: Server, load: &Load) -> Result<Sample, String> {
        let cores = self.server_cores.as_deref();
        let subject = match server {
            Server::Stage(stage) => {
                Subject::start(&self.ladder, &["--stage".to_owned(), stage.name().to_owned()], cores)
            }
            Server::Metricstream => {
                Subject::start(&self.metricstream, &["--rate-limit".to_owned(), "0".to_owned()], cores)
            }
        }?;
        let warm_up = Load { duration: WARM_UP.min(load.duration), ..*load };
        let (warm, _) = self.load(&subject, &warm_up)?;
        let before = subject.usage()?;
        let (report, threads) = self.load(&subject, load)?;
        let after = subject.usage()?;
        let stored = subject.stop().map_err(|error| format!("{}: {error}", server.name()))?;

        let acknowledged = count(&warm, "metrics_acknowledged")? + count(&report, "metrics_acknowledged")?;
        if stored < acknowledged {
            return Err(format!("{} stored {stored} metrics and had acknowledged {acknowledged}", server.name()));
        }
        sample(load, &report, before, after, threads)
    }

    /// Puts a load on the server; gives its report, and the most threads that the server had meanwhile.
    fn load(&self, subject: &Subject, load: &Load) -> Result<(Value, u64), String> {
        let mut command = subject::pinned(&self.load_test, self.client_cores.as_deref());
        command.args([subject.address.port().to_string(), load.clients.to_string()]);
        command.args(["--duration", &format!("{}ms", load.duration.as_millis())]);
        command.args(["--timeout", &format!("{}ms", REQUEST_TIMEOUT.as_millis()), "--format", "json"]);
        if !load.keep_alive {
            command.arg("--no-keepalive");
        }
        let cannot = |error: std::io::Error| format!("cannot run {}: {error}", self.load_test.display());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(cannot)?;
        let mut threads = 0;
        // Its report fits into the pipe, so it can be waited for first.
        let look = || threads = subject.usage().map_or(threads, |usage| usage.threads.max(threads));
        subject::wait(&mut child, load.duration + LOAD_SLACK, look).map_err(|error| format!("load_test: {error}"))?;
        let output = child.wait_with_output().map_err(cannot)?;
        let report = serde_json::from_slice(&output.stdout).map_err(|_| "load_test gave no report".to_owned())?;
        Ok((report, threads))
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn sample(load: &Load, report: &Value, before: Usage, after: Usage, threads: u64) -> Result<Sample, String> {
    let successes = count(report, "successes")?;
    let cpu = after.cpu.saturating_sub(before.cpu);
    // Without any success there is no latency.
    let latency = |name| if successes == 0 { Ok(f64::NAN) } else { number(report, &["latency_us", name]) };
    Ok(Sample {
        clients: load.clients,
        keep_alive: load.keep_alive,
        requests: count(report, "requests")?,
        success_percent: if successes == 0 { 0.0 } else { number(report, &["success_percent"])? },
        requests_per_second: number(report, &["requests_per_second"])?,
        p50_us: latency("p50")?,
        p99_us: latency("p99")?,
        p999_us: latency("p99.9")?,
        server_cpu_us: cpu.as_secs_f64() * 1e6 / successes.max(1) as f64,
        threads,
        resident_mib: after.resident_bytes_max as f64 / f64::from(1 << 20),
    })
}

fn count(report: &Value, name: &str) -> Result<u64, String> {
    report[name].as_u64().ok_or_else(|| format!("load_test's report has no count '{name}'"))
}

fn number(report: &Value, path: &[&str]) -> Result<f64, String> {
    let value = path.iter().fold(report, |value, name| &value[*name]);
    value.as_f64().ok_or_else(|| format!("load_test's report has no number '{}'", path.join(".")))
}

/// The figures in the middle: of each column by itself.
///
/// # Panics
/// There are no samples.
#[must_use]
pub fn medians(samples: &[Sample]) -> Sample {
    let middle = |column: fn(&Sample) -> f64| {
        let mut values: Vec<f64> = samples.iter().map(column).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Sample {
        requests: samples.iter().map(|sample| sample.requests).sum(),
        // One failure is not to vanish in the middle.
        success_percent: samples.iter().map(|sample| sample.success_percent).fold(100.0, f64::min),
        requests_per_second: middle(|sample| sample.requests_per_second),
        p50_us: middle(|sample| sample.p50_us),
        p99_us: middle(|sample| sample.p99_us),
        p999_us: middle(|sample| sample.p999_us),
        server_cpu_us: middle(|sample| sample.server_cpu_us),
        threads: samples.iter().map(|sample| sample.threads).max().unwrap_or(0),
        resident_mib: middle(|sample| sample.resident_mib),
        ..samples[0].clone()
    }
}

/// A share that is 100 only when nothing is missing.
#[must_use]
pub fn percent(share: f64) -> String {
    if share >= 100.0 { "100".to_owned() } else { format!("{:.3}", share.min(99.999)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn measured(rate: f64, success: f64) -> Sample {
        let report = json!({
            "requests": 10, "successes": 4, "success_percent": success, "requests_per_second": rate,
            "latency_us": {"p50": 1.0, "p99": 2.0, "p99.9": 3.0},
        });
        let load = Load { clients: 3, duration: Duration::from_secs(1), keep_alive: true };
        let usage = |ms| Usage { cpu: Duration::from_millis(ms), threads: 1, resident_bytes_max: 3 << 20 };
        sample(&load, &report, usage(10), usage(30), 7).unwrap()
    }

    #[test]
    fn cpu_time_is_split_by_success() {
        let sample = measured(5.0, 40.0);
        assert_eq!((sample.server_cpu_us, sample.threads, sample.resident_mib), (5_000.0, 7, 3.0));
        assert_eq!((sample.p50_us, sample.p99_us, sample.p999_us), (1.0, 2.0, 3.0));
    }

    #[test]
    fn a_failure_does_not_vanish_in_the_median() {
        let middle = medians(&[measured(1.0, 100.0), measured(9.0, 99.9), measured(5.0, 100.0)]);
        assert_eq!((middle.requests_per_second, middle.success_percent), (5.0, 99.9));
        assert_eq!((middle.requests, middle.clients), (30, 3));
        assert_eq!((percent(99.999_99), percent(100.0)), ("99.999".to_owned(), "100".to_owned()));
    }

    #[test]
    fn a_report_without_a_figure_is_an_error() {
        let report = json!({"latency_us": {}});
        assert!(number(&report, &["latency_us", "p50"]).unwrap_err().contains("latency_us.p50"));
        assert!(count(&report, "requests").unwrap_err().contains("requests"));
    }
}
