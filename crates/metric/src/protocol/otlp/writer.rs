//! The half of the decoder that knows no encoding: resources, metrics and points come in, lines go out.
//!
//! The tags of a resource are spelled once and stay at the front of one [`Series`], and a point's follow them. Points
//! of a resource have many attributes in common, each at the same place: those whose bytes are the same as in the point
//! before keep their spelling, and are not read. Points of gauges and sums whose series came before are not read but
//! for their value and time. If a point overrides a tag of its resource, which is rare, its series is a copy without
//! the overridden one, never larger than the lines it is made for. What is copied for points that are then rejected is
//! bounded.

use super::cached::Cached;
use super::histogram::{BucketCounts, Target};
use super::{Names, Options, names};
use crate::limits::{HISTOGRAM_BUCKETS_MAX, OTLP_SCRATCH_KEPT_BYTES_MAX, OTLP_WASTED_BYTES_MAX};
use crate::protocol::series_cache::Key;
use crate::protocol::span::Span;
use crate::sink::{FrontTags, NO_GAP, Part, ShortValue};
use crate::{Bounds, DecodeError, Kind, LineSink, Reject, Series, SeriesMark, Value};

/// The reason why a point is not stored.
pub(super) enum PointError {
    /// It is rejected, and the others go on.
    Reject(Reject),
    /// So is the whole body.
    Body(DecodeError),
}

impl From<Reject> for PointError {
    fn from(reason: Reject) -> Self {
        Self::Reject(reason)
    }
}

impl From<DecodeError> for PointError {
    fn from(error: DecodeError) -> Self {
        Self::Body(error)
    }
}

/// The data of a metric, by their shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Gauge,
    Sum { is_monotonic: bool },
    Histogram,
    Summary,
}

/// The values of `AggregationTemporality` that change anything.
pub(super) const DELTA: i32 = 1;
pub(super) const CUMULATIVE: i32 = 2;

/// Fields that the points of a metric share.
#[derive(Debug, Clone, Copy)]
pub(super) struct MetricHead<'a> {
    pub name: &'a [u8],
    pub unit: &'a [u8],
    pub shape: Shape,
    pub temporality: i32,
}

/// Fields that points of every shape have.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PointHead {
    pub time_unix_nano: u64,
    pub flags: u32,
}

impl PointHead {
    /// Epoch milliseconds, rounded down; `None` for the time of arrival. (64 bits of nanoseconds end in the year 2554.)
    fn timestamp_ms(self) -> Option<i64> {
        const MS_NANOS: u64 = 1_000_000;
        if self.time_unix_nano == 0 { None } else { i64::try_from(self.time_unix_nano / MS_NANOS).ok() }
    }

    /// `DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`.
    fn is_stale(self) -> bool {
        self.flags & 1 == 1
    }
}

/// Element that has attributes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Owner {
    /// All points of a resource are rejected with it.
    Resource,
    Point,
}

/// The value of a point of a gauge or a sum.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Int(i64),
    Double(f64),
}

/// Numbers of one point, of which there may be many. More than [`HISTOGRAM_BUCKETS_MAX`] are not kept, only noticed.
#[derive(Debug)]
pub(super) struct Numbers<T> {
    kept: Vec<T>,
    overflow: bool,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { kept: Vec::new(), overflow: false }
    }
}

impl<T> Numbers<T> {
    #[inline]
    pub fn push(&mut self, number: T) {
        if self.kept.len() < HISTOGRAM_BUCKETS_MAX {
            self.kept.push(number);
        } else {
            self.overflow = true;
        }
    }

    fn clear(&mut self) {
        self.kept.clear();
        self.overflow = false;
    }

    fn get(&self) -> Result<&[T], Reject> {
        if self.overflow { Err(Reject::Histogram) } else { Ok(&self.kept) }
    }

    fn kept_bytes(&self) -> usize {
        self.kept.capacity() * size_of::<T>()
    }
}

