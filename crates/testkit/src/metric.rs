//! Sent and stored metrics in one form, so that the two can be compared: names and tags unescaped, numbers by their
//! digits, times in the log's form.
#![expect(clippy::unwrap_used, reason = "what fails to unwrap here fails the test that calls it")]

use crate::{
    json::{self, Json},
    log::lines,
};
use std::{collections::HashMap, path::Path};

/// One metric, as a line of the log shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// `YYYY-MM-DDTHH:MM:SS.mmmZ`; of a sent metric without one: empty.
    pub timestamp: String,
    /// Name, unescaped.
    pub name: String,
    /// Digits; `NaN`, `+Inf` or `-Inf`; or [`Metric::STALE`].
    pub value: String,
    /// `gauge`, `counter` and so on.
    pub kind: String,
    /// Keys and values, unescaped, in the order of the text.
    pub tags: Vec<(String, String)>,
}

impl Metric {
    /// The value of a stale marker.
    pub const STALE: &str = "stale NaN";

    /// A line of the log: exactly the five fields, in the order of the manual, and the flag of a stale marker.
    ///
    /// # Errors
    /// The line is no metric, with the reason.
    pub fn from_line(line: &str) -> Result<Self, String> {
        let Json::Object(mut fields) = json::parse(line)? else { return Err(format!("not an object: {line}")) };
        let is_stale = fields.get(3).is_some_and(|field| *field == ("stale".into(), Json::Word("true".into())));
        if is_stale {
            fields.remove(3);
        }
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        if names != ["timestamp", "name", "value", "type", "tags"] {
            return Err(format!("fields {names:?}: {line}"));
        }
        let mut values = fields.into_iter().map(|(_, value)| value);
        match [(); 5].map(|()| values.next().unwrap()) {
            [Json::Text(timestamp), Json::Text(name), value, Json::Text(kind), tags @ Json::Object(_)] => {
                let value = match (value, is_stale) {
                    (Json::Number(digits), false) => digits,
                    (Json::Text(text), false) if ["NaN", "+Inf", "-Inf"].contains(&text.as_str()) => text,
                    (Json::Text(text), true) if text == "NaN" => Self::STALE.to_owned(),
                    _ => return Err(format!("not a value: {line}")),
                };
                Ok(Self { timestamp, name, value, kind, tags: text_pairs(tags) })
            }
            _ => Err(format!("a field of the wrong kind: {line}")),
        }
    }

    /// An element of a batch, with the defaults of the manual filled in.
    fn from_sent(sent: Json) -> Self {
        let Json::Object(fields) = sent else { panic!("a metric is an object: {sent:?}") };
        let mut metric = Self {
            timestamp: String::new(),
            name: String::new(),
            value: String::new(),
            kind: "gauge".into(),
            tags: Vec::new(),
        };
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("name", Json::Text(text)) => metric.name = text,
                ("value", Json::Number(digits)) => metric.value = digits,
                ("type", Json::Text(text)) => metric.kind = text,
                ("timestamp", Json::Number(digits)) => metric.timestamp = rfc3339(digits.parse().unwrap()),
                ("tags", tags) => metric.tags = text_pairs(tags),
                (name, value) => panic!("{name}: {value:?}"),
            }
        }
        metric
    }
}

fn text_pairs(tags: Json) -> Vec<(String, String)> {
    let Json::Object(pairs) = tags else { panic!("tags are an object: {tags:?}") };
    let text = |value| match value {
        Json::Text(text) => text,
        other => panic!("a tag's value is a string: {other:?}"),
    };
    pairs.into_iter().map(|(key, value)| (key, text(value))).collect()
}

/// The metrics of one batch that is about to be sent.
#[must_use]
pub fn metrics_of(batch: &str) -> Vec<Metric> {
    let Ok(Json::Object(fields)) = json::parse(batch) else { panic!("a batch is an object: {batch}") };
    match fields.into_iter().find(|(name, _)| name == "metrics") {
        Some((_, Json::List(metrics))) => metrics.into_iter().map(Metric::from_sent).collect(),
        other => panic!("metrics are a list: {other:?}"),
    }
}

/// The metrics in `metrics.jsonl` in `directory`, every line of it checked.
#[must_use]
pub fn metrics(directory: &Path) -> Vec<Metric> {
    lines(directory).iter().map(|line| Metric::from_line(line).unwrap()).collect()
}

/// Epoch milliseconds in the log's form (days to civil date: Howard Hinnant, chrono-Compatible Low-Level Date
/// Algorithms).
#[must_use]
pub fn rfc3339(epoch_ms: i64) -> String {
    let (days, ms) = (epoch_ms.div_euclid(86_400_000), epoch_ms.rem_euclid(86_400_000));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

/// A batch that can be found again: each metric carries the batch's unique name, its own index in it and their number.
#[must_use]
pub fn marked_batch(mark: &str, metrics: usize) -> String {
    let list: Vec<String> = (0..metrics)
        .map(|index| {
            format!(r#"{{"name":"crash_test","value":{index},"tags":{{"batch":"{mark}","index":"{index}","of":"{metrics}"}}}}"#)
        })
        .collect();
    format!(r#"{{"metrics":[{}]}}"#, list.join(","))
}

/// Counts how often each batch made by [`marked_batch`] is in `metrics`.
///
/// # Panics
/// When a batch is there in part, out of order, or mixed with another.
#[must_use]
pub fn marked_batches(metrics: &[Metric]) -> HashMap<String, usize> {
    let mut found = HashMap::new();
    let mut rest = metrics.iter();
    while let Some(first) = rest.next() {
        let tag = |metric: &Metric, key| {
            let pair = metric.tags.iter().find(|(name, _)| name == key);
            pair.unwrap_or_else(|| panic!("no tag {key}: {metric:?}")).1.clone()
        };
        let (mark, of) = (tag(first, "batch"), tag(first, "of"));
        assert_eq!(tag(first, "index"), "0", "batch {mark} begins in the middle");
        for index in 1..of.parse().unwrap() {
            let next: &Metric = rest.next().unwrap_or_else(|| panic!("batch {mark} of {of} ends after {index}"));
            assert_eq!(
                (tag(next, "batch"), tag(next, "index")),
                (mark.clone(), index.to_string()),
                "batch {mark} of {of}"
            );
        }
        *found.entry(mark).or_insert(0) += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_civil_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_827_696_789), "2000-02-29T12:34:56.789Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(1_767_323_045_678), "2026-01-02T03:04:05.678Z");
    }
}
