//! A table: `name`, a column `tag.KEY` for each key that occurs, `timestamp`, `value`; of discovery without the last two, or one column. A
//! tag that a series does not have, and a value beyond the range of floats, is an empty field without quotation marks; an empty tag is
//! one with them.

use super::{append, append_value, listed};
use crate::query::{
    Kind,
    answer::{Answer, Pieces},
    labels::{meaning, tags_of},
};
use std::collections::BTreeSet;

pub(super) fn write<E, W: FnMut(&[u8]) -> Result<(), E>>(answer: &Answer, pieces: &mut Pieces<W>) -> Result<(), E> {
    let keys: BTreeSet<&[u8]> = match answer.kind {
        Kind::Query | Kind::Series => {
            answer.series.iter().flat_map(|series| tags_of(series.key.tags())).map(|(key, _)| key).collect()
        }
        Kind::Names | Kind::TagValues(_) => BTreeSet::new(),
    };
    pieces.put(|out| {
        out.extend_from_slice(if matches!(answer.kind, Kind::TagValues(_)) { b"value" } else { b"name" });
        for key in &keys {
            out.push(b',');
            append_field(out, &format!("tag.{}", meaning(key)));
        }
        out.extend_from_slice(if answer.kind == Kind::Query { b",timestamp,value\n" } else { b"\n" });
    })?;
    let mut row = Vec::new();
    for series in &answer.series {
        row.clear();
        append_field(&mut row, &meaning(listed(&answer.kind, series).unwrap_or(series.key.name())));
        for key in &keys {
            row.push(b',');
            if let Some((_, value)) = tags_of(series.key.tags()).find(|(tag, _)| tag == key) {
                append_field(&mut row, &meaning(value));
            }
        }
        if answer.kind != Kind::Query {
            row.push(b'\n');
            pieces.put(|out| out.extend_from_slice(&row))?;
        }
        for point in &series.points {
            pieces.put(|out| {
                out.extend_from_slice(&row);
                append(out, format_args!(",{},", point.timestamp_ms));
                append_value(out, &point.value);
                out.push(b'\n');
            })?;
        }
    }
    Ok(())
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
