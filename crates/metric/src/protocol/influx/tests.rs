use std::collections::BTreeMap;

use proptest::prelude::*;

use super::reference::{self, Reading, Reference};
use super::*;
use crate::{Decoded, Line};

const ARRIVAL_MS: i64 = 1_767_323_045_678;

/// A metric of the log: its name, value and tags as they were before escaping, and its timestamp.
#[derive(Debug, Clone, PartialEq)]
struct Stored {
    name: String,
    value: String,
    tags: BTreeMap<String, String>,
    timestamp_ms: i64,
}

fn decode_as(body: &[u8], options: &Options<'_>) -> (Vec<String>, Decoded) {
    decode_with(&mut Influx::new(Bounds::default()), body, options)
}

/// As [`decode_as`], with a decoder that has decoded other bodies.
fn decode_with(decoder: &mut Influx, body: &[u8], options: &Options<'_>) -> (Vec<String>, Decoded) {
    let mut out = vec![0; 1 << 16];
    let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
    decoder.decode(body, options, &mut sink).unwrap();
    let decoded = sink.decoded();
    let text = String::from_utf8(out[..decoded.bytes].to_vec()).unwrap();
    (text.lines().map(str::to_owned).collect(), decoded)
}

fn decode(body: &[u8]) -> (Vec<String>, Decoded) {
    decode_as(body, &Options::default())
}

fn stored(line: &str) -> Stored {
    let read = Line::parse(line.as_bytes()).unwrap();
    let document: serde_json::Value = serde_json::from_str(line).unwrap();
    let tags = document["tags"].as_object().unwrap();
    Stored {
        name: document["name"].as_str().unwrap().to_owned(),
        value: String::from_utf8(read.value.to_vec()).unwrap(),
        tags: tags.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect(),
        timestamp_ms: read.timestamp_ms,
    }
}

/// The metrics of a body as `name{key=value,...} value @ms`, without the milliseconds of arrival.
fn summaries(body: &[u8]) -> Vec<String> {
    let (lines, _) = decode(body);
    lines.iter().map(|line| summary(&stored(line))).collect()
}

fn summary(metric: &Stored) -> String {
    let Stored { name, value, tags, timestamp_ms } = metric;
    let tags: Vec<_> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let at = if *timestamp_ms == ARRIVAL_MS { String::new() } else { format!(" @{timestamp_ms}") };
    format!("{name}{{{}}} {value}{at}", tags.join(","))
}

