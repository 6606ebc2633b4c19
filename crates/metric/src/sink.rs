//! Lines from any protocol: what a decoder other than JSON's calls for each metric that it has found.
//!
//! A decoder describes a [`Series`] once (its name and tags, in plain UTF-8) and pushes its samples into a
//! [`LineSink`], which writes one line of the log for each to the bytes reserved for the body. A metric that may not be
//! stored is rejected with its reason and the others are kept; what is no metric at all (a string field, an exemplar)
//! is skipped. Both are counted, so that for each body metrics = stored + rejected.
//!
//! Promises: the reserved bytes are never exceeded ([`DecodeError::TooLarge`]), at most
//! [`PROTOCOL_METRICS_MAX`](crate::limits::PROTOCOL_METRICS_MAX) metrics are taken, nothing is allocated per metric
//! once a `Series` has grown to what its body needs, and every line is one that [`Line`](crate::Line) reads.

mod cached;
mod overlay;
mod short;
mod space;
mod spelled;
mod spelling;

pub(super) use spelling::{is_plain, spell};

use super::encode::{BEFORE_NAME, BEFORE_VALUE, LINE_END, between_value_and_tags};
use super::protocol::bucket::{BoundText, normalise_bound};
use super::timestamp::{self, TIMESTAMP_BYTES, TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN};
use super::value_text::{VALUE_BYTES_MAX, put_integer};
use super::{BEFORE_TIMESTAMP, Bounds, Kind};
use crate::limits::{PROTOCOL_METRICS_MAX, SERIES_BYTES_MAX, SERIES_KEPT_BYTES_MAX, TIMESTAMP_FAR_MS};
pub(super) use cached::TEXT_BLOCK_BYTES;
use cached::put_float_or_stale;
use short::ShortText;
pub(super) use short::{FrontTags, GapText, NO_GAP, ShortGap, ShortValue};
pub(super) use space::{LineSpace, Part};
use spelled::Spelled;
use spelling::copy_plain;

/// Bit pattern of the NaN by which Prometheus marks the end of a series.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The value of a metric.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// A JSON number that is finite as a 64-bit float, stored in these digits. The decoder has checked it.
    Digits(&'a [u8]),
    /// A 64-bit float, stored as the shortest text that reads back as the same float; NaN and the infinities too. The
    /// NaN of [`STALE_NAN_BITS`] is the stale marker.
    Float(f64),
    /// A signed integer, stored in all of its digits.
    Int(i64),
    /// An unsigned integer, stored in all of its digits.
    Uint(u64),
    /// The end of its series.
    Stale,
}

macro_rules! counted {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }
        impl $name {
            /// All variants, in the order of their counts.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// Number of variants.
            pub const COUNT: usize = Self::ALL.len();
            /// The label in statistics.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),* }
            }
            /// The reason in words, for the client.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }
    };
}

counted! {
    /// The reason why one metric of a body is not stored.
    Reject {
        /// A line or an element that does not parse, in a body whose other elements do.
        Syntax = "syntax", "unable to parse";
        /// A name that is missing, empty, too long or not UTF-8.
        Name = "name", "the name is missing, empty, too long or not UTF-8";
        /// A tag that is empty where it may not be, too long, not UTF-8, out of order or repeated, or too many of them.
        Tags = "tags", "a tag is empty, too long, not UTF-8, out of order or repeated, or there are too many";
        /// A value that is missing, or that the protocol does not allow.
        Value = "value", "the value is missing or invalid";
        /// A timestamp outside of the years 0000 to 9999.
        Timestamp = "timestamp", "the timestamp is out of range";
        /// A histogram or a summary whose parts do not fit together.
        Histogram = "histogram", "the histogram is invalid";
    }
}

counted! {
    /// The kind of an element that is no metric and is left out.
    Skip {
        /// A field whose value is a string.
        Text = "text", "string values are not stored";
        /// A value that is null.
        Null = "null", "null values are not stored";
        /// An exemplar.
        Exemplar = "exemplar", "exemplars are not stored";
        /// Metadata of a metric that the log has no place for, such as its help text.
        Metadata = "metadata", "metadata is not stored";
        /// A sample of OpenMetrics that says when its series began (`_created`).
        Created = "created", "times of creation are not stored";
    }
}

