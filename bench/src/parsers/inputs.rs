//! Inputs of the parsers: batches as they come, and batches that are costly to parse.

use crate::body::{self, Body};
use std::{fmt::Write, path::Path};

/// A set of batches, walked through one after the other.
#[derive(Debug)]
pub struct Input {
    /// Name in the table.
    pub name: String,
    /// At least one.
    pub batches: Vec<Body>,
}

impl Input {
    fn new(name: &str, batches: Vec<Body>) -> Self {
        Self { name: name.to_owned(), batches }
    }

    /// Metrics in all batches.
    #[must_use]
    pub fn metrics(&self) -> u64 {
        self.batches.iter().map(|body| u64::from(body.metrics)).sum()
    }

    /// Bytes in all batches.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.batches.iter().map(|body| body.json.len() as u64).sum()
    }
}

/// Real metrics: scrapes of two node_exporters.
const NODE_EXPORTER: &str = include_str!("../../data/node_exporter.ndjson");

/// The batches in a file, one a line.
///
/// # Errors
/// Says what is wrong with the file.
pub fn from_file(path: &Path) -> Result<Input, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let batches = body::read_lines(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Input::new(&path.file_name().unwrap_or(path.as_os_str()).to_string_lossy(), batches))
}

/// The inputs that come with the program. None is larger than 2 MB, so all of an input stays in the cache of a core or
/// next to it.
///
/// # Panics
/// Never: the file inside is made of batches.
#[must_use]
pub fn built_in() -> Vec<Input> {
    let scrape = body::read_lines(NODE_EXPORTER).expect("node_exporter.ndjson is made of batches");
    vec![
        Input::new("3 metrics", body::generate(1, 64, 3)),
        Input::new("node_exporter", scrape),
        Input::new("1 metric", body::generate(2, 64, 1)),
        Input::new("10 metrics", body::generate(3, 64, 10)),
        Input::new("100 metrics", body::generate(4, 16, 100)),
        Input::new("1000 metrics", body::generate(5, 4, 1_000)),
        Input::new("pretty-printed", vec![pretty(100)]),
        Input::new("keys in odd order", vec![of_metrics(100, odd_order)]),
        Input::new("unknown fields", vec![of_metrics(100, unknown_fields)]),
        Input::new("unicode", vec![of_metrics(100, unicode)]),
        Input::new("escapes in values", vec![of_metrics(100, escaped_values)]),
        Input::new("nothing but escapes", vec![of_metrics(100, escapes_only)]),
        Input::new("long digits", vec![of_metrics(100, long_digits)]),
        Input::new("long strings", vec![of_metrics(100, long_strings)]),
        Input::new("16 tags", vec![of_metrics(100, |index| tags(index, 16, "k"))]),
        Input::new("128 tags", vec![of_metrics(50, |index| tags(index, 128, "k"))]),
        // Equal but for the last bytes, and escaped: what costs most to distinguish.
        Input::new("128 escaped tags", vec![of_metrics(50, |index| tags(index, 128, r"label_\u00e9_"))]),
    ]
}

/// A batch of `metrics` metrics, each made by `metric` from its index.
fn of_metrics(metrics: u32, metric: impl Fn(u32) -> String) -> Body {
    let list: Vec<String> = (0..metrics).map(metric).collect();
    Body { json: format!("{{\"metrics\":[{}]}}", list.join(",")), metrics }
}

fn pretty(metrics: u32) -> Body {
    let tight = &body::generate(6, 1, metrics)[0];
    let document: serde_json::Value = serde_json::from_str(&tight.json).expect("generated batches are JSON");
    let json = serde_json::to_string_pretty(&document).expect("a document without maps keyed by anything but text");
    Body { json, metrics }
}

fn odd_order(index: u32) -> String {
    format!(
        r#"{{"tags":{{"zone":"eu-1","host":"web-{index}"}},"timestamp":{},"type":"counter","value":{index}.25,"name":"requests_total"}}"#,
        1_767_323_045_678_u64 + u64::from(index)
    )
}

fn unknown_fields(index: u32) -> String {
    format!(
        r#"{{"unit":"seconds","name":"latency","help":"time, from \"accept\" to the last byte","value":0.{index},"exemplar":{{"trace":"4bf92f3577b34da6","path":[1,2,[3.5e-3,null,true]]}},"tags":{{"host":"web"}}}}"#
    )
}

fn unicode(index: u32) -> String {
    format!(
        r#"{{"name":"θερμοκρασία_{index}","value":{index}.5,"type":"gauge","tags":{{"πόλη":"Αθήνα","都市":"東京都千代田区","気分":"🙂🙃🙂"}}}}"#
    )
}

fn escaped_values(index: u32) -> String {
    format!(
        r#"{{"name":"disk_free_{index}","value":{index},"tags":{{"path":"C:\\data\\metrics\\{index}","note":"said \"no\"\tand left\n","city":"K\u00f6ln"}}}}"#
    )
}

fn escapes_only(index: u32) -> String {
    let (mut name, mut value) = (String::new(), String::new());
    for letter in format!("requests{index}").chars() {
        // Writing into a String cannot fail.
        let _ = write!(name, "\\u{:04x}", letter as u32);
    }
    for escape in [r"\ud83d\ude00", r"\n", r#"\""#, r"\u0001", r"\/", r"\u20ac"].iter().cycle().take(24) {
        value.push_str(escape);
    }
    format!(r#"{{"name":"{name}","value":1,"tags":{{"t":"{value}"}}}}"#)
}

fn long_digits(index: u32) -> String {
    let digits = "14159265358979323846264338327950288419";
    let value =
        if index.is_multiple_of(2) { format!("0.{index:04}{digits}") } else { format!("-{index}.{digits}e-31") };
    format!(r#"{{"name":"ratio","value":{value},"timestamp":1767323045678}}"#)
}

fn long_strings(index: u32) -> String {
    let (name, value) = ("n".repeat(250), "some text of a kilobyte. ".repeat(40));
    format!(r#"{{"name":"{name}{index}","value":{index},"tags":{{"stack":"{value}"}}}}"#)
}

fn tags(index: u32, count: u32, key: &str) -> String {
    let tags: Vec<String> = (0..count).map(|tag| format!(r#""{key}{tag}":"value-{tag}""#)).collect();
    format!(r#"{{"name":"wide","value":{index},"tags":{{{}}}}}"#, tags.join(","))
}
