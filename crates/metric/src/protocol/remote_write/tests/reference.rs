//! Reference for the decoder: the expected lines of a body, built in the most obvious way from the messages that prost
//! has decoded.

use super::super::super::bucket::{BoundText, exponential_bound};
use super::messages::v1::{Count, Histogram, ZeroCount};
use super::messages::{v1, v2};
use crate::{Bounds, Kind, Line, STALE_NAN_BITS, TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN};
use std::collections::BTreeMap;

pub(super) const BOUNDS: Bounds =
    Bounds { batch_metrics_limit: 1, name_bytes_limit: 16, tags_limit: 4, tag_bytes_limit: 32 };

#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Int(u64),
    Float(f64),
}

impl Number {
    fn get(self) -> f64 {
        match self {
            Self::Int(count) => count as f64,
            Self::Float(count) => count,
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        match (*self, *other) {
            (Self::Int(a), Self::Int(b)) => a == b,
            // One NaN is as good as another, but for the stale marker.
            (Self::Float(a), Self::Float(b)) => {
                a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan() && is_stale(a) == is_stale(b)
            }
            _ => false,
        }
    }
}

fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// A line of the log, as a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    name: String,
    kind: Kind,
    timestamp_ms: i64,
    value: Number,
    tags: BTreeMap<String, String>,
}

impl Sample {
    /// Reads a line, with its value as `like` has it.
    pub(super) fn read(line: &str, like: &Self) -> Self {
        let line = Line::parse(line.as_bytes()).unwrap();
        let text = |spelled: &[u8]| -> String {
            serde_json::from_str(&format!("\"{}\"", std::str::from_utf8(spelled).unwrap())).unwrap()
        };
        let digits = std::str::from_utf8(line.value).unwrap().trim_matches('"');
        let value = match like.value {
            _ if line.is_stale => Number::Float(f64::from_bits(STALE_NAN_BITS)),
            Number::Int(_) => Number::Int(digits.parse().unwrap()),
            Number::Float(_) => Number::Float(digits.parse().unwrap()),
        };
        Self {
            name: text(line.name),
            kind: line.kind,
            timestamp_ms: line.timestamp_ms,
            value,
            tags: line.tags().map(|(key, value)| (text(key), text(value))).collect(),
        }
    }
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Expected {
    pub(super) lines: Vec<Sample>,
    pub(super) rejected: u32,
    pub(super) exemplars: u32,
    pub(super) metadata: u32,
    pub(super) samples: u64,
    pub(super) histograms: u64,
}

impl Expected {
    pub(super) fn of_v1(request: &v1::WriteRequest) -> Self {
        let mut expected = Self { metadata: u32::try_from(request.metadata.len()).unwrap(), ..Self::default() };
        for series in &request.timeseries {
            let labels = series.labels.iter().map(|label| (&label.name[..], &label.value[..])).collect();
            let samples: Vec<_> = series.samples.iter().map(|sample| (sample.value, sample.timestamp)).collect();
            expected.exemplars += u32::try_from(series.exemplars.len()).unwrap();
            expected.add(checked(labels), None, &samples, &series.histograms);
        }
        expected
    }

    /// `None` if the table of symbols is not as it has to be.
    pub(super) fn of_v2(request: &v2::Request) -> Option<Self> {
        if request.symbols.first().is_some_and(|first| !first.is_empty()) {
            return None;
        }
        let mut expected = Self::default();
        for series in &request.timeseries {
            let pairs = series.labels_refs.chunks_exact(2);
            let is_odd = !pairs.remainder().is_empty();
            let symbol = |index: u32| request.symbols.get(index as usize).map(|symbol| &symbol[..]);
            let labels: Option<Vec<_>> = pairs.map(|pair| Some((symbol(pair[0])?, symbol(pair[1])?))).collect();
            let samples: Vec<_> = series.samples.iter().map(|sample| (sample.value, sample.timestamp)).collect();
            let histograms: Vec<_> = series.histograms.iter().cloned().map(Histogram::from).collect();
            let is_mixed = !samples.is_empty() && !histograms.is_empty();
            let is_empty = samples.len() + histograms.len() + series.exemplars.len() == 0 && series.metadata.is_none();
            let kind = match series.metadata.as_ref().map_or(0, |metadata| metadata.r#type) {
                1 => Some(Kind::Counter),
                2 | 6 | 7 => Some(Kind::Gauge),
                3 | 4 => Some(Kind::Histogram),
                5 => Some(Kind::Summary),
                _ => None,
            };
            let labels = if is_odd || is_mixed || is_empty { None } else { labels.and_then(checked) };
            expected.exemplars += u32::try_from(series.exemplars.len()).unwrap();
            expected.add(labels, kind, &samples, &histograms);
        }
        Some(expected)
    }

