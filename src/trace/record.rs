//! The record of one exported request, and its spans. Records have a fixed size; times are nanoseconds of the server's
//! clock, 0 for a stage that was not passed or not timed.

use super::Reason;
use crate::stats::Stamps;
use http1::HttpError;
use log::AckLevel;
use rate::ClientAddress;

/// The trace context of a request: made at its head, kept until its response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// The trace; zeros when tracing is off.
    pub trace_id: [u8; 16],
    /// The client of the request.
    pub client: Option<ClientAddress>,
    /// The caller's span; zeros if the request begins a trace.
    pub parent_span_id: [u8; 8],
    /// The caller's `tracestate`, if the request is recorded.
    pub tracestate: Option<Box<str>>,
    /// The reason for recording it from its head; `None` if it is exported only when slow or failed.
    pub sampled: Option<Reason>,
    /// Length of the body on the wire, if the head states it.
    pub content_length: Option<u32>,
    /// True if the request is HTTP/1.0.
    pub old: bool,
}

/// The stages of a batch while it was served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestStages {
    /// Status of the response; 0 while there is none.
    pub status: u16,
    /// Metrics stored.
    pub metrics: u32,
    /// Time at which serving began.
    pub begun_ns: u64,
    /// Time of the limiter's decision.
    pub limited_ns: u64,
    /// Time at which it was parsed, encoded and committed.
    pub parsed_ns: u64,
}

impl RequestStages {
    /// The stages of a request that was refused before serving began.
    #[must_use]
    pub const fn refused(error: HttpError) -> Self {
        Self { status: error.status().code(), metrics: 0, begun_ns: 0, limited_ns: 0, parsed_ns: 0 }
    }
}

/// One request to store a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Trace context.
    pub context: Context,
    /// The acknowledgement level; `None` if refused before it was known.
    pub ack: Option<AckLevel>,
    /// Stages of the request.
    pub stages: RequestStages,
    /// The peer of its connection, which may be a proxy.
    pub peer: ClientAddress,
}

/// One request that is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The request.
    pub request: Request,
    /// The reason for the export.
    pub reason: Reason,
    /// The reactor that served it.
    pub reactor: u16,
    /// Number of batches in the same burst, including itself.
    pub burst_batches: u32,
    /// The stages of the burst. Stages of levels that it does not wait for are 0.
    pub stamps: Stamps,
    /// Time at which its lines were published to the writer.
    pub published_ns: u64,
    /// True if the connection ended before the response was sent.
    pub cut_off: bool,
}

// What limits.rs reckons with.
const _: () = assert!(size_of::<Record>() <= 256);

/// A part of a request's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    /// The span's name.
    pub name: &'static str,
    /// Start time.
    pub start_ns: u64,
    /// End time.
    pub end_ns: u64,
}

/// Maximum number of spans of one record: the request, receive, limit, parse, enqueue, write, sync, send.
pub const SPANS_PER_RECORD_MAX: usize = 8;

impl Record {
    /// Creates the record of a request that was just served.
    #[must_use]
    pub fn new(request: Request, reason: Reason, reactor: u16) -> Self {
        let stamps = Stamps::default();
        Self { request, reason, reactor, burst_batches: 1, stamps, published_ns: 0, cut_off: false }
    }

    /// Start of the request: the end of its head.
    #[must_use]
    pub const fn start_ns(&self) -> u64 {
        let Stamps { head_ns, received_ns, .. } = self.stamps;
        if head_ns > 0 && head_ns < received_ns { head_ns } else { received_ns }
    }

    /// Time at which the response was sent.
    #[must_use]
    pub fn end_ns(&self) -> u64 {
        self.stamps.sent_ns.max(self.start_ns())
    }

