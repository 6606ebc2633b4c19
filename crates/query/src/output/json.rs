//! `{"series":[{"name":"cpu_usage","tags":{"host":"web1"},"points":[[1767323040000,75.5]]}],"stats":{…}}`, and what
//! discovery has in its place: `"names":[…]`, `"values":[…]`.

use crate::output::{append, append_text, append_value, listed};
use crate::{
    Kind,
    output::result::{Point, QueryResult, Series, Stats},
};
use metric::{printable::append_json, spelled};

pub(crate) fn begin(result: &QueryResult, out: &mut Vec<u8>) {
    match &result.kind {
        Kind::Query | Kind::Series => append(out, format_args!("{{\"series\":[")),
        Kind::Names => append(out, format_args!("{{\"names\":[")),
        Kind::TagValues(key) => {
            append(out, format_args!("{{\"tag\":"));
            append_text(out, &spelled(key));
            append(out, format_args!(",\"values\":["));
        }
    }
}

pub(crate) fn series(result: &QueryResult, series: &Series, is_next: bool, out: &mut Vec<u8>) {
    if is_next {
        out.push(b',');
    }
    if let Some(text) = listed(&result.kind, series) {
        return append_text(out, text);
    }
    append(out, format_args!("{{\"name\":"));
    append_text(out, series.key.name());
    append(out, format_args!(",\"tags\":"));
    append_json(out, series.key.tags());
    if result.kind == Kind::Query {
        append(out, format_args!(",\"points\":["));
    }
}

pub(crate) fn point(is_next: bool, point: &Point, out: &mut Vec<u8>) {
    out.extend_from_slice(if is_next { b",[" } else { b"[" });
    append(out, format_args!("{},", point.timestamp_ms));
    if !append_value(out, &point.value) {
        out.extend_from_slice(b"null");
    }
    out.push(b']');
}

pub(crate) fn end_series(result: &QueryResult, out: &mut Vec<u8>) {
    match result.kind {
        Kind::Query => out.extend_from_slice(b"]}"),
        Kind::Series => out.push(b'}'),
        Kind::Names | Kind::TagValues(_) => {}
    }
}

pub(crate) fn end(result: &QueryResult, out: &mut Vec<u8>) {
    append(out, format_args!("],\"stats\":"));
    append_stats(out, &result.stats, &result.kind);
    out.extend_from_slice(b"}\n");
}

fn append_stats(out: &mut Vec<u8>, stats: &Stats, kind: &Kind) {
    let scanned = &stats.scanned;
    append(
        out,
        format_args!(
            "{{\"scanned_bytes\":{},\"scanned_metrics\":{},\"matched_metrics\":{},\"read_bytes\":{},\"skipped_bytes\":{},\
             \"scanned_blocks\":{},\"skipped_blocks\":{},\"scanned_segments\":{},\"skipped_segments\":{},\"gone_segments\":{},\
             \"foreign_lines\":{}",
            scanned.bytes,
            scanned.lines,
            scanned.matched,
            scanned.read_bytes,
            scanned.skipped_bytes,
            scanned.blocks,
            scanned.skipped_blocks,
            scanned.segments,
            scanned.skipped_segments,
            scanned.gone_segments,
            scanned.foreign_lines,
        ),
    );
    match kind {
        Kind::Query => append(
            out,
            format_args!(
                ",\"non_finite_metrics\":{},\"series\":{},\"left_out_series\":{},\"points\":{}",
                stats.non_finite, stats.series, stats.left_out_series, stats.points
            ),
        ),
        Kind::Series => {
            append(out, format_args!(",\"series\":{},\"left_out_series\":{}", stats.series, stats.left_out_series));
        }
        Kind::Names => {
            append(out, format_args!(",\"names\":{},\"left_out_names\":{}", stats.series, stats.left_out_series));
        }
        Kind::TagValues(_) => {
            append(out, format_args!(",\"values\":{},\"left_out_values\":{}", stats.series, stats.left_out_series));
        }
    }
    append(out, format_args!(",\"elapsed_ms\":{:.3}}}", stats.elapsed.as_secs_f64() * 1e3));
}
