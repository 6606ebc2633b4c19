//! Queries of the log while it is written, against what clients know: what was acknowledged as written before a query
//! is in its result, and nothing that was not sent before its end; each line once, and no batch in part.

use crate::{
    book::Book,
    life::{DIRECTORY, Shared, locked},
    options::Options,
};
use host::thread;
use log::{AckLevel, LogStatus};
use machine::{Faults, Random};
use query::{Bounds, ExecLimits, Kind, QueryResult, Request, run, scan::Source};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::{Duration, Instant},
};

/// Times that every line has, and times that none has.
const ALL: &str = "from=2026-01-01T00:00:00Z&to=2026-01-03T00:00:00Z";
const NONE: &str = "from=2026-01-03T00:00:00Z&to=2026-01-04T00:00:00Z";
/// Seconds that a query may take: of the clock on the wall, so that it never does.
const DEADLINE_SECONDS: u64 = 86_400;
/// Microseconds between two queries, at most.
const PAUSE_US_MAX: u64 = 30_000;

/// Client that queries the log.
pub struct Querier {
    life: usize,
    source: Source,
    book: Shared,
    random: Random,
    /// Faults may make a query fail.
    may_fail: bool,
    /// Retention may delete what was acknowledged.
    retains: bool,
    queries: u64,
}

/// The lines of each batch that a result has.
type Seen = BTreeMap<usize, BTreeSet<usize>>;

impl Querier {
    pub fn new(
        life: usize,
        status: &Arc<LogStatus>,
        book: &Shared,
        random: Random,
        options: &Options,
        is_calm: bool,
    ) -> Self {
        let Faults { read_error, no_descriptor, .. } = options.faults;
        Self {
            life,
            source: Source::server(Path::new(DIRECTORY), Arc::clone(status)),
            book: Arc::clone(book),
            random,
            // The pages that a failed sync has lost may be missing under a sidecar's checksum.
            may_fail: locked(book).sync_failed || (!is_calm && read_error + no_descriptor > 0),
            retains: options.retains(),
            queries: options.queries,
        }
    }

    /// Asks as often as the seed wants. Returns itself, for a last time.
    pub fn run(mut self) -> Self {
        for _ in 0..self.queries {
            thread::sleep(Duration::from_micros(self.random.below(PAUSE_US_MAX)));
            self.query();
        }
        self
    }

    /// Asks once, in one way or another.
    pub fn query(&mut self) {
        match self.random.below(8) {
            0..4 => self.lines(Kind::Query, &format!("name=~m.&agg=raw&{ALL}")),
            4 => self.lines(Kind::TagValues("b".to_owned()), ALL),
            5 | 6 => self.count(),
            _ => {
                if let Some(result) = self.evaluate(Kind::Series, NONE) {
                    assert!(result.series.is_empty(), "a query sees series outside of its time");
                }
            }
        }
    }

    fn evaluate(&self, kind: Kind, parameters: &str) -> Option<QueryResult> {
        let request = Request::parse(kind, parameters, 0).expect("the parameters are right");
        let limits = ExecLimits {
            threads: 1,
            deadline: Instant::now() + Duration::from_secs(DEADLINE_SECONDS),
            cancel: &AtomicBool::new(false),
            scanned_bytes: &AtomicU64::new(0),
        };
        match run(&request, &self.source, Bounds::default(), &limits) {
            Ok(result) => Some(result),
            Err(_) if self.may_fail => None,
            Err(refusal) => panic!("a query fails without a fault of the disk: {refusal}"),
        }
    }

    /// The batches that have to be in the result of a query from now on.
    fn wanted(&self, book: &Book) -> Vec<usize> {
        let batches = book.batches.iter().enumerate();
        let is_wanted = |batch: &crate::book::Batch| {
            let is_ours = batch.producer.0 == self.life;
            let is_written = is_ours && batch.is_acknowledged && batch.level != AckLevel::Memory;
            !self.retains && !batch.is_retired && (batch.is_present || is_written)
        };
        batches.filter(|(_, batch)| is_wanted(batch)).map(|(number, _)| number).collect()
    }

    /// Asks for all lines, or for what distinguishes them.
    fn lines(&self, kind: Kind, parameters: &str) {
        let wanted = self.wanted(&locked(&self.book));
        let Some(result) = self.evaluate(kind, parameters) else { return };
        let book = locked(&self.book);
        let mut seen = Seen::new();
        for series in &result.series {
            let Some((number, line)) = line_of(series.key.tags()) else {
                assert!(book.lost_power, "a query sees a line that no client sent");
                continue;
            };
            let Some(batch) = book.batches.get(number) else {
                assert!(book.lost_power, "a query sees batch {number}, which no client has sent yet");
                continue;
            };
            let is_once = series.points.len() <= 1 || batch.may_be_partial;
            assert!(is_once, "a query sees line {line} of batch {number} {} times", series.points.len());
            seen.entry(number).or_default().insert(line);
        }
        for number in wanted {
            assert!(seen.contains_key(&number), "batch {number} was acknowledged before a query that does not see it");
        }
        for (&number, lines) in &seen {
            let batch = &book.batches[number];
            assert!(!batch.is_refused, "a query sees batch {number}, which was refused");
            let count = batch.lines().count();
            let is_whole = lines.len() == count || batch.may_be_partial;
            assert!(is_whole, "a query sees {} of {count} lines of batch {number}", lines.len());
        }
    }

    /// Asks for the number of lines of one name.
    fn count(&mut self) {
        let name = format!("m{}", self.random.below(4));
        let wanted = self.wanted(&locked(&self.book));
        let Some(result) = self.evaluate(Kind::Query, &format!("name={name}&agg=count&{ALL}")) else { return };
        let book = locked(&self.book);
        let needle = format!("\"name\":\"{name}\"");
        let lines_of = |number: usize| book.batches[number].lines().filter(|line| line.contains(&needle)).count();
        let least: usize = wanted.into_iter().map(lines_of).sum();
        let may_be = |&number: &usize| !book.batches[number].is_refused;
        let most: usize = (0..book.batches.len()).filter(may_be).map(lines_of).sum();
        let points = result.series.iter().flat_map(|series| &series.points);
        let count = points.map(|point| point.value.as_f64()).sum::<f64>() as usize;
        assert!(least <= count, "a query counts {count} lines of {name}, and {least} were acknowledged before");
        // What was stored in part may be there beside the whole.
        let is_clear = !book.batches.iter().any(|batch| batch.may_be_partial);
        assert!(count <= most || !is_clear, "a query counts {count} lines of {name}, and {most} were sent");
    }
}

/// The number of the batch and that of the line in it, of the tags of a line.
fn line_of(tags: &[u8]) -> Option<(usize, usize)> {
    let mut parts = std::str::from_utf8(tags).ok()?.strip_prefix("{\"b\":\"")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_name_their_batch_and_line() {
        assert_eq!(line_of(b"{\"b\":\"12.3.xx\"}"), Some((12, 3)));
        assert_eq!(line_of(b"{\"b\":\"12.3.\"}"), Some((12, 3)));
        assert_eq!((line_of(b"{}"), line_of(b"{\"b\":\"x\"}")), (None, None));
    }
}
