//! Conditions of `--fail-if`: a bound on a figure of the report, or the verdict of a comparison.

use super::baseline::Change;
use serde_json::Value;
use std::fmt;

/// One condition that fails a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// A figure differs from the baseline to the worse, beyond noise.
    Worse,
    /// The comparison gives no verdict on a figure.
    Undecided,
    /// A figure is on the wrong side of a bound.
    Bound {
        /// As it was typed.
        text: String,
        /// JSON pointer to the figure in the report.
        pointer: String,
        /// It fails above the bound; else below.
        above: bool,
        /// It fails at the bound too.
        inclusive: bool,
        /// In the unit of the report.
        bound: f64,
    },
}

/// Figures by name: where they stand in the report, and the unit they are typed in.
const FIGURES: [(&str, &str, Unit); 10] = [
    ("throughput", "/requests_per_second", Unit::Count),
    ("success", "/success_percent", Unit::Percent),
    ("achieved", "/achieved_percent", Unit::Percent),
    ("failed", "/failed", Unit::Count),
    ("missed", "/missed_sends", Unit::Count),
    ("late", "/late_sends", Unit::Count),
    ("unsolicited", "/connections_unsolicited", Unit::Count),
    ("server_cpu", "/server_cpu_us_per_request", Unit::Time),
    ("own_cpu", "/cpu_us_per_request", Unit::Time),
    ("connect_p99", "/connect_us/p99", Unit::Time),
];
/// Latencies, which stand together.
const LATENCIES: [&str; 10] = ["min", "mean", "p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99", "max"];

#[derive(Debug, Clone, Copy)]
enum Unit {
    /// us, ms or s.
    Time,
    /// A share, with or without its sign.
    Percent,
    /// A number, `k` behind it for thousands.
    Count,
}

impl Unit {
    fn read(self, text: &str) -> Option<f64> {
        let number = |text: &str, by: f64| text.trim().parse::<f64>().ok().map(|number| number * by);
        let value = match self {
            Self::Time => match (text.strip_suffix("us"), text.strip_suffix("ms"), text.strip_suffix('s')) {
                (Some(micros), ..) => number(micros, 1.0),
                (None, Some(millis), _) => number(millis, 1e3),
                (None, None, Some(seconds)) => number(seconds, 1e6),
                _ => None,
            },
            Self::Percent => number(text.strip_suffix('%').unwrap_or(text), 1.0),
            Self::Count => text.strip_suffix('k').map_or_else(|| number(text, 1.0), |thousands| number(thousands, 1e3)),
        };
        value.filter(|value| value.is_finite())
    }
}

/// Reads a condition: `worse`, `undecided`, or `FIGURE<BOUND`.
pub(super) fn condition(text: &str) -> Result<Condition, String> {
    match text {
        "worse" => return Ok(Condition::Worse),
        "undecided" => return Ok(Condition::Undecided),
        _ => {}
    }
    let Some(at) = text.find(['<', '>']) else {
        return Err("a condition is worse, undecided, or a figure with its bound, as p99>5ms".to_owned());
    };
    let (name, rest) = (text[..at].trim(), &text[at + 1..]);
    let (bound, inclusive) = rest.strip_prefix('=').map_or((rest, false), |bound| (bound, true));
    let known =
        FIGURES.iter().find(|(known, ..)| *known == name).map(|(_, pointer, unit)| ((*pointer).to_owned(), *unit));
    let latency = LATENCIES.contains(&name).then(|| (format!("/latency_us/{name}"), Unit::Time));
    let (pointer, unit) = known.or(latency).ok_or_else(|| {
        let names = FIGURES.iter().map(|(name, ..)| *name).chain(LATENCIES).collect::<Vec<_>>().join(", ");
        format!("no figure '{name}'; there are {names}")
    })?;
    let bound = unit.read(bound.trim()).ok_or(match unit {
        Unit::Time => "a time has its unit: 500us, 5ms, 1s",
        Unit::Percent => "a share is a number of per cent",
        Unit::Count => "a bound is a number, as 20000 or 20k",
    })?;
    Ok(Condition::Bound { text: text.to_owned(), pointer, above: text[at..].starts_with('>'), inclusive, bound })
}

impl Condition {
    /// Why the run fails by this condition, if it does. A figure that was not measured meets no bound, and so fails.
    pub(super) fn failure(&self, report: &Value, changes: &[Change]) -> Option<String> {
        match self {
            Self::Worse => changes.iter().find(|change| change.is_worse()).map(|change| format!("worse: {change}")),
            Self::Undecided => {
                changes.iter().find(|change| change.is_undecided()).map(|change| format!("undecided: {change}"))
            }
            Self::Bound { text, pointer, above, inclusive, bound } => {
                let Some(figure) = report.pointer(pointer).and_then(Value::as_f64) else {
                    return Some(format!("{text}: it was not measured"));
                };
                let fails = if *above { figure > *bound } else { figure < *bound };
                #[expect(clippy::float_cmp, reason = "the bound itself, as typed")]
                let at_it = *inclusive && figure == *bound;
                (fails || at_it).then(|| format!("{text}: it is {figure:.3}"))
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Worse => "worse",
            Self::Undecided => "undecided",
            Self::Bound { text, .. } => text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bound_is_read_in_its_unit_and_held() {
        let report = json!({"latency_us": {"p99": 5000.0, "p99.9": null}, "success_percent": 99.5,
            "requests_per_second": 20_000.0, "failed": 3});
        for (text, fails) in [
            ("p99>5ms", false),
            ("p99>=5ms", true),
            ("p99>4999us", true),
            ("p99>0.005s", false),
            ("p99 < 6ms", true),
            ("success<99.9%", true),
            ("success<99", false),
            ("throughput<20k", false),
            ("throughput<=20000", true),
            ("failed>2", true),
            ("p99.9>1s", true),
            ("missed>0", true),
        ] {
            let condition = condition(text).unwrap();
            assert_eq!(condition.failure(&report, &[]).is_some(), fails, "{text}");
            assert_eq!(condition.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in
            ["", "p99", "p99>5", "p99>ms", "p98>5ms", "success<x%", "throughput<infk", "better", "p99=5ms", "<5ms"]
        {
            assert!(condition(text).is_err(), "{text}");
        }
    }
}
