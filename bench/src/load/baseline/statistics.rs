//! When a difference between some runs and some others is more than noise.
//!
//! Two kinds of noise are known. Within a run, the figures of its intervals scatter; their interquartile range, as a
//! standard deviation, by the root of their number gives the least error that the run's own figure can have, twice over
//! because neighbouring intervals depend on each other. Between runs, the runs of one side scatter by themselves. The
//! larger of the two variances goes into Student's t for the difference of two means, at 99 %. Beyond that, the runs of
//! the two sides must not overlap, and a difference below a figure's floor is never claimed.
//!
//! One run on each side says nothing about what changes from one run to the next. Then only a change by a factor of
//! three is claimed, and only when the middle halves of the intervals are apart.

/// A figure of one run.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub whole: f64,
    pub intervals: Vec<f64>,
}

/// Finding about a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    More,
    Less,
    Noise,
    /// No noise between runs is known, and the difference is not out of all proportion.
    OneRunEach,
    TooShort,
}

/// Two sides, compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comparison {
    pub before: f64,
    pub now: f64,
    /// Per cent of `before`.
    pub difference_percent: f64,
    /// Threshold that a difference must exceed, per cent of `before`.
    pub noise_percent: f64,
    pub finding: Finding,
}

/// Fewer intervals than this tell nothing about their scatter.
const INTERVALS_MIN: usize = 8;
/// The interquartile range of a normal distribution in standard deviations.
const QUARTILES_APART: f64 = 1.349;
/// The error of a mean of intervals, by what it would be if they were independent.
const DEPENDENCE: f64 = 2.0;
/// A change by this factor is claimed of one run each.
const FACTOR: f64 = 3.0;
/// Student's t for 99 %, both sides, by degrees of freedom from 1 on (Fisher and Yates, "Statistical tables", table
/// III); the last is kept for all that follow, to the safe side.
const T_99: [f64; 20] = [
    63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169, 3.106, 3.055, 3.012, 2.977, 2.947, 2.921,
    2.898, 2.878, 2.861, 2.845,
];

/// Compares `now` with `before`, neither of which is empty.
#[expect(clippy::cast_precision_loss, reason = "some runs")]
pub(super) fn compare(before: &[Sample], now: &[Sample], floor_percent: f64) -> Comparison {
    let (mean_before, mean_now) = (mean(before), mean(now));
    let relative = |difference: f64| if mean_before > 0.0 { 100.0 * difference / mean_before } else { 0.0 };
    let difference_percent = relative(mean_now - mean_before);
    let freedom = before.len() + now.len() - 2;
    let noise_percent = if freedom == 0 {
        100.0 * if difference_percent > 0.0 { FACTOR - 1.0 } else { 1.0 - 1.0 / FACTOR }
    } else {
        let between = (squares(before, mean_before) + squares(now, mean_now)) / freedom as f64;
        let all = before.iter().chain(now);
        let within = all.map(|sample| error(&sample.intervals).powi(2)).sum::<f64>() / (freedom + 2) as f64;
        let shares = 1.0 / before.len() as f64 + 1.0 / now.len() as f64;
        relative(T_99[freedom.min(T_99.len()) - 1] * (between.max(within) * shares).sqrt()).max(floor_percent)
    };
    let too_short = |sample: &Sample| sample.intervals.len() < INTERVALS_MIN;
    let finding = if before.iter().chain(now).any(too_short) || mean_before <= 0.0 {
        Finding::TooShort
    } else if difference_percent.abs() <= noise_percent || !apart(before, now) {
        if freedom == 0 && difference_percent.abs() > floor_percent { Finding::OneRunEach } else { Finding::Noise }
    } else if difference_percent > 0.0 {
        Finding::More
    } else {
        Finding::Less
    };
    Comparison { before: mean_before, now: mean_now, difference_percent, noise_percent, finding }
}

#[expect(clippy::cast_precision_loss, reason = "some runs")]
fn mean(samples: &[Sample]) -> f64 {
    samples.iter().map(|sample| sample.whole).sum::<f64>() / samples.len() as f64
}

fn squares(samples: &[Sample], mean: f64) -> f64 {
    samples.iter().map(|sample| (sample.whole - mean).powi(2)).sum()
}

/// The error of the figure of a run with these intervals.
#[expect(clippy::cast_precision_loss, reason = "at most 128 of them")]
fn error(intervals: &[f64]) -> f64 {
    let [first, third] = quartiles(intervals);
    DEPENDENCE * (third - first) / QUARTILES_APART / (intervals.len().max(1) as f64).sqrt()
}

/// Returns true if all runs of one side are beyond all of the other; for one run each, the middle halves of their
/// intervals.
fn apart(before: &[Sample], now: &[Sample]) -> bool {
    let range = |samples: &[Sample]| match samples {
        [one] if before.len() + now.len() == 2 => quartiles(&one.intervals),
        _ => samples
            .iter()
            .map(|sample| sample.whole)
            .fold([f64::INFINITY, f64::NEG_INFINITY], |[least, most], whole| [least.min(whole), most.max(whole)]),
    };
    let (before, now) = (range(before), range(now));
    before[1] < now[0] || now[1] < before[0]
}

