//! The parser and the encoder against an oracle: the same rules once more, written on top of serde_json without regard
//! to speed. Every document must be taken by both or refused by both, and the lines must be the same to the byte.
//!
//! There is no deliberate difference: where serde_json has no opinion (repeated fields, depth), the oracle has ours.
//! `METRIC_CASES` sets how many mutated documents are tried, `METRIC_SEED` where the random numbers start. A failure
//! prints the document and the seed that leads to it.

#![expect(clippy::unwrap_used, reason = "clippy exempts functions marked as tests only, not what they call")]
#![expect(clippy::cast_possible_truncation, reason = "random numbers are cut to size")]

use std::fmt::Write;

use metric::limits::JSON_DEPTH_MAX;
use metric::{BatchEncoder, Bounds};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use testkit::random::Random;

const ARRIVAL_MS: i64 = 1_767_323_045_678;
/// Small, so that mutated documents break them.
const BOUNDS: Bounds = Bounds { batch_metrics_limit: 6, name_bytes_limit: 48, tags_limit: 14, tag_bytes_limit: 40 };
const NODE_EXPORTER: &str = include_str!("../../../bench/data/node_exporter.ndjson");

// ---- the oracle ----------------------------------------------------------------------------------------------------

/// A JSON value in which nothing is lost: repeated keys stay, numbers keep their digits.
enum Json {
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
    String(String),
    Number(String),
    Null,
    Other,
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

struct Elements<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Elements<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = sequence.next_element()? {
                    elements.push(element);
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Collect)
    }
}

/// Reads a value at `depth` objects and arrays.
fn json(text: &str, depth: usize) -> Option<Json> {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    let first = text.bytes().next()?;
    if matches!(first, b'{' | b'[') && depth == JSON_DEPTH_MAX {
        return None;
    }
    Some(match first {
        b'{' => {
            let Members(members) = serde_json::from_str(text).ok()?;
            let read = |(key, value): (_, &RawValue)| Some((key, json(value.get(), depth + 1)?));
            Json::Object(members.into_iter().map(read).collect::<Option<_>>()?)
        }
        b'[' => {
            let Elements(elements) = serde_json::from_str(text).ok()?;
            Json::Array(elements.into_iter().map(|element| json(element.get(), depth + 1)).collect::<Option<_>>()?)
        }
        b'"' => Json::String(serde_json::from_str(text).ok()?),
        b'n' if text == "null" => Json::Null,
        b'-' | b'0'..=b'9' => Json::Number(serde_json::from_str::<&RawValue>(text).ok()?.get().to_owned()),
        _ => {
            serde_json::from_str::<&RawValue>(text).ok()?;
            Json::Other
        }
    })
}

/// The value of the one member called `key`: `Ok(None)` if there is none, `Err` if there are several.
fn only<'a>(members: &'a [(String, Json)], key: &str) -> Result<Option<&'a Json>, ()> {
    let mut values = members.iter().filter(|member| member.0 == key).map(|member| &member.1);
    let first = values.next();
    if values.next().is_some() { Err(()) } else { Ok(first) }
}