    /// Returns the child spans in the order of time: each begins when the one before it is over or later, and all lie
    /// within the request. A stage that was not timed on its own is in the next.
    pub fn children(&self) -> impl Iterator<Item = Child> {
        let (stamps, stages) = (&self.stamps, &self.request.stages);
        let received_ns = stamps.received_ns;
        // Not timed one by one, the steps up to the decision are one.
        let timed = stages.begun_ns > 0;
        let decided_ns = if timed { 0 } else { stamps.decided_ns };
        let own = [stages.limited_ns, stages.parsed_ns, self.published_ns];
        let [limited_ns, parsed_ns, published_ns] = if timed { own } else { [0; 3] };
        let steps = [
            ("receive", 0, if stamps.head_ns > 0 && stamps.head_ns < received_ns { received_ns } else { 0 }),
            ("decide", received_ns, decided_ns),
            ("limit", stages.begun_ns, limited_ns),
            ("parse", limited_ns, parsed_ns),
            ("enqueue", parsed_ns, published_ns),
            ("write", 0, stamps.written_ns),
            ("sync", 0, stamps.durable_ns),
            ("send", 0, if self.cut_off { 0 } else { stamps.sent_ns }),
        ];
        let (mut at_ns, end_ns) = (self.start_ns(), self.end_ns());
        steps.into_iter().filter(|&(_, _, end_ns)| end_ns > 0).map(move |(name, from_ns, to_ns)| {
            // The clock of a turn is read before its requests are served, so a stage may seem to end before it begins.
            let start_ns = from_ns.clamp(at_ns, end_ns);
            at_ns = to_ns.clamp(start_ns, end_ns);
            Child { name, start_ns, end_ns: at_ns }
        })
    }

    /// Number of its spans.
    #[must_use]
    pub fn spans(&self) -> u64 {
        1 + self.children().count() as u64
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A record of a batch that was stored at the level fsync; `stamps` as given.
    pub fn record(stamps: Stamps, stages: RequestStages, published_ns: u64) -> Record {
        let request = Request {
            context: Context { trace_id: [1; 16], parent_span_id: [2; 8], ..Context::default() },
            ack: Some(AckLevel::Fsync),
            stages,
            peer: ClientAddress::Ip([127, 0, 0, 1].into()),
        };
        Record { stamps, published_ns, ..Record::new(request, Reason::Ratio, 0) }
    }

    fn names(record: &Record) -> Vec<&'static str> {
        record.children().map(|child| child.name).collect()
    }

    #[test]
    fn the_stages_follow_each_other() {
        let stamps = Stamps { head_ns: 5, received_ns: 10, decided_ns: 45, written_ns: 0, durable_ns: 60, sent_ns: 70 };
        let stages = RequestStages { begun_ns: 12, limited_ns: 20, parsed_ns: 40, ..RequestStages::default() };
        let record = record(stamps, stages, 50);
        assert_eq!((record.start_ns(), record.end_ns(), record.spans()), (5, 70, 7));
        let children: Vec<_> = record.children().map(|child| (child.name, child.start_ns, child.end_ns)).collect();
        let expected = [
            ("receive", 5, 10),
            ("limit", 12, 20),
            ("parse", 20, 40),
            ("enqueue", 40, 50),
            ("sync", 50, 60),
            ("send", 60, 70),
        ];
        assert_eq!(children, expected);
    }

    #[test]
    fn of_one_that_was_not_timed_there_are_the_stages_of_its_burst() {
        let stamps = Stamps { received_ns: 10, decided_ns: 45, written_ns: 60, sent_ns: 70, ..Stamps::default() };
        let mut record = record(stamps, RequestStages::default(), 0);
        assert_eq!(names(&record), ["decide", "write", "send"]);
        record.cut_off = true;
        assert_eq!(names(&record), ["decide", "write"]);
    }

    #[test]
    fn a_refusal_has_no_stages_that_it_did_not_pass() {
        let stamps = Stamps { received_ns: 10, decided_ns: 45, sent_ns: 70, ..Stamps::default() };
        let stages = RequestStages { status: 429, begun_ns: 12, limited_ns: 20, ..RequestStages::default() };
        assert_eq!(names(&record(stamps, stages, 0)), ["limit", "send"]);
    }

    proptest! {
        /// Whatever the stamps: ordered, nested, and never more spans than said.
        #[test]
        fn children_are_ordered_and_nested(times in prop::array::uniform10(0..50_u64), cut_off: bool) {
            let [head_ns, received_ns, decided_ns, written_ns, durable_ns, sent_ns, begun_ns, limited_ns, parsed_ns, published_ns] = times;
            let stamps = Stamps { head_ns, received_ns, decided_ns, written_ns, durable_ns, sent_ns };
            let stages = RequestStages { begun_ns, limited_ns, parsed_ns, ..RequestStages::default() };
            let record = Record { cut_off, ..record(stamps, stages, published_ns) };
            let mut at_ns = record.start_ns();
            for child in record.children() {
                prop_assert!(at_ns <= child.start_ns && child.start_ns <= child.end_ns && child.end_ns <= record.end_ns());
                at_ns = child.end_ns;
            }
            prop_assert!(record.spans() <= SPANS_PER_RECORD_MAX as u64);
        }
    }
}
