//! The batch's own grammar: one pass over the body, giving out one metric after the other.
//!
//! Promises: `Ok(None)` comes only after the whole document was read and found good, with nothing behind it. Whoever
//! stores metrics before that must be able to take them back. Once a batch is refused it stays refused.

use super::cursor::Cursor;
use super::error::{BatchError, Excerpt, Expected, Fault, Field, Problem, Step};
use super::keys::Keys;
use super::shape::{Fit, Shapes, Verbatim};
use super::text::Text;
use super::{Bounds, Kind, Metric, Tag, number, timestamp};

/// Objects and arrays around the value of a field of the document: the document.
const DOCUMENT_DEPTH: usize = 1;
/// Objects and arrays around the value of a field of a metric: the document, the array of metrics, the metric.
const METRIC_DEPTH: usize = 3;

/// Reads one batch. It pulls: [`next_metric`](Self::next_metric) gives one metric a call.
pub struct Parser<'body, 'scratch> {
    cursor: Cursor<'body>,
    bounds: Bounds,
    scratch: &'scratch mut Scratch,
    /// The metric in hand. It has the scratch's memory for tags once a metric is read that is not its own line.
    metric: Metric<'body>,
    /// The timestamp of the metric as it was sent: digits, or the text between quotation marks.
    sent_timestamp: Option<&'body [u8]>,
    stage: Stage,
    /// Metrics read so far.
    metrics: usize,
    /// True while a metric is read: the error then names the metric of index `metrics`, its field, and the tag or text.
    in_metric: bool,
    field: Option<Field>,
    excerpt: Option<Text<'body>>,
}

/// Memory that a parser writes to while it reads: tags, their keys, and the shapes that it expects of the next metrics.
/// Used again for every batch.
pub struct Scratch {
    /// Empty, and the memory for the tags of one metric, which the parser takes and returns.
    tags: Vec<Tag<'static>>,
    keys: Keys,
    shapes: Box<Shapes>,
}

/// Receiver of the metrics of a batch, each in the form in which it was read.
pub(super) trait WriteLines {
    /// A metric whose own bytes are its line.
    fn verbatim(&mut self, metric: &Verbatim<'_>);
    /// A metric by its fields.
    fn fields(&mut self, metric: &Metric<'_>);
}

/// The flag of a field in a set of fields.
fn bit(field: Field) -> u8 {
    1 << field as u8
}

/// The result of one step.
enum Parsed<'body> {
    /// Nothing: the document has ended.
    None,
    /// A metric, whose fields are at hand.
    Metric,
    /// A metric that fits a shape, and the bytes from its first on.
    Fit(Fit, &'body [u8]),
}

enum Stage {
    Start,
    Metrics,
    Done,
    Refused(BatchError),
}

impl Scratch {
    /// Scratch that is large enough for every metric within `bounds`: nothing is allocated later.
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            tags: Vec::with_capacity(bounds.tags_limit),
            keys: Keys::new(bounds.tags_limit),
            shapes: Box::new(Shapes::new()),
        }
    }

    /// The same scratch, every metric read by the grammar: to compare with, as speculation must make no difference.
    #[must_use]
    pub fn without_speculation(mut self) -> Self {
        self.shapes.turn_off();
        self
    }

    /// Metrics in a row that fitted no shape.
    #[cfg(test)]
    pub(super) fn misses(&self) -> u32 {
        self.shapes.misses
    }
}

/// The memory of a vector of tags, for those of another body.
fn recycle<'next>(mut tags: Vec<Tag<'_>>) -> Vec<Tag<'next>> {
    tags.clear();
    // Collecting from a vector's own iterator reuses its allocation; `tests/parser_allocations.rs` makes sure.
    tags.into_iter().map(|_| unreachable!("the vector is empty")).collect()
}

impl Drop for Parser<'_, '_> {
    /// Returns the memory for tags to the scratch.
    fn drop(&mut self) {
        if self.metric.tags.capacity() > 0 {
            self.scratch.tags = recycle(std::mem::take(&mut self.metric.tags));
        }
    }
}

impl<'body, 'scratch> Parser<'body, 'scratch> {
    /// Begins to read `body`.
    pub fn new(body: &'body [u8], bounds: Bounds, scratch: &'scratch mut Scratch) -> Self {
        scratch.shapes.begin_batch();
        Self {
            cursor: Cursor::new(body),
            bounds,
            scratch,
            metric: Metric::default(),
            sent_timestamp: None,
            stage: Stage::Start,
            metrics: 0,
            in_metric: false,
            field: None,
            excerpt: None,
        }
    }

