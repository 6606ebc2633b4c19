//! Setup of a load, as its report stores it: enough to decide whether another run may be compared with it.

use super::{Arrivals, Content, Pace, Plan};
use crate::{cores, drivers::Chosen};
use reactor::Endpoint;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    fs, slice,
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

/// The workload: two runs that differ in any of it say nothing about a difference of their servers. The server's
/// address is left out, for it is what is compared.
#[must_use]
pub fn workload(plan: &Plan, chosen: Chosen) -> Value {
    let mut workload = json!({
        "method": plan.method,
        "path": plan.path,
        "transport": if matches!(plan.server, Endpoint::Unix(_)) { "unix" } else { "tcp" },
        "tls": plan.tls.as_ref().map(|tls| if tls.is_verified { "verified" } else { "unverified" }),
        "model": if plan.pace.is_some() { "open" } else { "closed" },
        "target_rate": plan.pace.as_ref().and_then(|pace| pace.profile.rate()),
        "stages": plan.pace.as_ref().map(stages),
        "arrivals": plan.pace.as_ref().map(|pace| pace.arrivals),
        "arrivals_seed": plan.pace.as_ref().filter(|pace| pace.arrivals == Arrivals::Poisson).map(|pace| pace.seed),
        "clients": plan.clients,
        "threads": plan.threads,
        "driver": chosen.to_string(),
        "keep_alive": plan.keep_alive,
        "pipeline": plan.pipeline,
        "requests_each": plan.requests_each,
        "duration_s": plan.duration.map(|duration| duration.as_secs_f64()),
        "warmup_s": plan.warmup.as_secs_f64(),
        "interval_s": plan.interval.as_secs_f64(),
        "timeout_s": plan.timeout.as_secs_f64(),
        "requests": plan.requests.fingerprint(),
    });
    if let (Value::Object(all), Value::Object(content)) = (&mut workload, plan.requests.content().setup()) {
        all.extend(content);
    }
    workload
}

/// The stages of an open loop, as the workload has them: nanoseconds, and the rates at the begin and the end.
fn stages(pace: &Pace) -> Value {
    let stages = pace.profile.stages().iter();
    stages.map(|stage| json!([stage.end_ns - stage.from_ns, stage.from_rate, stage.to_rate])).collect()
}

/// Description of a load in its report, beside the figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// See [`workload`].
    pub workload: Value,
    /// See [`host`].
    pub host: Value,
    /// The program that made the load.
    pub maker: Value,
    /// Seconds from 1970 to its start.
    #[serde(rename = "began_unix_s")]
    pub began_s: f64,
    /// Address of the server.
    pub server: String,
    /// URL of the requests.
    pub url: String,
    /// Their method.
    pub method: String,
    /// Pace of an open loop; none: a closed loop.
    pub pace: Option<Pace>,
    /// Concurrent connections.
    pub clients: u64,
    /// Threads of the load.
    pub threads: u64,
    /// Driver that was used.
    pub driver: String,
    /// True if a connection carried more than one request.
    pub keep_alive: bool,
    /// Requests in flight on a connection, at most.
    pub pipeline: u64,
    /// From a request's begin to its complete response, at most.
    pub timeout_s: f64,
    /// True if the requests carried metrics.
    pub carries_metrics: bool,
    /// It is of several loads, whose logs were merged.
    #[serde(skip)]
    pub is_merged: bool,
}

impl Setup {
    /// Makes the setup of `plan`, on the driver `chosen`, of a load that was begun at `began_s`.
    #[must_use]
    pub fn of(plan: &Plan, chosen: Chosen, began_s: f64) -> Self {
        Self {
            workload: workload(plan, chosen),
            host: host(),
            maker: maker(),
            began_s,
            server: plan.server.to_string(),
            url: plan.url.clone(),
            method: plan.method.clone(),
            pace: plan.pace.clone(),
            clients: u64::from(plan.clients),
            threads: plan.threads as u64,
            driver: chosen.to_string(),
            keep_alive: plan.keep_alive,
            pipeline: plan.pipeline as u64,
            timeout_s: plan.timeout.as_secs_f64(),
            carries_metrics: plan.requests.metrics_max() > 0,
            is_merged: false,
        }
    }

    /// The rate that an open loop wanted all the time.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        self.pace.as_ref().and_then(|pace| pace.profile.rate())
    }

    /// The bodies of the requests, in words.
    #[must_use]
    pub fn bodies(&self) -> String {
        let runs = self.workload["of_runs"].as_array().map_or(slice::from_ref(&self.workload), Vec::as_slice);
        let mut all: Vec<_> = runs.iter().map(Content::describe).collect();
        all.dedup();
        all.join(" and ")
    }

    /// Describes the arrival process of the sends, in words.
    #[must_use]
    pub fn model(&self) -> String {
        match &self.pace {
            None => "closed loop".to_owned(),
            Some(Pace { profile, arrivals: Arrivals::Even, .. }) => format!("open loop at {profile}"),
            Some(Pace { profile, seed, .. }) => format!("open loop at {profile}, Poisson arrivals of seed {seed}"),
        }
    }
}

/// The host that makes the load: figures of two hosts are not comparable.
#[must_use]
pub fn host() -> Value {
    let read = |path: &str| fs::read_to_string(path).map_or(Value::Null, |text| json!(text.trim()));
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    json!({
        "name": read("/proc/sys/kernel/hostname"),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "cpu": model.map(|(_, name)| name.trim()),
        "cores": cores::allowed(),
    })
}

/// Returns this program's version, and a checksum of its file.
fn maker() -> Value {
    // Once: of two servers in turns there are many reports, and the file may have some 100 MB.
    static CHECKSUM: OnceLock<Option<String>> = OnceLock::new();
    let of_file = || fs::read("/proc/self/exe").ok().map(|bytes| format!("{:08x}", crc32fast::hash(&bytes)));
    let checksum = CHECKSUM.get_or_init(of_file);
    json!({"version": env!("CARGO_PKG_VERSION"), "checksum": checksum})
}

/// Seconds since 1970.
pub(super) fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
