//! One connection of a forward and its thread: it sends what it has in each batch, request by request, each until the
//! receiver has acknowledged or refused it.

use super::{
    batch::{Batch, Place},
    client::Client,
    config::ForwardConfig,
    encoder::{Encoded, Encoder},
    format::{Format, Negotiation},
    response::Response,
};
use crate::{
    limits,
    stats::{ForwardStatus, RefusedBy},
    trace::{DeliveryOutcome, DeliverySetup, DeliveryStage, DeliveryTarget, DeliveryTracer},
};
use host::{
    channel::{Receiver, RecvTimeoutError, Sender},
    hash::RandomState,
    sync::Mutex,
    time::Instant,
};
use log::os::sched::set_nice;
use std::{
    hash::BuildHasher,
    io,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The end of the server, as a forward learns of it.
#[derive(Debug, Clone)]
pub struct Stop {
    /// True once the server stops.
    pub is_over: Arc<AtomicBool>,
    /// Disconnected once the server stops.
    pub woken: Receiver<()>,
}

impl Stop {
    /// True once the server stops.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Waits. Returns early, and true, if the server stops.
    pub fn wait(&self, time: Duration) -> bool {
        self.woken.recv_timeout(time) != Err(RecvTimeoutError::Timeout) || self.is_over()
    }
}

/// The state that all threads of a forward share.
#[derive(Debug)]
pub struct Shared {
    /// The configuration of the forward.
    pub config: ForwardConfig,
    /// Counters.
    pub status: Arc<ForwardStatus>,
    /// The end of the server.
    pub stop: Stop,
    /// The times of the last warnings.
    pub warned: Warned,
    /// `None`: deliveries are not traced.
    pub tracing: Option<DeliverySetup>,
    /// The receiver as traces name it.
    pub target: Arc<DeliveryTarget>,
}

impl Shared {
    /// Lowers the priority of the thread that calls it.
    pub fn yield_to_reactors(&self) {
        if let Err(error) = set_nice(limits::FORWARD_NICE) {
            tracing::warn!("a thread of the forward {} cannot be made nice: {error}", self.config.name);
        }
    }

    /// A tracer for one thread that delivers.
    pub fn tracer(&self) -> DeliveryTracer {
        DeliveryTracer::new(self.tracing.as_ref(), &self.target)
    }

    /// The time by the clock of traces, or 0 if deliveries are not traced.
    pub fn now_ns(&self) -> u64 {
        self.tracing.as_ref().map_or(0, |tracing| tracing.clock.monotonic_ns())
    }

    /// Counts samples of a request that was acknowledged.
    pub fn note_delivered(&self, samples: usize) {
        let Shared { config, status, warned, .. } = self;
        ForwardStatus::count(&status.delivered, samples);
        ForwardStatus::count(&status.requests, 1);
        if warned.failing.clear() {
            tracing::info!("forward {}: the receiver accepts again", config.name);
        }
    }

    /// Counts samples that the receiver refused for good, and those of the same request that it wrote.
    pub fn note_refused(&self, by: RefusedBy, samples: usize, written: usize, text: &str) {
        let Shared { config, status, warned, .. } = self;
        ForwardStatus::count(&status.delivered, written);
        ForwardStatus::count(&status.refused[by as usize], samples);
        status.note_error(text);
        if warned.refused.is_due() {
            tracing::warn!("forward {}: {samples} samples refused: {text}", config.name);
        }
    }

    /// Counts an attempt with more samples than the receiver takes at once.
    fn note_halved(&self, samples: usize, why: &str) {
        let Shared { config, status, warned, .. } = self;
        ForwardStatus::count(&status.retries, 1);
        status.note_error(why);
        if warned.halved.is_due() {
            tracing::warn!("forward {}: {samples} samples are sent in halves: {why}", config.name);
        }
    }

    /// Counts a failed attempt, and waits. Returns false if the server stops.
    pub fn wait(&self, why: &str, time: Duration) -> bool {
        let Shared { config, status, stop, warned, .. } = self;
        if stop.is_over() {
            return false;
        }
        ForwardStatus::count(&status.retries, 1);
        status.note_error(why);
        if warned.failing.is_due() {
            tracing::warn!("forward {}: {why}; it is tried again until it succeeds", config.name);
        }
        !stop.wait(time)
    }
}

/// The time of the last warning of one kind: at most one in [`limits::FORWARD_WARN_INTERVAL`].
#[derive(Debug, Default)]
pub struct LastWarning(Mutex<Option<Instant>>);

impl LastWarning {
    /// True if a warning may be given now, which is then the last one.
    pub fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= limits::FORWARD_WARN_INTERVAL);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }

    /// Forgets the last warning. Returns whether there was one.
    fn clear(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }
}

