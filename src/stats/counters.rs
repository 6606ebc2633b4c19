//! Counters of one core: plain integers that only the core touches, and the reasons by which they are labelled.

use http1::{HttpError, REASONS, Status};

/// Declares an enum whose variants index an array of counts and have a label each.
macro_rules! labelled {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }
        impl $name {
            /// All variants, in the order of their counts.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// The label in statistics.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),* }
            }
        }
    };
}
pub(crate) use labelled;

labelled! {
    /// The reason why a batch was rejected, a client error.
    Rejection {
        /// An invalid batch: 400 from the parser.
        Malformed = "malformed",
        /// Invalid HTTP after the head, or an unsupported content coding: 400, 415.
        Framing = "framing",
        /// A body over the limit: 413.
        TooLarge = "too_large",
        /// No valid API key: 401.
        Unauthorized = "unauthorized",
        /// Over the client's rate: 429.
        RateLimited = "rate_limited",
        /// The body timed out: 408.
        TimedOut = "timed_out",
        /// The connection ended before the body did: no response.
        Abandoned = "abandoned",
    }
}

labelled! {
    /// The reason why a batch was shed because of the state of the server: 503 with Retry-After.
    Shed {
        /// The ring to the writer was full.
        RingFull = "ring_full",
        /// The disk is full or failing.
        LogUnavailable = "log_unavailable",
        /// The limiter's table of clients was full.
        ClientsFull = "clients_full",
        /// The memory limit for connections was reached.
        BodiesFull = "bodies_full",
        /// The server was shutting down.
        Draining = "draining",
    }
}

labelled! {
    /// The protocol of a batch.
    Protocol {
        /// JSON batches: `POST /metrics`.
        Json = "json",
        /// Prometheus remote write, both versions.
        RemoteWrite = "remote_write",
        /// Line protocol, by either of InfluxDB's APIs.
        Influx = "influx",
        /// OTLP/HTTP.
        Otlp = "otlp",
        /// Text exposition: push gateway and import.
        Text = "text",
        /// collectd's JSON.
        Collectd = "collectd",
        /// Datadog's series, both versions.
        Datadog = "datadog",
    }
}

labelled! {
    /// The reason why a request selected for tracing was not traced.
    Untraced {
        /// The exporter's queue was full.
        QueueFull = "queue_full",
        /// Too many requests of the core were being recorded.
        TooManyOpen = "too_many_open",
        /// The limit of slow or failed requests in that second was reached.
        TooManyLate = "too_many_late",
    }
}

labelled! {
    /// The reason why a connection was closed.
    Closed {
        /// The peer closed it between requests.
        ByPeer = "peer",
        /// An error: reset, broken pipe.
        Failed = "error",
        /// The server closed it after a response, as requested or after an error.
        AfterResponse = "answered",
        /// The idle timeout expired.
        Idle = "idle",
        /// The head or the body timed out.
        ReceiveTimeout = "receive_timeout",
        /// The responses were not read, or not available, in time.
        SendTimeout = "send_timeout",
        /// The server was shutting down.
        Drained = "drained",
        /// A response that had begun could not be completed.
        CutOff = "cut_off",
        /// Evicted for other connections, for lack of slots or memory.
        Evicted = "evicted",
    }
}

