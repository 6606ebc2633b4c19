//! Conversion of records to spans: names and attributes by OpenTelemetry's conventions for HTTP servers, and this
//! server's own.
//!
//! Of a client's data only its address and its trace are exported, neither its key nor the contents of a batch.

use super::{Delivery, DeliveryOutcome, DeliveryReceiver, Ids, Reason, Record, Request};
use crate::listening::Endpoint;
use log::AckLevel;
use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanLinks},
};
use std::{
    borrow::Cow,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The identity of this server: the attributes shared by all spans and metrics.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Attributes of the server.
    pub(super) resource: Vec<(String, String)>,
    listen: Endpoint,
    host_name: String,
}

impl Identity {
    /// The identity of a server that listens on `listen`, on the machine `host_name`. `configured` attributes override
    /// the others.
    #[must_use]
    pub fn new(configured: &[(String, String)], listen: &Endpoint, host_name: &str) -> Self {
        let found = [
            ("service.name", "metricstream".to_owned()),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id", uuid(&mut Ids::new())),
            ("host.name", host_name.to_owned()),
            ("process.pid", std::process::id().to_string()),
            ("telemetry.sdk.language", "rust".to_owned()),
            ("telemetry.sdk.name", "opentelemetry".to_owned()),
        ];
        let is_configured = |name: &str| configured.iter().any(|(key, _)| key == name);
        let found = found.into_iter().filter(|(name, _)| !is_configured(name));
        let resource = found.map(|(name, value)| (name.to_owned(), value)).chain(configured.iter().cloned()).collect();
        Self { resource, listen: listen.clone(), host_name: host_name.to_owned() }
    }

    /// The identity as a resource of the SDK.
    pub(super) fn resource(&self) -> Resource {
        let attributes = self.resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        Resource::builder_empty().with_attributes(attributes).build()
    }

    /// A name for the address that clients speak to: the one that is listened on, or if that is all of them, the
    /// machine's; and its port, which a unix socket does not have.
    fn server_address(&self) -> (String, Option<u16>) {
        match &self.listen {
            Endpoint::Tcp(address) if address.ip().is_unspecified() => (self.host_name.clone(), Some(address.port())),
            Endpoint::Tcp(address) => (address.ip().to_string(), Some(address.port())),
            Endpoint::Unix(address) => (address.to_string(), None),
        }
    }
}

