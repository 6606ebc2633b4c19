//! Batches of metrics to send: made up from a seed, the same for the same seed, or read from a file.

use serde_json::Value;
use std::fmt::Write;
use testkit::random::Random;

/// One request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// A JSON document in the shape `POST /metrics` takes.
    pub json: String,
    /// Metrics in it.
    pub metrics: u32,
}

/// Metrics in a document.
pub(crate) fn count(document: &Value) -> usize {
    document.get("metrics").and_then(Value::as_array).map_or(0, Vec::len)
}

/// `count` batches of `metrics` metrics each. The same arguments give the same bytes. A batch of 3 is about 284 bytes:
/// a gauge, a counter and a histogram sample, with tags and without a timestamp, so that the time of arrival is stored.
#[must_use]
pub fn generate(seed: u64, count: usize, metrics: u32) -> Vec<Body> {
    let mut random = Random::new(seed);
    let body = |_| {
        let mut json = String::from("{\"metrics\":[");
        for index in 0..metrics {
            if index > 0 {
                json.push(',');
            }
            metric(&mut json, index, &mut random);
        }
        json.push_str("]}");
        Body { json, metrics }
    };
    (0..count).map(body).collect()
}

fn metric(json: &mut String, index: u32, random: &mut Random) {
    let host = random.below_u64(100);
    let (whole, cents) = (random.below_u64(100), random.below_u64(100));
    // Writing into a String cannot fail.
    let _ = match index % 3 {
        0 => write!(
            json,
            r#"{{"name":"cpu_usage","value":{whole}.{cents:02},"type":"gauge","tags":{{"host":"web-{host:02}","zone":"eu-1"}}}}"#
        ),
        1 => write!(
            json,
            r#"{{"name":"http_requests_total","value":{},"type":"counter","tags":{{"host":"web-{host:02}"}}}}"#,
            // Ten digits: more than a 32-bit float can hold, as counters in the field are.
            1_000_000_000 + random.below_u64(9_000_000_000)
        ),
        _ => write!(
            json,
            r#"{{"name":"http_request_seconds","value":0.{whole:02}{cents:02},"type":"histogram","tags":{{"host":"web-{host:02}"}}}}"#
        ),
    };
}

/// The batches in `text`, one JSON document a line; empty lines are skipped.
///
/// # Errors
/// Says which line is not `{"metrics":[…]}` with at least one metric, or that there is none at all.
pub fn read_lines(text: &str) -> Result<Vec<Body>, String> {
    let mut bodies = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let document: Value =
            serde_json::from_str(line).map_err(|error| format!("line {}: not JSON: {error}", index + 1))?;
        let metrics = u32::try_from(count(&document)).map_err(|error| format!("line {}: {error}", index + 1))?;
        if metrics == 0 {
            return Err(format!("line {}: no metrics in it; a batch is {{\"metrics\":[…]}}", index + 1));
        }
        bodies.push(Body { json: line.trim().to_owned(), metrics });
    }
    if bodies.is_empty() {
        return Err("no batch in it".to_owned());
    }
    Ok(bodies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        assert_eq!(generate(7, 16, 5), generate(7, 16, 5));
        assert_ne!(generate(7, 16, 5), generate(8, 16, 5));
        let batches = generate(7, 16, 5);
        assert!(batches.iter().any(|body| *body != batches[0]), "batches differ from each other");
    }

    #[test]
    fn a_batch_is_json_with_the_requested_number_of_metrics() {
        for metrics in [1, 2, 3, 4, 100, 1000] {
            for body in generate(1, 8, metrics) {
                let document: Value = serde_json::from_str(&body.json).unwrap();
                let list = document["metrics"].as_array().unwrap();
                assert_eq!(list.len(), metrics as usize);
                for metric in list {
                    assert!(!metric["name"].as_str().unwrap().is_empty());
                    assert!(metric["value"].as_f64().unwrap().is_finite());
                    assert!(["gauge", "counter", "histogram"].contains(&metric["type"].as_str().unwrap()));
                    assert!(metric["tags"]["host"].is_string());
                }
            }
        }
    }

    #[test]
    fn the_default_batch_is_the_workload_of_the_floor() {
        for body in generate(1, 64, 3) {
            assert!((280..=290).contains(&body.json.len()), "{} bytes: {}", body.json.len(), body.json);
        }
    }

    #[test]
    fn a_file_is_read_line_by_line() {
        let text = "{\"metrics\":[{\"name\":\"a\",\"value\":1}]}\n\n{\"metrics\":[1,2]}\r\n";
        let bodies = read_lines(text).unwrap();
        assert_eq!(bodies.iter().map(|body| body.metrics).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(bodies[1].json, "{\"metrics\":[1,2]}");
        for (text, says) in [("{\n", "line 1"), ("{}\n", "line 1"), ("{\"metrics\":[]}", "line 1"), ("\n", "no batch")]
        {
            assert!(read_lines(text).unwrap_err().contains(says), "{text:?}");
        }
        let scrape = include_str!("../data/node_exporter.ndjson");
        assert_eq!(read_lines(scrape).unwrap().len(), 24);
    }
}
