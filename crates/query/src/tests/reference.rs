//! The obvious evaluator: filters a vector, puts it into maps, and does what each aggregate says. It has nothing in
//! common with the engine but the standard library.

use super::log::Metric;
use std::collections::{BTreeMap, BTreeSet};

/// Filter on a tag: its key, whether it must or must not match, and the values, any of which matches.
#[derive(Debug, Clone)]
pub struct Filter {
    pub key: String,
    pub must: bool,
    pub values: Vec<String>,
}

impl Filter {
    /// Returns true if it matches by `=` or `!=`.
    pub fn is_single(&self) -> bool {
        matches!(&self.values[..], [value] if !value.starts_with('~'))
    }
}

/// Tags by which series are grouped.
#[derive(Debug, Clone)]
pub enum By {
    Keys(Vec<String>),
    All,
}

/// Request of the reference implementation.
#[derive(Debug, Clone)]
pub struct Question {
    pub names: Vec<String>,
    pub from_ms: i64,
    pub to_ms: i64,
    pub step_ms: Option<i64>,
    pub by: By,
    pub filters: Vec<Filter>,
}

/// Name and tags, the tags sorted.
pub type Series = (String, Vec<(String, String)>);

/// A value as it is compared: exact digits where they are stored ones or integers, else a float and by how much it may
/// be off.
#[derive(Debug, Clone)]
pub enum Expected {
    Exactly(String),
    /// One of these, which are equal as numbers.
    OneOf(BTreeSet<String>),
    Nearly(f64, f64),
}

pub type Expectation = BTreeMap<Series, BTreeMap<i64, Expected>>;

fn number(text: &str) -> f64 {
    text.parse().unwrap()
}

fn sorted(tags: &[(String, String)]) -> Vec<(String, String)> {
    let mut tags = tags.to_vec();
    tags.sort();
    tags
}

impl Question {
    fn wants(&self, metric: &Metric) -> bool {
        self.names.contains(&metric.name)
            && self.from_ms <= metric.timestamp_ms
            && metric.timestamp_ms < self.to_ms
            && self.filters.iter().all(|filter| {
                let tag = metric.tags.iter().find(|(key, _)| *key == filter.key);
                let value = tag.map_or("", |(_, value)| value);
                // Single texts that one tag may be are alternatives; all else must hold each by itself.
                let is_alternative =
                    |other: &&Filter| filter.is_single() && other.is_single() && other.must && other.key == filter.key;
                let alternatives = self.filters.iter().filter(|other| filter.must && is_alternative(other));
                let mut texts = filter.values.iter().chain(alternatives.flat_map(|other| &other.values));
                texts.any(|wanted| wanted == value) == filter.must
            })
    }

    fn group(&self, metric: &Metric) -> Series {
        let tags = match &self.by {
            By::All => sorted(&metric.tags),
            By::Keys(keys) => {
                sorted(&metric.tags.iter().filter(|(key, _)| keys.contains(key)).cloned().collect::<Vec<_>>())
            }
        };
        (metric.name.clone(), tags)
    }

    fn bucket(&self, metric: &Metric) -> i64 {
        let mut start = self.from_ms;
        if let Some(step_ms) = self.step_ms {
            while metric.timestamp_ms >= start + step_ms {
                start += step_ms;
            }
        }
        start
    }

    /// All series, whatever their values are.
    pub fn series(&self, metrics: &[Metric]) -> BTreeSet<Series> {
        metrics.iter().filter(|metric| self.wants(metric)).map(|metric| self.group(metric)).collect()
    }

    /// Returns the number of metrics with a value that is not a number.
    pub fn non_finite(&self, metrics: &[Metric]) -> usize {
        metrics.iter().filter(|metric| self.wants(metric) && !metric.is_number()).count()
    }

