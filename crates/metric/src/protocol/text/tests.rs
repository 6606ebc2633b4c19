use proptest::prelude::*;

use super::*;
use crate::{Decoded, Line};

mod cached;
mod reference;

const ARRIVAL_MS: i64 = 1_767_323_045_678;
pub(super) const PROMETHEUS: Options<'_> = Options { format: Format::Prometheus, labels: &[] };
pub(super) const OPEN_METRICS: Options<'_> = Options { format: Format::OpenMetrics, labels: &[] };

type Decoding = (Result<(), DecodeError>, Vec<String>, Decoded);

pub(super) fn decode_with(text: &mut Text, body: &[u8], options: &Options<'_>) -> Decoding {
    let mut out = vec![0; 4096 + 400 * body.len()];
    let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
    let result = text.decode(body, options, &mut sink);
    let decoded = sink.decoded();
    let lines: Vec<_> = out[..decoded.bytes].split_inclusive(|&byte| byte == b'\n').collect();
    let lines = lines.into_iter().map(|line| {
        let line = line.strip_suffix(b"\n").unwrap();
        Line::parse(line).unwrap_or_else(|error| panic!("{error:?}: {}", line.escape_ascii()));
        String::from_utf8(line.to_vec()).unwrap()
    });
    (result, lines.collect(), decoded)
}

pub(super) fn decode(body: &[u8], options: &Options<'_>) -> Decoding {
    decode_with(&mut Text::new(Bounds::default()), body, options)
}

