//! A scanner for Rust source that tells code, comments and strings apart. It knows as much of the language as that
//! takes: nested comments, raw and byte strings, and that `'a` is a lifetime where `'a'` is a character.

/// The two halves of a file, each as long as the file and with its line ends in place: what belongs to the other half
/// is blank.
pub struct Halves {
    /// Everything that the compiler reads, without the contents of strings and characters.
    pub code: String,
    /// Comments, and the contents of strings.
    pub prose: String,
}

/// Splits `text` into code and prose.
pub fn split(text: &str) -> Halves {
    let chars: Vec<char> = text.chars().collect();
    let mut halves = Halves { code: String::with_capacity(text.len()), prose: String::with_capacity(text.len()) };
    let mut at = 0;
    while at < chars.len() {
        let (end, is_prose) = token(&chars, at);
        for &c in &chars[at..end] {
            let blank = if c == '\n' { '\n' } else { ' ' };
            halves.code.push(if is_prose { blank } else { c });
            halves.prose.push(if is_prose { c } else { blank });
        }
        at = end;
    }
    halves
}

/// The end of what begins at `at`, and whether it is prose.
fn token(chars: &[char], at: usize) -> (usize, bool) {
    let rest = &chars[at..];
    let follows_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match rest {
        ['/', '/', ..] => (at + rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()), true),
        ['/', '*', ..] => (at + block_comment(rest), true),
        ['"', ..] => (at + quoted(rest, 1, '"'), true),
        ['r', '"' | '#', ..] | ['b', 'r', '"' | '#', ..] if !follows_word => match raw_string(rest) {
            Some(length) => (at + length, true),
            None => (at + 1, false),
        },
        ['\'', '\\', ..] => (at + quoted(rest, 1, '\''), true),
        ['\'', _, '\'', ..] => (at + 3, true),
        _ => (at + 1, false),
    }
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[char], mut at: usize, end: char) -> usize {
    while at < rest.len() && rest[at] != end {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    rest.len().min(at + 1)
}

/// The length of a raw string; none if `r#` begins an identifier.
fn raw_string(rest: &[char]) -> Option<usize> {
    let begin = 1 + rest.iter().position(|&c| c == 'r')?;
    let hashes = rest[begin..].iter().take_while(|&&c| c == '#').count();
    let mut at = begin + hashes;
    if rest.get(at) != Some(&'"') {
        return None;
    }
    at += 1;
    while at < rest.len() {
        if rest[at] == '"' && rest[at + 1..].iter().take_while(|&&c| c == '#').count() >= hashes {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(rest.len())
}

/// A function with a body: its name, the number of its first line, and how many lines it has up to its closing brace.
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
    /// True if an attribute `#[test]` stands before it.
    pub is_test: bool,
}

/// The functions of a file, nested ones included.
pub fn functions(code: &str) -> Vec<Function> {
    let bytes = code.as_bytes();
    let starts = code.match_indices("fn ").map(|(at, _)| at);
    let starts = starts.filter(|&at| at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_'));
    starts.filter_map(|at| function(code, at)).collect()
}

fn function(code: &str, at: usize) -> Option<Function> {
    let name: String = code[at + 3..].chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect();
    let (mut nesting, mut braces) = (0_i32, 0_i32);
    for (offset, c) in code[at..].char_indices() {
        match c {
            '(' | '[' => nesting += 1,
            ')' | ']' => nesting -= 1,
            ';' if nesting == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' => braces -= 1,
            _ => {}
        }
        if c == '}' && braces == 0 {
            let line = 1 + code[..at].matches('\n').count();
            let lines = 1 + code[at..at + offset].matches('\n').count();
            let before = code[..at].trim_end();
            let is_test = before.ends_with("#[test]") && !name.is_empty();
            return (!name.is_empty()).then_some(Function { name, line, lines, is_test });
        }
    }
    None
}

#[test]
fn source_is_split_into_code_and_prose() {
    let text =
        "let a = \"x // {\"; // told\nlet c = '{'; let d: &'a str = r#\"{\"}\"#; /* /* { */ } */ let r#fn = b'\\'';\n";
    let Halves { code, prose } = split(text);
    assert_eq!(code.matches(['{', '}']).count(), 0, "{code}");
    assert!(prose.contains("x // {") && prose.contains("// told") && prose.contains("/* { */ } */"), "{prose}");
    assert!(code.contains("let d: &'a str = ") && code.contains("let r#fn = b"), "{code}");
    assert_eq!((code.matches('\n').count(), code.chars().count()), (2, text.chars().count()));
}

#[test]
fn functions_are_found_with_their_lengths() {
    let text =
        "trait T { fn none(&self) -> [u8; 2]; }\n#[test]\nfn a() {\n    let f = |x: fn(u8)| { x };\n}\nfn b() {}\n";
    let found: Vec<_> =
        functions(text).into_iter().map(|found| (found.name, found.line, found.lines, found.is_test)).collect();
    assert_eq!(found, [("a".to_owned(), 3, 3, true), ("b".to_owned(), 6, 1, false)]);
}
