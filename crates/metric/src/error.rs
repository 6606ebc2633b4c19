//! Why a batch was refused: where, and what was wrong. Building and printing one allocates nothing.
//!
//! Promises: the printed text can stand inside a JSON string as it is. It is printable ASCII without `"` and `\`, and
//! of what the client sent it repeats at most [`EXCERPT_BYTES_MAX`] bytes, the others of them shown as `?`.

use std::fmt;

use crate::limits::JSON_DEPTH_MAX;

/// Bytes of the client's text that one error repeats.
pub(super) const EXCERPT_BYTES_MAX: usize = 32;

/// Result of a parsing step: the value, or the fault and its byte.
pub(super) type Step<T> = Result<T, Fault>;

/// Fault and its position. The parser adds the metric and the field: [`BatchError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub byte: usize,
    pub problem: Problem,
}

/// A refusal of a batch. `Display` gives the sentence for the client:
/// `metrics[2].value: expected a number, found a string (byte 143)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchError {
    /// Which metric of the batch, from 0; `None` if the document around the metrics is at fault.
    pub index: Option<usize>,
    /// Which field; `None` if no field of ours is at fault.
    pub field: Option<Field>,
    /// Offset into the body of the first byte that was not as it should be, or of the start of the offending value.
    pub byte: usize,
    pub(super) problem: Problem,
    /// The tag's key if `field` is `tags`; otherwise the text that was not understood.
    pub(super) excerpt: Option<Excerpt>,
}

impl std::error::Error for BatchError {}

impl BatchError {
    /// Returns the reason under which the refusal is counted.
    pub fn reason(&self) -> Reason {
        self.problem.reason()
    }
}

/// The fields of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The array of metrics, in the document itself.
    Metrics,
    /// A metric's `name`.
    Name,
    /// A metric's `value`.
    Value,
    /// A metric's `type`.
    Type,
    /// A metric's `timestamp`.
    Timestamp,
    /// A metric's `tags`.
    Tags,
}

impl Field {
    /// The field as it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Name => "name",
            Self::Value => "value",
            Self::Type => "type",
            Self::Timestamp => "timestamp",
            Self::Tags => "tags",
        }
    }
}

/// The classes of refusals, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Not JSON.
    Syntax,
    /// Not UTF-8, or an escape that stands for no character.
    Encoding,
    /// Objects and arrays nested too deep.
    Depth,
    /// A field is of the wrong JSON kind, or its text is none that the field may have.
    Invalid,
    /// A required field is missing.
    Missing,
    /// A field or a tag's key came twice.
    Repeated,
    /// Too many, too long, or out of range.
    Bounds,
}

impl Reason {
    /// Every reason there is, in the order of their numbers (`reason as usize`).
    pub const ALL: [Self; 7] =
        [Self::Syntax, Self::Encoding, Self::Depth, Self::Invalid, Self::Missing, Self::Repeated, Self::Bounds];

    /// The reason as a label: one lower-case word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Encoding => "encoding",
            Self::Depth => "depth",
            Self::Invalid => "invalid",
            Self::Missing => "missing",
            Self::Repeated => "repeated",
            Self::Bounds => "bounds",
        }
    }
}

/// Kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    Unexpected { expected: Expected, found: Found },
    LeadingZero,
    StringUnended,
    ControlCharacter(u8),
    EscapeUnknown,
    EscapeDigits,
    SurrogateUnpaired,
    Utf8Invalid,
    TooDeep,
    Missing,
    Repeated,
    BatchEmpty,
    MetricsOver { limit: usize },
    NameEmpty,
    NameOver { limit: usize },
    TagsOver { limit: usize },
    TagOver { limit: usize },
    ValueInfinite,
    TypeUnknown,
    TimestampFraction,
    TimestampRange,
    TimestampSeconds,
    TimestampText,
}

