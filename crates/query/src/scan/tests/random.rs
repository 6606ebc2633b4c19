//! Random logs, in every form on the disk, queried in every way.

use super::{naive::read, *};
use proptest::prelude::*;

const NAMES: [&str; 7] = ["cpu", "cpu_usage", "up", r#"a\"b"#, "é", r"a\\", "x"];

/// A line of a log: mostly ours.
#[derive(Debug, Clone)]
enum Written {
    Ours { seconds: i64, name: usize, value: usize, tag_bytes: usize },
    Foreign(Vec<u8>),
}

fn written() -> impl Strategy<Value = Written> {
    let ours = (-3..4_i64, 0..NAMES.len(), 0..1_000_usize, prop_oneof![9 => 0..40_usize, 1 => 100_000..700_000_usize]);
    let ours = ours.prop_map(|(seconds, name, value, tag_bytes)| Written::Ours { seconds, name, value, tag_bytes });
    let foreign = prop_oneof![
        Just(b"\n".to_vec()),
        Just(b"{}\n".to_vec()),
        // As if it began as ours, cut off at every length.
        (1..90_usize).prop_map(|bytes| {
            let mut line = line(START_MS, "cpu", 1, "{}").into_bytes();
            line.truncate(bytes);
            line.push(b'\n');
            line
        }),
        // A bit flipped.
        (0..90_usize, 0..8_u8).prop_map(|(at, bit)| {
            let mut line = line(START_MS, "cpu", 1, "{}").into_bytes();
            let at = at % line.len();
            line[at] ^= 1 << bit;
            line
        }),
    ];
    prop_oneof![30 => ours, 1 => foreign.prop_map(Written::Foreign)]
}

fn bytes(lines: &[Written]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for written in lines {
        match written {
            Written::Ours { seconds, name, value, tag_bytes } => {
                let tags = format!("{{\"t\":\"{}\"}}", "x".repeat(*tag_bytes));
                let line = line(START_MS + 1_000 * seconds, NAMES[*name], *value, &tags);
                bytes.extend_from_slice(line.as_bytes());
            }
            Written::Foreign(line) => bytes.extend_from_slice(line),
        }
    }
    bytes
}

fn segment() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(written(), 0..40).prop_map(|lines| bytes(&lines))
}

fn lies() -> impl Strategy<Value = Lies> {
    (0..Lies::ALL.len()).prop_map(|index| Lies::ALL[index])
}

fn wanted() -> impl Strategy<Value = ScanFilter<'static>> {
    let times = (-4_000..5_000_i64, -4_000..5_000_i64).prop_map(|(a, b)| (START_MS + a.min(b), START_MS + a.max(b)));
    let times = prop_oneof![Just((i64::MIN, i64::MAX)), times];
    let names = (0..3_u8, 0..NAMES.len()).prop_map(|(kind, name)| {
        let name = NAMES[name].as_bytes().to_vec();
        match kind {
            0 => Names::All,
            1 => Names::Exact(name),
            _ => Names::Matching(Box::new(move |other| other.starts_with(&name[..1]))),
        }
    });
    (times, names).prop_map(|((from_ms, to_ms), names)| ScanFilter { from_ms, to_ms, names })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn all_is_seen_that_a_naive_reader_sees(
        sealed in prop::collection::vec((segment(), lies()), 0..4),
        active in prop::option::of(segment()),
        questions in prop::collection::vec(wanted(), 1..6),
        threads in 1..4_usize,
    ) {
        let directory = directory(&sealed, active.as_deref());
        let source = Source::directory(directory.path());
        for wanted in questions {
            let (seen, scanned) = scanned(&source, &wanted, threads).unwrap();
            let naive = read(directory.path(), &wanted);
            prop_assert!(seen == naive, "{:?}: {} lines, not {}", wanted, seen.len(), naive.len());
            prop_assert_eq!(scanned.gone_segments, 0);
        }
    }
}
