//! The shell scripts: each can be parsed, has a help, stands in the index, and finds programs in one way.

use std::process::{Command, Stdio};

use crate::no_findings;
use crate::tree::{self, File};

/// The scripts that a person runs.
fn scripts() -> Vec<File> {
    let mut files = tree::files(&[".sh"]);
    files.retain(|file| file.path.starts_with("scripts/") || file.path.starts_with("perf/"));
    assert!(files.len() > 20, "the scripts are no longer where this test looks");
    files
}

#[test]
fn scripts_can_be_parsed() {
    let mut findings = Vec::new();
    for file in tree::files(&[".sh", ".bash"]) {
        let output = Command::new("bash").arg("-n").arg(tree::root().join(&file.path)).output().unwrap();
        if !output.status.success() || !output.stderr.is_empty() {
            findings.push(format!("{}: {}", file.path, String::from_utf8_lossy(&output.stderr)));
        }
    }
    no_findings("bash -n:", &findings);
}

#[test]
fn each_script_says_how_it_is_used() {
    let mut findings = Vec::new();
    for file in scripts() {
        let script = tree::root().join(&file.path);
        // `timeout` is bash's neighbour in coreutils: a script that builds or waits before it helps is a finding, and
        // no hang.
        let mut help = Command::new("timeout");
        let output = help.args(["30", "bash"]).arg(script).arg("--help").stdin(Stdio::null()).output().unwrap();
        let (name, text) = (file.path.rsplit('/').next().unwrap(), String::from_utf8_lossy(&output.stdout));
        if !output.status.success() || !text.starts_with(&format!("usage: {name}")) {
            findings.push(format!("{}: {}, {:?}", file.path, output.status, text.lines().next()));
        }
    }
    no_findings("scripts without a help on standard output that begins with `usage: NAME`:", &findings);
}

/// Ways to name where cargo puts programs.
const BUILT: [&str; 4] = ["target/release", "target/debug", "target}/release", "target/{release"];
/// The files that turn `BINARIES` into a directory.
const FINDERS: [&str; 3] = ["scripts/prologue.bash", "scripts/torture.bash", "perf/perf.bash"];

#[test]
fn scripts_find_programs_by_the_variable_binaries() {
    let mut findings = Vec::new();
    for file in tree::files(&[".sh", ".bash"]) {
        let is_finder = FINDERS.contains(&file.path.as_str());
        if !is_finder && let Some(name) = BUILT.iter().find(|name| file.text.contains(**name)) {
            findings.push(format!("{}: {name}", file.path));
        }
        let uses = file.text.contains("need_binaries ") || file.text.contains("build_torture");
        let is_said = file.text.contains("\nenvironment: BINARIES ");
        if file.path.ends_with(".sh") && uses != is_said {
            findings.push(format!("{}: BINARIES is {}", file.path, if uses { "not in its help" } else { "not used" }));
        }
    }
    no_findings("scripts that do not find their programs by BINARIES alone:", &findings);
    for finder in FINDERS {
        let text = std::fs::read_to_string(tree::root().join(finder)).unwrap();
        assert!(text.contains("${BINARIES:-"), "{finder} takes BINARIES before what cargo builds");
    }
}

#[test]
fn the_justfile_lists_each_script() {
    let index = std::fs::read_to_string(tree::root().join("justfile")).unwrap();
    let missing: Vec<_> = scripts().into_iter().map(|file| file.path).filter(|path| !index.contains(path)).collect();
    no_findings("scripts without a recipe in the justfile:", &missing);
    let lines: Vec<_> = index.lines().filter(|line| !line.starts_with('[')).collect();
    let is_recipe = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains(':');
    let undocumented = lines.windows(2).filter(|pair| is_recipe(pair[1]) && !pair[0].starts_with("# "));
    let undocumented: Vec<_> = undocumented.map(|pair| pair[1].to_owned()).collect();
    no_findings("recipes without a comment before them:", &undocumented);
}
