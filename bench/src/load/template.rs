//! Texts that differ from request to request: `{{seq}}` and `{{rand}}` in bodies, paths and header values.
//!
//! A template is taken apart once; writing it is a copy for each literal piece and a number for each variable. A text
//! without variables is one copy.

use std::{
    io::Write,
    mem, str,
    sync::atomic::{AtomicU64, Ordering},
};
use testkit::random::Random;

/// Error text that lists the variables of a template.
const KNOWN: &str = "there are {{seq}}, {{rand}}, {{rand FROM TO}}, and {{{{ for a literal {{";
/// Digits of the longest number: those of 2^64 - 1, and as many as -2^63 has with its sign.
const NUMBER_BYTES_MAX: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    /// The number of the request.
    Sequence,
    /// Any 64 bits.
    Random,
    /// From `low` on, `count` numbers; a count of zero stands for all 2^64.
    Between { low: i64, count: u64 },
}

/// A text with variables, or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Bytes before the first variable.
    opening: Vec<u8>,
    /// Each variable with the literal behind it.
    rest: Vec<(Variable, Vec<u8>)>,
}

/// The numbers that one thread's requests take for their variables.
#[derive(Debug)]
pub struct Variables<'a> {
    /// Shared by all threads of the load.
    sequence: &'a AtomicU64,
    random: Random,
    /// The number of the present request, once it was taken.
    present: Option<u64>,
    /// Buffer that a body is written to before its length is known.
    scratch: Vec<u8>,
}

impl<'a> Variables<'a> {
    /// The variables of thread number `thread`. The same seed gives the same random numbers to the same thread.
    #[must_use]
    pub fn new(sequence: &'a AtomicU64, seed: u64, thread: usize) -> Self {
        // The states of two threads are as far from each other as two random numbers.
        let mut mixed = Random::new(seed ^ (thread as u64).rotate_left(32));
        let random = Random::new(mixed.number());
        Self { sequence, random, present: None, scratch: Vec::new() }
    }

    /// Begins the next request: all that is written until the next one begins has the same number.
    pub(super) fn begin(&mut self) {
        self.present = None;
    }

    /// Borrows the scratch buffer, empty; [`keep`](Self::keep) gives it back.
    pub(super) fn scratch(&mut self) -> Vec<u8> {
        let mut scratch = mem::take(&mut self.scratch);
        scratch.clear();
        scratch
    }

    pub(super) fn keep(&mut self, scratch: Vec<u8>) {
        self.scratch = scratch;
    }

    fn write(&mut self, variable: Variable, out: &mut Vec<u8>) {
        // Writing into a Vec cannot fail.
        let _ = match variable {
            Variable::Sequence => {
                let number = self.present.get_or_insert_with(|| self.sequence.fetch_add(1, Ordering::Relaxed));
                write!(out, "{number}")
            }
            Variable::Random => write!(out, "{}", self.random.number()),
            Variable::Between { low, count } => {
                let offset = if count == 0 { self.random.number() } else { self.random.below_u64(count) };
                write!(out, "{}", low.wrapping_add_unsigned(offset))
            }
        };
    }
}

impl Template {
    /// A text without variables, whatever stands in it.
    #[must_use]
    pub fn literal(text: Vec<u8>) -> Self {
        Self { opening: text, rest: Vec::new() }
    }

    /// Takes a text apart.
    ///
    /// # Errors
    /// A `{{` has no end, or what stands behind it is not known.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let mut template = Self::literal(Vec::new());
        let mut rest = text;
        while let Some(start) = memchr::memmem::find(rest, b"{{") {
            let (before, variable) = (&rest[..start], &rest[start + 2..]);
            template.last().extend_from_slice(before);
            if let Some(behind) = variable.strip_prefix(b"{{") {
                template.last().extend_from_slice(b"{{");
                rest = behind;
                continue;
            }
            let end = memchr::memmem::find(variable, b"}}").ok_or_else(|| format!("a {{{{ has no }}}}: {KNOWN}"))?;
            template.rest.push((parse_variable(&variable[..end])?, Vec::new()));
            rest = &variable[end + 2..];
        }
        template.last().extend_from_slice(rest);
        Ok(template)
    }

    fn last(&mut self) -> &mut Vec<u8> {
        self.rest.last_mut().map_or(&mut self.opening, |(_, literal)| literal)
    }

    /// The text, if nothing in it varies.
    #[must_use]
    pub fn fixed(&self) -> Option<&[u8]> {
        self.rest.is_empty().then_some(&self.opening)
    }

    /// Returns true if it has a random number.
    #[must_use]
    pub fn has_random(&self) -> bool {
        self.rest.iter().any(|(variable, _)| *variable != Variable::Sequence)
    }

    /// Bytes of the longest text that it can become.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.opening.len() + self.rest.iter().map(|(_, literal)| NUMBER_BYTES_MAX + literal.len()).sum::<usize>()
    }

    /// Appends the text of one request.
    pub fn write(&self, variables: &mut Variables<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.opening);
        for (variable, literal) in &self.rest {
            variables.write(*variable, out);
            out.extend_from_slice(literal);
        }
    }

    /// An example of what it becomes.
    #[must_use]
    pub fn example(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes_max());
        self.write(&mut Variables::new(&AtomicU64::new(0), 0, 0), &mut out);
        out
    }

    /// Adds all that distinguishes it from another template to a checksum.
    pub(super) fn add_to(&self, sum: &mut crc32fast::Hasher) {
        sum.update(&self.opening);
        for (variable, literal) in &self.rest {
            sum.update(format!("{variable:?}").as_bytes());
            sum.update(literal);
        }
    }
}

