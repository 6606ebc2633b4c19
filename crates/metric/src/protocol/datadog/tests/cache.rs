//! The cache of series: bodies decode alike with and without it.

use super::*;
use crate::limits::SERIES_CACHED_MAX;
use crate::protocol::datadog::{Version, cached};

/// Decodes a body with `decoder`, with `bytes` reserved for the lines.
fn run(decoder: &mut Datadog, encoding: Encoding, body: &[u8], bytes: usize) -> Result<(String, Decoded), DecodeError> {
    let mut out = vec![0; bytes];
    let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
    match encoding {
        Encoding::One => decoder.decode_v1(body, &mut sink)?,
        Encoding::Two => decoder.decode_v2(body, &mut sink)?,
        Encoding::Protobuf => decoder.decode_v2_protobuf(body, &mut sink)?,
    }
    let decoded = sink.decoded();
    Ok((String::from_utf8(out[..decoded.bytes].to_vec()).unwrap(), decoded))
}

/// A decoder without a cache.
fn uncached(bounds: Bounds) -> Datadog {
    let mut decoder = Datadog::new(bounds);
    decoder.cached.disable();
    decoder
}

fn body_of(encoding: Encoding, series: &[Vec<u8>]) -> Vec<u8> {
    if encoding == Encoding::Protobuf {
        let mut body = Vec::new();
        series.iter().for_each(|series| prost::encoding::bytes::encode(1, series, &mut body));
        return body;
    }
    [b"{\"series\": [", &series.join(&b", "[..])[..], b"]}"].concat()
}

/// Sends `series` to a decoder that has seen `before`: it must be stored from the cache, or not at all, as
/// `is_cached` says, with the line that a decoder without a cache writes.
fn check(encoding: Encoding, before: &[u8], series: &[u8], is_cached: bool) {
    let named = String::from_utf8_lossy(series).into_owned();
    let mut decoder = Datadog::new(Bounds::default());
    run(&mut decoder, encoding, &body_of(encoding, &[before.to_vec()]), 1 << 16).unwrap();
    let cached_form = match encoding {
        Encoding::One => cached::Encoding::Json(Version::One),
        Encoding::Two => cached::Encoding::Json(Version::Two),
        Encoding::Protobuf => cached::Encoding::Protobuf,
    };
    let mut out = vec![0; 1 << 16];
    let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
    let pushed = decoder.cached.push(series, cached_form, &mut sink);
    assert_eq!(pushed, is_cached.then_some(series.len()), "{named}");
    let (metrics, bytes) = (sink.metrics(), sink.decoded().bytes);
    assert_eq!(metrics, u32::from(is_cached), "{named}");
    if is_cached {
        let body = body_of(encoding, &[series.to_vec()]);
        let (lines, _) = run(&mut uncached(Bounds::default()), encoding, &body, 1 << 16).unwrap();
        assert_eq!(lines.as_bytes(), &out[..bytes], "{named}");
    }
}

/// Replaces a part of a series, of which there is one.
fn replaced(series: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = memchr::memmem::find(series, from).unwrap();
    [&series[..at], to, &series[at + from.len()..]].concat()
}

const ONE: &[u8] = br#"{"metric": "m", "points": [[1795838679.5, 15.0]], "type": "count", "host": "a1", "device": "d",
    "tags": ["k:v"]}"#;
const TWO: &[u8] =
    br#"{"metric":"m","points":[{"timestamp":1795838679,"value":1}],"resources":[{"type":"host","name":"h"}]}"#;

