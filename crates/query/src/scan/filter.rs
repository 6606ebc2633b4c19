//! Filter on the lines of a block, which reads as few of their bytes as that takes.
//!
//! A line begins with the same bytes at the same places: its timestamp, whose texts are in the order of their times,
//! and then its name. So a line that is not wanted is known by its beginning, and the next is found by its line feed;
//! only one that may be wanted is parsed, and then in full, and so is the line behind one that was wanted, since these
//! stand in runs. A line that does not begin as ours do is foreign; one that does, and is not wanted, passes for ours
//! unless it was parsed. Predicates are called only with names that were checked: what stands in a
//! file may be anything.

use super::{LinePosition, Names, ScanError, ScanFilter, Scanned, Visitor, zone_map::ZoneMapBuilder};
use memchr::memchr2;
use metric::{
    BEFORE_NAME, BEFORE_TIMESTAMP, BEFORE_VALUE, Line, LineFeeds, Lines, TIMESTAMP_BYTES, TIMESTAMP_MS_MAX,
    TIMESTAMP_MS_MIN, format_timestamp, is_spelled,
};

const TIMESTAMP_AT: usize = BEFORE_TIMESTAMP.len();
const TIMESTAMP_END: usize = TIMESTAMP_AT + TIMESTAMP_BYTES;
const NAME_AT: usize = TIMESTAMP_END + BEFORE_NAME.len();

/// Lines that match before somebody looks whether to go on.
const LINES_BETWEEN_LOOKS: u64 = 1_024;

/// Filter of a scan, prepared as bytes of the log.
pub struct Filter<'a> {
    wanted: &'a ScanFilter<'a>,
    /// The one name that is wanted, and what stands behind it.
    exact: Vec<u8>,
    /// Eight bytes of these, with the place of the first, which are looked at before the others: the last ones of the
    /// name and the quotation mark behind it. Most other names have another length or another end.
    probe: (usize, [u8; PROBE_BYTES]),
    from: Option<[u8; TIMESTAMP_BYTES]>,
    to: Option<[u8; TIMESTAMP_BYTES]>,
}

/// Bytes of an exact name that are looked at first.
const PROBE_BYTES: usize = 8;
const _: () = assert!(PROBE_BYTES <= BEFORE_VALUE.len());

/// Classification of a line by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    Wanted,
    Unwanted,
    Foreign,
}

