use super::*;
use metric::protocol::remote_write::encode::{Put, PutSamples, put_label_v1, put_series_v1, sample_bytes};
use proptest::prelude::*;

fn compressed(message: &[u8], records: &[Records]) -> Vec<u8> {
    let mut out = vec![0xff; Compressor::bytes_max(message.len())];
    let mut own = message.to_vec();
    let bytes = Compressor::new().compress(&mut own, records, &[], &mut out);
    out.truncate(bytes);
    out
}

/// Compresses, and has the reference decoder read it.
fn checked(message: &[u8], records: &[Records]) -> usize {
    let body = compressed(message, records);
    assert_eq!(snap::raw::Decoder::new().decompress_vec(&body).unwrap(), message);
    body.len()
}

/// A sample as a request has it.
fn sample(value: f64, ms: u32) -> [u8; 18] {
    let mut sample = [0x12, 0x10, 0x09, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x80, 0x80, 0x80, 0xf6, 0xb8, 0x33];
    sample[3..11].copy_from_slice(&value.to_le_bytes());
    sample[12..15].copy_from_slice(&ms.to_le_bytes()[..3]);
    sample
}

#[test]
fn samples_that_differ_in_time_alone_take_six_bytes() {
    let samples: Vec<u8> = (0..100).flat_map(|number| sample(1.1, 0x0101 * number)).collect();
    let records = [Records { labels: 0, begin: 0, end: samples.len(), bytes: 18, rest: 0..0, hash: 0 }];
    // The length, the first one, the key and the value of the second, two bytes of each time and sixteen behind them.
    assert_eq!(checked(&samples, &records), 2 + 19 + 3 + 98 * (3 + 3) + 3 + 2);
    // What is said to be records need not be.
    let odd = [Records { bytes: 17, ..records[0].clone() }];
    assert!(checked(&samples, &odd) > 900);
}

#[test]
fn labels_are_found_in_the_series_before() {
    // Short ones, which are compared in their places, and long ones, which are searched for.
    for more in ["", ", environment: production"] {
        let labels = |number: u32| format!("__name__: memory_bytes, instance: 10.0.0.{number}, job: node{more}");
        let (mut message, mut records) = (Vec::new(), Vec::new());
        for number in 0..50 {
            message.extend_from_slice(labels(number).as_bytes());
            let begin = message.len();
            message.extend_from_slice(&sample(number.into(), 17 * number));
            records.push(Records { labels: begin, begin, end: message.len(), bytes: 18, rest: 0..0, hash: 0 });
        }
        let bytes = checked(&message, &records);
        assert!(bytes < message.len() / 3, "{bytes} of {}", message.len());
    }
}

