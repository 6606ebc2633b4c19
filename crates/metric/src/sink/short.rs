//! Short lines: those whose parts are a block of memory each, in a place that has space for all blocks. So a part is
//! copied with what is behind it in its block, which the next part is written over, and no place in the line is looked
//! at for what it has left.

use super::cached::{GAP_BLOCK_BYTES, TEXT_BLOCK_BYTES, put_float_or_stale};
use super::{BEFORE_VALUE, HEAD_BYTES, LineSink, Part, before_tags};
use crate::Kind;
use crate::block::{self, BLOCK_BYTES};
use crate::protocol::ShortSeries;
use crate::value_text::{Place, VALUE_BYTES_MAX, put_integer};

/// Blocks of the tags in front of those of a series, at most.
const FRONT_BLOCKS_MAX: usize = 8;
/// Parts of a line besides its head and these, at most.
const PARTS_MAX: usize = 8;
/// Bytes of a short line, with what is written behind it, at most: the length of each part is a byte.
const LINE_BYTES_MAX: usize = HEAD_BYTES + PARTS_MAX * u8::MAX as usize + FRONT_BLOCKS_MAX * TEXT_BLOCK_BYTES;

/// A text of a short line: a block of memory that it begins, and its length.
pub(crate) type ShortText<'a, const N: usize> = (&'a [u8; N], u8);
/// The value in the gap of a short line.
pub(crate) type ShortGap<'a> = ShortText<'a, GAP_BLOCK_BYTES>;

/// No value in a gap, for a series that has none.
pub(crate) const NO_GAP: ShortGap<'static> = (&[0; GAP_BLOCK_BYTES], 0);

/// A copy of a value for a gap that is short.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GapText {
    block: [u8; GAP_BLOCK_BYTES],
    length: u8,
}

impl GapText {
    /// A copy of `text`; `None` if that is not short.
    pub(crate) fn new(text: &[u8]) -> Option<Self> {
        let mut block = [0; GAP_BLOCK_BYTES];
        block.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self { block, length: u8::try_from(text.len()).ok()? })
    }

    /// The text.
    #[inline(always)]
    pub(crate) const fn short(&self) -> ShortGap<'_> {
        (&self.block, self.length)
    }
}

/// A copy of tags that stand in front of those of each series of a body, or of a part of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrontTags {
    blocks: [[u8; TEXT_BLOCK_BYTES]; FRONT_BLOCKS_MAX],
    /// Blocks that the tags begin.
    count: usize,
    length: usize,
}

impl FrontTags {
    /// No tags.
    pub(crate) const EMPTY: Self = Self { blocks: [[0; TEXT_BLOCK_BYTES]; FRONT_BLOCKS_MAX], count: 0, length: 0 };

    /// Makes it a copy of `tags`. Returns false if these are not short.
    pub(crate) fn take(&mut self, tags: &[u8]) -> bool {
        let Some(place) = self.blocks.as_flattened_mut().get_mut(..tags.len()) else { return false };
        place.copy_from_slice(tags);
        (self.count, self.length) = (tags.len().div_ceil(TEXT_BLOCK_BYTES), tags.len());
        true
    }
}

/// A short line as far as it is written.
struct ShortLine<'l> {
    place: &'l mut [u8; LINE_BYTES_MAX],
    end: usize,
}

impl ShortLine<'_> {
    /// Writes a part, with what is behind it in its block.
    #[inline(always)]
    fn put<const N: usize>(&mut self, (block, length): ShortText<'_, N>) -> Option<()> {
        *self.place.get_mut(self.end..)?.first_chunk_mut()? = *block;
        self.end += usize::from(length);
        Some(())
    }

    /// Writes a text whose length is known when this is compiled.
    #[inline(always)]
    fn put_all<const N: usize>(&mut self, text: &[u8; N]) -> Option<()> {
        const { assert!(N <= u8::MAX as usize) };
        self.put((text, N.to_le_bytes()[0]))
    }

    /// Writes a value with `put`, which returns its length.
    #[inline(always)]
    fn put_value(&mut self, put: impl FnOnce(&mut Place) -> usize) -> Option<()> {
        let bytes = put(self.place.get_mut(self.end..)?.first_chunk_mut()?);
        self.end += bytes.min(VALUE_BYTES_MAX);
        Some(())
    }

    #[inline(always)]
    fn put_front(&mut self, front: &FrontTags) -> Option<()> {
        for (index, block) in front.blocks.iter().take(front.count).enumerate() {
            *self.place.get_mut(self.end + index * TEXT_BLOCK_BYTES..)?.first_chunk_mut()? = *block;
        }
        self.end += front.length;
        Some(())
    }

    /// Writes the tags of a series, with `gap` as the value that it lacks, and the end of the line.
    #[inline(always)]
    fn put_rest(&mut self, series: &ShortSeries<'_>, gap: ShortGap<'_>) -> Option<()> {
        self.put((&series.blocks[1], series.lengths[1]))?;
        self.put(gap)?;
        self.put((&series.blocks[2], series.lengths[2]))
    }
}

/// The value of a metric, as short lines are made of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ShortValue<'a> {
    /// As [`Value::Digits`](crate::Value).
    Digits(Part<'a>),
    /// As [`Value::Float`](crate::Value).
    Float(f64),
    /// As [`Value::Int`](crate::Value).
    Int(i64),
}