/// The repeated numbers of the present point, filled in by whoever reads it.
#[derive(Debug, Default)]
pub(super) struct PointNumbers {
    /// Counts of a histogram, or of the positive buckets of an exponential one.
    pub counts: Numbers<u64>,
    pub bounds: Numbers<f64>,
    pub negative: Numbers<u64>,
    /// Quantiles and their values.
    pub quantiles: Numbers<(f64, f64)>,
}

/// The parts of a histogram's point that are single numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HistogramHead {
    pub count: u64,
    pub sum: Option<f64>,
    pub scale: i32,
    pub zero_count: u64,
    pub zero_threshold: f64,
    pub positive_offset: i32,
    pub negative_offset: i32,
}

/// Texts of a resource that become `job` and `instance`.
#[derive(Debug, Default)]
struct Service {
    namespace: Vec<u8>,
    name: Vec<u8>,
    instance: Vec<u8>,
}

/// Counts of points to come back to, and the series that came last.
#[derive(Debug, Clone, Copy)]
pub(super) struct WriterMark {
    points: usize,
    rejected_points: u64,
    wasted_bytes: usize,
    latest: usize,
}

#[derive(Debug)]
pub(super) struct Writer {
    options: Options,
    tag_bytes_limit: usize,
    series: Series,
    /// The series of a point that overrides tags, or the other half of a swap.
    copy: Series,
    /// Indices in `series` of tags that a later one overrides.
    overridden: Vec<usize>,
    service: Service,
    /// A name or a key in Prometheus' form.
    name: Vec<u8>,
    /// The value of an attribute that is no string, for whoever reads it.
    pub text: Vec<u8>,
    resource_tags: usize,
    /// The resource's tags for short lines, and whether they are as short.
    short_front: FrontTags,
    is_front_short: bool,
    resource_reject: Option<Reject>,
    metric_mark: SeriesMark,
    metric_kind: Kind,
    metric_is_delta: bool,
    metric_reject: Option<Reject>,
    point_reject: Option<Reject>,
    /// The attributes behind the tags of the resource, as they stand in the body: those of the present point up to
    /// `shared`, and those of the one before.
    attributes: Vec<Span>,
    shared: usize,
    pub numbers: PointNumbers,
    pub cached: Cached,
    /// Data points up to now.
    points: usize,
    rejected_points: u64,
    /// The series of the present point is `copy`.
    is_copied: bool,
    /// Bytes of copies that were made for points which were rejected after all.
    wasted_bytes: usize,
}

impl Writer {
    pub fn new(bounds: Bounds, options: Options) -> Self {
        let series = Series::new(bounds);
        let mark = series.mark();
        Self {
            options,
            tag_bytes_limit: bounds.tag_bytes_limit,
            series,
            copy: Series::new(bounds),
            overridden: Vec::new(),
            service: Service::default(),
            name: Vec::new(),
            text: Vec::new(),
            resource_tags: 0,
            short_front: FrontTags::EMPTY,
            is_front_short: false,
            resource_reject: None,
            metric_mark: mark,
            metric_kind: Kind::Gauge,
            metric_is_delta: false,
            metric_reject: None,
            point_reject: None,
            attributes: Vec::new(),
            shared: 0,
            numbers: PointNumbers::default(),
            cached: Cached::new(),
            points: 0,
            rejected_points: 0,
            is_copied: false,
            wasted_bytes: 0,
        }
    }

    pub fn rejected_points(&self) -> u64 {
        self.rejected_points
    }

    /// Longest text of a tag that may be stored; what makes texts may stop behind it.
    pub fn tag_bytes_limit(&self) -> usize {
        self.tag_bytes_limit
    }

    /// True if names depend on units.
    pub fn needs_unit(&self) -> bool {
        self.options.names == Names::Prometheus
    }

