//! Which form of the statistics a request gets, by its `Accept` field (RFC 9110, 12.5.1).
//!
//! Each form's quality is that of the most specific range that names it; the best quality wins, and of equal ones the first of
//! [`Format::ALL`]. Who accepts none of them gets Prometheus text all the same: the field is a wish, not a condition.

/// A form of the figures.
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
    /// In the order of preference.
    const ALL: [Self; 3] = [Self::Prometheus, Self::OpenMetrics, Self::Json];

    /// As it stands in `Content-Type`.
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

    /// The form that answers this field.
    #[must_use]
    pub fn negotiate(accept: Option<&[u8]>) -> Self {
        let medias = Self::ALL.map(Self::media);
        accept.and_then(|accept| best(accept, &medias)).map_or(Self::Prometheus, |wish| Self::ALL[wish])
    }
}

/// A media type that can be had.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Media {
    /// Its type: `text`.
    pub kind: &'static [u8],
    /// `plain`
    pub subtype: &'static [u8],
    /// Its parameter of that name.
    pub version: Option<&'static [u8]>,
}

/// The index of the one of `medias` that is wanted most, and of several the first; `None` if none is wanted.
pub(crate) fn best(accept: &[u8], medias: &[Media]) -> Option<usize> {
    let quality = |media: &Media| {
        let ranges = accept.split(|&byte| byte == b',').filter_map(|range| Range::parse(range)?.quality_of(media));
        ranges.max_by_key(|&(specificity, _)| specificity).map_or(0, |(_, quality)| quality)
    };
    let best = medias.iter().map(quality).max().filter(|&best| best > 0)?;
    medias.iter().position(|media| quality(media) == best)
}

/// One media range of the field.
struct Range<'a> {
    kind: &'a [u8],
    subtype: &'a [u8],
    version: Option<&'a [u8]>,
    /// In thousandths.
    quality: u32,
}

impl<'a> Range<'a> {
    /// `None`: it does not follow the grammar, and says nothing.
    fn parse(text: &'a [u8]) -> Option<Self> {
        let mut parts = text.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let media = parts.next()?;
        let slash = media.iter().position(|&byte| byte == b'/')?;
        let mut range = Self { kind: &media[..slash], subtype: &media[slash + 1..], version: None, quality: 1_000 };
        for part in parts {
            let Some(equals) = part.iter().position(|&byte| byte == b'=') else { continue };
            let (name, value) = (part[..equals].trim_ascii(), part[equals + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"q") {
                range.quality = thousandths(value)?;
            } else if name.eq_ignore_ascii_case(b"version") {
                range.version = Some(value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value));
            }
        }
        Some(range)
    }

    /// How specifically it names a media type, if it does, and the quality it gives it.
    fn quality_of(&self, media: &Media) -> Option<(u8, u32)> {
        let &Media { kind, subtype, version } = media;
        let any = |part: &[u8]| part == b"*";
        let specificity = match (any(self.kind), any(self.subtype)) {
            (true, true) => 1,
            (false, true) if self.kind.eq_ignore_ascii_case(kind) => 2,
            (false, false)
                if self.kind.eq_ignore_ascii_case(kind)
                    && self.subtype.eq_ignore_ascii_case(subtype)
                    && (self.version.is_none() || version.is_none() || self.version == version) =>
            {
                3 + u8::from(self.version.is_some())
            }
            _ => return None,
        };
        Some((specificity, self.quality))
    }
}

/// A quality value: `0`, `0.5`, `1.000`; at most three decimals.
fn thousandths(text: &[u8]) -> Option<u32> {
    let (whole, decimals) = match text.split_first()? {
        (b'0', rest) => (0, rest),
        (b'1', rest) => (1_000, rest),
        _ => return None,
    };
    let decimals = if decimals.is_empty() { decimals } else { decimals.strip_prefix(b".")? };
    if decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let parts = decimals.iter().zip([100, 10, 1]).map(|(digit, unit)| u32::from(digit - b'0') * unit);
    let quality = whole + parts.sum::<u32>();
    (quality <= 1_000).then_some(quality)
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

    #[test]
    fn quality_values() {
        for (text, quality) in
            [("0", Some(0)), ("1", Some(1_000)), ("0.", Some(0)), ("0.05", Some(50)), ("1.000", Some(1_000))]
        {
            assert_eq!(thousandths(text.as_bytes()), quality, "{text}");
        }
        for text in ["", "2", "1.001", "0.1234", ".5", "0,5", "-1"] {
            assert_eq!(thousandths(text.as_bytes()), None, "{text}");
        }
    }
}