/// Declares the counters with their sum and difference: a counter that is not in both does not exist.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$one_doc:meta])* $one:ident,)* ;
        $($(#[$many_doc:meta])* $many:ident: $length:expr,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[$one_doc])* pub $one: u64,)*
            $($(#[$many_doc])* pub $many: [u64; $length],)*
        }
        impl Default for $name {
            fn default() -> Self {
                Self { $($one: 0,)* $($many: [0; $length],)* }
            }
        }
        impl $name {
            /// Adds another core's counts.
            pub fn add(&mut self, other: &Self) {
                $(self.$one += other.$one;)*
                $(self.$many.iter_mut().zip(other.$many).for_each(|(into, from)| *into += from);)*
            }

            /// The counts since `before`.
            #[must_use]
            pub fn since(&self, before: &Self) -> Self {
                let mut since = self.clone();
                $(since.$one = since.$one.saturating_sub(before.$one);)*
                $(since.$many.iter_mut().zip(before.$many).for_each(|(now, then)| *now = now.saturating_sub(then));)*
                since
            }
        }
    };
}

counters! {
    /// The counters of one core since startup.
    ///
    /// Batches are `POST /metrics` requests whose head was accepted as such; each ends in exactly one of stored,
    /// rejected and shed, so `received = stored + rejected + shed + pending`, and `pending` is zero at rest.
    ///
    /// The same sum holds for `body_bytes_*`, which count the decoded bodies that came in whole: a batch that was
    /// refused before, by its head or because its body broke off, has no bytes in it.
    ///
    /// It holds for `metrics_*` too, as far as metrics are known. A batch that was shed or refused unread, such as one
    /// over its client's rate, has none in them; a malformed one has those before its fault and the faulty one.
    Counters {
        /// Connections accepted and served.
        connections_accepted,
        /// Connections over the limit: 503, except for `/health` and `/ready`.
        connections_refused,
        /// Calls of accept(2) that failed.
        accept_failures,
        /// Valid PROXY protocol headers.
        proxy_headers,
        /// Requests whose client a trusted proxy has named.
        forwarded_requests,
        /// Requests in which a trusted proxy names no usable client: they count as its own.
        forwarded_unusable,
        /// Responses with status 200.
        responses_ok,
        /// Responses with status 202.
        responses_accepted,
        /// Responses with status 204 that are none to preflight requests.
        responses_no_content,
        /// Preflight requests of browsers, with status 204.
        preflights,
        /// Responses with status 303: browsers at `/`.
        responses_see_other,
        /// Responses with status 304: the client has the live page already.
        responses_not_modified,
        /// Batches received.
        batches_received,
        /// Batches stored at their acknowledgement level.
        batches_stored,
        /// Metrics parsed.
        metrics_received,
        /// Metrics stored, one line each.
        metrics_stored,
        /// Metrics of malformed batches.
        metrics_rejected,
        /// Metrics stored whose timestamp is over [`metric::limits::TIMESTAMP_FAR_MS`] from the time of arrival.
        metrics_far_from_now,
        /// Bytes of decoded bodies.
        body_bytes_received,
        /// Bytes of bodies whose batch was stored.
        body_bytes_stored,
        /// Bytes of bodies whose batch was rejected.
        body_bytes_rejected,
        /// Bytes of bodies whose batch was shed.
        body_bytes_shed,
        /// Bytes of lines handed to the writer.
        line_bytes,
        /// Requests that the limiter admitted.
        rate_admitted,
        /// Admitted requests whose charge was refunded because of a 503.
        rate_refunded,
        /// Responses dropped because the log did not store the batch in time; the batch may still be stored.
        responses_abandoned,
        /// Timers that fired.
        timers_fired,
        /// Turns longer than [`crate::limits::TURN_STALL`].
        turns_stalled,
        /// Turns that used up [`crate::limits::TURN_WORK_BYTES_MAX`]: further data waited for the next turn.
        turns_full,
        /// Warnings suppressed because one of the same kind was logged recently.
        warnings_suppressed,
        /// Requests whose trace was handed to the exporter.
        traced,
        ;
        /// Closed connections, by [`Closed`].
        connections_closed: Closed::ALL.len(),
        /// Requests refused, in the order of [`REASONS`].
        refused: REASONS.len(),
        /// Batches rejected, by [`Rejection`].
        batches_rejected: Rejection::ALL.len(),
        /// Batches shed, by [`Shed`].
        batches_shed: Shed::ALL.len(),
        /// Batches received, by [`Protocol`].
        protocol_batches_received: Protocol::ALL.len(),
        /// Batches stored, by [`Protocol`].
        protocol_batches_stored: Protocol::ALL.len(),
        /// Batches rejected, by [`Protocol`].
        protocol_batches_rejected: Protocol::ALL.len(),
        /// Batches shed, by [`Protocol`].
        protocol_batches_shed: Protocol::ALL.len(),
        /// Metrics received, by [`Protocol`].
        protocol_metrics_received: Protocol::ALL.len(),
        /// Metrics stored, by [`Protocol`].
        protocol_metrics_stored: Protocol::ALL.len(),
        /// Metrics rejected, by [`Protocol`].
        protocol_metrics_rejected: Protocol::ALL.len(),
        /// Metrics rejected alone, while the rest of their batch was stored, by [`metric::Reject`].
        metrics_rejected_alone: metric::Reject::COUNT,
        /// Elements that are no metrics and were left out, by [`metric::Skip`].
        elements_skipped: metric::Skip::COUNT,
        /// Requests selected for tracing and not traced, by [`Untraced`].
        untraced: Untraced::ALL.len(),
    }
}

impl Counters {
    /// Counts a batch that is rejected.
    pub fn reject_batch(&mut self, protocol: Protocol, reason: Rejection) {
        self.batches_rejected[reason as usize] += 1;
        self.protocol_batches_rejected[protocol as usize] += 1;
    }

    /// Counts a batch that is shed.
    pub fn shed_batch(&mut self, protocol: Protocol, reason: Shed) {
        self.batches_shed[reason as usize] += 1;
        self.protocol_batches_shed[protocol as usize] += 1;
    }

    /// Counts metrics that were found in a body, and how many of them are rejected.
    pub fn take_metrics(&mut self, protocol: Protocol, received: u64, rejected: u64) {
        self.metrics_received += received;
        self.metrics_rejected += rejected;
        self.protocol_metrics_received[protocol as usize] += received;
        self.protocol_metrics_rejected[protocol as usize] += rejected;
    }

    /// Counts a response that is no refusal.
    pub fn count_response(&mut self, status: Status) {
        match status {
            Status::Accepted => self.responses_accepted += 1,
            Status::NoContent => self.responses_no_content += 1,
            Status::SeeOther => self.responses_see_other += 1,
            Status::NotModified => self.responses_not_modified += 1,
            Status::BadRequest => self.refused_content(),
            _ => self.responses_ok += 1,
        }
    }

    /// Counts a request that was refused with this error.
    pub fn refused(&mut self, error: HttpError) {
        self.refused[error.index()] += 1;
    }

    /// Counts a request whose content was refused.
    pub fn refused_content(&mut self) {
        self.refused[http1::CONTENT_INDEX] += 1;
    }

    /// Number of responses with `status`.
    #[must_use]
    pub fn responses(&self, status: Status) -> u64 {
        let refused = REASONS.iter().zip(self.refused).filter(|((_, of), _)| *of == status).map(|(_, count)| count);
        let others = match status {
            Status::Ok => self.responses_ok,
            Status::Accepted => self.responses_accepted,
            Status::NoContent => self.preflights + self.responses_no_content,
            Status::SeeOther => self.responses_see_other,
            Status::NotModified => self.responses_not_modified,
            _ => 0,
        };
        refused.sum::<u64>() + others
    }

    /// Number of responses, with any status.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.responses_ok
            + self.responses_accepted
            + self.responses_no_content
            + self.preflights
            + self.responses_see_other
            + self.responses_not_modified
            + self.refused.iter().sum::<u64>()
    }

    /// Batches rejected, for any reason.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.batches_rejected.iter().sum()
    }

    /// Batches shed, for any reason.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.batches_shed.iter().sum()
    }

    /// Batches being received or waiting for the log.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.batches_received - self.batches_stored - self.rejected() - self.shed()
    }

    /// Metrics of batches waiting for the log.
    #[must_use]
    pub fn metrics_pending(&self) -> u64 {
        self.metrics_received - self.metrics_stored - self.metrics_rejected
    }

    /// Batches of one protocol being received or waiting for the log.
    #[must_use]
    pub const fn protocol_batches_pending(&self, protocol: Protocol) -> u64 {
        let of = protocol as usize;
        let decided =
            self.protocol_batches_stored[of] + self.protocol_batches_rejected[of] + self.protocol_batches_shed[of];
        self.protocol_batches_received[of] - decided
    }

    /// Metrics of batches of one protocol waiting for the log.
    #[must_use]
    pub const fn protocol_metrics_pending(&self, protocol: Protocol) -> u64 {
        let of = protocol as usize;
        self.protocol_metrics_received[of] - self.protocol_metrics_stored[of] - self.protocol_metrics_rejected[of]
    }

    /// Bytes of bodies whose batch is waiting for the log.
    #[must_use]
    pub fn body_bytes_pending(&self) -> u64 {
        self.body_bytes_received - self.body_bytes_stored - self.body_bytes_rejected - self.body_bytes_shed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fate_closes_the_sum() {
        let mut counters = Counters { batches_received: 4, batches_stored: 1, ..Counters::default() };
        counters.batches_rejected[Rejection::Malformed as usize] += 1;
        counters.batches_shed[Shed::RingFull as usize] += 1;
        assert_eq!((counters.rejected(), counters.shed(), counters.pending()), (1, 1, 1));
        let mut sum = counters.clone();
        sum.add(&counters);
        assert_eq!((sum.batches_received, sum.pending()), (8, 2));
        assert_eq!(sum.since(&counters), counters);
    }

    #[test]
    fn a_refusal_is_counted_by_reason_and_by_status() {
        let mut counters = Counters { responses_ok: 3, ..Counters::default() };
        counters.refused(HttpError::NotFound);
        counters.refused(HttpError::BadRequest("x"));
        counters.refused_content();
        assert_eq!(
            [Status::Ok, Status::NotFound, Status::BadRequest, Status::TooManyRequests].map(|s| counters.responses(s)),
            [3, 1, 2, 0]
        );
        assert_eq!(counters.requests(), 6);
    }
}