/// The first rejected metric of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// The reason.
    pub reason: Reject,
    /// Position of the element: the number of a line, from 1, or the index of an element, as the protocol counts.
    pub at: usize,
    /// Description for the client: more exact than [`Reject::text`] where the decoder knows more.
    pub text: &'static str,
    /// Offset of the element in the body, in bytes; 0 with a `len` of 0 where the decoder does not say.
    pub offset: usize,
    /// Length of the element, in bytes.
    pub len: usize,
}

impl Rejected {
    /// One that says no more than its reason.
    #[must_use]
    pub const fn new(reason: Reject, at: usize) -> Self {
        Self { reason, at, text: reason.text(), offset: 0, len: 0 }
    }

    /// The bytes of the element in `body`, if the decoder says where it is.
    #[must_use]
    pub fn element<'body>(&self, body: &'body [u8]) -> Option<&'body [u8]> {
        if self.len == 0 { None } else { body.get(self.offset..self.offset.checked_add(self.len)?) }
    }
}

/// The reason why nothing of a body is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The body is not of its protocol.
    Malformed {
        /// Offset of the fault in the body.
        byte: usize,
        /// Description of the fault.
        text: &'static str,
    },
    /// The body has more than [`PROTOCOL_METRICS_MAX`] metrics.
    TooManyMetrics,
    /// The lines do not fit into the bytes reserved for them.
    TooLarge,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed { byte, text } => write!(f, "{text} (byte {byte})"),
            Self::TooManyMetrics => write!(f, "more than {PROTOCOL_METRICS_MAX} metrics in one request"),
            Self::TooLarge => f.write_str("the metrics of one request are too large"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// The name and tags that the samples of a series share, spelled as the log has them. One is used for all series of all
/// bodies of a core.
///
/// The values of the tags `le` and `quantile` have [one spelling](normalise_bound), whatever the protocol.
#[derive(Debug)]
pub struct Series {
    bounds: Bounds,
    name: Spelled,
    /// Bytes of the name before escaping.
    name_bytes: usize,
    /// `"key":"value"` with commas between.
    tags: Spelled,
    spans: Vec<TagSpan>,
}

/// Offsets of a tag in [`Series::tags`].
#[derive(Debug, Clone, Copy)]
struct TagSpan {
    /// Offset of the key's first byte, behind its quotation mark.
    key: usize,
    key_end: usize,
    /// Offset of the closing quotation mark of the value.
    value_end: usize,
}

/// A state of a [`Series`] to come back to.
#[derive(Debug, Clone, Copy)]
pub struct SeriesMark {
    name: usize,
    name_bytes: usize,
    tags: usize,
}

impl SeriesMark {
    /// Number of tags then.
    #[inline]
    pub(crate) const fn tags(self) -> usize {
        self.tags
    }
}

impl Series {
    /// An empty one, held to `bounds`.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, name: Spelled::new(), name_bytes: 0, tags: Spelled::new(), spans: Vec::new() }
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.name.clear();
        self.name_bytes = 0;
        self.tags.clear();
        self.spans.clear();
    }

    /// Drops the name and keeps the tags.
    #[inline]
    pub fn clear_name(&mut self) {
        self.name.clear();
        self.name_bytes = 0;
    }

    /// Drops what was appended to the name since `mark`, and keeps the tags.
    #[inline]
    pub fn reset_name_to(&mut self, mark: SeriesMark) {
        self.name.truncate(mark.name);
        self.name_bytes = mark.name_bytes;
    }

    /// Drops all tags but the first `count`, which are kept as they are spelled.
    #[inline]
    pub fn keep_tags(&mut self, count: usize) {
        self.spans.truncate(count);
        self.tags.truncate(self.spans.last().map_or(0, |span| span.value_end + 1));
    }

    /// Frees memory that a large body made it grow to.
    pub fn trim(&mut self) {
        if self.kept_bytes() > SERIES_KEPT_BYTES_MAX {
            *self = Self::new(self.bounds);
        }
    }

    /// Capacity held between bodies, in bytes.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.name.capacity() + self.tags.capacity() + self.spans.capacity() * size_of::<TagSpan>()
    }

    /// True if it has a name.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.name_bytes > 0
    }

    /// The name as the log spells it.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Number of tags.
    #[must_use]
    pub fn tags(&self) -> usize {
        self.spans.len()
    }

    /// Appends to the name: parts of it, or a suffix such as `_total`.
    ///
    /// # Errors
    /// [`Reject::Name`] if the part is not UTF-8 or the name gets too long.
    pub fn push_name(&mut self, part: &[u8]) -> Result<(), Reject> {
        if self.name_bytes + part.len() > self.bounds.name_bytes_limit {
            return Err(Reject::Name);
        }
        if !self.name.put_plain(part) {
            if std::str::from_utf8(part).is_err() {
                return Err(Reject::Name);
            }
            self.name.put_escaped(part);
        }
        self.name_bytes += part.len();
        Ok(())
    }

    /// Appends a tag. Either side may be empty; a decoder whose protocol does not allow that checks it.
    ///
    /// # Errors
    /// [`Reject::Tags`] if a side is not UTF-8 or too long, if the key is there already, or if there are too many.
    pub fn push_tag(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reject> {
        let before = self.mark();
        self.append_tag(key, value)?;
        let (last, others) = self.spans.split_last().ok_or(Reject::Tags)?;
        let spelled = &self.tags[last.key..last.key_end];
        if others.iter().any(|other| self.tags[other.key..other.key_end] == *spelled) {
            self.reset_to(before);
            return Err(Reject::Tags);
        }
        Ok(())
    }

    /// Appends a tag whose key is known to differ from those before: protocols that sort their keys prove it by order.
    ///
    /// # Errors
    /// As [`push_tag`](Self::push_tag), without the search for a repeated key.
    #[inline]
    pub fn push_unique_tag(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reject> {
        self.append_tag(key, value)
    }

    /// Appends a tag; one with the same key is removed first, so that the last value counts.
    ///
    /// # Errors
    /// [`Reject::Tags`] if a side is not UTF-8 or too long, or if there are too many.
    pub fn set_tag(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reject> {
        self.append_tag(key, value)?;
        let (last, others) = self.spans.split_last().ok_or(Reject::Tags)?;
        let spelled = &self.tags[last.key..last.key_end];
        if let Some(index) = others.iter().position(|other| self.tags[other.key..other.key_end] == *spelled) {
            self.remove_tag(index);
        }
        Ok(())
    }

    /// Appends the tag `key`, which is new, with a bound as its value.
    ///
    /// # Errors
    /// As [`push_unique_tag`](Self::push_unique_tag).
    #[inline]
    pub fn push_bound(&mut self, key: &[u8], bound: f64) -> Result<(), Reject> {
        self.append_spelled(key, BoundText::new(bound).as_bytes())
    }

    #[inline]
    fn append_tag(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reject> {
        if is_bound(key) { self.append_bound(key, value) } else { self.append_spelled(key, value) }
    }

    #[inline(never)]
    fn append_bound(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reject> {
        self.append_spelled(key, normalise_bound(value, &mut BoundText::default()))
    }

    #[inline]
    fn append_spelled(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reject> {
        if self.spans.len() == self.bounds.tags_limit
            || key.len().max(value.len()) > self.bounds.tag_bytes_limit
            || self.tags.len() + key.len() + value.len() > SERIES_BYTES_MAX
        {
            return Err(Reject::Tags);
        }
        let start = self.tags.len();
        let comma = usize::from(start > 0);
        let bytes = comma + QUOTES_BYTES + key.len() + value.len();
        let space = self.tags.space(bytes);
        space[0] = b',';
        space[comma] = b'"';
        let (key_space, rest) = space[comma + 1..].split_at_mut(key.len());
        let (between, rest) = rest.split_at_mut(BETWEEN.len());
        between.copy_from_slice(BETWEEN);
        let (value_space, end) = rest.split_at_mut(value.len());
        end[0] = b'"';
        if !(copy_plain(key, key_space) && copy_plain(value, value_space)) {
            return self.append_escaped(key, value);
        }
        self.tags.take(bytes);
        let key_start = start + comma + 1;
        self.spans.push(TagSpan { key: key_start, key_end: key_start + key.len(), value_end: start + bytes - 1 });
        Ok(())
    }

    #[cold]
    fn append_escaped(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reject> {
        if std::str::from_utf8(key).is_err() || std::str::from_utf8(value).is_err() {
            return Err(Reject::Tags);
        }
        self.tags.put(if self.tags.is_empty() { b"\"" } else { b",\"" });
        let key_start = self.tags.len();
        self.tags.put_escaped(key);
        let key_end = self.tags.len();
        self.tags.put(BETWEEN);
        self.tags.put_escaped(value);
        self.spans.push(TagSpan { key: key_start, key_end, value_end: self.tags.len() });
        self.tags.put(b"\"");
        Ok(())
    }

    /// Gives the tag at `index` another value in its place; the tags behind it stay as they are spelled. Returns false
    /// if that is not as simple: the value has escapes, or a bound may be exceeded. Then the tags from `index` on mean
    /// nothing, and are to be dropped.
    #[inline]
    pub fn replace_value(&mut self, index: usize, value: &[u8]) -> bool {
        let Some(span) = self.spans.get(index).copied() else { return false };
        let start = span.key_end + BETWEEN.len();
        let bytes = span.value_end - start;
        let mut bound = BoundText::default();
        let is_bound = is_bound(&self.tags[span.key..span.key_end]);
        let value = if is_bound { normalise_bound(value, &mut bound) } else { value };
        // With what follows them: each of the tags behind it keeps to the bound if all of them do together.
        if value.len() > self.bounds.tag_bytes_limit || self.tags.len() - bytes + value.len() > SERIES_BYTES_MAX {
            return false;
        }
        if !self.tags.replace(start, bytes, value) {
            return false;
        }
        if bytes != value.len() {
            self.spans[index].value_end = start + value.len();
            for later in &mut self.spans[index + 1..] {
                for offset in [&mut later.key, &mut later.key_end, &mut later.value_end] {
                    *offset = *offset + value.len() - bytes;
                }
            }
        }
        true
    }

    fn remove_tag(&mut self, index: usize) {
        let span = self.spans.remove(index);
        // With the quotation mark before its key and the comma behind it: it is never the last.
        let (start, end) = (span.key - 1, span.value_end + 2);
        self.tags.remove(start, end - start);
        for later in &mut self.spans[index..] {
            for offset in [&mut later.key, &mut later.key_end, &mut later.value_end] {
                *offset -= end - start;
            }
        }
    }

    /// The present state.
    #[must_use]
    pub fn mark(&self) -> SeriesMark {
        SeriesMark { name: self.name.len(), name_bytes: self.name_bytes, tags: self.spans.len() }
    }

    /// Drops what was appended since `mark`. Tags that were there then must not have been removed.
    pub fn reset_to(&mut self, mark: SeriesMark) {
        self.reset_name_to(mark);
        self.keep_tags(mark.tags);
    }
}

/// True for the keys of the tags whose values are bounds.
#[inline]
fn is_bound(key: &[u8]) -> bool {
    matches!(key, b"le" | b"quantile")
}

/// Between a key and its value.
const BETWEEN: &[u8] = br#"":""#;
/// Bytes around a key and a value: `"":""`.
const QUOTES_BYTES: usize = 2 + BETWEEN.len();
/// Bytes of a line before the name.
const HEAD_BYTES: usize = BEFORE_TIMESTAMP.len() + TIMESTAMP_BYTES + BEFORE_NAME.len();
/// Between the tags and the next line.
const TAGS_END: &[u8] = b"}}\n";
const STALE: &[u8] = br#""NaN","stale":true"#;
const _: () = assert!(STALE.len() <= VALUE_BYTES_MAX);
/// Bytes of a line besides its name, digits and tags, at most.
const FRAME_BYTES_MAX: usize =
    HEAD_BYTES + BEFORE_VALUE.len() + VALUE_BYTES_MAX + br#","type":"histogram","tags":{"#.len() + LINE_END.len() + 1;

/// The lines of one body.
pub struct LineSink<'out> {
    out: &'out mut [u8],
    arrival_ms: i64,
    /// Metrics written and rejected.
    known: u32,
    decoded: Decoded,
    /// The head of a line, and the moment it stands for: the metrics of a body mostly share it.
    head: [u8; HEAD_BYTES],
    head_ms: i64,
    /// True if that moment is far from the time of arrival.
    head_is_far: bool,
}

/// Result of decoding a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Metrics stored, and lines written.
    pub metrics: u32,
    /// Bytes written.
    pub bytes: usize,
    /// Metrics whose timestamp is over [`TIMESTAMP_FAR_MS`] from the time of arrival.
    pub far_from_now: u32,
    /// Metrics rejected, by [`Reject`].
    pub rejected: [u32; Reject::COUNT],
    /// Elements left out that are no metrics, by [`Skip`].
    pub skipped: [u32; Skip::COUNT],
    /// The first rejected metric.
    pub first_rejected: Option<Rejected>,
}

impl Decoded {
    /// Metrics rejected, for any reason.
    #[must_use]
    pub fn rejected(&self) -> u32 {
        self.rejected.iter().sum()
    }
}

impl<'out> LineSink<'out> {
    /// No lines, to be written to the front of `out`. A metric without a timestamp gets `arrival_ms`, epoch
    /// milliseconds.
    ///
    /// # Panics
    /// If `arrival_ms` is not within the years 0000 to 9999.
    pub fn new(out: &'out mut [u8], arrival_ms: i64) -> Self {
        assert!((TIMESTAMP_MS_MIN..=TIMESTAMP_MS_MAX).contains(&arrival_ms));
        Self {
            out,
            arrival_ms,
            known: 0,
            decoded: Decoded {
                metrics: 0,
                bytes: 0,
                far_from_now: 0,
                rejected: [0; Reject::COUNT],
                skipped: [0; Skip::COUNT],
                first_rejected: None,
            },
            head: super::encode::head(arrival_ms),
            head_ms: arrival_ms,
            head_is_far: false,
        }
    }

    /// Writes the line of one sample of `series`. One without a name or with a timestamp out of range is a rejected
    /// metric with the place `at`.
    ///
    /// # Errors
    /// If the bound of metrics or the reserved bytes are exceeded: nothing of the body may be stored.
    #[inline]
    pub fn push(
        &mut self,
        series: &Series,
        kind: Kind,
        value: Value<'_>,
        timestamp_ms: Option<i64>,
        at: usize,
    ) -> Result<(), DecodeError> {
        let timestamp_ms = timestamp_ms.unwrap_or(self.arrival_ms);
        if !series.is_named() {
            return self.reject(Reject::Name, 1, at);
        }
        if timestamp_ms != self.head_ms {
            if !(TIMESTAMP_MS_MIN..=TIMESTAMP_MS_MAX).contains(&timestamp_ms) {
                return self.reject(Reject::Timestamp, 1, at);
            }
            self.set_head(timestamp_ms);
        }
        let known = self.known_with(1)?;
        let digits = if let Value::Digits(digits) = value { digits.len() } else { 0 };
        let bytes_max = FRAME_BYTES_MAX + series.name.len() + digits + series.tags.len();
        let rest = &mut self.out[self.decoded.bytes..];
        let Some(mut line) = LineSpace::new(rest, bytes_max) else { return Err(DecodeError::TooLarge) };
        line.put(&self.head);
        line.put_part::<TEXT_BLOCK_BYTES>(series.name.part());
        line.put(BEFORE_VALUE);
        put_value(value, &mut line);
        put_kind(kind, &mut line);
        line.put_part::<TEXT_BLOCK_BYTES>(series.tags.part());
        line.put(TAGS_END);
        let left = line.left();
        self.count_line(known, left);
        Ok(())
    }

    /// Makes the head of the next lines that of a timestamp that is in range.
    fn set_head(&mut self, timestamp_ms: i64) {
        self.head[BEFORE_TIMESTAMP.len()..][..TIMESTAMP_BYTES].copy_from_slice(&timestamp::format(timestamp_ms));
        self.head_ms = timestamp_ms;
        self.head_is_far = timestamp_ms.abs_diff(self.arrival_ms) > TIMESTAMP_FAR_MS;
    }

    /// Counts a line with the present head that is written, behind which `left` bytes are left of those reserved.
    #[inline]
    fn count_line(&mut self, known: u32, left: usize) {
        self.decoded.bytes = self.out.len() - left;
        self.known = known;
        self.decoded.metrics += 1;
        self.decoded.far_from_now += u32::from(self.head_is_far);
    }

    /// Counts `metrics` that are not stored; `at` is the place of the first, as in [`Rejected::at`].
    ///
    /// # Errors
    /// If the bound of metrics is exceeded.
    #[cold]
    pub fn reject(&mut self, reason: Reject, metrics: u32, at: usize) -> Result<(), DecodeError> {
        self.reject_as(metrics, Rejected::new(reason, at))
    }

    /// As [`reject`](Self::reject), with all that the decoder knows about the first of them.
    ///
    /// # Errors
    /// If the bound of metrics is exceeded.
    #[cold]
    pub fn reject_as(&mut self, metrics: u32, first: Rejected) -> Result<(), DecodeError> {
        self.known = self.known_with(metrics)?;
        self.decoded.rejected[first.reason as usize] += metrics;
        self.decoded.first_rejected = self.decoded.first_rejected.or(Some(first));
        Ok(())
    }

    /// Counts `elements` that are no metrics.
    pub fn skip(&mut self, kind: Skip, elements: u32) {
        let skipped = &mut self.decoded.skipped[kind as usize];
        *skipped = skipped.saturating_add(elements);
    }

    /// The number of metrics that are known with `metrics` more.
    #[inline]
    fn known_with(&self, metrics: u32) -> Result<u32, DecodeError> {
        let known = self.known.saturating_add(metrics);
        if known as usize > PROTOCOL_METRICS_MAX { Err(DecodeError::TooManyMetrics) } else { Ok(known) }
    }

    /// The timestamp of metrics that bring none, epoch milliseconds.
    #[must_use]
    pub fn arrival_ms(&self) -> i64 {
        self.arrival_ms
    }

    /// Number of lines written up to now.
    #[inline]
    #[must_use]
    pub fn metrics(&self) -> u32 {
        self.decoded.metrics
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn decoded(&self) -> Decoded {
        self.decoded
    }

    /// Takes back the lines and the counts since [`decoded`](Self::decoded) returned `then`: for a decoder that reads
    /// ahead of what decides.
    pub(crate) fn reset_to(&mut self, then: Decoded) {
        self.known = then.metrics + then.rejected();
        self.decoded = then;
    }
}

/// Bytes between a value and the tags, at most.
const BEFORE_TAGS_BYTES_MAX: usize = 32;

/// The text between a value and the tags for each type, and its length.
const BEFORE_TAGS: [([u8; BEFORE_TAGS_BYTES_MAX], u8); Kind::ALL.len()] = {
    let mut all = [([0; BEFORE_TAGS_BYTES_MAX], 0); Kind::ALL.len()];
    let mut index = 0;
    while index < all.len() {
        let text = between_value_and_tags(Kind::ALL[index]);
        let (place, length) = &mut all[Kind::ALL[index] as usize];
        place.split_at_mut(text.len()).0.copy_from_slice(text);
        place[text.len()] = b'{';
        // At most BEFORE_TAGS_BYTES_MAX.
        *length = text.len().to_le_bytes()[0] + 1;
        index += 1;
    }
    all
};

/// The text between a value and the tags, with what is behind it in memory, and its length.
#[inline(always)]
const fn before_tags(kind: Kind) -> ShortText<'static, BEFORE_TAGS_BYTES_MAX> {
    let (text, length) = &BEFORE_TAGS[kind as usize];
    (text, *length)
}

#[inline(always)]
fn put_kind(kind: Kind, line: &mut LineSpace<'_>) {
    let (text, length) = before_tags(kind);
    line.put_part::<BEFORE_TAGS_BYTES_MAX>(Part::new(text, usize::from(length)));
}

#[inline(always)]
fn put_value(value: Value<'_>, line: &mut LineSpace<'_>) {
    match value {
        Value::Digits(digits) => line.put(digits),
        Value::Float(float) => line.put_value(|place| put_float_or_stale(float, place)),
        Value::Int(integer) => line.put_value(|place| put_integer(integer < 0, integer.unsigned_abs(), place)),
        Value::Uint(integer) => line.put_value(|place| put_integer(false, integer, place)),
        Value::Stale => line.put(STALE),
    }
}

#[cfg(test)]
mod tests;
