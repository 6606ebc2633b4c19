//! The raw log of a load: one record for each request that is counted, as CSV that spreadsheets, pandas, DuckDB and awk
//! read, and that `--merge` makes a report of.
//!
//! ```text
//! # load_test log 1 {"began_unix_s":1767323045.25,"url":"http://127.0.0.1:8080/metrics",…}
//! intended_ns,sent_ns,first_byte_ns,latency_ns,result,connection,stage,metrics,bytes_sent,bytes_received
//! 1000000,1042113,81442,123555,200,3,1,3,361,140
//! 2000000,2000981,,10000000981,timeout,4,1,3,361,0
//! # end {"records":2,"dropped":0,…}
//! ```
//!
//! Times are nanoseconds since the start of the load, `first_byte_ns` is since `sent_ns` and `latency_ns` since
//! `intended_ns`. Records stand in the order in which threads hand them over, not in that of time. A log without its
//! last line is one of a load that was killed, or was cut.
//!
//! The threads of the load write nothing: they hand full batches to a thread of the log and get empty ones back. When
//! there is none, because the disk is behind, records are dropped and counted.

pub(super) mod read;

use super::{Failure, Plan, Setup, Tally, setup::now_s};
use crate::drivers::Chosen;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, Write},
    mem,
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::Duration,
};

/// Beginning of the first line: the number goes up when a column changes its meaning.
pub(super) const MAGIC: &str = "# load_test log 1 ";
pub(super) const COLUMNS: &str =
    "intended_ns,sent_ns,first_byte_ns,latency_ns,result,connection,stage,metrics,bytes_sent,bytes_received";
pub(super) const END: &str = "# end ";
/// Records handed over at once, and batches of a thread: 16 x 4,096 x 72 bytes = 4.7 MB a thread, which holds 0.3 s at
/// 200,000 requests a second.
const BATCH_RECORDS: usize = 4096;
const BATCHES: usize = 16;
/// A batch that is not full is handed over after this time, so that a load that is killed leaves most of its log.
const FLUSH_NS: u64 = 1_000_000_000;

/// Result of a request: the status of its response, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Status(u16),
    Failed(Failure),
}

/// One request. Times are nanoseconds since the start of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub intended_ns: u64,
    pub sent_ns: u64,
    /// When the first piece of its response came; none: there is no response.
    pub first_ns: Option<u64>,
    pub ended_ns: u64,
    pub ended: Ended,
    /// The number of its client among all, which keeps one connection at a time.
    pub connection: u32,
    /// The number of its stage, from 1; 0 without stages.
    pub stage: u16,
    pub metrics: u32,
    pub bytes_sent: u32,
    pub bytes_received: u64,
}

impl Record {
    fn write(&self, line: &mut Vec<u8>) {
        number(line, self.intended_ns, b',');
        number(line, self.sent_ns, b',');
        match self.first_ns {
            Some(first_ns) => number(line, first_ns.saturating_sub(self.sent_ns), b','),
            None => line.push(b','),
        }
        number(line, self.ended_ns.saturating_sub(self.intended_ns), b',');
        match self.ended {
            Ended::Status(status) => number(line, u64::from(status), b','),
            Ended::Failed(failure) => {
                line.extend_from_slice(failure.name().as_bytes());
                line.push(b',');
            }
        }
        number(line, u64::from(self.connection), b',');
        number(line, u64::from(self.stage), b',');
        number(line, u64::from(self.metrics), b',');
        number(line, u64::from(self.bytes_sent), b',');
        number(line, self.bytes_received, b'\n');
    }
}

/// Appends `value` in decimal, and a byte behind it.
fn number(line: &mut Vec<u8>, mut value: u64, end: u8) {
    // Twenty digits at most.
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    line.extend_from_slice(&digits[first..]);
    line.push(end);
}

/// Last line of the log: the counts of the whole load that no record has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Totals {
    pub records: u64,
    pub dropped: u64,
    pub elapsed_ns: u64,
    /// The measured span, see [`Span`](super::Span), and what came in it.
    pub span_ns: u64,
    pub span_successes: u64,
    pub span_metrics: u64,
    pub span_bytes: u64,
    pub scheduled: u64,
    pub missed: u64,
    pub late: u64,
    pub late_by_itself: u64,
    pub unanswered: u64,
    pub connections: u64,
    pub unclosed: u64,
    pub unsolicited: u64,
    pub bytes: u64,
    pub bytes_received: u64,
    pub cpu_ns: u64,
    pub busiest: f64,
    pub starved: f64,
    pub interrupted: bool,
    pub too_many_errors: bool,
    pub other_reason: Option<String>,
    /// Stages: the length of each, its sends that were begun, and those that were missed.
    pub stages: Vec<(u64, u64, u64)>,
}