/// Returns the text that follows the name in the only line of `body`, without the name if that is `m`, and the
/// timestamp if it is not that of arrival.
fn only(body: &str, options: &Options<'_>) -> String {
    let (result, lines, decoded) = decode(body.as_bytes(), options);
    assert_eq!((result, decoded.rejected()), (Ok(()), 0), "{body}");
    let [line] = &lines[..] else { panic!("{body}: {lines:?}") };
    line[r#"{"timestamp":""#.len()..].replacen("2026-01-02T03:04:05.678Z", "", 1).replacen(r#"","name":""#, "", 1)
}

fn rejected(body: &str, options: &Options<'_>) -> Vec<Reject> {
    let (result, lines, decoded) = decode(body.as_bytes(), options);
    assert_eq!((result, lines), (Ok(()), vec![]), "{body}");
    Reject::ALL.iter().copied().filter(|&reason| decoded.rejected[reason as usize] > 0).collect()
}

#[test]
fn samples_of_the_exposition_format_are_read() {
    for (body, line) in [
        ("m 1\n", r#"m","value":1,"type":"untyped","tags":{}}"#),
        ("m{} 1", r#"m","value":1,"type":"untyped","tags":{}}"#),
        ("\t m \t 1 \t\n", r#"m","value":1,"type":"untyped","tags":{}}"#),
        ("m 1\r\n", r#"m","value":1,"type":"untyped","tags":{}}"#),
        (":a:b_9 1\n", r#":a:b_9","value":1,"type":"untyped","tags":{}}"#),
        ("m{a=\"x\"}1\n", r#"m","value":1,"type":"untyped","tags":{"a":"x"}}"#),
        (
            "m { a = \"x\" , b=\"\\\\\\\"\\n\\t\", } 1\n",
            r#"m","value":1,"type":"untyped","tags":{"a":"x","b":"\\\"\n\\t"}}"#,
        ),
        ("m{a=\"\",b=\"é}{,=\"} 1\n", r#"m","value":1,"type":"untyped","tags":{"b":"é}{,="}}"#),
        ("{\"my.metric\",\"a b\"=\"x\"} 1\n", r#"my.metric","value":1,"type":"untyped","tags":{"a b":"x"}}"#),
        ("{a=\"x\",\"m\\\"\\n\"} 1\n", r#"m\"\n","value":1,"type":"untyped","tags":{"a":"x"}}"#),
        ("m 1 1395066363000\n", r#"2014-03-17T14:26:03.000Zm","value":1,"type":"untyped","tags":{}}"#),
        ("m 1\t-1 \n", r#"1969-12-31T23:59:59.999Zm","value":1,"type":"untyped","tags":{}}"#),
        (
            "m{le=\"1\",quantile=\"1e3\"} 1\n",
            r#"m","value":1,"type":"untyped","tags":{"le":"1.0","quantile":"1000.0"}}"#,
        ),
    ] {
        assert_eq!(only(body, &PROMETHEUS), line, "{body}");
    }
}

#[test]
fn samples_of_openmetrics_are_read() {
    for (body, line) in [
        ("m 1\n# EOF\n", r#"m","value":1,"type":"untyped","tags":{}}"#),
        ("m{a=\"x\"} 1\n# EOF", r#"m","value":1,"type":"untyped","tags":{"a":"x"}}"#),
        (
            "m{a=\"x\",} 1 1395066363.0015\n# EOF\n",
            r#"2014-03-17T14:26:03.001Zm","value":1,"type":"untyped","tags":{"a":"x"}}"#,
        ),
        ("{\"m.m\"} 1 # {} 2\n# EOF\n", r#"m.m","value":1,"type":"untyped","tags":{}}"#),
        (
            "# comment\n\nm 1 0 # {a=\"}\"} 2 3.5\n# EOF\n",
            r#"1970-01-01T00:00:00.000Zm","value":1,"type":"untyped","tags":{}}"#,
        ),
    ] {
        assert_eq!(only(body, &OPEN_METRICS), line, "{body}");
    }
}

#[test]
fn numbers_of_json_keep_their_digits() {
    for (value, text) in [
        ("1e10", "1e10"),
        ("-0.50", "-0.50"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("1.800784e+06", "1.800784e+06"),
        ("+1", "1"),
        ("1.", "1"),
        (".5", "0.5"),
        ("007", "7"),
        ("+1.5E3", "1500"),
        ("NaN", r#""NaN""#),
        ("nan", r#""NaN""#),
        ("+Inf", r#""+Inf""#),
        ("inf", r#""+Inf""#),
        ("-Infinity", r#""-Inf""#),
    ] {
        let expected = format!(r#"m","value":{text},"type":"untyped","tags":{{}}}}"#);
        assert_eq!(only(&format!("m {value}\n"), &PROMETHEUS), expected);
        assert_eq!(only(&format!("m {value}\n# EOF\n"), &OPEN_METRICS), expected);
    }
    for value in ["0x1p-2", "1_000", "1e999", "-1e999", "+1e999", "+NaN", "in", "--1", "1e", ".", "e5", "١", "x"] {
        assert_eq!(rejected(&format!("m {value}"), &PROMETHEUS), [Reject::Value], "{value}");
    }
}

#[test]
fn lines_that_do_not_parse_are_rejected() {
    for (line, reason) in [
        ("1m 1", Reject::Syntax),
        ("m", Reject::Syntax),
        ("m+1", Reject::Syntax),
        ("m.n 1", Reject::Syntax),
        ("m{a=\"x} 1", Reject::Syntax),
        ("m{a=\"x\\\"} 1", Reject::Syntax),
        ("m{a=x} 1", Reject::Syntax),
        ("m{a} 1", Reject::Syntax),
        ("m{a:b=\"x\"} 1", Reject::Syntax),
        ("m{1a=\"x\"} 1", Reject::Syntax),
        ("m{,} 1", Reject::Syntax),
        ("m{a=\"x\",,} 1", Reject::Syntax),
        ("m{a=\"x\" b=\"y\"} 1", Reject::Syntax),
        ("m{\"n\"} 1", Reject::Syntax),
        ("{\"m\",\"n\"} 1", Reject::Syntax),
        ("m{a=\"x\"", Reject::Syntax),
        ("m 1 2 3", Reject::Syntax),
        ("m 1 1.5", Reject::Syntax),
        ("m 1 # {} 1", Reject::Syntax),
        ("{} 1", Reject::Name),
        ("{\"\"} 1", Reject::Name),
        ("{a=\"x\"} 1", Reject::Name),
        ("m{\"\"=\"x\"} 1", Reject::Tags),
        ("m{__name__=\"x\"} 1", Reject::Tags),
        ("m{a=\"x\",a=\"y\"} 1", Reject::Tags),
        ("m{}", Reject::Value),
        ("m 1 99999999999999999999", Reject::Timestamp),
        ("m 1 9999999999999999", Reject::Timestamp),
    ] {
        assert_eq!(rejected(line, &PROMETHEUS), [reason], "{line}");
    }
    for (line, reason) in [
        (" m 1", Reject::Syntax),
        ("m  1", Reject::Syntax),
        ("m\t1", Reject::Syntax),
        ("m 1 ", Reject::Syntax),
        ("m{}1", Reject::Syntax),
        ("m {} 1", Reject::Value),
        ("m{ a=\"x\"} 1", Reject::Syntax),
        ("m 1\r", Reject::Value),
        ("m 1 x", Reject::Syntax),
        ("m 1 NaN", Reject::Timestamp),
        ("m 1 1e20", Reject::Timestamp),
        ("m 1 # {}", Reject::Syntax),
        ("m 1 # {} x", Reject::Syntax),
        ("m 1 # {} 1 x", Reject::Syntax),
        ("m 1 # {} 1 1 ", Reject::Syntax),
        ("m 1 # {a} 1", Reject::Syntax),
        ("m 1 # {\"a\"} 1", Reject::Syntax),
        ("m 1 #", Reject::Syntax),
    ] {
        assert_eq!(rejected(&format!("{line}\n# EOF\n"), &OPEN_METRICS), [reason], "{line}");
    }
}

#[test]
fn a_rejected_line_is_named_and_the_others_are_kept() {
    let body = b"# TYPE a gauge\na 1\n\n  b{} x \na{l=\"\xff\"} 2\na 3\n";
    let (result, lines, decoded) = decode(body, &PROMETHEUS);
    assert_eq!(result, Ok(()));
    assert_eq!((lines.len(), decoded.rejected()), (2, 2));
    let first = decoded.first_rejected.unwrap();
    assert_eq!((first.reason, first.at), (Reject::Value, 4));
    assert_eq!(first.element(body), Some(&b"  b{} x "[..]));
    assert_eq!(decoded.rejected[Reject::Tags as usize], 1);
}

fn types(body: &str, options: &Options<'_>) -> Vec<String> {
    let (result, lines, decoded) = decode(body.as_bytes(), options);
    assert_eq!((result, decoded.rejected()), (Ok(()), 0), "{body}");
    let name_and_type = |line: &String| {
        let line = Line::parse(line.as_bytes()).unwrap();
        format!("{} {}", std::str::from_utf8(line.name).unwrap(), line.kind.name())
    };
    lines.iter().map(name_and_type).collect()
}

#[test]
fn samples_have_the_type_of_their_family() {
    let body = "none 1\n# HELP c # TYPE c gauge\n# TYPE c counter\nc 1\nc_total 1\n#TYPE  g\tGauge \ng 1\nc 2\n\
        # TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\nh 1\nh_created 1\n\
        # TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 1\ns_count 1\ns_bucket 1\nh_sum 2\n\
        # TYPE u untyped\nu 1\n# TYPE x nothing\nx 1\n# TYPE \"q.q\" counter\n{\"q.q\"} 1\n\
        # TYPE h_count gauge\nh_count 3\n\
        # TYPE c gauge\nc 3\n# TYPE nothing\n# TYPE\n# TYPE \"x counter\nx 2\n";
    let expected = [
        "none untyped",
        "c counter",
        "c_total untyped",
        "g gauge",
        "c counter",
        "h_bucket histogram",
        "h_sum histogram",
        "h_count histogram",
        "h histogram",
        "h_created untyped",
        "s summary",
        "s_sum summary",
        "s_count summary",
        "s_bucket untyped",
        "h_sum histogram",
        "u untyped",
        "x untyped",
        "q.q counter",
        "h_count gauge",
        "c gauge",
        "x untyped",
    ];
    assert_eq!(types(body, &PROMETHEUS), expected);
}

#[test]
fn samples_have_the_type_of_their_openmetrics_family() {
    let body = "# TYPE c counter\nc_total 1 # {trace=\"a\"} 1 2\nc_created 1.5\n\
        # TYPE g gauge\ng 1\ng_created 1\n# TYPE h histogram\nh_bucket{le=\"1.0\"} 1 # {} 0.5\nh_count 1\nh_created 2\n\
        # TYPE gh gaugehistogram\ngh_bucket{le=\"1.0\"} 1\ngh_gsum 1\ngh_gcount 1\ngh_sum 1\n\
        # TYPE s summary\ns_sum 1\ns_created 2\n# TYPE i info\ni_info{a=\"b\"} 1\n# TYPE ss stateset\nss{ss=\"a\"} 1\n\
        # UNIT s seconds\n# HELP s text\n# TYPE u unknown\nu 1\nc_total 2\n# EOF\n";
    let expected = [
        "c_total counter",
        "g gauge",
        "g_created untyped",
        "h_bucket histogram",
        "h_count histogram",
        "gh_bucket histogram",
        "gh_gsum histogram",
        "gh_gcount histogram",
        "gh_sum untyped",
        "s_sum summary",
        "i_info gauge",
        "ss gauge",
        "u untyped",
        "c_total counter",
    ];
    assert_eq!(types(body, &OPEN_METRICS), expected);
    let (_, _, decoded) = decode(body.as_bytes(), &OPEN_METRICS);
    assert_eq!(decoded.skipped[Skip::Exemplar as usize], 2);
    assert_eq!(decoded.skipped[Skip::Created as usize], 3);
}

#[test]
fn the_exemplar_of_a_rejected_sample_is_not_counted() {
    for timestamp in ["0.01E14", "99999999999999", "251354606.49E68"] {
        let body = format!("h_bucket 1 {timestamp} # {{a=\"b\"}} 1\n# EOF\n");
        let (_, lines, decoded) = decode(body.as_bytes(), &OPEN_METRICS);
        assert_eq!((lines.len(), decoded.rejected[Reject::Timestamp as usize]), (0, 1), "{timestamp}");
        assert_eq!(decoded.skipped[Skip::Exemplar as usize], 0, "{timestamp}");
    }
}

#[test]
fn openmetrics_must_end_with_eof() {
    for body in [
        "",
        "m 1\n",
        "m 1\n# EOF\n\n",
        "m 1 # EOF\n",
        "m 1\n# EOF\r\n",
        "# EOF\nm 1\n",
        "# EOF\nm 1\n# EOF\n",
        "# EOF\n# EOF",
    ] {
        let (result, lines, decoded) = decode(body.as_bytes(), &OPEN_METRICS);
        assert!(matches!(result, Err(DecodeError::Malformed { .. })), "{body}");
        assert_eq!((lines.len(), decoded.rejected()), (0, 0), "{body}");
    }
    for body in ["# EOF", "# EOF\n"] {
        assert_eq!(decode(body.as_bytes(), &OPEN_METRICS).0, Ok(()));
    }
    assert_eq!(only("# EOF\nm 1\n", &PROMETHEUS), r#"m","value":1,"type":"untyped","tags":{}}"#);
}

#[test]
fn labels_of_the_request_replace_those_of_the_body() {
    let label = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let labels = [label("job", "j\"1"), label("gone", ""), label("instance", "i")];
    let options = Options { labels: &labels, ..PROMETHEUS };
    let line = only("m{a=\"x\",job=\"y\",gone=\"z\",instance=\"\"} 1\n", &options);
    assert_eq!(line, r#"m","value":1,"type":"untyped","tags":{"job":"j\"1","instance":"i","a":"x"}}"#);

    let bounds = Bounds { tags_limit: 1, ..Bounds::default() };
    let (result, _, decoded) = decode_with(&mut Text::new(bounds), b"m 1\n# m\nx\n", &options);
    assert_eq!((result, decoded.metrics), (Ok(()), 0));
    assert_eq!(decoded.rejected[Reject::Tags as usize], 2);
}

#[test]
fn bounds_reject_their_line_only() {
    let bounds = Bounds { name_bytes_limit: 3, tags_limit: 1, tag_bytes_limit: 3, ..Bounds::default() };
    let body = b"abcd 1\nabc{a=\"x\",b=\"y\"} 1\nabc{a=\"wxyz\"} 1\nabc{a=\"xyz\"} 1\n{\"abcd\"} 1\n";
    let (_, lines, decoded) = decode_with(&mut Text::new(bounds), body, &PROMETHEUS);
    assert_eq!(lines.len(), 1);
    assert_eq!(decoded.rejected[Reject::Name as usize], 2);
    assert_eq!(decoded.rejected[Reject::Tags as usize], 2);
}

#[test]
fn the_bounds_of_a_body_refuse_all_of_it() {
    let mut out = vec![0; 64];
    let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
    let mut text = Text::new(Bounds::default());
    assert_eq!(text.decode(b"m 1\n", &PROMETHEUS, &mut sink), Err(DecodeError::TooLarge));
    let body = b"x\n".repeat(crate::limits::PROTOCOL_METRICS_MAX + 1);
    let mut sink = LineSink::new(&mut [], ARRIVAL_MS);
    assert_eq!(text.decode(&body, &PROMETHEUS, &mut sink), Err(DecodeError::TooManyMetrics));
}

#[test]
fn families_beyond_the_bound_type_what_follows_them() {
    use std::fmt::Write;
    let mut body = String::new();
    for index in 0..crate::limits::TEXT_FAMILIES_MAX + 2 {
        writeln!(body, "# TYPE f{index} counter").unwrap();
    }
    let last = crate::limits::TEXT_FAMILIES_MAX + 1;
    writeln!(body, "f{last} 1\nf0 1\nf{} 1", last - 1).unwrap();
    let mut text = Text::new(Bounds::default());
    let mut out = vec![0; 4096];
    let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
    text.decode(body.as_bytes(), &PROMETHEUS, &mut sink).unwrap();
    let bytes = sink.decoded().bytes;
    let kinds: Vec<_> = out[..bytes]
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| Line::parse(line).unwrap().kind.name())
        .collect();
    assert_eq!(kinds, ["counter", "counter", "untyped"]);
    let kept_bytes = |text: &Text| text.kept_bytes() - text.cached.kept_bytes();
    assert!(kept_bytes(&text) > TEXT_KEPT_BYTES_MAX);
    text.trim();
    assert!(kept_bytes(&text) <= TEXT_KEPT_BYTES_MAX);
}

/// Lines that mostly begin as the one before them: each keeps some bytes of its front.
fn lines_with_a_shared_front() -> impl Strategy<Value = Vec<String>> {
    let part = prop_oneof![
        4 => proptest::sample::select(vec!["m", "n:a", "{", "a=\"1\"", ",", "b=\"2\"", "}", " 1", " 2.5"]),
        1 => proptest::sample::select(vec!["c=\"\"", "le=\"1.0\"", "\"q\"", " ", "a=\"\\\"\"", "__name__=\"x\"", "\u{e9}", "="]),
    ];
    let line = prop_oneof![
        1 => proptest::collection::vec(part.clone(), 1..12).prop_map(|parts| parts.concat()),
        3 => (proptest::collection::vec((any::<bool>(), any::<bool>()), 3), part).prop_map(|(labels, last)| {
            let label = |(index, (is_there, value)): (usize, &(bool, bool))| {
                is_there.then(|| format!("l{index}=\"{}\"", u8::from(*value)))
            };
            let labels: Vec<_> = labels.iter().enumerate().filter_map(label).collect();
            format!("m{{{},{last}}} 1", labels.join(","))
        }),
    ];
    proptest::collection::vec((line, any::<u8>()), 1..8).prop_map(|lines| {
        let mut before = String::new();
        let lines = lines.into_iter().map(|(line, shared)| {
            let shared = (0..=usize::from(shared) % (before.len() + 1)).rev().find(|&at| before.is_char_boundary(at));
            before = before[..shared.unwrap_or(0)].to_owned() + &line;
            before.clone()
        });
        lines.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_line_is_read_the_same_behind_any_other(lines in lines_with_a_shared_front()) {
        for options in [&PROMETHEUS, &OPEN_METRICS] {
            let end = if options.format == Format::OpenMetrics { "# EOF\n" } else { "" };
            let (_, together, decoded) = decode(format!("{}\n{end}", lines.join("\n")).as_bytes(), options);
            let mut apart = Vec::new();
            let mut rejected = [0; Reject::COUNT];
            for line in &lines {
                let (_, lines, decoded) = decode(format!("{line}\n{end}").as_bytes(), options);
                apart.extend(lines);
                rejected.iter_mut().zip(decoded.rejected).for_each(|(sum, count)| *sum += count);
            }
            prop_assert_eq!(together, apart);
            prop_assert_eq!(decoded.rejected, rejected);
        }
    }
}
