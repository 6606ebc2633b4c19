//! Links and paths in documents: their targets exist.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use crate::no_findings;
use crate::tree::{self, File};

/// The targets of `[text](target)`, without those on the web and without what stands in code.
fn targets(text: &str) -> Vec<&str> {
    let ends = text.match_indices("](").map(|(at, _)| &text[at + 2..]);
    let targets = ends.filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    targets.filter(|target| !target.contains("://") && !target.contains(char::is_whitespace)).collect()
}

/// The anchors of a document: its headings in lower case, spaces as hyphens, without punctuation.
fn anchors(text: &str) -> HashSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let slug = |heading: &str| -> String {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(slug).collect()
}

/// `path` without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => _ = plain.pop(),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

fn broken(file: &File, target: &str) -> bool {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let there = match path {
        "" => tree::root().join(&file.path),
        path => plain(&tree::root().join(Path::new(&file.path).parent().unwrap()).join(path)),
    };
    if !there.exists() {
        return true;
    }
    !anchor.is_empty() && !std::fs::read_to_string(there).is_ok_and(|text| anchors(&text).contains(anchor))
}

#[test]
fn links_of_documents_lead_somewhere() {
    let files = tree::files(&[".md"]);
    let links = files.iter().flat_map(|file| targets(&file.text).into_iter().map(move |target| (file, target)));
    let broken = links.filter(|(file, target)| broken(file, target));
    let findings: Vec<_> = broken.map(|(file, target)| format!("{}: {target}", file.path)).collect();
    no_findings("links to what is not there:", &findings);
}

/// The words in backquotes that look like a path of this tree: they have a slash, or end like a source file, and begin
/// with a directory of the root or stand for a file of it.
fn named_paths(text: &str) -> Vec<&str> {
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let first = quoted.map(|words| words.split_whitespace().next().unwrap_or(""));
    let is_name = |path: &&str| path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let begins = |path: &str| {
        let first = path.split('/').next().unwrap();
        !first.is_empty() && tree::root().join(first).is_dir() && path.contains('/')
    };
    let is_source = |path: &str| [".rs", ".md", ".toml", ".sh"].iter().any(|end| path.ends_with(end));
    first.filter(is_name).filter(|path| begins(path) || is_source(path) && path.contains('/')).collect()
}

/// Documents whose paths are directions to the reader, each from the root of the tree.
const DIRECTIONS: [&str; 6] =
    ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "RELIABILITY.md", "docs/tools.md", "SECURITY.md"];

#[test]
fn paths_that_documents_name_exist() {
    let mut findings = Vec::new();
    for document in DIRECTIONS {
        let text = std::fs::read_to_string(tree::root().join(document)).unwrap();
        let paths = named_paths(&text).into_iter().filter(|path| !ignored(path) && !tree::root().join(path).exists());
        findings.extend(paths.map(|path| format!("{document}: {path}")));
    }
    no_findings("paths that do not exist:", &findings);
}

/// The subjects that someone who knows Linux and Rust, but not this code, has to find from file names alone.
const SUBJECTS: [&str; 10] = [
    "HTTP parsing",
    "retention",
    "the watchdog",
    "the progress line",
    "messages to a core",
    "the per-block index",
    "the memory bound of a query",
    "the top clients",
    "CPU affinity",
    "graceful shutdown",
];

#[test]
fn where_to_look_lists_each_subject_with_its_files() {
    let text = std::fs::read_to_string(tree::root().join("CONTRIBUTING.md")).unwrap();
    let (_, section) = text.split_once("## Where to look").expect("CONTRIBUTING.md has the section");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let rows: Vec<_> = rows.filter(|(subject, _)| *subject != "subject").collect();
    for (subject, files) in &rows {
        let files: Vec<_> = files.split('`').skip(1).step_by(2).collect();
        assert!(!files.is_empty(), "{subject} has no file");
        for file in files {
            assert!(tree::root().join(file).is_file(), "{subject}: {file} is no file");
        }
    }
    for subject in SUBJECTS {
        assert!(
            rows.iter().any(|(row, _)| *row == subject),
            "CONTRIBUTING.md does not say where to look for {subject}"
        );
    }
}

/// Paths that the server or the build makes.
fn ignored(path: &str) -> bool {
    ["target/", "data/", "perf/out/"].iter().any(|made| path.starts_with(made))
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let homes = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];
    let mut findings = Vec::new();
    for file in
        tree::files(&[".rs", ".md", ".sh", ".bash", ".py", ".toml", ".yml", ".cfg", ".conf", ".service", ".run"])
    {
        for (index, line) in file.text.lines().enumerate() {
            let found = homes.iter().flat_map(|home| line.match_indices(home));
            // Within a longer path it is no place of a machine.
            if found.into_iter().any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '.')) {
                findings.push(format!("{}:{}", file.path, index + 1));
            }
        }
    }
    no_findings("paths of one machine:", &findings);
}

#[test]
fn anchors_are_made_as_the_web_makes_them() {
    let anchors = anchors("# A, `b` and C-d\n## What `fsync` costs\n");
    assert!(anchors.contains("a-b-and-c-d") && anchors.contains("what-fsync-costs"), "{anchors:?}");
}
