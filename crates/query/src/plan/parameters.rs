//! The parameter string of a query, `name=cpu_usage&tag.host!=web1`: cut into parameters and decoded. Knows no
//! parameter but the prefix `tag.`, behind which an operator is looked for.
//!
//! Decoding is that of HTML forms, as everywhere in query strings: `%41` is a byte, `+` is a space. It is strict: a
//! `%` without two hexadecimal digits, what is not UTF-8, and a parameter without a name are refused, never guessed
//! at.

use crate::Refusal;
use crate::limits::{QUERY_PARAMETERS_BYTES_MAX, QUERY_PARAMETERS_MAX};

/// Comparison operator of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    /// `=`
    Is,
    /// `!=`
    IsNot,
    /// `=~`
    Matches,
    /// `!~`
    MatchesNot,
}

/// One parameter, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    /// Without the operator.
    pub name: String,
    pub operator: Operator,
    pub value: String,
}

/// Cuts the string into its parameters. Empty ones (`a=1&&b=2`, a trailing `&`) are skipped.
pub(crate) fn parse(text: &str) -> Result<Vec<Parameter>, Refusal> {
    if text.len() > QUERY_PARAMETERS_BYTES_MAX {
        return refuse(format!("the parameters are longer than {QUERY_PARAMETERS_BYTES_MAX} bytes"));
    }
    let pieces: Vec<_> = text.split('&').filter(|piece| !piece.is_empty()).collect();
    if pieces.len() > QUERY_PARAMETERS_MAX {
        return refuse(format!("more than {QUERY_PARAMETERS_MAX} parameters"));
    }
    pieces.into_iter().map(parameter).collect()
}

/// The names and values of parameters that know no operators, decoded.
///
/// # Errors
/// A parameter is malformed, or there are too many.
pub fn pairs(text: &str) -> Result<Vec<(String, String)>, Refusal> {
    let pair = |parameter: Parameter| match parameter.operator {
        Operator::Is => Ok((parameter.name, parameter.value)),
        _ => refuse(format!("{}: takes no operator but =", shown(&parameter.name))),
    };
    parse(text)?.into_iter().map(pair).collect()
}

fn parameter(piece: &str) -> Result<Parameter, Refusal> {
    let equals = piece.find('=').unwrap_or(piece.len());
    // `tag.host!~web.*` need not have an equals sign, and a regular expression may have one.
    let (before, is_negated_match) =
        match ["!~", "%21~", "!%7E", "!%7e"].iter().filter_map(|&mark| find_before(piece, mark, equals)).min() {
            Some((at, mark)) => ((&piece[..at], &piece[at + mark..]), true),
            None if equals == piece.len() => return refuse(format!("{0}: expected a value: {0}=…", shown(piece))),
            None => ((&piece[..equals], &piece[equals + 1..]), false),
        };
    let (name, value) = before;
    let mut name = decode(name, name)?;
    let mut value = decode(value, &name)?;
    let is_negated = is_negated_match || (name.starts_with("tag.") && name.ends_with('!'));
    if is_negated && !is_negated_match {
        name.pop();
    }
    let is_pattern = is_negated_match || value.starts_with('~');
    if is_pattern && !is_negated_match {
        value.remove(0);
    }
    let operator = match (is_negated, is_pattern) {
        (false, false) => Operator::Is,
        (true, false) => Operator::IsNot,
        (false, true) => Operator::Matches,
        (true, true) => Operator::MatchesNot,
    };
    if name.is_empty() {
        return refuse(format!("{}: a parameter without a name", shown(piece)));
    }
    Ok(Parameter { name, operator, value })
}

/// Returns the position of `mark` in `piece` before `end`, and its length.
fn find_before(piece: &str, mark: &str, end: usize) -> Option<(usize, usize)> {
    piece[..end].find(mark).map(|at| (at, mark.len()))
}

/// Undoes the encoding of a name or a value of the parameter `of`.
fn decode(text: &str, of: &str) -> Result<String, Refusal> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return refuse(format!(
                        "{}: a % must be followed by two hexadecimal digits; write a literal % as %25",
                        shown(of)
                    ));
                };
                u8::try_from(high << 4 | low).unwrap_or_default()
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).or_else(|_| refuse(format!("{}: not UTF-8 after decoding", shown(of))))
}

/// Undoes the encoding of a part of a path, where a plus is a plus.
pub fn decode_path(part: &str) -> Result<String, Refusal> {
    decode(&part.replace('+', "%2B"), part)
}

/// Makes text of an untrusted client fit to be quoted in an error: short, and without control characters.
#[must_use]
pub fn shown(text: &str) -> String {
    const CHARACTERS_MAX: usize = 64;
    let mut shown: String = text.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

fn refuse<T>(what: String) -> Result<T, Refusal> {
    Err(Refusal::BadRequest(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Operator::{Is, IsNot, Matches, MatchesNot};

    #[test]
    fn operators_are_found_however_they_are_encoded() {
        for (text, name, operator, value) in [
            ("name=cpu_usage", "name", Is, "cpu_usage"),
            ("name=~cpu_.*", "name", Matches, "cpu_.*"),
            ("name=%7Ecpu", "name", Matches, "cpu"),
            ("name=", "name", Is, ""),
            ("step=a=b", "step", Is, "a=b"),
            ("tag.host=web1", "tag.host", Is, "web1"),
            ("tag.host!=web1", "tag.host", IsNot, "web1"),
            ("tag.host%21=web1", "tag.host", IsNot, "web1"),
            ("tag.host=~web.*", "tag.host", Matches, "web.*"),
            ("tag.host!~web.*", "tag.host", MatchesNot, "web.*"),
            ("tag.host!~a=b", "tag.host", MatchesNot, "a=b"),
            ("tag.host!=~web.*", "tag.host", MatchesNot, "web.*"),
            ("tag.host%21=%7Eweb", "tag.host", MatchesNot, "web"),
            ("tag.host%21~web", "tag.host", MatchesNot, "web"),
            ("tag.a%3Db=c!~d", "tag.a=b", Is, "c!~d"),
            ("tag.a+b=c%2Bd+e", "tag.a b", Is, "c+d e"),
            ("tag.%C3%BC=%e2%82%ac", "tag.ü", Is, "€"),
            ("tag.=x", "tag.", Is, "x"),
            ("order!=x", "order!", Is, "x"),
        ] {
            let expected = Parameter { name: name.into(), operator, value: value.into() };
            assert_eq!(parse(text), Ok(vec![expected]), "{text}");
        }
        assert_eq!(parse(""), Ok(vec![]));
        assert_eq!(parse("&a=1&&b=2&").unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_parameter_is_refused() {
        for (text, part) in [
            ("name", "name: expected a value: name=…"),
            ("=x", "a parameter without a name"),
            ("a=%", "a: a % must be followed"),
            ("a=%4", "a: a % must be followed"),
            ("a=%4g", "a: a % must be followed"),
            ("a=%ff", "a: not UTF-8"),
            ("%zz=1", "%zz: a % must be followed"),
            ("a\n\u{1b}[31m=%", "a\\n\\u{1b}[31m: "),
        ] {
            let Err(Refusal::BadRequest(what)) = parse(text) else { panic!("{text}") };
            assert!(what.contains(part), "{text}: {what}");
        }
        assert!(parse(&"a".repeat(QUERY_PARAMETERS_BYTES_MAX + 1)).is_err());
        assert!(parse(&"a=1&".repeat(QUERY_PARAMETERS_MAX + 1)).is_err());
    }
}
