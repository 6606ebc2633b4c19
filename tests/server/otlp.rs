//! A receiver of OTLP over HTTP: takes whatever it is sent, decodes it with OpenTelemetry's own messages, and keeps it.

use crate::server::DEADLINE;
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value},
    metrics::v1::Metric,
    trace::v1::Span,
};
use prost::Message;
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

/// Requests that were received.
#[derive(Debug, Default)]
pub struct Received {
    /// Spans, in the order they came.
    pub spans: Vec<Span>,
    /// The metrics that came last.
    pub metrics: Vec<Metric>,
    /// Attributes of whoever sent last.
    pub resource: HashMap<String, String>,
    /// Fields of the last request, names in lower case.
    pub fields: HashMap<String, String>,
}

/// A running receiver. It ends when this is dropped.
#[derive(Debug)]
pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    received: Mutex<Received>,
    arrived: Condvar,
    is_over: AtomicBool,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // The thread waits for a connection.
        let _ = TcpStream::connect(self.address);
        // What it or a connection's thread fails with has been printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Receiver {
    /// On a port of its own.
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// On a port that was taken already.
    pub fn on(listener: TcpListener) -> Self {
        let (address, shared) = (listener.local_addr().unwrap(), Arc::<Shared>::default());
        let of_thread = Arc::clone(&shared);
        let thread = Some(thread::spawn(move || of_thread.serve_all(&listener)));
        Self { address, shared, thread }
    }

    /// Returns its URL, as `--otlp-endpoint` takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until `find` finds something in what came.
    ///
    /// # Panics
    /// After [`DEADLINE`], with `what`.
    pub fn wait<T>(&self, what: &str, find: impl Fn(&Received) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        let mut received = self.shared.received.lock().unwrap();
        loop {
            if let Some(found) = find(&received) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let spans = received.spans.len();
                drop(received);
                panic!("waited in vain for {what}; {spans} spans came");
            }
            received = self.shared.arrived.wait_timeout(received, left).unwrap().0;
        }
    }

    /// Waits for the request of one trace, and returns it with its parts in the order of time.
    pub fn trace(&self, trace_id: &[u8]) -> (Span, Vec<Span>) {
        self.wait("a trace", |received| {
            let of_trace = || received.spans.iter().filter(|span| span.trace_id == trace_id);
            let request = of_trace().find(|span| span.name == "POST /metrics")?;
            let mut parts: Vec<Span> =
                of_trace().filter(|span| span.parent_span_id == request.span_id).cloned().collect();
            parts.sort_by_key(|span| (span.start_time_unix_nano, span.end_time_unix_nano));
            Some((request.clone(), parts))
        })
    }
}

impl Shared {
    /// Serves each connection on a thread of its own, until the receiver is over.
    fn serve_all(&self, listener: &TcpListener) {
        thread::scope(|scope| {
            let mut streams = Vec::new();
            for stream in listener.incoming() {
                if self.is_over.load(Ordering::Relaxed) {
                    break;
                }
                let stream = Arc::new(stream.unwrap());
                streams.push(Arc::clone(&stream));
                scope.spawn(move || self.serve(&stream));
            }
            for stream in streams {
                // It may have ended by itself.
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }

    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        // Until the connection ends, in whatever way.
        while let Some((path, fields)) = head(&mut reader) {
            let mut body = vec![0; fields["content-length"].parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            assert_eq!(fields["content-type"], "application/x-protobuf");
            let received = &mut *self.received.lock().unwrap();
            received.fields = fields;
            let resource = match path.as_str() {
                "/v1/traces" => {
                    let request = ExportTraceServiceRequest::decode(&*body).unwrap();
                    let sent = request.resource_spans.into_iter().next().unwrap();
                    received.spans.extend(sent.scope_spans.into_iter().flat_map(|scope| scope.spans));
                    sent.resource
                }
                "/v1/metrics" => {
                    let request = ExportMetricsServiceRequest::decode(&*body).unwrap();
                    let sent = request.resource_metrics.into_iter().next().unwrap();
                    received.metrics = sent.scope_metrics.into_iter().flat_map(|scope| scope.metrics).collect();
                    sent.resource
                }
                other => panic!("nothing is to be sent to {other}"),
            };
            received.resource = attributes(&resource.unwrap().attributes);
            self.arrived.notify_all();
            let response = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
            if (&mut &*stream).write_all(response).is_err() {
                return;
            }
        }
    }
}

/// The path of a request and its fields.
fn head(reader: &mut impl BufRead) -> Option<(String, HashMap<String, String>)> {
    let mut lines = reader.lines().map_while(Result::ok);
    let path = lines.next()?.strip_prefix("POST ")?.strip_suffix(" HTTP/1.1")?.to_owned();
    let fields = lines.take_while(|line| !line.is_empty());
    let fields = fields.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some((path, fields.collect()))
}

/// Attributes as text.
pub fn attributes(list: &[KeyValue]) -> HashMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        other => panic!("not a kind of value that is sent: {other:?}"),
    };
    list.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}
