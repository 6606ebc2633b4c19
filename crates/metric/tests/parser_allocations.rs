//! A batch costs no allocation once its encoder exists, and a body of OTLP or text none once its decoder has grown:
//! counted by the allocator of this binary.

use std::hint::black_box;

use metric::protocol::otlp::{Names, Options, Otlp};
use metric::protocol::text;
use metric::{BatchEncoder, Bounds, LineSink};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use testkit::allocations::{CountingAllocator, allocations};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn decoding_line_protocol_again_allocates_nothing() {
    use metric::protocol::influx::{Influx, Options};

    let tags: String = (0..128).map(|index| format!(",k{index}=v\\ {index}")).collect();
    let fields: Vec<_> = (0..300).map(|index| format!("f\\,{index}=.5")).collect();
    // Escapes, other spellings of numbers, tags in any order, strings, and refusals.
    let body = format!(
        "cpu,cpu=cpu0,host=a usage_user=1.5,usage_idle=97i 1767323045678999999\nm{tags} {}\nm,b=1,a=2,b=3          f=t,s=\"a\nb\",g=007i 1\n#\nm f=\nm,k f=1\nm f=\"x\"y\n{} f=1\nm f=1 99999999999999999999\nm s=\"",
        fields.join(","),
        "n".repeat(300),
    );
    let mut influx = Influx::new(Bounds::default());
    let mut out = vec![0; 1 << 20];
    let mut decode = || {
        let mut sink = metric::LineSink::new(&mut out, 0);
        let options = Options { tag: Some((b"db", b"telegraf")), ..Options::default() };
        influx.decode(body.as_bytes(), &options, &mut sink).unwrap();
        let decoded = black_box(sink.decoded());
        // One tag too many for 300 fields, two bounds, and four lines that do not parse.
        assert_eq!((decoded.metrics, decoded.rejected()), (4, 300 + 2 + 4));
        influx.trim();
    };
    decode();
    let before = allocations();
    decode();
    assert_eq!(allocations() - before, 0);
}

