//! The two text formats that Prometheus reads: its own, version 0.0.4, and OpenMetrics 1.0.0. Owns their grammar; `families` says
//! what is shown.

use super::{Distribution, Format};
use std::fmt::{self, Write};

/// What kind of family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its samples end in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
    /// A constant 1 whose labels say something; its samples end in `_info`.
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

/// The bounds of a histogram's buckets, in the units it was recorded in, and how many of these make one of those it is shown in.
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

/// A document in the making.
#[derive(Debug)]
pub struct Exposition {
    text: String,
    open_metrics: bool,
}

impl Exposition {
    /// An empty document in `format`, which is one of the text formats.
    pub fn new(format: Format) -> Self {
        Self { text: String::with_capacity(48 * 1024), open_metrics: format == Format::OpenMetrics }
    }

    /// Begins a family: `name` without `_total` or `_info`, which the formats put in different places.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let suffix = match kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        let (described, kind_name) = match (kind, self.open_metrics) {
            (Kind::Counter, true) => ("", "counter"),
            (Kind::Counter, false) => (suffix, "counter"),
            (Kind::Gauge, _) => ("", "gauge"),
            (Kind::Histogram, _) => ("", "histogram"),
            (Kind::Info, true) => ("", "info"),
            (Kind::Info, false) => (suffix, "gauge"),
        };
        // Writing to a String cannot fail; so below.
        let _ = writeln!(self.text, "# HELP {name}{described} {help}\n# TYPE {name}{described} {kind_name}");
        if self.open_metrics
            && let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit))
        {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
        Family { text: &mut self.text, name, suffix, open_metrics: self.open_metrics }
    }

    /// A family of one sample.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Into<Number>) {
        self.family(name, kind, help).sample("", value);
    }

    /// The document.
    pub fn finish(mut self) -> Vec<u8> {
        if self.open_metrics {
            self.text.push_str("# EOF\n");
        }
        self.text.into_bytes()
    }
}

/// The family that is being written.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
    suffix: &'static str,
    open_metrics: bool,
}

impl Family<'_> {
    /// Adds a sample; `labels` as they stand between the braces, none of them with anything to escape.
    pub fn sample(&mut self, labels: &str, value: impl Into<Number>) {
        let (name, suffix, value) = (self.name, self.suffix, value.into());
        let _ = if labels.is_empty() {
            writeln!(self.text, "{name}{suffix} {value}")
        } else {
            writeln!(self.text, "{name}{suffix}{{{labels}}} {value}")
        };
    }

    /// Adds a sample of one label.
    pub fn labelled(&mut self, label: &str, value_of_label: impl fmt::Display, value: impl Into<Number>) {
        self.sample(&format!("{label}=\"{value_of_label}\""), value);
    }

    /// Adds the buckets, the sum and the count of a distribution.
    pub fn histogram(&mut self, labels: &str, distribution: &Distribution, buckets: Buckets) {
        let name = self.name;
        let separator = if labels.is_empty() { "" } else { "," };
        for (&bound, count) in buckets.bounds.iter().zip(distribution.cumulative(buckets.bounds)) {
            let mut bound = in_units(bound, buckets.per_unit).to_string();
            if self.open_metrics && !bound.contains('.') {
                // OpenMetrics, "Considerations: Canonical Numbers".
                bound.push_str(".0");
            }
            let _ = writeln!(self.text, "{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {count}");
        }
        let (count, sum) = (distribution.count(), in_units(distribution.sum(), buckets.per_unit));
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(
            self.text,
            "{name}_bucket{{{labels}{separator}le=\"+Inf\"}} {count}\n{name}_sum{braced} {sum}\n{name}_count{braced} {count}"
        );
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
        let mut exposition = Exposition::new(format);
        exposition.family("a_bytes", Kind::Counter, "Bytes of a.").labelled("b", "c", 5_u64);
        exposition.family("d", Kind::Info, "About d.").sample("e=\"f\"", 1_u64);
        let mut distribution = Distribution::of_sizes();
        distribution.record(1, 2);
        distribution.record(150_000, 1);
        exposition.family("g", Kind::Histogram, "Of g.").histogram("h=\"i\"", &distribution, METRICS);
        String::from_utf8(exposition.finish()).unwrap()
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
        let mut exposition = Exposition::new(Format::Prometheus);
        let mut distribution = Distribution::of_times();
        distribution.record(2_000_000, 1);
        exposition.family("t_seconds", Kind::Histogram, "Of t.").histogram("", &distribution, TIMES);
        let text = String::from_utf8(exposition.finish()).unwrap();
        for line in ["t_seconds_bucket{le=\"0.000001\"} 0", "t_seconds_bucket{le=\"0.0025\"} 1", "t_seconds_sum 0.002"]
        {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
