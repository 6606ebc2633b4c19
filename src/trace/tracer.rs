//! The tracer of one core: it records requests and hands the records to the exporter.
//!
//! A request that is not recorded costs the reading of its `traceparent`, if it has one, or the drawing of an id;
//! nothing is allocated for it and no clock is read. One that is recorded costs some readings of the clock and one
//! [`Record`], which goes to the exporter's queue when its response has left. Full, the queue refuses: the record is
//! dropped and counted, and the request is served all the same.

use super::{Context, Ids, Parent, Reason, Record, Request, Sampler, join_tracestate};
use crate::{
    limits,
    stats::{Counters, Stamps, Untraced},
};
use crossbeam_channel::Sender;
use http1::{Head, Version};
use log::AckLevel;

/// The configuration of tracing, shared by all cores.
#[derive(Debug, Clone)]
pub struct TracerSetup {
    /// Selects the requests that are recorded from their head.
    pub sampler: Sampler,
    /// Requests that take longer are always exported; 0 disables it.
    pub slow_ns: u64,
    /// The queue to the exporter.
    pub queue: Sender<Record>,
}

/// The tracer of one core.
#[derive(Debug)]
pub struct Tracer {
    setup: TracerSetup,
    reactor: u16,
    ids: Ids,
    /// Records of the current burst.
    fresh: Vec<Record>,
    /// The first batch of the burst that is not recorded, in case the burst is slow.
    first: Option<Request>,
    /// Records whose responses are not sent yet.
    open: usize,
    /// Slow and failed requests that may still be exported in this second.
    late_left: u32,
    second: u64,
}

/// The traces of one connection's burst.
#[derive(Debug, Default)]
pub struct Traces {
    records: Vec<Record>,
    first: Option<Request>,
}

impl Traces {
    /// No traces; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { records: Vec::new(), first: None }
    }

    /// Returns true if a request of the burst is recorded.
    #[must_use]
    pub const fn are_recorded(&self) -> bool {
        !self.records.is_empty()
    }

    /// Records that the turn's lines were published.
    pub fn published(&mut self, now_ns: u64) {
        let waits = |record: &&mut Record| record.request.stages.metrics > 0 && record.published_ns == 0;
        self.records.iter_mut().filter(waits).for_each(|record| record.published_ns = now_ns);
    }

    /// Records that the log has reached the batches of `level`.
    pub fn reached(&mut self, level: AckLevel, now_ns: u64) {
        // One that was refused waits for nothing.
        let waits = |record: &&mut Record| record.request.ack == Some(level) && record.request.stages.metrics > 0;
        for record in self.records.iter_mut().filter(waits) {
            match level {
                AckLevel::Fsync => record.stamps.durable_ns = now_ns,
                AckLevel::Write | AckLevel::Memory => record.stamps.written_ns = now_ns,
            }
        }
    }
}

impl Tracer {
    /// The tracer of one core.
    #[must_use]
    pub fn new(setup: TracerSetup, reactor: usize) -> Self {
        Self {
            setup,
            reactor: u16::try_from(reactor).unwrap_or(u16::MAX),
            ids: Ids::new(),
            fresh: Vec::new(),
            first: None,
            open: 0,
            late_left: limits::TRACES_LATE_PER_SECOND_MAX,
            second: 0,
        }
    }

    /// Sets the current second, of any clock.
    pub const fn set_second(&mut self, second: u64) {
        if second != self.second {
            self.second = second;
            self.late_left = limits::TRACES_LATE_PER_SECOND_MAX;
        }
    }

    /// The trace context of a request, from its head.
    pub fn begin(&mut self, head: &Head<'_>) -> Context {
        let parent = head.traceparent.and_then(Parent::parse);
        let trace_id = parent.map_or_else(|| self.ids.trace(), |parent| parent.trace_id);
        let sampled = self.setup.sampler.decide(&trace_id, parent.as_ref());
        Context {
            trace_id,
            client: None,
            parent_span_id: parent.map_or([0; 8], |parent| parent.span_id),
            // Without a parent it belongs to nothing.
            tracestate: parent.and(sampled).and_then(|_| join_tracestate(&head.tracestate)),
            sampled,
            content_length: head.content_length.and_then(|length| u32::try_from(length).ok()),
            old: head.version == Version::Http10,
        }
    }

