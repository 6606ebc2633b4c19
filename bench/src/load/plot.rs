//! The figures of one run as an SVG: the percentile curve, the latency over time, and what came per second: responses
//! with 2xx, and errors. Latencies are logarithmic; the percentile axis is logarithmic towards 100 %, so that each nine
//! has the same width.
//!
//! An interval without a response of 2xx has no latency: the lines are broken there, and its time is shaded.

mod axes;

use super::{
    report::{Report, Row},
    schedule::Pace,
};
use axes::{Axis, latency_axis, percentile_axis, rate_axis, scale, time_axis};
use hdrhistogram::Histogram;
use plotters::{
    chart::ChartBuilder,
    coord::Shift,
    prelude::{
        Circle, DrawingArea, DrawingAreaErrorKind, DrawingBackend, IntoDrawingArea, PathElement, Rectangle, SVGBackend,
        Text,
    },
    style::{BLACK, Color, RGBColor, ShapeStyle, WHITE},
};
use std::{fs, path::Path};

const WIDTH: u32 = 1000;
/// Heights of a chart and of the title above them.
const HEIGHT: u32 = 340;
const TITLE: u32 = 40;
/// Pixels left of the axis: for "500 ms" and the axis' name.
const LEFT: u32 = 80;
const RIGHT: u32 = 25;
/// Pixels of a chart's title and key, and of a letter in them at most.
const HEADING: u32 = 34;
const LETTER: i32 = 7;
/// The least share of a chart's height that an error has.
const VISIBLE: f64 = 0.015;
const BELOW: u32 = 50;
const FONT: &str = "sans-serif";
/// Rows of the percentile curve between one halving of the rest and the next.
const POINTS_PER_HALVING: u32 = 20;
/// Colours that stay apart for the colour-blind (Okabe and Ito): blue, vermilion, green, purple.
const BLUE: RGBColor = RGBColor(0, 114, 178);
const VERMILION: RGBColor = RGBColor(213, 94, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const PURPLE: RGBColor = RGBColor(204, 121, 167);
const GAP: RGBColor = RGBColor(150, 150, 150);
const WANTED: RGBColor = RGBColor(90, 90, 90);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failed<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;
type Point = (f64, f64);

/// Marks by which a series is drawn.
enum Marks {
    /// Lines through the points of each part; a part of one point is a dot.
    Lines(Vec<Vec<Point>>),
    Dots(Vec<Point>),
    /// From the axis up, between two times.
    Bars(Vec<(f64, f64, f64)>),
    /// Over the whole height, between two times.
    Bands(Vec<(f64, f64)>),
}

struct Series {
    name: String,
    colour: RGBColor,
    marks: Marks,
}

struct Chart<'a> {
    title: &'a str,
    x: Axis,
    y: Axis,
    series: Vec<Series>,
}

/// Draws the figures of `report` into `path`, whatever became of the load.
///
/// # Errors
/// The file cannot be written.
pub fn draw(report: &Report<'_>, path: &Path) -> Result<(), String> {
    let curves = report.curves();
    let (least, most) = curves
        .iter()
        .fold((u64::MAX, 0), |(least, most), (_, histogram)| (least.min(histogram.min()), most.max(histogram.max())));
    let mut charts = Vec::new();
    if most > 0 {
        charts.push(percentiles(&curves, least, most));
        charts.push(course(report, least, most));
    }
    charts.push(throughput(report));
    let title = report.title();
    let note = (most == 0).then_some("no request succeeded: there are no latencies to draw");
    write(path, &title, note, charts)
}

/// Draws a picture that says why there are no figures.
///
/// # Errors
/// The file cannot be written.
pub fn draw_message(path: &Path, title: &str, message: &str) -> Result<(), String> {
    write(path, title, Some(message), Vec::new())
}

