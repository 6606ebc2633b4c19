//! The JSON of collectd's write_http (`Format "JSON"`): an array of value lists.
//!
//! `[{"values":[…],"dstypes":[…],"dsnames":[…],"time":s,"interval":s,"host":…,"plugin":…,"plugin_instance":…,"type":…,
//! "type_instance":…,"meta":{…}}]`, as collectd's `format_json.c` writes it. Each value is a metric:
//! - its name is `collectd_plugin_type_dsname`, all three parts always there (`collectd_load_load_shortterm`,
//!   `collectd_memory_memory_value`), so that no list of collectd's types is needed to derive it;
//! - `host`, `plugin_instance` and `type_instance` are tags where they are not empty;
//! - `derive` and `counter` are counters. `gauge` is a gauge and so is `absolute`, which collectd resets at each read:
//!   it is no value that only grows. (With `StoreRates true` collectd sends rates under the types of their sources.)
//! - `null`, which stands for NaN and the infinities, is skipped and counted;
//! - the time is in seconds with three decimals and kept to the millisecond; `interval` and `meta` are ignored.
//!
//! A list whose three arrays differ in length, or whose members are of another kind, is rejected with all of its
//! values. A notification (`Notifications true`, the form of Alertmanager) is skipped and counted as metadata. The
//! places of rejected metrics are indices of the array.
//!
//! Most members of a list are those of the list before it: these are compared and not read, and the tags of a list with
//! the same host, plugin and type stay as they are spelled. A list that came before, in any body, is in the cache: but
//! for its host, time and values it is compared as a whole.

mod cached;

use super::json::{self, Scalar};
use crate::cursor::Cursor;
use crate::error::Expected;
use crate::limits::{PROTOCOL_METRICS_MAX, SERIES_KEPT_BYTES_MAX};
use crate::text::Text;
use crate::{Bounds, DecodeError, Kind, LineSink, Reject, Series, SeriesMark, Skip, Value};
use cached::Cached;

/// A decoder of collectd's bodies.
#[derive(Debug)]
pub struct Collectd {
    series: Series,
    lists: Lists<'static>,
    /// The meaning of a text with escapes.
    decoded: Vec<u8>,
    cached: Cached,
}

/// The arrays of the value list in hand, one element for each value.
#[derive(Debug, Default)]
struct Lists<'a> {
    values: Vec<Sample<'a>>,
    /// `None` is an unknown type.
    kinds: Vec<Option<Kind>>,
    names: Vec<Text<'a>>,
    /// The other members, those of the list before until they are read.
    head: Head<'a>,
    members: json::Members<'a>,
    /// The list that the series of the decoder describes, and its mark: the name up to that of a value, and all tags.
    described: Option<(Head<'a>, SeriesMark)>,
}

#[derive(Debug, Clone, Copy)]
enum Sample<'a> {
    Null,
    /// No number, or one that is infinite as a float.
    Invalid,
    Digits(&'a [u8]),
}

/// The other members of a value list.
#[derive(Debug, Default, Clone, Copy)]
struct Head<'a> {
    has_values: bool,
    is_notification: bool,
    /// A member is of another kind than it should be.
    is_invalid: bool,
    timestamp_ms: Option<i64>,
    host: Text<'a>,
    plugin: Text<'a>,
    plugin_instance: Text<'a>,
    kind: Text<'a>,
    kind_instance: Text<'a>,
}

