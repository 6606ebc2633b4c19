//! A batch of JSON against serde_json: both take it or both refuse it, and the lines are the same to the byte.
#![no_main]

use fuzz::{ARRIVAL_MS, BOUNDS};
use libfuzzer_sys::fuzz_target;
use metric::{BatchEncoder, BatchError, Encoded, Lines, format_timestamp, parse_timestamp};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::{cell::RefCell, fmt};

thread_local! {
    static ENCODER: RefCell<(BatchEncoder, Vec<u8>)> = RefCell::new((BatchEncoder::new(BOUNDS), Vec::new()));
}

fuzz_target!(|data: &[u8]| {
    ENCODER.with_borrow_mut(|(encoder, out)| {
        // Exactly as many as are promised to do; what earlier batches have left in them is of no matter.
        let bytes_max = encoder.encoded_bytes_max(data.len());
        out.resize(out.len().max(bytes_max), b'#');
        let result = encoder.encode(data, ARRIVAL_MS, &mut out[..bytes_max]);
        compare(data, result, out);
    });
});

/// Compares what became of a batch, with its lines at the front of `out`, with what serde_json makes of it.
fn compare(data: &[u8], result: Result<Encoded, BatchError>, out: &[u8]) {
    match (result, expected(data)) {
        (Ok(encoded), Some(expected)) => {
            let lines = &out[..encoded.bytes];
            assert!(lines == expected.as_bytes(), "{}, not {}", lines.escape_ascii(), expected.escape_debug());
            assert_eq!(Lines::new(lines).filter(Result::is_ok).count(), encoded.metrics as usize);
        }
        (Err(error), None) => {
            assert!(error.byte <= data.len());
            let text = error.to_string();
            assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')), "{text}");
        }
        (Ok(_), None) => panic!("taken, to be refused"),
        (Err(error), Some(_)) => panic!("refused, to be taken: {error}"),
    }
}

/// The members of an object in their order, repeated ones too.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Collect)
    }
}

impl<'a> Members<'a> {
    /// The text of the one member called `key`: `Some(None)` without one and for a null, `None` if there are several.
    fn only(&self, key: &str) -> Option<Option<&'a str>> {
        let mut values = self.0.iter().filter(|member| member.0 == key).map(|member| member.1.get());
        let first = values.next();
        values.next().is_none().then_some(first)
    }
}

/// The lines of a batch, `None` if it is to be refused. Of a document that is nested deeper than the parser's bound
/// nothing is expected: the inputs that serde_json can be given for it have another bound.
fn expected(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    if depth(text) > metric::limits::JSON_DEPTH_MAX {
        return None;
    }
    check_all(text)?;
    let document: Members<'_> = serde_json::from_str(text).ok()?;
    let metrics: Vec<&RawValue> = serde_json::from_str(document.only("metrics")??).ok()?;
    if metrics.is_empty() || metrics.len() > BOUNDS.batch_metrics_limit {
        return None;
    }
    metrics.into_iter().map(|metric| line(metric.get())).collect()
}

/// Reads all of it, as nothing of a raw value is looked into but its end.
fn check_all(text: &str) -> Option<()> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    serde_json::from_str::<Strings>(text).ok().map(|_| ())
}

/// Any value, its strings read: an escape of half a surrogate pair is seen by nothing less.
struct Strings;

impl<'de> serde::Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Strings;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_bool<E>(self, _: bool) -> Result<Strings, E> {
                Ok(Strings)
            }
            fn visit_unit<E>(self) -> Result<Strings, E> {
                Ok(Strings)
            }
            fn visit_str<E>(self, _: &str) -> Result<Strings, E> {
                Ok(Strings)
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut elements: A) -> Result<Strings, A::Error> {
                while elements.next_element::<&RawValue>()?.map(|raw| deeper(raw.get())).transpose()?.is_some() {}
                Ok(Strings)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strings, A::Error> {
                while let Some((_, raw)) = map.next_entry::<String, &RawValue>()? {
                    deeper(raw.get())?;
                }
                Ok(Strings)
            }
        }
        from.deserialize_any(Each)
    }
}

/// A number is not read: one that no float holds is no fault of its text.
fn deeper<E: serde::de::Error>(raw: &str) -> Result<(), E> {
    match raw.as_bytes()[0] {
        b'{' | b'[' | b'"' => serde_json::from_str::<Strings>(raw).map(|_| ()).map_err(E::custom),
        _ => Ok(()),
    }
}

/// Levels of objects and arrays.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn line(text: &str) -> Option<String> {
    let metric: Members<'_> = serde_json::from_str(text).ok()?;
    let string = |text: &str| serde_json::from_str::<String>(text).ok();
    let is_null = |text: &&str| *text != "null";
    let name = string(metric.only("name")??)?;
    let value = metric.only("value")??;
    let fits = (1..=BOUNDS.name_bytes_limit).contains(&name.len());
    if !fits || !value.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
        return None;
    }
    let kind = match metric.only("type")?.filter(is_null) {
        None => "gauge".to_owned(),
        Some(kind) => string(kind).filter(|kind| ["gauge", "counter", "histogram", "summary"].contains(&&kind[..]))?,
    };
    let timestamp_ms = match metric.only("timestamp")?.filter(is_null) {
        None => ARRIVAL_MS,
        Some(text) if text.starts_with('"') => parse_timestamp(&string(text)?)?,
        Some(digits) => digits.parse().ok().filter(|ms| !(100_000_000..100_000_000_000_i64).contains(ms))?,
    };
    let in_range = metric::TIMESTAMP_MS_MIN..=metric::TIMESTAMP_MS_MAX;
    if !value.parse::<f64>().ok()?.is_finite() || !in_range.contains(&timestamp_ms) {
        return None;
    }
    let tags = metric.only("tags")?.filter(is_null).unwrap_or("{}");
    let tags: Members<'_> = serde_json::from_str(tags).ok()?;
    if tags.0.len() > BOUNDS.tags_limit {
        return None;
    }
    let spelled = |text: &str| serde_json::to_string(text).ok();
    let mut list = Vec::new();
    for (key, value) in &tags.0 {
        let value = string(value.get())?;
        tags.only(key)?;
        if key.len().max(value.len()) > BOUNDS.tag_bytes_limit {
            return None;
        }
        list.push(format!("{}:{}", spelled(key)?, spelled(&value)?));
    }
    let timestamp = String::from_utf8(format_timestamp(timestamp_ms).to_vec()).ok()?;
    let (name, tags) = (spelled(&name)?, list.join(","));
    Some(format!(
        "{{\"timestamp\":\"{timestamp}\",\"name\":{name},\"value\":{value},\"type\":\"{kind}\",\"tags\":{{{tags}}}}}\n"
    ))
}
