//! Sampling: selects requests to record from their head, by the caller's flag or by a fraction of all trace ids. Also
//! generates the ids.

use super::Parent;
use std::hash::{BuildHasher, RandomState};

/// Selects requests at their head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// True if the flag of a caller's `traceparent` decides, where there is one.
    pub parent_based: bool,
    /// The fraction of the other traces that is recorded, from 0 to 1.
    pub ratio: f64,
}

/// The reason for exporting a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The caller records the trace.
    Parent,
    /// The trace id is in the sampled fraction.
    Ratio,
    /// The response was a 5xx.
    Failed,
    /// The request took longer than `--trace-slow`.
    Slow,
}

impl Reason {
    /// The value in the span.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Parent => "parent",
            Self::Ratio => "ratio",
            Self::Failed => "failed",
            Self::Slow => "slow",
        }
    }
}

impl Sampler {
    /// The reason for recording a request, if it is sampled: `trace_id` is its own, `parent` is its `traceparent`.
    #[must_use]
    pub fn decide(&self, trace_id: &[u8; 16], parent: Option<&Parent>) -> Option<Reason> {
        match parent {
            Some(parent) if self.parent_based => parent.sampled.then_some(Reason::Parent),
            _ => self.takes(trace_id).then_some(Reason::Ratio),
        }
    }

    /// Returns true if the ratio includes `trace_id`. Every server with this ratio decides alike, and one with a
    /// greater ratio takes all that one with a smaller takes: the id's lower 63 bits, which are random, are compared to
    /// that part of 2^63. It is what OpenTelemetry's SDK for Rust does as `TraceIdRatioBased`.
    fn takes(&self, trace_id: &[u8; 16]) -> bool {
        if self.ratio >= 1.0 {
            return true;
        }
        let mut low = [0; 8];
        low.copy_from_slice(&trace_id[8..]);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "the ratio is from 0 to 1, and 2^63 is exact"
        )]
        let bound = (self.ratio.max(0.0) * (1_u64 << 63) as f64) as u64;
        u64::from_be_bytes(low) >> 1 < bound
    }
}

/// Ids: xoshiro256++ (Blackman and Vigna, 2019), seeded at random. They need to be unique, not secret.
#[derive(Debug, Clone)]
pub struct Ids {
    state: [u64; 4],
}

impl Ids {
    /// Creates a sequence of its own.
    #[must_use]
    pub fn new() -> Self {
        // The standard library's hash keys are random, and differ from one RandomState to the next.
        Self { state: std::array::from_fn(|index| RandomState::new().hash_one(index)) }
    }

    fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// The next trace id.
    pub fn trace(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.next().to_be_bytes());
        id[8..].copy_from_slice(&self.next().to_be_bytes());
        // Zero is no id; once in 2^128 it would come up.
        if id == [0; 16] { self.trace() } else { id }
    }

    /// The next span id.
    pub fn span(&mut self) -> [u8; 8] {
        match self.next() {
            0 => self.span(),
            id => id.to_be_bytes(),
        }
    }
}

impl Default for Ids {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::{TraceId, trace::SpanKind};
    use opentelemetry_sdk::trace::{Sampler as SdkSampler, SamplingDecision, ShouldSample};

    #[test]
    fn the_ratio_decides_as_the_sdk_does() {
        let mut ids = Ids::new();
        for ratio in [0.0, 1e-9, 0.01, 0.25, 0.5, 0.999, 1.0] {
            let sampler = Sampler { parent_based: false, ratio };
            let theirs = SdkSampler::TraceIdRatioBased(ratio);
            let edges = [[0xff; 16], [1; 16], [0x7f; 16], [0x80; 16]];
            for id in (0..2_000).map(|_| ids.trace()).chain(edges) {
                let decided =
                    theirs.should_sample(None, TraceId::from_bytes(id), "", &SpanKind::Server, &[], &[]).decision;
                assert_eq!(sampler.takes(&id), decided == SamplingDecision::RecordAndSample, "{ratio} {id:x?}");
            }
        }
    }

    #[test]
    fn a_greater_ratio_takes_all_that_a_smaller_takes() {
        let mut ids = Ids::new();
        let ids: Vec<_> = (0..10_000).map(|_| ids.trace()).collect();
        let taken = |ratio| -> Vec<bool> {
            ids.iter().map(|id| Sampler { parent_based: true, ratio }.decide(id, None).is_some()).collect()
        };
        let (tenth, half) = (taken(0.1), taken(0.5));
        assert!(tenth.iter().zip(&half).all(|(tenth, half)| !tenth || *half));
        // 10,000 draws: 1,000 with a standard deviation of 30, 5,000 with one of 50. Ten of those are never seen.
        let count = |taken: &[bool]| taken.iter().filter(|taken| **taken).count();
        assert!((700..1_300).contains(&count(&tenth)) && (4_500..5_500).contains(&count(&half)));
    }

    #[test]
    fn the_callers_flag_decides_if_it_is_to() {
        let parent = |sampled| Parent { trace_id: [0xff; 16], span_id: [1; 8], sampled };
        let decide =
            |parent_based, ratio, sampled| Sampler { parent_based, ratio }.decide(&[0xff; 16], Some(&parent(sampled)));
        assert_eq!(decide(true, 0.0, true), Some(Reason::Parent));
        assert_eq!(decide(true, 1.0, false), None);
        assert_eq!(decide(false, 0.0, true), None);
        assert_eq!(decide(false, 1.0, false), Some(Reason::Ratio));
    }

    #[test]
    fn ids_do_not_come_twice() {
        let (mut one, mut other) = (Ids::new(), Ids::new());
        let ids: std::collections::HashSet<_> = (0..1_000).flat_map(|_| [one.trace(), other.trace()]).collect();
        assert_eq!(ids.len(), 2_000);
        assert_ne!(one.span(), other.span());
    }
}
