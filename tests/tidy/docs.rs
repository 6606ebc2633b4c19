//! Doc comments begin with what the thing is, and public items of the crates are used.

use crate::{no_findings, tree};

/// First words of a doc comment that names nothing: neither a noun nor a verb of the item stands before them.
const HEADLESS: [&str; 8] = ["How", "Its", "Of", "What", "Where", "Whether", "Who", "Whose"];

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

#[test]
fn no_doc_comment_is_headless() {
    let lines = |file: tree::File| headless(&file.text).into_iter().map(move |line| format!("{}:{line}", file.path));
    let findings: Vec<_> = tree::files(&[".rs"]).into_iter().flat_map(lines).collect();
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
