//! Formats of a result: JSON, CSV, JSON Lines. Texts of the log are valid JSON as they stand and are copied, but for
//! the control characters that JSON lets stand raw (DEL, C1), which are escaped; numbers keep their digits where they
//! are stored ones, and are the shortest that mean the same float where they were computed.

mod csv;
mod json;
mod lines;
pub mod result;

use crate::{Kind, Look, Refusal, exec::accumulator::Value, output::result::QueryResult};
use metric::printable::append_json;
use std::{borrow::Borrow, io::Write};

/// Format of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON document.
    Json,
    /// A table, RFC 4180 but for its line ends, which are line feeds alone.
    Csv,
    /// A JSON object on each line.
    JsonLines,
}

impl Format {
    /// As it stands in `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::JsonLines => "application/x-ndjson",
        }
    }
}

/// Rendering of a result into its format, bit by bit: the caller may stop after each bit, and resume later.
#[derive(Debug)]
pub struct Rendering<A> {
    result: A,
    renderer: Renderer,
    at: Cursor,
}

#[derive(Debug)]
enum Renderer {
    Json,
    Csv(csv::Table),
    JsonLines,
}

/// Position of a rendering: the part that is written next.
#[derive(Debug, Clone, Copy)]
enum Cursor {
    Beginning,
    Series(usize),
    Point(usize, usize),
    End,
    Nothing,
}

impl<A: Borrow<QueryResult>> Rendering<A> {
    /// `columns_max` is how many columns a table may have.
    ///
    /// # Errors
    /// It would have more, or the look says to stop.
    pub fn new(result: A, format: Format, columns_max: usize, look: Look<'_>) -> Result<Self, Refusal> {
        let renderer = match format {
            Format::Json => Renderer::Json,
            Format::Csv => Renderer::Csv(csv::Table::new(result.borrow(), columns_max, look)?),
            Format::JsonLines => Renderer::JsonLines,
        };
        Ok(Self { result, renderer, at: Cursor::Beginning })
    }

    /// The result that is rendered.
    pub fn result(&self) -> &QueryResult {
        self.result.borrow()
    }

    /// Appends the next bit: a point, or the beginning or the end of a series. `false`: there is nothing left.
    pub fn append_next(&mut self, out: &mut Vec<u8>) -> bool {
        let result = self.result.borrow();
        let behind = |number: usize| if number < result.series.len() { Cursor::Series(number) } else { Cursor::End };
        self.at = match self.at {
            Cursor::Beginning => {
                match &self.renderer {
                    Renderer::Json => json::begin(result, out),
                    Renderer::Csv(table) => table.begin(out),
                    Renderer::JsonLines => {}
                }
                behind(0)
            }
            Cursor::Series(number) => {
                let series = &result.series[number];
                match &mut self.renderer {
                    Renderer::Json => json::series(result, series, number > 0, out),
                    Renderer::Csv(table) => table.series(result, series, out),
                    Renderer::JsonLines => lines::series(result, series, out),
                }
                Cursor::Point(number, 0)
            }
            Cursor::Point(number, point_number) => {
                let series = &result.series[number];
                if let Some(point) = series.points.get(point_number) {
                    match &self.renderer {
                        Renderer::Json => json::point(point_number > 0, point, out),
                        Renderer::Csv(table) => table.point(point, out),
                        Renderer::JsonLines => lines::point(series, point, out),
                    }
                    Cursor::Point(number, point_number + 1)
                } else {
                    if matches!(self.renderer, Renderer::Json) {
                        json::end_series(result, out);
                    }
                    behind(number + 1)
                }
            }
            Cursor::End => {
                if matches!(self.renderer, Renderer::Json) {
                    json::end(result, out);
                }
                Cursor::Nothing
            }
            Cursor::Nothing => return false,
        };
        true
    }
}

/// Appends what is displayed. A vector takes everything.
fn append(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(what);
}

/// Appends a value as a number in JSON. `false`: it is beyond the range of floats, and nothing was appended.
pub fn append_value(out: &mut Vec<u8>, value: &Value) -> bool {
    match value {
        Value::Integer(integer) => append(out, format_args!("{integer}")),
        Value::Digits(digits) => out.extend_from_slice(digits.as_bytes()),
        Value::Float(float) if float.is_finite() => {
            // The shortest digits that mean this float, with an exponent where it is long: `1e16`, `1.5e-7`.
            append(out, format_args!("{float:?}"));
            if out.ends_with(b".0") {
                out.truncate(out.len() - 2);
            }
        }
        Value::Float(_) => return false,
    }
    true
}

/// The value of a tag in a result's own object of tags, which is the only one there.
fn only_value(tags: &[u8]) -> &[u8] {
    crate::plan::labels::tags_of(tags).next().map_or(b"", |(_, value)| value)
}

/// Appends a text of the log, escaped as it is, in quotation marks.
fn append_text(out: &mut Vec<u8>, escaped: &[u8]) {
    out.push(b'"');
    append_json(out, escaped);
    out.push(b'"');
}

/// Returns the entry that a result of discovery lists for `series`, escaped; `None` for series.
#[must_use]
pub fn listed<'a>(kind: &Kind, series: &'a crate::output::result::Series) -> Option<&'a [u8]> {
    match kind {
        Kind::Names => Some(series.key.name()),
        Kind::TagValues(_) => Some(only_value(series.key.tags())),
        Kind::Query | Kind::Series => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::number::Digits;

    #[test]
    fn numbers_are_numbers_in_json() {
        for (value, text) in [
            (Value::Integer(-7), "-7"),
            (Value::Float(75.5), "75.5"),
            (Value::Float(3.0), "3"),
            (Value::Float(1e16), "1e16"),
            (Value::Float(1.5e-7), "1.5e-7"),
            (Value::Float(0.1 + 0.2), "0.30000000000000004"),
            (Value::Float(-0.0), "-0"),
            (Value::Float(f64::MAX), "1.7976931348623157e308"),
            (Value::Digits(Digits::new(b"4823947234")), "4823947234"),
            (Value::Digits(Digits::new(b"1.50E+3")), "1.50E+3"),
        ] {
            let mut out = Vec::new();
            assert!(append_value(&mut out, &value));
            assert_eq!(String::from_utf8(out).unwrap(), text);
            assert!(serde_json::from_str::<serde_json::Value>(text).unwrap().is_number());
        }
        assert!(!append_value(&mut Vec::new(), &Value::Float(f64::INFINITY)));
    }
}
