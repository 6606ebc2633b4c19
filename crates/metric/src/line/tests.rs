use super::*;
use crate::{BatchEncoder, Bounds};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

const NODE_EXPORTER: &str = include_str!("../../../../bench/data/node_exporter.ndjson");

fn encode(body: &[u8], bounds: Bounds) -> Option<Vec<u8>> {
    let mut encoder = BatchEncoder::new(bounds);
    let mut out = vec![0; encoder.encoded_bytes_max(body.len())];
    let encoded = encoder.encode(body, 1_767_323_045_678, &mut out).ok()?;
    out.truncate(encoded.bytes);
    Some(out)
}

/// Whether the server itself, given the line as a metric, would store just that line: the definition of a line of ours.
fn is_ours(line: &[u8]) -> bool {
    let bounds =
        Bounds { batch_metrics_limit: 2, name_bytes_limit: 1 << 20, tags_limit: 1 << 10, tag_bytes_limit: 1 << 20 };
    let body = [br#"{"metrics":["#, line, b"]}"].concat();
    encode(&body, bounds).is_some_and(|stored| stored.strip_suffix(b"\n") == Some(line))
}

/// What escaped text means, by serde_json.
fn meaning(text: &[u8]) -> String {
    serde_json::from_slice(&[b"\"", text, b"\""].concat()).unwrap()
}

#[derive(serde::Deserialize)]
struct Digits<'a> {
    #[serde(borrow)]
    value: &'a serde_json::value::RawValue,
}

/// Holds what is made of a line against the definition and against serde_json, alone and in a block.
fn check(line: &[u8]) {
    let shown = String::from_utf8_lossy(line);
    let parsed = Line::parse(line);
    let block = [line, b"\n{}\n"].concat();
    let mut lines = Lines::new(&block);
    if !line.contains(&b'\n') {
        assert_eq!(lines.next(), Some(parsed), "{shown}");
        assert_eq!(lines.byte(), line.len() + 1);
        assert!(matches!(lines.next(), Some(Err(LineError { byte: 0, .. }))) && lines.next().is_none());
    }
    match parsed {
        Err(error) => {
            assert!(error.byte <= line.len() && !is_ours(line), "{error}: {shown}");
        }
        Ok(parsed) => {
            assert!(is_ours(line) || parsed.repeated_key().is_some(), "{shown}");
            let value: Value = serde_json::from_slice(line).unwrap();
            assert_eq!(value["name"], meaning(parsed.name));
            assert_eq!(value["type"], parsed.kind.name());
            assert_eq!(value["timestamp"], std::str::from_utf8(&timestamp::format(parsed.timestamp_ms)).unwrap());
            let Digits { value: digits } = serde_json::from_slice(line).unwrap();
            assert_eq!(digits.get().as_bytes(), parsed.value);
            assert_eq!(digits.get().parse(), Ok(parsed.value_f64()));
            let mut tags = serde_json::Map::new();
            parsed.tags().for_each(|(key, value)| drop(tags.insert(meaning(key), meaning(value).into())));
            assert_eq!(value["tags"], Value::Object(tags), "{shown}");
        }
    }
}

const LINES: [&str; 6] = [
    r#"{"timestamp":"2026-01-02T03:04:05.678Z","name":"cpu_usage","value":75.5,"type":"gauge","tags":{"host":"web1"}}"#,
    r#"{"timestamp":"0000-02-29T23:59:59.999Z","name":"n","value":-0,"type":"counter","tags":{}}"#,
    r#"{"timestamp":"9999-12-31T00:00:00.000Z","name":"é\"\\","value":1.7976931348623157e308,"type":"summary","tags":{"":"","é":"𝄞"}}"#,
    r#"{"timestamp":"2026-01-02T03:04:05.678Z","name":"\u0000\u001f\b\t","value":1E-400,"type":"histogram","tags":{"le":"+Inf","a\\":"\\","b\\\\\"":"\\\"","c":"d"}}"#,
    r#"{"timestamp":"2026-01-02T03:04:05.678Z","name":"a name of more than sixty-four bytes, for which blocks of bytes are looked at","value":0.10,"type":"gauge","tags":{"a":"b","c":"d"}}"#,
    r#"{"timestamp":"1990-12-31T23:59:59.000Z","name":"/ ~","value":1e308,"type":"gauge","tags":{"k":"a value of more than sixty-four bytes, in which there is an \n escape, é"}}"#,
];

