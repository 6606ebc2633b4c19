//! The same rules once more, as regular expressions and maps without regard to speed, and properties that hold the
//! decoder against them.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use regex::bytes::{Captures, Regex};

use super::*;
use crate::protocol::bucket::{BoundText, normalise_bound};

const NAME: &str = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const QUOTED: &str = r#""(?:[^"\\]|\\.)*""#;

/// The lines of a format: of samples, and of labels within their braces.
struct Grammar {
    sample: Regex,
    label: Regex,
}

fn regex(pattern: &str) -> Regex {
    Regex::new(&format!("(?s-u){pattern}")).unwrap()
}

impl Grammar {
    fn new(format: Format) -> Self {
        let blanks = if format == Format::Prometheus { r"[ \t]*" } else { "" };
        let label = format!("(?:(?:[a-zA-Z_][a-zA-Z0-9_]*|{QUOTED}){blanks}={blanks}{QUOTED}|{QUOTED})");
        let labels = format!(r"\{{{blanks}(?:{label}{blanks}(?:,{blanks}{label}{blanks})*(?:,{blanks})?)?\}}");
        let series = |between: &str, alone: &str| format!(r"^(?:(?P<name>{NAME}){between}|(?P<alone>{labels}){alone})");
        let sample = match format {
            Format::Prometheus => format!(
                r"{}(?P<value>[^ \t]+)(?:[ \t]+(?P<time>.+))?$",
                series(&format!(r"(?:{blanks}(?P<labels>{labels}){blanks}|[ \t]+)"), blanks)
            ),
            Format::OpenMetrics => format!(
                r"{} (?P<value>[^ ]+)(?: (?P<time>[^ ]+))?(?: # (?P<exemplar>{labels}) {})?$",
                series(&format!("(?P<labels>{labels})?"), ""),
                "(?P<evalue>[^ ]+)(?: (?P<etime>[^ ]+))?"
            ),
        };
        let label = format!(r"(?P<key>[a-zA-Z_][a-zA-Z0-9_]*|{QUOTED})(?:{blanks}=(?:{blanks})(?P<value>{QUOTED}))?");
        Self { sample: regex(&sample), label: regex(&label) }
    }
}

