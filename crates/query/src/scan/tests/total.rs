//! Bytes that nobody has checked: a block is searched by the beginnings of its lines, or parsed line by line, and both
//! see the same.

use super::{
    super::filter::{Filter, Verdicts},
    *,
};
use metric::{Text, is_spelled};
use proptest::prelude::*;

/// The lines of `text` that are wanted, searched for, and parsed.
fn both(text: &[u8], wanted: &ScanFilter) -> [(Vec<Seen>, Scanned); 2] {
    let filter = Filter::new(wanted);
    let place = LinePosition { segment: 0, offset: 7 };
    let run = |parse: bool| {
        let (mut verdicts, mut visitor, mut scanned) = (Verdicts::new(), Collector::default(), Scanned::default());
        if parse {
            filter.learn(text, place, &mut verdicts, &mut visitor, &mut scanned, || Ok(())).map(drop).unwrap();
        } else {
            filter.visit(text, place, &mut verdicts, &mut visitor, &mut scanned, || Ok(())).unwrap();
        }
        (visitor.0, scanned)
    };
    [run(false), run(true)]
}

/// Holds both against each other and against a parser that is given each line by itself.
fn check(text: &[u8], wanted: &ScanFilter) {
    let [(found, searched), (parsed, all)] = both(text, wanted);
    assert_same(&found, &parsed);
    assert_eq!(searched.matched, all.matched);
    assert_eq!(searched.lines + searched.foreign_lines, all.lines + all.foreign_lines);
    assert!(searched.foreign_lines <= all.foreign_lines);
    let ours = text.split_inclusive(|&byte| byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    assert_eq!(all.lines, ours.filter(|line| Line::parse(line).is_ok()).count() as u64);
}

/// Filters with a predicate that unescapes the name, as a regular expression does, and fails on anything that is not a
/// name.
fn questions() -> Vec<ScanFilter<'static>> {
    let matching = |holds: fn(&[u8]) -> bool| {
        let predicate = move |name: &[u8]| {
            assert!(is_spelled(name) && !name.is_empty(), "{}", name.escape_ascii());
            holds(&Text::of_line(name).decoded().collect::<Vec<_>>())
        };
        ScanFilter { names: Names::Matching(Box::new(predicate)), ..all() }
    };
    vec![
        all(),
        named("cpu"),
        named(r#"a\"b"#),
        ScanFilter { from_ms: START_MS + 1_000, to_ms: START_MS + 3_000, names: Names::All },
        ScanFilter { to_ms: START_MS + 2_000, ..named("cpu") },
        matching(|_| true),
        matching(|_| false),
        matching(|name| name.len().is_multiple_of(2)),
    ]
}

#[test]
fn names_that_are_none_are_foreign_and_no_predicate_is_asked() {
    let ours = line(START_MS, "cpu", 1, "{}");
    let bad = [r"a\qb", r"H\TP_x", r"\u12", r"\", r"\u0041", r"\ud800", "", "a\u{1}b", "cpu\\", r"\\\"];
    for name in bad {
        let text = format!("{ours}{}{ours}", line(START_MS, name, 1, "{}"));
        for wanted in questions() {
            check(text.as_bytes(), &wanted);
        }
        let [(found, searched), _] = both(text.as_bytes(), &questions()[5]);
        assert_eq!((found.len(), searched.foreign_lines), (2, 1), "{name}");
    }
    // Not UTF-8.
    let text = line(START_MS, "cp?", 1, "{}").replace('?', "\u{80}").into_bytes();
    let text: Vec<u8> = text.into_iter().filter(|&byte| byte != 0xc2).collect();
    questions().iter().for_each(|wanted| check(&text, wanted));
}

#[test]
fn values_that_are_no_numbers_are_of_the_log() {
    let line = |value: &str| line(START_MS, "cpu", 1, "{}").replace(":1,", &format!(":{value},"));
    let good = [r#""NaN""#, r#""+Inf""#, r#""-Inf""#, r#""NaN","stale":true"#];
    let bad = [
        "NaN",
        r#""nan""#,
        r#""Inf""#,
        r#""+Inf","stale":true"#,
        r#"1,"stale":true"#,
        r#""NaN","stale":false"#,
        r#""NaN"""#,
    ];
    let text: String = good.iter().chain(&bad).map(|value| line(value)).collect();
    questions().iter().for_each(|wanted| check(text.as_bytes(), wanted));
    let [(found, searched), _] = both(text.as_bytes(), &named("cpu"));
    assert_eq!((found.len(), searched.foreign_lines), (good.len(), bad.len() as u64));
}

#[test]
fn lines_that_are_skipped_are_counted_whatever_is_asked() {
    let good = line(START_MS, "cpu", 1, "{}");
    let bad =
        [line(START_MS, r"a\qb", 1, "{}"), good.replace("gauge", "gouge"), "x\n".into(), "\0\0\n".into()].concat();
    let text = [good.as_str(), &bad, &good, &bad, &good].concat().into_bytes();
    for lies in Lies::ALL {
        let directory = directory(&[(text.clone(), lies)], None);
        for wanted in [all(), named("cpu"), named("other"), questions().remove(6)] {
            let (seen, scanned) = scan_all(directory.path(), &wanted);
            assert_same(&seen, &super::naive::read(directory.path(), &wanted));
            // Of a plain file of which nothing is known only those that were noticed.
            let noticed = if lies == Lies::Plain { 4..=8 } else { 8..=8 };
            assert!(noticed.contains(&scanned.foreign_lines), "{lies:?} {wanted:?} {scanned:?}");
            assert_eq!(scanned.lines + scanned.foreign_lines, 11);
        }
    }
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    const NAMES: [&str; 5] = ["cpu", r#"a\"b"#, r"a\\", r"\u0001", "é"];
    const VALUES: [&str; 5] = ["1", r#""NaN""#, r#""NaN","stale":true"#, r#""+Inf""#, r#""-Inf""#];
    const TYPES: [&str; 2] = ["gauge", "untyped"];
    let lines =
        prop::collection::vec((0..5_i64, 0..NAMES.len(), "[a-z\"\\\\]{0,5}", 0..VALUES.len(), 0..TYPES.len()), 0..6);
    let changes = prop::collection::vec(
        (
            any::<prop::sample::Index>(),
            0..4_usize,
            prop::collection::vec(
                prop_oneof![any::<u8>(), prop::sample::select(b"\"\\\n{}:,u0qT-\0\xffNaNInf+e".to_vec())],
                0..3,
            ),
        ),
        0..6,
    );
    (lines, changes).prop_map(|(lines, changes)| {
        let line = |(second, name, tag, value, kind): &(i64, usize, String, usize, usize)| {
            let tags = format!("{{\"t\":{}}}", serde_json::json!(tag));
            line(START_MS + 1_000 * second, NAMES[*name], 1, &tags)
                .replacen("\"value\":1", &format!("\"value\":{}", VALUES[*value]), 1)
                .replacen("\"type\":\"gauge\"", &format!("\"type\":\"{}\"", TYPES[*kind]), 1)
        };
        let mut text = lines.iter().map(line).collect::<String>().into_bytes();
        for (at, removed, added) in changes {
            let at = at.index(text.len() + 1);
            let end = text.len().min(at + removed);
            text.splice(at..end, added);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn searching_damaged_lines_is_parsing_them(text in mutated()) {
        questions().iter().for_each(|wanted| check(&text, wanted));
    }

    #[test]
    fn searching_any_bytes_is_parsing_them(
        text in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\"\\\n{}:,".to_vec())], 0..400),
    ) {
        questions().iter().for_each(|wanted| check(&text, wanted));
    }
}