#[test]
fn encoding_allocates_nothing() {
    let tags: Vec<_> = (0..128).map(|index| format!(r#""k\u0065y{index}":"v\n""#)).collect();
    let mut bodies: Vec<String> =
        include_str!("../../../bench/data/node_exporter.ndjson").lines().map(str::to_owned).collect();
    bodies.push(format!(r#"{{"metrics":[{{"name":"a\tb","value":1e308,"tags":{{{}}}}}]}}"#, tags.join(",")));
    bodies.push(r#"{"x":[[{}]],"metrics":[{"name":"é","value":1,"timestamp":"2026-01-02T03:04:05Z"}]}"#.to_owned());
    // And refusals, of every module: nothing is allocated for them until they are printed.
    bodies.push(r#"{"metrics":[{"name":"a","value":1,"type":"unheard of"}]}"#.to_owned());
    bodies.push(r#"{"metrics":[{"name":"a","value":1,"tags":{"a":"","a":""}}]}"#.to_owned());
    bodies.push(r#"{"metrics":"#.to_owned());

    let mut encoder = BatchEncoder::new(Bounds::default());
    let bytes_max = bodies.iter().map(|body| encoder.encoded_bytes_max(body.len())).max().unwrap();
    let mut out = vec![0; bytes_max];

    let before = allocations();
    let mut refused = 0;
    for body in &bodies {
        refused += usize::from(black_box(encoder.encode(body.as_bytes(), 0, &mut out)).is_err());
    }
    assert_eq!(allocations() - before, 0);
    assert_eq!(refused, 3);
    drop(black_box(Box::new(0)));
    assert_eq!(allocations() - before, 1, "the allocator counts");
}

#[test]
fn decoding_otlp_allocates_nothing_in_the_steady_state() {
    let value = |text: &str| Some(AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) });
    let array = any_value::Value::ArrayValue(ArrayValue { values: vec![AnyValue::default(); 3] });
    let attributes: Vec<_> =
        [("service.name", value("api")), ("a\n", Some(AnyValue { value: Some(array) })), ("b", None)]
            .into_iter()
            .map(|(key, value)| KeyValue { key: key.to_owned(), value, ..Default::default() })
            .collect();
    let number = |value| NumberDataPoint { attributes: attributes.clone(), value, ..Default::default() };
    let sum = Sum {
        data_points: [Some(1), None, Some(i64::MIN)]
            .map(|value| number(value.map(number_data_point::Value::AsInt)))
            .into(),
        aggregation_temporality: 1,
        is_monotonic: true,
    };
    let histogram = HistogramDataPoint {
        attributes: attributes.clone(),
        count: 6,
        sum: Some(0.5),
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![0.5, 1e9],
        ..Default::default()
    };
    let buckets = Some(Buckets { offset: -3, bucket_counts: vec![1; 20] });
    let exponential = ExponentialHistogramDataPoint {
        count: 40,
        scale: 3,
        positive: buckets.clone(),
        negative: buckets,
        ..Default::default()
    };
    let quantile_values = vec![ValueAtQuantile { quantile: 0.5, value: f64::NAN }];
    let summary = SummaryDataPoint { attributes: attributes.clone(), quantile_values, ..Default::default() };
    let metrics = [
        Data::Sum(sum),
        Data::Histogram(Histogram { data_points: vec![histogram], aggregation_temporality: 2 }),
        Data::ExponentialHistogram(ExponentialHistogram { data_points: vec![exponential], aggregation_temporality: 2 }),
        Data::Summary(Summary { data_points: vec![summary] }),
    ];
    let metrics =
        metrics.map(|data| Metric { name: "a.b".into(), unit: "s".into(), data: Some(data), ..Default::default() });
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes: [attributes.clone(), attributes].concat(), ..Default::default() }),
            scope_metrics: vec![ScopeMetrics { metrics: metrics.into(), ..Default::default() }],
            ..Default::default()
        }],
    };
    let (protobuf, json) = (request.encode_to_vec(), serde_json::to_vec(&request).unwrap());

    let mut out = vec![0; 1 << 16];
    for names in [Names::AsSent, Names::Prometheus] {
        let mut otlp = Otlp::new(Bounds::default(), Options { names, job_instance: true });
        let mut decode = || {
            let mut sink = LineSink::new(&mut out, 0);
            otlp.decode_protobuf(&protobuf, &mut sink).unwrap();
            otlp.decode_json(&json, &mut sink).unwrap();
            sink.decoded()
        };
        decode();
        let before = allocations();
        let decoded = decode();
        assert_eq!(allocations() - before, 0);
        assert_eq!(decoded.rejected(), 2);
        assert!(decoded.metrics > 80, "{decoded:?}");
    }
}

#[test]
fn decoding_text_again_allocates_nothing() {
    let families: String = (0..300).map(|index| format!("# TYPE family_{index} counter\n")).collect();
    let samples: String = (0..300)
        .map(|index| format!("family_{index}{{le=\"1\",a=\"x\\n\\\"\",\"b.c\"=\"y\"}} {index}e1 1767323045678\n"))
        .collect();
    // Types found among many, escapes, quoted names, and refusals.
    let body = format!("{families}{samples}{{\"quoted.name\"}} 0x1\nbad{{\nfamily_1_total NaN\n");
    let open_metrics = format!("{families}m_total{{a=\"x\"}} 1 1.5 # {{t=\"\\n\"}} 2\n# EOF\n");
    let labels = [(b"job".to_vec(), b"j".to_vec())];
    let mut decoder = text::Text::new(Bounds::default());
    let mut out = vec![0; 1 << 20];
    let mut decode = || {
        for (body, format) in [(&body, text::Format::Prometheus), (&open_metrics, text::Format::OpenMetrics)] {
            let mut sink = LineSink::new(&mut out, 0);
            decoder.decode(body.as_bytes(), &text::Options { format, labels: &labels }, &mut sink).unwrap();
            let decoded = black_box(sink.decoded());
            assert_eq!(
                (decoded.metrics, decoded.rejected()),
                if format == text::Format::Prometheus { (301, 2) } else { (1, 0) }
            );
        }
    };
    decode();
    let before = allocations();
    decode();
    assert_eq!(allocations() - before, 0);
}
