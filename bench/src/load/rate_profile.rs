//! The rate that an open loop wants over time: one for ever, or stages in each of which it goes in a straight line to a
//! target. A place on the profile is the number of sends before a moment, as a real number: the area below the rate up
//! to there. Reads no clock.

use super::values::{RATE_MAX, SPAN_MAX};
use std::fmt;

/// Stages at most: each thread has a histogram of up to 270 KiB for each of them.
pub(super) const STAGES_MAX: usize = 64;
const NS_PER_S: f64 = 1e9;

/// A part of the profile with a straight line. Times are nanoseconds since the start of the load, rates sends a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// Begin of the stage.
    pub from_ns: u64,
    /// End of the stage, exclusive.
    pub end_ns: u64,
    /// The rate at its begin.
    pub from_rate: f64,
    /// The rate at its end.
    pub to_rate: f64,
    /// Sends before it.
    before: f64,
}

/// The wanted rate over time.
#[derive(Debug, Clone, PartialEq)]
pub struct RateProfile {
    /// One after the other, none without a length.
    parts: Vec<Stage>,
}

impl Stage {
    #[expect(clippy::cast_precision_loss, reason = "a day is far below 2^53 ns")]
    fn length_s(&self) -> f64 {
        (self.end_ns - self.from_ns) as f64 / NS_PER_S
    }

    fn sends(&self) -> f64 {
        f64::midpoint(self.from_rate, self.to_rate) * self.length_s()
    }

    /// The mean of the rates that its first `length_ns` want.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a day is far below 2^53 ns")]
    pub fn mean_rate(&self, length_ns: u64) -> f64 {
        self.from_rate + self.slope() * length_ns as f64 / NS_PER_S / 2.0
    }

    /// Change of the rate in each second.
    fn slope(&self) -> f64 {
        (self.to_rate - self.from_rate) / self.length_s()
    }

    /// The sends of its first `since_s` seconds.
    fn sends_by(&self, since_s: f64) -> f64 {
        (self.from_rate + self.slope() * since_s / 2.0) * since_s
    }

    /// Seconds after its begin at which it has made `sends`: the root of [`sends_by`](Self::sends_by), in the form that
    /// does not cancel.
    fn since_s(&self, sends: f64) -> f64 {
        if sends <= 0.0 {
            return 0.0;
        }
        let root = (self.from_rate * self.from_rate + 2.0 * self.slope() * sends).max(0.0).sqrt();
        2.0 * sends / (self.from_rate + root)
    }
}

impl RateProfile {
    /// The same rate for ever.
    #[must_use]
    pub fn steady(rate: f64) -> Self {
        Self { parts: vec![Stage { from_ns: 0, end_ns: u64::MAX, from_rate: rate, to_rate: rate, before: 0.0 }] }
    }

    /// Makes a profile of stages with these lengths in nanoseconds, and these rates at their begin and end. A stage
    /// without a length is left out.
    ///
    /// # Errors
    /// The text names the stage or the rate that is invalid.
    pub fn staged(stages: &[(u64, f64, f64)]) -> Result<Self, String> {
        let mut profile = Self { parts: Vec::new() };
        let (mut end_ns, mut before) = (0_u64, 0.0);
        for &(length_ns, from_rate, to_rate) in stages.iter().filter(|(length_ns, ..)| *length_ns > 0) {
            if ![from_rate, to_rate].iter().all(|rate| (0.0..=RATE_MAX).contains(rate)) {
                return Err(format!("a stage's rate is from 0 to {RATE_MAX} a second"));
            }
            let from_ns = end_ns;
            end_ns = from_ns.saturating_add(length_ns);
            let stage = Stage { from_ns, end_ns, from_rate, to_rate, before };
            before += stage.sends();
            profile.parts.push(stage);
        }
        if u128::from(end_ns) > SPAN_MAX.as_nanos() {
            return Err(format!("the stages last over {} s", SPAN_MAX.as_secs()));
        }
        if profile.parts.len() > STAGES_MAX {
            return Err(format!("over {STAGES_MAX} stages"));
        }
        // The first send is due when the rate begins to be positive.
        if before <= 0.0 { Err("no stage has a rate above 0 for any time".to_owned()) } else { Ok(profile) }
    }

    /// The rate, if there is one for ever.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        self.parts.first().filter(|part| part.end_ns == u64::MAX).map(|part| part.from_rate)
    }

    /// The stages; none where there is one rate for ever.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        if self.rate().is_some() { &[] } else { &self.parts }
    }

    /// The end of the last stage; `u64::MAX` where there is one rate for ever.
    #[must_use]
    pub fn end_ns(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.end_ns)
    }

    /// The stage that `time_ns` is in, if any is.
    fn at(&self, time_ns: u64) -> Option<&Stage> {
        self.parts.get(self.parts.partition_point(|part| part.end_ns <= time_ns))
    }

    /// The rate that is wanted at `time_ns`; zero after the last stage.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a day is far below 2^53 ns")]
    pub fn rate_at(&self, time_ns: u64) -> f64 {
        self.at(time_ns).map_or(0.0, |part| match part.end_ns {
            u64::MAX => part.from_rate,
            _ => part.from_rate + part.slope() * (time_ns - part.from_ns) as f64 / NS_PER_S,
        })
    }

    /// The last moment at which no more than `place` sends are behind; `u64::MAX` where there is none.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn time_ns(&self, place: f64) -> u64 {
        for part in &self.parts {
            if part.end_ns == u64::MAX {
                return (place * NS_PER_S / part.from_rate) as u64;
            }
            let sends = place - part.before;
            if sends < part.sends() {
                return part.from_ns + (part.since_s(sends) * NS_PER_S) as u64;
            }
        }
        u64::MAX
    }

    /// The sends before `time_ns`.
    #[expect(clippy::cast_precision_loss, reason = "a day is far below 2^53 ns")]
    pub(super) fn place(&self, time_ns: u64) -> f64 {
        match (self.at(time_ns), self.parts.last()) {
            (Some(part), _) if part.end_ns == u64::MAX => time_ns as f64 * part.from_rate / NS_PER_S,
            (Some(part), _) => part.before + part.sends_by((time_ns - part.from_ns) as f64 / NS_PER_S),
            (None, last) => last.map_or(0.0, |last| last.before + last.sends()),
        }
    }
}

