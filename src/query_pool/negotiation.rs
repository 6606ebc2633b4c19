//! The format of a query's response, by the `Accept` field of its request.

use http1::accept::{self, Media};
use query::Format;

/// The formats in the order of preference, each with a media type that names it.
const WISHES: [(Media, Format); 5] = [
    (Media { kind: b"application", subtype: b"json", version: None }, Format::Json),
    (Media { kind: b"text", subtype: b"csv", version: None }, Format::Csv),
    (Media { kind: b"application", subtype: b"x-ndjson", version: None }, Format::JsonLines),
    (Media { kind: b"application", subtype: b"jsonl", version: None }, Format::JsonLines),
    (Media { kind: b"application", subtype: b"jsonlines", version: None }, Format::JsonLines),
];

/// The format that this `Accept` field prefers; JSON where it accepts none of them.
#[must_use]
pub fn format_of(accept: Option<&[u8]>) -> Format {
    let media = WISHES.map(|(media, _)| media);
    accept.and_then(|accept| accept::best(accept, &media)).map_or(Format::Json, |wish| WISHES[wish].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_accepted() {
        for (accept, format) in [
            ("*/*", Format::Json),
            ("application/json", Format::Json),
            ("text/csv", Format::Csv),
            ("text/*", Format::Csv),
            ("text/csv;q=0.5, application/json;q=0.4", Format::Csv),
            ("text/csv;q=0.5, */*;q=0.8", Format::Json),
            ("application/x-ndjson", Format::JsonLines),
            ("application/jsonl", Format::JsonLines),
            ("application/jsonlines, text/csv;q=0.9", Format::JsonLines),
            ("application/*", Format::Json),
            ("application/json;q=0, */*", Format::Csv),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format::Json),
            ("image/png", Format::Json),
            ("", Format::Json),
        ] {
            assert_eq!(format_of(Some(accept.as_bytes())), format, "{accept}");
        }
        assert_eq!(format_of(None), Format::Json);
    }
}
