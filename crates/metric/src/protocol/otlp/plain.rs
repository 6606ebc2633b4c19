//! Metrics and points in protobuf as every sender writes them: what is read of them here is no more than where their
//! parts are. All else is left to the decoder of any message.

use super::writer::{Number, PointHead, Shape};

/// Keys of the fields of a metric: their numbers with their wire types.
const NAME: u8 = 1 << 3 | 2;
const DESCRIPTION: u8 = 2 << 3 | 2;
const UNIT: u8 = 3 << 3 | 2;
const GAUGE: u8 = 5 << 3 | 2;
const SUM: u8 = 7 << 3 | 2;
/// Keys of the fields of a gauge or a sum.
const POINT: u8 = 1 << 3 | 2;
const TEMPORALITY: u8 = 2 << 3;
const IS_MONOTONIC: u8 = 3 << 3;
/// Keys of the fields of a point.
const START_TIME: u8 = 2 << 3 | 1;
const TIME: u8 = 3 << 3 | 1;
const DOUBLE: u8 = 4 << 3 | 1;
const INT: u8 = 6 << 3 | 1;
const ATTRIBUTE: u8 = 7 << 3 | 2;
const FLAGS: u8 = 8 << 3;

/// A gauge or a sum.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlainMetric<'a> {
    pub name: &'a [u8],
    pub unit: &'a [u8],
    /// All fields but the data.
    pub head: &'a [u8],
    pub shape: Shape,
    pub temporality: i32,
    pub points: Points<'a>,
}

/// The points of a metric, known to be whole fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct Points<'a>(&'a [u8]);

/// A point.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlainPoint<'a> {
    /// The fields of its attributes, which are neighbours.
    pub attributes: &'a [u8],
    pub head: PointHead,
    pub number: Number,
}

/// The content of a field with a length, at the front of which that is, and what is behind it.
#[inline]
fn content(field: &[u8]) -> Option<(&[u8], &[u8])> {
    match field {
        [length @ 0..0x80, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        [low, high @ 0..0x80, rest @ ..] => rest.split_at_checked(usize::from(low & 0x7f) | usize::from(*high) << 7),
        [low, middle, high @ 0..0x80, rest @ ..] => {
            let length = usize::from(low & 0x7f) | usize::from(middle & 0x7f) << 7 | usize::from(*high) << 14;
            rest.split_at_checked(length)
        }
        _ => None,
    }
}

impl<'a> PlainMetric<'a> {
    /// Reads a metric with its data at its end.
    #[inline]
    pub(super) fn read(metric: &'a [u8]) -> Option<Self> {
        let (mut name, mut unit) = (&[][..], &[][..]);
        let mut rest = metric;
        loop {
            let [key, field @ ..] = rest else { return None };
            let (text, next) = content(field)?;
            match *key {
                NAME => name = text,
                UNIT => unit = text,
                DESCRIPTION => {}
                GAUGE | SUM if next.is_empty() => {
                    let head = &metric[..metric.len() - rest.len()];
                    let (points, totals) = Points::split(text)?;
                    let (shape, temporality) = match (*key, totals) {
                        (GAUGE, []) => (Shape::Gauge, 0),
                        (SUM, totals) => read_totals(totals)?,
                        _ => return None,
                    };
                    return Some(Self { name, unit, head, shape, temporality, points });
                }
                _ => return None,
            }
            rest = next;
        }
    }
}

/// Reads what is behind the points of a sum.
#[inline]
fn read_totals(totals: &[u8]) -> Option<(Shape, i32)> {
    let (temporality, is_monotonic) = match *totals {
        [] => (0, 0),
        [TEMPORALITY, temporality @ 0..0x80] => (temporality, 0),
        [TEMPORALITY, temporality @ 0..0x80, IS_MONOTONIC, is_monotonic @ 0..0x80] => (temporality, is_monotonic),
        _ => return None,
    };
    Some((Shape::Sum { is_monotonic: is_monotonic != 0 }, i32::from(temporality)))
}

impl<'a> Points<'a> {
    /// Splits the points at the front of the data off.
    #[inline]
    fn split(data: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut rest = data;
        while let [POINT, field @ ..] = rest {
            (_, rest) = content(field)?;
        }
        Some((Self(&data[..data.len() - rest.len()]), rest))
    }
}

impl<'a> Iterator for Points<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let [POINT, field @ ..] = self.0 else { return None };
        let (point, rest) = content(field)?;
        self.0 = rest;
        Some(point)
    }
}

impl<'a> PlainPoint<'a> {
    /// Reads a point with a value, without exemplars and flags.
    #[inline]
    pub(super) fn read(point: &'a [u8]) -> Option<Self> {
        let mut head = PointHead::default();
        let (mut number, mut attributes) = (None, &[][..]);
        let mut rest = point;
        while !rest.is_empty() {
            let from_here = rest;
            // As the fields are numbered, and most senders write them: then one turn reads them all.
            take_fixed(START_TIME, &mut rest);
            if let Some(bits) = take_fixed(TIME, &mut rest) {
                head.time_unix_nano = bits;
            }
            if let Some(bits) = take_fixed(DOUBLE, &mut rest) {
                number = Some(Number::Double(f64::from_bits(bits)));
            }
            if let Some(bits) = take_fixed(INT, &mut rest) {
                number = Some(Number::Int(bits.cast_signed()));
            }
            if let [ATTRIBUTE, ..] = rest {
                attributes = take_attributes(&mut rest).filter(|_| attributes.is_empty())?;
            }
            rest = rest.strip_prefix(&[FLAGS, 0]).unwrap_or(rest);
            if rest.len() == from_here.len() {
                return None;
            }
        }
        Some(Self { attributes, head, number: number? })
    }
}

/// Takes a field of eight bytes if its key comes next.
#[inline(always)]
fn take_fixed(key: u8, rest: &mut &[u8]) -> Option<u64> {
    let (bytes, behind) = rest.strip_prefix(&[key])?.split_first_chunk()?;
    *rest = behind;
    Some(u64::from_le_bytes(*bytes))
}

/// Takes all attributes that come next.
#[inline(always)]
fn take_attributes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let from_here = *rest;
    while let [ATTRIBUTE, field @ ..] = *rest {
        (_, *rest) = content(field)?;
    }
    Some(&from_here[..from_here.len() - rest.len()])
}
