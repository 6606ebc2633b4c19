//! Every bound has a unit and a reason.

use crate::{no_findings, tree};

/// Words for what a limit counts, where that is not bytes, a time or a plural: a depth in levels, a nice value, the
/// mode of a file, a level of compression, connections in a backlog, bits of a prefix, a ratio.
const SCALES: [&str; 12] =
    ["DEPTH", "NICE", "MODE", "LEVEL", "BACKLOG", "PREFIX", "RATIO", "COUNT", "PERCENT", "LOG", "LIMIT", "SIZE"];
/// The units of time that a name ends with.
const TIMES: [&str; 4] = ["S", "MS", "US", "NS"];
/// Constants that are units themselves.
const UNITS: [&str; 2] = ["KIB", "MIB"];
/// Words of a doc comment below which it cannot have said both what is bounded and why.
const WORDS_MIN: usize = 6;

/// A public constant: its name, its type, and the words of its doc comment.
struct Constant {
    name: String,
    kind: String,
    doc: String,
}

fn constants(text: &str) -> Vec<Constant> {
    let (mut found, mut doc) = (Vec::new(), String::new());
    for line in text.lines() {
        if let Some(words) = line.trim_start().strip_prefix("///") {
            doc.push_str(words);
        } else if let Some((name, rest)) = line.strip_prefix("pub const ").and_then(|rest| rest.split_once(':')) {
            let kind = rest.split('=').next().unwrap().trim().to_owned();
            found.push(Constant { name: name.to_owned(), kind, doc: std::mem::take(&mut doc) });
        } else {
            doc.clear();
        }
    }
    found.retain(|constant| !constant.name.starts_with("fn ") && !UNITS.contains(&constant.name.as_str()));
    found
}

fn has_unit(constant: &Constant) -> bool {
    let words: Vec<_> = constant.name.split('_').collect();
    let is_unit = |word: &&str| SCALES.contains(word) || TIMES.contains(word) || word.len() > 2 && word.ends_with('S');
    constant.kind == "Duration" || words.iter().any(is_unit)
}

fn has_reason(constant: &Constant) -> bool {
    constant.doc.contains("See `")
        || constant.doc.contains("See [`")
        || constant.doc.split_whitespace().count() >= WORDS_MIN
}

#[test]
fn limits_have_a_unit_and_a_reason() {
    let files = tree::files(&["limits.rs"]);
    let constants: Vec<_> =
        files.iter().filter(|file| !file.path.contains("tests/")).flat_map(|file| constants(&file.text)).collect();
    assert!(constants.len() > 100, "the limits of the server are no longer where this test looks: {}", constants.len());
    let mut findings = Vec::new();
    for constant in &constants {
        let name = &constant.name;
        if !has_unit(constant) {
            findings.push(format!("{name}: the name has no unit"));
        }
        if !has_reason(constant) {
            findings.push(format!("{name}: the doc comment has no reason: {:?}", constant.doc));
        }
    }
    no_findings("limits:", &findings);
}