#[test]
fn a_series_in_json_is_cached_by_all_but_point_and_host() {
    for (from, to, is_cached) in [
        ("", "", true),
        ("15.0", "-1e-9", true),
        ("1795838679.5", "1795838679.55", true),
        ("1795838679.5", "1795838680", true),
        (", 15.0", ",15.0", true),
        ("\"a1\"", "\"another\"", true),
        ("\"a1\"", "\"\"", false),
        ("\"a1\"", "null", false),
        ("\"a1\"", "\"\\u0061\"", false),
        ("15.0", "null", false),
        ("15.0", "1e999", false),
        ("15.0", "15.0, 1", false),
        ("15.0]", "15.0], [1, 2]", false),
        ("1795838679.5", "1e15", false),
        ("\"m\"", "\"n\"", false),
        ("count", "gauge", false),
        ("k:v", "k:w", false),
        ("\"d\"", "\"e\"", false),
        ("}", ",\"x\":1}", false),
    ] {
        check(Encoding::One, ONE, &replaced(ONE, from.as_bytes(), to.as_bytes()), is_cached);
    }
    for (from, to, is_cached) in [
        ("", "", true),
        (":1}", ":-2.5}", true),
        ("679,", "680,", true),
        (":1}", ":1,\"x\":2}", false),
        ("\"h\"", "\"i\"", false),
        (":1}", ":null}", false),
    ] {
        check(Encoding::Two, TWO, &replaced(TWO, from.as_bytes(), to.as_bytes()), is_cached);
    }
}

