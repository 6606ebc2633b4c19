//! No crate offers what nobody takes: a public item is named somewhere outside of its own file.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::split;
use crate::{no_findings, tree};

/// Public items that only their own file names, and why they are public all the same.
const USED_UNNAMED: &[(&str, &str)] = &[
    ("Awaited", "the result of a public function, whose callers use it at once"),
    ("GATHER_PIECES_KERNEL_MAX", "the kernel's bound, which the limit beside it is asserted against"),
    ("SystemTimeError", "std's own, which the simulated clock has to name too"),
    ("NamePredicate", "the type of a public field, which callers fill with a closure"),
];
/// Words that may stand between `pub` and the kind of an item.
const QUALIFIERS: [&str; 3] = ["async", "const", "unsafe"];
/// Kinds of items that have a name of their own.
const KINDS: [&str; 8] = ["const", "enum", "fn", "static", "struct", "trait", "type", "union"];

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// The names of the items, methods and associated constants that `code` declares as `pub`; `pub(crate)` is not public.
fn public_items(code: &str) -> Vec<&str> {
    let declarations = code.match_indices("pub ").filter(|&(at, _)| !code[..at].ends_with(char::is_alphanumeric));
    let name = |(at, sign): (usize, &str)| {
        let mut words = words(&code[at + sign.len()..]).peekable();
        let mut kind = words.next()?;
        while QUALIFIERS.contains(&kind) && words.peek().is_some_and(|next| KINDS.contains(next)) {
            kind = words.next()?;
        }
        KINDS.contains(&kind).then(|| words.next()).flatten()
    };
    declarations.filter_map(name).collect()
}

/// True for a source file of a library crate, without the files of its tests.
fn is_library(path: &str) -> bool {
    let source = path.starts_with("reactor/src/") || path.starts_with("crates/") && path.contains("/src/");
    source && !path.contains("tests")
}

#[test]
fn public_items_are_named_outside_of_their_file() {
    let files: Vec<_> = tree::files(&[".rs"]).into_iter().map(|file| (file.path, split(&file.text).code)).collect();
    let mut named_in = BTreeMap::<&str, BTreeSet<&str>>::new();
    for (path, code) in &files {
        for word in words(code) {
            named_in.entry(word).or_default().insert(path);
        }
    }
    let (mut found, mut findings, mut count) = (BTreeSet::new(), Vec::new(), 0);
    for (path, code) in files.iter().filter(|(path, _)| is_library(path)) {
        let product = code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for name in public_items(product) {
            count += 1;
            if named_in[name].len() > 1 {
                continue;
            }
            found.insert(name);
            if !USED_UNNAMED.iter().any(|(unnamed, _)| *unnamed == name) {
                findings.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(count > 500, "the crates are no longer where this test looks: {count} public items");
    let needless = USED_UNNAMED.iter().filter(|(name, _)| !found.contains(name));
    findings.extend(needless.map(|(name, _)| format!("tests/tidy/public.rs: {name} needs no exception any more")));
    no_findings("public items that nothing outside of their file names; delete them or take `pub` away:", &findings);
}

#[test]
fn public_items_are_found_by_their_declarations() {
    let code = "pub struct A { pub b: u8 }\nimpl A { pub const fn c(&self) {} pub const D: u8 = 1; pub(crate) fn e() {} }\npub use f::G;\n";
    assert_eq!(public_items(code), ["A", "c", "D"]);
}