impl Collectd {
    /// A decoder whose metrics are held to `bounds`.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let (series, cached) = (Series::new(bounds), Cached::new(bounds));
        Self { series, lists: Lists::default(), decoded: Vec::new(), cached }
    }

    /// Decodes a body into `sink`.
    ///
    /// # Errors
    /// If it is no array in JSON, or if the bounds of `sink` are exceeded: nothing of it may be stored.
    pub fn decode(&mut self, body: &[u8], sink: &mut LineSink<'_>) -> Result<(), DecodeError> {
        let mut lists = std::mem::take(&mut self.lists).recycle();
        let result = self.decode_lists(&mut lists, body, sink);
        self.lists = lists.recycle();
        result
    }

    fn decode_lists<'a>(
        &mut self,
        lists: &mut Lists<'a>,
        body: &'a [u8],
        sink: &mut LineSink<'_>,
    ) -> Result<(), DecodeError> {
        let mut cursor = Cursor::new(body);
        cursor.whitespace();
        if cursor.peek() != Some(b'[') {
            return Err(cursor.unexpected(Expected::Array).into());
        }
        let mut at = 0;
        json::array(&mut cursor, 0, |cursor| {
            let list = cursor.rest();
            if let Some(bytes) = self.cached.push(list, sink) {
                cursor.skip(bytes);
            } else {
                lists.read(cursor)?;
                let base = self.store(lists, sink, at)?;
                if let Some(base) = base {
                    self.cached.note(&list[..list.len() - cursor.rest().len()], lists, &mut self.series, base);
                }
            }
            at += 1;
            Ok(())
        })?;
        json::end(cursor)
    }

    /// Stores the metrics of one value list. Returns the mark of its series, which has its tags and what the names of
    /// its values begin with; `None` if it is rejected as a whole.
    fn store(
        &mut self,
        lists: &mut Lists<'_>,
        sink: &mut LineSink<'_>,
        at: usize,
    ) -> Result<Option<SeriesMark>, DecodeError> {
        let head = lists.head;
        let count = lists.values.len();
        if head.is_notification && !head.has_values {
            sink.skip(Skip::Metadata, 1);
            return Ok(None);
        }
        if head.is_invalid || count == 0 || lists.kinds.len() != count || lists.names.len() != count {
            sink.reject(Reject::Syntax, u32::try_from(count.max(1)).unwrap_or(u32::MAX), at)?;
            return Ok(None);
        }
        let described = self.describe(lists);
        let base = lists.described.map_or_else(|| self.series.mark(), |(_, mark)| mark);
        for ((value, kind), name) in lists.values.iter().zip(&lists.kinds).zip(&lists.names) {
            let digits = match (value, described) {
                (Sample::Null, _) => {
                    sink.skip(Skip::Null, 1);
                    continue;
                }
                (_, Err(reason)) => {
                    sink.reject(reason, 1, at)?;
                    continue;
                }
                (Sample::Invalid, _) => {
                    sink.reject(Reject::Value, 1, at)?;
                    continue;
                }
                (Sample::Digits(digits), Ok(())) => digits,
            };
            let Some(kind) = *kind else {
                sink.reject(Reject::Syntax, 1, at)?;
                continue;
            };
            self.series.reset_to(base);
            match self.push_name(name) {
                Ok(()) => sink.push(&self.series, kind, Value::Digits(digits), head.timestamp_ms, at)?,
                Err(reason) => sink.reject(reason, 1, at)?,
            }
        }
        Ok(described.is_ok().then_some(base))
    }

    /// Makes the series what the values of a list have in common.
    fn describe(&mut self, lists: &mut Lists<'_>) -> Result<(), Reject> {
        if lists.described.is_some_and(|(before, _)| before.describes_the_same(&lists.head)) {
            return Ok(());
        }
        lists.described = None;
        let head = &lists.head;
        self.series.clear();
        self.series.push_name(b"collectd_")?;
        for part in [&head.plugin, &head.kind] {
            self.push_name(part)?;
            self.series.push_name(b"_")?;
        }
        for (key, value) in [
            (&b"host"[..], &head.host),
            (b"plugin_instance", &head.plugin_instance),
            (b"type_instance", &head.kind_instance),
        ] {
            let value = json::plain(value, &mut self.decoded);
            if !value.is_empty() {
                self.series.push_unique_tag(key, value)?;
            }
        }
        lists.described = Some((lists.head, self.series.mark()));
        Ok(())
    }

    /// Appends a part of the name, which may not be empty.
    fn push_name(&mut self, part: &Text<'_>) -> Result<(), Reject> {
        let part = json::plain(part, &mut self.decoded);
        if part.is_empty() { Err(Reject::Name) } else { self.series.push_name(part) }
    }

    /// Frees memory that a large body made it grow to.
    pub fn trim(&mut self) {
        self.series.trim();
        if self.lists.bytes() + self.decoded.capacity() > SERIES_KEPT_BYTES_MAX {
            (self.lists, self.decoded) = (Lists::default(), Vec::new());
        }
    }

    /// Capacity held between bodies, in bytes.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.series.kept_bytes() + self.lists.bytes() + self.decoded.capacity() + self.cached.kept_bytes()
    }
}

