//! Collector of one thread of a query: gets the lines of the requested names and times, and adds each value to its
//! bucket.
//!
//! Filters are looked at, and keys made, once for each spelling of name and tags; what came of it is remembered.

use crate::{
    Kind, Look,
    exec::{
        accumulator::{Accumulator, Sample},
        budget::MemoryBudget,
        groups::Groups,
    },
    plan::{
        labels::write_key,
        request::{By, Request},
    },
};
use crate::{
    limits::{QUERY_TAGS_REMEMBERED_BYTES_MAX, QUERY_TAGS_REMEMBERED_MAX},
    scan::{LinePosition, Stop, Visitor},
};
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use metric::Line;
use std::hash::{BuildHasher, Hasher};

/// Cache entry: the group that a spelling of name and tags belongs to.
struct Remembered {
    /// Name, a zero, tags.
    spelling: Box<[u8]>,
    /// `None`: the filters do not want it.
    group: Option<u32>,
}

impl Remembered {
    fn is(&self, name: &[u8], tags: &[u8]) -> bool {
        self.spelling.len() == name.len() + 1 + tags.len()
            && self.spelling.starts_with(name)
            && self.spelling.ends_with(tags)
            && self.spelling[name.len()] == 0
    }
}

/// Groups and cache of one thread of a query.
pub(crate) struct Collector<'a, T> {
    request: &'a Request,
    held: &'a MemoryBudget,
    look: Look<'a>,
    /// True if the request groups or filters by tags, so that tags are parsed.
    needs_tags: bool,
    remembered: HashTable<Remembered>,
    remembered_bytes: usize,
    /// The latest name and its group, where tags do not matter: the next name is mostly the same.
    latest_name: Vec<u8>,
    latest_group: Option<u32>,
    hasher: RandomState,
    /// Scratch buffer in which keys are built.
    key: Vec<u8>,
    /// Values that will be points.
    points: usize,
    /// Metrics left out as their values are NaN or infinite.
    pub non_finite: u64,
    pub groups: Groups<T>,
}

impl<'a, T: Accumulator> Collector<'a, T> {
    pub fn new(request: &'a Request, held: &'a MemoryBudget, look: Look<'a>) -> Self {
        Self {
            request,
            held,
            look,
            needs_tags: request.by != By::Nothing || !request.filters.is_empty(),
            remembered: HashTable::new(),
            remembered_bytes: 0,
            // No line has an empty name.
            latest_name: Vec::new(),
            latest_group: None,
            hasher: RandomState::default(),
            key: Vec::new(),
            points: 0,
            non_finite: 0,
            groups: Groups::new(),
        }
    }

    #[inline]
    fn group(&mut self, line: &Line<'_>) -> Result<Option<u32>, Stop> {
        if self.needs_tags {
            return self.find(line, line.tags);
        }
        if self.latest_name != line.name {
            self.latest_group = self.find(line, b"{}")?;
            self.latest_name.clear();
            self.latest_name.extend_from_slice(line.name);
        }
        Ok(self.latest_group)
    }

    #[inline]
    fn find(&mut self, line: &Line<'_>, tags: &[u8]) -> Result<Option<u32>, Stop> {
        let hash = hash(&self.hasher, line.name, tags);
        match self.remembered.find(hash, |remembered| remembered.is(line.name, tags)) {
            Some(remembered) => Ok(remembered.group),
            None => self.meet(hash, line, tags),
        }
    }

    /// A spelling that is not remembered.
    #[cold]
    fn meet(&mut self, hash: u64, line: &Line<'_>, tags: &[u8]) -> Result<Option<u32>, Stop> {
        let mut group = None;
        // What stops it is a bound, or the deadline, which whoever scans finds too.
        let is_admitted = self.request.filters.admit(line, self.look).map_err(|refusal| Stop(refusal.to_string()))?;
        if is_admitted {
            // A value is the same value whatever the name is, and without the tag there is none.
            let of_tag = matches!(self.request.kind, Kind::TagValues(_));
            write_key(if of_tag { b"" } else { line.name }, tags, &self.request.by, &mut self.key);
            if !(of_tag && self.key.ends_with(b"{}")) {
                group = Some(self.groups.group(&self.key, self.held)?);
            }
        }
        let bytes = line.name.len() + 1 + tags.len();
        if self.remembered.len() >= QUERY_TAGS_REMEMBERED_MAX
            || self.remembered_bytes + bytes > QUERY_TAGS_REMEMBERED_BYTES_MAX
        {
            self.remembered.clear();
            self.remembered_bytes = 0;
        }
        self.remembered_bytes += bytes;
        let spelling = [line.name, b"\0", tags].concat().into_boxed_slice();
        let hasher = &self.hasher;
        self.remembered.insert_unique(hash, Remembered { spelling, group }, |remembered| {
            let name = remembered.spelling.iter().position(|&byte| byte == 0).unwrap_or_default();
            self::hash(hasher, &remembered.spelling[..name], &remembered.spelling[name + 1..])
        });
        Ok(group)
    }
}

/// A hash that is keyed anew for each thread: whoever sends tags cannot choose them so that they meet in one place.
#[inline]
fn hash(hasher: &RandomState, name: &[u8], tags: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(name);
    hasher.write(tags);
    hasher.finish()
}

impl<T: Accumulator> Visitor for Collector<'_, T> {
    #[inline]
    fn line(&mut self, place: LinePosition, line: &Line<'_>) -> Result<(), Stop> {
        let Some(group) = self.group(line)? else { return Ok(()) };
        let value = match line.number() {
            Some(digits) => digits,
            None if T::TAKES_ANY_VALUE => line.value,
            None => {
                self.non_finite += 1;
                return Ok(());
            }
        };
        if T::TAKES_POINTS && self.request.points.is_none() {
            self.points += 1;
            self.held.check_points(self.points)?;
        }
        let sample = Sample { timestamp_ms: line.timestamp_ms, place, value };
        self.groups.at(group, line.timestamp_ms, self.request, self.held)?.add(&sample, self.request, self.held)
    }
}
