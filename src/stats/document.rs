//! `GET /stats`: the whole state as one JSON document, for people and scripts. What is in it, and in which order, is
//! the table of `registry`.

use super::{
    Counters, Distribution, Number, Protocol,
    collector::Span,
    exposition::in_units,
    observer::Snapshot,
    registry::{Read, Reading, Statistic, TABLE, Unit},
};
use http1::Status;
use serde_json::{Map, Value, json};

/// The quantiles in the document.
const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.95, "p95"), (0.99, "p99"), (0.999, "p99_9")];
/// Nanoseconds shown as microseconds.
const MICROSECONDS: u64 = 1_000;

/// The fraction `part / whole`; 1 if `whole` is 0, because nothing failed.
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { in_units(part, whole) }
}

/// Quantiles, maximum and count.
fn quantiles(distribution: &Distribution, per_unit: u64) -> Map<String, Value> {
    let shown = |value: u64| if per_unit == 1 { json!(value) } else { json!(in_units(value, per_unit)) };
    let mut map: Map<String, Value> =
        QUANTILES.iter().map(|&(quantile, name)| (name.to_owned(), shown(distribution.quantile(quantile)))).collect();
    map.insert("max".into(), shown(distribution.max()));
    map.insert("count".into(), json!(distribution.count()));
    map
}

/// Rates per second, and the fractions of success and failure.
pub(super) fn rates(span: &Span<'_>) -> Value {
    let seconds = span.length.as_secs_f64().max(f64::EPSILON);
    let counters = span.counters;
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown to a few digits")]
    let per_second = |count: u64| json!((count as f64 / seconds * 10.0).round() / 10.0);
    let decided = counters.batches_stored + counters.rejected() + counters.shed();
    json!({
        "seconds": seconds,
        "requests_per_second": per_second(counters.requests()),
        "connections_per_second": per_second(counters.connections_accepted),
        "batches_per_second": per_second(counters.batches_received),
        "metrics_per_second": per_second(counters.metrics_stored),
        "body_bytes_per_second": per_second(counters.body_bytes_received),
        "line_bytes_per_second": per_second(counters.line_bytes),
        "success_ratio": ratio(counters.batches_stored, decided),
        "failure_ratio": 1.0 - ratio(counters.batches_stored, decided),
        "rejected_ratio": 1.0 - ratio(decided - counters.rejected(), decided),
        "shed_ratio": 1.0 - ratio(decided - counters.shed(), decided),
    })
}

/// Responses by status.
pub(super) fn by_status(counters: &Counters) -> Value {
    let count = |status: &Status| (status.code().to_string(), json!(counters.responses(*status)));
    Value::Object(Status::ALL.iter().map(count).collect())
}

/// A reading as a part of the document; `None` for one that is not for it.
fn value(reading: Reading<'_>) -> Option<Value> {
    Some(match reading {
        Reading::Number(Number::Whole(number)) => json!(number),
        Reading::Number(Number::Real(number)) => json!(number),
        Reading::Flag(flag) => json!(flag),
        Reading::Json(value) => value,
        Reading::Absent => Value::Null,
        Reading::By(_, values) => {
            let members = values.into_iter().filter_map(|(name, reading)| Some((name.to_owned(), value(reading)?)));
            Value::Object(members.collect())
        }
        Reading::Samples(_) => return None,
        Reading::Distribution(unit, all, interval) => {
            let per_unit = if unit == Unit::Times { MICROSECONDS } else { 1 };
            let mut map = quantiles(&all, per_unit);
            map.extend(interval.map(|interval| ("interval".into(), Value::Object(quantiles(interval, per_unit)))));
            Value::Object(map)
        }
    })
}

/// Puts `value` at `place`, and the objects that lead to it.
fn put(document: &mut Map<String, Value>, place: &str, value: Value) {
    match place.split_once('/') {
        None => drop(document.insert(place.to_owned(), value)),
        Some((name, rest)) => {
            let object = document.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(object) = object {
                put(object, rest, value);
            }
        }
    }
}