fn write(path: &Path, title: &str, note: Option<&str>, charts: Vec<Chart<'_>>) -> Result<(), String> {
    let mut svg = String::new();
    render(&mut svg, title, note, charts).map_err(|error| format!("cannot draw: {error}"))?;
    fs::write(path, svg).map_err(|error| format!("{}: {error}", path.display()))
}

fn render<'a>(svg: &'a mut String, title: &str, note: Option<&str>, charts: Vec<Chart<'_>>) -> Result<(), Failed<'a>> {
    let heads = TITLE + if note.is_some() { TITLE } else { 0 };
    let count = u32::try_from(charts.len()).unwrap_or(0);
    let area = SVGBackend::with_string(svg, (WIDTH, heads + HEIGHT * count + 10)).into_drawing_area();
    // Its own ground: the picture looks the same on a dark page.
    area.fill(&WHITE)?;
    area.draw(&Text::new(title.to_owned(), (20, 14), (FONT, 16)))?;
    if let Some(note) = note {
        area.draw(&Text::new(note.to_owned(), (20, 46), (FONT, 15)))?;
    }
    let (_, mut rest) = area.split_vertically(heads);
    for chart in charts {
        let (above, below) = rest.split_vertically(HEIGHT);
        chart.draw(&above)?;
        rest = below;
    }
    area.present()
}

impl Chart<'_> {
    fn draw<'a>(self, area: &Area<'a>) -> Result<(), Failed<'a>> {
        let (x_name, y_name) = (self.x.name, self.y.name);
        let (bottom, top) = (self.y.from, self.y.to);
        self.draw_heading(area)?;
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .margin_top(HEADING)
            .margin_right(RIGHT)
            .x_label_area_size(BELOW)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(self.x, self.y)?;
        chart
            .configure_mesh()
            .x_desc(x_name)
            .y_desc(y_name)
            .label_style((FONT, 13))
            .axis_desc_style((FONT, 14))
            .bold_line_style(BLACK.mix(0.15))
            .light_line_style(BLACK.mix(0.0))
            .draw()?;
        // So little of it cannot be seen beside the rest, and has to be.
        let visible = bottom + (top - bottom) * VISIBLE;
        for series in self.series {
            let (colour, key) = (series.colour, series.key());
            let style = ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width: 2 };
            match series.marks {
                Marks::Lines(parts) => {
                    let dots = parts.iter().filter(|part| part.len() == 1).map(|part| part[0]);
                    chart.draw_series(dots.map(|point| Circle::new(point, 3, colour.filled())))?;
                    chart.draw_series(parts.into_iter().map(|part| PathElement::new(part, style)))?;
                }
                Marks::Dots(points) => {
                    chart.draw_series(points.into_iter().map(|point| Circle::new(point, 2, colour.filled())))?;
                }
                Marks::Bars(bars) => {
                    let bar = |(from, to, value): (f64, f64, f64)| [(from, bottom), (to, value.max(visible))];
                    chart.draw_series(bars.into_iter().map(|each| Rectangle::new(bar(each), key)))?;
                }
                Marks::Bands(bands) => {
                    let band = |(from, to)| [(from, bottom), (to, top)];
                    chart.draw_series(bands.into_iter().map(|each| Rectangle::new(band(each), key)))?;
                }
            }
        }
        Ok(())
    }

    /// The title, and at the right end of its line what the colours stand for, where no line can run through it.
    fn draw_heading<'a>(&self, area: &Area<'a>) -> Result<(), Failed<'a>> {
        let pixels = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        area.draw(&Text::new(self.title.to_owned(), (pixels(LEFT), 10), (FONT, 15)))?;
        let mut x = pixels(WIDTH - RIGHT);
        for series in self.series.iter().rev() {
            x -= i32::try_from(series.name.len()).unwrap_or(0) * LETTER;
            area.draw(&Text::new(series.name.clone(), (x, 11), (FONT, 13)))?;
            area.draw(&Rectangle::new([(x - 22, 13), (x - 6, 21)], series.key()))?;
            x -= 40;
        }
        Ok(())
    }
}

