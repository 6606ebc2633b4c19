//! Prometheus text exposition format and OpenMetrics: version 0.0.4 of the one, 1.0 of the other.
//!
//! Sources: the format's page in Prometheus' documentation, the OpenMetrics specification, and the parsers of
//! Prometheus (`model/textparse`) and of its push gateway (`expfmt`). Both formats also take the newer syntax of quoted
//! names: `{"my.metric", "a.label"="x"} 1`.
//!
//! A line that does not parse is a rejected metric, and the other lines are kept. Where the two parsers of Prometheus
//! differ, what one of them takes is taken, with these exceptions: labels need commas between them, a label's value
//! holds no line feed, and a value stands apart from an unquoted name (`a+1` is not `a 1`). More than they take: a
//! carriage return at the end of a line of 0.0.4; comments, blank lines and unknown types in OpenMetrics; a last line
//! without a line feed in 0.0.4. OpenMetrics has one space between the tokens of a line, and must end with `# EOF`.
//!
//! - Values: the numbers of Go's `ParseFloat` without hexadecimal ones and underscores, as Prometheus has it. A number
//!   that is one in JSON too keeps its digits.
//! - Labels: one with an empty value is no label at all, in Prometheus' data model. A repeated label, and `__name__`,
//!   is [`Reject::Tags`]; repeats that are empty or replaced by a label of the request are not noticed. A backslash
//!   before any other character than `\`, `"` and `n` is a backslash.
//! - Types: samples of histograms, summaries and OpenMetrics' types belong to the family that a `# TYPE` line names:
//!   first the last one, then the one of their very name, then the one of their name without its suffix.
//! - OpenMetrics: exemplars are checked, dropped and counted ([`Skip::Exemplar`]), and so are the `_created` samples of
//!   counters, histograms and summaries, which say when a series began ([`Skip::Created`]). Timestamps are seconds,
//!   brought to milliseconds by floor, from their digits.
//!
//! The samples of a family stand one after the other, so most lines begin as the line before them does. The series of
//! the bytes that two lines share, up to a comma between labels, is taken over as it was read there; and where only one
//! value differs, so are the labels behind it. A line whose name and labels came before is not read at all but for its
//! value.

use memchr::{memchr, memchr2};

use super::span::shared_bytes;
use crate::block::Blocks;
use crate::cursor::Cursor;
use crate::limits::{TEXT_KEPT_BYTES_MAX, TEXT_PLACES_MAX};
use crate::sink::Part;
use crate::{Bounds, DecodeError, Kind, LineSink, Reject, Rejected, Series, SeriesMark, Skip, Value, number, shape};
use cached::{Cached, Found};
use family::{Families, Member};
use tokens::{Quoted, Tokens};

mod cached;
mod family;
mod group;
mod tokens;

pub use group::{Labels, group_labels};

/// The format of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text exposition 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// Options that a request gives for its body.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The format of the body.
    pub format: Format,
    /// Labels of all samples, each name once; they replace the body's labels of the same name, and an empty value
    /// removes them.
    pub labels: &'a [(Vec<u8>, Vec<u8>)],
}

/// The decoder of text. One is used for all bodies of a core.
#[derive(Debug)]
pub struct Text {
    series: Series,
    families: Families,
    before: LineBefore,
    cached: Cached,
    /// Format of the present body.
    format: Format,
    /// A label's name and value without their escapes.
    key: Vec<u8>,
    value: Vec<u8>,
}

/// The places in the line of the sample before at which the next line may go on with what was read up to there: behind
/// the opening brace and behind the commas between labels. What is read of a line depends on no byte behind such a
/// place.
#[derive(Debug, Default)]
struct LineBefore {
    /// Offsets of the line in the body.
    start: usize,
    end: usize,
    /// Length of its name, which is unquoted: a line with a quoted one has no places.
    name_bytes: usize,
    /// Offsets in the line, ascending, and the series up to there.
    places: Vec<(usize, SeriesMark)>,
    /// Offset behind the closing brace and number of tags there, if there is a place before each label.
    end_of_labels: Option<(usize, usize)>,
}

