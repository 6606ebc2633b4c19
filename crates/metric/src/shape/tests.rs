use super::*;
use crate::{Parser, Scratch};

/// Reads metrics one after the other, each as a batch of its own, and returns which of them fitted a shape.
fn fits(metrics: &[&str]) -> Vec<bool> {
    let bounds = Bounds { name_bytes_limit: 40, tag_bytes_limit: 40, ..Bounds::default() };
    let mut scratch = Scratch::new(&bounds);
    let mut fits = Vec::new();
    for metric in metrics {
        let body = format!(r#"{{"metrics":[{metric}]}}"#);
        let is_read = Parser::new(body.as_bytes(), bounds, &mut scratch).next_metric().is_ok_and(|read| read.is_some());
        fits.push(is_read && scratch.misses() == 0);
    }
    fits
}

/// Returns whether the second metric fits the shape of the first.
fn is_fit(first: &str, second: &str) -> bool {
    fits(&[first, second]) == [false, true]
}

const GAUGE: &str = r#"{"name":"cpu_usage","value":75.5,"type":"gauge","tags":{"host":"web1","zone":"eu"}}"#;

#[test]
fn a_metric_fits_another_whose_slots_differ() {
    for (from, to) in [
        ("cpu_usage", "c"),
        ("cpu_usage", "a_name_of_exactly_forty_bytes_in_all_ok_"),
        ("cpu_usage", "über"),
        ("75.5", "0"),
        ("75.5", "-0.25"),
        ("75.5", "1.5e+300"),
        ("75.5", "1.6104e-05"),
        ("75.5", "0E9"),
        ("75.5", "123456789.12e99"),
        ("75.5", "12345678901234567890123.456"),
        ("web1", ""),
        ("web1", "sixteen bytes of"),
        ("web1", "a value of more than thirty-two bytes"),
        ("\"eu\"", "\"日本\""),
    ] {
        assert!(is_fit(GAUGE, &GAUGE.replace(from, to)), "{from} {to}");
    }
}

#[test]
fn a_metric_does_not_fit_where_a_literal_differs() {
    for (from, to) in [
        ("gauge", "counter"),
        ("\"zone\"", "\"zona\""),
        ("\":75", "\": 75"),
        ("\"value\"", "\"valu\\u0065\""),
        ("}}", "},\"more\":1}"),
        ("}}", "} }"),
        ("cpu_usage", "cpu\\u005fusage"),
        ("web1", "web\\n"),
    ] {
        assert!(!is_fit(GAUGE, &GAUGE.replace(from, to)), "{from} {to}");
    }
}

#[test]
fn contents_that_the_grammar_refuses_fit_no_shape() {
    let long = "x".repeat(41);
    for (from, to) in [
        ("cpu_usage", ""),
        ("cpu_usage", &long),
        ("web1", &long),
        ("web1", "\u{1}"),
        ("75.5", "075.5"),
        ("75.5", "75."),
        ("75.5", ".5"),
        ("75.5", "1e999"),
        ("75.5", "1e"),
        ("75.5", "1e+"),
        ("75.5", "1e5.5"),
        ("75.5", "0.e5"),
        ("75.5", "00e5"),
        ("75.5", "7 5"),
        ("75.5", "\"75.5\""),
        ("75.5", "null"),
    ] {
        let metric = GAUGE.replace(from, to);
        let body = format!(r#"{{"metrics":[{GAUGE},{metric}]}}"#);
        let mut scratch = Scratch::new(&Bounds::default());
        assert!(!is_fit(GAUGE, &metric), "{metric}");
        let bounds = Bounds { name_bytes_limit: 40, tag_bytes_limit: 40, ..Bounds::default() };
        let mut parser = Parser::new(body.as_bytes(), bounds, &mut scratch);
        assert!(parser.next_metric().is_ok());
        assert!(parser.next_metric().is_err(), "{metric}");
    }
}

#[test]
fn timestamps_fit_in_digits_and_as_text() {
    let digits = GAUGE.replace("\"type\"", "\"timestamp\":1767323045678,\"type\"");
    assert!(is_fit(&digits, &digits));
    assert!(is_fit(&digits, &digits.replace("5678", "9999")));
    assert!(is_fit(&digits, &digits.replace("1767323045678", "5")));
    // Seconds, a fraction, and more than the calendar has.
    for wrong in ["1767323045", "1767323045678.5", "17673230456780000", "-", "01767323045678"] {
        assert!(!is_fit(&digits, &digits.replace("1767323045678", wrong)), "{wrong}");
    }
    let text = GAUGE.replace("\"type\"", "\"timestamp\":\"2026-01-02T03:04:05.678Z\",\"type\"");
    assert!(is_fit(&text, &text.replace("05.678Z", "06+01:00")));
    assert!(!is_fit(&text, &text.replace("05.678Z", "66Z")));
    assert!(!is_fit(&text, &digits));
}

#[test]
fn a_metric_with_more_than_a_shape_holds_is_read_by_the_grammar() {
    let tags = |count| (0..count).map(|tag| format!(r#""k{tag}":"v""#)).collect::<Vec<_>>().join(",");
    let metric = |tags: &str| format!(r#"{{"name":"n","value":1,"tags":{{{tags}}}}}"#);
    assert!(is_fit(&metric(&tags(21)), &metric(&tags(21))));
    assert!(!is_fit(&metric(&tags(22)), &metric(&tags(22))));
    let long = format!(r#""{}":"v""#, "k".repeat(700));
    assert!(!is_fit(&metric(&long), &metric(&long)));
}

#[test]
fn more_shapes_than_are_kept_replace_the_oldest() {
    let metrics: Vec<String> =
        (0..3 * SHAPES_MAX).map(|key| format!(r#"{{"name":"n","value":1,"tags":{{"k{key}":"v"}}}}"#)).collect();
    let twice: Vec<&str> = metrics.iter().flat_map(|metric| [metric.as_str(); 2]).collect();
    assert!(fits(&twice).chunks(2).all(|pair| pair == [false, true]));
}

#[test]
fn a_name_is_expected_with_the_shape_that_it_had() {
    // More shapes in turn than any of them has successors.
    let metrics: Vec<String> = (0..3 * SUCCESSORS)
        .map(|key| format!(r#"{{"name":"n{key}_of_some_bytes","value":1,"tags":{{"k{key}":"v"}}}}"#))
        .collect();
    let twice: Vec<&str> = metrics.iter().chain(&metrics).map(String::as_str).collect();
    let fits = fits(&twice);
    let (first, second) = fits.split_at(metrics.len());
    assert!(!first.contains(&true));
    assert!(second.iter().filter(|&&fit| fit).count() >= metrics.len() - 1, "two names of one hash at most: {fits:?}");
}

#[test]
fn speculation_pauses_when_nothing_repeats_and_resumes() {
    let metric = |key: usize| format!(r#"{{"name":"n","value":1,"tags":{{"k{key}":"v"}}}}"#);
    let strange: Vec<String> = (0..1_000).map(metric).collect();
    let mut metrics: Vec<&str> = strange.iter().map(String::as_str).collect();
    assert!(!fits(&metrics).contains(&true));
    metrics.extend([GAUGE; 3 * RETRY_EVERY as usize]);
    let fits = fits(&metrics);
    assert!(fits[fits.len() - RETRY_EVERY as usize..].iter().all(|&fit| fit));
}
