//! The format of requests: versions of remote write, their compression, and which of them a receiver takes.
//!
//! A forward begins with the best that its configuration allows. It goes back to remote write 1.0 with snappy, for
//! good, when the receiver does not take that: 415; 400 before anything was acknowledged; or, for 2.0, a success
//! without the header fields that say what was written, as of a receiver that looked for fields of 1.0 and found none.

use serde::Deserialize;
use std::sync::atomic::{AtomicBool, Ordering};

/// The version of remote write, as configured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Protocol {
    /// 2.0, and 1.0 for a receiver that does not know it.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// 1.0 only.
    #[serde(rename = "1.0")]
    V1,
    /// 2.0 only.
    #[serde(rename = "2.0")]
    V2,
}

/// The compression, as configured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Snappy, which every receiver accepts.
    #[default]
    Snappy,
    /// zstd, which receivers of VictoriaMetrics accept.
    Zstd,
}

/// A format of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `io.prometheus.write.v2.Request`, snappy.
    V2,
    /// `prometheus.WriteRequest`, snappy.
    V1,
    /// `prometheus.WriteRequest`, zstd.
    V1Zstd,
}

impl Format {
    /// The fields of a request's head.
    pub const fn fields(self) -> &'static str {
        match self {
            Self::V2 => concat!(
                "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n",
                "Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 2.0.0\r\n"
            ),
            Self::V1 => concat!(
                "Content-Type: application/x-protobuf\r\n",
                "Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n"
            ),
            Self::V1Zstd => concat!(
                "Content-Type: application/x-protobuf\r\n",
                "Content-Encoding: zstd\r\nX-VictoriaMetrics-Remote-Write-Version: 1\r\n"
            ),
        }
    }

    /// The format in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V2 => "remote write 2.0",
            Self::V1 => "remote write 1.0",
            Self::V1Zstd => "remote write 1.0 with zstd",
        }
    }
}

/// The format that one receiver takes, as far as is known. All connections of a forward share it.
#[derive(Debug)]
pub struct Negotiation {
    /// Name of the forward.
    name: String,
    first: Format,
    can_fall_back: bool,
    has_fallen_back: AtomicBool,
    is_confirmed: AtomicBool,
}

impl Negotiation {
    /// The beginning of a forward.
    pub fn new(name: &str, protocol: Protocol, compression: Compression) -> Self {
        let first = match (protocol, compression) {
            (_, Compression::Zstd) => Format::V1Zstd,
            (Protocol::V1, _) => Format::V1,
            (Protocol::Auto | Protocol::V2, _) => Format::V2,
        };
        Self {
            name: name.to_owned(),
            first,
            can_fall_back: first != Format::V1 && protocol != Protocol::V2,
            has_fallen_back: AtomicBool::new(false),
            is_confirmed: AtomicBool::new(false),
        }
    }

    /// The format of the next request.
    pub fn format(&self) -> Format {
        if self.has_fallen_back.load(Ordering::Relaxed) { Format::V1 } else { self.first }
    }

    /// Notes that the receiver understood a request of the first format.
    pub fn confirm(&self) {
        self.is_confirmed.store(true, Ordering::Relaxed);
    }

    /// True once the receiver understood a request of the first format.
    pub fn is_confirmed(&self) -> bool {
        self.is_confirmed.load(Ordering::Relaxed)
    }

    /// Goes back to version 1.0, if the forward may and the request was not of that already.
    pub fn fall_back(&self, from: Format) -> bool {
        let falls_back = self.can_fall_back && from == self.first;
        if falls_back && !self.has_fallen_back.swap(true, Ordering::Relaxed) {
            let (from, to) = (from.name(), Format::V1.name());
            tracing::info!("forward {}: the receiver does not take {from}; it is sent {to}", self.name);
        }
        falls_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_of_1_0_is_sent_1_0_for_good() {
        for (protocol, compression, first) in [
            (Protocol::Auto, Compression::Snappy, Format::V2),
            (Protocol::Auto, Compression::Zstd, Format::V1Zstd),
            (Protocol::V1, Compression::Zstd, Format::V1Zstd),
        ] {
            let negotiation = Negotiation::new("a", protocol, compression);
            assert_eq!(negotiation.format(), first);
            // Two connections find it out at one time.
            assert!(negotiation.fall_back(first) && negotiation.fall_back(first));
            assert_eq!(negotiation.format(), Format::V1);
            assert!(!negotiation.fall_back(Format::V1));
        }
    }

    #[test]
    fn a_version_that_was_set_is_kept() {
        for (protocol, format) in [(Protocol::V1, Format::V1), (Protocol::V2, Format::V2)] {
            let negotiation = Negotiation::new("a", protocol, Compression::Snappy);
            assert!(!negotiation.fall_back(format));
            assert_eq!(negotiation.format(), format);
        }
    }
}