#[test]
fn labels_are_found_by_the_bytes_that_they_begin_with() {
    let label = |text: String| [&[0x0a, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let labels = |number: u32| {
        let texts =
            [format!("__name__:memory_{number}_bytes"), format!("instance:10.0.0.{number}:9100"), "job:n".into()];
        texts.map(label).concat()
    };
    let (mut message, mut records) = (Vec::new(), Vec::new());
    for number in 10..60 {
        let labels = (message.len(), message.extend_from_slice(&labels(number))).0;
        let begin = message.len();
        message.extend_from_slice(&sample(1.0, 17 * number));
        records.push(Records { labels, begin, end: message.len(), bytes: 18, rest: 0..0, hash: 0 });
    }
    // The two numbers of two characters, at most, and the two bytes of the timestamp: three literals, and four copies.
    let bytes = checked(&message, &records);
    assert!(bytes <= 150 + 49 * (3 * 3 + 4 * 3), "{bytes}");
}

#[test]
fn no_copy_reaches_back_64_kib() {
    let mut random = 1_u64;
    let mut noise = || {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        random.to_be_bytes()[0]
    };
    let text: Vec<u8> = (0..32).map(|_| noise()).collect();
    for between in [DISTANCE_END - 33, DISTANCE_END - 32, DISTANCE_END] {
        let message: Vec<u8> = [&text[..], &(0..between).map(|_| noise()).collect::<Vec<_>>(), &text].concat();
        let is_near = between + 32 < DISTANCE_END;
        assert_eq!(checked(&message, &[]) < message.len(), is_near, "{between}");
        // As the first of two runs of records.
        let run = |begin| Records { labels: begin, begin, end: begin + 32, bytes: 32, rest: 0..0, hash: 0 };
        let bytes = checked(&message, &[run(0), run(message.len() - 32)]);
        assert_eq!(bytes < message.len(), is_near, "{between}");
    }
}

#[test]
fn literals_of_every_length_are_read() {
    let mut random = 1_u32;
    let mut noise = || {
        random = random.wrapping_mul(0x915f_77f5).wrapping_add(1);
        random.to_be_bytes()[0]
    };
    for bytes in (0..300).chain([65_535, 65_536, 65_537, 200_000]) {
        let message: Vec<u8> = (0..bytes).map(|_| noise()).collect();
        let taken = checked(&message, &[]);
        assert!(taken <= bytes + 8 + bytes / 1_000, "{taken} of {bytes}");
        checked(&vec![7; bytes], &[]);
    }
}

/// Texts, labels and runs of records, some of which are none.
fn any_message() -> impl Strategy<Value = (Vec<u8>, Vec<Records>)> {
    let text = prop::collection::vec(prop::sample::select(b"abcd".to_vec()), 0..80);
    let label = ("[ab]{0,3}[cd]{0,12}", prop::sample::select(vec!["", "x", "10.0.0.1:9100", "10.0.0.2:9100"]))
        .prop_map(|(name, value)| {
            [&[0x0a, u8::try_from(name.len() + value.len()).unwrap()], name.as_bytes(), value.as_bytes()].concat()
        });
    let labels = prop::collection::vec(label, 0..6).prop_map(|labels| labels.concat());
    let value = prop::sample::select(vec![0.0, 1.0, 1.5, 0.1, -7.3, 12_345.67, 12_362.67, f64::NAN, f64::MAX]);
    let record = (value, prop_oneof![0..5_u32, any::<u32>()]).prop_map(|(value, ms)| sample(value, ms));
    let run = (prop::collection::vec(record, 0..12), prop::sample::select(vec![1_usize, 7, 17, 18, 18, 18, 500]));
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let parts = prop::collection::vec((text, labels, any::<bool>(), run), 0..20);
    (parts, changes).prop_map(|(parts, changes)| {
        let (mut message, mut records) = (Vec::new(), Vec::new());
        for (text, labels, are_known, (run, bytes)) in parts {
            message.extend_from_slice(&text);
            let at = message.len();
            message.extend_from_slice(&labels);
            let begin = message.len();
            message.extend_from_slice(run.as_flattened());
            let before = records.last().map_or(0, |run: &Records| run.end);
            let labels = if are_known { at } else { begin.saturating_sub(7).max(before) };
            records.push(Records { labels, begin, end: message.len(), bytes, rest: 0..0, hash: 0 });
        }
        let bytes = message.len();
        if bytes > 0 {
            changes.into_iter().for_each(|(place, byte)| message[place.index(bytes)] = byte);
        }
        (message, records)
    })
}

/// A series: bytes in front of it, labels, and samples.
type Series = (Vec<u8>, Vec<(String, String)>, Vec<Sample>);

/// Compresses series, without the samples that can be left out of the message. Returns the bytes.
fn checked_series(compressor: &mut Compressor, series: &[Series]) -> usize {
    let all: Vec<Sample> = series.iter().flat_map(|(_, _, samples)| samples.clone()).collect();
    let message_of = |put| {
        let (mut message, mut records, mut end, mut left_out_bytes) = (Vec::new(), Vec::new(), 0, 0);
        for (text, labels, samples) in series {
            message.extend_from_slice(text);
            let mut encoded = Vec::new();
            labels.iter().for_each(|(name, value)| put_label_v1(&mut encoded, (name.as_bytes(), value.as_bytes())));
            let PutSamples { place, left_out } = put_series_v1(&mut message, &encoded, samples, put);
            end += samples.len();
            left_out_bytes += left_out * USUAL_SAMPLE_BYTES;
            records.push(Records {
                labels: place.start - encoded.len(),
                begin: place.start,
                end: place.end,
                bytes: samples.first().map_or(1, |&sample| sample_bytes(sample)),
                rest: end - left_out..end,
                hash: encoded.iter().map(|&byte| u64::from(byte)).sum(),
            });
        }
        message.extend_from_slice(b"the end of the message, and the end");
        (message, records, left_out_bytes)
    };
    let (whole, records, _) = message_of(Put::All);
    checked(&whole, &records);
    let (mut message, records, left_out_bytes) = message_of(Put::First);
    let mut out = vec![0xff; Compressor::bytes_max(message.len() + left_out_bytes)];
    let bytes = compressor.compress(&mut message, &records, &all, &mut out);
    assert_eq!(snap::raw::Decoder::new().decompress_vec(&out[..bytes]).unwrap(), whole);
    bytes
}

#[test]
fn samples_take_what_differs_and_three_bytes() {
    const BEGIN_MS: i64 = 1_767_312_000_000;
    let bytes = |samples| checked_series(&mut Compressor::new(), &[(Vec::new(), Vec::new(), samples)]);
    let one = bytes(vec![(0, BEGIN_MS)]);
    // Whole numbers and others, one value again and again, and all bytes of it. Times differ in two bytes or three.
    let floats = |value: fn(f64) -> f64| (0..101).map(|step| value(f64::from(step)).to_bits()).collect::<Vec<_>>();
    for (values, least, most) in [
        (floats(|step| 4_096.0 + step), 10, 11),
        (floats(|step| 1_234.5 + 17.1 * step), 14, 15),
        (floats(|_| 0.1), 6, 7),
        ((0..101).map(|step| if step % 2 == 0 { 0 } else { u64::MAX }).collect(), 14, 15),
    ] {
        let bytes =
            bytes((0..).map(|step| BEGIN_MS + 10_000 * step).zip(values).map(|(ms, bits)| (bits, ms)).collect()) - one;
        assert!((100 * least..100 * most + 12).contains(&bytes), "{bytes} and not {least} to {most} each");
    }
}

/// Series in the order of their numbers, with so many samples each.
fn numbered_series(numbers: impl Iterator<Item = u64>, samples: i64) -> Vec<Series> {
    let series = numbers.map(|number| {
        let labels = [
            ("__name__", format!("memory_{}_bytes_of_all_of_it", number % 3)),
            ("environment", "production".to_owned()),
            ("instance", format!("10.0.0.{number}:9100")),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value)).to_vec();
        (Vec::new(), labels, (0..samples).map(|step| (number << 40, 1_767_312_000_000 + step)).collect())
    });
    series.collect()
}

#[test]
fn labels_and_first_samples_are_found_where_samples_are_left_out_between() {
    // Of a series: what differs in the name, the number and the sample, copies around them, and the other samples.
    let bytes = checked_series(&mut Compressor::new(), &numbered_series(100..150, 10));
    assert!(bytes < 100 + 50 * (30 + 9 * 6), "{bytes}");
}

#[test]
fn what_labels_repeat_is_remembered() {
    let mut compressor = Compressor::new();
    let first = checked_series(&mut compressor, &numbered_series(100..150, 10));
    // In another order of some, from another one on, with other numbers of samples, and with some that are new.
    assert_eq!(checked_series(&mut compressor, &numbered_series(100..150, 10)), first);
    assert!(checked_series(&mut compressor, &numbered_series((120..150).chain(100..120), 10)) < first + 20);
    assert!(checked_series(&mut compressor, &numbered_series(100..150, 9)) < first + 20 - 50 * 4);
    for numbers in [(200..230).chain(130..150), (100..150).chain(0..0)] {
        assert!(checked_series(&mut compressor, &numbered_series(numbers, 10)) < first + 20);
    }
}

/// Series of which some are like others, with usual and other timestamps.
fn any_series() -> impl Strategy<Value = Vec<Series>> {
    let text = prop::collection::vec(prop::sample::select(b"\x0aabcd".to_vec()), 0..8);
    let text = prop_oneof![3 => Just(Vec::new()), 1 => text];
    let value = prop_oneof!["x{0,3}", "10.0.0.[0-9]", "[ab]{0,60}", "a{40,42}", "y{120,130}"];
    let labels = prop::collection::vec((prop_oneof!["__name__", "job", "instance"], value), 0..6);
    let value = prop_oneof![
        prop::sample::select(vec![0.0, 1.0, 1.5, 0.1, -7.3, 12_345.67, 12_362.67, f64::NAN, f64::MAX])
            .prop_map(f64::to_bits),
        any::<u64>(),
        (0..64_u32).prop_map(|bit| 1 << bit),
    ];
    let timestamp = prop_oneof![
        8 => 1_767_312_000_000..1_767_312_000_009_i64,
        4 => (0..43_u32).prop_map(|bit| 1_767_312_000_000 ^ 1 << bit),
        1 => any::<i64>(),
    ];
    let samples = prop::collection::vec((value, timestamp), 0..12);
    prop::collection::vec((text, labels, samples), 0..20)
}

/// Requests that have some of the same series, each from another one on, and with other samples.
fn any_requests() -> impl Strategy<Value = Vec<Vec<Series>>> {
    let places = prop::collection::vec((any::<prop::sample::Index>(), 0..20_usize), 1..6);
    (any_series(), any_series(), places).prop_map(|(series, others, places)| {
        let request = |(begin, count): (prop::sample::Index, usize)| {
            let begin = if series.is_empty() { 0 } else { begin.index(series.len()) };
            let (front, behind) = series.split_at(begin);
            let own = behind.iter().chain(front).take(count).cloned();
            own.enumerate()
                .map(|(number, (text, labels, samples))| match others.get(number) {
                    Some((_, _, others)) if number % 2 == 0 => (text, labels, others.clone()),
                    _ => (text, labels, samples),
                })
                .collect()
        };
        places.into_iter().map(request).collect()
    })
}

proptest! {
    #[test]
    fn every_message_is_read_as_it_was((message, records) in any_message()) {
        checked(&message, &records);
        checked(&message, &[]);
    }

    #[test]
    fn what_is_left_out_of_messages_is_read_as_if_it_were_there(requests in any_requests()) {
        let mut compressor = Compressor::new();
        for series in requests {
            checked_series(&mut compressor, &series);
        }
    }
}
