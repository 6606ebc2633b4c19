//! The files of the work tree, without what is built, recorded or vendored.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Directories that hold no source: build products, the server's data, recordings, and stored benchmark runs.
const SKIPPED: [&str; 5] = ["target", ".git", "data", "perf/out", "perf/runs"];

/// One text file: its path from the root of the workspace, with `/`, and its text.
pub struct File {
    pub path: String,
    pub text: String,
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap())
}

/// Reads every file whose name ends with one of `endings`, in the order of their paths.
pub fn files(endings: &[&str]) -> Vec<File> {
    let (root, mut found) = (root(), Vec::new());
    collect(&root, &root, endings, &mut found);
    assert!(!found.is_empty(), "no file under {} ends with one of {endings:?}", root.display());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(root: &Path, directory: &Path, endings: &[&str], found: &mut Vec<File>) {
    for entry in fs::read_dir(directory).unwrap() {
        let (entry, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
        let path = entry.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if kind.is_dir() && !SKIPPED.contains(&path.as_str()) {
            collect(root, &entry, endings, found);
        } else if kind.is_file() && endings.iter().any(|ending| path.ends_with(ending)) {
            let text = fs::read_to_string(&entry).unwrap_or_else(|error| panic!("{path}: {error}"));
            found.push(File { path, text });
        }
    }
}