impl Series {
    /// The colour as areas have it.
    fn key(&self) -> ShapeStyle {
        match &self.marks {
            Marks::Bands(_) => self.colour.mix(0.25).filled(),
            _ => self.colour.filled(),
        }
    }
}

fn percentiles<'a>(curves: &[(&'static str, &Histogram<u64>)], least: u64, most: u64) -> Chart<'a> {
    let line = |((name, histogram), colour): (&(&'static str, &Histogram<u64>), RGBColor)| Series {
        name: (*name).to_owned(),
        colour,
        marks: Marks::Lines(vec![percentile_curve(histogram)]),
    };
    let last =
        curves.iter().flat_map(|(_, histogram)| percentile_curve(histogram)).fold(1.0_f64, |most, (x, _)| most.max(x));
    Chart {
        title: "Latency by percentile of the successes",
        x: percentile_axis(last),
        y: latency_axis(least, most),
        series: curves.iter().zip([BLUE, VERMILION]).map(line).collect(),
    }
}

/// Returns the number of nines of `quantile`: 0 for 0, 1 for 0.9, 2 for 0.99.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// The curve up to the last percentile that one request makes up: beyond it the maximum would go on for ever.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn percentile_curve(latency: &Histogram<u64>) -> Vec<(f64, f64)> {
    let last = nines(1.0 - 1.0 / latency.len().max(1) as f64);
    let steps = latency.iter_quantiles(POINTS_PER_HALVING);
    steps.map(|step| (nines(step.quantile_iterated_to()).min(last), scale(step.value_iterated_to()))).collect()
}

/// The time of the last interval's end, seconds.
fn end_s(rows: &[Row]) -> f64 {
    rows.last().map_or(1.0, |row| row.start_s + row.seconds)
}

/// The rows that are wide enough for a rate of their own: the rest of an interval at the end is not, unless it is all
/// there is.
fn wide(rows: &[Row]) -> impl Iterator<Item = &Row> {
    let width_s = rows.first().map_or(0.0, |row| row.seconds);
    rows.iter().filter(move |row| row.seconds >= width_s / 2.0)
}

/// The stretches without a response of 2xx.
fn gaps(rows: &[Row]) -> Series {
    let without = wide(rows).filter(|row| row.successes == 0);
    let bands = without.map(|row| (row.start_s, row.start_s + row.seconds)).collect();
    Series { name: "no response with 2xx".to_owned(), colour: GAP, marks: Marks::Bands(bands) }
}

