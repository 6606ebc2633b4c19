//! Regular expressions over texts of the log, matched from beginning to end, and the many that are only lists of
//! literals.
//!
//! A dashboard's "All" is `web1|web2|…` with thousands of names: that is compiled to a set, never to an automaton.
//! Every other expression is run by a lazy automaton one byte at a time, so that the deadline can be checked between
//! any two bytes: an expression of m states over a text of n bytes may take m x n steps, which for a text of a megabyte
//! is seconds.

use crate::limits::{QUERY_PATTERN_BYTES_MAX, QUERY_PATTERN_CACHE_BYTES, QUERY_PATTERN_STEPS_BETWEEN_LOOKS};
use crate::{Look, Refusal, plan::parameters::shown};
use metric::Text;
use regex::bytes::{Regex, RegexBuilder};
use regex_automata::{
    Anchored, MatchKind,
    hybrid::{
        BuildError,
        dfa::{Cache, DFA},
    },
    nfa::thompson,
    util::{start, syntax},
};
use std::{
    borrow::Cow,
    error::Error,
    fmt,
    sync::{Arc, PoisonError},
};
use wake::sync::Mutex;

/// A regular expression that must match all of a text, as in Prometheus. `.` is any character, a line feed too.
#[derive(Clone)]
pub(crate) struct Pattern(Arc<Compiled>);

struct Compiled {
    automaton: DFA,
    /// Bytes of a text that are at most [`QUERY_PATTERN_STEPS_BETWEEN_LOOKS`] steps.
    bytes_between_looks: usize,
    /// Memory of the automaton, for whoever needs one next.
    caches: Mutex<Vec<Cache>>,
    /// For what is not ASCII, where the expression has a word boundary: the automaton knows those of ASCII alone.
    word_boundaries: Option<Regex>,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pattern").field("states", &self.0.automaton.get_nfa().states().len()).finish_non_exhaustive()
    }
}

impl Pattern {
    /// Compiles the value of the parameter `of`.
    pub fn new(of: &str, text: &str) -> Result<Self, Refusal> {
        let syntax = syntax::Config::new().dot_matches_new_line(true).utf8(false);
        let nfa = thompson::Config::new().utf8(false).nfa_size_limit(Some(QUERY_PATTERN_BYTES_MAX));
        let automaton = DFA::config()
            .match_kind(MatchKind::All)
            .unicode_word_boundary(true)
            .cache_capacity(QUERY_PATTERN_CACHE_BYTES)
            .skip_cache_capacity_check(true);
        let built = DFA::builder().syntax(syntax).thompson(nfa).configure(automaton).build(text);
        let refuse =
            |what: &str| Refusal::BadRequest(format!("{}: not a regular expression: {}", shown(of), shown(what)));
        let automaton = built.map_err(|error| refuse(&why(&error)))?;
        let nfa = automaton.get_nfa();
        let bytes_between_looks = (QUERY_PATTERN_STEPS_BETWEEN_LOOKS / nfa.states().len().max(1)).max(1);
        let word_boundaries = if nfa.look_set_any().contains_word_unicode() {
            let whole = |end: &str| {
                RegexBuilder::new(&format!(r"\A(?:{text}{end})\z"))
                    .dot_matches_new_line(true)
                    .size_limit(2 * QUERY_PATTERN_BYTES_MAX)
                    .dfa_size_limit(QUERY_PATTERN_CACHE_BYTES)
                    .build()
            };
            // A comment at the end, in verbose mode, goes on over what is put behind it up to a line feed, which says
            // nothing there.
            let built = whole("").or_else(|error| whole("\n").map_err(|_| error));
            Some(built.map_err(|error| refuse(&error.to_string()))?)
        } else {
            None
        };
        let caches = Mutex::new(Vec::new());
        Ok(Self(Arc::new(Compiled { automaton, bytes_between_looks, caches, word_boundaries })))
    }

    /// Returns true if the expression matches all of a text of the log, given escaped.
    pub fn matches(&self, escaped: &[u8], look: Look<'_>) -> Result<bool, Refusal> {
        let text = Text::of_line(escaped);
        let text =
            if text.has_escapes() { Cow::Owned(text.decoded().collect::<Vec<_>>()) } else { Cow::Borrowed(escaped) };
        let kept = self.0.caches.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut cache = kept.unwrap_or_else(|| self.0.automaton.create_cache());
        let matched = self.0.run(&text, &mut cache, look);
        self.0.caches.lock().unwrap_or_else(PoisonError::into_inner).push(cache);
        match matched? {
            Some(matched) => Ok(matched),
            None => self.0.fall_back(&text),
        }
    }
}