fn parse_variable(text: &[u8]) -> Result<Variable, String> {
    let shown = String::from_utf8_lossy(text);
    let words: Vec<&str> = str::from_utf8(text).unwrap_or_default().split_ascii_whitespace().collect();
    match words[..] {
        ["seq"] => Ok(Variable::Sequence),
        ["rand"] => Ok(Variable::Random),
        ["rand", from, to] => {
            let number =
                |text: &str| text.parse::<i64>().map_err(|_| format!("'{text}' in {{{{{shown}}}}} is no number"));
            let (low, high) = (number(from)?, number(to)?);
            if low > high {
                return Err(format!("{{{{{shown}}}}} is empty: {low} is more than {high}"));
            }
            // Of all 2^64 numbers the count wraps round to zero.
            Ok(Variable::Between { low, count: high.abs_diff(low).wrapping_add(1) })
        }
        _ => Err(format!("{{{{{shown}}}}} is not known: {KNOWN}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, variables: &mut Variables<'_>) -> String {
        let mut out = Vec::new();
        variables.begin();
        let template = Template::parse(text.as_bytes()).unwrap();
        template.write(variables, &mut out);
        assert!(out.len() <= template.bytes_max());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_sequence_number_is_the_same_within_a_request() {
        let sequence = AtomicU64::new(0);
        let (mut one, mut other) = (Variables::new(&sequence, 1, 0), Variables::new(&sequence, 1, 1));
        let text = "{\"a\":{{seq}},\"b\":{ \"c\":{{ seq }}}}";
        assert_eq!(written(text, &mut one), "{\"a\":0,\"b\":{ \"c\":0}}");
        assert_eq!(written(text, &mut other), "{\"a\":1,\"b\":{ \"c\":1}}");
        assert_eq!(written("nothing", &mut one), "nothing");
        assert_eq!(written("{{seq}}", &mut one), "2", "a text without it takes no number");
    }

    #[test]
    fn random_numbers_are_new_each_time_and_in_their_range() {
        let sequence = AtomicU64::new(0);
        let mut variables = Variables::new(&sequence, 1, 0);
        let both = written("{{rand}} {{rand}}", &mut variables);
        let (one, other) = both.split_once(' ').unwrap();
        assert!(one.parse::<u64>().unwrap() != other.parse::<u64>().unwrap());
        let mut seen = [false; 5];
        for _ in 0..1000 {
            let number: i64 = written("{{rand -2 2}}", &mut variables).parse().unwrap();
            seen[usize::try_from(number + 2).unwrap()] = true;
        }
        assert_eq!(seen, [true; 5], "both ends are in it");
        assert_eq!(written("{{rand 7 7}}", &mut variables), "7");
        let all = format!("{{{{rand {} {}}}}}", i64::MIN, i64::MAX);
        assert!(written(&all, &mut variables).parse::<i64>().is_ok());
        let again = |seed, thread| written("{{rand}}", &mut Variables::new(&sequence, seed, thread));
        assert_eq!(again(1, 0), again(1, 0));
        assert!(again(1, 0) != again(2, 0) && again(1, 0) != again(1, 1));
    }

    #[test]
    fn four_braces_are_two() {
        let sequence = AtomicU64::new(5);
        let mut variables = Variables::new(&sequence, 1, 0);
        for (text, becomes) in
            [("{{{{seq}}", "{{seq}}"), ("{{{{{{seq}}", "{{5"), ("a { b }} c", "a { b }} c"), ("{{{{{{{{", "{{{{")]
        {
            assert_eq!(written(text, &mut variables), becomes, "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_an_error_with_what_there_is() {
        for text in ["{{sequence}}", "{{}}", "{{seq", "{{seq 1}}", "{{rand 1}}", "{{rand 1 2 3}}", "{{{seq}}}"] {
            let message = Template::parse(text.as_bytes()).unwrap_err();
            assert!(message.contains("{{seq}}, {{rand}}, {{rand FROM TO}}"), "{text}: {message}");
        }
        assert!(Template::parse(b"{{\xff}}").is_err());
        for (text, says) in [("{{rand 2 1}}", "2 is more than 1"), ("{{rand a 1}}", "'a'"), ("{{rand 0 1e3}}", "'1e3'")]
        {
            assert!(Template::parse(text.as_bytes()).unwrap_err().contains(says), "{text}");
        }
    }
}
