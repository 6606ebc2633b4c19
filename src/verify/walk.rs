//! Splits a run of bytes into valid lines of the log and damaged ones, and classifies the damage.
//!
//! A whole line at the end of a damaged one (it began in its middle, or after foreign bytes) is not damaged: the
//! damage ends where it begins. Time is linear in the number of bytes for any input.

use super::finding::{Kind, excerpt};
use memchr::{memchr, memmem};
use metric::{Line, LineError, Lines};
use std::ops::Range;

/// The beginning of every line.
const LINE_BEGINS: &[u8] = br#"{"timestamp":""#;
/// No part of a line that is the same in all lines is longer, nor is a timestamp.
const LITERAL_BYTES_MAX: usize = 32;
/// Number of matching bytes of the beginning from which a damaged line counts as a former line of the log.
const BYTES_ALIKE_MIN: usize = 10;

/// Bytes that are not valid lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The bytes of the run.
    pub range: Range<usize>,
    /// Lines of the run before them, damaged or not.
    pub lines_before: u64,
    /// Number of damaged lines.
    pub lines: u64,
    pub kind: Kind,
    pub what: String,
    pub excerpt: String,
}

/// The contents of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk {
    /// Lines that begin in it, damaged or not: line feeds, and a last line without one.
    pub begun: u64,
    /// Valid lines.
    pub lines: u64,
    /// In order, none touching another of its kind.
    pub damages: Vec<Damage>,
}

/// Walks over `run`, which begins where a line does, and shows each line of ours to `seen`.
pub fn walk<'a>(run: &'a [u8], mut seen: impl FnMut(&Line<'a>)) -> Walk {
    let mut walk = Walk::default();
    let mut lines = Lines::new(run);
    loop {
        let start = lines.byte();
        match lines.next() {
            None => return walk,
            Some(Ok(line)) => {
                walk.lines += 1;
                seen(&line);
            }
            Some(Err(error)) => {
                let bad = &run[start..lines.byte()];
                let whole = whole_line_within(bad);
                let damaged = whole.as_ref().map_or(bad, |(at, _)| &bad[..*at]);
                let damage = damage(damaged, start, walk.begun, error, whole.is_some());
                walk.push(damage);
                if let Some((_, line)) = whole {
                    walk.lines += 1;
                    seen(&line);
                }
            }
        }
        walk.begun += 1;
    }
}

impl Walk {
    /// Adds a damage behind the others.
    pub fn push(&mut self, damage: Damage) {
        match self.damages.last_mut() {
            Some(last) if last.kind == damage.kind && last.range.end == damage.range.start => {
                last.range.end = damage.range.end;
                last.lines = damage.lines_before + damage.lines - last.lines_before;
            }
            _ => self.damages.push(damage),
        }
    }
}

/// The line of ours that stands at the end of `bad`, a line that as a whole is none, and where it begins.
pub fn whole_line_within(bad: &[u8]) -> Option<(usize, Line<'_>)> {
    let text = bad.strip_suffix(b"\n")?;
    memmem::find_iter(text, LINE_BEGINS)
        .filter(|&at| at > 0)
        .find_map(|at| Line::parse(&text[at..]).ok().map(|line| (at, line)))
}

fn damage(damaged: &[u8], start: usize, lines_before: u64, error: LineError, before_whole: bool) -> Damage {
    let (kind, what) = judge(damaged, error, before_whole);
    let at = match kind {
        Kind::GarbledLine => error.byte,
        Kind::Zeros => memmem::find(damaged, &[0, 0]).unwrap_or(0),
        Kind::TornLine | Kind::TornTail => damaged.len(),
        _ => 0,
    };
    Damage { range: start..start + damaged.len(), lines_before, lines: 1, kind, what, excerpt: excerpt(damaged, at) }
}