/// The lines that the batch in `body` should become, or `None` if it should be refused.
fn oracle(body: &[u8]) -> Option<String> {
    let Json::Object(document) = json(std::str::from_utf8(body).ok()?, 0)? else { return None };
    let Json::Array(metrics) = only(&document, "metrics").ok()?? else { return None };
    if metrics.is_empty() || metrics.len() > BOUNDS.batch_metrics_limit {
        return None;
    }
    let mut lines = String::new();
    for metric in metrics {
        let Json::Object(metric) = metric else { return None };
        let Json::String(name) = only(metric, "name").ok()?? else { return None };
        if name.is_empty() || name.len() > BOUNDS.name_bytes_limit {
            return None;
        }
        let Json::Number(value) = only(metric, "value").ok()?? else { return None };
        if !value.parse::<f64>().unwrap().is_finite() {
            return None;
        }
        let kind = match only(metric, "type").ok()? {
            None | Some(Json::Null) => "gauge",
            Some(Json::String(kind)) if ["gauge", "counter", "histogram", "summary"].contains(&&kind[..]) => kind,
            Some(_) => return None,
        };
        let timestamp_ms = match only(metric, "timestamp").ok()? {
            None | Some(Json::Null) => ARRIVAL_MS,
            Some(Json::Number(digits)) => {
                digits.parse().ok().filter(|ms| !(100_000_000..100_000_000_000_i64).contains(ms))?
            }
            Some(Json::String(text)) => rfc3339(text)?,
            Some(_) => return None,
        };
        let tags = match only(metric, "tags").ok()? {
            None | Some(Json::Null) => &[][..],
            Some(Json::Object(tags)) => tags,
            Some(_) => return None,
        };
        if tags.len() > BOUNDS.tags_limit {
            return None;
        }
        let name = serde_json::to_string(name).unwrap();
        let timestamp = spelled(timestamp_ms)?;
        write!(lines, r#"{{"timestamp":"{timestamp}","name":{name},"value":{value},"type":"{kind}","tags":{{"#)
            .unwrap();
        for (index, (key, value)) in tags.iter().enumerate() {
            let Json::String(value) = value else { return None };
            only(tags, key).ok()?;
            if key.len().max(value.len()) > BOUNDS.tag_bytes_limit {
                return None;
            }
            let comma = if index > 0 { "," } else { "" };
            let (key, value) = (serde_json::to_string(key).unwrap(), serde_json::to_string(value).unwrap());
            write!(lines, "{comma}{key}:{value}").unwrap();
        }
        lines.push_str("}}\n");
    }
    Some(lines)
}

fn year_days(year: i64) -> i64 {
    365 + i64::from(year % 4 == 0 && year % 100 != 0 || year % 400 == 0)
}

fn month_days(year: i64, month: i64) -> i64 {
    [31, year_days(year) - 337, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1]
}

/// Days from 0000-01-01 to 1970-01-01.
fn epoch_days() -> i64 {
    (0..1970).map(year_days).sum()
}

fn spelled(ms: i64) -> Option<String> {
    let mut days = ms.div_euclid(86_400_000) + epoch_days();
    let ms = ms.rem_euclid(86_400_000);
    let (mut year, mut month) = (0, 1);
    if !(0..10_000 * 366).contains(&days) {
        return None;
    }
    while days >= year_days(year) {
        days -= year_days(year);
        year += 1;
    }
    while days >= month_days(year, month) {
        days -= month_days(year, month);
        month += 1;
    }
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    let text = format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", days + 1, ms % 1_000);
    (year < 10_000).then_some(text)
}

fn rfc3339(text: &str) -> Option<i64> {
    let text = text.to_ascii_uppercase();
    let (date, time) = text.split_at_checked(11)?;
    let (time, offset_minutes) = match time.strip_suffix('Z') {
        Some(time) => (time, 0),
        None => {
            let (time, offset) = time.split_at_checked(time.len().checked_sub(6)?)?;
            let sign = if offset.starts_with('+') { 1 } else { -1 };
            let [hours, minutes] = digits(offset, if sign == 1 { "+00:00" } else { "-00:00" })?[..] else {
                return None;
            };
            if hours > 23 || minutes > 59 {
                return None;
            }
            (time, sign * (hours * 60 + minutes))
        }
    };
    let (time, fraction) = match time.split_once('.') {
        None => (time, "0"),
        Some((_, fraction)) if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) => {
            return None;
        }
        Some(parts) => parts,
    };
    let [year, month, day] = digits(date, "0000-00-00T")?[..] else { return None };
    let [hour, minute, second] = digits(time, "00:00:00")?[..] else { return None };
    if !(1..=12).contains(&month) || day < 1 || day > month_days(year, month) || hour > 23 || minute > 59 {
        return None;
    }
    let days = (0..year).map(year_days).sum::<i64>() + (1..month).map(|month| month_days(year, month)).sum::<i64>();
    let minutes = (days + day - 1 - epoch_days()) * 1_440 + hour * 60 + minute - offset_minutes;
    match second {
        0..60 => Some(minutes * 60_000 + second * 1_000 + format!("{fraction}00")[..3].parse::<i64>().unwrap()),
        60 if minutes.rem_euclid(1_440) == 1_439 => Some(minutes * 60_000 + 59_999),
        _ => None,
    }
}

/// The numbers in `text`, which has digits where `pattern` has zeros, and is the same everywhere else.
fn digits(text: &str, pattern: &str) -> Option<Vec<i64>> {
    let fits = |(byte, pattern): (u8, u8)| if pattern == b'0' { byte.is_ascii_digit() } else { byte == pattern };
    if text.len() != pattern.len() || !text.bytes().zip(pattern.bytes()).all(fits) {
        return None;
    }
    let numbers = text.split(|character: char| !character.is_ascii_digit()).filter(|number| !number.is_empty());
    Some(numbers.map(|number| number.parse().unwrap()).collect())
}

