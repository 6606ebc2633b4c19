//! Counts of one thread, and how the threads' counts become one. Latencies go into a histogram per thread; histograms
//! are added, never their percentiles averaged.

use super::{intervals::Intervals, span::Span, stages::Stages};
use hdrhistogram::Histogram;
use std::mem;

/// Why a request got no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The connection was refused.
    Refused,
    /// The peer reset the connection.
    Reset,
    /// The peer ended the connection before the response was complete.
    ClosedEarly,
    /// The response was not complete in time.
    Timeout,
    /// The bytes that came are not an HTTP/1.x response.
    Garbage,
    /// The TLS handshake failed, or what came afterwards was not in order; the first one's reason is kept.
    Tls,
    /// Anything else; the first one's reason is kept.
    Other,
}

impl Failure {
    /// Every kind with its name in a report.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Refused, "refused"),
        (Self::Reset, "reset"),
        (Self::ClosedEarly, "closed_early"),
        (Self::Timeout, "timeout"),
        (Self::Garbage, "garbage"),
        (Self::Tls, "tls"),
        (Self::Other, "other"),
    ];

    /// Returns its name in a report.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// Three digits: a recorded value is within a thousandth of the true one.
const SIGNIFICANT_DIGITS: u8 = 3;
/// The longest latency that is resolved, in nanoseconds: one hour. A request's timeout is far below.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Statuses have three digits.
const STATUSES: usize = 1000;
/// Statuses other than 2xx with latencies of their own: 16 x 270 KiB a thread at most. Those of further ones are not
/// kept.
const OTHER_STATUSES_MAX: usize = 16;

/// Counts of requests that were meant for a time after the warm-up.
#[derive(Debug)]
pub struct Tally {
    statuses: Box<[u64; STATUSES]>,
    failures: [u64; Failure::ALL.len()],
    /// The first reason behind [`Failure::Other`].
    pub other_reason: Option<String>,
    /// The first reason behind [`Failure::Tls`].
    pub tls_reason: Option<String>,
    /// Version and cipher suite of the first connection over TLS.
    pub tls: Option<String>,
    /// Requests begun and still without a response when the load was stopped.
    pub unanswered: u64,
    /// Sends of an open loop that were handed over more than 1 ms after their time.
    pub late: u64,
    /// Those of them that a free connection had waited for: the load itself was behind.
    pub late_by_itself: u64,
    /// Sends of an open loop that were due and not yet handed over at the end.
    pub missed: u64,
    /// Requests that have no record in the log, because the disk was behind.
    pub unlogged: u64,
    /// Metrics in the batches with a response of 2xx.
    pub metrics: u64,
    /// Bytes of the requests handed to the driver, heads included.
    pub bytes: u64,
    /// Bytes that were received.
    pub bytes_received: u64,
    /// Sends of an open loop that were begun.
    pub scheduled: u64,
    /// Connections that were established, those of the warm-up too.
    pub connections: u64,
    /// Connections that this side had to close after their last response, because the server did not.
    pub unclosed: u64,
    /// Connections that were closed because bytes came on them that belong to no request.
    pub unsolicited: u64,
    /// Span that rates are taken over.
    pub span: Span,
    /// Nanoseconds from the start of the measured part to the end of the run.
    pub elapsed_ns: u64,
    /// CPU time of the measured part, nanoseconds, all threads together.
    pub cpu_ns: u64,
    /// The highest share of the measured part that any one thread was running, 0 to 1.
    pub busiest: f64,
    /// The highest share of the measured part that any one thread was kept waiting for its core, 0 to 1.
    pub starved: f64,
    /// Nanoseconds of the requests with a response of 2xx, from their intended start: corrected for coordinated
    /// omission in an open loop; in a closed loop a request is meant for the moment it is begun.
    pub latency: Histogram<u64>,
    /// The same from the moment they were handed over; `None` in a closed loop, where it would be the same.
    pub raw: Option<Histogram<u64>>,
    /// Nanoseconds from the begin of a connect to its end, of all connections.
    pub connect: Histogram<u64>,
    /// Successes whose response came in more than one piece: nanoseconds from the handing over to the first piece.
    pub first_piece: Histogram<u64>,
    /// The same successes: nanoseconds from the handing over to the whole response.
    pub pieced: Histogram<u64>,
    /// Nanoseconds of the responses with another status than 2xx, from their intended start, by status.
    others: Vec<(u16, Histogram<u64>)>,
    /// The course over time, by the same latency as `latency`.
    pub intervals: Intervals,
    /// The stages of an open loop that has some.
    pub stages: Option<Stages>,
}

