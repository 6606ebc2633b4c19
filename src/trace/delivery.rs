//! Deliveries of forwards: what is recorded of one, and which are exported.
//!
//! Each thread that delivers has a [`DeliveryTracer`]. While tracing is off it reads no clock. While it is on, a
//! delivery reads the clock at each of its stages, some five times for thousands of samples, and goes to the exporter's
//! queue if it is sampled, failed or slow. Full, the queue refuses: the record is dropped and counted.

use super::{Ids, Reason, Sampler};
use crate::{
    limits,
    stats::{ExportStatus, Untraced},
};
use crossbeam_channel::Sender;
use std::sync::{Arc, atomic::Ordering};
use wake::clock::Clock;

/// The configuration of tracing, shared by all forwards.
#[derive(Debug, Clone)]
pub struct DeliverySetup {
    /// Selects deliveries by the trace ids that they are given.
    pub sampler: Sampler,
    /// Deliveries whose sending takes longer are always exported; 0 disables it.
    pub slow_ns: u64,
    /// The clock of the records.
    pub clock: Clock,
    /// The queue to the exporter.
    pub queue: Sender<Delivery>,
    /// The counters of the exporter.
    pub status: Arc<ExportStatus>,
}

/// The receiver of a forward, as its spans name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryTarget {
    /// Name of the forward.
    pub forward: String,
    /// The receiver.
    pub receiver: DeliveryReceiver,
}

/// A receiver, by its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryReceiver {
    /// A server of HTTP.
    Http {
        /// Name or address of the server.
        host: String,
        /// Port of the server.
        port: u16,
    },
    /// A topic of Kafka.
    Kafka {
        /// Name of the topic.
        topic: String,
    },
}

/// A stage of a delivery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryStage {
    /// Name of its span.
    pub name: &'static str,
    /// Start time, by the server's clock.
    pub start_ns: u64,
    /// End time; 0 if the stage was not passed.
    pub end_ns: u64,
}

impl DeliveryStage {
    /// A stage from one time to another.
    #[must_use]
    pub const fn new(name: &'static str, start_ns: u64, end_ns: u64) -> Self {
        Self { name, start_ns, end_ns }
    }
}

/// Stages of a delivery: read, encode, retry, send, acknowledge.
pub const DELIVERY_STAGES_MAX: usize = 5;

/// A delivery that the receiver has acknowledged or refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryOutcome {
    /// The stages, in the order of time.
    pub stages: [DeliveryStage; DELIVERY_STAGES_MAX],
    /// Time at which the first attempt began.
    pub first_attempt_ns: u64,
    /// Number of attempts.
    pub attempts: u32,
    /// Samples, or records, that were sent.
    pub samples: u64,
    /// Samples among them that were refused for good.
    pub refused: u64,
    /// Bytes of the request, or of the lines.
    pub bytes: u64,
    /// Status of the last response; 0 if the receiver has none.
    pub status: u16,
}

/// One delivery that is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The trace, which is its own.
    pub trace_id: [u8; 16],
    /// The reason for the export.
    pub reason: Reason,
    /// The receiver.
    pub target: Arc<DeliveryTarget>,
    /// The delivery.
    pub outcome: DeliveryOutcome,
}

// What limits.rs reckons with.
const _: () = assert!(size_of::<Delivery>() <= 256);

impl Delivery {
    /// Start and end of the delivery: of its first stage, and of its last.
    #[must_use]
    pub fn times_ns(&self) -> (u64, u64) {
        let passed = || self.outcome.stages.iter().filter(|stage| stage.end_ns > 0);
        let start_ns = passed().map(|stage| stage.start_ns).min().unwrap_or(0);
        (start_ns, passed().map(|stage| stage.end_ns).max().unwrap_or(0).max(start_ns))
    }

    /// The stages that were passed, each of which begins when the one before it is over or later.
    pub fn stages(&self) -> impl Iterator<Item = DeliveryStage> {
        let (mut at_ns, end_ns) = self.times_ns();
        self.outcome.stages.into_iter().filter(|stage| stage.end_ns > 0).map(move |stage| {
            let start_ns = stage.start_ns.clamp(at_ns, end_ns);
            at_ns = stage.end_ns.clamp(start_ns, end_ns);
            DeliveryStage { start_ns, end_ns: at_ns, ..stage }
        })
    }
}

/// The tracer of one thread that delivers.
#[derive(Debug)]
pub struct DeliveryTracer(Option<Active>);

#[derive(Debug)]
struct Active {
    setup: DeliverySetup,
    target: Arc<DeliveryTarget>,
    ids: Ids,
    /// Slow and failed deliveries that may still be exported in this second.
    late_left: u32,
    second: u64,
}

impl DeliveryTracer {
    /// A tracer of deliveries to `target`. `None`: tracing is off.
    #[must_use]
    pub fn new(setup: Option<&DeliverySetup>, target: &Arc<DeliveryTarget>) -> Self {
        let active = |setup: &DeliverySetup| Active {
            setup: setup.clone(),
            target: Arc::clone(target),
            ids: Ids::new(),
            late_left: limits::TRACES_LATE_PER_SECOND_MAX,
            second: 0,
        };
        Self(setup.map(active))
    }

