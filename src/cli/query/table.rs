//! A result as a table: a row for each point, a column for each tag that occurs. comfy-table would bring eleven crates,
//! crossterm among them, and tabled six; what is drawn here is 40 lines.

use super::{for_terminal, plot::shown_moment};
use query::{Kind, QueryResult, Value, append_value, listed, tags_of};
use std::{
    collections::BTreeSet,
    io::{self, Write},
};

/// One column.
struct Column {
    cells: Vec<String>,
    is_number: bool,
}

/// Writes the table, its columns as wide as need be.
pub fn write(result: &QueryResult, out: &mut impl Write) -> io::Result<()> {
    let columns = columns(result);
    let widths: Vec<_> =
        columns.iter().map(|column| column.cells.iter().map(|cell| width(cell)).max().unwrap_or(0)).collect();
    for row in 0..columns.first().map_or(0, |column| column.cells.len()) {
        for (number, (column, &wide)) in columns.iter().zip(&widths).enumerate() {
            let cell = &column.cells[row];
            let padding = wide - width(cell);
            let is_last = number + 1 == columns.len();
            match (column.is_number, is_last) {
                (true, _) => write!(out, "{:padding$}{cell}", "")?,
                (false, true) => write!(out, "{cell}")?,
                (false, false) => write!(out, "{cell}{:padding$}", "")?,
            }
            if !is_last {
                write!(out, "  ")?;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Characters; most scripts' take one place each.
fn width(cell: &str) -> usize {
    cell.chars().count()
}

fn columns(result: &QueryResult) -> Vec<Column> {
    let keys: BTreeSet<&[u8]> = match result.kind {
        Kind::Query | Kind::Series => {
            result.series.iter().flat_map(|series| tags_of(series.key.tags())).map(|(key, _)| key).collect()
        }
        Kind::Names | Kind::TagValues(_) => BTreeSet::new(),
    };
    let column = |title: &str, is_number| Column { cells: vec![title.to_owned()], is_number };
    let mut columns = vec![column(if matches!(result.kind, Kind::TagValues(_)) { "VALUE" } else { "NAME" }, false)];
    columns.extend(keys.iter().map(|key| column(&for_terminal(key), false)));
    if result.kind == Kind::Query {
        columns.extend([column("TIME", false), column("VALUE", true)]);
    }
    for series in &result.series {
        let mut row = vec![for_terminal(listed(&result.kind, series).unwrap_or(series.key.name())).into_owned()];
        row.extend(keys.iter().map(|key| {
            let tag = tags_of(series.key.tags()).find(|(tag, _)| tag == key);
            // As empty is something else than not there.
            tag.map_or_else(|| "-".into(), |(_, value)| for_terminal(value).into_owned())
        }));
        let points: Vec<_> = match result.kind {
            Kind::Query => series
                .points
                .iter()
                .map(|point| vec![shown_moment(point.timestamp_ms), shown_value(&point.value)])
                .collect(),
            _ => vec![vec![]],
        };
        for point in points {
            let cells = row.iter().cloned().chain(point);
            columns.iter_mut().zip(cells).for_each(|(column, cell)| column.cells.push(cell));
        }
    }
    columns
}

/// A value as it stands in the other forms; beyond the range of floats it is said to be that.
pub fn shown_value(value: &Value) -> String {
    let mut text = Vec::new();
    if append_value(&mut text, value) { String::from_utf8_lossy(&text).into_owned() } else { "out of range".into() }
}
