//! Collects the reports of the cores and the log, and keeps the sums: since startup, and of the current and the last
//! interval.
//!
//! A core that does not report in time is shown as it was when it last did, so that no count ever falls; what it
//! measured comes with its report, however late, since the way back stays open. The next request goes out only after
//! that.

use super::{Counters, Distribution, Histograms, Reactor, Report, ReportRequest, refusals::RecentRefusals};
use crate::limits;
use crossbeam_channel::{Receiver, Sender, bounded};
use log::{AtomicHistogram, HistogramSnapshot, LogStatus, LogTimes};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Distributions over a time span: those of the cores and of the log.
#[derive(Debug)]
pub struct Measures {
    /// Distributions of all cores together.
    pub cores: Histograms,
    /// Duration of writev(2), in nanoseconds.
    pub writev_ns: Distribution,
    /// Bytes written by each writev(2).
    pub writev_bytes: Distribution,
    /// Duration of fdatasync(2), in nanoseconds.
    pub sync_ns: Distribution,
}

impl Measures {
    /// Adds other measures.
    pub fn add(&mut self, other: &Self) {
        self.cores.add(&other.cores);
        self.writev_ns.add(&other.writev_ns);
        self.writev_bytes.add(&other.writev_bytes);
        self.sync_ns.add(&other.sync_ns);
    }

    /// Clears all distributions.
    pub fn reset(&mut self) {
        self.cores.reset();
        self.writev_ns.reset();
        self.writev_bytes.reset();
        self.sync_ns.reset();
    }
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            cores: Histograms::default(),
            writev_ns: Distribution::of_times(),
            writev_bytes: Distribution::of_sizes(),
            sync_ns: Distribution::of_times(),
        }
    }
}

/// The statistics of a time span.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// Length of the span.
    pub length: Duration,
    /// Counters of the span.
    pub counters: &'a Counters,
    /// Distributions of the span.
    pub measures: &'a Measures,
}

#[derive(Debug)]
struct Interval {
    length: Duration,
    counters: Counters,
    measures: Measures,
}

/// The part of the log's histograms that has been merged already.
#[derive(Debug, Default)]
struct LogSeen {
    writev_ns: HistogramSnapshot,
    writev_bytes: HistogramSnapshot,
    sync_ns: HistogramSnapshot,
}

/// Requests reports and merges them. For use by one thread.
#[derive(Debug)]
pub struct Collector {
    reactors: Vec<Arc<dyn Reactor>>,
    log: Arc<LogStatus>,
    reply: Sender<Report>,
    replies: Receiver<Report>,
    /// The last report of each core.
    latest: Vec<Option<Report>>,
    /// For each core, true while a report is outstanding.
    requested: Vec<bool>,
    /// The cores that had not served the request before when the present one was made.
    overdue: Vec<bool>,
    /// Empty histograms to exchange for filled ones.
    #[expect(clippy::vec_box, reason = "they change hands by their pointers")]
    spare: Vec<Box<Histograms>>,
    log_seen: LogSeen,
    started: Instant,
    counters: Counters,
    total: Measures,
    /// The current interval.
    began: Instant,
    began_counters: Counters,
    present_counters: Counters,
    present: Measures,
    /// Measures since the last point of the live page.
    recent: Measures,
    /// The last complete interval.
    last: Option<Interval>,
    refusals: RecentRefusals,
}

impl Collector {
    /// Creates a collector that has not requested any report yet.
    pub fn new(reactors: Vec<Arc<dyn Reactor>>, log: Arc<LogStatus>, started: Instant) -> Self {
        // Capacity for one report of each: a core gets the next request only once its report was taken.
        let (reply, replies) = bounded(reactors.len());
        Self {
            latest: reactors.iter().map(|_| None).collect(),
            requested: vec![false; reactors.len()],
            overdue: vec![false; reactors.len()],
            spare: reactors.iter().map(|_| Box::default()).collect(),
            reactors,
            log,
            reply,
            replies,
            log_seen: LogSeen::default(),
            started,
            counters: Counters::default(),
            total: Measures::default(),
            began: started,
            began_counters: Counters::default(),
            present_counters: Counters::default(),
            present: Measures::default(),
            recent: Measures::default(),
            last: None,
            refusals: RecentRefusals::default(),
        }
    }

