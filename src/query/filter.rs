//! What a series must be to be asked: its name, its tags. Texts are compared as they stand in the log, escaped, where they can be: each
//! has one spelling there. Regular expressions see what the text means.

use super::{
    Refusal,
    parameters::{Operator, Parameter, shown},
};
use crate::{
    limits::QUERY_PATTERN_BYTES_MAX,
    metric::{Line, Text, spelled},
};
use regex::bytes::{Regex, RegexBuilder};

/// A regular expression that must match all of a text, as in Prometheus. `.` is any character, a line feed too.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Compiles the value of the parameter `of`.
    pub fn new(of: &str, text: &str) -> Result<Self, Refusal> {
        let compile = |text: &str| {
            RegexBuilder::new(text)
                .dot_matches_new_line(true)
                .size_limit(QUERY_PATTERN_BYTES_MAX)
                .dfa_size_limit(QUERY_PATTERN_BYTES_MAX)
                .build()
        };
        // By itself first: `a)|(b` would be well formed between our parentheses.
        compile(text).and_then(|_| compile(&format!(r"\A(?:{text})\z"))).map(Self).map_err(|error| {
            let what = match error {
                regex::Error::CompiledTooBig(bytes) => format!("it takes more than {bytes} bytes when compiled"),
                error => error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
            };
            Refusal::BadRequest(format!("{}: not a regular expression: {}", shown(of), shown(&what)))
        })
    }

    /// Whether it matches all of a text of the log, given escaped.
    pub fn matches(&self, escaped: &[u8]) -> bool {
        let text = Text::of_line(escaped);
        if text.has_escapes() { self.0.is_match(&text.decoded().collect::<Vec<_>>()) } else { self.0.is_match(escaped) }
    }
}

/// Which names are asked for.
#[derive(Debug, Clone)]
pub(super) enum NameFilter {
    All,
    /// Escaped.
    Is(Vec<u8>),
    Matches(Pattern),
}

impl NameFilter {
    pub fn new(parameter: &Parameter) -> Result<Self, Refusal> {
        match parameter.operator {
            _ if parameter.value.is_empty() => {
                Err(Refusal::BadRequest("name: expected a name, or a regular expression as in name=~cpu_.*".into()))
            }
            Operator::Matches => Pattern::new("name", &parameter.value).map(Self::Matches),
            Operator::Is => Ok(Self::Is(spelled(&parameter.value))),
            Operator::IsNot | Operator::MatchesNot => Err(Refusal::BadRequest("name: takes = and =~ only".into())),
        }
    }
}

/// What a tag must be. A tag that a series does not have is empty here, as in Prometheus.
#[derive(Debug, Clone)]
pub(super) struct TagFilter {
    /// Escaped.
    key: Vec<u8>,
    condition: Condition,
    /// What the condition must say.
    wanted: bool,
}

#[derive(Debug, Clone)]
enum Condition {
    /// Escaped.
    Is(Vec<u8>),
    Matches(Pattern),
}

impl TagFilter {
    /// `key` is the parameter's name behind `tag.`.
    pub fn new(key: &str, parameter: &Parameter) -> Result<Self, Refusal> {
        let condition = match parameter.operator {
            Operator::Is | Operator::IsNot => Condition::Is(spelled(&parameter.value)),
            Operator::Matches | Operator::MatchesNot => {
                Condition::Matches(Pattern::new(&parameter.name, &parameter.value)?)
            }
        };
        let wanted = matches!(parameter.operator, Operator::Is | Operator::Matches);
        Ok(Self { key: spelled(key), condition, wanted })
    }

    /// Whether it costs a regular expression.
    pub fn is_pattern(&self) -> bool {
        matches!(self.condition, Condition::Matches(_))
    }

    /// Whether the series of this line is wanted.
    pub fn admits(&self, line: &Line<'_>) -> bool {
        let value = line.tags().find(|(key, _)| *key == self.key).map_or(&b""[..], |(_, value)| value);
        let holds = match &self.condition {
            Condition::Is(wanted) => value == wanted,
            Condition::Matches(pattern) => pattern.matches(value),
        };
        holds == self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::parameters;

    fn admits(filter: &str, tags: &str) -> bool {
        let line =
            format!(r#"{{"timestamp":"2026-01-02T03:04:05.678Z","name":"n","value":1,"type":"gauge","tags":{tags}}}"#);
        let parameter = parameters::parse(filter).unwrap().remove(0);
        let key = parameter.name.strip_prefix("tag.").unwrap();
        TagFilter::new(key, &parameter).unwrap().admits(&Line::parse(line.as_bytes()).unwrap())
    }

    #[test]
    fn tags_are_held_against_each_operator() {
        let web = r#"{"dc":"a","host":"web1"}"#;
        for (filter, tags, admitted) in [
            ("tag.host=web1", web, true),
            ("tag.host=web", web, false),
            ("tag.host!=web1", web, false),
            ("tag.host!=web", web, true),
            ("tag.host=~web.", web, true),
            ("tag.host=~web", web, false),
            ("tag.host=~eb1", web, false),
            ("tag.host=~web1|db1", web, true),
            ("tag.host!~web1|db1", web, false),
            ("tag.host!~db.*", web, true),
            // A tag that is not there is empty.
            ("tag.rack=", web, true),
            ("tag.rack=x", web, false),
            ("tag.rack!=x", web, true),
            ("tag.rack=~", web, true),
            ("tag.rack=~.%2B", web, false),
            ("tag.rack!~.%2B", web, true),
            ("tag.host=", r#"{"host":""}"#, true),
            // Escapes, and what is no ASCII.
            (r"tag.%22=a%0Ab", r#"{"\"":"a\nb"}"#, true),
            (r"tag.%22=~a.b", r#"{"\"":"a\nb"}"#, true),
            (r"tag.p=%5C", r#"{"p":"\\"}"#, true),
            (r"tag.p=%01", r#"{"p":"\u0001"}"#, true),
            ("tag.%C3%BC=~.", r#"{"ü":"€x"}"#, false),
            ("tag.%C3%BC=~..", r#"{"ü":"€x"}"#, true),
            ("tag.p=~(?i)WEB%5Cd", r#"{"p":"web7"}"#, true),
        ] {
            assert_eq!(admits(filter, tags), admitted, "{filter} {tags}");
        }
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
}