/// The labels that a line has in common with the line before.
#[derive(Clone, Copy)]
enum Shared {
    Nothing,
    /// Labels before the last place.
    UpToPlace,
    /// All but the value of the label at the place with this index, which has these offsets.
    AllButValue {
        index: usize,
        start: usize,
        end: usize,
    },
}

impl LineBefore {
    /// Takes `line` as the one before the next, and returns what it shares with the one before itself.
    #[inline]
    fn replace(&mut self, body: &[u8], line: &[u8]) -> Shared {
        let before = body.get(self.start..self.end).unwrap_or_default();
        self.start = (line.as_ptr() as usize).saturating_sub(body.as_ptr() as usize);
        self.end = self.start + line.len();
        if self.places.is_empty() {
            return Shared::Nothing;
        }
        let shared = shared_bytes(before, line);
        let places = self.places.iter().take_while(|(offset, _)| *offset <= shared).count();
        if let Some(index) = places.checked_sub(1)
            && let Some((start, end)) = self.one_value(before, line, shared, index)
        {
            return Shared::AllButValue { index, start, end };
        }
        self.go_on_at(places)
    }

    /// Drops all places but the first `places`.
    #[inline]
    fn go_on_at(&mut self, places: usize) -> Shared {
        self.places.truncate(places);
        self.end_of_labels = None;
        if places == 0 { Shared::Nothing } else { Shared::UpToPlace }
    }

    /// The offsets in `line` of the value of the label at the place `index`, if its labels differ from those of the
    /// line `before` in nothing else. Then the places are those of `line`.
    #[inline]
    fn one_value(&mut self, before: &[u8], line: &[u8], shared: usize, index: usize) -> Option<(usize, usize)> {
        let (labels_end, tags) = self.end_of_labels?;
        let (place, mark) = *self.places.get(index)?;
        let next = self.places.get(index + 1).copied();
        // Up to the quotation mark before the value both are the same; the key has none.
        let start = place + memchr(b'"', line.get(place..shared)?)? + 1;
        if line[start - 2] != b'=' || next.map_or(tags, |(_, mark)| mark.tags()) != mark.tags() + 1 {
            return None;
        }
        // So they are from the quotation mark behind it on, which stands before a comma or the brace.
        let before_end = next.map_or(labels_end, |(offset, _)| offset).checked_sub(2)?;
        let rest = before.get(before_end..labels_end)?;
        let end = start + memchr2(b'"', b'\\', line.get(start..)?)?;
        if end == start || rest[0] != b'"' || !line[end..].starts_with(rest) {
            return None;
        }
        for (offset, _) in &mut self.places[index + 1..] {
            *offset = *offset + end - before_end;
        }
        self.end_of_labels = Some((labels_end + end - before_end, tags));
        Some((start, end))
    }
}

/// Fields of a line besides the series.
struct Sample<'a> {
    member: Member,
    value: Value<'a>,
    timestamp_ms: Option<i64>,
    has_exemplar: bool,
}