/// Record of a request until its response comes. Nanoseconds since the start of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// When it was meant to be sent.
    pub intended_ns: u64,
    /// When it was handed to the driver, or the connect for it.
    pub start_ns: u64,
}

/// Circumstances in which a response came, beside its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When it was complete.
    pub now_ns: u64,
    /// When its first piece came, if that was earlier.
    pub first_ns: Option<u64>,
    /// True if its client never had to wait out a timeout.
    pub steady: bool,
}

/// A response, as far as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Responded {
    pub status: u16,
    pub metrics: u32,
    pub begun: Begun,
    pub arrival: Arrival,
}

/// Responses in a row that do not differ, to be counted together: those of one turn to requests that were sent
/// together.
#[derive(Debug, Default)]
pub(super) struct Burst {
    response: Option<Responded>,
    count: u32,
}

impl Burst {
    /// Adds a response, and counts those before it in `tally` if it differs from them.
    pub fn push(&mut self, response: Responded, tally: &mut Tally) {
        if self.response != Some(response) {
            self.count_in(tally);
            self.response = Some(response);
        }
        self.count += 1;
    }

    /// Counts all that were added.
    pub fn count_in(&mut self, tally: &mut Tally) {
        if let Some(response) = self.response.take() {
            tally.add_responses(&response, mem::take(&mut self.count));
        }
    }
}

pub(super) fn histogram() -> Histogram<u64> {
    let Ok(histogram) = Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS) else {
        unreachable!("the bounds are constants that a histogram accepts")
    };
    histogram
}

pub(super) fn add(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    let added = into.add(from);
    assert!(added.is_ok(), "all histograms have the same bounds");
}

impl Tally {
    /// Nothing counted yet. The measured part begins at `warm_ns` and ends at `end_ns`, if that is known; `open_loop`
    /// keeps the raw latencies beside the corrected ones.
    #[must_use]
    pub fn new(warm_ns: u64, end_ns: Option<u64>, open_loop: bool) -> Self {
        Self {
            statuses: Box::new([0; STATUSES]),
            failures: [0; Failure::ALL.len()],
            other_reason: None,
            tls_reason: None,
            tls: None,
            unanswered: 0,
            late: 0,
            late_by_itself: 0,
            missed: 0,
            unlogged: 0,
            metrics: 0,
            bytes: 0,
            bytes_received: 0,
            scheduled: 0,
            connections: 0,
            unclosed: 0,
            unsolicited: 0,
            span: Span::new(warm_ns, end_ns),
            elapsed_ns: 0,
            cpu_ns: 0,
            busiest: 0.0,
            starved: 0.0,
            latency: histogram(),
            raw: open_loop.then(histogram),
            connect: histogram(),
            first_piece: histogram(),
            pieced: histogram(),
            others: Vec::new(),
            intervals: Intervals::new(warm_ns, end_ns.map(|end_ns| end_ns.saturating_sub(warm_ns))),
            stages: None,
        }
    }

    /// Counts the response to a request. `status` has three digits at most.
    pub fn add_response(&mut self, status: u16, metrics: u32, begun: Begun, arrival: Arrival) {
        self.add_responses(&Responded { status, metrics, begun, arrival }, 1);
    }

    /// Counts `count` responses that do not differ.
    pub(super) fn add_responses(&mut self, response: &Responded, count: u32) {
        let &Responded { status, metrics, begun, arrival: Arrival { now_ns, first_ns, steady } } = response;
        self.statuses[usize::from(status)] += u64::from(count);
        let interval = self.intervals.at(now_ns);
        interval.requests += u64::from(count);
        let latency_ns = now_ns.saturating_sub(begun.intended_ns);
        let success = matches!(status, 200..300);
        if let Some(stages) = &mut self.stages {
            stages.ended(begun.intended_ns, now_ns, success, u64::from(count));
        }
        if success {
            let metrics = u64::from(metrics) * u64::from(count);
            self.metrics += metrics;
            self.span.succeeded(u64::from(count), metrics, now_ns, steady);
            interval.latency.saturating_record_n(latency_ns, count);
            let count = u64::from(count);
            self.latency.saturating_record_n(latency_ns, count);
            let whole_ns = now_ns.saturating_sub(begun.start_ns);
            if let Some(raw) = &mut self.raw {
                raw.saturating_record_n(whole_ns, count);
            }
            if let Some(first_ns) = first_ns {
                self.first_piece.saturating_record_n(first_ns.saturating_sub(begun.start_ns), count);
                self.pieced.saturating_record_n(whole_ns, count);
            }
        } else {
            self.span.reach(now_ns, steady);
            if let Some(latency) = self.other(status) {
                latency.saturating_record_n(latency_ns, u64::from(count));
            }
        }
    }