// ---- the comparison ------------------------------------------------------------------------------------------------

/// Encodes `body`, with no byte more to write to than the encoder requests.
fn encoded(encoder: &mut BatchEncoder, body: &[u8]) -> Result<String, String> {
    let mut out = vec![b'#'; encoder.encoded_bytes_max(body.len())];
    match encoder.encode(body, ARRIVAL_MS, &mut out) {
        Ok(encoded) => {
            let lines = String::from_utf8(out[..encoded.bytes].to_vec()).unwrap();
            assert_eq!(lines.lines().count(), encoded.metrics as usize);
            Ok(lines)
        }
        Err(error) => {
            assert!(error.byte <= body.len());
            let text = error.to_string();
            assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')), "{text}");
            Err(text)
        }
    }
}

/// Holds the encoder to the oracle; `true` if the batch was taken.
fn compare(encoder: &mut BatchEncoder, body: &[u8]) -> bool {
    match (encoded(encoder, body), oracle(body)) {
        (Ok(lines), Some(expected)) => {
            assert_eq!(lines, expected);
            true
        }
        (Err(_), None) => false,
        (Ok(lines), None) => panic!("taken, to be refused: {lines}"),
        (Err(error), Some(_)) => panic!("refused, to be taken: {error}"),
    }
}

/// Says which document failed, if one does.
struct Failing<'a>(&'a [u8], u64);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("METRIC_SEED={} METRIC_CASES=1, document: {}", self.1, self.0.escape_ascii());
        }
    }
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Documents of all sorts, most of them good.
const TRICKY: &[&str] = &[
    r#"{"metrics":[{"name":"cpu_usage","value":75.5,"type":"gauge","tags":{"host":"web1"}}]}"#,
    r#"{"metrics":[{"value":4823947234,"n\u0061me":"caf\u00e9 \ud83d\ude00 \"\\\/\b\f\n\r\t\u0001\u001f","tags":{}}]}"#,
    r#" { "metrics" : [ { "name" : "a" , "value" : -0.0e-0 , "tags" : { "k" : "v" , "" : "" } } ] , "x" : null } "#,
    "\r\n{\n\t\"metrics\": [\n\t\t{\"name\": \"a\", \"value\": 1},\n\t\t{\"name\": \"b\", \"value\": 2}\n\t]\n}\n",
    r#"{"x":{"metrics":[],"y":[[],{},[{"z":[1,2.5e3,true,false,null,"\u0000"]}]]},"metrics":[{"name":"a","value":1}]}"#,
    r#"{"metrics":[{"name":"a","value":1,"help":{"name":1,"name":[2]},"help":"x","Name":0}],"metric":{}}"#,
    r#"{"metrics":[{"name":"a","value":1,"type":"c\u006funter"},{"name":"b","value":2,"type":"histogram"}]}"#,
    r#"{"metrics":[{"name":"a","value":1,"type":"summary","timestamp":0},{"name":"b","value":2,"timestamp":-1}]}"#,
    r#"{"metrics":[{"name":"a","value":1,"timestamp":253402300799999},{"name":"b","value":2,"timestamp":-62167219200000}]}"#,
    r#"{"metrics":[{"name":"a","value":1,"timestamp":"2026-01-02T03:04:05.678Z"}]}"#,
    r#"{"metrics":[{"name":"a","value":1,"timestamp":"2024-02-29t23:59:60.123456-00:00"}]}"#,
    r#"{"metrics":[{"name":"a","value":1,"timestamp":"1990-12-31T15:59:60-08:00"}]}"#,
    r#"{"metrics":[{"name":"a","value":1,"timestamp":"2000-01-01T00:00:00\u002b23:59"}]}"#,
    r#"{"metrics":[{"name":"a","value":1,"tags":{"a":"1","\u0062":"2","c\n":"3","d\u0000":"4","\ud83d\ude00":"5"}}]}"#,
    r#"{"metrics":[{"name":"a","value":1,"tags":{"\u0061":"1","b":"2","a":"3"}}]}"#,
    r#"{"metrics":[{"name":"a","value":1,"tags":{"😀":"1","b":"2","\ud83d\ude00":"3"}}]}"#,
    r#"{"metrics":[{"name":"日本語の名前","value":1e308,"tags":{"é":"ü\u007f\u0080\u2028"}}]}"#,
    r#"{"metrics":[{"name":"a","value":1e309},{"name":"b","value":1e-999}]}"#,
    r#"{"metrics":[{"name":"a","value":0.00000000000000000000000000001e336},{"name":"b","value":17976931348623157e292}]}"#,
    r#"{"metrics":[{"name":"a","value":123456789012345678901234567890123456789012345678901234567890.5}]}"#,
    r#"{"metrics":[{"name":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\u0061","value":1}]}"#,
    r#"{"metrics":[{"name":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\u00e9","value":1}]}"#,
];

