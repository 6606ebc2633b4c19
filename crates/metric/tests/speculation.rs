//! Speculation makes no difference: an encoder that expects the shapes of earlier metrics, and one that reads every
//! metric by the grammar, accept and refuse the same bodies, with the same lines, metrics and errors.
//!
//! The bodies repeat themselves, as an agent's do, and are mutated in places. `SPECULATION_CASES` sets how many are
//! tried.

#![expect(clippy::unwrap_used, reason = "clippy exempts functions marked as tests only, not what they call")]

use metric::{BatchEncoder, Bounds, Parser, Scratch};
use proptest::prelude::*;

const BOUNDS: Bounds = Bounds { batch_metrics_limit: 12, name_bytes_limit: 24, tags_limit: 5, tag_bytes_limit: 20 };
const ARRIVAL_MS: i64 = 1_767_323_045_678;
const NODE_EXPORTER: &str = include_str!("../../../bench/data/node_exporter.ndjson");

/// The lines of a body, or its error in words, its place and its metric.
fn encoded(encoder: &mut BatchEncoder, body: &[u8]) -> Result<(String, u32), (String, usize, Option<usize>)> {
    let mut out = vec![b'#'; encoder.encoded_bytes_max(body.len())];
    match encoder.encode(body, ARRIVAL_MS, &mut out) {
        Ok(encoded) => {
            let lines = String::from_utf8(out[..encoded.bytes].to_vec()).unwrap();
            assert_eq!(lines.lines().count(), encoded.metrics as usize);
            Ok((lines, encoded.far_from_now))
        }
        Err(error) => Err((error.to_string(), error.byte, error.index)),
    }
}

/// The metrics of a body up to its first fault, in full.
fn parsed(scratch: &mut Scratch, body: &[u8]) -> Vec<String> {
    let mut parser = Parser::new(body, BOUNDS, scratch);
    let mut metrics = Vec::new();
    loop {
        match parser.next_metric() {
            Ok(Some(metric)) => metrics.push(format!("{metric:?}")),
            Ok(None) => break,
            Err(error) => {
                metrics.push(error.to_string());
                break;
            }
        }
    }
    metrics
}

/// One encoder and one parser with speculation, and the same without.
struct Pair {
    encoders: [BatchEncoder; 2],
    scratches: [Scratch; 2],
}

impl Pair {
    fn new() -> Self {
        Self {
            encoders: [BatchEncoder::new(BOUNDS), BatchEncoder::new(BOUNDS).without_speculation()],
            scratches: [Scratch::new(&BOUNDS), Scratch::new(&BOUNDS).without_speculation()],
        }
    }

    /// Holds both to each other; `true` if the body was accepted.
    fn compare(&mut self, body: &[u8]) -> bool {
        let [with, without] = &mut self.encoders;
        let lines = encoded(with, body);
        assert_eq!(lines, encoded(without, body), "{}", body.escape_ascii());
        let [with, without] = &mut self.scratches;
        assert_eq!(parsed(with, body), parsed(without, body), "{}", body.escape_ascii());
        lines.is_ok()
    }
}

/// Metrics as different agents write them.
const TEMPLATES: &[&str] = &[
    r#"{"name":"NAME","value":VALUE,"type":"gauge","tags":{"host":"TAG","zone":"TAG"}}"#,
    r#"{"name":"NAME","value":VALUE,"type":"counter","timestamp":TIME,"tags":{"host":"TAG"}}"#,
    r#"{"timestamp":TIME,"name":"NAME","value":VALUE,"type":"histogram","tags":{}}"#,
    r#"{"name":"NAME","timestamp":TIME,"value":VALUE,"type":"summary","tags":{"":"TAG"}}"#,
    r#"{"name":"NAME","value":VALUE,"type":"gauge","tags":{"a":"TAG"},"timestamp":TIME}"#,
    r#"{"name": "NAME", "value": VALUE, "tags": {"host": "TAG", "zone": "TAG"}, "timestamp": TIME}"#,
    r#"{"tags":{"host":"TAG"},"value":VALUE,"name":"NAME"}"#,
    r#"{"value":VALUE,"name":"NAME","help":{"a":[1,"x"]},"type":null,"tags":null}"#,
    r#"{"name":"NAME","value":VALUE,"type":"gauge","timestamp":"INSTANT","tags":{"k":"TAG","l":"TAG","m":"TAG"}}"#,
    r#"{"help":"TAG","name":"NAME","value":VALUE,"type":"counter","tags":{"a":"TAG"}}"#,
    r#"{"type":"gauge","name":"NAME","value":VALUE,"timestamp":TIME,"tags":{"a":"TAG"}}"#,
    "{\n  \"name\": \"NAME\",\n  \"value\": VALUE,\n  \"t\\u0061gs\": {\"k\": \"TAG\"}\n}",
];
const NAMES: &[&str] = &[
    "a",
    "cpu_usage",
    "a_name_of_sixteen",
    "über",
    "exactly_twenty_four_byte",
    "",
    "of more than twenty-four",
    "a\\n",
    "a\\u0062",
];
const VALUES: &[&str] = &[
    "0",
    "-1",
    "75.5",
    "1e3",
    "1E-7",
    "1.6104e-05",
    "9e99",
    "1e+",
    "1e5.5",
    "12345678901234567890",
    "0.00000000000000001",
    "00",
    "1.",
    "-",
    "1e999",
    "",
    "1.5.5",
    "1 ",
];
const TAGS: &[&str] = &[
    "",
    "web1",
    "sixteen bytes of",
    "of twenty bytes ====",
    "of twenty-one bytes ==",
    "日本",
    "\\\"",
    "\\u00e9",
    "\u{1}",
    "x\"y",
];
const TIMES: &[&str] = &[
    "1767323045678",
    "1767323045679",
    "0",
    "5",
    "-5",
    "176732304",
    "1767323045678.5",
    "017",
    "1e3",
    "null",
    "99999999999999999",
];
const INSTANTS: &[&str] =
    &["2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05Z", "2026-01-02", "\\u0032026-01-02T03:04:05Z"];

