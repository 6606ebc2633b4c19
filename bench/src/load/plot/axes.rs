//! The axes of the charts, with marks at round values and their units.

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use std::{f64::consts::LOG10_2, ops::Range};

/// An axis: its name, where it begins and ends, its marks, and what stands at a mark.
pub(super) struct Axis {
    pub name: &'static str,
    pub from: f64,
    pub to: f64,
    pub marks: Vec<f64>,
    pub label: fn(f64) -> String,
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    #[expect(clippy::cast_possible_truncation, reason = "pixels")]
    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let share = (value - self.from) / (self.to - self.from).max(f64::MIN_POSITIVE);
        first + (share * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(mark: &f64) -> String {
        mark.to_string()
    }

    fn format_ext(&self, mark: &f64) -> String {
        (self.label)(*mark)
    }
}

/// Nanoseconds to the position on the latency axis: the logarithm of microseconds. A tenth of one is its lowest.
#[expect(clippy::cast_precision_loss, reason = "a day is far below 2^53 ns")]
pub(super) fn scale(nanos: u64) -> f64 {
    (nanos.max(100) as f64 / 1e3).log10()
}

/// From the mark below `least_ns` to the one above `most_ns`, in steps of 1, 2, 5, 10.
pub(super) fn latency_axis(least_ns: u64, most_ns: u64) -> Axis {
    let marks = (-1..=10).flat_map(|decade| [1.0_f64, 2.0, 5.0].map(|step| f64::from(decade) + step.log10()));
    let (low, high) = (scale(least_ns), scale(most_ns));
    let all: Vec<f64> = marks.collect();
    let from = all.iter().copied().filter(|mark| *mark <= low).fold(-1.0, f64::max);
    let to = all.iter().copied().find(|mark| *mark > high).unwrap_or(11.0);
    Axis {
        name: "latency",
        from,
        to,
        marks: all.into_iter().filter(|mark| (from..=to).contains(mark)).collect(),
        label: |mark| duration(10_f64.powf(mark)),
    }
}

pub(super) fn percentile_axis(nines: f64) -> Axis {
    let marks = [0.0, LOG10_2].into_iter().chain((1..=9).map(f64::from));
    Axis {
        name: "percentile",
        from: 0.0,
        to: nines,
        // A thousand requests have three nines, but for a rounding error.
        marks: marks.filter(|mark| *mark <= nines + 1e-6).collect(),
        label: |mark| format!("{} %", trimmed(100.0 * (1.0 - 10_f64.powf(-mark)))),
    }
}

/// Seven digits behind the point at most: those of nine nines.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.7}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn time_axis(end_s: f64) -> Axis {
    let step = step(end_s);
    let marks = (0..=10).map(|mark| f64::from(mark) * step).filter(|mark| *mark <= end_s).collect();
    Axis {
        name: "seconds since the end of the warm-up",
        from: 0.0,
        to: end_s,
        marks,
        label: |mark| format!("{} s", trimmed(mark)),
    }
}

/// From zero to above `most`, with ten marks or fewer.
pub(super) fn rate_axis(most: f64) -> Axis {
    let step = step(most.max(1.0));
    let count = (most.max(1.0) / step).ceil();
    #[expect(clippy::cast_possible_truncation, reason = "ten at most")]
    let marks = (0..=count as i32).map(|mark| f64::from(mark) * step).collect();
    Axis { name: "per second", from: 0.0, to: count * step, marks, label: rate }
}

/// The distance of ten marks or fewer up to `end`: 1, 2 or 5 times a power of ten.
fn step(end: f64) -> f64 {
    let steps = (-2..12).flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(decade)));
    steps.into_iter().find(|step| end / step <= 10.0).unwrap_or(end)
}

/// Thousands as `k`, millions as `M`.
fn rate(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", trimmed(value / 1e6)),
        value if value >= 1e3 => format!("{}k", trimmed(value / 1e3)),
        value => trimmed(value),
    }
}

/// A round number of microseconds, in the unit that suits it.
fn duration(micros: f64) -> String {
    let (value, unit) = match micros {
        micros if micros > 0.99e6 => (micros / 1e6, "s"),
        micros if micros > 0.99e3 => (micros / 1e3, "ms"),
        micros => (micros, "us"),
    };
    format!("{value:.*} {unit}", usize::from(value < 0.99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nine_has_its_mark() {
        let axis = percentile_axis(5.2);
        let labels: Vec<_> = axis.marks.iter().map(|mark| (axis.label)(*mark)).collect();
        assert_eq!(labels, ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"]);
    }

    #[test]
    fn latencies_are_marked_from_below_the_least_to_above_the_most() {
        let axis = latency_axis(230_000, 210_000_000);
        let labels: Vec<_> = axis.marks.iter().map(|mark| (axis.label)(*mark)).collect();
        assert_eq!(labels.first().map(String::as_str), Some("200 us"));
        assert_eq!(labels.last().map(String::as_str), Some("500 ms"));
        assert!(labels.contains(&"1 ms".to_owned()) && labels.len() == 11, "{labels:?}");
        assert_eq!((duration(0.1), duration(2e6)), ("0.1 us".to_owned(), "2 s".to_owned()));
        let widest = latency_axis(0, u64::MAX);
        assert!(widest.from < widest.to);
    }

    #[test]
    fn rates_are_marked_from_zero_to_above_the_most() {
        let labels = |most| {
            let axis = rate_axis(most);
            axis.marks.iter().map(|mark| (axis.label)(*mark)).collect::<Vec<_>>()
        };
        assert_eq!(labels(2300.0), ["0", "500", "1k", "1.5k", "2k", "2.5k"]);
        assert_eq!(labels(0.0).first().map(String::as_str), Some("0"));
        assert_eq!(labels(3e6).last().map(String::as_str), Some("3M"));
    }

    #[test]
    fn time_has_ten_marks_or_fewer() {
        for end_s in [0.05, 0.1, 1.0, 3.7, 10.0, 86_400.0] {
            let axis = time_axis(end_s);
            assert!((4..=11).contains(&axis.marks.len()), "{end_s}: {:?}", axis.marks);
        }
    }
}
