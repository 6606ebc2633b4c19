//! The tables, for people and for scripts, and the gate.

use super::{NAIVE, OURS, Pace, Reading, Row, Table};
use serde_json::{Value, json};
use std::{env, fmt::Write};

/// Minimum speed of ours on every input, as a multiple of the naive parser's.
const NAIVE_RATIO_MIN: f64 = 2.0;

/// One input's table for people.
#[must_use]
pub fn text(table: &Table) -> String {
    let metric_bytes = table.bytes as f64 / table.metrics as f64;
    let mut text = format!(
        "{}: {} metrics in {} batches, {metric_bytes:.0} bytes a metric\n{:<24}{:>10}{:>22}{:>8}{:>12}{:>8}\n",
        table.input,
        table.metrics,
        table.batches,
        "parser",
        "ns/metric",
        "(lowest..highest)",
        "GB/s",
        "allocations",
        "ratio",
    );
    for Row { parser, reading, timing } in &table.rows {
        // Writing into a String cannot fail.
        let _ = match timing {
            Some(timing) => writeln!(
                text,
                "{parser:<24}{:>10.1}{:>22}{:>8.2}{:>12}{:>8.2}{}",
                timing.ns,
                format!("({:.1}..{:.1})", timing.ns_min, timing.ns_max),
                timing.gb_per_s,
                timing.allocations.map_or("-".to_owned(), |allocations| format!("{allocations:.2}")),
                timing.ratio,
                if *reading == Reading::Agrees { "" } else { "  reads it wrongly" },
            ),
            None => writeln!(text, "{parser:<24} {}", remark(reading).unwrap_or_default()),
        };
    }
    text
}

fn remark(reading: &Reading) -> Option<String> {
    match reading {
        Reading::Agrees => None,
        Reading::Refuses(why) => Some(format!("refuses it: {why}")),
        Reading::Differs(what) => Some(format!("reads it wrongly: {what}")),
    }
}

/// All tables for scripts, with what the program was compiled for and what it ran on.
#[must_use]
pub fn json(tables: &[Table], pace: Pace) -> String {
    let row = |row: &Row| {
        let timing = row.timing.map(|timing| {
            json!({
                "ns_per_metric": timing.ns,
                "ns_per_metric_min": timing.ns_min,
                "ns_per_metric_max": timing.ns_max,
                "gb_per_s": timing.gb_per_s,
                "allocations_per_metric": timing.allocations,
                "ratio_to_ours": timing.ratio,
            })
        });
        json!({ "parser": row.parser, "remark": remark(&row.reading), "timing": timing })
    };
    let table = |table: &Table| {
        json!({
            "input": table.input,
            "batches": table.batches,
            "metrics": table.metrics,
            "bytes": table.bytes,
            "parsers": table.rows.iter().map(row).collect::<Vec<Value>>(),
        })
    };
    let document = json!({
        "benchmark": "benchmark_json_parser",
        "architecture": env::consts::ARCH,
        "compiled_for": compiled_for(),
        "rounds": pace.rounds,
        "inputs": tables.iter().map(table).collect::<Vec<Value>>(),
    });
    format!("{document:#}\n")
}

/// Which vector instructions the compiler was free to use. simd-json looks for them when it runs, whatever this says.
#[must_use]
pub fn compiled_for() -> &'static str {
    if cfg!(target_feature = "avx512bw") {
        "avx512"
    } else if cfg!(target_feature = "avx2") {
        "avx2"
    } else {
        "the architecture's baseline"
    }
}

/// Returns true if ours is fast enough on every input, and a line for each that says how fast.
#[must_use]
pub fn gate(tables: &[Table]) -> (bool, String) {
    let mut lines = String::new();
    let mut passed = true;
    for table in tables {
        let ratio = table.rows.iter().find(|row| row.parser == NAIVE).and_then(|row| row.timing);
        let good = ratio.is_some_and(|timing| timing.ratio >= NAIVE_RATIO_MIN);
        passed &= good;
        let verdict = if good { "ok" } else { "TOO SLOW" };
        // Writing into a String cannot fail.
        let _ = match ratio {
            Some(timing) => {
                writeln!(lines, "gate: {:<24}{OURS} {:>6.2} x {NAIVE}: {verdict}", table.input, timing.ratio)
            }
            None => writeln!(lines, "gate: {:<24}{NAIVE} refuses it: no ratio", table.input),
        };
    }
    (passed, lines)
}