/// The object of one owner: the statistics that `read` finds there.
fn owned<'a>(read: impl Fn(&Read) -> Option<Reading<'a>>) -> Map<String, Value> {
    let mut object = Map::new();
    for statistic in TABLE.iter().filter(|statistic| !statistic.json.is_empty()) {
        if let Some(value) = read(&statistic.read).and_then(value) {
            put(&mut object, statistic.json, value);
        }
    }
    object
}

/// The statistic at a place in the document, and the place within its value: empty, or with a slash before it. Places
/// of forwards and protocols are not found.
fn find(place: &str) -> Option<(&'static Statistic, &str)> {
    let of_reactors = place.strip_prefix("reactors/");
    let place = of_reactors.unwrap_or(place);
    let is_owned = |read: &Read| match read {
        Read::Server(_) => of_reactors.is_none(),
        Read::Reactor(_) => of_reactors.is_some(),
        Read::Forward(_) | Read::Protocol(_) => false,
    };
    TABLE.iter().filter(|statistic| !statistic.json.is_empty() && is_owned(&statistic.read)).find_map(|statistic| {
        let rest = place.strip_prefix(statistic.json)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((statistic, rest))
    })
}

/// Returns true if a statistic has this place in the document.
#[cfg(test)]
pub(super) fn has_place(place: &str) -> bool {
    find(place).is_some()
}

/// The values of the statistic at a place in the document: one of each label, and at `reactors/…` those of each
/// reactor.
pub(super) fn values(snapshot: &Snapshot<'_>, place: &str) -> Vec<Value> {
    let Some((statistic, rest)) = find(place) else { return Vec::new() };
    let readings = match statistic.read {
        Read::Server(read) => vec![read(snapshot)],
        Read::Reactor(read) => snapshot.collected.reports().map(read).collect(),
        Read::Forward(_) | Read::Protocol(_) => Vec::new(),
    };
    let mut found = Vec::new();
    for reading in readings {
        match value(reading).as_mut().and_then(|value| value.pointer_mut(rest)).map(Value::take) {
            Some(Value::Object(labels)) => found.extend(labels.into_values()),
            Some(value) => found.push(value),
            None => {}
        }
    }
    found
}

/// The document.
pub fn document(snapshot: &Snapshot<'_>) -> Vec<u8> {
    let mut document = Map::new();
    for Statistic { json, read, .. } in TABLE.iter().filter(|statistic| !statistic.json.is_empty()) {
        // The first statistic of a reactor stands for those of all reactors, and so on.
        let (place, value) = match read {
            Read::Server(read) => match value(read(snapshot)) {
                Some(value) => (*json, value),
                None => continue,
            },
            Read::Reactor(_) if !document.contains_key("reactors") => ("reactors", reactors(snapshot)),
            Read::Forward(_) if !document.contains_key("forwards") => ("forwards", forwards(snapshot)),
            Read::Protocol(_) if !document.contains_key("protocols") => ("protocols", protocols(snapshot)),
            Read::Reactor(_) | Read::Forward(_) | Read::Protocol(_) => continue,
        };
        put(&mut document, place, value);
    }
    if snapshot.limiter.is_none() {
        put(&mut document, "limiter", Value::Null);
    }
    super::observer::pretty(&Value::Object(document))
}

fn reactors(snapshot: &Snapshot<'_>) -> Value {
    let each = snapshot
        .collected
        .reports()
        .map(|report| owned(|read| if let Read::Reactor(read) = read { Some(read(report)) } else { None }));
    each.collect()
}

fn forwards(snapshot: &Snapshot<'_>) -> Value {
    let each = snapshot
        .forwards
        .iter()
        .map(|status| owned(|read| if let Read::Forward(read) = read { Some(read(status)) } else { None }));
    each.collect()
}

fn protocols(snapshot: &Snapshot<'_>) -> Value {
    let each = Protocol::ALL.iter().map(|&protocol| {
        let object =
            owned(|read| if let Read::Protocol(read) = read { Some(read((snapshot, protocol))) } else { None });
        (protocol.label().to_owned(), Value::Object(object))
    });
    Value::Object(each.collect())
}