    /// Requests a report from all cores, and waits at most [`limits::REPORT_WAIT`] for them.
    pub fn collect(&mut self) {
        self.ask(false, limits::REPORT_WAIT);
    }

    /// As [`collect`](Self::collect), and waits no longer than this.
    pub fn collect_within(&mut self, wait: Duration) {
        self.ask(false, wait);
    }

    /// As [`collect`](Self::collect), and lets the cores release memory that was not needed since the last time.
    pub fn collect_and_trim(&mut self) {
        self.ask(true, limits::REPORT_WAIT);
    }

    fn ask(&mut self, trim: bool, wait: Duration) {
        // A report that was requested earlier may be older than the present request: another is requested once it is
        // here.
        self.overdue.clone_from(&self.requested);
        for reactor in 0..self.reactors.len() {
            if !self.requested[reactor] {
                self.request(reactor, trim);
            }
        }
        let deadline = Instant::now() + wait;
        while self.requested.contains(&true) {
            let Ok(report) = self.replies.recv_deadline(deadline) else { break };
            let reactor = report.reactor;
            self.take(report);
            if std::mem::take(&mut self.overdue[reactor]) {
                self.request(reactor, trim);
            }
        }
        self.counters = Counters::default();
        self.latest.iter().flatten().for_each(|report| self.counters.add(&report.counters));
        self.present_counters = self.counters.since(&self.began_counters);
        self.take_log();
    }

    fn request(&mut self, reactor: usize, trim: bool) {
        let request = ReportRequest { reply: self.reply.clone(), empty: self.spare.pop().unwrap_or_default(), trim };
        match self.reactors[reactor].request_report(request) {
            Ok(()) => self.requested[reactor] = true,
            // Its mailbox is full, or it has exited: it shows as silent.
            Err(request) => self.spare.extend(request.map(|request| request.empty)),
        }
    }

    fn take(&mut self, mut report: Report) {
        self.total.cores.add(&report.histograms);
        self.present.cores.add(&report.histograms);
        self.recent.cores.add(&report.histograms);
        let mut histograms = std::mem::take(&mut report.histograms);
        histograms.reset();
        self.spare.push(histograms);
        self.refusals.add(std::mem::take(&mut report.refusals));
        self.requested[report.reactor] = false;
        let reactor = report.reactor;
        self.latest[reactor] = Some(report);
    }

    fn take_log(&mut self) {
        let LogTimes { writev_ns, writev_bytes, sync_ns } = self.log.times();
        let LogSeen { writev_ns: seen_writev_ns, writev_bytes: seen_writev_bytes, sync_ns: seen_sync_ns } =
            &mut self.log_seen;
        let (total, present, recent) = (&mut self.total, &mut self.present, &mut self.recent);
        take_over(writev_ns, seen_writev_ns, [&mut total.writev_ns, &mut present.writev_ns, &mut recent.writev_ns]);
        take_over(
            writev_bytes,
            seen_writev_bytes,
            [&mut total.writev_bytes, &mut present.writev_bytes, &mut recent.writev_bytes],
        );
        take_over(sync_ns, seen_sync_ns, [&mut total.sync_ns, &mut present.sync_ns, &mut recent.sync_ns]);
    }

    /// Ends the current interval and begins the next. Call it after [`collect`](Self::collect).
    pub fn end_interval(&mut self) {
        let now = Instant::now();
        self.last = Some(Interval {
            length: now - self.began,
            counters: self.present_counters.clone(),
            measures: std::mem::take(&mut self.present),
        });
        self.began = now;
        self.began_counters = self.counters.clone();
        self.present_counters = Counters::default();
    }

    /// Start of the current interval.
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// The statistics since startup.
    pub fn since_start(&self) -> Span<'_> {
        Span { length: self.started.elapsed(), counters: &self.counters, measures: &self.total }
    }

    /// The last interval; during the first one, the part that has passed.
    pub fn interval(&self) -> Span<'_> {
        match &self.last {
            Some(last) => Span { length: last.length, counters: &last.counters, measures: &last.measures },
            None => Span { length: self.began.elapsed(), counters: &self.present_counters, measures: &self.present },
        }
    }

    /// The last refusals of all cores.
    pub const fn refusals(&self) -> &RecentRefusals {
        &self.refusals
    }

    /// Returns the measures since [`clear_recent`](Self::clear_recent).
    pub const fn recent(&self) -> &Measures {
        &self.recent
    }

    /// Begins to measure anew for the next point of the live page.
    pub fn clear_recent(&mut self) {
        self.recent.reset();
    }

    /// The last report of a core, unless the next is overdue.
    pub fn report_in_time(&self, reactor: usize) -> Option<&Report> {
        self.latest.get(reactor)?.as_ref().filter(|_| !self.requested[reactor])
    }

    /// The last report of each core that has ever reported, in the order of the cores.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        self.latest.iter().flatten()
    }

    /// Number of cores that did not report in time.
    pub fn silent(&self) -> usize {
        let missing =
            self.latest.iter().zip(&self.requested).filter(|(latest, requested)| latest.is_none() || **requested);
        missing.count()
    }
}

