//! Families of samples, and the two text formats that Prometheus reads: its own, version 0.0.4, and OpenMetrics 1.0.0.
//! Owns their grammar; the table of `registry` says what is shown.

use super::{Distribution, Format};
use std::fmt::{self, Write};

/// The type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A counter; the names of its samples end in `_total`.
    Counter,
    /// A gauge.
    Gauge,
    /// A histogram: buckets, a sum and a count.
    Histogram,
    /// A constant 1 with informative labels; the names of its samples end in `_info`.
    Info,
}

/// A value.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// A count, or bytes.
    Whole(u64),
    /// Seconds.
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<bool> for Number {
    fn from(yes: bool) -> Self {
        Self::Whole(u64::from(yes))
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Real(number) => number.fmt(f),
        }
    }
}

/// The bounds of a histogram's buckets, in the recorded unit, and the number of recorded units per displayed unit.
#[derive(Debug, Clone, Copy)]
pub struct Buckets {
    bounds: &'static [u64],
    per_unit: u64,
}

/// Recorded in nanoseconds, shown in seconds: 1, 2.5 and 5 of each power of ten from a microsecond to ten seconds.
pub const TIMES: Buckets = Buckets {
    bounds: &[
        1_000,
        2_500,
        5_000,
        10_000,
        25_000,
        50_000,
        100_000,
        250_000,
        500_000,
        1_000_000,
        2_500_000,
        5_000_000,
        10_000_000,
        25_000_000,
        50_000_000,
        100_000_000,
        250_000_000,
        500_000_000,
        1_000_000_000,
        2_500_000_000,
        5_000_000_000,
        10_000_000_000,
    ],
    per_unit: 1_000_000_000,
};

/// Bytes, from 256 to 64 MiB, by fours.
pub const BYTES: Buckets = Buckets {
    bounds: &[256, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26],
    per_unit: 1,
};

/// Metrics of a batch.
pub const METRICS: Buckets =
    Buckets { bounds: &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000, 100_000], per_unit: 1 };

/// A collection of families.
#[derive(Debug, Default)]
pub struct Exposition {
    families: Vec<Family>,
}

/// A family and its samples.
#[derive(Debug)]
pub struct Family {
    /// The name, without `_total` or `_info`, which the formats put in different places.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// The help text, one sentence.
    pub help: String,
    /// The samples.
    pub samples: Vec<Sample>,
}

/// One sample.
#[derive(Debug)]
pub struct Sample {
    labels: String,
    /// The value.
    pub value: Value,
}

/// The value of a sample.
#[derive(Debug)]
pub enum Value {
    /// One number.
    Number(Number),
    /// A distribution.
    Distribution {
        /// The upper bounds of the buckets, in the displayed unit.
        bounds: Vec<f64>,
        /// The number of values up to each bound.
        cumulative: Vec<u64>,
        /// The number of values.
        count: u64,
        /// The sum of the values.
        sum: f64,
    },
}

impl Exposition {
    /// The family of this name, which begins with this type and help if there is none yet.
    pub fn family_named(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Family {
        let index = self.families.iter().rposition(|family| family.name == name).unwrap_or_else(|| {
            self.families.push(Family { name, kind, help: help.to_owned(), samples: Vec::new() });
            self.families.len() - 1
        });
        &mut self.families[index]
    }

    /// All families.
    pub fn into_families(self) -> Vec<Family> {
        self.families
    }

    /// Renders the families in `format`, one of the text formats.
    pub fn text(&self, format: Format) -> Vec<u8> {
        let open_metrics = format == Format::OpenMetrics;
        let mut text = String::with_capacity(48 * 1024);
        for family in &self.families {
            // Writing to a String cannot fail.
            let _ = family.write(&mut text, open_metrics);
        }
        if open_metrics {
            text.push_str("# EOF\n");
        }
        text.into_bytes()
    }
}

impl Family {
    /// Adds a sample; `labels` is the text between the braces, without characters that need escaping.
    pub fn sample(&mut self, labels: &str, value: impl Into<Number>) {
        self.samples.push(Sample { labels: labels.to_owned(), value: Value::Number(value.into()) });
    }

    /// Adds a sample of one label.
    pub fn labelled(&mut self, label: &str, value_of_label: impl fmt::Display, value: impl Into<Number>) {
        self.sample(&format!("{label}=\"{value_of_label}\""), value);
    }

    /// Adds a distribution.
    pub fn histogram(&mut self, labels: &str, distribution: &Distribution, buckets: Buckets) {
        let value = Value::Distribution {
            bounds: buckets.bounds.iter().map(|&bound| in_units(bound, buckets.per_unit)).collect(),
            cumulative: distribution.cumulative(buckets.bounds),
            count: distribution.count(),
            sum: in_units(distribution.sum(), buckets.per_unit),
        };
        self.samples.push(Sample { labels: labels.to_owned(), value });
    }

    /// The unit at the end of the name.
    #[must_use]
    pub fn unit(&self) -> Option<&'static str> {
        ["seconds", "bytes"].into_iter().find(|unit| self.name.ends_with(unit))
    }

