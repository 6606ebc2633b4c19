//! The cache of value lists: bodies decode alike with and without it.

use super::*;
use crate::limits::SERIES_CACHED_MAX;

/// Decodes a body with `decoder`, with `bytes` reserved for the lines.
fn run(decoder: &mut Collectd, body: &[u8], bytes: usize) -> Result<(String, Decoded), DecodeError> {
    let mut out = vec![0; bytes];
    let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
    decoder.decode(body, &mut sink)?;
    let decoded = sink.decoded();
    Ok((String::from_utf8(out[..decoded.bytes].to_vec()).unwrap(), decoded))
}

/// A decoder without a cache.
fn uncached(bounds: Bounds) -> Collectd {
    let mut decoder = Collectd::new(bounds);
    decoder.cached.disable();
    decoder
}

const LIST: &str = concat!(
    r#"{"values":[1.5,-2],"dstypes":["derive","derive"],"dsnames":["rx","tx"],"time":1795838679.456,"#,
    r#""interval":10.000,"host":"a1","plugin":"interface","plugin_instance":"eth0","type":"if_octets","#,
    r#""type_instance":"","meta":{"a":[1]}}"#
);

#[test]
fn a_list_is_cached_by_all_but_values_time_and_host() {
    let mut decoder = Collectd::new(Bounds::default());
    run(&mut decoder, format!("[{LIST}]").as_bytes(), 1 << 16).unwrap();
    let longest = "x".repeat(256);
    let many_digits = format!("1795838679.{}", "4".repeat(40));
    for (from, to, is_cached) in [
        ("", "", true),
        ("[1.5,-2]", "[18446744073709551615,1e3]", true),
        ("1795838679.456", "1795838680", true),
        ("1795838679.456", "1795838679.4567", true),
        ("1795838679.456", "1e999", false),
        ("1795838679.456", "1e15", false),
        ("1795838679.456", &many_digits, false),
        ("1795838679.456", "null", false),
        ("\"a1\"", "\"another host\"", true),
        ("\"a1\"", "\"a\"", true),
        ("\"a1\"", "\"\"", false),
        ("\"a1\"", "\"a\\n1\"", false),
        ("\"a1\"", "\"\u{e9}\"", false),
        ("\"a1\"", "1", false),
        ("a1", &longest, false),
        ("[1.5,-2]", "[1.5]", false),
        ("[1.5,-2]", "[1.5,-2,3]", false),
        ("[1.5,-2]", "[1.5,null]", false),
        ("[1.5,-2]", "[1.5,1e999]", false),
        ("[1.5,-2]", "[1.5,-2,1,2,3,4,5,6,7]", false),
        ("[1.5,-2]", "[1.5,-02]", false),
        ("[1.5,-2]", "[]", false),
        ("[1.5,-2]", "[1.5, -2]", false),
        ("tx", "ty", false),
        ("eth0", "eth1", false),
        ("10.000", "11.000", false),
        ("[1]", "[2]", false),
        ("}}", "} }", false),
        ("{\"values", "{ \"values", false),
    ] {
        let list = LIST.replacen(from, to, 1);
        let mut out = vec![0; 1 << 16];
        let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
        let pushed = decoder.cached.push(list.as_bytes(), &mut sink);
        assert_eq!(pushed, is_cached.then_some(list.len()), "{list}");
        let (metrics, bytes) = (sink.metrics(), sink.decoded().bytes);
        assert_eq!(metrics, if is_cached { 2 } else { 0 }, "{list}");
        let lines = run(&mut uncached(Bounds::default()), format!("[{list}]").as_bytes(), 1 << 16);
        if is_cached {
            assert_eq!(lines.unwrap().0.as_bytes(), &out[..bytes], "{list}");
        }
    }
}

#[test]
fn lists_that_are_not_all_stored_are_not_cached() {
    for (from, to) in [
        ("[1.5,-2]", "[1.5,null]"),
        ("\"derive\",\"derive\"", "\"derive\",\"gauge\""),
        ("\"derive\",\"derive\"", "\"other\",\"other\""),
        ("[\"rx\",\"tx\"]", "[\"rx\",\"\"]"),
        ("[\"rx\",\"tx\"]", "[\"rx\",\"\\u0074x\"]"),
        ("\"interface\"", "\"\""),
        ("\"host\"", "\"hos\\u0074\""),
        ("\"meta\"", "\"host\""),
    ] {
        let list = LIST.replacen(from, to, 1);
        let mut decoder = Collectd::new(Bounds::default());
        run(&mut decoder, format!("[{list}]").as_bytes(), 1 << 16).unwrap();
        let mut out = vec![0; 1 << 16];
        assert_eq!(decoder.cached.push(list.as_bytes(), &mut LineSink::new(&mut out, ARRIVAL_MS)), None, "{list}");
    }
}

#[test]
fn more_lists_than_are_cached_decode_alike() {
    let mut decoder = Collectd::new(Bounds::default());
    for body in 0..12_usize {
        let lists: Vec<_> = (body * 1000..(body + 1) * 1000)
            .map(|number| LIST.replace("eth0", &format!("eth{}", number % (SERIES_CACHED_MAX + 2000))))
            .collect();
        let body = format!("[{}]", lists.join(","));
        let expected = run(&mut uncached(Bounds::default()), body.as_bytes(), 1 << 20);
        assert!(run(&mut decoder, body.as_bytes(), 1 << 20) == expected);
    }
    decoder.trim();
    assert!(decoder.kept_bytes() < 4 << 20, "{}", decoder.kept_bytes());
}

/// Changes of a body: a byte put into the place of some others, and the length that is left.
type Changes = (Vec<(u16, u8, u8)>, Option<u16>);

fn changes() -> impl Strategy<Value = Changes> {
    let bytes = prop_oneof![Just(b'"'), Just(b'}'), Just(b','), Just(b'1'), Just(b'['), Just(b' '), any::<u8>()];
    let replaced = prop::collection::vec((any::<u16>(), 0..3_u8, bytes), 0..2);
    (replaced, prop::option::weighted(0.1, any::<u16>()))
}

fn changed(mut body: Vec<u8>, (replaced, cut): &Changes) -> Vec<u8> {
    for &(at, count, byte) in replaced {
        let at = usize::from(at) % body.len();
        body.splice(at..(at + usize::from(count)).min(body.len()), [byte]);
    }
    if let Some(cut) = cut {
        body.truncate(usize::from(*cut) % body.len());
    }
    body
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn bodies_decode_alike_with_and_without_a_cache(
        bodies in prop::collection::vec((lists_alike(), changes()), 1..5),
        bytes in prop_oneof![4 => Just(1 << 16), 1 => 0..1500_usize],
        bounds in prop_oneof![Just(Bounds::default()),
            Just(Bounds { name_bytes_limit: 12, tags_limit: 1, tag_bytes_limit: 13, ..Bounds::default() })],
    ) {
        let mut decoder = Collectd::new(bounds);
        for (lists, changes) in bodies.iter().chain(&bodies) {
            let captured = CAPTURED.strip_prefix('[').unwrap();
            let whole = format!("[{},{captured}", lists.join(","));
            let body = changed(whole.into_bytes(), changes);
            let expected = run(&mut uncached(bounds), &body, bytes);
            prop_assert_eq!(run(&mut decoder, &body, bytes), expected, "{:?}", String::from_utf8_lossy(&body));
        }
    }
}
