//! Format negotiation of statistics by the `Accept` field (RFC 9110, 12.5.1).
//!
//! Of equally preferred formats the first in [`Format::ALL`] wins. A request that accepts none of them gets Prometheus
//! text, because the field is a preference, not a condition.

use http1::accept::{Media, best};

/// A format of statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The Prometheus text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0, in text.
    OpenMetrics,
    /// JSON for people and scripts.
    Json,
}

impl Format {
    /// All formats, in the order of preference.
    const ALL: [Self; 3] = [Self::Prometheus, Self::OpenMetrics, Self::Json];

    /// The value of `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Json => "application/json",
        }
    }

    const fn media(self) -> Media {
        match self {
            Self::Prometheus => Media { kind: b"text", subtype: b"plain", version: Some(b"0.0.4") },
            Self::OpenMetrics => Media { kind: b"application", subtype: b"openmetrics-text", version: Some(b"1.0.0") },
            Self::Json => Media { kind: b"application", subtype: b"json", version: None },
        }
    }

    /// The format for this field.
    #[must_use]
    pub fn negotiate(accept: Option<&[u8]>) -> Self {
        let medias = Self::ALL.map(Self::media);
        accept.and_then(|accept| best(accept, &medias)).map_or(Self::Prometheus, |wish| Self::ALL[wish])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Format::{Json, OpenMetrics, Prometheus};

    #[test]
    fn the_table_of_wishes() {
        for (accept, format) in [
            ("", Prometheus),
            ("*/*", Prometheus),
            ("text/*", Prometheus),
            ("text/plain", Prometheus),
            ("TEXT/Plain;Version=0.0.4", Prometheus),
            ("text/plain;version=1.0.0", Prometheus),
            ("application/json", Json),
            ("application/*", OpenMetrics),
            ("application/*, application/openmetrics-text;q=0", Json),
            ("text/html, application/json;q=0.9", Json),
            ("text/html, application/json;q=0.9, */*;q=0.8", Json),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Prometheus),
            ("application/json;q=0.5, text/plain;q=0.6", Prometheus),
            ("application/json;q=0.6, text/plain;q=0.5", Json),
            ("application/json, text/plain", Prometheus),
            ("application/json;q=0", Prometheus),
            ("text/plain;q=0, */*", OpenMetrics),
            ("application/openmetrics-text", OpenMetrics),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", OpenMetrics),
            ("application/openmetrics-text;version=\"1.0.0\"", OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Prometheus),
            ("application/openmetrics-text;version=0.0.1, application/json;q=0.1", Json),
            // Prometheus 2.42, and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                OpenMetrics,
            ),
            // What breaks the grammar says nothing.
            ("application/json;q=2, text/plain;q=0.1", Prometheus),
            ("application/json;q=0.1234, application/openmetrics-text;q=0.1", OpenMetrics),
            (";;;,,/,=,q=1", Prometheus),
        ] {
            assert_eq!(Format::negotiate(Some(accept.as_bytes())), format, "{accept}");
        }
        assert_eq!(Format::negotiate(None), Prometheus);
    }
}
