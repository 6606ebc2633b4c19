//! References of 2.0 against the cache: those that are nearly the ones of a series that came before.

use super::cache::check;
use super::reference::{BOUNDS, Expected};
use super::*;
use crate::limits::SERIES_CACHED_MAX;

/// Symbols of a body, of which the last is the first with a reference of two bytes.
fn symbols() -> Vec<String> {
    let named = ["", "__name__", "up", "instance", "a:9100", "job", "node", "b:9100", "nodf", "zone", "x", "a\"b"];
    let others = (named.len()..=128).map(|number| format!("c{number}:9100"));
    named.map(str::to_owned).into_iter().chain(others).collect()
}

/// References of a series with these symbols.
const SERIES: &[u32] = &[1, 2, 3, 4, 5, 6];

fn request(symbols: &[String], all: &[&[u32]]) -> Vec<u8> {
    let series = |refs: &&[u32]| v2::TimeSeries {
        labels_refs: refs.to_vec(),
        samples: vec![v2::Sample { value: 1.5, timestamp: ARRIVAL_MS, start_timestamp: 0 }],
        ..Default::default()
    };
    let symbols = symbols.iter().map(|symbol| symbol.as_bytes().to_vec()).collect();
    v2::Request { symbols, timeseries: all.iter().map(series).collect() }.encode_to_vec()
}

/// Decodes `body` with a decoder to which the cached series came before, and compares with one that has no cache, and
/// with the reference.
fn check_behind_cached(body: &[u8]) {
    let mut decoder = RemoteWrite::new(BOUNDS);
    let before = request(&symbols(), &[SERIES; 4]);
    for body in [&before[..], body] {
        let expected = v2::Request::decode(body).ok().and_then(|request| Expected::of_v2(&request));
        check(&mut decoder, Version::V2, body, expected.as_ref()).unwrap();
    }
}

#[test]
fn references_that_nearly_came_before_are_other_series() {
    let symbols = symbols();
    for refs in [
        // Another instance, also with a longer reference.
        &[1, 2, 3, 7, 5, 6][..],
        &[1, 2, 3, 128, 5, 6],
        // One that has escapes, is empty, or is not there.
        &[1, 2, 3, 11, 5, 6],
        &[1, 2, 3, 0, 5, 6],
        &[1, 2, 3, 129, 5, 6],
        &[1, 2, 3, u32::MAX, 5, 6],
        // Another label before or behind it.
        &[1, 10, 3, 4, 5, 6],
        &[1, 2, 3, 4, 5, 8],
        &[1, 2, 5, 4, 3, 6],
        // More and fewer labels.
        &[1, 2, 3, 4, 5, 6, 9, 10],
        &[1, 2, 3, 4, 5],
        &[1, 2, 3, 4],
        &[1, 2, 3],
        &[1, 2],
        &[1],
        &[],
        &[1, 2, 5, 6],
        &[3, 4, 5, 6],
    ] {
        check_behind_cached(&request(&symbols, &[SERIES, SERIES, refs, SERIES, refs, refs]));
    }
}

#[test]
fn equal_references_to_another_table_are_other_series() {
    let same = [SERIES; 3];
    for index in 1..8 {
        for text in ["", "nodes", "instance", "\u{e9}"] {
            let mut other = symbols();
            text.clone_into(&mut other[index]);
            check_behind_cached(&request(&other, &same));
        }
        // One byte of a text.
        let mut other = symbols();
        let changed = other[index].replace(['o', 'p', 'a'], "e");
        other[index] = changed;
        check_behind_cached(&request(&other, &same));
        // Fewer symbols, and one more in front of the others.
        check_behind_cached(&request(&symbols()[..index], &same));
        other.insert(index, "more".to_owned());
        check_behind_cached(&request(&other, &same));
    }
}

#[test]
fn symbols_behind_a_series_are_of_its_table() {
    let symbols = symbols();
    for count in [0, 1, 4, 7, 8, 128] {
        let (front, behind) = symbols.split_at(count);
        for series in [&[][..], &[SERIES, &[1, 2, 3, 7]]] {
            let body = [request(front, &[SERIES, &[1, 2, 3, 8, 5, 6], SERIES]), request(behind, series)].concat();
            check_behind_cached(&body);
            check_behind_cached(&[&body[..], b"\x22"].concat());
            check_behind_cached(&[&body[..], b"\x2a\x02\x0a\x01"].concat());
        }
    }
}

#[test]
fn a_reference_may_be_longer_than_it_needs_to_be() {
    let plain = request(&symbols(), &[SERIES; 3]);
    let refs: &[u8] = &[6, 1, 2, 3, 4, 5, 6];
    let at = plain.windows(refs.len()).rposition(|window| window == refs).unwrap();
    for place in 0..6 {
        let mut longer = refs.to_vec();
        longer[0] += 1;
        longer[1 + place] |= 0x80;
        longer.insert(2 + place, 0);
        let mut body = [&plain[..at], &longer, &plain[at + refs.len()..]].concat();
        // The length of the series.
        body[at - 2] += 1;
        assert_eq!(v2::Request::decode(&body[..]).unwrap().timeseries[2].labels_refs, SERIES);
        check_behind_cached(&body);
    }
}

/// A series takes the place of another in the cache while a body is read, in which that came before, and then the other
/// comes behind its predecessor.
#[test]
fn a_replaced_series_is_not_taken_for_its_successor() {
    // The eighth miss of a full cache replaces the series that came first, and up to 31 are passed after each miss.
    let names = SERIES_CACHED_MAX + 8 * 32;
    let mut symbols = vec![String::new(), "__name__".to_owned()];
    symbols.extend((0..names).map(|number| format!("name{number}")));
    let refs: Vec<_> = (0..u32::try_from(names).unwrap()).map(|number| [1, 2 + number]).collect();
    let [replaced, other, predecessor] = [0, 1, SERIES_CACHED_MAX - 1].map(|number| &refs[number][..]);
    let mut all = [[replaced, other]; 4].concat();
    all.extend(refs[2..].iter().map(|refs| &refs[..]));
    all.extend([predecessor; 64]);
    all.extend([replaced; 2]);
    let body = request(&symbols, &all);
    let lines = |decoder: &mut RemoteWrite| {
        let mut out = vec![0; 1 << 21];
        let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
        decoder.decode_v2(&body, &mut sink).unwrap();
        let bytes = sink.decoded().bytes;
        String::from_utf8(out[..bytes].to_vec()).unwrap()
    };
    let [mut decoder, mut uncached] = [(); 2].map(|()| RemoteWrite::new(Bounds::default()));
    uncached.cached.disable();
    let expected = lines(&mut uncached);
    assert!(expected.ends_with("\"name0\",\"value\":1.5,\"type\":\"gauge\",\"tags\":{}}\n"));
    assert!(lines(&mut decoder) == expected);
}