#[test]
fn lines_become_metrics() {
    for (body, metrics) in [
        ("m f=1", &["m_f{} 1"][..]),
        ("m value=1", &["m{} 1"]),
        (
            "cpu,cpu=cpu0,host=a idle=97.5,user=2i 1767323045678999999",
            &["cpu_idle{cpu=cpu0,host=a} 97.5", "cpu_user{cpu=cpu0,host=a} 2"],
        ),
        ("m f=1 -1", &["m_f{} 1 @-1"]),
        ("m f=1 -1000000", &["m_f{} 1 @-1"]),
        ("m f=1 999999", &["m_f{} 1 @0"]),
        ("m f=1 1000000   ", &["m_f{} 1 @1"]),
        ("m f=1  ", &["m_f{} 1"]),
        (" \t m \0\tf=1\t 0", &[]),
        (" \t m \0\tf=1 \t0", &["m_f{} 1 @0"]),
        ("m f=t,g=T,h=true,i=True,j=TRUE", &["m_f{} 1", "m_g{} 1", "m_h{} 1", "m_i{} 1", "m_j{} 1"]),
        ("m f=f,g=F,h=false,i=False,j=FALSE", &["m_f{} 0", "m_g{} 0", "m_h{} 0", "m_i{} 0", "m_j{} 0"]),
        (
            "m a=9223372036854775807i,b=-9223372036854775808i",
            &["m_a{} 9223372036854775807", "m_b{} -9223372036854775808"],
        ),
        (
            "m a=18446744073709551615u,b=0u,c=-0i,d=007i,e=00u",
            &["m_a{} 18446744073709551615", "m_b{} 0", "m_c{} 0", "m_d{} 7", "m_e{} 0"],
        ),
        (
            "m a=1,b=1.0,c=-1.5e10,d=1E5,e=1e+5,f=-0,g=0.10",
            &["m_a{} 1", "m_b{} 1.0", "m_c{} -1.5e10", "m_d{} 1E5", "m_e{} 1e+5", "m_f{} -0", "m_g{} 0.10"],
        ),
        (
            "m a=.5,b=-.5,c=1.,d=00,e=-01.50,f=1.e5,g=.0e-1",
            &["m_a{} 0.5", "m_b{} -0.5", "m_c{} 1", "m_d{} 0", "m_e{} -1.50", "m_f{} 1e5", "m_g{} 0.0e-1"],
        ),
        (r#"m s="a,b=c d",f=1"#, &["m_f{} 1"]),
        (r#"m s="\"\\",t="",f=1 0"#, &["m_f{} 1 @0"]),
        ("m s=\"a\nb f=2\",f=1\nm g=2", &["m_f{} 1", "m_g{} 2"]),
        ("m f=1\r\n\r\n  \n# m f=\"2\nm g=2 0\r\nm h=t\r", &["m_f{} 1", "m_g{} 2 @0", "m_h{} 1"]),
        (r"a\,b\ c\=d\e,k\,\ \=\x=v\,\ \=\x f\,\ \=\x=1", &[r"a,b c\=d\e_f, =\x{k, =\x=v, =\x} 1"]),
        (r"m,k=v\\ f g=2", &[r"m_g{k=v\ f} 2"]),
        (r#"m,k="v" "f"=1"#, &[r#"m_"f"{k="v"} 1"#]),
        ("m,b=1,a=2,b=3,c=4,a=5 f=1", &["m_f{a=5,b=3,c=4} 1"]),
        ("m,k==v f=1", &["m_f{k==v} 1"]),
        ("m f=1,f=2", &["m_f{} 1", "m_f{} 2"]),
    ] {
        assert_eq!(summaries(body.as_bytes()), metrics, "{body}");
    }
}

#[test]
fn a_line_that_does_not_parse_says_why() {
    for (line, metrics, text) in [
        (",k=v f=1", 1, "missing measurement"),
        ("m", 1, "missing fields"),
        ("m ", 1, "missing fields"),
        ("m,k=v", 1, "missing fields"),
        ("m, f=1", 1, "missing tag key"),
        ("m,=v f=1", 1, "missing tag key"),
        ("m,k f=1", 1, "missing tag value"),
        ("m,k= f=1", 1, "missing tag value"),
        ("m,k=,l=v f=1", 1, "missing tag value"),
        ("m,k=v=w f=1", 1, "invalid tag format"),
        ("m =1", 1, "missing field key"),
        ("m f=1,=2", 2, "missing field key"),
        ("m f=", 1, "missing field value"),
        ("m f=,g=1", 1, "missing field value"),
        ("m f", 1, "invalid field format"),
        ("m f=1,", 2, "invalid field format"),
        ("m f,g=1", 1, "invalid field format"),
        ("m f=\"a\"b", 1, "invalid field format"),
        ("m f=1,g=abc,h=2", 2, "invalid boolean"),
        ("m f=+1", 1, "invalid boolean"),
        ("m f=tru", 1, "invalid boolean"),
        ("m f=NaN", 1, "invalid number"),
        ("m f=-inf", 1, "invalid number"),
        ("m f=1.1.1", 1, "invalid number"),
        ("m f=.", 1, "invalid number"),
        ("m f=-", 1, "invalid number"),
        ("m f=-i", 1, "invalid number"),
        ("m f=1.0i", 1, "invalid number"),
        ("m f=-1u", 1, "invalid number"),
        ("m f=0x1", 1, "invalid number"),
        ("m f=1\rx", 1, "invalid number"),
        ("m f=1e400", 1, "invalid float"),
        ("m f=0001e400", 1, "invalid float"),
        ("m f=9223372036854775808i", 1, "integer out of range"),
        ("m f=18446744073709551616u", 1, "integer out of range"),
        ("m f=1,g=2 now", 2, "bad timestamp"),
        ("m f=1 -", 1, "bad timestamp"),
        ("m f=1 1.5", 1, "bad timestamp"),
        ("m f=1 1 1", 1, "point is invalid"),
        ("m f=1 1\t", 1, "bad timestamp"),
    ] {
        for (end, next) in [("\n", "n g=1"), ("\r\n", "n g=1\r\n"), ("", "")] {
            let body = format!("# \"\nn g=1\n \t{line}{end}{next}");
            let (lines, decoded) = decode(body.as_bytes());
            assert_eq!(lines.len(), 1 + usize::from(!next.is_empty()), "{body}");
            let rejected = decoded.first_rejected.unwrap();
            assert_eq!((rejected.reason, rejected.text, rejected.at), (Reject::Syntax, text, 3), "{body}");
            assert_eq!(decoded.rejected(), metrics, "{body}");
            assert_eq!(rejected.element(body.as_bytes()), Some(line.as_bytes()), "{body}");
        }
    }
}

#[test]
fn a_string_hides_no_line_from_a_faulty_one() {
    let body = b"m f=abc,s=\"x\nm g=2\" 1\nm h=3\nm i=";
    let (lines, decoded) = decode(body);
    assert_eq!(lines.iter().map(|line| stored(line).name).collect::<Vec<_>>(), ["m_h"]);
    let first = decoded.first_rejected.unwrap();
    assert_eq!((first.at, first.offset, first.len), (1, 0, 21));
    assert_eq!(decoded.rejected(), 2);

    let (lines, decoded) = decode(b"m f=1,s=\"x\\\"\nm g=2\nm h=3");
    assert!(lines.is_empty());
    assert_eq!((decoded.rejected(), decoded.first_rejected.unwrap().text), (2, "unbalanced quotes"));
}

#[test]
fn line_numbers_count_the_line_feeds_of_strings() {
    let (_, decoded) = decode(b"m f=1,s=\"\n\n\"\n\n#\nm f=");
    assert_eq!(decoded.first_rejected.unwrap().at, 6);
}

#[test]
fn strings_are_skipped_and_counted() {
    let (lines, decoded) =
        decode(b"system,host=a uptime_format=\"1 day, 2:03\",uptime=93784i\nm s=\"only\",t=\"text\"\n");
    assert_eq!((lines.len(), decoded.rejected()), (1, 0));
    assert_eq!(decoded.skipped[Skip::Text as usize], 3);
}

#[test]
fn precisions_scale_to_milliseconds() {
    for (precision, timestamp, timestamp_ms) in [
        (Precision::Nanoseconds, i64::MIN, Some(-9_223_372_036_855)),
        (Precision::Microseconds, -1, Some(-1)),
        (Precision::Microseconds, 1_999, Some(1)),
        (Precision::Milliseconds, 1_767_323_045_678, Some(1_767_323_045_678)),
        (Precision::Seconds, 1_767_323_045, Some(1_767_323_045_000)),
        (Precision::Minutes, 1, Some(60_000)),
        (Precision::Hours, -1, Some(-3_600_000)),
        (Precision::Milliseconds, crate::TIMESTAMP_MS_MAX, Some(crate::TIMESTAMP_MS_MAX)),
        (Precision::Milliseconds, crate::TIMESTAMP_MS_MAX + 1, None),
        (Precision::Hours, i64::MAX, None),
    ] {
        let options = Options { precision, tag: None };
        let (lines, decoded) = decode_as(format!("m f=1,g=t,s=\"\" {timestamp}").as_bytes(), &options);
        let expected: Vec<_> = timestamp_ms.into_iter().flat_map(|timestamp_ms| [timestamp_ms; 2]).collect();
        assert_eq!(lines.iter().map(|line| stored(line).timestamp_ms).collect::<Vec<_>>(), expected);
        assert_eq!(decoded.rejected[Reject::Timestamp as usize] as usize, 2 - lines.len());
    }
    let (_, decoded) = decode(b"m f=1 9223372036854775808\nm f=1 -99999999999999999999999");
    assert_eq!(decoded.rejected[Reject::Timestamp as usize], 2);
}

#[test]
fn precisions_have_the_names_of_each_version() {
    use Precision::{Hours, Microseconds, Milliseconds, Minutes, Nanoseconds, Seconds};
    for (text, v1, v2) in [
        ("n", Some(Nanoseconds), None),
        ("ns", Some(Nanoseconds), Some(Nanoseconds)),
        ("u", Some(Microseconds), None),
        ("us", Some(Microseconds), Some(Microseconds)),
        ("ms", Some(Milliseconds), Some(Milliseconds)),
        ("s", Some(Seconds), Some(Seconds)),
        ("m", Some(Minutes), None),
        ("h", Some(Hours), None),
        ("", None, None),
        ("S", None, None),
    ] {
        assert_eq!((Precision::of_v1(text.as_bytes()), Precision::of_v2(text.as_bytes())), (v1, v2), "{text}");
    }
}

#[test]
fn the_database_becomes_a_tag() {
    let options = Options { tag: Some((b"db", b"telegraf")), ..Options::default() };
    let tags = |line: &str| {
        let (lines, _) = decode_as(line.as_bytes(), &options);
        summary(&stored(&lines[0]))
    };
    assert_eq!(tags("m,a=1,z=2 f=1"), "m_f{a=1,db=telegraf,z=2} 1");
    assert_eq!(tags("m,a=1,db=own f=1"), "m_f{a=1,db=own} 1");
}

#[test]
fn a_bound_rejects_the_fields_that_it_concerns() {
    let long = "n".repeat(256);
    let many: String = (0..129).map(|index| format!(",k{index}=v")).collect();
    for (line, stored, name, tags) in [
        (format!("{long} f=1,g=2,s=\"\""), 0, 2, 0),
        (format!("m f=1,{long}=2,g=3"), 2, 1, 0),
        (format!("m{many} f=1,g=2"), 0, 0, 2),
        (format!("m{many} s=\"\""), 0, 0, 0),
    ] {
        let (lines, decoded) = decode(line.as_bytes());
        assert_eq!(lines.len(), stored);
        assert_eq!(decoded.rejected[Reject::Name as usize], name);
        assert_eq!(decoded.rejected[Reject::Tags as usize], tags);
    }
    for body in [&b"m\xff f=1,g=2"[..], b"m,k=\xff f=1,g=2", b"m,\xff\\,=v f=1,g=2"] {
        let (lines, decoded) = decode(body);
        assert_eq!((lines.len(), decoded.rejected()), (0, 2));
        assert_eq!(decoded.first_rejected.unwrap().element(body), Some(body));
    }
}

#[test]
fn more_metrics_than_the_bound_are_no_body() {
    let decode = |body: &str| {
        let mut out = vec![0; 16 << 20];
        let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
        let mut influx = Influx::new(Bounds::default());
        let result = influx.decode(body.as_bytes(), &Options::default(), &mut sink);
        influx.trim();
        assert!(influx.kept_bytes() <= INFLUX_KEPT_BYTES_MAX + crate::limits::SERIES_KEPT_BYTES_MAX);
        result
    };
    let fields = |count| format!("m {}", vec!["f=1"; count].join(","));
    assert_eq!(decode(&fields(PROTOCOL_METRICS_MAX)), Ok(()));
    assert_eq!(decode(&fields(PROTOCOL_METRICS_MAX + 1)), Err(DecodeError::TooManyMetrics));
    assert_eq!(decode(&"m f=\n".repeat(PROTOCOL_METRICS_MAX + 1)), Err(DecodeError::TooManyMetrics));
}

/// Holds the decoder to the reference: what is accepted, each metric of it, and the counts.
fn compare(reference: &Reference, body: &[u8]) {
    let (lines, decoded) = decode(body);
    let mut lines = lines.iter();
    let (mut texts_expected, mut refused) = (0, 0);
    for line in reference::lines(body) {
        match reference.read(line) {
            None => {}
            Some(Reading::Refused) => refused += 1,
            Some(Reading::Point { metrics, tags, texts, timestamp }) => {
                texts_expected += texts;
                let timestamp_ms = timestamp.map_or(i128::from(ARRIVAL_MS), |at| at.div_euclid(1_000_000));
                let in_range = timestamp.is_none_or(|timestamp| i64::try_from(timestamp).is_ok());
                for (name, number) in metrics {
                    let utf8 = |text: &[u8]| std::str::from_utf8(text).map(str::to_owned);
                    let tags: Result<BTreeMap<_, _>, _> = tags
                        .iter()
                        .map(|(key, value)| Ok((utf8(key)?, utf8(value)?)))
                        .collect::<Result<_, std::str::Utf8Error>>();
                    let (true, Ok(name), Ok(tags)) = (in_range, utf8(&name), tags) else { continue };
                    let found = stored(lines.next().expect("a metric of the reference"));
                    assert_eq!((&found.name, &found.tags), (&name, &tags));
                    assert_eq!(i128::from(found.timestamp_ms), timestamp_ms);
                    match number {
                        reference::Number::Integer(integer) => assert_eq!(found.value, integer.to_string()),
                        reference::Number::Float(float, sent) => {
                            assert_eq!(found.value.parse::<f64>().unwrap().to_bits(), float.to_bits());
                            let sent = String::from_utf8(sent).unwrap();
                            if serde_json::from_str::<f64>(&sent).is_ok() {
                                assert_eq!(found.value, sent);
                            }
                        }
                    }
                }
            }
        }
    }
    assert_eq!(lines.next(), None, "a metric that the reference does not know");
    assert_eq!(decoded.skipped[Skip::Text as usize], texts_expected);
    let syntax = decoded.rejected[Reject::Syntax as usize];
    assert!(syntax >= refused && (syntax == 0) == (refused == 0), "{syntax} of {refused} lines");
}

/// Text of an element, with every byte that is special somewhere.
fn element() -> impl Strategy<Value = String> {
    "[a-c,= \\\\\"#é\t]{1,6}".prop_filter("a backslash at the end would escape what follows", |text| {
        !text.ends_with('\\') && !text.contains("\\,") && !text.contains("\\=") && !text.contains("\\ ")
    })
}

fn escape(text: &str, special: &[char]) -> String {
    text.chars().flat_map(|c| special.contains(&c).then_some('\\').into_iter().chain([c])).collect()
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|integer| format!("{integer}i")),
        any::<u64>().prop_map(|integer| format!("{integer}u")),
        any::<f64>().prop_filter("finite", |float| float.is_finite()).prop_map(|float| float.to_string()),
        any::<f32>().prop_filter("finite", |float| float.is_finite()).prop_map(|float| format!("{float:e}")),
        "-?[0-9]{0,3}\\.?[0-9]{0,3}([eE][+-]?[0-9]{1,3})?[iu]?",
        "(t|T|true|True|TRUE|f|F|false|False|FALSE|NaN|nan)",
        "[-0-9.eE+iuntrufalsNI]{1,6}",
    ]
}

/// A field's value, with a string in one of some.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => number(),
        1 => "([a-c,= #\n\r]|\\\\\\\\|\\\\\"){0,8}".prop_map(|text| format!("\"{text}\"")),
    ]
}

