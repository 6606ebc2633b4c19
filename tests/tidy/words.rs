//! The words of the house: one word for one thing, and it is the field's (docs/glossary.md).

use std::collections::BTreeMap;

use crate::source::split;
use crate::{no_findings, tree};

/// A private word or phrase, what to write in its place, and how often it still occurs. The count may only go down; an
/// entry that is at 0 is a ban.
struct Word {
    forms: &'static [&'static str],
    instead: &'static str,
    left: usize,
}

const WORDS: &[Word] = &[
    word(&["room", "rooms"], "module, crate; space", 3),
    word(&["answer", "answers", "answered", "answering"], "response, respond; result of a query", 13),
    word(&["told"], "notified, informed, reported", 0),
    word(&["asked"], "queried, requested", 0),
    word(&["hears", "heard"], "receives", 0),
    word(&["feels", "felt"], "checks", 0),
    word(&["deaf"], "closed", 0),
    word(&["stranger", "strangers"], "untrusted client", 0),
    word(&["patience"], "timeout", 0),
    word(&["last word"], "final report", 0),
    word(&["lives"], "runs, is live", 0),
    word(&["dies"], "exits", 0),
    word(&["gives up", "given up"], "aborts, closes", 0),
    word(&["mend", "mends", "mended", "mending"], "fix, repair", 3),
    word(&["to be had"], "available, unavailable", 0),
    word(&["none of ours"], "foreign", 1),
    word(&["comes round", "came round"], "expires", 0),
    word(&["for want of"], "without", 0),
    word(&["at the least"], "at least", 0),
    word(&["keeper", "keeper's"], "maintenance", 0),
    word(&["tend", "tends", "tended"], "process", 0),
    word(&["goes without saying", "so to speak", "needless to say"], "nothing", 0),
];

const fn word(forms: &'static [&'static str], instead: &'static str, left: usize) -> Word {
    Word { forms, instead, left }
}

/// Counts how often `form` stands in `text` as a word of its own. Neither an identifier nor a flag of which it is a
/// part counts.
fn occurrences(text: &str, form: &str) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let alone =
        |&(at, found): &(usize, &str)| !text[..at].ends_with(is_word) && !text[at + found.len()..].starts_with(is_word);
    text.match_indices(form).filter(alone).count()
}

#[test]
fn private_words_become_fewer() {
    let mut counts: BTreeMap<&str, Vec<(usize, String)>> = BTreeMap::new();
    for file in tree::files(&[".rs", ".md", ".sh", ".bash", ".py"]) {
        if file.path.starts_with("tests/tidy/") {
            continue;
        }
        let prose = if file.path.ends_with(".rs") { split(&file.text).prose } else { file.text };
        // A phrase may go on in the next line, behind the sign of a comment.
        let words = prose.split_whitespace().filter(|word| !matches!(*word, "//" | "///" | "//!" | "#"));
        let prose = words.collect::<Vec<_>>().join(" ").to_lowercase();
        for word in WORDS {
            let found = word.forms.iter().map(|form| occurrences(&prose, form)).sum();
            if found > 0 {
                counts.entry(word.forms[0]).or_default().push((found, file.path.clone()));
            }
        }
    }
    let mut findings = Vec::new();
    for word in WORDS {
        let mut places = counts.remove(word.forms[0]).unwrap_or_default();
        let found: usize = places.iter().map(|(found, _)| found).sum();
        if found > word.left {
            places.sort_by(|a, b| b.cmp(a));
            let places: Vec<_> = places.iter().take(8).map(|(found, path)| format!("{path} ({found})")).collect();
            let (form, instead, left) = (word.forms[0], word.instead, word.left);
            findings.push(format!("{form}: {found}, allowed are {left}; write {instead}: {}", places.join(", ")));
        } else if found == 0 && word.left > 0 {
            findings.push(format!("{}: nothing is left of it; set its count to 0", word.forms[0]));
        }
    }
    no_findings("private words:", &findings);
}

#[test]
fn a_word_is_not_found_within_another() {
    assert_eq!(occurrences("a room, the rooms; --room, room_bytes, classroom.", "room"), 1);
    assert_eq!(occurrences("what gives up gives up", "gives up"), 2);
}