impl Head<'_> {
    /// True if the series of both have the same names and tags.
    fn describes_the_same(&self, other: &Self) -> bool {
        let texts = |head: &Self| [head.kind, head.plugin, head.host, head.plugin_instance, head.kind_instance];
        texts(self).iter().zip(texts(other)).all(|(one, other)| one.raw() == other.raw())
    }
}

impl<'a> Lists<'a> {
    fn recycle<'next>(self) -> Lists<'next> {
        Lists {
            values: json::recycle(self.values),
            kinds: json::recycle(self.kinds),
            names: json::recycle(self.names),
            head: Head::default(),
            members: self.members.recycle(),
            described: None,
        }
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<Sample<'_>>()
            + self.kinds.capacity() * size_of::<Option<Kind>>()
            + self.names.capacity() * size_of::<Text<'_>>()
            + self.members.kept_bytes()
    }

    /// Reads an element of the body.
    fn read(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        let start = *cursor;
        let mut members = std::mem::take(&mut self.members);
        if !members.read_next(cursor, |cursor, member| self.read_member(cursor, member))? {
            *cursor = start;
            self.values.clear();
            self.kinds.clear();
            self.names.clear();
            self.head = Head::default();
            let is_object = members.read_first(cursor, 1, |cursor, member| self.read_member(cursor, member))?;
            self.head.is_invalid |= !is_object;
        }
        if self.head.is_invalid {
            members.clear();
        }
        self.members = members;
        Ok(())
    }

    fn read_member(&mut self, cursor: &mut Cursor<'a>, member: &[u8]) -> Result<(), DecodeError> {
        let head = &mut self.head;
        let is_valid = match member {
            b"values" => {
                head.has_values = true;
                read_array(cursor, &mut self.values, sample)?
            }
            b"dstypes" => read_array(cursor, &mut self.kinds, |scalar| match scalar {
                Scalar::Text(text) => kind(&text),
                _ => None,
            })?,
            // A name that is no text is rejected as an empty one.
            b"dsnames" => read_array(cursor, &mut self.names, |scalar| match scalar {
                Scalar::Text(text) => text,
                _ => Text::default(),
            })?,
            b"time" => match json::scalar(cursor, 2)? {
                Scalar::Number(seconds) => {
                    head.timestamp_ms = Some(seconds.seconds_to_ms());
                    true
                }
                Scalar::Null => {
                    head.timestamp_ms = None;
                    true
                }
                Scalar::Text(_) | Scalar::Other => false,
            },
            b"host" => json::text(cursor, 2, &mut head.host)?,
            b"plugin" => json::text(cursor, 2, &mut head.plugin)?,
            b"plugin_instance" => json::text(cursor, 2, &mut head.plugin_instance)?,
            b"type" => json::text(cursor, 2, &mut head.kind)?,
            b"type_instance" => json::text(cursor, 2, &mut head.kind_instance)?,
            other => {
                head.is_notification |= other == b"labels";
                cursor.skip_value(2)?;
                true
            }
        };
        head.is_invalid |= !is_valid;
        Ok(())
    }
}

/// Reads an array into `list`; `false` if the value is none.
fn read_array<'a, T>(
    cursor: &mut Cursor<'a>,
    list: &mut Vec<T>,
    read: impl Fn(Scalar<'a>) -> T,
) -> Result<bool, DecodeError> {
    list.clear();
    json::array(cursor, 2, |cursor| {
        // Each value is a metric, so a longer array is over the bound of metrics by itself.
        if list.len() == PROTOCOL_METRICS_MAX {
            return Err(DecodeError::TooManyMetrics);
        }
        list.push(read(json::scalar(cursor, 3)?));
        Ok(())
    })
}

fn sample(scalar: Scalar<'_>) -> Sample<'_> {
    match scalar {
        Scalar::Null => Sample::Null,
        Scalar::Number(number) if number.is_finite() => Sample::Digits(number.text),
        _ => Sample::Invalid,
    }
}

fn kind(text: &Text<'_>) -> Option<Kind> {
    [(&b"gauge"[..], Kind::Gauge), (b"derive", Kind::Counter), (b"counter", Kind::Counter), (b"absolute", Kind::Gauge)]
        .into_iter()
        .find_map(|(name, kind)| text.means(name).then_some(kind))
}

#[cfg(test)]
mod tests;
