//! Scrapes of a fleet of hosts, made up from a seed: the samples that all protocols carry alike.

use super::exporter::{Field, GROUPS, Group, Kind, Shape};
use std::{fmt::Write, ops::Range};
use testkit::random::Random;

/// Hosts of the fleet: with the series of each, more than one request may carry, so that no series is twice in one.
pub(super) const HOSTS: usize = 200;
/// Milliseconds from one scrape of a host to the next.
const SCRAPE_INTERVAL_MS: i64 = 1000;
/// The first samples of two requests lie at least so far apart in the series of a host, so that small requests carry
/// all kinds of series. It shares no factor with their number.
const STRIDE_MIN: usize = 101;

/// One series of a host.
#[derive(Debug)]
pub(super) struct Series {
    /// `measurement_field`.
    pub name: String,
    /// As line protocol has it.
    pub measurement: &'static str,
    /// As line protocol has it.
    pub field: &'static str,
    /// Sorted by name, as remote write demands, with `instance` and `job` among them; the value of `instance` is empty.
    pub labels: Vec<(&'static str, &'static str)>,
    pub kind: Kind,
    pub help: String,
    shape: Shape,
    /// The same for the series of one line of line protocol.
    pub line: usize,
}

impl Series {
    /// The name of the family that the series belongs to: a summary has three names.
    pub fn family(&self) -> &str {
        match self.kind {
            Kind::Summary => {
                let name = &self.name;
                name.strip_suffix("_sum").or_else(|| name.strip_suffix("_count")).unwrap_or(name)
            }
            Kind::Counter | Kind::Gauge => &self.name,
        }
    }
}

/// A sample's number. A series has always the same of the two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Integer(i64),
    Float(f64),
}

impl Number {
    #[expect(clippy::cast_precision_loss, reason = "they have at most 14 digits")]
    pub fn float(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }
}

/// One sample of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample<'a> {
    pub series: &'a Series,
    /// The value of the label `instance`.
    pub instance: &'a str,
    /// Index of the host.
    pub host: usize,
    pub number: Number,
    /// Milliseconds since 1970: the same for all samples of one scrape of a host.
    pub timestamp_ms: i64,
}

/// The fleet, and what its scrapes say.
#[derive(Debug)]
pub(super) struct Scrapes {
    seed: u64,
    series: Vec<Series>,
    instances: Vec<String>,
    batches: usize,
    metrics: usize,
    end_ms: i64,
}

impl Scrapes {
    /// `batches` batches of `metrics` samples each, whose last scrape was at `end_ms`. The same arguments give the same
    /// samples.
    pub fn new(seed: u64, batches: usize, metrics: u32, end_ms: i64) -> Self {
        let metrics = usize::try_from(metrics).unwrap_or(usize::MAX);
        let instance = |host: usize| format!("10.{}.{}.{}:9100", 8 + host / 100, host % 100, 10 + host * 7 % 240);
        let instances = (0..HOSTS).map(instance).collect();
        Self { seed, series: series(), instances, batches, metrics, end_ms }
    }

    /// The samples of batch number `batch`.
    pub fn batch(&self, batch: usize) -> impl Iterator<Item = Sample<'_>> {
        self.indexes(batch).map(|index| self.sample(index))
    }

    /// A scrape of the fleet after the other, in each a host after the other, of each all series.
    fn indexes(&self, batch: usize) -> Range<usize> {
        let begin = batch * self.metrics.max(STRIDE_MIN);
        begin..begin + self.metrics
    }

    fn sample(&self, index: usize) -> Sample<'_> {
        let (scrape, of) = (index / self.series.len(), index % self.series.len());
        let (round, host) = (scrape / HOSTS, scrape % HOSTS);
        let series = &self.series[of];
        let number = number(series.shape, self.seed ^ (host * self.series.len() + of) as u64, round);
        let rounds = self.indexes(self.batches.saturating_sub(1)).end.saturating_sub(1) / (self.series.len() * HOSTS);
        // The hosts' scrapes are spread over the interval, as Prometheus spreads them.
        let ago = i64::try_from(rounds.saturating_sub(round)).unwrap_or(0) * SCRAPE_INTERVAL_MS;
        let spread = i64::try_from(host * 617 % 1000).unwrap_or(0);
        Sample {
            series,
            instance: &self.instances[host],
            host,
            number,
            timestamp_ms: (self.end_ms - ago - spread).max(0),
        }
    }
}