impl Text {
    /// A decoder that holds its series to `bounds`.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            series: Series::new(bounds),
            families: Families::new(),
            before: LineBefore::default(),
            cached: Cached::new(bounds),
            format: Format::Prometheus,
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Decodes `body`. Places of rejected metrics are line numbers from 1.
    ///
    /// # Errors
    /// If an OpenMetrics body does not end with `# EOF`, or if the sink's bounds are exceeded. Nothing of the body may
    /// be stored then.
    pub fn decode(&mut self, body: &[u8], options: &Options<'_>, sink: &mut LineSink<'_>) -> Result<(), DecodeError> {
        let is_open_metrics = options.format == Format::OpenMetrics;
        if is_open_metrics {
            ends_with_eof(body)?;
        }
        self.format = options.format;
        self.families.clear();
        self.series.clear();
        self.before.go_on_at(0);
        let are_labels_stored = options
            .labels
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .try_for_each(|(key, value)| self.series.push_tag(key, value));
        let base = self.series.mark();
        self.cached.begin_body(options, are_labels_stored.is_ok(), &self.series, base);
        let mut rest = body;
        let mut number = 0;
        while !rest.is_empty() {
            let start = body.len() - rest.len();
            if rest[0] != b'#'
                && let Some(next) = self.push_expected(body, rest, sink)
            {
                (rest, number) = (next, number + 1);
                continue;
            }
            let whole;
            (whole, rest) = match memchr(b'\n', rest) {
                Some(end) => (&rest[..end], &rest[end + 1..]),
                None => (rest, &rest[rest.len()..]),
            };
            number += 1;
            let line = if is_open_metrics { whole } else { trim_line(whole) };
            match line {
                [] => continue,
                [b'#', comment @ ..] => {
                    if is_open_metrics && comment == b" EOF" && !rest.is_empty() {
                        return Err(DecodeError::Malformed { byte: start, text: "there is text behind # EOF" });
                    }
                    self.families.comment(body, comment);
                    continue;
                }
                _ => {}
            }
            if self.push_cached(body, line, options.format, sink) {
                continue;
            }
            let sample = self.sample(body, line, options, base);
            match are_labels_stored.and(sample) {
                Ok(sample) => self.push(&sample, line, sink, number)?,
                Err(reason) => {
                    sink.reject_as(1, Rejected { offset: start, len: whole.len(), ..Rejected::new(reason, number) })?;
                }
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        sample: &Sample<'_>,
        line: &[u8],
        sink: &mut LineSink<'_>,
        number: usize,
    ) -> Result<(), DecodeError> {
        match sample.member {
            Member::Created => sink.skip(Skip::Created, 1),
            Member::Of(kind) => {
                let stored = sink.metrics();
                sink.push(&self.series, kind, sample.value, sample.timestamp_ms, number)?;
                if sink.metrics() > stored {
                    self.cached.note(line, &self.series);
                }
            }
        }
        if sample.has_exemplar {
            sink.skip(Skip::Exemplar, 1);
        }
        Ok(())
    }

    /// Writes the line of the sample at the front of `rest` if its name and labels are the expected ones, with one
    /// space and a number of JSON behind them and nothing else. Returns what is behind the line; `None`, and nothing is
    /// done, if it is not as simple.
    #[inline]
    fn push_expected<'a>(&mut self, body: &[u8], rest: &'a [u8], sink: &mut LineSink<'_>) -> Option<&'a [u8]> {
        let found = self.cached.find_expected(rest)?;
        let value = rest[found.end..].strip_prefix(if found.has_labels { &b" "[..] } else { b"" })?;
        if !matches!(value, [b'0'..=b'9' | b'-', ..]) {
            return None;
        }
        // With what follows the line in reach, digits are looked at many at once.
        let end = shape::value(Blocks::new(value)?, 0)?;
        let next = value.get(end..)?.strip_prefix(b"\n")?;
        // Of `_created` it depends on more.
        let Member::Of(kind) = self.families.member(body, found.name, self.format) else { return None };
        self.cached.push_digits(&found, kind, Part::new(value, end), sink).then_some(next)
    }

    /// Writes the line of a sample whose name and labels are in the cache. Returns false, and has done nothing, if they
    /// are not, or if what is behind them is at fault: then [`sample`](Self::sample) finds out.
    #[inline]
    fn push_cached(&mut self, body: &[u8], line: &[u8], format: Format, sink: &mut LineSink<'_>) -> bool {
        let Some(found) = self.cached.find(line) else { return false };
        let Found { name, has_labels, end, .. } = found;
        let mut tokens = Tokens::new(line, format);
        // The space behind a name alone has not been read.
        tokens.skip(end - usize::from(!has_labels));
        let is_apart = tokens.blanks() || has_labels && format == Format::Prometheus;
        let Ok(sample) = self.sample_of(body, name, tokens, is_apart, format) else { return false };
        match sample.member {
            Member::Created => sink.skip(Skip::Created, 1),
            Member::Of(kind) if !self.cached.push(&found, kind, sample.value, sample.timestamp_ms, sink) => {
                return false;
            }
            Member::Of(_) => {}
        }
        if sample.has_exemplar {
            sink.skip(Skip::Exemplar, 1);
        }
        true
    }

    /// Reads a line that is neither empty nor a comment; its series is in `self.series` then.
    #[inline]
    fn sample<'a>(
        &mut self,
        body: &[u8],
        line: &'a [u8],
        options: &Options<'_>,
        base: SeriesMark,
    ) -> Result<Sample<'a>, Reject> {
        let format = options.format;
        let mut tokens = Tokens::new(line, format);
        let mut name = None;
        let mut is_apart = false;
        let mut has_labels = true;
        let shared = match self.before.replace(body, line) {
            Shared::AllButValue { index, start, end } if !self.replace_value(line, index, start, end) => {
                self.before.go_on_at(index + 1)
            }
            shared => shared,
        };
        match (shared, self.before.places.last().copied()) {
            (Shared::UpToPlace, Some((bytes, mark))) => {
                self.series.reset_to(mark);
                tokens.skip(bytes);
                name = Some(&line[..self.before.name_bytes]);
            }
            (Shared::AllButValue { .. }, _) => name = Some(&line[..self.before.name_bytes]),
            _ => {
                self.series.reset_to(base);
                if line[0] != b'{' {
                    let unquoted = tokens.metric_name()?;
                    self.series.push_name(unquoted)?;
                    name = Some(unquoted);
                    is_apart = tokens.blanks();
                }
                has_labels = tokens.eat(b'{');
                if has_labels && let Some(unquoted) = name {
                    self.before.name_bytes = unquoted.len();
                    self.before.places.push((line.len() - tokens.bytes(), self.series.mark()));
                }
            }
        }
        if let (Shared::AllButValue { .. }, Some((bytes, _))) = (shared, self.before.end_of_labels) {
            tokens.skip(bytes);
            is_apart |= tokens.blanks() || format == Format::Prometheus;
        } else if has_labels {
            self.labels(line, &mut tokens, &mut name, options)?;
            if (1..TEXT_PLACES_MAX).contains(&self.before.places.len()) {
                self.before.end_of_labels = Some((line.len() - tokens.bytes(), self.series.tags()));
            }
            is_apart |= tokens.blanks() || format == Format::Prometheus;
        }
        let name = name.filter(|_| self.series.is_named()).ok_or(Reject::Name)?;
        self.sample_of(body, name, tokens, is_apart, format)
    }

