//! The batch's own grammar: one pass over the body, giving out one metric after the other.
//!
//! Promises: `Ok(None)` comes only after the whole document was read and found good, with nothing behind it. Whoever
//! stores metrics before that must be able to take them back. Once a batch is refused it stays refused.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::cursor::Cursor;
use super::error::{BatchError, Excerpt, Expected, Fault, Field, Problem, Step};
use super::text::Text;
use super::{Bounds, Kind, Metric, Tag, number, timestamp};

/// Objects and arrays around the value of a field of the document: the document.
const DOCUMENT_DEPTH: usize = 1;
/// Objects and arrays around the value of a field of a metric: the document, the array of metrics, the metric.
const METRIC_DEPTH: usize = 3;

/// Reads one batch. It pulls: [`next`](Self::next) gives one metric a call.
pub struct Parser<'body, 'scratch> {
    cursor: Cursor<'body>,
    bounds: Bounds,
    scratch: &'scratch mut Scratch<'body>,
    stage: Stage,
    /// Metrics read so far.
    metrics: usize,
    /// Where we are, for the error: in the metric of index `metrics`, in which field, in which tag or at which text.
    in_metric: bool,
    field: Option<Field>,
    excerpt: Option<Text<'body>>,
}

/// What a parser writes while it reads: the tags of the metric in hand. Used again for every metric.
pub struct Scratch<'body> {
    tags: Vec<Tag<'body>>,
    /// A keyed hash of what each tag's key means; filled only for a metric that has escapes in a key.
    fingerprints: Vec<u64>,
    fingerprint_key: RandomState,
}

enum Stage {
    Start,
    Metrics,
    Done,
    Refused(BatchError),
}

impl<'body> Scratch<'body> {
    /// Scratch that is large enough for every metric within `bounds`: nothing is allocated later.
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            tags: Vec::with_capacity(bounds.tags_limit),
            fingerprints: Vec::with_capacity(bounds.tags_limit),
            fingerprint_key: RandomState::new(),
        }
    }

    /// The same scratch for another body: empty, its memory kept.
    pub fn recycle<'next>(mut self) -> Scratch<'next> {
        self.tags.clear();
        // Collecting from a vector's own iterator reuses its allocation; `tests/parser_allocations.rs` holds it to that.
        let tags = self.tags.into_iter().map(|_| unreachable!("the vector is empty")).collect();
        Scratch { tags, fingerprints: self.fingerprints, fingerprint_key: self.fingerprint_key }
    }

    fn clear(&mut self) {
        self.tags.clear();
        self.fingerprints.clear();
    }

    /// Whether the metric in hand has a tag of this key already.
    ///
    /// Each pair of keys is compared: no more than bytes in memory while there are no escapes. Decoding at every comparison
    /// would hand a stranger, who chooses the keys, a lever of `tags_limit` / 2 on our time; so keys with escapes among
    /// them are told apart by hashes that a stranger cannot predict, and decoded again only if two of those are equal.
    #[inline]
    fn has_key(&mut self, key: &Text<'body>) -> bool {
        if key.escaped || !self.fingerprints.is_empty() {
            return self.has_key_by_fingerprint(key);
        }
        self.tags.iter().any(|tag| tag.key.raw == key.raw)
    }

    #[cold]
    fn has_key_by_fingerprint(&mut self, key: &Text<'body>) -> bool {
        for tag in &self.tags[self.fingerprints.len()..] {
            self.fingerprints.push(fingerprint(&self.fingerprint_key, &tag.key));
        }
        let sought = fingerprint(&self.fingerprint_key, key);
        let mut known = self.fingerprints.iter().zip(&self.tags);
        let repeated = known.any(|(&known, tag)| known == sought && tag.key.decoded().eq(key.decoded()));
        self.fingerprints.push(sought);
        repeated
    }
}

fn fingerprint(key: &RandomState, text: &Text) -> u64 {
    let mut hasher = key.build_hasher();
    text.decoded().for_each(|byte| hasher.write_u8(byte));
    hasher.finish()
}

impl<'body, 'scratch> Parser<'body, 'scratch> {
    /// Begins to read `body`.
    pub fn new(body: &'body [u8], bounds: Bounds, scratch: &'scratch mut Scratch<'body>) -> Self {
        Self {
            cursor: Cursor::new(body),
            bounds,
            scratch,
            stage: Stage::Start,
            metrics: 0,
            in_metric: false,
            field: None,
            excerpt: None,
        }
    }

