//! Series that are in the cache: one that differs in its point and its host alone from one that was stored is written
//! as a line without reading its other members.
//!
//! Only series of one point are taken so, as agents send them. All else, and all that is skipped or rejected, is left
//! to the decoder of a whole series, and a series gets into the cache once that has read it.

use super::super::protobuf::Message;
use super::super::series_cache::{Key, SeriesCache};
use super::super::template::{self, Gaps, SPELLED_BYTES_MAX, finite};
use super::{Lists, Point, Resource, Version};
use crate::sink::Part;
use crate::{Bounds, Kind, LineSink, Series, Value};

/// Kinds of gaps: the members that differ.
const POINTS: u8 = 1;
const HOST: u8 = 2;
/// Keys of the fields of a `MetricSeries`: their numbers with the wire type of messages.
const RESOURCES_KEY: u8 = 1 << 3 | 2;
const POINTS_KEY: u8 = 4 << 3 | 2;
/// Keys of the fields of a `Resource`, the first with the type `host`.
const HOST_TYPE: &[u8] = b"\x0a\x04host";
const NAME_KEY: u8 = 2 << 3 | 2;
/// Keys of the fields of a `MetricPoint`: a double and a varint.
const VALUE_KEY: u8 = 1 << 3 | 1;
const TIMESTAMP_KEY: u8 = 2 << 3;

/// The encoding of a series. The same bytes mean something else in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Json(Version),
    Protobuf,
}

impl Encoding {
    /// The generation of its keys.
    const fn generation(self) -> u64 {
        match self {
            Self::Json(Version::One) => 1,
            Self::Json(Version::Two) => 2,
            Self::Protobuf => 3,
        }
    }
}

/// The series whose spelling is kept.
#[derive(Debug)]
pub(super) struct Cached {
    cache: SeriesCache,
    gaps: Gaps,
    /// The template of a series that gets into the cache, and its spelling.
    template: Vec<u8>,
    text: Vec<u8>,
}

/// Contents of the gaps of a series.
struct Filled<'a> {
    value: Value<'a>,
    timestamp_ms: i64,
    /// True if the host is in a gap.
    has_host: bool,
    /// Bytes of the series.
    bytes: usize,
}

impl Cached {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { cache: SeriesCache::new(), gaps: Gaps::new(bounds), template: Vec::new(), text: Vec::new() }
    }

    /// Takes no series any more.
    #[cfg(test)]
    pub(super) fn disable(&mut self) {
        self.cache = SeriesCache::disabled();
    }

    /// Capacity in bytes: a bounded number, whatever came.
    pub(super) fn kept_bytes(&self) -> usize {
        let scratch = self.template.capacity() + self.text.capacity();
        self.cache.kept_bytes() + scratch + self.gaps.kept_bytes()
    }

    /// Writes the line of the series at the front of `rest` if it is expected, and returns its length. One in protobuf
    /// is all of `rest`.
    #[inline]
    pub(super) fn push(&mut self, rest: &[u8], encoding: Encoding, sink: &mut LineSink<'_>) -> Option<usize> {
        let Self { cache, gaps, .. } = self;
        let (index, filled) = cache.find_expected(|_, key| gaps.read_series(key, rest, encoding))?;
        let series = cache.hit(index)?;
        let host = Part::of(if filled.has_host { gaps.host.text() } else { &[] });
        sink.push_cached(&series, host, series.kind, filled.value, filled.timestamp_ms).then_some(filled.bytes)
    }

    /// Takes `one`, a series that has been read just now, with the name and tags of `series`.
    pub(super) fn note(&mut self, one: &[u8], encoding: Encoding, lists: &Lists<'_>, kind: Kind, series: &Series) {
        if !self.cache.is_searched() || series.spelled_bytes() > SPELLED_BYTES_MAX {
            return;
        }
        let has_host = match encoding {
            Encoding::Json(version) => self.json_template(one, version, lists),
            Encoding::Protobuf => self.protobuf_template(one, lists),
        };
        let Some(has_host) = has_host else { return };
        let key = Key { before: &self.template, behind: &[], has_gap: has_host, generation: encoding.generation() };
        if let Some(index) = self.cache.find(&key) {
            self.cache.hit(index);
        } else if let Some(cached) = series.cached(has_host.then_some(b"host"), kind, &mut self.text) {
            self.cache.insert(&key, &cached);
        }
    }

    /// Makes `self.template` that of an object, and returns whether its host is a gap. `None` if it is none for the
    /// cache.
    fn json_template(&mut self, object: &[u8], version: Version, lists: &Lists<'_>) -> Option<bool> {
        let Self { gaps, template, .. } = self;
        let has_other_hosts = has_host_tag(lists) || lists.resources.elements.iter().any(is_host);
        let (mut has_host, mut has_points) = (false, false);
        lists.members.template(object, template, |name, value| match name {
            b"points" => {
                has_points = gaps.json_points(value, version).is_some_and(|(_, behind)| behind.is_empty());
                Some(POINTS)
            }
            b"host" if !has_other_hosts && template::is_json_host(value, gaps.host_bytes_limit) => {
                has_host = true;
                Some(HOST)
            }
            _ => None,
        })?;
        has_points.then_some(has_host)
    }

    /// Makes `self.template` that of a message, and returns whether its host is a gap. `None` if it is none for the
    /// cache.
    fn protobuf_template(&mut self, message: &[u8], lists: &Lists<'_>) -> Option<bool> {
        let Self { gaps, template, .. } = self;
        template.clear();
        let hosts = lists.resources.elements.iter().filter(|resource| is_host(resource)).count();
        let may_have_host = hosts == 1 && !has_host_tag(lists);
        let (mut has_host, mut has_point) = (false, false);
        let mut fields = Message::new(message);
        let mut part = message;
        while !fields.is_empty() {
            let rest = fields.rest();
            fields.next_field().ok()?;
            let gap = match rest {
                [RESOURCES_KEY, ..] if may_have_host && gaps.protobuf_host(rest).is_some() => HOST,
                [POINTS_KEY, ..] => {
                    has_point = protobuf_point(rest).is_some();
                    POINTS
                }
                _ => continue,
            };
            has_host |= gap == HOST;
            template::push_part(template, part.get(..part.len() - rest.len())?, gap)?;
            part = fields.rest();
        }
        template::push_end(template, part)?;
        has_point.then_some(has_host)
    }
}

