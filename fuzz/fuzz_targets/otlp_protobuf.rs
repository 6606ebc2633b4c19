//! OTLP in protobuf against prost: what prost decodes is decoded, with a line or a rejection for each of its points,
//! and a request that is sent twice in one gives its lines twice. The same request in JSON gives the same lines.
#![no_main]

use fuzz::{BOUNDS, Outcome, decode};
use libfuzzer_sys::fuzz_target;
use metric::protocol::otlp::{Names, Options, Otlp};
use metric::{DecodeError, Skip};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest as Request,
    metrics::v1::{Metric, metric::Data},
};
use prost::Message;

const PLAIN: Options = Options { names: Names::AsSent, job_instance: false };
const PROMETHEUS: Options = Options { names: Names::Prometheus, job_instance: true };

fuzz_target!(|data: &[u8]| {
    let oracle = Request::decode(data);
    for options in [PLAIN, PROMETHEUS] {
        let once = protobuf(data, options);
        match (&once, &oracle) {
            // Text that is not UTF-8 rejects its points alone, and what is not stored is not looked into.
            (Ok(_), Err(_)) | (Err(_), Err(_)) => {}
            // Groups are refused.
            (Err(DecodeError::Malformed { text: "a field has an unsupported wire type", .. }), Ok(_)) => {}
            (Err(DecodeError::TooLarge | DecodeError::TooManyMetrics), Ok(_)) => {}
            (Err(error), Ok(_)) => panic!("{error}: prost decodes it"),
            (Ok(once), Ok(request)) => account(once, request),
        }
        let Ok(once) = once else { continue };
        let body = [data, data].concat();
        if let Ok(twice) = protobuf(&body, options) {
            twice.assert_twice(&once);
        }
        if let Ok(request) = &oracle
            && let Ok(text) = serde_json::to_vec(request)
            // It writes null for some values that are no numbers.
            && serde_json::from_slice::<Request>(&text).is_ok_and(|again| again == *request)
            && let Ok(json) = json(&text, options)
        {
            assert_eq!(json.lines, once.lines, "{}", text.escape_ascii());
            assert_eq!(json.decoded.rejected, once.decoded.rejected);
        }
    }
});

fn protobuf(body: &[u8], options: Options) -> Result<Outcome, DecodeError> {
    let mut otlp = Otlp::new(BOUNDS, options);
    let outcome = decode(body, |sink| otlp.decode_protobuf(body, sink))?;
    assert_eq!(u64::from(outcome.decoded.rejected()), otlp.rejected_points());
    Ok(outcome)
}

fn json(body: &[u8], options: Options) -> Result<Outcome, DecodeError> {
    let mut otlp = Otlp::new(BOUNDS, options);
    decode(body, |sink| otlp.decode_json(body, sink))
}

/// Each point is stored, as one line or more, or rejected.
fn account(outcome: &Outcome, request: &Request) {
    let metrics = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let (mut least, mut is_exact) = (0, true);
    for metric in metrics.flat_map(|scope| &scope.metrics) {
        let (points, is_single) = points(metric);
        least += points;
        is_exact &= is_single || points == 0;
    }
    let known = outcome.decoded.metrics as usize + outcome.decoded.rejected() as usize;
    assert!(known >= least && (!is_exact || known == least), "{least} points, and {known} are known");
    assert!(outcome.decoded.skipped[Skip::Text as usize] == 0);
}

/// Returns the number of its data points, and true if each of them is one line.
fn points(metric: &Metric) -> (usize, bool) {
    match &metric.data {
        None => (0, true),
        Some(Data::Gauge(data)) => (data.data_points.len(), true),
        Some(Data::Sum(data)) => (data.data_points.len(), true),
        Some(Data::Histogram(data)) => (data.data_points.len(), false),
        Some(Data::ExponentialHistogram(data)) => (data.data_points.len(), false),
        Some(Data::Summary(data)) => (data.data_points.len(), false),
    }
}