    /// The latencies of a status that is not 2xx, unless there are too many such.
    fn other(&mut self, status: u16) -> Option<&mut Histogram<u64>> {
        let index = self.others.iter().position(|(known, _)| *known == status).unwrap_or(self.others.len());
        if index == self.others.len() && index < OTHER_STATUSES_MAX {
            self.others.push((status, histogram()));
        }
        self.others.get_mut(index).map(|(_, latency)| latency)
    }

    /// A request failed at `now_ns`; `steady`: of a client that never had to wait out a timeout before.
    pub fn failed(&mut self, failure: Failure, now_ns: u64, steady: bool) {
        self.failures[failure as usize] += 1;
        let interval = self.intervals.at(now_ns);
        (interval.requests, interval.failures) = (interval.requests + 1, interval.failures + 1);
        if failure != Failure::Timeout {
            self.span.reach(now_ns, steady);
        }
    }

    /// Latencies of the responses with each status other than 2xx, lowest first.
    pub fn latency_by_status(&self) -> impl Iterator<Item = (u16, &Histogram<u64>)> {
        let mut sorted: Vec<_> = self.others.iter().map(|(status, latency)| (*status, latency)).collect();
        sorted.sort_by_key(|(status, _)| *status);
        sorted.into_iter()
    }

    /// Nanoseconds from the handing over of a success to the first byte of its response: that of the whole response,
    /// where it came in one piece.
    #[must_use]
    pub fn first_byte(&self) -> Histogram<u64> {
        let mut all = self.raw.as_ref().unwrap_or(&self.latency).clone();
        let taken = all.subtract(&self.pieced);
        debug_assert!(taken.is_ok(), "each success in pieces is a success");
        add(&mut all, &self.first_piece);
        all
    }

    /// Adds what another thread counted in the same load.
    pub fn merge(&mut self, other: Self) {
        self.statuses.iter_mut().zip(other.statuses.iter()).for_each(|(sum, count)| *sum += count);
        self.failures.iter_mut().zip(other.failures).for_each(|(sum, count)| *sum += count);
        self.other_reason = self.other_reason.take().or(other.other_reason);
        self.tls_reason = self.tls_reason.take().or(other.tls_reason);
        self.tls = self.tls.take().or(other.tls);
        self.unanswered += other.unanswered;
        self.late += other.late;
        self.late_by_itself += other.late_by_itself;
        self.missed += other.missed;
        self.unlogged += other.unlogged;
        self.metrics += other.metrics;
        self.bytes += other.bytes;
        self.bytes_received += other.bytes_received;
        self.scheduled += other.scheduled;
        self.connections += other.connections;
        self.unclosed += other.unclosed;
        self.unsolicited += other.unsolicited;
        self.span.merge(&other.span);
        self.elapsed_ns = self.elapsed_ns.max(other.elapsed_ns);
        self.cpu_ns += other.cpu_ns;
        self.busiest = self.busiest.max(other.busiest);
        self.starved = self.starved.max(other.starved);
        add(&mut self.latency, &other.latency);
        if let (Some(into), Some(from)) = (&mut self.raw, &other.raw) {
            add(into, from);
        }
        add(&mut self.connect, &other.connect);
        add(&mut self.first_piece, &other.first_piece);
        add(&mut self.pieced, &other.pieced);
        for (status, latency) in &other.others {
            if let Some(into) = self.other(*status) {
                add(into, latency);
            }
        }
        self.intervals.merge(other.intervals);
        if let (Some(into), Some(from)) = (&mut self.stages, &other.stages) {
            into.merge(from);
        }
    }

