//! The crates that reach files, time and threads only through `host`, where a simulated machine can take their place;
//! and the locks, which ThreadSanitizer has to see.

use super::{no_findings, source, tree};

/// Directories of code that is not behind `host` yet. The list may only get shorter.
const NOT_YET: &[&str] = &["bench/", "crates/query/", "fuzz/", "reactor/", "sim/", "src/", "tests/"];

/// Modules in them that are behind `host` all the same: shards and forwards run on the simulated machine.
const MOVED: &[&str] = &[
    "crates/query/src/scan/sidecar_cache.rs",
    "src/forward/batch.rs",
    "src/forward/client.rs",
    "src/forward/cursor.rs",
    "src/forward/encoder.rs",
    "src/forward/lane.rs",
    "src/forward/mod.rs",
    "src/forward/reading.rs",
    "src/forward/sender.rs",
    "src/service.rs",
    "src/service/",
    "src/shard/",
    "src/verify/survey.rs",
];

/// Names that such a crate may not use. Its tests run on a real machine, and may.
const BANNED: &[&str] = &[
    "std::fs",
    "std::thread",
    "std::os::unix::fs",
    "std::process::",
    "crossbeam_channel",
    "rustix::",
    "SystemTime::UNIX_EPOCH",
    ".exists()",
    ".try_exists()",
    ".symlink_metadata()",
    ".canonicalize()",
    ".read_link()",
    ".read_dir()",
    "std::time::{Instant",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
];
/// Names that are fine only where a `use host::` brings them in.
const BROUGHT_IN: &[&str] = &["fs::", "File::", "OpenOptions::", "Instant::", "SystemTime::", "UNIX_EPOCH", "thread::"];

/// The code of a file without its tests, and the words of its `use host::` lines.
fn product(text: &str) -> (String, String) {
    let code = source::split(text).code;
    let code = code.split("#[cfg(test)]").next().unwrap_or_default();
    let code = code.split("#[cfg(all(test").next().unwrap_or_default().to_owned();
    let brought_in = code.split("use host::").skip(1).filter_map(|rest| rest.split(';').next()).collect();
    (code, brought_in)
}

/// Locks that ThreadSanitizer does not see: what they guard it takes for unguarded. `host::real` has those it sees.
const UNSEEN: &[&str] = &["Mutex", "Condvar", "RwLock", "Barrier"];

/// True for a file of the server, or of a crate that it is made of.
fn is_product(path: &str) -> bool {
    let others = ["bench/", "crates/host/", "crates/machine/", "crates/testkit/", "fuzz/", "sim/"];
    path.ends_with(".rs") && !path.contains("tests") && !others.iter().any(|prefix| path.starts_with(prefix))
}

/// The locks of the standard library that the code of a file, without its tests, names or brings in.
fn unseen_locks(text: &str) -> Vec<&'static str> {
    let (code, _) = product(text);
    let imports: Vec<_> = code.split("use std::").skip(1).filter_map(|rest| rest.split(';').next()).collect();
    let is_imported = |lock: &str| {
        let words = imports.iter().flat_map(|import| import.split(|c: char| !c.is_alphanumeric()));
        words.into_iter().any(|word| word == lock)
    };
    UNSEEN.iter().filter(|lock| is_imported(lock) || code.contains(&format!("std::sync::{lock}"))).copied().collect()
}

fn is_word(text: &str, at: usize) -> bool {
    !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
}

fn findings(path: &str, text: &str) -> Vec<String> {
    let (code, brought_in) = product(text);
    let mut found: Vec<_> =
        BANNED.iter().filter(|name| code.contains(*name)).map(|name| format!("{path}: {name}")).collect();
    for name in BROUGHT_IN {
        let is_named = code.match_indices(name).any(|(at, _)| is_word(&code, at));
        if is_named && !brought_in.contains(name.trim_end_matches(':')) {
            found.push(format!("{path}: {name} without `use host`"));
        }
    }
    found
}

/// True for a file that belongs to a crate of the rule.
fn is_behind_host(path: &str) -> bool {
    path.ends_with(".rs")
        && !path.contains("tests")
        && !path.ends_with("fake_file.rs")
        && !["crates/host/", "crates/machine/", "crates/testkit/"].iter().any(|prefix| path.starts_with(prefix))
        && (MOVED.iter().any(|prefix| path.starts_with(prefix))
            || !NOT_YET.iter().any(|prefix| path.starts_with(prefix)))
}

#[test]
fn files_time_and_threads_are_named_through_host() {
    let files = tree::files(&[".rs"]);
    let behind: Vec<_> = files.iter().filter(|file| is_behind_host(&file.path)).collect();
    assert!(behind.iter().any(|file| file.path == "crates/log/src/rotation.rs"), "the crates are no longer there");
    let findings: Vec<_> = behind.iter().flat_map(|file| findings(&file.path, &file.text)).collect();
    no_findings("name files, time and threads through `host`, so that they can be simulated:", &findings);
}

#[test]
fn crates_not_behind_host_yet_are_listed_for_a_reason() {
    let files = tree::files(&[".rs"]);
    let needless: Vec<_> = NOT_YET
        .iter()
        .filter(|prefix| {
            let mut code = files.iter().filter(|file| file.path.starts_with(**prefix));
            !code.any(|file| !findings(&file.path, &file.text).is_empty())
        })
        .map(|prefix| (*prefix).to_owned())
        .collect();
    no_findings("tests/tidy/host.rs: NOT_YET lists what needs no exception any more:", &needless);
}

#[test]
fn a_name_from_std_is_found_and_one_from_host_is_not() {
    let found = |text: &str| findings("a.rs", text).len();
    assert_eq!(found("use std::fs;\nfn f() { fs::read(p) }"), 2);
    assert_eq!(found("use std::{fs, io};\nfn f() { fs::read(p) }"), 1);
    assert_eq!(found("use host::fs;\nfn f() { fs::read(p) } // std::fs"), 0);
    assert_eq!(found("use std::time::Duration;\nfn f() { offs::read(p) }"), 0);
    assert_eq!(found("fn f() { let at = Instant::now(); }"), 1);
}

#[test]
fn locks_are_those_that_thread_sanitizer_sees() {
    let files = tree::files(&[".rs"]);
    let product: Vec<_> = files.iter().filter(|file| is_product(&file.path)).collect();
    assert!(product.iter().any(|file| file.path == "src/logging.rs"), "the server is no longer there");
    let findings: Vec<_> = product
        .iter()
        .flat_map(|file| unseen_locks(&file.text).into_iter().map(|lock| format!("{}: {lock}", file.path)))
        .collect();
    no_findings("take locks from `wake::sync` or `host`, not from the standard library:", &findings);
}

#[test]
fn a_lock_from_std_is_found_and_one_from_wake_is_not() {
    assert_eq!(unseen_locks("use std::{\n    fmt,\n    sync::{Arc, Mutex},\n};\n"), ["Mutex"]);
    assert_eq!(unseen_locks("fn f() { std::sync::RwLock::new(1) }"), ["RwLock"]);
    assert_eq!(unseen_locks("use std::sync::{Arc, MutexGuard};\nuse wake::sync::real::Mutex;\n"), [""; 0]);
    assert_eq!(unseen_locks("use std::fmt;\n#[cfg(test)]\nmod tests {\n    use std::sync::Mutex;\n}\n"), [""; 0]);
}