/// A random UUID (RFC 9562, version 4).
fn uuid(ids: &mut Ids) -> String {
    let mut number = u128::from_be_bytes(ids.trace());
    number = number & !(0xf << 76) | 0x4 << 76;
    number = number & !(0x3 << 62) | 0x2 << 62;
    let digits = format!("{number:032x}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// Converts records to spans.
#[derive(Debug)]
pub(super) struct SpanMaker {
    ids: Ids,
    server_address: String,
    server_port: Option<u16>,
    scope: InstrumentationScope,
}

impl SpanMaker {
    pub fn new(identity: &Identity) -> Self {
        let (server_address, server_port) = identity.server_address();
        Self {
            ids: Ids::new(),
            server_address,
            server_port,
            scope: InstrumentationScope::builder("metricstream").with_version(env!("CARGO_PKG_VERSION")).build(),
        }
    }

    /// The spans of `record`: the request, then its parts. `epoch_ns` is the time since 1970 at which the server's
    /// clock was zero.
    pub fn spans(&mut self, record: &Record, epoch_ns: u64, into: &mut Vec<SpanData>) {
        let context = &record.request.context;
        let tracestate = context.tracestate.as_deref().and_then(|text| TraceState::from_str(text).ok());
        let tracestate = tracestate.unwrap_or_default();
        let span_id = self.ids.span();
        let parent_span_id = SpanId::from_bytes(context.parent_span_id);
        let plain = PlainSpan { trace_id: context.trace_id, tracestate, epoch_ns, scope: &self.scope };
        let span = |id, parent_span_id, start_ns, end_ns| plain.of(id, parent_span_id, start_ns, end_ns);
        let request = SpanData {
            parent_span_is_remote: parent_span_id != SpanId::INVALID,
            span_kind: SpanKind::Server,
            name: Cow::Borrowed("POST /metrics"),
            status: status(record),
            ..span(span_id, parent_span_id, record.start_ns(), record.end_ns())
        };
        let children = record.children().map(|child| SpanData {
            name: Cow::Borrowed(child.name),
            ..span(self.ids.span(), SpanId::from_bytes(span_id), child.start_ns, child.end_ns)
        });
        let first = into.len();
        into.push(request);
        into.extend(children);
        into[first].attributes = self.attributes(record);
    }

    /// The spans of `delivery`: the whole, then its stages.
    pub fn delivery(&mut self, delivery: &Delivery, epoch_ns: u64, into: &mut Vec<SpanData>) {
        let span_id = self.ids.span();
        let tracestate = TraceState::default();
        let plain = PlainSpan { trace_id: delivery.trace_id, tracestate, epoch_ns, scope: &self.scope };
        let (start_ns, end_ns) = delivery.times_ns();
        let kind = match delivery.target.receiver {
            DeliveryReceiver::Http { .. } => SpanKind::Client,
            DeliveryReceiver::Kafka { .. } => SpanKind::Producer,
        };
        into.push(SpanData {
            span_kind: kind,
            name: Cow::Borrowed("forward"),
            status: if delivery.outcome.refused > 0 { Status::error("") } else { Status::Unset },
            attributes: delivery_attributes(delivery),
            ..plain.of(span_id, SpanId::INVALID, start_ns, end_ns)
        });
        into.extend(delivery.stages().map(|stage| SpanData {
            name: Cow::Borrowed(stage.name),
            ..plain.of(self.ids.span(), SpanId::from_bytes(span_id), stage.start_ns, stage.end_ns)
        }));
    }

    fn attributes(&self, record: &Record) -> Vec<KeyValue> {
        let Record { request: Request { context, ack, stages, peer }, reason, reactor, burst_batches, .. } = record;
        let mut attributes = vec![
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.route", "/metrics"),
            KeyValue::new("url.path", "/metrics"),
            KeyValue::new("url.scheme", "http"),
            KeyValue::new("network.protocol.version", if context.old { "1.0" } else { "1.1" }),
            KeyValue::new("server.address", self.server_address.clone()),
            KeyValue::new("client.address", context.client.unwrap_or(*peer).to_string()),
            KeyValue::new("network.peer.address", peer.to_string()),
            KeyValue::new("metricstream.sampled_by", reason.label()),
            KeyValue::new("metricstream.reactor", i64::from(*reactor)),
        ];
        let mut add = |key: &'static str, value: opentelemetry::Value| attributes.push(KeyValue::new(key, value));
        if let Some(port) = self.server_port {
            add("server.port", i64::from(port).into());
        }
        if let Some(bytes) = context.content_length {
            add("http.request.body.size", i64::from(bytes).into());
        }
        if stages.status > 0 {
            add("http.response.status_code", i64::from(stages.status).into());
        }
        match stages.status {
            _ if record.cut_off => add("error.type", "connection_ended".into()),
            500.. => add("error.type", stages.status.to_string().into()),
            _ => {}
        }
        if let Some(ack) = ack {
            add("metricstream.ack", AckLevel::name(*ack).into());
        }
        if stages.metrics > 0 {
            add("metricstream.batch.metrics", i64::from(stages.metrics).into());
        }
        if *burst_batches > 1 {
            add("metricstream.burst.batches", i64::from(*burst_batches).into());
        }
        attributes
    }
}

/// The parts that all spans of one trace share.
struct PlainSpan<'a> {
    trace_id: [u8; 16],
    tracestate: TraceState,
    epoch_ns: u64,
    scope: &'a InstrumentationScope,
}

impl PlainSpan<'_> {
    /// A span without a name and attributes.
    fn of(&self, id: [u8; 8], parent_span_id: SpanId, start_ns: u64, end_ns: u64) -> SpanData {
        SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(self.trace_id),
                SpanId::from_bytes(id),
                TraceFlags::SAMPLED,
                false,
                self.tracestate.clone(),
            ),
            parent_span_id,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: Cow::Borrowed(""),
            start_time: at(self.epoch_ns, start_ns),
            end_time: at(self.epoch_ns, end_ns),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn delivery_attributes(delivery: &Delivery) -> Vec<KeyValue> {
    let Delivery { reason, target, outcome, .. } = delivery;
    let DeliveryOutcome { attempts, samples, refused, bytes, status, .. } = *outcome;
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut attributes = vec![
        KeyValue::new("metricstream.forward", target.forward.clone()),
        KeyValue::new("metricstream.forward.attempts", i64::from(attempts)),
        KeyValue::new("metricstream.forward.samples", number(samples)),
        KeyValue::new("metricstream.forward.refused_samples", number(refused)),
        KeyValue::new("metricstream.sampled_by", Reason::label(*reason)),
    ];
    let mut add = |key: &'static str, value: opentelemetry::Value| attributes.push(KeyValue::new(key, value));
    match &target.receiver {
        DeliveryReceiver::Http { host, port } => {
            add("http.request.method", "POST".into());
            add("http.request.body.size", number(bytes).into());
            add("server.address", host.clone().into());
            add("server.port", i64::from(*port).into());
            if attempts > 1 {
                add("http.request.resend_count", i64::from(attempts - 1).into());
            }
            if status > 0 {
                add("http.response.status_code", i64::from(status).into());
            }
        }
        DeliveryReceiver::Kafka { topic } => {
            add("messaging.system", "kafka".into());
            add("messaging.operation.type", "send".into());
            add("messaging.destination.name", topic.clone().into());
            add("messaging.batch.message_count", number(samples).into());
            add("messaging.message.body.size", number(bytes).into());
        }
    }
    if refused > 0 {
        let kind = if status >= 400 { status.to_string() } else { "not_written".to_owned() };
        add("error.type", kind.into());
    }
    attributes
}

/// A client error is not an error of the server (semantic conventions for HTTP spans, "Status").
fn status(record: &Record) -> Status {
    if record.cut_off || record.request.stages.status >= 500 { Status::error("") } else { Status::Unset }
}

fn at(epoch_ns: u64, clock_ns: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(epoch_ns.saturating_add(clock_ns))
}

#[cfg(test)]
mod tests {
    use super::super::{delivery::tests::delivery, record::tests::record};
    use super::*;
    use crate::{
        stats::Stamps,
        trace::{Context, DeliveryStage, RequestStages},
    };

    fn identity(listen: &str) -> Identity {
        Identity::new(&[("service.name".into(), "mine".into())], &Endpoint::Tcp(listen.parse().unwrap()), "machine")
    }

    fn made(record: &Record) -> Vec<SpanData> {
        let mut spans = Vec::new();
        SpanMaker::new(&identity("127.0.0.1:8080")).spans(record, 1_000_000, &mut spans);
        spans
    }

    fn attribute(span: &SpanData, key: &str) -> Option<String> {
        span.attributes.iter().find(|known| known.key.as_str() == key).map(|found| found.value.to_string())
    }

    const STAMPS: Stamps =
        Stamps { head_ns: 10, received_ns: 10, decided_ns: 45, written_ns: 0, durable_ns: 60, sent_ns: 70 };

    #[test]
    fn the_request_is_the_parent_of_its_parts() {
        let stages = RequestStages { status: 200, metrics: 3, begun_ns: 12, limited_ns: 20, parsed_ns: 40 };
        let mut record = record(STAMPS, stages, 50);
        record.request.context.tracestate = Some("a=1,b=2".into());
        let spans = made(&record);
        let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["POST /metrics", "limit", "parse", "enqueue", "sync", "send"]);
        let request = &spans[0];
        assert_eq!((request.span_kind.clone(), request.parent_span_is_remote), (SpanKind::Server, true));
        assert_eq!(request.parent_span_id, SpanId::from_bytes([2; 8]));
        assert_eq!(request.start_time, UNIX_EPOCH + Duration::from_nanos(1_000_010));
        for span in &spans {
            assert_eq!(span.span_context.trace_id(), TraceId::from_bytes([1; 16]));
            assert_eq!(span.span_context.trace_state().header(), "a=1,b=2");
            assert!(span.span_context.is_sampled() && span.status == Status::Unset);
        }
        for child in &spans[1..] {
            assert_eq!(child.parent_span_id, request.span_context.span_id());
            assert!(!child.parent_span_is_remote && child.span_kind == SpanKind::Internal);
            assert!(request.start_time <= child.start_time && child.end_time <= request.end_time);
        }
        for (key, value) in [
            ("http.request.method", Some("POST")),
            ("http.response.status_code", Some("200")),
            ("metricstream.ack", Some("fsync")),
            ("metricstream.batch.metrics", Some("3")),
            ("server.address", Some("127.0.0.1")),
            ("server.port", Some("8080")),
            ("error.type", None),
            ("metricstream.burst.batches", None),
            ("http.request.body.size", None),
        ] {
            assert_eq!(attribute(request, key).as_deref(), value, "{key}");
        }
    }

    #[test]
    fn only_what_the_server_did_wrong_is_an_error() {
        for (status, cut_off, is_error, error_type) in [
            (200, false, false, None),
            (429, false, false, None),
            (503, false, true, Some("503")),
            (0, true, true, Some("connection_ended")),
        ] {
            let record = Record { cut_off, ..record(STAMPS, RequestStages { status, ..RequestStages::default() }, 0) };
            let span = &made(&record)[0];
            assert_eq!(matches!(span.status, Status::Error { .. }), is_error, "{status}");
            assert_eq!(attribute(span, "error.type").as_deref(), error_type, "{status}");
        }
    }

    #[test]
    fn a_delivery_is_the_parent_of_its_stages() {
        let mut outcome = DeliveryOutcome { attempts: 3, samples: 5, bytes: 70, status: 204, ..Default::default() };
        outcome.stages[0] = DeliveryStage::new("read", 10, 20);
        outcome.stages[1] = DeliveryStage::new("send", 30, 45);
        let mut spans = Vec::new();
        let mut maker = SpanMaker::new(&identity("127.0.0.1:8080"));
        maker.delivery(&delivery(outcome), 1_000_000, &mut spans);
        maker.delivery(&delivery(DeliveryOutcome { refused: 2, status: 400, ..outcome }), 0, &mut spans);
        let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["forward", "read", "send", "forward", "read", "send"]);
        let whole = &spans[0];
        assert_eq!((whole.span_kind.clone(), whole.parent_span_id), (SpanKind::Client, SpanId::INVALID));
        assert_eq!(whole.start_time, UNIX_EPOCH + Duration::from_nanos(1_000_010));
        assert_eq!(whole.end_time, UNIX_EPOCH + Duration::from_nanos(1_000_045));
        assert!(spans[1..3].iter().all(|stage| stage.parent_span_id == whole.span_context.span_id()));
        for (key, value) in [
            ("metricstream.forward", Some("store")),
            ("metricstream.forward.attempts", Some("3")),
            ("metricstream.forward.samples", Some("5")),
            ("http.request.body.size", Some("70")),
            ("http.request.resend_count", Some("2")),
            ("http.response.status_code", Some("204")),
            ("server.address", Some("store.example")),
            ("error.type", None),
        ] {
            assert_eq!(attribute(whole, key).as_deref(), value, "{key}");
        }
        assert_eq!(attribute(&spans[3], "error.type").as_deref(), Some("400"));
        assert!(matches!(spans[3].status, Status::Error { .. }) && whole.status == Status::Unset);
    }

    #[test]
    fn a_trace_that_begins_here_has_no_parent() {
        let mut record = record(STAMPS, RequestStages::default(), 0);
        record.request.context = Context { trace_id: [9; 16], sampled: Some(Reason::Ratio), ..Context::default() };
        let request = &made(&record)[0];
        assert_eq!((request.parent_span_id, request.parent_span_is_remote), (SpanId::INVALID, false));
    }

    #[test]
    fn who_listens_on_all_addresses_has_the_machines_name() {
        assert_eq!(identity("0.0.0.0:1").server_address(), ("machine".into(), Some(1)));
        assert_eq!(identity("[::1]:1").server_address(), ("::1".into(), Some(1)));
        let unix = Endpoint::Unix(reactor::listen::UnixAddress::Path("/a".into()));
        assert_eq!(Identity::new(&[], &unix, "machine").server_address(), ("unix:/a".into(), None));
    }

    #[test]
    fn what_is_configured_wins_over_what_is_found() {
        let resource = identity("127.0.0.1:1").resource;
        let values =
            |name| resource.iter().filter(|(key, _)| key == name).map(|(_, value)| &**value).collect::<Vec<_>>();
        assert_eq!(values("service.name"), ["mine"]);
        assert_eq!(values("host.name"), ["machine"]);
        let id = values("service.instance.id")[0];
        assert_eq!((id.len(), &id[14..15], &id[23..24]), (36, "4", "-"));
        assert!("89ab".contains(&id[19..20]), "{id}");
    }
}
