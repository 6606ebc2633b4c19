//! A table: `name`, a column `tag.KEY` for each key that occurs, `timestamp`, `value`; of discovery without the last
//! two, or one column. A tag that a series does not have, and a value beyond the range of floats, is an empty field
//! without quotation marks; an empty tag is one with them.
//!
//! The crate csv has one style of quoting for a whole writer, so it cannot distinguish these two, and no guard against
//! formulas: of these 100 lines it would replace ten.

use crate::output::{append, append_value, listed};
use crate::{
    Kind, Look, Refusal,
    limits::QUERY_STEPS_BETWEEN_LOOKS,
    output::result::{Point, QueryResult, Series},
    plan::labels::{Lookup, meaning, tags_of},
};
use std::collections::BTreeSet;

/// The columns of a table, and the row in the making.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Keys of tags, each with a column, in their order.
    columns: Lookup,
    header: Vec<u8>,
    /// Name and tags of the current series.
    row: Vec<u8>,
}

impl Table {
    /// Finds out which columns there are.
    pub fn new(result: &QueryResult, columns_max: usize, look: Look<'_>) -> Result<Self, Refusal> {
        let mut keys = BTreeSet::new();
        if matches!(result.kind, Kind::Query | Kind::Series) {
            let tags = result.series.iter().flat_map(|series| tags_of(series.key.tags()));
            for (number, (key, _)) in tags.enumerate() {
                if number.is_multiple_of(QUERY_STEPS_BETWEEN_LOOKS) {
                    look()?;
                }
                if keys.insert(key) && keys.len() > columns_max {
                    return Err(Refusal::OverBound(format!(
                        "more than {columns_max} tag keys, each of which is a column; list keys in by, or request JSON"
                    )));
                }
            }
        }
        let mut header = Vec::new();
        header.extend_from_slice(if matches!(result.kind, Kind::TagValues(_)) { b"value" } else { b"name" });
        for key in &keys {
            header.push(b',');
            append_field(&mut header, &format!("tag.{}", meaning(key)));
        }
        header.extend_from_slice(if result.kind == Kind::Query { b",timestamp,value\n" } else { b"\n" });
        Ok(Self { columns: keys.into_iter().map(Vec::from).collect(), header, row: Vec::new() })
    }

    pub fn begin(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header);
    }

    pub fn series(&mut self, result: &QueryResult, series: &Series, out: &mut Vec<u8>) {
        self.row.clear();
        append_field(&mut self.row, &meaning(listed(&result.kind, series).unwrap_or(series.key.name())));
        for value in self.columns.values(tags_of(series.key.tags())) {
            self.row.push(b',');
            if let Some(value) = value {
                append_field(&mut self.row, &meaning(value));
            }
        }
        if result.kind != Kind::Query {
            out.extend_from_slice(&self.row);
            out.push(b'\n');
        }
    }

    pub fn point(&self, point: &Point, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.row);
        append(out, format_args!(",{},", point.timestamp_ms));
        append_value(out, &point.value);
        out.push(b'\n');
    }
}

/// A text as a field: RFC 4180, 2, quoted if need be. One that a spreadsheet would take for a formula gets an
/// apostrophe before it, which spreadsheets read as "this is text"; so does one that begins with an apostrophe, and
/// whoever reads the field takes one away. A number is no formula: the `+Inf` of a histogram's last bucket stays what
/// it is.
fn append_field(out: &mut Vec<u8>, text: &str) {
    const STARTS: [char; 12] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠', '\''];
    let guard = if text.starts_with(STARTS) && text.parse::<f64>().is_err() { "'" } else { "" };
    if !text.is_empty() && !text.contains([',', '"', '\n', '\r']) {
        out.extend_from_slice(guard.as_bytes());
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    out.extend_from_slice(guard.as_bytes());
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_looks_like_a_formula_gets_an_apostrophe() {
        for (text, field) in [
            ("cpu", "cpu"),
            ("", "\"\""),
            ("a=b", "a=b"),
            ("=1+1", "'=1+1"),
            ("=HYPERLINK(\"x\",\"y\")", "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\""),
            ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "\"'\r=1\""),
            ("＝1", "'＝1"),
            ("'tis", "''tis"),
            ("+Inf", "+Inf"),
            ("-5", "-5"),
            ("+1.5e3", "+1.5e3"),
            ("-5+5", "'-5+5"),
        ] {
            let mut out = Vec::new();
            append_field(&mut out, text);
            assert_eq!(String::from_utf8(out).unwrap(), field, "{text:?}");
        }
    }
}