fn line() -> impl Strategy<Value = String> {
    let tags = proptest::collection::vec((element(), element()), 0..4);
    let fields = proptest::collection::vec((element(), value()), 1..4);
    let timestamp = proptest::option::of(prop_oneof![any::<i64>().prop_map(|at| at.to_string()), "-?[0-9]{0,25} ?"]);
    (element(), tags, fields, timestamp).prop_map(|(measurement, tags, fields, timestamp)| {
        let key = |text: &str| escape(text, &[',', '=', ' ']);
        let tags: String = tags.iter().map(|(name, value)| format!(",{}={}", key(name), key(value))).collect();
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{}={value}", key(name))).collect();
        let timestamp = timestamp.map_or(String::new(), |timestamp| format!(" {timestamp}"));
        format!("{}{tags} {}{timestamp}", escape(&measurement, &[',', ' ']), fields.join(","))
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
        compare(&Reference::new(), &body);
    }

    #[test]
    fn bytes_of_the_grammar_read_as_the_reference(body in "[mf1ti,= \\\\\"\n\r#.\\-\t]{0,40}") {
        compare(&Reference::new(), body.as_bytes());
    }

    #[test]
    fn lines_read_as_the_reference(lines in proptest::collection::vec(line(), 1..6), end in "\r?\n") {
        compare(&Reference::new(), lines.join(&end).as_bytes());
    }

    #[test]
    fn mutated_lines_read_as_the_reference(
        lines in proptest::collection::vec(line(), 1..4),
        mutations in proptest::collection::vec((any::<prop::sample::Index>(), 0..3, "[mf1ti,= \\\\\"\n\r#.\\-]"), 1..4),
    ) {
        let mut body = lines.join("\n").into_bytes();
        for (index, kind, byte) in mutations {
            if body.is_empty() {
                continue;
            }
            let at = index.index(body.len());
            match kind {
                0 => drop(body.remove(at)),
                1 => body.insert(at, byte.as_bytes()[0]),
                _ => body[at] = byte.as_bytes()[0],
            }
        }
        compare(&Reference::new(), &body);
    }

    #[test]
    fn lines_with_escapes_read_back(
        measurement in element(), key in element(), tag in element(), field in element(), value in any::<i64>(),
    ) {
        prop_assume!(!measurement.starts_with(['#', '\t']) && !field.starts_with('\t'));
        let special = [',', '=', ' '];
        let line = format!(
            "{},{}={} {}={value}i",
            escape(&measurement, &special[..1]).replace(' ', "\\ "),
            escape(&key, &special),
            escape(&tag, &special),
            escape(&field, &special),
        );
        let (lines, _) = decode(line.as_bytes());
        prop_assert_eq!(lines.len(), 1, "{}", line);
        let found = stored(&lines[0]);
        prop_assert_eq!(found.name, format!("{measurement}_{field}"));
        prop_assert_eq!(found.value, value.to_string());
        prop_assert_eq!(found.tags, BTreeMap::from([(key, tag)]));
    }

    #[test]
    fn lines_alone_are_as_lines_together(lines in proptest::collection::vec(line(), 1..6)) {
        let (together, counts) = decode(lines.join("\n").as_bytes());
        let alone: Vec<_> = lines.iter().map(|line| decode(line.as_bytes())).collect();
        prop_assert_eq!(together, alone.iter().flat_map(|(lines, _)| lines.clone()).collect::<Vec<_>>());
        prop_assert_eq!(counts.rejected(), alone.iter().map(|(_, decoded)| decoded.rejected()).sum::<u32>());
        prop_assert_eq!(counts.metrics, alone.iter().map(|(_, decoded)| decoded.metrics).sum::<u32>());
    }
}

/// Lines of scrapes: measurements and tags of which there are few, one of them the host, and odd ones between them.
fn scraped_line() -> impl Strategy<Value = String> {
    use proptest::sample::select;
    let tags = [
        "",
        ",host=a",
        ",host=b1",
        ",host=",
        ",host=a\\ b",
        ",host=a\\",
        ",host==a",
        ",host=\u{e9}",
        ",host=\"",
        ",instance=a:9100",
        ",host=a,host=b",
        ",instance=a,host=b",
        "\\,host=a",
        ",x\\,host=a",
    ];
    let odd_tags = select(vec!["", ",cpu=0", ",cpu=1", ",job=n\\=", ",a=1", ",cpu"]);
    let fields = vec!["f=1", "value=2i", "f=1,g=2", "\"f=1", "a\\ b=3", "f=\"x\"", "f=x", "f=t,value=.5", "", "f"];
    let ends = vec!["", " 1", " 1795838679455000000", " x", "  ", "\r"];
    let parts = (select(vec!["m", "cpu", "a\\ b", "\"", "m\\"]), odd_tags.clone(), select(tags.to_vec()), odd_tags);
    let space = select(vec![" ", " ", " ", "  ", ""]);
    (parts, space, select(fields), select(ends)).prop_map(|((name, before, host, behind), space, fields, end)| {
        format!("{name}{before}{host}{behind}{space}{fields}{end}")
    })
}

/// A body of such lines, the tag of its request, and bytes to put somewhere, mostly none.
type ScrapedBody = (Vec<String>, usize, Vec<(prop::sample::Index, u8)>);

fn scraped_body() -> impl Strategy<Value = ScrapedBody> {
    let change = (any::<prop::sample::Index>(), proptest::sample::select(b"m1a=, \\\"\n\r#\xff".to_vec()));
    let changes = prop_oneof![2 => Just(Vec::new()), 1 => proptest::collection::vec(change, 1..3)];
    (proptest::collection::vec(scraped_line(), 1..8), 0..4_usize, changes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn bodies_decode_alike_behind_any_others(
        bodies in proptest::collection::vec(scraped_body(), 1..8),
        limits in proptest::sample::select(vec![(255, 1 << 20), (4, 1 << 20), (255, 2)]),
    ) {
        let bounds = Bounds { name_bytes_limit: limits.0, tag_bytes_limit: limits.1, ..Bounds::default() };
        let mut decoder = Influx::new(bounds);
        for (lines, tag, changes) in &bodies {
            let tag: Option<(&[u8], &[u8])> = [None, None, Some((&b"db"[..], &b"d"[..])), Some((b"host", b"d"))][*tag];
            let options = Options { tag, ..Options::default() };
            let mut body = lines.join("\n").into_bytes();
            changes.iter().for_each(|(place, byte)| *place.get_mut(&mut body) = *byte);
            let mut uncached = Influx::new(bounds);
            uncached.cached.disable();
            let expected = decode_with(&mut uncached, &body, &options);
            prop_assert_eq!(&decode_with(&mut decoder, &body, &options), &expected);
            // It has decoded this very body, too.
            prop_assert_eq!(&decode_with(&mut decoder, &body, &options), &expected);
        }
    }
}

#[test]
fn a_line_that_came_before_is_not_read_again() {
    let mut decoder = Influx::new(Bounds::default());
    let body = b"cpu,cpu=0,host=a idle=1\ncpu,cpu=1,host=a idle=1\ncpu,cpu=0,host=a idle=1";
    decode_with(&mut decoder, body, &Options::default());
    let is_found = |decoder: &mut Influx, line: &str| decoder.cached.find(line.as_bytes(), 0).map(|(_, at)| at);
    for (line, at) in [
        ("cpu,cpu=1,host=a idle=1", Some(16)),
        ("cpu,cpu=1,host=abc idle=1", Some(18)),
        ("cpu,cpu=1,host=a", None),
        ("cpu,cpu=1,host= idle=1", None),
        ("cpu,cpu=1,host=a,x=y idle=1", None),
        ("cpu,cpu=1,host=a\\ idle=1", None),
        ("cpu,cpu=2,host=a idle=1", None),
        ("cpu,cpu=1,hosu=a idle=1", None),
    ] {
        assert_eq!(is_found(&mut decoder, line), at, "{line}");
    }
    let (lines, _) = decode_with(&mut decoder, b"cpu,cpu=1,host=b idle=1,value=2,a\\ b=3", &Options::default());
    let metrics: Vec<_> = lines.iter().map(|line| summary(&stored(line))).collect();
    assert_eq!(metrics, ["cpu_idle{cpu=1,host=b} 1", "cpu{cpu=1,host=b} 2", "cpu_a b{cpu=1,host=b} 3"]);
}