impl Gaps {
    /// Reads the gaps of the series at the front of `rest`, if it has this key.
    #[inline]
    fn read_series<'a>(&mut self, key: &Key<'_>, rest: &'a [u8], encoding: Encoding) -> Option<Filled<'a>> {
        if key.generation != encoding.generation() {
            return None;
        }
        let mut filled = Filled { value: Value::Stale, timestamp_ms: 0, has_host: false, bytes: 0 };
        let behind = template::read(key.before, rest, |gap, rest| match (gap, encoding) {
            (HOST, encoding) => {
                filled.has_host = true;
                match encoding {
                    Encoding::Json(_) => self.host.read_json(rest, self.host_bytes_limit),
                    Encoding::Protobuf => self.protobuf_host(rest),
                }
            }
            (_, encoding) => {
                let (point, rest) = match encoding {
                    Encoding::Json(version) => self.json_points(rest, version)?,
                    Encoding::Protobuf => protobuf_point(rest)?,
                };
                (filled.value, filled.timestamp_ms) = point;
                Some(rest)
            }
        })?;
        // What is behind a message is another field of it.
        if encoding == Encoding::Protobuf && !behind.is_empty() {
            return None;
        }
        filled.bytes = rest.len() - behind.len();
        Some(filled)
    }

    /// Reads an array of one point as agents write it: `[[seconds,value]]`, or an object in version 2. Returns what is
    /// behind it too.
    #[inline]
    fn json_points<'a>(&mut self, rest: &'a [u8], version: Version) -> Option<((Value<'a>, i64), &'a [u8])> {
        let (start, between, end): (&[u8], &[u8], &[u8]) = match version {
            Version::One => (b"[[", b"", b"]]"),
            Version::Two => (b"[{\"timestamp\":", b"\"value\":", b"}]"),
        };
        let (timestamp_ms, rest) = self.time.read(behind_space(rest.strip_prefix(start)?))?;
        let rest = behind_space(rest.strip_prefix(b",")?);
        let (number, rest) = finite(behind_space(rest.strip_prefix(between)?))?;
        Some(((Value::Digits(number.text), timestamp_ms), rest.strip_prefix(end)?))
    }

    /// Reads a field of a resource with the type `host`, and returns what is behind it.
    #[inline]
    fn protobuf_host<'a>(&mut self, rest: &'a [u8]) -> Option<&'a [u8]> {
        self.host.read_again(rest).or_else(|| {
            let [RESOURCES_KEY, length @ 0..0x80, resource @ ..] = rest else { return None };
            let (resource, behind) = resource.split_at_checked(usize::from(*length))?;
            let [NAME_KEY, length @ 0..0x80, host @ ..] = resource.strip_prefix(HOST_TYPE)? else { return None };
            let is_all = host.len() == usize::from(*length);
            is_all.then(|| self.host.take(&rest[..rest.len() - behind.len()], host, self.host_bytes_limit))??;
            Some(behind)
        })
    }
}

/// Skips a space, if there is one.
#[inline]
fn behind_space(rest: &[u8]) -> &[u8] {
    rest.strip_prefix(b" ").unwrap_or(rest)
}

/// Reads a field of a point as agents write it, with a finite value; returns what is behind it too.
#[inline]
fn protobuf_point(rest: &[u8]) -> Option<((Value<'static>, i64), &[u8])> {
    let [POINTS_KEY, length @ 0..0x80, point @ ..] = rest else { return None };
    let (point, behind) = point.split_at_checked(usize::from(*length))?;
    let (value, point) = match point {
        [VALUE_KEY, point @ ..] => {
            let (value, point) = point.split_first_chunk()?;
            (f64::from_le_bytes(*value), point)
        }
        point => (0.0, point),
    };
    let [TIMESTAMP_KEY, seconds @ ..] = point else { return None };
    let mut seconds = Message::new(seconds);
    let timestamp_ms = seconds.varint().ok()?.cast_signed().saturating_mul(1_000);
    (value.is_finite() && seconds.is_empty()).then_some(((Value::Float(value), timestamp_ms), behind))
}

fn is_host(resource: &Resource<'_>) -> bool {
    resource.kind.means(b"host")
}

/// True if a tag makes the host another one, or may do so.
fn has_host_tag(lists: &Lists<'_>) -> bool {
    lists.tags.elements.iter().any(|tag| tag.has_escapes() || tag.raw() == b"host" || tag.raw().starts_with(b"host:"))
}

impl Lists<'_> {
    /// True if the series is one for the cache: it has one point, which is valid.
    pub(super) const fn has_one_point(&self) -> bool {
        matches!(self.points.as_slice(), [Point::Valid { .. }])
    }
}