    /// The metrics wanted whose values are numbers, in the order of their timestamps, and of equal ones in that of the
    /// log.
    fn wanted<'a>(&self, metrics: &'a [Metric]) -> Vec<&'a Metric> {
        let mut wanted: Vec<_> = metrics.iter().filter(|metric| self.wants(metric) && metric.is_number()).collect();
        wanted.sort_by_key(|metric| metric.timestamp_ms);
        wanted
    }

    pub fn expectation(&self, metrics: &[Metric], agg: &str) -> Expectation {
        match agg {
            "rate" | "increase" => self.growth(metrics, agg == "rate"),
            _ => {
                let mut buckets: BTreeMap<Series, BTreeMap<i64, Vec<String>>> = BTreeMap::new();
                for metric in self.wanted(metrics) {
                    let series = buckets.entry(self.group(metric)).or_default();
                    series.entry(self.bucket(metric)).or_default().push(metric.value.clone());
                }
                let value = |values: Vec<String>| aggregate(&values, agg);
                let of_series = |series: BTreeMap<_, _>| series.into_iter().map(|(at, values)| (at, value(values)));
                buckets.into_iter().map(|(key, series)| (key, of_series(series).collect())).collect()
            }
        }
    }

    /// All points, raw.
    pub fn raw(&self, metrics: &[Metric]) -> BTreeMap<Series, Vec<(i64, String)>> {
        let mut series: BTreeMap<Series, Vec<(i64, String)>> = BTreeMap::new();
        for metric in self.wanted(metrics) {
            series.entry(self.group(metric)).or_default().push((metric.timestamp_ms, metric.value.clone()));
        }
        series
    }

    fn growth(&self, metrics: &[Metric], is_rate: bool) -> Expectation {
        let mut single: BTreeMap<Series, Vec<&Metric>> = BTreeMap::new();
        for metric in self.wanted(metrics) {
            let readings = single.entry((metric.name.clone(), sorted(&metric.tags))).or_default();
            // Of each moment the largest.
            match readings.last_mut() {
                Some(last) if last.timestamp_ms == metric.timestamp_ms => {
                    if number(&metric.value) > number(&last.value) {
                        *last = metric;
                    }
                }
                _ => readings.push(metric),
            }
        }
        // Of each series by itself: by how much it grew in each bucket, over which time.
        let mut sums: BTreeMap<Series, BTreeMap<i64, Vec<(f64, i64)>>> = BTreeMap::new();
        for readings in single.values() {
            let mut grown: BTreeMap<i64, (f64, i64)> = BTreeMap::new();
            for pair in readings.windows(2) {
                let [before, after] = pair.iter().map(|metric| number(&metric.value)).collect::<Vec<_>>()[..] else {
                    unreachable!()
                };
                let bucket = grown.entry(self.bucket(pair[1])).or_default();
                bucket.0 += if after < before { after } else { after - before };
                bucket.1 += pair[1].timestamp_ms - pair[0].timestamp_ms;
            }
            let group = self.group(readings[0]);
            for (at, grown) in grown {
                sums.entry(group.clone()).or_default().entry(at).or_default().push(grown);
            }
        }
        let total = |grown: Vec<(f64, i64)>| {
            let rates: Vec<f64> = if is_rate {
                grown.iter().filter(|(_, ms)| *ms > 0).map(|(by, ms)| by / (*ms as f64 / 1000.0)).collect()
            } else {
                grown.iter().map(|(by, _)| *by).collect()
            };
            let size = self.wanted(metrics).iter().map(|metric| number(&metric.value).abs()).sum::<f64>();
            (!rates.is_empty()).then(|| Expected::Nearly(rates.iter().sum(), 1e-9 * size.max(1.0)))
        };
        let mut expectation = Expectation::new();
        for (key, buckets) in sums {
            let points: BTreeMap<_, _> =
                buckets.into_iter().filter_map(|(at, grown)| Some((at, total(grown)?))).collect();
            if !points.is_empty() {
                expectation.insert(key, points);
            }
        }
        expectation
    }
}

fn aggregate(values: &[String], agg: &str) -> Expected {
    let floats: Vec<f64> = values.iter().map(|value| number(value)).collect();
    let integers: Option<Vec<i128>> = values.iter().map(|value| value.parse::<i64>().ok().map(i128::from)).collect();
    let is_integral = integers.is_some() && !values.iter().any(|value| value == "-0");
    let count = floats.len() as f64;
    let size = floats.iter().map(|value| value.abs()).sum::<f64>().max(f64::MIN_POSITIVE);
    let sum: f64 = floats.iter().sum();
    // All whose number is that of the one found.
    let equal = |wanted: f64| Expected::OneOf(values.iter().filter(|value| number(value) == wanted).cloned().collect());
    match agg {
        "count" => Expected::Exactly(values.len().to_string()),
        "first" => Expected::Exactly(values[0].clone()),
        "last" => Expected::Exactly(values[values.len() - 1].clone()),
        "min" => equal(floats.iter().copied().fold(f64::INFINITY, f64::min)),
        "max" => equal(floats.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        "sum" if is_integral => Expected::Exactly(integers.unwrap().iter().sum::<i128>().to_string()),
        "sum" => Expected::Nearly(sum, 1e-12 * size),
        "avg" => Expected::Nearly(sum / count, 1e-12 * size),
        "stddev" => {
            let mean = sum / count;
            let variance = floats.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
            Expected::Nearly(variance.sqrt(), 1e-6 * size)
        }
        percentile => {
            let part: f64 = percentile[1..].parse().unwrap();
            // The smallest value such that at least so many per cent are not above it.
            let is_enough = |value: f64| {
                100.0 * floats.iter().filter(|other| **other <= value).count() as f64 >= part * count - 1e-9
            };
            let found = floats.iter().copied().filter(|value| is_enough(*value)).fold(f64::INFINITY, f64::min);
            Expected::Nearly(found, 0.0)
        }
    }
}
