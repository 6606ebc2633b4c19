//! Text that others wrote, made fit for a terminal: names and tags of the log, arguments, paths, header values. Control
//! characters could move the cursor or set the title; format characters (Unicode's Cf: bidirectional overrides,
//! zero-width spaces) make a text look like another. Both are shown as escapes, here and nowhere else. Everything that
//! is not text of ours passes through one of these functions before it reaches standard error, or standard output where
//! that is for people.

use std::{borrow::Cow, fmt, io};

/// The notation of escaped characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// Rust escapes: `\n`, `\u{1b}`; a byte that is not UTF-8 is `\xff`.
    Text,
    /// JSON escapes: `\n`, `\u001b`; a byte that is not UTF-8 is `\ufffd`.
    Json,
}

/// Format characters (general category Cf of Unicode 16) and the line and paragraph separators (Zl, Zp). A test holds
/// it against the tables of `regex`.
const FORMAT: [(char, char); 21] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{2064}'),
    ('\u{2066}', '\u{206f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0001}', '\u{e0001}'),
    ('\u{e0020}', '\u{e007f}'),
];

/// Returns true if a terminal shows `character` and does nothing else.
#[must_use]
fn is_printable(character: char) -> bool {
    match character {
        ' '..='~' => true,
        _ => !character.is_control() && !FORMAT.iter().any(|&(first, last)| (first..=last).contains(&character)),
    }
}

/// Appends `text` with whatever is not printable escaped.
pub fn append(out: &mut Vec<u8>, text: &[u8], notation: Notation) {
    if text.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return out.extend_from_slice(text);
    }
    append_except(out, text, notation, |_| false);
}

/// [`append`], which leaves characters alone for which `passes` holds.
fn append_except(out: &mut Vec<u8>, text: &[u8], notation: Notation, mut passes: impl FnMut(char) -> bool) {
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            if passes(character) || is_printable(character) {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                append_escape(out, character, notation);
            }
        }
        for &byte in chunk.invalid() {
            match notation {
                Notation::Text => append_display(out, format_args!("\\x{byte:02x}")),
                Notation::Json => out.extend_from_slice(b"\\ufffd"),
            }
        }
    }
}

fn append_escape(out: &mut Vec<u8>, character: char, notation: Notation) {
    match (notation, character) {
        (Notation::Text, _) => append_display(out, format_args!("{}", character.escape_default())),
        (Notation::Json, '\n') => out.extend_from_slice(b"\\n"),
        (Notation::Json, '\r') => out.extend_from_slice(b"\\r"),
        (Notation::Json, '\t') => out.extend_from_slice(b"\\t"),
        (Notation::Json, _) => {
            character
                .encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| append_display(out, format_args!("\\u{unit:04x}")));
        }
    }
}

/// Appends what is displayed. A vector takes everything.
fn append_display(out: &mut Vec<u8>, what: fmt::Arguments<'_>) {
    let _ = io::Write::write_fmt(out, what);
}

/// `text` with whatever is not printable escaped.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len() + 8);
    append(&mut out, text.as_bytes(), Notation::Text);
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// A line for standard error, its line feed included: whatever is not printable in it is escaped, line feeds in its
/// midst too. With `colors`, sequences that set colours pass (ECMA-48, 8.3.117 SGR): `tracing` writes them, and has
/// escaped those in the texts it quotes.
#[must_use]
pub fn line(text: &[u8], notation: Notation, colors: bool) -> Vec<u8> {
    let mut text = text.strip_suffix(b"\n").unwrap_or(text);
    let mut out = Vec::with_capacity(text.len() + 1);
    while let Some(at) = colors.then(|| memchr::memchr(b'\x1b', text)).flatten() {
        append(&mut out, &text[..at], notation);
        let escape = &text[at..];
        let set = escape.strip_prefix(b"\x1b[").unwrap_or_default();
        let parameters = set.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
        let length = if set.get(parameters) == Some(&b'm') { 2 + parameters + 1 } else { 1 };
        if length > 1 {
            out.extend_from_slice(&escape[..length]);
        } else {
            append(&mut out, &escape[..1], notation);
        }
        text = &escape[length..];
    }
    append(&mut out, text, notation);
    out.push(b'\n');
    out
}

/// Appends a text that is valid inside a string of JSON, or any valid JSON, with DEL and the C1 control characters
/// escaped, which JSON lets stand raw (RFC 8259, 7) and terminals act on.
pub fn append_json(out: &mut Vec<u8>, mut json: &[u8]) {
    // In UTF-8, C1 is C2 80 to C2 9F.
    while let Some(at) = memchr::memchr2(0x7f, 0xc2, json) {
        let (before, rest) = json.split_at(at);
        out.extend_from_slice(before);
        let (code, length) = match rest {
            [0xc2, code @ 0x80..=0x9f, ..] => (*code, 2),
            [0x7f, ..] => (0x7f, 1),
            [other, ..] => {
                out.push(*other);
                json = &rest[1..];
                continue;
            }
            [] => break,
        };
        append_display(out, format_args!("\\u{code:04x}"));
        json = &rest[length..];
    }
    out.extend_from_slice(json);
}

/// The format that a [`TerminalWriter`] writes: the meaning of a line feed, and the notation of escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TerminalFormat {
    /// A line feed always ends a line.
    Lines,
    /// The same: inside of a string there is none. Escapes are those of JSON, so what it means stays the same.
    Json,
    /// A line feed in a quoted field does not end a line.
    Csv,
}

