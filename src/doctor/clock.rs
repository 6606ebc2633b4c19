//! Clock checks: the cost of reading it, its synchronisation, and steps backwards.

use super::{Cost, Finding, Subject, Verdict, host::Examination};
use crate::limits;
use std::{
    fs,
    time::{Duration, SystemTime},
};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject { id: "clock_sync", topic: "clock", examine: synchronised },
    Subject { id: "clock_plausible", topic: "clock", examine: plausible },
    Subject { id: "clocksource", topic: "clock", examine: source },
];

/// Clock sources that are read without a system call (the vDSO has code for them).
const FAST: [&str; 4] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];

fn source(examination: &mut Examination) -> Verdict {
    const DIRECTORY: &str = "/sys/devices/system/clocksource/clocksource0";
    let current = examination.text(&format!("{DIRECTORY}/current_clocksource"))?;
    let available = examination.text(&format!("{DIRECTORY}/available_clocksource"))?;
    if current == "tsc" || FAST[2..].contains(&current.as_str()) {
        return Ok(Finding::ok(current));
    }
    let better = available.split_whitespace().find(|name| *name == "tsc");
    if FAST.contains(&current.as_str()) {
        return Ok(Finding::ok(format!("{current}, the hypervisor's, which is read without a system call")));
    }
    let text = format!("the clock source is {current}: every read of the clock is a system call to a slow device");
    Ok(Finding::warning(Cost::Speed, text).fix(match better {
        Some(name) => format!("echo {name} > {DIRECTORY}/current_clocksource"),
        None => "dmesg | grep -i -e tsc -e clocksource   (shows why the kernel rejected tsc; tsc=reliable on the \
                 kernel's command line forces it)"
            .to_owned(),
    }))
}

fn synchronised(examination: &mut Examination) -> Verdict {
    let state = examination.calls().clock().map_err(|error| examination.failed("adjtimex(2)", &error))?;
    let error_ms = state.error_us_max / 1_000;
    examination.record(
        "adjtimex(2)",
        format!(
            "{}, off by at most {error_ms} ms",
            if state.synchronised { "synchronised" } else { "not synchronised" }
        ),
    );
    if !state.synchronised {
        let text = "the clock is not synchronised: it drifts by seconds a day, and it stamps metrics that have no \
                    timestamp";
        return Ok(Finding::warning(Cost::Data, text)
            .fix("apt-get install chrony && systemctl enable --now chrony   (or: timedatectl set-ntp true)"));
    }
    if state.error_us_max >= limits::DOCTOR_CLOCK_ERROR_US {
        let text = format!("the kernel estimates that the clock may be wrong by {error_ms} ms");
        return Ok(Finding::note(Cost::Data, text).fix("chronyc tracking; chronyc sources   (shows why)"));
    }
    Ok(Finding::ok(format!("synchronised, off by at most {error_ms} ms")))
}

/// Compares the clock with the newest file of the data directory, which cannot have been written in the future.
fn plausible(examination: &mut Examination) -> Verdict {
    let located = examination.data_dir()?;
    if !located.exists {
        return Ok(Finding::ok("the data directory does not exist yet, so there is nothing to compare the clock with"));
    }
    let entries = fs::read_dir(&located.real)
        .map_err(|error| examination.failed(format!("readdir(3) {}", located.path.display()), &error))?;
    let mut newest: Option<(SystemTime, String)> = None;
    for entry in entries.take(limits::DOCTOR_ENTRIES_MAX).flatten() {
        let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
        if newest.as_ref().is_none_or(|(time, _)| *time < modified) {
            newest = Some((modified, entry.file_name().to_string_lossy().into_owned()));
        }
    }
    let Some((modified, name)) = newest else {
        examination.record(located.path.display().to_string(), "no file");
        return Ok(Finding::ok("the data directory holds no file to compare the clock with"));
    };
    let ahead = modified.duration_since(examination.calls().now()).unwrap_or_default();
    examination.record(
        located.path.join(&name).display().to_string(),
        format!(
            "modified {}",
            if ahead.is_zero() { "in the past".to_owned() } else { format!("{} s in the future", ahead.as_secs()) }
        ),
    );
    if ahead < Duration::from_secs(limits::DOCTOR_CLOCK_BACK_S) {
        return Ok(Finding::ok("the clock is not behind the newest file of the data directory"));
    }
    let text = format!(
        "{name} was written {} s in the future: the clock was set back, so timestamps go backwards too",
        ahead.as_secs()
    );
    Ok(Finding::warning(Cost::Data, text).fix("chronyc makestep   (or: timedatectl set-ntp true; timedatectl)"))
}