#[test]
fn a_host_that_tags_change_is_no_gap() {
    for (tag, resource) in [("host:b", ""), ("host:a1", ""), ("host", ""), ("k:v", r#","resources":[{"type":"host"}]"#)]
    {
        let before = replaced(ONE, b"k:v", tag.as_bytes());
        let before = replaced(&before, b"]}", format!("]{resource}}}").as_bytes());
        check(Encoding::One, &before, &before, true);
        check(Encoding::One, &before, &replaced(&before, b"\"a1\"", b"\"a2\""), false);
    }
    let escaped = replaced(ONE, b"k:v", br"hos\u0074:b");
    check(Encoding::One, &escaped, &escaped, true);
    check(Encoding::One, &escaped, &replaced(&escaped, b"\"a1\"", b"\"a2\""), false);
}

/// Fields of a series in protobuf.
mod wire {
    pub(super) fn bytes(number: u32, bytes: &[u8]) -> Vec<u8> {
        let mut field = Vec::new();
        prost::encoding::bytes::encode(number, &bytes.to_vec(), &mut field);
        field
    }

    pub(super) fn resource(kind: &str, name: &str) -> Vec<u8> {
        bytes(1, &[bytes(1, kind.as_bytes()), bytes(2, name.as_bytes())].concat())
    }

    pub(super) fn point(value: Option<f64>, seconds: Option<i64>) -> Vec<u8> {
        let mut point = Vec::new();
        value.into_iter().for_each(|value| prost::encoding::double::encode(1, &value, &mut point));
        seconds.into_iter().for_each(|seconds| prost::encoding::int64::encode(2, &seconds, &mut point));
        bytes(4, &point)
    }
}

#[test]
fn a_series_in_protobuf_is_cached_by_all_but_point_and_host() {
    let (host, metric, tag, kind) =
        (wire::resource("host", "a1"), wire::bytes(2, b"m"), wire::bytes(3, b"k:v"), b"(\x03");
    let point = wire::point(Some(1.5), Some(1_795_838_679));
    let series = [&host[..], &metric, &tag, &point, kind].concat();
    check(Encoding::Protobuf, &series, &series, true);
    for (from, to, is_cached) in [
        (&host, wire::resource("host", "another"), true),
        (&host, wire::resource("host", ""), false),
        (&host, wire::resource("host", "\""), false),
        (&host, wire::resource("hosts", "a1"), false),
        (&host, wire::resource("host", &"x".repeat(128)), false),
        (&host, [&host[..], &host].concat(), false),
        (&point, wire::point(None, Some(1_795_838_679)), true),
        (&point, wire::point(Some(-0.0), Some(-1)), true),
        (&point, wire::point(Some(1.5), Some(i64::MAX)), false),
        (&point, wire::point(Some(f64::NAN), Some(1)), false),
        (&point, wire::point(Some(1.5), None), false),
        (&point, [&point[..], &point].concat(), false),
        (&metric, wire::bytes(2, b"n"), false),
        (&tag, wire::bytes(3, b"k:w"), false),
    ] {
        check(Encoding::Protobuf, &series, &replaced(&series, from, &to), is_cached);
    }
    check(Encoding::Protobuf, &series, &[&series[..], &tag].concat(), false);
    for other in [wire::bytes(3, b"host:b"), wire::resource("host", "b")] {
        let before = [&series[..], &other].concat();
        check(Encoding::Protobuf, &before, &before, true);
        check(Encoding::Protobuf, &before, &replaced(&before, &host, &wire::resource("host", "c")), false);
    }
}

#[test]
fn more_series_than_are_cached_decode_alike() {
    let mut decoder = Datadog::new(Bounds::default());
    for body in 0..12_usize {
        let series: Vec<_> = (body * 1000..(body + 1) * 1000)
            .map(|number| replaced(ONE, b"k:v", format!("k:{}", number % (SERIES_CACHED_MAX + 2000)).as_bytes()))
            .collect();
        let body = body_of(Encoding::One, &series);
        let expected = run(&mut uncached(Bounds::default()), Encoding::One, &body, 1 << 20);
        assert!(run(&mut decoder, Encoding::One, &body, 1 << 20) == expected);
    }
    decoder.trim();
    assert!(decoder.kept_bytes() < 4 << 20, "{}", decoder.kept_bytes());
}

/// Members of a series in JSON with the values that they may have, most of them the first.
const MEMBERS: [(&str, &[&str]); 6] = [
    ("metric", &["\"m\"", "\"n\"", "\"\"", "\"\\\"\"", "1"]),
    ("type", &["\"gauge\"", "\"count\"", "3", "1", "null", "{}"]),
    ("host", &["\"h\"", "\"hh\"", "\"a long name of a host\"", "\"\"", "null", "\"h\\n\"", "7"]),
    ("tags", &["[\"a:1\"]", "[\"a:1\",\"host:x\"]", "[\"host\"]", "[\"a:1\", \"b\"]", "null", "[\"\\u0061:2\"]"]),
    ("resources", &["[]", "[{\"type\":\"host\",\"name\":\"r\"}]", "[{\"type\":\"x\",\"name\":\"r\"}]", "null"]),
    ("device", &["\"d\"", "\"\"", "null"]),
];
const POINTS_ONE: &[&str] =
    &["[[1,2]]", "[[1.5, 2.5]]", "[[1.55,2]]", "[[1,2],[3,4]]", "[[1,null]]", "[[1e99,1]]", "[]", "[[1,1e999]]"];
const POINTS_TWO: &[&str] = &[
    r#"[{"timestamp":1,"value":2}]"#,
    r#"[{"timestamp": 15, "value": 2.5}]"#,
    r#"[{"value":1,"timestamp":2}]"#,
    r#"[{"timestamp":1,"value":null}]"#,
    r#"[{"timestamp":1,"value":2,"x":3}]"#,
    "[]",
];

fn json_series(encoding: Encoding) -> impl Strategy<Value = Vec<u8>> {
    let points = if encoding == Encoding::One { POINTS_ONE } else { POINTS_TWO };
    let values = prop::collection::vec(prop_oneof![3 => Just(0_usize), 1 => 0..8_usize], MEMBERS.len());
    (values, 0..points.len(), 0..MEMBERS.len() + 1, any::<bool>()).prop_map(move |(values, point, at, is_spaced)| {
        let mut members: Vec<_> =
            MEMBERS.iter().zip(values).map(|((name, all), value)| (*name, all[value % all.len()])).collect();
        members.insert(if is_spaced { 1 } else { at }, ("points", points[point]));
        let (colon, comma) = if is_spaced { (": ", ", ") } else { (":", ",") };
        let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\"{colon}{value}")).collect();
        format!("{{{}}}", members.join(comma)).into_bytes()
    })
}