    /// The next metric; `None` once the whole document has been read and is good.
    #[inline]
    pub fn next(&mut self) -> Result<Option<Metric<'_>>, BatchError> {
        match self.step() {
            Ok(Some(metric)) => Ok(Some(Metric { tags: &self.scratch.tags, ..metric })),
            Ok(None) => Ok(None),
            Err(fault) => Err(self.refuse(fault)),
        }
    }

    /// As [`next`](Self::next), but the metric's tags are left in the scratch.
    #[inline]
    fn step(&mut self) -> Step<Option<Metric<'body>>> {
        let more = match self.stage {
            Stage::Metrics => self.cursor.next_element()?,
            Stage::Start => self.open()?,
            Stage::Done => return Ok(None),
            Stage::Refused(error) => return Err(Fault { byte: error.byte, problem: error.problem }),
        };
        if !more {
            self.close()?;
            self.stage = Stage::Done;
            return Ok(None);
        }
        self.cursor.whitespace();
        if self.metrics == self.bounds.batch_metrics_limit {
            self.field = Some(Field::Metrics);
            return Err(self.cursor.fault(Problem::MetricsOver { limit: self.bounds.batch_metrics_limit }));
        }
        self.in_metric = true;
        let metric = self.metric()?;
        self.in_metric = false;
        self.metrics += 1;
        Ok(Some(metric))
    }

    /// Reads the document up to its first metric. (An array without any is refused: `true` is all there is to say.)
    #[cold]
    fn open(&mut self) -> Step<bool> {
        let cursor = &mut self.cursor;
        cursor.whitespace();
        cursor.expect(b'{', Expected::Document)?;
        let mut more = cursor.first_member()?;
        while more {
            let is_metrics = cursor.string()?.means(b"metrics");
            cursor.colon()?;
            if is_metrics {
                self.field = Some(Field::Metrics);
                cursor.expect(b'[', Expected::Array)?;
                cursor.whitespace();
                if cursor.peek() == Some(b']') {
                    return Err(cursor.fault(Problem::BatchEmpty));
                }
                self.field = None;
                self.stage = Stage::Metrics;
                return Ok(true);
            }
            cursor.skip_value(DOCUMENT_DEPTH)?;
            more = cursor.next_member()?;
        }
        self.field = Some(Field::Metrics);
        Err(Fault { byte: cursor.byte() - 1, problem: Problem::Missing })
    }

    /// Reads the document from behind the array of metrics to the end of the body.
    #[cold]
    fn close(&mut self) -> Step<()> {
        let cursor = &mut self.cursor;
        while cursor.next_member()? {
            let start = cursor.byte() - 1;
            if cursor.string()?.means(b"metrics") {
                self.field = Some(Field::Metrics);
                return Err(Fault { byte: start, problem: Problem::Repeated });
            }
            cursor.colon()?;
            cursor.skip_value(DOCUMENT_DEPTH)?;
        }
        cursor.whitespace();
        if cursor.rest().is_empty() { Ok(()) } else { Err(cursor.unexpected(Expected::DocumentEnd)) }
    }

    /// Remembers where and why the batch was refused.
    #[cold]
    fn refuse(&mut self, fault: Fault) -> BatchError {
        if let Stage::Refused(error) = self.stage {
            return error;
        }
        let error = BatchError {
            index: self.in_metric.then_some(self.metrics),
            field: self.field,
            byte: fault.byte,
            problem: fault.problem,
            excerpt: self.excerpt.map(|text| Excerpt::new(text.raw)),
        };
        self.stage = Stage::Refused(error);
        error
    }

    /// Reads one metric.
    #[inline]
    fn metric(&mut self) -> Step<Metric<'body>> {
        let (mut name, mut value, mut kind, mut timestamp_ms, mut tags_verbatim) = (None, None, None, None, None);
        let mut has_tags = false;
        self.scratch.clear();
        self.cursor.expect(b'{', Expected::Object)?;
        let mut more = self.cursor.first_member()?;
        while more {
            let start = self.cursor.byte() - 1;
            let field = self.field()?;
            self.cursor.colon()?;
            self.field = field;
            let repeated = match field {
                Some(Field::Name) => name.replace(self.name()?).is_some(),
                Some(Field::Value) => value.replace(self.value()?).is_some(),
                Some(Field::Type) => kind.replace(self.kind()?).is_some(),
                Some(Field::Timestamp) => timestamp_ms.replace(self.timestamp_ms()?).is_some(),
                Some(Field::Tags) if has_tags => true,
                Some(Field::Tags) => {
                    has_tags = true;
                    tags_verbatim = self.tags()?;
                    false
                }
                Some(Field::Metrics) | None => {
                    self.cursor.skip_value(METRIC_DEPTH)?;
                    false
                }
            };
            if repeated {
                return Err(Fault { byte: start, problem: Problem::Repeated });
            }
            self.field = None;
            more = self.cursor.next_member()?;
        }
        let (Some(name), Some(value)) = (name, value) else {
            self.field = Some(if name.is_none() { Field::Name } else { Field::Value });
            return Err(Fault { byte: self.cursor.byte() - 1, problem: Problem::Missing });
        };
        Ok(Metric { name, value, kind: kind.unwrap_or_default(), timestamp_ms, tags: &[], tags_verbatim })
    }

    /// Reads a key of a metric: one of its fields, or `None`. First the spelling that every client uses, then any other.
    #[inline]
    fn field(&mut self) -> Step<Option<Field>> {
        let cursor = &mut self.cursor;
        Ok(if cursor.eat_all(b"name\"") {
            Some(Field::Name)
        } else if cursor.eat_all(b"value\"") {
            Some(Field::Value)
        } else if cursor.eat_all(b"type\"") {
            Some(Field::Type)
        } else if cursor.eat_all(b"timestamp\"") {
            Some(Field::Timestamp)
        } else if cursor.eat_all(b"tags\"") {
            Some(Field::Tags)
        } else {
            let key = cursor.string()?;
            let fields = [Field::Name, Field::Value, Field::Type, Field::Timestamp, Field::Tags];
            fields.into_iter().find(|field| key.means(field.name().as_bytes()))
        })
    }

    #[inline]
    fn name(&mut self) -> Step<Text<'body>> {
        let start = self.cursor.byte();
        self.cursor.expect(b'"', Expected::String)?;
        let name = self.cursor.string()?;
        let limit = self.bounds.name_bytes_limit;
        if name.raw.is_empty() {
            return Err(Fault { byte: start, problem: Problem::NameEmpty });
        }
        // A text never means more bytes than spell it.
        if name.raw.len() > limit && name.decoded().count() > limit {
            return Err(Fault { byte: start, problem: Problem::NameOver { limit } });
        }
        Ok(name)
    }

    #[inline]
    fn value(&mut self) -> Step<&'body [u8]> {
        let start = self.cursor.byte();
        if !matches!(self.cursor.peek(), Some(b'-' | b'0'..=b'9')) {
            return Err(self.cursor.unexpected(Expected::Number));
        }
        let number = number::read(&mut self.cursor)?;
        if !number.is_finite() {
            return Err(Fault { byte: start, problem: Problem::ValueInfinite });
        }
        Ok(number.text)
    }

    /// Reads the value of `type`. First the spelling that every client uses, then any other.
    #[inline]
    fn kind(&mut self) -> Step<Kind> {
        let cursor = &mut self.cursor;
        if cursor.eat_all(b"\"gauge\"") {
            Ok(Kind::Gauge)
        } else if cursor.eat_all(b"\"counter\"") {
            Ok(Kind::Counter)
        } else if cursor.eat_all(b"\"histogram\"") {
            Ok(Kind::Histogram)
        } else if cursor.eat_all(b"\"summary\"") {
            Ok(Kind::Summary)
        } else {
            let start = cursor.byte();
            cursor.expect(b'"', Expected::String)?;
            let sent = cursor.string()?;
            let kind = Kind::ALL.into_iter().find(|kind| sent.means(kind.name().as_bytes()));
            kind.ok_or_else(|| {
                self.excerpt = Some(sent);
                Fault { byte: start, problem: Problem::TypeUnknown }
            })
        }
    }

    #[inline]
    fn timestamp_ms(&mut self) -> Step<i64> {
        let byte = self.cursor.byte();
        match self.cursor.peek() {
            Some(b'-' | b'0'..=b'9') => {
                let number = number::read(&mut self.cursor)?;
                timestamp::from_number(&number).map_err(|problem| Fault { byte, problem })
            }
            Some(b'"') => {
                self.cursor.eat(b'"');
                let text = self.cursor.string()?;
                timestamp::from_text(text.decoded()).map_err(|problem| {
                    self.excerpt = Some(text);
                    Fault { byte, problem }
                })
            }
            _ => Err(self.cursor.unexpected(Expected::Timestamp)),
        }
    }

    /// Reads the tags into the scratch. Gives the object's text if the log would spell it the same: [`Metric::tags_verbatim`].
    #[inline]
    fn tags(&mut self) -> Step<Option<&'body [u8]>> {
        let text = self.cursor.rest();
        self.cursor.expect(b'{', Expected::Object)?;
        // What the object would take without whitespace: `{` and, a tag, `"":""` with its comma, or `}` in the last one's place.
        let mut tight_bytes = 1;
        let mut escaped = false;
        let mut more = self.cursor.first_member()?;
        if !more {
            tight_bytes = 2;
        }
        while more {
            let start = self.cursor.byte() - 1;
            let key = self.cursor.string()?;
            let limit = self.bounds.tags_limit;
            if self.scratch.tags.len() == limit {
                return Err(Fault { byte: start, problem: Problem::TagsOver { limit } });
            }
            if self.scratch.has_key(&key) {
                self.excerpt = Some(key);
                return Err(Fault { byte: start, problem: Problem::Repeated });
            }
            let value = self.tag_value().inspect_err(|_| self.excerpt = Some(key))?;
            self.scratch.tags.push(Tag { key, value });
            tight_bytes += key.raw.len() + value.raw.len() + r#""":"","#.len();
            escaped |= key.escaped | value.escaped;
            more = self.cursor.next_member()?;
        }
        let text = &text[..text.len() - self.cursor.rest().len()];
        Ok((!escaped && text.len() == tight_bytes).then_some(text))
    }

    #[inline]
    fn tag_value(&mut self) -> Step<Text<'body>> {
        self.cursor.colon()?;
        self.cursor.expect(b'"', Expected::String)?;
        self.cursor.string()
    }
}