/// Fills the template in, with `picks` in turn; the lists begin with what is usual.
fn fill(template: &str, picks: &mut impl Iterator<Item = u8>) -> String {
    let mut metric = template.to_owned();
    for (mark, contents) in [("INSTANT", INSTANTS), ("NAME", NAMES), ("VALUE", VALUES), ("TAG", TAGS), ("TIME", TIMES)]
    {
        while metric.contains(mark) {
            let pick = usize::from(picks.next().unwrap_or(0));
            // Most are of the first few, so that most bodies are good.
            let index = if pick < 200 { pick % contents.len().min(3) } else { pick % contents.len() };
            metric = metric.replacen(mark, contents[index], 1);
        }
    }
    metric
}

fn cases() -> u32 {
    std::env::var("SPECULATION_CASES").map_or(300, |cases| cases.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn speculation_makes_no_difference_to_bodies_that_repeat(
        templates in prop::collection::vec(0..TEMPLATES.len(), 1..5),
        picks in prop::collection::vec(any::<u8>(), 64),
        mutations in prop::collection::vec((any::<u16>(), any::<u8>(), 0..6_u8), 30),
    ) {
        let mut pair = Pair::new();
        let mut picks = picks.into_iter().cycle();
        for (at, byte, kind) in mutations {
            let metrics: Vec<_> = templates.iter().map(|&template| fill(TEMPLATES[template], &mut picks)).collect();
            let mut body = format!(r#"{{"metrics":[{}]}}"#, metrics.join(",")).into_bytes();
            pair.compare(&body);
            let at = usize::from(at) % body.len();
            match kind {
                0 => body[at] = byte,
                1 => body[at] ^= 1 << (byte % 8),
                2 => drop(body.remove(at)),
                3 => body.insert(at, byte),
                4 => body.truncate(at),
                _ => body.insert(at, b"\"\\{}[],:0.e "[usize::from(byte) % 12]),
            }
            pair.compare(&body);
        }
    }
}

#[test]
fn speculation_makes_no_difference_to_real_bodies() {
    let mut pair = Pair::new();
    for body in NODE_EXPORTER.lines() {
        let metrics = body.strip_prefix(r#"{"metrics":[{"name":"#).unwrap().strip_suffix("}]}").unwrap();
        let metrics: Vec<_> = metrics.split(r#"},{"name":"#).collect();
        for metrics in metrics.chunks(12).step_by(3) {
            let body = format!(r#"{{"metrics":[{{"name":{}}}]}}"#, metrics.join(r#"},{"name":"#));
            pair.compare(body.as_bytes());
        }
    }
}

/// Cut anywhere, and each byte replaced by each of a few.
#[test]
fn speculation_makes_no_difference_wherever_a_body_is_broken() {
    for template in TEMPLATES {
        let mut pair = Pair::new();
        let metric = fill(template, &mut [1, 2, 1, 2].into_iter().cycle());
        let body = format!(r#"{{"metrics":[{metric},{metric}]}}"#);
        assert!(pair.compare(body.as_bytes()), "{body}");
        for at in 0..body.len() {
            pair.compare(&body.as_bytes()[..at]);
            for byte in *b"\"\\{},:0.e \n\x80" {
                let mut broken = body.clone().into_bytes();
                broken[at] = byte;
                pair.compare(&broken);
                pair.compare(body.as_bytes());
            }
        }
    }
}
