use super::*;
use crate::{BatchEncoder, Bounds, LineSink, STALE_NAN_BITS, Series, Value as Stored};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json, value::RawValue};

const NODE_EXPORTER: &str = include_str!("../../../../bench/data/node_exporter.ndjson");

fn encode(body: &[u8], bounds: Bounds) -> Option<Vec<u8>> {
    let mut encoder = BatchEncoder::new(bounds);
    let mut out = vec![0; encoder.encoded_bytes_max(body.len())];
    let encoded = encoder.encode(body, 1_767_323_045_678, &mut out).ok()?;
    out.truncate(encoded.bytes);
    Some(out)
}

const WIDE: Bounds =
    Bounds { batch_metrics_limit: 2, name_bytes_limit: 1 << 20, tags_limit: 1 << 10, tag_bytes_limit: 1 << 20 };

/// A line as serde_json reads it.
#[derive(serde::Deserialize)]
struct Fields<'a> {
    timestamp: String,
    name: String,
    #[serde(borrow)]
    value: &'a RawValue,
    stale: Option<bool>,
    r#type: String,
    tags: Map<String, Value>,
}

/// The line that a decoder of another protocol than JSON stores for the same metric, if there is one.
fn of_sink(line: &[u8]) -> Option<Vec<u8>> {
    let fields: Fields<'_> = serde_json::from_slice(line).ok()?;
    let text = fields.value.get();
    let value = match (text, fields.stale) {
        (r#""NaN""#, Some(_)) => Stored::Stale,
        (r#""NaN""#, None) => Stored::Float(f64::NAN),
        (r#""+Inf""#, None) => Stored::Float(f64::INFINITY),
        (r#""-Inf""#, None) => Stored::Float(f64::NEG_INFINITY),
        (digits, None) if digits.parse::<f64>().ok()?.is_finite() => Stored::Digits(digits.as_bytes()),
        _ => return None,
    };
    let mut series = Series::new(WIDE);
    series.push_name(fields.name.as_bytes()).ok()?;
    for (key, value) in &fields.tags {
        series.push_tag(key.as_bytes(), value.as_str()?.as_bytes()).ok()?;
    }
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == fields.r#type)?;
    let mut out = vec![0; 2 * line.len() + 512];
    let mut sink = LineSink::new(&mut out, 0);
    sink.push(&series, kind, value, Some(timestamp::parse(&fields.timestamp)?), 0).unwrap();
    let decoded = sink.decoded();
    out.truncate(decoded.bytes);
    (decoded.metrics == 1).then_some(out)
}

/// Returns true if the server itself, given the line as a metric, would store just that line, which is the definition
/// of a line of the log.
fn is_of_the_log(line: &[u8]) -> bool {
    let body = [br#"{"metrics":["#, line, b"]}"].concat();
    let is_it = |stored: Option<Vec<u8>>| stored.is_some_and(|stored| stored.strip_suffix(b"\n") == Some(line));
    is_it(encode(&body, WIDE)) || is_it(of_sink(line))
}

fn has_repeated_key(line: &Line<'_>) -> bool {
    let mut keys: Vec<_> = line.tags().map(|(key, _)| key).collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    keys.len() < count
}

/// Unescapes text by serde_json.
fn meaning(text: &[u8]) -> String {
    serde_json::from_slice(&[b"\"", text, b"\""].concat()).unwrap()
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
            assert!(error.byte <= line.len() && !is_of_the_log(line), "{error}: {shown}");
        }
        Ok(parsed) => {
            assert!(is_of_the_log(line) || has_repeated_key(&parsed), "{shown}");
            let value: Value = serde_json::from_slice(line).unwrap();
            assert_eq!(value["name"], meaning(parsed.name));
            assert_eq!(value["type"], parsed.kind.name());
            assert_eq!(value["timestamp"], std::str::from_utf8(&timestamp::format(parsed.timestamp_ms)).unwrap());
            let fields: Fields<'_> = serde_json::from_slice(line).unwrap();
            assert_eq!(fields.value.get().as_bytes(), parsed.value);
            assert_eq!(parsed.number(), (!value["value"].is_string()).then_some(parsed.value));
            assert_eq!(
                (parsed.is_stale, value.get("stale")),
                (fields.stale == Some(true), parsed.is_stale.then_some(&json!(true)))
            );
            let mut tags = serde_json::Map::new();
            parsed.tags().for_each(|(key, value)| drop(tags.insert(meaning(key), meaning(value).into())));
            assert_eq!(value["tags"], Value::Object(tags), "{shown}");
        }
    }
}

const LINES: [&str; 10] = [
    r#"{"timestamp":"2026-01-02T03:04:05.678Z","name":"cpu_usage","value":75.5,"type":"gauge","tags":{"host":"web1"}}"#,
    r#"{"timestamp":"0000-02-29T23:59:59.999Z","name":"n","value":-0,"type":"counter","tags":{}}"#,
    r#"{"timestamp":"9999-12-31T00:00:00.000Z","name":"é\"\\","value":1.7976931348623157e308,"type":"summary","tags":{"":"","é":"𝄞"}}"#,
    r#"{"timestamp":"2026-01-02T03:04:05.678Z","name":"\u0000\u001f\b\t","value":1E-400,"type":"histogram","tags":{"le":"+Inf","a\\":"\\","b\\\\\"":"\\\"","c":"d"}}"#,
    r#"{"timestamp":"2026-01-02T03:04:05.678Z","name":"a name of more than sixty-four bytes, for which blocks of bytes are looked at","value":0.10,"type":"gauge","tags":{"a":"b","c":"d"}}"#,
    r#"{"timestamp":"1990-12-31T23:59:59.000Z","name":"/ ~","value":1e308,"type":"gauge","tags":{"k":"a value of more than sixty-four bytes, in which there is an \n escape, é"}}"#,
    r#"{"timestamp":"2026-01-02T03:04:05.678Z","name":"up","value":"NaN","type":"gauge","tags":{"job":"a"}}"#,
    r#"{"timestamp":"2026-01-02T03:04:05.678Z","name":"up","value":"NaN","stale":true,"type":"untyped","tags":{}}"#,
    r#"{"timestamp":"2026-01-02T03:04:05.678Z","name":"max","value":"+Inf","type":"untyped","tags":{}}"#,
    r#"{"timestamp":"2026-01-02T03:04:05.678Z","name":"min","value":"-Inf","type":"counter","tags":{"value":"NaN"}}"#,
];

#[test]
fn a_line_without_a_minute_is_foreign() {
    let line = br#"{"timestamp":"2026-01-02T03:04:05.678Z","name":"m","value":1,"type":"gauge","tags":{}}"#;
    for filler in [0, b'0', b' ', 0xff] {
        let mut other = *line;
        other[BEFORE_TIMESTAMP.len()..][..Minute::BYTES].fill(filler);
        assert!(Line::parse(&other).is_err(), "{filler}");
        assert_eq!(LineHeads::default().read(&other, 0), None, "{filler}");
    }
}

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
fn values_that_are_no_numbers_come_back() {
    for (number, value, is_stale, kind) in [
        (6, r#""NaN""#, false, Kind::Gauge),
        (7, r#""NaN""#, true, Kind::Untyped),
        (8, r#""+Inf""#, false, Kind::Untyped),
        (9, r#""-Inf""#, false, Kind::Counter),
    ] {
        let line = Line::parse(LINES[number].as_bytes()).unwrap();
        assert_eq!((line.value, line.number(), line.is_stale, line.kind), (value.as_bytes(), None, is_stale, kind));
    }
    assert_eq!(Line::parse(LINES[0].as_bytes()).unwrap().number(), Some(&b"75.5"[..]));
}

#[test]
fn every_byte_changed_dropped_or_added() {
    for line in LINES {
        let line = line.as_bytes();
        check(line);
        for place in 0..line.len() {
            check(&line[..place]);
            check(&[&line[..place], &line[place + 1..]].concat());
            for byte in *b"\"\\{}[]:,0159+-.eETtZzuNIf/abgx \t\n\r\0\x1f\x7f\x80\xc3\xff" {
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
fn what_means_the_same_is_no_line_of_the_log() {
    const NO_VALUE: &str = "a number, \"NaN\", \"+Inf\" or \"-Inf\" (byte 67)";
    const NO_TYPE_71: &str = "\"type\", one of gauge, counter, histogram, summary and untyped, and \"tags\" (byte 71)";
    const NO_TYPE_72: &str = "\"type\", one of gauge, counter, histogram, summary and untyped, and \"tags\" (byte 72)";
    const NO_TYPE_73: &str = "\"type\", one of gauge, counter, histogram, summary and untyped, and \"tags\" (byte 73)";
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
        ("gauge", "gauges", NO_TYPE_71),
        ("75.5", "NaN", "a digit (byte 67)"),
        ("75.5", "\"75.5\"", NO_VALUE),
        ("75.5", "\"nan\"", NO_VALUE),
        ("75.5", "\"Inf\"", NO_VALUE),
        ("75.5", "\"-NaN\"", NO_VALUE),
        ("75.5", "\"+Inf", NO_VALUE),
        ("75.5", r#""\u004eaN""#, NO_VALUE),
        ("75.5", "null", "a digit (byte 67)"),
        ("75.5", r#"75.5,"stale":true"#, NO_TYPE_71),
        ("75.5", r#""+Inf","stale":true"#, NO_TYPE_73),
        ("75.5", r#""NaN","stale":false"#, NO_TYPE_72),
        (
            "75.5",
            r#""NaN","stale":true,"stale":true"#,
            "\"type\", one of gauge, counter, histogram, summary and untyped, and \"tags\" (byte 85)",
        ),
        ("75.5", r#""NaN", "stale":true"#, NO_TYPE_72),
        ("gauge", "unknown", NO_TYPE_71),
    ] {
        let changed = line.replacen(from, to, 1);
        let error = Line::parse(changed.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), format!("expected {expected}"), "{changed}");
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
            assert!(!has_repeated_key(line));
        }
        log.split_inclusive(|&byte| byte == b'\n').for_each(|line| check(line.strip_suffix(b"\n").unwrap()));
    }
}

fn float(digits: &[u8]) -> f64 {
    std::str::from_utf8(digits).unwrap().parse().unwrap()
}

/// A value of every variant.
fn stored() -> impl Strategy<Value = Stored<'static>> {
    const DIGITS: [&[u8]; 6] = [b"0", b"-0", b"1.50E+3", b"0.1000", b"1e-400", b"-17"];
    prop_oneof![
        any::<f64>().prop_map(Stored::Float),
        any::<u64>().prop_map(|bits| Stored::Float(f64::from_bits(bits))),
        (-1_000_000_i32..1_000_000).prop_map(|number| Stored::Float(f64::from(number) / 100.0)),
        proptest::sample::select(vec![
            f64::NAN,
            -f64::NAN,
            f64::from_bits(STALE_NAN_BITS),
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            f64::MIN_POSITIVE,
            f64::MAX,
        ])
        .prop_map(Stored::Float),
        any::<i64>().prop_map(Stored::Int),
        any::<u64>().prop_map(Stored::Uint),
        proptest::sample::select(DIGITS.to_vec()).prop_map(Stored::Digits),
        Just(Stored::Stale),
    ]
}

/// Holds the value that was read against the one that was stored.
fn check_value(line: &Line<'_>, stored: Stored<'_>) {
    let shown = String::from_utf8_lossy(line.value);
    match stored {
        Stored::Stale => assert!(line.is_stale && line.number().is_none()),
        Stored::Float(stored) if stored.to_bits() == STALE_NAN_BITS => assert!(line.is_stale),
        Stored::Float(stored) if stored.is_nan() => assert_eq!((&*shown, line.is_stale), ("\"NaN\"", false)),
        Stored::Float(f64::INFINITY) => assert_eq!((&*shown, line.number()), ("\"+Inf\"", None)),
        Stored::Float(f64::NEG_INFINITY) => assert_eq!((&*shown, line.number()), ("\"-Inf\"", None)),
        Stored::Float(stored) => assert_eq!(float(line.number().unwrap()).to_bits(), stored.to_bits(), "{shown}"),
        Stored::Int(stored) => assert_eq!(shown.parse(), Ok(stored)),
        Stored::Uint(stored) => assert_eq!(shown.parse(), Ok(stored)),
        Stored::Digits(stored) => assert_eq!(line.number(), Some(stored)),
    }
}

proptest! {
    #[test]
    fn whatever_a_decoder_stores_comes_back(
        metrics in vec((
            // Any characters, `.` has no line feed.
            "(?s).{1,40}",
            proptest::collection::btree_map("(?s).{0,20}", "(?s).{0,20}", 0..5),
            proptest::sample::select(Kind::ALL.to_vec()),
            stored(),
            timestamp::TIMESTAMP_MS_MIN..=timestamp::TIMESTAMP_MS_MAX,
        ), 1..5)
    ) {
        let mut out = vec![0; 1 << 16];
        let mut sink = LineSink::new(&mut out, 0);
        let mut series = Series::new(WIDE);
        for (at, (name, tags, kind, value, ms)) in metrics.iter().enumerate() {
            series.clear();
            series.push_name(name.as_bytes()).unwrap();
            for (key, value) in tags {
                series.push_tag(key.as_bytes(), value.as_bytes()).unwrap();
            }
            sink.push(&series, *kind, *value, Some(*ms), at).unwrap();
        }
        let decoded = sink.decoded();
        let log = &out[..decoded.bytes];
        let lines = Lines::new(log).collect::<Result<Vec<_>, _>>().unwrap();
        prop_assert_eq!((lines.len(), decoded.metrics as usize), (metrics.len(), metrics.len()));
        for (line, (name, tags, kind, value, ms)) in lines.iter().zip(&metrics) {
            prop_assert_eq!(&meaning(line.name), name);
            prop_assert_eq!((line.kind, line.timestamp_ms), (*kind, *ms));
            check_value(line, *value);
            let read: Vec<_> = line.tags().map(|(key, value)| (meaning(key), meaning(value))).collect();
            let stored: Vec<_> = tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            prop_assert_eq!(read, stored);
        }
        for line in log.split_inclusive(|&byte| byte == b'\n') {
            check(line.strip_suffix(b"\n").unwrap());
        }
    }

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
                prop_assert_eq!(float(line.value), *value);
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