impl Totals {
    /// All that is a count.
    fn counts(&self) -> Vec<u64> {
        let of_stages = self.stages.iter().flat_map(|(_, begun, missed)| [*begun, *missed]);
        let all = [
            self.records,
            self.dropped,
            self.span_successes,
            self.span_metrics,
            self.span_bytes,
            self.scheduled,
            self.missed,
            self.late,
            self.late_by_itself,
            self.unanswered,
            self.connections,
            self.unclosed,
            self.unsolicited,
            self.bytes,
            self.bytes_received,
            self.cpu_ns,
        ];
        all.into_iter().chain(of_stages).collect()
    }

    /// Those of a load that counted `tally`; what its records and its end are is still to be said.
    fn of(tally: &Tally) -> Self {
        let in_span = tally.span.counts();
        let stages = tally.stages.iter().flat_map(|stages| stages.all());
        Self {
            elapsed_ns: tally.elapsed_ns,
            span_ns: tally.span.length_ns(),
            span_successes: in_span.successes,
            span_metrics: in_span.metrics,
            span_bytes: in_span.bytes_sent,
            scheduled: tally.scheduled,
            missed: tally.missed,
            late: tally.late,
            late_by_itself: tally.late_by_itself,
            unanswered: tally.unanswered,
            connections: tally.connections,
            unclosed: tally.unclosed,
            unsolicited: tally.unsolicited,
            bytes: tally.bytes,
            bytes_received: tally.bytes_received,
            cpu_ns: tally.cpu_ns,
            busiest: tally.busiest,
            starved: tally.starved,
            other_reason: tally.other_reason.clone(),
            stages: stages.map(|counts| (counts.length_ns, counts.begun, counts.missed)).collect(),
            ..Self::default()
        }
    }
}

/// First line of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Header {
    #[serde(flatten)]
    pub setup: Setup,
    /// The end of the warm-up, and that of the measured span where it is known beforehand.
    pub warm_ns: u64,
    pub end_ns: Option<u64>,
}

/// A log whose load has not begun.
#[derive(Debug)]
pub struct Log {
    file: File,
}

/// Result of writing a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Records that were written.
    pub records: u64,
    /// Records that were not, because the disk was behind or failed.
    pub dropped: u64,
    /// Why it could not be written to its end.
    pub error: Option<String>,
}

impl Log {
    /// Makes or empties the file, and writes what there is to say before the load.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(path: &Path, plan: &Plan, chosen: Chosen) -> Result<Self, String> {
        let wrong = |error: io::Error| format!("{}: {error}", path.display());
        let nanoseconds = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let header = serde_json::to_string(&Header {
            setup: Setup::of(plan, chosen, now_s()),
            warm_ns: nanoseconds(plan.warmup),
            end_ns: plan.duration.map(|duration| nanoseconds(plan.warmup + duration)),
        });
        let header = header.map_err(|error| wrong(error.into()))?;
        let mut file = File::create(path).map_err(wrong)?;
        file.write_all(format!("{MAGIC}{header}\n{COLUMNS}\n").as_bytes()).map_err(wrong)?;
        Ok(Self { file })
    }

    /// The thread's end of the log, and an end for each of `threads` of the load.
    pub(super) fn split(self, threads: usize) -> (LogWriter, Vec<LogSink>) {
        let (full, batches) = sync_channel(threads * BATCHES);
        let mut empties = Vec::with_capacity(threads);
        let sink = |thread| {
            let (give_back, empty) = sync_channel(BATCHES);
            for _ in 1..BATCHES {
                // It has space for all of them, and its other end is here.
                let _ = give_back.send(Vec::with_capacity(BATCH_RECORDS));
            }
            empties.push(give_back);
            let batch = Vec::with_capacity(BATCH_RECORDS);
            LogSink { thread, batch, full: full.clone(), empty, dropped: 0, due_ns: FLUSH_NS }
        };
        let sinks = (0..threads).map(sink).collect();
        (LogWriter { file: self.file, batches, empties, records: 0, lost: 0, error: None }, sinks)
    }
}

/// A thread's end of the log.
#[derive(Debug)]
pub(super) struct LogSink {
    thread: usize,
    batch: Vec<Record>,
    full: SyncSender<(usize, Vec<Record>)>,
    empty: Receiver<Vec<Record>>,
    dropped: u64,
    due_ns: u64,
}

impl LogSink {
    /// Keeps a record, or drops it where no batch is empty.
    pub fn push(&mut self, record: Record) {
        if self.batch.len() < BATCH_RECORDS || self.hand_over() {
            self.batch.push(record);
        } else {
            self.dropped += 1;
        }
    }

    /// Hands a batch over that was begun long ago.
    pub fn flush(&mut self, now_ns: u64) {
        if now_ns >= self.due_ns {
            self.due_ns = now_ns + FLUSH_NS;
            if !self.batch.is_empty() {
                self.hand_over();
            }
        }
    }

    fn hand_over(&mut self) -> bool {
        let Ok(empty) = self.empty.try_recv() else { return false };
        let batch = mem::replace(&mut self.batch, empty);
        // There is space for every batch.
        self.full.send((self.thread, batch)).is_ok()
    }