static PROMETHEUS_GRAMMAR: LazyLock<Grammar> = LazyLock::new(|| Grammar::new(Format::Prometheus));
static OPEN_METRICS_GRAMMAR: LazyLock<Grammar> = LazyLock::new(|| Grammar::new(Format::OpenMetrics));
static FLOAT: LazyLock<Regex> = LazyLock::new(|| regex(r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"));
static NAMED: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)^(?:nan|[+-]?inf(?:inity)?)$"));
static INTEGER: LazyLock<Regex> = LazyLock::new(|| regex("^[+-]?[0-9]+$"));
static TYPE: LazyLock<Regex> =
    LazyLock::new(|| regex(&format!(r#"^#[ \t]*TYPE[ \t]+(?:({NAME})|"((?:[^"\\]|\\.)*)")[ \t](.*)$"#)));

/// A stored metric.
#[derive(Debug, PartialEq)]
struct Stored {
    name: String,
    tags: BTreeMap<String, String>,
    kind: Kind,
    /// As text, in which NaN equals itself.
    value: String,
    timestamp_ms: i64,
}

#[derive(Debug, PartialEq, Default)]
struct Outcome {
    stored: Vec<Stored>,
    rejected: u32,
    exemplars: u32,
    created: u32,
}

fn float(token: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(token).ok()?;
    if NAMED.is_match(token) {
        return text.parse().ok();
    }
    if FLOAT.is_match(token) { text.parse().ok().filter(|float: &f64| float.is_finite()) } else { None }
}

fn unescaped(quoted: &[u8]) -> Vec<u8> {
    let Some(inner) = quoted.strip_prefix(b"\"") else { return quoted.to_vec() };
    let inner = inner.strip_suffix(b"\"").unwrap();
    let escape = regex(r#"\\([\\"n])"#);
    let replace = |captures: &Captures<'_>| if &captures[1] == b"n" { b"\n".to_vec() } else { captures[1].to_vec() };
    escape.replace_all(inner, replace).into_owned()
}

fn bare(quoted: &[u8]) -> &[u8] {
    quoted.strip_prefix(b"\"").map_or(quoted, |inner| inner.strip_suffix(b"\"").unwrap())
}

fn kind_of(family: &str) -> Kind {
    match family {
        "counter" => Kind::Counter,
        "gauge" | "info" | "stateset" => Kind::Gauge,
        "histogram" | "gaugehistogram" | "gauge_histogram" => Kind::Histogram,
        "summary" => Kind::Summary,
        _ => Kind::Untyped,
    }
}

/// The suffixes of the samples of a family.
fn suffixes(family: &str, format: Format) -> &'static [&'static str] {
    match (family, format) {
        ("counter", Format::OpenMetrics) => &["", "_total", "_created"],
        ("histogram", Format::Prometheus) => &["", "_bucket", "_sum", "_count"],
        ("histogram", Format::OpenMetrics) => &["", "_bucket", "_sum", "_count", "_created"],
        ("gaugehistogram" | "gauge_histogram", Format::Prometheus) => &["", "_bucket", "_sum", "_count"],
        ("gaugehistogram" | "gauge_histogram", Format::OpenMetrics) => &["", "_bucket", "_gsum", "_gcount"],
        ("summary", Format::Prometheus) => &["", "_sum", "_count"],
        ("summary", Format::OpenMetrics) => &["", "_sum", "_count", "_created"],
        ("info", Format::OpenMetrics) => &["", "_info"],
        _ => &[""],
    }
}

#[derive(Default)]
struct Reference {
    families: HashMap<Vec<u8>, String>,
    current: Option<(Vec<u8>, String)>,
    outcome: Outcome,
}

impl Reference {
    /// The kind of a sample, and whether it is a time of creation.
    fn kind(&self, name: &[u8], format: Format) -> (Kind, bool) {
        let of = |family: &[u8], kind: &str| {
            let suffix = std::str::from_utf8(name.strip_prefix(family)?).ok()?;
            suffixes(kind, format).contains(&suffix).then(|| (kind_of(kind), suffix == "_created"))
        };
        let current = self.current.iter().find_map(|(family, kind)| of(family, kind));
        let exact = || self.families.get(name).map(|kind| (kind_of(kind), false));
        let longer = || self.families.iter().find_map(|(family, kind)| of(family, kind));
        current.or_else(exact).or_else(longer).unwrap_or((Kind::Untyped, false))
    }

    fn line(&mut self, line: &[u8], format: Format) {
        if line.is_empty() {
            return;
        }
        if line[0] == b'#' {
            if let Some(captures) = TYPE.captures(line) {
                let name = captures.get(1).or(captures.get(2)).unwrap().as_bytes().to_vec();
                let kind = String::from_utf8_lossy(captures[3].trim_ascii()).to_ascii_lowercase();
                if !name.is_empty() {
                    self.families.insert(name.clone(), kind.clone());
                    self.current = Some((name, kind));
                }
            }
            return;
        }
        match self.sample(line, format) {
            Some((stored, has_exemplar)) => {
                self.outcome.exemplars += u32::from(has_exemplar);
                match stored {
                    Some(stored) => self.outcome.stored.push(stored),
                    None => self.outcome.created += 1,
                }
            }
            None => self.outcome.rejected += 1,
        }
    }

    fn sample(&self, line: &[u8], format: Format) -> Option<(Option<Stored>, bool)> {
        let grammar = if format == Format::Prometheus { &PROMETHEUS_GRAMMAR } else { &OPEN_METRICS_GRAMMAR };
        let captures = grammar.sample.captures(line)?;
        let mut name = captures.name("name").map(|name| name.as_bytes());
        let mut tags = BTreeMap::new();
        let labels = captures.name("labels").or(captures.name("alone")).map_or(&b""[..], |labels| labels.as_bytes());
        for label in grammar.label.captures_iter(labels) {
            let Some(value) = label.name("value") else {
                if name.replace(label.name("key").unwrap().as_bytes()).is_some() {
                    return None;
                }
                continue;
            };
            let (key, value) = (unescaped(&label["key"]), unescaped(value.as_bytes()));
            if key.is_empty() || key == b"__name__" {
                return None;
            }
            if value.is_empty() {
                continue;
            }
            let mut value = String::from_utf8(value).ok()?;
            if let b"le" | b"quantile" = &key[..] {
                value =
                    String::from_utf8(normalise_bound(value.as_bytes(), &mut BoundText::default()).to_vec()).unwrap();
            }
            if tags.insert(String::from_utf8(key).ok()?, value).is_some() {
                return None;
            }
        }
        let raw_name = name?;
        let name = String::from_utf8(unescaped(raw_name)).ok()?;
        if bare(raw_name).is_empty() || name.len() > Bounds::default().name_bytes_limit {
            return None;
        }
        let value = float(&captures["value"])?;
        let timestamp_ms = match (captures.name("time").map(|time| time.as_bytes()), format) {
            (None, _) => ARRIVAL_MS,
            (Some(time), Format::Prometheus) if INTEGER.is_match(time) => {
                std::str::from_utf8(time).ok()?.parse().ok()?
            }
            (Some(_), Format::Prometheus) => return None,
            (Some(time), Format::OpenMetrics) => seconds(time)?,
        };
        let has_exemplar = captures.name("exemplar").is_some();
        if let Some(exemplar) = captures.name("exemplar") {
            let mut labels = grammar.label.captures_iter(exemplar.as_bytes());
            if labels.any(|label| label.name("value").is_none()) {
                return None;
            }
            float(&captures["evalue"])?;
            if let Some(time) = captures.name("etime") {
                seconds(time.as_bytes())?;
            }
        }
        let (kind, is_created) = self.kind(bare(raw_name), format);
        if is_created {
            return Some((None, has_exemplar));
        }
        if !(crate::TIMESTAMP_MS_MIN..=crate::TIMESTAMP_MS_MAX).contains(&timestamp_ms) {
            return None;
        }
        let value = value.to_string();
        Some((Some(Stored { name, tags, kind, value, timestamp_ms }), has_exemplar))
    }
}

/// Milliseconds of a number of seconds, by floor. Timestamps of these tests have five decimals at most, to which the
/// float is rounded first.
#[expect(clippy::cast_possible_truncation, reason = "saturated")]
fn seconds(token: &[u8]) -> Option<i64> {
    let seconds = float(token).filter(|float| float.is_finite())?;
    let decimals = (seconds * 1e5).round();
    Some((decimals / 1e2).floor() as i64)
}

/// The outcome by the rules; `None` if the body is refused.
fn reference(body: &[u8], format: Format) -> Option<Outcome> {
    let mut reference = Reference::default();
    let mut lines: Vec<&[u8]> = body.split(|&byte| byte == b'\n').collect();
    if format == Format::OpenMetrics {
        if lines.last().is_some_and(|line| line.is_empty()) {
            lines.pop();
        }
        if lines.pop() != Some(b"# EOF") || lines.contains(&&b"# EOF"[..]) {
            return None;
        }
    }
    for line in lines {
        if format == Format::Prometheus {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
            let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
            let end = line.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
            reference.line(&line[start..end], format);
        } else {
            reference.line(line, format);
        }
    }
    Some(reference.outcome)
}

/// The outcome of the decoder.
fn outcome(body: &[u8], format: Format) -> Option<Outcome> {
    let (result, lines, decoded) = decode(body, &Options { format, labels: &[] });
    result.ok()?;
    let stored = lines.iter().map(|text| {
        let line = Line::parse(text.as_bytes()).unwrap();
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        let value = &json["value"];
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Stored {
            name: json["name"].as_str().unwrap().to_owned(),
            tags: serde_json::from_value(json["tags"].clone()).unwrap(),
            kind: line.kind,
            value: value.parse::<f64>().unwrap().to_string(),
            timestamp_ms: line.timestamp_ms,
        }
    });
    let skipped = |kind| decoded.skipped[kind as usize];
    Some(Outcome {
        stored: stored.collect(),
        rejected: decoded.rejected(),
        exemplars: skipped(Skip::Exemplar),
        created: skipped(Skip::Created),
    })
}

fn assert_equal(body: &[u8]) {
    for format in [Format::Prometheus, Format::OpenMetrics] {
        assert_eq!(outcome(body, format), reference(body, format), "{format:?}: {}", body.escape_ascii());
    }
}

/// Pieces of lines.
fn piece() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "m",
        "h",
        "h_bucket",
        "h_sum",
        "c_total",
        "c_created",
        "q.q",
        "\"q.q\"",
        "1",
        "2.5",
        "-1e3",
        "NaN",
        "+Inf",
        " ",
        " ",
        "  ",
        "\t",
        "\n",
        "\n",
        "{",
        "}",
        "{}",
        "a=\"x\"",
        "b=\"\\\"\\n\\x\"",
        "le=\"1\"",
        "\"a b\"=\"y\"",
        "a=\"\"",
        ",",
        "=",
        "\"",
        "\\",
        "# ",
        "#",
        "# TYPE ",
        " counter",
        " histogram",
        " summary",
        "# TYPE h histogram\n",
        "# TYPE c counter\n",
        " # {} 1",
        " # {a=\"x\"} 1 2",
        " 1234567890",
        " 12.345",
        "\r",
        "é",
        "\u{0}",
        "# HELP m x\n",
        "\n# EOF\n",
        "m 1\n",
        "{\"q.q\",a=\"x\"} 1\n",
        "# TYPE \"q.q\" gauge\n",
    ])
}

/// A whole line of samples, in both formats.
fn line() -> impl Strategy<Value = String> {
    let name = "(m|h|h_bucket|h_count|c|c_total|c_created|s_sum|i_info|x:y_1)";
    let label = "(a|b|le|_c1|\"d d\")=\"([a-z0-9 ,{}]|\\\\\\\\|\\\\\"|\\\\n|é){0,5}\"";
    let labels = proptest::collection::vec(label, 0..4).prop_map(|labels| format!("{{{}}}", labels.join(",")));
    let value = "(-?[0-9]{1,4}(\\.[0-9]{1,3})?(e[+-]?[0-9])?|NaN|[+-]Inf|\\+1|\\.5|01)";
    let end = "( [0-9]{1,10}(\\.[0-9]{1,5})?)?( # \\{a=\"b\"\\} 1( 1\\.5)?)?";
    (name, proptest::option::of(labels), value, end)
        .prop_map(|(name, labels, value, end)| format!("{name}{} {value}{end}\n", labels.unwrap_or_default()))
}

fn exposition() -> impl Strategy<Value = String> {
    let family = "# TYPE (m|h|c|s|i) (counter|gauge|histogram|summary|info|stateset|gaugehistogram|unknown|untyped)\n";
    proptest::collection::vec(prop_oneof![1 => family.prop_map(String::from), 3 => line()], 0..12)
        .prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn pieces_of_lines_mean_what_the_reference_says(pieces in proptest::collection::vec(piece(), 0..24)) {
        let body = pieces.concat();
        assert_equal(body.as_bytes());
        assert_equal(format!("{body}\n# EOF\n").as_bytes());
    }

    #[test]
    fn expositions_mean_what_the_reference_says(
        body in exposition(),
        changes in proptest::collection::vec((0..4096_usize, any::<u8>()), 0..3),
    ) {
        let mut body = body.into_bytes();
        assert_equal(&body);
        for (at, byte) in changes {
            if !body.is_empty() {
                let at = at % body.len();
                body[at] = byte;
            }
        }
        body.extend_from_slice(b"# EOF\n");
        assert_equal(&body);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(body: Vec<u8>) {
        assert_equal(&body);
    }

    #[test]
    fn lines_without_types_may_come_one_by_one(lines in proptest::collection::vec(line(), 0..8)) {
        let (_, at_once, decoded) = decode(lines.concat().as_bytes(), &PROMETHEUS);
        let mut text = Text::new(Bounds::default());
        let one_by_one = lines.iter().map(|line| decode_with(&mut text, line.as_bytes(), &PROMETHEUS));
        let (stored, rejected) = one_by_one.fold((Vec::new(), 0), |(mut stored, rejected), (_, lines, decoded)| {
            stored.extend(lines);
            (stored, rejected + decoded.rejected())
        });
        prop_assert_eq!(at_once, stored);
        prop_assert_eq!(decoded.rejected(), rejected);
        prop_assert_eq!((decoded.metrics + decoded.rejected()) as usize, lines.len());
    }
}

/// A real scrape as the node exporter sends it, and the lines it must become.
#[test]
fn a_node_exporters_scrape_reads_back() {
    use std::fmt::Write;
    let batches = include_str!("../../../../../../bench/data/node_exporter.ndjson");
    let batch: serde_json::Value = serde_json::from_str(batches.lines().next().unwrap()).unwrap();
    let metrics = batch["metrics"].as_array().unwrap();
    let mut body = String::new();
    let mut family = String::new();
    for metric in metrics {
        let name = metric["name"].as_str().unwrap();
        let kind = metric["type"].as_str().unwrap();
        let of_parts = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let base = of_parts.filter(|_| kind == "histogram" || kind == "summary").unwrap_or(name);
        if base != family {
            base.clone_into(&mut family);
            write!(body, "# HELP {family} A text.\n# TYPE {family} {kind}\n").unwrap();
        }
        let tags = metric["tags"].as_object().unwrap();
        let labels: Vec<_> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        writeln!(body, "{name}{{{}}} {} {}", labels.join(","), metric["value"], metric["timestamp"]).unwrap();
    }
    let (result, lines, decoded) = decode(body.as_bytes(), &PROMETHEUS);
    assert_eq!((result, decoded.rejected(), lines.len()), (Ok(()), 0, metrics.len()));
    for (line, metric) in lines.iter().zip(metrics) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["name"], metric["name"]);
        assert_eq!(line["type"], metric["type"], "{line}");
        assert_eq!(line["value"], metric["value"]);
        for (key, value) in metric["tags"].as_object().unwrap() {
            let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<f64>().unwrap();
            match key.as_str() {
                "le" | "quantile" => assert_eq!(number(&line["tags"][key]), number(value)),
                _ if value == "" => assert!(line["tags"].get(key).is_none()),
                _ => assert_eq!(&line["tags"][key], value),
            }
        }
    }
    assert_equal(body.as_bytes());
}