    fn write(&self, text: &mut String, open_metrics: bool) -> fmt::Result {
        let name = self.name;
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        let (described, kind_name) = match (self.kind, open_metrics) {
            (Kind::Counter, true) => ("", "counter"),
            (Kind::Counter, false) => (suffix, "counter"),
            (Kind::Gauge, _) => ("", "gauge"),
            (Kind::Histogram, _) => ("", "histogram"),
            (Kind::Info, true) => ("", "info"),
            (Kind::Info, false) => (suffix, "gauge"),
        };
        writeln!(text, "# HELP {name}{described} {}\n# TYPE {name}{described} {kind_name}", self.help)?;
        if open_metrics && let Some(unit) = self.unit() {
            writeln!(text, "# UNIT {name} {unit}")?;
        }
        for Sample { labels, value } in &self.samples {
            let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            let (bounds, cumulative, count, sum) = match value {
                Value::Number(number) => {
                    writeln!(text, "{name}{suffix}{braced} {number}")?;
                    continue;
                }
                Value::Distribution { bounds, cumulative, count, sum } => (bounds, cumulative, count, sum),
            };
            let separator = if labels.is_empty() { "" } else { "," };
            for (bound, at_most) in bounds.iter().zip(cumulative) {
                let mut bound = bound.to_string();
                if open_metrics && !bound.contains('.') {
                    // OpenMetrics, "Considerations: Canonical Numbers".
                    bound.push_str(".0");
                }
                writeln!(text, "{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {at_most}")?;
            }
            writeln!(text, "{name}_bucket{{{labels}{separator}le=\"+Inf\"}} {count}")?;
            writeln!(text, "{name}_sum{braced} {sum}\n{name}_count{braced} {count}")?;
        }
        Ok(())
    }
}

impl Sample {
    /// The labels with their values.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        // a="b",c="d": nothing in it is escaped, so every second quotation mark ends a value.
        let mut parts = self.labels.split('"');
        std::iter::from_fn(move || {
            let name = parts.next()?.trim_start_matches(',').strip_suffix('=')?;
            Some((name, parts.next()?))
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 ns, a hundred days; beyond that to 16 digits")]
pub fn in_units(value: u64, per_unit: u64) -> f64 {
    value as f64 / per_unit as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format) -> String {
        let mut exposition = Exposition::default();
        exposition.family_named("a_bytes", Kind::Counter, "Bytes of a.").labelled("b", "c", 5_u64);
        exposition.family_named("d", Kind::Info, "About d.").sample("e=\"f\"", 1_u64);
        let mut distribution = Distribution::of_sizes();
        distribution.record(1, 2);
        distribution.record(150_000, 1);
        exposition.family_named("g", Kind::Histogram, "Of g.").histogram("h=\"i\"", &distribution, METRICS);
        String::from_utf8(exposition.text(format)).unwrap()
    }

    #[test]
    fn prometheus_text() {
        let text = written(Format::Prometheus);
        assert!(text.starts_with(
            "# HELP a_bytes_total Bytes of a.\n# TYPE a_bytes_total counter\na_bytes_total{b=\"c\"} 5\n\
             # HELP d_info About d.\n# TYPE d_info gauge\nd_info{e=\"f\"} 1\n\
             # HELP g Of g.\n# TYPE g histogram\ng_bucket{h=\"i\",le=\"1\"} 2\n"
        ));
        assert!(text.ends_with("g_bucket{h=\"i\",le=\"+Inf\"} 3\ng_sum{h=\"i\"} 150002\ng_count{h=\"i\"} 3\n"));
    }

    #[test]
    fn open_metrics() {
        let text = written(Format::OpenMetrics);
        assert!(text.starts_with(
            "# HELP a_bytes Bytes of a.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\na_bytes_total{b=\"c\"} 5\n\
             # HELP d About d.\n# TYPE d info\nd_info{e=\"f\"} 1\n\
             # HELP g Of g.\n# TYPE g histogram\ng_bucket{h=\"i\",le=\"1.0\"} 2\n"
        ));
        assert!(text.ends_with("g_count{h=\"i\"} 3\n# EOF\n"));
    }

    #[test]
    fn times_are_shown_in_seconds() {
        let mut exposition = Exposition::default();
        let mut distribution = Distribution::of_times();
        distribution.record(2_000_000, 1);
        exposition.family_named("t_seconds", Kind::Histogram, "Of t.").histogram("", &distribution, TIMES);
        let text = String::from_utf8(exposition.text(Format::Prometheus)).unwrap();
        for line in ["t_seconds_bucket{le=\"0.000001\"} 0", "t_seconds_bucket{le=\"0.0025\"} 1", "t_seconds_sum 0.002"]
        {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn labels_are_read_as_they_were_written() {
        let mut exposition = Exposition::default();
        let family = exposition.family_named("a", Kind::Gauge, "A.");
        family.sample("", 1_u64);
        family.labelled("b", 7, 1_u64);
        family.sample("status=\"200\",reason=\"o,k=\"", 1_u64);
        let labels = |index: usize| family.samples[index].labels().collect::<Vec<_>>();
        assert_eq!((labels(0), labels(1)), (vec![], vec![("b", "7")]));
        assert_eq!(labels(2), [("status", "200"), ("reason", "o,k=")]);
    }
}
