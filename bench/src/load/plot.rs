//! The figures of one run as an SVG: the percentile curve, and the latency over time. Both have logarithmic latencies; the
//! percentile axis is logarithmic towards 100 %, so that each nine has the same width.

use super::report::Report;
use hdrhistogram::Histogram;
use plotters::{
    chart::{ChartBuilder, SeriesLabelPosition},
    coord::{
        Shift,
        ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter},
    },
    prelude::{
        DrawingArea, DrawingAreaErrorKind, DrawingBackend, IntoDrawingArea, LineSeries, PathElement, SVGBackend,
    },
    style::{BLACK, Color, RGBColor, ShapeStyle, WHITE},
};
use std::{f64::consts::LOG10_2, ops::Range, path::Path};

const SIZE: (u32, u32) = (1000, 900);
/// Pixels left of the axis: for "500 ms" and the axis' name.
const LEFT: u32 = 80;
const BELOW: u32 = 50;
const FONT: &str = "sans-serif";
/// Rows of the percentile curve between one halving of the rest and the next.
const POINTS_PER_HALVING: u32 = 20;
/// Colours that stay apart for the colour-blind (Okabe and Ito): blue, vermilion, green.
const COLOURS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115)];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failed<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;
/// A line of a chart: its name and its points, in the axes' units.
type Line = (String, Vec<(f64, f64)>);

/// An axis: its name, where it begins and ends, its marks, and what stands at a mark.
struct Axis {
    name: &'static str,
    from: f64,
    to: f64,
    marks: Vec<f64>,
    label: fn(f64) -> String,
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    #[allow(clippy::cast_possible_truncation)] // Pixels.
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

/// Draws the figures of `report` into `path`.
///
/// # Errors
/// There are no latencies to draw, or the file cannot be written.
pub fn draw(report: &Report<'_>, path: &Path) -> Result<(), String> {
    let curves = report.curves();
    let (least, most) = curves
        .iter()
        .fold((u64::MAX, 0), |(least, most), (_, histogram)| (least.min(histogram.min()), most.max(histogram.max())));
    if most == 0 {
        return Err("no request succeeded: there are no latencies to draw".to_owned());
    }
    let latency = || latency_axis(least, most);
    let quantiles: Vec<Line> =
        curves.iter().map(|(name, histogram)| ((*name).to_owned(), percentile_curve(histogram))).collect();
    let nines = quantiles.iter().flat_map(|(_, points)| points).fold(1.0_f64, |most, (nines, _)| most.max(*nines));
    let course = course(report);
    let end_s = report.rows.last().map_or(1.0, |row| row.start_s + row.seconds);

    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let told = |error: Failed<'_>| format!("{}: {error}", path.display());
    area.fill(&WHITE).map_err(told)?;
    let area = area.titled(&report.title(), (FONT, 16)).map_err(told)?;
    let (above, below) = area.split_vertically(SIZE.1 / 2);
    chart(&above, "Latency by percentile of the successes", percentile_axis(nines), latency(), &quantiles)
        .map_err(told)?;
    let title = if quantiles.len() > 1 { "Latency over time (corrected)" } else { "Latency over time" };
    chart(&below, title, time_axis(end_s), latency(), &course).map_err(told)?;
    area.present().map_err(told)
}

fn chart<'a>(area: &Area<'a>, title: &str, x: Axis, y: Axis, lines: &[Line]) -> Result<(), Failed<'a>> {
    let (x_name, y_name) = (x.name, y.name);
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 15))
        .margin(10)
        .margin_right(25)
        .x_label_area_size(BELOW)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc(x_name)
        .y_desc(y_name)
        .label_style((FONT, 13))
        .axis_desc_style((FONT, 14))
        .bold_line_style(BLACK.mix(0.15))
        .light_line_style(BLACK.mix(0.0))
        .draw()?;
    for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let style = ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width: 2 };
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(name.as_str())
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 13))
        .draw()
}

/// How many nines `quantile` has: 0 for 0, 1 for 0.9, 2 for 0.99.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// The curve up to the last percentile that one request makes up: beyond it the maximum would go on for ever.
#[allow(clippy::cast_precision_loss)] // Counts far below 2^53.
fn percentile_curve(latency: &Histogram<u64>) -> Vec<(f64, f64)> {
    let last = nines(1.0 - 1.0 / latency.len().max(1) as f64);
    let steps = latency.iter_quantiles(POINTS_PER_HALVING);
    steps.map(|step| (nines(step.quantile_iterated_to()).min(last), scale(step.value_iterated_to()))).collect()
}

/// Nanoseconds to the position on the latency axis: the logarithm of microseconds. A tenth of one is its lowest.
#[allow(clippy::cast_precision_loss)] // A day is far below 2^53 ns.
fn scale(nanos: u64) -> f64 {
    (nanos.max(100) as f64 / 1e3).log10()
}

/// The 50th and 99th percentile and the maximum of each interval that has any successes, in its middle. The rest of an interval
/// at the end holds too little for a point of its own.
fn course(report: &Report<'_>) -> Vec<Line> {
    let width_s = report.rows.first().map_or(0.0, |row| row.seconds);
    let rows = || report.rows.iter().filter(|row| row.successes > 0 && row.seconds >= width_s / 2.0);
    let middle = |row: &super::report::Row| row.start_s + row.seconds / 2.0;
    let position = |micros: Option<f64>| micros.unwrap_or(0.0).max(0.1).log10();
    vec![
        ("p50".to_owned(), rows().map(|row| (middle(row), position(row.p50_us))).collect()),
        ("p99".to_owned(), rows().map(|row| (middle(row), position(row.p99_us))).collect()),
        ("max".to_owned(), rows().map(|row| (middle(row), position(row.max_us))).collect()),
    ]
}

/// From the mark below `least_ns` to the one above `most_ns`, in steps of 1, 2, 5, 10.
fn latency_axis(least_ns: u64, most_ns: u64) -> Axis {
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

fn percentile_axis(nines: f64) -> Axis {
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

fn time_axis(end_s: f64) -> Axis {
    // Ten marks or fewer, at 1, 2 or 5 times a power of ten seconds.
    let steps = (-2..6).flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(decade)));
    let step = steps.into_iter().find(|step| end_s / step <= 10.0).unwrap_or(end_s);
    let marks = (0..=10).map(|mark| f64::from(mark) * step).filter(|mark| *mark <= end_s).collect();
    Axis {
        name: "seconds since the end of the warm-up",
        from: 0.0,
        to: end_s,
        marks,
        label: |mark| format!("{} s", trimmed(mark)),
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
    fn time_has_ten_marks_or_fewer() {
        for end_s in [0.05, 0.1, 1.0, 3.7, 10.0, 86_400.0] {
            let axis = time_axis(end_s);
            assert!((4..=11).contains(&axis.marks.len()), "{end_s}: {:?}", axis.marks);
        }
    }

    #[test]
    fn the_curve_ends_with_the_share_of_one_request() {
        let mut latency = Histogram::new(3).unwrap();
        (1..=1000).for_each(|millis| latency.record(millis * 1_000_000).unwrap());
        let curve = percentile_curve(&latency);
        let last = curve.last().unwrap();
        assert!((last.0 - 3.0).abs() < 1e-9 && (last.1 - 6.0).abs() < 1e-3, "{last:?}");
        assert!(curve.is_sorted_by(|one, next| one.0 <= next.0 && one.1 <= next.1));
    }
}
