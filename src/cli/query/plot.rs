//! The contents of a chart: lines, the window that holds them, and the marks on its axes.

use super::for_terminal;
use metric::{TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN, format_timestamp};
use query::{QueryResult, Request, Series, tags_of};

/// One series.
#[derive(Debug)]
pub struct PlotLine {
    /// `cpu_usage{host="web1"}`
    pub label: String,
    /// Times in epoch milliseconds, and finite values.
    pub points: Vec<(i64, f64)>,
}

/// Lines, and the window that holds them.
#[derive(Debug)]
pub struct Plot {
    pub lines: Vec<PlotLine>,
    /// Series that did not fit.
    pub left_out: usize,
    pub from_ms: i64,
    pub to_ms: i64,
    pub low: f64,
    pub high: f64,
}

impl Plot {
    /// The first `lines_max` series of a result.
    pub fn new(result: &QueryResult, request: &Request, lines_max: usize) -> Self {
        let lines: Vec<_> = result.series.iter().take(lines_max).map(PlotLine::new).collect();
        let points = || lines.iter().flat_map(|line| &line.points);
        let values = || points().map(|(_, value)| *value);
        let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        // The time that has points, unless that is one moment.
        let times = || points().map(|(timestamp_ms, _)| *timestamp_ms);
        let (mut from_ms, mut to_ms) =
            (times().min().unwrap_or(request.from_ms), times().max().unwrap_or(request.to_ms));
        if from_ms == to_ms {
            (from_ms, to_ms) = (request.from_ms, request.to_ms);
        }
        let (low, high) = if low > high {
            (0.0, 1.0)
        } else if low == high {
            (low - low.abs().max(1.0) / 2.0, high + high.abs().max(1.0) / 2.0)
        } else {
            (low, high)
        };
        Self { left_out: result.series.len() - lines.len(), lines, from_ms, to_ms, low, high }
    }

    /// Position of a time in the window: from 0 to 1.
    pub fn across(&self, timestamp_ms: i64) -> f64 {
        (timestamp_ms.abs_diff(self.from_ms) as f64 / self.to_ms.abs_diff(self.from_ms).max(1) as f64).clamp(0.0, 1.0)
    }

    /// Position of a value in the window: from 0, the lowest, to 1.
    pub fn up(&self, value: f64) -> f64 {
        // Halves, as the difference of two floats may be no float.
        ((value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0)).clamp(0.0, 1.0)
    }

    /// Round values within the window, about `count` of them.
    pub fn marks(&self, count: u32) -> Vec<f64> {
        let raw = (self.high / f64::from(count)) - (self.low / f64::from(count));
        let power = 10_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= raw)
            .unwrap_or(raw);
        let first = (self.low / step).ceil();
        let marks = (0..=2 * count).map(|number| (first + f64::from(number)) * step);
        marks.take_while(|mark| *mark <= self.high).filter(|mark| mark.is_finite()).collect()
    }

    /// A moment as it is written below the window: only what differs within it.
    pub fn shown_time(&self, timestamp_ms: i64) -> String {
        const DAY_MS: u64 = 86_400_000;
        let text = shown_moment(timestamp_ms);
        let (date, time) = (&text[..10], &text[11..23]);
        match self.to_ms.abs_diff(self.from_ms) {
            0..10_000 => time.into(),
            10_000..DAY_MS => time[..8].into(),
            _ => format!("{date} {}", &time[..5]),
        }
    }
}

impl PlotLine {
    fn new(series: &Series) -> Self {
        let tags: Vec<_> = tags_of(series.key.tags())
            .map(|(key, value)| format!("{}={:?}", for_terminal(key), for_terminal(value)))
            .collect();
        let name = for_terminal(series.key.name());
        let label = if tags.is_empty() { name.into_owned() } else { format!("{name}{{{}}}", tags.join(",")) };
        let points = series.points.iter().map(|point| (point.timestamp_ms, point.value.as_f64()));
        Self { label, points: points.filter(|(_, value)| value.is_finite()).collect() }
    }
}

/// A moment as the log has it.
pub fn shown_moment(timestamp_ms: i64) -> String {
    String::from_utf8_lossy(&format_timestamp(timestamp_ms.clamp(TIMESTAMP_MS_MIN, TIMESTAMP_MS_MAX))).into_owned()
}

/// A value in few characters.
pub fn short(value: f64) -> String {
    let magnitude = value.abs();
    let text = if magnitude != 0.0 && !(1e-4..1e9).contains(&magnitude) {
        return format!("{value:.3e}");
    } else if magnitude >= 1_000.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.4}")
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(low: f64, high: f64) -> Plot {
        Plot { lines: vec![], left_out: 0, from_ms: 0, to_ms: 1_000, low, high }
    }

    #[test]
    fn marks_are_round_and_within() {
        assert_eq!(plot(0.0, 100.0).marks(5), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(plot(-3.0, 4.0).marks(4), [-2.0, 0.0, 2.0, 4.0]);
        for (low, high) in
            [(1e300, 1.7e308), (-1.7e308, 1.7e308), (5e-324, 1e-323), (1e15, 1e15 + 2.0), (0.1, 0.1000001)]
        {
            let marks = plot(low, high).marks(4);
            assert!(marks.len() <= 9 && marks.iter().all(|mark| (low..=high).contains(mark)), "{marks:?}");
            assert_eq!((plot(low, high).up(low), plot(low, high).up(high)), (0.0, 1.0));
        }
    }

    #[test]
    fn values_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (75.5, "75.5"),
            (-0.125, "-0.125"),
            (1234.56, "1234.6"),
            (4_823_947_234.0, "4.824e9"),
            (1e-7, "1.000e-7"),
        ] {
            assert_eq!(short(value), text);
        }
        let plot = Plot { to_ms: 100_000_000, ..plot(0.0, 1.0) };
        assert_eq!(plot.shown_time(1_767_323_045_678), "2026-01-02 03:04");
    }
}
