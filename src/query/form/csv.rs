//! A table: `name`, a column `tag.KEY` for each key that occurs, `timestamp`, `value`; of discovery without the last two, or one column. A
//! tag that a series does not have, and a value beyond the range of floats, is an empty field without quotation marks; an empty tag is
//! one with them.

use super::{append, append_value, listed};
use crate::{
    limits::QUERY_STEPS_BETWEEN_LOOKS,
    query::{
        Kind, Look, Refusal,
        answer::{Answer, Point, Series},
        labels::{Lookup, meaning, tags_of},
    },
};
use std::collections::BTreeSet;

/// The columns of a table, and the row in the making.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Keys of tags, each with a column, in their order.
    columns: Lookup,
    header: Vec<u8>,
    /// Name and tags of the current series.
    row: Vec<u8>,
}

impl Table {
    /// Finds out which columns there are.
    pub fn new(answer: &Answer, columns_max: usize, look: Look<'_>) -> Result<Self, Refusal> {
        let mut keys = BTreeSet::new();
        if matches!(answer.kind, Kind::Query | Kind::Series) {
            let tags = answer.series.iter().flat_map(|series| tags_of(series.key.tags()));
            for (number, (key, _)) in tags.enumerate() {
                if number.is_multiple_of(QUERY_STEPS_BETWEEN_LOOKS) {
                    look()?;
                }
                if keys.insert(key) && keys.len() > columns_max {
                    return Err(Refusal::OverBound(format!(
                        "there are more than {columns_max} keys of tags, each a column; name those wanted in by, or ask for JSON"
                    )));
                }
            }
        }
        let mut header = Vec::new();
        header.extend_from_slice(if matches!(answer.kind, Kind::TagValues(_)) { b"value" } else { b"name" });
        for key in &keys {
            header.push(b',');
            append_field(&mut header, &format!("tag.{}", meaning(key)));
        }
        header.extend_from_slice(if answer.kind == Kind::Query { b",timestamp,value\n" } else { b"\n" });
        Ok(Self { columns: keys.into_iter().map(Vec::from).collect(), header, row: Vec::new() })
    }

    pub fn begin(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header);
    }

    pub fn series(&mut self, answer: &Answer, series: &Series, out: &mut Vec<u8>) {
        self.row.clear();
        append_field(&mut self.row, &meaning(listed(&answer.kind, series).unwrap_or(series.key.name())));
        for value in self.columns.values(tags_of(series.key.tags())) {
            self.row.push(b',');
            if let Some(value) = value {
                append_field(&mut self.row, &meaning(value));
            }
        }
        if answer.kind != Kind::Query {
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

/// RFC 4180, 2: quoted if need be.
fn append_field(out: &mut Vec<u8>, text: &str) {
    if !text.is_empty() && !text.contains([',', '"', '\n', '\r']) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}