/// The last warnings of a forward, by kind.
#[derive(Debug, Default)]
pub struct Warned {
    refused: LastWarning,
    halved: LastWarning,
    failing: LastWarning,
    /// The cursor cannot be written.
    pub cursor: LastWarning,
    /// The log cannot be read.
    pub unreadable: LastWarning,
}

/// The consequence of a response.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// So many samples were written.
    Written(usize),
    /// The receiver refused what it did not write of the request, for good.
    Refused { by: RefusedBy, written: usize, text: String },
    /// The same samples again, in another format.
    OtherFormat,
    /// The same samples again, in requests of half as many: why.
    Halves(String),
    /// The same request again: why, and the wait that the receiver retry_after for.
    Again(String, Option<Duration>),
}

/// One connection, and what its thread does.
pub struct Lane {
    index: usize,
    shared: Arc<Shared>,
    /// The format that the receiver takes.
    negotiation: Arc<Negotiation>,
    /// Samples of a request, at most.
    batch_samples: usize,
    /// The same, while the receiver does not take as many.
    samples_max: usize,
    client: Client,
    encoder: Encoder,
    tracer: DeliveryTracer,
}

/// Attempts of one delivery, with times by the clock of traces.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attempts {
    /// Number of attempts.
    pub count: u32,
    /// Times at which encoding began and ended.
    pub encoded_ns: (u64, u64),
    /// Time at which the first attempt began.
    pub first_ns: u64,
    /// Time at which the last attempt began.
    pub last_ns: u64,
}

impl Attempts {
    /// Counts an attempt that begins.
    pub const fn begin(&mut self, now_ns: u64) {
        if self.count == 0 {
            self.first_ns = now_ns;
        }
        self.last_ns = now_ns;
        self.count = self.count.saturating_add(1);
    }

    /// The stage between the first attempt and the last, if there were several.
    pub const fn retry(&self) -> DeliveryStage {
        DeliveryStage::new("retry", self.first_ns, if self.count > 1 { self.last_ns } else { 0 })
    }
}

impl Lane {
    /// The lane of that number.
    pub fn new(
        index: usize,
        shared: Arc<Shared>,
        negotiation: Arc<Negotiation>,
        batch_samples: usize,
        client: Client,
    ) -> Self {
        let tracer = shared.tracer();
        Self {
            index,
            shared,
            negotiation,
            batch_samples,
            samples_max: batch_samples,
            client,
            encoder: Encoder::new(),
            tracer,
        }
    }

    /// Delivers batch after batch, and sends its number for each one that is done. Ends when there are no more to come,
    /// or the server stops.
    pub fn run(mut self, batches: &Receiver<Arc<Batch>>, done: &Sender<usize>) {
        self.shared.yield_to_reactors();
        while let Ok(batch) = batches.recv() {
            if !self.deliver(&batch) {
                return;
            }
            // Whoever receives the last number has the batch alone.
            drop(batch);
            if done.send(self.index).is_err() {
                return;
            }
        }
    }

    /// Delivers what the lane has in a batch. Returns false if the server stops before.
    fn deliver(&mut self, batch: &Batch) -> bool {
        let mut place = Place::BEGIN;
        let mut back_off = limits::FORWARD_BACK_OFF_MIN;
        let mut format = self.negotiation.format();
        let mut attempts = Attempts::default();
        // What was too large may have been some series with long labels.
        self.samples_max = self.batch_samples.min(self.samples_max.saturating_mul(2));
        let mut next = self.encode(batch, place, format, &mut attempts);
        while let Some(encoded) = &next {
            if self.shared.stop.is_over() {
                return false;
            }
            attempts.begin(self.tracer.now_ns());
            let response = self.client.send(format.fields(), self.encoder.body());
            let status = response.as_ref().map_or(0, |response| response.code);
            match judge(response, format, encoded.samples, &self.negotiation) {
                Verdict::Again(why, retry_after) => {
                    if !self.shared.wait(&why, retry_after.unwrap_or_default().max(jittered(back_off))) {
                        return false;
                    }
                    back_off = (back_off * 2).min(limits::FORWARD_BACK_OFF_MAX);
                    continue;
                }
                Verdict::OtherFormat => {}
                Verdict::Halves(why) => {
                    self.samples_max = encoded.samples / 2;
                    self.shared.note_halved(encoded.samples, &why);
                }
                Verdict::Written(samples) => {
                    self.shared.note_delivered(samples);
                    place = encoded.behind;
                    self.trace(batch, &attempts, encoded.samples, 0, status);
                    attempts = Attempts::default();
                }
                Verdict::Refused { by, written, text } => {
                    let refused = encoded.samples - written;
                    self.shared.note_refused(by, refused, written, &text);
                    // One sample alone, which is passed by: others are not as large.
                    if by == RefusedBy::TooLarge {
                        self.samples_max = self.batch_samples;
                    }
                    place = encoded.behind;
                    self.trace(batch, &attempts, encoded.samples, refused, status);
                    attempts = Attempts::default();
                }
            }
            back_off = limits::FORWARD_BACK_OFF_MIN;
            format = self.negotiation.format();
            next = self.encode(batch, place, format, &mut attempts);
        }
        true
    }

