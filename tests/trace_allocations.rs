//! A batch that is not sampled allocates nothing for tracing: a counting allocator watches a tracer at work.

use crossbeam_channel::bounded;
use http1::{Head, Method, Version};
use log::AckLevel;
use metricstream::{
    stats::{Counters, Stamps},
    trace::{Request, RequestStages, Sampler, Tracer, TracerSetup, Traces},
};
use rate::ClientAddress;
use testkit::allocations::{CountingAllocator, allocations};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

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
        tracestate: [Some(b"a=1"); http1::limits::TRACESTATE_FIELDS_MAX],
        forwarded: Default::default(),
        x_forwarded_for: Default::default(),
        content_length: Some(7),
        fields: Default::default(),
        id: None,
    }
}

/// Allocations of so many bursts of one batch each, none of them slow.
fn allocations_of(tracer: &mut Tracer, traceparent: Option<&[u8]>, bursts: u32) -> u64 {
    let (mut traces, mut counters) = (Traces::new(), Counters::default());
    let before = allocations();
    for _ in 0..bursts {
        let context = tracer.begin(&head(traceparent));
        let stages = RequestStages { status: 200, metrics: 3, ..RequestStages::default() };
        tracer.served(
            Request { context, ack: Some(AckLevel::Write), stages, peer: ClientAddress::Ip([127, 0, 0, 1].into()) },
            &mut counters,
        );
        tracer.hand_over(&mut traces);
        tracer.responded(&mut traces, &Stamps::default(), 1, &mut counters);
    }
    allocations() - before
}

#[test]
fn what_is_not_sampled_allocates_nothing() {
    let (queue, records) = bounded(16);
    let sampler = Sampler { parent_based: true, ratio: 0.0 };
    let mut tracer = Tracer::new(TracerSetup { sampler, slow_ns: 1_000_000, queue }, 0);
    for parent in [None, Some(&b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"[..]), Some(b"broken")] {
        assert_eq!(allocations_of(&mut tracer, parent, 1_000), 0, "{parent:?}");
    }
    // The counter counts: one that is sampled keeps its tracestate and its record.
    let parent = Some(&b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"[..]);
    assert!(allocations_of(&mut tracer, parent, 10) >= 10);
    assert_eq!(records.len(), 10);
}