#[test]
fn fields_come_back() {
    let line = Line::parse(LINES[0].as_bytes()).unwrap();
    assert_eq!(
        (line.timestamp_ms, line.name, line.value, line.kind, line.tags),
        (1_767_323_045_678, &b"cpu_usage"[..], &b"75.5"[..], Kind::Gauge, &br#"{"host":"web1"}"#[..])
    );
    let tags: Vec<_> =
        Line::parse(LINES[3].as_bytes()).unwrap().tags().map(|(key, value)| (meaning(key), meaning(value))).collect();
    assert_eq!(
        tags,
        [("le", "+Inf"), ("a\\", "\\"), ("b\\\\\"", "\\\""), ("c", "d")].map(|(k, v)| (k.into(), v.into()))
    );
}

#[test]
fn every_byte_changed_dropped_or_added() {
    for line in LINES {
        let line = line.as_bytes();
        check(line);
        for place in 0..line.len() {
            check(&line[..place]);
            check(&[&line[..place], &line[place + 1..]].concat());
            for byte in *b"\"\\{}[]:,0159+-.eETtZzu/abgx \t\n\r\0\x1f\x7f\x80\xc3\xff" {
                check(&[&line[..place], &[byte], &line[place + 1..]].concat());
                check(&[&line[..place], &[byte], &line[place..]].concat());
            }
            for bit in 0..8 {
                check(&[&line[..place], &[line[place] ^ 1 << bit], &line[place + 1..]].concat());
            }
        }
    }
}

#[test]
fn what_means_the_same_is_no_line_of_ours() {
    let line = LINES[0];
    for (from, to, expected) in [
        ("cpu", r"\u0063pu", "an escape as the log spells it (byte 48)"),
        ("cpu", r"\/", "an escape as the log spells it (byte 48)"),
        ("cpu", r"\u001F", "an escape as the log spells it (byte 48)"),
        ("cpu", r"\u000a", "an escape as the log spells it (byte 48)"),
        (r#","value":75.5"#, "", r#","value": (byte 58)"#),
        (r#"e":75"#, r#"e": 75"#, "a digit (byte 67)"),
        ("75.5", "075.5", "a number without leading zeros (byte 67)"),
        ("75.5", "1e309", "a number that is finite as a 64-bit float (byte 67)"),
        ("cpu_usage", "", "a name of at least one byte (byte 48)"),
        ("05.678Z", "60.000Z", "a timestamp like 2026-01-02T03:04:05.678Z (byte 14)"),
        ("T03", "t03", "a timestamp like 2026-01-02T03:04:05.678Z (byte 14)"),
        ("01-02", "02-29", "a timestamp like 2026-01-02T03:04:05.678Z (byte 14)"),
        ("}}", "}} ", "the end of the line (byte 110)"),
        ("}}", "}", "'}' (byte 109)"),
        ("gauge", "gauges", "\"type\", one of gauge, counter, histogram and summary, and \"tags\" (byte 71)"),
    ] {
        let changed = line.replacen(from, to, 1);
        let error = Line::parse(changed.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), format!("expected {expected}"), "{changed}");
    }
}

#[test]
fn a_repeated_key_is_found() {
    let line = |tags: &str| LINES[0].replace(r#""host":"web1""#, tags);
    for (tags, repeated) in [
        (r#""a":"b","b":"a""#, None),
        (r#""a":"b","b":"a","a":"b""#, Some(&b"a"[..])),
        (r#""a\\":"b","a":"a\"","":"","a\\":"""#, Some(&br"a\\"[..])),
    ] {
        assert_eq!(Line::parse(line(tags).as_bytes()).unwrap().repeated_key(), repeated);
    }
    for count in 1..30 {
        let tags: Vec<_> = (0..count).map(|number| format!(r#""k{number}":"""#)).collect();
        assert_eq!(Line::parse(line(&tags.join(",")).as_bytes()).unwrap().repeated_key(), None);
        let last = format!("k{}", count / 2);
        let tags = format!(r#"{},"{last}":"v""#, tags.join(","));
        assert_eq!(Line::parse(line(&tags).as_bytes()).unwrap().repeated_key(), Some(last.as_bytes()));
    }
}

#[test]
fn a_foreign_line_ends_where_it_ends() {
    let block = [LINES[0], "", "{", LINES[1], "\"\r", LINES[2], LINES[3]].join("\n");
    let lines: Vec<_> =
        Lines::new(block.as_bytes()).map(|line| line.map(|line| line.name).map_err(|error| error.byte)).collect();
    // The last one has no line feed.
    let last = LINES[3].len();
    assert_eq!(lines, [Ok(&b"cpu_usage"[..]), Err(0), Err(0), Ok(b"n"), Err(0), Ok("é\\\"\\\\".as_bytes()), Err(last)]);
}

#[test]
fn real_scrapes() {
    for body in NODE_EXPORTER.lines() {
        let log = encode(body.as_bytes(), Bounds::default()).unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        let lines: Vec<_> = Lines::new(&log).map(|line| line.unwrap()).collect();
        let metrics = body["metrics"].as_array().unwrap();
        assert_eq!(lines.len(), metrics.len());
        for (line, metric) in lines.iter().zip(metrics) {
            assert_eq!(metric["name"], meaning(line.name));
            assert_eq!(metric["timestamp"], line.timestamp_ms);
            assert_eq!(metric["tags"], serde_json::from_slice::<Value>(line.tags).unwrap());
            assert_eq!(line.repeated_key(), None);
        }
        log.split_inclusive(|&byte| byte == b'\n').for_each(|line| check(line.strip_suffix(b"\n").unwrap()));
    }
}

proptest! {
    #[test]
    fn whatever_is_stored_comes_back(
        metrics in vec((".{1,40}", any::<f64>(), 0..4_usize, timestamp::TIMESTAMP_MS_MIN..=timestamp::TIMESTAMP_MS_MAX,
            proptest::collection::btree_map(any::<String>(), any::<String>(), 0..5)), 1..5)
    ) {
        let metrics: Vec<_> = metrics.into_iter().filter(|metric| metric.1.is_finite()).collect();
        let body: Vec<_> = metrics.iter().map(|(name, value, kind, ms, tags)| {
            json!({"name": name, "value": value, "type": Kind::ALL[*kind].name(), "timestamp": ms, "tags": tags})
        }).collect();
        if let Some(log) = encode(json!({"metrics": body}).to_string().as_bytes(), Bounds::default()) {
            let lines = Lines::new(&log).collect::<Result<Vec<_>, _>>().unwrap();
            prop_assert_eq!(lines.len(), metrics.len());
            for (line, (name, value, kind, ms, tags)) in lines.iter().zip(&metrics) {
                prop_assert_eq!(&meaning(line.name), name);
                prop_assert_eq!(line.value_f64(), *value);
                prop_assert_eq!((line.kind, line.timestamp_ms), (Kind::ALL[*kind], *ms));
                let read: Vec<_> = line.tags().map(|(key, value)| (meaning(key), meaning(value))).collect();
                let sent: Vec<_> = tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
                prop_assert_eq!(read, sent);
            }
        }
    }

    #[test]
    fn a_text_is_spelled_if_a_line_can_have_it(
        text in vec(prop_oneof![any::<u8>(), proptest::sample::select(br#"\\\u00019afnbr"/xq"#.to_vec())], 0..12)
    ) {
        let line = |name: &[u8]| {
            [&br#"{"timestamp":"2026-01-02T03:04:05.678Z","name":""#[..], name, br#"","value":1,"type":"gauge","tags":{}}"#].concat()
        };
        // Behind a letter, as a name has one byte at least.
        let name = [b"n", &text[..]].concat();
        let parses = Line::parse(&line(&name)).is_ok_and(|line| line.name == name);
        prop_assert_eq!(is_spelled(&name), parses);
        // Whatever it is, it means something.
        prop_assert!(Text::of_line(&text).decoded().count() <= text.len());
    }

    #[test]
    fn no_bytes_make_it_panic(block in vec(prop_oneof![any::<u8>(), proptest::sample::select(b"\"\\{}:,\n0".to_vec())], 0..200)) {
        prop_assert_eq!(Lines::new(&block).filter(|line| line.is_ok()).count(), 0);
    }
}