/// Pieces that mean something to a parser.
const TOKENS: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b" ",
    b"\n",
    b"\t",
    b"\r",
    b"0",
    b"1",
    b"-",
    b"+",
    b".",
    b"e",
    b"E9",
    b"e308",
    b"e-9",
    b"00",
    b"null",
    b"true",
    b"\\u",
    b"\\u0000",
    b"\\u0061",
    b"\\n",
    b"\\/",
    b"\\ud83d",
    b"\\ude00",
    b"\0",
    b"\x1f",
    b"\x7f",
    b"\x80",
    b"\xc3",
    b"\xff",
    b"\xc3\xa9",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98\x80",
    b"\xef\xbb\xbf",
    b"\"name\":",
    b"\"value\":",
    b"\"type\":\"gauge\",",
    b"\"timestamp\":1,",
    b"\"tags\":{},",
    b"\"a\":\"\",",
    b"\"metrics\":",
    b"{\"name\":\"n\",\"value\":0},",
    b"{}",
    b"[]",
    b"\"\"",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
];

fn mutate(random: &mut Random, document: &mut Vec<u8>, other: &[u8]) {
    let at = random.index(document.len() + 1);
    let length = [1, 1, 2, 8, 40][random.index(5)];
    let end = (at + length).min(document.len());
    match random.below(8) {
        0 if at < document.len() => document[at] ^= 1 << random.below(8),
        1 if at < document.len() => document[at] = random.number() as u8,
        2 => drop(document.drain(at..end)),
        3 => document.truncate(at),
        4 => {
            let copy = document[at..end].to_vec();
            let to = random.index(document.len() + 1);
            drop(document.splice(to..to, copy));
        }
        5 => {
            let from = random.index(other.len().max(1));
            let to = (from + random.index(80)).min(other.len());
            drop(document.splice(at..end, other[from..to].iter().copied()));
        }
        6 => drop(document.splice(at..end.min(at + 1), random.choose(TOKENS).iter().copied())),
        _ => drop(document.splice(at..at, random.choose(TOKENS).iter().copied())),
    }
}

