//! Counters of one core: plain integers that only the core touches, and the reasons by which they are labelled.

use crate::http::{HttpError, REASONS, Status, reason_index};

/// Declares an enum whose variants index an array of counts and have a label each.
macro_rules! labelled {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }
        impl $name {
            /// All of them, in the order of their counts.
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
        /// Not a valid batch: 400 from the parser.
        Malformed = "malformed",
        /// Not valid HTTP once the batch had begun, or a content coding that is not served: 400, 415.
        Framing = "framing",
        /// Over the bound of a body: 413.
        TooLarge = "too_large",
        /// No valid API key: 401.
        Unauthorized = "unauthorized",
        /// Over the client's rate: 429.
        RateLimited = "rate_limited",
        /// The body took too long: 408.
        TimedOut = "timed_out",
        /// The connection ended before the body did: no answer.
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
        /// Too much memory was held for connections at one time.
        BodiesFull = "bodies_full",
        /// The server was stopping.
        Draining = "draining",
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
        /// The peer ended it, between requests.
        ByPeer = "peer",
        /// An error: reset, broken pipe.
        Failed = "error",
        /// This server ended it after an answer: asked to, or after an error.
        AfterAnswer = "answered",
        /// Nothing came for the idle timeout.
        Idle = "idle",
        /// The head or the body took too long.
        ReceiveTimeout = "receive_timeout",
        /// The answers were not taken, or not to be had, in time.
        SendTimeout = "send_timeout",
        /// The server was stopping.
        Drained = "drained",
        /// An answer that had begun could not be finished.
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
    /// One core's counts since start.
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
        /// Connections taken in and served.
        connections_accepted,
        /// Connections that came over the bound: answered 503, but for `/health` and `/ready`.
        connections_refused,
        /// Calls of accept(2) that failed.
        accept_failures,
        /// PROXY protocol headers that were taken.
        proxy_headers,
        /// Requests whose client a trusted proxy has named.
        forwarded_requests,
        /// Requests in which a trusted proxy names no usable client: they count as its own.
        forwarded_unusable,
        /// Requests answered with a 200.
        answered_ok,
        /// Preflight requests of browsers, answered with a 204.
        preflights,
        /// Batches that came in.
        batches_received,
        /// Batches stored at the level asked for.
        batches_stored,
        /// Metrics that came in and were read.
        metrics_received,
        /// Metrics stored: lines.
        metrics_stored,
        /// Metrics read in batches that were malformed.
        metrics_rejected,
        /// Metrics stored whose timestamp is over [`crate::limits::TIMESTAMP_FAR_MS`] from the time of arrival.
        metrics_far_from_now,
        /// Bytes of decoded bodies that came in.
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
        /// Requests of these whose charge was given back, as they were refused for a reason of the server's.
        rate_refunded,
        /// Answers given up because the log did not take the batch in time; the batch may be stored later.
        answers_abandoned,
        /// Timers that fired.
        timers_fired,
        /// Turns longer than [`crate::limits::TURN_STALL`].
        turns_stalled,
        /// Turns that used up [`crate::limits::TURN_WORK_BYTES_MAX`]: what had arrived beyond it waited for the next.
        turns_full,
        /// Warnings that were not logged, as one of their kind had just been.
        warnings_suppressed,
        /// Requests whose record went to the exporter of traces.
        traced,
        ;
        /// Connections that ended, by [`Closed`].
        connections_closed: Closed::ALL.len(),
        /// Requests refused, in the order of [`REASONS`].
        refused: REASONS.len(),
        /// Batches rejected, by [`Rejection`].
        batches_rejected: Rejection::ALL.len(),
        /// Batches shed, by [`Shed`].
        batches_shed: Shed::ALL.len(),
        /// Requests that were to be traced and are not, by [`Untraced`].
        untraced: Untraced::ALL.len(),
    }
}

impl Counters {
    /// Counts a request that was answered with this refusal.
    pub fn refused(&mut self, error: HttpError) {
        self.refused[reason_index(error.reason())] += 1;
    }

    /// Counts a request whose content was refused.
    pub fn refused_content(&mut self) {
        self.refused[reason_index(crate::http::REASON_CONTENT)] += 1;
    }

    /// Requests answered with `status`.
    #[must_use]
    pub fn answered(&self, status: Status) -> u64 {
        let refused = REASONS.iter().zip(self.refused).filter(|((_, of), _)| *of == status).map(|(_, count)| count);
        let answered = match status {
            Status::Ok => self.answered_ok,
            Status::NoContent => self.preflights,
            _ => 0,
        };
        refused.sum::<u64>() + answered
    }

    /// Requests answered, with whatever status.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.answered_ok + self.preflights + self.refused.iter().sum::<u64>()
    }

    /// Batches rejected, for whatever reason.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.batches_rejected.iter().sum()
    }

    /// Batches shed, for whatever reason.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.batches_shed.iter().sum()
    }

    /// Batches whose fate is open: being received, or waiting for the log.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.batches_received - self.batches_stored - self.rejected() - self.shed()
    }

    /// Metrics of batches that wait for the log.
    #[must_use]
    pub fn metrics_pending(&self) -> u64 {
        self.metrics_received - self.metrics_stored - self.metrics_rejected
    }

    /// Bytes of bodies whose batch waits for the log.
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
        let mut counters = Counters { answered_ok: 3, ..Counters::default() };
        counters.refused(HttpError::NotFound);
        counters.refused(HttpError::BadRequest("x"));
        counters.refused_content();
        assert_eq!(
            [Status::Ok, Status::NotFound, Status::BadRequest, Status::TooManyRequests].map(|s| counters.answered(s)),
            [3, 1, 2, 0]
        );
        assert_eq!(counters.requests(), 6);
    }
}