fn protobuf_series() -> impl Strategy<Value = Vec<u8>> {
    let one_of = |fields: Vec<Vec<u8>>| prop_oneof![3 => Just(fields[0].clone()), 1 => prop::sample::select(fields)];
    let resources = one_of(vec![
        wire::resource("host", "h"),
        wire::resource("host", "hh"),
        wire::resource("host", "\u{e9}"),
        wire::resource("device", "d"),
        [wire::resource("host", "h"), wire::resource("host", "i")].concat(),
        vec![],
    ]);
    let names = one_of(vec![wire::bytes(2, b"m"), wire::bytes(2, b"n"), vec![], wire::bytes(2, b"\xff")]);
    let tags = one_of(vec![wire::bytes(3, b"k:v"), vec![], wire::bytes(3, b"host:x"), wire::bytes(3, b"host")]);
    let points = one_of(vec![
        wire::point(Some(1.5), Some(1)),
        wire::point(Some(2.0), Some(1_795_838_679)),
        wire::point(None, Some(2)),
        wire::point(Some(1.0), None),
        wire::point(Some(f64::INFINITY), Some(3)),
        wire::point(Some(1.0), Some(i64::MIN)),
        vec![],
        [wire::point(None, Some(2)), wire::point(None, Some(3))].concat(),
    ]);
    let kinds = one_of(vec![b"(\x03".to_vec(), b"(\x01".to_vec(), vec![], b"(\x03P\x0a".to_vec()]);
    (resources, names, tags, points, kinds).prop_map(|(a, b, c, d, e)| [a, b, c, d, e].concat())
}

/// Changes of a body: a byte put into the place of some others, and the length that is left.
type Changes = (Vec<(u16, u8, u8)>, Option<u16>);

fn bodies() -> impl Strategy<Value = Vec<(Encoding, Vec<Vec<u8>>, Changes)>> {
    let bytes = prop_oneof![Just(b'"'), Just(b'}'), Just(b','), Just(b'1'), Just(b' '), any::<u8>()];
    let changed = prop::collection::vec((any::<u16>(), 0..3_u8, bytes), 0..2);
    let changes = || (changed.clone(), prop::option::weighted(0.1, any::<u16>()));
    let encoding = |encoding, series: BoxedStrategy<Vec<u8>>| {
        (Just(encoding), prop::collection::vec(series, 1..6), changes()).boxed()
    };
    let body = prop_oneof![
        encoding(Encoding::One, json_series(Encoding::One).boxed()),
        encoding(Encoding::Two, json_series(Encoding::Two).boxed()),
        encoding(Encoding::Protobuf, protobuf_series().boxed()),
    ];
    prop::collection::vec(body, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn bodies_decode_alike_with_and_without_a_cache(
        bodies in bodies(),
        bytes in prop_oneof![4 => Just(1 << 16), 1 => 0..1500_usize],
        bounds in prop_oneof![Just(Bounds::default()),
            Just(Bounds { name_bytes_limit: 1, tags_limit: 2, tag_bytes_limit: 12, ..Bounds::default() })],
    ) {
        let mut decoder = Datadog::new(bounds);
        for (encoding, series, (changed, cut)) in bodies.iter().chain(&bodies) {
            let mut body = body_of(*encoding, series);
            for &(at, count, byte) in changed {
                let at = usize::from(at) % body.len();
                body.splice(at..(at + usize::from(count)).min(body.len()), [byte]);
            }
            if let Some(cut) = cut {
                body.truncate(usize::from(*cut) % body.len());
            }
            let expected = run(&mut uncached(bounds), *encoding, &body, bytes);
            let text = String::from_utf8_lossy(&body);
            prop_assert_eq!(run(&mut decoder, *encoding, &body, bytes), expected, "{:?}", text);
        }
    }
}