/// Batches of one to five metrics from the real bodies.
fn real_batches() -> Vec<String> {
    let mut batches = Vec::new();
    for body in NODE_EXPORTER.lines().step_by(7) {
        let metrics = body.strip_prefix(r#"{"metrics":["#).unwrap().strip_suffix("]}").unwrap();
        let metrics: Vec<_> = metrics.split(r#",{"name":"#).collect();
        for (index, metrics) in metrics[1..].chunks(5).enumerate() {
            let metrics: Vec<_> =
                metrics[..1 + index % metrics.len()].iter().map(|rest| format!(r#"{{"name":{rest}"#)).collect();
            batches.push(format!(r#"{{"metrics":[{}]}}"#, metrics.join(",")));
        }
    }
    batches
}

#[test]
fn tricky_documents() {
    let mut encoder = BatchEncoder::new(BOUNDS);
    let taken = TRICKY.iter().filter(|document| compare(&mut encoder, document.as_bytes())).count();
    assert_eq!(TRICKY.len() - taken, 4, "the repeated tags, the number and the name that are too large");
}

#[test]
fn mutated_documents() {
    let cases = variable("METRIC_CASES", 60_000);
    let seed = variable("METRIC_SEED", 1);
    let real = real_batches();
    let mut documents: Vec<&[u8]> = real.iter().map(|batch| batch.as_bytes()).collect();
    // As many tricky ones as real ones.
    documents.extend(TRICKY.iter().map(|document| document.as_bytes()).cycle().take(real.len()));
    let mut encoder = BatchEncoder::new(BOUNDS);
    let mut taken = 0;
    for case in 0..cases {
        let seed = seed + case;
        let mut random = Random::new(seed);
        let mut document = random.choose(&documents).to_vec();
        for _ in 0..=random.below(3) {
            let other = random.choose(&documents);
            mutate(&mut random, &mut document, other);
        }
        let failing = Failing(&document, seed);
        taken += u64::from(compare(&mut encoder, &document));
        drop(failing);
    }
    assert!(cases < 1_000 || (cases / 20..cases / 2).contains(&taken), "a one-sided trial: {taken} of {cases} taken");
}

#[test]
fn depth() {
    let mut encoder = BatchEncoder::new(BOUNDS);
    for (open, close) in [("[", "]"), (r#"{"k":"#, "}"), (r#"[0,{"k":[],"l":"#, r#","m":{}}]"#)] {
        for around in [1, 3] {
            let levels = open.matches(['[', '{']).count() - open.matches([']', '}']).count();
            let fit = (JSON_DEPTH_MAX - around) / levels;
            for (times, good) in [(fit - 1, true), (fit + 1, false)] {
                let unknown = format!("{}1{}", open.repeat(times), close.repeat(times));
                let document = match around {
                    1 => format!(r#"{{"metrics":[{{"name":"n","value":0}}],"unknown":{unknown}}}"#),
                    _ => format!(r#"{{"metrics":[{{"name":"n","value":0,"unknown":{unknown}}}]}}"#),
                };
                assert_eq!(compare(&mut encoder, document.as_bytes()), good, "{document}");
            }
        }
    }
}

#[test]
fn cut_and_padded_documents() {
    let mut encoder = BatchEncoder::new(BOUNDS);
    for document in TRICKY {
        for end in 0..document.len() {
            compare(&mut encoder, &document.as_bytes()[..end]);
        }
        for padding in 1..20 {
            compare(&mut encoder, format!("{}{document}{}", "\n".repeat(padding), " ".repeat(20 - padding)).as_bytes());
        }
    }
}

#[test]
fn random_json_never_panics() {
    let mut encoder = BatchEncoder::new(BOUNDS);
    for seed in 0..20_000 {
        let mut random = Random::new(seed);
        let mut document = if seed % 2 == 0 { b"{\"metrics\":[{".to_vec() } else { Vec::new() };
        for _ in 0..random.below(40) {
            match random.below(8) {
                0 => document.push(random.number() as u8),
                _ => document.extend_from_slice(random.choose(TOKENS)),
            }
        }
        let failing = Failing(&document, seed);
        compare(&mut encoder, &document);
        drop(failing);
    }
}

/// Every metric of the real bodies becomes its line: digits, order, everything.
#[test]
fn real_bodies() {
    let mut encoder = BatchEncoder::new(Bounds::default());
    let mut metrics = 0;
    for body in NODE_EXPORTER.lines() {
        let lines = encoded(&mut encoder, body.as_bytes()).unwrap();
        let Json::Object(document) = json(body, 0).unwrap() else { panic!("not an object") };
        let Json::Array(sent) = &document[0].1 else { panic!("not an array") };
        assert_eq!(lines.lines().count(), sent.len());
        for (line, sent) in lines.lines().zip(sent) {
            let (Json::Object(line), Json::Object(sent)) = (json(line, 0).unwrap(), sent) else {
                panic!("not an object")
            };
            let keys: Vec<_> = line.iter().map(|member| member.0.as_str()).collect();
            assert_eq!(keys, ["timestamp", "name", "value", "type", "tags"]);
            for (key, stored) in &line {
                match (stored, only(sent, key).unwrap().unwrap()) {
                    (Json::String(stored), Json::Number(ms)) => {
                        assert_eq!(*stored, spelled(ms.parse().unwrap()).unwrap());
                    }
                    (Json::String(stored), Json::String(sent)) | (Json::Number(stored), Json::Number(sent)) => {
                        assert_eq!(stored, sent);
                    }
                    (Json::Object(stored), Json::Object(sent)) => {
                        assert_eq!(stored.len(), sent.len());
                        for (stored, sent) in stored.iter().zip(sent) {
                            let ((key, Json::String(value)), (sent_key, Json::String(sent_value))) = (stored, sent)
                            else {
                                panic!("a tag is no string");
                            };
                            assert_eq!((key, value), (sent_key, sent_value));
                        }
                    }
                    _ => panic!("{key} became something else"),
                }
            }
            metrics += 1;
        }
    }
    assert_eq!(metrics, 12_168);
}

/// The smallest metrics gain the most: the bound is no larger than it must be.
#[test]
fn the_bound_of_the_encoded_bytes_is_reached() {
    let mut encoder = BatchEncoder::new(Bounds::default());
    let body = format!(r#"{{"metrics":[{}]}}"#, [r#"{"name":"n","value":0}"#; 1_000].join(","));
    let lines = encoded(&mut encoder, body.as_bytes()).unwrap();
    let frame_and_commas = r#"{"metrics":[]}"#.len() + 999;
    assert_eq!(lines.len(), encoder.encoded_bytes_max(body.len()) - frame_and_commas);
}

// ---- generated documents -------------------------------------------------------------------------------------------

/// A JSON string, each of its characters raw or in one of its escaped spellings.
fn json_string(characters: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = String> {
    let character =
        prop_oneof![4 => prop::char::range(' ', '~'), 1 => any::<char>(), 1 => prop::char::range('\0', '\u{a0}')];
    vec((character, 0..4_u8), characters).prop_map(|characters| {
        let mut string = String::from("\"");
        for (character, spelling) in characters {
            let plain = serde_json::to_string(&character).unwrap();
            match spelling {
                0 => {
                    character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| write!(string, "\\u{unit:04X}").unwrap())
                }
                1 if character == '/' => string.push_str("\\/"),
                _ => string.push_str(&plain[1..plain.len() - 1]),
            }
        }
        string.push('"');
        string
    })
}

fn json_number() -> impl Strategy<Value = String> {
    let integer = prop_oneof![any::<i64>().prop_map(|number| number.to_string()), Just("-0".to_owned())];
    let fraction = prop_oneof![Just(String::new()), any::<u32>().prop_map(|digits| format!(".{digits:012}"))];
    let exponent = prop_oneof![
        3 => Just(String::new()),
        1 => (-400..320_i32).prop_map(|power| format!("e{power}")),
        1 => (0..300_i32).prop_map(|power| format!("E+{power:04}")),
    ];
    (integer, fraction, exponent).prop_map(|(integer, fraction, exponent)| integer + &fraction + &exponent)
}

fn json_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        json_number(),
        json_string(0..6)
    ];
    leaf.prop_recursive(5, 20, 4, |inner| {
        let members = vec((json_string(0..3), inner.clone()), 0..4).prop_map(object);
        prop_oneof![vec(inner, 0..4).prop_map(|elements| format!("[ {} ]", elements.join(" ,\n"))), members]
    })
}

fn object(members: Vec<(String, String)>) -> String {
    let members: Vec<_> = members.into_iter().map(|(key, value)| format!("{key}:\t{value}")).collect();
    format!("{{{}}}", members.join(", "))
}

fn metric() -> impl Strategy<Value = String> {
    let kind = prop::sample::select(vec![
        "\"gauge\"",
        "\"counter\"",
        "\"histogram\"",
        "\"summary\"",
        "\"c\\u006funter\"",
        "null",
    ]);
    let timestamp = prop_oneof![
        (-62_167_219_200_000..=253_402_300_799_999_i64).prop_map(|ms| ms.to_string()),
        (0..=253_402_300_799_999_i64).prop_map(|ms| format!("\"{}\"", spelled(ms).unwrap())),
        (0..=200_000_000_000_i64).prop_map(|ms| ms.to_string()),
        Just("null".to_owned()),
    ];
    let tags = prop_oneof![
        9 => vec((json_string(0..6), json_string(0..12)), 0..6).prop_map(object),
        1 => Just("null".to_owned()),
    ];
    let optional = |present: bool, key: &str, value: String| present.then(|| (format!("\"{key}\""), value));
    (json_string(1..20), json_number(), kind, timestamp, tags, json_string(1..4), json_value(), any::<[bool; 4]>())
        .prop_map(move |(name, value, kind, timestamp, tags, unknown_key, unknown, present)| {
            let mut members = vec![("\"name\"".to_owned(), name), ("\"v\\u0061lue\"".to_owned(), value)];
            members.extend(optional(present[0], "type", kind.to_owned()));
            members.extend(optional(present[1], "timestamp", timestamp));
            members.extend(optional(present[2], "tags", tags));
            members.extend(present[3].then_some((unknown_key, unknown)));
            members
        })
        .prop_shuffle()
        .prop_map(object)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn generated_documents(metrics in vec(metric(), 1..5), unknown in json_value(), first in any::<bool>()) {
        let metrics = ("\"metrics\"".to_owned(), format!("[{}]", metrics.join(",")));
        let unknown = ("\"unknown\"".to_owned(), unknown);
        let document = object(if first { vec![unknown, metrics] } else { vec![metrics, unknown] });
        compare(&mut BatchEncoder::new(BOUNDS), document.as_bytes());
    }
}
