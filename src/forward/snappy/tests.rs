use super::*;
use proptest::prelude::*;

fn compressed(message: &[u8], records: &[Records]) -> Vec<u8> {
    let mut out = vec![0xff; Compressor::bytes_max(message.len())];
    let mut own = message.to_vec();
    let bytes = Compressor::new().compress(&mut own, records, &mut out);
    assert_eq!(own, message);
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
    let records = [Records { labels: 0, begin: 0, end: samples.len(), bytes: 18 }];
    // The length, the first one, the key and the value of the second, two bytes of each time and sixteen behind them.
    assert_eq!(checked(&samples, &records), 2 + 19 + 3 + 98 * (3 + 3) + 3 + 2);
    // What is said to be records need not be.
    let odd = [Records { bytes: 17, ..records[0] }];
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
            records.push(Records { labels: begin, begin, end: message.len(), bytes: 18 });
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
        records.push(Records { labels, begin, end: message.len(), bytes: 18 });
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
        let run = |begin| Records { labels: begin, begin, end: begin + 32, bytes: 32 };
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
            let labels = if are_known { at } else { begin.saturating_sub(7) };
            records.push(Records { labels, begin, end: message.len(), bytes });
        }
        let bytes = message.len();
        if bytes > 0 {
            changes.into_iter().for_each(|(place, byte)| message[place.index(bytes)] = byte);
        }
        (message, records)
    })
}

proptest! {
    #[test]
    fn every_message_is_read_as_it_was((message, records) in any_message()) {
        checked(&message, &records);
        checked(&message, &[]);
    }
}
