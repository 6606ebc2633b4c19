//! The OTLP client: gRPC or HTTP, each with or without TLS. It handles messages, neither spans nor metrics.

use super::Identity;
use crate::limits;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, hyper::HyperClient};
use opentelemetry_otlp::{
    Protocol as SpanProtocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient,
};
use opentelemetry_sdk::trace::SpanExporter as _;
use prost::Message;
use std::{pin::Pin, sync::Arc, time::Duration};
use tonic::{
    metadata::MetadataMap,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use wake::sync::real::Mutex;

/// The transport protocol of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf in the bodies of HTTP/1.1 requests.
    Http,
}

impl Protocol {
    /// The name in `OTEL_EXPORTER_OTLP_PROTOCOL`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http/protobuf",
        }
    }
}

/// The destination of one signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The protocol.
    pub protocol: Protocol,
    /// The URL: of the receiver for gRPC, of its resource for HTTP.
    pub url: String,
    /// Header fields to send, such as an API key.
    pub headers: Vec<(String, String)>,
    /// Timeout of one export, including retries.
    pub timeout: Duration,
}

impl Destination {
    /// Checks that the URL is valid.
    ///
    /// # Errors
    /// The URL is invalid; the text says why.
    pub fn check_url(url: &str) -> Result<(), String> {
        let request = Request::post(url).body(()).map_err(|error| format!("{url} is not a URL: {error}"))?;
        let uri = request.uri();
        match (uri.scheme_str(), uri.host(), uri.authority()) {
            // A port that is none would be taken for the scheme's.
            (Some("http" | "https"), Some(host), Some(authority))
                if !authority.as_str().ends_with(host) && uri.port_u16().is_none_or(|port| port == 0) =>
            {
                Err(format!("{url} has a port that is not from 1 to 65535"))
            }
            (Some("http" | "https"), Some(host), _) if !host.is_empty() => Ok(()),
            _ => Err(format!("{url} is not a URL that begins with http:// or https://")),
        }
    }

    /// Returns true if this can be sent as a header.
    #[must_use]
    pub fn is_header(name: &str, value: &str) -> bool {
        Request::post("/").header(name, value).body(()).is_ok()
    }

    /// A request with the configured header fields and the given ones.
    fn request(&self, fields: &[(&str, &str)], body: Bytes) -> Result<Request<Bytes>, String> {
        let mut request = Request::post(&self.url);
        let own = self.headers.iter().map(|(name, value)| (&**name, &**value));
        for (name, value) in fields.iter().copied().chain(own) {
            request = request.header(name, value);
        }
        request.body(body).map_err(|error| error.to_string())
    }

    fn channel(&self) -> Result<Channel, String> {
        let endpoint = Endpoint::from_shared(self.url.clone()).map_err(|error| format!("{}: {error}", self.url))?;
        let mut endpoint = endpoint.timeout(self.timeout).connect_timeout(self.timeout);
        if self.url.starts_with("https:") {
            endpoint = endpoint
                .tls_config(ClientTlsConfig::new().with_native_roots())
                .map_err(|error| format!("{}: {}", self.url, chain(&error)))?;
        }
        Ok(endpoint.connect_lazy())
    }

    fn metadata(&self) -> Result<MetadataMap, String> {
        Ok(MetadataMap::from_headers(self.request(&[], Bytes::new())?.headers().clone()))
    }