impl fmt::Display for RateProfile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(rate) = self.rate() {
            return write!(formatter, "{rate} requests/s");
        }
        for (index, stage) in self.parts.iter().enumerate() {
            let Stage { from_rate, to_rate, .. } = stage;
            let rates = if from_rate == to_rate { to_rate.to_string() } else { format!("{from_rate} to {to_rate}") };
            write!(formatter, "{}{rates}/s in {} s", if index > 0 { ", " } else { "" }, stage.length_s())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_ramp_has_the_area_below_its_line() {
        // 0 to 1,000 in ten seconds, a level, and down to 500.
        let profile =
            RateProfile::staged(&[(10 * S, 0.0, 1000.0), (S, 1000.0, 1000.0), (2 * S, 1000.0, 500.0)]).unwrap();
        for (time_ns, place) in
            [(0, 0.0), (S, 50.0), (5 * S, 1250.0), (10 * S, 5000.0), (11 * S, 6000.0), (13 * S, 7500.0)]
        {
            assert!((profile.place(time_ns) - place).abs() < 1e-6, "{time_ns}: {}", profile.place(time_ns));
            if time_ns < 13 * S {
                assert!(profile.time_ns(place).abs_diff(time_ns) <= 1, "{place}: {}", profile.time_ns(place));
            }
        }
        assert_eq!(profile.time_ns(7500.0), u64::MAX);
        assert_eq!((profile.place(99 * S), profile.end_ns(), profile.stages().len()), (7500.0, 13 * S, 3));
        assert_eq!([0, 5 * S, 12 * S, 13 * S].map(|time_ns| profile.rate_at(time_ns)), [0.0, 500.0, 750.0, 0.0]);
    }

    #[test]
    fn a_stage_without_length_jumps_and_one_without_rate_pauses() {
        let profile = RateProfile::staged(&[
            (0, 0.0, 100.0),
            (S, 100.0, 100.0),
            (0, 100.0, 0.0),
            (5 * S, 0.0, 0.0),
            (S, 0.0, 10.0),
        ]);
        let profile = profile.unwrap();
        assert_eq!(profile.stages().len(), 3);
        assert_eq!(profile.time_ns(99.0), 990_000_000);
        assert_eq!(profile.time_ns(100.0), 6 * S, "it waits for the end of the pause");
        assert_eq!([profile.place(3 * S), profile.place(7 * S)], [100.0, 105.0]);
    }

    #[test]
    fn a_steady_rate_has_no_stage() {
        let profile = RateProfile::steady(1000.0);
        assert_eq!((profile.rate(), profile.stages().len(), profile.end_ns()), (Some(1000.0), 0, u64::MAX));
        assert_eq!((profile.time_ns(5000.0), profile.place(5 * S)), (5 * S, 5000.0));
        assert_eq!(profile.rate_at(77), 1000.0);
    }

    #[test]
    fn time_and_place_are_each_others_inverse() {
        let profile = RateProfile::staged(&[(S, 0.0, 20_000.0), (3 * S, 20_000.0, 0.0), (S, 5.0, 7_000.0)]).unwrap();
        let mut before_ns = 0;
        for send in 0..43_502 {
            let time_ns = profile.time_ns(f64::from(send));
            assert!(time_ns >= before_ns, "{send}");
            assert!((profile.place(time_ns) - f64::from(send)).abs() < 0.01, "{send} at {time_ns}");
            before_ns = time_ns;
        }
    }

    #[test]
    fn what_is_no_course_is_refused() {
        for (stages, says) in [
            (vec![], "no stage"),
            (vec![(S, 0.0, 0.0)], "no stage"),
            (vec![(0, 0.0, 10.0)], "no stage"),
            (vec![(S, -1.0, 10.0)], "rate"),
            (vec![(S, 0.0, f64::NAN)], "rate"),
            (vec![(S, 0.0, 1e8)], "rate"),
            (vec![(90_000 * S, 1.0, 1.0)], "last over"),
            (vec![(u64::MAX, 1.0, 1.0), (u64::MAX, 1.0, 1.0)], "last over"),
            (vec![(S, 1.0, 1.0); STAGES_MAX + 1], "over 64 stages"),
        ] {
            assert!(RateProfile::staged(&stages).unwrap_err().contains(says), "{stages:?}");
        }
    }
}
