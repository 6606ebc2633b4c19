//! What the server did: plain counters and histograms that one core owns and nobody else touches. A [`Report`] is a copy
//! of them that a core hands out when it is asked; reports are merged outside the request path, and rendered there.

mod observer;
mod process;
mod render;

pub use observer::{Document, Facts, Observer, ObserverSetup, Question};

use crate::http::Status;
use hdrhistogram::Histogram;
use reactor::Counters as DriverCounters;

/// Largest latency a histogram tells apart, in microseconds: one minute. Longer ones count as that.
pub const LATENCY_US_MAX: u64 = 60_000_000;

/// Declares an enum whose variants index an array of counts and have a label each.
macro_rules! labelled {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }
        impl $name {
            /// All of them, in the order of their counts.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// As it is written in statistics.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),* }
            }
        }
    };
}

labelled! {
    /// Why a batch was rejected: the client's doing.
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
    /// Why a batch was shed: the server's doing. All are answered 503 with Retry-After.
    Shed {
        /// The ring to the writer was full.
        RingFull = "ring_full",
        /// The disk is full or failing.
        LogUnavailable = "log_unavailable",
        /// The limiter's table of clients was full.
        ClientsFull = "clients_full",
        /// Too much was being received at one time.
        BodiesFull = "bodies_full",
        /// The server was stopping.
        Draining = "draining",
    }
}

labelled! {
    /// Why a connection ended.
    Closed {
        /// The peer ended it, between requests.
        ByPeer = "peer",
        /// It failed: reset, broken pipe.
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
    }
}

/// One core's counts since start. Batches are `POST /metrics` requests whose head was accepted as such; each ends in exactly
/// one of stored, rejected and shed, so `received = stored + rejected + shed + pending`, and `pending` is zero at rest.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Connections taken in and served.
    pub connections_accepted: u64,
    /// Connections answered 503 because the bound was reached.
    pub connections_refused: u64,
    /// Connections that ended, by [`Closed`].
    pub connections_closed: [u64; Closed::ALL.len()],
    /// Calls of accept(2) that failed.
    pub accept_failures: u64,
    /// Answers given, in the order of [`Status::ALL`].
    pub answers: [u64; Status::ALL.len()],
    /// Batches that came in.
    pub batches_received: u64,
    /// Batches stored at the level asked for.
    pub batches_stored: u64,
    /// Batches rejected, by [`Rejection`].
    pub batches_rejected: [u64; Rejection::ALL.len()],
    /// Batches shed, by [`Shed`].
    pub batches_shed: [u64; Shed::ALL.len()],
    /// Metrics stored: lines.
    pub metrics_stored: u64,
    /// Bytes of bodies, decoded, that were parsed.
    pub body_bytes: u64,
    /// Bytes of lines handed to the writer.
    pub line_bytes: u64,
    /// Answers given up because the log did not take the batch in time; the batch may be stored later.
    pub answers_abandoned: u64,
    /// Timers that fired.
    pub timers_fired: u64,
}

impl Counters {
    /// Counts one answer.
    pub fn answered(&mut self, status: Status) {
        if let Some(index) = Status::ALL.iter().position(|&known| known == status) {
            self.answers[index] += 1;
        }
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

    /// Adds another core's counts.
    pub fn add(&mut self, other: &Self) {
        fn each(into: &mut [u64], from: &[u64]) {
            into.iter_mut().zip(from).for_each(|(into, from)| *into += from);
        }
        // Taken apart without `..`: a new counter that is not added here does not compile.
        let Self {
            connections_accepted,
            connections_refused,
            connections_closed,
            accept_failures,
            answers,
            batches_received,
            batches_stored,
            batches_rejected,
            batches_shed,
            metrics_stored,
            body_bytes,
            line_bytes,
            answers_abandoned,
            timers_fired,
        } = other;
        self.connections_accepted += connections_accepted;
        self.connections_refused += connections_refused;
        each(&mut self.connections_closed, connections_closed);
        self.accept_failures += accept_failures;
        each(&mut self.answers, answers);
        self.batches_received += batches_received;
        self.batches_stored += batches_stored;
        each(&mut self.batches_rejected, batches_rejected);
        each(&mut self.batches_shed, batches_shed);
        self.metrics_stored += metrics_stored;
        self.body_bytes += body_bytes;
        self.line_bytes += line_bytes;
        self.answers_abandoned += answers_abandoned;
        self.timers_fired += timers_fired;
    }
}

/// An empty latency histogram: microseconds up to [`LATENCY_US_MAX`], three significant digits.
#[must_use]
pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are constants that HdrHistogram accepts")
}

/// What one reactor says of itself when asked.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which reactor: its index.
    pub reactor: usize,
    /// Its counts.
    pub counters: Counters,
    /// From the receipt of a request's last bytes to the hand-over of its answer to the kernel, in microseconds, since start.
    pub latency_us: Histogram<u64>,
    /// What its driver counted.
    pub driver: DriverCounters,
    /// Connections open.
    pub connections_active: u64,
    /// Bytes in its ring that wait for the writer.
    pub queued_bytes: u64,
    /// The most that ever waited.
    pub queued_bytes_max: u64,
    /// Bytes its ring holds.
    pub ring_bytes: u64,
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
    }
}
