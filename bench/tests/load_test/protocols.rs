//! Protocols of other agents: what arrives is what decoders other than ours read, and the same samples in all of them.

use crate::harness::{Floor, OK, Request, read_request, received, recording, report, reported, run, server};
use metricstream_bench::{
    load::Protocol,
    messages::{v1, v2},
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{KeyValue, any_value::Value as Any},
    metrics::v1::{NumberDataPoint, metric::Data, number_data_point::Value as Number},
};
use prost::Message;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufReader, Write},
    time::{SystemTime, UNIX_EPOCH},
};

/// The name and the labels of a series, `instance` and `job` among them.
type Series = (String, BTreeMap<String, String>);
/// Samples by their series: the number, and the milliseconds since 1970, if there are any.
type Samples = BTreeMap<Series, (f64, Option<i64>)>;

/// Runs a load of one client and returns the requests that it sent.
fn sent(arguments: &str, count: usize) -> Vec<Request> {
    let (port, requests) = recording();
    let output = run(port, &format!("1 {count} {arguments}"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    received(&requests, count)
}

/// The body, without its content coding.
fn decoded(request: &Request) -> Vec<u8> {
    match coding(&request.head) {
        None => request.body.clone(),
        Some("snappy") => snap::raw::Decoder::new().decompress_vec(&request.body).unwrap(),
        Some("zstd") => zstd::stream::decode_all(&request.body[..]).unwrap(),
        Some(coding) => panic!("{coding}"),
    }
}

fn coding(head: &str) -> Option<&str> {
    head.lines().find_map(|line| line.strip_prefix("Content-Encoding: "))
}

fn add(samples: &mut Samples, name: &str, labels: BTreeMap<String, String>, sample: (f64, Option<i64>)) {
    let series = (name.to_owned(), labels);
    assert!(!samples.contains_key(&series), "{series:?} is twice in it");
    samples.insert(series, sample);
}

fn of_json(body: &[u8]) -> Samples {
    let document: Value = serde_json::from_slice(body).unwrap();
    let mut samples = Samples::new();
    for metric in document["metrics"].as_array().unwrap() {
        let tags = metric["tags"].as_object().unwrap().iter();
        let labels = tags.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        let sample = (metric["value"].as_f64().unwrap(), metric["timestamp"].as_i64());
        add(&mut samples, metric["name"].as_str().unwrap(), labels, sample);
    }
    samples
}

/// Takes the labels of a series of remote write, which are sorted and unique, and its sample.
fn add_prometheus(samples: &mut Samples, labels: Vec<(String, String)>, points: &[v1::Sample]) {
    assert!(labels.is_sorted_by(|one, next| one.0 < next.0), "{labels:?}");
    let mut labels: BTreeMap<_, _> = labels.into_iter().collect();
    let name = labels.remove("__name__").unwrap();
    let [point] = points else { panic!("{points:?}") };
    add(samples, &name, labels, (point.value, Some(point.timestamp)));
}

fn of_remote_write(body: &[u8]) -> Samples {
    let mut samples = Samples::new();
    for series in v1::WriteRequest::decode(body).unwrap().timeseries {
        let labels = series.labels.into_iter().map(|label| (label.name, label.value)).collect();
        add_prometheus(&mut samples, labels, &series.samples);
    }
    samples
}

fn of_remote_write_2(body: &[u8]) -> Samples {
    let mut samples = Samples::new();
    let request = v2::Request::decode(body).unwrap();
    assert_eq!(request.symbols[0], "");
    assert_eq!(request.symbols.iter().collect::<BTreeSet<_>>().len(), request.symbols.len(), "each text is there once");
    let symbol = |index: u32| request.symbols[usize::try_from(index).unwrap()].clone();
    for series in &request.timeseries {
        let (pairs, []) = series.labels_refs.as_chunks() else { panic!("{series:?}") };
        let labels: Vec<_> = pairs.iter().map(|[name, value]| (symbol(*name), symbol(*value))).collect();
        let metadata = series.metadata.unwrap();
        assert_eq!(metadata.kind == 1, labels[0].1.ends_with("_total"), "{labels:?}");
        assert!(symbol(metadata.help_ref).ends_with('.'));
        add_prometheus(&mut samples, labels, &series.samples);
    }
    samples
}

fn of_influx(body: &[u8]) -> Samples {
    let mut samples = Samples::new();
    for line in std::str::from_utf8(body).unwrap().lines() {
        // A space that is not escaped ends a part.
        let line = line.replace("\\ ", "\u{1}").replace("\\,", "\u{2}").replace("\\=", "\u{3}");
        let [key, fields, time] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let plain = |text: &str| text.replace('\u{1}', " ").replace('\u{2}', ",").replace('\u{3}', "=");
        let (measurement, tags) = key.split_once(',').unwrap();
        let pairs = tags.split(',').map(|tag| tag.split_once('=').unwrap());
        let labels: BTreeMap<_, _> = pairs.map(|(name, value)| (plain(name), plain(value))).collect();
        for (field, number) in fields.split(',').map(|field| field.split_once('=').unwrap()) {
            let number = number.strip_suffix('i').map_or(number, |integer| {
                assert!(integer.parse::<i64>().is_ok());
                integer
            });
            let time_ns: i64 = time.parse().unwrap();
            let sample = (number.parse().unwrap(), Some(time_ns / 1_000_000));
            add(&mut samples, &format!("{measurement}_{field}"), labels.clone(), sample);
        }
    }
    samples
}

fn attributes(attributes: &[KeyValue]) -> impl Iterator<Item = (String, String)> {
    attributes.iter().map(|attribute| {
        let Some(Any::StringValue(value)) = attribute.value.clone().unwrap().value else { panic!("{attribute:?}") };
        (attribute.key.clone(), value)
    })
}

fn of_otlp(body: &[u8]) -> Samples {
    let mut samples = Samples::new();
    for of_host in ExportMetricsServiceRequest::decode(body).unwrap().resource_metrics {
        let resource: BTreeMap<_, _> = attributes(&of_host.resource.unwrap().attributes).collect();
        let own = [("instance", "service.instance.id"), ("job", "service.name")];
        let own = own.map(|(label, attribute)| (label.to_owned(), resource[attribute].clone()));
        for metric in of_host.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            let points: Vec<NumberDataPoint> = match metric.data.unwrap() {
                Data::Gauge(gauge) => gauge.data_points,
                Data::Sum(sum) => {
                    assert!(sum.is_monotonic && sum.aggregation_temporality == 2 && metric.name.ends_with("_total"));
                    sum.data_points
                }
                other => panic!("{other:?}"),
            };
            for point in points {
                let labels = attributes(&point.attributes).chain(own.clone()).collect();
                #[expect(clippy::cast_precision_loss, reason = "at most 14 digits")]
                let number = match point.value.unwrap() {
                    Number::AsDouble(float) => float,
                    Number::AsInt(integer) => integer as f64,
                };
                assert!(point.start_time_unix_nano < point.time_unix_nano);
                let time_ms = i64::try_from(point.time_unix_nano / 1_000_000).unwrap();
                add(&mut samples, &metric.name, labels, (number, Some(time_ms)));
            }
        }
    }
    samples
}

fn of_text(body: &[u8]) -> Samples {
    let (mut samples, mut families, mut family) = (Samples::new(), BTreeSet::new(), String::new());
    for line in std::str::from_utf8(body).unwrap().lines() {
        if let Some(comment) = line.strip_prefix("# HELP ") {
            comment.split(' ').next().unwrap().clone_into(&mut family);
            assert!(families.insert(family.clone()), "{family} is twice in it");
            continue;
        }
        if let Some(comment) = line.strip_prefix("# TYPE ") {
            assert!(comment.starts_with(&format!("{family} ")), "{line}");
            continue;
        }
        let (name, rest) = line.split_once('{').unwrap();
        let (labels, number) = rest.rsplit_once("} ").unwrap();
        assert!(name.starts_with(&family), "{line} is not of {family}");
        let pairs = labels.split("\",").map(|pair| pair.split_once("=\"").unwrap());
        let labels = pairs.map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned())).collect();
        add(&mut samples, name, labels, (number.parse().unwrap(), None));
    }
    samples
}

