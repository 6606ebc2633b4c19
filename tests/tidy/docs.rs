//! Doc comments begin with what the thing is, and public items of the crates are used.

use std::collections::BTreeMap;

use crate::{no_findings, tree};

/// First words of a doc comment that names nothing: neither a noun nor a verb of the item stands before them.
const HEADLESS: [&str; 8] = ["How", "Its", "Of", "What", "Where", "Whether", "Who", "Whose"];

/// Headless doc comments that are left, by directory: their number may only go down, and where none is listed there
/// is none.
const LEFT: &[(&str, usize)] = &[
    ("crates/http1", 6),
    ("crates/log", 2),
    ("crates/machine", 12),
    ("crates/metric", 13),
    ("sim", 6),
    ("src/forward", 7),
    ("src/limits.rs", 1),
    ("src/profile", 5),
    ("src/query_pool", 5),
    ("src/stats", 2),
    ("src/ui", 1),
    ("tests", 4),
];

/// The signs of doc comments: of an item, and of a file or module.
const SIGNS: [&str; 2] = ["///", "//!"];

/// The numbers of the lines, from 1, on which a headless doc comment begins.
fn headless(text: &str) -> Vec<usize> {
    let (mut found, mut sign_before) = (Vec::new(), None);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let sign = SIGNS.into_iter().find(|sign| line.starts_with(sign));
        if let Some(sign) = sign.filter(|_| sign != sign_before) {
            let first = line[sign.len()..].split_whitespace().next().unwrap_or_default();
            found.extend(HEADLESS.contains(&first).then_some(index + 1));
        }
        sign_before = sign;
    }
    found
}

/// The directory that a file is counted under: a crate, a module of the server, or a directory of the root.
fn directory(path: &str) -> String {
    let depth = if path.starts_with("crates/") || path.starts_with("src/") { 2 } else { 1 };
    path.split('/').take(depth).collect::<Vec<_>>().join("/")
}

#[test]
fn headless_doc_comments_become_fewer() {
    let mut places = BTreeMap::<String, Vec<String>>::new();
    for file in tree::files(&[".rs"]) {
        let lines = headless(&file.text).into_iter().map(|line| format!("{}:{line}", file.path));
        places.entry(directory(&file.path)).or_default().extend(lines);
    }
    let left: BTreeMap<_, _> = LEFT.iter().copied().collect();
    let mut findings = Vec::new();
    for (directory, places) in &places {
        let allowed = left.get(directory.as_str()).copied().unwrap_or_default();
        if places.len() > allowed {
            findings.push(format!("{directory}: {}, allowed are {allowed}: {}", places.len(), places.join(" ")));
        }
    }
    for (directory, _) in LEFT.iter().filter(|(directory, _)| places.get(*directory).is_none_or(Vec::is_empty)) {
        findings.push(format!("{directory}: the exception is no longer needed"));
    }
    no_findings(
        "doc comments that do not begin with a noun phrase or a verb (house rules, CONTRIBUTING.md):",
        &findings,
    );
}

#[test]
fn a_headless_doc_comment_is_found_by_its_first_line() {
    let text = concat!(
        "//! What it is.\n//!\n//! How it is.\n\n/// A thing.\n/// Of what follows.\n",
        "struct A {\n    /// Its name.\n    b: u8,\n}\n",
    );
    assert_eq!(headless(text), [1, 8]);
}