impl<'a> Filter<'a> {
    pub fn new(wanted: &'a ScanFilter<'a>) -> Self {
        let exact = match &wanted.names {
            Names::Exact(name) => [name, BEFORE_VALUE].concat(),
            Names::All | Names::Matching(_) => Vec::new(),
        };
        let probe_at = exact.len().saturating_sub(BEFORE_VALUE.len() + PROBE_BYTES - 1);
        let probe = exact.get(probe_at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        let text = |ms: i64| format_timestamp(ms.clamp(TIMESTAMP_MS_MIN, TIMESTAMP_MS_MAX));
        Self {
            wanted,
            probe: (probe_at, probe),
            exact,
            from: (wanted.from_ms > TIMESTAMP_MS_MIN).then(|| text(wanted.from_ms)),
            to: (wanted.to_ms <= TIMESTAMP_MS_MAX).then(|| text(wanted.to_ms)),
        }
    }

    /// Shows the lines of `text` that are wanted to `visitor`. They begin at `place`. `check` is called once in a
    /// while.
    pub fn visit<V: Visitor>(
        &self,
        text: &[u8],
        place: LinePosition,
        verdicts: &mut Verdicts,
        visitor: &mut V,
        scanned: &mut Scanned,
        check: impl Fn() -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        let mut lines = Lines::new(text);
        let mut feeds = LineFeeds::new(text);
        let mut at = 0;
        // Whether the line before was wanted.
        let mut is_run = false;
        loop {
            if !is_run {
                at = self.skip_unwanted(text, at, &mut feeds, verdicts, scanned);
            }
            lines.skip_to(at);
            match lines.next() {
                None => return Ok(()),
                Some(Err(_)) => {
                    scanned.foreign_lines += 1;
                    is_run = false;
                }
                Some(Ok(line)) => {
                    scanned.lines += 1;
                    is_run = self.wants(&line, verdicts);
                    if is_run {
                        scanned.matched += 1;
                        visitor.line(LinePosition { offset: place.offset + at as u64, ..place }, &line)?;
                        if scanned.matched.is_multiple_of(LINES_BETWEEN_LOOKS) {
                            check()?;
                        }
                    }
                }
            }
            at = lines.byte();
        }
    }

    /// Skips and counts the lines from `at` on that are not wanted, as far as their beginnings show: the offset of the
    /// first that may be, or the end of `text`.
    fn skip_unwanted(
        &self,
        text: &[u8],
        mut at: usize,
        feeds: &mut LineFeeds<'_>,
        verdicts: &mut Verdicts,
        scanned: &mut Scanned,
    ) -> usize {
        let (mut lines, mut ours) = (0, 0);
        while at < text.len() {
            let beginning = self.begins(&text[at..], verdicts);
            if beginning == Beginning::Wanted {
                break;
            }
            let end = feeds.next_from(at);
            // One of ours has no line feed in its beginning.
            ours += u64::from(beginning == Beginning::Unwanted && end.is_some_and(|end| end >= at + NAME_AT));
            lines += 1;
            at = end.map_or(text.len(), |end| end + 1);
        }
        scanned.lines += ours;
        scanned.foreign_lines += lines - ours;
        at
    }

    /// As [`visit`](Self::visit), and has each line parsed to learn what the block holds.
    pub fn learn<'t, V: Visitor>(
        &self,
        text: &'t [u8],
        place: LinePosition,
        verdicts: &mut Verdicts,
        visitor: &mut V,
        scanned: &mut Scanned,
        check: impl Fn() -> Result<(), ScanError>,
    ) -> Result<ZoneMapBuilder<'t>, ScanError> {
        let mut builder = ZoneMapBuilder::new(text);
        let mut lines = Lines::new(text);
        loop {
            let at = lines.byte();
            match lines.next() {
                None => return Ok(builder),
                Some(Err(_)) => {
                    scanned.foreign_lines += 1;
                    builder.see_foreign();
                }
                Some(Ok(line)) => {
                    scanned.lines += 1;
                    builder.see(&line);
                    if !self.wants(&line, verdicts) {
                        continue;
                    }
                    scanned.matched += 1;
                    visitor.line(LinePosition { offset: place.offset + at as u64, ..place }, &line)?;
                    if scanned.matched.is_multiple_of(LINES_BETWEEN_LOOKS) {
                        check()?;
                    }
                }
            }
        }
    }

    #[inline]
    fn wants(&self, line: &Line<'_>, verdicts: &mut Verdicts) -> bool {
        let is_in_time = self.wanted.from_ms <= line.timestamp_ms && line.timestamp_ms < self.wanted.to_ms;
        is_in_time
            && match &self.wanted.names {
                Names::All => true,
                Names::Exact(name) => line.name == name,
                Names::Matching(holds) => verdicts.of(line.name, |name| holds(name)) == Beginning::Wanted,
            }
    }

    #[inline]
    fn begins(&self, line: &[u8], verdicts: &mut Verdicts) -> Beginning {
        let Some((beginning, rest)) = line.split_first_chunk::<NAME_AT>() else { return Beginning::Foreign };
        if !beginning.starts_with(BEFORE_TIMESTAMP) || !beginning.ends_with(BEFORE_NAME) {
            return Beginning::Foreign;
        }
        let timestamp = &beginning[TIMESTAMP_AT..TIMESTAMP_END];
        let is_in_time =
            || self.from.is_none_or(|from| timestamp >= &from[..]) && self.to.is_none_or(|to| timestamp < &to[..]);
        // The cheaper test first.
        let is_wanted = match &self.wanted.names {
            Names::All => is_in_time(),
            Names::Exact(_) => {
                let (probe_at, probe) = &self.probe;
                rest.get(*probe_at..).and_then(<[u8]>::first_chunk) == Some(probe)
                    && rest.starts_with(&self.exact)
                    && is_in_time()
            }
            Names::Matching(holds) if is_in_time() => {
                return name(rest).map_or(Beginning::Foreign, |name| verdicts.of(name, |name| holds(name)));
            }
            Names::Matching(_) => false,
        };
        if is_wanted { Beginning::Wanted } else { Beginning::Unwanted }
    }
}

/// The string that `text` begins with, without its closing quotation mark.
fn name(text: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', &text[at..])?;
        if text[at] == b'"' {
            return Some(&text[..at]);
        }
        at += 2;
        if at > text.len() {
            return None;
        }
    }
}

/// Cache of the latest results of a slow name predicate: few names occur again and again.
pub struct Verdicts {
    /// By a name's hash; what comes to a place that is taken takes it.
    places: Vec<Option<(Box<[u8]>, Beginning)>>,
    /// The place that was used last: the next name is mostly the same.
    latest: usize,
}

impl Verdicts {
    const PLACES: usize = 4_096;
    /// For a longer name the predicate is called each time.
    const NAME_BYTES_MAX: usize = 1_024;

    pub fn new() -> Self {
        Self { places: Vec::new(), latest: 0 }
    }

    /// Foreign if no line of ours can have the name; the predicate is not called then.
    fn of(&mut self, name: &[u8], holds: impl FnOnce(&[u8]) -> bool) -> Beginning {
        if let Some(Some((known, verdict))) = self.places.get(self.latest)
            && **known == *name
        {
            return *verdict;
        }
        let judge = |name: &[u8]| {
            if name.is_empty() || !is_spelled(name) {
                Beginning::Foreign
            } else if holds(name) {
                Beginning::Wanted
            } else {
                Beginning::Unwanted
            }
        };
        if name.len() > Self::NAME_BYTES_MAX {
            return judge(name);
        }
        if self.places.is_empty() {
            self.places.resize(Self::PLACES, None);
        }
        self.latest = hash(name) % Self::PLACES;
        let place = &mut self.places[self.latest];
        match place {
            Some((known, verdict)) if **known == *name => *verdict,
            _ => place.insert((name.into(), judge(name))).1,
        }
    }
}

/// Eight bytes at a time, each multiplied in and folded (after Bentley's and Knuth's multiplicative hashing). Whoever
/// makes names collide only makes the predicate be called.
pub fn hash(name: &[u8]) -> usize {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = name.len() as u64;
    let (words, rest) = name.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    for word in words.iter().chain([&last]) {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
        hash ^= hash >> 29;
    }
    #[expect(clippy::cast_possible_truncation, reason = "any bits of it will do")]
    let hash = hash as usize;
    hash
}
