use super::*;
use crate::forward::{
    batch::{Place, Sharding},
    encoder::Encoder,
    format::Format,
};
use metric::Lines;
use proptest::prelude::*;

/// Takes lines into a batch as a forward does. Returns the number of those that were foreign, and of those that were
/// known.
fn take(known: &mut KnownSeries, text: &[u8], batch: &mut Batch) -> (usize, usize) {
    let (mut lines, mut foreign, mut hits) = (Lines::new(text), 0, 0);
    loop {
        let before = batch.len() + batch.superseded();
        let at = known.take(text, lines.byte(), batch, usize::MAX);
        hits += batch.len() + batch.superseded() - before;
        lines.skip_to(at);
        match lines.next() {
            Some(Ok(line)) => {
                let series = batch.push(&line);
                known.learn(&text[at..lines.byte()], &line, batch, series);
            }
            Some(Err(_)) => foreign += 1,
            None => return (foreign, hits),
        }
    }
}

/// Adds lines to a batch with the grammar alone.
fn push(text: &[u8], batch: &mut Batch) -> usize {
    let mut foreign = 0;
    for line in Lines::new(text) {
        match line {
            Ok(line) => drop(batch.push(&line)),
            Err(_) => foreign += 1,
        }
    }
    foreign
}

/// Requests of a batch, as bodies.
fn bodies(batch: &Batch, lanes: usize, format: Format, encoder: &mut Encoder) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    for lane in 0..lanes {
        let mut place = Place::BEGIN;
        while let Some(encoded) = encoder.encode(batch, lane, place, 7, format) {
            place = encoded.behind;
            bodies.push(encoder.body().to_vec());
        }
    }
    bodies
}

/// Forwards the same texts, a batch each, with and without known series: every request has to be the same.
fn compare(texts: &[Vec<u8>], bytes_max: usize, lanes: usize) -> usize {
    let sharding = Sharding::over(lanes);
    let mut known = KnownSeries::new(bytes_max);
    let formats = [Format::V1, Format::V2];
    let (mut encoders, mut plain_encoders) = (formats.map(|_| Encoder::new()), formats.map(|_| Encoder::new()));
    let (mut batch, mut plain) = (Batch::new(sharding.clone()), Batch::new(sharding));
    let mut hits = 0;
    for text in texts {
        let (foreign, of_text) = take(&mut known, text, &mut batch);
        assert_eq!(foreign, push(text, &mut plain));
        assert_eq!((batch.len(), batch.superseded()), (plain.len(), plain.superseded()));
        for (index, format) in formats.into_iter().enumerate() {
            let expected = bodies(&plain, lanes, format, &mut plain_encoders[index]);
            assert_eq!(bodies(&batch, lanes, format, &mut encoders[index]), expected, "{format:?}");
        }
        known.begin_batch();
        batch.clear();
        plain.clear();
        // Over it by the symbols of one series, at most.
        assert!(known.bytes() <= bytes_max + 1_000, "{}", known.bytes());
        hits += of_text;
    }
    hits
}