/// Writes lines to a terminal, with whatever is not printable in them escaped. A character of several bytes must not be
/// cut between two writes.
#[derive(Debug)]
pub struct TerminalWriter<W> {
    out: W,
    format: TerminalFormat,
    /// An odd number of quotation marks was seen: doubled ones (RFC 4180, 2.7) count twice, so it is right again after
    /// them.
    is_quoted: bool,
    buffer: Vec<u8>,
}

impl<W: io::Write> TerminalWriter<W> {
    fn new(out: W, format: TerminalFormat) -> Self {
        Self { out, format, is_quoted: false, buffer: Vec::new() }
    }

    /// For text of several lines.
    pub fn lines(out: W) -> Self {
        Self::new(out, TerminalFormat::Lines)
    }

    /// For documents of JSON, or lines of it.
    pub fn json(out: W) -> Self {
        Self::new(out, TerminalFormat::Json)
    }

    /// For CSV.
    pub fn csv(out: W) -> Self {
        Self::new(out, TerminalFormat::Csv)
    }
}

impl<W: io::Write> io::Write for TerminalWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let notation = if self.format == TerminalFormat::Json { Notation::Json } else { Notation::Text };
        let (is_csv, is_quoted) = (self.format == TerminalFormat::Csv, &mut self.is_quoted);
        self.buffer.clear();
        append_except(&mut self.buffer, bytes, notation, |character| {
            *is_quoted ^= is_csv && character == '"';
            character == '\n' && !*is_quoted
        });
        self.out.write_all(&self.buffer)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn every_control_and_format_character_is_found() {
        let odd = regex::Regex::new(r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]").unwrap();
        for character in '\0'..=char::MAX {
            let mut text = [0; 4];
            assert_eq!(is_printable(character), !odd.is_match(character.encode_utf8(&mut text)), "{character:?}");
        }
    }

    #[test]
    fn escapes_are_those_of_their_notation() {
        let text = "a\u{1b}\n\u{7f}\u{9b}\u{202e}\u{e0001}ü".as_bytes();
        for (notation, expected) in [
            (Notation::Text, r"a\u{1b}\n\u{7f}\u{9b}\u{202e}\u{e0001}ü"),
            (Notation::Json, r"a\u001b\n\u007f\u009b\u202e\udb40\udc01ü"),
        ] {
            let mut out = Vec::new();
            append(&mut out, text, notation);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut out = Vec::new();
        append(&mut out, b"a\xff\xc2", Notation::Text);
        assert_eq!(out, br"a\xff\xc2");
        assert!(matches!(printable("a b"), Cow::Borrowed("a b")));
    }

    #[test]
    fn colors_pass_and_other_sequences_do_not() {
        let text = "\u{1b}[2;31mWARN\u{1b}[0m \u{1b}]0;title\u{7} \u{1b}[2J a\nb\u{1b}\n";
        let shown = String::from_utf8(line(text.as_bytes(), Notation::Text, true)).unwrap();
        assert_eq!(shown, "\u{1b}[2;31mWARN\u{1b}[0m \\u{1b}]0;title\\u{7} \\u{1b}[2J a\\nb\\u{1b}\n");
        let shown = String::from_utf8(line(text.as_bytes(), Notation::Text, false)).unwrap();
        assert!(!shown.trim_end().contains(char::is_control), "{shown:?}");
    }

    #[test]
    fn a_line_feed_in_a_csv_field_is_no_line() {
        let mut writer = TerminalWriter::csv(Vec::new());
        for piece in ["name,value\n", "\"a\n\"\"b\n", "\",1\n", "\"\u{1b}\",2\n"] {
            writer.write_all(piece.as_bytes()).unwrap();
        }
        let shown = String::from_utf8(writer.out).unwrap();
        assert_eq!(shown, "name,value\n\"a\\n\"\"b\\n\",1\n\"\\u{1b}\",2\n");
    }

    proptest! {
        #[test]
        fn json_means_the_same_and_has_no_control_character(text in "[\\PC\u{7f}-\u{a0}\u{202e}\u{c2}]{0,20}") {
            let document = serde_json::to_string(&text).unwrap();
            let mut out = Vec::new();
            append_json(&mut out, document.as_bytes());
            let escaped = String::from_utf8(out).unwrap();
            prop_assert_eq!(&serde_json::from_str::<String>(&escaped).unwrap(), &text);
            prop_assert!(!escaped.contains(char::is_control), "{:?}", escaped);
            let mut writer = TerminalWriter::json(Vec::new());
            writer.write_all(escaped.as_bytes()).unwrap();
            let shown = String::from_utf8(writer.out).unwrap();
            prop_assert_eq!(&serde_json::from_str::<String>(&shown).unwrap(), &text);
            prop_assert!(shown.chars().all(is_printable), "{:?}", shown);
        }

        #[test]
        fn whatever_the_bytes_a_line_is_one_line(bytes in prop::collection::vec(any::<u8>(), 0..64), colors in any::<bool>()) {
            let shown = String::from_utf8(line(&bytes, Notation::Text, colors)).unwrap();
            let content = shown.strip_suffix('\n').unwrap();
            let stripped = if colors { content.replace('\u{1b}', "") } else { content.to_owned() };
            prop_assert!(stripped.chars().all(is_printable), "{:?}", shown);
        }
    }
}
