//! A line chart as an SVG document of its own: it needs no style sheet, no font and no script.

use super::plot::{Plot, short};
use std::{
    fmt::Write as _,
    io::{self, Write},
};

/// Lines that are drawn at most.
pub const LINES_MAX: usize = 12;
/// Distinguishable for most people with colour blindness, too: Okabe and Ito, "Color Universal Design" (2008), then the
/// same, dashed.
const COLORS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const WIDTH: f64 = 960.0;
/// Height of the plot area, without margins and legend.
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 80.0;
const TOP: f64 = 20.0;
const RIGHT: f64 = 20.0;
const LEGEND_LINE: f64 = 18.0;

/// Writes the document.
pub fn write(plot: &Plot, out: &mut impl Write) -> io::Result<()> {
    let legend_lines = plot.lines.len() + usize::from(plot.left_out > 0);
    let height = TOP + HEIGHT + 40.0 + LEGEND_LINE * legend_lines as f64;
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    )?;
    let right = WIDTH - RIGHT;
    for mark in plot.marks(6) {
        let y = y(plot, mark);
        writeln!(out, "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>")?;
        writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", LEFT - 6.0, y + 4.0, short(mark))?;
    }
    const TIMES: i64 = 5;
    let bottom = TOP + HEIGHT;
    for number in 0..TIMES {
        let at = plot.from_ms + (plot.to_ms - plot.from_ms) / (TIMES - 1) * number;
        let anchor = if number == 0 {
            "start"
        } else if number == TIMES - 1 {
            "end"
        } else {
            "middle"
        };
        let (x, shown) = (x(plot, at), plot.shown_time(at));
        writeln!(out, "<line x1=\"{x:.1}\" y1=\"{bottom}\" x2=\"{x:.1}\" y2=\"{}\" stroke=\"#888\"/>", bottom + 5.0)?;
        writeln!(out, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{shown}</text>", bottom + 18.0)?;
    }
    writeln!(out, "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"#888\"/>")?;
    for (number, line) in plot.lines.iter().enumerate() {
        let stroke = stroke(number);
        let mut path = String::new();
        for (at, &(timestamp_ms, value)) in line.points.iter().enumerate() {
            // A string takes everything.
            let _ =
                write!(path, "{}{:.1} {:.1}", if at == 0 { "M" } else { "L" }, x(plot, timestamp_ms), y(plot, value));
        }
        match line.points[..] {
            [] => {}
            // Round ends make a line of no length a dot.
            [_] => writeln!(
                out,
                "<path d=\"{path}h0\" fill=\"none\" stroke-linecap=\"round\" stroke-width=\"5\" {stroke}/>"
            )?,
            _ => writeln!(
                out,
                "<path d=\"{path}\" fill=\"none\" stroke-linejoin=\"round\" stroke-width=\"1.5\" {stroke}/>"
            )?,
        }
    }
    for (number, line) in plot.lines.iter().enumerate() {
        let y = bottom + 40.0 + LEGEND_LINE * number as f64;
        let to = LEFT + 24.0;
        writeln!(out, "<path d=\"M{LEFT} {:.1}H{to}\" stroke-width=\"3\" {}/>", y - 4.0, stroke(number))?;
        writeln!(out, "<text x=\"{}\" y=\"{y:.1}\">{}</text>", LEFT + 32.0, escaped(&line.label))?;
    }
    if plot.left_out > 0 {
        let y = bottom + 40.0 + LEGEND_LINE * plot.lines.len() as f64;
        writeln!(out, "<text x=\"{LEFT}\" y=\"{y:.1}\">{} more series are not drawn</text>", plot.left_out)?;
    }
    writeln!(out, "</svg>")
}

fn stroke(number: usize) -> String {
    let dashes = if number < COLORS.len() { "" } else { " stroke-dasharray=\"6 3\"" };
    format!("stroke=\"{}\"{dashes}", COLORS[number % COLORS.len()])
}

fn x(plot: &Plot, timestamp_ms: i64) -> f64 {
    LEFT + plot.across(timestamp_ms) * (WIDTH - LEFT - RIGHT)
}

fn y(plot: &Plot, value: f64) -> f64 {
    TOP + (1.0 - plot.up(value)) * HEIGHT
}

/// Text in XML (XML 1.0, 2.4 and 2.2): what may not be written at all is a question mark.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('?'),
            other if other.is_control() => escaped.push('?'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{super::plot::PlotLine, *};

    #[test]
    fn the_document_has_a_line_for_each_series() {
        let line = |points: &[(i64, f64)]| PlotLine { label: "a<b>{x=\"&\"}".into(), points: points.to_vec() };
        let plot = Plot {
            lines: vec![line(&[(0, 0.0), (1_000, 100.0)]), line(&[(500, 50.0)]), line(&[])],
            left_out: 2,
            from_ms: 0,
            to_ms: 1_000,
            low: 0.0,
            high: 100.0,
        };
        let mut out = Vec::new();
        write(&plot, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
        assert!(text.contains("M80.0 380.0L940.0 20.0") && text.contains("M510.0 200.0h0"), "{text}");
        assert_eq!(text.matches("a&lt;b&gt;{x=\"&amp;\"}").count(), 3);
        assert!(text.contains("2 more series"));
    }
}
