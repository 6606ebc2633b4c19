//! Protocols that are text: InfluxDB's line protocol, the text exposition format, and the JSON of `POST /metrics`.

use super::{
    exporter::Kind,
    scrape::{Number, Sample, write_as_go},
};
use std::fmt::Write;

/// Line protocol: a line for the neighbours in a scrape that have their labels and the beginning of their names in
/// common, with a field each. Whole numbers are integers; nanoseconds.
/// <https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference/>
pub(super) fn influx(samples: &[Sample<'_>]) -> String {
    let mut out = String::new();
    for line in samples.chunk_by(|one, next| (one.host, one.series.line) == (next.host, next.series.line)) {
        out.push_str(line[0].series.measurement);
        for (name, value) in &line[0].series.labels {
            out.push(',');
            escape_tag(&mut out, name);
            out.push('=');
            escape_tag(&mut out, if *name == "instance" { line[0].instance } else { value });
        }
        for (index, Sample { series, number, .. }) in line.iter().enumerate() {
            let before = if index == 0 { ' ' } else { ',' };
            // Writing into a String cannot fail.
            let _ = match number {
                Number::Integer(integer) => write!(out, "{before}{}={integer}i", series.field),
                Number::Float(float) => write!(out, "{before}{}={float}", series.field),
            };
        }
        let _ = writeln!(out, " {}000000", line[0].timestamp_ms);
    }
    out
}

fn escape_tag(out: &mut String, text: &str) {
    for letter in text.chars() {
        if matches!(letter, ',' | '=' | ' ') {
            out.push('\\');
        }
        out.push(letter);
    }
}

/// The text exposition format 0.0.4, as a client library writes it: a family after the other, each with its help and
/// type, without timestamps.
/// <https://prometheus.io/docs/instrumenting/exposition_formats/>
pub(super) fn text(samples: &[Sample<'_>]) -> String {
    let mut sorted: Vec<_> = samples.iter().collect();
    sorted.sort_by(|one, next| one.series.family().cmp(next.series.family()));
    let mut out = String::new();
    for family in sorted.chunk_by(|one, next| one.series.family() == next.series.family()) {
        let (name, series) = (family[0].series.family(), family[0].series);
        // Writing into a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {}", series.help);
        let _ = writeln!(out, "# TYPE {name} {}", type_name(series.kind));
        for sample in family {
            out.push_str(&sample.series.name);
            out.push('{');
            for (index, (name, value)) in labels(sample).enumerate() {
                // No value has a backslash, a quote or a line feed.
                let _ = write!(out, "{}{name}=\"{value}\"", if index == 0 { "" } else { "," });
            }
            out.push_str("} ");
            write_as_go(&mut out, sample.number.float());
            out.push('\n');
        }
    }
    out
}

/// A batch of `POST /metrics`.
pub(super) fn json(samples: &[Sample<'_>]) -> String {
    let mut out = String::from("{\"metrics\":[");
    for (index, sample) in samples.iter().enumerate() {
        let Sample { series, timestamp_ms, .. } = sample;
        let comma = if index == 0 { "" } else { "," };
        // Writing into a String cannot fail.
        let _ = write!(out, "{comma}{{\"name\":\"{}\",\"value\":", series.name);
        write_as_go(&mut out, sample.number.float());
        let _ = write!(out, ",\"type\":\"{}\",\"timestamp\":{timestamp_ms},\"tags\":{{", type_name(series.kind));
        for (index, (name, value)) in labels(sample).enumerate() {
            let _ = write!(out, "{}\"{name}\":\"{value}\"", if index == 0 { "" } else { "," });
        }
        out.push_str("}}");
    }
    out.push_str("]}");
    out
}

fn labels<'a>(sample: &Sample<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let instance = sample.instance;
    let labels = sample.series.labels.iter();
    labels.map(move |(name, value)| (*name, if *name == "instance" { instance } else { value }))
}

fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Summary => "summary",
    }
}