impl Problem {
    fn reason(self) -> Reason {
        match self {
            Self::Unexpected { expected, .. } if expected.is_kind() => Reason::Invalid,
            Self::Unexpected { .. } | Self::LeadingZero | Self::StringUnended | Self::ControlCharacter(_) => {
                Reason::Syntax
            }
            Self::EscapeUnknown | Self::EscapeDigits => Reason::Syntax,
            Self::SurrogateUnpaired | Self::Utf8Invalid => Reason::Encoding,
            Self::TooDeep => Reason::Depth,
            Self::Missing => Reason::Missing,
            Self::Repeated => Reason::Repeated,
            Self::BatchEmpty | Self::MetricsOver { .. } | Self::TagsOver { .. } => Reason::Bounds,
            Self::NameEmpty | Self::NameOver { .. } | Self::TagOver { .. } => Reason::Bounds,
            Self::ValueInfinite | Self::TimestampRange => Reason::Bounds,
            Self::TypeUnknown | Self::TimestampFraction | Self::TimestampSeconds | Self::TimestampText => {
                Reason::Invalid
            }
        }
    }
}

/// Syntax that the grammar, or the field, expects at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Document,
    DocumentEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrBrace,
    CommaOrBracket,
    Value,
    Digit,
    Number,
    String,
    Object,
    Array,
    Timestamp,
}

impl Expected {
    /// Returns whether a kind of JSON value is expected, not a piece of syntax.
    fn is_kind(self) -> bool {
        matches!(self, Self::Number | Self::String | Self::Object | Self::Array | Self::Timestamp)
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Document => "'{'",
            Self::DocumentEnd => "the end of the document",
            Self::Key => "a key",
            Self::KeyOrEnd => "a key or '}'",
            Self::Colon => "':'",
            Self::CommaOrBrace => "',' or '}'",
            Self::CommaOrBracket => "',' or ']'",
            Self::Value => "a value",
            Self::Digit => "a digit",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Object => "an object",
            Self::Array => "an array",
            Self::Timestamp => "epoch milliseconds or RFC 3339 text",
        }
    }
}

/// Input that was found instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    End,
    ByteOrderMark,
    Byte(u8),
    String,
    Number,
    Object,
    Array,
    Boolean,
    Null,
}

impl Found {
    /// Classifies the first bytes of `rest`: a kind of value where one was `expected`, else a character.
    pub fn at(rest: &[u8], expected: Expected) -> Self {
        let Some(&first) = rest.first() else { return Self::End };
        if rest.starts_with(b"\xef\xbb\xbf") {
            return Self::ByteOrderMark;
        }
        match first {
            _ if !expected.is_kind() => Self::Byte(first),
            b'"' => Self::String,
            b'-' | b'0'..=b'9' => Self::Number,
            b'{' => Self::Object,
            b'[' => Self::Array,
            b't' | b'f' if rest.starts_with(b"true") || rest.starts_with(b"false") => Self::Boolean,
            b'n' if rest.starts_with(b"null") => Self::Null,
            _ => Self::Byte(first),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::End => "the end of the document",
            Self::ByteOrderMark => "a byte order mark",
            Self::Byte(b'"') => "a quotation mark",
            Self::Byte(b'\\') => "a backslash",
            Self::Byte(byte @ b' '..=b'~') => return write!(f, "'{}'", char::from(*byte)),
            Self::Byte(byte) => return write!(f, "the byte 0x{byte:02x}"),
            Self::String => "a string",
            Self::Number => "a number",
            Self::Object => "an object",
            Self::Array => "an array",
            Self::Boolean => "a boolean",
            Self::Null => "null",
        })
    }
}

/// The beginning of a text of the client's, made harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Excerpt {
    bytes: [u8; EXCERPT_BYTES_MAX],
    length: usize,
    cut: bool,
}