impl ShortValue<'_> {
    #[inline(always)]
    fn put(self, line: &mut ShortLine<'_>) -> Option<()> {
        match self {
            Self::Digits(digits) => line.put(digits.block::<VALUE_BYTES_MAX>()?),
            Self::Float(float) => line.put_value(|place| put_float_or_stale(float, place)),
            Self::Int(integer) => line.put_value(|place| put_integer(integer < 0, integer.unsigned_abs(), place)),
        }
    }
}

/// True if a text is plain, whatever is behind it in its block.
#[inline(always)]
fn is_plain((block, length): ShortGap<'_>) -> bool {
    let (blocks, _) = block.as_chunks::<BLOCK_BYTES>();
    let flags =
        blocks.iter().rev().fold(0, |flags, block| flags << BLOCK_BYTES | u64::from(block::string_stops(block)));
    flags & ((1 << length) - 1) == 0
}

impl LineSink<'_> {
    /// Begins a short line with its head; and the number of metrics with it. `None` if there may be no space for it, or
    /// a bound may be exceeded.
    #[inline(always)]
    fn begin_short(&mut self, timestamp_ms: i64) -> Option<(ShortLine<'_>, u32)> {
        self.take_head(timestamp_ms)?;
        let known = self.known_with(1).ok()?;
        let place = self.out.get_mut(self.decoded.bytes..)?.first_chunk_mut()?;
        let mut line = ShortLine { place, end: 0 };
        line.put_all(&self.head)?;
        Some((line, known))
    }

    /// Counts a short line of `bytes` bytes.
    #[inline(always)]
    fn count_short(&mut self, known: u32, bytes: usize) {
        self.decoded.bytes += bytes;
        self.known = known;
        self.decoded.metrics += 1;
        self.decoded.far_from_now += u32::from(self.head_is_far);
    }

    /// Writes the line of one sample as [`push_cached`](Self::push_cached) does. `None`, and nothing is written, if it
    /// is for that to decide.
    #[inline(always)]
    pub(crate) fn push_short(
        &mut self,
        series: &ShortSeries<'_>,
        gap: ShortGap<'_>,
        kind: Kind,
        value: ShortValue<'_>,
        timestamp_ms: i64,
    ) -> Option<()> {
        let (mut line, known) = self.begin_short(timestamp_ms)?;
        line.put((&series.blocks[0], series.lengths[0]))?;
        value.put(&mut line)?;
        line.put(before_tags(kind))?;
        line.put_rest(series, gap)?;
        let bytes = line.end;
        self.count_short(known, bytes);
        Some(())
    }

    /// As [`push_short`](Self::push_short), with `front` as
    /// [`push_cached_behind`](Self::push_cached_behind) has it.
    #[inline(always)]
    pub(crate) fn push_short_behind(
        &mut self,
        series: &ShortSeries<'_>,
        front: &FrontTags,
        gap: ShortGap<'_>,
        kind: Kind,
        value: ShortValue<'_>,
        timestamp_ms: i64,
    ) -> Option<()> {
        let (mut line, known) = self.begin_short(timestamp_ms)?;
        line.put((&series.blocks[0], series.lengths[0]))?;
        value.put(&mut line)?;
        line.put(before_tags(kind))?;
        line.put_front(front)?;
        line.put_rest(series, gap)?;
        let bytes = line.end;
        self.count_short(known, bytes);
        Some(())
    }

    /// As [`push_short`](Self::push_short), of a gauge with a name as
    /// [`push_cached_field`](Self::push_cached_field) has it, with digits as its value.
    #[inline(always)]
    pub(crate) fn push_short_field(
        &mut self,
        series: &ShortSeries<'_>,
        field: Part<'_>,
        gap: ShortGap<'_>,
        digits: Part<'_>,
        timestamp_ms: i64,
    ) -> Option<()> {
        let field = field.block::<GAP_BLOCK_BYTES>().filter(|&field| is_plain(field))?;
        let (mut line, known) = self.begin_short(timestamp_ms)?;
        line.put((&series.blocks[0], series.lengths[0]))?;
        if field.1 > 0 {
            line.put_all(b"_")?;
            line.put(field)?;
        }
        line.put_all(BEFORE_VALUE.first_chunk::<BEFORE_VALUE_BYTES>()?)?;
        line.put(digits.block::<VALUE_BYTES_MAX>()?)?;
        line.put(const { before_tags(Kind::Gauge) })?;
        line.put_rest(series, gap)?;
        let bytes = line.end;
        self.count_short(known, bytes);
        Some(())
    }
}

const BEFORE_VALUE_BYTES: usize = BEFORE_VALUE.len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_plain_whatever_is_behind_it() {
        for length in 0..=GAP_BLOCK_BYTES {
            for odd in [b'"', b'\\', b'\n', 0, 0x1f, 0x80, 0xff] {
                for place in 0..GAP_BLOCK_BYTES {
                    let mut block = [b'a'; GAP_BLOCK_BYTES];
                    block[place] = odd;
                    assert_eq!(is_plain((&block, u8::try_from(length).unwrap())), place >= length);
                }
            }
        }
    }
}