/// Classifies a line that is not valid. `before_whole`: a whole line begins where it ends, without a line feed between
/// them.
pub fn judge(damaged: &[u8], error: LineError, before_whole: bool) -> (Kind, String) {
    if memmem::find(damaged, &[0, 0]).is_some() {
        let zeros = damaged.iter().filter(|&&byte| byte == 0).count();
        return (Kind::Zeros, format!("{zeros} of the bytes are zero, as after a power loss"));
    }
    let was_ours = begins_as_ours(damaged);
    let ended = damaged.last() == Some(&b'\n');
    let text_bytes = damaged.len() - usize::from(ended);
    if was_ours && !ended && !before_whole {
        return (Kind::TornTail, "the last line has no line feed: its end was not written or was cut off".to_owned());
    }
    if was_ours && before_whole {
        return (Kind::TornLine, "the next line begins in the middle of this one".to_owned());
    }
    // Tags begin in the same way if their first key is `timestamp`.
    let begins_a_line = |at: usize| at > 0 && !damaged[..at].ends_with(br#""tags":"#);
    if was_ours && memmem::find_iter(damaged, LINE_BEGINS).any(begins_a_line) {
        return (Kind::TornLine, "another line begins in the middle of this one".to_owned());
    }
    // What is missing at the end of a line that was cut off is more than a bit.
    let rest = &damaged[error.byte.min(text_bytes)..text_bytes];
    if was_ours && (rest.is_empty() || (rest.len() < LITERAL_BYTES_MAX && !rest.ends_with(b"}}"))) {
        return (Kind::TornLine, format!("the line ends too early: expected {}", error.expected));
    }
    if was_ours {
        let found = damaged.get(error.byte).map_or(0, |&byte| byte);
        let (byte, expected) = (error.byte, error.expected);
        return (Kind::GarbledLine, format!("byte {byte} of the line is 0x{found:02x}, expected {expected}"));
    }
    let is_text =
        std::str::from_utf8(damaged).is_ok_and(|text| !text.chars().any(|c| c.is_control() && !"\t\r\n".contains(c)));
    if is_text {
        (Kind::ForeignText, "text that is not a line of the log".to_owned())
    } else {
        (Kind::Binary, "bytes that are not text".to_owned())
    }
}

/// Returns true if the line begins like a line of the log, as far as it goes; a few flipped bits are tolerated.
fn begins_as_ours(line: &[u8]) -> bool {
    let compared = line.len().min(LINE_BEGINS.len());
    let alike = line.iter().zip(LINE_BEGINS).filter(|(byte, ours)| byte == ours).count();
    alike >= BYTES_ALIKE_MIN.min(compared).max(1)
}

/// Offset of the first line that begins in `bytes`: 0 if `at_start`, else after the first line feed.
pub fn first_begin(bytes: &[u8], at_start: bool) -> usize {
    if at_start { 0 } else { memchr(b'\n', bytes).map_or(bytes.len(), |feed| feed + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(value: u32) -> String {
        format!(
            "{{\"timestamp\":\"2026-01-02T03:04:05.678Z\",\"name\":\"cpu\",\"value\":{value},\"type\":\"gauge\",\"tags\":{{\"timestamp\":\"x\"}}}}\n"
        )
    }

    type Bad = (Kind, Vec<u8>);

    /// Values of the lines found, and kind and bytes of the damages.
    fn walked(run: &[u8]) -> (Vec<String>, Vec<Bad>, u64) {
        let mut values = Vec::new();
        let walk = walk(run, |line| values.push(String::from_utf8(line.value.to_vec()).unwrap()));
        assert_eq!(walk.lines, values.len() as u64);
        let damages = walk.damages.iter().map(|damage| (damage.kind, run[damage.range.clone()].to_vec())).collect();
        (values, damages, walk.begun)
    }

    #[test]
    fn each_damage_by_its_name() {
        let (one, two) = (line(1), line(2));
        let torn = &one[..40];
        let garbled = one.replace("\"value\"", "\"vblue\"");
        let early_flip = one.replacen("time", "tyme", 1);
        for (bad, kind) in [
            (torn.to_owned(), Kind::TornLine),
            (format!("{torn}\n"), Kind::TornLine),
            (format!("{}X", one.trim_end()), Kind::TornLine),
            (garbled, Kind::GarbledLine),
            (early_flip, Kind::GarbledLine),
            ("\0".repeat(5000), Kind::Zeros),
            (format!("{torn}\0\0\0\0"), Kind::Zeros),
            ("hello\n".to_owned(), Kind::ForeignText),
            ("\n".to_owned(), Kind::ForeignText),
            ("{\"a\":1}\n".to_owned(), Kind::ForeignText),
            ("a\x07b\n".to_owned(), Kind::Binary),
        ] {
            let run = format!("{one}{bad}{two}");
            let expected = (vec!["1".to_owned(), "2".to_owned()], vec![(kind, bad.clone().into_bytes())]);
            let (values, damages, begun) = walked(run.as_bytes());
            assert_eq!((values, damages), expected, "{bad:?}");
            assert_eq!(begun, 2 + u64::from(bad.ends_with('\n')), "{bad:?}");
        }
    }

    #[test]
    fn a_torn_tail_is_one_wherever_it_is_torn() {
        let one = line(1);
        for length in 1..one.len() {
            let run = format!("{one}{}", &one[..length]);
            let (values, damages, begun) = walked(run.as_bytes());
            assert_eq!((values.len(), begun), (1, 2));
            assert_eq!(damages, [(Kind::TornTail, one.as_bytes()[..length].to_vec())], "{length}");
        }
    }

    #[test]
    fn neighbours_of_one_kind_are_one_damage() {
        let run = format!("{}a\nb\nc\n{}", line(1), line(2));
        let walk = walk(run.as_bytes(), |_| {});
        assert_eq!((walk.damages.len(), walk.damages[0].lines, walk.damages[0].lines_before), (1, 3, 1));
        assert_eq!((walk.begun, walk.lines), (5, 2));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_binary() {
        assert_eq!(walked(b"\xff\xfe\n").1[0].0, Kind::Binary);
        assert_eq!(walked(b"").1, []);
    }
}
