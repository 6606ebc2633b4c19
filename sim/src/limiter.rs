//! The sliding window, against what a sequential limiter could have decided.
//!
//! A client knows when it began to send a request and when it had the response, and the limiter has decided at some
//! moment between the two. So there were too many where more than the limit were admitted between two moments less than
//! a window apart, and too few where a refusal has not as many before it that may have been charged.

use std::net::IpAddr;

/// The window: one second, and a little for clocks that count in other steps.
const WINDOW_NS: u64 = 1_000_000_000;
const STEP_NS: u64 = 1_000_000;

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was admitted.
    Charged,
    /// It was refused as over the rate.
    OverRate,
    /// It was refused for another reason: what it was charged is given back by its response.
    Refunded,
    /// It may have been charged.
    Unknown,
}

/// A request that the limiter has decided about.
#[derive(Debug, Clone, Copy)]
pub struct Charge {
    pub client: IpAddr,
    pub sent_ns: u64,
    /// `u64::MAX` without a response.
    pub done_ns: u64,
    pub fate: Fate,
}

/// Checks the decisions about every client.
pub fn check(charges: &[Charge], limit: u32) -> Result<(), String> {
    for charge in charges {
        let of_client = || charges.iter().filter(|other| other.client == charge.client);
        match charge.fate {
            Fate::Charged => {
                let end_ns = charge.sent_ns + WINDOW_NS - STEP_NS;
                let is_within = |other: &&Charge| {
                    other.fate == Fate::Charged && other.sent_ns >= charge.sent_ns && other.done_ns <= end_ns
                };
                let count = of_client().filter(is_within).count();
                if count > limit as usize {
                    return Err(format!("{} was admitted {count} times within a second, over {limit}", charge.client));
                }
            }
            Fate::OverRate => {
                let from_ns = charge.sent_ns.saturating_sub(WINDOW_NS + STEP_NS);
                let may_count = |other: &&Charge| {
                    let since_ns = if other.fate == Fate::Refunded { charge.sent_ns } else { from_ns };
                    other.fate != Fate::OverRate && other.done_ns >= since_ns && other.sent_ns <= charge.done_ns
                };
                let count = of_client().filter(may_count).count();
                if count < limit as usize {
                    return Err(format!("{} was refused after {count} requests, under {limit}", charge.client));
                }
            }
            Fate::Refunded | Fate::Unknown => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(sent_ms: u64, done_ms: u64, fate: Fate) -> Charge {
        let client = [10, 0, 0, 1].into();
        Charge { client, sent_ns: sent_ms * 1_000_000, done_ns: done_ms * 1_000_000, fate }
    }

    #[test]
    fn a_window_with_too_many_or_too_few_is_found() {
        let two = [charge(0, 10, Fate::Charged), charge(20, 30, Fate::Charged)];
        assert!(check(&two, 2).is_ok());
        assert!(check(&two, 1).is_err());
        assert!(check(&[two[0], charge(20, 1_010, Fate::Charged)], 1).is_ok(), "it may have been a second later");
        assert!(check(&[two[0], charge(500, 510, Fate::OverRate)], 1).is_ok());
        assert!(check(&[two[0], charge(2_000, 2_010, Fate::OverRate)], 1).is_err());
        assert!(check(&[charge(0, 10, Fate::Refunded), charge(20, 30, Fate::OverRate)], 1).is_err());
        assert!(check(&[charge(0, u64::MAX / 1_000_000, Fate::Unknown), charge(5, 9, Fate::OverRate)], 1).is_ok());
    }
}
