//! A body of remote write costs no allocation once its decoder has seen one like it: counted by the allocator of this
//! binary.
#![expect(clippy::unwrap_used, reason = "the functions that build bodies are parts of a test")]

use std::hint::black_box;

use metric::protocol::remote_write::RemoteWrite;
use metric::{Bounds, LineSink};
use prost::encoding::{bytes, double, int64, sint64, uint32, uint64};
use testkit::allocations::{CountingAllocator, allocations};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const NOW_MS: i64 = 1_767_323_045_678;

fn field(number: u32, content: &[u8], out: &mut Vec<u8>) {
    bytes::encode(number, &content.to_vec(), out);
}

/// Name, tags and value of each metric of real scrapes.
fn scraped() -> Vec<(Vec<(String, String)>, f64)> {
    let mut metrics = Vec::new();
    for batch in include_str!("../../../bench/data/node_exporter.ndjson").lines() {
        let batch: serde_json::Value = serde_json::from_str(batch).unwrap();
        for metric in batch["metrics"].as_array().unwrap() {
            let mut labels = vec![("__name__".to_owned(), metric["name"].as_str().unwrap().to_owned())];
            for (key, value) in metric["tags"].as_object().into_iter().flatten() {
                labels.push((key.clone(), value.as_str().unwrap().to_owned()));
            }
            labels.sort();
            metrics.push((labels, metric["value"].as_f64().unwrap()));
        }
        if metrics.len() > 2_000 {
            break;
        }
    }
    metrics
}

fn sample(value: f64) -> Vec<u8> {
    let mut sample = Vec::new();
    double::encode(1, &value, &mut sample);
    int64::encode(2, &NOW_MS, &mut sample);
    sample
}

fn histogram() -> Vec<u8> {
    let mut span = Vec::new();
    uint32::encode(2, &3, &mut span);
    let mut histogram = Vec::new();
    uint64::encode(1, &6, &mut histogram);
    field(11, &span, &mut histogram);
    sint64::encode_packed(12, &[1, 1, 1], &mut histogram);
    int64::encode(15, &NOW_MS, &mut histogram);
    histogram
}

/// Bodies with the same series, the last of which is a histogram: of 1.0, and of 2.0 with the table of symbols behind
/// them and in front. In every tenth, the labels are out of order.
fn requests() -> [Vec<u8>; 3] {
    let (mut v1, mut v2) = (Vec::new(), Vec::new());
    let mut symbols = vec![String::new()];
    let mut metrics = scraped();
    metrics.push((vec![("__name__".to_owned(), "latency".to_owned())], f64::NAN));
    let count = metrics.len();
    for (index, (mut labels, value)) in metrics.into_iter().enumerate() {
        if index % 10 == 0 {
            labels.reverse();
        }
        let (mut series, mut refs) = (Vec::new(), Vec::new());
        for (name, value) in &labels {
            let mut label = Vec::new();
            field(1, name.as_bytes(), &mut label);
            field(2, value.as_bytes(), &mut label);
            field(1, &label, &mut series);
            for text in [name, value] {
                let known = symbols.iter().position(|symbol| symbol == text);
                refs.push(u32::try_from(known.unwrap_or(symbols.len())).unwrap());
                if known.is_none() {
                    symbols.push(text.clone());
                }
            }
        }
        let mut referring = Vec::new();
        uint32::encode_packed(1, &refs, &mut referring);
        let (content, in_v1, in_v2) = if index + 1 == count { (histogram(), 4, 3) } else { (sample(value), 2, 2) };
        field(in_v1, &content, &mut series);
        field(in_v2, &content, &mut referring);
        field(1, &series, &mut v1);
        field(5, &referring, &mut v2);
    }
    let mut table = Vec::new();
    for symbol in &symbols {
        field(4, symbol.as_bytes(), &mut table);
    }
    [v1, [&v2[..], &table].concat(), [table, v2].concat()]
}

#[test]
fn decoding_allocates_nothing_in_the_steady_state() {
    let [v1, v2, v2_in_order] = requests();
    let mut decoder = RemoteWrite::new(Bounds::default());
    let mut out = vec![0; 4 << 20];
    let mut run = |decoder: &mut RemoteWrite| {
        let mut sink = LineSink::new(&mut out, NOW_MS);
        let first = decoder.decode_v1(black_box(&v1), &mut sink).unwrap();
        let lines_v1 = sink.decoded();
        let mut sink = LineSink::new(&mut out, NOW_MS);
        let second = decoder.decode_v2(black_box(&v2), &mut sink).unwrap();
        let mut sink = LineSink::new(&mut out, NOW_MS);
        assert_eq!(decoder.decode_v2(black_box(&v2_in_order), &mut sink).unwrap(), second);
        // A refused body, which leaves nothing behind.
        let mut sink = LineSink::new(&mut out[..1000], NOW_MS);
        assert!(decoder.decode_v1(&v1, &mut sink).is_err());
        decoder.trim();
        (first, second, lines_v1)
    };
    let (first, second, decoded) = run(&mut decoder);
    assert_eq!(first, second);
    assert!(first.samples > 1_000, "{first:?}");
    assert_eq!((first.histograms, decoded.rejected()), (1, 0), "{decoded:?}");

    // Series whose places in the table of the cache collide are taken a second time, and may need more memory.
    run(&mut decoder);
    let before = allocations();
    for _ in 0..3 {
        run(&mut decoder);
    }
    assert_eq!(allocations() - before, 0);
    drop(black_box(Box::new(0)));
    assert_eq!(allocations() - before, 1, "the allocator counts");
}