    /// Encodes the next request, and records when, unless it was encoded in another format before.
    fn encode(&mut self, batch: &Batch, place: Place, format: Format, attempts: &mut Attempts) -> Option<Encoded> {
        let start_ns = self.tracer.now_ns();
        let encoded = self.encoder.encode(batch, self.index, place, self.samples_max, format);
        if attempts.count == 0 {
            attempts.encoded_ns = (start_ns, self.tracer.now_ns());
        }
        encoded
    }

    /// Traces a request that was acknowledged or refused just now.
    fn trace(&mut self, batch: &Batch, attempts: &Attempts, samples: usize, refused: usize, status: u16) {
        let (now_ns, sent_ns) = (self.tracer.now_ns(), self.client.sent_ns());
        // It may have responded before everything was sent.
        let (send_ns, acknowledge_ns) = if sent_ns > 0 { (sent_ns, now_ns) } else { (now_ns, 0) };
        self.tracer.finish(DeliveryOutcome {
            stages: [
                DeliveryStage::new("read", batch.read_ns.0, batch.read_ns.1),
                DeliveryStage::new("encode", attempts.encoded_ns.0, attempts.encoded_ns.1),
                attempts.retry(),
                DeliveryStage::new("send", attempts.last_ns, send_ns),
                DeliveryStage::new("acknowledge", sent_ns, acknowledge_ns),
            ],
            first_attempt_ns: attempts.first_ns,
            attempts: attempts.count,
            samples: samples as u64,
            refused: refused as u64,
            bytes: self.encoder.body().len() as u64,
            status,
        });
    }
}

/// Decides what follows the response to a request of so many samples.
fn judge(response: io::Result<Response>, format: Format, samples: usize, negotiation: &Negotiation) -> Verdict {
    let Response { code, retry_after, written, text, .. } = match response {
        Ok(response) => response,
        Err(error) => return Verdict::Again(error.to_string(), None),
    };
    let refused =
        |by, written: Option<usize>, text| Verdict::Refused { by, written: written.unwrap_or(0).min(samples), text };
    match code {
        200..=299 if format == Format::V2 => match written {
            Some(written) if written >= samples => {
                negotiation.confirm();
                Verdict::Written(samples)
            }
            Some(_) => {
                negotiation.confirm();
                refused(RefusedBy::NotWritten, written, format!("status {code}, but not all was written: {text}"))
            }
            None if negotiation.fall_back(format) => Verdict::OtherFormat,
            None => {
                let text =
                    format!("status {code} without what was written: is it a receiver of remote write 2.0? {text}");
                refused(RefusedBy::NotWritten, None, text)
            }
        },
        200..=299 => {
            negotiation.confirm();
            Verdict::Written(samples)
        }
        415 if negotiation.fall_back(format) => Verdict::OtherFormat,
        400 if written.is_none() && !negotiation.is_confirmed() && negotiation.fall_back(format) => {
            Verdict::OtherFormat
        }
        413 if samples > 1 && written.is_none() => Verdict::Halves(format!("status 413: {text}")),
        400..=499 if code != 429 => refused(RefusedBy::status(code), written, format!("status {code}: {text}")),
        code => Verdict::Again(format!("status {code}: {text}"), retry_after),
    }
}

/// A wait between half of the given one and all of it, so that many senders do not return at one moment.
pub fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().hash_one(Instant::now()) % 1_000;
    wait / 2 + wait / 2 * u32::try_from(random).unwrap_or(0) / 1_000
}