    /// Reads a line behind its name and labels, and behind the blanks there.
    #[inline]
    fn sample_of<'a>(
        &mut self,
        body: &[u8],
        name: &[u8],
        mut tokens: Tokens<'a>,
        is_apart: bool,
        format: Format,
    ) -> Result<Sample<'a>, Reject> {
        let value = match format {
            Format::Prometheus if !is_apart => return Err(Reject::Syntax),
            Format::Prometheus => tokens.word(),
            Format::OpenMetrics => tokens.spaced_word()?,
        };
        let value = read_value(value)?;
        let (timestamp_ms, has_exemplar) = match format {
            Format::Prometheus => (tokens.timestamp()?, false),
            Format::OpenMetrics => tokens.timestamp_and_exemplar()?,
        };
        Ok(Sample { member: self.families.member(body, name, format), value, timestamp_ms, has_exemplar })
    }

    /// Gives the label at the place `index` the value at these offsets of `line`.
    #[inline]
    fn replace_value(&mut self, line: &[u8], index: usize, start: usize, end: usize) -> bool {
        let Some(&(_, mark)) = self.before.places.get(index) else { return false };
        self.series.replace_value(mark.tags(), &line[start..end])
    }

    /// Reads labels behind their opening brace, and the name if it is among them.
    fn labels<'a>(
        &mut self,
        line: &[u8],
        tokens: &mut Tokens<'a>,
        name: &mut Option<&'a [u8]>,
        options: &Options<'_>,
    ) -> Result<(), Reject> {
        while !tokens.closing_brace() {
            let (key, value) = tokens.label()?;
            match value {
                Some(value) => self.push_label(key, value, options)?,
                None if name.is_some() => return Err(Reject::Syntax),
                None => {
                    *name = Some(key.raw);
                    self.series.push_name(key.text(&mut self.key))?;
                }
            }
            let is_comma = tokens.comma()?;
            if is_comma && (1..TEXT_PLACES_MAX).contains(&self.before.places.len()) {
                self.before.places.push((line.len() - tokens.bytes(), self.series.mark()));
            }
        }
        Ok(())
    }

    #[inline]
    fn push_label(&mut self, key: Quoted<'_>, value: Quoted<'_>, options: &Options<'_>) -> Result<(), Reject> {
        let key = key.text(&mut self.key);
        let value = value.text(&mut self.value);
        if key.is_empty() || key == b"__name__" {
            return Err(Reject::Tags);
        }
        if value.is_empty() || options.labels.iter().any(|(fixed, _)| fixed == key) {
            return Ok(());
        }
        self.series.push_tag(key, value)
    }

    /// Frees memory that a large body made it grow to.
    pub fn trim(&mut self) {
        self.series.trim();
        if self.kept_bytes() - self.series.kept_bytes() - self.cached.kept_bytes() > TEXT_KEPT_BYTES_MAX {
            self.families = Families::new();
            self.key = Vec::new();
            self.value = Vec::new();
            self.before = LineBefore::default();
        }
    }

    /// Capacity held between bodies, in bytes.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let places = self.before.places.capacity() * size_of::<(usize, SeriesMark)>();
        let texts = self.key.capacity() + self.value.capacity();
        self.series.kept_bytes() + self.families.kept_bytes() + self.cached.kept_bytes() + texts + places
    }
}

