//! Series of Datadog's agents and API clients: version 1 and 2 in JSON, version 2 in Protocol Buffers.
//!
//! Version 1 is `{"series":[{"metric":…,"points":[[s,v],…],"type":"gauge|rate|count","host":…,"device":…,
//! "tags":["k:v"]}]}`, with seconds that may have a fraction. Version 2 has `points:[{"timestamp":s,"value":v}]`,
//! `type` as a number and `resources:[{"type":…,"name":…}]`, in JSON or as the `MetricPayload` of the public
//! `agent_payload.proto`. Each point is a metric:
//! - its name is the one sent, dots and all;
//! - a `gauge` and a `rate` (per second) are gauges; a `count` is what was counted in an interval, not a value that
//!   only grows, so it is a gauge with the tag `__temporality__="delta"`, as other protocols' deltas are. Version 1
//!   without a type is a gauge, as Datadog has it; version 2 without one and all unknown types are untyped;
//! - `host`, `device` and the resources of these two types are the tags `host` and `device`; a resource of another type
//!   is the tag `resource_` and its type;
//! - `k:v` is split at its first colon and `k` alone is a tag with an empty value. Tags of Datadog are a set, with
//!   several values under one key where the log has one: the values are joined by commas, in order and each of them
//!   once. Keys are in order too, so that one set has one spelling;
//! - `null` values are skipped and counted. Numbers keep their digits; NaN and the infinities, which JSON cannot say,
//!   are rejected in Protocol Buffers too.
//!
//! Most members of a series are those of the series before it: in JSON these are compared and not read, and a series
//! with the same host, resources and tags keeps the tags that are spelled. A series that came before, in any body, is
//! in the cache: but for its host and point it is compared as a whole.
//!
//! `interval`, `unit`, `source_type_name` and `metadata` are ignored. The places of rejected metrics are indices of
//! series.

use super::json::{self, Scalar};
use super::protobuf::Message;
use crate::cursor::Cursor;
use crate::error::{Expected, Problem};
use crate::limits::{PROTOCOL_METRICS_MAX, SERIES_KEPT_BYTES_MAX};
use crate::text::Text;
use crate::{Bounds, DecodeError, Kind, LineSink, Reject, Series, Skip, Value};

mod cached;
mod list;
mod tags;

use cached::{Cached, Encoding};
use list::List;
use tags::TagTable;

/// A decoder of Datadog's bodies.
#[derive(Debug)]
pub struct Datadog {
    tags_limit: usize,
    series: Series,
    lists: Lists<'static>,
    table: TagTable,
    /// The meaning of a text with escapes.
    decoded: Vec<u8>,
    cached: Cached,
}

/// The lists of the series in hand.
#[derive(Debug, Default)]
struct Lists<'a> {
    points: Vec<Point<'a>>,
    tags: List<Text<'a>>,
    resources: List<Resource<'a>>,
    /// The other members, those of the series before until they are read.
    head: Head<'a>,
    members: json::Members<'a>,
    /// The head of a series before with the tags that the series of the decoder has, which are those of the lists.
    described: Option<Head<'a>>,
}

#[derive(Debug, Clone, Copy)]
enum Point<'a> {
    Null,
    Invalid(Reject),
    Valid { value: Value<'a>, timestamp_ms: i64 },
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Resource<'a> {
    kind: Text<'a>,
    name: Text<'a>,
}

/// Type of a series in Datadog's terms.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum SeriesType {
    /// None was sent, or one that is unknown.
    #[default]
    Unspecified,
    Count,
    /// A gauge, or a rate.
    Gauge,
}

/// The other members of a series.
#[derive(Debug, Clone, Copy, Default)]
struct Head<'a> {
    metric: Text<'a>,
    kind: SeriesType,
    host: Text<'a>,
    device: Text<'a>,
    has_points: bool,
    /// A member is of another kind than it should be.
    is_invalid: bool,
    has_too_many_tags: bool,
}

/// The forms of points in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// The type of a series without one.
    const fn unspecified(self) -> SeriesType {
        match self {
            Self::One => SeriesType::Gauge,
            Self::Two => SeriesType::Unspecified,
        }
    }
}

