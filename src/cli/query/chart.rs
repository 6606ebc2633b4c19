//! A line chart for a terminal: Braille characters are two by four dots each (Unicode, 15.4: U+2800 and a bit for each
//! dot). textplots would bring
//! three crates for these 90 lines, and its axes know numbers, no dates.

use super::plot::{Plot, short};
use std::io::{self, Write};

/// Lines that are drawn at most: so many colours can be distinguished.
pub const LINES_MAX: usize = 6;
/// Colours, by their numbers in ANSI: green, yellow, blue, magenta, cyan, red.
const COLORS: [u8; LINES_MAX] = [32, 33, 34, 35, 36, 31];
/// Characters of a line where there is no terminal that has a width.
const COLUMNS_DEFAULT: usize = 80;
/// Narrower than that nothing can be seen.
const COLUMNS_MIN: usize = 20;
const ROWS: usize = 16;

/// Dots, and of each character the line that was drawn through it last.
struct Canvas {
    columns: usize,
    dots: Vec<u8>,
    lines: Vec<usize>,
}

impl Canvas {
    fn new(columns: usize) -> Self {
        Self { columns, dots: vec![0; columns * ROWS], lines: vec![0; columns * ROWS] }
    }

    /// `x` from the left and `y` from the top, in dots.
    fn set(&mut self, x: usize, y: usize, line: usize) {
        /// The bits of a character's dots: four rows of two.
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let at = y / 4 * self.columns + x / 2;
        if let (Some(dots), Some(drawn)) = (self.dots.get_mut(at), self.lines.get_mut(at)) {
            *dots |= BITS[y % 4][x % 2];
            *drawn = line;
        }
    }

    /// Bresenham, "Algorithm for computer control of a digital plotter" (1965), in its simplest form: as many steps as
    /// the longer side has dots.
    fn draw(&mut self, from: (usize, usize), to: (usize, usize), line: usize) {
        let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1)).max(1);
        let between = |from: usize, to: usize, step: usize| (from * (steps - step) + to * step + steps / 2) / steps;
        for step in 0..=steps {
            self.set(between(from.0, to.0, step), between(from.1, to.1, step), line);
        }
    }
}

/// Writes the chart, as wide as the terminal; in colours if it is one.
pub fn write(plot: &Plot, is_terminal: bool, out: &mut impl Write) -> io::Result<()> {
    let columns = terminal_size::terminal_size().map_or(COLUMNS_DEFAULT, |(width, _)| usize::from(width.0));
    write_in(plot, columns, is_terminal, out)
}

fn write_in(plot: &Plot, columns: usize, is_colored: bool, out: &mut impl Write) -> io::Result<()> {
    let marks: Vec<_> = plot.marks(4).into_iter().map(|mark| (row(plot, mark) / 4, short(mark))).collect();
    let margin = marks.iter().map(|(_, text)| text.len()).max().unwrap_or(0);
    let columns = columns.saturating_sub(margin + 2).max(COLUMNS_MIN);
    let mut canvas = Canvas::new(columns);
    for (number, line) in plot.lines.iter().enumerate() {
        let dots: Vec<_> =
            line.points.iter().map(|&(at, value)| (column(plot, at, columns), row(plot, value))).collect();
        if let [dot] = dots[..] {
            canvas.set(dot.0, dot.1, number);
        }
        dots.windows(2).for_each(|pair| canvas.draw(pair[0], pair[1], number));
    }
    for row in 0..ROWS {
        let mark = marks.iter().rev().find(|(at, _)| *at == row).map_or("", |(_, text)| text);
        write!(out, "{mark:>margin$} {}", if mark.is_empty() { '│' } else { '┤' })?;
        let mut color = None;
        for column in 0..columns {
            let at = row * columns + column;
            let wanted = (is_colored && canvas.dots[at] != 0).then_some(COLORS[canvas.lines[at] % LINES_MAX]);
            if wanted.is_some() && wanted != color {
                write!(out, "\x1b[{}m", wanted.unwrap_or_default())?;
                color = wanted;
            }
            let braille = char::from_u32(0x2800 + u32::from(canvas.dots[at])).filter(|_| canvas.dots[at] != 0);
            write!(out, "{}", braille.unwrap_or(' '))?;
        }
        writeln!(out, "{}", if color.is_some() { "\x1b[0m" } else { "" })?;
    }
    writeln!(out, "{:margin$} └{}", "", "─".repeat(columns))?;
    let (from, to) = (plot.shown_time(plot.from_ms), plot.shown_time(plot.to_ms));
    let gap = columns.saturating_sub(from.len() + to.len()).max(1);
    writeln!(out, "{:margin$}  {from}{:gap$}{to}", "", "")?;
    for (number, line) in plot.lines.iter().enumerate() {
        let (on, off) =
            if is_colored { (format!("\x1b[{}m", COLORS[number % LINES_MAX]), "\x1b[0m") } else { (String::new(), "") };
        let last = line.points.last().map_or_else(|| "no points".into(), |(_, value)| short(*value));
        writeln!(out, "{on}━━{off} {}  {last}", line.label)?;
    }
    if plot.left_out > 0 {
        writeln!(out, "{} more series are not drawn; limit= and order= select the series", plot.left_out)?;
    }
    Ok(())
}

/// The dot's column.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the number of dots")]
fn column(plot: &Plot, timestamp_ms: i64, columns: usize) -> usize {
    (plot.across(timestamp_ms) * (2 * columns - 1) as f64).round() as usize
}

/// The dot's row, from the top.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the number of dots")]
fn row(plot: &Plot, value: f64) -> usize {
    ((1.0 - plot.up(value)) * (4 * ROWS - 1) as f64).round() as usize
}

#[cfg(test)]
mod tests {
    use super::{super::plot::PlotLine, *};

    #[test]
    fn a_line_goes_from_corner_to_corner() {
        let line = |label: &str, points: &[(i64, f64)]| PlotLine { label: label.into(), points: points.to_vec() };
        let plot = Plot {
            lines: vec![line("up", &[(0, 0.0), (1_000, 100.0)]), line("dot", &[(500, 50.0)]), line("none", &[])],
            left_out: 3,
            from_ms: 0,
            to_ms: 1_000,
            low: 0.0,
            high: 100.0,
        };
        let mut out = Vec::new();
        write_in(&plot, 40, false, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let rows: Vec<_> = text.lines().collect();
        assert_eq!(rows.len(), ROWS + 6, "{text}");
        assert!(rows[0].starts_with("100 ┤") && rows[0].ends_with(['⠊', '⠉', '⠁', '⠔', '⠤', '⠒', '⡠']), "{text}");
        assert!(rows[ROWS - 1].starts_with("  0 ┤") && !rows[ROWS - 1].ends_with("⠊"), "{text}");
        assert!(text.contains("━━ up  100\n━━ dot  50\n━━ none  no points\n3 more series") && !text.contains('\x1b'));
        let mut out = Vec::new();
        write_in(&plot, 0, true, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("\x1b[32m"));
    }
}
