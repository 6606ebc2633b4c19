//! The families that `# TYPE` lines name, and the type of each sample.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use super::tokens::metric_name_bytes;
use super::{Format, Kind};
use crate::limits::TEXT_FAMILIES_MAX;

/// The type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FamilyType {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
    Unknown,
}

/// Role of a sample in its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    /// A metric of this kind.
    Of(Kind),
    /// The time at which its series began.
    Created,
}

impl FamilyType {
    /// Reads the type as `# TYPE` has it. Prometheus and its push gateway tolerate each other's spellings.
    fn read(text: &[u8]) -> Self {
        const NAMES: [(&[u8], FamilyType); 8] = [
            (b"counter", FamilyType::Counter),
            (b"gauge", FamilyType::Gauge),
            (b"histogram", FamilyType::Histogram),
            (b"summary", FamilyType::Summary),
            (b"gaugehistogram", FamilyType::GaugeHistogram),
            (b"gauge_histogram", FamilyType::GaugeHistogram),
            (b"info", FamilyType::Info),
            (b"stateset", FamilyType::StateSet),
        ];
        NAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map_or(Self::Unknown, |&(_, known)| known)
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Counter => Kind::Counter,
            Self::Gauge | Self::Info | Self::StateSet => Kind::Gauge,
            Self::Histogram | Self::GaugeHistogram => Kind::Histogram,
            Self::Summary => Kind::Summary,
            Self::Unknown => Kind::Untyped,
        }
    }

    /// Returns the role of the sample whose name is the family's and `suffix`; `None` if it is of another family.
    #[inline]
    fn member(self, suffix: &[u8], format: Format) -> Option<Member> {
        let is_of = match suffix {
            b"" => true,
            b"_bucket" => matches!(self, Self::Histogram | Self::GaugeHistogram),
            b"_sum" | b"_count" => match self {
                Self::Histogram | Self::Summary => true,
                Self::GaugeHistogram => format == Format::Prometheus,
                _ => false,
            },
            _ if format == Format::Prometheus => false,
            b"_total" => self == Self::Counter,
            b"_created" => {
                return matches!(self, Self::Counter | Self::Histogram | Self::Summary).then_some(Member::Created);
            }
            b"_gsum" | b"_gcount" => self == Self::GaugeHistogram,
            b"_info" => self == Self::Info,
            _ => false,
        };
        is_of.then_some(Member::Of(self.kind()))
    }
}

/// A family, or a name that was looked up. Its name is a part of the body.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
}

impl Span {
    fn of(name: &[u8], body: &[u8]) -> Self {
        let start = (name.as_ptr() as usize).saturating_sub(body.as_ptr() as usize);
        Self { start, end: start + name.len() }
    }

    #[inline]
    fn name(self, body: &[u8]) -> &[u8] {
        body.get(self.start..self.end).unwrap_or_default()
    }
}

/// The hash of what is a hash already.
#[derive(Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.0 = self.0.rotate_left(8) ^ u64::from(byte));
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The families of one body. Names are compared as they stand in the body, escapes included.
#[derive(Debug)]
pub(super) struct Families {
    /// By the hash of the name, under keys that no client knows.
    by_hash: HashMap<u64, (Span, FamilyType), BuildHasherDefault<Identity>>,
    keys: RandomState,
    /// The family of the last `# TYPE`, whose samples mostly follow it.
    current: Option<(Span, FamilyType)>,
    /// The name that was looked up last since then, and what was found: samples of one name mostly come together.
    last: Option<(Span, Member)>,
}

impl Families {
    pub fn new() -> Self {
        Self { by_hash: HashMap::default(), keys: RandomState::new(), current: None, last: None }
    }

    pub fn clear(&mut self) {
        self.by_hash.clear();
        self.current = None;
        self.last = None;
    }

    pub fn kept_bytes(&self) -> usize {
        self.by_hash.capacity() * size_of::<(u64, (Span, FamilyType))>()
    }

    /// Reads a comment behind its `#`; all but `TYPE name type` is ignored.
    pub fn comment(&mut self, body: &[u8], comment: &[u8]) {
        let Some(rest) = trim_blanks(comment).strip_prefix(b"TYPE") else { return };
        let name = trim_blanks(rest);
        if name.len() == rest.len() {
            return;
        }
        let (name, rest) = match name {
            [b'"', quoted @ ..] => match closing_quote(quoted) {
                Some(end) => (&quoted[..end], &quoted[end + 1..]),
                None => return,
            },
            _ => name.split_at(metric_name_bytes(name)),
        };
        if name.is_empty() || !matches!(rest, [b' ' | b'\t', ..]) {
            return;
        }
        let family = (Span::of(name, body), FamilyType::read(rest.trim_ascii()));
        self.current = Some(family);
        self.last = None;
        let hash = self.keys.hash_one(name);
        if self.by_hash.len() < TEXT_FAMILIES_MAX || self.by_hash.contains_key(&hash) {
            self.by_hash.insert(hash, family);
        }
    }

    /// Returns the role of the sample with this name, a part of the body.
    #[inline(always)]
    pub fn member(&mut self, body: &[u8], name: &[u8], format: Format) -> Member {
        match self.current {
            None => Member::Of(Kind::Untyped),
            // As most are.
            Some((span, family)) if span.name(body) == name => Member::Of(family.kind()),
            Some(current) => self.member_beside(current, body, name, format),
        }
    }

    /// As [`member`](Self::member), of a sample whose name is not that of the current family.
    #[inline(never)]
    fn member_beside(
        &mut self,
        (span, family): (Span, FamilyType),
        body: &[u8],
        name: &[u8],
        format: Format,
    ) -> Member {
        if let Some(suffix) = name.strip_prefix(span.name(body))
            && let Some(member) = family.member(suffix, format)
        {
            return member;
        }
        if let Some((last, member)) = self.last
            && last.name(body) == name
        {
            return member;
        }
        let member = self.look_up(body, name, format);
        self.last = Some((Span::of(name, body), member));
        member
    }

    fn look_up(&self, body: &[u8], name: &[u8], format: Format) -> Member {
        let member_of = |family: &[u8], suffix: &[u8]| {
            let (span, found) = self.by_hash.get(&self.keys.hash_one(family))?;
            if span.name(body) == family { found.member(suffix, format) } else { None }
        };
        let by_suffix = || {
            let (family, suffix) = name.split_at(memchr::memrchr(b'_', name)?);
            member_of(family, suffix)
        };
        member_of(name, b"").or_else(by_suffix).unwrap_or(Member::Of(Kind::Untyped))
    }
}

fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

/// Offset of the quotation mark that no backslash stands before.
fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    text.iter().position(|&byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })
}