impl Datadog {
    /// A decoder whose metrics are held to `bounds`.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            tags_limit: bounds.tags_limit,
            series: Series::new(bounds),
            lists: Lists::default(),
            table: TagTable::default(),
            decoded: Vec::new(),
            cached: Cached::new(bounds),
        }
    }

    /// Decodes a body of `/api/v1/series` into `sink`.
    ///
    /// # Errors
    /// If it is no object in JSON with `series`, or if the bounds of `sink` are exceeded: nothing of it may be stored.
    pub fn decode_v1(&mut self, body: &[u8], sink: &mut LineSink<'_>) -> Result<(), DecodeError> {
        self.with_lists(|decoder, lists| decoder.decode_json(lists, body, Version::One, sink))
    }

    /// Decodes a JSON body of `/api/v2/series` into `sink`.
    ///
    /// # Errors
    /// As [`decode_v1`](Self::decode_v1).
    pub fn decode_v2(&mut self, body: &[u8], sink: &mut LineSink<'_>) -> Result<(), DecodeError> {
        self.with_lists(|decoder, lists| decoder.decode_json(lists, body, Version::Two, sink))
    }

    /// Decodes a `MetricPayload`, the body of `/api/v2/series` in Protocol Buffers, into `sink`.
    ///
    /// # Errors
    /// If it is no message, or if the bounds of `sink` are exceeded: nothing of it may be stored.
    pub fn decode_v2_protobuf(&mut self, body: &[u8], sink: &mut LineSink<'_>) -> Result<(), DecodeError> {
        self.with_lists(|decoder, lists| {
            let mut payload = Message::new(body);
            let mut at = 0;
            while let Some(field) = payload.next_of(body)? {
                if let (1, Some(series)) = (field.number, field.content.bytes()) {
                    if decoder.cached.push(series, Encoding::Protobuf, sink).is_none() {
                        lists.read_message(series, body, decoder.tags_limit)?;
                        let kind = decoder.store(lists, sink, at)?;
                        decoder.note(series, Encoding::Protobuf, lists, kind);
                    }
                    at += 1;
                }
            }
            Ok(())
        })
    }

    /// Calls `decode` with the lists made fit to borrow from a body.
    fn with_lists<'a>(
        &mut self,
        decode: impl FnOnce(&mut Self, &mut Lists<'a>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut lists = std::mem::take(&mut self.lists).recycle();
        let result = decode(self, &mut lists);
        self.lists = lists.recycle();
        result
    }

    fn decode_json<'a>(
        &mut self,
        lists: &mut Lists<'a>,
        body: &'a [u8],
        version: Version,
        sink: &mut LineSink<'_>,
    ) -> Result<(), DecodeError> {
        let mut cursor = Cursor::new(body);
        cursor.whitespace();
        if cursor.peek() != Some(b'{') {
            return Err(cursor.unexpected(Expected::Object).into());
        }
        let mut has_series = false;
        let mut at = 0;
        json::object(&mut cursor, 0, |cursor, member| {
            if member != b"series" {
                return Ok(cursor.skip_value(1)?);
            }
            has_series = true;
            if cursor.peek() != Some(b'[') {
                return Err(cursor.unexpected(Expected::Array).into());
            }
            json::array(cursor, 1, |cursor| {
                let series = cursor.rest();
                if let Some(bytes) = self.cached.push(series, Encoding::Json(version), sink) {
                    cursor.skip(bytes);
                } else {
                    lists.read_object(cursor, version, self.tags_limit)?;
                    let kind = self.store(lists, sink, at)?;
                    self.note(&series[..series.len() - cursor.rest().len()], Encoding::Json(version), lists, kind);
                }
                at += 1;
                Ok(())
            })?;
            Ok(())
        })?;
        if !has_series {
            return Err(cursor.fault(Problem::Missing).into());
        }
        json::end(cursor)
    }

    /// Takes a series that was stored as one of `kind` into the cache, if it is one for it.
    fn note(&mut self, series: &[u8], encoding: Encoding, lists: &Lists<'_>, kind: Option<Kind>) {
        if let Some(kind) = kind
            && lists.has_one_point()
        {
            self.cached.note(series, encoding, lists, kind, &self.series);
        }
    }

    /// Stores the points of one series. Returns its type, or `None` if it is rejected as a whole.
    fn store(
        &mut self,
        lists: &mut Lists<'_>,
        sink: &mut LineSink<'_>,
        at: usize,
    ) -> Result<Option<Kind>, DecodeError> {
        let head = lists.head;
        if head.is_invalid {
            lists.described = None;
            let metrics = u32::try_from(lists.points.len().max(1)).unwrap_or(u32::MAX);
            sink.reject(Reject::Syntax, metrics, at)?;
            return Ok(None);
        }
        let described = self.describe(lists);
        let kind = match head.kind {
            SeriesType::Unspecified => Kind::Untyped,
            SeriesType::Count | SeriesType::Gauge => Kind::Gauge,
        };
        for point in &lists.points {
            match (*point, described) {
                (Point::Null, _) => sink.skip(Skip::Null, 1),
                (_, Err(reason)) | (Point::Invalid(reason), Ok(())) => sink.reject(reason, 1, at)?,
                (Point::Valid { value, timestamp_ms }, Ok(())) => {
                    sink.push(&self.series, kind, value, Some(timestamp_ms), at)?;
                }
            }
        }
        Ok(described.is_ok().then_some(kind))
    }

    /// Makes the series what its points have in common.
    fn describe(&mut self, lists: &mut Lists<'_>) -> Result<(), Reject> {
        let are_tags_spelled = lists.are_tags_spelled();
        let head = &lists.head;
        if are_tags_spelled {
            self.series.clear_name();
        } else {
            lists.described = None;
            self.series.clear();
        }
        let metric = json::plain(&head.metric, &mut self.decoded);
        if metric.is_empty() {
            return Err(Reject::Name);
        }
        self.series.push_name(metric)?;
        if are_tags_spelled {
            return Ok(());
        }
        if head.has_too_many_tags {
            return Err(Reject::Tags);
        }
        self.table.clear();
        for (key, value) in [(&b"host"[..], &head.host), (b"device", &head.device)] {
            if !value.raw().is_empty() {
                self.table.push(&[key], value);
            }
        }
        for Resource { kind, name } in &lists.resources.elements {
            if name.raw().is_empty() {
                continue;
            }
            match json::plain(kind, &mut self.decoded) {
                kind @ (b"host" | b"device") => self.table.push(&[kind], name),
                kind => self.table.push(&[b"resource_", kind], name),
            }
        }
        for tag in &lists.tags.elements {
            self.table.push_pair(tag);
        }
        self.table.describe(&mut self.series)?;
        if head.kind == SeriesType::Count {
            self.series.set_tag(b"__temporality__", b"delta")?;
        }
        lists.described = Some(lists.head);
        Ok(())
    }

    /// Frees memory that a large body made it grow to.
    pub fn trim(&mut self) {
        self.series.trim();
        if self.scratch_bytes() > SERIES_KEPT_BYTES_MAX {
            (self.lists, self.table, self.decoded) = (Lists::default(), TagTable::default(), Vec::new());
        }
    }

    /// Capacity held between bodies, in bytes.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.series.kept_bytes() + self.scratch_bytes() + self.cached.kept_bytes()
    }

    fn scratch_bytes(&self) -> usize {
        self.lists.bytes() + self.table.kept_bytes() + self.decoded.capacity()
    }
}

