//! Remote write 1.0 and 2.0 against prost: a line or a rejection for each sample, a request that is sent twice in one
//! gives its lines twice, and a decoder that has its series in the cache gives the same as a new one.
#![no_main]

use fuzz::{BOUNDS, Outcome, decode};
use libfuzzer_sys::fuzz_target;
use metric::{
    DecodeError,
    protocol::remote_write::{RemoteWrite, Written},
};
use prost::Message;
use std::cell::RefCell;

thread_local! {
    static DECODER: RefCell<RemoteWrite> = RefCell::new(RemoteWrite::new(BOUNDS));
}

/// Request with the fields of both versions that accounting needs: texts are bytes, as Prometheus does not check them
/// while it decodes.
#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    series_v1: Vec<Series>,
    #[prost(message, repeated, tag = "5")]
    series_v2: Vec<Series>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Series {
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    /// Exemplars of 1.0, histograms of 2.0.
    #[prost(bytes = "vec", repeated, tag = "3")]
    third: Vec<Vec<u8>>,
    /// Histograms of 1.0, exemplars of 2.0.
    #[prost(bytes = "vec", repeated, tag = "4")]
    fourth: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

fuzz_target!(|data: &[u8]| {
    let request = Request::decode(data);
    for is_v2 in [false, true] {
        let fresh = write(&mut RemoteWrite::new(BOUNDS), data, is_v2);
        DECODER.with_borrow_mut(|kept| {
            for _ in 0..2 {
                assert_eq!(write(kept, data, is_v2), fresh, "what a decoder keeps between bodies changes nothing");
            }
            kept.trim();
        });
        let (once, written) = match fresh {
            Ok(once) => once,
            // A field of the other version may hold anything, so only what both agree on says something here.
            Err(DecodeError::Malformed { .. }) => continue,
            Err(error) => panic!("{error}: of {} bytes", data.len()),
        };
        assert!(written.samples <= u64::from(once.decoded.metrics));
        if let Ok(request) = &request {
            let series = if is_v2 { &request.series_v2 } else { &request.series_v1 };
            let samples = series.iter().map(|series| series.samples.len()).sum::<usize>();
            let histograms = series.iter().map(|series| if is_v2 { &series.third } else { &series.fourth });
            let histograms = histograms.map(Vec::len).sum::<usize>();
            let known = (once.decoded.metrics + once.decoded.rejected()) as usize;
            // A series that is rejected and has no sample counts as one.
            assert!(known >= samples + histograms, "{known} of {samples} samples and {histograms} histograms");
            assert!(histograms > 0 || known <= samples + series.len());
        }
        // A second table of symbols makes references valid that are not.
        if is_v2 && once.decoded.rejected() > 0 {
            continue;
        }
        let body = [data, data].concat();
        if let Ok((twice, written_twice)) = write(&mut RemoteWrite::new(BOUNDS), &body, is_v2) {
            twice.assert_twice(&once);
            assert_eq!(written_twice.samples, 2 * written.samples);
        }
    }
});

fn write(decoder: &mut RemoteWrite, body: &[u8], is_v2: bool) -> Result<(Outcome, Written), DecodeError> {
    let mut written = Err(DecodeError::TooLarge);
    let outcome = decode(body, |sink| {
        written = if is_v2 { decoder.decode_v2(body, sink) } else { decoder.decode_v1(body, sink) };
        written.map(drop)
    })?;
    Ok((outcome, written?))
}
