//! What a load was made of, as its report stores it: enough to say whether another run may be compared with it.

use super::Plan;
use crate::{cores, drivers::Chosen};
use serde_json::{Value, json};
use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

/// The workload: two runs that differ in any of it say nothing about a difference of their servers. The server's
/// address is left out, for it is what is compared.
#[must_use]
pub fn workload(plan: &Plan, chosen: Chosen) -> Value {
    json!({
        "method": plan.method,
        "path": plan.path,
        "model": if plan.rate.is_some() { "open" } else { "closed" },
        "target_rate": plan.rate,
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
    })
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

/// What made the load: this program's version, and a checksum of its file.
pub(super) fn maker() -> Value {
    let checksum = fs::read("/proc/self/exe").ok().map(|bytes| format!("{:08x}", crc32fast::hash(&bytes)));
    json!({"version": env!("CARGO_PKG_VERSION"), "checksum": checksum})
}

/// Seconds since 1970.
pub(super) fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