impl Head<'_> {
    fn new(kind: SeriesType) -> Self {
        Self { kind, ..Self::default() }
    }
}

impl<'a> Lists<'a> {
    fn recycle<'next>(self) -> Lists<'next> {
        Lists {
            points: json::recycle(self.points),
            tags: self.tags.recycle(),
            resources: self.resources.recycle(),
            head: Head::default(),
            members: self.members.recycle(),
            described: None,
        }
    }

    fn bytes(&self) -> usize {
        self.points.capacity() * size_of::<Point<'_>>()
            + self.tags.kept_bytes()
            + self.resources.kept_bytes()
            + self.members.kept_bytes()
    }

    /// Begins a series whose members are all to be read.
    fn begin(&mut self, kind: SeriesType) {
        self.head = Head::new(kind);
        self.points.clear();
        self.tags.begin();
        self.resources.begin();
    }

    /// True if the series of the decoder has the tags of this one.
    fn are_tags_spelled(&self) -> bool {
        let Some(before) = &self.described else { return false };
        !(self.tags.has_changed || self.resources.has_changed || self.head.has_too_many_tags)
            && before.kind == self.head.kind
            && before.host == self.head.host
            && before.device == self.head.device
    }

    /// Each point is a metric: more of them in one series are over the bound of metrics by themselves.
    fn push_point(&mut self, point: Point<'a>) -> Result<(), DecodeError> {
        if self.points.len() == PROTOCOL_METRICS_MAX {
            return Err(DecodeError::TooManyMetrics);
        }
        self.points.push(point);
        Ok(())
    }

    /// Reads a series in JSON. Of more than `tags_limit` tags, or resources, the others are left out.
    fn read_object(&mut self, cursor: &mut Cursor<'a>, version: Version, tags_limit: usize) -> Result<(), DecodeError> {
        self.tags.begin_series();
        self.resources.begin_series();
        let start = *cursor;
        let mut members = std::mem::take(&mut self.members);
        if !members.read_next(cursor, |cursor, member| self.read_member(cursor, member, version, tags_limit))? {
            *cursor = start;
            self.begin(version.unspecified());
            let is_object = members
                .read_first(cursor, 2, |cursor, member| self.read_member(cursor, member, version, tags_limit))?;
            self.tags.end();
            self.resources.end();
            self.head.is_invalid |= !is_object || !self.head.has_points;
        }
        if self.head.is_invalid || self.head.has_too_many_tags {
            members.clear();
        }
        self.members = members;
        Ok(())
    }

