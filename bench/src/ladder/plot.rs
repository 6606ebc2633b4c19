//! The pictures, as SVG.

use super::{
    measure::{Sample, percent},
    side_by_side::{Column, LOADS},
};
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use std::{fmt::Display, fs, path::Path};

const WIDTH: u32 = 960;
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const FAINT: RGBColor = RGBColor(0x77, 0x77, 0x77);
/// Okabe and Ito's colours, which nearly everybody can distinguish.
const BARS: [RGBColor; 2] = [RGBColor(0x00, 0x72, 0xB2), RGBColor(0xD5, 0x5E, 0x00)];
const LINES: [RGBColor; 3] = [RGBColor(0x00, 0x72, 0xB2), RGBColor(0xE6, 0x9F, 0x00), RGBColor(0xD5, 0x5E, 0x00)];

/// Left edge of the bars and length of the longest, in pixels.
const BAR_LEFT: i32 = 230;
const BAR_LENGTH: f64 = 470.0;
/// Height of a panel's title, of a bar with the space around it, and of the bar itself.
const TITLE_HEIGHT: i32 = 44;
const ROW_HEIGHT: i32 = 34;
const BAR_HEIGHT: i32 = 22;

/// A line of a chart: its name, and its value in a sample.
type Line = (&'static str, fn(&Sample) -> f64);
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Makes the directory that `path` is to be in.
///
/// # Errors
/// It cannot be made.
pub fn prepare(path: &Path) -> Result<(), String> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            fs::create_dir_all(parent).map_err(|error| format!("cannot make {}: {error}", parent.display()))
        }
        _ => Ok(()),
    }
}

fn cannot_draw(error: impl Display) -> String {
    format!("cannot draw: {error}")
}

/// A bar for each stage, a panel for each load.
///
/// # Errors
/// The file cannot be written.
pub fn ladder(path: &Path, clients: u32, columns: &[Column]) -> Result<(), String> {
    prepare(path)?;
    let rows: usize = columns.iter().map(Vec::len).sum();
    let pixels = |count: usize, each: i32| i32::try_from(count).unwrap_or(i32::MAX).saturating_mul(each);
    let height = 50 + pixels(columns.len(), TITLE_HEIGHT) + pixels(rows, ROW_HEIGHT) + 16;
    let root = SVGBackend::new(path, (WIDTH, height.unsigned_abs())).into_drawing_area();
    root.fill(&WHITE).map_err(cannot_draw)?;
    let title = format!("The ladder: one service, six servers, {clients} clients");
    write(&root, &title, (24, 28), 20, INK, HPos::Left)?;
    let mut top = 50;
    for (((_, title), column), colour) in LOADS.iter().zip(columns).zip(BARS.iter().cycle()) {
        write(&root, title, (24, top + TITLE_HEIGHT / 2), 16, INK, HPos::Left)?;
        write(&root, "requests/s, and server CPU for each", (BAR_LEFT, top + TITLE_HEIGHT / 2), 13, FAINT, HPos::Left)?;
        top += TITLE_HEIGHT;
        let rate = |sample: &Sample| sample.requests_per_second;
        let most = column.iter().map(|(_, sample)| rate(sample)).fold(f64::MIN_POSITIVE, f64::max);
        for (stage, sample) in column {
            let middle = top + ROW_HEIGHT / 2;
            write(&root, stage.name(), (BAR_LEFT - 12, middle), 15, INK, HPos::Right)?;
            #[expect(clippy::cast_possible_truncation, reason = "at most BAR_LENGTH")]
            let right = BAR_LEFT + (BAR_LENGTH * rate(sample) / most).max(1.0) as i32;
            let corners = [(BAR_LEFT, middle - BAR_HEIGHT / 2), (right, middle + BAR_HEIGHT / 2)];
            root.draw(&Rectangle::new(corners, colour.filled())).map_err(cannot_draw)?;
            let figures = format!("{:.0}/s, {:.1} us", rate(sample), sample.server_cpu_us);
            write(&root, &figures, (right + 10, middle), 15, INK, HPos::Left)?;
            top += ROW_HEIGHT;
        }
    }
    root.present().map_err(cannot_draw)
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), size: u32, colour: RGBColor, anchor: HPos) -> Result<(), String> {
    let style = ("sans-serif", size).into_font().color(&colour).pos(Pos::new(anchor, VPos::Center));
    area.draw(&Text::new(text, at, style)).map_err(cannot_draw)
}

/// Throughput, latencies, success and the server's CPU time over the number of clients.
///
/// # Errors
/// The file cannot be written.
pub fn progressive(path: &Path, title: &str, samples: &[Sample]) -> Result<(), String> {
    prepare(path)?;
    let root = SVGBackend::new(path, (WIDTH, 1326)).into_drawing_area();
    root.fill(&WHITE).map_err(cannot_draw)?;
    write(&root, &format!("Progressive load: {title}"), (24, 28), 20, INK, HPos::Left)?;
    let (_, charts) = root.split_vertically(46);
    let charts = charts.split_evenly((4, 1));
    let rate: Line = ("requests/s", |sample| sample.requests_per_second);
    let latencies: [Line; 3] =
        [("p50", |sample| sample.p50_us), ("p99", |sample| sample.p99_us), ("p99.9", |sample| sample.p999_us)];
    let success: Line = ("success", |sample| sample.success_percent);
    let cpu: Line = ("server CPU", |sample| sample.server_cpu_us);
    chart(&charts[0], "requests/s", samples, &[rate], false)?;
    chart(&charts[1], "latency, us", samples, &latencies, true)?;
    chart(&charts[2], "requests with a 2xx response, %", samples, &[success], false)?;
    // A few failures among many requests move the line by less than its width.
    let right = i32::try_from(WIDTH).unwrap_or(i32::MAX) - 24;
    write(&charts[2], &least_success(samples), (right, 12), 15, INK, HPos::Right)?;
    chart(&charts[3], "server CPU, us/request", samples, &[cpu], false)?;
    root.present().map_err(cannot_draw)
}