    /// Hands the rest over; gives how many records were dropped.
    pub fn finish(self) -> u64 {
        let _ = self.full.send((self.thread, self.batch));
        self.dropped
    }
}

/// The end of the log that writes.
#[derive(Debug)]
pub(super) struct LogWriter {
    file: File,
    batches: Receiver<(usize, Vec<Record>)>,
    empties: Vec<SyncSender<Vec<Record>>>,
    records: u64,
    lost: u64,
    error: Option<io::Error>,
}

impl LogWriter {
    /// Writes until all threads have finished. After a failure nothing more is written, and the rest is counted.
    pub fn run(mut self) -> Self {
        let mut text = Vec::new();
        while let Ok((thread, mut batch)) = self.batches.recv() {
            text.clear();
            batch.iter().for_each(|record| record.write(&mut text));
            let written = if self.error.is_some() { Err(None) } else { self.file.write_all(&text).map_err(Some) };
            match written {
                Ok(()) => self.records += batch.len() as u64,
                Err(error) => {
                    self.lost += batch.len() as u64;
                    self.error = self.error.take().or(error);
                }
            }
            batch.clear();
            // Its thread may have finished.
            let _ = self.empties[thread].try_send(batch);
        }
        self
    }

    /// Writes the last line of a load that counted `tally`.
    pub fn finish(mut self, tally: &Tally, interrupted: bool, too_many_errors: bool) -> Logged {
        let dropped = tally.unlogged + self.lost;
        let totals = Totals { records: self.records, dropped, interrupted, too_many_errors, ..Totals::of(tally) };
        if self.error.is_none() {
            let line = serde_json::to_string(&totals).map_err(io::Error::from);
            self.error = line.and_then(|line| self.file.write_all(format!("{END}{line}\n").as_bytes())).err();
        }
        Logged { records: self.records, dropped, error: self.error.map(|error| error.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use read::{LogReader, Tail};

    fn record(intended_ns: u64) -> Record {
        Record {
            intended_ns,
            sent_ns: intended_ns,
            first_ns: None,
            ended_ns: intended_ns + 1,
            ended: Ended::Failed(Failure::Reset),
            connection: 0,
            stage: 0,
            metrics: 0,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    fn begun(path: &Path) -> Log {
        let plan = super::super::parse(["load_test", "8080", "1", "1"]).unwrap();
        Log::create(path, &plan, Chosen::Epoll).unwrap()
    }

    #[test]
    fn what_the_disk_is_behind_with_is_dropped_and_counted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (writer, mut sinks) = begun(file.path()).split(2);
        let held = (BATCHES * BATCH_RECORDS) as u64;
        // The writer does not run yet: all batches are full.
        (0..held + 7).for_each(|index| sinks[0].push(record(index)));
        sinks[1].push(record(1));
        let mut tally = Tally::new(0, None, false);
        tally.unlogged = sinks.into_iter().map(LogSink::finish).sum();
        assert_eq!(tally.unlogged, 7);
        let logged = writer.run().finish(&tally, false, false);
        assert_eq!(logged, Logged { records: held + 1, dropped: 7, error: None });
        let mut reader = LogReader::open(file.path()).unwrap();
        let mut times = Vec::new();
        let tail = reader.read(|record| times.push(record.intended_ns)).unwrap();
        times.sort_unstable();
        assert_eq!((times.len() as u64, times[2], times.last()), (held + 1, 1, Some(&(held - 1))));
        assert!(matches!(&tail, Tail::Whole(totals) if totals.dropped == 7), "{tail:?}");
    }

    #[test]
    fn batches_go_round_between_the_threads() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (writer, mut sinks) = begun(file.path()).split(1);
        let mut sink = sinks.remove(0);
        let writer = std::thread::spawn(move || writer.run());
        let many = 3 * (BATCHES * BATCH_RECORDS) as u64;
        (0..many).for_each(|index| sink.push(record(index)));
        sink.flush(u64::MAX - FLUSH_NS);
        let mut tally = Tally::new(0, None, false);
        tally.unlogged = sink.finish();
        let logged = writer.join().unwrap().finish(&tally, false, false);
        assert_eq!((logged.records + logged.dropped, logged.error), (many, None), "each is written or counted");
    }

    #[test]
    fn a_disk_that_is_full_ends_the_log_and_not_the_load() {
        let path = Path::new("/dev/full");
        let plan = super::super::parse(["load_test", "8080", "1", "1"]).unwrap();
        assert!(
            Log::create(path, &plan, Chosen::Epoll).unwrap_err().starts_with("/dev/full: "),
            "refused before the load"
        );
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        let (writer, mut sinks) = Log { file }.split(1);
        sinks[0].push(record(1));
        let tally = Tally::new(0, None, false);
        assert_eq!(sinks.into_iter().map(LogSink::finish).sum::<u64>(), 0, "the load does not wait for the disk");
        let logged = writer.run().finish(&tally, false, false);
        assert_eq!((logged.records, logged.dropped), (0, 1));
        assert!(logged.error.is_some_and(|error| error.contains("No space left")));
    }
}