    fn read_member(
        &mut self,
        cursor: &mut Cursor<'a>,
        member: &[u8],
        version: Version,
        tags_limit: usize,
    ) -> Result<(), DecodeError> {
        let is_valid = self.read_value(cursor, member, version, tags_limit)?;
        self.head.is_invalid |= !is_valid;
        Ok(())
    }

    /// Reads the value of a member; false if it is of another kind than it should be.
    fn read_value(
        &mut self,
        cursor: &mut Cursor<'a>,
        member: &[u8],
        version: Version,
        tags_limit: usize,
    ) -> Result<bool, DecodeError> {
        match member {
            b"metric" => json::text(cursor, 3, &mut self.head.metric),
            b"host" => json::text(cursor, 3, &mut self.head.host),
            b"device" => json::text(cursor, 3, &mut self.head.device),
            b"type" => {
                self.head.kind = match json::scalar(cursor, 3)? {
                    Scalar::Text(text) => type_of_name(&text),
                    Scalar::Number(number) => type_of_digits(number.text),
                    Scalar::Null => version.unspecified(),
                    Scalar::Other => return Ok(false),
                };
                Ok(true)
            }
            b"tags" => {
                self.tags.begin();
                let is_valid = self.read_tags(cursor, tags_limit)?;
                self.tags.end();
                Ok(is_valid)
            }
            b"resources" => {
                self.resources.begin();
                let is_valid = self.read_resources(cursor, tags_limit)?;
                self.resources.end();
                Ok(is_valid)
            }
            b"points" => {
                self.points.clear();
                self.head.has_points = true;
                json::array(cursor, 3, |cursor| {
                    let point = if version == Version::One { point_v1(cursor)? } else { point_v2(cursor)? };
                    self.push_point(point)
                })
            }
            _ => {
                cursor.skip_value(3)?;
                Ok(true)
            }
        }
    }

    fn read_tags(&mut self, cursor: &mut Cursor<'a>, limit: usize) -> Result<bool, DecodeError> {
        if cursor.eat_all(b"null") {
            return Ok(true);
        }
        let mut are_valid = true;
        let is_array = json::array(cursor, 3, |cursor| {
            let mut tag = Text::default();
            are_valid &= json::text(cursor, 4, &mut tag)?;
            self.tags.push(tag, limit, &mut self.head.has_too_many_tags);
            Ok(())
        })?;
        Ok(is_array && are_valid)
    }

    fn read_resources(&mut self, cursor: &mut Cursor<'a>, limit: usize) -> Result<bool, DecodeError> {
        if cursor.eat_all(b"null") {
            return Ok(true);
        }
        let mut are_valid = true;
        let is_array = json::array(cursor, 3, |cursor| {
            let mut resource = Resource::default();
            let is_object = json::object(cursor, 4, |cursor, member| {
                are_valid &= match member {
                    b"type" => json::text(cursor, 5, &mut resource.kind)?,
                    b"name" => json::text(cursor, 5, &mut resource.name)?,
                    _ => {
                        cursor.skip_value(5)?;
                        true
                    }
                };
                Ok(())
            })?;
            are_valid &= is_object;
            self.resources.push(resource, limit, &mut self.head.has_too_many_tags);
            Ok(())
        })?;
        Ok(is_array && are_valid)
    }

    /// Reads a `MetricSeries`, a part of `body`.
    fn read_message(&mut self, series: &'a [u8], body: &[u8], tags_limit: usize) -> Result<(), DecodeError> {
        self.tags.begin_series();
        self.resources.begin_series();
        self.begin(SeriesType::Unspecified);
        let mut message = Message::new(series);
        while let Some(field) = message.next_of(body)? {
            let head = &mut self.head;
            match (field.number, field.content.bytes(), field.content.varint()) {
                (1, Some(resource), _) => {
                    let resource = resource_of_message(resource, body)?;
                    self.resources.push(resource, tags_limit, &mut head.has_too_many_tags);
                }
                (2, Some(metric), _) => head.metric = text(metric),
                (3, Some(tag), _) => self.tags.push(text(tag), tags_limit, &mut head.has_too_many_tags),
                (4, Some(point), _) => self.push_point(point_of_message(point, body)?)?,
                (5, _, Some(number)) => head.kind = type_of_number(number),
                _ => {}
            }
        }
        self.tags.end();
        self.resources.end();
        Ok(())
    }
}

