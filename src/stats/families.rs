//! The metric families of `GET /metrics` and of the export by OTLP: the samples of the statistics in the table of
//! `registry`.

use super::{
    Protocol,
    exposition::{BYTES, Exposition, Family, METRICS, TIMES},
    observer::Snapshot,
    registry::{Read, Reading, Statistic, TABLE, Unit},
};

/// Collects all families from a snapshot, independent of the output format.
pub fn collect(snapshot: &Snapshot<'_>) -> Exposition {
    let mut exposition = Exposition::default();
    for Statistic { family, help, read, .. } in TABLE {
        let Some(&(kind, name)) = family.first() else { continue };
        let (name, label) = name.split_once('{').unwrap_or((name, ""));
        let label = label.trim_end_matches('}');
        let mut add = |labels: &str, reading| {
            if !matches!(reading, Reading::Absent) {
                sample(exposition.family_named(name, kind, help.trim_start()), labels, reading);
            }
        };
        match read {
            Read::Server(read) => add(label, read(snapshot)),
            Read::Reactor(read) => {
                for report in snapshot.collected.reports() {
                    add(&format!("reactor=\"{}\"", report.reactor), read(report));
                }
            }
            Read::Forward(read) => {
                for status in snapshot.forwards {
                    add(&format!("forward=\"{}\"", status.name), read(status));
                }
            }
            Read::Protocol(read) => {
                for &protocol in Protocol::ALL {
                    add(&format!("protocol=\"{}\"", protocol.label()), read((snapshot, protocol)));
                }
            }
        }
    }
    exposition
}

/// Adds the samples of one reading, all of which have `labels`.
fn sample(family: &mut Family, labels: &str, reading: Reading<'_>) {
    match reading {
        Reading::Number(number) => family.sample(labels, number),
        Reading::Flag(flag) => family.sample(labels, flag),
        Reading::Samples(samples) => samples.into_iter().for_each(|(labels, count)| family.sample(&labels, count)),
        Reading::By(label, values) => {
            let separator = if labels.is_empty() { "" } else { "," };
            for (value, reading) in values {
                sample(family, &format!("{labels}{separator}{label}=\"{value}\""), reading);
            }
        }
        Reading::Distribution(unit, all, _) => {
            let buckets = match unit {
                Unit::Times => TIMES,
                Unit::Bytes => BYTES,
                Unit::Metrics => METRICS,
            };
            family.histogram(labels, &all, buckets);
        }
        // For the document alone, and so without a family.
        Reading::Json(_) | Reading::Absent => {}
    }
}
