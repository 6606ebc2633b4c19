//! An object on each line: a point with its series, `{"timestamp":…,"name":…,"value":…,"tags":{…}}`, which is a metric
//! that can be sent again; of discovery a series, a name or a value.

use crate::output::{append, append_text, append_value, listed};
use crate::{
    Kind,
    output::result::{Point, QueryResult, Series},
};
use metric::printable::append_json;

pub(crate) fn series(result: &QueryResult, series: &Series, out: &mut Vec<u8>) {
    if result.kind == Kind::Query {
        return;
    }
    if let Some(text) = listed(&result.kind, series) {
        append(out, format_args!("{}", if result.kind == Kind::Names { "{\"name\":" } else { "{\"value\":" }));
        append_text(out, text);
    } else {
        append(out, format_args!("{{\"name\":"));
        append_text(out, series.key.name());
        append(out, format_args!(",\"tags\":"));
        append_json(out, series.key.tags());
    }
    out.extend_from_slice(b"}\n");
}

pub(crate) fn point(series: &Series, point: &Point, out: &mut Vec<u8>) {
    append(out, format_args!("{{\"timestamp\":{},\"name\":", point.timestamp_ms));
    append_text(out, series.key.name());
    append(out, format_args!(",\"value\":"));
    if !append_value(out, &point.value) {
        out.extend_from_slice(b"null");
    }
    append(out, format_args!(",\"tags\":"));
    append_json(out, series.key.tags());
    out.extend_from_slice(b"}\n");
}