/// Checks the end of an OpenMetrics body: it distinguishes a whole body from a part of one.
fn ends_with_eof(body: &[u8]) -> Result<(), DecodeError> {
    let last_line = body.strip_suffix(b"\n").unwrap_or(body);
    match last_line.strip_suffix(b"# EOF") {
        Some([] | [.., b'\n']) => Ok(()),
        _ => Err(DecodeError::Malformed { byte: body.len(), text: "the body does not end with # EOF" }),
    }
}

/// A line of 0.0.4 without blanks around it, and without the carriage return at its end.
#[inline]
fn trim_line(line: &[u8]) -> &[u8] {
    let mut line = line.strip_suffix(b"\r").unwrap_or(line);
    while let [b' ' | b'\t', rest @ ..] = line {
        line = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    line
}

/// Reads a value. Numbers of JSON keep their digits.
#[inline]
fn read_value(token: &[u8]) -> Result<Value<'_>, Reject> {
    if let [b'0'..=b'9' | b'-', ..] = token {
        let mut cursor = Cursor::new(token);
        if let Ok(number) = number::read(&mut cursor)
            && cursor.rest().is_empty()
        {
            return if number.is_finite() { Ok(Value::Digits(number.text)) } else { Err(Reject::Value) };
        }
    }
    read_other_value(token).map(Value::Float)
}

/// Reads what `ParseFloat` takes and JSON does not: signs, points and zeros that are not needed, infinities and NaN.
#[cold]
fn read_other_value(token: &[u8]) -> Result<f64, Reject> {
    let (sign, magnitude) = match token {
        [b'-', magnitude @ ..] => (-1.0, magnitude),
        [b'+', magnitude @ ..] => (1.0, magnitude),
        _ => (1.0, token),
    };
    if magnitude.eq_ignore_ascii_case(b"inf") || magnitude.eq_ignore_ascii_case(b"infinity") {
        return Ok(sign * f64::INFINITY);
    }
    if token.eq_ignore_ascii_case(b"nan") {
        return Ok(f64::NAN);
    }
    read_decimal(token).filter(|float| float.is_finite()).ok_or(Reject::Value)
}

/// Reads a decimal number without names such as `inf`.
fn read_decimal(token: &[u8]) -> Option<f64> {
    let is_decimal = token.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    if is_decimal { std::str::from_utf8(token).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
