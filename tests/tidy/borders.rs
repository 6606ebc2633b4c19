//! Which crate of the workspace may depend on which, and that the modules of the server import each other one way only.

use super::{no_findings, source, tree};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Every crate of the workspace, by its name within the code, and the others that it may depend on. What a crate may
/// not depend on it cannot import; a border is moved here, deliberately, before it can be crossed.
const BORDERS: &[(&str, &[&str])] = &[
    ("machine", &[]),
    ("host", &["machine"]),
    ("wake", &["host"]),
    ("reactor", &["machine", "wake"]),
    ("rate", &["host", "wake"]),
    ("metric", &[]),
    ("http1", &[]),
    ("log", &["host", "wake", "metric"]),
    ("query", &["host", "wake", "metric", "log"]),
    ("metricstream", &["host", "wake", "reactor", "rate", "metric", "http1", "log", "query"]),
    ("metricstream_bench", &["wake", "reactor", "rate", "metric", "http1", "log", "query", "metricstream", "testkit"]),
    ("testkit", &[]),
    ("torture", &["testkit"]),
];

/// The directory of each crate, and the one of the workspace itself.
fn manifests(root: &Path) -> Vec<std::path::PathBuf> {
    let mut found = ["Cargo.toml", "reactor/Cargo.toml", "bench/Cargo.toml", "tests/torture/Cargo.toml"]
        .map(|path| root.join(path))
        .to_vec();
    for entry in fs::read_dir(root.join("crates")).unwrap() {
        found.push(entry.unwrap().path().join("Cargo.toml"));
    }
    found
}

#[test]
fn a_crate_depends_only_on_crates_that_its_border_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| -> toml::Table {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let crates: Vec<(String, toml::Table)> = manifests(root)
        .iter()
        .map(|path| {
            let manifest = read(path);
            let package = manifest["package"]["name"].as_str().unwrap().replace('-', "_");
            let library = manifest.get("lib").and_then(|lib| lib.get("name")).and_then(toml::Value::as_str);
            (library.map_or(package, str::to_owned), manifest)
        })
        .collect();
    let borders: BTreeMap<_, _> = BORDERS.iter().copied().collect();
    let names: Vec<&str> = crates.iter().map(|(name, _)| name.as_str()).collect();
    for (name, manifest) in &crates {
        let allowed =
            borders.get(name.as_str()).unwrap_or_else(|| panic!("tests/tidy/borders.rs: BORDERS lacks {name}"));
        // Tests may use more than what they test does, so dev-dependencies are free.
        let Some(dependencies) = manifest.get("dependencies").and_then(toml::Value::as_table) else { continue };
        for dependency in dependencies.keys().map(|key| key.replace('-', "_")) {
            assert!(
                !names.contains(&dependency.as_str()) || allowed.contains(&dependency.as_str()),
                "{name} depends on {dependency}, and may only on {allowed:?}: it knows nothing of the rest; see tests/tidy/borders.rs"
            );
        }
    }
    for (name, _) in BORDERS {
        assert!(
            names.contains(name),
            "tests/tidy/borders.rs: BORDERS names {name}, which is no crate of the workspace"
        );
    }
}

/// Files that only tests compile, beside those called `tests`.
const TEST_FILES: &[&str] = &["src/doctor/made.rs"];

/// Returns the modules that `text` names right after `crate::`, in code that is no test.
fn imports(text: &str) -> BTreeSet<String> {
    let code = source::split(text).code;
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let word = |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut found = BTreeSet::<String>::new();
    for (at, path) in code.match_indices("crate::") {
        let rest = &code[at + path.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        found.insert(word(group));
        let mut depth = 0;
        for (at, c) in group.char_indices() {
            match c {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => drop(found.insert(word(&group[at + 1..]))),
                _ => {}
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn modules_of_the_server_import_each_other_one_way_only() {
    let mut graph = BTreeMap::<String, BTreeSet<String>>::new();
    for file in tree::files(&[".rs"]) {
        let Some(path) = file.path.strip_prefix("src/") else { continue };
        if path.contains("tests") || TEST_FILES.contains(&file.path.as_str()) || matches!(path, "lib.rs" | "main.rs") {
            continue;
        }
        let module = path.split(['/', '.']).next().unwrap_or_default();
        graph.entry(module.to_owned()).or_default().extend(imports(&file.text));
    }
    assert!(graph["cli"].contains("config"), "the scan finds no import: {graph:?}");
    let is_imported = |from: &str, to: &str| graph.get(from).is_some_and(|imported| imported.contains(to));
    let both = graph.keys().flat_map(|a| graph[a].iter().map(move |b| (a, b)));
    let findings: Vec<_> = both
        .filter(|(a, b)| a < b && is_imported(b, a))
        .map(|(a, b)| format!("{a} and {b} import each other"))
        .collect();
    no_findings("modules must import each other one way only; what both need goes below both:", &findings);
}

#[test]
fn imports_are_found_in_groups_and_paths() {
    let text =
        "use crate::{\n    a::{b, c},\n    d,\n};\nfn f() { crate::e::g() }\n#[cfg(test)]\nmod tests { crate::h }";
    assert_eq!(imports(text), ["a", "d", "e"].map(str::to_owned).into());
}