impl Excerpt {
    pub fn new(text: &[u8]) -> Self {
        let mut bytes = [0; EXCERPT_BYTES_MAX];
        let length = text.len().min(EXCERPT_BYTES_MAX);
        for (shown, &sent) in bytes.iter_mut().zip(text) {
            *shown = if matches!(sent, b' '..=b'~') && !matches!(sent, b'"' | b'\\' | b'\'') { sent } else { b'?' };
        }
        Self { bytes, length, cut: text.len() > length }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes[..self.length].iter().try_for_each(|&byte| fmt::Write::write_char(f, char::from(byte)))?;
        f.write_str(if self.cut { "..." } else { "" })
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.index, self.field) {
            (None, None) => {}
            (None, Some(field)) => write!(f, "{}: ", field.name())?,
            (Some(index), None) => write!(f, "metrics[{index}]: ")?,
            (Some(index), Some(field)) => {
                write!(f, "metrics[{index}].{}", field.name())?;
                if let (Field::Tags, Some(key)) = (field, self.excerpt) {
                    write!(f, ".{key}")?;
                }
                f.write_str(": ")?;
            }
        }
        match self.problem {
            Problem::Unexpected { expected, found } => write!(f, "expected {}, found {found}", expected.text()),
            Problem::LeadingZero => f.write_str("a number has no leading zeros"),
            Problem::StringUnended => f.write_str("the string does not end"),
            Problem::ControlCharacter(byte) => write!(f, "control character 0x{byte:02x} in a string must be escaped"),
            Problem::EscapeUnknown => f.write_str("unknown escape in a string"),
            Problem::EscapeDigits => f.write_str("a unicode escape needs four hexadecimal digits"),
            Problem::SurrogateUnpaired => f.write_str("unpaired surrogate in a string"),
            Problem::Utf8Invalid => f.write_str("invalid UTF-8"),
            Problem::TooDeep => write!(f, "nested deeper than {JSON_DEPTH_MAX} levels"),
            Problem::Missing => f.write_str("missing"),
            Problem::Repeated => f.write_str("repeated"),
            Problem::BatchEmpty => f.write_str("a batch has at least one metric"),
            Problem::MetricsOver { limit } => write!(f, "more than {limit} metrics"),
            Problem::NameEmpty => f.write_str("a name has at least one byte"),
            Problem::NameOver { limit } | Problem::TagOver { limit } => write!(f, "longer than {limit} bytes"),
            Problem::TagsOver { limit } => write!(f, "more than {limit} tags"),
            Problem::ValueInfinite => f.write_str("too large for a 64-bit float"),
            Problem::TypeUnknown => f.write_str("expected gauge, counter, histogram or summary"),
            Problem::TimestampFraction => {
                f.write_str("expected whole epoch milliseconds, without fraction or exponent")
            }
            Problem::TimestampRange => f.write_str("outside the years 0000 to 9999; expected epoch milliseconds"),
            Problem::TimestampSeconds => f.write_str("expected epoch milliseconds; this looks like seconds"),
            Problem::TimestampText => f.write_str("expected RFC 3339 text such as 2026-01-02T03:04:05.678Z"),
        }?;
        if let (Problem::TypeUnknown | Problem::TimestampText, Some(sent)) = (self.problem, self.excerpt) {
            write!(f, ", found '{sent}'")?;
        }
        write!(f, " (byte {})", self.byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchEncoder, Bounds};

    fn refusal(body: &[u8]) -> BatchError {
        let bounds = Bounds { batch_metrics_limit: 3, name_bytes_limit: 8, tags_limit: 2, tag_bytes_limit: 24 };
        let mut encoder = BatchEncoder::new(bounds);
        let mut out = vec![0; encoder.encoded_bytes_max(body.len())];
        encoder.encode(body, 0, &mut out).expect_err(&String::from_utf8_lossy(body))
    }

