//! Names as a Prometheus server has them.
//!
//! Source: <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>, "OTLP Metric points to
//! Prometheus". Where that leaves a choice it is the collector's: `total` and `ratio` go to the end and the unit is not
//! repeated if the name has it as a word. Keys that become equal are not joined: the last value counts.

use super::writer::Shape;

/// Units of UCUM and their words.
fn unit_word(unit: &[u8]) -> &[u8] {
    match unit {
        b"d" => b"days",
        b"h" => b"hours",
        b"min" => b"minutes",
        b"s" => b"seconds",
        b"ms" => b"milliseconds",
        b"us" => b"microseconds",
        b"ns" => b"nanoseconds",
        b"By" => b"bytes",
        b"KiBy" => b"kibibytes",
        b"MiBy" => b"mebibytes",
        b"GiBy" => b"gibibytes",
        b"TiBy" => b"tibibytes",
        b"KBy" => b"kilobytes",
        b"MBy" => b"megabytes",
        b"GBy" => b"gigabytes",
        b"TBy" => b"terabytes",
        b"m" => b"meters",
        b"V" => b"volts",
        b"A" => b"amperes",
        b"J" => b"joules",
        b"W" => b"watts",
        b"g" => b"grams",
        b"Cel" => b"celsius",
        b"Hz" => b"hertz",
        b"1" => b"",
        b"%" => b"percent",
        other => other,
    }
}

/// Units behind a slash.
fn per_word(unit: &[u8]) -> &[u8] {
    match unit {
        b"s" => b"second",
        b"m" => b"minute",
        b"h" => b"hour",
        b"d" => b"day",
        b"w" => b"week",
        b"mo" => b"month",
        b"y" => b"year",
        other => other,
    }
}

/// Splits a unit at its first slash outside of annotations, which are dropped: `{packet}/s` is nothing per second.
fn unit_parts(unit: &[u8]) -> (&[u8], &[u8]) {
    let mut in_annotation = false;
    let slash = unit.iter().position(|byte| {
        match byte {
            b'{' => in_annotation = true,
            b'}' => in_annotation = false,
            _ => {}
        }
        *byte == b'/' && !in_annotation
    });
    let without_annotation = |part: &'_ [u8]| part.iter().position(|byte| *byte == b'{').unwrap_or(part.len());
    let (main, per) = match slash {
        Some(slash) => (&unit[..slash], &unit[slash + 1..]),
        None => (unit, &[][..]),
    };
    (main[..without_annotation(main)].trim_ascii(), per[..without_annotation(per)].trim_ascii())
}

/// The words of a name: its runs of letters, digits and colons.
fn words(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b':').filter(|word| !word.is_empty())
}

fn push_word(word: &[u8], out: &mut Vec<u8>) {
    if !out.is_empty() || word.first().is_some_and(u8::is_ascii_digit) {
        out.push(b'_');
    }
    out.extend_from_slice(word);
}

/// Appends `unit`, sanitized, with `before` in front of it, unless there is nothing to it or `out` has it as a word.
fn push_unit(unit: &[u8], before: Option<&[u8]>, out: &mut Vec<u8>) {
    if words(unit).next().is_none() || out.split(|byte| *byte == b'_').any(|word| word == unit) {
        return;
    }
    before.into_iter().chain(words(unit)).for_each(|word| push_word(word, out));
}

/// Makes `out` the name of a metric; it is empty if nothing in `name` can stay.
pub(super) fn metric(name: &[u8], unit: &[u8], shape: Shape, out: &mut Vec<u8>) {
    out.clear();
    let suffix = match shape {
        Shape::Sum { is_monotonic: true } => Some(&b"total"[..]),
        Shape::Gauge if unit == b"1" => Some(&b"ratio"[..]),
        _ => None,
    };
    if words(name).next().is_none() {
        return;
    }
    words(name).filter(|word| Some(*word) != suffix).for_each(|word| push_word(word, out));
    let (main, per) = unit_parts(unit);
    push_unit(unit_word(main), None, out);
    push_unit(per_word(per), Some(b"per"), out);
    if let Some(suffix) = suffix {
        push_word(suffix, out);
    }
}

/// Makes `out` the key of a tag: each character that is no letter, digit or `_` becomes `_`, and a digit may not be
/// first.
pub(super) fn label(key: &[u8], out: &mut Vec<u8>) {
    out.clear();
    if key.first().is_some_and(u8::is_ascii_digit) {
        out.extend_from_slice(b"key_");
    }
    // A character of several bytes is its first one.
    let characters = key.iter().filter(|byte| **byte & 0xc0 != 0x80);
    out.extend(characters.map(|&byte| if byte.is_ascii_alphanumeric() { byte } else { b'_' }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_names_are_those_of_prometheus() {
        let total = Shape::Sum { is_monotonic: true };
        let sum = Shape::Sum { is_monotonic: false };
        for (name, unit, shape, expected) in [
            ("process.cpu.time", "s", total, "process_cpu_time_seconds_total"),
            ("system.filesystem.usage", "By", sum, "system_filesystem_usage_bytes"),
            ("system.network.io", "By/s", Shape::Gauge, "system_network_io_bytes_per_second"),
            ("system.network.dropped", "{packets}", Shape::Gauge, "system_network_dropped"),
            ("system.network.dropped", "{packets}/s", Shape::Gauge, "system_network_dropped_per_second"),
            ("system.network.dropped", "packets", Shape::Gauge, "system_network_dropped_packets"),
            ("system.memory.utilization", "1", Shape::Gauge, "system_memory_utilization_ratio"),
            ("cache.ratio.hits", "1", Shape::Gauge, "cache_hits_ratio"),
            ("system.memory.utilization", "1", total, "system_memory_utilization_total"),
            ("requests_total", "", total, "requests_total"),
            ("total", "", total, "total"),
            ("requests.total.seconds", "s", total, "requests_seconds_total"),
            ("http.server.duration", "ms", Shape::Histogram, "http_server_duration_milliseconds"),
            ("(lambda).function.executions(#)", "", sum, "lambda_function_executions"),
            ("2xx.rate", "", Shape::Gauge, "_2xx_rate"),
            ("weird", "a b/{c/d}", Shape::Gauge, "weird_a_b"),
            ("weird", "By{x/y}/mo", Shape::Gauge, "weird_bytes_per_month"),
            ("a:b", "%", Shape::Gauge, "a:b_percent"),
            ("é..__", "s", Shape::Gauge, ""),
            ("", "s", Shape::Gauge, ""),
        ] {
            let mut out = b"before".to_vec();
            metric(name.as_bytes(), unit.as_bytes(), shape, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{name} in {unit}");
        }
    }

    #[test]
    fn tag_keys_have_no_other_characters() {
        for (key, expected) in [
            ("service.name", "service_name"),
            ("__temporality__", "__temporality__"),
            ("1st", "key_1st"),
            ("é é", "___"),
            ("", ""),
        ] {
            let mut out = b"before".to_vec();
            label(key.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
