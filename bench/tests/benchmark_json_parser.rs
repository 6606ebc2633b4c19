//! All parsers agree where they should, what is refused is refused by all, and the program's exit codes.
#![expect(clippy::unwrap_used, reason = "all of it is test, the parts outside #[test] functions too")]

use metricstream_bench::{
    body::{self, Body},
    parsers::{self, BatchParser, Input, NAIVE, Reading},
};
use proptest::prelude::*;
use serde_json::Value;
use std::{
    io::Write,
    process::{Command, Output},
};

/// Compares all on `batches`; every reading with the name of its parser.
fn readings(batches: Vec<Body>) -> Vec<(&'static str, Reading)> {
    let mut candidates = parsers::candidates();
    let input = Input { name: "test".to_owned(), batches };
    let readings = parsers::compare(&input, &mut candidates).unwrap();
    candidates.iter().map(|candidate| candidate.name()).zip(readings).collect()
}

fn assert_all_agree(batches: Vec<Body>) {
    for (parser, reading) in readings(batches) {
        assert_eq!(reading, Reading::Agrees, "{parser}");
    }
}

fn batch(metric: &str) -> Body {
    Body { json: format!("{{\"metrics\":[{metric}]}}"), metrics: 1 }
}

#[test]
fn all_agree_on_everything_that_is_timed() {
    let inputs = parsers::built_in();
    assert!(inputs.iter().any(|input| input.name == "node_exporter" && input.metrics() == 12_168));
    for input in inputs {
        assert_all_agree(input.batches);
    }
}