impl Compiled {
    /// `None`: it came to a byte that it cannot decide.
    fn run(&self, text: &[u8], cache: &mut Cache, look: Look<'_>) -> Result<Option<bool>, Refusal> {
        let anchored = start::Config::new().anchored(Anchored::Yes);
        let Ok(mut state) = self.automaton.start_state(cache, &anchored) else { return Ok(None) };
        for piece in text.chunks(self.bytes_between_looks) {
            look()?;
            for &byte in piece {
                let Ok(next) = self.automaton.next_state(cache, state, byte) else { return Ok(None) };
                state = next;
                if state.is_tagged() {
                    if state.is_dead() {
                        return Ok(Some(false));
                    }
                    if state.is_quit() {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(self.automaton.next_eoi_state(cache, state).ok().map(|end| end.is_match()))
    }

    fn fall_back(&self, text: &[u8]) -> Result<bool, Refusal> {
        // In one go: it must not be more than what is done between two looks, by far.
        match &self.word_boundaries {
            Some(pattern) if text.len() <= 128 * self.bytes_between_looks => Ok(pattern.is_match(text)),
            _ => Err(Refusal::OverBound(format!(
                r"a non-ASCII text of {} bytes is too long for an expression with \b; use (?-u:\b) for an ASCII word boundary",
                text.len()
            ))),
        }
    }
}

/// The innermost reason, in a line.
fn why(error: &BuildError) -> String {
    let mut reason: &dyn Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    let text = reason.to_string();
    if text.contains("exceeded limit") {
        return format!("more than {QUERY_PATTERN_BYTES_MAX} bytes when compiled");
    }
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// The texts that an expression matches as a whole, if it is nothing but an alternation of literals: `a|b\.c`,
/// `^(a|b)$`, `(?:a|b)`. `None`: it is more than that.
pub(crate) fn literals(expression: &str) -> Option<Vec<String>> {
    let mut expression = expression;
    loop {
        let inner = expression.strip_prefix('^').unwrap_or(expression);
        let inner = if ends_unescaped(inner, '$') { &inner[..inner.len() - 1] } else { inner };
        let Some(group) = inner.strip_prefix("(?:").or_else(|| inner.strip_prefix('(')) else { break };
        if !ends_unescaped(group, ')') {
            return None;
        }
        expression = &group[..group.len() - 1];
    }
    let mut found = Vec::new();
    let mut literal = String::new();
    let mut characters = expression.chars().peekable();
    // At the beginning of a branch `^` means nothing more, and neither does `$` at its end: all of the text is matched.
    characters.next_if_eq(&'^');
    while let Some(character) = characters.next() {
        match character {
            '|' => {
                found.push(std::mem::take(&mut literal));
                characters.next_if_eq(&'^');
            }
            '$' if matches!(characters.peek(), None | Some('|')) => {}
            '\\' => match characters.next() {
                // What `regex` lets be escaped, and means itself.
                Some(escaped) if escaped.is_ascii_punctuation() && !matches!(escaped, '<' | '>') => {
                    literal.push(escaped)
                }
                _ => return None,
            },
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            character => literal.push(character),
        }
    }
    found.push(literal);
    Some(found)
}

/// Returns whether the text ends with this character, and not with one that a backslash makes a literal.
fn ends_unescaped(text: &str, character: char) -> bool {
    text.strip_suffix(character)
        .is_some_and(|before| before.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use metric::spelled;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn matches(pattern: &Pattern, text: &str) -> bool {
        pattern.matches(&spelled(text), &|| Ok(())).unwrap()
    }

    proptest! {
        /// Against the crate whose expressions these are, over texts that are near.
        #[test]
        fn an_expression_matches_what_it_matches_elsewhere(
            expression in r"[ab.|*+?()\[\]^$é]{0,8}|(\\[bBwd])?[aé ]{0,3}(\\[bBwd.])?|(?i)[Aaé]{1,3}",
            texts in prop::collection::vec("[abéA. \n]{0,6}", 1..8),
        ) {
            let whole = RegexBuilder::new(&format!(r"\A(?:{expression})\z")).dot_matches_new_line(true).build();
            let alone = Regex::new(&expression);
            match (Pattern::new("tag.a", &expression), whole) {
                (Ok(ours), Ok(theirs)) => {
                    for text in texts {
                        prop_assert_eq!(matches(&ours, &text), theirs.is_match(text.as_bytes()), "{:?} {:?}", expression, text);
                    }
                }
                (ours, _) => prop_assert_eq!(ours.is_ok(), alone.is_ok(), "{:?}", expression),
            }
        }

        #[test]
        fn a_list_of_literals_is_the_set_of_them(
            texts in prop::collection::vec("[a-c.|*()^$\\\\é/-]{0,4}", 1..6),
            around in prop::sample::select(vec![("", ""), ("^(", ")$"), ("(?:", ")"), ("((", "))"), ("^", "$")]),
        ) {
            let escaped: Vec<_> = texts.iter().map(|text| regex::escape(text)).collect();
            let expression = format!("{}{}{}", around.0, escaped.join("|"), around.1);
            prop_assert_eq!(literals(&expression), Some(texts));
        }

        /// Whatever is taken for a list means the same as the expression.
        #[test]
        fn what_is_taken_for_a_list_means_the_same(
            expression in r"[ab|()^$.\\é]{0,8}|\^?\(?(\?:)?[ab|]{0,4}\)?\$?",
            texts in prop::collection::vec("[ab|()^$.\\\\é]{0,3}", 1..8),
        ) {
            let Some(found) = literals(&expression) else { return Ok(()) };
            let Ok(pattern) = Pattern::new("tag.a", &expression) else {
                return Err(TestCaseError::fail(format!("{expression:?} is no expression")));
            };
            for text in texts.iter().chain(&found) {
                prop_assert_eq!(found.contains(text), matches(&pattern, text), "{:?} {:?}", expression, text);
            }
        }
    }

    #[test]
    fn what_is_more_than_literals_is_an_expression() {
        for expression in
            ["a.", "a|b*", "(a|b)c", "a(b|c)", "[ab]", "a{2}", r"\d", r"a\n", "(?i)a", "(a)|(b)", r"\<a", r"a\"]
        {
            assert_eq!(literals(expression), None, "{expression}");
        }
        assert_eq!(literals(""), Some(vec![String::new()]));
        assert_eq!(literals("a||b"), Some(vec!["a".into(), String::new(), "b".into()]));
        assert_eq!(literals(r"^a$|^b\$$"), Some(vec!["a".into(), "b$".into()]));
    }

    #[test]
    fn a_wrong_pattern_is_refused_by_name() {
        for (text, part) in [
            ("(", "tag.a: not a regular expression: unclosed group"),
            ("a)|(b", "unopened group"),
            (r"\w{999}", "more than"),
        ] {
            let Err(Refusal::BadRequest(what)) = Pattern::new("tag.a", text) else { panic!("{text}") };
            assert!(what.contains(part) && !what.contains('\n'), "{what}");
        }
    }

    /// Counted in looks: that of the long text and the many states has thousands of them, and ends with the first that
    /// says so.
    #[test]
    fn a_long_text_is_matched_with_looks_in_between() {
        let pattern = Pattern::new("tag.v", "[01]*1[01]{3400}2").unwrap();
        let text: String = (0..1_000_000_u32)
            .map(|at| if at.wrapping_mul(2_654_435_761) >> 13 & 1 == 1 { '1' } else { '0' })
            .collect();
        let looks = AtomicUsize::new(0);
        let ended = pattern.matches(text.as_bytes(), &|| match looks.fetch_add(1, Ordering::Relaxed) {
            2 => Err(Refusal::Deadline),
            _ => Ok(()),
        });
        assert_eq!((ended, looks.load(Ordering::Relaxed)), (Err(Refusal::Deadline), 3));
        let states = pattern.0.automaton.get_nfa().states().len();
        assert!(states * pattern.0.bytes_between_looks <= QUERY_PATTERN_STEPS_BETWEEN_LOOKS, "{states} states");
        assert!(text.len() / pattern.0.bytes_between_looks > 1_000);
    }

    #[test]
    fn an_expression_with_a_word_boundary_may_end_in_a_comment() {
        let pattern = Pattern::new("name", r"(?x) caf\S \b # with an accent, or without (").unwrap();
        assert!(matches(&pattern, "cafe") && matches(&pattern, "caf\u{e9}"));
        assert!(!matches(&pattern, "cafe\n") && !matches(&pattern, "caf\u{e9}\n"));
        // Outside of verbose mode it is no comment.
        let pattern = Pattern::new("name", r"caf\S\b#").unwrap();
        assert!(!matches(&pattern, "caf\u{e9}") && matches(&pattern, "caf\u{e9}#"));
    }

    #[test]
    fn word_boundaries_are_those_of_unicode_up_to_a_length() {
        let pattern = Pattern::new("tag.a", r".*\bé.*").unwrap();
        assert!(matches(&pattern, "a é") && !matches(&pattern, "aé"));
        let long = format!("é{}", "a".repeat(64 << 20));
        let Err(Refusal::OverBound(what)) = pattern.matches(long.as_bytes(), &|| Ok(())) else { panic!("matched") };
        assert!(what.contains("(?-u:"), "{what}");
    }
}