    /// The next metric; `None` once the whole document has been read and is good.
    #[inline]
    pub fn next_metric(&mut self) -> Result<Option<&Metric<'body>>, BatchError> {
        match self.step() {
            Ok(Parsed::None) => Ok(None),
            Ok(Parsed::Metric) => Ok(Some(&self.metric)),
            Ok(Parsed::Fit(fit, text)) => Ok(Some(self.fill(fit, text))),
            Err(fault) => Err(self.refuse(fault)),
        }
    }

    /// Reads on and gives `lines` as many metrics as fit shapes one after the other, or one that does not; `false` once
    /// the whole document has been read and is good.
    #[inline]
    pub(super) fn next_lines(&mut self, lines: &mut impl WriteLines) -> Result<bool, BatchError> {
        self.step_lines(lines).map_err(|fault| self.refuse(fault))
    }

    #[inline]
    fn step_lines(&mut self, lines: &mut impl WriteLines) -> Step<bool> {
        if !self.begin_metric()? {
            return Ok(false);
        }
        if !self.fitting_lines(lines) {
            self.metric()?;
            lines.fields(&self.metric);
        }
        Ok(true)
    }

    /// Gives `lines` the metrics that fit shapes, from the one at the front on, until one is not followed by another as
    /// clients write it. `false`: the one at the front now fits none.
    #[inline]
    fn fitting_lines(&mut self, lines: &mut impl WriteLines) -> bool {
        loop {
            let text = self.cursor.rest();
            let Some(fit) = self.scratch.shapes.read_line(text, &self.bounds) else { return false };
            match self.scratch.shapes.verbatim(fit, text) {
                Some(verbatim) => lines.verbatim(&verbatim),
                None => lines.fields(self.fill(fit, text)),
            }
            self.metrics += 1;
            self.cursor.skip(fit.bytes);
            if self.metrics == self.bounds.batch_metrics_limit || !self.has_next_element() {
                return true;
            }
        }
    }

    /// Metrics read so far.
    #[inline]
    pub(super) fn metrics(&self) -> usize {
        self.metrics
    }

    /// The metric at the front of `text`, which fits a shape.
    #[inline]
    fn fill(&mut self, fit: Fit, text: &'body [u8]) -> &Metric<'body> {
        self.clear();
        self.scratch.shapes.fill(fit, text, &mut self.metric);
        &self.metric
    }

    /// Clears the metric in hand, which has memory for its tags from then on.
    #[inline]
    fn clear(&mut self) {
        if self.metric.tags.capacity() == 0 {
            self.metric.tags = recycle(std::mem::take(&mut self.scratch.tags));
        }
        self.metric.tags.clear();
        self.metric.tags_verbatim = None;
        self.metric.kind = Kind::default();
        self.metric.timestamp_ms = None;
    }

    /// Reads the next metric, and its fields unless it fits a shape.
    #[inline]
    fn step(&mut self) -> Step<Parsed<'body>> {
        if !self.begin_metric()? {
            return Ok(Parsed::None);
        }
        let text = self.cursor.rest();
        if let Some(fit) = self.scratch.shapes.read(text, &self.bounds) {
            self.cursor.skip(fit.bytes);
            self.metrics += 1;
            return Ok(Parsed::Fit(fit, text));
        }
        self.metric()?;
        Ok(Parsed::Metric)
    }

    /// Reads up to the next metric; `false` once the document has ended.
    #[inline]
    fn begin_metric(&mut self) -> Step<bool> {
        let more = match self.stage {
            Stage::Metrics => self.next_element()?,
            Stage::Start => self.open()?,
            Stage::Done => return Ok(false),
            Stage::Refused(error) => return Err(Fault { byte: error.byte, problem: error.problem }),
        };
        if !more {
            self.close()?;
            self.stage = Stage::Done;
            return Ok(false);
        }
        if self.metrics == self.bounds.batch_metrics_limit {
            self.field = Some(Field::Metrics);
            return Err(self.cursor.fault(Problem::MetricsOver { limit: self.bounds.batch_metrics_limit }));
        }
        Ok(true)
    }

    /// Reads what stands between two metrics, first as clients write it: `true` for a comma, `false` for the end.
    #[inline]
    fn next_element(&mut self) -> Step<bool> {
        if self.has_next_element() {
            return Ok(true);
        }
        let more = self.cursor.next_element()?;
        self.cursor.whitespace();
        Ok(more)
    }

    /// Reads the comma between two metrics, if it is followed by another as clients write it.
    #[inline]
    fn has_next_element(&mut self) -> bool {
        let [b',', b'{', ..] = self.cursor.rest() else { return false };
        self.cursor.skip(1);
        true
    }

    /// Reads the document up to its first metric. (An array without any is refused: `true` is all there is to say.)
    #[inline]
    fn open(&mut self) -> Step<bool> {
        // As clients write it, with a metric behind.
        if let Some((br#"{"metrics":["#, [b'{', ..])) = self.cursor.rest().split_first_chunk() {
            self.cursor.skip(br#"{"metrics":["#.len());
            self.stage = Stage::Metrics;
            return Ok(true);
        }
        self.open_anywhere()
    }

    #[cold]
    fn open_anywhere(&mut self) -> Step<bool> {
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
    #[inline]
    fn close(&mut self) -> Step<()> {
        if self.cursor.rest() == b"}" { Ok(()) } else { self.close_anywhere() }
    }

    #[cold]
    fn close_anywhere(&mut self) -> Step<()> {
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

    /// Reads one metric by the grammar, and takes note of its shape.
    #[inline(never)]
    fn metric(&mut self) -> Step<()> {
        let text = self.cursor.rest();
        self.in_metric = true;
        self.members()?;
        self.in_metric = false;
        self.metrics += 1;
        let bytes = text.len() - self.cursor.rest().len();
        self.scratch.shapes.learn(&text[..bytes], &self.metric, self.sent_timestamp);
        Ok(())
    }

    #[inline]
    fn members(&mut self) -> Step<()> {
        let mut cursor = self.cursor;
        let cursor = &mut cursor;
        self.clear();
        self.sent_timestamp = None;
        self.scratch.keys.clear();
        cursor.expect(b'{', Expected::Object)?;
        let mut sent = 0;
        let mut more = cursor.first_member()?;
        while more {
            let start = cursor.byte() - 1;
            self.field = self.field(cursor)?;
            cursor.colon()?;
            if let Some(field) = self.field {
                if sent & bit(field) != 0 {
                    return Err(Fault { byte: start, problem: Problem::Repeated });
                }
                sent |= bit(field);
            }
            match self.field {
                Some(Field::Name) => self.name(cursor)?,
                Some(Field::Value) => self.value(cursor)?,
                // What many libraries write for a field that is not set.
                Some(Field::Type | Field::Timestamp | Field::Tags) if cursor.eat_all(b"null") => {}
                Some(Field::Type) => self.kind(cursor)?,
                Some(Field::Timestamp) => self.timestamp(cursor)?,
                Some(Field::Tags) => self.tags(cursor)?,
                Some(Field::Metrics) | None => cursor.skip_value(METRIC_DEPTH)?,
            }
            self.field = None;
            more = cursor.next_member()?;
        }
        self.cursor = *cursor;
        match [Field::Name, Field::Value].into_iter().find(|&required| sent & bit(required) == 0) {
            None => Ok(()),
            missing => {
                self.field = missing;
                Err(Fault { byte: cursor.byte() - 1, problem: Problem::Missing })
            }
        }
    }

    /// Reads a key of a metric: one of its fields, or `None`. First the spelling that every client uses.
    #[inline]
    fn field(&mut self, cursor: &mut Cursor<'body>) -> Step<Option<Field>> {
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
    fn name(&mut self, cursor: &mut Cursor<'body>) -> Step<()> {
        let start = cursor.byte();
        cursor.expect(b'"', Expected::String)?;
        let name = cursor.string()?;
        let limit = self.bounds.name_bytes_limit;
        if name.raw.is_empty() {
            return Err(Fault { byte: start, problem: Problem::NameEmpty });
        }
        if is_over(&name, limit) {
            return Err(Fault { byte: start, problem: Problem::NameOver { limit } });
        }
        self.metric.name = name;
        Ok(())
    }

    #[inline]
    fn value(&mut self, cursor: &mut Cursor<'body>) -> Step<()> {
        let start = cursor.byte();
        if !matches!(cursor.peek(), Some(b'-' | b'0'..=b'9')) {
            return Err(cursor.unexpected(Expected::Number));
        }
        let number = number::read(cursor)?;
        if !number.is_finite() {
            return Err(Fault { byte: start, problem: Problem::ValueInfinite });
        }
        self.metric.value = number.text;
        Ok(())
    }

    /// Reads the value of `type`. First the spelling that every client uses, then any other.
    #[inline]
    fn kind(&mut self, cursor: &mut Cursor<'body>) -> Step<()> {
        self.metric.kind = if cursor.eat_all(b"\"gauge\"") {
            Kind::Gauge
        } else if cursor.eat_all(b"\"counter\"") {
            Kind::Counter
        } else if cursor.eat_all(b"\"histogram\"") {
            Kind::Histogram
        } else if cursor.eat_all(b"\"summary\"") {
            Kind::Summary
        } else {
            let byte = cursor.byte();
            cursor.expect(b'"', Expected::String)?;
            let sent = cursor.string()?;
            match Kind::OF_JSON.into_iter().find(|kind| sent.means(kind.name().as_bytes())) {
                Some(kind) => kind,
                None => {
                    self.excerpt = Some(sent);
                    return Err(Fault { byte, problem: Problem::TypeUnknown });
                }
            }
        };
        Ok(())
    }

    #[inline]
    fn timestamp(&mut self, cursor: &mut Cursor<'body>) -> Step<()> {
        let byte = cursor.byte();
        let read = match cursor.peek() {
            Some(b'-' | b'0'..=b'9') => {
                let number = number::read(cursor)?;
                self.sent_timestamp = Some(number.text);
                timestamp::from_number(&number)
            }
            Some(b'"') => {
                cursor.eat(b'"');
                let text = cursor.string()?;
                self.excerpt = Some(text);
                self.sent_timestamp = Some(text.raw);
                timestamp::from_text(text.decoded())
            }
            _ => return Err(cursor.unexpected(Expected::Timestamp)),
        };
        self.metric.timestamp_ms = Some(read.map_err(|problem| Fault { byte, problem })?);
        self.excerpt = None;
        Ok(())
    }

    #[inline]
    fn tags(&mut self, cursor: &mut Cursor<'body>) -> Step<()> {
        let text = cursor.rest();
        cursor.expect(b'{', Expected::Object)?;
        // What the object would take without whitespace: `{` and, a tag, `"":""` with its comma, or `}` in the last
        // one's place.
        let mut tight_bytes = 1;
        let mut escapes = 0;
        let mut more = cursor.first_member()?;
        if !more {
            tight_bytes = 2;
        }
        while more {
            let start = cursor.byte() - 1;
            let key = cursor.string()?;
            let limit = self.bounds.tags_limit;
            if self.metric.tags.len() == limit {
                return Err(Fault { byte: start, problem: Problem::TagsOver { limit } });
            }
            let limit = self.bounds.tag_bytes_limit;
            if is_over(&key, limit) {
                self.excerpt = Some(key);
                return Err(Fault { byte: start, problem: Problem::TagOver { limit } });
            }
            if self.scratch.keys.has(&self.metric.tags, &key) {
                self.excerpt = Some(key);
                return Err(Fault { byte: start, problem: Problem::Repeated });
            }
            let value = self.tag_value(cursor).inspect_err(|_| self.excerpt = Some(key))?;
            self.metric.tags.push(Tag { key, value });
            tight_bytes += key.raw.len() + value.raw.len() + r#""":"","#.len();
            escapes += key.escapes + value.escapes;
            more = cursor.next_member()?;
        }
        let text = &text[..text.len() - cursor.rest().len()];
        self.metric.tags_verbatim = (escapes == 0 && text.len() == tight_bytes).then_some(text);
        Ok(())
    }

    #[inline]
    fn tag_value(&mut self, cursor: &mut Cursor<'body>) -> Step<Text<'body>> {
        cursor.colon()?;
        let start = cursor.byte();
        cursor.expect(b'"', Expected::String)?;
        let value = cursor.string()?;
        let limit = self.bounds.tag_bytes_limit;
        if is_over(&value, limit) {
            return Err(Fault { byte: start, problem: Problem::TagOver { limit } });
        }
        Ok(value)
    }
}

/// Returns whether a text means more bytes than these. It never means more than spell it.
#[inline]
fn is_over(text: &Text<'_>, limit: usize) -> bool {
    text.raw.len() > limit && text.decoded().count() > limit
}
