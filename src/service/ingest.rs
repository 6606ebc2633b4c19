//! The body of a batch: into the ring, and its response.

use super::{Burst, BurstResult, Caller, PendingAck, Service};
use crate::{
    config::PositionHeader,
    limits,
    protocols::{self, Payload},
    stats::{Protocol, Rejection, Shed},
    trace::{Context, RequestStages},
};
use http1::{HttpError, ReservedField, Responder, Served, Status};
use log::{AckLevel, LogPosition};
use metric::{DecodeError, Decoded, LineSink};
use rate::{Charge, ClientKey, EventKind};

/// An admitted batch whose body is complete.
pub(super) struct Batch<'a> {
    /// The decoding of its body.
    pub(super) payload: &'a Payload,
    /// The level at which it is acknowledged.
    pub(super) ack: AckLevel,
    /// Charge of the limiter; `None` without a limiter.
    pub(super) charge: Option<Charge>,
    /// The client.
    pub(super) client: ClientKey,
}

impl Batch<'_> {
    fn protocol(&self) -> Protocol {
        self.payload.dialect().protocol
    }
}

/// Facts about a batch while it is ingested, for its trace and the totals of its client.
struct Stages {
    is_sampled: bool,
    /// Some of its metrics have timestamps far from now.
    is_far_from_now: bool,
    request: RequestStages,
}

impl Service {
    /// Ingests a batch: reserves space in the ring, decodes and encodes in one pass, and commits.
    pub(super) fn ingest(
        &mut self,
        batch: &Batch<'_>,
        trace: &mut Context,
        body: &[u8],
        respond: Responder<'_>,
        burst: &mut Burst,
    ) -> Served {
        let is_sampled = trace.sampled.is_some();
        let request = RequestStages { begun_ns: self.stamp(is_sampled), ..RequestStages::default() };
        let mut stages = Stages { is_sampled, is_far_from_now: false, request };
        let body_bytes = body.len() as u64;
        burst.result.batch_responses += 1;
        self.counters.body_bytes_received += body_bytes;
        let admitted = self.admit_log(burst.caller);
        stages.request.limited_ns = self.stamp(is_sampled);
        let served = match admitted {
            Ok(()) if matches!(batch.payload, Payload::Json) => {
                self.ingest_json(batch, &mut stages, body, respond, &mut burst.result)
            }
            Ok(()) => self.ingest_decoded(batch, &mut stages, body, respond, &mut burst.result),
            Err((reason, text)) => self.shed(batch, reason, text, &mut stages, body_bytes, respond),
        };
        let kind = if stages.is_far_from_now { EventKind::FarFromNow } else { EventKind::Admitted };
        self.report_admitted(batch.charge, kind, stages.request.metrics);
        self.trace(trace, Some(batch.ack), stages.request, burst.caller);
        served
    }

    /// A batch of JSON: all or nothing.
    fn ingest_json(
        &mut self,
        batch: &Batch<'_>,
        stages: &mut Stages,
        body: &[u8],
        respond: Responder<'_>,
        decided: &mut BurstResult,
    ) -> Served {
        let body_bytes = body.len() as u64;
        let Some(space) = self.log.reserve(self.encoder.encoded_bytes_max(body.len())) else {
            return self.shed(batch, Shed::RingFull, RING_FULL, stages, body_bytes, respond);
        };
        let encoded = match self.encoder.encode(body, self.arrival_ms, space) {
            Ok(encoded) => encoded,
            Err(error) => {
                stages.request.status = Status::BadRequest.code();
                stages.request.parsed_ns = self.stamp(stages.is_sampled);
                // Those before the fault, and the faulty one.
                let metrics = error.index.map_or(0, |index| index as u64 + 1);
                self.reject(batch, Rejection::Malformed, metrics, body_bytes);
                self.refuse_content(batch.client);
                return respond.refuse_content(&error);
            }
        };
        self.counters.take_metrics(Protocol::Json, u64::from(encoded.metrics), 0);
        let committed = Committed {
            metrics: encoded.metrics,
            bytes: encoded.bytes,
            far_from_now: encoded.far_from_now,
            body_bytes,
        };
        let position = self.commit(batch, &committed, Status::Ok, stages, decided);
        self.counters.responses_ok += 1;
        let served = self.reserving_position(batch, respond).accepted(encoded.metrics as usize);
        self.note_position(position, &served);
        served
    }

