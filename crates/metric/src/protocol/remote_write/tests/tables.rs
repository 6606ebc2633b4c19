//! Tables of symbols that came before: bodies with an equal one, or one that is equal but for its gaps.

use super::cache::{check, run};
use super::reference::{BOUNDS, Expected};
use super::*;
use crate::limits::{GAP_SYMBOLS_MAX, SERIES_CACHED_MAX, SYMBOL_TABLE_BYTES_MAX, SYMBOL_TABLES_MAX};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// A body with these symbols, and series with these references.
fn body(symbols: &[&str], all: &[&[u32]]) -> Vec<u8> {
    let series = |refs: &&[u32]| v2::TimeSeries {
        labels_refs: refs.to_vec(),
        samples: vec![v2::Sample { value: 1.5, timestamp: ARRIVAL_MS, start_timestamp: 0 }],
        metadata: Some(v2::Metadata { r#type: 2, help_ref: 0, unit_ref: 0 }),
        ..Default::default()
    };
    let symbols = symbols.iter().map(|symbol| symbol.as_bytes().to_vec()).collect();
    // Behind the last series a window has no space.
    let mut body = v2::Request { symbols, timeseries: all.iter().map(series).collect() }.encode_to_vec();
    body.extend([0x7a, 0x7f].into_iter().chain([0; 127]));
    body
}

fn check_all(decoder: &mut RemoteWrite, bodies: &[Vec<u8>]) {
    for body in bodies {
        let expected = v2::Request::decode(&body[..]).ok().and_then(|request| Expected::of_v2(&request));
        check(decoder, Version::V2, body, expected.as_ref()).unwrap();
    }
}

const NAMES: [&str; 8] = ["", "__name__", "up", "instance", "job", "node", "host", "load"];
/// References to the symbols behind [`NAMES`].
const A: u32 = 8;
const B: u32 = 9;
const C: u32 = 10;

/// A series with the instance at a reference.
fn up(instance: u32) -> [u32; 6] {
    [1, 2, 3, instance, 4, 5]
}

/// A body with these texts behind [`NAMES`], a series with the instance `A`, and others.
fn table(texts: &[&str], others: &[&[u32]]) -> Vec<u8> {
    let symbols = [&NAMES[..], texts].concat();
    body(&symbols, &[&[&up(A)[..]], others].concat())
}

#[test]
fn a_table_may_differ_in_its_gaps() {
    let mut decoder = RemoteWrite::new(BOUNDS);
    let bodies = ["a:1", "b:1", "b:1", "node-c:9100", "up", "a\"b", "", "a:1"].map(|text| table(&[text], &[]));
    check_all(&mut decoder, &bodies);
    assert_eq!(decoder.tables.len(), 1);
    let pairs = [["a", "b"], ["b", "a"], ["a", "a"], ["c", "d"], ["longer", "d"], ["c", "longer"], ["", "\u{e9}"]];
    check_all(&mut decoder, &pairs.map(|texts| table(&texts, &[&up(B), &up(A), &up(B)])));
}

#[test]
fn the_symbol_in_a_gap_may_be_that_of_another_label() {
    let with_host: &[u32] = &[1, 7, 6, A, 3, A];
    let texts = ["a", "b", "b", "c", "a", "a", "d"];
    // In each of the bodies it is, or is not.
    for is_host in 0..1 << texts.len() {
        let mut decoder = RemoteWrite::new(BOUNDS);
        for (index, text) in texts.into_iter().enumerate() {
            let series = if is_host >> index & 1 == 1 { with_host } else { &up(A) };
            // Decoded once and not twice: what is learned of a series in the body before is known in this one.
            let body = table(&[text], &[series, series]);
            let mut uncached = RemoteWrite::new(BOUNDS);
            uncached.cached.disable();
            assert_eq!(run(&mut decoder, Version::V2, &body), run(&mut uncached, Version::V2, &body), "{is_host:b}");
        }
    }
}

#[test]
fn a_table_that_differs_elsewhere_is_another() {
    for changed in 1..NAMES.len() + 3 {
        let mut decoder = RemoteWrite::new(BOUNDS);
        let texts = [&NAMES[..], &["a", "b", "other"]].concat();
        let mut other = texts.clone();
        let changed_text = other[changed].replace(['o', 'p', 'a', 'b', 'n'], "e");
        other[changed] = &changed_text;
        let more = [&texts[..], &["more"]].concat();
        let series = [&up(A)[..], &up(B), &[1, 7, 6, C], &up(A)];
        let bodies = [&texts, &texts, &texts, &other, &texts, &other, &more, &texts].map(|texts| body(texts, &series));
        check_all(&mut decoder, &bodies);
    }
}

/// As `references::a_replaced_series_is_not_taken_for_its_successor`, with series of 1.0 that take the places.
#[test]
fn a_series_of_1_0_takes_the_place_of_one_of_2_0() {
    let mut decoder = RemoteWrite::new(BOUNDS);
    let bodies = [&["a"][..], &["a", "more"], &["a", "more", "still more"]];
    let bodies = bodies.map(|texts| table(texts, &[&up(A), &up(A)]));
    check_all(&mut decoder, &[&bodies[..], &bodies].concat());
    let name = |number: usize| format!("name{number}");
    for number in 0..SERIES_CACHED_MAX + 8 * 32 {
        let series = super::series(&[("__name__", &name(number))], &[(1.0, ARRIVAL_MS)]);
        let mut out = [0; 1024];
        decoder.decode_v1(&super::body(vec![series]), &mut LineSink::new(&mut out, ARRIVAL_MS)).unwrap();
    }
    check_all(&mut decoder, &bodies);
}

#[test]
fn what_is_kept_is_bounded() {
    let mut decoder = RemoteWrite::new(BOUNDS);
    // Symbols of 10,000 bytes, which are not too long to be in the front.
    let padding = "x".repeat(10_000);
    let padded = |text| [&[text][..], &[padding.as_str(); SYMBOL_TABLE_BYTES_MAX / 20_000]].concat();
    let check_bound = |decoder: &RemoteWrite| {
        let tables = &decoder.tables;
        let bound = tables.len() * (SYMBOL_TABLE_BYTES_MAX + GAP_SYMBOLS_MAX * 32 + 128);
        assert!(tables.len() <= SYMBOL_TABLES_MAX && tables.kept_bytes() <= bound, "{}", tables.kept_bytes());
    };
    for number in 0..32 * SYMBOL_TABLES_MAX {
        let body = table(&[padded("a"), vec![&number.to_string()]].concat(), &[]);
        let mut out = [0; 1024];
        decoder.decode_v2(&body, &mut LineSink::new(&mut out, ARRIVAL_MS)).unwrap();
        check_bound(&decoder);
    }
    assert!(decoder.tables.len() == SYMBOL_TABLES_MAX && decoder.tables.kept_bytes() > SYMBOL_TABLES_MAX * 50_000);
    // One that is too long, and one with more gaps than are kept.
    let mut decoder = RemoteWrite::new(BOUNDS);
    let long = |text| table(&padded(text).repeat(3), &[&up(A)]);
    check_all(&mut decoder, &["a", "a", "b", "b"].map(long));
    assert_eq!(decoder.tables.len(), 0);
    for first in ["i", "j"] {
        let instances: Vec<_> = (0..2 * GAP_SYMBOLS_MAX).map(|number| format!("{first}{number}")).collect();
        let texts: Vec<_> = instances.iter().map(String::as_str).collect();
        let series: Vec<_> = (0..u32::try_from(texts.len()).unwrap()).map(|number| up(A + number)).collect();
        let series: Vec<_> = series.iter().map(|refs| &refs[..]).collect();
        let body = table(&texts, &series);
        check_all(&mut decoder, &[body.clone(), body]);
        check_bound(&decoder);
    }
    assert_eq!(decoder.tables.len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn bodies_with_nearly_the_same_table_decode_alike(
        // The series of all bodies: the references to the values of their name and of up to three labels.
        series in vec((8..12_u32, vec((select(vec![3_u32, 4, 6]), 8..12_u32), 0..3)), 1..6),
        // The texts of the values, and which series come.
        bodies in vec((vec(select(vec!["up", "a", "a", "b:9100", "", "\""]), 4), vec(0..6_usize, 1..8)), 1..12),
    ) {
        let mut decoder = RemoteWrite::new(BOUNDS);
        for (texts, present) in &bodies {
            let symbols = [&NAMES, &texts[..]].concat();
            let refs = present.iter().map(|index| {
                let (name, labels) = &series[index % series.len()];
                let labels: Vec<_> = labels.iter().flat_map(|&(name, value)| [name, value]).collect();
                [&[1, *name], &labels[..]].concat()
            });
            let refs: Vec<Vec<u32>> = refs.collect();
            let body = body(&symbols, &refs.iter().map(|refs| &refs[..]).collect::<Vec<_>>());
            let expected = v2::Request::decode(&body[..]).ok().and_then(|request| Expected::of_v2(&request));
            check(&mut decoder, Version::V2, &body, expected.as_ref())?;
        }
    }
}