/// The first and the third quartile, interpolated (type 7 of Hyndman and Fan, "Sample quantiles in statistical
/// packages", 1996); zero without values.
fn quartiles(values: &[f64]) -> [f64; 2] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    [quantile(&sorted, 0.25), quantile(&sorted, 0.75)]
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most 128 values"
)]
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let position = at * sorted.len().saturating_sub(1) as f64;
    let below = position as usize;
    match (sorted.get(below), sorted.get(below + 1)) {
        (Some(low), Some(high)) => low + (high - low) * position.fract(),
        (low, _) => low.copied().unwrap_or(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs with these figures, whose intervals scatter by so many per cent.
    fn runs(wholes: &[f64], scatter_percent: f64) -> Vec<Sample> {
        let intervals =
            |whole: f64| (0..16).map(move |index| whole * (1.0 + scatter_percent / 100.0 * f64::from(index % 4 - 1)));
        wholes.iter().map(|whole| Sample { whole: *whole, intervals: intervals(*whole).collect() }).collect()
    }

    fn finding(before: &[f64], now: &[f64], scatter_percent: f64) -> Finding {
        compare(&runs(before, scatter_percent), &runs(now, scatter_percent), 2.5).finding
    }

    #[test]
    fn ten_percent_are_found_in_three_rounds() {
        assert_eq!(finding(&[10.0, 10.1, 9.9], &[11.0, 11.1, 10.9], 2.0), Finding::More);
        assert_eq!(finding(&[11.0, 11.1, 10.9], &[10.0, 10.1, 9.9], 2.0), Finding::Less);
        // The runs of each side scatter by as much.
        assert_eq!(finding(&[10.0, 10.8, 9.2], &[11.0, 11.8, 10.2], 2.0), Finding::Noise);
        // So do the intervals of every run.
        assert_eq!(finding(&[10.0, 10.0, 10.0], &[11.0, 11.0, 11.0], 30.0), Finding::Noise);
    }

    #[test]
    fn below_its_floor_nothing_is_claimed() {
        assert_eq!(finding(&[10.0, 10.0, 10.0], &[10.2, 10.2, 10.2], 0.0), Finding::Noise);
        assert_eq!(finding(&[10.0, 10.0, 10.0], &[10.3, 10.3, 10.3], 0.0), Finding::More);
    }

    #[test]
    fn one_run_each_claims_a_factor_of_three_only() {
        assert_eq!(finding(&[10.0], &[29.0], 1.0), Finding::OneRunEach);
        assert_eq!(finding(&[10.0], &[31.0], 1.0), Finding::More);
        assert_eq!(finding(&[31.0], &[10.0], 1.0), Finding::Less);
        assert_eq!(finding(&[10.0], &[31.0], 200.0), Finding::OneRunEach, "the intervals overlap");
        assert_eq!(finding(&[10.0], &[10.1], 1.0), Finding::Noise);
    }

    #[test]
    fn several_runs_give_one_more_its_noise() {
        assert_eq!(finding(&[10.0, 10.1, 9.9, 10.05, 9.95], &[11.0], 1.0), Finding::More);
        assert_eq!(finding(&[10.0, 12.0, 8.0, 10.5, 9.5], &[11.0], 1.0), Finding::Noise);
    }

    #[test]
    fn a_short_run_tells_nothing() {
        let mut short = runs(&[20.0, 20.0, 20.0], 0.0);
        short[1].intervals.truncate(INTERVALS_MIN - 1);
        assert_eq!(compare(&runs(&[10.0, 10.0, 10.0], 0.0), &short, 2.5).finding, Finding::TooShort);
        assert_eq!(finding(&[0.0], &[1.0], 0.0), Finding::TooShort, "nothing to divide by");
    }

    #[test]
    fn quartiles_are_those_of_the_textbook() {
        assert_eq!(quartiles(&[]), [0.0, 0.0]);
        assert_eq!(quartiles(&[7.0]), [7.0, 7.0]);
        assert_eq!(quartiles(&[4.0, 1.0, 3.0, 2.0, 5.0]), [2.0, 4.0]);
        assert_eq!(quartiles(&[1.0, 2.0, 3.0, 4.0]), [1.75, 3.25]);
    }

    proptest! {
        #[test]
        fn the_order_of_the_runs_does_not_matter(
            mut before in prop::collection::vec(1.0_f64..100.0, 1..6),
            mut now in prop::collection::vec(1.0_f64..100.0, 1..6),
        ) {
            let first = finding(&before, &now, 3.0);
            before.reverse();
            now.reverse();
            prop_assert_eq!(first, finding(&before, &now, 3.0));
        }

        #[test]
        fn runs_that_overlap_never_differ(
            before in prop::collection::vec(1.0_f64..100.0, 2..6),
            now in prop::collection::vec(1.0_f64..100.0, 1..6),
        ) {
            let mut now = now;
            now[0] = before[0];
            prop_assert_eq!(finding(&before, &now, 0.0), Finding::Noise);
        }
    }
}