    fn add(
        &mut self,
        labels: Option<(String, BTreeMap<String, String>)>,
        kind: Option<Kind>,
        samples: &[(f64, i64)],
        histograms: &[Histogram],
    ) {
        let Some((name, tags)) = labels else {
            self.rejected += u32::try_from(samples.len() + histograms.len()).unwrap().max(1);
            return;
        };
        let of_name = if name.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
        for &(value, timestamp_ms) in samples {
            if (TIMESTAMP_MS_MIN..=TIMESTAMP_MS_MAX).contains(&timestamp_ms) {
                let (name, tags, value) = (name.clone(), tags.clone(), Number::Float(value));
                self.lines.push(Sample { name, kind: kind.unwrap_or(of_name), timestamp_ms, value, tags });
                self.samples += 1;
            } else {
                self.rejected += 1;
            }
        }
        let has_place = name.len() + "_bucket".len() <= BOUNDS.name_bytes_limit
            && tags.len() < BOUNDS.tags_limit
            && !tags.contains_key("le");
        for histogram in histograms {
            let in_range = (TIMESTAMP_MS_MIN..=TIMESTAMP_MS_MAX).contains(&histogram.timestamp);
            let classic = classic(histogram).filter(|_| has_place && in_range);
            let Some(Classic { buckets, sum, count }) = classic else {
                self.rejected += 1;
                continue;
            };
            let mut line = |suffix: &str, bound: Option<f64>, value| {
                let mut tags = tags.clone();
                if let Some(bound) = bound {
                    tags.insert("le".to_owned(), text(bound));
                }
                let timestamp_ms = histogram.timestamp;
                self.lines.push(Sample {
                    name: format!("{name}{suffix}"),
                    kind: Kind::Histogram,
                    timestamp_ms,
                    value,
                    tags,
                });
            };
            for (bound, cumulative) in buckets {
                line("_bucket", Some(bound), cumulative);
            }
            line("_bucket", Some(f64::INFINITY), count);
            line("_sum", None, sum);
            line("_count", None, count);
            self.histograms += 1;
        }
    }
}

fn text(bound: f64) -> String {
    String::from_utf8(BoundText::new(bound).as_bytes().to_vec()).unwrap()
}

/// Name and tags, if a series may have them.
fn checked(labels: Vec<(&[u8], &[u8])>) -> Option<(String, BTreeMap<String, String>)> {
    let mut tags = BTreeMap::new();
    for (name, value) in labels {
        if name.is_empty() {
            return None;
        }
        if value.is_empty() {
            continue;
        }
        let (name, value) = (String::from_utf8(name.to_vec()).ok()?, String::from_utf8(value.to_vec()).ok()?);
        let value = match value.parse() {
            Ok(bound) if name == "le" || name == "quantile" => text(bound),
            _ => value,
        };
        if tags.insert(name, value).is_some() {
            return None;
        }
    }
    let name = tags.remove("__name__")?;
    let fits = tags.iter().flat_map(|(key, value)| [key, value]).all(|text| text.len() <= BOUNDS.tag_bytes_limit);
    (fits && name.len() <= BOUNDS.name_bytes_limit && tags.len() <= BOUNDS.tags_limit).then_some((name, tags))
}

/// A bucket with both of its ends: the lower, the count, and the upper.
type Bucket = (f64, f64, f64);

struct Classic {
    /// Bounds below infinity, with what is observed up to them.
    buckets: Vec<(f64, Number)>,
    sum: Number,
    count: Number,
}

/// `None` if the histogram does not fit together.
fn classic(histogram: &Histogram) -> Option<Classic> {
    let sum = Number::Float(histogram.sum);
    if is_stale(histogram.sum) {
        return Some(Classic { buckets: Vec::new(), sum, count: sum });
    }
    let is_float = matches!(histogram.count, Some(Count::Float(_)));
    let buckets = buckets(histogram, is_float)?;
    if buckets.iter().any(|&(_, count, _)| !count.is_finite() || count < 0.0) {
        return None;
    }
    let observed: f64 = buckets.iter().map(|&(_, count, _)| count).sum();
    let count = match histogram.count {
        Some(Count::Float(count)) => Number::Float(count),
        Some(Count::Int(count)) => Number::Int(count),
        None => Number::Int(0),
    };
    let is_whole = match count {
        Number::Float(count) => count >= 0.0 && count.is_finite() && observed.is_finite(),
        Number::Int(_) if histogram.sum.is_nan() => observed <= count.get(),
        Number::Int(_) => observed == count.get(),
    };
    is_whole.then(|| Classic { buckets: cumulative(&buckets, count), sum, count })
}

/// All buckets, from the lowest on; `None` if their spans, or their bounds, are not as they have to be.
fn buckets(histogram: &Histogram, is_float: bool) -> Option<Vec<Bucket>> {
    let counts = |deltas: &[i64], counts: &[f64]| -> Vec<f64> {
        let running = deltas.iter().scan(0_i128, |sum, &delta| {
            *sum += i128::from(delta);
            Some(*sum as f64)
        });
        if is_float { counts.to_vec() } else { running.collect() }
    };
    let positive = counts(&histogram.positive_deltas, &histogram.positive_counts);
    let negative = counts(&histogram.negative_deltas, &histogram.negative_counts);
    let zero = match histogram.zero_count {
        Some(ZeroCount::Int(count)) if !is_float => count as f64,
        Some(ZeroCount::Float(count)) if is_float => count,
        _ => 0.0,
    };
    let positive_indexes = indexes(&histogram.positive_spans, positive.len())?;
    let negative_indexes = indexes(&histogram.negative_spans, negative.len())?;

    let mut buckets = Vec::new();
    let schema = histogram.schema;
    if schema == -53 {
        let bounds = &histogram.custom_values;
        let ascend = bounds.iter().zip(&bounds[bounds.len().min(1)..]).all(|(a, b)| a < b);
        let is_odd = bounds.iter().any(|bound| bound.is_nan() || *bound == f64::INFINITY);
        let is_beyond = positive_indexes.iter().any(|index| !(0..=bounds.len() as i64).contains(index));
        let has_more = !histogram.negative_spans.is_empty() || zero != 0.0 || histogram.zero_threshold != 0.0;
        if !ascend || is_odd || is_beyond || has_more {
            return None;
        }
        for (index, &bound) in bounds.iter().enumerate() {
            let bucket = positive_indexes.iter().position(|&at| at == index as i64);
            buckets.push((bound, bucket.map_or(0.0, |bucket| positive[bucket]), bound));
        }
        // The one above all bounds.
        let rest = positive_indexes.iter().position(|&at| at == bounds.len() as i64);
        buckets.extend(rest.map(|bucket| (f64::INFINITY, positive[bucket], f64::INFINITY)));
    } else {
        if !(-9..=52).contains(&schema)
            || !histogram.custom_values.is_empty()
            || histogram.zero_threshold.is_nan()
            || histogram.zero_threshold < 0.0
        {
            return None;
        }
        for (&index, &count) in negative_indexes.iter().zip(&negative).rev() {
            buckets.push((-exponential_bound(schema, index), count, -exponential_bound(schema, index - 1)));
        }
        if zero != 0.0 {
            buckets.push((-histogram.zero_threshold, zero, histogram.zero_threshold));
        }
        for (&index, &count) in positive_indexes.iter().zip(&positive) {
            buckets.push((exponential_bound(schema, index - 1), count, exponential_bound(schema, index)));
        }
    }
    Some(buckets)
}

fn indexes(spans: &[v1::BucketSpan], buckets: usize) -> Option<Vec<i64>> {
    let total: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    if total != buckets as u64 || spans.iter().skip(1).any(|span| span.offset < 0) {
        return None;
    }
    let mut indexes = Vec::new();
    let mut next = 0;
    for span in spans {
        next += i64::from(span.offset);
        indexes.extend(next..next + i64::from(span.length));
        next += i64::from(span.length);
    }
    Some(indexes)
}

fn cumulative(buckets: &[Bucket], count: Number) -> Vec<(f64, Number)> {
    #[expect(clippy::cast_possible_truncation, reason = "a sum of integers")]
    let number = |observed: f64| match count {
        Number::Int(_) => Number::Int(observed as u64),
        Number::Float(count) => Number::Float(observed.min(count)),
    };
    let mut bounds: Vec<(f64, Number)> = Vec::new();
    let mut observed = 0.0;
    for &(lower, count, upper) in buckets {
        for (bound, more) in [(lower, 0.0), (upper, count)] {
            observed += more;
            match bounds.last_mut() {
                Some((last, value)) if bound <= *last => *value = number(observed),
                _ => bounds.push((bound, number(observed))),
            }
        }
    }
    bounds.retain(|&(bound, _)| bound != f64::INFINITY);
    bounds
}
