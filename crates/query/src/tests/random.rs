//! The engine against the obvious evaluator: random logs, random questions.

use super::{
    log::{Lies, Metric},
    reference::{By, Expected, Filter, Question, Series},
    *,
};
use crate::{exec::accumulator::Value, output::append_value, plan::labels};
use proptest::prelude::*;
use std::collections::BTreeMap;

const START_MS: i64 = 1_767_323_045_678;
const NAMES: [&str; 4] = ["cpu", "cpu_total", "a \"b\\\n", "größe"];
const KEYS: [&str; 4] = ["host", "dc", "ü,*", ""];
const VALUES: [&str; 6] = ["web1", "web2", "", "ü\n\"", "web1 ", "~x"];
const AGGS: [&str; 16] = [
    "avg", "min", "max", "sum", "count", "first", "last", "stddev", "p0", "p50", "p90", "p95", "p99", "p100", "rate",
    "increase",
];

fn metric() -> impl Strategy<Value = Metric> {
    // Times that meet, and are in no order.
    let time = prop_oneof![0_i64..50, 0_i64..5_000, Just(0_i64), Just(1_000_i64)];
    let value = prop_oneof![
        4 => (0_i64..1_000).prop_map(|value| value.to_string()),
        2 => (-1_000_i64..1_000, 1_u32..100).prop_map(|(whole, part)| format!("{whole}.{part}")),
        1 => any::<i64>().prop_map(|value| value.to_string()),
        1 => (-1e6_f64..1e6).prop_map(|value| value.to_string()),
        1 => prop::sample::select(vec!["-0", "0.0", "1e3", "5E-2", "18446744073709551615", "9007199254740993", "0.10", "1.50"])
            .prop_map(str::to_owned),
        1 => prop::sample::select(vec![r#""NaN""#, r#""+Inf""#, r#""-Inf""#, r#""NaN","stale":true"#])
            .prop_map(str::to_owned),
    ];
    let name = prop::sample::select(NAMES.to_vec());
    let tags = prop::collection::vec(prop::sample::select(VALUES.to_vec()), 4);
    // Which tags there are, in which order.
    let order = prop::sample::subsequence(vec![0_usize, 1, 2, 3], 0..=3).prop_shuffle();
    (time, value, name, tags, order).prop_map(|(time, value, name, tags, order)| {
        let tags: Vec<_> = order.into_iter().map(|at| (KEYS[at], tags[at])).collect();
        Metric::new(START_MS + time, name, &value, &tags)
    })
}

fn cuts() -> impl Strategy<Value = Vec<(usize, Lies)>> {
    let lies = prop::sample::select(vec![Lies::Plain, Lies::Indexed, Lies::Compressed]);
    prop::collection::vec((0_usize..30, lies), 0..4)
}

fn filter() -> impl Strategy<Value = Filter> {
    let values = prop::sample::subsequence(VALUES.to_vec(), 1..4);
    (prop::sample::select(KEYS.to_vec()), any::<bool>(), values).prop_map(|(key, must, values)| Filter {
        key: key.into(),
        must,
        values: values.into_iter().map(str::to_owned).collect(),
    })
}

fn question() -> impl Strategy<Value = Question> {
    let names = prop_oneof![
        prop::sample::select(NAMES.to_vec()).prop_map(|name| vec![name]),
        prop::sample::subsequence(NAMES.to_vec(), 1..=4),
    ];
    let range = (-10_i64..2_000, prop_oneof![Just(1_i64), 1_i64..60, 1_i64..6_000]);
    let step = prop_oneof![Just(None), Just(Some(1)), (1_i64..40).prop_map(Some), (100_i64..7_000).prop_map(Some)];
    let by = prop_oneof![
        Just(By::Keys(vec![])),
        Just(By::All),
        prop::sample::subsequence(KEYS[..3].to_vec(), 1..=3)
            .prop_shuffle()
            .prop_map(|keys| By::Keys(keys.into_iter().map(str::to_owned).collect())),
    ];
    let filters = prop::collection::vec(filter(), 0..3);
    (names, range, step, by, filters).prop_map(|(names, (from, length), step_ms, by, filters)| Question {
        names: names.into_iter().map(str::to_owned).collect(),
        from_ms: START_MS + from,
        to_ms: START_MS + from + length,
        step_ms,
        by,
        filters,
    })
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A regular expression for one of these texts and nothing else.
fn pattern(texts: &[String]) -> String {
    let escaped: Vec<_> = texts.iter().map(|text| regex::escape(text)).collect();
    // With one branch that nothing matches it is no list of literals any more.
    let more = if texts.len().is_multiple_of(2) { r"|[^\s\S]" } else { "" };
    encoded(&format!("~{}{more}", escaped.join("|")))
}

impl Question {
    /// As it is requested over HTTP.
    fn parameters(&self, agg: &str) -> String {
        let name = if let [name] = &self.names[..] { encoded(name) } else { pattern(&self.names) };
        let mut parameters = format!("name={name}&from={}&to={}&agg={agg}", self.from_ms, self.to_ms);
        if let Some(step_ms) = self.step_ms {
            parameters += &format!("&step={step_ms}ms");
        }
        match &self.by {
            By::All => parameters += "&by=*",
            By::Keys(keys) if keys.is_empty() => {}
            By::Keys(keys) => {
                let escaped: Vec<_> = keys.iter().map(|key| key.replace(',', "\\,").replace('*', "\\*")).collect();
                parameters += &format!("&by={}", encoded(&escaped.join(",")));
            }
        }
        for Filter { key, must, values } in &self.filters {
            let not = if *must { "" } else { "!" };
            let value = match &values[..] {
                [value] if !value.starts_with('~') => encoded(value),
                values => pattern(values),
            };
            parameters += &format!("&tag.{}{not}={value}", encoded(key));
        }
        parameters
    }
}

fn key(series: &crate::Series) -> Series {
    let mut tags: Vec<_> = labels::tags_of(series.key.tags())
        .map(|(key, value)| (labels::meaning(key).into_owned(), labels::meaning(value).into_owned()))
        .collect();
    tags.sort();
    (labels::meaning(series.key.name()).into_owned(), tags)
}

fn text(value: &Value) -> String {
    let mut text = Vec::new();
    assert!(append_value(&mut text, value));
    String::from_utf8(text).unwrap()
}

fn check(log: &Log, metrics: &[Metric], question: &Question, agg: &str) -> Result<(), TestCaseError> {
    let parameters = question.parameters(agg);
    let result = ask(log, Kind::Query, &parameters, 1).unwrap();
    let expected = question.expectation(metrics, agg);
    prop_assert_eq!(
        result.series.iter().map(key).collect::<Vec<_>>().len(),
        expected.len(),
        "{} {:?}",
        parameters,
        expected
    );
    prop_assert_eq!(result.stats.non_finite, question.non_finite(metrics) as u64, "{}", parameters);
    for series in &result.series {
        let Some(points) = expected.get(&key(series)) else {
            return Err(TestCaseError::fail(format!("{parameters}: {:?} is not expected", key(series))));
        };
        let times: Vec<_> = series.points.iter().map(|point| point.timestamp_ms).collect();
        prop_assert_eq!(&times, &points.keys().copied().collect::<Vec<_>>(), "{}", parameters);
        for (point, expected) in series.points.iter().zip(points.values()) {
            let found = text(&point.value);
            let is_right = match expected {
                Expected::Exactly(text) => found == *text,
                Expected::OneOf(texts) => texts.contains(&found),
                Expected::Nearly(number, within) => (found.parse::<f64>().unwrap() - number).abs() <= *within,
            };
            prop_assert!(is_right, "{}: {} at {} instead of {:?}", parameters, found, point.timestamp_ms, expected);
        }
    }
    // Whatever the number of threads, it is the same to the last digit.
    for threads in 2..4 {
        let other = ask(log, Kind::Query, &parameters, threads).unwrap();
        prop_assert_eq!(written(&result, Format::Csv), written(&other, Format::Csv));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_answers_as_the_obvious_evaluator(
        metrics in prop::collection::vec(metric(), 0..100),
        cuts in cuts(),
        questions in prop::collection::vec(question(), 4),
    ) {
        let log = Log::new(&metrics, &cuts);
        for question in &questions {
            for agg in AGGS {
                check(&log, &metrics, question, agg)?;
            }
        }
    }

    #[test]
    fn the_increases_of_all_buckets_are_that_of_the_whole_time(
        metrics in prop::collection::vec(metric(), 0..100),
        cuts in cuts(),
        question in question(),
    ) {
        let integers: Vec<_> = metrics.into_iter().filter(|metric| metric.value.parse::<i64>().is_ok() && metric.value != "-0").collect();
        let log = Log::new(&integers, &cuts);
        let sums = |question: &Question| {
            let result = ask(&log, Kind::Query, &question.parameters("increase"), 2).unwrap();
            let sum = |series: &crate::Series| series.points.iter().map(|point| text(&point.value).parse::<i128>().unwrap()).sum::<i128>();
            result.series.iter().map(|series| (key(series), sum(series))).collect::<BTreeMap<_, _>>()
        };
        let whole = Question { step_ms: None, ..question.clone() };
        prop_assert_eq!(sums(&question), sums(&whole));
    }

    #[test]
    fn counters_do_not_depend_on_the_order_of_arrival(
        (metrics, shuffled) in prop::collection::vec(metric(), 0..60)
            .prop_flat_map(|metrics| (Just(metrics.clone()), Just(metrics).prop_shuffle())),
        both_cuts in (cuts(), cuts()),
        question in question(),
    ) {
        let [one, other] = [Log::new(&metrics, &both_cuts.0), Log::new(&shuffled, &both_cuts.1)];
        for agg in ["rate", "increase"] {
            let [found, expected] = [(&one, 1), (&other, 3)].map(|(log, threads)| {
                written(&ask(log, Kind::Query, &question.parameters(agg), threads).unwrap(), Format::Csv)
            });
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn raw_points_are_what_was_stored(
        metrics in prop::collection::vec(metric(), 0..100),
        cuts in cuts(),
        question in question(),
        points in prop::option::of(1_usize..20),
    ) {
        let log = Log::new(&metrics, &cuts);
        let question = Question { step_ms: None, ..question };
        let mut expected = question.raw(&metrics);
        let mut parameters = question.parameters("raw");
        if matches!(&question.by, By::Keys(keys) if keys.is_empty()) {
            // Raw points without `by` are by all tags.
            expected = Question { by: By::All, ..question.clone() }.raw(&metrics);
        }
        if let Some(points) = points {
            parameters += &format!("&points={points}");
            expected.values_mut().for_each(|all| drop(all.drain(..all.len().saturating_sub(points))));
        }
        for threads in 1..4 {
            let result = ask(&log, Kind::Query, &parameters, threads).unwrap();
            let stored = |series: &crate::Series| {
                series.points.iter().map(|point| (point.timestamp_ms, text(&point.value))).collect::<Vec<_>>()
            };
            prop_assert_eq!(result.stats.non_finite, question.non_finite(&metrics) as u64);
            let found: BTreeMap<_, _> = result.series.iter().map(|series| (key(series), stored(series))).collect();
            prop_assert_eq!(&found, &expected);
        }
    }

    #[test]
    fn discovery_lists_what_there_is(metrics in prop::collection::vec(metric(), 0..60), cuts in cuts(), question in question()) {
        let log = Log::new(&metrics, &cuts);
        let question = Question { by: By::All, step_ms: None, ..question };
        let series: Vec<_> = question.series(&metrics).into_iter().collect();
        let parameters = question.parameters("avg").replace("&agg=avg", "").replace("&by=*", "");
        let mut found: Vec<_> = ask(&log, Kind::Series, &parameters, 2).unwrap().series.iter().map(key).collect();
        found.sort();
        prop_assert_eq!(&found, &series);
        let mut names: Vec<_> = series.iter().map(|(name, _)| name.clone()).collect();
        names.dedup();
        let found: Vec<_> = ask(&log, Kind::Names, &parameters, 2).unwrap().series.iter().map(|series| key(series).0).collect();
        prop_assert_eq!(found.len(), names.len());
        for wanted in KEYS {
            let mut values: Vec<_> = series.iter().flat_map(|(_, tags)| tags).filter(|(key, _)| key == wanted).map(|(_, value)| value.clone()).collect();
            values.sort();
            values.dedup();
            let result = ask(&log, Kind::TagValues(wanted.into()), &parameters, 2).unwrap();
            let json: serde_json::Value = serde_json::from_str(&written(&result, Format::Json)).unwrap();
            let mut found: Vec<_> = json["values"].as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect();
            found.sort();
            prop_assert_eq!(found, values);
        }
    }
}