/// Adds the values that `measured` has recorded since the last call.
fn take_over(measured: &AtomicHistogram, seen: &mut HistogramSnapshot, into: [&mut Distribution; 3]) {
    let now = measured.read();
    for distribution in into {
        now.since(seen).for_each(|(value, count)| distribution.record_near(value, count));
        distribution.add_sum(now.sum.wrapping_sub(seen.sum));
    }
    *seen = now;
}

#[cfg(test)]
mod tests {
    use super::super::{Memory, Stage, Stamps};
    use super::*;
    use crate::shard::ShardMessage;
    use log::{Log, Settings};
    use wake::{
        Doorbell,
        mailbox::{self, mailbox},
    };

    /// Serves the oldest request in `messages` as a core would that has stored `stored` batches, `measured` of them
    /// since the last.
    fn report(messages: &mailbox::Receiver<ShardMessage>, stored: u64, measured: u64) {
        let Some(ShardMessage::Report(ReportRequest { reply, empty: mut histograms, .. })) = messages.take() else {
            panic!("not requested")
        };
        let stamps = Stamps { received_ns: 1_000, decided_ns: 3_000, sent_ns: 6_000, ..Stamps::default() };
        histograms.responded(&stamps, measured, 0);
        let counters = Counters { batches_received: stored, batches_stored: stored, ..Counters::default() };
        let report = Report {
            reactor: 0,
            counters,
            histograms,
            refusals: Vec::new(),
            driver: reactor::Counters::default(),
            connections_active: 1,
            queued_bytes: 0,
            queued_bytes_max: 0,
            ring_bytes: 0,
            bursts_held: 0,
            memory: Memory::default(),
            held_bytes: 0,
            held_bytes_limit: 0,
        };
        assert!(reply.try_send(report).is_ok(), "the way back has space for it");
    }

    #[test]
    fn a_core_that_reports_late_loses_nothing_and_counts_never_fall() {
        let (sender, messages) = mailbox(4, Arc::new(Doorbell::new().unwrap()));
        let directory = tempfile::TempDir::new().unwrap();
        let file = log::open(directory.path()).unwrap().file;
        let log = Log::new(file, &[], 4096, Settings::default()).unwrap().status;
        let mut collector = Collector::new(vec![Arc::new(sender)], log, Instant::now());
        collector.collect();
        assert_eq!((collector.silent(), collector.reports().count()), (1, 0));
        report(&messages, 4, 4);
        assert!(messages.is_empty(), "it was requested once");
        collector.collect();
        assert_eq!((collector.silent(), collector.since_start().counters.batches_stored), (1, 4));
        // The late report may be older than the second request, so another was requested.
        report(&messages, 5, 1);
        assert!(messages.is_empty(), "it was requested once more");
        collector.collect();
        report(&messages, 5, 0);
        collector.end_interval();
        collector.collect();
        assert_eq!((collector.silent(), collector.since_start().counters.batches_stored), (1, 5));
        report(&messages, 8, 3);
        collector.collect();
        let (all, last) = (collector.since_start(), collector.interval());
        assert_eq!((all.counters.batches_stored, last.counters.batches_stored), (8, 5));
        assert_eq!((all.measures.cores.batch_ns.count(), last.measures.cores.batch_ns.count()), (8, 5));
        assert_eq!(all.measures.cores.stage_ns[Stage::Decide as usize].sum(), 8 * 2_000);
        collector.end_interval();
        assert_eq!(collector.interval().counters.batches_stored, 3);
        assert_eq!(collector.interval().measures.cores.batch_ns.count(), 3);
    }
}
