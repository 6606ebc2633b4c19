//! Benchmark of tracing: its cost to a core for one batch, without the batch, from the request's head to its response.
//!
//! `benchmark_tracer [ROUNDS]` prints nanoseconds of CPU per batch: the median over the rounds of each round's mean,
//! and the lowest and highest. The kinds take turns within a round, so that a noisy machine is noisy for all.
//!
//! - `unsampled`: no `traceparent`; an id is drawn, and the ratio does not take it.
//! - `unsampled, caller`: a `traceparent` that says no.
//! - `sampled`: a `traceparent` that says yes: the five readings of the clock and the record, which is taken from the
//!   queue again.

use clap::Parser;
use crossbeam_channel::bounded;
use http1::{Head, Method, Version};
use log::AckLevel;
use metricstream::{
    stats::{Counters, Stamps},
    trace::{Request, RequestStages, Sampler, Tracer, TracerSetup, Traces},
};
use metricstream_bench::output;
use rate::ClientAddress;
use std::{hint::black_box, process::ExitCode};
use wake::clock::Clock;

/// Batches of one measurement: a few milliseconds.
const BATCHES: u32 = 100_000;
const SAYS_NO: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const SAYS_YES: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

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
        tracestate: [None; http1::limits::TRACESTATE_FIELDS_MAX],
        forwarded: Default::default(),
        x_forwarded_for: Default::default(),
        content_length: Some(400),
        fields: Default::default(),
        id: None,
    }
}

/// CPU time of this thread so far, in nanoseconds (Documentation/scheduler/sched-stats.rst).
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel has CONFIG_SCHED_INFO");
    text.split(' ').next().and_then(|number| number.parse().ok()).expect("schedstat begins with a number")
}

/// Nanoseconds of one batch, as the shard and the service have it traced.
fn measure(traceparent: Option<&[u8]>) -> f64 {
    let (queue, records) = bounded(4);
    let sampler = Sampler { parent_based: true, ratio: 1e-12 };
    let mut tracer = Tracer::new(TracerSetup { sampler, slow_ns: 250_000_000, queue }, 0);
    let (clock, mut traces, mut counters) = (Clock::start(), Traces::new(), Counters::default());
    let head = head(traceparent);
    let began_ns = cpu_ns();
    for _ in 0..BATCHES {
        let context = tracer.begin(black_box(&head));
        let sampled = context.sampled.is_some();
        let stamp = || if sampled { clock.monotonic_ns() } else { 0 };
        let (begun_ns, limited_ns, parsed_ns) = (stamp(), stamp(), stamp());
        let stages = RequestStages { status: 200, metrics: 3, begun_ns, limited_ns, parsed_ns };
        let peer = ClientAddress::Ip([127, 0, 0, 1].into());
        tracer.served(Request { context, ack: Some(AckLevel::Write), stages, peer }, &mut counters);
        if tracer.hand_over(&mut traces) {
            traces.published(clock.monotonic_ns());
        }
        if traces.are_recorded() {
            traces.reached(AckLevel::Write, clock.monotonic_ns());
        }
        tracer.responded(&mut traces, black_box(&Stamps::default()), 1, &mut counters);
        // An empty queue is not looked at by a core.
        if sampled {
            black_box(records.try_recv().ok());
        }
    }
    let taken_ns = cpu_ns() - began_ns;
    assert_eq!(counters.untraced.iter().sum::<u64>(), 0, "the queue was emptied each time");
    f64::from(u32::try_from(taken_ns).expect("one measurement takes far less than four seconds")) / f64::from(BATCHES)
}

/// Nanoseconds that tracing adds to a batch on the core that serves it: not sampled, not sampled by the caller's wish,
/// sampled.
#[derive(Debug, Parser)]
#[command(name = "benchmark_tracer", version)]
struct Arguments {
    /// Rounds, interleaved; each figure is their median.
    #[arg(default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    rounds: u16,
}

fn main() -> ExitCode {
    let rounds = Arguments::parse().rounds;
    let kinds = [("unsampled", None), ("unsampled, caller", Some(SAYS_NO)), ("sampled", Some(SAYS_YES))];
    let mut taken_ns = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        for ((_, traceparent), taken_ns) in kinds.iter().zip(&mut taken_ns) {
            taken_ns.push(measure(*traceparent));
        }
    }
    for ((name, _), mut taken_ns) in kinds.into_iter().zip(taken_ns) {
        taken_ns.sort_by(f64::total_cmp);
        let (median, least, most) = (taken_ns[taken_ns.len() / 2], taken_ns[0], taken_ns[taken_ns.len() - 1]);
        metricstream_bench::say!("{name:<18} {median:7.1} ns a batch ({least:.1} to {most:.1})");
    }
    output::finish(ExitCode::SUCCESS)
}