    pub fn trim(&mut self) {
        self.series.trim();
        self.copy.trim();
        for text in self.texts() {
            trim(text);
        }
        if self.numbers_bytes() > OTLP_SCRATCH_KEPT_BYTES_MAX {
            self.numbers = PointNumbers::default();
        }
    }

    fn texts(&mut self) -> [&mut Vec<u8>; 5] {
        let Service { namespace, name, instance } = &mut self.service;
        [namespace, name, instance, &mut self.name, &mut self.text]
    }

    fn numbers_bytes(&self) -> usize {
        let PointNumbers { counts, bounds, negative, quantiles } = &self.numbers;
        counts.kept_bytes() + bounds.kept_bytes() + negative.kept_bytes() + quantiles.kept_bytes()
    }

    pub fn kept_bytes(&self) -> usize {
        let Service { namespace, name, instance } = &self.service;
        self.series.kept_bytes()
            + self.copy.kept_bytes()
            + self.cached.kept_bytes()
            + self.numbers_bytes()
            + self.overridden.capacity() * size_of::<usize>()
            + self.attributes.capacity() * size_of::<Span>()
            + [namespace, name, instance, &self.name, &self.text].iter().map(|text| text.capacity()).sum::<usize>()
    }

    pub fn begin_body(&mut self) {
        self.points = 0;
        self.rejected_points = 0;
        self.wasted_bytes = 0;
        self.attributes.clear();
    }

    // ---- a resource ----

    /// A resource begins: its attributes follow, then [`end_resource`](Self::end_resource).
    pub fn begin_resource(&mut self) {
        self.series.clear();
        self.overridden.clear();
        self.attributes.clear();
        self.resource_reject = None;
        let Service { namespace, name, instance } = &mut self.service;
        [namespace, name, instance].into_iter().for_each(Vec::clear);
    }

    fn resource_attribute(&mut self, key: &[u8], value: &[u8]) {
        if self.resource_reject.is_some() {
            return;
        }
        if self.options.job_instance {
            let Service { namespace, name, instance } = &mut self.service;
            let text = match key {
                b"service.namespace" => Some(namespace),
                b"service.name" => Some(name),
                b"service.instance.id" => Some(instance),
                _ => None,
            };
            // A longer one is rejected as a tag.
            if let Some(text) = text.filter(|_| value.len() <= self.tag_bytes_limit) {
                text.clear();
                text.extend_from_slice(value);
            }
        }
        self.resource_reject = self.attribute(key, value).err();
    }

    pub fn end_resource(&mut self) {
        if self.options.job_instance && self.resource_reject.is_none() {
            let mut service = std::mem::take(&mut self.service);
            self.resource_reject = self.job_and_instance(&mut service).err();
            self.service = service;
        }
        if !self.overridden.is_empty() {
            self.overridden.sort_unstable();
            self.copy.copy_without(&self.series, &self.overridden);
            std::mem::swap(&mut self.copy, &mut self.series);
            self.overridden.clear();
        }
        self.resource_tags = self.series.tags();
        self.is_front_short = self.short_front.take(self.series.spelled_tags(self.resource_tags).text());
        self.cached.begin_resource(self.resource_reject.is_none().then_some(&self.series));
    }

    fn job_and_instance(&mut self, service: &mut Service) -> Result<(), Reject> {
        if !service.name.is_empty() {
            if !service.namespace.is_empty() {
                service.namespace.push(b'/');
            }
            service.namespace.extend_from_slice(&service.name);
            self.tag(b"job", &service.namespace)?;
        }
        if !service.instance.is_empty() {
            self.tag(b"instance", &service.instance)?;
        }
        Ok(())
    }