    /// Records a batch that has its response, or whose response waits for the log.
    pub fn served(&mut self, request: Request, counters: &mut Counters) {
        let reason = match request.context.sampled {
            Some(reason) => reason,
            None if request.stages.status >= 500 => {
                if !self.admits_late(counters) {
                    return;
                }
                Reason::Failed
            }
            None => {
                if self.setup.slow_ns > 0 && self.first.is_none() {
                    self.first = Some(request);
                }
                return;
            }
        };
        if self.open >= limits::TRACES_OPEN_MAX {
            counters.untraced[Untraced::TooManyOpen as usize] += 1;
            return;
        }
        self.open += 1;
        self.fresh.push(Record::new(request, reason, self.reactor));
    }

    /// Returns true if one more slow or failed request may be exported in this second: under attack all of them fail.
    const fn admits_late(&mut self, counters: &mut Counters) -> bool {
        if self.late_left == 0 {
            counters.untraced[Untraced::TooManyLate as usize] += 1;
            return false;
        }
        self.late_left -= 1;
        true
    }

    /// Gives what was noted to the connection whose burst it was. True: it has lines that are not published yet, and
    /// wants to know when they are.
    pub fn hand_over(&mut self, traces: &mut Traces) -> bool {
        if self.first.is_some() {
            let first = self.first.take();
            if traces.first.is_none() {
                traces.first = first;
            }
        }
        if self.fresh.is_empty() {
            return false;
        }
        let committed = self.fresh.iter().any(|record| record.request.stages.metrics > 0);
        traces.records.append(&mut self.fresh);
        committed
    }

    /// Records that the responses of a burst with this many batches were sent.
    pub fn responded(&mut self, traces: &mut Traces, stamps: &Stamps, batches: u32, counters: &mut Counters) {
        if traces.first.is_some() {
            if stamps.whole_ns() > self.setup.slow_ns {
                self.slow(traces.first.take(), stamps, batches, counters);
            }
            traces.first = None;
        }
        if traces.are_recorded() {
            self.finish(traces, stamps, batches, false, counters);
        }
    }

    #[cold]
    fn slow(&mut self, request: Option<Request>, stamps: &Stamps, burst_batches: u32, counters: &mut Counters) {
        if let Some(request) = request
            && self.admits_late(counters)
        {
            let record = Record::new(request, Reason::Slow, self.reactor);
            self.export(Record { stamps: *stamps, burst_batches, ..record }, counters);
        }
    }

    /// Records that the connection ended at `stamps.sent_ns`, before the responses of its burst were sent.
    pub fn cut_off(&mut self, traces: &mut Traces, stamps: &Stamps, batches: u32, counters: &mut Counters) {
        self.finish(traces, stamps, batches, true, counters);
    }

    fn finish(
        &mut self,
        traces: &mut Traces,
        stamps: &Stamps,
        burst_batches: u32,
        cut_off: bool,
        counters: &mut Counters,
    ) {
        for record in std::mem::take(&mut traces.records) {
            self.open -= 1;
            // What each has of its own is when its level was reached.
            let Stamps { written_ns, durable_ns, .. } = record.stamps;
            let stamps = Stamps { written_ns, durable_ns, ..*stamps };
            self.export(Record { stamps, burst_batches, cut_off, ..record }, counters);
        }
    }