#[test]
fn all_agree_on_forms_that_are_equal() {
    assert_all_agree(vec![
        batch(r#"{"name":"a","value":1}"#),
        batch(r#"{"value":-0.0,"name":"a","tags":{}}"#),
        batch("{ \"name\" : \"a\" ,\r\n\t\"value\" : 1E5 , \"tags\" : { \"k\" : \"v\" } }"),
        batch(r#"{"name":"\ud83d\ude00\u0000\/","value":18446744073709551615,"tags":{"":"\\\""}}"#),
        batch(r#"{"name":"a","value":1,"type":"summary","timestamp":0,"unit":[{"x":null}]}"#),
    ]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn all_agree_on_made_up_batches(seed: u64, metrics in 1_u32..=120) {
        assert_all_agree(body::generate(seed, 2, metrics));
    }

    #[test]
    fn all_agree_on_any_text_and_any_number(
        name in text_without_braces(1..60),
        value in prop::num::f64::NORMAL | prop::num::f64::ZERO,
        tags in prop::collection::btree_map(text_without_braces(0..12), text_without_braces(0..40), 0..40),
    ) {
        let metric = serde_json::json!({ "name": name, "value": value, "tags": tags });
        assert_all_agree(vec![batch(&metric.to_string())]);
        let pretty = serde_json::to_string_pretty(&serde_json::json!({ "metrics": [metric] })).unwrap();
        assert_all_agree(vec![Body { json: pretty, metrics: 1 }]);
    }
}

/// Any characters, those that need an escape too, but for braces: a brace in a string is what the naive parser cannot
/// read.
fn text_without_braces(characters: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let character = prop_oneof![any::<char>(), prop::char::range('\0', '\x7f')].prop_map(|character| match character {
        '{' | '}' => '_',
        _ => character,
    });
    prop::collection::vec(character, characters).prop_map(String::from_iter)
}

#[test]
fn what_breaks_a_rule_is_refused_by_all_but_the_naive_and_the_bare_tape() {
    let long_name = format!(r#"{{"name":"{}","value":1}}"#, "n".repeat(256));
    let many_tags: Vec<_> = (0..129).map(|tag| format!("\"{tag}\":\"\"")).collect();
    let many_tags = format!(r#"{{"name":"a","value":1,"tags":{{{}}}}}"#, many_tags.join(","));
    let mut wide: Vec<_> = (0..40).map(|tag| format!("\"{tag}\":\"\"")).collect();
    wide.push(r#""3\u0037":"""#.to_owned());
    let repeated_late = format!(r#"{{"name":"a","value":1,"tags":{{{}}}}}"#, wide.join(","));
    for metric in [
        "{}",
        r#"{"name":"a"}"#,
        r#"{"name":"","value":1}"#,
        r#"{"name":"a","value":"1"}"#,
        r#"{"name":"a","value":1,"type":"guage"}"#,
        r#"{"name":"a","value":1,"timestamp":1.5}"#,
        r#"{"name":"a","value":1,"tags":{"k":1}}"#,
        r#"{"name":"a","value":1,"tags":{"k":"","k":""}}"#,
        r#"{"name":"a","value":1,"value":1}"#,
        r#"{"name":"a","value":1}}"#,
        &long_name,
        &many_tags,
        &repeated_late,
    ] {
        let body = batch(metric);
        for candidate in &mut parsers::candidates() {
            if ![NAIVE, "simd-json bare tape"].contains(&candidate.name()) {
                assert!(candidate.parse(body.json.as_bytes()).is_err(), "{} takes {metric}", candidate.name());
            }
        }
    }
}

#[test]
fn a_parser_can_go_on_after_a_refusal() {
    let good = &body::generate(1, 1, 3)[0];
    for mut candidate in parsers::candidates() {
        let before = candidate.samples(good.json.as_bytes()).unwrap();
        assert!(candidate.parse(b"{\"metrics\":[{").is_err(), "{}", candidate.name());
        assert_eq!(candidate.samples(good.json.as_bytes()).unwrap(), before);
    }
}

/// Reads like the one it wraps, but takes every name for another.
struct Liar(Box<dyn BatchParser>);

impl BatchParser for Liar {
    fn name(&self) -> &'static str {
        "liar"
    }

    fn parse(&mut self, body: &[u8]) -> Result<usize, String> {
        self.0.parse(body)
    }

    fn samples(&mut self, body: &[u8]) -> Result<Option<Vec<parsers::Sample>>, String> {
        let mut samples = self.0.samples(body)?.unwrap();
        samples[0].name.push('x');
        Ok(Some(samples))
    }
}

#[test]
fn a_wrong_reading_is_found() {
    let mut candidates = parsers::candidates();
    let liar = Box::new(Liar(parsers::candidates().remove(0)));
    candidates.push(liar);
    let input = Input { name: "test".to_owned(), batches: body::generate(1, 2, 3) };
    let readings = parsers::compare(&input, &mut candidates).unwrap();
    assert!(matches!(&readings[candidates.len() - 1], Reading::Differs(what) if what.contains("metrics[0]")));
    let name_in_tags = batch(r#"{"tags":{"name":"b"},"name":"a","value":1}"#);
    let wrong: Vec<_> =
        self::readings(vec![name_in_tags]).into_iter().filter(|(_, reading)| *reading != Reading::Agrees).collect();
    assert!(matches!(&wrong[..], [(NAIVE, Reading::Differs(_))]), "{wrong:?}");
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_benchmark_json_parser")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_smoke_run_shows_every_parser_on_every_input() {
    let output = run(&["--smoke", "--format", "json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let inputs = report["inputs"].as_array().unwrap();
    assert_eq!(inputs.len(), parsers::built_in().len());
    for input in inputs {
        let rows = input["parsers"].as_array().unwrap();
        assert_eq!(rows.len(), parsers::candidates().len());
        for row in rows {
            assert!(row["timing"]["ns_per_metric"].as_f64().unwrap() > 0.0, "{row}");
        }
        let allocations = |name: &str| {
            let row = rows.iter().find(|row| row["parser"] == name).unwrap();
            row["timing"]["allocations_per_metric"].as_f64().unwrap()
        };
        assert_eq!(allocations("ours"), 0.0);
        assert_eq!(allocations("ours + encode"), 0.0);
        assert!(allocations(NAIVE) > 1.0, "the allocator counts");
    }
}

#[test]
fn a_file_is_measured_and_refusals_of_a_library_are_printed() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, r#"{{"metrics":[{{"name":"a","value":1,"timestamp":"2026-01-02T03:04:05Z"}}]}}"#).unwrap();
    let output = run(&["--smoke", file.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(table.contains("1 metrics in 1 batches"), "{table}");
    assert!(
        table.lines().any(|line| line.starts_with("serde_json") && line.contains("refuses it: batch 1")),
        "{table}"
    );
}

#[test]
fn wrong_use_ends_with_2() {
    let mut refused = tempfile::NamedTempFile::new().unwrap();
    writeln!(refused, r#"{{"metrics":[{{"name":"a"}}]}}"#).unwrap();
    let refused = refused.path().to_str().unwrap();
    for (arguments, says) in [
        (&["/nonexistent.ndjson"][..], "/nonexistent.ndjson"),
        (&[refused], "metrics[0].value: missing"),
        (&["--rounds", "0"], "--rounds"),
        (&["--smoke", "--gate"], "--gate"),
        (&["--fast"], "--fast"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(says), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn the_gate_wants_twice_the_naive_parser() {
    let timing =
        |ratio| parsers::Timing { ns: 1.0, ns_min: 1.0, ns_max: 1.0, gb_per_s: 1.0, allocations: Some(0.0), ratio };
    let table = |ratio: Option<f64>| parsers::Table {
        input: "x".to_owned(),
        batches: 1,
        metrics: 1,
        bytes: 1,
        rows: vec![
            parsers::Row { parser: "ours", reading: Reading::Agrees, timing: Some(timing(1.0)) },
            parsers::Row { parser: NAIVE, reading: Reading::Agrees, timing: ratio.map(timing) },
        ],
    };
    assert!(parsers::gate(&[table(Some(2.0)), table(Some(7.5))]).0);
    let (passed, lines) = parsers::gate(&[table(Some(7.5)), table(Some(1.99))]);
    assert!(!passed);
    assert_eq!(lines.lines().filter(|line| line.contains("TOO SLOW")).count(), 1, "{lines}");
    assert!(!parsers::gate(&[table(None)]).0, "no ratio is no pass");
}