/// The number of a series, which `identity` stands for, in the scrape `round`.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_wrap, reason = "at most 14 digits")]
fn number(shape: Shape, identity: u64, round: usize) -> Number {
    let mut random = Random::new(identity.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    // Spreads the sizes over the orders of magnitude, as they are in the field.
    let digits = random.below_u64(8);
    let base = random.below_u64(10_u64.pow(3 + u32::try_from(digits).unwrap_or(0)));
    let step = base / 1000 + random.below_u64(100);
    let grown = base + step * round as u64;
    let mut now = Random::new(random.number().wrapping_add(round as u64));
    match shape {
        Shape::Fixed(integer) => Number::Integer(integer),
        Shape::Count => Number::Integer(grown as i64),
        Shape::Small => Number::Integer((base % 400 + now.below_u64(100)) as i64),
        Shape::Bytes => Number::Integer(((base / 100 + now.below_u64(100)) * 4096) as i64),
        Shape::Seconds => Number::Float((base % 1_000_000_000 + step * round as u64) as f64 / 100.0),
        Shape::Fraction => Number::Float(now.below_u64(1_000_000_000) as f64 / 1e10),
    }
}

/// The series of a host.
fn series() -> Vec<Series> {
    let mut all = Vec::new();
    let mut line = 0;
    for group in GROUPS {
        for labels in label_sets(group) {
            all.extend(group.fields.iter().map(|field| one(group, &labels, *field, line)));
            line += 1;
        }
    }
    all
}

fn one(
    group: &Group,
    labels: &[(&'static str, &'static str)],
    Field(field, kind, shape): Field,
    line: usize,
) -> Series {
    let Group { measurement, help, .. } = *group;
    let name = format!("{measurement}_{field}");
    Series { name, measurement, field, labels: labels.to_vec(), kind, help: format!("{help} {field}."), shape, line }
}

/// The labels of a group's series, sorted: a set for each combination.
fn label_sets(group: &Group) -> Vec<Vec<(&'static str, &'static str)>> {
    let mut sets = vec![[group.labels, &[("instance", ""), ("job", "node")]].concat()];
    for (name, values) in group.each {
        let with = |set: Vec<_>| values.iter().map(move |value| [set.as_slice(), &[(*name, *value)]].concat());
        sets = sets.into_iter().flat_map(with).collect();
    }
    sets.iter_mut().for_each(|set| set.sort_unstable());
    sets
}

/// Appends `float` in its shortest digits, as Go's programs and so all exporters write it: with an exponent from a
/// million on and below a ten-thousandth.
pub(super) fn write_as_go(out: &mut String, float: f64) {
    let begin = out.len();
    // Writing into a String cannot fail.
    let _ = write!(out, "{float:e}");
    let Some(position) = out[begin..].find('e') else { return };
    let exponent: i32 = out[begin + position + 1..].parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        out.truncate(begin);
        let _ = write!(out, "{float}");
    } else {
        out.truncate(begin + position);
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
    }
}

#[cfg(test)]
mod tests {
    use super::super::BATCH_METRICS_MAX;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_host_has_some_hundred_series_each_once() {
        let series = series();
        assert!((450..700).contains(&series.len()), "{}", series.len());
        assert!(!series.len().is_multiple_of(STRIDE_MIN), "{}", series.len());
        assert!(series.len() * HOSTS >= usize::try_from(BATCH_METRICS_MAX).unwrap());
        let distinct: BTreeSet<_> = series.iter().map(|series| (&series.name, &series.labels)).collect();
        assert_eq!(distinct.len(), series.len());
        for series in &series {
            assert!(series.labels.is_sorted_by(|one, next| one.0 < next.0), "{:?}", series.labels);
            assert!(series.labels.iter().all(|(name, value)| !value.is_empty() || *name == "instance"));
            assert_eq!(series.kind == Kind::Counter, series.name.ends_with("_total"), "{}", series.name);
        }
    }

    #[test]
    fn scrapes_repeat_for_a_seed_and_change_between_rounds() {
        let of = |seed| {
            let scrapes = Scrapes::new(seed, 2, 100_000, 1_800_000_000_000);
            let all: Vec<_> = scrapes.batch(1).map(|sample| (sample.number, sample.timestamp_ms)).collect();
            all
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        let scrapes = Scrapes::new(1, 3, 100_000, 1_800_000_000_000);
        let samples: Vec<_> = (0..3).flat_map(|batch| scrapes.batch(batch)).collect();
        let round = scrapes.series.len() * HOSTS;
        let (mut changed, mut zero) = (0, 0);
        for (earlier, later) in samples.iter().zip(&samples[round..]) {
            assert_eq!((&earlier.series.name, earlier.instance), (&later.series.name, later.instance));
            assert_eq!(later.timestamp_ms - earlier.timestamp_ms, SCRAPE_INTERVAL_MS);
            assert!(earlier.series.kind != Kind::Counter || later.number.float() >= earlier.number.float());
            changed += usize::from(earlier.number != later.number);
            zero += usize::from(later.number == Number::Integer(0));
        }
        let compared = samples.len() - round;
        assert!(changed > compared / 3 && zero > compared / 5, "{changed}, {zero} of {compared}");
        assert!(samples.iter().all(|sample| sample.timestamp_ms <= 1_800_000_000_000));
    }

    #[test]
    fn small_requests_carry_all_kinds_of_series() {
        let scrapes = Scrapes::new(1, 64, 3, 0);
        let names: BTreeSet<_> = (0..64).flat_map(|batch| scrapes.batch(batch)).map(|one| &one.series.name).collect();
        assert!(names.len() > 60, "{}", names.len());
    }

    #[test]
    fn numbers_are_written_as_exporters_write_them() {
        for (float, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-125_000.0, "-125000"),
            (999_999.0, "999999"),
            (1_800_784.0, "1.800784e+06"),
            (4.0e6, "4e+06"),
            (1685.77, "1685.77"),
            (0.0001, "0.0001"),
            (4.057e-05, "4.057e-05"),
            (1e-100, "1e-100"),
        ] {
            let mut out = String::new();
            write_as_go(&mut out, float);
            assert_eq!(out, text);
        }
    }
}
