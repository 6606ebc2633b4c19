//! Speed of the pinned cores: governor, idle states, time stolen by the hypervisor.

use super::{
    Cost, Finding, Subject, Verdict,
    host::{Examination, Unknown},
    placement::{list, named, pinned},
};
use crate::limits;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject { id: "steal", topic: "cores", examine: steal },
    Subject { id: "governor", topic: "cores", examine: governor },
    Subject { id: "c_states", topic: "cores", examine: idle_states },
];

const CPUS: &str = "/sys/devices/system/cpu";

fn governor(examination: &mut Examination) -> Verdict {
    let mut cores: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut driver = String::new();
    for core in pinned(examination) {
        let directory = format!("{CPUS}/cpu{core}/cpufreq");
        if !examination.exists(&directory) {
            examination.record(&directory, "missing");
            return Err(Unknown(format!(
                "{directory} is missing: in a virtual machine the host sets the frequency; otherwise no driver is \
                loaded"
            )));
        }
        cores.entry(examination.text(&format!("{directory}/scaling_governor"))?).or_default().push(core);
        driver = examination.text(&format!("{directory}/scaling_driver"))?;
    }
    cores.remove("performance");
    let worst = cores.get_key_value("powersave").or_else(|| cores.first_key_value());
    let Some((name, slow)) = worst else { return Ok(Finding::ok("performance")) };
    // These two drivers choose the frequency in hardware: powersave is not a fixed lowest frequency there.
    let in_hardware = driver.starts_with("intel_pstate") || driver.starts_with("amd-pstate");
    let runs = if slow.len() == 1 { "runs" } else { "run" };
    let text = format!(
        "{} {runs} under the {name} governor of {driver}: a core is slow to speed up after it was idle",
        named(slow)
    );
    let finding = match name.as_str() {
        "powersave" if !in_hardware => {
            Finding::warning(Cost::Speed, format!("{text}, and it stays at its lowest frequency"))
        }
        _ => Finding::note(Cost::Speed, text),
    };
    let every: Vec<String> = cores.values().flatten().map(usize::to_string).collect();
    Ok(finding.fix(format!(
        "for core in {}; do echo performance > {CPUS}/cpu$core/cpufreq/scaling_governor; done",
        every.join(" ")
    )))
}

fn idle_states(examination: &mut Examination) -> Verdict {
    examination.optional(&format!("{CPUS}/cpuidle/current_driver"))?;
    let mut deepest: Option<(u64, String)> = None;
    let mut seen = BTreeSet::new();
    for core in pinned(examination) {
        let directory = format!("{CPUS}/cpu{core}/cpuidle");
        if !examination.exists(&directory) {
            examination.record(&directory, "missing");
            return Err(Unknown(format!("{directory} is missing: the kernel does not choose idle states here")));
        }
        for state in examination.names(&directory)? {
            let disabled = examination.optional(&format!("{directory}/{state}/disable"))?;
            let latency_us: u64 = examination.number(&format!("{directory}/{state}/latency"))?;
            let name = examination.text(&format!("{directory}/{state}/name"))?;
            if disabled.as_deref() == Some("0") {
                seen.insert(name.clone());
                if deepest.as_ref().is_none_or(|(latency, _)| *latency < latency_us) {
                    deepest = Some((latency_us, name));
                }
            }
        }
    }
    match deepest {
        Some((latency_us, name)) if latency_us >= limits::DOCTOR_IDLE_LATENCY_US => Ok(Finding::note(
            Cost::Speed,
            format!(
                "idle cores may enter {name}: leaving it takes {latency_us} us, which delays the first request \
                     after a pause"
            ),
        )
        .fix(format!("cpupower idle-set --disable-by-latency {}   (costs power)", limits::DOCTOR_IDLE_LATENCY_US - 1))),
        Some((latency_us, name)) => Ok(Finding::ok(format!(
            "the deepest idle state of {} is {name}: {latency_us} us to wake up",
            seen.iter().cloned().collect::<Vec<_>>().join(", ")
        ))),
        None => Ok(Finding::ok("every idle state is disabled")),
    }
}

/// Ticks of the pinned cores since boot: all, and those stolen by the hypervisor (proc(5), /proc/stat).
fn ticks(examination: &mut Examination) -> Result<(u64, u64), Unknown> {
    /// user nice system idle iowait irq softirq steal; guest time is counted in user.
    const FIELDS: usize = 8;
    const STEAL: usize = 7;
    let text = examination.lines("/proc/stat")?;
    let (mut all, mut stolen) = (0_u64, 0_u64);
    let mut found = 0;
    let pinned = pinned(examination);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let core = words.next().and_then(|name| name.strip_prefix("cpu")?.parse::<usize>().ok());
        if core.is_none_or(|core| !pinned.contains(&core)) {
            continue;
        }
        let fields: Vec<u64> = words.take(FIELDS).filter_map(|word| word.parse().ok()).collect();
        let steal = fields.get(STEAL).ok_or_else(|| Unknown("/proc/stat does not report stolen time".into()))?;
        all += fields.iter().sum::<u64>();
        stolen += steal;
        found += 1;
    }
    examination.record(
        "/proc/stat",
        format!("{found} of the cores {}: {stolen} of {all} ticks stolen since boot", list(&pinned)),
    );
    if found != pinned.len() {
        return Err(Unknown(format!("/proc/stat does not list all of the cores {}", list(&pinned))));
    }
    Ok((all, stolen))
}

fn steal(examination: &mut Examination) -> Verdict {
    let (all_before, stolen_before) = ticks(examination)?;
    examination.calls().wait(limits::DOCTOR_STEAL_SAMPLE);
    let (all, stolen) = ticks(examination)?;
    let share = |stolen: u64, all: u64| if all == 0 { 0.0 } else { 100.0 * stolen as f64 / all as f64 };
    let now = share(stolen.saturating_sub(stolen_before), all.saturating_sub(all_before));
    let since_boot = share(stolen, all);
    let text = format!(
        "the hypervisor stole {now:.1} % of the pinned cores' time over {} ms, {since_boot:.1} % since boot",
        limits::DOCTOR_STEAL_SAMPLE.as_millis()
    );
    let fix =
        "ask the provider for dedicated cores, or move the virtual machine; monitor it with: vmstat 1   (column st)";
    Ok(if now >= limits::DOCTOR_STEAL_PERCENT_WARNING {
        Finding::warning(Cost::Speed, text).fix(fix)
    } else if since_boot >= limits::DOCTOR_STEAL_PERCENT_NOTE {
        Finding::note(Cost::Speed, text).fix(fix)
    } else {
        Finding::ok(text)
    })
}