    /// The time, or 0 without a look at any clock while tracing is off.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.0.as_ref().map_or(0, |active| active.setup.clock.monotonic_ns())
    }

    /// Exports a delivery that has just ended, if it is selected.
    pub fn finish(&mut self, outcome: DeliveryOutcome) {
        let Some(active) = &mut self.0 else { return };
        let trace_id = active.ids.trace();
        let Some(reason) = active.reason(&trace_id, &outcome) else { return };
        let delivery = Delivery { trace_id, reason, target: Arc::clone(&active.target), outcome };
        let status = &active.setup.status;
        if active.setup.queue.try_send(delivery).is_ok() {
            status.deliveries.fetch_add(1, Ordering::Relaxed);
        } else {
            status.deliveries_dropped[Untraced::QueueFull as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Active {
    fn reason(&mut self, trace_id: &[u8; 16], outcome: &DeliveryOutcome) -> Option<Reason> {
        if let Some(reason) = self.setup.sampler.decide(trace_id, None) {
            return Some(reason);
        }
        let now_ns = self.setup.clock.monotonic_ns();
        let is_slow = self.setup.slow_ns > 0 && now_ns.saturating_sub(outcome.first_attempt_ns) > self.setup.slow_ns;
        let reason = match outcome {
            DeliveryOutcome { refused: 1.., .. } | DeliveryOutcome { attempts: 2.., .. } => Reason::Failed,
            _ if is_slow => Reason::Slow,
            _ => return None,
        };
        let second = now_ns / 1_000_000_000;
        if second != self.second {
            self.second = second;
            self.late_left = limits::TRACES_LATE_PER_SECOND_MAX;
        }
        if self.late_left == 0 {
            self.setup.status.deliveries_dropped[Untraced::TooManyLate as usize].fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.late_left -= 1;
        Some(reason)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crossbeam_channel::{Receiver, bounded};

    pub fn delivery(outcome: DeliveryOutcome) -> Delivery {
        let receiver = DeliveryReceiver::Http { host: "store.example".into(), port: 443 };
        let target = Arc::new(DeliveryTarget { forward: "store".into(), receiver });
        Delivery { trace_id: [7; 16], reason: Reason::Ratio, target, outcome }
    }

    fn tracer(ratio: f64, slow_ns: u64, slots: usize) -> (DeliveryTracer, Receiver<Delivery>, Arc<ExportStatus>) {
        let (queue, deliveries) = bounded(slots);
        let status = Arc::new(ExportStatus::default());
        let sampler = Sampler { parent_based: true, ratio };
        let setup = DeliverySetup { sampler, slow_ns, clock: Clock::start(), queue, status: Arc::clone(&status) };
        (DeliveryTracer::new(Some(&setup), &delivery(DeliveryOutcome::default()).target), deliveries, status)
    }

    #[test]
    fn stages_are_ordered_whatever_their_times() {
        let stages = [
            DeliveryStage::new("read", 10, 20),
            DeliveryStage::new("encode", 15, 30),
            DeliveryStage::new("retry", 0, 0),
            DeliveryStage::new("send", 30, 25),
            DeliveryStage::new("acknowledge", 40, 50),
        ];
        let delivery = delivery(DeliveryOutcome { stages, ..DeliveryOutcome::default() });
        assert_eq!(delivery.times_ns(), (10, 50));
        let found: Vec<_> = delivery.stages().map(|stage| (stage.name, stage.start_ns, stage.end_ns)).collect();
        assert_eq!(found, [("read", 10, 20), ("encode", 20, 30), ("send", 30, 30), ("acknowledge", 40, 50)]);
    }

    #[test]
    fn a_delivery_that_is_not_sampled_is_exported_if_it_failed() {
        for (ratio, slow_ns, attempts, refused, expected) in [
            (0.0, 0, 1, 0, None),
            (1.0, 0, 1, 0, Some(Reason::Ratio)),
            (0.0, 0, 2, 0, Some(Reason::Failed)),
            (0.0, 0, 1, 3, Some(Reason::Failed)),
            (0.0, 1, 1, 0, Some(Reason::Slow)),
            (0.0, u64::MAX, 1, 0, None),
        ] {
            let (mut tracer, deliveries, status) = tracer(ratio, slow_ns, 1);
            tracer.finish(DeliveryOutcome { attempts, refused, ..DeliveryOutcome::default() });
            assert_eq!(deliveries.try_recv().ok().map(|delivery| delivery.reason), expected, "{attempts} {refused}");
            assert_eq!(status.deliveries.load(Ordering::Relaxed), u64::from(expected.is_some()));
        }
    }

    #[test]
    fn deliveries_beyond_a_bound_are_counted() {
        let most = limits::TRACES_LATE_PER_SECOND_MAX;
        let (mut tracer, deliveries, status) = tracer(0.0, 0, 1);
        // A second may begin meanwhile, each time.
        for _ in 0..3 * most {
            tracer.finish(DeliveryOutcome { attempts: 2, ..DeliveryOutcome::default() });
        }
        let dropped = |by: Untraced| status.deliveries_dropped[by as usize].load(Ordering::Relaxed);
        assert_eq!((deliveries.len(), status.deliveries.load(Ordering::Relaxed)), (1, 1));
        assert_eq!(dropped(Untraced::QueueFull) + dropped(Untraced::TooManyLate), u64::from(3 * most) - 1);
        assert!(dropped(Untraced::QueueFull) >= u64::from(most) - 1);
    }

    #[test]
    fn a_tracer_that_is_off_reads_no_clock() {
        let mut tracer = DeliveryTracer::new(None, &delivery(DeliveryOutcome::default()).target);
        assert_eq!(tracer.now_ns(), 0);
        tracer.finish(DeliveryOutcome { attempts: 2, ..DeliveryOutcome::default() });
    }
}
