//! Content negotiation: which of several media types an `Accept` field prefers (RFC 9110, 12.5.1).
//!
//! The quality of a media type is that of the most specific range that names it; the best quality wins.

/// A media type that a resource is available as.
#[derive(Debug, Clone, Copy)]
pub struct Media {
    /// Type: `text`.
    pub kind: &'static [u8],
    /// `plain`
    pub subtype: &'static [u8],
    /// Parameter of that name.
    pub version: Option<&'static [u8]>,
}

/// The index of the one of `medias` that is wanted most, and of several the first; `None` if none is wanted.
pub fn best(accept: &[u8], medias: &[Media]) -> Option<usize> {
    let quality = |media: &Media| {
        let ranges = accept.split(|&byte| byte == b',').filter_map(|range| Range::parse(range)?.quality_of(media));
        ranges.max_by_key(|&(specificity, _)| specificity).map_or(0, |(_, quality)| quality)
    };
    let best = medias.iter().map(quality).max().filter(|&best| best > 0)?;
    medias.iter().position(|media| quality(media) == best)
}

/// Returns true if an `Accept-Encoding` field takes `coding` (RFC 9110, 12.5.3): by name, or else by `*`.
pub fn takes_coding(field: &[u8], coding: &[u8]) -> bool {
    let quality = |wanted: &[u8]| {
        field.split(|&byte| byte == b',').find_map(|element| {
            let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            parts.next().filter(|name| name.eq_ignore_ascii_case(wanted))?;
            let quality = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
            Some(quality.map_or(1_000, |quality| thousandths(quality).unwrap_or(0)))
        })
    };
    quality(coding).or_else(|| quality(b"*")).unwrap_or(0) > 0
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

    /// Returns how specifically the range names `media`, if it does, and its quality.
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

    #[test]
    fn a_coding_is_taken_by_name_or_else_by_star() {
        for (field, is_taken) in [
            ("", false),
            ("zstd", true),
            ("gzip, ZSTD;q=0.5", true),
            ("*", true),
            ("*;q=0, zstd", true),
            ("zstd;q=0, *", false),
            ("zstd;q=0.000", false),
            ("zstd;q=2", false),
            ("zstdx, xzstd", false),
            ("gzip;q=1.0, identity", false),
        ] {
            assert_eq!(takes_coding(field.as_bytes(), b"zstd"), is_taken, "{field}");
        }
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
