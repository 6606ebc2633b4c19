//! Sizes: the width of a line, the length of a function, of a file and of the name of a test.

use crate::source::{functions, split};
use crate::{no_findings, tree};

/// Columns of a line. rustfmt holds code to it, but neither comments nor strings.
const LINE_COLUMNS_MAX: usize = 120;
/// Lines of a function, from its `fn` to its closing brace: what one looks at without scrolling.
const FUNCTION_LINES_MAX: usize = 80;
/// Lines of a source file.
const FILE_LINES_MAX: usize = 700;
/// Characters of a test's name, so that a list of tests can be read.
const TEST_NAME_MAX: usize = 60;

/// Lines that are wider, by kind of file: their number may only go down.
const WIDE_LINES: &[(&str, usize)] = &[(".rs", 137), (".sh", 84), (".bash", 6), (".py", 28), (".md", 1)];
/// Tests whose names are longer: their number may only go down.
const LONG_TEST_NAMES: usize = 36;

#[test]
fn lines_have_120_columns_at_most() {
    let mut findings = Vec::new();
    for &(ending, allowed) in WIDE_LINES {
        let mut wide = Vec::new();
        for file in tree::files(&[ending]) {
            let lines = file.text.lines().enumerate();
            // A table of Markdown is one line a row, and a link cannot be broken.
            let lines = lines.filter(|(_, line)| ending != ".md" || !(line.starts_with('|') || line.contains("](")));
            let lines = lines.filter(|(_, line)| line.chars().count() > LINE_COLUMNS_MAX);
            wide.extend(lines.map(|(index, _)| format!("{}:{}", file.path, index + 1)));
        }
        if wide.len() > allowed {
            findings.push(format!("{ending}: {} lines, allowed are {allowed}: {}", wide.len(), wide.join(" ")));
        } else if wide.is_empty() && allowed > 0 {
            findings.push(format!("{ending}: the exception is no longer needed"));
        }
    }
    no_findings("lines over 120 columns:", &findings);
}

#[test]
fn functions_have_80_lines_at_most() {
    let mut findings = Vec::new();
    for file in tree::files(&[".rs"]) {
        let long =
            functions(&split(&file.text).code).into_iter().filter(|function| function.lines > FUNCTION_LINES_MAX);
        findings.extend(long.map(|long| format!("{}:{} {}: {}", file.path, long.line, long.name, long.lines)));
    }
    no_findings("functions over 80 lines (file:line name: lines):", &findings);
}

#[test]
fn files_have_700_lines_at_most() {
    let mut findings = Vec::new();
    for file in tree::files(&[".rs", ".sh", ".bash", ".py", ".md"]) {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.push(format!("{}: {lines}", file.path));
        }
    }
    no_findings("files over 700 lines:", &findings);
}

#[test]
fn names_of_tests_have_60_characters_at_most() {
    let mut long = Vec::new();
    for file in tree::files(&[".rs"]) {
        let tests = functions(&split(&file.text).code).into_iter().filter(|function| function.is_test);
        let tests = tests.filter(|test| test.name.len() > TEST_NAME_MAX);
        long.extend(tests.map(|test| format!("{}:{} {}", file.path, test.line, test.name)));
    }
    assert!(long.len() <= LONG_TEST_NAMES, "{} allowed, found:\n  {}", LONG_TEST_NAMES, long.join("\n  "));
    assert!(LONG_TEST_NAMES == 0 || !long.is_empty(), "the exception is no longer needed");
}