    /// A body of any other protocol: what is valid is stored.
    fn ingest_decoded(
        &mut self,
        batch: &Batch<'_>,
        stages: &mut Stages,
        body: &[u8],
        respond: Responder<'_>,
        decided: &mut BurstResult,
    ) -> Served {
        let body_bytes = body.len() as u64;
        let bytes_max = self.shared.config.line_bytes_max();
        let mut reserved = body.len().saturating_mul(limits::LINE_BYTES_PER_BODY_BYTE).saturating_add(bytes_max / 64);
        let (result, decoded) = loop {
            reserved = reserved.min(bytes_max);
            let Some(space) = self.log.reserve(reserved) else {
                return self.shed(batch, Shed::RingFull, RING_FULL, stages, body_bytes, respond);
            };
            let mut sink = LineSink::new(space, self.arrival_ms);
            let result = self.decoders.decode(batch.payload, body, &mut sink);
            if result == Err(DecodeError::TooLarge) && reserved < bytes_max {
                reserved = bytes_max;
                continue;
            }
            break (result, sink.decoded());
        };
        self.decoders.trim(batch.payload);
        let yields = match result {
            Ok(yields) => yields,
            Err(error) => return self.refuse_decoded(batch, error, &decoded, stages, body_bytes, respond),
        };
        if let Err(refusal) = self.charge_lines(batch.charge, batch.payload.dialect(), decoded.bytes) {
            return self.refuse_lines(batch, refusal, &decoded, stages, body_bytes, respond);
        }
        let rejected = u64::from(decoded.rejected());
        self.counters.take_metrics(batch.protocol(), u64::from(decoded.metrics) + rejected, rejected);
        for (count, more) in self.counters.metrics_rejected_alone.iter_mut().zip(decoded.rejected) {
            *count += u64::from(more);
        }
        for (count, more) in self.counters.elements_skipped.iter_mut().zip(decoded.skipped) {
            *count += u64::from(more);
        }
        let respond = if decoded.metrics > 0 { self.reserving_position(batch, respond) } else { respond };
        let (served, status) = protocols::respond(batch.payload, &decoded, yields, body, respond);
        stages.request.status = status.code();
        let is_rejected = decoded.metrics == 0 && rejected > 0;
        if is_rejected {
            stages.request.parsed_ns = self.stamp(stages.is_sampled);
            self.counters.body_bytes_rejected += body_bytes;
            self.reject_batch(batch.protocol(), Rejection::Malformed);
        }
        if status == Status::BadRequest {
            self.refuse_content(batch.client);
        } else {
            self.counters.count_response(status);
        }
        if is_rejected {
            return served;
        }
        if decoded.metrics == 0 {
            // An empty body, or one with metadata only: there is nothing to wait for.
            stages.request.parsed_ns = self.stamp(stages.is_sampled);
            self.measure(0, body_bytes);
            let protocol = batch.protocol();
            self.stored(&PendingAck { protocol, batches: 1, body_bytes, ..PendingAck::default() });
            return served;
        }
        let committed = Committed {
            metrics: decoded.metrics,
            bytes: decoded.bytes,
            far_from_now: decoded.far_from_now,
            body_bytes,
        };
        let position = self.commit(batch, &committed, status, stages, decided);
        self.note_position(position, &served);
        served
    }

    /// The responder of a batch whose response has its position, where that will be known.
    fn reserving_position<'a>(&self, batch: &Batch<'_>, respond: Responder<'a>) -> Responder<'a> {
        match self.shared.config.position_header {
            PositionHeader::On if batch.ack != AckLevel::Memory => respond.reserving(POSITION_FIELD),
            _ => respond,
        }
    }

    /// Notes that the response `served` is to have the place of the ring's `position`.
    fn note_position(&mut self, position: u64, served: &Served) {
        if let Some(at) = served.reserved_at() {
            self.positions.push((position, at));
        }
    }