    /// Appends the tag of an attribute.
    #[inline]
    fn attribute(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reject> {
        match self.options.names {
            Names::AsSent => self.tag(key, value),
            // Before it is copied.
            Names::Prometheus if key.len() > self.tag_bytes_limit => Err(Reject::Tags),
            Names::Prometheus => {
                let mut name = std::mem::take(&mut self.name);
                names::label(key, &mut name);
                let result = self.tag(&name, value);
                self.name = name;
                result
            }
        }
    }

    #[inline]
    fn tag(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reject> {
        if let Some(overridden) = self.series.push_tag_over(key, value)? {
            self.overridden.push(overridden);
        }
        Ok(())
    }

    // ---- a metric ----

    /// A metric of the present resource begins.
    pub fn begin_metric(&mut self, head: &MetricHead<'_>) {
        let MetricHead { name, unit, shape, temporality } = *head;
        self.series.clear_name();
        let name = match self.options.names {
            Names::AsSent => name,
            Names::Prometheus => {
                names::metric(name, unit, shape, &mut self.name);
                &self.name
            }
        };
        self.metric_reject = if name.is_empty() { Some(Reject::Name) } else { self.series.push_name(name).err() };
        self.metric_is_delta = temporality == DELTA;
        self.metric_kind = match shape {
            Shape::Sum { is_monotonic: true } if temporality == CUMULATIVE => Kind::Counter,
            Shape::Gauge | Shape::Sum { .. } => Kind::Gauge,
            Shape::Histogram => Kind::Histogram,
            Shape::Summary => Kind::Summary,
        };
        self.metric_mark = self.series.mark();
    }

    /// The counts of points at present.
    pub const fn mark(&self) -> WriterMark {
        let &Self { points, rejected_points, wasted_bytes, .. } = self;
        WriterMark { points, rejected_points, wasted_bytes, latest: self.cached.latest() }
    }

    /// Takes back the counts since `mark`.
    pub fn reset_to(&mut self, mark: WriterMark) {
        (self.points, self.rejected_points, self.wasted_bytes) = (mark.points, mark.rejected_points, mark.wasted_bytes);
        self.cached.go_back_to(mark.latest);
    }

    // ---- a point ----

    /// A point of the present metric begins: its attributes and numbers follow, then one of the methods below.
    #[inline]
    pub fn begin_point(&mut self) {
        self.series.reset_name_to(self.metric_mark);
        if !self.overridden.is_empty() {
            self.overridden.clear();
            self.attributes.clear();
        }
        // Without the tags that lines of the point before had of themselves.
        self.series.keep_tags(self.resource_tags + self.attributes.len());
        self.shared = 0;
        self.point_reject = self.resource_reject.or(self.metric_reject);
    }

    /// As [`begin_point`](Self::begin_point), for one with repeated numbers.
    pub fn begin_point_of_numbers(&mut self) {
        self.begin_point();
        self.numbers.counts.clear();
        self.numbers.bounds.clear();
        self.numbers.negative.clear();
        self.numbers.quantiles.clear();
    }

    /// True if the attribute that the point before has at this place, in these bytes of `body`, `is_next` in the
    /// present point too. Then it has been taken.
    #[inline]
    pub fn shares_attribute(&mut self, body: &[u8], is_next: impl FnOnce(&[u8]) -> bool) -> bool {
        let is_shared = self.point_reject.is_none()
            && self.attributes.get(self.shared).is_some_and(|attribute| is_next(attribute.of(body)));
        self.shared += usize::from(is_shared);
        is_shared
    }

    /// An attribute of the present point follows that is not [shared](Self::shares_attribute).
    #[inline]
    pub fn begin_attribute(&mut self) {
        if self.shared < self.attributes.len() {
            self.attributes.truncate(self.shared);
            self.series.keep_tags(self.resource_tags + self.shared);
        }
    }

    /// The attribute that [began](Self::begin_attribute) has ended: `place` is that of its bytes.
    #[inline]
    pub fn end_attribute(&mut self, place: Span) {
        let is_tag = self.series.tags() == self.resource_tags + self.attributes.len() + 1;
        if is_tag && self.overridden.is_empty() && self.point_reject.is_none() && !place.is_empty() {
            self.attributes.push(place);
            self.shared = self.attributes.len();
        }
    }

    /// An attribute of `owner`; that is rejected if the tag cannot be stored.
    #[inline]
    pub fn push_attribute(&mut self, owner: Owner, key: &[u8], value: &[u8]) {
        match owner {
            Owner::Resource => self.resource_attribute(key, value),
            Owner::Point => self.point_attribute(key, value),
        }
    }

    /// The value of an attribute of `owner` cannot be stored.
    pub fn reject_owner(&mut self, owner: Owner, reason: Reject) {
        match owner {
            Owner::Resource => self.resource_reject.get_or_insert(reason),
            Owner::Point => self.point_reject.get_or_insert(reason),
        };
    }

    #[inline]
    fn point_attribute(&mut self, key: &[u8], value: &[u8]) {
        if self.point_reject.is_none() {
            self.point_reject = self.attribute(key, value).err();
        }
    }

    /// Stores the point of a gauge or a sum whose series is in the cache. False, and nothing is done, if that is not as
    /// simple.
    #[inline]
    pub fn push_cached(&mut self, index: usize, head: PointHead, number: Number, sink: &mut LineSink<'_>) -> bool {
        let timestamp_ms = head.timestamp_ms().unwrap_or(sink.arrival_ms());
        let is_stored = self.push_short(index, timestamp_ms, number, sink).is_some()
            || self.push_long(index, timestamp_ms, number, sink);
        self.points += usize::from(is_stored);
        is_stored
    }

    #[inline(always)]
    fn push_short(&mut self, index: usize, timestamp_ms: i64, number: Number, sink: &mut LineSink<'_>) -> Option<()> {
        if !self.is_front_short {
            return None;
        }
        let series = self.cached.hit_short(index)?;
        let value = match number {
            Number::Int(integer) => ShortValue::Int(integer),
            Number::Double(float) => ShortValue::Float(float),
        };
        sink.push_short_behind(&series, &self.short_front, NO_GAP, series.kind, value, timestamp_ms)
    }

    #[inline(never)]
    fn push_long(&mut self, index: usize, timestamp_ms: i64, number: Number, sink: &mut LineSink<'_>) -> bool {
        let Some(series) = self.cached.hit(index) else { return false };
        let value = match number {
            Number::Int(integer) => Value::Int(integer),
            Number::Double(float) => Value::Float(float),
        };
        let front = self.series.spelled_tags(self.resource_tags);
        sink.push_cached_behind(&series, front, Part::EMPTY, series.kind, value, timestamp_ms)
    }

    /// Takes the series of the point that was stored last into the cache, unless that overrides a tag.
    pub fn cache_series(&mut self, key: &Key<'_>) {
        if !self.is_copied {
            self.cached.insert(key, &self.series, self.resource_tags, self.metric_kind);
        }
    }

    /// As [`cache_series`](Self::cache_series), of a series that may be in the cache.
    pub fn note(&mut self, key: &Key<'_>) {
        if !self.is_copied {
            self.cached.note(key, &self.series, self.resource_tags, self.metric_kind);
        }
    }

    /// The point of a gauge or a sum ends.
    pub fn end_number(
        &mut self,
        head: PointHead,
        number: Option<Number>,
        sink: &mut LineSink<'_>,
    ) -> Result<(), DecodeError> {
        self.end_point(sink, |writer, sink| {
            let value = match number {
                _ if head.is_stale() => Value::Stale,
                Some(Number::Int(integer)) => Value::Int(integer),
                Some(Number::Double(float)) => Value::Float(float),
                None => return Err(Reject::Value.into()),
            };
            let (kind, at) = (writer.metric_kind, writer.points);
            let (series, _) = writer.complete_series(None)?;
            Ok(sink.push(series, kind, value, head.timestamp_ms(), at)?)
        })
    }

    /// The point of a histogram with explicit bounds ends.
    pub fn end_histogram(
        &mut self,
        head: PointHead,
        histogram: &HistogramHead,
        sink: &mut LineSink<'_>,
    ) -> Result<(), DecodeError> {
        self.end_point(sink, |writer, sink| {
            let (target, numbers) = writer.target(head, b"le", sink)?;
            target.explicit(histogram, numbers.counts.get()?, numbers.bounds.get()?)
        })
    }

    /// The point of an exponential histogram ends.
    pub fn end_exponential(
        &mut self,
        head: PointHead,
        histogram: &HistogramHead,
        sink: &mut LineSink<'_>,
    ) -> Result<(), DecodeError> {
        self.end_point(sink, |writer, sink| {
            let (target, numbers) = writer.target(head, b"le", sink)?;
            let positive = BucketCounts { offset: histogram.positive_offset, counts: numbers.counts.get()? };
            let negative = BucketCounts { offset: histogram.negative_offset, counts: numbers.negative.get()? };
            target.exponential(histogram, positive, negative)
        })
    }

    /// The point of a summary ends.
    pub fn end_summary(
        &mut self,
        head: PointHead,
        count: u64,
        sum: f64,
        sink: &mut LineSink<'_>,
    ) -> Result<(), DecodeError> {
        self.end_point(sink, |writer, sink| {
            let (target, numbers) = writer.target(head, b"quantile", sink)?;
            target.summary(count, sum, numbers.quantiles.get()?)
        })
    }

    /// Returns the target of the lines of a point whose shape sets the tag `own`.
    fn target<'t, 'out>(
        &'t mut self,
        head: PointHead,
        own: &[u8],
        sink: &'t mut LineSink<'out>,
    ) -> Result<(Target<'t, 'out>, &'t PointNumbers), Reject> {
        let at = self.points;
        let (series, numbers) = self.complete_series(Some(own))?;
        let (timestamp_ms, is_stale) = (head.timestamp_ms(), head.is_stale());
        Ok((Target { series, timestamp_ms, at, is_stale, sink }, numbers))
    }

    /// Stores a point with `write`, or counts it as rejected: then that has written nothing.
    #[inline]
    fn end_point(
        &mut self,
        sink: &mut LineSink<'_>,
        write: impl FnOnce(&mut Self, &mut LineSink<'_>) -> Result<(), PointError>,
    ) -> Result<(), DecodeError> {
        self.is_copied = false;
        let result = match self.point_reject {
            Some(reason) => Err(PointError::Reject(reason)),
            None => write(self, sink),
        };
        let result = match result {
            Ok(()) => Ok(()),
            Err(PointError::Reject(reason)) => {
                self.rejected_points += 1;
                if self.is_copied {
                    self.wasted_bytes += self.copy.spelled_bytes();
                    if self.wasted_bytes > OTLP_WASTED_BYTES_MAX {
                        return Err(DecodeError::TooLarge);
                    }
                }
                sink.reject(reason, 1, self.points)
            }
            Err(PointError::Body(error)) => Err(error),
        };
        self.points += 1;
        result
    }

    /// The series of the present point with all tags but `own`, which the lines of its shape set themselves.
    #[inline]
    fn complete_series(&mut self, own: Option<&[u8]>) -> Result<(&mut Series, &PointNumbers), Reject> {
        self.begin_attribute();
        if self.metric_is_delta {
            self.tag(b"__temporality__", b"delta")?;
        }
        if let Some(index) = own.and_then(|own| self.series.find_tag(own)) {
            self.overridden.push(index);
        }
        if self.overridden.is_empty() {
            return Ok((&mut self.series, &self.numbers));
        }
        self.is_copied = true;
        self.overridden.sort_unstable();
        self.copy.copy_without(&self.series, &self.overridden);
        Ok((&mut self.copy, &self.numbers))
    }
}

/// Frees `text` if a large body made it grow.
pub(super) fn trim(text: &mut Vec<u8>) {
    if text.capacity() > OTLP_SCRATCH_KEPT_BYTES_MAX {
        *text = Vec::new();
    }
}