    fn export(&self, record: Record, counters: &mut Counters) {
        if self.setup.queue.try_send(record).is_ok() {
            counters.traced += 1;
        } else {
            counters.untraced[Untraced::QueueFull as usize] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::RequestStages;
    use crossbeam_channel::{Receiver, bounded};
    use http1::Method;
    use rate::ClientAddress;

    const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn tracer(ratio: f64, slow_ns: u64, capacity: usize) -> (Tracer, Receiver<Record>) {
        let (queue, records) = bounded(capacity);
        let sampler = Sampler { parent_based: true, ratio };
        (Tracer::new(TracerSetup { sampler, slow_ns, queue }, 3), records)
    }

    fn head(traceparent: Option<&[u8]>) -> Head<'_> {
        Head {
            method: Method::Post,
            path: "/metrics",
            query: None,
            version: Version::Http11,
            authorization: None,
            accept: None,
            content_type: None,
            origin: None,
            traceparent,
            tracestate: [Some(b"a=1"), Some(b"b=2"), None, None],
            forwarded: Default::default(),
            x_forwarded_for: Default::default(),
            content_length: Some(7),
            fields: Default::default(),
            id: None,
        }
    }

    fn request(context: Context, status: u16) -> Request {
        let metrics = u32::from(status == 200);
        let stages = RequestStages { status, metrics, ..RequestStages::default() };
        Request { context, ack: Some(AckLevel::Write), stages, peer: ClientAddress::Ip([127, 0, 0, 1].into()) }
    }

    const STAMPS: Stamps =
        Stamps { head_ns: 10, received_ns: 10, decided_ns: 20, written_ns: 30, durable_ns: 0, sent_ns: 110 };

    #[test]
    fn the_callers_trace_goes_on() {
        let (mut tracer, records) = tracer(0.0, 0, 1);
        let mut counters = Counters::default();
        let context = tracer.begin(&head(Some(PARENT)));
        assert_eq!(
            (context.trace_id[0], context.parent_span_id[1], context.sampled),
            (0x4b, 0xf0, Some(Reason::Parent))
        );
        assert_eq!((context.tracestate.as_deref(), context.content_length), (Some("a=1,b=2"), Some(7)));
        tracer.served(request(context, 200), &mut counters);
        let mut traces = Traces::new();
        assert!(tracer.hand_over(&mut traces), "it has lines that are to be published");
        assert!(traces.are_recorded());
        traces.published(22);
        traces.published(23);
        traces.reached(AckLevel::Fsync, 25);
        traces.reached(AckLevel::Write, 26);
        tracer.responded(&mut traces, &STAMPS, 2, &mut counters);
        let record = records.try_recv().unwrap();
        assert_eq!(record.stamps, Stamps { written_ns: 26, durable_ns: 0, ..STAMPS });
        assert_eq!(record.published_ns, 22);
        assert_eq!((record.burst_batches, record.reactor, record.reason), (2, 3, Reason::Parent));
        assert_eq!((counters.traced, counters.untraced), (1, [0; 3]));
        assert!(!traces.are_recorded());
    }

    #[test]
    fn a_traceparent_that_is_none_begins_a_trace() {
        let (mut tracer, _records) = tracer(1.0, 0, 1);
        let [one, other] = [Some(&PARENT[1..]), None].map(|value| tracer.begin(&head(value)));
        assert_eq!((one.sampled, one.parent_span_id, one.tracestate), (Some(Reason::Ratio), [0; 8], None));
        assert_ne!(one.trace_id, other.trace_id);
    }

    #[test]
    fn of_those_not_recorded_the_slow_and_the_failed_are_exported() {
        for (slow_ns, status, expected) in [
            (0, 200, None),
            (100, 200, None),
            (99, 200, Some(Reason::Slow)),
            (0, 503, Some(Reason::Failed)),
            (99, 429, Some(Reason::Slow)),
            (0, 429, None),
        ] {
            let (mut tracer, records) = tracer(0.0, slow_ns, 2);
            let (mut traces, mut counters) = (Traces::new(), Counters::default());
            let context = tracer.begin(&head(None));
            tracer.served(request(context, status), &mut counters);
            tracer.hand_over(&mut traces);
            tracer.responded(&mut traces, &STAMPS, 1, &mut counters);
            assert_eq!(records.try_recv().ok().map(|record| record.reason), expected, "{slow_ns} {status}");
            assert!(records.is_empty());
        }
    }

    #[test]
    fn what_finds_no_space_is_counted() {
        let (mut tracer, records) = tracer(1.0, 1, 1);
        let (mut traces, mut counters) = (Traces::new(), Counters::default());
        for _ in 0..limits::TRACES_OPEN_MAX + 2 {
            let context = tracer.begin(&head(None));
            tracer.served(request(context, 200), &mut counters);
        }
        tracer.hand_over(&mut traces);
        assert_eq!(counters.untraced[Untraced::TooManyOpen as usize], 2);
        tracer.cut_off(&mut traces, &STAMPS, 1, &mut counters);
        assert_eq!((counters.traced, records.len()), (1, 1));
        assert_eq!(counters.untraced[Untraced::QueueFull as usize], limits::TRACES_OPEN_MAX as u64 - 1);
        assert!(records.try_recv().unwrap().cut_off);
        // All of them have ended, so there is space again.
        let context = tracer.begin(&head(None));
        tracer.served(request(context, 200), &mut counters);
        tracer.hand_over(&mut traces);
        assert!(traces.are_recorded());
    }

    #[test]
    fn a_flood_of_failures_exports_so_many_a_second() {
        let most = limits::TRACES_LATE_PER_SECOND_MAX;
        let (mut tracer, records) = tracer(0.0, 0, 3 * most as usize);
        let (mut traces, mut counters) = (Traces::new(), Counters::default());
        for second in 1..=2 {
            tracer.set_second(second);
            for _ in 0..most + 5 {
                let context = tracer.begin(&head(None));
                tracer.served(request(context, 503), &mut counters);
            }
        }
        tracer.hand_over(&mut traces);
        tracer.responded(&mut traces, &STAMPS, 1, &mut counters);
        assert_eq!((records.len(), counters.untraced[Untraced::TooManyLate as usize]), (2 * most as usize, 10));
    }
}