fn samples(protocol: Protocol, body: &[u8]) -> Samples {
    match protocol {
        Protocol::Json => of_json(body),
        Protocol::RemoteWrite => of_remote_write(body),
        Protocol::RemoteWrite2 => of_remote_write_2(body),
        Protocol::Influx | Protocol::Influx2 => of_influx(body),
        Protocol::Otlp => of_otlp(body),
        Protocol::Text => of_text(body),
    }
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[test]
fn all_protocols_carry_the_same_samples() {
    let began_ms = now_ms();
    let without_times = |samples: Samples| {
        samples.into_iter().map(|(series, (number, _))| (series, number)).collect::<BTreeMap<_, _>>()
    };
    let mut expected = None;
    for protocol in Protocol::ALL {
        let name = protocol.name();
        let requests = sent(&format!("--protocol {name} --batch 1500 --seed 7"), 2);
        let found: Vec<_> = requests.iter().map(|request| samples(protocol, &decoded(request))).collect();
        for samples in &found {
            assert_eq!(samples.len(), 1500, "{name}");
            for (series, (_, time_ms)) in samples {
                assert_eq!(time_ms.is_none(), protocol == Protocol::Text, "{name}: {series:?}");
                // The scrapes of a second, and of the rounds before.
                assert!(time_ms.is_none_or(|ms| (began_ms - 10_000..=now_ms()).contains(&ms)), "{name}: {series:?}");
            }
        }
        let found: Vec<_> = found.into_iter().map(without_times).collect();
        assert_ne!(found[0], found[1], "{name}");
        assert_eq!(expected.get_or_insert_with(|| found.clone()), &found, "{name}");
    }
}

#[test]
fn each_protocol_has_its_path_type_and_coding() {
    let protobuf = "application/x-protobuf";
    for (protocol, path, content_type, content_coding, version) in [
        ("json", "/metrics", "application/json", None, None),
        ("remote-write", "/api/v1/write", protobuf, Some("snappy"), Some("0.1.0")),
        (
            "remote-write-2",
            "/api/v1/write",
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            Some("snappy"),
            Some("2.0.0"),
        ),
        ("influx", "/write?db=load_test", "text/plain; charset=utf-8", None, None),
        ("influx-2", "/api/v2/write?org=load_test&bucket=load_test", "text/plain; charset=utf-8", None, None),
        ("otlp", "/v1/metrics", protobuf, None, None),
        ("text", "/metrics/job/load_test", "text/plain; version=0.0.4; charset=utf-8", None, None),
    ] {
        let request = sent(&format!("--protocol {protocol}"), 1).remove(0);
        let head = &request.head;
        let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        assert!(head.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{head}");
        assert_eq!((value("Content-Type"), coding(head)), (Some(content_type), content_coding), "{head}");
        assert_eq!(value("X-Prometheus-Remote-Write-Version"), version, "{head}");
        assert_eq!(value("User-Agent").is_some(), version.is_some(), "{head}");
    }
}

#[test]
fn a_coding_or_a_header_takes_the_usual_ones_place() {
    let arguments = "--protocol remote-write --batch 9 --compress zstd -H X-Prometheus-Remote-Write-Version:1";
    let request = sent(arguments, 1).remove(0);
    assert_eq!(coding(&request.head), Some("zstd"), "{}", request.head);
    assert_eq!(request.head.matches("Remote-Write-Version").count(), 1, "{}", request.head);
    assert_eq!(of_remote_write(&decoded(&request)).len(), 9);
    let request = sent("--protocol otlp --compress zstd --method PUT --content-type a/b", 1).remove(0);
    assert!(request.head.starts_with("PUT /v1/metrics HTTP/1.1\r\n"), "{}", request.head);
    assert!(request.head.contains("\r\nContent-Type: a/b\r\n"), "{}", request.head);
    assert_eq!(of_otlp(&decoded(&request)).len(), 3);
}

#[test]
fn the_metrics_of_each_protocol_are_counted() {
    let floor = Floor::start("auto");
    for protocol in Protocol::ALL {
        let (report, status) = reported(floor.port, &format!("2 10 --protocol {} --batch 70", protocol.name()));
        assert_eq!((&report["metrics_acknowledged"], status), (&json!(1400), 0), "{}", protocol.name());
        assert_eq!(report["setup"]["protocol"], protocol.name());
    }
}

#[test]
fn every_2xx_response_is_a_success() {
    for response in ["200 OK", "202 Accepted", "204 No Content"] {
        let length = if response.starts_with("204") { "" } else { "Content-Length: 0\r\n" };
        let text = format!("HTTP/1.1 {response}\r\n{length}\r\n");
        let port = server(move |mut stream, _| {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while read_request(&mut reader) && stream.write_all(text.as_bytes()).is_ok() {}
        });
        let (report, status) = reported(port, "2 5 --protocol remote-write");
        assert_eq!((&report["successes"], status), (&json!(10), 0), "{response}");
    }
}

#[test]
fn what_no_protocol_can_be_given_with_is_refused() {
    for (arguments, says) in [
        ("--protocol otlp --body x", "cannot be used with"),
        ("--protocol otlp --body-file x", "cannot be used with"),
        ("--protocol graphite", "possible values"),
        ("--protocol text --method GET", "have none"),
        ("--protocol influx --ack fsync", "--ack is of POST /metrics"),
        ("--protocol influx --compress snappy", "of remote write"),
        ("--protocol remote-write-2 --compress gzip", "is not of remote write"),
        ("--protocol remote-write -H Content-Encoding:zstd", "leave the header out"),
        ("--protocol remote-write --batch 100001", "100001"),
    ] {
        let output = run(1, &format!("1 1 {arguments}"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
        assert!(said.contains(says), "{arguments}: {said}");
    }
}

#[test]
fn runs_of_one_protocol_are_comparable_at_any_time() {
    let port = server(|mut stream, _| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while read_request(&mut reader) && stream.write_all(OK.as_bytes()).is_ok() {}
    });
    let directory = tempfile::tempdir().unwrap();
    let earlier = directory.path().join("earlier.json");
    let usual = "1 2 --protocol remote-write --batch 20";
    let first = run(port, usual);
    fs::write(&earlier, &first.stdout).unwrap();
    let baseline = format!("--baseline {}", earlier.display());
    // The timestamps in the bodies are others.
    let same = run(port, &format!("{usual} {baseline}"));
    assert_eq!(same.status.code(), Some(0), "{same:?}");
    assert_eq!(report(&first)["setup"], report(&same)["setup"]);
    for (arguments, says) in [
        ("1 2 --protocol remote-write-2 --batch 20", "protocol \"remote-write\" there, \"remote-write-2\" here"),
        ("1 2 --protocol remote-write --batch 20 --seed 2", "crc32"),
        ("1 2 --protocol remote-write --batch 20 --compress zstd", "compress \"snappy\" there, \"zstd\" here"),
    ] {
        let output = run(port, &format!("{arguments} {baseline}"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
        assert!(said.contains("not comparable") && said.contains(says), "{arguments}: {said}");
    }
}