    /// The batches since the last call whose responses are to have their position: that of the ring, and the place in
    /// their connection's output.
    pub fn take_positions(&mut self) -> impl Iterator<Item = (u64, usize)> + '_ {
        self.positions.drain(..)
    }

    /// Records the size of a batch.
    fn measure(&mut self, metrics: u32, body_bytes: u64) {
        self.histograms.batch_metrics.record(u64::from(metrics), 1);
        self.histograms.batch_body_bytes.record(body_bytes, 1);
    }

    /// Refuses a body of which nothing may be stored. The metrics that were found before the fault are rejected with
    /// it.
    fn refuse_decoded(
        &mut self,
        batch: &Batch<'_>,
        error: DecodeError,
        decoded: &Decoded,
        stages: &mut Stages,
        body_bytes: u64,
        respond: Responder<'_>,
    ) -> Served {
        stages.request.parsed_ns = self.stamp(stages.is_sampled);
        let metrics = u64::from(decoded.metrics) + u64::from(decoded.rejected()) + 1;
        if let DecodeError::Malformed { .. } = error {
            stages.request.status = Status::BadRequest.code();
            self.reject(batch, Rejection::Malformed, metrics, body_bytes);
            self.refuse_content(batch.client);
            return respond.refuse_content(&error);
        }
        stages.request.status = Status::ContentTooLarge.code();
        self.reject(batch, Rejection::TooLarge, metrics, body_bytes);
        self.refuse(HttpError::ContentTooLarge, batch.client);
        respond.refuse_as(HttpError::ContentTooLarge, &error)
    }

    /// Refuses a body whose lines are over the byte budget of its client. Nothing of it is stored.
    #[cold]
    fn refuse_lines(
        &mut self,
        batch: &Batch<'_>,
        refusal: HttpError,
        decoded: &Decoded,
        stages: &mut Stages,
        body_bytes: u64,
        respond: Responder<'_>,
    ) -> Served {
        stages.request.parsed_ns = self.stamp(stages.is_sampled);
        stages.request.status = refusal.status().code();
        let metrics = u64::from(decoded.metrics) + u64::from(decoded.rejected());
        self.reject(batch, Rejection::RateLimited, metrics, body_bytes);
        self.refuse(refusal, batch.client);
        respond.refuse(refusal)
    }

    /// Commits the lines of a batch, notes the position that its response waits for, and returns it.
    fn commit(
        &mut self,
        batch: &Batch<'_>,
        committed: &Committed,
        status: Status,
        stages: &mut Stages,
        decided: &mut BurstResult,
    ) -> u64 {
        let &Committed { metrics, bytes, far_from_now, body_bytes } = committed;
        let protocol = batch.protocol();
        let position = self.log.commit(bytes, batch.ack);
        stages.request.parsed_ns = self.stamp(stages.is_sampled);
        (stages.request.status, stages.request.metrics) = (status.code(), metrics);
        self.counters.line_bytes += bytes as u64;
        if far_from_now > 0 {
            stages.is_far_from_now = true;
            self.note_far_from_now(far_from_now);
        }
        self.measure(metrics, body_bytes);
        let pending = PendingAck { protocol, batches: 1, metrics, body_bytes, position };
        let gathered = match batch.ack {
            AckLevel::Memory => {
                self.stored(&pending);
                return position;
            }
            AckLevel::Write => &mut decided.write,
            AckLevel::Fsync => &mut decided.fsync,
        };
        if gathered.batches > 0 && gathered.protocol != protocol {
            let earlier = std::mem::take(gathered);
            decided.earlier.push((batch.ack, earlier));
        }
        let gathered = match batch.ack {
            AckLevel::Fsync => &mut decided.fsync,
            AckLevel::Memory | AckLevel::Write => &mut decided.write,
        };
        gathered.protocol = protocol;
        gathered.batches += 1;
        gathered.metrics += metrics;
        gathered.body_bytes += body_bytes;
        gathered.position = position;
        position
    }

    /// Counts metrics whose timestamp is far from now, which usually means that the client's clock or unit is wrong.
    #[cold]
    fn note_far_from_now(&mut self, metrics: u32) {
        self.counters.metrics_far_from_now += u64::from(metrics);
        let stamp_ns = self.shared.clock.monotonic_ns();
        match self.far_warnings.admit_every(limits::FAR_WARNING_INTERVAL_NS, stamp_ns) {
            Some(suppressed) => tracing::warn!(
                client = %self.client, metrics, suppressed,
                "timestamps are over a day from now: the client's clock, or its unit (precision), may be wrong"
            ),
            None => self.counters.warnings_suppressed += 1,
        }
    }

    /// Counts a batch that is rejected as a whole, with the metrics that are known of it.
    fn reject(&mut self, batch: &Batch<'_>, reason: Rejection, metrics: u64, body_bytes: u64) {
        self.counters.take_metrics(batch.protocol(), metrics, metrics);
        self.counters.body_bytes_rejected += body_bytes;
        self.reject_batch(batch.protocol(), reason);
    }

    /// Refuses a batch because of the state of the server, and refunds its charge.
    fn shed(
        &mut self,
        batch: &Batch<'_>,
        reason: Shed,
        text: &'static str,
        stages: &mut Stages,
        body_bytes: u64,
        respond: Responder<'_>,
    ) -> Served {
        let retry_after_s = batch.payload.dialect().shed_retry_after_s;
        let refusal = HttpError::Unavailable { text, retry_after_s };
        self.refund(batch.charge);
        stages.request.status = refusal.status().code();
        self.shed_batch(batch.protocol(), reason);
        self.counters.body_bytes_shed += body_bytes;
        self.refuse(refusal, batch.client);
        respond.refuse(refusal)
    }

    /// Counts batches that have reached their level.
    pub fn stored(&mut self, part: &PendingAck) {
        self.counters.batches_stored += u64::from(part.batches);
        self.counters.metrics_stored += u64::from(part.metrics);
        self.counters.body_bytes_stored += part.body_bytes;
        let protocol = part.protocol as usize;
        self.counters.protocol_batches_stored[protocol] += u64::from(part.batches);
        self.counters.protocol_metrics_stored[protocol] += u64::from(part.metrics);
    }

    fn admit_log(&self, caller: Caller) -> Result<(), (Shed, &'static str)> {
        if caller.accepted_during_drain {
            return Err((Shed::Draining, "the server is stopping"));
        }
        if !self.log.health().is_healthy() {
            return Err((Shed::LogUnavailable, "the log does not accept data now"));
        }
        Ok(())
    }
}

/// The field for the position of a batch's end in the log.
const POSITION_FIELD: ReservedField =
    ReservedField { name: b"\r\nX-MetricsStream-Position:", bytes: 1 + LogPosition::TEXT_BYTES_MAX };
const RING_FULL: &str = "the queue to the log is full";

/// The lines of a batch in the space that was reserved for them.
struct Committed {
    metrics: u32,
    bytes: usize,
    far_from_now: u32,
    body_bytes: u64,
}
