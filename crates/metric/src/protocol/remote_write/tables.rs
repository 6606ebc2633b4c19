//! Tables of symbols that came before: an agent sends the same series with the next scrape, and then the same table, in
//! which equal references mean equal texts.
//!
//! What differs between the tables of two agents of a fleet is mostly the value of one label, the gap of their series.
//! So a symbol that came in gaps alone may be another one; all else of a table is compared, byte by byte.

use super::references::Symbols;
use crate::limits::{SYMBOL_TABLE_BYTES_MAX, SYMBOL_TABLES_MAX};

/// Tables that come for the first time for each that replaces a kept one: of more tables than are kept, some are found.
const MISSES_PER_REPLACEMENT: u32 = 8;

/// Places of tables: of those that are kept, and one of all others.
pub(super) const PLACES: usize = SYMBOL_TABLES_MAX + 1;

/// A table of symbols.
#[derive(Debug, Clone, Copy)]
pub(super) struct TableId {
    /// Number of this table alone; not 0.
    pub number: u64,
    /// The place that it has now, less than [`PLACES`].
    pub place: usize,
}

/// A table that is kept.
#[derive(Debug)]
struct Table {
    /// Number of this table alone.
    number: u64,
    /// The fields of its symbols, as they were at the front of a body.
    fields: Vec<u8>,
    /// The symbols that may be others; `None` before the end of the first body with this table.
    gaps: Option<Vec<Gap>>,
}

/// A symbol that came in gaps alone.
#[derive(Debug)]
struct Gap {
    reference: usize,
    /// Offsets of its field, and behind it.
    start: usize,
    end: usize,
}

impl Table {
    /// True if `symbols`, with these fields, are those of this table, but for those that may be others.
    fn is(&self, symbols: &Symbols, fields: &[u8]) -> bool {
        // A whole field before a gap, and one behind it, begin and end in both tables where these say.
        let (mut at, mut kept_at) = (0, 0);
        for gap in self.gaps.iter().flatten() {
            let (Some(start), Some(end)) = (symbols.end(gap.reference - 1), symbols.end(gap.reference)) else {
                return false;
            };
            if fields.get(at..start) != self.fields.get(kept_at..gap.start) {
                return false;
            }
            (at, kept_at) = (end, gap.end);
        }
        fields.get(at..) == self.fields.get(kept_at..)
    }
}

/// The tables that are kept, for all bodies of a core.
#[derive(Debug)]
pub(super) struct Tables {
    kept: Vec<Table>,
    /// The number of the latest table that was another one than those kept.
    latest: u64,
    /// Index of the table of the present body, if that is kept.
    present: Option<usize>,
    /// True if a series of the present body was taken into the cache.
    is_learning: bool,
    /// Index of the table that is replaced next.
    oldest: usize,
    misses: u32,
}

impl Tables {
    pub(super) const fn new() -> Self {
        Self { kept: Vec::new(), latest: 0, present: None, is_learning: false, oldest: 0, misses: 0 }
    }

    /// Capacity in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        let of_table =
            |table: &Table| table.fields.capacity() + table.gaps.as_ref().map_or(0, Vec::capacity) * size_of::<Gap>();
        self.kept.capacity() * size_of::<Table>() + self.kept.iter().map(of_table).sum::<usize>()
    }

    /// Tables that are kept.
    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.kept.len()
    }

    /// A table that is not kept.
    pub(super) const fn other(&mut self) -> TableId {
        (self.present, self.is_learning) = (None, false);
        self.latest += 1;
        TableId { number: self.latest, place: SYMBOL_TABLES_MAX }
    }

    /// The table with these fields: that of the body before with an equal one, if it was kept.
    pub(super) fn find(&mut self, symbols: &Symbols, fields: &[u8]) -> TableId {
        let other = self.other();
        let known = self.kept.iter().position(|table| table.is(symbols, fields));
        self.present = known.or_else(|| self.place(fields.len()));
        let Some((place, table)) = self.present.and_then(|place| Some((place, self.kept.get_mut(place)?))) else {
            return other;
        };
        if known.is_none() {
            (table.number, table.gaps) = (other.number, None);
            table.fields.clear();
            table.fields.reserve_exact(fields.len());
            table.fields.extend_from_slice(fields);
        }
        TableId { number: table.number, place }
    }

    /// Index of the place for a table of this length, if it is to be kept.
    fn place(&mut self, bytes: usize) -> Option<usize> {
        if bytes > SYMBOL_TABLE_BYTES_MAX {
            return None;
        }
        if self.kept.len() < SYMBOL_TABLES_MAX {
            self.kept.push(Table { number: 0, fields: Vec::new(), gaps: None });
            return Some(self.kept.len() - 1);
        }
        self.misses += 1;
        if self.misses < MISSES_PER_REPLACEMENT {
            return None;
        }
        self.misses = 0;
        let index = self.oldest;
        self.oldest = (index + 1) % SYMBOL_TABLES_MAX;
        Some(index)
    }

    /// Notes that a series of the present body was taken into the cache.
    pub(super) const fn note_taken(&mut self) {
        self.is_learning = true;
    }

    /// Ends a body, whatever became of it. In those to come, the symbols that came in gaps alone may be others.
    pub(super) fn end_body(&mut self, symbols: &Symbols) {
        let Some(table) = self.present.take().and_then(|index| self.kept.get_mut(index)) else { return };
        let is_known = match &table.gaps {
            // It is not known of the series that were taken whether they have a gap.
            None if self.is_learning => false,
            None => {
                table.gaps = Some(gaps(symbols));
                true
            }
            // A series has one of them otherwise: in the next body it may be another, and the bytes would be the same.
            Some(gaps) => !gaps.iter().any(|gap| symbols.is_compared(gap.reference)),
        };
        if !is_known {
            self.latest += 1;
            (table.number, table.gaps) = (self.latest, None);
        }
    }
}

/// The symbols that came in gaps alone, as far as they are known.
fn gaps(symbols: &Symbols) -> Vec<Gap> {
    let mut references: Vec<_> = symbols.gaps().iter().copied().filter(|&gap| !symbols.is_compared(gap)).collect();
    references.sort_unstable();
    references.dedup();
    let gap = |reference: usize| {
        let (start, end) = (symbols.end(reference.checked_sub(1)?)?, symbols.end(reference)?);
        Some(Gap { reference, start, end })
    };
    references.into_iter().filter_map(gap).collect()
}