/// A string of a message, whose UTF-8 [`Series`] checks.
fn text(bytes: &[u8]) -> Text<'_> {
    Text { raw: bytes, escapes: 0 }
}

/// Version 1: `[seconds, value]`.
fn point_v1<'a>(cursor: &mut Cursor<'a>) -> Result<Point<'a>, DecodeError> {
    let mut elements = 0;
    let mut parts = Parts::default();
    let is_array = json::array(cursor, 4, |cursor| {
        let scalar = json::scalar(cursor, 5)?;
        match elements {
            0 => parts.timestamp_ms = seconds(&scalar),
            1 => parts.value = Some(scalar),
            _ => {}
        }
        elements += 1;
        Ok(())
    })?;
    Ok(if is_array && elements == 2 { parts.point() } else { Point::Invalid(Reject::Syntax) })
}

/// Version 2: `{"timestamp":seconds,"value":value}`.
fn point_v2<'a>(cursor: &mut Cursor<'a>) -> Result<Point<'a>, DecodeError> {
    let mut parts = Parts::default();
    let is_object = json::object(cursor, 4, |cursor, member| {
        match member {
            b"timestamp" => parts.timestamp_ms = seconds(&json::scalar(cursor, 5)?),
            b"value" => parts.value = Some(json::scalar(cursor, 5)?),
            _ => cursor.skip_value(5)?,
        }
        Ok(())
    })?;
    Ok(if is_object { parts.point() } else { Point::Invalid(Reject::Syntax) })
}

/// A point in JSON.
#[derive(Default)]
struct Parts<'a> {
    timestamp_ms: Option<i64>,
    value: Option<Scalar<'a>>,
}

impl<'a> Parts<'a> {
    fn point(self) -> Point<'a> {
        match (self.value, self.timestamp_ms) {
            (Some(Scalar::Null), _) => Point::Null,
            (_, None) => Point::Invalid(Reject::Timestamp),
            (Some(Scalar::Number(number)), Some(timestamp_ms)) if number.is_finite() => {
                Point::Valid { value: Value::Digits(number.text), timestamp_ms }
            }
            _ => Point::Invalid(Reject::Value),
        }
    }
}

fn seconds(scalar: &Scalar<'_>) -> Option<i64> {
    if let Scalar::Number(seconds) = scalar { Some(seconds.seconds_to_ms()) } else { None }
}

/// A `MetricPoint`, a part of `body`.
fn point_of_message<'a>(point: &[u8], body: &[u8]) -> Result<Point<'a>, DecodeError> {
    let (mut value, mut seconds) = (0.0, 0_i64);
    let mut message = Message::new(point);
    while let Some(field) = message.next_of(body)? {
        match (field.number, field.content.double(), field.content.varint()) {
            (1, Some(double), _) => value = double,
            (2, _, Some(integer)) => seconds = integer.cast_signed(),
            _ => {}
        }
    }
    if !value.is_finite() {
        return Ok(Point::Invalid(Reject::Value));
    }
    Ok(Point::Valid { value: Value::Float(value), timestamp_ms: seconds.saturating_mul(1_000) })
}

/// A `Resource`, a part of `body`.
fn resource_of_message<'a>(resource: &'a [u8], body: &[u8]) -> Result<Resource<'a>, DecodeError> {
    let mut read = Resource::default();
    let mut message = Message::new(resource);
    while let Some(field) = message.next_of(body)? {
        match (field.number, field.content.bytes()) {
            (1, Some(kind)) => read.kind = text(kind),
            (2, Some(name)) => read.name = text(name),
            _ => {}
        }
    }
    Ok(read)
}

fn type_of_name(name: &Text<'_>) -> SeriesType {
    if name.means(b"gauge") || name.means(b"rate") {
        SeriesType::Gauge
    } else if name.means(b"count") {
        SeriesType::Count
    } else {
        SeriesType::Unspecified
    }
}

fn type_of_digits(digits: &[u8]) -> SeriesType {
    if let [digit @ b'0'..=b'9'] = digits { type_of_number(u64::from(digit - b'0')) } else { SeriesType::Unspecified }
}

/// `MetricType` of `agent_payload.proto`.
fn type_of_number(number: u64) -> SeriesType {
    match number {
        1 => SeriesType::Count,
        2 | 3 => SeriesType::Gauge,
        _ => SeriesType::Unspecified,
    }
}

#[cfg(test)]
mod tests;
