//! Counts of a test, and the table of them.

use std::{fmt, ops::AddAssign};

/// Counts of one run. Those that are marked so have to be zero.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Times the process was killed with SIGKILL.
    pub kills: u64,
    /// Those of them at which the power was lost as well.
    pub power_cuts: u64,
    /// Times it ended by itself, on a signal or for a failure.
    pub ends: u64,
    /// Times the log was seen to have been repaired at a start.
    pub repaired: u64,
    /// Batches acknowledged with 200.
    pub acknowledged: u64,
    /// Batches with another response.
    pub refused: u64,
    /// Batches that got no response.
    pub unanswered: u64,
    /// Lines in the log.
    pub lines: u64,
    /// Segments that were sealed.
    pub segments: u64,
    /// Those of them that retention has left.
    pub left: u64,
    /// Those of them that were compressed.
    pub compressed: u64,
    /// Batches that were lost as the level allows at which they were acknowledged: memory with the process, write with
    /// the power.
    pub lost_below_level: u64,
    /// Batches that a loss of power has cut, and that were not acknowledged at the level fsync.
    pub cut_by_power: u64,
    /// Lines that a receiver has acknowledged, from the first of the log on.
    pub delivered: u64,
    /// Must be zero: acknowledged batches that are not in the log.
    pub lost: u64,
    /// Must be zero: batches that are in it more than once.
    pub twice: u64,
    /// Must be zero: lines that are not to the byte what was sent.
    pub torn: u64,
    /// Must be zero: batches that are in it in part, or spread over two segments.
    pub partial: u64,
    /// Must be zero: batches behind a later one of their connection.
    pub disordered: u64,
    /// Must be zero: refused batches that are in it.
    pub refused_stored: u64,
    /// Must be zero: lines that a receiver was sent before one that comes before them, or never.
    pub undelivered: u64,
    /// Must be zero: anything else that was not as promised.
    pub broken_promises: u64,
    /// The first of what was wrong, for a person.
    pub problems: Vec<String>,
}

/// Problems that are printed; all are counted.
const PROBLEMS_TOLD_MAX: usize = 10;

type Value = fn(&Figures) -> u64;

/// Names, values, and which must be zero, in the order of the table.
const COLUMNS: [(&str, Value); 22] = [
    ("kills", |f| f.kills),
    ("power cuts", |f| f.power_cuts),
    ("ends", |f| f.ends),
    ("repaired", |f| f.repaired),
    ("lines", |f| f.lines),
    ("sealed", |f| f.segments),
    ("left", |f| f.left),
    ("zstd", |f| f.compressed),
    ("acknowledged", |f| f.acknowledged),
    ("refused", |f| f.refused),
    ("unanswered", |f| f.unanswered),
    ("lost, allowed", |f| f.lost_below_level),
    ("cut, allowed", |f| f.cut_by_power),
    ("delivered", |f| f.delivered),
    ("LOST", |f| f.lost),
    ("TWICE", |f| f.twice),
    ("TORN LINES", |f| f.torn),
    ("PARTIAL", |f| f.partial),
    ("DISORDERED", |f| f.disordered),
    ("REFUSED STORED", |f| f.refused_stored),
    ("UNDELIVERED", |f| f.undelivered),
    ("BROKEN", |f| f.broken_promises),
];
/// The last columns are those that must be zero; their names are in capitals.
const MUST_BE_ZERO: usize = 8;
const NAME_WIDTH: usize = 37;

impl Figures {
    /// Returns true if every count that must be zero is.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        COLUMNS[COLUMNS.len() - MUST_BE_ZERO..].iter().all(|(_, value)| value(self) == 0)
    }

    /// Tells what was wrong, in addition to its count.
    pub fn tell(&mut self, problem: impl FnOnce() -> String) {
        if self.problems.len() < PROBLEMS_TOLD_MAX {
            self.problems.push(problem());
        }
    }

    /// Counts something as not as promised, unless `kept`.
    pub fn promise(&mut self, kept: bool, problem: impl FnOnce() -> String) {
        if !kept {
            self.broken_promises += 1;
            self.tell(problem);
        }
    }

    /// The line that stands above the rows.
    #[must_use]
    pub fn header() -> String {
        let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
        format!("{:NAME_WIDTH$}  {}", "", names.join("  "))
    }

    /// One row.
    #[must_use]
    pub fn row(&self, name: &str) -> String {
        let cells: Vec<String> =
            COLUMNS.iter().map(|(column, value)| format!("{:>width$}", value(self), width = column.len())).collect();
        format!("{name:NAME_WIDTH$}  {}", cells.join("  "))
    }
}

impl AddAssign<&Self> for Figures {
    fn add_assign(&mut self, other: &Self) {
        macro_rules! add {
            ($($field:ident),*) => { $(self.$field += other.$field;)* };
        }
        add!(
            kills,
            power_cuts,
            ends,
            repaired,
            acknowledged,
            refused,
            unanswered,
            lines,
            segments,
            left,
            compressed,
            lost_below_level,
            cut_by_power,
            delivered
        );
        add!(lost, twice, torn, partial, disordered, refused_stored, undelivered, broken_promises);
        self.problems.extend(other.problems.iter().cloned());
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", Self::header(), self.row(""))?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "  {problem}"))
    }
}