    /// The metric of index 0 in `body`, its first byte at offset 12.
    fn of_metric(metric: &str) -> String {
        refusal(format!(r#"{{"metrics":[{metric}]}}"#).as_bytes()).to_string()
    }

    #[test]
    fn of_the_document() {
        let deep = format!(r#"{{"x":{}"#, "[".repeat(100));
        for (body, text) in [
            ("", "expected '{', found the end of the document (byte 0)"),
            (" \r\n\t ", "expected '{', found the end of the document (byte 5)"),
            ("[]", "expected '{', found '[' (byte 0)"),
            ("\u{feff}{}", "expected '{', found a byte order mark (byte 0)"),
            ("\"", "expected '{', found a quotation mark (byte 0)"),
            ("\\", "expected '{', found a backslash (byte 0)"),
            ("\u{b}{}", "expected '{', found the byte 0x0b (byte 0)"),
            ("é", "expected '{', found the byte 0xc3 (byte 0)"),
            ("{", "expected a key or '}', found the end of the document (byte 1)"),
            ("{,", "expected a key or '}', found ',' (byte 1)"),
            ("{x", "expected a key or '}', found 'x' (byte 1)"),
            (r#"{"x"}"#, "expected ':', found '}' (byte 4)"),
            (r#"{"x":}"#, "expected a value, found '}' (byte 5)"),
            (r#"{"x":tru}"#, "expected a value, found 't' (byte 5)"),
            (r#"{"x":truex"#, "expected ',' or '}', found 'x' (byte 9)"),
            (r#"{"x":1,}"#, "expected a key, found '}' (byte 7)"),
            (r#"{"x":[1,]}"#, "expected a value, found ']' (byte 8)"),
            (r#"{"x":[1}"#, "expected ',' or ']', found '}' (byte 7)"),
            (r#"{"x":{"y":1]}"#, "expected ',' or '}', found ']' (byte 11)"),
            (r#"{"x":{"y":01}}"#, "a number has no leading zeros (byte 10)"),
            (r#"{"x":-}"#, "expected a digit, found '}' (byte 6)"),
            (r#"{"x":1.}"#, "expected a digit, found '}' (byte 7)"),
            (r#"{"x":1e+}"#, "expected a digit, found '}' (byte 8)"),
            (r#"{"x":"#, "expected a value, found the end of the document (byte 5)"),
            (r#"{"x":"abc"#, "the string does not end (byte 9)"),
            (r#"{"x":"\"#, "the string does not end (byte 6)"),
            (r#"{"x":"\u12"#, "a unicode escape needs four hexadecimal digits (byte 6)"),
            ("{\"x\":\"a\nb\"}", "control character 0x0a in a string must be escaped (byte 7)"),
            (r#"{"x":"\x"}"#, "unknown escape in a string (byte 6)"),
            (r#"{"x":"\u12g4"}"#, "a unicode escape needs four hexadecimal digits (byte 6)"),
            (r#"{"x":"\ud83d"}"#, "unpaired surrogate in a string (byte 6)"),
            (r#"{"x":"\ude00\ud83d"}"#, "unpaired surrogate in a string (byte 6)"),
            (r#"{"x":"\ud83d\u0041"}"#, "unpaired surrogate in a string (byte 6)"),
            (&deep, "nested deeper than 64 levels (byte 68)"),
            ("{}", "metrics: missing (byte 1)"),
            (r#"{"x":1}"#, "metrics: missing (byte 6)"),
            (r#"{"metrics":{}}"#, "metrics: expected an array, found an object (byte 11)"),
            (r#"{"metrics":null}"#, "metrics: expected an array, found null (byte 11)"),
            (r#"{"metrics":[]}"#, "metrics: a batch has at least one metric (byte 12)"),
            (r#"{"metrics":[{"name":"n","value":0}]"#, "expected ',' or '}', found the end of the document (byte 35)"),
            (r#"{"metrics":[{"name":"n","value":0}}"#, "expected ',' or ']', found '}' (byte 34)"),
            (r#"{"metrics":[{"name":"n","value":0},]}"#, "metrics[1]: expected an object, found ']' (byte 35)"),
            (r#"{"metrics":[{"name":"n","value":0},"m"]}"#, "metrics[1]: expected an object, found a string (byte 35)"),
            (r#"{"metrics":[{"name":"n","value":0}],"metrics":1}"#, "metrics: repeated (byte 36)"),
            (r#"{"metrics":[{"name":"n","value":0}]}x"#, "expected the end of the document, found 'x' (byte 36)"),
            (r#"{"metrics":[{"name":"n","value":0}]} {}"#, "expected the end of the document, found '{' (byte 37)"),
        ] {
            assert_eq!(refusal(body.as_bytes()).to_string(), text, "{body}");
        }
        let many = [r#"{"name":"n","value":0}"#; 4].join(",");
        assert_eq!(of_metric(&many), "metrics: more than 3 metrics (byte 81)");
    }

    #[test]
    fn of_a_metric() {
        for (metric, text) in [
            ("[]", "metrics[0]: expected an object, found an array (byte 12)"),
            ("1", "metrics[0]: expected an object, found a number (byte 12)"),
            ("{}", "metrics[0].name: missing (byte 13)"),
            (r#"{"value":1}"#, "metrics[0].name: missing (byte 22)"),
            (r#"{"name":"n"}"#, "metrics[0].value: missing (byte 23)"),
            (r#"{"name":"n","value":1,"n\u0061me":"n"}"#, "metrics[0].name: repeated (byte 34)"),
            (r#"{"name":null}"#, "metrics[0].name: expected a string, found null (byte 20)"),
            (r#"{"name":""}"#, "metrics[0].name: a name has at least one byte (byte 20)"),
            (r#"{"name":"123456789"}"#, "metrics[0].name: longer than 8 bytes (byte 20)"),
            (r#"{"name":"n" "value":1}"#, "metrics[0]: expected ',' or '}', found a quotation mark (byte 24)"),
            (r#"{"name":"n","value":"1"}"#, "metrics[0].value: expected a number, found a string (byte 32)"),
            (r#"{"name":"n","value":true}"#, "metrics[0].value: expected a number, found a boolean (byte 32)"),
            (r#"{"name":"n","value":NaN}"#, "metrics[0].value: expected a number, found 'N' (byte 32)"),
            (r#"{"name":"n","value":+1}"#, "metrics[0].value: expected a number, found '+' (byte 32)"),
            (r#"{"name":"n","value":.5}"#, "metrics[0].value: expected a number, found '.' (byte 32)"),
            (r#"{"name":"n","value":-Infinity}"#, "metrics[0].value: expected a digit, found 'I' (byte 33)"),
            (r#"{"name":"n","value":00}"#, "metrics[0].value: a number has no leading zeros (byte 32)"),
            (r#"{"name":"n","value":1e999}"#, "metrics[0].value: too large for a 64-bit float (byte 32)"),
            (r#"{"type":5}"#, "metrics[0].type: expected a string, found a number (byte 20)"),
            (
                r#"{"type":"guage"}"#,
                "metrics[0].type: expected gauge, counter, histogram or summary, found 'guage' (byte 20)",
            ),
            (
                r#"{"type":"\"<é' 01234567890123456789012345678901234567890"}"#,
                "metrics[0].type: expected gauge, counter, histogram or summary, \
                 found '??<??? 0123456789012345678901234...' (byte 20)",
            ),
            (
                r#"{"timestamp":false}"#,
                "metrics[0].timestamp: expected epoch milliseconds or RFC 3339 text, found a boolean (byte 25)",
            ),
            (
                r#"{"timestamp":1767323045.678}"#,
                "metrics[0].timestamp: expected whole epoch milliseconds, without fraction or exponent (byte 25)",
            ),
            (
                r#"{"timestamp":1767323045}"#,
                "metrics[0].timestamp: expected epoch milliseconds; this looks like seconds (byte 25)",
            ),
            (
                r#"{"timestamp":1767323045678000000}"#,
                "metrics[0].timestamp: outside the years 0000 to 9999; expected epoch milliseconds (byte 25)",
            ),
            (
                r#"{"timestamp":1767323045678000}"#,
                "metrics[0].timestamp: outside the years 0000 to 9999; expected epoch milliseconds (byte 25)",
            ),
            (
                r#"{"timestamp":"yesterday"}"#,
                "metrics[0].timestamp: expected RFC 3339 text such as 2026-01-02T03:04:05.678Z, \
                 found 'yesterday' (byte 25)",
            ),
            (r#"{"tags":[]}"#, "metrics[0].tags: expected an object, found an array (byte 20)"),
            (r#"{"tags":{"a":"b",}}"#, "metrics[0].tags: expected a key, found '}' (byte 29)"),
            (r#"{"tags":{"a":1}}"#, "metrics[0].tags.a: expected a string, found a number (byte 25)"),
            (r#"{"tags":{"a":{}}}"#, "metrics[0].tags.a: expected a string, found an object (byte 25)"),
            (r#"{"tags":{"a":"","\u0061":""}}"#, "metrics[0].tags.?u0061: repeated (byte 28)"),
            (r#"{"tags":{"a":"","b":"","c":""}}"#, "metrics[0].tags: more than 2 tags (byte 35)"),
            (r#"{"tags":{},"tags":{}}"#, "metrics[0].tags: repeated (byte 23)"),
            (r#"{"tags":{"a":"0123456789012345678901234"}}"#, "metrics[0].tags.a: longer than 24 bytes (byte 25)"),
            (
                r#"{"tags":{"0123456789012345678901234":""}}"#,
                "metrics[0].tags.0123456789012345678901234: longer than 24 bytes (byte 21)",
            ),
            (r#"{"tags":{"a":"\u0030123456789012345678901234"}}"#, "metrics[0].tags.a: longer than 24 bytes (byte 25)"),
            (r#"{"help":[nul]}"#, "metrics[0]: expected a value, found 'n' (byte 21)"),
        ] {
            assert_eq!(of_metric(metric), text, "{metric}");
        }
        let second = r#"{"name":"n","value":1},{"name":"m","value":"x"}"#;
        assert_eq!(of_metric(second), "metrics[1].value: expected a number, found a string (byte 55)");
    }

    #[test]
    fn of_invalid_utf_8() {
        let error = refusal(b"{\"metrics\":[{\"name\":\"ab\xc3\x28\",\"value\":1}]}");
        assert_eq!(error.to_string(), "metrics[0].name: invalid UTF-8 (byte 23)");
        assert_eq!(refusal(b"{\"\xff").to_string(), "the string does not end (byte 3)");
        assert_eq!(refusal(b"{\"\xff\"").to_string(), "invalid UTF-8 (byte 2)");
        assert_eq!(refusal(b"{\"a\xed\xa0\x80bcdefghijkl\":1}").to_string(), "invalid UTF-8 (byte 3)");
    }

    #[test]
    fn each_has_its_reason() {
        for (body, reason) in [
            ("{", Reason::Syntax),
            (r#"{"x":"\ud800"}"#, Reason::Encoding),
            (r#"{"metrics":1}"#, Reason::Invalid),
            (r#"{"metrics":[{"type":"x"}]}"#, Reason::Invalid),
            (r#"{"metrics":[{}]}"#, Reason::Missing),
            (r#"{"metrics":[{"name":"a","name":"a"}]}"#, Reason::Repeated),
            (r#"{"metrics":[]}"#, Reason::Bounds),
            (&format!(r#"{{"x":{}"#, "[".repeat(64)), Reason::Depth),
        ] {
            assert_eq!(refusal(body.as_bytes()).reason(), reason, "{body}");
        }
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
    }
}
