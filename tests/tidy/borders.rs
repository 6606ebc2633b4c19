//! Which crate of the workspace may depend on which.

use std::{collections::BTreeMap, fs, path::Path};

/// Every crate of the workspace, by its name within the code, and the others that it may depend on. What a crate may not
/// depend on it cannot import; a border is moved here, deliberately, before it can be crossed.
const BORDERS: &[(&str, &[&str])] = &[
    ("wake", &[]),
    ("reactor", &["wake"]),
    ("rate", &["wake"]),
    ("metric", &[]),
    ("http1", &[]),
    ("log", &["wake", "metric"]),
    ("query", &["wake", "metric", "log"]),
    ("metricstream", &["wake", "reactor", "rate", "metric", "http1", "log", "query"]),
    ("metricstream_bench", &["wake", "reactor", "rate", "metric", "http1", "log", "query", "metricstream"]),
    ("torture", &[]),
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