    /// Requests with a response, and failed ones.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.statuses.iter().chain(&self.failures).sum()
    }

    /// Requests with a response of 2xx.
    #[must_use]
    pub fn successes(&self) -> u64 {
        self.statuses[200..300].iter().sum()
    }

    /// Statuses that came, with their counts, lowest first.
    pub fn statuses(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.statuses.iter().copied().enumerate().filter(|&(_, count)| count > 0)
    }

    /// Requests that failed so.
    #[must_use]
    pub fn failures(&self, failure: Failure) -> u64 {
        self.failures[failure as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::schedule::{Pace, Schedule};

    fn at(now_ns: u64) -> Arrival {
        Arrival { now_ns, first_ns: None, steady: true }
    }

    fn respond(tally: &mut Tally, status: u16, metrics: u32, latency_ns: u64) {
        tally.add_response(status, metrics, Begun { intended_ns: 5, start_ns: 5 }, at(5 + latency_ns));
    }

    fn closed() -> Tally {
        Tally::new(0, None, false)
    }

    #[test]
    fn merged_percentiles_are_those_of_all_requests() {
        // One thread counts 100 fast requests, the other 900 slow ones: the mean of their medians would be 505.
        let (mut fast, mut slow, mut all) = (closed(), closed(), closed());
        for _ in 0..100 {
            respond(&mut fast, 200, 3, 10);
            respond(&mut all, 200, 3, 10);
        }
        for _ in 0..900 {
            respond(&mut slow, 200, 3, 1000);
            respond(&mut all, 200, 3, 1000);
        }
        let mut merged = closed();
        merged.merge(fast);
        merged.merge(slow);
        assert_eq!(merged.latency, all.latency);
        assert_eq!(merged.latency.value_at_quantile(0.5), 1000);
        assert_eq!((merged.latency.min(), merged.latency.len()), (10, 1000));
        assert_eq!(merged.intervals.all()[0].latency, all.intervals.all()[0].latency);
    }

    #[test]
    fn counts_add_up_and_only_2xx_is_success() {
        let mut sum = closed();
        for status in [200, 204, 299, 100, 199, 300, 429, 500, 999] {
            respond(&mut sum, status, 2, 5);
        }
        sum.elapsed_ns = 7;
        for _ in 0..2 {
            let mut other = closed();
            other.failed(Failure::Timeout, 8, true);
            other.failed(Failure::Other, 8, true);
            other.other_reason = Some("first".to_owned());
            (other.elapsed_ns, other.cpu_ns, other.bytes, other.unanswered) = (9, 3, 4, 1);
            (other.late, other.late_by_itself, other.missed) = (3, 2, 1);
            (other.busiest, other.starved) = (0.5, 0.25);
            sum.merge(other);
        }
        assert_eq!((sum.requests(), sum.successes(), sum.metrics), (13, 3, 6));
        assert_eq!((sum.latency.len(), sum.intervals.all()[0].requests), (3, 13));
        assert_eq!((sum.failures(Failure::Timeout), sum.failures(Failure::Refused)), (2, 0));
        assert_eq!((sum.elapsed_ns, sum.cpu_ns, sum.bytes, sum.unanswered), (9, 6, 8, 2));
        assert_eq!((sum.late, sum.late_by_itself, sum.missed), (6, 4, 2));
        assert_eq!((sum.busiest, sum.starved), (0.5, 0.25), "the worst thread's, not the mean");
        assert_eq!(sum.other_reason.as_deref(), Some("first"));
        assert_eq!(
            sum.statuses().map(|(status, _)| status).collect::<Vec<_>>(),
            [100, 199, 200, 204, 299, 300, 429, 500, 999]
        );
    }

    #[test]
    fn a_latency_past_the_bound_is_kept_at_the_bound() {
        let mut tally = closed();
        respond(&mut tally, 200, 1, LATENCY_NS_MAX * 2);
        respond(&mut tally, 200, 1, 0);
        assert_eq!(tally.latency.len(), 2);
        assert!(tally.latency.max() >= LATENCY_NS_MAX);
    }

    #[test]
    fn a_burst_counts_as_its_responses_one_by_one() {
        let (begun, piece) = (Begun { intended_ns: 5, start_ns: 7 }, Some(8));
        let response = |status, metrics, arrival| Responded { status, metrics, begun, arrival };
        let same = [response(200, 3, at(900)); 5];
        let others = [
            response(200, 2, at(900)),
            response(429, 2, at(900)),
            response(429, 2, at(900)),
            response(200, 2, Arrival { first_ns: piece, ..at(900) }),
            response(200, 2, Arrival { first_ns: piece, ..at(900) }),
            response(200, 2, at(1_000_000_000)),
        ];
        let (mut single, mut together, mut burst) = (closed(), closed(), Burst::default());
        (single.raw, together.raw) = (Some(histogram()), Some(histogram()));
        for one in same.into_iter().chain(others) {
            single.add_response(one.status, one.metrics, one.begun, one.arrival);
            burst.push(one, &mut together);
        }
        assert_eq!(together.requests(), 10, "the last one waits for its like");
        burst.count_in(&mut together);
        burst.count_in(&mut together);
        assert_eq!((together.requests(), together.metrics), (11, 15 + 2 * 4));
        let text = |tally: &mut Tally| {
            tally.span.close(2_000_000_000, crate::load::span::Ending::Count);
            format!("{tally:?}")
        };
        assert_eq!(text(&mut together), text(&mut single));
    }

    #[test]
    fn the_first_byte_is_that_of_the_first_piece() {
        let mut tally = closed();
        let begun = Begun { intended_ns: 0, start_ns: 0 };
        tally.add_response(200, 1, begun, at(1000));
        tally.add_response(200, 1, begun, Arrival { first_ns: Some(20), ..at(5000) });
        let first = tally.first_byte();
        assert_eq!((first.len(), first.min(), first.value_at_quantile(1.0)), (2, 20, 1000));
    }

    #[test]
    fn each_status_has_its_latencies() {
        let (mut sum, mut other) = (closed(), closed());
        respond(&mut sum, 503, 1, 70);
        respond(&mut other, 503, 1, 80);
        respond(&mut other, 429, 1, 10);
        respond(&mut other, 200, 1, 9);
        sum.merge(other);
        let by_status: Vec<_> = sum.latency_by_status().map(|(status, all)| (status, all.len(), all.max())).collect();
        assert_eq!(by_status, [(429, 1, 10), (503, 2, 80)]);
        (100..200).for_each(|status| respond(&mut sum, status, 1, 1));
        assert_eq!(sum.latency_by_status().count(), OTHER_STATUSES_MAX);
    }

    const MS: u64 = 1_000_000;
    const SECOND: u64 = 1000 * MS;

    /// A simulated server that responds in 0.1 ms, but not during the first 200 ms of every second.
    fn stalling(begin_ns: u64) -> u64 {
        let done_ns = begin_ns + MS / 10;
        if done_ns % SECOND < 200 * MS { done_ns / SECOND * SECOND + 200 * MS + MS / 10 } else { done_ns }
    }

    /// An open loop of 1,000 sends a second over `connections`, in simulated time: whoever is free first takes the
    /// next.
    fn open_loop(connections: usize, serve: impl Fn(u64) -> u64) -> Tally {
        let mut tally = Tally::new(SECOND, Some(11 * SECOND), true);
        let mut schedule = Schedule::new(&Pace::steady(1000.0), (0, 1), SECOND, 11 * SECOND, None);
        let mut free_ns = vec![0; connections];
        while let Some(due_ns) = schedule.next_ns() {
            let first = free_ns.iter_mut().min().unwrap();
            let start_ns = due_ns.max(*first);
            let intended_ns = schedule.take(start_ns).unwrap();
            *first = serve(start_ns);
            if intended_ns >= SECOND {
                tally.add_response(200, 1, Begun { intended_ns, start_ns }, at(*first));
            }
        }
        tally
    }

    #[test]
    fn a_stall_of_200_ms_every_second_shows_in_the_corrected_figures_and_not_in_the_raw_ones() {
        for connections in [1, 4] {
            let tally = open_loop(connections, stalling);
            let raw = tally.raw.as_ref().unwrap();
            assert_eq!((tally.latency.len(), raw.len()), (10_000, 10_000), "no send is skipped");
            // A fifth of all sends is meant for a stall, evenly over its 200 ms: 1 % waits for 190 ms, 5 % for 150.
            for (quantile, least_ms, most_ms) in
                [(0.5, 0, 1), (0.75, 0, 1), (0.9, 80, 130), (0.95, 130, 170), (0.99, 180, 200)]
            {
                let value = tally.latency.value_at_quantile(quantile);
                assert!(
                    (least_ms * MS..=most_ms * MS).contains(&value),
                    "{connections}: corrected {quantile}: {value}"
                );
            }
            // Raw, one request a connection and second sees it: 1 or 4 of 1,000, beyond the 99th percentile.
            for quantile in [0.5, 0.9, 0.99] {
                assert!(raw.value_at_quantile(quantile) < MS, "{connections}: raw {quantile}");
            }
            assert!(raw.max() >= 190 * MS, "it did happen");
        }
    }

    #[test]
    fn without_a_stall_corrected_and_raw_agree() {
        let tally = open_loop(1, |begin_ns| begin_ns + MS / 10);
        assert_eq!(Some(&tally.latency), tally.raw.as_ref());
    }

    #[test]
    fn a_server_that_is_too_slow_for_the_rate_shows_as_an_ever_longer_wait() {
        // 2 ms a request on one connection is half of the rate: after 10 s the sends are 10 s behind.
        let tally = open_loop(1, |begin_ns| begin_ns + 2 * MS);
        assert!(tally.latency.max() > 9 * SECOND);
        assert!(tally.raw.unwrap().max() < 3 * MS);
    }
}