/// The points of one figure in the middle of its intervals, in parts between which there is none.
fn parts(rows: &[Row], figure: impl Fn(&Row) -> Option<f64>) -> Vec<Vec<Point>> {
    let mut parts = vec![Vec::new()];
    for row in wide(rows) {
        match (figure(row), parts.last_mut()) {
            (Some(micros), Some(part)) => part.push((row.start_s + row.seconds / 2.0, micros.max(0.1).log10())),
            _ => parts.push(Vec::new()),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// The 50th and 99th percentile of each interval as lines, its maximum as a dot.
fn course(report: &Report<'_>, least: u64, most: u64) -> Chart<'static> {
    let rows = &report.rows;
    let line = |name: &str, colour, parts| Series { name: name.to_owned(), colour, marks: Marks::Lines(parts) };
    let mut series = vec![
        line("p50", BLUE, parts(rows, |row| row.p50_us)),
        line("p99", GREEN, parts(rows, |row| row.p99_us)),
        Series { name: "max".to_owned(), colour: PURPLE, marks: Marks::Dots(parts(rows, |row| row.max_us).concat()) },
    ];
    if wide(rows).any(|row| row.successes == 0) {
        series.insert(0, gaps(rows));
    }
    let title = if report.curves().len() > 1 { "Latency over time (corrected)" } else { "Latency over time" };
    Chart { title, x: time_axis(end_s(rows)), y: latency_axis(least, most), series }
}

/// The line of the rate that an open loop wants, over the time of the picture.
#[expect(clippy::cast_precision_loss, reason = "a day is far below 2^53 ns")]
fn wanted(pace: &Pace, end_s: f64) -> Vec<Point> {
    if let Some(rate) = pace.profile.rate() {
        return vec![(0.0, rate), (end_s, rate)];
    }
    let stages = pace.profile.stages().iter();
    let ends = stages
        .flat_map(|stage| [(stage.from_ns as f64 / 1e9, stage.from_rate), (stage.end_ns as f64 / 1e9, stage.to_rate)]);
    ends.collect()
}

/// Responses with 2xx, errors and the wanted rate in each second. An error is a request without a response, or with
/// another status.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn throughput(report: &Report<'_>) -> Chart<'static> {
    let rows = &report.rows;
    let per_second = |count: u64, row: &Row| if row.seconds > 0.0 { count as f64 / row.seconds } else { 0.0 };
    let errors = |row: &Row| per_second(row.failures + row.other_statuses, row);
    // Loads that were merged may have begun at any time.
    let wanted = report.setup.pace.as_ref().filter(|_| !report.setup.is_merged).map(|pace| wanted(pace, end_s(rows)));
    let rates = wide(rows).flat_map(|row| [per_second(row.successes, row), errors(row)]);
    let most = rates.chain(wanted.iter().flatten().map(|(_, rate)| *rate)).fold(0.0, f64::max);
    let steps = wide(rows).flat_map(|row| {
        let rate = per_second(row.successes, row);
        [(row.start_s, rate), (row.start_s + row.seconds, rate)]
    });
    let bars = wide(rows).filter(|row| row.failures + row.other_statuses > 0);
    let bars = bars.map(|row| (row.start_s, row.start_s + row.seconds, errors(row))).collect();
    let mut series = vec![
        Series { name: "errors".to_owned(), colour: VERMILION, marks: Marks::Bars(bars) },
        Series { name: "responses with 2xx".to_owned(), colour: BLUE, marks: Marks::Lines(vec![steps.collect()]) },
    ];
    if wide(rows).any(|row| row.successes == 0) {
        series.insert(0, gaps(rows));
    }
    let mut end_s = end_s(rows);
    if let Some(points) = wanted {
        // A load that was stopped had stages before it.
        end_s = points.last().map_or(end_s, |(last_s, _)| end_s.max(*last_s));
        let marks = Marks::Lines(vec![points]);
        series.insert(0, Series { name: "wanted rate".to_owned(), colour: WANTED, marks });
    }
    Chart { title: "Responses and errors over time", x: time_axis(end_s), y: rate_axis(most), series }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(index: u32, successes: u64) -> Row {
        let measured = |micros: f64| (successes > 0).then_some(micros);
        Row {
            start_s: f64::from(index),
            seconds: 1.0,
            whole: true,
            requests: successes,
            successes,
            failures: 0,
            other_statuses: 0,
            requests_per_second: Some(1.0),
            cpu_us_per_request: None,
            p50_us: measured(10.0),
            p90_us: measured(10.0),
            p99_us: measured(100.0),
            max_us: measured(1000.0),
        }
    }

    #[test]
    fn a_line_is_broken_where_nothing_came() {
        let rows: Vec<_> = [5, 5, 0, 0, 5, 0, 5, 5, 5].into_iter().zip(0..).map(|(count, at)| row(at, count)).collect();
        let parts = parts(&rows, |row| row.p50_us);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 3]);
        assert_eq!(parts[1], [(4.5, 1.0)]);
        let Marks::Bands(bands) = gaps(&rows).marks else { panic!("bands") };
        assert_eq!(bands, [(2.0, 3.0), (3.0, 4.0), (5.0, 6.0)]);
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