fn line(second: u32, name: &str, value: &str, kind: &str, tags: &str) -> String {
    let timestamp = format!("2026-01-02T03:04:{second:02}.678Z");
    let line =
        format!(r#"{{"timestamp":"{timestamp}","name":"{name}","value":{value},"type":"{kind}","tags":{{{tags}}}}}"#);
    line + "\n"
}

#[test]
fn a_series_that_comes_again_is_known() {
    let text = |second: u32| {
        let of = |index: u32| line(second, "m", &index.to_string(), "gauge", &format!(r#""i":"{index}""#));
        (0..100).map(of).collect::<String>().into_bytes()
    };
    let texts: Vec<Vec<u8>> = (0..5).map(text).collect();
    assert_eq!(compare(&texts, 1 << 20, 1), 400);
    // Those that fit are known, and the others are sent just the same.
    let hits = compare(&texts, 10_000, 3);
    assert!((1..400).contains(&hits), "{hits}");
    assert_eq!(compare(&texts, 0, 1), 0);
}

#[test]
fn series_that_ended_give_their_place_to_new_ones() {
    let text = |epoch: u32| {
        let of = |index: u32| line(index % 60, &format!("m{epoch}_{}", index % 20), "1", "gauge", "");
        (0..600).map(of).collect::<String>().into_bytes()
    };
    let texts: Vec<Vec<u8>> = [0, 1, 1, 2, 2].map(text).to_vec();
    let hits = compare(&texts, 20 * (size_of::<Series>() + 200), 1);
    assert!(hits > 1_500, "{hits} of 3,000");
}

#[test]
fn texts_of_all_lengths_are_the_same_or_not() {
    for bytes in 0..100 {
        let text: Vec<u8> = (0..bytes).collect();
        assert!(is_same(&text, &text.clone()));
        for place in 0..text.len() {
            let mut other = text.clone();
            other[place] ^= 0x80;
            assert!(!is_same(&text, &other), "{bytes} {place}");
            assert!(!is_same(&text, &text[..place]) && !is_same(&text[..place], &text));
        }
    }
}

#[test]
fn what_follows_no_number_is_not_taken_behind_one() {
    let stale = line(1, "m", "\"NaN\",\"stale\":true", "gauge", "");
    let foreign = line(2, "m", "1,\"stale\":true", "gauge", "");
    let text = [stale.clone(), foreign.clone(), stale, foreign, line(3, "m", "1", "gauge", "")].concat();
    let mut known = KnownSeries::new(1 << 20);
    let mut batch = Batch::new(Sharding::over(1));
    assert_eq!(take(&mut known, text.as_bytes(), &mut batch), (2, 0));
    assert_eq!(compare(&[text.into_bytes()], 1 << 20, 1), 0);
}

/// Lines of few series in many spellings: escapes, tags in other orders, without values, with names that become equal,
/// other types, and what is no line.
fn any_line() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec!["m", "m.m", "m_m", "n\\\"x", "1n", "é", "a_bucket", "a"]);
    let value = prop_oneof![
        4 => "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?",
        1 => "[1-9][0-9]{14,19}(\\.[0-9]{1,9})?([eE]-?[1-9])?",
        1 => prop::sample::select(vec![
            "\"NaN\"", "\"NaN\",\"stale\":true", "\"+Inf\"", "\"-Inf\"", "-0", "1e999", "01", "1.", "1,\"stale\":true",
        ]).prop_map(str::to_owned),
    ];
    let kind = prop::sample::select(vec!["gauge", "counter", "histogram", "summary", "untyped", "other"]);
    let tag = prop::sample::select(vec![
        r#""a":"1""#,
        r#""b":"2""#,
        r#""b":"""#,
        r#""x.y":"3""#,
        r#""x-y":"4""#,
        r#""q":"\"\n\u0001""#,
        r#""__name__":"z""#,
        r#""2":"é""#,
        r#""long":"0123456789012345678901234567890123456789""#,
    ]);
    let tags = prop::collection::vec(tag, 0..4).prop_map(|tags| tags.join(","));
    let whole = (0..9_u32, name, value, kind, tags)
        .prop_map(|(second, name, value, kind, tags)| line(second, name, &value, kind, &tags).into_bytes());
    (whole, prop::option::weighted(0.05, (any::<prop::sample::Index>(), any::<u8>()))).prop_map(|(mut line, flip)| {
        if let Some((place, byte)) = flip {
            let place = place.index(line.len() - 1);
            line[place] = byte;
        }
        line
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn known_series_are_sent_as_unknown_ones(
        lines in prop::collection::vec(any_line(), 1..24),
        order in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..40), 1..6),
        bytes_max in prop::sample::select(vec![0, 600, 2_000, 1 << 20]),
        lanes in 1..4_usize,
    ) {
        let text =
            |batch: &Vec<prop::sample::Index>| batch.iter().flat_map(|index| index.get(&lines).clone()).collect();
        let texts: Vec<Vec<u8>> = order.iter().map(text).collect();
        compare(&texts, bytes_max, lanes);
    }
}