/// The load with the smallest share of success, in words.
fn least_success(samples: &[Sample]) -> String {
    match samples.iter().min_by(|one, other| one.success_percent.total_cmp(&other.success_percent)) {
        Some(least) if least.success_percent < 100.0 => {
            format!("least: {} % at {} clients", percent(least.success_percent), least.clients)
        }
        _ => "100 % at every number of clients".to_owned(),
    }
}

/// Lines over the number of clients, which is on a logarithmic axis.
fn chart(area: &Area<'_>, unit: &str, samples: &[Sample], lines: &[Line], logarithmic: bool) -> Result<(), String> {
    let clients = |sample: &Sample| f64::from(sample.clients);
    // A load without any success has no latency.
    let values = || {
        samples.iter().flat_map(|sample| lines.iter().map(|(_, value)| value(sample))).filter(|value| value.is_finite())
    };
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(1.0, f64::max));
    let first = samples.iter().map(clients).fold(f64::INFINITY, f64::min).max(1.0);
    let last = samples.iter().map(clients).fold(first, f64::max);
    // A range of one point cannot be drawn.
    let across = (first / 1.2)..(last * 1.2);
    // Each number of clients that was tried has its mark.
    let marks: Vec<f64> = samples.iter().map(clients).collect();
    let mut builder = ChartBuilder::on(area);
    builder.margin_left(10).margin_right(24).margin_top(26).x_label_area_size(44).y_label_area_size(84);
    // In the margin above, where no line can run through them.
    for (((name, _), colour), left) in lines.iter().zip(LINES).zip((100..).step_by(80)) {
        write(area, name, (left, 12), 15, colour, HPos::Left)?;
    }
    // The two kinds of axes are two types.
    macro_rules! draw {
        ($axis:expr) => {{
            let mut chart =
                builder.build_cartesian_2d(across.log_scale().with_key_points(marks), $axis).map_err(cannot_draw)?;
            chart
                .configure_mesh()
                .light_line_style(WHITE)
                .bold_line_style(RGBColor(0xE0, 0xE0, 0xE0))
                .axis_style(FAINT)
                .label_style(("sans-serif", 14).into_font().color(&INK))
                .x_desc("clients")
                .y_desc(unit)
                .x_label_formatter(&|clients| format!("{clients:.0}"))
                .y_label_formatter(&|value| format!("{value:.0}"))
                .draw()
                .map_err(cannot_draw)?;
            for ((_, value), colour) in lines.iter().zip(LINES) {
                let points =
                    || samples.iter().map(|sample| (clients(sample), value(sample))).filter(|(_, y)| y.is_finite());
                chart.draw_series(LineSeries::new(points(), colour.stroke_width(2))).map_err(cannot_draw)?;
                chart.draw_series(points().map(|at| Circle::new(at, 4, colour.filled()))).map_err(cannot_draw)?;
            }
        }};
    }
    if logarithmic {
        let least = if least.is_finite() { least } else { 1.0 };
        draw!((least.max(1.0) / 1.5..most * 1.5).log_scale());
    } else {
        draw!(0.0..most * 1.1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(clients: u32, success_percent: f64) -> Sample {
        let latency = |micros: f64| if success_percent > 0.0 { micros } else { f64::NAN };
        Sample {
            clients,
            keep_alive: true,
            requests: 1000,
            success_percent,
            requests_per_second: f64::from(clients) * 10.0 * success_percent,
            p50_us: latency(100.0),
            p99_us: latency(500.0),
            p999_us: latency(900.0),
            server_cpu_us: 12.0,
            threads: 1,
            resident_mib: 1.0,
        }
    }

    fn drawn(samples: &[Sample]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        progressive(file.path(), "a server", samples).unwrap();
        fs::read_to_string(file.path()).unwrap()
    }

    #[test]
    fn every_number_of_clients_has_its_mark() {
        let svg = drawn(&[10, 20, 50, 100, 150, 200, 500, 1000].map(|clients| sample(clients, 100.0)));
        // A mark on each of the four axes.
        for clients in ["10", "150", "500", "1000"] {
            assert!(svg.matches(&format!("\n{clients}\n")).count() >= 4, "{clients}");
        }
        for part in ["requests/s", "latency, us", "100 % at every number", "server CPU, us/request"] {
            assert!(svg.contains(part), "{part}");
        }
    }

    #[test]
    fn the_least_success_is_named() {
        let svg = drawn(&[sample(10, 100.0), sample(20, 99.999_99), sample(50, 100.0)]);
        assert!(svg.contains("least: 99.999 % at 20 clients"), "{svg}");
    }

    #[test]
    fn a_load_without_success_is_drawn_without_latency() {
        for samples in [vec![sample(10, 100.0), sample(20, 0.0)], vec![sample(10, 0.0)]] {
            let svg = drawn(&samples);
            assert!(svg.contains("least: 0.000 %") && !svg.contains("NaN"), "{svg}");
        }
    }
}
