//! A block's lines against each of them read alone, where nothing is known of any line before.

use super::super::{Line, LineError, Lines};
use super::*;
use crate::{BatchEncoder, Bounds};
use proptest::{collection::vec, prelude::*, sample::select};

/// Holds each line of `block` against the same line read alone.
fn check(block: &[u8]) {
    let mut lines = Lines::new(block);
    let mut end = 0;
    for line in block.split_inclusive(|&byte| byte == b'\n') {
        let alone = match line.strip_suffix(b"\n") {
            Some(line) => Line::parse(line),
            None => Line::parse(line).and(Err(LineError { byte: line.len(), expected: "a line feed" })),
        };
        assert_eq!(lines.next(), Some(alone), "{}", block.escape_ascii());
        end += line.len();
        assert_eq!(lines.byte(), end);
    }
    assert_eq!(lines.next(), None);
}

fn line(timestamp: &str, name: &str, value: &str, kind: &str, tags: &str) -> Vec<u8> {
    let line =
        format!(r#"{{"timestamp":"{timestamp}","name":"{name}","value":{value},"type":"{kind}","tags":{{{tags}}}}}"#);
    [line.as_bytes(), b"\n"].concat()
}

const TIMESTAMP: &str = "2026-01-02T03:04:05.678Z";

#[test]
fn every_line_of_a_scrape_is_speculated() {
    let scrapes = include_str!("../../../../../bench/data/node_exporter.ndjson");
    let mut encoder = BatchEncoder::new(Bounds::default());
    for body in scrapes.lines() {
        let mut log = vec![0; encoder.encoded_bytes_max(body.len())];
        let bytes = encoder.encode(body.as_bytes(), 1_767_323_045_678, &mut log).unwrap().bytes;
        let (mut speculation, mut minute) = (Speculation::new(), Minute::unknown());
        let mut at = 0;
        while at < bytes {
            let (line, end) = speculation.read(&log[..bytes], at, &mut minute).expect("a line without escapes");
            assert_eq!(Ok(line), Line::parse(&log[at..end - 1]));
            at = end;
        }
    }
}

#[test]
fn a_changed_byte_is_seen_behind_the_line_itself() {
    let whole = line(TIMESTAMP, "cpu_usage", "75.5", "counter", r#""host":"web1","dc":"a""#);
    for place in 0..whole.len() {
        check(&[&whole[..], &whole[..place], &whole[place + 1..], &whole[..]].concat());
        check(&[&whole[..], &whole[..place]].concat());
        for byte in *b"\"\\{}[]:,0159+-.eETtZz/ \t\n\r\0\x1f\x7f\x80\xff" {
            let mut changed = whole.clone();
            changed[place] = byte;
            check(&[&whole[..], &changed, &whole[..]].concat());
            check(&[&whole[..], &whole[..place], &[byte], &whole[place..], &whole[..]].concat());
        }
    }
}

#[test]
fn zeros_are_no_line() {
    for bytes in [1, 16, NAME_AT, NAME_AT + 1, 200] {
        check(&vec![0; bytes]);
        check(&[&vec![0; bytes][..], b"\n\0\n"].concat());
        check(&[&line(TIMESTAMP, "cpu", "1", "gauge", "")[..NAME_AT + 12], &vec![0; bytes]].concat());
    }
}

#[test]
fn more_endings_than_are_remembered() {
    let lines = |round: usize| {
        (0..4 * ENDINGS).flat_map(move |series| {
            let tags = format!(r#""host":"web{series}","é":"\n""#);
            line(TIMESTAMP, "cpu", &format!("{series}.{round}"), "gauge", &tags)
        })
    };
    check(&(0..3).flat_map(lines).collect::<Vec<_>>());
}

fn block() -> impl Strategy<Value = Vec<u8>> {
    const TIMESTAMPS: [&str; 6] = [
        TIMESTAMP,
        "2026-01-02T03:04:59.000Z",
        "1970-01-01T00:00:00.000Z",
        "0000-01-01T00:00:00.000Z",
        "2026-02-30T00:00:00.000Z",
        "2026-01-02T03:04:60.000Z",
    ];
    const NAMES: [&str; 7] = ["cpu", "a_name_of_more_than_sixteen_bytes", "é", r#"a\"b"#, r"\u0001", "", r"\q"];
    const VALUES: [&str; 13] = [
        "1",
        "-0.5",
        "1234567890123456789012",
        "75.5",
        "1e308",
        "1e309",
        "01",
        "1.",
        r#""NaN""#,
        r#""NaN","stale":true"#,
        r#""+Inf""#,
        "",
        "null",
    ];
    const KINDS: [&str; 3] = ["gauge", "counter", "other"];
    const TAGS: [&str; 7] =
        ["", r#""a":"b""#, r#""a":"b","c":"d""#, r#""a":"\n""#, r#""é":"𝄞""#, r#""a":1"#, r#""host":"a_longer_value""#];
    let lines = vec((select(&TIMESTAMPS), select(&NAMES), select(&VALUES), select(&KINDS), select(&TAGS)), 0..12);
    let changes = vec(
        (
            any::<prop::sample::Index>(),
            0..4_usize,
            vec(prop_oneof![any::<u8>(), select(b"\"\\\n{}:,u0qT-\0\xffNaNInf+e".to_vec())], 0..3),
        ),
        0..4,
    );
    (lines, changes).prop_map(|(lines, changes)| {
        let lines =
            lines.into_iter().map(|(timestamp, name, value, kind, tags)| line(timestamp, name, value, kind, tags));
        let mut text = lines.collect::<Vec<_>>().concat();
        for (at, removed, added) in changes {
            let at = at.index(text.len() + 1);
            let end = text.len().min(at + removed);
            text.splice(at..end, added);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, ..ProptestConfig::default() })]

    #[test]
    fn a_block_is_its_lines_read_alone(block in block()) {
        check(&block);
    }

    #[test]
    fn what_any_bytes_are_does_not_depend_on_lines_before(
        text in vec(prop_oneof![any::<u8>(), select(b"\"\\\n{}:,".to_vec())], 0..200),
    ) {
        check(&[&line(TIMESTAMP, "cpu", "1", "gauge", r#""a":"b""#)[..], &text].concat());
    }
}
