//! The rules of the tree that no compiler holds: sizes, words, links, and what must be listed where. Reads files only,
//! and takes well under a second. A rule that the tree does not hold yet has a list of exceptions beside it; a list
//! may only get shorter, and an entry that is no longer needed fails its test.
#![expect(clippy::unwrap_used, reason = "in the server unwrap() is a way to stop it; here it is an assertion")]

mod borders;
mod docs;
mod host;
mod limits;
mod links;
mod public;
mod scripts;
mod sizes;
mod source;
mod tree;
mod words;

/// Fails with every finding, one a line, under a heading that says what to do.
fn no_findings(heading: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{heading}\n  {}\n", findings.join("\n  "));
}
