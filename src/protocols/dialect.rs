//! Differences between the protocols: one row for each kind of route.

use crate::{
    config::{Config, OverRate},
    limits,
    stats::Protocol,
};
use http1::{Codings, ErrorBody, HttpError, Rules, Schemes};

/// The behaviour of a kind of route. The success response is in `response`.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The protocol, as statistics count it.
    pub protocol: Protocol,
    /// The methods that send metrics, as `Allow` lists them.
    pub allow: &'static str,
    /// The status for a client over its rate: agents that drop what gets a 429 get a 503.
    pub over_rate: OverRate,
    /// `Retry-After` of a batch that is shed, in seconds.
    pub shed_retry_after_s: u32,
    /// Bytes of a body at most, as sent and decompressed; `--max-body` can only raise it. `None`: `--max-body`.
    body_bytes_max: Option<usize>,
    /// The content codings of its bodies.
    codings: Codings,
    /// The authentication schemes that a 401 offers.
    schemes: Schemes,
    /// The body of errors.
    errors: ErrorBody,
    /// Field lines of errors.
    error_fields: &'static [u8],
}

/// Nothing is written: a sender that does not see these fields takes the receiver for one of version 1.0.
const NOTHING_WRITTEN: &[u8] = b"\r\nX-Prometheus-Remote-Write-Samples-Written: 0\
\r\nX-Prometheus-Remote-Write-Histograms-Written: 0\
\r\nX-Prometheus-Remote-Write-Exemplars-Written: 0";

/// Most routes: `POST`, bodies of up to 32 MiB, 429 over the rate, errors as `{"error":"…"}`.
const ANY: Dialect = Dialect {
    protocol: Protocol::Json,
    allow: "POST",
    over_rate: OverRate::TooManyRequests,
    shed_retry_after_s: http1::limits::RETRY_AFTER_S,
    body_bytes_max: Some(limits::PROTOCOL_BODY_BYTES_MAX),
    codings: Codings::USUAL,
    schemes: Schemes::BearerAndBasic,
    errors: ErrorBody::Json,
    error_fields: b"",
};

/// `POST /metrics`, whose other methods serve statistics.
pub static JSON: Dialect = Dialect { allow: "GET, HEAD, POST", body_bytes_max: None, schemes: Schemes::Bearer, ..ANY };
/// `POST /api/v1/write`: Prometheus drops what gets a 429.
pub static REMOTE_WRITE: Dialect = Dialect {
    protocol: Protocol::RemoteWrite,
    over_rate: OverRate::Unavailable,
    // The conformance suite requires that gzip is refused.
    codings: Codings { gzip: false, snappy: true, assumes_snappy: true, ..Codings::USUAL },
    errors: ErrorBody::Text,
    error_fields: NOTHING_WRITTEN,
    ..ANY
};
/// `POST /write`: Telegraf drops what gets a 4xx.
pub static INFLUX_1: Dialect = Dialect { protocol: Protocol::Influx, over_rate: OverRate::Unavailable, ..ANY };
/// `POST /api/v2/write`: InfluxDB's client waits as long as `Retry-After` says, and stops after the fifth try.
pub static INFLUX_2: Dialect = Dialect {
    protocol: Protocol::Influx,
    shed_retry_after_s: limits::INFLUX_2_RETRY_AFTER_S,
    errors: ErrorBody::CodeMessage,
    ..ANY
};
/// `POST /v1/metrics` in protobuf.
pub static OTLP_PROTOBUF: Dialect = Dialect {
    protocol: Protocol::Otlp,
    body_bytes_max: Some(limits::OTLP_BODY_BYTES_MAX),
    errors: ErrorBody::RpcProtobuf,
    ..ANY
};
/// `POST /v1/metrics` in JSON.
pub static OTLP_JSON: Dialect = Dialect {
    protocol: Protocol::Otlp,
    body_bytes_max: Some(limits::OTLP_BODY_BYTES_MAX),
    errors: ErrorBody::RpcJson,
    ..ANY
};
/// `/metrics/job/…`: the clients of a push gateway do not try again, but those who call them may.
pub static GATEWAY: Dialect = Dialect {
    protocol: Protocol::Text,
    allow: "DELETE, POST, PUT",
    over_rate: OverRate::Unavailable,
    errors: ErrorBody::Text,
    ..ANY
};
/// `POST /api/v1/import/prometheus`.
pub static IMPORT: Dialect =
    Dialect { protocol: Protocol::Text, over_rate: OverRate::Unavailable, errors: ErrorBody::Text, ..ANY };
/// `POST /collectd`: collectd never tries again.
pub static COLLECTD: Dialect = Dialect { protocol: Protocol::Collectd, over_rate: OverRate::Unavailable, ..ANY };
/// `POST /api/v1/series` and `/api/v2/series`.
pub static DATADOG: Dialect = Dialect {
    protocol: Protocol::Datadog,
    codings: Codings { deflate: true, ..Codings::USUAL },
    errors: ErrorBody::ErrorList,
    ..ANY
};

impl Dialect {
    /// Bytes of a body at most, as sent and decompressed.
    #[must_use]
    pub fn body_bytes_max(&self, config: &Config) -> usize {
        config.body_bytes_max_of(self.body_bytes_max)
    }

    /// True if [`rules`](Self::rules) are those of most routes.
    #[inline]
    #[must_use]
    pub fn has_default_rules(&self) -> bool {
        self.protocol == Protocol::Json
    }

    /// Returns the rules by which its requests are received and refused.
    #[must_use]
    pub fn rules(&self, config: &Config) -> Rules {
        Rules {
            body_bytes: self.body_bytes_max.map(|_| self.body_bytes_max(config)),
            codings: self.codings,
            schemes: self.schemes,
            errors: self.errors,
            error_fields: self.error_fields,
        }
    }

    /// The refusal as its clients need it: one over the rate may become a 503.
    #[must_use]
    pub fn refusal(&self, error: HttpError, config: &Config) -> HttpError {
        match error {
            HttpError::RateLimited { retry_after_s } | HttpError::BytesRateLimited { retry_after_s }
                if config.protocols.over_rate.unwrap_or(self.over_rate) == OverRate::Unavailable =>
            {
                HttpError::Throttled { retry_after_s }
            }
            error => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Arguments;

    #[test]
    fn json_has_the_rules_of_most_routes() {
        let config = Arguments::default().resolve(&[0]).unwrap();
        assert_eq!(JSON.rules(&config), Rules::default());
        assert!(JSON.has_default_rules() && !IMPORT.has_default_rules());
        assert_ne!(IMPORT.rules(&config), Rules::default());
    }
}