    fn http_client(&self, last_error: &LastError) -> Result<Arc<dyn HttpClient>, String> {
        let last_error = last_error.clone();
        if !self.url.starts_with("https:") {
            let client = HyperClient::with_default_connector(self.timeout, None);
            return Ok(Arc::new(Noting { client, last_error }));
        }
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|error| format!("{}: cannot read the certificates of this machine: {error}", self.url))?
            .https_only()
            .enable_http1()
            .build();
        Ok(Arc::new(Noting { client: HyperClient::new(connector, self.timeout, None), last_error }))
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The error of the last request: the span exporter of the SDK reports only that there was one.
#[derive(Debug, Clone, Default)]
struct LastError(Arc<Mutex<Option<String>>>);

impl LastError {
    fn replace(&self, text: Option<String>) -> Option<String> {
        // Nothing panics while it is held.
        self.0.lock().map_or(None, |mut last| std::mem::replace(&mut *last, text))
    }
}

/// A client that records why a request had no response.
#[derive(Debug)]
struct Noting<C> {
    client: C,
    last_error: LastError,
}

impl<C: HttpClient> HttpClient for Noting<C> {
    fn send_bytes<'client, 'future>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'future>>
    where
        'client: 'future,
        Self: 'future,
    {
        Box::pin(async {
            let response = self.client.send_bytes(request).await;
            self.last_error.replace(response.as_ref().err().map(|error| chain(&**error)));
            response
        })
    }
}

/// Sends spans; retries what may succeed later, until the destination's timeout.
#[derive(Debug)]
pub(super) struct SpanWire {
    exporter: SpanExporter,
    timeout: Duration,
    last_error: LastError,
}

impl SpanWire {
    /// Creates the client without connecting. Must be called in the runtime that will run it.
    ///
    /// # Errors
    /// The destination is invalid, or the certificates of this machine cannot be read.
    pub fn new(destination: &Destination, identity: &Identity) -> Result<Self, String> {
        let retry = RetryPolicy::recommended()
            .with_max_retries(limits::OTLP_RETRIES_MAX)
            .with_initial_delay(limits::OTLP_RETRY_FIRST)
            .with_max_delay(limits::OTLP_RETRY_LAST);
        let last_error = LastError::default();
        let built = match destination.protocol {
            Protocol::Http => SpanExporter::builder()
                .with_http()
                .with_shared_http_client(destination.http_client(&last_error)?)
                .with_protocol(SpanProtocol::HttpBinary)
                .with_endpoint(&destination.url)
                .with_headers(destination.headers.iter().cloned().collect())
                .with_timeout(destination.timeout)
                .with_retry_policy(retry)
                .build(),
            Protocol::Grpc => SpanExporter::builder()
                .with_tonic()
                .with_channel(destination.channel()?)
                .with_metadata(destination.metadata()?)
                .with_timeout(destination.timeout)
                .with_retry_policy(retry)
                .build(),
        };
        let mut exporter = built.map_err(|error| format!("{}: {}", destination.url, chain(&error)))?;
        exporter.set_resource(&identity.resource());
        Ok(Self { exporter, timeout: destination.timeout, last_error })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The error of the last attempt.
    pub async fn send(&self, spans: Vec<opentelemetry_sdk::trace::SpanData>) -> Result<(), String> {
        self.last_error.replace(None);
        match tokio::time::timeout(self.timeout, self.exporter.export(spans)).await {
            Ok(sent) => sent.map_err(|error| self.last_error.replace(None).unwrap_or_else(|| error.to_string())),
            Err(_) => {
                Err(self.last_error.replace(None).unwrap_or_else(|| format!("no response within {:?}", self.timeout)))
            }
        }
    }
}

/// Sends metrics, once each: they are cumulative, so the next message replaces a lost one.
#[derive(Debug)]
pub(super) struct FigureWire {
    destination: Destination,
    transport: Transport,
}

#[derive(Debug)]
enum Transport {
    Http(Arc<dyn HttpClient>),
    Grpc(Box<MetricsServiceClient<Channel>>, MetadataMap),
}

impl FigureWire {
    /// As [`SpanWire::new`].
    ///
    /// # Errors
    /// As [`SpanWire::new`].
    pub fn new(destination: Destination) -> Result<Self, String> {
        let transport = match destination.protocol {
            Protocol::Http => Transport::Http(destination.http_client(&LastError::default())?),
            Protocol::Grpc => {
                Transport::Grpc(Box::new(MetricsServiceClient::new(destination.channel()?)), destination.metadata()?)
            }
        };
        Ok(Self { destination, transport })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The error.
    pub async fn send(&mut self, figures: ExportMetricsServiceRequest) -> Result<(), String> {
        let timeout = self.destination.timeout;
        let sent = tokio::time::timeout(timeout, self.send_once(figures)).await;
        sent.unwrap_or_else(|_| Err(format!("no response within {timeout:?}")))
    }

    async fn send_once(&mut self, figures: ExportMetricsServiceRequest) -> Result<(), String> {
        match &mut self.transport {
            Transport::Http(client) => {
                let fields = [("content-type", "application/x-protobuf")];
                let request = self.destination.request(&fields, figures.encode_to_vec().into())?;
                let response = client.send_bytes(request).await.map_err(|error| chain(&*error))?;
                if response.status().is_success() {
                    Ok(())
                } else {
                    Err(format!("the receiver responded {}", response.status()))
                }
            }
            Transport::Grpc(client, metadata) => {
                let mut request = tonic::Request::new(figures);
                metadata.clone_into(request.metadata_mut());
                client.export(request).await.map(drop).map_err(|status| chain(&status))
            }
        }
    }
}
